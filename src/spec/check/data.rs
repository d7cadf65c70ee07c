//! Databases and caches.

use super::super::diagnostic::Code;
use super::super::model::{Cache, CacheEngine, Database, Pooler, Resources};
use super::super::place::Path;
use super::super::quantity::{Amount, Bytes};
use super::super::report::below;
use super::super::resources::{self, bytes, resources};
use super::super::wire;
use super::{Check, each};
use crate::engine::postgres;

/// The largest cache: more than the memory of any machine that it could run on.
const MAX_CACHE: u64 = 1 << 40;

/// A new server takes some 40 MB and the first segment of its write-ahead log 16 MB; it stops when the
/// volume is full.
const LEAST_STORAGE: u128 = 64 << 20;

/// What a cache server needs besides its data: buffers of clients, fragmentation, copies on write.
const CACHE_OVERHEAD: u64 = 32 << 20;

impl Check<'_, '_> {
    pub(super) fn database(&mut self, at: &Path, wire: &wire::Database) -> Option<Database> {
        if !self.affords(if wire.pooler.is_some() { 9 } else { 6 }, 0, at) {
            return None;
        }
        let storage = match &wire.storage.size {
            None => Some("5Gi".to_owned()),
            Some(size) => self.storage(&below(at, &["storage", "size"]), &size.0),
        };
        let resources = resources(&wire.resources, &below(at, &["resources"]), &resources::DATABASE, self.report);
        let name = self.identifier(at, "name", wire.name.as_ref());
        let user = self.identifier(at, "user", wire.user.as_ref());
        let parameters = each(&wire.parameters.0, |name, _| {
            let at = below(at, &["parameters", name]);
            if postgres::RESERVED_PARAMETERS.contains(&name) {
                self.report.key(Code::ReservedKey, &at, &format!("hks itself sets `{name}`"), "remove it");
                return None;
            }
            let written = self.report.places.text(&at)?.to_owned();
            let value = self.plain(&at, &written)?;
            self.parameter(&at, name, &value, wire.version);
            Some(value)
        });
        let mut extensions: Vec<String> = wire.extensions.iter().map(|extension| extension.0.clone()).collect();
        extensions.sort_unstable();
        extensions.dedup();
        let pooler = wire.pooler.as_ref().map(|pooler| Pooler {
            mode: match pooler.mode {
                None | Some(wire::PoolMode::Transaction) => "transaction",
                Some(wire::PoolMode::Session) => "session",
            },
            size: pooler.size.unwrap_or(20),
            max_clients: pooler.max_clients.unwrap_or(1000),
            replicas: pooler.replicas.unwrap_or(1),
        });
        wire.engine?;
        Some(Database {
            version: wire.version?.major(),
            name: name?,
            user: user?,
            storage: storage?,
            storage_class: wire.storage.class.as_ref().map(|class| class.0.clone()),
            resources: resources?,
            parameters: parameters?,
            extensions,
            pooler,
            credentials: wire.credentials.as_ref().and_then(|from| Some(from.existing.as_ref()?.0.clone())),
            delete_data: matches!(wire.on_delete, Some(wire::OnDelete::Delete)),
        })
    }

    /// The size of a database's volume.
    fn storage(&mut self, at: &Path, size: &str) -> Option<String> {
        let size = bytes(size, at, self.report)?;
        if size.size() < LEAST_STORAGE {
            let message = format!("{} are too small for PostgreSQL", size.canonical());
            self.report.value(Code::OutOfRange, at, &message, "write at least `64Mi`; `5Gi` is the default");
            return None;
        }
        Some(size.canonical())
    }

    /// Tells of a parameter that keeps this version of the server from starting. No refusal: hks knows the parameters of the
    /// versions that it was built with.
    fn parameter(&mut self, at: &Path, name: &str, value: &str, version: Option<wire::Version>) {
        let Some(major) = version.map(wire::Version::major).filter(|_| !name.contains('.')) else { return };
        let Some(known) = postgres::parameter(name, major) else {
            let alike = |known: &&str| known.len().abs_diff(name.len()) <= 3 && known.get(..1) == name.get(..1);
            let names = postgres::parameters(major).filter(alike);
            let help = self.report.budget.hint(name, names, "remove it, or see the documentation of PostgreSQL");
            let message = format!("PostgreSQL {major} has no parameter `{name}` and would not start");
            return self.report.warn(Code::DoubtfulParameter, at, &message, &help);
        };
        if known.is_switch && !postgres::is_switch(value) {
            let message = format!("`{name}` is on or off; PostgreSQL would not start");
            self.report.warn(Code::DoubtfulParameter, at, &message, "write `\"on\"` or `\"off\"`");
        }
    }

    fn identifier(&mut self, at: &Path, key: &str, wire: Option<&wire::DatabaseName>) -> Option<String> {
        let Some(name) = wire else { return Some("app".to_owned()) };
        if postgres::is_taken(&name.0) {
            let message = format!("`{}` belongs to PostgreSQL itself", name.0);
            self.report.value(Code::InvalidName, &below(at, &[key]), &message, "choose another name");
            return None;
        }
        Some(name.0.clone())
    }

    pub(super) fn cache(&mut self, at: &Path, wire: &wire::Cache) -> Option<Cache> {
        if !self.affords(5, 0, at) {
            return None;
        }
        let max = match &wire.max_memory {
            None => Bytes::parse("128Mi"),
            Some(memory) => bytes(&memory.0, &below(at, &["maxMemory"]), self.report),
        };
        let persistence = wire.persistence.as_ref().map(|persistence| {
            let size = persistence.size.as_ref()?;
            bytes(&size.0, &below(at, &["persistence", "size"]), self.report).map(Amount::canonical)
        });
        let (engine, version) = (wire.engine?, wire.version?.major());
        let (engine, title, known) = match engine {
            wire::CacheEngine::Redis => (CacheEngine::Redis, "Redis", 6..=8),
            wire::CacheEngine::Valkey => (CacheEngine::Valkey, "Valkey", 7..=9),
        };
        if !known.contains(&version) {
            let message = format!("there is no {title} {version}");
            let help = format!("write \"{}\" to \"{}\"", known.start(), known.end());
            self.report.value(Code::UnknownValue, &below(at, &["version"]), &message, &help);
            return None;
        }
        let max_memory = max?.size();
        let Some(max_memory) = u64::try_from(max_memory).ok().filter(|bytes| *bytes <= MAX_CACHE) else {
            let help = "write at most 1Ti";
            self.report.value(Code::InvalidQuantity, &below(at, &["maxMemory"]), "more than a cache can have", help);
            return None;
        };
        let limit = max_memory.saturating_add(max_memory / 2).saturating_add(CACHE_OVERHEAD);
        // whole mebibytes, as people write them
        let mebibytes = |bytes: u64| format!("{}Mi", bytes.div_ceil(1 << 20));
        let resources = Resources {
            request_cpu: "50m".into(),
            request_memory: Bytes::parse(&mebibytes(limit))?.canonical(),
            limit_cpu: "500m".into(),
            limit_memory: Bytes::parse(&mebibytes(limit))?.canonical(),
        };
        let persistence = match persistence {
            Some(size) => Some(size?),
            None => None,
        };
        let eviction = wire.eviction.map_or("noeviction", wire::Eviction::policy);
        let class = wire.persistence.as_ref().and_then(|persistence| persistence.class.as_ref());
        let storage_class = class.map(|class| class.0.clone());
        Some(Cache { engine, version, max_memory, eviction, persistence, storage_class, resources })
    }
}

//! Databases and caches as they are written.

use super::{DatabaseName, Extension, Map, Memory, ObjectName, ParameterName, Resources, Scalar};
use schemars::JsonSchema;
use serde::Deserialize;

/// A database. Apps reach it by `${databases.NAME.url}`, or by its parts `host port name user password jdbcUrl poolerUrl`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["engine", "version"]))]
pub struct Database {
    /// Kind of database.
    pub engine: Option<Engine>,
    /// Major version, quoted.
    pub version: Option<Version>,
    /// Name of the database in its server. It can't be changed later.
    #[schemars(extend("default" = "app"))]
    pub name: Option<DatabaseName>,
    /// Name of the role that apps log in as; it owns the database and is no superuser. It can't be changed later.
    #[schemars(extend("default" = "app"))]
    pub user: Option<DatabaseName>,
    /// Where the data is kept.
    pub storage: Storage,
    /// CPU and memory; requests 100m/256Mi and limits 500m/512Mi unless given.
    pub resources: Resources,
    /// Server parameters by name, as in postgresql.conf. A change restarts the server.
    #[schemars(extend("maxProperties" = 200))]
    pub parameters: Map<ParameterName, Scalar>,
    /// Extensions that the server's image has, created in the database. None is ever dropped.
    #[schemars(length(max = 50))]
    pub extensions: Vec<Extension>,
    /// `PgBouncer` in front of the server; apps reach it by `${databases.NAME.poolerUrl}`.
    pub pooler: Option<Pooler>,
    /// Where the password comes from; generated unless given.
    pub credentials: Option<Credentials>,
    /// What happens to the data when the database leaves the file: `retain` keeps it, `delete` deletes it with the next
    /// deployment that works.
    #[schemars(extend("default" = "retain"))]
    pub on_delete: Option<OnDelete>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Engine {
    Postgres,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Version {
    #[serde(rename = "13")]
    V13,
    #[serde(rename = "14")]
    V14,
    #[serde(rename = "15")]
    V15,
    #[serde(rename = "16")]
    V16,
    #[serde(rename = "17")]
    V17,
    #[serde(rename = "18")]
    V18,
}

impl Version {
    /// The number.
    pub fn major(self) -> u32 {
        match self {
            Version::V13 => 13,
            Version::V14 => 14,
            Version::V15 => 15,
            Version::V16 => 16,
            Version::V17 => 17,
            Version::V18 => 18,
        }
    }
}

/// Where the data is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Size of the volume. It may grow, never shrink.
    #[schemars(extend("default" = "5Gi"))]
    pub size: Option<Memory>,
    /// Storage class of the volume; by default the platform's, or the cluster's. It counts when the volume is made.
    pub class: Option<ObjectName>,
}

/// `PgBouncer`: many clients share few connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Pooler {
    /// When a connection goes back to the pool: after each `transaction`, or with the client's `session`.
    #[schemars(extend("default" = "transaction"))]
    pub mode: Option<PoolMode>,
    /// Connections to the server.
    #[schemars(range(min = 1, max = 1000), extend("default" = 20))]
    pub size: Option<u32>,
    /// Clients at the same time.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 1000))]
    pub max_clients: Option<u32>,
    /// Number of pods.
    #[schemars(range(min = 1, max = 10), extend("default" = 1))]
    pub replicas: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PoolMode {
    Transaction,
    Session,
}

/// Where the password comes from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["existing"]))]
pub struct Credentials {
    /// Name of a Secret that exists in the project; its key `password` is taken when the database is first made.
    pub existing: Option<ObjectName>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnDelete {
    Retain,
    Delete,
}

/// A cache or queue. Apps reach it by `${caches.NAME.url}`, or by its parts `host port password`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["engine", "version"]))]
pub struct Cache {
    /// Kind of cache.
    pub engine: Option<CacheEngine>,
    /// Major version, quoted: 6 to 8 of Redis, 7 to 9 of Valkey.
    pub version: Option<CacheVersion>,
    /// Memory for data; the server gets half as much again, and 32Mi.
    #[schemars(extend("default" = "128Mi"))]
    pub max_memory: Option<Memory>,
    /// What goes when the memory is full; `noeviction` refuses writes instead.
    #[schemars(extend("default" = "noeviction"))]
    pub eviction: Option<Eviction>,
    /// Keeps the data over restarts. Without it, a restart begins empty.
    pub persistence: Option<Persistence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CacheEngine {
    Redis,
    Valkey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum CacheVersion {
    #[serde(rename = "6")]
    V6,
    #[serde(rename = "7")]
    V7,
    #[serde(rename = "8")]
    V8,
    #[serde(rename = "9")]
    V9,
}

impl CacheVersion {
    /// The number.
    pub fn major(self) -> u32 {
        match self {
            CacheVersion::V6 => 6,
            CacheVersion::V7 => 7,
            CacheVersion::V8 => 8,
            CacheVersion::V9 => 9,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Eviction {
    Noeviction,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

impl Eviction {
    /// As the server calls it.
    pub fn policy(self) -> &'static str {
        match self {
            Eviction::Noeviction => "noeviction",
            Eviction::AllkeysLru => "allkeys-lru",
            Eviction::AllkeysLfu => "allkeys-lfu",
            Eviction::AllkeysRandom => "allkeys-random",
            Eviction::VolatileLru => "volatile-lru",
            Eviction::VolatileLfu => "volatile-lfu",
            Eviction::VolatileRandom => "volatile-random",
            Eviction::VolatileTtl => "volatile-ttl",
        }
    }
}

/// Where a cache keeps its data: each write within a second, to a file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["size"]))]
pub struct Persistence {
    /// Size of the volume. It may grow, never shrink. Its data stays when the cache leaves the file.
    pub size: Option<Memory>,
    /// Storage class of the volume; by default the platform's, or the cluster's. It counts when the volume is made.
    pub class: Option<ObjectName>,
}

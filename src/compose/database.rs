//! Databases: PostgreSQL as hks can be.

use super::facts::Facts;
use super::image;
use super::load::Project;
use super::service::{Mount, Reach, Service, Source};
use super::work::{Kind, Work};
use super::write::{Map, Value};
use crate::engine::postgres;

/// The size that a volume gets: a compose file says none.
pub(super) const SIZE: &str = "5Gi";

/// Major versions that hks has.
const VERSIONS: [&str; 6] = ["13", "14", "15", "16", "17", "18"];
/// What is taken where none is named.
const USUAL: &str = "17";

/// Variables of the images that say what is read elsewhere, or what hks does by itself.
const READ: [&str; 17] = [
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD_FILE",
    "POSTGRES_DATABASE",
    "POSTGRES_USERNAME",
    "POSTGRESQL_USERNAME",
    "POSTGRESQL_USER",
    "POSTGRESQL_PASSWORD",
    "POSTGRESQL_PASSWORD_FILE",
    "POSTGRESQL_DATABASE",
    "PGDATA",
    "POSTGRES_USER_FILE",
    "POSTGRES_DB_FILE",
    "POSTGRESQL_POSTGRES_PASSWORD",
    "PGUSER",
    "PGPASSWORD",
];

impl Work<'_> {
    pub fn database(&mut self, service: &Service) {
        let name = self.facts.name(&service.name).to_owned();
        let image = self.facts.variables.plain(&service.image);
        let mut database = Map::default();
        database.set("engine", "postgres");
        self.version(service, &image, &mut database);
        for (field, own) in
            [("name", self.logins[&service.name].name.clone()), ("user", self.logins[&service.name].user.clone())]
        {
            let Some(own) = own.map(|own| self.facts.variables.plain(&own)).filter(|own| !own.is_empty()) else {
                continue;
            };
            let here = identifier(&own);
            if postgres::is_taken(&own) {
                let what = if field == "name" { "POSTGRES_DB" } else { "POSTGRES_USER" };
                let message =
                    format!("`{own}` belongs to the server itself; it is `app` here, which references stand for");
                self.note(Kind::Changed, &service.name, what, &message);
            }
            if own.starts_with("/run/secrets/") || postgres::is_taken(&own) {
                continue;
            }
            database.set(field, here.clone());
            if here != own {
                let what = if field == "name" { "POSTGRES_DB" } else { "POSTGRES_USER" };
                self.note(
                    Kind::Changed,
                    &service.name,
                    what,
                    &format!("`{own}` is called `{here}` here: a {field} has small letters, digits and `_`"),
                );
            }
            if field == "name"
                && let Some(login) = self.logins.get_mut(&service.name)
            {
                login.name_here = here;
            }
        }
        let mut storage = Map::default();
        storage.set("size", SIZE);
        database.set_because("storage", storage, "a guess; it may grow, never shrink");
        if let Some(resources) = self.resources(service) {
            database.set("resources", resources);
        }
        self.parameters(service, &mut database);
        for (key, value) in &service.env {
            let plain = self.facts.variables.plain(value);
            match key.as_str() {
                key if READ.contains(&key) || plain.is_empty() => {}
                "POSTGRES_INITDB_ARGS" | "POSTGRESQL_INITDB_ARGS" | "LANG" | "LC_ALL" => {
                    let message = format!("`{plain}` is not carried over: the locale is that of the image of hks");
                    self.note(Kind::Lost, &service.name, key, &message);
                }
                "POSTGRES_HOST_AUTH_METHOD" => {
                    self.note(Kind::Changed, &service.name, key, "a database of hks always asks for its password");
                }
                key if key.contains("MULTIPLE_DATABASES") || key.contains("ADDITIONAL_DATABASES") => {
                    let message = format!(
                        "a database of hks has one name; add a database for each of `{plain}` under `databases`"
                    );
                    self.note(Kind::Lost, &service.name, key, &message);
                }
                key if is_shared(service, key) => {}
                key => self.note(Kind::Lost, &service.name, key, "is a variable of the image; it is not carried over"),
            }
        }
        self.shared_env(service);
        self.served(service, "the database");
        let message = format!(
            "its data is not carried over; write it with pg_dump, and load it with psql once `{name}` is ready (docs/import.md)"
        );
        self.note(Kind::Lost, &service.name, "volumes", &message);
        self.out.map("databases").set(&name, database);
    }

    fn version(&mut self, service: &Service, image: &str, database: &mut Map) {
        let found = image::postgres_version(image);
        let (version, comment) = match found.as_deref() {
            Some(known) if VERSIONS.contains(&known) => {
                if known == "13" {
                    let message = "PostgreSQL 13 gets no more fixes; load the dump of the old one into a newer `version` right away";
                    self.note(Kind::Changed, &service.name, "image", message);
                }
                (known.to_owned(), String::new())
            }
            Some(other) => {
                let newest = other.parse::<u32>().is_ok_and(|number| number > 18);
                let version = if newest { "18" } else { "13" };
                let message = format!(
                    "PostgreSQL {other} is not among those of hks, 13 to 18; version {version} is the nearest: dump the old one with pg_dump, \
                     load the dump into the new one, and look whether the program works with it"
                );
                self.note(Kind::Changed, &service.name, "image", &message);
                (version.to_owned(), format!("was {other}, which hks does not have"))
            }
            None => {
                let message = format!(
                    "`{}` names no version of PostgreSQL; it is {USUAL} here, write the one that made the data",
                    self.shown(&service.image)
                );
                self.note(Kind::Changed, &service.name, "image", &message);
                (USUAL.to_owned(), "the image names none".to_owned())
            }
        };
        database.set_because("version", Value::from(version), &comment);
    }

    /// `-c name=value` and `--name=value` of the server's command.
    fn parameters(&mut self, service: &Service, database: &mut Map) {
        let words = service.entrypoint.iter().chain(&service.command).flatten();
        let words: Vec<String> = words.map(|word| self.facts.variables.plain(word)).collect();
        let words = if words.len() > 1 && words.iter().any(|word| word == "-c") && words[0].ends_with("sh") {
            super::words::shell_words(words.last().map(String::as_str).unwrap_or_default())
        } else {
            words
        };
        let mut parameters = Map::default();
        let mut left = vec![];
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let pair = match word.as_str() {
                "-c" => words.next().cloned(),
                "postgres" | "docker-entrypoint.sh" | "exec" => continue,
                word => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).map(str::to_owned),
            };
            let Some((name, value)) = pair.as_deref().and_then(|pair| pair.split_once('=')) else {
                left.push(word.clone());
                continue;
            };
            let name = name.trim().replace('-', "_").to_lowercase();
            let fits = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && name.len() <= 63
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.'));
            if !fits || postgres::RESERVED_PARAMETERS.contains(&name.as_str()) || value.contains("${") {
                left.push(format!("{name}={value}"));
                continue;
            }
            let value = value.trim_matches(['\'', '"']);
            let number = value.len() < 10 && value.parse::<u64>().is_ok_and(|number| number.to_string() == value);
            parameters.set(&name, if number { Value::Bare(value.to_owned()) } else { Value::from(value) });
        }
        if !parameters.is_empty() {
            database.set("parameters", parameters);
        }
        if !left.is_empty() {
            let message = format!("`{}` is not carried over: hks starts the server itself", self.echoed(&left));
            self.note(Kind::Lost, &service.name, "command", &message);
        }
    }

    /// Tells of variables of files that mean nothing to a server of hks.
    pub fn shared_env(&mut self, service: &Service) {
        let shared = service.env.iter().filter(|(key, _)| !READ.contains(&key.as_str()) && is_shared(service, key));
        let names: Vec<&str> = shared.map(|(key, _)| key.as_str()).collect();
        if !names.is_empty() {
            let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
            let message = format!(
                "{}{more} are not carried over: hks sets the server up itself",
                names[..names.len().min(8)].join(", ")
            );
            self.note(Kind::Lost, &service.name, "env_file", &message);
        }
    }

    /// What a service loses that hks runs in its own way.
    pub fn served(&mut self, service: &Service, what: &str) {
        for port in service.ports.iter().filter(|port| port.reach != Reach::Inside) {
            let message =
                format!("{what} is not reached from outside; use `kubectl port-forward` for port {}", port.number);
            self.note(Kind::Public, &service.name, "ports", &message);
        }
        for mount in &service.mounts {
            let data = [
                "/var/lib/postgresql",
                "/bitnami",
                "/data",
                "/var/lib/redis",
                "/var/lib/valkey",
                "/var/run/postgresql",
            ];
            if mount.target.contains("initdb.d") {
                let from = source(mount);
                let message = format!(
                    "{from} is an init script (`docker-entrypoint-initdb.d`), which hks does not run; put it into a migration of the \
                     program, or run it once with psql"
                );
                self.note(Kind::Lost, &service.name, "volumes", &message);
            } else if !data.iter().any(|data| mount.target.starts_with(data)) {
                let message =
                    format!("{} at {} is not carried over: hks sets the server up itself", source(mount), mount.target);
                self.note(Kind::Lost, &service.name, "volumes", &message);
            }
        }
        if let Some(size) = service.node.get("shm_size").text() {
            self.note(Kind::Lost, &service.name, "shm_size", &format!("{size} of shared memory can't be asked for"));
        }
        let read = [
            "command",
            "entrypoint",
            "ports",
            "volumes",
            "environment",
            "env_file",
            "shm_size",
            "mem_limit",
            "cpus",
            "mem_reservation",
            "deploy",
            "healthcheck",
            "user",
            "depends_on",
            "expose",
            "labels",
            "tmpfs",
            "secrets",
        ];
        self.unread(service, &read);
    }
}

/// Whether a variable comes from a file, so that it is likely to be meant for others.
fn is_shared(service: &Service, key: &str) -> bool {
    service.node.get("environment").pairs().iter().all(|(known, _)| known != key)
}

/// Where a mount comes from, for people.
pub(super) fn source(mount: &Mount) -> String {
    match &mount.source {
        Source::Anonymous => "an anonymous volume".to_owned(),
        Source::Named(name) => format!("the volume `{name}`"),
        Source::Host(path) => format!("`{path}` of this machine"),
        Source::Memory(_) => "a tmpfs".to_owned(),
        Source::Other(kind) => format!("a mount of type `{kind}`"),
    }
}

/// A name as PostgreSQL and hks take it.
fn identifier(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = text.chars().map(plain).take(60).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name };
    if postgres::is_taken(&name) { format!("app_{name}") } else { name }
}

/// The entry of a volume that all services share.
pub(super) fn declared<'a>(project: &'a Project, section: &str, name: &str) -> Option<&'a super::yaml::Node> {
    project.shared.get(section)?.iter().find(|(known, _)| known == name).map(|(_, node)| node)
}

/// Whether a service is known to keep data that nobody wants to lose.
pub(super) fn keeps_data(facts: &Facts<'_>, service: &Service) -> bool {
    let image = facts.variables.plain(&service.image);
    let last = image::parts(&image).0.rsplit('/').next().unwrap_or_default();
    matches!(facts.role(&service.name), image::Role::Store | image::Role::ForeignDatabase)
        && !matches!(last, "memcached" | "nats" | "pgbouncer" | "pgpool")
}

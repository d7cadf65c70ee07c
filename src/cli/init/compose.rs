//! A compose file (Compose Specification) as an hks.yaml, as far as that goes; the rest is told.

mod read;
mod shape;

use super::{HEAD, label};
use anyhow::{Context as _, Result, bail};
use read::{Role, container_port, environment, has_port, major, plain, port_name, published, role, words};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What came of a compose file.
pub struct Converted {
    /// A valid hks.yaml.
    pub file: String,
    /// What could not be carried over, and what to do: `SERVICE.KEY: …`.
    pub notes: Vec<String>,
}

/// Keys of a service that mean nothing here, and are missed by nobody.
const SILENT: [&str; 12] = [
    "restart",
    "container_name",
    "hostname",
    "networks",
    "logging",
    "stdin_open",
    "tty",
    "init",
    "pull_policy",
    "platform",
    "links",
    "scale",
];

/// Keys that are read.
const READ: [&str; 14] = [
    "image",
    "build",
    "command",
    "entrypoint",
    "environment",
    "ports",
    "expose",
    "volumes",
    "tmpfs",
    "depends_on",
    "healthcheck",
    "deploy",
    "user",
    "read_only",
];

/// The size that a volume gets: a compose file says none.
const SIZE: &str = "5Gi";

/// Turns a compose file into an hks.yaml for Stack `name`.
///
/// # Errors
/// It is none, or holds nothing that can be deployed.
pub fn convert(text: &str, name: &str) -> Result<Converted> {
    let compose: Value =
        serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))?;
    let services = compose["services"].as_object().context("it has no `services`; it is no compose file")?;
    let mut work = Work::default();
    let mut taken = BTreeSet::new();
    for (service, body) in services {
        let base = label(service, 40);
        let mut short = base.clone();
        let mut number = 2;
        while !taken.insert(short.clone()) {
            short = format!("{base}-{number}");
            number += 1;
        }
        if short != *service {
            work.note(service, "name", &format!("is called `{short}` here"));
        }
        work.names.insert(service.clone(), short);
        work.roles.insert(service.clone(), role(body["image"].as_str().unwrap_or_default()));
    }
    let mut out = json!({ "apiVersion": "hks.hexabase.ai/v1", "kind": "Stack", "metadata": { "name": name } });
    for (service, body) in services {
        let short = work.names[service.as_str()].clone();
        match work.roles.get(service) {
            Some(Role::Database) => out["databases"][&short] = work.database(service, body),
            Some(Role::Cache) => out["caches"][&short] = work.cache(service, body),
            _ => {
                out["apps"][&short] = work.app(service, body, services);
                if let Some(published) = published(body) {
                    let first = out["ingress"].is_null();
                    let entry = if first { "public".to_owned() } else { short.clone() };
                    let own_port = out["apps"][&short]["ports"][&published].is_u64();
                    if own_port {
                        out["ingress"][entry] = json!({ "paths": { "/": { "app": short, "port": published } } });
                    }
                }
            }
        }
    }
    if out["apps"].is_null() && out["databases"].is_null() && out["caches"].is_null() {
        bail!("it has no service that can be deployed");
    }
    for key in ["configs", "secrets"] {
        for found in compose[key].as_object().into_iter().flat_map(|all| all.keys()) {
            work.note(key, found, "is not carried over; declare it under `secrets` or `apps.NAME.files`");
        }
    }
    if !work.params.is_empty() {
        out["params"] = Value::Object(std::mem::take(&mut work.params));
    }
    if !work.keys.is_empty() {
        out["secrets"]["app"]["keys"] = json!(work.keys.keys().collect::<Vec<_>>());
        for key in work.keys.keys().cloned().collect::<Vec<_>>() {
            work.note("secrets", &key, &format!("set it: hks secret set {name} app {key}"));
        }
    }
    let yaml = written(&out)?;
    let file = format!(
        "{HEAD}\n# Made from a compose file. Sizes of volumes and memory are guesses; `hks explain PATH` tells what each key means.\n{yaml}"
    );
    Ok(Converted { file, notes: work.notes })
}

/// The parts in the order in which people read them.
fn written(out: &Value) -> Result<String> {
    let mut text = String::new();
    for key in ["apiVersion", "kind", "metadata", "params", "databases", "caches", "secrets", "apps", "ingress"] {
        if let Some(part) = out.get(key) {
            let part = serde_saphyr::to_string(&json!({ key: part })).context("failed to write YAML")?;
            if part.lines().count() > 1 && key != "metadata" {
                text.push('\n');
            }
            text.push_str(&part);
        }
    }
    Ok(text)
}

#[derive(Default)]
struct Work {
    roles: BTreeMap<String, Role>,
    /// Names here by names there.
    names: BTreeMap<String, String>,
    notes: Vec<String>,
    params: Map<String, Value>,
    /// Keys of the secret `app`, and the values that they stand for.
    keys: BTreeMap<String, String>,
}

impl Work {
    fn note(&mut self, service: &str, key: &str, message: &str) {
        self.notes.push(format!("{service}.{key}: {message}"));
    }

    fn database(&mut self, service: &str, body: &Value) -> Value {
        let image = body["image"].as_str().unwrap_or_default();
        if image.contains("postgis") {
            self.note(service, "image", "becomes plain PostgreSQL; extensions need an image that has them");
        }
        let env = environment(body);
        let mut database = json!({
            "engine": "postgres",
            "version": major(image, &["13", "14", "15", "16", "17", "18"], "17"),
            "storage": { "size": SIZE },
        });
        for (variable, key) in [("POSTGRES_DB", "name"), ("POSTGRES_USER", "user")] {
            let value = env.get(variable).map(|value| plain(value)).unwrap_or_default();
            let fits = value.starts_with(|c: char| c.is_ascii_lowercase())
                && value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if fits && value != "postgres" && !value.starts_with("pg_") {
                database[key] = json!(value);
            }
        }
        self.note(service, "volumes", &format!("its data is not carried over; the new volume has {SIZE}"));
        database
    }

    fn cache(&mut self, service: &str, body: &Value) -> Value {
        let image = body["image"].as_str().unwrap_or_default();
        let valkey = image.contains("valkey");
        let version = if valkey { major(image, &["7", "8", "9"], "8") } else { major(image, &["6", "7", "8"], "7") };
        let mut cache = json!({ "engine": if valkey { "valkey" } else { "redis" }, "version": version });
        if body["volumes"].is_array() {
            cache["persistence"] = json!({ "size": "1Gi" });
            self.note(service, "volumes", "its data is not carried over; the new volume has 1Gi");
        }
        cache
    }

    fn app(&mut self, service: &str, body: &Value, services: &Map<String, Value>) -> Value {
        let short = self.names[service].clone();
        let mut app = Map::new();
        let image =
            body["image"].as_str().map(|image| self.interpolated(service, image)).filter(|image| !image.is_empty());
        if body.get("build").is_some() {
            self.note(service, "build", "images are built elsewhere; push one and name it under `image`");
        }
        let image = image.unwrap_or_else(|| format!("registry.example/{short}:latest"));
        let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
        app.insert("image".into(), json!(if tagged { image } else { format!("{image}:latest") }));
        for (from, to) in [("entrypoint", "command"), ("command", "args")] {
            let words = words(&body[from]);
            if !words.is_empty() {
                let words: Vec<_> = words.iter().map(|word| self.value(service, word, services)).collect();
                app.insert(to.into(), json!(words));
            }
        }
        let mut env = Map::new();
        for (key, value) in environment(body) {
            let named = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !named || key.starts_with("HKS_") {
                self.note(service, &key, "is not the name of a variable here; rename it");
                continue;
            }
            let value = self.variable(service, &key, &value, services);
            env.insert(key, json!(value));
        }
        if !env.is_empty() {
            app.insert("env".into(), env.into());
        }
        let mut ports = Map::new();
        for entry in ["ports", "expose"].iter().filter_map(|key| body[*key].as_array()).flatten() {
            match container_port(entry) {
                Some((port, true)) => {
                    ports.entry(format!("udp-{port}")).or_insert(json!({ "port": port, "protocol": "udp" }))
                }
                Some((port, false)) if ports.values().any(|known| *known == port) => continue,
                Some((port, false)) if ports.contains_key(&port_name(port)) => {
                    ports.entry(format!("port-{port}")).or_insert(json!(port))
                }
                Some((port, false)) => ports.entry(port_name(port)).or_insert(json!(port)),
                None => {
                    self.note(service, "ports", "one of them can't be read; add it under `ports`");
                    continue;
                }
            };
        }
        if !ports.is_empty() {
            app.insert("ports".into(), ports.clone().into());
        }
        self.health(service, body, &ports, &mut app);
        self.volumes(service, body, &mut app);
        self.order(service, body, &mut app);
        self.size(service, body, &mut app);
        for key in body.as_object().into_iter().flat_map(|body| body.keys()) {
            let known = READ.contains(&key.as_str()) || SILENT.contains(&key.as_str()) || key.starts_with("x-");
            if !known {
                self.note(service, key, "is not carried over");
            }
        }
        app.into()
    }

    /// The value of a variable: what points at another service becomes a reference, what is a credential a secret.
    fn variable(&mut self, service: &str, key: &str, value: &str, services: &Map<String, Value>) -> String {
        let host = |part: &str| self.names.get(part).map(|short| (self.roles.get(part).copied(), short.clone()));
        if let Some((role, short)) = host(&plain(value)) {
            return match role {
                Some(Role::Database) => format!("${{databases.{short}.host}}"),
                Some(Role::Cache) => format!("${{caches.{short}.host}}"),
                _ if has_port(&services[self.original(&short).as_str()]) => format!("${{apps.{short}.host}}"),
                _ => short,
            };
        }
        for (other, body) in services {
            let Some((role, short)) = host(other) else { continue };
            let of = environment(body);
            let same = |variable: &str| {
                of.get(variable).is_some_and(|known| !known.is_empty() && plain(known) == plain(value))
            };
            if role == Some(Role::Database) && other != service {
                let field = [
                    ("POSTGRES_PASSWORD", "PASS", "password"),
                    ("POSTGRES_USER", "USER", "user"),
                    ("POSTGRES_DB", "D", "name"),
                ];
                let found =
                    field.iter().find(|(variable, hint, _)| key.to_uppercase().contains(hint) && same(variable));
                if let Some((_, _, field)) = found {
                    return format!("${{databases.{short}.{field}}}");
                }
            }
        }
        let secret =
            ["PASSWORD", "SECRET", "TOKEN", "_KEY", "PASS"].iter().any(|end| key.to_uppercase().ends_with(end));
        let text = self.value(service, value, services);
        if text.contains("${databases.") || text.contains("${caches.") || text.contains("${apps.") {
            return text;
        }
        if (secret && !plain(value).is_empty()) || crate::spec::is_credential(&text) {
            // services share what has one name and one value
            let shared = self.keys.get(key).is_none_or(|known| known == value);
            let own = || format!("{}_{key}", self.names[service].to_uppercase().replace('-', "_"));
            let name: String = if shared { key.to_owned() } else { own() }.chars().take(63).collect();
            self.note(service, key, "is a secret, and is not written down");
            self.keys.insert(name.clone(), value.to_owned());
            return format!("${{secrets.app.{name}}}");
        }
        text
    }

    fn original(&self, short: &str) -> String {
        self.names.iter().find(|(_, known)| *known == short).map(|(original, _)| original.clone()).unwrap_or_default()
    }

    /// A text with addresses of other services as references.
    fn value(&mut self, service: &str, text: &str, services: &Map<String, Value>) -> String {
        let text = self.interpolated(service, text);
        let Some((scheme, rest)) = text.split_once("://") else { return text };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = address.split_once(':').map_or((address, ""), |(host, port)| (host, port));
        let (Some(role), Some(short)) = (self.roles.get(host).copied(), self.names.get(host).cloned()) else {
            return text;
        };
        match role {
            Role::Database if scheme.starts_with("jdbc") => format!("${{databases.{short}.jdbcUrl}}"),
            Role::Database if matches!(scheme, "postgres" | "postgresql") && !tail.contains('?') => {
                format!("${{databases.{short}.url}}")
            }
            Role::Database => {
                let of = |field: &str| format!("${{databases.{short}.{field}}}");
                let query = tail.find('?').map(|at| tail.split_at(at).1).unwrap_or_default();
                format!(
                    "{scheme}://{}:{}@{}:{}/{}{query}",
                    of("user"),
                    of("password"),
                    of("host"),
                    of("port"),
                    of("name")
                )
            }
            Role::Cache if scheme == "redis" && matches!(tail, "" | "/" | "/0") => format!("${{caches.{short}.url}}"),
            Role::Cache => format!("{scheme}://:${{caches.{short}.password}}@${{caches.{short}.host}}:6379{tail}"),
            Role::App if has_port(&services[host]) => {
                let port = if port.is_empty() { String::new() } else { format!(":{port}") };
                format!("{scheme}://${{apps.{short}.host}}{port}{tail}")
            }
            Role::App => {
                self.note(service, "environment", &format!("{host} has no port here; add one to `apps.{short}`"));
                text
            }
        }
    }

    /// `${VAR:-default}` takes its default, `${VAR}` becomes a parameter, `$$` a `$`.
    fn interpolated(&mut self, service: &str, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                // a literal `${` must stay one
                out.push_str(if after.starts_with('{') { "$$" } else { "$" });
                rest = after;
                continue;
            }
            let (inner, after) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some(found) => found,
                None => {
                    after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()))
                }
            };
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
            let (variable, how) = inner.split_at(end);
            match how.strip_prefix(":-").or_else(|| how.strip_prefix('-')) {
                Some(default) => out.push_str(&default.replace("${", "$${")),
                None if variable.starts_with(|c: char| c.is_ascii_alphabetic()) && variable.len() <= 63 => {
                    if !self.params.contains_key(variable) {
                        self.note(
                            service,
                            variable,
                            &format!("came from the shell; it is `params.{variable}` now; give it a value"),
                        );
                        self.params.insert(variable.to_owned(), json!("unset"));
                    }
                    out.push_str("${params.");
                    out.push_str(variable);
                    out.push('}');
                }
                None => out.push_str(variable),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

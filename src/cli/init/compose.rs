//! A compose file (Compose Specification) as an hks.yaml, as far as that goes; the rest is told.

mod read;

use super::{HEAD, label};
use anyhow::{Context as _, Result, bail};
use read::{Role, container_port, environment, has_port, major, plain, port_name, published, role, words};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What came of a compose file.
pub(super) struct Converted {
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
pub(super) fn convert(text: &str, name: &str) -> Result<Converted> {
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

    fn health(&mut self, service: &str, body: &Value, ports: &Map<String, Value>, app: &mut Map<String, Value>) {
        let check = &body["healthcheck"];
        let test = match &check["test"] {
            Value::String(text) => vec!["sh".to_owned(), "-c".to_owned(), text.clone()],
            list => match words(list).split_first() {
                Some((first, rest)) if first == "CMD" => rest.to_vec(),
                Some((first, rest)) if first == "CMD-SHELL" => vec!["sh".to_owned(), "-c".to_owned(), rest.join(" ")],
                _ => vec![],
            },
        };
        if test.is_empty() {
            return;
        }
        let line = test.join(" ");
        let address = ["http://localhost:", "http://127.0.0.1:"].iter().find_map(|head| line.split(*head).nth(1));
        let address = address.map(|rest| rest.split([' ', '\'', '"', ';', '|', '&']).next().unwrap_or_default());
        let web = address.and_then(|address| {
            let (port, path) = address.split_once('/').unwrap_or((address, ""));
            let port: u16 = port.parse().ok()?;
            let (name, _) = ports.iter().find(|(_, known)| **known == port)?;
            Some(json!({ "path": format!("/{path}"), "port": name }))
        });
        let mut probe = web.unwrap_or_else(|| json!({ "exec": test }));
        for (from, to) in [("interval", "period"), ("timeout", "timeout")] {
            let time = check[from].as_str().filter(|time| {
                time.ends_with('s') && time.trim_end_matches('s').parse::<u32>().is_ok_and(|s| s > 0 && s <= 3600)
            });
            if let Some(time) = time {
                probe[to] = json!(time);
            }
        }
        if let Some(retries) = check["retries"].as_u64().filter(|retries| (1..=1000).contains(retries)) {
            probe["failureThreshold"] = json!(retries);
        }
        app.insert("probes".into(), json!({ "readiness": probe }));
        self.note(service, "healthcheck", "decides here whether it gets traffic; add `liveness` to have it restarted");
    }

    fn volumes(&mut self, service: &str, body: &Value, app: &mut Map<String, Value>) {
        let mut volumes = Map::new();
        for entry in body["volumes"].as_array().into_iter().flatten() {
            let (source, target) = match entry {
                Value::String(text) => {
                    let mut parts = text.split(':');
                    let first = parts.next().unwrap_or_default();
                    parts
                        .next()
                        .map_or((String::new(), first.to_owned()), |target| (first.to_owned(), target.to_owned()))
                }
                other => {
                    let text = |key: &str| other[key].as_str().unwrap_or_default().to_owned();
                    (text("source"), text("target"))
                }
            };
            if source.starts_with(['.', '/', '~', '$']) {
                self.note(
                    service,
                    "volumes",
                    &format!("{source} of this machine is not carried over; use `files`, or put it into the image"),
                );
            } else if target.starts_with('/') && target.len() > 1 {
                let name = label(if source.is_empty() { "data" } else { &source }, 20);
                volumes.insert(name, json!({ "mount": target.trim_end_matches('/'), "size": SIZE }));
                self.note(
                    service,
                    "volumes",
                    &format!("the volume at {target} is new and has {SIZE}; with it, there is one pod"),
                );
            }
        }
        let temporary = match &body["tmpfs"] {
            Value::String(path) => vec![path.clone()],
            list => words(list),
        };
        for (index, path) in temporary.iter().enumerate() {
            let path = path.split(':').next().unwrap_or_default();
            volumes.insert(format!("tmp-{index}"), json!({ "mount": path, "scratch": "64Mi" }));
        }
        if !volumes.is_empty() {
            app.insert("volumes".into(), volumes.into());
        }
        if let Some(user) = body["user"]
            .as_str()
            .and_then(|user| user.split(':').next()?.parse::<u32>().ok())
            .or(body["user"].as_u64().and_then(|user| u32::try_from(user).ok()))
        {
            app.insert("security".into(), json!({ "runAsUser": user }));
        }
        if body["read_only"] == true {
            app.entry("security").or_insert(json!({}))["readOnlyRootFilesystem"] = json!(true);
        }
    }

    fn order(&mut self, service: &str, body: &Value, app: &mut Map<String, Value>) {
        let wanted: Vec<(String, &str)> = match &body["depends_on"] {
            Value::Object(map) => map
                .iter()
                .map(|(name, how)| {
                    let ready = how["condition"].as_str().is_some_and(|condition| condition != "service_started");
                    (name.clone(), if ready { "ready" } else { "started" })
                })
                .collect(),
            list => words(list).into_iter().map(|name| (name, "started")).collect(),
        };
        let mut depends = Map::new();
        for (other, condition) in wanted {
            // databases and caches come first anyway
            if let (Some(Role::App), Some(short)) = (self.roles.get(&other), self.names.get(&other))
                && other != service
            {
                depends.insert(format!("apps.{short}"), json!(condition));
            }
        }
        if !depends.is_empty() {
            app.insert("dependsOn".into(), depends.into());
        }
    }

    fn size(&mut self, service: &str, body: &Value, app: &mut Map<String, Value>) {
        let deploy = &body["deploy"];
        let lasting = app.get("volumes").is_some_and(|volumes| {
            volumes.as_object().is_some_and(|all| all.values().any(|v| v.get("size").is_some()))
        });
        if let Some(replicas) = deploy["replicas"].as_u64().filter(|replicas| *replicas <= 100) {
            if lasting && replicas > 1 {
                self.note(service, "deploy.replicas", "an app with a volume that lasts has one pod");
            } else {
                app.insert("replicas".into(), json!(replicas));
            }
        }
        let mut resources = json!({});
        for (from, to) in [("limits", "limits"), ("reservations", "requests")] {
            let amounts = &deploy["resources"][from];
            if let Some(cpus) = amounts["cpus"]
                .as_f64()
                .or_else(|| amounts["cpus"].as_str().and_then(|cpus| cpus.parse().ok()))
                .filter(|cpus| *cpus >= 0.001 && *cpus < 1000.0)
            {
                resources[to]["cpu"] = json!(format!("{:.0}m", cpus * 1000.0));
            }
            let memory = amounts["memory"].as_str().unwrap_or_default();
            let digits: String = memory.chars().take_while(char::is_ascii_digit).collect();
            let unit = memory.get(digits.len()..).unwrap_or_default().to_lowercase();
            let unit = match unit.trim_end_matches('b') {
                "k" => "Ki",
                "m" => "Mi",
                "g" => "Gi",
                _ => "",
            };
            if !unit.is_empty()
                && digits.parse::<u64>().is_ok_and(|number| number > 0 && number < 1_000_000)
                && unit != "Ki"
            {
                resources[to]["memory"] = json!(format!("{digits}{unit}"));
            }
        }
        if resources.as_object().is_some_and(|resources| !resources.is_empty()) {
            app.insert("resources".into(), resources);
        }
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

//! The shape of an app: health, volumes, order and size.

use super::read::{Role, words};
use super::{SIZE, Work};
use crate::cli::init::label;
use serde_json::{Map, Value, json};

impl Work {
    pub(super) fn health(
        &mut self,
        service: &str,
        body: &Value,
        ports: &Map<String, Value>,
        app: &mut Map<String, Value>,
    ) {
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

    pub(super) fn volumes(&mut self, service: &str, body: &Value, app: &mut Map<String, Value>) {
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

    pub(super) fn order(&mut self, service: &str, body: &Value, app: &mut Map<String, Value>) {
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

    pub(super) fn size(&mut self, service: &str, body: &Value, app: &mut Map<String, Value>) {
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
}

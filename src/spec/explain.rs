//! What a key of hks.yaml means, told from the schema: for `hks explain`, and as the reference in `schema/README.md`.

use super::schema::SCHEMA;
use super::suggest;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What a key means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The keys down to it; `*` stands for a name of your own.
    pub path: String,
    /// What may stand there, in words.
    pub takes: String,
    /// What it means.
    pub description: String,
    /// What holds when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// A line of hks.yaml.
    pub example: String,
    /// The Kubernetes objects that it shows up in.
    pub objects: String,
    /// Whether it must be there.
    pub required: bool,
    /// What may stand below: key, what it takes, what it means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<(String, String, String)>,
}

/// Where keys show up, by the longest path that fits.
const OBJECTS: &[(&str, &str)] = &[
    ("", "all objects of the Stack"),
    ("apiVersion", "none: it says how the file is read"),
    ("kind", "none: it says how the file is read"),
    ("metadata", "all objects: names and labels"),
    ("params", "whatever refers to it"),
    ("registries", "Deployment, Job, CronJob: image and imagePullSecrets"),
    ("databases", "StatefulSet, Secret, PersistentVolumeClaim, Service, NetworkPolicy"),
    ("databases.*.engine", "StatefulSet: image"),
    ("databases.*.version", "StatefulSet: image"),
    ("databases.*.name", "Secret, StatefulSet: env"),
    ("databases.*.user", "Secret, StatefulSet: env"),
    ("databases.*.storage", "PersistentVolumeClaim"),
    ("databases.*.resources", "StatefulSet: resources"),
    ("databases.*.parameters", "StatefulSet: args"),
    ("databases.*.extensions", "StatefulSet: postStart"),
    ("databases.*.pooler", "Deployment, Service, NetworkPolicy, Secret"),
    ("databases.*.credentials", "Secret"),
    ("databases.*.onDelete", "StatefulSet, PersistentVolumeClaim, Secret: annotation"),
    ("caches", "StatefulSet, Secret, Service, NetworkPolicy"),
    ("caches.*.persistence", "PersistentVolumeClaim, StatefulSet"),
    ("apps", "Deployment, Service, ConfigMap, PodDisruptionBudget"),
    ("apps.*.image", "Deployment: image"),
    ("apps.*.from", "Deployment: image, env"),
    ("apps.*.external", "none: nothing is deployed"),
    ("apps.*.command", "Deployment: command"),
    ("apps.*.args", "Deployment: args"),
    ("apps.*.ports", "Service; Deployment: ports"),
    ("apps.*.env", "Deployment: env; NetworkPolicy of what it refers to"),
    ("apps.*.files", "ConfigMap; Deployment: volumeMounts"),
    ("apps.*.replicas", "Deployment: replicas; PodDisruptionBudget above 1"),
    ("apps.*.autoscaling", "HorizontalPodAutoscaler"),
    ("apps.*.resources", "Deployment: resources"),
    ("apps.*.probes", "Deployment: probes"),
    (
        "apps.*.rollout",
        "Deployment: strategy; with blueGreen a Deployment for each version, and a Service `NAME-preview`",
    ),
    ("apps.*.volumes", "PersistentVolumeClaim; Deployment: volumes"),
    ("apps.*.shutdown", "Deployment: terminationGracePeriodSeconds, preStop"),
    ("apps.*.dependsOn", "none: the order in which objects are applied"),
    ("apps.*.security", "Deployment: securityContext"),
    ("apps.*.labels", "Deployment: labels of the pods"),
    ("apps.*.annotations", "Deployment: annotations of the pods"),
    ("apps.*.caCertificates", "ConfigMap; Deployment: env, volumeMounts"),
    ("jobs", "Job, or CronJob with `schedule` or `run: manual`"),
    ("secrets", "Secret; env of what refers to it"),
    ("certificates", "ConfigMap"),
    ("ingress", "Ingress; or HTTPRoute, where the platform has a Gateway"),
    ("ingress.*.host", "Ingress: host"),
    ("ingress.*.paths", "Ingress: paths"),
    ("ingress.*.tls", "Ingress: tls, annotations"),
    ("ingress.*.headers", "HTTPRoute: filters"),
    ("ingress.*.requestHeaders", "HTTPRoute: filters"),
    ("ingress.*.maintenance", "Ingress: paths"),
    ("deploy", "none: how the daemon goes about it"),
    ("environments", "all objects, in that environment"),
];

/// Explains the key at `path`, such as `apps.web.probes`; names of your own may be left out or written as `*`.
///
/// # Errors
/// Says which key is not there, and which ones are.
pub fn explain(path: &str) -> Result<Explanation, String> {
    let mut schema = &*SCHEMA;
    let mut parent: Option<(&Value, String)> = None;
    let mut walked: Vec<String> = vec![];
    for key in path.split('.').filter(|key| !key.is_empty()) {
        let (found, own) = step(schema, key).ok_or_else(|| unknown(schema, key, &walked))?;
        parent = Some((found.0, key.to_owned()));
        walked.extend(own.then(|| "*".to_owned()));
        walked.push(if found.2 { "*".to_owned() } else { key.to_owned() });
        schema = found.1;
    }
    let required = parent.is_some_and(|(of, key)| requires(of, &key));
    Ok(told(schema, &walked.join("."), required))
}

/// The schema below `schema` at `key`: what holds it, it, and whether `key` is a name of the user's own. The flag beside it
/// says that such a name was left out.
type Found<'s> = (&'s Value, &'s Value, bool);

fn step<'s>(schema: &'s Value, key: &str) -> Option<(Found<'s>, bool)> {
    let all = alternatives(schema);
    if let Some((of, found)) = all.iter().find_map(|of| Some((*of, of["properties"].get(key)?))) {
        return Some(((of, found, false), false));
    }
    for of in &all {
        for below in [&of["additionalProperties"], &of["items"]] {
            if !below.is_object() {
                continue;
            }
            // a name that may be left out: `apps.image` is `apps.*.image`
            let inside = alternatives(below);
            if let Some((of, found)) = inside.iter().find_map(|of| Some((*of, of["properties"].get(key)?))) {
                return Some(((of, found, false), true));
            }
            return Some(((of, below, true), false));
        }
    }
    None
}

fn unknown(schema: &Value, key: &str, walked: &[String]) -> String {
    let known: BTreeSet<&String> = alternatives(schema)
        .iter()
        .filter_map(|of| of["properties"].as_object())
        .flat_map(|keys| keys.keys())
        .collect();
    let place = if walked.is_empty() { "hks.yaml".to_owned() } else { format!("`{}`", walked.join(".")) };
    let names: Vec<&str> = known.iter().map(|key| key.as_str()).collect();
    let otherwise =
        if names.is_empty() { "there is nothing below it".to_owned() } else { format!("it has {}", names.join(", ")) };
    format!("{place} has no `{key}`; {}", suggest::hint(key, names.iter().copied(), &otherwise))
}

/// The schema itself, or each of its alternatives, with definitions looked up.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let schema = resolved(schema);
    let options = ["anyOf", "oneOf"].into_iter().find_map(|key| schema[key].as_array());
    options.map_or_else(|| vec![schema], |options| options.iter().flat_map(alternatives).collect())
}

fn resolved(schema: &Value) -> &Value {
    let definition = schema["$ref"].as_str().and_then(|name| SCHEMA.pointer(name.strip_prefix('#')?));
    definition.unwrap_or(schema)
}

fn requires(of: &Value, key: &str) -> bool {
    resolved(of)["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key))
}

fn told(schema: &Value, path: &str, required: bool) -> Explanation {
    let of = resolved(schema);
    let text = |key: &str| schema.get(key).or_else(|| of.get(key));
    let description = text("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = path.rsplit('.').next().unwrap_or_default();
    let keys = alternatives(schema).into_iter().filter_map(|of| of["properties"].as_object());
    let keys = keys.flatten().map(|(key, below)| {
        let meaning = below.get("description").or_else(|| resolved(below).get("description"));
        (key.clone(), takes(below), meaning.and_then(Value::as_str).unwrap_or_default().to_owned())
    });
    Explanation {
        path: path.to_owned(),
        takes: takes(schema),
        description,
        default: text("default").filter(|default| !default.is_object() && !default.is_array()).map(plain),
        example: example(schema, name),
        objects: objects(path).to_owned(),
        required,
        keys: keys.collect(),
    }
}

fn objects(path: &str) -> &'static str {
    let fits = |prefix: &str| {
        let (mut path, mut wanted) = (path.split('.'), prefix.split('.').filter(|part| !part.is_empty()));
        wanted.all(|part| path.next() == Some(part))
    };
    let best = OBJECTS.iter().filter(|(prefix, _)| fits(prefix)).max_by_key(|(prefix, _)| prefix.len());
    best.map(|(_, objects)| *objects).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What may stand there, in words.
fn takes(schema: &Value) -> String {
    let all = alternatives(schema);
    let mut words: Vec<String> = vec![];
    for of in all {
        let bounds = match (of["minimum"].as_f64(), of["maximum"].as_f64()) {
            (Some(least), Some(most)) => format!(", {least} to {most}"),
            (None, Some(most)) => format!(", at most {most}"),
            _ => String::new(),
        };
        let one_of = |values: &Value| {
            let values = values.as_array().into_iter().flatten().map(|value| format!("`{}`", plain(value)));
            values.collect::<Vec<_>>().join(", ")
        };
        let word = if of["enum"].is_array() {
            one_of(&of["enum"])
        } else if let Some(only) = of.get("const") {
            format!("`{}`", plain(only))
        } else if of["additionalProperties"].is_object() {
            format!("mapping of names to {}", takes(&of["additionalProperties"]))
        } else {
            match &of["type"] {
                Value::String(kind) if kind == "array" => format!("list of {}", takes(&of["items"])),
                Value::String(kind) => kind_word(kind).to_owned(),
                Value::Array(kinds) => {
                    kinds.iter().filter_map(Value::as_str).map(kind_word).collect::<Vec<_>>().join(" or ")
                }
                _ => "mapping".to_owned(),
            }
        };
        words.push(format!("{word}{bounds}"));
    }
    words.dedup();
    words.join(", or ")
}

fn kind_word(kind: &str) -> &str {
    match kind {
        "object" => "mapping",
        "array" => "list",
        "integer" => "whole number",
        "boolean" => "`true` or `false`",
        "string" => "text",
        other => other,
    }
}

/// A line of hks.yaml that uses the key.
fn example(schema: &Value, name: &str) -> String {
    if name.is_empty() || name == "*" {
        return value(schema, 0);
    }
    format!("{name}: {}", value(schema, 0))
}

/// Deeper examples are cut.
const DEEP: usize = 3;

fn value(schema: &Value, depth: usize) -> String {
    let of = alternatives(schema).into_iter().next().unwrap_or(schema);
    let given = schema["examples"]
        .as_array()
        .or_else(|| of["examples"].as_array())
        .and_then(|all| all.iter().find(|e| *e != ""));
    let given = given.or_else(|| schema.get("default")).or_else(|| of.get("default"));
    let scalar = |value: &Value| match value {
        Value::String(text) if text.parse::<f64>().is_ok() || text.contains(['*', '{', '@', '%', ':']) => {
            format!("\"{text}\"")
        }
        other => plain(other),
    };
    if let Some(given) = given.filter(|given| !given.is_object() && !given.is_array()) {
        return scalar(given);
    }
    if let Some(first) = of["enum"].as_array().and_then(|values| values.first()) {
        return scalar(first);
    }
    if let Some(only) = of.get("const") {
        return plain(only);
    }
    if of["items"].is_object() {
        return format!("[{}]", value(&of["items"], depth + 1));
    }
    if depth >= DEEP {
        return "{}".to_owned();
    }
    if of["additionalProperties"].is_object() {
        let name = value(&of["propertyNames"], depth + 1);
        return format!("{{{name}: {}}}", value(&of["additionalProperties"], depth + 1));
    }
    if let Some(properties) = of["properties"].as_object() {
        let wanted = properties.iter().filter(|(key, _)| requires(of, key));
        let mut shown: Vec<_> = wanted.collect();
        if shown.is_empty() {
            shown = properties.iter().take(1).collect();
        }
        let shown = shown.into_iter().map(|(key, below)| format!("{key}: {}", value(below, depth + 1)));
        return format!("{{{}}}", shown.collect::<Vec<_>>().join(", "));
    }
    match of["type"].as_str() {
        Some("integer") => of["minimum"].as_i64().unwrap_or(1).max(1).to_string(),
        Some("boolean") => "true".to_owned(),
        Some("object") => "{}".to_owned(),
        _ => "text".to_owned(),
    }
}

/// Every path of the language, in the order of the schema, with `*` for names of one's own.
pub fn paths() -> Vec<String> {
    let mut found = vec![];
    collect(&SCHEMA, "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut Vec<String>) {
    for of in alternatives(schema) {
        for (key, below) in of["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            found.push(path.clone());
            collect(below, &path, found);
        }
        for below in [&of["additionalProperties"], &of["items"]] {
            if below.is_object() && alternatives(below).iter().any(|of| of["properties"].is_object()) {
                collect(below, &format!("{path}.*"), found);
            }
        }
    }
}

/// The reference as Markdown: every key, what it takes, what holds without it and what it means.
pub fn reference() -> String {
    let mut text = String::from(
        "# Reference of hks.yaml\n\nGenerated from the types that read the file; a test keeps it fresh. `*` stands for a name \
         of your own. `hks explain PATH` tells the same in a terminal, with an example.\n",
    );
    let mut section = String::new();
    for path in paths() {
        let Ok(told) = explain(&path) else { continue };
        let top = path.split('.').next().unwrap_or_default();
        if top != section {
            top.clone_into(&mut section);
            let _ = write!(text, "\n## {top}\n\n{}\n\n", told.description);
            let _ = writeln!(text, "Becomes: {}.\n\n```yaml\n{}\n```\n", told.objects, told.example);
            if !told.keys.is_empty() || paths().iter().any(|other| other.starts_with(&format!("{top}."))) {
                text.push_str("| key | takes | default | meaning |\n| --- | --- | --- | --- |\n");
            }
            continue;
        }
        let default = match (&told.default, told.required) {
            (_, true) => "required".to_owned(),
            (Some(default), false) => format!("`{default}`"),
            (None, false) => String::new(),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(text, "| `{path}` | {} | {default} | {} |", cell(&told.takes), cell(&told.description));
    }
    text
}

//! What the schema refuses, said to people; and the file without it, so that the other checks can still run.

mod crowd;
mod foreign;
mod pattern;

use super::credential;
use super::diagnostic::{Code, MOST_TOLD};
use super::place::Path;
use super::report::{Report, below, root};
use super::schema::{SCHEMA, VALIDATOR};
use super::suggest;
use crowd::Crowd;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use pattern::bad_text;
use serde_json::Value;
use std::collections::BTreeSet;

/// The places that the schema refused: what depends on them is not checked, for it would only repeat the mistake.
///
/// Each as one text, its keys ended by NUL, which is no part of them: what is below a place begins with that.
#[derive(Debug, Default)]
pub(super) struct Broken {
    places: BTreeSet<String>,
    /// Whether a mapping holds more than it may, and was cut.
    pub crowded: bool,
}

impl Broken {
    fn add(&mut self, path: &[String]) {
        self.places.insert(path.iter().flat_map(|key| [key, "\0"]).collect());
    }

    /// Whether `path` itself, or something around it, was refused.
    pub fn hides(&self, path: &[&str]) -> bool {
        !self.places.is_empty() && self.around(path).1
    }

    /// Whether `path`, or something around or in it, was refused.
    pub fn touches(&self, path: &[&str]) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let (here, around) = self.around(path);
        around || self.places.range(here.clone()..).next().is_some_and(|first| first.starts_with(&here))
    }

    /// `path` as it is kept, and whether it or something around it is.
    fn around(&self, path: &[&str]) -> (String, bool) {
        let mut here = String::new();
        let mut found = self.places.contains("");
        for key in path {
            here.push_str(key);
            here.push('\0');
            found = found || self.places.contains(&here);
        }
        (here, found)
    }
}

/// Reports what the schema refuses and takes it out of `value`.
pub(super) fn check(value: &mut Value, report: &mut Report<'_>) -> Broken {
    let mut broken = Broken::default();
    let mut removals = Vec::new();
    match &*VALIDATOR {
        Ok(validator) => {
            for crowd in crowd::cut(value) {
                crowded(&crowd, report);
                broken.crowded |= !crowd.list;
                broken.add(&crowd.path);
            }
            crowd::refused(validator, value, &mut |error| {
                if report.is_full() {
                    report.more += 1;
                } else {
                    violation(error, report, &mut removals, &mut broken);
                }
                !report.is_full() || report.more < MOST_TOLD
            });
        }
        Err(message) => {
            report.value(Code::WrongType, &[], &format!("the schema of this build is broken: {message}"), "report it");
            broken.add(&[]);
        }
    }
    for path in removals {
        remove(value, &path);
    }
    broken
}

fn violation(error: &ValidationError<'_>, report: &mut Report<'_>, removals: &mut Vec<Path>, broken: &mut Broken) {
    let path = keys(error.instance_path().as_str());
    let definition = definition(error.schema_path().as_str());
    // an item of a list is called by the list
    let named = path.iter().rev().find(|key| key.parse::<usize>().is_err());
    let name = named.map_or("the file", String::as_str);
    let remove = |path: &Path, removals: &mut Vec<Path>, broken: &mut Broken| {
        removals.push(path.clone());
        broken.add(path);
    };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => unknown_keys(error, &path, unexpected, report, removals, broken),
        Kind::PropertyNames { error } => {
            let key = error.instance().as_str().unwrap_or_default();
            let at = below(&path, &[key]);
            let (code, message, help) = bad_text(self::definition(error.schema_path().as_str()), "name", key);
            report.key(code, &at, &message, help);
        }
        // a key that was spelt wrong is told once
        Kind::Required { property } if misspelt(error, property.as_str().unwrap_or_default()) => {}
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let message = if path.is_empty() {
                format!("`{key}` is missing")
            } else {
                format!("`{}` has no `{key}`", short(name))
            };
            report.key(Code::MissingKey, &path, &message, missing_key(key));
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            // the alternatives differ in type: the one of the right type says what is wrong
            let top = |e: &&ValidationError<'_>| {
                e.instance_path() == error.instance_path() && matches!(e.kind(), Kind::Type { .. })
            };
            if let Some(errors) = context.iter().find(|errors| !errors.iter().any(|e| top(&e))) {
                for e in errors {
                    violation(e, report, removals, broken);
                }
            } else {
                let types = context.iter().flatten().filter(top).filter_map(|e| match e.kind() {
                    Kind::Type { kind } => Some(expected(kind)),
                    _ => None,
                });
                let types = types.collect::<Vec<_>>().join(" or ");
                let (message, help) = wrong_type(error.instance(), &types, name, definition, None);
                report.value(Code::WrongType, &path, &message, &help);
                remove(&path, removals, broken);
            }
        }
        Kind::Type { kind } => {
            let written = report.places.text(&path).map(str::to_owned);
            let (message, mut help) =
                wrong_type(error.instance(), expected(kind), name, definition, written.as_deref());
            if definition == "PortName" {
                help = port_name(&path, written.as_deref(), report).unwrap_or(help);
            }
            report.value(Code::WrongType, &path, &message, &help);
            remove(&path, removals, broken);
        }
        Kind::Enum { options } if **options == serde_json::json!([true]) => {
            let name = short(name);
            report.value(
                Code::UnknownValue,
                &path,
                &format!("`{name}` can only be `true`"),
                "write `true`, or remove it",
            );
            remove(&path, removals, broken);
        }
        // the type is wrong already, and has been reported
        Kind::Enum { .. } | Kind::Constant { .. } if !error.instance().is_string() => {}
        Kind::Enum { options } => {
            let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            unknown_value(&path, error.instance(), &options, report);
            remove(&path, removals, broken);
        }
        Kind::Constant { expected_value } => {
            unknown_value(&path, error.instance(), &[expected_value.as_str().unwrap_or_default()], report);
            remove(&path, removals, broken);
        }
        Kind::Pattern { .. } => {
            let text = error.instance().as_str().unwrap_or_default();
            let (code, message, help) = bad_text(definition, name, text);
            let port = (definition == "PortName").then(|| port_name(&path, Some(text), report)).flatten();
            report.value(code, &path, &message, port.as_deref().unwrap_or(help));
            remove(&path, removals, broken);
        }
        Kind::MaxLength { limit } if is_name(definition) => {
            let message = format!("`{}` is longer than {limit} characters", short(name));
            report.value(Code::InvalidName, &path, &message, "shorten it");
            remove(&path, removals, broken);
        }
        kind => {
            let (message, help) = out_of_range(kind, name);
            report.value(Code::OutOfRange, &path, &message, &help);
            if !error.instance().is_object() {
                remove(&path, removals, broken);
            }
        }
    }
}

/// A mapping or list that holds more than it may.
fn crowded(crowd: &Crowd, report: &mut Report<'_>) {
    let Crowd { path, has, most, list } = crowd;
    let name = short(path.last().map_or("the file", String::as_str));
    if *list {
        let (message, help) = (format!("`{name}` is too long"), format!("write at most {most} items"));
        report.value(Code::OutOfRange, path, &message, &help);
    } else {
        let message = format!("`{name}` has {has} entries; {most} are allowed");
        report.value(Code::OutOfRange, path, &message, "leave some out, or split the Stack");
    }
}

/// Keys that the language does not have: told, and taken out of the file.
fn unknown_keys(
    error: &ValidationError<'_>,
    path: &Path,
    unexpected: &[String],
    report: &mut Report<'_>,
    removals: &mut Vec<Path>,
    broken: &mut Broken,
) {
    let known = known_keys(error);
    for (index, key) in unexpected.iter().enumerate() {
        let at = below(path, &[key]);
        if report.is_full() {
            report.more += unexpected.len() - index;
            return;
        }
        let own = synonym(key, &known);
        let said = foreign::said(key).filter(|_| own.is_none());
        let near = own.or_else(|| report.budget.nearest(key, known.iter().map(String::as_str)));
        if let Some(near) = near {
            broken.add(&below(path, &[near]));
        }
        let help = said.map_or_else(|| unknown_key(near, &known), str::to_owned);
        report.key(Code::UnknownKey, &at, &format!("unknown key `{}`", short(key)), &help);
        removals.push(at);
    }
}

/// The keys of a JSON pointer.
fn keys(pointer: &str) -> Path {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
}

/// The name of the definition that a schema path starts in.
fn definition(schema_path: &str) -> &str {
    schema_path.strip_prefix("/$defs/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

/// The keys that are allowed where `error` found another one.
fn known_keys(error: &ValidationError<'_>) -> Vec<String> {
    let parent = error.schema_path().as_str().strip_suffix("/additionalProperties").unwrap_or_default();
    let properties = SCHEMA.pointer(&format!("{parent}/properties")).and_then(Value::as_object);
    properties.map(|p| p.keys().cloned().collect()).unwrap_or_default()
}

/// What to write where a port is referred to by its number: the name of the app's port that has it.
fn port_name(path: &Path, written: Option<&str>, report: &Report<'_>) -> Option<String> {
    let number = written.filter(|text| text.parse::<u16>().is_ok())?;
    let above = path.split_last()?.1;
    let app = match path.as_slice() {
        [section, app, ..] if section == "apps" => app.as_str(),
        _ => report.places.text(&below(above, &["app"]))?,
    };
    let ports = root(&["apps", app, "ports"]);
    let has = |name: &&str| {
        let at = below(&ports, &[name]);
        [at.clone(), below(&at, &["port"])].iter().any(|at| report.places.text(at) == Some(number))
    };
    let name = report.places.keys(&ports).into_iter().find(has);
    let help = |name: &str| format!("ports are named: write `{}`", short(name));
    Some(name.map_or_else(|| format!("ports are named; {number} has no name in `ports` of `{}`", short(app)), help))
}

/// What other languages call what this one calls otherwise.
const SYNONYMS: &[(&str, &str)] = &[
    ("environment", "env"),
    ("services", "apps"),
    ("entrypoint", "command"),
    ("scale", "replicas"),
    ("instances", "replicas"),
    ("scaling", "autoscaling"),
    ("hpa", "autoscaling"),
    ("depends_on", "dependsOn"),
    ("cmd", "command"),
    ("environments", "env"),
    ("cron", "schedule"),
    ("domain", "host"),
    ("redis", "caches"),
    ("postgres", "databases"),
    ("volumeMounts", "volumes"),
    ("mountPath", "mount"),
    ("healthcheck", "probes"),
    ("healthCheck", "probes"),
    ("hostname", "host"),
    ("volume", "storage"),
    ("name", "repository"),
    ("memoryLimit", "limits"),
];

/// Whether what is missing stands there under a name that is nearly right.
fn misspelt(error: &ValidationError<'_>, missing: &str) -> bool {
    let parent = error.schema_path().as_str().strip_suffix("/required").unwrap_or_default();
    let known = SCHEMA.pointer(&format!("{parent}/properties"));
    let there = error.instance().as_object().into_iter().flat_map(|map| map.keys());
    let mut unknown = there.filter(|key| known.is_none_or(|known| known.get(key.as_str()).is_none()));
    unknown.any(|key| {
        suggest::nearest(key, [missing]).is_some() || SYNONYMS.iter().any(|(other, k)| other == key && *k == missing)
    })
}

/// What this language calls what another one calls `key`.
fn synonym(key: &str, known: &[String]) -> Option<&'static str> {
    let own = SYNONYMS.iter().filter(|(other, _)| *other == key).map(|(_, own)| *own);
    own.into_iter().find(|own| known.iter().any(|known| known == own))
}

fn unknown_key(near: Option<&str>, known: &[String]) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        // more of them would not fit into a commit status
        None if known.join(", ").len() > MOST_LISTED => {
            "remove it, or see `hks explain` for what may stand here".to_owned()
        }
        None => format!("remove it; known here: {}", known.join(", ")),
    }
}

fn missing_key(key: &str) -> &'static str {
    match key {
        "apiVersion" => "add `apiVersion: hks.hexabase.ai/v1`",
        "kind" => "add `kind: Stack`",
        "metadata" | "name" => "add `metadata: {name: …}`",
        "engine" => "add the kind of server, such as `engine: postgres` or `engine: redis`",
        "version" => "add the major version in quotes, such as `version: \"16\"`",
        "image" => "add `image: repository:tag`",
        "server" => "add the host, such as `server: registry.example/team`",
        "repository" => "add the repository of the image, without tag",
        "max" => "add the most pods, such as `max: 10`",
        "mount" => "add the path in the container, such as `mount: /var/lib/app`",
        "port" => "add the number of the port, such as `port: 8080`",
        "existing" => "add the name of the Secret, such as `existing: registry-login`",
        "to" => "add the address, such as `to: https://www.example.com`",
        "origins" => "add who may call, such as `origins: [https://app.example.com]`",
        "size" => "add the size of the volume, such as `size: 5Gi`",
        "requestsPerSecond" => "add how many, such as `requestsPerSecond: 50`",
        "paths" => "add what answers, such as `paths: {/: web}`",
        "app" => "add the name of the app, such as `app: web`",
        _ => "add it",
    }
}

fn expected(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Single(JsonType::Object) => "a mapping",
        TypeKind::Single(JsonType::Array) => "a list",
        TypeKind::Single(JsonType::Integer) => "a whole number",
        TypeKind::Single(JsonType::Boolean) => "`true` or `false`",
        TypeKind::Single(_) => "text",
        TypeKind::Multiple(types) if types.contains(JsonType::Boolean) => "text, a number or a boolean",
        TypeKind::Multiple(_) => "text or a number",
    }
}

fn wrong_type(actual: &Value, expected: &str, name: &str, definition: &str, written: Option<&str>) -> (String, String) {
    let is = match actual {
        Value::Null => "is empty",
        Value::Bool(_) => "is a boolean",
        Value::Number(_) => "is a number",
        Value::String(_) => "is text",
        Value::Array(_) => "is a list",
        Value::Object(_) => "is a mapping",
    };
    let name = short(name);
    let message = match actual {
        Value::Null => format!("`{name}` {is}, but must be {expected}"),
        _ => format!("`{name}` must be {expected}, but {is}"),
    };
    let help = match (actual, expected, definition) {
        (Value::String(text), ..) if text.contains("${") && !expected.contains("text") => {
            "refer to nothing here; environments set it in their `patch`".to_owned()
        }
        (Value::Null, "text, a number or a boolean", _) => "write `\"\"` for an empty text".to_owned(),
        (Value::Null, ..) => "give it a value, or remove the key".to_owned(),
        (Value::Number(_), "text", "Duration") => "add a unit, such as `30s` or `10m`".to_owned(),
        (Value::Number(_), "text", "Memory") => "add a unit, such as `256Mi` or `5Gi`".to_owned(),
        (Value::Number(_) | Value::Bool(_), "text", _) => {
            format!("quote it: `\"{}\"`", short(written.unwrap_or("…")))
        }
        (Value::String(_), "a whole number" | "a whole number or a mapping", _) => {
            "write it in digits, without quotes".to_owned()
        }
        (Value::Array(_), "a mapping", _) if name == "ports" => "name each port: `ports: {http: 8080}`".to_owned(),
        (Value::Array(_), "a mapping", _) if name == "env" => "write `NAME: value` below it, without `-`".to_owned(),
        (Value::Array(_), "a mapping", _) => "write `name: …` below it instead of `- …`".to_owned(),
        (_, "a mapping", _) => "write keys below it".to_owned(),
        (_, "a list", _) => "write a list, such as `[\"serve\", \"--verbose\"]`".to_owned(),
        (Value::String(_), "`true` or `false`", _) => "write `true` or `false`, without quotes".to_owned(),
        (Value::Number(_), "a whole number", _) => "leave out the fraction".to_owned(),
        _ => format!("write {expected}"),
    };
    (message, help)
}

fn unknown_value(path: &Path, actual: &Value, options: &[&str], report: &mut Report<'_>) {
    let named = path.iter().rev().find(|key| key.parse::<usize>().is_err());
    let name = named.map(String::as_str).unwrap_or_default();
    let actual = actual.as_str().unwrap_or_default();
    let message = if harmless(actual) {
        format!("unknown value `{actual}` of `{name}`")
    } else {
        format!("unknown value of `{name}`")
    };
    // between versions, near means nothing
    let near = report.budget.nearest(actual, options.iter().copied()).filter(|near| near.len() > 2);
    let help = match (options, near) {
        ([only], _) => format!("write `{only}`"),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        // more of them would not fit into a commit status
        _ if options.join(", ").len() > MOST_LISTED => {
            format!("write {}, …; see `hks explain`", options.iter().take(4).copied().collect::<Vec<_>>().join(", "))
        }
        _ => format!("write one of {}", options.join(", ")),
    };
    report.value(Code::UnknownValue, path, &message, &help);
}

/// A longer list is cut: with it, the message would not fit into a commit status.
const MOST_LISTED: usize = 70;

/// A longer text is not repeated: with it, the message would not fit into a commit status.
const MAX_SHOWN: usize = 30;

fn is_name(definition: &str) -> bool {
    matches!(
        definition,
        "StackName"
            | "Label"
            | "PortName"
            | "EnvName"
            | "KeyName"
            | "ObjectName"
            | "ParamName"
            | "LabelKey"
            | "DatabaseName"
    )
}

fn out_of_range(kind: &Kind, name: &str) -> (String, String) {
    let name = short(name);
    match kind {
        Kind::Minimum { limit } => (format!("`{name}` is too small"), format!("write at least {limit}")),
        Kind::Maximum { limit } => (format!("`{name}` is too large"), format!("write at most {limit}")),
        Kind::MinLength { .. } => (format!("`{name}` is an empty text"), "give it a value".to_owned()),
        Kind::MaxLength { limit } => (format!("`{name}` is too long"), format!("write at most {limit} characters")),
        Kind::MinProperties { .. } | Kind::MinItems { .. } => {
            (format!("`{name}` is empty"), "add at least one entry".to_owned())
        }
        Kind::UniqueItems => (format!("`{name}` names something twice"), "name each once".to_owned()),
        _ => (format!("`{name}` is not allowed"), "see the JSON Schema of hks.yaml".to_owned()),
    }
}

/// Whether a text may be repeated in a message.
fn harmless(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " ._-/".contains(c))
        && credential::mask(text) == text
}

/// A name for a message: not longer than names can be.
fn short(name: &str) -> String {
    if name.chars().count() <= 63 { name.to_owned() } else { name.chars().take(60).chain("…".chars()).collect() }
}

/// Takes `path` out of `value`; named things stay, empty, for others to refer to.
fn remove(value: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else {
        *value = Value::Object(serde_json::Map::new());
        return;
    };
    let Some(parent) = parents.iter().try_fold(value, |v, key| child(v, key)) else { return };
    match parent {
        Value::Object(map) => {
            let named = parents.len() == 1 && parents.first().is_some_and(|p| p != "metadata" && p != "deploy")
                || parents.get(2).is_some_and(|p| p == "generate") && parents.len() == 3;
            if named && map.contains_key(last) {
                map.insert(last.clone(), Value::Object(serde_json::Map::new()));
            } else {
                map.remove(last);
            }
        }
        Value::Array(items) => {
            if let Some(item) = last.parse::<usize>().ok().and_then(|i| items.get_mut(i)) {
                *item = Value::String(String::new());
            }
        }
        _ => {}
    }
}

fn child<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(map) => map.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointers() {
        assert_eq!(keys(""), Path::new());
        assert_eq!(keys("/a/~1/b~0c//0"), ["a", "/", "b~c", "", "0"]);
        assert_eq!(definition("/$defs/Label/pattern"), "Label");
        assert_eq!(definition("/properties/kind/enum"), "");
    }

    #[test]
    fn removes() {
        let path = |keys: &[&str]| below(&[], keys);
        let mut value = json!({"apps": {"web": 5}, "a": {"b": [1, 2]}});
        remove(&mut value, &path(&["apps", "web"]));
        remove(&mut value, &path(&["a", "b", "1"]));
        remove(&mut value, &path(&["a", "nothing", "here"]));
        assert_eq!(value, json!({"apps": {"web": {}}, "a": {"b": [1, ""]}}));
        remove(&mut value, &[]);
        assert_eq!(value, json!({}));
    }

    #[test]
    fn broken_places() {
        let mut broken = Broken::default();
        broken.add(&below(&[], &["apps", "web", "ports", "http"]));
        assert!(broken.touches(&["apps", "web", "ports"]) && broken.touches(&["apps", "web", "ports", "http", "x"]));
        assert!(!broken.touches(&["apps", "api"]) && !broken.hides(&["apps", "web", "ports"]));
        assert!(broken.hides(&["apps", "web", "ports", "http"]));
    }
}

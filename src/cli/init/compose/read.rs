//! The many ways in which a compose file says one thing.

use serde_json::Value;
use std::collections::BTreeMap;

/// What an image is known to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Database,
    Cache,
    App,
}

pub(super) fn role(image: &str) -> Role {
    let last = image.split(['@', ':']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    match last {
        "postgres" | "postgresql" | "postgis" => Role::Database,
        "redis" | "valkey" => Role::Cache,
        _ => Role::App,
    }
}

/// The major version in an image's tag, if it is one of these.
pub(super) fn major(image: &str, known: &[&str], default: &str) -> String {
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
    if known.contains(&digits.as_str()) { digits } else { default.to_owned() }
}

/// The name of the first published port.
pub(super) fn published(body: &Value) -> Option<String> {
    let first = body["ports"].as_array()?.iter().find_map(|port| container_port(port).filter(|(_, udp)| !udp))?;
    Some(port_name(first.0))
}

pub(super) fn port_name(port: u16) -> String {
    if matches!(port, 80 | 3000 | 5000 | 8000 | 8080) { "http".to_owned() } else { format!("port-{port}") }
}

/// The container's port of an entry of `ports` or `expose`, and whether it is UDP.
pub(super) fn container_port(entry: &Value) -> Option<(u16, bool)> {
    if let Some(number) = entry.as_u64().or_else(|| entry["target"].as_u64()) {
        return Some((u16::try_from(number).ok().filter(|port| *port > 0)?, entry["protocol"] == "udp"));
    }
    let text = entry.as_str()?;
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let last = text.rsplit(':').next()?;
    let first = last.split('-').next()?;
    Some((first.parse().ok().filter(|port| *port > 0)?, protocol == "udp"))
}

pub(super) fn has_port(body: &Value) -> bool {
    ["ports", "expose"]
        .iter()
        .any(|key| body[*key].as_array().is_some_and(|all| all.iter().any(|port| container_port(port).is_some())))
}

/// A value with `${VAR:-default}` replaced by its default, for comparisons.
pub(super) fn plain(text: &str) -> String {
    match text.strip_prefix("${").and_then(|inner| inner.strip_suffix('}')) {
        Some(inner) => inner.split_once(":-").map(|(_, default)| default.to_owned()).unwrap_or_default(),
        None => text.to_owned(),
    }
}

/// `environment` as a map; numbers and booleans as they are written.
pub(super) fn environment(body: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match &body["environment"] {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        Value::Array(list) => {
            let pairs = list.iter().filter_map(Value::as_str);
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        }
        _ => BTreeMap::new(),
    }
}

/// A command as words: a list, or one text that is split as a shell would.
pub(super) fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => {
            list.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
        }
        Value::String(text) => shell_words(text),
        _ => vec![],
    }
}

fn shell_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (vec![], String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None | Some('"'), '\\') => word.extend(chars.next()),
            (None, '\'' | '"') => {
                quote = Some(c);
                open = true;
            }
            (None, c) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

//! hks.yaml as it is written: in order, with comments.

use std::fmt::Write as _;

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Text; quoted where it would be taken for something else.
    Text(String),
    /// A number or a boolean, as it is.
    Bare(String),
    List(Vec<Value>),
    Map(Map),
}

/// Entries in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: String,
    value: Value,
    comment: Option<String>,
}

impl Default for Value {
    fn default() -> Self {
        Value::Text(String::new())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Bare(number.to_string())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Bare(yes.to_string())
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Value::Map(map)
    }
}

impl Value {
    fn holds(&self, part: &str) -> bool {
        match self {
            Value::Text(text) => text.contains(part),
            Value::Bare(_) => false,
            Value::List(items) => items.iter().any(|item| item.holds(part)),
            Value::Map(map) => map.holds(part),
        }
    }
}

impl Map {
    /// Sets a key.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.put(key, value.into(), None);
    }

    /// Sets a key, and says why beside it.
    pub fn set_because(&mut self, key: &str, value: impl Into<Value>, comment: &str) {
        self.put(key, value.into(), Some(comment.to_owned()).filter(|comment| !comment.is_empty()));
    }

    fn put(&mut self, key: &str, value: Value, comment: Option<String>) {
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => (entry.value, entry.comment) = (value, comment),
            None => self.0.push(Entry { key: key.to_owned(), value, comment }),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The value of a key, to be changed.
    pub fn value(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Whether any text has `part` in it.
    pub fn holds(&self, part: &str) -> bool {
        self.0.iter().any(|entry| entry.value.holds(part))
    }

    /// Whether anything of app or job `name` has a text with `part` in it.
    pub fn refers(&self, name: &str, part: &str) -> bool {
        let within = |section: &str| match self.get(section) {
            Some(Value::Map(all)) => all.get(name).is_some_and(|value| value.holds(part)),
            _ => false,
        };
        within("apps") || within("jobs")
    }

    /// Keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.key.as_str())
    }

    /// Keys and values in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|entry| (entry.key.as_str(), &entry.value))
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mapping at a key, made if it is not there.
    pub fn map(&mut self, key: &str) -> &mut Map {
        let at = if let Some(at) = self.0.iter().position(|entry| entry.key == key) {
            at
        } else {
            self.set(key, Map::default());
            self.0.len() - 1
        };
        let entry = &mut self.0[at];
        if !matches!(entry.value, Value::Map(_)) {
            entry.value = Value::Map(Map::default());
        }
        match &mut entry.value {
            Value::Map(map) => map,
            _ => unreachable!("it has just been made"),
        }
    }

    /// Takes away what stands at a path; whether there was something.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let Some(at) = self.0.iter().position(|entry| entry.key == *first) else { return false };
        let inner = match &mut self.0[at].value {
            Value::Map(map) if !rest.is_empty() => {
                if !map.remove(rest) {
                    return false;
                }
                map.is_empty()
            }
            // a list loses its meaning with one of its items
            _ => true,
        };
        if inner {
            self.0.remove(at);
        }
        true
    }

    /// The lines, each section of the top with an empty line before it.
    pub fn write(&self) -> String {
        let mut out = String::new();
        for entry in &self.0 {
            let section = matches!(&entry.value, Value::Map(map) if !map.is_empty()) && entry.key != "metadata";
            if section {
                out.push('\n');
            }
            entry.write(&mut out, 0);
        }
        out
    }
}

impl Entry {
    fn write(&self, out: &mut String, indent: usize) {
        let pad = "  ".repeat(indent);
        let comment = self.comment.as_ref().map(|text| one_line(text));
        let head = format!("{pad}{}:", scalar(&self.key));
        let say = |out: &mut String, line: String| match &comment {
            Some(comment) if line.chars().count() + comment.chars().count() <= 118 => {
                let _ = writeln!(out, "{line} # {comment}");
            }
            Some(comment) => {
                for part in wrapped(comment, 116 - pad.len().min(60)) {
                    let _ = writeln!(out, "{pad}# {part}");
                }
                let _ = writeln!(out, "{line}");
            }
            None => {
                let _ = writeln!(out, "{line}");
            }
        };
        match &self.value {
            Value::Map(map) if map.is_empty() => say(out, format!("{head} {{}}")),
            Value::Map(map) => {
                if let Some(flow) = map.flow(head.len()) {
                    say(out, format!("{head} {flow}"));
                    return;
                }
                say(out, head);
                for entry in &map.0 {
                    entry.write(out, indent + 1);
                }
            }
            Value::List(items) if items.is_empty() => say(out, format!("{head} []")),
            Value::List(items) => {
                say(out, head);
                for item in items {
                    let _ = writeln!(out, "{pad}  - {}", inline(item));
                }
            }
            Value::Text(text) if is_block(text) => {
                say(out, format!("{head} |{}", if text.ends_with('\n') { "" } else { "-" }));
                for line in text.trim_end_matches('\n').split('\n') {
                    let _ = if line.is_empty() { writeln!(out) } else { writeln!(out, "{pad}  {line}") };
                }
            }
            other => say(out, format!("{head} {}", inline(other))),
        }
    }
}

impl Map {
    /// In one line, if it is short and holds no comments.
    fn flow(&self, before: usize) -> Option<String> {
        let simple = self.0.len() <= 3
            && self
                .0
                .iter()
                .all(|entry| entry.comment.is_none() && matches!(&entry.value, Value::Bare(_) | Value::Text(_)));
        let entry = |entry: &Entry| format!("{}: {}", scalar(&entry.key), flow_scalar(&entry.value));
        let text = format!("{{{}}}", self.0.iter().map(entry).collect::<Vec<_>>().join(", "));
        (simple && before + text.chars().count() <= 60).then_some(text)
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Text(text) => scalar(text),
        Value::Bare(text) => text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(flow_scalar).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entry = |entry: &Entry| format!("{}: {}", scalar(&entry.key), flow_scalar(&entry.value));
            format!("{{{}}}", map.0.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A scalar between brackets, where more characters mean something.
fn flow_scalar(value: &Value) -> String {
    match value {
        Value::Text(text) if text.contains([',', '[', ']', '{', '}']) => quoted(text),
        other => inline(other),
    }
}

/// Whether a text of several lines can stand as it is.
fn is_block(text: &str) -> bool {
    let inner = text.strip_suffix('\n').unwrap_or(text);
    inner.contains('\n')
        && !inner.ends_with('\n')
        && !inner.starts_with([' ', '\n'])
        && inner.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}')
}

fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Whether a text is itself when it stands without quotes, in YAML 1.1 as well.
fn is_plain(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "" | "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "<<" | "=" | ".nan" | ".inf"
    );
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '.'))
        && text
            .chars()
            .all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | '_' | ':' | '-' | '+' | 'x' | 'o' | 'T' | 'Z'));
    let start = text.chars().next().is_some_and(|c| !"-?:,[]{}#&*!|>'\"%@`= .".contains(c) || c == '.');
    let start = start || text.starts_with("--") && text.len() > 3 || text.starts_with("./");
    !word
        && !numeric
        && start
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| {
            !c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{fffe}' | '\u{ffff}')
        })
}

/// In double quotes, as YAML and JSON have it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut();
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is written is read as it was.
    #[test]
    fn texts_arrive() {
        for text in [
            "",
            "a",
            "yes",
            "1.10",
            "0x1f",
            "12:30:45",
            "2024-01-01",
            "a: b",
            "a #b",
            "#",
            "- a",
            "-c",
            "--c",
            "{a}",
            "[a",
            "a\nb",
            "a\nb\n",
            " a",
            "a ",
            "\"q\"",
            "'",
            "a\tb",
            "${x}",
            "$2y$10",
            "line\n\n  two\n\n",
            "日本",
            "*",
            "&a",
            "!x",
            "%",
            "@",
            "`",
            "a:",
            ":",
            "?",
            "|",
            "> x",
            "1e3",
            "null",
            "~",
            ".5",
            "\u{7f}",
            "\u{feff}",
            "\u{85}x",
            "a\r\nb",
            "<<",
            "a\u{2028}b",
            "./x",
            "--",
        ] {
            let mut map = Map::default();
            map.map("m").set("k", text);
            map.map("m").set("l", Value::List(vec![text.into()]));
            map.map("m").map("f").set("x", text);
            let written = map.write();
            let read: serde_json::Value = serde_saphyr::from_str(&written).unwrap_or_default();
            for at in [&read["m"]["k"], &read["m"]["l"][0], &read["m"]["f"]["x"]] {
                assert_eq!(at, text, "{written}");
            }
        }
    }

    #[test]
    fn comments_stand_beside_or_above() {
        let mut map = Map::default();
        map.map("a").set_because("b", 1_u64, "short");
        map.map("a").set_because("c", 2_u64, &"word ".repeat(30));
        let written = map.write();
        assert!(written.contains("  b: 1 # short\n"), "{written}");
        assert!(written.contains("  # word word") && written.contains("\n  c: 2\n"), "{written}");
        assert!(map.remove(&["a", "b"]) && map.remove(&["a", "c"]) && map.is_empty());
    }
}

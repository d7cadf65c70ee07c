//! YAML as compose files use it: in the order of the file, scalars as they are written, anchors, merge keys and the tags
//! `!reset` and `!override`.

use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;

/// Deeper files are refused: compose itself needs some ten levels.
const MAX_DEPTH: usize = 48;
/// Files with more nodes, aliases expanded, are refused.
const MAX_NODES: usize = 100_000;
/// Mappings with more entries are refused.
const MAX_ENTRIES: usize = 1000;
/// Files with more text, aliases expanded, are refused.
const MAX_BYTES: usize = 4 << 20;

/// A YAML node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Node {
    /// Nothing: an empty value, `~` or `null`.
    #[default]
    Null,
    /// Text, a number or a boolean, as it is written.
    Scalar(String),
    /// Items in order.
    List(Vec<Node>),
    /// Entries in the order of the file.
    Map(Vec<(String, Node)>),
    /// `!override` (Compose Specification, "Merge"): replaces what it would be merged with.
    Override(Box<Node>),
    /// `!reset`: takes away what it would be merged with.
    Reset,
}

static NOTHING: Node = Node::Null;

impl Node {
    /// The value of a key, or nothing.
    pub fn get(&self, key: &str) -> &Node {
        let Node::Map(entries) = self else { return &NOTHING };
        entries.iter().find(|(known, _)| known == key).map_or(&NOTHING, |(_, value)| value)
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        if let Node::Scalar(text) = self { Some(text) } else { None }
    }

    /// Whether there is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self, Node::Null)
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(String, Node)] {
        if let Node::Map(entries) = self { entries } else { &[] }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        if let Node::List(items) = self { items } else { &[] }
    }

    /// The texts of a list, or the one text.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Node::Scalar(text) => vec![text.clone()],
            other => other.items().iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
        }
    }

    /// Entries of a mapping, or of a list of `KEY=VALUE`; a key without a value has none.
    pub fn pairs(&self) -> Vec<(String, Option<String>)> {
        match self {
            Node::Map(entries) => {
                entries.iter().map(|(key, value)| (key.clone(), value.text().map(str::to_owned))).collect()
            }
            other => other.items().iter().filter_map(Node::text).map(split).collect(),
        }
    }

    /// Whether it says yes.
    pub fn is_true(&self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// Sets a key of a mapping.
    pub fn set(&mut self, key: &str, value: Node) {
        if let Node::Map(entries) = self {
            match entries.iter_mut().find(|(known, _)| known == key) {
                Some((_, there)) => *there = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }

    /// Takes the marks of merges away.
    pub fn settled(self) -> Node {
        match self {
            Node::Override(inner) => inner.settled(),
            Node::Reset => Node::Null,
            Node::List(items) => Node::List(items.into_iter().map(Node::settled).collect()),
            Node::Map(entries) => {
                let kept = entries.into_iter().filter(|(_, value)| *value != Node::Reset);
                Node::Map(kept.map(|(key, value)| (key, value.settled())).collect())
            }
            other => other,
        }
    }

    fn size(&self) -> (usize, usize) {
        let of =
            |all: &mut dyn Iterator<Item = (usize, usize)>| all.fold((1, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        match self {
            Node::Null | Node::Reset => (1, 0),
            Node::Scalar(text) => (1, text.len()),
            Node::Override(inner) => inner.size(),
            Node::List(items) => of(&mut items.iter().map(Node::size)),
            Node::Map(entries) => of(&mut entries.iter().map(|(key, value)| {
                let (nodes, bytes) = value.size();
                (nodes, bytes + key.len())
            })),
        }
    }
}

fn split(pair: &str) -> (String, Option<String>) {
    match pair.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (pair.to_owned(), None),
    }
}

/// Reads one document.
///
/// # Errors
/// Says where it is no YAML, or too large with its aliases.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let options =
        granit_parser::options! { flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH, emit_comments: false };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            format!("line {}, column {}: {}", at.line(), at.col() + 1, error.info())
        })?;
        builder.event(event).map_err(|why| format!("line {}: {why}", span.start.line()))?;
    }
    Ok(builder.root.unwrap_or_default())
}

#[derive(Default)]
struct Builder {
    documents: usize,
    nodes: usize,
    bytes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
}

struct Open {
    node: Node,
    key: Option<String>,
    merged: Vec<Node>,
    anchor: usize,
    tag: Option<Tag>,
}

#[derive(Clone, Copy)]
enum Tag {
    Override,
    Reset,
}

fn tag_of(event: &Event<'_>) -> Option<Tag> {
    let tag = event.tag()?.original().clone();
    if tag.ends_with("override") {
        return Some(Tag::Override);
    }
    tag.ends_with("reset").then_some(Tag::Reset)
}

fn tagged(node: Node, tag: Option<Tag>) -> Node {
    match tag {
        Some(Tag::Override) => Node::Override(Box::new(node)),
        Some(Tag::Reset) => Node::Reset,
        None => node,
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        let tag = tag_of(&event);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("a second document starts here; give one compose file".into());
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                self.nodes += 1;
                let nothing = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let node = if nothing { Node::Null } else { Node::Scalar(text.into_owned()) };
                return self.close(tagged(node, tag), anchor, !nothing);
            }
            Event::MappingStart(_, anchor, _) => self.enter(Node::Map(vec![]), anchor, tag)?,
            Event::SequenceStart(_, anchor, _) => self.enter(Node::List(vec![]), anchor, tag)?,
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(mut open) = self.open.pop() {
                    self.nodes += 1;
                    for merged in std::mem::take(&mut open.merged) {
                        merge(&mut open.node, merged);
                    }
                    return self.close(tagged(open.node, open.tag), open.anchor, false);
                }
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err("the alias refers to the value that it is in; write the value out".into());
                };
                self.pay(&node)?;
                return self.close(node, 0, false);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is copied counts as if it were written out.
    fn pay(&mut self, node: &Node) -> Result<(), String> {
        let (nodes, bytes) = node.size();
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
            return Err("it is too large with its aliases; use fewer of them".into());
        }
        Ok(())
    }

    fn enter(&mut self, node: Node, anchor: usize, tag: Option<Tag>) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err("it nests too deeply".into());
        }
        self.open.push(Open { node, key: None, merged: vec![], anchor, tag });
        Ok(())
    }

    fn close(&mut self, node: Node, anchor: usize, is_key: bool) -> Result<(), String> {
        if anchor > 0 {
            self.pay(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node, open.key.take()) {
            (Node::List(items), _) => items.push(node),
            (Node::Map(_), None) => match node {
                Node::Scalar(key) if is_key => open.key = Some(key),
                Node::Null => open.key = Some(String::new()),
                _ => return Err("a key must be text".into()),
            },
            (Node::Map(_), Some(key)) if key == "<<" => match node {
                Node::List(items) => open.merged.extend(items),
                other => open.merged.push(other),
            },
            (Node::Map(entries), Some(key)) => {
                if entries.iter().any(|(known, _)| *known == key) {
                    return Err(format!("`{}` stands here twice", key.chars().take(60).collect::<String>()));
                }
                if entries.len() >= MAX_ENTRIES {
                    return Err(format!("a mapping has more than {MAX_ENTRIES} entries"));
                }
                entries.push((key, node));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A merge key: what is there already wins (YAML 1.1, "Merge Key Language-Independent Type").
fn merge(node: &mut Node, other: Node) {
    let (Node::Map(entries), Node::Map(more)) = (node, other) else { return };
    for (key, value) in more {
        if entries.iter().all(|(known, _)| *known != key) {
            entries.push((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_texts_of_the_file_stay() -> Result<(), String> {
        let node = read("b: 1.10\na: &x {p: 0644, q: yes}\nc: {<<: *x, q: ~}\nd: ''\ne: [*x, <<]\n")?;
        let keys: Vec<_> = node.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "c", "d", "e"]);
        assert_eq!((node.get("b").text(), node.get("d").text()), (Some("1.10"), Some("")));
        assert_eq!(node.get("c").get("p").text(), Some("0644"));
        assert!(node.get("c").get("q").is_null());
        assert_eq!(node.get("e").items().len(), 2);
        Ok(())
    }

    #[test]
    fn hostile_files_are_told() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", alias.trim_end_matches(", ")));
        }
        let deep = "[".repeat(5000);
        for (text, said) in [
            (bomb.as_str(), "too large"),
            (deep.as_str(), "line 1"),
            ("a: &a [*a]", "alias"),
            ("a: 1\na: 2", "twice"),
            ("a: 1\n---\nb: 2", "second document"),
            ("? [a]\n: b", "a key must be text"),
        ] {
            let told = read(text).err().unwrap_or_default();
            assert!(told.contains(said), "{told}");
        }
    }
}

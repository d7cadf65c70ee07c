//! Where everything stands in the file: a tree over the parser's events, with the strictness that belongs to structure
//! (duplicate keys, tags, merge keys, several documents, bounds on what aliases expand to).

use super::diagnostic::{Code, Diagnostic, MOST_TOLD};
use super::lookalike::{self, Lines};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Deeper files are refused; the language itself needs 7 levels.
pub(super) const MAX_DEPTH: usize = 32;
/// Files with more nodes, aliases expanded, are refused; a Stack of fifty apps needs some 2,000.
pub(super) const MAX_NODES: usize = 10_000;
/// Longer keys, in bytes, are refused; the longest that mean something are paths of 1,024.
const MAX_KEY: usize = 1024;

/// More documents are refused, empty as they are.
const MAX_EMPTY: usize = 10;

/// Files whose scalars are longer, aliases expanded, are refused.
const MAX_EXPANDED: usize = 4 * super::MAX_BYTES;

/// Keys and indices from the root.
pub(super) type Path = Vec<String>;

/// A place in the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pos {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Offset in bytes.
    pub byte: usize,
}

/// A YAML node.
#[derive(Debug, Default)]
pub(super) struct Node {
    start: Pos,
    end: usize,
    /// The value of a scalar, as text.
    text: Option<String>,
    plain: bool,
    /// In the order of the keys. Most mappings have few: a tree for each would be many times as large.
    entries: Vec<(String, Entry)>,
    items: Vec<Rc<Node>>,
    is_map: bool,
    /// Nodes below and including this one, aliases expanded.
    size: usize,
    /// Bytes of the scalars below, aliases expanded.
    bytes: usize,
    depth: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    order: usize,
    key: Pos,
    value: Rc<Node>,
}

impl Node {
    fn entry(&self, key: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        self.entries.get(at).map(|(_, entry)| entry)
    }

    fn is_null(&self) -> bool {
        let empty = self.end == self.start.byte && !self.is_map && self.items.is_empty();
        self.text.as_deref().is_some_and(|text| empty || (self.plain && is_null(text)))
    }
}

/// The places of a file.
#[derive(Debug, Default)]
pub(super) struct Places {
    root: Rc<Node>,
}

impl Places {
    /// The node at `path`, or the deepest one on the way that exists.
    fn node(&self, path: &[String]) -> (&Node, bool) {
        let mut node = &*self.root;
        for key in path {
            let next = if node.is_map {
                node.entry(key).map(|e| &*e.value)
            } else {
                key.parse::<usize>().ok().and_then(|i| node.items.get(i)).map(|n| &**n)
            };
            match next {
                Some(next) => node = next,
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// The places of this file once the merge patch (RFC 7396) that stands in it at `path` has been applied: what comes from
    /// the patch stands there.
    pub fn patched(&self, path: &[String]) -> Places {
        let mut patch = &self.root;
        for key in path {
            match patch.entry(key) {
                Some(entry) => patch = &entry.value,
                None => return Places { root: Rc::clone(&self.root) },
            }
        }
        Places { root: merged(&self.root, patch) }
    }

    /// How many values there are at `path`, that itself included, and bytes of text in them; aliases are expanded.
    pub fn size(&self, path: &[String]) -> (usize, usize) {
        match self.node(path) {
            (node, true) => (node.size, node.bytes),
            _ => (0, 0),
        }
    }

    /// Where the value at `path` starts.
    pub fn value(&self, path: &[String]) -> Pos {
        let (node, _) = self.node(path);
        if node.start.line == 0 { Pos { line: 1, column: 1, byte: 0 } } else { node.start }
    }

    /// Where the key of the value at `path` starts; its value when it is not in a mapping.
    pub fn key(&self, path: &[String]) -> Pos {
        let Some((last, parent)) = path.split_last() else { return self.value(path) };
        match self.node(parent) {
            (node, true) => node.entry(last).map_or_else(|| self.value(path), |e| e.key),
            _ => self.value(path),
        }
    }

    /// The text of the scalar at `path`, as it is written.
    pub fn text(&self, path: &[String]) -> Option<&str> {
        match self.node(path) {
            (node, true) => node.text.as_deref(),
            _ => None,
        }
    }

    /// The text of the scalar at `path`, unless it stands for a boolean or for nothing.
    pub fn word(&self, path: &[String]) -> Option<&str> {
        let (node, found) = self.node(path);
        let text = node.text.as_deref().filter(|_| found)?;
        let stands_for_another = node.is_null() || (node.plain && matches!(text, "true" | "false"));
        (!stands_for_another).then_some(text)
    }

    /// The keys of the mapping at `path`, in the order of the file.
    pub fn keys(&self, path: &[String]) -> Vec<&str> {
        let (node, found) = self.node(path);
        let mut keys: Vec<(usize, &str)> =
            node.entries.iter().filter(|_| found).map(|(k, e)| (e.order, k.as_str())).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, k)| k).collect()
    }

    /// Where `needle` stands inside the scalar at `path`; the start of the scalar if it is written in another way.
    pub fn inside(&self, source: &str, path: &[String], needle: &str) -> Pos {
        let (node, _) = self.node(path);
        let start = self.value(path);
        let found = source.get(start.byte..node.end.max(start.byte)).and_then(|scalar| {
            let offset = scalar.find(needle)?;
            let before = scalar.get(..offset)?;
            let line = start.line + before.matches('\n').count();
            let column = match before.rsplit_once('\n') {
                Some((_, last)) => last.chars().count() + 1,
                None => start.column + before.chars().count(),
            };
            Some(Pos { line, column, byte: start.byte + offset })
        });
        found.unwrap_or(start)
    }
}

fn merged(base: &Node, patch: &Rc<Node>) -> Rc<Node> {
    if !patch.is_map {
        return Rc::clone(patch);
    }
    let mut entries: BTreeMap<_, _> = base.entries.iter().filter(|_| base.is_map).cloned().collect();
    let first = entries.len();
    let nothing = Node::default();
    for (name, entry) in &patch.entries {
        if entry.value.is_null() {
            entries.remove(name);
            continue;
        }
        let known = entries.get(name);
        let value = merged(known.map_or(&nothing, |known| &*known.value), &entry.value);
        let order = known.map_or(first + entry.order, |known| known.order);
        entries.insert(name.clone(), Entry { order, key: entry.key, value });
    }
    let entries = entries.into_iter().collect();
    Rc::new(Node { start: patch.start, end: patch.end, is_map: true, entries, ..Node::default() })
}

/// What reading the structure of a file found.
pub(super) struct Structure {
    /// Where everything stands; not complete if `fatal`.
    pub places: Places,
    /// Mistakes in the structure.
    pub found: Vec<Diagnostic>,
    /// How many more there are, which are not told.
    pub more: usize,
    /// Whether the values cannot be read because of them.
    pub fatal: bool,
    /// Where the first document ends, if an empty one follows it.
    end: Option<usize>,
    /// Lines of texts that have several.
    texts: Vec<Lines>,
}

impl Structure {
    /// The one document of `source` that says something.
    pub fn document<'s>(&self, source: &'s str) -> &'s str {
        self.end.and_then(|end| source.get(..end)).unwrap_or(source)
    }

    /// What was `found` in the file, or the characters in it that are to blame.
    pub fn blamed(&self, source: &str, file: &str, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let last = if self.fatal { found.iter().map(|d| d.line).max().unwrap_or_default() } else { usize::MAX };
        lookalike::blamed(source, file, (1, last), &self.texts, found)
    }
}

/// Reads the structure of `source`.
pub(super) fn read(source: &str, file: &str) -> Structure {
    let mut builder = Builder { file, source, ..Builder::default() };
    for event in Parser::new_from_str_with_options(source, options()) {
        let more = match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => {
                builder.syntax(&error);
                false
            }
        };
        if !more {
            break;
        }
    }
    let places = Places { root: builder.root.unwrap_or_default() };
    let Builder { found, more, fatal, second, texts, .. } = builder;
    Structure { places, found, more, fatal, end: second.map(|at| at.byte), texts }
}

/// Whether `source` holds nothing: comments, white space, `---`, nulls.
pub(super) fn is_empty(source: &str) -> bool {
    Parser::new_from_str_with_options(source, options()).all(|event| match event {
        Ok((Event::Scalar(text, ScalarStyle::Plain, _, None), _)) => is_null(&text),
        Ok((event, _)) => !event.is_node(),
        Err(_) => false,
    })
}

fn options() -> granit_parser::Options {
    granit_parser::options! { flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH, emit_comments: false }
}

fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

#[derive(Default)]
struct Builder<'a> {
    file: &'a str,
    source: &'a str,
    found: Vec<Diagnostic>,
    more: usize,
    fatal: bool,
    documents: usize,
    /// Where a second document starts, which is right as long as it is empty.
    second: Option<Pos>,
    texts: Vec<Lines>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

struct Open {
    node: Node,
    entries: BTreeMap<String, Entry>,
    anchor: usize,
    key: Option<(String, Pos)>,
}

impl Builder<'_> {
    fn error(&mut self, code: Code, at: Pos, message: &str, help: &str) {
        if self.found.len() >= MOST_TOLD {
            self.more += 1;
            return;
        }
        let keys: Vec<&str> = self.open.iter().filter_map(|o| o.key.as_ref()).map(|(k, _)| k.as_str()).collect();
        self.found.push(Diagnostic::new(code, self.file, (at.line, at.column), &keys.join("."), message, help));
    }

    fn stop(&mut self, code: Code, at: Pos, message: &str, help: &str) -> bool {
        self.error(code, at, message, help);
        self.fatal = true;
        false
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = pos(error.marker());
        let (at, message, help) = self.misread(at).unwrap_or_else(|| {
            let (message, help) = explain(error.kind());
            (at, message, help.to_owned())
        });
        let code = match error.kind() {
            ErrorKind::RecursionLimitExceeded => Code::TooComplex,
            _ => Code::Syntax,
        };
        self.stop(code, at, &message, &help);
    }

    /// What of hks or of another language YAML took for a `{…}` of its own, on the line of a mistake or the one above.
    fn misread(&self, at: Pos) -> Option<(Pos, String, String)> {
        let lines = self.source.lines().enumerate().skip(at.line.saturating_sub(2)).take(2.min(at.line));
        lines.collect::<Vec<_>>().into_iter().rev().find_map(|(index, line)| {
            let (from, message, help) = lookalike::misread(line)?;
            let column = line.get(..from)?.chars().count() + 1;
            Some((Pos { line: index + 1, column, byte: at.byte }, message.to_owned(), help))
        })
    }

    /// Takes the next event; false when there is no use in going on.
    fn event(&mut self, event: Event<'_>, span: &Span) -> bool {
        let at = pos(&span.start);
        if let Some(tag) = event.tag() {
            let message = format!("the tag `{}` is not part of hks.yaml", tag.original());
            let at = span.tag_start().as_ref().map_or(at, pos);
            self.error(Code::Tag, at, &message, "remove it; quote a value that is meant as text");
            self.fatal = true;
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.second.get_or_insert(at);
                }
                // nobody means so many
                self.documents <= MAX_EMPTY || self.second_document(at)
            }
            // a `---` at the end of a file
            Event::Scalar(text, ScalarStyle::Plain, 0, _)
                if self.second.is_some() && text.len() <= 1 && is_null(&text) =>
            {
                true
            }
            _ if self.second.is_some() && event.is_node() => self.second_document(at),
            Event::Scalar(text, style, anchor, _) => {
                let end = span.end.byte_offset().unwrap_or(at.byte);
                let plain = style == ScalarStyle::Plain;
                let last = pos(&span.end);
                let last = if last.column == 1 { last.line - 1 } else { last.line };
                if last > at.line {
                    self.texts.push((at.line + 1, last));
                }
                let (bytes, text) = (text.len(), Some(text.into_owned()));
                let node = Node { start: at, end, text, plain, size: 1, bytes, ..Node::default() };
                self.close(Rc::new(node), at, anchor)
            }
            Event::MappingStart(_, anchor, _) => self.enter(at, anchor, true),
            Event::SequenceStart(_, anchor, _) => self.enter(at, anchor, false),
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some(mut open) => {
                    let start = open.node.start;
                    open.node.entries = open.entries.into_iter().collect();
                    open.node.items.shrink_to_fit();
                    self.close(Rc::new(open.node), start, open.anchor)
                }
                None => true,
            },
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => self.close(node, at, 0),
                None => {
                    self.stop(Code::Syntax, at, "the alias refers to the value that it is in", "write the value out")
                }
            },
            _ => true,
        }
    }

    fn second_document(&mut self, at: Pos) -> bool {
        let help = "keep one Stack a file: put each into a folder with its own hks.yaml";
        let at = self.second.unwrap_or(at);
        self.stop(Code::MultipleDocuments, at, "a second YAML document starts here", help)
    }

    fn enter(&mut self, start: Pos, anchor: usize, is_map: bool) -> bool {
        let node = Node { start, is_map, size: 1, depth: 1, ..Node::default() };
        self.open.push(Open { node, entries: BTreeMap::new(), anchor, key: None });
        true
    }

    /// A node is complete: give it to the collection that it is in.
    fn close(&mut self, node: Rc<Node>, at: Pos, anchor: usize) -> bool {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let depth = self.open.len() + node.depth;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return true;
        };
        open.node.size = open.node.size.saturating_add(node.size);
        open.node.bytes = open.node.bytes.saturating_add(node.bytes);
        open.node.depth = open.node.depth.max(node.depth + 1);
        if open.node.bytes > MAX_EXPANDED {
            return self.stop(Code::TooComplex, at, "more than 1 MiB of text, aliases expanded", "use fewer aliases");
        }
        if open.node.size > MAX_NODES || depth > MAX_DEPTH {
            let message = format!("more than {MAX_NODES} values or {MAX_DEPTH} levels, aliases expanded");
            return self.stop(Code::TooComplex, at, &message, "split the Stack; use fewer aliases");
        }
        if !open.node.is_map {
            open.node.items.push(node);
            return true;
        }
        let Some((key, key_at)) = open.key.take() else { return self.key(&node, at) };
        let order = open.entries.len();
        let value = if node.plain && node.end == node.start.byte {
            // an empty value has no place of its own
            Rc::new(Node { start: key_at, end: key_at.byte, text: Some(String::new()), ..Node::default() })
        } else {
            node
        };
        open.entries.entry(key).or_insert(Entry { order, key: key_at, value });
        true
    }

    fn key(&mut self, node: &Node, at: Pos) -> bool {
        let Some(text) = node.text.clone() else {
            let (at, message, help) = self.misread(at).unwrap_or_else(|| {
                (at, "a mapping or a list stands where a key is needed".into(), "use plain text as key".into())
            });
            return self.stop(Code::Syntax, at, &message, &help);
        };
        if node.plain && is_null(&text) {
            return self.stop(Code::Syntax, at, "a key is missing before `:`", "write the key, or quote it");
        }
        if text.len() > MAX_KEY {
            let message = format!("a key of {} bytes; {MAX_KEY} are allowed", text.len());
            return self.stop(Code::TooComplex, at, &message, "shorten it");
        }
        if node.plain && text == "<<" {
            self.error(Code::MergeKey, at, "merge keys (`<<`) are not part of hks.yaml", "write the keys out");
            self.fatal = true;
        }
        let known = self.open.last().and_then(|o| o.entries.get(&text)).map(|e| e.key.line);
        if let Some(line) = known {
            let message = format!("duplicate key `{text}`, first on line {line}");
            self.error(Code::DuplicateKey, at, &message, "keep one of them");
        }
        if let Some(open) = self.open.last_mut() {
            open.key = Some((text, at));
        }
        true
    }
}

fn pos(marker: &granit_parser::Marker) -> Pos {
    Pos { line: marker.line().max(1), column: marker.col() + 1, byte: marker.byte_offset().unwrap_or(0) }
}

fn explain(kind: &ErrorKind) -> (String, &'static str) {
    use ErrorKind as E;
    let help = match kind {
        E::TabNotAllowed | E::TabInBlockIndentation | E::TabInIndentation | E::TabInPlainScalar => {
            "indent with spaces, never with tabs"
        }
        E::MappingValueNotAllowed | E::InvalidColonPlacement => "quote the value if `: ` belongs to it",
        E::UnclosedQuotedScalar => "close the quote",
        E::UnclosedFlowCollection { .. } | E::MismatchedFlowCollectionEnd { .. } => "close the bracket",
        E::MissingAnchorOrAliasName | E::UnexpectedCharacter { .. } | E::PlainScalarStartsWithDashFlowIndicator => {
            "quote the value"
        }
        E::UnknownAnchor => "quote it if it is text; an alias `*name` needs its `&name` before",
        E::UnknownQuotedScalarEscape => "use single quotes, or write `\\\\` for a backslash",
        E::RecursionLimitExceeded => "nest less deeply",
        _ => "check indentation, colons and quotes here and on the line above",
    };
    let message = match kind {
        E::UnexpectedCharacter { .. } => "not valid YAML: unexpected character".to_owned(),
        E::Custom(_) => "not valid YAML".to_owned(),
        E::MissingAnchorOrAliasName => "not valid YAML: `*` and `&` refer to other values".to_owned(),
        E::RecursionLimitExceeded => format!("more than {MAX_DEPTH} levels of nesting"),
        kind => format!("not valid YAML: {kind}"),
    };
    (message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str]) -> Path {
        keys.iter().map(|k| (*k).to_owned()).collect()
    }

    #[test]
    fn finds_keys_and_values() {
        let structure = read("é: 1\nb:\n  - x\n  - {c: \"日${y}\"}\nd:\n", "f");
        assert!(structure.found.is_empty());
        let places = structure.places;
        let at = |p: Pos| (p.line, p.column);
        assert_eq!(at(places.key(&path(&["é"]))), (1, 1));
        assert_eq!(at(places.value(&path(&["é"]))), (1, 4));
        assert_eq!(at(places.value(&path(&["b", "0"]))), (3, 5));
        assert_eq!(at(places.key(&path(&["b", "1", "c"]))), (4, 6));
        assert_eq!(
            at(places.inside("é: 1\nb:\n  - x\n  - {c: \"日${y}\"}\n", &path(&["b", "1", "c"]), "${y}")),
            (4, 11)
        );
        assert_eq!(at(places.value(&path(&["d"]))), (5, 1));
        assert_eq!(at(places.value(&path(&["b", "9", "nothing"]))), (3, 3));
        assert_eq!(places.keys(&[]), ["é", "b", "d"]);
        assert_eq!(places.text(&path(&["b", "0"])), Some("x"));
    }

    #[test]
    fn words() {
        let places = read("a: b\nc: 'true'\nd: true\ne: ~\nf: 'null'\ng: {h: i}\nj:\n", "f").places;
        let words = ["a", "c", "d", "e", "f", "g", "j", "k"].map(|key| places.word(&path(&[key])).is_some());
        assert_eq!(words, [true, true, false, false, true, false, false, false]);
    }

    #[test]
    fn aliases_share_places() {
        let source = "a: &x {k: 1}\nb: *x\n";
        let places = read(source, "f").places;
        assert_eq!(places.value(&path(&["b", "k"])).line, 1);
        assert_eq!(places.key(&path(&["b"])).line, 2);
    }

    #[test]
    fn empty_files() {
        for text in ["", " \n", "# c\n", "---\n", "---\n# c\n...\n", "~", "null\n", "---\n---\n"] {
            assert!(is_empty(text), "{text:?}");
        }
        for text in ["a", "a: 1", "{}", "''", "\t[", "!!null ''"] {
            assert!(!is_empty(text), "{text:?}");
        }
    }

    #[test]
    fn every_duplicate_is_found() {
        let structure = read("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n", "f");
        assert_eq!(structure.found.len(), 3);
        assert!(!structure.fatal);
    }
}

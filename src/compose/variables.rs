//! Variables as compose has them: `.env` files and `${…}` in texts (Compose Specification, "Interpolation").

use super::yaml::Node;
use std::collections::BTreeMap;

/// The first of the characters that stand for variables in texts: of a private use area, which no file means anything by.
const FIRST: u32 = 0xF_0000;
/// The last one.
const LAST: u32 = 0x10_FFFD;
/// Defaults nest no deeper.
const MAX_DEPTH: usize = 16;
/// Texts that variables make grow no larger.
const MAX_TEXT: usize = 256 * 1024;

/// A variable where it is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variable {
    /// Its name.
    pub name: String,
    /// What it is here: from `.env`, or its default. Nothing if neither is there.
    pub value: Option<String>,
    /// What `:?` says.
    pub message: Option<String>,
    /// Whether the value is from `.env`.
    pub set: bool,
}

/// All variables of a project; each use is a character in the texts until it is known what becomes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// What is set, from `.env`.
    pub set: BTreeMap<String, String>,
    used: Vec<Variable>,
    /// Mistakes in `${…}`.
    pub mistakes: Vec<String>,
}

impl Variables {
    /// The variable that a character stands for.
    pub fn of(&self, symbol: char) -> Option<&Variable> {
        let at = u32::from(symbol).checked_sub(FIRST)?;
        self.used.get(usize::try_from(at).ok()?)
    }

    /// The variable that a text consists of.
    pub fn alone(&self, text: &str) -> Option<&Variable> {
        let mut chars = text.chars();
        let first = chars.next()?;
        if chars.next().is_none() { self.of(first) } else { None }
    }

    /// The text with what is known in it; what is not known keeps its character.
    pub fn known(&self, text: &str) -> String {
        self.filled(text, None)
    }

    /// The text as compose would have it: what is not known is nothing.
    pub fn plain(&self, text: &str) -> String {
        self.filled(text, Some(""))
    }

    fn filled(&self, text: &str, otherwise: Option<&str>) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match self.of(c) {
                Some(Variable { value: Some(value), .. }) => out.push_str(value),
                Some(_) => match otherwise {
                    Some(otherwise) => out.push_str(otherwise),
                    None => out.push(c),
                },
                None => out.push(c),
            }
        }
        out
    }

    /// The character of a variable that is taken from outside by its name alone.
    pub fn passed(&mut self, name: &str) -> String {
        let value = self.set.get(name).cloned();
        let set = value.is_some();
        self.symbol(Variable { name: name.to_owned(), value, message: None, set })
    }

    /// The character of a variable that an `env_file` sets.
    pub fn given(&mut self, name: &str, value: Option<String>) -> String {
        let set = value.is_some();
        self.symbol(Variable { name: name.to_owned(), value, message: None, set })
    }

    fn symbol(&mut self, variable: Variable) -> String {
        if let Some(at) = self.used.iter().position(|known| *known == variable) {
            return symbol_at(at);
        }
        if self.used.len() >= 5000 {
            return variable.value.unwrap_or_default();
        }
        self.used.push(variable);
        symbol_at(self.used.len() - 1)
    }

    /// Every text of a node with its variables as characters; keys stay as they are.
    pub fn interpolate(&mut self, node: &Node) -> Node {
        match node {
            Node::Scalar(text) => Node::Scalar(self.interpolated(text)),
            Node::List(items) => Node::List(items.iter().map(|item| self.interpolate(item)).collect()),
            Node::Map(entries) => {
                Node::Map(entries.iter().map(|(key, value)| (key.clone(), self.interpolate(value))).collect())
            }
            Node::Override(inner) => Node::Override(Box::new(self.interpolate(inner))),
            other => other.clone(),
        }
    }

    /// A text with its variables as characters, and `$$` as `$`.
    pub fn interpolated(&mut self, text: &str) -> String {
        self.within(text, 0)
    }

    fn within(&mut self, text: &str, depth: usize) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.extend(before.chars().map(plain));
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            if let Some(inner) = after.strip_prefix('{') {
                let Some(end) = closing(inner) else {
                    // nothing behind it can be told from what is in it
                    self.mistake(inner, "is opened by `${` and never closed");
                    out.push('$');
                    out.extend(after.chars().map(plain));
                    return out;
                };
                let (inner, behind) = (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default());
                let made = self.braced(inner, depth);
                out.push_str(&made);
                rest = behind;
                continue;
            }
            let end = after.find(|c: char| !is_name(c)).unwrap_or(after.len());
            let (name, behind) = after.split_at(end);
            if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                out.push_str(&self.passed(name));
                rest = behind;
            } else {
                out.push('$');
                rest = after;
            }
            if out.len() > MAX_TEXT {
                return out;
            }
        }
        out.extend(rest.chars().map(plain));
        out
    }

    fn braced(&mut self, inner: &str, depth: usize) -> String {
        let end = inner.find(|c: char| !is_name(c)).unwrap_or(inner.len());
        let (name, how) = inner.split_at(end);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || depth > MAX_DEPTH {
            self.mistake(inner, "is not the name of a variable");
            return String::new();
        }
        let set = self.set.get(name).cloned();
        let full = set.clone().filter(|value| !value.is_empty());
        let (operator, word) = match how.strip_prefix(':') {
            Some(rest) => (rest.chars().next(), rest.get(1..).unwrap_or_default()),
            None => (how.chars().next(), how.get(1..).unwrap_or_default()),
        };
        let counts = if how.starts_with(':') { full } else { set };
        match operator {
            None => self.passed(name),
            Some('-') => {
                if let Some(value) = counts {
                    self.symbol(Variable { name: name.into(), value: Some(value), message: None, set: true })
                } else {
                    let default = self.within(word, depth + 1);
                    let open = default.chars().any(|c| self.of(c).is_some_and(|used| used.value.is_none()));
                    if open {
                        return default;
                    }
                    let value = self.known(&default);
                    self.symbol(Variable { name: name.into(), value: Some(value), message: None, set: false })
                }
            }
            Some('+') => {
                // another variable than its own: what stands here says whether it is set, not what it is
                if counts.is_some() { self.within(word, depth + 1) } else { String::new() }
            }
            Some('?') => {
                let message = self.within(word, depth + 1);
                let message = Some(self.plain(&message)).filter(|text| !text.is_empty());
                let set = counts.is_some();
                self.symbol(Variable { name: name.into(), value: counts, message, set })
            }
            Some(_) => {
                self.mistake(inner, "is not a form that compose has");
                String::new()
            }
        }
    }

    fn mistake(&mut self, text: &str, what: &str) {
        if self.mistakes.len() < 20 {
            // the text around it may hold a password
            let name: String = text.chars().take_while(|c| is_name(*c)).take(60).collect();
            self.mistakes.push(format!("`{name}` {what}"));
        }
    }
}

fn symbol_at(at: usize) -> String {
    u32::try_from(at).ok().and_then(|at| char::from_u32(FIRST + at)).map(String::from).unwrap_or_default()
}

/// A character of a file, which must not be taken for a variable.
fn plain(c: char) -> char {
    if (FIRST..=LAST).contains(&u32::from(c)) { char::REPLACEMENT_CHARACTER } else { c }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Where the `}` is that closes what has been opened, with those inside of it counted.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '$' => match chars.peek() {
                Some((_, '{')) => {
                    depth += 1;
                    chars.next();
                }
                Some((_, '$')) => drop(chars.next()),
                _ => {}
            },
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The variables of an `.env` file: `NAME=value`, quotes, comments, `export`, values of several lines in quotes (Docker's "Env
/// file syntax"). In double quotes and without quotes, what stands before can be referred to.
pub(super) fn dotenv(text: &str, outer: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(String, Option<String>)> = vec![];
    let mut scope = Variables { set: outer.clone(), ..Variables::default() };
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') || found.len() >= 1000 {
            continue;
        }
        let end = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let Some(raw) = rest.strip_prefix('=') else {
            found.push((name.to_owned(), outer.get(name).cloned()));
            continue;
        };
        let raw = raw.trim_start();
        let value = if let Some(quote) = raw.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let mut inner = raw.get(1..).unwrap_or_default().to_owned();
            while end_of(&inner, quote).is_none() {
                let Some(more) = lines.next() else { break };
                inner.push('\n');
                inner.push_str(more);
            }
            let end = end_of(&inner, quote).unwrap_or(inner.len());
            let inner = inner.get(..end).unwrap_or_default();
            if quote == '\'' {
                inner.to_owned()
            } else {
                let text = scope.interpolated(&unescaped(inner));
                scope.plain(&text)
            }
        } else {
            let raw = raw.split(" #").next().unwrap_or_default().trim_end();
            let text = scope.interpolated(raw);
            scope.plain(&text)
        };
        scope.set.insert(name.to_owned(), value.clone());
        found.push((name.to_owned(), Some(value)));
    }
    found
}

fn end_of(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped && quote == '"';
        ends.then_some(at)
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('$')) => out.push_str("$$"),
            ('\\', Some(other)) | (other, _) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_what_compose_makes_of_them() {
        let set = BTreeMap::from([("SET".to_owned(), "s".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let mut variables = Variables { set, ..Variables::default() };
        for (text, wanted) in [
            ("${A:-x}", "x"),
            ("${A:-${B:-x}}/${A-}", "x/"),
            ("a_${A:-b_${B:-c}_d}_e", "a_b_c_d_e"),
            ("${SET:-x} ${SET-x} $SET", "s s s"),
            ("${EMPTY:-x} ${EMPTY-x}", "x "),
            ("${SET:+y}${A:+y}${EMPTY:+y}${EMPTY+z}", "yz"),
            ("$$2y$$10 $${A} $5 $", "$2y$10 ${A} $5 $"),
            ("${SET:?needed}", "s"),
            ("${A}${A:?why}", ""),
            ("{{{ ${FOO:-foo} }}}", "{{{ foo }}}"),
            ("${A:-{\"a\": 1}}", "{\"a\": 1}"),
        ] {
            let made = variables.interpolated(text);
            assert_eq!(variables.plain(&made), wanted, "{text}");
        }
        let why = variables.interpolated("${A:?why}");
        assert_eq!(variables.alone(&why).and_then(|v| v.message.clone()).as_deref(), Some("why"));
        assert!(variables.mistakes.is_empty());
        variables.interpolated("${A ${B!x} ${}");
        assert!(!variables.mistakes.is_empty());
    }

    #[test]
    fn env_files() {
        let text =
            "# c\nexport A=1\nB = 'x $A' # c\nC=\"y ${A}\\n\"\nD=a b # c\nE=\nF=\"two\nlines\"\nG\nH=${A:-z}#x\n";
        let found = dotenv(text, &BTreeMap::from([("G".to_owned(), "g".to_owned())]));
        let value = |name: &str| found.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref());
        for (name, wanted) in [
            ("A", "1"),
            ("B", "x $A"),
            ("C", "y 1\n"),
            ("D", "a b"),
            ("E", ""),
            ("F", "two\nlines"),
            ("G", "g"),
            ("H", "1#x"),
        ] {
            assert_eq!(value(name), Some(wanted), "{name}");
        }
    }
}

//! Collects diagnostics about places of one file.

use super::diagnostic::{Code, Diagnostic};
use super::place::{Path, Places, Pos};

/// The path of `keys` from the root.
pub(super) fn root(keys: &[&str]) -> Path {
    below(&[], keys)
}

/// `path` with `keys` below.
pub(super) fn below(path: &[String], keys: &[&str]) -> Path {
    path.iter().cloned().chain(keys.iter().map(|k| (*k).to_owned())).collect()
}

/// Diagnostics about one file.
pub(super) struct Report<'a> {
    /// Its name.
    pub file: &'a str,
    /// Its text.
    pub source: &'a str,
    /// Where everything stands in it.
    pub places: &'a Places,
    /// What was found so far.
    pub found: Vec<Diagnostic>,
}

impl Report<'_> {
    /// A mistake in the value at `path`.
    pub fn value(&mut self, code: Code, path: &[String], message: &str, help: &str) {
        self.add(code, self.places.value(path), path, message, help);
    }

    /// A mistake in the key of `path`.
    pub fn key(&mut self, code: Code, path: &[String], message: &str, help: &str) {
        self.add(code, self.places.key(path), path, message, help);
    }

    /// A mistake in the part `needle` of the text at `path`.
    pub fn inside(&mut self, code: Code, path: &[String], needle: &str, message: &str, help: &str) {
        self.add(code, self.places.inside(self.source, path, needle), path, message, help);
    }

    fn add(&mut self, code: Code, at: Pos, path: &[String], message: &str, help: &str) {
        self.found.push(Diagnostic::new(code, self.file, (at.line, at.column), &path.join("."), message, help));
    }
}

/// Mistakes in a value as such: whatever else seems to be wrong with it follows from them.
const OF_VALUES: [Code; 6] =
    [Code::WrongType, Code::OutOfRange, Code::InvalidName, Code::InvalidPath, Code::UnknownKey, Code::UnknownValue];

/// In the order of the file, each once.
pub(super) fn sorted(mut all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    // at one place, in the order in which they were found
    all.sort_by_key(|d| (d.line, d.column));
    let mut found: Vec<Diagnostic> = vec![];
    for this in all {
        let here = |d: &&Diagnostic| (d.line, d.column) == (this.line, this.column);
        let follows = |d: &Diagnostic| d.path == this.path && d.code != this.code && OF_VALUES.contains(&d.code);
        // an anchored value stands at several paths
        let again = |d: &Diagnostic| (d.code, &d.message) == (this.code, &this.message);
        if !found.iter().rev().take_while(here).any(|d| follows(d) || again(d)) {
            found.push(this);
        }
    }
    found.sort_by(|a, b| {
        (a.line, a.column, a.code, &a.path, &a.message).cmp(&(b.line, b.column, b.code, &b.path, &b.message))
    });
    found
}

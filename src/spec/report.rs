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

/// In the order of the file, each once.
pub(super) fn sorted(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by(|a, b| {
        (a.line, a.column, a.code, &a.path, &a.message).cmp(&(b.line, b.column, b.code, &b.path, &b.message))
    });
    found.dedup();
    found
}

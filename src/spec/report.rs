//! Collects diagnostics about places of one file.

use super::budget::Budget;
use super::diagnostic::{Code, Diagnostic, MOST_TOLD};
use super::place::{Path, Places, Pos};

/// The path of `keys` from the root.
pub(super) fn root(keys: &[&str]) -> Path {
    below(&[], keys)
}

/// `path` with `keys` below.
pub(super) fn below(path: &[String], keys: &[&str]) -> Path {
    path.iter().cloned().chain(keys.iter().map(|k| (*k).to_owned())).collect()
}

/// How much less work it is to copy than to look up.
const COPIED: usize = 16;

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
    /// How many more were found, which are not told.
    pub more: usize,
    /// What the file is not refused for, in the order in which it was found.
    pub warnings: Vec<Diagnostic>,
    /// What it may cost.
    pub budget: &'a Budget,
}

impl Report<'_> {
    /// Whether there is no use in looking for more.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MOST_TOLD
    }

    /// How many mistakes there are.
    pub fn mistakes(&self) -> usize {
        self.found.len() + self.more
    }

    /// Whether there is room for `bytes` more of what is deployed, with `work` of looking up; says so once if there is not.
    pub fn affords(&mut self, bytes: usize, work: usize, path: &[String]) -> bool {
        let before = self.budget.is_spent();
        let affords = self.budget.make(bytes, work);
        if !affords && !before {
            let (message, help) = if self.budget.is_large() {
                ("up to here, the Stack is too large to be deployed", "8 MiB of objects are allowed: split it")
            } else {
                (
                    "up to here, too much is looked up",
                    "8 MiB are allowed in all environments: use fewer, or shorter texts",
                )
            };
            self.key(Code::TooComplex, path, message, help);
        }
        affords
    }

    /// Whether there is room for a copy of `bytes`; says so once if there is not.
    pub fn affords_copy(&mut self, bytes: usize, path: &[String]) -> bool {
        self.affords(bytes, bytes / COPIED, path)
    }

    /// A mistake in the value at `path`.
    pub fn value(&mut self, code: Code, path: &[String], message: &str, help: &str) {
        self.add(code, self.places.value(path), path, message, help);
    }

    /// Something about the value at `path` that the file is not refused for.
    pub fn warn(&mut self, code: Code, path: &[String], message: &str, help: &str) {
        if self.warnings.len() < MOST_TOLD {
            let at = self.places.value(path);
            let told = Diagnostic::new(code, self.file, (at.line, at.column), &path.join("."), message, help);
            self.warnings.push(told.warning());
        }
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
        self.push(|file| Diagnostic::new(code, file, (at.line, at.column), &path.join("."), message, help));
    }

    /// A mistake, told or only counted.
    pub fn push(&mut self, mistake: impl FnOnce(&str) -> Diagnostic) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.found.push(mistake(self.file));
        }
    }

    /// All mistakes, as [`told`].
    pub fn told(self) -> Vec<Diagnostic> {
        told(self.found, self.more)
    }
}

/// Mistakes in a value as such: whatever else seems to be wrong with it follows from them.
const OF_VALUES: [Code; 6] =
    [Code::WrongType, Code::OutOfRange, Code::InvalidName, Code::InvalidPath, Code::UnknownKey, Code::UnknownValue];

/// In the order of the file, each once; in the end, how many more there are.
pub(super) fn told(found: Vec<Diagnostic>, more: usize) -> Vec<Diagnostic> {
    let mut found = sorted(found);
    if let (Some(last), 1..) = (found.last(), more) {
        let message = format!("at least {more} more mistakes, which are not told");
        let place = (last.line, last.column);
        let last = Diagnostic::new(Code::MoreMistakes, &last.file, place, "", &message, "correct those above first");
        found.push(last);
    }
    found
}

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

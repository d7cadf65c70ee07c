//! hks.yaml: bytes to a valid [`Spec`], or to everything that is wrong with them at once.
//!
//! The way of a file: bounds and UTF-8, structure and places (`place`), values (`value`), schema (`violation`), meaning
//! (`check`). Whatever a step refuses is left out of the next one, so that one mistake hides no other.
//!
//! Invariants: never a panic, whatever the bytes; every mistake has a place; no diagnostic holds a credential; what
//! comes out cannot name a namespace or a kind of object.

pub mod model;
pub use model::*;

mod budget;
mod check;
mod credential;
mod diagnostic;
mod environment;
pub mod explain;
pub mod mistake;
mod files;
mod image;
mod lexical;
mod lookalike;
mod place;
mod quantity;
mod reference;
mod report;
mod resources;
mod schema;
mod suggest;
mod template;
mod value;
mod violation;
mod wire;

pub use diagnostic::{Code, Diagnostic, Severity, snippet};
pub use files::{Files, MAX_FILE, files_of, resolve};
pub use image::is_host;
pub use quantity::{bytes, cpu};
pub use schema::schema;

use report::{Report, told};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The largest file that is read; the largest real one seen had 9 KB.
pub const MAX_BYTES: usize = 256 * 1024;

/// An hks.yaml and what it takes from its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Path in the repository, for diagnostics.
    pub path: Arc<str>,
    /// The text.
    pub source: Arc<[u8]>,
    /// Other files that it names.
    pub files: Arc<Files>,
    /// The tag that the commit was reached by.
    pub tag: Option<String>,
}

impl Document {
    /// A file that needs no other.
    pub fn new(path: impl Into<Arc<str>>, source: impl Into<Arc<[u8]>>) -> Self {
        Self { path: path.into(), source: source.into(), files: Arc::default(), tag: None }
    }
}

/// The Stack's name in a file that may otherwise be wrong, so that its mistakes can be told to the right Stack.
pub fn name_of(source: &[u8]) -> Option<crate::ident::StackName> {
    let text = std::str::from_utf8(source).ok().filter(|text| text.len() <= MAX_BYTES)?;
    let structure = place::read(text, "");
    if structure.fatal {
        return None;
    }
    crate::ident::StackName::new(structure.places.word(&report::root(&["metadata", "name"]))?)
}

/// The environments that a file declares, in order of name, though the file may otherwise be wrong.
pub fn environments_of(source: &[u8]) -> Vec<Declared> {
    let text = std::str::from_utf8(source).ok().filter(|text| text.len() <= MAX_BYTES && !place::read(text, "").fatal);
    let Some(value) = text.and_then(|text| value::read(text, "").ok()) else { return vec![] };
    let word = |of: &serde_json::Value, key: &str| of[key].as_str().map(str::to_owned);
    let all = value["environments"].as_object().into_iter().flatten();
    let mut all: Vec<_> = all
        .map(|(name, of)| Declared {
            name: name.clone(),
            project: word(of, "project"),
            branch: word(of, "branch"),
            tag: word(of, "tag"),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// An environment as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// The project that it is meant for, if it says so.
    pub project: Option<String>,
    /// The pattern of branches that it is for, if it is.
    pub branch: Option<String>,
    /// The pattern of tags that it follows, if it does.
    pub tag: Option<String>,
}

impl Declared {
    /// Whether commits of this branch are meant for it.
    pub fn follows(&self, branch: &str) -> bool {
        self.branch.as_ref().is_some_and(|pattern| environment::fits(pattern, branch))
    }
}

/// Which environment of a file is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection<'a> {
    /// The first one in order of name, or the file as it stands if there are none. All are checked anyway.
    #[default]
    Any,
    /// The one of this name, as of a tag if it follows tags.
    Named {
        /// Its name.
        name: &'a str,
        /// The tag that the commit was reached by, if it was.
        tag: Option<&'a str>,
    },
    /// The one that is for commits of this branch or tag and for this project.
    For {
        /// The branch that is followed.
        branch: &'a str,
        /// The tag that the commit was reached by, if it was.
        tag: Option<&'a str>,
        /// The project: a namespace.
        project: &'a str,
    },
}

/// Reads an hks.yaml that needs no other file, in any of its environments. See [`read`].
pub fn parse(source: &[u8], file: &str) -> Result<Spec, Vec<Diagnostic>> {
    let none = || vec![Diagnostic::new(Code::Empty, file, (1, 1), "", "no environment", "declare one")];
    read(source, file, &Files::default(), Selection::Any)?.ok_or_else(none)
}

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Checked {
    /// See [`read`].
    pub spec: Result<Option<Spec>, Vec<Diagnostic>>,
    /// What its author should know and it is not refused for, in the order of the file, up to a hundred.
    pub warnings: Vec<Diagnostic>,
}

/// Reads an hks.yaml. `file` is only for display in the diagnostics, which come in the order of the file and are all
/// that could be found in any environment, up to a hundred and how many more there are; there is at least one. `None` means that the file is right but none of its
/// environments is selected.
pub fn read(
    source: &[u8],
    file: &str,
    files: &Files,
    selection: Selection<'_>,
) -> Result<Option<Spec>, Vec<Diagnostic>> {
    check(source, file, files, selection).spec
}

/// As [`read`], and what else its author should know.
pub fn check(source: &[u8], file: &str, files: &Files, selection: Selection<'_>) -> Checked {
    judged(source, file, files, selection).unwrap_or_else(|found| Checked { spec: Err(found), warnings: vec![] })
}

fn judged(source: &[u8], file: &str, files: &Files, selection: Selection<'_>) -> Result<Checked, Vec<Diagnostic>> {
    let one = |code, place, message: &str, help| vec![Diagnostic::new(code, file, place, "", message, help)];
    if source.len() > MAX_BYTES {
        let message = format!("{} KiB are too much for an hks.yaml", source.len().div_ceil(1024));
        return Err(one(Code::TooLarge, (1, 1), &message, "keep it below 256 KiB: one Stack a file"));
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let place = end(source.get(..error.valid_up_to()).unwrap_or_default());
            return Err(one(Code::NotUtf8, place, "this is not UTF-8 text", "save the file as UTF-8"));
        }
    };
    let mut structure = place::read(text, file);
    let (found, more) = (std::mem::take(&mut structure.found), structure.more);
    if structure.fatal {
        let found = told(found, more);
        return Err(structure.blamed(text, file, found));
    }
    if place::is_empty(text) {
        return Err(one(Code::Empty, (1, 1), "the file is empty", "start with `apiVersion: hks.hexabase.ai/v1`"));
    }
    let budget = budget::Budget::default();
    let warnings = vec![];
    let report = Report { file, source: text, places: &structure.places, found, more, warnings, budget: &budget };
    let value = match value::read(structure.document(text), file) {
        Ok(value) => value,
        Err(error) => {
            let found = report.found.into_iter().chain([error]).collect();
            return Err(told(found, report.more));
        }
    };
    let Checked { spec, warnings } = environment::Reader { files, selection, value }.read(report);
    Ok(Checked { spec: spec.map_err(|found| structure.blamed(text, file, found)), warnings })
}

/// Whether a file holds nothing: comments, white space, `---`, a null. Such a file suspends, it never deletes.
pub fn is_empty(source: &[u8]) -> bool {
    source.len() <= MAX_BYTES && std::str::from_utf8(source).is_ok_and(place::is_empty)
}

/// `text` with the passwords of URLs in it replaced by as many `*`.
pub fn mask_urls(text: &str) -> String {
    credential::mask_urls(text)
}

/// `text` with every credential in it that can be told by its form replaced by `*`: for words that come from outside.
pub fn mask(text: &str) -> String {
    credential::mask(text)
}

/// Whether a text holds a credential that hks.yaml refuses.
pub fn is_credential(text: &str) -> bool {
    credential::find(text).is_some()
}

/// Whether a capability of this name can be asked for.
pub fn is_capability(name: &str) -> bool {
    wire::Capability::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(name)).is_ok()
}

/// Line and column after `text`.
fn end(text: &[u8]) -> (usize, usize) {
    let text = String::from_utf8_lossy(text);
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

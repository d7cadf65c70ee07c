//! hks.yaml: bytes to a valid [`Spec`], or to everything that is wrong with them at once.
//!
//! The way of a file: bounds and UTF-8, structure and places (`place`), values (`value`), schema (`violation`), meaning
//! (`check`). Whatever a step refuses is left out of the next one, so that one mistake hides no other.
//!
//! Invariants: never a panic, whatever the bytes; every mistake has a place; no diagnostic holds a credential; what
//! comes out cannot name a namespace or a kind of object.

pub mod model;
pub use model::*;

mod check;
mod credential;
mod diagnostic;
mod image;
mod lexical;
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

pub use diagnostic::{Code, Diagnostic, snippet};
pub use schema::schema;

use report::{Report, sorted};
use serde_json::Value;

/// The largest file that is read; the largest real one seen had 9 KB.
pub const MAX_BYTES: usize = 256 * 1024;

/// The Stack's name in a file that may otherwise be wrong, so that its mistakes can be told to the right Stack.
pub fn name_of(source: &[u8]) -> Option<crate::ident::StackName> {
    let text = std::str::from_utf8(source).ok().filter(|text| text.len() <= MAX_BYTES)?;
    if place::read(text, "").fatal {
        return None;
    }
    let value = value::read(text, "").ok()?;
    crate::ident::StackName::new(value["metadata"]["name"].as_str()?)
}

/// Reads an hks.yaml. `file` is only for display in the diagnostics, which come in the order of the file and are all
/// that could be found; there is at least one.
pub fn parse(source: &[u8], file: &str) -> Result<Spec, Vec<Diagnostic>> {
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
    let structure = place::read(text, file);
    if structure.fatal {
        return Err(sorted(structure.found));
    }
    if place::is_empty(text) {
        return Err(one(Code::Empty, (1, 1), "the file is empty", "start with `apiVersion: hks.hexabase.ai/v1`"));
    }
    let mut report = Report { file, source: text, places: &structure.places, found: structure.found };
    let mut value = match value::read(text, file) {
        Ok(value) => value,
        Err(error) => {
            report.found.push(error);
            return Err(sorted(report.found));
        }
    };
    let broken = violation::check(&mut value, &mut report);
    if let Value::Object(map) = &mut value {
        map.retain(|key, _| !key.starts_with("x-"));
    }
    let spec = match serde_json::from_value::<wire::Stack>(value) {
        Ok(stack) => check::Check { stack: &stack, broken: &broken, report: &mut report }.spec(),
        Err(_) => None,
    };
    match spec {
        Some(spec) if report.found.is_empty() => Ok(spec),
        _ => {
            if report.found.is_empty() {
                // nothing reaches this, and if something did it must not pass
                report.value(Code::WrongType, &[], "the file cannot be read", "report this file as a bug of hks");
            }
            Err(sorted(report.found))
        }
    }
}

/// Whether a file holds nothing: comments, white space, `---`, a null. Such a file suspends, it never deletes.
pub fn is_empty(source: &[u8]) -> bool {
    source.len() <= MAX_BYTES && std::str::from_utf8(source).is_ok_and(place::is_empty)
}

/// Every code of a diagnostic with its meaning, in the order of the checks.
pub fn explain_codes() -> &'static [(&'static str, &'static str)] {
    diagnostic::MEANINGS
}

/// Line and column after `text`.
fn end(text: &[u8]) -> (usize, usize) {
    let text = String::from_utf8_lossy(text);
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

//! What the reading of one file may cost, all of its environments together. The bounds are far above what real files need;
//! they keep a hostile one from costing more than its size.

use super::{credential, suggest};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Values that are checked: those of the file once for itself, and once more for each of its environments.
pub(super) const MAX_CHECKED: usize = 55_000;
/// Bytes of text that are checked in the same way.
pub(super) const MAX_CHECKED_BYTES: usize = 3 << 20;
/// Bytes that a Stack may have in one environment as it is deployed: its objects, with what references, `from` and jobs repeat.
const MAX_MADE: usize = 8 << 20;
/// Bytes of text that may be looked up in all environments together.
const MAX_LOOKED_UP: usize = 8 << 20;
/// What an object costs, whatever is in it.
pub(super) const OBJECT: usize = 11 << 10;
/// What an entry of one costs besides its text, such as a port, a volume or a path.
pub(super) const ENTRY: usize = 2 << 10;
/// What a reference in a text costs.
pub(super) const REFERENCE: usize = 1400;
/// The work that a text, or a reference in one, is besides that for its bytes.
pub(super) const PIECE: usize = 64;
/// How many names are compared with all others for "did you mean".
const MAX_HINTS: usize = 50;

/// What a text of so many bytes costs, such as an environment variable: it stands in the model and in an object.
pub(super) fn text(bytes: usize) -> usize {
    704 + 2 * bytes
}

/// What is left.
pub(super) struct Budget {
    hints: Cell<usize>,
    made: Cell<usize>,
    looked_up: Cell<usize>,
    /// What kind of credential is in other files that were looked at.
    known: RefCell<BTreeMap<String, Option<&'static str>>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            hints: Cell::new(MAX_HINTS),
            made: Cell::new(MAX_MADE),
            looked_up: Cell::new(MAX_LOOKED_UP),
            known: RefCell::default(),
        }
    }
}

impl Budget {
    /// Begins with another environment.
    pub fn next(&self) {
        self.made.set(MAX_MADE);
    }

    /// Whether what is made is as large as it may be.
    pub fn is_large(&self) -> bool {
        self.made.get() == 0
    }

    /// Whether nothing more can be made.
    pub fn is_spent(&self) -> bool {
        self.is_large() || self.looked_up.get() == 0
    }

    /// Takes room for `bytes` of what is made, and `work` of what is looked up for it; false when there is not enough left,
    /// then or before.
    pub fn make(&self, bytes: usize, work: usize) -> bool {
        let take = |cell: &Cell<usize>, wanted: usize| {
            let left = cell.get().checked_sub(wanted);
            cell.set(left.unwrap_or(0));
            left.is_some()
        };
        take(&self.made, bytes) & take(&self.looked_up, work)
    }

    /// What kind of credential the text of another file holds. It is the same in each environment.
    pub fn credential(&self, path: &str, text: &str) -> Option<&'static str> {
        let known = self.known.borrow().get(path).copied();
        known.unwrap_or_else(|| {
            let found = credential::find(text);
            self.known.borrow_mut().insert(path.to_owned(), found);
            found
        })
    }

    /// The nearest name, as long as there is no great number of names to look for.
    pub fn nearest<'c>(&self, name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        let left = self.hints.get().checked_sub(1)?;
        self.hints.set(left);
        suggest::nearest(name, candidates)
    }

    /// "did you mean `…`?" or, with nothing near, `otherwise`.
    pub fn hint<'c>(&self, name: &str, candidates: impl IntoIterator<Item = &'c str>, otherwise: &str) -> String {
        self.nearest(name, candidates).map_or_else(|| otherwise.to_owned(), |found| format!("did you mean `{found}`?"))
    }
}

//! Objects as they are kept. Of Stacks that rest only the text is, and most of it compressed together, since the objects of a
//! Stack repeat each other: as values in memory they take ten times the room of their text.

use super::addresses::{Address, addresses};
use crate::ident::{Kind, ObjectKey};
use crate::plan::{stack_of, uid};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// zstd's fastest: a Stack is opened and folded a few times for each deployment.
const LEVEL: i32 = 1;

/// Bytes of an id; the API server's have 36.
const LONGEST_UID: usize = 64;

/// … and of the value of a label, as Kubernetes has it.
const LONGEST_LABEL: usize = 63;

/// An object, as it was seen.
pub(super) struct Item {
    pub(super) uid: Box<str>,
    pub(super) version: u64,
    /// Bytes of its text.
    pub(super) size: usize,
    /// It is there, and nothing else of it is kept.
    pub(super) unread: bool,
    /// As JSON; nothing while the picture has it, or the fold.
    pub(super) text: Option<Box<[u8]>>,
}

/// An object on its way into the store, with what the store keeps elsewhere.
pub(super) struct Arrival {
    /// Whose it says it is.
    pub(super) stack: Option<Box<str>>,
    /// The public addresses that it answers for.
    pub(super) addresses: BTreeSet<Address>,
    pub(super) item: Item,
}

impl Arrival {
    /// What is kept of an object besides the object.
    pub(super) fn of(kind: Kind, object: &Value) -> Self {
        let uid = uid(object);
        let uid = uid[..uid.floor_char_boundary(LONGEST_UID)].into();
        let item = Item { uid, version: version(object), size: size(object), unread: false, text: None };
        let stack = stack_of(object).filter(|stack| stack.len() <= LONGEST_LABEL);
        Self { stack: stack.map(Into::into), addresses: addresses(kind, object), item }
    }

    /// An object as text.
    pub(super) fn text(kind: Kind, object: &Value) -> Self {
        let mut arrival = Self::of(kind, object);
        arrival.item.text = text(object);
        arrival
    }
}

impl Item {
    pub(super) fn value(&self) -> Option<Value> {
        serde_json::from_slice(self.text.as_ref()?).ok()
    }
}

/// An object as JSON.
pub(super) fn text(object: &Value) -> Option<Box<[u8]>> {
    // a JSON value can always be written
    serde_json::to_vec(object).ok().map(Vec::into_boxed_slice)
}

/// How long the text of an object is.
pub(super) fn size(object: &Value) -> usize {
    let mut count = Count(0);
    // a JSON value can always be written
    let _ = serde_json::to_writer(&mut count, object);
    count.0
}

/// Counts what is written.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `metadata.resourceVersion` as the number that it is in practice.
fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The objects of a Stack that rests, compressed together.
pub(super) struct Folded {
    packed: Box<[u8]>,
    /// Bytes of the text.
    length: usize,
}

impl Folded {
    /// Whether an object of this kind is not folded: it is read by itself, at each look at a Stack.
    pub(super) fn leaves_out(kind: Kind) -> bool {
        matches!(kind, Kind::Lease | Kind::ConfigMap)
    }

    /// The objects that are to be folded; `None` only if they can't be, for which no cause is known.
    pub(super) fn of(objects: &BTreeMap<ObjectKey, Arc<Value>>) -> Option<Self> {
        let folded: Vec<_> = objects.iter().filter(|(key, _)| !Self::leaves_out(key.kind)).collect();
        let text = serde_json::to_vec(&folded).ok()?;
        let packed = zstd::bulk::compress(&text, LEVEL).ok()?.into_boxed_slice();
        Some(Self { packed, length: text.len() })
    }

    /// The objects.
    pub(super) fn open(&self) -> BTreeMap<ObjectKey, Value> {
        let text = zstd::bulk::decompress(&self.packed, self.length).unwrap_or_default();
        let objects: Vec<(ObjectKey, Value)> = serde_json::from_slice(&text).unwrap_or_default();
        objects.into_iter().collect()
    }
}

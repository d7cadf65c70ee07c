//! What the watches have seen of one Stack: the only picture of the cluster that the pure modules get.

use crate::ident::{Kind, ObjectKey};
use crate::manifest::STACK_LABEL;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The live objects of a Stack, and the events about them.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// By key. Values of Secrets are not in here: each stands as [`Live::HIDDEN`].
    pub objects: BTreeMap<ObjectKey, Arc<Value>>,
    /// Warnings about objects of the Stack, oldest first.
    pub events: Vec<Arc<Note>>,
    /// When a quota or limit range of the project was last changed; `None` where there is none to be seen, which tells nothing
    /// of those outside of a vCluster.
    pub limits: Option<Timestamp>,
    /// Secrets of others that the Stack takes, by name: when a value was last changed, `None` where it is not there. What is
    /// not in here is not known.
    pub taken: BTreeMap<String, Option<Timestamp>>,
}

/// A Kubernetes event, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What it is about.
    pub about: ObjectKey,
    /// uid of what it is about; names of pods may come again, uids don't.
    pub uid: String,
    /// CamelCase reason, such as `FailedScheduling`.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// When it was last seen.
    pub at: Timestamp,
    /// How often it was seen.
    pub count: i32,
}

impl Live {
    /// Stands for each value of a Secret.
    pub const HIDDEN: &'static str = "(hidden)";

    /// The live object named `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(key).map(|object| &**object)
    }

    /// Live objects of `kind`.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Value)> {
        self.objects.iter().filter(move |(key, _)| key.kind == kind).map(|(key, object)| (key, &**object))
    }

    /// Events about the object with this uid, oldest first.
    pub fn events_of<'a>(&'a self, uid: &'a str) -> impl DoubleEndedIterator<Item = &'a Note> {
        self.events.iter().map(|note| &**note).filter(move |note| note.uid == uid)
    }

    /// Live objects of `kind` that the controller with this uid owns.
    pub fn owned_by<'a>(&'a self, kind: Kind, uid: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a Value)> {
        self.of(kind).filter(move |(_, object)| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid && owner["controller"] == true))
        })
    }
}

/// `metadata.uid`, empty if there is none.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// The Stack that an object says it belongs to.
pub fn stack_of(object: &Value) -> Option<&str> {
    object["metadata"]["labels"][STACK_LABEL].as_str()
}

//! Quotas and limit ranges of a project: hks does not manage them, and wants to know when one is changed.

use super::Seen;
use super::slim::LONGEST_NAME;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Limits of one kind that are known at most; nobody has as many.
const MOST: usize = 1000;

/// Limits of one kind in a project. How much of them is used changes all the time and is not looked at.
#[derive(Default)]
pub(super) struct Limits {
    known: Option<BTreeMap<String, u64>>,
    listed: BTreeMap<String, u64>,
    /// When the newest of those listed was changed.
    newest: Option<Timestamp>,
}

impl Limits {
    /// Takes an event of their watch; returns when a limit was made, changed or taken away, if one was.
    pub(super) fn hear(&mut self, event: Event<Seen>, now: Timestamp) -> Option<Timestamp> {
        let held = |limit: &Seen| digest(holds(&limit.value));
        let is_full = |limits: &BTreeMap<String, u64>, limit: &Seen| {
            let name = limit.name_any();
            name.len() > LONGEST_NAME || limits.len() >= MOST && !limits.contains_key(&name)
        };
        match event {
            Event::Init => (self.listed, self.newest) = (BTreeMap::new(), None),
            Event::InitApply(limit) if is_full(&self.listed, &limit) => {}
            Event::InitApply(limit) => {
                self.newest = self.newest.max(Some(changed_at(&limit.value, now)));
                self.listed.insert(limit.name_any(), held(&limit));
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let same = self.known.as_ref().map(|known| *known == listed);
                self.known = Some(listed);
                // where nobody has looked before, they say themselves when they were changed
                return match same {
                    None => self.newest,
                    Some(same) => (!same).then_some(now),
                };
            }
            Event::Apply(limit) if is_full(self.known.get_or_insert_default(), &limit) => {}
            Event::Apply(limit) => {
                let held = held(&limit);
                let before = self.known.get_or_insert_default().insert(limit.name_any(), held);
                return (before != Some(held)).then_some(now);
            }
            Event::Delete(limit) => {
                self.known.get_or_insert_default().remove(&limit.name_any());
                return Some(now);
            }
        }
        None
    }
}

/// What holds of a limit. A quota is enforced by its status, which follows its spec some time later (`ResourceQuotaStatus.hard`: "the
/// set of enforced hard limits"); a try before that is refused once more.
fn holds(limit: &Value) -> &Value {
    match &limit["spec"]["hard"] {
        Value::Null => &limit["spec"],
        _ => &limit["status"]["hard"],
    }
}

/// What is kept of what a limit says.
fn digest(limit: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    limit.hash(&mut hasher);
    hasher.finish()
}

/// When somebody last changed the spec of an object, by the clock of the API server, and never after now.
fn changed_at(object: &Value, now: Timestamp) -> Timestamp {
    let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap_or_default();
    let managed = metadata.managed_fields.iter().flatten();
    let of_spec = managed.filter(|entry| entry.subresource.is_none());
    let times = of_spec.filter_map(|entry| entry.time.as_ref()).chain(&metadata.creation_timestamp);
    times.map(|time| time.0).max().unwrap_or_default().min(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_much_is_used_is_no_change_of_a_limit() {
        let entry = |time: &str, subresource: Option<&str>| json!({ "manager": "m", "operation": "Update", "time": time, "subresource": subresource });
        let managed = [entry("2026-01-02T00:00:00Z", None), entry("2026-01-03T00:00:00Z", Some("status"))];
        let metadata = json!({ "name": "q", "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed });
        let quota =
            json!({ "metadata": metadata, "spec": { "hard": { "pods": "1" } }, "status": { "hard": { "pods": "1" } } });
        let (made, now) = ("2026-01-02T00:00:00Z".parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());
        let mut limits = Limits::default();
        let mut hear = |event| limits.hear(event, now);
        let list = [Event::Init, Event::InitApply(Seen::new(quota.clone()))];
        assert!(list.clone().map(&mut hear).iter().all(Option::is_none));
        assert_eq!(hear(Event::InitDone), Some(made), "it says itself when it was changed");
        assert_eq!(hear(Event::Apply(Seen::new(quota.clone()))), None);
        assert!(list.map(&mut hear).iter().all(Option::is_none));
        assert_eq!(hear(Event::InitDone), None, "nothing is new");
        let mut more = quota;
        more["spec"]["hard"]["pods"] = "2".into();
        assert_eq!(hear(Event::Apply(Seen::new(more.clone()))), None, "nothing goes by it yet");
        more["status"] = json!({ "hard": { "pods": "2" }, "used": { "pods": "1" } });
        assert_eq!(hear(Event::Apply(Seen::new(more.clone()))), Some(now));
        assert_eq!(hear(Event::Delete(Seen::new(more))), Some(now));
        assert_eq!(hear(Event::Init), None);
        assert_eq!(hear(Event::InitDone), None);
    }
}

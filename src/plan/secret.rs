//! Values of Secrets that somebody has set. The values are in no picture, but who owns each of their fields, and since when, is.

use super::added::is_of_others;
use super::compare::Difference;
use super::live::Live;
use super::read;
use crate::ident::{Kind, ObjectKey};
use crate::manifest::{Manifest, Object, SECRET_SET_ANNOTATION};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Where the values of a Secret or ConfigMap stand in `fieldsV1`. What is applied as `stringData` is owned as that.
const VALUES: [&str; 3] = ["f:data", "f:stringData", "f:binaryData"];

/// Keys of values among the fields of an entry of `managedFields`. Format: Kubernetes API, `FieldsV1`.
pub fn keys_of(fields: &Value) -> impl Iterator<Item = &str> {
    let values = VALUES.into_iter().filter_map(|part| fields[part].as_object());
    values.flat_map(Map::keys).filter_map(|field| field.strip_prefix("f:"))
}

/// Keys of a Secret or ConfigMap whose values somebody else than hks has set, and who.
pub fn set_by_others(secret: &Value) -> impl Iterator<Item = (&str, &str)> {
    of_others(secret).flat_map(|entry| {
        let by = entry["manager"].as_str().unwrap_or_default();
        keys_of(&entry["fieldsV1"]).map(move |key| (key, by))
    })
}

/// The `managedFields` of a Secret or ConfigMap without the `keys` that others have set: these are hks's from then on.
pub fn disowned(secret: &Value, keys: &BTreeSet<&str>) -> Value {
    let mut managed = secret["metadata"]["managedFields"].clone();
    for entry in managed.as_array_mut().into_iter().flatten().filter(|entry| is_of_another(entry)) {
        for part in VALUES {
            let Some(fields) = entry["fieldsV1"].get_mut(part).and_then(Value::as_object_mut) else { continue };
            fields.retain(|field, _| field.strip_prefix("f:").is_none_or(|key| !keys.contains(key)));
        }
    }
    managed
}

/// Labels and annotations of a Secret that hks has set and does not want any more.
pub fn outdated(secret: &Value, wanted: &Value) -> Vec<(&'static str, String)> {
    let entries = secret["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut found = BTreeSet::new();
    for fields in entries.filter(|entry| !is_of_another(entry)).map(|entry| &entry["fieldsV1"]["f:metadata"]) {
        for (part, field) in [("labels", "f:labels"), ("annotations", "f:annotations")] {
            let names = fields[field].as_object().into_iter().flat_map(Map::keys);
            let names = names.filter_map(|name| name.strip_prefix("f:"));
            let old = names.filter(|name| wanted[part].get(name).is_none() && *name != SECRET_SET_ANNOTATION);
            found.extend(old.map(|name| (part, name.to_owned())));
        }
    }
    found.into_iter().collect()
}

fn is_of_another(entry: &Value) -> bool {
    is_of_others(entry["manager"].as_str().unwrap_or_default(), entry["subresource"].as_str())
}

/// When a key of a Secret of the Stack was last set: by `hks secret set`, or by somebody with other tools.
pub fn set_at(secret: &Value) -> Option<Timestamp> {
    let by_hks = read::annotation(secret, SECRET_SET_ANNOTATION);
    let with_values = of_others(secret).filter(|entry| keys_of(&entry["fieldsV1"]).next().is_some());
    let times = with_values.filter_map(|entry| entry["time"].as_str()).chain(by_hks);
    times.filter_map(|time| time.parse().ok()).max()
}

fn of_others(secret: &Value) -> impl Iterator<Item = &Value> {
    let entries = secret["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.filter(|entry| is_of_another(entry))
}

/// What of the values that hks makes is missing, or was set by somebody else.
pub(super) fn differences<'a>(object: &'a Object, current: &'a Value) -> impl Iterator<Item = Difference> + 'a {
    object.recipe.keys().filter_map(|key| {
        let there = current["data"].get(key.as_str()).is_some();
        let by = set_by_others(current).find(|(set, _)| set == key).map(|(_, by)| by);
        let live = match (there, by) {
            (true, None) => return None,
            (true, Some(by)) => Some(format!("{}, set by {by}", Live::HIDDEN)),
            (false, _) => None,
        };
        Some(Difference { field: format!("data.{key}"), live, wanted: Live::HIDDEN.to_owned() })
    })
}

/// Whether a live workload takes values from the Secret.
pub(super) fn is_used(secret: &str, live: &Live) -> bool {
    let workloads = live.of(Kind::StatefulSet).chain(live.of(Kind::Deployment));
    workloads.flat_map(|(_, workload)| taken_by(workload)).any(|name| name == secret)
}

/// Names of the Secrets that the containers take values from.
fn taken_by(body: &Value) -> impl Iterator<Item = &str> {
    let containers = body["spec"]["template"]["spec"]["containers"].as_array();
    let env = containers.into_iter().flatten().filter_map(|container| container["env"].as_array()).flatten();
    env.filter_map(|entry| entry["valueFrom"]["secretKeyRef"]["name"].as_str())
}

/// When somebody last set a key of the Secrets that the containers take values from, as their pods should know it.
pub(super) fn known_to(body: &Value, current: Option<&Value>, live: &Live, manifest: &Manifest) -> Option<String> {
    let made = current.and_then(read::created);
    // pods that came later than that have the value
    let later = |at: Timestamp| made.is_some_and(|made| at > made).then(|| at.to_string());
    let set = taken_by(body).filter_map(|name| {
        let key = ObjectKey::new(Kind::Secret, name);
        // of others' Secrets hks knows the time only
        let Some(secret) = live.get(&key) else { return later((*live.taken.get(name)?)?) };
        let by_hks = read::annotation(secret, SECRET_SET_ANNOTATION).map(str::to_owned);
        // what hks makes it takes in hand first, and says so by the annotation
        let made = manifest.get(&key).is_some_and(|object| !object.recipe.is_empty());
        by_hks.max(if made { None } else { set_at(secret).and_then(later) })
    });
    // a Secret that is gone, or can't be seen, is no reason to make pods anew
    let known = current.filter(|_| taken_by(body).next().is_some()).and_then(|current| {
        let annotations = &current["spec"]["template"]["metadata"]["annotations"];
        annotations[SECRET_SET_ANNOTATION].as_str().map(str::to_owned)
    });
    // the same zone everywhere: order of text is order of time
    set.chain(known).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Revision, StackName};
    use crate::manifest::{Recipe, Stage};
    use serde_json::json;
    use std::sync::Arc;

    fn nothing() -> Manifest {
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        Manifest::empty(stack, Revision::new("a"))
    }

    fn credentials() -> Object {
        let recipe = ["password", "url"].map(|key| (key.to_owned(), Recipe::Random(32)));
        let key = ObjectKey::new(Kind::Secret, "own");
        Object { key, stage: Stage::Databases, body: json!({}), recipe: recipe.into(), started_is_enough: false }
    }

    fn body() -> Value {
        let from = |name: &str| json!({ "secretKeyRef": { "name": name, "key": "word" } });
        let env = ["theirs", "own"].map(|name| json!({ "name": name, "valueFrom": from(name) }));
        json!({ "spec": { "template": { "spec": { "containers": [{ "env": env }] } } } })
    }

    fn current(stamp: Option<&str>) -> Value {
        let template = json!({ "metadata": { "annotations": { SECRET_SET_ANNOTATION: stamp } } });
        json!({ "metadata": { "creationTimestamp": "2026-01-02T00:00:00Z" }, "spec": { "template": template } })
    }

    fn entry(by: &str, time: &str, fields: &Value) -> Value {
        json!({ "manager": by, "time": time, "fieldsV1": fields })
    }

    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const AFTER: &str = "2026-01-03T00:00:00Z";

    #[test]
    fn marks_that_are_not_wanted_any_more_go() {
        let marks = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!({}))).collect::<Map<_, _>>();
        let ours = marks(&[
            "f:hks.hexabase.ai/on-delete",
            "f:hks.hexabase.ai/hash",
            &format!("f:{SECRET_SET_ANNOTATION}"),
            ".",
        ]);
        let fields = json!({ "f:metadata": { "f:annotations": ours, "f:labels": marks(&["f:team", "f:app"]) } });
        let theirs = json!({ "f:metadata": { "f:annotations": marks(&["f:theirs"]) } });
        let managed =
            [entry("hks", "2026-01-02T00:00:00Z", &fields), entry("kubectl", "2026-01-02T00:00:00Z", &theirs)];
        let secret = json!({ "metadata": { "managedFields": managed } });
        let wanted = json!({ "labels": { "app": "b" }, "annotations": { "hks.hexabase.ai/hash": "b" } });
        let old = [("annotations", "hks.hexabase.ai/on-delete".into()), ("labels", "team".into())];
        assert_eq!(outdated(&secret, &wanted), old);
    }

    #[test]
    fn pods_know_the_newest_of_the_values_that_they_take_and_never_an_older_one() {
        let at = |text: &str| text.parse::<Timestamp>().ok();
        let stamp = |known: Option<Option<Timestamp>>, current: Option<Value>| {
            let taken = known.map(|at| ("theirs".to_owned(), at)).into_iter().collect();
            known_to(&body(), current.as_ref(), &Live { taken, ..Live::default() }, &nothing())
        };
        assert_eq!(stamp(Some(at(AFTER)), Some(current(None))).as_deref(), Some(AFTER));
        assert_eq!(stamp(Some(at(BEFORE)), Some(current(None))), None, "the pods came later");
        assert_eq!(stamp(Some(at(AFTER)), None), None, "they are still to come");
        for known in [None, Some(None), Some(at(BEFORE))] {
            assert_eq!(stamp(known, Some(current(Some(AFTER)))).as_deref(), Some(AFTER), "{known:?}");
        }
    }

    #[test]
    fn a_value_that_somebody_has_set_by_hand_reaches_the_pods_unless_hks_makes_it() {
        let stamp = |managed: Value, manifest: &Manifest| {
            let secret = json!({ "metadata": { "managedFields": managed }, "data": { "word": Live::HIDDEN } });
            let objects = [(ObjectKey::new(Kind::Secret, "own"), Arc::new(secret))].into();
            known_to(&body(), Some(&current(None)), &Live { objects, ..Live::default() }, manifest)
        };
        let word = || json!({ "f:data": { "f:word": {} } });
        assert_eq!(stamp(json!([entry("kubectl-edit", AFTER, &word())]), &nothing()).as_deref(), Some(AFTER));
        assert_eq!(stamp(json!([entry("kubectl-edit", BEFORE, &word())]), &nothing()), None);
        assert_eq!(stamp(json!([entry("hks", AFTER, &word())]), &nothing()), None);
        let labels = json!({ "f:metadata": { "f:labels": {} } });
        assert_eq!(stamp(json!([entry("kubectl-label", AFTER, &labels)]), &nothing()), None);
        let made = Manifest { objects: vec![credentials().into()], ..nothing() };
        assert_eq!(stamp(json!([entry("kubectl-edit", AFTER, &word())]), &made), None);
    }

    #[test]
    fn a_credential_that_is_missing_or_of_somebody_else_differs() {
        let told = |data: Value, managed: Value| {
            let secret = json!({ "metadata": { "managedFields": managed }, "data": data });
            let object = credentials();
            differences(&object, &secret).map(|found| (found.field, found.live)).collect::<Vec<_>>()
        };
        let both = || json!({ "password": Live::HIDDEN, "url": Live::HIDDEN });
        assert_eq!(told(both(), Value::Null), []);
        assert_eq!(told(json!({ "url": Live::HIDDEN }), Value::Null), [("data.password".into(), None)]);
        let applied = json!({ "f:stringData": { "f:password": {}, "f:other": {} } });
        let by = Some("(hidden), set by kubectl-client-side-apply".to_owned());
        assert_eq!(
            told(both(), json!([entry("kubectl-client-side-apply", AFTER, &applied)])),
            [("data.password".into(), by)]
        );
    }
}

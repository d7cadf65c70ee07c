//! Where a live object differs from a rendered one, in the fields that hks owns and in no others.
//!
//! The API server adds defaults and other controllers add fields of their own, so a live object may always hold more.
//! Lists of objects are matched by the key that server-side apply merges them by; other lists are whole.

use crate::manifest::SECRET_SET_ANNOTATION;
use kube_quantity::ParsedQuantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One field that is not as it should be.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Such as `spec.template.spec.containers[web].image`.
    pub field: String,
    /// What is there, `None` if nothing is.
    pub live: Option<String>,
    /// What should be there.
    pub wanted: String,
}

/// The keys by which the lists of the objects that hks writes are merged (`x-kubernetes-list-map-keys`).
const LIST_KEYS: [&str; 5] = ["name", "mountPath", "containerPort", "port", "path"];

impl Difference {
    /// Whether it only tells that a secret was set.
    pub fn is_of_a_secret(&self) -> bool {
        let of_the_first = || {
            let wanted = serde_json::from_str::<BTreeMap<String, Value>>(&self.wanted).unwrap_or_default();
            self.live.is_none() && wanted.into_keys().eq([SECRET_SET_ANNOTATION])
        };
        match self.field.strip_prefix("spec.template.metadata.annotations") {
            Some("") => of_the_first(),
            Some(name) => name.ends_with(SECRET_SET_ANNOTATION),
            None => false,
        }
    }
}

/// Differences of `live` from `wanted`, in the order of the fields.
pub fn differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    let mut found = vec![];
    walk(Field::Root, wanted, Some(live), &mut found);
    found
}

/// Where a value stands. It becomes text only where something differs: at most looks nothing does.
#[derive(Clone, Copy)]
enum Field<'a> {
    Root,
    Named(&'a Field<'a>, &'a str),
    /// The element of a list that this value tells from the others.
    Of(&'a Field<'a>, &'a Value),
    At(&'a Field<'a>, usize),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Root => Ok(()),
            Field::Named(Field::Root, name) => f.write_str(name),
            Field::Named(above, name) => write!(f, "{above}.{name}"),
            Field::Of(above, value) => write!(f, "{above}[{}]", show(value)),
            Field::At(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

fn walk(field: Field<'_>, wanted: &Value, live: Option<&Value>, found: &mut Vec<Difference>) {
    let mut differ = || found.push(Difference { field: field.to_string(), live: live.map(show), wanted: show(wanted) });
    match (wanted, live) {
        // the API server leaves out empty fields
        (Value::Object(map), None) if map.is_empty() => {}
        (Value::Array(list), None) if list.is_empty() => {}
        (Value::String(text), None) if text.is_empty() => {}
        (Value::Object(wanted), Some(Value::Object(live))) => {
            for (name, value) in wanted {
                walk(Field::Named(&field, name), value, live.get(name), found);
            }
        }
        (Value::Array(items), Some(Value::Array(others))) => match list_key(items) {
            Some(key) => {
                for item in items {
                    let other = others.iter().find(|other| other[key] == item[key]);
                    walk(Field::Of(&field, &item[key]), item, other, found);
                }
            }
            None if items.len() == others.len() => {
                for (index, (item, other)) in items.iter().zip(others).enumerate() {
                    walk(Field::At(&field, index), item, Some(other), found);
                }
            }
            None => differ(),
        },
        (Value::String(wanted), Some(Value::String(live))) if wanted == live => {}
        (Value::String(wanted), Some(Value::String(live)))
            if is_quantity(&field.to_string()) && same_quantity(wanted, live) => {}
        (wanted, Some(live)) if wanted == live => {}
        _ => differ(),
    }
}

/// The field that tells the elements of a list of objects apart, if one does for all of them.
fn list_key(items: &[Value]) -> Option<&'static str> {
    // several files of one volume share its name
    let unique = |at: usize, value: &Value, key: &str| items[..at].iter().all(|before| before[key] != *value);
    let names = |key: &&str| {
        let told = |(at, item): (usize, &Value)| item.get(*key).is_some_and(|value| unique(at, value, key));
        !items.is_empty() && items.iter().enumerate().all(told)
    };
    LIST_KEYS.into_iter().find(|key| names(key))
}

fn is_quantity(field: &str) -> bool {
    field.contains(".requests.") || field.contains(".limits.") || field.ends_with(".sizeLimit")
}

/// An amount such as `5Gi`, if it is one.
pub(super) fn quantity(text: &str) -> Option<ParsedQuantity> {
    ParsedQuantity::try_from(text).ok()
}

/// An amount of bytes such as `5Gi`.
pub fn bytes(text: &str) -> Option<u64> {
    let bytes = quantity(text)?.to_bytes_f64()?;
    // no volume has 2^53 bytes
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below and above")]
    (0.0..9e15).contains(&bytes).then_some(bytes as u64)
}

fn same_quantity(a: &str, b: &str) -> bool {
    matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if a == b)
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a live Service holds a port or selector that `wanted` does not. In a vCluster the syncer co-owns what a
/// Service was created with, so server-side apply alone does not take it away; it even refuses a port that is to have
/// the name of such a one.
pub fn service_has_more(wanted: &Value, live: &Value) -> bool {
    // `x-kubernetes-list-map-keys` of the ports; the API server fills in the protocol
    let ports = |object: &Value| -> BTreeSet<String> {
        let ports = object["spec"]["ports"].as_array().into_iter().flatten();
        ports.map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"))).collect()
    };
    let selector = |object: &Value| -> BTreeSet<String> {
        object["spec"]["selector"].as_object().into_iter().flat_map(|map| map.keys().cloned()).collect()
    };
    !ports(live).is_subset(&ports(wanted)) || !selector(live).is_subset(&selector(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_in_live_is_no_difference() {
        let wanted = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}]}});
        let live = json!({"spec": {"containers": [{"name": "injected"}, {"name": "a", "image": "x:1", "tty": false}]}});
        assert_eq!(differences(&wanted, &live), []);
    }

    #[test]
    fn a_changed_field_is_named_by_its_list_key() {
        let wanted = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}]}});
        let live = json!({"spec": {"containers": [{"name": "a", "image": "x:2"}]}});
        let found = differences(&wanted, &live);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].field, "spec.containers[a].image");
        assert_eq!(found[0].live.as_deref(), Some("x:2"));
    }

    #[test]
    fn quantities_are_equal_by_value_only_where_they_are_quantities() {
        let object = |cpu: &str| json!({"resources": {"limits": {"cpu": cpu}}});
        assert_eq!(differences(&object("0.5"), &object("500m")), []);
        assert_eq!(differences(&object("1Gi"), &object("1024Mi")), []);
        assert_eq!(differences(&json!({"env": {"x": "0.5"}}), &json!({"env": {"x": "500m"}})).len(), 1);
    }

    #[test]
    fn a_service_has_more_by_what_its_ports_are() {
        let service = |ports: Value, selector: Value| json!({"spec": {"ports": ports, "selector": selector}});
        let one = service(json!([{"name": "http", "port": 8080}]), json!({"app": "web"}));
        let filled = service(
            json!([{"name": "http", "port": 8080, "protocol": "TCP", "targetPort": 8080}]),
            json!({"app": "web"}),
        );
        assert!(!service_has_more(&one, &filled));
        let moved = service(json!([{"name": "http", "port": 9090}]), json!({"app": "web"}));
        assert!(service_has_more(&moved, &filled), "the old one stays beside it");
        let udp = service(json!([{"name": "http", "port": 8080, "protocol": "UDP"}]), json!({"app": "web"}));
        assert!(service_has_more(&udp, &filled));
        let other = service(json!([{"name": "http", "port": 8080}]), json!({"tier": "web"}));
        assert!(service_has_more(&other, &filled));
        let wider =
            service(json!([{"name": "http", "port": 8080}, {"name": "metrics", "port": 9000}]), json!({"app": "web"}));
        assert!(!service_has_more(&wider, &filled), "apply adds what is new");
    }

    #[test]
    fn empty_is_the_same_as_absent() {
        assert_eq!(differences(&json!({"a": [], "b": {}, "c": ""}), &json!({})), []);
        assert_eq!(differences(&json!({"a": [1]}), &json!({})).len(), 1);
    }

    #[test]
    fn lists_without_a_key_are_whole() {
        assert_eq!(differences(&json!({"args": ["a"]}), &json!({"args": ["a", "b"]})).len(), 1);
        assert_eq!(differences(&json!({"args": ["b"]}), &json!({"args": ["a"]})).len(), 1);
    }
}

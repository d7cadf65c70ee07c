//! Fields that somebody else has added to objects of hks. They are in nobody's way, so they stay through every release; but who
//! wonders why an app is not as its file says has to know of them.

use super::Live;
use crate::ident::ObjectKey;
use crate::manifest::Manifest;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Field managers that are part of Kubernetes or of a vCluster, and hks itself.
const OWN: [&str; 7] =
    ["hks", "kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet", "vcluster", "syncer"];
/// Where `kubectl rollout restart` leaves the time.
const RESTARTED: &str = "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt";

/// Fields of an object that somebody else has added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The object.
    pub object: ObjectKey,
    /// Who, by the name of the field manager, such as `kubectl-edit`.
    pub by: String,
    /// Such as `spec.template.spec.containers[sidecar]`; values are not told.
    pub fields: Vec<String>,
}

/// Whether an entry of `managedFields` tells what somebody else has set. What stands in a status is no wish of anybody.
pub fn is_of_others(manager: &str, subresource: Option<&str>) -> bool {
    subresource.is_none() && !OWN.contains(&manager)
}

/// What others have added to the objects of a manifest. Format: Kubernetes API, `FieldsV1`.
pub fn added(manifest: &Manifest, live: &Live) -> Vec<Added> {
    let mut all = vec![];
    for object in manifest.objects.iter().filter(|object| object.stage.lasts()) {
        let entries = live.get(&object.key).and_then(|live| live["metadata"]["managedFields"].as_array());
        let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for entry in entries.into_iter().flatten() {
            let by = entry["manager"].as_str().unwrap_or_default();
            if is_of_others(by, entry["subresource"].as_str())
                && let Some(fields) = entry["fieldsV1"].as_object()
            {
                walk("", fields, Some(&object.body), found.entry(by).or_default());
            }
        }
        for (by, mut fields) in found {
            fields.retain(|field| field != RESTARTED);
            fields.sort();
            fields.dedup();
            if !fields.is_empty() {
                all.push(Added { object: object.key.clone(), by: by.into(), fields });
            }
        }
    }
    all
}

/// Collects the fields that are not in `wanted`.
fn walk(field: &str, fields: &Map<String, Value>, wanted: Option<&Value>, found: &mut Vec<String>) {
    for (step, below) in fields {
        let (name, own) = match step.split_once(':') {
            Some(("f", name)) => {
                let name = if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
                (name, wanted.and_then(|wanted| wanted.get(step.trim_start_matches("f:"))))
            }
            Some(("k", keys)) => {
                let Ok(keys) = serde_json::from_str::<Map<String, Value>>(keys) else { continue };
                let items = wanted.and_then(Value::as_array).into_iter().flatten();
                // the API server has filled in what was left out, such as the protocol of a port
                let is = |item: &&Value| keys.iter().all(|(key, value)| item.get(key).is_none_or(|own| own == value));
                (format!("{field}[{}]", title(&keys)), items.into_iter().find(is))
            }
            // the object or list itself, and elements of sets
            _ => continue,
        };
        let below = below.as_object().filter(|below| below.keys().any(|key| key != "."));
        match (own, below) {
            // an element is told as a whole
            (None, Some(below)) if step.starts_with("f:") => walk(&name, below, None, found),
            (None, _) => found.push(name),
            (Some(own), Some(below)) => walk(&name, below, Some(own), found),
            (Some(_), None) => {}
        }
    }
}

/// An element of a list, by its keys: `web`, or `80/TCP`.
fn title(keys: &Map<String, Value>) -> String {
    let words = keys.values().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    words.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Kind, Revision, StackName};
    use crate::manifest::{Object, Stage};
    use serde_json::json;
    use std::sync::Arc;

    fn told(body: Value, managed: &Value) -> Vec<(String, Vec<String>)> {
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        let key = ObjectKey::new(Kind::Deployment, "todo-web");
        let object =
            Object { key: key.clone(), stage: Stage::Apps(0), body, recipe: [].into(), started_is_enough: false };
        let manifest = Manifest { objects: vec![object.into()], ..Manifest::empty(stack, Revision::new("a")) };
        let live = json!({ "metadata": { "managedFields": managed } });
        let live = Live { objects: [(key, Arc::new(live))].into(), ..Live::default() };
        added(&manifest, &live).into_iter().map(|added| (added.by, added.fields)).collect()
    }

    #[test]
    fn what_others_have_added_is_named_and_what_hks_sets_too_is_not() {
        let body = json!({
            "metadata": { "annotations": { "a": "1" } },
            "spec": { "replicas": 2, "ports": [{ "port": 80 }], "containers": [{ "name": "web", "image": "x", "env": [{ "name": "A" }] }] },
        });
        let env = json!({ ".": {}, r#"k:{"name":"A"}"#: { ".": {}, "f:value": {} }, r#"k:{"name":"B"}"#: { ".": {}, "f:name": {} } });
        let containers = json!({
            r#"k:{"name":"web"}"#: { "f:env": env, "f:image": {} },
            r#"k:{"name":"sidecar"}"#: { ".": {}, "f:image": {} },
        });
        let ports = json!({ r#"k:{"port":80,"protocol":"TCP"}"#: { ".": {}, "f:port": {}, "f:nodePort": {} } });
        let fields = json!({
            "f:metadata": { "f:annotations": { "f:a": {}, "f:traefik.io/x": {} } },
            "f:spec": { "f:replicas": {}, "f:containers": containers, "f:ports": ports, "f:dnsPolicy": {} },
        });
        let entry = |manager: &str, subresource: Option<&str>| json!({ "manager": manager, "subresource": subresource, "fieldsV1": fields });
        let wanted = [
            "metadata.annotations.traefik.io/x",
            "spec.containers[sidecar]",
            "spec.containers[web].env[A].value",
            "spec.containers[web].env[B]",
            "spec.dnsPolicy",
            "spec.ports[80/TCP].nodePort",
        ];
        let found =
            told(body.clone(), &json!([entry("kubectl-edit", None), entry("hks", None), entry("x", Some("status"))]));
        assert_eq!(found, [("kubectl-edit".to_owned(), wanted.map(str::to_owned).to_vec())]);
        assert_eq!(told(body, &json!([entry("kube-controller-manager", None)])), []);
    }

    #[test]
    fn a_restart_is_nothing_that_was_added() {
        let annotations = json!({ "f:kubectl.kubernetes.io/restartedAt": {} });
        let fields = json!({ "f:spec": { "f:template": { "f:metadata": { "f:annotations": annotations } } } });
        assert_eq!(told(json!({ "spec": {} }), &json!([{ "manager": "kubectl-rollout", "fieldsV1": fields }])), []);
    }
}

//! What of an object is kept: no Secret values, no ConfigMap contents, and nothing that nobody reads.

use crate::ident::Kind;
use crate::plan::{self, Live};
use serde_json::{Map, Value};

/// Bytes of a name, as Kubernetes has it.
pub(super) const LONGEST_NAME: usize = 253;
/// Kinds of which it is told what others have added.
const ADDED_TO: [Kind; 9] = [
    Kind::Service,
    Kind::NetworkPolicy,
    Kind::StatefulSet,
    Kind::Deployment,
    Kind::HorizontalPodAutoscaler,
    Kind::PodDisruptionBudget,
    Kind::CronJob,
    Kind::Ingress,
    Kind::HTTPRoute,
];
/// Kinds whose values are not kept: only who has set them, and since when.
const SET_BY_HAND: [Kind; 2] = [Kind::Secret, Kind::ConfigMap];
/// Annotations that repeat the object.
const COPIES: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];
/// What is kept of how somebody manages an object.
const MANAGED: [&str; 2] = ["manager", "fieldsV1"];
/// What is kept of a pod's spec: where it runs, and what of.
const POD_SPEC: [&str; 3] = ["nodeName", "containers", "initContainers"];
/// … and of a container.
const CONTAINER: [&str; 3] = ["name", "image", "resources"];
/// What is kept of an `EndpointSlice`: which pods it leads to …
const SLICE: [&str; 4] = ["apiVersion", "kind", "metadata", "endpoints"];
/// … and which of them are ready.
const ENDPOINT: [&str; 2] = ["conditions", "targetRef"];

/// The parts of an object that are kept; nothing if it can't be read.
pub(super) fn slim(kind: Kind, mut value: Value) -> Option<Value> {
    let metadata = value.get_mut("metadata")?.as_object_mut()?;
    // an API server that is none may say anything
    if metadata.get("name").and_then(Value::as_str).is_some_and(|name| name.len() > LONGEST_NAME) {
        return None;
    }
    let managed = metadata.remove("managedFields");
    if SET_BY_HAND.contains(&kind) || ADDED_TO.contains(&kind) {
        let of_others = others(managed, SET_BY_HAND.contains(&kind));
        if !of_others.is_empty() {
            metadata.insert("managedFields".into(), of_others.into());
        }
    }
    metadata.remove("selfLink");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !COPIES.contains(&name.as_str()));
    }
    // the items of a list carry no type of their own
    value["apiVersion"] = kind.api_version().into();
    value["kind"] = kind.to_string().into();
    match kind {
        Kind::Secret => {
            for field in ["data", "stringData"] {
                if let Some(data) = value[field].as_object_mut() {
                    data.values_mut().for_each(|secret| *secret = Live::HIDDEN.into());
                }
            }
        }
        Kind::ConfigMap => {
            let map = value.as_object_mut()?;
            map.remove("data");
            map.remove("binaryData");
        }
        Kind::Pod => pod_spec(value["spec"].as_object_mut()?),
        // of a ReplicaSet the pods say all that matters, and when they are gone, what they asked for
        Kind::ReplicaSet | Kind::Job => {
            if let Some(spec) = value["spec"]["template"]["spec"].as_object_mut() {
                pod_spec(spec);
            }
        }
        Kind::EndpointSlice => {
            value.as_object_mut()?.retain(|field, _| SLICE.contains(&field.as_str()));
            for endpoint in value["endpoints"].as_array_mut().into_iter().flatten() {
                endpoint.as_object_mut()?.retain(|field, _| ENDPOINT.contains(&field.as_str()));
            }
        }
        _ => {}
    }
    Some(value)
}

/// The fields that others manage, who, and if so said since when.
fn others(managed: Option<Value>, dated: bool) -> Vec<Value> {
    let Some(Value::Array(managed)) = managed else { return vec![] };
    let of_others = |entry: &Value| {
        let text = |field: &str| entry[field].as_str();
        plan::is_of_others(text("manager").unwrap_or_default(), text("subresource"))
    };
    let mut left: Vec<_> = managed.into_iter().filter(of_others).collect();
    for entry in left.iter_mut().filter_map(Value::as_object_mut) {
        entry.retain(|field, _| MANAGED.contains(&field.as_str()) || dated && field == "time");
    }
    left
}

/// Pods and Jobs can't be changed, so they are compared with nothing.
fn pod_spec(spec: &mut Map<String, Value>) {
    spec.retain(|field, _| POD_SPEC.contains(&field.as_str()));
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.retain(|field, _| CONTAINER.contains(&field.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slimmed(kind: Kind, object: Value) -> Value {
        slim(kind, object).unwrap()
    }

    #[test]
    fn values_of_secrets_and_contents_of_maps_are_not_kept() {
        let secret =
            slimmed(Kind::Secret, json!({ "metadata": { "name": "s" }, "data": { "password": "aHVudGVyMg==" } }));
        assert_eq!(secret["data"], json!({ "password": Live::HIDDEN }));
        assert_eq!((&secret["apiVersion"], &secret["kind"]), (&json!("v1"), &json!("Secret")));
        let map = slimmed(Kind::ConfigMap, json!({ "metadata": { "name": "m" }, "data": { "a": "b" } }));
        assert!(map.get("data").is_none());
    }

    #[test]
    fn of_managed_fields_those_of_others_are_kept() {
        let entry =
            |manager: &str| json!({ "manager": manager, "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:spec": {} } });
        let managed = json!([entry("hks"), entry("kubectl-edit"), entry("kube-controller-manager")]);
        let object = json!({ "metadata": { "name": "w", "managedFields": managed } });
        let kept = slimmed(Kind::Deployment, object.clone());
        let theirs = json!([{ "manager": "kubectl-edit", "fieldsV1": { "f:spec": {} } }]);
        assert_eq!(kept["metadata"]["managedFields"], theirs);
        assert!(slimmed(Kind::PersistentVolumeClaim, object.clone())["metadata"].get("managedFields").is_none());
        let dated =
            json!([{ "manager": "kubectl-edit", "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:spec": {} } }]);
        assert_eq!(slimmed(Kind::Secret, object)["metadata"]["managedFields"], dated);
    }

    #[test]
    fn of_a_slice_only_where_it_leads_is_kept() {
        let to = json!({ "conditions": { "ready": true }, "targetRef": { "name": "p" } });
        let mut whole = to.clone();
        (whole["addresses"], whole["nodeName"]) = (json!(["10.0.0.1"]), json!("n"));
        let slice = json!({ "metadata": { "name": "s" }, "ports": [{}], "addressType": "IPv4", "endpoints": [whole] });
        let slice = slimmed(Kind::EndpointSlice, slice);
        assert_eq!((&slice["endpoints"], slice.get("ports")), (&json!([to]), None));
        let empty = json!({ "metadata": { "name": "s" }, "endpoints": null });
        assert_eq!(slimmed(Kind::EndpointSlice, empty)["endpoints"], Value::Null);
    }

    #[test]
    fn of_a_pod_only_what_explains_it_is_kept() {
        let pod = slimmed(
            Kind::Pod,
            json!({
                "metadata": { "name": "p", "managedFields": [{ "manager": "kubelet" }] },
                "spec": {
                    "nodeName": "n", "tolerations": [{}], "volumes": [{}],
                    "containers": [{ "name": "c", "image": "i", "env": [{}], "resources": { "limits": {} } }],
                },
                "status": { "phase": "Running" },
            }),
        );
        let containers = json!([{ "name": "c", "image": "i", "resources": { "limits": {} } }]);
        assert_eq!(pod["spec"], json!({ "nodeName": "n", "containers": containers }));
        assert_eq!((&pod["metadata"], &pod["status"]), (&json!({ "name": "p" }), &json!({ "phase": "Running" })));
    }
}

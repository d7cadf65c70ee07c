//! Pods that prove that images can be pulled.

use super::names::digest;
use super::{HASH_ANNOTATION, MANAGED_BY, Object, STACK_LABEL, Stage};
use crate::ident::{Kind, ObjectKey, StackName};
use serde_json::json;
use std::collections::BTreeMap;

/// Pods that pull `images`, one each: their command does not exist, so all that they can do is to be pulled.
pub fn pull_pods<'a>(
    stack: &StackName,
    images: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> impl Iterator<Item = Object> {
    images.into_iter().map(move |(image, pull_secret)| {
        let id = digest(image, 10);
        let key = ObjectKey::new(Kind::Pod, format!("hks-pull-{stack}-{id}"));
        let body = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": key.name,
                "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
                "annotations": { HASH_ANNOTATION: id },
            },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 0,
                // nobody: all that Pod Security `restricted` asks for, since the image never runs
                "securityContext": super::confine::user(65534),
                "imagePullSecrets": pull_secret.map(|name| json!([{ "name": name }])).unwrap_or(json!([])),
                "containers": [{
                    "name": "pull",
                    "image": image,
                    "command": ["/hks-only-pulls-this-image"],
                    "resources": {
                        "requests": { "cpu": "10m", "memory": "16Mi" },
                        "limits": { "cpu": "10m", "memory": "16Mi" },
                    },
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        });
        Object { key, stage: Stage::Preflight, body, recipe: BTreeMap::new(), started_is_enough: false }
    })
}

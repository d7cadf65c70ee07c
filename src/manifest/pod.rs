//! A program as a pod: what apps and jobs have in common.

use super::content::{Contents, contents};
use super::names::Names;
use super::{Object, Stage};
use crate::spec::{Program, Resources};
use serde_json::{Map, Value, json};

/// The pod of a program, and the objects that it mounts.
pub(super) struct Pod {
    /// Its `spec`, with one container.
    pub spec: Value,
    /// Labels and annotations besides those of hks.
    pub labels: Value,
    pub annotations: Value,
    /// `ConfigMaps` with its files and certificates.
    pub mounted: Vec<Object>,
}

/// The pod that runs `program` as container `name`.
pub(super) fn pod(
    names: &Names<'_>,
    stage: Stage,
    name: &str,
    component: (&str, &str),
    program: &Program,
    resources: &Resources,
) -> Pod {
    let Contents { objects: mounted, volumes, mounts, env: trust } = contents(names, stage, component, program);
    let mut environment = program.env.clone();
    for (variable, path) in trust {
        environment.entry(variable).or_insert(path);
    }
    let (env, command, args) = names.environment(&environment, &program.command, &program.args);
    let security = &program.security;
    let mut container = json!({
        "name": name,
        "image": names.text(&program.image),
        "resources": self::resources(resources),
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    // an empty list would claim what others may add
    let lists =
        [("env", json!(env)), ("command", json!(command)), ("args", json!(args)), ("volumeMounts", json!(mounts))];
    add(&mut container, lists);
    let restrictions = &mut container["securityContext"];
    if !security.capabilities.is_empty() {
        restrictions["capabilities"]["add"] = json!(security.capabilities);
    }
    if security.read_only {
        restrictions["readOnlyRootFilesystem"] = json!(true);
    }
    let mut context = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
    let numbers = [("runAsUser", security.user), ("runAsGroup", security.group), ("fsGroup", security.fs_group)];
    for (field, number) in numbers {
        if let Some(number) = number {
            context[field] = json!(number);
        }
    }
    if security.non_root {
        context["runAsNonRoot"] = json!(true);
    }
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": context,
        "containers": [container],
    });
    add(&mut spec, [("volumes", json!(volumes))]);
    if let Some(secret) = &program.pull_secret {
        spec["imagePullSecrets"] = json!([{ "name": secret }]);
    }
    Pod { spec, labels: json!(program.labels), annotations: json!(program.annotations), mounted }
}

impl Pod {
    /// The pod template with these labels.
    pub fn template(&self, own: &Value) -> Value {
        let mut labels = self.labels.as_object().cloned().unwrap_or_else(Map::new);
        labels.extend(own.as_object().cloned().unwrap_or_default());
        let mut metadata = json!({ "labels": labels });
        if self.annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
            metadata["annotations"] = self.annotations.clone();
        }
        json!({ "metadata": metadata, "spec": self.spec })
    }

    /// The container, for what only an app or only a job has.
    pub fn container(&mut self) -> &mut Value {
        &mut self.spec["containers"][0]
    }
}

/// Adds those lists that are not empty.
pub(super) fn add<const N: usize>(target: &mut Value, lists: [(&str, Value); N]) {
    for (field, list) in lists {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            target[field] = list;
        }
    }
}

/// Appends to a list that may not be there yet.
pub(super) fn append(target: &mut Value, field: &str, item: Value) {
    match target[field].as_array_mut() {
        Some(list) => list.push(item),
        None => target[field] = json!([item]),
    }
}

/// `resources` of a container.
pub(super) fn resources(of: &Resources) -> Value {
    json!({
        "requests": { "cpu": of.request_cpu, "memory": of.request_memory },
        "limits": { "cpu": of.limit_cpu, "memory": of.limit_memory },
    })
}

//! An app: a Deployment and, if it has ports, a Service.

use super::{APP_LABEL, Names, Object, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{App, Probe, Resources};
use serde_json::{Value, json};

/// Seconds that a stopping pod keeps serving, so that the ingress controller and kube-proxy stop sending to it first.
const DRAIN_SECONDS: u32 = 5;

/// Seconds that a container without a readiness probe has to run before it counts: else one that crashes at once would
/// count as ready for a moment.
const UNPROBED_SECONDS: u32 = 10;

pub(super) fn objects(names: &Names<'_>, name: &str, app: &App) -> Vec<Object> {
    let full = names.object(name);
    let component = Some((APP_LABEL, name));
    let finish = |kind, body| names.finish(Stage::Apps, ObjectKey::new(kind, &full), component, body);
    let mut objects = vec![finish(Kind::Deployment, deployment(names, name, app))];
    if !app.ports.is_empty() {
        let port = |(name, number): &(String, u16)| json!({ "name": name, "port": number, "targetPort": name, "protocol": "TCP" });
        let ports: Vec<_> = app.ports.iter().map(port).collect();
        objects.push(finish(
            Kind::Service,
            json!({ "spec": { "selector": names.selector(APP_LABEL, name), "ports": ports } }),
        ));
    }
    objects
}

fn deployment(names: &Names<'_>, name: &str, app: &App) -> Value {
    let (env, command, args) = names.environment(&app.env, &app.command, &app.args);
    let ports = app.ports.iter();
    let ports: Vec<_> =
        ports.map(|(name, port)| json!({ "name": name, "containerPort": port, "protocol": "TCP" })).collect();
    let mut container = json!({
        "name": name,
        "image": names.text(&app.image),
        "resources": resources(&app.resources),
        "lifecycle": { "preStop": { "sleep": { "seconds": DRAIN_SECONDS } } },
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    // an empty list would claim what others may add
    let lists = [("env", json!(env)), ("ports", json!(ports)), ("command", json!(command)), ("args", json!(args))];
    for (field, list) in lists {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            container[field] = list;
        }
    }
    for (field, check) in
        [("startupProbe", &app.startup), ("readinessProbe", &app.readiness), ("livenessProbe", &app.liveness)]
    {
        if let Some(check) = check {
            container[field] = probe(check);
        }
    }
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [container],
    });
    if let Some(secret) = &app.pull_secret {
        pod["imagePullSecrets"] = json!([{ "name": secret }]);
    }
    let mut deployment = json!({ "spec": {
        "replicas": app.replicas,
        "revisionHistoryLimit": 2,
        "selector": { "matchLabels": names.selector(APP_LABEL, name) },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "template": { "metadata": { "labels": names.labels(Some((APP_LABEL, name))) }, "spec": pod },
    }});
    if app.readiness.is_none() {
        deployment["spec"]["minReadySeconds"] = json!(UNPROBED_SECONDS);
    }
    deployment
}

/// `resources` of a container.
pub(super) fn resources(of: &Resources) -> Value {
    json!({
        "requests": { "cpu": of.request_cpu, "memory": of.request_memory },
        "limits": { "cpu": of.limit_cpu, "memory": of.limit_memory },
    })
}

fn probe(check: &Probe) -> Value {
    let mut probe = json!({
        "periodSeconds": check.period.as_secs().max(1),
        "timeoutSeconds": check.timeout.as_secs().max(1),
        "failureThreshold": check.failure_threshold,
    });
    // the API server leaves a zero out
    if !check.initial_delay.is_zero() {
        probe["initialDelaySeconds"] = json!(check.initial_delay.as_secs());
    }
    match &check.path {
        Some(path) => probe["httpGet"] = json!({ "path": path, "port": check.port }),
        None => probe["tcpSocket"] = json!({ "port": check.port }),
    }
    probe
}

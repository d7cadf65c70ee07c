//! An app: a Deployment, a Service if it has ports, and what goes with several pods.

use super::names::{Names, annotate, digest, of_class};
use super::pod::{Pod, append, pod};
use super::{APP_LABEL, KEEP_ANNOTATION, Object, SLOT_LABEL, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{App, Autoscaling, Check, Port, Probe, Protocol, Rollout, Scale, Scaling};
use serde_json::{Value, json};

/// An app's objects.
pub(super) struct Rendered {
    pub objects: Vec<Object>,
    /// Name of its Deployment.
    pub deployment: String,
}

pub(super) fn objects(names: &Names<'_>, name: &str, app: &App) -> Rendered {
    let stage = Stage::Apps(u16::from(app.wave) * 2);
    let component = (APP_LABEL, name);
    let full = names.object(name);
    let mut pod = running(names, stage, name, app);
    let mut objects = std::mem::take(&mut pod.mounted);
    let mut labels = names.labels(Some(component));
    let mut selector = names.selector(APP_LABEL, name);
    // A version of a blue/green app is an object of its own: nothing of the old one changes until all of it is ready.
    let slot = matches!(app.rollout, Rollout::BlueGreen { .. }).then(|| digest(&pod.template(&labels).to_string(), 8));
    let deployment = match &slot {
        Some(slot) => {
            labels[SLOT_LABEL] = json!(slot);
            selector[SLOT_LABEL] = json!(slot);
            format!("{full}-{slot}")
        }
        None => full.clone(),
    };
    let finish = |stage, kind, name: &str, body| names.finish(stage, ObjectKey::new(kind, name), Some(component), body);
    for (volume, claim) in app.volumes.iter().filter(|(_, volume)| volume.lasting) {
        let body = json!({ "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": claim.size } },
        }});
        let body = of_class(body, claim.class.as_deref().or(names.context.storage_class.as_deref()));
        objects.push(finish(Stage::Databases, Kind::PersistentVolumeClaim, &format!("{full}-{volume}"), body));
    }
    let body = controller(app, &selector, &pod.template(&labels));
    let mut object = finish(stage, Kind::Deployment, &deployment, body);
    object.started_is_enough = app.started_is_enough;
    if let Rollout::BlueGreen { keep_old } = app.rollout {
        annotate(&mut object, KEEP_ANNOTATION, &keep_old.as_secs().to_string());
    }
    objects.push(object);
    if !app.ports.is_empty() {
        let ports: Vec<_> = app.ports.iter().map(service_port).collect();
        let body = json!({ "spec": { "selector": selector, "ports": ports } });
        if slot.is_some() {
            objects.push(finish(stage, Kind::Service, &format!("{full}-preview"), body.clone()));
            objects.push(finish(Stage::Apps(u16::from(app.wave) * 2 + 1), Kind::Service, &full, body));
        } else {
            objects.push(finish(stage, Kind::Service, &full, body));
        }
    }
    let least = match &app.scale {
        Scale::Fixed(replicas) => *replicas,
        Scale::Auto(auto) => {
            objects.push(finish(stage, Kind::HorizontalPodAutoscaler, &deployment, autoscaler(auto, &deployment)));
            auto.min
        }
    };
    if least > 1 {
        let body = json!({ "spec": {
            "maxUnavailable": 1,
            "selector": { "matchLabels": names.selector(APP_LABEL, name) },
            // pods that don't work anyway must not keep a node from being drained
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }});
        objects.push(finish(stage, Kind::PodDisruptionBudget, &full, body));
    }
    Rendered { objects, deployment }
}

/// The pod with what only an app has: ports, probes, volumes, the way it ends.
fn running(names: &Names<'_>, stage: Stage, name: &str, app: &App) -> Pod {
    let mut pod = pod(names, stage, name, (APP_LABEL, name), &app.program, &app.resources);
    pod.spec["terminationGracePeriodSeconds"] = json!(app.grace.as_secs());
    let container = pod.container();
    if !app.drain.is_zero() {
        container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": app.drain.as_secs() } } });
    }
    for port in &app.ports {
        let entry = json!({ "name": port.name, "containerPort": port.number, "protocol": transport(port) });
        append(container, "ports", entry);
    }
    let probes = [("startupProbe", &app.startup), ("readinessProbe", &app.readiness), ("livenessProbe", &app.liveness)];
    for (field, check) in probes {
        if let Some(check) = check {
            container[field] = probe(check);
        }
    }
    for (volume, of) in &app.volumes {
        append(pod.container(), "volumeMounts", json!({ "name": volume, "mountPath": of.mount }));
        let source = if of.lasting {
            json!({ "name": volume, "persistentVolumeClaim": { "claimName": format!("{}-{volume}", names.object(name)) } })
        } else {
            json!({ "name": volume, "emptyDir": { "sizeLimit": of.size } })
        };
        append(&mut pod.spec, "volumes", source);
    }
    if !matches!(app.scale, Scale::Fixed(0 | 1)) {
        // a preference: a small node pool must not keep pods waiting
        pod.spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": names.selector(APP_LABEL, name) },
        }]);
    }
    pod
}

fn controller(app: &App, selector: &Value, template: &Value) -> Value {
    let strategy = match &app.rollout {
        Rollout::Rolling { surge, unavailable } => {
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": unavailable, "maxSurge": surge } })
        }
        // all of a new slot's pods are new: how they would be replaced does not matter
        Rollout::BlueGreen { .. } => {
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } })
        }
        Rollout::Recreate => json!({ "type": "Recreate" }),
    };
    let mut spec = json!({
        "revisionHistoryLimit": 2,
        "selector": { "matchLabels": selector },
        "strategy": strategy,
        "template": template,
    });
    if let Scale::Fixed(replicas) = app.scale {
        spec["replicas"] = json!(replicas);
    }
    if !app.min_ready.is_zero() {
        spec["minReadySeconds"] = json!(app.min_ready.as_secs());
    }
    json!({ "spec": spec })
}

fn transport(port: &Port) -> &'static str {
    if port.protocol == Protocol::Udp { "UDP" } else { "TCP" }
}

fn service_port(port: &Port) -> Value {
    let mut entry =
        json!({ "name": port.name, "port": port.number, "targetPort": port.name, "protocol": transport(port) });
    if port.protocol == Protocol::Grpc {
        // KEP-3726: HTTP/2 over cleartext
        entry["appProtocol"] = json!("kubernetes.io/h2c");
    }
    entry
}

fn autoscaler(auto: &Autoscaling, deployment: &str) -> Value {
    let metric = |name: &str, percent: Option<u32>| {
        let target = json!({ "type": "Utilization", "averageUtilization": percent? });
        Some(json!({ "type": "Resource", "resource": { "name": name, "target": target } }))
    };
    let metrics: Vec<_> = [metric("cpu", auto.cpu), metric("memory", auto.memory)].into_iter().flatten().collect();
    let mut spec = json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment },
        "minReplicas": auto.min,
        "maxReplicas": auto.max,
        "metrics": metrics,
    });
    for (field, scaling) in [("scaleUp", &auto.up), ("scaleDown", &auto.down)] {
        if let Some(scaling) = scaling {
            spec["behavior"][field] = behaviour(scaling);
        }
    }
    json!({ "spec": spec })
}

fn behaviour(scaling: &Scaling) -> Value {
    let mut rules = json!({});
    if let Some(window) = scaling.stabilization {
        rules["stabilizationWindowSeconds"] = json!(window.as_secs());
    }
    if let Some((pods, period)) = scaling.pods {
        rules["policies"] = json!([{ "type": "Pods", "value": pods, "periodSeconds": period.as_secs() }]);
    }
    rules
}

fn probe(of: &Probe) -> Value {
    let mut probe = json!({
        "periodSeconds": of.period.as_secs().max(1),
        "timeoutSeconds": of.timeout.as_secs().max(1),
        "failureThreshold": of.failure_threshold,
    });
    // the API server leaves a zero out
    if !of.initial_delay.is_zero() {
        probe["initialDelaySeconds"] = json!(of.initial_delay.as_secs());
    }
    match &of.check {
        Check::Http(path, port) => probe["httpGet"] = json!({ "path": path, "port": port }),
        Check::Tcp(port) => probe["tcpSocket"] = json!({ "port": port }),
        Check::Exec(command) => probe["exec"] = json!({ "command": command }),
        Check::Grpc(port, service) => probe["grpc"] = json!({ "port": port, "service": service }),
    }
    probe
}

//! Composes the view of a Stack from its machine and its live picture.

use crate::ident::{Kind, ObjectKey, Revision, StackName};
use crate::machine::{Machine, Rest, State, Toward};
use crate::plan::Live;
use crate::report::{AppView, DatabaseView, DriftView, View};
use crate::rollout::Cause;
use jiff::Timestamp;
use serde_json::Value;

/// The view of a Stack that has no machine at the moment.
pub fn bare(
    stack: &StackName,
    namespace: &str,
    state: &'static str,
    activity: &str,
    desired: Option<Revision>,
    at: Timestamp,
) -> View {
    View {
        name: stack.to_string(),
        namespace: namespace.into(),
        state,
        activity: activity.into(),
        desired_revision: desired,
        applied_revision: None,
        cause: None,
        log: None,
        urls: vec![],
        apps: vec![],
        databases: vec![],
        drift: vec![],
        drift_corrected: 0,
        retained: vec![],
        history: vec![],
        at,
    }
}

/// The view of a Stack.
pub fn compose(machine: &Machine, namespace: &str, live: &Live, at: Timestamp) -> View {
    let (state, activity) = state(machine);
    let desired = machine.head.as_ref().map(|commit| commit.revision.clone());
    let mut view = bare(&machine.stack, namespace, state, &activity, desired, at);
    view.applied_revision = machine.record.settled.as_ref().map(|release| release.revision.clone());
    view.cause = machine.cause().map(ToString::to_string);
    view.log = machine.cause().and_then(|cause| match cause {
        Cause::CrashLoop { log, .. } | Cause::NotReady { log, .. } if !log.is_empty() => Some(log.clone()),
        _ => None,
    });
    view.drift_corrected = machine.drift_corrected;
    let drift = machine.drift.iter();
    view.drift = drift.map(|(key, fields)| DriftView { object: key.to_string(), fields: fields.clone() }).collect();
    view.history = machine.record.history.iter().rev().cloned().collect();
    if let Some(manifest) = machine.manifest() {
        let settled = machine.baseline().map(|baseline| baseline.urls.as_slice()).unwrap_or_default();
        view.urls = settled.iter().map(|url| url.url.clone()).collect();
        view.apps = manifest.apps.iter().map(|app| self::app(&app.name, &app.deployment, &app.image, live)).collect();
        view.databases = manifest.databases.iter().map(|name| database(name, live)).collect();
        let orphan = |owned: &&crate::plan::Owned| owned.settled && manifest.get(&owned.key).is_none();
        let kept = machine.record.inventory.iter().filter(orphan).filter(|owned| live.get(&owned.key).is_some());
        view.retained = kept.map(|owned| owned.key.to_string()).collect();
    }
    view
}

fn state(machine: &Machine) -> (&'static str, String) {
    match &machine.state {
        State::Resting(rest) => (
            match rest {
                Rest::Fresh => "fresh",
                Rest::Settled => "settled",
                Rest::Held => "held",
                Rest::Invalid => "invalid",
                Rest::Suspended => "suspended",
            },
            String::new(),
        ),
        State::Passing(pass) => {
            let word = match (&pass.toward, pass.waiting_since) {
                (Toward::Back { .. }, _) => "rollingBack",
                (_, Some(_)) => "waiting",
                (Toward::Forward, None) => "deploying",
                (Toward::Heal, None) => "correcting",
                (Toward::Nothing { .. }, None) => "destroying",
            };
            let message = if pass.message.is_empty() { String::new() } else { format!(": {}", pass.message) };
            (word, format!("{}{message}", pass.stage.title()))
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn app(name: &str, deployment: &str, wanted: &str, live: &Live) -> AppView {
    let object = live.get(&ObjectKey::new(Kind::Deployment, deployment)).cloned().unwrap_or_default();
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    let limit = |what: &str| container["resources"]["limits"][what].as_str().unwrap_or("none").to_owned();
    AppView {
        name: name.into(),
        image: container["image"].as_str().unwrap_or(wanted).into(),
        ready: number(&object["status"]["readyReplicas"]),
        replicas: number(&object["spec"]["replicas"]),
        limits: format!("{} cpu, {} memory", limit("cpu"), limit("memory")),
        usage: None,
    }
}

fn database(name: &str, live: &Live) -> DatabaseView {
    let object = live.get(&ObjectKey::new(Kind::StatefulSet, name)).cloned().unwrap_or_default();
    let pod = &object["spec"]["template"]["spec"];
    let claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"].as_str().unwrap_or_default();
    let volume = live.get(&ObjectKey::new(Kind::PersistentVolumeClaim, claim)).cloned().unwrap_or_default();
    DatabaseView {
        name: name.into(),
        image: pod["containers"][0]["image"].as_str().unwrap_or_default().into(),
        ready: number(&object["status"]["readyReplicas"]) > 0,
        storage: volume["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default().into(),
        usage: None,
    }
}

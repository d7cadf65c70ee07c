//! Composes the view of a Stack from its machine and its live picture.

use crate::ident::{Kind, ObjectKey};
use crate::machine::{Machine, Rest, State, Toward, Trouble};
use crate::manifest::{CACHE_LABEL, Manifest};
use crate::plan::Live;
use crate::record::{Ending, Record};
use crate::report::{
    AppView, DatabaseView, DriftView, Ended, LackingView, Readiness, StackState, TroubleView, View, Why,
};
use crate::rollout::Cause;
use jiff::Timestamp;
use serde_json::Value;

/// The view of a Stack.
pub fn compose(machine: &Machine, namespace: &str, live: &Live, at: Timestamp) -> View {
    let mut view = View::bare(&machine.stack, namespace, state(machine), at);
    if let State::Passing(pass) = &machine.state {
        let message = if pass.message.is_empty() { String::new() } else { format!(": {}", pass.message) };
        view.activity = format!("{}{message}", pass.stage.title());
        view.waiting_since = pass.waiting_since;
    }
    let record = &machine.record;
    view.desired_revision = machine.head.as_ref().map(|commit| commit.revision.clone());
    if let Some(release) = &record.settled {
        view.applied_revision = Some(release.revision.clone());
        view.applied_since = Some(release.at);
    }
    explain(&mut view, machine.cause());
    view.ending = record.held.as_ref().and_then(|held| match &held.ending {
        Ending::Unhealthy { cause } | Ending::Refused { cause } => Some(cause.to_string()),
        Ending::Open | Ending::Healthy => None,
    });
    let lacking = machine.lacking().iter();
    view.lacking = lacking.map(|of| LackingView { secret: of.secret.clone(), key: of.key.clone() }).collect();
    view.troubles = machine.troubles.iter().map(trouble).collect();
    view.suspended.clone_from(&record.suspended);
    view.drift_corrected = machine.drift_corrected;
    let drift = machine.drift.iter();
    view.drift = drift.map(|(key, fields)| DriftView { object: key.to_string(), fields: fields.clone() }).collect();
    view.history = record.history.iter().rev().cloned().collect();
    let settled = machine.baseline().map(|baseline| baseline.urls.as_slice()).unwrap_or_default();
    view.urls = settled.iter().map(|url| url.url.clone()).collect();
    if let Some(manifest) = machine.manifest() {
        parts(&mut view, manifest, record, live);
    }
    view
}

/// Says why the newest commit is not in effect.
pub fn explain(view: &mut View, cause: Option<&Cause>) {
    view.cause = cause.map(ToString::to_string);
    view.requested_by = match cause {
        Some(Cause::Requested { by }) => Some(by.clone()),
        _ => None,
    };
    view.log = cause.and_then(|cause| match cause {
        Cause::CrashLoop { log, .. } | Cause::NotReady { log, .. } | Cause::JobFailed { log, .. }
            if !log.is_empty() =>
        {
            Some(log.clone())
        }
        _ => None,
    });
}

/// What runs of a manifest, and what stays of older ones.
pub fn parts(view: &mut View, manifest: &Manifest, record: &Record, live: &Live) {
    view.apps = manifest.apps.iter().map(|app| self::app(&app.name, &app.deployment, &app.image, live)).collect();
    view.databases = manifest.databases.iter().map(|name| database(name, live)).collect();
    let caches = manifest.objects.iter().filter(|object| {
        object.key.kind == Kind::StatefulSet && object.body["metadata"]["labels"][CACHE_LABEL].is_string()
    });
    view.caches = caches.map(|object| database(&object.key.name, live)).collect();
    let orphan = |owned: &&crate::plan::Owned| owned.settled && manifest.get(&owned.key).is_none();
    let kept = record.inventory.iter().filter(orphan).filter(|owned| live.get(&owned.key).is_some());
    view.retained = kept.map(|owned| owned.key.to_string()).collect();
}

fn trouble(of: &Trouble) -> TroubleView {
    TroubleView { component: of.component.clone(), cause: of.cause.to_string(), since: of.since }
}

/// How the way back to the last settled release ended, as far as the record says. Records of older versions only say that it
/// has.
pub fn ended(record: &Record) -> Ended {
    match record.held.as_ref().map(|held| &held.ending) {
        Some(Ending::Unhealthy { .. }) => Ended::Unhealthy,
        Some(Ending::Refused { .. }) => Ended::Refused,
        Some(Ending::Open | Ending::Healthy) | None => Ended::Restored,
    }
}

fn state(machine: &Machine) -> StackState {
    match &machine.state {
        State::Resting(_) if machine.record.suspended.is_some() => StackState::Suspended(Why::Asked),
        State::Resting(Rest::Fresh) => StackState::Fresh,
        State::Resting(Rest::Settled) if !machine.troubles.is_empty() => StackState::Degraded,
        State::Resting(Rest::Settled) => StackState::Settled,
        State::Resting(Rest::Held) => StackState::Held(ended(&machine.record)),
        State::Resting(Rest::Invalid) => StackState::Invalid,
        State::Resting(Rest::Suspended) => StackState::Suspended(Why::NoFile),
        State::Passing(pass) => match (&pass.toward, pass.waiting_since) {
            (Toward::Back { .. }, _) => StackState::RollingBack,
            (_, Some(_)) => StackState::Waiting,
            (Toward::Forward, None) => StackState::Deploying,
            (Toward::Restore, None) => StackState::Correcting,
        },
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn app(name: &str, deployment: &str, wanted: &str, live: &Live) -> AppView {
    let found = live.get(&ObjectKey::new(Kind::Deployment, deployment));
    let object = found.cloned().unwrap_or_default();
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    let limit = |what: &str| container["resources"]["limits"][what].as_str().unwrap_or("none").to_owned();
    let (ready, replicas) = (number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"]));
    AppView {
        name: name.into(),
        readiness: match (found, replicas) {
            (None, _) => Readiness::Missing,
            (Some(_), 0) => Readiness::Parked,
            (Some(_), _) if ready >= replicas => Readiness::Ready,
            (Some(_), _) => Readiness::NotReady,
        },
        image: container["image"].as_str().unwrap_or(wanted).into(),
        ready,
        replicas,
        limits: format!("{} cpu, {} memory", limit("cpu"), limit("memory")),
        usage: None,
    }
}

fn database(name: &str, live: &Live) -> DatabaseView {
    let found = live.get(&ObjectKey::new(Kind::StatefulSet, name));
    let object = found.cloned().unwrap_or_default();
    let pod = &object["spec"]["template"]["spec"];
    let claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"].as_str().unwrap_or_default();
    let volume = live.get(&ObjectKey::new(Kind::PersistentVolumeClaim, claim)).cloned().unwrap_or_default();
    let ready = number(&object["status"]["readyReplicas"]) > 0;
    DatabaseView {
        name: name.into(),
        readiness: match found {
            None => Readiness::Missing,
            Some(_) if ready => Readiness::Ready,
            Some(_) => Readiness::NotReady,
        },
        image: pod["containers"][0]["image"].as_str().unwrap_or_default().into(),
        ready,
        storage: volume["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default().into(),
        usage: None,
    }
}

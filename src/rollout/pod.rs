//! What a pod that should start says: the table of troubles.

use super::text::{self, Pull};
use super::{Cause, Crash, Missing, Progress, Who};
use crate::ident::{Kind, ObjectKey};
use crate::plan::read::{Condition, End, Pod, Status};
use crate::plan::{Live, is_going, uid};
use serde_json::Value;

/// Restarts of a crashing container after which it counts as crashing for good: its first runs may have met a
/// dependency that was still starting.
const CRASHES: i64 = 2;

/// Seconds of a run after which the kubelet forgets that a container has crashed before (twice the longest wait, which is five
/// minutes; Kubernetes, pod lifecycle, "Container restart policy").
const BACKOFF_FORGOTTEN: i64 = 600;

/// Progress of a pod whose containers should run and become ready.
pub(super) fn starting(who: &Who, key: &ObjectKey, pod: &Value, live: &Live) -> Progress {
    if is_ending(pod) {
        return Progress::Ready;
    }
    if let Some(progress) = unplaced(who, pod, live) {
        return progress;
    }
    for status in Pod(pod).statuses() {
        if let Some(progress) = container(who, key, pod, status, live) {
            return progress;
        }
    }
    if Pod(pod).is_ready() {
        return Progress::Ready;
    }
    let unhealthy = live.events_of(uid(pod)).rev().find(|note| note.reason == "Unhealthy");
    let (message, crashed) = match unhealthy {
        // a probe that says nothing leaves a colon
        Some(note) => (note.message.trim_end_matches([':', ' ', '\n']).trim().to_owned(), None),
        None => (phase(pod), crashed(key, pod)),
    };
    Progress::Progressing(Missing { crashed, ..missing(who, key, message, None) })
}

/// How a container of the pod ended that runs again: between two crashes nothing else shows them.
pub(super) fn crashed(key: &ObjectKey, pod: &Value) -> Option<Crash> {
    Pod(pod).statuses().find_map(|status| {
        let exit_code = status.last_end()?.code();
        (exit_code != 0).then(|| Crash { pod: key.name.clone(), container: status.name().into(), exit_code })
    })
}

/// Progress of a pod that only proves that its image can be pulled: its command does not exist, so any state after the
/// pull will do.
pub(super) fn pulled(who: &Who, key: &ObjectKey, pod: &Value, live: &Live) -> Progress {
    if let Some(progress) = unplaced(who, pod, live) {
        return progress;
    }
    let Some(status) = Pod(pod).statuses().next() else { return progressing(who, key, phase(pod), None) };
    let started = matches!(status.waits_for(), Some("RunContainerError" | "CreateContainerError" | "CrashLoopBackOff"));
    if started || has_run(status) {
        return Progress::Ready;
    }
    container(who, key, pod, status, live).unwrap_or_else(|| progressing(who, key, phase(pod), None))
}

/// Progress of a pod that should run and end; what it does is its own affair, and the Job counts how often it fails.
pub(super) fn ending_well(who: &Who, key: &ObjectKey, pod: &Value, live: &Live) -> Progress {
    if let Some(progress) = unplaced(who, pod, live) {
        return progress;
    }
    let waiting = Pod(pod).statuses().find(|status| !has_run(*status));
    match waiting.and_then(|status| container(who, key, pod, status, live)) {
        Some(progress) => progress,
        None => progressing(who, key, phase(pod), None),
    }
}

/// The container runs, or has run.
fn has_run(status: Status) -> bool {
    status.is_running() || status.end().is_some() || status.last_end().is_some()
}

/// A container of the pod runs.
pub(super) fn runs(pod: &Value) -> bool {
    !is_ending(pod) && Pod(pod).statuses().any(Status::is_running)
}

/// Its condition `Ready` has been `False` since before any of its containers can have run.
pub(super) fn was_never_ready(pod: &Value) -> bool {
    let Some(ready) = Condition::of(pod, "Ready") else {
        // no node has seen it yet
        return Pod(pod).phase() == "Pending" && Pod(pod).statuses().next().is_none();
    };
    let first = Pod(pod).statuses().flat_map(Status::starts).min();
    let restarted = Pod(pod).statuses().any(|status| status.restarts() > 1);
    let before = match (ready.since(), first) {
        (Some(since), Some(first)) => since <= first || restarted && same_as_initialized(pod, ready),
        (Some(_), None) => true,
        (None, _) => false,
    };
    ready.is_false() && before
}

/// The kubelet sets both conditions when it first sees a pod without init containers.
fn same_as_initialized(pod: &Value, ready: Condition) -> bool {
    let initialized = Condition::of(pod, "Initialized").filter(|initialized| initialized.is_true());
    initialized.is_some_and(|initialized| initialized.since() == ready.since())
}

/// The pod is being deleted.
pub(super) fn is_ending(pod: &Value) -> bool {
    is_going(pod)
}

fn progressing(who: &Who, key: &ObjectKey, message: String, pulling: Option<String>) -> Progress {
    Progress::Progressing(missing(who, key, message, pulling))
}

fn missing(who: &Who, key: &ObjectKey, message: String, pulling: Option<String>) -> Missing {
    let component = who.0.to_string();
    Missing { component, pod: key.name.clone(), message, pulling, crashed: None, limit: None }
}

fn phase(pod: &Value) -> String {
    let waiting = Pod(pod).statuses().find_map(Status::waits_for);
    let phase = Some(Pod(pod).phase()).filter(|phase| !phase.is_empty());
    waiting.or(phase).unwrap_or("Pending").to_owned()
}

/// A pod that has no node: no room, an impossible demand, or refused by a vCluster's host.
fn unplaced(who: &Who, pod: &Value, live: &Live) -> Option<Progress> {
    let scheduled = Condition::of(pod, "PodScheduled");
    if Pod(pod).has_node() && scheduled.is_some() {
        return None;
    }
    match scheduled {
        Some(scheduled) if scheduled.is_false() => {
            let message = scheduled.message();
            let short = text::scheduler(message);
            // an empty message comes with SchedulerError and the like, which pass
            Some(if text::lacks_room(message) {
                Progress::Waiting(format!("{} asks {}; {short}", who.0, asks(pod)))
            } else if scheduled.reason() == "Unschedulable" && !message.is_empty() && !may_bind_later(message) {
                let message = format!("{}: {short}", who.0);
                Progress::Failed(Cause::Unschedulable { message })
            } else {
                who.progressing(format!("waiting for a node: {short}"))
            })
        }
        Some(_) => None,
        // The host of a vCluster refused the pod: its conditions stay empty, and only an event of the syncer tells why.
        None => {
            let refusals = || live.events_of(uid(pod)).rev().filter(|note| note.reason == "SyncError");
            let limit = refusals().find_map(|note| text::limit(&note.message, &who.0));
            Some(match (limit, refusals().next()) {
                (Some(cause), _) => Progress::Failed(cause),
                (None, Some(note)) => who.progressing(note.message.clone()),
                (None, None) => who.progressing("waiting for a node"),
            })
        }
    }
}

/// Texts about volumes that the volume controllers still resolve by themselves.
fn may_bind_later(message: &str) -> bool {
    message.contains("unbound immediate PersistentVolumeClaims")
        || message.contains("persistentvolumeclaim") && message.contains("not found")
}

/// What a pod asks of a node, in words: the sum of its containers as they were written.
fn asks(pod: &Value) -> String {
    let sum = |name: &str| {
        let requests = Pod(pod).containers().filter_map(|container| container.request(name));
        requests.collect::<Vec<_>>().join("+")
    };
    format!("{} cpu, {} memory", sum("cpu"), sum("memory"))
}

fn container(who: &Who, key: &ObjectKey, pod: &Value, status: Status, live: &Live) -> Option<Progress> {
    let (reason, message) = (status.waits_for().unwrap_or_default(), status.waits_since());
    let component = || who.0.to_string();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(pull_trouble(who, key, pod, status, message, live))
        }
        "InvalidImageName" | "ErrImageNeverPull" => Some(Progress::Failed(Cause::ImagePull {
            component: component(),
            image: Pod(pod).image_of(status).to_owned(),
            reason: if reason == "InvalidImageName" { "invalid name".into() } else { "never pulled".into() },
            pod: key.name.clone(),
        })),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            // what is there may not have reached the node: a vCluster hands objects on one by one
            let on_its_way = |key: &ObjectKey| {
                matches!(key.kind, Kind::Secret | Kind::ConfigMap) && message.contains(&format!("\"{}", key.name))
            };
            Some(if text::busy(message) || live.objects.keys().any(on_its_way) {
                progressing(who, key, message.to_owned(), None)
            } else {
                Progress::Failed(Cause::Configuration { component: component(), message: message.into() })
            })
        }
        _ => {
            if [status.end(), status.last_end()].into_iter().flatten().any(End::is_out_of_memory) {
                let (component, limit) = (component(), memory(pod, status));
                return Some(Progress::Failed(Cause::OutOfMemory { component, limit, pod: key.name.clone() }));
            }
            let crashes = reason == "CrashLoopBackOff" || status.end().is_some_and(waits_silently);
            (status.restarts() >= CRASHES && crashes).then(|| {
                Progress::Failed(Cause::CrashLoop {
                    component: component(),
                    pod: key.name.clone(),
                    container: status.name().into(),
                    exit_code: status.end().or(status.last_end()).map_or(0, End::code),
                    log: String::new(),
                    hint: String::new(),
                })
            })
        }
    }
}

/// A container that crashed and will wait: the kubelet does not always say so, but may leave it as it ended until it is started again,
/// which takes up to five minutes. After a long run it is started at once.
fn waits_silently(end: End) -> bool {
    end.code() != 0 && end.ran().is_some_and(|seconds| seconds < BACKOFF_FORGOTTEN)
}

/// The first reason is the telling one; the kubelet later says only "Back-off pulling image", so events are asked too.
fn pull_trouble(who: &Who, key: &ObjectKey, pod: &Value, status: Status, message: &str, live: &Live) -> Progress {
    let image = Pod(pod).image_of(status).to_owned();
    let failed = |reason| {
        Progress::Failed(Cause::ImagePull {
            component: who.0.to_string(),
            image: image.clone(),
            reason,
            pod: key.name.clone(),
        })
    };
    let events =
        live.events_of(uid(pod)).rev().filter(|note| note.reason == "Failed").map(|note| note.message.as_str());
    for text in std::iter::once(message).chain(events) {
        match text::pull(text) {
            Pull::Final(reason) => return failed(reason),
            Pull::Transient(reason) => {
                return progressing(who, key, format!("retrying to pull {image}: {reason}"), Some(image));
            }
            Pull::Silent => {}
        }
    }
    progressing(who, key, format!("retrying to pull {image}"), Some(image.clone()))
}

fn memory(pod: &Value, status: Status) -> String {
    let container = Pod(pod).containers().find(|container| container.name() == status.name());
    container.and_then(|container| container.limit("memory")).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_container_that_crashes_again_and_again_is_told_without_the_kubelet_saying_so() {
        let told = |restarts: i64, code: i64, started: &str| {
            let ended =
                |code: i64| json!({ "exitCode": code, "startedAt": started, "finishedAt": "2027-01-15T08:00:06Z" });
            let status = json!({
                "name": "web", "restartCount": restarts, "state": { "terminated": ended(code) },
                "lastState": { "terminated": ended(7) },
            });
            let condition = json!({ "type": "PodScheduled", "status": "True" });
            let pod = json!({
                "spec": { "nodeName": "n" },
                "status": { "phase": "Running", "conditions": [condition], "containerStatuses": [status] },
            });
            let who = Who(crate::ident::Component::App("web".into()));
            starting(&who, &ObjectKey::new(Kind::Pod, "web-1"), &pod, &Live::default())
        };
        let shortly = "2027-01-15T08:00:00Z";
        let Progress::Failed(Cause::CrashLoop { exit_code, .. }) = told(2, 1, shortly) else { panic!() };
        assert_eq!(exit_code, 1);
        // too early to say; an init container that has worked in the end; one that runs again at once
        for (restarts, code, started) in [(1, 1, shortly), (2, 0, shortly), (2, 1, "2027-01-15T07:00:00Z")] {
            let progress = told(restarts, code, started);
            assert!(matches!(progress, Progress::Progressing(_)), "{progress:?}");
        }
    }

    /// What is told of a container that could not be made, where the Stack has a Secret `todo-mail`.
    fn told(message: &str) -> Progress {
        let waiting = json!({ "reason": "CreateContainerConfigError", "message": message });
        let status = json!({ "name": "web", "state": { "waiting": waiting } });
        let pod = json!({ "status": { "containerStatuses": [status] } });
        let secret = (ObjectKey::new(Kind::Secret, "todo-mail"), Arc::new(json!({})));
        let live = Live { objects: [secret].into(), ..Live::default() };
        let who = Who(crate::ident::Component::App("web".into()));
        let key = ObjectKey::new(Kind::Pod, "web-0");
        Pod(&pod).statuses().find_map(|status| container(&who, &key, &pod, status, &live)).expect("told")
    }

    #[test]
    fn a_secret_that_is_there_may_not_have_reached_the_node() {
        let on_its_way = told("secret \"todo-mail-x-shop-x-team-a\" not found");
        assert!(matches!(on_its_way, Progress::Progressing(_)), "{on_its_way:?}");
        let busy = told("failed to sync secret cache: timed out waiting for the condition");
        assert!(matches!(busy, Progress::Progressing(_)), "{busy:?}");
        let missing = told("secret \"theirs\" not found");
        assert!(matches!(missing, Progress::Failed(Cause::Configuration { .. })), "{missing:?}");
    }

    #[test]
    fn between_two_crashes_the_last_one_is_told() {
        let ended = |code: i64| {
            let last = json!({ "terminated": { "exitCode": code } });
            let status = json!({ "name": "job", "state": { "running": {} }, "lastState": last });
            let placed = json!({ "type": "PodScheduled", "status": "True" });
            let status = json!({ "phase": "Running", "conditions": [placed], "containerStatuses": [status] });
            let pod = json!({ "status": status });
            let live = Live::default();
            let who = Who(crate::ident::Component::App("job".into()));
            match starting(&who, &ObjectKey::new(Kind::Pod, "job-0"), &pod, &live) {
                Progress::Progressing(missing) => missing.into_cause(),
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(ended(3), Cause::CrashLoop { exit_code: 3, .. }), "{:?}", ended(3));
        assert!(matches!(ended(0), Cause::NotReady { .. }), "{:?}", ended(0));
    }
}

//! What a pod that should start says: the table of troubles.

use super::text::{self, Pull};
use super::{Cause, Crash, Missing, Progress, Who, number};
use crate::ident::{Kind, ObjectKey};
use crate::plan::{Live, uid};
use serde_json::Value;

/// Restarts of a crashing container after which it counts as crashing for good: its first runs may have met a
/// dependency that was still starting.
const CRASHES: i64 = 2;

/// Progress of a pod whose containers should run and become ready.
pub(super) fn starting(who: &Who, key: &ObjectKey, pod: &Value, live: &Live) -> Progress {
    if is_ending(pod) {
        return Progress::Ready;
    }
    if let Some(progress) = unplaced(who, pod, live) {
        return progress;
    }
    for status in statuses(pod) {
        if let Some(progress) = container(who, key, pod, status, live) {
            return progress;
        }
    }
    if is_ready(pod) {
        return Progress::Ready;
    }
    let unhealthy = live.events_of(uid(pod)).rev().find(|note| note.reason == "Unhealthy");
    let (message, crashed) = match unhealthy {
        Some(note) => (note.message.trim().to_owned(), None),
        None => (phase(pod), crashed(key, pod)),
    };
    Progress::Progressing(Missing { crashed, ..missing(who, key, message, None) })
}

/// How a container of the pod ended that runs again: between two crashes nothing else shows them.
pub(super) fn crashed(key: &ObjectKey, pod: &Value) -> Option<Crash> {
    statuses(pod).find_map(|status| {
        let end = &status["lastState"]["terminated"];
        let exit_code = end["exitCode"].as_i64().filter(|code| *code != 0)?.try_into().unwrap_or(-1);
        let container = status["name"].as_str().unwrap_or_default().into();
        Some(Crash { pod: key.name.clone(), container, exit_code })
    })
}

/// Progress of a pod that only proves that its image can be pulled: its command does not exist, so any state after the
/// pull will do.
pub(super) fn pulled(who: &Who, key: &ObjectKey, pod: &Value, live: &Live) -> Progress {
    if let Some(progress) = unplaced(who, pod, live) {
        return progress;
    }
    let Some(status) = statuses(pod).next() else { return progressing(who, key, phase(pod), None) };
    let waiting = status["state"]["waiting"]["reason"].as_str().unwrap_or_default();
    let ran = status["state"]["terminated"].is_object() || status["lastState"]["terminated"].is_object();
    let started = matches!(waiting, "RunContainerError" | "CreateContainerError" | "CrashLoopBackOff");
    if ran || started || status["state"]["running"].is_object() {
        return Progress::Ready;
    }
    container(who, key, pod, status, live).unwrap_or_else(|| progressing(who, key, phase(pod), None))
}

/// Progress of a pod that should run and end; what it does is its own affair, and the Job counts how often it fails.
pub(super) fn ending_well(who: &Who, key: &ObjectKey, pod: &Value, live: &Live) -> Progress {
    if let Some(progress) = unplaced(who, pod, live) {
        return progress;
    }
    let ran = |status: &&Value| {
        ["state", "lastState"].iter().any(|state| status[*state]["terminated"].is_object())
            || status["state"]["running"].is_object()
    };
    let waiting = statuses(pod).find(|status| !ran(status));
    match waiting.and_then(|status| container(who, key, pod, status, live)) {
        Some(progress) => progress,
        None => progressing(who, key, phase(pod), None),
    }
}

/// A container of the pod runs.
pub(super) fn runs(pod: &Value) -> bool {
    !is_ending(pod) && statuses(pod).any(|status| status["state"]["running"].is_object())
}

/// The pod takes traffic.
pub(super) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// Its condition `Ready` has been `False` since before any of its containers can have run.
pub(super) fn was_never_ready(pod: &Value) -> bool {
    let Some(ready) = condition(pod, "Ready") else {
        // no node has seen it yet
        return pod["status"]["phase"] == "Pending" && statuses(pod).next().is_none();
    };
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let starts = statuses(pod).flat_map(|status| {
        let [now, last] = [&status["state"], &status["lastState"]];
        [&now["running"]["startedAt"], &now["terminated"]["startedAt"], &last["terminated"]["startedAt"]]
    });
    let (since, first) = (time(&ready["lastTransitionTime"]), starts.filter_map(time).min());
    let restarted = statuses(pod).any(|status| number(&status["restartCount"]) > 1);
    let before = match (since, first) {
        (Some(since), Some(first)) => since <= first || restarted && same_as_initialized(pod, ready),
        (Some(_), None) => true,
        (None, _) => false,
    };
    ready["status"] == "False" && before
}

/// The kubelet sets both conditions when it first sees a pod without init containers.
fn same_as_initialized(pod: &Value, ready: &Value) -> bool {
    condition(pod, "Initialized").is_some_and(|initialized| {
        initialized["lastTransitionTime"] == ready["lastTransitionTime"] && initialized["status"] == "True"
    })
}

/// The pod is being deleted.
pub(super) fn is_ending(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

fn progressing(who: &Who, key: &ObjectKey, message: String, pulling: Option<String>) -> Progress {
    Progress::Progressing(missing(who, key, message, pulling))
}

fn missing(who: &Who, key: &ObjectKey, message: String, pulling: Option<String>) -> Missing {
    let component = who.0.to_string();
    Missing { component, pod: key.name.clone(), message, pulling, crashed: None, limit: None }
}

fn phase(pod: &Value) -> String {
    let waiting = statuses(pod).find_map(|status| status["state"]["waiting"]["reason"].as_str());
    waiting.or(pod["status"]["phase"].as_str()).unwrap_or("Pending").to_owned()
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Init containers first: the others wait for them.
fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let list = |name: &str| pod["status"][name].as_array().map(Vec::as_slice).unwrap_or_default();
    list("initContainerStatuses").iter().chain(list("containerStatuses"))
}

/// A pod that has no node: no room, an impossible demand, or refused by a vCluster's host.
fn unplaced(who: &Who, pod: &Value, live: &Live) -> Option<Progress> {
    if pod["spec"]["nodeName"].is_string() && condition(pod, "PodScheduled").is_some() {
        return None;
    }
    match condition(pod, "PodScheduled") {
        Some(scheduled) if scheduled["status"] == "False" => {
            let message = scheduled["message"].as_str().unwrap_or_default();
            let short = text::scheduler(message);
            // an empty message comes with SchedulerError and the like, which pass
            Some(if text::lacks_room(message) {
                Progress::Waiting(format!("{} asks {}; {short}", who.0, asks(pod)))
            } else if scheduled["reason"] == "Unschedulable" && !message.is_empty() && !may_bind_later(message) {
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
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |name: &str| {
        let requests = containers.iter().filter_map(|container| container["resources"]["requests"][name].as_str());
        requests.collect::<Vec<_>>().join("+")
    };
    format!("{} cpu, {} memory", sum("cpu"), sum("memory"))
}

fn container(who: &Who, key: &ObjectKey, pod: &Value, status: &Value, live: &Live) -> Option<Progress> {
    let waiting = &status["state"]["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    let message = waiting["message"].as_str().unwrap_or_default();
    let component = || who.0.to_string();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(pull_trouble(who, key, pod, status, message, live))
        }
        "InvalidImageName" | "ErrImageNeverPull" => Some(Progress::Failed(Cause::ImagePull {
            component: component(),
            image: image(pod, status),
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
            let ends = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
            if ends.iter().any(|end| end["reason"] == "OOMKilled") {
                let pod = key.name.clone();
                return Some(Progress::Failed(Cause::OutOfMemory {
                    component: component(),
                    limit: memory(status, live, key),
                    pod,
                }));
            }
            let crashes = number(&status["restartCount"]) >= CRASHES && reason == "CrashLoopBackOff";
            crashes.then(|| {
                Progress::Failed(Cause::CrashLoop {
                    component: component(),
                    pod: key.name.clone(),
                    container: status["name"].as_str().unwrap_or_default().into(),
                    exit_code: number(&status["lastState"]["terminated"]["exitCode"]).try_into().unwrap_or(-1),
                    log: String::new(),
                    hint: String::new(),
                })
            })
        }
    }
}

/// The first reason is the telling one; the kubelet later says only "Back-off pulling image", so events are asked too.
fn pull_trouble(who: &Who, key: &ObjectKey, pod: &Value, status: &Value, message: &str, live: &Live) -> Progress {
    let image = image(pod, status);
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

/// The image as it was asked for; a status may name it by digest.
fn image(pod: &Value, status: &Value) -> String {
    let containers =
        ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    let asked = containers.filter(|container| container["name"] == status["name"]).find_map(|c| c["image"].as_str());
    asked.or(status["image"].as_str()).unwrap_or_default().to_owned()
}

fn memory(status: &Value, live: &Live, key: &ObjectKey) -> String {
    let pod = live.get(key);
    let containers = pod.and_then(|pod| pod["spec"]["containers"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let container = containers.iter().find(|container| container["name"] == status["name"]);
    let limit = container.and_then(|container| container["resources"]["limits"]["memory"].as_str());
    limit.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    /// What is told of a container that could not be made, where the Stack has a Secret `todo-mail`.
    fn told(message: &str) -> Progress {
        let waiting = json!({ "reason": "CreateContainerConfigError", "message": message });
        let status = json!({ "name": "web", "state": { "waiting": waiting } });
        let pod = json!({ "status": { "containerStatuses": [status.clone()] } });
        let secret = (ObjectKey::new(Kind::Secret, "todo-mail"), Arc::new(json!({})));
        let live = Live { objects: [secret].into(), ..Live::default() };
        let who = Who(crate::ident::Component::App("web".into()));
        container(&who, &ObjectKey::new(Kind::Pod, "web-0"), &pod, &status, &live).expect("told")
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

//! Objects × Live → Progress: how far a stage is, told from live state first and from events second. One table, kind by
//! kind. No clock: deadlines are the machine's.

mod cause;
mod pod;
mod route;
mod service;
mod taken;
mod hint;
pub mod text;

pub use cause::{Cause, HOST, Resource};
pub use hint::hinted;
pub use taken::lacking;

use crate::ident::{Component, Kind, ObjectKey};
use crate::manifest::{Object, component};
use crate::plan::read::{self, Condition, Pod, Status, Workload};
use crate::plan::{Live, Note, ends_old_first, held_by, is_going, is_paused, uid};
use jiff::Timestamp;
use kube_quantity::ParsedQuantity;
use serde_json::Value;
use std::collections::BTreeMap;

/// How far an object or a stage is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// As it should be.
    Ready,
    /// On its way; what is still missing.
    Progressing(Missing),
    /// Waiting for room in the node pool: what is asked, and what the scheduler says.
    Waiting(String),
    /// It won't get there.
    Failed(Cause),
}

/// What is still missing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Missing {
    /// The app or database.
    pub component: String,
    /// A pod to ask, if there is one.
    pub pod: String,
    /// In words.
    pub message: String,
    /// The trouble is a registry that may recover: the image.
    pub pulling: Option<String>,
    /// It runs again after a crash, and nothing else is known to be wrong.
    pub crashed: Option<Crash>,
    /// A limit that may have room soon.
    pub limit: Option<Box<Cause>>,
}

/// How the last run of a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Crash {
    /// The pod.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// The exit code.
    pub exit_code: i32,
}

impl Missing {
    /// What it is called once time is over.
    pub fn into_cause(self) -> Cause {
        let Self { component, pod, message, pulling, crashed, limit } = self;
        if let Some(cause) = limit {
            return *cause;
        }
        if let Some(image) = pulling {
            return Cause::ImagePullTimeout { image, reason: message };
        }
        if let Some(Crash { pod, container, exit_code }) = crashed {
            return Cause::CrashLoop { component, pod, container, exit_code, log: String::new(), hint: String::new() };
        }
        Cause::NotReady { component, pod, message, log: String::new(), hint: String::new() }
    }
}

impl Progress {
    fn rank(&self) -> u8 {
        match self {
            Progress::Ready => 0,
            Progress::Progressing(_) => 1,
            Progress::Waiting(_) => 2,
            Progress::Failed(_) => 3,
        }
    }

    /// The worse of the two; the first one where they are equal.
    fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

/// The progress of all `objects` together: a failure counts more than a wait, a wait more than progress. Refusals that were told before
/// `since` are not of this try.
pub fn progress<'a>(objects: impl IntoIterator<Item = &'a Object>, live: &Live, since: Timestamp) -> Progress {
    objects.into_iter().fold(Progress::Ready, |worst, object| worst.worse(of_object(object, live, since)))
}

/// The progress of one object.
pub fn of_object(object: &Object, live: &Live, since: Timestamp) -> Progress {
    let who = Who(object.component());
    let Some(current) = live.get(&object.key) else {
        return who.progressing(format!("{} is not there yet", object.key));
    };
    if is_going(current) && object.key.kind != Kind::Pod {
        return who.going(&object.key, current);
    }
    match object.key.kind {
        Kind::Deployment => deployment(&who, current, live, since),
        Kind::StatefulSet => stateful_set(&who, current, live, since),
        Kind::Pod => pod::pulled(&who, &object.key, current, live),
        Kind::Job => job(&who, current, live),
        Kind::PersistentVolumeClaim => claim(&who, &object.key, current, live),
        Kind::HTTPRoute => route::taken(&who, &object.key, current, live),
        Kind::Service => service::reached(&who, object, current, live),
        _ => Progress::Ready,
    }
}

/// Whether something that only has to be started is: a pod of it runs.
pub fn started(object: &Object, live: &Live) -> bool {
    let Some(current) = live.get(&object.key).filter(|current| Workload(current).is_observed()) else { return false };
    let sets = live.owned_by(Kind::ReplicaSet, uid(current));
    let mut pods = sets.flat_map(|(_, set)| live.owned_by(Kind::Pod, uid(set)));
    pods.any(|(_, pod)| pod::runs(pod))
}

/// A job that has not ended.
pub fn is_running_job(key: &ObjectKey, live: &Live) -> bool {
    key.kind == Kind::Job && live.get(key).is_some_and(|job| !has_ended(job))
}

/// A job has ended this way.
fn ended<'a>(job: &'a Value, how: &str) -> Option<Condition<'a>> {
    Condition::of(job, how).filter(|condition| condition.is_true())
}

fn has_ended(job: &Value) -> bool {
    ended(job, "Complete").is_some() || ended(job, "Failed").is_some()
}

/// A job of the release: it must end well.
fn job(who: &Who, current: &Value, live: &Live) -> Progress {
    if ended(current, "Complete").is_some() {
        return Progress::Ready;
    }
    if let Some(failed) = ended(current, "Failed") {
        return Progress::Failed(failure(&who.0, current, failed, live));
    }
    let pods = || live.owned_by(Kind::Pod, uid(current));
    let seen = pods().map(|(key, pod)| pod::ending_well(who, key, pod, live)).reduce(Progress::worse);
    match seen {
        Some(Progress::Ready) | None => who.progressing("the job has not ended yet"),
        Some(other) => other,
    }
}

/// Why a job has failed, and by which pod.
fn failure(of: &Component, job: &Value, failed: Condition<'_>, live: &Live) -> Cause {
    let newest = live.owned_by(Kind::Pod, uid(job)).max_by_key(|(_, pod)| read::created(pod));
    Cause::JobFailed {
        job: of.to_string(),
        pod: newest.map(|(key, _)| key.name.clone()).unwrap_or_default(),
        message: Some(failed.message()).filter(|message| !message.is_empty()).unwrap_or("it failed").to_owned(),
        log: String::new(),
        hint: String::new(),
    }
}

/// How the last run of a schedule that has ended failed, if it did. Who runs it by hand sees that there.
pub fn failed_run(object: &Object, live: &Live) -> Option<Cause> {
    let schedule = live.get(&object.key).filter(|_| object.key.kind == Kind::CronJob)?;
    let by_hand = |job: &Value| job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual";
    let runs = live.owned_by(Kind::Job, uid(schedule)).filter(|(_, job)| !by_hand(job));
    let (_, last) = runs.filter(|(_, job)| has_ended(job)).max_by_key(|(_, job)| read::created(job))?;
    Some(failure(&object.component(), last, ended(last, "Failed")?, live))
}

/// Whose progress it is.
struct Who(Component);

impl Who {
    fn progressing(&self, message: impl Into<String>) -> Progress {
        let missing = Missing { component: self.0.to_string(), message: message.into(), ..Missing::default() };
        Progress::Progressing(missing)
    }

    fn progressing_after(&self, crashed: Option<Crash>, message: impl Into<String>) -> Progress {
        let component = self.0.to_string();
        Progress::Progressing(Missing { component, message: message.into(), crashed, ..Missing::default() })
    }

    /// A limit has no room yet, but will.
    fn waiting_for(&self, limit: Cause) -> Progress {
        let message = format!("the old pods make room: {limit}");
        let (component, limit) = (self.0.to_string(), Some(Box::new(limit)));
        Progress::Progressing(Missing { component, message, limit, ..Missing::default() })
    }

    /// Somebody has deleted it. Of what holds data that is a failure: it ends with the last pod that uses it.
    fn going(&self, key: &ObjectKey, current: &Value) -> Progress {
        let held = held_by(current);
        if key.kind == Kind::PersistentVolumeClaim {
            let message =
                format!("{key} is being deleted{held}: its data goes when the last pod that uses it ends; copy it now");
            return Progress::Failed(Cause::Configuration { component: self.0.to_string(), message });
        }
        self.progressing(format!("{key} is being deleted{held}"))
    }
}

fn deployment(who: &Who, current: &Value, live: &Live, since: Timestamp) -> Progress {
    let deployment = Workload(current);
    if !deployment.is_observed() {
        return who.progressing("the rollout has not started yet");
    }
    let wanted = deployment.wanted();
    if is_paused(current) {
        let name = current["metadata"]["name"].as_str().unwrap_or_default();
        let message = format!("somebody has paused it; resume it: kubectl rollout resume deployment/{name}");
        return Progress::Failed(Cause::Refused { object: format!("Deployment/{name}"), message });
    }
    let mut sets = live.owned_by(Kind::ReplicaSet, uid(current));
    let newest = sets.find(|(_, set)| Workload(set).rollout() == deployment.rollout());
    let there = newest.map_or(0, |(_, set)| live.owned_by(Kind::Pod, uid(set)).count());
    let room_comes = makes_room(current, live);
    // the condition goes some time after the last pod was made
    let lacking = i64::try_from(there).is_ok_and(|there| there < wanted);
    let limit = match newest.and_then(|(_, set)| refused(who, set)).filter(|_| lacking) {
        Some(cause) if room_comes && is_limit(&cause) => Some(cause),
        Some(cause) => return Progress::Failed(cause),
        None => None,
    };
    let (updated, available) = (deployment.updated(), deployment.available());
    if [updated, available, deployment.all()] == [wanted; 3] {
        return Progress::Ready;
    }
    let Some((set_key, set)) = newest else { return who.progressing("the rollout has not started yet") };
    // where old pods end first, the newest set is the old one until they have
    let recreates = current["spec"]["strategy"]["type"] == "Recreate";
    if recreates && updated == 0 && live.owned_by(Kind::Pod, uid(set)).next().is_some() {
        return who.progressing("the old pods end first");
    }
    let pods = || live.owned_by(Kind::Pod, uid(set));
    let message = format!("{} of {wanted} pods ready", available.min(updated));
    let base = match limit {
        Some(limit) => who.waiting_for(limit),
        None => who.progressing_after(pods().find_map(|(key, pod)| pod::crashed(key, pod)), message),
    };
    let seen = pods().fold(None, |worst: Option<Progress>, (key, pod)| {
        let this = pod::starting(who, key, pod, live);
        Some(match worst {
            Some(worst) => worst.worse(this),
            None => this,
        })
    });
    let seen = match seen {
        Some(Progress::Ready) | None => base,
        Some(worst) => worst,
    };
    match no_pod(who, set_key, set, live, since) {
        Progress::Failed(cause) if room_comes && is_limit(&cause) => who.waiting_for(cause),
        refusal => seen.worse(refusal),
    }
}

fn stateful_set(who: &Who, current: &Value, live: &Live, since: Timestamp) -> Progress {
    let set = Workload(current);
    if !set.is_observed() {
        return who.progressing("the rollout has not started yet");
    }
    let wanted = set.wanted();
    let updated = set.updated() == wanted || set.is_of_one_revision();
    if updated && [set.ready(), set.available()] == [wanted; 2] {
        return Progress::Ready;
    }
    let key = ObjectKey::new(Kind::StatefulSet, current["metadata"]["name"].as_str().unwrap_or_default());
    let pods = || live.owned_by(Kind::Pod, uid(current));
    let crashed = pods().find_map(|(key, pod)| pod::crashed(key, pod));
    let (base, refusal) = match no_pod(who, &key, current, live, since) {
        Progress::Failed(cause) if is_limit(&cause) && !is_insisted_on(current, live) => {
            (who.waiting_for(cause), Progress::Ready)
        }
        refusal => (who.progressing_after(crashed, "the server is not ready yet"), refusal),
    };
    let pods =
        pods().map(|(key, pod)| pod::starting(who, key, pod, live)).filter(|progress| *progress != Progress::Ready);
    pods.reduce(Progress::worse).unwrap_or(base).worse(refusal)
}

/// Times that a pod of a StatefulSet is refused while its predecessor counts: the controller tries 12 times in 20 s, each time after
/// twice as long (client-go, `DefaultControllerRateLimiter`).
const REFUSED: i32 = 12;

/// Whether a limit that refuses the pod of a StatefulSet knows by now that the pod before it is gone. Of a new one there was none.
fn is_insisted_on(set: &Value, live: &Live) -> bool {
    let mut refusals = live.events_of(uid(set)).rev().filter(|note| note.reason == NOT_MADE);
    set["metadata"]["generation"] == 1 || refusals.next().is_some_and(|last| last.count >= REFUSED)
}

/// Since when a Deployment has been without enough pods, by its own condition.
pub fn unavailable_since(object: &Value) -> Option<Timestamp> {
    Condition::of(object, "Available").filter(|available| available.is_false())?.since()
}

/// Seconds between the creation of a StatefulSet and of its first pod, at most: what comes later may be another pod.
const FIRST_POD: i64 = 30;

/// Whether the pod of a server is its first one and has never been ready: then nobody can have used it. `false` where that
/// is not known.
///
/// A pod gets its condition `Ready` when the kubelet first sees it, and the time of its last transition stays while it
/// is `False`: it is older than any later start of a container (Kubernetes, pod lifecycle, "Pod conditions").
pub fn was_never_ready(server: &Value, live: &Live) -> bool {
    let Some(made) = read::created(server) else { return false };
    let mut pods = live.owned_by(Kind::Pod, uid(server)).map(|(_, pod)| pod);
    let (Some(pod), None) = (pods.next(), pods.next()) else { return false };
    let Some(born) = read::created(pod) else { return false };
    let first = born.duration_since(made).as_secs() <= FIRST_POD && !is_going(pod);
    first && pod::was_never_ready(pod)
}

/// Whether somebody may have written into a volume that no server can be asked about: it is bound, and not known that its component
/// has had no pods but those of now, none of whose containers was ever started.
pub fn was_used(claim: &ObjectKey, volume: &Value, live: &Live) -> bool {
    let of = component(claim, volume);
    let own = |kind| live.of(kind).filter(|(key, object)| component(key, object) == of).map(|(_, object)| object);
    let made = own(Kind::Deployment).chain(own(Kind::StatefulSet)).filter_map(read::created).max();
    let is_first = |pod: &Value| {
        let age = made.zip(read::created(pod)).map(|(made, born)| born.duration_since(made).as_secs());
        age.is_some_and(|age| age <= FIRST_POD)
    };
    let started = |status: Status| status.waits_for().is_none() || status.restarts() > 0 || status.last_end().is_some();
    let untouched = |pod: &Value| is_first(pod) && !Pod(pod).statuses().any(started);
    let mut pods = own(Kind::Pod).peekable();
    let never = pods.peek().is_some() && pods.all(untouched);
    volume["status"]["phase"] == "Bound" && !never
}

/// Pods of an older template that are not ready: a StatefulSet waits for them for ever, also after its template was put
/// right (Kubernetes documentation, StatefulSets, "Forced rollback").
pub fn stuck<'a>(objects: impl IntoIterator<Item = &'a Object>, live: &Live) -> Vec<ObjectKey> {
    let sets = objects.into_iter().filter(|object| object.key.kind == Kind::StatefulSet);
    let sets = sets.filter_map(|object| live.get(&object.key)).filter(|set| Workload(set).is_observed());
    let old = sets.flat_map(|set| {
        let newest = Workload(set).newest_revision();
        live.owned_by(Kind::Pod, uid(set)).filter(move |(_, pod)| {
            let is_old = newest.is_some_and(|newest| Pod(pod).revision() != newest);
            is_old && !Pod(pod).is_ready() && !pod::is_ending(pod)
        })
    });
    old.map(|(key, _)| key.clone()).collect()
}

/// A quota, or a policy, inside the cluster makes the controller create no pod at all; a `ReplicaSet` says so in a condition. One from
/// before it was asked for its pods is of an earlier try of the same template; so may that of its Deployment be, which also speaks for
/// sets that go.
fn refused(who: &Who, set: &Value) -> Option<Cause> {
    let failure =
        Condition::of(set, "ReplicaFailure").filter(|failure| failure.is_true() && Workload(set).is_observed())?;
    denied(who, failure.message())
}

fn is_limit(cause: &Cause) -> bool {
    matches!(cause, Cause::LimitExceeded { .. })
}

/// What a refusal to create a pod means: a limit, or in the words of whoever denies it. `None` for what may pass.
fn denied(who: &Who, message: &str) -> Option<Cause> {
    text::limit(message, &who.0).or_else(|| {
        text::denial(message).map(|words| Cause::Configuration { component: who.0.to_string(), message: words })
    })
}

/// A full quota has room as soon as an old pod of the Deployment goes: they go before new ones come, or are going already; or
/// they have gone, and neither the quota nor the controller, which waits ever longer, has noticed that yet.
fn makes_room(deployment: &Value, live: &Live) -> bool {
    let revision = |set: &Value| Workload(set).rollout();
    let newest = revision(deployment);
    let sets = || live.owned_by(Kind::ReplicaSet, uid(deployment)).map(|(_, set)| set);
    let old = || sets().filter(|set| revision(set) != newest);
    let mut pods = old().flat_map(|set| live.owned_by(Kind::Pod, uid(set))).map(|(_, pod)| pod).peekable();
    let first = ends_old_first(deployment);
    if pods.peek().is_some() {
        return first || pods.any(pod::is_ending);
    }
    let progress = Condition::of(deployment, "Progressing");
    let done = progress.is_some_and(|progress| progress.reason() == "NewReplicaSetAvailable");
    let new = sets().find(|set| revision(set) == newest);
    let last = old().filter(|set| revision(set) < newest).max_by_key(|set| revision(set));
    first && !done && last.zip(new).is_some_and(|(old, new)| takes_no_more(new, old, live))
}

/// Whether another pod of `new` finds room where one of `old` was.
fn takes_no_more(new: &Value, old: &Value, live: &Live) -> bool {
    let had = Workload(old).once_wanted();
    let before = amounts(old);
    let fits = |(what, amount): (String, ParsedQuantity)| before.get(&what).is_some_and(|before| amount <= *before);
    live.owned_by(Kind::Pod, uid(new)).count() < had && amounts(new).into_iter().all(fits)
}

/// What one pod of a ReplicaSet asks for, such as `limits.memory`.
fn amounts(set: &Value) -> BTreeMap<String, ParsedQuantity> {
    let mut sums: BTreeMap<String, ParsedQuantity> = BTreeMap::new();
    for container in set["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten() {
        for what in ["requests", "limits"] {
            for (name, amount) in container["resources"][what].as_object().into_iter().flatten() {
                let amount = amount.as_str().and_then(|amount| ParsedQuantity::try_from(amount).ok());
                *sums.entry(format!("{what}.{name}")).or_default() += amount.unwrap_or_default();
            }
        }
    }
    sums
}

/// The reason of the event in which a controller tells that it could not make a pod.
const NOT_MADE: &str = "FailedCreate";

/// … and a ReplicaSet or StatefulSet only in an event, which counts while there is no pod.
fn no_pod(who: &Who, key: &ObjectKey, controller: &Value, live: &Live, since: Timestamp) -> Progress {
    let missing = live.owned_by(Kind::Pod, uid(controller)).next().is_none();
    let refusal = || {
        let told = |note: &&Note| note.reason == NOT_MADE && note.at >= since;
        let mut events = live.events_of(uid(controller)).rev().filter(told);
        events.find_map(|note| denied(who, &note.message))
    };
    match missing.then(refusal).flatten() {
        Some(cause) => Progress::Failed(cause),
        None if missing => who.progressing(format!("{key} has no pod yet")),
        None => Progress::Ready,
    }
}

/// An unbound claim is normal until a pod uses it; only a refusal is not. A vCluster tells it in an event.
fn claim(who: &Who, key: &ObjectKey, current: &Value, live: &Live) -> Progress {
    match current["status"]["phase"].as_str() {
        Some("Bound") => Progress::Ready,
        Some("Lost") => Progress::Failed(Cause::Configuration {
            component: who.0.to_string(),
            message: format!("{key} has lost its volume; restore it or its backing storage"),
        }),
        _ => {
            let mut events = live.events_of(uid(current)).rev();
            let refusal = events.find_map(|note| text::limit(&note.message, &who.0));
            refusal.map_or(Progress::Ready, Progress::Failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn object(key: &ObjectKey, stage: crate::manifest::Stage, body: Value) -> Object {
        Object { key: key.clone(), stage, body, recipe: BTreeMap::new(), started_is_enough: false }
    }

    /// The pod of a server that is made anew finds the quota as full as its predecessor has left it, until the quota has noticed. What was
    /// refused an hour ago says nothing, and what is refused again and again does.
    #[test]
    fn a_server_finds_the_room_of_its_last_pod() {
        let key = ObjectKey::new(Kind::StatefulSet, "todo-main");
        let body = |generation: i32| {
            json!({ "metadata": { "name": "todo-main", "uid": "s", "generation": generation },
                "spec": { "replicas": 1 }, "status": { "observedGeneration": generation, "replicas": 0 } })
        };
        let set = object(&key, crate::manifest::Stage::Databases, body(1));
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let message = "create Pod todo-main-0 in StatefulSet todo-main failed error: pods \"todo-main-0\" is forbidden: exceeded \
                       quota: q, requested: limits.memory=128Mi, used: limits.memory=128Mi, limited: limits.memory=128Mi";
        let seen = |generation, minute, count| {
            let note = Note {
                about: key.clone(),
                uid: "s".into(),
                reason: NOT_MADE.into(),
                message: message.into(),
                at: at(minute),
                count,
            };
            let objects = [(key.clone(), Arc::new(body(generation)))].into();
            let live = Live { objects, events: vec![Arc::new(note)], ..Live::default() };
            of_object(&set, &live, at(10))
        };
        let waits = |progress| match progress {
            Progress::Progressing(missing) => (missing.limit.is_some(), missing.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(waits(seen(2, 5, 30)), (false, "the server is not ready yet".into()), "that was before");
        let (limit, words) = waits(seen(2, 11, 3));
        assert!(limit && words.starts_with("the old pods make room: "), "{words}");
        assert!(matches!(seen(2, 11, REFUSED), Progress::Failed(_)));
        assert!(matches!(seen(1, 11, 1), Progress::Failed(_)), "a new one had none");
    }

    /// The last run of a schedule that has ended counts: not an older one, not one by hand, and not one under way.
    #[test]
    fn a_schedule_is_as_its_last_run_was() {
        let schedule = ObjectKey::new(Kind::CronJob, "todo-clean");
        let body = json!({ "metadata": { "uid": "s", "labels": { "hks.hexabase.ai/job": "clean" } } });
        let object = object(&schedule, crate::manifest::Stage::Jobs, body.clone());
        let run = |minute: i64, how: &str, by_hand: bool| {
            let instantiate = if by_hand { json!("manual") } else { json!(null) };
            let job = json!({
                "metadata": {
                    "uid": format!("r{minute}"), "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z"),
                    "annotations": { "cronjob.kubernetes.io/instantiate": instantiate },
                    "ownerReferences": [{ "uid": "s", "controller": true }],
                },
                "status": { "conditions": [{ "type": how, "status": "True", "message": "it hit the limit" }] },
            });
            (ObjectKey::new(Kind::Job, format!("todo-clean-{minute}")), Arc::new(job))
        };
        let failed = |runs: Vec<(ObjectKey, Arc<Value>)>| {
            let mut live = Live::default();
            live.objects.insert(schedule.clone(), Arc::new(body.clone()));
            live.objects.extend(runs);
            failed_run(&object, &live).map(|cause| cause.to_string())
        };
        assert_eq!(failed(vec![]), None);
        let told = failed(vec![run(1, "Complete", false), run(2, "Failed", false), run(3, "Suspended", false)]);
        assert!(
            told.as_deref().is_some_and(|told| told.contains("clean") && told.contains("it hit the limit")),
            "{told:?}"
        );
        assert_eq!(failed(vec![run(1, "Failed", false), run(2, "Complete", false)]), None);
        assert_eq!(failed(vec![run(1, "Complete", false), run(2, "Failed", true)]), None);
    }

    /// Unknown means used: only first pods that have never started prove that a volume is empty.
    #[test]
    fn a_volume_is_unused_only_if_no_container_can_ever_have_had_it() {
        let of = json!({ crate::manifest::APP_LABEL: "web" });
        let object = |made: &str, status: Value| json!({ "metadata": { "labels": of, "creationTimestamp": made }, "status": status });
        let claim = ObjectKey::new(Kind::PersistentVolumeClaim, "todo-web-data");
        let used = |phase: &str, pod: Option<(&str, Value)>| {
            let volume = object("2026-01-02T00:00:00Z", json!({ "phase": phase }));
            let app = object("2026-01-02T00:00:10Z", Value::Null);
            let pod = pod.map(|(made, status)| object(made, json!({ "containerStatuses": [status] })));
            let all = [(Kind::Deployment, Some(app)), (Kind::Pod, pod)];
            let all =
                all.into_iter().filter_map(|(kind, body)| Some((ObjectKey::new(kind, "todo-web"), Arc::new(body?))));
            was_used(&claim, &volume, &Live { objects: all.collect(), ..Live::default() })
        };
        let (first, later) = ("2026-01-02T00:00:12Z", "2026-01-02T00:05:00Z");
        let waits = || json!({ "state": { "waiting": { "reason": "ErrImagePull" } } });
        assert!(!used("Pending", None), "no pod was ever placed");
        assert!(!used("Bound", Some((first, waits()))));
        assert!(used("Bound", None), "its pods are gone");
        assert!(used("Bound", Some((later, waits()))), "there was one before");
        assert!(used("Bound", Some((first, json!({ "state": { "running": {} } })))));
        let again = json!({ "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "restartCount": 2 });
        assert!(used("Bound", Some((first, again))));
    }

    /// An app whose new pod was refused by a quota after its old one has gone; `memory` is what the new one asks for, `observed` the
    /// generation of its `ReplicaSet` when that was said.
    fn refused_by(observed: i64, memory: &str, unavailable: i64, reason: &str) -> Progress {
        let owner = |uid: &str| json!([{ "uid": uid, "controller": true }]);
        let message = "pods \"w\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
        let failure = json!([{ "type": "ReplicaFailure", "status": "True", "message": message }]);
        let conditions = json!([{ "type": "Progressing", "status": "True", "reason": reason }]);
        let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": unavailable } });
        let numbered = |number: &str| json!({ "deployment.kubernetes.io/revision": number, "deployment.kubernetes.io/desired-replicas": "1" });
        let set = |number: &str, memory: &str| {
            let containers = json!([{ "resources": { "limits": { "memory": memory } } }]);
            let metadata = json!({ "uid": number, "ownerReferences": owner("d"), "annotations": numbered(number), "generation": 2 });
            let status = json!({ "observedGeneration": observed, "conditions": failure });
            let set = json!({ "metadata": metadata, "spec": { "template": { "spec": { "containers": containers } } }, "status": status });
            (ObjectKey::new(Kind::ReplicaSet, number), Arc::new(set))
        };
        let deployment = json!({
            "metadata": { "uid": "d", "annotations": numbered("2") },
            "spec": { "replicas": 1, "strategy": strategy },
            "status": { "conditions": conditions },
        });
        let key = ObjectKey::new(Kind::Deployment, "w");
        let own = (key.clone(), Arc::new(deployment.clone()));
        let live = Live { objects: [own, set("1", "1Gi"), set("2", memory)].into(), ..Live::default() };
        super::deployment(&Who(Component::App("w".into())), &deployment, &live, Timestamp::MIN)
    }

    fn refused(memory: &str, unavailable: i64, reason: &str) -> Progress {
        refused_by(2, memory, unavailable, reason)
    }

    #[test]
    fn a_refusal_of_an_earlier_try_is_none() {
        assert!(matches!(refused("1Gi", 0, "ReplicaSetUpdated"), Progress::Failed(_)));
        assert!(
            matches!(refused_by(1, "1Gi", 0, "ReplicaSetUpdated"), Progress::Progressing(_)),
            "it was not asked for pods"
        );
    }

    #[test]
    fn the_room_of_a_pod_that_has_gone_is_waited_for() {
        let under_way = "ReplicaSetUpdated";
        assert!(matches!(refused("1024Mi", 1, under_way), Progress::Progressing(_)));
        assert!(matches!(refused("2Gi", 1, under_way), Progress::Failed(_)), "it asks for more");
        assert!(matches!(refused("1Gi", 0, under_way), Progress::Failed(_)), "nothing has gone for it");
        assert!(matches!(refused("1Gi", 1, "NewReplicaSetAvailable"), Progress::Failed(_)), "at rest");
        let late = match refused("1Gi", 1, under_way) {
            Progress::Progressing(missing) => missing.into_cause(),
            other => panic!("{other:?}"),
        };
        assert!(is_limit(&late), "{late}");
    }
}

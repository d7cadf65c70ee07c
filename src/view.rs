//! Composes the view of a Stack from its machine and its live picture.

use crate::ident::{Kind, ObjectKey};
use crate::machine::{Machine, Rest, State, Toward, Trouble};
use crate::manifest::{APP_LABEL, CACHE_LABEL, DATABASE_LABEL, Manifest, Object, Stage, outlasts};
use crate::plan::read::{Condition, Container, Workload};
use crate::plan::{self, Live, Owned, Until};
use crate::record::{Ending, Record, Unusable, WISH_ANNOTATION, Want, Wish};
use crate::report::{
    AddedView, AppView, AskedView, DatabaseView, DriftView, Ended, LackingView, LeftAloneView, Readiness, StackState,
    Tone, TroubleView, View, Why,
};
use crate::rollout::{self, Cause, Progress};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects of which it is told what others have added.
const MOST_ADDED: usize = 20;

/// The view of a Stack.
pub fn compose(machine: &Machine, namespace: &str, live: &Live, at: Timestamp) -> View {
    let mut view = View::bare(&machine.stack, namespace, state(machine), at);
    if let State::Passing(pass) = &machine.state {
        let message = if pass.message.is_empty() { String::new() } else { format!(": {}", pass.message) };
        view.activity = format!("{}{message}", pass.phase().title());
        view.waiting_since = pass.waiting_since;
    }
    let record = &machine.record;
    // what a person wants counts before the newest commit, until it has come about
    let wished = record.attempt.as_ref().filter(|attempt| attempt.wish.is_some()).map(|attempt| &attempt.revision);
    let under_way = match &machine.state {
        State::Passing(pass) => match &pass.toward {
            Toward::Forward => Some(&pass.revision),
            Toward::Back { from, .. } => Some(from),
            Toward::Heal | Toward::Nothing { .. } => None,
        },
        State::Resting(_) => None,
    };
    let newest = machine.head.as_ref().map(|commit| &commit.revision);
    // what is held counts as the newest: commits after it that change nothing here have not failed
    let held = record.held.as_ref().filter(|_| matches!(machine.state, State::Resting(Rest::Held)));
    let held = held.map(|held| &held.revision);
    view.desired_revision = under_way.or(wished).or(held).or(newest).cloned();
    if let Some(release) = &record.settled {
        view.applied_revision = Some(release.revision.clone());
        view.applied_since = Some(release.at);
    }
    explain(&mut view, machine.cause());
    view.ending = record.held.as_ref().and_then(|held| match &held.ending {
        Ending::Unhealthy { cause } | Ending::Refused { cause } => Some(cause.to_string()),
        Ending::Open | Ending::Healthy => None,
    });
    for until in machine.blockers() {
        if let Until::Set(of) = until {
            view.lacking.push(LackingView { secret: of.secret.clone(), key: of.key.clone() });
        }
    }
    view.waits_for = machine.blockers().iter().filter_map(Until::words).collect();
    if matches!(machine.cause(), Some(Cause::LimitExceeded { .. })) && matches!(machine.state, State::Resting(_)) {
        view.waits_for.extend(limit(machine.tried_again_at(), live));
    }
    view.lost = machine.lost.iter().map(ToString::to_string).collect();
    view.troubles = machine.troubles().iter().map(trouble).collect();
    view.asked = asked(record, live);
    view.suspended.clone_from(&record.suspended);
    let begun = record.attempt.as_ref().filter(|_| record.suspended.is_some());
    view.begun = begun.map(|attempt| attempt.revision.clone());
    view.drift_corrected = machine.drift_corrected;
    let drift = machine.drift.iter();
    view.drift = drift.map(|(key, fields)| DriftView { object: key.to_string(), fields: fields.clone() }).collect();
    view.left_alone = machine.left_alone().into_iter().map(|(field, by)| LeftAloneView { field, by }).collect();
    if let Some(baseline) = machine.baseline() {
        view.added = plan::added(baseline, live).iter().take(MOST_ADDED).map(AddedView::of).collect();
    }
    view.history = record.history.iter().rev().cloned().collect();
    let settled = machine.baseline().map(|baseline| baseline.urls.as_slice()).unwrap_or_default();
    view.urls = settled.iter().map(|url| url.url.clone()).collect();
    match machine.manifest() {
        Some(manifest) => parts(&mut view, manifest, live),
        None => parts_seen(&mut view, live),
    }
    if !machine.is_unreadable() {
        view.retained = retained(machine.manifest(), record, live);
    }
    view
}

/// The view of a Stack as one sees it who is not its daemon: from its record and what is live. What was never recorded, such as a
/// commit that is not begun yet, can't be in it. `looking` is the same machine after it has looked: drift and losses are its, and
/// what it would do about them is not done here. `troubles` are what is not well, without secrets.
pub fn recorded(
    machine: &Machine,
    looking: &Machine,
    troubles: &[Trouble],
    (namespace, live): (&str, &Live),
    at: Timestamp,
) -> View {
    let record = &machine.record;
    let mut view = compose(machine, namespace, live, at);
    view.lost = looking.lost.iter().map(ToString::to_string).collect();
    let unwell = !troubles.is_empty();
    view.troubles = troubles.iter().map(trouble).collect();
    let drift = looking.drift.iter();
    view.drift = drift.map(|(key, fields)| DriftView { object: key.to_string(), fields: fields.clone() }).collect();
    let unusable = record.unusable.as_deref();
    let (state, newest) = match (&record.suspended, &record.attempt, &record.held) {
        (Some(_), ..) => (StackState::Suspended(Why::Asked), None),
        (None, Some(attempt), _) if attempt.failed.is_some() => (StackState::RollingBack, Some(&attempt.revision)),
        (None, Some(attempt), _)
            if attempt.wish.as_ref().is_some_and(|wish| matches!(wish.what, Want::Destroy { .. })) =>
        {
            (StackState::Destroying, None)
        }
        (None, Some(attempt), _) => (StackState::Deploying, Some(&attempt.revision)),
        (None, None, Some(held)) if !held.restored && held.ending == Ending::Open => {
            (StackState::RollingBack, Some(&held.revision))
        }
        (None, None, _) if !looking.lost.is_empty() => (StackState::DataLost, unusable.map(|of| &of.revision)),
        (None, None, _) if let Some(Unusable { revision, cause: None, .. }) = unusable => {
            (StackState::Suspended(Why::NoFile), Some(revision))
        }
        (None, None, _) if let Some(Unusable { revision, .. }) = unusable => (StackState::Invalid, Some(revision)),
        (None, None, Some(held)) => (StackState::Held(ended(record)), Some(&held.revision)),
        (None, None, None) if record.settled.is_none() => (StackState::Fresh, None),
        (None, None, None) if unwell => (StackState::Degraded, None),
        (None, None, None) => (StackState::Settled, None),
    };
    view.state = state;
    view.desired_revision = newest.or(record.settled.as_ref().map(|release| &release.revision)).cloned();
    match state {
        StackState::Held(_) | StackState::RollingBack => {
            let asked = record.attempt.as_ref().and_then(|attempt| attempt.failed.as_ref());
            explain(&mut view, asked.or(record.held.as_ref().map(|held| &held.cause)));
        }
        StackState::Invalid => {
            let cause = unusable.and_then(|of| of.cause.as_ref());
            explain(&mut view, cause);
            view.lacking = lacking(cause, live);
            view.waits_for = unusable.map(|of| of.waits_for.clone()).unwrap_or_default();
            if matches!(cause, Some(Cause::LimitExceeded { .. })) {
                view.waits_for.extend(limit(None, live));
            }
        }
        // what an older commit ended with is not theirs
        StackState::Suspended(Why::NoFile) | StackState::Deploying | StackState::Destroying => explain(&mut view, None),
        _ => {}
    }
    if machine.manifest().is_none() {
        view.apps = live.of(Kind::Deployment).filter_map(|(key, body)| unsettled(key, body, live)).collect();
    }
    if state.tone() == Tone::Busy {
        under_way(&mut view, live);
    }
    view
}

/// The wishes that wait on the Stack's ConfigMap. What can't be read there will never be answered.
fn asked(record: &Record, live: &Live) -> Vec<AskedView> {
    let maps = live.objects.iter().filter(|(key, _)| key.kind == Kind::ConfigMap);
    let texts = maps.filter_map(|(_, map)| plan::read::annotation(map, WISH_ANNOTATION));
    let wishes = texts.flat_map(|text| Wish::decode(text).unwrap_or_default());
    let waiting = wishes.filter(|wish| !record.has_answered(wish));
    waiting.map(|wish| AskedView { want: wish.what.to_string(), by: wish.by, at: wish.at }).collect()
}

/// What a commit waits for that a limit has refused. Without a daemon's memory nobody knows when it is tried again in any case.
fn limit(again: Option<Timestamp>, live: &Live) -> Option<String> {
    let at = again.map(|again| again.strftime("%H:%M UTC").to_string());
    match (live.limits, at) {
        (Some(_), None) => Some("a quota or limit of the project is changed".into()),
        (Some(_), Some(at)) => Some(format!("a quota or limit of the project is changed, or it is {at}")),
        (None, Some(at)) => Some(format!("it is {at}, since no quota can be seen from here")),
        (None, None) => None,
    }
}

/// The public addresses that are live, as far as objects say them: a port that only the platform knows is not in them.
pub fn addresses(live: &Live) -> Vec<String> {
    let texts = |value: &Value| {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let ingress = |body: &Value| {
        let scheme = if body["spec"]["tls"].is_array() { "https" } else { "http" };
        let rules = body["spec"]["rules"].as_array().into_iter().flatten();
        let hosts = rules.filter_map(|rule| rule["host"].as_str());
        hosts.map(|host| format!("{scheme}://{host}")).collect::<Vec<_>>()
    };
    let route = |body: &Value| {
        let hosts = texts(&body["spec"]["hostnames"]).into_iter();
        hosts.map(|host| format!("https://{host}")).collect::<Vec<_>>()
    };
    let ingresses = live.of(Kind::Ingress).flat_map(|(_, body)| ingress(body));
    let mut all: Vec<_> = ingresses.chain(live.of(Kind::HTTPRoute).flat_map(|(_, body)| route(body))).collect();
    all.sort();
    all.dedup();
    all
}

/// What a live picture says of a deployment under way.
fn under_way(view: &mut View, live: &Live) {
    let watched =
        [Kind::PersistentVolumeClaim, Kind::StatefulSet, Kind::Deployment, Kind::Service, Kind::HTTPRoute, Kind::Job];
    let own = |(key, body): &(&ObjectKey, &Arc<Value>)| {
        watched.contains(&key.kind) || (key.kind == Kind::Pod && body["metadata"]["ownerReferences"].is_null())
    };
    let object = |(key, body): (&ObjectKey, &Arc<Value>)| Object {
        key: key.clone(),
        stage: Stage::Databases,
        body: (**body).clone(),
        recipe: BTreeMap::new(),
        started_is_enough: false,
    };
    let objects: Vec<_> = live.objects.iter().filter(own).map(object).collect();
    match rollout::progress(&objects, live, Timestamp::MIN) {
        Progress::Ready => {}
        Progress::Progressing(missing) => view.activity = format!("{}: {}", missing.component, missing.message),
        Progress::Failed(cause) => view.activity = cause.to_string(),
        Progress::Waiting(message) => {
            if view.state == StackState::Deploying {
                view.state = StackState::Waiting;
                view.waiting_since = live.of(Kind::Pod).filter_map(|(_, pod)| unscheduled_since(pod)).min();
            }
            view.activity = message;
        }
    }
}

/// Since when one would have seen what is not well now: since the first of the pods that are not ready became so.
pub fn unready_since(live: &Live) -> Option<Timestamp> {
    let since = |pod: &Value| Condition::of(pod, "Ready").filter(|ready| ready.is_false())?.since();
    // pods of jobs end, and those that are going are not ready either
    let stays = |pod: &&Value| {
        let metadata = &pod["metadata"];
        let server =
            [APP_LABEL, DATABASE_LABEL, CACHE_LABEL].iter().any(|label| metadata["labels"][*label].is_string());
        server && metadata["deletionTimestamp"].is_null()
    };
    live.of(Kind::Pod).map(|(_, pod)| pod).filter(stays).filter_map(since).min()
}

/// Since when the scheduler finds no place for a pod.
fn unscheduled_since(pod: &Value) -> Option<Timestamp> {
    Condition::of(pod, "PodScheduled").filter(|scheduled| scheduled.is_false())?.since()
}

/// The keys that a rejected commit waits for and that nobody has set since.
fn lacking(cause: Option<&Cause>, live: &Live) -> Vec<LackingView> {
    let Some(Cause::SecretMissing { stack, secret, keys }) = cause else { return vec![] };
    let found = live.get(&ObjectKey::new(Kind::Secret, format!("{stack}-{secret}")));
    let unset = |key: &&String| found.is_none_or(|found| found["data"].get(key.as_str()).is_none());
    keys.iter().filter(unset).map(|key| LackingView { secret: secret.clone(), key: key.clone() }).collect()
}

/// An app of a release that has not settled yet.
fn unsettled(key: &ObjectKey, body: &Value, live: &Live) -> Option<AppView> {
    let name = body["metadata"]["labels"][APP_LABEL].as_str()?;
    Some(app(name, &key.name, "", live))
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

/// What stays of older releases.
fn retained(manifest: Option<&Manifest>, record: &Record, live: &Live) -> Vec<String> {
    let data = |key: &ObjectKey| live.get(key).is_some_and(|object| outlasts(key, object));
    // where nothing is known to run, only of data can be said that it is left
    let left = |key: &ObjectKey| match manifest {
        Some(manifest) => !manifest.has(key),
        None => data(key),
    };
    // nor does a rollback come any more for what a superseded commit has made
    let open = record.attempt.is_some() || record.held.as_ref().is_some_and(|held| held.ending == Ending::Open);
    let stays = |owned: &Owned| owned.settled || (!open && data(&owned.key));
    let orphan = |owned: &&Owned| stays(owned) && left(&owned.key);
    // an old version of a blue/green app goes by itself
    let lasts = |object: &Value| plan::kept_for(object) == 0;
    let kept = record.inventory.iter().filter(orphan).filter(|owned| live.get(&owned.key).is_some_and(lasts));
    kept.map(|owned| owned.key.to_string()).collect()
}

/// What runs of a manifest.
pub fn parts(view: &mut View, manifest: &Manifest, live: &Live) {
    view.apps = manifest.apps.iter().map(|app| self::app(&app.name, &app.deployment, &app.image, live)).collect();
    view.databases = manifest.databases.iter().map(|name| database(name, live)).collect();
    let caches = manifest.objects.iter().filter(|object| {
        object.key.kind == Kind::StatefulSet && object.body["metadata"]["labels"][CACHE_LABEL].is_string()
    });
    view.caches = caches.map(|object| database(&object.key.name, live)).collect();
}

/// What is there, where no manifest tells what should be: a first deployment that another one sees, or a record that is lost.
fn parts_seen(view: &mut View, live: &Live) {
    let of = |kind: Kind, label: &'static str| {
        let current = |object: &Value| plan::kept_for(object) == 0;
        let found = live.objects.iter().filter(move |(key, object)| key.kind == kind && current(object));
        found.filter_map(move |(key, object)| Some((&key.name, object["metadata"]["labels"][label].as_str()?)))
    };
    view.apps = of(Kind::Deployment, APP_LABEL).map(|(name, app)| self::app(app, name, "", live)).collect();
    view.databases = of(Kind::StatefulSet, DATABASE_LABEL).map(|(name, _)| database(name, live)).collect();
    view.caches = of(Kind::StatefulSet, CACHE_LABEL).map(|(name, _)| database(name, live)).collect();
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
        State::Resting(_) if !machine.lost.is_empty() => StackState::DataLost,
        State::Resting(Rest::Fresh) => StackState::Fresh,
        State::Resting(Rest::Settled) if !machine.troubles().is_empty() => StackState::Degraded,
        State::Resting(Rest::Settled) => StackState::Settled,
        State::Resting(Rest::Held) => StackState::Held(ended(&machine.record)),
        State::Resting(Rest::Invalid) => StackState::Invalid,
        State::Resting(Rest::Suspended) => StackState::Suspended(Why::NoFile),
        State::Passing(pass) => match (&pass.toward, pass.waiting_since) {
            (Toward::Back { .. }, _) => StackState::RollingBack,
            (_, Some(_)) => StackState::Waiting,
            (Toward::Forward, None) => StackState::Deploying,
            (Toward::Heal, None) => StackState::Correcting,
            (Toward::Nothing { .. }, None) => StackState::Destroying,
        },
    }
}

fn app(name: &str, deployment: &str, wanted: &str, live: &Live) -> AppView {
    let found = live.get(&ObjectKey::new(Kind::Deployment, deployment));
    let workload = Workload(found.unwrap_or(&Value::Null));
    let container = workload.containers().next();
    let limit = |what: &str| container.and_then(|container| container.limit(what)).unwrap_or("none").to_owned();
    let (ready, replicas) = (workload.ready(), workload.wanted());
    AppView {
        name: name.into(),
        readiness: match (found, replicas) {
            (None, _) => Readiness::Missing,
            (Some(_), 0) => Readiness::Parked,
            (Some(_), _) if ready >= replicas => Readiness::Ready,
            (Some(_), _) => Readiness::NotReady,
        },
        image: container.map_or(wanted, Container::image).into(),
        ready,
        replicas,
        limits: format!("{} cpu, {} memory", limit("cpu"), limit("memory")),
        usage: None,
    }
}

fn database(name: &str, live: &Live) -> DatabaseView {
    let found = live.get(&ObjectKey::new(Kind::StatefulSet, name));
    let server = found.unwrap_or(&Value::Null);
    let claim = &server["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"];
    let claim = ObjectKey::new(Kind::PersistentVolumeClaim, claim.as_str().unwrap_or_default());
    let volume = live.get(&claim).unwrap_or(&Value::Null);
    let ready = Workload(server).ready() > 0;
    DatabaseView {
        name: name.into(),
        readiness: match found {
            None => Readiness::Missing,
            Some(_) if ready => Readiness::Ready,
            Some(_) => Readiness::NotReady,
        },
        image: Workload(server).containers().next().map_or("", Container::image).into(),
        ready,
        storage: volume["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default().into(),
        usage: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Revision, StackName};
    use crate::manifest::Context;
    use crate::platform::Platform;
    use crate::record::{Answered, Attempt, Held, Suspended};
    use serde_json::json;

    const FILE: &str = "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: todo}\napps:\n  web: {image: \"r/web:1\", ports: {http: 80}}\n\
                        ingress: {public: {paths: {/: web}}}\n";

    fn settled() -> Record {
        let release = json!({ "revision": "4f1c2ab", "source": FILE, "at": "1970-01-01T00:01:00Z" });
        let settled = serde_json::from_value(release).ok();
        Record { settled, ..Record::default() }
    }

    fn attempt() -> Option<Box<Attempt>> {
        serde_json::from_value(json!({ "revision": "9d03e7b", "started": Timestamp::UNIX_EPOCH })).ok()
    }

    fn held(ending: &Ending, restored: bool) -> Held {
        let (started, at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let cause = Cause::Unavailable { message: "no registry".into() };
        let held = json!({ "revision": "9d03e7b", "cause": cause, "started": started, "at": at, "restored": restored, "ending": ending });
        serde_json::from_value(held).unwrap_or_else(|_| unreachable!("all fields are there"))
    }

    fn seen(record: Record, live: &Live) -> View {
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        let context = Context::new(&Platform::default(), "shop", "main", None);
        let at = "1970-01-01T00:10:00Z".parse().unwrap_or_default();
        let machine = Machine::new(stack, context, record);
        let mut looking = machine.clone();
        let _ = looking.step(crate::machine::Event::Observed, live, at);
        let troubles = machine.unwell(live, at);
        recorded(&machine, &looking, &troubles, ("shop", live), at)
    }

    fn live(objects: impl IntoIterator<Item = (Kind, &'static str, Value)>) -> Live {
        let one = |(kind, name, body)| (ObjectKey::new(kind, name), Arc::new(body));
        Live { objects: objects.into_iter().map(one).collect(), ..Live::default() }
    }

    #[test]
    fn a_wish_is_told_until_it_is_answered() {
        let wish = |id: &str, what| Wish { id: id.into(), what, by: "eve".into(), at: Timestamp::UNIX_EPOCH };
        let text = Wish::encode(&[wish("a", Want::Resume), wish("b", Want::Retry { accept_data_loss: false })]);
        let map = json!({ "metadata": { "annotations": { WISH_ANNOTATION: text } } });
        let there = live([(Kind::ConfigMap, "hks-todo", map)]);
        let wants = |view: View| view.asked.into_iter().map(|asked| asked.want).collect::<Vec<_>>();
        assert_eq!(wants(seen(settled(), &there)), ["resume", "retry"]);
        let answered = vec![Answered { id: "a".into(), at: Timestamp::UNIX_EPOCH, refused: None }];
        assert_eq!(wants(seen(Record { answered, ..settled() }, &there)), ["retry"]);
        let odd = json!({ "metadata": { "annotations": { WISH_ANNOTATION: "{" } } });
        assert!(seen(settled(), &live([(Kind::ConfigMap, "hks-todo", odd)])).asked.is_empty());
    }

    #[test]
    fn a_record_says_the_state() {
        let nothing = Live::default();
        assert_eq!(seen(Record::default(), &nothing).state, StackState::Fresh);
        let view = seen(settled(), &nothing);
        assert_eq!(
            (view.state, view.urls.as_slice()),
            (StackState::Degraded, &["http://todo-shop.apps.localhost".to_owned()][..])
        );
        assert_eq!(view.apps.first().map(|app| app.readiness), Some(Readiness::Missing));
        let there = live([(Kind::Deployment, "todo-web", json!({}))]);
        assert_eq!(seen(settled(), &there).state, StackState::Settled);
        let attempt = attempt();
        assert_eq!(seen(Record { attempt, ..settled() }, &nothing).state, StackState::Deploying);
        let state = |ending, restored| {
            seen(Record { held: Some(Box::new(held(&ending, restored))), ..settled() }, &nothing).state
        };
        assert_eq!(state(Ending::Open, false), StackState::RollingBack);
        assert_eq!(state(Ending::Open, true), StackState::Held(Ended::Restored), "as records of older versions say it");
        let cause = Cause::Unavailable { message: "still down".into() };
        assert_eq!(state(Ending::Unhealthy { cause: cause.clone() }, true), StackState::Held(Ended::Unhealthy));
        assert_eq!(state(Ending::Refused { cause }, false), StackState::Held(Ended::Refused));
        let unusable =
            |cause| Some(Box::new(Unusable { revision: Revision::new("9d03e7b"), cause, waits_for: vec![] }));
        let nowhere = seen(Record { unusable: unusable(None), ..settled() }, &there);
        assert_eq!(
            (nowhere.state, nowhere.desired_revision),
            (StackState::Suspended(Why::NoFile), Some(Revision::new("9d03e7b")))
        );
        let held = || Some(Box::new(held(&Ending::Healthy, true)));
        assert!(seen(Record { held: held(), ..settled() }, &there).cause.is_some());
        assert_eq!(seen(Record { held: held(), unusable: unusable(None), ..settled() }, &there).cause, None);
        let attempt = self::attempt();
        assert_eq!(seen(Record { held: held(), attempt, ..settled() }, &there).cause, None, "of the commit before");
        let suspended = Some(Suspended { by: "eve".into(), at: Timestamp::UNIX_EPOCH, reason: String::new() });
        assert_eq!(seen(Record { suspended, ..settled() }, &nothing).state, StackState::Suspended(Why::Asked));
    }

    #[test]
    fn a_first_deployment_shows_what_is_there() {
        let of = |label: &str, part: &str| json!({ "metadata": { "labels": { label: part } } });
        let there = live([
            (Kind::Deployment, "todo-web", of(APP_LABEL, "web")),
            (Kind::Deployment, "todo-main-pooler", of(DATABASE_LABEL, "main")),
            (Kind::StatefulSet, "todo-main", of(DATABASE_LABEL, "main")),
            (Kind::StatefulSet, "todo-queue", of(CACHE_LABEL, "queue")),
        ]);
        let view = seen(Record { attempt: attempt(), ..Record::default() }, &there);
        let names = |found: &[DatabaseView]| found.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(view.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["web"]);
        assert_eq!(
            (names(&view.databases), names(&view.caches)),
            (vec!["todo-main".into()], vec!["todo-queue".into()])
        );
    }

    #[test]
    fn data_of_a_superseded_commit_is_told_once_no_rollback_comes_for_it() {
        let claim = ObjectKey::new(Kind::PersistentVolumeClaim, "data-todo-main");
        let there = live([(claim.kind, "data-todo-main", json!({}))]);
        let inventory = vec![Owned::new(claim.clone(), false, Timestamp::UNIX_EPOCH)];
        let left = Record { inventory, ..settled() };
        assert_eq!(seen(left.clone(), &there).retained, [claim.to_string()]);
        assert!(seen(Record { attempt: attempt(), ..left }, &there).retained.is_empty());
    }

    #[test]
    fn a_commit_that_waits_for_a_secret_says_what_it_lacks_until_it_is_set() {
        let cause = Cause::SecretMissing {
            stack: "todo".into(),
            secret: "mail".into(),
            keys: vec!["user".into(), "key".into()],
        };
        let unusable = Unusable { revision: Revision::new("9d03e7b"), cause: Some(cause), waits_for: vec![] };
        let record = || Record { unusable: Some(Box::new(unusable.clone())), ..settled() };
        let view = seen(record(), &Live::default());
        assert_eq!((view.state, view.lacking.len()), (StackState::Invalid, 2));
        assert_eq!(view.desired_revision, Some(Revision::new("9d03e7b")));
        let view = seen(record(), &live([(Kind::Secret, "todo-mail", json!({ "data": { "user": "(hidden)" } }))]));
        assert_eq!(view.lacking, [LackingView { secret: "mail".into(), key: "key".into() }]);
    }

    #[test]
    fn parked_is_told_from_not_ready() {
        let readiness = |replicas: i64, ready: i64| {
            let body = json!({ "spec": { "replicas": replicas }, "status": { "readyReplicas": ready } });
            let view = seen(settled(), &live([(Kind::Deployment, "todo-web", body)]));
            view.apps.first().map(|app| app.readiness)
        };
        assert_eq!(readiness(0, 0), Some(Readiness::Parked));
        assert_eq!(readiness(2, 1), Some(Readiness::NotReady));
        assert_eq!(readiness(2, 2), Some(Readiness::Ready));
    }

    #[test]
    fn a_deployment_that_finds_no_room_waits_since_its_oldest_pod_does() {
        let attempt = attempt();
        let owner = |uid: &str| json!([{ "uid": uid, "controller": true }]);
        let labels = json!({ "hks.hexabase.ai/app": "web" });
        let unscheduled = json!([{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": "1970-01-01T00:07:00Z",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
        }]);
        let picture = live([
            (
                Kind::Deployment,
                "todo-web",
                json!({
                    "metadata": { "uid": "d", "generation": 1, "labels": labels, "annotations": { "deployment.kubernetes.io/revision": "1" } }, "spec": { "replicas": 1 },
                    "status": { "observedGeneration": 1, "replicas": 1, "unavailableReplicas": 1 },
                }),
            ),
            (
                Kind::ReplicaSet,
                "todo-web-1",
                json!({
                    "metadata": { "uid": "r", "ownerReferences": owner("d"), "annotations": { "deployment.kubernetes.io/revision": "1" } },
                    "spec": { "replicas": 1 },
                }),
            ),
            (
                Kind::Pod,
                "todo-web-1-x",
                json!({
                    "metadata": { "uid": "p", "ownerReferences": owner("r"), "labels": labels },
                    "spec": { "containers": [{ "name": "web", "resources": { "requests": { "cpu": "9" } } }] },
                    "status": { "phase": "Pending", "conditions": unscheduled },
                }),
            ),
        ]);
        let view = seen(Record { attempt, ..settled() }, &picture);
        assert_eq!(view.state, StackState::Waiting, "{}", view.activity);
        let now = view.at;
        assert!(
            view.sentence(now).starts_with("9d03e7b waits for room in the node pool for 3 min: web asks 9 cpu"),
            "{}",
            view.sentence(now)
        );
    }

    #[test]
    fn what_is_not_well_was_so_since_its_first_pod_was_not_ready() {
        let pod = |at: &str, labels: Value| {
            let conditions = json!([{ "type": "Ready", "status": "False", "lastTransitionTime": at }]);
            json!({ "metadata": { "labels": labels }, "status": { "conditions": conditions } })
        };
        let picture = live([
            (Kind::Pod, "a", pod("1970-01-01T00:05:00Z", json!({ "hks.hexabase.ai/app": "web" }))),
            (Kind::Pod, "b", pod("1970-01-01T00:04:00Z", json!({ "hks.hexabase.ai/app": "web" }))),
            (Kind::Pod, "c", pod("1970-01-01T00:01:00Z", json!({ "hks.hexabase.ai/job": "report" }))),
        ]);
        assert_eq!(unready_since(&picture), "1970-01-01T00:04:00Z".parse().ok());
        assert_eq!(unready_since(&Live::default()), None);
    }

    #[test]
    fn addresses_of_live_objects_have_their_scheme() {
        let picture = live([
            (Kind::Ingress, "a", json!({ "spec": { "rules": [{ "host": "a.example" }] } })),
            (Kind::Ingress, "b", json!({ "spec": { "tls": [{}], "rules": [{ "host": "b.example" }] } })),
            (Kind::HTTPRoute, "c", json!({ "spec": { "hostnames": ["c.example"] } })),
        ]);
        assert_eq!(addresses(&picture), ["http://a.example", "https://b.example", "https://c.example"]);
    }
}

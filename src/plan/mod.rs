//! Manifest × Live × Inventory → Plan: what has to be created, changed, kept and pruned so that the project becomes what
//! the manifest says, and by which way. Secret values are in neither side, so they can't be in the plan.

mod compare;
mod live;
mod added;
mod secret;
mod way;
pub mod read;

pub use added::{Added, added, is_of_others};
pub use compare::{Difference, bytes, differences};
pub use live::{Live, Note, stack_of, uid};
pub use secret::{disowned, keys_of, outdated, set_at, set_by_others};
pub use way::{Course, Phase};

use crate::engine::postgres::Facts;
use crate::ident::{Component, Kind, ObjectKey};
use crate::manifest::{
    APP_LABEL, HASH_ANNOTATION, KEEP_ANNOTATION, Manifest, Needed, ON_DELETE_ANNOTATION, Object, SECRET_SET_ANNOTATION,
    Stage, component, holds_data, outlasts, pull_pods,
};
use compare::quantity;
use jiff::Timestamp;
use read::Workload;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An object that hks made: the only ones that it may ever delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Kind and name.
    pub key: ObjectKey,
    /// It was part of a release that settled, or was there before hks first wrote it, or holds data that a rollback has
    /// kept: no rollback deletes it.
    pub settled: bool,
    /// When the attempt began that created it; `None` once it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
    /// It holds data that was proven empty and is being deleted: a rollback that is interrupted here goes on with that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doomed: bool,
    /// It is gone with its data, and somebody has said that it may be made anew; until it is there again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
}

impl Owned {
    /// What an attempt is going to write: `existed` if it was there before.
    pub fn new(key: ObjectKey, existed: bool, attempt: Timestamp) -> Self {
        Self { key, settled: existed, made: (!existed).then_some(attempt), doomed: false, accepted: false }
    }

    /// From now on no rollback deletes it.
    pub fn settle(&mut self) {
        (self.settled, self.made, self.doomed, self.accepted) = (true, None, false, false);
    }
}

/// What is done with one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there and differs.
    Change(Vec<Difference>),
    /// It is as it should be.
    Keep,
}

/// One object and what is done with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// As it should be.
    pub object: Arc<Object>,
    /// What is done.
    pub action: Action,
    /// The Service holds ports or selectors that must be taken away explicitly.
    pub strip: bool,
    /// Why this can't be undone, if it can't.
    pub irreversible: Option<String>,
    /// A Secret whose values are made anew while pods run with the old ones: they have to be made anew as well.
    pub renew: bool,
}

/// Why a manifest can't be carried out. Nothing is touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The object.
    pub key: ObjectKey,
    /// What is wrong and what to do.
    pub message: String,
    /// What cures it by itself, if something does.
    pub until: Option<Until>,
}

/// What a refused plan waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Until {
    /// A key of a Secret is set.
    Set(Needed),
    /// An object that is being deleted is gone.
    Gone(ObjectKey),
    /// An object that was part of the Stack is there again.
    There(ObjectKey),
    /// A Deployment that somebody has paused is resumed.
    Resumed(ObjectKey),
}

impl Until {
    /// What is waited for, in words; `None` for a key, which is told with the command that sets it.
    pub fn words(&self) -> Option<String> {
        match self {
            Until::Set(_) => None,
            Until::There(key) => Some(format!("{key} is there again")),
            Until::Gone(key) => Some(format!("{key}, which is being deleted, is gone")),
            Until::Resumed(key) => {
                let kind = key.kind.to_string().to_lowercase();
                Some(format!("{key} is resumed (kubectl rollout resume {kind}/{})", key.name))
            }
        }
    }

    /// Whether it is so now.
    pub fn is_met(&self, live: &Live) -> bool {
        match self {
            Until::Set(needed) => {
                live.get(&needed.object).is_some_and(|secret| secret["data"].get(&needed.key).is_some())
            }
            Until::Gone(key) => live.get(key).is_none(),
            Until::There(key) => live.get(key).is_some(),
            Until::Resumed(key) => live.get(key).is_none_or(|object| !is_paused(object)),
        }
    }
}

/// The way from the live state to a manifest.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// Every object of the manifest, in order of stage, led by the pods that prove new images.
    pub steps: Vec<Step>,
    /// Owned objects that the manifest does not contain and that hold no data.
    pub prune: Vec<ObjectKey>,
    /// Owned objects with data that the manifest does not contain, and of which the file has said that they may go: with the next
    /// commit that works, by nothing else.
    pub goes: Vec<ObjectKey>,
    /// Owned objects with data that no settled release contained; only a rollback deletes them.
    pub discard: Vec<ObjectKey>,
    /// Owned objects with data that the manifest no longer contains; they stay.
    pub retain: Vec<ObjectKey>,
    /// Versions of blue/green apps that the manifest no longer contains, and for how many seconds each stays.
    pub retire: Vec<(ObjectKey, i64)>,
    /// Why the plan can't be carried out.
    pub refusals: Vec<Refusal>,
    /// Secrets whose keys somebody has to set before the plan can be carried out.
    pub missing: Vec<Needed>,
    /// Volumes that a settled release had and that are gone: they are not made anew as if nothing had happened.
    pub lost: Vec<ObjectKey>,
}

impl Step {
    /// Whether pods are to be made anew since somebody has set a key of a secret that they use.
    pub fn renews(&self) -> bool {
        matches!(&self.action, Action::Change(fields) if fields.iter().any(Difference::is_of_a_secret))
    }

    /// Whether pods of an app end before there are others in their place.
    fn ends_old_pods_first(&self) -> bool {
        let changes = matches!(self.action, Action::Change(_)) && self.object.key.kind == Kind::Deployment;
        changes && ends_old_first(&self.object.body)
    }
}

impl Plan {
    /// Steps of `stage` that do something.
    pub fn work(&self, stage: Stage) -> impl Iterator<Item = &Step> {
        self.all_work().filter(move |step| step.object.stage == stage)
    }

    /// Steps that do something.
    pub fn all_work(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action != Action::Keep)
    }

    /// Whether no step does anything.
    pub fn is_idle(&self) -> bool {
        self.all_work().next().is_none()
    }

    /// Whether the live state is as the manifest says.
    pub fn is_empty(&self) -> bool {
        self.prune.is_empty() && self.goes.is_empty() && self.is_idle()
    }

    /// Whether carrying it out takes something away before what replaces it is there: a server restarts, old pods of an app end
    /// first, a job runs once more.
    pub fn disturbs(&self) -> bool {
        self.steps.iter().any(|step| match (&step.action, step.object.key.kind) {
            (Action::Keep, _) => false,
            (_, Kind::Job) | (Action::Change(_), Kind::StatefulSet) => true,
            _ => step.ends_old_pods_first(),
        })
    }

    /// Counts of objects to create, to change and to delete.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |want: fn(&Action) -> bool| {
            let apart = self.steps.iter().filter(|step| step.object.stage.lasts());
            apart.filter(|step| want(&step.action)).count()
        };
        let changed = count(|action| matches!(action, Action::Change(_)));
        (count(|action| *action == Action::Create), changed, self.prune.len() + self.goes.len())
    }

    /// Data that is being deleted: the refusals that say so, and what is wanted of it.
    pub fn data_that_goes(&self) -> impl Iterator<Item = (&Refusal, &Object)> {
        let going = self.refusals.iter().filter(|refusal| matches!(refusal.until, Some(Until::Gone(_))));
        going.filter_map(|refusal| {
            let step = self.steps.iter().find(|step| step.object.key == refusal.key)?;
            step.object.holds_data().then_some((refusal, &*step.object))
        })
    }

    /// Data that is being deleted, and that pods hold which the plan would end.
    pub fn endangers(&self) -> Option<&Refusal> {
        let ends = |of: &Object| self.all_work().any(|step| step.object.component() == of.component());
        self.data_that_goes().find(|(_, object)| ends(object)).map(|(refusal, _)| refusal)
    }
}

/// Compares a manifest with what is live. `inventory` is what hks made in this project for this Stack.
pub fn compare(manifest: &Manifest, live: &Live, inventory: &[Owned]) -> Plan {
    let mut plan = Plan::default();
    let was_there = |key: &ObjectKey| match inventory.iter().find(|owned| owned.key == *key) {
        Some(owned) => owned.settled && !owned.accepted,
        // what is going to be made is written down before: without a record, what runs with it tells of it
        None => live.objects.values().any(|object| mounts(object, &key.name)),
    };
    for object in &manifest.objects {
        let current = live.get(&object.key);
        let step = step(object, current, live, manifest);
        match current {
            Some(current) => plan.refusals.extend(refusals(object, current)),
            None if object.key.kind == Kind::PersistentVolumeClaim && was_there(&object.key) => {
                plan.lost.push(object.key.clone());
            }
            None => {}
        }
        plan.steps.push(step);
    }
    let impossible = |(key, message)| Refusal { key, message, until: None };
    plan.refusals.extend(manifest.impossible.iter().cloned().map(impossible));
    // what passes by itself is told last
    plan.refusals.sort_by_key(|refusal| refusal.until.is_some());
    let unset = |needed: &&Needed| !Until::Set((*needed).clone()).is_met(live);
    plan.missing = manifest.needed.iter().filter(unset).cloned().collect();
    plan.steps.splice(0..0, preflight(manifest, live, &plan.steps));

    // what hks has made once and somebody is to set now is as good as set
    let set = manifest.needed.iter().map(|needed| &needed.object);
    let wanted: BTreeSet<_> = plan.steps.iter().map(|step| &step.object.key).chain(set).collect();
    for owned in inventory.iter().filter(|owned| !wanted.contains(&owned.key)) {
        let Some(current) = live.get(&owned.key) else { continue };
        let keep = kept_for(current);
        if keep > 0 {
            plan.retire.push((owned.key.clone(), keep));
        } else if !outlasts(&owned.key, current) && !serves(&owned.key, current, live) {
            plan.prune.push(owned.key.clone());
        } else if may_go(&owned.key, current, live) {
            plan.goes.push(owned.key.clone());
        } else if owned.settled {
            plan.retain.push(owned.key.clone());
        } else {
            plan.discard.push(owned.key.clone());
        }
    }
    plan
}

/// A live object as somebody may have applied it: applied again, it is as it was.
pub fn as_applied(object: &Value) -> Value {
    let mut body = object.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("status");
    }
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "labels" | "annotations"));
    }
    body
}

/// Whether the pods of a live Deployment or StatefulSet have this claim.
fn mounts(object: &Value, claim: &str) -> bool {
    let volumes = object["spec"]["template"]["spec"]["volumes"].as_array();
    volumes.is_some_and(|volumes| volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim))
}

/// Longest time that an old version stays: what hks.yaml may ask for is less.
const MOST_KEPT: i64 = 24 * 3600;

/// For how many seconds the old version of a blue/green app stays.
pub fn kept_for(current: &Value) -> i64 {
    let seconds = current["metadata"]["annotations"][KEEP_ANNOTATION].as_str().and_then(|seconds| seconds.parse().ok());
    // anybody may write an annotation
    seconds.unwrap_or(0).clamp(0, MOST_KEPT)
}

/// The file said of this data that it may go with its database: of all that is there of it, for a volume without its credentials
/// is lost, too.
pub fn may_go(key: &ObjectKey, current: &Value, live: &Live) -> bool {
    let marked = |object: &Value| object["metadata"]["annotations"][ON_DELETE_ANNOTATION] == "delete";
    let of = component(key, current);
    let mut data = live.objects.iter().filter(|(key, object)| holds_data(key, object) && component(key, object) == of);
    (marked(current) || serves(key, current, live)) && data.all(|(_, object)| marked(object))
}

/// It goes and stays with the server of a database: that is reached by its name, and by nobody who could not before.
fn serves(key: &ObjectKey, current: &Value, live: &Live) -> bool {
    let of = component(key, current);
    !holds_data(key, current)
        && matches!(of, Component::Database(_))
        && live.of(Kind::StatefulSet).any(|(key, object)| component(key, object) == of)
}

fn step(object: &Arc<Object>, current: Option<&Value>, live: &Live, manifest: &Manifest) -> Step {
    let mut step =
        Step { object: Arc::clone(object), action: Action::Create, strip: false, irreversible: None, renew: false };
    // pods read a value when they start: another template makes new ones
    if matches!(object.key.kind, Kind::Deployment | Kind::StatefulSet)
        && let Some(at) = secret::known_to(&object.body, current, live, manifest)
    {
        let annotations = &mut Arc::make_mut(&mut step.object).body["spec"]["template"]["metadata"]["annotations"];
        annotations[SECRET_SET_ANNOTATION] = at.into();
    }
    step.renew = !object.recipe.is_empty() && secret::is_used(&object.key.name, live);
    // a claim keeps the class that it was made of: the field can't be changed
    if object.key.kind == Kind::PersistentVolumeClaim
        && let Some(current) = current
        && object.body["spec"].get("storageClassName").is_some()
    {
        let class = current["spec"]["storageClassName"].clone();
        Arc::make_mut(&mut step.object).body["spec"]["storageClassName"] = class;
    }
    let Some(current) = current else {
        // an autoscaler takes some time to look: until then it is as many as serve now, or as few as it may be
        if object.key.kind == Kind::Deployment && object.body["spec"].get("replicas").is_none() {
            let replicas = scale_at_first(object, live, manifest).into();
            Arc::make_mut(&mut step.object).body["spec"]["replicas"] = replicas;
        }
        return step;
    };
    // what a Pod or Job is can't change, and the name of a ConfigMap tells what is in it
    if matches!(object.key.kind, Kind::Pod | Kind::Job | Kind::ConfigMap) {
        step.action = Action::Keep;
        return step;
    }
    let mut found = compare::differences(&step.object.body, current);
    let dropped = current["metadata"]["annotations"][HASH_ANNOTATION] != *object.hash();
    if !dropped {
        found.retain(|difference| !difference.field.starts_with("metadata.annotations"));
    }
    found.extend(secret::differences(object, current));
    step.strip = object.key.kind == Kind::Service && compare::service_has_more(&object.body, current);
    let told =
        |difference: &Difference| ["spec.ports", "spec.selector"].iter().any(|of| difference.field.starts_with(of));
    if step.strip && !found.iter().any(told) {
        let wanted = object.body["spec"]["ports"].to_string();
        found.push(Difference { field: "spec.ports".into(), live: Some(current["spec"]["ports"].to_string()), wanted });
    }
    if let Some((from, to)) = storage_change(object, current) {
        step.irreversible = Some(format!("storage {from} → {to} can't be undone"));
    }
    // The autoscaler decides, but a field that hks owned and then leaves out would fall back to 1.
    if object.key.kind == Kind::Deployment && object.body["spec"].get("replicas").is_none() {
        Arc::make_mut(&mut step.object).body["spec"]["replicas"] = current["spec"]["replicas"].clone();
    }
    step.renew &= found.iter().any(|difference| difference.field.starts_with("data."));
    step.action = if found.is_empty() { Action::Keep } else { Action::Change(found) };
    step
}

/// How many pods a Deployment begins with that an autoscaler is in charge of.
fn scale_at_first(object: &Object, live: &Live, manifest: &Manifest) -> i64 {
    let app = &object.body["metadata"]["labels"][APP_LABEL];
    let others = live.of(Kind::Deployment).filter(|(_, other)| other["metadata"]["labels"][APP_LABEL] == *app);
    let serving = others.filter_map(|(_, other)| other["spec"]["replicas"].as_i64()).max();
    let scaler = manifest.get(&ObjectKey::new(Kind::HorizontalPodAutoscaler, object.key.name.as_str()));
    let limit = |name: &str| scaler.and_then(|scaler| scaler.body["spec"][name].as_i64());
    let least = limit("minReplicas").unwrap_or(1);
    serving.unwrap_or(least).clamp(least, limit("maxReplicas").unwrap_or(i64::MAX).max(least))
}

/// Old pods of the Deployment end before new ones are there.
pub fn ends_old_first(deployment: &Value) -> bool {
    let strategy = &deployment["spec"]["strategy"];
    let unavailable = &strategy["rollingUpdate"]["maxUnavailable"];
    let some = unavailable.as_i64().map_or_else(|| !matches!(unavailable.as_str(), None | Some("0" | "0%")), |n| n > 0);
    strategy["type"] == "Recreate" || some
}

/// Somebody has paused the rollout of a Deployment.
pub fn is_paused(object: &Value) -> bool {
    object["spec"]["paused"] == true
}

/// The finalizers that keep an object from going, for people; empty if there are none.
pub fn held_by(object: &Value) -> String {
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let held: Vec<_> = finalizers.filter_map(Value::as_str).collect();
    if held.is_empty() { String::new() } else { format!(", held by {}", held.join(", ")) }
}

/// Somebody has deleted it, and something keeps it from going.
pub fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Old and new size of a volume whose size changes.
fn storage_change<'a>(object: &'a Object, current: &'a Value) -> Option<(&'a str, &'a str)> {
    let size = |body: &'a Value| body["spec"]["resources"]["requests"]["storage"].as_str();
    let (wanted, live) = (size(&object.body)?, size(current)?);
    (object.key.kind == Kind::PersistentVolumeClaim && quantity(wanted) != quantity(live)).then_some((live, wanted))
}

/// What Kubernetes or the safety of data forbids.
fn refusals(object: &Object, current: &Value) -> Option<Refusal> {
    let refuse = |message| Some(Refusal { key: object.key.clone(), message, until: None });
    if is_going(current) {
        let until = Some(Until::Gone(object.key.clone()));
        let held = held_by(current);
        let message = if object.holds_data() {
            format!(
                "it is being deleted{held}: its data goes when the last pod that uses it ends, and nothing is restarted \
                 meanwhile; copy the data now"
            )
        } else {
            format!("it is being deleted{held}; this goes on by itself when it is gone")
        };
        return Some(Refusal { key: object.key.clone(), message, until });
    }
    if object.key.kind == Kind::Deployment && is_paused(current) {
        let message =
            format!("somebody has paused it; resume it: kubectl rollout resume deployment/{}", object.key.name);
        return Some(Refusal { key: object.key.clone(), message, until: Some(Until::Resumed(object.key.clone())) });
    }
    if let Some((from, to)) = storage_change(object, current)
        && quantity(to).partial_cmp(&quantity(from)).is_some_and(std::cmp::Ordering::is_lt)
    {
        return refuse(format!("storage can't shrink from {from} to {to}; set it back to {from} or more"));
    }
    let facts = |body| Facts::of(|name| Workload(body).containers().find_map(|container| container.variable(name)));
    let (live, wanted) = (facts(current)?, facts(&object.body)?);
    live.refuses(&wanted).and_then(refuse)
}

/// Pods that pull the images that no live workload of this Stack runs yet: only where data is going to be touched, or pods of an
/// app end before there are others, as they do where it has a volume. Else a rolling update is itself the safest proof.
fn preflight(manifest: &Manifest, live: &Live, steps: &[Step]) -> Vec<Step> {
    let touches_data = |step: &Step| step.object.holds_data() && step.action != Action::Keep;
    if !steps.iter().any(|step| touches_data(step) || step.ends_old_pods_first()) {
        return vec![];
    }
    let images =
        |body: &Value| Workload(body).containers().map(|container| container.image().to_owned()).collect::<Vec<_>>();
    let workload = |kind| matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::Job);
    let known: BTreeSet<_> =
        live.objects.iter().filter(|(key, _)| workload(key.kind)).flat_map(|(_, o)| images(o)).collect();
    let mut new = BTreeSet::new();
    for object in manifest.objects.iter().filter(|object| workload(object.key.kind)) {
        let secret = object.body["spec"]["template"]["spec"]["imagePullSecrets"][0]["name"].as_str();
        new.extend(images(&object.body).into_iter().filter(|i| !known.contains(i)).map(|image| (image, secret)));
    }
    let pods = pull_pods(&manifest.stack, new.iter().map(|(image, secret)| (image.as_str(), *secret)));
    pods.map(Arc::new).map(|pod| step(&pod, live.get(&pod.key), live, manifest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Revision, StackName};
    use serde_json::json;

    #[test]
    fn a_new_version_begins_with_as_many_pods_as_serve() {
        let labels = json!({ APP_LABEL: "web" });
        let object = |kind, body| {
            let key = ObjectKey::new(kind, "todo-web-b");
            Arc::new(Object { key, stage: Stage::Apps(0), body, recipe: [].into(), started_is_enough: false })
        };
        let new = object(Kind::Deployment, json!({ "metadata": { "labels": labels }, "spec": {} }));
        let limits = json!({ "spec": { "minReplicas": 2, "maxReplicas": 8 } });
        let objects = vec![new, object(Kind::HorizontalPodAutoscaler, limits)];
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        let manifest = Manifest { objects, ..Manifest::empty(stack, Revision::new("b")) };
        let begins_with = |serving: Option<i64>| {
            let old = |replicas| json!({ "metadata": { "labels": labels }, "spec": { "replicas": replicas } });
            let key = ObjectKey::new(Kind::Deployment, "todo-web-a");
            let objects = serving.map(|replicas| (key, Arc::new(old(replicas)))).into_iter().collect();
            let plan = compare(&manifest, &Live { objects, ..Live::default() }, &[]);
            plan.steps[0].object.body["spec"]["replicas"].clone()
        };
        assert_eq!([None, Some(1), Some(5), Some(20)].map(begins_with), [2, 2, 5, 8].map(Value::from));
    }

    #[test]
    fn data_goes_as_a_whole_or_stays() {
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        let manifest = Manifest::empty(stack, Revision::new("b"));
        let keys = [(Kind::PersistentVolumeClaim, "data"), (Kind::Secret, "login"), (Kind::StatefulSet, "todo-main")];
        let keys = keys.map(|(kind, name)| ObjectKey::new(kind, name));
        let plan = |marked: [bool; 3]| {
            let mark = |marked: bool| json!({ "hks.hexabase.ai/on-delete": marked.then_some("delete") });
            let labels = json!({ crate::manifest::DATABASE_LABEL: "main" });
            let body = |marked| json!({ "metadata": { "labels": labels, "annotations": mark(marked) } });
            let objects = keys.clone().into_iter().zip(marked.map(|marked| Arc::new(body(marked)))).collect();
            let owned = keys.clone().map(|key| Owned::new(key, true, Timestamp::UNIX_EPOCH));
            compare(&manifest, &Live { objects, ..Live::default() }, &owned)
        };
        assert_eq!(plan([true; 3]).goes, keys);
        // the mark of a file of before has stayed on its credentials
        let plan = plan([false, true, false]);
        assert_eq!((plan.goes, plan.retain), (vec![], keys.to_vec()));
    }
}

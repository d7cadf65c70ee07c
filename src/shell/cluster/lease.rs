//! One daemon acts for a Stack at a time. A second one, started by mistake, says so and waits.
//!
//! The usual lease is renewed every few seconds; with hundreds of Stacks that is most of an idle daemon's traffic. This
//! one is written only when somebody asks: a second daemon leaves its name as a challenge, and the holder, which
//! watches the Lease anyway, answers by taking the challenge away. A holder that does not answer within `PATIENCE` is gone, and
//! the challenger takes over, guarded by the resource version it saw.

use crate::ident::{Component, Kind, ObjectKey, StackName};
use crate::machine::Fault;
use crate::manifest::{MANAGED_BY, STACK_LABEL};
use crate::shell::clock;
use crate::shell::cluster::api::{making, merging, micro_time};
use crate::shell::cluster::failure::describe_own;
use crate::shell::cluster::failure::{Explain, Failure};
use crate::shell::cluster::project::{Project, resource};
use crate::shell::cluster::proof::Proof;
use crate::shell::cluster::record;
use crate::shell::cluster::standby::is_successor;
use kube::api::{Api, DynamicObject, Patch};
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;

/// Which source of the configuration a Stack comes from, so that it is known before the repository answers.
const SOURCE: &str = "hks.hexabase.ai/source";
/// Where a challenger leaves its name.
const CHALLENGE: &str = "hks.hexabase.ai/challenge";
/// How long a holder may take to answer. A vCluster that is busy delays its watches by some seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is tried to give a Lease back that changes meanwhile.
const RELEASES: u32 = 3;
/// How long a challenger that was answered waits before it asks again.
const AGAIN: Duration = Duration::from_mins(1);

/// Who `hks apply` is as a holder: this, and something random.
pub const BY_HAND: &str = "apply-";

/// Says to `me` of the holder of a Stack's Lease that it acts for it.
pub fn acts(holder: &str, me: &str) -> &'static str {
    if is_by_hand(holder) {
        "another `hks apply` is at work for this Stack"
    } else if daemon_of(holder) == daemon_of(me) {
        "another source of this daemon has this Stack"
    } else {
        "another daemon acts for this Stack"
    }
}

/// Whether a holder is an `hks apply`, which ends by itself.
pub fn is_by_hand(holder: &str) -> bool {
    holder.starts_with(BY_HAND)
}

/// Whether two daemons act for the same source.
pub fn is_for_the_same_source(holder: &str, me: &str) -> bool {
    source_of(holder) == source_of(me)
}

/// How an attempt to become the holder ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Lead {
    /// This daemon acts.
    Ours,
    /// Another one does: its name.
    Theirs(String),
}

/// Becomes the holder, if nobody else is, or if the holder does not answer.
///
/// `me` is the name of this daemon and, behind a slash, of the source. An earlier Lease of the same name is taken as it is.
///
/// # Errors
/// What the API server says, or that it says nothing.
pub async fn acquire(project: &Project, stack: &StackName, me: &str) -> Result<Lead, Fault> {
    let proof = Proof::now();
    let lead = become_holder(project, stack, me).await?;
    match lead {
        Lead::Ours => project.proven(stack, proof),
        Lead::Theirs(_) => project.unproven(stack),
    }
    Ok(lead)
}

/// Proves that this daemon still holds the Lease, before anything is written: whoever was asleep may have been replaced
/// meanwhile, and must then write nothing. A proof holds for some seconds; a challenge is answered with it.
///
/// # Errors
/// That another daemon acts, or that it can't be told.
pub async fn prove(project: &Project, stack: &StackName, me: &str) -> Result<Proof, Fault> {
    if let Some(proof) = project.proof(stack) {
        return Ok(proof);
    }
    let (api, name) = (project.api(Kind::Lease), record::name(stack));
    let object = || format!("Lease/{name}");
    let lost = |message: String| Fault { transient: true, object: object(), component: Component::Stack, message };
    let proof = Proof::now();
    let found = api.get_opt(&name).await.map_err(|error| describe_own(&error, object()))?;
    let Some(found) = found else {
        return Err(lost("its Lease is gone; it is made anew before anything is written".into()));
    };
    let holder = holder(&found.data);
    if holder != me {
        return Err(lost(format!("{} now: {holder}", acts(&holder, me))));
    }
    if challenge(&found).is_some() {
        let answered = api.patch(&name, &merging(), &Patch::Merge(&answer_to(&found))).await;
        project.learn_of(Kind::Lease, &answered.map_err(|error| describe_own(&error, object()))?);
    }
    project.proven(stack, proof);
    Ok(proof)
}

/// The Stacks of a source for which a daemon has acted before, without those that are known: their Leases are not read.
pub fn of_source(project: &Project, source: &str, is_known: impl Fn(&StackName) -> bool) -> Vec<StackName> {
    let own =
        |key: &ObjectKey| project.get(key).is_some_and(|lease| lease["metadata"]["annotations"][SOURCE] == source);
    let unknown = |key: ObjectKey| {
        let stack = StackName::new(key.name.strip_prefix("hks-")?).filter(|stack| !is_known(stack))?;
        own(&key).then_some(stack)
    };
    project.keys(Kind::Lease).into_iter().filter_map(unknown).collect()
}

async fn become_holder(project: &Project, stack: &StackName, me: &str) -> Result<Lead, Fault> {
    let api = project.api(Kind::Lease);
    let name = record::name(stack);
    let failed = |error: Error| describe_own(&error, format!("Lease/{name}"));
    let mut seen = project.get(&ObjectKey::new(Kind::Lease, name.as_str())).is_some();
    let found = loop {
        // what the watch does not show is rarely there, and which of two daemons makes it the cluster decides
        if !seen && create(&api, project, stack, me).await.map_err(failed)? {
            return Ok(Lead::Ours);
        }
        match api.get_opt(&name).await.map_err(failed)? {
            Some(found) => break found,
            None => seen = false,
        }
    };
    let holder = holder(&found.data);
    if holder == me && challenge(&found).is_none() {
        project.learn_of(Kind::Lease, &found);
        return Ok(Lead::Ours);
    }
    // who leads an installation takes over from who led it before
    if holder == me || holder.is_empty() || is_successor(me, &holder) {
        return take(project, &api, &found, me).await.map_err(failed);
    }
    let asked = json!({ "metadata": {
        "resourceVersion": found.resource_version(),
        "annotations": { CHALLENGE: me },
    }});
    match api.patch(&name, &merging(), &Patch::Merge(&asked)).await {
        Ok(_) => {}
        Err(Error::Api(status)) if status.code == 409 => return Ok(Lead::Theirs(holder)),
        Err(error) => return Err(failed(error)),
    }
    let mut changes = project.subscribe(stack);
    let woken = tokio::time::timeout(PATIENCE, async {
        loop {
            let seen = project.get(&ObjectKey::new(Kind::Lease, name.as_str()));
            // the picture may be older than the challenge; only an answer after it counts
            let newer = seen.as_ref().filter(|lease| version(lease) > found_version(&found));
            if newer.is_some_and(|lease| lease["metadata"]["annotations"][CHALLENGE].is_null()) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let found = api.get(&name).await.map_err(failed)?;
    let holder = self::holder(&found.data);
    // an answer counts however late the watch tells of it, and the answer may be that it is ours now
    let is_unanswered = woken.is_err() && challenge(&found).as_deref() == Some(me);
    if is_unanswered || holder == me || holder.is_empty() {
        return take(project, &api, &found, me).await.map_err(failed);
    }
    Ok(Lead::Theirs(holder))
}

/// Waits until it is worth trying again: the Lease changed hands, or some time has passed.
pub async fn wait(project: &Project, stack: &StackName, holder: &str) {
    let mut changes: watch::Receiver<u64> = project.subscribe(stack);
    let key = ObjectKey::new(Kind::Lease, record::name(stack));
    let given_up = async {
        loop {
            let now = project.get(&key).map(|lease| self::holder(&lease));
            if now.as_deref() != Some(holder) || changes.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(AGAIN, given_up).await;
}

/// What the watch says of the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// This daemon holds it.
    Ours,
    /// … and somebody asks whether it still does.
    Asked,
    /// Somebody else holds it, or it is gone.
    Lost,
}

/// What the watch says of the Lease. One that is gone, with its namespace perhaps, is no longer held.
pub fn look(project: &Project, stack: &StackName, me: &str) -> Look {
    match project.get(&ObjectKey::new(Kind::Lease, record::name(stack))) {
        Some(lease) if holder(&lease) != me => Look::Lost,
        Some(lease) if lease["metadata"]["annotations"][CHALLENGE].is_string() => Look::Asked,
        Some(_) => Look::Ours,
        None => Look::Lost,
    }
}

/// Whether somebody else holds the Lease, as the watch says, who has to be asked whether it acts.
pub fn is_anothers(project: &Project, stack: &StackName, me: &str) -> bool {
    seen(project, stack).is_some_and(|holder| holder != me && !is_successor(me, &holder))
}

/// Who holds the Lease of a Stack, as the watch says.
pub fn seen(project: &Project, stack: &StackName) -> Option<String> {
    let lease = project.get(&ObjectKey::new(Kind::Lease, record::name(stack)))?;
    Some(holder(&lease)).filter(|holder| !holder.is_empty())
}

/// Who holds the Lease of a Stack; nobody if it was given back or never taken.
pub async fn holder_of(client: &Client, namespace: &str, stack: &StackName) -> Result<Option<String>, Failure> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(Kind::Lease));
    let name = record::name(stack);
    let found = api.get_opt(&name).await.explain(|| format!("failed to read Lease {name}"))?;
    Ok(found.map(|lease| holder(&lease.data)).filter(|holder| !holder.is_empty()))
}

/// Answers a challenge: takes it away and renews.
///
/// # Errors
/// Another daemon acts meanwhile, or the cluster does not answer.
pub async fn answer(project: &Project, stack: &StackName, me: &str) -> Result<(), Fault> {
    project.unproven(stack);
    prove(project, stack, me).await.map(drop)
}

/// Lets who asked act from now on: this source has nothing of the Stack any more.
///
/// # Errors
/// What the API server says; then nothing has changed.
pub async fn hand_over(project: &Project, stack: &StackName) -> Result<(), Fault> {
    let (api, name) = (project.api(Kind::Lease), record::name(stack));
    let failed = |error: Error| describe_own(&error, format!("Lease/{name}"));
    let found = api.get(&name).await.map_err(failed)?;
    if let Some(next) = challenge(&found) {
        project.unproven(stack);
        take(project, &api, &found, &next).await.map_err(failed)?;
    }
    Ok(())
}

/// Who asks has this Stack from another source.
pub fn is_asked_by_another_source(project: &Project, stack: &StackName, me: &str) -> bool {
    let lease = project.get(&ObjectKey::new(Kind::Lease, record::name(stack)));
    let asks = lease.as_ref().and_then(|lease| lease["metadata"]["annotations"][CHALLENGE].as_str());
    asks.is_some_and(|asks| !is_for_the_same_source(asks, me))
}

/// Whether a source holds the Lease, as the watch says: of two that have a Stack of one name in one project only one acts for it.
pub fn is_held_for(project: &Project, stack: &StackName, source: &str) -> bool {
    seen(project, stack).is_some_and(|holder| source_of(&holder) == source)
}

/// The holder of the Lease, if it acts for another source.
pub fn held_for_another_source(project: &Project, stack: &StackName, me: &str) -> Option<String> {
    seen(project, stack).filter(|holder| !is_for_the_same_source(holder, me))
}

/// The answer counts only for the Lease that was seen: one that was taken over meanwhile has another version.
fn answer_to(found: &DynamicObject) -> Value {
    json!({
        "metadata": { "resourceVersion": found.resource_version(), "annotations": { CHALLENGE: null } },
        "spec": { "renewTime": micro_time(clock::now()) },
    })
}

/// Gives the Lease back, so that the next daemon need not wait. One that is given back for good is of no source any more.
pub async fn release(project: &Project, stack: &StackName, me: &str, for_good: bool) {
    project.unproven(stack);
    let (api, name) = (project.api(Kind::Lease), record::name(stack));
    let seen = project.get(&ObjectKey::new(Kind::Lease, name.as_str())).map(|lease| (*lease).clone());
    let mut found = seen.and_then(|lease| serde_json::from_value::<DynamicObject>(lease).ok());
    for _ in 0..RELEASES {
        let Some(lease) = found.filter(|lease| holder(&lease.data) == me) else { return };
        let mut metadata = json!({ "resourceVersion": lease.resource_version(), "annotations": { CHALLENGE: null } });
        if for_good {
            metadata["annotations"][SOURCE] = Value::Null;
        }
        let patch = json!({ "metadata": metadata, "spec": { "holderIdentity": "" } });
        match api.patch(&name, &merging(), &Patch::Merge(&patch)).await {
            Ok(given) => return project.learn_of(Kind::Lease, &given),
            // somebody asks for it just now, or has it
            Err(Error::Api(status)) if status.code == 409 => found = api.get_opt(&name).await.ok().flatten(),
            Err(_) => return,
        }
    }
}

/// Makes the Lease; whether it was not there.
async fn create(api: &Api<DynamicObject>, project: &Project, stack: &StackName, me: &str) -> Result<bool, Error> {
    let (name, now) = (record::name(stack), micro_time(clock::now()));
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": project.namespace,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
            "annotations": { SOURCE: source_of(me) },
        },
        "spec": { "holderIdentity": me, "acquireTime": now, "renewTime": now, "leaseTransitions": 0 },
    });
    let lease: DynamicObject = serde_json::from_value(lease).map_err(Error::SerdeError)?;
    match api.create(&making(), &lease).await {
        Ok(created) => {
            project.learn_of(Kind::Lease, &created);
            Ok(true)
        }
        Err(Error::Api(status)) if status.reason == "AlreadyExists" => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the Lease over, unless somebody was faster.
async fn take(project: &Project, api: &Api<DynamicObject>, found: &DynamicObject, me: &str) -> Result<Lead, Error> {
    let (holder, now) = (holder(&found.data), micro_time(clock::now()));
    let transitions = found.data["spec"]["leaseTransitions"].as_i64().unwrap_or(0) + i64::from(holder != me);
    let patch = json!({
        "metadata": {
            "resourceVersion": found.resource_version(),
            "annotations": { CHALLENGE: null, SOURCE: source_of(me) },
        },
        "spec": { "holderIdentity": me, "acquireTime": now, "renewTime": now, "leaseTransitions": transitions },
    });
    match api.patch(&found.name_any(), &merging(), &Patch::Merge(&patch)).await {
        Ok(taken) => {
            project.learn_of(Kind::Lease, &taken);
            Ok(Lead::Ours)
        }
        Err(Error::Api(status)) if status.code == 409 => Ok(Lead::Theirs(holder)),
        Err(error) => Err(error),
    }
}

/// What stands before the source.
fn daemon_of(me: &str) -> &str {
    me.rsplit_once('/').map_or(me, |(daemon, _)| daemon)
}

/// The source in the name of a daemon.
fn source_of(me: &str) -> &str {
    me.rsplit_once('/').map_or("", |(_, source)| source)
}

fn holder(lease: &Value) -> String {
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn challenge(lease: &DynamicObject) -> Option<String> {
    lease.annotations().get(CHALLENGE).cloned()
}

fn version(lease: &Value) -> u64 {
    lease["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn found_version(lease: &DynamicObject) -> u64 {
    lease.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

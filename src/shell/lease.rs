//! One daemon acts for a Stack at a time. A second one, started by mistake, says so and waits.
//!
//! The usual lease is renewed every few seconds; with hundreds of Stacks that is most of an idle daemon's traffic. This
//! one is written only when somebody asks: a second daemon leaves its name as a challenge, and the holder, which
//! watches the Lease anyway, answers by taking the challenge away. A holder that does not answer within `PATIENCE` is gone, and
//! the challenger takes over, guarded by the resource version it saw.

use crate::ident::{Kind, ObjectKey, StackName};
use crate::machine::Fault;
use crate::manifest::{MANAGED_BY, STACK_LABEL};
use crate::shell::apply::{MANAGER, describe_own};
use crate::shell::failure::{Explain, Failure};
use crate::shell::project::{Project, resource};
use crate::shell::{clock, record};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;

/// Where a challenger leaves its name.
const CHALLENGE: &str = "hks.hexabase.ai/challenge";
/// How long a holder may take to answer. A vCluster that is busy delays its watches by some seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a challenger that was answered waits before it asks again.
const AGAIN: Duration = Duration::from_mins(1);

/// How an attempt to become the holder ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Lead {
    /// This daemon acts.
    Ours,
    /// Another one does: its name.
    Theirs(String),
}

/// Becomes the holder, if nobody else is, or if the holder does not answer.
pub async fn acquire(project: &Project, stack: &StackName, me: &str) -> Result<Lead, Fault> {
    let api = project.api(Kind::Lease);
    let name = record::name(stack);
    let failed = |error: Error| describe_own(&error, format!("Lease/{name}"));
    let Some(found) = api.get_opt(&name).await.map_err(failed)? else {
        return create(&api, project, stack, me).await.map_err(failed);
    };
    let holder = holder(&found.data);
    if holder == me && challenge(&found).is_none() {
        return Ok(Lead::Ours);
    }
    if holder == me || holder.is_empty() {
        return take(&api, &found, me, &holder).await.map_err(failed);
    }
    let asked = json!({ "metadata": {
        "resourceVersion": found.resource_version(),
        "annotations": { CHALLENGE: me },
    }});
    match api.patch(&name, &merge(), &Patch::Merge(&asked)).await {
        Ok(_) => {}
        Err(Error::Api(status)) if status.code == 409 => return Ok(Lead::Theirs(holder)),
        Err(error) => return Err(failed(error)),
    }
    let mut changes = project.subscribe(stack);
    let answered = tokio::time::timeout(PATIENCE, async {
        loop {
            let seen = project.get(&ObjectKey::new(Kind::Lease, name.as_str()));
            // the picture may be older than the challenge; only an answer after it counts
            let annotations = seen.as_ref().map(|lease| &lease["metadata"]["annotations"][CHALLENGE]);
            let newer = seen.as_ref().is_some_and(|lease| version(lease) > found_version(&found));
            if newer && annotations.is_none_or(Value::is_null) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let found = api.get(&name).await.map_err(failed)?;
    if answered.is_ok() && challenge(&found).as_deref() != Some(me) {
        return Ok(Lead::Theirs(self::holder(&found.data)));
    }
    take(&api, &found, me, &holder).await.map_err(failed)
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

/// What the watch says of the Lease: whether this daemon still holds it, and whether somebody asks.
pub fn look(project: &Project, stack: &StackName, me: &str) -> (bool, bool) {
    match project.get(&ObjectKey::new(Kind::Lease, record::name(stack))) {
        Some(lease) => (holder(&lease) == me, lease["metadata"]["annotations"][CHALLENGE].is_string()),
        // deleted by somebody: nobody else holds it
        None => (true, false),
    }
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
pub async fn answer(project: &Project, stack: &StackName) -> Result<(), Fault> {
    let name = record::name(stack);
    let patch = json!({
        "metadata": { "annotations": { CHALLENGE: null } },
        "spec": { "renewTime": time() },
    });
    let answered = project.api(Kind::Lease).patch(&name, &merge(), &Patch::Merge(&patch)).await;
    let answered = answered.map_err(|error| describe_own(&error, format!("Lease/{name}")))?;
    project.learn(Kind::Lease, answered);
    Ok(())
}

/// Gives the Lease back, so that the next daemon need not wait.
pub async fn release(project: &Project, stack: &StackName, me: &str) {
    if look(project, stack, me).0 {
        let patch = json!({ "spec": { "holderIdentity": "" } });
        let _ = project.api(Kind::Lease).patch(&record::name(stack), &merge(), &Patch::Merge(&patch)).await;
    }
}

async fn create(api: &Api<DynamicObject>, project: &Project, stack: &StackName, me: &str) -> Result<Lead, Error> {
    let name = record::name(stack);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": project.namespace,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
        },
        "spec": { "holderIdentity": me, "acquireTime": time(), "renewTime": time(), "leaseTransitions": 0 },
    });
    let lease: DynamicObject = serde_json::from_value(lease).map_err(Error::SerdeError)?;
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &lease).await {
        Ok(created) => {
            project.learn(Kind::Lease, created);
            Ok(Lead::Ours)
        }
        Err(Error::Api(status)) if status.reason == "AlreadyExists" => {
            Ok(Lead::Theirs(holder(&api.get(&name).await?.data)))
        }
        Err(error) => Err(error),
    }
}

/// Takes the Lease over, unless somebody was faster.
async fn take(api: &Api<DynamicObject>, found: &DynamicObject, me: &str, holder: &str) -> Result<Lead, Error> {
    let transitions = found.data["spec"]["leaseTransitions"].as_i64().unwrap_or(0) + i64::from(holder != me);
    let patch = json!({
        "metadata": { "resourceVersion": found.resource_version(), "annotations": { CHALLENGE: null } },
        "spec": { "holderIdentity": me, "acquireTime": time(), "renewTime": time(), "leaseTransitions": transitions },
    });
    match api.patch(&found.name_any(), &merge(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(Lead::Ours),
        Err(Error::Api(status)) if status.code == 409 => Ok(Lead::Theirs(holder.to_owned())),
        Err(error) => Err(error),
    }
}

fn merge() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

/// A `MicroTime`: RFC 3339 with six digits of fraction.
fn time() -> String {
    clock::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
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

//! Writing to the API server: dry run, create, server-side apply, delete. Every write is gated: an object of a Stack goes
//! into the Stack's project, carries the Stack's label, and is of a kind that hks knows.

use crate::ident::{Component, Kind, ObjectKey, StackName};
use crate::machine::{Fault, Made};
use crate::manifest::{MANAGED_BY, STACK_LABEL, holds_data};
use crate::plan::{self, Action, Difference, Step};
use crate::rollout::HOST;
use crate::shell::cluster::api::{making, merging};
use crate::shell::cluster::failure::{describe, describe_own};
use crate::shell::cluster::growth;
use crate::shell::cluster::lease;
use crate::shell::cluster::project::{Claim, MANAGER, Project, Seen};
use crate::shell::cluster::proof::Proof;
use crate::shell::cluster::secrets;
use futures::future::join_all;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, ValidationDirective};
use kube::{Error, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Requests of one Stack at the same time.
const PARALLEL: usize = 8;

/// Who writes: one daemon for one Stack of a project, for as long as it holds the Stack's Lease.
#[derive(Clone, Copy)]
pub struct Hand<'a> {
    /// Where.
    pub project: &'a Project,
    /// For whom.
    pub stack: &'a StackName,
    /// The name of this daemon on the Lease.
    pub me: &'a str,
}

impl Hand<'_> {
    /// Sees that this daemon still acts for the Stack: before each few requests that write, since it may have slept since.
    async fn prove(&self) -> Result<Proof, Fault> {
        lease::prove(self.project, self.stack, self.me).await
    }
}

/// Dry-runs the steps, and sees that nothing that is to be created exists unmanaged.
pub async fn check(project: &Project, stack: &StackName, steps: &[Step]) -> Result<(), Fault> {
    let free = claim_all(project, stack, steps)?;
    each(steps, None, |step| check_one(project, stack, step, free.contains(&step.object.key))).await
}

/// Claims the names of all that is to be made, or of nothing: of two Stacks that want the same ones together, and in the same order,
/// each would else get some, and neither could go on. Returns those of which nothing is known yet.
fn claim_all(project: &Project, stack: &StackName, steps: &[Step]) -> Result<BTreeSet<ObjectKey>, Fault> {
    let mut free = BTreeSet::new();
    for step in steps.iter().filter(|step| step.action == Action::Create && step.object.key.kind != Kind::Pod) {
        match claim(project, stack, step) {
            Ok(Claim::Free) => drop(free.insert(step.object.key.clone())),
            Ok(_) => {}
            Err(fault) => {
                for key in &free {
                    project.unclaim(key);
                }
                return Err(fault);
            }
        }
    }
    Ok(free)
}

async fn check_one(project: &Project, stack: &StackName, step: &Step, is_free: bool) -> Result<(), Fault> {
    // a Pod is only created if its image is new, and a dry run would say nothing about the pull
    if step.object.key.kind == Kind::Pod {
        return Ok(());
    }
    let (key, body) = (&step.object.key, &step.object.body);
    if let Some(((host, path), other)) = project.contested(stack, key.kind, body) {
        let message = format!(
            "{host}{path} is already the address of Stack {other} in this project; take it out there first, or run: hks \
             destroy {other}"
        );
        return Err(Fault { transient: false, object: format!("{HOST}{host}"), component: Component::Stack, message });
    }
    let (api, params, patch) = dry_run(project, step).await?;
    // only whether it can be done is asked
    let answer = api.patch_metadata(&key.name, &params, &patch).await;
    // what would be made has no version; what is there has one
    let is_new = answer.as_ref().is_ok_and(|made| made.metadata.resource_version.is_none());
    if is_free && !is_new {
        look(project, stack, step).await?;
    }
    answer.map(drop).map_err(|error| fault(step, &error))
}

/// What the API server would make of a step.
pub async fn preview(project: &Project, stack: &StackName, step: &Step) -> Result<Value, Fault> {
    if step.action == Action::Create {
        not_taken(project, stack, step).await?;
    }
    let (api, params, patch) = dry_run(project, step).await?;
    let patched = api.patch(&step.object.key.name, &params, &patch).await;
    patched.map(|object| object.value).map_err(|error| fault(step, &error))
}

/// What it takes to ask the API server what it would make of a step, where nothing else speaks against it.
async fn dry_run(project: &Project, step: &Step) -> Result<(Api<Seen>, PatchParams, Patch<Value>), Fault> {
    if let Some(message) = growth::impossible(project, step).await {
        let object = step.object.key.to_string();
        return Err(Fault { transient: false, object, component: step.object.component(), message });
    }
    let body = body(project, step)?;
    let (params, patch) = match exact_service(project, step, &body) {
        Some(exact) => (merging(), Patch::Merge(exact)),
        None => (params(), Patch::Apply(body)),
    };
    Ok((project.objects(step.object.key.kind), PatchParams { dry_run: true, ..params }, patch))
}

/// Creates and changes objects. What a write returns is learned at once, and where it is not what was asked for, that is told.
pub async fn apply(hand: Hand<'_>, steps: &[Step]) -> Result<Vec<Made>, Fault> {
    let made = Mutex::new(vec![]);
    let note = |step: &Step, differently: Vec<Difference>| {
        if !differently.is_empty() {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push((step.object.key.clone(), differently));
        }
    };
    each(
        steps,
        Some(hand),
        |step| async move { apply_one(hand, step).await.map(|differently| note(step, differently)) },
    )
    .await?;
    Ok(made.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Writes one object; returns the fields that came out differently from what was asked for.
async fn apply_one(hand: Hand<'_>, step: &Step) -> Result<Vec<Difference>, Fault> {
    let Hand { project, stack, .. } = hand;
    let key = &step.object.key;
    let (kind, name) = (key.kind, key.name.as_str());
    let api = project.objects(kind);
    let mut body = body(project, step)?;
    let failed = |error: Error| fault(step, &error);
    let known = project.get(key).filter(|_| project.is_of(key, stack));
    if known.is_none() {
        not_taken(project, stack, step).await?;
        // it went since the plan was made: an empty one in its place would hide that
        if matches!(step.action, Action::Change(_)) && key.kind == Kind::PersistentVolumeClaim {
            let (object, component) = (key.to_string(), step.object.component());
            return Err(Fault { transient: true, object, component, message: "it is gone".into() });
        }
    }
    if !step.object.recipe.is_empty() {
        let written = secrets::ensure(&project.api(kind), step, &body).await.map_err(failed)?;
        project.learn_of(kind, &written);
        return Ok(vec![]);
    }
    // A Service that is first seen by PATCH is deleted and made again by a vCluster's syncer. A Pod can't be changed.
    if step.action == Action::Create && matches!(kind, Kind::Service | Kind::Pod) {
        let params = making();
        match api.create(&params, &Seen::new(body.clone())).await {
            Ok(written) => project.learn(kind, written),
            // an answer that was lost, or a picture that was old; but not another Stack that was faster
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => is_ours(&api, stack, step).await?,
            Err(error) => return Err(failed(error)),
        }
        if kind == Kind::Pod {
            return Ok(vec![]);
        }
    }
    // what was seen is changed, and not what somebody has put in its place
    if let Some(known) = known {
        body["metadata"]["uid"] = plan::uid(&known).into();
    }
    if let Some(exact) = exact_service(project, step, &body) {
        api.patch(name, &merging(), &Patch::Merge(&exact)).await.map_err(failed)?;
    }
    let written = api.patch(name, &params(), &Patch::Apply(&body)).await.map_err(failed)?;
    let differently = plan::differences(&step.object.body, &written.value);
    project.learn(kind, written);
    Ok(differently)
}

/// Deletes objects without waiting for that: of the Stack's own only, each only with the uid that the picture has, and data only
/// as it was when that was decided.
pub async fn delete(hand: Hand<'_>, keys: &[ObjectKey]) -> Result<(), Fault> {
    for some in keys.chunks(PARALLEL) {
        let proof = hand.prove().await?;
        let deleted = proof.while_sure(join_all(some.iter().map(|key| delete_one(hand, key)))).await;
        deleted.into_iter().collect::<Result<(), Fault>>()?;
    }
    Ok(())
}

async fn delete_one(hand: Hand<'_>, key: &ObjectKey) -> Result<(), Fault> {
    let Some(seen) = hand.project.get(key) else { return Ok(()) };
    if plan::stack_of(&seen) != Some(hand.stack.as_str()) {
        return Ok(());
    }
    let uid = plan::uid(&seen);
    let version = seen["metadata"]["resourceVersion"].as_str().filter(|_| holds_data(key, &seen));
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: version.map(str::to_owned) };
    // a job is there until its pods have ended
    let how = if key.kind == Kind::Job { DeleteParams::foreground() } else { DeleteParams::background() };
    let params = DeleteParams { preconditions: Some(preconditions), ..how };
    let api = hand.project.api(key.kind);
    match api.delete(&key.name, &params).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        Err(Error::Api(status)) if status.code == 409 => {
            let found = hand.project.objects(key.kind).get_opt(&key.name).await;
            let found = found.map_err(|error| describe_own(&error, key.to_string()))?;
            // another object by this name is not ours to delete
            let Some(found) = found.filter(|found| plan::uid(&found.value) == uid) else { return Ok(()) };
            hand.project.correct(key.kind, found);
            Err(describe_own(&Error::Api(status), key.to_string()))
        }
        Err(error) => Err(describe_own(&error, key.to_string())),
    }
}

/// Runs one request for each step, some at a time, each time after a hand that writes was proven; of several failures the one
/// that trying again won't cure is told.
async fn each<'a, Fut>(
    steps: &'a [Step],
    hand: Option<Hand<'_>>,
    request: impl Fn(&'a Step) -> Fut,
) -> Result<(), Fault>
where
    Fut: Future<Output = Result<(), Fault>>,
{
    let mut faults = vec![];
    for some in steps.chunks(PARALLEL) {
        let requests = join_all(some.iter().map(&request));
        let answers = match hand {
            None => requests.await,
            Some(hand) => match hand.prove().await {
                Ok(proof) => proof.while_sure(requests).await,
                Err(fault) => {
                    faults.push(fault);
                    break;
                }
            },
        };
        faults.extend(answers.into_iter().filter_map(Result::err));
    }
    faults.sort_by_key(|fault| fault.transient);
    faults.into_iter().next().map_or(Ok(()), Err)
}

fn params() -> PatchParams {
    PatchParams {
        force: true,
        field_manager: Some(MANAGER.into()),
        field_validation: Some(ValidationDirective::Strict),
        dry_run: false,
    }
}

/// The object with its namespace. This is the final gate: whatever a renderer might do wrong ends here.
fn body(project: &Project, step: &Step) -> Result<Value, Fault> {
    let mut body = step.object.body.clone();
    let key = &step.object.key;
    let labels = &body["metadata"]["labels"];
    let ours = labels[MANAGED_BY.0] == MANAGED_BY.1 && labels[STACK_LABEL].is_string();
    let itself = body["kind"] == key.kind.to_string() && body["metadata"]["name"] == key.name;
    if !ours || !itself || body["metadata"].get("namespace").is_some() {
        let message = "not an object that a Stack may write".to_owned();
        return Err(Fault { transient: false, object: key.to_string(), component: Component::Stack, message });
    }
    body["metadata"]["namespace"] = json!(project.namespace);
    Ok(body)
}

/// Sees that what is to be made is nobody else's: not of another Stack that is about to make it, and not in the cluster.
async fn not_taken(project: &Project, stack: &StackName, step: &Step) -> Result<(), Fault> {
    match claim(project, stack, step)? {
        Claim::Free => look(project, stack, step).await,
        _ => Ok(()),
    }
}

/// Claims the name of what is to be made, unless another Stack here has it.
fn claim(project: &Project, stack: &StackName, step: &Step) -> Result<Claim, Fault> {
    match project.claim(stack, &step.object.key) {
        Claim::Taken(other) => Err(taken(step, &format!("Stack {other}"))),
        claim => Ok(claim),
    }
}

/// Sees that what was claimed is nobody else's in the cluster.
async fn look(project: &Project, stack: &StackName, step: &Step) -> Result<(), Fault> {
    let looked = is_ours(&project.objects(step.object.key.kind), stack, step).await;
    looked.inspect_err(|_| project.unclaim(&step.object.key))
}

/// Sees that an object, if it exists, belongs to the Stack.
async fn is_ours(api: &Api<Seen>, stack: &StackName, step: &Step) -> Result<(), Fault> {
    let found = api.get_metadata_opt(&step.object.key.name).await.map_err(|error| fault(step, &error))?;
    let Some(found) = found else { return Ok(()) };
    let label = |name: &str| found.labels().get(name).map(String::as_str);
    if label(MANAGED_BY.0) != Some(MANAGED_BY.1) {
        return Err(taken(step, "somebody else"));
    }
    match label(STACK_LABEL) {
        Some(owner) if owner == stack.as_str() => Ok(()),
        owner => Err(taken(step, &owner.map_or("somebody else".into(), |owner| format!("Stack {owner}")))),
    }
}

fn taken(step: &Step, by: &str) -> Fault {
    let way_out = if step.object.holds_data() {
        "rename it in hks.yaml, or give it back its labels if it is the Stack's; it may hold data"
    } else {
        "rename it in hks.yaml, give it back its labels if it is the Stack's, or delete it"
    };
    let message = format!("it exists already and does not belong to this Stack but to {by}; {way_out}");
    let object = step.object.key.to_string();
    Fault { transient: false, object, component: step.object.component(), message }
}

/// Where a Service has more ports or a wider selector than it is to have: a merge patch that leaves exactly these. It comes before
/// the rest, for the old port and the new one may not have the same name.
fn exact_service(project: &Project, step: &Step, wanted: &Value) -> Option<Value> {
    let live = project.get(&step.object.key).filter(|_| step.strip)?;
    let mut selector = serde_json::Map::new();
    for key in live["spec"]["selector"].as_object().into_iter().flat_map(|map| map.keys()) {
        selector.insert(key.clone(), Value::Null);
    }
    selector.extend(wanted["spec"]["selector"].as_object().cloned().unwrap_or_default());
    let uid = plan::uid(&live);
    Some(json!({ "metadata": { "uid": uid }, "spec": { "ports": wanted["spec"]["ports"], "selector": selector } }))
}

fn fault(step: &Step, error: &Error) -> Fault {
    let mut fault = describe(error, step.object.key.to_string(), step.object.component());
    let unknown =
        matches!(error, Error::Api(status) if status.code == 404 && !status.message.starts_with("namespaces"));
    if unknown && step.object.key.kind == Kind::HTTPRoute {
        fault.message =
            "the cluster has no Gateway API; install its CRDs (in a vCluster: sync.toHost.gatewayApi.httpRoutes), \
             or take `gateway` out of the configuration"
                .into();
    }
    // it was made by something else, or an hks that drew it otherwise
    if step.object.key.kind == Kind::StatefulSet
        && fault.message.contains("updates to statefulset spec for fields other than")
    {
        fault.message = format!(
            "what it selects or is made of can't be changed; let hks make it anew around its volume, while its pod runs on: kubectl \
             delete statefulset {} --cascade=orphan",
            step.object.key.name
        );
    }
    fault
}

//! Writing to the API server: dry run, create, server-side apply, delete. Every write is gated: an object of a Stack goes
//! into the Stack's project, carries the Stack's label, and is of a kind that hks knows.

use crate::ident::{Kind, ObjectKey, StackName};
use crate::machine::{Fault, Made};
use crate::manifest::{MANAGED_BY, STACK_LABEL};
use crate::plan::{self, Action, Difference, Step};
use crate::rollout;
use crate::shell::project::Project;
use crate::shell::secrets;
use futures::future::join_all;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, ValidationDirective};
use kube::{Error, ResourceExt};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// The field manager of all that hks writes.
pub const MANAGER: &str = "hks";
/// Requests of one Stack at the same time.
const PARALLEL: usize = 8;

/// Dry-runs the steps, and sees that nothing that is to be created exists unmanaged.
pub async fn check(project: &Project, stack: &StackName, steps: &[Step]) -> Result<(), Fault> {
    each(steps, |step| check_one(project, stack, step)).await
}

async fn check_one(project: &Project, stack: &StackName, step: &Step) -> Result<(), Fault> {
    // a Pod is only created if its image is new, and a dry run would say nothing about the pull
    if step.object.key.kind == Kind::Pod {
        return Ok(());
    }
    preview(project, stack, step).await.map(drop)
}

/// What the API server would make of a step.
pub async fn preview(project: &Project, stack: &StackName, step: &Step) -> Result<Value, Fault> {
    let api = project.api(step.object.key.kind);
    if step.action == Action::Create {
        not_taken(&api, stack, step).await?;
    }
    let params = PatchParams { dry_run: true, ..params() };
    let patched = api.patch(&step.object.key.name, &params, &Patch::Apply(&body(project, step)?)).await;
    let object = patched.map_err(|error| fault(step, &error))?;
    serde_json::to_value(object).map_err(|error| fault(step, &Error::SerdeError(error)))
}

/// Creates and changes objects. What a write returns is learned at once, and where it is not what was asked for, that is told.
pub async fn apply(project: &Project, steps: &[Step]) -> Result<Vec<Made>, Fault> {
    let made = Mutex::new(vec![]);
    each(steps, async |step| {
        let differently = apply_one(project, step).await?;
        if !differently.is_empty() {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push((step.object.key.clone(), differently));
        }
        Ok(())
    })
    .await?;
    Ok(made.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Writes one object; returns the fields that came out differently from what was asked for.
async fn apply_one(project: &Project, step: &Step) -> Result<Vec<Difference>, Fault> {
    let (kind, name) = (step.object.key.kind, step.object.key.name.as_str());
    let api = project.api(kind);
    let body = body(project, step)?;
    let failed = |error: Error| fault(step, &error);
    if !step.object.recipe.is_empty() {
        let written = secrets::ensure(&api, step, &body).await.map_err(failed)?;
        project.learn(kind, written);
        return Ok(vec![]);
    }
    // A Service that is first seen by PATCH is deleted and made again by a vCluster's syncer. A Pod can't be changed.
    if step.action == Action::Create && matches!(kind, Kind::Service | Kind::Pod) {
        match api
            .create(&PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }, &object(&body)?)
            .await
        {
            Ok(written) => project.learn(kind, written),
            // an answer that was lost, or a picture that was old
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(failed(error)),
        }
        if kind == Kind::Pod {
            return Ok(vec![]);
        }
    }
    let mut written = api.patch(name, &params(), &Patch::Apply(&body)).await.map_err(failed)?;
    if step.strip {
        let exact = exact_service(&body, &written);
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        written = api.patch(name, &params, &Patch::Merge(&exact)).await.map_err(failed)?;
    }
    let came_out = serde_json::to_value(&written).map_err(|error| failed(Error::SerdeError(error)))?;
    project.learn(kind, written);
    Ok(plan::differences(&step.object.body, &came_out))
}

/// Deletes objects in the background, each only with the uid that the picture has.
pub async fn delete(project: &Project, keys: &[ObjectKey]) -> Result<(), Fault> {
    for some in keys.chunks(PARALLEL) {
        let deleted = join_all(some.iter().map(|key| delete_one(project, key))).await;
        deleted.into_iter().collect::<Result<(), Fault>>()?;
    }
    Ok(())
}

async fn delete_one(project: &Project, key: &ObjectKey) -> Result<(), Fault> {
    let Some(seen) = project.get(key) else { return Ok(()) };
    let uid = Some(crate::plan::uid(&seen).to_owned());
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::background() };
    match project.api(key.kind).delete(&key.name, &params).await {
        Ok(_) => Ok(()),
        // gone, or another object by this name that is not ours to delete
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(describe_own(&error, key.to_string())),
    }
}

/// Runs one request for each step; of several failures the one that trying again won't cure is told.
async fn each<'a, Fut>(steps: &'a [Step], request: impl Fn(&'a Step) -> Fut) -> Result<(), Fault>
where
    Fut: Future<Output = Result<(), Fault>>,
{
    let mut faults = vec![];
    for some in steps.chunks(PARALLEL) {
        faults.extend(join_all(some.iter().map(&request)).await.into_iter().filter_map(Result::err));
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
        return Err(Fault { transient: false, object: key.to_string(), component: (String::new(), false), message });
    }
    body["metadata"]["namespace"] = json!(project.namespace);
    Ok(body)
}

fn object(body: &Value) -> Result<DynamicObject, Fault> {
    serde_json::from_value(body.clone()).map_err(|error| Fault {
        transient: false,
        object: body["metadata"]["name"].to_string(),
        component: (String::new(), false),
        message: error.to_string(),
    })
}

async fn not_taken(api: &Api<DynamicObject>, stack: &StackName, step: &Step) -> Result<(), Fault> {
    let found = api.get_metadata_opt(&step.object.key.name).await.map_err(|error| fault(step, &error))?;
    let Some(found) = found else { return Ok(()) };
    let ours = found.labels().get(STACK_LABEL).map(String::as_str) == Some(stack.as_str());
    if ours && found.labels().get(MANAGED_BY.0).map(String::as_str) == Some(MANAGED_BY.1) {
        return Ok(());
    }
    let object = step.object.key.to_string();
    let message = "it exists already and does not belong to this Stack; rename it in hks.yaml or delete it".to_owned();
    Err(Fault { transient: false, object, component: rollout::component(&step.object.body), message })
}

/// A merge patch that leaves exactly the wanted ports and selector.
fn exact_service(wanted: &Value, live: &DynamicObject) -> Value {
    let mut selector = serde_json::Map::new();
    for key in live.data["spec"]["selector"].as_object().into_iter().flat_map(|map| map.keys()) {
        selector.insert(key.clone(), wanted["spec"]["selector"][key.as_str()].clone());
    }
    json!({ "spec": { "ports": wanted["spec"]["ports"], "selector": selector } })
}

fn fault(step: &Step, error: &Error) -> Fault {
    let mut fault = describe(error, step.object.key.to_string(), rollout::component(&step.object.body));
    let unknown =
        matches!(error, Error::Api(status) if status.code == 404 && !status.message.starts_with("namespaces"));
    if unknown && step.object.key.kind == Kind::HTTPRoute {
        fault.message =
            "the cluster has no Gateway API; install its CRDs (in a vCluster: sync.toHost.gatewayApi.httpRoutes), \
             or take `gateway` out of the configuration"
                .into();
    }
    fault
}

/// What an error about an object means that belongs to no app or database.
pub fn describe_own(error: &Error, object: String) -> Fault {
    describe(error, object, (String::new(), false))
}

/// What an error means. A refusal is final; anything that may pass by itself is not.
fn describe(error: &Error, object: String, component: (String, bool)) -> Fault {
    let (transient, message) = match error {
        Error::Api(status) => {
            let passing = matches!(status.code, 401 | 408 | 429 | 500 | 502 | 503 | 504)
                // an object of the same name is still being deleted
                || (status.code == 409 && status.message.contains("being deleted"));
            (passing, status.message.clone())
        }
        Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) | Error::HttpError(_) => {
            (true, format!("the cluster does not answer: {}", root(error)))
        }
        other => (false, other.to_string()),
    };
    Fault { transient, object, component, message }
}

/// The innermost error: the outer ones only say that something failed.
pub fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

//! What all commands that look at a cluster share, and `hks diff`.

use super::args::{ClusterArgs, FileClusterArgs};
use super::local::{self, Checked, Chosen};
use super::output::{BAD, BUSY, GOOD, Out, PLAIN, STRONG, harmless};
use super::{Ended, INVALID};
use crate::ident::{ObjectKey, StackName};
use crate::manifest::{HASH_ANNOTATION, MANAGED_BY, STACK_LABEL};
use crate::plan::{self, Action, Plan, Step};
use crate::platform::Platform;
use crate::record::Record;
use crate::report::AddedView;
use crate::shell::cluster::apply;
use crate::shell::cluster::connection::Place;
use crate::shell::cluster::contact;
use crate::shell::cluster::failure::{Explain as _, Failure, FailureKind};
use crate::shell::cluster::pages;
use crate::shell::cluster::project::{self, Project};
use crate::shell::cluster::published;
use crate::shell::cluster::record;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use similar::TextDiff;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Lines around a change.
const CONTEXT: usize = 3;

impl ClusterArgs {
    pub(super) fn namespace(&self) -> &str {
        &self.place.namespace
    }

    /// Which project of which cluster, with a person's own way in.
    pub(super) fn place(&self) -> Place {
        Place::new(&self.place.target(), &self.place.namespace, None).by_a_person()
    }

    /// Connects to the project.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        contact::reach(&self.place(), self.timeout).await
    }

    /// Connects to the project and watches it, until the returned set is dropped.
    pub(super) async fn watch(&self) -> Result<(Arc<Project>, JoinSet<()>), Failure> {
        contact::watch(&self.place(), self.timeout).await
    }
}

/// A project that is only asked and never watched.
pub(super) fn unwatched(client: Client, namespace: &str) -> Arc<Project> {
    Project::new(client, namespace, Arc::default())
}

/// The Stacks of a project, by their records.
pub(super) async fn stacks(client: &Client, namespace: &str) -> Result<Vec<StackName>, Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={},{STACK_LABEL}", MANAGED_BY.0, MANAGED_BY.1);
    let found = pages::all_metadata(&maps, ListParams::default().labels(&selector)).await;
    let found = found.explain(|| format!("failed to list Stacks of namespace {namespace}"))?;
    let stack = |map: &kube::core::PartialObjectMeta<ConfigMap>| {
        let stack = StackName::new(map.labels().get(STACK_LABEL)?.as_str())?;
        (map.name_any() == record::name(&stack)).then_some(stack)
    };
    let mut stacks: Vec<_> = found.iter().filter_map(stack).collect();
    stacks.sort();
    Ok(stacks)
}

/// The Stacks of a project, by their records and by the workloads and volumes that are there, and which of them has a record:
/// one whose record is lost is not "never deployed".
pub(super) async fn known(project: &Project) -> Result<BTreeMap<StackName, bool>, Failure> {
    let recorded = stacks(&project.client, &project.namespace).await?;
    let mut known: BTreeMap<_, _> = project.stacks().into_iter().map(|stack| (stack, false)).collect();
    known.extend(recorded.into_iter().map(|stack| (stack, true)));
    Ok(known)
}

/// The Stack of this name, by its record.
///
/// # Errors
/// With the names that there are.
pub(super) async fn stack(name: &str, client: &Client, namespace: &str) -> Result<StackName, Failure> {
    let found = named(name, &stacks(client, namespace).await?, namespace);
    match StackName::new(name) {
        Some(stack) if found.is_err() && is_there(client, namespace, &stack).await => Err(has_no_record(&stack)),
        _ => found,
    }
}

/// Whether there is a workload or a volume of a Stack.
async fn is_there(client: &Client, namespace: &str, stack: &StackName) -> bool {
    let selector = format!("{}={},{STACK_LABEL}={stack}", MANAGED_BY.0, MANAGED_BY.1);
    let params = ListParams::default().labels(&selector).limit(1);
    for kind in project::TELLING {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &project::resource(kind));
        if api.list_metadata(&params).await.is_ok_and(|found| !found.items.is_empty()) {
            return true;
        }
    }
    false
}

/// Nobody knows how a Stack that is there came to be.
pub(super) fn has_no_record(stack: &StackName) -> Failure {
    Failure::last(format!(
        "its record ConfigMap/{} is gone, though objects of it are there; a daemon that deploys here writes it again",
        record::name(stack)
    ))
}

/// The Stack of this name among all that there are.
///
/// # Errors
/// With the names that there are.
pub(super) fn named(name: &str, all: &[StackName], namespace: &str) -> Result<StackName, Failure> {
    if let Some(found) = all.iter().find(|stack| stack.as_str() == name) {
        return Ok(found.clone());
    }
    if all.is_empty() {
        return Err(Failure::last(format!(
            "failed to find Stack {name}: namespace {namespace} has none; is -n right?"
        )));
    }
    let names: Vec<_> = all.iter().map(StackName::as_str).collect();
    Err(Failure::last(format!("failed to find Stack {name} in namespace {namespace}; there are: {}", names.join(", "))))
}

/// The record of a Stack.
pub(super) async fn recorded(project: &Project, stack: &StackName) -> Result<Record, Failure> {
    let unreadable = |why| Failure::last(format!("failed to read the record ConfigMap/{}: {why}", record::name(stack)));
    record::load(project, stack).await?.map_err(unreadable)
}

/// A file as the project's daemon would deploy it, with what was given on the command line in place of its settings.
pub(super) async fn chosen(
    args: &FileClusterArgs,
    checked: Checked,
    client: &Client,
    out: Out,
) -> Result<(Chosen, Platform), Failure> {
    let namespace = args.cluster.namespace();
    let published = published::load(client, namespace, Some(&checked.stack)).await?;
    let branch = published.as_ref().map(|of| of.branch.clone()).filter(|branch| !branch.is_empty());
    let platform = args.platform.over(published.map(|of| of.platform).unwrap_or_default())?;
    Ok((checked.choose(&args.file, namespace, branch.as_deref(), out)?, platform))
}

/// Shows what would change.
pub(super) async fn diff(args: &FileClusterArgs, out: Out) -> Ended {
    let namespace = args.cluster.namespace();
    let Some(checked) = local::check(&args.file, out)? else { return Ok(ExitCode::from(INVALID)) };
    let (project, _watches) = args.cluster.watch().await?;
    let (chosen, platform) = chosen(args, checked, &project.client, out).await?;
    let (_, manifest) = chosen.render(&platform, namespace)?;
    let known = recorded(&project, &manifest.stack).await?;
    let live = project.picture(&manifest.stack).map_err(Failure::last)?;
    let plan = plan::compare(&manifest, &live, &known.inventory);
    for refusal in &plan.refusals {
        out.say(&format!("{BAD}impossible:{BAD:#} {}: {}", refusal.key, refusal.message));
    }
    for needed in &plan.missing {
        let (stack, secret, key) = (&manifest.stack, &needed.secret, &needed.key);
        out.say(&format!("{BAD}missing:{BAD:#} {key} of secret {secret}; run `hks secret set {stack} {secret} {key}`"));
    }
    let mut changes = vec![];
    let pod = crate::ident::Kind::Pod;
    for step in plan.steps.iter().filter(|step| step.action != Action::Keep && step.object.key.kind != pod) {
        changes.push((step, hunk(&project, &manifest.stack, step).await?));
    }
    let added: Vec<_> = plan::added(&manifest, &live).iter().map(AddedView::of).collect();
    if out.json {
        out.data(&as_data(&plan, &changes, &added))?;
    } else {
        print(&plan, &changes, out);
        for added in &added {
            out.print(&format!("  {}", harmless(&added.sentence())));
        }
    }
    if plan.is_empty() && plan.refusals.is_empty() && plan.missing.is_empty() {
        out.say("no differences");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

fn as_data(plan: &Plan, changes: &[(&Step, String)], added: &[AddedView]) -> Value {
    let objects = changes.iter().map(|(step, text)| {
        let action = if step.action == Action::Create { "create" } else { "change" };
        json!({ "object": step.object.key.to_string(), "action": action, "diff": text, "irreversible": step.irreversible })
    });
    let names = |keys: &[ObjectKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({ "objects": objects.collect::<Vec<_>>(), "delete": names(&[&plan.prune[..], &plan.goes].concat()), "retain": names(&plan.retain), "added": added })
}

fn print(plan: &Plan, changes: &[(&Step, String)], out: Out) {
    for (step, text) in changes {
        out.print(&format!("{STRONG}{}{STRONG:#}", step.object.key));
        for line in text.lines() {
            let style = match line.as_bytes().first() {
                Some(b'+') => GOOD,
                Some(b'-') => BAD,
                _ => PLAIN,
            };
            out.print(&format!("  {style}{line}{style:#}"));
        }
        if let Some(warning) = &step.irreversible {
            out.print(&format!("  {BUSY}! {warning}{BUSY:#}"));
        }
    }
    for key in plan.prune.iter().chain(&plan.goes) {
        out.print(&format!("{BAD}- {key} is deleted{BAD:#}"));
    }
    for key in &plan.retain {
        out.print(&format!("  {key} stays: it holds data; delete it yourself when you don't need it"));
    }
}

/// The difference that one step makes, as the API server would carry it out. Values of Secrets are on neither side.
async fn hunk(project: &Project, stack: &StackName, step: &Step) -> Result<String, Failure> {
    let live = project.get(&step.object.key);
    let after = if step.object.recipe.is_empty() {
        apply::preview(project, stack, step).await?
    } else {
        let mut body = live.as_deref().cloned().unwrap_or_else(|| step.object.body.clone());
        for key in step.object.recipe.keys() {
            if body["data"].get(key.as_str()).is_none() {
                body["data"][key] = json!("(generated)");
            }
        }
        body
    };
    // of a new object only what was asked for is interesting
    let shown = if live.is_none() && step.object.recipe.is_empty() { step.object.body.clone() } else { after };
    let before = live.map(|live| yaml(&live)).transpose()?.unwrap_or_default();
    let after = yaml(&shown)?;
    let diff = TextDiff::from_lines(&before, &after);
    Ok(diff.unified_diff().context_radius(CONTEXT).to_string())
}

/// YAML of an object without what the API server and hks keep for themselves.
fn yaml(object: &Value) -> Result<String, Failure> {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(HASH_ANNOTATION);
    }
    serde_saphyr::to_string(&object).map_err(|error| Failure::new(FailureKind::Final, error.to_string()))
}

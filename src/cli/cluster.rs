//! Commands that look at a cluster: diff, status, history, rollback.

use super::output::{BAD, BUSY, GOOD, Out, STRONG};
use super::{ClusterArgs, FileClusterArgs, INVALID, local};
use crate::ident::{Kind, StackName};
use crate::manifest::{Context, HASH_ANNOTATION, MANAGED_BY, STACK_LABEL};
use crate::plan::{self, Action, Step};
use crate::platform::Platform;
use crate::record::{Outcome, Record};
use crate::shell::connection::Place;
use crate::shell::project::Project;
use crate::shell::{apply, clock, record};
use anstyle::Style;
use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use similar::TextDiff;
use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;

/// Lines around a change.
const CONTEXT: usize = 3;

impl ClusterArgs {
    pub(super) async fn connect(&self) -> Result<Client> {
        Place::new(&self.target(), &self.namespace, None).connect().await
    }
}

/// Shows what would change.
pub(super) async fn diff(args: &FileClusterArgs, out: Out) -> Result<ExitCode> {
    let platform = args.platform.over(Platform::default())?;
    let context = Context::new(&platform, &args.cluster.namespace, "", args.environment.as_deref());
    let Some((_, manifest)) = local::manifest(&args.path, &context, out)? else { return Ok(ExitCode::from(INVALID)) };
    let (project, _watches) = open(&args.cluster).await?;
    let known = record::load(&project, &manifest.stack).await.map_err(|fault| anyhow::anyhow!(fault.message))?;
    project.ready().await;
    let plan = plan::compare(&manifest, &project.live(&manifest.stack), &known.inventory);
    for refusal in &plan.refusals {
        out.say(&format!("{BAD}impossible:{BAD:#} {}: {}", refusal.key, refusal.message));
    }
    for needed in &plan.missing {
        let (stack, secret, key) = (&manifest.stack, &needed.secret, &needed.key);
        out.say(&format!("{BAD}missing:{BAD:#} {key} of secret {secret}; run `hks secret set {stack} {secret} {key}`"));
    }
    let mut changes = vec![];
    for step in plan.steps.iter().filter(|step| step.action != Action::Keep && step.object.key.kind != Kind::Pod) {
        changes.push((step, hunk(&project, &manifest.stack, step).await?));
    }
    if out.json {
        let objects = changes.iter().map(|(step, text)| {
            let action = if step.action == Action::Create { "create" } else { "change" };
            json!({ "object": step.object.key.to_string(), "action": action, "diff": text, "irreversible": step.irreversible })
        });
        let names = |keys: &[crate::ident::ObjectKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let result = json!({
            "objects": objects.collect::<Vec<_>>(), "delete": names(&plan.prune), "retain": names(&plan.retain),
        });
        out.print(&serde_json::to_string_pretty(&result)?);
    } else {
        for (step, text) in &changes {
            out.print(&format!("{STRONG}{}{STRONG:#}", step.object.key));
            for line in text.lines() {
                let style = match line.as_bytes().first() {
                    Some(b'+') => GOOD,
                    Some(b'-') => BAD,
                    _ => Style::new(),
                };
                out.print(&format!("  {style}{line}{style:#}"));
            }
            if let Some(warning) = &step.irreversible {
                out.print(&format!("  {BUSY}! {warning}{BUSY:#}"));
            }
        }
        for key in &plan.prune {
            out.print(&format!("{BAD}- {key} is deleted{BAD:#}"));
        }
        for key in &plan.retain {
            out.print(&format!("  {key} stays: it holds data; delete it yourself when you don't need it"));
        }
    }
    if plan.is_empty() && plan.refusals.is_empty() && plan.missing.is_empty() {
        out.say("no differences");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

/// The difference that one step makes, as the API server would carry it out. Values of Secrets are on neither side.
async fn hunk(project: &Project, stack: &StackName, step: &Step) -> Result<String> {
    let live = project.get(&step.object.key);
    let after = if step.object.recipe.is_empty() {
        apply::preview(project, stack, step)
            .await
            .map_err(|fault| anyhow::anyhow!("{}: {}", fault.object, fault.message))?
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
fn yaml(object: &Value) -> Result<String> {
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
    Ok(serde_saphyr::to_string(&object)?)
}

async fn records(client: &Client, namespace: &str) -> Result<Vec<(String, Record)>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={},{STACK_LABEL}", MANAGED_BY.0, MANAGED_BY.1);
    let maps = maps.list(&ListParams::default().labels(&selector)).await.context("failed to list Stacks")?;
    let read = |map: ConfigMap| {
        let text = map.data?.remove("record.json")?;
        let stack = map.metadata.labels?.remove(STACK_LABEL)?;
        serde_json::from_str(&text).ok().map(|record| (stack, record))
    };
    Ok(maps.into_iter().filter_map(read).collect())
}

async fn one(client: &Client, stack: &str, namespace: &str) -> Result<Record> {
    let all = records(client, namespace).await?;
    let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
    match all.into_iter().find(|(name, _)| name == stack) {
        Some((_, record)) => Ok(record),
        None if names.is_empty() => bail!("failed to find Stack {stack}: namespace {namespace} has none; is -n right?"),
        None => bail!("failed to find Stack {stack} in namespace {namespace}; there are: {}", names.join(", ")),
    }
}

fn state(record: &Record) -> (&'static str, Style) {
    match (&record.attempt, &record.held) {
        (Some(_), _) => ("deploying", BUSY),
        (None, Some(held)) if !held.restored => ("rolling back", BUSY),
        (None, Some(_)) => ("held", BAD),
        (None, None) if record.settled.is_some() => ("settled", GOOD),
        (None, None) => ("fresh", Style::new()),
    }
}

/// Shows all Stacks or one.
pub(super) async fn status(stack: Option<&str>, cluster: &ClusterArgs, out: Out) -> Result<ExitCode> {
    let client = cluster.connect().await?;
    if let Some(stack) = stack {
        return status_of(stack, &client, &cluster.namespace, out).await;
    }
    let all = records(&client, &cluster.namespace).await?;
    if out.json {
        let list: Vec<_> = all
            .iter()
            .map(|(name, record)| json!({ "name": name, "state": state(record).0, "record": record }))
            .collect();
        out.print(&serde_json::to_string_pretty(&list)?);
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        out.say(&format!("no Stacks in namespace {}", cluster.namespace));
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = all.iter().map(|(name, record)| row(name, record)).collect();
    out.table(&["STACK", "STATE", "REVISION", "LAST DEPLOYMENT"], &rows);
    Ok(ExitCode::SUCCESS)
}

fn row(name: &str, record: &Record) -> Vec<(String, Style)> {
    let plain = Style::new();
    let (word, style) = state(record);
    let revision = record.settled.as_ref().map_or("-", |release| release.revision.short());
    let last = record.history.last().map(|deployment| deployment.description.clone()).unwrap_or_default();
    vec![(name.into(), STRONG), (word.into(), style), (revision.into(), plain), (last, plain)]
}

async fn status_of(stack: &str, client: &Client, namespace: &str, out: Out) -> Result<ExitCode> {
    let record = one(client, stack, namespace).await?;
    let selector = ListParams::default().labels(&format!("{STACK_LABEL}={stack}"));
    let workloads = Api::<Workload>::namespaced(client.clone(), namespace).list(&selector).await?.items;
    let ingresses = Api::<Ingress>::namespaced(client.clone(), namespace).list(&selector).await?.items;
    let hosts = ingresses.into_iter().filter_map(|ingress| ingress.spec?.rules?.into_iter().next()?.host);
    let hosts: Vec<_> = hosts.collect();
    if out.json {
        let apps: Vec<_> =
            workloads.iter().map(|app| json!({ "name": app.metadata.name, "status": app.status })).collect();
        let result =
            json!({ "name": stack, "state": state(&record).0, "hosts": hosts, "apps": apps, "record": record });
        out.print(&serde_json::to_string_pretty(&result)?);
        return Ok(ExitCode::SUCCESS);
    }
    let (word, style) = state(&record);
    out.print(&format!("{STRONG}{stack}{STRONG:#}  {style}{word}{style:#}"));
    if let Some(held) = &record.held {
        out.print(&format!("  {BAD}{} failed:{BAD:#} {}", held.revision.short(), held.cause));
    }
    if let Some(release) = &record.settled {
        out.print(&format!("  revision {} since {}", release.revision.short(), ago(release.at)));
    }
    for host in hosts {
        out.print(&format!("  host {host}"));
    }
    let rows: Vec<_> = workloads.iter().map(app_row).collect();
    if !rows.is_empty() {
        out.print("");
        out.table(&["APP", "READY", "IMAGE"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn app_row(app: &Workload) -> Vec<(String, Style)> {
    let wanted = app.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = app.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let pod = app.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()).and_then(|container| container.image.clone());
    let style = if ready >= wanted { GOOD } else { BUSY };
    let name = app.metadata.name.clone().unwrap_or_default();
    vec![(name, STRONG), (format!("{ready}/{wanted}"), style), (image.unwrap_or_default(), Style::new())]
}

fn ago(at: jiff::Timestamp) -> String {
    let seconds = u64::try_from(clock::now().duration_since(at).as_secs()).unwrap_or(0);
    format!("{} ago", humantime::format_duration(std::time::Duration::from_secs(seconds)))
}

/// Shows the last deployments.
pub(super) async fn history(stack: &str, cluster: &ClusterArgs, out: Out) -> Result<ExitCode> {
    let client = cluster.connect().await?;
    let record = one(&client, stack, &cluster.namespace).await?;
    if out.json {
        out.print(&serde_json::to_string_pretty(&record.history.iter().rev().collect::<Vec<_>>())?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = record.history.iter().rev().map(|deployment| {
        let style = if deployment.outcome == Outcome::Succeeded { GOOD } else { BAD };
        let plain = Style::new();
        vec![
            (deployment.revision.short().to_owned(), STRONG),
            (ago(deployment.ended), plain),
            (deployment.outcome.label().to_owned(), style),
            (deployment.description.clone(), plain),
        ]
    });
    out.table(&["REVISION", "WHEN", "OUTCOME", "DESCRIPTION"], &rows.collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}

/// Asks the daemon for an older release.
pub(super) async fn rollback(
    stack: &str,
    to: Option<String>,
    yes: bool,
    cluster: &ClusterArgs,
    out: Out,
) -> Result<ExitCode> {
    let client = cluster.connect().await?;
    let record = one(&client, stack, &cluster.namespace).await?;
    let current = record.settled.as_ref().map(|release| &release.revision);
    let worked = record.history.iter().rev().filter(|deployment| deployment.outcome == Outcome::Succeeded);
    let older = || worked.map(|d| &d.revision).find(|revision| Some(*revision) != current).map(ToString::to_string);
    let Some(to) = to.or_else(older) else {
        bail!("failed to roll back: no older deployment worked; name one with --to")
    };
    if !yes && !confirmed(stack, &to, out)? {
        out.say("nothing was done");
        return Ok(ExitCode::FAILURE);
    }
    let stack = StackName::new(stack).context("failed to roll back: not a name of a Stack")?;
    let maps: Api<ConfigMap> = Api::namespaced(client, &cluster.namespace);
    let wish =
        json!({ "metadata": { "annotations": { record::ROLLBACK_ANNOTATION: format!("{to} cli {}", clock::now()) } } });
    maps.patch(&record::name(&stack), &PatchParams::default(), &Patch::Merge(&wish))
        .await
        .context("failed to ask for it")?;
    out.say(&format!("asked the daemon to put {to} back; watch it with: hks status {stack} -n {}", cluster.namespace));
    Ok(ExitCode::SUCCESS)
}

fn confirmed(stack: &str, to: &str, out: Out) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("failed to ask: standard input is no terminal; add --yes");
    }
    out.say(&format!("put {stack} back to {to}? The data of its databases stays as it is. [y/N]"));
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Connects to a project and begins to watch it, until the returned set is dropped.
pub(super) async fn open(cluster: &ClusterArgs) -> Result<(Arc<Project>, tokio::task::JoinSet<()>)> {
    Ok(Project::open(cluster.connect().await?, &cluster.namespace))
}

//! `hks logs` and `hks restart`: one app of a Stack, found by its name.

use super::args::ClusterArgs;
use super::output::{BUSY, GOOD, Out, harmless};
use super::{Ended, INTERRUPTED, UNHEALTHY};
use crate::ident::{Revision, StackName};
use crate::manifest::{APP_LABEL, CACHE_LABEL, DATABASE_LABEL, JOB_LABEL, MANAGED_BY, STACK_LABEL};
use crate::rollout::Cause;
use crate::shell::clock;
use crate::shell::cluster::failure::{Explain as _, Failure, FailureKind};
use crate::shell::cluster::logs;
use crate::shell::cluster::{pages, record};
use futures::io::AsyncBufReadExt as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

/// Labels with the name of what a pod belongs to.
const COMPONENTS: [&str; 4] = [APP_LABEL, DATABASE_LABEL, CACHE_LABEL, JOB_LABEL];
/// What kubectl writes into a pod's template to make its pods anew.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// Which lines of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// Also those to come.
    pub follow: bool,
    /// Of the run before this one.
    pub previous: bool,
    /// Last lines of each pod.
    pub tail: i64,
}

/// A line of a pod.
struct Line {
    pod: String,
    text: String,
}

/// Shows what the pods of an app print.
pub(super) async fn logs(app: &str, stack: Option<&str>, lines: Lines, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let namespace = cluster.namespace();
    let found = pods(app, stack, &client, namespace).await;
    let of = found.as_ref().map(|(of, _)| of.as_str()).ok().or(stack);
    let failed = match of.and_then(StackName::new) {
        Some(of) => last_words(app, &of, &client, namespace).await,
        None => None,
    };
    let pods = match (found, &failed) {
        (Ok((_, pods)), _) => pods,
        (Err(_), Some(_)) => vec![],
        (Err(failure), None) => return Err(failure),
    };
    let redactor = logs::Redactor::of(&client, namespace).await?;
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let part = logs::Part { previous: lines.previous, tail: lines.tail };
    let several = pods.len() > 1;
    let show = |line: &Line| {
        let text = harmless(&line.text);
        if out.json {
            out.print(&json!({ "pod": line.pod, "line": text }).to_string());
        } else if several {
            out.print(&format!("{BUSY}{}{BUSY:#} {text}", line.pod));
        } else {
            out.print(&text);
        }
    };
    if let Some(LastWords { revision, pod, log }) =
        failed.filter(|failed| pods.iter().all(|(pod, _)| *pod != failed.pod))
    {
        out.say(&format!("{BUSY}the run for {} failed and is gone with it; its last lines:{BUSY:#}", revision.short()));
        redactor.clean(&log).lines().for_each(|text| show(&Line { pod: pod.clone(), text: text.to_owned() }));
        if !pods.is_empty() {
            out.say(&format!("{BUSY}the run of what is deployed:{BUSY:#}"));
        }
    }
    if !lines.follow {
        for (pod, container) in &pods {
            let text = redactor.clean(&logs::last(&api, pod, container, part).await?);
            text.lines().for_each(|text| show(&Line { pod: pod.clone(), text: text.to_owned() }));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut all = stream::SelectAll::new();
    for (pod, container) in &pods {
        let name = pod.clone();
        let of_pod = logs::follow(&api, pod, container, part).await?.lines();
        all.push(Box::pin(of_pod.map_ok(move |text| Line { pod: name.clone(), text })));
    }
    loop {
        tokio::select! {
            line = all.next() => match line {
                Some(Ok(Line { pod, text })) => show(&Line { pod, text: redactor.clean(&text) }),
                Some(Err(error)) => return Err(Failure::new(FailureKind::Unreachable, format!("failed to go on reading: {error}"))),
                None => return Ok(ExitCode::SUCCESS),
            },
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(INTERRUPTED)),
        }
    }
}

/// What is kept of a job's run that failed.
struct LastWords {
    revision: Revision,
    pod: String,
    log: String,
}

/// The last lines of a job, if the last deployment of its Stack has failed by it: then its pod is gone, and what an older run has
/// printed explains nothing.
async fn last_words(job: &str, stack: &StackName, client: &Client, namespace: &str) -> Option<LastWords> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    // who may not read it sees what is there
    let map = maps.get_opt(&record::name(stack)).await.ok()??;
    let record = record::read(&serde_json::to_value(map).ok()?).ok()?;
    let last = record.history.last()?;
    match &last.cause {
        Some(Cause::JobFailed { job: of, pod, log, .. }) if of == job => {
            Some(LastWords { revision: last.revision.clone(), pod: pod.clone(), log: log.clone() })
        }
        _ => None,
    }
}

/// The pods of a component and the first container of each; of one Stack, which is named.
async fn pods(
    name: &str,
    stack: Option<&str>,
    client: &Client,
    namespace: &str,
) -> Result<(String, Vec<(String, String)>), Failure> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={},{STACK_LABEL}", MANAGED_BY.0, MANAGED_BY.1));
    let all = pages::all(&api, params).await.explain(|| format!("failed to list pods of namespace {namespace}"))?;
    let belongs = |pod: &Pod| COMPONENTS.iter().any(|label| pod.labels().get(*label).is_some_and(|of| of == name));
    let mut known: Vec<_> =
        all.iter().filter_map(|pod| COMPONENTS.iter().find_map(|label| pod.labels().get(*label))).cloned().collect();
    let mut by_stack: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for pod in all.iter().filter(|pod| belongs(pod)) {
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let container = container.map(|container| container.name.clone()).unwrap_or_default();
        let of = pod.labels().get(STACK_LABEL).cloned().unwrap_or_default();
        by_stack.entry(of).or_default().push((pod.name_any(), container));
    }
    let Some((of, mut pods)) = only(name, stack, by_stack)? else {
        known.sort();
        known.dedup();
        return Err(Failure::last(format!(
            "failed to find a pod of {name} in namespace {namespace}; there are pods of: {}",
            if known.is_empty() { "nothing".to_owned() } else { known.join(", ") }
        )));
    };
    pods.sort();
    Ok((of, pods))
}

/// What is of the Stack that is meant: the named one, or the only one that has it.
fn only<T>(name: &str, stack: Option<&str>, mut found: BTreeMap<String, T>) -> Result<Option<(String, T)>, Failure> {
    if let Some(stack) = stack {
        return Ok(found.remove_entry(stack));
    }
    if found.len() > 1 {
        let stacks = found.keys().cloned().collect::<Vec<_>>().join(", ");
        let message = format!("several Stacks have {name}: {stacks}; say which one with --stack");
        return Err(Failure::new(FailureKind::Usage, message));
    }
    Ok(found.pop_first())
}

/// Makes the pods of an app anew and waits until they are ready.
pub(super) async fn restart(app: &str, stack: Option<&str>, wait: Duration, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let namespace = cluster.namespace();
    let api: Api<Deployment> = Api::namespaced(client, namespace);
    let selector = format!("{}={},{APP_LABEL}={app}", MANAGED_BY.0, MANAGED_BY.1);
    let found = pages::all(&api, ListParams::default().labels(&selector)).await;
    let found = found.explain(|| format!("failed to list deployments of namespace {namespace}"))?;
    let mut by_stack: BTreeMap<String, Vec<Deployment>> = BTreeMap::new();
    for deployment in found {
        let of = deployment.labels().get(STACK_LABEL).cloned().unwrap_or_default();
        by_stack.entry(of).or_default().push(deployment);
    }
    let Some((stack, deployments)) = only(app, stack, by_stack)? else {
        return Err(Failure::last(format!(
            "failed to find app {app} in namespace {namespace}; see: hks status -n {namespace}"
        )));
    };
    let runs = |deployment: &&Deployment| deployment.spec.as_ref().is_none_or(|spec| spec.replicas != Some(0));
    let running: Vec<_> = deployments.iter().filter(runs).map(kube::ResourceExt::name_any).collect();
    if running.is_empty() {
        out.say(&format!("{app} of {stack} is parked (replicas: 0): there is nothing to make anew"));
        return Ok(ExitCode::SUCCESS);
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(api.clone().into_client(), namespace);
    for claim in deployments.iter().flat_map(claims_of).collect::<BTreeSet<_>>() {
        let found = claims.get_metadata_opt(&claim).await.explain(|| format!("failed to read claim {claim}"))?;
        if found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()) {
            return Err(Failure::last(format!(
                "failed to restart {app}: claim {claim} is being deleted, and its data goes when the last pod that uses it ends; \
                 copy the data first"
            )));
        }
    }
    let at = clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": { RESTARTED: at } } } } });
    for name in &running {
        let written = api.patch(name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
        written.explain(|| format!("failed to restart {name}"))?;
        out.say(&format!("{BUSY}…{BUSY:#} {name} is made anew, pod by pod"));
    }
    let ready = async {
        for name in &running {
            rolled_out(api.clone(), name).await?;
        }
        Ok::<_, watcher::Error>(())
    };
    let done = match tokio::time::timeout(wait, ready).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            return Err(Failure::new(FailureKind::Unreachable, format!("failed to watch {app}: {error}")));
        }
        Err(_) => false,
    };
    if out.json {
        out.data(&json!({ "stack": stack, "app": app, "deployments": running, "ready": done }))?;
    } else if done {
        out.print(&format!("{GOOD}✓{GOOD:#} {app} of {stack} runs anew"));
    } else {
        let wait = humantime::format_duration(wait);
        out.say(&format!(
            "{app} is not ready after {wait}; see why with: hks logs {app} --stack {stack} -n {namespace}"
        ));
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) })
}

/// The claims that the pods of a Deployment have.
fn claims_of(deployment: &Deployment) -> Vec<String> {
    let pods = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = pods.and_then(|pod| pod.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

/// Waits until all pods of a Deployment are of its newest template and available.
async fn rolled_out(api: Api<Deployment>, name: &str) -> Result<(), watcher::Error> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = Box::pin(watcher(api, config).default_backoff().applied_objects());
    while let Some(deployment) = changes.try_next().await? {
        if is_rolled_out(&deployment) {
            return Ok(());
        }
    }
    Ok(())
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let seen = status.observed_generation >= deployment.metadata.generation;
    let all = |number: Option<i32>| number.unwrap_or(0) == wanted;
    seen && all(status.updated_replicas) && all(status.available_replicas) && all(status.replicas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStatus};

    #[test]
    fn an_app_of_several_stacks_is_not_guessed() {
        let found = || BTreeMap::from([("blog".to_owned(), 1), ("shop".to_owned(), 2)]);
        let refusal = only("web", None, found()).err();
        assert_eq!(
            refusal.map(|failure| (failure.kind, failure.message)),
            Some((FailureKind::Usage, "several Stacks have web: blog, shop; say which one with --stack".into()))
        );
        assert_eq!(only("web", Some("shop"), found()), Ok(Some(("shop".into(), 2))));
        assert_eq!(only("web", Some("other"), found()), Ok(None));
        assert_eq!(only("web", None, BTreeMap::from([("shop".to_owned(), 2)])), Ok(Some(("shop".into(), 2))));
    }

    #[test]
    fn a_rollout_is_over_when_only_new_pods_are_left() {
        let deployment = |generation, updated, all| Deployment {
            metadata: kube::api::ObjectMeta { generation: Some(2), ..Default::default() },
            spec: Some(DeploymentSpec { replicas: Some(2), ..Default::default() }),
            status: Some(DeploymentStatus {
                observed_generation: Some(generation),
                updated_replicas: Some(updated),
                available_replicas: Some(2),
                replicas: Some(all),
                ..Default::default()
            }),
        };
        assert!(is_rolled_out(&deployment(2, 2, 2)));
        assert!(!is_rolled_out(&deployment(1, 2, 2)), "the controller has not seen the new template");
        assert!(!is_rolled_out(&deployment(2, 1, 3)) && !is_rolled_out(&deployment(2, 2, 3)));
    }
}

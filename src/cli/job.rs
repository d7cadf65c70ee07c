//! `hks job`: runs a job that is declared, from the very template that hks keeps for it.

use super::args::ClusterArgs;
use super::output::{BAD, GOOD, Out, harmless};
use super::{Ended, UNHEALTHY};
use crate::shell::cluster::failure::{Explain as _, Failure};
use crate::shell::cluster::logs;
use crate::shell::cluster::pages;
use futures::TryStreamExt as _;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::process::ExitCode;

/// Lines of the log that are shown of a run that failed.
const LINES: i64 = 20;

/// Runs a job now; waits for its end unless `detach` is said.
pub(super) async fn run(stack: &str, job: &str, detach: bool, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let name = format!("{stack}-{job}");
    let schedules: Api<CronJob> = Api::namespaced(client.clone(), cluster.namespace());
    let found = schedules.get_opt(&name).await.explain(|| format!("failed to read CronJob {name}"))?;
    let Some(schedule) = found else {
        return Err(Failure::last(format!(
            "failed to run {job}: {stack} has no such job in {}; only `run: manual` and `schedule` can be run",
            cluster.namespace()
        )));
    };
    let template = schedule.spec.as_ref().map(|spec| spec.job_template.clone()).unwrap_or_default();
    // as `kubectl create job --from` does, so that the history limits count this run too
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": schedule.uid().unwrap_or_default(), "controller": true,
    });
    let labels = template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
    let run: Job = serde_json::from_value(json!({
        "metadata": {
            "generateName": format!("{name}-"),
            "labels": labels,
            "annotations": { "cronjob.kubernetes.io/instantiate": "manual" },
            "ownerReferences": [owner],
        },
        "spec": template.spec,
    }))?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), cluster.namespace());
    let made = jobs.create(&PostParams::default(), &run).await.explain(|| format!("failed to run {job}"))?;
    let made = made.name_any();
    if detach {
        out.print(&if out.json { json!({ "job": made }).to_string() } else { format!("{made} runs") });
        return Ok(ExitCode::SUCCESS);
    }
    out.say(&format!("… {made} runs"));
    let mut changes = Box::pin(watch_object(jobs, &made).default_backoff());
    let worked = loop {
        let followed = changes.try_next().await;
        let followed = followed.map_err(|error| Failure::unreachable(&error, &format!("failed to follow {made}")))?;
        let job = match followed {
            Some(Some(job)) => job,
            Some(None) => {
                return Err(Failure::last(format!("failed to run {job}: somebody deleted {made} before it had ended")));
            }
            None => return Err(Failure::last(format!("failed to follow {made}"))),
        };
        let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
        let is = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        if is("Complete") || is("Failed") {
            break is("Complete");
        }
    };
    let log = if worked { String::new() } else { log(&client, cluster.namespace(), &made).await };
    if out.json {
        out.print(&json!({ "job": made, "succeeded": worked, "log": log }).to_string());
    } else if worked {
        out.print(&format!("{GOOD}✓{GOOD:#} {made} succeeded"));
    } else {
        out.print(&format!("{BAD}✗{BAD:#} {made} failed\n{log}"));
    }
    Ok(if worked { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) })
}

/// The last lines of the job's newest pod, without the values of Secrets; where these can't be read, why there are no lines.
async fn log(client: &kube::Client, namespace: &str, job: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let found = pages::all(&pods, of_job).await;
    let newest = found.ok().and_then(|pods| pods.into_iter().max_by_key(|pod| pod.creation_timestamp().map(|t| t.0)));
    let Some(pod) = newest else { return String::new() };
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|of| of.name.clone());
    let read = async {
        let redactor = logs::Redactor::of(client, namespace).await?;
        let part = logs::Part { previous: false, tail: LINES };
        let text = logs::last(&pods, &pod.name_any(), &container.unwrap_or_default(), part).await?;
        Ok::<_, Failure>(harmless(&redactor.clean(&text)))
    };
    read.await.unwrap_or_else(|failure| format!("({failure})"))
}

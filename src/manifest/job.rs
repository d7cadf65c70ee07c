//! Jobs: once for each release, by the clock, or when somebody says so.

use super::names::{Names, with_login};
use super::pod::pod;
use super::{JOB_LABEL, Object, Stage, reach};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{Job, When};
use serde_json::{Value, json};

/// A schedule that is never due; a job that is started by hand is a suspended `CronJob`, so that it can be seen and started
/// with any tool.
const NEVER: &str = "0 0 31 2 *";

pub(super) fn objects(names: &Names<'_>, name: &str, job: &Job) -> Vec<Object> {
    let component = (JOB_LABEL, name);
    let stage = Stage::Apps(0);
    let mut pod = pod(names, stage, name, component, &job.program, &job.resources);
    let mut objects = std::mem::take(&mut pod.mounted);
    pod.spec["restartPolicy"] = json!("Never");
    let first = reach::first(names, name, job);
    if !first.is_empty() {
        pod.spec["initContainers"] = json!(first);
        pod.spec = with_login(pod.spec, names.context);
    }
    let run = json!({
        "backoffLimit": job.retries,
        "activeDeadlineSeconds": job.timeout.as_secs(),
        "template": pod.template(&names.labels(Some(component))),
    });
    let full = names.object(name);
    let finish = |stage, kind, name: &str, body| names.finish(stage, ObjectKey::new(kind, name), Some(component), body);
    let labels = names.labels(Some(component));
    objects.push(match &job.when {
        When::PostDeploy => {
            let name = format!("{full}-{}", names.revision.short());
            finish(Stage::Jobs, Kind::Job, &name, json!({ "spec": run }))
        }
        When::Manual => finish(stage, Kind::CronJob, &full, cron(&labels, &run, NEVER, "UTC", "Allow", 3, true)),
        When::Scheduled { cron: schedule, timezone, concurrency, history } => {
            finish(stage, Kind::CronJob, &full, cron(&labels, &run, schedule, timezone, concurrency, *history, false))
        }
    });
    objects
}

fn cron(
    labels: &Value,
    run: &Value,
    schedule: &str,
    zone: &str,
    concurrency: &str,
    history: u32,
    suspend: bool,
) -> Value {
    json!({ "spec": {
        "schedule": schedule,
        "timeZone": if zone == "UTC" { "Etc/UTC" } else { zone },
        "concurrencyPolicy": concurrency,
        "suspend": suspend,
        "successfulJobsHistoryLimit": history,
        "failedJobsHistoryLimit": history,
        // after an outage, a run that is late by more than this is left out
        "startingDeadlineSeconds": 300,
        "jobTemplate": { "metadata": { "labels": labels }, "spec": run },
    }})
}

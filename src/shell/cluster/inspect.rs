//! Asking what runs: the tables of a database, the last log lines of a pod, what a pod uses.

use crate::engine::postgres;
use crate::ident::{Component, ObjectKey, StackName};
use crate::machine::{Contents, Fault, Volume};
use crate::manifest::{APP_LABEL, CACHE_LABEL, DATABASE_LABEL, STACK_LABEL};
use crate::rollout::Cause;
use crate::shell::cluster::failure::{describe_own, root};
use crate::shell::cluster::project::MANAGER;
use crate::shell::cluster::project::Project;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use kube_quantity::ParsedQuantity;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Bytes of an answer that are read at most: who can write into the database can make it answer with more.
const MOST_ANSWERED: u64 = 4096;
/// Longest wait for an answer of a database.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a measurement: a page must not hang on it.
const METRICS_PATIENCE: Duration = Duration::from_secs(1);
/// Log lines that explain a failure.
const LOG_LINES: i64 = 10;
/// Bytes of log that are read at most.
const LOG_BYTES: i64 = 16 * 1024;

/// What is in each of the databases (by StatefulSet). One that can't be asked is not known, whatever the reason.
pub async fn contents(project: &Project, servers: &[String]) -> BTreeMap<String, Contents> {
    let asked = servers.iter().map(async |server| {
        let answer = tokio::time::timeout(PATIENCE, ask(project, server)).await;
        let contents = match answer {
            Ok(Ok(text)) if text.trim() == "empty" => Contents::Empty,
            Ok(Ok(text)) if text.trim() == "tables" => Contents::Tables,
            Ok(Ok(text)) => Contents::Unknown(format!("{server} answers {:?}", text.trim())),
            Ok(Err(why)) => Contents::Unknown(format!("{server}: {why}")),
            Err(_) => Contents::Unknown(format!("{server} does not answer")),
        };
        (server.clone(), contents)
    });
    futures::future::join_all(asked).await.into_iter().collect()
}

async fn ask(project: &Project, server: &str) -> Result<String, String> {
    execute(project, &format!("{server}-0"), postgres::CONTAINER, &postgres::ANY_TABLE).await
}

/// By claim, the bytes that are free for whoever is not root. What can't be asked is left out.
pub async fn free(project: &Project, volumes: &[Volume]) -> BTreeMap<ObjectKey, u64> {
    let asked = volumes.iter().map(async |volume| {
        // POSIX: blocks of 1024 bytes, one line for each file system
        let command = ["df", "-Pk", volume.path.as_str()];
        let answer = tokio::time::timeout(PATIENCE, execute(project, &volume.pod, &volume.container, &command)).await;
        let free = available(&answer.ok()?.ok()?)?;
        Some((volume.claim.clone(), free))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// The available bytes in what `df -Pk` says of one file system.
pub fn available(answer: &str) -> Option<u64> {
    let fields: Vec<_> = answer.lines().nth(1)?.split_whitespace().collect();
    // the name of a device may have spaces: counted from the end, the last is where it is mounted
    fields.iter().rev().nth(2)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What a program in a container prints, if it ends well.
async fn execute(project: &Project, pod: &str, container: &str, command: &[&str]) -> Result<String, String> {
    let pods: Api<Pod> = Api::namespaced(project.client.clone(), &project.namespace);
    let params = AttachParams::default().container(container).stdout(true).stderr(true);
    let mut process = pods.exec(pod, command.to_vec(), &params).await.map_err(|error| root(&error))?;
    let status = process.take_status();
    let (output, errors) = (process.stdout(), process.stderr());
    let (answer, complaint) = tokio::join!(text_of(output), text_of(errors));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    // what psql says beside its answer, such as a warning about collations, does not matter
    let worked = status.is_some_and(|status| status.status.as_deref() == Some("Success"));
    if worked {
        Ok(answer)
    } else {
        Err(complaint.lines().next().map_or_else(|| format!("{} failed", command[0]), str::to_owned))
    }
}

async fn text_of(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = vec![];
    if let Some(stream) = stream {
        // what was read until it broke off is judged by the exit code
        let _ = stream.take(MOST_ANSWERED).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A cause with the log lines that explain it, and without values of Secrets.
pub async fn explain(project: &Project, stack: &StackName, cause: Cause) -> Cause {
    let log = match cause.log_source() {
        Some((pod, previous)) => lines(project, pod, previous).await,
        None => String::new(),
    };
    project.knows_what_to_hide(stack).await;
    cause.with_log(log).map_texts(|text| project.clean(stack, text))
}

async fn lines(project: &Project, pod: &str, previous: bool) -> String {
    let pods: Api<Pod> = Api::namespaced(project.client.clone(), &project.namespace);
    let params = |previous| LogParams {
        previous,
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(LOG_BYTES),
        ..LogParams::default()
    };
    // it may start, and the run before the last be cleared away, while it is asked for
    for previous in if previous { &[true, false, true][..] } else { &[false, false] } {
        let text = pods.logs(pod, &params(*previous)).await.map(|text| own_words(&text)).unwrap_or_default();
        if !text.is_empty() {
            return text;
        }
    }
    String::new()
}

/// A log without what the kubelet says in its place, with status 200, of a container that it has cleared away meanwhile.
/// Source: `pkg/kubelet/kuberuntime/logs/logs.go` of Kubernetes.
pub fn own_words(log: &str) -> String {
    const NO_LOG: [&str; 3] = [
        "unable to retrieve container logs for ",
        "failed to try resolving symlinks in path \"/var/log/pods/",
        "failed to open log file \"/var/log/pods/",
    ];
    log.split_inclusive('\n').filter(|line| !NO_LOG.iter().any(|words| line.starts_with(words))).collect()
}

/// The field manager that last set a field of an object, such as `kube-controller-manager`; `None` if nobody owns it or it
/// can't be told. Format: Kubernetes API, `FieldsV1`.
pub async fn manager_of(project: &Project, key: &ObjectKey, field: &str) -> Option<String> {
    let object = project.api(key.kind).get_metadata(&key.name).await.ok()?;
    let path: Vec<_> = field.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect();
    let owns = |fields: &Value| {
        // list items are named by their keys; who owns anything of the list that far is named
        let mut at = fields;
        for part in &path {
            match at.get(format!("f:{part}")) {
                Some(below) => at = below,
                None => return at.as_object().is_some_and(|map| map.keys().any(|key| key.starts_with("k:"))),
            }
        }
        true
    };
    let mut entries = object.metadata.managed_fields.unwrap_or_default();
    entries.retain(|entry| entry.manager.as_deref() != Some(MANAGER));
    entries.retain(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)));
    entries.sort_by(|a, b| a.time.cmp(&b.time));
    entries.pop().and_then(|entry| entry.manager)
}

/// What the pods of a Stack use now, by app name and by StatefulSet; nothing where no metrics server answers in time.
pub async fn usage(project: &Project, stack: &StackName) -> BTreeMap<String, String> {
    let path = format!(
        "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={}%3D{stack}",
        project.namespace,
        STACK_LABEL.replace('/', "%2F"),
    );
    let Ok(request) = http::Request::get(path).body(vec![]) else { return BTreeMap::new() };
    let asked = tokio::time::timeout(METRICS_PATIENCE, project.client.request::<Value>(request)).await;
    let Ok(Ok(list)) = asked else { return BTreeMap::new() };
    let mut sums: BTreeMap<String, (ParsedQuantity, ParsedQuantity)> = BTreeMap::new();
    for pod in list["items"].as_array().into_iter().flatten() {
        let label = |name: &str| pod["metadata"]["labels"][name].as_str();
        let name = label(APP_LABEL).map(str::to_owned);
        let Some(name) =
            name.or_else(|| label(DATABASE_LABEL).or(label(CACHE_LABEL)).map(|name| format!("{stack}-{name}")))
        else {
            continue;
        };
        let (cpu, memory) = sums.entry(name).or_default();
        for container in pod["containers"].as_array().into_iter().flatten() {
            let amount = |what: &str| ParsedQuantity::try_from(container["usage"][what].as_str().unwrap_or("0"));
            *cpu += amount("cpu").unwrap_or_default();
            *memory += amount("memory").unwrap_or_default();
        }
    }
    let words = |(cpu, memory): (ParsedQuantity, ParsedQuantity)| {
        let milli = cpu.to_bytes_f64().unwrap_or_default() * 1000.0;
        let mebi = memory.to_bytes_f64().unwrap_or_default() / f64::from(1 << 20);
        format!("{milli:.0}m cpu, {mebi:.0}Mi memory")
    };
    sums.into_iter().map(|(name, sum)| (name, words(sum))).collect()
}

/// Sees that the project's namespace exists: a misspelt one would otherwise only show as missing objects.
pub async fn namespace_exists(project: &Project) -> Result<(), Fault> {
    let spaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(project.client.clone());
    let name = &project.namespace;
    let object = format!("Namespace/{name}");
    match spaces.get_metadata_opt(name).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Fault {
            transient: true,
            message: format!("namespace {name} does not exist; create it, and the deployment begins by itself"),
            object,
            component: Component::Stack,
        }),
        // a service account may well be confined to its namespace
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(describe_own(&error, object)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_read_from_the_end() {
        let answer = "Filesystem     1024-blocks      Used Available Capacity Mounted on\n\
                      my nfs:/share    10485760  10000000    485760      96% /var/lib/postgresql\n";
        assert_eq!(available(answer), Some(485_760 * 1024));
        assert_eq!(available("df: no such file"), None);
        assert_eq!(available("Filesystem\nnothing"), None);
    }

    #[test]
    fn a_kubelet_without_a_log_is_not_the_program() {
        let gone =
            "failed to try resolving symlinks in path \"/var/log/pods/team_one-7x_0/job/2.log\": lstat: no such file";
        assert_eq!(own_words(gone), "");
        assert_eq!(own_words("unable to retrieve container logs for containerd://0a1b"), "");
        assert_eq!(own_words(&format!("the cellar is flooded\n{gone}")), "the cellar is flooded\n");
        assert_eq!(
            own_words("failed to open log file \"/data/app.log\"\n"),
            "failed to open log file \"/data/app.log\"\n"
        );
    }
}

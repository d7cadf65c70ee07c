//! Asking what runs: the tables of a database, the last log lines of a pod, the answer of a public address.

use crate::ident::StackName;
use crate::machine::Fault;
use crate::manifest::{APP_LABEL, DATABASE_LABEL, PublicUrl, STACK_LABEL};
use crate::shell::apply::{describe_own, root};
use crate::shell::project::Project;
use base64::Engine as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{AttachParams, ListParams, LogParams};
use kube_quantity::ParsedQuantity;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Prints a line if anybody has made a table, view or sequence.
const ANY_TABLE: &str = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' LIMIT 1";
/// Longest wait for an answer of a public address or a database.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a measurement: a page must not hang on it.
const METRICS_PATIENCE: Duration = Duration::from_secs(1);
/// Log lines that explain a failure.
const LOG_LINES: i64 = 10;
/// Bytes of log that are read at most.
const LOG_BYTES: i64 = 16 * 1024;

/// Which of the databases (by StatefulSet) hold anything that a person made.
pub async fn with_tables(project: &Project, servers: &[String]) -> Result<Vec<String>, Fault> {
    let pods: Api<Pod> = Api::namespaced(project.client.clone(), &project.namespace);
    let mut found = vec![];
    for server in servers {
        let pod = format!("{server}-0");
        let failed = |message: String| Fault {
            transient: true,
            object: format!("Pod/{pod}"),
            component: (server.clone(), true),
            message: format!("failed to look for tables in {server}: {message}"),
        };
        let command = ["psql", "-XAtq", "-U", "postgres", "-d", "app", "-c", ANY_TABLE];
        let ask = async {
            let params = AttachParams::default().container("postgres").stdout(true).stderr(true);
            let mut process = pods.exec(&pod, command, &params).await.map_err(|error| failed(error.to_string()))?;
            let (mut answer, mut complaint) = (String::new(), String::new());
            if let Some(mut output) = process.stdout() {
                output.read_to_string(&mut answer).await.map_err(|error| failed(error.to_string()))?;
            }
            if let Some(mut output) = process.stderr() {
                output.read_to_string(&mut complaint).await.map_err(|error| failed(error.to_string()))?;
            }
            if complaint.is_empty() { Ok(answer) } else { Err(failed(complaint)) }
        };
        let answer = tokio::time::timeout(PATIENCE, ask).await.map_err(|_| failed("no answer".into()))??;
        if !answer.trim().is_empty() {
            found.push(server.clone());
        }
    }
    Ok(found)
}

/// The last log lines of a pod's first container that has any, without values of the project's Secrets. Nothing if they can't be
/// had, or if the Secrets can't be read: then they could not be taken out.
pub async fn log(project: &Project, pod: &str, previous: bool) -> String {
    let pods: Api<Pod> = Api::namespaced(project.client.clone(), &project.namespace);
    let params = |previous| LogParams {
        previous,
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(LOG_BYTES),
        ..LogParams::default()
    };
    let text = match pods.logs(pod, &params(previous)).await {
        Ok(text) => text,
        Err(_) if previous => pods.logs(pod, &params(false)).await.unwrap_or_default(),
        Err(_) => return String::new(),
    };
    let secrets: Api<Secret> = Api::namespaced(project.client.clone(), &project.namespace);
    let Ok(secrets) = secrets.list(&ListParams::default()).await else { return String::new() };
    redact(text, hidden_values(secrets).into_iter())
}

/// The values of Secrets that no output may hold.
pub fn hidden_values(secrets: impl IntoIterator<Item = Secret>) -> Vec<Vec<u8>> {
    let data = secrets.into_iter().flat_map(|secret| secret.data.unwrap_or_default());
    // these keys of a database's credentials are no secrets, and a log without host names explains little
    let secret = data.filter(|(key, _)| !matches!(key.as_str(), "host" | "port" | "name" | "user"));
    secret.map(|(_, value)| value.0).collect()
}

/// Takes secret values out of a text, plain and in base64. Very short values would take out half of the text and are
/// no secrets.
pub fn redact(mut text: String, values: impl Iterator<Item = Vec<u8>>) -> String {
    let mut values: Vec<_> = values.filter_map(|value| String::from_utf8(value).ok()).collect();
    values.retain(|value| value.trim().len() >= 6);
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in values {
        text = text.replace(value.trim(), "***");
        text = text.replace(&base64::engine::general_purpose::STANDARD.encode(&value), "***");
    }
    text
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
        let Some(name) = name.or_else(|| label(DATABASE_LABEL).map(|name| format!("{stack}-{name}"))) else { continue };
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

/// An HTTP client for public addresses. Names under `.localhost` are this machine (RFC 6761, section 6.3), which the
/// system's resolver does not always know.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(Resolver))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("hks/", env!("CARGO_PKG_VERSION")))
        .build()
}

struct Resolver;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let host = name.as_str();
            if host == "localhost" || host.ends_with(".localhost") {
                let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
                return Ok(Box::new(std::iter::once(here)) as reqwest::dns::Addrs);
            }
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Whether all addresses are live; else the first one that is not, and what came instead.
pub async fn probe(http: &reqwest::Client, urls: &[PublicUrl]) -> Result<(), (String, String)> {
    for url in urls {
        for check in &url.checks {
            let address = format!("{}{check}", url.url);
            answers(http, &address).await.map_err(|message| (address, message))?;
        }
    }
    Ok(())
}

/// Gateway errors mean that the route or its backend is not there yet. So does a 404 of the ingress controller: it is told
/// from an app's own 404 by asking for a host that has no route.
async fn answers(http: &reqwest::Client, address: &str) -> Result<(), String> {
    let (status, body) = get(http, address, None).await?;
    match status {
        502..=504 => Err(format!("status {status} from the ingress controller")),
        404 => match get(http, address, Some("no-route.hks.invalid")).await {
            Ok(unrouted) if unrouted == (status, body) => Err("the ingress controller has no route to it yet".into()),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

async fn get(http: &reqwest::Client, address: &str, host: Option<&str>) -> Result<(u16, String), String> {
    let mut request = http.get(address);
    if let Some(host) = host {
        request = request.header(reqwest::header::HOST, host);
    }
    let answer = request.send().await.map_err(|error| root(&error))?;
    let status = answer.status().as_u16();
    // only a 404 is compared
    let body = if status == 404 { answer.text().await.map_err(|error| root(&error))? } else { String::new() };
    Ok((status, body))
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
            component: (String::new(), false),
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
    fn secrets_are_taken_out_of_logs() {
        let values = [b"s3cret-value".to_vec(), b"ab".to_vec(), b"s3cret".to_vec()];
        let text = "url=postgres://app:s3cret-value@db ab czNjcmV0LXZhbHVl s3cret".to_owned();
        assert_eq!(redact(text, values.into_iter()), "url=postgres://app:***@db ab *** ***");
    }
}

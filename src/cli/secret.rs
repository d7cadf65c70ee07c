//! `hks secret`: the values that somebody must set. They come from standard input or a file, and are never shown.

use super::Ended;
use super::args::ClusterArgs;
use super::cluster;
use super::output::{BAD, GOOD, Out};
use crate::ident::StackName;
use crate::manifest::{MANAGED_BY, SECRET_SET_ANNOTATION, STACK_LABEL};
use crate::record::Record;
use crate::rollout::Cause;
use crate::shell::clock;
use crate::shell::cluster::failure::{Explain as _, Failure, FailureKind};
use crate::shell::cluster::pages;
use crate::shell::files;
use anyhow::Context as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

/// The field manager of values that people set: hks itself owns none of them.
const MANAGER: &str = "hks-secret";

/// Sets one key. The daemon sees the time in the annotation and makes the pods that use it anew.
pub(super) async fn set(
    stack: &str,
    secret: &str,
    key: &str,
    file: Option<&Path>,
    cluster: &ClusterArgs,
    out: Out,
) -> Ended {
    let Some(stack) = StackName::new(stack) else {
        let message = format!("failed to set {key}: {stack:?} is not the name of a Stack");
        return Err(Failure::new(FailureKind::Usage, message));
    };
    if file.is_none() && std::io::stdin().is_terminal() {
        out.say("type the value, then Ctrl-D");
    }
    let bytes = files::read(file.unwrap_or(Path::new("-")))?;
    let text = String::from_utf8(bytes).context("failed to read the value: it is not text")?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if value.is_empty() {
        return Err(Failure::last(format!("failed to set {key}: the value is empty")));
    }
    let client = cluster.connect().await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), cluster.namespace());
    let name = format!("{stack}-{secret}");
    let found = secrets.get_opt(&name).await.explain(|| format!("failed to read Secret {name}"))?;
    if let Some(found) = found {
        let labels = found.metadata.labels.unwrap_or_default();
        if labels.get(STACK_LABEL).map(String::as_str) != Some(stack.as_str()) {
            return Err(Failure::last(format!(
                "failed to set {key}: the Secret {name} exists and does not belong to the Stack {stack}"
            )));
        }
    }
    let body = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
            "annotations": { SECRET_SET_ANNOTATION: format!("{:.3}", clock::now()) },
        },
        "type": "Opaque",
        "stringData": { key: value },
    });
    // a merge keeps the keys that are there already; a Secret that is not there yet is made by the apply
    let exists = secrets.get_metadata_opt(&name).await.explain(|| format!("failed to read Secret {name}"))?;
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let written = match exists {
        Some(_) => secrets.patch(&name, &params, &Patch::Merge(&body)).await,
        None => secrets.patch(&name, &params, &Patch::Apply(&body)).await,
    };
    written.explain(|| format!("failed to write Secret {name}"))?;
    // whoever may set a secret may not be allowed to read records
    let record = cluster::recorded(&cluster::unwatched(client, cluster.namespace()), &stack).await.ok();
    let used = record.map(|record| Used::of(&record, secret, key));
    if out.json {
        let used = used.as_ref().map(Used::word);
        out.print(&json!({ "secret": name, "key": key, "used": used }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let then = match &used {
        None => String::new(),
        Some(Used::Running) => "; the apps that use it are started anew, pod by pod".into(),
        Some(Used::Waiting) => "; the commit that waits for it goes on".into(),
        Some(Used::NotYet) => format!("; nothing of {stack} runs here yet"),
        Some(Used::Undeclared(_)) => "; no app uses it".into(),
    };
    out.print(&format!("{GOOD}✓{GOOD:#} {key} of {secret} is set{then}"));
    if let Some(Used::Undeclared(declared)) = &used {
        let declared = if declared.is_empty() { "no key".into() } else { declared.join(", ") };
        out.say(&format!(
            "{BAD}!{BAD:#} what runs of {stack} declares {declared}; to use this one, add it to `secrets: {{{secret}: \
             {{keys: [{key}]}}}}` of hks.yaml"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known here to use a key that somebody sets.
enum Used {
    /// What runs declares it.
    Running,
    /// The newest commit waits for it.
    Waiting,
    /// No commit is known here: it is set before the first one.
    NotYet,
    /// Neither; the keys that what runs declares, as `SECRET KEY`.
    Undeclared(Vec<String>),
}

impl Used {
    fn of(record: &Record, secret: &str, key: &str) -> Self {
        let waits = record.unusable.as_ref().and_then(|unusable| unusable.cause.as_ref());
        if let Some(Cause::SecretMissing { secret: missing, keys, .. }) = waits
            && missing == secret
            && keys.iter().any(|missing| missing == key)
        {
            return Self::Waiting;
        }
        let Some(settled) = &record.settled else { return Self::NotYet };
        // what an older hks has recorded tells nothing of its keys
        let Ok(Some(manifest)) = settled.manifest() else { return Self::Running };
        if manifest.needed.iter().any(|needed| needed.secret == secret && needed.key == key) {
            return Self::Running;
        }
        Self::Undeclared(manifest.needed.iter().map(|needed| format!("{} {}", needed.secret, needed.key)).collect())
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::NotYet => "notYet",
            Self::Undeclared(_) => "undeclared",
        }
    }
}

/// Lists secrets and the names of their keys.
pub(super) async fn list(stack: &str, cluster: &ClusterArgs, out: Out) -> Ended {
    let secrets: Api<Secret> = Api::namespaced(cluster.connect().await?, cluster.namespace());
    let params = ListParams::default().labels(&format!("{}={},{STACK_LABEL}={stack}", MANAGED_BY.0, MANAGED_BY.1));
    let found = pages::all(&secrets, params).await.explain(|| "failed to list secrets".into())?;
    let keys = |secret: Secret| {
        let name = secret.metadata.name.unwrap_or_default();
        let keys: Vec<String> = secret.data.into_iter().flatten().map(|(key, _)| key).collect();
        (name.strip_prefix(&format!("{stack}-")).map_or(name.clone(), str::to_owned), keys)
    };
    let found: BTreeMap<String, Vec<String>> = found.into_iter().map(keys).collect();
    if out.json {
        out.print(&serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        out.say(&format!("{BAD}no secrets{BAD:#} of {stack} in {}", cluster.namespace()));
    }
    for (name, keys) in found {
        out.print(&format!("{name}: {}", keys.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

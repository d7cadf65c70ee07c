//! What a daemon publishes in a project for those who look at it from outside: the settings of the platform, so that the command
//! line renders the same objects as the daemon does.

use crate::ident::StackName;
use crate::manifest::{Context, MANAGED_BY};
use crate::platform::Platform;
use crate::shell::cluster::api::PUBLISHED;
use crate::shell::cluster::failure::{Explain, Failure};
use crate::shell::cluster::lease;
use crate::shell::cluster::project::MANAGER;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Error};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Its key.
const KEY: &str = "platform.json";

/// What is published of each source that deploys to the project, by name.
pub type Sources = BTreeMap<String, Published>;

/// What is published of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Published {
    /// The branch that is followed; environments are chosen by it.
    pub branch: String,
    /// Name of the daemon's installation.
    pub cluster: String,
    /// Where the daemon's pages are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// The platform's settings.
    pub platform: Platform,
}

impl Published {
    /// What rendering needs.
    pub fn context(&self, project: &str) -> Context {
        Context::new(&self.platform, project, &self.branch, None)
    }
}

/// Publishes; nothing is written where it stands already.
///
/// # Errors
/// What the cluster said.
pub async fn publish(client: &Client, namespace: &str, sources: &Sources) -> Result<(), Failure> {
    let text = serde_json::to_string(sources)?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = maps.get_opt(PUBLISHED).await.explain(|| format!("failed to read ConfigMap {PUBLISHED}"))?;
    if found.and_then(|map| map.data?.remove(KEY)).as_ref() == Some(&text) {
        return Ok(());
    }
    let body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": PUBLISHED, "labels": { MANAGED_BY.0: MANAGED_BY.1 } },
        "data": { KEY: text },
    });
    let written = maps.patch(PUBLISHED, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)).await;
    written.explain(|| format!("failed to write ConfigMap {PUBLISHED}")).map(drop)
}

/// All that was published in a project. Nothing, or nothing that may be read, is none.
///
/// # Errors
/// What the cluster said.
pub async fn all(client: &Client, namespace: &str) -> Result<Sources, Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let text = match maps.get_opt(PUBLISHED).await {
        Ok(found) => found.and_then(|map| map.data?.remove(KEY)),
        Err(Error::Api(status)) if status.code == 403 => None,
        Err(error) => return Err(Failure::of(&error, &format!("failed to read ConfigMap {PUBLISHED}"))),
    };
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// What the source says that the holder of a Stack's Lease acts for; or the first one.
pub fn chosen<'a>(sources: &'a Sources, holder: Option<&str>) -> Option<&'a Published> {
    // a daemon's name for its Leases ends with that of the source
    let own = holder.and_then(|holder| holder.rsplit_once('/')).and_then(|(_, source)| sources.get(source));
    own.or_else(|| sources.values().next())
}

/// What was published for a Stack.
///
/// # Errors
/// What the cluster said.
pub async fn load(client: &Client, namespace: &str, stack: Option<&StackName>) -> Result<Option<Published>, Failure> {
    let sources = all(client, namespace).await?;
    let holder = match stack {
        Some(stack) if sources.len() > 1 => lease::holder_of(client, namespace, stack).await?,
        _ => None,
    };
    Ok(chosen(&sources, holder.as_deref()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_the_settings_of_the_source_whose_daemon_acts_for_it() {
        let of = |branch: &str| Published { branch: branch.into(), ..Published::default() };
        let sources = Sources::from([("a".into(), of("main")), ("b".into(), of("next"))]);
        let branch = |holder| chosen(&sources, holder).map(|of| of.branch.as_str());
        assert_eq!(branch(Some("host-1f/b")), Some("next"));
        assert_eq!(branch(Some("apply-2e")), Some("main"), "a command line is no source");
        assert_eq!(branch(None), Some("main"));
        assert_eq!(chosen(&Sources::new(), Some("host-1f/b")), None);
    }
}

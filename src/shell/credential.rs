//! Secret values of the platform: tokens, passwords and keys, each read from the one place that the configuration names.

use crate::config::Credential;
use crate::shell::cluster::target::{self, Host};
use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// A secret value. It has no way to be printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Hidden(String);

impl Hidden {
    /// Takes a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value: for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Reads the value. White space around it, such as the newline at the end of a file, is left out.
///
/// # Errors
/// Names the place, never the value.
#[expect(clippy::disallowed_methods, reason = "credentials come from files and the environment")]
pub async fn read(credential: &Credential, kubeconfig: Option<&Path>) -> Result<Hidden> {
    let text = match credential {
        Credential::File(path) => tokio::fs::read_to_string(path)
            .await
            .with_context(|| format!("failed to read credential {}", path.display()))?,
        Credential::Env(name) => std::env::var(name)
            .ok()
            .with_context(|| format!("failed to read credential: variable {name} is not set"))?,
        Credential::Secret(place) => secret(place, kubeconfig).await?,
    };
    let text = text.trim();
    if text.is_empty() {
        bail!("failed to use credential: it is empty");
    }
    Ok(Hidden::new(text))
}

/// Whether a credential only can't be read now, because of the cluster that keeps it: another try may have it.
pub fn is_weather(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.code == 429 || status.code >= 500,
        Some(_) => true,
        None => false,
    }
}

async fn secret(place: &str, kubeconfig: Option<&Path>) -> Result<String> {
    let parts: Vec<_> = place.split('/').collect();
    let [namespace, name, key] = parts.as_slice() else {
        bail!("failed to read Secret {place}: write it as namespace/name/key");
    };
    let host = Host { kubeconfig: kubeconfig.map(Path::to_owned), context: None, programs: false };
    let client = target::client(target::host(&host).await?)?;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> = kube::Api::namespaced(client, namespace);
    let secret = secrets.get(name).await.with_context(|| format!("failed to read Secret {namespace}/{name}"))?;
    let value = secret.data.and_then(|mut data| data.remove(*key));
    let value = value.with_context(|| format!("failed to read Secret {namespace}/{name}: it has no key {key}"))?;
    String::from_utf8(value.0).with_context(|| format!("failed to read Secret {place}: not text"))
}

//! What a platform lets files ask for.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ssh_key::{Algorithm, EcdsaCurve, PublicKey};

/// What files may ask for. What is not set is not limited; a daemon limits hosts, issuers, labels and annotations where its
/// configuration says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Hosts that a file may name besides generated ones: `shop.example.com`, or `*.example.com` for all names below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Hosts that no file may name, whatever `hosts` says. The daemon's own is always one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserved_hosts: Vec<String>,
    /// Issuers of certificates that a file may name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// Annotations of pods that others than hks give a meaning, which are those with a `/` or a `.`: `prometheus.io/scrape`, or
    /// `prometheus.io/*` for all of a prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<String>>,
    /// Labels of pods, the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Labels that each app and job must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_labels: Option<Vec<String>>,
    /// Where images of apps and jobs may come from: a registry, or a path in one such as `ghcr.io/acme`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registries: Option<Vec<String>>,
    /// Whether images of apps and jobs must be named by digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
    /// Public keys, as in `authorized_keys`, of those whose signature a commit must have to be deployed: SSH keys of the kinds
    /// ed25519, ecdsa (P-256, P-384) and rsa.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signers: Option<Vec<String>>,
    /// Most pods of an app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<u32>,
    /// Most CPU that one container may take, such as `2` or `500m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu: Option<String>,
    /// Most memory that one container may take, such as `4Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<String>,
    /// Most storage of one volume, such as `100Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_storage: Option<String>,
}

impl Policy {
    /// With what another one sets in place of one's own; what is reserved adds up.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        let Self {
            hosts,
            reserved_hosts,
            issuers,
            annotations,
            labels,
            required_labels,
            registries,
            require_digest,
            signers,
            max_replicas,
            max_cpu,
            max_memory,
            max_storage,
        } = other.clone();
        self.reserved_hosts.extend(reserved_hosts);
        Self {
            hosts: hosts.or(self.hosts),
            reserved_hosts: self.reserved_hosts,
            issuers: issuers.or(self.issuers),
            annotations: annotations.or(self.annotations),
            labels: labels.or(self.labels),
            required_labels: required_labels.or(self.required_labels),
            registries: registries.or(self.registries),
            require_digest: require_digest.or(self.require_digest),
            signers: signers.or(self.signers),
            max_replicas: max_replicas.or(self.max_replicas),
            max_cpu: max_cpu.or(self.max_cpu),
            max_memory: max_memory.or(self.max_memory),
            max_storage: max_storage.or(self.max_storage),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sees that what is written can be meant.
    ///
    /// # Errors
    /// The first that can't, and what could stand there.
    pub fn check(&self) -> Result<()> {
        for host in self.hosts.iter().flatten().chain(&self.reserved_hosts) {
            let name = host.strip_prefix("*.").unwrap_or(host);
            if host != "*" && !crate::spec::is_host(name) {
                bail!(
                    "host {host:?} must be a name such as shop.example.com, or *.example.com for all names below it, or *"
                );
            }
        }
        for line in self.signers.iter().flatten() {
            let key = PublicKey::from_openssh(line);
            let is_fine = key.as_ref().is_ok_and(|key| {
                matches!(
                    key.algorithm(),
                    Algorithm::Ed25519
                        | Algorithm::Rsa { .. }
                        | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 | EcdsaCurve::NistP384 }
                )
            });
            if !is_fine {
                bail!(
                    "signers: {line:?} is no public key of a kind that hks knows; write one such as ssh-ed25519 AAAA… ada@example.com"
                );
            }
        }
        for (key, amount, is_amount) in [
            ("maxCpu", &self.max_cpu, crate::spec::cpu as fn(&str) -> Option<u128>),
            ("maxMemory", &self.max_memory, crate::spec::bytes),
            ("maxStorage", &self.max_storage, crate::spec::bytes),
        ] {
            if let Some(amount) = amount.as_ref().filter(|amount| is_amount(amount).is_none()) {
                bail!("{key} {amount:?} is not an amount; write it as Kubernetes does, such as 500m or 4Gi");
            }
        }
        Ok(())
    }
}

/// Whether a host is one of those that a pattern means: itself, all below `*.`, or any.
pub fn fits_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == "*" || pattern == host,
    }
}

/// Whether a key is one of those that a pattern means: itself, or all of a prefix.
pub fn fits_key(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => prefix.ends_with('/') && key.starts_with(prefix),
        None => pattern == key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_whole_names() {
        for (pattern, host, fits) in [
            ("shop.example.com", "shop.example.com", true),
            ("shop.example.com", "a.shop.example.com", false),
            ("*.example.com", "shop.example.com", true),
            ("*.example.com", "a.shop.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "evilexample.com", false),
            ("*", "shop.example.com", true),
        ] {
            assert_eq!(fits_host(pattern, host), fits, "{pattern} {host}");
        }
        assert!(fits_key("prometheus.io/*", "prometheus.io/scrape") && fits_key("a.b/c", "a.b/c"));
        assert!(!fits_key("prometheus.io/*", "prometheus.iox/scrape") && !fits_key("pro*", "prometheus.io/scrape"));
    }

    #[test]
    fn what_a_source_sets_stands_in_place_of_the_platforms() {
        let all = Policy {
            max_replicas: Some(3),
            reserved_hosts: vec!["a.b".into()],
            registries: Some(vec!["ghcr.io".into()]),
            ..Policy::default()
        };
        let own = Policy { max_replicas: Some(9), reserved_hosts: vec!["c.d".into()], ..Policy::default() };
        let both = all.with(&own);
        assert_eq!((both.max_replicas, both.reserved_hosts.len()), (Some(9), 2));
        assert_eq!(both.registries.as_deref(), Some(&["ghcr.io".to_owned()][..]));
    }

    #[test]
    fn what_cant_be_meant_is_refused() {
        let hosts = |host: &str| Policy { hosts: Some(vec![host.into()]), ..Policy::default() }.check().is_err();
        assert!(hosts("https://x.y") && hosts("*.*.x") && hosts("x.*.y") && hosts("UPPER.example"));
        assert!(!hosts("*.example.com") && !hosts("*"));
        assert!(Policy { max_memory: Some("lots".into()), ..Policy::default() }.check().is_err());
        assert!(Policy { max_cpu: Some("500m".into()), ..Policy::default() }.check().is_ok());
    }
}

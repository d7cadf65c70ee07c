//! The daemon's configuration file: which repositories go where. It is YAML, and its JSON Schema is printed by
//! `hks schema --config`.

mod access;

pub use access::{Access, Group, Oidc, Reader};

use crate::platform::{Gateway, Platform, Policy, gateway_name};
use anyhow::{Context as _, Result, bail};
use core::net::SocketAddr;
use core::num::{NonZeroU16, NonZeroU32};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration of `hks run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of this installation, which stands in the context of commit statuses: `hks/<cluster>/deploy`.
    #[serde(default = "defaults::cluster")]
    pub cluster: String,
    /// Address of the HTTP endpoint.
    #[serde(default = "defaults::listen")]
    pub listen: SocketAddr,
    /// Address of the probes alone, which the kubelet asks: nobody who fills the endpoint keeps it from that. Without it they are
    /// at the endpoint only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<SocketAddr>,
    /// Who may read pages, API and metrics.
    #[serde(default, skip_serializing_if = "is_default")]
    pub access: Access,
    /// HTTPS in place of HTTP at `listen`. Read at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Where people reach the HTTP endpoint; commit statuses link to it. Without it they carry no link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Folder for mirrors of the repositories and the key that seals records. It may be lost.
    #[serde(default = "defaults::data_dir")]
    pub data_dir: PathBuf,
    /// File with the key that seals the records of Stacks, 16 bytes or more: whoever may write ConfigMaps in a project can't tell hks
    /// what became of a commit. Unless given, `seal.key` in the data folder, made when there is none. Daemons that stand in for each
    /// other need the same. Read at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_key: Option<PathBuf>,
    /// Daemons with the same one stand in for each other: one leads, the others stand by. Read at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_election: Option<LeaderElection>,
    /// How many Stacks another setting of the platform, or another hks, touches at the same time. Read at the start.
    #[serde(default = "defaults::platform_changes_at_once")]
    pub platform_changes_at_once: NonZeroU16,
    /// How much of one project hks follows. With more it says so, and touches nothing there. Read at the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub project_budget: ProjectBudget,
    /// How much hks does for one cluster at most. Read at the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster_budget: ClusterBudget,
    /// What the platform has set up.
    #[serde(flatten)]
    pub platform: Platform,
    /// The kubeconfig of the host cluster; without one, `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Networks that hosts which files name may be in besides the public internet, such as `10.0.0.0/8`, when they are probed. Where
    /// generated hosts are is always one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probe_networks: Vec<String>,
    /// Namespace of the host cluster where hosts that files name are claimed, as Leases. All daemons that deploy to a cluster need
    /// the same. Unless given, that of the pod, or of the kubeconfig's context. Read at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_namespace: Option<String>,
    /// The repositories, by name.
    pub sources: BTreeMap<String, Source>,
}

/// By what the endpoint is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// File with the certificate and those between it and the authority, PEM, as `tls.crt` of a Secret. Read again when it changes.
    pub certificate: PathBuf,
    /// File with its key, PEM, as `tls.key` of a Secret. Read again when it changes.
    pub key: PathBuf,
}

/// By which Lease of the host cluster daemons agree on who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElection {
    /// Its name.
    pub lease: String,
    /// Its namespace; unless given, that of the pod, or of the kubeconfig's context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// How much of one project is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProjectBudget {
    /// Objects with the label of hks, whoever has made them.
    pub objects: usize,
    /// What hks keeps of the objects of its Stacks, as text; at rest it takes about a tenth of that.
    pub mebibytes: usize,
}

impl Default for ProjectBudget {
    /// For 3,000 Stacks of ten objects.
    fn default() -> Self {
        Self { objects: 50_000, mebibytes: 64 }
    }
}

impl ProjectBudget {
    /// In bytes.
    pub fn bytes(self) -> usize {
        self.mebibytes.saturating_mul(1 << 20)
    }
}

/// How much hks does for one cluster at most, in the long run; for some seconds it may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterBudget {
    /// Requests to its API server.
    pub requests_per_second: NonZeroU32,
    /// Thousandths of a processor that following its changes takes.
    pub millicores: NonZeroU32,
}

impl Default for ClusterBudget {
    /// Twice what rolling out a thousand Stacks takes where the cluster's controllers keep up.
    fn default() -> Self {
        Self {
            requests_per_second: NonZeroU32::MIN.saturating_add(199),
            millicores: NonZeroU32::MIN.saturating_add(499),
        }
    }
}

impl ClusterBudget {
    /// The time in which so much of a processor may be spent.
    pub fn time_for(self, cpu: Duration) -> Duration {
        cpu.saturating_mul(1000) / self.millicores.get()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Five: a platform's mistake is seen before it has reached many.
pub const AT_ONCE: NonZeroU16 = NonZeroU16::MIN.saturating_add(4);

/// Annotations that only say where metrics are.
const HARMLESS: &str = "prometheus.io/*";

/// A repository and the project that it is deployed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The repository.
    pub git: Git,
    /// The cluster; without it, the host cluster itself.
    #[serde(default)]
    pub target: Target,
    /// The project: a namespace of the target. It must exist.
    pub namespace: String,
    /// Generated hosts of this source end with this instead of the daemon's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Public hosts of this source are attached to this Gateway instead of the daemon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Hosts that files of this source may name besides generated ones: `shop.example.com`, or `*.example.com` for all names
    /// below. None unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// What files of this source may ask for, in place of what the platform says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Where commit statuses go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<Forge>,
    /// Push webhooks of this repository. Without it there is no route for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Git {
    /// `https://…`, `http://…` (loopback only), `ssh://…`, `user@host:path`, `file://…` or a path.
    pub url: String,
    /// The branch that is followed.
    #[serde(default = "defaults::branch")]
    pub branch: String,
    /// Follows the newest tag that fits this pattern instead of a branch, such as `v*`: the highest version among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Which files are Stacks, as a glob.
    #[serde(default = "defaults::path")]
    pub path: String,
    /// Longest time between looks, such as `30s`.
    #[serde(default = "defaults::poll", with = "duration")]
    #[schemars(with = "String")]
    pub poll: Duration,
    /// User name for http(s) or ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password or token for http(s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Credential>,
    /// Private key for ssh, in OpenSSH format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<Credential>,
    /// Host keys that are trusted for ssh, as in `known_hosts`: `ssh-ed25519 AAAA…`. No other is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Target {
    /// A vCluster in the host cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcluster: Option<VCluster>,
    /// A kubeconfig of its own instead of the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// A vCluster in the host cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VCluster {
    /// Its name.
    pub name: String,
    /// Its namespace in the host cluster; by default `vcluster-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A forge that takes commit statuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forge {
    /// Its kind.
    pub kind: ForgeKind,
    /// Such as `https://api.github.com`, `https://HOST/api/v3` or `https://HOST/api/v1` (Gitea).
    pub api_url: String,
    /// `owner/name`.
    pub repository: String,
    /// Token that may write commit statuses.
    pub token: Credential,
}

/// Kind of a forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// GitHub, GitHub Enterprise.
    Github,
    /// Gitea, Forgejo.
    Gitea,
}

/// Push webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// The secret that deliveries are signed with. Two are accepted while one is being replaced.
    pub secret: Credential,
    /// The secret before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<Credential>,
}

/// Where a secret value is; exactly one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Credential {
    /// A file. Credentials of a repository are read again at each look, others when their source starts.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A key of a Secret in the host cluster: `namespace/name/key`.
    Secret(String),
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// With file, line and column.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let config: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| anyhow::anyhow!("failed to read {}: {error}", file.display()))?;
        config.check().with_context(|| format!("failed to use {}", file.display()))?;
        Ok(config)
    }

    /// The platform's settings as they are for one source.
    pub fn platform_of(&self, source: &Source) -> Platform {
        let mut platform = self.platform.clone();
        if let Some(domain) = &source.domain {
            platform.domain.clone_from(domain);
        }
        if source.gateway.is_some() {
            platform.gateway.clone_from(&source.gateway);
        }
        platform.workspace = source.target.workspace(platform.workspace);
        platform.policy = self.policy_of(source);
        platform
    }

    /// What files of one source may ask for. Who may push to it is not trusted with what concerns others unless that was said.
    fn policy_of(&self, source: &Source) -> Policy {
        let mut policy = self.platform.policy.clone();
        if let Some(own) = &source.policy {
            policy = policy.with(own);
        }
        if source.hosts.is_some() {
            policy.hosts.clone_from(&source.hosts);
        }
        policy.hosts.get_or_insert_default();
        policy.issuers.get_or_insert_with(|| self.platform.ingress_tls.issuer.iter().cloned().collect());
        policy.annotations.get_or_insert_with(|| vec![HARMLESS.into()]);
        policy.labels.get_or_insert_default();
        // an address is no name, and no file may claim one
        let own = self.public_url.as_deref().and_then(host_of).filter(|host| crate::spec::is_host(host));
        policy.reserved_hosts.extend(own);
        policy
    }

    /// The networks that may be probed.
    pub fn networks(&self) -> Vec<IpNet> {
        self.probe_networks.iter().filter_map(|network| network.parse().ok()).collect()
    }

    fn check(&self) -> Result<()> {
        if let Some(wrong) = self.probe_networks.iter().find(|network| network.parse::<IpNet>().is_err()) {
            bail!("probeNetworks: {wrong:?} is no network; write it such as 10.0.0.0/8");
        }
        if !crate::ident::is_label(&self.cluster) {
            bail!("cluster {:?} must consist of a-z, 0-9 and -", self.cluster);
        }
        for gateway in
            self.platform.gateway.iter().chain(self.sources.values().filter_map(|source| source.gateway.as_ref()))
        {
            gateway_name(&gateway.name).map_err(anyhow::Error::msg)?;
        }
        self.platform.policy.check().context("policy")?;
        self.access.check(self.public_url.as_deref())?;
        if let Some(election) = &self.leader_election {
            if !crate::ident::is_label(&election.lease) {
                bail!("leaderElection.lease: {:?} must consist of a-z, 0-9 and -", election.lease);
            }
            if self.seal_key.is_none() {
                bail!("leaderElection: daemons that stand in for each other need the same key; set sealKey");
            }
        }
        if let Some(workspace) = self.platform.workspace.as_ref().filter(|name| !crate::ident::is_label(name)) {
            bail!("workspace {workspace:?} must consist of a-z, 0-9 and -");
        }
        for (name, source) in &self.sources {
            self.policy_of(source).check().with_context(|| format!("source {name}"))?;
            if !crate::ident::is_label(name) {
                bail!("source {name:?} must consist of a-z, 0-9 and -");
            }
            if !crate::ident::is_label(&source.namespace) {
                bail!("source {name}: namespace {:?} is not a name of a namespace", source.namespace);
            }
            if globset::Glob::new(&source.git.path).is_err() {
                bail!("source {name}: path {:?} is not a glob", source.git.path);
            }
            if source.git.tag.as_ref().is_some_and(|tag| globset::Glob::new(tag).is_err()) {
                bail!("source {name}: tag {:?} is not a pattern", source.git.tag.as_deref().unwrap_or_default());
            }
            let url = &source.git.url;
            let clear = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
            if clear && source.git.password.is_some() && !is_loopback(url) {
                bail!("source {name}: a password would travel in the clear to {url}; use https");
            }
            if let Some(forge) = &source.forge {
                if forge.repository.split('/').filter(|part| !part.is_empty()).count() != 2 {
                    bail!("source {name}: forge.repository {:?} must be owner/name", forge.repository);
                }
                if !forge.api_url.starts_with("https://") && !is_loopback(&forge.api_url) {
                    bail!("source {name}: the token would travel in the clear to {}; use https", forge.api_url);
                }
            }
        }
        Ok(())
    }
}

impl Target {
    /// What generated hosts carry for it, so that equal names in two clusters have two hosts.
    fn workspace(&self, beside: Option<String>) -> Option<String> {
        let vcluster = self.vcluster.as_ref();
        let place = vcluster.and_then(|of| of.namespace.clone().filter(|own| *own != format!("vcluster-{}", of.name)));
        let parts = [vcluster.map(|of| of.name.clone()), place, self.context.clone(), beside];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("."))
    }
}

fn host_of(url: &str) -> Option<String> {
    url.parse::<http::Uri>().ok()?.host().map(str::to_ascii_lowercase)
}

/// Whether an address is one of this machine: nothing there travels in the clear.
pub(crate) fn is_loopback(url: &str) -> bool {
    let host = host_of(url).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<core::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The JSON Schema of the configuration.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

mod defaults {
    use core::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::path::PathBuf;
    use std::time::Duration;

    pub(super) fn cluster() -> String {
        "default".into()
    }
    pub(super) fn listen() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)
    }
    pub(super) fn platform_changes_at_once() -> std::num::NonZeroU16 {
        super::AT_ONCE
    }
    pub(super) fn data_dir() -> PathBuf {
        "/var/lib/hks".into()
    }
    pub(super) fn branch() -> String {
        "main".into()
    }
    pub(super) fn path() -> String {
        "**/hks.yaml".into()
    }
    pub(super) fn poll() -> Duration {
        Duration::from_secs(30)
    }
}

mod duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "sources: {shop: {git: {url: /srv/shop.git}, namespace: shop}}";

    fn refusal(text: &str) -> String {
        Config::parse(text, Path::new("hks-daemon.yaml")).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn the_least_is_a_repository_and_a_namespace() -> Result<()> {
        let config = Config::parse(LEAST, Path::new("c.yaml"))?;
        assert_eq!(config.sources["shop"].git.poll, Duration::from_secs(30));
        assert_eq!(config.sources["shop"].git.branch, "main");
        Ok(())
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let text = refusal("cluster: x\nsource: {}\n");
        assert!(text.contains("hks-daemon.yaml") && text.contains("source"), "{text}");
        assert!(text.contains("line 2"), "{text}");
    }

    #[test]
    fn settings_of_the_platform_stand_beside_the_sources() -> Result<()> {
        let text = format!(
            "domain: apps.example\nscheme: https\nprobeUrls: false\ningressTls: {{minVersion: \"1.2\", options: {{\"1.3\": tls13@file}}}}\n\
             images: {{redis: r/redis}}\n{}",
            LEAST.replace("namespace: shop", "namespace: shop, domain: shop.example")
        );
        let config = Config::parse(&text, Path::new("c.yaml"))?;
        assert_eq!((config.platform.domain.as_str(), config.platform.probe_urls), ("apps.example", false));
        assert_eq!(config.platform.images.redis, "r/redis");
        let shop = config.platform_of(&config.sources["shop"]);
        assert_eq!((shop.domain.as_str(), shop.ingress_tls.options.len()), ("shop.example", 1));
        let text = refusal("ingressTls: {minVersion: \"1.1\"}\nsources: {}\n");
        assert!(text.contains("1.1"), "{text}");
        Ok(())
    }

    #[test]
    fn a_source_may_ask_for_what_was_said() -> Result<()> {
        let text = "publicUrl: https://Hks.example.com:8443/x\npolicy: {maxReplicas: 5, hosts: [all.example]}\nsources:\n  \
                    a: {git: {url: /srv/a.git}, namespace: a, target: {vcluster: {name: one}}}\n  \
                    b: {git: {url: /srv/b.git}, namespace: a, target: {vcluster: {name: one, namespace: other}}, hosts: ['*.b.example'], \
                    policy: {maxReplicas: 9}}\n  c: {git: {url: /srv/c.git}, namespace: a}\n";
        let config = Config::parse(text, Path::new("c.yaml"))?;
        let of = |name: &str| config.platform_of(&config.sources[name]);
        let hosts = |name: &str| of(name).policy.hosts.unwrap_or_default().join(" ");
        assert_eq!((hosts("a"), hosts("b")), ("all.example".into(), "*.b.example".into()));
        assert_eq!((of("a").policy.max_replicas, of("b").policy.max_replicas), (Some(5), Some(9)));
        assert_eq!(of("a").policy.reserved_hosts, ["hks.example.com"]);
        let workspace = |name: &str| of(name).workspace.unwrap_or_default();
        assert_eq!([workspace("a"), workspace("b"), workspace("c")], ["one", "one.other", ""]);
        let least = Config::parse(LEAST, Path::new("c.yaml"))?;
        let least = least.platform_of(&least.sources["shop"]).policy;
        assert_eq!((least.hosts, least.issuers, least.labels), (Some(vec![]), Some(vec![]), Some(vec![])));
        for wrong in ["hosts: ['https://x.example']", "policy: {maxMemory: lots}"] {
            let text = refusal(&LEAST.replace("namespace: shop", &format!("namespace: shop, {wrong}")));
            assert!(text.contains("source shop"), "{text}");
        }
        assert!(refusal(&format!("probeNetworks: [ten]\n{LEAST}")).contains("10.0.0.0/8"));
        // where the daemon is reached may be an address: the demo's is
        for address in ["127.0.0.1:8088", "[::1]:8088", "192.0.2.7"] {
            let config = Config::parse(&format!("publicUrl: http://{address}\n{LEAST}"), Path::new("c.yaml"))?;
            assert_eq!(config.platform_of(&config.sources["shop"]).policy.reserved_hosts, [""; 0], "{address}");
        }
        Ok(())
    }

    #[test]
    fn credentials_do_not_travel_in_the_clear() {
        let text =
            refusal("sources: {s: {namespace: s, git: {url: http://git.example/x, username: u, password: {env: P}}}}");
        assert!(text.contains("in the clear"), "{text}");
        assert!(
            is_loopback("http://127.0.0.1:3000/x") && is_loopback("http://[::1]/") && is_loopback("http://localhost/")
        );
        assert!(!is_loopback("http://127.evil.example/") && !is_loopback("http://localhost.evil.example/"));
    }
}

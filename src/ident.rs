//! Newtypes for the names that flow through hks; no bare `String` stands for one of these past this module.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A git commit, as its full hexadecimal object id (40 digits for SHA-1, 64 for SHA-256).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(Arc<str>);

impl Revision {
    /// Takes any text; the git adapter is what guarantees that it is an object id.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into().into())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven characters, as `git log --oneline` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

/// Characters of an author or subject that are kept.
const MOST_SAID: usize = 100;

/// What a commit says of itself: anybody may write anything there, so it is one short line without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who wrote it.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

impl Message {
    /// Takes any text.
    pub fn new(author: &str, subject: &str) -> Self {
        let short = |text: &str| {
            let mut said = text.chars().filter(|c| !c.is_control());
            let short: String = said.by_ref().take(MOST_SAID).collect();
            if said.next().is_some() { format!("{short}…") } else { short }
        };
        Self { author: short(author), subject: short(subject) }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.author)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a Stack (`metadata.name` of an hks.yaml): an RFC 1123 label, unique within its project.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StackName(Arc<str>);

impl StackName {
    /// The name, if it is an RFC 1123 label of at most 40 characters, so that composed names stay within 63.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        (is_label(&name) && name.len() <= 40).then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is an RFC 1123 label: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
pub fn is_label(text: &str) -> bool {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(|c| ok(*c))
        && bytes.last().is_some_and(|c| ok(*c))
        && bytes.iter().all(|c| ok(*c) || *c == b'-')
}

/// The kinds of Kubernetes objects that hks writes or watches. A Stack can express no other, so it cannot leave its
/// project through one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// `v1`
    Secret,
    /// `v1`
    ConfigMap,
    /// `v1`
    PersistentVolumeClaim,
    /// `v1`
    Service,
    /// `networking.k8s.io/v1`
    NetworkPolicy,
    /// `apps/v1`
    StatefulSet,
    /// `apps/v1`
    Deployment,
    /// `autoscaling/v2`
    HorizontalPodAutoscaler,
    /// `policy/v1`
    PodDisruptionBudget,
    /// `batch/v1`
    CronJob,
    /// `networking.k8s.io/v1`
    Ingress,
    /// `gateway.networking.k8s.io/v1`, where the cluster has it
    HTTPRoute,
    /// `batch/v1`
    Job,
    /// `apps/v1`, only watched
    ReplicaSet,
    /// `discovery.k8s.io/v1`, only watched
    EndpointSlice,
    /// `v1`, written only to prove that an image can be pulled
    Pod,
    /// `coordination.k8s.io/v1`
    Lease,
}

impl Kind {
    /// Every kind, in the order in which objects are created.
    pub const ALL: [Kind; 17] = [
        Kind::Secret,
        Kind::ConfigMap,
        Kind::PersistentVolumeClaim,
        Kind::Service,
        Kind::NetworkPolicy,
        Kind::StatefulSet,
        Kind::Deployment,
        Kind::HorizontalPodAutoscaler,
        Kind::PodDisruptionBudget,
        Kind::CronJob,
        Kind::Ingress,
        Kind::HTTPRoute,
        Kind::Job,
        Kind::ReplicaSet,
        Kind::EndpointSlice,
        Kind::Pod,
        Kind::Lease,
    ];

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Kind::Deployment | Kind::StatefulSet | Kind::ReplicaSet => "apps",
            Kind::Ingress | Kind::NetworkPolicy => "networking.k8s.io",
            Kind::HTTPRoute => "gateway.networking.k8s.io",
            Kind::EndpointSlice => "discovery.k8s.io",
            Kind::Lease => "coordination.k8s.io",
            Kind::HorizontalPodAutoscaler => "autoscaling",
            Kind::PodDisruptionBudget => "policy",
            Kind::CronJob | Kind::Job => "batch",
            Kind::Secret | Kind::ConfigMap | Kind::PersistentVolumeClaim | Kind::Service | Kind::Pod => "",
        }
    }

    /// The version of its API group.
    pub fn version(self) -> &'static str {
        if self == Kind::HorizontalPodAutoscaler { "v2" } else { "v1" }
    }

    /// `apiVersion` as it stands in a manifest.
    pub fn api_version(self) -> &'static str {
        match self.group() {
            "autoscaling" => "autoscaling/v2",
            "batch" => "batch/v1",
            "policy" => "policy/v1",
            "apps" => "apps/v1",
            "networking.k8s.io" => "networking.k8s.io/v1",
            "gateway.networking.k8s.io" => "gateway.networking.k8s.io/v1",
            "discovery.k8s.io" => "discovery.k8s.io/v1",
            "coordination.k8s.io" => "coordination.k8s.io/v1",
            _ => "v1",
        }
    }

    /// The lower-case plural of the REST path.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Secret => "secrets",
            Kind::ConfigMap => "configmaps",
            Kind::PersistentVolumeClaim => "persistentvolumeclaims",
            Kind::Service => "services",
            Kind::NetworkPolicy => "networkpolicies",
            Kind::StatefulSet => "statefulsets",
            Kind::Deployment => "deployments",
            Kind::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Kind::PodDisruptionBudget => "poddisruptionbudgets",
            Kind::CronJob => "cronjobs",
            Kind::Job => "jobs",
            Kind::Ingress => "ingresses",
            Kind::HTTPRoute => "httproutes",
            Kind::ReplicaSet => "replicasets",
            Kind::EndpointSlice => "endpointslices",
            Kind::Pod => "pods",
            Kind::Lease => "leases",
        }
    }

    /// The kind named `name` in a manifest, if hks knows it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An object of the Stack's project. There is no namespace in it: a Stack has exactly one, and only the shell knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// The key of the object `name` of kind `kind`.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// One walk of the state machine toward a release; replies that carry an older id are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PassId(pub u64);

impl PassId {
    /// The id of the following pass.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for PassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass-{}", self.0)
    }
}

/// What of a Stack something belongs to, by its name in hks.yaml.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// An app.
    App(String),
    /// A database, or the pooler before one.
    Database(String),
    /// A cache.
    Cache(String),
    /// A job.
    Job(String),
    /// A public address.
    Ingress(String),
    /// Keys that somebody has to set.
    Secret(String),
    /// The pod that proves that an image can be pulled.
    Image,
    /// All of it.
    Stack,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(name) | Self::Database(name) | Self::Cache(name) | Self::Job(name) | Self::Ingress(name) => {
                f.write_str(name)
            }
            Self::Secret(name) => write!(f, "secret {name}"),
            Self::Image => f.write_str("image check"),
            Self::Stack => f.write_str("the Stack"),
        }
    }
}

//! What a valid hks.yaml means: every default written out, every reference resolved to what it points at.
//!
//! Nothing here can be wrong any more: later modules match on these types and never fail.

use crate::ident::StackName;
use std::collections::BTreeMap;
use std::time::Duration;

/// One valid hks.yaml: the unit of deployment and of rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `metadata.name`.
    pub name: StackName,
    /// Registries by their name in the file.
    pub registries: BTreeMap<String, Registry>,
    /// Databases by name.
    pub databases: BTreeMap<String, Database>,
    /// Apps by name.
    pub apps: BTreeMap<String, App>,
    /// Generated secrets by name.
    pub secrets: BTreeMap<String, Generated>,
    /// Public hosts by name.
    pub ingress: BTreeMap<String, Ingress>,
    /// How a deployment behaves.
    pub deploy: Deploy,
}

/// Where images come from and how to log in.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// Prepended to the repository of images that name this registry, such as `registry.example/team`.
    pub server: String,
    /// Name of a `kubernetes.io/dockerconfigjson` Secret that exists in the project.
    pub secret: String,
}

/// A PostgreSQL database.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Major version, such as 16.
    pub version: u32,
    /// Size of the volume as a Kubernetes quantity, such as `5Gi`.
    pub storage: String,
    /// CPU and memory of the server.
    pub resources: Resources,
}

/// A stateless program behind a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// The image reference as the kubelet pulls it; only `git` and `project` references occur in it.
    pub image: Template,
    /// Pull secrets of the image's registry.
    pub pull_secret: Option<String>,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<Template>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<Template>,
    /// TCP ports by name, in the order of the file; the first one is the default of probes and paths.
    pub ports: Vec<(String, u16)>,
    /// Environment by name.
    pub env: BTreeMap<String, Template>,
    /// Number of pods.
    pub replicas: u32,
    /// CPU and memory of each pod.
    pub resources: Resources,
    /// Gives the app time to start before the other probes count.
    pub startup: Option<Probe>,
    /// Decides whether the app gets traffic; by default TCP on the first port.
    pub readiness: Option<Probe>,
    /// Restarts the app when it fails; none by default.
    pub liveness: Option<Probe>,
}

/// CPU and memory, as Kubernetes quantities.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Guaranteed CPU.
    pub request_cpu: String,
    /// Guaranteed memory.
    pub request_memory: String,
    /// Most CPU.
    pub limit_cpu: String,
    /// Most memory.
    pub limit_memory: String,
}

/// A health check.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// HTTP path; `None` means that a TCP connection is enough.
    pub path: Option<String>,
    /// Port number.
    pub port: u16,
    /// Time before the first check.
    pub initial_delay: Duration,
    /// Time between checks.
    pub period: Duration,
    /// Time in which an answer must come.
    pub timeout: Duration,
    /// Failures in a row that count as failed.
    pub failure_threshold: u32,
}

/// A Secret whose values hks makes once.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Length in characters by key.
    pub keys: BTreeMap<String, usize>,
}

/// A public host and what answers on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// The host; `None` means that the daemon makes one from its base domain. Only `git` and `project` references
    /// occur in it.
    pub host: Option<Template>,
    /// By path prefix: the app and its port name.
    pub paths: BTreeMap<String, (String, String)>,
}

/// How a deployment behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// How long the Stack may take to become ready, waits for capacity not counted.
    pub timeout: Duration,
    /// How long to wait for room in the node pool before the deployment fails.
    pub capacity_wait: Duration,
    /// What happens when someone else changes a field that hks owns.
    pub drift: Drift,
}

/// What happens on drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Reported and put back (the default).
    Correct,
    /// Only reported.
    Report,
}

/// Text with references in it, in order. `$${` in the file is a literal `${` here.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Template(pub Vec<Part>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Literal text.
    Text(String),
    /// What stood in `${…}`; that the target exists has been checked.
    Ref(Reference),
}

/// What a reference points at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// `${databases.NAME.FIELD}`
    Database(String, DatabaseField),
    /// `${secrets.NAME.KEY}`
    Secret(String, String),
    /// `${apps.NAME.host}`: the host name of the app's Service.
    AppHost(String),
    /// `${apps.NAME.port}`: the app's first port.
    AppPort(String),
    /// `${ingress.NAME.host}`
    IngressHost(String),
    /// `${ingress.NAME.url}`
    IngressUrl(String),
    /// `${git.sha}`
    GitSha,
    /// `${git.shortSha}`: seven digits.
    GitShortSha,
    /// `${project.namespace}`
    Namespace,
}

/// The fields of a database that can be referred to. User, password and url are secret values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DatabaseField {
    /// Host name of its Service.
    Host,
    /// 5432.
    Port,
    /// Name of the database.
    Name,
    /// The app's role.
    User,
    /// The role's password.
    Password,
    /// `postgresql://user:password@host:port/name`
    Url,
}

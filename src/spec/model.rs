//! What a valid hks.yaml means: every default written out, every reference resolved to what it points at.
//!
//! Nothing here can be wrong any more: later modules match on these types and never fail.

mod edge;

pub use edge::*;

use crate::ident::StackName;
use std::collections::BTreeMap;
use std::time::Duration;

/// One valid hks.yaml, in one environment: the unit of deployment and of rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `metadata.name`.
    pub name: StackName,
    /// Databases by name.
    pub databases: BTreeMap<String, Database>,
    /// Caches by name.
    pub caches: BTreeMap<String, Cache>,
    /// Apps that are deployed, by name.
    pub apps: BTreeMap<String, App>,
    /// Addresses of apps that run elsewhere, by name.
    pub external: BTreeMap<String, String>,
    /// Jobs by name.
    pub jobs: BTreeMap<String, Job>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Public hosts by name.
    pub ingress: BTreeMap<String, Ingress>,
    /// How a deployment behaves.
    pub deploy: Deploy,
}

/// A `PostgreSQL` database.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Major version, such as 16.
    pub version: u32,
    /// Name of the database in its server.
    pub name: String,
    /// The role that apps log in as.
    pub user: String,
    /// Size of the volume as a Kubernetes quantity, such as `5Gi`.
    pub storage: String,
    /// Storage class of its volume; the platform's default unless given.
    pub storage_class: Option<String>,
    /// CPU and memory of the server.
    pub resources: Resources,
    /// Server parameters.
    pub parameters: BTreeMap<String, String>,
    /// Extensions to create.
    pub extensions: Vec<String>,
    /// `PgBouncer` in front of it.
    pub pooler: Option<Pooler>,
    /// The Secret whose `password` is taken instead of a generated one.
    pub credentials: Option<String>,
    /// Whether the data is deleted when the database leaves the file.
    pub delete_data: bool,
}

/// `PgBouncer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooler {
    /// `transaction` or `session`.
    pub mode: &'static str,
    /// Connections to the server.
    pub size: u32,
    /// Clients at the same time.
    pub max_clients: u32,
    /// Number of pods.
    pub replicas: u32,
}

/// A Redis or Valkey server.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Which of the two.
    pub engine: CacheEngine,
    /// Major version.
    pub version: u32,
    /// Memory for data, in bytes.
    pub max_memory: u64,
    /// As the server calls it, such as `allkeys-lru`.
    pub eviction: &'static str,
    /// Size of the volume that keeps the data.
    pub persistence: Option<String>,
    /// Storage class of its volume; the platform's default unless given.
    pub storage_class: Option<String>,
    /// CPU and memory of the server.
    pub resources: Resources,
}

/// Kind of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheEngine {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

/// What runs in a pod of an app or job.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// The image reference as the kubelet pulls it; no secret occurs in it.
    pub image: Template,
    /// Pull secret of the image's registry.
    pub pull_secret: Option<String>,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<Template>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<Template>,
    /// Environment by name.
    pub env: BTreeMap<String, Template>,
    /// Files by absolute path; no secret occurs in them.
    pub files: BTreeMap<String, Template>,
    /// Certificates in PEM that are trusted besides the public ones.
    pub certificates: Vec<String>,
    /// Who it runs as.
    pub security: Security,
    /// Labels of the pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    pub annotations: BTreeMap<String, String>,
}

impl Program {
    /// Whether it refers to something that `is` says.
    pub fn refers(&self, is: impl Fn(&Reference) -> bool) -> bool {
        let texts = self.env.values().chain(&self.command).chain(&self.args).chain(self.files.values());
        texts.flat_map(|template| &template.0).any(|part| matches!(part, Part::Ref(reference) if is(reference)))
    }
}

/// A program behind a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// What runs.
    pub program: Program,
    /// Ports by name, in the order of the file; the first one is the default of probes and paths.
    pub ports: Vec<Port>,
    /// How many pods.
    pub scale: Scale,
    /// CPU and memory of each pod.
    pub resources: Resources,
    /// Gives the app time to start before the other probes count.
    pub startup: Option<Probe>,
    /// Decides whether the app gets traffic; by default TCP on the first port.
    pub readiness: Option<Probe>,
    /// Restarts the app when it fails; none by default.
    pub liveness: Option<Probe>,
    /// How a new version takes over.
    pub rollout: Rollout,
    /// How long a pod has to stay ready before it counts as such.
    pub min_ready: Duration,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Time from the request to end until a pod is killed, `drain` included.
    pub grace: Duration,
    /// Time for which an ending pod still serves.
    pub drain: Duration,
    /// How many waves of apps come before this one.
    pub wave: u8,
    /// An app of the next wave waits only until this one has started, not until it is ready.
    pub started_is_enough: bool,
}

/// A port of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1, or TCP in general.
    Http,
    /// HTTP/2 without TLS.
    Grpc,
    /// TCP that is not HTTP.
    Tcp,
    /// UDP.
    Udp,
}

/// How many pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// So many.
    Fixed(u32),
    /// As few as the load allows.
    Auto(Autoscaling),
}

/// How the number of pods follows the load.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaling {
    /// Fewest pods.
    pub min: u32,
    /// Most pods.
    pub max: u32,
    /// Percent of the requested CPU.
    pub cpu: Option<u32>,
    /// Percent of the requested memory.
    pub memory: Option<u32>,
    /// How fast pods are added.
    pub up: Option<Scaling>,
    /// How fast they are taken away.
    pub down: Option<Scaling>,
}

/// How fast the number of pods changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// How long the load must last.
    pub stabilization: Option<Duration>,
    /// Most pods in a period of this length.
    pub pods: Option<(u32, Duration)>,
}

/// How a new version takes over.
#[derive(Clone, Debug, PartialEq)]
pub enum Rollout {
    /// Pod by pod; each value is a number or a percentage, as Kubernetes takes it.
    Rolling {
        /// Pods above the wanted number.
        surge: serde_json::Value,
        /// Pods that may be missing.
        unavailable: serde_json::Value,
    },
    /// The old pod ends first: its volume can be used by one pod only.
    Recreate,
    /// Beside the old one, then all at once.
    BlueGreen {
        /// How long the old version stays.
        keep_old: Duration,
    },
}

/// A volume of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Absolute path in the container.
    pub mount: String,
    /// Its size as a Kubernetes quantity.
    pub size: String,
    /// Whether its data lasts.
    pub lasting: bool,
    /// Storage class, if its data lasts; the platform's default unless given.
    pub class: Option<String>,
}

/// Who a container runs as.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Security {
    /// Number of the user.
    pub user: Option<u32>,
    /// Number of the group.
    pub group: Option<u32>,
    /// Number of the group that volumes belong to.
    pub fs_group: Option<u32>,
    /// Refuses to run as root.
    pub non_root: bool,
    /// Only volumes can be written.
    pub read_only: bool,
    /// Capabilities that are kept, such as `NET_BIND_SERVICE`.
    pub capabilities: Vec<String>,
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
    /// How it is asked.
    pub check: Check,
    /// Time before the first check.
    pub initial_delay: Duration,
    /// Time between checks.
    pub period: Duration,
    /// Time in which an answer must come.
    pub timeout: Duration,
    /// Failures in a row that count as failed.
    pub failure_threshold: u32,
}

/// How a health check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// GET of a path on a port.
    Http(String, u16),
    /// A TCP connection.
    Tcp(u16),
    /// A command in the container.
    Exec(Vec<String>),
    /// The gRPC health checking protocol: port and service.
    Grpc(u16, String),
}

/// A program that ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The app whose program it is.
    pub app: String,
    /// What runs: the app's program with the job's own command, arguments and environment.
    pub program: Program,
    /// When.
    pub when: When,
    /// How long a run may take.
    pub timeout: Duration,
    /// How often a failed run is tried again.
    pub retries: u32,
    /// CPU and memory.
    pub resources: Resources,
}

/// When a job runs.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Once for each release, when its apps are ready.
    PostDeploy,
    /// When somebody says so.
    Manual,
    /// By the clock.
    Scheduled {
        /// Cron's five fields.
        cron: String,
        /// IANA name.
        timezone: String,
        /// `Forbid`, `Allow` or `Replace`.
        concurrency: &'static str,
        /// Ended runs that are kept.
        history: u32,
    },
}

/// A Secret of apps.
#[derive(Clone, Debug, PartialEq)]
pub enum Secret {
    /// Made by hks: length in characters by key.
    Generated(BTreeMap<String, usize>),
    /// Set by somebody with `hks secret set`: its keys.
    Set(Vec<String>),
    /// Kept by others, under this name.
    Existing(String),
}

/// How a deployment behaves.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Deploy {
    /// How long the Stack may take to become ready, waits for capacity not counted.
    pub timeout: Duration,
    /// How long to wait for room in the node pool before the deployment fails.
    pub capacity_wait: Duration,
    /// What happens when someone else changes a field that hks owns.
    pub drift: Drift,
}

/// What happens on drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Drift {
    /// Reported and put back (the default).
    Correct,
    /// Only reported.
    Report,
}

/// Text with references in it, in order. `$${` in the file is a literal `${` here.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Template(pub Vec<Part>);

impl Template {
    /// Literal text.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(if text.is_empty() { vec![] } else { vec![Part::Text(text)] })
    }
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Literal text.
    Text(String),
    /// What stood in `${…}`; that the target exists has been checked.
    Ref(Reference),
}

/// What a reference points at. Parameters and the environment's name are text already.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// `${databases.NAME.FIELD}`
    Database(String, DatabaseField),
    /// `${caches.NAME.FIELD}`
    Cache(String, CacheField),
    /// `${secrets.NAME.KEY}`
    Secret(String, String),
    /// `${apps.NAME.host}`: the host name of the app's Service.
    AppHost(String),
    /// `${apps.NAME.port}`: the app's first port.
    AppPort(String),
    /// `${apps.NAME.url}`: `http://HOST:PORT`.
    AppUrl(String),
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

impl Reference {
    /// Whether it stands for a value that nobody may see.
    pub fn is_secret(&self) -> bool {
        use DatabaseField as D;
        match self {
            Reference::Database(_, field) => matches!(field, D::User | D::Password | D::Url | D::PoolerUrl),
            Reference::Cache(_, field) => matches!(field, CacheField::Password | CacheField::Url),
            Reference::Secret(..) => true,
            _ => false,
        }
    }

    /// Text of the same length and shape, for checks of what is composed with it.
    pub(in crate::spec) fn stand_in(&self) -> &'static str {
        match self {
            Reference::GitSha => "0000000000000000000000000000000000000000",
            Reference::GitShortSha => "0000000",
            _ => "x",
        }
    }
}

/// The fields of a database that can be referred to. All that holds user or password is a secret value.
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
    /// `jdbc:postgresql://host:port/name`, without user and password.
    JdbcUrl,
    /// Like `Url`, through `PgBouncer`.
    PoolerUrl,
}

/// The fields of a cache that can be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheField {
    /// Host name of its Service.
    Host,
    /// 6379.
    Port,
    /// The password.
    Password,
    /// `redis://:password@host:port/0`
    Url,
}

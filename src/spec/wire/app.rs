//! Apps as they are written.

use super::{
    Component, Digest, Duration, EnvName, FilePath, HttpUrl, ImageParam, Label, LabelKey, LabelValue, Map, Memory,
    ObjectName,
};
use super::{PortName, RepositoryPath, Resources, Scalar, ServiceName, UrlPath};
use schemars::JsonSchema;
use serde::Deserialize;

/// A program behind a Service of its own: exactly one of `image`, `from` and `external`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct App {
    /// The container image.
    pub image: Option<Image>,
    /// Name of another app: the same image, environment, files and certificates, usually with another command.
    pub from: Option<Label>,
    /// Address of a program that runs elsewhere. Nothing is deployed; others refer to it by `${apps.NAME.url}`.
    pub external: Option<HttpUrl>,
    /// Replaces the image's entrypoint. May hold references.
    #[schemars(length(max = 1000))]
    pub command: Vec<Scalar>,
    /// Replaces the image's arguments. May hold references.
    #[schemars(length(max = 1000))]
    pub args: Vec<Scalar>,
    /// Ports by name; the first one is the default of probes and paths.
    #[schemars(extend("maxProperties" = 50))]
    pub ports: Map<PortName, Port>,
    /// Environment variables by name. May hold references.
    #[schemars(extend("maxProperties" = 500))]
    pub env: Map<EnvName, Scalar>,
    /// Files in the container, by absolute path. A change of a file restarts the app.
    #[schemars(extend("maxProperties" = 100))]
    pub files: Map<FilePath, File>,
    /// Number of pods; without `autoscaling`.
    #[schemars(range(max = 100), extend("default" = 1))]
    pub replicas: Option<u32>,
    /// Lets the number of pods follow the load.
    pub autoscaling: Option<Autoscaling>,
    /// CPU and memory of each pod; requests 100m/128Mi and limits 500m/256Mi unless given.
    pub resources: Resources,
    /// Health checks.
    pub probes: Probes,
    /// How a new version takes over.
    pub rollout: Rollout,
    /// Volumes by name.
    #[schemars(extend("maxProperties" = 50))]
    pub volumes: Map<Label, Volume>,
    /// How a pod ends.
    pub shutdown: Shutdown,
    /// What must be there before this app starts, such as `databases.main: ready`. Whatever its environment refers to
    /// comes first anyway.
    #[schemars(extend("maxProperties" = 100))]
    pub depends_on: Map<Component, Condition>,
    /// Who the container runs as.
    pub security: Security,
    /// Labels of the pods, besides those of hks.
    #[schemars(extend("maxProperties" = 50))]
    pub labels: Map<LabelKey, LabelValue>,
    /// Annotations of the pods, besides those of hks.
    #[schemars(extend("maxProperties" = 50))]
    pub annotations: Map<LabelKey, Scalar>,
    /// Names of `certificates` that the app trusts besides the public authorities, through `SSL_CERT_FILE`,
    /// `REQUESTS_CA_BUNDLE`, `NODE_EXTRA_CA_CERTS` and `CURL_CA_BUNDLE`.
    #[schemars(length(max = 20))]
    pub ca_certificates: Vec<Label>,
}

/// A port: its number, or number and protocol.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Port {
    Number(PortNumber),
    Parts(PortParts),
}

/// Number of a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PortNumber(#[schemars(range(min = 1, max = 65535))] pub u16);

/// A port and what is spoken on it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["port"]))]
pub struct PortParts {
    /// Number of the port.
    pub port: Option<PortNumber>,
    /// What is spoken: `http`, `grpc` (HTTP/2 without TLS), `tcp` or `udp`.
    #[schemars(extend("default" = "http"))]
    pub protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Protocol {
    Http,
    Grpc,
    Tcp,
    Udp,
}

/// An image as one text, or in parts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Image {
    Text(ImageText),
    Parts(ImageParts),
}

/// `repository:tag` or `repository@digest`. The tag may hold references to `git`, `params`, `env` and `project`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("examples" = ["registry.example/team/web:1.0.0"]))]
pub struct ImageText(#[schemars(length(min = 1, max = 1024))] pub String);

/// An image in parts; at least one of tag and digest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["repository"]))]
pub struct ImageParts {
    /// Repository, without tag; below the server of the registry if one is named.
    #[schemars(length(min = 1, max = 255))]
    pub repository: Option<String>,
    /// Tag. May hold references to `git`, `params`, `env` and `project`.
    pub tag: Option<ImageParam>,
    /// Digest; pins the image whatever becomes of its tag.
    pub digest: Option<Digest>,
    /// Name of an entry of `registries`.
    pub registry: Option<Label>,
}

/// A file: exactly one of `text` and `source`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// What is in it. May hold references, but none to a secret.
    #[schemars(length(max = 65536))]
    pub text: Option<String>,
    /// Path of a text file in the repository, from the folder of hks.yaml, or with a leading `/` from the root; at most
    /// 64 KiB. It is taken as it is.
    pub source: Option<RepositoryPath>,
}

/// How many pods there are: as few as the load allows. At least one of `cpu` and `memory`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["max"]))]
pub struct Autoscaling {
    /// Fewest pods.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    pub min: Option<u32>,
    /// Most pods.
    #[schemars(range(min = 1, max = 100))]
    pub max: Option<u32>,
    /// Average use of the requested CPU to aim at, in percent.
    #[schemars(range(min = 1, max = 1000))]
    pub cpu: Option<u32>,
    /// Average use of the requested memory to aim at, in percent.
    #[schemars(range(min = 1, max = 1000))]
    pub memory: Option<u32>,
    /// How fast pods are added.
    pub scale_up: Option<Scaling>,
    /// How fast pods are taken away.
    pub scale_down: Option<Scaling>,
}

/// How fast the number of pods changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scaling {
    /// How long the load must last, at most 1h; 0s for up and 5m for down unless given.
    pub stabilization: Option<Duration>,
    /// Most pods in one `period`.
    #[schemars(range(min = 1, max = 100))]
    pub pods: Option<u32>,
    /// Length of a period, 1s to 30m.
    #[schemars(extend("default" = "1m"))]
    pub period: Option<Duration>,
}

/// Health checks of an app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probes {
    /// Gives the app time to start before the other probes count. 30 failures are allowed unless given.
    pub startup: Option<Probe>,
    /// Decides whether the app gets traffic. TCP on the first port unless given.
    pub readiness: Option<Probe>,
    /// Restarts the app when it fails. None unless given.
    pub liveness: Option<Probe>,
}

/// A health check: at most one of `path` (HTTP), `tcp`, `exec` and `grpc`; with none of them it is TCP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Probe {
    /// HTTP: path that answers 200–399 when all is well.
    pub path: Option<UrlPath>,
    /// TCP: that a connection can be made is enough. Always `true`.
    pub tcp: Option<Yes>,
    /// A command in the container that ends with 0 when all is well.
    #[schemars(length(min = 1, max = 100))]
    pub exec: Vec<String>,
    /// gRPC health checking protocol: the service that is asked for, `""` for the server as a whole.
    pub grpc: Option<ServiceName>,
    /// Name of a port of the app; the first one unless given.
    pub port: Option<PortName>,
    /// Time before the first check, at most an hour.
    #[schemars(extend("default" = "0s"))]
    pub initial_delay: Option<Duration>,
    /// Time between checks, 1s to an hour.
    #[schemars(extend("default" = "10s"))]
    pub period: Option<Duration>,
    /// Time in which an answer must come, 1s to an hour.
    #[schemars(extend("default" = "5s"))]
    pub timeout: Option<Duration>,
    /// Failures in a row that count as failed; 3 unless given, 30 for `startup`.
    #[schemars(range(min = 1, max = 1000))]
    pub failure_threshold: Option<u32>,
}

/// How a new version takes over.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Rollout {
    /// `rolling` replaces pod by pod. `blueGreen` starts the new version beside the old one, waits until all of it is ready,
    /// and then switches at once; its host name is `NAME-preview` until then.
    #[schemars(extend("default" = "rolling"))]
    pub strategy: Option<Strategy>,
    /// Rolling: how many pods there may be above the number that is wanted, as a number or in percent.
    #[schemars(extend("default" = 1))]
    pub max_surge: Option<Share>,
    /// Rolling: how many pods may be missing, as a number or in percent.
    #[schemars(extend("default" = 0))]
    pub max_unavailable: Option<Share>,
    /// Blue/green: how long the old version stays after the switch, at most 24h. Until then a rollback only switches.
    #[schemars(extend("default" = "5m"))]
    pub keep_old: Option<Duration>,
    /// How long a new pod has to stay ready before it counts as such, at most 5m. One that ends within that time has failed.
    /// Without a readiness probe `10s` unless given, else none.
    pub min_ready: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Strategy {
    Rolling,
    BlueGreen,
}

/// A volume: exactly one of `size` (its data lasts) and `scratch` (its data ends with the pod).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["mount"]))]
pub struct Volume {
    /// Absolute path in the container.
    pub mount: Option<FilePath>,
    /// Size of a volume whose data lasts. It may grow, never shrink. An app that has one runs as one pod, and its old pod
    /// ends before the new one starts.
    pub size: Option<Memory>,
    /// Largest size of a volume whose data ends with the pod.
    pub scratch: Option<Memory>,
    /// Storage class of a volume with `size`; by default the platform's, or the cluster's. It counts when the volume is made.
    pub class: Option<ObjectName>,
}

/// How a pod ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Shutdown {
    /// Time from the request to end until the pod is killed, `drain` included, 1s to 1h.
    #[schemars(extend("default" = "30s"))]
    pub grace_period: Option<Duration>,
    /// Time for which an ending pod still serves, so that the traffic goes elsewhere first; 0s to 10m.
    #[schemars(extend("default" = "5s"))]
    pub drain: Option<Duration>,
}

/// How far another part of the Stack must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Condition {
    Started,
    Ready,
}

/// Who the container runs as. Nothing here leaves the baseline of the Pod Security Standards.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Security {
    /// Number of the user; the image's own unless given.
    #[schemars(range(max = 2_147_483_647))]
    pub run_as_user: Option<u32>,
    /// Number of the group; the image's own unless given.
    #[schemars(range(max = 2_147_483_647))]
    pub run_as_group: Option<u32>,
    /// Number of the group that volumes belong to.
    #[schemars(range(max = 2_147_483_647))]
    pub fs_group: Option<u32>,
    /// Refuses to run as root. The image must then name its user by number.
    #[schemars(extend("default" = false))]
    pub run_as_non_root: Option<bool>,
    /// Lets the container write only to its volumes.
    #[schemars(extend("default" = false))]
    pub read_only_root_filesystem: Option<bool>,
    /// Capabilities to keep; all others are dropped.
    #[schemars(length(max = 20))]
    pub capabilities: Vec<Capability>,
}

/// The capabilities that the baseline of the Pod Security Standards allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(inline)]
pub enum Capability {
    AuditWrite,
    Chown,
    DacOverride,
    Fowner,
    Fsetid,
    Kill,
    Mknod,
    NetBindService,
    Setfcap,
    Setgid,
    Setpcap,
    Setuid,
    SysChroot,
}

impl Capability {
    /// As Kubernetes calls it.
    pub fn name(self) -> &'static str {
        match self {
            Capability::AuditWrite => "AUDIT_WRITE",
            Capability::Chown => "CHOWN",
            Capability::DacOverride => "DAC_OVERRIDE",
            Capability::Fowner => "FOWNER",
            Capability::Fsetid => "FSETID",
            Capability::Kill => "KILL",
            Capability::Mknod => "MKNOD",
            Capability::NetBindService => "NET_BIND_SERVICE",
            Capability::Setfcap => "SETFCAP",
            Capability::Setgid => "SETGID",
            Capability::Setpcap => "SETPCAP",
            Capability::Setuid => "SETUID",
            Capability::SysChroot => "SYS_CHROOT",
        }
    }
}

/// A number, or a percentage such as `25%`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Share {
    Number(u32),
    Text(String),
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number, or a percentage such as `25%`.",
            "type": ["string", "integer"],
            "pattern": "^([0-9]|[1-9][0-9]|100)%$",
            "minimum": 0,
            "maximum": 100,
            "examples": [1, "25%"],
        })
    }
}

/// Always `true`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub struct Yes(#[expect(dead_code, reason = "the schema allows only true")] pub bool);

impl JsonSchema for Yes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Yes".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": true })
    }
}

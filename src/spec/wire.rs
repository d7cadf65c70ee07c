//! hks.yaml as it is written. The JSON Schema is generated from these types, their comments are its descriptions.
//!
//! Everything is optional to serde: what is required is said by the schema, which has been checked before, and a file
//! with mistakes is still read as far as it goes so that all of them are found at once.

pub use super::lexical::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// A Stack: apps and databases that are deployed, and rolled back, together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(deny_unknown_fields, title = "hks.yaml")]
#[schemars(extend("required" = ["apiVersion", "kind", "metadata"]))]
pub struct Stack {
    /// Version of the language.
    pub api_version: Option<ApiVersion>,
    /// Always `Stack`.
    pub kind: Option<Kind>,
    /// Who this is.
    pub metadata: Metadata,
    /// Where images come from, by name; only for registries that need a login.
    pub registries: Map<Label, Registry>,
    /// Databases by name. Their credentials are generated once and kept in the project.
    pub databases: Map<Label, Database>,
    /// Programs by name.
    pub apps: Map<Label, App>,
    /// Secrets that hks generates once, by name.
    pub secrets: Map<Label, Secret>,
    /// Public hosts by name.
    pub ingress: Map<Label, Ingress>,
    /// How a deployment behaves.
    pub deploy: Deploy,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ApiVersion {
    #[serde(rename = "hks.hexabase.ai/v1")]
    V1,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Kind {
    Stack,
}

/// Who this is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Metadata {
    /// Name of the Stack.
    pub name: Option<StackName>,
}

/// Where images come from and how to log in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["server", "secret"]))]
pub struct Registry {
    /// Put before the repository of images that name this registry.
    pub server: Option<Server>,
    /// The pull secret: a Secret of type `kubernetes.io/dockerconfigjson` that exists in the project.
    pub secret: Option<ObjectName>,
}

/// A database. Apps reach it by `${databases.NAME.url}`, or by its parts `host port name user password`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["engine", "version"]))]
pub struct Database {
    /// Kind of database.
    pub engine: Option<Engine>,
    /// Major version, quoted.
    pub version: Option<Version>,
    /// Where the data is kept.
    pub storage: Storage,
    /// CPU and memory; requests 100m/256Mi and limits 500m/512Mi unless given.
    pub resources: Resources,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Engine {
    Postgres,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Version {
    #[serde(rename = "13")]
    V13,
    #[serde(rename = "14")]
    V14,
    #[serde(rename = "15")]
    V15,
    #[serde(rename = "16")]
    V16,
    #[serde(rename = "17")]
    V17,
    #[serde(rename = "18")]
    V18,
}

impl Version {
    /// The number.
    pub fn major(self) -> u32 {
        match self {
            Version::V13 => 13,
            Version::V14 => 14,
            Version::V15 => 15,
            Version::V16 => 16,
            Version::V17 => 17,
            Version::V18 => 18,
        }
    }
}

/// Where the data is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Size of the volume.
    #[schemars(extend("default" = "5Gi"))]
    pub size: Option<Memory>,
}

/// CPU and memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// What is guaranteed; never more than the limits.
    pub requests: Amounts,
    /// What is allowed at most; never less than the requests.
    pub limits: Amounts,
}

/// An amount of CPU and one of memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Amounts {
    /// Cores such as `0.5`, or millicores such as `500m`.
    pub cpu: Option<Cpu>,
    /// Bytes with a unit, such as `256Mi`.
    pub memory: Option<Memory>,
}

/// A stateless program behind a Service of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["image"]))]
pub struct App {
    /// The container image.
    pub image: Option<Image>,
    /// Replaces the image's entrypoint. May hold references.
    #[schemars(length(max = 1000))]
    pub command: Vec<Scalar>,
    /// Replaces the image's arguments. May hold references.
    #[schemars(length(max = 1000))]
    pub args: Vec<Scalar>,
    /// TCP ports by name; the first one is the default of probes and paths.
    pub ports: Map<PortName, Port>,
    /// Environment variables by name. May hold references.
    pub env: Map<EnvName, Scalar>,
    /// Number of pods.
    #[schemars(range(max = 100), extend("default" = 1))]
    pub replicas: Option<u32>,
    /// CPU and memory of each pod; requests 100m/128Mi and limits 500m/256Mi unless given.
    pub resources: Resources,
    /// Health checks.
    pub probes: Probes,
}

/// A TCP port.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Port(#[schemars(range(min = 1, max = 65535))] pub u16);

/// An image as one text, or in parts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Image {
    Text(ImageText),
    Parts(ImageParts),
}

/// `repository:tag` or `repository@digest`. The tag may hold `${git.sha}`, `${git.shortSha}` and `${project.namespace}`.
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
    /// Tag. May hold `${git.sha}`, `${git.shortSha}` and `${project.namespace}`.
    #[schemars(length(min = 1, max = 512))]
    pub tag: Option<String>,
    /// Digest; pins the image whatever becomes of its tag.
    pub digest: Option<Digest>,
    /// Name of an entry of `registries`.
    pub registry: Option<Label>,
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

/// A health check: HTTP if there is a path, TCP otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Probe {
    /// Path that answers 200–399 when all is well.
    pub path: Option<UrlPath>,
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

/// A secret whose values hks makes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["generate"]))]
pub struct Secret {
    /// Keys to make, once and for all. Apps get them by `${secrets.NAME.KEY}`.
    #[schemars(extend("minProperties" = 1))]
    pub generate: Map<KeyName, Key>,
}

/// A value of letters, digits, `-` and `_`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// Number of characters.
    #[schemars(range(min = 8, max = 128), extend("default" = 32))]
    pub length: Option<u32>,
}

/// A public host. Apps learn it by `${ingress.NAME.url}` and `${ingress.NAME.host}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["paths"]))]
pub struct Ingress {
    /// The host; without it, one is generated from the daemon's base domain. May hold `${git.sha}`, `${git.shortSha}`
    /// and `${project.namespace}`.
    #[schemars(length(min = 1, max = 1024))]
    pub host: Option<String>,
    /// What answers, by path prefix.
    #[schemars(extend("minProperties" = 1))]
    pub paths: Map<PathPrefix, Target>,
}

/// The app that answers, by name or with a port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Target {
    App(Label),
    Port(AppPort),
}

/// A port of an app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["app"]))]
pub struct AppPort {
    /// Name of the app.
    pub app: Option<Label>,
    /// Name of its port; the first one unless given.
    pub port: Option<PortName>,
}

/// How a deployment behaves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Deploy {
    /// How long the Stack may take to become ready, 10s to 24h, waits for capacity not counted. Then it is rolled back.
    #[schemars(extend("default" = "15m"))]
    pub timeout: Option<Duration>,
    /// What happens when the node pool has no room.
    pub capacity: Capacity,
    /// What happens when someone else changes what hks deployed: `correct` puts it back, `report` only tells.
    #[schemars(extend("default" = "correct"))]
    pub drift: Option<Drift>,
}

/// What happens when the node pool has no room.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// How long to wait for room before the deployment fails, at most 24h.
    #[schemars(extend("default" = "30m"))]
    pub wait: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Drift {
    Correct,
    Report,
}

//! hks.yaml as it is written. The JSON Schema is generated from these types, their comments are its descriptions.
//!
//! Everything is optional to serde: what is required is said by the schema, which has been checked before, and a file
//! with mistakes is still read as far as it goes so that all of them are found at once.

mod app;
mod data;
mod edge;
mod job;

pub use super::lexical::*;
pub use app::*;
pub use data::*;
pub use edge::*;
pub use job::*;

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
    /// Values for `${params.NAME}`; an environment may set others.
    #[schemars(extend("maxProperties" = 200))]
    pub params: Map<ParamName, Scalar>,
    /// Where images come from, by name; only for registries that need a login.
    #[schemars(extend("maxProperties" = 20))]
    pub registries: Map<Label, Registry>,
    /// Databases by name. Their credentials are generated once and kept in the project.
    #[schemars(extend("maxProperties" = 20))]
    pub databases: Map<Label, Database>,
    /// Caches by name. Their passwords are generated once and kept in the project.
    #[schemars(extend("maxProperties" = 20))]
    pub caches: Map<Label, Cache>,
    /// Programs by name.
    #[schemars(extend("maxProperties" = 200))]
    pub apps: Map<Label, App>,
    /// Programs that end, by name.
    #[schemars(extend("maxProperties" = 100))]
    pub jobs: Map<Label, Job>,
    /// Secrets by name: made by hks, set by hand, or there already.
    #[schemars(extend("maxProperties" = 100))]
    pub secrets: Map<Label, Secret>,
    /// Certificates of authorities that apps trust besides the public ones, by name.
    #[schemars(extend("maxProperties" = 20))]
    pub certificates: Map<Label, Certificate>,
    /// Public hosts by name.
    #[schemars(extend("maxProperties" = 50))]
    pub ingress: Map<Label, Ingress>,
    /// How a deployment behaves.
    pub deploy: Deploy,
    /// Where the Stack is deployed, and what is different there, by name. Without any, it is deployed as it stands.
    #[schemars(extend("maxProperties" = 50))]
    pub environments: Map<Label, Environment>,
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
#[schemars(extend("required" = ["server"]))]
pub struct Registry {
    /// Put before the repository of images that name this registry.
    pub server: Option<Server>,
    /// The pull secret: a Secret of type `kubernetes.io/dockerconfigjson` that exists in the project. None for a registry
    /// without a login.
    pub secret: Option<ObjectName>,
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

/// A secret: exactly one of `generate`, `keys` and `from`. Apps get its values by `${secrets.NAME.KEY}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Secret {
    /// Keys that hks makes, once and for all.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 100))]
    pub generate: Map<KeyName, Key>,
    /// Keys that somebody sets with `hks secret set`; until then the Stack is not deployed.
    #[schemars(length(min = 1, max = 100), extend("uniqueItems" = true))]
    pub keys: Vec<KeyName>,
    /// A Secret that others keep.
    pub from: Option<From>,
}

/// A value of letters, digits, `-` and `_`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// Number of characters.
    #[schemars(range(min = 8, max = 128), extend("default" = 32))]
    pub length: Option<u32>,
}

/// A Secret that others keep.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["existing"]))]
pub struct From {
    /// Name of the Secret; it exists in the project.
    pub existing: Option<ObjectName>,
}

/// Certificates of authorities in PEM: exactly one of `file` and `text`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    /// Path of a PEM file in the repository, from the folder of hks.yaml, or with a leading `/` from the root.
    pub file: Option<RepositoryPath>,
    /// The PEM text itself.
    #[schemars(length(min = 1, max = 65536))]
    pub text: Option<String>,
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

/// A place where the Stack is deployed: exactly one of `branch` and `tag` says from where.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// Name of the branch, or a pattern with `*`.
    pub branch: Option<GitPattern>,
    /// Pattern of tags, such as `v*`.
    pub tag: Option<GitPattern>,
    /// The project that it is meant for. The daemon decides which projects a repository may reach; where several
    /// environments match, this tells which one is whose.
    pub project: Option<Label>,
    /// Values for `${params.NAME}` in this environment.
    #[schemars(extend("maxProperties" = 200))]
    pub params: Map<ParamName, Scalar>,
    /// What is different here: a JSON merge patch (RFC 7396) of the file. Mappings merge, lists and values replace, null
    /// deletes.
    pub patch: serde_json::Map<String, serde_json::Value>,
}

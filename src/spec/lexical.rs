//! The small things that hks.yaml is made of: names, amounts, durations, paths. Their patterns end up in the schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A text with a pattern.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $max:literal, $pattern:literal, [$($example:literal),+]) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(extend("examples" = [$($example),+]))]
        pub struct $name(#[schemars(regex(pattern = $pattern), length(max = $max))] pub String);
    };
}

text! {
    /// Name of the Stack, unique in its project: lower-case letters, digits and `-`, a letter first, at most 40
    /// characters.
    StackName, 40, "^[a-z]([-a-z0-9]*[a-z0-9])?$", ["todo"]
}
text! {
    /// A name: lower-case letters, digits and `-` (an RFC 1123 label).
    Label, 63, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", ["web", "main"]
}
text! {
    /// Name of a port: lower-case letters, digits and single `-`, a letter among them, at most 15 characters.
    PortName, 15, "^([a-z0-9]+-)*[a-z0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$", ["http"]
}
text! {
    /// Name of an environment variable; `HKS_…` is reserved.
    EnvName, 256, "^[A-Za-z_][A-Za-z0-9_]*$", ["DATABASE_URL"]
}
text! {
    /// Key of a generated secret.
    KeyName, 63, "^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?$", ["key"]
}
text! {
    /// Name of a Kubernetes object that exists in the project.
    ObjectName, 253, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", ["registry-login"]
}
text! {
    /// Host of a registry, and the path that its repositories share; no scheme.
    Server, 253, "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
    ["registry.example/team", "127.0.0.1:5000"]
}
text! {
    /// An amount of memory or storage: a number with a unit, `Ki Mi Gi Ti` (powers of 1024) or `k M G T` (powers of 1000).
    Memory, 20, "^[0-9]{1,15}(\\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)?$", ["256Mi", "5Gi"]
}
text! {
    /// A duration: a number with `s`, `m`, `h` or `d`; several may follow each other.
    Duration, 40, "^([0-9]{1,6}[smhd])+$", ["30s", "15m", "1h30m"]
}
text! {
    /// A path of a URL.
    UrlPath, 1024, "^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$", ["/health"]
}
text! {
    /// A path prefix of a URL; the longest one that fits wins.
    PathPrefix, 1024, "^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$", ["/", "/api"]
}
text! {
    /// Digest of an image.
    Digest, 71, "^sha256:[0-9a-f]{64}$", ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
}

text! {
    /// A part of the Stack: `apps.NAME`, `databases.NAME` or `caches.NAME`.
    Component, 80, "^(apps|databases|caches)\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?$", ["databases.main"]
}
text! {
    /// Name of a parameter: letters, digits and `_`, a letter first.
    ParamName, 63, "^[A-Za-z][A-Za-z0-9_]*$", ["domain"]
}
text! {
    /// Tag of an image. May hold references to `git`, `params`, `env` and `project`.
    ImageParam, 512, "^.+$", ["1.0.0", "${git.shortSha}"]
}
text! {
    /// Path of a file in the repository, from the folder of hks.yaml, or with a leading `/` from the root; no `..`.
    RepositoryPath, 512, "^/?[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_.][A-Za-z0-9._-]*)*$", ["deploy/app.conf"]
}
text! {
    /// Absolute path in a container; no `..`.
    FilePath, 512, "^(/[A-Za-z0-9_.@+-]+)+$", ["/etc/app/app.conf"]
}
text! {
    /// Address with `http://` or `https://`, without user and password.
    HttpUrl, 1024, "^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*)?$", ["https://www.example.com"]
}
text! {
    /// Name of a gRPC service; empty for the server as a whole.
    ServiceName, 253, "^[A-Za-z0-9._-]*$", ["", "grpc.health.v1.Health"]
}
text! {
    /// Key of a label or annotation: a name, perhaps with a DNS prefix. Prefixes of Kubernetes and hks are taken.
    LabelKey, 253, "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    ["team", "example.com/owner"]
}
text! {
    /// Value of a label: letters, digits, `-`, `_` and `.`, at most 63.
    LabelValue, 63, "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", ["shop"]
}
text! {
    /// Name of a database or role: lower-case letters, digits and `_`, a letter or `_` first. `postgres` and `pg_…` are taken.
    DatabaseName, 63, "^[a-z_][a-z0-9_]*$", ["app"]
}
text! {
    /// Name of a server parameter.
    ParameterName, 63, "^[a-z_][a-z0-9_]*(\\.[a-z_][a-z0-9_]*)?$", ["max_connections"]
}
text! {
    /// Name of an extension.
    Extension, 63, "^[a-z_][a-z0-9_-]*$", ["pgcrypto"]
}
text! {
    /// Cron's five fields: minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`, `@weekly`,
    /// `@monthly`, `@yearly`.
    Cron, 100, "^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[0-9*/,-]+ [0-9*/,-]+ [0-9*/,?-]+ [0-9A-Za-z*/,-]+ [0-9A-Za-z*/,?-]+)$",
    ["0 3 * * *"]
}
text! {
    /// Time zone of the IANA database.
    TimeZone, 64, "^(UTC|[A-Za-z_]+(/[A-Za-z0-9_+-]+){1,2})$", ["Asia/Tokyo"]
}
text! {
    /// Name of a branch or tag, or a pattern with `*`.
    GitPattern, 200, "^[A-Za-z0-9._/*+@-]+$", ["main", "release/*"]
}
text! {
    /// Name of an HTTP header.
    HeaderName, 100, "^[A-Za-z0-9][A-Za-z0-9-]*$", ["X-Frame-Options"]
}
text! {
    /// Value of an HTTP header in one line; an empty one takes the header away. May hold references to `params` and `env`.
    HeaderValue, 4096, "^([!-~]([ -~\\t]*[!-~])?)?$", ["DENY"]
}
text! {
    /// An HTTP method.
    Method, 20, "^[A-Z]+$", ["GET"]
}
text! {
    /// A network in CIDR notation, or one address.
    Cidr, 50, "^([0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9a-fA-F:]+(/[0-9]{1,3})?)$", ["203.0.113.0/24"]
}
text! {
    /// A site that may call: scheme, host and port, or `*`. May hold references to `params` and `env`.
    Origin, 300, "^[^ ,\"]+$", ["https://app.example.com"]
}

/// A map whose keys have a schema of their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent, bound(deserialize = "V: Deserialize<'de>"))]
pub struct Map<K, V>(pub BTreeMap<String, V>, #[serde(skip)] PhantomData<K>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new(), PhantomData)
    }
}

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Map<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<K>();
        let values = generator.subschema_for::<V>();
        json_schema!({ "type": "object", "propertyNames": keys, "additionalProperties": values })
    }
}

/// Text, a number or a boolean; numbers and booleans are passed on as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Scalar(#[expect(dead_code, reason = "the text comes from the file: 1.10 stays 1.10")] pub Value);

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text, a number or a boolean; may hold references such as `${databases.main.url}` \
                (`$${` is a literal `${`). No plain-text credentials.",
            "type": ["string", "number", "boolean"],
        })
    }
}

/// CPU: cores such as `0.5`, or millicores such as `500m`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Cpu {
    Number(f64),
    Text(String),
}

impl JsonSchema for Cpu {
    fn schema_name() -> Cow<'static, str> {
        "Cpu".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "CPU: cores such as `0.5`, or millicores such as `500m`.",
            "type": ["string", "number"],
            "pattern": "^([0-9]{1,6}(\\.[0-9]{1,3})?|[0-9]{1,9}m)$",
            "minimum": 0.001,
            "maximum": 999_999,
            "examples": ["500m", 1],
        })
    }
}

//! Public hosts as they are written.

use super::PortName;
use super::{
    Cidr, Duration, HeaderName, HeaderValue, HttpUrl, Label, Map, Memory, Method, ObjectName, Origin, PathPrefix,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// A public host. Apps learn it by `${ingress.NAME.url}` and `${ingress.NAME.host}`. What the cluster's ingress class can't
/// do is refused before anything is touched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["paths"]))]
pub struct Ingress {
    /// The host; without it, one is generated from the daemon's base domain. May hold references to `git`, `params`, `env`
    /// and `project`.
    #[schemars(length(min = 1, max = 1024))]
    pub host: Option<String>,
    /// What answers, by path prefix; the longest one that fits wins.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 100))]
    pub paths: Map<PathPrefix, Target>,
    /// HTTPS. Without it, the daemon's domain decides.
    pub tls: Option<Tls>,
    /// Addresses that clients are sent to instead, by path prefix.
    #[schemars(extend("maxProperties" = 100))]
    pub redirects: Map<PathPrefix, Redirect>,
    /// Keeps connections open for an hour without traffic, for WebSocket and other long answers.
    #[schemars(extend("default" = false))]
    pub websocket: Option<bool>,
    /// Which other sites may call from a browser.
    pub cors: Option<Cors>,
    /// Headers that are set in answers, or taken away where the value is empty.
    #[schemars(extend("maxProperties" = 50))]
    pub headers: Map<HeaderName, HeaderValue>,
    /// Headers that are set in requests before the app sees them, or taken away where the value is empty.
    #[schemars(extend("maxProperties" = 50))]
    pub request_headers: Map<HeaderName, HeaderValue>,
    /// Largest request body.
    pub max_body_size: Option<Memory>,
    /// Most requests of one client.
    pub rate_limit: Option<RateLimit>,
    /// Networks that clients may come from; all unless given.
    #[schemars(length(max = 200))]
    pub allow: Vec<Cidr>,
    /// Name of the app that answers everything as long as this is here, with a page that says so.
    pub maintenance: Option<Label>,
}

/// What answers: an app by name, or with its port and its own rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Target {
    App(Label),
    Parts(TargetParts),
}

/// What answers on a path.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["app"]))]
pub struct TargetParts {
    /// Name of the app.
    pub app: Option<Label>,
    /// Name of its port; the first one unless given.
    pub port: Option<PortName>,
    /// Which other sites may call, instead of what the host says.
    pub cors: Option<Cors>,
    /// Headers of answers, besides those of the host; the path's own win.
    #[schemars(extend("maxProperties" = 50))]
    pub headers: Map<HeaderName, HeaderValue>,
    /// Headers of requests, besides those of the host; the path's own win.
    #[schemars(extend("maxProperties" = 50))]
    pub request_headers: Map<HeaderName, HeaderValue>,
}

/// HTTPS, with a certificate of cert-manager, of a Secret, or, with neither, as the platform has set it up: by its own
/// issuer, or that of the ingress controller.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// Lets cert-manager get a certificate from this `ClusterIssuer`; the platform may have one for all.
    pub issuer: Option<ObjectName>,
    /// Name of a Secret of type `kubernetes.io/tls` that exists in the project.
    pub secret: Option<ObjectName>,
    /// Sends clients that come by HTTP to HTTPS.
    #[schemars(extend("default" = true))]
    pub redirect: Option<bool>,
    /// The lowest version of TLS that clients may speak; the ingress controller's own choice unless given.
    pub min_version: Option<TlsVersion>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// Where clients are sent to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["to"]))]
pub struct Redirect {
    /// The address.
    pub to: Option<HttpUrl>,
    /// The status: 301 and 308 for good, 302 and 307 for now.
    #[schemars(range(min = 301, max = 308), extend("default" = 302))]
    pub code: Option<u16>,
}

/// Which other sites may call from a browser.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["origins"]))]
pub struct Cors {
    /// Sites such as `https://app.example.com`, or `*` for all. May hold references to `params` and `env`.
    #[schemars(length(min = 1, max = 50))]
    pub origins: Vec<Origin>,
    /// Methods that may be used.
    #[schemars(length(max = 20))]
    pub methods: Vec<Method>,
    /// Headers that may be sent.
    #[schemars(length(max = 50))]
    pub headers: Vec<HeaderName>,
    /// Whether cookies and logins are sent along; not with the origin `*`.
    #[schemars(extend("default" = false))]
    pub credentials: Option<bool>,
    /// How long a browser remembers this, at most 24h.
    #[schemars(extend("default" = "1h"))]
    pub max_age: Option<Duration>,
}

/// Most requests of one client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["requestsPerSecond"]))]
pub struct RateLimit {
    /// On average.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: Option<u32>,
    /// How many times as many for a moment.
    #[schemars(range(min = 1, max = 20), extend("default" = 5))]
    pub burst: Option<u32>,
}

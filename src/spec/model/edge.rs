//! Public hosts.

use super::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A public host and what answers on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// The host; `None` means that the daemon makes one from its base domain. No secret occurs in it.
    pub host: Option<Template>,
    /// What answers, by path prefix.
    pub paths: BTreeMap<String, Target>,
    /// HTTPS.
    pub tls: Option<Tls>,
    /// Where clients are sent instead, by path prefix: address and status.
    pub redirects: BTreeMap<String, (String, u16)>,
    /// Keeps silent connections open for an hour.
    pub websocket: bool,
    /// Largest request body, in bytes.
    pub max_body_size: Option<u64>,
    /// Requests of a client each second, and how many times as many for a moment.
    pub rate_limit: Option<(u32, u32)>,
    /// Networks that clients may come from; all if there is none.
    pub allow: Vec<String>,
    /// One app answers everything, to say that nothing works at the moment.
    pub maintenance: bool,
}

/// What answers on a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name of the app.
    pub app: String,
    /// Name of its port.
    pub port: String,
    /// Whether HTTP/2 without TLS is spoken on it.
    pub grpc: bool,
    /// What is done with requests and answers; the host's and the path's own.
    pub policy: Policy,
}

/// What is done with requests and answers of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Policy {
    /// Which other sites may call.
    pub cors: Option<Cors>,
    /// Headers of answers by lower-case name; an empty value takes one away.
    pub headers: BTreeMap<String, String>,
    /// Headers of requests, the same way.
    pub request_headers: BTreeMap<String, String>,
}

/// Which other sites may call from a browser.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cors {
    /// The sites.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Headers.
    pub headers: Vec<String>,
    /// Cookies and logins.
    pub credentials: bool,
    /// How long a browser remembers.
    pub max_age: Duration,
}

/// HTTPS.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The Secret with the certificate; cert-manager's or somebody's.
    pub certificate: Certificate,
    /// Sends clients from HTTP to HTTPS.
    pub redirect: bool,
    /// The lowest version that clients may speak.
    pub min_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        })
    }
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Certificate {
    /// The ingress controller has one.
    Default,
    /// A Secret that exists.
    Secret(String),
    /// cert-manager makes it, by this `ClusterIssuer`.
    Issuer(String),
}

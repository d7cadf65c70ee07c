//! What the platform has set up and the file does not say: one set of types for the daemon's configuration, for flags and
//! variables of the command line, and for what the daemon publishes in a project.

mod policy;

pub use policy::{Policy, fits_host, fits_key};

use crate::ident;
use crate::spec::TlsVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings of a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(rename_all = "camelCase", default)]
#[group(id = "Platform")]
pub struct Platform {
    /// Generated hosts end with this; it may carry a port [default: apps.localhost].
    #[arg(long, env = "HKS_DOMAIN", required = false)]
    pub domain: String,
    /// `http` or `https`: the scheme of public URLs [default: http].
    #[arg(long, env = "HKS_SCHEME", value_enum, required = false)]
    pub scheme: Scheme,
    /// `ingressClassName` of public hosts; without it the cluster's default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, env = "HKS_INGRESS_CLASS")]
    pub ingress_class: Option<String>,
    /// What that class understands; told from its name unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, env = "HKS_INGRESS_KIND", value_enum)]
    pub ingress_kind: Option<IngressKind>,
    /// What the platform has set up for TLS; hosts may ask for a lowest version.
    #[serde(skip_serializing_if = "IngressTls::is_empty")]
    #[command(flatten)]
    pub ingress_tls: IngressTls,
    /// A Gateway for public hosts: routes of the Gateway API are made instead of Ingresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(skip)]
    pub gateway: Option<Gateway>,
    /// Whether public URLs are probed before a deployment counts as done. Switch it off where the daemon can't reach them
    /// [default: true].
    #[arg(long, env = "HKS_PROBE_URLS", action = clap::ArgAction::Set, required = false)]
    pub probe_urls: bool,
    /// Storage class of volumes that name none; without it the cluster's default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, env = "HKS_STORAGE_CLASS")]
    pub storage_class: Option<String>,
    /// What generated hosts carry behind Stack and project, so that equal ones elsewhere have other hosts. A daemon puts the name
    /// of the vCluster in front of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long, env = "HKS_WORKSPACE", value_name = "NAME")]
    pub workspace: Option<String>,
    /// Images that hks itself brings.
    #[command(flatten)]
    pub images: Images,
    /// What files may ask for.
    #[serde(skip_serializing_if = "Policy::is_empty")]
    #[arg(skip)]
    pub policy: Policy,
}

/// Scheme of public URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// TLS ends at the ingress controller.
    Https,
}

/// What an ingress class understands besides hosts, paths and certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IngressKind {
    /// Nothing that is known.
    Plain,
    /// Traefik.
    Traefik,
    /// The annotations `nginx.ingress.kubernetes.io/…`.
    Nginx,
}

/// What the platform has set up for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[group(id = "IngressTls")]
pub struct IngressTls {
    /// No client gets in with a lower version, 1.2 or 1.3, whatever a host asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long = "tls-min-version", env = "HKS_TLS_MIN_VERSION", value_parser = tls_version)]
    pub min_version: Option<TlsVersion>,
    /// TLS options of Traefik by the lowest version that they let in, such as `"1.3": tls13@file`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[arg(
        long = "tls-options", env = "HKS_TLS_OPTIONS", value_name = "VERSION=NAME,…", value_parser = tls_options,
        required = false
    )]
    pub options: BTreeMap<TlsVersion, String>,
    /// The `ClusterIssuer` of cert-manager for hosts with `tls` that name neither an issuer nor a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long = "tls-issuer", env = "HKS_TLS_ISSUER")]
    pub issuer: Option<String>,
}

/// A Gateway that public hosts are attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[group(id = "Gateway")]
pub struct Gateway {
    /// A Gateway as the project sees it, NAMESPACE/NAME: public hosts become routes of it instead of Ingresses.
    #[arg(
        id = "gateway", long = "gateway", env = "HKS_GATEWAY", value_name = "NAMESPACE/NAME", required = false,
        value_parser = gateway_name
    )]
    pub name: String,
    /// Its listener for HTTP; without one, routes attach to all of its listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(id = "gateway-http", long = "gateway-http", env = "HKS_GATEWAY_HTTP", value_name = "LISTENER")]
    pub http: Option<String>,
    /// Its listener for HTTPS, which hosts with `tls` need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(id = "gateway-https", long = "gateway-https", env = "HKS_GATEWAY_HTTPS", value_name = "LISTENER")]
    pub https: Option<String>,
    /// What its controller can do of the extended features, as its `GatewayClass` lists them in `status.supportedFeatures`;
    /// unless given, what all known ones can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(
        id = "gateway-features",
        long = "gateway-features",
        env = "HKS_GATEWAY_FEATURES",
        value_name = "FEATURE",
        value_delimiter = ','
    )]
    pub features: Option<Vec<String>>,
}

/// Images that hks itself brings; `{version}` stands for the major version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[group(id = "Images")]
pub struct Images {
    /// Image of PostgreSQL; `{version}` stands for the major version.
    #[arg(long = "postgres-image", env = "HKS_POSTGRES_IMAGE", value_name = "IMAGE", required = false)]
    pub postgres: String,
    /// Image of Redis; `{version}` stands for the major version.
    #[arg(long = "redis-image", env = "HKS_REDIS_IMAGE", value_name = "IMAGE", required = false)]
    pub redis: String,
    /// Image of Valkey; `{version}` stands for the major version.
    #[arg(long = "valkey-image", env = "HKS_VALKEY_IMAGE", value_name = "IMAGE", required = false)]
    pub valkey: String,
    /// Image of `PgBouncer`.
    #[arg(long = "pgbouncer-image", env = "HKS_PGBOUNCER_IMAGE", value_name = "IMAGE", required = false)]
    pub pgbouncer: String,
    /// Secret in the project with the login to the registry of these images; none unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[arg(long = "images-pull-secret", env = "HKS_IMAGES_PULL_SECRET", value_name = "SECRET")]
    pub pull_secret: Option<String>,
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            domain: "apps.localhost".into(),
            scheme: Scheme::Http,
            ingress_class: None,
            ingress_kind: None,
            ingress_tls: IngressTls::default(),
            gateway: None,
            probe_urls: true,
            storage_class: None,
            workspace: None,
            images: Images::default(),
            policy: Policy::default(),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self {
            postgres: "docker.io/library/postgres:{version}".into(),
            redis: "docker.io/library/redis:{version}".into(),
            valkey: "docker.io/valkey/valkey:{version}".into(),
            pgbouncer: "ghcr.io/cloudnative-pg/pgbouncer:1.26.0".into(),
            pull_secret: None,
        }
    }
}

impl Scheme {
    /// As it stands in a URL.
    pub fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl IngressTls {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the name of a Gateway.
///
/// # Errors
/// When it is not `NAMESPACE/NAME`.
pub fn gateway_name(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if ident::is_label(namespace) && name.split('.').all(ident::is_label) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("gateway {text:?} must be NAMESPACE/NAME")),
    }
}

fn tls_version(text: &str) -> Result<TlsVersion, String> {
    serde_json::from_value(text.into()).map_err(|_| "write 1.2 or 1.3".to_owned())
}

fn tls_options(text: &str) -> Result<BTreeMap<TlsVersion, String>, String> {
    let one = |part: &str| {
        let (version, name) = part.split_once('=').ok_or_else(|| format!("{part:?} must be VERSION=NAME"))?;
        Ok((tls_version(version)?, name.to_owned()))
    };
    text.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_by_default() {
        let read: Platform = serde_json::from_str(r#"{"scheme": "https"}"#).unwrap_or_default();
        assert_eq!(read, Platform { scheme: Scheme::Https, ..Platform::default() });
    }

    #[test]
    fn what_is_published_is_read_again() {
        let platform = Platform {
            gateway: Some(Gateway { name: "gateways/public".into(), http: None, https: None, features: None }),
            ingress_tls: IngressTls { min_version: Some(TlsVersion::V1_3), ..IngressTls::default() },
            ..Platform::default()
        };
        let text = serde_json::to_string(&platform).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Platform>(&text).ok(), Some(platform));
    }

    #[test]
    fn options_of_tls_go_by_version() {
        let read = tls_options("1.2=tls12@file,1.3=tls13@file");
        assert_eq!(read.map(|options| options.len()), Ok(2));
        assert!(tls_options("1.1=x").is_err() && tls_options("tls13@file").is_err());
    }

    #[test]
    fn a_gateway_has_a_namespace() {
        assert!(gateway_name("gateways/public").is_ok());
        for wrong in ["public", "a/b/c", "A/b", "/b", "a/"] {
            assert!(gateway_name(wrong).is_err(), "{wrong}");
        }
    }
}

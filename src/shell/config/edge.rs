//! What public hosts are made of: the ingress class, its TLS, or a Gateway.

use crate::manifest::{self, Edge, EdgeTls};
use crate::spec::TlsVersion;
use anyhow::{Context as _, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IngressTls {
    /// No client gets in with a lower version, whatever a host asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// TLS options of Traefik by the lowest version that they let in, such as `"1.3": tls13@file`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<TlsVersion, String>,
    /// The `ClusterIssuer` of cert-manager for hosts with `tls` that name neither an issuer nor a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl IngressTls {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As rendering takes it.
    pub fn rendered(&self) -> EdgeTls {
        let Self { min_version, options, issuer } = self.clone();
        EdgeTls { min_version, options, issuer }
    }
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
    #[arg(
        id = "gateway-http",
        long = "gateway-http",
        env = "HKS_GATEWAY_HTTP",
        value_name = "LISTENER",
        requires = "gateway"
    )]
    pub http: Option<String>,
    /// Its listener for HTTPS, which hosts with `tls` need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(
        id = "gateway-https",
        long = "gateway-https",
        env = "HKS_GATEWAY_HTTPS",
        value_name = "LISTENER",
        requires = "gateway"
    )]
    pub https: Option<String>,
    /// What its controller can do of the extended features, as its `GatewayClass` lists them in `status.supportedFeatures`;
    /// unless given, what all known ones can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arg(
        id = "gateway-features",
        long = "gateway-features",
        env = "HKS_GATEWAY_FEATURES",
        value_name = "FEATURE",
        value_delimiter = ',',
        requires = "gateway"
    )]
    pub features: Option<Vec<String>>,
}

impl Gateway {
    fn rendered(&self) -> manifest::Gateway {
        let (namespace, name) = self.name.split_once('/').unwrap_or_default();
        manifest::Gateway {
            namespace: namespace.into(),
            name: name.into(),
            http: self.http.clone(),
            https: self.https.clone(),
            features: self.features.clone().map_or_else(known_features, |features| features.into_iter().collect()),
        }
    }
}

/// # Errors
/// When it is not `NAMESPACE/NAME`.
pub fn gateway_name(text: &str) -> Result<String> {
    match text.split_once('/') {
        Some((namespace, name)) if crate::ident::is_label(namespace) && name.split('.').all(crate::ident::is_label) => {
            Ok(text.to_owned())
        }
        _ => bail!("gateway {text:?} must be NAMESPACE/NAME"),
    }
}

/// # Errors
/// When it is neither `1.2` nor `1.3`.
pub fn tls_version(text: &str) -> Result<TlsVersion> {
    serde_json::from_value(text.into()).ok().context("write 1.2 or 1.3")
}

/// What public hosts are made of: routes of `gateway`, or Ingresses of a class whose kind is told from its name where it is
/// not given.
pub fn edge(gateway: Option<&Gateway>, kind: Option<IngressKind>, class: Option<&str>) -> Edge {
    gateway.map_or_else(|| IngressKind::edge(kind, class), |gateway| Edge::Gateway(gateway.rendered()))
}

impl IngressKind {
    fn edge(given: Option<Self>, class: Option<&str>) -> Edge {
        let by_name = |part: &str| class.is_some_and(|class| class.contains(part));
        match given {
            Some(Self::Traefik) => Edge::Traefik,
            Some(Self::Nginx) => Edge::Nginx,
            None if by_name("nginx") => Edge::Nginx,
            None if by_name("traefik") => Edge::Traefik,
            Some(Self::Plain) | None => Edge::Plain,
        }
    }
}

/// What every known controller of the Gateway API can do.
fn known_features() -> BTreeSet<String> {
    let known = ["HTTPRouteBackendProtocolH2C", "HTTPRoutePathRedirect", "HTTPRouteResponseHeaderModification"];
    known.map(str::to_owned).into()
}

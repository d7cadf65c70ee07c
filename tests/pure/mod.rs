//! What tests of the pure modules share.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::struct_excessive_bools,
    reason = "tests"
)]

pub mod described;
pub mod besides;
pub mod generate;
pub mod hostile;
pub mod numbers;
pub mod restart;
pub mod script;
pub mod sim;
pub mod simulated;
pub mod takeover;
pub mod watcher;

use hks::manifest::{Context, Edge, EdgeTls, Gateway, Images};

/// Everything that public hosts can be made of.
pub fn edges() -> [Edge; 4] {
    [Edge::Plain, Edge::Traefik, Edge::Nginx, Edge::Gateway(gateway())]
}

/// A Gateway that can do all that hks may ask of one.
pub fn gateway() -> Gateway {
    let features = [
        "HTTPRoute308RedirectStatusCode",
        "HTTPRouteBackendProtocolH2C",
        "HTTPRouteCORS",
        "HTTPRoutePathRedirect",
        "HTTPRouteRequestTimeout",
        "HTTPRouteResponseHeaderModification",
    ];
    Gateway {
        namespace: "gateways".into(),
        name: "public".into(),
        http: Some("web".into()),
        https: Some("websecure".into()),
        features: features.map(str::to_owned).into(),
    }
}

/// The context of a project `shop` on some cluster.
pub fn context() -> Context {
    Context {
        namespace: "shop".into(),
        branch: "main".into(),
        environment: None,
        domain: "apps.example".into(),
        scheme: "http".into(),
        ingress_class: None,
        edge: Edge::Plain,
        tls: EdgeTls::default(),
        storage_class: None,
        workspace: None,
        policy: hks::platform::Policy::default(),
        images: Images {
            postgres: "postgres:{version}".into(),
            redis: "redis:{version}".into(),
            valkey: "valkey:{version}".into(),
            pgbouncer: "pgbouncer:1".into(),
            pull_secret: None,
        },
    }
}

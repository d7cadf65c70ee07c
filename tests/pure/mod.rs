//! What tests of the pure modules share.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "tests")]

pub mod generate;
pub mod simulated;

use hks::manifest::{Context, Edge, Images};

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
        images: Images {
            postgres: "postgres:{version}".into(),
            redis: "redis:{version}".into(),
            valkey: "valkey:{version}".into(),
            pgbouncer: "pgbouncer:1".into(),
        },
    }
}

//! The annotations of the nginx class: those of `kubernetes/ingress-nginx`, which other controllers read as well.

use super::{Realised, Wants};
use std::collections::BTreeMap;

/// How long a connection may be silent where `websocket` is wanted, in seconds.
const LONG: &str = "3600";

pub(super) fn realise(wants: &Wants<'_>) -> Realised {
    let ingress = wants.ingress;
    let mut annotations: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut set = |name: &'static str, value: String| annotations.insert(name, value);
    if let Some(cors) = &wants.policy.cors {
        set("nginx.ingress.kubernetes.io/enable-cors", "true".into());
        set("nginx.ingress.kubernetes.io/cors-allow-origin", cors.origins.join(", "));
        if !cors.methods.is_empty() {
            set("nginx.ingress.kubernetes.io/cors-allow-methods", cors.methods.join(", "));
        }
        if !cors.headers.is_empty() {
            set("nginx.ingress.kubernetes.io/cors-allow-headers", cors.headers.join(", "));
        }
        set("nginx.ingress.kubernetes.io/cors-allow-credentials", cors.credentials.to_string());
        set("nginx.ingress.kubernetes.io/cors-max-age", cors.max_age.as_secs().to_string());
    }
    if let Some((to, code)) = wants.redirect {
        set("nginx.ingress.kubernetes.io/permanent-redirect", to.clone());
        set("nginx.ingress.kubernetes.io/permanent-redirect-code", code.to_string());
    }
    if wants.grpc {
        set("nginx.ingress.kubernetes.io/backend-protocol", "GRPC".into());
    }
    if let Some(bytes) = ingress.max_body_size {
        set("nginx.ingress.kubernetes.io/proxy-body-size", bytes.to_string());
    }
    if let Some((requests, burst)) = ingress.rate_limit {
        set("nginx.ingress.kubernetes.io/limit-rps", requests.to_string());
        set("nginx.ingress.kubernetes.io/limit-burst-multiplier", burst.to_string());
    }
    if !ingress.allow.is_empty() {
        set("nginx.ingress.kubernetes.io/whitelist-source-range", ingress.allow.join(","));
    }
    if ingress.websocket {
        set("nginx.ingress.kubernetes.io/proxy-read-timeout", LONG.into());
        set("nginx.ingress.kubernetes.io/proxy-send-timeout", LONG.into());
    }
    if let Some(tls) = &ingress.tls {
        set("nginx.ingress.kubernetes.io/ssl-redirect", tls.redirect.to_string());
        set("nginx.ingress.kubernetes.io/force-ssl-redirect", tls.redirect.to_string());
    }
    Realised { annotations, impossible: vec![] }
}

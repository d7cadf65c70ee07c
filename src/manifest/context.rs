//! What rendering takes from the settings of a platform.

use super::{Context, Edge, Gateway};
use crate::platform::{self, IngressKind, Platform};
use std::collections::BTreeSet;

impl Context {
    /// The context of a project. `branch` chooses the environment unless one is named.
    pub fn new(platform: &Platform, project: &str, branch: &str, environment: Option<&str>) -> Self {
        Self {
            namespace: project.into(),
            branch: branch.into(),
            environment: environment.map(str::to_owned),
            domain: platform.domain.clone(),
            scheme: platform.scheme.word().into(),
            ingress_class: platform.ingress_class.clone(),
            edge: edge(platform),
            tls: platform.ingress_tls.clone(),
            storage_class: platform.storage_class.clone(),
            workspace: platform.workspace.clone(),
            images: platform.images.clone(),
            policy: platform.policy.clone(),
        }
    }
}

/// What public hosts are made of: routes of the Gateway, or Ingresses of a class whose kind is told from its name where it
/// is not given.
fn edge(platform: &Platform) -> Edge {
    if let Some(gateway) = &platform.gateway {
        return Edge::Gateway(resolved(gateway));
    }
    let by_name = |part: &str| platform.ingress_class.as_ref().is_some_and(|class| class.contains(part));
    match platform.ingress_kind {
        Some(IngressKind::Traefik) => Edge::Traefik,
        Some(IngressKind::Nginx) => Edge::Nginx,
        None if by_name("nginx") => Edge::Nginx,
        None if by_name("traefik") => Edge::Traefik,
        Some(IngressKind::Plain) | None => Edge::Plain,
    }
}

fn resolved(gateway: &platform::Gateway) -> Gateway {
    let (namespace, name) = gateway.name.split_once('/').unwrap_or_default();
    Gateway {
        namespace: namespace.into(),
        name: name.into(),
        http: gateway.http.clone(),
        https: gateway.https.clone(),
        features: gateway.features.clone().map_or_else(known_features, |features| features.into_iter().collect()),
    }
}

/// What every known controller of the Gateway API can do.
fn known_features() -> BTreeSet<String> {
    let known = ["HTTPRouteBackendProtocolH2C", "HTTPRoutePathRedirect", "HTTPRouteResponseHeaderModification"];
    known.map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_class_is_told_from_its_name_unless_given() {
        let class = |name: &str, kind| {
            edge(&Platform { ingress_class: Some(name.into()), ingress_kind: kind, ..Platform::default() })
        };
        assert_eq!(class("nginx-internal", None), Edge::Nginx);
        assert_eq!(class("traefik", None), Edge::Traefik);
        assert_eq!(class("nginx", Some(IngressKind::Plain)), Edge::Plain);
        assert_eq!(edge(&Platform::default()), Edge::Plain);
    }
}

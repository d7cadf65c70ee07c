//! Public hosts as `HTTPRoute`s of the Gateway API, at a Gateway that the platform has made.

use super::{Edge, Refused, missing};
use crate::ident::{Kind, ObjectKey};
use crate::manifest::names::{Names, digest};
use crate::manifest::{Object, Stage};
use crate::spec::{Certificate, Cors, Ingress, Policy, Target};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Rules of a route, and headers that a filter sets or takes away (`maxItems` in the CRD of Gateway API 1.5).
const MOST: usize = 16;

/// A Gateway, as the project sees it, and what its controller can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its listener for HTTP; without one, routes attach to all listeners.
    pub http: Option<String>,
    /// Its listener for HTTPS.
    pub https: Option<String>,
    /// Extended features, named as `GatewayClass` names them in `status.supportedFeatures`.
    pub features: BTreeSet<String>,
}

impl Gateway {
    fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// The routes of ingress `name`, and what the Gateway can't do.
pub(super) fn objects(
    names: &Names<'_>,
    name: &str,
    stage: Stage,
    ingress: &Ingress,
    gateway: &Gateway,
) -> (Vec<Object>, Option<Refused>) {
    let full = names.object(name);
    let host = names.ingress_host(name);
    let secure = ingress.tls.is_some() || names.context.scheme == "https";
    let listener = if secure { &gateway.https } else { &gateway.http };
    let route = |name: String, listener: Option<&String>, rules: &[Value]| {
        let mut parent = json!({ "namespace": gateway.namespace, "name": gateway.name });
        if let Some(listener) = listener {
            parent["sectionName"] = json!(listener);
        }
        let body = json!({ "spec": { "parentRefs": [parent], "hostnames": [host], "rules": rules } });
        names.finish(stage, ObjectKey::new(Kind::HTTPRoute, name), None, body)
    };
    let mut rules: Vec<_> = ingress.paths.iter().map(|(path, target)| forward(names, ingress, path, target)).collect();
    rules.extend(ingress.redirects.iter().map(|(path, (to, code))| rule(path, vec![redirect(to, *code)])));
    let numbered = rules.chunks(MOST).enumerate();
    let mut objects: Vec<_> = numbered
        .map(|(index, rules)| {
            let more = if index == 0 { String::new() } else { format!("-{}", digest(&index.to_string(), 8)) };
            route(format!("{full}{more}"), listener.as_ref(), rules)
        })
        .collect();
    if ingress.tls.as_ref().is_some_and(|tls| tls.redirect) {
        let mut to = json!({ "scheme": "https", "statusCode": 301 });
        let port = names.context.domain.split_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        // the domain's port is that of its own scheme
        if let Some(port) = port.filter(|_| names.context.scheme == "https") {
            to["port"] = json!(port);
        }
        let filter = json!({ "type": "RequestRedirect", "requestRedirect": to });
        let name = format!("{full}-{}", digest("https", 8));
        objects.push(route(name, gateway.http.as_ref(), &[rule("/", vec![filter])]));
    }
    let key = ObjectKey::new(Kind::HTTPRoute, full);
    (objects, missing(&Edge::Gateway(gateway.clone()), name, key, impossible(names, ingress, gateway)))
}

fn impossible(names: &Names<'_>, ingress: &Ingress, gateway: &Gateway) -> Vec<&'static str> {
    let tls = ingress.tls.as_ref();
    let of_paths = |what: fn(&Policy) -> bool| ingress.paths.values().any(|target| what(&target.policy));
    let too_many = |headers: &BTreeMap<String, String>| {
        let (gone, set) = headers.values().partition::<Vec<_>, _>(|value| value.is_empty());
        gone.len() > MOST || set.len() > MOST
    };
    let redirects = !ingress.redirects.is_empty();
    // a controller may take such a route and then ignore it
    let lacks_code = |code| {
        let asked = ingress.redirects.values().any(|(_, asked)| *asked == code);
        asked && !gateway.has(&format!("HTTPRoute{code}RedirectStatusCode"))
    };
    let wanted = [
        ("`allow`", !ingress.allow.is_empty()),
        ("`cors` (HTTPRouteCORS)", of_paths(|policy| policy.cors.is_some()) && !gateway.has("HTTPRouteCORS")),
        (
            "`headers` (HTTPRouteResponseHeaderModification)",
            of_paths(|policy| !policy.headers.is_empty()) && !gateway.has("HTTPRouteResponseHeaderModification"),
        ),
        (
            "more than 16 headers on a path",
            ingress.paths.values().any(|t| too_many(&t.policy.headers) || too_many(&t.policy.request_headers)),
        ),
        ("`maxBodySize`", ingress.max_body_size.is_some()),
        ("`rateLimit`", ingress.rate_limit.is_some()),
        ("`redirects` (HTTPRoutePathRedirect)", redirects && !gateway.has("HTTPRoutePathRedirect")),
        ("`redirects` with code 307 (HTTPRoute307RedirectStatusCode)", lacks_code(307)),
        ("`redirects` with code 308 (HTTPRoute308RedirectStatusCode)", lacks_code(308)),
        (
            "`redirects` to an address with `?` or `#`",
            ingress.redirects.values().any(|(to, _)| to.contains(['?', '#'])),
        ),
        ("`tls`: no listener for HTTPS is known", tls.is_some() && gateway.https.is_none()),
        (
            "`tls.redirect: true`: no listener for HTTP is known",
            tls.is_some_and(|t| t.redirect) && gateway.http.is_none(),
        ),
        (
            "`tls.issuer` and `tls.secret`: its listener has the certificate",
            tls.is_some_and(|tls| tls.certificate != Certificate::Default),
        ),
        ("`tls.minVersion`", tls.is_some_and(|tls| tls.min_version > names.context.tls.min_version)),
        ("`websocket` (HTTPRouteRequestTimeout)", ingress.websocket && !gateway.has("HTTPRouteRequestTimeout")),
        (
            "gRPC (HTTPRouteBackendProtocolH2C)",
            ingress.paths.values().any(|target| target.grpc) && !gateway.has("HTTPRouteBackendProtocolH2C"),
        ),
    ];
    wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(key, _)| key).collect()
}

fn rule(path: &str, filters: Vec<Value>) -> Value {
    let mut rule = json!({ "matches": [{ "path": { "type": "PathPrefix", "value": path } }] });
    if !filters.is_empty() {
        rule["filters"] = filters.into();
    }
    rule
}

fn forward(names: &Names<'_>, ingress: &Ingress, path: &str, target: &Target) -> Value {
    let policy = &target.policy;
    let mut filters = vec![];
    filters.extend(modifier("RequestHeaderModifier", "requestHeaderModifier", &policy.request_headers));
    filters.extend(modifier("ResponseHeaderModifier", "responseHeaderModifier", &policy.headers));
    filters.extend(policy.cors.as_ref().map(cors));
    let mut rule = rule(path, filters);
    let ports = names.spec.apps.get(&target.app).into_iter().flat_map(|app| &app.ports);
    let port = ports.filter(|port| port.name == target.port).map(|port| port.number).next();
    rule["backendRefs"] = json!([{ "name": names.object(&target.app), "port": port }]);
    if ingress.websocket {
        // no end: such answers take as long as they take (GEP-1742)
        rule["timeouts"] = json!({ "request": "0s" });
    }
    rule
}

fn modifier(kind: &str, field: &str, headers: &BTreeMap<String, String>) -> Option<Value> {
    if headers.is_empty() {
        return None;
    }
    let (mut set, mut remove) = (vec![], vec![]);
    for (name, value) in headers {
        if value.is_empty() {
            remove.push(json!(name));
        } else {
            set.push(json!({ "name": name, "value": value }));
        }
    }
    let mut change = json!({});
    for (action, entries) in [("set", set), ("remove", remove)] {
        if !entries.is_empty() {
            change[action] = entries.into();
        }
    }
    Some(json!({ "type": kind, field: change }))
}

fn cors(cors: &Cors) -> Value {
    let mut filter = json!({ "allowOrigins": cors.origins, "maxAge": cors.max_age.as_secs().max(1) });
    for (field, entries) in [("allowMethods", &cors.methods), ("allowHeaders", &cors.headers)] {
        if !entries.is_empty() {
            filter[field] = json!(entries);
        }
    }
    if cors.credentials {
        filter["allowCredentials"] = json!(true);
    }
    json!({ "type": "CORS", "cors": filter })
}

/// A redirect to exactly the address `to`.
fn redirect(to: &str, code: u16) -> Value {
    let (scheme, rest) = to.split_once("://").unwrap_or(("https", to));
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let mut redirect = json!({
        "scheme": scheme,
        "hostname": host.to_ascii_lowercase(),
        "path": { "type": "ReplaceFullPath", "replaceFullPath": path },
        "statusCode": code,
    });
    if let Ok(port) = port.parse::<u16>() {
        redirect["port"] = json!(port);
    }
    json!({ "type": "RequestRedirect", "requestRedirect": redirect })
}

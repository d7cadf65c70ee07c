//! The way in: an ingress class, or a Gateway with what its controller can do.

use super::{Finding, Patient, Seen};
use crate::platform::{self, Platform};
use serde_json::Value;
use std::collections::BTreeSet;

/// Of an `IngressClass`: Ingresses that name none are of it.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// Where they are listed.
const CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
/// Extended features that hks can make use of, and what of the file needs each.
const FEATURES: [(&str, &str); 7] = [
    ("HTTPRouteBackendProtocolH2C", "gRPC"),
    ("HTTPRoutePathRedirect", "redirects"),
    ("HTTPRouteResponseHeaderModification", "headers"),
    ("HTTPRouteCORS", "cors"),
    ("HTTPRouteRequestTimeout", "websocket"),
    ("HTTPRoute307RedirectStatusCode", "redirects with code 307"),
    ("HTTPRoute308RedirectStatusCode", "redirects with code 308"),
];

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let mut found = if let Some(gateway) = &patient.platform.gateway {
        routes(patient, gateway).await
    } else {
        let classes = Seen::at(&patient.target, CLASSES).await;
        let below = match &patient.host {
            Some(host) => Some(Seen::at(host, CLASSES).await),
            None => None,
        };
        vec![class(&classes, below.as_ref(), patient.platform.ingress_class.as_deref())]
    };
    found.push(names(patient.platform).await);
    found
}

fn class(here: &Seen, below: Option<&Seen>, wanted: Option<&str>) -> Finding {
    const ABOUT: &str = "ingress class";
    const SHOW: &str = "vcluster.yaml: sync.fromHost.ingressClasses.enabled: true";
    let name = |class: &Value| class["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let all = |seen: &Seen| seen.items().iter().map(name).collect::<Vec<_>>();
    let default = |seen: &Seen| {
        let mut classes = seen.items().iter();
        classes.find(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true").map(name)
    };
    // a vCluster hands Ingresses on whether it shows the class or not
    let (seen, shown) = match below {
        Some(below) if here.items().is_empty() => (below, false),
        _ => (here, true),
    };
    if let Seen::Hidden(why) = seen {
        return Finding::unseen(
            ABOUT,
            format!("classes can't be seen: {why}"),
            if shown { "grant list on ingressclasses" } else { SHOW },
        );
    }
    let there = all(seen).join(", ");
    let there = if there.is_empty() { "none".to_owned() } else { there };
    match (wanted, default(seen)) {
        (Some(wanted), _) if all(seen).iter().any(|class| class == wanted) => {
            Finding::ok(ABOUT, format!("{wanted} is there"))
        }
        (Some(wanted), _) => Finding::missing(
            ABOUT,
            format!("there is no class {wanted}; there are: {there}"),
            "install its controller, or set ingressClass to one that is there",
        ),
        (None, Some(default)) => Finding::ok(ABOUT, format!("public hosts get {default}, the cluster's default")),
        (None, None) if there == "none" => Finding::missing(
            ABOUT,
            "there is no ingress controller: public hosts don't answer",
            "install one, such as Traefik or ingress-nginx; or configure a gateway",
        ),
        (None, None) => Finding::missing(
            ABOUT,
            format!("no class is the default, and none is configured; there are: {there}"),
            "set ingressClass (HKS_INGRESS_CLASS) to one of them",
        ),
    }
}

async fn routes(patient: &Patient<'_>, gateway: &platform::Gateway) -> Vec<Finding> {
    let (namespace, name) = gateway.name.split_once('/').unwrap_or_default();
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/gateways/{name}");
    let seen = Seen::at(&patient.target, &path).await;
    let mut found = vec![listens(&seen, gateway, patient.host.is_some())];
    let Seen::There(body) = seen else { return found };
    let class = body["spec"]["gatewayClassName"].as_str().unwrap_or_default();
    let path = format!("/apis/gateway.networking.k8s.io/v1/gatewayclasses/{class}");
    let mut features = Seen::at(&patient.target, &path).await;
    // what the vCluster shows of a class may lack its status
    if let (Some(host), None) = (&patient.host, supported(&features)) {
        features = Seen::at(host, &path).await;
    }
    found.push(can(class, supported(&features).as_ref(), gateway));
    found
}

fn listens(seen: &Seen, gateway: &platform::Gateway, vcluster: bool) -> Finding {
    const ABOUT: &str = "gateway";
    let name = &gateway.name;
    let body = match seen {
        Seen::There(body) => body,
        Seen::Hidden(why) => {
            return Finding::unseen(ABOUT, format!("{name} can't be seen: {why}"), "grant get on gateways");
        }
        Seen::Absent => {
            let mend = if vcluster {
                format!(
                    "vcluster.yaml: sync.fromHost.gateways: {{enabled: true, mappings: {{byName: {{HOST-NAMESPACE/NAME: {name}}}}}}}"
                )
            } else {
                "make it, or correct gateway.name".into()
            };
            return Finding::missing(ABOUT, format!("there is no Gateway {name}"), mend);
        }
    };
    let listeners: Vec<_> =
        body["spec"]["listeners"].as_array().into_iter().flatten().filter_map(|of| of["name"].as_str()).collect();
    let wanted = [("http", &gateway.http), ("https", &gateway.https)];
    let lacking =
        wanted.iter().find_map(|(key, of)| of.as_deref().filter(|of| !listeners.contains(of)).map(|of| (key, of)));
    if let Some((key, listener)) = lacking {
        let says = format!("Gateway {name} has no listener {listener}; it has: {}", listeners.join(", "));
        return Finding::missing(ABOUT, says, format!("set gateway.{key} to one of them"));
    }
    let conditions = body["status"]["conditions"].as_array();
    let programmed = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Programmed"));
    match programmed {
        Some(condition) if condition["status"] != "True" => {
            let why = condition["message"].as_str().unwrap_or("no reason given");
            Finding::warning(
                ABOUT,
                format!("Gateway {name} is not programmed: {why}"),
                format!("kubectl describe gateway -n {}", name.replace('/', " ")),
            )
        }
        _ => Finding::ok(ABOUT, format!("Gateway {name} has the listeners {}", listeners.join(", "))),
    }
}

/// Features that a class lists in its status: as text in older versions, as objects with a name since.
fn supported(class: &Seen) -> Option<BTreeSet<String>> {
    let Seen::There(class) = class else { return None };
    let listed = class["status"]["supportedFeatures"].as_array()?;
    let name = |of: &Value| of["name"].as_str().or(of.as_str()).map(str::to_owned);
    Some(listed.iter().filter_map(name).collect()).filter(|all: &BTreeSet<_>| !all.is_empty())
}

fn can(class: &str, supported: Option<&BTreeSet<String>>, gateway: &platform::Gateway) -> Finding {
    const ABOUT: &str = "gateway features";
    let Some(supported) = supported else {
        let says = format!("GatewayClass {class} does not say what it can do");
        return Finding::warning(ABOUT, says, "read its controller's documentation and set gateway.features");
    };
    let known: Vec<_> = FEATURES.iter().filter(|(feature, _)| supported.contains(*feature)).map(|(f, _)| *f).collect();
    let mend = format!("gateway.features: [{}]", known.join(", "));
    let Some(configured) = &gateway.features else {
        let basic = |feature: &&str| FEATURES[..3].iter().any(|(basic, _)| basic == feature);
        let lacking: Vec<_> =
            FEATURES[..3].iter().filter(|(f, _)| !supported.contains(*f)).map(|(_, what)| *what).collect();
        if !lacking.is_empty() {
            let says = format!("GatewayClass {class} can't do {}, which hks takes for granted", lacking.join(", "));
            return Finding::warning(ABOUT, says, mend);
        }
        return if known.iter().all(basic) {
            Finding::ok(ABOUT, format!("GatewayClass {class} can do what hks takes for granted"))
        } else {
            let more: Vec<_> =
                FEATURES[3..].iter().filter(|(f, _)| supported.contains(*f)).map(|(_, what)| *what).collect();
            let says = format!("GatewayClass {class} can do more than hks makes use of: {}", more.join(", "));
            Finding::warning(ABOUT, says, mend)
        };
    };
    let wrong: Vec<_> = configured.iter().filter(|feature| !supported.contains(*feature)).cloned().collect();
    if wrong.is_empty() {
        return Finding::ok(ABOUT, format!("GatewayClass {class} can do all that is configured"));
    }
    Finding::warning(ABOUT, format!("GatewayClass {class} does not list {}", wrong.join(", ")), mend)
}

/// Whether generated hosts have an address.
async fn names(platform: &Platform) -> Finding {
    const ABOUT: &str = "dns";
    let domain = platform.domain.split(':').next().unwrap_or_default();
    let host = format!("hks-doctor.{domain}");
    if domain == "localhost" || domain.ends_with(".localhost") {
        return Finding::ok(ABOUT, format!("{host} is this machine"));
    }
    let found = tokio::net::lookup_host((host.as_str(), 0)).await.map(|mut all| all.next());
    match found {
        Ok(Some(address)) => Finding::ok(ABOUT, format!("*.{domain} leads to {}", address.ip())),
        Ok(None) | Err(_) => Finding::warning(
            ABOUT,
            format!("{host} has no address here: generated hosts answer nobody, or only those who see another DNS"),
            format!(
                "a record *.{domain} that leads to the ingress controller or Gateway; probeUrls: false if only the daemon can't see it"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use serde_json::json;

    fn classes(all: &[(&str, &str)]) -> Seen {
        let one = |(name, default): &(&str, &str)| json!({ "metadata": { "name": name, "annotations": { DEFAULT_CLASS: default } } });
        Seen::There(json!({ "items": all.iter().map(one).collect::<Vec<_>>() }))
    }

    #[test]
    fn a_class_is_needed_that_is_there() {
        let both = classes(&[("nginx", "false"), ("traefik", "true")]);
        assert_eq!(class(&both, None, Some("nginx")).verdict, Verdict::Ok);
        assert_eq!(class(&both, None, None).says, "public hosts get traefik, the cluster's default");
        let wrong = class(&both, None, Some("haproxy"));
        assert_eq!(
            (wrong.verdict, wrong.says.as_str()),
            (Verdict::Missing, "there is no class haproxy; there are: nginx, traefik")
        );
        assert_eq!(class(&classes(&[("nginx", "false")]), None, None).verdict, Verdict::Missing);
        assert_eq!(class(&classes(&[]), None, None).verdict, Verdict::Missing);
    }

    #[test]
    fn a_vcluster_that_shows_no_class_has_those_of_its_host() {
        let host = classes(&[("nginx", "false")]);
        assert_eq!(class(&classes(&[]), Some(&host), Some("nginx")).verdict, Verdict::Ok);
        let hidden = class(&classes(&[]), Some(&Seen::Hidden("no".into())), Some("nginx"));
        assert_eq!(hidden.mend.as_deref(), Some("vcluster.yaml: sync.fromHost.ingressClasses.enabled: true"));
    }

    fn gateway(http: Option<&str>, features: Option<&[&str]>) -> platform::Gateway {
        platform::Gateway {
            name: "gateways/public".into(),
            http: http.map(str::to_owned),
            https: None,
            features: features.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
        }
    }

    #[test]
    fn a_gateway_needs_its_listeners() {
        let seen = Seen::There(json!({ "spec": { "listeners": [{ "name": "web" }] } }));
        assert_eq!(listens(&seen, &gateway(Some("web"), None), false).verdict, Verdict::Ok);
        let wrong = listens(&seen, &gateway(Some("http"), None), false);
        assert_eq!(wrong.mend.as_deref(), Some("set gateway.http to one of them"));
        let absent = listens(&Seen::Absent, &gateway(None, None), true);
        assert!(absent.mend.is_some_and(|mend| mend.starts_with("vcluster.yaml: sync.fromHost.gateways")));
    }

    #[test]
    fn features_are_read_in_both_forms_and_become_a_line_of_configuration() {
        let objects = Seen::There(json!({ "status": { "supportedFeatures": [{ "name": "HTTPRouteCORS" }] } }));
        let texts = Seen::There(json!({ "status": { "supportedFeatures": ["HTTPRouteCORS"] } }));
        assert_eq!(supported(&objects), supported(&texts));
        assert_eq!(supported(&Seen::There(json!({}))), None);
        let basic: BTreeSet<_> = FEATURES[..3].iter().map(|(feature, _)| (*feature).to_owned()).collect();
        assert_eq!(can("c", Some(&basic), &gateway(None, None)).verdict, Verdict::Ok);
        let more: BTreeSet<_> = basic.iter().cloned().chain(["HTTPRouteCORS".to_owned()]).collect();
        let found = can("c", Some(&more), &gateway(None, None));
        assert!(found.mend.is_some_and(|mend| mend.contains("HTTPRouteCORS")), "{}", found.says);
        let configured = gateway(None, Some(&["HTTPRouteRequestTimeout"]));
        assert_eq!(can("c", Some(&more), &configured).says, "GatewayClass c does not list HTTPRouteRequestTimeout");
        assert_eq!(can("c", None, &configured).verdict, Verdict::Warning);
    }
}

//! What a vCluster hands on to its host, as far as its configuration can be read there.

use super::{Finding, Patient, Seen};
use base64::Engine as _;
use serde_json::Value;

const ABOUT: &str = "vcluster";

/// A switch of vcluster.yaml, and what is lost while it is off.
struct Switch {
    path: &'static str,
    /// Only what a Stack may well do without.
    loses: &'static str,
}

/// What hks makes and a default vCluster keeps to itself.
const SWITCHES: [Switch; 2] = [
    Switch {
        path: "sync.toHost.networkPolicies",
        loses: "NetworkPolicies have no effect: any pod reaches every database",
    },
    Switch {
        path: "sync.toHost.podDisruptionBudgets",
        loses: "PodDisruptionBudgets have no effect when a node is drained",
    },
];

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let (Some(host), Some(vcluster)) = (&patient.host, &patient.place.cluster.vcluster) else { return vec![] };
    let name = format!("vc-config-{}", vcluster.name);
    let seen = Seen::at(host, &format!("/api/v1/namespaces/{}/secrets/{name}", vcluster.namespace)).await;
    match seen {
        Seen::There(secret) => match config(&secret) {
            Some(config) => synced(&config, patient.platform.gateway.is_some()),
            None => {
                vec![Finding::unseen(ABOUT, format!("Secret {name} holds no configuration"), "vcluster 0.20 or newer")]
            }
        },
        Seen::Absent | Seen::Hidden(_) => vec![Finding::unseen(
            ABOUT,
            "it can't be seen what the vCluster hands on to its host",
            format!(
                "see that vcluster.yaml has sync.toHost.ingresses.enabled: true and sync.toHost.networkPolicies.enabled: true, or grant \
                 get on Secret {name} in {}",
                vcluster.namespace
            ),
        )],
    }
}

/// vcluster.yaml with all its defaults, as the vCluster's chart keeps it.
fn config(secret: &Value) -> Option<Value> {
    let text = secret["data"]["config.yaml"].as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    serde_saphyr::from_str(std::str::from_utf8(&bytes).ok()?).ok()
}

fn synced(config: &Value, gateway: bool) -> Vec<Finding> {
    let on = |path: &str| {
        let found = path.split('.').fold(config, |value, key| &value[key]);
        // `auto` decides by what the host has
        found["enabled"] == true || found["enabled"] == "auto"
    };
    let line = |path: &str| format!("vcluster.yaml: {path}.enabled: true");
    let way = if gateway { "sync.toHost.gatewayApi.httpRoutes" } else { "sync.toHost.ingresses" };
    let mut found = vec![];
    if !on(way) {
        let what = if gateway { "HTTPRoutes" } else { "Ingresses" };
        found.push(Finding::missing(ABOUT, format!("{what} stay inside: public hosts don't answer"), line(way)));
    }
    let off = SWITCHES.iter().filter(|switch| !on(switch.path));
    found.extend(off.map(|switch| Finding::warning(ABOUT, switch.loses, line(switch.path))));
    if found.is_empty() {
        found.push(Finding::ok(ABOUT, "it hands on all that hks makes"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use serde_json::json;

    fn with(switches: &[&str]) -> Value {
        let mut config = json!({});
        for path in switches {
            let place = path.split('.').fold(&mut config, |value, key| &mut value[key]);
            place["enabled"] = true.into();
        }
        config
    }

    #[test]
    fn a_default_vcluster_keeps_ingresses_and_policies_inside() {
        let found = synced(&with(&[]), false);
        assert_eq!(
            found.iter().map(|of| of.verdict).collect::<Vec<_>>(),
            [Verdict::Missing, Verdict::Warning, Verdict::Warning]
        );
        assert_eq!(found[0].mend.as_deref(), Some("vcluster.yaml: sync.toHost.ingresses.enabled: true"));
        let all = ["sync.toHost.ingresses", "sync.toHost.networkPolicies", "sync.toHost.podDisruptionBudgets"];
        assert_eq!(synced(&with(&all), false), [Finding::ok(ABOUT, "it hands on all that hks makes")]);
        let routes = synced(&with(&all), true);
        assert_eq!(routes[0].mend.as_deref(), Some("vcluster.yaml: sync.toHost.gatewayApi.httpRoutes.enabled: true"));
    }

    #[test]
    fn the_configuration_is_read_from_its_secret() {
        let text = base64::engine::general_purpose::STANDARD.encode("sync: {toHost: {ingresses: {enabled: true}}}");
        let read = config(&json!({ "data": { "config.yaml": text } }));
        assert_eq!(read.map(|config| config["sync"]["toHost"]["ingresses"]["enabled"].clone()), Some(json!(true)));
        assert_eq!(config(&json!({})), None);
    }
}

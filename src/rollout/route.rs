//! Routes of the Gateway API: whether the Gateway has taken them.

use super::{Cause, Progress, Who};
use crate::ident::ObjectKey;
use crate::plan::{Live, uid};
use serde_json::Value;

/// A Gateway that has not answered is waited for, and so is a backend that it has not seen yet. A route that it refuses
/// stays refused (Gateway API, `RouteConditionReason`).
pub(super) fn taken(who: &Who, key: &ObjectKey, current: &Value, live: &Live) -> Progress {
    let generation = &current["metadata"]["generation"];
    let gateway = current["spec"]["parentRefs"][0]["name"].as_str().unwrap_or_default();
    let parents = current["status"]["parents"].as_array();
    let conditions: Vec<_> =
        parents.into_iter().flatten().filter_map(|parent| parent["conditions"].as_array()).flatten().collect();
    let condition = |kind: &str| {
        let newest = |condition: &&&Value| condition["type"] == kind && condition["observedGeneration"] == *generation;
        conditions.iter().find(newest)
    };
    let (Some(accepted), Some(resolved)) = (condition("Accepted"), condition("ResolvedRefs")) else {
        let event = live.events_of(uid(current)).next_back();
        let told = event.map(|note| format!(": {}", note.message)).unwrap_or_default();
        // a vCluster looks at references itself, and hands on no route with one that its Gateway does not permit
        if event.is_some_and(|note| note.reason == "RefNotPermitted") {
            let message = format!("the vCluster does not hand {key} on to the Gateway {gateway}{told}");
            return Progress::Failed(Cause::Configuration { component: who.0.to_string(), message });
        }
        return who.progressing(format!("the Gateway {gateway} has not answered for {key} yet{told}"));
    };
    let why = |condition: &Value| {
        let (reason, message) = (condition["reason"].as_str(), condition["message"].as_str().unwrap_or_default());
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        format!("{}{message}", reason.unwrap_or("no reason given"))
    };
    if accepted["status"] != "True" && accepted["reason"] != "Pending" {
        let message = format!("the Gateway {gateway} refuses {key}: {}", why(accepted));
        return Progress::Failed(Cause::Configuration { component: who.0.to_string(), message });
    }
    if accepted["status"] != "True" || resolved["status"] != "True" {
        let waiting = if accepted["status"] == "True" { resolved } else { accepted };
        return who.progressing(format!("the Gateway {gateway} does not serve {key} yet: {}", why(waiting)));
    }
    Progress::Ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::Kind;
    use serde_json::json;

    /// What is told of a route of generation 2 whose Gateway says this.
    fn told(conditions: &Value) -> Progress {
        let key = ObjectKey::new(Kind::HTTPRoute, "shop-public");
        let route = json!({
            "metadata": { "generation": 2, "uid": "u" },
            "spec": { "parentRefs": [{ "name": "public" }] },
            "status": { "parents": [{ "conditions": conditions }] },
        });
        let live = Live::default();
        taken(&Who(crate::ident::Component::App("public".into())), &key, &route, &live)
    }

    fn condition(kind: &str, status: &str, reason: &str, generation: i64) -> Value {
        json!({ "type": kind, "status": status, "reason": reason, "observedGeneration": generation, "message": "so" })
    }

    fn words(progress: Progress) -> String {
        match progress {
            Progress::Progressing(missing) => missing.message,
            Progress::Failed(Cause::Configuration { message, .. }) => message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_the_gateway_says_counts_only_for_the_newest_route() {
        let ready = |generation| {
            json!([
                condition("Accepted", "True", "Accepted", generation),
                condition("ResolvedRefs", "True", "ResolvedRefs", generation),
            ])
        };
        assert_eq!(told(&ready(2)), Progress::Ready);
        let silent = "the Gateway public has not answered for HTTPRoute/shop-public yet";
        assert_eq!(words(told(&ready(1))), silent);
        assert_eq!(words(told(&json!([]))), silent);
    }

    #[test]
    fn a_refusal_is_final_and_a_backend_may_still_come() {
        let refused = json!([
            condition("Accepted", "False", "NotAllowedByListeners", 2),
            condition("ResolvedRefs", "True", "ResolvedRefs", 2),
        ]);
        let refused = told(&refused);
        assert!(matches!(refused, Progress::Failed(_)), "{refused:?}");
        assert_eq!(words(refused), "the Gateway public refuses HTTPRoute/shop-public: NotAllowedByListeners: so");
        let coming = json!([
            condition("Accepted", "True", "Accepted", 2),
            condition("ResolvedRefs", "False", "BackendNotFound", 2),
        ]);
        let message = "the Gateway public does not serve HTTPRoute/shop-public yet: BackendNotFound: so";
        assert_eq!(words(told(&coming)), message);
    }
}

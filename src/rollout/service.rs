//! Services: whether what is sent to them reaches the pods that they are for.

use super::{Progress, Who};
use crate::ident::Kind;
use crate::manifest::Object;
use crate::plan::read::{self, Pod};
use crate::plan::{Live, is_going, uid};
use serde_json::Value;
use std::collections::BTreeSet;

/// A Service is ready once its `EndpointSlice`s name a ready pod that it selects. Until then whoever asks it is refused or
/// is answered by the pods of an older version: the controller that keeps them follows pods and selectors some time later.
///
/// Where no pod that it selects is ready there is nothing to reach; that is for what makes the pods to say.
pub(super) fn reached(who: &Who, object: &Object, current: &Value, live: &Live) -> Progress {
    let Some(selector) = object.body["spec"]["selector"].as_object() else { return Progress::Ready };
    let selected = |pod: &Value| selector.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value);
    let counts = |pod: &Value| selected(pod) && !is_going(pod) && Pod(pod).is_ready();
    let mut ready = live.of(Kind::Pod).filter(|(_, pod)| counts(pod)).peekable();
    let slices = live.owned_by(Kind::EndpointSlice, uid(current));
    let reached: BTreeSet<_> = slices.flat_map(|(_, slice)| read::endpoints(slice)).collect();
    if ready.peek().is_none() || ready.any(|(key, _)| reached.contains(&*key.name)) {
        return Progress::Ready;
    }
    who.progressing(format!("{} does not lead to its ready pods yet", object.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Component, ObjectKey};
    use crate::manifest::Stage;
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const SLOT: &str = "hks.hexabase.ai/slot";

    /// What is said of a Service that selects slot `b`, and whose slice holds `endpoints`.
    fn told(pods: &[(&str, &str, &str)], endpoints: &Value) -> Progress {
        let key = ObjectKey::new(Kind::Service, "shop-web");
        let body = json!({ "metadata": { "uid": "s" }, "spec": { "selector": { SLOT: "b" } } });
        let slice = json!({
            "metadata": { "ownerReferences": [{ "uid": "s", "controller": true }] },
            "endpoints": endpoints,
        });
        let pods = pods.iter().map(|(name, slot, ready)| {
            let pod = json!({
                "metadata": { "labels": { SLOT: slot } },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            });
            (ObjectKey::new(Kind::Pod, *name), pod)
        });
        let all = pods.chain([(ObjectKey::new(Kind::EndpointSlice, "shop-web-x"), slice)]);
        let live = Live { objects: all.map(|(key, object)| (key, Arc::new(object))).collect(), ..Live::default() };
        let object = Object {
            key,
            stage: Stage::Apps(1),
            body: body.clone(),
            recipe: BTreeMap::new(),
            started_is_enough: false,
        };
        reached(&Who(Component::App("web".into())), &object, &body, &live)
    }

    fn to(pod: &str, ready: &Value) -> Value {
        json!({ "conditions": { "ready": ready }, "targetRef": { "kind": "Pod", "name": pod } })
    }

    #[test]
    fn a_service_leads_to_a_ready_pod_that_it_selects() {
        let both = [("old", "a", "True"), ("new", "b", "True")];
        assert_eq!(told(&both, &json!([to("new", &json!(true))])), Progress::Ready);
        // unknown readiness counts as ready (Kubernetes API, `EndpointConditions`)
        assert_eq!(told(&both, &json!([to("new", &Value::Null)])), Progress::Ready);
        for late in [json!([]), Value::Null, json!([to("old", &json!(true))]), json!([to("new", &json!(false))])] {
            let Progress::Progressing(missing) = told(&both, &late) else { panic!("{late}") };
            assert_eq!(missing.message, "Service/shop-web does not lead to its ready pods yet");
        }
    }

    #[test]
    fn where_no_pod_is_ready_there_is_nothing_to_reach() {
        for pods in [vec![], vec![("old", "a", "True")], vec![("new", "b", "False")]] {
            assert_eq!(told(&pods, &json!([])), Progress::Ready);
        }
    }
}

//! A cluster that does what it is told: the files that are pushed to it, and what its controllers make of objects.

use hks::ident::{Kind, ObjectKey};
use hks::machine::Content;
use hks::plan::Live;
use hks::spec::Document;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The hks.yaml of a kind: `v1`, `v2` (web changes), `nodb` (v1 without its database), `bad` (web's image is missing),
/// `blue1`, `blue2`, `bluebad` (blue/green), `job`, `badjob` (with a job of the release), `needs` (a secret to be set), `empty`, `gone`, `broken`, `big` (asks for more room).
pub fn file(kind: &str) -> Content {
    let text = |database: bool, tag: &str| {
        let database = if database { "databases: {main: {engine: postgres, version: \"16\"}}\n" } else { "" };
        let env = if database.is_empty() { "" } else { ", env: {URL: \"${databases.main.url}\"}" };
        format!(
            "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: todo}}\n{database}apps:\n  web: {{image: \
             \"web:{tag}\", ports: {{http: 80}}{env}}}\ningress: {{public: {{paths: {{/: web}}}}}}\ndeploy: {{timeout: 10m, capacity: \
             {{wait: 30m}}}}\n"
        )
    };
    let blue_green = |tag: &str, replicas: &str| {
        text(false, tag).replace(
            "ports:",
            &format!("replicas: {replicas}, rollout: {{strategy: blueGreen, keepOld: 10m}}, probes: {{readiness: {{path: /}}}}, ports:"),
        )
    };
    let text = match kind {
        "v1" => text(true, "1"),
        "v2" => text(true, "2"),
        "bad" => text(true, "missing"),
        "nodb" => text(false, "1"),
        "big" => text(false, "big"),
        "blue1" => blue_green("1", "1"),
        "blue2" => blue_green("2", "1"),
        "bluebad" => blue_green("missing", "1"),
        "job" => format!("{}jobs: {{smoke: {{run: postDeploy, app: web, command: [\"true\"]}}}}\n", text(false, "2")),
        "badjob" => {
            format!("{}jobs: {{smoke: {{run: postDeploy, app: web, command: [\"false\"]}}}}\n", text(false, "3"))
        }
        "needs" => format!(
            "{}secrets: {{mail: {{keys: [password]}}}}\n",
            text(false, "2").replace("{http: 80}", "{http: 80}, env: {PASSWORD: \"${secrets.mail.password}\"}")
        ),
        "broken" => "kind: [".to_owned(),
        "empty" => "# nothing\n".to_owned(),
        "gone" => return Content::Missing,
        other => panic!("no kind {other}"),
    };
    Content::File(Document::new("hks.yaml", text.into_bytes()))
}

/// The cluster's controllers: what they would have made of the objects by now.
pub fn live(objects: &BTreeMap<ObjectKey, Value>, room: bool) -> Live {
    let mut all = objects.clone();
    for (key, object) in objects {
        match key.kind {
            Kind::Deployment => all.extend(rollout(key, object, room)),
            Kind::StatefulSet => {
                let status =
                    json!({"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
                all.get_mut(key).unwrap()["status"] = status;
            }
            Kind::Pod => {
                let status = container(object["spec"]["containers"][0]["image"].as_str().unwrap(), true);
                all.get_mut(key).unwrap()["status"] = status;
                all.get_mut(key).unwrap()["spec"]["nodeName"] = json!("n");
            }
            Kind::Job => {
                let bad = object["spec"]["template"]["spec"]["containers"][0]["command"][0] == "false";
                let condition =
                    json!({"type": if bad { "Failed" } else { "Complete" }, "status": "True", "message": "it ended"});
                all.get_mut(key).unwrap()["status"] = json!({"succeeded": i32::from(!bad), "conditions": [condition]});
            }
            _ => {}
        }
    }
    Live { objects: all.into_iter().map(|(key, object)| (key, Arc::new(object))).collect(), events: vec![] }
}

fn container(image: &str, pull_only: bool) -> Value {
    let missing = json!({"waiting": {"reason": "ErrImagePull", "message": format!("{image}: not found")}});
    let state = match (image.contains("missing"), pull_only) {
        (true, _) => missing,
        (false, true) => json!({"terminated": {"reason": "StartError"}}),
        (false, false) => json!({"running": {}}),
    };
    let ready = if image.contains("missing") { "False" } else { "True" };
    json!({
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}],
        "containerStatuses": [{"name": "web", "image": image, "state": state}],
    })
}

fn rollout(key: &ObjectKey, object: &Value, room: bool) -> Vec<(ObjectKey, Value)> {
    let image = object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
    let full = image.contains("big") && !room;
    let good = !image.contains("missing") && !full;
    let mut deployment = object.clone();
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
    let replicas = object["spec"]["replicas"].as_i64().unwrap();
    let ready = if good { replicas } else { 0 };
    deployment["status"] = json!({
        "observedGeneration": 1, "updatedReplicas": replicas, "replicas": replicas, "availableReplicas": ready,
    });
    let owner = |uid: &Value| json!([{"uid": uid, "controller": true}]);
    let labels = object["metadata"]["labels"].clone();
    let (set_name, pod_name) = (format!("{}-set", key.name), format!("{}-pod", key.name));
    let set = json!({"metadata": {
        "name": set_name, "uid": set_name, "labels": labels, "ownerReferences": owner(&object["metadata"]["uid"]),
        "annotations": {"deployment.kubernetes.io/revision": "1"},
    }});
    let mut pod = json!({
        "metadata": {"name": pod_name, "uid": pod_name, "labels": labels, "ownerReferences": owner(&json!(set_name))},
        "spec": {"nodeName": "n", "containers": [{"name": "web", "image": image, "resources": {"requests": {"cpu": "9", "memory": "1Gi"}}}]},
        "status": container(image, false),
    });
    if full {
        let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: none";
        pod["spec"].as_object_mut().unwrap().remove("nodeName");
        pod["status"] = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]});
    }
    vec![
        (key.clone(), deployment),
        (ObjectKey::new(Kind::ReplicaSet, set_name), set),
        (ObjectKey::new(Kind::Pod, pod_name), pod),
    ]
}

//! A cluster that does what it is told: the files that are pushed to it, and what its controllers make of objects.

use hks::ident::{Kind, ObjectKey};
use hks::machine::Content;
use hks::plan::Live;
use hks::spec::Document;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The hks.yaml of a kind: `v1`, `v2` (web changes), `nodb` (v1 without its database), `bad` (web's image is missing),
/// `blue1`, `blue2`, `bluebad` (blue/green), `job`, `badjob`, `longjob` (with a job of the release), `needs` (a secret to be set), `theirs` (a Secret of somebody
/// else's), `empty`, `gone`, `broken`, `big` (asks for more room).
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
        "cache" => format!(
            "{}caches: {{queue: {{engine: redis, version: \"7\", persistence: {{size: 1Gi}}}}}}\n",
            text(true, "2")
        ),
        "volume" => text(true, "2").replace("ports:", "volumes: {uploads: {mount: /data, size: 1Gi}}, ports:"),
        "grown" => text(true, "2").replace("ports:", "volumes: {uploads: {mount: /data, size: 2Gi}}, ports:"),
        "badvolume" => {
            text(false, "missing").replace("ports:", "volumes: {uploads: {mount: /data, size: 1Gi}}, ports:")
        }
        "maygo" => {
            format!("{}databases: {{two: {{engine: postgres, version: \"16\", onDelete: delete}}}}\n", text(false, "2"))
        }
        "badjobtuned" => format!(
            "{}jobs: {{smoke: {{run: postDeploy, app: web, command: [\"false\"]}}}}\n",
            text(true, "1").replace("\"16\"", "\"16\", parameters: {max_connections: 40}")
        ),
        "tunedonly" => text(true, "1").replace("\"16\"", "\"16\", parameters: {max_connections: 40}"),
        "badjobweb" => {
            format!("{}jobs: {{web: {{run: postDeploy, app: web, command: [\"false\"]}}}}\n", text(true, "1"))
        }
        "tuned" => text(true, "2").replace("\"16\"", "\"16\", parameters: {max_connections: 40}"),
        "v3" => text(true, "3"),
        "bad" | "badapp" => text(true, "missing"),
        "prod" => format!("{}environments: {{prod: {{branch: main, project: shop}}}}\n", text(true, "1")),
        "nodb" => text(false, "1"),
        "named" => text(false, "1").replace("public: {", "public: {host: shop.example.com, "),
        "namedwithdb" => text(true, "1").replace("public: {", "public: {host: shop.example.com, "),
        "named2" => text(false, "1").replace("public: {", "public: {host: www.example.com, "),
        "big" => text(false, "big"),
        "blue1" => blue_green("1", "1"),
        "blue2" => blue_green("2", "1"),
        "bluebad" => blue_green("missing", "1"),
        "job" => format!("{}jobs: {{smoke: {{run: postDeploy, app: web, command: [\"true\"]}}}}\n", text(false, "2")),
        "badjob" => {
            format!("{}jobs: {{smoke: {{run: postDeploy, app: web, command: [\"false\"]}}}}\n", text(false, "3"))
        }
        "badjobvolume" => format!(
            "{}jobs: {{smoke: {{run: postDeploy, app: web, command: [\"false\"]}}}}\n",
            text(false, "3").replace("ports:", "volumes: {uploads: {mount: /data, size: 1Gi}}, ports:")
        ),
        "longjob" => {
            format!("{}jobs: {{smoke: {{run: postDeploy, app: web, command: [sleep]}}}}\n", text(false, "4"))
        }
        "needs" => format!(
            "{}secrets: {{mail: {{keys: [password]}}}}\n",
            text(false, "2").replace("{http: 80}", "{http: 80}, env: {PASSWORD: \"${secrets.mail.password}\"}")
        ),
        "theirs" => format!(
            "{}secrets: {{mail: {{from: {{existing: theirs}}}}}}\n",
            text(false, "2").replace("{http: 80}", "{http: 80}, env: {PASSWORD: \"${secrets.mail.password}\"}")
        ),
        "signs" | "badsigns" | "signset" => {
            let how = if kind == "signset" { "keys: [key]" } else { "generate: {key: {length: 32}}" };
            let env = text(false, if kind == "badsigns" { "missing" } else { "2" })
                .replace("{http: 80}", "{http: 80}, env: {KEY: \"${secrets.sign.key}\"}");
            format!("{env}secrets: {{sign: {{{how}}}}}\n")
        }
        "broken" => "kind: [".to_owned(),
        "empty" => "# nothing\n".to_owned(),
        "gone" => return Content::Missing,
        other => panic!("no kind {other}"),
    };
    Content::File(Document::new("hks.yaml", text.into_bytes()))
}

/// How the cluster is at the moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// No room for what asks for more.
    pub full: bool,
    /// What has become of database servers: empty for ready, `down` was ready and is not, `never` was not ready yet.
    pub database: String,
    /// What has become of the pods of apps: empty for fine, `crash` they crash again and again.
    pub pods: String,
    /// Endpoints of Services follow neither pods nor selectors.
    pub unrouted: bool,
    /// Secrets of others: when each was changed, or that it is gone.
    pub taken: BTreeMap<String, Option<jiff::Timestamp>>,
    /// Pods of jobs take their time to end.
    pub jobs_linger: bool,
    /// A quota has no room for what is new.
    pub quota_full: bool,
    /// When a quota was last changed, where the project has one.
    pub limits: Option<jiff::Timestamp>,
}

/// When everything in the simulated cluster was made.
const MADE: &str = "2027-01-15T07:59:00Z";

/// Objects by key, as they were written.
pub type Objects = BTreeMap<ObjectKey, Arc<Value>>;

/// The cluster's controllers. What they have made of an object is kept for as long as the object and the cluster stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Controllers {
    cluster: Cluster,
    made: BTreeMap<ObjectKey, (Arc<Value>, Objects)>,
}

impl Controllers {
    /// What they would have made of the objects by now.
    pub fn live(&mut self, objects: &Objects, cluster: &Cluster) -> Live {
        if self.cluster != *cluster {
            self.cluster = cluster.clone();
            self.made.clear();
        }
        let mut all = objects.clone();
        for (key, object) in objects {
            let known = self.made.get(key).filter(|(of, _)| Arc::ptr_eq(of, object));
            if known.is_none() {
                let made = controlled(key, object, cluster);
                let made = made.into_iter().map(|(key, object)| (key, Arc::new(object))).collect();
                self.made.insert(key.clone(), (Arc::clone(object), made));
            }
            let made = self.made.get(key).into_iter().flat_map(|(_, made)| made);
            all.extend(made.map(|(key, object)| (key.clone(), Arc::clone(object))));
        }
        if !cluster.unrouted {
            let slices: Vec<_> = objects.iter().filter_map(|(key, object)| slice(key, object, &all)).collect();
            all.extend(slices);
        }
        Live { objects: all, events: vec![], limits: cluster.limits, taken: cluster.taken.clone() }
    }
}

/// Where a Service leads to.
fn slice(key: &ObjectKey, service: &Value, all: &Objects) -> Option<(ObjectKey, Arc<Value>)> {
    let selector = service["spec"]["selector"].as_object().filter(|_| key.kind == Kind::Service)?;
    let pods = all.iter().filter(|(key, _)| key.kind == Kind::Pod);
    let selected =
        pods.filter(|(_, pod)| selector.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value));
    let endpoints: Vec<_> = selected.map(|(pod, _)| json!({"targetRef": {"kind": "Pod", "name": pod.name}})).collect();
    let owner = json!([{"uid": service["metadata"]["uid"], "controller": true}]);
    let slice = json!({"metadata": {"name": key.name, "ownerReferences": owner}, "endpoints": endpoints});
    Some((ObjectKey::new(Kind::EndpointSlice, key.name.clone()), Arc::new(slice)))
}

/// What becomes of an object, and what is made for it.
fn controlled(key: &ObjectKey, object: &Value, cluster: &Cluster) -> Vec<(ObjectKey, Value)> {
    let mut now = object.clone();
    match key.kind {
        Kind::Deployment => rollout(key, object, !cluster.full, &cluster.pods),
        Kind::StatefulSet => {
            let ready = i32::from(cluster.database.is_empty());
            now["status"] = json!({
                "observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": ready, "availableReplicas": ready,
            });
            now["metadata"]["creationTimestamp"] = json!(MADE);
            vec![(key.clone(), now), server_pod(key, object, &cluster.database)]
        }
        Kind::PersistentVolumeClaim => {
            now["status"] = json!({"phase": "Bound"});
            vec![(key.clone(), now)]
        }
        Kind::Pod => {
            now["status"] = container(object["spec"]["containers"][0]["image"].as_str().unwrap(), true);
            now["spec"]["nodeName"] = json!("n");
            vec![(key.clone(), now)]
        }
        Kind::Job => {
            let command = &object["spec"]["template"]["spec"]["containers"][0]["command"][0];
            if *command == "sleep" {
                now["status"] = json!({"active": 1});
                return vec![(key.clone(), now)];
            }
            let bad = *command == "false";
            let condition =
                json!({"type": if bad { "Failed" } else { "Complete" }, "status": "True", "message": "it ended"});
            now["status"] = json!({"succeeded": i32::from(!bad), "conditions": [condition]});
            vec![(key.clone(), now)]
        }
        _ => vec![],
    }
}

/// The pod of a database server.
fn server_pod(key: &ObjectKey, object: &Value, how: &str) -> (ObjectKey, Value) {
    let name = format!("{}-0", key.name);
    let (ready, since) = match how {
        "" => ("True", "2027-01-15T07:59:20Z"),
        "never" => ("False", "2027-01-15T07:59:01Z"),
        _ => ("False", "2027-01-15T07:59:50Z"),
    };
    let pod = json!({
        "metadata": {
            "name": name, "uid": name, "labels": object["metadata"]["labels"], "creationTimestamp": MADE,
            "ownerReferences": [{"uid": object["metadata"]["uid"], "controller": true}],
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": ready, "lastTransitionTime": since},
            ],
            "containerStatuses": [{"name": "postgres", "state": {"running": {"startedAt": "2027-01-15T07:59:05Z"}}}],
        },
    });
    (ObjectKey::new(Kind::Pod, name), pod)
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

fn rollout(key: &ObjectKey, object: &Value, room: bool, how: &str) -> Vec<(ObjectKey, Value)> {
    let image = object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
    let full = image.contains("big") && !room;
    let good = !image.contains("missing") && !full && how.is_empty();
    let mut deployment = object.clone();
    deployment["metadata"]["creationTimestamp"] = json!(MADE);
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
    let replicas = object["spec"]["replicas"].as_i64().unwrap();
    let ready = if good { replicas } else { 0 };
    deployment["status"] = json!({
        "observedGeneration": 1, "updatedReplicas": replicas, "replicas": replicas, "availableReplicas": ready,
    });
    let owner = |uid: &Value| json!([{"uid": uid, "controller": true}]);
    let (set_name, pod_name) = (format!("{}-set", key.name), format!("{}-pod", key.name));
    let set = json!({"metadata": {
        "name": set_name, "uid": set_name, "labels": object["metadata"]["labels"], "ownerReferences": owner(&object["metadata"]["uid"]),
        "annotations": {"deployment.kubernetes.io/revision": "1"},
    }});
    let mut pod = json!({
        "metadata": {"name": pod_name, "uid": pod_name, "labels": object["spec"]["template"]["metadata"]["labels"], "ownerReferences": owner(&json!(set_name))},
        "spec": {"nodeName": "n", "containers": [{"name": "web", "image": image, "resources": {"requests": {"cpu": "9", "memory": "1Gi"}}}]},
        "status": container(image, false),
    });
    if how == "crash" {
        let crashing = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        pod["status"]["containerStatuses"][0]["state"] = crashing;
        pod["status"]["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 1}});
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(5);
        pod["status"]["conditions"][1]["status"] = json!("False");
    }
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

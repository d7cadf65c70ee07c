//! Measurements on the real cluster, printed as JSON: `just bench deploy`. Nothing is asserted; figures of a shared machine
//! fail no build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a measurement")]
#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement"
)]

#[path = "bench/many.rs"]
mod many;
mod pure;
mod support;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};
use support::process::{status_kib, ticks};
use support::{World, client, kit, sample, until};

/// Stacks in the repository of the push measurement.
const STACKS: usize = 100;
/// Repetitions.
const ROUNDS: usize = 20;

/// A Deployment as a watch saw it: when, name, word, replicas.
type Sight = (Instant, String, String, i32);

/// Watches the Deployments of a project from beside.
fn watch(runtime: &tokio::runtime::Runtime, api: Api<Deployment>) -> Mutex<Receiver<Sight>> {
    let (sender, receiver) = channel();
    runtime.spawn(async move {
        use futures::TryStreamExt;
        let version = api.list(&kube::api::ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        let mut stream = Box::pin(api.watch(&WatchParams::default(), &version).await.unwrap());
        while let Ok(Some(event)) = stream.try_next().await {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
            let name = object.name_any();
            let spec = object.spec.unwrap();
            let env = spec.template.spec.unwrap().containers.remove(0).env.unwrap_or_default();
            let word = env.into_iter().find(|env| env.name == "WORD").and_then(|env| env.value).unwrap_or_default();
            if sender.send((Instant::now(), name, word, spec.replicas.unwrap_or(1))).is_err() {
                return;
            }
        }
    });
    Mutex::new(receiver)
}

fn seen(sights: &Mutex<Receiver<Sight>>, is: impl Fn(&Sight) -> bool) -> Instant {
    let sights = sights.lock().unwrap();
    loop {
        let sight = sights.recv_timeout(Duration::from_mins(1)).expect("the change is seen");
        if is(&sight) {
            return sight.0;
        }
    }
}

fn figures(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_millis();
    json!({"n": times.len(), "min_ms": at(0.0), "median_ms": at(0.5), "p95_ms": at(0.95), "max_ms": at(1.0)})
}

/// A Stack that needs no pod.
fn idle(name: &str, word: &str) -> String {
    let registry = &kit().registry;
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {name}}}\napps:\n  job: {{image: \"{registry}/busybox:1\", \
         replicas: 0, env: {{WORD: \"{word}\"}}}}\n"
    )
}

/// The most memory that a process has had.
fn peak_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM")
}

/// Bytes that a process has sent on each of its TCP connections, as the kernel counts them.
fn bytes_sent(pid: u32) -> BTreeMap<String, u64> {
    let output = std::process::Command::new("ss").args(["-tinpH"]).output().expect("ss runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut sent = BTreeMap::new();
    let mut connection = None;
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            let words: Vec<_> = line.split_whitespace().collect();
            connection = line.contains(&format!("pid={pid},")).then(|| format!("{} {}", words[3], words[4]));
        } else if let Some(connection) = connection.take() {
            let bytes = line.split("bytes_sent:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            sent.insert(connection, bytes.unwrap_or(0));
        }
    }
    sent
}

/// What was sent between two looks.
fn growth(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> u64 {
    after.iter().map(|(connection, bytes)| bytes - before.get(connection).copied().unwrap_or(0)).sum()
}

/// A Stack of one pod that does nothing.
fn running(name: &str, word: &str) -> String {
    let env = format!("    env: {{WORD: \"{word}\"}}\n");
    support::worker(name, "1", "exec sleep 86400", &env)
}

fn settle_all(world: &World, count: usize) {
    let settled = || {
        let status = world.get("/api/v1/status").unwrap_or_default();
        let all = status["stacks"].as_array().cloned().unwrap_or_default();
        all.len() == count && all.iter().all(|stack| stack["state"] == "settled")
    };
    assert!(until(300, settled), "{:#}", world.get("/api/v1/status").unwrap_or_default());
}

#[test]
#[ignore = "a measurement"]
fn deploy() {
    let (runtime, client) = client();
    let mut world = World::new("bench");
    for number in 0..STACKS {
        world.write(&format!("s{number}/hks.yaml"), &idle(&format!("s{number}"), "first"));
    }
    world.push("a hundred stacks");
    let began = Instant::now();
    world.start();
    let listening = began.elapsed();
    assert!(until(30, || support::request("GET", &format!("http://{}/readyz", world.address), &[], "").0 == 200));
    let ready = began.elapsed();
    settle_all(&world, STACKS);
    let first = began.elapsed();
    let api: Api<Deployment> = Api::namespaced(client, &world.namespace);
    let sights = watch(&runtime, api.clone());

    let mut pushes = vec![];
    for round in 0..ROUNDS {
        let word = format!("round-{round}");
        world.write("s7/hks.yaml", &idle("s7", &word));
        world.git(&world.work(), &["commit", "--quiet", "-am", "change"]);
        let at = Instant::now();
        world.git(&world.work(), &["push", "--quiet", "origin", "main"]);
        pushes.push(seen(&sights, |sight| sight.2 == word) - at);
        let sha = world.git(&world.work(), &["rev-parse", "HEAD"]);
        world.settled("s7", &sha);
    }

    let restarted = push_to_settled(&mut World::new("bench-run"));
    let mut drifts = vec![];
    for round in 0..ROUNDS {
        let name = format!("s{}-job", 20 + round);
        let patch = Patch::Merge(json!({"spec": {"paused": false, "replicas": 0, "template": {"spec": {"containers": [
            {"name": "job", "image": format!("{}/busybox:1", kit().registry), "env": [{"name": "WORD", "value": "drift"}]}]}}}}));
        runtime.block_on(api.patch(&name, &PatchParams::default(), &patch)).unwrap();
        let at = seen(&sights, |sight| sight.1 == name && sight.2 == "drift");
        drifts.push(seen(&sights, |sight| sight.1 == name && sight.2 == "first") - at);
    }
    let rss = status_kib(world.pid(), "VmRSS");
    println!(
        "{:#}",
        json!({
            "stacks": STACKS,
            "each": "one app without pods",
            "start_to_listening_ms": listening.as_millis(),
            "start_to_ready_ms": ready.as_millis(),
            "first_deployment_of_all_ms": first.as_millis(),
            "git_push_to_applied": figures(pushes),
            "drift_to_corrected": figures(drifts),
            "running_pod_git_push_to_settled": figures(restarted),
            "rss_kib": rss,
            "binary_bytes": std::fs::metadata(env!("CARGO_BIN_EXE_hks")).unwrap().len(),
        })
    );
}

/// A running pod is replaced by a push: how long until all is well again.
fn push_to_settled(world: &mut World) -> Vec<Duration> {
    let sha = world.push_stack(&running("one", "first"));
    world.start();
    world.settled("one", &sha);
    let change = |round: usize| {
        let at = Instant::now();
        let sha = world.push_stack(&running("one", &format!("round-{round}")));
        world.settled("one", &sha);
        at.elapsed()
    };
    (0..5).map(change).collect()
}

#[test]
#[ignore = "a measurement"]
fn rest() {
    let without = rest_of("apps without pods", &idle);
    let running = rest_of("apps of one running pod", &running);
    println!("{:#}", json!([without, running]));
}

/// What ten Stacks of a kind cost while nothing happens.
fn rest_of(each: &str, stack: &dyn Fn(&str, &str) -> String) -> Value {
    let mut world = World::new("bench-rest");
    for number in 0..10 {
        world.write(&format!("s{number}/hks.yaml"), &stack(&format!("s{number}"), "first"));
    }
    world.push("ten stacks");
    world.start();
    settle_all(&world, 10);
    let quiet = || {
        let before = bytes_sent(world.pid());
        std::thread::sleep(Duration::from_secs(2));
        growth(&before, &bytes_sent(world.pid())) == 0
    };
    let _ = until(30, quiet);
    let (sent, cpu) = (bytes_sent(world.pid()), ticks(world.pid()));
    std::thread::sleep(Duration::from_mins(1));
    json!({
        "stacks": 10,
        "each": each,
        "seconds": 60,
        "bytes_sent_to_the_cluster": growth(&sent, &bytes_sent(world.pid())),
        "cpu_ticks_of_10_ms": ticks(world.pid()) - cpu,
        "rss_kib": status_kib(world.pid(), "VmRSS"),
    })
}

#[test]
#[ignore = "a measurement"]
fn rollback() {
    let mut world = World::new("bench-back");
    let sha = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &sha);
    let mut restored = vec![];
    for round in 0..5 {
        let sha = world.push_stack(&sample("todo", &format!("missing-{round}")));
        let view = world.held("todo", &sha);
        let record = world.kubectl(&["get", "configmap", "hks-todo", "-o", "jsonpath={.data.record\\.json}"]);
        let record: Value = serde_json::from_str(&record).unwrap();
        let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let took = time(&view["history"][0]["ended"]).duration_since(time(&record["held"]["at"]));
        restored.push(Duration::try_from(took).unwrap());
    }
    // what hks adds: from the moment the last object is ready to the end of the deployment
    let (runtime, client) = client();
    let api: Api<Deployment> = Api::namespaced(client, &world.namespace);
    let mut added = vec![];
    for version in ["2.0.0", "1.0.0", "2.0.0", "1.0.0"] {
        let sha = world.push_stack(&sample("todo", version));
        let mut ready = None;
        let seen = until(60, || {
            let deployment = runtime.block_on(api.get("todo-web")).unwrap();
            let image =
                deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
            let status = deployment.status.unwrap();
            let done = image.ends_with(version)
                && status.observed_generation == deployment.metadata.generation
                && (status.updated_replicas, status.available_replicas, status.replicas) == (Some(1), Some(1), Some(1));
            ready = done.then(SystemTime::now);
            done
        });
        assert!(seen);
        let view = world.settled("todo", &sha);
        let ended: SystemTime =
            view["history"][0]["ended"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().into();
        added.push(ended.duration_since(ready.unwrap()).unwrap_or_default());
    }
    println!("{:#}", json!({"verdict_to_restored": figures(restored), "added_to_readiness": figures(added)}));
}

/// Reading and rendering, without a cluster.
#[test]
#[ignore = "a measurement: just bench spec"]
fn spec() {
    use hks::{manifest, spec};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let context = pure::context();
    let revision = hks::ident::Revision::new("0123456789abcdef0123456789abcdef01234567");
    let read = |name: &str| {
        let path = root.join(name).join("hks.yaml");
        hks::shell::files::document(&path, std::fs::read(&path).unwrap())
    };
    let once = |document: &spec::Document| {
        let spec = spec::read(&document.source, "hks.yaml", &document.files, spec::Selection::Any).unwrap().unwrap();
        manifest::render(&spec, &revision, &context).objects.len()
    };
    let names = ["aio", "hexabase", "hugmedo", "koiki", "pipe", "reference"];
    let documents: Vec<_> = names.iter().map(|name| read(name)).collect();
    let mut examples = BTreeMap::new();
    for (name, document) in names.iter().zip(&documents) {
        once(document);
        let mut times: Vec<f64> = (0..50).map(|_| milliseconds(|| once(document))).collect();
        times.sort_by(f64::total_cmp);
        examples.insert(*name, json!({ "bytes": document.source.len(), "objects": once(document), "medianMs": times[25], "maxMs": times[49] }));
    }
    let thousand = milliseconds(|| (0..1000).map(|index| once(&documents[index % documents.len()])).sum());
    let small = milliseconds(|| (0..1000).map(|_| once(&documents[1])).sum());
    let hostile = hostile(&revision, &context);
    println!(
        "{}",
        json!({
            "examples": examples, "thousandStacksMs": { "examples in turn": thousand, "hexabase": small }, "hostile": hostile,
        })
    );
}

fn milliseconds(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64() * 1000.0
}

/// What the files cost that try to cost more than they should: to read and, where they are right, to render. The ones that
/// cost most come first.
fn hostile(revision: &hks::ident::Revision, context: &hks::manifest::Context) -> Vec<Value> {
    let files = pure::hostile::files();
    let known = pure::hostile::known::known().into_iter();
    let mut costs: Vec<(f64, Value)> = known
        .map(|(name, source)| {
            let mut mistakes = 0;
            let mut once = || match hks::spec::read(source.as_bytes(), "hks.yaml", &files, hks::spec::Selection::Any) {
                Ok(spec) => spec.map_or(0, |spec| hks::manifest::render(&spec, revision, context).objects.len()),
                Err(found) => {
                    mistakes = found.len();
                    0
                }
            };
            let mut times: Vec<f64> = (0..10).map(|_| milliseconds(&mut once)).collect();
            let counted = allocation_counter::measure(|| {
                once();
            });
            let mib = counted.bytes_max as f64 / f64::from(1 << 20);
            times.sort_by(f64::total_cmp);
            let cost = json!({
                "name": name, "bytes": source.len(), "medianMs": times[5], "maxMs": times[9], "mibAtOnce": mib, "mistakes": mistakes
            });
            (times[5], cost)
        })
        .collect();
    costs.sort_by(|a, b| b.0.total_cmp(&a.0));
    costs.into_iter().map(|(_, cost)| cost).collect()
}

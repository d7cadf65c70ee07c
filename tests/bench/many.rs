//! `just bench many [N]`: N Stacks of an app without pods, its Service and its Ingress, pushed at once into one project;
//! beside them what the same objects cost without hks. Then one change, rest, memory, and a start.

use crate::support::{World, client, kit, request, until};
use crate::{bytes_sent, figures, growth, peak_kib, seen, status_kib, ticks, watch};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Requests at the same time where objects are made without hks.
const PARALLEL: usize = 16;
/// Changes of one Stack.
const ROUNDS: usize = 10;

fn stack(number: usize, word: &str) -> String {
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: s{number}}}\napps:\n  web: {{image: \"{}/busybox:1\", \
         replicas: 0, ports: {{http: 8080}}, env: {{WORD: \"{word}\"}}}}\ningress: {{public: {{paths: {{/: web}}}}}}\n",
        kit().registry
    )
}

/// The objects of a Stack as hks renders them.
fn objects(number: usize, namespace: &str) -> Vec<(hks::ident::Kind, DynamicObject)> {
    let source = stack(number, "bare");
    let spec = hks::spec::read(source.as_bytes(), "hks.yaml", &hks::spec::Files::default(), hks::spec::Selection::Any);
    let context = hks::manifest::Context { namespace: namespace.into(), ..crate::pure::context() };
    let revision = hks::ident::Revision::new("0123456789abcdef0123456789abcdef01234567");
    let manifest = hks::manifest::render(&spec.unwrap().unwrap(), &revision, &context);
    let body = |body: &serde_json::Value| serde_json::from_value(body.clone()).unwrap();
    manifest.objects.iter().map(|object| (object.key.kind, body(&object.body))).collect()
}

/// Makes the same objects without hks; how long the calls take, and how long until the controllers have seen all.
async fn bare(client: &Client, namespace: &str, count: usize) -> (Duration, Duration) {
    use futures::StreamExt;
    let began = Instant::now();
    let all = (0..count).flat_map(|number| objects(number, namespace));
    let made = futures::stream::iter(all).map(|(kind, object)| async move {
        let resource = hks::shell::cluster::project::resource(kind);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        api.create(&PostParams::default(), &object).await.unwrap();
    });
    made.buffer_unordered(PARALLEL).collect::<Vec<()>>().await;
    let called = began.elapsed();
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    loop {
        let list = api.list(&ListParams::default()).await.unwrap();
        let observed = |object: &&Deployment| object.status.as_ref().is_some_and(|s| s.observed_generation.is_some());
        if list.items.iter().filter(observed).count() == count {
            return (called, began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Waits until all are settled; looking costs the daemon something, so it is done rarely.
fn settle(world: &World, count: usize) {
    let mut last = Value::Null;
    for round in 0..120 {
        last = world.get("/api/v1/status").unwrap_or_default();
        let all = last["stacks"].as_array().cloned().unwrap_or_default();
        if all.len() == count && all.iter().all(|stack| stack["state"] == "settled") {
            return;
        }
        std::thread::sleep(Duration::from_millis(if round < 20 { 500 } else { 4000 }));
    }
    panic!("not settled after 400 s: {}", last.to_string().chars().take(2000).collect::<String>());
}

/// CPU that the daemon has used since it was started with `before` ticks.
fn cpu(world: &World, before: u64) -> u64 {
    (ticks(world.pid()) - before) * 10
}

#[test]
#[ignore = "a measurement: just bench many [N]"]
fn many() {
    let count = std::env::var("HKS_BENCH_STACKS").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let (runtime, client) = client();
    let beside = World::new("bench-bare");
    let (calls, floor) = runtime.block_on(bare(&client, &beside.namespace, count));
    drop(beside);

    let mut world = World::new("bench-many");
    // nobody answers where no pod runs
    world.settings = "probeUrls: false\n".into();
    world.push("nothing yet");
    world.start();
    for number in 0..count {
        world.write(&format!("s{number}/hks.yaml"), &stack(number, "first"));
    }
    let (before, began) = (ticks(world.pid()), Instant::now());
    world.push("many stacks");
    settle(&world, count);
    let (rolled_out, rolled_out_cpu) = (began.elapsed(), cpu(&world, before));
    let peak = peak_kib(world.pid());

    let api: Api<Deployment> = Api::namespaced(client, &world.namespace);
    let sights = watch(&runtime, api);
    let mut pushes = vec![];
    let before = ticks(world.pid());
    for round in 0..ROUNDS {
        let word = format!("round-{round}");
        world.write("s7/hks.yaml", &stack(7, &word));
        world.git(&world.work(), &["commit", "--quiet", "-am", "change"]);
        let at = Instant::now();
        world.git(&world.work(), &["push", "--quiet", "origin", "main"]);
        pushes.push(seen(&sights, |sight| sight.2 == word) - at);
        let sha = world.git(&world.work(), &["rev-parse", "HEAD"]);
        world.settled("s7", &sha);
    }
    let change_cpu = cpu(&world, before) / ROUNDS as u64;

    let quiet = || {
        let before = bytes_sent(world.pid());
        std::thread::sleep(Duration::from_secs(2));
        growth(&before, &bytes_sent(world.pid())) == 0
    };
    let _ = until(60, quiet);
    let (sent, before) = (bytes_sent(world.pid()), ticks(world.pid()));
    std::thread::sleep(Duration::from_mins(1));
    let (rest_sent, rest_cpu) = (growth(&sent, &bytes_sent(world.pid())), cpu(&world, before));
    let rest_rss = status_kib(world.pid(), "VmRSS");

    world.stop();
    let began = Instant::now();
    world.start();
    assert!(until(60, || request("GET", &format!("http://{}/readyz", world.address), &[], "").0 == 200));
    let ready = began.elapsed();
    settle(&world, count);
    println!(
        "{:#}",
        json!({
            "stacks": count,
            "each": "one app without pods, its Service and its Ingress; all in one project",
            "bare_calls_ms": calls.as_millis(),
            "until_the_controllers_saw_all_ms": floor.as_millis(),
            "push_to_all_settled_ms": rolled_out.as_millis(),
            "roll_out_cpu_ms": rolled_out_cpu,
            "one_change_push_to_applied": figures(pushes),
            "one_change_cpu_ms": change_cpu,
            "rest_60_s_bytes_sent": rest_sent,
            "rest_60_s_cpu_ms": rest_cpu,
            "rss_kib": {"peak": peak, "at_rest": rest_rss, "after_a_start": status_kib(world.pid(), "VmRSS")},
            "start_to_ready_ms": ready.as_millis(),
            "start_to_all_settled_ms": began.elapsed().as_millis(),
            "start_cpu_ms": cpu(&world, 0),
        })
    );
}

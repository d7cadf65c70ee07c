//! The example systems on the real cluster, in their environment `local`: deployed, answering, and changed by a push as
//! their READMEs say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use std::process::Output;
use support::{Client, World, get_json, kit, request, until};

/// How long a first deployment of a whole system may take here, in seconds.
const FIRST: u64 = 300;

fn world(name: &str) -> World {
    let mut world = World::new(name);
    world.branch = "local";
    world.copy_example(name);
    world
}

/// Pushes the example as it is and waits until it is in effect.
fn deployed(world: &mut World, stack: &str) -> Value {
    let sha = world.push("deploy");
    world.start();
    world.wait(stack, "settled", FIRST, |view| view["state"] == "settled" && view["appliedRevision"] == sha)
}

fn url(view: &Value, index: usize) -> String {
    view["urls"][index].as_str().expect("a public URL").to_owned()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn aio() {
    let mut world = world("aio");
    let sha = world.push("deploy");
    world.start();
    // nothing is touched before the keys are set, and the status says how to set them
    let view = world.wait("aio", "asks for keys", 30, |view| view["state"] == "invalid");
    let cause = view.to_string();
    assert!(cause.contains("hks secret set aio llm OPENAI_API_KEY"), "{view:#}");
    assert_eq!(world.objects(), Vec::<String>::new());
    for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"] {
        let set = world.hks_with(&["secret", "set", "aio", "llm", key], "canary-value\n");
        assert!(set.status.success() && !text(&set).contains("canary"), "{}", text(&set));
        assert!(text(&set).contains("the commit that waits for it goes on"), "{}", text(&set));
    }
    // and then it goes on by itself
    let view = world.wait("aio", "settled", FIRST, |view| view["state"] == "settled" && view["appliedRevision"] == sha);
    let (auth, public) = (url(&view, 0), url(&view, 1));
    assert_eq!(request("GET", &format!("{auth}/health/ready"), &[], "").0, 200);
    // a job goes through the queue to the worker, and its result through the pooler into the database
    let (status, answer) = request("POST", &format!("{public}/api/jobs"), &[], "");
    assert!((200..300).contains(&status), "{status} {answer}");
    let done = || get_json(&format!("{public}/api/jobs")).is_some_and(|jobs| jobs["done"].as_i64() >= Some(1));
    assert!(until(30, done), "the worker has not done the job");
    let keys = world.kubectl(&[
        "get",
        "deployment",
        "aio-worker",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].env[*].name}",
    ]);
    assert!(keys.contains("OPENAI_API_KEY"), "the worker has the environment of the api: {keys}");
    assert!(world.kubectl(&["get", "hpa", "aio-api", "-o", "jsonpath={.spec.maxReplicas}"]) == "6");
    let worker = |view: &Value| {
        let mut apps = view["apps"].as_array().into_iter().flatten();
        apps.find(|app| app["name"] == "worker").cloned().unwrap_or_default()
    };
    // a new key reaches the pods by new pods, and is no drift
    let pods = || {
        world.kubectl(&["get", "pods", "-l", "hks.hexabase.ai/app=worker", "-o", "jsonpath={.items[*].metadata.name}"])
    };
    let before = pods();
    let set = world.hks_with(&["secret", "set", "aio", "llm", "OPENAI_API_KEY"], "another-value\n");
    assert!(set.status.success() && text(&set).contains("started anew"), "{}", text(&set));
    assert!(until(60, || !pods().contains(&before)), "the same pods: {before}");
    let view = world.wait("aio", "at rest", 60, |view| view["state"] == "settled" && worker(view)["ready"] == 1);
    assert!(view["driftCorrected"] == 0 && view["drift"] == serde_json::json!([]), "{view:#}");
    // one that nothing uses is told as that
    let set = world.hks_with(&["secret", "set", "aio", "llm", "OPENAI_KEY"], "a third value\n");
    assert!(set.status.success() && text(&set).contains("no app uses it"), "{}", text(&set));
    assert!(text(&set).contains("declares llm OPENAI_API_KEY, llm ANTHROPIC_API_KEY"), "{}", text(&set));
    // a new version is one value
    let sha = world.push_change("tag: 1.0.0", "tag: 2.0.0");
    world.settled("aio", &sha);
    assert!(until(10, || get_json(&public).is_some_and(|page| page["version"] == "2.0.0")));
}

#[test]
fn hugmedo() {
    let mut world = world("hugmedo");
    let view = deployed(&mut world, "hugmedo");
    assert_eq!(view["history"][0]["jobs"]["smoke"], "succeeded", "{view:#}");
    let public = url(&view, 1);
    let slot = |world: &World| {
        world.kubectl(&["get", "service", "hugmedo-web", "-o", "jsonpath={.spec.selector.hks\\.hexabase\\.ai/slot}"])
    };
    let first = slot(&world);
    // blue/green: the new version takes over at once, and no request is lost
    let client = Client::start(&public);
    let sha = world.push_change("tag: 1.0.0", "tag: 2.0.0");
    world.wait("hugmedo", "settled", FIRST, |view| view["state"] == "settled" && view["appliedRevision"] == sha);
    assert!(until(10, || get_json(&public).is_some_and(|page| page["version"] == "2.0.0")));
    let second = slot(&world);
    assert_ne!(first, second);
    let deployments = world.kubectl(&["get", "deployment", "-o", "name"]);
    assert!(deployments.contains(&first) && deployments.contains(&second), "the old version stays: {deployments}");
    // a version that does not become ready never gets traffic
    let local = "  local:\n    branch: local\n    patch:\n";
    world.push_change(local, &format!("{local}      deploy: {{timeout: 20s}}\n"));
    let api = "    API_URL: ${apps.api.url}\n";
    let sha = world.push_change(api, &format!("{api}    BREAK: 1\n"));
    let view = world.wait("hugmedo", "held", FIRST, |view| view["state"] == "held" && view["desiredRevision"] == sha);
    assert_eq!(slot(&world), second, "{view:#}");
    let (asked, failed) = client.stop();
    let ends = (failed.first(), failed.last());
    let columns = "custom-columns=AT:.lastTimestamp,OF:.involvedObject.name,SAYS:.message";
    assert!(
        asked > 100 && failed.is_empty(),
        "{} of {asked} requests failed, the first and the last: {ends:?}\n{}",
        failed.len(),
        world.kubectl(&["get", "events", "-o", columns])
    );
}

#[test]
fn hexabase() {
    let mut world = World::new("hexabase");
    world.copy_example("hexabase");
    let view = deployed(&mut world, "todo");
    let public = url(&view, 0);
    assert_eq!(request("GET", &format!("{public}/ready"), &[], "").0, 200);
    let sha = world.push_change("    replicas: 2", "    replicas: 1");
    world.settled("todo", &sha);
    assert_eq!(world.kubectl(&["get", "deployment", "todo-web", "-o", "jsonpath={.spec.replicas}"]), "1");
    let budget = world.try_kubectl(&["get", "poddisruptionbudget", "todo-web"]);
    assert!(!budget.status.success(), "one pod needs no budget");
}

#[test]
fn pipe() {
    let mut world = world("pipe");
    let view = deployed(&mut world, "pipe");
    assert_eq!(request("GET", &format!("{}/api/health", url(&view, 0)), &[], "").0, 200);
    let env = "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"ENVIRONMENT\")].value}";
    assert_eq!(world.kubectl(&["get", "deployment", "pipe-pipe-api", "-o", env]), "local");
    let run = world.hks(&["job", "run", "pipe", "seed"]);
    assert!(run.status.success(), "{}", text(&run));
    // the patch of the environment is what is scaled
    let sha = world.push_change("          replicas: 2", "          replicas: 1");
    world.settled("pipe", &sha);
    assert_eq!(world.kubectl(&["get", "deployment", "pipe-pipe-api", "-o", "jsonpath={.spec.replicas}"]), "1");
}

#[test]
fn koiki() {
    let mut world = world("koiki");
    if let Some(gateway) = &kit().gateway {
        world.extra = format!("    gateway: {{name: {gateway}, http: web, https: websecure}}\n");
    } else {
        let headers = "{public: {websocket: null, headers: null, paths: {/_next/static: null}}}";
        world.push_change("{public: {websocket: null}}", headers);
    }
    let view = deployed(&mut world, "koiki");
    let public = url(&view, 0);
    // the company's authority beside the public ones
    let bundle = get_json(&format!("{public}/api/v1/ca")).expect("an answer");
    assert!(bundle["certificates"].as_i64() > Some(100), "{bundle}");
    let (status, answer) = request(
        "POST",
        &format!("{public}/api/v1/todos"),
        &[("content-type", "application/json")],
        "{\"title\": \"x\"}",
    );
    assert!((200..300).contains(&status), "{status} {answer}");
    assert_eq!(request("GET", &format!("{public}/_next/static/app.js"), &[], "").0, 200);
    // a changed variable rolls out
    let sha = world.push_change("RATE_LIMIT_DEFAULT: 100/minute", "RATE_LIMIT_DEFAULT: 200/minute");
    world.settled("koiki", &sha);
    let env = "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"RATE_LIMIT_DEFAULT\")].value}";
    assert_eq!(world.kubectl(&["get", "deployment", "koiki-app", "-o", env]), "200/minute");
}

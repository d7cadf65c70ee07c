//! A secret value that a tenant makes everybody say, on the real cluster: it is in nothing that leaves hks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{World, kit, request, until};

const CANARY: &str = "c4n4ry/v\"lue+of@a secret";

/// Parts of it, as it stands by itself, in JSON, in a URL and in base64.
fn forms() -> Vec<String> {
    let encoded = STANDARD.encode(CANARY);
    vec![
        "c4n4ry".into(),
        "lue+of@a".into(),
        "lue%2Bof".into(),
        encoded[4..20].into(),
        STANDARD.encode(format!("app:{CANARY}"))[8..24].into(),
    ]
}

/// Everything that hks says of the Stack anywhere, with where it says so.
fn said(world: &World, stack: &str) -> Vec<(String, String)> {
    let page = |path: &str| request("GET", &format!("http://{}{path}", world.address), &[], "").1;
    let mut all: Vec<_> =
        ["/", &format!("/stacks/{stack}"), "/api/v1/status", &format!("/api/v1/stacks/{stack}"), "/metrics"]
            .map(|path| (path.to_owned(), page(path)))
            .into();
    for command in [
        &["status", stack][..],
        &["status", stack, "-o", "json"],
        &["history", stack],
        &["events", stack],
        &["logs", "job"],
    ] {
        let output = world.hks(command);
        let text = [output.stdout, output.stderr].concat();
        all.push((command.join(" "), String::from_utf8_lossy(&text).into_owned()));
    }
    all.push(("record".into(), world.kubectl(&["get", "configmaps", "-o", "json"])));
    all.push((
        "events of hks".into(),
        world.kubectl(&["get", "events", "-o", "jsonpath={.items[?(@.reportingComponent==\"hks\")]}"]),
    ));
    all.push(("log".into(), world.log()));
    all
}

fn assert_unsaid(world: &World, stack: &str) {
    for (place, text) in said(world, stack) {
        for form in forms() {
            assert!(!text.contains(&form), "{form:?} is in {place}:\n{text}");
        }
    }
}

/// A Stack that takes the canary from a Secret of somebody else's.
fn stack(command: &str) -> String {
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: leak}}\nsecrets: {{theirs: {{from: {{existing: theirs}}}}}}\n\
         apps:\n  job:\n    image: {registry}/busybox:1\n    command: {command}\n    env: {{TOKEN: \"${{secrets.theirs.token}}\"}}\n    \
         resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: 100m, memory: 16Mi}}}}\ndeploy: {{timeout: 60s}}\n",
        registry = kit().registry,
    )
}

/// S7, P53: in one string with the program, the runtime quotes it; a program can say it in any form; and a person can write it.
#[test]
fn a_secret_is_said_by_nobody() {
    let mut world = World::new("canary");
    world.kubectl(&["create", "secret", "generic", "theirs", &format!("--from-literal=token={CANARY}")]);
    let sha = world.push_stack(&stack("[\"./server --token=${secrets.theirs.token}\"]"));
    world.start();
    let ended = |view: &serde_json::Value| view["desiredRevision"] == sha && view["state"] == "held";
    let view = world.wait("leak", "put back", 120, ended);
    assert!(view["cause"].as_str().is_some_and(|cause| cause.contains("./server --token=***")), "{view:#}");
    assert_unsaid(&world, "leak");

    let say = "[sh, -c, 'printf \"in a url http:%s@db/x\\\\n\" \"//app:$TOKEN\"; printf %s \"$TOKEN\" | base64; printf %s \"app:$TOKEN\" | base64; \
               echo \"plain $TOKEN\" | tee /dev/termination-log; exit 3']";
    let sha = world.push_stack(&stack(say));
    let ended = |view: &serde_json::Value| view["desiredRevision"] == sha && view["state"] == "held";
    let view = world.wait("leak", "put back", 120, ended);
    assert!(view["log"].as_str().is_some_and(|log| log.contains("plain ***")), "{view:#}");
    assert_unsaid(&world, "leak");

    // at rest, and asked for by a person who writes it down
    let sha = world.push_stack(&stack("[sleep, infinity]"));
    world.settled("leak", &sha);
    let asked = world.hks(&["suspend", "leak", "--reason", CANARY]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    assert!(until(30, || world.view("leak")["suspended"]["reason"] == "***"), "{:#}", world.view("leak"));
    assert_unsaid(&world, "leak");
}

//! The daemon is killed at thirty points of a deployment and of a rollback: the end is that of an undisturbed run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use std::time::Duration;
use support::{World, after, kit};

/// Points at which the daemon is killed, in milliseconds after the push. An undisturbed deployment of this Stack takes about
/// 2 s, a rollback about 1.5 s.
fn points() -> impl Iterator<Item = Duration> {
    (0..30).map(|point| Duration::from_millis(point * 70))
}

fn stack(tag: &str, word: &str) -> String {
    let registry = &kit().registry;
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: one}}\nsecrets: {{s: {{generate: {{key: {{length: 20}}}}}}}}\n\
         apps:\n  web:\n    image: {registry}/busybox:{tag}\n    env: {{WORD: \"{word}\", KEY: \"${{secrets.s.key}}\"}}\n    command: \
         [sh, -c, 'mkdir -p /tmp/w; echo hi > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w']\n    ports: {{http: 8080}}\n    \
         probes: {{readiness: {{path: /, period: 1s}}}}\n    resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: \
         500m, memory: 16Mi}}}}\n"
    )
}

struct Seen {
    uids: String,
    generation: u64,
    word: String,
}

fn look(world: &World) -> Seen {
    let uids = world.kubectl(&["get", "deployment,service,secret", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let generation = world.kubectl(&["get", "deployment", "one-web", "-o", "jsonpath={.metadata.generation}"]);
    let word = "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"WORD\")].value}";
    Seen {
        uids,
        generation: generation.parse().unwrap(),
        word: world.kubectl(&["get", "deployment", "one-web", "-o", word]),
    }
}

/// Pushes, kills the daemon after `delay`, and starts it again.
fn disturb(world: &mut World, text: &str, delay: Duration) -> String {
    let sha = world.push_stack(text);
    after(delay);
    world.kill();
    world.start();
    sha
}

fn ends_of(view: &Value, sha: &str) -> usize {
    view["history"].as_array().unwrap().iter().filter(|deployment| deployment["revision"] == sha).count()
}

#[test]
fn a_killed_deployment_ends_as_if_nothing_had_happened() {
    let mut world = World::new("killdep");
    let sha = world.push_stack(&stack("1", "start"));
    world.start();
    world.settled("one", &sha);
    let mut before = look(&world);
    for (index, delay) in points().enumerate() {
        let word = format!("word-{index}");
        let sha = disturb(&mut world, &stack("1", &word), delay);
        let view = world.settled("one", &sha);
        let after = look(&world);
        assert_eq!(after.uids, before.uids, "an object was made again; killed after {delay:?}");
        assert_eq!(after.generation, before.generation + 1, "written more than once; killed after {delay:?}");
        assert_eq!(after.word, word);
        assert_eq!(ends_of(&view, &sha), 1, "killed after {delay:?}: {}", view["history"]);
        before = after;
    }
}

#[test]
fn a_killed_rollback_ends_as_if_nothing_had_happened() {
    let mut world = World::new("killback");
    let sha = world.push_stack(&stack("1", "good"));
    world.start();
    world.settled("one", &sha);
    let mut before = look(&world);
    for (index, delay) in points().enumerate() {
        let sha = disturb(&mut world, &stack("missing", &format!("bad-{index}")), delay);
        let view = world.held("one", &sha);
        let after = look(&world);
        assert_eq!(after.uids, before.uids, "an object was made again; killed after {delay:?}");
        assert_eq!(after.generation, before.generation + 2, "killed after {delay:?}");
        assert_eq!(after.word, "good");
        assert_eq!(ends_of(&view, &sha), 1, "killed after {delay:?}: {}", view["history"]);
        before = after;
    }
}

//! Each trouble of a deployment, made for real on the cluster, and what it is called.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use support::{World, kit, sample, worker};

fn description(view: &Value) -> String {
    view["history"][0]["description"].as_str().unwrap_or_default().to_owned()
}

/// The worker with other amounts and timeouts.
fn asking(stack: &str, cpu: &str, memory: &str, deploy: &str) -> String {
    worker(stack, "1", "sleep 3600", &format!("deploy: {deploy}\n")).replace(
        "{requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 16Mi}}",
        &format!("{{requests: {{cpu: \"{cpu}\", memory: {memory}}}, limits: {{cpu: \"{cpu}\", memory: {memory}}}}}"),
    )
}

#[test]
fn limits_are_told_with_limit_used_and_asked() {
    if kit().vcluster.is_none() {
        return;
    }
    let mut world = World::new("limits");
    let sha = world.push_stack(&asking("one", "10m", "20Gi", "{timeout: 60s}"));
    world.start();
    let text = description(&world.held("one", &sha));
    assert!(text.starts_with("removed again: memory limit exceeded: job asks 20Gi, used "), "{text}");
    assert!(text.ends_with(" of 9Gi"), "{text}");

    let sha = world.push_stack(&sample("one", "1.0.0").replace("64Mi}\n    resources", "50Gi}\n    resources"));
    let text = description(&world.held("one", &sha));
    let start = "removed again: database resources insufficient: storage limit exceeded: main asks 50Gi, used ";
    assert!(text.starts_with(start) && text.ends_with(" of 10Gi"), "{text}");
    assert_eq!(world.objects(), Vec::<String>::new());

    let sha = world.push_stack(
        &sample("one", "1.0.0").replace("limits: {cpu: 500m, memory: 128Mi}", "limits: {cpu: 500m, memory: 30Gi}"),
    );
    let text = description(&world.held("one", &sha));
    assert!(
        text.starts_with("removed again: database resources insufficient: memory limit exceeded: main asks 30Gi"),
        "{text}"
    );
}

#[test]
fn a_full_node_pool_is_waited_for_and_goes_on_by_itself() {
    let mut world = World::new("capacity");
    // a hog takes what the second Stack needs; requests, not real work, and not all of them, so that other tests go on
    // the node as the host has it: a vCluster shows nodes that it makes up
    let cores: f64 = support::on_host(&["get", "nodes", "-o", "jsonpath={.items[*].status.allocatable.cpu}"])
        .split_whitespace()
        .map(|cpu| {
            cpu.strip_suffix('m').map_or_else(|| cpu.parse().unwrap(), |milli| milli.parse::<f64>().unwrap() / 1000.0)
        })
        .fold(0.0, f64::max);
    let share = |share: f64| format!("{:.0}m", cores * 1000.0 * share);
    let ask = share(0.5);
    let hog = |replicas: u32| {
        asking("hog", &ask, "16Mi", "{timeout: 60s}")
            .replace("    command:", &format!("    replicas: {replicas}\n    command:"))
    };
    world.write("hog/hks.yaml", &hog(1));
    let sha = world.push("a hog");
    world.start();
    world.settled("hog", &sha);
    world.write("late/hks.yaml", &asking("late", &share(0.52), "16Mi", "{capacity: {wait: 10m}}"));
    let sha = world.push("no room for this");
    let view = world.wait("late", "waiting", 60, |view| view["state"] == "waiting");
    let activity = view["activity"].as_str().unwrap();
    assert!(activity.contains("job asks ") && activity.contains("Insufficient cpu"), "{activity}");
    world.write("hog/hks.yaml", &hog(0));
    let after = world.push("the hog goes");
    assert_ne!(sha, after);
    world.settled("late", &after);
}

#[test]
fn capacity_that_does_not_come_in_time_is_given_up() {
    let mut world = World::new("notime");
    let sha = world.push_stack(&asking("one", "500", "16Mi", "{capacity: {wait: 2s}}"));
    world.start();
    let view = world.held("one", &sha);
    // a workspace may have a CPU quota below what any node has
    let text = description(&view);
    assert!(
        text.contains("no capacity in time: job asks 500 cpu") || text.contains("cpu limit exceeded: job asks 500"),
        "{text}"
    );
    assert_eq!(world.objects(), Vec::<String>::new());
}

#[test]
fn a_crash_is_rolled_back_with_its_last_words_and_without_secrets() {
    let mut world = World::new("crash");
    let good = worker("one", "1", "sleep 3600", "secrets: {s: {generate: {key: {length: 20}}}}\n");
    let first = world.push_stack(&good);
    world.start();
    world.settled("one", &first);
    let bad = worker(
        "one",
        "1",
        "echo key $KEY; echo cannot read the config; exit 3",
        "secrets: {s: {generate: {key: {length: 20}}}}\n",
    )
    .replace("    command:", "    env: {KEY: \"${secrets.s.key}\"}\n    command:");
    let sha = world.push_stack(&bad);
    let view = world.held("one", &sha);
    assert_eq!(view["cause"], "job crashes (exit code 3): cannot read the config");
    let log = view["log"].as_str().unwrap();
    assert!(log.contains("key ***"), "{log}");
    assert_eq!(view["appliedRevision"], first.as_str());
}

/// What a probe has found ready once may end right after it: `minReady` says how long it has to stay so.
#[test]
fn an_app_that_ends_right_after_it_was_ready_is_rolled_back_where_it_has_to_stay_so() {
    let mut world = World::new("minready");
    let app = |last: &str| {
        format!(
            "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: one}}\napps:\n  web:\n    image: {}/busybox:1\n    \
             command: [sh, -c, 'mkdir /tmp/w; echo hi > /tmp/w/index.html; httpd -p 8080 -h /tmp/w; {last}']\n    ports: {{http: \
             8080}}\n    rollout: {{minReady: 12s}}\n    probes: {{readiness: {{path: /, period: 1s}}}}\n    resources: {{requests: {{cpu: \
             10m, memory: 16Mi}}, limits: {{cpu: 500m, memory: 16Mi}}}}\n",
            kit().registry
        )
    };
    let good = world.push_stack(&app("sleep 3600"));
    world.start();
    world.settled("one", &good);
    let bad = world.push_stack(&app("sleep 3; echo the licence has expired; exit 7"));
    let view = world.held("one", &bad);
    assert_eq!(view["cause"], "web crashes (exit code 7): the licence has expired");
    assert_eq!(view["history"][0]["outcome"], "rolledBack", "{view:#}");
}

#[test]
fn too_little_memory_is_told_with_the_limit() {
    let mut world = World::new("oom");
    let sha = world.push_stack(&worker("one", "1", "tail /dev/zero", ""));
    world.start();
    let text = description(&world.held("one", &sha));
    assert_eq!(text, "removed again: job ran out of memory (OOMKilled at its limit of 16Mi)");
}

#[test]
fn what_never_becomes_ready_is_rolled_back_at_the_deadline() {
    let mut world = World::new("never");
    let stack = worker("one", "1", "echo waiting for godot; sleep 3600", "deploy: {timeout: 10s}\n").replace(
        "    command:",
        "    ports: {http: 8080}\n    probes: {readiness: {path: /ready, period: 1s}}\n    command:",
    );
    let sha = world.push_stack(&stack);
    world.start();
    let text = description(&world.held("one", &sha));
    assert!(text.starts_with("removed again: job did not become ready: Readiness probe failed"), "{text}");
    assert_eq!(world.view("one")["log"].as_str().map(str::trim), Some("waiting for godot"));
}

#[test]
fn a_taken_name_is_refused_and_not_taken_over() {
    let mut world = World::new("taken");
    world.kubectl(&[
        "create",
        "deployment",
        "one-job",
        &format!("--image={}/busybox:1", kit().registry),
        "--",
        "sleep",
        "3600",
    ]);
    let sha = world.push_stack(&worker("one", "1", "sleep 3600", ""));
    world.start();
    let view =
        world.wait("one", "rejected", 30, |view| view["state"] == "invalid" && view["desiredRevision"] == sha.as_str());
    let cause = view["cause"].as_str().unwrap();
    assert!(cause.contains("Deployment/one-job") && cause.contains("does not belong to this Stack"), "{cause}");
    let managers = world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.metadata.labels}"]);
    assert!(!managers.contains("hks"), "{managers}");
}

#[test]
fn a_registry_that_does_not_answer_is_tried_until_the_deadline() {
    let mut world = World::new("registry");
    let stack = worker("one", "1", "sleep 3600", "deploy: {timeout: 15s}\n");
    // nothing listens on the discard port
    let sha = world.push_stack(&stack.replace(&format!("{}/busybox:1", kit().registry), "127.0.0.1:9/busybox:1"));
    world.start();
    world.wait("one", "being retried", 30, |view| {
        view["activity"].as_str().is_some_and(|activity| activity.contains("retrying to pull 127.0.0.1:9/busybox:1"))
    });
    let text = description(&world.held("one", &sha));
    assert!(
        text.starts_with("removed again: image pull timed out (") && text.contains("127.0.0.1:9/busybox:1"),
        "{text}"
    );
}

#[test]
fn a_quota_of_the_project_is_told_too() {
    let mut world = World::new("quota");
    world.kubectl(&["create", "quota", "small", "--hard=limits.memory=64Mi"]);
    let sha = world.push_stack(&asking("one", "10m", "32Mi", "{timeout: 60s}"));
    world.start();
    world.settled("one", &sha);
    let bad = world.push_stack(&asking("one", "10m", "48Mi", "{timeout: 60s}"));
    let view = world.held("one", &bad);
    assert_eq!(view["cause"], "memory limit exceeded: job asks 48Mi, used 32Mi of 64Mi");
    assert_eq!(view["appliedRevision"], sha.as_str());
}

#[test]
fn a_database_that_can_not_run_with_less_is_put_back_with_its_data() {
    let mut world = World::new("dbback");
    let first = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &first);
    let sql =
        |sql: &str| world.kubectl(&["exec", "todo-main-0", "--", "psql", "-XAtU", "postgres", "-d", "app", "-c", sql]);
    sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)");
    // 6 MiB are too little for any server: its pod never becomes ready, and a StatefulSet does not replace such a pod by
    // itself
    let sha = world.push_stack(
        &sample("todo", "1.0.0")
            .replace("limits: {cpu: 500m, memory: 128Mi}", "limits: {cpu: 500m, memory: 6Mi}")
            .replace(
                "memory: 64Mi}, limits: {cpu: 500m, memory: 6Mi}",
                "memory: 6Mi}, limits: {cpu: 500m, memory: 6Mi}",
            ),
    );
    let view = world.held("todo", &sha);
    assert!(view["cause"].as_str().unwrap().contains("main"), "{}", view["cause"]);
    assert!(support::until(60, || world.view("todo")["databases"][0]["ready"] == true), "{:#}", world.view("todo"));
    assert_eq!(sql("SELECT n FROM kept"), "42");
}

/// P18: hks leaves a program no capability; the cause says so where its own words tell only that it was denied.
#[test]
fn what_is_not_permitted_names_the_key_that_permits_it() {
    let mut world = World::new("denied");
    let sha = world.push_stack(&worker("one", "1", "touch /tmp/x && chown 7:7 /tmp/x && sleep 3600", ""));
    world.start();
    let text = description(&world.held("one", &sha));
    assert!(text.contains("Operation not permitted; hks takes all capabilities away: apps.job.security"), "{text}");
    let allowed = "    security: {capabilities: [CHOWN]}\n";
    let sha = world.push_stack(&worker("one", "1", "touch /tmp/x && chown 7:7 /tmp/x && sleep 3600", allowed));
    world.settled("one", &sha);
}

//! The command line on the real cluster: one answer for page and terminal, settings from the project, and an end in time where
//! something is in the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{World, kit, sample, worker};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// A kubeconfig of the project's cluster, with another user.
fn kubeconfig(world: &World, name: &str, user: &Value) -> PathBuf {
    let inner = Command::new(&kit().kubectl)
        .arg("--kubeconfig")
        .arg(&kit().inner)
        .args(["config", "view", "--raw", "--minify", "-o", "json"])
        .output()
        .unwrap();
    let mut config: Value = serde_json::from_slice(&inner.stdout).unwrap();
    config["users"][0]["user"] = user.clone();
    let path = world.folder.path().join(name);
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A kubeconfig whose server is at a port of this machine.
fn at_port(world: &World, port: u16) -> PathBuf {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "u", "user": { "token": "t" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    let path = world.folder.path().join(format!("at-{port}"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A token of a service account that may do all in the project but list `resource` of `group`.
fn token_without(world: &World, group: &str, resource: &str) -> String {
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let most = ["get", "watch", "create", "update", "patch", "delete"];
    let groups = [
        (
            "",
            vec![
                "secrets",
                "configmaps",
                "persistentvolumeclaims",
                "services",
                "pods",
                "pods/log",
                "pods/exec",
                "events",
            ],
        ),
        ("apps", vec!["deployments", "statefulsets", "replicasets"]),
        ("discovery.k8s.io", vec!["endpointslices"]),
        ("autoscaling", vec!["horizontalpodautoscalers"]),
        ("policy", vec!["poddisruptionbudgets"]),
        ("batch", vec!["jobs", "cronjobs"]),
        ("networking.k8s.io", vec!["ingresses", "networkpolicies"]),
        ("gateway.networking.k8s.io", vec!["httproutes"]),
        ("metrics.k8s.io", vec!["pods"]),
        ("coordination.k8s.io", vec!["leases"]),
    ];
    let mut rules = vec![];
    for (of, resources) in groups {
        let others: Vec<_> = resources.iter().filter(|one| (of, **one) != (group, resource)).collect();
        if !others.is_empty() {
            rules.push(json!({ "apiGroups": [of], "resources": others, "verbs": all }));
        }
    }
    rules.push(json!({ "apiGroups": [group], "resources": [resource], "verbs": most }));
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "most" } },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "most" }, "rules": rules },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "most" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "most" },
            "subjects": [{ "kind": "ServiceAccount", "name": "most", "namespace": world.namespace }],
        },
    ]});
    let path = world.folder.path().join("rights.json");
    std::fs::write(&path, objects.to_string()).unwrap();
    world.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    world.kubectl(&["create", "token", "most"])
}

#[test]
fn status_says_what_the_page_says_and_diff_knows_the_platform() {
    let mut world = World::new("cli-status");
    world.settings = "publicUrl: https://hks.example\n".into();
    let sha = world.push_stack(&sample("one", "1.0.0"));
    world.start();
    let view = world.settled("one", &sha);

    let told: Value = serde_json::from_slice(&world.bare_hks(&["status", "one", "-o", "json"]).stdout).unwrap();
    for field in ["state", "sentence", "appliedRevision", "desiredRevision", "urls", "lacking", "drift", "retained"] {
        assert_eq!(told[field], view[field], "{field}");
    }
    // what they use is measured at each look
    let databases = |view: &Value| {
        let mut all = view["databases"].clone();
        all.as_array_mut().unwrap().iter_mut().for_each(|one| one["usage"] = Value::Null);
        all
    };
    assert_eq!(databases(&told), databases(&view));
    assert_eq!(told["apps"][0]["readiness"], "ready");
    assert_eq!(told["page"], "https://hks.example/stacks/one");
    assert!(told["daemon"].as_str().is_some_and(|daemon| daemon.ends_with("/main")), "{told}");

    let text = out(&world.bare_hks(&["status", "one"]));
    for part in [
        "✓ settled",
        "runs, and all of it is well",
        world.url("one").as_str(),
        "web  1/1",
        "one-main",
        "ready",
        "change hks.yaml (dev)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(out(&world.bare_hks(&["status"])).contains("✓ settled"));
    assert!(out(&world.bare_hks(&["status", "-o", "wide"])).contains(&world.url("one")));

    // domain and images are the daemon's, and nobody said them here
    let same = world.bare_hks(&["diff"]);
    assert_eq!(code(&same), 0, "{}{}", out(&same), err(&same));
    let other = world.bare_hks(&["diff", "--domain", "other.example", "-o", "json"]);
    assert_eq!(code(&other), 1, "a flag wins");
    assert!(out(&other).contains("Ingress/one-public") && out(&other).contains("other.example"), "{}", out(&other));

    let missing = world.bare_hks(&["status", "two"]);
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("there are: one"), "{}", err(&missing));

    world.stop();
    world.kubectl(&["scale", "deployment/one-web", "--replicas=2"]);
    let drifted = out(&world.bare_hks(&["status", "one"]));
    assert!(drifted.contains("Deployment/one-web spec.replicas"), "{drifted}");
    assert!(drifted.contains("no daemon holds its Lease"), "{drifted}");
    let asked = world.bare_hks(&["suspend", "one", "--reason", "audit"]);
    assert_eq!(code(&asked), 4);
    assert!(err(&asked).contains("no daemon acts for one"), "{}", err(&asked));
    let wish = world.kubectl(&[
        "get",
        "configmap",
        "hks-one",
        "-o",
        "jsonpath={.metadata.annotations.hks\\.hexabase\\.ai/wish}",
    ]);
    let wish: Value = serde_json::from_str(&wish).unwrap();
    assert_eq!((&wish["what"]["kind"], &wish["what"]["reason"]), (&json!("suspend"), &json!("audit")));
}

#[test]
fn logs_of_apps_and_jobs_hold_no_secret_and_pods_are_made_anew() {
    let mut world = World::new("cli-logs");
    let rest = "secrets: {s: {generate: {key: {length: 20}}}}\n";
    let job = "jobs: {report: {app: job, command: [sh, -c, 'echo job $KEY; exit 3'], run: manual}}\n";
    let file = worker("one", "1", "echo key $KEY; sleep 3600", &format!("{rest}{job}")).replace(
        "    command: [sh, -c, 'echo key",
        "    env: {KEY: \"${secrets.s.key}\"}\n    command: [sh, -c, 'echo key",
    );
    let sha = world.push_stack(&file);
    world.start();
    world.settled("one", &sha);
    let log = world.bare_hks(&["logs", "job", "--stack", "one"]);
    assert_eq!(out(&log).trim(), "key ***", "{}", err(&log));
    let ran = world.bare_hks(&["job", "run", "one", "report"]);
    assert_eq!(code(&ran), 5, "{}", err(&ran));
    assert!(out(&ran).contains("job ***"), "{}", out(&ran));

    // the pod of a job of the release goes with what it has failed
    let failing = file.replace("exit 3'], run: manual", "exit 3'], run: postDeploy, retries: 0");
    let failed = world.push_stack(&failing);
    world.held("one", &failed);
    let log = world.bare_hks(&["logs", "report", "--stack", "one"]);
    assert_eq!(out(&log).trim(), "job ***\njob ***", "the one by hand is there as well: {}", err(&log));
    assert!(err(&log).contains(&format!("the run for {} failed and is gone with it", &failed[..7])), "{}", err(&log));

    let unknown = world.bare_hks(&["logs", "web"]);
    assert!(code(&unknown) == 1 && err(&unknown).contains("there are pods of: job"), "{}", err(&unknown));
    let pods = || {
        world.kubectl(&[
            "get",
            "pods",
            "-l",
            "hks.hexabase.ai/app=job",
            "--field-selector=status.phase=Running",
            "-o",
            "name",
        ])
    };
    let before = pods();
    let restarted = world.bare_hks(&["restart", "job"]);
    assert_eq!(code(&restarted), 0, "{}", err(&restarted));
    assert_ne!(before, pods());
    world.wait("one", "held", 30, |view| view["state"] == "held" && view["drift"] == json!([]));
}

#[test]
fn a_right_that_is_missing_is_named_in_time() {
    let world = World::new("cli-rights");
    world.write("hks.yaml", &worker("one", "1", "sleep 3600", ""));
    let token = token_without(&world, "batch", "jobs");
    let kubeconfig = kubeconfig(&world, "most", &json!({ "token": token }));
    for args in [&["diff"][..], &["apply"], &["status"]] {
        let begun = Instant::now();
        let output = world.hks_by(&kubeconfig, args);
        assert_eq!(code(&output), 4, "{args:?}: {}", err(&output));
        assert!(err(&output).contains("may not list jobs in namespace"), "{args:?}: {}", err(&output));
        assert!(begun.elapsed() < Duration::from_secs(20), "{args:?}");
    }
    let doctor = world.hks_by(&kubeconfig, &["doctor"]);
    assert_eq!(code(&doctor), 4);
    assert!(out(&doctor).contains("may not list jobs in"), "{}", out(&doctor));
    assert!(out(&doctor).contains(r#"{apiGroups: ["batch"], resources: [jobs], verbs: [list]}"#), "{}", out(&doctor));
    assert!(!out(&doctor).contains("may not list cronjobs"), "{}", out(&doctor));
}

#[test]
fn a_project_or_cluster_that_is_not_there_is_told_in_time() {
    let world = World::new("cli-dead");
    world.write("hks.yaml", &worker("one", "1", "sleep 3600", ""));
    let commands: [&[&str]; 9] = [
        &["diff"],
        &["apply"],
        &["status"],
        &["events", "one"],
        &["history", "one"],
        &["rollback", "one", "--yes"],
        &["secret", "list", "one"],
        &["job", "run", "one", "x"],
        &["logs", "web"],
    ];
    for args in commands {
        let output = world.bare_hks(&[args, &["-n", "no-such-project"]].concat());
        assert_eq!(code(&output), 4, "{args:?}: {}", err(&output));
        assert!(err(&output).contains("namespace no-such-project does not exist"), "{args:?}: {}", err(&output));
    }
    // one that takes connections and never answers, and one that is not there
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for port in [silent.local_addr().unwrap().port(), closed] {
        let kubeconfig = at_port(&world, port);
        for args in commands {
            let begun = Instant::now();
            let output = world.hks_by(&kubeconfig, &[args, &["--timeout", "2s"]].concat());
            assert_eq!(code(&output), 4, "{args:?}: {}", err(&output));
            assert!(err(&output).contains("failed to reach the cluster"), "{args:?}: {}", err(&output));
            // without a bound it would be minutes
            assert!(begun.elapsed() < Duration::from_secs(30), "{args:?}");
        }
    }
}

#[test]
fn a_person_may_log_in_by_a_program_and_the_daemon_may_not() {
    let mut world = World::new("cli-exec");
    let token = token_without(&world, "batch", "nothing");
    let program = world.folder.path().join("login");
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token },
    });
    std::fs::write(&program, format!("#!/bin/sh\necho '{credential}'\n")).unwrap();
    Command::new("chmod").arg("+x").arg(&program).status().unwrap();
    let exec = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": program, "interactiveMode": "Never",
    }});
    let kubeconfig = kubeconfig(&world, "exec", &exec);
    let output = world.hks_by(&kubeconfig, &["status"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("no Stacks in namespace"), "{}", out(&output));

    world.push_stack(&worker("one", "1", "sleep 3600", ""));
    let text = format!(
        "listen: 127.0.0.1:0\ndataDir: {home}/data\nkubeconfig: {kubeconfig}\nsources:\n  main: {{namespace: {namespace}, git: {{url: {url}}}}}\n",
        home = world.folder.path().join("refused").display(),
        kubeconfig = kubeconfig.display(),
        namespace = world.namespace,
        url = world.remote().display(),
    );
    std::fs::create_dir_all(world.folder.path().join("daemon")).unwrap();
    let config = world.folder.path().join("daemon/config.yaml");
    std::fs::write(&config, text).unwrap();
    world.start_with(&config);
    assert!(support::until(20, || world.log().contains("runs a program")), "{}", world.log());
}

#[test]
fn the_doctor_finds_what_is_there_and_what_is_not() {
    let world = World::new("cli-doctor");
    let output = world.bare_hks(&["doctor", "--domain", "apps.localhost"]);
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    for part in ["all that is needed in", "every kind that hks uses is served", "what pods use is measured", "agree"] {
        assert!(out(&output).contains(part), "{part}: {}", out(&output));
    }
    let output = world.bare_hks(&["doctor", "--ingress-class", "no-such-class", "-o", "json"]);
    assert_eq!(code(&output), 4);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["missing"], true);
    let findings = found["findings"].as_object().unwrap().values().next().unwrap().as_array().unwrap();
    let class = findings.iter().find(|finding| finding["about"] == "ingress class").unwrap();
    assert_eq!(class["verdict"], "missing");
    let output = world.bare_hks(&["doctor", "-n", "no-such-project"]);
    assert_eq!(code(&output), 4);
    assert!(out(&output).contains("kubectl create namespace no-such-project"), "{}", out(&output));

    let config = world.config(
        "examined",
        "      url: https://git.example/x.git\n      username: u\n      password: {file: /no/such/password}\n",
    );
    let output = world.bare_hks(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(code(&output), 4);
    assert!(out(&output).contains("main: the git password: failed to read credential"), "{}", out(&output));
    assert!(out(&output).contains("put it into /no/such/password"), "{}", out(&output));
}

#[test]
fn a_gateway_is_examined_with_what_its_class_supports() {
    let Some(gateway) = &kit().gateway else { return };
    let world = World::new("cli-gateway");
    let output =
        world.bare_hks(&["doctor", "--gateway", gateway, "--gateway-http", "web", "--gateway-https", "websecure"]);
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    assert!(out(&output).contains("has the listeners web, websecure"), "{}", out(&output));
    let output = world.bare_hks(&[
        "doctor",
        "--gateway",
        gateway,
        "--gateway-http",
        "no-such",
        "--gateway-features",
        "HTTPRouteMirror",
    ]);
    assert_eq!(code(&output), 4);
    assert!(out(&output).contains("has no listener no-such"), "{}", out(&output));
    assert!(out(&output).contains("does not list HTTPRouteMirror"), "{}", out(&output));
}

#[test]
fn an_environment_is_named_or_refused_unless_the_daemon_has_chosen() {
    let world = World::new("cli-environment");
    let file = worker(
        "one",
        "1",
        "sleep 3600",
        "environments:\n  staging: {branch: main}\n  production: {tag: v*, patch: {apps: {job: {replicas: 2}}}}\n",
    );
    world.write("hks.yaml", &file);
    for command in ["render", "diff", "apply"] {
        let output = world.bare_hks(&[command]);
        assert_eq!(code(&output), 2, "{command}");
        assert!(
            err(&output).contains("several environments fit: production, staging; name one with -e"),
            "{}",
            err(&output)
        );
        let output = world.bare_hks(&[command, "-e", "production"]);
        assert_eq!(code(&output), 2, "{command}");
        assert!(err(&output).contains("follows tags (v*); say which one it is with --tag"), "{}", err(&output));
    }
    // what the daemon deploys there is no guess
    let published = json!({ "main": { "branch": "main", "platform": { "domain": "apps.localhost" } } }).to_string();
    world.kubectl(&["create", "configmap", "hks.platform", &format!("--from-literal=platform.json={published}")]);
    let output = world.bare_hks(&["diff"]);
    assert!(code(&output) == 1 && out(&output).contains("replicas: 1"), "{}{}", out(&output), err(&output));
    let output = world.bare_hks(&["render", "-e", "production", "--tag", "v1.4.0"]);
    assert!(code(&output) == 0 && out(&output).contains("replicas: 2"), "{}", err(&output));
}

#[test]
fn the_daemon_answers_what_it_is_asked_for() {
    let mut world = World::new("cli-wish");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", "    shutdown: {gracePeriod: 1s}\n"));
    world.start();
    world.settled("one", &first);
    let asked = |args: &[&str]| {
        let output = world.bare_hks(args);
        (code(&output), format!("{}{}", out(&output), err(&output)))
    };

    let (ended, text) = asked(&["suspend", "one", "--reason", "audit"]);
    assert!(ended == 0 && text.contains("the daemon has taken it"), "{text}");
    let view = world.wait("one", "suspended", 20, |view| view["state"] == "suspended");
    assert_eq!(view["suspended"]["reason"], "audit");
    let status = asked(&["status", "one"]).1;
    assert!(status.contains("‖ suspended") && status.contains("(audit)"), "{status}");
    let (ended, text) = asked(&["retry", "one"]);
    assert!(ended == 1 && text.contains("failed to retry: the Stack is suspended"), "{text}");
    let (ended, text) = asked(&["resume", "one"]);
    assert!(ended == 0, "{text}");
    world.settled("one", &first);
    let (ended, text) = asked(&["resume", "one", "-o", "json"]);
    let answer: Value =
        serde_json::from_str(text.lines().filter(|line| !line.starts_with('…')).collect::<String>().as_str()).unwrap();
    assert_eq!((ended, &answer["answered"], &answer["refused"]), (1, &json!(true), &json!("it is not suspended")));

    let bad = world.push_stack(&worker("one", "1", "exit 3", "    shutdown: {gracePeriod: 1s}\n"));
    world.held("one", &bad);
    let held = asked(&["status", "one"]).1;
    assert!(held.contains("✗ held back") && held.contains("job crashes (exit code 3)"), "{held}");
    let (ended, text) = asked(&["retry", "one"]);
    assert!(ended == 0, "{text}");
    world.wait("one", "tried again", 60, |view| {
        view["state"] == "held" && view["history"].as_array().is_some_and(|history| history.len() > 2)
    });

    let (ended, text) = asked(&["destroy", "one"]);
    assert!(ended == 1 && text.contains("standard input is no terminal; add --yes"), "{text}");
    let (ended, text) = asked(&["destroy", "one", "--yes"]);
    assert!(ended == 0, "{text}");
    assert!(support::until(60, || world.objects().is_empty()), "{:?}", world.objects());
}

#[test]
fn what_crashes_at_rest_is_told_by_both() {
    let mut world = World::new("cli-degraded");
    let rest = "    shutdown: {gracePeriod: 1s}\nsecrets: {s: {generate: {key: {length: 20}}}}\n";
    let file = worker("one", "1", "sleep 25; echo key $KEY; exit 7", rest)
        .replace("    command:", "    env: {KEY: \"${secrets.s.key}\"}\n    command:");
    let sha = world.push_stack(&file);
    world.start();
    world.settled("one", &sha);
    // between two crashes it is only not ready
    let cause = "job crashes (exit code 7): key ***";
    world.wait("one", "degraded", 150, |view| view["state"] == "degraded" && view["troubles"][0]["cause"] == cause);
    let mut text = String::new();
    let told = support::until(60, || {
        text = out(&world.bare_hks(&["status", "one"]));
        text.contains("⚠ degraded") && text.contains("trouble")
    });
    assert!(told, "{text}");
}

#[test]
fn of_two_that_apply_at_once_one_stands_back() {
    let world = World::new("cli-two");
    world.write("hks.yaml", &worker("one", "1", "sleep 3601", "    shutdown: {gracePeriod: 1s}\n"));
    let start = || world.on_cluster(&["apply"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let mut codes = both.each_ref().map(code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "{}{}", err(&both[0]), err(&both[1]));
    let back = both.iter().find(|output| code(output) == 1).unwrap();
    assert!(err(back).contains("another `hks apply` is at work for this Stack: apply-"), "{}", err(back));
}

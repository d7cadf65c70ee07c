//! The second fault: what a person wanted, what can't be read and what was deleted survive a restart in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use support::{World, request, until, worker};

/// A Stack that takes a while until it is ready.
fn slow(number: u32) -> String {
    let ports = "    ports: {http: 8080}\n    shutdown: {gracePeriod: 1s}\n";
    worker("one", "1", &format!("sleep 8; : {number}; exec httpd -f -p 8080"), ports)
}

/// Whether it was applied with this number.
fn runs(world: &World, number: &str) -> bool {
    let command = "jsonpath={.spec.template.spec.containers[0].command}";
    world.kubectl(&["get", "deployment", "one-job", "-o", command]).contains(number)
}

/// A world with a commit that runs, and another one that is being deployed.
fn under_way(title: &str) -> (World, String, String) {
    let mut world = World::new(title);
    let first = world.push_stack(&slow(3601));
    world.start();
    world.settled("one", &first);
    let second = world.push_stack(&slow(3602));
    assert!(until(30, || runs(&world, "3602")), "{}", world.log());
    (world, first, second)
}

#[test]
fn a_restart_forgets_neither_a_wish_nor_a_stack_nor_a_record() {
    let mut world = World::new("again");
    let volume = "    volumes: {kept: {mount: /data, size: 16Mi}}\n    shutdown: {gracePeriod: 1s}\n";
    let first = world.push_stack(&worker("one", "1", "sleep 3601", volume));
    world.start();
    world.settled("one", &first);
    let second = world.push_stack(&worker("one", "1", "sleep 3602", volume));
    world.settled("one", &second);

    // killed while it is carried out, a rollback goes on: what was rolled back does not come again
    world.hks_works(&["rollback", "one", "--to", &first, "--yes"]);
    let command = || {
        let path = "jsonpath={.spec.template.spec.containers[0].command}";
        world.kubectl(&["get", "deployment", "one-job", "-o", path])
    };
    assert!(until(30, || command().contains("3601")));
    world.kill();
    world.start();
    world.wait("one", "rolled back", 90, |view| view["state"] == "held" && view["appliedRevision"] == first.as_str());
    world.kill();
    world.start();
    world.wait("one", "still so", 30, |view| view["state"] == "held" && view["appliedRevision"] == first.as_str());

    // objects whose labels somebody takes away are still there, and get them back
    let labels = "jsonpath={.metadata.uid} {.metadata.labels.hks\\.hexabase\\.ai/stack} \
                  {.metadata.labels.app\\.kubernetes\\.io/managed-by}";
    let labelled = |world: &World| {
        ["deployment/one-job", "pvc/one-job-kept"].map(|object| world.kubectl(&["get", object, "-o", labels]))
    };
    let before = labelled(&world);
    assert!(before.iter().all(|labels| labels.ends_with(" one hks")), "{before:?}");
    for label in ["hks.hexabase.ai/stack-", "app.kubernetes.io/managed-by-"] {
        world.kubectl(&["label", "deployment/one-job", "pvc/one-job-kept", label]);
        assert!(until(30, || labelled(&world) == before), "{}", world.log());
    }

    // a record that somebody deletes, or writes in, is written again while the daemon knows it: at once, and by itself, when no pod
    // that ends wakes the Stack
    let pods = || world.kubectl(&["get", "pods", "-o", "name"]).lines().count();
    assert!(until(60, || pods() == 1), "{}", world.kubectl(&["get", "pods"]));
    world.kubectl(&["delete", "configmap", "hks-one"]);
    assert!(until(30, || world.try_kubectl(&["get", "configmap", "hks-one"]).status.success()), "{}", world.log());
    let record = || world.kubectl(&["get", "configmap", "hks-one", "-o", "jsonpath={.data.record\\.json}"]);
    let whole = record();
    world.kubectl(&["patch", "configmap", "hks-one", "-p", "{\"data\":{\"record.json\":\"{\"}}"]);
    assert!(until(30, || record() == whole), "{}", world.log());

    // the same while no daemon runs
    world.kill();
    for label in ["hks.hexabase.ai/stack-", "app.kubernetes.io/managed-by-"] {
        world.kubectl(&["label", "deployment/one-job", "pvc/one-job-kept", label]);
    }
    world.start();
    assert!(until(60, || labelled(&world) == before), "{}", world.log());
    world.wait("one", "well", 30, |view| view["state"] == "held" && view["lost"].as_array().is_none_or(Vec::is_empty));

    // a Stack whose newest file can't be read is not forgotten
    world.push_stack("nonsense: [");
    world.wait("one", "told", 30, |view| view["state"] == "invalid" || view["state"] == "held");
    world.kill();
    world.start();
    world.wait("one", "taken up", 30, |view| view["appliedRevision"] == first.as_str());
    world.kubectl(&["scale", "deployment", "one-job", "--replicas=0"]);
    let replicas = || world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.replicas}"]);
    assert!(until(30, || replicas() == "1"), "{}", world.log());
}

#[test]
fn wishes_that_wait_for_a_daemon_are_all_heard_and_nothing_comes_back() {
    let mut world = World::new("queue");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    world.kill();
    // nobody is there: the wishes wait, one behind the other, and nobody calls them done
    for wish in [&["suspend", "one", "--reason", "audit"][..], &["retry", "one"]] {
        let asked = world.bare_hks(wish);
        assert_eq!(asked.status.code(), Some(4), "{}", String::from_utf8_lossy(&asked.stderr));
    }
    let told = world.hks_works(&["status", "one"]);
    for want in ["suspend (audit)", "retry"] {
        assert!(told.contains(&format!("ago to {want}; no daemon has taken it yet")), "{told}");
    }
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    world.start();
    world.wait("one", "suspended", 60, |view| {
        view["state"] == "suspended" && view["desiredRevision"] == second.as_str()
    });
    let waiting = "go-template={{index .metadata.annotations \"hks.hexabase.ai/wish\"}}";
    let none = || world.kubectl(&["get", "configmap", "hks-one", "-o", waiting]) == "<no value>";
    assert!(until(30, none), "{}", world.log());
    assert_eq!(world.view("one")["appliedRevision"], first.as_str());
    world.hks_works(&["resume", "one"]);
    world.settled("one", &second);

    // a destroy that waits counts for the commit that the daemon finds
    world.kill();
    assert_eq!(world.bare_hks(&["destroy", "one", "--yes"]).status.code(), Some(4));
    world.start();
    world.wait("one", "destroyed", 90, |view| view["state"] == "held" && view["apps"].as_array().unwrap().is_empty());
    assert!(until(60, || world.objects().is_empty()), "{:?}", world.objects());
    world.kill();
    world.start();
    world.wait("one", "still destroyed", 60, |view| view["state"] == "held");
    assert!(world.objects().is_empty(), "{:?}", world.objects());
    let history = world.view("one")["history"].as_array().unwrap().len();
    let third = world.push_stack(&worker("one", "1", "sleep 3603", ""));
    world.settled("one", &third);
    assert_eq!(world.view("one")["history"].as_array().unwrap().len(), history + 1);

    // the way back is the release that worked before, also the second time
    world.hks_works(&["rollback", "one", "--yes"]);
    world.wait("one", "back", 90, |view| view["state"] == "held" && view["appliedRevision"] == second.as_str());
    world.hks_works(&["rollback", "one", "--yes"]);
    world.wait("one", "further back", 90, |view| view["state"] == "held" && view["appliedRevision"] == first.as_str());

    // asked for twice, it is no more than once: neither was about a commit that came later
    world.kill();
    for _ in 0..2 {
        let asked = world.bare_hks(&["rollback", "one", "--to", &second, "--yes"]);
        assert_eq!(asked.status.code(), Some(4), "{}", String::from_utf8_lossy(&asked.stderr));
    }
    let fourth = world.push_stack(&worker("one", "1", "sleep 3604", ""));
    world.start();
    world.settled("one", &fourth);
    let none = || world.kubectl(&["get", "configmap", "hks-one", "-o", waiting]) == "<no value>";
    assert!(until(30, none), "{}", world.log());
    let view = world.view("one");
    assert!(view["appliedRevision"] == fourth.as_str() && view["state"] == "settled", "{view}");
}

/// A Stack goes from one source of the daemon to another and back: who has no file of it lets it go.
#[test]
fn a_stack_moves_to_another_source() {
    let mut world = World::new("moved");
    world.environment = vec![("HKS_TEST_TOKEN", "a-token-of-main-alone".into())];
    world.settings =
        "access: {anonymous: true, tokens: {ci: {token: {env: HKS_TEST_TOKEN}, sources: [main], act: true}}}\n".into();
    let place = |branch: &str| format!("      url: {}\n      branch: {branch}\n", world.remote().display());
    let (namespace, target) = (&world.namespace, world.target());
    let git = format!("{}  other:\n    namespace: {namespace}\n{target}    git:\n{}", place("main"), place("other"));
    let config = world.config("daemon", &git);
    let stack = |number: u32| worker("one", "1", &format!("sleep {number}"), "");
    let without = |world: &World| {
        // the other branch may be without it already
        let _ = std::fs::remove_file(world.work().join("hks.yaml"));
        world.push("take it away")
    };
    let first = world.push_stack(&stack(3601));
    world.branch = "other";
    without(&world);
    world.start_with(&config);
    world.settled("one", &first);
    let command = "jsonpath={.spec.template.spec.containers[0].command}";
    let runs = |world: &World, number: u32| {
        let there = || world.kubectl(&["get", "deployment", "one-job", "-o", command]).contains(&number.to_string());
        assert!(until(90, there), "{number}: {}", world.log());
    };
    world.branch = "main";
    without(&world);
    let of_main = || world.get("/api/v1/stacks/one?source=main").unwrap_or_default();
    assert!(until(60, || of_main()["state"] == "suspended"), "{:#}", of_main());
    world.branch = "other";
    world.push_stack(&stack(3602));
    runs(&world, 3602);
    // it is the other's after a restart, too
    world.kill();
    world.push_stack(&stack(3603));
    world.start_with(&config);
    runs(&world, 3603);
    // both have it: it stays where it is
    world.branch = "main";
    world.push_stack(&stack(3604));
    let told = || world.get("/api/v1/stacks/one?source=main").unwrap_or_default();
    let has = |view: &serde_json::Value| {
        view["activity"].as_str().is_some_and(|text| text.contains("another source of this daemon"))
    };
    assert!(until(90, || has(&told())), "{:#}", told());
    runs(&world, 3603);
    // its commit waits for nothing more
    let told = "not deployed: another source of this daemon has this Stack\",\"source\":\"main\"";
    assert!(until(30, || world.log().contains(told)), "{}", world.log());
    // who may act for one of the sources does not act on what the other has
    let suspend = |source: &str| {
        let url = format!("http://{}/api/v1/stacks/one/suspend?source={source}", world.address);
        request("POST", &url, &[("Authorization", "Bearer a-token-of-main-alone")], "{}")
    };
    let (code, text) = suspend("main");
    assert!(code == 409 && text.contains("does not act for the stack"), "{code} {text}");
    assert_eq!(suspend("other").0, 403, "this token is not for that");
    world.branch = "other";
    without(&world);
    runs(&world, 3604);
}

/// Who pushes can think of a new name each time: one of which nothing was ever made is forgotten with its file.
#[test]
fn names_that_come_and_go_leave_nothing() {
    let mut world = World::new("names");
    let git = format!("      url: {}\n      branch: main\n      path: '*.yaml'\n", world.remote().display());
    let config = world.config("daemon", &git);
    world.write("one.yaml", &worker("one", "1", "sleep 3601", ""));
    world.write("odd.yaml", &worker("odd", "1", "sleep 3601", "    unknown: true\n"));
    let first = world.push("one that can't be deployed");
    world.start_with(&config);
    world.settled("one", &first);
    world.wait("odd", "invalid", 30, |view| view["state"] == "invalid");
    std::fs::remove_file(world.work().join("odd.yaml")).unwrap();
    world.push("without it");
    world.wait("odd", "withdrawn", 30, |view| view["state"] == "suspended");
    let forgets = |world: &World, number: u32| {
        world.write("one.yaml", &worker("one", "1", &format!("sleep {number}"), ""));
        let sha = world.push("another command");
        world.settled("one", &sha);
        let told = world.get("/api/v1/stacks/odd").unwrap();
        assert_eq!(told["error"], "there is no stack \"odd\"");
    };
    forgets(&world, 3602);
    let source = r"jsonpath={.metadata.annotations.hks\.hexabase\.ai/source}";
    let of_source = |lease: &str| world.kubectl(&["get", "lease", lease, "-o", source]);
    assert_eq!((of_source("hks-one"), of_source("hks-odd")), ("main".into(), String::new()));
    world.kill();
    world.start_with(&config);
    forgets(&world, 3603);
    world.write("odd.yaml", &worker("odd", "1", "sleep 3601", ""));
    let sha = world.push("it comes again");
    world.settled("odd", &sha);
}

/// Whatever the newest commit is, what a restart has interrupted goes on, and a person is answered: of a file whose name can't be read
/// it is not known that it is not the Stack's.
#[test]
fn a_deployment_goes_on_where_the_newest_file_can_not_be_read() {
    let (mut world, first, second) = under_way("unread");
    world.kill();
    let third = world.push_stack("foo: [\n");
    world.start();
    let goes_on = |view: &serde_json::Value| {
        view["appliedRevision"] == second.as_str()
            && view["state"] == "invalid"
            && view["desiredRevision"] == third.as_str()
    };
    world.wait("one", "went on", 90, goes_on);
    world.kill();
    world.start();
    world.wait("one", "still invalid", 30, goes_on);
    world.hks_works(&["rollback", "one", "--to", &first, "--yes"]);
    assert!(until(60, || runs(&world, "3601")), "{}", world.log());
    let fourth = world.push_stack(&slow(3604));
    world.settled("one", &fourth);
}

/// What a person leaves while it is still under way, or waits for something, stays left.
#[test]
fn a_commit_that_a_person_has_left_does_not_come_again() {
    let (mut world, first, second) = under_way("left");
    assert_eq!(world.view("one")["state"], "deploying");
    // what ran before is what runs yet
    world.hks_works(&["rollback", "one", "--yes"]);
    world.kill();
    world.start();
    let left = |view: &serde_json::Value| {
        view["state"] == "held"
            && view["appliedRevision"] == first.as_str()
            && view["desiredRevision"] == second.as_str()
    };
    world.wait("one", "left", 120, left);
    world.kill();
    world.start();
    world.wait("one", "still left", 60, left);

    // one that waits for a key does not come when the key is set, nor does anything that was destroyed
    let waits =
        worker("one", "1", "sleep 3603", "    env: {KEY: '${secrets.mail.key}'}\nsecrets: {mail: {keys: [key]}}\n");
    let third = world.push_stack(&waits);
    world.wait("one", "waiting", 60, |view| view["state"] == "invalid" && view["desiredRevision"] == third.as_str());
    world.hks_works(&["suspend", "one"]);
    let refused = world.bare_hks(&["destroy", "one", "--yes"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("resume it first"), "{refused:?}");
    world.hks_works(&["resume", "one"]);
    world.hks_works(&["destroy", "one", "--yes"]);
    let gone = |view: &serde_json::Value| view["state"] == "held" && view["apps"].as_array().unwrap().is_empty();
    world.wait("one", "destroyed", 90, gone);
    assert!(world.hks_with(&["secret", "set", "one", "mail", "key"], "value").status.success());
    world.kill();
    world.start();
    world.wait("one", "still destroyed", 60, gone);
    let deployments = || world.kubectl(&["get", "deployments", "-o", "name"]);
    assert_eq!(deployments(), "");
    let fourth = world.push_stack(&worker("one", "1", "sleep 3604", ""));
    world.settled("one", &fourth);
}

/// S12: who may write ConfigMaps says that a commit was deployed, and hks tells what became of it.
#[test]
fn what_somebody_writes_of_a_commit_is_not_told() {
    let mut world = World::new("forged");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    world.kill();
    let second = world.push_stack(&worker("one", "missing", "sleep 3602", ""));
    let record = world.kubectl(&["get", "configmap", "hks-one", "-o", "jsonpath={.data.record\\.json}"]);
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let mut told = record["history"][0].clone();
    assert_eq!(told["outcome"], "succeeded");
    (told["revision"], told["description"]) = (second.as_str().into(), "everything is fine".into());
    record["history"].as_array_mut().unwrap().push(told);
    record["settled"]["revision"] = second.as_str().into();
    let patch = serde_json::json!({ "data": { "record.json": record.to_string() } }).to_string();
    world.kubectl(&["patch", "configmap", "hks-one", "-p", &patch]);
    world.start();
    world.held("one", &second);
    assert!(!world.log().contains("everything is fine"), "{}", world.log());
    let shown = world.view("one")["history"].clone();
    let hearsay: Vec<_> = shown.as_array().unwrap().iter().map(|row| row["hearsay"] == true).collect();
    assert_eq!(hearsay, [false, true, true], "{shown:#}");
    let history = world.hks_works(&["history", "one"]);
    assert!(history.matches("not proven").count() == 2 && history.contains("rolled back to"), "{history}");
    assert!(world.kubectl(&["get", "deployment", "one-job", "-o", "yaml"]).contains("3601"));

    // what this hks has sealed itself it tells again
    let words = world.view("one")["history"][0]["description"].clone();
    world.kill();
    world.start();
    let view = world.held("one", &second);
    assert_eq!(view["history"][0]["description"], words);
    assert!(view["history"][0]["hearsay"].is_null() && view["history"][1]["hearsay"] == true, "{view:#}");
}

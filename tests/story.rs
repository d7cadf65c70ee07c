//! The main job on a real cluster: push, get a URL, push something bad, get everything back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use support::forge::Repository;
use support::{Client, World, kit, request, sample, until, worker};

fn note(url: &str, text: &str) {
    let body = format!("{{\"text\":\"{text}\"}}");
    let (status, answer) = request("POST", &format!("{url}/api/notes"), &[("content-type", "application/json")], &body);
    assert!((200..300).contains(&status), "{status} {answer}");
}

fn notes(url: &str) -> Vec<String> {
    let list = support::get_json(&format!("{url}/api/notes")).unwrap_or_default();
    let texts = list.as_array().into_iter().flatten().filter_map(|note| note["text"].as_str().map(str::to_owned));
    texts.collect()
}

fn version(url: &str) -> Value {
    support::get_json(&format!("{url}/api/version")).unwrap_or_default()["version"].clone()
}

#[test]
fn a_push_becomes_a_url_and_a_bad_image_gives_everything_back() {
    let mut world = World::new("story");
    let first = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &first);
    let url = world.url("todo");
    note(&url, "kept");
    assert_eq!(notes(&url), ["kept"]);
    assert_eq!(version(&url), "1.0.0");

    // nothing differs from what was applied: what hks renders is what the API server keeps
    let diff = world.hks(&["diff"]);
    assert_eq!(diff.status.code(), Some(0), "{}", String::from_utf8_lossy(&diff.stdout));

    let client = Client::start(&format!("{url}/api/version"));
    let second = world.push_stack(&sample("todo", "2.0.0"));
    world.settled("todo", &second);
    let (asked, failed) = client.stop();
    assert!(asked > 20, "asked {asked} times");
    assert_eq!(failed, Vec::<String>::new(), "of {asked} requests during the update");
    // the ingress controller lets go of the old pods while they drain
    assert!(until(20, || version(&url) == "2.0.0"));

    let uids = || world.kubectl(&["get", "statefulset,pvc,secret,service", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let before = uids();
    let client = Client::start(&format!("{url}/api/notes"));
    let third = world.push_stack(&sample("todo", "9.9.9"));
    let view = world.held("todo", &third);
    let (asked, failed) = client.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {asked} requests during the rollback");
    assert_eq!(version(&url), "2.0.0");
    assert_eq!(notes(&url), ["kept"]);
    assert_eq!(uids(), before, "the database was not touched");
    let cause = view["cause"].as_str().unwrap();
    assert!(cause.starts_with("image pull failed (not found): ") && cause.ends_with("hexabase-web:9.9.9"), "{cause}");
    assert_eq!(view["appliedRevision"], second.as_str());
    assert_eq!(view["history"][0]["outcome"], "rolledBack");

    // a restart does not try the bad commit again
    let history = view["history"].as_array().unwrap().len();
    world.kill();
    world.start();
    let view = world.held("todo", &third);
    assert_eq!(view["history"].as_array().unwrap().len(), history);
    assert_eq!(version(&url), "2.0.0");

    // the app's role can do what it needs and no more
    let superuser = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'app'";
    let answer =
        world.kubectl(&["exec", "todo-main-0", "--", "psql", "-XAtU", "postgres", "-d", "app", "-c", superuser]);
    assert_eq!(answer, "f");

    // no secret value has left the cluster
    let secret = world.kubectl(&["get", "secret", "todo-main-credentials", "-o", "jsonpath={.data.password}"]);
    let password =
        String::from_utf8(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, secret).unwrap()).unwrap();
    assert_eq!(password.len(), 32);
    let pages = ["/", "/stacks/todo", "/metrics", "/api/v1/status", "/api/v1/stacks/todo"];
    let mut seen = pages.map(|page| request("GET", &format!("http://{}{page}", world.address), &[], "").1).join("\n");
    seen.push_str(&world.log());
    seen.push_str(&world.kubectl(&["get", "configmap,deployment,statefulset,pod", "-o", "yaml"]));
    for command in [&["render"][..], &["diff"], &["status", "todo", "-o", "json"], &["history", "todo"]] {
        seen.push_str(&String::from_utf8_lossy(&world.hks(command).stdout));
    }
    assert!(!seen.contains(&password), "the password is seen outside of its Secret");
}

#[test]
fn a_first_deployment_with_a_bad_image_leaves_nothing() {
    let mut world = World::new("first");
    let before = world.objects();
    world.start();
    let sha = world.push_stack(&sample("todo", "9.9.9"));
    let view = world.held("todo", &sha);
    assert_eq!(world.objects(), before);
    assert_eq!(view["appliedRevision"], Value::Null);
    assert!(view["history"][0]["description"].as_str().unwrap().starts_with("removed again: image pull failed"));

    // the fixed commit then works
    let fixed = world.push_stack(&sample("todo", "1.0.0"));
    world.settled("todo", &fixed);
    assert_eq!(version(&world.url("todo")), "1.0.0");
}

#[test]
fn drift_is_corrected_or_only_reported() {
    let mut world = World::new("drift");
    let sha = world.push_stack(&worker("one", "1", "sleep 3600", ""));
    world.start();
    world.settled("one", &sha);
    world.kubectl(&["scale", "deployment", "one-job", "--replicas=3"]);
    let replicas =
        |count: &str| world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.replicas}"]) == count;
    assert!(until(10, || replicas("1")), "not corrected");
    world.kubectl(&["delete", "deployment", "one-job"]);
    let back = || world.try_kubectl(&["get", "deployment", "one-job"]).status.success();
    assert!(until(20, back), "not made again");
    world.wait("one", "drift counted", 10, |view| view["driftCorrected"].as_u64() >= Some(2));

    let sha = world.push_stack(&worker("one", "1", "sleep 3600", "deploy: {drift: report}\n"));
    world.settled("one", &sha);
    world.kubectl(&["scale", "deployment", "one-job", "--replicas=2"]);
    let view = world.wait("one", "drift reported", 10, |view| view["drift"][0]["object"] == "Deployment/one-job");
    assert_eq!(view["drift"][0]["fields"][0]["field"], "spec.replicas");
    assert!(replicas("2"), "it was only to be reported");
}

#[test]
fn what_leaves_the_file_is_deleted_but_data_stays() {
    let mut world = World::new("prune");
    let sha = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &sha);
    let stack = worker("todo", "1", "sleep 3600", "");
    let sha = world.push_stack(&stack);
    let view = world.settled("todo", &sha);
    let gone =
        |name: &String| !name.contains("todo-web") && !name.starts_with("ingress") && !name.starts_with("pod/hks-pull");
    assert!(until(60, || world.objects().iter().all(gone)), "{:?}", world.objects());
    let left = world.objects();
    for kept in [
        "statefulset.apps/todo-main",
        "persistentvolumeclaim/data-todo-main-1",
        "secret/todo-main-credentials",
        "service/todo-main",
        "networkpolicy.networking.k8s.io/todo-main",
    ] {
        assert!(left.iter().any(|name| name == kept), "{kept} is gone: {left:?}");
    }
    assert_eq!(view["retained"].as_array().unwrap().len(), 5, "{}", view["retained"]);

    // an empty file, then none: suspended, nothing is deleted
    let sha = world.push_stack("# later\n");
    world.wait("todo", "suspended", 20, |view| view["state"] == "suspended" && view["desiredRevision"] == sha.as_str());
    std::fs::remove_file(world.work().join("hks.yaml")).unwrap();
    let sha = world.push("delete hks.yaml");
    world.wait("todo", "suspended", 20, |view| view["state"] == "suspended" && view["desiredRevision"] == sha.as_str());
    assert_eq!(world.objects().len(), left.len());
}

#[test]
fn lost_credentials_are_replaced_and_the_rows_stay() {
    let mut world = World::new("lost");
    let sha = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &sha);
    let url = world.url("todo");
    note(&url, "kept");
    let uid = || world.kubectl(&["get", "pod", "todo-main-0", "-o", "jsonpath={.metadata.uid}"]);
    let before = uid();
    world.kubectl(&["delete", "secret", "todo-main-credentials"]);
    // the server starts anew to take the new password, and the app to use it
    let replaced = || {
        let pod = world.try_kubectl(&["get", "pod", "todo-main-0", "-o", "jsonpath={.metadata.uid}"]);
        pod.status.success() && String::from_utf8_lossy(&pod.stdout) != before
    };
    assert!(until(90, replaced), "{:#}", world.view("todo"));
    assert!(until(90, || notes(&url) == ["kept"] && request("GET", &format!("{url}/ready"), &[], "").0 == 200));
    assert_ne!(uid(), before);
}

#[test]
fn a_rollback_can_be_asked_for() {
    let mut world = World::new("ask");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    world.settled("one", &second);
    let asked = world.hks(&["rollback", "one", "--to", &first, "--yes"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    world.wait("one", "back", 60, |view| view["state"] == "held" && view["appliedRevision"] == first.as_str());
    let command =
        world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.template.spec.containers[0].command}"]);
    assert!(command.contains("sleep 3601"), "{command}");
    let status = world.hks(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("held"));
    let third = world.push_stack(&worker("one", "1", "sleep 3603", ""));
    world.settled("one", &third);
}

#[test]
fn statuses_reach_a_real_forge_and_its_webhook_wakes_the_daemon() {
    let Some(forge) = &kit().forge else { return };
    let mut world = World::new("forge");
    let repository = Repository::new(forge, &world.namespace);
    world.git(&world.work(), &["remote", "set-url", "origin", &repository.remote()]);
    let secret = world.folder.path().join("hook-secret");
    std::fs::write(&secret, "a hook's secret").unwrap();
    world.extra = format!(
        "    forge: {{kind: gitea, apiUrl: {}, repository: {}, token: {{file: {}}}}}\n    webhook: {{secret: {{file: {}}}}}\n",
        repository.api,
        repository.path,
        forge.token.display(),
        secret.display(),
    );
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    let git = format!(
        "      url: {}/{}.git\n      username: {}\n      password: {{file: {}}}\n      poll: 1h\n",
        forge.url,
        repository.path,
        forge.user,
        forge.password.display()
    );
    let config = world.config("daemon", &git);
    world.start_with(&config);
    world.settled("one", &first);
    let doctor = || {
        let seen = world.hks(&["doctor", "--config", config.to_str().unwrap()]);
        String::from_utf8_lossy(&seen.stdout).into_owned()
    };
    let before = doctor();
    assert!(before.contains("may write to") && before.contains("no webhook leads here"), "{before}");
    let hook = format!(
        "{{\"type\":\"gitea\",\"active\":true,\"events\":[\"push\"],\"config\":{{\"url\":\"http://{}/webhooks/github\",\
         \"content_type\":\"json\",\"secret\":\"a hook's secret\"}}}}",
        world.address
    );
    let (status, text) = repository.ask("POST", &format!("repos/{}/hooks", repository.path), &hook);
    assert_eq!(status, 201, "{text}");
    let after = doctor();
    assert!(after.contains("a webhook tells of pushes"), "{after}");

    // the poll is an hour away: only the webhook can bring this
    let second = world.push_stack(&worker("one", "missing", "sleep 3602", ""));
    world.held("one", &second);
    let _ = until(15, || repository.statuses(&second).last().is_some_and(|(state, _)| state == "failure"));
    let rows = repository.statuses(&second);
    assert_eq!(rows.iter().filter(|(state, _)| state != "pending").count(), 1, "one final status: {rows:?}");
    let (state, description) = rows.last().unwrap();
    assert_eq!(state, "failure");
    assert!(description.contains("rolled back to") && description.contains("busybox:missing"), "{description}");
    assert!(description.chars().count() <= 140);
    assert_eq!(repository.statuses(&first).last().map(|(state, _)| state.clone()).as_deref(), Some("success"));

    // a restarted daemon does not repeat it
    world.kill();
    world.start_with(&config);
    world.held("one", &second);
    world.stop();
    assert_eq!(repository.statuses(&second), rows);

    // one that was killed may have told of the one before that it is under way, its end may not have come to the forge, and another
    // commit came meanwhile: each gets its end
    let lost = world.push_stack(&worker("one", "1", "sleep 3603", ""));
    let pending = "{\"state\":\"pending\",\"context\":\"hks/test/deploy\",\"description\":\"deploying\"}";
    for sha in [&first, &lost] {
        assert_eq!(repository.ask("POST", &format!("repos/{}/statuses/{sha}", repository.path), pending).0, 201);
    }
    let newest = world.push_stack(&worker("one", "1", "sleep 3604", ""));
    world.start_with(&config);
    world.settled("one", &newest);
    let last = |sha: &str| repository.statuses(sha).last().cloned().unwrap_or_default();
    assert!(until(30, || last(&first).0 == "success" && last(&lost).0 == "error"), "{}", world.log());
    assert!(last(&first).1.starts_with("1 app ready"), "{:?}", last(&first));
    assert_eq!(last(&lost).1, format!("superseded by {}; how it ended was not kept", &newest[..7]));
    world.stop();
    assert_eq!(repository.statuses(&second), rows);
}

#[test]
fn data_goes_with_its_entry_where_the_file_says_so() {
    let mut world = World::new("ondelete");
    let small = "resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: 300m, memory: 128Mi}}";
    let parts = format!(
        "databases:\n  old: {{engine: postgres, version: \"15\", storage: {{size: 64Mi}}, onDelete: delete, {small}}}\n\
         caches:\n  queue: {{engine: redis, version: \"7\", maxMemory: 16Mi, persistence: {{size: 32Mi}}}}\n"
    );
    let sha = world.push_stack(&worker("gone", "1", "sleep 3600", &parts));
    world.start();
    world.settled("gone", &sha);
    let table = ["exec", "gone-old-0", "--", "psql", "-U", "postgres", "-d", "app", "-c", "create table kept (x int)"];
    world.kubectl(&table);
    // a file that says otherwise takes the mark from all that is there of it
    let marks = || {
        let objects = ["statefulset/gone-old", "persistentvolumeclaim/data-gone-old-1", "secret/gone-old-credentials"];
        let mark = "jsonpath={.items[*].metadata.annotations.hks\\.hexabase\\.ai/on-delete}";
        world.kubectl(&[&["get"][..], &objects, &["-o", mark]].concat())
    };
    assert_eq!(marks(), "delete delete delete");
    let sha = world.push_stack(&worker("gone", "1", "sleep 3600", &parts.replace(" onDelete: delete,", "")));
    world.settled("gone", &sha);
    assert_eq!(marks(), "");
    let sha = world.push_stack(&worker("gone", "1", "sleep 3600", &parts));
    world.settled("gone", &sha);
    assert_eq!(marks(), "delete delete delete");
    let sha = world.push_stack(&worker("gone", "1", "sleep 3600", ""));
    world.settled("gone", &sha);
    let left = world.objects();
    assert!(!left.iter().any(|name| name.contains("gone-old")), "the database and its volume are gone: {left:?}");
    // the volume of a cache stays, since nobody said otherwise; its server does not
    let queue: Vec<_> = left.iter().filter(|name| name.contains("gone-queue")).collect();
    assert_eq!(queue, ["persistentvolumeclaim/data-gone-queue"]);
}

#[test]
fn the_highest_version_among_the_tags_is_deployed() {
    let mut world = World::new("tags");
    let file = |rest: &str| {
        let stack = worker("tags", "1", "sleep 3600", "environments: {live: {tag: \"v*\"}}\n");
        stack.replace("    resources:", &format!("    env: {{VERSION: \"${{git.tag}}\"{rest}}}\n    resources:"))
    };
    let tag = |world: &World, name: &str| {
        world.git(&world.work(), &["tag", "-a", "-m", name, name]);
        world.git(&world.work(), &["push", "--quiet", "origin", name]);
    };
    let deployed = |world: &World| {
        let env = "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"VERSION\")].value}";
        world.kubectl(&["get", "deployment", "tags-job", "-o", env])
    };
    let first = world.push_stack(&file(""));
    tag(&world, "v1.9.0");
    let git = format!("      url: {}\n      tag: \"v*\"\n", world.remote().display());
    let config = world.config("daemon", &git);
    world.start_with(&config);
    world.settled("tags", &first);
    assert_eq!(deployed(&world), "v1.9.0");
    // neither a commit, nor a tag that does not fit, nor a lower version is a release
    world.push_stack(&file(", NEXT: \"1\""));
    tag(&world, "nightly");
    tag(&world, "v1.2.0");
    let third = world.push_stack(&file(", NEXT: \"2\""));
    tag(&world, "v1.10.0");
    let view = world.settled("tags", &third);
    assert_eq!(deployed(&world), "v1.10.0");
    let history: Vec<_> = view["history"].as_array().into_iter().flatten().map(|entry| &entry["revision"]).collect();
    assert_eq!(history, [&Value::from(third), &Value::from(first)], "{view:#}");
}

#[test]
fn an_app_scales_with_its_load_and_that_is_no_drift() {
    let mut world = World::new("scale");
    let busy = "trap \"exit 0\" TERM; while :; do :; done";
    let stack = worker("scale", "1", busy, "    autoscaling: {min: 1, max: 2, cpu: 50}\n");
    let sha = world.push_stack(&stack);
    world.start();
    world.settled("scale", &sha);
    let replicas = || world.kubectl(&["get", "deployment", "scale-job", "-o", "jsonpath={.spec.replicas}"]);
    assert!(until(180, || replicas() == "2"), "{}", world.kubectl(&["describe", "hpa"]));
    let view = world.wait("scale", "two pods", 60, |view| view["apps"][0]["ready"] == 2);
    assert!(view["drift"] == serde_json::json!([]) && view["driftCorrected"] == 0, "{view:#}");
    // a new version starts with as many pods as the load asks for
    let sha = world.push_stack(&stack.replace("trap", "true; trap"));
    world.settled("scale", &sha);
    assert_eq!(replicas(), "2");
}

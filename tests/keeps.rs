//! Second faults around data: a lost record, a database that can't be asked, lost credentials, lost and doomed volumes. Nothing
//! that holds data goes unless it was proven to be empty, and nothing is made anew as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use support::{World, kit, sample, until, worker};

const SMALL: &str = "resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: 300m, memory: 128Mi}}";

fn uid(world: &World, object: &str) -> String {
    let found = world.try_kubectl(&["get", object, "-o", "jsonpath={.metadata.uid}"]);
    String::from_utf8_lossy(&found.stdout).trim().to_owned()
}

fn psql(world: &World, pod: &str, database: &str, sql: &str) -> String {
    world.kubectl(&["exec", pod, "-c", "postgres", "--", "psql", "-XAtq", "-U", "postgres", "-d", database, "-c", sql])
}

/// A database and an app that runs `command`.
fn with_database(command: &str, database: &str) -> String {
    let database = format!(
        "databases:\n  main: {{engine: postgres, version: \"15\", storage: {{size: 64Mi}}, {SMALL}{database}}}\n"
    );
    worker("todo", "1", command, &database)
}

fn told(world: &World) -> String {
    world.view("todo")["history"][0]["description"].as_str().unwrap_or_default().to_owned()
}

/// R1, P41: what ran is taken over when nobody remembers it, and a commit that fails deletes none of it.
#[test]
fn a_lost_record_deletes_nothing() {
    let mut world = World::new("lostrecord");
    let parts = "    volumes: {uploads: {mount: /data, size: 32Mi}}\ncaches:\n  queue: {engine: redis, version: \"7\", maxMemory: \
                 16Mi, persistence: {size: 32Mi}}\n";
    let sha = world.push_stack(&worker("todo", "1", "sleep 3600", parts));
    world.start();
    world.settled("todo", &sha);
    let bad = world.push_stack(&worker("todo", "missing", "sleep 3600", parts));
    world.held("todo", &bad);
    let before = world.objects();
    let claims = [uid(&world, "pvc/todo-job-uploads"), uid(&world, "pvc/data-todo-queue")];
    assert!(claims.iter().all(|uid| !uid.is_empty()));
    world.kill();
    world.kubectl(&["delete", "configmap", "hks-todo"]);
    // while no daemon runs, what is there is not told as nothing
    for told in [world.hks_works(&["status"]), world.hks_works(&["status", "todo"])] {
        assert!(told.contains("unreadable") && told.contains("ConfigMap/hks-todo is gone"), "{told}");
    }
    world.start();
    let view = world.wait("todo", "held, and not restored", 120, |view| {
        view["state"] == "held" && view["ending"].is_string() && view["history"][0]["revision"] == bad
    });
    assert!(view["ending"].as_str().unwrap().contains("its record was lost"), "{view:#}");
    let lasting = |list: Vec<String>| {
        list.into_iter().filter(|name| !name.starts_with("pod/") && !name.contains("replicaset")).collect::<Vec<_>>()
    };
    assert_eq!(lasting(world.objects()), lasting(before));
    assert_eq!([uid(&world, "pvc/todo-job-uploads"), uid(&world, "pvc/data-todo-queue")], claims);
    let good = world.push_stack(&worker("todo", "1", "sleep 3601", parts));
    world.settled("todo", &good);
}

/// R2, P52: what a rollback has kept belongs to the Stack from then on, whatever comes.
#[test]
fn a_database_that_was_kept_is_never_deleted_by_a_later_mistake() {
    let mut world = World::new("kept");
    // it works until it is told to go, and is not ready before, however long the database takes
    let check = "    probes: {readiness: {exec: [test, -e, /tmp/ready]}}\n";
    let text = with_database("until test -e /tmp/go; do sleep 1; done; exit 1", "");
    world.push_stack(&text.replace("databases:", &format!("{check}databases:")));
    world.start();
    assert!(until(90, || world
        .try_kubectl(&["exec", "todo-main-0", "-c", "postgres", "--", "pg_isready", "-h", "127.0.0.1"])
        .status
        .success()));
    let ready = || world.kubectl(&["get", "statefulset", "todo-main", "-o", "jsonpath={.status.readyReplicas}"]) == "1";
    assert!(until(60, ready));
    psql(&world, "todo-main-0", "app", "create table work as select generate_series(1, 300)");
    world.wait("todo", "held", 180, |view| {
        world.try_kubectl(&["exec", "deployment/todo-job", "--", "touch", "/tmp/go"]);
        view["state"] == "held"
    });
    assert!(told(&world).contains("kept todo-main (holds tables)"), "{}", told(&world));
    let claim = uid(&world, "pvc/data-todo-main-1");
    let second = world.push_stack(&with_database("sleep 3600", ", parameters: {max_connections: 0}"));
    world.held("todo", &second);
    assert_eq!(uid(&world, "pvc/data-todo-main-1"), claim);
    let third = world.push_stack(&with_database("sleep 3600", ""));
    world.settled("todo", &third);
    assert_eq!(psql(&world, "todo-main-0", "app", "select count(*) from work"), "300");
}

/// R8, P2: a database of any name is asked, and an empty one goes with the first deployment that did not work.
#[test]
fn an_empty_database_of_another_name_goes_with_its_first_deployment() {
    let mut world = World::new("dbname");
    let text = with_database("sleep 2; exit 1", ", name: shop, user: clerk, extensions: [pg_stat_statements]");
    let sha = world.push_stack(&text.replace(", extensions: [pg_stat_statements]", ""));
    world.start();
    world.held("todo", &sha);
    assert!(told(&world).starts_with("removed again"), "{}", told(&world));
    assert!(until(60, || world.objects().is_empty()), "{:?}", world.objects());
}

/// R7, P42: credentials that are lost while nobody looks are made anew in the next deployment, and reach server and clients.
#[test]
fn credentials_that_are_made_anew_in_a_deployment_reach_everybody() {
    let mut world = World::new("credentials");
    let sha = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &sha);
    psql(&world, "todo-main-0", "app", "create table kept as select generate_series(1, 7) as n");
    let claim = uid(&world, "pvc/data-todo-main-1");
    world.stop();
    world.kubectl(&["delete", "secret", "todo-main-credentials"]);
    let next = world.push_stack(&sample("todo", "1.0.0").replace("/ready, period: 1s", "/ready, period: 2s"));
    world.start();
    world.settled("todo", &next);
    // the app is ready only if it can log in; the role's password is the Secret's
    let login = "PGPASSWORD=$HKS_APP_PASSWORD psql -XAtq -h 127.0.0.1 -U \"$HKS_USER\" -d \"$HKS_NAME\" -c 'select 1'";
    let can = |world: &World| {
        world.try_kubectl(&["exec", "todo-main-0", "-c", "postgres", "--", "sh", "-c", login]).status.success()
    };
    assert!(until(60, || can(&world)));
    assert_eq!(psql(&world, "todo-main-0", "app", "select count(*) from kept"), "7");
    assert_eq!(uid(&world, "pvc/data-todo-main-1"), claim);
    // one key alone: the URL goes with it
    world.stop();
    world.kubectl(&[
        "patch",
        "secret",
        "todo-main-credentials",
        "--type=json",
        "-p",
        "[{\"op\":\"remove\",\"path\":\"/data/password\"}]",
    ]);
    world.start();
    let key = |name: &str| {
        let template = format!("go-template={{{{with index .data \"{name}\"}}}}{{{{. | base64decode}}}}{{{{end}}}}");
        world.kubectl(&["get", "secret", "todo-main-credentials", "-o", &template])
    };
    assert!(until(60, || {
        let password = key("password");
        password.len() == 32 && key("url").contains(&password)
    }));
    assert!(until(60, || can(&world)));
    // a password that somebody sets by hand is the password from then on: server, URL and clients get it
    let set = "{\"stringData\":{\"password\":\"of/a person\",\"user\":\"somebody\"}}";
    world.kubectl(&["patch", "secret", "todo-main-credentials", "-p", set]);
    let environment = "printenv HKS_APP_PASSWORD";
    let known = || {
        let pod = world.try_kubectl(&["exec", "todo-main-0", "-c", "postgres", "--", "sh", "-c", environment]);
        String::from_utf8_lossy(&pod.stdout).trim() == "of/a person"
    };
    assert!(until(90, || known() && can(&world)), "{}", world.log());
    assert!(key("url").contains("of%2Fa%20person") && key("user") != "somebody");
    assert_eq!(psql(&world, "todo-main-0", "app", "select count(*) from kept"), "7");
    world.wait("todo", "well", 90, |view| view["state"] == "settled" && view["drift"].as_array().unwrap().is_empty());
}

/// R9: a claim that is gone is told, and nothing is made in its place until somebody says so.
#[test]
fn a_lost_volume_is_not_replaced_by_an_empty_one() {
    let mut world = World::new("lostclaim");
    let sha = world.push_stack(&with_database("sleep 3600", ""));
    world.start();
    world.settled("todo", &sha);
    world.stop();
    world.kubectl(&["delete", "pvc", "data-todo-main-1", "--wait=false"]);
    world.kubectl(&["delete", "pod", "todo-main-0"]);
    assert!(until(60, || uid(&world, "pvc/data-todo-main-1").is_empty()));
    world.start();
    let view = world.wait("todo", "data lost", 60, |view| view["state"] == "dataLost");
    assert!(view.to_string().contains("nothing is made in its place"), "{view:#}");
    let next = world.push_stack(&with_database("sleep 3601", ""));
    world.wait("todo", "refused", 60, |view| view["desiredRevision"] == next && view["cause"].is_string());
    assert!(uid(&world, "pvc/data-todo-main-1").is_empty());
    let asked = world.hks(&["retry", "todo", "--accept-data-loss"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    world.settled("todo", &next);
    assert!(!uid(&world, "pvc/data-todo-main-1").is_empty());
}

/// P6: a claim that is being deleted goes with its pod, so nothing restarts it.
#[test]
fn a_volume_that_is_being_deleted_keeps_its_pod() {
    let mut world = World::new("doomed");
    let sha = world.push_stack(&with_database("sleep 3600", ""));
    world.start();
    world.settled("todo", &sha);
    let pod = uid(&world, "pod/todo-main-0");
    world.kubectl(&["delete", "pvc", "data-todo-main-1", "--wait=false"]);
    let view = world.wait("todo", "degraded", 60, |view| view["state"] == "degraded");
    assert!(view["troubles"].to_string().contains("is being deleted"), "{view:#}");
    let next = world.push_stack(&with_database("sleep 3600", ", parameters: {max_connections: 50}"));
    let view = world.wait("todo", "refused", 60, |view| view["desiredRevision"] == next && view["state"] == "invalid");
    assert!(view["cause"].as_str().unwrap().contains("copy the data now"), "{view:#}");
    assert_eq!(uid(&world, "pod/todo-main-0"), pod);
}

/// P4, P60: another image of PostgreSQL is a deployment of its own, and one that does not exist touches no data.
#[test]
fn a_change_of_the_platform_is_watched_and_put_back() {
    let mut world = World::new("platform");
    let sha = world.push_stack(&with_database("sleep 3600", ""));
    world.start();
    world.settled("todo", &sha);
    let pod = uid(&world, "pod/todo-main-0");
    world.stop();
    let config = world.local_config("daemon");
    let text = std::fs::read_to_string(&config).unwrap();
    let registry = &kit().registry;
    let wrong =
        text.replace(&format!("{registry}/postgres:{{version}}"), &format!("{registry}/postgres:{{version}}-nosuch"));
    assert_ne!(wrong, text);
    std::fs::write(&config, &wrong).unwrap();
    world.start_with(&config);
    world.wait("todo", "held", 120, |view| view["state"] == "held");
    assert!(told(&world).contains("image pull failed"), "{}", told(&world));
    assert_eq!(uid(&world, "pod/todo-main-0"), pod, "the server never ended");
    // a mended setting is what ran all the time
    world.stop();
    std::fs::write(&config, &text).unwrap();
    world.start_with(&config);
    world.wait("todo", "settled", 120, |view| view["state"] == "settled");
    assert_eq!(uid(&world, "pod/todo-main-0"), pod);
}

/// P5: with another branch the file of before means nothing here, but what ran is known.
#[test]
fn another_branch_and_a_bad_image_delete_nothing() {
    let mut world = World::new("branch");
    let staged = |tag: &str, branch: &str| {
        format!("{}environments: {{prod: {{branch: {branch}}}}}\n", worker("todo", tag, "sleep 3600", ""))
    };
    let sha = world.push_stack(&staged("1", "main"));
    world.start();
    world.settled("todo", &sha);
    let before = uid(&world, "deployment/todo-job");
    world.stop();
    world.branch = "release";
    let bad = world.push_stack(&staged("missing", "release"));
    world.start();
    world.held("todo", &bad);
    assert!(told(&world).starts_with("rolled back to"), "{}", told(&world));
    assert_eq!(uid(&world, "deployment/todo-job"), before);
    let image =
        world.kubectl(&["get", "deployment", "todo-job", "-o", "jsonpath={.spec.template.spec.containers[0].image}"]);
    assert!(image.ends_with("busybox:1"), "{image}");
}

/// P15: a volume that can't grow is refused in words that say why and what to do, and nothing is touched.
#[test]
fn a_volume_that_can_not_grow_says_why() {
    let mut world = World::new("growth");
    let text = |size: &str, seconds: &str| {
        worker(
            "todo",
            "1",
            &format!("sleep {seconds}"),
            &format!("    volumes: {{data: {{mount: /data, size: {size}}}}}\n"),
        )
    };
    let first = world.push_stack(&text("32Mi", "3601"));
    world.start();
    world.settled("todo", &first);
    let class = world.kubectl(&["get", "pvc", "todo-job-data", "-o", "jsonpath={.spec.storageClassName}"]);
    let second = world.push_stack(&text("64Mi", "3602"));
    let view = world
        .wait("todo", "refused", 60, |view| view["state"] == "invalid" && view["desiredRevision"] == second.as_str());
    let cause = view["cause"].as_str().unwrap();
    assert!(
        cause.contains("it can't grow from 32Mi to 64Mi: ") && cause.contains("set it back to 32Mi, or "),
        "{cause}"
    );
    assert!(
        if class.is_empty() { cause.contains("without a storage class") } else { cause.contains(&class) },
        "{cause}"
    );
    let diff = world.hks(&["diff"]);
    let diff = String::from_utf8_lossy(&diff.stderr).into_owned();
    assert!(diff.contains("it can't grow from 32Mi to 64Mi"), "{diff}");
    assert!(world.kubectl(&["get", "deployment", "todo-job", "-o", "yaml"]).contains("3601"));
}

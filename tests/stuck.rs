//! Nothing stays stuck and nothing writes that should not: daemons that slept, namespaces and rights that come and go, forges
//! that are away, and Stacks that want the same names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use std::path::PathBuf;
use std::time::Duration;
use support::{World, kit, signal, until, worker};

fn stack(word: &str) -> String {
    worker("one", "1", "sleep 3600", "")
        .replace("    command:", &format!("    env: {{WORD: \"{word}\"}}\n    command:"))
}

fn running(name: &str) -> (World, String) {
    let mut world = World::new(name);
    let sha = world.push_stack(&stack("first"));
    world.start();
    world.settled("one", &sha);
    (world, sha)
}

fn word(world: &World) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"WORD\")].value}";
    world.kubectl(&["get", "deployment", "one-job", "-o", path])
}

/// Versions of what a daemon writes.
fn versions(world: &World) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.name}={.metadata.generation}/{.metadata.labels.app\\.kubernetes\\.io/managed-by} {end}";
    let record = world.kubectl(&["get", "configmap", "hks-one", "-o", "jsonpath={.metadata.resourceVersion}"]);
    format!("{} {record}", world.kubectl(&["get", "deployment", "-o", path]))
}

#[test]
fn a_daemon_that_slept_writes_nothing_once_another_one_acts() {
    let (world, _) = running("fence");
    let first = format!("http://{}/api/v1/stacks/one", world.address);
    // asleep in the middle of a deployment
    let sha = world.push_stack(&stack("second"));
    world.wait("one", "under way", 30, |view| view["desiredRevision"] == sha.as_str());
    signal(world.pid(), "-STOP");
    let config = world.local_config("second");
    let (mut second, address) = support::spawn(&config, &config.with_file_name("log"), &[]);
    let view = || support::get_json(&format!("http://{address}/api/v1/stacks/one")).unwrap_or_default();
    let sha = world.push_stack(&stack("third"));
    let done = until(120, || view()["state"] == "settled" && view()["appliedRevision"] == sha.as_str());
    // what the second one writes after it, such as what became of the commit between, is not the sleeper's
    let mut before = String::new();
    let rests = until(60, || {
        before = versions(&world);
        std::thread::sleep(Duration::from_secs(3));
        versions(&world) == before
    });
    let last = view();
    signal(world.pid(), "-CONT");
    let stands_by = until(60, || support::get_json(&first).unwrap_or_default()["state"] == "standby");
    // what it had begun with would be written by now
    std::thread::sleep(Duration::from_secs(5));
    let after = versions(&world);
    let _ = second.kill();
    let _ = second.wait();
    assert!(done && rests, "{last:#}");
    assert!(stands_by, "{:?}", support::get_json(&first));
    let log = std::fs::read_to_string(config.with_file_name("log")).unwrap_or_default();
    assert_eq!(after, before, "the second daemon:\n{log}");
    assert_eq!(word(&world), "third");
}

#[test]
fn a_namespace_that_comes_again_is_deployed_again() {
    let (world, sha) = running("again");
    let comes_again = || {
        world.kubectl(&["delete", "namespace", &world.namespace, "--wait=true"]);
        world.wait("one", "gone", 60, |view| {
            view["state"] == "unreachable" && view["activity"].as_str().unwrap_or_default().contains("does not exist")
        });
        world.kubectl(&["create", "namespace", &world.namespace]);
        world.kubectl(&["label", "namespace", &world.namespace, &format!("hks-test={}", std::process::id())]);
    };
    comes_again();
    world.settled("one", &sha);
    for object in ["lease/hks-one", "configmap/hks-one", "deployment/one-job"] {
        world.kubectl(&["get", object]);
    }
    // who has suspended it wants to put a backup there first
    world.hks_works(&["suspend", "one", "--reason", "restoring a backup"]);
    comes_again();
    world.wait("one", "suspended", 60, |view| {
        view["state"] == "suspended" && view["suspended"]["reason"] == "restoring a backup"
    });
    assert!(until(30, || world.try_kubectl(&["get", "configmap/hks-one"]).status.success()), "it is written down");
    assert_eq!(world.kubectl(&["get", "deployments", "-o", "name"]), "");
    world.hks_works(&["resume", "one"]);
    world.settled("one", &sha);
    // the command line takes the platform's settings from there
    let published = || world.try_kubectl(&["get", "configmap/hks.platform"]).status.success();
    assert!(until(60, published), "{}", world.log());
}

/// A kubeconfig of an account that may do in the project what hks needs, but for one kind.
fn limited(world: &World, without: &str) -> PathBuf {
    let kinds = [
        ("", "configmaps"),
        ("", "events"),
        ("", "persistentvolumeclaims"),
        ("", "pods"),
        ("", "secrets"),
        ("", "services"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("autoscaling", "horizontalpodautoscalers"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
        ("coordination.k8s.io", "leases"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "networkpolicies"),
        ("policy", "poddisruptionbudgets"),
    ];
    let rule = |(group, kind): &(&str, &str)| {
        format!(
            "- {{apiGroups: [\"{group}\"], resources: [{kind}], verbs: [get, list, watch, create, patch, update, delete]}}\n"
        )
    };
    let rules: String = kinds.iter().filter(|(_, kind)| *kind != without).map(rule).collect();
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: limited}}\nrules:\n{rules}---\napiVersion: \
         v1\nkind: ServiceAccount\nmetadata: {{name: limited}}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: \
         RoleBinding\nmetadata: {{name: limited}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: \
         limited}}\nsubjects: [{{kind: ServiceAccount, name: limited, namespace: {}}}]\n",
        world.namespace
    );
    let file = world.folder.path().join("role.yaml");
    std::fs::write(&file, role).unwrap();
    world.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let token = world.kubectl(&["create", "token", "limited"]);
    let read = |path: &str| world.kubectl(&["config", "view", "--raw", "--minify", "-o", &format!("jsonpath={path}")]);
    let (server, authority) =
        (read("{.clusters[0].cluster.server}"), read("{.clusters[0].cluster.certificate-authority-data}"));
    let name = read("{.clusters[0].cluster.tls-server-name}");
    let name = if name.is_empty() { String::new() } else { format!(", tls-server-name: {name}") };
    let kubeconfig = world.folder.path().join("limited.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\nclusters: \
         [{{name: x, cluster: {{server: \"{server}\", certificate-authority-data: {authority}{name}}}}}]\nusers: [{{name: x, user: \
         {{token: {token}}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    kubeconfig
}

/// A configuration that leads to the project by another kubeconfig.
fn config_by(world: &World, kubeconfig: &std::path::Path) -> PathBuf {
    let config = world.local_config("daemon");
    let text = std::fs::read_to_string(&config).unwrap();
    let target = format!("    target: {{kubeconfig: {}}}\n", kubeconfig.display());
    let text = match &kit().vcluster {
        Some(name) => text.replace(&format!("    target: {{vcluster: {{name: {name}}}}}\n"), &target),
        None => text.replace("    git:\n", &format!("{target}    git:\n")),
    };
    std::fs::write(&config, text).unwrap();
    config
}

#[test]
fn a_kind_that_may_not_be_seen_is_named_and_a_new_right_and_token_are_noticed() {
    let mut world = World::new("rights");
    let kubeconfig = limited(&world, "cronjobs");
    let sha = world.push_stack(&stack("first"));
    let config = config_by(&world, &kubeconfig);
    world.start_with(&config);
    world.wait("one", "unreachable", 30, |view| {
        let activity = view["activity"].as_str().unwrap_or_default();
        view["state"] == "unreachable" && activity.contains("hks may not list cronjobs in namespace")
    });
    // the right comes, and nobody restarts anything
    limited(&world, "nothing");
    world.settled("one", &sha);
    // a token that is no longer known is replaced in the file
    let good = std::fs::read_to_string(&kubeconfig).unwrap();
    world.kubectl(&["delete", "serviceaccount", "limited"]);
    limited(&world, "nothing");
    assert_ne!(std::fs::read_to_string(&kubeconfig).unwrap(), good);
    let sha = world.push_stack(&stack("second"));
    world.settled("one", &sha);
}

#[test]
fn what_is_recorded_goes_on_while_the_forge_is_away() {
    let (mut world, sha) = running("away");
    world.stop();
    let hidden = world.folder.path().join("hidden.git");
    std::fs::rename(world.remote(), &hidden).unwrap();
    world.kubectl(&["set", "env", "deployment/one-job", "WORD=drift"]);
    world.start();
    assert!(until(60, || word(&world) == "first"), "drift is put back: {:#}", world.view("one"));
    assert_eq!(world.view("one")["state"], "settled");
    std::fs::rename(&hidden, world.remote()).unwrap();
    world.settled("one", &sha);
}

#[test]
fn of_two_stacks_that_want_one_name_only_one_gets_it() {
    let mut world = World::new("names");
    let registry = &kit().registry;
    let text = |stack: &str, app: &str| {
        format!(
            "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {stack}}}\napps:\n  {app}: {{image: \
             \"{registry}/busybox:1\", replicas: 0, ports: {{http: 8080}}}}\n"
        )
    };
    world.write("a/hks.yaml", &text("pay", "api-web"));
    world.write("b/hks.yaml", &text("pay-api", "web"));
    let sha = world.push("two of a name");
    world.start();
    let state = |stack: &str| world.view(stack)["state"].as_str().unwrap_or_default().to_owned();
    let ended = || {
        let both = [state("pay"), state("pay-api")];
        both.iter().any(|state| state == "settled") && both.iter().any(|state| state == "invalid")
    };
    assert!(until(60, ended), "{} {}", world.view("pay"), world.view("pay-api"));
    let (winner, loser) = if state("pay") == "settled" { ("pay", "pay-api") } else { ("pay-api", "pay") };
    world.settled(winner, &sha);
    let cause = world.view(loser)["cause"].as_str().unwrap_or_default().to_owned();
    assert!(cause.contains(&format!("does not belong to this Stack but to Stack {winner}")), "{cause}");
    for kind in ["service", "deployment"] {
        let owner =
            world.kubectl(&["get", kind, "pay-api-web", "-o", "jsonpath={.metadata.labels.hks\\.hexabase\\.ai/stack}"]);
        assert_eq!(owner, winner, "{kind}");
    }
}

#[test]
fn a_second_tag_on_the_same_commit_is_deployed() {
    let mut world = World::new("tags");
    world.push_stack(&stack("${git.tag}"));
    let tag = |world: &World, name: &str| {
        world.git(&world.work(), &["tag", name]);
        world.git(&world.work(), &["push", "--quiet", "origin", name]);
    };
    tag(&world, "v1.0.0-rc.1");
    let git = format!("      url: {}\n      tag: \"v*\"\n", world.remote().display());
    let config = world.config("daemon", &git);
    world.start_with(&config);
    world.wait("one", "settled", 60, |view| view["state"] == "settled");
    assert_eq!(word(&world), "v1.0.0-rc.1");
    tag(&world, "v1.0.0");
    assert!(until(60, || word(&world) == "v1.0.0"), "{:#}", world.view("one"));
    // a later version that is not released is not taken over a released one
    world.push_stack(&stack("${git.tag} again"));
    tag(&world, "v1.1.0-rc.1");
    tag(&world, "v1.0.1");
    assert!(until(60, || word(&world) == "v1.0.1 again"), "{:#}", world.view("one"));
}

/// P37, P47: a Stack that was renamed finds its old self behind its address, and is refused before anything is touched.
#[test]
fn a_renamed_stack_does_not_answer_beside_its_old_self() {
    let mut world = World::new("renamed");
    let host = format!("{}.{}", world.namespace, kit().domain.split(':').next().unwrap());
    let text = |name: &str| {
        support::sample(name, "1.0.0").replace("public: {paths", &format!("public: {{host: {host}, paths"))
    };
    world.extra = format!("    hosts: [{host}]\n");
    let first = world.push_stack(&text("old"));
    world.start();
    world.settled("old", &first);
    let second = world.push_stack(&text("new"));
    let view = world.wait("new", "refused", 60, |view| view["state"] == "invalid" && view["desiredRevision"] == second);
    let cause = view["cause"].as_str().unwrap();
    assert!(cause.contains("already the address of Stack old"), "{view:#}");
    assert!(world.try_kubectl(&["get", "deployment", "new-web"]).stdout.is_empty());
    let destroyed = world.hks(&["destroy", "old", "--yes"]);
    assert!(destroyed.status.success(), "{}", String::from_utf8_lossy(&destroyed.stderr));
    assert!(until(60, || world.try_kubectl(&["get", "ingress", "old-public"]).stdout.is_empty()));
    // nobody has to ask for it
    world.settled("new", &second);
}

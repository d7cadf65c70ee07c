//! What people and other controllers do by hand, and what they ask for: told in its own words, and never fought over for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use hks::ident::{Kind, ObjectKey};
use hks::machine::Volume;
use hks::shell::cluster::inspect;
use hks::shell::cluster::project::Project;
use std::sync::Arc;
use support::{World, sample, until, worker};

fn image(world: &World) -> String {
    world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.template.spec.containers[0].command}"])
}

/// R3, P1: a rollback that was asked for once is carried out once.
#[test]
fn a_wish_is_not_carried_out_again_after_a_restart() {
    let mut world = World::new("wish");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    world.settled("one", &second);
    world.hks_works(&["rollback", "one", "--to", &first, "--yes"]);
    world.wait("one", "back", 60, |view| view["state"] == "held" && view["appliedRevision"] == first.as_str());
    let third = world.push_stack(&worker("one", "1", "sleep 3603", ""));
    world.settled("one", &third);
    let wish = world.kubectl(&["get", "configmap", "hks-one", "-o", "jsonpath={.metadata.annotations}"]);
    assert!(!wish.contains("wish"), "{wish}");
    world.kill();
    world.start();
    world.settled("one", &third);
    // any change in the project used to bring the old wish back
    world.kubectl(&["delete", "pod", "-l", "hks.hexabase.ai/app=job", "--wait=false"]);
    world.kubectl(&["rollout", "status", "deployment/one-job", "--timeout=60s"]);
    let view = world.settled("one", &third);
    assert!(image(&world).contains("3603"), "{view:#}");
}

/// R12, P33: what works is not forgotten for an older release that does not; a wish that can't be met is told.
#[test]
fn a_wish_has_to_prove_itself() {
    let mut world = World::new("proof");
    let bad = world.push_stack(&worker("one", "missing", "sleep 3600", ""));
    world.start();
    world.wait("one", "held", 60, |view| view["state"] == "held");
    let good = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.settled("one", &good);
    world.hks_works(&["rollback", "one", "--to", &bad, "--yes"]);
    let events = || world.kubectl(&["get", "events", "-o", "jsonpath={.items[*].note}{.items[*].message}"]);
    assert!(
        until(90, || events().contains("image pull failed") && events().contains("wants to roll back")),
        "{}",
        events()
    );
    world.settled("one", &good);
    assert!(image(&world).contains("3601"));
    let refused = world.hks(&["rollback", "one", "--to", &"1".repeat(40), "--yes"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("can't be had from the repository"), "{text}");
}

/// Suspended, nothing is changed; destroyed, everything goes but data, and stays away until there is something new.
#[test]
fn a_stack_can_be_suspended_and_destroyed() {
    let mut world = World::new("suspend");
    let first = world.push_stack(&sample("one", "1.0.0"));
    world.start();
    world.settled("one", &first);
    world.hks_works(&["suspend", "one", "--reason", "by hand"]);
    world.wait("one", "suspended", 30, |view| view["state"] == "suspended" && view["suspended"]["reason"] == "by hand");
    world.kubectl(&["scale", "deployment", "one-web", "--replicas=2"]);
    let second = world.push_stack(&sample("one", "1.0.0").replace("period: 1s", "period: 2s"));
    world.wait("one", "seen", 30, |view| view["desiredRevision"] == second.as_str());
    world.kill();
    world.start();
    world.wait("one", "still suspended", 30, |view| view["state"] == "suspended");
    assert_eq!(world.kubectl(&["get", "deployment", "one-web", "-o", "jsonpath={.spec.replicas}"]), "2");
    assert!(world.hks_works(&["status", "one"]).contains("suspended"));
    world.hks_works(&["resume", "one"]);
    world.settled("one", &second);
    assert_eq!(world.kubectl(&["get", "deployment", "one-web", "-o", "jsonpath={.spec.replicas}"]), "1");
    world.hks_works(&["destroy", "one", "--yes"]);
    world.wait("one", "destroyed", 60, |view| view["state"] == "held" && view["appliedRevision"].is_null());
    let left = |world: &World| world.objects().into_iter().filter(|name| !name.starts_with("pod/")).collect::<Vec<_>>();
    assert!(
        until(60, || left(&world) == ["persistentvolumeclaim/data-one-main-1", "secret/one-main-credentials"]),
        "{:?}",
        left(&world)
    );
    world.kill();
    world.start();
    world.wait("one", "still gone", 30, |view| view["state"] == "held");
    assert_eq!(left(&world).len(), 2);
    let third = world.push_stack(&sample("one", "1.0.0"));
    world.settled("one", &third);
}

/// What is asked for by the endpoint is done as from the command line, told to who asked, and written down.
#[test]
fn a_stack_is_suspended_and_resumed_by_the_endpoint() {
    let mut world = World::new("acts");
    world.environment = vec![("HKS_TEST_TOKEN", "a-token-that-may-act".into())];
    world.settings =
        "access: {anonymous: true, tokens: {ci: {token: {env: HKS_TEST_TOKEN}, sources: [\"*\"], act: true}}}\n".into();
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    let ask = |act: &str, body: &str| {
        let url = format!("http://{}/api/v1/stacks/one/{act}", world.address);
        let args =
            ["-sS", "--noproxy", "*", "-X", "POST", "-H", "Authorization: Bearer a-token-that-may-act", "-d", body];
        let output = std::process::Command::new("curl")
            .args(args)
            .args(["-w", " %{http_code}", &url])
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = ask("suspend", r#"{"reason": "moving house"}"#);
    assert!(told.ends_with(" 200") && told.contains("\"answered\":true"), "{told}");
    let view = world.wait("one", "suspended", 30, |view| view["state"] == "suspended");
    assert!(view["sentence"].as_str().unwrap().contains("token:ci"), "{view:#}");
    let told = ask("rollback", r#"{"to": "1111111111111111111111111111111111111111"}"#);
    assert!(told.ends_with(" 409") && told.contains("can't be had"), "{told}");
    let told = ask("resume", "");
    assert!(told.ends_with(" 200"), "{told}");
    world.settled("one", &first);
    let log = world.log();
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audit = lines.iter().filter(|line| line["audit"].is_string() && line["audit"] != "wish");
    let told: Vec<_> =
        audit.map(|line| format!("{} {} {} {}", line["audit"], line["who"], line["stack"], line["outcome"])).collect();
    let expected = [("suspend", "taken"), ("rollback", "refused"), ("resume", "taken")];
    let expected = expected.map(|(act, outcome)| format!("{act:?} \"token:ci\" \"one\" {outcome:?}"));
    assert_eq!(told, expected, "{log}");
    assert!(!log.contains("a-token-that-may-act"));
}

/// P12: a paused Deployment is told at once, and the commit goes on when it is resumed.
#[test]
fn a_paused_deployment_is_told_at_once() {
    let mut world = World::new("paused");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    world.kubectl(&["rollout", "pause", "deployment/one-job"]);
    let view = world.wait("one", "degraded", 30, |view| view["state"] == "degraded");
    assert!(view["troubles"].to_string().contains("kubectl rollout resume"), "{view:#}");
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    world.wait("one", "refused", 30, |view| view["state"] == "invalid" && view["desiredRevision"] == second.as_str());
    assert!(image(&world).contains("3601"));
    world.kubectl(&["rollout", "resume", "deployment/one-job"]);
    world.settled("one", &second);
}

/// A vCluster's syncer co-owns the ports that a Service was made with: they would stay, under the name of the new one.
#[test]
fn an_app_listens_elsewhere_and_goes_back() {
    let mut world = World::new("ports");
    let listening = |port: u16, and: &str| {
        let ports = format!(
            "    ports: {{http: {port}{and}}}\n    probes: {{readiness: {{tcp: true, port: http, period: 1s}}}}\n    shutdown: {{gracePeriod: 1s}}\n"
        );
        worker("one", "1", &format!("exec httpd -f -p {port}"), &ports)
    };
    let first = world.push_stack(&listening(8080, ", metrics: 9000"));
    world.start();
    world.settled("one", &first);
    let ports =
        || world.kubectl(&["get", "service", "one-job", "-o", "jsonpath={.spec.ports[*].name}{.spec.ports[*].port}"]);
    assert_eq!(ports(), "http metrics8080 9000");
    let second = world.push_stack(&listening(9090, ""));
    world.settled("one", &second);
    assert_eq!(ports(), "http9090");
    // and back to what it was
    let bad = listening(7070, "").replace("busybox:1", "busybox:none");
    world.push_stack(&bad);
    world.wait("one", "back", 90, |view| view["state"] == "held");
    assert_eq!(ports(), "http9090");
    let third = world.push_stack(&listening(8080, ""));
    world.settled("one", &third);
    assert_eq!(ports(), "http8080");
}

/// P13, P35: another autoscaler is left alone once it has insisted, and told.
#[test]
fn another_autoscaler_is_left_alone() {
    let mut world = World::new("insists");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", "    replicas: 2\n"));
    world.start();
    world.settled("one", &first);
    world.kubectl(&["autoscale", "deployment", "one-job", "--min=3", "--max=3", "--cpu=90%"]);
    let view = world.wait("one", "left alone", 270, |view| view["leftAlone"].to_string().contains("spec.replicas"));
    assert!(view["leftAlone"].to_string().contains("again and again"), "{view:#}");
    let replicas = || world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.replicas}"]);
    assert!(until(120, || replicas() == "3"), "{}", replicas());
    let corrected = world.view("one")["driftCorrected"].clone();
    world.kubectl(&["delete", "pod", "-l", "hks.hexabase.ai/app=job", "--wait=false"]);
    world.kubectl(&["rollout", "status", "deployment/one-job", "--timeout=90s"]);
    assert_eq!(world.view("one")["driftCorrected"], corrected);
    assert_eq!(replicas(), "3");
}

/// P45: an app that begins to crash after it settled is told, with its last words; it is well again by itself.
#[test]
fn what_begins_to_crash_at_rest_is_told() {
    let mut world = World::new("degraded");
    let first = world.push_stack(&worker("one", "1", "sleep 13; echo the cellar is flooded; exit 3", ""));
    world.start();
    world.settled("one", &first);
    let view = world.wait("one", "degraded", 120, |view| {
        view["state"] == "degraded" && view["troubles"].to_string().contains("flooded")
    });
    assert!(view["troubles"][0]["cause"].as_str().unwrap().contains("exit code 3"), "{view:#}");
    // between two crashes it runs for some seconds
    let mut status = String::new();
    let told = until(60, || {
        status = world.hks_works(&["status", "one"]);
        status.contains("degraded")
    });
    assert!(told, "{status}");
    let events = world.kubectl(&["get", "events", "--field-selector=reason=Degraded", "-o", "name"]);
    assert!(!events.is_empty());
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    world.settled("one", &second);
}

/// A run of a schedule that fails is told, with its last lines, until one ends well; the next commit is not measured by it.
#[test]
fn a_schedule_that_fails_is_told() {
    let mut world = World::new("schedule");
    let stack = |number: u32, command: &str| {
        let job = format!(
            "jobs: {{clean: {{app: job, command: [sh, -c, '{command}'], schedule: \"* * * * *\", retries: 0}}}}\n"
        );
        worker("one", "1", &format!("sleep {number}"), &job)
    };
    let first = world.push_stack(&stack(3601, "echo the attic is full; exit 3"));
    world.start();
    world.settled("one", &first);
    let view = world.wait("one", "degraded", 150, |view| {
        view["state"] == "degraded" && view["troubles"].to_string().contains("the attic is full")
    });
    assert!(view["troubles"][0]["cause"].as_str().unwrap().starts_with("job clean failed"), "{view:#}");
    let second = world.push_stack(&stack(3602, "true"));
    world.wait("one", "deployed", 60, |view| view["appliedRevision"] == second.as_str());
    world.wait("one", "well again", 200, |view| view["state"] == "settled");
}

/// P44: a parked app has no pods, is not probed, and is told as parked.
#[test]
fn an_app_can_be_parked() {
    let mut world = World::new("parked");
    let text = sample("one", "1.0.0");
    let parked = text.replace("    ports: {http: 8080}", "    replicas: 0\n    ports: {http: 8080}");
    assert_ne!(parked, text);
    let first = world.push_stack(&parked);
    world.start();
    let view = world.settled("one", &first);
    assert_eq!(view["apps"][0]["readiness"], "parked", "{view:#}");
}

/// P53: a secret that the runtime quotes stands nowhere.
#[test]
fn a_password_that_the_runtime_quotes_is_taken_out() {
    let mut world = World::new("quoted");
    let text = sample("one", "1.0.0")
        .replace("    ports:", "    command: [\"./server --db=${databases.main.url}\"]\n    ports:");
    let sha = world.push_stack(&text);
    world.start();
    let password = || {
        let found = world.try_kubectl(&[
            "get",
            "secret",
            "one-main-credentials",
            "-o",
            "go-template={{.data.password | base64decode}}",
        ]);
        String::from_utf8_lossy(&found.stdout).trim().to_owned()
    };
    assert!(until(60, || password().len() == 32));
    let password = password();
    world.held("one", &sha);
    let seen = [
        world.view("one").to_string(),
        world.get("/api/v1/status").unwrap_or_default().to_string(),
        support::request("GET", &format!("http://{}/stacks/one", world.address), &[], "").1,
        world.kubectl(&["get", "configmap", "hks-one", "-o", "yaml"]),
        world.kubectl(&["get", "events", "--field-selector=involvedObject.kind=ConfigMap", "-o", "yaml"]),
        world.hks_works(&["status", "one"]),
        world.log(),
    ];
    for (place, text) in seen.iter().enumerate() {
        assert!(!text.contains(&password), "the password stands in place {place}");
    }
    assert!(seen[0].contains("can't start"), "{}", seen[0]);
}

/// R16, P43: a commit to the README neither prolongs a deployment nor tries again what failed.
#[test]
fn commits_that_change_nothing_here_restart_nothing() {
    let mut world = World::new("readme");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    let never = "    probes: {readiness: {exec: [\"false\"], period: 1s}}\ndeploy: {timeout: 15s}\n";
    world.push_stack(&worker("one", "1", "sleep 3602", never));
    let mut commits = 0;
    let held = until(40, || {
        commits += 1;
        world.write("README.md", &commits.to_string());
        world.push("readme");
        until(3, || world.view("one")["state"] == "held")
    });
    assert!(held, "it was put back although commits went on: {:#}", world.view("one"));
    let generation = || world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.metadata.generation}"]);
    let before = generation();
    world.write("README.md", "the last");
    let last = world.push("readme");
    world.wait("one", "seen", 30, |view| view["desiredRevision"] == last.as_str() && view["state"] == "held");
    assert_eq!(generation(), before);
}

/// P54: under Pod Security restricted a Stack with a database is deployed.
#[test]
fn a_restricted_project_takes_a_database() {
    let mut world = World::new("restricted");
    world.kubectl(&["label", "namespace", &world.namespace.clone(), "pod-security.kubernetes.io/enforce=restricted"]);
    let user = "    security: {runAsUser: 65534, runAsNonRoot: true}\n";
    let small = "resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: 300m, memory: 128Mi}}";
    let database =
        format!("databases:\n  main: {{engine: postgres, version: \"15\", storage: {{size: 64Mi}}, {small}}}\n");
    let sha = world.push_stack(&worker("one", "1", "sleep 3600", &format!("{user}{database}")));
    world.start();
    world.settled("one", &sha);
    // its volume can be measured there
    let (runtime, client) = support::client();
    let claim = ObjectKey::new(Kind::PersistentVolumeClaim, "data-one-main-1");
    let (pod, container, path) = ("one-main-0".into(), "postgres".into(), "/var/lib/postgresql".into());
    let volume = Volume { claim: claim.clone(), pod, container, path };
    let free = runtime.block_on(async {
        let project = Project::new(client, &world.namespace, Arc::default());
        inspect::free(&project, &[volume.clone(), Volume { path: "/nowhere".into(), ..volume }]).await
    });
    assert!(free.len() == 1 && free[&claim] > 0, "{free:?}");
}

//! What others do in a project beside hks: quotas that are full and raised, Secrets that are changed and go, fields that are added
//! or rewritten. Told in words of their own, and mended by itself where that is possible.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use support::{World, until, worker};

fn logs(world: &World) -> String {
    String::from_utf8_lossy(&world.try_kubectl(&["logs", "deployment/one-job"]).stdout).into_owned()
}

fn generation(world: &World) -> String {
    world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.metadata.generation}"])
}

/// P61, P58: where a quota has room for exactly what runs, an app that may lack a pod waits for the old one to go; one that may
/// not is refused, and is tried again by itself once the quota is raised.
#[test]
fn a_full_quota_is_waited_for_and_a_raised_one_is_seen() {
    let mut world = World::new("quota");
    let in_place = "    rollout: {maxSurge: 0, maxUnavailable: 1}\n";
    let first = world.push_stack(&worker("one", "1", "trap exit TERM; sleep 3601 & wait", in_place));
    world.start();
    world.settled("one", &first);
    world.kubectl(&["create", "quota", "full", "--hard=pods=1"]);
    let second = world.push_stack(&worker("one", "1", "trap exit TERM; sleep 3602 & wait", in_place));
    world.settled("one", &second);

    let third = world.push_stack(&worker("one", "1", "sleep 3603", ""));
    let view = world.held("one", &third);
    assert!(view["cause"].as_str().unwrap().starts_with("pods limit exceeded: job asks 1, used 1 of 1"), "{view:#}");
    let told = view["sentence"].as_str().unwrap();
    assert!(told.contains("It is tried again when a quota or limit of the project is changed, or it is "), "{told}");
    let status = String::from_utf8_lossy(&world.hks(&["status", "one"]).stdout).into_owned();
    assert!(status.contains("a quota or limit of the project is changed"), "{status}");
    world.kubectl(&["patch", "quota", "full", "--type=merge", "-p", r#"{"spec": {"hard": {"pods": "2"}}}"#]);
    let view = world.wait("one", "tried again", 50, |view| view["appliedRevision"] == third.as_str());
    assert_eq!(view["history"][0]["outcome"], "succeeded", "{view:#}");
    assert_eq!(view["history"].as_array().unwrap().len(), 3, "one deployment, however often it was tried: {view:#}");
}

/// P14, P34: pods take the new value of a Secret of somebody else's; one that goes is told, and so is that it is there again.
#[test]
fn a_secret_of_somebody_else_is_followed() {
    let mut world = World::new("theirs");
    world.kubectl(&["create", "secret", "generic", "theirs", "--from-literal=word=first"]);
    let rest = "    env: {WORD: \"${secrets.mail.word}\"}\nsecrets: {mail: {from: {existing: theirs}}}\n";
    let sha = world.push_stack(&worker("one", "1", "echo the word is $WORD; sleep 3601", rest));
    world.start();
    world.settled("one", &sha);
    assert!(until(30, || logs(&world).contains("first")), "{}", logs(&world));
    // a label is no other value
    let before = generation(&world);
    world.kubectl(&["label", "secret", "theirs", "team=x"]);
    let patch = r#"{"stringData": {"word": "second"}}"#;
    assert!(!until(3, || generation(&world) != before), "pods are made anew for a label");
    world.kubectl(&["patch", "secret", "theirs", "-p", patch]);
    assert!(until(60, || logs(&world).contains("second")), "{}\n{}", logs(&world), world.log());
    let events =
        world.kubectl(&["get", "events", "--field-selector=reason=Renewed", "-o", "jsonpath={..note}{..message}"]);
    assert!(events.contains("pods of job start anew"), "{events}");
    let after = generation(&world);
    world.kill();
    world.start();
    world.settled("one", &sha);

    world.kubectl(&["delete", "secret", "theirs"]);
    let view = world.wait("one", "degraded", 60, |view| view["state"] == "degraded");
    let told = "Secret/theirs: it is gone, and pods of job can't start again without it; make it again, with word";
    assert!(view["sentence"].as_str().unwrap().contains(told), "{view:#}");
    let status = String::from_utf8_lossy(&world.hks(&["status", "one"]).stdout).into_owned();
    assert!(status.contains("degraded") && status.contains(told), "{status}");
    assert_eq!(generation(&world), after, "nothing is restarted by a restart of hks, nor for a Secret that is gone");
    world.kubectl(&["create", "secret", "generic", "theirs", "--from-literal=word=third"]);
    world.settled("one", &sha);
    assert!(until(60, || logs(&world).contains("third")), "{}", logs(&world));
}

/// What hks prints, and whether it succeeded.
fn hks(world: &World, args: &[&str]) -> (String, bool) {
    let done = world.hks(args);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    (text, done.status.success())
}

/// P55, R24, P46: fields that somebody has added stay and are told; a field that a policy rewrites is told once, and not fought.
#[test]
fn what_others_add_or_rewrite_is_told_and_not_fought() {
    let mut world = World::new("added");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    world.kubectl(&["set", "env", "deployment/one-job", "EXTRA=hidden-value"]);
    world.kubectl(&["annotate", "deployment", "one-job", "example.com/by-hand=x"]);
    world.kubectl(&["rollout", "status", "deployment/one-job", "--timeout=60s"]);
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
    let view = world.settled("one", &second);
    let told = view["added"].to_string();
    assert!(told.contains("spec.template.spec.containers[job].env[EXTRA]"), "{view:#}");
    assert!(told.contains("metadata.annotations.example.com/by-hand") && !told.contains("hidden-value"), "{told}");
    assert!(view["drift"].as_array().unwrap().is_empty(), "{view:#}");
    let (diff, same) = hks(&world, &["diff"]);
    assert!(same && diff.contains("no differences"), "{diff}");
    for text in [diff, hks(&world, &["status", "one"]).0] {
        let words =
            "1 field of Deployment/one-job set by kubectl-set stays: spec.template.spec.containers[job].env[EXTRA]";
        assert!(text.contains(words), "{text}");
    }

    let policy = Policy::new(&world);
    let third = world.push_stack(&worker("one", "1", "sleep 3603", ""));
    let view = world.settled("one", &third);
    let alone = |view: &Value| view["leftAlone"].to_string();
    assert!(alone(&view).contains("terminationGracePeriodSeconds"), "{view:#}");
    assert!(alone(&view).contains("an admission webhook or policy makes it 7"), "{view:#}");
    let before = (generation(&world), view["driftCorrected"].clone());
    // a look at every change, and one change of every kind
    world.kubectl(&["delete", "pod", "-l", "hks.hexabase.ai/app=job", "--wait=false"]);
    world.kubectl(&["rollout", "status", "deployment/one-job", "--timeout=60s"]);
    let view = world.settled("one", &third);
    assert_eq!((generation(&world), view["driftCorrected"].clone()), before, "{view:#}");
    let told = world.kubectl(&["get", "events", "--field-selector=reason=LeftAlone", "-o", "name"]);
    assert_eq!(told.lines().count(), 1, "{told}");
    drop(policy);
}

/// A policy that rewrites a field of each Deployment of the project; it goes with the test.
struct Policy<'a>(&'a World);

impl<'a> Policy<'a> {
    fn new(world: &'a World) -> Self {
        let name = &world.namespace;
        let rules = "[{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]";
        let space = format!("{{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}");
        let expression = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{\
                          terminationGracePeriodSeconds: 7}}}}";
        let text = format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             matchConstraints: {{namespaceSelector: {space}, resourceRules: {rules}}}\n  failurePolicy: Fail\n  \
             reinvocationPolicy: Never\n  mutations:\n    - patchType: ApplyConfiguration\n      applyConfiguration: \
             {{expression: '{expression}'}}\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: \
             MutatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\nspec: {{policyName: {name}}}\n"
        );
        let path = world.folder.path().join("policy.yaml");
        std::fs::write(&path, text).unwrap();
        world.kubectl(&["apply", "-f", path.to_str().unwrap()]);
        let seen = || {
            let probe = ["create", "deployment", "probe", "--image=x", "--dry-run=server", "-o", "yaml"];
            world.kubectl(&probe).contains("terminationGracePeriodSeconds: 7")
        };
        assert!(until(60, seen), "the policy has no effect");
        Self(world)
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        let name = &self.0.namespace;
        self.0.try_kubectl(&["delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", name]);
    }
}

/// P57: the job of a release that a newer one has overtaken is ended before the next one's begins.
#[test]
fn jobs_of_two_releases_never_run_together() {
    let mut world = World::new("overtaken");
    let text = |command: &str| {
        let job = format!("jobs: {{smoke: {{run: postDeploy, app: job, command: [sh, -c, \"{command}\"]}}}}\n");
        worker("one", "1", "sleep 3600", &job)
    };
    world.push_stack(&text("trap '' TERM; sleep 300"));
    world.start();
    let pods = |world: &World| {
        let path = "jsonpath={range .items[*]}{.metadata.uid} {.status.phase}{'\\n'}{end}";
        let list = world.kubectl(&["get", "pods", "-l", "hks.hexabase.ai/job=smoke", "-o", path]);
        list.lines().filter(|line| line.ends_with(" Running")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(until(60, || pods(&world).len() == 1), "the first job does not run");
    let first = pods(&world);
    let second = world.push_stack(&text("sleep 5"));
    let (mut together, mut other) = (vec![], false);
    assert!(until(120, || {
        let now = pods(&world);
        if now.len() > 1 {
            together.clone_from(&now);
        }
        other |= now.iter().any(|pod| !first.contains(pod));
        world.view("one")["appliedRevision"] == second.as_str()
    }));
    assert!(other && together.is_empty(), "both ran: {together:?}");
}

/// P20, P19: a new version of a blue/green app with autoscaling gets the traffic only with as many pods as serve.
#[test]
fn an_autoscaled_version_is_switched_to_with_all_its_pods() {
    let mut world = World::new("scaled");
    let text = |version: &str| {
        let ports = "    ports: {http: 8080}";
        let more = "    rollout: {strategy: blueGreen}\n    autoscaling: {min: 3, max: 4, cpu: 90}\n";
        support::sample("one", version).replace(ports, &format!("{more}{ports}"))
    };
    let first = world.push_stack(&text("1.0.0"));
    world.start();
    world.settled("one", &first);
    let ready = |world: &World| {
        // what the Service sends requests to
        let slices = ["get", "endpointslices", "-l", "kubernetes.io/service-name=one-web", "-o", "json"];
        let all: Value = serde_json::from_str(&world.kubectl(&slices)).unwrap();
        let endpoints = all["items"].as_array().unwrap().iter().filter_map(|slice| slice["endpoints"].as_array());
        endpoints.flatten().filter(|end| end["conditions"]["ready"] == true).count()
    };
    let switched = |world: &World| world.kubectl(&["get", "service", "one-web", "-o", "jsonpath={.spec.selector}"]);
    assert!(until(30, || ready(&world) >= 3), "{}", ready(&world));
    let before = switched(&world);
    let second = world.push_stack(&text("2.0.0"));
    let mut at_the_switch = None;
    assert!(until(90, || {
        let now = switched(&world);
        if now != before && at_the_switch.is_none() {
            at_the_switch = Some(slot_pods(&world, &now));
        }
        at_the_switch.is_some()
    }));
    assert!(at_the_switch.is_some_and(|pods| pods >= 3), "{at_the_switch:?} pods were ready at the switch");
    world.settled("one", &second);
    assert!(ready(&world) >= 3);
}

/// How many pods of a Service's selector are ready.
fn slot_pods(world: &World, selector: &str) -> usize {
    let selector: Value = serde_json::from_str(selector).unwrap();
    let labels: Vec<_> =
        selector.as_object().unwrap().iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
    let path = "jsonpath={range .items[*]}{.status.containerStatuses[0].ready}{'\\n'}{end}";
    world.kubectl(&["get", "pods", "-l", &labels.join(","), "-o", path]).lines().filter(|line| *line == "true").count()
}

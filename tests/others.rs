//! What others do in a project beside hks: quotas that are full and raised, Secrets that are changed and go. Told in words of
//! their own, and mended by itself where that is possible.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

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

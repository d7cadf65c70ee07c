//! What others do in a project beside hks: quotas that are full and raised, by people of the platform. Told in their own
//! words, and mended by itself where that is possible.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use support::{World, worker};

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

//! The second fault: what a person wanted, what can't be read and what was deleted survive a restart in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use support::{World, until, worker};

#[test]
fn a_restart_forgets_neither_a_wish_nor_a_stack_nor_a_record() {
    let mut world = World::new("again");
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    let second = world.push_stack(&worker("one", "1", "sleep 3602", ""));
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

    // an object whose label somebody takes away is still there, and gets it back
    let label = "jsonpath={.metadata.labels.hks\\.hexabase\\.ai/stack}";
    let labelled = || world.kubectl(&["get", "deployment", "one-job", "-o", label]) == "one";
    assert!(labelled());
    world.kubectl(&["label", "deployment", "one-job", "hks.hexabase.ai/stack-"]);
    assert!(until(30, labelled), "{}", world.log());

    // a record that somebody deletes is written again while the daemon knows it
    world.kubectl(&["delete", "configmap", "hks-one"]);
    assert!(until(30, || world.try_kubectl(&["get", "configmap", "hks-one"]).status.success()), "{}", world.log());

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

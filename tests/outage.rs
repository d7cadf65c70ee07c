//! The API server of the vCluster is killed in the middle of a deployment. Alone in its file, which runs when the others are done:
//! their API server is the same one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use support::{World, kit, on_host, sample, until};

#[test]
fn a_killed_api_server_delays_a_deployment_and_no_more() {
    // only the kit's own API server may be killed
    let Some(name) = &kit().vcluster else { return };
    let mut world = World::new("outage");
    let first = world.push_stack(&sample("todo", "1.0.0"));
    world.start();
    world.settled("todo", &first);
    let uids = |world: &World| {
        world.kubectl(&["get", "statefulset,pvc,secret,service", "-o", "jsonpath={.items[*].metadata.uid}"])
    };
    let before = uids(&world);
    let sha = world.push_stack(&sample("todo", "2.0.0"));
    world.wait("todo", "under way", 30, |view| view["state"] == "deploying" && view["desiredRevision"] == sha.as_str());
    let namespace = format!("vcluster-{name}");
    on_host(&["-n", &namespace, "delete", "pod", &format!("{name}-0"), "--force", "--grace-period=0"]);
    let up = || world.try_kubectl(&["get", "namespace", &world.namespace]).status.success();
    assert!(until(30, || !up()) || up(), "the API server is gone for a moment");
    assert!(until(180, up), "the vCluster did not come back");
    world.wait("todo", "settled", 180, |view| view["state"] == "settled" && view["appliedRevision"] == sha.as_str());
    assert_eq!(uids(&world), before, "nothing was made again");
    let history =
        world.view("todo")["history"].as_array().unwrap().iter().filter(|d| d["revision"] == sha.as_str()).count();
    assert_eq!(history, 1);
}

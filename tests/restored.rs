//! The store of an API server is put back to what it was a while ago, under a daemon that runs: versions go back, and what was
//! deployed since is gone, the record of it as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use support::own::Own;
use support::{World, kit, until, worker};

#[test]
fn what_a_restored_store_has_forgotten_is_deployed_again() {
    if kit().vcluster.is_none() {
        // the cluster is somebody's own: no vCluster is made there
        return;
    }
    let own = Own::new("restored");
    own.install("");
    own.make_project();
    let mut world = World::new("restored");
    let target = format!("{{vcluster: {{name: {}, namespace: {}}}}}", own.name, own.namespace);
    world.elsewhere = Some((target, "shop".into()));
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.start();
    world.settled("one", &first);
    own.back_up();
    let (runtime, client) = own.client();
    let deployments: Api<Deployment> = Api::namespaced(client, "shop");
    let runs = |command: &str| {
        let found = runtime.block_on(deployments.get("one-job"));
        found.is_ok_and(|found| serde_json::to_string(&found.spec).is_ok_and(|spec| spec.contains(command)))
    };
    // more has happened since than after the restore: what comes then has versions that were seen before
    for number in 2..6 {
        let sha = world.push_stack(&worker("one", "1", &format!("sleep 360{number}"), ""));
        world
            .wait("one", "deployed", 180, |view| view["state"] == "settled" && view["appliedRevision"] == sha.as_str());
    }
    assert!(runs("sleep 3605"));
    own.restore();
    assert!(until(180, || runs("sleep 3605")), "{}", world.log());
    world.wait("one", "well", 120, |view| view["state"] == "settled" && view["drift"].as_array().unwrap().is_empty());
    // an API server that has just begun may not answer in the time that a command takes for it
    let mut told = String::new();
    let same = until(60, || {
        let status = own.hks(&["status", "one", "-o", "json"]);
        told = format!("{status:?}");
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["state"] == "settled" && status["appliedRevision"] == world.view("one")["appliedRevision"]
    });
    assert!(same, "{told}");
}

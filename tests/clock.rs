//! The clock of the daemon's machine is set, forward and back, in the middle of deployments: no deadline passes by that, nothing
//! waits for a time that will not come, and nobody else takes over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use std::path::Path;
use support::{World, until, worker};

/// Lets a program see another time, and lets it be set while it runs.
const CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[test]
fn a_clock_that_is_set_delays_nothing_and_ends_nothing() {
    if !Path::new(CLOCK).exists() {
        // a cluster of somebody's own, on a machine without Debian's libfaketime
        return;
    }
    let mut world = World::new("clock");
    let offset = world.folder.path().join("offset");
    // in one step, so that it is never seen half written
    let set = |to: &str| {
        let new = offset.with_extension("new");
        std::fs::write(&new, to).unwrap();
        std::fs::rename(new, &offset).unwrap();
    };
    set("+0");
    world.environment = vec![
        ("LD_PRELOAD", CLOCK.into()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap().into()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    world.start_with(&world.local_config("daemon"));
    let first = world.push_stack(&worker("one", "1", "sleep 3601", ""));
    world.settled("one", &first);
    let steps = [("+26h", "sleep 3602"), ("+0", "sleep 3603"), ("+2h", "sleep 3604")];
    for (to, command) in steps {
        // an app without a probe is ready after some seconds: the clock is set meanwhile
        let sha = world.push_stack(&worker("one", "1", command, ""));
        world.wait("one", "under way", 60, |view| {
            view["state"] == "deploying" && view["desiredRevision"] == sha.as_str()
        });
        set(to);
        world.wait("one", to, 120, |view| view["state"] == "settled" && view["appliedRevision"] == sha.as_str());
        world.kubectl(&["scale", "deployment", "one-job", "--replicas=3"]);
        let replicas = || world.kubectl(&["get", "deployment", "one-job", "-o", "jsonpath={.spec.replicas}"]);
        assert!(until(60, || replicas() == "1"), "{to}: {}", world.log());
    }
    let history = world.view("one")["history"].as_array().unwrap().clone();
    assert!(history.iter().all(|deployment| deployment["outcome"] == "succeeded"), "{history:#?}");
    assert_eq!(history.len(), 4);
    // what fails is put back in its time, and no later
    set("+26h");
    let bad = world.push_stack(&worker("one", "missing", "sleep 3605", ""));
    world.held("one", &bad);
}

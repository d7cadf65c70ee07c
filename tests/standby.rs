//! Daemons that stand in for each other: one leads; when it ends, is killed or sleeps, another one goes on with what it was doing,
//! and whoever was replaced writes nothing any more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};
use support::{World, get_json, kit, launch, listening, request, signal, until, worker};

/// One of the daemons.
struct Daemon {
    child: Child,
    log: PathBuf,
    probes: String,
}

impl Daemon {
    /// Starts one in the pod of that name. The cluster that it deploys to is its host cluster as well.
    fn start(world: &mut World, pod: &str) -> Self {
        let probes = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let folder = world.folder.path().join(pod);
        std::fs::create_dir_all(&folder).unwrap();
        let key = world.folder.path().join("seal.key");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        world.settings = format!(
            "sealKey: {}\nprobes: {probes}\nleaderElection: {{lease: hks, namespace: {}}}\n",
            key.display(),
            world.namespace
        );
        let config = world.local_config(pod);
        let text = std::fs::read_to_string(&config).unwrap();
        let (host, inner) = (kit().kubeconfig.display().to_string(), kit().inner.display().to_string());
        std::fs::write(&config, text.replace(&host, &inner)).unwrap();
        let log = folder.join("log");
        Self { child: launch(&config, &log, &[("HKS_POD", pod.into())]), log, probes }
    }

    /// Waits until it stands by, and is ready to.
    fn stands_by(&self) {
        assert!(until(30, || self.said().contains("\"standing by\"")), "{}", self.said());
        assert!(until(5, || request("GET", &format!("http://{}/readyz", self.probes), &[], "").0 == 200));
        assert_eq!(listening(&self.log, 0), None, "{}", self.said());
    }

    /// Waits until it leads; tells its address.
    fn leads(&self, seconds: u64) -> String {
        assert!(until(seconds, || listening(&self.log, 0).is_some()), "{}", self.said());
        listening(&self.log, 0).unwrap()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended; tells whether well.
    fn ended(&mut self) -> bool {
        let mut status = None;
        assert!(
            until(30, || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            }),
            "{}",
            self.said()
        );
        status.unwrap().success()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn state(address: &str) -> Value {
    get_json(&format!("http://{address}/api/v1/stacks/one")).unwrap_or_default()
}

fn settled(address: &str, sha: &str) {
    let is = || state(address)["state"] == "settled" && state(address)["appliedRevision"] == sha;
    assert!(until(120, is), "{:#}", state(address));
}

/// What there is that only whoever leads may write: the record, and the app.
fn written(world: &World) -> [String; 2] {
    let version = ["-o", "jsonpath={.metadata.resourceVersion}"];
    let get = |kind, name| world.kubectl(&[&["get", kind, name][..], &version].concat());
    [get("configmap", "hks-one"), get("deployment", "one-job")]
}

fn leader(world: &World) -> String {
    let pods = || {
        world.kubectl(&["get", "pods", "-l", "hks.hexabase.ai/leads=hks", "-o", "jsonpath={.items[*].metadata.name}"])
    };
    let mut names = String::new();
    assert!(
        until(10, || {
            names = pods();
            !names.is_empty() && !names.contains(' ')
        }),
        "{names}"
    );
    names
}

#[test]
fn another_daemon_goes_on() {
    let mut world = World::new("standby");
    world.elsewhere = Some(("{}".into(), world.namespace.clone()));
    for pod in ["a", "b", "c", "d"] {
        let image = format!("--image={}/busybox:1", kit().registry);
        world.kubectl(&["run", pod, &image, "--restart=Never", "--", "sleep", "3600"]);
    }
    let stack = |number: u32| worker("one", "1", &format!("sleep {}", 3600 + number), "");
    let sha = world.push_stack(&stack(1));
    let mut first = Daemon::start(&mut world, "a");
    settled(&first.leads(20), &sha);
    assert_eq!(leader(&world), "a");

    // killed in mid-deployment
    let second = Daemon::start(&mut world, "b");
    second.stands_by();
    let sha = world.push_stack(&stack(2));
    let address = first.leads(0);
    assert!(until(30, || state(&address)["state"] == "deploying"), "{:#}", state(&address));
    let killed = Instant::now();
    first.signal("-KILL");
    first.ended();
    let address = second.leads(15);
    println!("leads {:?} after the first one was killed", killed.elapsed());
    settled(&address, &sha);
    println!("all is well {:?} after that", killed.elapsed());
    assert_eq!(leader(&world), "b");

    // asleep: whoever wakes when another one leads writes nothing, and ends
    let mut asleep = second;
    let mut third = Daemon::start(&mut world, "c");
    third.stands_by();
    asleep.signal("-STOP");
    let address = third.leads(15);
    let sha = world.push_stack(&stack(3));
    settled(&address, &sha);
    let before = written(&world);
    asleep.signal("-CONT");
    assert!(!asleep.ended());
    // it sees another one, or that its own time is over: what comes first
    assert!(asleep.said().contains("failed to go on leading"), "{}", asleep.said());
    assert_eq!(written(&world), before);
    assert_eq!(leader(&world), "c");

    // told to end: the next one need not wait
    let fourth = Daemon::start(&mut world, "d");
    fourth.stands_by();
    let told = Instant::now();
    third.signal("-TERM");
    assert!(third.ended());
    let ended = told.elapsed();
    let address = fourth.leads(15);
    println!("ended after {ended:?}, the next one leads after {:?}", told.elapsed());
    assert!(told.elapsed().saturating_sub(ended) < Duration::from_secs(6), "it waited as for one that was killed");
    let sha = world.push_stack(&stack(4));
    settled(&address, &sha);
    assert_eq!(leader(&world), "d");
}

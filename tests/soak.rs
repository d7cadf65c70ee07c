//! A daemon that has much to do for long, and is ended again and again in the middle of it: its memory, its files and what it keeps in
//! the cluster stay as they were.
//!
//! `HKS_SOAK=N` sets how many lives the daemon has, each of about half a minute, and `HKS_SEED=N` what happens in them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests"
)]

mod pure;
mod support;

use pure::numbers::Numbers;
use pure::script::number;
use std::time::{Duration, Instant};
use support::process::status_kib;
use support::{Client, World, after, kit, until};

/// Lives of an ordinary run: the first is not compared.
const LIVES: u64 = 4;
/// What happens in each.
const EVENTS: usize = 10;

/// What is looked at before the end of each life.
#[derive(Clone, Debug)]
struct Sample {
    /// Mebibytes of memory.
    memory: u64,
    /// Open files and connections.
    files: u64,
    /// Kibibytes of the data folder.
    disk: u64,
    /// Objects in the project, with hks's own.
    objects: u64,
    /// Leases in the project.
    leases: u64,
    /// Bytes of records.
    records: u64,
}

struct Soak {
    world: World,
    numbers: Numbers,
    pushes: u64,
    /// The commit that is in effect.
    good: String,
}

/// An app that answers, with a public address; `tag` is of its image.
fn stack(tag: &str, number: u64) -> String {
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: one}}\napps:\n  web:\n    image: {}/busybox:{tag}\n    command: \
         [sh, -c, 'mkdir -p /tmp/w; echo hi > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w']\n    env: {{N: \"{number}\"}}\n    \
         ports: {{http: 8080}}\n    probes: {{readiness: {{path: /, period: 1s}}}}\n    shutdown: {{gracePeriod: 2s, drain: 1s}}\n    \
         resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: 500m, memory: 16Mi}}}}\ningress: {{public: {{paths: {{/: web}}}}}}\n",
        kit().registry
    )
}

impl Soak {
    fn new() -> Self {
        let mut world = World::new("soak");
        let good = world.push_stack(&stack("1", 0));
        world.start();
        world.settled("one", &good);
        Self { world, numbers: Numbers::new(number("HKS_SEED").unwrap_or(1)), pushes: 0, good }
    }

    fn push(&mut self, tag: &str) -> String {
        self.pushes += 1;
        self.world.push_stack(&stack(tag, self.pushes))
    }

    fn deploys(&mut self) {
        self.good = self.push("1");
        self.world.settled("one", &self.good);
    }

    /// One thing of a day; whatever it was, the last good commit is in effect afterwards.
    fn happens(&mut self) {
        match self.numbers.below(8) {
            0..=2 => self.deploys(),
            3 => {
                let bad = self.push("missing");
                self.world.held("one", &bad);
                self.deploys();
            }
            4 => {
                let seen = self.world.view("one")["driftCorrected"].as_u64().unwrap();
                self.world.kubectl(&["scale", "deployment", "one-web", "--replicas=2"]);
                self.world.wait("one", "drift put back", 30, |view| view["driftCorrected"].as_u64() > Some(seen));
            }
            5 => {
                self.world.kubectl(&["delete", "service", "one-web"]);
                let is_back = || self.world.try_kubectl(&["get", "service", "one-web"]).status.success();
                assert!(until(60, is_back), "{}", self.world.log());
                self.world.settled("one", &self.good);
            }
            6 => {
                let clients = ["", "api/v1/status", "api/v1/stacks/one", "metrics"]
                    .map(|path| Client::start(&format!("http://{}/{path}", self.world.address)));
                self.deploys();
                for client in clients {
                    let (asked, failed) = client.stop();
                    assert!(asked > 0 && failed.is_empty(), "{failed:?}");
                }
            }
            _ => {
                let before = self.good.clone();
                self.deploys();
                self.world.hks_works(&["rollback", "one", "--to", &before, "--yes"]);
                self.world.wait("one", "rolled back", 60, |view| view["appliedRevision"] == before.as_str());
                self.deploys();
            }
        }
    }

    /// The daemon ends, now and then without a word, and always while it deploys; another one goes on.
    fn ends(&mut self) {
        self.good = self.push("1");
        after(Duration::from_millis(self.numbers.below(8) * 100));
        if self.numbers.below(2) == 0 {
            self.world.kill();
        } else {
            self.world.stop();
        }
        self.world.start();
        self.world.settled("one", &self.good);
    }

    fn sample(&self) -> Sample {
        let data = self.world.folder.path().join("daemon/data");
        let disk = std::process::Command::new("du").arg("-sk").arg(data).output().unwrap().stdout;
        let disk = String::from_utf8(disk).unwrap();
        let count = |kinds: &str| self.world.kubectl(&["get", kinds, "-o", "name"]).lines().count() as u64;
        let records =
            self.world.kubectl(&["get", "configmaps", "-l", "app.kubernetes.io/managed-by=hks", "-o", "json"]);
        Sample {
            memory: status_kib(self.world.pid(), "VmRSS") >> 10,
            files: std::fs::read_dir(format!("/proc/{}/fd", self.world.pid())).unwrap().count() as u64,
            disk: disk.split_whitespace().next().unwrap().parse().unwrap(),
            objects: count(
                "deployments,services,ingresses,networkpolicies,secrets,configmaps,persistentvolumeclaims,jobs",
            ),
            leases: count("leases"),
            records: records.len() as u64,
        }
    }
}

#[test]
fn nothing_grows_however_long_it_runs() {
    let lives = number("HKS_SOAK").unwrap_or(LIVES).max(2);
    let mut soak = Soak::new();
    let (began, mut samples) = (Instant::now(), vec![]);
    for life in 0..lives {
        for _ in 0..EVENTS {
            soak.happens();
        }
        let sample = soak.sample();
        eprintln!("life {life}, {} pushes, {:.0?}: {sample:?}", soak.pushes, began.elapsed());
        samples.push(sample);
        soak.ends();
    }
    // the history of a record and the caches are full after the first life
    let (half, all) = (samples.len().div_ceil(2), &samples[1..]);
    let most = |samples: &[Sample], of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap();
    let (first, last) = (&all[..half.min(all.len())], all.last().unwrap());
    let grows = |what: &str, of: fn(&Sample) -> u64, allowed: u64| {
        let (before, after) = (most(first, of), of(last));
        assert!(after <= before + allowed, "{what} grows from {before} to {after}: {samples:#?}");
    };
    grows("memory", |sample| sample.memory, 4 + most(first, |sample| sample.memory) / 10);
    grows("open files", |sample| sample.files, 4);
    grows("the number of objects", |sample| sample.objects, 0);
    grows("the number of Leases", |sample| sample.leases, 0);
    grows("the size of the records", |sample| sample.records, 2_048);
    // a commit takes some, however long it is kept
    grows("the data folder", |sample| sample.disk, 4_096);
}

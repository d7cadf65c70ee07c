//! Repositories that are made to do harm, each followed by a daemon that three peaceful tenants deploy by at the same time: these are
//! served as before, the daemon's memory stays in bounds, and nothing leaves the project.
//!
//! `HKS_REPOSITORIES=N` sets how many there are and `HKS_SEED=N` where they begin; without them there is one of each kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests"
)]

mod pure;
#[path = "harm/repositories.rs"]
mod repositories;
mod support;

use pure::script::number;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::process::status_kib;
use support::{World, kit, until};

/// How many are followed at a time.
const AT_A_TIME: usize = 13;
/// Pushes of each peaceful tenant before and after.
const QUIET: usize = 10;
/// Mebibytes that the daemon may take; the chart's limit is 256.
const MOST_MEMORY: u64 = 128;

/// A daemon, peaceful tenants, and the project of those that mean harm.
struct Platform {
    daemon: World,
    peaceful: Vec<World>,
    hostile: World,
    pushes: usize,
}

impl Platform {
    fn new() -> Self {
        let names = ["harm-a", "harm-b", "harm-c"];
        let peaceful = names.map(World::new).into();
        let mut new = Self { daemon: World::new("harm-daemon"), peaceful, hostile: World::new("harm-x"), pushes: 0 };
        for tenant in 0..new.peaceful.len() {
            new.push(tenant);
        }
        new.daemon.push_stack(&stack("own", 0));
        let config = new.follow(&[]);
        new.daemon.start_with(&config);
        new
    }

    fn source(name: &str, of: &World, remote: &str) -> String {
        format!(
            "  {name}:\n    namespace: {}\n{}    git: {{url: '{remote}', branch: main}}\n",
            of.namespace,
            of.target()
        )
    }

    /// Lets the daemon follow these as well; its configuration.
    fn follow(&self, remotes: &[(String, PathBuf)]) -> PathBuf {
        let own = self.daemon.local_config("daemon");
        let mut text = std::fs::read_to_string(&own).unwrap();
        for (tenant, world) in self.peaceful.iter().enumerate() {
            text += &Self::source(&format!("tenant-{tenant}"), world, &world.remote().display().to_string());
        }
        for (name, remote) in remotes {
            text += &Self::source(name, &self.hostile, &remote.display().to_string());
        }
        let new = own.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &own).unwrap();
        own
    }

    fn push(&mut self, tenant: usize) -> String {
        self.pushes += 1;
        self.peaceful[tenant].push_stack(&stack(&format!("peace-{tenant}"), self.pushes))
    }

    /// Each peaceful tenant pushes once; how long each waits until its commit is applied.
    fn peace(&mut self, waits: &mut Vec<Duration>) {
        for tenant in 0..self.peaceful.len() {
            let sha = self.push(tenant);
            let since = Instant::now();
            self.daemon.settled(&asked(tenant), &sha);
            waits.push(since.elapsed());
        }
    }

    /// Whether a source has been read, or given up.
    fn is_tried(&self, name: &str) -> bool {
        let status = self.daemon.get("/api/v1/status").unwrap_or_default();
        let sources = status["sources"].as_array().cloned().unwrap_or_default();
        let told = |source: &Value| source["fetched"].is_string() || source["error"].is_string();
        sources.iter().any(|source| source["name"] == name && told(source))
    }

    /// Mebibytes that the daemon has taken at most.
    fn memory(&self) -> u64 {
        status_kib(self.daemon.pid(), "VmHWM") >> 10
    }
}

/// How the endpoint is asked for the Stack of a peaceful tenant: somebody else may have one of that name.
fn asked(tenant: usize) -> String {
    format!("peace-{tenant}?source=tenant-{tenant}")
}

/// An app without pods: how long it waits is only a matter of the daemon.
fn stack(name: &str, number: usize) -> String {
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {name}}}\napps:\n  web: {{image: '{}/busybox:1', replicas: 0, \
         env: {{N: \"{number}\"}}, ports: {{http: 8080}}}}\ningress: {{public: {{paths: {{/: web}}}}}}\n",
        kit().registry
    )
}

/// The middle, and what one of a hundred exceeds.
fn middle_and_worst(waits: &mut [Duration]) -> (Duration, Duration) {
    waits.sort();
    (waits[waits.len() / 2], waits[(waits.len() * 99 / 100).min(waits.len() - 1)])
}

#[test]
fn repositories_that_mean_harm_harm_nobody_else() {
    let mut all = Platform::new();
    let (mut quiet, mut beside) = (vec![], vec![]);
    let mut first = vec![];
    all.peace(&mut first);
    for _ in 0..QUIET {
        all.peace(&mut quiet);
    }
    let before = all.memory();
    let host = |tenant: usize| {
        let url = all.daemon.url(&asked(tenant));
        url.trim_start_matches("http://").split([':', '/']).next().unwrap().to_owned()
    };
    let others: Vec<_> = (0..all.peaceful.len()).map(|tenant| (host(tenant), format!("peace-{tenant}"))).collect();

    let folder = tempfile::tempdir().unwrap();
    let (count, from) =
        (number("HKS_REPOSITORIES").unwrap_or(repositories::KINDS.len() as u64), number("HKS_SEED").unwrap_or(0));
    let numbers: Vec<_> = (from..from + count).collect();
    let mark = format!("harm{}", std::process::id());
    let mut told = String::new();
    for batch in numbers.chunks(AT_A_TIME) {
        let made: Vec<_> = batch
            .iter()
            .map(|number| {
                let path = folder.path().join(format!("{number}.git"));
                let kind = repositories::make(*number, &path, &format!("{mark}-{number}"), &others);
                (*number, kind, path)
            })
            .collect();
        let remotes: Vec<_> = made.iter().map(|(number, _, path)| (format!("x{number}"), path.clone())).collect();
        all.follow(&remotes);
        let mut left = remotes.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let done = until(240, || {
            all.peace(&mut beside);
            left.retain(|name| !all.is_tried(name));
            left.is_empty()
        });
        let kinds: Vec<_> = made.iter().map(|(number, kind, _)| format!("{number} {kind}")).collect();
        assert!(done, "{left:?} are neither read nor given up, of {kinds:?}");
        // what they have deployed, or tried to, goes on meanwhile
        for _ in 0..QUIET {
            all.peace(&mut beside);
        }
        writeln!(told, "{} MiB at most after {}", all.memory(), kinds.join(", ")).unwrap();
        let traces = made.iter().filter(|(_, _, path)| path.with_extension("trace").exists());
        assert_eq!(traces.count(), 0, "a program of a repository has run");
        for (_, _, path) in &made {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    all.follow(&[]);
    for _ in 0..QUIET {
        all.peace(&mut quiet);
    }
    eprint!("{told}");
    let ((middle, worst), (middle_beside, worst_beside)) =
        (middle_and_worst(&mut quiet), middle_and_worst(&mut beside));
    eprintln!(
        "{count} repositories; from push to applied, alone: {middle:?}, p99 {worst:?} of {}; beside them: {middle_beside:?}, p99 \
         {worst_beside:?} of {}; memory {before} MiB before, {} at most",
        quiet.len(),
        beside.len(),
        all.memory()
    );

    // all that is labelled as theirs is in their project
    let stacks = "go-template={{range .items}}{{.metadata.namespace}} {{index .metadata.labels \"hks.hexabase.ai/stack\"}} \
                  {{.kind}}/{{.metadata.name}}{{\"\\n\"}}{{end}}";
    let kinds = "deployments,services,statefulsets,ingresses,secrets,configmaps,jobs,persistentvolumeclaims,leases";
    let list = all.daemon.kubectl(&["get", kinds, "-A", "-l", "hks.hexabase.ai/stack", "-o", stacks]);
    let theirs =
        list.lines().filter(|line| line.contains(&mark) || line.starts_with(&format!("{} ", all.hostile.namespace)));
    let theirs: Vec<_> = theirs.collect();
    assert!(theirs.iter().all(|line| line.starts_with(&format!("{} ", all.hostile.namespace))), "{theirs:#?}");
    assert!(!theirs.is_empty(), "those that do no harm are deployed: {list}");
    let peaceful: Vec<_> = (0..all.peaceful.len()).map(|tenant| all.daemon.view(&asked(tenant))).collect();
    assert!(peaceful.iter().all(|view| view["state"] == "settled"), "{peaceful:#?}");
    assert!(all.memory() <= MOST_MEMORY, "{told}");
}

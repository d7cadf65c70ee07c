//! Who may write in one project can fill it with what hks follows, and harms nobody else. The project is in a vCluster of its own:
//! the API server of the kit's has other tests to serve.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::own::Own;
use support::process::{status_kib, ticks};
use support::{World, kit, request, until, worker};
use tokio::runtime::Runtime;

/// How long an object is changed.
const PATCHING: Duration = Duration::from_secs(20);

/// A project of somebody who means harm, with a Stack, and beside it one of somebody else with another.
struct Neighbours {
    hostile: World,
    peaceful: World,
    runtime: Runtime,
    deployments: Api<Deployment>,
    /// Commits of the peaceful one.
    commits: u32,
    _own: Own,
}

impl Neighbours {
    fn new(title: &str, settings: &str) -> Self {
        let own = Own::new(title);
        own.install("");
        own.make_project();
        let (mut hostile, peaceful) = (World::new(&format!("{title}-a")), World::new(&format!("{title}-b")));
        let target = format!("{{vcluster: {{name: {}, namespace: {}}}}}", own.name, own.namespace);
        hostile.elsewhere = Some((target, "shop".into()));
        hostile.settings = settings.into();
        let sha = hostile.push_stack(&worker("one", "1", "sleep 3600", ""));
        let config = hostile.local_config("daemon");
        let target = kit().vcluster.as_ref().map(|name| format!("    target: {{vcluster: {{name: {name}}}}}\n"));
        let second = format!(
            "  other:\n    namespace: {}\n{}    git: {{url: {}, branch: main}}\n",
            peaceful.namespace,
            target.unwrap_or_default(),
            peaceful.remote().display()
        );
        std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &second).unwrap();
        let (runtime, client) = own.client();
        let deployments = Api::namespaced(client, "shop");
        peaceful.push_stack(&worker("two", "1", "sleep 3600", ""));
        hostile.start_with(&config);
        let mut all = Self { hostile, peaceful, runtime, deployments, commits: 0, _own: own };
        all.hostile.settled("one", &sha);
        all.peace();
        all
    }

    /// The peaceful one deploys.
    fn peace(&mut self) {
        self.commits += 1;
        let sha = self.peaceful.push_stack(&worker("two", "1", &format!("sleep {}", 3600 + self.commits), ""));
        self.hostile.settled("two", &sha);
    }

    fn stack(&self, seconds: u32) -> String {
        self.hostile.push_stack(&worker("one", "1", &format!("sleep {seconds}"), ""))
    }

    /// Makes Deployments without pods that have much text and the labels of hks.
    fn fill(&self, stack: &str, count: usize, length: usize) {
        for number in 0..count {
            let object = serde_json::from_value(large(stack, number, length)).unwrap();
            // a small API server is away now and then, with that much
            let made = || match self.runtime.block_on(self.deployments.create(&PostParams::default(), &object)) {
                Ok(_) => true,
                Err(error) => error.to_string().contains("already exists"),
            };
            assert!(until(120, made), "{stack} {number}");
        }
    }

    fn clear(&self, stack: &str, count: usize) {
        for number in 0..count {
            let name = format!("large-{stack}-{number}");
            let gone = || match self.runtime.block_on(self.deployments.delete(&name, &DeleteParams::default())) {
                Ok(_) => true,
                Err(error) => error.to_string().contains("not found"),
            };
            assert!(until(120, gone), "{name}");
        }
    }

    /// A Secret that takes a hundred times its text in memory, in a namespace of the hostile vCluster.
    fn many_keys(&self, namespace: &str) -> Api<Secret> {
        let client = self.deployments.clone().into_client();
        let secrets = Api::namespaced(client.clone(), namespace);
        let labels = json!({ "app.kubernetes.io/managed-by": "hks", "hks.hexabase.ai/stack": "nobody" });
        let keys: serde_json::Map<_, _> = (0..40_000).map(|key| (format!("{key:x}"), "".into())).collect();
        let secret = json!({ "metadata": { "name": "keys", "labels": labels }, "data": keys });
        let space = json!({ "metadata": { "name": namespace } });
        self.runtime.block_on(async {
            let spaces: Api<Namespace> = Api::all(client);
            let _is_there = spaces.create(&PostParams::default(), &serde_json::from_value(space).unwrap()).await;
            // that is how hks reads, too
            let made = secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await;
            assert!(made.unwrap_err().to_string().contains("more than 65536 values"));
            secrets.get_metadata("keys").await.unwrap_err();
        });
        secrets
    }

    fn command(&self) -> String {
        let deployment = self.runtime.block_on(self.deployments.get("one-job")).unwrap();
        serde_json::to_string(&deployment.spec.unwrap().template.spec.unwrap().containers[0].command).unwrap()
    }

    fn told(&self, words: &str) -> Value {
        let says = |view: &Value| {
            view["state"] == "unreachable" && view["activity"].as_str().is_some_and(|text| text.contains(words))
        };
        self.hostile.wait("one", words, 60, says)
    }

    /// Kilobytes of the daemon's own memory.
    fn memory(&self, field: &str) -> u64 {
        status_kib(self.hostile.pid(), field)
    }

    /// Hundredths of a second of computing that the daemon has taken.
    fn ticks(&self) -> u64 {
        ticks(self.hostile.pid())
    }

    /// Changes an object as fast as that goes; tells the changes and the daemon's computing, in percent of a core.
    fn patched(&self, name: &str) -> (u32, u64) {
        let (before, since) = (self.ticks(), Instant::now());
        let mut changes = 0;
        self.runtime.block_on(async {
            while since.elapsed() < PATCHING {
                let patch = json!({ "metadata": { "annotations": { "example.com/n": changes.to_string() } } });
                self.deployments.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
                changes += 1;
            }
        });
        (changes, (self.ticks() - before) / PATCHING.as_secs())
    }
}

fn large(stack: &str, number: usize, length: usize) -> Value {
    let labels = json!({ "app.kubernetes.io/managed-by": "hks", "hks.hexabase.ai/stack": stack });
    let env = json!([{ "name": "A", "value": "x".repeat(length) }]);
    let template = json!({
        "metadata": { "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c", "image": "none", "env": env }] },
    });
    json!({
        "metadata": { "name": format!("large-{stack}-{number}"), "labels": labels },
        "spec": { "replicas": 0, "selector": { "matchLabels": { "a": "b" } }, "template": template },
    })
}

#[test]
fn large_objects_of_one_project_harm_no_other() {
    // what the Stacks of this test have fits in it many times
    let mut all = Neighbours::new("budget", "projectBudget: {objects: 1000, mebibytes: 1}\n");
    let before = all.memory("VmRSS");
    // of nobody: they are only counted
    all.fill("nobody", 40, 800_000);
    all.peace();
    let sha = all.stack(3601);
    all.hostile.settled("one", &sha);
    println!("{before} KiB, with 40 of 800 KB {}, at most {}", all.memory("VmRSS"), all.memory("VmHWM"));
    all.clear("nobody", 40);
    // of the Stack: it says so, and nothing is touched
    all.fill("one", 1, 800_000);
    let view = all.told("make it smaller or delete it");
    let text = view["activity"].as_str().unwrap();
    assert!(text.starts_with("Deployment/large-one-0 has 78"), "{text}");
    all.clear("one", 1);
    all.hostile.settled("one", &sha);
    // of the Stack, each small enough, together too much
    all.fill("one", 5, 300_000);
    all.told("followed at most");
    let metrics = request("GET", &format!("http://{}/metrics", all.hostile.address), &[], "").1;
    assert!(metrics.contains("hks_over_budget{source=\"main\",stack=\"one\"} 1"), "{metrics}");
    assert!(metrics.contains("hks_over_budget{source=\"other\",stack=\"two\"} 0"), "{metrics}");
    let later = all.stack(3602);
    all.peace();
    assert!(all.command().contains("3601"), "nothing is touched: {}", all.command());
    let peak = all.memory("VmHWM");
    println!("at most {peak} KiB");
    assert!(peak < before + (64 << 10), "{before} KiB before, {peak} KiB at most");
    // a daemon that starts with it sees the same
    let config = all.hostile.folder.path().join("daemon/config.yaml");
    all.hostile.stop();
    all.hostile.start_with(&config);
    all.told("followed at most");
    all.peace();
    println!("after a start {} KiB, at most {}", all.memory("VmRSS"), all.memory("VmHWM"));
    all.clear("one", 5);
    all.hostile.settled("one", &later);
    assert!(all.command().contains("3602"));
    // in another project of the same cluster, and then in this one
    all.many_keys("elsewhere");
    let sha = all.stack(3603);
    all.hostile.settled("one", &sha);
    let secrets = all.many_keys("shop");
    all.told("an object has more than 65536 values");
    all.peace();
    all.runtime.block_on(secrets.delete("keys", &DeleteParams::default())).unwrap();
    let sha = all.stack(3604);
    all.hostile.settled("one", &sha);
    println!("with many keys at most {}", all.memory("VmHWM"));
}

/// What changes all the time is followed later, by the part of a core that was given for it, and others as before. Without that part it
/// takes a sixth of a core.
#[test]
fn a_cluster_that_changes_all_the_time_takes_no_more_than_its_share() {
    let mut all = Neighbours::new("share", "clusterBudget: {millicores: 20}\n");
    all.fill("nobody", 1, 100_000);
    let (changes, percent) = all.patched("large-nobody-0");
    println!("{changes} changes of 100 KB: {percent} % of a core");
    all.peace();
    // a machine that is busy with others makes few changes
    let is_told = || all.hostile.log().contains("clusterBudget.millicores");
    assert!(is_told() || (0..5).any(|_| all.patched("large-nobody-0").0 > 0 && is_told()), "it is not told");
    assert!(percent <= 10, "{percent} %");
}

#[test]
fn who_changes_an_object_all_the_time_takes_a_part_of_a_core() {
    let mut all = Neighbours::new("busy", "");
    all.fill("nobody", 1, 10);
    let (changes, percent) = all.patched("large-nobody-0");
    println!("{changes} changes of what is nobody's: {percent} % of a core");
    let (changes, own) = all.patched("one-job");
    println!("{changes} changes of a Stack's: {own} % of a core");
    assert!(percent <= 25 && own <= 40, "{percent} % and {own} %");
    assert_eq!(all.hostile.view("one")["state"], "settled");
    all.peace();
}

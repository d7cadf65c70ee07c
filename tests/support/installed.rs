//! hks installed by its chart, with a source at the kit's forge for a project of the vCluster and one for a project of the host cluster.

use super::forge::{Encrypted, Repository};
use super::kit::{Forge, kit, on_host};
use super::release::{Release, image};
use super::{World, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Token of a reader of the endpoint that is let in from the beginning, and of one that is not.
const FIRST: &str = "the-first-reader-of-all";
pub const SECOND: &str = "the-second-reader-of-all";

/// An installation that deploys `inner/` to a project of the vCluster and `outer/` to one of the host cluster.
pub struct Installed {
    /// The release, and the project of the host cluster.
    pub release: Release,
    /// The project of the vCluster, and the developer's folder.
    pub world: World,
    /// What is pushed to and followed.
    pub repository: Repository,
    /// Of the chart.
    pub values: Value,
    _encrypted: Encrypted,
}

impl Installed {
    /// All that it needs; it is not installed yet.
    pub fn new(forge: &'static Forge) -> Self {
        let kit = kit();
        let (release, world) = (Release::new("chart"), World::new("chart"));
        let repository = Repository::new(forge, &world.namespace);
        world.git(&world.work(), &["remote", "set-url", "origin", &repository.remote()]);
        let encrypted = Encrypted::new(forge, release.folder.path());
        let literal = |key: &str, value: &str| format!("--from-literal={key}={value}");
        release.kubectl(&[
            "create",
            "secret",
            "generic",
            "credentials",
            &literal("token", &repository.token()),
            &literal("password", &repository.password()),
            &literal("first", FIRST),
            &literal("second", SECOND),
        ]);
        let (_, authority) = kit.tls.as_ref().unwrap();
        let authority = format!("--from-file=ca-certificates.crt={}", authority.display());
        release.kubectl(&["create", "configmap", "authorities", &authority]);
        let secret = |key: &str| json!({ "secret": format!("{}/credentials/{key}", release.name) });
        let git = |folder: &str| {
            json!({
                "url": format!("{}/{}.git", encrypted.url, repository.path), "path": format!("{folder}/hks.yaml"),
                "username": forge.user, "password": secret("password"), "poll": "2s",
            })
        };
        let values = json!({
            "image": { "repository": format!("{}/hks", kit.registry), "digest": image() },
            "caConfigMap": "authorities",
            "config": {
                "cluster": "e2e", "domain": kit.domain, "probeUrls": false,
                "images": { "postgres": format!("{}/postgres:{{version}}", kit.registry) },
                "access": { "tokens": { "first": { "token": secret("first"), "sources": ["*"] } } },
                "sources": {
                    "inner": {
                        "git": git("inner"), "namespace": world.namespace, "target": { "vcluster": { "name": kit.vcluster } },
                        "forge": {
                            "kind": "gitea", "apiUrl": format!("{}/api/v1", encrypted.url),
                            "repository": repository.path, "token": secret("token"),
                        },
                    },
                    "outer": { "git": git("outer"), "namespace": release.project },
                },
            },
        });
        Self { release, world, repository, values, _encrypted: encrypted }
    }

    /// Installs it, or gives it what `values` are by now.
    pub fn upgrade(&self) {
        let file = self.release.file("values.yaml", &self.values.to_string());
        let name = &self.release.name;
        let file = format!("--values={}", file.display());
        self.release.helm(&["upgrade", "--install", name, "charts/hks", &file, "--wait", "--timeout=4m"]);
    }

    /// Waits until a Stack is as wanted.
    pub fn wait(&self, stack: &str, state: &str, sha: &str) -> Value {
        let mut last = Value::Null;
        let met = until(180, || {
            last = self.release.get(&format!("/api/v1/stacks/{stack}"), FIRST).1;
            last["state"] == state && last["desiredRevision"] == sha
        });
        assert!(met, "{stack} is not {state} at {sha}: {last:#}");
        last
    }

    /// Runs kubectl in the project of the host cluster.
    pub fn in_project(&self, args: &[&str]) -> String {
        on_host(&[&["-n", self.release.project.as_str()], args].concat())
    }

    /// Pushes a file for each of both sources.
    pub fn push(&self, inner: &str, outer: &str) -> String {
        self.world.write("inner/hks.yaml", inner);
        self.world.write("outer/hks.yaml", outer);
        self.world.push("change both")
    }

    /// What is there of the release besides what the test has made: in its namespace, and by label everywhere else.
    pub fn left(&self) -> Vec<String> {
        let own = "all,configmap,secret,serviceaccount,role,rolebinding,networkpolicy,ingress,lease,pvc";
        let everywhere = format!("{own},clusterrole,clusterrolebinding");
        let label = format!("app.kubernetes.io/instance={}", self.release.name);
        let here = self.release.kubectl(&["get", own, "-o", "name"]);
        let there = on_host(&["get", &everywhere, "-A", "-l", &label, "-o", "name"]);
        let of_others =
            ["secret/credentials", "configmap/authorities", "configmap/kube-root-ca.crt", "serviceaccount/default"];
        let all: BTreeSet<_> = here.lines().chain(there.lines()).filter(|name| !of_others.contains(name)).collect();
        all.into_iter().map(str::to_owned).collect()
    }
}

//! hks as the chart installs it: the program under test as an image, in a namespace of its own of the kit's host cluster.

use super::helm::helm;
use super::kit::{kit, on_host, try_on_host};
use super::own::text;
use super::{request, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Label of the namespaces that these tests make, with the id of their process.
const LABEL: &str = "hks-test-release";
/// Whose each of them is.
const OWNERS: &str =
    "go-template={{range .items}}{{.metadata.name}} {{index .metadata.labels \"hks-test-release\"}}{{\"\\n\"}}{{end}}";

/// A release, and a project beside it.
pub struct Release {
    /// Its name and its namespace, where Pod Security enforces `restricted`.
    pub name: String,
    /// A namespace of the host cluster that it may deploy to.
    pub project: String,
    /// Files of the test.
    pub folder: tempfile::TempDir,
}

impl Release {
    /// The namespaces; what runs that were killed have left goes.
    pub fn new(title: &str) -> Self {
        let pid = std::process::id();
        let folder = tempfile::tempdir().unwrap();
        let left = on_host(&["get", "namespaces", "-l", LABEL, "-o", OWNERS]);
        for (name, of) in left.lines().filter_map(|line| line.split_once(' ')) {
            if !Path::new(&format!("/proc/{of}")).exists() {
                remove(folder.path(), name);
            }
        }
        let new = Self { name: format!("{title}-hks-{pid}"), project: format!("{title}-project-{pid}"), folder };
        for name in [&new.name, &new.project] {
            on_host(&["create", "namespace", name]);
            on_host(&["label", "namespace", name, &format!("{LABEL}={pid}")]);
        }
        on_host(&["label", "namespace", &new.name, "pod-security.kubernetes.io/enforce=restricted"]);
        new
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs Helm in its namespace, which must work.
    pub fn helm(&self, args: &[&str]) -> String {
        let output = helm_in(self.folder.path(), &self.name, args);
        assert!(output.status.success(), "helm {args:?}: {}\n{}", text(&output), self.pods());
        text(&output)
    }

    /// Runs kubectl in its namespace.
    pub fn kubectl(&self, args: &[&str]) -> String {
        on_host(&[&["-n", self.name.as_str()], args].concat())
    }

    /// What its pods are up to, for a person.
    fn pods(&self) -> String {
        let log = try_on_host(&["-n", &self.name, "logs", "-l", "app.kubernetes.io/name=hks", "--tail=40"]);
        let pods = try_on_host(&["-n", &self.name, "describe", "pods"]);
        format!("{}\n{}", text(&pods), text(&log))
    }

    /// Its pod: the id, and how often it was started again.
    pub fn pod(&self) -> String {
        let one = "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[0].restartCount}";
        self.kubectl(&["get", "pods", "-l", "app.kubernetes.io/name=hks", "-o", one])
    }

    /// The pod of the daemon that leads, which is one at most.
    pub fn leader(&self) -> String {
        let label = format!("hks.hexabase.ai/leads={}", self.name);
        let mut pods = String::new();
        let is_one = || {
            pods = self.kubectl(&["get", "pods", "-l", &label, "-o", "jsonpath={.items[*].metadata.name}"]);
            !pods.is_empty() && !pods.contains(' ')
        };
        assert!(until(60, is_one), "{pods:?}");
        pods
    }

    /// What its daemon has logged.
    pub fn log(&self) -> String {
        self.kubectl(&["logs", &format!("deployment/{}", self.name)])
    }

    /// The key that seals records.
    pub fn seal(&self) -> String {
        let key = self.kubectl(&["get", "secret", &format!("{}-seal", self.name), "-o", "jsonpath={.data.key}"]);
        assert!(!key.is_empty());
        key
    }

    /// Asks its endpoint, as others than the kubelet reach it, with a token.
    pub fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let address = self.kubectl(&["get", "service", &self.name, "-o", "jsonpath={.spec.clusterIP}"]);
        let bearer = format!("Bearer {token}");
        let (status, text) = request("GET", &format!("http://{address}{path}"), &[("authorization", &bearer)], "");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

/// An image of the program under test at the kit's registry; tells its digest.
pub fn image() -> String {
    let made = Command::new("charts/hks-image")
        .arg(format!("{}/hks:test", kit().registry))
        .env("HKS_PROGRAM", env!("CARGO_BIN_EXE_hks"))
        .output()
        .unwrap();
    let told = text(&made);
    assert!(made.status.success(), "{told}");
    let (_, digest) = told.rsplit_once('@').unwrap();
    digest.split(' ').next().unwrap().to_owned()
}

fn helm_in(folder: &Path, namespace: &str, args: &[&str]) -> Output {
    let mut helm = helm(folder).expect("the kit's cluster");
    helm.arg("--kubeconfig").arg(&kit().kubeconfig).args(["--namespace", namespace]).args(args).output().unwrap()
}

/// Takes a namespace away, and what a release of its name has elsewhere.
fn remove(folder: &Path, namespace: &str) {
    helm_in(folder, namespace, &["uninstall", namespace, "--ignore-not-found"]);
    try_on_host(&["delete", "namespace", namespace, "--wait=false"]);
}

impl Drop for Release {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.name, self.pods());
        }
        for name in [&self.name, &self.project] {
            remove(self.folder.path(), name);
        }
    }
}

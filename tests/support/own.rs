//! A vCluster of a test's own: installed with the kit's chart and images, and thrown away with its test.

use super::helm::{helm, variable};
use super::kit::{kit, on_host};
use super::until;
use hks::shell::cluster::connection::Cluster;
use hks::shell::cluster::target::{Host, VCluster};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tokio::runtime::Runtime;

/// Label of the host's namespaces that these tests make, with the id of their process.
const LABEL: &str = "hks-test-vcluster";
/// Whose each of them is.
const OWNERS: &str =
    "go-template={{range .items}}{{.metadata.name}} {{index .metadata.labels \"hks-test-vcluster\"}}{{\"\\n\"}}{{end}}";

/// A vCluster in a namespace of its own.
pub struct Own {
    /// Its name.
    pub name: String,
    /// The namespace of the host that it is in.
    pub namespace: String,
    folder: tempfile::TempDir,
}

/// What a command has printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Own {
    /// A namespace for it; those of runs that were killed go.
    pub fn new(title: &str) -> Self {
        let pid = std::process::id();
        let left = on_host(&["get", "namespaces", "-l", LABEL, "-o", OWNERS]);
        for (name, of) in left.lines().filter_map(|line| line.split_once(' ')) {
            if !Path::new(&format!("/proc/{of}")).exists() {
                on_host(&["delete", "namespace", name, "--wait=false"]);
            }
        }
        let (name, namespace) = (format!("{title}-{pid}"), format!("vcluster-{title}-{pid}"));
        on_host(&["create", "namespace", &namespace]);
        on_host(&["label", "namespace", &namespace, &format!("{LABEL}={pid}")]);
        Self { name, namespace, folder: tempfile::tempdir().unwrap() }
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Installs it, or gives it other values. The images are the kit's, and nothing else is set besides `values`.
    pub fn install(&self, values: &str) {
        let settings = std::fs::read_to_string(variable("HKS_KIT_VCLUSTER_VALUES")).unwrap();
        let settings: Value = serde_saphyr::from_str(&settings).unwrap();
        let pods = &settings["sync"]["toHost"]["pods"];
        let images = json!({ "controlPlane": settings["controlPlane"], "sync": { "toHost": { "pods": pods } }, "telemetry": { "enabled": false } });
        let (images, values) = (self.file("images.yaml", &images.to_string()), self.file("values.yaml", values));
        let chart = variable("HKS_KIT_VCLUSTER_CHART");
        let output = helm(self.folder.path())
            .expect("the kit's cluster")
            .args(["upgrade", "--install", &self.name, &chart, "--namespace", &self.namespace])
            .arg("--kubeconfig")
            .arg(&kit().kubeconfig)
            .arg("--values")
            .arg(&images)
            .arg("--values")
            .arg(&values)
            .args(["--wait", "--timeout", "4m"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        // what is ready is not served at once by its Service
        let (runtime, client) = self.client();
        let spaces: Api<Namespace> = Api::all(client);
        let served = || runtime.block_on(spaces.get("default")).is_ok();
        assert!(until(120, served), "the vCluster does not answer");
    }

    /// Runs hks for the project `shop` in it.
    pub fn hks(&self, args: &[&str]) -> Output {
        let kit = kit();
        Command::new(env!("CARGO_BIN_EXE_hks"))
            .args(args)
            .env("HKS_KUBECONFIG", &kit.kubeconfig)
            .env("HKS_VCLUSTER", &self.name)
            .env("HKS_VCLUSTER_NAMESPACE", &self.namespace)
            .env("HKS_NAMESPACE", "shop")
            .env("HKS_DOMAIN", &kit.domain)
            .env("HKS_POSTGRES_IMAGE", format!("{}/postgres:{{version}}", kit.registry))
            .output()
            .unwrap()
    }

    /// A client of it, and what that runs on.
    pub fn client(&self) -> (Runtime, kube::Client) {
        let cluster = Cluster {
            host: Host { kubeconfig: Some(kit().kubeconfig.clone()), ..Host::default() },
            vcluster: Some(VCluster { name: self.name.clone(), namespace: self.namespace.clone() }),
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(cluster.connect()).unwrap();
        (runtime, client)
    }

    /// Makes the project as an administrator of the vCluster does.
    pub fn make_project(&self) {
        let (runtime, client) = self.client();
        let spaces: Api<Namespace> = Api::all(client);
        let shop = serde_json::from_value(json!({ "metadata": { "name": "shop" } })).unwrap();
        runtime.block_on(spaces.create(&PostParams::default(), &shop)).unwrap();
    }

    /// What its control plane keeps, on this machine.
    fn store(&self) -> PathBuf {
        let claim = format!("data-{}-0", self.name);
        let volume = on_host(&["-n", &self.namespace, "get", "pvc", &claim, "-o", "jsonpath={.spec.volumeName}"]);
        PathBuf::from(on_host(&["get", "pv", &volume, "-o", "jsonpath={.spec.hostPath.path}{.spec.local.path}"]))
    }

    /// Stops its control plane, does something with its store, and starts it again.
    fn apart(&self, what: impl FnOnce(&Path)) {
        let set = format!("statefulset/{}", self.name);
        let scale = |replicas: &str| on_host(&["-n", &self.namespace, "scale", &set, replicas]);
        let pod = format!("{}-0", self.name);
        let pods = || on_host(&["-n", &self.namespace, "get", "pods", &pod, "--ignore-not-found", "-o", "name"]);
        scale("--replicas=0");
        assert!(until(120, || pods().is_empty()), "the control plane does not stop");
        what(&self.store());
        scale("--replicas=1");
        on_host(&["-n", &self.namespace, "rollout", "status", &set, "--timeout=240s"]);
    }

    /// Copies its store.
    pub fn back_up(&self) {
        let copy = self.folder.path().join("store");
        self.apart(|store| run("cp", &["-a", store.to_str().unwrap(), copy.to_str().unwrap()]));
    }

    /// Puts the copy in place of its store.
    pub fn restore(&self) {
        let copy = self.folder.path().join("store");
        self.apart(|store| {
            run("find", &[store.to_str().unwrap(), "-mindepth", "1", "-delete"]);
            run("cp", &["-a", copy.join(".").to_str().unwrap(), store.to_str().unwrap()]);
        });
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output));
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Command::new(&kit().kubectl)
            .arg("--kubeconfig")
            .arg(&kit().kubeconfig)
            .args(["delete", "namespace", &self.namespace, "--wait=false"])
            .output();
    }
}

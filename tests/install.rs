//! The chapter about a default vCluster in docs/doctor.md, followed word for word on one that is made for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};
use support::{kit, sample, until};

/// Label of the host's namespaces that these tests make, with the id of their process.
const LABEL: &str = "hks-test-vcluster";

/// A vCluster in a namespace of its own.
struct Own {
    name: String,
    namespace: String,
    folder: tempfile::TempDir,
}

/// Something that the kit tells of itself.
fn variable(name: &str) -> String {
    let env = Command::new("bash").args(["tests/cluster/cluster", "env"]).output().unwrap().stdout;
    let env = String::from_utf8(env).unwrap();
    let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {name}="))).unwrap();
    line.trim_matches(['"', '\'']).to_owned()
}

fn on_the_host(args: &[&str]) -> String {
    let kit = kit();
    let output = Command::new(&kit.kubectl).arg("--kubeconfig").arg(&kit.kubeconfig).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Own {
    fn new() -> Self {
        let pid = std::process::id();
        let left = on_the_host(&[
            "get",
            "namespaces",
            "-l",
            LABEL,
            "-o",
            "go-template={{range .items}}{{.metadata.name}} {{index .metadata.labels \"hks-test-vcluster\"}}{{\"\\n\"}}{{end}}",
        ]);
        for (name, of) in left.lines().filter_map(|line| line.split_once(' ')) {
            if !std::path::Path::new(&format!("/proc/{of}")).exists() {
                on_the_host(&["delete", "namespace", name, "--wait=false"]);
            }
        }
        let (name, namespace) = (format!("plain-{pid}"), format!("vcluster-plain-{pid}"));
        on_the_host(&["create", "namespace", &namespace]);
        on_the_host(&["label", "namespace", &namespace, &format!("{LABEL}={pid}")]);
        Self { name, namespace, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Installs it, or gives it other values. The images are the kit's, and nothing else is set besides `values`.
    fn install(&self, values: &str) {
        let kit = std::fs::read_to_string(variable("HKS_KIT_VCLUSTER_VALUES")).unwrap();
        let kit: Value = serde_saphyr::from_str(&kit).unwrap();
        let pods = &kit["sync"]["toHost"]["pods"];
        let images = json!({ "controlPlane": kit["controlPlane"], "sync": { "toHost": { "pods": pods } }, "telemetry": { "enabled": false } });
        let (images, values) = (self.file("images.yaml", &images.to_string()), self.file("values.yaml", values));
        let home = self.folder.path().join("helm");
        let output = Command::new(variable("HKS_KIT_HELM"))
            .env("HELM_CACHE_HOME", &home)
            .env("HELM_CONFIG_HOME", &home)
            .env("HELM_DATA_HOME", &home)
            .args([
                "upgrade",
                "--install",
                &self.name,
                &variable("HKS_KIT_VCLUSTER_CHART"),
                "--namespace",
                &self.namespace,
            ])
            .arg("--kubeconfig")
            .arg(&support::kit().kubeconfig)
            .arg("--values")
            .arg(&images)
            .arg("--values")
            .arg(&values)
            .args(["--wait", "--timeout", "4m"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }

    fn hks(&self, args: &[&str]) -> Output {
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

    /// Makes the project as an administrator of the vCluster does.
    fn make_project(&self) {
        let place = hks::shell::cluster::connection::Place {
            host: hks::shell::cluster::target::Host {
                kubeconfig: Some(kit().kubeconfig.clone()),
                ..hks::shell::cluster::target::Host::default()
            },
            vcluster: Some(hks::shell::cluster::target::VCluster {
                name: self.name.clone(),
                namespace: self.namespace.clone(),
            }),
            namespace: "shop".into(),
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let client = place.connect().await.unwrap();
            let spaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(client);
            let shop = serde_json::from_value(json!({ "metadata": { "name": "shop" } })).unwrap();
            spaces.create(&kube::api::PostParams::default(), &shop).await.unwrap();
        });
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        on_the_host(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

/// The values that the chapter gives.
fn chapter() -> String {
    let page = std::fs::read_to_string("docs/doctor.md").unwrap();
    let (_, chapter) = page.split_once("## A default vCluster").unwrap();
    let (_, rest) = chapter.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn a_default_vcluster_lacks_what_the_chapter_gives_it() {
    if kit().vcluster.is_none() {
        // the cluster is somebody's own: no vCluster is made there
        return;
    }
    let own = Own::new();
    own.install("");
    let absent = own.hks(&["doctor"]);
    assert!(text(&absent).contains("kubectl create namespace shop"), "{}", text(&absent));
    own.make_project();
    let before = text(&own.hks(&["doctor"]));
    for lacking in ["ingresses", "networkPolicies", "podDisruptionBudgets", "storageClasses", "metricsServer"] {
        assert!(before.contains(&format!("{lacking}.enabled: true")), "{lacking}: {before}");
    }
    own.install(&chapter());
    let mut after = String::new();
    let well = until(90, || {
        let seen = own.hks(&["doctor"]);
        after = text(&seen);
        seen.status.success() && !after.contains("vcluster.yaml") && after.contains("what pods use is measured")
    });
    assert!(well, "{after}");
    let file = own.file("hks.yaml", &sample("one", "1.0.0"));
    let applied = own.hks(&["apply", file.to_str().unwrap()]);
    assert!(applied.status.success(), "{}", text(&applied));
    assert!(text(&applied).contains("http://one-shop."), "{}", text(&applied));
}

//! The cluster of the tests: the kit's (`tests/cluster`), brought up if need be, or the one that `HKS_TEST_KUBECONFIG` names.

use hks::shell::cluster::connection::Cluster;
use hks::shell::cluster::target::{Host, VCluster};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// How the cluster is reached.
pub struct Kit {
    /// Kubeconfig that the daemon gets: the host's of a vCluster, or the cluster's own.
    pub kubeconfig: PathBuf,
    /// Kubeconfig of the cluster that Stacks are deployed to.
    pub inner: PathBuf,
    /// The vCluster.
    pub vcluster: Option<String>,
    /// kubectl.
    pub kubectl: String,
    /// Registry with the test images.
    pub registry: String,
    /// Domain of public URLs.
    pub domain: String,
    /// Domain of public URLs by HTTPS, and the authority that its certificates are of.
    pub tls: Option<(String, PathBuf)>,
    /// A Gateway with the listeners `web` and `websecure`, as projects see it.
    pub gateway: Option<String>,
    /// The forge, its user and the file with its token and password.
    pub forge: Option<Forge>,
}

/// A real forge.
pub struct Forge {
    pub url: String,
    pub user: String,
    pub token: PathBuf,
    pub password: PathBuf,
}

/// The cluster; the first call brings it up.
pub fn kit() -> &'static Kit {
    static KIT: OnceLock<Kit> = OnceLock::new();
    KIT.get_or_init(|| {
        let kit = find_kit();
        sweep(&kit);
        kit
    })
}

fn find_kit() -> Kit {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(own) = variable("HKS_TEST_KUBECONFIG") {
        return Kit {
            kubeconfig: own.clone().into(),
            inner: own.into(),
            vcluster: None,
            kubectl: variable("HKS_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into()),
            registry: variable("HKS_TEST_REGISTRY").unwrap_or_else(|| "127.0.0.1:5000".into()),
            domain: variable("HKS_TEST_DOMAIN").unwrap_or_else(|| "apps.localhost:18080".into()),
            tls: None,
            gateway: None,
            forge: None,
        };
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster");
    // tests/cluster/test has done so for all files
    if variable("HKS_TEST_CLUSTER_UP").is_none() {
        let up = Command::new("bash").arg(&script).arg("up").status().expect("bash runs");
        assert!(up.success(), "the test cluster did not come up; see above, or set HKS_TEST_KUBECONFIG");
    }
    let env = Command::new("bash").arg(&script).arg("env").output().expect("bash runs").stdout;
    let env = String::from_utf8(env).expect("text");
    let read = |name: &str| {
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
        line.unwrap_or_else(|| panic!("cluster env prints no {name}")).trim_matches(['"', '\'']).to_owned()
    };
    Kit {
        kubeconfig: read("HKS_KIT_KUBECONFIG").into(),
        inner: read("HKS_KIT_VCLUSTER_KUBECONFIG").into(),
        vcluster: Some(read("HKS_KIT_VCLUSTER")),
        kubectl: read("HKS_KIT_KUBECTL"),
        registry: read("HKS_KIT_REGISTRY"),
        domain: read("HKS_KIT_DOMAIN"),
        tls: Some((read("HKS_KIT_TLS_DOMAIN"), read("HKS_KIT_CA").into())),
        gateway: Some(read("HKS_KIT_GATEWAY")),
        forge: Some(Forge {
            url: read("HKS_KIT_FORGE_URL"),
            user: read("HKS_KIT_FORGE_USER"),
            token: read("HKS_KIT_FORGE_TOKEN_FILE").into(),
            password: read("HKS_KIT_FORGE_PASSWORD_FILE").into(),
        }),
    }
}

/// Takes away what killed runs left: projects whose test process is gone.
fn sweep(kit: &Kit) {
    let args = [
        "get",
        "namespaces",
        "-l",
        "hks-test",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.metadata.labels.hks-test}{'\\n'}{end}",
    ];
    let list = kubectl_on(kit, &args);
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let Some((name, pid)) = line.split_once(' ') else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            kubectl_on(kit, &["delete", "namespace", name, "--wait=false"]);
            free_hosts(kit, name);
        }
    }
}

/// Takes away the claims of a project that is gone.
pub fn give_up_hosts(namespace: &str) {
    free_hosts(kit(), namespace);
}

fn free_hosts(kit: &Kit, namespace: &str) {
    let of = format!("hks.hexabase.ai/claim=host,hks.hexabase.ai/project={namespace}");
    let _ = Command::new(&kit.kubectl)
        .arg("--kubeconfig")
        .arg(&kit.kubeconfig)
        .args(["delete", "leases", "-A", "--wait=false", "-l", &of])
        .output();
}

pub(super) fn kubectl_on(kit: &Kit, args: &[&str]) -> Output {
    Command::new(&kit.kubectl).arg("--kubeconfig").arg(&kit.inner).args(args).output().expect("kubectl runs")
}

/// Runs kubectl on the host cluster.
pub fn on_host(args: &[&str]) -> String {
    let output = try_on_host(args);
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs kubectl on the host cluster; it may fail.
pub fn try_on_host(args: &[&str]) -> Output {
    let kit = kit();
    Command::new(&kit.kubectl).arg("--kubeconfig").arg(&kit.kubeconfig).args(args).output().expect("kubectl runs")
}

/// A client of the cluster that Stacks are deployed to, and what it runs on.
pub fn client() -> (tokio::runtime::Runtime, kube::Client) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kit = kit();
    let cluster = Cluster {
        host: Host { kubeconfig: Some(kit.kubeconfig.clone()), ..Host::default() },
        vcluster: kit
            .vcluster
            .as_ref()
            .map(|name| VCluster { name: name.clone(), namespace: format!("vcluster-{name}") }),
    };
    let client = runtime.block_on(cluster.connect()).unwrap();
    (runtime, client)
}

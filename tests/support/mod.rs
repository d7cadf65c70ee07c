//! A world for one cluster test: a project of its own on the real cluster, a real git repository, a real daemon.
//!
//! Each world has its own namespace, folder and port, and takes them away again, also after a failed test; worlds of runs that
//! were killed are taken away by the next run.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc, reason = "tests")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::unused_self, reason = "tests")]

mod ask;
pub mod forge;
pub mod helm;
pub mod installed;
mod kit;
pub mod own;
pub mod process;
pub mod release;
mod run;

pub use ask::{Client, get_json, request};
pub use kit::{Forge, Kit, client, kit, on_host, try_on_host};

use kit::kubectl_on;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// One test's world.
pub struct World {
    /// The project.
    pub namespace: String,
    /// Its folder.
    pub folder: tempfile::TempDir,
    /// The daemon, while it runs.
    daemon: Option<Child>,
    /// Address of its endpoint.
    pub address: String,
    /// The branch that is pushed to and followed.
    pub branch: &'static str,
    /// Further lines of the source in the configuration, indented by four.
    pub extra: String,
    /// Further lines of the configuration.
    pub settings: String,
    /// Further variables of the daemon's environment.
    pub environment: Vec<(&'static str, String)>,
    /// Another place than the kit's: the target, and the namespace there.
    pub elsewhere: Option<(String, String)>,
}

impl World {
    /// An empty project and an empty repository; the daemon is not running yet.
    pub fn new(name: &str) -> Self {
        let kit = kit();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pid = std::process::id();
        let namespace = format!("e2e-{name}-{pid}");
        let world = Self {
            namespace,
            folder: tempfile::tempdir().expect("a folder"),
            daemon: None,
            address: String::new(),
            branch: "main",
            extra: String::new(),
            settings: String::new(),
            environment: vec![],
            elsewhere: None,
        };
        let made = kubectl_on(kit, &["create", "namespace", &world.namespace]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        kubectl_on(kit, &["label", "namespace", &world.namespace, &format!("hks-test={pid}")]);
        world.git(world.folder.path(), &["init", "--quiet", "--bare", "-b", "main", "remote.git"]);
        world.git(world.folder.path(), &["clone", "--quiet", "remote.git", "work"]);
        world.git(&world.work(), &["checkout", "--quiet", "-b", "main"]);
        world
    }

    /// The work tree of the developer.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The repository that is pushed to.
    pub fn remote(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    /// Runs git.
    pub fn git(&self, folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(folder)
            .args(["-c", "user.name=dev", "-c", "user.email=dev@example.com", "-c", "protocol.file.allow=always"])
            .args(args)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes a file of the repository.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    /// Commits and pushes all; tells the commit.
    pub fn push(&self, message: &str) -> String {
        self.git(&self.work(), &["add", "-A"]);
        self.git(&self.work(), &["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&self.work(), &["push", "--quiet", "--force", "origin", &format!("HEAD:{}", self.branch)]);
        self.git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// Commits and pushes an hks.yaml.
    pub fn push_stack(&self, text: &str) -> String {
        self.write("hks.yaml", text);
        self.push("change hks.yaml")
    }

    /// The target of the configuration.
    pub fn target(&self) -> String {
        match (&self.elsewhere, &kit().vcluster) {
            (Some((target, _)), _) => format!("    target: {target}\n"),
            (None, Some(name)) => format!("    target: {{vcluster: {{name: {name}}}}}\n"),
            (None, None) => String::new(),
        }
    }

    /// The daemon's configuration; `folder` tells apart several daemons of one world.
    pub fn config(&self, folder: &str, git: &str) -> PathBuf {
        let kit = kit();
        let home = self.folder.path().join(folder);
        std::fs::create_dir_all(&home).expect("a folder");
        let text = format!(
            "cluster: test\nlisten: 127.0.0.1:0\ndataDir: {home}/data\ndomain: {domain}\nkubeconfig: {kubeconfig}\n{settings}\
             images: {{postgres: \"{registry}/postgres:{{version}}\", redis: \"{registry}/redis:{{version}}\", pgbouncer: \
             \"{registry}/pgbouncer:1\"}}\nsources:\n  main:\n    namespace: {namespace}\n{target}\
             {extra}    git:\n{git}",
            home = home.display(),
            domain = kit.domain,
            kubeconfig = kit.kubeconfig.display(),
            registry = kit.registry,
            namespace = self.elsewhere.as_ref().map_or(&self.namespace, |(_, namespace)| namespace),
            target = self.target(),
            extra = self.extra,
            settings = self.settings,
        );
        let path = home.join("config.yaml");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The configuration for the world's own repository.
    pub fn local_config(&self, folder: &str) -> PathBuf {
        self.config(folder, &format!("      url: {}\n      branch: {}\n", self.remote().display(), self.branch))
    }

    /// Starts the daemon.
    pub fn start(&mut self) {
        let config = self.local_config("daemon");
        self.start_with(&config);
    }

    /// Starts the daemon with a configuration, and waits until it listens.
    pub fn start_with(&mut self, config: &Path) {
        let (child, address) = spawn(config, &self.log_file(config), &self.environment);
        self.daemon = Some(child);
        self.address = address;
    }

    fn log_file(&self, config: &Path) -> PathBuf {
        config.parent().expect("a folder").join("log")
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon/log")).unwrap_or_default()
    }

    /// Kills the daemon without warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the daemon politely, and waits.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// The process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// Asks the daemon's endpoint; nothing if it does not answer.
    pub fn get(&self, path: &str) -> Option<Value> {
        get_json(&format!("http://{}{path}", self.address))
    }

    /// The view of a Stack.
    pub fn view(&self, stack: &str) -> Value {
        self.get(&format!("/api/v1/stacks/{stack}")).unwrap_or_default()
    }

    /// Waits until the view of a Stack is as wanted.
    pub fn wait(&self, stack: &str, what: &str, seconds: u64, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let met = until(seconds, || {
            last = self.view(stack);
            is(&last)
        });
        assert!(met, "{what}: not so after {seconds} s\nview: {last:#}\nlog:\n{}", tail(&self.log()));
        last
    }

    /// Waits until a commit is in effect.
    pub fn settled(&self, stack: &str, sha: &str) -> Value {
        self.wait(stack, "settled", 120, |view| view["state"] == "settled" && view["appliedRevision"] == sha)
    }

    /// Waits until a commit has failed and everything is back.
    pub fn held(&self, stack: &str, sha: &str) -> Value {
        self.wait(stack, "held", 120, |view| view["state"] == "held" && view["desiredRevision"] == sha)
    }

    /// Runs kubectl in the project.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.try_kubectl(args);
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs kubectl in the project; it may fail.
    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        let mut all = vec!["-n", &self.namespace];
        all.extend(args);
        kubectl_on(kit(), &all)
    }

    /// Copies a folder of the project's examples to the root of the repository.
    pub fn copy_example(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let copied = Command::new("cp").arg("-r").arg(folder.join(".")).arg(self.work()).status().expect("cp runs");
        assert!(copied.success(), "{} can't be copied", folder.display());
    }

    /// Replaces a text in hks.yaml, which must be there, and pushes.
    pub fn push_change(&self, from: &str, to: &str) -> String {
        let text = std::fs::read_to_string(self.work().join("hks.yaml")).expect("hks.yaml");
        assert!(text.contains(from), "hks.yaml has no {from:?}");
        self.push_stack(&text.replace(from, to))
    }

    /// Everything in the project but what Kubernetes puts into each namespace and what hks keeps of its own.
    pub fn objects(&self) -> Vec<String> {
        let routes = if kit().gateway.is_some() { ",httproute" } else { "" };
        let kinds = format!("all,pvc,secret,configmap,ingress,networkpolicy{routes}");
        let list = self.kubectl(&["get", &kinds, "-o", "name"]);
        let own = |line: &&str| {
            *line != "configmap/kube-root-ca.crt"
                && !line.starts_with("configmap/hks-")
                && *line != "configmap/hks.platform"
        };
        list.lines().filter(own).map(str::to_owned).collect()
    }

    /// A URL of the Stack, as shown.
    pub fn url(&self, stack: &str) -> String {
        self.view(stack)["urls"][0].as_str().expect("a public URL").to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- daemon of {}:\n{}", self.namespace, tail(&self.log()));
        }
        kubectl_on(kit(), &["delete", "namespace", &self.namespace, "--wait=false"]);
        kit::give_up_hosts(&self.namespace);
    }
}

/// Starts a daemon and waits until it listens; tells its address.
pub fn spawn(config: &Path, log: &Path, environment: &[(&str, String)]) -> (Child, String) {
    let before = std::fs::read_to_string(log).unwrap_or_default().len();
    let child = launch(config, log, environment);
    let mut address = None;
    let met = until(20, || {
        address = listening(log, before);
        address.is_some()
    });
    assert!(met, "the daemon did not start:\n{}", tail(&std::fs::read_to_string(log).unwrap_or_default()));
    (child, address.expect("an address"))
}

/// The address of a daemon, once its log says after so many bytes that it listens.
pub fn listening(log: &Path, before: usize) -> Option<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // the last line of a daemon that was killed may lack its end
    let lines = text
        .get(before..)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.rfind("{\"timestamp\"").map(|at| &line[at..]));
    lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|line| {
        let up = line["message"] == "hks is up";
        up.then(|| line["address"].as_str().map(str::to_owned)).flatten()
    })
}

/// Starts a daemon.
pub fn launch(config: &Path, log: &Path, environment: &[(&str, String)]) -> Child {
    let file = File::options().create(true).append(true).open(log).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hks"));
    if let Some((_, authority)) = &kit().tls {
        command.env("SSL_CERT_FILE", authority);
    }
    command
        .args(["run", "--config"])
        .arg(config)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("HKS_LOG", "debug,hyper=error,kube=error,tower=error,rustls=error,h2=error,hyper_util=error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("hks starts")
}

/// Sends a signal, such as `-STOP`, to a process.
pub fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill {signal} {pid}");
}

/// How many times as long as on a quiet machine is waited at most: `HKS_TEST_PATIENCE`, which a run with several files at work
/// sets. A limit that is met costs nothing.
fn patience() -> u64 {
    std::env::var("HKS_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Looks every 50 ms until something is so, for at most `seconds` of a quiet machine.
pub fn until(seconds: u64, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds * patience());
    loop {
        if is() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets so much time pass: what is under way then is what a test disturbs.
pub fn after(delay: Duration) {
    let at = Instant::now() + delay;
    assert!(until(delay.as_secs() + 5, || Instant::now() >= at));
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The sample app with a database and a public URL, at a version.
pub fn sample(stack: &str, version: &str) -> String {
    let registry = &kit().registry;
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {stack}}}\n\
         databases:\n  main:\n    engine: postgres\n    version: \"15\"\n    storage: {{size: 64Mi}}\n    resources: \
         {{requests: {{cpu: 20m, memory: 64Mi}}, limits: {{cpu: 500m, memory: 128Mi}}}}\n\
         apps:\n  web:\n    image: {registry}/hexabase-web:{version}\n    ports: {{http: 8080}}\n    env: \
         {{DATABASE_URL: \"${{databases.main.url}}\"}}\n    resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: \
         {{cpu: 500m, memory: 64Mi}}}}\n    probes: {{readiness: {{path: /ready, period: 1s}}}}\n\
         ingress: {{public: {{paths: {{/: web}}}}}}\n"
    )
}

/// A Stack of one small program without a port.
pub fn worker(stack: &str, tag: &str, command: &str, rest: &str) -> String {
    let registry = &kit().registry;
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: {stack}}}\napps:\n  job:\n    image: \
         {registry}/busybox:{tag}\n    command: [sh, -c, '{command}']\n    resources: {{requests: {{cpu: 10m, memory: 16Mi}}, \
         limits: {{cpu: 100m, memory: 16Mi}}}}\n{rest}"
    )
}

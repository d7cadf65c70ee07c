//! Arguments and environment → what to run. Data goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 done, or no difference; 1 failed, or a difference found by `diff`; 2 wrong usage; 3 invalid hks.yaml; 4
//! cluster or forge unreachable or forbidden; 5 not ready in time or unhealthy; 6 rolled back; 130 interrupted.

mod cluster;
mod deploy;
mod init;
mod job;
mod local;
mod output;
mod secret;

use crate::manifest::EdgeTls;
use crate::shell::config::{self, Config};
use crate::shell::daemon::{self, Origin};
use crate::spec::TlsVersion;
use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use output::Out;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// hks.yaml is wrong.
const INVALID: u8 = 3;
/// A cluster can't be reached or forbids it.
const UNREACHABLE: u8 = 4;
/// Not ready in time, or unhealthy.
const UNHEALTHY: u8 = 5;
/// Rolled back.
const ROLLED_BACK: u8 = 6;

/// Declarative `GitOps` for platforms of virtual clusters: push hks.yaml, get a URL; push a bad image, get everything back.
#[derive(Debug, Parser)]
#[command(
    name = "hks",
    version,
    about = "Declarative GitOps for vCluster platforms: push hks.yaml, get a URL; push a bad image, get everything back",
    after_help = "Exit codes: 0 done or no difference · 1 failed or difference found · 2 usage · \
3 invalid hks.yaml · 4 cluster unreachable · 5 unhealthy · 6 rolled back\n\nFirst steps:\n  hks validate hks.yaml\n  hks diff hks.yaml -n shop\n  hks run --git /srv/git/shop.git --namespace shop"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Args)]
struct Global {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Whether colours are used; `NO_COLOR` is respected.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// What is logged, as in `RUST_LOG`: `info`, `hks=debug`, …
    #[arg(long, global = true, env = "HKS_LOG", default_value = "info,kube=error,hyper=error")]
    log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow repositories and deploy what is pushed, until stopped.
    Run(Box<RunArgs>),
    /// Write a first hks.yaml, from a few questions or from a compose file.
    Init(init::InitArgs),
    /// Check hks.yaml files; all mistakes are told at once.
    Validate {
        /// Files, folders, or `-`.
        #[arg(default_value = "hks.yaml")]
        paths: Vec<PathBuf>,
    },
    /// Print the Kubernetes objects that an hks.yaml becomes, with every default written out and no secret value.
    Render(FileArgs),
    /// Show what would change in the cluster, by a server-side dry run. Exits with 1 if anything would.
    Diff(FileClusterArgs),
    /// Deploy an hks.yaml once, without a daemon: same steps, same rollback.
    Apply(FileClusterArgs),
    /// Show the Stacks of a project, or one of them.
    Status {
        /// A Stack; without it, all.
        stack: Option<String>,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show the last deployments of a Stack, newest first.
    History {
        /// The Stack.
        stack: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Ask the daemon to put an older commit back; it stays until the next commit. The database's data is not touched.
    Rollback {
        /// The Stack.
        stack: String,
        /// The commit; by default the last one that worked before the current.
        #[arg(long)]
        to: Option<String>,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Set the keys of secrets that hks.yaml declares under `secrets.NAME.keys`.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Run jobs that hks.yaml declares with `run: manual`, or a scheduled one at once.
    #[command(subcommand)]
    Job(JobCommand),
    /// Tell what a key of hks.yaml means: what it takes, its default, an example, and the objects that it shows up in.
    Explain {
        /// Such as `apps.web.probes` or `ingress.cors`; names of your own may be left out. Without it, the whole file.
        #[arg(default_value = "")]
        path: String,
    },
    /// Print the JSON Schema of hks.yaml.
    Schema {
        /// The schema of the daemon's configuration instead.
        #[arg(long)]
        config: bool,
    },
    /// Print a completion script: `source <(hks completion bash)`.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Set a key. The value is read from standard input or a file, never from an argument, which others could see.
    Set {
        /// The Stack.
        stack: String,
        /// The secret's name in hks.yaml.
        secret: String,
        /// The key.
        key: String,
        /// The file with the value; without it, standard input. A line break at its end is left out.
        #[arg(long)]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List the secrets of a Stack and which keys are set; never a value.
    List {
        /// The Stack.
        stack: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Run a job now and wait for its end.
    Run {
        /// The Stack.
        stack: String,
        /// The job's name in hks.yaml.
        job: String,
        /// Don't wait.
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// Which project of which cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig; without it KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, env = "HKS_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, visible_alias = "kube-context", env = "HKS_CONTEXT")]
    context: Option<String>,
    /// The project.
    #[arg(short, long, env = "HKS_NAMESPACE", default_value = "default")]
    namespace: String,
    /// A vCluster of that cluster.
    #[arg(long, env = "HKS_VCLUSTER")]
    vcluster: Option<String>,
    /// Namespace of the vCluster in its host; by default `vcluster-<name>`.
    #[arg(long, env = "HKS_VCLUSTER_NAMESPACE", requires = "vcluster")]
    vcluster_namespace: Option<String>,
}

/// What rendering needs to know beside the file.
#[derive(Clone, Debug, Args)]
pub(crate) struct RenderArgs {
    /// Generated hosts end with this.
    #[arg(long, env = "HKS_DOMAIN", default_value = "apps.localhost")]
    domain: String,
    #[command(flatten)]
    images: config::Images,
    /// ingressClassName of public hosts.
    #[arg(long, env = "HKS_INGRESS_CLASS")]
    ingress_class: Option<String>,
    /// What that class understands; told from its name unless given.
    #[arg(long, env = "HKS_INGRESS_KIND", value_enum)]
    ingress_kind: Option<config::IngressKind>,
    /// No client gets in with a lower version of TLS than this, 1.2 or 1.3, whatever a host asks for.
    #[arg(long, env = "HKS_TLS_MIN_VERSION", value_parser = config::tls_version)]
    tls_min_version: Option<TlsVersion>,
    #[command(flatten)]
    gateway: Option<config::Gateway>,
    /// Public URLs begin with https.
    #[arg(long, env = "HKS_HTTPS")]
    https: bool,
    /// Don't wait for public URLs to answer.
    #[arg(long, env = "HKS_NO_PROBE")]
    no_probe: bool,
}

#[derive(Clone, Debug, Args)]
struct FileArgs {
    /// The file, or `-`.
    #[arg(default_value = "hks.yaml")]
    path: PathBuf,
    /// The environment that is meant, in a file that has several.
    #[arg(short, long, env = "HKS_ENVIRONMENT")]
    environment: Option<String>,
    /// The project.
    #[arg(short, long, env = "HKS_NAMESPACE", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    render: RenderArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FileClusterArgs {
    /// The file, or `-`.
    #[arg(default_value = "hks.yaml")]
    path: PathBuf,
    /// The environment that is meant, in a file that has several.
    #[arg(short, long, env = "HKS_ENVIRONMENT")]
    environment: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    render: RenderArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file; it is read again when it changes. The flags below are for a single repository without one.
    #[arg(long, env = "HKS_CONFIG", conflicts_with = "git")]
    config: Option<PathBuf>,
    /// Repository: https, ssh, file or a path.
    #[arg(long, env = "HKS_GIT", required_unless_present = "config")]
    git: Option<String>,
    /// Branch.
    #[arg(long, env = "HKS_BRANCH", default_value = "main")]
    branch: String,
    /// Follows the newest tag that fits this pattern instead of a branch, such as `v*`.
    #[arg(long, env = "HKS_TAG")]
    tag: Option<String>,
    /// Which files are Stacks, as a glob.
    #[arg(long, env = "HKS_PATH", default_value = "**/hks.yaml")]
    path: String,
    /// Longest time between looks.
    #[arg(long, env = "HKS_POLL", default_value = "30s", value_parser = humantime::parse_duration)]
    poll: Duration,
    /// Address of the HTTP endpoint.
    #[arg(long, env = "HKS_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder for mirrors; it may be lost.
    #[arg(long, env = "HKS_DATA_DIR", default_value = "/var/lib/hks")]
    data_dir: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    render: RenderArgs,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // the one TLS provider; only a second call could fail
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    cli.global.color.choose();
    let out = Out { json: cli.global.output == Format::Json };
    output::log(&cli.global.log, matches!(cli.command, Command::Run(_)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(cli.command, out));
            // a fetch from a server that never answers can't be ended, but it need not be waited for
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            done
        }
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::from(if is_cluster(&error) { UNREACHABLE } else { 1 })
    })
}

fn is_cluster(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<kube::Error>() || cause.is::<kube::config::KubeconfigError>())
}

async fn run(command: Command, out: Out) -> Result<ExitCode> {
    match command {
        Command::Run(args) => {
            daemon::run(&origin(*args)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Init(args) => init::init(&args, out),
        Command::Validate { paths } => local::validate(&paths, out),
        Command::Render(args) => {
            local::render(&args.path, &args.render.context(&args.namespace, args.environment.as_deref()), out)
        }
        Command::Diff(args) => cluster::diff(&args, out).await,
        Command::Apply(args) => deploy::apply(&args, out).await,
        Command::Status { stack, cluster } => cluster::status(stack.as_deref(), &cluster, out).await,
        Command::History { stack, cluster } => cluster::history(&stack, &cluster, out).await,
        Command::Rollback { stack, to, yes, cluster } => cluster::rollback(&stack, to, yes, &cluster, out).await,
        Command::Secret(SecretCommand::Set { stack, secret, key, from_file, cluster }) => {
            secret::set(&stack, &secret, &key, from_file.as_deref(), &cluster, out).await
        }
        Command::Secret(SecretCommand::List { stack, cluster }) => secret::list(&stack, &cluster, out).await,
        Command::Job(JobCommand::Run { stack, job, detach, cluster }) => {
            Box::pin(job::run(&stack, &job, detach, &cluster, out)).await
        }
        Command::Explain { path } => local::explain(&path, out),
        Command::Schema { config } => {
            let schema = if config { config::schema() } else { crate::spec::schema() };
            out.print(&serde_json::to_string_pretty(&schema)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hks", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            out.print(&if out.json {
                serde_json::json!({ "version": version }).to_string()
            } else {
                format!("hks {version}")
            });
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where the daemon's configuration comes from: the file, or the flags as one source.
fn origin(args: RunArgs) -> Origin {
    if let Some(path) = args.config {
        return Origin::File(path);
    }
    let git = config::Git {
        url: args.git.unwrap_or_default(),
        branch: args.branch,
        tag: args.tag,
        path: args.path,
        poll: args.poll,
        username: None,
        password: None,
        ssh_key: None,
        host_keys: vec![],
    };
    let target = args.cluster.target();
    let source = config::Source {
        git,
        target,
        namespace: args.cluster.namespace,
        domain: None,
        gateway: None,
        forge: None,
        webhook: None,
    };
    Origin::Flags(Box::new(Config {
        cluster: "default".into(),
        listen: args.listen,
        public_url: None,
        data_dir: args.data_dir,
        domain: args.render.domain,
        scheme: if args.render.https { config::Scheme::Https } else { config::Scheme::Http },
        ingress_class: args.render.ingress_class,
        ingress_kind: args.render.ingress_kind,
        ingress_tls: config::IngressTls { min_version: args.render.tls_min_version, ..config::IngressTls::default() },
        gateway: args.render.gateway,
        probe_urls: !args.render.no_probe,
        images: args.render.images,
        kubeconfig: None,
        sources: BTreeMap::from([("default".into(), source)]),
    }))
}

impl ClusterArgs {
    fn target(&self) -> config::Target {
        let vcluster = self
            .vcluster
            .as_ref()
            .map(|name| config::VCluster { name: name.clone(), namespace: self.vcluster_namespace.clone() });
        config::Target { vcluster, kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }
}

impl RenderArgs {
    fn context(&self, namespace: &str, environment: Option<&str>) -> crate::manifest::Context {
        let class = self.ingress_class.as_deref();
        crate::manifest::Context {
            namespace: namespace.into(),
            branch: String::new(),
            environment: environment.map(str::to_owned),
            edge: config::edge(self.gateway.as_ref(), self.ingress_kind, class),
            tls: EdgeTls { min_version: self.tls_min_version, ..EdgeTls::default() },
            images: self.images.rendered(),
            domain: self.domain.clone(),
            scheme: if self.https { "https" } else { "http" }.into(),
            ingress_class: self.ingress_class.clone(),
        }
    }
}

impl Color {
    fn choose(self) {
        match self {
            // anstream looks at the terminal, NO_COLOR and CLICOLOR_FORCE
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

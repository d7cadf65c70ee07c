//! What the command line takes. Every flag has a variable `HKS_…`.

use super::init::InitArgs;
use super::settings::PlatformArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Declarative `GitOps` for platforms of virtual clusters: push hks.yaml, get a URL; push a bad image, get everything back.
#[derive(Debug, Parser)]
#[command(
    name = "hks",
    version,
    about = "Declarative GitOps for vCluster platforms: push hks.yaml, get a URL; push a bad image, get everything back",
    after_help = "Exit codes: 0 done or no difference · 1 failed or difference found · 2 usage · 3 invalid hks.yaml · \
4 cluster unreachable or forbidden · 5 unhealthy · 6 rolled back · 130 interrupted\n\n\
First steps:\n  hks validate hks.yaml\n  hks doctor -n shop\n  hks diff hks.yaml -n shop\n  hks run --git /srv/git/shop.git --namespace shop\n\n\
Day by day:\n  hks status -n shop\n  hks status todo -n shop --watch\n  hks logs web -n shop --follow\n  hks rollback todo -n shop"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, env = "HKS_OUTPUT", default_value_t = Format::Table)]
    pub output: Format,
    /// Whether colours are used; `NO_COLOR` is respected.
    #[arg(long, global = true, value_enum, env = "HKS_COLOR", default_value_t = Color::Auto)]
    pub color: Color,
    /// What is logged, as in `RUST_LOG`: `info`, `hks=debug`, …
    #[arg(long, global = true, env = "HKS_LOG", default_value = "info,kube=error,hyper=error")]
    pub log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// For programs; fields are added, never renamed.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read a repository: a question on standard input, the answer on standard output. `hks run` starts it for each look.
    #[command(hide = true)]
    Git,
    /// Follow repositories and deploy what is pushed, until stopped.
    Run(Box<RunArgs>),
    /// Write a first hks.yaml, from a few questions or from a compose file.
    Init(InitArgs),
    /// Check hks.yaml files; all mistakes are told at once.
    Validate {
        /// Files, folders, or `-`.
        #[arg(default_value = "hks.yaml")]
        paths: Vec<PathBuf>,
    },
    /// Print the Kubernetes objects that an hks.yaml becomes, with every default written out and no secret value.
    Render(FileArgs),
    /// Show what would change in the cluster, by a server-side dry run. Exits with 1 if anything would.
    #[command(
        after_help = "Settings of the platform are those that the daemon has published in the project; a flag wins.\n\n\
Examples:\n  hks diff -n shop\n  hks diff deploy/hks.yaml -e staging -n shop-staging -o json"
    )]
    Diff(FileClusterArgs),
    /// Deploy an hks.yaml once, without a daemon: same steps, same rollback.
    #[command(
        after_help = "Settings of the platform are those that the daemon has published in the project; a flag wins.\n\n\
Examples:\n  hks apply -n shop\n  hks apply hks.yaml -e production --tag v1.4.0 -n shop"
    )]
    Apply(FileClusterArgs),
    /// Show the Stacks of a project, or one of them: state and why, addresses, apps, databases, drift, deployments.
    #[command(
        after_help = "Examples:\n  hks status -n shop\n  hks status todo -n shop --watch\n  hks status todo -n shop -o json | jq .sentence"
    )]
    Status {
        /// A Stack; without it, all.
        stack: Option<String>,
        /// Go on and show each change, until interrupted.
        #[arg(long, short, env = "HKS_WATCH")]
        watch: bool,
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
    /// Show what Kubernetes has warned of about the objects of a Stack, oldest first.
    #[command(after_help = "Example:\n  hks events todo -n shop")]
    Events {
        /// The Stack.
        stack: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show what an app prints, with the values of the project's Secrets taken out.
    #[command(
        after_help = "Examples:\n  hks logs web -n shop\n  hks logs web -n shop --follow\n  hks logs web -n shop --previous   # of the run that crashed"
    )]
    Logs {
        /// The app's name in hks.yaml; a database's, cache's or job's will do, too.
        app: String,
        /// The Stack, where several have such an app.
        #[arg(long, env = "HKS_STACK")]
        stack: Option<String>,
        /// Go on until interrupted.
        #[arg(long, short)]
        follow: bool,
        /// Of the run before this one.
        #[arg(long, short, conflicts_with = "follow")]
        previous: bool,
        /// Lines of each pod.
        #[arg(long, env = "HKS_TAIL", default_value_t = 100, value_parser = clap::value_parser!(i64).range(0..))]
        tail: i64,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Make the pods of an app anew, one after the other, and wait until they are ready.
    #[command(after_help = "Example:\n  hks restart web -n shop")]
    Restart {
        /// The app's name in hks.yaml.
        app: String,
        /// The Stack, where several have such an app.
        #[arg(long, env = "HKS_STACK")]
        stack: Option<String>,
        /// Longest wait for the new pods.
        #[arg(long, env = "HKS_WAIT", default_value = "10m", value_parser = humantime::parse_duration)]
        wait: Duration,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Ask the daemon to put an older commit back; it stays until the next commit. The database's data is not touched.
    #[command(
        after_help = "Examples:\n  hks rollback todo -n shop              # to the last one that worked before\n  hks rollback todo -n shop --to 4f1c2ab --yes"
    )]
    Rollback {
        /// The Stack.
        stack: String,
        /// The commit; by default the last one that worked before the current.
        #[arg(long)]
        to: Option<String>,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Ask the daemon to try the newest commit once more, though it failed.
    #[command(after_help = "Example:\n  hks retry todo -n shop   # the image is there now")]
    Retry {
        /// The Stack.
        stack: String,
        /// Make volumes anew, empty, that the Stack had and that are gone.
        #[arg(long)]
        accept_data_loss: bool,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Ask the daemon to change and delete nothing of a Stack until it is resumed.
    #[command(after_help = "Example:\n  hks suspend todo -n shop --reason 'moving the database by hand'")]
    Suspend {
        /// The Stack.
        stack: String,
        /// Why, for the others.
        #[arg(long, env = "HKS_REASON", default_value = "")]
        reason: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Ask the daemon to go on with a Stack that was suspended.
    Resume {
        /// The Stack.
        stack: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Ask the daemon to delete everything of a Stack but its data, until the next commit that changes it.
    #[command(
        after_help = "Take its hks.yaml out of the repository, too, or the next change of it deploys it again.\n\n\
Examples:\n  hks destroy todo -n shop\n  hks destroy todo -n shop --with-data   # databases and volumes too; this can't be undone"
    )]
    Destroy {
        /// The Stack.
        stack: String,
        /// Databases and volumes, too. This can't be undone.
        #[arg(long)]
        with_data: bool,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Look whether a project has what hks needs: rights, kinds, storage, public hosts; each finding with what mends it.
    #[command(after_help = "Exits with 4 if something that is needed is missing.\n\n\
Examples:\n  hks doctor -n shop --vcluster team-a\n  hks doctor --config hks-daemon.yaml   # every source of it, with its credentials")]
    Doctor {
        /// The daemon's configuration: every source of it is looked at, with its credentials.
        #[arg(long, env = "HKS_CONFIG")]
        config: Option<PathBuf>,
        #[command(flatten)]
        cluster: ClusterArgs,
        #[command(flatten)]
        platform: PlatformArgs,
    },
    /// Set the keys of secrets that hks.yaml declares under `secrets.NAME.keys`.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Run jobs that hks.yaml declares with `run: manual`, or a scheduled one at once.
    #[command(subcommand)]
    Job(JobCommand),
    /// Tell what a key of hks.yaml means: what it takes, its default, an example, and the objects that it shows up in. Or what the
    /// code of a mistake means, with a wrong and a right example.
    Explain {
        /// A key such as `apps.web.probes` or `ingress.cors`, in which names of your own may be left out, or a code such as
        /// `unknown-key`. Without it, the whole file.
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
pub(super) enum SecretCommand {
    /// Set a key. The value is read from standard input or a file, never from an argument, which others could see.
    #[command(
        after_help = "Examples:\n  hks secret set todo mail password -n shop < password.txt\n  hks secret set todo mail key -n shop --from-file key.pem"
    )]
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
pub(super) enum JobCommand {
    /// Run a job now and wait for its end.
    #[command(after_help = "Example:\n  hks job run todo report -n shop")]
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

/// Whether it is asked first.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Sure {
    /// Don't ask.
    #[arg(long, short, env = "HKS_YES")]
    pub yes: bool,
}

/// Which project of which cluster.
#[derive(Clone, Debug, Args)]
pub(super) struct PlaceArgs {
    /// Kubeconfig; without it KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, env = "HKS_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, visible_alias = "kube-context", env = "HKS_CONTEXT")]
    pub context: Option<String>,
    /// The project.
    #[arg(short, long, env = "HKS_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// A vCluster of that cluster.
    #[arg(long, env = "HKS_VCLUSTER")]
    pub vcluster: Option<String>,
    /// Namespace of the vCluster in its host; by default `vcluster-<name>`.
    #[arg(long, env = "HKS_VCLUSTER_NAMESPACE", requires = "vcluster")]
    pub vcluster_namespace: Option<String>,
}

/// A project, and how long its cluster may take to answer at all.
#[derive(Clone, Debug, Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Longest wait for the cluster's first answers.
    #[arg(long, env = "HKS_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// An hks.yaml, and which of its environments is meant.
#[derive(Clone, Debug, Args)]
pub(super) struct FileChoice {
    /// The file, or `-`.
    #[arg(default_value = "hks.yaml")]
    pub path: PathBuf,
    /// The environment that is meant, in a file that has several.
    #[arg(short, long, env = "HKS_ENVIRONMENT")]
    pub environment: Option<String>,
    /// The tag that the file is deployed as, where the environment follows tags or the file says `${git.tag}`.
    #[arg(long, env = "HKS_TAG")]
    pub tag: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct FileArgs {
    #[command(flatten)]
    pub file: FileChoice,
    /// The project.
    #[arg(short, long, env = "HKS_NAMESPACE", default_value = "default")]
    pub namespace: String,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct FileClusterArgs {
    #[command(flatten)]
    pub file: FileChoice,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Configuration file; it is read again when it changes. The flags below are for a single repository without one.
    #[arg(long, env = "HKS_CONFIG", conflicts_with = "git")]
    pub config: Option<PathBuf>,
    /// Repository: https, ssh, file or a path.
    #[arg(long, env = "HKS_GIT", required_unless_present = "config")]
    pub git: Option<String>,
    /// Branch.
    #[arg(long, env = "HKS_BRANCH", default_value = "main")]
    pub branch: String,
    /// Follows the newest tag that fits this pattern instead of a branch, such as `v*`.
    #[arg(long, env = "HKS_TAG")]
    pub tag: Option<String>,
    /// Which files are Stacks, as a glob.
    #[arg(long, env = "HKS_PATH", default_value = "**/hks.yaml")]
    pub path: String,
    /// Hosts that the files may name besides generated ones: shop.example.com, or *.example.com for all names below.
    #[arg(long, env = "HKS_HOSTS", value_name = "HOST,…", value_delimiter = ',')]
    pub hosts: Option<Vec<String>>,
    /// Longest time between looks.
    #[arg(long, env = "HKS_POLL", default_value = "30s", value_parser = humantime::parse_duration)]
    pub poll: Duration,
    /// Address of the HTTP endpoint.
    #[arg(long, env = "HKS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Folder for mirrors and the key that seals records; it may be lost.
    #[arg(long, env = "HKS_DATA_DIR", default_value = "/var/lib/hks")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

impl Color {
    pub fn choose(self) {
        match self {
            // anstream looks at the terminal, NO_COLOR and CLICOLOR_FORCE
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
    }
}

//! Arguments and environment → what to run. Data goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 done, or no difference; 1 failed, or a difference found by `diff`; 2 wrong usage; 3 invalid hks.yaml; 4
//! cluster or forge unreachable or forbidden; 5 not ready in time or unhealthy; 6 rolled back; 130 interrupted.

mod app;
mod args;
mod cluster;
mod deploy;
mod doctor;
pub mod init;
mod job;
mod local;
mod output;
mod secret;
mod settings;
mod status;
mod table;
mod wish;

use crate::config::{self, Config};
use crate::platform::Platform;
use crate::record::Want;
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::git;
use crate::shell::run::daemon::{self, Origin};
use args::{Cli, Command, Format, JobCommand, PlaceArgs, RunArgs, SecretCommand};
use clap::{CommandFactory as _, Parser as _};
use output::Out;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Arguments don't fit what is there; clap ends with the same.
const USAGE: u8 = 2;
/// hks.yaml is wrong.
const INVALID: u8 = 3;
/// A cluster can't be reached or forbids it.
const UNREACHABLE: u8 = 4;
/// Not ready in time, or unhealthy.
const UNHEALTHY: u8 = 5;
/// Rolled back.
const ROLLED_BACK: u8 = 6;
/// Interrupted.
const INTERRUPTED: u8 = 130;

/// How a command ends.
type Ended = Result<ExitCode, Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // the one TLS provider; only a second call could fail
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    cli.global.color.choose();
    let out = Out { json: cli.global.output == Format::Json, wide: cli.global.output == Format::Wide };
    output::log(&cli.global.log, matches!(cli.command, Command::Run(_)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(cli.command, out));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            done
        }
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|failure| {
        out.fail(&failure);
        ExitCode::from(code(failure.kind))
    })
}

/// The exit code that a kind of failure has.
fn code(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Final => 1,
        FailureKind::Usage => USAGE,
        FailureKind::Transient | FailureKind::Unreachable | FailureKind::Forbidden => UNREACHABLE,
    }
}

async fn run(command: Command, out: Out) -> Ended {
    match command {
        Command::Git => {
            git::serve()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(args) => {
            daemon::run(&origin(*args)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Init(args) => Ok(init::init(&args, out)?),
        Command::Validate { paths } => Ok(local::validate(&paths, out)?),
        Command::Render(args) => local::render(&args, out),
        Command::Diff(args) => cluster::diff(&args, out).await,
        Command::Apply(args) => Box::pin(deploy::apply(&args, out)).await,
        Command::Status { stack, watch, cluster } => {
            Box::pin(status::status(stack.as_deref(), watch, &cluster, out)).await
        }
        Command::History { stack, cluster } => status::history(&stack, &cluster, out).await,
        Command::Events { stack, cluster } => status::events(&stack, &cluster, out).await,
        Command::Logs { app, stack, follow, previous, tail, cluster } => {
            let lines = app::Lines { follow, previous, tail };
            app::logs(&app, stack.as_deref(), lines, &cluster, out).await
        }
        Command::Restart { app, stack, wait, cluster } => {
            app::restart(&app, stack.as_deref(), wait, &cluster, out).await
        }
        Command::Rollback { stack, to, sure, cluster } => wish::rollback(&stack, to, sure, &cluster, out).await,
        Command::Retry { stack, accept_data_loss, cluster } => {
            wish::ask(&stack, Want::Retry { accept_data_loss }, &cluster, out).await
        }
        Command::Suspend { stack, reason, cluster } => wish::ask(&stack, Want::Suspend { reason }, &cluster, out).await,
        Command::Resume { stack, cluster } => wish::ask(&stack, Want::Resume, &cluster, out).await,
        Command::Destroy { stack, with_data, sure, cluster } => {
            wish::destroy(&stack, with_data, sure, &cluster, out).await
        }
        Command::Doctor { config, cluster, platform } => {
            Box::pin(doctor::doctor(config.as_deref(), &cluster, &platform, out)).await
        }
        Command::Secret(SecretCommand::Set { stack, secret, key, from_file, cluster }) => {
            secret::set(&stack, &secret, &key, from_file.as_deref(), &cluster, out).await
        }
        Command::Secret(SecretCommand::List { stack, cluster }) => secret::list(&stack, &cluster, out).await,
        Command::Job(JobCommand::Run { stack, job, detach, cluster }) => {
            Box::pin(job::run(&stack, &job, detach, &cluster, out)).await
        }
        Command::Explain { path } => Ok(local::explain(&path, out)?),
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
fn origin(args: RunArgs) -> Result<Origin, Failure> {
    if let Some(path) = args.config {
        return Ok(Origin::File(path));
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
    let target = args.place.target();
    let source = config::Source {
        git,
        target,
        namespace: args.place.namespace,
        domain: None,
        gateway: None,
        hosts: args.hosts,
        policy: None,
        forge: None,
        webhook: None,
    };
    Ok(Origin::Flags(Box::new(Config {
        cluster: "default".into(),
        listen: args.listen,
        probes: None,
        access: config::Access::default(),
        tls: None,
        public_url: None,
        data_dir: args.data_dir,
        seal_key: None,
        leader_election: None,
        platform_changes_at_once: config::AT_ONCE,
        project_budget: config::ProjectBudget::default(),
        cluster_budget: config::ClusterBudget::default(),
        platform: args.platform.over(Platform::default())?,
        kubeconfig: None,
        probe_networks: vec![],
        claims_namespace: None,
        sources: BTreeMap::from([("default".into(), source)]),
    })))
}

impl PlaceArgs {
    fn target(&self) -> config::Target {
        // a variable that is set to nothing means none
        let vcluster = self
            .vcluster
            .as_ref()
            .filter(|name| !name.is_empty())
            .map(|name| config::VCluster { name: name.clone(), namespace: self.vcluster_namespace.clone() });
        config::Target { vcluster, kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_that_a_shell_may_keep_has_its_variable() {
        // what belongs to one call only
        const OF_ONE_CALL: [&str; 16] = [
            "accept_data_loss",
            "help",
            "version",
            "to",
            "follow",
            "previous",
            "with_data",
            "from_file",
            "detach",
            "config",
            "from_compose",
            "secrets",
            "name",
            "file",
            "yes",
            "shell",
        ];
        let mut commands = vec![Cli::command()];
        let mut lacking = vec![];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let flag = |arg: &&Arg| arg.get_long().is_some() && !matches!(arg.get_action(), ArgAction::Version);
            let lacks = |arg: &&Arg| arg.get_env().is_none() && !OF_ONE_CALL.contains(&arg.get_id().as_str());
            let names = command.get_arguments().filter(flag).filter(lacks).map(|arg| arg.get_id().to_string());
            lacking.extend(names.map(|name| format!("{} --{name}", command.get_name())));
        }
        assert!(lacking.is_empty(), "{lacking:?}");
    }

    #[test]
    fn exit_codes_follow_from_kinds() {
        let codes =
            [FailureKind::Final, FailureKind::Usage, FailureKind::Unreachable, FailureKind::Forbidden].map(code);
        assert_eq!(codes, [1, 2, 4, 4]);
    }
}

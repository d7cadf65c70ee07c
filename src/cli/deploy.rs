//! `hks apply`: one deployment without a daemon, by the very same machine.

use super::args::FileClusterArgs;
use super::output::{BAD, BUSY, GOOD, Out, harmless};
use super::{Ended, INTERRUPTED, INVALID, ROLLED_BACK, UNHEALTHY, cluster, local};
use crate::machine::{Commit, Content};
use crate::record::Outcome;
use crate::report::{StackState, StatusState};
use crate::shell::cluster::failure::Failure;
use crate::shell::cluster::{lease, wish};
use crate::shell::forge::statuses::Word;
use crate::shell::metrics::Metrics;
use crate::shell::probe::Prober;
use crate::shell::run::actor::{Actor, Setting};
use crate::shell::web::board::Board;
use futures::FutureExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Name in the configuration of what has none.
const SOURCE: &str = "command-line";
/// How often it is looked whether another daemon stands in the way.
const GLANCE: Duration = Duration::from_millis(500);

/// For how long the end of a deployment is looked for on the board.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// Deploys a file and waits for its end.
pub(super) async fn apply(args: &FileClusterArgs, out: Out) -> Ended {
    let namespace = args.cluster.namespace();
    let Some(checked) = local::check(&args.file, out)? else { return Ok(ExitCode::from(INVALID)) };
    let (project, _watches) = args.cluster.watch().await?;
    let (chosen, platform) = cluster::chosen(args, checked, &project.client, out).await?;
    let (context, manifest) = chosen.render(&platform, namespace)?;
    let document = chosen.document;
    let (_keep, connection) = watch::channel(Some(project));
    let (statuses, mut told) = mpsc::unbounded_channel();
    let board = Arc::new(Board::default());
    let setting = Arc::new(Setting {
        source: SOURCE.into(),
        me: format!("{}{}", lease::BY_HAND, wish::random()?),
        retry: true,
        context: Arc::new(context),
        probe: platform.probe_urls,
        board: Arc::clone(&board),
        metrics: Arc::new(Metrics::default()),
        prober: Prober::by_hand().map_err(|error| Failure::last(format!("failed to set up HTTP: {error}")))?,
        project: connection,
        turns: Arc::new(tokio::sync::Semaphore::new(1)),
        statuses,
        older: Box::new(|_, _| async { Err("there is no repository here".into()) }.boxed()),
    });
    let actor = Actor::start(manifest.stack.clone(), setting);
    let content = Content::File(document);
    actor.commit(Commit { revision: manifest.revision.clone(), content, message: None });
    let mut said = String::new();
    let ended = loop {
        tokio::select! {
            Some((_, word)) = told.recv() => {
                let Word::Says(status) = word else { continue };
                if status.state != StatusState::Pending {
                    break status;
                }
                if status.description != said {
                    out.say(&format!("{BUSY}…{BUSY:#} {}", status.description));
                    said = status.description;
                }
            }
            () = tokio::time::sleep(GLANCE) => {
                let view = board.named(manifest.stack.as_str()).into_iter().next();
                if let Some((_, view)) = view.filter(|(_, view)| view.state == StackState::Standby) {
                    actor.stop().await;
                    let why = &view.activity;
                    let next = if why.starts_with(lease::acts(lease::BY_HAND, "")) {
                        "wait for its end, then apply again"
                    } else {
                        "push a commit instead, or stop that daemon"
                    };
                    return Err(Failure::last(format!("failed to apply: {why}; {next}")));
                }
            }
            _ = tokio::signal::ctrl_c() => {
                out.say("interrupted; what is in flight is finished, run it again to go on");
                actor.stop().await;
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
    };
    // the status may be told before the view of the same moment is there
    let shown = || board.named(manifest.stack.as_str()).into_iter().next().map(|(_, view)| view);
    let looked = async {
        while shown().is_none_or(|view| view.state == StackState::Unreachable) {
            tokio::time::sleep(GLANCE).await;
        }
    };
    let _ = tokio::time::timeout(LAST_LOOK, looked).await;
    let view = shown();
    actor.stop().await;
    let last = view.as_ref().and_then(|view| view.history.first());
    if out.json {
        out.data(&serde_json::json!({ "status": ended, "stack": view.as_ref().map(|view| view.json()) }))?;
    } else {
        let (mark, style) = if ended.state == StatusState::Success { ("✓", GOOD) } else { ("✗", BAD) };
        out.print(&format!("{style}{mark}{style:#} {}", ended.description));
        // what has to be done about it may be what a status has no room for
        let whole = view.as_ref().and_then(|view| view.cause.as_ref()).filter(|_| ended.description.ends_with('…'));
        if let Some(whole) = whole {
            out.print(&harmless(whole));
        }
    }
    Ok(match (ended.state, last.map(|deployment| deployment.outcome)) {
        (StatusState::Success, _) => ExitCode::SUCCESS,
        (_, Some(Outcome::RolledBack)) => ExitCode::from(ROLLED_BACK),
        _ => ExitCode::from(UNHEALTHY),
    })
}

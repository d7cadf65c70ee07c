//! `hks status`, `history` and `events`: what the daemon's page shows, from the record and what is live.

use super::args::ClusterArgs;
use super::cluster::{self, recorded};
use super::output::{BAD, GOOD, Out, PLAIN, STRONG, harmless, style};
use super::table::{Cell, plain, strong, table};
use super::{Ended, INTERRUPTED};
use crate::ident::StackName;
use crate::machine::{Effect, Event, Machine};
use crate::manifest::Context;
use crate::plan::{Live, Note};
use crate::platform::Platform;
use crate::record::Outcome;
use crate::report::{AppView, DatabaseView, Readiness, StackState, Tone, View, shorten, span};
use crate::rollout;
use crate::shell::clock;
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::cluster::inspect;
use crate::shell::cluster::lease;
use crate::shell::cluster::logs::Redactor;
use crate::shell::cluster::project::{self, Project};
use crate::shell::cluster::published::{self, Published, Sources};
use crate::shell::git;
use crate::view;
use anstyle::Style;
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Deployments that `hks status` shows; `hks history` shows all.
const LAST: usize = 5;
/// Troubles whose log lines are fetched at most.
const EXPLAINED: usize = 8;
/// Records that are read at the same time.
const PARALLEL: usize = 8;
/// Characters of a sentence in a list.
const SENTENCE: usize = 100;
/// Ages are told anew after this while nothing changes.
const AGEING: Duration = Duration::from_secs(10);
/// Changes that come together are shown together.
const TOGETHER: Duration = Duration::from_millis(200);

/// A Stack as the command line sees it.
struct Seen {
    view: View,
    /// The daemon that holds its Lease.
    holder: Option<String>,
    /// Its page.
    page: Option<String>,
}

impl Seen {
    fn json(&self) -> Value {
        let mut value = self.view.json();
        value["daemon"] = json!(self.holder);
        value["page"] = json!(self.page);
        value
    }
}

/// Shows all Stacks, or one; if so said, again at each change.
pub(super) async fn status(name: Option<&str>, again: bool, cluster: &ClusterArgs, out: Out) -> Ended {
    let (project, _watches) = cluster.watch().await?;
    let mut shown = String::new();
    loop {
        let text = Box::pin(look(name, &project, cluster.namespace(), out)).await?;
        // what has not changed but for ages is not worth another line in a log
        if text != shown {
            if again && !out.json && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                out.print("\u{1b}[H\u{1b}[2J");
            }
            out.print(&text);
            shown = text;
        }
        if !again {
            return Ok(ExitCode::SUCCESS);
        }
        let all = cluster::known(&project).await?;
        let mut changes: Vec<_> = all.keys().map(|stack| project.subscribe(stack)).collect();
        let mut changed: FuturesUnordered<_> = changes.iter_mut().map(watch::Receiver::changed).collect();
        tokio::select! {
            Some(_) = changed.next() => tokio::time::sleep(TOGETHER).await,
            () = tokio::time::sleep(AGEING) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(INTERRUPTED)),
        }
    }
}

async fn look(name: Option<&str>, project: &Arc<Project>, namespace: &str, out: Out) -> Result<String, Failure> {
    let sources = published::all(&project.client, namespace).await?;
    let known = cluster::known(project).await?;
    if let Some(name) = name {
        let all: Vec<_> = known.keys().cloned().collect();
        let stack = cluster::named(name, &all, namespace)?;
        let mut seen = match see(project, &stack, known[&stack], &sources).await {
            // what is known of it is told like all else
            Err(failure) if failure.kind == FailureKind::Final => unreadable(project, &stack, &failure),
            seen => seen?,
        };
        seen.view.measure(&inspect::usage(project, &stack).await);
        return Ok(if out.json { serde_json::to_string_pretty(&seen.json())? } else { one(&seen, out, clock::now()) });
    }
    let all: Vec<_> = stream::iter(&known)
        .map(|(stack, recorded)| async {
            // one record that can't be read hides no other Stack
            see(project, stack, *recorded, &sources)
                .await
                .unwrap_or_else(|failure| unreadable(project, stack, &failure))
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    if out.json {
        return Ok(serde_json::to_string_pretty(&all.iter().map(Seen::json).collect::<Vec<_>>())?);
    }
    if all.is_empty() {
        return Ok(format!("no Stacks in namespace {namespace}: nothing was ever deployed there; is -n right?"));
    }
    Ok(list(&all, out, clock::now()))
}

/// Composes the view of a Stack from its record, what the daemon has published, and what is live.
async fn see(project: &Arc<Project>, stack: &StackName, has_record: bool, sources: &Sources) -> Result<Seen, Failure> {
    let namespace = project.namespace.as_str();
    if !has_record {
        return Err(cluster::has_no_record(stack));
    }
    let mut record = recorded(project, stack).await?;
    record.map_history(|text| project.clean(stack, text));
    let holder = lease::seen(project, stack);
    let published = published::chosen(sources, holder.as_deref());
    let context = published.map_or_else(
        || Context::new(&Platform::default(), namespace, "", None),
        |published| published.context(namespace),
    );
    let unseen = project.unseen(record.inventory.iter().map(|owned| &owned.key));
    project.look_for(stack, unseen).await;
    let machine = Machine::new(stack.clone(), context, record);
    project.take_beside(stack, machine.takes());
    project::look_at(project, machine.takes()).await;
    let live = project.live(stack);
    let looking = Box::pin(looked(machine.clone(), project, &live)).await;
    let mut troubles = machine.unwell(&live, clock::now());
    for trouble in &mut troubles {
        let cause = inspect::explain(project, stack, trouble.cause.clone()).await;
        trouble.cause = match machine.baseline() {
            Some(baseline) => rollout::hinted(cause, baseline),
            None => cause,
        };
    }
    let mut view = view::recorded(&machine, &looking, &troubles, (namespace, &live), clock::now());
    if view.words().next().is_some() {
        let redactor = Redactor::of(&project.client, namespace).await.ok();
        for text in view.words() {
            *text = unsecret(redactor.as_ref(), text);
        }
    }
    if let Some(excess) = project.excess(stack) {
        view.cant_be_seen(excess, true);
    }
    if published.is_none() {
        // where no daemon says what addresses look like, they are what is live
        view.urls = view::addresses(&live);
    }
    let page = published.and_then(|of| page(of, stack));
    Ok(Seen { view, holder, page })
}

/// The machine after it has looked at what is live: as long ago as something is not ready, and now, since a daemon would have
/// looked meanwhile. Of what it asks for only causes are explained, which changes nothing.
async fn looked(mut machine: Machine, project: &Project, live: &Live) -> Machine {
    let now = clock::now();
    for at in [view::unready_since(live).unwrap_or(now).min(now), now] {
        let mut effects = machine.step(Event::Observed, live, at);
        for _ in 0..EXPLAINED {
            let ask = |effect| match effect {
                Effect::Explain(id, cause) => Some((id, cause)),
                _ => None,
            };
            let Some((id, cause)) = effects.0.into_iter().find_map(ask) else { break };
            let explained = inspect::explain(project, &machine.stack, cause).await;
            effects = machine.step(Event::Explained(id, explained), live, at);
        }
    }
    machine
}

/// Words of the cluster, which may quote an app. Who may not read the Secrets can't take them out of it.
fn unsecret(redactor: Option<&Redactor>, text: &str) -> String {
    redactor
        .map_or_else(|| "(not shown without the right to read Secrets)".into(), |redactor| redactor.clean_words(text))
}

/// A Stack whose record can't be read.
fn unreadable(project: &Project, stack: &StackName, failure: &Failure) -> Seen {
    let state = if failure.kind == FailureKind::Final { StackState::Unreadable } else { StackState::Unreachable };
    let mut view = View::bare(stack, &project.namespace, state, clock::now());
    view.activity.clone_from(&failure.message);
    Seen { view, holder: lease::seen(project, stack), page: None }
}

fn page(published: &Published, stack: &StackName) -> Option<String> {
    let url = published.public_url.as_ref()?;
    Some(format!("{}/stacks/{stack}", url.trim_end_matches('/')))
}

fn list(all: &[Seen], out: Out, now: Timestamp) -> String {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by_key(|seen| seen.view.state.rank());
    let row = |seen: &&Seen| {
        let view = &seen.view;
        let mut row = vec![
            strong(&view.name),
            (format!("{} {}", view.state.symbol(), view.state.title()), style(view.state.tone())),
            plain(view.applied_revision.as_ref().map_or("-", |revision| revision.short())),
        ];
        if out.wide {
            row.push(plain(seen.holder.as_deref().unwrap_or("-")));
            row.push(plain(if view.urls.is_empty() { "-".into() } else { view.urls.join(" ") }));
        }
        row.push(plain(shorten(&harmless(&view.sentence(now)), if out.wide { usize::MAX } else { SENTENCE })));
        row
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    if out.wide {
        table(&["STACK", "STATE", "REVISION", "DAEMON", "ADDRESSES", "MEANS"], &rows)
    } else {
        table(&["STACK", "STATE", "REVISION", "MEANS"], &rows)
    }
}

fn one(seen: &Seen, out: Out, now: Timestamp) -> String {
    let view = &seen.view;
    let colour = style(view.state.tone());
    let mut text = format!(
        "{STRONG}{}{STRONG:#}  {colour}{} {}{colour:#}\n{}\n",
        view.name,
        view.state.symbol(),
        view.state.title(),
        harmless(&view.sentence(now))
    );
    let mut line = |of: &str, what: &str| text.push_str(&format!("  {of:<10}{what}\n"));
    if let Some(cause) = &view.cause {
        line("cause", &format!("{BAD}{}{BAD:#}", harmless(cause)));
    }
    for log in view.log.iter().flat_map(|log| log.lines()) {
        line("", &harmless(log));
    }
    for trouble in &view.troubles {
        // who has only just looked knows no more than that it is so
        let passed = now.duration_since(trouble.since);
        let since =
            if passed < SignedDuration::from_secs(1) { String::new() } else { format!(", since {}", span(passed)) };
        line("trouble", &format!("{BAD}{}{BAD:#}{since}", harmless(&trouble.cause)));
    }
    for lacking in &view.lacking {
        line("lacks", &format!("key {} of secret {}", lacking.key, lacking.secret));
    }
    for asked in &view.asked {
        line("asked", &harmless(&asked.sentence(now)));
    }
    for awaited in &view.waits_for {
        line("awaits", &harmless(awaited));
    }
    for lost in &view.lost {
        line("lost", &format!("{BAD}{lost}{BAD:#}"));
    }
    if let Some(revision) = &view.applied_revision {
        let since = view.applied_since.map(|at| format!(" since {}", span(now.duration_since(at))));
        line("revision", &format!("{}{}", revision.short(), since.unwrap_or_default()));
    }
    for url in &view.urls {
        line("address", url);
    }
    for object in &view.retained {
        line("retained", &format!("{object}; it is no part of what runs and stays until somebody deletes it"));
    }
    for drift in &view.drift {
        let fields = drift.fields.iter().map(|field| field.field.as_str()).collect::<Vec<_>>().join(", ");
        let what = if fields.is_empty() { "is missing".into() } else { fields };
        line("drift", &harmless(&format!("{} {what}", drift.object)));
    }
    for alone in &view.left_alone {
        line("left", &harmless(&format!("{} alone: {}", alone.field, alone.by)));
    }
    for added in &view.added {
        line("added", &harmless(&added.sentence()));
    }
    match &seen.holder {
        Some(holder) if out.wide => line("daemon", holder),
        Some(_) => {}
        None => line("daemon", "none acts for it: no daemon holds its Lease"),
    }
    if let Some(page) = &seen.page {
        line("page", page);
    }
    text.push_str(&parts(view, out));
    text.push_str(&deployments(view, LAST, now));
    text
}

fn parts(view: &View, out: Out) -> String {
    let mut text = String::new();
    let usage = |usage: &Option<String>| plain(usage.as_deref().unwrap_or("-"));
    let app = |app: &AppView| {
        let mut row = vec![strong(&app.name), pods(app), plain(&app.image), usage(&app.usage)];
        if out.wide {
            row.push(plain(&app.limits));
        }
        row
    };
    let apps: Vec<_> = view.apps.iter().map(app).collect();
    if !apps.is_empty() {
        let head = ["APP", "READY", "IMAGE", "USES", "LIMITS OF ONE POD"];
        text.push_str(&format!("\n{}", table(if out.wide { &head } else { &head[..4] }, &apps)));
    }
    for (title, servers) in [("DATABASE", &view.databases), ("CACHE", &view.caches)] {
        let row = |server: &DatabaseView| {
            let storage = if server.storage.is_empty() { "-" } else { &server.storage };
            let ready = (server.readiness.title().to_owned(), readiness(server.readiness));
            vec![strong(&server.name), ready, plain(&server.image), plain(storage), usage(&server.usage)]
        };
        let rows: Vec<_> = servers.iter().map(row).collect();
        if !rows.is_empty() {
            text.push_str(&format!("\n{}", table(&[title, "READY", "IMAGE", "STORAGE", "USES"], &rows)));
        }
    }
    text
}

/// How many pods of an app are ready.
fn pods(app: &AppView) -> Cell {
    let text = match app.readiness {
        Readiness::Ready | Readiness::NotReady => format!("{}/{}", app.ready, app.replicas),
        Readiness::Parked | Readiness::Missing => app.readiness.title().into(),
    };
    (text, readiness(app.readiness))
}

fn readiness(of: Readiness) -> Style {
    style(match of {
        Readiness::Ready => Tone::Good,
        Readiness::NotReady => Tone::Busy,
        Readiness::Parked => Tone::Idle,
        Readiness::Missing => Tone::Bad,
    })
}

/// The last deployments, with what their commits say of themselves. Records of before do not have it, but a clone does.
fn deployments(view: &View, most: usize, now: Timestamp) -> String {
    let unknown = view.history.iter().take(most).filter(|deployment| deployment.message.is_none());
    let told = git::commits(unknown.map(|deployment| deployment.revision.as_str()));
    let rows = view.history.iter().take(most).map(|deployment| {
        let colour = if deployment.outcome == Outcome::Succeeded { GOOD } else { BAD };
        let message = deployment.message.as_ref().or_else(|| told.get(deployment.revision.as_str()));
        vec![
            strong(deployment.revision.short()),
            plain(format!("{} ago", span(now.duration_since(deployment.ended)))),
            if deployment.hearsay { plain(deployment.shown()) } else { (deployment.shown().into(), colour) },
            plain(harmless(&deployment.description)),
            plain(harmless(&message.map(ToString::to_string).unwrap_or_default())),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&["COMMIT", "WHEN", "OUTCOME", "WHAT HAPPENED", "SUBJECT"], &rows))
}

/// Shows the last deployments.
pub(super) async fn history(name: &str, cluster: &ClusterArgs, out: Out) -> Ended {
    let client = cluster.connect().await?;
    let stack = cluster::stack(name, &client, cluster.namespace()).await?;
    let project = cluster::unwatched(client, cluster.namespace());
    let mut record = recorded(&project, &stack).await?;
    if !record.history.is_empty() {
        let redactor = Redactor::of(&project.client, cluster.namespace()).await.ok();
        record.map_history(|text| unsecret(redactor.as_ref(), text));
    }
    let now = clock::now();
    let history = record.history.into_iter().rev().collect();
    let view = View { history, ..View::bare(&stack, cluster.namespace(), StackState::Fresh, now) };
    if out.json {
        out.data(&view.history)?;
    } else if view.history.is_empty() {
        out.say(&format!("no deployment of {stack} has ended yet"));
    } else {
        out.print(deployments(&view, usize::MAX, now).trim_start());
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows warnings of Kubernetes about the objects of a Stack, oldest first.
pub(super) async fn events(name: &str, cluster: &ClusterArgs, out: Out) -> Ended {
    let (project, _watches) = cluster.watch().await?;
    let stack = cluster::stack(name, &project.client, cluster.namespace()).await?;
    let live = project.live(&stack);
    let redactor =
        if live.events.is_empty() { None } else { Redactor::of(&project.client, cluster.namespace()).await.ok() };
    let cleaned = |note: &Arc<Note>| Note { message: unsecret(redactor.as_ref(), &note.message), ..Note::clone(note) };
    let events: Vec<_> = live.events.iter().map(cleaned).collect();
    if out.json {
        let one = |note: &Note| json!({ "object": note.about.to_string(), "reason": note.reason, "message": note.message, "at": note.at });
        out.data(&events.iter().map(one).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if events.is_empty() {
        out.say(&format!("no warnings about {stack}; Kubernetes keeps them for an hour"));
        return Ok(ExitCode::SUCCESS);
    }
    let now = clock::now();
    let row = |note: &Note| {
        vec![
            plain(format!("{} ago", span(now.duration_since(note.at)))),
            strong(note.about.to_string()),
            (note.reason.clone(), BAD),
            (harmless(&note.message.split_whitespace().collect::<Vec<_>>().join(" ")), PLAIN),
        ]
    };
    out.print(&table(&["WHEN", "OBJECT", "REASON", "MESSAGE"], &events.iter().map(row).collect::<Vec<_>>()));
    Ok(ExitCode::SUCCESS)
}

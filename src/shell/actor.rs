//! One Stack's actor: feeds its machine with events and carries out what it asks for. Everything that can fail slowly
//! happens in a worker beside it, one request after the other, so the actor always listens.

use crate::ident::{Kind, ObjectKey, StackName};
use crate::machine::{Commit, Effect, Event, Fault, Machine};
use crate::manifest::Context;
use crate::report::{StackState, Status, View};
use crate::shell::board::{Board, Usage};
use crate::shell::lease::Lead;
use crate::shell::metrics::{Metrics, OutcomeLabels, ResultLabels, StackLabels};
use crate::shell::project::Project;
use crate::shell::record::ROLLBACK_ANNOTATION;
use crate::shell::{apply, clock, inspect, lease, record, view};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Waits between tries to reach a cluster that does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// Finds a Stack's file in the commit with this id.
pub type Older = Arc<dyn Fn(&str) -> Option<Commit> + Send + Sync>;

/// What an actor is given.
#[derive(Clone)]
pub struct Setting {
    /// Name of the source.
    pub source: String,
    /// Name of this daemon, for the Lease.
    pub me: String,
    /// Whether a commit that failed before is tried again: a person insists.
    pub retry: bool,
    /// What rendering needs to know.
    pub context: Context,
    /// Whether public addresses are probed before a deployment settles.
    pub probe: bool,
    /// Where views go.
    pub board: Arc<Board>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Asks public addresses.
    pub http: reqwest::Client,
    /// The connection; `None` while there is none.
    pub project: watch::Receiver<Option<Arc<Project>>>,
    /// Where commit statuses go.
    pub statuses: mpsc::UnboundedSender<(StackName, Status)>,
    /// Finds the Stack's file in an older commit, for rollbacks that a person asks for.
    pub older: Older,
}

/// A running actor.
pub struct Actor {
    inbox: watch::Sender<Option<Commit>>,
    task: JoinHandle<()>,
}

impl Actor {
    /// Starts the actor of `stack`.
    pub fn start(stack: StackName, setting: Setting) -> Self {
        let (inbox, commits) = watch::channel(None);
        let task = tokio::spawn(Running { stack, setting, commits, head: None }.run());
        Self { inbox, task }
    }

    /// Tells it of a commit. This never waits, so an actor that can't reach its cluster holds up no other; of several
    /// commits only the newest counts.
    pub fn commit(&self, commit: Commit) {
        self.inbox.send_replace(Some(commit));
    }

    /// Ends it after the request in flight and gives the Lease back.
    pub async fn stop(self) {
        drop(self.inbox);
        let _ = self.task.await;
    }
}

struct Running {
    stack: StackName,
    setting: Setting,
    commits: watch::Receiver<Option<Commit>>,
    head: Option<Commit>,
}

/// Waits for a newer commit; `None` when the source ends.
async fn next(commits: &mut watch::Receiver<Option<Commit>>) -> Option<Commit> {
    loop {
        commits.changed().await.ok()?;
        if let Some(commit) = commits.borrow_and_update().clone() {
            return Some(commit);
        }
    }
}

/// Why the actor left a connection.
enum Left {
    /// The daemon or the source ends.
    Ended,
    /// The connection was replaced, or the Lease lost.
    Again,
}

impl Running {
    async fn run(mut self) {
        loop {
            let Some(project) = self.connected().await else { return };
            if let Left::Ended = self.act(&project).await {
                lease::release(&project, &self.stack, &self.setting.me).await;
                return;
            }
        }
    }

    /// Waits for a connection whose watches are in, taking commits meanwhile.
    async fn connected(&mut self) -> Option<Arc<Project>> {
        loop {
            let project = self.setting.project.borrow_and_update().clone();
            let Some(project) = project else {
                self.show(StackState::Unreachable, "connecting to the cluster");
                tokio::select! {
                    changed = self.setting.project.changed() => changed.ok()?,
                    commit = next(&mut self.commits) => self.head = Some(commit?),
                }
                continue;
            };
            tokio::select! {
                () = project.ready() => return Some(project),
                changed = self.setting.project.changed() => changed.ok()?,
                commit = next(&mut self.commits) => self.head = Some(commit?),
            }
        }
    }

    /// Becomes the one that acts, then acts until something ends it.
    async fn act(&mut self, project: &Arc<Project>) -> Left {
        let machine = loop {
            match self.prepare(project).await {
                Ok(Ok(machine)) => break machine,
                Ok(Err(holder)) => {
                    self.show(StackState::Standby, &format!("another daemon acts for this Stack: {holder}"));
                    tracing::warn!(stack = %self.stack, %holder, "another daemon acts for this stack; standing by");
                    tokio::select! {
                        () = lease::wait(project, &self.stack, &holder) => {}
                        _ = self.setting.project.changed() => return Left::Again,
                        commit = next(&mut self.commits) => match commit {
                            Some(commit) => self.head = Some(commit),
                            None => return Left::Ended,
                        },
                    }
                }
                Err(fault) => {
                    self.show(StackState::Unreachable, &fault.message);
                    tracing::warn!(stack = %self.stack, error = %fault.message, "failed to begin; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        _ = self.setting.project.changed() => return Left::Again,
                        commit = next(&mut self.commits) => match commit {
                            Some(commit) => self.head = Some(commit),
                            None => return Left::Ended,
                        },
                    }
                }
            }
        };
        self.drive(project, machine).await
    }

    /// The Lease, then the record: only its holder may read what it will act on.
    async fn prepare(&self, project: &Project) -> Result<Result<Machine, String>, Fault> {
        inspect::namespace_exists(project).await?;
        match lease::acquire(project, &self.stack, &self.setting.me).await? {
            Lead::Theirs(holder) => Ok(Err(holder)),
            Lead::Ours => {
                let mut record = record::load(project, &self.stack).await?;
                if self.setting.retry {
                    record.held = None;
                }
                Ok(Ok(Machine::new(self.stack.clone(), self.setting.context.clone(), record)))
            }
        }
    }

    async fn drive(&mut self, project: &Arc<Project>, machine: Machine) -> Left {
        let (requests, mut worker) = self.worker(project);
        let mut changes = project.subscribe(&self.stack);
        let mut driver = Driver { machine, requests, project: Arc::clone(project) };
        let (measured, stack) = (Arc::downgrade(project), self.stack.clone());
        let meter = move || {
            let (project, stack) = (measured.upgrade(), stack.clone());
            Box::pin(async move {
                match project {
                    Some(project) => inspect::usage(&project, &stack).await,
                    None => Usage::default(),
                }
            }) as BoxFuture<'static, Usage>
        };
        self.setting.board.measure_by(&self.setting.source, &self.stack, Arc::new(meter));
        let mut wish = String::new();
        if let Some(commit) = self.head.clone() {
            self.step(&mut driver, Event::Commit(commit));
        }
        self.step(&mut driver, Event::Observed);
        let left = loop {
            let due = driver.machine.wake_at().map_or(Duration::MAX, clock::until);
            let event = tokio::select! {
                commit = next(&mut self.commits) => match commit {
                    Some(commit) => {
                        self.head = Some(commit.clone());
                        Event::Commit(commit)
                    }
                    None => break Left::Ended,
                },
                Some(reply) = worker.replies.recv() => reply,
                changed = changes.changed() => {
                    if changed.is_err() {
                        break Left::Again;
                    }
                    let (ours, asked) = lease::look(project, &self.stack, &self.setting.me);
                    if !ours {
                        break Left::Again;
                    }
                    if asked && let Err(fault) = lease::answer(project, &self.stack).await {
                        tracing::warn!(stack = %self.stack, error = %fault.message, "failed to answer another daemon");
                    }
                    match self.wished(project, &mut wish) {
                        Some(event) => event,
                        None => Event::Observed,
                    }
                },
                _ = self.setting.project.changed() => break Left::Again,
                () = tokio::time::sleep(due) => Event::Due,
            };
            self.step(&mut driver, event);
        };
        // a write in flight is never cancelled
        drop(driver);
        let _ = worker.task.await;
        left
    }

    /// A rollback that a person asked for by annotating the record.
    fn wished(&self, project: &Project, last: &mut String) -> Option<Event> {
        let map = project.get(&ObjectKey::new(Kind::ConfigMap, record::name(&self.stack)))?;
        let wish = map["metadata"]["annotations"][ROLLBACK_ANNOTATION].as_str().unwrap_or_default();
        if wish == last {
            return None;
        }
        wish.clone_into(last);
        let mut words = wish.split_whitespace();
        let (sha, by) = (words.next()?, words.next().unwrap_or("somebody"));
        let to = (self.setting.older)(sha)?;
        Some(Event::RollBack { to, by: by.into() })
    }

    fn step(&self, driver: &mut Driver, event: Event) {
        let live = driver.project.live(&self.stack);
        let before = (driver.machine.drift_corrected, driver.machine.record.history.len());
        let last_before = driver.machine.record.history.last().map(|deployment| deployment.ended);
        tracing::trace!(stack = %self.stack, ?event, "event");
        let effects = driver.machine.step(event, &live, clock::now());
        for effect in effects.0 {
            if let Effect::Report(status) = effect {
                let _ = self.setting.statuses.send((self.stack.clone(), status));
            } else {
                let _ = driver.requests.send(effect);
            }
        }
        self.count(&driver.machine, before.0, last_before);
        let mut view = view::compose(&driver.machine, &driver.project.namespace, &live, clock::now());
        if let Some(trouble) = driver.project.trouble().filter(|_| view.activity.is_empty()) {
            view.activity = trouble;
        }
        self.setting.board.publish(&self.setting.source, &self.stack, view);
    }

    /// Counts and logs what has just ended.
    fn count(&self, machine: &Machine, corrected: u64, last: Option<jiff::Timestamp>) {
        let (source, stack) = (self.setting.source.clone(), self.stack.to_string());
        let metrics = &self.setting.metrics;
        if machine.drift_corrected > corrected {
            tracing::info!(%stack, "drift corrected");
            metrics.drift_corrected.get_or_create(&StackLabels { source: source.clone(), stack: stack.clone() }).inc();
        }
        let Some(ended) = machine.record.history.last().filter(|deployment| Some(deployment.ended) != last) else {
            return;
        };
        let labels = |result| ResultLabels { source: source.clone(), stack: stack.clone(), result };
        metrics.deployments.get_or_create(&labels(ended.outcome.label())).inc();
        metrics.duration.observe(ended.ended.duration_since(ended.started).as_secs_f64());
        if let (crate::record::Outcome::RolledBack, Some(cause)) = (ended.outcome, &ended.cause) {
            metrics.rollbacks.get_or_create(&labels(cause.label())).inc();
        }
        tracing::info!(%stack, revision = %ended.revision.short(), outcome = ended.outcome.label(), "{}", ended.description);
    }

    /// Shows a Stack that has no machine at the moment.
    fn show(&self, state: StackState, activity: &str) {
        let mut view = View::bare(&self.stack, &self.setting.context.namespace, state, clock::now());
        view.activity = activity.into();
        view.desired_revision = self.head.as_ref().map(|commit| commit.revision.clone());
        self.setting.board.publish(&self.setting.source, &self.stack, view);
    }

    fn worker(&self, project: &Arc<Project>) -> (mpsc::UnboundedSender<Effect>, Worker) {
        let (requests, mut effects) = mpsc::unbounded_channel();
        let (answers, replies) = mpsc::unbounded_channel();
        let (project, stack, setting) = (Arc::clone(project), self.stack.clone(), self.setting.clone());
        let task = tokio::spawn(async move {
            while let Some(effect) = effects.recv().await {
                let Some(reply) = perform(&project, &stack, &setting, effect).await else { continue };
                if answers.send(reply).is_err() {
                    return;
                }
            }
        });
        (requests, Worker { task, replies })
    }
}

struct Driver {
    machine: Machine,
    requests: mpsc::UnboundedSender<Effect>,
    project: Arc<Project>,
}

struct Worker {
    task: JoinHandle<()>,
    replies: mpsc::UnboundedReceiver<Event>,
}

/// The seam: carries out one effect and says how it went.
async fn perform(project: &Project, stack: &StackName, setting: &Setting, effect: Effect) -> Option<Event> {
    let count = |result| setting.metrics.requests.get_or_create(&OutcomeLabels { result }).inc();
    Some(match effect {
        Effect::Check(id, steps) => {
            count("check");
            Event::Checked(id, apply::check(project, stack, &steps).await)
        }
        Effect::Save(id, kept) => {
            count("save");
            Event::Saved(id, record::save(project, stack, &kept).await)
        }
        Effect::Apply(id, steps) => {
            count("apply");
            for step in &steps {
                tracing::debug!(%stack, object = %step.object.key, action = ?step.action, "apply");
            }
            Event::Applied(id, apply::apply(project, &steps).await)
        }
        Effect::Delete(id, keys) => {
            count("delete");
            Event::Deleted(id, apply::delete(project, &keys).await)
        }
        Effect::Inspect(id, servers) => {
            count("inspect");
            Event::Inspected(id, inspect::with_tables(project, &servers).await)
        }
        Effect::Explain(id, pod, previous) => {
            count("explain");
            Event::Explained(id, inspect::log(project, &pod, previous).await)
        }
        Effect::Probe(id, urls) => {
            let live = if setting.probe { inspect::probe(&setting.http, &urls).await } else { Ok(()) };
            Event::Probed(id, live)
        }
        Effect::Report(_) => return None,
    })
}

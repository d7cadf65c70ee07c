//! One Stack's actor: feeds its machine with events and carries out what it asks for. Everything that can fail slowly
//! happens in a worker beside it, one request after the other, so the actor always listens.

use crate::ident::{Kind, ObjectKey, PassId, StackName};
use crate::machine::{Commit, Effect, Event, Fault, Machine, State};
use crate::manifest::Context;
use crate::record::{WISH_ANNOTATION, Want, Wish};
use crate::report::{self, News, StackState, Status, View};
use crate::shell::board::{Board, Usage};
use crate::shell::lease::Lead;
use crate::shell::metrics::{Metrics, OutcomeLabels, ResultLabels, StackLabels};
use crate::shell::project::Project;
use crate::shell::{apply, clock, inspect, lease, record, view};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// Waits between tries to reach a cluster that does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// Finds a Stack's file in the commit with this id.
pub type Older = Arc<dyn Fn(&str) -> Result<Commit, String> + Send + Sync>;

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
    /// Turns for changes of the platform: a few Stacks at a time.
    pub turns: Arc<Semaphore>,
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
        let mut driver = Driver {
            machine,
            requests,
            project: Arc::clone(project),
            wish: String::new(),
            taken: None,
            turn: None,
            permit: None,
        };
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
        if let Some(wish) = self.wished(project, &mut driver) {
            self.step(&mut driver, wish);
        }
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
                    match self.wished(project, &mut driver) {
                        Some(event) => event,
                        None => Event::Observed,
                    }
                },
                _ = self.setting.project.changed() => break Left::Again,
                turn = driver.turn() => turn,
                () = tokio::time::sleep(due) => Event::Due,
            };
            self.step(&mut driver, event);
        };
        // a write in flight is never cancelled
        drop(driver);
        let _ = worker.task.await;
        left
    }

    /// What a person asked for by annotating the record. A wish that was answered stays there only until the record is
    /// kept again.
    fn wished(&self, project: &Project, driver: &mut Driver) -> Option<Event> {
        let map = project.get(&ObjectKey::new(Kind::ConfigMap, record::name(&self.stack)));
        let text = map.as_ref().and_then(|map| map["metadata"]["annotations"][WISH_ANNOTATION].as_str());
        let text = text.unwrap_or_default();
        let unfinished = driver.machine.unfinished_wish().cloned();
        let wish = match unfinished {
            Some(wish) => wish,
            None if text == driver.wish => return None,
            None => {
                text.clone_into(&mut driver.wish);
                if text.is_empty() {
                    return None;
                }
                Wish::decode(text)
                    .inspect_err(|error| tracing::warn!(stack = %self.stack, %error, "failed to read a wish"))
                    .ok()?
            }
        };
        if driver.taken.as_ref() == Some(&wish.id) {
            return None;
        }
        driver.taken = Some(wish.id.clone());
        let to = match &wish.what {
            Want::RollBack { to } => (self.setting.older)(to).map(Some),
            _ => Ok(None),
        };
        Some(Event::Wish { wish, to })
    }

    fn step(&self, driver: &mut Driver, event: Event) {
        let live = driver.project.live(&self.stack);
        let before = (driver.machine.drift_corrected, driver.machine.record.history.len());
        let last_before = driver.machine.record.history.last().map(|deployment| deployment.ended);
        tracing::trace!(stack = %self.stack, ?event, "event");
        let effects = driver.machine.step(event, &live, clock::now());
        for effect in effects.0 {
            match &effect {
                Effect::News(news) => self.tell(news),
                Effect::Queue(id) => {
                    driver.turn = Some((*id, Box::pin(Arc::clone(&self.setting.turns).acquire_owned())));
                }
                _ => {}
            }
            let _ = driver.requests.send(effect);
        }
        driver.keep_turn();
        self.count(&driver.machine, before.0, last_before);
        let mut view = view::compose(&driver.machine, &driver.project.namespace, &live, clock::now());
        if let Some(trouble) = driver.project.trouble().filter(|_| view.activity.is_empty()) {
            view.activity = trouble;
        }
        self.setting.board.publish(&self.setting.source, &self.stack, view);
    }

    /// Tells the forge, where the news are about a commit.
    fn tell(&self, news: &News) {
        if let Some(status) = report::status(news) {
            let _ = self.setting.statuses.send((self.stack.clone(), status));
        }
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
        metrics.deployments.get_or_create(&labels(ended.label())).inc();
        metrics.duration.observe(ended.ended.duration_since(ended.started).as_secs_f64());
        if let (crate::record::Outcome::RolledBack, Some(cause)) = (ended.outcome, &ended.cause) {
            metrics.rollbacks.get_or_create(&labels(cause.label())).inc();
        }
        tracing::info!(%stack, revision = %ended.revision.short(), outcome = ended.label(), "{}", ended.description);
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
    /// The annotation with a wish, as last seen.
    wish: String,
    /// Id of the last wish that the machine was given.
    taken: Option<String>,
    /// The pass that waits for its turn, and the wait.
    turn: Option<(PassId, Wait)>,
    /// The turn, for as long as its pass takes.
    permit: Option<OwnedSemaphorePermit>,
}

/// The wait for a turn.
type Wait = BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>;

impl Driver {
    /// Waits for the turn of a pass that asked for one; without such, for ever.
    async fn turn(&mut self) -> Event {
        if let Some((id, wait)) = &mut self.turn
            && let Ok(permit) = wait.await
        {
            let id = *id;
            (self.turn, self.permit) = (None, Some(permit));
            return Event::Turn(id);
        }
        std::future::pending().await
    }

    /// Whoever is done, or was overtaken, gives the turn to the next.
    fn keep_turn(&mut self) {
        let passing = match &self.machine.state {
            State::Passing(pass) => Some(pass.id),
            State::Resting(_) => None,
        };
        if self.turn.as_ref().is_some_and(|(id, _)| Some(*id) != passing) {
            self.turn = None;
        }
        if passing.is_none() {
            self.permit = None;
        }
    }
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
            Event::Inspected(id, inspect::contents(project, &servers).await)
        }
        Effect::Explain(id, cause) => {
            count("explain");
            Event::Explained(id, inspect::explain(project, cause).await)
        }
        Effect::Who(key, field) => {
            count("who");
            let by = inspect::manager_of(project, &key, &field).await;
            Event::Managed(key, field, by)
        }
        Effect::Probe(id, urls) => {
            let live = if setting.probe { inspect::probe(&setting.http, &urls).await } else { Ok(()) };
            Event::Probed(id, live)
        }
        // the driver waits for it
        Effect::Queue(_) => return None,
        Effect::News(news) => {
            if let Some(note) = report::note(&news) {
                record::announce(project, stack, &note).await;
            }
            return None;
        }
    })
}

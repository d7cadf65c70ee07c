//! One Stack's actor: feeds its machine with events and carries out what it asks for, one request after the other, while it
//! goes on listening.

mod begin;
mod driver;

use crate::ident::{Revision, StackName};
use crate::machine::{Commit, Effect, Event, Machine};
use crate::manifest::Context;
use crate::record::{Suspended, WISH_ANNOTATION, Want, Wish};
use crate::report::{self, News, StackState, View};
use crate::shell::clock::{self, Steady};
use crate::shell::cluster::lease::{self, Look};
use crate::shell::cluster::project::{Followed, Project};
use crate::shell::cluster::{inspect, record};
use crate::shell::forge::statuses::Word;
use crate::shell::metrics::{Metrics, ResultLabels, StackLabels};
use crate::shell::probe::Prober;
use crate::shell::supervise;
use crate::shell::web::board::{Board, Usage};
use crate::view;
use driver::{Driver, may_be_elsewhere, wait_for_turn};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Changes that come within this time after a look are looked at together. The first one after a pause is looked at at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// How much longer than a look took it is until the next one: who changes a Stack all the time gets a part of one core for it.
const SHARE: u32 = 10;

/// Finds the file of a Stack in the commit with this id.
pub type Older = Box<dyn Fn(&StackName, &str) -> BoxFuture<'static, Result<Option<Commit>, String>> + Send + Sync>;

/// What the actors of a source are given. There may be thousands of them, so it is one for all.
pub struct Setting {
    /// Name of the source.
    pub source: String,
    /// Name of this daemon, for the Lease.
    pub me: String,
    /// Whether a commit that failed before is tried again: a person insists.
    pub retry: bool,
    /// What rendering needs to know.
    pub context: Arc<Context>,
    /// Whether public addresses are probed before a deployment settles.
    pub probe: bool,
    /// Where views go.
    pub board: Arc<Board>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Asks public addresses.
    pub prober: Prober,
    /// The connection; `None` while there is none.
    pub project: watch::Receiver<Option<Arc<Project>>>,
    /// Turns for changes of the platform: a few Stacks at a time.
    pub turns: Arc<Semaphore>,
    /// Where commit statuses go.
    pub statuses: mpsc::UnboundedSender<(StackName, Word)>,
    /// Finds the file of a Stack in an older commit, for rollbacks that a person asks for.
    pub older: Older,
}

/// A running actor.
pub struct Actor {
    inbox: watch::Sender<Option<Commit>>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Actor {
    /// Starts the actor of `stack`.
    pub fn start(stack: StackName, setting: Arc<Setting>) -> Self {
        let (inbox, commits) = watch::channel(None);
        let (project, is_over) = (setting.project.clone(), Arc::<AtomicBool>::default());
        let running = Running {
            stack,
            setting,
            project,
            commits,
            is_over: Arc::clone(&is_over),
            head: None,
            told: None,
            followed: None,
            suspended: None,
        };
        Self { inbox, is_over, task: tokio::spawn(running.supervised()) }
    }

    /// Tells it of a commit. This never waits, so an actor that can't reach its cluster holds up no other; of several
    /// commits only the newest counts.
    pub fn commit(&self, commit: Commit) {
        self.inbox.send_replace(Some(commit));
    }

    /// Whether there is nothing left of its Stack.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends it after the request in flight and gives the Lease back.
    pub async fn stop(self) {
        drop(self.inbox);
        let _ = self.task.await;
    }
}

struct Running {
    stack: StackName,
    setting: Arc<Setting>,
    project: watch::Receiver<Option<Arc<Project>>>,
    commits: watch::Receiver<Option<Commit>>,
    /// There is nothing left of it.
    is_over: Arc<AtomicBool>,
    head: Option<Commit>,
    /// The commit that was told that the cluster can't be seen.
    told: Option<Revision>,
    /// Where its objects are followed.
    followed: Option<Followed>,
    /// That a person had suspended it when it was last acted for: a namespace that goes and comes again takes no record with it.
    suspended: Option<Box<Suspended>>,
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

/// Waits for a newer commit, and for room to begin with it; `None` when the source ends. It may be given up at any time: the
/// commit then comes again.
async fn next_with_room(
    commits: &mut watch::Receiver<Option<Commit>>,
    room: &Arc<Semaphore>,
) -> Option<(Commit, OwnedSemaphorePermit)> {
    loop {
        commits.changed().await.ok()?;
        commits.mark_changed();
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        if let Some(commit) = commits.borrow_and_update().clone() {
            return Some((commit, permit));
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
    /// Runs until the source ends; what panics begins anew from the record.
    async fn supervised(mut self) {
        let mut panics = 0;
        while let Err(text) = supervise::caught(Box::pin(self.run())).await {
            panics += 1;
            let wait = supervise::wait(panics);
            tracing::error!(stack = %self.stack, panic = %text, "hks has a mistake; this stack begins anew in {wait:?}");
            self.show(
                StackState::Unreachable,
                &format!("hks stumbled over this Stack ({text}); it begins anew, please report this"),
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn run(&mut self) {
        loop {
            let Some(project) = Box::pin(self.connected()).await else { return };
            if let Left::Ended = self.act(&project).await {
                let for_good = self.is_over.load(Ordering::Relaxed);
                Box::pin(lease::release(&project, &self.stack, &self.setting.me, for_good)).await;
                return;
            }
        }
    }

    async fn drive(
        &mut self,
        project: &Arc<Project>,
        machine: Box<Machine>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Left {
        let mut changes = project.subscribe(&self.stack);
        let mut driver = Driver::new(machine, Arc::clone(project));
        driver.enter_room(room);
        // it may have changed hands while there was no room
        if !self.still_acts(project, &driver.machine).await {
            return Left::Again;
        }
        self.measure(project);
        Box::pin(driver.look_for_the_unseen(&self.stack)).await;
        Box::pin(self.grant(project, &mut driver)).await;
        if let Some(commit) = self.head.clone() {
            Box::pin(self.recall(&mut driver, &commit.revision)).await;
            self.step(&mut driver, Event::Commit(commit));
        }
        self.step(&mut driver, Event::Observed);
        let mut next = Instant::now() + TOGETHER;
        let left = loop {
            // who has nothing to do makes room for others with all that it takes
            if driver.has_room() && driver.may_doze() {
                driver.doze(&self.stack);
                driver.enter_room(None);
            }
            // what is not seen is not gone: nothing is done any more
            let excess = project.excess(&self.stack);
            if driver.is_blind || excess.is_some() {
                tracing::warn!(stack = %self.stack, excess, "not all of it is seen; nothing is touched");
                break Left::Again;
            }
            driver.request(&self.stack, &self.setting);
            let leave = driver.leaves_room_at();
            // what was meant for later by a clock that was wrong would come much later
            if driver.rests() && driver.clock.is_ahead() {
                tracing::warn!(stack = %self.stack, "the clock was set back; beginning anew from the record");
                break Left::Again;
            }
            let doze = driver.dozes_after();
            let mut looks = false;
            let due = driver.wakes_after();
            let event = tokio::select! {
                commit = next_with_room(&mut self.commits, &project.room) => match commit {
                    Some((commit, permit)) => {
                        driver.enter_room(Some(permit));
                        self.head = Some(commit.clone());
                        Box::pin(self.grant(project, &mut driver)).await;
                        Box::pin(self.recall(&mut driver, &commit.revision)).await;
                        Event::Commit(commit)
                    }
                    None => break Left::Ended,
                },
                () = tokio::time::sleep_until(leave.unwrap_or_else(Instant::now)), if leave.is_some() => {
                    driver.enter_room(None);
                    continue;
                }
                reply = async { driver.request.as_mut()?.await }, if driver.request.is_some() => {
                    driver.request = None;
                    let Some(reply) = reply else { continue };
                    driver.take_note(&reply, &self.stack);
                    if may_be_elsewhere(&reply) {
                        project.suspect();
                    }
                    reply
                },
                () = changed(&mut changes, next) => {
                    changes.mark_unchanged();
                    looks = true;
                    if !self.still_acts(project, &driver.machine).await {
                        break Left::Again;
                    }
                    driver.keep_the_record(&self.stack);
                    let wish = Box::pin(self.wished(project, &mut driver)).await;
                    Box::pin(driver.look_for_the_unseen(&self.stack)).await;
                    match wish {
                        Some(wish) => wish,
                        // the machine looks when the reply comes
                        None if driver.machine.is_busy() => continue,
                        None => Event::Observed,
                    }
                },
                _ = self.project.changed() => break Left::Again,
                turn = wait_for_turn(&mut driver.turn), if driver.turn.is_some() => driver.take_turn(turn),
                () = tokio::time::sleep(doze), if driver.may_doze() => {
                    driver.doze(&self.stack);
                    continue;
                }
                () = tokio::time::sleep(due) => Event::Due,
            };
            let (before, was_due) = (clock::cpu(), matches!(event, Event::Due));
            self.step(&mut driver, event);
            if looks {
                let spent = clock::cpu().saturating_sub(before);
                next = Instant::now() + TOGETHER.max(spent * SHARE).max(project.share.spent(spent));
            }
            if driver.woke(was_due) {
                tracing::error!(stack = %self.stack, "hks has a mistake: this stack wants to be woken again and again; please report it");
            }
        };
        self.leave(driver, &left).await;
        left
    }

    /// Carries out what is still to be, and remembers what no other record tells.
    async fn leave(&mut self, driver: Driver, left: &Left) {
        self.suspended = driver.machine.record.suspended.clone().map(Box::new);
        let project = Arc::clone(&driver.project);
        Box::pin(driver.finish(left, &self.stack, &self.setting)).await;
        project.take_beside(&self.stack, BTreeSet::new());
    }

    /// A deployment that a restart has interrupted goes on, before a newer commit is looked at.
    async fn recall(&mut self, driver: &mut Driver, newest: &Revision) {
        let Some(begun) = driver.machine.interrupted().filter(|begun| *begun != newest).cloned() else { return };
        if let Some(commit) = self.begun(&begun).await {
            self.step(driver, Event::Commit(commit));
        }
    }

    /// The commit whose deployment was interrupted, if it can be had.
    async fn begun(&self, revision: &Revision) -> Option<Commit> {
        match (self.setting.older)(&self.stack, revision.as_str()).await {
            Ok(None) => {
                tracing::warn!(stack = %self.stack, %revision, "the commit that was being deployed is gone");
                None
            }
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(stack = %self.stack, %revision, %error, "failed to go on with a deployment");
                None
            }
        }
    }

    /// Whether the Lease is still this daemon's; another one that asks for it is answered, or gets it where this source has nothing to
    /// deploy.
    async fn still_acts(&self, project: &Project, machine: &Machine) -> bool {
        match lease::look(project, &self.stack, &self.setting.me) {
            Look::Ours => true,
            Look::Lost => false,
            Look::Asked
                if machine.has_nothing()
                    && lease::is_asked_by_another_source(project, &self.stack, &self.setting.me) =>
            {
                if let Err(fault) = Box::pin(lease::hand_over(project, &self.stack)).await {
                    tracing::warn!(stack = %self.stack, error = %fault.message, "failed to hand the Stack over");
                }
                lease::look(project, &self.stack, &self.setting.me) != Look::Lost
            }
            Look::Asked => {
                let answered = Box::pin(lease::answer(project, &self.stack, &self.setting.me)).await;
                if let Err(fault) = answered {
                    tracing::warn!(stack = %self.stack, error = %fault.message, "failed to answer another daemon");
                }
                true
            }
        }
    }

    /// Tells the board how the Stack is measured.
    fn measure(&self, project: &Arc<Project>) {
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
    }

    /// Hands on what is wanted already, before a commit comes that nobody can have meant by that.
    async fn grant(&self, project: &Project, driver: &mut Driver) {
        while !driver.machine.is_asked()
            && let Some(wish) = self.wished(project, driver).await
        {
            self.step(driver, wish);
        }
    }

    /// What a person asked for by annotating the record. A wish that was answered stays there only until the record is
    /// kept again.
    async fn wished(&self, project: &Project, driver: &mut Driver) -> Option<Event> {
        if driver.machine.is_busy() && driver.machine.is_asked() {
            return None;
        }
        let map = record::seen(project, &self.stack);
        let text = map.as_ref().and_then(|map| map["metadata"]["annotations"][WISH_ANNOTATION].as_str());
        let text = text.unwrap_or_default();
        let waiting = if text.is_empty() { Ok(vec![]) } else { Wish::decode(text) };
        let waiting = waiting.unwrap_or_else(|error| {
            if text != driver.unread {
                text.clone_into(&mut driver.unread);
                tracing::warn!(stack = %self.stack, %error, "failed to read a wish");
            }
            vec![]
        });
        let machine = &driver.machine;
        let begun = machine.unfinished_wish().cloned();
        let first_new = usize::from(begun.is_some());
        let new = waiting.into_iter().filter(|wish| !machine.record.has_answered(wish));
        let mut all: Vec<_> = begun.into_iter().chain(new).collect();
        for text in all.iter_mut().flat_map(Wish::words) {
            *text = project.clean(&self.stack, text);
        }
        for (at, wish) in all.iter().enumerate() {
            // also one that waits for the newest commit, but not one that was begun with
            let later = all[at + 1..].iter().find(|later| at >= first_new && later.what.overtakes(&wish.what));
            if later.is_none() && driver.taken.as_ref() == Some(&wish.id) {
                continue;
            }
            let to = match (later, &wish.what) {
                (Some(later), _) => Err(format!("{} wanted to {} before it was begun", later.by, later.what)),
                (None, Want::RollBack { to }) => match (self.setting.older)(&self.stack, to).await {
                    // once the repository can be read, the newest commit brings this here again; others need not wait for that
                    Ok(None) => continue,
                    found => found,
                },
                (None, Want::Resume) => match driver.machine.suspended_in().cloned() {
                    Some(begun) => Ok(self.begun(&begun).await),
                    None => Ok(None),
                },
                (None, _) => Ok(None),
            };
            driver.taken = Some(wish.id.clone());
            let (source, stack) = (self.setting.source.as_str(), self.stack.as_str());
            tracing::info!(target: "audit", audit = "wish", who = wish.by, source, stack, id = wish.id, wish = %wish.what, "taken");
            return Some(Event::Wish { wish: wish.clone(), to });
        }
        None
    }

    fn step(&self, driver: &mut Driver, event: Event) {
        // who can't see all of it leaves before anything else is done
        let Ok(live) = driver.project.picture(&self.stack) else {
            driver.is_blind = true;
            return;
        };
        driver.dozes = false;
        let before = (driver.machine.drift_corrected, driver.machine.record.history.len());
        let last_before = driver.machine.record.history.last().map(|deployment| deployment.ended);
        tracing::trace!(stack = %self.stack, ?event, "event");
        if driver.rests() {
            driver.clock = Steady::start();
        }
        let effects = driver.machine.step(event, &live, driver.clock.now());
        driver.project.take_beside(&self.stack, driver.machine.takes());
        for effect in effects.0 {
            match &effect {
                Effect::News(news) => self.tell(news),
                Effect::Queue(id) => {
                    driver.turn = Some((*id, Box::pin(Arc::clone(&self.setting.turns).acquire_owned())));
                    continue;
                }
                _ => {}
            }
            driver.queue.push_back(effect);
        }
        driver.keep_turn();
        self.is_over.store(driver.machine.is_over(), Ordering::Relaxed);
        self.count(&driver.machine, before.0, last_before);
        let mut view = view::compose(&driver.machine, &driver.project.namespace, &live, driver.clock.now());
        if let Some(trouble) = driver.project.trouble().filter(|_| view.activity.is_empty()) {
            view.cant_be_seen(trouble, driver.project.is_blind());
        }
        for text in view.words() {
            *text = driver.project.clean(&self.stack, text);
        }
        self.setting.board.publish(&self.setting.source, &self.stack, view);
    }

    /// Tells the forge, where the news are about a commit.
    fn tell(&self, news: &News) {
        if let Some(status) = report::status(news) {
            self.say(Word::Says(status));
        }
    }

    fn say(&self, word: Word) {
        let _ = self.setting.statuses.send((self.stack.clone(), word));
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
}

/// Waits for a change of the picture, and then until `earliest`: what changes again meanwhile is one look.
async fn changed(changes: &mut watch::Receiver<u64>, earliest: Instant) {
    // the sender lives as long as the project, which the caller holds
    let _ = changes.changed().await;
    changes.mark_changed();
    tokio::time::sleep_until(earliest).await;
}

//! Carrying out what a machine asks for: one request after the other, and the turns that changes of the platform wait for.

use super::{Left, Setting};
use crate::ident::{ObjectKey, PassId, StackName};
use crate::machine::{Contents, Effect, Event, Machine, State};
use crate::report;
use crate::shell::clock::Steady;
use crate::shell::cluster::apply::{self, Hand};
use crate::shell::cluster::project::Project;
use crate::shell::cluster::{inspect, lease, record};
use crate::shell::metrics::OutcomeLabels;
use crate::shell::pace::Floor;
use crate::shell::probe;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::Instant;

/// Whether the cluster's address or the access data may be others now: something failed that trying again may cure.
pub(super) fn may_be_elsewhere(reply: &Event) -> bool {
    let fault = match reply {
        Event::Checked(_, reply) | Event::Saved(_, reply) | Event::Deleted(_, reply) => reply.as_ref().err(),
        Event::Applied(_, reply) => reply.as_ref().err(),
        _ => None,
    };
    fault.is_some_and(|fault| fault.transient)
}

/// How long a Stack may keep others of its project from beginning: those that wait for their pods need no room.
const ROOM: Duration = Duration::from_secs(10);

/// How long a Stack that a change has woken must have been at rest before what it doesn't need for that is given up again: the
/// controllers' changes come one after the other, and to have it again costs more than to look. Those that begin give it up with
/// their room.
const DOZE: Duration = Duration::from_secs(1);

/// How often it is looked in a row for what no watch shows.
const ROUNDS: usize = 5;

/// How often a record is written again at most that is not as it was kept.
const REWRITE: Duration = Duration::from_secs(5);

/// A machine, what it works on, and what it has asked for.
pub(super) struct Driver {
    pub(super) machine: Box<Machine>,
    pub(super) project: Arc<Project>,
    /// What is to be asked, in order.
    pub(super) queue: VecDeque<Effect>,
    /// What is being asked.
    pub(super) request: Option<BoxFuture<'static, Option<Event>>>,
    /// The wishes that could not be read.
    pub(super) unread: String,
    /// The time by which the machine works.
    pub(super) clock: Steady,
    /// Id of the last wish that the machine was given.
    pub(super) taken: Option<String>,
    /// The pass that waits for its turn, and the wait.
    pub(super) turn: Option<(PassId, Wait)>,
    /// Whether it dozes, and when it wants to be woken then.
    pub(super) dozes: bool,
    due: Option<Timestamp>,
    /// When the record was kept that the cluster should have.
    kept: Option<String>,
    /// When it was last written again.
    rewritten: Option<Instant>,
    /// Keeps a machine that wants to be woken at once from being woken all the time.
    floor: Floor,
    /// What of the inventory was looked for and is not there.
    gone: BTreeSet<ObjectKey>,
    /// The machine has missed something, since not all of the Stack is seen.
    pub(super) is_blind: bool,
    /// Room to work in, and until when it is kept at most.
    room: Option<(OwnedSemaphorePermit, Instant)>,
    /// The turn, for as long as its pass takes.
    permit: Option<OwnedSemaphorePermit>,
}

fn kept_at(project: &Project, stack: &StackName) -> Option<String> {
    record::kept_at(&*record::seen(project, stack)?).map(str::to_owned)
}

/// The wait for a turn.
pub(super) type Wait = BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>;

pub(super) async fn wait_for_turn(turn: &mut Option<(PassId, Wait)>) -> Option<OwnedSemaphorePermit> {
    let (_, wait) = turn.as_mut()?;
    wait.await.ok()
}

impl Driver {
    pub(super) fn new(machine: Box<Machine>, project: Arc<Project>) -> Self {
        let kept = kept_at(&project, &machine.stack);
        let (queue, unread) = (VecDeque::new(), String::new());
        Self {
            machine,
            project,
            queue,
            request: None,
            unread,
            clock: Steady::start(),
            taken: None,
            turn: None,
            dozes: false,
            due: None,
            kept,
            rewritten: None,
            floor: Floor::default(),
            gone: BTreeSet::new(),
            is_blind: false,
            room: None,
            permit: None,
        }
    }

    /// Takes room to work in, or leaves it.
    pub(super) fn enter_room(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.room = permit.map(|permit| (permit, Instant::now() + ROOM));
    }

    /// Whether it has room.
    pub(super) fn has_room(&self) -> bool {
        self.room.is_some()
    }

    /// When others need the room.
    pub(super) fn leaves_room_at(&self) -> Option<Instant> {
        self.room.as_ref().map(|(_, until)| *until)
    }

    /// How long until the machine is woken.
    pub(super) fn wakes_after(&self) -> Duration {
        self.wishes_for().max(self.floor.least())
    }

    /// How long until the machine wants to be woken.
    fn wishes_for(&self) -> Duration {
        let at = if self.dozes { self.due } else { self.machine.wake_at() };
        at.map_or(Duration::MAX, |at| self.clock.until(at))
    }

    /// The machine was given an event, perhaps since its time had come; returns whether it is time to say that it wants to be woken
    /// again and again.
    pub(super) fn woke(&mut self, was_due: bool) -> bool {
        self.floor.looked(was_due && self.queue.is_empty() && self.request.is_none() && self.wishes_for().is_zero())
    }

    /// Whether the machine is in no pass.
    pub(super) fn rests(&self) -> bool {
        matches!(self.machine.state, State::Resting(_))
    }

    /// Whether nothing is under way.
    pub(super) fn may_doze(&self) -> bool {
        !self.dozes && self.idles()
    }

    fn idles(&self) -> bool {
        self.rests() && self.has_nothing_to_ask()
    }

    /// Whether no request is under way or waits.
    fn has_nothing_to_ask(&self) -> bool {
        self.request.is_none() && self.queue.is_empty()
    }

    /// How long nothing may happen before it dozes: a record that was just written again is looked at once more before.
    pub(super) fn dozes_after(&self) -> Duration {
        let again =
            self.rewritten.map_or(Duration::ZERO, |at| (at + REWRITE).saturating_duration_since(Instant::now()));
        again.max(DOZE)
    }

    /// Gives up what the Stack does not need while it rests. Its record is looked at before: it may have been changed while
    /// something was under way.
    pub(super) fn doze(&mut self, stack: &StackName) {
        self.keep_the_record(stack);
        if !self.may_doze() || self.was_just_rewritten() {
            return;
        }
        (self.dozes, self.due) = (true, self.machine.wake_at());
        self.machine.doze();
        self.queue = VecDeque::new();
        self.project.fold(stack);
    }

    fn was_just_rewritten(&self) -> bool {
        self.rewritten.is_some_and(|at| at.elapsed() < REWRITE)
    }

    /// Remembers which record the cluster has.
    pub(super) fn take_note(&mut self, reply: &Event, stack: &StackName) {
        if matches!(reply, Event::Saved(_, Ok(()))) {
            self.kept = kept_at(&self.project, stack);
        }
    }

    /// Somebody has deleted the record of a Stack, has written in it, or has put one of before in its place: what is known is
    /// written down again. In the middle of a deployment that is what was written before its last step.
    pub(super) fn keep_the_record(&mut self, stack: &StackName) {
        let record = if self.rests() { &self.machine.record } else { &self.machine.saved };
        let deployed = record.settled.is_some() || record.held.is_some() || record.attempt.is_some();
        let says_something = deployed || record.suspended.is_some();
        let is_kept = || {
            record::seen(&self.project, stack)
                .is_some_and(|map| !record::is_of_another_hand(&map) && record::kept_at(&map) == self.kept.as_deref())
        };
        if says_something && self.has_nothing_to_ask() && !self.was_just_rewritten() && !is_kept() {
            self.rewritten = Some(Instant::now());
            tracing::warn!(%stack, "somebody has deleted or changed the record; writing it again");
            self.queue.push_back(Effect::Save(PassId::default(), Box::new(record.clone())));
        }
    }

    /// Looks for what hks has made and the watches do not show, once for each: it may only have lost its labels.
    pub(super) async fn look_for_the_unseen(&mut self, stack: &StackName) {
        if !self.rests() {
            return;
        }
        // more may go while it is looked for some: what nobody has looked for must not count as gone
        for _ in 0..ROUNDS {
            let unseen = self.project.unseen(self.machine.record.inventory.iter().map(|owned| &owned.key));
            self.gone.retain(|key| unseen.contains(key));
            let new: Vec<_> = unseen.into_iter().filter(|key| !self.gone.contains(key)).collect();
            if new.is_empty() {
                return;
            }
            self.gone.extend(self.project.look_for(stack, new).await);
        }
    }

    pub(super) fn take_turn(&mut self, permit: Option<OwnedSemaphorePermit>) -> Event {
        self.permit = permit;
        self.turn.take().map_or(Event::Observed, |(id, _)| Event::Turn(id))
    }

    /// Whoever is done, or was overtaken, gives the turn to the next.
    pub(super) fn keep_turn(&mut self) {
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

    /// Sends the next request, if none is under way.
    pub(super) fn request(&mut self, stack: &StackName, setting: &Arc<Setting>) {
        if self.request.is_none()
            && let Some(effect) = self.queue.pop_front()
        {
            let (project, stack, setting) = (Arc::clone(&self.project), stack.clone(), Arc::clone(setting));
            self.request = Some(Box::pin(async move { perform(&project, &stack, &setting, effect).await }));
        }
    }

    /// A write in flight is never cancelled. What waits behind it is still done if the source ends, for this daemon still acts;
    /// it is not if another one does.
    pub(super) async fn finish(mut self, left: &Left, stack: &StackName, setting: &Arc<Setting>) {
        while let Some(request) = self.request.take() {
            request.await;
            if let Left::Ended = left {
                self.request(stack, setting);
            }
        }
    }
}

/// The seam: carries out one effect and says how it went.
async fn perform(project: &Project, stack: &StackName, setting: &Setting, effect: Effect) -> Option<Event> {
    let count = |result| setting.metrics.requests.get_or_create(&OutcomeLabels { result }).inc();
    let hand = Hand { project, stack, me: &setting.me };
    let mut reply = match effect {
        Effect::Check(id, steps, hosts) => {
            count("check");
            let claimed = match project.claims() {
                Some(claims) => claims.claim(&hosts).await,
                None => Ok(()),
            };
            Event::Checked(
                id,
                match claimed {
                    Ok(()) => apply::check(project, stack, &steps).await,
                    Err(fault) => Err(fault),
                },
            )
        }
        Effect::Save(id, kept) => {
            count("save");
            Event::Saved(
                id,
                match lease::prove(project, stack, &setting.me).await {
                    Ok(proof) => proof.while_sure(record::save(project, stack, &kept)).await,
                    Err(fault) => Err(fault),
                },
            )
        }
        Effect::Apply(id, steps) => {
            count("apply");
            for step in &steps {
                tracing::debug!(%stack, object = %step.object.key, action = ?step.action, "apply");
            }
            Event::Applied(id, apply::apply(hand, &steps).await)
        }
        Effect::Delete(id, keys) => {
            count("delete");
            Event::Deleted(id, apply::delete(hand, &keys).await)
        }
        Effect::Inspect(id, servers) => {
            count("inspect");
            Event::Inspected(id, inspect::contents(project, &servers).await)
        }
        Effect::Measure(id, volumes) => {
            count("measure");
            Event::Measured(id, inspect::free(project, &volumes).await)
        }
        Effect::Explain(id, cause) => {
            count("explain");
            Event::Explained(id, inspect::explain(project, stack, cause).await)
        }
        Effect::Who(key, field) => {
            count("who");
            let by = inspect::manager_of(project, &key, &field).await;
            Event::Managed(key, field, by)
        }
        Effect::Probe(id, urls) => {
            let live = if setting.probe { probe::probe(&setting.prober, &urls).await } else { Ok(None) };
            Event::Probed(id, live)
        }
        Effect::Hosts { needed, free } => {
            if let Some(claims) = project.claims() {
                if let Err(fault) = claims.claim(&needed).await {
                    tracing::warn!(%stack, error = %fault.message, "a public host of this stack is not its own");
                }
                // another Stack of the project may have it as well, by other paths
                let free = free.into_iter().filter(|host| !project.is_answered_by_others(stack, host)).collect();
                claims.release(&free).await;
            }
            return None;
        }
        // the driver waits for it
        Effect::Queue(_) => return None,
        Effect::News(news) => {
            if let Some(note) = report::note(&news) {
                record::announce(project, stack, &note).await;
            }
            return None;
        }
    };
    if !words(&mut reply).is_empty() {
        project.knows_what_to_hide(stack).await;
        for text in words(&mut reply) {
            *text = project.clean(stack, text);
        }
    }
    Some(reply)
}

/// What a reply holds of what others have said.
fn words(reply: &mut Event) -> Vec<&mut String> {
    let fault = match reply {
        Event::Checked(_, Err(fault))
        | Event::Saved(_, Err(fault))
        | Event::Deleted(_, Err(fault))
        | Event::Applied(_, Err(fault)) => fault,
        Event::Probed(_, Err((_, message))) => return vec![message],
        Event::Inspected(_, found) => {
            let unknown = found.values_mut().filter_map(|contents| match contents {
                Contents::Unknown(why) => Some(why),
                Contents::Empty | Contents::Tables => None,
            });
            return unknown.collect();
        }
        Event::Managed(_, _, Some(by)) => return vec![by],
        _ => return vec![],
    };
    vec![&mut fault.message]
}

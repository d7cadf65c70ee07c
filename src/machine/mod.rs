//! (Machine, Event, Live, now) → (Machine, Effects): the one state machine, one for each Stack.
//!
//! Invariants, each pinned by a scenario in `tests/fixtures/scenario/`:
//! - An empty plan is not settled: a pass always goes through watching.
//! - A reply carries the id of its pass; a late reply of a superseded pass is dropped.
//! - A commit that arrives while a request is in flight waits for the reply and is never lost.
//! - A failed dry run touches nothing and needs no rollback; a partly failed apply does.
//! - Transient errors stay in place and back off, bounded by the deployment's deadline.
//! - A rollback is the same pass toward the last settled release. It never rolls back itself; it ends held, and says
//!   whether everything is well again, put back but not well, or could not be put back.
//! - Only a commit that can be deployed and differs interrupts a pass; what is wrong with others is told beside it.
//! - A rollback deletes only what its own attempt created. Data goes only if it was proven to be empty; what is not known
//!   stays, and so does a volume's place: one that a settled release had is never made anew unasked.
//! - Timers are compared with the deadlines in the state, so a stale timer is harmless.
//!
//! `step` is total: failures are events, so nothing here returns `Result`.

mod seam;
mod hosts;
mod pass;
mod walk;
mod write;
mod watch;
mod settle;
mod back;
mod drift;
mod health;
mod room;
mod limit;
mod overtaken;
mod consider;
mod wish;

pub use health::Trouble;
pub use pass::{Origin, Pass, Station, Toward};
pub use seam::{Certificate, Commit, Content, Contents, Effect, Effects, Event, Fault, Made, Probed, Volume};

use crate::ident::{Message, ObjectKey, PassId, Revision, StackName};
use crate::manifest::{Context, Manifest};
use crate::plan::{Difference, Live, Until};
use crate::record::{Deployment, Ending, Record, Wish};
use crate::report::News;
use crate::rollout::Cause;
use crate::spec::{self, Document, Selection};
use drift::Insistence;
use jiff::Timestamp;
use seam::Reply;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Commits whose words are remembered: those that wait for the same deployment, and some more.
const HEARD: usize = 50;

/// Where the machine is when it is not in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing was ever deployed.
    Fresh,
    /// The newest commit is in effect.
    Settled,
    /// The newest commit failed; the last settled release is in effect.
    Held,
    /// The newest commit has no usable file; the last settled release is in effect.
    Invalid,
    /// The file is empty or gone; nothing is touched until it is back.
    Suspended,
}

/// What the newest commit holds, once it was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
enum Verdict {
    /// Something that can be deployed.
    #[default]
    Usable,
    /// A mistake.
    Mistake(Box<Cause>),
    /// No Stack for this place.
    Withdrawn(String),
}

/// The settled release, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Baseline {
    /// Nothing was ever deployed, or nobody remembers it.
    Nothing,
    /// Its objects.
    Kept(Arc<Manifest>),
    /// There is one, but what it was can't be told. Nothing is deleted or put back by that.
    Unreadable(Cause),
}

/// What the record has of the baseline. That it is the same is seen once for each release: it costs more than most steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Packing {
    /// Nobody has looked.
    #[default]
    Unseen,
    /// The record's release unpacks to the baseline.
    Same,
    /// … and is all that there is of it.
    Alone,
}

/// The machine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Not in a pass.
    Resting(Rest),
    /// In one.
    Passing(Box<Pass>),
}

/// One Stack's machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The Stack.
    pub stack: StackName,
    /// What is kept in the cluster.
    pub record: Record,
    /// What it is doing.
    pub state: State,
    /// The newest commit seen.
    pub head: Option<Commit>,
    /// What the last commits say of themselves, newest last.
    messages: VecDeque<(Revision, Message)>,
    /// Fields that somebody else changed, as last seen.
    pub drift: Vec<(ObjectKey, Vec<Difference>)>,
    /// How often drift was put back.
    pub drift_corrected: u64,
    /// Volumes of the settled release that are gone: nothing is made in their place unasked.
    pub lost: Vec<ObjectKey>,
    /// The newest commit that was looked at, and the tag that it was reached by.
    considered: Option<(Revision, Option<String>)>,
    verdict: Verdict,
    /// Digest of what the newest commit becomes here; empty if it becomes nothing.
    head_content: String,
    /// Secrets of others that it takes.
    head_takes: BTreeSet<String>,
    context: Arc<Context>,
    /// The record as the cluster has it, as far as known.
    pub saved: Record,
    baseline: Baseline,
    packing: Packing,
    /// The settled file becomes just what ran, with today's hks and settings.
    fits: bool,
    /// The baseline is what today's hks makes of the settled file: a record of the format before does not say what ran, and one
    /// without a seal is not believed.
    unproven: bool,
    next_pass: PassId,
    /// Drift is not corrected before this: somebody fights over it.
    drift_pause: Option<Timestamp>,
    /// When the last corrections began.
    corrections: Vec<Timestamp>,
    /// Fields that somebody else sets again and again.
    insistence: Insistence,
    health: health::Health,
    /// What a limit has kept from running.
    limited: Option<limit::Limited>,
    /// The last news.
    told: Option<News>,
    /// The newest setting of a secret that the newest commit was begun again for. It is by the clock of who set it: one that
    /// is ahead must not make it begin again and again.
    heeded: Option<Timestamp>,
    /// What the newest commit waits for.
    blockers: Vec<Until>,
    /// Old versions of blue/green apps, and when each goes.
    retiring: BTreeMap<ObjectKey, Timestamp>,
    /// What was deleted at rest, and when it is looked for again: the watches may be late.
    dismissed: BTreeMap<ObjectKey, Timestamp>,
    /// A wish that waits for a reply in flight.
    asked: Option<(Wish, Result<Option<Commit>, String>)>,
    /// The wish whose release did not work; what was there before it is being put back.
    failed_wish: Option<Wish>,
    /// The public hosts that it may have for itself, once that was looked at.
    hosts: Option<BTreeSet<String>>,
}

impl Machine {
    /// A machine that goes on from what was recorded.
    pub fn new(stack: StackName, context: impl Into<Arc<Context>>, record: Record) -> Self {
        let mut machine = Self {
            stack,
            saved: record.clone(),
            record,
            state: State::Resting(Rest::Fresh),
            head: None,
            messages: VecDeque::new(),
            considered: None,
            verdict: Verdict::default(),
            head_content: String::new(),
            head_takes: BTreeSet::new(),
            drift: vec![],
            drift_corrected: 0,
            lost: vec![],
            context: context.into(),
            baseline: Baseline::Nothing,
            packing: Packing::default(),
            fits: false,
            unproven: false,
            next_pass: PassId::default(),
            drift_pause: None,
            corrections: vec![],
            insistence: Insistence::default(),
            health: health::Health::default(),
            limited: None,
            told: None,
            heeded: None,
            blockers: vec![],
            retiring: BTreeMap::new(),
            dismissed: BTreeMap::new(),
            asked: None,
            failed_wish: None,
            hosts: None,
        };
        machine.remember_baseline();
        machine.state = State::Resting(machine.resting());
        machine
    }

    /// At rest: gives up what can be had again from the record, and returns whether it did. Thousands of Stacks rest most of the
    /// time, and the objects of a release take more room than all else. [`Machine::wake_at`] says what it says after a step.
    pub fn doze(&mut self) -> bool {
        if matches!(self.state, State::Resting(_)) && !self.record.doubted {
            if let (Packing::Unseen, Baseline::Kept(kept), Some(release)) =
                (self.packing, &self.baseline, &self.record.settled)
                && matches!(release.manifest(), Ok(Some(again)) if **kept == again)
            {
                self.packing = Packing::Same;
            }
            if self.packing == Packing::Same {
                self.baseline = Baseline::Nothing;
                self.packing = Packing::Alone;
            }
        }
        self.packing == Packing::Alone
    }

    fn awake(&mut self) {
        if self.packing == Packing::Alone {
            self.remember_baseline();
        }
    }

    fn remember_baseline(&mut self) {
        let Some(release) = &self.record.settled else { return };
        self.baseline = match release.manifest() {
            Ok(Some(manifest)) if !self.record.doubted => {
                self.packing = Packing::Same;
                Baseline::Kept(Arc::new(manifest))
            }
            // nobody who may only write the record has anything put back that no hks.yaml could ask for
            Ok(_) => {
                self.unproven = true;
                match self.rendered(&release.document(), &release.revision) {
                    Ok(Some(manifest)) => Baseline::Kept(Arc::new(manifest)),
                    Ok(None) => Baseline::Unreadable(Cause::Refused {
                        object: "hks.yaml".into(),
                        message: "no environment of the settled release is meant for this branch and project".into(),
                    }),
                    Err(cause) => Baseline::Unreadable(cause),
                }
            }
            Err(message) => Baseline::Unreadable(Cause::Refused {
                object: format!("ConfigMap/hks-{}", self.stack),
                message: format!("the settled release in it can't be read ({message}); restore it from a backup"),
            }),
        };
    }

    /// There is a settled release, and what it was can't be told.
    pub fn is_unreadable(&self) -> bool {
        matches!(self.baseline, Baseline::Unreadable(_))
    }

    /// The settled release, as it ran.
    pub fn baseline(&self) -> Option<&Manifest> {
        self.kept().map(|manifest| &**manifest)
    }

    fn kept(&self) -> Option<&Arc<Manifest>> {
        match &self.baseline {
            Baseline::Kept(manifest) => Some(manifest),
            Baseline::Nothing | Baseline::Unreadable(_) => None,
        }
    }

    /// What the machine works on or rests with.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            State::Passing(pass) => Some(&pass.manifest),
            State::Resting(_) => self.baseline(),
        }
    }

    /// Secrets of others that what runs, or the newest commit, takes: what is known of them belongs into the picture. Not to be
    /// asked while it dozes.
    pub fn takes(&self) -> BTreeSet<String> {
        let runs = self.baseline().map(Manifest::taken_names).unwrap_or_default();
        runs.into_iter().chain(self.head_takes.iter().cloned()).collect()
    }

    /// Why the newest commit is not in effect.
    pub fn cause(&self) -> Option<&Cause> {
        if let Verdict::Mistake(cause) = &self.verdict {
            return Some(cause);
        }
        match &self.state {
            State::Passing(pass) => match &pass.toward {
                Toward::Back { cause, .. } => Some(cause),
                Toward::Forward | Toward::Heal | Toward::Nothing { .. } => None,
            },
            State::Resting(Rest::Held) => self.record.held.as_ref().map(|held| &held.cause),
            State::Resting(_) => None,
        }
    }

    /// What the newest commit waits for; it goes on by itself then.
    pub fn blockers(&self) -> &[Until] {
        &self.blockers
    }

    /// What of the settled release is not well at rest.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.health.troubles()
    }

    /// Fields that are left alone since somebody else insists on them, and who that is.
    pub fn left_alone(&self) -> Vec<(String, String)> {
        self.insistence.left_alone()
    }

    /// Whether its pass waits for a reply: until then it takes no notice of what changes.
    pub fn is_busy(&self) -> bool {
        matches!(&self.state, State::Passing(pass) if pass.in_flight)
    }

    /// When the machine next wants [`Event::Due`].
    pub fn wake_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Passing(pass) => pass.wake_at(),
            State::Resting(_) => {
                let drift = self.drift_pause.into_iter().chain(self.retiring.values().copied());
                // a time that nobody looks at would come again and again
                let drift = drift.filter(|_| self.looks_for_drift());
                drift.chain(self.health.wake_at()).chain(self.tried_again_at()).min()
            }
        }
    }

    /// Whether there is a settled release that what is live is compared with. Half a deployment is not drift: the commit,
    /// once it is fetched again, says how it goes on. Nor is what a release before this hks may have been.
    fn looks_for_drift(&self) -> bool {
        let record = &self.record;
        let open = |ending: &Ending| matches!(ending, Ending::Open | Ending::Refused { .. });
        let unfinished = record.attempt.is_some() || record.held.as_ref().is_some_and(|held| open(&held.ending));
        let resting = matches!(self.state, State::Resting(rest) if !matches!(rest, Rest::Suspended | Rest::Fresh));
        resting && !unfinished && !self.unproven && self.kept().is_some()
    }

    /// Where the machine rests when nothing is under way: it follows from the record and the newest commit.
    fn resting(&self) -> Rest {
        if self.record.suspended.is_some() {
            return Rest::Suspended;
        }
        match &self.verdict {
            Verdict::Withdrawn(_) => Rest::Suspended,
            Verdict::Mistake(_) => Rest::Invalid,
            // what is held is the newest commit, or nothing newer is known
            Verdict::Usable if self.record.held.is_some() => Rest::Held,
            Verdict::Usable if matches!(self.baseline, Baseline::Nothing) => Rest::Fresh,
            Verdict::Usable => Rest::Settled,
        }
    }

    /// Takes one event.
    pub fn step(&mut self, event: Event, live: &Live, now: Timestamp) -> Effects {
        self.awake();
        let mut turn = Turn { machine: self, live, now, effects: Effects::default() };
        turn.take(event);
        turn.keep_hosts();
        turn.effects
    }

    /// What the file means here; `None` if none of its environments is meant for this branch and project.
    fn rendered(&self, document: &Document, revision: &Revision) -> Result<Option<Manifest>, Cause> {
        let Context { branch, namespace, environment, .. } = &*self.context;
        let selection = match environment {
            Some(name) => Selection::Named { name, tag: document.tag.as_deref() },
            None => Selection::For { branch, tag: document.tag.as_deref(), project: namespace },
        };
        let spec = spec::read(&document.source, &document.path, &document.files, selection);
        let spec = spec.map_err(|diagnostics| Cause::InvalidSpec {
            count: diagnostics.len(),
            first: diagnostics.first().map(ToString::to_string).unwrap_or_default(),
        })?;
        Ok(spec.map(|spec| crate::manifest::render(&spec, revision, &self.context)))
    }

    /// Remembers what a commit says of itself, for when its deployment has ended.
    fn hear(&mut self, commit: &Commit) {
        if let Some(message) = commit.message.clone() {
            self.messages.retain(|(revision, _)| *revision != commit.revision);
            self.messages.reserve_exact(1);
            self.messages.push_back((commit.revision.clone(), message));
            self.messages.drain(..self.messages.len().saturating_sub(HEARD));
        }
    }

    /// Keeps in the history how a deployment ended.
    fn remember(&mut self, deployment: Deployment) {
        let said = self.messages.iter().find(|(revision, _)| *revision == deployment.revision);
        let message = said.map(|(_, message)| message.clone());
        self.record.remember(Deployment { message, ..deployment });
    }

    fn next_id(&mut self) -> PassId {
        self.next_pass = self.next_pass.next();
        self.next_pass
    }
}

/// One event being taken: the machine, and what it may look at.
struct Turn<'a> {
    machine: &'a mut Machine,
    live: &'a Live,
    now: Timestamp,
    effects: Effects,
}

impl Turn<'_> {
    fn take(&mut self, event: Event) {
        self.see_what_was_accepted();
        match event {
            Event::Commit(commit) => {
                self.machine.hear(&commit);
                self.waits_in_place(&commit.revision);
                self.machine.head = Some(commit);
                self.resume();
                self.reconsider();
            }
            Event::Wish { wish, to } => {
                if let Ok(Some(commit)) = &to {
                    self.machine.hear(commit);
                }
                self.machine.asked = Some((wish, to));
                self.resume();
                self.reconsider();
            }
            Event::Observed | Event::Due => {
                self.resume();
                match &self.machine.state {
                    State::Passing(_) => self.walk(Self::look),
                    State::Resting(_) if self.may_begin_again() => self.begin_again(),
                    State::Resting(_) => self.look_around(),
                }
            }
            Event::Turn(id) => self.reply(id, Reply::Turn),
            Event::Checked(id, reply) => self.reply(id, Reply::Checked(reply)),
            Event::Saved(id, reply) => self.reply(id, Reply::Saved(reply)),
            Event::Applied(id, reply) => self.reply(id, Reply::Applied(reply)),
            Event::Inspected(id, found) => self.reply(id, Reply::Inspected(found)),
            Event::Deleted(id, reply) => self.reply(id, Reply::Deleted(reply)),
            Event::Measured(id, free) => self.reply(id, Reply::Measured(free)),
            Event::Probed(id, reply) => self.reply(id, Reply::Probed(reply)),
            Event::Explained(id, cause) => self.reply(id, Reply::Explained(cause)),
            Event::Managed(key, field, by) => self.managed(&key, &field, by),
        }
    }

    /// A rollback that a restart has interrupted goes on, whatever the newest commit holds.
    fn resume(&mut self) {
        let State::Resting(rest) = &self.machine.state else { return };
        if *rest == Rest::Suspended && self.machine.record.suspended.is_some() {
            return;
        }
        let record = &self.machine.record;
        if let Some(held) = record.held.as_ref().filter(|held| held.ending == Ending::Open).cloned() {
            self.go_back(&held, None, vec![]);
        } else if let Some(attempt) = &record.attempt
            && let (Some(_), Some(cause)) = (&attempt.wish, attempt.failed.clone())
        {
            let (revision, started) = (attempt.revision.clone(), attempt.started);
            self.go_back_from_wish(revision, cause, None, started);
        }
    }

    /// At rest: what changed, and is all well?
    fn look_around(&mut self) {
        self.look_for_drift();
        if matches!(self.machine.state, State::Resting(_)) {
            self.look_at_health();
        }
    }

    /// Comes to rest and looks for what changed meanwhile.
    fn rest_again(&mut self) {
        self.machine.state = State::Resting(self.machine.resting());
        if self.machine.record.unusable != self.machine.saved.unusable {
            self.save_at_rest();
        }
        self.note_limit();
        self.look_around();
    }

    /// Tells what happened, unless it is what was told last.
    fn tell(&mut self, news: News) {
        if self.machine.told.as_ref() != Some(&news) {
            self.machine.told = Some(news.clone());
            self.effects.add(Effect::News(news));
        }
    }
}

//! (Machine, Event, Live, now) → (Machine, Effects): the one state machine, one for each Stack.
//!
//! Invariants, each pinned by a scenario in `tests/fixtures/scenario/`:
//! - An empty plan is not settled: a pass always goes through watching.
//! - A reply carries the id of its pass; a late reply of a superseded pass is dropped.
//! - A commit that arrives while a request is in flight waits for the reply and is never lost.
//! - A failed dry run touches nothing and needs no rollback; a partly failed apply does.
//! - Transient errors stay in place and back off, bounded by the deployment's deadline.
//! - A rollback is the same pass toward the last settled release. It never rolls back itself; it ends held.
//! - Timers are compared with the deadlines in the state, so a stale timer is harmless.
//!
//! `step` is total: failures are events, so nothing here returns `Result`.

mod pass;
mod watch;
mod settle;
mod rest;

pub use pass::{Pass, Station, Toward};

use crate::ident::{ObjectKey, PassId, Revision, StackName};
use crate::manifest::{Context, Manifest, Needed, PublicUrl};
use crate::plan::{Difference, Live, Step};
use crate::record::Record;
use crate::report::Status;
use crate::rollout::Cause;
use crate::spec::{self, Document, Selection};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A commit as far as one Stack is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The commit.
    pub revision: Revision,
    /// The Stack's file in it.
    pub content: Content,
}

/// What a commit holds for a Stack.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Its hks.yaml.
    File(Document),
    /// The file is not there any more.
    Missing,
    /// The file can't be read safely: a symlink, a submodule, or too large.
    Unusable {
        /// Why, and what to do.
        message: String,
    },
}

/// Why a request to the outside failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Trying again may help: time-outs, 429, 5xx, lost connections.
    pub transient: bool,
    /// The object it was about, if about one.
    pub object: String,
    /// The app or database it belongs to, and whether it is a database.
    pub component: (String, bool),
    /// What was said, without secrets.
    pub message: String,
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// There is a newer commit.
    Commit(Commit),
    /// A person wants an older release back; it stays until the next commit.
    RollBack {
        /// The release.
        to: Commit,
        /// Who asked.
        by: String,
    },
    /// The watches saw something.
    Observed,
    /// A timer that the machine asked for.
    Due,
    /// Reply to [`Effect::Check`].
    Checked(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Save`].
    Saved(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Apply`].
    Applied(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Probe`]: the first address that is not live, and what came instead.
    Probed(PassId, Result<(), (String, String)>),
    /// Reply to [`Effect::Inspect`]: the databases (by StatefulSet) that hold user tables.
    Inspected(PassId, Result<Vec<String>, Fault>),
    /// Reply to [`Effect::Delete`].
    Deleted(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Explain`]: log lines with secrets taken out, or nothing.
    Explained(PassId, String),
}

/// What has to be done outside. All but `Report` are answered by one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Dry-run the steps against the API server, and see that no object to be created exists unmanaged.
    Check(PassId, Vec<Step>),
    /// Keep the record in the cluster.
    Save(PassId, Box<Record>),
    /// Create and change objects.
    Apply(PassId, Vec<Step>),
    /// See whether the public addresses answer.
    Probe(PassId, Vec<PublicUrl>),
    /// See which of the databases (by StatefulSet) hold user tables.
    Inspect(PassId, Vec<String>),
    /// Delete objects, each only with the uid that was seen.
    Delete(PassId, Vec<ObjectKey>),
    /// Fetch the last log lines of a pod: of its previous run, if so said.
    Explain(PassId, String, bool),
    /// Tell the forge.
    Report(Status),
}

/// What a step asks for, in order.
#[must_use]
#[derive(Debug, Default, PartialEq)]
pub struct Effects(pub Vec<Effect>);

impl Effects {
    fn add(&mut self, effect: Effect) {
        self.0.push(effect);
    }
}

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

/// Something of the settled release is not well although nobody has deployed anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// The app, database or cache.
    pub component: String,
    /// What is wrong.
    pub cause: Cause,
    /// Since when it has been seen.
    pub since: Timestamp,
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
    /// The newest commit that was begun with.
    considered: Option<Revision>,
    /// Fields that somebody else changed, as last seen.
    pub drift: Vec<(ObjectKey, Vec<Difference>)>,
    /// How often drift was put back.
    pub drift_corrected: u64,
    /// What of the settled release is not well at rest.
    pub troubles: Vec<Trouble>,
    context: Context,
    /// The record as the cluster has it, as far as known.
    saved: Record,
    /// The settled release, rendered.
    baseline: Option<Arc<Manifest>>,
    next_pass: PassId,
    /// Drift is not corrected before this: somebody fights over it.
    drift_pause: Option<Timestamp>,
    /// When the last corrections began.
    corrections: Vec<Timestamp>,
    /// The cause of [`Rest::Invalid`].
    invalid: Option<Cause>,
    /// The last status.
    told: Option<Status>,
    /// What the newest commit waits for.
    lacking: Vec<Needed>,
    /// Old versions of blue/green apps, and when each goes.
    retiring: BTreeMap<ObjectKey, Timestamp>,
    /// A release that a person asked for, waiting for a reply in flight.
    asked_back: Option<(Commit, String)>,
}

impl Machine {
    /// A machine that goes on from what was recorded.
    pub fn new(stack: StackName, context: Context, record: Record) -> Self {
        let mut machine = Self {
            stack,
            saved: record.clone(),
            record,
            state: State::Resting(Rest::Fresh),
            head: None,
            considered: None,
            drift: vec![],
            drift_corrected: 0,
            troubles: vec![],
            context,
            baseline: None,
            next_pass: PassId::default(),
            drift_pause: None,
            corrections: vec![],
            invalid: None,
            told: None,
            lacking: vec![],
            retiring: BTreeMap::new(),
            asked_back: None,
        };
        machine.baseline = machine.record.settled.as_ref().and_then(|release| {
            let manifest = machine.rendered(&release.document(), &release.revision);
            manifest.ok().flatten().map(Arc::new)
        });
        if machine.baseline.is_some() {
            machine.state = State::Resting(Rest::Settled);
        }
        machine
    }

    /// The settled release, rendered.
    pub fn baseline(&self) -> Option<&Manifest> {
        self.baseline.as_deref()
    }

    /// What the machine works on or rests with.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            State::Passing(pass) => Some(&pass.manifest),
            State::Resting(_) => self.baseline(),
        }
    }

    /// What the newest commit waits for: somebody has to set it.
    pub fn lacking(&self) -> &[Needed] {
        &self.lacking
    }

    /// Why the newest commit is not in effect.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.state {
            State::Passing(pass) => match &pass.toward {
                Toward::Back { cause, .. } => Some(cause),
                Toward::Forward | Toward::Restore => None,
            },
            State::Resting(Rest::Held) => self.record.held.as_ref().map(|held| &held.cause),
            State::Resting(Rest::Invalid) => self.invalid.as_ref(),
            State::Resting(_) => None,
        }
    }

    /// When the machine next wants [`Event::Due`].
    pub fn wake_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Passing(pass) => pass.wake_at(),
            // a time that nobody looks at would come again and again
            State::Resting(_) if !self.looks_for_drift() => None,
            State::Resting(_) => self.drift_pause.into_iter().chain(self.retiring.values().copied()).min(),
        }
    }

    /// Whether there is a settled release that what is live is compared with. Half a deployment is not drift: the commit,
    /// once it is fetched again, says how it goes on.
    fn looks_for_drift(&self) -> bool {
        let record = &self.record;
        let unfinished = record.attempt.is_some() || record.held.as_ref().is_some_and(|held| !held.restored);
        let resting = matches!(self.state, State::Resting(rest) if !matches!(rest, Rest::Suspended | Rest::Fresh));
        resting && !unfinished && self.baseline.is_some()
    }

    /// Takes one event.
    pub fn step(&mut self, event: Event, live: &Live, now: Timestamp) -> Effects {
        let mut turn = Turn { machine: self, live, now, effects: Effects::default() };
        turn.take(event);
        turn.effects
    }

    /// What the file means here; `None` if none of its environments is meant for this branch and project.
    fn rendered(&self, document: &Document, revision: &Revision) -> Result<Option<Manifest>, Cause> {
        let Context { branch, namespace, environment, .. } = &self.context;
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
        match event {
            Event::Commit(commit) => {
                self.machine.head = Some(commit);
                self.reconsider();
            }
            Event::RollBack { to, by } => {
                self.machine.asked_back = Some((to, by));
                self.reconsider();
            }
            Event::Observed | Event::Due => match &self.machine.state {
                State::Passing(_) => self.look(),
                State::Resting(Rest::Invalid) if self.secrets_are_set() => self.begin_again(),
                State::Resting(_) => self.look_for_drift(),
            },
            Event::Checked(id, reply) => self.reply(id, &Station::Checking, reply.map(|()| vec![])),
            Event::Saved(id, reply) => self.reply(id, &Station::Saving, reply.map(|()| vec![])),
            Event::Applied(id, reply) => self.reply(id, &Station::Applying, reply.map(|()| vec![])),
            Event::Inspected(id, reply) => self.reply(id, &Station::Inspecting, reply),
            Event::Deleted(id, reply) => self.reply(id, &Station::Pruning, reply.map(|()| vec![])),
            Event::Probed(id, reply) => self.probed(id, reply),
            Event::Explained(id, log) => self.explained(id, log),
        }
    }

    /// Tells a status, unless it is the one that was told last.
    fn report(&mut self, status: Status) {
        if self.machine.told.as_ref() != Some(&status) {
            self.machine.told = Some(status.clone());
            self.effects.add(Effect::Report(status));
        }
    }
}

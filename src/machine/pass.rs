//! One walk toward a release: where it goes, how far it has come, and what it waits for.

use crate::ident::{Component, ObjectKey, PassId, Revision};
use crate::manifest::{Manifest, Object, Stage};
use crate::plan::{Course, Live, Phase, Plan, Refusal};
use crate::record::{Attempt, Ill, Left, Wish};
use crate::rollout::{self, Cause, Progress};
use crate::spec::Document;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// How long deleted objects may take to be gone before the pass ends without them.
pub(super) const VANISH_PATIENCE: SignedDuration = SignedDuration::from_secs(120);
/// First and longest wait between tries, in milliseconds.
pub(super) const BACKOFF: (u64, u64) = (100, 10_000);
/// … and the longest of a rollback, which goes on until it gets an answer: a cluster that has been away for an hour is not
/// back a second later.
pub(super) const PATIENT_BACKOFF: u64 = 60_000;
/// Refusals after which a rollback believes them: with the waits between them, about a minute.
pub(super) const REFUSALS: u32 = 9;
/// Tries after which a forge is told that something is being retried.
pub(super) const TELL_AFTER: u32 = 4;

/// Where a pass is headed.
#[derive(Clone, Debug, PartialEq)]
pub enum Toward {
    /// A release that is new here.
    Forward,
    /// The last settled release, since `from` failed.
    Back {
        /// The commit that failed.
        from: Revision,
        /// Why.
        cause: Cause,
    },
    /// The settled release, since somebody changed something. Nobody is told through a commit status.
    Heal,
    /// Nothing: a person wants everything gone.
    Nothing {
        /// The wish.
        wish: Wish,
    },
}

/// Why a release is deployed.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// It was pushed.
    Commit,
    /// The platform's settings or hks itself make other objects of what is deployed already.
    Platform,
    /// A person asked for it.
    Person(Wish),
}

/// What a pass does at the moment, within a phase of its way.
#[derive(Clone, Debug, PartialEq)]
pub enum Station {
    /// Waiting for its turn among the Stacks that a change of the platform concerns.
    Queued,
    /// A dry run.
    Checking,
    /// Keeping the inventory before anything is created.
    Saving,
    /// Deleting jobs of an earlier release that still run, before anything of this one does.
    Clearing,
    /// Waiting until those have ended, with their pods.
    Ending,
    /// Creating and changing the objects of a stage.
    Applying,
    /// Waiting for a stage to become ready.
    Watching,
    /// Deleting pods of an older template that keep a StatefulSet from going on.
    Unsticking,
    /// Waiting for the public addresses.
    Probing,
    /// Fetching the log lines that explain a failure.
    Explaining(Cause),
    /// Asking databases that are about to be removed for tables.
    Inspecting,
    /// Writing down what is going to be deleted, and which data of it was proven empty.
    Dooming,
    /// Deleting.
    Pruning,
    /// Waiting until what was deleted is gone.
    Vanishing,
    /// Keeping the outcome.
    Settling,
}

/// One walk.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Its id.
    pub id: PassId,
    /// Where to.
    pub toward: Toward,
    /// Why.
    pub origin: Origin,
    /// What the project should become.
    pub manifest: Arc<Manifest>,
    /// The newest commit that asks for just that.
    pub revision: Revision,
    /// When the deployment began; a pass that goes on after a restart keeps it.
    pub started: Timestamp,
    /// What it does.
    pub station: Station,
    /// A request is under way: nothing else is begun until its reply.
    pub in_flight: bool,
    /// What is being waited for, in words.
    pub message: String,
    /// Waiting for room since then.
    pub waiting_since: Option<Timestamp>,
    /// Earlier commits that ask for the same; they end as this one does.
    pub(super) also: Vec<Revision>,
    /// What a person wants to leave by it.
    pub(super) left: Option<Left>,
    /// Digest of what is deployed, when the pass goes forward.
    pub(super) content: String,
    /// The file, when the pass goes forward.
    pub(super) document: Option<Document>,
    pub(super) plan: Plan,
    /// Its way, and the phase of it that is under way.
    pub(super) phases: Vec<Phase>,
    pub(super) at: usize,
    pub(super) begun: Timestamp,
    pub(super) station_since: Timestamp,
    pub(super) waited: SignedDuration,
    pub(super) tries: u32,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) gone: Vec<ObjectKey>,
    /// Data that a rollback keeps, and why, in words.
    pub(super) kept: Vec<String>,
    /// What was not well before, and is not changed.
    pub(super) ill: Ill,
    /// What was put back is not well.
    pub(super) unwell: Option<Cause>,
    /// What should be put back can't be.
    pub(super) refused: Option<Cause>,
}

/// How a pass goes on.
#[must_use]
pub(super) enum Flow {
    /// It waits: for a reply, for the watches or for a time.
    Stay,
    /// The phase is done.
    Advance,
    /// What was written is gone again: once more from the phase of this stage on.
    Again(Stage),
    /// All that it can do is done: its outcome is written down.
    Settle,
    /// It can't be done.
    Fail(Cause),
    /// … and all that is to be said of it is known.
    FallBack(Cause),
    /// … and nothing was touched by it.
    Reject(Cause),
    /// Its outcome is kept.
    Done,
    /// It was about drift, and that is put back, or has to wait.
    Rest,
}

/// What a pass begins with.
pub(super) struct Target {
    pub manifest: Arc<Manifest>,
    pub revision: Revision,
    pub origin: Origin,
    pub content: String,
    pub document: Option<Document>,
    pub plan: Plan,
    pub started: Timestamp,
    pub also: Vec<Revision>,
    pub left: Option<Left>,
}

impl Target {
    /// Something that is known already, and not a commit's file.
    pub(super) fn known(manifest: Arc<Manifest>, plan: Plan, started: Timestamp) -> Self {
        let (revision, origin, content) = (manifest.revision.clone(), Origin::Commit, String::new());
        Self { manifest, revision, origin, content, document: None, plan, started, also: vec![], left: None }
    }
}

impl Pass {
    /// What a person wants by it.
    pub(super) fn wish(&self) -> Option<&Wish> {
        match (&self.toward, &self.origin) {
            (Toward::Nothing { wish }, _) | (Toward::Forward, Origin::Person(wish)) => Some(wish),
            _ => None,
        }
    }

    /// What is written down of it.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt {
            revision: self.revision.clone(),
            started: self.started,
            content: self.content.clone(),
            wish: self.wish().cloned(),
            failed: None,
            left: self.left.clone(),
            ill: self.ill.clone(),
        }
    }

    /// A walk that begins now.
    pub(super) fn new(id: PassId, toward: Toward, target: Target, now: Timestamp) -> Self {
        let Target { manifest, revision, origin, content, document, mut plan, started, also, left } = target;
        let course = course(&toward, &origin);
        plan.steps.retain(|step| course.takes(step));
        Self {
            id,
            phases: course.phases(&manifest),
            at: 0,
            toward,
            origin,
            manifest,
            revision,
            started,
            station: Station::Saving,
            in_flight: false,
            message: String::new(),
            waiting_since: None,
            also,
            left,
            content,
            document,
            plan,
            begun: now,
            station_since: now,
            waited: SignedDuration::ZERO,
            tries: 0,
            retry_at: None,
            gone: vec![],
            kept: vec![],
            ill: Ill::default(),
            unwell: None,
            refused: None,
        }
    }

    /// What its way is for.
    pub(super) fn course(&self) -> Course {
        course(&self.toward, &self.origin)
    }

    /// The phase that is under way.
    pub fn phase(&self) -> Phase {
        self.phases.get(self.at).copied().unwrap_or(Phase::Settle)
    }

    /// The stage that is applied or watched, or was last; before the first, that one.
    pub fn stage(&self) -> Stage {
        let stage = |phase: &Phase| match phase {
            Phase::Apply { stage, .. } => Some(*stage),
            _ => None,
        };
        let (gone, to_go) = self.phases.split_at(self.phases.len().min(self.at + 1));
        gone.iter().rev().find_map(stage).or_else(|| to_go.iter().find_map(stage)).unwrap_or(Stage::Databases)
    }

    /// Goes to the phase that `is` the one, if its way has it.
    pub(super) fn go_to(&mut self, is: impl Fn(&Phase) -> bool) {
        self.at = self.phases.iter().position(is).unwrap_or(self.at);
    }

    /// When the pass next wants to look.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        if self.in_flight {
            return None;
        }
        let by_station = match self.station {
            Station::Watching => match self.waiting_since {
                Some(since) => Some(since + span(self.manifest.deploy.capacity_wait) - self.waited),
                None => Some(self.deadline()),
            },
            Station::Ending => Some(self.deadline()),
            Station::Vanishing => Some(self.station_since + VANISH_PATIENCE),
            _ => None,
        };
        [self.retry_at, by_station].into_iter().flatten().min()
    }

    pub(super) fn deadline(&self) -> Timestamp {
        self.begun + span(self.manifest.deploy.timeout) + self.waited
    }

    pub(super) fn is_back(&self) -> bool {
        matches!(self.toward, Toward::Back { .. })
    }

    /// The objects that must be ready before the pass leaves its stage. The last stage looks at all again: a database
    /// may have failed while the apps started. Until then, what only has to be started is not waited for any longer.
    pub(super) fn watched(&self, live: &Live) -> Vec<&Object> {
        let current = self.stage();
        let apart = |stage: Stage| (stage == Stage::Preflight) == (current == Stage::Preflight);
        let last = self.plan.steps.iter().all(|step| step.object.stage <= current || step.object.stage == Stage::Jobs);
        let steps = self.plan.steps.iter().map(|step| &*step.object);
        let here = steps.filter(|object| apart(object.stage) && object.stage <= current);
        let ill = |object: &Object| matches!(object.component(), Component::App(name) if self.ill.apps.contains(&name));
        let here = here.filter(|object| self.ill.apps.is_empty() || !ill(object));
        here.filter(|object| last || !object.started_is_enough || !rollout::started(object, live)).collect()
    }

    /// What was not well before, and has not become well on the way.
    pub(super) fn still_ill(&self, live: &Live) -> Ill {
        let mut ill = self.ill.clone();
        ill.apps.retain(|app| {
            let objects = self.manifest.objects.iter().map(|object| &**object);
            let of = objects.filter(|object| matches!(object.component(), Component::App(name) if name == *app));
            rollout::progress(of, live, self.started) != Progress::Ready
        });
        ill
    }
}

pub(super) fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Waits between looks at an address that is not live yet.
pub(super) fn glance(tries: u32) -> SignedDuration {
    SignedDuration::from_millis(50 * i64::from(tries.min(20)))
}

/// Exponential up to `most` milliseconds, with up to half of it added by a hash of who waits: many Stacks that lost the same API server must not
/// come back in step, and a pure function has no randomness.
pub(super) fn backoff(id: PassId, stack: &str, tries: u32, most: u64) -> SignedDuration {
    let base = BACKOFF.0.saturating_mul(1 << tries.min(10)).min(most);
    let seed = stack.bytes().fold(id.0.wrapping_add(u64::from(tries)), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SignedDuration::from_millis(i64::try_from(base + seed % (base / 2)).unwrap_or(i64::MAX))
}

fn course(toward: &Toward, origin: &Origin) -> Course {
    match (toward, origin) {
        (Toward::Forward, Origin::Commit) => Course::Commit,
        (Toward::Forward, Origin::Platform) => Course::Platform,
        (Toward::Forward, Origin::Person(_)) => Course::Person,
        (Toward::Back { .. }, _) => Course::Back,
        (Toward::Heal, _) => Course::Heal,
        (Toward::Nothing { .. }, _) => Course::Nothing,
    }
}

/// A volume that has grown stays as it is: that is no reason not to go back.
pub(super) fn is_of_size(plan: &Plan, refusal: &Refusal) -> bool {
    plan.steps.iter().any(|step| step.object.key == refusal.key && step.irreversible.is_some())
}

//! One walk toward a release: check, save, apply and watch stage by stage, probe, prune, settle. Forward or back, it is
//! the same line.

use super::settle::asked;
use super::{Effect, Fault, State, Turn};
use crate::ident::{Kind, ObjectKey, PassId, Revision};
use crate::manifest::{Manifest, Object, Stage};
use crate::plan::{self, Action, Live, Owned, Plan};
use crate::record::Attempt;
use crate::report::Status;
use crate::rollout::{self, Cause, text};
use crate::spec::Document;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// How long deleted objects may take to be gone before the pass ends without them.
pub(super) const VANISH_PATIENCE: SignedDuration = SignedDuration::from_secs(120);
/// First and longest wait between tries.
const BACKOFF: (u64, u64) = (100, 10_000);
/// Tries after which a forge is told that something is being retried.
const TELL_AFTER: u32 = 4;

/// Where a pass is headed.
#[derive(Clone, Debug, PartialEq)]
pub enum Toward {
    /// The newest commit.
    Forward,
    /// The last settled release, since `from` failed.
    Back {
        /// The commit that failed.
        from: Revision,
        /// Why.
        cause: Cause,
    },
    /// The settled release, since somebody changed something. Nobody is told through a commit status.
    Restore,
}

/// What a pass does at the moment, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Station {
    /// A dry run.
    Checking,
    /// Keeping the inventory before anything is created.
    Saving,
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
    /// What the project should become.
    pub manifest: Arc<Manifest>,
    /// When the deployment began; a pass that goes on after a restart keeps it.
    pub started: Timestamp,
    /// What it does.
    pub station: Station,
    /// The stage that is applied or watched.
    pub stage: Stage,
    /// A request is under way: nothing else is begun until its reply.
    pub in_flight: bool,
    /// What is being waited for, in words.
    pub message: String,
    /// Waiting for room since then.
    pub waiting_since: Option<Timestamp>,
    /// The file, when the pass goes forward.
    pub(super) document: Option<Document>,
    pub(super) plan: Plan,
    pub(super) begun: Timestamp,
    pub(super) station_since: Timestamp,
    pub(super) waited: SignedDuration,
    pub(super) tries: u32,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) gone: Vec<ObjectKey>,
    pub(super) kept: Vec<String>,
}

impl Pass {
    /// When the pass next wants to look.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        if self.in_flight {
            return None;
        }
        let by_station = match self.station {
            Station::Watching => match self.waiting_since {
                // a rollback waits for room for as long as it takes
                Some(_) if self.is_back() => None,
                Some(since) => Some(since + span(self.manifest.deploy.capacity_wait) - self.waited),
                None => Some(self.deadline()),
            },
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
        let apart = |stage: Stage| (stage == Stage::Preflight) == (self.stage == Stage::Preflight);
        let last =
            self.plan.steps.iter().all(|step| step.object.stage <= self.stage || step.object.stage == Stage::Jobs);
        let steps = self.plan.steps.iter().map(|step| &step.object);
        let here = steps.filter(|object| apart(object.stage) && object.stage <= self.stage);
        here.filter(|object| last || !object.started_is_enough || !rollout::started(object, live)).collect()
    }
}

pub(super) fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Exponential, with up to half of it added by a hash of who waits: many Stacks that lost the same API server must not
/// come back in step, and a pure function has no randomness.
fn backoff(id: PassId, stack: &str, tries: u32) -> SignedDuration {
    let base = BACKOFF.0.saturating_mul(1 << tries.min(10)).min(BACKOFF.1);
    let seed = stack.bytes().fold(id.0.wrapping_add(u64::from(tries)), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SignedDuration::from_millis(i64::try_from(base + seed % (base / 2)).unwrap_or(i64::MAX))
}

impl Turn<'_> {
    /// Begins a pass.
    pub(super) fn enter(
        &mut self,
        toward: Toward,
        manifest: Arc<Manifest>,
        document: Option<Document>,
        plan: Plan,
        started: Timestamp,
    ) {
        let id = self.machine.next_pass.next();
        self.machine.next_pass = id;
        let stage = if toward == Toward::Forward { Stage::Preflight } else { Stage::Databases };
        let mut pass = Pass {
            id,
            toward,
            manifest,
            started,
            station: Station::Saving,
            stage,
            in_flight: false,
            message: String::new(),
            waiting_since: None,
            document,
            plan,
            begun: self.now,
            station_since: self.now,
            waited: SignedDuration::ZERO,
            tries: 0,
            retry_at: None,
            gone: vec![],
            kept: vec![],
        };
        if pass.toward != Toward::Forward {
            // images have been pulled once, and jobs run once
            pass.plan.steps.retain(|step| step.object.stage.lasts());
        }
        let forward = pass.toward == Toward::Forward;
        let idle = pass.plan.steps.iter().all(|step| step.action == Action::Keep);
        let restore = pass.toward == Toward::Restore;
        self.machine.state = State::Passing(Box::new(pass));
        if restore {
            self.apply(stage);
        } else if forward && !idle {
            self.go(Station::Checking);
        } else {
            self.save();
        }
    }

    pub(super) fn pass(&mut self) -> Option<&mut Pass> {
        match &mut self.machine.state {
            State::Passing(pass) => Some(pass),
            State::Resting(_) => None,
        }
    }

    /// Moves to a station and sends its request.
    pub(super) fn go(&mut self, station: Station) {
        let now = self.now;
        if let Some(pass) = self.pass() {
            pass.station = station;
            pass.station_since = now;
            pass.tries = 0;
            pass.message.clear();
        }
        self.send();
    }

    /// Sends the request of the station, for the first time or again.
    pub(super) fn send(&mut self) {
        let (record, live) = (self.machine.record.clone(), self.live);
        let Some(pass) = self.pass() else { return };
        pass.retry_at = None;
        let id = pass.id;
        let effect = match &pass.station {
            Station::Checking => {
                let work = pass.plan.steps.iter().filter(|step| step.action != Action::Keep);
                Effect::Check(id, work.cloned().collect())
            }
            Station::Saving | Station::Settling => Effect::Save(id, Box::new(record)),
            Station::Applying => Effect::Apply(id, pass.plan.work(pass.stage).cloned().collect()),
            Station::Probing => Effect::Probe(id, pass.manifest.urls.clone()),
            Station::Inspecting => Effect::Inspect(id, asked(&pass.gone, live)),
            Station::Pruning | Station::Unsticking => Effect::Delete(id, pass.gone.clone()),
            Station::Explaining(cause) => match cause.log_source() {
                Some((pod, previous)) => Effect::Explain(id, pod.into(), previous),
                None => return,
            },
            Station::Watching | Station::Vanishing => return,
        };
        pass.in_flight = true;
        self.effects.add(effect);
    }

    /// Writes down what is going to be created, before it is.
    fn save(&mut self) {
        let Some(pass) = self.pass() else { return };
        let keys: Vec<_> = pass.plan.steps.iter().map(|step| step.object.key.clone()).collect();
        let attempt = Attempt { revision: pass.manifest.revision.clone(), started: pass.started };
        let forward = pass.toward == Toward::Forward;
        let record = &mut self.machine.record;
        for key in keys {
            if !record.inventory.iter().any(|owned| owned.key == key) {
                record.inventory.push(Owned { key, settled: false });
            }
        }
        record.attempt = forward.then_some(attempt);
        if forward {
            record.held = None;
        }
        if self.machine.record == self.machine.saved {
            let first = if forward { Stage::Preflight } else { Stage::Databases };
            self.apply(first);
        } else {
            self.go(Station::Saving);
        }
    }

    /// Keeps the record without a pass; the reply is nobody's.
    pub(super) fn save_aside(&mut self) {
        let id = self.machine.next_pass.next();
        self.machine.next_pass = id;
        self.machine.saved = self.machine.record.clone();
        self.effects.add(Effect::Save(id, Box::new(self.machine.record.clone())));
    }

    fn apply(&mut self, stage: Stage) {
        let Some(pass) = self.pass() else { return };
        pass.stage = stage;
        if pass.plan.work(stage).next().is_some() {
            self.go(Station::Applying);
        } else {
            self.applied();
        }
    }

    /// The objects of a stage are as they should be: wait for them, except when only drift is put back.
    fn applied(&mut self) {
        let Some(pass) = self.pass() else { return };
        if pass.toward == Toward::Restore {
            return self.next_stage();
        }
        self.go(Station::Watching);
        self.look();
    }

    /// The public addresses must be live before the jobs of the release, which may ask them.
    pub(super) fn next_stage(&mut self) {
        let Some(pass) = self.pass() else { return };
        let stages = pass.plan.steps.iter().map(|step| step.object.stage);
        let next = stages.filter(|stage| *stage > pass.stage).min();
        let unproven = pass.toward == Toward::Forward
            && !pass.manifest.urls.is_empty()
            && pass.station != Station::Probing
            && pass.stage != Stage::Jobs;
        match next {
            None | Some(Stage::Jobs) if unproven => self.go(Station::Probing),
            Some(next) => self.apply(next),
            None if pass.toward == Toward::Restore => self.restored(),
            None => self.prune(),
        }
    }

    /// Drift is put back. If credentials of a database were lost, new ones exist now: the server sets them when it starts,
    /// and the apps read them when they start.
    fn restored(&mut self) {
        let (now, live, retiring) = (self.now, self.live, self.machine.retiring.clone());
        let Some(pass) = self.pass() else { return };
        let lost = |step: &plan::Step| {
            step.object.key.kind == Kind::Secret && step.object.holds_data() && step.action == Action::Create
        };
        let old = retiring.iter().filter(|(_, until)| **until <= now).map(|(key, _)| key.clone());
        if pass.station != Station::Pruning {
            pass.gone = old.collect();
            if pass.plan.steps.iter().any(lost) {
                pass.gone.extend(live.of(Kind::Pod).map(|(key, _)| key.clone()));
            }
            if !pass.gone.is_empty() {
                return self.go(Station::Pruning);
            }
        }
        if pass.plan.steps.iter().any(|step| step.action != Action::Keep && !step.renews()) {
            self.machine.drift_corrected += 1;
        }
        self.rest_again();
    }

    /// Takes the reply to the request of `station`.
    pub(super) fn reply(&mut self, id: PassId, station: &Station, reply: Result<Vec<String>, Fault>) {
        let record = self.machine.record.clone();
        let Some(pass) = self.pass() else { return };
        let expected = pass.station == *station
            || matches!(
                (station, &pass.station),
                (Station::Saving, Station::Settling) | (Station::Pruning, Station::Unsticking)
            );
        if pass.id != id || !expected || !pass.in_flight {
            return;
        }
        pass.in_flight = false;
        let at = pass.station.clone();
        if *station == Station::Saving && reply.is_ok() {
            self.machine.saved = record;
        }
        // what has settled is told before the next commit is begun
        if at == Station::Settling && reply.is_ok() {
            self.finish();
            return self.reconsider();
        }
        if self.overtaken() {
            return self.reconsider();
        }
        match reply {
            Err(fault) => self.trouble(&at, &fault),
            Ok(names) => match at {
                Station::Checking => self.save(),
                Station::Saving => {
                    let first = self.pass().map_or(Stage::Preflight, |pass| pass.stage);
                    self.apply(first);
                }
                Station::Applying => self.applied(),
                Station::Inspecting => self.inspected(names),
                Station::Pruning if self.pass().is_some_and(|pass| pass.toward == Toward::Restore) => self.restored(),
                Station::Unsticking => {
                    self.go(Station::Watching);
                }
                Station::Pruning => {
                    self.go(Station::Vanishing);
                    self.look();
                }
                _ => {}
            },
        }
    }

    /// A request failed: try again, go back, or give up on what was only drift.
    fn trouble(&mut self, at: &Station, fault: &Fault) {
        let now = self.now;
        let stack = self.machine.stack.clone();
        let Some(pass) = self.pass() else { return };
        let late = now >= pass.deadline();
        pass.message.clone_from(&fault.message);
        let must_end_well = pass.is_back()
            || matches!(at, Station::Settling | Station::Pruning | Station::Unsticking | Station::Inspecting);
        if must_end_well || (fault.transient && !late) {
            pass.tries += 1;
            pass.retry_at = Some(now + backoff(pass.id, stack.as_str(), pass.tries));
            if pass.tries == TELL_AFTER && pass.toward == Toward::Forward {
                let status = Status::retrying(&pass.manifest.revision, &fault.message);
                self.report(status);
            }
            return;
        }
        if pass.toward == Toward::Restore {
            self.pause_drift();
            return self.rest_again();
        }
        let (component, database) = &fault.component;
        let cause = text::limit(&fault.message, component, *database).unwrap_or_else(|| {
            if fault.transient {
                Cause::Unavailable { message: fault.message.clone() }
            } else {
                Cause::Rejected { object: fault.object.clone(), message: fault.message.clone() }
            }
        });
        self.fail(cause);
    }
}

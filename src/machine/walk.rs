//! How a pass goes on: each request is sent, its reply taken, and the next station follows from it.

use super::drift::data_lost;
use super::pass::{
    BACKOFF, Origin, PATIENT_BACKOFF, Pass, REFUSALS, Station, TELL_AFTER, Target, Toward, backoff, may_be_undone,
};
use super::settle::asked;
use super::{Effect, Fault, Made, Reply, State, Turn};
use crate::ident::{ObjectKey, PassId};
use crate::manifest::{Stage, holds_data};
use crate::plan::{self, Action, Owned, Step};
use crate::record::Attempt;
use crate::report::News;
use crate::rollout::{self, Cause, text};
use crate::spec;
use jiff::SignedDuration;

/// How long the watches may take to see that something is gone.
const DISMISSAL: SignedDuration = SignedDuration::from_secs(5);

impl Turn<'_> {
    /// Begins a pass.
    pub(super) fn enter(&mut self, toward: Toward, target: Target) {
        let id = self.machine.next_id();
        self.machine.health.forget_questions();
        let forward = toward == Toward::Forward;
        let stage = if forward { Stage::Preflight } else { Stage::Databases };
        let Target { manifest, revision, origin, content, document, mut plan, started } = target;
        if !forward {
            // images have been pulled once, and jobs run once
            plan.steps.retain(|step| step.object.stage.lasts());
        }
        let idle = plan.steps.iter().all(|step| step.action == Action::Keep);
        let (heals, platform) = (toward == Toward::Heal, origin == Origin::Platform);
        let destroys = matches!(toward, Toward::Nothing { .. });
        let pass = Pass {
            id,
            toward,
            origin,
            manifest,
            revision,
            started,
            station: Station::Saving,
            stage,
            in_flight: false,
            message: String::new(),
            waiting_since: None,
            also: vec![],
            content,
            document,
            plan,
            begun: self.now,
            station_since: self.now,
            waited: SignedDuration::ZERO,
            tries: 0,
            retry_at: None,
            gone: vec![],
            kept: vec![],
            unwell: None,
            refused: None,
        };
        self.machine.state = State::Passing(Box::new(pass));
        if heals {
            self.apply(stage);
        } else if destroys {
            self.prune();
        } else if forward && platform {
            self.go(Station::Queued);
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
        let (machine, live) = (&mut *self.machine, self.live);
        let State::Passing(pass) = &mut machine.state else { return };
        pass.retry_at = None;
        let id = pass.id;
        let effect = match &pass.station {
            Station::Queued => Effect::Queue(id),
            Station::Checking => {
                let work = pass.plan.steps.iter().filter(|step| step.action != Action::Keep);
                Effect::Check(id, work.cloned().collect())
            }
            Station::Saving | Station::Dooming | Station::Settling => {
                let mut record = Box::new(machine.record.clone());
                // a wish that is being carried out is taken up again after a restart
                if let (Station::Dooming, Toward::Nothing { wish }) = (&pass.station, &pass.toward) {
                    record.answered.retain(|answered| answered.id != wish.id);
                }
                Effect::Save(id, record)
            }
            Station::Applying => Effect::Apply(id, pass.plan.work(pass.stage).cloned().collect()),
            Station::Probing => Effect::Probe(id, pass.manifest.urls.clone()),
            Station::Inspecting => Effect::Inspect(id, asked(&pass.gone, live)),
            Station::Pruning | Station::Unsticking | Station::Clearing => Effect::Delete(id, pass.gone.clone()),
            Station::Explaining(cause) => Effect::Explain(id, cause.clone()),
            Station::Watching | Station::Vanishing | Station::Ending => return,
        };
        // whoever only waits for a turn can be overtaken
        pass.in_flight = pass.station != Station::Queued;
        self.effects.add(effect);
    }

    /// Writes down what is going to be created, before it is.
    fn save(&mut self) {
        let (live, first) = (self.live, self.machine.record.settled.is_none());
        let Some(pass) = self.pass() else { return };
        let forward = pass.toward == Toward::Forward;
        let steps = pass.plan.steps.iter();
        let mut new: Vec<_> = steps
            .map(|step| Owned::new(step.object.key.clone(), step.action != Action::Create, pass.started))
            .collect();
        if first && forward {
            // data of the Stack that no record tells of is kept, and known from now on
            let data = live.objects.iter().filter(|(key, object)| holds_data(key, object) && !plan::may_go(object));
            new.extend(data.map(|(key, _)| Owned::new(key.clone(), true, pass.started)));
        }
        let wish = match &pass.origin {
            Origin::Person(wish) => Some(wish.clone()),
            Origin::Commit | Origin::Platform => None,
        };
        let (revision, started, content) = (pass.revision.clone(), pass.started, pass.content.clone());
        let attempt = Attempt { revision, started, content, wish, failed: None };
        let record = &mut self.machine.record;
        for owned in new {
            if !record.inventory.iter().any(|known| known.key == owned.key) {
                record.inventory.push(owned);
            }
        }
        if forward {
            // what is held stays held until a wish for something older has proven itself
            if attempt.wish.is_none() {
                record.held = None;
            }
            record.attempt = Some(attempt);
        } else if record.attempt.as_ref().is_none_or(|attempt| attempt.failed.is_none()) {
            record.attempt = None;
        }
        if self.machine.record == self.machine.saved {
            self.saved();
        } else {
            self.go(Station::Saving);
        }
    }

    /// The inventory is kept.
    fn saved(&mut self) {
        let live = self.live;
        let inventory = self.machine.record.inventory.clone();
        let Some(pass) = self.pass() else { return };
        let old = |key: &ObjectKey| rollout::is_running_job(key, live) && pass.manifest.get(key).is_none();
        let gone: Vec<_> = inventory.into_iter().map(|owned| owned.key).filter(old).collect();
        if gone.is_empty() {
            let first = pass.stage;
            return self.apply(first);
        }
        pass.gone = gone;
        self.go(Station::Clearing);
    }

    /// Keeps the record without a pass; the reply is nobody's.
    pub(super) fn save_aside(&mut self) {
        let id = self.machine.next_id();
        self.machine.saved = self.machine.record.clone();
        self.effects.add(Effect::Save(id, Box::new(self.machine.record.clone())));
    }

    pub(super) fn apply(&mut self, stage: Stage) {
        let Some(pass) = self.pass() else { return };
        pass.stage = stage;
        if let Some(cause) = self.plan_again() {
            return self.has_lost_data(cause);
        }
        let Some(pass) = self.pass() else { return };
        if pass.plan.work(stage).next().is_some() {
            self.go(Station::Applying);
        } else {
            self.applied(&[]);
        }
    }

    /// A volume of the settled release went while the pass was under way: an empty one in its place would hide that.
    pub(super) fn has_lost_data(&mut self, cause: Cause) {
        let Some(pass) = self.pass() else { return };
        if pass.toward == Toward::Heal {
            self.rest_again();
        } else if pass.is_back() {
            pass.refused = Some(cause);
            self.settle();
        } else {
            self.fail(cause);
        }
    }

    /// What an earlier stage has made, or somebody has changed meanwhile, counts for the rest of the way. Tells what can't be
    /// made again.
    pub(super) fn plan_again(&mut self) -> Option<Cause> {
        let (machine, live) = (&mut *self.machine, self.live);
        let State::Passing(pass) = &mut machine.state else { return None };
        if pass.stage == Stage::Preflight {
            return None;
        }
        let plan = plan::compare(&pass.manifest, live, &machine.record.inventory);
        if let Some(cause) = data_lost(&machine.stack, &plan.lost) {
            machine.lost = plan.lost;
            return Some(cause);
        }
        // drift is put back as it was found; what changes meanwhile is the next drift
        if pass.toward == Toward::Heal {
            return None;
        }
        let mut again: Vec<Step> =
            plan.steps.into_iter().filter(|step| step.object.stage != Stage::Preflight).collect();
        if pass.is_back() {
            again.retain(may_be_undone);
        }
        if pass.is_back() || matches!(pass.origin, Origin::Person(_)) {
            again.retain(|step| step.object.stage.lasts());
        }
        pass.plan.steps.retain(|step| step.object.stage == Stage::Preflight);
        pass.plan.steps.extend(again);
        None
    }

    /// The objects of a stage are as they should be: wait for them, except when only drift is put back.
    fn applied(&mut self, made: &[Made]) {
        self.learn(made);
        let Some(pass) = self.pass() else { return };
        if pass.toward == Toward::Heal {
            return self.next_stage();
        }
        // credentials that were made anew reach a server only when it starts
        let renewed = pass.station == Station::Applying && pass.plan.work(pass.stage).any(|step| step.renew);
        if renewed {
            let stage = pass.stage;
            return self.apply(stage);
        }
        self.go(Station::Watching);
        self.look();
    }

    /// Something that the pass has written is gone again: it is written once more, unless it was a job that has run.
    pub(super) fn is_missing(&mut self) -> bool {
        let live = self.live;
        let Some(pass) = self.pass() else { return false };
        let written = pass.plan.steps.iter().map(|step| &step.object);
        let mut missing = written.filter(|object| object.stage <= pass.stage && object.stage.lasts());
        let Some(first) = missing.find(|object| live.get(&object.key).is_none()).map(|object| object.stage) else {
            return false;
        };
        self.apply(first);
        true
    }

    /// The public addresses must be live before the jobs of the release, which may ask them.
    pub(super) fn next_stage(&mut self) {
        let Some(pass) = self.pass() else { return };
        let stages = pass.plan.steps.iter().map(|step| step.object.stage);
        let next = stages.filter(|stage| *stage > pass.stage).min();
        let unproven = pass.toward == Toward::Forward
            && pass.manifest.urls.iter().any(|url| !url.checks.is_empty())
            && pass.station != Station::Probing
            && pass.stage != Stage::Jobs;
        match next {
            None | Some(Stage::Jobs) if unproven => self.go(Station::Probing),
            Some(next) => self.apply(next),
            None if pass.toward == Toward::Heal => self.healed(),
            None => self.prune(),
        }
    }

    /// Drift is put back. What a controller would wait for for ever is taken out of its way.
    fn healed(&mut self) {
        let to_go = self.in_the_way();
        let now = self.now;
        let Some(pass) = self.pass() else { return };
        if pass.station == Station::Pruning {
            let gone = pass.gone.clone();
            self.machine.dismissed.extend(gone.into_iter().map(|key| (key, now + DISMISSAL)));
        } else if !to_go.is_empty() {
            pass.gone = to_go;
            return self.go(Station::Pruning);
        }
        let Some(pass) = self.pass() else { return };
        if pass.plan.steps.iter().any(|step| step.action != Action::Keep && !step.renews()) {
            self.machine.drift_corrected += 1;
        }
        self.settle_what_was_made();
        self.rest_again();
    }

    /// A volume that was made anew since a person wanted that belongs to the settled release like the others.
    fn settle_what_was_made(&mut self) {
        let machine = &mut *self.machine;
        let State::Passing(pass) = &machine.state else { return };
        let inventory = &mut machine.record.inventory;
        let new = inventory.iter_mut().filter(|owned| !owned.settled && pass.manifest.get(&owned.key).is_some());
        if new.map(Owned::settle).count() > 0 {
            self.save_aside();
        }
    }

    /// Takes the reply to a request.
    pub(super) fn reply(&mut self, id: PassId, reply: Reply) {
        let Some(pass) = self.pass() else { return self.reply_at_rest(id, reply) };
        let expected = match (&reply, &pass.station) {
            (Reply::Turn, at) => *at == Station::Queued,
            (Reply::Checked(_), at) => *at == Station::Checking,
            (Reply::Saved(_), at) => matches!(at, Station::Saving | Station::Dooming | Station::Settling),
            (Reply::Applied(_), at) => *at == Station::Applying,
            (Reply::Inspected(_), at) => *at == Station::Inspecting,
            (Reply::Deleted(_), at) => matches!(at, Station::Pruning | Station::Unsticking | Station::Clearing),
            (Reply::Probed(_), at) => *at == Station::Probing,
            // it is asked for only at rest
            (Reply::Measured(_), _) => false,
            (Reply::Explained(_), at) => matches!(at, Station::Explaining(_)),
        };
        if pass.id != id || !expected || !(pass.in_flight || pass.station == Station::Queued) {
            return;
        }
        pass.in_flight = false;
        let at = pass.station.clone();
        if matches!(reply, Reply::Saved(Ok(()))) {
            self.machine.saved.clone_from(&self.machine.record);
        }
        // what has settled is told before the next commit is begun
        if at == Station::Settling && matches!(reply, Reply::Saved(Ok(()))) {
            self.finish();
            self.reconsider();
            return;
        }
        if self.reconsider() {
            return;
        }
        self.go_on(&at, reply);
    }

    /// The reply is for the pass that still is under way.
    fn go_on(&mut self, at: &Station, reply: Reply) {
        match reply {
            Reply::Checked(Err(fault))
            | Reply::Saved(Err(fault))
            | Reply::Applied(Err(fault))
            | Reply::Deleted(Err(fault)) => self.trouble(at, &fault),
            Reply::Turn => self.turn(),
            Reply::Checked(Ok(())) => self.save(),
            Reply::Saved(Ok(())) if *at == Station::Dooming => self.go(Station::Pruning),
            Reply::Saved(Ok(())) => self.saved(),
            Reply::Applied(Ok(made)) => self.applied(&made),
            Reply::Inspected(found) => self.inspected(&found),
            Reply::Deleted(Ok(())) => match at {
                Station::Unsticking => self.go(Station::Watching),
                Station::Clearing => {
                    self.go(Station::Ending);
                    self.look();
                }
                _ if self.pass().is_some_and(|pass| pass.toward == Toward::Heal) => self.healed(),
                _ => {
                    self.go(Station::Vanishing);
                    self.look();
                }
            },
            Reply::Probed(reply) => self.probed(reply),
            Reply::Measured(_) => {}
            Reply::Explained(cause) => {
                let hinted = self.pass().map(|pass| rollout::hinted(cause.clone(), &pass.manifest));
                self.fall_back(hinted.unwrap_or(cause));
            }
        }
    }

    /// A change of the platform may begin: with what is live now.
    fn turn(&mut self) {
        let (now, live) = (self.now, self.live);
        let inventory = self.machine.record.inventory.clone();
        let Some(pass) = self.pass() else { return };
        pass.plan = plan::compare(&pass.manifest, live, &inventory);
        pass.begun = now;
        let news = News::Started { revision: pass.revision.clone(), counts: pass.plan.counts(), platform: true };
        let idle = pass.plan.steps.iter().all(|step| step.action == Action::Keep);
        self.tell(news);
        if idle { self.save() } else { self.go(Station::Checking) }
    }

    /// A request failed: try again, go back, or give up on what was only drift.
    fn trouble(&mut self, at: &Station, fault: &Fault) {
        let now = self.now;
        let stack = self.machine.stack.clone();
        let Some(pass) = self.pass() else { return };
        let late = now >= pass.deadline();
        pass.message = spec::mask(&fault.message);
        let (back, settling) = (pass.is_back(), matches!(at, Station::Settling));
        let ends_well = back || settling || matches!(at, Station::Pruning | Station::Unsticking | Station::Dooming);
        // what has been done can't be undone by giving up, but what is refused again and again will not be taken
        let again = if fault.transient { ends_well || !late } else { ends_well && (settling || pass.tries < REFUSALS) };
        if again {
            pass.tries += 1;
            let most = if ends_well { PATIENT_BACKOFF } else { BACKOFF.1 };
            pass.retry_at = Some(now + backoff(pass.id, stack.as_str(), pass.tries, most));
            if pass.tries == TELL_AFTER && !matches!(pass.toward, Toward::Heal) {
                let revision = match &pass.toward {
                    Toward::Back { from, .. } => from.clone(),
                    _ => pass.revision.clone(),
                };
                let message = pass.message.clone();
                self.tell(News::Retrying { revision, message });
            }
            return;
        }
        if pass.toward == Toward::Heal {
            self.pause_drift();
            return self.rest_again();
        }
        let cause = text::limit(&fault.message, &fault.component).unwrap_or_else(|| {
            if fault.transient {
                Cause::Unavailable { message: fault.message.clone() }
            } else {
                Cause::Rejected { object: fault.object.clone(), message: fault.message.clone() }
            }
        });
        if back || matches!(pass.toward, Toward::Nothing { .. }) {
            self.give_up(at, cause);
        } else if *at == Station::Pruning {
            // what can't be deleted stays in the inventory, and the next deployment tries again
            self.settle();
        } else {
            self.fail(cause);
        }
    }

    /// A rollback is refused for good. What can't be put back stays as it is, and that is how it ends.
    fn give_up(&mut self, at: &Station, cause: Cause) {
        let Some(pass) = self.pass() else { return };
        match at {
            // everything that it creates is known from the release that it goes back to
            Station::Saving => self.saved(),
            Station::Unsticking => self.go(Station::Watching),
            _ => {
                pass.refused = Some(cause);
                self.settle();
            }
        }
    }
}

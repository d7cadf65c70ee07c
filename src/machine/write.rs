//! What a pass writes on its way: the record first, then the objects stage by stage.

use super::drift::data_lost;
use super::pass::{Flow, Pass, Station, Toward};
use super::{Effect, Made, Turn};
use crate::ident::{Kind, ObjectKey};
use crate::manifest::{Stage, holds_data};
use crate::plan::{self, Action, Owned, Phase};
use crate::rollout::{self, Cause};

impl Turn<'_> {
    /// Writes down what is going to be created, before it is, and what a person wants, before anything is done for it.
    pub(super) fn write_down(&mut self, pass: &mut Pass) -> Flow {
        let first = self.machine.record.settled.is_none();
        let forward = pass.toward == Toward::Forward;
        let steps = pass.plan.steps.iter();
        let mut new: Vec<_> = steps
            .map(|step| Owned::new(step.object.key.clone(), step.action != Action::Create, pass.started))
            .collect();
        if first && forward {
            // data of the Stack that no record tells of is kept, and known from now on
            let live = self.live.objects.iter();
            let data = live.filter(|(key, object)| holds_data(key, object) && !plan::may_go(key, object, self.live));
            new.extend(data.map(|(key, _)| Owned::new(key.clone(), true, pass.started)));
        }
        if !pass.is_back() {
            self.keep_what_nobody_settled(pass);
        }
        let attempt = pass.attempt();
        let record = &mut self.machine.record;
        for owned in new {
            if !record.inventory.iter().any(|known| known.key == owned.key) {
                record.inventory.push(owned);
            }
        }
        if !pass.is_back() {
            // what is held stays held until a wish for something older has proven itself
            if attempt.wish.is_none() {
                record.held = None;
            }
            record.attempt = Some(Box::new(attempt));
        } else if record.attempt.as_ref().is_none_or(|attempt| attempt.failed.is_none()) {
            record.attempt = None;
        }
        if self.machine.record == self.machine.saved { Flow::Advance } else { self.go(pass, Station::Saving) }
    }

    /// No release tells how a database that was kept when it left the file is to run: that is written down before it is changed.
    fn keep_what_nobody_settled(&mut self, pass: &Pass) {
        let changed = pass.plan.steps.iter().filter(|step| matches!(step.action, Action::Change(_)));
        let servers = changed.map(|step| &step.object.key);
        let servers = servers.filter(|key| matches!(key.kind, Kind::StatefulSet | Kind::NetworkPolicy));
        let unsettled = servers.filter(|key| self.machine.baseline().is_some_and(|settled| !settled.has(key)));
        let live = self.live;
        let found: Vec<_> = unsettled.filter_map(|key| Some((key.clone(), plan::as_applied(live.get(key)?)))).collect();
        let before = &mut self.machine.record.before;
        for (key, body) in found {
            // a deployment that took over from another one finds what that one has made of it
            if !before.iter().any(|(known, _)| *known == key) {
                before.push((key, body));
            }
        }
    }

    /// Keeps the record without a pass; the reply is nobody's.
    pub(super) fn save_aside(&mut self) {
        let id = self.machine.next_id();
        self.machine.saved = self.machine.record.clone();
        self.effects.add(Effect::Save(id, Box::new(self.machine.record.clone())));
    }

    /// Deletes jobs of an earlier release that still run.
    pub(super) fn clear(&mut self, pass: &mut Pass) -> Flow {
        let old = |key: &&ObjectKey| rollout::is_running_job(key, self.live) && pass.manifest.get(key).is_none();
        let gone: Vec<_> = self.machine.record.inventory.iter().map(|owned| &owned.key).filter(old).cloned().collect();
        if gone.is_empty() {
            return Flow::Advance;
        }
        pass.gone = gone;
        self.go(pass, Station::Clearing)
    }

    /// Writes the objects of a stage that are not as they should be.
    pub(super) fn apply(&mut self, pass: &mut Pass, stage: Stage, watched: bool) -> Flow {
        if let Some(cause) = self.plan_again(pass) {
            return Self::has_lost_data(pass, cause);
        }
        if pass.plan.work(stage).next().is_some() {
            self.go(pass, Station::Applying)
        } else if watched {
            let _ = self.go(pass, Station::Watching);
            self.look(pass)
        } else {
            Flow::Advance
        }
    }

    /// A volume of the settled release went while the pass was under way, or goes: an empty one in its place would hide that, and
    /// what ends its pods would make an end of it.
    pub(super) fn has_lost_data(pass: &mut Pass, cause: Cause) -> Flow {
        if pass.toward == Toward::Heal {
            Flow::Rest
        } else if pass.is_back() {
            pass.refused = Some(cause);
            Flow::Settle
        } else {
            Flow::Fail(cause)
        }
    }

    /// What an earlier stage has made, or somebody has changed meanwhile, counts for the rest of the way. Tells what can't be
    /// made again.
    pub(super) fn plan_again(&mut self, pass: &mut Pass) -> Option<Cause> {
        if pass.stage() == Stage::Preflight {
            return None;
        }
        let plan = plan::compare(&pass.manifest, self.live, &self.machine.record.inventory);
        if let Some(cause) = data_lost(&self.machine.stack, &plan.lost) {
            self.machine.lost = plan.lost;
            return Some(cause);
        }
        // it goes with the last pod that has it, which would be ended here
        if let Some(refusal) = plan.endangers() {
            return Some(Cause::Refused { object: refusal.key.to_string(), message: refusal.message.clone() });
        }
        // drift is put back as it was found; what changes meanwhile is the next drift
        if pass.toward == Toward::Heal {
            return None;
        }
        let course = pass.course();
        let again = plan.steps.into_iter().filter(|step| step.object.stage != Stage::Preflight && course.takes(step));
        pass.plan.steps.retain(|step| step.object.stage == Stage::Preflight);
        pass.plan.steps.extend(again);
        None
    }

    /// The objects of a stage are as they should be.
    pub(super) fn applied(&mut self, pass: &mut Pass, made: &[Made]) -> Flow {
        self.learn(pass, made);
        let Phase::Apply { stage, watched: true } = pass.phase() else { return Flow::Advance };
        // credentials that were made anew reach a server only when it starts
        if pass.plan.work(stage).any(|step| step.renew) {
            return Flow::Again(stage);
        }
        let _ = self.go(pass, Station::Watching);
        self.look(pass)
    }

    /// Something that the pass has written is gone again: it is written once more, unless it was a job that has run.
    pub(super) fn missing(&self, pass: &Pass) -> Option<Stage> {
        let stage = pass.stage();
        let written = pass.plan.steps.iter().map(|step| &step.object);
        let mut lasting = written.filter(|object| object.stage <= stage && object.stage.lasts());
        lasting.find(|object| self.live.get(&object.key).is_none()).map(|object| object.stage)
    }

    /// Drift is put back. What a controller would wait for for ever is taken out of its way.
    pub(super) fn tidy(&mut self, pass: &mut Pass) -> Flow {
        let to_go = self.in_the_way();
        if to_go.is_empty() {
            return Flow::Advance;
        }
        pass.gone = to_go;
        self.go(pass, Station::Pruning)
    }

    pub(super) fn healed(&mut self, pass: &mut Pass) -> Flow {
        if pass.plan.steps.iter().any(|step| step.action != Action::Keep && !step.renews()) {
            self.machine.drift_corrected += 1;
        }
        // a volume that was made anew since a person wanted that belongs to the settled release like the others
        let inventory = &mut self.machine.record.inventory;
        let new = inventory.iter_mut().filter(|owned| !owned.settled && pass.manifest.get(&owned.key).is_some());
        new.for_each(Owned::settle);
        if self.machine.record.inventory != self.machine.saved.inventory {
            self.save_aside();
        }
        Flow::Rest
    }
}

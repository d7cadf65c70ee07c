//! Drift: what somebody else changed is put back, unless somebody insists or the API server made it so.

use super::pass::{Pass, Target, Toward, is_of_size};
use super::{Effect, Made, Turn};
use crate::ident::{ObjectKey, StackName};
use crate::plan::{self, Action, Difference, Plan, Refusal, Step};
use crate::report::News;
use crate::rollout::{self, Cause};
use crate::spec::Drift;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Corrections of drift in [`FIGHT_WINDOW`] after which somebody else evidently insists.
const FIGHT: usize = 10;
/// See [`FIGHT`].
const FIGHT_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// How long drift is then only reported.
const FIGHT_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// Corrections of one field in [`SWING_WINDOW`] after which it is asked who sets it, so that the third is the last at most.
const SWINGS: usize = 2;
/// An autoscaler looks every 15 s and waits up to five minutes before it scales down: three swings take longer than a minute.
const SWING_WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// A field of an object.
type Field = (ObjectKey, String);

/// What somebody else, or the API server, sets again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Insistence {
    /// When each field was corrected.
    swings: BTreeMap<Field, Vec<Timestamp>>,
    /// Fields that are left alone, and who sets them.
    alone: BTreeMap<Field, String>,
    /// By object: digest of what was asked for, and what came out differently at once, by an admission webhook or policy.
    made: BTreeMap<ObjectKey, (String, Vec<Difference>)>,
}

impl Insistence {
    /// Whether a difference is none of hks's business.
    fn excuses(&self, step: &Step, difference: &Difference) -> bool {
        let key = &step.object.key;
        let made = self.made.get(key).filter(|(hash, _)| hash == step.object.hash());
        self.alone.contains_key(&(key.clone(), difference.field.clone()))
            || made.is_some_and(|(_, made)| made.contains(difference))
    }

    /// Takes out of a plan what is left alone.
    fn excuse(&self, plan: &mut Plan) {
        for step in &mut plan.steps {
            let excused = |difference: &Difference| self.excuses(step, difference);
            if let Action::Change(fields) = &step.action {
                let left: Vec<_> = fields.iter().filter(|field| !excused(field)).cloned().collect();
                step.action = if left.is_empty() { Action::Keep } else { Action::Change(left) };
            }
        }
    }

    /// Fields that are left alone and who sets them, for people.
    pub(super) fn left_alone(&self) -> Vec<(String, String)> {
        let made = self.made.iter().flat_map(|(key, (_, made))| {
            made.iter().map(move |difference| (name(key, &difference.field), became(difference)))
        });
        let alone = self.alone.iter().map(|((key, field), by)| (name(key, field), by.clone()));
        alone.chain(made).collect()
    }
}

fn name(key: &ObjectKey, field: &str) -> String {
    format!("{key} {field}")
}

fn became(difference: &Difference) -> String {
    let live = difference.live.as_deref().unwrap_or("nothing");
    format!("an admission webhook or policy makes it {live}")
}

impl Turn<'_> {
    /// Compares what is live with the settled release.
    pub(super) fn look_for_drift(&mut self) {
        if !self.machine.looks_for_drift() {
            return;
        }
        let Some(baseline) = self.machine.kept().cloned() else { return };
        let mut plan = plan::compare(&baseline, self.live, &self.machine.record.inventory);
        self.machine.insistence.excuse(&mut plan);
        keep_what_has_grown(&mut plan);
        self.machine.drift = drift_of(&plan);
        self.machine.lost.clone_from(&plan.lost);
        self.retire(&plan);
        // what is being deleted can't be put back yet, and a restart could cost the data
        if !plan.lost.is_empty() || plan.data_that_goes().next().is_some() {
            // nothing is put back meanwhile, so there is nothing to wake for
            self.machine.drift_pause = None;
            self.machine.retiring.clear();
            return;
        }
        let going = plan.refusals.iter().filter(|refusal| refusal.until.is_some());
        let going: Vec<_> = going.map(|refusal| refusal.key.clone()).collect();
        plan.steps.retain(|step| !going.contains(&step.object.key));
        let renewed = plan.steps.iter().any(Step::renews);
        let changed = plan.steps.iter().any(|step| step.action != Action::Keep && step.object.stage.lasts());
        if !changed {
            self.machine.drift_pause = None;
            return self.clear_the_way(plan);
        }
        self.machine.drift_pause = self.machine.drift_pause.filter(|until| *until > self.now);
        let reports = baseline.deploy.drift == Drift::Report;
        if self.machine.drift_pause.is_some() || (reports && !renewed) {
            // what is only told stays as it is; what has to go does not wait for it, or it would wake the Stack again and again
            plan.steps.retain(|step| step.action == Action::Keep);
            return self.clear_the_way(plan);
        }
        if reports {
            // that somebody has set a secret is no drift
            plan.steps.retain(Step::renews);
        }
        let recent = |begun: &Timestamp| self.now.duration_since(*begun) < FIGHT_WINDOW;
        self.machine.corrections.retain(recent);
        if self.machine.corrections.len() >= FIGHT {
            self.pause_drift();
            return;
        }
        self.machine.corrections.push(self.now);
        for step in plan.steps.iter().filter(|step| step.renews()) {
            self.tell(News::Renewed { component: step.object.component().to_string() });
        }
        self.count_swings(&plan);
        self.heal(plan);
    }

    /// What has to go at rest: old versions whose time is over, and pods that keep a StatefulSet from going on.
    pub(super) fn in_the_way(&self) -> Vec<ObjectKey> {
        let now = self.now;
        let old = self.machine.retiring.iter().filter(|(_, until)| **until <= now).map(|(key, _)| key.clone());
        let stuck = self
            .machine
            .baseline()
            .map(|baseline| rollout::stuck(baseline.objects.iter().map(AsRef::as_ref), self.live));
        let later = |key: &ObjectKey| self.machine.dismissed.get(key).is_some_and(|until| *until > now);
        old.chain(stuck.into_iter().flatten()).filter(|key| !later(key)).collect()
    }

    fn clear_the_way(&mut self, plan: Plan) {
        if !self.in_the_way().is_empty() {
            self.heal(plan);
        }
    }

    fn heal(&mut self, plan: Plan) {
        let Some(manifest) = self.machine.kept().cloned() else { return };
        self.enter(Toward::Heal, Target::known(manifest, plan, self.now));
    }

    /// A field that is put back again and again has somebody who sets it: it is asked who.
    fn count_swings(&mut self, plan: &Plan) {
        let now = self.now;
        for step in &plan.steps {
            let Action::Change(fields) = &step.action else { continue };
            for field in fields.iter().filter(|field| !field.is_of_a_secret()) {
                let key = (step.object.key.clone(), field.field.clone());
                let times = self.machine.insistence.swings.entry(key.clone()).or_default();
                times.retain(|time| now.duration_since(*time) < SWING_WINDOW);
                times.push(now);
                if times.len() >= SWINGS {
                    self.effects.add(Effect::Who(key.0, key.1));
                }
            }
        }
        self.machine
            .insistence
            .swings
            .retain(|_, times| times.iter().any(|time| now.duration_since(*time) < SWING_WINDOW));
    }

    /// Who sets a field is known: a controller is left alone, a person is not, and neither is who is not known.
    pub(super) fn managed(&mut self, key: &ObjectKey, field: &str, by: Option<String>) {
        let Some(by) = by.filter(|by| !is_a_person(by)) else { return };
        let told = format!("{by} sets it again and again");
        if self.machine.insistence.alone.insert((key.clone(), field.to_owned()), told.clone()).is_none() {
            self.tell(News::LeftAlone { field: name(key, field), by: told });
        }
    }

    /// Takes what the API server made differently of what was just written.
    pub(super) fn learn(&mut self, pass: &Pass, made: &[Made]) {
        let applied: BTreeMap<_, _> =
            pass.plan.work(pass.stage()).map(|step| (step.object.key.clone(), step.object.hash().to_owned())).collect();
        for (key, hash) in applied {
            let differently = made.iter().find(|(of, _)| *of == key).map(|(_, made)| made.clone()).unwrap_or_default();
            if differently.is_empty() {
                self.machine.insistence.made.remove(&key);
                continue;
            }
            let known = self.machine.insistence.made.insert(key.clone(), (hash, differently.clone()));
            if known.is_none_or(|(_, known)| known != differently)
                && let Some(first) = differently.first()
            {
                self.tell(News::LeftAlone { field: name(&key, &first.field), by: became(first) });
            }
        }
    }

    /// Sees when the old versions of blue/green apps go: counted from the release that replaced them, which the record keeps.
    fn retire(&mut self, plan: &Plan) {
        let since = self.machine.record.settled.as_ref().map_or(self.now, |release| release.at);
        let until = |(key, seconds): &(ObjectKey, i64)| {
            (key.clone(), since.checked_add(SignedDuration::from_secs(*seconds)).unwrap_or(Timestamp::MAX))
        };
        let now = self.now;
        self.machine.dismissed.retain(|_, until| *until > now);
        let dismissed = &self.machine.dismissed;
        let not_before = |(key, until): (ObjectKey, Timestamp)| {
            let until = dismissed.get(&key).map_or(until, |again| until.max(*again));
            (key, until)
        };
        self.machine.retiring = plan.retire.iter().map(until).map(not_before).collect();
    }

    /// Only reports drift for a while.
    pub(super) fn pause_drift(&mut self) {
        self.machine.drift_pause = Some(self.now + FIGHT_PAUSE);
        self.machine.corrections.clear();
    }

    /// A new release: who insisted on a field of the last one may not on this one's.
    pub(super) fn forget_insistence(&mut self) {
        self.machine.insistence.alone.clear();
        self.machine.insistence.swings.clear();
    }
}

/// A volume that has grown can't shrink again: the API server would refuse that for ever.
fn keep_what_has_grown(plan: &mut Plan) {
    let grown = |refusal: &&Refusal| is_of_size(plan, refusal);
    let grown: Vec<_> = plan.refusals.iter().filter(grown).map(|refusal| refusal.key.clone()).collect();
    plan.steps.retain(|step| !grown.contains(&step.object.key));
}

/// Field managers of tools that people use by hand; they stop by themselves.
fn is_a_person(manager: &str) -> bool {
    let manager = manager.to_lowercase();
    ["kubectl", "hks", "k9s", "lens", "headlamp", "mozilla", "dashboard", "unknown"]
        .iter()
        .any(|tool| manager.contains(tool))
}

/// What is told of volumes that a settled release had and that are gone.
pub(super) fn data_lost(stack: &StackName, lost: &[ObjectKey]) -> Option<Cause> {
    let first = lost.first()?;
    Some(Cause::Refused {
        object: first.to_string(),
        message: format!(
            "it is gone, and its data with it; nothing is made in its place. Put it back from a backup and label it \
             (kubectl label pvc {} app.kubernetes.io/managed-by=hks hks.hexabase.ai/stack={stack}), or begin with an empty \
             one: hks retry {stack} --accept-data-loss",
            first.name
        ),
    })
}

fn drift_of(plan: &Plan) -> Vec<(ObjectKey, Vec<Difference>)> {
    // a job of the release may be tidied away once it has run
    let lasting = plan.steps.iter().filter(|step| step.object.stage.lasts());
    let steps = lasting.filter_map(|step| match &step.action {
        Action::Keep => None,
        Action::Create => Some((step.object.key.clone(), vec![])),
        Action::Change(fields) => {
            let fields: Vec<_> = fields.iter().filter(|field| !field.is_of_a_secret()).cloned().collect();
            (!fields.is_empty()).then(|| (step.object.key.clone(), fields))
        }
    });
    steps.collect()
}

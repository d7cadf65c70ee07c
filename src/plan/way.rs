//! The way to a release: the phases that a pass goes through, and the steps of a plan that it carries out. Going back, healing
//! and destroying are the same way with parts left out, and this is the one place that says which.

use super::{Action, Step};
use crate::manifest::{Manifest, Stage};
use std::collections::BTreeSet;

/// What a way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// A commit's release, which is new here.
    Commit,
    /// What is deployed already, since the platform's settings or hks itself make other objects of it.
    Platform,
    /// An older release that a person wants back.
    Person,
    /// The last settled release, since what came after it has failed.
    Back,
    /// The settled release, since somebody has changed something of it.
    Heal,
    /// Nothing: a person wants everything gone.
    Nothing,
}

/// A part of a way. One is done before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is this Stack's turn: a change of the platform touches a few at a time.
    Turn,
    /// The API server has taken everything in a dry run.
    Check,
    /// What is going to be created, or that everything goes, is written down.
    Record,
    /// Jobs of an earlier release have ended: two releases must not work on the same data.
    Clear,
    /// The objects of a stage are as they should be, and ready if they are watched.
    Apply {
        /// Which.
        stage: Stage,
        /// Whether it is waited for until they are ready.
        watched: bool,
    },
    /// The public addresses are live.
    Probe,
    /// What a controller would wait for for ever is out of its way, and old versions whose time is over are gone.
    Tidy,
    /// What does not belong is gone.
    Prune,
    /// The outcome is written down.
    Settle,
}

impl Phase {
    /// The phase in words, for progress.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Turn => "waiting for its turn",
            Phase::Check => "checking",
            Phase::Record | Phase::Settle => "writing down",
            Phase::Clear => "ending jobs of the last release",
            Phase::Apply { stage: Stage::Preflight, .. } => "pulling images",
            Phase::Apply { stage: Stage::Databases, .. } => "databases",
            Phase::Apply { stage: Stage::Apps(_), .. } => "apps",
            Phase::Apply { stage: Stage::Jobs, .. } => "jobs",
            Phase::Probe => "public addresses",
            Phase::Tidy | Phase::Prune => "removing what does not belong",
        }
    }
}

impl Course {
    /// Whether it leads to a release that has to prove itself.
    fn is_forward(self) -> bool {
        matches!(self, Course::Commit | Course::Platform | Course::Person)
    }

    /// Whether a stage is part of the way.
    fn has(self, stage: Stage) -> bool {
        match self {
            Course::Commit | Course::Platform => true,
            // what a job did for that release it has done: data stays as it is, and need not be migrated or seeded once more
            Course::Person => stage != Stage::Jobs,
            // images have been pulled once, and jobs have run once
            Course::Back | Course::Heal | Course::Nothing => stage.lasts(),
        }
    }

    /// Whether a step of the plan is carried out. On the way back what can't be undone stays: a volume that has grown.
    pub fn takes(self, step: &Step) -> bool {
        let stays = self == Course::Back && step.irreversible.is_some() && step.action != Action::Create;
        self.has(step.object.stage) && !stays
    }

    /// The phases of the way to a manifest, in order.
    pub fn phases(self, manifest: &Manifest) -> Vec<Phase> {
        let mut phases = vec![];
        if self == Course::Platform {
            phases.push(Phase::Turn);
        }
        if self.is_forward() {
            phases.push(Phase::Check);
        }
        if self != Course::Heal {
            phases.push(Phase::Record);
        }
        if self.is_forward() || self == Course::Back {
            phases.push(Phase::Clear);
        }
        if self != Course::Nothing {
            phases.extend(self.stages(manifest));
        }
        // the public addresses must be live before the jobs of the release, which may ask them
        if self.is_forward() && manifest.urls.iter().any(|url| !url.checks.is_empty()) {
            let jobs = phases.iter().position(|phase| matches!(phase, Phase::Apply { stage: Stage::Jobs, .. }));
            phases.insert(jobs.unwrap_or(phases.len()), Phase::Probe);
        }
        phases.push(if self == Course::Heal { Phase::Tidy } else { Phase::Prune });
        phases.push(Phase::Settle);
        phases
    }

    fn stages(self, manifest: &Manifest) -> impl Iterator<Item = Phase> {
        let mut stages: BTreeSet<_> = manifest.objects.iter().map(|object| object.stage).collect();
        if self.is_forward() {
            // whether images have to be pulled first is seen when it begins
            stages.insert(Stage::Preflight);
        }
        let of_this = stages.into_iter().filter(move |stage| self.has(*stage));
        of_this.map(move |stage| Phase::Apply { stage, watched: self != Course::Heal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Kind, ObjectKey, Revision, StackName};
    use crate::manifest::Object;
    use std::sync::Arc;

    fn manifest() -> Manifest {
        let object = |(at, stage): (usize, Stage)| {
            let key = ObjectKey::new(Kind::Service, format!("s{at}"));
            let body = serde_json::json!({});
            Arc::new(Object { key, stage, body, recipe: [].into(), started_is_enough: false })
        };
        let stages = [Stage::Databases, Stage::Apps(0), Stage::Apps(1), Stage::Jobs];
        let stack = StackName::new("todo").unwrap_or_else(|| unreachable!("a name"));
        let objects = stages.into_iter().enumerate().map(object).collect();
        Manifest { objects, ..Manifest::empty(stack, Revision::new("b")) }
    }

    #[test]
    fn every_way_is_the_way_of_a_commit_with_parts_left_out() {
        let told = |course: Course| format!("{:?}", course.phases(&manifest()));
        let apply = |stages: &[Stage], watched: bool| -> Vec<Phase> {
            stages.iter().map(|stage| Phase::Apply { stage: *stage, watched }).collect()
        };
        let all = [Stage::Preflight, Stage::Databases, Stage::Apps(0), Stage::Apps(1), Stage::Jobs];
        let (begins, ends) = ([Phase::Check, Phase::Record, Phase::Clear], [Phase::Prune, Phase::Settle]);
        let whole = [&begins[..], &apply(&all, true), &ends].concat();
        assert_eq!(told(Course::Commit), format!("{whole:?}"));
        assert_eq!(told(Course::Platform), format!("{:?}", [&[Phase::Turn][..], &whole].concat()));
        let without_jobs = [&begins[..], &apply(&all[..4], true), &ends].concat();
        assert_eq!(told(Course::Person), format!("{without_jobs:?}"));
        let back = [&begins[1..], &apply(&all[1..4], true), &ends].concat();
        assert_eq!(told(Course::Back), format!("{back:?}"));
        let heal = [&apply(&all[1..4], false)[..], &[Phase::Tidy, Phase::Settle]].concat();
        assert_eq!(told(Course::Heal), format!("{heal:?}"));
        assert_eq!(told(Course::Nothing), format!("{:?}", [&[Phase::Record][..], &ends].concat()));
    }
}

//! The way back: a pass toward the last settled release, and what happens where there is none to go back to.

use super::pass::{Target, Toward, is_of_size};
use super::{Baseline, Turn};
use crate::ident::{ObjectKey, Revision};
use crate::manifest::{HASH_ANNOTATION, Manifest, Object, Stage};
use crate::plan::{self, Live, Plan, read};
use crate::record::{Deployment, Ending, Held, Outcome};
use crate::report::{self, News};
use crate::rollout::Cause;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A release of which only the file is known, as it would be drawn today, and with it what runs as it is: other settings than it
/// was drawn with would change what the deployment that `failed` has not touched.
fn as_it_lives(release: &Manifest, failed: &Manifest, live: &Live) -> Manifest {
    let untouched = |object: &Object| {
        let there = live.get(&object.key)?;
        let new = failed.get(&object.key);
        new.is_none_or(|new| read::annotation(there, HASH_ANNOTATION) != Some(new.hash())).then_some(there)
    };
    let objects = release.objects.iter().map(|object| match untouched(object) {
        None => Arc::clone(object),
        Some(there) => Arc::new(Object { body: plan::as_applied(there), ..(**object).clone() }),
    });
    Manifest { objects: objects.collect(), ..release.clone() }
}

/// A release, and with it the servers that it does not have, as they ran `before` a deployment changed them.
fn with(release: Arc<Manifest>, before: &[(ObjectKey, Value)]) -> Arc<Manifest> {
    let servers = before.iter().filter(|(key, _)| !release.has(key)).map(|(key, body)| {
        let (key, body) = (key.clone(), body.clone());
        Arc::new(Object { key, stage: Stage::Databases, body, recipe: BTreeMap::new(), started_is_enough: false })
    });
    let servers: Vec<_> = servers.collect();
    if servers.is_empty() {
        return release;
    }
    let mut objects = [release.objects.as_slice(), &servers].concat();
    objects.sort_by(|a, b| (a.stage, &a.key).cmp(&(b.stage, &b.key)));
    Arc::new(Manifest { objects, ..(*release).clone() })
}

impl Turn<'_> {
    /// Begins the pass toward the last settled release, or toward nothing if there never was one.
    /// `also` are commits that end as the one that failed does; `failed` is what it was, where that is known.
    pub(super) fn go_back(&mut self, held: &Held, failed: Option<&Manifest>, also: Vec<Revision>) {
        let Some((manifest, plan)) = self.way_back(&held.revision, failed) else {
            let cause = self.no_way_back();
            return self.hold_as_it_is(held, also, &cause);
        };
        let to = self.machine.baseline().map(|baseline| baseline.revision.clone());
        self.tell(News::RollingBack { revision: held.revision.clone(), to, cause: held.cause.clone() });
        let toward = Toward::Back { from: held.revision.clone(), cause: held.cause.clone() };
        self.enter(toward, Target { also, ..Target::known(manifest, plan, held.started) });
    }

    /// What a person asked for did not work: what was there before is put back, and what was held stays held.
    pub(super) fn go_back_from_wish(
        &mut self,
        revision: Revision,
        cause: Cause,
        failed: Option<&Manifest>,
        started: Timestamp,
    ) {
        let attempt = self.machine.record.attempt.as_ref();
        let left = attempt.and_then(|attempt| attempt.left.clone());
        self.machine.failed_wish = attempt.and_then(|attempt| attempt.wish.clone());
        let Some((manifest, plan)) = self.way_back(&revision, failed) else {
            let cause = self.no_way_back();
            self.leave_the_failed_wish();
            // it was told on the commit that it wanted to leave
            let head = self.machine.head.as_ref().map(|head| head.revision.clone());
            let told = left.map(|left| left.revision).or(head).unwrap_or(revision);
            let held = Held::open(told, String::new(), cause.clone(), (started, self.now));
            self.machine.record.held = Some(Box::new(held.clone()));
            return self.hold_as_it_is(&held, vec![], &cause);
        };
        self.enter(Toward::Back { from: revision, cause }, Target { left, ..Target::known(manifest, plan, started) });
    }

    /// The settled release and the plan to it; `None` where it is not known, or can't be carried out.
    fn way_back(&self, from: &Revision, failed: Option<&Manifest>) -> Option<(Arc<Manifest>, Plan)> {
        let machine = &*self.machine;
        let manifest = match &machine.baseline {
            Baseline::Nothing => Arc::new(Manifest::empty(machine.stack.clone(), from.clone())),
            Baseline::Kept(manifest) => match failed {
                Some(failed) if machine.unproven => Arc::new(as_it_lives(manifest, failed, self.live)),
                _ => Arc::clone(manifest),
            },
            Baseline::Unreadable(_) => return None,
        };
        let manifest = with(manifest, &machine.record.before);
        let plan = plan::compare(&manifest, self.live, &machine.record.inventory);
        // what passes by itself is waited for on the way
        let final_refusal = plan.refusals.iter().any(|refusal| refusal.until.is_none() && !is_of_size(&plan, refusal));
        if final_refusal || !plan.lost.is_empty() || plan.endangers().is_some() {
            return None;
        }
        Some((manifest, plan))
    }

    fn no_way_back(&mut self) -> Cause {
        match self.machine.baseline.clone() {
            Baseline::Unreadable(cause) => cause,
            Baseline::Nothing => Cause::Refused { object: "Stack".into(), message: "nothing settled is known".into() },
            Baseline::Kept(manifest) => {
                let plan = plan::compare(&manifest, self.live, &self.machine.record.inventory);
                self.machine.lost.clone_from(&plan.lost);
                let lost = super::drift::data_lost(&self.machine.stack, &plan.lost);
                let endangered = plan.endangers().cloned();
                let refusal = plan.refusals.into_iter().find(|refusal| refusal.until.is_none()).or(endangered);
                let refused =
                    refusal.map(|refusal| Cause::Refused { object: refusal.key.to_string(), message: refusal.message });
                lost.or(refused).unwrap_or_else(|| Cause::Unavailable { message: "it can't be put back".into() })
            }
        }
    }

    /// Nothing is put back and nothing is deleted: it is held, and says why.
    fn hold_as_it_is(&mut self, held: &Held, also: Vec<Revision>, refused: &Cause) {
        let ending = Ending::Refused { cause: refused.clone() };
        let (cause, description) = (Some(held.cause.clone()), report::rolled_back(None, &held.cause, &[], &ending));
        let (revision, times) = (held.revision.clone(), (held.started, self.now));
        let deployment = Deployment {
            ending: ending.clone(),
            ..Deployment::new(revision, times, Outcome::RolledBack, cause, description)
        };
        if let Some(held) = &mut self.machine.record.held {
            (held.restored, held.ending) = (true, ending);
        }
        self.machine.record.attempt = None;
        let revisions = also.into_iter().chain([deployment.revision.clone()]);
        let ends: Vec<_> = revisions.map(|revision| Deployment { revision, ..deployment.clone() }).collect();
        for end in &ends {
            self.machine.remember(end.clone());
        }
        self.save_aside();
        for end in ends {
            self.tell(News::ended(end));
        }
        self.rest_again();
    }
}

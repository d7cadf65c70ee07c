//! What happens between passes: a commit begins one, drift begins one, and all ends are recorded.

use super::pass::Toward;
use super::{Commit, Content, Rest, State, Turn};
use crate::ident::{ObjectKey, Revision};
use crate::manifest::{Manifest, Needed};
use crate::plan::{self, Action, Plan, Step};
use crate::record::{Deployment, Ending, Held, Outcome, Release};
use crate::report::{self, Status};
use crate::rollout::Cause;
use crate::spec::{self, Document, Drift};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Corrections of drift in [`FIGHT_WINDOW`] after which somebody else evidently insists.
const FIGHT: usize = 10;
/// See [`FIGHT`].
const FIGHT_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// How long drift is then only reported.
const FIGHT_PAUSE: SignedDuration = SignedDuration::from_secs(60);

impl Turn<'_> {
    /// A commit or a wish has come: act on it, unless a request is in flight; then its reply does.
    pub(super) fn reconsider(&mut self) {
        let busy = matches!(&self.machine.state, State::Passing(pass) if pass.in_flight);
        if busy || !self.overtaken() {
            return;
        }
        if let Some((to, by)) = self.machine.asked_back.take() {
            return self.go_back_to(&to, by);
        }
        let Some(commit) = self.machine.head.clone() else { return };
        self.supersede(&commit);
        self.begin(&commit);
    }

    /// Whether there is something newer to do than what is under way or at rest.
    pub(super) fn overtaken(&self) -> bool {
        let head = self.machine.head.as_ref().map(|commit| &commit.revision);
        self.machine.asked_back.is_some() || head != self.machine.considered.as_ref()
    }

    /// Tells the commit of the pass under way that a newer one has come first.
    fn supersede(&mut self, by: &Commit) {
        let State::Passing(pass) = &self.machine.state else { return };
        let (revision, cause) = match &pass.toward {
            Toward::Forward => (pass.manifest.revision.clone(), None),
            Toward::Back { from, cause } => (from.clone(), Some(cause.clone())),
            Toward::Restore => return,
        };
        if revision == by.revision {
            return;
        }
        let deployment = Deployment {
            revision,
            started: pass.started,
            ended: self.now,
            outcome: Outcome::Superseded,
            back_to: None,
            description: cause.as_ref().map_or_else(|| report::superseded(&by.revision), report::rejected),
            cause,
            jobs: BTreeMap::new(),
        };
        self.report(Status::ended(&deployment));
        self.machine.record.remember(deployment);
    }

    /// Begins with what a commit says.
    fn begin(&mut self, commit: &Commit) {
        self.machine.considered = Some(commit.revision.clone());
        self.machine.lacking.clear();
        // a bad revision is tried once, also across restarts
        if let Some(held) = self.machine.record.held.clone()
            && held.revision == commit.revision
        {
            return if held.restored { self.rest(Rest::Held) } else { self.go_back(&held) };
        }
        let document = match &commit.content {
            Content::Missing => return self.suspend(commit, "hks.yaml is gone"),
            Content::Unusable { message } => {
                let cause = Cause::InvalidSpec { count: 1, first: message.clone() };
                return self.reject(&commit.revision, cause, self.now);
            }
            Content::File(document) if spec::is_empty(&document.source) => {
                return self.suspend(commit, "hks.yaml is empty");
            }
            Content::File(document) => document,
        };
        let record = &self.machine.record;
        let resting = matches!(self.machine.state, State::Resting(_));
        let undisturbed = resting && record.attempt.is_none() && record.held.is_none();
        // most Stacks of a repository have nothing to do with most of its commits
        let settled = record.settled.as_ref().is_some_and(|release| {
            release.source.as_bytes() == &*document.source
                && release.files == *document.files
                && release.tag == document.tag
        });
        if undisturbed
            && settled
            && !names_the_commit(&document.source)
            && let Some(baseline) = self.machine.baseline.clone()
        {
            let manifest = Manifest { revision: commit.revision.clone(), ..(*baseline).clone() };
            return self.unchanged(commit, manifest);
        }
        let manifest = match self.machine.rendered(document, &commit.revision) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return self.suspend(commit, "no environment of hks.yaml is meant for this branch and project"),
            Err(cause) => return self.reject(&commit.revision, cause, self.now),
        };
        if undisturbed && self.machine.baseline().is_some_and(|baseline| baseline.same_objects(&manifest)) {
            return self.unchanged(commit, manifest);
        }
        let plan = plan::compare(&manifest, self.live, &self.machine.record.inventory);
        if let Some(refusal) = plan.refusals.first() {
            let cause = Cause::Refused { object: refusal.key.to_string(), message: refusal.message.clone() };
            return self.reject(&commit.revision, cause, self.now);
        }
        if let Some(first) = plan.missing.first() {
            let of_it = plan.missing.iter().filter(|needed| needed.secret == first.secret);
            let cause = Cause::SecretMissing {
                stack: self.machine.stack.to_string(),
                secret: first.secret.clone(),
                keys: of_it.map(|needed| needed.key.clone()).collect(),
            };
            self.machine.lacking.clone_from(&plan.missing);
            return self.reject(&commit.revision, cause, self.now);
        }
        self.report(Status::started(&commit.revision, &plan));
        let document = document.clone();
        let started = match &self.machine.record.attempt {
            Some(attempt) if attempt.revision == commit.revision => attempt.started,
            _ => self.now,
        };
        self.enter(Toward::Forward, Arc::new(manifest), Some(document), plan, started);
    }

    /// The commit changes nothing for this Stack: only the revision moves, and no write is worth that.
    fn unchanged(&mut self, commit: &Commit, manifest: Manifest) {
        let told = self.machine.record.last_of(&commit.revision).map(Status::ended);
        self.report(told.unwrap_or_else(|| Status::unchanged(&commit.revision)));
        if let Some(release) = &mut self.machine.record.settled {
            release.revision = commit.revision.clone();
        }
        self.machine.baseline = Some(Arc::new(manifest));
        self.rest(Rest::Settled);
    }

    fn suspend(&mut self, commit: &Commit, why: &str) {
        self.report(Status::suspended(&commit.revision, why));
        self.rest(Rest::Suspended);
    }

    /// The commit can't be carried out and nothing was touched.
    pub(super) fn reject(&mut self, revision: &Revision, cause: Cause, started: Timestamp) {
        let deployment = Deployment {
            revision: revision.clone(),
            started,
            ended: self.now,
            outcome: Outcome::Rejected,
            back_to: None,
            description: report::rejected(&cause),
            cause: Some(cause.clone()),
            jobs: BTreeMap::new(),
        };
        self.report(Status::ended(&deployment));
        self.machine.record.remember(deployment);
        self.machine.record.attempt = None;
        self.machine.invalid = Some(cause);
        self.save_aside();
        self.rest(Rest::Invalid);
    }

    /// Puts a release back that a person asked for.
    fn go_back_to(&mut self, to: &Commit, by: String) {
        let Content::File(document) = &to.content else { return };
        let Ok(Some(manifest)) = self.machine.rendered(document, &to.revision) else { return };
        let head = self.machine.head.as_ref().map_or(&to.revision, |commit| &commit.revision).clone();
        self.machine.record.settled = Some(release(document, &to.revision, self.now));
        self.machine.baseline = Some(Arc::new(manifest));
        let (started, at) = (self.now, self.now);
        let held =
            Held { revision: head, cause: Cause::Requested { by }, started, at, restored: false, ending: Ending::Open };
        self.machine.record.held = Some(held.clone());
        self.go_back(&held);
    }

    /// Begins the pass toward the last settled release, or toward nothing if there never was one.
    pub(super) fn go_back(&mut self, held: &Held) {
        let machine = &*self.machine;
        let nothing = || Arc::new(Manifest::empty(machine.stack.clone(), held.revision.clone()));
        let manifest = machine.baseline.clone().unwrap_or_else(nothing);
        let mut plan = plan::compare(&manifest, self.live, &machine.record.inventory);
        // what can't be undone stays: a volume that has grown, for example
        plan.steps.retain(|step| step.irreversible.is_none() || step.action == Action::Create);
        let to = machine.baseline.as_ref().map(|baseline| &baseline.revision);
        let status = Status::rolling_back(&held.revision, to, &held.cause);
        self.report(status);
        let toward = Toward::Back { from: held.revision.clone(), cause: held.cause.clone() };
        self.enter(toward, manifest, None, plan, held.started);
    }

    /// Compares what is live with the settled release.
    pub(super) fn look_for_drift(&mut self) {
        let Some(baseline) = self.machine.baseline.clone().filter(|_| self.machine.looks_for_drift()) else { return };
        let mut plan = plan::compare(&baseline, self.live, &self.machine.record.inventory);
        self.machine.drift = drift_of(&plan);
        self.retire(&plan);
        let renewed = plan.steps.iter().any(Step::renews);
        if self.machine.drift.is_empty() && !renewed {
            self.machine.drift_pause = None;
            let over = self.machine.retiring.values().any(|until| *until <= self.now);
            return if over {
                self.enter(Toward::Restore, baseline, None, plan, self.now);
            };
        }
        self.machine.drift_pause = self.machine.drift_pause.filter(|until| *until > self.now);
        let reports = baseline.deploy.drift == Drift::Report;
        if self.machine.drift_pause.is_some() || (reports && !renewed) {
            return;
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
        self.enter(Toward::Restore, baseline, None, plan, self.now);
    }

    /// Sees when the old versions of blue/green apps go: counted from the release that replaced them, which the record keeps.
    fn retire(&mut self, plan: &Plan) {
        let since = self.machine.record.settled.as_ref().map_or(self.now, |release| release.at);
        let until = |(key, seconds): &(ObjectKey, i64)| (key.clone(), since + SignedDuration::from_secs(*seconds));
        self.machine.retiring = plan.retire.iter().map(until).collect();
    }

    /// Whether the secrets that the newest commit waits for are set now.
    pub(super) fn secrets_are_set(&self) -> bool {
        let set = |needed: &Needed| {
            self.live.get(&needed.object).is_some_and(|secret| secret["data"].get(&needed.key).is_some())
        };
        !self.machine.lacking.is_empty() && self.machine.lacking.iter().all(set)
    }

    /// Begins with the newest commit once more.
    pub(super) fn begin_again(&mut self) {
        self.machine.lacking.clear();
        self.machine.considered = None;
        self.reconsider();
    }

    /// Only reports drift for a while.
    pub(super) fn pause_drift(&mut self) {
        self.machine.drift_pause = Some(self.now + FIGHT_PAUSE);
        self.machine.corrections.clear();
    }

    /// Where the machine rests when nothing is under way: it follows from the record and the newest commit.
    pub(super) fn rest_again(&mut self) {
        let machine = &*self.machine;
        let head = machine.head.as_ref().map(|commit| &commit.revision);
        let held = machine.record.held.as_ref().is_some_and(|held| Some(&held.revision) == head);
        let rest = if held {
            Rest::Held
        } else if machine.invalid.is_some() {
            Rest::Invalid
        } else {
            Rest::Settled
        };
        self.rest(rest);
    }

    /// Comes to rest and looks for what changed meanwhile.
    pub(super) fn rest(&mut self, rest: Rest) {
        if matches!(rest, Rest::Settled | Rest::Held) {
            self.machine.invalid = None;
        }
        if rest == Rest::Held
            && let Some(held) = &self.machine.record.held
            && let Some(ended) = self.machine.record.last_of(&held.revision)
        {
            let status = Status::ended(ended);
            self.report(status);
        }
        self.machine.state = State::Resting(rest);
        self.look_for_drift();
    }
}

/// A file as a release.
pub(super) fn release(document: &Document, revision: &Revision, at: Timestamp) -> Release {
    Release {
        revision: revision.clone(),
        source: String::from_utf8_lossy(&document.source).into_owned(),
        files: (*document.files).clone(),
        tag: document.tag.clone(),
        at,
    }
}

/// Whether equal text may render differently in another commit.
fn names_the_commit(source: &[u8]) -> bool {
    source.windows(6).any(|text| text == b"${git.")
}

fn drift_of(plan: &Plan) -> Vec<(ObjectKey, Vec<plan::Difference>)> {
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

//! What a commit means for a Stack. Only one that can be deployed, and differs from what is under way or at rest, changes
//! anything; of the others only the revision moves, or their mistake is told.

use super::health::unwell;
use super::pass::{Origin, Pass, Station, Target, Toward};
use super::{Commit, Content, State, Turn, Verdict};
use crate::ident::Revision;
use crate::manifest::{CACHE_LABEL, DATABASE_LABEL, Manifest};
use crate::plan::{self, Plan, Until};
use crate::record::{Deployment, Ending, Held, Outcome, Record, Release, Unusable};
use crate::report::{self, News};
use crate::rollout::Cause;
use crate::spec::{self, Document};
use jiff::Timestamp;
use std::sync::Arc;

/// Earlier commits with the same content that end with a pass; older ones end as superseded.
const MOST_ALSO: usize = 50;
/// Files that together are smaller than this fit into any record.
const SURELY_FITS: usize = 200 * 1024;

/// A commit that can be deployed.
pub(super) struct Usable {
    document: Document,
    pub(super) manifest: Manifest,
    /// Digest of what it becomes.
    pub(super) content: String,
}

impl Turn<'_> {
    /// A commit or a wish has come: act on it, unless a request is in flight; then its reply does. Returns whether the pass
    /// under way was given up for it.
    pub(super) fn reconsider(&mut self) -> bool {
        let mut moved = false;
        if self.waits_for_a_wish() {
            return false;
        }
        if !self.is_busy()
            && let Some((wish, to)) = self.machine.asked.take()
        {
            moved |= self.grant(wish, to);
            // who resumes goes on with what was begun
            if self.waits_for_a_wish() {
                return moved;
            }
        }
        if self.is_emptied() {
            // what comes meanwhile is looked at when nothing is left: the commit that is to go must not come again by that
            return moved;
        }
        let free = !self.is_busy() && self.machine.record.suspended.is_none();
        match self.machine.head.clone().filter(|_| self.has_new_head()) {
            Some(commit) if free => moved |= self.consider(&commit),
            Some(_) => self.wait_for_resume(),
            None => {}
        }
        moved
    }

    pub(super) fn is_busy(&self) -> bool {
        self.machine.is_busy()
    }

    /// A person wants everything gone, and it is going.
    fn is_emptied(&self) -> bool {
        matches!(&self.machine.state, State::Passing(pass) if matches!(pass.toward, Toward::Nothing { .. }))
    }

    pub(super) fn has_new_head(&self) -> bool {
        let head = self.machine.head.as_ref().map(identity);
        head.is_some() && head != self.machine.considered
    }

    fn wait_for_resume(&mut self) {
        if let (Some(by), Some(head)) = (self.machine.record.suspended.clone(), &self.machine.head) {
            let revision = head.revision.clone();
            self.tell(News::Suspended { revision, by });
        }
    }

    pub(super) fn consider(&mut self, commit: &Commit) -> bool {
        self.machine.record.unusable = None;
        self.machine.considered = Some(identity(commit));
        self.machine.blockers.clear();
        self.machine.head_content.clear();
        self.machine.head_takes.clear();
        if self.is_as_it_was(commit) {
            self.unchanged(&commit.revision);
            return true;
        }
        let read = self.read(commit);
        self.hold_the_first(&commit.revision, read.as_ref().map_or("", |usable| usable.content.as_str()));
        match read {
            Ok(usable) => {
                self.machine.head_content.clone_from(&usable.content);
                self.machine.head_takes = usable.manifest.taken_names();
                self.pursue(commit, usable)
            }
            Err(verdict) => match self.held_at_rest().filter(|held| is_held(held, &commit.revision, "")) {
                // a person wanted it gone, whatever is wrong with it
                Some(held) => self.stays_held(&commit.revision, &held),
                None => self.is_unusable(&commit.revision, verdict),
            },
        }
    }

    /// What is held, unless something is under way that may end otherwise.
    fn held_at_rest(&self) -> Option<Box<Held>> {
        // drift that is being put back is no reason to try it again
        let resting = match &self.machine.state {
            State::Resting(_) => true,
            State::Passing(pass) => pass.toward == Toward::Heal,
        };
        self.machine.record.held.clone().filter(|held| held.ending != Ending::Open && resting)
    }

    /// What a person wanted gone before any commit was known is not brought back by the first one.
    fn hold_the_first(&mut self, revision: &Revision, content: &str) {
        if let Some(held) = self.machine.record.held.as_mut().filter(|held| held.unseen) {
            held.unseen = false;
            held.revision = revision.clone();
            content.clone_into(&mut held.content);
            self.save_at_rest();
        }
    }

    /// Most Stacks of a repository have nothing to do with most of its commits.
    fn is_as_it_was(&self, commit: &Commit) -> bool {
        let Content::File(document) = &commit.content else { return false };
        let settled = self.machine.record.settled.as_ref().is_some_and(|release| release.is_of(document));
        let believed = self.machine.fits && !self.machine.record.doubted;
        settled && self.is_undisturbed() && believed && !names_the_commit(&document.source)
    }

    fn is_undisturbed(&self) -> bool {
        let record = &self.machine.record;
        matches!(self.machine.state, State::Resting(_)) && record.attempt.is_none() && record.held.is_none()
    }

    /// What the file of a commit becomes here.
    pub(super) fn read(&self, commit: &Commit) -> Result<Usable, Verdict> {
        let document = match &commit.content {
            Content::Missing => return Err(Verdict::Withdrawn("hks.yaml is gone".into())),
            Content::Unusable { message } => {
                return Err(mistake(Cause::InvalidSpec { count: 1, first: message.clone() }));
            }
            Content::File(document) if spec::is_empty(&document.source) => {
                return Err(Verdict::Withdrawn("hks.yaml is empty".into()));
            }
            Content::File(document) => document,
        };
        let manifest = self.machine.rendered(document, &commit.revision).map_err(mistake)?;
        let Some(manifest) = manifest else {
            let why = "no environment of hks.yaml is meant for this branch and project";
            return Err(Verdict::Withdrawn(why.into()));
        };
        self.fits_the_record(document, &commit.revision, &manifest).map_err(mistake)?;
        let content = manifest.digest();
        Ok(Usable { document: document.clone(), manifest, content })
    }

    /// What can't be kept can't be put back.
    fn fits_the_record(&self, document: &Document, revision: &Revision, manifest: &Manifest) -> Result<(), Cause> {
        if document.source.len() + document.files.size() < SURELY_FITS {
            return Ok(());
        }
        let settled = Some(Arc::new(Release::new(document, revision, self.now, manifest)));
        let record = Record { settled, inventory: self.machine.record.inventory.clone(), ..Record::default() };
        let fits = record.encode().map(drop);
        fits.map_err(|message| Cause::Refused { object: document.path.to_string(), message })
    }

    /// The commit can't be deployed. What is under way goes on; half a deployment that a restart has left goes back.
    fn is_unusable(&mut self, revision: &Revision, verdict: Verdict) -> bool {
        self.machine.verdict = verdict.clone();
        self.note_unusable(revision);
        let cause = match verdict {
            Verdict::Withdrawn(why) => {
                self.tell(News::Withdrawn { revision: revision.clone(), why: why.clone() });
                Cause::Refused { object: "hks.yaml".into(), message: why }
            }
            Verdict::Mistake(cause) => {
                self.tell_mistake(revision, &cause);
                *cause
            }
            Verdict::Usable => return false,
        };
        if matches!(self.machine.state, State::Passing(_)) {
            return false;
        }
        if let Some(attempt) = self.machine.record.attempt.take() {
            let is_newest = attempt.revision == *revision;
            let (revision, content, started) = (attempt.revision, attempt.content, attempt.started);
            let cause = if is_newest {
                cause
            } else {
                let message =
                    format!("its deployment was interrupted and it can't be fetched again; the newest one: {cause}");
                Cause::Refused { object: format!("commit {}", revision.short()), message }
            };
            let held = Held::open(revision, content, cause, (started, self.now));
            self.machine.record.held = Some(Box::new(held.clone()));
            self.go_back(&held, None, vec![]);
        } else {
            self.rest_again();
        }
        true
    }

    /// Writes down for others what is wrong with the newest commit.
    pub(super) fn note_unusable(&mut self, revision: &Revision) {
        let cause = match &self.machine.verdict {
            Verdict::Usable => return,
            Verdict::Withdrawn(_) => None,
            Verdict::Mistake(cause) => Some((**cause).clone()),
        };
        let waits_for = self.machine.blockers.iter().filter_map(Until::words).collect();
        self.machine.record.unusable = Some(Box::new(Unusable { revision: revision.clone(), cause, waits_for }));
    }

    /// Writes a mistake down and tells it; the same one is told once, also after a restart.
    fn tell_mistake(&mut self, revision: &Revision, cause: &Cause) {
        let known = self
            .machine
            .record
            .told_of(revision)
            .filter(|last| last.outcome == Outcome::Rejected && last.cause.as_ref() == Some(cause));
        if let Some(known) = known.cloned() {
            return self.tell(News::ended(known));
        }
        let deployment = self.rejected(revision.clone(), self.now, cause);
        self.machine.remember(deployment.clone());
        self.tell(News::ended(deployment));
        self.save_at_rest();
    }

    /// Keeps the record, unless something is under way: a request in flight must find the record that it knows.
    pub(super) fn save_at_rest(&mut self) {
        if matches!(self.machine.state, State::Resting(_)) && self.machine.record.attempt.is_none() {
            self.save_aside();
        }
    }

    pub(super) fn rejected(&self, revision: Revision, started: Timestamp, cause: &Cause) -> Deployment {
        let (cause, description) = (Some(cause.clone()), report::rejected(cause));
        Deployment::new(revision, (started, self.now), Outcome::Rejected, cause, description)
    }

    /// The commit can be deployed: does it have to be?
    fn pursue(&mut self, commit: &Commit, usable: Usable) -> bool {
        if let State::Passing(pass) = &self.machine.state
            && self.is_of_this_pass(pass, &usable.content)
        {
            if pass.station == Station::Settling {
                // how it ends is known, and is said of this commit once that is kept
                self.machine.considered = None;
                return false;
            }
            self.machine.verdict = Verdict::Usable;
            self.join(commit, usable.document);
            return false;
        }
        if let Some(held) = self.held_at_rest().filter(|held| is_held(held, &commit.revision, &usable.content)) {
            return self.stays_held(&commit.revision, &held);
        }
        if self.is_undisturbed()
            && self.machine.baseline().is_some_and(|baseline| baseline.same_objects(&usable.manifest))
        {
            return self.settles_for(commit, usable);
        }
        let plan = plan::compare(&usable.manifest, self.live, &self.machine.record.inventory);
        self.begin_if_possible(commit, usable, plan)
    }

    fn begin_if_possible(&mut self, commit: &Commit, usable: Usable, plan: Plan) -> bool {
        if let Some((cause, blockers)) = self.objection(&plan) {
            self.machine.blockers = blockers;
            return self.is_unusable(&commit.revision, mistake(cause));
        }
        self.machine.verdict = Verdict::Usable;
        self.supersede(&commit.revision);
        self.begin(commit, usable, plan);
        true
    }

    /// Why a plan can't be carried out, and what cures it by itself. Nothing is touched.
    fn objection(&mut self, plan: &Plan) -> Option<(Cause, Vec<Until>)> {
        if let Some(cause) = super::drift::data_lost(&self.machine.stack, &plan.lost) {
            self.machine.lost.clone_from(&plan.lost);
            return Some((cause, plan.lost.iter().cloned().map(Until::There).collect()));
        }
        if let Some(refusal) = plan.refusals.first() {
            let blockers = plan.refusals.iter().filter_map(|refusal| refusal.until.clone()).collect();
            let blockers = if refusal.until.is_some() { blockers } else { vec![] };
            return Some((
                Cause::Refused { object: refusal.key.to_string(), message: refusal.message.clone() },
                blockers,
            ));
        }
        let first = plan.missing.first()?;
        let of_it = plan.missing.iter().filter(|needed| needed.secret == first.secret);
        let cause = Cause::SecretMissing {
            stack: self.machine.stack.to_string(),
            secret: first.secret.clone(),
            keys: of_it.map(|needed| needed.key.clone()).collect(),
        };
        Some((cause, plan.missing.iter().cloned().map(Until::Set).collect()))
    }

    fn is_of_this_pass(&self, pass: &Pass, content: &str) -> bool {
        match &pass.toward {
            Toward::Forward => pass.content == content && !matches!(pass.origin, Origin::Person(_)),
            Toward::Back { .. } => {
                let is_decided = pass.station == Station::Settling;
                let held = self.machine.record.held.as_ref().filter(|held| held.ending == Ending::Open || is_decided);
                held.is_some_and(|held| !content.is_empty() && held.content == content)
            }
            Toward::Heal | Toward::Nothing { .. } => false,
        }
    }

    /// The commit asks for what the pass does, or failed with, already: only the revision moves.
    fn join(&mut self, commit: &Commit, document: Document) {
        let State::Passing(pass) = &mut self.machine.state else { return };
        let revision = commit.revision.clone();
        if let Toward::Back { from, .. } = &mut pass.toward {
            if *from != revision {
                pass.also.push(std::mem::replace(from, revision.clone()));
            }
            if let Some(held) = &mut self.machine.record.held {
                held.revision = revision;
            }
        } else {
            if pass.revision != revision {
                pass.also.push(std::mem::replace(&mut pass.revision, revision.clone()));
            }
            pass.document = Some(document);
            if let Some(attempt) = &mut self.machine.record.attempt {
                attempt.revision = revision;
            }
        }
        let excess = pass.also.len().saturating_sub(MOST_ALSO);
        let (left, started): (Vec<_>, _) = (pass.also.drain(..excess).collect(), pass.started);
        for revision in left {
            self.superseded(revision, started, &commit.revision, None);
        }
    }

    fn stays_held(&mut self, revision: &Revision, held: &Held) -> bool {
        self.machine.verdict = Verdict::Usable;
        let ended = self.machine.record.told_of(revision).cloned().map(News::ended);
        let still =
            || News::StillHeld { revision: revision.clone(), since: held.revision.clone(), cause: held.cause.clone() };
        self.tell(ended.unwrap_or_else(still));
        self.rest_again();
        true
    }

    /// The commit becomes what is settled. Where the record does not say what ran, it is watched before that is believed.
    fn settles_for(&mut self, commit: &Commit, usable: Usable) -> bool {
        if self.machine.unproven {
            let plan = plan::compare(&usable.manifest, self.live, &self.machine.record.inventory);
            if !plan.is_empty() {
                return self.begin_if_possible(commit, usable, plan);
            }
            if let Some(release) = &mut self.machine.record.settled {
                *release = Arc::new(Release::new(&usable.document, &release.revision, release.at, &usable.manifest));
            }
            self.machine.unproven = false;
            if !self.machine.record.doubted {
                self.save_aside();
            }
        }
        self.machine.fits = self.machine.record.settled.as_ref().is_some_and(|release| release.is_of(&usable.document));
        if self.machine.record.doubted {
            self.believe(&commit.revision);
        } else {
            self.unchanged(&commit.revision);
        }
        true
    }

    /// What a record without a seal says of a commit is what is live; it is told as deployed once it is also well.
    pub(super) fn believe(&mut self, revision: &Revision) {
        if let Some(cause) = self.machine.baseline().and_then(|baseline| unwell(baseline, self.live)) {
            self.machine.verdict = Verdict::Usable;
            self.tell(News::Unproven { revision: revision.clone(), cause });
            return self.rest_again();
        }
        self.machine.record.doubted = false;
        self.save_aside();
        self.unchanged(revision);
    }

    /// The commit changes nothing for this Stack: only the revision moves, and no write is worth that.
    fn unchanged(&mut self, revision: &Revision) {
        self.machine.verdict = Verdict::Usable;
        let told = self.machine.record.told_of(revision).cloned().map(News::ended);
        self.tell(told.unwrap_or_else(|| News::Unchanged { revision: revision.clone() }));
        if let Some(release) = &mut self.machine.record.settled {
            Arc::make_mut(release).revision = revision.clone();
        }
        if let super::Baseline::Kept(manifest) = &mut self.machine.baseline
            && manifest.revision != *revision
        {
            Arc::make_mut(manifest).revision = revision.clone();
        }
        self.rest_again();
    }

    fn begin(&mut self, commit: &Commit, usable: Usable, plan: Plan) {
        let Usable { document, manifest, content } = usable;
        let known = self.machine.record.settled.as_ref().is_some_and(|release| release.is_of(&document));
        let platform = self.is_undisturbed() && known && !names_the_commit(&document.source);
        let revision = commit.revision.clone();
        let started = match &self.machine.record.attempt {
            Some(attempt) if attempt.revision == revision || attempt.content == content => attempt.started,
            _ => self.machine.limited_since(&revision).unwrap_or(self.now),
        };
        self.leave_the_failed_wish();
        self.forget_insistence();
        if platform {
            self.tell(News::Queued { revision: revision.clone() });
        } else {
            self.tell(News::Started { revision: revision.clone(), counts: plan.counts(), platform });
        }
        let origin = if platform { Origin::Platform } else { Origin::Commit };
        let (manifest, document) = (Arc::new(manifest), Some(document));
        self.enter(
            Toward::Forward,
            Target { manifest, revision, origin, content, document, plan, started, also: vec![], left: None },
        );
    }

    /// The refused object, where it belongs to the settled release and is not to be seen at the moment, since somebody has put
    /// another label on it: once it is, the refusal is over.
    pub(super) fn absent(&self, refused: &Cause) -> Vec<Until> {
        let Cause::Rejected { object, .. } = refused else { return vec![] };
        let settled = self.machine.record.inventory.iter().filter(|owned| owned.settled).map(|owned| &owned.key);
        let absent = settled.filter(|key| self.live.get(key).is_none() && key.to_string() == *object);
        absent.cloned().map(Until::There).collect()
    }

    /// Whether what kept the newest commit, or what is held, from working is gone.
    pub(super) fn may_begin_again(&self) -> bool {
        if self.machine.record.suspended.is_some() {
            return false;
        }
        let blockers = &self.machine.blockers;
        (!blockers.is_empty() && blockers.iter().all(|until| until.is_met(self.live)))
            || self.has_new_secret()
            || self.has_new_limit()
    }

    /// A key of a Secret that the Stack takes was set since the newest commit failed.
    fn has_new_secret(&self) -> bool {
        let Some(held) = self.machine.record.held.as_ref().filter(|held| held.ending != Ending::Open) else {
            return false;
        };
        let newest =
            self.machine.head.is_some() && held.content == self.machine.head_content && !held.content.is_empty();
        let asked = matches!(held.cause, Cause::Requested { .. } | Cause::Refused { .. });
        let set = self.secret_set().filter(|at| *at > held.at);
        newest && !asked && set.is_some() && set != self.machine.heeded
    }

    /// When a key of one of the Stack's Secrets was last set. Credentials of databases and caches are made by hks itself, also
    /// anew, and by nobody else.
    fn secret_set(&self) -> Option<Timestamp> {
        let own = |secret: &serde_json::Value| {
            let labels = &secret["metadata"]["labels"];
            labels[DATABASE_LABEL].is_string() || labels[CACHE_LABEL].is_string()
        };
        let secrets = self.live.of(crate::ident::Kind::Secret).filter(|(_, secret)| !own(secret));
        let times = secrets.filter_map(|(_, secret)| plan::set_at(secret));
        let others = self.machine.head_takes.iter().filter_map(|name| *self.live.taken.get(name)?);
        times.chain(others).max()
    }

    /// Begins with the newest commit once more.
    pub(super) fn begin_again(&mut self) {
        self.machine.heeded = self.secret_set();
        self.machine.blockers.clear();
        self.machine.limited = None;
        self.machine.record.held = None;
        self.machine.verdict = Verdict::Usable;
        self.machine.considered = None;
        self.machine.told = None;
        self.reconsider();
    }

    /// Leaves a pass where it is, without a request in flight; the record says how far it came.
    pub(super) fn stop_here(&mut self) {
        self.machine.state = State::Resting(self.machine.resting());
    }
}

pub(super) fn identity(commit: &Commit) -> (Revision, Option<String>) {
    let tag = match &commit.content {
        Content::File(document) => document.tag.clone(),
        Content::Missing | Content::Unusable { .. } => None,
    };
    (commit.revision.clone(), tag)
}

/// What failed is held by what it is; records of the format before know only its revision.
fn is_held(held: &Held, revision: &Revision, content: &str) -> bool {
    if held.content.is_empty() { held.revision == *revision } else { held.content == content }
}

/// Whether equal text may render differently in another commit.
fn names_the_commit(source: &[u8]) -> bool {
    source.windows(6).any(|text| text == b"${git.")
}

pub(super) fn mistake(cause: Cause) -> Verdict {
    Verdict::Mistake(Box::new(cause))
}

//! What a person asks for. No wish is acted on twice, and one that can't be met is told.

use super::consider::{Usable, identity};
use super::pass::{Flow, Origin, Station, Target, Toward};
use super::{Commit, Content, Effect, Machine, State, Turn, Verdict};
use crate::ident::{Kind, ObjectKey, Revision};
use crate::manifest::{Manifest, holds_data};
use crate::plan::{self, Action, Owned};
use crate::record::{Attempt, Left, Outcome, Suspended, Want, Wish};
use crate::report::{self, News};
use crate::rollout::Cause;
use std::sync::Arc;

impl Machine {
    /// A wish that was begun with before a restart or a suspension, if there is one: it has to come again as [`super::Event::Wish`].
    pub fn unfinished_wish(&self) -> Option<&Wish> {
        self.begun()?.wish.as_ref()
    }

    /// What was begun with before a restart or a suspension, and has not failed.
    fn begun(&self) -> Option<&Attempt> {
        let rests = matches!(self.state, State::Resting(_)) && self.record.suspended.is_none();
        self.record.attempt.as_deref().filter(|attempt| rests && attempt.failed.is_none())
    }

    /// Whether the newest commit has nothing of this Stack, and nothing is under way: whoever has something of it may act.
    pub fn has_nothing(&self) -> bool {
        matches!((&self.verdict, &self.state), (Verdict::Withdrawn(_), State::Resting(_)))
    }

    /// Whether there is nothing of this Stack anywhere any more, neither in the newest commit nor in the cluster.
    pub fn is_over(&self) -> bool {
        let record = &self.record;
        let has_something = record.settled.is_some() || record.attempt.is_some() || record.suspended.is_some();
        let is_bare = !has_something && record.inventory.is_empty() && record.before.is_empty();
        is_bare && self.has_nothing() && !self.is_asked()
    }

    /// Whether a wish waits: for the reply to a request, then the next one has to wait behind it; or for the newest commit.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The commit whose deployment a suspension has interrupted, if there is one: it has to come with the wish to resume.
    pub fn suspended_in(&self) -> Option<&Revision> {
        let attempt = self.record.attempt.as_deref().filter(|_| self.record.suspended.is_some())?;
        (attempt.wish.is_none() && attempt.failed.is_none()).then_some(&attempt.revision)
    }

    /// The commit whose deployment a restart has interrupted, if there is one: it has to come again as [`super::Event::Commit`], before
    /// a newer one does. What is wrong with that is no reason to put anything back. A wish that waits for the newest commit leaves it.
    pub fn interrupted(&self) -> Option<&Revision> {
        let is_free = self.considered.is_none() && self.asked.is_none();
        let attempt = self.begun().filter(|attempt| attempt.wish.is_none() && is_free)?;
        Some(&attempt.revision)
    }
}

impl Turn<'_> {
    /// Carries a wish out. Returns whether the pass under way was given up for it.
    pub(super) fn grant(&mut self, wish: Wish, to: Result<Option<Commit>, String>) -> bool {
        let record = &self.machine.record;
        // what is under way is that wish, or what has come after it
        let rests = matches!(self.machine.state, State::Resting(_));
        let unfinished = rests && record.attempt.as_ref().is_some_and(|attempt| attempt.wish.as_ref() == Some(&wish));
        if record.has_answered(&wish) && !unfinished {
            return false;
        }
        let known = record.has_answered(&wish);
        let granted = to.and_then(|to| match &wish.what {
            Want::RollBack { .. } => {
                let to = to.ok_or_else(|| "the commit can't be found".to_owned())?;
                let recognized = self.recognize_the_head();
                self.roll_back(&wish, &to).inspect_err(|_| {
                    if recognized {
                        self.machine.considered = None;
                    }
                })
            }
            Want::Retry { accept_data_loss } => self.retry(&wish, *accept_data_loss),
            Want::Suspend { reason } => Ok(self.suspend(&wish, reason)),
            Want::Resume => self.resume_for(&wish, to),
            Want::Destroy { .. } => self.destroy(&wish),
        });
        match granted {
            Ok(moved) => moved,
            Err(why) => {
                if unfinished {
                    self.machine.record.attempt = None;
                }
                if !known || unfinished {
                    self.machine.record.answer(&wish, self.now, Some(why.clone()));
                    self.save_beside();
                }
                self.tell(News::Answered { want: wish.what, by: wish.by, refused: Some(why) });
                false
            }
        }
    }

    /// After a restart, what a person wanted goes on before the newest commit is looked at: what that person has rolled back or
    /// destroyed would come again. And a rollback needs to know what the newest commit is.
    pub(super) fn waits_for_a_wish(&self) -> bool {
        let rolls_back = |wish: &Wish| matches!(wish.what, Want::RollBack { .. });
        match &self.machine.asked {
            Some((wish, Ok(_))) => rolls_back(wish) && self.machine.head.is_none() && !self.is_busy(),
            Some((_, Err(_))) => false,
            None => self.machine.unfinished_wish().is_some(),
        }
    }

    /// Whether the newest commit is the one that was there before a restart: then a wish is about it, and it is not new.
    fn recognize_the_head(&mut self) -> bool {
        let Some(commit) = self.machine.head.clone().filter(|_| self.machine.considered.is_none()) else {
            return false;
        };
        let read = self.read(&commit).ok();
        let record = &self.machine.record;
        let left = record.attempt.as_ref().and_then(|attempt| attempt.left.as_ref());
        let deployed = record.last_of(&commit.revision).is_some()
            || left.is_some_and(|left| left.revision == commit.revision)
            || record.settled.as_ref().is_some_and(|release| release.revision == commit.revision);
        let runs = |usable: &Usable| self.machine.baseline().is_some_and(|kept| kept.same_objects(&usable.manifest));
        let known = deployed || read.as_ref().is_some_and(runs);
        if known {
            self.machine.considered = Some(identity(&commit));
            if let Some(usable) = read {
                self.machine.head_takes = usable.manifest.taken_names();
                self.machine.head_content = usable.content;
            }
        }
        known
    }

    /// Something else is begun before what a wish has made was put back: it has failed all the same.
    pub(super) fn leave_the_failed_wish(&mut self) {
        let Some(Wish { what, by, .. }) = self.machine.failed_wish.take() else { return };
        let cause = self.machine.record.attempt.as_ref().and_then(|attempt| attempt.failed.as_ref());
        let refused = Some(cause.map_or_else(|| "it failed".into(), report::rejected));
        self.tell(News::Answered { want: what, by, refused });
    }

    /// The commit that a wish wants to leave: the newest one that was looked at when it was first granted.
    fn left_by(&self, wish: &Wish) -> Option<Left> {
        let begun = self.machine.record.attempt.as_ref().filter(|attempt| attempt.wish.as_ref() == Some(wish));
        if let Some(left) = begun.and_then(|begun| begun.left.clone()) {
            return Some(left);
        }
        let (revision, _) = self.machine.considered.clone()?;
        Some(Left { revision, content: self.machine.head_content.clone() })
    }

    /// Says yes to a wish that is done by that.
    fn accept(&mut self, wish: &Wish) {
        self.machine.record.answer(wish, self.now, None);
        self.save_beside();
        self.tell(News::Answered { want: wish.what.clone(), by: wish.by.clone(), refused: None });
    }

    /// Writes an answer down at once: who asked waits for it. What else a pass under way has not written yet is for that to write.
    fn save_beside(&mut self) {
        if matches!(self.machine.state, State::Resting(_)) {
            return self.save_aside();
        }
        self.machine.saved.answered.clone_from(&self.machine.record.answered);
        let (id, kept) = (self.machine.next_id(), self.machine.saved.clone());
        self.effects.add(Effect::Save(id, Box::new(kept)));
    }

    /// An older release is deployed like a new one: it has to prove itself before what works is forgotten.
    fn roll_back(&mut self, wish: &Wish, to: &Commit) -> Result<bool, String> {
        if self.machine.record.suspended.is_some() {
            return Err("the Stack is suspended; resume it first".into());
        }
        let Content::File(document) = &to.content else {
            return Err(format!("{} has no hks.yaml for this Stack", to.revision.short()));
        };
        let manifest = self.machine.rendered(document, &to.revision).map_err(|cause| cause.to_string())?;
        let Some(manifest) = manifest else {
            return Err(format!("hks.yaml of {} is not meant for this branch and project", to.revision.short()));
        };
        let plan = plan::compare(&manifest, self.live, &self.machine.record.inventory);
        // what ran once had its data; a claim that is not written down any more was deleted on purpose
        let ran = self.machine.record.last_of(&to.revision).is_some_and(|end| end.outcome == Outcome::Succeeded);
        let anew = plan
            .steps
            .iter()
            .find(|step| ran && step.action == Action::Create && step.object.key.kind == Kind::PersistentVolumeClaim);
        let (object, message) = match (plan.refusals.first(), plan.missing.first(), plan.lost.first()) {
            (None, None, None) if let Some(step) = anew => (
                step.object.key.to_string(),
                format!(
                    "{} ran with it, and it was deleted since: it would be a new, empty one; if that is meant, push a commit that \
                     has it",
                    to.revision.short()
                ),
            ),
            (Some(refusal), ..) => (refusal.key.to_string(), refusal.message.clone()),
            (_, Some(needed), _) => (needed.secret.clone(), format!("its key {} is not set", needed.key)),
            (_, _, Some(lost)) => (lost.to_string(), "it is gone, and its data with it".into()),
            (None, None, None) => {
                self.machine.record.answer(wish, self.now, None);
                let (content, origin) = (manifest.digest(), Origin::Person(wish.clone()));
                let (manifest, document) = (Arc::new(manifest), Some(document.clone()));
                let (revision, started) = (to.revision.clone(), self.now);
                self.supersede(&to.revision);
                self.leave_the_failed_wish();
                self.forget_insistence();
                let (also, left) = (vec![], self.left_by(wish));
                let head = self.machine.head.as_ref().map(|head| &head.revision);
                if let Some(leaves) = left.as_ref().map(|left| &left.revision).or(head).cloned() {
                    let cause = Cause::Requested { by: wish.by.clone() };
                    self.tell(News::RollingBack { revision: leaves, to: Some(revision.clone()), cause });
                }
                let target = Target { manifest, revision, origin, content, document, plan, started, also, left };
                self.enter(Toward::Forward, target);
                return Ok(true);
            }
        };
        Err(format!("{object}: {message}"))
    }

    fn retry(&mut self, wish: &Wish, accept_data_loss: bool) -> Result<bool, String> {
        if self.machine.record.suspended.is_some() {
            return Err("the Stack is suspended; resume it first".into());
        }
        if let State::Passing(pass) = &self.machine.state
            && !matches!(pass.toward, Toward::Heal)
        {
            let head = self.machine.head.as_ref().map(|head| &head.revision);
            let what = match pass.toward {
                Toward::Forward if head == Some(&pass.revision) && !accept_data_loss => {
                    self.accept(wish);
                    return Ok(false);
                }
                Toward::Forward => "a deployment",
                Toward::Nothing { .. } => "its end",
                Toward::Back { .. } | Toward::Heal => "a rollback",
            };
            return Err(format!("{what} is under way; ask again when that has ended"));
        }
        if accept_data_loss {
            let mut lost = std::mem::take(&mut self.machine.lost);
            // after a restart nobody has looked yet
            if let Some(kept) = self.machine.kept() {
                lost.extend(plan::compare(kept, self.live, &self.machine.record.inventory).lost);
            }
            lost.sort();
            lost.dedup();
            // they stay written down, but as what may be made anew: once
            for key in lost {
                let inventory = &mut self.machine.record.inventory;
                match inventory.iter_mut().find(|owned| owned.key == key) {
                    Some(owned) => owned.accepted = true,
                    None => inventory.push(Owned { accepted: true, ..Owned::new(key, true, self.now) }),
                }
            }
        }
        self.machine.record.held = None;
        self.machine.verdict = Verdict::Usable;
        self.machine.considered = None;
        self.forget_insistence();
        self.stop_here();
        self.accept(wish);
        if self.machine.head.is_none() {
            self.rest_again();
        }
        Ok(true)
    }

    /// What was accepted as lost is there again: should it go once more, that has to be accepted once more.
    pub(super) fn see_what_was_accepted(&mut self) {
        let there = |owned: &Owned| self.live.get(&owned.key).is_some_and(|object| !plan::is_going(object));
        let accepted = self.machine.record.inventory.iter_mut().filter(|owned| owned.accepted);
        accepted.filter(|owned| there(owned)).for_each(|owned| owned.accepted = false);
    }

    fn suspend(&mut self, wish: &Wish, reason: &str) -> bool {
        let (by, at, reason) = (wish.by.clone(), self.now, reason.to_owned());
        self.machine.record.suspended = Some(Suspended { by, at, reason });
        self.interrupt();
        self.stop_here();
        self.accept(wish);
        true
    }

    /// A suspension comes in the middle of a pass: only what is written down goes on when it is resumed, as the way back always is. What
    /// is not begins anew, if it is still the newest then.
    fn interrupt(&mut self) {
        let State::Passing(pass) = &self.machine.state else { return };
        if pass.station == Station::Settling {
            // how it ended stands in the record that is kept now
            return self.walk(|_, _| Flow::Done);
        }
        let begun = self.machine.record.attempt.as_ref().map(|attempt| &attempt.revision);
        let goes_on = match &pass.toward {
            Toward::Back { from, .. } => Some(from),
            Toward::Forward => begun.filter(|begun| **begun == pass.revision),
            Toward::Heal | Toward::Nothing { .. } => return,
        };
        if let Some(revision) = goes_on.cloned() {
            // the record knows the newest of those that are the same
            let (also, started) = (pass.also.clone(), pass.started);
            for earlier in also {
                self.superseded(earlier, started, &revision, None);
            }
        } else if let Some(head) = self.machine.head.as_ref().map(|head| head.revision.clone()) {
            let is_newest = match self.wish_of(pass) {
                Some(_) => self.leaves(pass).is_none_or(|left| *left == head),
                None => pass.origin == Origin::Commit && pass.revision == head,
            };
            match self.machine.record.told_of(&head).cloned() {
                _ if !is_newest => self.supersede(&head),
                Some(known) => self.tell(News::ended(known)),
                None => self.machine.considered = None,
            }
        }
    }

    /// Goes on with what the suspension has interrupted, before the newest commit is looked at.
    fn resume_for(&mut self, wish: &Wish, begun: Option<Commit>) -> Result<bool, String> {
        if self.machine.record.suspended.take().is_none() {
            return Err("it is not suspended".into());
        }
        self.machine.considered = None;
        self.accept(wish);
        self.machine.state = State::Resting(self.machine.resting());
        self.resume();
        if matches!(self.machine.state, State::Passing(_)) {
            return Ok(true);
        }
        match begun {
            Some(begun) => drop(self.consider(&begun)),
            None if self.machine.head.is_none() => self.rest_again(),
            None => {}
        }
        Ok(true)
    }

    /// Data of the Stack that somebody has deleted and that a pod still holds.
    fn data_that_goes(&self) -> Option<&ObjectKey> {
        let inventory = self.machine.record.inventory.iter().map(|owned| &owned.key);
        let goes = |key: &&ObjectKey| {
            self.live.get(key).is_some_and(|object| holds_data(key, object) && plan::is_going(object))
        };
        inventory.filter(|key| key.kind == Kind::PersistentVolumeClaim).find(goes)
    }

    fn destroy(&mut self, wish: &Wish) -> Result<bool, String> {
        if self.machine.record.suspended.is_some() {
            return Err("the Stack is suspended; resume it first".into());
        }
        if let Some(going) = self.data_that_goes().filter(|_| wish.what == Want::Destroy { with_data: false }) {
            return Err(format!(
                "{going} is being deleted: its data goes when the last pod that uses it ends, and that would be now; copy the data \
                 first, or say --with-data"
            ));
        }
        let left = self.left_by(wish);
        self.machine.record.answer(wish, self.now, None);
        let head = self.machine.head.as_ref().map(|head| &head.revision);
        let revision = left.as_ref().map(|left| &left.revision).or(head).cloned();
        let settled = self.machine.record.settled.as_ref().map(|release| release.revision.clone());
        let revision = revision.or(settled).unwrap_or_else(|| Revision::new("none"));
        self.supersede(&revision);
        self.leave_the_failed_wish();
        let manifest = Arc::new(Manifest::empty(self.machine.stack.clone(), revision.clone()));
        let plan = plan::compare(&manifest, self.live, &self.machine.record.inventory);
        let target = Target { left, ..Target::known(manifest, plan, self.now) };
        self.enter(Toward::Nothing { wish: wish.clone() }, target);
        Ok(true)
    }
}

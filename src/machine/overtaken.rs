//! Passes that end before they are done: another commit or a wish has come first, or nothing could be begun.

use super::consider::mistake;
use super::pass::{Origin, Pass, Station, Toward};
use super::{State, Turn};
use crate::ident::Revision;
use crate::record::{Deployment, Outcome, Wish};
use crate::report::{self, News};
use crate::rollout::Cause;
use jiff::Timestamp;

impl Turn<'_> {
    /// Something else is begun before the pass under way has ended: tells the commits that it was for. What has failed is
    /// remembered as that, though it is not put back before; of the newest commit, what is begun tells.
    pub(super) fn supersede(&mut self, by: &Revision) {
        let newest = self.machine.head.as_ref().map(|head| &head.revision);
        let State::Passing(pass) = &self.machine.state else {
            // what a restart has interrupted, and nobody could bring again
            let left = self.machine.record.attempt.as_deref().filter(|attempt| attempt.wish.is_none());
            if let Some(attempt) = left.filter(|attempt| attempt.revision != *by && Some(&attempt.revision) != newest) {
                let (revision, started) = (attempt.revision.clone(), attempt.started);
                self.superseded(revision, started, by, None);
            }
            return;
        };
        // all is done but to keep the record, which the next pass does
        if pass.station == Station::Settling {
            return self.tell_the_end((**pass).clone());
        }
        if pass.origin == Origin::Platform && pass.toward == Toward::Forward {
            // the commit itself is in effect all the time
            let revision = pass.revision.clone();
            let is_known = self.machine.record.told_of(&revision).is_some();
            if pass.station != Station::Queued && (is_known || revision != *by && Some(&revision) != newest) {
                self.waits_no_more(revision, by);
            }
            return;
        }
        let (revision, cause) = match &pass.toward {
            Toward::Forward if !matches!(pass.origin, Origin::Person(_)) => (&pass.revision, None),
            Toward::Back { from, cause } if self.machine.failed_wish.is_none() => (from, Some(cause.clone())),
            // a person's wish was told on the commit that it wanted to leave
            _ => {
                let left = self.leaves(pass).cloned();
                if let Some(left) = left.filter(|left| *left != *by && Some(left) != newest) {
                    self.waits_no_more(left, by);
                }
                return;
            }
        };
        let told = |revision: &&Revision| cause.is_some() || (*revision != by && Some(*revision) != newest);
        let revisions: Vec<_> = pass.also.iter().chain([revision]).filter(told).cloned().collect();
        let started = pass.started;
        for revision in revisions {
            self.superseded(revision, started, by, cause.clone());
        }
    }

    /// What a person wanted by a pass, or by one whose work it puts back.
    pub(super) fn wish_of<'b>(&'b self, pass: &'b Pass) -> Option<&'b Wish> {
        match &pass.origin {
            Origin::Person(wish) => Some(wish),
            Origin::Commit | Origin::Platform => self.machine.failed_wish.as_ref(),
        }
    }

    /// The commit that such a wish wants to leave, where that is known.
    pub(super) fn leaves<'b>(&'b self, pass: &'b Pass) -> Option<&'b Revision> {
        let wish = self.wish_of(pass)?;
        let begun = self.machine.record.attempt.as_ref().filter(|attempt| attempt.wish.as_ref() == Some(wish));
        let left = pass.left.as_ref().or(begun.and_then(|attempt| attempt.left.as_ref()));
        left.map(|left| &left.revision)
    }

    /// Another commit comes while the Stack is suspended, while a wish from before a restart is carried out, or before the one that runs
    /// is proven: what was told on the one that was the newest until now does not come about.
    pub(super) fn waits_in_place(&mut self, next: &Revision) {
        let head = self.machine.head.as_ref().map(|head| head.revision.clone());
        let is_told = match &self.machine.state {
            State::Passing(pass) if self.wish_of(pass).is_some() => self.leaves(pass).is_none(),
            // it was pushed while the Stack was suspended, and what was interrupted then goes on
            State::Passing(pass) => pass.toward == Toward::Forward && head.as_ref() != Some(&pass.revision),
            State::Resting(_) => self.waits_for_a_wish(),
        };
        let is_unproven =
            matches!(&self.machine.told, Some(News::Unproven { revision, .. }) if head.as_ref() == Some(revision));
        let waits = self.has_new_head() && (self.machine.record.suspended.is_some() || is_told) || is_unproven;
        if let Some(head) = head.filter(|head| waits && head != next) {
            self.waits_no_more(head, next);
        }
    }

    /// A wish to leave a commit has failed.
    pub(super) fn stays(&mut self, left: Revision, wanted: &Revision) {
        let (record, head) = (&self.machine.record, self.machine.head.as_ref().map(|head| &head.revision));
        let is_known = !record.doubted || record.settled.is_none() || record.told_of(&left).is_some();
        if is_known {
            self.waits_no_more(left, wanted);
        // nobody knows whether it is in effect; of the newest, what runs proves it or not
        } else if let Some(head) = head.filter(|head| **head != left) {
            let said = report::forgotten(head);
            self.tell(News::ended(Deployment::new(left, (self.now, self.now), Outcome::Superseded, None, said)));
        }
    }

    /// A commit that was told to be on its way is not, since `by` came; what it has ended with before counts again.
    pub(super) fn waits_no_more(&mut self, revision: Revision, by: &Revision) {
        let record = &self.machine.record;
        let known = record.told_of(&revision).cloned().map(News::ended);
        let is_in_effect =
            !record.doubted && record.settled.as_ref().is_some_and(|release| release.revision == revision);
        let (times, said) = ((self.now, self.now), report::superseded(by));
        self.tell(match known {
            Some(known) => known,
            None if is_in_effect => News::Unchanged { revision },
            None => News::ended(Deployment::new(revision, times, Outcome::Superseded, None, said)),
        });
    }

    pub(super) fn superseded(&mut self, revision: Revision, started: Timestamp, by: &Revision, cause: Option<Cause>) {
        let description = cause.as_ref().map_or_else(|| report::superseded(by), report::rejected);
        let deployment = Deployment::new(revision, (started, self.now), Outcome::Superseded, cause, description);
        self.machine.remember(deployment.clone());
        self.tell(News::ended(deployment));
    }

    /// The pass under way can't be carried out, and nothing was touched by it.
    pub(super) fn reject(&mut self, pass: Pass, cause: Cause) {
        let Pass { also: mut revisions, revision, started, content, .. } = pass;
        revisions.push(revision);
        self.machine.record.attempt = None;
        for revision in revisions {
            let deployment = self.rejected(revision, started, &cause);
            self.machine.remember(deployment.clone());
            self.tell(News::ended(deployment));
        }
        // what was written down for a wait is not touched either; a newer commit may have its own mistake
        if self.machine.head_content == content {
            self.machine.blockers = self.absent(&cause);
            self.machine.verdict = mistake(cause);
            if let Some(head) = self.machine.head.as_ref().map(|head| head.revision.clone()) {
                self.note_unusable(&head);
            }
        }
        self.save_aside();
        self.rest_again();
    }
}

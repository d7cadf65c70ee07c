//! Passes that end before they are done: another commit or a wish has come first, or nothing could be begun.

use super::consider::mistake;
use super::pass::{Origin, Station, Toward};
use super::{Commit, State, Turn};
use crate::ident::Revision;
use crate::record::{Deployment, Outcome};
use crate::report::{self, News};
use crate::rollout::Cause;
use jiff::Timestamp;

impl Turn<'_> {
    /// A commit that has failed is remembered, though somebody wants something else before all is put back.
    pub(super) fn leave_the_way_back(&mut self, by: &Revision) {
        let failed = match &self.machine.state {
            State::Passing(pass) if self.machine.failed_wish.is_none() => match &pass.toward {
                Toward::Back { from, cause } => Some((from.clone(), pass.started, cause.clone())),
                Toward::Forward | Toward::Heal | Toward::Nothing { .. } => None,
            },
            _ => None,
        };
        if let Some((from, started, cause)) = failed {
            self.superseded(from, started, by, Some(cause));
        }
    }

    /// Tells the commits of the pass under way that a newer one has come first.
    pub(super) fn supersede(&mut self, by: &Commit) {
        let State::Passing(pass) = &mut self.machine.state else { return };
        if pass.origin == Origin::Platform && pass.toward == Toward::Forward {
            // the commit itself is in effect all the time
            let known = self.machine.record.last_of(&pass.revision).cloned();
            if let Some(known) = known.filter(|_| pass.station != Station::Queued) {
                self.tell(News::ended(known));
            }
            return;
        }
        let (revision, cause) = match &pass.toward {
            Toward::Forward if !matches!(pass.origin, Origin::Person(_)) => (pass.revision.clone(), None),
            Toward::Back { from, cause } if self.machine.failed_wish.is_none() => (from.clone(), Some(cause.clone())),
            _ => return,
        };
        let (revisions, started) = (std::mem::take(&mut pass.also), pass.started);
        for revision in revisions.into_iter().chain([revision]).filter(|revision| *revision != by.revision) {
            self.superseded(revision, started, &by.revision, cause.clone());
        }
    }

    pub(super) fn superseded(&mut self, revision: Revision, started: Timestamp, by: &Revision, cause: Option<Cause>) {
        let description = cause.as_ref().map_or_else(|| report::superseded(by), report::rejected);
        let deployment = Deployment::new(revision, (started, self.now), Outcome::Superseded, cause, description);
        self.machine.remember(deployment.clone());
        self.tell(News::ended(deployment));
    }

    /// The pass under way can't be carried out, and nothing was touched by it.
    pub(super) fn reject(&mut self, cause: Cause) {
        let State::Passing(pass) = &mut self.machine.state else { return };
        let (mut revisions, started, content) = (std::mem::take(&mut pass.also), pass.started, pass.content.clone());
        revisions.push(pass.revision.clone());
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

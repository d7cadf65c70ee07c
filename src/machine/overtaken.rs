//! Passes that end before they are done: another commit or a wish has come first, or nothing could be begun.

use super::consider::mistake;
use super::pass::{Origin, Pass, Station, Toward};
use super::{State, Turn};
use crate::ident::Revision;
use crate::record::{Deployment, Outcome};
use crate::report::{self, News};
use crate::rollout::Cause;
use jiff::Timestamp;

impl Turn<'_> {
    /// Something else is begun before the pass under way has ended: tells the commits that it was for. What has failed is
    /// remembered as that, though it is not put back before; of the newest commit, what is begun tells.
    pub(super) fn supersede(&mut self, by: &Revision) {
        let newest = self.machine.head.as_ref().map(|head| &head.revision);
        let State::Passing(pass) = &self.machine.state else { return };
        if pass.origin == Origin::Platform && pass.toward == Toward::Forward {
            // the commit itself is in effect all the time
            let known = self.machine.record.told_of(&pass.revision).cloned();
            if let Some(known) = known.filter(|_| pass.station != Station::Queued) {
                self.tell(News::ended(known));
            }
            return;
        }
        let (revision, cause) = match &pass.toward {
            Toward::Forward if !matches!(pass.origin, Origin::Person(_)) => (&pass.revision, None),
            Toward::Back { from, cause } if self.machine.failed_wish.is_none() => (from, Some(cause.clone())),
            _ => return,
        };
        let told = |revision: &&Revision| cause.is_some() || (*revision != by && Some(*revision) != newest);
        let revisions: Vec<_> = pass.also.iter().chain([revision]).filter(told).cloned().collect();
        let started = pass.started;
        for revision in revisions {
            self.superseded(revision, started, by, cause.clone());
        }
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

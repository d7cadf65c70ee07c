//! What a quota or limit has kept from running is tried again once there may be room: when a limit of the project is changed,
//! and now and then, since the limits of a vCluster stand outside of it, and what else takes room is nobody's to tell. So is a host
//! that somebody else has.

use super::{Cause, Machine, Rest, State, Turn, Verdict};
use crate::ident::Revision;
use crate::plan;
use crate::record::{Ending, Outcome};
use crate::rollout::HOST;
use jiff::{SignedDuration, Timestamp};

/// Shortest and longest wait before it is tried again by itself. In between it waits as long as it has been tried already.
const WAIT: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(1));
/// A host that moves from one Stack to another with one commit is free in seconds, and nothing answers for it until then.
const WAIT_FOR_A_HOST: SignedDuration = SignedDuration::from_secs(5);

/// The shortest wait after this cause, if it may pass without a commit.
fn may_pass(cause: &Cause) -> Option<SignedDuration> {
    match cause {
        Cause::LimitExceeded { .. } => Some(WAIT.0),
        Cause::Rejected { object, .. } if object.starts_with(HOST) => Some(WAIT_FOR_A_HOST),
        _ => None,
    }
}

/// The newest commit does not run since a limit forbids it, or somebody has its host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limited {
    /// When it was refused.
    at: Timestamp,
    /// When it is tried again in any case; `None` if that would take away what serves, for nothing in the end.
    again: Option<Timestamp>,
}

/// A deployment that ended for such a cause.
struct Refused {
    /// When it began, with all that were the same.
    started: Timestamp,
    /// When it was refused.
    at: Timestamp,
    /// Whether anything was touched.
    touched: bool,
    /// Shortest wait.
    least: SignedDuration,
}

impl Machine {
    /// When what a limit has kept from running is tried again in any case, if it is.
    pub fn tried_again_at(&self) -> Option<Timestamp> {
        let waits = matches!(self.state, State::Resting(Rest::Held | Rest::Invalid)) && self.record.suspended.is_none();
        self.limited.as_ref().filter(|_| waits)?.again
    }

    /// Since when such a cause has kept a commit from running: trying it again is the same deployment.
    pub(super) fn limited_since(&self, revision: &Revision) -> Option<Timestamp> {
        let last = self.record.last_of(revision)?;
        let ended = matches!(last.outcome, Outcome::Rejected | Outcome::RolledBack);
        (ended && last.cause.as_ref().is_some_and(|cause| may_pass(cause).is_some())).then_some(last.started)
    }

    /// How the newest commit ended that such a cause keeps from running.
    fn refused_for_now(&self) -> Option<Refused> {
        let head = self.head.as_ref().filter(|_| !self.head_content.is_empty())?;
        if let Verdict::Mistake(cause) = &self.verdict {
            let last = self.record.last_of(&head.revision).filter(|last| last.cause.as_ref() == Some(cause))?;
            let least = may_pass(cause)?;
            return Some(Refused { started: last.started, at: last.ended, touched: false, least });
        }
        let held = self.record.held.as_ref().filter(|held| held.ending != Ending::Open)?;
        let of_head = held.content == self.head_content;
        let least = may_pass(&held.cause).filter(|_| of_head)?;
        Some(Refused { started: held.started, at: held.at, touched: true, least })
    }
}

impl Turn<'_> {
    /// Sees whether the newest commit waits for a limit, and until when.
    pub(super) fn note_limit(&mut self) {
        let Some(Refused { started, at, touched, least }) = self.machine.refused_for_now() else {
            self.machine.limited = None;
            return;
        };
        if self.machine.limited.as_ref().is_some_and(|known| known.at == at) {
            return;
        }
        let wait = at.duration_since(started).clamp(least, WAIT.1);
        // as long as a dry run refuses it, nothing is touched
        let harmless = !touched
            || self.machine.head.as_ref().and_then(|commit| self.read(commit).ok()).is_some_and(|usable| {
                !plan::compare(&usable.manifest, self.live, &self.machine.record.inventory).disturbs()
            });
        self.machine.limited = Some(Limited { at, again: harmless.then_some(at + wait) });
    }

    /// A limit was changed since it has kept the newest commit from running, or it is time to see.
    pub(super) fn has_new_limit(&self) -> bool {
        let Some(limited) = &self.machine.limited else { return false };
        self.live.limits.is_some_and(|changed| changed > limited.at)
            || self.machine.tried_again_at().is_some_and(|again| again <= self.now)
    }
}

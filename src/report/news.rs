//! What happened to a Stack, as facts. Commit statuses, and whatever else tells people, are pure functions of these.

use super::{Status, StatusState, shorten};
use crate::ident::Revision;
use crate::record::{Deployment, Outcome, Suspended, Want};
use crate::rollout::Cause;

/// Kubernetes takes notes of up to 1 kB with an Event.
const MAX_NOTE: usize = 1000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A deployment began.
    Started {
        /// The commit.
        revision: Revision,
        /// How many objects are created, changed and deleted.
        counts: (usize, usize, usize),
        /// Not the commit is new, but the platform's settings or hks.
        platform: bool,
    },
    /// A change of the platform waits for those of other Stacks.
    Queued {
        /// The commit in effect.
        revision: Revision,
    },
    /// It waits for room.
    Waiting {
        /// The commit.
        revision: Revision,
        /// What is asked for, and what the scheduler says.
        message: String,
    },
    /// A temporary trouble that is being retried.
    Retrying {
        /// The commit.
        revision: Revision,
        /// What failed.
        message: String,
    },
    /// It failed and everything is being put back.
    RollingBack {
        /// The commit that failed.
        revision: Revision,
        /// Where to; `None` for nothing.
        to: Option<Revision>,
        /// Why.
        cause: Cause,
    },
    /// The commit changes nothing here.
    Unchanged {
        /// The commit.
        revision: Revision,
    },
    /// A record that anybody may have written says that the commit runs, and it does, but it is not well.
    Unproven {
        /// The commit.
        revision: Revision,
        /// What is wrong.
        cause: Cause,
    },
    /// The commit changes nothing here, and what was there before it is not in effect either.
    StillHeld {
        /// The commit.
        revision: Revision,
        /// The commit that failed.
        since: Revision,
        /// Why.
        cause: Cause,
    },
    /// There is no hks.yaml for this place any more: nothing is deleted by that.
    Withdrawn {
        /// The commit.
        revision: Revision,
        /// Why, in words.
        why: String,
    },
    /// A person has suspended the Stack; the commit waits.
    Suspended {
        /// The commit.
        revision: Revision,
        /// By whom and why.
        by: Suspended,
    },
    /// A deployment ended.
    Ended(Box<Deployment>),
    /// Something of what is settled is not well.
    Degraded {
        /// The app, database or cache.
        component: String,
        /// What is wrong.
        cause: Cause,
    },
    /// … and it is well again.
    Recovered {
        /// The app, database or cache.
        component: String,
    },
    /// Its pods are made anew, since somebody has changed a Secret that they take values from.
    Renewed {
        /// The app, database or cache.
        component: String,
    },
    /// Somebody else sets a field again and again: it is left alone.
    LeftAlone {
        /// The object and the field.
        field: String,
        /// Who, by the name of the field manager, and to what.
        by: String,
    },
    /// A wish was carried out, or refused.
    Answered {
        /// What was wanted.
        want: Want,
        /// Who asked.
        by: String,
        /// Why it can't be met, if it can't.
        refused: Option<String>,
    },
}

impl News {
    /// A deployment ended.
    pub fn ended(deployment: Deployment) -> Self {
        Self::Ended(Box::new(deployment))
    }
}

/// A Kubernetes Event about the Stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// It asks for attention.
    pub warning: bool,
    /// `CamelCase`.
    pub reason: &'static str,
    /// In words.
    pub text: String,
}

/// What the forge is told of the commit, if anything.
pub fn status(news: &News) -> Option<Status> {
    let pending = |revision: &Revision, text: String| Some(Status::new(revision, StatusState::Pending, text));
    match news {
        News::Started { revision, counts: (new, changed, deleted), platform } => {
            let what = if *platform { "the platform changed, deploying" } else { "deploying" };
            pending(revision, format!("{what}: {new} new, {changed} changed, {deleted} deleted"))
        }
        News::Waiting { revision, message } => pending(revision, format!("waiting for capacity: {message}")),
        News::Retrying { revision, message } => pending(revision, format!("retrying: {message}")),
        News::RollingBack { revision, to, cause } => {
            let to = to
                .as_ref()
                .map_or_else(|| "removing what it created".into(), |to| format!("rolling back to {}", to.short()));
            pending(revision, format!("{to}: {cause}"))
        }
        News::Unchanged { revision } => Some(Status::new(revision, StatusState::Success, "no changes")),
        News::Unproven { revision, cause } => pending(revision, format!("it runs, and is not ready: {cause}")),
        // what stands in this commit is not in effect: that is no success, whoever is at fault
        News::StillHeld { revision, since, cause } => {
            let state = if cause.is_fault_of_commit() { StatusState::Failure } else { StatusState::Error };
            let held = if since == revision {
                "held".into()
            } else {
                format!("no changes; still held since {}", since.short())
            };
            Some(Status::new(revision, state, format!("{held}: {cause}")))
        }
        News::Withdrawn { revision, why } => {
            Some(Status::new(revision, StatusState::Success, format!("suspended: {why}; nothing is deleted")))
        }
        News::Suspended { revision, by } => {
            let reason = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
            pending(revision, format!("suspended by {}{reason}; it waits for `hks resume`", by.by))
        }
        News::Ended(deployment) => Some(Status::ended(deployment)),
        News::Queued { .. }
        | News::Degraded { .. }
        | News::Recovered { .. }
        | News::Renewed { .. }
        | News::LeftAlone { .. }
        | News::Answered { .. } => None,
    }
}

/// The Kubernetes Event that tells it in the project, if it is worth one.
pub fn note(news: &News) -> Option<Note> {
    let note = |warning, reason, text: String| Some(Note { warning, reason, text: shorten(&text, MAX_NOTE) });
    match news {
        News::Ended(deployment) => {
            let (warning, reason) = match deployment.outcome {
                Outcome::Succeeded => (false, "Deployed"),
                Outcome::Rejected => (true, "Rejected"),
                Outcome::RolledBack => (true, "RolledBack"),
                Outcome::Superseded => return None,
            };
            note(warning, reason, format!("{}: {}", deployment.revision.short(), deployment.description))
        }
        News::Degraded { component, cause } => note(true, "Degraded", told_of(component, cause)),
        News::Recovered { component } => note(false, "Recovered", format!("{component} is well again")),
        News::Renewed { component } => {
            note(false, "Renewed", format!("pods of {component} start anew with the changed values of their Secrets"))
        }
        News::LeftAlone { field, by } => note(true, "LeftAlone", format!("{field} is left alone: {by}")),
        News::Answered { want, by, refused: Some(why) } => {
            note(true, "WishRefused", format!("{by} wants to {want}: {why}"))
        }
        News::Answered { want, by, refused: None } => note(false, "WishGranted", format!("{by} wanted to {want}")),
        _ => None,
    }
}

/// A cause with the name of what it is about, unless it names it itself.
pub fn told_of(component: &str, cause: &Cause) -> String {
    let text = cause.to_string();
    if text.contains(component) { text } else { format!("{component}: {text}") }
}

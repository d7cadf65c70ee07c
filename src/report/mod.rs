//! What people and forges are told: commit statuses and the view of a Stack. Pure text from facts.

mod news;
mod state;
mod view;

pub use news::{News, Note, note, status, told_of};
pub use state::{Ended, StackState, Tone, Why};
pub use view::{
    AddedView, AppView, AskedView, DatabaseView, DriftView, LackingView, LeftAloneView, Readiness, TroubleView, View,
    span,
};

use crate::ident::Revision;
use crate::record::{Deployment, Ending, Outcome};
use crate::rollout::Cause;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// GitHub answers 422 to longer descriptions; Gitea and GitLab take more.
pub const MAX_DESCRIPTION: usize = 140;

/// State of a commit status, with GitHub's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusState {
    /// It worked.
    Success,
    /// Under way.
    Pending,
    /// The commit is at fault.
    Failure,
    /// The platform, a limit or hks is at fault.
    Error,
}

impl StatusState {
    /// GitHub's word.
    pub fn word(self) -> &'static str {
        match self {
            StatusState::Success => "success",
            StatusState::Pending => "pending",
            StatusState::Failure => "failure",
            StatusState::Error => "error",
        }
    }
}

/// What one Stack has to say about one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The commit.
    pub revision: Revision,
    /// Its state.
    pub state: StatusState,
    /// At most [`MAX_DESCRIPTION`] characters.
    pub description: String,
}

impl Status {
    /// What was said of an earlier commit, for one that changes nothing here.
    #[must_use]
    pub fn still_of(&self, revision: &Revision) -> Self {
        if self.revision == *revision || self.state == StatusState::Pending {
            return Self { revision: revision.clone(), ..self.clone() };
        }
        Self::new(revision, self.state, format!("no changes; still {}: {}", self.revision.short(), self.description))
    }

    /// A status whose description fits.
    pub fn new(revision: &Revision, state: StatusState, description: impl AsRef<str>) -> Self {
        Self { revision: revision.clone(), state, description: shorten(description.as_ref(), MAX_DESCRIPTION) }
    }

    /// The end of a deployment, word for word as it was recorded.
    pub fn ended(deployment: &Deployment) -> Self {
        let state = match (&deployment.outcome, &deployment.cause) {
            (Outcome::Succeeded, _) => StatusState::Success,
            (Outcome::Superseded, _) => StatusState::Error,
            (_, Some(cause)) if cause.is_fault_of_commit() => StatusState::Failure,
            (_, Some(_)) => StatusState::Error,
            (_, None) => StatusState::Failure,
        };
        Self::new(&deployment.revision, state, &deployment.description)
    }
}

/// Description of a deployment that worked: `2 apps, 1 database ready in 48s: https://…`; `ill` was not well before, and is not counted.
pub fn succeeded(apps: usize, databases: usize, took: Duration, ill: &[String], url: Option<&str>) -> String {
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let mut text = count(apps, "app");
    if databases > 0 {
        text.push_str(&format!(", {}", count(databases, "database")));
    }
    let took = humantime::format_duration(Duration::from_secs(took.as_secs().max(1)));
    let url = url.map(|url| format!(": {url}")).unwrap_or_default();
    let ill = ill.first().map(|first| format!(" ({first}{} not well, as before)", view::more(ill.len())));
    shorten(&format!("{text} ready in {took}{}{url}", ill.unwrap_or_default()), MAX_DESCRIPTION)
}

/// Description of a deployment that was put back: how that went, what stays, and why.
pub fn rolled_back(to: Option<&Revision>, cause: &Cause, kept: &[String], ending: &Ending) -> String {
    let to = to.map_or_else(|| "removed again".into(), |to| format!("rolled back to {}", to.short()));
    let kept = if kept.is_empty() { String::new() } else { format!(", kept {}", kept.join(", ")) };
    let text = match ending {
        Ending::Open | Ending::Healthy => format!("{to}{kept}: {cause}"),
        Ending::Unhealthy { cause: unwell } => format!("{to}{kept}, which is not healthy either ({unwell}): {cause}"),
        Ending::Refused { cause: refused } => format!("not restored ({refused}){kept}: {cause}"),
    };
    shorten(&text, MAX_DESCRIPTION)
}

/// Description of a deployment that touched nothing.
pub fn rejected(cause: &Cause) -> String {
    shorten(&cause.to_string(), MAX_DESCRIPTION)
}

/// Description of a deployment that a newer commit overtook.
pub fn superseded(by: &Revision) -> String {
    format!("superseded by {} before it was done", by.short())
}

/// Description of a commit of which nobody knows how it ended: its record is lost or doubted, or a daemon before this one has not told it.
pub fn forgotten(by: &Revision) -> String {
    format!("superseded by {}; how it ended was not kept", by.short())
}

/// `text` in one line of at most `most` characters, the last one an ellipsis if it had to be cut, without what acts on a terminal.
pub fn shorten(text: &str, most: usize) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control() || c.is_whitespace()).collect();
    let line = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let mut cut: String = line.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// One status for a commit that concerns several Stacks: the worst state, told by the first Stack that is in it.
pub fn aggregate<'a>(revision: &Revision, statuses: impl IntoIterator<Item = (&'a str, &'a Status)>) -> Option<Status> {
    let all: Vec<_> = statuses.into_iter().collect();
    if let [(_, only)] = all.as_slice() {
        return Some((*only).clone());
    }
    let worst = all.iter().map(|(_, status)| rank(status.state)).max()?;
    let in_it: Vec<_> = all.iter().filter(|(_, status)| rank(status.state) == worst).collect();
    let (name, first) = in_it.iter().find(|(_, status)| status.description != "no changes").or(in_it.first())?;
    let done = all.iter().filter(|(_, status)| status.state != StatusState::Pending).count();
    let more = match (first.state, in_it.len()) {
        (StatusState::Success, _) => format!("{} stacks; ", all.len()),
        (StatusState::Pending, _) => format!("{done} of {} stacks done; ", all.len()),
        (_, 1) => String::new(),
        (_, several) => format!("{several} of {} stacks; ", all.len()),
    };
    Some(Status::new(revision, first.state, format!("{more}{name}: {}", first.description)))
}

/// While one Stack is under way the commit is pending, whatever the others say: a final status comes once.
fn rank(state: StatusState) -> u8 {
    match state {
        StatusState::Success => 0,
        StatusState::Failure => 1,
        StatusState::Error => 2,
        StatusState::Pending => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_fit_and_keep_whole_characters() {
        let long = "ä".repeat(200);
        let short = shorten(&long, MAX_DESCRIPTION);
        assert_eq!(short.chars().count(), 140);
        assert!(short.ends_with('…'));
        assert_eq!(shorten("a\n b", 140), "a b");
    }

    #[test]
    fn a_rollback_names_cause_and_target() {
        let cause = Cause::ImagePull {
            component: "web".into(),
            image: "r/web:9".into(),
            reason: "not found".into(),
            pod: "p".into(),
        };
        let to = Revision::new("4f1c2ab0000");
        assert_eq!(
            rolled_back(Some(&to), &cause, &[], &Ending::Healthy),
            "rolled back to 4f1c2ab: image pull failed (not found): r/web:9"
        );
        assert_eq!(
            rolled_back(None, &cause, &[], &Ending::Healthy),
            "removed again: image pull failed (not found): r/web:9"
        );
    }

    #[test]
    fn one_pending_stack_keeps_the_commit_pending() {
        let sha = Revision::new("abc");
        let status = |state| Status::new(&sha, state, "x");
        let (good, bad, busy) =
            (status(StatusState::Success), status(StatusState::Failure), status(StatusState::Pending));
        let state = |list: &[(&str, &Status)]| aggregate(&sha, list.iter().copied()).map(|status| status.state);
        assert_eq!(state(&[("a", &good), ("b", &bad), ("c", &busy)]), Some(StatusState::Pending));
        assert_eq!(state(&[("a", &good), ("b", &bad)]), Some(StatusState::Failure));
        assert_eq!(state(&[("a", &good), ("b", &good)]), Some(StatusState::Success));
        assert_eq!(state(&[]), None);
    }
}

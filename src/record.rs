//! What is kept in the cluster for each Stack, so that the daemon itself may be killed at any step and its disk lost.

mod packed;
mod stored;
mod seal;
mod wish;

pub use packed::Packed;
pub use seal::{SealKey, Sealer};
pub use stored::{FORMAT, Stored};
pub use wish::{ANNOTATION as WISH_ANNOTATION, Want, Wish};

use crate::ident::{Message, ObjectKey, Revision};
use crate::manifest::Manifest;
use crate::plan::Owned;
use crate::rollout::Cause;
use crate::spec::{Document, Files};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many deployments the history keeps.
const HISTORY: usize = 20;
/// How many answered wishes are known by their ids. A wish lies in one annotation, so one would do.
const ANSWERED: usize = 20;

/// One Stack's memory. Unknown fields of a newer hks are ignored, missing ones are defaults; what an older hks could not
/// even ignore raises [`FORMAT`].
///
/// Each of thousands of machines has two, so one is small: what most don't have is boxed, and what has ended and is not changed
/// any more is shared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// [`FORMAT`] of the hks that wrote it; 0 before there was one.
    pub format: u32,
    /// Every object that hks made, merged before it is applied and cleaned only after it is gone.
    pub inventory: Vec<Owned>,
    /// The last release that worked: what a rollback goes to.
    pub settled: Option<Arc<Release>>,
    /// The deployment under way.
    pub attempt: Option<Box<Attempt>>,
    /// The revision that is not tried again, and why.
    pub held: Option<Box<Held>>,
    /// The last deployments, newest last.
    pub history: Vec<Arc<Deployment>>,
    /// A person has suspended the Stack: nothing is changed or deleted until it is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// The newest commit, where nothing of it can be begun: whoever is not the daemon sees it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusable: Option<Box<Unusable>>,
    /// The last wishes that were acted on or refused, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<Answered>,
    /// Servers that no settled release has, as they ran before a deployment that has not settled changed them: a database that
    /// had left the file comes back in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<(ObjectKey, Value)>,
    /// It was found without the seal of this hks, and what is settled has not proven itself since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub doubted: bool,
}

/// A commit of which nothing can be begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unusable {
    /// The commit.
    pub revision: Revision,
    /// What is wrong with it; `None` if it has no Stack for this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What it waits for, in words; then it goes on by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

/// A wish that was acted on or refused. None is ever acted on twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Of the wish.
    pub id: String,
    /// When it was answered.
    pub at: Timestamp,
    /// Why it can't be met, if it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A suspension by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: String,
}

/// A revision that worked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The commit.
    pub revision: Revision,
    /// Its hks.yaml: a force-push may take the commit away, but never the way back.
    pub source: String,
    /// Path of its hks.yaml in the repository: other files are named from there.
    #[serde(default = "root")]
    pub path: String,
    /// Other files that it takes from its commit.
    #[serde(default, skip_serializing_if = "Files::is_empty")]
    pub files: Files,
    /// The tag that the commit was reached by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it settled.
    pub at: Timestamp,
    /// Its objects as they ran. `None` in records of the format before, and in those that an hks of that format wrote since.
    #[serde(skip)]
    pub ran: Option<Packed>,
}

fn root() -> String {
    "hks.yaml".into()
}

/// A deployment under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The commit.
    pub revision: Revision,
    /// When it began.
    pub started: Timestamp,
    /// Digest of what is deployed: commits that change nothing here belong to the same attempt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// The person's wish that it is for, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// It was for a wish and failed: what was there before is being put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Cause>,
    /// What the wish wants to leave: a restart must not take it for something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// What was not well before it began, and is not changed by it: nothing of that is held against it.
    #[serde(default, skip_serializing_if = "Ill::is_none")]
    pub ill: Ill,
}

/// What of a Stack is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ill {
    /// Apps by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub apps: BTreeSet<String>,
    /// The public addresses.
    #[serde(default)]
    pub address: bool,
}

impl Ill {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The newest commit when a person asked for something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// The commit.
    pub revision: Revision,
    /// Digest of what it becomes; empty if it becomes nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
}

/// A revision that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The commit.
    pub revision: Revision,
    /// Digest of what failed: it is not tried again under another revision either. Empty in records of the format before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Why it failed.
    pub cause: Cause,
    /// When the deployment began.
    pub started: Timestamp,
    /// When it failed.
    pub at: Timestamp,
    /// Whether the rollback has ended. An hks of the format before goes on with one that has not.
    pub restored: bool,
    /// How the rollback ended.
    #[serde(default)]
    pub ending: Ending,
    /// What a person wanted gone was asked for before the newest commit was known: it counts for the first one that is seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// How a rollback ended. Each of the three ends is final: nothing is tried again until somebody does something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Ending {
    /// It has not.
    #[default]
    Open,
    /// Everything is as it was, and well.
    Healthy,
    /// Everything is as it was, but what was put back is not well itself.
    Unhealthy {
        /// What is wrong with it.
        cause: Cause,
    },
    /// What was there before can't be put back, or is not known: some of it is still as the failed commit made it.
    Refused {
        /// Why.
        cause: Cause,
    },
}

/// A deployment that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// The commit.
    pub revision: Revision,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why, unless it worked.
    pub cause: Option<Cause>,
    /// What it was rolled back to; `None` for "nothing was there before".
    pub back_to: Option<Revision>,
    /// How the rollback ended, if it was rolled back.
    #[serde(default)]
    pub ending: Ending,
    /// The jobs that ran for it, each with how it ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, String>,
    /// The final commit status, word for word, so that it can be told again after a crash.
    pub description: String,
    /// What the commit says of itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// It stood in a record without the seal of this hks: it is shown, and never told again as what became of the commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hearsay: bool,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Ready and live.
    Succeeded,
    /// Nothing was touched.
    Rejected,
    /// It was put back; [`Deployment::ending`] says how that went.
    RolledBack,
    /// A newer commit came first.
    Superseded,
}

impl Outcome {
    /// For people and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Rejected => "rejected",
            Outcome::RolledBack => "rolled back",
            Outcome::Superseded => "superseded",
        }
    }
}

impl Deployment {
    /// One from `started` to `ended` for which nothing was put back and no jobs ran.
    pub fn new(
        revision: Revision,
        (started, ended): (Timestamp, Timestamp),
        outcome: Outcome,
        cause: Option<Cause>,
        description: String,
    ) -> Self {
        let (back_to, ending, jobs, message) = (None, Ending::Open, BTreeMap::new(), None);
        let hearsay = false;
        Self { revision, started, ended, outcome, cause, back_to, ending, jobs, description, message, hearsay }
    }

    /// How it ended, in a history that people read: what somebody else may have written is not told as if it were so.
    pub fn shown(&self) -> &'static str {
        if self.hearsay { "not proven" } else { self.label() }
    }

    /// How it ended, for people and metrics: a rollback that was not restored, or not well, is told as that.
    pub fn label(&self) -> &'static str {
        match (self.outcome, &self.ending) {
            (Outcome::RolledBack, Ending::Unhealthy { .. }) => "rolled back, not healthy",
            (Outcome::RolledBack, Ending::Refused { .. }) => "not restored",
            (outcome, _) => outcome.label(),
        }
    }
}

impl Held {
    /// A deployment that failed at `at`; the rollback has not ended.
    pub fn open(revision: Revision, content: String, cause: Cause, (started, at): (Timestamp, Timestamp)) -> Self {
        Self { revision, content, cause, started, at, restored: false, ending: Ending::Open, unseen: false }
    }
}

impl Release {
    /// The release as a file to be read again.
    pub fn document(&self) -> Document {
        let files = Arc::new(self.files.clone());
        Document { files, tag: self.tag.clone(), ..Document::new(self.path.as_str(), self.source.as_bytes()) }
    }

    /// A file that has become a release at `at` by running as `manifest`.
    pub fn new(document: &Document, revision: &Revision, at: Timestamp, manifest: &Manifest) -> Self {
        let mut release = Self {
            revision: revision.clone(),
            source: String::from_utf8_lossy(&document.source).into_owned(),
            path: document.path.to_string(),
            files: (*document.files).clone(),
            tag: document.tag.clone(),
            at,
            ran: None,
        };
        let apart = if release.files_stand_apart() { release.files.clone() } else { Files::default() };
        release.ran = Packed::pack(at, manifest, &apart).ok();
        release
    }

    /// The objects as they ran, if they were kept.
    ///
    /// # Errors
    /// They were, and can't be read.
    pub fn manifest(&self) -> Result<Option<Manifest>, String> {
        let Some(packed) = &self.ran else { return Ok(None) };
        let found = packed.unpack(self.at)?;
        Ok(found.map(|(manifest, _)| Manifest { revision: self.revision.clone(), ..manifest }))
    }

    /// Whether this is the file, whatever commit it stands in.
    pub fn is_of(&self, document: &Document) -> bool {
        self.source.as_bytes() == &*document.source && self.files == *document.files && self.tag == document.tag
    }
}

impl Record {
    /// Changes the words of the history.
    pub fn map_history(&mut self, change: impl Fn(&str) -> String) {
        for deployment in &mut self.history {
            let deployment = Arc::make_mut(deployment);
            deployment.description = change(&deployment.description);
            deployment.cause = deployment.cause.take().map(|cause| cause.map_texts(&change));
            if let Some(Message { author, subject }) = &mut deployment.message {
                (*author, *subject) = (change(author), change(subject));
            }
        }
    }

    /// Adds a deployment and forgets the oldest. A repeated end of the same attempt replaces the first, and so does an attempt
    /// that ends as the one before it did: what is tried again and again must not push out what was before.
    pub fn remember(&mut self, deployment: Deployment) {
        self.history.retain(|old| (&old.revision, old.started) != (&deployment.revision, deployment.started));
        let same = |last: &Arc<Deployment>| {
            (&last.revision, last.outcome, &last.cause, &last.back_to)
                == (&deployment.revision, deployment.outcome, &deployment.cause, &deployment.back_to)
        };
        let by_itself = !matches!(deployment.cause, None | Some(Cause::Requested { .. }));
        if by_itself && self.history.last().is_some_and(same) {
            self.history.pop();
        }
        // most Stacks remember few, and room for four would be kept in each of thousands
        self.history.reserve_exact(1);
        self.history.push(Arc::new(deployment));
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess);
    }

    /// The release that worked before the one that runs, or is being deployed, now: what one goes back to who does not say where.
    /// What was rolled back since does not count, though it worked.
    pub fn before(&self) -> Option<&Revision> {
        let worked = |deployment: &&Arc<Deployment>| deployment.outcome == Outcome::Succeeded;
        let Some(settled) = &self.settled else {
            // nothing runs any more
            return self.history.iter().rev().find(worked).map(|deployment| &deployment.revision);
        };
        let leaves = |attempt: &Attempt| attempt.wish.is_none() && attempt.revision != settled.revision;
        let fails = self.held.as_ref().is_some_and(|held| held.ending == Ending::Open);
        if fails || self.attempt.as_deref().is_some_and(leaves) {
            return Some(&settled.revision);
        }
        let now = self.history.iter().rposition(|deployment| deployment.ended == settled.at)?;
        let now = match &*self.history[now] {
            Deployment { outcome: Outcome::Succeeded, .. } => now,
            Deployment { back_to, .. } => {
                let same = |deployment: &Deployment| back_to.as_ref() == Some(&deployment.revision);
                self.history[..now].iter().rposition(|deployment| worked(&deployment) && same(deployment))?
            }
        };
        let older = self.history[..now].iter().rev().filter(worked).map(|deployment| &deployment.revision);
        older.into_iter().find(|revision| **revision != self.history[now].revision)
    }

    /// The last end of a deployment of `revision`.
    pub fn last_of(&self, revision: &Revision) -> Option<&Deployment> {
        self.history.iter().rev().map(|deployment| &**deployment).find(|deployment| deployment.revision == *revision)
    }

    /// The last end of a deployment of `revision` that this hks has seen itself: what may be told of it again.
    pub fn told_of(&self, revision: &Revision) -> Option<&Deployment> {
        self.last_of(revision).filter(|deployment| !deployment.hearsay)
    }

    /// It has no seal, so anybody may have written it. What it says is shown, but counts only as far as what runs proves it.
    pub fn doubt(&mut self) {
        self.doubted = true;
        self.before.clear();
        for deployment in &mut self.history {
            Arc::make_mut(deployment).hearsay = true;
        }
    }

    /// Writes down that a wish was answered.
    pub fn answer(&mut self, wish: &Wish, at: Timestamp, refused: Option<String>) {
        self.answered.retain(|known| known.id != wish.id);
        self.answered.push(Answered { id: wish.id.clone(), at, refused });
        let excess = self.answered.len().saturating_sub(ANSWERED);
        self.answered.drain(..excess);
    }

    /// Whether a wish was answered.
    pub fn has_answered(&self, wish: &Wish) -> bool {
        self.answered.iter().any(|known| known.id == wish.id)
    }
}

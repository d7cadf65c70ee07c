//! What is kept in the cluster for each Stack, so that the daemon itself may be killed at any step and its disk lost.

mod wish;

pub use wish::{ANNOTATION as WISH_ANNOTATION, Want, Wish};

use crate::ident::Revision;
use crate::plan::Owned;
use crate::rollout::Cause;
use crate::spec::{Document, Files};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many deployments the history keeps.
const HISTORY: usize = 20;

/// One Stack's memory. Unknown fields of a newer hks are ignored, missing ones are defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// Every object that hks made, merged before it is applied and cleaned only after it is gone.
    pub inventory: Vec<Owned>,
    /// The last release that worked: what a rollback goes to.
    pub settled: Option<Release>,
    /// The deployment under way.
    pub attempt: Option<Attempt>,
    /// The revision that is not tried again, and why.
    pub held: Option<Held>,
    /// The last deployments, newest last.
    pub history: Vec<Deployment>,
    /// A person has suspended the Stack: nothing is changed or deleted until it is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// Ids of the last wishes that were acted on or refused, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<String>,
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
    /// Other files that it takes from its commit.
    #[serde(default, skip_serializing_if = "Files::is_empty")]
    pub files: Files,
    /// The tag that the commit was reached by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it settled.
    pub at: Timestamp,
}

/// A deployment under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The commit.
    pub revision: Revision,
    /// When it began.
    pub started: Timestamp,
}

/// A revision that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The commit.
    pub revision: Revision,
    /// Why it failed.
    pub cause: Cause,
    /// When the deployment began.
    pub started: Timestamp,
    /// When it failed.
    pub at: Timestamp,
    /// Whether everything is back as it was.
    pub restored: bool,
    /// How the rollback ended.
    #[serde(default)]
    pub ending: Ending,
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
    /// The cluster refused what was to be put back: some of it is still as the failed commit made it.
    Refused {
        /// What it said.
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
    /// The jobs that ran for it, each with how it ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, String>,
    /// The final commit status, word for word, so that it can be told again after a crash.
    pub description: String,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Ready and live.
    Succeeded,
    /// Nothing was touched.
    Rejected,
    /// Everything was put back.
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

impl Release {
    /// The release as a file to be read again.
    pub fn document(&self) -> Document {
        let files = Arc::new(self.files.clone());
        Document { files, tag: self.tag.clone(), ..Document::new("hks.yaml", self.source.as_bytes()) }
    }
}

impl Record {
    /// Adds a deployment and forgets the oldest. A repeated end of the same attempt replaces the first.
    pub fn remember(&mut self, deployment: Deployment) {
        self.history.retain(|old| (&old.revision, old.started) != (&deployment.revision, deployment.started));
        self.history.push(deployment);
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess);
    }

    /// The last end of a deployment of `revision`.
    pub fn last_of(&self, revision: &Revision) -> Option<&Deployment> {
        self.history.iter().rev().find(|deployment| deployment.revision == *revision)
    }
}

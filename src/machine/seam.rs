//! What the machine is told, and what it asks for: one event answers each request.

use crate::ident::{Component, Message, ObjectKey, PassId, Revision};
use crate::manifest::PublicUrl;
use crate::plan::{Difference, Step};
use crate::record::{Record, Wish};
use crate::report::News;
use crate::rollout::Cause;
use crate::spec::Document;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A commit as far as one Stack is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The commit.
    pub revision: Revision,
    /// The Stack's file in it.
    pub content: Content,
    /// What it says of itself, where that is known.
    pub message: Option<Message>,
}

/// What a commit holds for a Stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Its hks.yaml.
    File(Document),
    /// The file is not there any more.
    Missing,
    /// The file can't be read safely: a symlink, a submodule, or too large.
    Unusable {
        /// Why, and what to do.
        message: String,
    },
}

/// Why a request to the outside failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Trying again may help: time-outs, 429, 5xx, lost connections.
    pub transient: bool,
    /// The object it was about, if about one.
    pub object: String,
    /// What of the Stack it was about.
    pub component: Component,
    /// What was said, without secrets.
    pub message: String,
}

/// What is known of a database that is about to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// It was asked, and nobody has made anything in it.
    Empty,
    /// Somebody has.
    Tables,
    /// It could not be asked: why.
    Unknown(String),
}

/// The certificate by which a public address was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The address.
    pub url: String,
    /// When it began to be valid.
    pub from: Timestamp,
    /// Until when it is valid.
    pub until: Timestamp,
}

/// What a look at public addresses found: the certificate that ends first, or the first address that is not live and what
/// came instead.
pub type Probed = Result<Option<Certificate>, (String, String)>;

/// A volume of a server that hks runs, and where its room is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its claim.
    pub claim: ObjectKey,
    /// The pod that has it.
    pub pod: String,
    /// The container in it.
    pub container: String,
    /// Where it is mounted.
    pub path: String,
}

/// What the API server, or an admission webhook, made differently of an object that was just written.
pub type Made = (ObjectKey, Vec<Difference>);

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// There is a newer commit.
    Commit(Commit),
    /// A person wants something.
    Wish {
        /// What.
        wish: Wish,
        /// For a rollback: the commit, or why it can't be had.
        to: Result<Option<Commit>, String>,
    },
    /// The watches saw something.
    Observed,
    /// A timer that the machine asked for.
    Due,
    /// Reply to [`Effect::Queue`]: it is this Stack's turn.
    Turn(PassId),
    /// Reply to [`Effect::Check`].
    Checked(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Save`].
    Saved(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Apply`]: what came out differently from what was asked for.
    Applied(PassId, Result<Vec<Made>, Fault>),
    /// Reply to [`Effect::Probe`].
    Probed(PassId, Probed),
    /// Reply to [`Effect::Measure`]: by claim, the bytes that are free. What can't be asked is left out.
    Measured(PassId, BTreeMap<ObjectKey, u64>),
    /// Reply to [`Effect::Inspect`]: what is in each database, by StatefulSet.
    Inspected(PassId, BTreeMap<String, Contents>),
    /// Reply to [`Effect::Delete`].
    Deleted(PassId, Result<(), Fault>),
    /// Reply to [`Effect::Explain`]: the cause with log lines, and without secrets.
    Explained(PassId, Cause),
    /// Reply to [`Effect::Who`]: the field manager that last set the field, as far as known.
    Managed(ObjectKey, String, Option<String>),
}

/// What has to be done outside. All but `News` and `Hosts` are answered by one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Wait until it is this Stack's turn: a change of the platform touches a few Stacks at a time.
    Queue(PassId),
    /// Claim the hosts that the file names, dry-run the steps against the API server, and see that no object to be created exists
    /// unmanaged.
    Check(PassId, Vec<Step>, BTreeSet<String>),
    /// Keep the record in the cluster.
    Save(PassId, Box<Record>),
    /// Create and change objects.
    Apply(PassId, Vec<Step>),
    /// See whether the public addresses answer.
    Probe(PassId, Vec<PublicUrl>),
    /// See how much room volumes have.
    Measure(PassId, Vec<Volume>),
    /// See which of the databases (by StatefulSet) hold user tables.
    Inspect(PassId, Vec<String>),
    /// Delete objects, each only with the uid that was seen.
    Delete(PassId, Vec<ObjectKey>),
    /// Fetch the last log lines that explain a cause, and take secrets out of it.
    Explain(PassId, Cause),
    /// See who set a field of an object.
    Who(ObjectKey, String),
    /// Have these of the public hosts, which others may name as well, and no longer those. It is not answered.
    Hosts {
        /// What runs needs them.
        needed: BTreeSet<String>,
        /// Nothing does any more.
        free: BTreeSet<String>,
    },
    /// Tell people.
    News(News),
}

/// What a step asks for, in order.
#[must_use]
#[derive(Debug, Default, PartialEq)]
pub struct Effects(pub Vec<Effect>);

impl Effects {
    pub(super) fn add(&mut self, effect: Effect) {
        self.0.push(effect);
    }
}

/// A reply to a request of a pass.
pub(super) enum Reply {
    Turn,
    Checked(Result<(), Fault>),
    Saved(Result<(), Fault>),
    Applied(Result<Vec<Made>, Fault>),
    Inspected(BTreeMap<String, Contents>),
    Deleted(Result<(), Fault>),
    Probed(Probed),
    Measured(BTreeMap<ObjectKey, u64>),
    Explained(Cause),
}

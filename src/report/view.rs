//! What the HTTP endpoint and the command line show of a Stack.

use crate::ident::Revision;
use crate::plan::Difference;
use crate::record::Deployment;
use jiff::Timestamp;
use serde::Serialize;

/// A Stack at a moment. It is additive: fields are added, never renamed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Name of the Stack.
    pub name: String,
    /// The project.
    pub namespace: String,
    /// One word: `fresh`, `deploying`, `waiting`, `rollingBack`, `settled`, `held`, `suspended`, `invalid`, `standby`,
    /// `unreachable`.
    pub state: &'static str,
    /// What is being done or waited for.
    pub activity: String,
    /// The newest commit.
    pub desired_revision: Option<Revision>,
    /// The release that is in effect.
    pub applied_revision: Option<Revision>,
    /// Why the newest commit is not in effect.
    pub cause: Option<String>,
    /// The log lines that explain it.
    pub log: Option<String>,
    /// Public addresses.
    pub urls: Vec<String>,
    /// Apps.
    pub apps: Vec<AppView>,
    /// Databases.
    pub databases: Vec<DatabaseView>,
    /// Fields that somebody else changed.
    pub drift: Vec<DriftView>,
    /// How often drift was put back since the daemon started.
    pub drift_corrected: u64,
    /// Databases and volumes that left the file and stay.
    pub retained: Vec<String>,
    /// The last deployments, newest first.
    pub history: Vec<Deployment>,
    /// When this was composed.
    pub at: Timestamp,
}

/// An app.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppView {
    /// Name in the file.
    pub name: String,
    /// The image that runs, or that should.
    pub image: String,
    /// Pods that are ready.
    pub ready: i64,
    /// Pods that should be.
    pub replicas: i64,
    /// What one pod may use at most: CPU and memory.
    pub limits: String,
    /// What it uses now, where the cluster measures it.
    pub usage: Option<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseView {
    /// Name of its StatefulSet.
    pub name: String,
    /// Image of the server.
    pub image: String,
    /// Whether it takes connections.
    pub ready: bool,
    /// Size of its volume.
    pub storage: String,
    /// What it uses now, where the cluster measures it.
    pub usage: Option<String>,
}

/// Drift of one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    /// Such as `Deployment/todo-web`.
    pub object: String,
    /// What differs; empty if the object is missing.
    pub fields: Vec<Difference>,
}

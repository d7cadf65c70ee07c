//! What the routes of the endpoint have in common: what they read, and how they refuse.

use crate::shell::credential::Hidden;
use crate::shell::metrics::Metrics;
use crate::shell::web::board::Board;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

/// What the endpoint reads.
pub struct Endpoint {
    /// Stacks and sources.
    pub board: Arc<Board>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where webhooks lead.
    pub hooks: Arc<dyn Hooks>,
    /// Whether the first look at every source is done.
    pub ready: watch::Receiver<bool>,
    /// Name of this installation.
    pub cluster: String,
}

/// What webhooks need to know of the sources.
pub trait Hooks: Send + Sync {
    /// The secrets, current and previous, of each source that has one. If none has, there is no route.
    fn secrets(&self) -> Vec<(String, Vec<Hidden>)>;
    /// Asks a source to fetch now. It must not block.
    fn fetch(&self, source: &str);
    /// Whether a source follows `git_ref` (such as `refs/heads/main`) of the repository with this full name
    /// (`owner/name`) or one of these clone URLs.
    fn follows(&self, source: &str, full_name: &str, clone_urls: &[String], git_ref: &str) -> bool;
}

/// An error as JSON.
pub fn error(code: StatusCode, message: &str) -> Response {
    (code, Json(json!({ "error": message }))).into_response()
}

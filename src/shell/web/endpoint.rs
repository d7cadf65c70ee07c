//! What the routes of the endpoint have in common: what they read, and how they refuse.

use crate::record::{Answered, Want};
use crate::shell::cluster::failure::Failure;
use crate::shell::credential::Hidden;
use crate::shell::metrics::Metrics;
use crate::shell::web::board::Board;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// What the endpoint reads.
pub struct Endpoint {
    /// Stacks and sources.
    pub board: Arc<Board>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where webhooks lead.
    pub hooks: Arc<dyn Hooks>,
    /// Where what people ask for is left.
    pub desk: Arc<dyn Desk>,
    /// Room for those who wait for an answer.
    pub acts: Semaphore,
    /// Whether the first look at every source is done.
    pub ready: watch::Receiver<bool>,
    /// Name of this installation.
    pub cluster: String,
}

/// Requests that wait for the answer of an actor at the same time.
pub const ACTS_AT_ONCE: usize = 32;

/// What all routes are given.
pub type Shared = State<Arc<Endpoint>>;

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

/// The id of a wish, and what became of it if that is known in time; or that it could not be left.
pub type Asking = BoxFuture<'static, Result<(String, Option<Answered>), Failure>>;

/// Where what people ask for is left.
pub trait Desk: Send + Sync {
    /// Asks the daemon for something that changes what runs. What was asked for may take much longer than the answer; errors are in
    /// words for who asks.
    fn ask(&self, source: &str, stack: &str, want: Want, by: String) -> Asking;
}

/// An error as JSON.
pub fn error(code: StatusCode, message: &str) -> Response {
    (code, Json(json!({ "error": message }))).into_response()
}

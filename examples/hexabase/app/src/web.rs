//! Routes: a page for people, an API for programs, and what a cluster asks to know whether all is well.

use std::sync::Arc;

use axum::{
    Form, Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    config::VERSION,
    notes::{Note, Notes, NotesError},
    page,
};

const LONGEST_NOTE: usize = 500;

pub struct App {
    pub greeting: String,
    pub notes: Notes,
}

type Shared = State<Arc<App>>;

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

/// What a client gets to see when something fails; the details go to the log.
enum Failure {
    BadNote,
    Database(NotesError),
}

impl From<NotesError> for Failure {
    fn from(error: NotesError) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::BadNote => (StatusCode::UNPROCESSABLE_ENTITY, "a note has 1 to 500 characters"),
            Self::Database(error) => {
                eprintln!("hexabase-web: {}", error.explain());
                (StatusCode::SERVICE_UNAVAILABLE, "the database is not reachable")
            }
        };
        (status, Json(json!({"error": message}))).into_response()
    }
}

pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(index).post(submit))
        .route("/api/notes", get(list).post(create))
        .route("/api/version", get(version))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .with_state(app)
}

async fn index(State(app): Shared) -> Response {
    let notes = app.notes.latest().await;
    if let Err(error) = &notes {
        eprintln!("hexabase-web: {}", error.explain());
    }
    let status = if notes.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, page::index(&app.greeting, VERSION, notes.ok().as_deref())).into_response()
}

async fn submit(State(app): Shared, Form(note): Form<NewNote>) -> Result<Redirect, Failure> {
    app.notes.add(checked(&note.text)?).await?;
    Ok(Redirect::to("/"))
}

async fn list(State(app): Shared) -> Result<Json<Vec<Note>>, Failure> {
    Ok(Json(app.notes.latest().await?))
}

async fn create(State(app): Shared, Json(note): Json<NewNote>) -> Result<(StatusCode, Json<Note>), Failure> {
    Ok((StatusCode::CREATED, Json(app.notes.add(checked(&note.text)?).await?)))
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({"version": VERSION}))
}

/// The process is well, whatever the database does: restarting it would not help the database.
async fn health() -> Json<serde_json::Value> {
    Json(json!({"status": "ok"}))
}

async fn ready(State(app): Shared) -> Response {
    if app.notes.available() {
        Json(json!({"status": "ready", "components": {"database": "ok"}})).into_response()
    } else {
        let body = json!({"status": "not ready", "components": {"database": "unreachable"}});
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }
}

fn checked(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    if (1..=LONGEST_NOTE).contains(&text.chars().count()) { Ok(text) } else { Err(Failure::BadNote) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_trimmed_and_has_a_length() {
        assert!(matches!(checked("  milk "), Ok("milk")));
        assert!(checked("   ").is_err());
        assert!(checked(&"é".repeat(500)).is_ok());
        assert!(checked(&"é".repeat(501)).is_err());
    }
}

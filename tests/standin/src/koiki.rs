//! KOIKI-FW: a framework's API with a database, Redis, injected certificates and a WebSocket, and its frontend.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Row, types::Type};

use crate::{
    certificates,
    database::{Database, in_time},
    health::{Component, Failure, Need, alive, report},
    queue::Redis,
    settings::{Identity, SettingError},
};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS todos (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title TEXT NOT NULL
)";

struct Framework {
    components: [Component; 3],
    database: Option<Database>,
}

#[derive(Deserialize)]
struct NewTodo {
    title: String,
}

#[derive(Serialize)]
struct Todo {
    id: i64,
    title: String,
}

impl TryFrom<Row> for Todo {
    type Error = tokio_postgres::Error;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        Ok(Self { id: row.try_get("id")?, title: row.try_get("title")? })
    }
}

/// Where `uvicorn app.main:app --host HOST --port PORT` listens.
pub fn address(arguments: &[String]) -> Result<SocketAddr, String> {
    const USAGE: &str = "usage: uvicorn app.main:app [--host ADDRESS] [--port PORT]";
    let (mut host, mut port) = (IpAddr::from([127, 0, 0, 1]), 8000);
    let [application, options @ ..] = arguments else { return Err(USAGE.to_owned()) };
    if application != "app.main:app" {
        return Err(format!("could not import {application}"));
    }
    for option in options.chunks(2) {
        match option {
            [name, value] if name == "--host" => host = value.parse().map_err(|_| USAGE)?,
            [name, value] if name == "--port" => port = value.parse().map_err(|_| USAGE)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(SocketAddr::new(host, port))
}

pub fn framework(identity: &Identity) -> Result<Router, SettingError> {
    let components = [
        Component::new("database", Need::Database(Database::from_env()?)),
        Component::new("redis", Need::Redis(Redis::from_env("REDIS_URL")?)),
        Component::new("certificates", Need::Certificates),
    ];
    let page = identity.json();
    Ok(Router::new()
        .route("/health", get(health))
        .route("/api/v1/ca", get(ca))
        .route("/api/v1/todos", get(list).post(create))
        .route("/api/v1/ws", any(socket))
        .with_state(Arc::new(Framework { components, database: Database::from_env()? }))
        .route("/", get(async || Json(page))))
}

async fn health(State(framework): State<Arc<Framework>>) -> Response {
    report(&framework.components).await
}

async fn ca() -> Result<Response, Failure> {
    Ok(Json(certificates::describe()?).into_response())
}

async fn list(State(framework): State<Arc<Framework>>) -> Result<Json<Vec<Todo>>, Failure> {
    let client = framework.connect().await?;
    let rows = in_time(client.query_typed("SELECT id, title FROM todos ORDER BY id", &[])).await?;
    Ok(Json(rows.into_iter().map(Todo::try_from).collect::<Result<_, _>>()?))
}

async fn create(
    State(framework): State<Arc<Framework>>,
    Json(todo): Json<NewTodo>,
) -> Result<(StatusCode, Json<Todo>), Failure> {
    let client = framework.connect().await?;
    let sql = "INSERT INTO todos (title) VALUES ($1) RETURNING id, title";
    let row = in_time(client.query_typed_one(sql, &[(&todo.title, Type::TEXT)])).await?;
    Ok((StatusCode::CREATED, Json(row.try_into()?)))
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo)
}

/// Says the first text again, then ends: an open socket would keep a pod from ending.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(text) = message {
            // Nobody is left to be told when the other end is gone.
            let _ = socket.send(Message::Text(text)).await;
            let _ = socket.send(Message::Close(None)).await;
            return;
        }
    }
}

impl Framework {
    async fn connect(&self) -> Result<Client, Failure> {
        let database = self.database.as_ref().ok_or(SettingError::NotSet("DATABASE_URL"))?;
        Ok(database.connect_with(TABLE).await?)
    }
}

pub fn frontend(identity: &Identity) -> Router {
    let page = identity.json();
    Router::new()
        .route("/", get(async || Json(page)))
        .route("/api/health", get(alive))
        .route("/_next/static/app.js", get(script))
}

async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript")], "console.log(\"koiki\");\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<SocketAddr, String> {
        address(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn uvicorn_is_told_where_to_listen() {
        assert_eq!(of("app.main:app --host 0.0.0.0 --port 8000"), Ok(([0, 0, 0, 0], 8000).into()));
        assert_eq!(of("app.main:app --port 9000"), Ok(([127, 0, 0, 1], 9000).into()));
    }

    #[test]
    fn uvicorn_refuses_what_it_does_not_know() {
        for words in ["", "other:app", "app.main:app --reload", "app.main:app --port", "app.main:app --port many"] {
            assert!(of(words).is_err(), "{words}");
        }
    }
}

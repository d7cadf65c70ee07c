//! `HugMeDo`: five applications that are alike from outside.

use std::{fs, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    Fault,
    database::Database,
    health::{Component, Need, report},
    queue::Redis,
    settings::{Identity, setting},
};

/// Those that `BREAK=1` breaks.
const BREAKABLE: [&str; 2] = ["hugmedo-web", "hugmedo-api"];

struct Application {
    page: Value,
    components: Vec<Component>,
    broken: bool,
}

/// Any path is its page: an ingress sends `/api` or `/chat` as it is.
pub fn application(identity: &Identity) -> Result<Router, Fault> {
    let mut page = identity.json();
    page["hostname"] = json!(fs::read_to_string("/proc/sys/kernel/hostname")?.trim());
    let broken = BREAKABLE.contains(&identity.app.as_str()) && setting("BREAK").as_deref() == Some("1");
    let application = Arc::new(Application { page, components: components()?, broken });
    Ok(Router::new().route("/ready", get(ready)).fallback(index).with_state(application))
}

/// Only what is set: some run without a database.
fn components() -> Result<Vec<Component>, Fault> {
    let database = Database::from_env()?.map(|database| Component::new("database", Need::Database(Some(database))));
    let redis = Redis::from_env("REDIS_URL")?.map(|redis| Component::new("redis", Need::Redis(Some(redis))));
    Ok(database.into_iter().chain(redis).collect())
}

async fn index(State(application): State<Arc<Application>>) -> Response {
    if application.broken { broken() } else { Json(application.page.clone()).into_response() }
}

async fn ready(State(application): State<Arc<Application>>) -> Response {
    if application.broken { broken() } else { report(&application.components).await }
}

fn broken() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": "this release is broken: BREAK=1"}))).into_response()
}

//! Pipe: an API that is well when its database is.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::Response, routing::get};

use crate::{
    database::Database,
    health::{Component, Need, report},
    settings::{Identity, SettingError},
};

pub fn api(identity: &Identity) -> Result<Router, SettingError> {
    let page = identity.json();
    let component = Component::new("database", Need::Database(Database::from_env()?));
    Ok(Router::new()
        .route("/api/health", get(health))
        .with_state(Arc::new([component]))
        .route("/", get(async || Json(page))))
}

async fn health(State(components): State<Arc<[Component; 1]>>) -> Response {
    report(&*components).await
}

//! AIO: an API with a queue, its frontend, and stand-ins for Keycloak and Jaeger.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, response::Response, routing::get};
use redis::AsyncTypedCommands;
use serde_json::{Value, json};
use tokio::{io, net::TcpListener, time::sleep};

use crate::{
    Fault,
    database::Database,
    explain,
    health::{Component, Failure, Need, alive, report},
    queue::{DONE, JOBS, Redis},
    server::listen_everywhere,
    settings::{Identity, SettingError, setting},
};

const KEYCLOAK_PAUSE: Duration = Duration::from_secs(1);
const OTLP_PORTS: [u16; 2] = [4317, 4318];

struct Api {
    components: [Component; 3],
    queue: Option<Redis>,
}

/// At `/`, and below `/api`, where an ingress sends what it does not rewrite.
pub fn api(identity: &Identity) -> Result<Router, SettingError> {
    let components = [
        Component::new("database", Need::Database(Database::from_env()?)),
        Component::new("queue", Need::Redis(Redis::from_env("REDIS_URL")?)),
        Component::new("cache", Need::Redis(Redis::from_env("CACHE_URL")?)),
    ];
    let api = Arc::new(Api { components, queue: Redis::from_env("REDIS_URL")? });
    let routes = Router::new()
        .route("/health", get(alive))
        .route("/ready", get(ready))
        .route("/jobs", get(count_jobs).post(push_job))
        .with_state(api)
        .merge(front(identity.json()));
    Ok(routes.clone().nest("/api", routes))
}

/// A page of one JSON object.
fn front(page: Value) -> Router {
    Router::new().route("/", get(async || Json(page)))
}

async fn ready(State(api): State<Arc<Api>>) -> Response {
    report(&api.components).await
}

/// The body is the job; without one it has a name all the same.
async fn push_job(State(api): State<Arc<Api>>, job: String) -> Result<(StatusCode, Json<Value>), Failure> {
    let job = if job.is_empty() { "job" } else { &job };
    let queued = api.queue()?.connect().await?.rpush(JOBS, job).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"queued": queued}))))
}

async fn count_jobs(State(api): State<Arc<Api>>) -> Result<Json<Value>, Failure> {
    let mut queue = api.queue()?.connect().await?;
    let done: u64 = queue.get(DONE).await?.map_or(Ok(0), |text| text.parse())?;
    Ok(Json(json!({"queued": queue.llen(JOBS).await?, "done": done})))
}

impl Api {
    fn queue(&self) -> Result<&Redis, SettingError> {
        self.queue.as_ref().ok_or(SettingError::NotSet("REDIS_URL"))
    }
}

pub fn frontend(identity: &Identity) -> Router {
    let mut page = identity.json();
    page["NUXT_PUBLIC_API_BASE"] = json!(setting("NUXT_PUBLIC_API_BASE"));
    front(page)
}

/// Healthy once it reached its database, as the real one is, which prepares its tables first.
pub fn keycloak(identity: &Identity) -> Result<Router, SettingError> {
    let database = Database::of_keycloak()?;
    let connected = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&connected);
    tokio::spawn(async move {
        await_database(&database).await;
        watched.store(true, Ordering::Relaxed);
    });
    let mut page = identity.json();
    page["note"] = json!("stands in for Keycloak: it has its health endpoints and nothing else");
    Ok(Router::new()
        .route("/health/started", get(keycloak_health))
        .route("/health/ready", get(keycloak_health))
        .route("/health/live", get(keycloak_health))
        .with_state(connected)
        .merge(front(page)))
}

async fn keycloak_health(State(connected): State<Arc<AtomicBool>>) -> (StatusCode, Json<Value>) {
    if connected.load(Ordering::Relaxed) {
        (StatusCode::OK, Json(json!({"status": "UP"})))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "DOWN"})))
    }
}

async fn await_database(database: &Database) {
    let mut reported = None;
    loop {
        let Err(error) = database.ping().await else { break };
        let why = explain(&error);
        if reported.as_ref() != Some(&why) {
            eprintln!("database: {why}");
            reported = Some(why);
        }
        sleep(KEYCLOAK_PAUSE).await;
    }
    println!("database: ok");
}

/// The page on its own port; the ports for traces take connections and forget what they bring.
pub async fn jaeger(identity: &Identity) -> Result<Router, Fault> {
    for port in OTLP_PORTS {
        tokio::spawn(swallow(listen_everywhere(port).await?));
    }
    Ok(front(identity.json()))
}

async fn swallow(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((mut connection, _)) => {
                tokio::spawn(async move { io::copy(&mut connection, &mut io::sink()).await });
            }
            // Out of descriptors, which others may give back.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

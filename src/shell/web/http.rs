//! The HTTP endpoint: pages and JSON of what is published, probes, metrics and push webhooks. What changes something is `act`.

use crate::ident::Revision;
use crate::report::{StackState, View};
use crate::shell::clock;
use crate::shell::web::access::{Access, Visitor, require};
use crate::shell::web::act;
use crate::shell::web::asked::Asked;
use crate::shell::web::board::{Board, SourceView};
use crate::shell::web::endpoint::{Endpoint, Shared, error};
use crate::shell::web::gate::{Gate, Peer};
use crate::shell::web::login;
use crate::shell::web::page;
use crate::shell::web::webhook;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// Version of everything under `/api/v1`: fields are added, never renamed.
const API_VERSION: &str = "hks/v1";
/// Request bodies, except those of webhooks.
const MAX_BODY: usize = 1 << 20;
/// Connections at the same time.
const MAX_CONNECTIONS: usize = 256;
/// … and of probes.
const MAX_PROBES: usize = 16;
/// Requests in flight get this long when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// Nothing is loaded, framed or run, except one style sheet.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves, by HTTPS if there is a certificate, until `stop`, and then what is in flight for a few seconds more.
pub async fn serve(
    listener: TcpListener,
    endpoint: Endpoint,
    access: Arc<Access>,
    tls: Option<TlsAcceptor>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let gate = Gate::new(listener, MAX_CONNECTIONS, tls);
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        let _ = stopping.send(());
    };
    let serving = axum::serve(gate, router(endpoint, access).into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(stop);
    let patience = async move {
        match stopped.await {
            Ok(()) => sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = serving => ended,
        () = patience => Ok(()),
    }
}

/// Serves the probes alone, where nobody but the kubelet has to come, until the end.
pub async fn serve_probes(listener: TcpListener, ready: watch::Receiver<bool>) -> std::io::Result<()> {
    let probes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || is_ready(&ready)))
        .layer(DefaultBodyLimit::max(0));
    axum::serve(Gate::new(listener, MAX_PROBES, None), probes).await
}

fn router(endpoint: Endpoint, access: Arc<Access>) -> Router {
    let acts = Router::new()
        .route("/stacks/{name}", post(act::form))
        .route("/api/v1/stacks/{name}/{act}", post(act::api))
        .layer(DefaultBodyLimit::max(act::MAX_BODY));
    Router::new()
        .route("/", get(overview))
        .route("/stacks/{name}", get(stack_page))
        .route("/api/v1/status", get(status))
        .route("/api/v1/stacks/{name}", get(stack))
        .route("/metrics", get(metrics))
        .merge(acts)
        .route_layer(from_fn_with_state(Arc::clone(&access), require))
        .merge(login::routes(access))
        .route("/style.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE)))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/version", get(async || Json(json!({"name": "hks", "version": env!("CARGO_PKG_VERSION")}))))
        .route("/webhooks/github", post(webhook::receive).layer(DefaultBodyLimit::disable()))
        .fallback(async || error(StatusCode::NOT_FOUND, "there is nothing here; see / and /api/v1/status"))
        .method_not_allowed_fallback(async || error(StatusCode::METHOD_NOT_ALLOWED, "not with this method"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(guard))
        .with_state(Arc::new(endpoint))
}

/// Refuses large bodies before they are read, and puts the security headers on every answer.
async fn guard(request: Request, next: Next) -> Response {
    let length = |headers: &HeaderMap| headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    let large = length(request.headers()).is_some_and(|length| length > MAX_BODY as u64);
    let mut response = if large && request.uri().path() != "/webhooks/github" {
        error(StatusCode::PAYLOAD_TOO_LARGE, "a body may have 1 MiB")
    } else {
        next.run(request).await
    };
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // with `no-referrer` a form of our own would come from `Origin: null` where browsers send no Fetch Metadata, which is over plain HTTP
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn readiness(State(endpoint): Shared) -> Response {
    is_ready(&endpoint.ready)
}

fn is_ready(ready: &watch::Receiver<bool>) -> Response {
    if *ready.borrow() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not every source was looked at yet\n").into_response()
}

async fn metrics(State(endpoint): Shared, Extension(visitor): Extension<Visitor>) -> Response {
    if !visitor.sees_all() {
        return error(StatusCode::FORBIDDEN, "metrics tell of all sources: they need a token with sources: [\"*\"]");
    }
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &endpoint.metrics.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "failed to print the metrics"),
    }
}

/// All there is, as `/api/v1/status` tells it. It is written as it stands: as JSON values, a thousand Stacks take many times the
/// room of their text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview<'a> {
    api_version: &'static str,
    cluster: &'a str,
    sources: &'a [SourceView],
    stacks: Vec<Short<'a>>,
}

/// A Stack among others.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Short<'a> {
    source: &'a str,
    name: &'a str,
    namespace: &'a str,
    state: StackState,
    sentence: String,
    activity: &'a str,
    cause: Option<&'a str>,
    desired_revision: Option<&'a Revision>,
    applied_revision: Option<&'a Revision>,
    urls: &'a [String],
}

impl<'a> Short<'a> {
    fn of((source, view): &'a (String, Arc<View>)) -> Self {
        Self {
            source,
            name: &view.name,
            namespace: &view.namespace,
            state: view.state,
            sentence: view.sentence(view.at),
            activity: &view.activity,
            cause: view.cause.as_deref(),
            desired_revision: view.desired_revision.as_ref(),
            applied_revision: view.applied_revision.as_ref(),
            urls: &view.urls,
        }
    }
}

async fn status(State(endpoint): Shared, Extension(visitor): Extension<Visitor>) -> Response {
    let (sources, stacks) = seen(&endpoint.board, &visitor);
    let stacks = stacks.iter().map(Short::of).collect();
    Json(Overview { api_version: API_VERSION, cluster: &endpoint.cluster, sources: &sources, stacks }).into_response()
}

/// The sources that may be seen, and their Stacks.
fn seen(board: &Board, visitor: &Visitor) -> (Vec<SourceView>, Vec<(String, Arc<View>)>) {
    let (mut sources, mut stacks) = (board.sources(), board.stacks());
    sources.retain(|source| visitor.sees(&source.name));
    stacks.retain(|(source, _)| visitor.sees(source));
    (sources, stacks)
}

async fn stack(State(endpoint): Shared, asked: Asked) -> Response {
    match asked.find(&endpoint.board).await.as_slice() {
        [] => {
            let mut known: Vec<_> =
                seen(&endpoint.board, &asked.visitor).1.iter().map(|(_, view)| view.name.clone()).collect();
            known.sort();
            known.dedup();
            let message = format!("there is no stack {:?}", asked.name());
            (StatusCode::NOT_FOUND, Json(json!({"error": message, "known": known}))).into_response()
        }
        [(source, view)] => {
            let mut value = view.json();
            value["apiVersion"] = API_VERSION.into();
            value["source"] = source.as_str().into();
            Json(value).into_response()
        }
        several => {
            let one = |(source, view): &(String, Arc<View>)| {
                let url = format!("/api/v1/stacks/{}?source={source}", view.name);
                json!({"source": source, "namespace": view.namespace, "url": url})
            };
            let choices: Vec<_> = several.iter().map(one).collect();
            let message = format!("several sources have a stack {:?}; add ?source=", asked.name());
            (StatusCode::MULTIPLE_CHOICES, Json(json!({"error": message, "choices": choices}))).into_response()
        }
    }
}

async fn overview(State(endpoint): Shared, Extension(visitor): Extension<Visitor>) -> Html<String> {
    let (sources, stacks) = seen(&endpoint.board, &visitor);
    let head = visitor.head(&endpoint.cluster);
    if sources.is_empty() && !endpoint.board.sources().is_empty() {
        return Html(page::nothing_to_see(head).into_string());
    }
    Html(page::overview(head, &sources, &stacks, clock::now()).into_string())
}

async fn stack_page(State(endpoint): Shared, asked: Asked) -> Response {
    let head = asked.visitor.head(&endpoint.cluster);
    let (code, html) = match asked.find(&endpoint.board).await.as_slice() {
        [] => (StatusCode::NOT_FOUND, page::unknown(head, asked.name(), &seen(&endpoint.board, &asked.visitor).1)),
        [(source, view)] => {
            (StatusCode::OK, page::stack(head, source, view, asked.visitor.acts_as(source).is_some(), clock::now()))
        }
        several => (StatusCode::MULTIPLE_CHOICES, page::choices(head, asked.name(), several, clock::now())),
    };
    (code, Html(html.into_string())).into_response()
}

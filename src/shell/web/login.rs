//! Logging in and out with a browser.

use crate::shell::web::access::Access;
use crate::shell::web::act::is_own;
use crate::shell::web::gate::Peer;
use crate::shell::web::page;
use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::sync::Arc;

/// The routes; they need no login.
pub fn routes<S: Clone + Send + Sync + 'static>(access: Arc<Access>) -> Router<S> {
    Router::new()
        .route("/login", get(begin))
        .route("/login/callback", get(finish))
        .route("/logout", post(end))
        .with_state(access)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    to: String,
}

async fn begin(State(access): State<Arc<Access>>, Query(wanted): Query<Wanted>) -> Response {
    match access.begin(&wanted.to).await {
        None => failed(StatusCode::NOT_FOUND, "nobody can log in here: access.oidc is not set"),
        Some(Ok((address, cookie))) => with([cookie], Redirect::to(&address).into_response()),
        Some(Err(error)) => {
            tracing::warn!(error = %format!("{error:#}"), "failed to begin a login");
            failed(StatusCode::BAD_GATEWAY, "the provider of logins does not answer as it should; try again later")
        }
    }
}

/// What the provider sends a browser back with (RFC 6749, section 4.1.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Back {
    code: String,
    state: String,
    error: String,
    error_description: String,
}

async fn finish(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(back): Query<Back>,
    headers: HeaderMap,
) -> Response {
    if !back.error.is_empty() {
        let said: String = format!("{} {}", back.error, back.error_description).chars().take(300).collect();
        return failed(StatusCode::FORBIDDEN, &format!("the provider says: {said}"));
    }
    match access.finish(&headers, &back.state, &back.code, &peer.ip().to_string()).await {
        Ok((to, cookies)) => with(cookies, Redirect::to(&to).into_response()),
        Err(why) => failed(StatusCode::FORBIDDEN, &why),
    }
}

async fn end(State(access): State<Arc<Access>>, headers: HeaderMap) -> Response {
    match access.end().filter(|_| is_own(&headers)) {
        Some(cookie) => with([cookie], Html(page::logged_out().into_string()).into_response()),
        None => failed(StatusCode::FORBIDDEN, "nobody is logged in, or this comes from a page of another site"),
    }
}

fn failed(code: StatusCode, why: &str) -> Response {
    (code, Html(page::not_logged_in(why).into_string())).into_response()
}

fn with<const N: usize>(cookies: [String; N], mut response: Response) -> Response {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
    response
}

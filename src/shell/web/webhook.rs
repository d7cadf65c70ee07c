//! Push webhooks of GitHub and Gitea. A push is only a hint to fetch: what is deployed comes from the repository, so a
//! delivery may be lost, repeated or replayed without harm.

use crate::shell::credential::Hidden;
use crate::shell::metrics::OutcomeLabels;
use crate::shell::web::endpoint::{Endpoint, error};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use ring::hmac;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// GitHub delivers nothing larger.
const MAX_BODY: usize = 25 << 20;
/// Bytes of bodies in memory at the same time, since anybody may send one: in pieces, so that one that comes slowly holds only
/// what has come.
const MAX_AT_ONCE: usize = MAX_BODY + (4 << 20);
const PIECE: usize = 64 << 10;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest delivery id that is repeated in an answer.
const MAX_ID: usize = 100;

static ROOM: Semaphore = Semaphore::const_new(MAX_AT_ONCE / PIECE);

/// The part of a push that tells which branch of which repository it is about.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: String,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    full_name: String,
    clone_url: Option<String>,
    ssh_url: Option<String>,
    git_url: Option<String>,
    html_url: Option<String>,
}

/// Answers a delivery: 404 without any secret, 401 unless a secret verifies it, then 202, or 200 for a ping.
pub async fn receive(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let count = |result| endpoint.metrics.webhooks.get_or_create(&OutcomeLabels { result }).inc();
    let secrets = usable(endpoint.hooks.secrets());
    if secrets.is_empty() {
        return error(StatusCode::NOT_FOUND, "no source has a webhook secret; set webhook.secret");
    }
    let (parts, body) = request.into_parts();
    let unauthorized = || {
        count("unauthorized");
        error(StatusCode::UNAUTHORIZED, "x-hub-signature-256 is missing or made with another secret")
    };
    let Some(signature) = signature(&parts.headers) else { return unauthorized() };
    let (body, _room) = match tokio::time::timeout(PATIENCE, read(body)).await {
        Ok(Ok(read)) => read,
        Ok(Err(answer)) => {
            count("invalid");
            return answer;
        }
        Err(_) => {
            count("invalid");
            return error(StatusCode::REQUEST_TIMEOUT, "a delivery may take 15 seconds");
        }
    };
    // hashing 25 MiB takes a while, and other requests share the threads
    let hashed = body.clone();
    let verified = tokio::task::spawn_blocking(move || verify(&secrets, &signature, &hashed)).await;
    let verified = verified.unwrap_or_default();
    if verified.is_empty() {
        return unauthorized();
    }
    let delivery = text(&parts.headers, "x-github-delivery");
    let answer = |code: StatusCode, result: &str, reason: String| {
        (code, Json(json!({"delivery": delivery, "result": result, "reason": reason}))).into_response()
    };
    match text(&parts.headers, "x-github-event").as_str() {
        "push" => {}
        "ping" => {
            count("ignored");
            return answer(StatusCode::OK, "pong", "the secret is right".into());
        }
        _ => {
            count("ignored");
            return answer(StatusCode::ACCEPTED, "ignored", "only push events are of use".into());
        }
    }
    let push = match parse(&parts.headers, &body) {
        Ok(push) => push,
        Err(why) => {
            count("invalid");
            return error(StatusCode::BAD_REQUEST, &format!("the payload can't be read: {why}"));
        }
    };
    let Repository { full_name, clone_url, ssh_url, git_url, html_url } = push.repository;
    let urls: Vec<_> = [clone_url, ssh_url, git_url, html_url].into_iter().flatten().collect();
    let follows = |source: &&String| endpoint.hooks.follows(source, &full_name, &urls, &push.git_ref);
    let following: Vec<_> = verified.iter().filter(follows).collect();
    if following.is_empty() {
        count("ignored");
        let reason = format!("no source with this secret follows {} of {full_name}", push.git_ref);
        return answer(StatusCode::ACCEPTED, "ignored", reason);
    }
    for source in &following {
        endpoint.hooks.fetch(source);
    }
    count("queued");
    tracing::debug!(%delivery, repository = %full_name, sources = following.len(), "a push was announced");
    answer(StatusCode::ACCEPTED, "queued", format!("{} of the sources fetch", following.len()))
}

/// A body, and the room that it takes.
async fn read(body: Body) -> Result<(Bytes, Vec<SemaphorePermit<'static>>), Response> {
    let mut stream = body.into_data_stream();
    let (mut all, mut room) = (vec![], vec![]);
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else { return Err(error(StatusCode::BAD_REQUEST, "the delivery broke off")) };
        if all.len() + piece.len() > MAX_BODY {
            return Err(error(StatusCode::PAYLOAD_TOO_LARGE, "a delivery may have 25 MiB"));
        }
        while room.len() * PIECE < all.len() + piece.len() {
            let permit = ROOM.acquire().await;
            room.push(permit.map_err(|_| error(StatusCode::SERVICE_UNAVAILABLE, "shutting down"))?);
        }
        all.extend_from_slice(&piece);
    }
    Ok((all.into(), room))
}

/// The sources by secret: one secret is often shared, and need not be tried twice. An empty one would let anybody in.
fn usable(secrets: Vec<(String, Vec<Hidden>)>) -> HashMap<Hidden, Vec<String>> {
    let mut by_secret: HashMap<Hidden, Vec<String>> = HashMap::new();
    for (source, secrets) in secrets {
        for secret in secrets.into_iter().filter(|secret| !secret.expose().is_empty()) {
            by_secret.entry(secret).or_default().push(source.clone());
        }
    }
    by_secret
}

fn signature(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get("x-hub-signature-256")?.to_str().ok()?;
    hex::decode(value.strip_prefix("sha256=")?).ok().filter(|bytes| bytes.len() == 32)
}

/// The sources whose secret made `signature`. Every secret is tried, so the time tells nothing about which one fits.
fn verify(secrets: &HashMap<Hidden, Vec<String>>, signature: &[u8], body: &[u8]) -> Vec<String> {
    let mut verified = vec![];
    for (secret, sources) in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        if hmac::verify(&key, body, signature).is_ok() {
            verified.extend(sources.iter().cloned());
        }
    }
    verified.sort();
    verified.dedup();
    verified
}

/// JSON, or JSON in the field `payload` of a form: what GitHub sends unless told otherwise.
fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Push, String> {
    if !text(headers, CONTENT_TYPE.as_str()).starts_with("application/x-www-form-urlencoded") {
        return serde_json::from_slice(body).map_err(|error| error.to_string());
    }
    let form = std::str::from_utf8(body).map_err(|_| "the form is not text")?;
    // a URL's query has the format of a form
    let mut url = reqwest::Url::parse("http://localhost/").map_err(|error| error.to_string())?;
    url.set_query(Some(form));
    let payload = url.query_pairs().find(|(name, _)| name == "payload").ok_or("the form has no field payload")?.1;
    serde_json::from_str(&payload).map_err(|error| error.to_string())
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.chars().take(MAX_ID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "It's a Secret to Everybody";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn verified(secrets: &[(&str, &[&str])], body: &str) -> Vec<String> {
        let hidden = |list: &&[&str]| list.iter().map(|secret| Hidden::new(*secret)).collect();
        let secrets = secrets.iter().map(|(source, list)| ((*source).to_owned(), hidden(list))).collect();
        verify(&usable(secrets), &hex::decode(SIGNATURE).unwrap(), body.as_bytes())
    }

    #[test]
    fn the_published_example_verifies() {
        assert_eq!(verified(&[("a", &[SECRET])], "Hello, World!"), ["a"]);
        assert!(verified(&[("a", &[SECRET])], "Hello, World?").is_empty());
        assert!(verified(&[("a", &["another"])], "Hello, World!").is_empty());
    }

    #[test]
    fn an_old_secret_and_a_shared_one_verify_too() {
        let secrets: &[(&str, &[&str])] = &[("b", &["new", SECRET]), ("a", &[SECRET]), ("c", &["x"])];
        assert_eq!(verified(secrets, "Hello, World!"), ["a", "b"]);
    }

    #[test]
    fn an_empty_secret_is_none() {
        assert!(usable(vec![("a".into(), vec![Hidden::new("")])]).is_empty());
    }
}

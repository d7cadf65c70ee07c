//! What may be asked for by the endpoint: retry, rollback, suspend, resume. It is left as a wish on the record of the Stack, as the
//! command line does, and done by the Stack's actor; nothing is changed from here. Each request is written in the audit log.

use crate::record::{Answered, Want};
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::cluster::redactor::visible;
use crate::shell::web::asked::Asked;
use crate::shell::web::endpoint::{Endpoint, Shared, error};
use crate::shell::web::gate::Peer;
use crate::shell::web::page;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Form, Path, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

/// What can be asked for.
const ACTS: [&str; 4] = ["retry", "rollback", "suspend", "resume"];
/// Bytes of a request.
pub const MAX_BODY: usize = 8 * 1024;
/// Characters of a reason or of a commit.
const MAX_WORDS: usize = 500;

/// What a request says besides the act.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Details {
    /// Of a rollback: the commit to go back to.
    to: String,
    /// Of a suspension.
    reason: String,
    /// Of a retry: volumes that are gone are made anew, empty.
    accept_data_loss: bool,
}

impl Details {
    /// What is wanted.
    ///
    /// # Errors
    /// In words for who asks.
    fn want(self, act: &str) -> Result<Want, String> {
        let Self { to, reason, accept_data_loss } = self;
        for (name, given, of) in [
            ("to", !to.is_empty(), "rollback"),
            ("reason", !reason.is_empty(), "suspend"),
            ("acceptDataLoss", accept_data_loss, "retry"),
        ] {
            if given && act != of {
                return Err(format!("{name} belongs to {of}"));
            }
        }
        let short = |name: &str, text: String| {
            let text = visible(&text).trim().to_owned();
            if text.chars().count() > MAX_WORDS {
                return Err(format!("{name} may have {MAX_WORDS} characters"));
            }
            Ok(text)
        };
        match act {
            "retry" => Ok(Want::Retry { accept_data_loss }),
            "rollback" if to.trim().is_empty() => Err("name the commit to go back to: {\"to\": \"…\"}".into()),
            "rollback" => Ok(Want::RollBack { to: short("to", to)? }),
            "suspend" => Ok(Want::Suspend { reason: short("reason", reason)? }),
            "resume" => Ok(Want::Resume),
            _ => Err(format!("there is no {act:?}; there are {}", ACTS.join(", "))),
        }
    }
}

/// A wish that lies on the record.
struct Left {
    want: Want,
    id: String,
    /// Whether the Stack's actor has taken it.
    answered: bool,
}

/// What became of a request: left, or why not.
type Done = Result<Left, (StatusCode, String)>;

/// Who asks for what, for the audit log.
struct Request<'a> {
    endpoint: &'a Endpoint,
    asked: &'a Asked,
    peer: Peer,
    headers: &'a HeaderMap,
}

impl Request<'_> {
    /// Leaves the wish, waits for its answer, and writes it in the audit log.
    async fn carry_out(&self, act: &str, details: Result<Details, String>) -> Done {
        let (source, done) = self.ask(act, details).await;
        let (outcome, why, id) = match &done {
            Ok(Left { id, answered: true, .. }) => ("taken", "", id.as_str()),
            Ok(Left { id, answered: false, .. }) => ("not answered yet", "", id.as_str()),
            Err((_, why)) => ("refused", why.as_str(), ""),
        };
        let forwarded = self.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let forwarded: String = forwarded.chars().take(100).collect();
        let (act, stack): (String, String) = (visible(act).chars().take(50).collect(), self.asked.name().into());
        let (who, from) = (self.asked.visitor.name().unwrap_or("nobody known"), self.peer.ip().to_string());
        tracing::info!(target: "audit", audit = act, who, from, forwarded, source, stack, id, outcome, why, "asked by the endpoint");
        done
    }

    async fn ask(&self, act: &str, details: Result<Details, String>) -> (String, Done) {
        let nowhere = |code, why: &str| (String::new(), Err((code, why.into())));
        if !is_own(self.headers) {
            return nowhere(StatusCode::FORBIDDEN, "this comes from a page of another site");
        }
        let found = self.asked.known(&self.endpoint.board);
        let source = match found.as_slice() {
            [] => return nowhere(StatusCode::NOT_FOUND, "there is no such stack"),
            [(source, _)] => source.clone(),
            _ => {
                return nowhere(
                    StatusCode::MULTIPLE_CHOICES,
                    "several sources have a stack of this name; add ?source=",
                );
            }
        };
        let refused = |code, why: String| (source.clone(), Err((code, why)));
        let Some(name) = self.asked.visitor.acts_as(&source) else {
            let why = "this needs somebody who may act: act: true of a token or a group in `access`";
            return refused(StatusCode::FORBIDDEN, why.into());
        };
        let want = match details.and_then(|details| details.want(act)) {
            Ok(want) => want,
            Err(why) => return refused(StatusCode::BAD_REQUEST, why),
        };
        let Ok(_room) = self.endpoint.acts.try_acquire() else {
            return refused(StatusCode::TOO_MANY_REQUESTS, "too much is asked for at once; try again".into());
        };
        match self.endpoint.desk.ask(&source, self.asked.name(), want.clone(), name.to_owned()).await {
            Ok((_, Some(Answered { refused: Some(why), .. }))) => refused(StatusCode::CONFLICT, why),
            Ok((id, answer)) => (source, Ok(Left { want, id, answered: answer.is_some() })),
            Err(failure) => refused(code(&failure), failure.message),
        }
    }
}

fn code(failure: &Failure) -> StatusCode {
    match failure.kind {
        FailureKind::Usage | FailureKind::Final => StatusCode::CONFLICT,
        FailureKind::Transient | FailureKind::Unreachable | FailureKind::Forbidden => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether a request is no browser's, or comes from a page of this endpoint: a browser sends a password on behalf of any site.
/// Every browser since 2020 says where a POST comes from (Fetch Metadata; the `Origin` header of RFC 6454).
pub fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = text(HOST.as_str()).unwrap_or_default();
            !host.is_empty() && origin.split_once("://").is_some_and(|(_, of)| of == host)
        }
        (None, None) => true,
    }
}

/// `POST /api/v1/stacks/{name}/{act}`.
pub async fn api(
    State(endpoint): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    asked: Asked,
    Path((_, act)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let details = match body.as_ref() {
        [] => Ok(Details::default()),
        body => serde_json::from_slice(body).map_err(|error| format!("the body can't be read as JSON: {error}")),
    };
    let request = Request { endpoint: &endpoint, asked: &asked, peer, headers: &headers };
    match request.carry_out(&act, details).await {
        Ok(Left { want, id, answered }) => {
            let code = if answered { StatusCode::OK } else { StatusCode::ACCEPTED };
            (code, Json(json!({ "id": id, "wish": want, "answered": answered }))).into_response()
        }
        Err((code, why)) => error(code, &why),
    }
}

/// What the forms of a page send.
#[derive(Deserialize)]
pub struct Sent {
    act: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    reason: String,
}

/// `POST /stacks/{name}`: a form of the page.
pub async fn form(
    State(endpoint): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    asked: Asked,
    uri: Uri,
    headers: HeaderMap,
    Form(sent): Form<Sent>,
) -> Response {
    let Sent { act, to, reason } = sent;
    let request = Request { endpoint: &endpoint, asked: &asked, peer, headers: &headers };
    match request.carry_out(&act, Ok(Details { to, reason, accept_data_loss: false })).await {
        // back to the page that the form stood on
        Ok(_) => Redirect::to(&uri.to_string()).into_response(),
        Err((code, why)) => {
            let head = asked.visitor.head(&endpoint.cluster);
            let page = page::refused(head, asked.name(), &uri.to_string(), &why);
            (code, Html(page.into_string())).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_page_of_another_site_can_not_ask() {
        let is_own = |pairs: &[(&'static str, &str)]| {
            let all = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
            super::is_own(&all.collect())
        };
        let host = ("host", "hks.example:8080");
        assert!(is_own(&[host]) && is_own(&[]));
        assert!(is_own(&[host, ("sec-fetch-site", "same-origin"), ("origin", "https://hks.example:8080")]));
        assert!(is_own(&[host, ("sec-fetch-site", "none")]));
        for site in ["cross-site", "same-site", "", "x"] {
            assert!(!is_own(&[host, ("sec-fetch-site", site), ("origin", "https://hks.example:8080")]), "{site}");
        }
        assert!(is_own(&[host, ("origin", "http://hks.example:8080")]));
        for origin in ["http://hks.example", "https://evil.example", "null", "", "hks.example:8080"] {
            assert!(!is_own(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!is_own(&[("origin", "http://")]));
    }

    #[test]
    fn what_is_asked_for_is_read_exactly() {
        let want =
            |act: &str, text: &str| serde_json::from_str::<Details>(text).map_err(|error| error.to_string())?.want(act);
        assert_eq!(want("retry", "{}"), Ok(Want::Retry { accept_data_loss: false }));
        assert_eq!(want("retry", r#"{"acceptDataLoss": true}"#), Ok(Want::Retry { accept_data_loss: true }));
        assert_eq!(want("rollback", r#"{"to": " 4f1c2ab\n"}"#), Ok(Want::RollBack { to: "4f1c2ab".into() }));
        assert_eq!(want("suspend", "{}"), Ok(Want::Suspend { reason: String::new() }));
        assert_eq!(want("suspend", r#"{"reason": "a\u001b[2Jb"}"#), Ok(Want::Suspend { reason: "a[2Jb".into() }));
        assert_eq!(want("resume", "{}"), Ok(Want::Resume));
        let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(501));
        for (act, text, part) in [
            ("rollback", "{}", "name the commit"),
            ("resume", r#"{"reason": "x"}"#, "reason belongs to suspend"),
            ("suspend", long.as_str(), "500 characters"),
            ("retry", r#"{"force": true}"#, "unknown field"),
            ("destroy", "{}", "there are retry, rollback, suspend, resume"),
        ] {
            let said = want(act, text);
            assert!(said.as_ref().is_err_and(|why| why.contains(part)), "{act} {said:?}");
        }
    }
}

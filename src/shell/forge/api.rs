//! The API of GitHub and Gitea, as far as commit statuses need it: what a request may be answered, and what it means.

use super::{ForgeConfig, Known, MAX_PAUSE, Order, Said};
use crate::config::{ForgeKind, is_loopback};
use crate::ident::Revision;
use crate::report::{StatusState, shorten};
use crate::shell::{answer, clock};
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pages of existing statuses that are read at most.
const MAX_PAGES: usize = 10;
/// Bytes of an answer that are read at most.
const MAX_ANSWER: usize = 4 << 20;
/// A request may take this long.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why a request failed, which decides what happens next.
pub(super) enum Trouble {
    /// Repeating it can't help: this commit is left alone.
    Refused(String),
    /// The token, the permission or the address is wrong: everything waits.
    Denied(String),
    /// A limit, with the time to wait if it was told: everything waits.
    Limited(Option<Duration>, String),
    /// An error in an answer: the other commits go on.
    Failing(String),
    /// No answer: everything waits.
    Silent(String),
}

/// The forge's API.
pub(super) struct Api {
    pub(super) config: ForgeConfig,
    client: Client,
    base: Url,
}

impl Api {
    pub(super) fn new(config: ForgeConfig) -> anyhow::Result<Self> {
        let mut base = Url::parse(&config.api_url)?;
        let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT);
        let builder = builder.user_agent(concat!("hks/", env!("CARGO_PKG_VERSION")));
        // a proxy has no business between two processes of one machine
        let local = is_loopback(&config.api_url);
        let client = if local { builder.no_proxy() } else { builder }.build()?;
        let path = base.path_segments_mut().map_err(|()| anyhow::anyhow!("the API's URL must be http(s)"));
        path?.pop_if_empty().push("repos").extend(config.repository.split('/'));
        Ok(Self { config, client, base })
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        url
    }

    /// Posts a status, and says how long the forge wants to be left alone after it.
    pub(super) async fn write(&self, order: &Order) -> Result<Duration, Trouble> {
        let Said { state, description, target_url } = &order.said;
        let body = Row {
            id: None,
            state: (*state).into(),
            description: Some(description.clone()),
            target_url: target_url.clone(),
            context: self.config.context.clone(),
        };
        let request = self.client.post(self.url(&["statuses", order.revision.as_str()])).json(&body);
        self.ask(request).await.map(|(_, rest)| rest)
    }

    /// The newest status of our context, and how many of ours there are.
    pub(super) async fn look(&self, revision: &Revision) -> Result<Known, Trouble> {
        let size = match self.config.kind {
            ForgeKind::Github => 100,
            ForgeKind::Gitea => 50,
        };
        let mut ours: Vec<Row> = vec![];
        for page in 1..=MAX_PAGES {
            let mut url = self.url(&["commits", revision.as_str(), "statuses"]);
            match self.config.kind {
                ForgeKind::Github => url.set_query(Some(&format!("per_page={size}&page={page}"))),
                // what Gitea calls `leastindex` is the highest index first
                ForgeKind::Gitea => url.set_query(Some(&format!("limit={size}&page={page}&sort=leastindex"))),
            }
            let body = match self.ask(self.client.get(url)).await {
                Ok((body, _)) => body,
                // writing will say what is wrong, and better
                Err(Trouble::Refused(_) | Trouble::Denied(_)) => break,
                Err(trouble) => return Err(trouble),
            };
            let rows: Vec<Row> = serde_json::from_slice(&body)
                .map_err(|error| Trouble::Failing(format!("its list of statuses can't be read: {error}")))?;
            let last = rows.len() < size;
            ours.extend(rows.into_iter().filter(|row| row.context.eq_ignore_ascii_case(&self.config.context)));
            if last {
                break;
            }
        }
        let count = ours.len();
        // within a second Gitea's order by time says nothing, but ids grow
        let newest = ours.into_iter().rev().max_by_key(|row| row.id);
        let state = |word: &str| {
            let all = [StatusState::Success, StatusState::Pending, StatusState::Failure, StatusState::Error];
            all.into_iter().map(StatusState::word).find(|known| *known == word)
        };
        let newest = newest.and_then(|row| {
            let target_url = row.target_url.filter(|url| !url.is_empty());
            Some(Said { state: state(&row.state)?, description: row.description.unwrap_or_default(), target_url })
        });
        Ok(Known { newest, count, latched: false })
    }

    /// Sends `request` and sorts the answer: a body with the time to wait after it, or what went wrong.
    async fn ask(&self, request: RequestBuilder) -> Result<(Vec<u8>, Duration), Trouble> {
        let request = request.bearer_auth(self.config.token.expose());
        let request = match self.config.kind {
            ForgeKind::Github => {
                request.header(ACCEPT, "application/vnd.github+json").header("x-github-api-version", "2022-11-28")
            }
            ForgeKind::Gitea => request.header(ACCEPT, "application/json"),
        };
        let silent = |error: reqwest::Error| Trouble::Silent(format!("{:#}", anyhow::Error::new(error.without_url())));
        let mut response = request.send().await.map_err(silent)?;
        let (code, headers) = (response.status(), response.headers().clone());
        let (body, _) = answer::read(&mut response, MAX_ANSWER).await.map_err(silent)?;
        let exhausted = header(&headers, "x-ratelimit-remaining") == Some(0);
        let reset = header(&headers, "x-ratelimit-reset").filter(|_| exhausted).map(until);
        if code.is_success() {
            return Ok((body, reset.unwrap_or_default().min(MAX_PAUSE)));
        }
        let message = self.message(&body);
        let told = header(&headers, "retry-after").map(Duration::from_secs).or(reset);
        let limit = ["secondary rate limit", "abuse detection", "rate limit exceeded"];
        let limited = told.is_some() || exhausted || limit.iter().any(|words| message.to_lowercase().contains(words));
        // Gitea has no better answer for a commit that it does not have
        let unknown = self.config.kind == ForgeKind::Gitea && message.starts_with("GetCommit[");
        let message = format!("{}: {message}", code.as_u16());
        Err(match code {
            StatusCode::TOO_MANY_REQUESTS => Trouble::Limited(told, message),
            StatusCode::FORBIDDEN if limited => Trouble::Limited(told, message),
            StatusCode::UNAUTHORIZED => Trouble::Denied(format!("the token is not valid, replace it: {message}")),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Trouble::Denied(format!(
                "the token may not write statuses of {}, or there is no such repository; give it {}: {message}",
                self.config.repository,
                match self.config.kind {
                    ForgeKind::Github => "the permission \"Commit statuses: write\" (or the scope repo:status)",
                    ForgeKind::Gitea => "the scope write:repository",
                }
            )),
            code if code.is_redirection() => Trouble::Denied(format!(
                "the address answers with a redirect, which is not followed; correct forge.apiUrl or forge.repository: \
                 {message}"
            )),
            _ if unknown => Trouble::Refused(message),
            code if code.is_server_error() || code == StatusCode::REQUEST_TIMEOUT => match told {
                Some(_) => Trouble::Limited(told, message),
                None => Trouble::Failing(message),
            },
            _ => Trouble::Refused(message),
        })
    }

    /// What the forge says, in one line and without the token, whatever it echoes.
    fn message(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let mut message = value["message"].as_str().unwrap_or(&text).to_owned();
        let errors = value["errors"].as_array().into_iter().flatten();
        for error in errors.filter_map(|error| error["message"].as_str().or(error.as_str())) {
            message = format!("{message}; {error}");
        }
        shorten(&message.replace(self.config.token.expose(), "<token>"), 300)
    }
}

/// A status as forges write it.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(skip_serializing)]
    id: Option<u64>,
    #[serde(alias = "status")]
    state: String,
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<String>,
    #[serde(default)]
    context: String,
}

fn header(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// How long until this second of the Unix epoch has passed.
fn until(second: u64) -> Duration {
    let at = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second.saturating_add(1)).ok());
    at.map_or(MAX_PAUSE, clock::until)
}

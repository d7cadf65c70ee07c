//! The poster against a receiver on loopback that enforces what GitHub enforces. No test waits for a fixed time: each
//! waits for what must happen, with a patience that only a failure uses up.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hks::config::ForgeKind;
use hks::ident::Revision;
use hks::report::{Status, StatusState};
use hks::shell::credential::Hidden;
use hks::shell::forge::{ForgeConfig, Poster};
use hks::shell::metrics::{Metrics, OutcomeLabels};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

const TOKEN: &str = "ghs_canary-5f1c";
const CONTEXT: &str = "hks/test/deploy";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Forge {
    /// Oldest first.
    rows: Vec<Value>,
    /// Answers to the next writes, whatever they are, before any check.
    script: VecDeque<Answer>,
    gap: Duration,
    last_write: Option<Instant>,
    /// When each write came.
    writes: Vec<Instant>,
    lists: usize,
    /// What went over a limit: it must stay empty.
    violations: Vec<String>,
}

struct Answer {
    code: u16,
    headers: Vec<(&'static str, String)>,
    message: String,
    /// The status is stored all the same: its answer was lost.
    applied: bool,
}

impl Answer {
    fn new(code: u16, message: &str) -> Self {
        Self { code, headers: vec![], message: message.into(), applied: false }
    }
    fn header(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

type Shared = Arc<Mutex<Forge>>;

fn open(forge: &Shared) -> MutexGuard<'_, Forge> {
    forge.lock().unwrap()
}

fn refuse(code: u16, message: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), Json(json!({ "message": message }))).into_response()
}

fn authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

async fn create(
    State(forge): State<Shared>,
    Path((owner, name, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut forge = open(&forge);
    let now = Instant::now();
    forge.writes.push(now);
    let early = forge.last_write.replace(now).is_some_and(|last| now.duration_since(last) < forge.gap);
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let row = json!({
        "id": forge.rows.len() + 1, "sha": sha, "state": text("state"), "description": text("description"),
        "target_url": body["target_url"], "context": text("context"),
    });
    if let Some(answer) = forge.script.pop_front() {
        if answer.applied {
            forge.rows.push(row);
        }
        let mut response = refuse(answer.code, &answer.message);
        for (name, value) in answer.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    let url = text("target_url");
    let same = |row: &&Value| row["sha"] == sha.as_str() && row["context"] == body["context"];
    let refusal = if !authorized(&headers) {
        Some((401, "Bad credentials"))
    } else if (owner.as_str(), name.as_str()) != ("acme", "shop") {
        Some((404, "Not Found"))
    } else if early {
        Some((403, "You have exceeded a secondary rate limit."))
    } else if sha.len() != 40 {
        Some((422, "No commit found for SHA"))
    } else if text("description").chars().count() > 140 {
        Some((422, "description is too long (maximum is 140 characters)"))
    } else if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
        Some((422, "target_url must use http(s) scheme"))
    } else if !["success", "pending", "failure", "error"].contains(&text("state").as_str()) {
        Some((422, "state is not included in the list"))
    } else if forge.rows.iter().filter(same).count() >= 1000 {
        Some((422, "This SHA and context has reached the maximum number of statuses."))
    } else {
        None
    };
    if let Some((code, message)) = refusal {
        forge.violations.push(message.into());
        return refuse(code, message);
    }
    forge.rows.push(row.clone());
    (StatusCode::CREATED, Json(row)).into_response()
}

async fn list(
    State(forge): State<Shared>,
    Path((_, _, sha)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, usize>>,
    headers: HeaderMap,
) -> Response {
    if !authorized(&headers) {
        return refuse(401, "Bad credentials");
    }
    let mut forge = open(&forge);
    forge.lists += 1;
    let (size, page) = (query["per_page"], query["page"]);
    let rows = forge.rows.iter().rev().filter(|row| row["sha"] == sha.as_str());
    Json(rows.skip((page - 1) * size).take(size).cloned().collect::<Vec<_>>()).into_response()
}

/// A receiver and the configuration of a poster to it, with waits short enough for tests.
async fn forge() -> (Shared, ForgeConfig) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shared = Shared::default();
    let router = Router::new()
        .route("/repos/{owner}/{name}/statuses/{sha}", post(create))
        .route("/repos/{owner}/{name}/commits/{sha}/statuses", get(list))
        .with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut config = ForgeConfig::new(ForgeKind::Github, url, "acme/shop", Hidden::new(TOKEN), CONTEXT);
    config.gap = Duration::from_millis(20);
    config.retry = Duration::from_millis(10);
    config.pause = Duration::from_millis(200);
    open(&shared).gap = config.gap;
    (shared, config)
}

fn sha(number: usize) -> String {
    format!("{number:040x}")
}

fn status(sha: &str, state: StatusState, description: &str) -> Status {
    Status { revision: Revision::new(sha), state, description: description.into() }
}

fn count(metrics: &Metrics, result: &'static str) -> u64 {
    metrics.statuses.get_or_create(&OutcomeLabels { result }).get()
}

fn rows(forge: &Shared) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    open(forge).rows.iter().map(|row| (text(row, "state"), text(row, "description"))).collect()
}

/// Waits for a condition of the receiver.
async fn until(forge: &Shared, condition: impl Fn(&Forge) -> bool) {
    let wait = async {
        while !condition(&open(forge)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the condition never came true");
}

#[tokio::test]
async fn what_is_equal_is_posted_once_and_writes_keep_their_distance() {
    let (forge, config) = forge().await;
    let metrics = Arc::new(Metrics::default());
    let poster = Poster::start(config, Arc::clone(&metrics));
    for number in 0..5 {
        poster.post(status(&sha(number), StatusState::Pending, "deploying"), Some("https://hks.example/".into()));
    }
    poster.flush(PATIENCE).await;
    poster.post(status(&sha(0), StatusState::Pending, "deploying"), Some("https://hks.example/".into()));
    poster.flush(PATIENCE).await;
    poster.post(status(&sha(0), StatusState::Success, "1 app ready in 3s"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(rows(&forge).len(), 6);
    assert_eq!(open(&forge).rows[0]["context"], CONTEXT);
    assert_eq!(open(&forge).rows[0]["target_url"], "https://hks.example/");
    assert_eq!(open(&forge).rows[5]["target_url"], Value::Null);
    assert_eq!((count(&metrics, "posted"), count(&metrics, "deduped")), (6, 1));
    assert_eq!(open(&forge).violations, [""; 0]);
}

#[tokio::test]
async fn only_the_latest_of_a_commit_waits() {
    let (forge, mut config) = forge().await;
    config.gap = Duration::from_millis(100);
    let poster = Poster::start(config, Arc::default());
    poster.post(status(&sha(1), StatusState::Pending, "first"), None);
    until(&forge, |forge| forge.rows.len() == 1).await;
    for number in 0..50 {
        poster.post(status(&sha(1), StatusState::Pending, &format!("step {number}")), None);
    }
    poster.post(status(&sha(1), StatusState::Failure, "rolled back"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(rows(&forge), [("pending".into(), "first".into()), ("failure".into(), "rolled back".into())]);
}

#[tokio::test]
async fn only_what_is_pending_is_ended() {
    let (forge, config) = forge().await;
    let row = |number, state| json!({"sha": sha(number), "state": state, "context": CONTEXT, "description": "before", "target_url": null});
    open(&forge).rows.extend([row(1, "pending"), row(2, "success"), row(3, "pending"), row(3, "failure")]);
    let poster = Poster::start(config, Arc::default());
    for number in 1..5 {
        poster.end(status(&sha(number), StatusState::Error, "superseded"), None);
    }
    poster.flush(PATIENCE).await;
    let said: Vec<_> = open(&forge).rows[4..].iter().map(|row| row["sha"].clone()).collect();
    assert_eq!(said, [sha(1)], "of the others the end is known, or nothing was said");
    // who does say something of it later is heard
    poster.post(status(&sha(2), StatusState::Failure, "rolled back"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(rows(&forge).last(), Some(&("failure".into(), "rolled back".into())));
}

#[tokio::test]
async fn a_restarted_daemon_does_not_repeat_itself() {
    let (forge, config) = forge().await;
    let poster = Poster::start(config.clone(), Arc::default());
    poster.post(status(&sha(1), StatusState::Success, "1 app ready in 3s"), None);
    poster.flush(PATIENCE).await;
    // others post under their own contexts, many of them later
    for number in 0..150 {
        open(&forge).rows.push(json!({"sha": sha(1), "state": "success", "context": format!("ci/{number}"),
            "description": null, "target_url": null}));
    }
    let metrics = Arc::new(Metrics::default());
    // a new process does not know when the one before it last wrote
    open(&forge).gap = Duration::ZERO;
    let again = ForgeConfig { context: CONTEXT.to_uppercase(), ..config };
    let poster = Poster::start(again, Arc::clone(&metrics));
    poster.post(status(&sha(1), StatusState::Success, "1 app ready in 3s"), None);
    poster.flush(PATIENCE).await;
    assert_eq!((count(&metrics, "deduped"), count(&metrics, "posted")), (1, 0));
    assert_eq!(open(&forge).writes.len(), 1);
    let lists = open(&forge).lists;
    poster.post(status(&sha(1), StatusState::Pending, "again"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(open(&forge).writes.len(), 2);
    assert_eq!(open(&forge).lists, lists, "one look at a commit is enough");
}

#[tokio::test]
async fn limits_of_text_and_links_are_kept() {
    let (forge, config) = forge().await;
    let poster = Poster::start(config, Arc::default());
    poster.post(status(&sha(1), StatusState::Error, &"ü".repeat(500)), Some("javascript:alert(1)".into()));
    poster.flush(PATIENCE).await;
    assert_eq!(rows(&forge)[0].1.chars().count(), 140);
    assert_eq!(open(&forge).violations, [""; 0]);
}

#[tokio::test]
async fn a_refused_commit_is_left_alone_and_others_go_on() {
    let (forge, config) = forge().await;
    let metrics = Arc::new(Metrics::default());
    let poster = Poster::start(config, Arc::clone(&metrics));
    poster.post(status("gone", StatusState::Pending, "deploying"), None);
    poster.flush(PATIENCE).await;
    poster.post(status("gone", StatusState::Success, "done"), None);
    poster.post(status(&sha(2), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(open(&forge).writes.len(), 2);
    assert_eq!(rows(&forge).len(), 1);
    assert_eq!((count(&metrics, "failed"), count(&metrics, "posted")), (2, 1));
}

#[tokio::test]
async fn a_commit_with_900_own_statuses_gets_no_more() {
    let (forge, config) = forge().await;
    for number in 0..900 {
        let row = json!({"id": number, "sha": sha(1), "state": "pending", "context": CONTEXT,
            "description": format!("{number}"), "target_url": null});
        open(&forge).rows.push(row);
    }
    let metrics = Arc::new(Metrics::default());
    let poster = Poster::start(config, Arc::clone(&metrics));
    poster.post(status(&sha(1), StatusState::Pending, "one more"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(open(&forge).writes.len(), 0);
    assert_eq!(count(&metrics, "failed"), 1);
}

#[tokio::test]
async fn errors_of_the_forge_are_retried_and_hold_up_only_their_commit() {
    let (forge, config) = forge().await;
    open(&forge).script.extend([500, 502, 503].map(|code| Answer::new(code, "oops")));
    let metrics = Arc::new(Metrics::default());
    let poster = Poster::start(config, Arc::clone(&metrics));
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    poster.post(status(&sha(2), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(rows(&forge).len(), 2);
    assert_eq!((open(&forge).writes.len(), count(&metrics, "posted")), (5, 2));
    assert_eq!(open(&forge).violations, [""; 0]);
}

#[tokio::test]
async fn a_lost_answer_does_not_lead_to_a_second_post() {
    let (forge, config) = forge().await;
    open(&forge).script.push_back(Answer { applied: true, ..Answer::new(502, "bad gateway") });
    let metrics = Arc::new(Metrics::default());
    let poster = Poster::start(config, Arc::clone(&metrics));
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    assert_eq!((rows(&forge).len(), open(&forge).writes.len()), (1, 1));
    assert_eq!(count(&metrics, "deduped"), 1);
}

#[tokio::test]
async fn a_limit_is_waited_for_as_told() {
    let (forge, config) = forge().await;
    open(&forge).script.extend([
        Answer::new(403, "You have exceeded a secondary rate limit.").header("retry-after", &1),
        Answer::new(429, "slow down").header("retry-after", &1),
        // names no time, so the pause of the configuration counts
        Answer::new(403, "You have exceeded a secondary rate limit."),
    ]);
    let poster = Poster::start(config.clone(), Arc::default());
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    poster.post(status(&sha(2), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    assert_eq!(rows(&forge).len(), 2);
    let forge = open(&forge);
    let waits: Vec<_> = forge.writes.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    assert!(waits[0] >= Duration::from_secs(1) && waits[1] >= Duration::from_secs(1), "{waits:?}");
    assert!(waits[2] >= config.pause, "{waits:?}");
    assert_eq!(forge.violations, [""; 0]);
}

#[tokio::test]
async fn the_primary_limit_is_waited_for_until_its_reset() {
    let (forge, config) = forge().await;
    let now = hks::shell::clock::now().as_second();
    let exhausted = Answer::new(403, "API rate limit exceeded for installation ID 1.");
    let exhausted = exhausted.header("x-ratelimit-remaining", &0).header("x-ratelimit-reset", &(now + 1));
    open(&forge).script.push_back(exhausted);
    let poster = Poster::start(config, Arc::default());
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    let after = hks::shell::clock::now().as_second();
    assert!(after > now, "the reset had not passed");
    assert_eq!(rows(&forge).len(), 1);
}

#[tokio::test]
async fn a_wrong_token_is_tried_seldom_and_lets_nothing_else_wait() {
    let (forge, mut config) = forge().await;
    config.token = Hidden::new("wrong");
    config.pause = Duration::from_mins(10);
    let poster = Poster::start(config, Arc::default());
    for number in 0..20 {
        poster.post(status(&sha(number), StatusState::Success, "done"), None);
    }
    until(&forge, |forge| forge.writes.len() == 1).await;
    poster.flush(Duration::from_millis(200)).await;
    assert_eq!(open(&forge).writes.len(), 1, "one try is enough to know");
}

#[tokio::test]
async fn a_permission_that_comes_later_is_used() {
    let (forge, config) = forge().await;
    open(&forge).script.push_back(Answer::new(404, "Not Found"));
    open(&forge).script.push_back(Answer::new(403, "Resource not accessible by personal access token"));
    let poster = Poster::start(config, Arc::default());
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    assert_eq!((rows(&forge).len(), open(&forge).writes.len()), (1, 3));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (forge, config) = forge().await;
    open(&forge)
        .script
        .push_back(Answer::new(307, "Moved").header("location", &format!("{}/elsewhere", config.api_url)));
    let poster = Poster::start(config, Arc::default());
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    poster.flush(PATIENCE).await;
    assert_eq!((rows(&forge).len(), open(&forge).writes.len()), (1, 2));
}

#[tokio::test]
async fn a_full_queue_drops_pending_statuses_before_final_ones() {
    let (forge, mut config) = forge().await;
    // the first write starts a long pause, so that everything else waits
    config.pause = Duration::from_millis(500);
    config.gap = Duration::ZERO;
    open(&forge).gap = Duration::ZERO;
    open(&forge).script.push_back(Answer::new(429, "slow down"));
    let metrics = Arc::new(Metrics::default());
    let poster = Poster::start(config, Arc::clone(&metrics));
    poster.post(status(&sha(0), StatusState::Success, "final"), None);
    until(&forge, |forge| forge.writes.len() == 1).await;
    for number in 1..=1200 {
        let state = if number == 5 { StatusState::Failure } else { StatusState::Pending };
        poster.post(status(&sha(number), state, "x"), None);
    }
    assert_eq!(count(&metrics, "dropped"), 201);
    poster.flush(PATIENCE).await;
    let rows = rows(&forge);
    assert_eq!(rows.len(), 1000);
    let finals: Vec<_> = rows.iter().filter(|(state, _)| state != "pending").map(|(state, _)| state.as_str()).collect();
    assert_eq!(finals, ["success", "failure"]);
}

#[tokio::test]
async fn what_waits_is_posted_after_the_last_handle_is_gone() {
    let (forge, config) = forge().await;
    let poster = Poster::start(config, Arc::default());
    poster.post(status(&sha(1), StatusState::Success, "done"), None);
    drop(poster);
    until(&forge, |forge| forge.rows.len() == 1).await;
}

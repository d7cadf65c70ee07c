//! Whether everything an application needs answers: as JSON for a probe, and as a line in the log when it changes.

use std::time::Duration;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time::timeout};

use crate::{Fault, certificates, database::Database, explain, queue::Redis};

/// Less than the time that most probes allow for an answer.
const LIMIT: Duration = Duration::from_secs(2);

pub enum Need {
    Database(Option<Database>),
    Redis(Option<Redis>),
    Certificates,
}

#[derive(Clone, PartialEq)]
enum State {
    Ok,
    NotSet,
    Failing(String),
}

pub struct Component {
    name: &'static str,
    need: Need,
    reported: Mutex<Option<State>>,
}

impl Component {
    pub fn new(name: &'static str, need: Need) -> Self {
        Self { name, need, reported: Mutex::new(None) }
    }

    async fn state(&self) -> State {
        let state = match timeout(LIMIT, self.check()).await {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => State::Failing(explain(&*error)),
            Err(_) => State::Failing("no answer in time".to_owned()),
        };
        let mut reported = self.reported.lock().await;
        if reported.as_ref() != Some(&state) {
            match &state {
                State::Ok => println!("{}: ok", self.name),
                State::NotSet => eprintln!("{}: not set", self.name),
                State::Failing(why) => eprintln!("{}: {why}", self.name),
            }
            *reported = Some(state.clone());
        }
        state
    }

    async fn check(&self) -> Result<State, Fault> {
        match &self.need {
            Need::Database(None) | Need::Redis(None) => return Ok(State::NotSet),
            Need::Database(Some(database)) => database.ping().await?,
            Need::Redis(Some(redis)) => redis.ping().await?,
            Need::Certificates => certificates::check_all()?,
        }
        Ok(State::Ok)
    }
}

/// 200 when every component answers, else 503. Why one does not is for the log alone.
pub async fn report(components: &[Component]) -> Response {
    let states = join_all(components.iter().map(Component::state)).await;
    let well = states.iter().all(|state| *state == State::Ok);
    let components: Map<_, _> =
        components.iter().zip(&states).map(|(of, state)| (of.name.to_owned(), word(state))).collect();
    let (code, text) = if well { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (code, Json(json!({"status": text, "components": components}))).into_response()
}

fn word(state: &State) -> Value {
    match state {
        State::Ok => "ok".into(),
        State::NotSet => "not set".into(),
        State::Failing(_) => "failing".into(),
    }
}

/// The process is well, whatever the rest of the world does: restarting it would not help the rest.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// What a client gets to see when something fails; the details go to the log.
pub struct Failure(Fault);

impl<E: Into<Fault>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        eprintln!("request failed: {}", explain(&*self.0));
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": "something this needs is not reachable"})))
            .into_response()
    }
}

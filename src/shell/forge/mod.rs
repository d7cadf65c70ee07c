//! Posts commit statuses to GitHub or Gitea: one serial task for each source, which never holds up anything else.
//!
//! Every post is a new row at the forge, of which it keeps at most 1,000 for each commit and context, and posting too
//! fast gets the token banned. So only the newest status of a commit waits, one equal to the newest at the forge is not
//! repeated, even after a restart, and what the forge says about its limits is obeyed.

mod api;
pub mod statuses;

use crate::config::ForgeKind;
use crate::ident::Revision;
use crate::report::{MAX_DESCRIPTION, Status, StatusState, shorten};
use crate::shell::credential::Hidden;
use crate::shell::metrics::{Metrics, OutcomeLabels};
use api::{Api, Trouble};
use reqwest::Url;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Commits whose status may wait.
const MAX_WAITING: usize = 1000;
/// Commits whose newest status is remembered; more than may wait.
const MAX_KNOWN: usize = 2000;
/// Own statuses of one commit; GitHub refuses the 1,001st, and the rest is room for a second daemon.
const MAX_OF_COMMIT: usize = 900;
/// Longest wait after an error of the forge.
const MAX_RETRY: Duration = Duration::from_mins(1);
/// Longest wait for a limit or a permission.
const MAX_PAUSE: Duration = Duration::from_hours(1);
/// A status that the forge answers with errors for this long is given up.
const GIVE_UP: Duration = Duration::from_hours(24);
/// What is still waiting when the source ends gets this long.
const LAST_WORDS: Duration = Duration::from_mins(1);

/// Where and as whom statuses are posted.
#[derive(Clone)]
pub struct ForgeConfig {
    /// Kind of the forge.
    pub kind: ForgeKind,
    /// Such as `https://api.github.com` or `https://HOST/api/v1`.
    pub api_url: String,
    /// `owner/name`.
    pub repository: String,
    /// Token that may write commit statuses.
    pub token: Hidden,
    /// Such as `hks/prod/deploy`; forges compare it without regard to case.
    pub context: String,
    /// Least time between requests.
    pub gap: Duration,
    /// First wait after an error of the forge; it doubles up to a minute.
    pub retry: Duration,
    /// First wait after a refusal, or a limit that names no time; it doubles up to an hour.
    pub pause: Duration,
}

impl ForgeConfig {
    /// With the forge's own limits: GitHub asks for a second between writes.
    pub fn new(
        kind: ForgeKind,
        api_url: impl Into<String>,
        repository: impl Into<String>,
        token: Hidden,
        context: impl Into<String>,
    ) -> Self {
        let gap = match kind {
            ForgeKind::Github => Duration::from_secs(1),
            ForgeKind::Gitea => Duration::ZERO,
        };
        Self {
            kind,
            api_url: api_url.into(),
            repository: repository.into(),
            token,
            context: context.into(),
            gap,
            retry: Duration::from_secs(1),
            pause: Duration::from_mins(1),
        }
    }
}

/// Posts statuses in the background. When the last clone is gone, the task ends after what was still waiting.
#[derive(Clone)]
pub struct Poster {
    shared: Arc<Shared>,
    /// Closes with the last clone.
    _alive: mpsc::Sender<Infallible>,
}

struct Shared {
    /// Oldest first.
    queue: Mutex<VecDeque<Order>>,
    wake: Notify,
    waiting: watch::Sender<usize>,
    metrics: Arc<Metrics>,
}

/// What is told of a commit; two equal ones in a row are one too many.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    state: &'static str,
    description: String,
    target_url: Option<String>,
}

impl Said {
    fn new(status: &Status, target_url: Option<String>) -> Self {
        let http = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        let description = shorten(&status.description, MAX_DESCRIPTION);
        Self { state: status.state.word(), description, target_url: target_url.filter(http) }
    }
}

#[derive(Clone)]
struct Order {
    revision: Revision,
    said: Said,
    /// Only where the newest status at the forge is pending.
    ends: bool,
    /// Failed tries, and not before when the next one comes.
    tries: u32,
    due: Instant,
    since: Instant,
}

impl Poster {
    /// Starts the task. It must be called inside of a tokio runtime.
    pub fn start(config: ForgeConfig, metrics: Arc<Metrics>) -> Self {
        let shared =
            Arc::new(Shared { queue: Mutex::default(), wake: Notify::new(), waiting: watch::channel(0).0, metrics });
        let (alive, closed) = mpsc::channel(1);
        match Api::new(config) {
            Ok(api) => drop(tokio::spawn(Worker::new(api, Arc::clone(&shared)).run(closed))),
            Err(error) => tracing::error!(%error, "failed to set up commit statuses; correct forge.apiUrl"),
        }
        Self { shared, _alive: alive }
    }

    /// Takes `status` in place of an earlier one of the same commit that still waits. It never blocks. A `target_url`
    /// that is not http(s) is left out, since forges refuse it.
    pub fn post(&self, status: Status, target_url: Option<String>) {
        let said = Said::new(&status, target_url);
        self.shared.add(status.revision, said, false);
    }

    /// Takes the end of a commit that this daemon knows nothing else of: it is posted if the newest status at the forge is pending.
    pub fn end(&self, status: Status, target_url: Option<String>) {
        let said = Said::new(&status, target_url);
        self.shared.add(status.revision, said, true);
    }

    /// Waits until nothing waits any more or `patience` has passed.
    pub async fn flush(&self, patience: Duration) {
        let mut waiting = self.shared.waiting.subscribe();
        let done = timeout(patience, waiting.wait_for(|waiting| *waiting == 0)).await.is_ok();
        if !done {
            tracing::warn!(waiting = *self.shared.waiting.borrow(), "commit statuses are still waiting");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, revision: Revision, said: Said, ends: bool) {
        let now = Instant::now();
        let mut queue = self.lock();
        let is_full = queue.len() >= MAX_WAITING;
        match queue.iter_mut().find(|order| order.revision == revision) {
            // whoever says something of a commit knows more of it
            Some(_) if ends => return,
            Some(order) => (order.said, order.since, order.ends) = (said, now, false),
            None if ends && is_full => return,
            None => queue.push_back(Order { revision, said, ends, tries: 0, due: now, since: now }),
        }
        if queue.len() > MAX_WAITING {
            // an end is worth more than a middle
            let pending = |order: &Order| order.said.state == StatusState::Pending.word();
            let victim = queue.iter().position(pending).unwrap_or(0);
            queue.remove(victim);
            self.count("dropped");
        }
        self.waiting.send_replace(queue.len());
        drop(queue);
        self.wake.notify_one();
    }

    /// Takes `order` away unless it was replaced meanwhile.
    fn remove(&self, order: &Order) {
        let mut queue = self.lock();
        queue.retain(|other| other.revision != order.revision || other.said != order.said);
        self.waiting.send_replace(queue.len());
    }

    fn postpone(&self, revision: &Revision, wait: Duration) {
        if let Some(order) = self.lock().iter_mut().find(|order| order.revision == *revision) {
            (order.tries, order.due) = (order.tries.saturating_add(1), Instant::now() + wait);
        }
    }

    fn count(&self, result: &'static str) {
        self.metrics.statuses.get_or_create(&OutcomeLabels { result }).inc();
    }
}

/// What is known of a commit at the forge.
#[derive(Clone, Default)]
struct Known {
    newest: Option<Said>,
    count: usize,
    latched: bool,
}

struct Worker {
    api: Api,
    shared: Arc<Shared>,
    known: VecDeque<(Revision, Known)>,
    /// Nothing is sent before.
    next: Instant,
    /// Troubles of the forge as a whole in a row.
    troubles: u32,
    logged: String,
}

impl Worker {
    fn new(api: Api, shared: Arc<Shared>) -> Self {
        Self { api, shared, known: VecDeque::new(), next: Instant::now(), troubles: 0, logged: String::new() }
    }

    async fn run(mut self, mut closed: mpsc::Receiver<Infallible>) {
        let mut end = None;
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                tracing::warn!(waiting = self.shared.lock().len(), "commit statuses were left behind");
                return;
            }
            let first = self.shared.lock().iter().min_by_key(|order| order.due.max(now)).cloned();
            let until = match (&first, end) {
                (Some(order), _) if order.due.max(self.next) <= now => {
                    self.handle(order).await;
                    continue;
                }
                (Some(order), end) => Some(order.due.max(self.next).min(end.unwrap_or(now + MAX_PAUSE))),
                (None, Some(_)) => return,
                (None, None) => None,
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep_until(until.unwrap_or(now + MAX_PAUSE)) => {}
                _ = closed.recv(), if end.is_none() => end = Some(Instant::now() + LAST_WORDS),
            }
        }
    }

    async fn handle(&mut self, order: &Order) {
        let done = self.deliver(order).await;
        let trouble = match done {
            Ok(result) => {
                self.shared.remove(order);
                self.shared.count(result);
                if result == "posted" {
                    self.troubles = 0;
                    self.logged.clear();
                }
                return;
            }
            Err(trouble) => trouble,
        };
        let (now, config) = (Instant::now(), &self.api.config);
        let backoff = |first: Duration, times: u32, most: Duration| first.saturating_mul(1 << times.min(16)).min(most);
        let message = match trouble {
            Trouble::Refused(message) => {
                self.shared.remove(order);
                self.shared.count("failed");
                let known = Known { latched: true, ..self.known(&order.revision).unwrap_or_default() };
                self.know(&order.revision, known);
                format!("the forge refuses statuses of this commit, no more are posted: {message}")
            }
            Trouble::Failing(message) if now.duration_since(order.since) > GIVE_UP => {
                self.shared.remove(order);
                self.shared.count("failed");
                format!("gave up after a day: {message}")
            }
            Trouble::Failing(message) => {
                let wait = backoff(config.retry, order.tries, MAX_RETRY);
                self.shared.postpone(&order.revision, jitter(wait));
                format!("the forge has a problem, trying again: {message}")
            }
            Trouble::Silent(message) => {
                self.next = self.next.max(now + jitter(backoff(config.retry, self.troubles, MAX_RETRY)));
                self.troubles = self.troubles.saturating_add(1);
                format!("the forge does not answer, trying again: {message}")
            }
            Trouble::Denied(message) => {
                self.next = self.next.max(now + backoff(config.pause, self.troubles, MAX_PAUSE));
                self.troubles = self.troubles.saturating_add(1);
                message
            }
            Trouble::Limited(told, message) => {
                let wait = told.unwrap_or_else(|| backoff(config.pause, self.troubles, MAX_PAUSE)).min(MAX_PAUSE);
                self.next = self.next.max(now + wait);
                self.troubles = self.troubles.saturating_add(1);
                format!("a limit of the forge was reached, waiting {} s: {message}", wait.as_secs())
            }
        };
        if self.logged != message {
            let (repository, commit) = (&self.api.config.repository, order.revision.short());
            tracing::warn!(%repository, %commit, "failed to post a commit status: {message}");
            self.logged = message;
        }
    }

    /// `posted`, `deduped` or `failed`.
    async fn deliver(&mut self, order: &Order) -> Result<&'static str, Trouble> {
        let mut known = match self.known(&order.revision) {
            Some(known) => known,
            None => self.api.look(&order.revision).await?,
        };
        self.know(&order.revision, known.clone());
        if known.latched {
            return Ok("failed");
        }
        let is_pending = |said: &Said| said.state == StatusState::Pending.word();
        let has_ended = order.ends && !known.newest.as_ref().is_some_and(is_pending);
        if known.newest.as_ref() == Some(&order.said) || has_ended {
            return Ok("deduped");
        }
        if known.count >= MAX_OF_COMMIT {
            return Err(Trouble::Refused(format!("it has {} of them already", known.count)));
        }
        let written = self.api.write(order).await;
        self.next = self.next.max(Instant::now() + self.api.config.gap);
        match written {
            Ok(rest) => self.next = self.next.max(Instant::now() + rest),
            Err(trouble) => {
                if matches!(trouble, Trouble::Failing(_) | Trouble::Silent(_)) {
                    // it may have arrived all the same, so look before it is repeated
                    self.known.retain(|(revision, _)| *revision != order.revision);
                }
                return Err(trouble);
            }
        }
        (known.newest, known.count) = (Some(order.said.clone()), known.count + 1);
        self.know(&order.revision, known);
        Ok("posted")
    }

    fn known(&self, revision: &Revision) -> Option<Known> {
        self.known.iter().find(|(other, _)| other == revision).map(|(_, known)| known.clone())
    }

    fn know(&mut self, revision: &Revision, known: Known) {
        self.known.retain(|(other, _)| other != revision);
        self.known.push_back((revision.clone(), known));
        if self.known.len() > MAX_KNOWN {
            self.known.pop_front();
        }
    }
}

/// Between half of `wait` and all of it, so that many sources don't come back at the same moment.
fn jitter(wait: Duration) -> Duration {
    let share = u32::try_from(RandomState::new().hash_one(0_u8) % 512).unwrap_or(0);
    wait / 2 + wait / 2 * share / 512
}

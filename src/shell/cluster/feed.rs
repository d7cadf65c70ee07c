//! The watches of a cluster: of each topic one over all of its projects where hks may see the whole cluster, else one for each
//! project. Each is for itself: one that fails says why, goes on trying, and says when it is well again.

use crate::shell::clock;
use crate::shell::cluster::bounds::Excess;
use crate::shell::cluster::failure::root;
use crate::shell::cluster::project::{Project, Seen, Topic, read_unread, watch_taken};
use crate::shell::cluster::watch::{QUIET, UNSERVED, Waits, begins_anew, is_denied};
use crate::shell::pace::{Share, pause};
use crate::shell::supervise;
use futures::future::{BoxFuture, poll_fn};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use kube::Client;
use kube::runtime::watcher::{self, Event};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How long until a cluster is asked again that did not answer.
const UNANSWERED: Duration = Duration::from_secs(5);
/// Changes of a project that are kept while its list is on its way; with more the list is begun anew.
const MOST_KEPT: usize = 1000;
/// … and their bytes, as text.
const MOST_KEPT_BYTES: usize = 2 << 20;

/// Projects by namespace.
pub type Audience = BTreeMap<String, Arc<Project>>;

/// The watches of a cluster. They end when this is dropped.
pub struct Feeds {
    audience: watch::Sender<Audience>,
    _tasks: JoinSet<()>,
}

impl Feeds {
    /// Starts watching as soon as there is somebody to watch for.
    pub fn open(client: &Client, share: &Arc<Share>) -> Self {
        let (sender, audience) = watch::channel(Audience::new());
        let mut tasks = JoinSet::new();
        for topic in Topic::all() {
            let (client, share, mut audience) = (client.clone(), Arc::clone(share), audience.clone());
            tasks.spawn(async move {
                if audience.wait_for(|audience| !audience.is_empty()).await.is_err() {
                    return;
                }
                let wide = || Feed::new(topic, client.clone(), None, audience.clone()).run(&share);
                lasting(topic, &audience, wide).await;
                tracing::debug!(
                    what = topic.plural(),
                    "the cluster can't be watched as a whole: each project is watched by itself"
                );
                for_each(audience, move |project| alone(topic, project)).await;
            });
        }
        tasks.spawn(for_each(audience.clone(), watch_taken));
        tasks.spawn(for_each(audience, read_unread));
        Self { audience: sender, _tasks: tasks }
    }

    /// Says whom to watch for from now on.
    pub fn serve(&self, audience: Audience) {
        self.audience.send_replace(audience);
    }
}

/// Watches one project by itself, until the returned set is dropped.
pub fn watch_one(project: &Arc<Project>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for topic in Topic::all() {
        tasks.spawn(alone(topic, Arc::clone(project)));
    }
    tasks.spawn(watch_taken(Arc::clone(project)));
    tasks.spawn(read_unread(Arc::clone(project)));
    tasks
}

async fn alone(topic: Topic, project: Arc<Project>) {
    let (client, namespace) = (project.client.clone(), project.namespace.clone());
    let share = Arc::clone(&project.share);
    let (_sender, audience) = watch::channel([(namespace.clone(), project)].into());
    let one = || Feed::new(topic, client.clone(), Some(namespace.clone()), audience.clone()).run(&share);
    lasting(topic, &audience, one).await;
}

/// A watch that panicked is begun anew; until then what it saw may not be so any more.
async fn lasting<F: Future<Output = ()>>(topic: Topic, audience: &watch::Receiver<Audience>, run: impl Fn() -> F) {
    let mut panics = 0;
    while let Err(text) = supervise::caught(run()).await {
        panics += 1;
        tracing::error!(what = topic.plural(), panic = text, "a watch ended by a mistake in hks; it begins anew");
        let audience = audience.borrow().clone();
        for project in audience.values() {
            project.broken(topic, "the watch ended by a mistake in hks");
        }
        tokio::time::sleep(supervise::wait(panics)).await;
    }
}

/// Runs one task for each project, for as long as it is in the audience.
async fn for_each<F: Future<Output = ()> + Send + 'static>(
    mut audience: watch::Receiver<Audience>,
    task: impl Fn(Arc<Project>) -> F,
) {
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<String, (Arc<Project>, AbortHandle)> = BTreeMap::new();
    loop {
        let now = audience.borrow_and_update().clone();
        running.retain(|namespace, (project, handle)| {
            let stays = now.get(namespace).is_some_and(|known| Arc::ptr_eq(known, project));
            if !stays {
                handle.abort();
            }
            stays
        });
        for (namespace, project) in now {
            running.entry(namespace).or_insert_with(|| (Arc::clone(&project), tasks.spawn(task(project))));
        }
        tokio::select! {
            changed = audience.changed() => if changed.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// One watch.
struct Feed {
    topic: Topic,
    client: Client,
    /// Over this project alone.
    namespace: Option<String>,
    audience: watch::Receiver<Audience>,
    /// Who hears of what the watch says.
    hearers: BTreeMap<String, Hearer>,
    /// Lists of projects that came when the watch's own list had begun already: of which turn, and as of which version.
    lists: FuturesUnordered<BoxFuture<'static, (String, u64, u64)>>,
    /// Lists that were begun.
    turns: u64,
    /// A list of its own has begun.
    begun: bool,
    /// It does not go on.
    is_broken: bool,
}

struct Hearer {
    project: Arc<Project>,
    state: Hearing,
}

enum Hearing {
    /// Its objects are part of the watch's own list.
    Listing,
    /// It has a list of its own on its way, of that turn; this has come meanwhile, with so many bytes.
    Waiting(u64, Vec<Event<Seen>>, usize),
    /// It has a list and takes what comes from that version on.
    From(u64),
}

impl Feed {
    fn new(topic: Topic, client: Client, namespace: Option<String>, audience: watch::Receiver<Audience>) -> Self {
        let (hearers, lists) = (BTreeMap::new(), FuturesUnordered::new());
        Self { topic, client, namespace, audience, hearers, lists, turns: 0, begun: false, is_broken: false }
    }

    /// Watches until that is not allowed for all of the cluster, or there is too much in one of its projects. What comes waits where the
    /// cluster's share is spent.
    async fn run(mut self, share: &Share) {
        if self.topic.is_extension() {
            self.served().await;
        }
        let mut stream = self.topic.follow(&self.client, self.namespace.as_deref());
        let (mut over, mut spent) = (None, Duration::ZERO);
        loop {
            pause(share.spent(std::mem::take(&mut spent))).await;
            let event = tokio::select! {
                Ok(()) = self.audience.changed() => {
                    self.admit();
                    continue;
                }
                Some((namespace, turn, version)) = self.lists.next(), if !self.lists.is_empty() => {
                    self.release(&namespace, turn, version);
                    continue;
                }
                () = tokio::time::sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => {
                    self.recovered();
                    over = None;
                    continue;
                }
                event = metered(&mut stream, &mut spent) => event,
            };
            match event {
                Some(Ok(event)) => {
                    // that a list begins says nothing yet
                    if !matches!(event, Event::Init) {
                        self.recovered();
                        over = None;
                    }
                    let before = clock::cpu();
                    self.tell(event);
                    spent += clock::cpu().saturating_sub(before);
                }
                Some(Err(error)) => {
                    // what one project has must not take the others out of sight
                    if self.namespace.is_none() && (is_forbidden(&error) || is_by_an_object(&error)) {
                        return;
                    }
                    // a list says itself when it is there
                    let lists = matches!(error, watcher::Error::InitialListFailed(_)) || begins_anew(&error);
                    over = (!lists).then(|| Instant::now() + QUIET);
                    self.fail(&error).await;
                }
                None => return,
            }
        }
    }

    /// Hands an event to whom it is about.
    fn tell(&mut self, event: Event<Seen>) {
        match event {
            Event::Init => {
                self.begun = true;
                self.lists.clear();
                let hearer = |project| Hearer { project, state: Hearing::Listing };
                let audience = self.audience.borrow_and_update().clone();
                self.hearers = audience.into_iter().map(|(namespace, project)| (namespace, hearer(project))).collect();
                for hearer in self.hearers.values() {
                    hearer.project.hear(self.topic, Event::Init);
                }
            }
            Event::InitApply(object) => {
                let hearer = self.hearers.get(namespace_of(&object));
                if let Some(hearer) = hearer.filter(|hearer| matches!(hearer.state, Hearing::Listing)) {
                    hearer.project.hear(self.topic, Event::InitApply(object));
                }
            }
            Event::InitDone => {
                let listed = self.hearers.values_mut().filter(|hearer| matches!(hearer.state, Hearing::Listing));
                for hearer in listed {
                    hearer.state = Hearing::From(0);
                    hearer.project.hear(self.topic, Event::InitDone);
                }
            }
            Event::Apply(ref object) | Event::Delete(ref object) => {
                let namespace = namespace_of(object).to_owned();
                let Some(hearer) = self.hearers.get_mut(&namespace) else { return };
                match &mut hearer.state {
                    Hearing::From(version) if object.version() >= *version => hearer.project.hear(self.topic, event),
                    Hearing::Waiting(_, kept, bytes) if kept.len() < MOST_KEPT && *bytes < MOST_KEPT_BYTES => {
                        *bytes += object.size();
                        kept.push(event);
                    }
                    Hearing::Waiting(..) => self.list(&namespace),
                    Hearing::From(_) | Hearing::Listing => {}
                }
            }
        }
    }

    /// Takes the audience as it is now. Who comes after the watch's own list has begun gets one alone.
    fn admit(&mut self) {
        let now = self.audience.borrow_and_update().clone();
        let is_known = |namespace: &String, hearer: &Hearer| {
            now.get(namespace).is_some_and(|project| Arc::ptr_eq(project, &hearer.project))
        };
        self.hearers.retain(|namespace, hearer| is_known(namespace, hearer));
        let new: Vec<_> =
            now.into_iter().filter(|(namespace, _)| self.begun && !self.hearers.contains_key(namespace)).collect();
        for (namespace, project) in new {
            self.hearers.insert(namespace.clone(), Hearer { project, state: Hearing::From(0) });
            self.list(&namespace);
        }
    }

    /// Begins a list for a project alone.
    fn list(&mut self, namespace: &str) {
        let Some(hearer) = self.hearers.get_mut(namespace) else { return };
        self.turns += 1;
        hearer.state = Hearing::Waiting(self.turns, vec![], 0);
        let (topic, client, project) = (self.topic, self.client.clone(), Arc::clone(&hearer.project));
        let (turn, mut waits) = (self.turns, Waits::default());
        self.lists.push(Box::pin(async move {
            loop {
                project.hear(topic, Event::Init);
                let take = |object| project.hear(topic, Event::InitApply(object));
                match topic.list(&client, &project.namespace, &[], take).await {
                    Ok(version) => return (project.namespace.clone(), turn, version),
                    Err(error) => {
                        let error = watcher::Error::InitialListFailed(error);
                        complain(topic, &project, &error);
                        tokio::time::sleep(waits.next().unwrap_or(UNANSWERED)).await;
                    }
                }
            }
        }));
    }

    /// A project has its list: it hears what has come since.
    fn release(&mut self, namespace: &str, turn: u64, version: u64) {
        let Some(hearer) = self.hearers.get_mut(namespace) else { return };
        let Hearing::Waiting(of, kept, _) = &mut hearer.state else { return };
        if *of != turn {
            return;
        }
        let kept = std::mem::take(kept);
        hearer.state = Hearing::From(version + 1);
        hearer.project.hear(self.topic, Event::InitDone);
        for event in kept {
            self.tell(event);
        }
    }

    fn to_all(&self, tell: impl Fn(&Arc<Project>)) {
        self.audience.borrow().values().for_each(tell);
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_broken) {
            self.to_all(|project| project.recovered(self.topic));
        }
    }

    async fn fail(&mut self, error: &watcher::Error) {
        if !self.topic.is_needed() {
            tracing::debug!(what = self.topic.plural(), %error, "failed to watch");
            if is_denied(error) {
                tokio::time::sleep(UNSERVED).await;
            }
            return;
        }
        // who may not see an extension has none of it
        if self.topic.is_extension() && matches!(error, watcher::Error::InitialListFailed(_)) && is_forbidden(error) {
            return self.to_all(|project| project.listed(self.topic));
        }
        self.is_broken = true;
        self.to_all(|project| complain(self.topic, project, error));
    }

    /// Waits until the cluster knows an extension. Until then there is none of it.
    async fn served(&mut self) {
        let Topic::Objects(kind) = self.topic else { return };
        loop {
            self.audience.mark_unchanged();
            let wait = match self.client.list_api_group_resources(kind.api_version()).await {
                Ok(known) if known.resources.iter().any(|resource| resource.name == kind.plural()) => return,
                Err(error) if !matches!(&error, kube::Error::Api(status) if status.code == 404) => {
                    self.to_all(|project| project.broken(self.topic, &root(&error)));
                    UNANSWERED
                }
                Ok(_) | Err(_) => {
                    self.to_all(|project| project.listed(self.topic));
                    UNSERVED
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = self.audience.changed() => {}
            }
        }
    }
}

/// The next of a stream, and what it takes to make it of what was read.
async fn metered<S: Stream + Unpin>(stream: &mut S, spent: &mut Duration) -> Option<S::Item> {
    poll_fn(|context| {
        let before = clock::cpu();
        let next = stream.poll_next_unpin(context);
        *spent += clock::cpu().saturating_sub(before);
        next
    })
    .await
}

fn namespace_of(object: &Seen) -> &str {
    object.value["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// Tells a project that it is not seen, and why.
fn complain(topic: Topic, project: &Arc<Project>, error: &watcher::Error) {
    project.broken(topic, &explain(topic.plural(), &project.namespace, error));
    if is_unknown(error) {
        project.suspect();
    }
}

/// What an error means, and what is to be done about it.
fn explain(what: &str, namespace: &str, error: &watcher::Error) -> String {
    let Some((verb, api)) = asked(error) else { return root(error) };
    match api {
        kube::Error::Api(status) if status.code == 403 => format!(
            "hks may not {verb} {what} in namespace {namespace}; grant it get, list and watch of {what}, as the chart does"
        ),
        kube::Error::Api(status) if status.code == 401 => {
            "the cluster does not know hks (401); renew the access data of the target".into()
        }
        kube::Error::Api(status) => status.message.clone(),
        other if let Some(excess) = Excess::of(other) => excess.to_string(),
        other => format!("the cluster does not answer: {}", root(other)),
    }
}

/// What was asked when an error came, and what the client says.
fn asked(error: &watcher::Error) -> Option<(&'static str, &kube::Error)> {
    match error {
        watcher::Error::InitialListFailed(error) => Some(("list", error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => Some(("watch", error)),
        _ => None,
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    asked(error).is_some_and(|(_, error)| matches!(error, kube::Error::Api(status) if status.code == 403))
}

fn is_by_an_object(error: &watcher::Error) -> bool {
    Excess::of(error).is_some_and(Excess::is_by_an_object)
}

/// Whether another address or other access data may help.
fn is_unknown(error: &watcher::Error) -> bool {
    let is_known = Excess::of(error).is_some();
    !is_known && asked(error).is_some_and(|(_, error)| !matches!(error, kube::Error::Api(status) if status.code != 401))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_missing_right_is_named() {
        let status =
            Status::failure("horizontalpodautoscalers.autoscaling is forbidden: …", "Forbidden").with_code(403);
        let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        let text = explain("horizontalpodautoscalers", "shop", &error);
        assert!(text.starts_with("hks may not list horizontalpodautoscalers in namespace shop; grant it "), "{text}");
        assert!(is_forbidden(&error) && !is_unknown(&error));
    }
}

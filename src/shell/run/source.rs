//! One source: follows a branch and hands each commit to the actors of its Stacks.

mod sort;
mod hand;

use crate::config::{self, Config};
use crate::ident::{Revision, StackName};
use crate::manifest::Context;
use crate::report::{Status, StatusState};
use crate::shell::cluster::lease;
use crate::shell::cluster::project::Project;
use crate::shell::forge::statuses::{Statuses, Word};
use crate::shell::forge::{ForgeConfig, Poster};
use crate::shell::git::{Follows, GitError, Reading, Remote, Repository, Turn, local_folder, public_url};
use crate::shell::metrics::{Metrics, OutcomeLabels};
use crate::shell::pace::doubled;
use crate::shell::probe::Prober;
use crate::shell::run::actor::{Actor, Setting};
use crate::shell::run::kept;
use crate::shell::supervise;
use crate::shell::web::board::{Board, SourceView};
use crate::shell::{clock, credential};
use anyhow::Result;
use futures::FutureExt as _;
use hand::Library;
use notify::{RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A fetch that takes longer is told; it is not begun a second time meanwhile.
const SLOW: Duration = Duration::from_secs(10);
/// First and longest wait after a failed fetch.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// First and longest wait before credentials that were refused are tried again. A forge may lock the account of who insists,
/// but it may also have refused them by mistake.
const REFUSED: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(30));
/// How long the cluster may take to tell the forge's token before the repository is looked at without it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last commit statuses may take when the daemon stops.
const FLUSH: Duration = Duration::from_secs(5);
/// Words of Stacks that come within this time are told to the forge together.
const TOGETHER: Duration = Duration::from_millis(20);

/// What all sources share.
#[derive(Clone)]
pub struct Shared {
    /// Name of this daemon, for the Leases.
    pub me: String,
    /// Views.
    pub board: Arc<Board>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Asks public addresses.
    pub prober: Prober,
    /// Turns for changes of the platform.
    pub turns: Arc<Semaphore>,
}

/// A running source.
pub struct Running {
    /// Makes it look at once.
    pub kick: Arc<Notify>,
    /// Becomes true after the first try to fetch.
    pub tried: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends the source and its actors after what is in flight.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Starts following a source, once the one that had its name has ended: two must not work in one mirror.
pub fn start(
    name: &str,
    config: &Config,
    source: &config::Source,
    shared: &Shared,
    project: watch::Receiver<Option<Arc<Project>>>,
    predecessor: Option<JoinHandle<()>>,
) -> Running {
    let kick = Arc::new(Notify::new());
    let (tried, tried_receiver) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let (statuses, words) = mpsc::unbounded_channel();
    let library = Arc::default();
    let shelf = Arc::clone(&library);
    let setting = Setting {
        source: name.into(),
        // two sources that name the same Stack of the same project must not both act
        me: format!("{}/{name}", shared.me),
        retry: false,
        context: Arc::new(Context::new(&config.platform_of(source), &source.namespace, &source.git.branch, None)),
        probe: config.platform.probe_urls,
        board: Arc::clone(&shared.board),
        metrics: Arc::clone(&shared.metrics),
        prober: shared.prober.clone(),
        project: project.clone(),
        turns: Arc::clone(&shared.turns),
        statuses,
        older: Box::new(move |stack, sha| Library::older(&shelf, stack, sha).boxed()),
    };
    let follower = Follower {
        name: name.into(),
        config: config.clone(),
        source: source.clone(),
        shared: shared.clone(),
        project,
        kick: Arc::clone(&kick),
        ended: Arc::default(),
        tried,
        view: SourceView {
            name: name.into(),
            url: public_url(&source.git.url),
            branch: source.git.tag.clone().unwrap_or_else(|| source.git.branch.clone()),
            ..SourceView::default()
        },
        setting: Arc::new(setting),
        library,
        turn: Turn::default(),
        reading: None,
        actors: BTreeMap::new(),
        owners: BTreeMap::new(),
        names: BTreeMap::new(),
        given: BTreeMap::new(),
        gone: BTreeSet::new(),
        refused: None,
        unsigned: None,
        poster: None,
        silence: None,
    };
    let task = tokio::spawn(async move {
        if let Some(predecessor) = predecessor {
            let _ = predecessor.await;
        }
        Box::pin(follower.run(stopped, words)).await;
    });
    Running { kick, tried: tried_receiver, stop, task }
}

struct Follower {
    name: String,
    config: Config,
    source: config::Source,
    shared: Shared,
    project: watch::Receiver<Option<Arc<Project>>>,
    kick: Arc<Notify>,
    /// The newest commit has ended for the first time.
    ended: Arc<Notify>,
    tried: watch::Sender<bool>,
    view: SourceView,
    /// What its actors are given.
    setting: Arc<Setting>,
    library: Arc<RwLock<Library>>,
    /// The mirror's.
    turn: Turn,
    /// What was read last.
    reading: Option<Arc<Reading>>,
    actors: BTreeMap<StackName, Actor>,
    /// The file of each Stack, and the Stack of each file.
    owners: BTreeMap<StackName, Arc<str>>,
    names: BTreeMap<Arc<str>, StackName>,
    /// The commit in which each Stack's file came to be as it is.
    given: BTreeMap<StackName, Revision>,
    /// Stacks whose file is not there any more.
    gone: BTreeSet<StackName>,
    refused: Option<Refused>,
    /// The last commit that is not signed by whom it should.
    unsigned: Option<Revision>,
    /// Tells the forge, once its token could be read.
    poster: Option<Poster>,
    /// Why it could not.
    silence: Option<String>,
}

/// Credentials that were refused.
struct Refused {
    remote: Remote,
    times: u32,
    /// They are not tried again before.
    until: Instant,
}

/// What a commit says all together.
type Told = Arc<Mutex<Statuses>>;

impl Follower {
    async fn run(mut self, mut stopped: watch::Receiver<bool>, mut words: mpsc::UnboundedReceiver<(StackName, Word)>) {
        self.shared.board.publish_source(self.view.clone());
        let statuses = Statuses::new(self.config.public_url.clone(), &self.name, Arc::clone(&self.ended));
        let told: Told = Arc::new(Mutex::new(statuses));
        let listener = Arc::clone(&told);
        let aggregator = tokio::spawn(async move {
            while let Some((stack, word)) = words.recv().await {
                {
                    let mut told = lock(&listener);
                    told.hear(&stack, word);
                    while let Ok((stack, word)) = words.try_recv() {
                        told.hear(&stack, word);
                    }
                    told.tell();
                }
                tokio::time::sleep(TOGETHER).await;
            }
        });
        let _watch = self.watch_folder();
        let mut panics = 0;
        loop {
            let text = tokio::select! {
                ended = supervise::caught(self.follow(&told)) => ended.err().unwrap_or_default(),
                // a dropped sender is a stop as well
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            panics += 1;
            let wait = supervise::wait(panics);
            tracing::error!(source = %self.name, panic = %text, "hks has a mistake; this source begins anew in {wait:?}");
            self.view.error = Some(format!("hks stumbled ({text}); it begins anew, please report this"));
            self.shared.board.publish_source(self.view.clone());
            self.tried.send_replace(true);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        let actors = std::mem::take(&mut self.actors);
        futures::future::join_all(actors.into_values().map(Actor::stop)).await;
        let poster = self.poster.take();
        drop(self);
        let _ = aggregator.await;
        if let Some(poster) = poster {
            poster.flush(FLUSH).await;
        }
    }

    /// Finds out how to report to the forge. The token may be made after the start, so it is looked for until it is there.
    async fn find_poster(&mut self, told: &Told) {
        let Some(forge) = self.source.forge.as_ref().filter(|_| self.poster.is_none()) else { return };
        let read =
            tokio::time::timeout(PATIENCE, credential::read(&forge.token, self.config.kubeconfig.as_deref())).await;
        let token = match read.unwrap_or_else(|_| Err(anyhow::anyhow!("the cluster does not answer"))) {
            Ok(token) => token,
            Err(error) => {
                let text = format!("{error:#}");
                if self.silence.as_ref() != Some(&text) {
                    tracing::error!(source = %self.name, error = %text, "failed to report to the forge; trying again");
                }
                self.silence = Some(text);
                return;
            }
        };
        let context = format!("hks/{}/deploy", self.config.cluster);
        let (url, repository) = (forge.api_url.as_str(), forge.repository.as_str());
        let config = ForgeConfig::new(forge.kind, url, repository, token, context);
        let poster = Poster::start(config, Arc::clone(&self.shared.metrics));
        lock(told).report_to(poster.clone());
        self.poster = Some(poster);
    }

    /// Looks again and again: when kicked, and at the latest after the poll interval.
    async fn follow(&mut self, told: &Told) {
        let (mut failures, mut kicked, mut looked) = (0, true, false);
        loop {
            self.find_poster(told).await;
            match self.look(kicked, told).await {
                Ok(()) => {
                    failures = 0;
                    self.view.error = None;
                }
                Err(error) => {
                    failures += 1;
                    let text = format!("{error:#}");
                    if self.view.error.as_ref() != Some(&text) {
                        tracing::warn!(source = %self.name, error = %text, "failed to fetch; nothing is deleted");
                    }
                    self.view.error = Some(text);
                    self.count("failed");
                    self.take_up();
                }
            }
            self.shared.board.publish_source(self.view.clone());
            self.tried.send_replace(true);
            let wait = tokio::time::sleep(self.interval(failures));
            tokio::pin!(wait);
            self.take_up_the_rest();
            kicked = loop {
                tokio::select! {
                    () = self.kick.notified() => break true,
                    () = self.ended.notified() => self.look_back(told),
                    () = &mut wait => break false,
                    () = seen(self.project.clone()), if !looked => {
                        looked = true;
                        self.take_up_the_rest();
                    }
                }
            };
        }
    }

    /// The poll interval, or longer after failures; up to a tenth is added so that sources don't look in step.
    fn interval(&self, failures: u32) -> Duration {
        let base = match failures {
            0 => self.source.git.poll,
            _ => doubled(BACKOFF, failures),
        };
        let seed =
            self.name.bytes().fold(clock::now().as_microsecond().unsigned_abs(), |sum, b| sum + u64::from(b) * 7919);
        base + base.mul_f64(f64::from(u32::try_from(seed % 1000).unwrap_or(0)) / 10_000.0)
    }

    fn count(&self, result: &'static str) {
        self.shared.metrics.fetches.get_or_create(&OutcomeLabels { result }).inc();
    }

    async fn look(&mut self, kicked: bool, told: &Told) -> Result<()> {
        let remote = self.remote().await?;
        if let Some(refused) = self.refused.as_ref().filter(|refused| refused.remote == remote)
            && !kicked
            && Instant::now() < refused.until
        {
            return Err(GitError::refused(&remote).into());
        }
        let folder = kept::mirror(&self.config, &self.name);
        let repository = Arc::new(Repository::new(folder, remote.clone(), &self.source.git.path).in_turn(&self.turn));
        let known = self.reading.clone();
        let fetch = repository.look(known.as_deref());
        tokio::pin!(fetch);
        let fetched = if let Ok(fetched) = tokio::time::timeout(SLOW, &mut fetch).await {
            fetched
        } else {
            self.view.error = Some(format!("{} is slow to answer; still waiting", self.view.url));
            self.take_up();
            self.shared.board.publish_source(self.view.clone());
            self.tried.send_replace(true);
            fetch.await
        };
        let found = match fetched {
            Ok(found) => found,
            Err(error) => {
                match &error {
                    GitError::Refused(_) => self.refuse(remote),
                    GitError::Unsigned { revision, .. } => self.tell_unsigned(revision, &error),
                    _ => {}
                }
                return Err(error.into());
            }
        };
        self.refused = None;
        self.view.fetched = Some(clock::now());
        let Some(found) = found else {
            self.count("unchanged");
            return Ok(());
        };
        self.count("changed");
        let revision = found.revision.clone();
        tracing::info!(source = %self.name, revision = %revision.short(), stacks = found.files.len(), "new commit");
        self.dismiss().await;
        let reading = self.hand_on(found, &repository, told);
        self.view.head = Some(revision);
        self.reading = Some(Arc::new(reading));
        Ok(())
    }

    /// While the repository can't be read, what is in the cluster goes on: Stacks that an earlier daemon acted for are taken up from
    /// their records, so that a rollback is ended and drift is put back.
    fn take_up(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let project = self.project.borrow().clone().filter(|project| project.is_ready());
        let Some(project) = project else { return };
        let unknown = lease::of_source(&project, &self.name, |name| self.actors.contains_key(name));
        for stack in unknown.into_iter().take(self.room()) {
            self.actor(&stack);
        }
    }

    /// Tells whoever has pushed a commit that it is not signed by whom it should, once.
    fn tell_unsigned(&mut self, revision: &Revision, error: &GitError) {
        let Some(poster) = self.poster.as_ref().filter(|_| self.unsigned.as_ref() != Some(revision)) else { return };
        let link = self.config.public_url.clone();
        poster.post(Status::new(revision, StatusState::Failure, error.to_string()), link);
        self.unsigned = Some(revision.clone());
    }

    /// Remembers that credentials were refused; each time they rest for longer.
    fn refuse(&mut self, remote: Remote) {
        let before = self.refused.take().filter(|refused| refused.remote == remote);
        let times = before.map_or(0, |refused| refused.times + 1);
        self.refused = Some(Refused { remote, times, until: Instant::now() + doubled(REFUSED, times) });
    }

    async fn remote(&self) -> Result<Remote> {
        let git = &self.source.git;
        let read = async |credential: &Option<config::Credential>| match credential {
            Some(credential) => credential::read(credential, self.config.kubeconfig.as_deref()).await.map(Some),
            None => Ok(None),
        };
        Ok(Remote {
            url: git.url.clone(),
            follows: match &git.tag {
                Some(pattern) => Follows::Tag(pattern.clone()),
                None => Follows::Branch(git.branch.clone()),
            },
            username: git.username.clone(),
            password: read(&git.password).await?,
            ssh_key: read(&git.ssh_key).await?,
            host_keys: git.host_keys.clone(),
            signers: self.config.platform_of(&self.source).policy.signers,
        })
    }

    /// A repository of this machine tells by itself when a branch moves.
    fn watch_folder(&self) -> Option<notify::RecommendedWatcher> {
        let folder = local_folder(&self.source.git.url)?;
        let kick = Arc::clone(&self.kick);
        let tell = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                kick.notify_one();
            }
        };
        let watched = watch_refs(&folder, tell);
        watched
            .inspect_err(|error| tracing::warn!(source = %self.name, %error, "failed to watch the repository; polling"))
            .ok()
    }
}

/// Waits until a project can be seen.
async fn seen(mut project: watch::Receiver<Option<Arc<Project>>>) {
    loop {
        let now = project.borrow_and_update().clone();
        if let Some(project) = now {
            return project.ready().await;
        }
        if project.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn watch_refs(folder: &Path, tell: impl notify::EventHandler) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(tell)?;
    watcher.watch(&folder.join("refs").join("heads"), RecursiveMode::Recursive)?;
    watcher.watch(&folder.join("refs").join("tags"), RecursiveMode::Recursive)?;
    // packed-refs lies beside it
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn lock(told: &Told) -> std::sync::MutexGuard<'_, Statuses> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

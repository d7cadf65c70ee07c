//! One source: follows a branch and hands each commit to the actors of its Stacks.

use crate::ident::{Revision, StackName};
use crate::machine::{Commit, Content};
use crate::manifest::Context;
use crate::report::{Status, StatusState};
use crate::shell::actor::{Actor, Setting};
use crate::shell::board::{Board, SourceView};
use crate::shell::clock;
use crate::shell::config::{self, Config};
use crate::shell::forge::{ForgeConfig, Poster};
use crate::shell::git::{Follows, GitError, Mirror, Remote, StackFile, local_folder, public_url};
use crate::shell::metrics::{Metrics, OutcomeLabels};
use crate::shell::project::Project;
use crate::shell::statuses::Statuses;
use crate::spec;
use anyhow::Result;
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// A fetch that takes longer is told; it is not begun a second time meanwhile.
const SLOW: Duration = Duration::from_secs(30);
/// First and longest wait after a failed fetch.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// How long the last commit statuses may take when the daemon stops.
const FLUSH: Duration = Duration::from_secs(5);

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
    pub http: reqwest::Client,
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

/// Starts following a source.
pub fn start(
    name: &str,
    config: &Config,
    source: &config::Source,
    shared: &Shared,
    project: watch::Receiver<Option<Arc<Project>>>,
) -> Running {
    let kick = Arc::new(Notify::new());
    let (tried, tried_receiver) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let follower = Follower {
        name: name.into(),
        config: config.clone(),
        source: source.clone(),
        shared: shared.clone(),
        project,
        kick: Arc::clone(&kick),
        tried,
        view: SourceView {
            name: name.into(),
            url: public_url(&source.git.url),
            branch: source.git.tag.clone().unwrap_or_else(|| source.git.branch.clone()),
            ..SourceView::default()
        },
        actors: BTreeMap::new(),
        files: BTreeMap::new(),
        refused: None,
    };
    let task = tokio::spawn(follower.run(stopped));
    Running { kick, tried: tried_receiver, stop, task }
}

struct Follower {
    name: String,
    config: Config,
    source: config::Source,
    shared: Shared,
    project: watch::Receiver<Option<Arc<Project>>>,
    kick: Arc<Notify>,
    tried: watch::Sender<bool>,
    view: SourceView,
    actors: BTreeMap<StackName, Actor>,
    /// By path: the object id that was last handed on, and the Stack in it.
    files: BTreeMap<Arc<str>, (String, StackName)>,
    /// Credentials that were refused.
    refused: Option<Remote>,
}

/// What a commit says all together.
type Told = Arc<Mutex<Statuses>>;

impl Follower {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        self.shared.board.publish_source(self.view.clone());
        let poster = self.poster().await;
        let statuses = Statuses::new(poster.clone(), self.config.public_url.clone(), &self.name);
        let told: Told = Arc::new(Mutex::new(statuses));
        let (sender, mut reports) = mpsc::unbounded_channel::<(StackName, Status)>();
        let listener = Arc::clone(&told);
        let aggregator = tokio::spawn(async move {
            while let Some((stack, status)) = reports.recv().await {
                lock(&listener).take(&stack, status);
            }
        });
        let _watch = self.watch_folder();
        tokio::select! {
            () = self.follow(&told, &sender) => {}
            // a dropped sender is a stop as well
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        let actors = std::mem::take(&mut self.actors);
        futures::future::join_all(actors.into_values().map(Actor::stop)).await;
        drop(sender);
        let _ = aggregator.await;
        if let Some(poster) = poster {
            poster.flush(FLUSH).await;
        }
    }

    async fn poster(&self) -> Option<Poster> {
        let forge = self.source.forge.as_ref()?;
        match forge.token.read(self.config.kubeconfig.as_deref()).await {
            Ok(token) => {
                let context = format!("hks/{}/deploy", self.config.cluster);
                let (url, repository) = (forge.api_url.as_str(), forge.repository.as_str());
                let config = ForgeConfig::new(forge.kind, url, repository, token, context);
                Some(Poster::start(config, Arc::clone(&self.shared.metrics)))
            }
            Err(error) => {
                tracing::error!(source = %self.name, error = %format!("{error:#}"), "failed to report to the forge");
                None
            }
        }
    }

    /// Looks again and again: when kicked, and at the latest after the poll interval.
    async fn follow(&mut self, told: &Told, sender: &mpsc::UnboundedSender<(StackName, Status)>) {
        let mut failures = 0;
        loop {
            match self.look(told, sender).await {
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
                }
            }
            self.shared.board.publish_source(self.view.clone());
            self.tried.send_replace(true);
            let wait = self.interval(failures);
            tokio::select! {
                () = self.kick.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The poll interval, or longer after failures; up to a tenth is added so that sources don't look in step.
    fn interval(&self, failures: u32) -> Duration {
        let base = match failures {
            0 => self.source.git.poll,
            _ => (BACKOFF.0 * 2_u32.saturating_pow(failures.min(12))).min(BACKOFF.1),
        };
        let seed =
            self.name.bytes().fold(clock::now().as_microsecond().unsigned_abs(), |sum, b| sum + u64::from(b) * 7919);
        base + base.mul_f64(f64::from(u32::try_from(seed % 1000).unwrap_or(0)) / 10_000.0)
    }

    fn count(&self, result: &'static str) {
        self.shared.metrics.fetches.get_or_create(&OutcomeLabels { result }).inc();
    }

    async fn look(&mut self, told: &Told, sender: &mpsc::UnboundedSender<(StackName, Status)>) -> Result<()> {
        let remote = self.remote().await?;
        // wrong credentials are tried once; a forge may lock the account of who insists
        if self.refused.as_ref() == Some(&remote) {
            let user = remote.username.unwrap_or_else(|| "nobody".into());
            return Err(GitError::Refused(user).into());
        }
        let folder = self.config.data_dir.join("git").join(&self.name);
        let mirror = Arc::new(Mirror::new(folder, remote.clone(), &self.source.git.path)?);
        let known = self.view.head.clone();
        let work = Arc::clone(&mirror);
        let mut fetch = tokio::task::spawn_blocking(move || {
            let (revision, tag) = work.fetch()?;
            let known = known.as_ref() == Some(&revision);
            let stacks = if known { None } else { Some(work.stacks(&revision, tag.as_deref())?) };
            Ok::<_, GitError>((revision, stacks))
        });
        let fetched = if let Ok(fetched) = tokio::time::timeout(SLOW, &mut fetch).await {
            fetched
        } else {
            self.view.error = Some(format!("{} is slow to answer; still waiting", self.view.url));
            self.shared.board.publish_source(self.view.clone());
            self.tried.send_replace(true);
            fetch.await
        };
        let (revision, stacks) = match fetched? {
            Ok(fetched) => fetched,
            Err(error) => {
                self.refused = matches!(error, GitError::Refused(_)).then_some(remote);
                return Err(error.into());
            }
        };
        self.view.fetched = Some(clock::now());
        let Some(stacks) = stacks else {
            self.count("unchanged");
            return Ok(());
        };
        self.count("changed");
        tracing::info!(source = %self.name, revision = %revision.short(), stacks = stacks.len(), "new commit");
        self.view.head = Some(revision.clone());
        self.hand_on(&revision, stacks, &mirror, told, sender);
        Ok(())
    }

    async fn remote(&self) -> Result<Remote> {
        let git = &self.source.git;
        let read = async |credential: &Option<config::Credential>| match credential {
            Some(credential) => credential.read(self.config.kubeconfig.as_deref()).await.map(Some),
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
        })
    }

    /// Gives each Stack its file. Changed files go first: nobody waits for those that have nothing to do.
    fn hand_on(
        &mut self,
        revision: &Revision,
        stacks: Vec<StackFile>,
        mirror: &Arc<Mirror>,
        told: &Told,
        sender: &mpsc::UnboundedSender<(StackName, Status)>,
    ) {
        self.view.problems.clear();
        let mut owners: BTreeMap<StackName, Arc<str>> = BTreeMap::new();
        let (mut changed, mut same) = (vec![], vec![]);
        let mut files = BTreeMap::new();
        let mut problems = vec![];
        for file in stacks {
            let known = self.files.get(&file.path);
            let unchanged = known.is_some_and(|(id, _)| *id == file.id);
            let name = match (known, unchanged) {
                (Some((_, name)), true) => Some(name.clone()),
                (known, _) => name_of(&file.content).or_else(|| known.map(|(_, name)| name.clone())),
            };
            let Some(name) = name else {
                problems.push(why_nameless(&file));
                continue;
            };
            if let Some(other) = owners.get(&name) {
                problems.push(format!("{}: Stack {name} is already defined by {other}; rename one of them", file.path));
                continue;
            }
            owners.insert(name.clone(), Arc::clone(&file.path));
            files.insert(Arc::clone(&file.path), (file.id, name.clone()));
            let commit = Commit { revision: revision.clone(), content: file.content };
            if unchanged { same.push((name, commit)) } else { changed.push((name, commit)) }
        }
        let gone = self.actors.keys().filter(|name| !owners.contains_key(*name));
        changed
            .extend(gone.map(|name| (name.clone(), Commit { revision: revision.clone(), content: Content::Missing })));
        self.files = files;
        {
            let mut told = lock(told);
            let all: Vec<_> = changed.iter().chain(&same).map(|(name, _)| name.clone()).collect();
            told.expect(revision, &all);
            for problem in &problems {
                let description = crate::report::shorten(problem, crate::report::MAX_DESCRIPTION);
                told.whole(Status { revision: revision.clone(), state: StatusState::Failure, description });
            }
        }
        self.view.problems = problems;
        for (name, commit) in changed.into_iter().chain(same) {
            let path = owners.get(&name).cloned().unwrap_or_else(|| "hks.yaml".into());
            self.actor(&name, &path, mirror, sender).commit(commit);
        }
    }

    fn actor(
        &mut self,
        name: &StackName,
        path: &Arc<str>,
        mirror: &Arc<Mirror>,
        sender: &mpsc::UnboundedSender<(StackName, Status)>,
    ) -> &Actor {
        let (config, source) = (&self.config, &self.source);
        self.actors.entry(name.clone()).or_insert_with(|| {
            let (mirror, path) = (Arc::clone(mirror), Arc::clone(path));
            let setting = Setting {
                source: self.name.clone(),
                // two sources that name the same Stack of the same project must not both act
                me: format!("{}/{}", self.shared.me, self.name),
                retry: false,
                context: Context::new(&config.platform_of(source), &source.namespace, &source.git.branch, None),
                probe: config.platform.probe_urls,
                board: Arc::clone(&self.shared.board),
                metrics: Arc::clone(&self.shared.metrics),
                http: self.shared.http.clone(),
                project: self.project.clone(),
                turns: Arc::clone(&self.shared.turns),
                statuses: sender.clone(),
                older: Arc::new(move |sha| {
                    let found = tokio::task::block_in_place(|| mirror.older(sha, &path));
                    found.map_err(|error| format!("{sha} can't be had: {error}"))
                }),
            };
            Actor::start(name.clone(), setting)
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

fn watch_refs(folder: &Path, tell: impl notify::EventHandler) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(tell)?;
    watcher.watch(&folder.join("refs").join("heads"), RecursiveMode::Recursive)?;
    watcher.watch(&folder.join("refs").join("tags"), RecursiveMode::Recursive)?;
    // packed-refs lies beside it
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn name_of(content: &Content) -> Option<StackName> {
    match content {
        Content::File(document) => spec::name_of(&document.source),
        Content::Missing | Content::Unusable { .. } => None,
    }
}

fn why_nameless(file: &StackFile) -> String {
    match &file.content {
        Content::Unusable { message } => message.clone(),
        Content::Missing => format!("{} is gone", file.path),
        Content::File(document) => {
            let first = spec::parse(&document.source, &file.path).err().and_then(|found| found.into_iter().next());
            first.map_or_else(|| format!("{}: no name", file.path), |diagnostic| diagnostic.to_string())
        }
    }
}

fn lock(told: &Told) -> std::sync::MutexGuard<'_, Statuses> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

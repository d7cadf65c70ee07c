//! The daemon: all sources of a configuration, followed until it is told to stop; the configuration is read again when it
//! changes.

use crate::config::{self, Config, Source, Webhook};
use crate::record::SealKey;
use crate::shell::cluster::connection::{Cluster, Connected, Connection, Place, Terms};
use crate::shell::cluster::standby::{self, Standby};
use crate::shell::cluster::target::{self, Host};
use crate::shell::credential;
use crate::shell::credential::Hidden;
use crate::shell::metrics::Metrics;
use crate::shell::probe::{Prober, Reach};
use crate::shell::run::desk::Projects;
use crate::shell::run::introduction;
use crate::shell::run::kept::{self, identity, seal_key};
use crate::shell::run::pace::Pace;
use crate::shell::run::source::{self, Running, Shared};
use crate::shell::web::access::Access;
use crate::shell::web::board::Board;
use crate::shell::web::endpoint::{ACTS_AT_ONCE, Desk, Endpoint, Hooks};
use crate::shell::web::{http, tls};
use anyhow::{Context as _, Result, bail};
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::Instant;

/// How long the configuration must be left alone before it is read: a file that is being written is half a file.
const SETTLES: Duration = Duration::from_millis(250);
/// … and how long it is waited for at most.
const UNSETTLED: Duration = Duration::from_secs(5);
/// How long what is in flight may take when the daemon ends; a pod that is deleted is killed after 30 s.
const FAREWELL: Duration = Duration::from_secs(20);
/// First and longest wait between tries to read a webhook's secret, which may be made after the start.
const SECRET: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file, followed for changes.
    File(PathBuf),
    /// Flags.
    Flags(Box<Config>),
}

impl Origin {
    /// Reads it.
    #[expect(clippy::disallowed_methods, reason = "the configuration file")]
    pub fn read(&self) -> Result<Config> {
        match self {
            Origin::Flags(config) => Ok((**config).clone()),
            Origin::File(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
                Config::parse(&text, path)
            }
        }
    }
}

/// Runs until SIGTERM or SIGINT; then what is in flight is finished. One of several daemons that stand in for each other begins once
/// it leads, and ends when that can't be proven any more.
pub async fn run(origin: &Origin) -> Result<()> {
    let config = origin.read()?;
    let (mut me, _lock) = identity(&config.data_dir).await?;
    let seal = seal_key(&config)?;
    let ready = watch::Sender::new(false);
    if let Some(address) = config.probes {
        let probes = TcpListener::bind(address).await;
        let probes = probes.with_context(|| format!("failed to listen on {address} for probes"))?;
        tokio::spawn(http::serve_probes(probes, ready.subscribe()));
    }
    let mut stop = Stop::new()?;
    let Some(election) = config.leader_election.clone() else {
        return act(origin, config, me, seal, ready, &mut stop, None).await;
    };
    me = standby::named(&election, &me);
    let host = Host { kubeconfig: config.kubeconfig.clone(), context: None, programs: false };
    let client = target::client(target::host(&host).await?)?;
    let mut standby = Standby::new(&client, &election, &me);
    // whoever stands by does what it has to
    ready.send_replace(true);
    tokio::select! {
        () = standby.lead() => {}
        () = stop.asked() => return Ok(()),
    }
    ready.send_replace(false);
    // it may have changed meanwhile
    let config = origin.read().unwrap_or_else(|error| {
        tracing::error!(error = %format!("{error:#}"), "failed to read the configuration; going on with the old one");
        config
    });
    let ended = act(origin, config, me, seal, ready, &mut stop, Some(&mut standby)).await;
    standby.give_up().await;
    ended
}

/// What tells the daemon to end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn act(
    origin: &Origin,
    config: Config,
    me: String,
    seal: SealKey,
    ready: watch::Sender<bool>,
    stop: &mut Stop,
    standby: Option<&mut Standby>,
) -> Result<()> {
    let listener = TcpListener::bind(config.listen).await;
    let listener =
        listener.with_context(|| format!("failed to listen on {}; is another hks running?", config.listen))?;
    let tls = config.tls.as_ref().map(tls::acceptor).transpose().context("failed to set up HTTPS")?;
    let shared = Shared {
        me,
        board: Arc::new(Board::default()),
        metrics: Arc::new(Metrics::default()),
        prober: Prober::new().context("failed to set up HTTP")?,
        turns: Arc::new(Semaphore::new(config.platform_changes_at_once.get().into())),
    };
    tracing::info!(address = %listener.local_addr()?, cluster = %config.cluster, sources = config.sources.len(), "hks is up");
    let hooks = Arc::new(Routes::default());
    let projects = Arc::new(Projects::default());
    let access = Arc::new(Access::new(config.listen.ip().is_loopback(), seal.clone()));
    let endpoint = Endpoint {
        board: Arc::clone(&shared.board),
        metrics: Arc::clone(&shared.metrics),
        hooks: Arc::clone(&hooks) as Arc<dyn Hooks>,
        desk: Arc::clone(&projects) as Arc<dyn Desk>,
        acts: Semaphore::new(ACTS_AT_ONCE),
        ready: ready.subscribe(),
        cluster: config.cluster.clone(),
    };
    let mut daemon = Daemon {
        shared,
        hooks,
        projects,
        running: BTreeMap::new(),
        ending: BTreeMap::new(),
        clusters: BTreeMap::new(),
        places: BTreeMap::new(),
        introductions: JoinSet::new(),
        config: None,
        seal,
        access: Arc::clone(&access),
    };
    // a source that comes meanwhile makes its mirror anew
    let known = config.clone();
    spawn_blocking(move || kept::forget_others(&known));
    daemon.adopt(config);
    // nobody is let in before it is known who may come in
    let (end, mut until) = watch::channel(false);
    let stopped = async move {
        let _ = until.wait_for(|end| *end).await;
    };
    let server = tokio::spawn(http::serve(listener, endpoint, access, tls, stopped));
    let changed = Arc::new(Notify::new());
    let _watch = watch_file(origin, &changed);
    let lost = async {
        match standby {
            Some(standby) => standby.hold().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(lost);
    loop {
        tokio::select! {
            () = stop.asked() => break,
            // nothing is finished: another daemon may act already
            why = &mut lost => bail!("failed to go on leading: {why}; this daemon ends, and another one leads"),
            () = settled(&changed) => daemon.reload(origin),
            () = daemon.all_tried(), if !*ready.borrow() => {
                ready.send_replace(true);
            }
        }
    }
    tracing::info!("stopping: finishing what is in flight");
    let ended = tokio::time::timeout(FAREWELL, daemon.end());
    tokio::select! {
        // nobody else may begin meanwhile
        why = &mut lost => bail!("failed to finish what is in flight: {why}"),
        ended = ended => if ended.is_err() {
            tracing::warn!("what is in flight takes too long; it is found again at the next start");
        },
    }
    end.send_replace(true);
    server.await??;
    Ok(())
}

/// Waits for a change, and until what changes is left alone.
async fn settled(changed: &Notify) {
    changed.notified().await;
    let quiet = async { while tokio::time::timeout(SETTLES, changed.notified()).await.is_ok() {} };
    let _ = tokio::time::timeout(UNSETTLED, quiet).await;
}

/// Follows the folder of the configuration: a mounted ConfigMap is replaced by swapping a symbolic link beside the file.
fn watch_file(origin: &Origin, changed: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let Origin::File(path) = origin else { return None };
    let changed = Arc::clone(changed);
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    match watcher.watch(folder, RecursiveMode::NonRecursive) {
        Ok(()) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "failed to watch the configuration; restart hks to change it");
            None
        }
    }
}

struct Daemon {
    shared: Shared,
    hooks: Arc<Routes>,
    projects: Arc<Projects>,
    running: BTreeMap<String, (Source, Running)>,
    /// Sources that left the configuration and have not ended yet.
    ending: BTreeMap<String, JoinHandle<()>>,
    clusters: BTreeMap<Cluster, Connection>,
    places: BTreeMap<Place, Connected>,
    /// One for each place: they end with the configuration that they tell of.
    introductions: JoinSet<()>,
    config: Option<Config>,
    seal: SealKey,
    access: Arc<Access>,
}

impl Daemon {
    /// Reads the configuration again; a mistake in it changes nothing.
    fn reload(&mut self, origin: &Origin) {
        match origin.read() {
            Ok(config) if self.config.as_ref() == Some(&config) => {}
            Ok(config) => {
                tracing::info!(sources = config.sources.len(), "configuration changed");
                self.adopt(config);
            }
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "failed to read the configuration; going on with the old one");
            }
        }
    }

    /// Stops what left the configuration or changed in it, and starts what is new. Nobody waits for a source that takes long
    /// to end but the one that comes in its place.
    fn adopt(&mut self, config: Config) {
        let who = |config: &Config| (config.access.clone(), config.public_url.clone(), config.kubeconfig.clone());
        // what was read of tokens counts on while they can't be read again
        if self.config.as_ref().is_none_or(|old| who(old) != who(&config)) {
            self.access.set(&config.access, config.public_url.as_deref(), config.kubeconfig.as_deref());
        }
        // what no source has to do with
        let settings = |config: &Config| {
            let (sources, access) = (BTreeMap::new(), config::Access::default());
            Config { access, sources, tls: None, ..config.clone() }
        };
        let settings_changed = self.config.as_ref().is_some_and(|old| settings(old) != settings(&config));
        let keep = |name: &String, source: &Source| !settings_changed && config.sources.get(name) == Some(source);
        let gone: Vec<_> = self
            .running
            .iter()
            .filter(|(name, (source, _))| !keep(name, source))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let mirror = kept::mirror(&config, &name);
            self.leave(name.clone(), Some(mirror).filter(|_| !config.sources.contains_key(&name)));
        }
        self.ending.retain(|_, ending| !ending.is_finished());
        for (name, source) in &config.sources {
            if self.running.contains_key(name) {
                continue;
            }
            let place = Place::new(&source.target, &source.namespace, config.kubeconfig.as_deref());
            let cluster = self.clusters.entry(place.cluster.clone());
            let connection = cluster.or_insert_with(|| {
                let terms = Terms {
                    claims: config.claims_namespace.clone(),
                    budget: config.project_budget,
                    share: config.cluster_budget,
                    seal: self.seal.clone(),
                };
                Connection::open(place.cluster.clone(), terms)
            });
            let project =
                self.places.entry(place.clone()).or_insert_with(|| connection.project(&place.namespace)).clone();
            self.projects.add(name, project.clone());
            let running = source::start(name, &config, source, &self.shared, project, self.ending.remove(name));
            self.hooks.add(name, source, config.kubeconfig.as_deref(), Arc::clone(&running.kick));
            self.running.insert(name.clone(), (source.clone(), running));
        }
        let used: Vec<_> = config
            .sources
            .values()
            .map(|s| Place::new(&s.target, &s.namespace, config.kubeconfig.as_deref()))
            .collect();
        self.places.retain(|place, _| used.contains(place));
        self.clusters.retain(|cluster, _| used.iter().any(|place| place.cluster == *cluster));
        self.shared.prober.reach(Reach {
            domains: config.sources.values().map(|source| config.platform_of(source).domain).collect(),
            networks: config.networks(),
        });
        self.introductions = JoinSet::new();
        for (place, project) in &self.places {
            self.introductions.spawn(introduction::keep(
                place.clone(),
                introduction::of(&config, place),
                project.clone(),
            ));
        }
        self.config = Some(config);
    }

    /// Lets a source end by itself. Its mirror goes with it if nothing follows its name.
    fn leave(&mut self, name: String, mirror: Option<PathBuf>) {
        let Some((_, running)) = self.running.remove(&name) else { return };
        self.hooks.remove(&name);
        self.projects.remove(&name);
        let (board, of) = (Arc::clone(&self.shared.board), name.clone());
        let ending = tokio::spawn(async move {
            running.stop().await;
            board.forget(&of);
            if let Some(mirror) = mirror {
                let _ = spawn_blocking(move || kept::forget(&mirror)).await;
            }
        });
        self.ending.insert(name, ending);
    }

    /// Ends all sources after what is in flight.
    async fn end(&mut self) {
        let names: Vec<_> = self.running.keys().cloned().collect();
        for name in names {
            self.leave(name, None);
        }
        futures::future::join_all(std::mem::take(&mut self.ending).into_values()).await;
    }

    /// Waits until every source has tried to fetch.
    async fn all_tried(&self) {
        for (_, running) in self.running.values() {
            // a source that ends has tried all it will
            let _ = running.tried.clone().wait_for(|tried| *tried).await;
        }
    }
}

/// Which webhooks wake which source.
#[derive(Default)]
struct Routes {
    by_source: RwLock<BTreeMap<String, Route>>,
}

struct Route {
    /// None until they could be read.
    secrets: Vec<Hidden>,
    kick: Arc<Notify>,
    url: String,
    reference: globset::GlobMatcher,
    pace: Mutex<Pace>,
    /// Reads the secrets.
    _reader: AbortOnDrop,
}

impl Route {
    /// Makes the source look, soon.
    fn knock(&self) {
        let Some(wait) = self.pace.lock().unwrap_or_else(PoisonError::into_inner).ask(Instant::now()) else { return };
        if wait.is_zero() {
            return self.kick.notify_one();
        }
        let kick = Arc::clone(&self.kick);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            kick.notify_one();
        });
    }
}

/// Ends a task with what it works for.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Routes {
    /// Opens the webhook of a source, as soon as its secret can be read.
    fn add(self: &Arc<Self>, name: &str, source: &Source, kubeconfig: Option<&Path>, kick: Arc<Notify>) {
        let Some(webhook) = source.webhook.clone() else { return };
        let reference = match &source.git.tag {
            Some(pattern) => format!("refs/tags/{pattern}"),
            None => format!("refs/heads/{}", globset::escape(&source.git.branch)),
        };
        let Ok(reference) = globset::Glob::new(&reference).map(|glob| glob.compile_matcher()) else { return };
        let (routes, of, kubeconfig) = (Arc::downgrade(self), name.to_owned(), kubeconfig.map(Path::to_owned));
        let reader = tokio::spawn(async move {
            let mut wait = SECRET.0;
            loop {
                let (secrets, complete) = read_secrets(&of, &webhook, kubeconfig.as_deref()).await;
                let Some(routes) = routes.upgrade() else { return };
                if let Some(route) = routes.by_source.write().unwrap_or_else(PoisonError::into_inner).get_mut(&of) {
                    route.secrets = secrets;
                }
                drop(routes);
                if complete {
                    return;
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(SECRET.1);
            }
        });
        let url = plain(&source.git.url);
        let pace = Mutex::new(Pace::new(Instant::now()));
        let route = Route { secrets: vec![], kick, url, reference, pace, _reader: AbortOnDrop(reader) };
        self.by_source.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), route);
    }

    fn remove(&self, name: &str) {
        self.by_source.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn with<T>(&self, name: &str, ask: impl FnOnce(&Route) -> T) -> Option<T> {
        self.by_source.read().unwrap_or_else(PoisonError::into_inner).get(name).map(ask)
    }
}

impl Hooks for Routes {
    fn secrets(&self) -> Vec<(String, Vec<Hidden>)> {
        let routes = self.by_source.read().unwrap_or_else(PoisonError::into_inner);
        let readable = routes.iter().filter(|(_, route)| !route.secrets.is_empty());
        readable.map(|(name, route)| (name.clone(), route.secrets.clone())).collect()
    }

    fn fetch(&self, source: &str) {
        self.with(source, Route::knock);
    }

    fn follows(&self, source: &str, full_name: &str, clone_urls: &[String], git_ref: &str) -> bool {
        let matches = |route: &Route| {
            let same = clone_urls.iter().any(|url| plain(url) == route.url);
            route.reference.is_match(git_ref)
                && (same || (!full_name.is_empty() && route.url.ends_with(&format!("/{full_name}"))))
        };
        self.with(source, matches).unwrap_or(false)
    }
}

/// The secrets of a webhook that can be read, and whether that is all of them.
async fn read_secrets(source: &str, webhook: &Webhook, kubeconfig: Option<&Path>) -> (Vec<Hidden>, bool) {
    let mut secrets = vec![];
    let mut complete = true;
    for credential in std::iter::once(&webhook.secret).chain(&webhook.previous_secret) {
        match credential::read(credential, kubeconfig).await {
            Ok(secret) => secrets.push(secret),
            Err(error) => {
                complete = false;
                tracing::error!(source, error = %format!("{error:#}"), "failed to open the webhook; trying again");
            }
        }
    }
    (secrets, complete)
}

/// A clone URL without what does not tell repositories apart: scheme, user, `.git`.
fn plain(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest =
        rest.rsplit_once('@').map_or(rest, |(_, rest)| rest).replacen(':', "/", usize::from(!url.contains("://")));
    rest.trim_end_matches('/').trim_end_matches(".git").to_owned()
}

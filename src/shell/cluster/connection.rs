//! A connection to a cluster, shared by all of its projects and by all sources that deploy there, and renewed when the vCluster's
//! Secret changes.

use crate::config::{self, ClusterBudget, ProjectBudget};
use crate::ident::Kind;
use crate::record::SealKey;
use crate::shell::cluster::claims::{Claims, Registry};
use crate::shell::cluster::failure::Failure;
use crate::shell::cluster::feed::{Audience, Feeds};
use crate::shell::cluster::project::{Project, Topic};
use crate::shell::cluster::target::{self, Host, VCluster};
use crate::shell::cluster::watch::lasting;
use crate::shell::pace::Share;
use anyhow::Result;
use futures::StreamExt;
use futures::future::select_all;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// First and longest wait between tries to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cluster {
    /// The host cluster.
    pub host: Host,
    /// The vCluster in it, if the target is one.
    pub vcluster: Option<VCluster>,
}

/// Which project of which cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The cluster.
    pub cluster: Cluster,
    /// The project.
    pub namespace: String,
}

impl Place {
    /// The place that a target of the configuration means.
    pub fn new(target: &config::Target, namespace: &str, kubeconfig: Option<&Path>) -> Self {
        let kubeconfig = target.kubeconfig.clone().or_else(|| kubeconfig.map(Path::to_owned));
        let vcluster = target.vcluster.as_ref().map(|of| VCluster {
            name: of.name.clone(),
            namespace: of.namespace.clone().unwrap_or_else(|| format!("vcluster-{}", of.name)),
        });
        let host = Host { kubeconfig, context: target.context.clone(), programs: false };
        Self { cluster: Cluster { host, vcluster }, namespace: namespace.into() }
    }

    /// The same place, reached by a person: a kubeconfig of theirs may log in by a program.
    #[must_use]
    pub fn by_a_person(mut self) -> Self {
        self.cluster.host.programs = true;
        self
    }
}

impl Cluster {
    /// Connects once.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let (_, config) = self.find().await?;
        target::client(config)
    }

    /// For logs.
    fn name(&self) -> String {
        let host = self.host.context.as_deref().unwrap_or("the host cluster");
        self.vcluster.as_ref().map_or_else(|| host.into(), |vcluster| format!("vCluster {}", vcluster.name))
    }

    /// One of its projects, by a name that no other project of the same daemon has.
    fn place(&self, namespace: &str) -> String {
        let host = self.host.context.as_deref().unwrap_or_default();
        let vcluster = self.vcluster.as_ref().map(|of| format!("{}/{}", of.namespace, of.name));
        format!("{host}/{}/{namespace}", vcluster.unwrap_or_default())
    }

    /// A client of the host, and how the cluster is reached.
    ///
    /// # Errors
    /// There is no way there, or its access data may not be read.
    pub async fn find(&self) -> Result<(Client, kube::Config), Failure> {
        let config = target::host(&self.host).await?;
        let host = target::client(config.clone())?;
        let config = match &self.vcluster {
            Some(vcluster) => target::vcluster(&host, vcluster).await?,
            None => config,
        };
        Ok((host, config))
    }
}

/// How a daemon works in all projects of a cluster.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The namespace of the host cluster where hosts are claimed; unless given, that of its client.
    pub claims: Option<String>,
    /// How much of each project is followed.
    pub budget: ProjectBudget,
    /// How much is done for the cluster.
    pub share: ClusterBudget,
    /// Seals the records.
    pub seal: SealKey,
}

/// A project while it is connected, and the newest one after the connection was made anew.
pub type Connected = watch::Receiver<Option<Arc<Project>>>;
type Wanted = BTreeMap<String, Arc<watch::Sender<Option<Arc<Project>>>>>;

/// A connection to a cluster, which its projects share. What it holds stays for as long as somebody has a project of it.
pub struct Connection(watch::Sender<Wanted>);

impl Connection {
    /// Begins to connect.
    pub fn open(cluster: Cluster, terms: Terms) -> Self {
        let (sender, wanted) = watch::channel(Wanted::new());
        tokio::spawn(keep(cluster, terms, wanted));
        Self(sender)
    }

    /// Keeps a project connected for as long as somebody has what this returns.
    pub fn project(&self, namespace: &str) -> Connected {
        let mut wanted = self.0.borrow().clone();
        // one that nobody has any more is taken up again: who holds the connection may not have seen yet that it was let go
        let project = wanted.entry(namespace.into()).or_insert_with(|| Arc::new(watch::Sender::new(None)));
        let connected = project.subscribe();
        self.0.send_replace(wanted);
        connected
    }
}

async fn keep(cluster: Cluster, terms: Terms, mut wanted: watch::Receiver<Wanted>) {
    let mut wait = BACKOFF.0;
    let name = cluster.name();
    let share = Arc::new(Share::of(terms.share));
    loop {
        match hold(&cluster, &terms, &share, &mut wanted).await {
            Ok(true) => {
                tracing::info!(cluster = name, "the access data changed; connecting anew");
                wait = BACKOFF.0;
            }
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(cluster = name, error = %format!("{error:#}"), "failed to connect; trying again");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = unwanted(&mut wanted) => return,
                }
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

/// Connects, and returns whether to do so again: when the access data has changed, but not when nobody wants it any more.
async fn hold(
    cluster: &Cluster,
    terms: &Terms,
    share: &Arc<Share>,
    wanted: &mut watch::Receiver<Wanted>,
) -> Result<bool> {
    let (host, config) = cluster.find().await?;
    let known = access(cluster, &host).await;
    let registry = Registry::new(host.clone(), terms.claims.as_deref());
    let suspicion = Arc::new(Notify::new());
    let feeds = Feeds::open(&target::paced(config.clone(), share)?, share);
    let changed = async {
        tokio::select! {
            () = renewed(&host, cluster.vcluster.as_ref()) => {}
            () = replaced(cluster, &host, &suspicion, &known) => {}
        }
    };
    let mut projects = Audience::new();
    let serve = async {
        loop {
            let now = wanted.borrow_and_update().clone();
            for (namespace, sender) in &now {
                if sender.is_closed() {
                    projects.remove(namespace);
                    sender.send_replace(None);
                } else if !projects.contains_key(namespace) {
                    // requests and watches of its own go by a connection of its own
                    let client = target::paced(config.clone(), share)?;
                    let project = Project::within(terms.budget, share, client, namespace, Arc::clone(&suspicion));
                    let own = Claims::of(Arc::clone(&registry), cluster.vcluster.as_ref(), namespace);
                    project.claim_by(own);
                    project.seal_by(terms.seal.of(cluster.place(namespace)));
                    projects.insert(namespace.clone(), Arc::clone(&project));
                    sender.send_replace(Some(project));
                }
            }
            feeds.serve(projects.clone());
            if !another(wanted, &now).await {
                return Ok(());
            }
        }
    };
    let again = tokio::select! {
        () = changed => Ok(true),
        served = serve => served.map(|()| false),
    };
    // until there is another connection nobody watches them
    for project in projects.values() {
        project.broken(Topic::Objects(Kind::Deployment), "the access data changed; connecting anew");
    }
    again
}

/// Waits until another project is wanted than in `now`, or one of them no longer; returns whether any can be.
async fn another(wanted: &mut watch::Receiver<Wanted>, now: &Wanted) -> bool {
    let open = now.values().filter(|sender| !sender.is_closed());
    let closed: Vec<_> = open.map(|sender| Box::pin(sender.closed())).collect();
    let is_left = wanted.has_changed().is_err();
    match (closed.is_empty(), is_left) {
        (true, true) => return false,
        (true, false) => drop(wanted.changed().await),
        (false, true) => drop(select_all(closed).await),
        (false, false) => tokio::select! {
            _ = select_all(closed) => {}
            _ = wanted.changed() => {}
        },
    }
    true
}

async fn unwanted(wanted: &mut watch::Receiver<Wanted>) {
    loop {
        let now = wanted.borrow_and_update().clone();
        if !another(wanted, &now).await {
            return;
        }
    }
}

/// Waits until the cluster does not answer because it is elsewhere, or knows this daemon by other access data.
async fn replaced(cluster: &Cluster, host: &Client, suspicion: &Notify, known: &Access) {
    loop {
        suspicion.notified().await;
        if kubeconfig(cluster).await != known.kubeconfig {
            return;
        }
        // while the host does not answer either, nothing is known
        if address(cluster, host).await.is_ok_and(|address| address != known.address) {
            return;
        }
        tokio::time::sleep(BACKOFF.1).await;
    }
}

/// What a connection was made with.
struct Access {
    kubeconfig: Option<Vec<u8>>,
    /// Of the vCluster's Service.
    address: Option<String>,
}

async fn access(cluster: &Cluster, host: &Client) -> Access {
    Access { kubeconfig: kubeconfig(cluster).await, address: address(cluster, host).await.unwrap_or_default() }
}

async fn kubeconfig(cluster: &Cluster) -> Option<Vec<u8>> {
    tokio::fs::read(cluster.host.kubeconfig.as_ref()?).await.ok()
}

async fn address(cluster: &Cluster, host: &Client) -> Result<Option<String>, kube::Error> {
    let Some(vcluster) = &cluster.vcluster else { return Ok(None) };
    let services: Api<Service> = Api::namespaced(host.clone(), &vcluster.namespace);
    Ok(services.get_opt(&vcluster.name).await?.and_then(|service| service.spec?.cluster_ip))
}

/// Waits until the Secret of a vCluster holds other data than at first.
async fn renewed(host: &Client, of: Option<&VCluster>) {
    let Some(of) = of else { return std::future::pending().await };
    let secrets: Api<Secret> = Api::namespaced(host.clone(), &of.namespace);
    let mut stream = lasting(secrets, watcher::Config::default().fields(&format!("metadata.name={}", of.secret())));
    let mut first = None;
    while let Some(event) = stream.next().await {
        let Ok(Event::Apply(secret) | Event::InitApply(secret)) = event else { continue };
        match &first {
            None => first = Some(secret.data),
            Some(known) if *known != secret.data => return,
            Some(_) => {}
        }
    }
}

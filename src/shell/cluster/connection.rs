//! A connection to a project, shared by all sources that deploy there, and renewed when the vCluster's Secret changes.

use crate::config;
use crate::shell::cluster::failure::Failure;
use crate::shell::cluster::project::Project;
use crate::shell::cluster::target::{self, Host, VCluster};
use crate::shell::cluster::watch::lasting;
use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// First and longest wait between tries to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Which project of which cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The host cluster.
    pub host: Host,
    /// The vCluster in it, if the target is one.
    pub vcluster: Option<VCluster>,
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
        Self { host, vcluster, namespace: namespace.into() }
    }

    /// The same place, reached by a person: a kubeconfig of theirs may log in by a program.
    #[must_use]
    pub fn by_a_person(mut self) -> Self {
        self.host.programs = true;
        self
    }

    /// Connects once.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let host = target::host(&self.host).await?;
        match &self.vcluster {
            Some(vcluster) => target::vcluster(&host, vcluster).await,
            None => Ok(host),
        }
    }
}

/// Keeps a project connected for as long as somebody wants it.
pub fn open(place: Place) -> watch::Receiver<Option<Arc<Project>>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(keep(place, sender));
    receiver
}

async fn keep(place: Place, sender: watch::Sender<Option<Arc<Project>>>) {
    let mut wait = BACKOFF.0;
    loop {
        let stay = async {
            match hold(&place, &sender).await {
                Ok(()) => {
                    tracing::info!(namespace = %place.namespace, "the access data changed; connecting anew");
                    wait = BACKOFF.0;
                }
                Err(error) => {
                    tracing::warn!(namespace = %place.namespace, error = %format!("{error:#}"), "failed to connect; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF.1);
                }
            }
        };
        tokio::select! {
            () = stay => {}
            () = sender.closed() => return,
        }
    }
}

/// Connects, and returns when the access data has changed.
async fn hold(place: &Place, sender: &watch::Sender<Option<Arc<Project>>>) -> Result<()> {
    let host = target::host(&place.host).await?;
    let client = match &place.vcluster {
        Some(vcluster) => target::vcluster(&host, vcluster).await?,
        None => host.clone(),
    };
    let known = access(place, &host).await;
    let (project, _watches) = Project::open(client, &place.namespace);
    sender.send_replace(Some(Arc::clone(&project)));
    tokio::select! {
        () = async {
            match &place.vcluster {
                Some(vcluster) => renewed(&host, vcluster).await,
                None => std::future::pending().await,
            }
        } => {}
        () = replaced(place, &host, &project, &known) => {}
    }
    Ok(())
}

/// Waits until the cluster does not answer because it is elsewhere, or knows this daemon by other access data.
async fn replaced(place: &Place, host: &Client, project: &Project, known: &Access) {
    loop {
        project.suspected().await;
        if kubeconfig(place).await != known.kubeconfig {
            return;
        }
        // while the host does not answer either, nothing is known
        if address(place, host).await.is_ok_and(|address| address != known.address) {
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

async fn access(place: &Place, host: &Client) -> Access {
    Access { kubeconfig: kubeconfig(place).await, address: address(place, host).await.unwrap_or_default() }
}

async fn kubeconfig(place: &Place) -> Option<Vec<u8>> {
    tokio::fs::read(place.host.kubeconfig.as_ref()?).await.ok()
}

async fn address(place: &Place, host: &Client) -> Result<Option<String>, kube::Error> {
    let Some(vcluster) = &place.vcluster else { return Ok(None) };
    let services: Api<Service> = Api::namespaced(host.clone(), &vcluster.namespace);
    Ok(services.get_opt(&vcluster.name).await?.and_then(|service| service.spec?.cluster_ip))
}

/// Waits until the Secret holds other data than at first.
async fn renewed(host: &Client, of: &VCluster) {
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

//! The first contact with a project, within bounded time: what is missing is named before anything waits for it.

use crate::ident::Kind;
use crate::shell::cluster::connection::Place;
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::cluster::feed;
use crate::shell::cluster::project::{Project, resource};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, Error};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connects to a project that exists.
///
/// # Errors
/// Unreachable when there is no such project, or no answer within `patience`.
pub async fn reach(place: &Place, patience: Duration) -> Result<Client, Failure> {
    within(patience, async {
        let client = place.cluster.connect().await?;
        let name = &place.namespace;
        match Api::<Namespace>::all(client.clone()).get_metadata_opt(name).await {
            Ok(Some(_)) => Ok(client),
            Ok(None) => Err(Failure::new(
                FailureKind::Unreachable,
                format!("namespace {name} does not exist; is -n right? hks makes no namespaces: kubectl create namespace {name}"),
            )),
            // who is confined to a namespace may not look whether it is there
            Err(Error::Api(status)) if status.code == 403 => Ok(client),
            Err(error) => Err(Failure::of(&error, "failed to reach the cluster")),
        }
    })
    .await
}

/// Connects to a project and waits for its live picture, which ends when the returned set is dropped.
///
/// # Errors
/// Also forbidden, with everything that may not be listed.
pub async fn watch(place: &Place, patience: Duration) -> Result<(Arc<Project>, JoinSet<()>), Failure> {
    let client = reach(place, patience).await?;
    within(patience, may_list(&client, &place.namespace)).await?;
    let project = Project::new(client, &place.namespace, Arc::default());
    project.follow_all();
    let watches = feed::watch_one(&project);
    match timeout(patience, project.ready()).await {
        Ok(()) => Ok((project, watches)),
        Err(_) => Err(late(project.trouble().as_deref().unwrap_or("no answer"), patience)),
    }
}

/// Sees that everything that is watched may be listed. Asking for it is the only proof that holds for every authorizer.
async fn may_list(client: &Client, namespace: &str) -> Result<(), Failure> {
    let kinds = Kind::ALL.iter().map(|kind| async {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(*kind));
        (kind.plural(), may(&api).await)
    });
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let asked = join_all(kinds).await.into_iter().chain(std::iter::once(("events", may(&events).await)));
    let mut forbidden = vec![];
    for (what, answer) in asked {
        match answer {
            Ok(()) => {}
            // an extension: who may not see it has none of it, as for the daemon
            Err(Error::Api(status)) if what == Kind::HTTPRoute.plural() && matches!(status.code, 403 | 404) => {}
            Err(Error::Api(status)) if status.code == 403 => forbidden.push(what),
            Err(error) => return Err(Failure::of(&error, &format!("failed to list {what}"))),
        }
    }
    if forbidden.is_empty() {
        return Ok(());
    }
    let what = forbidden.join(", ");
    Err(Failure::new(
        FailureKind::Forbidden,
        format!(
            "may not list {what} in namespace {namespace}; ask for a role with list and watch on {what} (hks doctor shows all that is needed)"
        ),
    ))
}

async fn may<K: Clone + serde::de::DeserializeOwned + Debug>(api: &Api<K>) -> Result<(), Error> {
    api.list_metadata(&ListParams::default().limit(1)).await.map(drop)
}

/// Bounds what has no bound of its own.
async fn within<T>(patience: Duration, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(patience, what).await {
        Ok(done) => done,
        Err(_) => Err(late("no answer", patience)),
    }
}

fn late(said: &str, patience: Duration) -> Failure {
    let patience = humantime::format_duration(patience);
    Failure::new(
        FailureKind::Unreachable,
        format!("failed to reach the cluster in {patience}: {said}; is it up, and is the kubeconfig right?"),
    )
}

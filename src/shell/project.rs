//! One project as its watches see it: a store of objects that hks manages there, shared by all Stacks of the project.
//!
//! Everything is watched and nothing is polled or read object by object. Only objects that carry the label of a Stack are
//! kept, and of them only what somebody reads.

mod slim;
mod store;

use crate::ident::{Kind, ObjectKey, StackName};
use crate::manifest::MANAGED_BY;
use crate::plan::Live;
use futures::StreamExt;
use k8s_openapi::api::core::v1;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Client, ResourceExt};
use serde_json::Value;
use slim::slim;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A namespace of a cluster, with a live picture of what hks manages in it.
pub struct Project {
    /// The connection.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    store: Mutex<Store>,
    synced: watch::Sender<BTreeSet<&'static str>>,
    /// Last error of a watch that has not recovered.
    broken: Mutex<BTreeMap<&'static str, String>>,
}

/// How long until a cluster is asked again for an extension that it lacks; extensions come rarely.
const UNSERVED: Duration = Duration::from_mins(5);
/// … and until one is asked again that did not answer.
const UNANSWERED: Duration = Duration::from_secs(5);

/// What is watched besides events.
const WATCHED: [Kind; 16] = Kind::ALL;

/// The API resource of a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let version = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.to_string());
    ApiResource::from_gvk_with_plural(&version, kind.plural())
}

impl Project {
    /// Starts watching. The watches end when the returned set is dropped.
    pub fn open(client: Client, namespace: &str) -> (Arc<Self>, JoinSet<()>) {
        let project = Arc::new(Self {
            client,
            namespace: namespace.into(),
            store: Mutex::default(),
            synced: watch::Sender::default(),
            broken: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for kind in WATCHED {
            tasks.spawn(Arc::clone(&project).watch(kind));
        }
        tasks.spawn(Arc::clone(&project).watch_events());
        (project, tasks)
    }

    /// The API of `kind` in this project: there is no way to name another namespace.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// Waits until every watch has delivered its first list.
    pub async fn ready(&self) {
        let all = WATCHED.len() + 1;
        // the sender lives as long as self
        let _ = self.synced.subscribe().wait_for(|done| done.len() == all).await;
    }

    /// Why the project can't be seen at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        self.troubles().iter().next().map(|(what, error)| format!("failed to watch {what}: {error}"))
    }

    /// A receiver that changes whenever something of the Stack does.
    pub fn subscribe(&self, stack: &StackName) -> watch::Receiver<u64> {
        self.lock().subscribe(stack)
    }

    /// The picture of one Stack.
    pub fn live(&self, stack: &StackName) -> Arc<Live> {
        self.lock().live(stack.as_str())
    }

    /// One object, as last seen.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Value>> {
        self.lock().get(key)
    }

    /// Takes an object that a write returned: the watch will bring it later, and until then the picture would be old.
    pub fn learn(&self, kind: Kind, object: DynamicObject) {
        let key = ObjectKey::new(kind, object.name_any());
        if let Some(object) = slim(kind, object) {
            self.lock().learn(&key, object);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(self: Arc<Self>, kind: Kind) {
        if kind == Kind::HTTPRoute {
            self.served(kind).await;
        }
        let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
        let config = watcher::Config::default().labels(&selector);
        let mut stream = watch_stream(self.api(kind), config).default_backoff().boxed();
        let mut listed = BTreeMap::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let key = ObjectKey::new(kind, object.name_any());
                    listed.extend(slim(kind, object).map(|object| (key, object)));
                }
                Ok(Event::InitDone) => {
                    self.lock().replace(kind, std::mem::take(&mut listed));
                    self.listed(kind.plural());
                }
                Ok(Event::Apply(object)) => {
                    self.recovered(kind.plural());
                    let key = ObjectKey::new(kind, object.name_any());
                    if let Some(object) = slim(kind, object) {
                        self.lock().seen(&key, object);
                    }
                }
                Ok(Event::Delete(object)) => self.lock().remove(&ObjectKey::new(kind, object.name_any())),
                // who may not see an extension has none of it
                Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                    if kind == Kind::HTTPRoute && status.code == 403 =>
                {
                    self.listed(kind.plural());
                }
                Err(error) => self.broken(kind.plural(), error.to_string()),
            }
        }
    }

    /// Waits until the cluster knows `kind`, which is an extension. Until then there is none of it.
    async fn served(&self, kind: Kind) {
        loop {
            match self.client.list_api_group_resources(kind.api_version()).await {
                Ok(known) if known.resources.iter().any(|resource| resource.name == kind.plural()) => return,
                Ok(_) => self.listed(kind.plural()),
                Err(kube::Error::Api(status)) if status.code == 404 => self.listed(kind.plural()),
                Err(error) => {
                    self.broken(kind.plural(), error.to_string());
                    tokio::time::sleep(UNANSWERED).await;
                    continue;
                }
            }
            tokio::time::sleep(UNSERVED).await;
        }
    }

    async fn watch_events(self: Arc<Self>) {
        let events: Api<v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default().fields("type=Warning");
        let mut stream = watch_stream(events, config).default_backoff().boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(event) | Event::InitApply(event)) => self.lock().note(event),
                Ok(Event::InitDone) => self.listed("events"),
                Ok(Event::Init) => {}
                Ok(Event::Delete(event)) => self.lock().forget(&event.name_any()),
                Err(error) => self.broken("events", error.to_string()),
            }
        }
    }

    fn listed(&self, what: &'static str) {
        self.recovered(what);
        self.synced.send_modify(|done| {
            done.insert(what);
        });
    }

    fn recovered(&self, what: &'static str) {
        let mut troubles = self.troubles();
        let last = troubles.remove(what).is_some() && troubles.is_empty();
        drop(troubles);
        if last {
            self.lock().tell_all();
        }
    }

    fn broken(&self, what: &'static str, text: String) {
        tracing::debug!(namespace = %self.namespace, what, error = %text, "watch interrupted");
        let first = self.troubles().insert(what, text).is_none();
        if first {
            self.lock().tell_all();
        }
    }
}

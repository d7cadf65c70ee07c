//! One project as its watches see it: a store of objects that hks manages there, shared by all Stacks of the project.
//!
//! Everything is watched and nothing is polled or read object by object. Only labelled objects are kept, without
//! managedFields, without Secret values and without ConfigMap contents.

use crate::ident::{Kind, ObjectKey, StackName};
use crate::manifest::MANAGED_BY;
use crate::plan::{Live, Note, stack_of};
use crate::shell::clock;
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Events kept for a project; each is about one object and repeated ones replace each other.
const MAX_EVENTS: usize = 500;

/// A namespace of a cluster, with a live picture of what hks manages in it.
pub struct Project {
    /// The connection.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    store: Mutex<Store>,
    synced: watch::Sender<BTreeSet<&'static str>>,
}

#[derive(Default)]
struct Store {
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    /// By uid and name of the event object.
    events: BTreeMap<String, Arc<Note>>,
    subscribers: BTreeMap<StackName, watch::Sender<u64>>,
    /// Last error of a watch that has not recovered.
    broken: BTreeMap<&'static str, String>,
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
        self.lock().broken.iter().next().map(|(what, error)| format!("failed to watch {what}: {error}"))
    }

    /// A receiver that changes whenever something of the Stack does.
    pub fn subscribe(&self, stack: &StackName) -> watch::Receiver<u64> {
        self.lock().subscribers.entry(stack.clone()).or_default().subscribe()
    }

    /// The picture of one Stack.
    pub fn live(&self, stack: &StackName) -> Live {
        let store = self.lock();
        let own = store.objects.iter().filter(|(_, object)| stack_of(object) == Some(stack.as_str()));
        let objects: BTreeMap<_, _> = own.map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        let about = |note: &&Arc<Note>| objects.contains_key(&note.about);
        let mut events: Vec<_> = store.events.values().filter(about).cloned().collect();
        events.sort_by_key(|note| note.at);
        Live { objects, events }
    }

    /// One object, as last seen.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// Takes an object that a write returned: the watch will bring it later, and until then the picture would be old.
    pub fn learn(&self, kind: Kind, object: DynamicObject) {
        self.lock().put(kind, object);
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
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
                    listed.insert(ObjectKey::new(kind, object.name_any()), object);
                }
                Ok(Event::InitDone) => {
                    self.lock().replace(kind, std::mem::take(&mut listed));
                    self.listed(kind.plural());
                }
                Ok(Event::Apply(object)) => {
                    self.recovered(kind.plural());
                    self.lock().put(kind, object);
                }
                Ok(Event::Delete(object)) => self.lock().remove(kind, &object),
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
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default().fields("type=Warning");
        let mut stream = watch_stream(events, config).default_backoff().boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(event) | Event::InitApply(event)) => self.lock().note(event),
                Ok(Event::InitDone) => self.listed("events"),
                Ok(Event::Init) => {}
                Ok(Event::Delete(event)) => {
                    self.lock().events.remove(&event.name_any());
                }
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
        let mut store = self.lock();
        if store.broken.remove(what).is_some() && store.broken.is_empty() {
            store.tell_all();
        }
    }

    fn broken(&self, what: &'static str, text: String) {
        tracing::debug!(namespace = %self.namespace, what, error = %text, "watch interrupted");
        let mut store = self.lock();
        if store.broken.insert(what, text).is_none() {
            store.tell_all();
        }
    }
}

impl Store {
    fn put(&mut self, kind: Kind, object: DynamicObject) {
        let key = ObjectKey::new(kind, object.name_any());
        let version = |object: &Value| {
            object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse::<u64>().ok())
        };
        let Some(value) = slim(kind, object) else { return };
        // a write's answer may overtake the watch; versions of one kind are ordered (KEP-5504)
        if let Some(known) = self.objects.get(&key)
            && let (Some(known), Some(new)) = (version(known), version(&value))
            && known >= new
        {
            return;
        }
        self.tell(stack_of(&value));
        self.objects.insert(key, Arc::new(value));
    }

    fn remove(&mut self, kind: Kind, object: &DynamicObject) {
        if let Some(old) = self.objects.remove(&ObjectKey::new(kind, object.name_any())) {
            self.tell(stack_of(&old));
        }
    }

    /// A new full list of `kind`: what is not in it is gone.
    fn replace(&mut self, kind: Kind, listed: BTreeMap<ObjectKey, DynamicObject>) {
        let gone: Vec<_> =
            self.objects.keys().filter(|key| key.kind == kind && !listed.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(old) = self.objects.remove(&key) {
                self.tell(stack_of(&old));
            }
        }
        for object in listed.into_values() {
            self.put(kind, object);
        }
    }

    fn note(&mut self, event: k8s_openapi::api::core::v1::Event) {
        let Some(kind) = event.involved_object.kind.as_deref().and_then(Kind::named) else { return };
        let about = ObjectKey::new(kind, event.involved_object.name.clone().unwrap_or_default());
        let at: Option<Timestamp> = event.last_timestamp.map(|time| time.0).or(event.event_time.map(|time| time.0));
        let note = Note {
            uid: event.involved_object.uid.clone().unwrap_or_default(),
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
            at: at.unwrap_or_else(clock::now),
            about,
        };
        let stack = self.objects.get(&note.about).and_then(|object| stack_of(object).map(str::to_owned));
        self.events.insert(event.metadata.name.unwrap_or_default(), Arc::new(note));
        while self.events.len() > MAX_EVENTS {
            let oldest = self.events.iter().min_by_key(|(_, note)| note.at).map(|(name, _)| name.clone());
            oldest.map(|name| self.events.remove(&name));
        }
        self.tell(stack.as_deref());
    }

    /// What can't be seen concerns every Stack.
    fn tell_all(&self) {
        for subscriber in self.subscribers.values() {
            subscriber.send_modify(|version| *version += 1);
        }
    }

    fn tell(&self, stack: Option<&str>) {
        let subscriber = stack.and_then(StackName::new).and_then(|stack| self.subscribers.get(&stack));
        if let Some(subscriber) = subscriber {
            subscriber.send_modify(|version| *version += 1);
        }
    }
}

/// The parts of an object that may be kept: no Secret values, no ConfigMap contents, no managedFields.
fn slim(kind: Kind, mut object: DynamicObject) -> Option<Value> {
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(object).ok()?;
    // the items of a list carry no type of their own
    value["apiVersion"] = kind.api_version().into();
    value["kind"] = kind.to_string().into();
    match kind {
        Kind::Secret => {
            for field in ["data", "stringData"] {
                if let Some(data) = value[field].as_object_mut() {
                    data.values_mut().for_each(|secret| *secret = Live::HIDDEN.into());
                }
            }
        }
        Kind::ConfigMap => {
            value.as_object_mut()?.remove("data");
            value.as_object_mut()?.remove("binaryData");
        }
        // the pods say all that matters
        Kind::ReplicaSet => {
            value["spec"].as_object_mut()?.remove("template");
        }
        _ => {}
    }
    Some(value)
}

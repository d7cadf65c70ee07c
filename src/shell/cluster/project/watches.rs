//! The watches of a project, each for itself: one that fails says why, goes on trying, and says when it is well again.

use super::item::Arrival;
use super::slim::slim;
use super::{BLIND, Broken, EVENTS, Project, Seen, WATCHED, resource};
use crate::ident::{Kind, ObjectKey};
use crate::manifest::MANAGED_BY;
use crate::shell::cluster::failure::root;
use crate::shell::cluster::watch::{Lasting, QUIET, is_cut_off, lasting};
use futures::StreamExt;
use k8s_openapi::api::core::v1;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long until a cluster is asked again for an extension that it lacks; extensions come rarely.
pub(super) const UNSERVED: Duration = Duration::from_mins(5);
/// … and until one is asked again that did not answer.
const UNANSWERED: Duration = Duration::from_secs(5);

/// Starts all watches.
pub(super) fn start(project: &Arc<Project>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for kind in WATCHED {
        tasks.spawn(Arc::clone(project).watch(kind));
    }
    tasks.spawn(Arc::clone(project).watch_events());
    tasks
}

impl Project {
    async fn watch(self: Arc<Self>, kind: Kind) {
        if kind == Kind::HTTPRoute {
            self.served(kind).await;
        }
        let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
        let mut stream = self.look_on(kind, watcher::Config::default().labels(&selector));
        let mut listed = BTreeMap::new();
        while let Some(event) = self.next(kind.plural(), &mut stream).await {
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    let key = ObjectKey::new(kind, object.name_any());
                    listed.extend(slim(kind, object.value).map(|object| (key, Arrival::text(kind, &object))));
                }
                Event::InitDone => {
                    self.lock().replace(kind, std::mem::take(&mut listed));
                    self.listed(kind.plural());
                }
                Event::Apply(object) => {
                    let key = ObjectKey::new(kind, object.name_any());
                    if let Some(object) = slim(kind, object.value) {
                        self.lock().seen(&key, object);
                    }
                }
                Event::Delete(object) => self.lock().remove(&ObjectKey::new(kind, object.name_any())),
            }
        }
    }

    /// The events of a watch. Of ConfigMaps, which hold all records, only the metadata is kept, so nothing else is sent.
    fn look_on(&self, kind: Kind, config: watcher::Config) -> Lasting<Seen> {
        if kind == Kind::ConfigMap {
            let parts: Api<PartialObjectMeta<DynamicObject>> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind));
            lasting(parts, config).map(|event| event.map(whole)).boxed()
        } else {
            lasting(self.objects(kind), config)
        }
    }

    async fn watch_events(self: Arc<Self>) {
        let events: Api<v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut stream = lasting(events, watcher::Config::default().fields("type=Warning"));
        while let Some(event) = self.next(EVENTS, &mut stream).await {
            match event {
                Event::Apply(event) | Event::InitApply(event) => self.lock().note(event),
                Event::InitDone => self.listed(EVENTS),
                Event::Init => {}
                Event::Delete(event) => self.lock().forget(&event.name_any()),
            }
        }
    }

    /// The next event of a watch, which never ends. Its errors are told here, and that they are over.
    async fn next<K>(self: &Arc<Self>, what: &'static str, stream: &mut Lasting<K>) -> Option<Event<K>> {
        let mut over = None;
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = tokio::time::sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => {
                    self.recovered(what);
                    over = None;
                    continue;
                }
            };
            match event? {
                Ok(Event::Init) => return Some(Event::Init),
                Ok(event) => {
                    self.recovered(what);
                    return Some(event);
                }
                // who may not see an extension has none of it
                Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                    if what == Kind::HTTPRoute.plural() && status.code == 403 =>
                {
                    self.listed(what);
                }
                Err(error) => {
                    self.broken(what, &explain(what, &self.namespace, &error));
                    if unknown(&error) {
                        self.suspect();
                    }
                    // a list says itself when it is there
                    let lists = matches!(error, watcher::Error::InitialListFailed(_)) || is_cut_off(&error);
                    over = (!lists).then(|| Instant::now() + QUIET);
                }
            }
        }
    }

    /// Waits until the cluster knows `kind`, which is an extension. Until then there is none of it.
    async fn served(self: &Arc<Self>, kind: Kind) {
        loop {
            match self.client.list_api_group_resources(kind.api_version()).await {
                Ok(known) if known.resources.iter().any(|resource| resource.name == kind.plural()) => return,
                Ok(_) => self.listed(kind.plural()),
                Err(kube::Error::Api(status)) if status.code == 404 => self.listed(kind.plural()),
                Err(error) => {
                    self.broken(kind.plural(), &root(&error));
                    tokio::time::sleep(UNANSWERED).await;
                    continue;
                }
            }
            tokio::time::sleep(UNSERVED).await;
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
            tracing::info!(namespace = %self.namespace, "the project can be seen again");
            self.lock().tell_all();
        }
    }

    fn broken(self: &Arc<Self>, what: &'static str, text: &str) {
        let mut troubles = self.troubles();
        let first = troubles.is_empty();
        let before = troubles.remove(what);
        let since = before.as_ref().map_or_else(Instant::now, |broken| broken.since);
        troubles.insert(what, Broken { error: text.to_owned(), since });
        drop(troubles);
        if first {
            tracing::warn!(namespace = %self.namespace, what, error = %text, "watch interrupted");
        } else {
            tracing::debug!(namespace = %self.namespace, what, error = %text, "watch interrupted");
        }
        if before.is_none() {
            self.lock().tell_all();
            let project = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(BLIND).await;
                if let Some(project) = project.upgrade().filter(|project| project.is_blind()) {
                    project.lock().tell_all();
                }
            });
        }
        if before.is_none_or(|before| before.error != text) {
            // who waits for the first lists wants to know why
            self.synced.send_modify(|_| {});
        }
    }
}

/// An event about metadata as one about the object.
fn whole(event: Event<PartialObjectMeta<DynamicObject>>) -> Event<Seen> {
    let object = |part: &PartialObjectMeta<DynamicObject>| Seen::new(json!({ "metadata": part.metadata }));
    match event {
        Event::Apply(part) => Event::Apply(object(&part)),
        Event::Delete(part) => Event::Delete(object(&part)),
        Event::Init => Event::Init,
        Event::InitApply(part) => Event::InitApply(object(&part)),
        Event::InitDone => Event::InitDone,
    }
}

/// What an error means, and what is to be done about it.
fn explain(what: &str, namespace: &str, error: &watcher::Error) -> String {
    let (verb, api) = match error {
        watcher::Error::InitialListFailed(error) => ("list", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => ("watch", error),
        other => return root(other),
    };
    match api {
        kube::Error::Api(status) if status.code == 403 => format!(
            "hks may not {verb} {what} in namespace {namespace}; grant it get, list and watch of {what}, as the chart does"
        ),
        kube::Error::Api(status) if status.code == 401 => {
            "the cluster does not know hks (401); renew the access data of the target".into()
        }
        kube::Error::Api(status) => status.message.clone(),
        other => format!("the cluster does not answer: {}", root(other)),
    }
}

/// Whether another address or other access data may help.
fn unknown(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) => status.code == 401,
            _ => true,
        },
        _ => false,
    }
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
        assert!(!unknown(&error));
    }
}

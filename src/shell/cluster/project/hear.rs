//! What a project hears of its watches: what there is, and that one does not go on.

use super::item::Arrival;
use super::slim::slim;
use super::{BLIND, Broken, Project, Seen, Topic};
use crate::ident::{Kind, ObjectKey};
use crate::plan;
use crate::shell::clock;
use crate::shell::cluster::api::PUBLISHED;
use crate::shell::cluster::redactor::Values;
use crate::spec;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

impl Project {
    /// Takes an event of a watch: a list, or what has come after it.
    pub fn hear(&self, topic: Topic, event: Event<Seen>) {
        let is_listed = matches!(event, Event::InitDone);
        match topic {
            Topic::Objects(kind) => self.hear_of_objects(kind, event),
            Topic::Events => self.hear_of_events(event),
            Topic::Quotas | Topic::Ranges => self.lock().hear_of_limits(topic, event, clock::now()),
        }
        if is_listed {
            self.listed(topic);
        }
    }

    fn hear_of_objects(&self, kind: Kind, event: Event<Seen>) {
        let key = |object: &Seen| ObjectKey::new(kind, object.name_any());
        if kind == Kind::Secret {
            self.hear_of_values(&event);
        }
        match event {
            Event::Init => self.lock().begin(kind),
            Event::InitApply(object) => {
                let key = key(&object);
                if let Some(object) = slim(kind, object.value) {
                    let arrival = Arrival::text(kind, &object);
                    self.lock().arrive(key, arrival);
                }
            }
            Event::InitDone => self.lock().complete(kind),
            Event::Apply(object) => {
                let key = key(&object);
                if let Some(object) = slim(kind, object.value) {
                    self.lock().seen(&key, object);
                }
            }
            Event::Delete(object) => {
                let key = key(&object);
                if kind == Kind::ConfigMap && key.name == PUBLISHED {
                    self.unpublished.notify_one();
                }
                self.lock().remove(&key);
            }
        }
    }

    fn hear_of_values(&self, event: &Event<Seen>) {
        match event {
            Event::Apply(secret) | Event::InitApply(secret) => {
                let data = BTreeMap::deserialize(&secret.value["data"]).unwrap_or_default();
                self.lock().hide(&secret.name_any(), plan::stack_of(&secret.value), Values::of(&data));
            }
            Event::Delete(secret) => self.lock().unhide(&secret.name_any()),
            Event::Init | Event::InitDone => {}
        }
    }

    fn hear_of_events(&self, event: Event<Seen>) {
        match event {
            Event::Apply(event) | Event::InitApply(event) => {
                if let Ok(event) = serde_json::from_value(event.value) {
                    self.lock().note(event);
                }
            }
            Event::Delete(event) => self.lock().forget(&event.name_any()),
            Event::Init | Event::InitDone => {}
        }
    }

    /// There is a list, if only an empty one since the cluster has no such kind.
    pub fn listed(&self, topic: Topic) {
        self.recovered(topic);
        self.synced.send_modify(|done| {
            done.insert(topic);
        });
    }

    /// A watch goes on.
    pub fn recovered(&self, topic: Topic) {
        let mut troubles = self.troubles();
        let last = troubles.remove(&topic).is_some() && troubles.is_empty();
        drop(troubles);
        if last {
            tracing::info!(namespace = %self.namespace, "the project can be seen again");
            self.lock().tell_all();
        }
    }

    /// A watch does not go on.
    pub fn broken(self: &Arc<Self>, topic: Topic, text: &str) {
        let text = &spec::mask(text);
        let mut troubles = self.troubles();
        let first = troubles.is_empty();
        let before = troubles.remove(&topic);
        let since = before.as_ref().map_or_else(Instant::now, |broken| broken.since);
        troubles.insert(topic, Broken { error: text.to_owned(), since });
        drop(troubles);
        let what = topic.plural();
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
        if before.is_none_or(|before| before.error != *text) {
            // who waits for the first lists wants to know why
            self.synced.send_modify(|_| {});
        }
    }
}

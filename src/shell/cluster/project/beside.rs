//! What Stacks depend on in their project and hks does not manage: quotas and limit ranges, and Secrets of others. Who may not
//! see them goes on without.

use super::Project;
use super::watches::UNSERVED;
use crate::plan;
use crate::shell::clock;
use crate::shell::cluster::watch::lasting;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ObjectMeta};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Error, ResourceExt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinSet};

/// Kinds of limits in a namespace, and their plurals.
const LIMITS: [(&str, &str); 2] = [("ResourceQuota", "resourcequotas"), ("LimitRange", "limitranges")];

/// Starts watching.
pub(super) fn start(project: &Arc<Project>, tasks: &mut JoinSet<()>) {
    for limit in LIMITS {
        tasks.spawn(Arc::clone(project).watch_limits(limit));
    }
    tasks.spawn(Arc::clone(project).watch_taken());
}

impl Project {
    /// Notes when a limit is made, changed or taken away. How much of it is used changes all the time and is not looked at.
    async fn watch_limits(self: Arc<Self>, (kind, plural): (&'static str, &'static str)) {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let mut stream = lasting(api, watcher::Config::default());
        let mut known: Option<BTreeMap<String, Value>> = None;
        let mut listed = BTreeMap::new();
        let mut set = None;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(limit)) => {
                    set = set.max(Some(changed_at(&limit)));
                    listed.insert(limit.name_any(), limit.data["spec"].clone());
                }
                Ok(Event::InitDone) => {
                    let now = std::mem::take(&mut listed);
                    match known.replace(now.clone()) {
                        // nobody has looked before: they say themselves when they were changed
                        None => set.into_iter().for_each(|at| self.lock().limited(at)),
                        Some(before) if before != now => self.lock().limited(clock::now()),
                        Some(_) => {}
                    }
                }
                Ok(Event::Apply(limit)) => {
                    let spec = limit.data["spec"].clone();
                    let before = known.get_or_insert_default().insert(limit.name_any(), spec.clone());
                    if before != Some(spec) {
                        self.lock().limited(clock::now());
                    }
                }
                Ok(Event::Delete(limit)) => {
                    known.get_or_insert_default().remove(&limit.name_any());
                    self.lock().limited(clock::now());
                }
                Err(error) => {
                    tracing::debug!(namespace = %self.namespace, plural, %error, "limits can't be seen");
                    if is_denied(&error) {
                        tokio::time::sleep(UNSERVED).await;
                    }
                }
            }
        }
    }
}

impl Project {
    /// Watches each Secret of others that a Stack takes, for as long as one does.
    async fn watch_taken(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut watches: BTreeMap<String, AbortHandle> = BTreeMap::new();
        loop {
            let taken = self.lock().taken();
            watches.retain(|name, watch| {
                let stays = taken.contains(name);
                if !stays {
                    watch.abort();
                }
                stays
            });
            for name in taken {
                let project = Arc::clone(&self);
                let start = |name: &String| tasks.spawn(project.watch_secret(name.clone()));
                watches.entry(name).or_insert_with_key(start);
            }
            tokio::select! {
                () = self.taken.notified() => {}
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    async fn watch_secret(self: Arc<Self>, name: String) {
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut stream = lasting(secrets, watcher::Config::default().fields(&format!("metadata.name={name}")));
        let mut listed = None;
        while let Some(event) = stream.next().await {
            let seen = match event {
                Ok(Event::Init) => {
                    listed = None;
                    continue;
                }
                Ok(Event::InitApply(secret)) => {
                    listed = values_set(&secret.metadata);
                    continue;
                }
                Ok(Event::InitDone) => listed,
                Ok(Event::Apply(secret)) => values_set(&secret.metadata),
                Ok(Event::Delete(_)) => None,
                Err(error) => {
                    tracing::debug!(namespace = %self.namespace, secret = name, %error, "a Secret can't be seen");
                    if is_denied(&error) {
                        tokio::time::sleep(UNSERVED).await;
                    }
                    continue;
                }
            };
            self.lock().seen_beside(&name, seen);
        }
    }
}

/// Secrets of others, as a look at each tells; one that can't be had is not known.
pub async fn look_at(project: &Project, names: BTreeSet<String>) -> BTreeMap<String, Option<Timestamp>> {
    let secrets: Api<Secret> = Api::namespaced(project.client.clone(), &project.namespace);
    let looks = names.into_iter().map(async |name| match secrets.get_metadata_opt(&name).await {
        Ok(found) => Some((name, found.and_then(|secret| values_set(&secret.metadata)))),
        Err(_) => None,
    });
    futures::future::join_all(looks).await.into_iter().flatten().collect()
}

/// When somebody last changed a value of a Secret, by the clock of the API server: labels and annotations change for many reasons,
/// and no pod needs to start anew for those. Format: Kubernetes API, `ManagedFieldsEntry`: its time is that of the last change
/// of a value that the manager owns.
fn values_set(metadata: &ObjectMeta) -> Option<Timestamp> {
    let managed = metadata.managed_fields.iter().flatten();
    let has_values = |fields: &FieldsV1| plan::keys_of(&fields.0).next().is_some();
    let of_values = managed.filter(|entry| entry.fields_v1.as_ref().is_some_and(has_values));
    let times = of_values.filter_map(|entry| entry.time.as_ref()).chain(&metadata.creation_timestamp);
    times.map(|time| time.0).max()
}

/// The rights for it may be lacking, or the kind itself; both come rarely.
fn is_denied(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, Error::Api(status) if matches!(status.code, 403 | 404))
}

/// When somebody last changed the spec of an object, by the clock of the API server, and never after now.
fn changed_at(object: &DynamicObject) -> Timestamp {
    let managed = object.metadata.managed_fields.iter().flatten();
    let of_spec = managed.filter(|entry| entry.subresource.is_none());
    let times = of_spec.filter_map(|entry| entry.time.as_ref()).chain(&object.metadata.creation_timestamp);
    times.map(|time| time.0).max().unwrap_or_default().min(clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_annotation_is_no_other_value() {
        let entry = |time: &str, fields: Value| json!({ "manager": time, "time": time, "fieldsV1": fields });
        let managed = [
            entry("2026-01-02T00:00:00Z", json!({ "f:data": { ".": {}, "f:password": {} } })),
            entry("2026-01-03T00:00:00Z", json!({ "f:metadata": { "f:annotations": {} } })),
        ];
        let metadata = json!({ "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed });
        let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
        assert_eq!(values_set(&metadata).unwrap().to_string(), "2026-01-02T00:00:00Z");
        let bare = ObjectMeta { managed_fields: None, ..metadata };
        assert_eq!(values_set(&bare).unwrap().to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn how_much_is_used_is_no_change_of_a_limit() {
        let entry = |time: &str, subresource: Option<&str>| json!({ "manager": "m", "operation": "Update", "time": time, "subresource": subresource });
        let managed = [entry("2026-01-02T00:00:00Z", None), entry("2026-01-03T00:00:00Z", Some("status"))];
        let metadata = json!({ "name": "q", "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed });
        let quota: DynamicObject = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        assert_eq!(changed_at(&quota).to_string(), "2026-01-02T00:00:00Z");
    }
}

//! What Stacks depend on in their project and hks does not manage: quotas and limit ranges. Who may not see them goes on without.

use super::Project;
use super::watches::{PAGE, UNSERVED, waits};
use crate::shell::clock;
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Error, ResourceExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Kinds of limits in a namespace, and their plurals.
const LIMITS: [(&str, &str); 2] = [("ResourceQuota", "resourcequotas"), ("LimitRange", "limitranges")];

/// Starts watching.
pub(super) fn start(project: &Arc<Project>, tasks: &mut JoinSet<()>) {
    for limit in LIMITS {
        tasks.spawn(Arc::clone(project).watch_limits(limit));
    }
}

impl Project {
    /// Notes when a limit is made, changed or taken away. How much of it is used changes all the time and is not looked at.
    async fn watch_limits(self: Arc<Self>, (kind, plural): (&'static str, &'static str)) {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let config = watcher::Config::default().page_size(PAGE);
        let mut stream = watch_stream(api, config).backoff(waits()).boxed();
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
                    if is_forbidden(&error) {
                        tokio::time::sleep(UNSERVED).await;
                    }
                }
            }
        }
    }
}

/// The rights for it may be lacking; they come rarely.
fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, Error::Api(status) if status.code == 403)
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
    fn how_much_is_used_is_no_change_of_a_limit() {
        let entry = |time: &str, subresource: Option<&str>| json!({ "manager": "m", "operation": "Update", "time": time, "subresource": subresource });
        let managed = [entry("2026-01-02T00:00:00Z", None), entry("2026-01-03T00:00:00Z", Some("status"))];
        let metadata = json!({ "name": "q", "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed });
        let quota: DynamicObject = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        assert_eq!(changed_at(&quota).to_string(), "2026-01-02T00:00:00Z");
    }
}

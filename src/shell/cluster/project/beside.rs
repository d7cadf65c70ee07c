//! Secrets of others that Stacks take. Who may not see them goes on without.

use super::Project;
use crate::plan;
use crate::shell::cluster::redactor::Values;
use crate::shell::cluster::watch::{UNSERVED, is_denied, lasting};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ObjectMeta};
use kube::ResourceExt;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Watches the Secrets of others that Stacks take, for as long as one does: all Secrets of the project by one watch, which brings
/// no values, and begins anew when Stacks take others than before.
pub async fn watch_taken(project: Arc<Project>) {
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(project.client.clone(), &project.namespace);
    loop {
        let taken: BTreeSet<_> = project.lock().taken().into_iter().collect();
        if taken.is_empty() {
            project.taken.notified().await;
            continue;
        }
        let mut stream = lasting(secrets.clone(), watcher::Config::default());
        let mut listed = BTreeMap::new();
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = project.taken.notified() => break,
            };
            match event {
                Some(Ok(event)) => {
                    let seen = hear_of_taken(&project, &taken, &mut listed, event);
                    if !read_values(&project, seen).await {
                        tokio::time::sleep(UNSERVED).await;
                        break;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(namespace = %project.namespace, %error, "Secrets of others can't be seen");
                    if is_denied(&error) {
                        tokio::time::sleep(UNSERVED).await;
                    }
                }
                None => return,
            }
        }
    }
}

fn hear_of_taken(
    project: &Project,
    taken: &BTreeSet<String>,
    listed: &mut BTreeMap<String, Option<Timestamp>>,
    event: Event<PartialObjectMeta<Secret>>,
) -> BTreeSet<String> {
    let is_taken = |secret: &PartialObjectMeta<Secret>| taken.contains(&secret.name_any());
    match event {
        Event::Init => listed.clear(),
        Event::Apply(secret) if !is_taken(&secret) => {}
        Event::InitApply(secret) if is_taken(&secret) => {
            listed.insert(secret.name_any(), values_set(&secret.metadata));
        }
        Event::InitDone => {
            let mut store = project.lock();
            for name in taken {
                store.seen_beside(name, listed.get(name).copied().flatten());
            }
            return listed.keys().cloned().collect();
        }
        Event::Apply(secret) => {
            project.lock().seen_beside(&secret.name_any(), values_set(&secret.metadata));
            return [secret.name_any()].into();
        }
        Event::Delete(secret) => project.lock().seen_beside(&secret.name_any(), None),
        Event::InitApply(_) => {}
    }
    BTreeSet::new()
}

/// Reads the values of Secrets, so that no word tells them; whether that worked.
async fn read_values(project: &Project, names: BTreeSet<String>) -> bool {
    let secrets: Api<Secret> = Api::namespaced(project.client.clone(), &project.namespace);
    for name in names {
        match secrets.get_opt(&name).await {
            Ok(found) => {
                let data = found.and_then(|secret| secret.data).unwrap_or_default();
                project.lock().hide(&name, None, Values::of(&data));
            }
            Err(error) => {
                tracing::warn!(namespace = %project.namespace, secret = name, %error, "failed to read a Secret that is taken; what may tell its values is not shown");
                return false;
            }
        }
    }
    true
}

/// Looks once at Secrets of others that are taken, and at their values; one that can't be had is not known.
pub async fn look_at(project: &Project, names: BTreeSet<String>) {
    let secrets: Api<Secret> = Api::namespaced(project.client.clone(), &project.namespace);
    let looks = names.iter().map(async |name| match secrets.get_metadata_opt(name).await {
        Ok(found) => project.lock().seen_beside(name, found.and_then(|secret| values_set(&secret.metadata))),
        Err(error) => tracing::debug!(secret = name, %error, "a Secret that is taken can't be seen"),
    });
    futures::future::join_all(looks).await;
    read_values(project, names).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
}

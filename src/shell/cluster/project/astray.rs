//! Objects that the watches do not show, since somebody has taken the label away by which they are chosen: what is not seen is
//! not gone.

use super::slim::slim;
use super::{MANAGER, Project};
use crate::ident::{ObjectKey, StackName};
use crate::manifest::STACK_LABEL;
use futures::{StreamExt, stream};
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// Requests at the same time.
const PARALLEL: usize = 8;

impl Project {
    /// Those of `keys` that are in nobody's picture.
    pub fn unseen<'a>(&self, keys: impl Iterator<Item = &'a ObjectKey>) -> Vec<ObjectKey> {
        let store = self.lock();
        keys.filter(|key| store.owner(key).is_none()).cloned().collect()
    }

    /// Looks for objects that hks made for a Stack and that no watch shows. What is there comes into the Stack's picture as it
    /// is; what is not is returned.
    pub async fn look_for(&self, stack: &StackName, keys: Vec<ObjectKey>) -> BTreeSet<ObjectKey> {
        let looks = keys.into_iter().map(async |key| {
            let found = self.api(key.kind).get_opt(&key.name).await;
            (key, found)
        });
        let answers: Vec<_> = stream::iter(looks).buffer_unordered(PARALLEL).collect().await;
        let mut gone = BTreeSet::new();
        for (key, answer) in answers {
            match answer {
                Ok(Some(object)) if is_made_for(stack, &object) => {
                    tracing::info!(%stack, %key, "its labels were taken away");
                    if let Some(object) = serde_json::to_value(object).ok().and_then(|object| slim(key.kind, object)) {
                        self.lock().found(stack, &key, object);
                    }
                }
                Ok(_) => {
                    gone.insert(key);
                }
                Err(error) => tracing::debug!(%stack, %key, %error, "failed to look for an object"),
            }
        }
        gone
    }
}

/// hks has written it, and not for another Stack.
fn is_made_for(stack: &StackName, object: &DynamicObject) -> bool {
    let managed = object.metadata.managed_fields.iter().flatten();
    let labels = object.metadata.labels.iter().flatten();
    let of_another = labels.into_iter().any(|(name, value)| name == STACK_LABEL && value != stack.as_str());
    !of_another && managed.into_iter().any(|entry| entry.manager.as_deref() == Some(MANAGER))
}

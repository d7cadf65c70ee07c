//! Reading what was not kept: of a Stack that nobody followed before, and of a project that fits its budget again.

use super::slim::slim;
use super::store::Unread;
use super::{Project, Topic};
use crate::ident::{Kind, ObjectKey};
use kube::ResourceExt;
use std::sync::Arc;
use std::time::Duration;

/// How long the lists wait at a start for those that say which Stacks they follow.
const OPEN: Duration = Duration::from_mins(1);
/// What is wanted at once is read together.
const TOGETHER: Duration = Duration::from_millis(200);
/// How long until it is looked again for what could not be read.
const AGAIN: Duration = Duration::from_secs(2);

/// Reads what is wanted of a project, for as long as it runs.
pub async fn read_unread(project: Arc<Project>) {
    let dismiss = async {
        project.ready().await;
        tokio::time::sleep(OPEN).await;
        project.lock().dismiss();
    };
    let left = Arc::clone(&project.lock().left);
    let read = async {
        loop {
            left.notified().await;
            tokio::time::sleep(TOGETHER).await;
            loop {
                let Some(unread) = project.lock().unread() else { break };
                if let Err(error) = project.read(unread).await {
                    tracing::debug!(namespace = %project.namespace, %error, "failed to read what was not kept");
                }
                if project.lock().unread().is_none() {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    tokio::join!(dismiss, read);
}

impl Project {
    async fn read(&self, unread: Unread) -> Result<(), kube::Error> {
        match unread {
            Unread::Objects(keys) => {
                for key in keys {
                    if let Some(object) = self.objects(key.kind).get_opt(&key.name).await?
                        && let Some(object) = slim(key.kind, object.value)
                    {
                        self.lock().read(&key, object);
                    }
                }
            }
            Unread::List(kind, stacks) => {
                let stacks: Vec<_> = stacks.iter().map(|stack| &**stack).collect();
                self.list(kind, &stacks).await?;
            }
            Unread::Kind(kind) => {
                self.list(kind, &[]).await?;
                self.lock().caught_up(kind);
            }
        }
        Ok(())
    }

    async fn list(&self, kind: Kind, stacks: &[&str]) -> Result<(), kube::Error> {
        let take = |object: super::Seen| {
            let key = ObjectKey::new(kind, object.name_any());
            if let Some(object) = slim(kind, object.value) {
                self.lock().read(&key, object);
            }
        };
        Topic::Objects(kind).list(&self.client, &self.namespace, stacks, take).await.map(drop)
    }
}

//! Where what people ask for by the endpoint is left: on the records of the projects that the daemon follows.

use crate::ident::StackName;
use crate::record::{Answered, Want};
use crate::shell::cluster::connection::Connected;
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::cluster::{lease, wish};
use crate::shell::web::endpoint::{Asking, Desk};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The projects of all sources.
#[derive(Default)]
pub struct Projects(RwLock<BTreeMap<String, Connected>>);

impl Projects {
    /// A source is followed, in this project.
    pub fn add(&self, source: &str, project: Connected) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(source.into(), project);
    }

    /// A source is followed no longer.
    pub fn remove(&self, source: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(source);
    }
}

impl Desk for Projects {
    fn ask(&self, source: &str, stack: &str, want: Want, by: String) -> Asking {
        let connected = self.0.read().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
        let project = connected.and_then(|connected| connected.borrow().clone());
        let (source, stack) = (source.to_owned(), StackName::new(stack));
        async move {
            let (Some(project), Some(stack)) = (project, stack) else {
                let message = "hks can't reach the project of this stack at the moment";
                return Err(Failure::new(FailureKind::Unreachable, message));
            };
            if !lease::is_held_for(&project, &stack, &source) {
                let message = "this source does not act for the stack at the moment: see its state";
                return Err(Failure::new(FailureKind::Final, message));
            }
            let maps: Api<ConfigMap> = Api::namespaced(project.client.clone(), &project.namespace);
            let clean = |text: &str| project.clean(&stack, text);
            let asked = async {
                let wish = wish::now(want, by)?;
                wish::leave(&maps, &stack, &wish).await?;
                let answer = wish::answered(&maps, &stack, &wish).await?;
                Ok::<_, Failure>((wish.id, answer))
            };
            match asked.await {
                Ok((id, answer)) => {
                    let told = |answer: Answered| Answered { refused: answer.refused.as_deref().map(clean), ..answer };
                    Ok((id, answer.map(told)))
                }
                Err(failure) => Err(Failure::new(failure.kind, clean(&failure.message))),
            }
        }
        .boxed()
    }
}

//! What pods print, with the values of the project's Secrets taken out.

use crate::shell::cluster::failure::{Explain, Failure};
use crate::shell::cluster::pages::paged;
use crate::shell::cluster::redactor::{self, Forms, Values};
use crate::spec;
use futures::io::AsyncBufRead;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use std::ops::ControlFlow;

/// Takes secret values out of text.
pub struct Redactor(Forms);

impl Redactor {
    /// Knows the values that the project's Secrets have now.
    ///
    /// # Errors
    /// When they can't be read: then nothing may be shown, since nothing could be taken out.
    pub async fn of(client: &Client, namespace: &str) -> Result<Self, Failure> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        // Helm keeps its releases in such, packed: none of what is in there stands in a text as it is
        let params = ListParams::default().fields("type!=helm.sh/release.v1");
        let page = |params: ListParams| {
            let secrets = secrets.clone();
            async move { secrets.list(&params).await }
        };
        let (mut forms, mut has_room) = (Forms::default(), true);
        let keep = |secret: Secret| {
            has_room = forms.learn(&Values::of(&secret.data.unwrap_or_default()));
            if has_room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let listed = paged(params, page, keep).await;
        listed.explain(|| "failed to read the Secrets whose values have to be taken out of a log".into())?;
        if !has_room {
            return Err(Failure::last(format!(
                "the Secrets of namespace {namespace} have more values than can be taken out of a log; see: kubectl logs -n {namespace}"
            )));
        }
        Ok(Self(forms))
    }

    /// `text` without them.
    pub fn clean(&self, text: &str) -> String {
        redactor::clean(text, &self.0)
    }

    /// Words of the cluster without them, and without credentials that can be told by their form.
    pub fn clean_words(&self, text: &str) -> String {
        spec::mask(&self.clean(text))
    }
}

/// Whether and how much of a log.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Of the run before this one.
    pub previous: bool,
    /// Last lines.
    pub tail: i64,
}

/// Bytes of the last lines that are read at most.
const MOST: i64 = 8 << 20;

fn params(container: &str, part: Part, follow: bool) -> LogParams {
    LogParams {
        container: Some(container.to_owned()),
        follow,
        previous: part.previous,
        tail_lines: Some(part.tail),
        limit_bytes: (!follow).then_some(MOST),
        ..LogParams::default()
    }
}

/// The last lines of a container.
///
/// # Errors
/// What the cluster said.
pub async fn last(pods: &Api<Pod>, pod: &str, container: &str, part: Part) -> Result<String, Failure> {
    pods.logs(pod, &params(container, part, false)).await.explain(|| format!("failed to read the log of {pod}"))
}

/// The lines of a container, as they come.
///
/// # Errors
/// What the cluster said.
pub async fn follow(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    part: Part,
) -> Result<impl AsyncBufRead + use<>, Failure> {
    pods.log_stream(pod, &params(container, part, true)).await.explain(|| format!("failed to follow the log of {pod}"))
}

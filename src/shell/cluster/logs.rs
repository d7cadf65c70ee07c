//! What pods print, with the values of the project's Secrets taken out.

use crate::shell::cluster::failure::{Explain, Failure};
use crate::shell::cluster::inspect;
use crate::spec;
use futures::io::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};

/// Takes secret values out of text.
pub struct Redactor {
    values: Vec<Vec<u8>>,
}

impl Redactor {
    /// Knows the values that the project's Secrets have now.
    ///
    /// # Errors
    /// When they can't be read: then nothing may be shown, since nothing could be taken out.
    pub async fn of(client: &Client, namespace: &str) -> Result<Self, Failure> {
        let found = inspect::hidden_values(client, namespace).await;
        let found = found.explain(|| "failed to read the Secrets whose values have to be taken out of a log".into())?;
        let values = found.ok_or_else(|| {
            Failure::last(format!(
                "the Secrets of namespace {namespace} have more values than can be taken out of a log; see: kubectl logs -n {namespace}"
            ))
        })?;
        Ok(Self { values })
    }

    /// `text` without them.
    pub fn clean(&self, text: String) -> String {
        inspect::redact(text, self.values.iter().cloned())
    }

    /// Words of the cluster without them, and without credentials that can be told by their form.
    pub fn clean_words(&self, text: String) -> String {
        spec::mask(&self.clean(text))
    }

    /// One line without them; of values that have several lines, each of them.
    pub fn clean_line(&self, line: String) -> String {
        let lines = |value: &Vec<u8>| value.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        inspect::redact(line, self.values.iter().cloned().chain(self.values.iter().flat_map(lines)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_secret_is_taken_out_of_lines() {
        let redactor = Redactor { values: vec![b"-----BEGIN KEY-----\nabcdefgh\n".to_vec(), b"s3cret-value".to_vec()] };
        assert_eq!(redactor.clean_line("key abcdefgh".into()), "key ***");
        assert_eq!(redactor.clean_line("password s3cret-value!".into()), "password ***!");
        assert_eq!(redactor.clean("s3cret-value".into()), "***");
    }
}

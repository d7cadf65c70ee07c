//! Why something did not work, as a kind: what the caller does next, and with which code a command ends, follows from it.

use crate::ident::Component;
use crate::machine::Fault;
use crate::shell::cluster::bounds::{Excess, cause};
use crate::shell::cluster::proof::Slept;
use kube::Error;
use std::fmt;

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Trying again may help.
    Transient,
    /// Trying again won't help.
    Final,
    /// Arguments don't fit what is there.
    Usage,
    /// The cluster, the vCluster or the project can't be reached.
    Unreachable,
    /// The cluster forbids it.
    Forbidden,
}

/// A failure with its kind, in a fragment that fits "error: …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// What failed, why, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A failure that trying again won't cure.
    pub fn last(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Final, message)
    }

    /// There is no way to the cluster; of the error, the innermost one says why.
    pub fn unreachable(error: &(dyn std::error::Error + 'static), what: &str) -> Self {
        Self::new(FailureKind::Unreachable, format!("{what}: {}", root(error)))
    }

    /// A cluster's answer to `what` was tried, such as `failed to list Stacks`.
    pub fn of(error: &Error, what: &str) -> Self {
        let kind = match error {
            Error::Api(status) => match status.code {
                401 | 403 => FailureKind::Forbidden,
                408 | 429 | 500..=599 => FailureKind::Transient,
                _ => FailureKind::Final,
            },
            Error::SerdeError(_) | Error::FromUtf8(_) | Error::BuildRequest(_) => FailureKind::Final,
            _ => FailureKind::Unreachable,
        };
        let said = match error {
            Error::Api(status) => status.message.clone(),
            other => root(other),
        };
        Self::new(kind, format!("{what}: {said}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let kind = if fault.transient { FailureKind::Transient } else { FailureKind::Final };
        let object = if fault.object.is_empty() { String::new() } else { format!("{}: ", fault.object) };
        Self::new(kind, format!("{object}{}", fault.message))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::last(format!("{error:#}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::last(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::last(error.to_string())
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        let text = error.to_string();
        Self::new(FailureKind::Usage, text.trim_start_matches("error: ").trim().to_owned())
    }
}

/// Says what was tried where a cluster said no.
pub trait Explain<T> {
    /// The same result, with a [`Failure`].
    ///
    /// # Errors
    /// If it was one.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Explain<T> for Result<T, Error> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::of(&error, &what()))
    }
}

/// What an error about an object means that belongs to no app or database.
pub fn describe_own(error: &Error, object: String) -> Fault {
    describe(error, object, Component::Stack)
}

/// What an error means. A refusal is final; anything that may pass by itself is not.
pub fn describe(error: &Error, object: String, component: Component) -> Fault {
    let (transient, message) = match error {
        Error::Api(status) => (passes(status.code, &status.reason, &status.message), status.message.clone()),
        error if let Some(excess) = Excess::of(error) => (true, excess.to_string()),
        error if let Some(slept) = cause::<Slept>(error) => (true, slept.to_string()),
        Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) | Error::HttpError(_) => {
            (true, format!("the cluster does not answer: {}", root(error)))
        }
        other => (false, other.to_string()),
    };
    Fault { transient, object, component, message }
}

/// Whether an answer of an API server may be another one soon. Two writes that meet are no refusal, and neither is a quota
/// or a vCluster that met another write on the way and says so with a code of its own.
fn passes(code: u16, reason: &str, message: &str) -> bool {
    let says = |text: &str| message.contains(text);
    matches!(code, 401 | 408 | 429 | 500 | 502 | 503 | 504)
        || (code == 409 && (reason == "Conflict" || says("being deleted")))
        || (matches!(code, 403 | 409) && says("the object has been modified"))
        // the namespace goes, and may come again
        || says("because it is being terminated")
        || (code == 404 && message.starts_with("namespaces "))
        // a controller makes it a moment after the namespace
        || (code == 403 && says("error looking up service account"))
}

/// The innermost error: the outer ones only say that something failed.
pub fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    if error.is::<tokio::time::error::Elapsed>() {
        return "there was no answer in time".into();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16) -> FailureKind {
        let status = Status { code, message: "no".into(), ..Status::default() };
        Failure::of(&Error::Api(Box::new(status)), "failed to list").kind
    }

    #[test]
    fn the_code_of_an_answer_says_its_kind() {
        assert_eq!(api(403), FailureKind::Forbidden);
        assert_eq!(api(503), FailureKind::Transient);
        assert_eq!(api(404), FailureKind::Final);
        let gone = Error::Service(Box::new(std::io::Error::other("connection refused")));
        let failure = Failure::of(&gone, "failed to list");
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert_eq!(failure.to_string(), "failed to list: connection refused");
    }

    #[test]
    fn a_conflict_is_no_refusal() {
        let modified = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified; please apply \
                        your changes to the latest version and try again";
        assert!(passes(409, "Conflict", modified) && passes(403, "Forbidden", modified));
        assert!(passes(409, "AlreadyExists", "object is being deleted: pods \"p\" already exists"));
        assert!(passes(403, "Forbidden", "unable to create new content in namespace p because it is being terminated"));
        assert!(passes(404, "NotFound", "namespaces \"p\" not found"));
        let account =
            "pods \"x\" is forbidden: error looking up service account p/default: serviceaccount \"default\" not found";
        assert!(passes(403, "Forbidden", account));
        assert!(!passes(403, "Forbidden", "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"));
        assert!(!passes(409, "AlreadyExists", "services \"s\" already exists"));
        assert!(
            !passes(422, "Invalid", "spec.replicas: Invalid value")
                && !passes(404, "NotFound", "the server could not find it")
        );
    }
}

//! The names of troubles: what went wrong, in a form that a record can keep and a person understands.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands before a public host that a deployment was refused.
pub const HOST: &str = "host ";

/// Why a deployment did not work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Cause {
    /// hks.yaml can't be used; nothing was touched.
    InvalidSpec {
        /// How many mistakes there are.
        count: usize,
        /// The first one, with place and fix.
        first: String,
    },
    /// An image can't be pulled, and trying again won't help.
    ImagePull {
        /// The app or database.
        component: String,
        /// The image reference.
        image: String,
        /// Short reason, such as `manifest unknown`.
        reason: String,
        /// The pod that tried.
        pod: String,
    },
    /// The registry did not answer as it should until the deadline.
    ImagePullTimeout {
        /// The image reference.
        image: String,
        /// The last message.
        reason: String,
    },
    /// No room in the node pool for longer than `deploy.capacity.wait`.
    Capacity {
        /// What was asked and what the scheduler said.
        message: String,
    },
    /// The pod can't be scheduled for a reason that waiting won't change.
    Unschedulable {
        /// What the scheduler said.
        message: String,
    },
    /// A quota or limit of the workspace or project.
    LimitExceeded {
        /// The app or database.
        component: String,
        /// Which limit.
        resource: Resource,
        /// Such as `9Gi`.
        limit: String,
        /// What is used already; empty where the limit is one for each container.
        used: String,
        /// What this object asks for.
        asked: String,
        /// The component is a database.
        database: bool,
    },
    /// The container went over its own memory limit.
    OutOfMemory {
        /// The app or database.
        component: String,
        /// The limit, such as `256Mi`.
        limit: String,
        /// The pod.
        pod: String,
    },
    /// The container ends again and again.
    CrashLoop {
        /// The app or database.
        component: String,
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// Exit code of the last run.
        exit_code: i32,
        /// Its last log lines.
        log: String,
        /// Which key of hks.yaml may cure it, where the log tells.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        hint: String,
    },
    /// It did not become ready in `deploy.timeout`.
    NotReady {
        /// The app or database.
        component: String,
        /// The pod, if there is one.
        pod: String,
        /// What was still missing.
        message: String,
        /// Its last log lines.
        log: String,
        /// Which key of hks.yaml may cure it, where the log tells.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        hint: String,
    },
    /// The container can't be started as configured, for example because a Secret is missing.
    Configuration {
        /// The app or database.
        component: String,
        /// What the kubelet said.
        message: String,
    },
    /// The public URL does not answer although the pods are ready.
    UrlNotLive {
        /// The address.
        url: String,
        /// What came instead.
        message: String,
    },
    /// The API server refused an object.
    Rejected {
        /// The object, or [`HOST`] and a public host that somebody else has.
        object: String,
        /// What it said.
        message: String,
    },
    /// The plan itself is impossible; nothing was touched.
    Refused {
        /// The object.
        object: String,
        /// Why, and what to do.
        message: String,
    },
    /// A job of the release did not end well.
    JobFailed {
        /// The job.
        job: String,
        /// Its last pod.
        pod: String,
        /// What Kubernetes said.
        message: String,
        /// The last log lines.
        log: String,
        /// Which key of hks.yaml may cure it, where the log tells.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        hint: String,
    },
    /// Keys of a secret are not set yet; nothing was touched. It goes on by itself once they are.
    SecretMissing {
        /// The Stack.
        stack: String,
        /// The secret's name in the file.
        secret: String,
        /// The keys.
        keys: Vec<String>,
    },
    /// Something outside of the commit did not answer until the deadline.
    Unavailable {
        /// What, and how it failed.
        message: String,
    },
    /// A person asked for it.
    Requested {
        /// By whom, as far as known.
        by: String,
    },
}

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Memory.
    Memory,
    /// CPU.
    Cpu,
    /// Volumes: their size or number.
    Storage,
    /// Anything else that a quota counts, such as `pods`.
    Other(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Memory => "memory",
            Resource::Cpu => "cpu",
            Resource::Storage => "storage",
            Resource::Other(name) => name,
        })
    }
}

impl Cause {
    /// Whether the commit is at fault (`failure`), rather than the platform or a limit (`error`).
    pub fn is_fault_of_commit(&self) -> bool {
        match self {
            Cause::InvalidSpec { .. }
            | Cause::ImagePull { .. }
            | Cause::CrashLoop { .. }
            | Cause::NotReady { .. }
            | Cause::Configuration { .. }
            | Cause::Refused { .. }
            | Cause::JobFailed { .. }
            | Cause::SecretMissing { .. }
            | Cause::Requested { .. } => true,
            Cause::ImagePullTimeout { .. }
            | Cause::Capacity { .. }
            | Cause::Unschedulable { .. }
            | Cause::LimitExceeded { .. }
            | Cause::OutOfMemory { .. }
            | Cause::UrlNotLive { .. }
            | Cause::Rejected { .. }
            | Cause::Unavailable { .. } => false,
        }
    }

    /// A word for metrics: no user text, few values.
    pub fn label(&self) -> &'static str {
        match self {
            Cause::InvalidSpec { .. } => "invalid_spec",
            Cause::ImagePull { .. } => "image_pull",
            Cause::ImagePullTimeout { .. } => "image_pull_timeout",
            Cause::Capacity { .. } => "capacity",
            Cause::Unschedulable { .. } => "unschedulable",
            Cause::LimitExceeded { .. } => "limit_exceeded",
            Cause::OutOfMemory { .. } => "out_of_memory",
            Cause::CrashLoop { .. } => "crash_loop",
            Cause::NotReady { .. } => "not_ready",
            Cause::Configuration { .. } => "configuration",
            Cause::UrlNotLive { .. } => "url_not_live",
            Cause::Rejected { .. } => "rejected",
            Cause::Refused { .. } => "refused",
            Cause::JobFailed { .. } => "job_failed",
            Cause::SecretMissing { .. } => "secret_missing",
            Cause::Unavailable { .. } => "unavailable",
            Cause::Requested { .. } => "requested",
        }
    }

    /// The pod and container whose last log lines explain the trouble, and whether its previous run is meant.
    pub fn log_source(&self) -> Option<(&str, bool)> {
        match self {
            Cause::CrashLoop { pod, .. } => Some((pod, true)),
            Cause::NotReady { pod, .. } | Cause::JobFailed { pod, .. } if !pod.is_empty() => Some((pod, false)),
            _ => None,
        }
    }

    /// Whether it holds, or is explained by, words of a container or the kubelet: they may quote a secret.
    pub fn may_quote(&self) -> bool {
        self.log_source().is_some() || matches!(self, Cause::Configuration { .. } | Cause::NotReady { .. })
    }

    /// The same cause with every text of the outside changed, such as by taking secrets out.
    #[must_use]
    pub fn map_texts(mut self, change: impl Fn(&str) -> String) -> Self {
        match &mut self {
            Cause::Configuration { message, .. } => *message = change(message),
            Cause::NotReady { message, log, .. } | Cause::JobFailed { message, log, .. } => {
                *message = change(message);
                *log = change(log);
            }
            Cause::CrashLoop { log, .. } => *log = change(log),
            _ => {}
        }
        self
    }

    /// The same cause with the log lines that explain it.
    #[must_use]
    pub fn with_log(mut self, lines: String) -> Self {
        if let Cause::CrashLoop { log, hint, .. }
        | Cause::NotReady { log, hint, .. }
        | Cause::JobFailed { log, hint, .. } = &mut self
        {
            *log = lines;
            hint.clear();
        }
        self
    }
}

impl fmt::Display for Cause {
    /// One line; the log lines are left out, except for the last one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = |log: &str| {
            let line = log.lines().rev().find(|line| !line.trim().is_empty()).map(str::trim);
            line.map(|line| format!(": {line}")).unwrap_or_default()
        };
        let also = |hint: &str| if hint.is_empty() { String::new() } else { format!("; {hint}") };
        match self {
            Cause::InvalidSpec { count: 0 | 1, first } => write!(f, "{first}"),
            Cause::InvalidSpec { count, first } => write!(f, "{first} (and {} more)", count - 1),
            Cause::ImagePull { image, reason, .. } => write!(f, "image pull failed ({reason}): {image}"),
            Cause::ImagePullTimeout { image, reason } => write!(f, "image pull timed out ({reason}): {image}"),
            Cause::Capacity { message } => write!(f, "no capacity in time: {message}"),
            Cause::Unschedulable { message } => write!(f, "can't be scheduled: {message}"),
            Cause::LimitExceeded { component, resource, limit, used, asked, database } => {
                if *database {
                    write!(f, "database resources insufficient: ")?;
                }
                write!(f, "{resource} limit exceeded: {component} asks {asked}, ")?;
                if used.is_empty() { write!(f, "limit {limit}") } else { write!(f, "used {used} of {limit}") }
            }
            Cause::OutOfMemory { component, limit, .. } => {
                write!(f, "{component} ran out of memory (OOMKilled at its limit of {limit})")
            }
            Cause::CrashLoop { component, exit_code, log, hint, .. } => {
                write!(f, "{component} crashes (exit code {exit_code}){}{}", last(log), also(hint))
            }
            Cause::NotReady { component, message, log, hint, .. } => {
                write!(f, "{component} did not become ready: {message}{}{}", last(log), also(hint))
            }
            Cause::Configuration { component, message } => write!(f, "{component} can't start: {message}"),
            Cause::UrlNotLive { url, message } => write!(f, "{url} does not answer: {message}"),
            Cause::Rejected { object, message } => write!(f, "{object} was rejected: {message}"),
            Cause::Refused { object, message } => write!(f, "{object}: {message}"),
            Cause::JobFailed { job, message, log, hint, .. } => {
                write!(f, "job {job} failed: {message}{}{}", last(log), also(hint))
            }
            Cause::SecretMissing { stack, secret, keys } => {
                let key = keys.first().map(String::as_str).unwrap_or_default();
                write!(
                    f,
                    "{} of secret `{secret}` is not set; run `hks secret set {stack} {secret} {key}`",
                    keys.join(", ")
                )
            }
            Cause::Unavailable { message } => write!(f, "{message}"),
            Cause::Requested { by } => write!(f, "rollback requested by {by}"),
        }
    }
}

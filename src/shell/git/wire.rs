//! What is asked of the process that reads a repository, and answered. Both ends are the same program.

use super::{Follows, Remote};
use crate::ident::{Message, Revision};
use crate::machine::Content;
use crate::shell::credential::Hidden;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What a process that reads a repository may take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// How long nothing may come.
    pub silence: Duration,
    /// How long all of it may take.
    pub time: Duration,
    /// How long it may compute.
    pub cpu: Duration,
    /// Bytes of memory.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silence: Duration::from_mins(1),
            time: Duration::from_mins(15),
            cpu: Duration::from_mins(2),
            memory: 256 * 1024 * 1024,
        }
    }
}

/// One question.
#[derive(Serialize, Deserialize)]
pub(super) struct Question<K> {
    pub folder: PathBuf,
    pub login: Login,
    pub limits: Limits,
    pub what: What<K>,
}

/// What is wanted; `K` is a reading, given or taken.
#[derive(Serialize, Deserialize)]
pub(super) enum What<K> {
    Look { paths: String, known: Option<K> },
    Older { short: String, path: String },
    Before,
}

/// A [`Remote`] with its secrets: it goes through a pipe to a process of this program and nowhere else.
#[derive(Serialize, Deserialize)]
pub(super) struct Login {
    pub url: String,
    follows: Follows,
    username: Option<String>,
    password: Option<String>,
    ssh_key: Option<String>,
    host_keys: Vec<String>,
    signers: Option<Vec<String>>,
}

impl Login {
    pub(super) fn of(remote: &Remote) -> Self {
        let Remote { url, follows, username, password, ssh_key, host_keys, signers } = remote.clone();
        let exposed = |hidden: Option<Hidden>| hidden.map(|hidden| hidden.expose().to_owned());
        Self { url, follows, username, password: exposed(password), ssh_key: exposed(ssh_key), host_keys, signers }
    }

    pub(super) fn remote(self) -> Remote {
        let Self { url, follows, username, password, ssh_key, host_keys, signers } = self;
        Remote {
            url,
            follows,
            username,
            password: password.map(Hidden::new),
            ssh_key: ssh_key.map(Hidden::new),
            host_keys,
            signers,
        }
    }
}

/// What is told of an older commit.
pub(super) type OlderCommit = (Revision, Content, Option<Message>);

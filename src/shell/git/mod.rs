//! Repositories, each read by a process of its own: libgit2 has no time-outs, recurses into what anybody has pushed, and unpacks it in
//! memory. A process that takes too long or too much ends without harm to anything else, and what it had fetched is fetched again.

mod wire;
mod ask;
mod read;
mod tags;
mod signed;
mod mirror;
mod serve;

pub use ask::{Repository, Turn};
pub use read::{Found, MAX_STACKS, Reading, StackFile};
pub use serve::serve;
pub use wire::Limits;

use crate::ident::{Message, Revision};
use crate::shell::credential::Hidden;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a repository is and how to get in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Remote {
    /// URL or path.
    pub url: String,
    /// What is followed.
    pub follows: Follows,
    /// User name.
    pub username: Option<String>,
    /// Password or token.
    pub password: Option<Hidden>,
    /// Private key in OpenSSH format.
    pub ssh_key: Option<Hidden>,
    /// Trusted host keys, `type base64`.
    pub host_keys: Vec<String>,
    /// Public keys of those who sign its commits; `None` if nobody has to.
    pub signers: Option<Vec<String>>,
}

/// What of a repository is followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Follows {
    /// The head of a branch.
    Branch(String),
    /// The highest version among the tags that fit a glob.
    Tag(String),
}

impl fmt::Display for Follows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(pattern) => write!(f, "tag {pattern}"),
        }
    }
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum GitError {
    /// The branch is not there (any more).
    #[error("branch {0} does not exist in the repository; nothing is deleted")]
    NoBranch(String),
    /// No tag fits (any more).
    #[error("no tag of the repository fits {0}; nothing is deleted")]
    NoTag(String),
    /// What is followed has never led to this commit.
    #[error("{follows} of the repository has no commit {id}; see `hks history`, or push it there")]
    NoCommit {
        /// The branch or the tags.
        follows: String,
        /// As it was asked for.
        id: String,
    },
    /// The platform wants commits to be signed, and this one is not by whom it should.
    #[error("commit {} {why}; nothing of it is deployed, and what runs stays", revision.short())]
    Unsigned {
        /// The commit.
        revision: Revision,
        /// Why it does not count as signed.
        why: String,
    },
    /// The credentials are not accepted. They are tried again when they change, at a webhook, and after a long wait.
    #[error(
        "the repository refuses the credentials of {0}; correct them, they are tried again when they change, and now and then"
    )]
    Refused(String),
    /// The server is not the one that was pinned.
    #[error("{0}")]
    HostKey(String),
    /// The mirror is damaged: a crash or a full disk has torn it.
    #[error("the mirror of {url} is damaged ({message}); it is made anew")]
    Torn {
        /// Without credentials.
        url: String,
        /// What git said.
        message: String,
    },
    /// Anything else, such as a server that does not answer.
    #[error("failed to fetch {url}: {message}")]
    Other {
        /// Without credentials.
        url: String,
        /// What git said.
        message: String,
    },
}

impl GitError {
    /// The credentials of `remote` are not accepted.
    pub fn refused(remote: &Remote) -> Self {
        Self::Refused(remote.username.clone().unwrap_or_else(|| "nobody".into()))
    }
}

/// What the commits say of themselves that the repository around the current folder knows.
pub fn commits<'a>(revisions: impl Iterator<Item = &'a str>) -> BTreeMap<String, Message> {
    let Ok(repository) = git2::Repository::discover(".") else { return BTreeMap::new() };
    let told = |revision: &str| {
        let commit = repository.find_commit(git2::Oid::from_str(revision).ok()?).ok()?;
        Some((revision.to_owned(), read::message(&commit)))
    };
    revisions.filter_map(told).collect()
}

/// Whether there is a mirror in a folder: libgit2 keeps each reference in a file of its own.
pub fn is_mirror(folder: &Path) -> bool {
    folder.join(mirror::HEAD).is_file()
}

fn is_local(url: &str) -> bool {
    url.starts_with("file://") || url.starts_with('/') || url.starts_with('.')
}

/// The folder to watch where `url` is a repository of this machine.
pub fn local_folder(url: &str) -> Option<PathBuf> {
    let path = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
    let inner = path.join(".git");
    is_local(url).then_some(if inner.is_dir() { inner } else { path })
}

/// A URL without user and password.
pub fn public_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
}

//! A bare mirror of a repository: fetch one branch, read blobs. There is never a worktree, so no path of a repository
//! ever becomes a path of this machine (Argo CD CVE-2022-24348, Flux CVE-2022-24877).

use crate::ident::Revision;
use crate::machine::{Commit, Content};
use crate::shell::config::Hidden;
use crate::spec::MAX_BYTES;
use git2::{
    CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode, FetchOptions, ObjectType, Oid,
    RemoteCallbacks, Repository, TreeWalkMode, TreeWalkResult,
};
use globset::{Glob, GlobMatcher};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that one fetch may bring.
const MAX_FETCH: usize = 512 * 1024 * 1024;
/// Stacks of one repository.
const MAX_STACKS: usize = 2000;
/// Where the followed branch is kept in the mirror.
const HEAD: &str = "refs/hks/head";

/// Where a repository is and how to get in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Remote {
    /// URL or path.
    pub url: String,
    /// Branch.
    pub branch: String,
    /// User name.
    pub username: Option<String>,
    /// Password or token.
    pub password: Option<Hidden>,
    /// Private key in OpenSSH format.
    pub ssh_key: Option<Hidden>,
    /// Trusted host keys, `type base64`.
    pub host_keys: Vec<String>,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The branch is not there (any more).
    #[error("branch {0} does not exist in the repository; nothing is deleted")]
    NoBranch(String),
    /// The credentials are not accepted. They are not tried again until they change.
    #[error("the repository refuses the credentials of {0}; correct them, they are tried again when they change")]
    Refused(String),
    /// The server is not the one that was pinned.
    #[error("{0}")]
    HostKey(String),
    /// Anything else, such as a server that does not answer.
    #[error("failed to fetch {url}: {message}")]
    Other {
        /// Without credentials.
        url: String,
        /// What git said.
        message: String,
    },
}

/// A Stack's file in a commit.
#[derive(Clone, Debug)]
pub struct StackFile {
    /// Path in the repository.
    pub path: Arc<str>,
    /// Object id of the file: equal ids are equal contents.
    pub id: String,
    /// The file.
    pub content: Content,
}

/// The mirror of one branch.
pub struct Mirror {
    folder: PathBuf,
    remote: Remote,
    paths: GlobMatcher,
}

impl Mirror {
    /// A mirror in `folder`; files that match `paths` are Stacks.
    pub fn new(folder: PathBuf, remote: Remote, paths: &str) -> Result<Self, globset::Error> {
        Ok(Self { folder, remote, paths: Glob::new(paths)?.compile_matcher() })
    }

    /// Brings the mirror up to date and tells the newest commit. Where nothing is new, this is one small request.
    pub fn fetch(&self) -> Result<Revision, GitError> {
        let repository = self.open().or_else(|_| {
            // a mirror that was torn by a crash is worth nothing and quickly made again
            let _ = remove(&self.folder);
            self.open().map_err(|error| self.error(&error))
        })?;
        let mut remote = repository.remote_anonymous(&self.remote.url).map_err(|error| self.error(&error))?;
        let refused = Cell::new(false);
        let stranger = Cell::new(None);
        let explain = |error: git2::Error| {
            if let Some(message) = stranger.take() {
                return GitError::HostKey(message);
            }
            let denied = error.code() == ErrorCode::Auth
                || (error.class() == ErrorClass::Http && ["401", "403"].iter().any(|c| error.message().contains(c)));
            if refused.get() || denied {
                return GitError::Refused(self.remote.username.clone().unwrap_or_else(|| "nobody".into()));
            }
            self.error(&error)
        };
        let wanted = {
            let callbacks = self.callbacks(&refused, &stranger);
            let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), None).map_err(explain)?;
            let name = format!("refs/heads/{}", self.remote.branch);
            let heads = connection.list().map_err(|error| self.error(&error))?;
            let found = heads.iter().find(|head| head.name() == name).map(git2::RemoteHead::oid);
            found.ok_or_else(|| GitError::NoBranch(self.remote.branch.clone()))?
        };
        let known = repository.refname_to_id(HEAD).ok();
        if known != Some(wanted) {
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(&refused, &stranger));
            // libgit2's local transport knows no shallow fetch
            if !is_local(&self.remote.url) {
                options.depth(1);
            }
            let spec = format!("+refs/heads/{}:{HEAD}", self.remote.branch);
            remote.fetch(&[&spec], Some(&mut options), None).map_err(explain)?;
        }
        let head = repository.refname_to_id(HEAD).map_err(|error| self.error(&error))?;
        Ok(Revision::new(head.to_string()))
    }

    /// The Stacks of a commit in the order of their paths.
    pub fn stacks(&self, revision: &Revision) -> Result<Vec<StackFile>, GitError> {
        let read = || -> Result<Vec<StackFile>, git2::Error> {
            let repository = self.open()?;
            let tree = repository.find_commit(Oid::from_str(revision.as_str())?)?.tree()?;
            let mut found = vec![];
            tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
                let Ok(name) = entry.name() else { return TreeWalkResult::Ok };
                let path = format!("{folder}{name}");
                let tree = entry.kind() == Some(ObjectType::Tree);
                if !tree && self.paths.is_match(&path) && found.len() < MAX_STACKS {
                    found.push((path, entry.id(), entry.filemode()));
                }
                TreeWalkResult::Ok
            })?;
            let files = found.into_iter().map(|(path, id, mode)| {
                let path: Arc<str> = path.into();
                let content = content(&repository, &path, id, mode);
                Ok(StackFile { path, id: id.to_string(), content: content? })
            });
            files.collect()
        };
        read().map_err(|error| self.error(&error))
    }

    /// The file at `path` in the commit that `short` names, for a rollback that a person asks for. Shallow mirrors hold few
    /// old commits, so it is fetched by its id if need be.
    pub fn older(&self, short: &str, path: &str) -> Result<Commit, GitError> {
        let read = || -> Result<Commit, git2::Error> {
            let repository = self.open()?;
            if repository.revparse_single(short).is_err() && short.len() >= 40 {
                let (refused, stranger) = (Cell::new(false), Cell::new(None));
                let mut options = FetchOptions::new();
                options.remote_callbacks(self.callbacks(&refused, &stranger)).depth(1);
                repository.remote_anonymous(&self.remote.url)?.fetch(&[short], Some(&mut options), None)?;
            }
            let commit = repository.revparse_single(short)?.peel_to_commit()?;
            let entry = commit.tree()?.get_path(Path::new(path))?;
            let content = content(&repository, &path.into(), entry.id(), entry.filemode())?;
            Ok(Commit { revision: Revision::new(commit.id().to_string()), content })
        };
        read().map_err(|error| self.error(&error))
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        Repository::open_bare(&self.folder).or_else(|_| Repository::init_bare(&self.folder))
    }

    fn callbacks<'a>(&'a self, refused: &'a Cell<bool>, stranger: &'a Cell<Option<String>>) -> RemoteCallbacks<'a> {
        let mut callbacks = RemoteCallbacks::new();
        let tried = Cell::new(CredentialType::empty());
        callbacks.credentials(move |_, from_url, allowed| {
            let user = self.remote.username.as_deref().or(from_url).unwrap_or("git");
            // libgit2 asks again for ever while credentials are wrong (libgit2#3471): each kind is offered once
            let once = |kind: CredentialType| {
                let first = allowed.contains(kind) && !tried.get().contains(kind);
                tried.set(tried.get() | if first { kind } else { CredentialType::empty() });
                first
            };
            if once(CredentialType::USERNAME) {
                return Cred::username(user);
            }
            if let Some(key) = &self.remote.ssh_key
                && once(CredentialType::SSH_KEY)
            {
                return Cred::ssh_key_from_memory(user, None, key.expose(), None);
            }
            if let Some(password) = &self.remote.password
                && once(CredentialType::USER_PASS_PLAINTEXT)
            {
                return Cred::userpass_plaintext(user, password.expose());
            }
            refused.set(true);
            Err(git2::Error::from_str("no credentials that were not tried already"))
        });
        callbacks.certificate_check(move |certificate, host| match certificate.as_hostkey() {
            Some(key) => {
                use base64::Engine as _;
                let offered = base64::engine::general_purpose::STANDARD.encode(key.hostkey().unwrap_or_default());
                let pinned = |line: &String| line.split_whitespace().any(|word| word == offered);
                if !offered.is_empty() && self.remote.host_keys.iter().any(pinned) {
                    return Ok(CertificateCheckStatus::CertificateOk);
                }
                stranger.set(Some(format!(
                    "the host key of {host} is not among hostKeys; if it may be trusted, add the line that ssh-keyscan prints"
                )));
                Err(git2::Error::from_str("unknown host key"))
            }
            // TLS is verified by libgit2 itself
            None => Ok(CertificateCheckStatus::CertificatePassthrough),
        });
        callbacks.transfer_progress(|progress| progress.received_bytes() <= MAX_FETCH);
        callbacks
    }

    fn error(&self, error: &git2::Error) -> GitError {
        GitError::Other { url: public_url(&self.remote.url), message: error.message().to_owned() }
    }
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
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

/// Symlinks and submodules are refused: what they point at is not part of the commit.
fn content(repository: &Repository, path: &Arc<str>, id: Oid, mode: i32) -> Result<Content, git2::Error> {
    let unusable = |message: String| Ok(Content::Unusable { message });
    match mode & 0o170_000 {
        0o120_000 => return unusable(format!("{path} is a symbolic link; commit the file itself")),
        0o160_000 => return unusable(format!("{path} is a submodule; commit the file itself")),
        _ => {}
    }
    let (size, _) = repository.odb()?.read_header(id)?;
    if size > MAX_BYTES {
        let (size, most) = (size / 1024, MAX_BYTES / 1024);
        return unusable(format!("{path} has {size} KiB, at most {most} are read; make it smaller"));
    }
    Ok(Content::File { path: Arc::clone(path), source: repository.find_blob(id)?.content().into() })
}

#[expect(clippy::disallowed_methods, reason = "the mirror is a folder of this adapter")]
fn remove(folder: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(folder)
}

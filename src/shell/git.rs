//! A bare mirror of a repository: fetch one branch, read blobs. There is never a worktree, so no path of a repository
//! ever becomes a path of this machine (Argo CD CVE-2022-24348, Flux CVE-2022-24877).

use crate::ident::Revision;
use crate::machine::{Commit, Content};
use crate::shell::config::Hidden;
use crate::spec::{self, Document, Files, MAX_BYTES, MAX_FILE};
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
}

/// What of a repository is followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Follows {
    /// The head of a branch.
    Branch(String),
    /// The highest version among the tags that fit a glob.
    Tag(String),
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The branch is not there (any more).
    #[error("branch {0} does not exist in the repository; nothing is deleted")]
    NoBranch(String),
    /// No tag fits (any more).
    #[error("no tag of the repository fits {0}; nothing is deleted")]
    NoTag(String),
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
    pub fn fetch(&self) -> Result<(Revision, Option<String>), GitError> {
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
        let (wanted, id) = {
            let callbacks = self.callbacks(&refused, &stranger);
            let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), None).map_err(explain)?;
            let heads = connection.list().map_err(|error| self.error(&error))?;
            self.remote.follows.among(heads.iter().map(|head| (head.name(), head.oid())))?
        };
        let known = repository.refname_to_id(HEAD).ok();
        if known != Some(id) {
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(&refused, &stranger));
            // libgit2's local transport knows no shallow fetch
            if !is_local(&self.remote.url) {
                options.depth(1);
            }
            let spec = format!("+{wanted}:{HEAD}");
            remote.fetch(&[&spec], Some(&mut options), None).map_err(explain)?;
        }
        let head = repository.find_reference(HEAD).and_then(|head| head.peel_to_commit());
        let head = head.map_err(|error| self.error(&error))?.id();
        let tag = wanted.strip_prefix("refs/tags/").map(str::to_owned);
        Ok((Revision::new(head.to_string()), tag))
    }

    /// The Stacks of a commit in the order of their paths.
    pub fn stacks(&self, revision: &Revision, tag: Option<&str>) -> Result<Vec<StackFile>, GitError> {
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
                let mut content = content(&repository, &path, id, mode)?;
                let others = others(&repository, &tree, &mut content, tag)?;
                Ok(StackFile { path, id: format!("{id}{others}{}", tag.unwrap_or_default()), content })
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
            let mut content = content(&repository, &path.into(), entry.id(), entry.filemode())?;
            others(&repository, &commit.tree()?, &mut content, None)?;
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
    Ok(Content::File(Document::new(Arc::clone(path), repository.find_blob(id)?.content())))
}

/// Adds the other files that an hks.yaml names, and says which versions of them these are.
fn others(
    repository: &Repository,
    tree: &git2::Tree<'_>,
    content: &mut Content,
    tag: Option<&str>,
) -> Result<String, git2::Error> {
    let Content::File(document) = content else { return Ok(String::new()) };
    document.tag = tag.map(str::to_owned);
    let (mut files, mut versions) = (Files::default(), String::new());
    for name in spec::files_of(&document.source) {
        let Ok(entry) = tree.get_path(Path::new(&spec::resolve(&document.path, &name))) else { continue };
        versions.push_str(&entry.id().to_string());
        let plain = matches!(entry.filemode() & 0o170_000, 0o100_000);
        let (size, _) = repository.odb()?.read_header(entry.id())?;
        if !plain {
            files.refuse(&name, format!("`{name}` is not a plain file"));
        } else if size > MAX_FILE {
            files.refuse(&name, format!("`{name}` has {} KiB", size.div_ceil(1024)));
        } else {
            files.add(&name, repository.find_blob(entry.id())?.content().to_vec());
        }
    }
    document.files = Arc::new(files);
    Ok(versions)
}

impl Follows {
    /// The reference that is followed, and what it points at now.
    fn among<'h>(&self, heads: impl Iterator<Item = (&'h str, Oid)>) -> Result<(String, Oid), GitError> {
        match self {
            Follows::Branch(branch) => {
                let name = format!("refs/heads/{branch}");
                let found = heads.into_iter().find(|(head, _)| *head == name);
                found.map(|(name, id)| (name.to_owned(), id)).ok_or_else(|| GitError::NoBranch(branch.clone()))
            }
            Follows::Tag(pattern) => {
                let none = || GitError::NoTag(pattern.clone());
                let glob = Glob::new(pattern).map_err(|_| none())?.compile_matcher();
                let fits = |(name, id): (&'h str, Oid)| {
                    // `^{}` is what an annotated tag points at
                    let tag = name.strip_prefix("refs/tags/").filter(|tag| !tag.ends_with("^{}"))?;
                    glob.is_match(tag).then(|| (version(tag), name.to_owned(), id))
                };
                let found = heads.filter_map(fits).max_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
                found.map(|(_, name, id)| (name, id)).ok_or_else(none)
            }
        }
    }
}

/// The version in a tag such as `v1.2.3` or `app-1.2`; a tag without one is the lowest.
fn version(tag: &str) -> Option<semver::Version> {
    let digits = tag.find(|c: char| c.is_ascii_digit())?;
    let text = tag.get(digits..)?;
    let padded = [text.to_owned(), format!("{text}.0"), format!("{text}.0.0")];
    padded.iter().find_map(|text| semver::Version::parse(text).ok())
}

#[expect(clippy::disallowed_methods, reason = "the mirror is a folder of this adapter")]
fn remove(folder: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(folder)
}

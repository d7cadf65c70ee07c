//! A bare mirror of a repository: fetch one branch, read blobs. There is never a worktree, so no path of a repository
//! ever becomes a path of this machine (Argo CD CVE-2022-24348, Flux CVE-2022-24877).

use super::read::{self, Found, Reading};
use super::{GitError, Remote, is_local, public_url};
use crate::ident::Revision;
use crate::machine::Commit;
use git2::{
    CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, RemoteCallbacks,
    RemoteRedirect, Repository,
};
use globset::{Glob, GlobMatcher};
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// Bytes that one fetch may bring.
const MAX_FETCH: usize = 512 * 1024 * 1024;
/// Where the followed branch is kept in the mirror.
const HEAD: &str = "refs/hks/head";
/// Fetches after which a mirror is made anew: libgit2 never packs what they have brought into one.
const MOST_PACKS: usize = 100;

/// The mirror of one branch.
pub(super) struct Mirror {
    folder: PathBuf,
    remote: Remote,
    paths: GlobMatcher,
    /// Called while something comes.
    alive: fn(),
}

impl Mirror {
    /// A mirror in `folder`; files that match `paths` are Stacks.
    pub(super) fn new(folder: PathBuf, remote: Remote, paths: &str, alive: fn()) -> Result<Self, globset::Error> {
        Ok(Self { folder, remote, paths: Glob::new(paths)?.compile_matcher(), alive })
    }

    /// Brings the mirror up to date and reads what is new since `known`. Where nothing is new, this is one small request.
    pub(super) fn look(&self, known: Option<&Reading>) -> Result<Option<Found>, GitError> {
        match self.try_look(known) {
            // it holds nothing that the remote does not have, and is quickly made again
            Err(GitError::Torn { .. }) => {
                let _ = remove(&self.folder);
                self.try_look(None)
            }
            done => done,
        }
    }

    fn try_look(&self, known: Option<&Reading>) -> Result<Option<Found>, GitError> {
        let (id, tag) = self.fetch()?;
        if known.is_some_and(|known| known.is_of(id, tag.as_deref())) {
            return Ok(None);
        }
        let repository = self.open().map_err(|error| self.error(&error))?;
        read::read(&repository, &self.paths, id, tag, known).map(Some).map_err(|error| self.torn(&error))
    }

    /// Fetches the newest commit; with the tag that it is reached by.
    fn fetch(&self) -> Result<(Oid, Option<String>), GitError> {
        if packs(&self.folder) > MOST_PACKS {
            let _ = remove(&self.folder);
        }
        let repository = self.open().or_else(|_| {
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
            if error.message().starts_with("cannot redirect") {
                return self
                    .other("its server sends it to another host, which gets no credentials; if that is right, write that one as url");
            }
            let denied = error.code() == ErrorCode::Auth
                || (error.class() == ErrorClass::Http && ["401", "403"].iter().any(|c| error.message().contains(c)));
            if refused.get() || denied {
                return GitError::refused(&self.remote);
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
            let mut options = self.fetch_options(&refused, &stranger);
            let spec = format!("+{wanted}:{HEAD}");
            remote.fetch(&[&spec], Some(&mut options), None).map_err(explain)?;
        }
        let head = repository.find_reference(HEAD).and_then(|head| head.peel_to_commit());
        let head = head.map_err(|error| self.torn(&error))?.id();
        let tag = wanted.strip_prefix("refs/tags/").map(str::to_owned);
        Ok((head, tag))
    }

    /// The file at `path` in the commit that `short` names, for a rollback that a person asks for. Shallow mirrors hold few
    /// old commits, so it is fetched by its id if need be.
    pub(super) fn older(&self, short: &str, path: &str) -> Result<Commit, GitError> {
        let read = || -> Result<Commit, git2::Error> {
            // whoever may annotate the record says it, and git knows many other ways to name something
            if !(4..=64).contains(&short.len()) || !short.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(git2::Error::from_str("it is not the id of a commit"));
            }
            let repository = self.open()?;
            if repository.revparse_single(short).is_err() && short.len() >= 40 {
                let (refused, stranger) = (Cell::new(false), Cell::new(None));
                let mut options = self.fetch_options(&refused, &stranger);
                repository.remote_anonymous(&self.remote.url)?.fetch(&[short], Some(&mut options), None)?;
            }
            let commit = repository.revparse_single(short)?.peel_to_commit()?;
            let content = read::file(&repository, &commit.tree()?, path, None)?;
            let message = Some(read::message(&commit));
            Ok(Commit { revision: Revision::new(commit.id().to_string()), content, message })
        };
        read().map_err(|error| match error.code() {
            ErrorCode::NotFound => GitError::NoCommit(short.to_owned()),
            _ => self.error(&error),
        })
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        let repository = Repository::open_bare(&self.folder).or_else(|_| Repository::init_bare(&self.folder))?;
        // libgit2 hands credentials to whatever host it is redirected to; within a host it goes on following
        repository.config()?.set_bool("http.followRedirects", false)?;
        Ok(repository)
    }

    fn fetch_options<'a>(&'a self, refused: &'a Cell<bool>, stranger: &'a Cell<Option<String>>) -> FetchOptions<'a> {
        let mut options = FetchOptions::new();
        options.remote_callbacks(self.callbacks(refused, stranger)).follow_redirects(RemoteRedirect::None);
        // libgit2's local transport knows no shallow fetch
        if !is_local(&self.remote.url) {
            options.depth(1);
        }
        options
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
        callbacks.transfer_progress(|progress| {
            (self.alive)();
            progress.received_bytes() <= MAX_FETCH
        });
        callbacks.sideband_progress(|_| {
            (self.alive)();
            true
        });
        callbacks
    }

    fn other(&self, message: &str) -> GitError {
        GitError::Other { url: public_url(&self.remote.url), message: message.to_owned() }
    }

    fn error(&self, error: &git2::Error) -> GitError {
        let (url, message) = (public_url(&self.remote.url), error.message().to_owned());
        let local =
            matches!(error.class(), ErrorClass::Odb | ErrorClass::Zlib | ErrorClass::Reference | ErrorClass::Indexer);
        if local { GitError::Torn { url, message } } else { GitError::Other { url, message } }
    }

    /// An error about what has been fetched: all of it is there, unless the mirror is damaged.
    fn torn(&self, error: &git2::Error) -> GitError {
        let (url, message) = (public_url(&self.remote.url), error.message().to_owned());
        // an error of our own has no class
        if error.class() == ErrorClass::None {
            GitError::Other { url, message }
        } else {
            GitError::Torn { url, message }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the mirror is a folder of this adapter")]
pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(folder)
}

#[expect(clippy::disallowed_methods, reason = "the mirror is a folder of this adapter")]
fn packs(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("objects/pack")).map_or(0, Iterator::count) / 2
}

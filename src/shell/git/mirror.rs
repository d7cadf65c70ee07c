//! A bare mirror of a repository: fetch one branch, read blobs. There is never a worktree, so no path of a repository
//! ever becomes a path of this machine (Argo CD CVE-2022-24348, Flux CVE-2022-24877).

use super::read::{self, Found, Reading};
use super::signed;
use super::{Follows, GitError, Remote, is_local, public_url};
use crate::ident::Revision;
use crate::machine::Commit;
use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode, FetchOptions, Oid,
    RemoteCallbacks, RemoteHead, RemoteRedirect, Repository,
};
use globset::{Glob, GlobMatcher};
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// Bytes that one fetch may bring.
const MAX_FETCH: usize = 512 * 1024 * 1024;
/// Where the followed branch is kept in the mirror.
pub(super) const HEAD: &str = "refs/hks/head";
/// Fetches after which a mirror is made anew: libgit2 never packs what they have brought into one.
const MOST_PACKS: usize = 100;

/// … and a tag that is gone back to.
const OLDER: &str = "refs/hks/older";
/// Earlier commits that are told of.
const EARLIER: usize = 20;
/// Commits of history that are looked through for an older one, all of it in the end.
const DEPTHS: [i32; 3] = [64, 4096, i32::MAX];

/// What was refused while a server was spoken to.
#[derive(Default)]
struct Talk {
    /// All credentials.
    refused: Cell<bool>,
    /// Its host key: why.
    stranger: Cell<Option<String>>,
}

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
        self.see_signed(&repository, id)?;
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
        let (wanted, id) = self.followed(&repository)?;
        if repository.refname_to_id(HEAD).ok() != Some(id) {
            self.bring(&repository, &format!("+{wanted}:{HEAD}"), 1)?;
        }
        let head = repository.find_reference(HEAD).and_then(|head| head.peel_to_commit());
        let head = head.map_err(|error| self.torn(&error))?.id();
        let tag = wanted.strip_prefix("refs/tags/").map(str::to_owned);
        Ok((head, tag))
    }

    /// The file at `path` in the commit that `short` names, for a rollback that a person asks for.
    pub(super) fn older(&self, short: &str, path: &str) -> Result<Commit, GitError> {
        // whoever may annotate the record says it, and git knows many other ways to name something
        if !(4..=64).contains(&short.len()) || !short.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.other("it is not the id of a commit"));
        }
        let mut repository = self.open().map_err(|error| self.error(&error))?;
        if repository.refname_to_id(HEAD).is_err() {
            self.fetch()?;
            repository = self.open().map_err(|error| self.error(&error))?;
        }
        let commit = self.search(&repository, short)?;
        self.see_signed(&repository, commit.id())?;
        let content = commit.tree().and_then(|tree| read::file(&repository, &tree, path, None));
        let content = content.map_err(|error| self.error(&error))?;
        let message = Some(read::message(&commit));
        Ok(Commit { revision: Revision::new(commit.id().to_string()), content, message })
    }

    /// The commits before the one that is followed, newest first.
    pub(super) fn before(&self) -> Result<Vec<Revision>, GitError> {
        let repository = self.open().map_err(|error| self.error(&error))?;
        let walk = || -> Result<Vec<Revision>, git2::Error> {
            let mut walk = repository.revwalk()?;
            walk.push_ref(HEAD)?;
            walk.simplify_first_parent()?;
            // a shallow history is cut off somewhere
            let all = walk.skip(1).take(EARLIER).map_while(Result::ok);
            Ok(all.map(|id| Revision::new(id.to_string())).collect())
        };
        let known = walk().map_err(|error| self.torn(&error))?;
        if known.len() == EARLIER || !repository.is_shallow() {
            return Ok(known);
        }
        let (wanted, _) = self.followed(&repository)?;
        self.bring(&repository, &format!("+{wanted}:{HEAD}"), DEPTHS[0])?;
        walk().map_err(|error| self.torn(&error))
    }

    /// Sees that a commit is signed, where that is wanted. Whoever signs it vouches for all that led to it.
    fn see_signed(&self, repository: &Repository, commit: Oid) -> Result<(), GitError> {
        let Some(signers) = &self.remote.signers else { return Ok(()) };
        signed::check(repository, commit, signers)
            .map_err(|why| GitError::Unsigned { revision: Revision::new(commit.to_string()), why })
    }

    /// The commit that `short` names. A forge serves any id, also of forks and of changes that nobody has merged, so nothing is
    /// fetched by its id: the mirror holds only what is followed, what led to it, and what was followed before.
    fn search<'r>(&self, repository: &'r Repository, short: &str) -> Result<git2::Commit<'r>, GitError> {
        let find = || repository.revparse_single(short).and_then(|object| object.peel_to_commit()).ok();
        if let Some(commit) = find() {
            return Ok(commit);
        }
        if repository.is_shallow() {
            let (wanted, _) = self.followed(repository)?;
            for depth in DEPTHS.into_iter().take_while(|_| repository.is_shallow()) {
                self.bring(repository, &format!("+{wanted}:{HEAD}"), depth)?;
                if let Some(commit) = find() {
                    return Ok(commit);
                }
            }
        }
        // a tag of before need not be in the history of the newest one
        if matches!(self.remote.follows, Follows::Tag(_))
            && let Some((tag, id)) = self.listed(repository, |heads| self.remote.follows.older(short, named(heads)))?
        {
            self.bring(repository, &format!("+{tag}:{OLDER}"), 1)?;
            let commit = repository.find_object(id, None).and_then(|object| object.peel_to_commit());
            return commit.map_err(|error| self.torn(&error));
        }
        Err(GitError::NoCommit { follows: self.remote.follows.to_string(), id: short.to_owned() })
    }

    /// What is followed, and what it points at now.
    fn followed(&self, repository: &Repository) -> Result<(String, Oid), GitError> {
        self.listed(repository, |heads| self.remote.follows.among(named(heads)))?
    }

    /// What is made of the references that the server lists: there may be a million of them.
    fn listed<T>(&self, repository: &Repository, of: impl FnOnce(&[RemoteHead<'_>]) -> T) -> Result<T, GitError> {
        let mut remote = repository.remote_anonymous(&self.remote.url).map_err(|error| self.error(&error))?;
        let talk = Talk::default();
        let connection = remote.connect_auth(Direction::Fetch, Some(self.callbacks(&talk)), None);
        let connection = connection.map_err(|error| self.explain(&error, &talk))?;
        connection.list().map(of).map_err(|error| self.error(&error))
    }

    /// Fetches what `spec` says, with so many commits of its history.
    fn bring(&self, repository: &Repository, spec: &str, depth: i32) -> Result<(), GitError> {
        let mut remote = repository.remote_anonymous(&self.remote.url).map_err(|error| self.error(&error))?;
        let talk = Talk::default();
        let mut options = FetchOptions::new();
        options.remote_callbacks(self.callbacks(&talk)).follow_redirects(RemoteRedirect::None);
        options.download_tags(AutotagOption::None);
        // libgit2's local transport knows no shallow fetch
        if !is_local(&self.remote.url) {
            options.depth(depth);
        }
        remote.fetch(&[spec], Some(&mut options), None).map_err(|error| self.explain(&error, &talk))
    }

    /// Why the server gives nothing.
    fn explain(&self, error: &git2::Error, talk: &Talk) -> GitError {
        if let Some(message) = talk.stranger.take() {
            return GitError::HostKey(message);
        }
        if error.message().starts_with("cannot redirect") {
            return self
                .other("its server sends it to another host, which gets no credentials; if that is right, write that one as url");
        }
        let denied = error.code() == ErrorCode::Auth
            || (error.class() == ErrorClass::Http && ["401", "403"].iter().any(|c| error.message().contains(c)));
        if talk.refused.get() || denied { GitError::refused(&self.remote) } else { self.error(error) }
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        let repository = Repository::open_bare(&self.folder).or_else(|_| Repository::init_bare(&self.folder))?;
        // libgit2 hands credentials to whatever host it is redirected to; within a host it goes on following
        repository.config()?.set_bool("http.followRedirects", false)?;
        Ok(repository)
    }

    fn callbacks<'a>(&'a self, talk: &'a Talk) -> RemoteCallbacks<'a> {
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
            talk.refused.set(true);
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
                talk.stranger.set(Some(format!(
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

fn named<'h>(heads: &'h [RemoteHead<'h>]) -> impl Iterator<Item = (&'h str, Oid)> {
    heads.iter().map(|head| (head.name(), head.oid()))
}

#[expect(clippy::disallowed_methods, reason = "the mirror is a folder of this adapter")]
pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(folder)
}

#[expect(clippy::disallowed_methods, reason = "the mirror is a folder of this adapter")]
fn packs(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("objects/pack")).map_or(0, Iterator::count) / 2
}

//! Asking the process that reads a repository.

use super::wire::{Limits, Login, OlderCommit, Question, What};
use super::{Found, GitError, Reading, Remote, public_url};
use crate::ident::Revision;
use crate::machine::Commit;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// Bytes of an answer: what is read of a repository at most, and what is remembered of it.
const MOST_ANSWERED: usize = 24 * 1024 * 1024;
/// Bytes of its last words.
const LAST_WORDS: usize = 512;
/// Repositories that are read at the same time: each may take some memory.
const TOGETHER: usize = 4;
/// After this whoever is still read only waits for its server, and makes room: a few servers that never answer must not keep the
/// repositories of others from being read.
const QUICK: Duration = Duration::from_secs(3);
/// The environment that it gets; the daemon's own may hold credentials.
const ENVIRONMENT: [&str; 4] = ["HOME", "PATH", FILE_OF_AUTHORITIES, FOLDER_OF_AUTHORITIES];
/// Variables by which OpenSSL finds the authorities that it trusts.
const FILE_OF_AUTHORITIES: &str = "SSL_CERT_FILE";
const FOLDER_OF_AUTHORITIES: &str = "SSL_CERT_DIR";
/// Where Debian, Alpine and others keep them by the hash of their names.
const AUTHORITIES: &str = "/etc/ssl/certs";
/// This program, also after it was replaced by another version.
const MYSELF: &str = "/proc/self/exe";

/// Whether the authorities are kept by hash.
static HASHED: LazyLock<bool> = LazyLock::new(is_hashed);

static ROOM: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(TOGETHER));

/// One process at a time writes a mirror.
pub type Turn = Arc<Mutex<()>>;

/// A repository as the daemon reaches it.
pub struct Repository {
    folder: PathBuf,
    remote: Remote,
    paths: String,
    program: PathBuf,
    limits: Limits,
    turn: Turn,
}

impl Repository {
    /// A repository that is mirrored in `folder`; files that match `paths` are Stacks.
    pub fn new(folder: PathBuf, remote: Remote, paths: &str) -> Self {
        Self {
            folder,
            remote,
            paths: paths.to_owned(),
            program: MYSELF.into(),
            limits: Limits::default(),
            turn: Turn::default(),
        }
    }

    /// The same, read by another hks than this process, and within other limits.
    #[must_use]
    pub fn by(self, program: &Path, limits: Limits) -> Self {
        Self { program: program.to_owned(), limits, ..self }
    }

    /// Brings the mirror up to date and reads what is new since `known`; `None` where nothing is new.
    ///
    /// # Errors
    /// Why it can't be fetched or read.
    pub async fn look(&self, known: Option<&Reading>) -> Result<Option<Found>, GitError> {
        self.ask(What::Look { paths: self.paths.clone(), known }).await
    }

    /// The file at `path` in the commit that `short` names, for a rollback that a person asks for.
    ///
    /// # Errors
    /// Nobody has the commit, or it can't be fetched or read.
    pub async fn older(&self, short: &str, path: &str) -> Result<Commit, GitError> {
        let found = self.ask(What::<&Reading>::Older { short: short.to_owned(), path: path.to_owned() }).await;
        let (revision, content, message): OlderCommit = found?;
        Ok(Commit { revision, content, message })
    }

    /// The commits that the branch led to before the one that was read last, newest first, as far as they are told of.
    ///
    /// # Errors
    /// They can't be fetched or read.
    pub async fn before(&self) -> Result<Vec<Revision>, GitError> {
        self.ask(What::<&Reading>::Before).await
    }

    /// The same, read when nobody else who has this turn reads it.
    #[must_use]
    pub fn in_turn(self, turn: &Turn) -> Self {
        Self { turn: Arc::clone(turn), ..self }
    }

    async fn ask<A: DeserializeOwned>(&self, what: What<&Reading>) -> Result<A, GitError> {
        let failed = |message: String| GitError::Other { url: public_url(&self.remote.url), message };
        let _turn = self.turn.lock().await;
        let room = ROOM.acquire().await.ok();
        let login = Login::of(&self.remote);
        let question = Question { folder: self.folder.clone(), login, limits: self.limits, what };
        let question = postcard::to_stdvec(&question).map_err(|error| failed(error.to_string()))?;
        let mut child = self.spawn().map_err(|error| failed(format!("failed to start a process for it: {error}")))?;
        let answer = self.converse(&mut child, &question, room).await.map_err(failed)?;
        postcard::from_bytes::<Result<A, GitError>>(&answer).unwrap_or_else(|error| Err(failed(error.to_string())))
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .arg("git")
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Reading all authorities takes libgit2 most of the time of a look in which nothing is new, and it reads them when it starts. Where
    /// they are kept by hash, OpenSSL reads only those that it needs; without TLS it needs none.
    #[expect(clippy::disallowed_methods, reason = "the process gets some of this one's environment")]
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let given = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut environment: Vec<_> = given.collect();
        let chosen = environment.iter().any(|(name, _)| [FILE_OF_AUTHORITIES, FOLDER_OF_AUTHORITIES].contains(name));
        let speaks_tls = self.remote.url.starts_with("https:");
        if !speaks_tls || (!chosen && *HASHED) {
            environment.retain(|(name, _)| ![FILE_OF_AUTHORITIES, FOLDER_OF_AUTHORITIES].contains(name));
            environment.push((FILE_OF_AUTHORITIES, "/dev/null".into()));
            environment.push((FOLDER_OF_AUTHORITIES, AUTHORITIES.into()));
        }
        environment
    }

    /// Hands the question over and takes the answer. Why there is none is told in words.
    async fn converse(
        &self,
        child: &mut Child,
        question: &[u8],
        mut room: Option<SemaphorePermit<'_>>,
    ) -> Result<Vec<u8>, String> {
        let gone = || "the process that reads it has no pipes".to_owned();
        let mut input = child.stdin.take().ok_or_else(gone)?;
        let mut output = child.stdout.take().ok_or_else(gone)?;
        let mut words = child.stderr.take().ok_or_else(gone)?;
        let write = async move {
            // whoever has ended says why by itself
            let _ = input.write_all(question).await;
        };
        let (mut answer, mut last_words) = (vec![], vec![]);
        let (late, slow) = (Instant::now() + self.limits.time, Instant::now() + QUICK);
        let mut silent = Instant::now() + self.limits.silence;
        tokio::pin!(write);
        let (mut written, mut open) = (false, (true, true));
        while open.0 || open.1 {
            tokio::select! {
                () = &mut write, if !written => written = true,
                read = take(&mut output, &mut answer), if open.0 => open.0 = read,
                read = take(&mut words, &mut last_words), if open.1 => {
                    open.1 = read;
                    silent = Instant::now() + self.limits.silence;
                    last_words.drain(..last_words.len().saturating_sub(LAST_WORDS));
                }
                () = sleep_until(slow), if room.is_some() => room = None,
                () = sleep_until(silent.min(late)) => {
                    let waited = if late <= silent { self.limits.time } else { self.limits.silence };
                    return Err(format!("the server has not answered for {}", humantime::format_duration(waited)));
                }
            }
            if answer.len() > MOST_ANSWERED {
                return Err(format!("it has more than {} MiB of files that are read", MOST_ANSWERED / 1024 / 1024));
            }
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(answer);
        }
        let last_words = String::from_utf8_lossy(&last_words);
        let said = last_words.trim_matches(|c: char| c == '.' || c.is_whitespace());
        Err(format!(
            "reading it takes more than it may, or fails ({status}): {}",
            said.lines().last().unwrap_or_default()
        ))
    }
}

#[expect(clippy::disallowed_methods, reason = "it is looked how this machine keeps the authorities")]
fn is_hashed() -> bool {
    // such as 4042bcee.0
    let hashed = |name: &str| name.len() == 10 && name.ends_with(".0");
    let names = std::fs::read_dir(AUTHORITIES).into_iter().flatten().flatten();
    names.filter(|entry| entry.file_name().to_str().is_some_and(hashed)).count() > 10
}

/// Takes what has come; returns whether there may be more.
async fn take(from: &mut (impl AsyncRead + Unpin), to: &mut Vec<u8>) -> bool {
    from.read_buf(to).await.is_ok_and(|read| read > 0)
}

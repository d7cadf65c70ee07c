//! The process that reads a repository: one question on its standard input, one answer on its standard output. Anything that it
//! writes to standard error says that it is still at work.

use super::mirror::Mirror;
use super::wire::{OlderCommit, Question, What};
use super::{GitError, Reading, public_url};
use crate::machine::Commit;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::Serialize;
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

/// Bytes that may be written to a file: more than a fetch may bring, with its index.
const MOST_WRITTEN: u64 = 1024 * 1024 * 1024;
/// Files that are open at the same time.
const MOST_OPEN: u64 = 256;
/// How often it is said that something comes.
const TICK: Duration = Duration::from_secs(1);

/// Takes one question from standard input and answers it. It has the process to itself, and blocks it.
///
/// # Errors
/// Nobody takes the answer, or the question is none.
pub fn serve() -> anyhow::Result<()> {
    // whoever asked may be killed
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let mut question = vec![];
    std::io::stdin().read_to_end(&mut question)?;
    let Question { folder, login, limits, what } = postcard::from_bytes::<Question<Reading>>(&question)?;
    drop(question);
    restrict(limits.cpu, limits.memory);
    let (url, remote) = (public_url(&login.url), login.remote());
    let mirror = |paths: &str| {
        Mirror::new(folder, remote, paths, alive).map_err(|error| GitError::Other { url, message: error.to_string() })
    };
    match what {
        What::Look { paths, known } => answer(&mirror(&paths).and_then(|mirror| mirror.look(known.as_ref()))),
        What::Older { short, path } => {
            let older = mirror("hks.yaml").and_then(|mirror| mirror.older(&short, &path));
            let told = |Commit { revision, content, message }| -> OlderCommit { (revision, content, message) };
            answer(&older.map(told))
        }
        What::Before => answer(&mirror("hks.yaml").and_then(|mirror| mirror.before())),
    }
}

fn answer(answer: &impl Serialize) -> anyhow::Result<()> {
    let bytes = postcard::to_stdvec(answer)?;
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}

/// Says that something comes, once in a while.
#[expect(clippy::disallowed_methods, reason = "all of this process waits for git")]
fn alive() {
    thread_local! {
        static SAID: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    if SAID.get().is_none_or(|said| said.elapsed() >= TICK) {
        SAID.set(Some(Instant::now()));
        let _ = std::io::stderr().write_all(b".");
    }
}

/// Takes the means to do harm from this process. What the machine does not offer is done without.
fn restrict(cpu: Duration, memory: u64) {
    let limit = |resource, most| {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    };
    limit(Resource::Cpu, cpu.as_secs().max(1));
    limit(Resource::Data, memory);
    limit(Resource::Fsize, MOST_WRITTEN);
    limit(Resource::Nofile, MOST_OPEN);
    limit(Resource::Core, 0);
    // where memory runs out for all, this goes first
    let _ = oom_first();
}

#[expect(clippy::disallowed_methods, reason = "the kernel takes it as a file")]
fn oom_first() -> std::io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", "1000")
}

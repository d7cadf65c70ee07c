//! What a daemon keeps in its data folder: who it is, and the key that seals records.

use crate::config::Config;
use crate::record::SealKey;
use crate::shell::{chance, git};
use anyhow::{Context as _, Result, bail};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the data of another daemon is waited for: a process that one was about to start when it was killed holds its lock until
/// it runs a program of its own.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The name of this daemon for the Leases, kept with its data: a daemon that was killed comes back as the same one and
/// need not wait for itself. The lock sees that no second daemon on this machine is that one, too.
#[expect(clippy::disallowed_methods, reason = "the data folder is this adapter's")]
pub(super) async fn identity(folder: &Path) -> Result<(String, File)> {
    let failed =
        || format!("failed to use data folder {}; set --data-dir to one that can be written", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    let lock = File::create(folder.join("lock")).with_context(failed)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_PATIENCE / 50).await,
            Err(TryLockError::WouldBlock) => bail!("failed to start: another hks uses {}", folder.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
    }
    let path = folder.join("identity");
    if let Ok(known) = std::fs::read_to_string(&path)
        && !known.trim().is_empty()
    {
        return Ok((known.trim().to_owned(), lock));
    }
    let bytes = chance::bytes::<4>()?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let me = format!("{}-{}", if host.trim().is_empty() { "hks" } else { host.trim() }, hex::encode(bytes));
    std::fs::write(&path, &me).with_context(failed)?;
    Ok((me, lock))
}

/// The key that seals records; without one in the configuration, it is kept with the daemon's data.
#[expect(
    clippy::disallowed_methods,
    reason = "the data folder is this adapter's, and the key is named by the configuration"
)]
pub(super) fn seal_key(config: &Config) -> Result<SealKey> {
    let path = config.seal_key.clone().unwrap_or_else(|| config.data_dir.join("seal.key"));
    let failed = || format!("failed to use the key that seals records, {}", path.display());
    if config.seal_key.is_none() && !path.exists() {
        let bytes = chance::bytes::<{ SealKey::LEN }>()?;
        // a daemon that is killed meanwhile leaves no half of a key
        let new = path.with_extension("new");
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let written = file.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
        written.and_then(|()| std::fs::rename(&new, &path)).with_context(failed)?;
    }
    let bytes = std::fs::read(&path).with_context(failed)?;
    let short = || {
        format!(
            "{} bytes are not enough, {} are; make another one: openssl rand -out {} 32",
            bytes.len(),
            SealKey::LEAST,
            path.display()
        )
    };
    SealKey::new(&bytes).with_context(short).with_context(failed)
}

/// Where the mirror of a source is.
pub(super) fn mirror(config: &Config, source: &str) -> PathBuf {
    mirrors(config).join(source)
}

fn mirrors(config: &Config) -> PathBuf {
    config.data_dir.join("git")
}

/// Takes away the mirror of a source that left the configuration; nobody may work in it any more. What is no mirror stays: the data
/// folder may be one where somebody keeps other things, too.
#[expect(clippy::disallowed_methods, reason = "the data folder is this adapter's")]
pub(super) fn forget(mirror: &Path) {
    if !git::is_mirror(mirror) {
        return;
    }
    match std::fs::remove_dir_all(mirror) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(folder = %mirror.display(), %error, "failed to delete a mirror that nothing needs");
        }
        _ => {}
    }
}

/// Takes away the mirrors of sources that left the configuration while no daemon ran.
#[expect(clippy::disallowed_methods, reason = "the data folder is this adapter's")]
pub(super) fn forget_others(config: &Config) {
    let folders = std::fs::read_dir(mirrors(config)).into_iter().flatten().filter_map(Result::ok);
    for folder in folders {
        if !folder.file_name().to_str().is_some_and(|name| config.sources.contains_key(name)) {
            forget(&folder.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the data folder is this adapter's")]
    async fn a_lock_that_outlives_a_killed_daemon_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let lock = File::create(folder.path().join("lock")).unwrap();
        lock.try_lock().unwrap();
        let let_go = async { drop(lock) };
        let (started, ()) = tokio::join!(biased; identity(folder.path()), let_go);
        let (me, _lock) = started.unwrap();
        assert!(!me.is_empty());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "mirrors in a folder")]
    fn only_mirrors_that_nothing_needs_go() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "dataDir: {}\nsources: {{shop: {{namespace: shop, git: {{url: /nowhere}}}}}}\n",
            folder.path().display()
        );
        let config = Config::parse(&text, Path::new("hks.yaml")).unwrap();
        let mirror = |name: &str| {
            let repository = git2::Repository::init_bare(self::mirror(&config, name)).unwrap();
            let tree = repository.treebuilder(None).unwrap().write().unwrap();
            let (tree, who) =
                (repository.find_tree(tree).unwrap(), git2::Signature::now("x", "x@example.com").unwrap());
            repository.commit(Some("refs/hks/head"), &who, &who, "x", &tree, &[]).unwrap();
        };
        mirror("shop");
        mirror("blog");
        // somebody's own
        git2::Repository::init_bare(self::mirror(&config, "mine")).unwrap();
        std::fs::create_dir_all(self::mirror(&config, "notes")).unwrap();
        forget_others(&config);
        let left = ["shop", "blog", "mine", "notes"].map(|name| self::mirror(&config, name).exists());
        assert_eq!(left, [true, false, true, true]);
        forget(&self::mirror(&config, "none"));
    }
}

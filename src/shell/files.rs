//! Reading the files that a person names.

use crate::spec::{self, Document, Files, MAX_FILE};
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file at `path`, or standard input for `-`.
///
/// # Errors
/// Names the file.
#[expect(clippy::disallowed_methods, reason = "the file adapter")]
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = vec![];
        std::io::stdin().lock().read_to_end(&mut bytes).context("failed to read standard input")?;
        return Ok(bytes);
    }
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Writes a file that must not be there yet.
///
/// # Errors
/// Names the file.
pub fn write_new(path: &Path, text: &str) -> Result<()> {
    create(path, text, 0o666)
}

/// Writes a file that must not be there yet, for nobody else to read.
///
/// # Errors
/// Names the file.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    create(path, text, 0o600)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<()> {
    let file = std::fs::File::options().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// The first bytes of a file: one more than `most` tells that there are more than that.
#[expect(clippy::disallowed_methods, reason = "the file adapter")]
fn beginning(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = vec![];
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a file that is read beside another one.
pub const MAX_READ: usize = 1 << 20;

/// The text of a file below the folder `root`, or why it can't be read. Links must not lead out of the folder.
///
/// # Errors
/// It is not there, is no text, is larger than 1 MiB, or lies elsewhere.
pub fn beside(root: &Path, name: &str) -> Result<String, String> {
    let file = root.join(name).canonicalize().map_err(|_| "it is not there".to_owned())?;
    let root = root.canonicalize().map_err(|_| "its folder is not there".to_owned())?;
    if !file.starts_with(&root) {
        return Err("it leads out of the folder of the compose file".to_owned());
    }
    if !file.is_file() {
        return Err("it is no file".to_owned());
    }
    let bytes = beginning(&file, MAX_READ).map_err(|error| format!("it can't be read: {error}"))?;
    if bytes.len() > MAX_READ {
        return Err("it is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
}

/// An hks.yaml with the other files that it names, which lie below the root of its repository, or beside it where there is
/// none.
pub fn document(path: &Path, source: Vec<u8>) -> Document {
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let repository = git2::Repository::discover(beside).ok().and_then(|found| found.workdir().map(Path::to_owned));
    let root = repository.unwrap_or_else(|| beside.to_owned());
    let mut files = Files::default();
    for name in spec::files_of(&source) {
        let file = name.strip_prefix('/').map_or_else(|| beside.join(&name), |rooted| root.join(rooted));
        let inside = file.canonicalize().ok().zip(root.canonicalize().ok());
        match inside {
            None => {}
            Some((file, root)) if !file.starts_with(&root) => {
                files.refuse(&name, format!("`{name}` leads out of the repository"));
            }
            Some((file, _)) => match beginning(&file, MAX_FILE) {
                Ok(bytes) => files.add(&name, bytes),
                Err(error) => files.refuse(&name, format!("`{name}` can't be read: {error}")),
            },
        }
    }
    Document { files: Arc::new(files), ..Document::new(path.display().to_string(), source) }
}

/// The files that `paths` mean: a file itself, a folder's `hks.yaml` files at any depth, hidden folders left out.
#[expect(clippy::disallowed_methods, reason = "the file adapter")]
pub fn stacks(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    let mut open: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    while let Some(path) = open.pop() {
        if !path.is_dir() {
            found.push(path);
            continue;
        }
        let entries = std::fs::read_dir(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let mut inside: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        let plain = |path: &PathBuf| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'));
        inside.retain(|path| plain(path) && (path.is_dir() || path.ends_with("hks.yaml")) && !path.is_symlink());
        inside.sort();
        open.extend(inside.into_iter().rev());
    }
    Ok(found)
}

//! Reading the files that a person names.

use crate::spec::{self, Document, Files, MAX_FILE};
use anyhow::{Context as _, Result};
use std::io::Read as _;
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
    use std::io::Write as _;
    let file = std::fs::File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// An hks.yaml with the other files that it names, which lie below the root of its repository, or beside it where there is
/// none.
#[expect(clippy::disallowed_methods, reason = "the file adapter")]
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
            Some((file, _)) => {
                // one byte more than is allowed tells that it is too long
                let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
                let mut bytes = vec![];
                let opened = std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes));
                match opened {
                    Ok(_) => files.add(&name, bytes),
                    Err(error) => files.refuse(&name, format!("`{name}` can't be read: {error}")),
                }
            }
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

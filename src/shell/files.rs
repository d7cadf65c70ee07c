//! Reading the files that a person names.

use anyhow::{Context as _, Result};
use std::io::Read as _;
use std::path::{Path, PathBuf};

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

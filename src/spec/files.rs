//! Other files of the repository that an hks.yaml takes in: their names, and their texts.

use super::{place, value};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The largest other file that is read.
pub const MAX_FILE: usize = 64 * 1024;

/// Texts of files by their path from the root of the repository, or why one can't be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Files(BTreeMap<String, Result<String, String>>);

impl Files {
    /// Adds a file with its bytes; what is no text, or too long, can't be used.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>) {
        let usable = if bytes.len() > MAX_FILE {
            Err(format!("`{path}` has {} KiB", bytes.len().div_ceil(1024)))
        } else {
            let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            text.ok_or_else(|| format!("`{path}` is not text"))
        };
        self.0.insert(path.to_owned(), usable);
    }

    /// Adds a file that can't be used, and why.
    pub fn refuse(&mut self, path: &str, why: String) {
        self.0.insert(path.to_owned(), Err(why));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all of them.
    pub fn size(&self) -> usize {
        self.0.values().map(|file| file.as_ref().map_or(0, String::len)).sum()
    }

    pub(super) fn get(&self, path: &str) -> Option<Result<&str, &str>> {
        self.0.get(path).map(|file| file.as_deref().map_err(String::as_str))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Where in the repository a file is that the hks.yaml at `document` names as `name`.
pub fn resolve(document: &str, name: &str) -> String {
    match (name.strip_prefix('/'), document.rsplit_once('/')) {
        (Some(rooted), _) => rooted.to_owned(),
        (None, Some((folder, _))) => format!("{folder}/{name}"),
        (None, None) => name.to_owned(),
    }
}

/// The paths of other files that an hks.yaml names, in whatever environment; none if it can't be read.
pub fn files_of(source: &[u8]) -> BTreeSet<String> {
    let text = std::str::from_utf8(source).ok().filter(|text| text.len() <= super::MAX_BYTES);
    let mut found = BTreeSet::new();
    if let Some(text) = text.filter(|text| text.contains("source") || text.contains("certificates"))
        && !place::read(text, "").fatal
        && let Ok(value) = value::read(text, "")
    {
        collect(&value, &mut vec![], &mut found);
    }
    found
}

fn collect<'v>(value: &'v Value, path: &mut Vec<&'v str>, found: &mut BTreeSet<String>) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        path.push(key);
        let file = match path.as_slice() {
            [.., "files", _, "source"] | [.., "certificates", _, "file"] => value.as_str(),
            _ => None,
        };
        found.extend(file.map(str::to_owned));
        collect(value, path, found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(resolve("hks.yaml", "a/b"), "a/b");
        assert_eq!(resolve("x/y/hks.yaml", "a/b"), "x/y/a/b");
        assert_eq!(resolve("x/hks.yaml", "/a"), "a");
    }

    #[test]
    fn names_of_files() {
        let source = "apps: {web: {files: {/etc/a: {source: a.conf}, /etc/b: {text: x}}}}\ncertificates: {ca: {file: ca.pem}}\n\
                      environments: {x: {patch: {apps: {web: {files: {/etc/a: {source: b.conf}}}}}}}\n";
        let found: Vec<_> = files_of(source.as_bytes()).into_iter().collect();
        assert_eq!(found, ["a.conf", "b.conf", "ca.pem"]);
        assert_eq!(files_of(b"apps: [").len(), 0);
    }
}

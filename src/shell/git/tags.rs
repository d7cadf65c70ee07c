//! Which reference is followed: a branch, or the tag with the highest version.

use super::{Follows, GitError};
use git2::Oid;
use globset::{Glob, GlobMatcher};
use semver::{BuildMetadata, Prerelease, Version};

impl Follows {
    /// The reference that is followed, and what it points at now.
    pub(super) fn among<'h>(&self, heads: impl Iterator<Item = (&'h str, Oid)>) -> Result<(String, Oid), GitError> {
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
                    let tag = tag(&glob, name).filter(|_| !name.ends_with(PEELED))?;
                    Some((rank(tag, pattern), name.to_owned(), id))
                };
                let found = heads.filter_map(fits).max_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
                found.map(|(_, name, id)| (name, id)).ok_or_else(none)
            }
        }
    }

    /// The tag, among those of which the highest is followed, that `short` names by its own id or by that of what it points at;
    /// and that id.
    pub(super) fn older<'h>(
        &self,
        short: &str,
        mut heads: impl Iterator<Item = (&'h str, Oid)>,
    ) -> Option<(String, Oid)> {
        let Follows::Tag(pattern) = self else { return None };
        let glob = Glob::new(pattern).ok()?.compile_matcher();
        heads.find_map(|(name, id)| {
            let tag = tag(&glob, name).filter(|_| id.to_string().starts_with(short))?;
            Some((format!("{TAGS}{tag}"), id))
        })
    }
}

const TAGS: &str = "refs/tags/";
/// What an annotated tag points at is listed by its name and this.
const PEELED: &str = "^{}";

/// The tag that a reference is, if it fits.
fn tag<'h>(glob: &GlobMatcher, name: &'h str) -> Option<&'h str> {
    let tag = name.strip_prefix(TAGS)?;
    let tag = tag.strip_suffix(PEELED).unwrap_or(tag);
    glob.is_match(tag).then_some(tag)
}

/// The order of tags: a tag without a version is the lowest, and a version that is not released yet comes after those that
/// are, unless the pattern asks for such versions.
fn rank(tag: &str, pattern: &str) -> (bool, Option<Version>) {
    let version = version(tag);
    let released = version.as_ref().is_some_and(|version| version.pre.is_empty());
    (released || asks_for_unreleased(pattern), version)
}

/// Whether a pattern goes on with `-` behind where a version begins: `v*-rc*` or `v2.0.0-*`, but not `app-*`.
fn asks_for_unreleased(pattern: &str) -> bool {
    let version = pattern.find(|c: char| c.is_ascii_digit() || "*?[{".contains(c));
    version.and_then(|at| pattern.get(at..)).is_some_and(|rest| rest.contains('-'))
}

/// The version in a tag such as `v1.2.3`, `app-1.2` or `v2-rc.1`.
fn version(tag: &str) -> Option<Version> {
    let digits = tag.find(|c: char| c.is_ascii_digit())?;
    let text = tag.get(digits..)?;
    let (text, build) = text.split_once('+').unwrap_or((text, ""));
    let (core, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut numbers = [0; 3];
    for (index, part) in core.split('.').enumerate() {
        *numbers.get_mut(index)? = part.parse().ok()?;
    }
    let [major, minor, patch] = numbers;
    Some(Version { major, minor, patch, pre: Prerelease::new(pre).ok()?, build: BuildMetadata::new(build).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pattern: &str, tags: &[&str]) -> String {
        let names: Vec<_> = tags.iter().map(|tag| format!("refs/tags/{tag}")).collect();
        let follows = Follows::Tag(pattern.into());
        let found = follows.among(names.iter().map(|name| (name.as_str(), Oid::ZERO_SHA1)));
        found.map(|(name, _)| name.trim_start_matches("refs/tags/").to_owned()).unwrap_or_default()
    }

    #[test]
    fn the_highest_released_version_is_followed() {
        assert_eq!(chosen("v*", &["v1.9.9", "v1.10", "v1.2.0", "vnext"]), "v1.10");
        assert_eq!(chosen("v*", &["v1.9.9", "v2.0.0-rc.1"]), "v1.9.9");
        assert_eq!(chosen("v*", &["v2.0.0-rc.1", "v2.0.0-rc.2", "v2.0.0"]), "v2.0.0");
        assert_eq!(chosen("v*", &["v2.0.0-rc.1", "v2.0.0-rc.2"]), "v2.0.0-rc.2", "there is nothing else");
        assert_eq!(chosen("v*-rc*", &["v1.9.9-rc.1", "v2.0-rc.1", "v3.0.0"]), "v2.0-rc.1");
        assert_eq!(chosen("app-*", &["app-1.2", "app-1.3-beta", "other-9.0.0"]), "app-1.2");
        assert_eq!(chosen("{v*,v*-rc*}", &["v1.9.9", "v2.0.0-rc.1"]), "v2.0.0-rc.1");
        assert_eq!(chosen("x*", &["v1.9.9"]), "");
    }
}

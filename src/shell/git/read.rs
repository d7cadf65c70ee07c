//! Reading the Stacks of a commit: of what has not changed since the last reading, nothing is read again.

use crate::ident::{Message, Revision};
use crate::machine::Content;
use crate::spec::{self, Document, Files, MAX_BYTES, MAX_FILE};
use git2::{Delta, DiffOptions, ObjectType, Oid, Repository, Tree};
use globset::GlobMatcher;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Stacks of one repository.
pub const MAX_STACKS: usize = 5000;
/// Bytes of all files of a repository that are read.
const MAX_ALL: usize = 16 * 1024 * 1024;
/// Folders in each other.
const MAX_DEPTH: usize = 64;
/// Files and folders of a repository.
const MAX_ENTRIES: usize = 2_000_000;

/// A Stack's file in a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackFile {
    /// Path in the repository.
    pub path: Arc<str>,
    /// What it says and what it means hang on this alone: equal ids are equal contents.
    pub id: String,
    /// The file; `None` if it is as it was at the last reading.
    pub content: Option<Content>,
}

/// What a commit holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// The commit.
    pub revision: Revision,
    /// What it says of itself.
    pub message: Message,
    /// The Stacks in the order of their paths.
    #[serde(deserialize_with = "few")]
    pub files: Vec<StackFile>,
    /// Stacks that were left out since there are too many.
    pub cut: usize,
    /// To be handed in at the next reading.
    pub reading: Reading,
}

/// No more Stacks than are read: each takes many times the room here that it takes on its way.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StackFile>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<StackFile>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_STACKS} Stacks")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut stacks: A) -> Result<Self::Value, A::Error> {
            let mut all = vec![];
            while let Some(stack) = stacks.next_element()? {
                if all.len() == MAX_STACKS {
                    return Err(A::Error::invalid_length(all.len() + 1, &self));
                }
                all.push(stack);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(Few)
}

/// What is remembered of a reading.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    #[serde(with = "plain")]
    commit: Oid,
    tag: Option<String>,
    /// Every file that may be a Stack.
    files: BTreeMap<Arc<str>, Seen>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    #[serde(with = "plain")]
    blob: Oid,
    mode: i32,
    /// The other files that it names.
    names: BTreeSet<String>,
    bytes: usize,
    /// Empty if it was not read.
    id: String,
}

/// The id of an object as its bytes.
mod plain {
    use git2::Oid;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &Oid, serializer: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Oid, D::Error> {
        Oid::from_bytes(&Vec::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Reading {
    /// Whether it is of this commit, reached by this tag.
    pub(super) fn is_of(&self, commit: Oid, tag: Option<&str>) -> bool {
        self.commit == commit && self.tag.as_deref() == tag
    }

    /// Has a file read next time as if it were new.
    pub fn again(&mut self, path: &str) {
        if let Some(seen) = self.files.get_mut(path) {
            seen.id.clear();
        }
    }
}

/// Reads the Stacks of a commit.
pub(super) fn read(
    repository: &Repository,
    paths: &GlobMatcher,
    commit: Oid,
    tag: Option<String>,
    known: Option<&Reading>,
) -> Result<Found, git2::Error> {
    let (tree, message) = {
        let commit = repository.find_commit(commit)?;
        (commit.tree()?, message(&commit))
    };
    // the mirror may have been made anew since, without the old commit
    let changed = known.and_then(|known| since(repository, paths, known, &tree).ok());
    let mut files = match changed {
        Some(files) => files,
        None => all(repository, paths, &tree)?,
    };
    let cut = files.len().saturating_sub(MAX_STACKS);
    let mut found = vec![];
    let mut bytes = 0;
    for (path, seen) in files.iter_mut().take(MAX_STACKS) {
        let before = known.and_then(|known| known.files.get(path)).filter(|before| before.blob == seen.blob);
        let mut file = match before {
            Some(before) if before.id == id(&tree, path, seen, tag.as_deref()) => {
                StackFile { path: Arc::clone(path), id: before.id.clone(), content: None }
            }
            _ => {
                let (content, names, size) = content(repository, &tree, path, seen, tag.as_deref())?;
                (seen.names, seen.bytes) = (names, size);
                let id = id(&tree, path, seen, tag.as_deref());
                StackFile { path: Arc::clone(path), id, content: Some(content) }
            }
        };
        bytes += seen.bytes;
        if bytes > MAX_ALL {
            let most = MAX_ALL / 1024 / 1024;
            let message =
                format!("{path} is not read: the Stacks before it have more than {most} MiB; make files smaller");
            file = StackFile { id: "too much".into(), content: Some(Content::Unusable { message }), ..file };
        }
        seen.id.clone_from(&file.id);
        found.push(file);
    }
    let revision = Revision::new(commit.to_string());
    Ok(Found { revision, message, files: found, cut, reading: Reading { commit, tag, files } })
}

/// What a commit says of itself.
pub fn message(commit: &git2::Commit<'_>) -> Message {
    Message::new(commit.author().name().unwrap_or_default(), commit.summary().ok().flatten().unwrap_or_default())
}

/// The file at `path`.
pub(super) fn file(
    repository: &Repository,
    tree: &Tree<'_>,
    path: &str,
    tag: Option<&str>,
) -> Result<Content, git2::Error> {
    let entry = tree.get_path(Path::new(path))?;
    Ok(content(repository, tree, &path.into(), &Seen::new(entry.id(), entry.filemode()), tag)?.0)
}

impl Seen {
    fn new(blob: Oid, mode: i32) -> Self {
        Self { blob, mode, names: BTreeSet::new(), bytes: 0, id: String::new() }
    }
}

/// Every file that may be a Stack. It is walked without recursion: a repository may be as deep as its author likes.
fn all(repository: &Repository, paths: &GlobMatcher, tree: &Tree<'_>) -> Result<BTreeMap<Arc<str>, Seen>, git2::Error> {
    let mut found = BTreeMap::new();
    let mut entries = 0;
    let mut folders = vec![(String::new(), tree.id(), 0)];
    while let Some((folder, id, depth)) = folders.pop() {
        let tree = repository.find_tree(id)?;
        entries += tree.len();
        if entries > MAX_ENTRIES {
            return Err(git2::Error::from_str(&format!("it has more than {MAX_ENTRIES} files and folders")));
        }
        for entry in &tree {
            let Ok(name) = entry.name() else { continue };
            let path = format!("{folder}{name}");
            if entry.kind() == Some(ObjectType::Tree) {
                if depth < MAX_DEPTH {
                    folders.push((format!("{path}/"), entry.id(), depth + 1));
                }
            } else if paths.is_match(&path) {
                found.insert(path.into(), Seen::new(entry.id(), entry.filemode()));
            }
        }
    }
    Ok(found)
}

/// The files of an earlier reading with what has changed since: folders that are equal are not looked into.
fn since(
    repository: &Repository,
    paths: &GlobMatcher,
    known: &Reading,
    tree: &Tree<'_>,
) -> Result<BTreeMap<Arc<str>, Seen>, git2::Error> {
    let before = repository.find_commit(known.commit)?.tree()?;
    let mut options = DiffOptions::new();
    options.include_typechange(true);
    let changes = repository.diff_tree_to_tree(Some(&before), Some(tree), Some(&mut options))?;
    let mut files = known.files.clone();
    for change in changes.deltas() {
        let Some(path) = change.new_file().path().and_then(Path::to_str).filter(|path| paths.is_match(path)) else {
            continue;
        };
        if change.status() == Delta::Deleted {
            files.remove(path);
        } else {
            let new = change.new_file();
            let mode = i32::try_from(u32::from(new.mode())).unwrap_or_default();
            files.insert(path.into(), Seen::new(new.id(), mode));
        }
    }
    Ok(files)
}

/// What a Stack's file comes down to: itself, the other files that it names, and the tag.
fn id(tree: &Tree<'_>, path: &str, seen: &Seen, tag: Option<&str>) -> String {
    let mut id = format!("{}:{:o}", seen.blob, seen.mode);
    for name in &seen.names {
        if let Ok(entry) = tree.get_path(Path::new(&spec::resolve(path, name))) {
            id.push_str(&format!(" {}:{:o}", entry.id(), entry.filemode()));
        }
    }
    id.push_str(&format!(" {}", tag.unwrap_or_default()));
    id
}

/// The file with the others that it names, their names, and how many bytes that are. Symlinks and submodules are refused:
/// what they point at is not part of the commit.
fn content(
    repository: &Repository,
    tree: &Tree<'_>,
    path: &Arc<str>,
    seen: &Seen,
    tag: Option<&str>,
) -> Result<(Content, BTreeSet<String>, usize), git2::Error> {
    let unusable = |message: String| Ok((Content::Unusable { message }, BTreeSet::new(), 0));
    match seen.mode & 0o170_000 {
        0o100_000 => {}
        0o120_000 => return unusable(format!("{path} is a symbolic link; commit the file itself")),
        0o160_000 => return unusable(format!("{path} is a submodule; commit the file itself")),
        _ => return unusable(format!("{path} is not a plain file; commit one")),
    }
    let (size, _) = repository.odb()?.read_header(seen.blob)?;
    if size > MAX_BYTES {
        let (size, most) = (size / 1024, MAX_BYTES / 1024);
        return unusable(format!("{path} has {size} KiB, at most {most} are read; make it smaller"));
    }
    let mut document = Document::new(Arc::clone(path), repository.find_blob(seen.blob)?.content());
    document.tag = tag.map(str::to_owned);
    let names = spec::files_of(&document.source);
    let (mut files, mut bytes) = (Files::default(), size);
    for name in &names {
        let Ok(entry) = tree.get_path(Path::new(&spec::resolve(path, name))) else { continue };
        // a submodule has no object here
        if entry.filemode() & 0o170_000 != 0o100_000 {
            files.refuse(name, format!("`{name}` is not a plain file"));
            continue;
        }
        let (size, _) = repository.odb()?.read_header(entry.id())?;
        bytes += size;
        if size > MAX_FILE {
            files.refuse(name, format!("`{name}` has {} KiB", size.div_ceil(1024)));
        } else if bytes > MAX_ALL {
            files.refuse(name, format!("`{name}` is one file too many"));
        } else {
            files.add(name, repository.find_blob(entry.id())?.content().to_vec());
        }
    }
    document.files = Arc::new(files);
    Ok((Content::File(document), names, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::git::mirror::Mirror;
    use crate::shell::git::{Follows, Remote};
    use git2::build::TreeUpdateBuilder;
    use git2::{FileMode, Signature};
    use std::path::PathBuf;

    struct World {
        folder: tempfile::TempDir,
        remote: Repository,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let remote = Repository::init_bare(folder.path().join("remote.git")).unwrap();
            Self { folder, remote }
        }

        /// Commits files: a text, or nothing for one that goes.
        fn commit(&self, files: &[(&str, Option<&str>)]) {
            let mut update = TreeUpdateBuilder::new();
            for (path, text) in files {
                match text {
                    Some(text) => update.upsert(path, self.remote.blob(text.as_bytes()).unwrap(), FileMode::Blob),
                    None => update.remove(path),
                };
            }
            self.finish(update);
        }

        fn finish(&self, mut update: TreeUpdateBuilder) {
            let parent = self.remote.find_reference("refs/heads/main").ok().map(|head| head.peel_to_commit().unwrap());
            let empty = self.remote.treebuilder(None).unwrap().write().unwrap();
            let base = parent.as_ref().map_or_else(|| self.remote.find_tree(empty).unwrap(), |p| p.tree().unwrap());
            let tree = update.create_updated(&self.remote, &base).unwrap();
            let (tree, me) = (self.remote.find_tree(tree).unwrap(), Signature::now("me", "me@example.com").unwrap());
            let parents: Vec<_> = parent.iter().collect();
            self.remote.commit(Some("refs/heads/main"), &me, &me, "change", &tree, &parents).unwrap();
        }

        fn mirror_folder(&self) -> PathBuf {
            self.folder.path().join("mirror")
        }

        fn mirror(&self, follows: Follows) -> Mirror {
            let url = self.folder.path().join("remote.git").to_str().unwrap().to_owned();
            let remote = Remote {
                url,
                follows,
                username: None,
                password: None,
                ssh_key: None,
                host_keys: vec![],
                signers: None,
            };
            Mirror::new(self.mirror_folder(), remote, "**/hks.yaml", || {}).unwrap()
        }
    }

    fn main() -> Follows {
        Follows::Branch("main".into())
    }

    fn paths(found: &Found, read: bool) -> Vec<&str> {
        found.files.iter().filter(|file| file.content.is_some() == read).map(|file| &*file.path).collect()
    }

    #[test]
    fn only_what_has_changed_is_read() {
        let world = World::new();
        let with_file = "apps: {web: {files: {/etc/a: {source: a.conf}}}}\n";
        world.commit(&[
            ("a/hks.yaml", Some("a")),
            ("b/hks.yaml", Some(with_file)),
            ("b/a.conf", Some("1")),
            ("README", Some("x")),
        ]);
        let first = world.mirror(main()).look(None).unwrap().unwrap();
        assert_eq!(paths(&first, true), ["a/hks.yaml", "b/hks.yaml"]);
        assert!(world.mirror(main()).look(Some(&first.reading)).unwrap().is_none(), "nothing is new");
        world.commit(&[("README", Some("y"))]);
        let second = world.mirror(main()).look(Some(&first.reading)).unwrap().unwrap();
        assert_eq!((paths(&second, true).len(), paths(&second, false).len()), (0, 2));
        // another file that a Stack takes in is part of it
        world.commit(&[("b/a.conf", Some("2")), ("c/d/hks.yaml", Some("c"))]);
        let mut third = world.mirror(main()).look(Some(&second.reading)).unwrap().unwrap();
        assert_eq!(paths(&third, true), ["b/hks.yaml", "c/d/hks.yaml"]);
        third.reading.again("a/hks.yaml");
        world.commit(&[("b/a.conf", None), ("c/d/hks.yaml", None)]);
        let fourth = world.mirror(main()).look(Some(&third.reading)).unwrap().unwrap();
        assert_eq!((paths(&fourth, true), paths(&fourth, false).len()), (vec!["a/hks.yaml", "b/hks.yaml"], 0));
    }

    #[test]
    fn a_second_tag_of_a_commit_is_seen() {
        let world = World::new();
        world.commit(&[("hks.yaml", Some("a"))]);
        let tag = |name: &str| {
            let head = world.remote.find_reference("refs/heads/main").unwrap().target().unwrap();
            world.remote.reference(&format!("refs/tags/{name}"), head, false, "").unwrap();
        };
        let follows = || Follows::Tag("v*".into());
        tag("v1.2.0-rc.1");
        let first = world.mirror(follows()).look(None).unwrap().unwrap();
        tag("v1.2.0");
        let second = world.mirror(follows()).look(Some(&first.reading)).unwrap().unwrap();
        assert_eq!(first.revision, second.revision);
        let [file] = second.files.as_slice() else { panic!("{:?}", second.files) };
        let Some(Content::File(document)) = &file.content else { panic!("{file:?}") };
        assert_eq!(document.tag.as_deref(), Some("v1.2.0"));
    }

    #[test]
    fn a_submodule_fails_only_its_file() {
        let world = World::new();
        world.commit(&[
            ("a/hks.yaml", Some("apps: {web: {files: {/etc/x: {source: sub}}}}\n")),
            ("b/hks.yaml", Some("b")),
        ]);
        let mut update = TreeUpdateBuilder::new();
        let nowhere = Oid::from_str("1111111111111111111111111111111111111111").unwrap();
        update.upsert("a/sub", nowhere, FileMode::Commit);
        world.finish(update);
        let found = world.mirror(main()).look(None).unwrap().unwrap();
        assert_eq!(paths(&found, true), ["a/hks.yaml", "b/hks.yaml"]);
        let Some(Content::File(document)) = &found.files[0].content else { panic!("{:?}", found.files[0]) };
        assert!(format!("{:?}", document.files).contains("`sub` is not a plain file"), "{:?}", document.files);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it tears the mirror")]
    fn a_torn_mirror_is_made_anew() {
        let world = World::new();
        world.commit(&[("hks.yaml", Some("a"))]);
        let first = world.mirror(main()).look(None).unwrap().unwrap();
        let objects = world.mirror_folder().join("objects");
        std::fs::remove_dir_all(&objects).unwrap();
        std::fs::create_dir_all(objects.join("pack")).unwrap();
        let again = world.mirror(main()).look(None).unwrap().unwrap();
        assert_eq!((again.revision, paths(&first, true)), (first.revision.clone(), vec!["hks.yaml"]));
        // also one whose head can't be told
        std::fs::write(world.mirror_folder().join("refs/hks/head"), "0123").unwrap();
        assert!(world.mirror(main()).look(None).unwrap().is_some());
    }
}

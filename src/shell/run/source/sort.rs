//! Which file of a commit is which Stack's: pure, so that every quarrel about a name can be tried.

use crate::ident::StackName;
use crate::machine::Content;
use crate::shell::git::StackFile;
use crate::spec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The files of a commit, sorted.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Files that differ from what was handed on before, in the order of their paths.
    pub changed: Vec<(StackName, Content)>,
    /// Stacks whose files do not.
    pub same: Vec<StackName>,
    /// The file of each Stack.
    pub owners: BTreeMap<StackName, Arc<str>>,
    /// The Stack of each file that has a name.
    pub names: BTreeMap<Arc<str>, StackName>,
    /// Stacks that several files claim and that none had before.
    pub disputed: BTreeSet<StackName>,
    /// Files that were not handed on: they are to be read again next time.
    pub refused: Vec<Arc<str>>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// Why the name of a file can't be read, if there is such a file: it may be any Stack's that has none.
    pub nameless: Option<String>,
}

/// Sorts the files of a commit. `names` and `owners` are those of the commit before: a path that had a name keeps it, so that
/// a copied folder takes nothing over.
pub(super) fn sort(
    files: Vec<StackFile>,
    names: &BTreeMap<Arc<str>, StackName>,
    owners: &BTreeMap<StackName, Arc<str>>,
) -> Sorted {
    let mut sorted = Sorted::default();
    let mut claims: BTreeMap<StackName, Vec<StackFile>> = BTreeMap::new();
    for file in files {
        let known = names.get(&file.path);
        // a file that can't be read any more is still that of its Stack
        let name = file.content.as_ref().and_then(name_of).or_else(|| known.cloned());
        if let Some(name) = name {
            sorted.names.insert(Arc::clone(&file.path), name.clone());
            claims.entry(name).or_default().push(file);
        } else {
            let why = why_nameless(&file);
            sorted.problems.push(why.clone());
            sorted.nameless.get_or_insert(why);
            sorted.refused.push(file.path);
        }
    }
    for (name, files) in claims {
        let paths: Vec<_> = files.iter().map(|file| Arc::clone(&file.path)).collect();
        let owner = match paths.as_slice() {
            [only] => Some(only),
            several => owners.get(&name).and_then(|owner| several.iter().find(|path| *path == owner)),
        };
        let Some(owner) = owner.cloned() else {
            let all = paths.join(" and ");
            sorted.problems.push(format!("{all} all define Stack {name}, so none is deployed; rename all but one"));
            sorted.refused.extend(paths);
            sorted.disputed.insert(name);
            continue;
        };
        for file in files {
            if file.path != owner {
                let path = file.path;
                sorted.problems.push(format!("{path}: Stack {name} is already defined by {owner}; rename one of them"));
                sorted.refused.push(path);
                continue;
            }
            match file.content {
                Some(content) => sorted.changed.push((name.clone(), content)),
                None => sorted.same.push(name.clone()),
            }
        }
        sorted.owners.insert(name, owner);
    }
    sorted
}

fn name_of(content: &Content) -> Option<StackName> {
    match content {
        Content::File(document) => spec::name_of(&document.source),
        Content::Missing | Content::Unusable { .. } => None,
    }
}

fn why_nameless(file: &StackFile) -> String {
    match &file.content {
        Some(Content::Unusable { message }) => message.clone(),
        Some(Content::Missing) | None => format!("{} is gone", file.path),
        Some(Content::File(document)) => {
            let first = spec::parse(&document.source, &file.path).err().and_then(|found| found.into_iter().next());
            first.map_or_else(|| format!("{}: no name", file.path), |diagnostic| diagnostic.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Document;

    fn file(path: &str, name: &str) -> StackFile {
        let source = format!("kind: Stack\nmetadata: {{name: {name}}}\n");
        let content = Some(Content::File(Document::new(path, source.as_bytes())));
        StackFile { path: path.into(), id: name.into(), content }
    }

    fn known(path: &str) -> StackFile {
        StackFile { path: path.into(), id: "id".into(), content: None }
    }

    fn changed(sorted: &Sorted) -> Vec<&str> {
        sorted.changed.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_copied_folder_takes_nothing_over() {
        let first = sort(vec![file("payments/hks.yaml", "payments")], &BTreeMap::new(), &BTreeMap::new());
        assert_eq!(changed(&first), ["payments"]);
        let files = vec![file("a-copy/hks.yaml", "payments"), known("payments/hks.yaml")];
        let second = sort(files, &first.names, &first.owners);
        assert_eq!((changed(&second).len(), second.same.len()), (0, 1));
        assert_eq!(
            second.problems,
            ["a-copy/hks.yaml: Stack payments is already defined by payments/hks.yaml; rename one of them"]
        );
        assert_eq!(second.refused, ["a-copy/hks.yaml".into()]);
        // the file itself may move
        let moved = sort(vec![file("pay/hks.yaml", "payments")], &second.names, &second.owners);
        assert_eq!((changed(&moved), moved.problems.len()), (vec!["payments"], 0));
    }

    #[test]
    fn of_two_new_files_of_one_name_none_is_taken() {
        let files = vec![file("a/hks.yaml", "x"), file("b/hks.yaml", "x"), file("c/hks.yaml", "y")];
        let sorted = sort(files, &BTreeMap::new(), &BTreeMap::new());
        assert_eq!(changed(&sorted), ["y"]);
        assert!(sorted.disputed.iter().any(|name| name.as_str() == "x"), "{:?}", sorted.disputed);
        assert_eq!(
            sorted.problems,
            ["a/hks.yaml and b/hks.yaml all define Stack x, so none is deployed; rename all but one"]
        );
    }

    #[test]
    fn a_file_that_lost_its_name_is_still_that_of_its_stack() {
        let broken = |path: &str| StackFile {
            path: path.into(),
            id: "b".into(),
            content: Some(Content::File(Document::new(path, *b"apps: [unclosed"))),
        };
        let first = sort(vec![file("hks.yaml", "one")], &BTreeMap::new(), &BTreeMap::new());
        let second = sort(vec![broken("hks.yaml"), broken("new/hks.yaml")], &first.names, &first.owners);
        assert_eq!(changed(&second), ["one"]);
        assert!(second.problems[0].starts_with("new/hks.yaml:1:"), "{:?}", second.problems);
    }
}

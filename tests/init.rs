//! `hks init` on compose files: `tests/fixtures/init/<case>/` holds `compose.yaml`, and what comes of it. `UPDATE=1` writes that
//! anew.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test of files")]

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn hks(folder: &Path, args: &[&str], input: Option<&Path>) -> Output {
    let input = input.map_or(Stdio::null(), |path| fs::File::open(path).unwrap().into());
    Command::new(env!("CARGO_BIN_EXE_hks")).current_dir(folder).args(args).stdin(input).output().unwrap()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/init");
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn compose_files_become_valid_ones() {
    let cases = cases();
    assert!(cases.len() >= 8, "cases are missing");
    let mut wrong = vec![];
    for case in cases {
        let made = hks(&case, &["init", "--from-compose", "compose.yaml", "--name", "shop", "--file", "-"], None);
        let (file, notes) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
        assert!(made.status.success(), "{}: {notes}", case.display());
        for (name, text) in [("hks.yaml", &file), ("notes.txt", &notes)] {
            let path = case.join(name);
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&path, text).unwrap();
            }
            if fs::read_to_string(&path).unwrap_or_default() != *text {
                wrong.push(format!("{}\n{text}", path.display()));
            }
        }
        let valid = hks(&case, &["validate", "-"], Some(&case.join("hks.yaml")));
        assert!(valid.status.success(), "{}: {}", case.display(), String::from_utf8_lossy(&valid.stderr));
        assert!(
            !file.contains("secret-of") && !file.contains("example-password") && !file.contains("somewordpress"),
            "{file}"
        );
    }
    assert!(wrong.is_empty(), "UPDATE=1 accepts what is right:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_overwritten_and_nonsense_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let first = hks(folder.path(), &["init", "--yes", "--name", "shop"], None);
    assert!(first.status.success(), "{first:?}");
    assert!(hks(folder.path(), &["validate"], None).status.success());
    let second = hks(folder.path(), &["init", "--yes"], None);
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("it is there already"));
    for (text, said) in [("a: [", "line 1"), ("a: b", "no `services`"), ("services: {}", "no service")] {
        fs::write(folder.path().join("compose.yaml"), text).unwrap();
        let told = hks(folder.path(), &["init", "--from-compose", "compose.yaml", "--file", "-"], None);
        let told = (told.status.code(), String::from_utf8(told.stderr).unwrap());
        assert!(told.0 == Some(1) && told.1.contains(said), "{told:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// A compose file with anything in it is told or turned, and nothing ends in a panic.
    #[test]
    fn mutated_compose_files_are_survived(
        which in 0_usize..8,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[a-z0-9:\\-{}\\[\\]$\"'\n ]{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = fs::read_to_string(cases()[which].join("compose.yaml")).unwrap().chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("compose.yaml"), text.iter().collect::<String>()).unwrap();
        let told = hks(folder.path(), &["init", "--from-compose", "compose.yaml", "--file", "-"], None);
        prop_assert!(matches!(told.status.code(), Some(0 | 1)), "{told:?}");
        prop_assert!(!String::from_utf8_lossy(&told.stderr).contains("panicked"), "{told:?}");
    }
}

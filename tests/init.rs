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
    assert!(cases.len() >= 25, "cases are missing");
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
        for secret in ["secret-of", "example-password", "somewordpress"] {
            assert!(!file.contains(secret) && !notes.contains(secret), "{secret}\n{file}\n{notes}");
        }
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

/// What was secret is in the script, which nobody else can read, and nowhere else.
#[test]
fn a_script_sets_the_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let text = "services: {web: {image: \"web:1\", ports: ['80:80'], environment: {STRIPE_SECRET: \"it's $KEY\", API_KEY: $API_KEY}}}";
    fs::write(folder.path().join("compose.yaml"), text).unwrap();
    fs::write(folder.path().join(".env"), "KEY=secret-of-env\n").unwrap();
    let made = hks(folder.path(), &["init", "--from-compose", "compose.yaml", "--name", "shop"], None);
    let notes = String::from_utf8(made.stderr).unwrap();
    assert!(made.status.success(), "{notes}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (file, script) = (read("hks.yaml"), read("hks-secrets.sh"));
    assert!(!file.contains("secret-of-env") && !notes.contains("secret-of-env"), "{file}{notes}");
    assert!(script.contains(r"printf %s 'it'\''s secret-of-env' | hks secret set shop app STRIPE_SECRET"), "{script}");
    assert!(script.contains("# hks secret set shop app API_KEY"), "{script}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(folder.path().join("hks-secrets.sh")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // neither file is ever written over
    fs::remove_file(folder.path().join("hks.yaml")).unwrap();
    let again = hks(folder.path(), &["init", "--from-compose", "compose.yaml", "--name", "shop"], None);
    assert!(!again.status.success() && !folder.path().join("hks.yaml").exists(), "{again:?}");
}

/// A compose file takes in nothing from outside of its folder, by whatever way.
#[test]
fn files_from_elsewhere_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(folder.path().join("outside.env"), "LEAKED=secret-of-outside\n").unwrap();
    std::os::unix::fs::symlink("../outside.env", inside.join("link.env")).unwrap();
    for file in ["../outside.env", "link.env", "/etc/hostname"] {
        let text = format!("services: {{web: {{image: \"web:1\", env_file: [\"{file}\"]}}}}");
        fs::write(inside.join("compose.yaml"), text).unwrap();
        let made = hks(&inside, &["init", "--from-compose", "compose.yaml", "--name", "shop", "--file", "-"], None);
        let (out, notes) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
        assert!(made.status.success() && !out.contains("LEAKED"), "{out}{notes}");
        assert!(notes.contains("leads out of the folder"), "{file}: {notes}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// A compose file with anything in it is told or turned, and nothing ends in a panic.
    #[test]
    fn mutated_compose_files_are_survived(
        which in 0_usize..25,
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

//! Faults that were found once, put back one at a time by `tests/fixtures/mutants.txt`: the tests that need no cluster must fail for
//! each. `just mutants` runs it; it takes half a minute for each. `just mutants NAME` tries some, `just mutants 40` goes on after so many.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// What compiles the pure modules alone, in a fraction of the time.
const PURE: &str = "--no-default-features";
/// The tests that are asked about the pure modules, the quickest first …
const ASKED: [&[&str]; 6] = [
    &[PURE, "--test", "scenario"],
    &[PURE, "--lib"],
    &[PURE, "--test", "record"],
    &[PURE, "--test", "histories"],
    &["--test", "pipeline"],
    &["--test", "spec"],
];
/// … and about the others, where only their own can tell.
const ASKED_OUTSIDE: [&[&str]; 3] = [&["--lib"], &["--test", "git"], &["--test", "access"]];

/// Seconds that a test may take; to build all from nothing takes minutes.
const PATIENCE: &str = "900";

struct Mutant {
    name: String,
    file: String,
    from: String,
    to: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mutants() -> Vec<Mutant> {
    let text = std::fs::read_to_string(root().join("tests/fixtures/mutants.txt")).unwrap();
    let blocks = text.split("\n@ ").skip(1);
    let read = |block: &str| {
        let (name, rest) = block.split_once('\n')?;
        let (file, rest) = rest.split_once("\n<<<\n")?;
        let (from, rest) = rest.split_once("\n===\n")?;
        let (to, _) = rest.split_once("\n>>>")?;
        Some(Mutant { name: name.into(), file: file.into(), from: from.into(), to: to.into() })
    };
    blocks.map(|block| read(block).unwrap_or_else(|| panic!("not a mutant: {block}"))).collect()
}

#[test]
fn every_mutant_has_its_place() {
    let all = mutants();
    assert!(all.len() >= 40, "{}", all.len());
    let lost = all.iter().filter(|mutant| {
        let text = std::fs::read_to_string(root().join(&mutant.file)).unwrap_or_default();
        !text.contains(&mutant.from)
    });
    let lost: Vec<_> = lost.map(|mutant| mutant.name.as_str()).collect();
    assert!(lost.is_empty(), "the code has changed; say anew how these faults are put back: {lost:#?}");
}

#[test]
#[ignore = "half a minute for each mutant: just mutants"]
fn every_mutant_is_killed() {
    let work = root().join("target/mutants");
    let tree = work.join("tree");
    copy(&tree);
    // a test that fails without a fault would kill every mutant
    for test in ASKED.iter().chain(&ASKED_OUTSIDE) {
        let failed = failing(&tree, &work.join("target"), test);
        assert!(failed.is_none(), "without any mutant fails {failed:?}");
    }
    let wanted = std::env::var("HKS_MUTANT").unwrap_or_default();
    let (done, wanted) = wanted.parse().map_or((0, wanted.as_str()), |done| (done, ""));
    let mut alive = vec![];
    for mutant in mutants().into_iter().skip(done).filter(|mutant| mutant.name.contains(wanted)) {
        let file = tree.join(&mutant.file);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen(&mutant.from, &mutant.to, 1)).unwrap();
        if let Some(by) = killer(&tree, &work.join("target"), &mutant) {
            eprintln!("killed: {}\n        by {by}", mutant.name);
        } else {
            eprintln!("ALIVE: {}", mutant.name);
            alive.push(mutant.name);
        }
        std::fs::write(&file, text).unwrap();
    }
    assert!(alive.is_empty(), "{alive:#?}");
}

/// The first tests that fail.
fn killer(tree: &Path, target: &Path, mutant: &Mutant) -> Option<String> {
    let outside = mutant.file.starts_with("src/shell") || mutant.file.starts_with("src/cli");
    let asked: &[&[&str]] = if outside { &ASKED_OUTSIDE } else { &ASKED };
    asked.iter().find_map(|test| failing(tree, target, test))
}

/// Which of some tests fail, if any do; what does not compile is no mutant.
fn failing(tree: &Path, target: &Path, test: &[&str]) -> Option<String> {
    let cargo = |args: &[&str]| {
        let mut command = Command::new("timeout");
        // a machine that turns in circles has failed as well
        command
            .args(["--kill-after=5", PATIENCE, "cargo", "test", "-j2", "--offline", "--quiet"])
            .args(args)
            .current_dir(tree);
        command.env("CARGO_TARGET_DIR", target).env("HKS_HISTORIES", "1000");
        command.output().unwrap()
    };
    let built = cargo(&[test, &["--no-run"]].concat());
    let why = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "it does not compile: {why}");
    let ran = cargo(test);
    let failed = || format!("{}: {}", test.join(" "), failures(&String::from_utf8_lossy(&ran.stdout)));
    match ran.status.code() {
        Some(0) => None,
        Some(124) => Some(format!("{}: it does not end", test.join(" "))),
        _ => Some(failed()),
    }
}

/// The tests that failed: cargo lists them last.
fn failures(output: &str) -> String {
    let list = output.rsplit("failures:").next().unwrap_or_default();
    let names = list.lines().map(str::trim).take_while(|line| !line.starts_with("test result"));
    names.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The sources as they stand, without what is built of them.
fn copy(tree: &Path) {
    std::fs::create_dir_all(tree).unwrap();
    let parts = ["Cargo.toml", "Cargo.lock", "src", "tests", "schema", "examples", "charts", "docs", "README.md"];
    let parts: Vec<PathBuf> = parts.iter().map(|part| root().join(part)).collect();
    let done = Command::new("cp").arg("-r").args(&parts).arg(tree).status().unwrap();
    assert!(done.success());
}

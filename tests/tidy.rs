//! Rules of the house that a test holds rather than memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::path::{Path, PathBuf};

/// Lines of a file without its tests: what can be read in one sitting.
const SITTING: usize = 520;

/// What only the shell may touch.
const EFFECTS: [&str; 14] = [
    "async fn",
    ".await",
    "tokio::",
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant::",
    "Timestamp::now",
    "kube::Client",
    "kube::Api",
    "reqwest",
    "ring::rand",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The modules in the order of the `mod` lines of `lib.rs`, which is the dependency rule.
fn modules() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned));
    lines.collect()
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The part of a file above its unit tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let order = modules();
    assert!(order.len() >= 10, "{order:?}");
    let mut wrong = vec![];
    for path in rust_files(&root().join("src")) {
        let own = module_of(&path);
        let Some(place) = order.iter().position(|name| *name == own) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if order.iter().position(|name| *name == used).is_some_and(|other| other > place) {
                    wrong.push(format!("{}:{}: {own} uses {used}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_drawing_names_every_module_in_its_order() {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let drawn: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next()).collect();
    assert_eq!(drawn, modules());
}

/// The children of a module in the order of their `mod` lines.
fn children(text: &str) -> Vec<String> {
    let lines = code(text).lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    lines.collect()
}

/// Names that follow `prefix` in a text: one, or those of a braced list.
fn named_after(text: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = vec![];
    for rest in text.split(prefix).skip(1) {
        match rest.strip_prefix('{').and_then(|rest| rest.split_once("};")) {
            Some((list, _)) => found.extend(list.split(',').map(|item| word(item.trim()))),
            None => found.push(word(rest)),
        }
    }
    found
}

#[test]
fn no_room_has_a_circle_and_the_shell_has_an_order() {
    let source = root().join("src");
    let mut wrong = vec![];
    for path in rust_files(&source) {
        let inside = path.strip_prefix(&source).unwrap().with_extension("");
        let inside = if inside.ends_with("mod") { inside.parent().unwrap().to_owned() } else { inside };
        let own = children(&std::fs::read_to_string(&path).unwrap());
        if own.len() < 2 || inside.as_os_str() == "lib" {
            continue;
        }
        let here = format!("crate::{}::", inside.to_string_lossy().replace('/', "::"));
        let mut uses: Vec<(String, Vec<String>)> = vec![];
        for child in &own {
            let all = rust_files(&source).into_iter().filter(|file| {
                let file = file.with_extension("");
                let room = source.join(&inside).join(child);
                file == room || file.starts_with(&room)
            });
            let used = all.flat_map(|file| {
                let text = std::fs::read_to_string(&file).unwrap();
                let itself = file.with_extension("") == source.join(&inside).join(child);
                let mut used = named_after(code(&text), &here);
                if itself {
                    used.extend(named_after(code(&text), "super::"));
                }
                used
            });
            uses.push((child.clone(), used.filter(|name| own.contains(name) && name != child).collect()));
        }
        if inside.starts_with("shell") {
            for (place, (child, used)) in uses.iter().enumerate() {
                let below = used.iter().filter(|name| own.iter().position(|other| other == *name) > Some(place));
                wrong.extend(
                    below.map(|name| format!("{}: {child} uses {name}, which stands below it", path.display())),
                );
            }
        }
        // what uses nothing that is left goes, again and again; a circle stays
        while let Some(free) =
            uses.iter().position(|(_, used)| !used.iter().any(|name| uses.iter().any(|(o, _)| o == name)))
        {
            uses.remove(free);
        }
        if !uses.is_empty() {
            let names: Vec<_> = uses.iter().map(|(name, _)| name.as_str()).collect();
            wrong.push(format!("{}: a circle among {}", path.display(), names.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_effects() {
    let order = modules();
    let shell = order.iter().position(|name| name == "shell").unwrap();
    let mut wrong = vec![];
    for path in rust_files(&root().join("src")) {
        if order.iter().position(|name| *name == module_of(&path)).is_none_or(|place| place >= shell) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in code(&text).lines().enumerate() {
            let code = line.trim_start();
            for token in EFFECTS.iter().filter(|token| !code.starts_with("//") && code.contains(**token)) {
                wrong.push(format!("{}:{}: {token}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_can_be_read_in_one_sitting() {
    let mut wrong = vec![];
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("{} does not open with //!", path.display()));
        }
        let lines = code(&text).lines().count();
        if lines > SITTING {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lints_are_expected_with_a_reason_and_never_just_allowed() {
    let mut wrong = vec![];
    for path in rust_files(&root().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let opening = line.trim_start();
            if opening.starts_with("#[allow") || opening.starts_with("#![allow") {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_state_is_in_the_table_that_people_read() {
    let text = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let row =
        |state: &hks::report::StackState| format!("| {} {} | `{}` |", state.symbol(), state.title(), state.word());
    let missing: Vec<_> = hks::report::StackState::ALL.iter().map(row).filter(|row| !text.contains(row)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

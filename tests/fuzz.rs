//! What others write is read here in thousands of spellings: good inputs, changed by chance, are held against what must be so
//! whatever they are. [docs/fuzzing.md](../docs/fuzzing.md) lists the targets.
//!
//! `just fuzz [NAME] [SECONDS] [SEED]` runs one or all of them for longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests"
)]

mod pure;

#[path = "fuzz/config.rs"]
mod config;
#[path = "fuzz/engine.rs"]
mod engine;
#[path = "fuzz/file.rs"]
mod file;
#[path = "fuzz/kept.rs"]
mod kept;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[cfg(feature = "shell")]
#[path = "fuzz/outside.rs"]
mod outside;
#[cfg(feature = "shell")]
#[path = "fuzz/redactor.rs"]
mod redactor;
#[path = "fuzz/template.rs"]
mod template;
#[path = "fuzz/values.rs"]
mod values;
#[cfg(feature = "shell")]
#[path = "fuzz/web.rs"]
mod web;
#[path = "fuzz/words.rs"]
mod words;

use engine::Target;

/// A test for each target, by its name.
macro_rules! targets {
    ($list:ident: $($name:ident => $target:expr),* $(,)?) => {
        const $list: &[Target] = &[$($target),*];
        $(#[test] fn $name() { engine::run(&$target); })*
    };
}

targets! { PURE:
    branch => file::BRANCH,
    cause => words::CAUSE,
    commit => words::COMMIT,
    config => config::CONFIG,
    cost => file::COST,
    cron => values::CRON,
    duration => values::DURATION,
    file => file::FILE,
    host => values::HOST,
    image => values::IMAGE,
    kubelet => words::KUBELET,
    mask => words::MASK,
    network => values::NETWORK,
    patch => file::PATCH,
    peek => file::PEEK,
    policy => config::POLICY,
    pull => words::PULL,
    quantity => values::QUANTITY,
    quota => words::QUOTA,
    record => kept::RECORD,
    refusal => words::REFUSAL,
    release => kept::RELEASE,
    resume => kept::RESUME,
    seal => kept::SEAL,
    sql => values::SQL,
    status => words::STATUS,
    template => template::TEMPLATE,
    wish => kept::WISH,
}

#[cfg(feature = "shell")]
targets! { OUTSIDE:
    compose => outside::COMPOSE,
    configmap => outside::CONFIGMAP,
    forge => web::FORGE,
    git => outside::GIT,
    kubeconfig => outside::KUBECONFIG,
    login => web::LOGIN,
    pages => outside::PAGES,
    printed => outside::PRINTED,
    redactor => redactor::REDACTOR,
    refused => outside::REFUSED,
    url => outside::URL,
    webhook => web::WEBHOOK,
}

#[test]
fn every_target_has_its_corpus_and_its_line() {
    let mut names: Vec<_> = PURE.iter().map(|target| target.name.to_owned()).collect();
    #[cfg(feature = "shell")]
    names.extend(OUTSIDE.iter().map(|target| target.name.to_owned()));
    names.sort();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fuzzing.md")).unwrap();
    let lines: Vec<_> =
        text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    let folders = std::fs::read_dir(engine::corpus(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir());
    let mut folders: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    folders.sort();
    assert!(lines.is_sorted(), "docs/fuzzing.md has its lines in order");
    if cfg!(feature = "shell") {
        assert_eq!((&folders, &lines), (&names, &names));
    } else {
        assert!(names.iter().all(|name| folders.contains(name) && lines.contains(name)));
    }
}

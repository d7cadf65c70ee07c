//! Targets that read an hks.yaml.

use super::engine::{Target, measured};
use super::mutate::{Dictionary, parts};
use crate::pure::generate::{Tape, stack};
use crate::pure::numbers::Numbers;
use crate::pure::{self, hostile};
use hks::ident::{Revision, is_label};
use hks::manifest::{Manifest, render};
use hks::spec::{self, Diagnostic, Files, Selection, Spec};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Keys, values and marks of an hks.yaml.
const WORDS: Dictionary = &[
    "apiVersion: hks.hexabase.ai/v1",
    "kind: Stack",
    "metadata: {name: a}",
    "apps:",
    "databases:",
    "caches:",
    "jobs:",
    "secrets:",
    "ingress:",
    "environments:",
    "params:",
    "registries:",
    "certificates:",
    "deploy:",
    "x-a:",
    "image: a:1",
    "ports:",
    "env:",
    "volumes:",
    "files:",
    "source: a.txt",
    "resources:",
    "probes:",
    "replicas: 2",
    "branch: main",
    "tag: v*",
    "patch:",
    "project: p",
    "null",
    "true",
    "~",
    "[]",
    "{}",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\n  ",
    "\n    ",
    "&a",
    "*a",
    "<<: *a",
    "!!str ",
    "!env ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "# c\n",
    "? ",
    "'",
    "\"",
    "\\u0007",
    "\t",
    "${params.tag}",
    "${apps.web.url}",
    "${databases.main.url}",
    "${secrets.s.k}",
    "${git.sha}",
    "${environment}",
    "$${",
    "postgres://u:passw0rd@h/",
    "ghp_0123456789abcdefghijABCDEFGHIJ",
    "-----BEGIN PRIVATE KEY-----",
    "%YAML 1.2\n",
];

pub fn context_of(text: &str) -> hks::manifest::Context {
    let edge = pure::edges()[text.len() % 4].clone();
    hks::manifest::Context { edge, ..pure::context() }
}

pub fn rendered(spec: &Spec, text: &str) -> Manifest {
    render(spec, &Revision::new("0123456789abcdef0123456789abcdef01234567"), &context_of(text))
}

/// A valid file by chance.
fn grow(chance: &mut Numbers) -> Vec<u8> {
    let tape: Vec<u8> = (0..chance.below(200)).map(|_| chance.next().to_le_bytes()[0]).collect();
    serde_saphyr::to_string(&stack(&mut Tape(&tape))).unwrap().into_bytes()
}

/// What holds for mistakes: each has a place inside of the file, and acts on no terminal.
fn are_fit(found: &[Diagnostic], source: &[u8]) -> String {
    let text = String::from_utf8_lossy(source);
    let lines: Vec<_> = text.split('\n').collect();
    assert!((1..=101).contains(&found.len()), "{} mistakes", found.len());
    for mistake in found {
        let line = mistake.line.checked_sub(1).and_then(|line| lines.get(line));
        // YAML ends a line at a carriage return as well
        let broken = text.replace("\r\n", "\n").contains('\r');
        let Some(line) = line else {
            assert!(broken, "no line {} in {} lines: {mistake}", mistake.line, lines.len());
            continue;
        };
        let columns = line.chars().count() + 1;
        assert!(broken || (1..=columns).contains(&mistake.column), "column {} of {columns}: {mistake}", mistake.column);
        for said in [&mistake.path, &mistake.message, &mistake.help] {
            assert!(said.chars().count() <= 1200, "{} characters are told", said.chars().count());
            assert!(!said.contains(char::is_control), "{said:?}");
            assert!(!spec::is_credential(said) || spec::mask(said) == *said, "{said}");
        }
        assert!(!mistake.message.is_empty());
        let shown = spec::snippet(&text, mistake);
        assert!(shown.len() <= 8 << 10, "{} bytes are shown", shown.len());
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
    let codes: BTreeSet<_> = found.iter().map(|mistake| mistake.code.as_str()).collect();
    codes.into_iter().collect::<Vec<_>>().join(" ")
}

/// A whole file: every mistake has a place; what is right renders the same each time and in its own names.
pub const FILE: Target = Target { name: "file", run: file, words: WORDS, grow: Some(grow), most: 8 << 10, tries: 80 };

fn file(input: &[u8]) -> String {
    let read = spec::read(input, "hks.yaml", &hostile::files(), Selection::Any);
    assert_eq!(read, spec::read(input, "hks.yaml", &hostile::files(), Selection::Any), "read twice");
    let spec = match read {
        Err(found) => return are_fit(&found, input),
        Ok(None) => return "not selected".into(),
        Ok(Some(spec)) => spec,
    };
    let text = std::str::from_utf8(input).expect("what is valid is text");
    assert!(!spec::is_empty(input));
    assert_eq!(spec::name_of(input).as_ref(), Some(&spec.name));
    let manifest = rendered(&spec, text);
    assert_eq!(manifest, rendered(&spec, text), "rendered twice");
    let keys: BTreeSet<_> = manifest.objects.iter().map(|object| &object.key).collect();
    assert_eq!(keys.len(), manifest.objects.len(), "two objects have one name");
    for key in keys {
        assert!(is_label(&key.name), "{key}");
        assert!(key.name.contains(spec.name.as_str()), "{key}");
    }
    let kept = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&kept).unwrap(), manifest, "kept and read again");
    // comments and keys that belong to nobody mean nothing
    if text.ends_with('\n') {
        let more = format!("{text}# nothing\n");
        let again = spec::read(more.as_bytes(), "hks.yaml", &hostile::files(), Selection::Any);
        assert_eq!(again.as_ref(), Ok(&Some(spec.clone())), "with a comment");
    }
    format!("{:?}", manifest.objects.iter().map(|object| object.key.kind).collect::<BTreeSet<_>>())
}

/// What is asked of files that may be wrong otherwise.
pub const PEEK: Target = Target { name: "peek", run: peek, words: WORDS, grow: Some(grow), most: 8 << 10, tries: 100 };

fn peek(input: &[u8]) -> String {
    let (name, environments, files) = (spec::name_of(input), spec::environments_of(input), spec::files_of(input));
    assert!(name.iter().all(|name| is_label(name.as_str()) && name.as_str().len() <= 40));
    assert!(environments.is_sorted_by(|a, b| a.name < b.name), "{environments:?}");
    if spec::is_empty(input) {
        assert!(name.is_none() && environments.is_empty() && files.is_empty(), "an empty file says something");
    }
    for file in &files {
        assert!(hks::spec::resolve("a/hks.yaml", file).len() <= file.len() + 2);
    }
    let text = String::from_utf8_lossy(input);
    let said = environments.iter().flat_map(|of| [Some(&of.name), of.project.as_ref(), of.branch.as_ref()]).flatten();
    let bytes: usize = said.chain(&files).map(String::len).sum();
    // an alias is a text once more each time
    assert!(bytes <= text.len() || text.contains('*') || text.contains('\\'), "{bytes} bytes of {}", text.len());
    format!("{} {} {}", name.is_some(), environments.len().min(3), files.len().min(3))
}

/// What a file costs to read: bytes at the same time and allocations.
pub const COST: Target = Target { name: "cost", run: cost, words: WORDS, grow: Some(costly), most: 64 << 10, tries: 6 };

fn costly(chance: &mut Numbers) -> Vec<u8> {
    let blocks: Vec<_> = (0..=chance.below(3)).map(|_| hostile::Block::any(chance)).collect();
    hostile::file(&blocks).into_bytes()
}

fn cost(input: &[u8]) -> String {
    let files = hostile::files();
    let (cost, objects) = measured(|| {
        let read = spec::read(input, "hks.yaml", &files, Selection::Any);
        read.ok().flatten().map(|spec| rendered(&spec, "").objects.len())
    });
    assert!(cost.bytes_max <= 10 << 20, "{} bytes at once", cost.bytes_max);
    assert!(cost.count_total <= 1_500_000, "{} allocations", cost.count_total);
    format!("{objects:?} {} {}", cost.bytes_max.max(1).ilog2(), cost.count_total.max(1).ilog2())
}

const BASE: &str = include_str!("../fixtures/fuzz/patch.yaml");

/// The patch of an environment: it is the merge patch of RFC 7396, and one that says nothing changes nothing.
pub const PATCH: Target = Target {
    name: "patch",
    run: patch,
    words: &[
        "apps:",
        "web:",
        "image: a:2",
        "env:",
        "LEVEL:",
        "null",
        "{}",
        "[]",
        "replicas: 3",
        "databases:",
        "main:",
        "jobs:",
        "ingress:",
        "public:",
        "paths:",
        "/:",
        "metadata:",
        "kind:",
        "environments:",
        "params:",
        "tag:",
        "worker:",
        "\n  ",
        "\n    ",
        "\n      ",
        ": ",
        "- ",
        "'",
        "\"",
        "${params.tag}",
        "~",
        "true",
        "volumes:",
        "resources:",
        "limits:",
    ],
    grow: None,
    most: 2 << 10,
    tries: 80,
};

/// RFC 7396, section 2.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = if let Value::Object(map) = target { map } else { Map::new() };
    for (key, value) in patch {
        let old = target.remove(key);
        if !value.is_null() {
            target.insert(key.clone(), merged(old.unwrap_or_default(), value));
        }
    }
    Value::Object(target)
}

fn patch(input: &[u8]) -> String {
    let Ok(Value::Object(patch)) = serde_saphyr::from_slice::<Value>(input) else { return "no patch".into() };
    let patch = Value::Object(patch);
    let base: Value = serde_saphyr::from_str(BASE).unwrap();
    let read = |file: &Value| {
        let source = serde_json::to_vec(file).unwrap();
        (spec::read(&source, "hks.yaml", &Files::default(), Selection::Any), source)
    };
    let mut patched = base.clone();
    patched["environments"]["production"] = json!({ "branch": "main", "patch": patch });
    let ((patched, source), (direct, _)) = (read(&patched), read(&merged(base.clone(), &patch)));
    if let Err(found) = &patched {
        are_fit(found, &source);
    }
    let fixed = ["apiVersion", "kind", "metadata", "environments"].iter().any(|key| patch.get(key).is_some());
    if fixed {
        assert!(patched.is_err(), "a patch changes what a Stack is: {patched:?}");
        return "fixed".into();
    }
    match (patched, direct) {
        (Ok(Some(patched)), Ok(Some(direct))) => {
            assert_eq!(patched, direct, "with the patch, and merged by hand");
            let same = patched == read(&base).0.unwrap().unwrap();
            assert!(same || patch != json!({}), "a patch that says nothing");
            if same { "nothing changed" } else { "changed" }.into()
        }
        (Err(patched), Err(_)) => {
            patched.iter().map(|d| d.code.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
        }
        (patched, direct) => panic!("with the patch {patched:?}, and merged by hand {direct:?}"),
    }
}

/// Patterns of branches, against the plainest matcher there is.
pub const BRANCH: Target = Target {
    name: "branch",
    run: branch,
    words: &["*", "**", "main", "release/", "-", "feature", super::mutate::CUT],
    grow: None,
    most: 60,
    tries: 1500,
};

fn branch(input: &[u8]) -> String {
    fn fits(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => fits(rest, name),
            (Some(('*', rest)), Some((_, shorter))) => fits(rest, name) || fits(pattern, shorter),
            (Some((a, rest)), Some((b, shorter))) => a == b && fits(rest, shorter),
            _ => false,
        }
    }
    let [pattern, name] = parts::<2>(input);
    // the plainest matcher is slow where many stars are
    if pattern.matches('*').count() > 4 {
        return "many".into();
    }
    let declared = spec::Declared { name: "e".into(), project: None, branch: Some(pattern.clone()), tag: None };
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    let expected = fits(&chars(&pattern), &chars(&name));
    assert_eq!(declared.follows(&name), expected, "{pattern:?} and {name:?}");
    format!("{expected} {}", pattern.matches('*').count())
}

//! hks.yaml from the outside: examples and fixtures, the freshness of the schema, and hostile files.
//!
//! `UPDATE=1 cargo test --test spec` rewrites the expected files and the schema.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

use hks::shell::files::document;
use hks::spec::{self, Code, Diagnostic, Part, Reference, Template};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Every file below `folder` that `keep` keeps, sorted.
fn files(folder: &Path, keep: impl Fn(&Path) -> bool + Copy) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, keep));
        } else if keep(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn fixtures(kind: &str) -> Vec<PathBuf> {
    files(&root().join("tests/fixtures/spec").join(kind), |p| p.extension().is_some_and(|e| e == "yaml"))
}

fn examples() -> Vec<PathBuf> {
    files(&root().join("examples"), |p| p.file_name().is_some_and(|n| n == "hks.yaml"))
}

fn one_line_each(found: &[Diagnostic]) -> String {
    found.iter().fold(String::new(), |text, d| text + &format!("{d} [{}]\n", d.code))
}

/// The expected file beside `path` equals `actual`, or becomes it.
fn expect(path: &Path, actual: &str) {
    if update() {
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(expected, actual, "{} is not as expected; UPDATE=1 rewrites it", path.display());
}

#[test]
fn valid_files_parse() {
    for path in fixtures("valid").into_iter().chain(examples()) {
        let document = document(&path, fs::read(&path).unwrap());
        let found = spec::read(&document.source, "hks.yaml", &document.files, spec::Selection::Any);
        let found = found.err().unwrap_or_default();
        assert!(found.is_empty(), "{}:\n{}", path.display(), one_line_each(&found));
    }
}

#[test]
fn invalid_files_say_why() {
    let (mut all, mut valid) = (Vec::new(), Vec::new());
    for path in fixtures("invalid") {
        let source = fs::read(&path).unwrap();
        let found = spec::parse(&source, "hks.yaml").err().unwrap_or_default();
        if found.is_empty() {
            valid.push(path);
            continue;
        }
        all.extend(found.clone());
        expect(&path.with_extension("expected"), &one_line_each(&found));
    }
    assert_eq!(valid, Vec::<PathBuf>::new(), "these are valid");
    let complaints: Vec<String> = all.iter().filter_map(complaint).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn what_is_taken_with_a_warning_says_why() {
    for path in fixtures("warned") {
        let source = fs::read(&path).unwrap();
        let checked = spec::check(&source, "hks.yaml", &spec::Files::default(), spec::Selection::Any);
        assert!(checked.spec.is_ok(), "{}: {:?}", path.display(), checked.spec);
        assert!(checked.warnings.iter().all(|d| d.severity == spec::Severity::Warning && !d.help.is_empty()));
        expect(&path.with_extension("expected"), &one_line_each(&checked.warnings));
        let told = Command::new(env!("CARGO_BIN_EXE_hks")).arg("validate").arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success() && text.contains(&checked.warnings[0].message), "{told:?}");
    }
    // what is right is taken without a word
    for path in fixtures("valid") {
        let source = fs::read(&path).unwrap();
        let checked = spec::check(&source, "hks.yaml", &spec::Files::default(), spec::Selection::Any);
        assert_eq!(checked.warnings, [], "{}", path.display());
    }
}

/// The same mistakes through the command line, and as the commit status that the forge gets.
#[test]
fn invalid_files_are_told_everywhere() {
    let folder = root().join("tests/fixtures/spec/invalid");
    let mut count = 0;
    for path in fixtures("invalid") {
        count += 1;
        let found = spec::parse(&fs::read(&path).unwrap(), "hks.yaml").unwrap_err();
        let first = found[0].to_string();
        let cause = hks::rollout::Cause::InvalidSpec { count: found.len(), first: first.clone() };
        let status = hks::report::rejected(&cause);
        assert!(
            status.chars().count() <= hks::report::MAX_DESCRIPTION && status.contains(&found[0].message),
            "{status}"
        );
    }
    assert!(count >= 120, "only {count} files");
    let command = || Command::new(env!("CARGO_BIN_EXE_hks"));
    let one = folder.join("app-replicas-text.yaml");
    let told = command().arg("validate").arg(&one).output().unwrap();
    assert_eq!(told.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&told.stderr).contains("`replicas` must be a whole number"), "{told:?}");
    let all = command().args(["validate", "-o", "json"]).args(fixtures("invalid")).output().unwrap();
    let told: Vec<Value> = serde_json::from_slice(&all.stdout).unwrap();
    assert!(all.status.code() == Some(3) && told.len() >= count, "{} mistakes", told.len());
}

/// What is wrong with the form of a diagnostic.
fn complaint(d: &Diagnostic) -> Option<String> {
    let fragment = |text: &str| {
        !text.is_empty()
            && !text.starts_with(|c: char| c.is_uppercase())
            && !text.ends_with('.')
            && !text.contains('\n')
    };
    let line = d.to_string();
    let wrong = [
        (line.chars().count() > 140, "longer than a commit status"),
        (d.line == 0 || d.column == 0, "without a place"),
        (!fragment(&d.message) || !fragment(&d.help), "not a fragment in lower case that says what to do"),
    ];
    wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, what)| format!("{what}: {line}"))
}

#[test]
fn every_code_has_a_fixture() {
    let seen: BTreeSet<Code> = fixtures("invalid")
        .into_iter()
        .filter_map(|path| spec::parse(&fs::read(path).unwrap(), "hks.yaml").err())
        .flatten()
        .map(|d| d.code)
        .chain(
            fixtures("warned")
                .into_iter()
                .flat_map(|path| {
                    let source = fs::read(path).unwrap();
                    spec::check(&source, "hks.yaml", &spec::Files::default(), spec::Selection::Any).warnings
                })
                .map(|d| d.code),
        )
        .chain(spec::parse(&vec![b'#'; spec::MAX_BYTES + 1], "hks.yaml").err().into_iter().flatten().map(|d| d.code))
        .collect();
    let missing: Vec<&Code> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert_eq!(missing, Vec::<&Code>::new());
}

/// Each code is explained, and its example has that mistake alone, and then none.
#[test]
fn every_code_is_explained_by_a_wrong_and_a_right_example() {
    let told = |file: &str| {
        let read = spec::check(file.as_bytes(), "hks.yaml", &spec::Files::default(), spec::Selection::Any);
        let found = read.spec.err().into_iter().flatten().chain(read.warnings);
        found.map(|found| found.code).collect::<Vec<_>>()
    };
    let mut without = vec![];
    for code in Code::ALL {
        let mistake = spec::mistake::explain(code.name()).unwrap_or_else(|| panic!("{code} is not explained"));
        assert_eq!(spec::mistake::explain(code.as_str()), Some(mistake));
        assert!(mistake.text.len() > 40, "{code}: {}", mistake.text);
        // a key of the language is looked up by the same command
        assert!(spec::explain::explain(code.name()).is_err(), "{code} is a key, too");
        match &mistake.example {
            Some(example) => {
                assert_eq!(told(&example.wrong), [*code]);
                assert_eq!(told(&example.right), [], "{code}");
            }
            None => without.push(*code),
        }
    }
    assert_eq!(without, [Code::TooLarge, Code::NotUtf8, Code::MoreMistakes]);
    assert_eq!(spec::mistake::explain("nothing"), None);
    assert_eq!(spec::mistake::similar("unknown-keys"), Some("unknown-key"));
    expect(&root().join("docs/mistakes.md"), &spec::mistake::document());
}

#[test]
fn a_snippet_shows_line_caret_and_remedy() {
    let path = root().join("tests/fixtures/spec/invalid/unknown-key.yaml");
    let source = fs::read_to_string(&path).unwrap();
    let found = spec::parse(source.as_bytes(), "hks.yaml").unwrap_err();
    let text: String = found.iter().map(|d| spec::snippet(&source, d) + "\n").collect();
    expect(&path.with_extension("snippet"), &text);
}

#[test]
fn the_schema_is_fresh() {
    let text = serde_json::to_string_pretty(&spec::schema()).unwrap() + "\n";
    expect(&root().join("schema/hks.schema.json"), &text);
}

#[test]
fn the_reference_is_fresh() {
    expect(&root().join("schema/README.md"), &spec::explain::reference());
}

#[test]
fn every_property_is_explained() {
    let paths = spec::explain::paths();
    assert!(paths.len() > 150, "only {}", paths.len());
    for path in paths {
        let told = spec::explain::explain(&path).unwrap();
        assert_eq!(told.path, path);
        assert!(!told.description.is_empty() && !told.takes.is_empty() && !told.objects.is_empty(), "{told:?}");
        // the example is a line of YAML that says it
        let key = path.rsplit('.').next().unwrap();
        let example: Value = serde_saphyr::from_str(&told.example).unwrap();
        assert!(key == "*" || !example[key].is_null(), "{path}: {}", told.example);
    }
    // names may be left out
    assert_eq!(spec::explain::explain("apps.image").unwrap().path, "apps.*.image");
    assert!(spec::explain::explain("apps.web.prob").unwrap_err().contains("`probes`"));
}

#[test]
fn every_property_is_in_an_example() {
    fn properties(schema: &Value, found: &mut BTreeSet<String>) {
        if let Some(map) = schema.get("properties").and_then(Value::as_object) {
            found.extend(map.keys().cloned());
        }
        match schema {
            Value::Object(map) => map.values().for_each(|v| properties(v, found)),
            Value::Array(items) => items.iter().for_each(|v| properties(v, found)),
            _ => {}
        }
    }
    let mut wanted = BTreeSet::new();
    properties(&spec::schema(), &mut wanted);
    let text: String = examples().iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    let code: String = text.lines().map(|l| l.split(" #").next().unwrap_or_default().to_owned() + "\n").collect();
    let missing: Vec<&String> = wanted.iter().filter(|key| !code.contains(&format!("{key}:"))).collect();
    assert_eq!(missing, Vec::<&String>::new(), "keys that no example shows");
}

#[test]
fn the_todo_example_means_what_it_says() {
    let source = fs::read(root().join("examples/hexabase/hks.yaml")).unwrap();
    let spec = spec::parse(&source, "hks.yaml").unwrap();
    let web = &spec.apps["web"];
    assert_eq!(spec.name.as_str(), "todo");
    assert_eq!(web.program.image, Template(vec![Part::Text("127.0.0.1:5000/hexabase-web:1.0.0".into())]));
    assert_eq!((web.ports[0].name.as_str(), web.ports[0].number), ("http", 8080));
    assert_eq!(web.program.env["SESSION_SECRET"].0, [Part::Ref(Reference::Secret("session".into(), "key".into()))]);
    assert_eq!(web.readiness.as_ref().unwrap().check, spec::Check::Http("/ready".into(), 8080));
    assert_eq!(web.startup, None);
    assert_eq!((spec.databases["main"].version, spec.databases["main"].storage.as_str()), (15, "1Gi"));
    assert_eq!(spec.databases["main"].resources.limit_memory, "512Mi");
    assert_eq!(spec.secrets["session"], spec::Secret::Generated(BTreeMap::from([("key".into(), 48)])));
    let target = &spec.ingress["public"].paths["/"];
    assert_eq!((target.app.as_str(), target.port.as_str()), ("web", "http"));
    assert_eq!((spec.deploy.timeout, spec.deploy.capacity_wait), (Duration::from_mins(15), Duration::from_mins(30)));
    assert_eq!(spec.deploy.drift, spec::Drift::Correct);
}

#[test]
fn scalars_and_order_are_as_written() {
    let source = fs::read(root().join("tests/fixtures/spec/valid/scalars.yaml")).unwrap();
    let app = &spec::parse(&source, "hks.yaml").unwrap().apps["web"];
    let text = |t: &str| Template(vec![Part::Text(t.to_owned())]);
    for (name, value) in
        [("FLOAT", "1.10"), ("BIG", "12345678901234567890123"), ("YES", "yes"), ("TRUE", "True"), ("ZERO", "007")]
    {
        assert_eq!(app.program.env[name], text(value), "{name}");
    }
    assert_eq!(app.program.env["EMPTY"], Template(vec![]));
    assert_eq!(app.program.env["ESCAPED"], text("${HOME}"));
    assert_eq!(app.program.env["FROM_ANCHOR"], text("1.50"));
    assert_eq!(app.ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["web", "admin", "metrics"]);
    assert_eq!(app.readiness.as_ref().map(|p| p.check.clone()), Some(spec::Check::Tcp(8080)));
    assert_eq!(app.resources.limit_cpu, "2");
    assert_eq!(app.resources.request_memory, "64Mi");
    assert_eq!(app.resources.limit_memory, "64Mi");
    assert_eq!(app.program.args[1], text("0x10"));
}

#[test]
fn nothing_is_empty_and_empty_is_nothing() {
    for text in ["", "# only a comment\n", "---\n", "null\n", "~", "\u{feff}", " \n\n"] {
        assert!(spec::is_empty(text.as_bytes()), "{text:?}");
        assert_eq!(spec::parse(text.as_bytes(), "f").unwrap_err().len(), 1, "{text:?}");
    }
    assert!(!spec::is_empty(b"\xff") && !spec::is_empty(b"a: 1") && !spec::is_empty(&vec![b'#'; 1 << 20]));
}

/// Hostile files are refused with a place. What they cost is the matter of `cost`.
#[test]
fn bombs_are_refused() {
    let head = "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: a}\n";
    let laughs = (1..10)
        .map(|i| format!("x-{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(",")))
        .collect::<Vec<_>>()
        .concat();
    let long = format!("x-a: &a \"{}\"\nx-b: [{}]\n", "y".repeat(200_000), vec!["*a"; 1000].join(","));
    let chain = (1..9000).map(|i| format!("x{i}: &b{i} [*b{}]\n", i - 1)).collect::<Vec<_>>().concat();
    let references = format!("{head}apps: {{web: {{image: 'a:1', env: {{A: '{}'}}}}}}\n", "${x}".repeat(60_000));
    let distinct = (0..20_000).map(|i| format!("${{x.{i}}}")).collect::<Vec<_>>().concat();
    let wrong = (0..9_000).map(|i| format!("k{i}: 1\n")).collect::<Vec<_>>().concat();
    for (name, source) in [
        ("billion laughs", format!("x-0: &a0 [x]\n{laughs}")),
        ("long text many times", long),
        ("chain of anchors", format!("x0: &b0 [x]\n{chain}")),
        ("deep flow", "[".repeat(100_000)),
        ("deep block", (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<Vec<_>>().concat()),
        ("deep dashes", "- ".repeat(100_000)),
        ("5 MB", "a: b\n".repeat(1_000_000)),
        ("itself", "a: &a [*a]\n".to_owned()),
        ("references", references),
        ("distinct references", format!("{head}apps: {{web: {{image: 'a:1', env: {{A: '{distinct}'}}}}}}\n")),
        ("unknown keys", wrong),
        ("documents", "---\n".repeat(60_000)),
        ("questions", "? ".repeat(100_000)),
        ("dollars", format!("{head}apps: {{web: {{image: 'a:1', env: {{A: '{}'}}}}}}\n", "$${".repeat(60_000) + "${")),
    ] {
        let found = spec::parse(source.as_bytes(), "hks.yaml").unwrap_err();
        assert!(found.iter().all(|d| d.line > 0 && d.column > 0), "{name}");
        for d in found.iter().take(20) {
            assert!(spec::snippet(&source, d).len() < 4_000, "{name}");
        }
    }
}

#[test]
fn no_message_repeats_a_credential() {
    let secret = format!("ghp_{}", "Canary0123456789Canary0123456789");
    let template = fs::read_to_string(root().join("examples/reference/hks.yaml")).unwrap();
    for line in 0..template.lines().count() {
        for broken in [" CANARY", " {CANARY: 1}", ": CANARY: x", " \"CANARY", " !CANARY x", " *CANARY", " ${CANARY}"] {
            let source: String = template
                .lines()
                .enumerate()
                .map(|(i, text)| match text.split_once(':') {
                    Some((key, _)) if i == line => format!("{key}:{broken}\n"),
                    _ if i == line => format!("{broken}\n"),
                    _ => format!("{text}\n"),
                })
                .collect();
            let source = source.replace("CANARY", &secret);
            for d in spec::parse(source.as_bytes(), "hks.yaml").err().into_iter().flatten() {
                let shown = format!("{d} {d:?} {} {}", spec::snippet(&source, &d), serde_json::to_string(&d).unwrap());
                assert!(!shown.contains("Canary"), "{shown}");
            }
        }
    }
}

/// Never a panic, always a place inside the file, always in order.
fn survives(source: &[u8]) {
    let _ = spec::is_empty(source);
    let Err(found) = spec::parse(source, "hks.yaml") else { return };
    assert!(!found.is_empty());
    let text = String::from_utf8_lossy(source);
    let lines = text.split('\n').count();
    for d in &found {
        assert!(d.line > 0 && d.column > 0 && d.line <= lines + 1, "{d}");
        let _ = spec::snippet(&text, d);
    }
    assert!(found.is_sorted_by_key(|d| (d.line, d.column)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(source in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&source);
    }

    #[test]
    fn any_yaml_like_text_is_survived(source in "([a-z]{1,3}|[:\\-&*!|>{}\\[\\],?#'\"$%@\\n ~é]|: |- |\\n  |<<|---\\n){0,60}") {
        survives(source.as_bytes());
    }

    #[test]
    fn mutated_files_are_survived(
        which in 0_usize..8,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, "[a-z0-9:\\-&*{}\\[\\]$\"'\\n ]{0,6}"), 1..4),
    ) {
        let all: Vec<PathBuf> = fixtures("valid").into_iter().chain(examples()).collect();
        let mut text: Vec<char> = fs::read_to_string(&all[which % all.len()]).unwrap().chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        survives(text.into_iter().collect::<String>().as_bytes());
    }
}

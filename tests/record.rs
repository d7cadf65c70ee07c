//! Records as they are kept: those of the format before are read, newer ones are refused, and none outgrows its object.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod pure;

use hks::ident::{Message, ObjectKey, Revision};
use hks::plan::Owned;
use hks::record::{Deployment, Ending, FORMAT, Held, Outcome, Record, Release};
use hks::rollout::Cause;
use hks::spec::{self, Document, Files, Selection};
use jiff::Timestamp;
use pure::context;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

const BEFORE: &str = include_str!("fixtures/record/format-0.json");

/// A settled Stack whose web app takes `files` files of `size` bytes each.
fn settled(files: usize, size: usize) -> Record {
    let mut source =
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: todo}\napps:\n  web:\n    image: \"web:1\"\n"
            .to_owned();
    let mut texts = Files::default();
    if files > 0 {
        source.push_str("    files:\n");
    }
    for number in 0..files {
        writeln!(source, "      /etc/{number}: {{source: \"{number}.json\"}}").unwrap();
        // text that repeats little within itself, as dashboards of some program do
        let text: String =
            (0..size).map(|at| char::from(b'a' + u8::try_from((at * at + number * 7) % 26).unwrap())).collect();
        texts.add(&format!("{number}.json"), text.into_bytes());
    }
    let document = Document { files: Arc::new(texts), ..Document::new("hks.yaml", source.into_bytes()) };
    let read = spec::read(&document.source, &document.path, &document.files, Selection::Any).unwrap().unwrap();
    let manifest = hks::manifest::render(&read, &Revision::new("aaaa"), &context());
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    let owned = |key: &ObjectKey| Owned { key: key.clone(), settled: true, made: None, doomed: false, accepted: false };
    let inventory = manifest.objects.iter().map(|object| owned(&object.key)).collect();
    let settled = Some(Arc::new(Release::new(&document, &manifest.revision, at, &manifest)));
    Record { format: FORMAT, inventory, settled, ..Record::default() }
}

fn again(record: &Record) -> Record {
    let stored = record.encode().unwrap();
    Record::decode(&stored.json, stored.release.as_ref().map(hks::record::Packed::bytes)).unwrap()
}

#[test]
fn what_is_kept_is_read_again() {
    for (files, size) in [(0, 0), (2, 1000), (8, 60_000)] {
        let record = settled(files, size);
        assert_eq!(again(&record), record, "{files} files of {size} bytes");
        let release = record.settled.unwrap();
        let manifest = release.manifest().unwrap().expect("what ran is kept");
        assert!(manifest.objects.iter().any(|object| object.key.name == "todo-web"));
    }
}

#[test]
fn a_record_of_the_format_before_is_read() {
    let record = Record::decode(BEFORE, None).unwrap();
    let release = record.settled.as_ref().unwrap();
    assert_eq!(
        (release.revision.as_str(), release.tag.as_deref(), release.ran.is_none()),
        ("aaaa", Some("v1.0.0"), true)
    );
    let held = record.held.as_ref().unwrap();
    assert_eq!((held.restored, &held.ending, held.content.as_str()), (true, &Ending::Healthy, ""));
    assert_eq!(record.attempt.as_ref().unwrap().revision.as_str(), "cccc");
    assert_eq!(record.history[1].outcome, Outcome::RolledBack);
    let settled: Vec<_> = record.inventory.iter().map(|owned| (owned.settled, owned.made)).collect();
    assert_eq!(settled, [(true, None), (false, None)]);
}

/// Going back one version: the hks before must find every field that it needs, under the names that it knows.
#[test]
fn a_record_can_be_read_by_the_hks_before() {
    let mut record = settled(2, 1000);
    let cause = Cause::Refused { object: "Stack".into(), message: "x".into() };
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    let ending = Ending::Unhealthy { cause: cause.clone() };
    record.held = Some(Box::new(Held {
        revision: Revision::new("bbbb"),
        content: "digest".into(),
        cause: cause.clone(),
        started: at,
        at,
        restored: true,
        ending: ending.clone(),
        unseen: false,
    }));
    record.remember(Deployment {
        revision: Revision::new("bbbb"),
        started: at,
        ended: at,
        outcome: Outcome::RolledBack,
        cause: Some(cause),
        back_to: None,
        ending,
        jobs: [].into(),
        description: "x".into(),
        message: Some(Message::new("ada", "say what a rollback did")),
        hearsay: false,
    });
    let written: Value = serde_json::from_str(&record.encode().unwrap().json).unwrap();
    let before: Value = serde_json::from_str(BEFORE).unwrap();
    for path in ["/inventory/0", "/settled", "/held", "/history/1"] {
        let (known, new) = (before.pointer(path).unwrap(), written.pointer(&path.replace("/1", "/0")).unwrap());
        for field in known.as_object().unwrap().keys().filter(|field| !matches!(field.as_str(), "tag" | "jobs")) {
            assert!(new.get(field).is_some(), "{path} has no {field}: {new}");
        }
    }
    // an outcome or a cause that it does not know would make the whole record unreadable for it
    assert_eq!(written.pointer("/history/0/outcome").unwrap(), "rolledBack");
    assert_eq!(written.pointer("/held/cause/kind").unwrap(), "refused");
}

#[test]
fn a_record_of_a_newer_hks_is_not_touched() {
    let newer = format!("{{\"format\": {}, \"settled\": {{\"what\": \"nobody knows\"}}}}", FORMAT + 1);
    let refusal = Record::decode(&newer, None).unwrap_err();
    assert!(refusal.contains("written by a newer hks"), "{refusal}");
    let torn = &BEFORE[..BEFORE.len() / 2];
    let refusal = Record::decode(torn, None).unwrap_err();
    assert!(refusal.contains("can't be read") && refusal.contains("nothing is deleted"), "{refusal}");
}

#[test]
fn a_release_that_another_hks_has_settled_since_is_not_taken_for_this_one() {
    let record = settled(0, 0);
    let stored = record.encode().unwrap();
    let later = stored.json.replace("2027-01-15T08:00:00Z", "2027-01-16T08:00:00Z");
    assert_ne!(later, stored.json);
    let read = Record::decode(&later, stored.release.as_ref().map(hks::record::Packed::bytes)).unwrap();
    assert_eq!(read.settled.unwrap().ran, None);
}

#[test]
fn a_release_that_is_cut_is_not_taken_for_nothing() {
    let record = settled(0, 0);
    let stored = record.encode().unwrap();
    let bytes = stored.release.unwrap();
    let cut = &bytes.bytes()[..bytes.bytes().len() / 2];
    let read = Record::decode(&stored.json, Some(cut)).unwrap();
    assert!(read.settled.unwrap().manifest().is_err());
}

#[test]
fn no_record_outgrows_its_object() {
    let mut record = settled(8, 60_000);
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    for number in 0..20 {
        // control characters take six bytes each
        let log = "\u{1}".repeat(16 * 1024);
        let cause = Cause::CrashLoop {
            component: "web".into(),
            pod: "p".into(),
            container: "c".into(),
            exit_code: 1,
            log,
            hint: String::new(),
        };
        record.remember(Deployment {
            revision: Revision::new(number.to_string()),
            started: at,
            ended: at,
            outcome: Outcome::RolledBack,
            cause: Some(cause),
            back_to: None,
            ending: Ending::Healthy,
            jobs: [].into(),
            description: "web crashes".into(),
            message: Some(Message::new(&"\"".repeat(1000), &"\\".repeat(1000))),
            hearsay: false,
        });
    }
    let stored = record.encode().unwrap();
    let size = stored.json.len() + stored.release.unwrap().bytes().len();
    assert!(size < 1_000_000, "{size}");
    assert_eq!(again(&record).history.len(), 20);
}

/// Where a rollback goes that does not say where: to what worked before what runs, also the second time.
#[test]
fn one_goes_back_to_what_worked_before() {
    let at = |second: i64| jiff::Timestamp::from_second(second).unwrap();
    let ended = |revision: &str, second: i64, back_to: Option<&str>| {
        let (outcome, cause) = match back_to {
            None => (Outcome::Succeeded, None),
            Some(_) => (Outcome::RolledBack, Some(Cause::Requested { by: "eve".into() })),
        };
        let deployment =
            Deployment::new(Revision::new(revision), (at(second), at(second)), outcome, cause, String::new());
        Deployment { back_to: back_to.map(Revision::new), ..deployment }
    };
    let before = |history: Vec<Deployment>, settled: &str| {
        let last = history.last().map(|last| last.ended).unwrap();
        let release = json!({ "revision": settled, "source": "", "at": last });
        let history = history.into_iter().map(Arc::new).collect();
        let record = Record { history, settled: serde_json::from_value(release).unwrap(), ..Record::default() };
        record.before().map(ToString::to_string)
    };
    let three = || vec![ended("a", 1, None), ended("b", 2, None), ended("c", 3, None)];
    assert_eq!(before(three(), "c").as_deref(), Some("b"));
    // only the revision has moved since
    assert_eq!(before(three(), "d").as_deref(), Some("b"));
    let once = || [three(), vec![ended("c", 4, Some("b"))]].concat();
    assert_eq!(before(once(), "b").as_deref(), Some("a"), "and not forward to c");
    let twice = || [once(), vec![ended("c", 5, Some("a"))]].concat();
    assert_eq!(before(twice(), "a"), None);
    assert_eq!(before(vec![ended("a", 1, None), ended("a", 2, None)], "a"), None, "the same once more is no way back");

    let release = json!({ "revision": "a", "source": "", "at": at(1) });
    let attempt = json!({ "revision": "b", "started": at(2) });
    let record = Record {
        settled: serde_json::from_value(release).unwrap(),
        attempt: serde_json::from_value(attempt).unwrap(),
        history: vec![Arc::new(ended("a", 1, None))],
        ..Record::default()
    };
    assert_eq!(record.before().map(Revision::as_str), Some("a"), "what is being deployed is left for what runs");
    let destroyed = Record { settled: None, attempt: None, ..record };
    assert_eq!(destroyed.before().map(Revision::as_str), Some("a"), "where nothing runs, to what ran last");
}

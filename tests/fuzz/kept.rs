//! Targets that read what is kept in the cluster: records, their seals, wishes, and what a machine makes of a record that anybody may
//! have written.

use super::engine::{Target, measured};
use super::mutate::{CUT, parts};
use super::words::{is_fit, is_told, live};
use crate::pure::numbers::Numbers;
use hks::ident::{Revision, StackName};
use hks::machine::{Event, Machine};
use hks::record::{Packed, Record, SealKey, Stored, Want, Wish};
use hks::report::Status;
use hks::view;
use jiff::Timestamp;
use serde_json::Value;

const WORDS: super::mutate::Dictionary = &[
    "\"format\":",
    "\"inventory\":",
    "\"settled\":",
    "\"attempt\":",
    "\"held\":",
    "\"history\":",
    "\"suspended\":",
    "\"unusable\":",
    "\"answered\":",
    "\"doubted\":true",
    "\"revision\":",
    "\"source\":",
    "\"started\":",
    "\"ended\":",
    "\"at\":",
    "\"outcome\":",
    "\"succeeded\"",
    "\"rolledBack\"",
    "\"cause\":",
    "\"ending\":",
    "\"healthy\"",
    "\"refused\"",
    "\"wish\":",
    "\"rollBack\"",
    "\"destroy\"",
    "\"with_data\":true",
    "\"withData\":true",
    "null",
    "{}",
    "[]",
    "\"\"",
    "true",
    "\"2026-01-01T00:00:00Z\"",
    "\"kind\":\"Deployment\"",
    "\"-009999-01-02T01:59:59Z\"",
    "\"9999-12-30T22:00:00.999999999Z\"",
    "\"restored\":true",
    "\"unseen\":true",
    "\"files\":",
    "\"tag\":",
    "\"back_to\":",
    "\"description\":",
    "\"message\":",
    "\"jobs\":",
    "\"invalidSpec\"",
    "\"count\":0",
    "\\u001b[2J",
    "\\n",
];

/// A record: one that can be read is written and read again as the same, within its room.
pub const RECORD: Target = Target { name: "record", run: record, words: WORDS, grow: None, most: 16 << 10, tries: 400 };

fn record(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let record = match Record::decode(&text, None) {
        Ok(record) => record,
        Err(said) => {
            assert!(said.contains("record") && said.len() < text.len() + 500, "{said}");
            return "unreadable".into();
        }
    };
    let stored = record.encode().unwrap();
    assert!(stored.json.len() <= 1_000_000);
    let again = Record::decode(&stored.json, stored.release.as_ref().map(Packed::bytes)).unwrap();
    let twice = again.encode().unwrap();
    assert_eq!(twice, stored, "written again");
    assert_eq!(Record::decode(&twice.json, None).unwrap(), again, "read again");
    assert_eq!(again.inventory, record.inventory);
    assert_eq!(
        again.settled.as_ref().map(|release| &release.source),
        record.settled.as_ref().map(|release| &release.source)
    );
    assert_eq!(again.history.len(), record.history.len());
    for deployment in &record.history {
        is_fit(&Status::ended(deployment).description);
        deployment.cause.iter().for_each(is_told);
        assert!(!deployment.label().is_empty() && !deployment.shown().is_empty());
    }
    if let Some(held) = &record.held {
        is_told(&held.cause);
    }
    record.before();
    let mut mapped = record.clone();
    mapped.map_history(|_| "x".into());
    assert_eq!(mapped.history.len(), record.history.len());
    format!(
        "{} {} {} {} {}",
        record.settled.is_some(),
        record.attempt.is_some(),
        record.held.is_some(),
        record.history.len().min(3),
        record.suspended.is_some()
    )
}

/// A compressed release: whatever it claims to be, it takes bounded memory.
pub const RELEASE: Target =
    Target { name: "release", run: release, words: &["(\u{b5}/\u{fd}"], grow: Some(packed), most: 64 << 10, tries: 30 };

fn packed(chance: &mut Numbers) -> Vec<u8> {
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    let source = include_bytes!("../fixtures/fuzz/stack.yaml");
    let spec = hks::spec::parse(source, "hks.yaml").unwrap();
    let manifest = hks::manifest::render(&spec, &Revision::new("aaaa"), &crate::pure::context());
    let mut files = hks::spec::Files::default();
    for number in 0..chance.below(4) {
        files.add(&number.to_string(), vec![b'a'; chance.index(40_000)]);
    }
    match chance.below(3) {
        // what is claimed, and nothing else
        0 => zstd::bulk::compress(&vec![b' '; chance.index(40 << 20)], 1).unwrap(),
        1 => zstd::bulk::compress(b"{\"at\":\"2027-01-15T08:00:00Z\",\"manifest\":{}}", 1).unwrap(),
        _ => Packed::pack(at, &manifest, &files).unwrap().bytes().to_vec(),
    }
}

fn release(input: &[u8]) -> String {
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    let (cost, read) = measured(|| Packed::from_bytes(input).unpack(at));
    // 16 MiB as it is, and what that is read into
    assert!(cost.bytes_max <= 64 << 20, "{} bytes at once for {}", cost.bytes_max, input.len());
    match read {
        Ok(Some((manifest, files))) => {
            let again = Packed::pack(at, &manifest, &files).unwrap();
            assert_eq!(again.unpack(at).unwrap(), Some((manifest, files.clone())), "packed again");
            format!("read {}", files.size().min(1))
        }
        Ok(None) => "of another release".into(),
        Err(said) => said.chars().filter(char::is_ascii_alphabetic).take(20).collect(),
    }
}

/// A seal: nobody without the key makes one, and it is for one place, one Stack and every byte of a record.
pub const SEAL: Target = Target {
    name: "seal",
    run: seal,
    words: &["v1:", "v2:", "=", "{}", CUT, "AAAA"],
    grow: None,
    most: 400,
    tries: 1000,
};

fn seal(input: &[u8]) -> String {
    let [place, stack, json, found] = parts::<4>(input);
    let sealer = SealKey::new(b"0123456789abcdef0123456789abcdef").unwrap().of(place.as_str());
    let stored =
        Stored { json: json.clone(), release: (!json.is_empty()).then(|| Packed::from_bytes(stack.as_bytes())) };
    let release = stored.release.as_ref().map(Packed::bytes);
    let own = sealer.seal(&stack, &stored);
    assert!(sealer.holds(&stack, &json, release, &own), "its own seal");
    // base64 has one way to write each tag
    assert_eq!(sealer.holds(&stack, &json, release, &found), found == own, "{found:?} is taken for {own:?}");
    let longer = format!("{json} ");
    assert!(!sealer.holds(&stack, &longer, release, &own), "another record");
    assert!(!sealer.holds(&format!("{stack}x"), &json, release, &own), "another Stack");
    let moved = format!("{}{json}", stack.chars().last().map(String::from).unwrap_or_default());
    let shorter: String = stack.chars().take(stack.chars().count().saturating_sub(1)).collect();
    assert!(stack.is_empty() || !sealer.holds(&shorter, &moved, release, &own), "moved from one part to the next");
    let other = SealKey::new(b"another key, as long as it needs").unwrap().of(place.as_str());
    assert!(!other.holds(&stack, &json, release, &own), "another key");
    let elsewhere = SealKey::new(b"0123456789abcdef0123456789abcdef").unwrap().of(format!("{place}/x"));
    assert!(!elsewhere.holds(&stack, &json, release, &own), "another place");
    format!("{} {}", found == own, found.starts_with("v1:"))
}

/// Wishes in an annotation.
pub const WISH: Target = Target {
    name: "wish",
    run: wish,
    words: &[
        "\"id\":",
        "\"what\":",
        "\"by\":",
        "\"at\":",
        "\"kind\":",
        "\"rollBack\"",
        "\"retry\"",
        "\"suspend\"",
        "\"resume\"",
        "\"destroy\"",
        "\"to\":",
        "\"reason\":",
        "\"withData\":true",
        "\"acceptDataLoss\":true",
        "[",
        "]",
        ",",
        "{",
        "}",
        "\"2026-01-01T00:00:00Z\"",
        "\\u001b",
    ],
    grow: None,
    most: 20 << 10,
    tries: 1000,
};

fn wish(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let wishes = match Wish::decode(&text) {
        Ok(wishes) => wishes,
        Err(said) => {
            assert!(said.contains("wish") && said.len() < text.len() + 500, "{said}");
            return "unreadable".into();
        }
    };
    assert!(text.len() <= 16 << 10, "{} bytes are read", text.len());
    let written = Wish::encode(&wishes);
    assert_eq!(Wish::decode(&written).unwrap(), wishes, "{written}");
    for one in &wishes {
        let mut changed = one.clone();
        changed.words().for_each(|word| *word = "x".into());
        let destroys = matches!(one.what, Want::Destroy { with_data: true });
        assert_eq!(one.what.to_string() == "destroy with data", destroys, "{}", one.what);
        if let Ok(queued) = one.clone().queue(&text) {
            let all = Wish::decode(&queued).unwrap();
            assert_eq!((all.last(), all.len()), (Some(one), wishes.len() + 1));
            assert!(all.len() <= 16 && queued.len() <= 16 << 10);
        }
    }
    wishes.first().map_or_else(|| "none".into(), |first| format!("{} {}", wishes.len().min(20), first.what))
}

/// A machine that goes on from a record that anybody may have written, and what is told of it.
pub const RESUME: Target = Target { name: "resume", run: resume, words: WORDS, grow: None, most: 16 << 10, tries: 200 };

fn resume(input: &[u8]) -> String {
    let [record, seen] = parts::<2>(input);
    let Ok(mut record) = Record::decode(&record, None) else { return "unreadable".into() };
    record.doubt();
    let live = serde_json::from_str::<Value>(&seen).map(|seen| live(&seen)).unwrap_or_default();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let mut machine = Machine::new(StackName::new("a").unwrap(), crate::pure::context(), record);
    let effects = machine.step(Event::Observed, &live, now);
    let view = view::compose(&machine, "shop", &live, now);
    let told = view.json();
    let sentence = told["sentence"].as_str().unwrap();
    assert!(sentence.len() <= 8 * input.len() + 2000, "{} bytes of {}", sentence.len(), input.len());
    assert_eq!(told["state"], view.state.word());
    if let Some(until) = machine.wake_at() {
        assert!(until > now, "it wakes at {until}, again and again");
    }
    format!("{} {:?}", view.state.word(), effects.0.len())
}

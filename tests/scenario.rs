//! The machine by event scripts: `tests/fixtures/scenario/*.txt` hold commands (`> …`, see `tests/pure/sim.rs`) and, below each, the
//! effects that follow and the state after. `UPDATE=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod pure;

use hks::ident::{Kind, ObjectKey, Revision};
use hks::machine::{Event, Rest, State};
use jiff::SignedDuration;
use proptest::prelude::*;
use pure::sim::Sim;
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenario");
    let mut wrong = vec![];
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "scenarios are missing");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut sim = Sim::new();
        let mut transcript = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                writeln!(transcript, "#{comment}").unwrap();
            } else if let Some(command) = line.strip_prefix("> ") {
                sim.log.clear();
                sim.command(command);
                writeln!(transcript, "> {command}").unwrap();
                for same in sim.log.chunk_by(|one, other| one == other) {
                    let times = if same.len() > 1 { format!(" ({} times)", same.len()) } else { String::new() };
                    writeln!(transcript, "  {}{times}", same[0]).unwrap();
                }
                writeln!(transcript, "  = {}", sim.state()).unwrap();
            }
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &transcript).unwrap();
        } else if transcript != text {
            let diff = similar::TextDiff::from_lines(&text, &transcript);
            wrong.push(format!("{}\n{}", path.display(), diff.unified_diff()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 accepts what is right:\n{}", wrong.join("\n"));
}

/// What the cluster holds in the end, without what differs between runs.
fn end(sim: &Sim) -> (Vec<ObjectKey>, Option<Revision>, Option<Revision>, String) {
    let settled = sim.saved.settled.as_ref().map(|release| release.revision.clone());
    let held = sim.saved.held.as_ref().map(|held| held.revision.clone());
    (sim.objects.keys().cloned().collect(), settled, held, sim.state())
}

/// Kills the daemon after request `at`, once answered and once not, and compares with an undisturbed run.
fn killed_everywhere(before: &[(&str, &str)], revision: &str, kind: &str) {
    let prepared = || {
        let mut sim = Sim::new();
        for (revision, kind) in before {
            sim.push(revision, kind);
            sim.run();
        }
        sim.creations.clear();
        sim
    };
    let mut twin = prepared();
    twin.push(revision, kind);
    twin.run();
    let mut points = 0;
    for at in 0..40 {
        for answered in [true, false] {
            let mut sim = prepared();
            sim.push(revision, kind);
            let mut done = 0;
            while done < at && sim.perform(true) {
                if sim.requests.is_empty() {
                    sim.take(Event::Observed);
                }
                done += 1;
            }
            if sim.requests.is_empty() {
                continue;
            }
            points += 1;
            sim.perform(answered);
            sim.crash();
            sim.run();
            sim.fetch();
            sim.run();
            assert_eq!(
                end(&sim),
                end(&twin),
                "killed after request {at} (answered: {answered}):\n{}",
                sim.log.join("\n")
            );
            let lasting = |sim: &Sim| {
                let kept = sim.creations.iter().filter(|(key, _)| key.kind != Kind::Pod);
                kept.map(|(key, count)| (key.clone(), *count)).collect::<Vec<_>>()
            };
            assert_eq!(lasting(&sim), lasting(&twin), "an object was created twice; killed after request {at}");
        }
    }
    assert!(points >= 8, "only {points} points");
}

#[test]
fn a_killed_deployment_ends_like_an_undisturbed_one() {
    killed_everywhere(&[], "aaaa", "v1");
    killed_everywhere(&[("aaaa", "v1")], "bbbb", "v2");
    killed_everywhere(&[("aaaa", "blue1")], "bbbb", "blue2");
    killed_everywhere(&[("aaaa", "nodb")], "bbbb", "job");
}

#[test]
fn a_killed_rollback_ends_like_an_undisturbed_one() {
    killed_everywhere(&[("aaaa", "v1")], "bbbb", "bad");
    killed_everywhere(&[], "aaaa", "bad");
    killed_everywhere(&[("aaaa", "blue1"), ("bbbb", "blue2")], "cccc", "bluebad");
    killed_everywhere(&[("aaaa", "nodb")], "bbbb", "badjob");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: no panic, and in the end it rests, with no object that it did not write down.
    #[test]
    fn any_history_comes_to_rest(steps in proptest::collection::vec(0_u8..16, 1..60)) {
        let mut sim = Sim::new();
        let kinds = [
            "v1", "v2", "bad", "nodb", "empty", "gone", "broken", "big", "blue1", "blue2", "bluebad", "job", "badjob",
        ];
        for (index, step) in steps.iter().enumerate() {
            match step {
                0..=5 => { sim.perform(true); }
                6 => { sim.perform(false); sim.crash(); sim.fetch(); }
                7 => sim.fail(true),
                8 => sim.fail(false),
                9 => sim.touch(),
                10 => sim.pass(SignedDuration::from_mins(7)),
                11 => { sim.cluster.full = !sim.cluster.full; sim.take(Event::Observed); }
                12 => sim.crash(),
                other => sim.push(&format!("{index:04}"), kinds[(index + usize::from(*other)) % kinds.len()]),
            }
            for key in sim.objects.keys() {
                let known = sim.saved.inventory.iter().any(|owned| owned.key == *key);
                prop_assert!(known, "{key} is not written down");
            }
        }
        sim.cluster.full = false;
        sim.fetch();
        sim.run();
        sim.pass(SignedDuration::from_hours(3));
        sim.run();
        prop_assert!(matches!(sim.machine.state, State::Resting(_)), "{}", sim.state());
        // a release with a missing image can never be what settled
        let settled = sim.saved.settled.as_ref().map(|release| release.source.clone()).unwrap_or_default();
        prop_assert!(!settled.contains("missing"));
        if matches!(sim.machine.state, State::Resting(Rest::Settled)) {
            let images = sim.objects.values().filter_map(|o| o["spec"]["template"]["spec"]["containers"][0]["image"].as_str());
            prop_assert!(images.into_iter().all(|image| !image.contains("missing")));
        }
    }
}

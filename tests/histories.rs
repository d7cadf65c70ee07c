//! Long random histories of one Stack: commits, answers, failures, crashes, lost records, unready databases, late pictures,
//! changes of the platform, people and strangers. After each event the invariants must hold, and in the end it comes to rest.
//!
//! A history that breaks one is printed as a script for `tests/fixtures/scenario/`. `HKS_HISTORIES=N` sets how many are tried
//! and `HKS_SEED=N` where they begin.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod pure;

use pure::numbers::Numbers;
use pure::script::{Script, attempt, number, search};
use pure::sim::Sim;
use pure::watcher::{Watcher, outcome};

/// Histories of an ordinary run; a campaign takes more.
const HISTORIES: u64 = 500;
/// Events of one history.
const EVENTS: u64 = 40;

/// What makes no difference between one deployment and another but itself.
const STEADY_KINDS: [&str; 9] = ["v1", "v2", "v3", "bad", "nodb", "cache", "volume", "blue1", "blue2"];

const KINDS: [&str; 20] = [
    "v1",
    "v1",
    "v2",
    "v3",
    "bad",
    "bad",
    "nodb",
    "cache",
    "volume",
    "grown",
    "badvolume",
    "needs",
    "empty",
    "gone",
    "broken",
    "big",
    "blue1",
    "bluebad",
    "job",
    "badjob",
];
const OBJECTS: [&str; 8] = [
    "Deployment/todo-web",
    "Service/todo-web",
    "Secret/todo-main-credentials",
    "StatefulSet/todo-main",
    "PersistentVolumeClaim/data-todo-main-1",
    "PersistentVolumeClaim/data-todo-queue",
    "PersistentVolumeClaim/todo-web-uploads",
    "Ingress/todo-public",
];

/// The next event, as a command of the simulator.
fn event(numbers: &mut Numbers, index: u64, sim: &Sim) -> String {
    let here = |name: &str| sim.has(name);
    match numbers.below(100) {
        0..=29 => "answer".into(),
        30..=41 => "run".into(),
        42..=55 => format!("push c{index} {}", numbers.one(&KINDS)),
        56..=60 => "lost".into(),
        61..=63 => "fetch".into(),
        64..=66 => "fail transient".into(),
        67..=68 => "fail final".into(),
        69..=72 => format!("pass {}", numbers.one(&["1s", "40s", "11m", "31m"])),
        73 => numbers.one(&["lose record", "lose record", "crash", "lost twice", "stop"]).into(),
        // what has been ready once has been ready
        74..=76 if here("StatefulSet/todo-main") => numbers.one(&["database down", "database"]).into(),
        74..=76 => numbers.one(&["database never", "database"]).into(),
        77..=78 => format!("ask {}", numbers.one(&["silent", "well"])),
        79..=81 if sim.cluster.database.is_empty() && !sim.is_doomed() => "rows".into(),
        82 => "touch".into(),
        83 => match numbers.below(7) {
            0 => "backup".into(),
            1 if sim.has_backup() => "restore".into(),
            2 => "clock back".into(),
            3 => format!("set todo-mail password {}", sim.now),
            4 if sim.saved.settled.is_some() => "old record".into(),
            5 => "unsealed".into(),
            _ => format!("stranger Service/todo-{}", numbers.one(&["other", "extra"])),
        },
        84..=86 => match numbers.one(&OBJECTS) {
            name if here(name) => format!("delete {name}"),
            _ => "answer".into(),
        },
        87 => match numbers.one(&OBJECTS) {
            name if here(name) => format!("going {name}"),
            _ => "answer".into(),
        },
        88 if here("Deployment/todo-web") => format!("pause {}", numbers.one(&["on", "off"])),
        89 => format!("room {}", numbers.one(&["none", "enough"])),
        90 => format!("refuse {}", numbers.one(&["on", "off"])),
        91 => format!("platform main {}", numbers.one(&["apps.example", "other.example"])),
        92 => format!("rollback w{index} {}", numbers.one(&["v1", "v2", "bad", "broken"])),
        93 => "again".into(),
        94 => format!(
            "wish {}",
            numbers.one(&["retry", "suspend", "resume", "resume", "accept", "destroy", "destroy-data"])
        ),
        95 => format!("pods {}", numbers.one(&["crash", ""])).trim_end().to_owned(),
        96 => "late".into(),
        _ => "prompt".into(),
    }
}

/// Events that only delay or interrupt.
fn weather(numbers: &mut Numbers) -> &'static str {
    match numbers.below(20) {
        0..=7 => "answer",
        8..=9 => "lost",
        10 => "lost twice",
        11 => "crash",
        12 => "stop",
        13..=14 => "fail transient",
        15 => "late",
        16 => "prompt",
        17 => "fetch",
        _ => "pass 1s",
    }
}

/// Anything may happen.
fn history(seed: u64, script: &mut Script) {
    let mut numbers = Numbers::new(seed);
    let mut sim = Sim::new();
    sim.dozes = numbers.below(8) == 0;
    let mut watcher = Watcher::default();
    for index in 0..EVENTS {
        let command = event(&mut numbers, index, &sim);
        script.watched(&command, &mut sim, &mut watcher);
    }
    script.add("(the end)", &sim);
    watcher.comes_to_rest(&mut sim);
}

/// I2, I15: commits one after the other, once in bad weather and once without: the end is the same, and nothing was made or
/// deleted more often.
fn twins(seed: u64, script: &mut Script) {
    let mut numbers = Numbers::new(seed);
    let (mut calm, mut stormy) = (Sim::new(), Sim::new());
    (calm.dozes, stormy.dozes) = (false, false);
    let settle = ["prompt", "fetch", "run", "pass 2m", "run", "pass 1h", "run"];
    for index in 0..3 + numbers.below(3) {
        let push = format!("push c{index} {}", numbers.one(&STEADY_KINDS));
        calm.command(&push);
        let mut events = vec![push];
        events.extend((0..numbers.below(16)).map(|_| weather(&mut numbers).to_owned()));
        for event in &events {
            script.add(event, &stormy);
            stormy.now += jiff::SignedDuration::from_secs(1);
            stormy.command(event);
            script.ran(&stormy);
        }
        for command in settle {
            script.add(command, &stormy);
            calm.command(command);
            stormy.command(command);
            script.ran(&stormy);
        }
        assert_eq!(outcome(&stormy), outcome(&calm), "bad weather makes a difference");
    }
}

#[test]
fn any_history_keeps_the_invariants() {
    let (count, from) = (number("HKS_HISTORIES").unwrap_or(HISTORIES), number("HKS_SEED").unwrap_or(1));
    let run = |seed| {
        attempt(|script| match seed % 5 {
            0 => twins(seed, script),
            _ => history(seed, script),
        })
    };
    if let Some((seed, (script, text))) = search(from..from + count, run) {
        panic!("HKS_SEED={seed} HKS_HISTORIES=1: {text}{}", script.text);
    }
}

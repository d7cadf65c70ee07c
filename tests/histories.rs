//! Long random histories of one Stack: commits, answers, failures, crashes, lost records, unready databases, late pictures,
//! changes of the platform, people and strangers. After each event the invariants must hold, and in the end it comes to rest.
//!
//! A history that breaks one is printed as a script for `tests/fixtures/scenario/`. `HKS_HISTORIES=N` sets how many are tried
//! and `HKS_SEED=N` where they begin.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod pure;

use hks::ident::{Kind, ObjectKey, Revision};
use hks::machine::{Effect, Rest, State};
use hks::plan::{self, Action};
use hks::record::Ending;
use hks::report::StatusState;
use pure::sim::Sim;
use pure::simulated::live;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Histories of an ordinary run; a campaign takes more.
const HISTORIES: u64 = 500;
/// Events of one history.
const EVENTS: u64 = 40;

/// A generator of numbers (splitmix64): the same seed gives the same history everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

const KINDS: [&str; 18] = [
    "v1",
    "v1",
    "v2",
    "v3",
    "bad",
    "bad",
    "nodb",
    "cache",
    "volume",
    "badvolume",
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
    let here = |name: &str| {
        let (kind, name) = name.split_once('/').unwrap();
        sim.objects.contains_key(&ObjectKey::new(Kind::named(kind).unwrap(), name))
    };
    match numbers.below(100) {
        0..=29 => "answer".into(),
        30..=41 => "run".into(),
        42..=55 => format!("push c{index} {}", numbers.one(&KINDS)),
        56..=60 => "lost".into(),
        61..=63 => "fetch".into(),
        64..=66 => "fail transient".into(),
        67..=68 => "fail final".into(),
        69..=72 => format!("pass {}", numbers.one(&["1s", "40s", "11m", "31m"])),
        73 => "lose record".into(),
        // what has been ready once has been ready
        74..=76 if here("StatefulSet/todo-main") => numbers.one(&["database down", "database"]).into(),
        74..=76 => numbers.one(&["database never", "database"]).into(),
        77..=78 => format!("ask {}", numbers.one(&["silent", "well"])),
        79..=81 if sim.cluster.database.is_empty() => "rows".into(),
        82..=83 => "touch".into(),
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
        94 => format!("wish {}", numbers.one(&["retry", "suspend", "resume", "resume", "destroy"])),
        95 => format!("pods {}", numbers.one(&["crash", ""])).trim_end().to_owned(),
        96 => "late".into(),
        _ => "prompt".into(),
    }
}

/// What the invariants need to remember.
#[derive(Default)]
struct Watcher {
    /// uids of volumes that somebody has written to.
    written: BTreeSet<String>,
    /// Volumes that were part of something that settled, or were there when an attempt began.
    settled: BTreeSet<String>,
    /// By commit: the last status, and whether a final one may follow.
    told: BTreeMap<Revision, (StatusState, String)>,
    seen_deleted: usize,
    /// Volumes that a person has deleted, or had deleted: their loss was nobody's mistake.
    gone_by_hand: BTreeSet<ObjectKey>,
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

impl Watcher {
    fn check(&mut self, sim: &Sim, command: &str) {
        let claims = || sim.objects.iter().filter(|(key, _)| key.kind == Kind::PersistentVolumeClaim);
        if command == "rows" {
            self.written.extend(claims().map(|(_, claim)| uid(claim)));
        }
        // I3, I4: what somebody has written to, or what once was part of a settled release, is never deleted
        for (key, deleted) in &sim.deleted[self.seen_deleted..] {
            if key.kind == Kind::PersistentVolumeClaim {
                let uid = deleted.as_str().unwrap_or_default();
                let database = key.name.contains("main");
                assert!(!(database && self.written.contains(uid)), "{key} with rows is deleted");
                assert!(!self.settled.contains(uid), "{key} of a settled release is deleted");
            }
        }
        self.seen_deleted = sim.deleted.len();
        if matches!(sim.machine.state, State::Resting(Rest::Settled)) && sim.machine.record.attempt.is_none() {
            let baseline = sim.machine.baseline();
            let part = |key: &ObjectKey| baseline.is_some_and(|baseline| baseline.get(key).is_some());
            let known: Vec<_> = claims().filter(|(key, _)| part(key)).map(|(_, claim)| uid(claim)).collect();
            self.settled.extend(known);
        }
        if let Some(name) = command.strip_prefix("delete ") {
            let (kind, name) = name.split_once('/').unwrap();
            self.gone_by_hand.insert(ObjectKey::new(Kind::named(kind).unwrap(), name));
        }
        // I8: what exists was written down before, as long as nobody has lost the record
        for effect in &sim.effects {
            self.one_end(effect);
        }
    }

    /// I6: after a final status another one comes only if something was begun in between.
    fn one_end(&mut self, effect: &Effect) {
        let Effect::News(news) = effect else { return };
        let Some(status) = hks::report::status(news) else { return };
        let last = self.told.insert(status.revision.clone(), (status.state, status.description.clone()));
        if let Some((state, description)) = last
            && state == StatusState::Success
            && status.state != StatusState::Pending
            && status.state != StatusState::Success
        {
            // a person's rollback, or a file that means nothing here any more, is told on the commit that it is about
            let asked = [
                "requested",
                "wanted to",
                "suspended",
                "still held",
                "no changes",
                "data",
                "gone",
                "paused",
                "deleted",
            ];
            let fine = asked.iter().any(|word| status.description.contains(word) || description.contains(word));
            assert!(fine, "{} was told {description:?} and then {:?}", status.revision, status.description);
        }
    }

    /// I1, I14: left alone, it rests, and what is settled is what runs.
    fn end(sim: &mut Sim) {
        for command in ["prompt", "room enough", "refuse off", "ask well", "database", "pods", "wish resume"] {
            sim.command(command);
        }
        let going: Vec<_> =
            sim.objects.iter().filter(|(_, object)| plan::is_going(object)).map(|(key, _)| key.clone()).collect();
        for key in going {
            sim.objects.remove(&key);
        }
        if let Some(web) = sim.objects.get_mut(&ObjectKey::new(Kind::Deployment, "todo-web")) {
            web["spec"]["paused"] = Value::Bool(false);
        }
        sim.command("fetch");
        for _ in 0..4 {
            sim.command("run");
            sim.command("pass 3h");
        }
        sim.command("run");
        let State::Resting(rest) = sim.machine.state else { panic!("it does not rest: {}", sim.state()) };
        let before = sim.log.len();
        for _ in 0..3 {
            sim.command("run");
        }
        let quiet = sim.log[before..].iter().all(|line| !line.starts_with("apply") && !line.starts_with("delete"));
        assert!(quiet, "it is not quiet: {:?}", &sim.log[before..]);
        let restored = sim.machine.record.held.as_ref().is_none_or(|held| held.ending == Ending::Healthy);
        if let Some(baseline) = sim.machine.baseline()
            && matches!(rest, Rest::Settled | Rest::Held)
            && restored
            && sim.machine.lost.is_empty()
        {
            let live = live(&sim.objects, &sim.cluster);
            let plan = plan::compare(baseline, &live, &sim.machine.record.inventory);
            let wrong: Vec<_> = plan
                .steps
                .iter()
                .filter(|step| step.object.stage.lasts() && step.action != Action::Keep)
                .map(|step| step.object.key.to_string())
                .collect();
            assert!(wrong.is_empty(), "{rest:?}, but {wrong:?} is not as it should be");
        }
    }
}

/// Runs one history; the commands of one that breaks an invariant.
fn history(seed: u64) -> Result<(), (Vec<String>, String)> {
    let mut commands = vec![];
    let run = catch_unwind(AssertUnwindSafe(|| {
        let mut numbers = Numbers(seed);
        let mut sim = Sim::new();
        let mut watcher = Watcher::default();
        for index in 0..EVENTS {
            let command = event(&mut numbers, index, &sim);
            commands.push(command.clone());
            sim.effects.clear();
            sim.now += jiff::SignedDuration::from_secs(1);
            sim.tables = sim
                .objects
                .iter()
                .any(|(key, claim)| key.name == "data-todo-main-1" && watcher.written.contains(&uid(claim)));
            if command != "rows" {
                sim.command(&command);
            }
            watcher.check(&sim, &command);
        }
        commands.push("(the end)".into());
        Watcher::end(&mut sim);
    }));
    run.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (commands, text.unwrap_or_default())
    })
}

#[test]
fn any_history_keeps_the_invariants() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (count, from) = (number("HKS_HISTORIES").unwrap_or(HISTORIES), number("HKS_SEED").unwrap_or(1));
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let broken = std::thread::scope(|scope| {
        let work = |of: u64| {
            move || {
                (from..from + count)
                    .filter(|seed| seed % threads == of)
                    .find_map(|seed| Some((seed, history(seed).err()?)))
            }
        };
        let all: Vec<_> = (0..threads).map(|of| scope.spawn(work(of))).collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap()).min_by_key(|(seed, _)| *seed)
    });
    let _ = std::panic::take_hook();
    if let Some((seed, (commands, text))) = broken {
        let script = commands.join("\n> ");
        panic!("HKS_SEED={seed} HKS_HISTORIES=1: {text}\n> {script}");
    }
}

//! What may go wrong once, tried at each step: every request of a deployment, a rollback, a repair and a wish, with each fault; and each
//! request of a daemon that falls asleep, arriving at each step of the one that takes over. After each event the invariants must
//! hold, and in the end it comes to rest.
//!
//! A plan that breaks one is printed as a script for `tests/fixtures/scenario/`. `HKS_EVERY=N` tries one of N plans.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests"
)]

mod pure;

use pure::numbers::Numbers;
use pure::script::{Broken, Script, attempt, number, search};
use pure::sim::Sim;
use pure::watcher::Watcher;
use std::sync::atomic::{AtomicU64, Ordering};

/// An ordinary run tries one of so many plans.
const EVERY: u64 = 400;
/// What a journey has at most; more would be a circle.
const MOST_STEPS: usize = 60;

/// What is there before.
const BEFORE: [&[&str]; 9] = [
    &[],
    &["push a v1", "run"],
    &["push a v1", "run", "rows"],
    &["push a nodb", "run"],
    &["push a volume", "run"],
    &["push a cache", "run"],
    &["push a blue1", "run"],
    &["push a job", "run"],
    &["push a v1", "run", "push b bad", "run", "pass 2m"],
];

/// What begins then.
const BEGINNINGS: [&str; 34] = [
    "push c v1",
    "push c v2",
    "push c v3",
    "push c bad",
    "push c badapp",
    "push c nodb",
    "push c volume",
    "push c grown",
    "push c badvolume",
    "push c cache",
    "push c blue1",
    "push c blue2",
    "push c bluebad",
    "push c job",
    "push c badjob",
    "push c tuned",
    "push c needs",
    "push c maygo",
    "push c named",
    "push c big",
    "push c empty",
    "push c gone",
    "rollback w v1",
    "rollback w bad",
    "wish retry",
    "wish suspend",
    "wish destroy",
    "wish destroy-data",
    "touch",
    "delete Deployment/todo-web",
    "delete Service/todo-web",
    "delete StatefulSet/todo-main",
    "delete Secret/todo-main-credentials",
    "platform main other.example",
];

/// What may go wrong.
const FAULTS: [&str; 52] = [
    "lost",
    "lost twice",
    "crash",
    "stop",
    "fail transient",
    "fail final",
    "fail limit",
    "fail host",
    "lose record",
    "old record",
    "unsealed",
    "restore",
    "late",
    "clock back",
    "pass 11m",
    "pass 31m",
    "push d v1",
    "push d v2",
    "push d bad",
    "push d broken",
    "push d empty",
    "push d gone",
    "push d nodb",
    "platform main other.example",
    "platform main apps.example",
    "wish retry",
    "wish suspend",
    "wish destroy",
    "wish accept",
    "rollback x v1",
    "rollback x bad",
    "room none",
    "refuse on",
    "quota full",
    "database down",
    "database never",
    "ask silent",
    "pods crash",
    "pause on",
    "address dead",
    "rows",
    "touch",
    "stranger Service/todo-extra",
    "set todo-mail password 2027-01-15T08:00:00Z",
    "delete Deployment/todo-web",
    "delete StatefulSet/todo-main",
    "delete Secret/todo-main-credentials",
    "delete PersistentVolumeClaim/data-todo-main-1",
    "delete Ingress/todo-public",
    "going PersistentVolumeClaim/data-todo-main-1",
    "going PersistentVolumeClaim/todo-web-uploads",
    "going Deployment/todo-web",
];

/// Whether something can happen at all.
fn can_be(command: &str, sim: &Sim) -> bool {
    match command.split(' ').collect::<Vec<_>>().as_slice() {
        ["delete" | "going", name] => sim.has(name),
        ["pause", _] => sim.has("Deployment/todo-web"),
        ["old", "record"] => sim.saved.settled.is_some(),
        // what has been ready once has been ready
        ["database", "never"] => !sim.has("StatefulSet/todo-main"),
        ["rows"] => {
            let volume = sim.has("PersistentVolumeClaim/data-todo-main-1");
            sim.cluster.database.is_empty() && volume && !sim.is_doomed()
        }
        _ => true,
    }
}

/// What has happened so far on a journey, and who looks whether it may.
struct Journey<'a> {
    sim: Sim,
    watcher: Watcher,
    script: &'a mut Script,
}

impl<'a> Journey<'a> {
    /// It has begun; none where it can't.
    fn begin(before: &[&str], beginning: &str, script: &'a mut Script) -> Option<Self> {
        let mut new = Self { sim: Sim::new(), watcher: Watcher::default(), script };
        for command in before {
            new.happens(command);
        }
        new.happens("backup");
        can_be(beginning, &new.sim).then(|| {
            new.happens(beginning);
            new
        })
    }

    fn happens(&mut self, command: &str) {
        self.script.watched(command, &mut self.sim, &mut self.watcher);
    }

    /// One step further; not where nothing moves.
    fn step(&mut self) -> bool {
        if !self.sim.requests.is_empty() {
            self.happens("answer");
            return true;
        }
        let before = self.sim.log.len();
        self.happens("look");
        self.sim.log.len() > before || !self.sim.requests.is_empty()
    }

    /// So many, or as many as there are.
    fn steps(&mut self, most: usize) -> usize {
        (0..most).take_while(|_| self.step()).count()
    }

    fn ends(mut self) {
        self.script.add("(the end)", &self.sim);
        self.watcher.comes_to_rest(&mut self.sim);
    }
}

/// How many steps a journey has; none where it can't begin.
fn length(before: &[&str], beginning: &str) -> Result<usize, Broken> {
    let mut length = 0;
    attempt(|script| {
        if let Some(mut journey) = Journey::begin(before, beginning, script) {
            length = journey.steps(MOST_STEPS) + 1;
        }
    })?;
    Ok(length)
}

/// Where a journey begins, by its number.
fn journey(number: u64) -> (&'static [&'static str], &'static str) {
    let number = usize::try_from(number).unwrap();
    (BEFORE[number / BEGINNINGS.len()], BEGINNINGS[number % BEGINNINGS.len()])
}

fn journeys() -> std::ops::Range<u64> {
    0..(BEFORE.len() * BEGINNINGS.len()) as u64
}

/// One of so many is tried, the same ones each time.
fn is_chosen(parts: [usize; 4]) -> bool {
    let every = number("HKS_EVERY").unwrap_or(EVERY);
    let seed = parts.iter().fold(0, |seed, part| Numbers::new(seed ^ *part as u64).next());
    Numbers::new(seed).below(every) == 0
}

/// Tries all that belongs to each journey.
fn try_all(what: &str, plans: impl Fn(u64, &AtomicU64) -> Result<(), Broken> + Sync) {
    let tried = AtomicU64::new(0);
    if let Some((number, (script, text))) = search(journeys(), |number| plans(number, &tried)) {
        panic!("journey {number}: {text}{}", script.text);
    }
    let tried = tried.into_inner();
    eprintln!("{tried} {what}");
    assert!(tried > 100, "{what}: only {tried}");
}

/// Each fault at each step.
#[test]
fn any_single_fault_keeps_the_invariants() {
    try_all("single faults", |number, tried| {
        let (before, beginning) = journey(number);
        for at in 0..length(before, beginning)? {
            for (fault, command) in FAULTS.iter().enumerate() {
                if !is_chosen([usize::try_from(number).unwrap(), at, fault, 0]) {
                    continue;
                }
                attempt(|script| {
                    let mut journey = Journey::begin(before, beginning, script).unwrap();
                    journey.steps(at);
                    if can_be(command, &journey.sim) {
                        tried.fetch_add(1, Ordering::Relaxed);
                        journey.happens(command);
                        journey.ends();
                    }
                })?;
            }
        }
        Ok(())
    });
}

/// A daemon falls asleep at each step, and what it has sent arrives at each step of the one that takes over; or that one
/// falls asleep as well, and both arrive at a third one's.
#[test]
fn any_takeover_keeps_the_invariants() {
    try_all("takeovers", |number, tried| {
        let (before, beginning) = journey(number);
        let length = length(before, beginning)?;
        for at in 0..length {
            for later in 0..length + 3 {
                for again in 0..4 {
                    if !is_chosen([usize::try_from(number).unwrap(), at, later, again]) {
                        continue;
                    }
                    tried.fetch_add(1, Ordering::Relaxed);
                    attempt(|script| {
                        let mut journey = Journey::begin(before, beginning, script).unwrap();
                        journey.steps(at);
                        journey.happens("asleep");
                        journey.steps(later);
                        if again > 0 {
                            journey.happens("asleep");
                            journey.steps(again * 2 - 1);
                        }
                        while !journey.sim.sent.is_empty() {
                            journey.happens("arrives");
                        }
                        journey.ends();
                    })?;
                }
            }
        }
        Ok(())
    });
}

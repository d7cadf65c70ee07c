//! What a run of the simulator has done, told so that it can be repeated, and the search for one that breaks an invariant.

use super::sim::Sim;
use super::watcher::Watcher;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What happened, as a scenario: the commands, and below each what followed.
#[derive(Default)]
pub struct Script {
    pub text: String,
    seen: usize,
}

impl Script {
    /// Something is about to happen.
    pub fn add(&mut self, command: &str, sim: &Sim) {
        self.seen = sim.log.len();
        self.text.push_str("\n> ");
        self.text.push_str(command);
    }

    /// It has.
    pub fn ran(&mut self, sim: &Sim) {
        for line in &sim.log[self.seen..] {
            self.text.push_str("\n  ");
            self.text.push_str(line);
        }
        self.text.push_str("\n  = ");
        self.text.push_str(&sim.state());
    }

    /// A second later something happens, and the invariants are looked at.
    pub fn watched(&mut self, command: &str, sim: &mut Sim, watcher: &mut Watcher) {
        self.add(command, sim);
        sim.news.clear();
        sim.now += jiff::SignedDuration::from_secs(1);
        sim.tables = watcher.has_rows(sim);
        if command != "rows" {
            sim.command(command);
        }
        self.ran(sim);
        watcher.check(sim, command);
    }
}

/// What was done, and what was wrong with it.
pub type Broken = (Script, String);

/// Runs something; what happened if it breaks an invariant, and how it does.
pub fn attempt(run: impl FnOnce(&mut Script)) -> Result<(), Broken> {
    let mut script = Script::default();
    catch_unwind(AssertUnwindSafe(|| run(&mut script))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (script, text.unwrap_or_default())
    })
}

/// Runs all of some numbers on all processors; the lowest that breaks an invariant.
pub fn search(numbers: std::ops::Range<u64>, run: impl Fn(u64) -> Result<(), Broken> + Sync) -> Option<(u64, Broken)> {
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let broken = std::thread::scope(|scope| {
        let work = |of: u64| {
            let (numbers, run) = (numbers.clone(), &run);
            move || {
                numbers.filter(|number| number % threads == of).find_map(|number| Some((number, run(number).err()?)))
            }
        };
        let all: Vec<_> = (0..threads).map(|of| scope.spawn(work(of))).collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap()).min_by_key(|(number, _)| *number)
    });
    let _ = std::panic::take_hook();
    broken
}

/// A number that a variable of the environment sets.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

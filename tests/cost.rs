//! What an hks.yaml may cost, whatever is in it: a climb from files by chance to the most expensive ones, and those that
//! were found before.
//!
//! Counted is what is allocated, not time: the reader makes a path or a text at nearly each thing that it does, so that whatever
//! is done too often shows here. What searches a text allocates nothing, so there the processor's time for a long text is compared
//! with that for a shorter one. `HKS_CLIMBS=N` sets how many climbs there are, `HKS_STEPS=N` how long each is, and `HKS_SEED=N`
//! where they begin; `HKS_BY=time` looks for what takes longest, which finds loops that allocate nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

mod pure;

use hks::ident::Revision;
use hks::{manifest, spec};
use pure::hostile;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Bytes that are taken at the same time, at most.
const MOST_AT_ONCE: u64 = 10 << 20;
/// Allocations, whatever the file is.
const MOST: u64 = 1_500_000;
/// Allocations for each byte of a file, for itself and once more for each of its environments.
const MOST_A_BYTE: u64 = 20;
/// Allocations that have nothing to do with the length of the file.
const ANYWAY: u64 = 100_000;

/// What one use of a file costs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    at_once: u64,
    allocations: u64,
    time: Duration,
}

fn measure(work: impl FnOnce()) -> Cost {
    let start = Instant::now();
    let counted = allocation_counter::measure(work);
    Cost { at_once: counted.bytes_max, allocations: counted.count_total, time: start.elapsed() }
}

/// The costs of a file, by name of what is done with it.
fn costs(text: &str) -> [(&'static str, Cost); 4] {
    let files = hostile::files();
    let bytes = text.as_bytes();
    let all = measure(|| {
        if let Ok(Some(spec)) = spec::read(bytes, "hks.yaml", &files, spec::Selection::Any) {
            manifest::render(&spec, &Revision::new("0123456789abcdef0123456789abcdef01234567"), &pure::context());
        }
    });
    [
        ("reading and rendering", all),
        ("name", measure(|| drop(spec::name_of(bytes)))),
        ("environments", measure(|| drop(spec::environments_of(bytes)))),
        ("files", measure(|| drop(spec::files_of(bytes)))),
    ]
}

fn most_allocations(text: &str) -> u64 {
    let environments = spec::environments_of(text.as_bytes()).len().min(50) as u64;
    MOST.min(ANYWAY + MOST_A_BYTE * text.len() as u64 * (1 + environments))
}

/// How near a file is to what is allowed, in thousandths.
fn height(text: &str) -> u64 {
    let by_time = std::env::var("HKS_BY").is_ok_and(|by| by == "time");
    let most = most_allocations(text);
    let one = |cost: &Cost| {
        if by_time {
            return u64::try_from(cost.time.as_micros()).unwrap();
        }
        (cost.at_once * 1_000 / MOST_AT_ONCE).max(cost.allocations * 1_000 / most)
    };
    costs(text).iter().map(|(_, cost)| one(cost)).max().unwrap()
}

fn is_affordable(name: &str, text: &str) {
    for (what, cost) in costs(text) {
        println!("{name}, {} bytes, {what}: {cost:?}", text.len());
        assert!(cost.at_once <= MOST_AT_ONCE, "{name}, {what}: {cost:?}");
        assert!(cost.allocations <= most_allocations(text), "{name}, {what}: {cost:?}");
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// The schema and the like are made once, not for a file.
fn warm() {
    let _ = spec::parse(b"kind: x", "hks.yaml");
}

#[test]
fn no_file_that_is_known_costs_too_much() {
    warm();
    for (name, text) in hostile::known::known() {
        assert!(text.len() <= spec::MAX_BYTES, "{name}");
        is_affordable(name, &text);
    }
}

#[test]
fn no_file_by_chance_costs_too_much() {
    warm();
    let seed = number("HKS_SEED", 1);
    let steps = usize::try_from(number("HKS_STEPS", 25)).unwrap();
    for seed in seed..seed + number("HKS_CLIMBS", 4) {
        let (height, blocks) = hostile::climb(seed, steps, &mut height);
        is_affordable(&format!("seed {seed}, height {height}, {blocks:?}"), &hostile::file(&blocks));
    }
}

/// What people need has room: a file of a thousand values in fifty environments.
#[test]
fn fifty_environments_are_checked() {
    for (name, text) in hostile::known::known().into_iter().filter(|(name, _)| name.starts_with("50 environments")) {
        let found = spec::parse(text.as_bytes(), "hks.yaml").err().unwrap_or_default();
        assert!(found.is_empty() || name.ends_with("mistakes"), "{name}: {found:?}");
        assert!(found.iter().all(|found| found.code != spec::Code::TooComplex), "{name}: {found:?}");
    }
}

/// What is counted is what is done: twice as many apps in a chain are twice as much.
#[test]
fn a_chain_costs_its_length() {
    warm();
    let cost = |apps: usize| costs(&hostile::known::chain(apps, 0))[0].1.allocations;
    let (some, many) = (cost(50), cost(200));
    assert!(many < some * 5, "{some} for 50, {many} for 200");
}

/// Four times the text takes four times as long, not sixteen times.
#[test]
fn a_text_costs_its_length() {
    const SOME: usize = 60_000;
    warm();
    let took = |text: &str| {
        let once = || {
            let before = processor_time();
            let _ = spec::parse(text.as_bytes(), "hks.yaml");
            processor_time().saturating_sub(before)
        };
        (0..3).map(|_| once()).min().unwrap()
    };
    for ((name, some), (_, many)) in hostile::known::texts(SOME).into_iter().zip(hostile::known::texts(4 * SOME)) {
        let (short, long) = (took(&some), took(&many));
        println!("{name}: {short:?}, four times as long {long:?}");
        assert!(long < short * 8, "{name}: {short:?}, four times as long {long:?}");
    }
}

/// Of this thread, so that it is the same however busy the machine is.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

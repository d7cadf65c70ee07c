//! Runs targets: their corpora, inputs made of those by chance, and the smallest input of what fails.
//!
//! Stable Rust measures no coverage, so a target says in a few words what an input was to it: an input that was something new is
//! made into others, as one that reaches new code would be.

use super::mutate::{self, Dictionary};
use crate::pure::numbers::Numbers;
use allocation_counter::AllocationInfo;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Something that reads what others wrote.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Reads an input, and holds what comes of it against what must be so. Returns in a few words what the input was.
    pub run: fn(&[u8]) -> String,
    /// Words of the format.
    pub words: Dictionary,
    /// Makes a valid input by chance, where the format is known.
    pub grow: Option<fn(&mut Numbers) -> Vec<u8>>,
    /// Bytes of an input at most.
    pub most: usize,
    /// Inputs of an ordinary run.
    pub tries: u32,
}

/// How long an input may take, in a debug build on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Inputs that were something new are kept, so many at most.
const MOST_KEPT: usize = 4096;
/// Inputs that are tried to make one that fails smaller.
const MOST_SMALLER: usize = 4000;

thread_local! {
    /// What a panic of this thread said, while panics are caught.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where a corpus is kept.
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(name)
}

/// What some work allocates. A panic ends the measurement before it goes on.
pub fn measured<T>(work: impl FnOnce() -> T) -> (AllocationInfo, T) {
    let mut done = None;
    let cost = allocation_counter::measure(|| done = Some(panic::catch_unwind(AssertUnwindSafe(work))));
    (cost, done.unwrap().unwrap_or_else(|panic| panic::resume_unwind(panic)))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap())
}

/// Runs a target: its corpus, and then other inputs, `tries` of them or for `HKS_FUZZ_SECONDS`.
pub fn run(target: &Target) {
    let seed = number("HKS_SEED").unwrap_or(1);
    let seconds = number("HKS_FUZZ_SECONDS");
    let start = Instant::now();
    let more = |inputs: u32| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => inputs < target.tries,
    };
    let mut pool: Vec<Vec<u8>> = known(target.name).into_iter().map(|(_, input)| input).collect();
    assert!(!pool.is_empty(), "{} has no corpus", corpus(target.name).display());
    let mut kinds = BTreeSet::new();
    for input in &pool {
        kinds.insert(tried(target, input).unwrap_or_else(|said| failed(target, seed, input, &said)));
    }
    let mut chance = Numbers::new(seed);
    let mut inputs = 0;
    while more(inputs) {
        let grown = target.grow.filter(|_| chance.below(4) == 0);
        let mut input = match grown {
            Some(grow) => grow(&mut chance),
            None => pool[chance.index(pool.len())].clone(),
        };
        // what has grown is tried as it is, too
        if grown.is_none() || chance.below(2) == 0 {
            mutate::mutate(&mut input, &pool, target.words, target.most, &mut chance);
        }
        inputs += 1;
        let kind = tried(target, &input).unwrap_or_else(|said| failed(target, seed, &input, &said));
        if pool.len() < MOST_KEPT && kinds.insert(kind) {
            pool.push(input);
        }
    }
    println!(
        "{}: {inputs} inputs of seed {seed} in {:.1?}, {} different outcomes",
        target.name,
        start.elapsed(),
        kinds.len()
    );
}

/// The corpus of a target, in order of name.
fn known(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(corpus(name)).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    all.sort();
    all
}

/// What an input is to a target, or what it does wrong.
fn tried(target: &Target, input: &[u8]) -> Result<String, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let caught = SAID.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()));
            if caught.is_none() {
                usual(info);
            }
        }));
    });
    SAID.set(Some(String::new()));
    let start = Instant::now();
    let done = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let said = SAID.take().unwrap_or_default();
    match done {
        Ok(_) if start.elapsed() > PATIENCE => Err(format!("it took {:?}", start.elapsed())),
        Ok(kind) => Ok(kind),
        Err(_) => Err(said),
    }
}

/// Ends the run with the smallest input that fails in the same place.
fn failed(target: &Target, seed: u64, input: &[u8], said: &str) -> ! {
    // the place of a panic comes before its words
    let place = |said: &str| said.lines().next().unwrap_or_default().to_owned();
    let wrong = place(said);
    let smallest =
        mutate::smallest(input, MOST_SMALLER, |input| tried(target, input).is_err_and(|s| place(&s) == wrong));
    let said = tried(target, &smallest).err().unwrap_or_else(|| said.to_owned());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}-{seed}", target.name));
    fs::write(&path, &smallest).unwrap();
    panic!(
        "{} does not hold, seed {seed}: {said}\ninput ({} bytes): {:?}\nit is in {}; once it is mended, move it to {}",
        target.name,
        smallest.len(),
        String::from_utf8_lossy(&smallest),
        path.display(),
        corpus(target.name).display()
    );
}

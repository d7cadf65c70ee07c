//! How much may be had of what others need as well: some at once, and so much in the long run.

use crate::config::ClusterBudget;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Requests to a cluster at once, in seconds of its rate.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Processor time for a cluster at once, in seconds of its share: by default enough to read some thousand Stacks for the first time.
const CPU_AT_ONCE: Duration = Duration::from_secs(10);
/// A wait that is told …
const LONG: Duration = Duration::from_millis(250);
/// … and how often at most.
const TOLD: Duration = Duration::from_mins(1);

/// What may be had of something (the generic cell rate algorithm: one time stands for all that was taken).
#[derive(Debug)]
pub struct Allowance {
    /// How far ahead of time may be taken.
    ahead: Duration,
    /// When all that was taken would be over, one after the other.
    over: Instant,
}

impl Allowance {
    /// Nothing of it was taken yet.
    pub fn new(ahead: Duration, now: Instant) -> Self {
        Self { ahead, over: now }
    }

    /// Takes what is there again after `cost`; returns how long to wait for it.
    pub fn take(&mut self, cost: Duration, now: Instant) -> Duration {
        self.over = self.over.max(now) + cost;
        self.over.saturating_duration_since(now + self.ahead)
    }
}

/// What one cluster may take of hks, and hks of the cluster, so that neither has nothing left for others.
#[derive(Debug)]
pub struct Share {
    budget: ClusterBudget,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Allowance,
    cpu: Allowance,
    told: Option<Instant>,
}

impl Default for Share {
    fn default() -> Self {
        Self::of(ClusterBudget::default())
    }
}

impl Share {
    /// What a configuration allows.
    pub fn of(budget: ClusterBudget) -> Self {
        let now = Instant::now();
        let cpu = Allowance::new(CPU_AT_ONCE, now);
        let state = Mutex::new(State { requests: Allowance::new(AT_ONCE, now), cpu, told: None });
        Self { budget, state }
    }

    /// Waits until one more request may be sent.
    pub async fn request(&self) {
        pause(self.ask(Instant::now())).await;
    }

    /// So much processor time was spent for the cluster; returns how long to wait until more of it is.
    pub fn spent(&self, cpu: Duration) -> Duration {
        self.charge(cpu, Instant::now())
    }

    fn ask(&self, now: Instant) -> Duration {
        let wait = self.lock().requests.take(Duration::from_secs(1) / self.budget.requests_per_second.get(), now);
        self.tell(
            wait,
            now,
            "requests to a cluster wait: it is asked as often as clusterBudget.requestsPerSecond allows",
        );
        wait
    }

    fn charge(&self, cpu: Duration, now: Instant) -> Duration {
        let wait = self.lock().cpu.take(self.budget.time_for(cpu), now);
        self.tell(wait, now, "a cluster changes more than clusterBudget.millicores can follow; it is followed later");
        wait
    }

    fn tell(&self, wait: Duration, now: Instant, text: &str) {
        if wait < LONG {
            return;
        }
        let mut state = self.lock();
        if state.told.is_none_or(|told| now.duration_since(told) >= TOLD) {
            state.told = Some(now);
            tracing::warn!(?wait, "{text}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait after something has gone wrong so many times before: at first, doubled each time, and at most.
pub fn doubled((first, longest): (Duration, Duration), times: u32) -> Duration {
    (first * 2_u32.saturating_pow(times)).min(longest)
}

/// Waits, if that is to be.
pub async fn pause(wait: Duration) {
    // a timer takes a millisecond at least
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// How soon it is looked again at what wants to be looked at at once, again and again. Nothing should: it is a mistake in hks, and
/// must not take a core from all others.
#[derive(Debug, Default)]
pub struct Floor(u32);

impl Floor {
    /// First wait, and the longest.
    const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));
    /// Rounds in a row that are no coincidence.
    const ROUNDS: u32 = 8;

    /// It was looked, and wants to be looked at again at once, or does not. Returns whether it is time to say so.
    pub fn looked(&mut self, again: bool) -> bool {
        self.0 = if again { self.0.saturating_add(1) } else { 0 };
        self.0 == Self::ROUNDS
    }

    /// How long to wait at least.
    pub fn least(&self) -> Duration {
        match self.0 {
            0 => Duration::ZERO,
            rounds => doubled(Self::WAIT, rounds - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_may_be_had_at_once_and_less_in_the_long_run() {
        let start = Instant::now();
        let mut allowance = Allowance::new(Duration::from_secs(1), start);
        let cost = Duration::from_millis(100);
        let waits: Vec<_> = (0..20).map(|_| allowance.take(cost, start)).collect();
        assert!(waits[..10].iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(waits[10..], (1..=10).map(|round| cost * round).collect::<Vec<_>>());
        // whoever waited as told takes ten a second
        assert_eq!(allowance.take(cost, start + Duration::from_secs(1)), cost);
        assert_eq!(allowance.take(cost, start + Duration::from_mins(1)), Duration::ZERO);
    }

    #[test]
    fn requests_come_at_their_rate() {
        let rate = 50_u32.try_into().unwrap();
        let share = Share::of(ClusterBudget { requests_per_second: rate, ..ClusterBudget::default() });
        let start = Instant::now();
        let at_once = (0..250).filter(|_| share.ask(start).is_zero()).count();
        assert_eq!(at_once, 250);
        let end = (0..500).fold(start, |now, _| now + share.ask(now));
        assert!((9..=10).contains(&(end - start).as_secs()), "{:?}", end - start);
    }

    #[test]
    fn who_takes_a_core_gets_a_part_of_it() {
        let half = 500_u32.try_into().unwrap();
        let share = Share::of(ClusterBudget { millicores: half, ..ClusterBudget::default() });
        let (start, work) = (Instant::now(), Duration::from_millis(5));
        let (mut now, mut spent) = (start, Duration::ZERO);
        while now - start < Duration::from_secs(100) {
            spent += work;
            now += work;
            now += share.charge(work, now);
        }
        assert!((50..=57).contains(&spent.as_secs()), "{spent:?}");
    }

    #[test]
    fn what_wants_to_be_looked_at_all_the_time_is_looked_at_ever_less() {
        let mut floor = Floor::default();
        assert_eq!(floor.least(), Duration::ZERO);
        let said = (1..=20).filter(|_| floor.looked(true)).count();
        assert_eq!((said, floor.least()), (1, Duration::from_secs(30)));
        assert!(!floor.looked(false) && floor.least().is_zero());
    }
}

//! How often others may make a source look: whoever knows the secret of a webhook can send any number of deliveries.

use crate::shell::pace::Allowance;
use std::time::Duration;
use tokio::time::Instant;

/// Looks that may follow each other at once …
const AT_ONCE: u32 = 30;
/// … and how often one more may.
const EVERY: Duration = Duration::from_secs(2);

/// The looks of one source.
pub(super) struct Pace {
    looks: Allowance,
    /// When the last one that was granted is due.
    due: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { looks: Allowance::new(EVERY * AT_ONCE, now), due: now }
    }

    /// When to look, seen from `now`; `None` if a look is still to come that sees the same.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Duration> {
        if self.due > now {
            return None;
        }
        let wait = self.looks.take(EVERY, now);
        self.due = now + wait;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_deliveries_become_a_few_looks() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        // a thousand in a minute
        let asked = (0..1000).filter_map(|number| {
            let now = start + Duration::from_millis(60 * number);
            pace.ask(now).map(|wait| (number, wait))
        });
        let asked: Vec<_> = asked.collect();
        assert!(asked[..30].iter().enumerate().all(|(at, (number, wait))| at as u64 == *number && wait.is_zero()));
        assert!((55..=61).contains(&asked.len()), "{}", asked.len());
        assert!(asked.iter().all(|(_, wait)| *wait <= EVERY), "{asked:?}");
        // whoever was quiet for a while is heard at once
        let later = start + Duration::from_mins(3);
        assert_eq!((pace.ask(later), pace.ask(later)), (Some(Duration::ZERO), Some(Duration::ZERO)));
    }
}

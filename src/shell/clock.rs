//! The one place where time is read.

use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A difference of two clocks that is no mere correction.
const STEP: SignedDuration = SignedDuration::from_secs(2);

/// Now, to the microsecond, as the record keeps it.
#[expect(clippy::disallowed_methods, reason = "the clock adapter")]
pub fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How long until `at`; nothing if it has passed.
pub fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now())).unwrap_or(Duration::ZERO)
}

/// Processor time that this thread has used.
pub fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// A clock that goes on evenly, whatever the machine's is set to: what is under way has deadlines, and none of them comes since
/// somebody has corrected a clock.
pub struct Steady {
    wall: Timestamp,
    at: Instant,
}

impl Steady {
    /// One that says what the machine's clock says.
    pub fn start() -> Self {
        Self { wall: now(), at: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.at.elapsed()).unwrap_or(SignedDuration::MAX);
        self.wall.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// How long until `at`; nothing if it has passed.
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }

    /// Whether the machine's clock was set back since.
    pub fn is_ahead(&self) -> bool {
        self.now().duration_since(now()) > STEP
    }
}

//! The one place where time is read.

use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// Now, to the microsecond, as the record keeps it.
#[expect(clippy::disallowed_methods, reason = "the clock adapter")]
pub fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How long until `at`; nothing if it has passed.
pub fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now())).unwrap_or(Duration::ZERO)
}

//! A mistake in hks itself must not silence a Stack or a source for ever: a panic is caught, told, and the work begun anew
//! after a wait that grows. The others go on meanwhile.

use crate::shell::pace::doubled;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// First and longest wait before work that panicked is begun anew.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Runs `work` to its end; if it panics, what it said.
///
/// # Errors
/// The words of the panic.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".into())
    })
}

/// How long to wait after so many panics in a row, beginning with 1.
pub fn wait(panics: u32) -> Duration {
    doubled(BACKOFF, panics.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_in_its_own_words() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let number = 7;
        assert_eq!(caught::<()>(async { panic!("no {number}") }).await, Err("no 7".into()));
        assert_eq!(caught::<()>(async { panic!("plain") }).await, Err("plain".into()));
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let waits: Vec<_> = [1, 2, 3, 40].into_iter().map(|panics| wait(panics).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 300]);
    }
}

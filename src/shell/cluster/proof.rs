//! That this daemon acts for a Stack is proven before it writes, and what it writes is sent only for as long as that must still be
//! so: between the two it may have slept, or waited for its turn.

use crate::shell::clock;
use jiff::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For how long nobody asks again.
const FRESH: Duration = Duration::from_secs(5);
/// For how long nobody else can have begun to act. A challenger waits for 15 seconds after its challenge, which was not there when it
/// was proven.
const SURE: Duration = Duration::from_secs(12);

/// For how long it is sure that nobody else leads: two seconds less than a leader must have been silent until another one does.
const LEADS: Duration = Duration::from_secs(6);

/// What is known of who leads. A process leads as a whole.
static LED: Mutex<Led> = Mutex::new(Led::Alone);

enum Led {
    /// No other daemon stands in for this one.
    Alone,
    /// When it was last seen that this one does.
    Here(Proof),
    /// Another one does.
    There,
}

tokio::task_local! {
    static PROOF: Proof;
}

/// When it was asked whether this daemon acts, by both clocks: one stands still while the machine sleeps, the other one may be set.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    monotonic: Instant,
    wall: Timestamp,
}

impl Proof {
    /// It is being asked.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: clock::now() }
    }

    /// One of some time ago.
    #[cfg(test)]
    pub fn of_before(age: Duration) -> Self {
        let now = Self::now();
        Self { monotonic: now.monotonic - age, wall: now.wall - age }
    }

    /// Whether it need not be asked again.
    pub fn is_fresh(&self) -> bool {
        self.is_younger_than(FRESH) && leads()
    }

    fn is_younger_than(&self, most: Duration) -> bool {
        let elapsed = clock::now().duration_since(self.wall);
        self.monotonic.elapsed() < most && !elapsed.is_negative() && elapsed.unsigned_abs() < most
    }

    /// Runs requests, of which none is sent once the proof is too old.
    pub async fn while_sure<T>(self, requests: impl Future<Output = T>) -> T {
        PROOF.scope(self, requests).await
    }
}

/// It was seen that this daemon leads: from now on it writes nothing unless that was seen a moment ago.
pub(super) fn led(proof: Proof) {
    *LED.lock().unwrap_or_else(PoisonError::into_inner) = Led::Here(proof);
}

/// Another daemon leads: nothing is written any more.
pub(super) fn overtaken() {
    *LED.lock().unwrap_or_else(PoisonError::into_inner) = Led::There;
}

/// Whether no other daemon can have begun to lead.
pub(super) fn leads() -> bool {
    match &*LED.lock().unwrap_or_else(PoisonError::into_inner) {
        Led::Alone => true,
        Led::Here(proof) => proof.is_younger_than(LEADS),
        Led::There => false,
    }
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this daemon may have slept, so it is looked again whether it still acts for the Stack")]
pub struct Slept;

/// Whether a request that is about to be sent may be.
///
/// # Errors
/// It belongs to a proof that is too old.
pub(super) fn look() -> Result<(), Slept> {
    let sure = PROOF.try_with(|proof| proof.is_younger_than(SURE) && leads()).unwrap_or(true);
    if sure { Ok(()) } else { Err(Slept) }
}

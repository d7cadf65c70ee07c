//! That this daemon acts for a Stack is proven before it writes, and what it writes is sent only for as long as that must still be
//! so: between the two it may have slept, or waited for its turn.

use crate::shell::clock;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use jiff::Timestamp;
use kube::client::Body;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;
use tower::BoxError;

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

    fn look(&self) -> Result<(), Slept> {
        if self.is_younger_than(SURE) && leads() { Ok(()) } else { Err(Slept) }
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

/// A request that is about to be sent, if it may be.
///
/// # Errors
/// It belongs to a proof that is too old.
pub(super) fn guarded(request: http::Request<Body>) -> Result<http::Request<Guarded>, Slept> {
    let proof = PROOF.try_with(|proof| *proof).ok();
    proof.map_or(Ok(()), |proof| proof.look())?;
    Ok(request.map(|body| Guarded::new(body, proof)))
}

/// The body of a request. A connection may have to be made for it first, so it is looked once more when the body is asked for:
/// without it, a request that writes is none.
pub(super) struct Guarded {
    body: Pin<Box<Body>>,
    proof: Option<Proof>,
}

impl Guarded {
    /// What belongs to a proof is there only for as long as that holds.
    pub(super) fn new(body: Body, proof: Option<Proof>) -> Self {
        Self { body: Box::pin(body), proof }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(this.body.as_mut().poll_frame(context));
        if let Some(Err(slept)) = this.proof.map(|proof| proof.look()) {
            return Poll::Ready(Some(Err(slept.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

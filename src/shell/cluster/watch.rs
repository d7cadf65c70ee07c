//! Watches that go on for ever.

use crate::shell::clock;
use crate::shell::cluster::bounds::Excess;
use crate::shell::cluster::pages::{PAGE, smaller};
use crate::shell::pace::doubled;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Api;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// First and longest wait between tries of a watch.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A watch that has not failed for so long is there again, though nothing may have come: the longest wait, and the time in
/// which a connection fails.
pub const QUIET: Duration = Duration::from_secs(15);
/// How long until something is listed again of which there was too much.
const EXCEEDED: Duration = Duration::from_secs(30);
/// Errors in a row by which the API server refuses to go on with a watch, until it is begun anew.
const REFUSED: u32 = 3;

/// How long until a cluster is asked again for what it lacks or hks may not see; both come rarely.
pub const UNSERVED: Duration = Duration::from_mins(5);

/// A watch that goes on for ever.
pub type Lasting<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// Watches, and begins anew with a list where going on from where it was may never tell anything: when the API server refuses
/// that again and again, and after it was away. What comes back may have the store of yesterday, and then a watch from a version
/// that it has not reached yet is told neither a change nor an error.
pub fn lasting<K>(api: Api<K>, config: watcher::Config) -> Lasting<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let anew = move |objects| {
        let config = config.clone().page_size(objects);
        watch_stream(api.clone(), config).backoff(resetting()).boxed()
    };
    let first = anew(PAGE);
    stream::unfold((first, anew, 0, PAGE), async |(mut stream, anew, mut refused, mut objects)| {
        let event = loop {
            let event = stream.next().await?;
            match &event {
                // for somebody's large objects the others must not be out of sight
                Err(error) if let Some(fewer) = smaller(error, objects) => {
                    objects = fewer;
                    stream = anew(objects);
                }
                _ => break event,
            }
        };
        refused = match &event {
            Err(watcher::Error::WatchError(_)) => refused + 1,
            Err(_) => refused,
            Ok(_) => 0,
        };
        if matches!(event, Ok(Event::InitDone)) {
            objects = PAGE;
        }
        if refused > REFUSED || event.as_ref().is_err_and(begins_anew) {
            refused = 0;
            // it costs most to read what is too much, and who has made it has to mend it
            let exceeds = event.as_ref().is_err_and(|error| Excess::of(error).is_some());
            let pause = tokio::time::sleep(if exceeds { EXCEEDED } else { BACKOFF.0 });
            stream = stream::once(pause).filter_map(async |()| None).chain(anew(objects)).boxed();
        }
        Some((event, (stream, anew, refused, objects)))
    })
    .boxed()
}

/// Nothing comes any more until there is a new list: the API server is not there, or has said more than is read.
pub fn begins_anew(error: &watcher::Error) -> bool {
    let is_cut_off = matches!(error, watcher::Error::WatchStartFailed(error) if !matches!(error, kube::Error::Api(_)));
    is_cut_off || Excess::of(error).is_some()
}

/// The rights for it may be lacking, or the kind itself; both come rarely.
pub fn is_denied(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

fn resetting() -> ResetTimerBackoff<Waits> {
    ResetTimerBackoff::new(Waits::default(), QUIET)
}

/// The waits between tries: short, since all that a daemon knows hangs on it.
#[derive(Default)]
pub struct Waits(u32);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = doubled(BACKOFF, self.0);
        self.0 = self.0.saturating_add(1);
        // up to half is added, so that many watches that lost the same API server don't come back in step
        let share = clock::now().subsec_nanosecond().unsigned_abs() % 1000;
        Some(wait + wait.mul_f64(f64::from(share) / 2000.0))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_begin_anew() {
        let mut waits = Waits::default();
        let all: Vec<_> = waits.by_ref().take(20).collect();
        assert!(all[0] < Duration::from_millis(400) && all[19] >= BACKOFF.1 && all[19] <= BACKOFF.1.mul_f64(1.5));
        waits.reset();
        assert!(waits.next().is_some_and(|wait| wait < Duration::from_millis(400)));
    }
}

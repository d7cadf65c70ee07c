//! The waiting half of a pass: is the stage ready, is the address live, are the deleted objects gone; and what happens when not.

use super::Turn;
use super::pass::{Station, VANISH_PATIENCE, span};
use crate::ident::PassId;
use crate::record::{Ending, Held};
use crate::report::Status;
use crate::rollout::{self, Cause, Progress};
use jiff::SignedDuration;

/// How long a public address may take to answer after its pods are ready.
const PROBE_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

impl Turn<'_> {
    /// A timer or the watches: see whether the pass can go on.
    pub(super) fn look(&mut self) {
        let (now, live) = (self.now, self.live);
        let Some(pass) = self.pass() else { return };
        if pass.in_flight {
            return;
        }
        if let Some(at) = pass.retry_at {
            return if at <= now {
                self.send();
            };
        }
        match pass.station {
            Station::Watching => self.watch(),
            Station::Vanishing => {
                let there = pass.gone.iter().any(|key| live.get(key).is_some());
                if !there || now >= pass.station_since + VANISH_PATIENCE {
                    self.settle();
                }
            }
            _ => {}
        }
    }

    fn watch(&mut self) {
        let (now, live) = (self.now, self.live);
        let Some(pass) = self.pass() else { return };
        let stuck = rollout::stuck(pass.watched(live), live);
        if !stuck.is_empty() {
            pass.gone = stuck;
            return self.go(Station::Unsticking);
        }
        let progress = rollout::progress(pass.watched(live), live);
        if !matches!(progress, Progress::Waiting(_))
            && let Some(since) = pass.waiting_since.take()
        {
            pass.waited += now.duration_since(since);
        }
        let late = now >= pass.deadline();
        match progress {
            Progress::Ready => self.next_stage(),
            Progress::Waiting(message) => {
                let since = *pass.waiting_since.get_or_insert(now);
                let over = now >= since + span(pass.manifest.deploy.capacity_wait) - pass.waited;
                pass.message.clone_from(&message);
                if !pass.is_back() {
                    let status = Status::waiting(&pass.manifest.revision, &message);
                    if over { self.fail(Cause::Capacity { message }) } else { self.report(status) }
                }
            }
            // a rollback has nowhere to go back to; what it restores may itself be in trouble
            Progress::Failed(cause) if pass.is_back() => {
                pass.message = cause.to_string();
                if late {
                    self.next_stage();
                }
            }
            Progress::Failed(cause) => self.fail(cause),
            Progress::Progressing(missing) => {
                pass.message = format!("{}: {}", missing.component, missing.message);
                if late && pass.is_back() {
                    self.next_stage();
                } else if late {
                    self.fail(match missing.pulling {
                        Some(image) => Cause::ImagePullTimeout { image, reason: missing.message },
                        None => Cause::NotReady {
                            component: missing.component,
                            pod: missing.pod,
                            message: missing.message,
                            log: String::new(),
                        },
                    });
                }
            }
        }
    }

    pub(super) fn probed(&mut self, id: PassId, reply: Result<(), (String, String)>) {
        let now = self.now;
        let Some(pass) = self.pass() else { return };
        if pass.id != id || pass.station != Station::Probing || !pass.in_flight {
            return;
        }
        pass.in_flight = false;
        if self.overtaken() {
            return self.reconsider();
        }
        let Some(pass) = self.pass() else { return };
        match reply {
            Ok(()) => self.next_stage(),
            Err((url, message)) if now.duration_since(pass.station_since) >= PROBE_PATIENCE => {
                self.fail(Cause::UrlNotLive { url, message });
            }
            Err((url, message)) => {
                pass.message = format!("{url}: {message}");
                pass.tries += 1;
                let wait = SignedDuration::from_millis(50 * i64::from(pass.tries.min(20)));
                pass.retry_at = Some(now + wait);
            }
        }
    }

    /// The pass forward has failed. Before anything was touched it is simply rejected.
    pub(super) fn fail(&mut self, cause: Cause) {
        let Some(pass) = self.pass() else { return };
        if pass.station == Station::Checking {
            let (revision, started) = (pass.manifest.revision.clone(), pass.started);
            return self.reject(&revision, cause, started);
        }
        if cause.log_source().is_some() {
            self.go(Station::Explaining(cause));
        } else {
            self.fall_back(cause);
        }
    }

    pub(super) fn explained(&mut self, id: PassId, log: String) {
        let Some(pass) = self.pass() else { return };
        let Station::Explaining(cause) = &pass.station else { return };
        if pass.id == id {
            let cause = cause.clone().with_log(log);
            self.fall_back(cause);
        }
    }

    fn fall_back(&mut self, cause: Cause) {
        let at = self.now;
        let Some(pass) = self.pass() else { return };
        let held = Held {
            revision: pass.manifest.revision.clone(),
            cause,
            started: pass.started,
            at,
            restored: false,
            ending: Ending::Open,
        };
        self.machine.record.held = Some(held.clone());
        self.machine.record.attempt = None;
        self.go_back(&held);
    }
}

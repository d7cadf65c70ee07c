//! The waiting half of a pass: is the stage ready, is the address live, are the deleted objects gone; and what happens when not.

use super::pass::{Origin, Station, Toward, VANISH_PATIENCE, glance, span};
use super::{Probed, Turn};
use crate::record::Held;
use crate::report::News;
use crate::rollout::{self, Cause, Progress};
use crate::spec;
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
            if at > now {
                return;
            }
            // what it was about may be gone meanwhile
            let lost = if pass.station == Station::Applying { self.plan_again() } else { None };
            return match lost {
                Some(cause) => self.has_lost_data(cause),
                None => self.send(),
            };
        }
        match pass.station {
            Station::Watching => self.watch(),
            Station::Ending => self.wait_for_jobs(),
            Station::Vanishing => {
                let there = pass.gone.iter().any(|key| live.get(key).is_some());
                if !there || now >= pass.station_since + VANISH_PATIENCE {
                    self.settle();
                }
            }
            _ => {}
        }
    }

    /// Two releases must not work on the same data: the jobs of the last one end first, and a pod may take its time for that.
    fn wait_for_jobs(&mut self) {
        let (now, live) = (self.now, self.live);
        let Some(pass) = self.pass() else { return };
        let stage = pass.stage;
        let Some((key, job)) = pass.gone.iter().find_map(|key| Some((key, live.get(key)?))) else {
            return self.apply(stage);
        };
        let (component, message) = (
            crate::manifest::component(key, job).to_string(),
            format!("{key} of an earlier release has not ended yet"),
        );
        pass.message.clone_from(&message);
        if now < pass.deadline() {
            return;
        }
        if pass.is_back() {
            return self.apply(stage);
        }
        self.fail(Cause::NotReady { component, pod: String::new(), message, log: String::new(), hint: String::new() });
    }

    fn watch(&mut self) {
        let (now, live) = (self.now, self.live);
        if self.is_missing() {
            return;
        }
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
                pass.message = spec::mask(&message);
                if pass.is_back() {
                    if over {
                        self.put_back_unwell(Cause::Capacity { message });
                    }
                } else if over {
                    self.fail(Cause::Capacity { message });
                } else {
                    let revision = pass.revision.clone();
                    self.tell(News::Waiting { revision, message });
                }
            }
            // a rollback has nowhere to go back to; what it restores may itself be in trouble
            Progress::Failed(cause) if pass.is_back() => {
                pass.message = spec::mask(&cause.to_string());
                if late {
                    self.put_back_unwell(cause);
                }
            }
            Progress::Failed(cause) => self.fail(cause),
            Progress::Progressing(missing) => {
                pass.message = spec::mask(&format!("{}: {}", missing.component, missing.message));
                if late {
                    let back = pass.is_back();
                    let cause = missing.into_cause();
                    if back { self.put_back_unwell(cause) } else { self.fail(cause) }
                }
            }
        }
    }

    /// What was put back is not well, and time is over: it goes on with the rest, and says so in the end.
    fn put_back_unwell(&mut self, cause: Cause) {
        let Some(pass) = self.pass() else { return };
        pass.unwell.get_or_insert(cause);
        self.next_stage();
    }

    pub(super) fn probed(&mut self, reply: Probed) {
        let now = self.now;
        let Some(pass) = self.pass() else { return };
        match reply {
            Ok(_) => self.next_stage(),
            Err((url, message)) if now.duration_since(pass.station_since) >= PROBE_PATIENCE => {
                self.fail(Cause::UrlNotLive { url, message });
            }
            Err((url, message)) => {
                pass.message = format!("{url}: {message}");
                pass.tries += 1;
                pass.retry_at = Some(now + glance(pass.tries));
            }
        }
    }

    /// The pass forward has failed. Before anything was touched it is simply rejected.
    pub(super) fn fail(&mut self, cause: Cause) {
        let Some(pass) = self.pass() else { return };
        let untouched = matches!(pass.station, Station::Queued | Station::Checking | Station::Saving);
        if untouched && !matches!(pass.origin, Origin::Person(_)) {
            return self.reject(cause);
        }
        if cause.may_quote() {
            self.go(Station::Explaining(cause));
        } else {
            self.fall_back(cause);
        }
    }

    pub(super) fn fall_back(&mut self, cause: Cause) {
        let at = self.now;
        let Some(pass) = self.pass() else { return };
        let (revision, started) = (pass.revision.clone(), pass.started);
        if let Origin::Person(_) = &pass.origin {
            if let Some(attempt) = &mut self.machine.record.attempt {
                attempt.failed = Some(cause.clone());
            }
            return self.go_back_from_wish(revision, cause, started);
        }
        let content = pass.content.clone();
        let also = std::mem::take(&mut pass.also);
        let held = Held::open(revision, content, cause, (started, at));
        self.machine.record.held = Some(held.clone());
        self.machine.record.attempt = None;
        self.go_back(&held);
        if let Some(pass) = self.pass().filter(|pass| matches!(pass.toward, Toward::Back { .. })) {
            pass.also = also;
        }
    }
}

//! The waiting half of a pass: is the stage ready, is the address live, are the deleted objects gone; and what happens when not.

use super::pass::{Flow, Origin, Pass, Station, VANISH_PATIENCE, glance, span};
use super::{Probed, Turn};
use crate::ident::Kind;
use crate::manifest::Object;
use crate::plan::{Live, is_paused};
use crate::record::{Attempt, Held};
use crate::report::News;
use crate::rollout::{self, Cause, Progress};
use crate::spec;
use jiff::SignedDuration;

/// How long a public address may take to answer after its pods are ready.
const PROBE_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// A job that was deleted before it ended has not done its work, and nobody knows how much of it: it is not run twice.
fn lost_job(watched: &[&Object], live: &Live) -> Option<Cause> {
    let mut jobs = watched.iter().filter(|object| object.key.kind == Kind::Job);
    let job = jobs.find(|job| live.get(&job.key).is_none())?.component().to_string();
    let (pod, message) = (String::new(), "somebody deleted it before it ended".into());
    Some(Cause::JobFailed { job, pod, message, log: String::new(), hint: String::new() })
}

impl Turn<'_> {
    /// A timer or the watches: see whether the pass can go on.
    pub(super) fn look(&mut self, pass: &mut Pass) -> Flow {
        let (now, live) = (self.now, self.live);
        if pass.in_flight {
            return Flow::Stay;
        }
        if let Some(at) = pass.retry_at {
            if at > now {
                return Flow::Stay;
            }
            // what it was about may be gone meanwhile
            let lost = if pass.station == Station::Applying { self.plan_again(pass) } else { None };
            return match lost {
                Some(cause) => Self::has_lost_data(pass, cause),
                None => self.send(pass),
            };
        }
        match pass.station {
            Station::Watching => self.watch(pass),
            Station::Ending => self.wait_for_jobs(pass),
            Station::Vanishing => {
                let there = pass.gone.iter().any(|key| live.get(key).is_some());
                if there && now < pass.station_since + VANISH_PATIENCE { Flow::Stay } else { Flow::Advance }
            }
            _ => Flow::Stay,
        }
    }

    /// Two releases must not work on the same data: the jobs of the last one end first, and a pod may take its time for that.
    fn wait_for_jobs(&mut self, pass: &mut Pass) -> Flow {
        let live = self.live;
        let Some((key, job)) = pass.gone.iter().find_map(|key| Some((key, live.get(key)?))) else {
            return Flow::Advance;
        };
        let (component, message) = (
            crate::manifest::component(key, job).to_string(),
            format!("{key} of an earlier release has not ended yet"),
        );
        pass.message.clone_from(&message);
        if self.now < pass.deadline() {
            Flow::Stay
        } else if pass.is_back() {
            Flow::Advance
        } else {
            let (pod, log, hint) = (String::new(), String::new(), String::new());
            Flow::Fail(Cause::NotReady { component, pod, message, log, hint })
        }
    }

    fn watch(&mut self, pass: &mut Pass) -> Flow {
        let (now, live) = (self.now, self.live);
        if let Some(stage) = self.missing(pass) {
            return Flow::Again(stage);
        }
        let watched = pass.watched(live);
        if let Some(cause) = lost_job(&watched, live) {
            return Flow::Fail(cause);
        }
        let stuck = rollout::stuck(watched.iter().copied(), live);
        // who has paused a Deployment on the way may look at it, and resume it
        let paused = watched.iter().filter_map(|object| live.get(&object.key)).any(is_paused);
        let progress = rollout::progress(watched, live, pass.started);
        if !stuck.is_empty() {
            pass.gone = stuck;
            return self.go(pass, Station::Unsticking);
        }
        if !matches!(progress, Progress::Waiting(_))
            && let Some(since) = pass.waiting_since.take()
        {
            pass.waited += now.duration_since(since);
        }
        match progress {
            Progress::Ready => Flow::Advance,
            Progress::Waiting(message) => {
                let since = *pass.waiting_since.get_or_insert(now);
                let over = now >= since + span(pass.manifest.deploy.capacity_wait) - pass.waited;
                pass.message = spec::mask(&message);
                if over {
                    return Self::is_not_ready(pass, Cause::Capacity { message });
                }
                if !pass.is_back() {
                    let revision = pass.revision.clone();
                    self.tell(News::Waiting { revision, message });
                }
                Flow::Stay
            }
            Progress::Failed(cause) => {
                pass.message = spec::mask(&cause.to_string());
                // a rollback has nowhere to go back to; what it restores may itself be in trouble
                if (pass.is_back() || paused) && now < pass.deadline() {
                    Flow::Stay
                } else {
                    Self::is_not_ready(pass, cause)
                }
            }
            Progress::Progressing(missing) => {
                pass.message = spec::mask(&format!("{}: {}", missing.component, missing.message));
                if now < pass.deadline() { Flow::Stay } else { Self::is_not_ready(pass, missing.into_cause()) }
            }
        }
    }

    /// A release that is not ready has failed. What was put back and is not well goes on with the rest, and says so in the end.
    fn is_not_ready(pass: &mut Pass, cause: Cause) -> Flow {
        if !pass.is_back() {
            return Flow::Fail(cause);
        }
        pass.unwell.get_or_insert(cause);
        Flow::Advance
    }

    pub(super) fn probed(&mut self, pass: &mut Pass, reply: Probed) -> Flow {
        match reply {
            Ok(_) => {
                pass.ill.address = false;
                Flow::Advance
            }
            Err((url, message)) if self.now.duration_since(pass.station_since) >= PROBE_PATIENCE => {
                // it has not answered before either
                if pass.ill.address { Flow::Advance } else { Flow::Fail(Cause::UrlNotLive { url, message }) }
            }
            Err((url, message)) => {
                pass.message = format!("{url}: {message}");
                pass.tries += 1;
                pass.retry_at = Some(self.now + glance(pass.tries));
                Flow::Stay
            }
        }
    }

    /// The pass forward has failed. Before anything was touched it is simply rejected; but a deployment that it took the place of, or
    /// that a restart has interrupted, may have touched something, and that has to go back.
    pub(super) fn fail(&mut self, pass: &mut Pass, cause: Cause) -> Flow {
        let begins = matches!(pass.station, Station::Queued | Station::Checking | Station::Saving);
        let untouched = begins && self.machine.saved.attempt.is_none();
        if untouched && !matches!(pass.origin, Origin::Person(_)) {
            Flow::Reject(cause)
        } else if cause.may_quote() {
            self.go(pass, Station::Explaining(cause))
        } else {
            Flow::FallBack(cause)
        }
    }

    pub(super) fn fall_back(&mut self, pass: Pass, cause: Cause) {
        if let Origin::Person(_) = pass.origin {
            // it may not have been written down yet, and what is may be what it took the place of
            let attempt = Attempt { failed: Some(cause.clone()), ..pass.attempt() };
            self.machine.record.attempt = Some(Box::new(attempt));
            return self.go_back_from_wish(pass.revision, cause, Some(&pass.manifest), pass.started);
        }
        let Pass { manifest, revision, started, content, also, .. } = pass;
        let held = Held::open(revision, content, cause, (started, self.now));
        self.machine.record.held = Some(Box::new(held.clone()));
        self.machine.record.attempt = None;
        self.go_back(&held, Some(&manifest), also);
    }
}

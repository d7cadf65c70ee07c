//! How a pass goes on: the phases of its way are begun one after the other, each request is sent and its reply taken.

use super::pass::{BACKOFF, Flow, PATIENT_BACKOFF, Pass, REFUSALS, Station, TELL_AFTER, Target, Toward, backoff};
use super::settle::asked;
use super::{Effect, Fault, Reply, State, Turn};
use crate::ident::PassId;
use crate::plan::{self, Phase};
use crate::report::News;
use crate::rollout::{self, Cause, text};
use crate::spec;
use jiff::SignedDuration;

/// How long the watches may take to see that something is gone.
const DISMISSAL: SignedDuration = SignedDuration::from_secs(5);

impl Turn<'_> {
    /// Begins a pass.
    pub(super) fn enter(&mut self, toward: Toward, target: Target) {
        let id = self.machine.next_id();
        self.machine.health.forget_questions();
        let mut pass = Box::new(Pass::new(id, toward, target, self.now));
        pass.ill = self.machine.ill_before(&pass);
        self.machine.state = State::Passing(pass);
        self.walk(Self::begin_phase);
    }

    /// Lets the pass under way go on as far as it can.
    pub(super) fn walk(&mut self, first: impl FnOnce(&mut Self, &mut Pass) -> Flow) {
        let resting = State::Resting(self.machine.resting());
        let mut pass = match std::mem::replace(&mut self.machine.state, resting) {
            State::Passing(pass) => pass,
            State::Resting(rest) => return self.machine.state = State::Resting(rest),
        };
        let mut flow = first(self, &mut pass);
        loop {
            match flow {
                Flow::Stay => return self.machine.state = State::Passing(pass),
                Flow::Advance => pass.at += 1,
                Flow::Again(stage) => pass.go_to(|phase| matches!(phase, Phase::Apply { stage: s, .. } if *s == stage)),
                Flow::Settle => pass.go_to(|phase| *phase == Phase::Settle),
                Flow::Fail(cause) => {
                    flow = self.fail(&mut pass, cause);
                    continue;
                }
                Flow::FallBack(cause) => return self.fall_back(*pass, cause),
                Flow::Reject(cause) => return self.reject(*pass, cause),
                Flow::Done => return self.finish(*pass),
                Flow::Rest => return self.rest_again(),
            }
            flow = self.begin_phase(&mut pass);
        }
    }

    fn begin_phase(&mut self, pass: &mut Pass) -> Flow {
        match pass.phase() {
            Phase::Turn => self.go(pass, Station::Queued),
            Phase::Check if pass.plan.is_idle() => Flow::Advance,
            Phase::Check => self.go(pass, Station::Checking),
            Phase::Record => self.write_down(pass),
            Phase::Clear => self.clear(pass),
            Phase::Apply { stage, watched } => self.apply(pass, stage, watched),
            Phase::Probe => self.go(pass, Station::Probing),
            Phase::Tidy => self.tidy(pass),
            Phase::Prune => self.prune(pass),
            Phase::Settle if pass.toward == Toward::Heal => self.healed(pass),
            Phase::Settle => self.settle(pass),
        }
    }

    /// Moves to a station and sends its request.
    pub(super) fn go(&mut self, pass: &mut Pass, station: Station) -> Flow {
        pass.station = station;
        pass.station_since = self.now;
        pass.tries = 0;
        pass.message.clear();
        self.send(pass)
    }

    /// Sends the request of the station, for the first time or again.
    pub(super) fn send(&mut self, pass: &mut Pass) -> Flow {
        pass.retry_at = None;
        let id = pass.id;
        let effect = match &pass.station {
            Station::Queued => Effect::Queue(id),
            Station::Checking => {
                let hosts = pass.manifest.named_hosts();
                self.expect_hosts(&hosts);
                Effect::Check(id, pass.plan.all_work().cloned().collect(), hosts)
            }
            Station::Saving | Station::Dooming | Station::Settling => {
                Effect::Save(id, Box::new(self.machine.record.clone()))
            }
            Station::Applying => Effect::Apply(id, pass.plan.work(pass.stage()).cloned().collect()),
            Station::Probing => Effect::Probe(id, pass.manifest.urls.clone()),
            Station::Inspecting => Effect::Inspect(id, asked(&pass.gone, self.live)),
            Station::Pruning | Station::Unsticking | Station::Clearing => Effect::Delete(id, pass.gone.clone()),
            Station::Explaining(cause) => Effect::Explain(id, cause.clone()),
            Station::Watching | Station::Vanishing | Station::Ending => return Flow::Stay,
        };
        // whoever only waits for a turn can be overtaken
        pass.in_flight = pass.station != Station::Queued;
        self.effects.add(effect);
        Flow::Stay
    }

    /// Takes the reply to a request.
    pub(super) fn reply(&mut self, id: PassId, reply: Reply) {
        let State::Passing(pass) = &mut self.machine.state else { return self.reply_at_rest(id, reply) };
        let expected = match (&reply, &pass.station) {
            (Reply::Turn, at) => *at == Station::Queued,
            (Reply::Checked(_), at) => *at == Station::Checking,
            (Reply::Saved(_), at) => matches!(at, Station::Saving | Station::Dooming | Station::Settling),
            (Reply::Applied(_), at) => *at == Station::Applying,
            (Reply::Inspected(_), at) => *at == Station::Inspecting,
            (Reply::Deleted(_), at) => matches!(at, Station::Pruning | Station::Unsticking | Station::Clearing),
            (Reply::Probed(_), at) => *at == Station::Probing,
            // it is asked for only at rest
            (Reply::Measured(_), _) => false,
            (Reply::Explained(_), at) => matches!(at, Station::Explaining(_)),
        };
        if pass.id != id || !expected || !(pass.in_flight || pass.station == Station::Queued) {
            return;
        }
        pass.in_flight = false;
        let settled = pass.station == Station::Settling && matches!(reply, Reply::Saved(Ok(())));
        if matches!(reply, Reply::Saved(Ok(()))) {
            self.machine.saved.clone_from(&self.machine.record);
        }
        // what has settled is told before the next commit is begun
        if settled {
            self.walk(|_, _| Flow::Done);
            self.reconsider();
        } else if !self.reconsider() {
            self.walk(|turn, pass| turn.go_on(pass, reply));
        }
    }

    /// The reply is for the pass that still is under way.
    fn go_on(&mut self, pass: &mut Pass, reply: Reply) -> Flow {
        match reply {
            Reply::Checked(Err(fault))
            | Reply::Saved(Err(fault))
            | Reply::Applied(Err(fault))
            | Reply::Deleted(Err(fault)) => self.trouble(pass, &fault),
            Reply::Turn => self.turn(pass),
            Reply::Saved(Ok(())) if pass.station == Station::Dooming => self.go(pass, Station::Pruning),
            Reply::Checked(Ok(())) | Reply::Saved(Ok(())) => Flow::Advance,
            Reply::Applied(Ok(made)) => self.applied(pass, &made),
            Reply::Inspected(found) => self.inspected(pass, &found),
            Reply::Deleted(Ok(())) if pass.station == Station::Unsticking => self.go(pass, Station::Watching),
            Reply::Deleted(Ok(())) if pass.phase() == Phase::Tidy => {
                let until = self.now + DISMISSAL;
                self.machine.dismissed.extend(pass.gone.iter().map(|key| (key.clone(), until)));
                Flow::Advance
            }
            Reply::Deleted(Ok(())) => {
                let clearing = pass.station == Station::Clearing;
                let _ = self.go(pass, if clearing { Station::Ending } else { Station::Vanishing });
                self.look(pass)
            }
            Reply::Probed(reply) => self.probed(pass, reply),
            Reply::Measured(_) => Flow::Stay,
            Reply::Explained(cause) => Flow::FallBack(rollout::hinted(cause, &pass.manifest)),
        }
    }

    /// A change of the platform may begin: with what is live now.
    fn turn(&mut self, pass: &mut Pass) -> Flow {
        pass.plan = plan::compare(&pass.manifest, self.live, &self.machine.record.inventory);
        pass.begun = self.now;
        let (revision, counts) = (pass.revision.clone(), pass.plan.counts());
        self.tell(News::Started { revision, counts, platform: true });
        Flow::Advance
    }

    /// A request failed: try again, go back, or give up on what was only drift.
    fn trouble(&mut self, pass: &mut Pass, fault: &Fault) -> Flow {
        let now = self.now;
        let late = now >= pass.deadline();
        pass.message = spec::mask(&fault.message);
        let at = &pass.station;
        let (back, settling) = (pass.is_back(), matches!(at, Station::Settling));
        let ends_well = back || settling || matches!(at, Station::Pruning | Station::Unsticking | Station::Dooming);
        // what has been done can't be undone by giving up, but what is refused again and again will not be taken
        let again = if fault.transient { ends_well || !late } else { ends_well && (settling || pass.tries < REFUSALS) };
        if again {
            pass.tries += 1;
            let most = if ends_well { PATIENT_BACKOFF } else { BACKOFF.1 };
            pass.retry_at = Some(now + backoff(pass.id, self.machine.stack.as_str(), pass.tries, most));
            if pass.tries == TELL_AFTER && !matches!(pass.toward, Toward::Heal) {
                let about = match &pass.toward {
                    // nobody has pushed what a wish wants
                    _ if self.wish_of(pass).is_some() => self.newest_for(pass),
                    Toward::Back { from, .. } => Some(from.clone()),
                    _ => Some(pass.revision.clone()),
                };
                let message = pass.message.clone();
                if let Some(revision) = about {
                    self.tell(News::Retrying { revision, message });
                }
            }
            return Flow::Stay;
        }
        if pass.toward == Toward::Heal {
            self.pause_drift();
            return Flow::Rest;
        }
        let cause = text::limit(&fault.message, &fault.component).unwrap_or_else(|| {
            if fault.transient {
                Cause::Unavailable { message: fault.message.clone() }
            } else {
                Cause::Rejected { object: fault.object.clone(), message: fault.message.clone() }
            }
        });
        if back || matches!(pass.toward, Toward::Nothing { .. }) {
            self.give_up(pass, cause)
        } else if pass.station == Station::Pruning {
            // what can't be deleted stays in the inventory, and the next deployment tries again
            Flow::Settle
        } else {
            Flow::Fail(cause)
        }
    }

    /// A rollback is refused for good. What can't be put back stays as it is, and that is how it ends.
    fn give_up(&mut self, pass: &mut Pass, cause: Cause) -> Flow {
        match pass.station {
            // everything that it creates is known from the release that it goes back to
            Station::Saving => Flow::Advance,
            Station::Unsticking => self.go(pass, Station::Watching),
            _ => {
                pass.refused = Some(cause);
                Flow::Settle
            }
        }
    }
}

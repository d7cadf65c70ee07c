//! At rest hks goes on looking: is what is settled well?

use super::pass::{Origin, Pass, Toward};
use super::{Certificate, Effect, Probed, Reply, Rest, State, Turn};
use crate::ident::{Component, Kind, ObjectKey, PassId};
use crate::manifest::Manifest;
use crate::plan::Live;
use crate::record::{Ending, Ill};
use crate::report::{News, span};
use crate::rollout::{self, Cause, Progress};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long something may be on its way before it counts as not well: a pod that moves to another node takes some seconds.
const GRACE: SignedDuration = SignedDuration::from_secs(20);
/// How long something must be well before that is believed: what crashes again and again is ready in between.
const STEADY: SignedDuration = SignedDuration::from_secs(30);
/// How often the public addresses of a Stack at rest are looked at, for as long as they answer.
const PROBE_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// … and once they don't.
const PROBE_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// A certificate ends soon when less than one part in this many of its time is left: whatever renews them does so before.
const ENDS_SOON: i64 = 10;
/// Looks in a row that must fail before a public address counts as not answering.
const PROBE_TRIES: u32 = 3;

/// Something of the settled release is not well although nobody has deployed anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// The app, database or cache.
    pub component: String,
    /// What is wrong.
    pub cause: Cause,
    /// Since when it has been seen.
    pub since: Timestamp,
}

/// Of what something is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// An app, database or cache; the watches tell it.
    Component(Component),
    /// A volume that is gone; the watches tell it.
    Data(ObjectKey),
    /// The public addresses, which are asked.
    Address,
    /// The certificate by which they answer.
    Certificate,
    /// The volume of a database or cache, which is measured.
    Volume(Component),
}

impl Of {
    fn is_app_of(&self, apps: &BTreeSet<String>) -> bool {
        matches!(self, Self::Component(Component::App(name)) if apps.contains(name))
    }
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Of::Component(of) => of.fmt(f),
            Of::Data(claim) => f.write_str(&claim.name),
            Of::Address => f.write_str("public address"),
            Of::Certificate => f.write_str("certificate"),
            Of::Volume(of) => write!(f, "volume of {of}"),
        }
    }
}

/// What is known of the health of a Stack at rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// What is not as it should be.
    unwell: BTreeMap<Of, Unwell>,
    /// A cause whose log lines are being fetched, and whose it is.
    explaining: Option<(PassId, Of)>,
    /// When the public addresses are looked at next, and how often they did not answer.
    probe_at: Option<Timestamp>,
    failed_probes: u32,
    probing: Option<PassId>,
    /// When the volumes are measured next.
    pub(super) measure_at: Option<Timestamp>,
    pub(super) measuring: Option<PassId>,
}

#[derive(Clone, Debug)]
struct Unwell {
    cause: Cause,
    since: Timestamp,
    /// It may be on its way.
    passing: bool,
    /// It has been there for long enough to be shown.
    shown: bool,
    /// People know.
    told: bool,
    /// It looks well again since then.
    well: Option<Timestamp>,
}

impl Unwell {
    fn new(cause: Cause, passing: bool, since: Timestamp) -> Self {
        Self { cause, since, passing, shown: false, told: false, well: None }
    }

    /// What is seen of it now.
    fn seen(&mut self, cause: Cause, passing: bool) {
        self.well = None;
        // between two crashes it only looks as if it were on its way
        if passing && !self.passing {
            return;
        }
        let another = self.cause.label() != cause.label();
        self.passing = passing;
        // log lines that were fetched stay with the same cause
        if another || self.cause.clone().with_log(String::new()) != cause {
            self.told &= !another;
            self.cause = cause;
        }
    }
}

impl Health {
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let shown = self.unwell.iter().filter(|(_, unwell)| unwell.shown);
        let trouble = |(of, unwell): (&Of, &Unwell)| Trouble {
            component: of.to_string(),
            cause: unwell.cause.clone(),
            since: unwell.since,
        };
        shown.map(trouble).collect()
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        // the answer to a question looks again by itself
        let quiet = self.explaining.is_none();
        let waiting = self.unwell.values().filter(|unwell| quiet && !unwell.told && unwell.well.is_none());
        let waiting = waiting.map(|unwell| unwell.since + GRACE);
        let well = self.unwell.values().filter_map(|unwell| unwell.well).map(|since| since + STEADY);
        waiting.chain(well).chain(self.probe_at).chain(self.measure_at).min()
    }

    /// A pass begins: answers to what was asked at rest are nobody's any more.
    pub(super) fn forget_questions(&mut self) {
        (self.explaining, self.probing, self.measuring) = (None, None, None);
        self.unwell.values_mut().filter(|unwell| !unwell.shown).for_each(|unwell| unwell.told = false);
    }

    /// The apps and addresses that are shown as not well.
    fn ill(&self) -> Ill {
        let mut ill = Ill::default();
        for (of, _) in self.unwell.iter().filter(|(_, unwell)| unwell.shown) {
            match of {
                Of::Component(Component::App(name)) => drop(ill.apps.insert(name.clone())),
                Of::Address => ill.address = true,
                _ => {}
            }
        }
        ill
    }

    /// All that serves is well: what failed of a schedule says nothing of that.
    fn serves(&self) -> bool {
        self.unwell.keys().all(|of| matches!(of, Of::Component(Component::Job(_))))
    }

    /// A deployment has just watched everything become ready but what was `ill` before.
    pub(super) fn prove(&mut self, ill: &Ill) {
        // what no watch tells is asked again
        let watched = |of: &Of| matches!(of, Of::Component(_) | Of::Data(_));
        for (_, unwell) in self.unwell.iter_mut().filter(|(of, _)| watched(of) && !of.is_app_of(&ill.apps)) {
            unwell.well = Some(Timestamp::UNIX_EPOCH);
        }
        if !ill.address {
            self.unwell.remove(&Of::Address);
            (self.failed_probes, self.probe_at) = (0, None);
        }
    }
}

impl Turn<'_> {
    /// Compares the health of what is settled with what was known of it.
    pub(super) fn look_at_health(&mut self) {
        let (now, live) = (self.now, self.live);
        let State::Resting(rest) = self.machine.state else { return };
        let Some(baseline) = self.machine.kept().cloned().filter(|_| rest != Rest::Fresh) else {
            self.machine.health = Health::default();
            return;
        };
        let mut seen = at_rest(&baseline, live);
        if let (Some(cause), Some(first)) =
            (super::drift::data_lost(&self.machine.stack, &self.machine.lost), self.machine.lost.first())
        {
            seen.retain(|_, (_, passing)| !*passing);
            seen.insert(Of::Data(first.clone()), (cause, false));
        }
        let health = &mut self.machine.health;
        let mut news = vec![];
        health.unwell.retain(|name, unwell| {
            let over = match name {
                _ if seen.contains_key(name) => return true,
                // what is asked says itself when it is well, as long as there is something to ask
                Of::Address | Of::Certificate => baseline.urls.is_empty(),
                Of::Volume(of) => {
                    !baseline.objects.iter().any(|object| object.holds_data() && object.component() == *of)
                }
                Of::Component(_) | Of::Data(_) => {
                    let since = *unwell.well.get_or_insert(now);
                    !unwell.shown || now.duration_since(since) >= STEADY
                }
            };
            if over && unwell.shown {
                news.push(News::Recovered { component: name.to_string() });
            }
            !over
        });
        for (name, (cause, passing)) in seen {
            let new = || Unwell::new(cause.clone(), passing, now);
            health.unwell.entry(name).or_insert_with(new).seen(cause.clone(), passing);
        }
        let mut explain = None;
        for (name, unwell) in &mut health.unwell {
            let due = !unwell.passing || now.duration_since(unwell.since) >= GRACE;
            if !due || unwell.told || unwell.well.is_some() {
                continue;
            }
            if !unwell.cause.may_quote() {
                (unwell.shown, unwell.told) = (true, true);
                news.push(News::Degraded { component: name.to_string(), cause: unwell.cause.clone() });
            } else if explain.is_none() && health.explaining.is_none() {
                unwell.told = true;
                explain = Some((name.clone(), unwell.cause.clone()));
            }
        }
        if self.machine.health.serves() {
            self.what_was_put_back_is_well();
        }
        if let Some((name, cause)) = explain {
            let id = self.machine.next_id();
            self.machine.health.explaining = Some((id, name));
            self.effects.add(Effect::Explain(id, cause));
        }
        for news in news {
            self.tell(news);
        }
        self.look_again_at_what_is_doubted(&baseline);
        self.look_at_addresses();
        self.look_at_volumes();
    }

    /// What was put back and was not well then is now.
    fn what_was_put_back_is_well(&mut self) {
        if let Some(held) = &mut self.machine.record.held
            && matches!(held.ending, Ending::Unhealthy { .. })
        {
            held.ending = Ending::Healthy;
            self.save_at_rest();
        }
    }

    /// A commit that waits for what runs to be well is told once it is.
    fn look_again_at_what_is_doubted(&mut self, baseline: &Manifest) {
        let machine = &self.machine;
        let waits = machine.record.doubted && !machine.unproven && machine.head_content == baseline.digest();
        if waits
            && machine.health.serves()
            && let Some(revision) = machine.head.as_ref().map(|head| head.revision.clone())
        {
            self.believe(&revision);
        }
    }

    /// The public addresses of what is settled are looked at now and then: a route may go without any object of the Stack.
    fn look_at_addresses(&mut self) {
        let now = self.now;
        let urls = self.machine.baseline().map(|baseline| baseline.urls.clone()).unwrap_or_default();
        let health = &mut self.machine.health;
        if urls.iter().all(|url| url.checks.is_empty()) {
            health.probe_at = None;
            return;
        }
        let at = *health.probe_at.get_or_insert(now + PROBE_EVERY);
        if at > now || health.probing.is_some() {
            return;
        }
        health.probe_at = Some(now + PROBE_EVERY);
        let id = self.machine.next_id();
        self.machine.health.probing = Some(id);
        self.effects.add(Effect::Probe(id, urls));
    }

    /// Replies to what was asked at rest.
    pub(super) fn reply_at_rest(&mut self, id: PassId, reply: Reply) {
        let now = self.now;
        let health = &mut self.machine.health;
        match reply {
            Reply::Explained(cause) if health.explaining.as_ref().is_some_and(|(of, _)| *of == id) => {
                let Some((_, of)) = health.explaining.take() else { return };
                let hinted = self.machine.kept().map(|baseline| rollout::hinted(cause.clone(), baseline));
                let (cause, health) = (hinted.unwrap_or(cause), &mut self.machine.health);
                if let Some(unwell) = health.unwell.get_mut(&of) {
                    (unwell.cause, unwell.shown) = (cause.clone(), true);
                    self.tell(News::Degraded { component: of.to_string(), cause });
                }
                // there may be another one to explain
                self.look_at_health();
            }
            Reply::Probed(reply) if health.probing == Some(id) => {
                health.probing = None;
                self.probed_at_rest(now, reply);
            }
            Reply::Measured(free) if health.measuring == Some(id) => {
                health.measuring = None;
                self.measured_at_rest(&free);
            }
            _ => {}
        }
    }

    /// Something that was asked for is not well.
    pub(super) fn degraded(&mut self, of: Of, cause: Cause) {
        let component = of.to_string();
        let known = self.machine.health.unwell.get(&of);
        let since = known.map_or(self.now, |known| known.since);
        let new = Unwell { shown: true, told: true, ..Unwell::new(cause.clone(), false, since) };
        if self.machine.health.unwell.insert(of, new).is_none() {
            self.tell(News::Degraded { component, cause });
        }
    }

    /// Something that was asked for is well.
    pub(super) fn recovered(&mut self, of: &Of) {
        if self.machine.health.unwell.remove(of).is_some_and(|unwell| unwell.shown) {
            self.tell(News::Recovered { component: of.to_string() });
        }
    }

    fn probed_at_rest(&mut self, now: Timestamp, reply: Probed) {
        let health = &mut self.machine.health;
        match reply {
            Ok(certificate) => {
                health.failed_probes = 0;
                self.recovered(&Of::Address);
                match certificate.and_then(|certificate| ends_soon(&certificate, now)) {
                    Some(cause) => self.degraded(Of::Certificate, cause),
                    None => self.recovered(&Of::Certificate),
                }
            }
            Err((url, message)) => {
                health.failed_probes += 1;
                health.probe_at = Some(now + PROBE_AGAIN);
                if health.failed_probes < PROBE_TRIES {
                    return;
                }
                self.degraded(Of::Address, Cause::UrlNotLive { url, message });
            }
        }
    }
}

impl super::Machine {
    /// What is not well already, and is not changed by a commit: nothing of that is held against it. Databases are, since apps need
    /// them.
    pub(super) fn ill_before(&self, pass: &Pass) -> Ill {
        let by_commit = pass.toward == Toward::Forward && !matches!(pass.origin, Origin::Person(_));
        let Some(baseline) = self.baseline().filter(|_| by_commit) else { return Ill::default() };
        // a restart has forgotten what was not well
        let begun = self.record.attempt.as_ref().filter(|attempt| attempt.content == pass.content);
        let mut ill = begun.map_or_else(|| self.health.ill(), |begun| begun.ill.clone());
        ill.apps.retain(|name| pass.manifest.apps.iter().any(|app| app.name == *name));
        ill.address &= !pass.manifest.urls.is_empty();
        for object in &pass.manifest.objects {
            let is_same = baseline.get(&object.key).is_some_and(|settled| settled.hash() == object.hash());
            match object.component() {
                Component::App(name) if !is_same => drop(ill.apps.remove(&name)),
                Component::Ingress(_) => ill.address &= is_same,
                _ => {}
            }
        }
        ill
    }

    /// What is not well right now, for whoever looks once and can't wait to see whether it passes: what fails, and what has
    /// been unavailable for a while already. The texts are those of containers and the kubelet.
    pub fn unwell(&self, live: &Live, now: Timestamp) -> Vec<Trouble> {
        let Some(baseline) = self.kept() else { return vec![] };
        let own = |of: &Of| {
            let of = of.clone();
            baseline.objects.iter().filter(move |object| of == Of::Component(object.component()))
        };
        let since = |of: &Of| own(of).filter_map(|object| rollout::unavailable_since(live.get(&object.key)?)).min();
        let workload = |kind| matches!(kind, Kind::Deployment | Kind::StatefulSet);
        let is_missing =
            |of: &Of| own(of).filter(|object| workload(object.key.kind)).any(|object| live.get(&object.key).is_none());
        let lacking = rollout::lacking(baseline, live);
        let seen = at_rest(baseline, live).into_iter();
        let troubles = seen.filter_map(|(of, (cause, passing))| {
            let since = since(&of);
            let lasts = since.is_some_and(|since| now.duration_since(since) >= GRACE);
            let gone = lacking.iter().any(|(_, lack)| *lack == cause) || is_missing(&of);
            (!passing || lasts || gone).then(|| Trouble {
                component: of.to_string(),
                cause,
                since: since.unwrap_or(now),
            })
        });
        troubles.collect()
    }
}

/// Why a certificate should have been renewed by now, if so.
fn ends_soon(certificate: &Certificate, now: Timestamp) -> Option<Cause> {
    let (left, all) = (certificate.until.duration_since(now), certificate.until.duration_since(certificate.from));
    let soon = left.as_secs().saturating_mul(ENDS_SOON) < all.as_secs();
    soon.then(|| Cause::Refused {
        object: format!("certificate of {}", certificate.url),
        message: format!(
            "it ends in {}, and nothing has renewed it; see the issuer or the Secret that it is in",
            span(left)
        ),
    })
}

/// What is wrong with something of what should run, if anything is.
pub(super) fn unwell(manifest: &Manifest, live: &Live) -> Option<Cause> {
    health(manifest, live).into_values().next().map(|(cause, _)| cause)
}

/// By component, what of the objects is not as it should be, and whether it may be on its way.
fn health(manifest: &Manifest, live: &Live) -> BTreeMap<Of, (Cause, bool)> {
    // a Secret may be replaced by way of deletion
    let lacking = rollout::lacking(manifest, live).into_iter();
    let mut found: BTreeMap<Of, (Cause, bool)> =
        lacking.map(|(name, cause)| (Of::Component(name), (cause, true))).collect();
    for object in manifest.objects.iter().filter(|object| object.stage.lasts()) {
        let name = Of::Component(object.component());
        let (cause, passing) = match rollout::of_object(object, live, Timestamp::MIN) {
            Progress::Ready => continue,
            Progress::Progressing(missing) => (missing.into_cause(), true),
            Progress::Waiting(message) => (Cause::Capacity { message }, true),
            Progress::Failed(cause) => (cause, false),
        };
        let worse = found.get(&name).is_none_or(|(_, known)| *known && !passing);
        if worse {
            found.insert(name, (cause, passing));
        }
    }
    found
}

/// The same, and the schedules whose last run has failed: no deployment can prove these, and none is measured by them.
fn at_rest(manifest: &Manifest, live: &Live) -> BTreeMap<Of, (Cause, bool)> {
    let mut found = health(manifest, live);
    let failed =
        manifest.objects.iter().filter_map(|object| Some((object.component(), rollout::failed_run(object, live)?)));
    found.extend(failed.map(|(job, cause)| (Of::Component(job), (cause, false))));
    found
}

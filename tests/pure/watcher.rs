//! What must hold after each event of a history: the invariants, and what they need to remember.

use super::sim::{Deletion, Sim};
use hks::ident::{Kind, ObjectKey, Revision};
use hks::machine::{Rest, State, Toward};
use hks::manifest::holds_data;
use hks::plan::{self, Action};
use hks::record::{Ending, Outcome};
use hks::report::{News, StatusState};
use hks::rollout::Cause;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the invariants need to remember.
#[derive(Default)]
pub struct Watcher {
    /// uids of volumes that somebody has written to.
    written: BTreeSet<String>,
    /// uids of what was ever part of something that settled.
    settled: BTreeSet<String>,
    /// The volumes of what is settled now, and their uids.
    volumes: BTreeMap<ObjectKey, String>,
    /// The size of each volume, in GiB.
    sizes: BTreeMap<String, i64>,
    /// By commit: the last status, and whether a final one may follow.
    told: BTreeMap<Revision, (StatusState, String)>,
    /// The commit that was put back and that nothing has given another chance since.
    failed: Option<(Revision, Timestamp)>,
    /// … but one chance, which is taken when the commit is known, and gone when that has ended.
    chance: bool,
    taken: bool,
    /// The clock was set back: what was set before may look as if it had been set since.
    skewed: bool,
    /// The record does not say what ran: what differs may be what another hks has made of the same file.
    outdated: bool,
    /// What nobody remembers to have made: a person has, or the record was lost.
    unknown: BTreeSet<ObjectKey>,
    seen_crashes: usize,
    seen_deleted: usize,
    seen_made: usize,
}

fn uid(object: &Value) -> String {
    plan::uid(object).to_owned()
}

impl Watcher {
    /// Whether somebody has written to the database.
    pub fn has_rows(&self, sim: &Sim) -> bool {
        let main = ObjectKey::new(Kind::PersistentVolumeClaim, "data-todo-main-1");
        sim.objects.get(&main).is_some_and(|claim| self.written.contains(plan::uid(claim)))
    }

    /// Looks at what has become of an event.
    pub fn check(&mut self, sim: &Sim, command: &str) {
        self.happened(sim, command);
        for deletion in &sim.deleted[self.seen_deleted..] {
            self.may_go(deletion);
        }
        self.seen_deleted = sim.deleted.len();
        for (key, uid, known) in &sim.made[self.seen_made..] {
            // I3: an empty volume in the place of one with data is a replacement
            let replaced = *known && self.volumes.get(key).is_some_and(|known| known != uid);
            assert!(!replaced, "{key} of the settled release is made anew");
        }
        self.seen_made = sim.made.len();
        self.volumes_stay_as_large(sim);
        self.is_written_down(sim);
        for news in &sim.news {
            self.one_end(news);
            self.one_try(news);
        }
        if std::mem::replace(&mut self.seen_crashes, sim.crashes) != sim.crashes {
            // that a deployment was told to begin is not written down before something is touched
            self.told.retain(|_, (state, _)| *state != StatusState::Pending);
        }
        self.remember_what_settled(sim);
    }

    /// What the event itself changes of what is to be expected.
    fn happened(&mut self, sim: &Sim, command: &str) {
        let words: Vec<_> = command.split_whitespace().collect();
        match words.as_slice() {
            ["rows"] => {
                let claims = sim.objects.iter().filter(|(key, _)| key.kind == Kind::PersistentVolumeClaim);
                self.written.extend(claims.map(|(_, claim)| uid(claim)));
            }
            ["lose", "record"] => {
                self.unknown.extend(sim.objects.keys().cloned());
                self.volumes.clear();
                self.chance = true;
            }
            ["restore"] => {
                // the forge remembers what the cluster does not
                self.told.clear();
                self.volumes.clear();
                self.unknown.extend(sim.objects.keys().cloned());
                self.chance = true;
            }
            ["set", name, ..] => {
                self.unknown.insert(ObjectKey::new(Kind::Secret, *name));
                self.chance = true;
            }
            // what was sent long ago is made when who has written it down has taken it back already
            ["arrives"] => self.unknown.extend(sim.objects.keys().cloned()),
            ["stranger", ..] => self.unknown.extend(sim.strangers.iter().cloned()),
            ["wish", "accept" | "destroy-data"] => {
                self.volumes.clear();
                self.chance = true;
            }
            ["push", ..] => {
                // one that only joins what is being put back is no new beginning: what came since the failure still counts
                let joins =
                    matches!(&sim.machine.state, State::Passing(pass) if matches!(pass.toward, Toward::Back { .. }));
                (self.failed, self.chance) = (None, self.chance && joins);
            }
            ["clock", ..] => self.skewed = true,
            ["old", "record"] | ["unsealed"] => (self.outdated, self.chance) = (true, true),
            ["wish" | "rollback" | "again" | "platform" | "going" | "pause", ..] => self.chance = true,
            // a secret that is made anew is another one
            ["delete", name] if name.starts_with("Secret/") => self.chance = true,
            _ => {}
        }
    }

    /// I3, I4, I8: what somebody has written to, what a settled release had, what is wanted, and what is not known stays.
    fn may_go(&self, deletion: &Deletion) {
        let Deletion { key, object, owned, wanted, back, destroys, data_may_go } = deletion;
        if key.kind == Kind::Pod {
            return;
        }
        let uid = plan::uid(object);
        assert!(*owned, "{key} is deleted, and nobody has written down that hks made it");
        assert!(!wanted, "{key} is deleted, and it belongs to where the pass is headed");
        let settled = self.settled.contains(uid);
        assert!(!(*back && settled), "{key} of a settled release is deleted by a rollback");
        if *data_may_go {
            return;
        }
        let rows = key.name.contains("main") && self.written.contains(uid);
        assert!(!rows, "{key} with rows is deleted");
        let server = key.kind == Kind::StatefulSet && *destroys;
        assert!(!(settled && holds_data(key, object)) || server, "{key} of a settled release is deleted");
    }

    fn volumes_stay_as_large(&mut self, sim: &Sim) {
        for (_, claim) in sim.objects.iter().filter(|(key, _)| key.kind == Kind::PersistentVolumeClaim) {
            let size = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap();
            let size = size.trim_end_matches("Gi").parse().unwrap();
            let before = self.sizes.insert(uid(claim), size).unwrap_or(size);
            assert!(before <= size, "I3: a volume shrinks from {before} to {size} GiB");
        }
    }

    /// I8: what exists was written down before.
    fn is_written_down(&mut self, sim: &Sim) {
        for key in sim.objects.keys() {
            if sim.saved.inventory.iter().any(|owned| owned.key == *key) {
                self.unknown.remove(key);
            } else {
                assert!(self.unknown.contains(key), "{key} is not written down");
            }
        }
    }

    fn remember_what_settled(&mut self, sim: &Sim) {
        let State::Resting(rest) = sim.machine.state else { return };
        if sim.machine.record.settled.is_none() {
            self.volumes.clear();
        }
        let Some(baseline) = sim.machine.baseline() else { return };
        let part = |key: &&ObjectKey| baseline.get(key).is_some();
        // of what is gone by a person's hand the last uid is known
        self.volumes.retain(|key, _| part(&key));
        if rest != Rest::Settled || sim.machine.record.attempt.is_some() {
            return;
        }
        let parts: Vec<_> = sim.objects.iter().filter(|(key, _)| part(key)).collect();
        self.settled.extend(parts.iter().map(|(_, object)| uid(object)));
        let volumes = parts.iter().filter(|(key, _)| key.kind == Kind::PersistentVolumeClaim);
        self.volumes.extend(volumes.map(|(key, object)| ((*key).clone(), uid(object))));
    }

    /// I14: what was put back is not tried again unless there is a reason for it, also after a restart.
    fn one_try(&mut self, news: &News) {
        match news {
            News::Ended(end)
                if end.outcome == Outcome::RolledBack && !matches!(end.cause, Some(Cause::Requested { .. })) =>
            {
                let failed = Some((end.revision.clone(), end.ended));
                if self.failed != failed && std::mem::take(&mut self.taken) {
                    self.chance = false;
                }
                self.failed = failed;
            }
            News::Started { revision, platform: false, .. } => {
                let again = self.failed.as_ref().is_some_and(|(failed, _)| failed == revision);
                assert!(!again || self.chance || self.skewed, "{revision} was put back and is tried again");
                self.taken |= again;
            }
            _ => {}
        }
    }

    /// I6: after a final status another one comes only if something was begun in between.
    fn one_end(&mut self, news: &News) {
        let Some(status) = hks::report::status(news) else { return };
        let last = self.told.insert(status.revision.clone(), (status.state, status.description.clone()));
        if let Some((state, description)) = last
            && state == StatusState::Success
            && status.state != StatusState::Pending
            && status.state != StatusState::Success
        {
            // a person's rollback, or a file that means nothing here any more, is told on the commit that it is about
            let asked = [
                "requested",
                "wanted to",
                "suspended",
                "still held",
                "no changes",
                "data",
                "gone",
                "paused",
                "deleted",
                // its record is doubted
                "not kept",
            ];
            let fine = asked.iter().any(|word| status.description.contains(word) || description.contains(word));
            assert!(fine, "{} was told {description:?} and then {:?}", status.revision, status.description);
        }
    }

    /// I1, I14: left alone, it rests, is quiet, what is settled is what runs, and no deployment is without an end.
    pub fn comes_to_rest(&mut self, sim: &mut Sim) {
        sim.news.clear();
        for command in ["prompt", "room enough", "refuse off", "ask well", "database", "pods", "wish resume"] {
            sim.command(command);
        }
        sim.objects.retain(|_, object| !plan::is_going(object));
        if let Some(web) = sim.objects.get_mut(&ObjectKey::new(Kind::Deployment, "todo-web")) {
            Arc::make_mut(web)["spec"]["paused"] = Value::Bool(false);
        }
        sim.command("unfinished");
        sim.command("fetch");
        for _ in 0..4 {
            sim.command("run");
            let before = sim.log.len();
            sim.command("pass 3h");
            if is_quiet(&sim.log[before..]) {
                break;
            }
        }
        sim.command("run");
        let State::Resting(rest) = sim.machine.state else { panic!("it does not rest: {}", sim.state()) };
        let before = sim.log.len();
        for _ in 0..3 {
            sim.command("run");
        }
        assert!(is_quiet(&sim.log[before..]), "it is not quiet: {:?}", &sim.log[before..]);
        let live = sim.live();
        let restored = sim.machine.record.held.as_ref().is_none_or(|held| held.ending == Ending::Healthy);
        if let Some(baseline) = sim.machine.baseline()
            && matches!(rest, Rest::Settled | Rest::Held)
            && restored
            && !self.outdated
            && sim.machine.lost.is_empty()
        {
            let plan = plan::compare(baseline, &live, &sim.machine.record.inventory);
            let wrong: Vec<_> = plan
                .steps
                .iter()
                .filter(|step| step.object.stage.lasts() && step.action != Action::Keep && step.irreversible.is_none())
                .map(|step| step.object.key.to_string())
                .collect();
            assert!(wrong.is_empty(), "{rest:?}, but {wrong:?} is not as it should be");
        }
        let last = sim.news.iter().filter_map(hks::report::status);
        self.told.extend(last.map(|status| (status.revision, (status.state, status.description))));
        let head = sim.machine.head.as_ref().map(|head| &head.revision);
        let waits = self.told.iter().find(|(revision, (state, said))| {
            // what runs and could not be proven keeps its words
            let is_open = said.starts_with("deploying") || Some(*revision) != head && !said.starts_with("it runs");
            *state == StatusState::Pending && is_open
        });
        assert!(waits.is_none(), "it rests, and there is no end of {waits:?}");
    }
}

/// Nothing was written.
fn is_quiet(log: &[String]) -> bool {
    log.iter().all(|line| !["save", "apply", "delete"].iter().any(|word| line.starts_with(word)))
}

/// What two runs that differ only in what has disturbed them must have in common: I2, I15.
pub fn outcome(sim: &Sim) -> Outcomes {
    let lasting = |key: &ObjectKey| key.kind != Kind::Pod;
    let bare = |object: &Value| {
        let mut object = object.clone();
        object["metadata"].as_object_mut().unwrap().remove("uid");
        object
    };
    let mut deletions = BTreeMap::new();
    for deletion in sim.deleted.iter().filter(|deletion| lasting(&deletion.key)) {
        *deletions.entry(deletion.key.clone()).or_default() += 1;
    }
    let kept = sim.objects.iter().filter(|(key, _)| lasting(key));
    Outcomes {
        objects: kept.map(|(key, object)| (key.clone(), bare(object))).collect(),
        creations: sim.creations.iter().filter(|(key, _)| lasting(key)).map(|(key, n)| (key.clone(), *n)).collect(),
        deletions,
        // a commit that changes nothing is not worth a write, so only what it says counts
        settled: sim.saved.settled.as_ref().map(|release| release.source.clone()),
        held: sim.saved.held.as_ref().map(|held| (held.revision.clone(), held.ending.clone())),
        state: sim.state(),
    }
}

/// See [`outcome`].
#[derive(Debug, PartialEq)]
pub struct Outcomes {
    objects: BTreeMap<ObjectKey, Value>,
    creations: BTreeMap<ObjectKey, usize>,
    deletions: BTreeMap<ObjectKey, usize>,
    settled: Option<String>,
    held: Option<(Revision, Ending)>,
    state: String,
}

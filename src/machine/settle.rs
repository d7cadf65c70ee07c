//! The end of a pass: what does not belong is deleted, the outcome is kept and told.

use super::health::Of;
use super::pass::{Flow, Origin, Pass, Station, Toward, glance};
use super::{Baseline, Contents, Packing, Turn, Verdict};
use crate::ident::{Kind, ObjectKey, Revision};
use crate::manifest::{DATABASE_LABEL, JOB_LABEL, Stage, holds_data, outlasts};
use crate::plan::{self, Course, Live, Owned};
use crate::record::{Deployment, Ending, Held, Outcome, Record, Release, Want, Wish};
use crate::report::{self, News};
use crate::rollout::{self, Cause};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a database is asked for its tables before it is kept unasked.
const INSPECT_PATIENCE: SignedDuration = SignedDuration::from_secs(30);

impl Turn<'_> {
    /// Deletes what does not belong to the release. A rollback deletes only what its own attempt has created, and data of
    /// that only if nobody has put anything into it; what it can't tell stays.
    pub(super) fn prune(&mut self, pass: &mut Pass) -> Flow {
        let live = self.live;
        let inventory = &self.machine.record.inventory;
        let plan = plan::compare(&pass.manifest, live, inventory);
        let owned = |key: &ObjectKey| inventory.iter().find(|owned| owned.key == *key);
        let retire = plan.retire.into_iter().map(|(key, _)| key);
        pass.gone = match &pass.toward {
            Toward::Nothing { wish } => {
                // servers go in any case; what they have written stays, with the credentials to it
                let all = matches!(wish.what, Want::Destroy { with_data: true });
                let data = plan.retain.into_iter().chain(plan.discard).chain(plan.goes);
                let outlives = |key: &ObjectKey| live.get(key).is_some_and(|object| outlasts(key, object));
                let data = data.filter(|key| all || key.kind == Kind::StatefulSet || !outlives(key));
                plan.prune.into_iter().chain(retire).chain(data).collect()
            }
            Toward::Back { .. } => {
                let ours = |key: &ObjectKey| owned(key).is_some_and(|owned| !owned.settled);
                let newest = |key: &ObjectKey| owned(key).is_some_and(|owned| owned.made == Some(pass.started));
                let data = plan.discard.into_iter().chain(plan.goes).filter(ours).filter(newest);
                plan.prune.into_iter().chain(retire).filter(ours).chain(data).collect()
            }
            // only the version that has just been replaced stays for a while
            Toward::Forward | Toward::Heal => {
                let by_commit = pass.toward == Toward::Forward && !matches!(pass.origin, Origin::Person(_));
                let (goes, stays): (Vec<_>, Vec<_>) = plan.goes.into_iter().partition(|_| by_commit);
                if pass.toward == Toward::Forward {
                    let servers = stays.iter().filter(|key| key.kind == Kind::StatefulSet);
                    pass.kept.extend(servers.map(|key| format!("{} (with its data)", key.name)));
                }
                let replaced = |key: &ObjectKey| match &self.machine.baseline {
                    Baseline::Kept(baseline) => baseline.get(key).is_some(),
                    Baseline::Nothing | Baseline::Unreadable(_) => false,
                };
                plan.prune.into_iter().chain(goes).chain(retire.filter(|key| !replaced(key))).collect()
            }
        };
        if pass.is_back() { self.keep_the_unknown(pass) } else { self.delete(pass) }
    }

    /// Of databases whose server is gone already nobody can ask, and what an app has written into its volume nobody can tell; only
    /// what an earlier look has proven empty, or no container has ever had, goes.
    fn keep_the_unknown(&mut self, pass: &mut Pass) -> Flow {
        let live = self.live;
        let inventory = &self.machine.record.inventory;
        let servers: BTreeSet<_> = live.of(Kind::StatefulSet).filter_map(|(_, server)| database(server)).collect();
        let proven = |key: &ObjectKey| inventory.iter().any(|owned| owned.key == *key && owned.doomed);
        let unknown = |key: &ObjectKey| {
            let object = live.get(key).filter(|_| is_data(key, live) && !proven(key))?;
            match database(object) {
                Some(name) => (!servers.contains(&name)).then_some("can't be asked"),
                None => rollout::was_used(key, object, live).then_some("may hold data"),
            }
        };
        let kept: BTreeMap<_, _> = pass.gone.iter().filter_map(|key| Some((key.clone(), unknown(key)?))).collect();
        pass.gone.retain(|key| !kept.contains_key(key));
        pass.kept.extend(kept.iter().map(|(key, why)| format!("{key} ({why})")));
        if asked(&pass.gone, live).is_empty() { self.doom(pass) } else { self.go(pass, Station::Inspecting) }
    }

    /// Databases that are not proven to be empty stay, with all that belongs to them.
    pub(super) fn inspected(&mut self, pass: &mut Pass, found: &BTreeMap<String, Contents>) -> Flow {
        let (now, live) = (self.now, self.live);
        let unknown = found.values().find_map(|contents| match contents {
            Contents::Unknown(why) => Some(why),
            Contents::Empty | Contents::Tables => None,
        });
        if let Some(why) = unknown
            && now.duration_since(pass.station_since) < INSPECT_PATIENCE
        {
            pass.message = format!("looking for tables: {why}");
            pass.tries += 1;
            pass.retry_at = Some(now + glance(pass.tries));
            return Flow::Stay;
        }
        let servers = asked(&pass.gone, live);
        let mut keep = BTreeSet::new();
        for server in servers {
            let why = match found.get(&server) {
                Some(Contents::Empty) => continue,
                Some(Contents::Tables) => "holds tables",
                Some(Contents::Unknown(_)) | None => "can't be asked",
            };
            pass.kept.push(format!("{server} ({why})"));
            keep.extend(live.get(&ObjectKey::new(Kind::StatefulSet, server)).and_then(database));
        }
        pass.gone.retain(|key| !live.get(key).and_then(database).is_some_and(|name| keep.contains(&name)));
        self.doom(pass)
    }

    /// Data that is going to be deleted is written down as such: a rollback that is killed in the middle can't ask again.
    fn doom(&mut self, pass: &mut Pass) -> Flow {
        let live = self.live;
        let gone: BTreeSet<_> = pass.gone.iter().filter(|key| is_data(key, live)).cloned().collect();
        for owned in self.machine.record.inventory.iter_mut().filter(|owned| gone.contains(&owned.key)) {
            owned.doomed = true;
        }
        if gone.is_empty() || self.machine.record == self.machine.saved {
            self.delete(pass)
        } else {
            self.go(pass, Station::Dooming)
        }
    }

    /// Only what is written down as made by hks is deleted: who is killed in the middle must know what it was about.
    fn delete(&mut self, pass: &mut Pass) -> Flow {
        let written = |key: &ObjectKey| self.machine.saved.inventory.iter().any(|owned| owned.key == *key);
        if pass.gone.is_empty() {
            Flow::Advance
        } else if pass.gone.iter().all(written) {
            self.go(pass, Station::Pruning)
        } else {
            self.go(pass, Station::Dooming)
        }
    }

    /// Writes down how the pass ended.
    pub(super) fn settle(&mut self, pass: &mut Pass) -> Flow {
        let (now, live) = (self.now, self.live);
        let to = self.machine.baseline().map(|baseline| baseline.revision.clone());
        let (left, head) = (pass.left.clone(), self.newest_for(pass));
        let adopted = self.adopted();
        let machine = &mut *self.machine;
        let is_newest = !pass.content.is_empty() && pass.content == machine.head_content;
        let ending = match (pass.refused.clone().or(adopted.filter(|_| pass.is_back())), pass.unwell.clone()) {
            (Some(cause), _) => Ending::Refused { cause },
            (None, Some(cause)) => Ending::Unhealthy { cause },
            (None, None) => Ending::Healthy,
        };
        pass.ill = pass.still_ill(live);
        let deployment = deployment(pass, &ending, now, to, head.as_ref(), live);
        keep_inventory(&mut machine.record, pass, live);
        let content = left.as_ref().map_or_else(|| machine.head_content.clone(), |left| left.content.clone());
        let unseen = machine.considered.is_none() && left.is_none();
        let record = &mut machine.record;
        match (&pass.toward, &pass.origin) {
            (Toward::Forward, origin) => {
                let settled =
                    pass.document.as_ref().map(|document| Release::new(document, &pass.revision, now, &pass.manifest));
                record.settled = settled.map(Arc::new);
                record.doubted = false;
                record.held = match origin {
                    Origin::Person(_) if is_newest => None,
                    // the newest commit is what was rolled back
                    Origin::Person(wish) => Some(Box::new(requested(
                        wish.by.clone(),
                        head.unwrap_or_else(|| pass.revision.clone()),
                        content,
                        pass.started,
                        now,
                    ))),
                    Origin::Commit | Origin::Platform => None,
                };
                // the record may be kept only by a later pass, and what it says must hold until then
                machine.baseline = Baseline::Kept(pass.manifest.clone());
                (machine.fits, machine.unproven, machine.packing) = (true, false, Packing::Unseen);
                machine.health.prove(&pass.ill);
                machine.lost.clear();
            }
            (Toward::Nothing { wish }, _) => {
                record.settled = None;
                record.doubted = false;
                (machine.baseline, machine.packing) = (Baseline::Nothing, Packing::Unseen);
                machine.lost.clear();
                machine.drift.clear();
                let revision = head.unwrap_or_else(|| pass.revision.clone());
                let mut held = requested(wish.by.clone(), revision, content, pass.started, now);
                held.cause = Cause::Refused {
                    object: "Stack".into(),
                    message: format!(
                        "{} wanted to {}; push a change or `hks retry` to have it back",
                        wish.by, wish.what
                    ),
                };
                held.ending = ending.clone();
                held.unseen = unseen;
                record.held = Some(Box::new(held));
            }
            (Toward::Back { .. } | Toward::Heal, _) => {
                if let Some(held) = record.held.as_mut().filter(|held| held.ending == Ending::Open) {
                    // an hks of the format before would go on for ever with what can't be put back
                    held.restored = true;
                    held.ending = ending.clone();
                }
            }
        }
        record.attempt = None;
        if pass.toward != Toward::Heal {
            record.before.clear();
        }
        // what was wrong with the commit that was left, or what it waited for, counts no more; a newer one has its own
        let looked_at = machine.considered.as_ref().map(|(revision, _)| revision);
        let newer = left.is_some_and(|left| looked_at.is_some_and(|revision| *revision != left.revision));
        if matches!(pass.course(), Course::Person | Course::Nothing) && !newer {
            record.unusable = None;
            machine.verdict = Verdict::Usable;
            machine.blockers.clear();
            machine.limited = None;
        }
        for revision in &pass.also {
            self.machine.remember(Deployment { revision: revision.clone(), ..deployment.clone() });
        }
        self.machine.remember(deployment);
        self.go(pass, Station::Settling)
    }

    /// The newest commit, as far as the pass is concerned: what a person wants is about the one that was the newest then.
    pub(super) fn newest_for(&self, pass: &Pass) -> Option<Revision> {
        let left = pass.left.as_ref().map(|left| &left.revision);
        left.or(self.machine.head.as_ref().map(|commit| &commit.revision)).cloned()
    }

    /// Why a rollback to nothing does not put back what was there before: nobody remembers it.
    fn adopted(&self) -> Option<Cause> {
        let record = &self.machine.record;
        let ran =
            |owned: &&Owned| owned.settled && !is_data(&owned.key, self.live) && self.live.get(&owned.key).is_some();
        let adopted = self.machine.baseline == Baseline::Nothing && record.inventory.iter().any(|owned| ran(&owned));
        adopted.then(|| Cause::Refused {
            object: "Stack".into(),
            message: "what ran before is not known, its record was lost; nothing that was there is deleted".into(),
        })
    }

    /// The outcome is kept: tell it and rest.
    pub(super) fn finish(&mut self, pass: Pass) {
        self.tell_the_end(pass);
        self.rest_again();
    }

    /// Tells how a pass has ended, of which all is done.
    pub(super) fn tell_the_end(&mut self, pass: Pass) {
        let newest = match (&pass.toward, pass.course()) {
            (Toward::Back { from, .. }, _) => from.clone(),
            (_, Course::Person | Course::Nothing) => self.newest_for(&pass).unwrap_or_else(|| pass.revision.clone()),
            _ => pass.revision.clone(),
        };
        let (from, left, wish) = (newest.clone(), self.newest_for(&pass), pass.wish().cloned());
        let (mut revisions, record) = (pass.also, &self.machine.record);
        revisions.push(newest);
        let ends: Vec<_> = revisions.iter().filter_map(|revision| record.told_of(revision)).cloned().collect();
        if let Some(Wish { what, by, .. }) = self.machine.failed_wish.take() {
            // nobody has pushed what a wish wanted: that it failed is no status of a commit
            let refused = ends.last().map(|end| end.description.clone());
            self.tell(News::Answered { want: what, by, refused });
            // the commit that it wanted to leave was told that something else is on its way
            if let Some(left) = left {
                self.stays(left, &from);
            }
        } else {
            if let Some(Wish { what, by, .. }) = wish {
                self.tell(News::Answered { want: what, by, refused: None });
            }
            for end in ends {
                self.tell(News::ended(end));
            }
        }
    }
}

/// How the deployment that a pass was for has ended.
fn deployment(
    pass: &Pass,
    ending: &Ending,
    now: Timestamp,
    to: Option<Revision>,
    head: Option<&Revision>,
    live: &Live,
) -> Deployment {
    let took = Duration::try_from(now.duration_since(pass.started)).unwrap_or_default();
    let url = pass.manifest.urls.first().map(|url| url.url.as_str());
    let times = (pass.started, now);
    let back = |revision, cause: &Cause, to: Option<Revision>| {
        let description = report::rolled_back(to.as_ref(), cause, &pass.kept, ending);
        Deployment {
            back_to: to,
            ending: ending.clone(),
            ..Deployment::new(revision, times, Outcome::RolledBack, Some(cause.clone()), description)
        }
    };
    match (&pass.toward, &pass.origin) {
        (Toward::Back { from, cause }, _) => back(from.clone(), cause, to),
        (Toward::Nothing { wish }, _) => Deployment {
            description: format!("{} wanted to {}", wish.by, wish.what),
            ..back(head.unwrap_or(&pass.revision).clone(), &Cause::Requested { by: wish.by.clone() }, None)
        },
        (_, Origin::Person(wish)) if head != Some(&pass.revision) => {
            let cause = Cause::Requested { by: wish.by.clone() };
            back(head.unwrap_or(&pass.revision).clone(), &cause, Some(pass.revision.clone()))
        }
        _ => {
            let apps = pass.manifest.apps.len() - pass.ill.apps.len();
            let address = pass.ill.address.then(|| Of::Address.to_string());
            let ill: Vec<_> = pass.ill.apps.iter().cloned().chain(address).collect();
            let description = report::succeeded(apps, pass.manifest.databases.len(), took, &ill, url);
            let succeeded = Deployment::new(pass.revision.clone(), times, Outcome::Succeeded, None, description);
            Deployment { jobs: jobs(pass, live), ..succeeded }
        }
    }
}

/// The newest commit is held since a person asked for something else.
fn requested(by: String, revision: Revision, content: String, started: Timestamp, at: Timestamp) -> Held {
    let (cause, ending) = (Cause::Requested { by }, Ending::Healthy);
    Held { revision, content, cause, started, at, restored: true, ending, unseen: false }
}

/// What is gone is forgotten, and what now belongs to a release, or was kept by a rollback, is never deleted by one.
fn keep_inventory(record: &mut Record, pass: &Pass, live: &Live) {
    let wanted = |key: &ObjectKey| pass.manifest.get(key).is_some();
    record.inventory.retain(|owned| wanted(&owned.key) || live.get(&owned.key).is_some());
    let forward = pass.toward == Toward::Forward;
    let of_this = |owned: &&mut Owned| {
        // a database stays with all that belongs to it
        let database = live.get(&owned.key).and_then(database).is_some();
        let kept = !forward && (database || is_data(&owned.key, live)) && !pass.gone.contains(&owned.key);
        (forward && wanted(&owned.key)) || kept
    };
    record.inventory.iter_mut().filter(of_this).for_each(Owned::settle);
}

fn database(object: &serde_json::Value) -> Option<String> {
    object["metadata"]["labels"][DATABASE_LABEL].as_str().map(str::to_owned)
}

fn is_data(key: &ObjectKey, live: &Live) -> bool {
    live.get(key).is_some_and(|object| holds_data(key, object))
}

/// The servers, by `StatefulSet`, that are asked for tables before they go: all but those that have never been ready, so that
/// nobody can have put anything into them. That data may go, as the file says, is about the next commit, not about a rollback.
pub(super) fn asked(gone: &[ObjectKey], live: &Live) -> Vec<String> {
    let servers = gone.iter().filter(|key| key.kind == Kind::StatefulSet);
    let holds = |key: &&ObjectKey| {
        live.get(key).is_some_and(|object| database(object).is_some() && !rollout::was_never_ready(object, live))
    };
    servers.filter(holds).map(|key| key.name.clone()).collect()
}

/// How the jobs of a release ended, by name.
fn jobs(pass: &Pass, live: &Live) -> BTreeMap<String, String> {
    let jobs = pass.manifest.objects.iter().filter(|object| object.stage == Stage::Jobs);
    let ended = jobs.filter_map(|job| {
        let name = job.body["metadata"]["labels"][JOB_LABEL].as_str()?;
        let done = live.get(&job.key).is_some_and(|job| job["status"]["succeeded"].as_i64() > Some(0));
        Some((name.to_owned(), if done { "succeeded" } else { "gone" }.to_owned()))
    });
    ended.collect()
}

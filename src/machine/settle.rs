//! The end of a pass: what does not belong is deleted, the outcome is kept and told.

use super::pass::{Pass, Station, Toward};
use super::rest::release;
use super::{Rest, State, Turn};
use crate::ident::{Kind, ObjectKey};
use crate::manifest::{DATABASE_LABEL, JOB_LABEL, Stage};
use crate::plan::{self, Live};
use crate::record::{Deployment, Outcome};
use crate::report::{self, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Turn<'_> {
    /// Deletes what does not belong to the release. Data goes only when a rollback finds that no settled release ever had
    /// it, and that nobody has put a table into it.
    pub(super) fn prune(&mut self) {
        let live = self.live;
        let (inventory, baseline) = (self.machine.record.inventory.clone(), self.machine.baseline.clone());
        let Some(pass) = self.pass() else { return };
        let plan = plan::compare(&pass.manifest, live, &inventory);
        pass.gone = plan.prune;
        let back = pass.is_back();
        if back {
            pass.gone.extend(plan.discard);
        }
        // only the version that has just been replaced stays for a while
        let replaced = |key: &ObjectKey| baseline.as_ref().is_some_and(|baseline| baseline.get(key).is_some());
        pass.gone.extend(plan.retire.into_iter().map(|(key, _)| key).filter(|key| back || !replaced(key)));
        if pass.gone.is_empty() {
            self.settle();
        } else if !asked(&pass.gone, live).is_empty() {
            self.go(Station::Inspecting);
        } else {
            self.go(Station::Pruning);
        }
    }

    /// Databases that hold tables stay, with all that belongs to them.
    pub(super) fn inspected(&mut self, with_tables: Vec<String>) {
        let live = self.live;
        let Some(pass) = self.pass() else { return };
        let database = |key: &ObjectKey| {
            live.get(key).and_then(|object| object["metadata"]["labels"][DATABASE_LABEL].as_str().map(str::to_owned))
        };
        let keys = with_tables.iter().map(|name| ObjectKey::new(Kind::StatefulSet, name.as_str()));
        let keep: BTreeSet<_> = keys.filter_map(|key| database(&key)).collect();
        pass.gone.retain(|key| !database(key).is_some_and(|name| keep.contains(&name)));
        pass.kept = with_tables;
        self.go(Station::Pruning);
    }

    /// Writes down how the pass ended.
    pub(super) fn settle(&mut self) {
        let (now, live) = (self.now, self.live);
        let to = self.machine.baseline().map(|baseline| baseline.revision.clone());
        let State::Passing(pass) = &self.machine.state else { return };
        let took = Duration::try_from(now.duration_since(pass.started)).unwrap_or_default();
        let urls = pass.manifest.urls.first().map(|url| url.url.as_str());
        let (started, ended) = (pass.started, now);
        let deployment = match &pass.toward {
            Toward::Restore => return self.rest_again(),
            Toward::Forward => Deployment {
                revision: pass.manifest.revision.clone(),
                started,
                ended,
                outcome: Outcome::Succeeded,
                cause: None,
                back_to: None,
                description: report::succeeded(pass.manifest.apps.len(), pass.manifest.databases.len(), took, urls),
                jobs: jobs(pass, live),
            },
            Toward::Back { from, cause } => Deployment {
                revision: from.clone(),
                started,
                ended,
                outcome: Outcome::RolledBack,
                description: report::rolled_back(to.as_ref(), cause, &pass.kept),
                cause: Some(cause.clone()),
                back_to: to,
                jobs: BTreeMap::new(),
            },
        };
        let record = &mut self.machine.record;
        let wanted = |key: &ObjectKey| pass.manifest.get(key).is_some();
        record.inventory.retain(|owned| wanted(&owned.key) || live.get(&owned.key).is_some());
        if pass.toward == Toward::Forward {
            record.inventory.iter_mut().filter(|owned| wanted(&owned.key)).for_each(|owned| owned.settled = true);
            record.settled = pass.document.as_ref().map(|document| release(document, &pass.manifest.revision, now));
            record.held = None;
            // the record may be kept only by a later pass, and what it says must hold until then
            self.machine.baseline = Some(pass.manifest.clone());
        } else if let Some(held) = &mut record.held {
            held.restored = true;
        }
        record.attempt = None;
        record.remember(deployment);
        self.go(Station::Settling);
    }

    /// The outcome is kept: tell it and rest.
    pub(super) fn finish(&mut self) {
        let State::Passing(pass) = &self.machine.state else { return };
        if pass.toward == Toward::Forward {
            if let Some(status) = self.machine.record.last_of(&pass.manifest.revision).map(Status::ended) {
                self.report(status);
            }
            self.machine.invalid = None;
            self.rest(Rest::Settled);
        } else {
            self.rest(Rest::Held);
        }
    }
}

/// The servers, by `StatefulSet`, that are asked for tables before they go: those of databases that run, unless the file
/// said that their data may go.
pub(super) fn asked(gone: &[ObjectKey], live: &Live) -> Vec<String> {
    let holds = |key: &&ObjectKey| {
        live.get(key).is_some_and(|object| {
            let database = object["metadata"]["labels"][DATABASE_LABEL].is_string();
            let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0) > 0;
            database && ready && !plan::may_go(object)
        })
    };
    let servers = gone.iter().filter(|key| key.kind == Kind::StatefulSet).filter(holds);
    servers.map(|key| key.name.clone()).collect()
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

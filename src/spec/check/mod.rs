//! From what is written to what is meant: defaults, names, and everything that a schema cannot say.
//!
//! Invariant: a function here returns `None` only when a diagnostic, perhaps one of the schema, says why.

mod app;
mod certificate;
mod data;
mod edge;
mod job;
mod name;
mod order;
mod program;

use super::budget::{self, ENTRY, OBJECT, PIECE};
use super::diagnostic::Code;
use super::model::{Deploy, Drift, Secret, Spec, Template};
use super::place::Path;
use super::reference::{Scope, Site, template};
use super::report::{Report, below, root};
use super::resources::duration;
use super::violation::Broken;
use super::{Files, wire};
use crate::ident::StackName;
use std::collections::BTreeMap;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What is read, and where mistakes go.
pub(super) struct Check<'a, 'r> {
    /// The file.
    pub stack: &'a wire::Stack,
    /// What the schema refused.
    pub broken: &'a Broken,
    /// What references may point at.
    pub scope: &'a Scope<'a>,
    /// Other files of the repository.
    pub files: &'a Files,
    /// Mistakes.
    pub report: &'a mut Report<'r>,
}

impl Check<'_, '_> {
    /// The model of the file; `None` when something is wrong.
    pub fn spec(&mut self) -> Option<Spec> {
        let stack = self.stack;
        self.names();
        let databases = each(&stack.databases.0, |name, d| self.database(&root(&["databases", name]), d));
        let caches = each(&stack.caches.0, |name, c| self.cache(&root(&["caches", name]), c));
        let secrets = each(&stack.secrets.0, |name, s| self.secret(&root(&["secrets", name]), s));
        let certificates = each(&stack.certificates.0, |name, c| self.certificate(&root(&["certificates", name]), c));
        let certificates = certificates.unwrap_or_default();
        let waves = self.waves();
        let (mut apps, mut external, mut whole) = (BTreeMap::new(), BTreeMap::new(), true);
        // those that others take their program from come first
        let (of_others, own): (Vec<_>, Vec<_>) = stack.apps.0.iter().partition(|(_, app)| app.from.is_some());
        for (name, app) in own.into_iter().chain(of_others) {
            if self.report.is_full() {
                return None;
            }
            if let Some(address) = self.external(name, app) {
                external.insert(name.clone(), address);
                continue;
            }
            match self.app(name, app, &certificates, &waves, &apps) {
                Some(app) => drop(apps.insert(name.clone(), app)),
                None => whole = false,
            }
        }
        let jobs = each(&stack.jobs.0, |name, j| self.unless_full()?.job(name, j, &apps));
        let mut hosts = BTreeMap::new();
        let ingress = each(&stack.ingress.0, |name, i| self.unless_full()?.ingress(name, i, &mut hosts));
        let deploy = self.deploy();
        let parts = [stack.databases.0.len(), stack.caches.0.len(), stack.apps.0.len(), stack.secrets.0.len()];
        if parts.iter().all(|parts| *parts == 0) {
            let message = "the Stack has neither apps nor data: whatever was deployed before is taken away";
            self.report.warn(
                Code::NothingToDeploy,
                &[],
                message,
                "declare `apps`, or use `hks destroy` if that is meant",
            );
        }
        Some(Spec {
            name: StackName::new(stack.metadata.name.as_ref()?.0.clone())?,
            databases: databases?,
            caches: caches?,
            apps: whole.then_some(apps)?,
            external,
            jobs: jobs?,
            secrets: secrets?,
            ingress: ingress?,
            deploy: deploy?,
        })
    }

    /// Whether there is room for so many objects with so many entries; says so once if there is not.
    fn affords(&mut self, objects: usize, entries: usize, at: &[String]) -> bool {
        self.report.affords(objects * OBJECT + entries * ENTRY, PIECE, at)
    }

    /// Goes on, unless so many mistakes have been found that there is no use in it.
    fn unless_full(&mut self) -> Option<&mut Self> {
        (!self.report.is_full()).then_some(self)
    }

    /// Exactly one of some keys must be there: says so when it is not.
    fn exactly_one(&mut self, at: &[String], given: &[(&str, bool)]) -> bool {
        let there: Vec<&str> = given.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
        let all = || given.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        match there.as_slice() {
            [_] => return true,
            // the schema may have refused the one that is there
            [] if given.iter().any(|(key, _)| self.is_broken(&below(at, &[key]))) => {}
            [] => {
                let name = at.last().map(String::as_str).unwrap_or_default();
                self.report.key(Code::ExactlyOne, at, &format!("`{name}` has none of {}", all()), "add one of them");
            }
            [_, second, ..] => {
                let message = format!("only one of {} may be there", all());
                self.report.key(Code::ExactlyOne, &below(at, &[second]), &message, "keep one of them");
            }
        }
        false
    }

    fn is_broken(&self, at: &[String]) -> bool {
        let keys: Vec<&str> = at.iter().map(String::as_str).collect();
        self.broken.touches(&keys)
    }

    fn template(&mut self, text: &str, at: &[String], site: Site) -> Option<Template> {
        template(text, at, site, self.scope, self.report)
    }

    /// A text that goes to the program, as it is written.
    fn process(&mut self, at: &Path) -> Option<Template> {
        let text = self.report.places.text(at)?.to_owned();
        self.template(&text, at, Site::Process)
    }

    fn list(&mut self, at: &Path, items: usize) -> Option<Vec<Template>> {
        let mut argument = |at: &Path| self.process(at).filter(|text| self.fits(at, 0, text));
        let templates: Vec<_> = (0..items).map(|i| argument(&below(at, &[&i.to_string()]))).collect();
        templates.into_iter().collect()
    }

    fn secret(&mut self, at: &Path, wire: &wire::Secret) -> Option<Secret> {
        let given =
            [("generate", !wire.generate.0.is_empty()), ("keys", !wire.keys.is_empty()), ("from", wire.from.is_some())];
        if !self.exactly_one(at, &given) || !self.affords(1, 0, at) {
            return None;
        }
        if let Some(from) = &wire.from {
            return Some(Secret::Existing(from.existing.as_ref()?.0.clone()));
        }
        if wire.keys.is_empty() {
            let length = |key: &wire::Key| key.length.and_then(|l| usize::try_from(l).ok()).unwrap_or(32);
            let keys = wire.generate.0.iter().map(|(name, key)| (name.clone(), length(key)));
            return Some(Secret::Generated(keys.collect()));
        }
        Some(Secret::Set(wire.keys.iter().map(|key| key.0.clone()).collect()))
    }

    /// The text of another file of the repository.
    fn file(&mut self, at: &Path, path: &wire::RepositoryPath) -> Option<String> {
        match self.files.get(&path.0) {
            Some(Ok(text)) => self.report.affords_copy(budget::text(text.len()), at).then(|| text.to_owned()),
            Some(Err(message)) => {
                self.report.value(Code::UnusableFile, at, message, "commit a text file of at most 64 KiB");
                None
            }
            None => {
                let message = format!("the repository has no file `{}`", path.0);
                let help = self.report.budget.hint(
                    &path.0,
                    self.files.names(),
                    "write its path from the folder of hks.yaml, or with `/` from the root",
                );
                self.report.value(Code::UnusableFile, at, &message, &help);
                None
            }
        }
    }

    /// The text of one certificate authority or several.
    fn certificate(&mut self, at: &Path, wire: &wire::Certificate) -> Option<String> {
        if !self.exactly_one(at, &[("file", wire.file.is_some()), ("text", wire.text.is_some())]) {
            return None;
        }
        let (key, text) = match (&wire.file, &wire.text) {
            (Some(path), _) => ("file", self.file(&below(at, &["file"]), path)?),
            (None, text) => ("text", text.clone()?),
        };
        if let Some(message) = certificate::complaint(&text) {
            let help = "give each in PEM, from `-----BEGIN CERTIFICATE-----` to its end";
            self.report.value(Code::InvalidCertificate, &below(at, &[key]), &message, help);
            return None;
        }
        Some(format!("{}\n", text.trim()))
    }

    fn deploy(&mut self) -> Option<Deploy> {
        let wire = &self.stack.deploy;
        let timeout = &root(&["deploy", "timeout"]);
        let timeout = duration(wire.timeout.as_ref(), 15 * MINUTE, &(10..=DAY), timeout, self.report);
        let wait = &root(&["deploy", "capacity", "wait"]);
        let capacity_wait = duration(wire.capacity.wait.as_ref(), 30 * MINUTE, &(0..=DAY), wait, self.report);
        let drift = match wire.drift {
            None | Some(wire::Drift::Correct) => Drift::Correct,
            Some(wire::Drift::Report) => Drift::Report,
        };
        Some(Deploy { timeout: timeout?, capacity_wait: capacity_wait?, drift })
    }
}

/// Every entry turned, all of them even if one fails.
fn each<A, B>(map: &BTreeMap<String, A>, mut turn: impl FnMut(&str, &A) -> Option<B>) -> Option<BTreeMap<String, B>> {
    let turned: Vec<_> = map.iter().map(|(name, a)| Some((name.clone(), turn(name, a)?))).collect();
    turned.into_iter().collect()
}

//! Names of objects: they are composed, `STACK-NAME`, so they may be too long or meet.

use super::super::diagnostic::Code;
use super::super::place::Path;
use super::super::report::root;
use super::super::wire;
use super::Check;
use std::collections::BTreeMap;

/// Services, Deployments and Ingresses: a DNS label.
const MAX_NAME: usize = 63;
/// What is added to the name of a `StatefulSet` in a label value: a hash of 10 characters and a dash.
const HASH: usize = 11;
/// What is added to the name of a Deployment of a blue/green app: a digest of 8 characters and a dash.
const SLOT: usize = 9;
/// What is added to the name of a Job or `CronJob`, which become label values together with it.
const RUN: usize = 11;

impl Check<'_, '_> {
    pub(super) fn names(&mut self) {
        self.collisions();
        self.lengths();
    }

    /// Two objects of one kind must not have one name.
    fn collisions(&mut self) {
        let stack = self.stack;
        // claims are the only names that do not all begin with the Stack's
        let prefix = stack.metadata.name.as_ref().map(|name| format!("{}-", name.0)).unwrap_or_default();
        // what a name stands for, the name, and who claims it
        let mut claims: Vec<(&str, String, Path)> = vec![];
        for (name, database) in &stack.databases.0 {
            let at = root(&["databases", name]);
            claims.push(("Service", name.clone(), at.clone()));
            claims.push(("Secret", format!("{name}-credentials"), at.clone()));
            // the volume generation: see manifest/database.rs
            claims.push(("volume", format!("data-{prefix}{name}-1"), at.clone()));
            if database.pooler.is_some() {
                claims.push(("Service", format!("{name}-pooler"), at));
            }
        }
        for (name, cache) in &stack.caches.0 {
            let at = root(&["caches", name]);
            if cache.persistence.is_some() {
                claims.push(("volume", format!("data-{prefix}{name}"), at.clone()));
            }
            claims.push(("Service", name.clone(), at.clone()));
            claims.push(("Secret", format!("{name}-credentials"), at));
        }
        for (name, app) in &stack.apps.0 {
            let at = root(&["apps", name]);
            claims.push(("Service", name.clone(), at.clone()));
            if app.rollout.strategy == Some(wire::Strategy::BlueGreen) {
                claims.push(("Service", format!("{name}-preview"), at.clone()));
            }
            for volume in app.volumes.0.keys() {
                claims.push(("volume", format!("{prefix}{name}-{volume}"), at.clone()));
            }
        }
        for (name, secret) in &stack.secrets.0 {
            if secret.from.is_none() {
                claims.push(("Secret", name.clone(), root(&["secrets", name])));
            }
        }
        let mut taken: BTreeMap<(&str, String), Path> = BTreeMap::new();
        for (kind, name, at) in claims {
            let Some(first) = taken.get(&(kind, name.clone())) else {
                taken.insert((kind, name), at);
                continue;
            };
            let message = format!("the {kind} `{name}` is also that of `{}`", first.join("."));
            self.report.key(Code::NameCollision, &at, &message, "rename one of them");
        }
    }

    fn lengths(&mut self) {
        let stack = self.stack;
        let Some(prefix) = stack.metadata.name.as_ref().map(|n| n.0.len() + 1) else { return };
        let blue_green = |app: &wire::App| app.rollout.strategy == Some(wire::Strategy::BlueGreen);
        let mut names: Vec<(&str, &String, usize)> = vec![];
        names.extend(stack.databases.0.keys().map(|name| ("databases", name, HASH)));
        names.extend(stack.caches.0.keys().map(|name| ("caches", name, HASH)));
        names.extend(stack.apps.0.iter().map(|(name, app)| ("apps", name, if blue_green(app) { SLOT } else { 0 })));
        names.extend(stack.jobs.0.keys().map(|name| ("jobs", name, RUN)));
        names.extend(stack.ingress.0.keys().map(|name| ("ingress", name, 0)));
        for (section, name, added) in names {
            let (length, most) = (prefix + name.len(), MAX_NAME - added);
            if length > most && name.len() <= MAX_NAME {
                let message = format!("a name of {length} characters with the Stack's; {most} are allowed");
                let help = format!("shorten it by {}", length - most);
                self.report.key(Code::NameTooLong, &root(&[section, name]), &message, &help);
            }
        }
    }
}

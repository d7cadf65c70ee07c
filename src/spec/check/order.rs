//! Which app waits for which: `dependsOn` becomes waves.

use super::super::diagnostic::Code;
use super::super::report::{below, root};
use super::super::{suggest, wire};
use super::Check;
use std::collections::{BTreeMap, BTreeSet};

/// The wave of each app, and whether those that wait for it only want it started.
pub(super) type Waves = BTreeMap<String, (u8, bool)>;

impl Check<'_, '_> {
    /// Databases and caches come before all apps; among apps, one comes in a later wave than those it depends on.
    pub(super) fn waves(&mut self) -> Waves {
        let stack = self.stack;
        let mut edges: Vec<(&str, String, wire::Condition)> = vec![];
        for (name, app) in &stack.apps.0 {
            for (component, condition) in &app.depends_on.0 {
                let Some((section, other)) = component.split_once('.') else { continue };
                if self.known(name, component, section, other) && section == "apps" {
                    edges.push((name, other.to_owned(), *condition));
                }
            }
        }
        if let Some(circle) = circle(&edges) {
            let (first, second) =
                (circle.first().copied().unwrap_or_default(), circle.get(1).copied().unwrap_or_default());
            let message = match circle.as_slice() {
                [_] => format!("`{first}` waits for itself"),
                all => format!("{} wait for each other", all.join(", ")),
            };
            let next = if second.is_empty() { first } else { second };
            let at = root(&["apps", first, "dependsOn", &format!("apps.{next}")]);
            self.report.key(Code::DependencyCycle, &at, &message, "take one of the dependencies away");
            return Waves::new();
        }
        let mut waves: BTreeMap<&str, u8> = stack.apps.0.keys().map(|name| (name.as_str(), 0)).collect();
        // without a circle, the longest chain has fewer links than there are apps
        for _ in 0..=waves.len() {
            for (name, other, _) in &edges {
                let least = waves.get(other.as_str()).map_or(0, |wave| wave.saturating_add(1));
                waves.entry(name).and_modify(|wave| *wave = least.max(*wave));
            }
        }
        let wave = |name: &str| {
            let wanted: Vec<_> = edges.iter().filter(|(_, other, _)| other == name).map(|(_, _, how)| *how).collect();
            !wanted.is_empty() && wanted.iter().all(|how| *how == wire::Condition::Started)
        };
        waves.iter().map(|(name, number)| ((*name).to_owned(), (*number, wave(name)))).collect()
    }

    fn known(&mut self, app: &str, component: &str, section: &str, name: &str) -> bool {
        let stack = self.stack;
        let names: Vec<&String> = match section {
            "databases" => stack.databases.0.keys().collect(),
            "caches" => stack.caches.0.keys().collect(),
            _ => stack.apps.0.iter().filter(|(_, app)| app.external.is_none()).map(|(name, _)| name).collect(),
        };
        if names.iter().any(|known| *known == name) {
            return true;
        }
        if !self.broken.hides(&[section]) && !self.broken.touches(&["apps", app, "dependsOn"]) {
            let at = below(&root(&["apps", app, "dependsOn"]), &[component]);
            let otherwise = format!("declare it under `{section}`");
            let help = suggest::hint(name, names.into_iter().map(String::as_str), &otherwise);
            self.report.key(Code::UnresolvedReference, &at, &format!("`{section}` has no `{name}`"), &help);
        }
        false
    }
}

/// Apps of which each waits for the next, and the last for the first.
fn circle<'e>(edges: &'e [(&str, String, wire::Condition)]) -> Option<Vec<&'e str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for (start, ..) in edges {
        let mut open = vec![vec![*start]];
        while let Some(path) = open.pop() {
            let here = path.last().copied().unwrap_or_default();
            if !done.insert(here) && path.len() > 1 {
                continue;
            }
            for (_, other, _) in edges.iter().filter(|(name, ..)| *name == here) {
                if let Some(at) = path.iter().position(|name| name == other) {
                    return path.get(at..).map(<[&str]>::to_vec);
                }
                open.push(path.iter().copied().chain([other.as_str()]).collect());
            }
        }
    }
    None
}

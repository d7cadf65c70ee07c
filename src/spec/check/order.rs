//! Which app waits for which: `dependsOn` becomes waves.

use super::super::diagnostic::Code;
use super::super::report::{below, root};
use super::super::wire;
use super::Check;
use std::collections::BTreeMap;

/// The wave of each app, and whether those that wait for it only want it started.
pub(super) type Waves = BTreeMap<String, (u8, bool)>;

impl Check<'_, '_> {
    /// Databases and caches come before all apps; among apps, one comes in a later wave than those it depends on.
    pub(super) fn waves(&mut self) -> Waves {
        let stack = self.stack;
        let names: Vec<&str> = stack.apps.0.keys().map(String::as_str).collect();
        let numbers: BTreeMap<&str, usize> = names.iter().enumerate().map(|(number, name)| (*name, number)).collect();
        // for each app the others that it waits for; and whether some wait for it, all of them only until it has started
        let mut others: Vec<Vec<usize>> = vec![vec![]; names.len()];
        let mut wanted: Vec<Option<bool>> = vec![None; names.len()];
        for ((name, app), others) in stack.apps.0.iter().zip(&mut others) {
            for (component, condition) in &app.depends_on.0 {
                let Some((section, other)) = component.split_once('.') else { continue };
                if !self.known(name, component, section, other) || section != "apps" {
                    continue;
                }
                if let Some((number, wanted)) = numbers.get(other).and_then(|at| Some((*at, wanted.get_mut(*at)?))) {
                    others.push(number);
                    *wanted = Some(wanted.unwrap_or(true) && *condition == wire::Condition::Started);
                }
            }
        }
        match order(&others) {
            Ok(waves) => {
                let both = waves.into_iter().zip(wanted).map(|(wave, started)| (wave, started.unwrap_or(false)));
                names.iter().map(|name| (*name).to_owned()).zip(both).collect()
            }
            Err(circle) => {
                let circle: Vec<&str> = circle.iter().filter_map(|number| names.get(*number).copied()).collect();
                self.circle(&circle);
                Waves::new()
            }
        }
    }

    fn circle(&mut self, circle: &[&str]) {
        let (first, second) = (circle.first().copied().unwrap_or_default(), circle.get(1).copied());
        let message = match circle {
            [_] => format!("`{first}` waits for itself"),
            all => format!("{} wait for each other", all.join(", ")),
        };
        let at = root(&["apps", first, "dependsOn", &format!("apps.{}", second.unwrap_or(first))]);
        self.report.key(Code::DependencyCycle, &at, &message, "take one of the dependencies away");
    }

    fn known(&mut self, app: &str, component: &str, section: &str, name: &str) -> bool {
        let stack = self.stack;
        let there = match section {
            "databases" => stack.databases.0.contains_key(name),
            "caches" => stack.caches.0.contains_key(name),
            _ => stack.apps.0.get(name).is_some_and(|app| app.external.is_none()),
        };
        if there || self.report.is_full() {
            return there;
        }
        if !self.broken.hides(&[section]) && !self.broken.touches(&["apps", app, "dependsOn"]) {
            let at = below(&root(&["apps", app, "dependsOn"]), &[component]);
            let otherwise = format!("declare it under `{section}`");
            let names: Vec<&String> = match section {
                "databases" => stack.databases.0.keys().collect(),
                "caches" => stack.caches.0.keys().collect(),
                _ => stack.apps.0.iter().filter(|(_, app)| app.external.is_none()).map(|(name, _)| name).collect(),
            };
            let help = self.report.budget.hint(name, names.into_iter().map(String::as_str), &otherwise);
            self.report.key(Code::UnresolvedReference, &at, &format!("`{section}` has no `{name}`"), &help);
        }
        false
    }
}

/// The wave of each, one later than the last of `others` that it waits for; or those of which each waits for the next, and the
/// last for the first. Each of them, and each of its others, is looked at once.
fn order(others: &[Vec<usize>]) -> Result<Vec<u8>, Vec<usize>> {
    let of = |number: usize| others.get(number).map_or(&[][..], Vec::as_slice);
    let mut waves: Vec<Option<u8>> = vec![None; others.len()];
    let mut seen = vec![false; others.len()];
    // where each is on the way that leads to the one that is looked at
    let mut way: Vec<usize> = vec![];
    let mut place: Vec<Option<usize>> = vec![None; others.len()];
    for start in 0..others.len() {
        let mut open = vec![(start, false)];
        while let Some((here, done)) = open.pop() {
            if done {
                let wave = of(here).iter().filter_map(|other| waves.get(*other).copied().flatten());
                let wave = wave.max().map_or(0, |last| last.saturating_add(1));
                way.pop();
                set(&mut place, here, None);
                set(&mut waves, here, Some(wave));
                continue;
            }
            if std::mem::replace(seen.get_mut(here).unwrap_or(&mut true), true) {
                continue;
            }
            set(&mut place, here, Some(way.len()));
            way.push(here);
            open.push((here, true));
            for other in of(here) {
                if let Some(at) = place.get(*other).copied().flatten() {
                    return Err(way.split_off(at));
                }
                open.push((*other, false));
            }
        }
    }
    Ok(waves.into_iter().map(Option::unwrap_or_default).collect())
}

fn set<T>(list: &mut [T], at: usize, value: T) {
    if let Some(here) = list.get_mut(at) {
        *here = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_and_circles() {
        assert_eq!(order(&[]), Ok(vec![]));
        assert_eq!(order(&[vec![], vec![0], vec![0, 1], vec![]]), Ok(vec![0, 1, 2, 0]));
        assert_eq!(order(&[vec![1, 2], vec![2], vec![3], vec![]]), Ok(vec![3, 2, 1, 0]));
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
        assert_eq!(order(&[vec![1], vec![2], vec![1]]), Err(vec![1, 2]));
        assert_eq!(order(&[vec![1, 2], vec![3], vec![3], vec![1]]), Err(vec![3, 1]));
    }

    /// As long a chain as there can be, and everybody waiting for all before.
    #[test]
    fn much_is_no_trouble() {
        let chain: Vec<_> = (0..200_usize).map(|number| number.checked_sub(1).into_iter().collect()).collect();
        assert_eq!(order(&chain).map(|waves| waves.last().copied()), Ok(Some(199)));
        let all: Vec<_> = (0..200).map(|number| (0..number).collect()).collect();
        assert_eq!(order(&all).map(|waves| waves.last().copied()), Ok(Some(199)));
    }
}

//! The public hosts that a Stack has for itself.

use super::{Baseline, Effect, State, Turn};
use std::collections::BTreeSet;

impl Turn<'_> {
    /// At rest the Stack needs the hosts of the settled release and no others. What an older hks, which claimed none, has deployed
    /// is claimed at the first rest.
    pub(super) fn keep_hosts(&mut self) {
        let machine = &mut *self.machine;
        if !matches!(machine.state, State::Resting(_)) || machine.record.attempt.is_some() {
            return;
        }
        let needed = match &machine.baseline {
            Baseline::Kept(manifest) => manifest.named_hosts(),
            Baseline::Nothing => BTreeSet::new(),
            Baseline::Unreadable(_) => return,
        };
        if machine.hosts.as_ref() == Some(&needed) {
            return;
        }
        let had = machine.hosts.replace(needed.clone()).unwrap_or_default();
        let free: BTreeSet<_> = had.difference(&needed).cloned().collect();
        if !needed.is_empty() || !free.is_empty() {
            self.effects.add(Effect::Hosts { needed, free });
        }
    }

    /// These are about to be claimed.
    pub(super) fn expect_hosts(&mut self, hosts: &BTreeSet<String>) {
        let known = match &self.machine.baseline {
            Baseline::Kept(manifest) => manifest.named_hosts(),
            Baseline::Nothing | Baseline::Unreadable(_) => BTreeSet::new(),
        };
        self.machine.hosts.get_or_insert(known).extend(hosts.iter().cloned());
    }
}

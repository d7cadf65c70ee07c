//! The public hosts that a Stack has for itself.

use super::{Effect, State, Turn};
use crate::manifest::Manifest;
use std::collections::BTreeSet;

impl Turn<'_> {
    /// At rest the Stack needs the hosts of the settled release and no others. What an older hks, which claimed none, has deployed
    /// is claimed at the first rest.
    pub(super) fn keep_hosts(&mut self) {
        let machine = &mut *self.machine;
        if !matches!(machine.state, State::Resting(_)) || machine.record.attempt.is_some() {
            return;
        }
        if machine.is_unreadable() {
            return;
        }
        let needed = machine.baseline().map(Manifest::named_hosts).unwrap_or_default();
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
        let known = self.machine.baseline().map(Manifest::named_hosts).unwrap_or_default();
        self.machine.hosts.get_or_insert(known).extend(hosts.iter().cloned());
    }
}

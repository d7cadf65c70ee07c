//! What the shell does for a machine that has just been made from its record.

use super::sim::Sim;
use hks::ident::Revision;
use hks::machine::{Commit, Event};
use hks::record::{Deployment, Outcome};
use std::sync::Arc;

impl Sim {
    /// The newest commit is seen again.
    pub fn fetch(&mut self) {
        if let Some(commit) = self.head.clone() {
            self.recall(&commit.revision);
            self.take(Event::Commit(commit));
        }
        self.take(Event::Observed);
    }

    /// A deployment that a restart has interrupted goes on, before a newer commit is looked at.
    pub fn recall(&mut self, newest: &Revision) {
        let begun = self.machine.interrupted().filter(|revision| *revision != newest);
        if let Some(commit) = begun.and_then(|begun| self.pushed(begun)) {
            self.take(Event::Commit(commit));
        }
    }

    /// A commit as the repository has it.
    pub fn pushed(&self, revision: &Revision) -> Option<Commit> {
        self.pushed.iter().rev().find(|commit| commit.revision == *revision).cloned()
    }

    /// Who may write ConfigMaps says, while no daemon runs, that a commit was deployed, and how well.
    pub fn forge(&mut self, revision: &Revision) {
        let times = (self.now, self.now);
        let words = "everything is fine".into();
        self.saved.remember(Deployment::new(revision.clone(), times, Outcome::Succeeded, None, words));
        if let Some(release) = &mut self.saved.settled {
            Arc::make_mut(release).revision = revision.clone();
        }
        self.command("unsealed");
    }
}

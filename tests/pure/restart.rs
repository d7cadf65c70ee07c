//! What the shell does for a machine that has just been made from its record.

use super::sim::Sim;
use hks::ident::Revision;
use hks::machine::Event;

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
        let begun = self.machine.interrupted().filter(|revision| *revision != newest).cloned();
        let commit = begun.and_then(|begun| self.pushed.iter().rev().find(|commit| commit.revision == begun).cloned());
        if let Some(commit) = commit {
            self.take(Event::Commit(commit));
        }
    }
}

//! Events of a project, each with the Stack whose object it is about.

use super::super::slim::LONGEST_NAME;
use super::Store;
use crate::ident::{Kind, ObjectKey};
use crate::plan::Note;
use crate::shell::clock;
use k8s_openapi::api::core::v1::Event;
use std::sync::Arc;

/// Events kept for one Stack; each is about one object and repeated ones replace each other.
pub(super) const MAX_NOTES: usize = 100;
/// … and where the Stacks of a project have more than [`CROWD`] together.
pub(super) const FEW_NOTES: usize = 3;
/// Events of a project; with more, each Stack keeps fewer.
pub(super) const CROWD: usize = 5000;
/// Events kept about objects that were not seen yet, or are of nobody here.
pub(super) const MAX_STRAYS: usize = 500;
/// Bytes of an event's reason.
const MAX_REASON: usize = 128;
/// Bytes of an event's text; the API server bounds it only for the newer of its two kinds of events.
pub(super) const MAX_MESSAGE: usize = 2048;

impl Store {
    /// Shows a Stack the events about an object of it: they may have come before it.
    pub(super) fn show_about(&mut self, stack: &str, key: &ObjectKey) {
        for event in self.about.get(key).cloned().unwrap_or_default() {
            let Some(note) = self.notes.get(&event).cloned() else { continue };
            if self.strays.remove(&(note.at, event)) {
                self.show(stack, &note);
            }
        }
    }

    /// Takes a warning.
    pub(in super::super) fn note(&mut self, event: Event) {
        let Some(kind) = event.involved_object.kind.as_deref().and_then(Kind::named) else { return };
        let about = ObjectKey::new(kind, event.involved_object.name.unwrap_or_default());
        let name = event.metadata.name.unwrap_or_default();
        if about.name.len().max(name.len()) > LONGEST_NAME {
            return;
        }
        let series = event.series.unwrap_or_default();
        let micro = series.last_observed_time.or(event.event_time).map(|time| time.0);
        let at = event.last_timestamp.map(|time| time.0).or(micro);
        let cut = |mut text: String, most| {
            text.truncate(text.floor_char_boundary(most));
            text.shrink_to_fit();
            text
        };
        let note = Arc::new(Note {
            uid: cut(event.involved_object.uid.unwrap_or_default(), MAX_REASON),
            reason: cut(event.reason.unwrap_or_default(), MAX_REASON),
            message: cut(event.message.unwrap_or_default(), MAX_MESSAGE),
            at: at.unwrap_or_else(clock::now),
            count: series.count.or(event.count).unwrap_or(1),
            about: about.clone(),
        });
        self.forget(&name);
        self.notes.insert(name.clone(), Arc::clone(&note));
        self.about.entry(about.clone()).or_default().insert(name.clone());
        if let Some(stack) = self.owners.get(&about).filter(|stack| self.budget.hears(stack)).cloned() {
            self.show(&stack, &note);
        } else {
            self.strays.insert((note.at, name));
            self.tidy();
        }
    }

    /// An event is gone.
    pub(in super::super) fn forget(&mut self, name: &str) {
        let Some(note) = self.notes.remove(name) else { return };
        self.strays.remove(&(note.at, name.to_owned()));
        if let Some(names) = self.about.get_mut(&note.about) {
            names.remove(name);
            if names.is_empty() {
                self.about.remove(&note.about);
            }
        }
        let own = self.owners.get(&note.about).and_then(|stack| self.stacks.get_mut(stack));
        if let Some(own) = own {
            own.events.retain(|known| !Arc::ptr_eq(known, &note));
            own.show_events();
        }
    }

    /// Puts an event into the picture of a Stack, in the order of time.
    fn show(&mut self, stack: &str, note: &Arc<Note>) {
        let most = if self.notes.len() > CROWD { FEW_NOTES } else { MAX_NOTES };
        let Some(own) = self.stacks.get_mut(stack) else { return };
        let place = own.events.partition_point(|known| known.at <= note.at);
        own.events.insert(place, Arc::clone(note));
        let oldest: Vec<_> = own.events.iter().take(own.events.len().saturating_sub(most)).cloned().collect();
        own.show_events();
        own.tell();
        for oldest in oldest {
            let name = self.about.get(&oldest.about).and_then(|names| {
                let same = |name: &&String| self.notes.get(*name).is_some_and(|note| Arc::ptr_eq(note, &oldest));
                names.iter().find(same).cloned()
            });
            if let Some(name) = name {
                self.forget(&name);
            }
        }
    }

    pub(super) fn tidy(&mut self) {
        while self.strays.len() > MAX_STRAYS {
            let Some((_, name)) = self.strays.pop_first() else { return };
            self.forget(&name);
        }
    }

    /// Events that are shown in no picture any more.
    pub(super) fn make_stray(&mut self, notes: Vec<Arc<Note>>) {
        for note in notes {
            let names = self.about.get(&note.about).into_iter().flatten();
            self.strays.extend(names.filter_map(|name| Some((self.notes.get(name)?.at, name.clone()))));
        }
        self.tidy();
    }
}

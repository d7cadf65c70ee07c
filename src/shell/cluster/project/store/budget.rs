//! How much of a project is kept. Whoever may write in a project can label as many and as large objects as they like: of what
//! nobody here follows only that it is there is kept, and of what is followed as much as the project's budget allows. With more
//! nothing in the project is touched, for what is not seen is not gone.

use super::super::item::{Arrival, Item};
use super::{Own, Store};
use crate::config::ProjectBudget;
use crate::ident::{Kind, ObjectKey};
use crate::plan::Note;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An object that is followed has no more text than this: what hks makes of one file of 256 KiB has less.
const LARGEST: usize = 512 << 10;
/// … and what is kept of an object that nobody follows.
const SMALL: usize = 8 << 10;
/// The part of the budget that what nobody follows may take.
const SHARE: usize = 4;
/// Kinds of which it matters what they say, whoever's they are: for which Stacks a daemon has acted, and who has an address.
const TELLING: [Kind; 3] = [Kind::Lease, Kind::Ingress, Kind::HTTPRoute];
/// Stacks whose objects are listed together.
const TOGETHER: usize = 50;
/// Objects that are rather read one by one.
const FEW: usize = 20;

/// What is kept of a project, and of whom.
pub(super) struct Budget {
    pub(super) most: ProjectBudget,
    /// Stacks that are acted for, and by how many.
    followed: BTreeMap<Box<str>, usize>,
    /// Everybody is followed.
    all: bool,
    /// It is not known yet who is followed: at a start the lists come before the repositories.
    open: bool,
    /// Bytes of the text of what is followed, whether it is kept or not, and of what is kept besides.
    bytes: usize,
    beside: usize,
    /// Bytes of the lists that are not complete yet, and their objects.
    pub(super) listed: (usize, usize),
    /// Whether that was so when it was last looked at.
    fits: bool,
    /// Kinds of which there was so much that not even their names are kept.
    missed: BTreeSet<Kind>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            most: ProjectBudget::default(),
            followed: BTreeMap::new(),
            all: false,
            open: true,
            bytes: 0,
            beside: 0,
            listed: (0, 0),
            fits: true,
            missed: BTreeSet::new(),
        }
    }
}

impl Budget {
    pub(super) fn of(most: ProjectBudget) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn follows(&self, stack: &str) -> bool {
        self.all || self.followed.contains_key(stack)
    }

    /// Whether events about a Stack's objects are its own.
    pub(super) fn hears(&self, stack: &str) -> bool {
        self.open || self.follows(stack)
    }

    /// Whether the text of an object is kept, besides that many bytes.
    fn keeps(&self, kind: Kind, stack: &str, size: usize, besides: usize) -> bool {
        let (largest, most) = match (self.follows(stack), self.open) {
            (true, _) => (LARGEST, self.most.bytes()),
            (false, true) => (SMALL, self.most.bytes()),
            (false, false) if TELLING.contains(&kind) => (SMALL, self.most.bytes() / SHARE),
            (false, false) => return false,
        };
        size <= largest && besides.saturating_add(size) <= most
    }
}

/// What an item takes of the budget.
fn weight(item: &Item, followed: bool) -> usize {
    match followed {
        true if item.size <= LARGEST => item.size,
        false if !item.unread => item.size,
        _ => 0,
    }
}

/// What is to be read since it was not kept.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Unread {
    /// A few objects.
    Objects(Vec<ObjectKey>),
    /// All objects of a kind that some Stacks have.
    List(Kind, BTreeSet<Box<str>>),
    /// All objects of a kind.
    Kind(Kind),
}

impl Own {
    fn weight(&self, followed: bool) -> usize {
        self.items.values().map(|item| weight(item, followed)).sum()
    }

    /// Nobody follows it: gives up what it has, and the events about it.
    fn forsake(&mut self) -> Vec<Arc<Note>> {
        self.fold();
        self.folded = None;
        for (key, item) in &mut self.items {
            if key.kind != Kind::Lease || item.size > SMALL {
                (item.text, item.unread) = (None, true);
            }
        }
        std::mem::take(&mut self.events)
    }
}

impl Store {
    /// Takes an item into its Stack, with as much of it as is kept.
    pub(super) fn keep(&mut self, stack: &Arc<str>, key: &ObjectKey, item: &mut Item) {
        let followed = self.budget.follows(stack);
        let before = self.stacks.get(stack).and_then(|own| own.items.get(key)).map_or(0, |item| weight(item, followed));
        let sum = if followed { &mut self.budget.bytes } else { &mut self.budget.beside };
        *sum -= before;
        let besides = *sum;
        item.unread = !self.budget.keeps(key.kind, stack, item.size, besides);
        let sum = if followed { &mut self.budget.bytes } else { &mut self.budget.beside };
        *sum += weight(item, followed);
        if followed && item.unread && item.size <= LARGEST {
            self.left.notify_one();
        }
    }

    /// An item is gone.
    pub(super) fn weigh_out(&mut self, stack: &str, item: &Item) {
        let followed = self.budget.follows(stack);
        let sum = if followed { &mut self.budget.bytes } else { &mut self.budget.beside };
        *sum -= weight(item, followed);
    }

    /// Tells everybody when the project begins to be too much, and when it fits again.
    pub(super) fn balance(&mut self) {
        let fits = self.fits();
        if std::mem::replace(&mut self.budget.fits, fits) != fits {
            self.tell_all();
            self.left.notify_one();
        }
    }

    /// Whether there is room for one more object of which anything is kept; notes if not.
    pub(super) fn has_place(&mut self, kind: Kind, objects: usize) -> bool {
        // what is there should be known for longer than it is followed, so that it is known when it fits again
        let has = objects < self.budget.most.objects.saturating_mul(2);
        if !has {
            self.budget.missed.insert(kind);
        }
        has
    }

    /// Leaves out of an object on a list what won't be kept.
    pub(super) fn lighten(&self, key: &ObjectKey, arrival: &mut Arrival) {
        let stack = arrival.stack.as_deref().unwrap_or_default();
        if !self.budget.keeps(key.kind, stack, arrival.item.size, self.budget.listed.0) {
            (arrival.item.text, arrival.addresses) = (None, BTreeSet::new());
        }
    }

    /// Everybody is followed.
    pub(in super::super) fn follow_all(&mut self) {
        self.budget.all = true;
    }

    /// Somebody acts for a Stack: what of it was not kept is wanted.
    pub(in super::super) fn follow(&mut self, stack: &str) {
        let was_followed = self.budget.follows(stack);
        *self.budget.followed.entry(stack.into()).or_default() += 1;
        let Some(own) = self.stacks.get(stack).filter(|_| !was_followed) else { return };
        self.budget.beside -= own.weight(false);
        self.budget.bytes += own.weight(true);
        for key in own.items.keys().cloned().collect::<Vec<_>>() {
            self.show_about(stack, &key);
        }
        self.balance();
        self.left.notify_one();
    }

    /// Somebody acts no longer for a Stack.
    pub(in super::super) fn unfollow(&mut self, stack: &str) {
        let Some(times) = self.budget.followed.get_mut(stack) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        self.budget.followed.remove(stack);
        let Some(own) = self.stacks.get_mut(stack).filter(|_| !self.budget.all) else { return };
        self.budget.bytes -= own.weight(true);
        let notes = own.forsake();
        self.budget.beside += own.weight(false);
        self.make_stray(notes);
        self.balance();
    }

    /// By now it is known who is followed: what the others have is not kept any longer.
    pub(in super::super) fn dismiss(&mut self) {
        self.budget.open = false;
        let (mut notes, mut given_up) = (vec![], 0);
        for (_, own) in self.stacks.iter_mut().filter(|(stack, _)| !self.budget.follows(stack)) {
            given_up += own.weight(false);
            notes.append(&mut own.forsake());
            given_up -= own.weight(false);
        }
        self.budget.beside -= given_up;
        self.make_stray(notes);
    }

    /// Why not all of a project, or of a Stack, is seen.
    pub(in super::super) fn excess(&self, stack: &str) -> Option<String> {
        let hint = "delete what nobody needs, or raise projectBudget";
        let most = self.budget.most;
        let objects = self.owners.len();
        if objects > most.objects || !self.budget.missed.is_empty() {
            return Some(format!(
                "the project has {}{objects} objects with the label of hks, and {} are followed at most; {hint}",
                if self.budget.missed.is_empty() { "" } else { "more than " },
                most.objects
            ));
        }
        if self.budget.bytes > most.bytes() {
            return Some(format!(
                "the objects of the project's Stacks have {} MiB, and {} are followed at most; {hint}",
                self.budget.bytes.div_ceil(1 << 20),
                most.mebibytes
            ));
        }
        let (key, item) = self.stacks.get(stack)?.items.iter().find(|(_, item)| item.unread)?;
        Some(if item.size > LARGEST {
            let (size, most) = (item.size >> 10, LARGEST >> 10);
            format!("{key} has {size} KiB, and an object is followed up to {most}; make it smaller or delete it")
        } else {
            "looking at what is deployed".into()
        })
    }

    fn fits(&self) -> bool {
        self.owners.len() <= self.budget.most.objects && self.budget.bytes <= self.budget.most.bytes()
    }

    /// What of those that are followed was not kept and may be read now.
    pub(in super::super) fn unread(&self) -> Option<Unread> {
        if !self.fits() {
            return None;
        }
        if let Some(kind) = self.budget.missed.first() {
            return Some(Unread::Kind(*kind));
        }
        let of_kind = |own: &Own, kind: Option<Kind>| {
            let wanted = |(key, item): &(&ObjectKey, &Item)| {
                item.unread && item.size <= LARGEST && kind.is_none_or(|kind| kind == key.kind)
            };
            own.items.iter().filter(wanted).map(|(key, _)| key.clone()).collect::<Vec<_>>()
        };
        let followed = || self.stacks.iter().filter(|(stack, _)| self.budget.follows(stack));
        let few: Vec<_> = followed().flat_map(|(_, own)| of_kind(own, None)).take(FEW + 1).collect();
        if few.len() <= FEW {
            return (!few.is_empty()).then_some(Unread::Objects(few));
        }
        let kind = few.first()?.kind;
        let of_it = followed().filter(|(_, own)| !of_kind(own, Some(kind)).is_empty());
        Some(Unread::List(kind, of_it.map(|(stack, _)| Box::from(&**stack)).take(TOGETHER).collect()))
    }

    /// Takes an object that was not kept and has been read.
    pub(in super::super) fn read(&mut self, key: &ObjectKey, object: serde_json::Value) {
        let arrival = Arrival::of(key.kind, &object);
        let wanted = match self.item(key) {
            Some(known) => known.unread && known.uid == arrival.item.uid && known.version <= arrival.item.version,
            None => self.budget.missed.contains(&key.kind),
        };
        if wanted {
            self.put(key, arrival, Some(object));
        }
    }

    /// A kind of which something was missed was read as a whole.
    pub(in super::super) fn caught_up(&mut self, kind: Kind) {
        self.budget.missed.remove(&kind);
        self.tell_all();
    }

    /// Whether there was more of a kind than is known.
    pub(super) fn has_missed(&self, kind: Kind) -> bool {
        self.budget.missed.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::StackName;
    use crate::manifest::STACK_LABEL;
    use serde_json::{Value, json};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Deployment, name)
    }

    fn object(stack: &str, name: &str, length: usize) -> Value {
        let labels = json!({ STACK_LABEL: stack });
        let metadata = json!({ "name": name, "uid": name, "resourceVersion": length.to_string(), "labels": labels });
        json!({ "metadata": metadata, "spec": "x".repeat(length) })
    }

    fn small() -> Store {
        Store::within(ProjectBudget { objects: 10, mebibytes: 1 })
    }

    /// Bytes of text that a store has.
    fn kept(store: &Store) -> usize {
        let items = store.stacks.values().flat_map(|own| own.items.values());
        items.filter_map(|item| item.text.as_ref()).map(|text| text.len()).sum()
    }

    fn see(store: &mut Store, stack: &str, name: &str, length: usize) {
        store.seen(&key(name), object(stack, name, length));
    }

    #[test]
    fn of_what_nobody_follows_hardly_anything_is_kept() {
        let mut store = Store::default();
        for number in 0..80 {
            see(&mut store, "theirs", &format!("d{number}"), 800 << 10);
        }
        see(&mut store, "early", "small", 100);
        assert_eq!(
            (store.owners.len(), kept(&store) > 0, store.excess("mine")),
            (81, true, None),
            "who comes is not known"
        );
        store.dismiss();
        assert_eq!((store.owners.len(), kept(&store)), (81, 0));
        see(&mut store, "theirs", "late", 100);
        let lease = ObjectKey::new(Kind::Lease, "hks-theirs");
        store.seen(&lease, object("theirs", "hks-theirs", 100));
        assert_eq!(store.get(&lease).map(|lease| lease["metadata"]["uid"].clone()), Some("hks-theirs".into()));
        assert!(store.get(&key("late")).is_none() && store.owner(&key("late")) == Some("theirs"));
        assert_eq!(store.keys(Kind::Deployment).len(), 82);
        store.remove(&key("late"));
        assert!(store.owner(&key("late")).is_none());
    }

    #[test]
    fn who_is_followed_later_is_read_then() {
        let mut store = Store::default();
        store.dismiss();
        let mine = StackName::new("mine").unwrap();
        for name in ["a", "b", "c"] {
            see(&mut store, "mine", name, 100);
        }
        let mut changes = store.subscribe(&mine);
        assert_eq!(store.unread(), None, "nobody wants it");
        store.follow("mine");
        assert!(changes.has_changed().unwrap() || store.excess("mine").is_some());
        assert_eq!(store.unread(), Some(Unread::Objects(vec![key("a"), key("b"), key("c")])));
        assert_eq!(store.excess("mine").as_deref(), Some("looking at what is deployed"));
        // meanwhile one changes, one goes, and one is another than it was
        see(&mut store, "mine", "a", 200);
        store.remove(&key("b"));
        changes.mark_unchanged();
        store.read(&key("a"), object("mine", "a", 100));
        store.read(&key("b"), object("mine", "b", 100));
        let mut other = object("mine", "c", 100);
        other["metadata"]["uid"] = "other".into();
        store.read(&key("c"), other);
        assert!(store.excess("mine").is_some() && !changes.has_changed().unwrap());
        store.read(&key("c"), object("mine", "c", 100));
        assert!(changes.has_changed().unwrap() && store.excess("mine").is_none() && store.unread().is_none());
        let live = store.live("mine");
        assert_eq!(live.objects.len(), 2);
        assert_eq!(live.objects[&key("a")]["spec"].as_str().map(str::len), Some(200), "what the watch says is newer");
        // two act for it, and then nobody
        store.follow("mine");
        store.unfollow("mine");
        assert_eq!(store.live("mine").objects.len(), 2);
        store.unfollow("mine");
        assert_eq!((kept(&store), store.budget.bytes, store.budget.beside), (0, 0, 0));
    }

    #[test]
    fn many_are_read_by_lists() {
        let mut store = Store::default();
        store.dismiss();
        for number in 0..100 {
            let stack = format!("s{number:02}");
            see(&mut store, &stack, &stack, 10);
            store.follow(&stack);
        }
        let Some(Unread::List(Kind::Deployment, stacks)) = store.unread() else { panic!("{:?}", store.unread()) };
        assert_eq!((stacks.len(), stacks.first().map(|stack| &**stack)), (50, Some("s00")));
    }

    #[test]
    fn with_more_than_its_budget_a_project_is_told_and_goes_on_when_it_fits() {
        let mut store = small();
        let [mut mine, mut other] = ["mine", "other"].map(|name| store.subscribe(&StackName::new(name).unwrap()));
        store.follow("mine");
        store.follow("other");
        for name in ["a", "b", "c", "d"] {
            see(&mut store, "mine", name, 200 << 10);
        }
        assert_eq!((store.excess("mine"), store.live("mine").objects.len()), (None, 4));
        mine.mark_unchanged();
        other.mark_unchanged();
        see(&mut store, "mine", "e", 300 << 10);
        assert!(mine.has_changed().unwrap() && other.has_changed().unwrap(), "everybody hears of it");
        let words = "the objects of the project's Stacks have 2 MiB, and 1 are followed at most; delete what nobody needs, or \
                     raise projectBudget";
        assert_eq!((store.excess("mine").as_deref(), store.excess("other").as_deref()), (Some(words), Some(words)));
        assert!(store.unread().is_none(), "there is no room for it");
        // what was seen and has grown stays in the picture as it was
        see(&mut store, "mine", "a", 400 << 10);
        assert_eq!(store.live("mine").objects[&key("a")]["spec"].as_str().map(str::len), Some(200 << 10));
        other.mark_unchanged();
        for name in ["b", "c", "d"] {
            store.remove(&key(name));
        }
        assert!(other.has_changed().unwrap());
        assert_eq!(store.unread(), Some(Unread::Objects(vec![key("a"), key("e")])));
        store.read(&key("a"), object("mine", "a", 400 << 10));
        store.read(&key("e"), object("mine", "e", 300 << 10));
        assert_eq!((store.excess("mine"), store.live("mine").objects.len()), (None, 2));
    }

    #[test]
    fn too_large_an_object_stops_its_own_stack() {
        let mut store = Store::default();
        store.follow("mine");
        store.follow("other");
        see(&mut store, "mine", "web", 600 << 10);
        let words = "Deployment/web has 600 KiB, and an object is followed up to 512; make it smaller or delete it";
        assert_eq!(store.excess("mine").as_deref(), Some(words));
        assert!(store.excess("other").is_none() && store.unread().is_none());
        see(&mut store, "mine", "web", 10);
        assert!(store.excess("mine").is_none() && store.live("mine").objects.len() == 1);
    }

    #[test]
    fn too_many_objects_are_counted_and_listed_again() {
        let mut store = small();
        store.follow("mine");
        see(&mut store, "mine", "web", 10);
        store.begin(Kind::Deployment);
        for number in 0..100 {
            let value = object("theirs", &format!("d{number}"), 10);
            store.arrive(key(&format!("d{number}")), Arrival::text(Kind::Deployment, &value));
        }
        store.complete(Kind::Deployment);
        let text = store.excess("mine").unwrap();
        assert!(text.starts_with("the project has more than 20 objects with the label of hks, and 10 are"), "{text}");
        assert_eq!((store.owners.len(), store.budget.listed), (20, (0, 0)));
        assert!(store.owner(&key("web")).is_some(), "what there was no room for on the list is not gone");
        for number in 0..100 {
            store.remove(&key(&format!("d{number}")));
        }
        assert_eq!(store.unread(), Some(Unread::Kind(Kind::Deployment)));
        store.read(&key("new"), object("mine", "new", 10));
        store.caught_up(Kind::Deployment);
        assert!(store.excess("mine").is_none() && store.live("mine").objects.len() == 2);
    }

    #[test]
    fn a_list_is_kept_within_the_budget_before_it_is_complete() {
        let mut store = small();
        store.follow("mine");
        store.begin(Kind::Deployment);
        for number in 0..10 {
            let value = object("mine", &format!("d{number}"), 300 << 10);
            store.arrive(key(&format!("d{number}")), Arrival::text(Kind::Deployment, &value));
        }
        assert!(store.budget.listed.0 <= 1 << 20);
        store.complete(Kind::Deployment);
        assert!(kept(&store) <= 1 << 20 && store.excess("mine").is_some() && store.owners.len() == 10);
    }
}

//! What the watches of a project have seen, by Stack: a look at one Stack costs what that Stack has, whatever else the
//! project holds.

mod budget;
mod notes;

pub(super) use budget::Unread;

use super::addresses::{Address, Addresses};
use super::hidden::{Hidden, Prepared};
use super::item::{Arrival, Folded, Item, text};
use super::limits::Limits;
use super::{Seen, Topic};
use crate::config::ProjectBudget;
use crate::ident::{Kind, ObjectKey, StackName};
use crate::plan::{Live, Note};
use crate::shell::cluster::redactor::Values;
use budget::Budget;
use jiff::Timestamp;
use kube::runtime::watcher;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long a Stack that is about to make an object keeps its name from others; then the object is there to be seen.
const CLAIM: Duration = Duration::from_mins(1);
/// How long a claim stands for a look at the cluster that was made with it.
const LOOKED: Duration = Duration::from_secs(5);
/// How long an own write counts as newer than a list that does not have it: a list may have been on its way.
const ECHO: Duration = Duration::from_secs(30);

/// Objects and events of a project.
#[derive(Default)]
pub(super) struct Store {
    stacks: BTreeMap<Arc<str>, Own>,
    /// Whose each object is.
    owners: BTreeMap<ObjectKey, Arc<str>>,
    /// Which of them answers for which public address.
    addresses: Addresses,
    /// Events by their names: about what, and the event. Those about an object of a Stack are in its picture as well.
    notes: BTreeMap<String, Arc<Note>>,
    /// Names of the events about each object.
    about: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// Events about objects that are of no Stack here, oldest first.
    strays: BTreeSet<(Timestamp, String)>,
    /// Lists that are not complete yet.
    listing: BTreeMap<Kind, BTreeMap<ObjectKey, Arrival>>,
    /// Quotas and limit ranges.
    all_limits: BTreeMap<Topic, Limits>,
    /// Objects as this daemon wrote them, until the watch says the same.
    written: BTreeMap<ObjectKey, Instant>,
    /// Who is about to make an object.
    claims: BTreeMap<ObjectKey, (StackName, Instant)>,
    /// When a quota or limit range was last changed.
    limits: Option<Timestamp>,
    /// How much is kept.
    budget: Budget,
    /// Something is wanted that was not kept, or there is room for it now.
    pub(super) left: Arc<Notify>,
    /// Secrets of others, and how many Stacks take each.
    takers: BTreeMap<String, usize>,
    /// What is known of them: when a value was last changed, `None` where it is not there.
    taken: BTreeMap<String, Option<Timestamp>>,
    /// What no word of the project may hold.
    hidden: Hidden,
}

/// What a Stack learns that wants to make an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody here has it; that it is not in the cluster either was seen a moment ago.
    Looked,
    /// Nobody here has it.
    Free,
    /// Another Stack has it, or is about to.
    Taken(String),
}

/// One Stack.
#[derive(Default)]
struct Own {
    items: BTreeMap<ObjectKey, Item>,
    /// Those of them that have no text, while there is no picture.
    folded: Option<Folded>,
    /// Warnings about them, oldest first.
    events: Vec<Arc<Note>>,
    /// Secrets of others that it takes.
    takes: Arc<BTreeSet<String>>,
    /// Something of it was seen since its words were last cleaned.
    is_new: bool,
    /// The picture, while somebody looks at it.
    live: Option<Arc<Live>>,
    /// What its Secrets are found by in words, while somebody looks at it.
    prepared: Option<Prepared>,
    changes: watch::Sender<u64>,
}

impl Store {
    /// With room for so much.
    pub(super) fn within(most: ProjectBudget) -> Self {
        Self { budget: Budget::of(most), ..Self::default() }
    }

    /// The picture of one Stack.
    pub(super) fn live(&mut self, stack: &str) -> Arc<Live> {
        let Some(own) = self.stacks.get_mut(stack) else { return Arc::default() };
        let (takes, secrets) = (own.takes.clone(), own.secrets());
        // of what is opened again the events were kept as they came
        let is_new = std::mem::take(&mut own.is_new) || own.live.is_none();
        let mut prepared = own.prepared.take();
        let live = own.open();
        if is_new {
            self.hidden.clean_picture(Arc::make_mut(live), secrets, &mut prepared);
        }
        if live.limits != self.limits {
            Arc::make_mut(live).limits = self.limits;
        }
        let known = |name: &String| Some((name.clone(), *self.taken.get(name)?));
        let taken: BTreeMap<_, _> = takes.iter().filter_map(known).collect();
        if live.taken != taken {
            Arc::make_mut(live).taken = taken;
        }
        let live = Arc::clone(live);
        own.prepared = prepared;
        live
    }

    /// Nobody looks at a Stack for the moment.
    pub(super) fn fold(&mut self, stack: &str) {
        if let Some(own) = self.stacks.get_mut(stack) {
            own.fold();
        }
    }

    /// Changes whenever something of the Stack does.
    pub(super) fn subscribe(&mut self, stack: &StackName) -> watch::Receiver<u64> {
        self.own(stack.as_str()).1.changes.subscribe()
    }

    /// One object, as last seen.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<Value>> {
        let own = self.stacks.get(self.owners.get(key)?)?;
        match &own.live {
            Some(live) => live.objects.get(key).cloned(),
            None => own.closed(key).map(Arc::new),
        }
    }

    /// The Stack that an object without a Stack's label was of a moment ago: somebody has taken the label away, and it is the
    /// same object.
    fn still_owned(&self, key: &ObjectKey, item: &Item) -> Option<Box<str>> {
        self.item(key).filter(|known| known.uid == item.uid)?;
        self.owners.get(key).map(|owner| Box::from(&**owner))
    }

    /// Whose an object is.
    pub(super) fn owner(&self, key: &ObjectKey) -> Option<&str> {
        self.owners.get(key).map(|owner| &**owner)
    }

    /// Another Stack that answers for a public address.
    pub(super) fn other_at(&self, address: &Address, stack: &str) -> Option<&str> {
        self.addresses.at(address).filter_map(|key| self.owner(key)).find(|owner| *owner != stack)
    }

    /// Whether another Stack answers for a host.
    pub(super) fn others_at(&self, host: &str, stack: &str) -> bool {
        self.addresses.on(host).filter_map(|key| self.owner(key)).any(|owner| owner != stack)
    }

    fn item(&self, key: &ObjectKey) -> Option<&Item> {
        self.stacks.get(self.owners.get(key)?)?.items.get(key)
    }

    /// The names of all objects of a kind.
    pub(super) fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        self.owners.keys().filter(|key| key.kind == kind).cloned().collect()
    }

    /// The Stacks of which there is a workload or a volume.
    pub(super) fn stacks(&self) -> BTreeSet<StackName> {
        let owners = self.owners.iter().filter(|(key, _)| super::TELLING.contains(&key.kind));
        owners.filter_map(|(_, stack)| StackName::new(&**stack)).collect()
    }

    /// Claims a name for a Stack: of two Stacks of this daemon that want the same one, only the first gets it.
    pub(super) fn claim(&mut self, stack: &StackName, key: &ObjectKey) -> Claim {
        if let Some(owner) = self.owners.get(key).filter(|owner| ***owner != *stack.as_str()) {
            return Claim::Taken(owner.to_string());
        }
        match self.claims.get(key) {
            Some((other, at)) if other != stack && at.elapsed() < CLAIM => Claim::Taken(other.to_string()),
            Some((own, at)) if own == stack && at.elapsed() < LOOKED => Claim::Looked,
            _ => {
                self.claims.retain(|_, (_, at)| at.elapsed() < CLAIM);
                self.claims.insert(key.clone(), (stack.clone(), Instant::now()));
                Claim::Free
            }
        }
    }

    /// Takes a claim back.
    pub(super) fn unclaim(&mut self, key: &ObjectKey) {
        self.claims.remove(key);
    }

    /// Takes what a watch says: it tells all changes in their order, so only an own write may be newer.
    pub(super) fn seen(&mut self, key: &ObjectKey, object: Value) {
        self.take(key, Arrival::of(key.kind, &object), Some(object));
    }

    fn take(&mut self, key: &ObjectKey, arrival: Arrival, object: Option<Value>) {
        let item = &arrival.item;
        if let Some(known) = self.item(key).filter(|known| known.uid == item.uid) {
            match known.version.cmp(&item.version) {
                Ordering::Greater if self.written.contains_key(key) => return,
                Ordering::Equal => {
                    self.written.remove(key);
                    return;
                }
                _ => {}
            }
        }
        self.written.remove(key);
        self.put(key, arrival, object);
    }

    /// Takes what a write returned: the watch will bring it later, and until then the picture would be old. Versions of one
    /// kind are ordered (KEP-5504).
    pub(super) fn learn(&mut self, key: &ObjectKey, object: Value) {
        let arrival = Arrival::of(key.kind, &object);
        let item = &arrival.item;
        let newer = self.item(key).is_none_or(|known| known.uid != item.uid || known.version < item.version);
        if newer {
            self.written.insert(key.clone(), Instant::now());
            self.put(key, arrival, Some(object));
        }
    }

    /// Takes an object as it was read from the cluster. The store of a busy vCluster may have told a version of an own write that is
    /// none, and later than the one that the watch has brought since.
    pub(super) fn correct(&mut self, key: &ObjectKey, object: Value) {
        self.written.remove(key);
        self.seen(key, object);
    }

    /// Takes an object of a Stack that says itself that it is nobody's.
    pub(super) fn found(&mut self, stack: &StackName, key: &ObjectKey, object: Value) {
        if self.owner(key).is_none() {
            let arrival = Arrival { stack: Some(stack.as_str().into()), ..Arrival::of(key.kind, &object) };
            self.put(key, arrival, Some(object));
        }
    }

    /// A new list of `kind` begins.
    pub(super) fn begin(&mut self, kind: Kind) {
        if kind == Kind::Secret {
            self.hidden.begin();
        }
        let begun = self.listing.insert(kind, BTreeMap::new()).unwrap_or_default();
        self.unlist(&begun);
    }

    /// An object of the list that has begun.
    pub(super) fn arrive(&mut self, key: ObjectKey, mut arrival: Arrival) {
        if !self.has_place(key.kind, self.budget.listed.1) {
            return;
        }
        self.lighten(&key, &mut arrival);
        self.budget.listed.0 += arrival.item.text.as_ref().map_or(0, |text| text.len());
        self.budget.listed.1 += 1;
        self.listing.entry(key.kind).or_default().insert(key, arrival);
    }

    /// The list is complete.
    pub(super) fn complete(&mut self, kind: Kind) {
        let listed = self.listing.remove(&kind).unwrap_or_default();
        self.unlist(&listed);
        self.replace(kind, listed);
        if kind == Kind::Secret {
            let is_owned = |name: &str| self.owners.contains_key(&ObjectKey::new(kind, name));
            self.hidden.retain(|name| is_owned(name) || self.takers.contains_key(name));
        }
    }

    fn unlist(&mut self, list: &BTreeMap<ObjectKey, Arrival>) {
        self.budget.listed.1 -= list.len();
        self.budget.listed.0 -=
            list.values().filter_map(|arrival| arrival.item.text.as_ref()).map(|text| text.len()).sum::<usize>();
    }

    /// A new full list of `kind`: what is not in it is gone, and what is in it counts even if it is older than what was seen,
    /// for the store of an API server may have been put back to yesterday. Only an own write may be newer than the list.
    fn replace(&mut self, kind: Kind, listed: BTreeMap<ObjectKey, Arrival>) {
        self.written.retain(|_, at| at.elapsed() < ECHO);
        let gone = self.owners.keys().filter(|key| key.kind == kind && !listed.contains_key(*key));
        let gone: Vec<_> = gone.filter(|key| !self.written.contains_key(*key)).cloned().collect();
        // what there was no room for may well be there
        let missed = self.has_missed(kind);
        for key in gone.iter().filter(|_| !missed) {
            self.remove(key);
        }
        for (key, arrival) in listed {
            self.take(&key, arrival, None);
        }
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.written.remove(key);
        self.addresses.remove(key);
        let Some(stack) = self.owners.remove(key) else { return };
        let Some(own) = self.stacks.get_mut(&stack) else { return };
        let item = own.items.remove(key);
        own.events.retain(|note| note.about != *key);
        if let Some(live) = &mut own.live {
            Arc::make_mut(live).objects.remove(key);
        }
        own.show_events();
        own.tell();
        if own.items.is_empty() && own.changes.receiver_count() == 0 {
            self.stacks.remove(&stack);
        }
        if let Some(item) = item {
            self.weigh_out(&stack, &item);
        }
        for name in self.about.get(key).into_iter().flatten() {
            if let Some(note) = self.notes.get(name) {
                self.strays.insert((note.at, name.clone()));
            }
        }
        self.tidy();
        self.balance();
    }

    /// `object` is the item as a value, unless the item has it as text.
    fn put(&mut self, key: &ObjectKey, arrival: Arrival, object: Option<Value>) {
        let Arrival { stack, addresses, mut item } = arrival;
        let Some(stack) = stack.or_else(|| self.still_owned(key, &item)) else { return self.remove(key) };
        if self.owners.get(key).is_some_and(|owner| **owner != *stack) {
            self.remove(key);
        }
        let new = !self.owners.contains_key(key);
        if new && !self.has_place(key.kind, self.owners.len()) {
            return;
        }
        let name = self.own(&stack).0;
        self.keep(&name, key, &mut item);
        self.addresses.put(key, if item.unread { BTreeSet::new() } else { addresses });
        let (name, own) = self.own(&stack);
        if item.unread {
            // what was seen before stays in the picture: what can't be seen is not gone
            item.text = None;
        } else if let Some(live) = &mut own.live {
            let object = object.or_else(|| item.value()).unwrap_or_default();
            Arc::make_mut(live).objects.insert(key.clone(), Arc::new(object));
            item.text = None;
        } else if item.text.is_none() {
            item.text = object.as_ref().and_then(text);
        }
        own.items.insert(key.clone(), item);
        own.is_new = true;
        own.tell();
        if new {
            self.owners.insert(key.clone(), name);
            if self.budget.hears(&stack) {
                self.show_about(&stack, key);
            }
        }
        self.balance();
    }

    fn own(&mut self, stack: &str) -> (Arc<str>, &mut Own) {
        let name = self.stacks.get_key_value(stack).map_or_else(|| stack.into(), |(name, _)| Arc::clone(name));
        let own = self.stacks.entry(Arc::clone(&name)).or_default();
        (name, own)
    }

    /// Takes what a watch says of quotas or limit ranges.
    pub(super) fn hear_of_limits(&mut self, topic: Topic, event: watcher::Event<Seen>, now: Timestamp) {
        let changed = self.all_limits.entry(topic).or_default().hear(event, now);
        if let Some(at) = changed
            && self.limits.is_none_or(|known| known < at)
        {
            self.limits = Some(at);
            self.tell_all();
        }
    }

    /// Says which Secrets of others a Stack takes; whether they are others than before.
    pub(super) fn take_beside(&mut self, stack: &str, names: BTreeSet<String>) -> bool {
        if names.is_empty() && !self.stacks.contains_key(stack) {
            return false;
        }
        let names = Arc::new(names);
        let (_, own) = self.own(stack);
        let before = std::mem::replace(&mut own.takes, Arc::clone(&names));
        if before == names {
            return false;
        }
        for name in names.difference(&before) {
            *self.takers.entry(name.clone()).or_default() += 1;
        }
        for name in before.difference(&names) {
            *self.takers.entry(name.clone()).or_default() -= 1;
        }
        self.takers.retain(|_, takers| *takers > 0);
        self.taken.retain(|name, _| self.takers.contains_key(name));
        true
    }

    /// Secrets of others that are taken.
    pub(super) fn taken(&self) -> Vec<String> {
        self.takers.keys().cloned().collect()
    }

    /// The values of a Secret are known.
    pub(super) fn hide(&mut self, secret: &str, stack: Option<&str>, values: Values) {
        if self.hidden.learn(secret, values) {
            for (name, own) in &mut self.stacks {
                if stack == Some(&**name) || own.takes.contains(secret) {
                    own.is_new = true;
                    own.tell();
                }
            }
        }
    }

    /// A Secret is gone.
    pub(super) fn unhide(&mut self, secret: &str) {
        self.hidden.forget(secret);
    }

    /// Words about a Stack without what no word may hold; nothing if that is not known.
    pub(super) fn clean(&mut self, stack: &str, text: &str) -> Option<String> {
        let Some(own) = self.stacks.get_mut(stack) else {
            return self.hidden.clean(BTreeSet::new(), &mut None, text);
        };
        // one that is not there has no value
        let is_known = |name: &String| self.hidden.knows(name) || self.taken.get(name) == Some(&None);
        if !own.takes.iter().all(is_known) {
            return None;
        }
        self.hidden.clean(own.secrets(), &mut own.prepared, text)
    }

    /// A Secret of somebody else's was seen: when a value of it was changed, `None` if it is gone.
    pub(super) fn seen_beside(&mut self, name: &str, at: Option<Timestamp>) {
        if !self.takers.contains_key(name) || self.taken.get(name) == Some(&at) {
            return;
        }
        self.taken.insert(name.to_owned(), at);
        self.stacks.values().filter(|own| own.takes.contains(name)).for_each(Own::tell);
    }

    /// What can't be seen, and a limit, concerns every Stack.
    pub(super) fn tell_all(&self) {
        self.stacks.values().for_each(Own::tell);
    }
}

impl Own {
    /// The names of its Secrets, and of those of others that it takes.
    fn secrets(&self) -> BTreeSet<String> {
        let own = self.items.keys().filter(|key| key.kind == Kind::Secret).map(|key| key.name.clone());
        own.chain(self.takes.iter().cloned()).collect()
    }

    /// The picture, from the text if need be.
    fn open(&mut self) -> &mut Arc<Live> {
        let (items, folded, events) = (&mut self.items, &mut self.folded, &self.events);
        self.live.get_or_insert_with(|| {
            let mut folded = folded.take().map(|folded| folded.open()).unwrap_or_default();
            let mut objects = BTreeMap::new();
            for (key, item) in items {
                let value = item.value().or_else(|| folded.remove(key));
                if value.is_some() || !item.unread {
                    objects.insert(key.clone(), Arc::new(value.unwrap_or_default()));
                }
                item.text = None;
            }
            Arc::new(Live { objects, events: events.clone(), ..Live::default() })
        })
    }

    fn fold(&mut self) {
        self.prepared = None;
        let Some(live) = self.live.take() else { return };
        self.folded = Folded::of(&live.objects);
        for (key, item) in &mut self.items {
            if self.folded.is_none() || Folded::leaves_out(key.kind) {
                item.text = live.objects.get(key).and_then(|object| text(object));
            }
        }
    }

    /// An object, while there is no picture.
    fn closed(&self, key: &ObjectKey) -> Option<Value> {
        self.items.get(key)?.value().or_else(|| self.folded.as_ref()?.open().remove(key))
    }

    fn show_events(&mut self) {
        self.is_new = true;
        if let Some(live) = &mut self.live {
            Arc::make_mut(live).events.clone_from(&self.events);
        }
    }

    fn tell(&self) {
        self.changes.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::notes::{CROWD, FEW_NOTES, MAX_MESSAGE, MAX_NOTES, MAX_STRAYS};
    use super::*;
    use crate::manifest::STACK_LABEL;
    use k8s_openapi::api::core::v1::Event;
    use serde_json::json;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Pod, name)
    }

    fn pod(stack: &str, name: &str, uid: &str, version: u64) -> Value {
        let labels = json!({ STACK_LABEL: stack });
        json!({ "metadata": { "name": name, "uid": uid, "resourceVersion": version.to_string(), "labels": labels } })
    }

    #[test]
    fn who_loses_a_label_is_still_there() {
        let mut store = Store::default();
        store.seen(&key("web-0"), pod("web", "web-0", "a", 1));
        let mut bare = pod("web", "web-0", "a", 2);
        bare["metadata"]["labels"] = json!({});
        store.seen(&key("web-0"), bare.clone());
        assert_eq!(store.live("web").objects[&key("web-0")]["metadata"]["resourceVersion"], "2");
        // another object of that name is somebody else's, and so is what another Stack claims
        bare["metadata"]["uid"] = json!("b");
        store.seen(&key("web-0"), bare);
        assert!(store.live("web").objects.is_empty());
        store.seen(&key("web-0"), pod("web", "web-0", "c", 4));
        store.seen(&key("web-0"), pod("api", "web-0", "c", 5));
        assert!(store.live("web").objects.is_empty() && store.live("api").objects.len() == 1);
    }

    #[test]
    fn a_stack_hides_its_own_secrets_and_those_that_it_takes() {
        let mut store = Store::default();
        let values = |text: &str| {
            Values::of(&[("password".to_owned(), k8s_openapi::ByteString(text.as_bytes().to_vec()))].into())
        };
        for (stack, name) in [("web", "own"), ("api", "elsewhere")] {
            store.seen(&ObjectKey::new(Kind::Secret, name), pod(stack, name, name, 1));
            store.hide(name, Some(stack), values(&format!("of-{name}")));
        }
        store.take_beside("web", ["theirs".to_owned()].into());
        let said = "of-own of-elsewhere of-theirs";
        assert_eq!(store.clean("web", said), None, "it is not known yet what it takes");
        store.hide("theirs", None, values("of-theirs"));
        assert_eq!(store.clean("web", said).as_deref(), Some("*** of-elsewhere ***"));
        assert_eq!(store.clean("api", said).as_deref(), Some("of-own *** of-theirs"));
    }

    fn event(name: &str, about: &str, second: i64) -> Event {
        let mut event = Event::default();
        event.metadata.name = Some(name.into());
        event.involved_object.kind = Some("Pod".into());
        event.involved_object.name = Some(about.into());
        let at = Timestamp::from_second(second).unwrap();
        event.last_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        event.message = Some("x".repeat(5000));
        event
    }

    fn versions(store: &mut Store, stack: &str) -> Vec<u64> {
        store.live(stack).objects.values().map(|object| Arrival::of(Kind::Pod, object).item.version).collect()
    }

    #[test]
    fn a_stack_sees_its_own_and_hears_of_it_alone() {
        let mut store = Store::default();
        let [mut a, mut b] = ["a", "b"].map(|name| store.subscribe(&StackName::new(name).unwrap()));
        store.seen(&key("a-1"), pod("a", "a-1", "u", 1));
        assert!(a.has_changed().unwrap() && !b.has_changed().unwrap());
        a.mark_unchanged();
        store.seen(&key("b-1"), pod("b", "b-1", "v", 2));
        assert!(!a.has_changed().unwrap() && b.has_changed().unwrap());
        b.mark_unchanged();
        store.seen(&key("b-1"), pod("b", "b-1", "v", 2));
        assert!(!b.has_changed().unwrap(), "nothing is new");
        assert_eq!(versions(&mut store, "a"), [1]);
        // an object that changes hands leaves one picture for the other
        store.seen(&key("a-1"), pod("b", "a-1", "u", 3));
        assert_eq!((versions(&mut store, "a").len(), versions(&mut store, "b").len()), (0, 2));
        assert!(a.has_changed().unwrap() && b.has_changed().unwrap());
        store.remove(&key("b-1"));
        assert_eq!(versions(&mut store, "b"), [3]);
    }

    #[test]
    fn who_rests_is_kept_as_text() {
        let mut store = Store::default();
        store.seen(&key("p"), pod("a", "p", "u", 1));
        store.note(event("e", "p", 1));
        assert!(store.item(&key("p")).unwrap().text.is_some(), "nobody has looked yet");
        let before = store.live("a");
        assert!(store.item(&key("p")).unwrap().text.is_none());
        store.fold("a");
        assert_eq!(store.get(&key("p")).as_deref(), before.get(&key("p")));
        store.seen(&key("q"), pod("a", "q", "v", 2));
        store.note(event("f", "q", 2));
        let after = store.live("a");
        assert_eq!((after.objects.len(), after.events.len()), (2, 2));
        assert_eq!(after.get(&key("p")), before.get(&key("p")), "what was folded, and what has come since");
        store.fold("a");
        store.seen(&key("q"), pod("a", "q", "v", 3));
        assert_eq!(versions(&mut store, "a"), [1, 3], "the newer one counts");
        store.fold("a");
        store.remove(&key("p"));
        assert_eq!((store.live("a").objects.len(), store.live("a").events.len()), (1, 1));
    }

    #[test]
    fn secrets_of_others_are_seen_by_those_who_take_them() {
        let mut store = Store::default();
        let [a, b] = ["a", "b"].map(|name| store.subscribe(&StackName::new(name).unwrap()));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert!(store.take_beside("a", names(&["theirs"])) && store.take_beside("b", names(&["theirs", "other"])));
        assert!(!store.take_beside("a", names(&["theirs"])), "nothing is new");
        store.seen_beside("other", None);
        assert!(!a.has_changed().unwrap() && b.has_changed().unwrap());
        let at = Timestamp::from_second(1).ok();
        store.seen_beside("theirs", at);
        assert_eq!(store.live("a").taken, [("theirs".to_owned(), at)].into());
        assert_eq!(store.live("b").taken, [("other".to_owned(), None), ("theirs".to_owned(), at)].into());
        store.take_beside("b", names(&[]));
        assert_eq!(store.taken(), ["theirs"], "a still takes it");
        assert!(store.live("b").taken.is_empty());
        store.take_beside("a", names(&[]));
        store.take_beside("a", names(&["theirs"]));
        assert!(store.live("a").taken.is_empty(), "what was known is old");
    }

    #[test]
    fn a_name_is_claimed_by_one_stack() {
        let mut store = Store::default();
        let [a, b] = ["a", "b"].map(|name| StackName::new(name).unwrap());
        assert_eq!(store.claim(&a, &key("p")), Claim::Free);
        assert_eq!(store.claim(&a, &key("p")), Claim::Looked);
        assert_eq!(store.claim(&b, &key("p")), Claim::Taken("a".into()));
        store.seen(&key("q"), pod("b", "q", "u", 1));
        assert_eq!(store.claim(&a, &key("q")), Claim::Taken("b".into()));
    }

    #[test]
    fn events_find_their_object_whichever_comes_first() {
        let mut store = Store::default();
        store.note(event("early", "a-1", 5));
        assert!(store.live("a").events.is_empty());
        store.seen(&key("a-1"), pod("a", "a-1", "u", 1));
        store.note(event("first", "a-1", 1));
        store.note(event("early", "a-1", 9));
        let times: Vec<_> = store.live("a").events.iter().map(|note| note.at.as_second()).collect();
        assert_eq!(times, [1, 9], "in order, and a repeated one replaces the earlier");
        assert_eq!(store.live("a").events[0].message.len(), MAX_MESSAGE);
        store.forget("first");
        assert_eq!(store.live("a").events.len(), 1);
        store.remove(&key("a-1"));
        assert!(store.live("a").events.is_empty());
    }

    #[test]
    fn events_are_bounded_for_each_stack() {
        let mut store = Store::default();
        for stack in ["a", "b"] {
            store.seen(&key(stack), pod(stack, stack, stack, 1));
        }
        store.note(event("of-b", "b", 0));
        for number in 0..1000 {
            store.note(event(&format!("a{number}"), "a", number));
            store.note(event(&format!("x{number}"), &format!("nobody-{number}"), number));
        }
        assert_eq!(store.live("a").events.len(), MAX_NOTES);
        assert_eq!(store.live("a").events.last().map(|note| note.at.as_second()), Some(999));
        assert_eq!(store.live("b").events.len(), 1, "another Stack's noise takes none of it");
        assert_eq!((store.notes.len(), store.about.len()), (MAX_NOTES + MAX_STRAYS + 1, MAX_STRAYS + 2));
    }

    #[test]
    fn in_a_crowd_each_stack_keeps_fewer_events() {
        let mut store = Store::default();
        for stack in 0..60 {
            let stack = format!("s{stack}");
            store.seen(&key(&stack), pod(&stack, &stack, &stack, 1));
            (0..100).for_each(|number| store.note(event(&format!("{stack}-{number}"), &stack, number)));
        }
        assert!(store.notes.len() <= CROWD + 10 * FEW_NOTES, "{}", store.notes.len());
        let last = store.live("s59").events.clone();
        assert_eq!((last.len(), last[FEW_NOTES - 1].at.as_second()), (FEW_NOTES, 99));
    }

    #[test]
    fn only_an_own_write_is_newer_than_what_is_seen() {
        let mut store = Store::default();
        store.seen(&key("p"), pod("a", "p", "u", 5));
        store.learn(&key("p"), pod("a", "p", "u", 7));
        store.seen(&key("p"), pod("a", "p", "u", 6));
        assert_eq!(versions(&mut store, "a"), [7], "the watch is behind the answer");
        store.replace(Kind::Pod, [(key("p"), Arrival::text(Kind::Pod, &pod("a", "p", "u", 6)))].into());
        assert_eq!(versions(&mut store, "a"), [7], "a list was on its way");
        store.seen(&key("p"), pod("a", "p", "u", 7));
        store.replace(Kind::Pod, [(key("p"), Arrival::text(Kind::Pod, &pod("a", "p", "u", 3)))].into());
        assert_eq!(versions(&mut store, "a"), [3], "the store was put back");
        store.learn(&key("p"), pod("a", "p", "u", 2));
        assert_eq!(versions(&mut store, "a"), [3], "an answer that comes late");
        store.seen(&key("p"), pod("a", "p", "other", 1));
        assert_eq!(versions(&mut store, "a"), [1]);
        store.learn(&key("q"), pod("a", "q", "w", 9));
        store.replace(Kind::Pod, BTreeMap::new());
        assert_eq!(versions(&mut store, "a"), [9], "made while the list was on its way");
        store.seen(&key("q"), pod("a", "q", "w", 8));
        assert_eq!(versions(&mut store, "a"), [9], "an event of before the write, for all that is known");
        store.correct(&key("q"), pod("a", "q", "w", 8));
        assert_eq!(versions(&mut store, "a"), [8], "the cluster has no such version");
    }
}

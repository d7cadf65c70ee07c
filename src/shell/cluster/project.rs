//! One project as its watches see it: a store of objects that hks manages there, shared by all Stacks of the project.
//!
//! Everything is watched and nothing is polled or read object by object. Only objects that carry the label of a Stack are
//! kept, and of them only what somebody reads.

mod addresses;
mod item;
mod seen;
mod slim;
mod hidden;
mod limits;
mod topic;
mod store;
mod unread;
mod hear;
mod beside;
mod astray;

pub use super::api::{MANAGER, resource};
pub use beside::{look_at, watch_taken};
pub use seen::Seen;
pub use store::Claim;
pub use topic::Topic;
pub use unread::read_unread;

use crate::config::ProjectBudget;
use crate::ident::{Kind, ObjectKey, StackName};
use crate::machine::Fault;
use crate::plan::Live;
use crate::record::Sealer;
use crate::shell::cluster::claims::Claims;
use crate::shell::cluster::proof::Proof;
use crate::shell::pace::Share;
use crate::spec;
use kube::api::{Api, DynamicObject};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use slim::slim;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use store::Store;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

/// A namespace of a cluster, with a live picture of what hks manages in it.
pub struct Project {
    /// The connection.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// Room for Stacks that begin with a commit: what is under way takes memory, and a thousand that begin together are no
    /// sooner done than some after the others.
    pub room: Arc<Semaphore>,
    store: Mutex<Store>,
    synced: watch::Sender<BTreeSet<Topic>>,
    /// Last error of a watch that has not recovered.
    broken: Mutex<BTreeMap<Topic, Broken>>,
    /// When it was last seen that this daemon holds the Lease of each Stack.
    proofs: Mutex<BTreeMap<StackName, Proof>>,
    /// What the daemon publishes there was deleted.
    pub unpublished: Notify,
    /// What was last answered to whether the namespace exists, and when.
    presence: tokio::sync::Mutex<Option<(Instant, Result<(), Fault>)>>,
    /// The cluster does not answer, or does not know this daemon: its address or the access data may have changed.
    suspicion: Arc<Notify>,
    /// How much is done for its cluster.
    pub share: Arc<Share>,
    /// Stacks take other Secrets of others than before.
    taken: Notify,
    claims: OnceLock<Claims>,
    sealer: OnceLock<Sealer>,
}

/// Somebody acts for a Stack.
pub struct Followed {
    project: Weak<Project>,
    stack: StackName,
}

impl Followed {
    /// Whether it is one of this project.
    pub fn is_in(&self, project: &Arc<Project>) -> bool {
        self.project.ptr_eq(&Arc::downgrade(project))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(project) = self.project.upgrade() {
            project.lock().unfollow(self.stack.as_str());
        }
    }
}

/// Stacks of a project that begin with a commit at the same time.
const ROOM: usize = 16;
/// How long words wait for the values of Secrets that a Stack has just begun to take.
const KNOWN: Duration = Duration::from_secs(3);
/// How often it is asked at most whether the namespace exists.
const PRESENCE: Duration = Duration::from_secs(2);

/// How long a picture that is not kept up to date counts as what is there.
const BLIND: Duration = Duration::from_secs(10);

/// A watch that does not go on.
struct Broken {
    error: String,
    since: Instant,
}

/// Workloads and volumes: where one is, there is a Stack.
pub const TELLING: [Kind; 3] = [Kind::Deployment, Kind::StatefulSet, Kind::PersistentVolumeClaim];

impl Project {
    /// A project that nobody watches yet. Whether the cluster is still where it was is wondered together with the others that
    /// are reached in the same way.
    pub fn new(client: Client, namespace: &str, suspicion: Arc<Notify>) -> Arc<Self> {
        Self::within(ProjectBudget::default(), &Arc::default(), client, namespace, suspicion)
    }

    /// The same, of which so much is followed, and for which so much is done together with others of its cluster.
    pub fn within(
        budget: ProjectBudget,
        share: &Arc<Share>,
        client: Client,
        namespace: &str,
        suspicion: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            namespace: namespace.into(),
            room: Arc::new(Semaphore::new(ROOM)),
            store: Mutex::new(Store::within(budget)),
            synced: watch::Sender::default(),
            broken: Mutex::default(),
            proofs: Mutex::default(),
            unpublished: Notify::new(),
            presence: tokio::sync::Mutex::default(),
            suspicion,
            share: Arc::clone(share),
            taken: Notify::new(),
            claims: OnceLock::new(),
            sealer: OnceLock::new(),
        })
    }

    /// From now on, hosts that its files name are claimed.
    pub fn claim_by(&self, claims: Claims) {
        let _ = self.claims.set(claims);
    }

    /// From now on, records are sealed, and those without a seal are doubted.
    pub fn seal_by(&self, sealer: Sealer) {
        let _ = self.sealer.set(sealer);
    }

    /// By what records are sealed; nothing where a person deploys by hand.
    pub fn sealer(&self) -> Option<&Sealer> {
        self.sealer.get()
    }

    /// By what it claims hosts; nothing where a person deploys by hand.
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.get()
    }

    /// Words about a Stack on their way out: without values of Secrets, without credentials that can be told by
    /// their form, and without what acts on a terminal. Where the values are not known, nothing is left of them.
    pub fn clean(&self, stack: &StackName, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let cleaned = self.cleaned(stack, text);
        cleaned.unwrap_or_else(|| "(not shown, since hks can't read the Secrets whose values it may hold)".into())
    }

    fn cleaned(&self, stack: &StackName, text: &str) -> Option<String> {
        let known = self.synced.borrow().contains(&Topic::Objects(Kind::Secret));
        let cleaned = || self.lock().clean(stack.as_str(), text);
        known.then(cleaned).flatten().map(|text| spec::mask(&text))
    }

    /// Waits, if not for long, until the values are known that words about a Stack may not hold.
    pub async fn knows_what_to_hide(&self, stack: &StackName) {
        let mut changes = self.subscribe(stack);
        let known = async { while self.cleaned(stack, "").is_none() && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(KNOWN, known).await;
    }

    /// Whether another Stack of the project answers for a host.
    pub fn is_answered_by_others(&self, stack: &StackName, host: &str) -> bool {
        self.lock().others_at(host, stack.as_str())
    }

    /// The API of `kind` in this project: there is no way to name another namespace.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// The same, where objects are only taken and given as a whole.
    pub fn objects(&self, kind: Kind) -> Api<Seen> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// Whether every watch has delivered its first list.
    pub fn is_ready(&self) -> bool {
        Topic::NEEDED.iter().all(|topic| self.synced.borrow().contains(topic))
    }

    /// Waits until every watch has delivered its first list.
    pub async fn ready(&self) {
        // the sender lives as long as self
        let _ = self.synced.subscribe().wait_for(|done| Topic::NEEDED.iter().all(|topic| done.contains(topic))).await;
    }

    /// Why the project can't be seen at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        self.troubles()
            .iter()
            .next()
            .map(|(topic, broken)| format!("failed to watch {}: {}", topic.plural(), broken.error))
    }

    /// Whether objects can't be seen for so long that what was seen may not be so any more.
    pub fn is_blind(&self) -> bool {
        self.troubles().iter().any(|(topic, broken)| *topic != Topic::Events && broken.since.elapsed() >= BLIND)
    }

    /// Says which Secrets of others a Stack takes: they are watched by name, and without their values.
    pub fn take_beside(&self, stack: &StackName, names: BTreeSet<String>) {
        if self.lock().take_beside(stack.as_str(), names) {
            self.taken.notify_one();
        }
    }

    /// The cluster did not answer, or not as it should: its address and the access data are looked at again.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Waits until there is another reason than `text`, or none, why the project can't be seen.
    pub async fn trouble_other_than(&self, text: &str) {
        let mut changes = self.synced.subscribe();
        while self.trouble().is_none_or(|trouble| trouble == text) && changes.changed().await.is_ok() {}
    }

    /// A receiver that changes whenever something of the Stack does.
    pub fn subscribe(&self, stack: &StackName) -> watch::Receiver<u64> {
        self.lock().subscribe(stack)
    }

    /// The picture of one Stack.
    pub fn live(&self, stack: &StackName) -> Arc<Live> {
        self.lock().live(stack.as_str())
    }

    /// The picture of one Stack.
    ///
    /// # Errors
    /// Why not all of it is seen.
    pub fn picture(&self, stack: &StackName) -> Result<Arc<Live>, String> {
        let mut store = self.lock();
        store.excess(stack.as_str()).map_or_else(|| Ok(store.live(stack.as_str())), Err)
    }

    /// Why not all of a Stack is seen, or of the project, though everything answers: there is too much of it.
    pub fn excess(&self, stack: &StackName) -> Option<String> {
        self.lock().excess(stack.as_str())
    }

    /// Somebody acts for a Stack, for as long as this is not dropped: of what nobody follows hardly anything is kept.
    pub fn follow(self: &Arc<Self>, stack: &StackName) -> Followed {
        self.lock().follow(stack.as_str());
        Followed { project: Arc::downgrade(self), stack: stack.clone() }
    }

    /// Whatever is in the project is looked at.
    pub fn follow_all(&self) {
        self.lock().follow_all();
    }

    /// Nobody looks at a Stack for the moment: its picture is kept as text.
    pub fn fold(&self, stack: &StackName) {
        self.lock().fold(stack.as_str());
    }

    /// One object, as last seen.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Value>> {
        self.lock().get(key)
    }

    /// Whether an object, as last seen, is one of a Stack.
    pub fn is_of(&self, key: &ObjectKey, stack: &StackName) -> bool {
        self.lock().owner(key) == Some(stack.as_str())
    }

    /// A public address of an object of a Stack that another Stack answers for already, and that Stack.
    pub fn contested(&self, stack: &StackName, kind: Kind, object: &Value) -> Option<((String, String), String)> {
        let store = self.lock();
        let other = |address| Some((store.other_at(&address, stack.as_str())?.to_owned(), address));
        addresses::addresses(kind, object).into_iter().find_map(other).map(|(other, address)| (address, other))
    }

    /// The Stacks of which there is a workload or a volume.
    pub fn stacks(&self) -> BTreeSet<StackName> {
        self.lock().stacks()
    }

    /// The names of all objects of a kind, of whatever Stack.
    pub fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        self.lock().keys(kind)
    }

    /// Takes an object that a write returned: the watch will bring it later, and until then the picture would be old.
    pub fn learn(&self, kind: Kind, object: Seen) {
        let key = ObjectKey::new(kind, object.name_any());
        if let Some(object) = slim(kind, object.value) {
            self.lock().learn(&key, object);
        }
    }

    /// Takes an object as it is in the cluster, which has turned out to be another than the picture's.
    pub fn correct(&self, kind: Kind, object: Seen) {
        let key = ObjectKey::new(kind, object.name_any());
        if let Some(object) = slim(kind, object.value) {
            self.lock().correct(&key, object);
        }
    }

    /// What [`Self::learn`] does, of an object that was taken apart.
    pub fn learn_of(&self, kind: Kind, object: &impl Serialize) {
        // an object that was read can be written
        if let Ok(object) = serde_json::to_value(object) {
            self.learn(kind, Seen::new(object));
        }
    }

    /// Claims a name for a Stack that is about to make an object.
    pub fn claim(&self, stack: &StackName, key: &ObjectKey) -> Claim {
        self.lock().claim(stack, key)
    }

    /// Takes a claim back.
    pub fn unclaim(&self, key: &ObjectKey) {
        self.lock().unclaim(key);
    }

    /// That it was seen a moment ago that this daemon holds the Lease of a Stack.
    pub fn proof(&self, stack: &StackName) -> Option<Proof> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(stack).copied().filter(Proof::is_fresh)
    }

    /// It was seen that this daemon holds the Lease of a Stack.
    pub fn proven(&self, stack: &StackName, proof: Proof) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).insert(stack.clone(), proof);
    }

    /// It is no longer known whether this daemon holds the Lease of a Stack.
    pub fn unproven(&self, stack: &StackName) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).remove(stack);
    }

    /// The answer to whether the namespace exists: asked once for all Stacks that want to know at the same time.
    pub async fn presence(&self, ask: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
        let mut last = self.presence.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < PRESENCE
        {
            return answer.clone();
        }
        let answer = ask.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<Topic, Broken>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

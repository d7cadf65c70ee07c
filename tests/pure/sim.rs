//! One Stack's machine on a simulated cluster, by commands.
//!
//! Commands, besides those that explain themselves in [`Sim::command`]: `push SHA KIND` a commit (kinds: see [`file`]); `run` answers
//! every request until nothing is left to do; `answer` answers only the next one; `fail transient|final|limit` lets the next one
//! fail; `pass TIME` lets time pass; `crash` loses all but the cluster, and the source is slow; `fetch` gives the newest commit
//! again; `touch` changes an object as a stranger; `room none|enough` takes or gives room in the node pool; `tables` puts a
//! table into every database; `set NAME KEY TIME` sets a key of a Secret as a person.

use super::described::describe;
use super::simulated::{Cluster, Controllers, Objects, file};
use super::{besides, context};
use hks::ident::{Component, Kind, Message, ObjectKey, Revision, StackName};
use hks::machine::{Certificate, Commit, Contents, Effect, Event, Fault, Machine, State, Toward};
use hks::manifest::Context;
use hks::plan::Live;
use hks::record::{Record, Want, Wish};
use hks::report::News;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A cluster that does what it is told, and a machine on it.
pub struct Sim {
    pub machine: Machine,
    pub objects: Objects,
    pub saved: Record,
    pub requests: VecDeque<Effect>,
    pub now: Timestamp,
    pub tables: bool,
    uid: u64,
    pub head: Option<Commit>,
    /// All that was ever pushed.
    pub pushed: Vec<Commit>,
    pub log: Vec<String>,
    pub creations: BTreeMap<ObjectKey, usize>,
    wishes: u32,
    wished: Vec<(Wish, Option<Commit>)>,
    pub manager: Option<String>,
    pub cluster: Cluster,
    pub context: Context,
    /// The API server refuses every write.
    refuses: bool,
    /// The image that a webhook puts into every pod.
    pub mutated: Option<String>,
    /// Databases do not answer.
    silent: bool,
    /// Mebibytes that are free on each volume.
    free: u64,
    /// How the public address answers: until when its certificate is valid, if it has one.
    address: Result<Option<Timestamp>, String>,
    /// The objects as the watches have seen them, if they are late.
    pub seen: Option<Objects>,
    pub controllers: Controllers,
    /// At rest the machine gives up what it can have again from the record.
    pub dozes: bool,
    /// What the machine has told.
    pub news: Vec<News>,
    pub crashes: usize,
    /// What hks has deleted.
    pub deleted: Vec<Deletion>,
    /// What hks has made, with its uid, and whether the settled release has it.
    pub made: Vec<(ObjectKey, String, bool)>,
    /// What somebody else has made under labels of the Stack.
    pub strangers: BTreeSet<ObjectKey>,
    /// How often the record was written.
    pub saves: u64,
    /// What a daemon that fell asleep has sent, and after how many of these.
    pub sent: VecDeque<(Effect, u64)>,
    /// The API server's store as it was once.
    backup: Option<(Objects, Record)>,
}

/// An object that hks has deleted, and what was known then.
pub struct Deletion {
    pub key: ObjectKey,
    pub object: Arc<Value>,
    /// The record says that hks has made it.
    pub owned: bool,
    /// It belongs to where the pass is headed.
    pub wanted: bool,
    /// A rollback deletes it.
    pub back: bool,
    /// A person wants everything gone …
    pub destroys: bool,
    /// … and the data as well.
    pub data_may_go: bool,
}

impl Sim {
    pub fn new() -> Self {
        let stack = StackName::new("todo").unwrap();
        Self {
            machine: Machine::new(stack, context(), Record::default()),
            objects: BTreeMap::new(),
            saved: Record::default(),
            requests: VecDeque::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            tables: false,
            uid: 0,
            head: None,
            pushed: vec![],
            log: vec![],
            creations: BTreeMap::new(),
            wishes: 0,
            wished: vec![],
            manager: None,
            cluster: Cluster::default(),
            context: context(),
            refuses: false,
            mutated: None,
            silent: false,
            free: 4096,
            address: Ok(None),
            seen: None,
            controllers: Controllers::default(),
            dozes: true,
            news: vec![],
            crashes: 0,
            deleted: vec![],
            made: vec![],
            strangers: BTreeSet::new(),
            saves: 0,
            sent: VecDeque::new(),
            backup: None,
        }
    }

    pub fn has_backup(&self) -> bool {
        self.backup.is_some()
    }

    /// What the watches see.
    pub fn live(&mut self) -> Live {
        self.controllers.live(self.seen.as_ref().unwrap_or(&self.objects), &self.cluster)
    }

    pub fn take(&mut self, event: Event) {
        let live = self.live();
        // what a machine gives up at rest must never be missed
        if self.dozes {
            self.machine.doze();
        }
        for effect in self.machine.step(event, &live, self.now).0 {
            self.log.push(describe(&effect));
            match effect {
                Effect::News(news) => self.news.push(news),
                request => self.requests.push_back(request),
            }
        }
    }

    /// Carries out the next request, and answers it if `answered`.
    pub fn perform(&mut self, answered: bool) -> bool {
        let Some(effect) = self.requests.pop_front() else { return false };
        let reply = self.carry_out(effect);
        if let (true, Some(reply)) = (answered, reply) {
            self.take(reply);
        }
        true
    }

    /// Does what a request asks for; the answer.
    pub fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::Queue(id) => Event::Turn(id),
            Effect::Who(key, field) => Event::Managed(key, field, self.manager.clone()),
            Effect::Check(id, ..) => Event::Checked(id, Ok(())),
            Effect::Save(id, record) => {
                (self.saved, self.saves) = (*record, self.saves + 1);
                Event::Saved(id, Ok(()))
            }
            Effect::Apply(id, _) if self.refuses => {
                let (object, component) = ("Deployment/todo-web".into(), Component::App("web".into()));
                let message = "denied by a policy".into();
                Event::Applied(id, Err(Fault { transient: false, object, component, message }))
            }
            Effect::Apply(id, _) if self.cluster.quota_full && self.state().starts_with("forward") => {
                let (object, component) = ("Deployment/todo-web".into(), Component::App("web".into()));
                Event::Applied(id, Err(Fault { transient: false, object, component, message: besides::FULL.into() }))
            }
            Effect::Apply(id, steps) if self.gone_since(&steps).is_some() => {
                Event::Applied(id, Err(self.gone_since(&steps).unwrap()))
            }
            Effect::Apply(id, steps) => {
                let mut made = vec![];
                for step in steps {
                    let key = step.object.key.clone();
                    let known = self.objects.get(&key).map(|object| object["metadata"]["uid"].clone());
                    let mut body = step.object.body.clone();
                    if known.is_none() {
                        self.uid += 1;
                        *self.creations.entry(key.clone()).or_default() += 1;
                        let known = self.machine.baseline().is_some_and(|baseline| baseline.get(&key).is_some());
                        self.made.push((key.clone(), self.uid.to_string(), known));
                    }
                    body["metadata"]["uid"] = known.unwrap_or_else(|| json!(self.uid.to_string()));
                    body["metadata"]["generation"] = json!(1);
                    for name in step.object.recipe.keys() {
                        body["data"][name] = json!(Live::HIDDEN);
                    }
                    if step.renew {
                        body["metadata"]["annotations"]["hks.hexabase.ai/secret-set"] = json!(self.now.to_string());
                    }
                    if let Some(mutated) = &self.mutated
                        && body["spec"]["template"]["spec"]["containers"][0]["image"].is_string()
                    {
                        body["spec"]["template"]["spec"]["containers"][0]["image"] = json!(mutated);
                        made.push((key.clone(), hks::plan::differences(&step.object.body, &body)));
                    }
                    let body = Arc::new(body);
                    if let Some(seen) = &mut self.seen {
                        seen.insert(key.clone(), Arc::clone(&body));
                    }
                    self.objects.insert(key, body);
                }
                Event::Applied(id, Ok(made))
            }
            Effect::Probe(id, urls) => {
                let url = urls[0].url.clone();
                let certificate = |until| Certificate { url: url.clone(), from: Timestamp::UNIX_EPOCH, until };
                let answer = self.address.clone().map(|until| until.map(certificate));
                Event::Probed(id, answer.map_err(|why| (url, why)))
            }
            Effect::Measure(id, volumes) => {
                Event::Measured(id, volumes.into_iter().map(|volume| (volume.claim, self.free << 20)).collect())
            }
            Effect::Inspect(id, servers) => {
                let contents = match (self.silent, self.tables) {
                    (true, _) => Contents::Unknown("it does not answer".into()),
                    (false, true) => Contents::Tables,
                    (false, false) => Contents::Empty,
                };
                Event::Inspected(id, servers.into_iter().map(|server| (server, contents.clone())).collect())
            }
            Effect::Delete(id, keys) => {
                self.delete(&keys);
                Event::Deleted(id, Ok(()))
            }
            Effect::Explain(id, cause) => Event::Explained(id, cause.with_log("last words".into())),
            Effect::News(_) | Effect::Hosts { .. } => return None,
        })
    }

    /// Deletes each with the uid that was seen, or not at all.
    fn delete(&mut self, keys: &[ObjectKey]) {
        for key in keys {
            let seen = self.seen.as_ref().unwrap_or(&self.objects).get(key);
            let meant =
                |object: &Arc<Value>| seen.is_some_and(|seen| seen["metadata"]["uid"] == object["metadata"]["uid"]);
            let Some(object) = self.objects.get(key).filter(|object| meant(object)).cloned() else { continue };
            if !(self.cluster.jobs_linger && key.kind == Kind::Job) {
                self.objects.remove(key);
            }
            let State::Passing(pass) = &self.machine.state else { panic!("{key} is deleted at rest") };
            let destroys = matches!(pass.toward, Toward::Nothing { .. });
            let with_data = |wish: &Wish| wish.what == Want::Destroy { with_data: true };
            self.deleted.push(Deletion {
                owned: self.saved.inventory.iter().any(|owned| owned.key == *key),
                wanted: pass.manifest.get(key).is_some(),
                back: matches!(pass.toward, Toward::Back { .. }),
                destroys,
                data_may_go: matches!(&pass.toward, Toward::Nothing { wish } if with_data(wish)),
                key: key.clone(),
                object,
            });
        }
    }

    pub fn fail(&mut self, transient: bool) {
        self.fail_with(transient, besides::OBJECT, "it hurts");
    }

    fn fail_with(&mut self, transient: bool, object: &str, message: &str) {
        let fault = || {
            let (object, component) = (object.into(), Component::App("web".into()));
            Err(Fault { transient, object, component, message: message.into() })
        };
        let reply = match self.requests.pop_front() {
            Some(Effect::Check(id, ..)) => Event::Checked(id, fault()),
            Some(Effect::Save(id, _)) => Event::Saved(id, fault()),
            Some(Effect::Apply(id, _)) => Event::Applied(id, fault().map(|()| vec![])),
            Some(Effect::Delete(id, _)) => Event::Deleted(id, fault()),
            Some(Effect::Inspect(id, servers)) => {
                let unknown = Contents::Unknown("it does not answer".into());
                Event::Inspected(id, servers.into_iter().map(|server| (server, unknown.clone())).collect())
            }
            Some(Effect::Probe(id, urls)) => Event::Probed(id, Err((urls[0].url.clone(), "status 503".into()))),
            Some(Effect::Measure(id, _)) => Event::Measured(id, BTreeMap::new()),
            Some(Effect::Explain(id, cause)) => Event::Explained(id, cause),
            Some(Effect::Queue(id)) => Event::Turn(id),
            Some(Effect::Who(key, field)) => Event::Managed(key, field, None),
            Some(Effect::News(_) | Effect::Hosts { .. }) | None => return,
        };
        self.take(reply);
    }

    /// Answers everything and looks again, until nothing moves.
    pub fn run(&mut self) {
        for _ in 0..200 {
            let begun = self.log.len();
            while self.perform(true) {
                assert!(self.log.len() < begun + 1_000, "it goes round in circles: {:#?}", &self.log[begun + 980..]);
            }
            let before = self.log.len();
            self.take(Event::Observed);
            if self.requests.is_empty() && self.log.len() == before {
                return;
            }
        }
        panic!("it does not come to rest:\n{}", self.log.join("\n"));
    }

    /// Lets time pass in the steps that the machine asks for.
    pub fn pass(&mut self, time: SignedDuration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(at) = self.machine.wake_at().filter(|at| *at <= end) {
            wakes += 1;
            assert!(
                wakes < 1_000,
                "it wakes again and again at {at}, {}, after {:?}",
                self.state(),
                self.log.iter().rev().take(5).collect::<Vec<_>>()
            );
            self.now = self.now.max(at);
            self.take(Event::Due);
            self.run();
        }
        self.now = end;
        self.take(Event::Due);
    }

    pub fn push(&mut self, revision: &str, kind: &str) {
        let commit = Commit {
            revision: Revision::new(revision),
            content: file(kind),
            message: Some(Message::new("ada", revision)),
        };
        self.recall(&commit.revision);
        self.pushed.push(commit.clone());
        self.head = Some(commit.clone());
        self.take(Event::Commit(commit));
    }

    /// The daemon is killed and comes back: only the cluster remembers.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.requests.clear();
        let stack = StackName::new("todo").unwrap();
        self.machine = Machine::new(stack, self.context.clone(), self.saved.clone());
        self.take(Event::Observed);
    }

    pub fn wish(&mut self, what: Want, to: Option<Commit>) {
        self.wishes += 1;
        let wish = Wish { id: self.wishes.to_string(), what, by: "a test".into(), at: self.now };
        self.wished.push((wish.clone(), to.clone()));
        self.take(Event::Wish { wish, to: Ok(to) });
    }

    pub fn command(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["push", revision, kind] => self.push(revision, kind),
            ["run"] => self.run(),
            ["answer"] => {
                self.perform(true);
            }
            ["fail", "transient"] => self.fail(true),
            ["fail", "final"] => self.fail(false),
            ["fail", "limit"] => self.fail_with(false, besides::OBJECT, besides::FULL),
            ["fail", "host"] => self.fail_with(false, "host shop.example", "it is the address of another Stack"),
            ["pass", time] => self.pass(humantime::parse_duration(time).unwrap().try_into().unwrap()),
            ["crash"] => self.crash(),
            ["fetch"] => self.fetch(),
            ["lost"] => {
                self.perform(false);
                self.crash();
            }
            ["lost", "twice"] => {
                self.command("lost");
                self.command("lost");
            }
            ["stop"] => {
                // told to end, it takes the reply to the request in flight
                self.perform(true);
                self.crash();
            }
            ["rollback", revision, kind] => {
                let to = Commit { revision: Revision::new(*revision), content: file(kind), message: None };
                self.wish(Want::RollBack { to: (*revision).into() }, Some(to));
            }
            ["wish", "retry"] => self.wish(Want::Retry { accept_data_loss: false }, None),
            ["wish", "accept"] => self.wish(Want::Retry { accept_data_loss: true }, None),
            ["wish", "suspend"] => self.wish(Want::Suspend { reason: "by hand".into() }, None),
            ["wish", "resume"] => {
                self.wish(Want::Resume, self.machine.suspended_in().and_then(|begun| self.pushed(begun)));
            }
            ["wish", "destroy"] => self.wish(Want::Destroy { with_data: false }, None),
            ["wish", "destroy-data"] => self.wish(Want::Destroy { with_data: true }, None),
            ["again"] => {
                if let Some((wish, to)) = self.wished.last().cloned() {
                    self.take(Event::Wish { wish, to: Ok(to) });
                }
            }
            ["unfinished"] => {
                // what the shell does after a restart
                let begun = self.machine.unfinished_wish();
                if let Some((wish, to)) = self.wished.iter().find(|(wish, _)| Some(wish) == begun).cloned() {
                    self.take(Event::Wish { wish, to: Ok(to) });
                }
            }
            other => self.happens(other),
        }
    }

    /// Something happens in the cluster or to the platform.
    fn happens(&mut self, words: &[&str]) {
        match words {
            ["touch"] => self.touch(),
            ["delete", name] => {
                self.objects.remove(&besides::key(name));
                self.take(Event::Observed);
            }
            ["database"] => {
                self.cluster.database = String::new();
                self.take(Event::Observed);
            }
            ["database", how] => {
                self.cluster.database = (*how).into();
                self.take(Event::Observed);
            }
            ["going", name] => {
                let object = self.objects.get_mut(&besides::key(name)).unwrap();
                Arc::make_mut(object)["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
                self.take(Event::Observed);
            }
            ["lose", "record"] => {
                self.saved = Record::default();
                self.crash();
            }
            ["backup"] => self.backup = Some((self.objects.clone(), self.saved.clone())),
            ["restore"] => {
                (self.objects, self.saved) = self.backup.clone().unwrap();
                self.seen = None;
                self.crash();
            }
            ["clock", "back"] => self.now -= SignedDuration::from_secs(90),
            ["late"] => self.seen = Some(self.objects.clone()),
            ["prompt"] => {
                self.seen = None;
                self.take(Event::Observed);
            }
            ["ask", how] => self.silent = *how == "silent",
            ["certificate", until] => self.address = Ok(Some(until.parse().unwrap())),
            ["address", "dead"] => self.address = Err("status 503".into()),
            ["free", mebibytes] => self.free = mebibytes.parse().unwrap(),
            ["refuse", how] => self.refuses = *how == "on",
            ["mutate", image] => self.mutated = Some((*image).into()),
            ["pods", how] => {
                self.cluster.pods = (*how).into();
                self.take(Event::Observed);
            }
            ["platform", branch, domain] => {
                (self.context.branch, self.context.domain) = ((*branch).into(), (*domain).into());
                self.crash();
            }
            ["old", "record"] => {
                // as an hks of the format before has written it
                self.saved.format = 0;
                Arc::make_mut(self.saved.settled.as_mut().unwrap()).ran = None;
                self.crash();
            }
            ["unsealed"] => {
                self.saved.doubt();
                self.crash();
            }
            ["forged", revision] => self.forge(&Revision::new(*revision)),
            ["manager", name] => self.manager = Some((*name).into()),
            ["pods"] => {
                self.cluster.pods = String::new();
                self.take(Event::Observed);
            }
            ["delete-quietly", name] => {
                self.objects.remove(&besides::key(name));
            }
            ["room", how] => {
                self.cluster.full = *how == "none";
                self.take(Event::Observed);
            }
            ["tables"] => self.tables = true,
            ["set", name, key, time] => {
                let labels = json!({"app.kubernetes.io/managed-by": "hks", "hks.hexabase.ai/stack": "todo"});
                let annotations = json!({"hks.hexabase.ai/secret-set": time});
                let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
                let secret = json!({"metadata": metadata, "data": {*key: Live::HIDDEN}});
                self.objects.insert(ObjectKey::new(Kind::Secret, *name), Arc::new(secret));
                self.take(Event::Observed);
            }
            other => self.besides(other),
        }
    }

    pub fn state(&self) -> String {
        match &self.machine.state {
            State::Resting(rest) => format!("{rest:?}"),
            State::Passing(pass) => {
                let toward = match &pass.toward {
                    Toward::Forward => "forward",
                    Toward::Back { .. } => "back",
                    Toward::Heal => "heal",
                    Toward::Nothing { .. } => "nothing",
                };
                format!("{toward} {:?} {:?}", pass.station, pass.stage())
            }
        }
    }
}

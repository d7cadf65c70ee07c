//! The machine by event scripts: `tests/fixtures/scenario/*.txt` hold commands (`> …`) and, below each, the effects that
//! follow and the state after. `UPDATE=1` writes them anew.
//!
//! Commands: `push SHA KIND` a commit (kinds: see [`file`]); `run` answers every request until nothing is left to do;
//! `answer` answers only the next one; `fail transient|final` lets the next one fail; `pass TIME` lets time pass;
//! `crash` loses all but the cluster, and the source is slow; `fetch` gives the newest commit again; `touch` changes an object as a stranger; `delete KIND/NAME` deletes one;
//! `room none|enough` takes or gives room in the node pool; `tables` puts a table into every database; `set NAME KEY TIME` sets a key of a
//! Secret as a person.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod pure;

use hks::ident::{Kind, ObjectKey, Revision, StackName};
use hks::machine::{Commit, Effect, Event, Fault, Machine, Rest, State, Toward};
use hks::plan::Live;
use hks::record::Record;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use pure::context;
use pure::simulated::{file, live};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

/// A cluster that does what it is told, and a machine on it.
struct Sim {
    machine: Machine,
    objects: BTreeMap<ObjectKey, Value>,
    saved: Record,
    requests: VecDeque<Effect>,
    now: Timestamp,
    room: bool,
    tables: bool,
    uid: u64,
    head: Option<Commit>,
    log: Vec<String>,
    creations: BTreeMap<ObjectKey, usize>,
}

impl Sim {
    fn new() -> Self {
        let stack = StackName::new("todo").unwrap();
        Self {
            machine: Machine::new(stack, context(), Record::default()),
            objects: BTreeMap::new(),
            saved: Record::default(),
            requests: VecDeque::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            room: true,
            tables: false,
            uid: 0,
            head: None,
            log: vec![],
            creations: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: Event) {
        let live = live(&self.objects, self.room);
        for effect in self.machine.step(event, &live, self.now).0 {
            self.log.push(describe(&effect));
            if !matches!(effect, Effect::Report(_)) {
                self.requests.push_back(effect);
            }
        }
    }

    /// Carries out the next request, and answers it if `answered`.
    fn perform(&mut self, answered: bool) -> bool {
        let Some(effect) = self.requests.pop_front() else { return false };
        let reply = match effect {
            Effect::Check(id, _) => Event::Checked(id, Ok(())),
            Effect::Save(id, record) => {
                self.saved = *record;
                Event::Saved(id, Ok(()))
            }
            Effect::Apply(id, steps) => {
                for step in steps {
                    let key = step.object.key.clone();
                    let known = self.objects.get(&key).map(|object| object["metadata"]["uid"].clone());
                    let mut body = step.object.body.clone();
                    if known.is_none() {
                        self.uid += 1;
                        *self.creations.entry(key.clone()).or_default() += 1;
                    }
                    body["metadata"]["uid"] = known.unwrap_or_else(|| json!(self.uid.to_string()));
                    body["metadata"]["generation"] = json!(1);
                    for name in step.object.recipe.keys() {
                        body["data"][name] = json!(Live::HIDDEN);
                    }
                    self.objects.insert(key, body);
                }
                Event::Applied(id, Ok(()))
            }
            Effect::Probe(id, _) => Event::Probed(id, Ok(())),
            Effect::Inspect(id, servers) => Event::Inspected(id, Ok(if self.tables { servers } else { vec![] })),
            Effect::Delete(id, keys) => {
                self.objects.retain(|key, _| !keys.contains(key));
                Event::Deleted(id, Ok(()))
            }
            Effect::Explain(id, _, _) => Event::Explained(id, "last words".into()),
            Effect::Report(_) => return true,
        };
        if answered {
            self.take(reply);
        }
        true
    }

    fn fail(&mut self, transient: bool) {
        let fault = || {
            Err(Fault {
                transient,
                object: "Deployment/todo-web".into(),
                component: ("web".into(), false),
                message: "it hurts".into(),
            })
        };
        let reply = match self.requests.pop_front() {
            Some(Effect::Check(id, _)) => Event::Checked(id, fault()),
            Some(Effect::Save(id, _)) => Event::Saved(id, fault()),
            Some(Effect::Apply(id, _)) => Event::Applied(id, fault()),
            Some(Effect::Delete(id, _)) => Event::Deleted(id, fault()),
            Some(Effect::Inspect(id, _)) => Event::Inspected(id, fault().map(|()| vec![])),
            Some(Effect::Probe(id, urls)) => Event::Probed(id, Err((urls[0].url.clone(), "status 503".into()))),
            Some(Effect::Explain(id, _, _)) => Event::Explained(id, String::new()),
            Some(Effect::Report(_)) | None => return,
        };
        self.take(reply);
    }

    /// Answers everything and looks again, until nothing moves.
    fn run(&mut self) {
        for _ in 0..200 {
            while self.perform(true) {}
            let before = self.log.len();
            self.take(Event::Observed);
            if self.requests.is_empty() && self.log.len() == before {
                return;
            }
        }
        panic!("it does not come to rest:\n{}", self.log.join("\n"));
    }

    /// Lets time pass in the steps that the machine asks for.
    fn pass(&mut self, time: SignedDuration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(at) = self.machine.wake_at().filter(|at| *at <= end) {
            wakes += 1;
            assert!(wakes < 10_000, "it wakes again and again at {at}");
            self.now = self.now.max(at);
            self.take(Event::Due);
            self.run();
        }
        self.now = end;
        self.take(Event::Due);
    }

    fn push(&mut self, revision: &str, kind: &str) {
        let commit = Commit { revision: Revision::new(revision), content: file(kind) };
        self.head = Some(commit.clone());
        self.take(Event::Commit(commit));
    }

    /// The daemon is killed and comes back: only the cluster remembers.
    fn crash(&mut self) {
        self.requests.clear();
        let stack = StackName::new("todo").unwrap();
        self.machine = Machine::new(stack, context(), self.saved.clone());
        self.take(Event::Observed);
    }

    /// The source gives the newest commit again.
    fn fetch(&mut self) {
        if let Some(commit) = self.head.clone() {
            self.take(Event::Commit(commit));
        }
        self.take(Event::Observed);
    }

    fn touch(&mut self) {
        if let Some(object) = self.objects.get_mut(&ObjectKey::new(Kind::Deployment, "todo-web")) {
            object["spec"]["replicas"] = json!(7);
        }
        self.take(Event::Observed);
    }

    fn command(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["push", revision, kind] => self.push(revision, kind),
            ["run"] => self.run(),
            ["answer"] => {
                self.perform(true);
            }
            ["fail", "transient"] => self.fail(true),
            ["fail", "final"] => self.fail(false),
            ["pass", time] => self.pass(humantime::parse_duration(time).unwrap().try_into().unwrap()),
            ["crash"] => self.crash(),
            ["fetch"] => self.fetch(),
            ["touch"] => self.touch(),
            ["delete", name] => {
                let (kind, name) = name.split_once('/').unwrap();
                self.objects.remove(&ObjectKey::new(Kind::named(kind).unwrap(), name));
                self.take(Event::Observed);
            }
            ["room", how] => {
                self.room = *how == "enough";
                self.take(Event::Observed);
            }
            ["tables"] => self.tables = true,
            ["set", name, key, time] => {
                let labels = json!({"app.kubernetes.io/managed-by": "hks", "hks.hexabase.ai/stack": "todo"});
                let annotations = json!({"hks.hexabase.ai/secret-set": time});
                let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
                let secret = json!({"metadata": metadata, "data": {*key: Live::HIDDEN}});
                self.objects.insert(ObjectKey::new(Kind::Secret, *name), secret);
                self.take(Event::Observed);
            }
            ["rollback", revision, kind] => {
                let to = Commit { revision: Revision::new(*revision), content: file(kind) };
                self.take(Event::RollBack { to, by: "a test".into() });
            }
            other => panic!("no command {other:?}"),
        }
    }

    fn state(&self) -> String {
        match &self.machine.state {
            State::Resting(rest) => format!("{rest:?}"),
            State::Passing(pass) => {
                let toward = match &pass.toward {
                    Toward::Forward => "forward",
                    Toward::Back { .. } => "back",
                    Toward::Restore => "restore",
                };
                format!("{toward} {:?} {:?}", pass.station, pass.stage)
            }
        }
    }
}

fn describe(effect: &Effect) -> String {
    let objects = |steps: &[hks::plan::Step]| {
        let names = steps.iter().map(|step| {
            let sign = if step.action == hks::plan::Action::Create { '+' } else { '~' };
            format!("{sign}{}", step.object.key)
        });
        names.collect::<Vec<_>>().join(" ")
    };
    match effect {
        Effect::Check(_, steps) => format!("check {}", objects(steps)),
        Effect::Save(_, record) => {
            let part = |name: &str, revision: Option<&Revision>| {
                revision.map(|revision| format!(" {name}={revision}")).unwrap_or_default()
            };
            format!(
                "save {} objects{}{}{}",
                record.inventory.len(),
                part("settled", record.settled.as_ref().map(|release| &release.revision)),
                part("attempt", record.attempt.as_ref().map(|attempt| &attempt.revision)),
                part("held", record.held.as_ref().map(|held| &held.revision)),
            )
        }
        Effect::Apply(_, steps) => format!("apply {}", objects(steps)),
        Effect::Probe(_, urls) => {
            format!("probe {}", urls.iter().map(|url| url.url.as_str()).collect::<Vec<_>>().join(" "))
        }
        Effect::Inspect(_, names) => format!("inspect {}", names.join(" ")),
        Effect::Delete(_, keys) => {
            format!("delete {}", keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        Effect::Explain(_, pod, previous) => format!("explain {pod} previous={previous}"),
        Effect::Report(status) => format!("report {} {}: {}", status.revision, status.state.word(), status.description),
    }
}

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scenario");
    let mut wrong = vec![];
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "scenarios are missing");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut sim = Sim::new();
        let mut transcript = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                writeln!(transcript, "#{comment}").unwrap();
            } else if let Some(command) = line.strip_prefix("> ") {
                sim.log.clear();
                sim.command(command);
                writeln!(transcript, "> {command}").unwrap();
                for line in &sim.log {
                    writeln!(transcript, "  {line}").unwrap();
                }
                writeln!(transcript, "  = {}", sim.state()).unwrap();
            }
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &transcript).unwrap();
        } else if transcript != text {
            let diff = similar::TextDiff::from_lines(&text, &transcript);
            wrong.push(format!("{}\n{}", path.display(), diff.unified_diff()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 accepts what is right:\n{}", wrong.join("\n"));
}

/// What the cluster holds in the end, without what differs between runs.
fn end(sim: &Sim) -> (Vec<ObjectKey>, Option<Revision>, Option<Revision>, String) {
    let settled = sim.saved.settled.as_ref().map(|release| release.revision.clone());
    let held = sim.saved.held.as_ref().map(|held| held.revision.clone());
    (sim.objects.keys().cloned().collect(), settled, held, sim.state())
}

/// Kills the daemon after request `at`, once answered and once not, and compares with an undisturbed run.
fn killed_everywhere(before: &[(&str, &str)], revision: &str, kind: &str) {
    let prepared = || {
        let mut sim = Sim::new();
        for (revision, kind) in before {
            sim.push(revision, kind);
            sim.run();
        }
        sim.creations.clear();
        sim
    };
    let mut twin = prepared();
    twin.push(revision, kind);
    twin.run();
    let mut points = 0;
    for at in 0..40 {
        for answered in [true, false] {
            let mut sim = prepared();
            sim.push(revision, kind);
            let mut done = 0;
            while done < at && sim.perform(true) {
                if sim.requests.is_empty() {
                    sim.take(Event::Observed);
                }
                done += 1;
            }
            if sim.requests.is_empty() {
                continue;
            }
            points += 1;
            sim.perform(answered);
            sim.crash();
            sim.run();
            sim.fetch();
            sim.run();
            assert_eq!(
                end(&sim),
                end(&twin),
                "killed after request {at} (answered: {answered}):\n{}",
                sim.log.join("\n")
            );
            let lasting = |sim: &Sim| {
                let kept = sim.creations.iter().filter(|(key, _)| key.kind != Kind::Pod);
                kept.map(|(key, count)| (key.clone(), *count)).collect::<Vec<_>>()
            };
            assert_eq!(lasting(&sim), lasting(&twin), "an object was created twice; killed after request {at}");
        }
    }
    assert!(points >= 8, "only {points} points");
}

#[test]
fn a_killed_deployment_ends_like_an_undisturbed_one() {
    killed_everywhere(&[], "aaaa", "v1");
    killed_everywhere(&[("aaaa", "v1")], "bbbb", "v2");
    killed_everywhere(&[("aaaa", "blue1")], "bbbb", "blue2");
    killed_everywhere(&[("aaaa", "nodb")], "bbbb", "job");
}

#[test]
fn a_killed_rollback_ends_like_an_undisturbed_one() {
    killed_everywhere(&[("aaaa", "v1")], "bbbb", "bad");
    killed_everywhere(&[], "aaaa", "bad");
    killed_everywhere(&[("aaaa", "blue1"), ("bbbb", "blue2")], "cccc", "bluebad");
    killed_everywhere(&[("aaaa", "nodb")], "bbbb", "badjob");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: no panic, and in the end it rests, with no object that it did not write down.
    #[test]
    fn any_history_comes_to_rest(steps in proptest::collection::vec(0_u8..16, 1..60)) {
        let mut sim = Sim::new();
        let kinds = [
            "v1", "v2", "bad", "nodb", "empty", "gone", "broken", "big", "blue1", "blue2", "bluebad", "job", "badjob",
        ];
        for (index, step) in steps.iter().enumerate() {
            match step {
                0..=5 => { sim.perform(true); }
                6 => { sim.perform(false); sim.crash(); sim.fetch(); }
                7 => sim.fail(true),
                8 => sim.fail(false),
                9 => sim.touch(),
                10 => sim.pass(SignedDuration::from_mins(7)),
                11 => { sim.room = !sim.room; sim.take(Event::Observed); }
                12 => sim.crash(),
                other => sim.push(&format!("{index:04}"), kinds[(index + usize::from(*other)) % kinds.len()]),
            }
            for key in sim.objects.keys() {
                let known = sim.saved.inventory.iter().any(|owned| owned.key == *key);
                prop_assert!(known, "{key} is not written down");
            }
        }
        sim.room = true;
        sim.fetch();
        sim.run();
        sim.pass(SignedDuration::from_hours(3));
        sim.run();
        prop_assert!(matches!(sim.machine.state, State::Resting(_)), "{}", sim.state());
        // a release with a missing image can never be what settled
        let settled = sim.saved.settled.as_ref().map(|release| release.source.clone()).unwrap_or_default();
        prop_assert!(!settled.contains("missing"));
        if matches!(sim.machine.state, State::Resting(Rest::Settled)) {
            let images = sim.objects.values().filter_map(|o| o["spec"]["template"]["spec"]["containers"][0]["image"].as_str());
            prop_assert!(images.into_iter().all(|image| !image.contains("missing")));
        }
    }
}

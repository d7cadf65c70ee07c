//! What others do in the project beside hks, as commands of the simulation.

use super::sim::Sim;
use hks::ident::{Component, Kind, ObjectKey};
use hks::machine::{Event, Fault, State, Station};
use hks::plan::{Action, Step};
use serde_json::json;
use std::sync::Arc;

/// What the API server says where a quota is full.
pub const FULL: &str =
    "pods \"x\" is forbidden: exceeded quota: q, requested: count/pods=1, used: count/pods=20, limited: count/pods=20";
/// What a request that fails is about.
pub const OBJECT: &str = "Deployment/todo-web";

/// The object of a name such as `Deployment/todo-web`.
pub fn key(name: &str) -> ObjectKey {
    let (kind, name) = name.split_once('/').unwrap();
    ObjectKey::new(Kind::named(kind).unwrap(), name)
}

impl Sim {
    /// Whether an object of that name is there.
    pub fn has(&self, name: &str) -> bool {
        self.objects.contains_key(&key(name))
    }

    /// I4 has one declared window: between the look that proves a database empty and its deletion lies a save of the record.
    pub fn is_doomed(&self) -> bool {
        matches!(&self.machine.state, State::Passing(pass) if matches!(pass.station, Station::Dooming | Station::Pruning))
    }

    /// A volume that went since the plan was made is not made again as if it were changed.
    pub fn gone_since(&self, steps: &[Step]) -> Option<Fault> {
        let gone = |step: &&Step| {
            let claim = step.object.key.kind == Kind::PersistentVolumeClaim;
            claim && matches!(step.action, Action::Change(_)) && !self.objects.contains_key(&step.object.key)
        };
        let (object, component) = (steps.iter().find(gone)?.object.key.to_string(), Component::App("web".into()));
        Some(Fault { transient: true, object, component, message: "it is gone".into() })
    }

    /// A stranger changes an object.
    pub fn touch(&mut self) {
        if let Some(object) = self.objects.get_mut(&ObjectKey::new(Kind::Deployment, "todo-web")) {
            Arc::make_mut(object)["spec"]["replicas"] = json!(7);
        }
        self.take(Event::Observed);
    }

    /// Something happens that others do in the project.
    pub fn besides(&mut self, words: &[&str]) {
        match words {
            ["jobs", how] => {
                self.cluster.jobs_linger = *how == "linger";
                if !self.cluster.jobs_linger {
                    self.objects.retain(|key, _| key.kind != Kind::Job);
                }
                self.take(Event::Observed);
            }
            ["endpoints", how] => {
                self.cluster.unrouted = *how == "stand";
                self.take(Event::Observed);
            }
            ["theirs", how] => {
                let at = (*how == "changed").then_some(self.now);
                self.cluster.taken.insert("theirs".into(), at);
                self.take(Event::Observed);
            }
            ["limits", "changed"] => {
                self.cluster.limits = Some(self.now);
                self.take(Event::Observed);
            }
            ["quota", how] => self.cluster.quota_full = *how == "full",
            ["stranger", name] => {
                let key = key(name);
                let labels = json!({"app.kubernetes.io/managed-by": "hks", "hks.hexabase.ai/stack": "todo"});
                let object =
                    json!({"metadata": {"name": key.name, "uid": format!("theirs-{}", key.name), "labels": labels}});
                self.strangers.insert(key.clone());
                self.objects.insert(key, Arc::new(object));
                self.take(Event::Observed);
            }
            ["pause", how] => {
                let web = self.objects.get_mut(&ObjectKey::new(Kind::Deployment, "todo-web")).unwrap();
                Arc::make_mut(web)["spec"]["paused"] = json!(*how == "on");
                self.take(Event::Observed);
            }
            ["look"] => self.take(Event::Observed),
            other => self.over(other),
        }
    }
}

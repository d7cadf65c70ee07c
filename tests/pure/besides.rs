//! What others do in the project beside hks, as commands of the simulation.

use super::sim::Sim;
use hks::ident::{Component, Kind, ObjectKey};
use hks::machine::{Event, Fault};
use hks::plan::{Action, Step};
use serde_json::json;
use std::sync::Arc;

/// What the API server says where a quota is full.
pub const FULL: &str =
    "pods \"x\" is forbidden: exceeded quota: q, requested: count/pods=1, used: count/pods=20, limited: count/pods=20";
/// What a request that fails is about.
pub const OBJECT: &str = "Deployment/todo-web";

impl Sim {
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
                let (kind, name) = name.split_once('/').unwrap();
                let key = ObjectKey::new(Kind::named(kind).unwrap(), name);
                let labels = json!({"app.kubernetes.io/managed-by": "hks", "hks.hexabase.ai/stack": "todo"});
                let object = json!({"metadata": {"name": name, "uid": format!("theirs-{name}"), "labels": labels}});
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

//! The values of Secrets that no word of a project may hold: those of a Stack's own, and those of others that it takes. They come
//! from the watches and are kept nowhere else.

use crate::plan::Live;
use crate::shell::cluster::redactor::{Forms, clean};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// By Secret.
#[derive(Default)]
pub(super) struct Hidden(BTreeMap<String, Held>);

#[derive(Default)]
struct Held {
    stack: Option<Box<str>>,
    now: Forms,
    /// As it was before: what was said then is still read.
    before: Forms,
}

impl Hidden {
    /// Takes the values of a Secret; whether they are others than before.
    pub(super) fn learn(&mut self, secret: &str, stack: Option<&str>, forms: Forms) -> bool {
        let held = self.0.entry(secret.to_owned()).or_default();
        // one that another Stack takes as well stays its own
        if let Some(stack) = stack {
            held.stack = Some(stack.into());
        }
        if held.now == forms {
            return false;
        }
        held.before = std::mem::replace(&mut held.now, forms);
        true
    }

    pub(super) fn forget(&mut self, secret: &str) {
        self.0.remove(secret);
    }

    /// Whether the values of a Secret are known.
    pub(super) fn knows(&self, secret: &str) -> bool {
        self.0.contains_key(secret)
    }

    /// Words about a Stack without values; about none, without those of all.
    pub(super) fn clean(&self, stack: Option<&str>, takes: &BTreeSet<String>, text: &str) -> String {
        clean(text, self.of(stack, takes))
    }

    fn of<'h>(&'h self, stack: Option<&'h str>, takes: &'h BTreeSet<String>) -> impl Iterator<Item = &'h Forms> {
        let concerns = move |(name, held): &(&String, &Held)| {
            stack.is_none() || held.stack.as_deref() == stack || takes.contains(*name)
        };
        self.0.iter().filter(concerns).flat_map(|(_, held)| [&held.now, &held.before])
    }

    /// Cleans what the cluster says of a Stack's objects.
    pub(super) fn clean_picture(&self, live: &mut Live, stack: &str, takes: &BTreeSet<String>) {
        let forms: Vec<_> = self.of(Some(stack), takes).collect();
        if forms.is_empty() {
            return;
        }
        let cleaned = |text: &str| Some(clean(text, forms.iter().copied())).filter(|cleaned| cleaned != text);
        for object in live.objects.values_mut() {
            if says(&object["status"], &|text| cleaned(text).is_some()) {
                rewrite(&mut Arc::make_mut(object)["status"], &cleaned);
            }
        }
        for event in &mut live.events {
            if let Some(message) = cleaned(&event.message) {
                Arc::make_mut(event).message = message;
            }
        }
    }
}

/// Where words stand in a status: conditions, and states of containers.
const WORDS: &str = "message";

fn says(value: &Value, is: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| match value {
            Value::String(text) => key == WORDS && is(text),
            _ => says(value, is),
        }),
        Value::Array(list) => list.iter().any(|value| says(value, is)),
        _ => false,
    }
}

fn rewrite(value: &mut Value, cleaned: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == WORDS => {
                        if let Some(clean) = cleaned(text) {
                            *text = clean;
                        }
                    }
                    _ => rewrite(value, cleaned),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rewrite(value, cleaned)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Kind, ObjectKey};
    use serde_json::json;

    fn forms(value: &str) -> Forms {
        Forms::of([("password", value.as_bytes())])
    }

    #[test]
    fn a_stack_tells_no_value_of_its_own_or_of_what_it_takes() {
        let mut hidden = Hidden::default();
        assert!(
            hidden.learn("own", Some("a"), forms("hunter22")) && !hidden.learn("own", Some("a"), forms("hunter22"))
        );
        hidden.learn("taken", None, forms("of-others"));
        hidden.learn("elsewhere", Some("b"), forms("elsewhere"));
        let takes: BTreeSet<_> = ["taken".to_owned()].into();
        let text = "hunter22 of-others elsewhere";
        assert_eq!(hidden.clean(Some("a"), &takes, text), "*** *** elsewhere");
        assert_eq!(hidden.clean(None, &takes, text), "*** *** ***");
        // what it was before may still be read
        assert!(hidden.learn("own", Some("a"), forms("changed22")));
        assert_eq!(hidden.clean(Some("a"), &takes, "hunter22 changed22"), "*** ***");
        hidden.forget("own");
        assert!(!hidden.knows("own") && hidden.knows("taken"));
    }

    #[test]
    fn what_the_cluster_says_of_a_pod_is_cleaned() {
        let mut hidden = Hidden::default();
        hidden.learn("own", Some("a"), forms("hunter22"));
        let waiting = |text: &str| {
            json!({ "spec": { "message": text },
                "status": { "containerStatuses": [{ "state": { "waiting": { "message": text, "reason": "hunter22" } } }] } })
        };
        let key = ObjectKey::new(Kind::Pod, "a-web-1");
        let mut live = Live { objects: [(key.clone(), Arc::new(waiting("exec: hunter22")))].into(), ..Live::default() };
        hidden.clean_picture(&mut live, "a", &BTreeSet::new());
        let status = &live.objects[&key]["status"]["containerStatuses"][0]["state"]["waiting"];
        assert_eq!(status["message"], "exec: ***");
        assert_eq!(live.objects[&key]["spec"]["message"], "exec: hunter22", "what is compared stays as it is");
    }
}

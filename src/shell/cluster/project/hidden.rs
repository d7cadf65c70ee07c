//! The values of Secrets that no word of a project may hold: those of a Stack's own, and those of others that it takes. They come
//! from the watches and are kept nowhere else.

use super::slim::LONGEST_NAME;
use crate::plan::Live;
use crate::shell::cluster::redactor::{Forms, Values, clean};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of values that are kept of a project.
const MOST: usize = 4 << 20;
/// What a Secret costs besides its values and its name.
const BESIDE: usize = 128;

/// By Secret.
#[derive(Default)]
pub(super) struct Hidden {
    secrets: BTreeMap<String, Held>,
    bytes: usize,
    /// There was no room even for the name of one.
    has_missed: bool,
    /// Counts the changes.
    turn: u64,
}

#[derive(Default)]
struct Held {
    /// Nothing where there was no room for them.
    now: Option<Values>,
    /// As it was before: what was said then is still read.
    before: Values,
}

impl Held {
    fn bytes(&self) -> usize {
        self.now.as_ref().map_or(0, Values::bytes) + self.before.bytes()
    }
}

/// What gives some Secrets away, made once for all that is said until one of them changes.
pub(super) struct Prepared {
    secrets: BTreeSet<String>,
    turn: u64,
    forms: Option<Forms>,
}

impl Hidden {
    /// Takes the values of a Secret; whether they are others than before.
    pub(super) fn learn(&mut self, secret: &str, values: Values) -> bool {
        if !self.has_place(secret) {
            return false;
        }
        let held = self.secrets.entry(secret.to_owned()).or_default();
        if held.now.as_ref() == Some(&values) {
            return false;
        }
        self.bytes -= held.bytes();
        let fits = self.bytes + values.bytes() <= MOST;
        held.before =
            held.now.take().filter(|now| self.bytes + values.bytes() + now.bytes() <= MOST).unwrap_or_default();
        held.now = fits.then_some(values);
        self.bytes += held.bytes();
        self.turn += 1;
        true
    }

    /// Makes room for the name of a Secret, if there is any.
    fn has_place(&mut self, secret: &str) -> bool {
        // an API server that is none may say anything
        if self.secrets.contains_key(secret) || secret.len() > LONGEST_NAME {
            return secret.len() <= LONGEST_NAME;
        }
        let has = self.bytes + secret.len() + BESIDE <= MOST;
        self.bytes += if has { secret.len() + BESIDE } else { 0 };
        self.turn += u64::from(!has && !self.has_missed);
        self.has_missed |= !has;
        has
    }

    pub(super) fn forget(&mut self, secret: &str) {
        self.turn += 1;
        let held = self.secrets.remove(secret);
        self.bytes -= held.map_or(0, |held| held.bytes() + secret.len() + BESIDE);
    }

    /// A list begins, and will bring what there was no room for.
    pub(super) fn begin(&mut self) {
        self.has_missed = false;
        self.turn += 1;
    }

    /// Forgets all but some.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self.secrets.keys().filter(|secret| !is_there(secret)).cloned().collect();
        for secret in gone {
            self.forget(&secret);
        }
    }

    /// Whether the values of a Secret are known.
    pub(super) fn knows(&self, secret: &str) -> bool {
        self.secrets.contains_key(secret)
    }

    /// Words without the values of these Secrets. Nothing where there was no room for one of them.
    pub(super) fn clean(
        &self,
        secrets: BTreeSet<String>,
        prepared: &mut Option<Prepared>,
        text: &str,
    ) -> Option<String> {
        Some(clean(text, self.forms(secrets, prepared)?))
    }

    fn forms<'p>(&self, secrets: BTreeSet<String>, prepared: &'p mut Option<Prepared>) -> Option<&'p Forms> {
        let known = prepared.take().filter(|prepared| prepared.turn == self.turn && prepared.secrets == secrets);
        let prepared = prepared.insert(known.unwrap_or_else(|| {
            let forms = self.values(&secrets).and_then(|values| Forms::of(values.into_iter().flatten()));
            Prepared { secrets, turn: self.turn, forms }
        }));
        prepared.forms.as_ref()
    }

    /// The values of these Secrets, now and before. Nothing where there was no room for one of them.
    fn values(&self, secrets: &BTreeSet<String>) -> Option<Vec<[&Values; 2]>> {
        if self.has_missed && !secrets.iter().all(|name| self.knows(name)) {
            return None;
        }
        // a Stack has few Secrets, and its project may have thousands
        let held = secrets.iter().filter_map(|name| self.secrets.get(name));
        held.map(|held| Some([held.now.as_ref()?, &held.before])).collect()
    }

    /// Cleans what the cluster says of a Stack's objects from the values of these Secrets.
    pub(super) fn clean_picture(&self, live: &mut Live, secrets: BTreeSet<String>, prepared: &mut Option<Prepared>) {
        let forms = self.forms(secrets, prepared);
        if forms.is_some_and(Forms::is_empty) {
            return;
        }
        let cleaned = |text: &str| {
            let cleaned = forms.map_or_else(String::new, |forms| clean(text, forms));
            Some(cleaned).filter(|cleaned| cleaned != text)
        };
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
    use k8s_openapi::ByteString;
    use serde_json::json;

    fn values(value: &str) -> Values {
        Values::of(&[("password".to_owned(), ByteString(value.as_bytes().to_vec()))].into())
    }

    fn clean(hidden: &Hidden, secrets: &BTreeSet<String>, text: &str) -> Option<String> {
        hidden.clean(secrets.clone(), &mut None, text)
    }

    #[test]
    fn a_stack_tells_no_value_of_its_own_or_of_what_it_takes() {
        let mut hidden = Hidden::default();
        assert!(hidden.learn("own", values("hunter22")) && !hidden.learn("own", values("hunter22")));
        hidden.learn("taken", values("of-others"));
        hidden.learn("elsewhere", values("elsewhere"));
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let (some, all) = (named(&["own", "taken"]), named(&["own", "taken", "elsewhere"]));
        let text = "hunter22 of-others elsewhere";
        assert_eq!(clean(&hidden, &some, text).as_deref(), Some("*** *** elsewhere"));
        assert_eq!(clean(&hidden, &all, text).as_deref(), Some("*** *** ***"));
        // what it was before may still be read
        assert!(hidden.learn("own", values("changed22")));
        assert_eq!(clean(&hidden, &some, "hunter22 changed22").as_deref(), Some("*** ***"));
        hidden.forget("own");
        assert!(!hidden.knows("own") && hidden.knows("taken"));
    }

    #[test]
    fn what_the_cluster_says_of_a_pod_is_cleaned() {
        let mut hidden = Hidden::default();
        hidden.learn("own", values("hunter22"));
        let waiting = |spec: &str, text: &str| {
            json!({ "spec": { "message": spec },
                "status": { "containerStatuses": [{ "state": { "waiting": { "message": text, "reason": "hunter22" } } }] } })
        };
        let key = ObjectKey::new(Kind::Pod, "a-web-1");
        for spec in ["exec: hunter22", "nothing of that"] {
            let objects = [(key.clone(), Arc::new(waiting(spec, "exec: hunter22")))].into();
            let mut live = Live { objects, ..Live::default() };
            hidden.clean_picture(&mut live, ["own".to_owned()].into(), &mut None);
            let status = &live.objects[&key]["status"]["containerStatuses"][0]["state"]["waiting"];
            assert_eq!(status["message"], "exec: ***");
            assert_eq!(live.objects[&key]["spec"]["message"], spec, "what is compared stays as it is");
        }
    }

    #[test]
    fn where_there_is_no_room_for_values_nothing_is_said() {
        let mut hidden = Hidden::default();
        let much = "x".repeat(1 << 20);
        for index in 0..8 {
            hidden.learn(&index.to_string(), values(&format!("{index}{much}")));
        }
        let named = |names: std::ops::Range<u8>| names.map(|name| name.to_string()).collect::<BTreeSet<_>>();
        let (first, others, all) = (named(0..1), named(1..8), named(0..8));
        assert_eq!(clean(&hidden, &first, "text").as_deref(), Some("text"));
        assert_eq!((clean(&hidden, &others, "text"), clean(&hidden, &all, "text")), (None, None));
        for index in 0..8 {
            hidden.forget(&index.to_string());
        }
        assert_eq!((hidden.bytes, clean(&hidden, &all, "text").as_deref()), (0, Some("text")));
    }

    #[test]
    fn what_was_prepared_counts_until_a_secret_changes() {
        let (mut hidden, mut prepared) = (Hidden::default(), None);
        hidden.learn("own", values("hunter22"));
        let mut cleaned = |hidden: &Hidden, secrets: &[&str]| {
            let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
            hidden.clean(secrets, &mut prepared, "hunter22 changed22").unwrap()
        };
        assert_eq!(cleaned(&hidden, &["own"]), "*** changed22");
        assert_eq!(cleaned(&hidden, &[]), "hunter22 changed22");
        hidden.learn("own", values("changed22"));
        assert_eq!(cleaned(&hidden, &["own"]), "*** ***");
        hidden.forget("own");
        assert_eq!(cleaned(&hidden, &["own"]), "hunter22 changed22");
    }

    #[test]
    fn names_without_number_and_end_take_no_room() {
        let mut hidden = Hidden::default();
        assert!(!hidden.learn(&"n".repeat(1 << 20), values("hunter22")) && hidden.bytes == 0);
        for number in 0..100_000 {
            hidden.learn(&format!("{number:0200}"), Values::default());
        }
        assert!(hidden.bytes <= MOST && hidden.secrets.len() > 10_000 && hidden.secrets.len() < 20_000);
        let (known, missed) = ([format!("{:0200}", 1)].into(), [format!("{:0200}", 99_999)].into());
        assert_eq!((clean(&hidden, &known, "text").as_deref(), clean(&hidden, &missed, "text")), (Some("text"), None));
        hidden.begin();
        hidden.retain(|name| name.ends_with("00"));
        assert_eq!(clean(&hidden, &missed, "text").as_deref(), Some("text"), "it is gone, as far as is known");
        hidden.retain(|_| false);
        assert_eq!(hidden.bytes, 0);
    }
}

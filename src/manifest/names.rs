//! Names, labels and digests: what all objects have in common.

use super::{Context, HASH_ANNOTATION, MANAGED_BY, Object, STACK_LABEL, Stage};
use crate::ident::{ObjectKey, Revision};
use crate::spec::Spec;
use ring::digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Composes names and public text.
pub(super) struct Names<'a> {
    pub spec: &'a Spec,
    pub revision: &'a Revision,
    pub context: &'a Context,
}

impl Names<'_> {
    /// `<stack>-<name>`, the name of the objects of app, database, cache or job `name`.
    pub fn object(&self, name: &str) -> String {
        format!("{}-{name}", self.spec.name)
    }

    /// The name of the objects of the pooler of database `name`.
    pub fn pooler(&self, name: &str) -> String {
        format!("{}-pooler", self.object(name))
    }

    /// The labels of an object; `component` is `(label, name)` of what it belongs to.
    pub fn labels(&self, component: Option<(&str, &str)>) -> Value {
        let mut labels = json!({
            MANAGED_BY.0: MANAGED_BY.1,
            "app.kubernetes.io/part-of": self.spec.name.as_str(),
            STACK_LABEL: self.spec.name.as_str(),
        });
        if let Some((label, name)) = component {
            labels["app.kubernetes.io/name"] = json!(name);
            labels[label] = json!(name);
        }
        labels
    }

    /// The immutable selector of a component's pods.
    pub fn selector(&self, label: &str, name: &str) -> Value {
        json!({ STACK_LABEL: self.spec.name.as_str(), label: name })
    }

    /// Finishes an object: adds apiVersion, kind, name, labels and the digest.
    pub fn finish(&self, stage: Stage, key: ObjectKey, component: Option<(&str, &str)>, mut body: Value) -> Object {
        body["apiVersion"] = json!(key.kind.api_version());
        body["kind"] = json!(key.kind.to_string());
        body["metadata"] = json!({ "name": key.name, "labels": self.labels(component) });
        let hash = digest(&body.to_string(), 16);
        body["metadata"]["annotations"] = json!({ HASH_ANNOTATION: hash });
        Object { key, stage, body, recipe: BTreeMap::new(), started_is_enough: false }
    }
}

/// The first `length` hexadecimal digits of a digest of `text`.
pub(super) fn digest(text: &str, length: usize) -> String {
    let mut hex = hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
    hex.truncate(length);
    hex
}

/// A pod with an image that hks itself brings, with the login to its registry besides its own.
pub(super) fn with_login(mut pod: Value, context: &Context) -> Value {
    if let Some(secret) = &context.images.pull_secret {
        let login = json!({ "name": secret });
        match pod["imagePullSecrets"].as_array_mut() {
            // a list of names has each once
            Some(logins) if logins.contains(&login) => {}
            Some(logins) => logins.push(login),
            None => pod["imagePullSecrets"] = json!([login]),
        }
    }
    pod
}

/// A claim of a storage class; without one, of the cluster's default.
pub(super) fn of_class(mut claim: Value, class: Option<&str>) -> Value {
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = class.into();
    }
    claim
}

/// Adds an annotation, and takes it into the digest.
pub(super) fn annotate(object: &mut Object, name: &str, value: &str) {
    let hash = digest(&format!("{} {name} {value}", object.hash()), 16);
    object.body["metadata"]["annotations"] = json!({ HASH_ANNOTATION: hash, name: value });
}

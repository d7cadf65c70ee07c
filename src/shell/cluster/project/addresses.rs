//! Which Ingress or route answers for which public address. With a thousand Stacks, reading all of theirs for each that begins
//! took most of a roll-out.

use crate::ident::{Kind, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A host and a path.
pub(super) type Address = (String, String);

/// The addresses of a project.
#[derive(Default)]
pub(super) struct Addresses {
    of: BTreeMap<ObjectKey, BTreeSet<Arc<Address>>>,
    at: BTreeMap<Arc<Address>, BTreeSet<ObjectKey>>,
}

impl Addresses {
    /// An object answers for just these.
    pub(super) fn put(&mut self, key: &ObjectKey, addresses: BTreeSet<Address>) {
        if self.of.get(key).is_some_and(|known| known.iter().map(|address| &**address).eq(&addresses)) {
            return;
        }
        self.remove(key);
        if addresses.is_empty() {
            return;
        }
        let all: BTreeSet<_> = addresses.into_iter().map(Arc::new).collect();
        for address in &all {
            self.at.entry(Arc::clone(address)).or_default().insert(key.clone());
        }
        self.of.insert(key.clone(), all);
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey) {
        for address in self.of.remove(key).into_iter().flatten() {
            if let Some(keys) = self.at.get_mut(&address) {
                keys.remove(key);
                if keys.is_empty() {
                    self.at.remove(&address);
                }
            }
        }
    }

    /// The objects that answer for a host.
    pub(super) fn on(&self, host: &str) -> impl Iterator<Item = &ObjectKey> {
        let first: Arc<Address> = Arc::new((host.to_owned(), String::new()));
        self.at.range(first..).take_while(move |(address, _)| address.0 == host).flat_map(|(_, keys)| keys)
    }

    /// The objects that answer for an address.
    pub(super) fn at(&self, address: &Address) -> impl Iterator<Item = &ObjectKey> {
        self.at.get(address).into_iter().flatten()
    }
}

/// Hosts and paths that an Ingress or route answers for.
pub(super) fn addresses(kind: Kind, object: &Value) -> BTreeSet<Address> {
    let spec = &object["spec"];
    let mut found = BTreeSet::new();
    match kind {
        Kind::Ingress => {
            for rule in list(&spec["rules"]).iter().filter(|rule| rule["host"].is_string()) {
                let paths = list(&rule["http"]["paths"]).iter();
                found.extend(paths.map(|path| (text(&rule["host"]), text(&path["path"]))));
            }
        }
        Kind::HTTPRoute => {
            for host in list(&spec["hostnames"]) {
                let matches = list(&spec["rules"]).iter().flat_map(|rule| list(&rule["matches"]));
                found.extend(matches.map(|found| (text(host), text(&found["path"]["value"]))));
            }
        }
        _ => {}
    }
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_is_known_for_as_long_as_somebody_answers_for_it() {
        let ingress = |host: &str| json!({ "spec": { "rules": [{ "host": host, "http": { "paths": [{ "path": "/a" }, {}] } }, {}] } });
        let (one, other) = (ObjectKey::new(Kind::Ingress, "one"), ObjectKey::new(Kind::HTTPRoute, "other"));
        let route =
            json!({ "spec": { "hostnames": ["x", "y"], "rules": [{ "matches": [{ "path": { "value": "/a" } }] }] } });
        let mut all = Addresses::default();
        all.put(&one, addresses(Kind::Ingress, &ingress("x")));
        all.put(&other, addresses(Kind::HTTPRoute, &route));
        let at = |all: &Addresses, host: &str, path: &str| {
            all.at(&(host.to_owned(), path.to_owned())).map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(at(&all, "x", "/a"), ["Ingress/one", "HTTPRoute/other"]);
        assert_eq!(at(&all, "x", "/"), ["Ingress/one"]);
        assert_eq!((all.on("x").count(), all.on("y").count(), all.on("w").count()), (3, 1, 0));
        all.put(&one, addresses(Kind::Ingress, &ingress("z")));
        assert_eq!(
            (at(&all, "x", "/a"), at(&all, "z", "/a")),
            (vec!["HTTPRoute/other".into()], vec!["Ingress/one".into()])
        );
        all.remove(&other);
        assert_eq!(at(&all, "y", "/a"), [""; 0]);
        assert!(addresses(Kind::Service, &ingress("x")).is_empty());
    }
}

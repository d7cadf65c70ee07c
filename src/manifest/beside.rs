//! Secrets of somebody else's in the project that a Stack takes: named in its file or by the platform, and not made by hks.

use super::{Manifest, Object};
use crate::ident::{Kind, ObjectKey};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a Secret is taken for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Values of these keys.
    Values(BTreeSet<String>),
    /// The login to a registry.
    Pull,
    /// The certificate of a public host.
    Certificate,
}

/// A Secret of somebody else's, and an object that takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken<'a> {
    /// Its name.
    pub secret: &'a str,
    /// What takes it.
    pub by: &'a Object,
    /// For what.
    pub of: Use,
}

impl Manifest {
    /// The Secrets of others that objects of this take, as long as they last.
    pub fn taken(&self) -> Vec<Taken<'_>> {
        let own = |name: &str| {
            let key = ObjectKey::new(Kind::Secret, name);
            self.get(&key).is_some() || self.needed.iter().any(|needed| needed.object == key)
        };
        let mut all = vec![];
        for by in self.objects.iter().filter(|object| object.stage.lasts()) {
            let pods = match by.key.kind {
                Kind::CronJob => &by.body["spec"]["jobTemplate"]["spec"]["template"]["spec"],
                _ => &by.body["spec"]["template"]["spec"],
            };
            let names: BTreeSet<_> = keys(pods).map(|(name, _)| name).collect();
            for secret in names {
                let of = keys(pods).filter(|(name, _)| *name == secret).map(|(_, key)| key.to_owned()).collect();
                all.push(Taken { secret, by, of: Use::Values(of) });
            }
            let pulls = list(&pods["imagePullSecrets"]).filter_map(|entry| entry["name"].as_str());
            all.extend(pulls.map(|secret| Taken { secret, by, of: Use::Pull }));
            // what cert-manager has been asked for comes by itself
            let made = |name: &&str| name.starts_with(self.stack.as_str()) && name.ends_with("-certificate");
            let hosts = list(&by.body["spec"]["tls"]).filter_map(|entry| entry["secretName"].as_str());
            all.extend(hosts.filter(|name| !made(name)).map(|secret| Taken { secret, by, of: Use::Certificate }));
        }
        all.retain(|taken| !own(taken.secret));
        all
    }

    /// Their names.
    pub fn taken_names(&self) -> BTreeSet<String> {
        self.taken().into_iter().map(|taken| taken.secret.to_owned()).collect()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Secrets and keys that containers take values of.
fn keys(pods: &Value) -> impl Iterator<Item = (&str, &str)> {
    let env = list(&pods["containers"]).flat_map(|container| list(&container["env"]));
    env.filter_map(|entry| {
        let of = &entry["valueFrom"]["secretKeyRef"];
        Some((of["name"].as_str()?, of["key"].as_str().unwrap_or_default()))
    })
}

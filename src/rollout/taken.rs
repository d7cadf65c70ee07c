//! Secrets of others that a Stack takes and that are gone: what runs goes on, and can't be started again.

use super::Cause;
use crate::ident::{Component, Kind};
use crate::manifest::{Manifest, Use};
use crate::plan::{Live, Until};
use std::collections::BTreeMap;

/// By component: which Secret it lacks, and what to do.
pub fn lacking(manifest: &Manifest, live: &Live) -> Vec<(Component, Cause)> {
    let gone = manifest.taken().into_iter().filter(|taken| live.taken.get(taken.secret) == Some(&None));
    let told = gone.map(|taken| {
        let name = match taken.by.key.kind {
            Kind::Ingress => Component::Ingress(taken.by.key.name.clone()),
            _ => taken.by.component(),
        };
        let secret = taken.secret;
        let message = match taken.of {
            Use::Values(keys) => {
                let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
                format!("it is gone, and pods of {name} can't start again without it; make it again, with {keys}")
            }
            Use::Pull => format!(
                "it is gone, and images of {name} can't be pulled again without it; make it again: kubectl create secret \
                 docker-registry {secret}"
            ),
            Use::Certificate => format!(
                "it is gone, and {name} has no certificate without it; make it again: kubectl create secret tls {secret}"
            ),
        };
        (name, Cause::Refused { object: format!("Secret/{secret}"), message })
    });
    told.chain(unset(manifest, live)).collect()
}

/// Keys that `hks secret set` has set once and that are not there any more.
fn unset(manifest: &Manifest, live: &Live) -> impl Iterator<Item = (Component, Cause)> {
    let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for needed in manifest.needed.iter().filter(|needed| !Until::Set((*needed).clone()).is_met(live)) {
        keys.entry(&needed.secret).or_default().push(needed.key.clone());
    }
    keys.into_iter().map(|(secret, keys)| {
        let (stack, secret) = (manifest.stack.to_string(), secret.to_owned());
        (Component::Secret(secret.clone()), Cause::SecretMissing { stack, secret, keys })
    })
}

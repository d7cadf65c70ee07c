//! At rest hks looks now and then how much room is left on the volumes of the servers that it runs: no watch tells it, and a
//! database that has none left does not start again.

use super::health::Of;
use super::{Effect, Turn, Volume};
use crate::ident::{Kind, ObjectKey};
use crate::manifest::Object;
use crate::plan::{Live, bytes};
use crate::rollout::Cause;
use jiff::SignedDuration;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often it is looked.
pub(super) const MEASURE_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// A volume is nearly full when less than one part in this many of what its claim asks for is free.
const NEARLY_FULL: u64 = 10;

impl Turn<'_> {
    /// Asks for the room of the volumes, when it is time.
    pub(super) fn look_at_volumes(&mut self) {
        let now = self.now;
        let volumes = self.machine.kept().map(|kept| volumes(&kept.objects)).unwrap_or_default();
        let health = &mut self.machine.health;
        if volumes.is_empty() {
            health.measure_at = None;
            return;
        }
        let at = *health.measure_at.get_or_insert(now + MEASURE_EVERY);
        if at > now || health.measuring.is_some() {
            return;
        }
        health.measure_at = Some(now + MEASURE_EVERY);
        let id = self.machine.next_id();
        self.machine.health.measuring = Some(id);
        self.effects.add(Effect::Measure(id, volumes));
    }

    /// Compares what is free with what each claim asks for. A volume that was not measured is what it was.
    pub(super) fn measured_at_rest(&mut self, free: &BTreeMap<ObjectKey, u64>) {
        let Some(kept) = self.machine.kept().cloned() else { return };
        let claims = kept.objects.iter().filter(|object| object.key.kind == Kind::PersistentVolumeClaim);
        for claim in claims {
            let Some(free) = free.get(&claim.key) else { continue };
            let component = claim.component();
            let Some((size, asked)) = size(claim, self.live) else { continue };
            let of = Of::Volume(component.clone());
            if *free >= asked / NEARLY_FULL {
                self.recovered(&of);
                continue;
            }
            let left = free >> 20;
            let cause = Cause::Refused {
                object: claim.key.to_string(),
                message: format!("only {left}Mi of {size} are free; raise the storage of {component} in hks.yaml"),
            };
            self.degraded(of, cause);
        }
    }
}

/// What the claim has, as text and in bytes.
fn size(claim: &Object, live: &Live) -> Option<(String, u64)> {
    let current = live.get(&claim.key)?;
    let size = current["spec"]["resources"]["requests"]["storage"].as_str()?;
    Some((size.to_owned(), bytes(size)?))
}

/// The volumes of databases and caches: their pods have the means to be asked.
fn volumes<'a>(objects: &'a [Arc<Object>]) -> Vec<Volume> {
    let servers = objects.iter().filter(|object| object.key.kind == Kind::StatefulSet);
    let volumes = servers.flat_map(|server| {
        let pod = &server.body["spec"]["template"]["spec"];
        let list = |value: &'a Value| value.as_array().into_iter().flatten();
        list(&pod["volumes"]).filter_map(move |volume| {
            let claim = volume["persistentVolumeClaim"]["claimName"].as_str()?;
            list(&pod["containers"]).find_map(|container| {
                let mounts = container["volumeMounts"].as_array()?;
                let path = mounts.iter().find(|mount| mount["name"] == volume["name"])?["mountPath"].as_str()?;
                Some(Volume {
                    claim: ObjectKey::new(Kind::PersistentVolumeClaim, claim),
                    pod: format!("{}-0", server.key.name),
                    container: container["name"].as_str()?.to_owned(),
                    path: path.to_owned(),
                })
            })
        })
    });
    volumes.collect()
}

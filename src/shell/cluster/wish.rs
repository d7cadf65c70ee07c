//! Wishes on the way to the daemon: left on the record of a Stack, and waited for until they are answered.

use crate::ident::StackName;
use crate::record::{Answered, WISH_ANNOTATION, Want, Wish};
use crate::shell::cluster::failure::{Explain as _, Failure};
use crate::shell::cluster::record;
use crate::shell::{chance, clock};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::Duration;

/// Tries to leave a wish on a record that is written at the same time.
const TRIES: u32 = 10;
/// How long the daemon's answer is waited for. What it then does may take longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Twelve random bytes, in digits that fit everywhere.
///
/// # Errors
/// The system's random source failed.
pub fn random() -> Result<String, Failure> {
    let bytes = chance::bytes::<12>().map_err(|error| Failure::last(error.to_string()))?;
    Ok(hex::encode(bytes))
}

/// Somebody wants something now.
///
/// # Errors
/// The system's random source failed.
pub fn now(what: Want, by: String) -> Result<Wish, Failure> {
    Ok(Wish { id: random()?, what, by, at: clock::now() })
}

/// Puts a wish behind those that wait on the record already.
///
/// # Errors
/// What the API server says; or too many wait.
pub async fn leave(maps: &Api<ConfigMap>, stack: &StackName, wish: &Wish) -> Result<(), Failure> {
    let asking = || format!("failed to ask to {}", wish.what);
    let mut tries = 0;
    loop {
        let map = maps.get_metadata(&record::name(stack)).await.explain(asking)?;
        let waiting = map.annotations().get(WISH_ANNOTATION).cloned().unwrap_or_default();
        let all = wish.clone().queue(&waiting).map_err(|why| Failure::last(format!("{}: {why}", asking())))?;
        let left = json!({ "metadata": { "resourceVersion": map.resource_version(), "annotations": { WISH_ANNOTATION: all } } });
        match maps.patch_metadata(&record::name(stack), &PatchParams::default(), &Patch::Merge(&left)).await {
            // the record was kept meanwhile, or somebody else wants something
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
            written => return written.explain(asking).map(drop),
        }
    }
}

/// Waits for the answer of the daemon for 15 s at most; nothing if there was none.
///
/// # Errors
/// The record can't be read.
pub async fn answered(maps: &Api<ConfigMap>, stack: &StackName, wish: &Wish) -> Result<Option<Answered>, Failure> {
    let taken = tokio::time::timeout(PATIENCE, taken(maps.clone(), stack, wish)).await;
    if !taken.is_ok_and(|taken| taken.is_ok()) {
        return Ok(None);
    }
    let reading = || format!("failed to read the record ConfigMap/{}", record::name(stack));
    let map = maps.get(&record::name(stack)).await.explain(reading)?;
    let record =
        record::read(&serde_json::to_value(&map)?).map_err(|why| Failure::last(format!("{}: {why}", reading())))?;
    Ok(record.answered.into_iter().find(|answer| answer.id == wish.id))
}

/// Waits until the wish is taken away.
async fn taken(maps: Api<ConfigMap>, stack: &StackName, wish: &Wish) -> Result<(), watcher::Error> {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", record::name(stack)));
    let mut changes = Box::pin(watcher(maps, config).default_backoff().applied_objects());
    while let Some(map) = changes.try_next().await? {
        let waiting =
            map.annotations().get(WISH_ANNOTATION).and_then(|text| Wish::decode(text).ok()).unwrap_or_default();
        if waiting.iter().all(|other| other.id != wish.id) {
            return Ok(());
        }
    }
    Ok(())
}

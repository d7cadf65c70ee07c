//! The record of a Stack in its ConfigMap: read when an actor starts, written when the machine says so, and the Events by
//! which the project hears of it.

use crate::ident::{Component, Kind, ObjectKey, StackName};
use crate::machine::Fault;
use crate::manifest::{MANAGED_BY, STACK_LABEL};
use crate::plan;
use crate::record::{Record, Sealer, Stored, WISH_ANNOTATION, Wish};
use crate::report::Note;
use crate::shell::clock;
use crate::shell::cluster::api::merging;
use crate::shell::cluster::failure::describe_own;
use crate::shell::cluster::project::Project;
use crate::shell::cluster::project::{MANAGER, Seen};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Error;
use kube::api::{DynamicObject, PartialObjectMeta, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};
use std::sync::Arc;

/// Key of the record in the ConfigMap.
pub const KEY: &str = "record.json";
/// Key of the compressed release beside it.
pub const RELEASE_KEY: &str = "release.json.zst";
/// Key of the seal of both.
pub const SEAL_KEY: &str = "seal";

/// When it was kept, by the clock of who did: it tells a record of before from the one that was kept last.
const KEPT_ANNOTATION: &str = "hks.hexabase.ai/kept-at";

/// What hks keeps in the ConfigMap; somebody else may keep more there.
const OWN: [&str; 3] = [KEY, RELEASE_KEY, SEAL_KEY];

/// Name of the objects in which hks keeps its own state of a Stack.
pub fn name(stack: &StackName) -> String {
    format!("hks-{stack}")
}

/// Reads the record; a Stack that was never deployed has an empty one.
///
/// # Errors
/// It can't be had; or, as the inner one, it can't be read, in words. To go on with an empty one would forget what a rollback
/// needs.
pub async fn load(project: &Project, stack: &StackName) -> Result<Result<Record, String>, Fault> {
    let name = name(stack);
    let found = project.api(Kind::ConfigMap).get_opt(&name).await;
    let found = found.map_err(|error| describe_own(&error, format!("ConfigMap/{name}")))?;
    let Some(map) = found else { return Ok(Ok(Record::default())) };
    let mut record = read(&map.data);
    if let Ok(record) = &mut record
        && !is_sealed(project.sealer(), stack, &map.data)
    {
        tracing::info!(%stack, "its record has no seal of this hks; it counts as far as what runs proves it");
        record.doubt();
    }
    project.learn(Kind::ConfigMap, Seen::new(json!({ "metadata": map.metadata })));
    Ok(record)
}

/// The record in a ConfigMap; an empty one if there is none in it.
///
/// # Errors
/// It can't be read, in words.
pub fn read(map: &Value) -> Result<Record, String> {
    let Some(text) = map["data"][KEY].as_str() else { return Ok(Record::default()) };
    Record::decode(text, release(map).as_deref())
}

fn release(map: &Value) -> Option<Vec<u8>> {
    map["binaryData"][RELEASE_KEY].as_str().and_then(|text| STANDARD.decode(text).ok())
}

/// Whether a record is as this hks wrote it. Where nothing is sealed, and where there is none yet, it is.
fn is_sealed(sealer: Option<&Sealer>, stack: &StackName, map: &Value) -> bool {
    let (Some(sealer), Some(json)) = (sealer, map["data"][KEY].as_str()) else { return true };
    let seal = map["data"][SEAL_KEY].as_str().unwrap_or_default();
    sealer.holds(stack.as_str(), json, release(map).as_deref(), seal)
}

/// The ConfigMap with the record of a Stack, as last seen: without what is in it.
pub fn seen(project: &Project, stack: &StackName) -> Option<Arc<Value>> {
    project.get(&ObjectKey::new(Kind::ConfigMap, name(stack)))
}

/// When a record was kept; records of before do not say.
pub fn kept_at(map: &Value) -> Option<&str> {
    plan::read::annotation(map, KEPT_ANNOTATION)
}

/// Whether somebody else than hks has written in a record.
pub fn is_of_another_hand(map: &Value) -> bool {
    plan::set_by_others(map).any(|(key, _)| OWN.contains(&key))
}

/// Writes the record in the place of the one that was seen last. A wish that it has answered is taken away with it.
///
/// # Errors
/// What the API server says; also that the record is another one by now. Between the proof that this daemon acts and this it may
/// have slept, and another one has written since.
pub async fn save(project: &Project, stack: &StackName, record: &Record) -> Result<(), Fault> {
    let name = name(stack);
    let described = |error: Error| describe_own(&error, format!("ConfigMap/{name}"));
    let stored = record.encode().map_err(|message| failed(stack, message))?;
    let seal = project.sealer().map(|sealer| sealer.seal(stack.as_str(), &stored));
    let Stored { json: text, release } = stored;
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": project.namespace,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, STACK_LABEL: stack.as_str() },
            "annotations": { KEPT_ANNOTATION: clock::now().to_string() },
        },
        "data": { KEY: text },
    });
    if let Some(seal) = seal {
        body["data"][SEAL_KEY] = seal.into();
    }
    if let Some(version) =
        seen(project, stack).and_then(|map| map["metadata"]["resourceVersion"].as_str().map(str::to_owned))
    {
        body["metadata"]["resourceVersion"] = version.into();
    }
    if let Some(release) = release {
        body["binaryData"] = json!({ RELEASE_KEY: STANDARD.encode(release.bytes()) });
    }
    let params = PatchParams::apply(MANAGER).force();
    let api = project.api(Kind::ConfigMap);
    // what was sent is known: only the metadata comes back
    let mut written = api.patch_metadata(&name, &params, &Patch::Apply(&body)).await.map_err(described)?;
    let wishes = wishes(&written, record);
    let seen = serde_json::to_value(&written.metadata).map_err(Error::SerdeError).map_err(described)?;
    let seen = json!({ "metadata": seen });
    let shared = is_of_another_hand(&seen);
    if wishes.is_some() || shared {
        let mut away = json!({ "metadata": { "resourceVersion": written.metadata.resource_version }});
        // server-side apply takes away only what it has applied itself, and the wish is a person's
        if let Some(left) = wishes {
            away["metadata"]["annotations"] = json!({ WISH_ANNOTATION: left });
        }
        // who has written the same owns it as well
        if shared {
            away["metadata"]["managedFields"] = plan::disowned(&seen, &OWN.into());
        }
        let params = merging();
        match api.patch_metadata(&name, &params, &Patch::Merge(&away)).await {
            Ok(map) => written = map,
            // something newer has come meanwhile; the id of this wish is in the record
            Err(Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(described(error)),
        }
    }
    project.learn_of(Kind::ConfigMap, &written);
    Ok(())
}

/// What is left of the wishes on a record that some of were answered: the others, or nothing at all. What can't be read is not
/// answered by anybody.
fn wishes(map: &PartialObjectMeta<DynamicObject>, record: &Record) -> Option<Value> {
    let text = map.metadata.annotations.as_ref()?.get(WISH_ANNOTATION)?;
    let Ok(all) = Wish::decode(text) else { return Some(Value::Null) };
    let waiting: Vec<_> = all.iter().filter(|wish| !record.has_answered(wish)).cloned().collect();
    let left = || if waiting.is_empty() { Value::Null } else { Wish::encode(&waiting).into() };
    (waiting.len() < all.len()).then(left)
}

/// Tells the project by a Kubernetes Event about the Stack's record. Whoever may not write Events is not heard; nothing depends
/// on it.
pub async fn announce(project: &Project, stack: &StackName, note: &Note) {
    let map = seen(project, stack);
    let reference = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("ConfigMap".into()),
        name: Some(name(stack)),
        namespace: Some(project.namespace.clone()),
        uid: map.as_ref().map(|map| crate::plan::uid(map).to_owned()),
        ..ObjectReference::default()
    };
    let recorder = Recorder::new(project.client.clone(), Reporter { controller: MANAGER.into(), instance: None });
    let event = Event {
        type_: if note.warning { EventType::Warning } else { EventType::Normal },
        reason: note.reason.into(),
        note: Some(note.text.clone()),
        action: note.reason.into(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &reference).await {
        tracing::debug!(%stack, %error, "failed to write an Event");
    }
}

fn failed(stack: &StackName, message: String) -> Fault {
    let (object, component) = (format!("ConfigMap/{}", name(stack)), Component::Stack);
    Fault { transient: false, object, component, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SealKey;

    #[test]
    fn a_record_is_sealed_as_it_was_written_and_not_otherwise() {
        let key = |byte: u8| SealKey::new(&[byte; SealKey::LEN]).unwrap().of("team-a/shop");
        let (sealer, stack) = (key(1), StackName::new("todo").unwrap());
        let stored = Record::default().encode().unwrap();
        let seal = sealer.seal(stack.as_str(), &stored);
        let sealed = json!({ "data": { KEY: stored.json, SEAL_KEY: seal } });
        assert!(is_sealed(Some(&sealer), &stack, &sealed));
        let mut bare = sealed.clone();
        bare["data"].as_object_mut().unwrap().remove(SEAL_KEY);
        assert!(!is_sealed(Some(&sealer), &stack, &bare), "nobody has sealed it");
        let mut other = sealed.clone();
        other["data"][KEY] = format!("{} ", stored.json).into();
        assert!(!is_sealed(Some(&sealer), &stack, &other), "it is another one");
        let mut more = sealed.clone();
        more["binaryData"] = json!({ RELEASE_KEY: STANDARD.encode("x") });
        assert!(!is_sealed(Some(&sealer), &stack, &more), "it has another release");
        assert!(!is_sealed(Some(&key(2)), &stack, &sealed), "another hks has sealed it");
        assert!(!is_sealed(Some(&sealer), &StackName::new("shop").unwrap(), &sealed), "it is of another Stack");
        // nothing is sealed, or there is nothing yet
        assert!(is_sealed(None, &stack, &bare));
        assert!(is_sealed(Some(&sealer), &stack, &json!({ "metadata": {} })));
    }
}

//! Values of Secrets: made here, from the system's random source, and seen by nobody else.

use crate::manifest::{Ingredient, Recipe};
use crate::plan::Step;
use crate::shell::apply::MANAGER;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Error;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// URL-safe, so that a password can stand in any URL, shell word or SQL string unquoted. 64 characters: 6 bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Creates the Secret, or adds the keys that are missing. Existing values are never changed.
pub async fn ensure(api: &Api<DynamicObject>, step: &Step, body: &Value) -> Result<DynamicObject, Error> {
    let name = step.object.key.name.as_str();
    let mut found = api.get_opt(name).await?;
    if found.is_none() {
        let mut body = body.clone();
        body["data"] = Value::Object(values(&step.object.recipe, &Map::new())?);
        let new: DynamicObject = serde_json::from_value(body).map_err(Error::SerdeError)?;
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        match api.create(&params, &new).await {
            // somebody was faster, or an earlier answer was lost
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => found = Some(api.get(name).await?),
            created => return created,
        }
    }
    let existing = found.map(|found| found.data["data"].clone()).unwrap_or_default();
    let existing = existing.as_object().cloned().unwrap_or_default();
    let data = values(&step.object.recipe, &existing)?;
    let patch = json!({ "metadata": body["metadata"], "data": data });
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(&patch)).await
}

/// Base64 values of the keys of `recipe` that `existing` does not have.
fn values(recipe: &BTreeMap<String, Recipe>, existing: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let mut plain: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in existing {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        plain.insert(key, String::from_utf8_lossy(&bytes).into_owned());
    }
    for (key, how) in recipe {
        let value = match how {
            Recipe::Random(length) => random(*length)?,
            Recipe::Text(text) => text.clone(),
            Recipe::Composed(_) => continue,
        };
        plain.entry(key).or_insert(value);
    }
    let mut missing = Map::new();
    for (key, how) in recipe.iter().filter(|(key, _)| !existing.contains_key(*key)) {
        let value = match how {
            Recipe::Composed(parts) => parts
                .iter()
                .map(|part| match part {
                    Ingredient::Text(text) => *text,
                    Ingredient::Key(key) => plain.get(key).map(String::as_str).unwrap_or_default(),
                })
                .collect(),
            Recipe::Random(_) | Recipe::Text(_) => plain.get(key.as_str()).cloned().unwrap_or_default(),
        };
        missing.insert(key.clone(), STANDARD.encode(value).into());
    }
    Ok(missing)
}

fn random(length: usize) -> Result<String, Error> {
    let mut bytes = vec![0_u8; length];
    let failed = |_| Error::Service("the system's random source failed".into());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(value: &Value) -> String {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn existing_values_are_kept_and_composed_into_new_ones() -> Result<(), Error> {
        let recipe = BTreeMap::from([
            ("password".to_owned(), Recipe::Random(32)),
            ("url".to_owned(), Recipe::Composed(vec![Ingredient::Text("x://"), Ingredient::Key("password")])),
        ]);
        let first = values(&recipe, &Map::new())?;
        assert_eq!(decode(&first["password"]).len(), 32);
        assert_eq!(decode(&first["url"]), format!("x://{}", decode(&first["password"])));
        let mut kept = first.clone();
        kept.remove("url");
        assert_eq!(values(&recipe, &kept)?, Map::from_iter([("url".to_owned(), first["url"].clone())]));
        assert_eq!(values(&recipe, &first)?, Map::new());
        Ok(())
    }
}

//! Values of Secrets: made here, from the system's random source, and seen by nobody else.

use crate::manifest::{Ingredient, Recipe, SECRET_SET_ANNOTATION};
use crate::plan::{self, Step};
use crate::shell::cluster::api::{making, merging};
use crate::shell::cluster::redactor::URL_PART;
use crate::shell::{chance, clock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Error;
use kube::api::{Api, DynamicObject, Patch};
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// URL-safe, so that a password can stand in any URL, shell word or SQL string unquoted. 64 characters: 6 bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Creates the Secret, or adds the keys that are missing. Existing values are never changed, except for those that are
/// composed of one that was missing, or that somebody else has set. A password that somebody has set is the password from then
/// on: what it was before, nobody knows, and the servers that start anew with it take it.
pub async fn ensure(api: &Api<DynamicObject>, step: &Step, body: &Value) -> Result<DynamicObject, Error> {
    let name = step.object.key.name.as_str();
    let mut found = api.get_opt(name).await?;
    let copied = copied(api, &step.object.recipe).await?;
    let mut metadata = body["metadata"].clone();
    if step.renew {
        // pods that run with the values of before are made anew by this
        metadata["annotations"][SECRET_SET_ANNOTATION] = json!(clock::now().to_string());
    }
    if found.is_none() {
        let mut body = body.clone();
        body["metadata"] = metadata.clone();
        body["data"] = Value::Object(values(&step.object.recipe, &Map::new(), &copied, &BTreeSet::new())?);
        let new: DynamicObject = serde_json::from_value(body).map_err(Error::SerdeError)?;
        let params = making();
        match api.create(&params, &new).await {
            // somebody was faster, or an earlier answer was lost
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => found = Some(api.get(name).await?),
            created => return created,
        }
    }
    let found = found.map(serde_json::to_value).transpose().map_err(Error::SerdeError)?.unwrap_or_default();
    // a merge leaves what it does not name
    for (part, name) in plan::outdated(&found, &metadata) {
        metadata[part][name] = Value::Null;
    }
    let existing = found["data"].as_object().cloned().unwrap_or_default();
    let set: BTreeSet<_> = plan::set_by_others(&found).map(|(key, _)| key).collect();
    let set: BTreeSet<_> = step.object.recipe.keys().map(String::as_str).filter(|key| set.contains(key)).collect();
    let data = values(&step.object.recipe, &existing, &copied, &set)?;
    if !set.is_empty() {
        // whoever has set it meanwhile once more is heard the next time
        metadata["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
        metadata["managedFields"] = plan::disowned(&found, &set);
    }
    let patch = json!({ "metadata": metadata, "data": data });
    let params = merging();
    api.patch(name, &params, &Patch::Merge(&patch)).await
}

/// What the recipe takes from other Secrets of the project, by key.
async fn copied(
    api: &Api<DynamicObject>,
    recipe: &BTreeMap<String, Recipe>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    for (name, how) in recipe {
        let Recipe::Copied { secret, key } = how else { continue };
        let other = api.get_opt(secret).await?;
        let value = other.as_ref().and_then(|other| other.data["data"][key.as_ref()].as_str());
        let value = value.and_then(|text| STANDARD.decode(text).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
        let value = value.filter(|value| !value.trim().is_empty()).ok_or_else(|| {
            let message = format!("the Secret {secret} has no key `{key}` with a text; make it, then push again");
            Error::Api(Box::new(kube::core::Status::failure(&message, "NotFound").with_code(404)))
        })?;
        found.insert(name.clone(), value.trim().to_owned());
    }
    Ok(found)
}

/// Base64 values of the keys of `recipe` that `existing` does not have, or has composed of such. Of those that somebody else
/// has `set` only a password stays.
fn values(
    recipe: &BTreeMap<String, Recipe>,
    existing: &Map<String, Value>,
    copied: &BTreeMap<String, String>,
    set: &BTreeSet<&str>,
) -> Result<Map<String, Value>, Error> {
    let mut plain: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in existing {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let value = String::from_utf8_lossy(&bytes).into_owned();
        let stays = match recipe.get(key) {
            Some(Recipe::Random(_)) => !set.contains(key.as_str()) || is_a_password(&value),
            _ => !set.contains(key.as_str()),
        };
        if stays {
            plain.insert(key, value);
        }
    }
    let kept: BTreeSet<&str> = plain.keys().copied().collect();
    for (key, how) in recipe {
        let value = match how {
            Recipe::Random(length) => random(*length)?,
            Recipe::Text(text) => text.clone(),
            Recipe::Copied { .. } => copied.get(key).cloned().unwrap_or_default(),
            Recipe::Composed(_) => continue,
        };
        plain.entry(key).or_insert(value);
    }
    let is_new = |key: &str| !kept.contains(key) || set.contains(key);
    let outdated = |how: &Recipe| match how {
        Recipe::Composed(parts) => parts.iter().any(|part| matches!(part, Ingredient::Key(key) if is_new(key))),
        Recipe::Random(_) | Recipe::Text(_) | Recipe::Copied { .. } => false,
    };
    let mut missing = Map::new();
    for (key, how) in recipe.iter().filter(|(key, how)| !kept.contains(key.as_str()) || outdated(how)) {
        let value = match how {
            Recipe::Composed(parts) => parts
                .iter()
                .map(|part| match part {
                    Ingredient::Text(text) => text.clone().into_owned(),
                    // all that is composed are URLs, and a password of somebody else's may hold any character
                    Ingredient::Key(key) => {
                        let value = plain.get(key.as_ref()).map(String::as_str).unwrap_or_default();
                        utf8_percent_encode(value, URL_PART).to_string()
                    }
                })
                .collect(),
            Recipe::Random(_) | Recipe::Text(_) | Recipe::Copied { .. } => {
                plain.get(key.as_str()).cloned().unwrap_or_default()
            }
        };
        missing.insert(key.clone(), STANDARD.encode(value).into());
    }
    Ok(missing)
}

/// Whether a server can have it as a password: one line of text.
fn is_a_password(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER)
}

fn random(length: usize) -> Result<String, Error> {
    let mut bytes = vec![0_u8; length];
    chance::fill(&mut bytes).map_err(|error| Error::Service(error.into()))?;
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
            (
                "url".to_owned(),
                Recipe::Composed(vec![Ingredient::Text("x://".into()), Ingredient::Key("password".into())]),
            ),
        ]);
        let none = BTreeMap::new();
        let values = |recipe: &_, existing: &_, copied: &_| values(recipe, existing, copied, &BTreeSet::new());
        let first = values(&recipe, &Map::new(), &none)?;
        assert_eq!(decode(&first["password"]).len(), 32);
        assert_eq!(decode(&first["url"]), format!("x://{}", decode(&first["password"])));
        let mut kept = first.clone();
        kept.remove("url");
        assert_eq!(values(&recipe, &kept, &none)?, Map::from_iter([("url".to_owned(), first["url"].clone())]));
        assert_eq!(values(&recipe, &first, &none)?, Map::new());
        let mut lost = first.clone();
        lost.remove("password");
        let again = values(&recipe, &lost, &none)?;
        assert_ne!(again["password"], first["password"]);
        assert_eq!(
            decode(&again["url"]),
            format!("x://{}", decode(&again["password"])),
            "a URL goes with its password"
        );
        Ok(())
    }

    #[test]
    fn a_copied_password_can_stand_in_a_url() -> Result<(), Error> {
        let recipe = BTreeMap::from([
            ("password".to_owned(), Recipe::Copied { secret: "own".into(), key: "password".into() }),
            (
                "url".to_owned(),
                Recipe::Composed(vec![Ingredient::Text("x://".into()), Ingredient::Key("password".into())]),
            ),
        ]);
        let copied = BTreeMap::from([("password".to_owned(), "a/b:c@d".to_owned())]);
        let made = values(&recipe, &Map::new(), &copied, &BTreeSet::new())?;
        assert_eq!((decode(&made["password"]), decode(&made["url"])), ("a/b:c@d".into(), "x://a%2Fb%3Ac%40d".into()));
        Ok(())
    }

    #[test]
    fn a_password_that_somebody_has_set_counts_and_all_else_is_put_back() -> Result<(), Error> {
        let parts = || vec![Ingredient::Text("x://".into()), Ingredient::Key("password".into())];
        let recipe = BTreeMap::from([
            ("password".to_owned(), Recipe::Random(32)),
            ("host".to_owned(), Recipe::Text("main".into())),
            ("url".to_owned(), Recipe::Composed(parts())),
        ]);
        let set = |password: &[u8], keys: &[&str]| {
            let texts = [("password", password), ("host", &b"elsewhere"[..]), ("url", &b"x://old"[..])];
            let existing = texts.map(|(key, text)| (key.to_owned(), Value::from(STANDARD.encode(text))));
            let made =
                values(&recipe, &existing.into_iter().collect(), &BTreeMap::new(), &keys.iter().copied().collect())?;
            Ok::<_, Error>(made.into_iter().map(|(key, value)| (key, decode(&value))).collect::<BTreeMap<_, _>>())
        };
        let told = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(set(b"new/one", &["password"])?, told(&[("url", "x://new%2Fone")]));
        assert_eq!(set(b"as it was", &["url", "host"])?, told(&[("host", "main"), ("url", "x://as%20it%20was")]));
        for unusable in [&b""[..], b"two\nlines", b"\xff"] {
            let made = set(unusable, &["password"])?;
            assert_eq!(made["password"].len(), 32, "{unusable:?}");
            assert_eq!(made["url"], format!("x://{}", made["password"]));
        }
        Ok(())
    }
}

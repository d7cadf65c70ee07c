//! An object as the API server writes it, read once: kube's own type for objects of any kind reads each twice, and takes the
//! metadata apart that hks keeps whole.

use crate::plan;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject};
use kube::core::DynamicResourceScope;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// An object of any kind.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The whole object.
    pub value: Value,
    /// Name and version of it, which is all that a watch asks for.
    head: ObjectMeta,
}

impl Seen {
    /// An object that is known.
    pub fn new(value: Value) -> Self {
        let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
        let (name, resource_version) = (text("name"), text("resourceVersion"));
        Self { head: ObjectMeta { name, resource_version, ..ObjectMeta::default() }, value }
    }

    /// Bytes of its text.
    pub fn size(&self) -> usize {
        super::item::size(&self.value)
    }

    /// Its version; versions of one kind are ordered (KEP-5504).
    pub fn version(&self) -> u64 {
        self.head.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part::Object.deserialize(deserializer).map(Self::new)
    }
}

/// A part of an object on the way to `metadata.managedFields`: the fields that hks and the controllers manage are half of what
/// the API server sends, and nobody asks for them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Object,
    Metadata,
    Managed,
    Entry,
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let of_others = || map.get("manager").and_then(Value::as_str).is_none_or(|by| plan::is_of_others(by, None));
            let value = match (self, key.as_str()) {
                (Part::Object, "metadata") => access.next_value_seed(Part::Metadata)?,
                (Part::Metadata, "managedFields") => access.next_value_seed(Part::Managed)?,
                (Part::Entry, "fieldsV1") if !of_others() => {
                    access.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => access.next_value()?,
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        if self == Part::Managed {
            while let Some(entry) = access.next_element_seed(Part::Entry)? {
                list.push(entry);
            }
        } else {
            while let Some(item) = access.next_element()? {
                list.push(item);
            }
        }
        Ok(Value::Array(list))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl Resource for Seen {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(of)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(of)
    }

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(of)
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::api_version(of)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.head
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;
    use serde_json::json;

    #[test]
    fn an_object_stays_as_it_is() {
        let object = json!({ "metadata": { "name": "a", "resourceVersion": "7", "labels": { "b": "c" } }, "spec": {} });
        let seen: Seen = serde_json::from_value(object.clone()).unwrap();
        assert_eq!((seen.name_any(), seen.resource_version().as_deref()), ("a".to_owned(), Some("7")));
        assert_eq!(serde_json::to_value(&seen).unwrap(), object);
    }

    #[test]
    fn of_managed_fields_only_those_of_others_are_read() {
        // as the API server writes it, the manager stands first; in another order all is kept
        let text = r#"{"metadata": {"name": "a", "managedFields": [{"manager": "hks", "fieldsV1": {"f:spec": {}}},
            {"manager": "kubectl-edit", "fieldsV1": {"f:b": {}}}, {"fieldsV1": {"f:c": {}}, "manager": "hks"}, null]},
            "spec": {"metadata": 1}}"#;
        let seen: Seen = serde_json::from_str(text).unwrap();
        let managed = json!([
            { "manager": "hks" },
            { "manager": "kubectl-edit", "fieldsV1": { "f:b": {} } },
            { "manager": "hks", "fieldsV1": { "f:c": {} } },
            null,
        ]);
        let metadata = json!({ "name": "a", "managedFields": managed });
        assert_eq!(seen.value, json!({ "metadata": metadata, "spec": { "metadata": 1 } }));
        for odd in [json!({ "metadata": null }), json!({ "metadata": "text" }), json!([1])] {
            assert_eq!(serde_json::from_value::<Seen>(odd.clone()).unwrap().value, odd);
        }
    }
}

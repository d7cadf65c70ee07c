//! The JSON Schema of hks.yaml, generated from the wire types, and the validator made of it.

use super::wire;
use jsonschema::{PatternOptions, Validator};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The schema, built once.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

/// The validator, built once. A schema that cannot be built is a mistake in the wire types, which a test excludes.
pub(super) static VALIDATOR: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
    // linear-time patterns: the input is not ours
    jsonschema::options().with_pattern_options(PatternOptions::regex()).build(&SCHEMA).map_err(|e| e.to_string())
});

/// The JSON Schema (2020-12) of hks.yaml.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<wire::Stack>().to_value();
    tidy(&mut schema);
    if let Value::Object(root) = &mut schema {
        let free = serde_json::json!({ "^x-": { "description": "Free for your own use, such as YAML anchors." } });
        root.insert("patternProperties".to_owned(), free);
    }
    schema
}

/// Optional means that a key may be left out, never that it may be null; and formats are Rust's, not JSON Schema's.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            tidy_object(map);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn tidy_object(map: &mut Map<String, Value>) {
    let is_null = |v: &Value| v.as_str() == Some("null") || v.get("type").and_then(Value::as_str) == Some("null");
    if map.get("format").is_some_and(Value::is_string) {
        map.remove("format");
    }
    if map.get("default").is_some_and(Value::is_null) {
        map.remove("default");
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    for key in ["type", "enum", "anyOf"] {
        let Some(Value::Array(options)) = map.get_mut(key) else { continue };
        options.retain(|v| !is_null(v) && !v.is_null());
        if let ([only], true) = (options.as_slice(), key != "enum") {
            let only = only.clone();
            match (key, only) {
                ("anyOf", Value::Object(inner)) => {
                    map.remove(key);
                    map.extend(inner);
                }
                (_, only) => {
                    map.insert(key.to_owned(), only);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validator_builds() {
        assert_eq!(VALIDATOR.as_ref().map(|_| ()), Ok(()));
    }

    #[test]
    fn the_schema_is_a_valid_schema() {
        assert!(jsonschema::meta::is_valid(&schema()));
    }

    #[test]
    fn nothing_is_nullable() {
        assert!(!schema().to_string().contains("\"null\""));
    }
}

//! What keeps the number of violations small that are there at one time: mappings and lists are cut to what they may hold, and
//! a file that is not valid is looked at a few entries at a time.

use crate::spec::place::Path;
use crate::spec::schema::SCHEMA;
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value, json};

/// Entries of a section that are looked at together.
const AT_A_TIME: usize = 4;

/// A mapping or list that has more than it may have.
pub(super) struct Crowd {
    pub path: Path,
    /// How many there are.
    pub has: usize,
    /// How many there may be.
    pub most: usize,
    /// Whether it is a list.
    pub list: bool,
}

/// Cuts what holds too much.
pub(super) fn cut(value: &mut Value) -> Vec<Crowd> {
    let mut found = vec![];
    walk(value, &SCHEMA, &mut Path::new(), &mut found);
    found
}

fn walk(value: &mut Value, schema: &Value, path: &mut Path, found: &mut Vec<Crowd>) {
    let referred = schema["$ref"].as_str().and_then(|to| SCHEMA.pointer(to.trim_start_matches('#')));
    let schema = referred.unwrap_or(schema);
    let most = |key: &str| schema[key].as_u64().and_then(|most| usize::try_from(most).ok());
    match value {
        Value::Object(map) => {
            let has = map.len();
            if let Some(most) = most("maxProperties").filter(|most| has > *most) {
                found.push(Crowd { path: path.clone(), has, most, list: false });
                let mut number = 0;
                map.retain(|_, _| {
                    number += 1;
                    number <= most
                });
            }
            for (key, value) in map {
                let below = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
                if let Some(below) = below.filter(|below| below.is_object() && !value.is_string()) {
                    path.push(key.clone());
                    walk(value, below, path, found);
                    path.pop();
                }
            }
        }
        Value::Array(items) => {
            let has = items.len();
            if let Some(most) = most("maxItems").filter(|most| has > *most) {
                found.push(Crowd { path: path.clone(), has, most, list: true });
                items.truncate(most);
            }
        }
        _ => {}
    }
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        walk(value, one, path, found);
    }
}

/// Tells what the schema refuses in a file, until `tell` has had enough.
pub(super) fn refused(validator: &Validator, file: &mut Value, tell: &mut dyn FnMut(&ValidationError<'_>) -> bool) {
    if validator.is_valid(file) {
        return;
    }
    let mut sections = vec![];
    for (name, value) in file.as_object_mut().into_iter().flatten() {
        // what belongs to whom is said once
        let many = SCHEMA["properties"][name]["additionalProperties"].is_object();
        if let (true, Value::Object(entries)) = (many, value) {
            sections.push((name.clone(), std::mem::take(entries)));
        }
    }
    let mut more = validator.iter_errors(file).all(|error| tell(&error));
    for (name, entries) in sections {
        let mut entries = entries.into_iter().peekable();
        let mut done = Map::new();
        while entries.peek().is_some() {
            let some: Map<_, _> = entries.by_ref().take(AT_A_TIME).collect();
            let mut piece = json!({ "apiVersion": "hks.hexabase.ai/v1", "kind": "Stack", "metadata": { "name": "a" } });
            piece[&name] = Value::Object(some);
            more = more && validator.iter_errors(&piece).all(|error| tell(&error));
            done.extend(piece[&name].as_object_mut().map(std::mem::take).unwrap_or_default());
        }
        file[&name] = Value::Object(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_cut() {
        let ports: Map<_, _> = (0..60).map(|number| (format!("p{number}"), json!(number))).collect();
        let mut value =
            json!({ "apps": { "web": { "ports": ports, "args": vec!["x"; 1_100] } }, "x-a": { "ports": {} } });
        let found: Vec<_> =
            cut(&mut value).into_iter().map(|crowd| (crowd.path.join("."), crowd.has, crowd.most)).collect();
        assert_eq!(found, [("apps.web.args".to_owned(), 1_100, 1_000), ("apps.web.ports".to_owned(), 60, 50)]);
        assert_eq!(value["apps"]["web"]["ports"].as_object().map(Map::len), Some(50));
        assert_eq!(cut(&mut value).len(), 0);
    }

    #[test]
    fn a_file_is_whole_again() {
        let validator = crate::spec::schema::VALIDATOR.as_ref().unwrap();
        let mut file = json!({ "apps": {}, "jobs": { "j": 1 }, "deploy": { "x": 1 }, "kind": 5 });
        for number in 0..10 {
            file["apps"][format!("a{number}")] = json!({ "image": number });
        }
        let before = file.clone();
        let mut paths = std::collections::BTreeSet::new();
        refused(validator, &mut file, &mut |error| {
            paths.insert(error.instance_path().as_str().to_owned());
            true
        });
        assert_eq!(file, before);
        assert!(paths.len() == 14 && paths.contains("/apps/a9/image") && paths.contains("/jobs/j"), "{paths:?}");
    }
}

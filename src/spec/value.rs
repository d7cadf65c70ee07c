//! The values of the file: YAML scalars become JSON ones, under strict rules.

use super::diagnostic::{Code, Diagnostic};
use super::place::{MAX_DEPTH, MAX_NODES};
use serde_json::{Number, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{NonFiniteFloatPolicy, Options};

/// Reads the one document of `source`. Duplicate keys have been reported already; the first one counts.
pub(super) fn read(source: &str, file: &str) -> Result<Value, Diagnostic> {
    match serde_saphyr::from_str_with_options::<Value>(source, options()) {
        Ok(value) => Ok(integers(value)),
        Err(error) => {
            let error = error.without_snippet();
            let place = error.location().map_or((1, 1), |l| {
                let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
                (number(l.line()), number(l.column()))
            });
            let (code, message, help) = match error {
                serde_saphyr::Error::NonFiniteFloat { .. } => {
                    (Code::WrongType, "not a finite number", "quote it if it is meant as text")
                }
                serde_saphyr::Error::DuplicateMappingKey { .. } => {
                    (Code::DuplicateKey, "duplicate key", "keep one of them")
                }
                serde_saphyr::Error::Budget { .. } => {
                    (Code::TooComplex, "too many values or aliases", "split the Stack; use fewer aliases")
                }
                _ => (Code::Syntax, "not valid YAML", "check indentation, colons and quotes"),
            };
            Err(Diagnostic::new(code, file, place, "", message, help))
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: MAX_DEPTH + 1,
            max_nodes: MAX_NODES + 1,
            max_events: 4 * MAX_NODES,
            max_anchors: 1_000,
            max_aliases: 1_000,
            max_recorded_anchor_events: 8 * MAX_NODES,
            max_recorded_anchor_bytes: 8 * super::MAX_BYTES,
            max_total_scalar_bytes: 8 * super::MAX_BYTES,
            flow_nesting_limit: MAX_DEPTH + 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2 * MAX_NODES,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::FirstWins,
        merge_keys: MergeKeyPolicy::Error,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
    }
}

/// `8080.0` is an integer to JSON Schema, so it is one here.
fn integers(value: Value) -> Value {
    /// Up to here every integer has its own float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() && f.fract() == 0.0 && f.abs() < EXACT => {
                format!("{f:.0}").parse::<i64>().map_or(Value::Number(n), |i| Value::Number(Number::from(i)))
            }
            _ => Value::Number(n),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(integers).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, integers(v))).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars() {
        let source = "a: yes\nb: 0755\nc: 1_000\nd: 8080.0\ne: true\nf: ~\ng: 1.5\nh: on\n8080: x\ntrue: y\n'<<': z\n";
        let expected = json!({
            "a": "yes", "b": "0755", "c": "1_000", "d": 8080, "e": true, "f": null, "g": 1.5, "h": "on",
            "8080": "x", "true": "y", "<<": "z"
        });
        assert_eq!(read(source, "f"), Ok(expected));
    }

    #[test]
    fn not_finite() {
        assert_eq!(read("a: .nan\n", "f").map_err(|d| (d.code, d.line, d.column)), Err((Code::WrongType, 1, 4)));
        assert_eq!(read("a: 1e999\n", "f").map_err(|d| d.code), Err(Code::WrongType));
    }
}

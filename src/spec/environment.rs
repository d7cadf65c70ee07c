//! One file, several environments: each is the file with a patch, and each must be right.

use super::budget::{MAX_CHECKED, MAX_CHECKED_BYTES};
use super::check::Check;
use super::diagnostic::{Code, Diagnostic, MOST_TOLD};
use super::files::Files;
use super::model::Spec;
use super::place::Path;
use super::reference::Scope;
use super::report::{Report, below, root, sorted};
use super::template::{self, Piece};
use super::violation::{self, Broken};
use super::{Checked, Selection, credential, wire};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a patch may not touch: these say what the Stack is, whatever the environment.
const FIXED: [&str; 4] = ["apiVersion", "kind", "metadata", "environments"];

/// Stands for a tag or a name where only the check matters.
const SOME: &str = "v0";

/// Reads one file.
pub(super) struct Reader<'a> {
    pub files: &'a Files,
    pub selection: Selection<'a>,
    pub value: Value,
}

/// Something is wrong, and has been reported.
struct Reported;

/// An environment as it is written.
struct Named<'w> {
    name: &'w str,
    wire: &'w wire::Environment,
}

impl Reader<'_> {
    /// The selected environment, or everything that is wrong in any.
    pub fn read(self, mut report: Report<'_>) -> Checked {
        let chosen = self.choose(&mut report);
        let warnings = sorted(std::mem::take(&mut report.warnings));
        let spec = match chosen {
            Ok(chosen) if report.found.is_empty() => Ok(chosen),
            _ => Err(finish(report)),
        };
        Checked { spec, warnings }
    }

    /// The selected environment, if there is one.
    fn choose(&self, report: &mut Report<'_>) -> Result<Option<Spec>, Reported> {
        let mut base = self.value.clone();
        let broken = violation::check(&mut base, report);
        let stack = typed(base).filter(|_| !report.is_full()).ok_or(Reported)?;
        let environments: Vec<Named<'_>> =
            stack.environments.0.iter().map(|(name, wire)| Named { name, wire }).collect();
        let mut params = values(&stack.params.0, &root(&["params"]), report);
        for (index, environment) in environments.iter().enumerate() {
            rules(environment, &broken, report);
            if let Some(other) = environments[..index].iter().find(|other| same_place(other.wire, environment.wire)) {
                let message = format!("`{}` and `{}` are for the same place", other.name, environment.name);
                let help = "give each its own `project`, `branch` or `tag`";
                report.key(Code::InvalidEnvironment, &root(&["environments", environment.name]), &message, help);
            }
            let at = root(&["environments", environment.name, "params"]);
            // in the file itself, a parameter that an environment sets counts as known
            for (name, value) in values(&environment.wire.params.0, &at, report) {
                params.entry(name).or_insert(value);
            }
        }
        let some = !environments.is_empty();
        let tagged = environments.iter().any(|environment| environment.wire.tag.is_some());
        let tag = match self.selection {
            Selection::For { tag, .. } | Selection::Named { tag, .. } if !some => tag,
            _ => tagged.then_some(SOME),
        };
        let budget = report.budget;
        let environment = some.then_some(SOME);
        let scope = Scope { stack: &stack, broken: &broken, params: &params, environment, tag, budget };
        let spec = Check { stack: &stack, broken: &broken, scope: &scope, files: self.files, report }.spec();
        if !some {
            return spec.map(Some).ok_or(Reported);
        }
        // what was cut is not checked once more for each environment
        if broken.crowded || !affordable(&environments, report) {
            return Err(Reported);
        }
        let (mut chosen, mut names) = (None, vec![]);
        for environment in &environments {
            let spec = self.patched(environment, report);
            if self.selects(environment) {
                // one is enough: many large ones would not fit side by side
                chosen = chosen.or(spec);
                names.push(environment.name);
            }
            if report.is_full() {
                return Err(Reported);
            }
        }
        if let (Selection::For { project, .. }, [first, second, ..]) = (self.selection, names.as_slice()) {
            let message = format!("`{first}` and `{second}` are both for this commit and `{project}`");
            let help = "give each its own `project`, `branch` or `tag`";
            report.key(Code::InvalidEnvironment, &root(&["environments", second]), &message, help);
        }
        Ok(chosen)
    }

    fn selects(&self, environment: &Named<'_>) -> bool {
        let wire = environment.wire;
        match self.selection {
            Selection::Any => true,
            Selection::Named { name, .. } => environment.name == name,
            Selection::For { branch, tag, project } => {
                let reached = match (&wire.branch, &wire.tag, tag) {
                    (Some(pattern), None, None) => fits(&pattern.0, branch),
                    (None, Some(pattern), Some(tag)) => fits(&pattern.0, tag),
                    _ => false,
                };
                reached && wire.project.as_ref().is_none_or(|wanted| wanted.0 == project)
            }
        }
    }

    /// The file as it is in one environment. What is wrong without the patch is told once.
    fn patched(&self, environment: &Named<'_>, report: &mut Report<'_>) -> Option<Spec> {
        let at = root(&["environments", environment.name, "patch"]);
        let places = report.places.patched(&at);
        let budget = report.budget;
        budget.next();
        let mut own = Report {
            file: report.file,
            source: report.source,
            places: &places,
            found: vec![],
            more: 0,
            warnings: vec![],
            budget,
        };
        let mut value = self.value.clone();
        merge(&mut value, &Value::Object(environment.wire.patch.clone()));
        let broken = violation::check(&mut value, &mut own);
        let stack = typed(value).filter(|_| !own.is_full());
        let spec = stack.and_then(|stack| {
            let mut params = values(&stack.params.0, &root(&["params"]), &mut own);
            let at = root(&["environments", environment.name, "params"]);
            params.extend(meant(texts(&environment.wire.params.0, &at, &own)));
            let tag = match self.selection {
                Selection::For { tag, .. } | Selection::Named { tag, .. } if environment.wire.tag.is_some() => {
                    tag.or(Some(SOME))
                }
                _ => environment.wire.tag.as_ref().map(|_| SOME),
            };
            let name = Some(environment.name);
            let scope = Scope { stack: &stack, broken: &broken, params: &params, environment: name, tag, budget };
            Check { stack: &stack, broken: &broken, scope: &scope, files: self.files, report: &mut own }.spec()
        });
        let right = own.found.is_empty();
        report.more += own.more;
        let (found, warnings) = (own.found, own.warnings);
        for found in found {
            if let Some(found) = told_anew(found, &report.found, environment.name) {
                report.push(|_| found);
            }
        }
        for warning in warnings {
            let room = report.warnings.len() < MOST_TOLD;
            let told = told_anew(warning, &report.warnings, environment.name).filter(|_| room);
            report.warnings.extend(told);
        }
        spec.filter(|_| right)
    }
}

/// What was found in an environment, said as such; `None` if it was found without its patch, too.
fn told_anew(found: Diagnostic, before: &[Diagnostic], environment: &str) -> Option<Diagnostic> {
    let same = |d: &Diagnostic| (d.code, &d.path, &d.message) == (found.code, &found.path, &found.message);
    (!before.iter().any(same)).then(|| Diagnostic {
        path: format!("{} in environment {environment}", found.path),
        message: format!("{} (in `{environment}`)", found.message),
        ..found
    })
}

/// What is asked of an environment itself.
fn rules(environment: &Named<'_>, broken: &Broken, report: &mut Report<'_>) {
    let Named { name, wire } = environment;
    let at = root(&["environments", name]);
    if wire.branch.is_some() == wire.tag.is_some() && !broken.touches(&["environments", name]) {
        let message = format!("`{name}` needs exactly one of `branch` and `tag`");
        report.key(Code::ExactlyOne, &at, &message, "say from where it is deployed, such as `branch: main`");
    }
    for key in wire.patch.keys().filter(|key| FIXED.contains(&key.as_str())) {
        let message = format!("a patch can't change `{key}`");
        report.key(Code::InvalidEnvironment, &below(&at, &["patch", key]), &message, "remove it from the patch");
    }
}

/// Whether both are reached by the same name and meant for the same project. Patterns that only overlap are told when a
/// commit fits both.
fn same_place(one: &wire::Environment, other: &wire::Environment) -> bool {
    let apart = |a: &Option<wire::Label>, b: &Option<wire::Label>| matches!((a, b), (Some(a), Some(b)) if a != b);
    (one.branch.is_some() || one.tag.is_some())
        && (&one.branch, &one.tag) == (&other.branch, &other.tag)
        && !apart(&one.project, &other.project)
}

/// Parameters as they are meant; none may refer to anything or be a credential.
fn values(map: &BTreeMap<String, wire::Scalar>, at: &Path, report: &mut Report<'_>) -> BTreeMap<String, String> {
    let written = texts(map, at, report);
    for (name, text) in &written {
        if literal(text).is_none() {
            let help = "write the value itself; refer to others where it is used; `$${` is literal";
            report.value(Code::MisplacedReference, &below(at, &[name]), "a parameter is taken as it is written", help);
        }
        if let Some(kind) = credential::find(text).or_else(|| credential::named(name, || text.clone())) {
            let help = "keep it in a secret and refer to that";
            report.value(Code::PlaintextCredential, &below(at, &[name]), &format!("{kind} in plain text"), help);
        }
    }
    meant(written)
}

/// Parameters with `$${` as `${`. What refers to something, which is told, stays as it is.
fn meant(written: BTreeMap<String, String>) -> BTreeMap<String, String> {
    written.into_iter().map(|(name, text)| (name, literal(&text).unwrap_or(text))).collect()
}

/// The meaning of a text that refers to nothing; `None` if it does refer to something.
fn literal(text: &str) -> Option<String> {
    let pieces = template::split(text)?;
    pieces.iter().all(|piece| matches!(piece, Piece::Text(_))).then(|| template::literal(&pieces))
}

fn texts(map: &BTreeMap<String, wire::Scalar>, at: &Path, report: &Report<'_>) -> BTreeMap<String, String> {
    let text = |name: &String| Some((name.clone(), report.places.text(&below(at, &[name]))?.to_owned()));
    map.keys().filter_map(text).collect()
}

fn typed(mut value: Value) -> Option<wire::Stack> {
    if let Value::Object(map) = &mut value {
        map.retain(|key, _| !key.starts_with("x-"));
    }
    serde_json::from_value(value).ok()
}

fn finish(mut report: Report<'_>) -> Vec<Diagnostic> {
    if report.found.is_empty() {
        // nothing reaches this, and if something did it must not pass
        report.value(Code::WrongType, &[], "the file cannot be read", "report this file as a bug of hks");
    }
    report.told()
}

/// Whether the file is small enough to be checked once more for each of its environments; says so if it is not.
fn affordable(environments: &[Named<'_>], report: &mut Report<'_>) -> bool {
    let at = root(&["environments"]);
    let ((values, bytes), (own, own_bytes)) = (report.places.size(&[]), report.places.size(&at));
    let times = environments.len() + 1;
    // what an environment says is there for itself only
    let in_all = |all: usize, own: usize| all.saturating_sub(own).saturating_mul(times).saturating_add(own);
    let (values, bytes) = (in_all(values, own), in_all(bytes, own_bytes));
    let message = if values > MAX_CHECKED {
        format!("with its {} environments this file has {values} values; {MAX_CHECKED} are allowed", environments.len())
    } else if bytes > MAX_CHECKED_BYTES {
        let (has, most) = (bytes.div_ceil(1024), MAX_CHECKED_BYTES / 1024);
        format!("with its {} environments this file has {has} KiB of text; {most} are allowed", environments.len())
    } else {
        return true;
    };
    report.key(Code::TooComplex, &at, &message, "use fewer environments, or split the Stack");
    false
}

/// JSON merge patch (RFC 7396): mappings merge, null deletes, anything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of RFC 7396, appendix A, as far as they concern mappings.
    #[test]
    fn merges() {
        for (mut target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            merge(&mut target, &patch);
            assert_eq!(target, result);
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name) in
            [("main", "main"), ("release/*", "release/1.0"), ("v*", "v1"), ("*", "x"), ("a*b*c", "aXbYc")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("main", "main2"), ("v*", "w1"), ("a*b", "ab2"), ("a*b*c", "ac"), ("aa*aa", "aaa")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}

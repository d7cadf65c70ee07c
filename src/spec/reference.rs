//! What references point at, and the templates that they make.

use super::credential;
use super::diagnostic::Code;
use super::model::{DatabaseField, Part, Reference, Template};
use super::report::Report;
use super::suggest;
use super::template::{self, Piece};
use super::violation::Broken;
use super::wire;
use std::collections::BTreeSet;

/// Where a template stands, which decides what it may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// Env, command, args: anything.
    Process,
    /// Image tag and ingress host: only what is known before anything is deployed.
    Name,
}

/// More mistakes than these in one text are not told.
const MOST: usize = 10;

const FIELDS: [(&str, DatabaseField); 6] = [
    ("host", DatabaseField::Host),
    ("port", DatabaseField::Port),
    ("name", DatabaseField::Name),
    ("user", DatabaseField::User),
    ("password", DatabaseField::Password),
    ("url", DatabaseField::Url),
];

/// The template that stands at `path` as `text`; `None` when that has been reported as wrong.
pub(super) fn template(
    text: &str,
    path: &[String],
    site: Site,
    stack: &wire::Stack,
    broken: &Broken,
    report: &mut Report<'_>,
) -> Option<Template> {
    let Some(pieces) = template::split(text) else {
        let message = "a reference is not closed: `${` without `}`";
        report.inside(Code::InvalidReference, path, "${", message, "add `}`, or write `$${` for a literal `${`");
        return None;
    };
    if let Some(kind) = credential::find(&template::literal(&pieces)) {
        let message = format!("{kind} in plain text");
        report.value(Code::PlaintextCredential, path, &message, "refer to `${databases.…}` or `${secrets.…}` instead");
        return None;
    }
    let mut parts = Vec::new();
    let mut wrong: BTreeSet<&str> = BTreeSet::new();
    for piece in &pieces {
        if wrong.len() == MOST {
            break;
        }
        match piece {
            Piece::Text(text) => parts.push(Part::Text(text.clone())),
            Piece::Reference(raw) if wrong.contains(raw.as_str()) => {}
            Piece::Reference(raw) => match resolve(raw, site, stack, broken) {
                Ok(reference) => parts.extend(reference.map(Part::Ref)),
                Err((code, message, help)) => {
                    report.inside(code, path, &format!("${{{raw}}}"), &message, &help);
                    wrong.insert(raw);
                }
            },
        }
    }
    wrong.is_empty().then_some(Template(parts))
}

type Wrong = (Code, String, String);

/// What `raw` points at; `Ok(None)` when the target has been reported as wrong already.
fn resolve(raw: &str, site: Site, stack: &wire::Stack, broken: &Broken) -> Result<Option<Reference>, Wrong> {
    let keys: Vec<&str> = raw.split('.').collect();
    let reference = match keys.as_slice() {
        ["git", "sha"] => Reference::GitSha,
        ["git", "shortSha"] => Reference::GitShortSha,
        ["project", "namespace"] => Reference::Namespace,
        ["git", field] => return Err(field_wrong(raw, field, &["sha", "shortSha"])),
        ["project", field] => return Err(field_wrong(raw, field, &["namespace"])),
        [root @ ("databases" | "secrets" | "apps" | "ingress"), ..] if site == Site::Name => {
            let message = format!("`{root}` cannot be referred to here");
            let help = "use only `git.sha`, `git.shortSha` and `project.namespace` here";
            return Err((Code::MisplacedReference, message, help.to_owned()));
        }
        ["databases", name, field] => {
            let names = stack.databases.0.keys();
            if !named("databases", name, names, broken)? {
                return Ok(None);
            }
            match FIELDS.iter().find(|(f, _)| f == field) {
                Some((_, field)) => Reference::Database((*name).to_owned(), *field),
                None => return Err(field_wrong(raw, field, &FIELDS.map(|(f, _)| f))),
            }
        }
        ["secrets", name, key] => {
            if !named("secrets", name, stack.secrets.0.keys(), broken)? {
                return Ok(None);
            }
            let keys = stack.secrets.0.get(*name).map(|s| &s.generate.0);
            if !keys.is_some_and(|k| k.contains_key(*key)) {
                if broken.touches(&["secrets", name]) {
                    return Ok(None);
                }
                let keys: Vec<&str> = keys.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
                return Err(field_wrong(raw, key, &keys));
            }
            Reference::Secret((*name).to_owned(), (*key).to_owned())
        }
        ["apps", name, field] => {
            if !named("apps", name, stack.apps.0.keys(), broken)? {
                return Ok(None);
            }
            match *field {
                "host" => Reference::AppHost((*name).to_owned()),
                "port" => {
                    let ports = stack.apps.0.get(*name).is_some_and(|a| !a.ports.0.is_empty());
                    if !ports && !broken.touches(&["apps", name, "ports"]) {
                        let message = format!("`${{{raw}}}`: the app `{name}` has no ports");
                        return Err((Code::NoPort, message, format!("add `ports: {{http: 8080}}` to `apps.{name}`")));
                    }
                    Reference::AppPort((*name).to_owned())
                }
                field => return Err(field_wrong(raw, field, &["host", "port"])),
            }
        }
        ["ingress", name, field] => {
            if !named("ingress", name, stack.ingress.0.keys(), broken)? {
                return Ok(None);
            }
            match *field {
                "host" => Reference::IngressHost((*name).to_owned()),
                "url" => Reference::IngressUrl((*name).to_owned()),
                field => return Err(field_wrong(raw, field, &["host", "url"])),
            }
        }
        _ => return Err(not_a_reference(raw, &keys)),
    };
    Ok(Some(reference))
}

/// Whether `name` is declared in `section`; false when that cannot be told.
fn named<'a>(
    section: &str,
    name: &str,
    names: impl Iterator<Item = &'a String> + Clone,
    broken: &Broken,
) -> Result<bool, Wrong> {
    if names.clone().any(|n| n == name) {
        return Ok(true);
    }
    if broken.hides(&[section]) {
        return Ok(false);
    }
    let message = format!("`{section}` has no `{}`", bounded(name));
    let declared: Vec<&str> = names.clone().map(String::as_str).take(5).collect();
    let otherwise = if declared.is_empty() {
        format!("declare it under `{section}`")
    } else {
        format!("declared: {}", declared.join(", "))
    };
    let help = suggest::hint(name, names.map(String::as_str), &otherwise);
    Err((Code::UnresolvedReference, message, help))
}

fn field_wrong(raw: &str, field: &str, fields: &[&str]) -> Wrong {
    let message = format!("`${{{}}}`: there is no `{}`", bounded(raw), bounded(field));
    let help = suggest::hint(field, fields.iter().copied(), &format!("use one of {}", fields.join(", ")));
    (Code::UnresolvedReference, message, help)
}

fn not_a_reference(raw: &str, keys: &[&str]) -> Wrong {
    const ROOTS: [&str; 6] = ["databases", "secrets", "apps", "ingress", "git", "project"];
    let message = format!("`${{{}}}` is not a reference", bounded(raw));
    let root = keys.first().copied().unwrap_or_default();
    let help = match root {
        "databases" => "write `${databases.NAME.url}`, or one of its fields".to_owned(),
        "secrets" => "write `${secrets.NAME.KEY}`".to_owned(),
        "apps" => "write `${apps.NAME.host}` or `${apps.NAME.port}`".to_owned(),
        "ingress" => "write `${ingress.NAME.url}` or `${ingress.NAME.host}`".to_owned(),
        "git" => "write `${git.sha}` or `${git.shortSha}`".to_owned(),
        "project" => "write `${project.namespace}`".to_owned(),
        _ => {
            let otherwise = format!("known: {}; write `$${{` for text", ROOTS.join(", "));
            suggest::hint(root, ROOTS, &otherwise)
        }
    };
    (Code::InvalidReference, message, help)
}

/// A part of a text for a message.
fn bounded(text: &str) -> String {
    if text.chars().count() <= 63 { text.to_owned() } else { text.chars().take(60).chain("…".chars()).collect() }
}

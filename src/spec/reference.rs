//! What references point at, and the templates that they make.

use super::budget::{self, Budget, PIECE, REFERENCE};
use super::credential;
use super::diagnostic::Code;
use super::model::{CacheField, DatabaseField, Part, Reference, Template};
use super::report::Report;
use super::template::{self, Piece};
use super::violation::Broken;
use super::wire;
use std::collections::{BTreeMap, BTreeSet};

/// Where a template stands, which decides what it may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// Env, command, args: anything.
    Process,
    /// Files: anything but secret values.
    Public,
    /// Image tag and ingress host: only what is known before anything is deployed.
    Name,
    /// Only what the file itself says.
    Known,
}

/// What references may point at.
pub(super) struct Scope<'a> {
    /// The file.
    pub stack: &'a wire::Stack,
    /// What the schema refused.
    pub broken: &'a Broken,
    /// Parameters by name.
    pub params: &'a BTreeMap<String, String>,
    /// The environment.
    pub environment: Option<&'a str>,
    /// The tag that the commit was reached by.
    pub tag: Option<&'a str>,
    /// What it may cost.
    pub budget: &'a Budget,
}

/// More mistakes than these in one text are not told.
const MOST: usize = 10;

const FIELDS: [(&str, DatabaseField); 8] = [
    ("host", DatabaseField::Host),
    ("port", DatabaseField::Port),
    ("name", DatabaseField::Name),
    ("user", DatabaseField::User),
    ("password", DatabaseField::Password),
    ("url", DatabaseField::Url),
    ("jdbcUrl", DatabaseField::JdbcUrl),
    ("poolerUrl", DatabaseField::PoolerUrl),
];

const CACHE_FIELDS: [(&str, CacheField); 4] = [
    ("host", CacheField::Host),
    ("port", CacheField::Port),
    ("password", CacheField::Password),
    ("url", CacheField::Url),
];

const ROOTS: [&str; 9] = ["databases", "caches", "secrets", "apps", "ingress", "params", "env", "git", "project"];

/// The text of a template, each reference replaced by what `stand_in` says.
pub(super) fn shape(template: &Template, stand_in: impl Fn(&Reference) -> String) -> String {
    let parts = template.0.iter().map(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Ref(reference) => stand_in(reference),
    });
    parts.collect()
}

/// The text of a template in which nothing is left to look up.
pub(super) fn known(template: &Template) -> String {
    shape(template, |_| String::new())
}

/// The template that stands at `path` as `text`; `None` when that has been reported as wrong.
pub(super) fn template(
    text: &str,
    path: &[String],
    site: Site,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Template> {
    if report.is_full() {
        return None;
    }
    if text.contains('\0') {
        report.value(Code::WrongType, path, "a NUL character can't be passed on", "remove it");
        return None;
    }
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
    if !affordable(text, &pieces, path, scope, report) {
        return None;
    }
    let texts = pieces.iter().filter(|piece| matches!(piece, Piece::Text(_))).count();
    let mut parts = Vec::new();
    let mut wrong: BTreeSet<&str> = BTreeSet::new();
    for piece in &pieces {
        if wrong.len() == MOST {
            break;
        }
        match piece {
            Piece::Text(text) => parts.push(Part::Text(text.clone())),
            Piece::Reference(raw) if wrong.contains(raw.as_str()) => {}
            Piece::Reference(raw) => match resolve(raw, site, scope) {
                Ok(part) => parts.extend(part),
                Err((code, message, help)) => {
                    report.inside(code, path, &format!("${{{raw}}}"), &message, &help);
                    wrong.insert(raw);
                }
            },
        }
    }
    if !wrong.is_empty() {
        return None;
    }
    let filled = parts.iter().filter(|part| matches!(part, Part::Text(_))).count() > texts;
    let template = Template(joined(parts));
    // what a parameter says may complete one
    if filled && let Some(kind) = credential::find(&shape(&template, |_| credential::REFERENCE.to_string())) {
        let message = format!("{kind} in plain text");
        report.value(Code::PlaintextCredential, path, &message, "refer to `${databases.…}` or `${secrets.…}` instead");
        return None;
    }
    Some(template)
}

/// Whether there is room for what a text becomes with its parameters put in; says so once if there is not.
fn affordable(text: &str, pieces: &[Piece], path: &[String], scope: &Scope<'_>, report: &mut Report<'_>) -> bool {
    let (mut bytes, mut work) = (budget::text(text.len()), PIECE + text.len());
    for piece in pieces {
        let Piece::Reference(raw) = piece else { continue };
        let value = raw.strip_prefix("params.").and_then(|name| scope.params.get(name));
        bytes += value.map_or(REFERENCE, |value| 2 * value.len());
        work += PIECE + value.map_or(0, String::len);
    }
    report.affords(bytes, work, path)
}

/// Neighbouring texts as one: what a parameter says is text like any other.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    parts.into_iter().fold(vec![], |mut all, part| {
        match (all.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, part) => all.push(part),
        }
        all
    })
}

type Wrong = (Code, String, String);

/// What `raw` points at; `Ok(None)` when the target has been reported as wrong already.
fn resolve(raw: &str, site: Site, scope: &Scope<'_>) -> Result<Option<Part>, Wrong> {
    let stack = scope.stack;
    let keys: Vec<&str> = raw.split('.').collect();
    let text = |text: &str| Ok(Some(Part::Text(text.to_owned())));
    if let Some(root) = keys.first().filter(|_| keys.len() > 1) {
        misplaced(root, site)?;
    }
    let reference = match keys.as_slice() {
        ["params", name] => return parameter(name, scope),
        ["env", "name"] => {
            let Some(name) = scope.environment else {
                let message = "`${env.name}` has no meaning in a file without environments".to_owned();
                return Err((Code::UnresolvedReference, message, "declare `environments`, or write the name".into()));
            };
            return text(name);
        }
        ["env", field] => return Err(field_wrong(raw, field, &["name"], scope)),
        ["git", "tag"] => {
            let Some(tag) = scope.tag else {
                let message = "`${git.tag}` is known only where a commit is reached by its tag".to_owned();
                let help = "use `${git.shortSha}`, or an environment with `tag`";
                return Err((Code::UnresolvedReference, message, help.into()));
            };
            return text(tag);
        }
        ["git", "sha"] => Reference::GitSha,
        ["git", "shortSha"] => Reference::GitShortSha,
        ["project", "namespace"] => Reference::Namespace,
        ["git", field] => return Err(field_wrong(raw, field, &["sha", "shortSha", "tag"], scope)),
        ["project", field] => return Err(field_wrong(raw, field, &["namespace"], scope)),
        ["databases", name, field] => {
            if !named("databases", name, &stack.databases.0, scope)? {
                return Ok(None);
            }
            match FIELDS.iter().find(|(f, _)| f == field) {
                Some((_, DatabaseField::PoolerUrl)) if !has_pooler(name, scope) => {
                    let message = format!("the database `{name}` has no pooler");
                    return Err((
                        Code::UnresolvedReference,
                        message,
                        format!("add `pooler: {{}}` to `databases.{name}`"),
                    ));
                }
                Some((_, field)) => Reference::Database((*name).to_owned(), *field),
                None => return Err(field_wrong(raw, field, &FIELDS.map(|(f, _)| f), scope)),
            }
        }
        ["caches", name, field] => {
            if !named("caches", name, &stack.caches.0, scope)? {
                return Ok(None);
            }
            match CACHE_FIELDS.iter().find(|(f, _)| f == field) {
                Some((_, field)) => Reference::Cache((*name).to_owned(), *field),
                None => return Err(field_wrong(raw, field, &CACHE_FIELDS.map(|(f, _)| f), scope)),
            }
        }
        // keys of existing Secrets may hold dots, as `tls.crt` does
        ["secrets", name, _, ..] => {
            let key = &raw["secrets.".len() + name.len() + 1..];
            if !named("secrets", name, &stack.secrets.0, scope)? {
                return Ok(None);
            }
            if !secret_key(raw, name, key, scope)? {
                return Ok(None);
            }
            Reference::Secret((*name).to_owned(), key.to_owned())
        }
        ["apps", name, field] => {
            if !named("apps", name, &stack.apps.0, scope)? {
                return Ok(None);
            }
            return app_field(raw, name, field, scope);
        }
        ["ingress", name, field] => {
            if !named("ingress", name, &stack.ingress.0, scope)? {
                return Ok(None);
            }
            match *field {
                "host" => Reference::IngressHost((*name).to_owned()),
                "url" => Reference::IngressUrl((*name).to_owned()),
                field => return Err(field_wrong(raw, field, &["host", "url"], scope)),
            }
        }
        _ => return Err(not_a_reference(raw, &keys, scope)),
    };
    if site == Site::Public && reference.is_secret() {
        let message = format!("`${{{}}}` is a secret value, and a file is not", bounded(raw));
        return Err((Code::MisplacedReference, message, "pass it through `env`".into()));
    }
    Ok(Some(Part::Ref(reference)))
}

fn parameter(name: &str, scope: &Scope<'_>) -> Result<Option<Part>, Wrong> {
    if let Some(value) = scope.params.get(name) {
        return Ok(Some(Part::Text(value.clone())));
    }
    let otherwise = "declare it under `params`, or in each environment";
    let help = scope.budget.hint(name, scope.params.keys().map(String::as_str), otherwise);
    Err((Code::UnresolvedReference, format!("`params` has no `{}`", bounded(name)), help))
}

/// Whether something of `root` may be referred to at `site`.
fn misplaced(root: &str, site: Site) -> Result<(), Wrong> {
    let allowed: &[&str] = match site {
        Site::Process | Site::Public => return Ok(()),
        Site::Name => &["git", "params", "env", "project"],
        Site::Known => &["params", "env"],
    };
    if allowed.contains(&root) || !ROOTS.contains(&root) {
        return Ok(());
    }
    let message = format!("`{root}` cannot be referred to here");
    let help =
        format!("use only {} here", allowed.iter().map(|root| format!("`{root}`")).collect::<Vec<_>>().join(", "));
    Err((Code::MisplacedReference, message, help))
}

fn has_pooler(name: &str, scope: &Scope<'_>) -> bool {
    scope.stack.databases.0.get(name).is_some_and(|database| database.pooler.is_some())
        || scope.broken.touches(&["databases", name, "pooler"])
}

/// Whether the secret `name` has the key; false when that can't be told.
fn secret_key(raw: &str, name: &str, key: &str, scope: &Scope<'_>) -> Result<bool, Wrong> {
    let Some(secret) = scope.stack.secrets.0.get(name) else { return Ok(false) };
    let set = || secret.keys.iter().map(|key| key.0.as_str());
    let there = secret.generate.0.contains_key(key) || set().any(|set| set == key);
    if there {
        return Ok(true);
    }
    if secret.from.is_some() {
        // as Kubernetes has it: `IsConfigMapKey`
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !key.is_empty() && key.len() <= 253 && key.chars().all(fits) {
            return Ok(true);
        }
        let message = format!("`${{{}}}`: a key of a Secret has letters, digits, `-`, `_` and `.`", bounded(raw));
        return Err((Code::InvalidReference, message, "write the key as the Secret has it".to_owned()));
    }
    if scope.broken.touches(&["secrets", name]) {
        return Ok(false);
    }
    let keys: Vec<&str> = secret.generate.0.keys().map(String::as_str).chain(set()).collect();
    Err(field_wrong(raw, key, &keys, scope))
}

fn app_field(raw: &str, name: &str, field: &str, scope: &Scope<'_>) -> Result<Option<Part>, Wrong> {
    let Some(app) = scope.stack.apps.0.get(name) else { return Ok(None) };
    if let Some(address) = &app.external {
        let address = address.0.trim_end_matches('/');
        let host = address.split("://").nth(1).unwrap_or_default();
        let host = host.split(['/', ':', '?', '#']).next().unwrap_or_default();
        return match field {
            "url" => Ok(Some(Part::Text(address.to_owned()))),
            "host" => Ok(Some(Part::Text(host.to_owned()))),
            field => Err(field_wrong(raw, field, &["url", "host"], scope)),
        };
    }
    let ports = !app.ports.0.is_empty();
    if !ports && matches!(field, "host" | "port" | "url") {
        if scope.broken.touches(&["apps", name, "ports"]) {
            return Ok(None);
        }
        let message = format!("`${{{raw}}}`: the app `{name}` has no ports");
        return Err((Code::NoPort, message, format!("add `ports: {{http: 8080}}` to `apps.{name}`")));
    }
    let name = name.to_owned();
    Ok(Some(Part::Ref(match field {
        "host" => Reference::AppHost(name),
        "port" => Reference::AppPort(name),
        "url" => Reference::AppUrl(name),
        field => return Err(field_wrong(raw, field, &["host", "port", "url"], scope)),
    })))
}

/// Whether `name` is declared in `section`; false when that cannot be told.
fn named<T>(section: &str, name: &str, names: &BTreeMap<String, T>, scope: &Scope<'_>) -> Result<bool, Wrong> {
    let Scope { broken, budget, .. } = scope;
    if names.contains_key(name) {
        return Ok(true);
    }
    if broken.hides(&[section]) {
        return Ok(false);
    }
    let message = format!("`{section}` has no `{}`", bounded(name));
    let declared: Vec<&str> = names.keys().map(String::as_str).take(5).collect();
    let otherwise = if declared.is_empty() {
        format!("declare it under `{section}`")
    } else {
        format!("declared: {}", declared.join(", "))
    };
    let help = budget.hint(name, names.keys().map(String::as_str), &otherwise);
    Err((Code::UnresolvedReference, message, help))
}

fn field_wrong(raw: &str, field: &str, fields: &[&str], scope: &Scope<'_>) -> Wrong {
    let message = format!("`${{{}}}`: there is no `{}`", bounded(raw), bounded(field));
    let help = scope.budget.hint(field, fields.iter().copied(), &format!("use one of {}", fields.join(", ")));
    (Code::UnresolvedReference, message, help)
}

fn not_a_reference(raw: &str, keys: &[&str], scope: &Scope<'_>) -> Wrong {
    let message = format!("`${{{}}}` is not a reference", bounded(raw));
    let root = keys.first().copied().unwrap_or_default();
    let help = match root {
        "databases" => "write `${databases.NAME.url}`, or one of its fields".to_owned(),
        "caches" => "write `${caches.NAME.url}`, or one of its fields".to_owned(),
        "secrets" => "write `${secrets.NAME.KEY}`".to_owned(),
        "params" => "write `${params.NAME}`".to_owned(),
        "env" => "write `${env.name}`; a parameter is `${params.NAME}`".to_owned(),
        "apps" => "write `${apps.NAME.host}`, `${apps.NAME.port}` or `${apps.NAME.url}`".to_owned(),
        "ingress" => "write `${ingress.NAME.url}` or `${ingress.NAME.host}`".to_owned(),
        "git" => "write `${git.sha}`, `${git.shortSha}` or `${git.tag}`".to_owned(),
        "project" => "write `${project.namespace}`".to_owned(),
        _ => foreign(raw).unwrap_or_else(|| {
            let otherwise = "write `${databases.…}`, `${secrets.…}` or the like; `$${` is literal".to_owned();
            scope.budget.hint(root, ROOTS, &otherwise)
        }),
    };
    (Code::InvalidReference, message, help)
}

/// What to write instead of a variable of a shell or a workflow.
fn foreign(raw: &str) -> Option<String> {
    const SHA: [&str; 9] = [
        "GIT_SHA",
        "GIT_COMMIT",
        "GITHUB_SHA",
        "CI_COMMIT_SHA",
        "COMMIT_SHA",
        "COMMIT",
        "SHA",
        "SOURCE_COMMIT",
        "REVISION",
    ];
    const SHORT: [&str; 3] = ["CI_COMMIT_SHORT_SHA", "SHORT_SHA", "GIT_SHORT_SHA"];
    const TAG: [&str; 7] =
        ["TAG", "GIT_TAG", "IMAGE_TAG", "CI_COMMIT_TAG", "VERSION", "APP_VERSION", "GITHUB_REF_NAME"];
    if raw.starts_with('{') {
        return Some(
            "a workflow's `${{ … }}` means nothing here: write `${git.sha}`, `${git.tag}` or `${params.NAME}`".into(),
        );
    }
    let name = raw.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    let shell = name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(|c: char| c.is_ascii_lowercase());
    let own = [(&SHA[..], "${git.sha}"), (&SHORT[..], "${git.shortSha}"), (&TAG[..], "${git.tag}")];
    let own = own.iter().find(|(names, _)| names.contains(&name)).map(|(_, own)| *own);
    shell.then(|| match own {
        Some(own) => format!("write `{own}`, or `${{params.NAME}}`"),
        None => "write `${params.NAME}`, or `$${` if the program is to read it".to_owned(),
    })
}

/// A part of a text for a message.
fn bounded(text: &str) -> String {
    if text.chars().count() <= 63 { text.to_owned() } else { text.chars().take(60).chain("…".chars()).collect() }
}

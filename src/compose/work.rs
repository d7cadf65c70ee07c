//! What is gathered while services are translated: references, parameters, secrets, notes.

use super::Wishes;
use super::facts::Facts;
use super::load::{Files, Project};
use super::secret::{self, Use, Vault};
use super::service::Service;
use super::variables::Variable;
use super::write::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Opens a reference in a text that is not finished; a private use character, which no file brings with it.
const OPEN: char = '\u{10_FF00}';
/// Closes it.
const CLOSE: char = '\u{10_FF01}';

/// Begins a reference to a secret, whose place in the file is not known yet.
const SECRET: char = '\u{10_FF02}';

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Something is set before the first deployment.
    Set,
    /// Who can reach what.
    Public,
    /// Something is not as it was: to be looked at.
    Changed,
    /// Something is not carried over.
    Lost,
}

/// The login of a database or cache, as the services of the file know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    pub name: Option<String>,
    /// The name of the database here.
    pub name_here: String,
}

/// A reference in a text that is not finished.
pub(super) fn reference(path: &str) -> String {
    format!("{OPEN}{path}{CLOSE}")
}

/// A reference to a secret by its key.
pub(super) fn secret_reference(key: &str) -> String {
    reference(&format!("{SECRET}{key}"))
}

/// Whether a text has a reference.
pub(super) fn has_reference(text: &str) -> bool {
    text.contains(OPEN)
}

/// A text with what stands outside of its references turned.
pub(super) fn outside(text: &str, mut turn: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(&turn(before));
        let (inner, behind) = after.split_once(CLOSE).unwrap_or((after, ""));
        out.push_str(&reference(inner));
        rest = behind;
    }
    out.push_str(&turn(rest));
    out
}

pub(super) struct Work<'a> {
    pub stack: &'a str,
    pub services: &'a [Service],
    pub facts: &'a Facts<'a>,
    pub project: &'a Project,
    pub files: &'a Files,
    /// Where the folder of the compose file is, seen from that of hks.yaml; nothing if that can't be said.
    pub folder: Option<&'a str>,
    /// Files that are needed as well.
    pub wants: BTreeSet<String>,
    /// Logins of databases and caches.
    pub logins: BTreeMap<String, Login>,
    /// What variables of services are by their pairs: reference and comment.
    pub pairs: BTreeMap<(String, String), (String, String)>,
    /// Variables that a service gets besides its own.
    pub added: BTreeMap<String, Vec<(String, String, String)>>,
    pub vault: Vault,
    /// Parameters: their values, and why they are there.
    pub params: BTreeMap<String, (String, String)>,
    /// Files that hold secrets: the key and the path.
    pub secret_files: BTreeMap<String, String>,
    /// Services that are not to be public, whatever the file says.
    pub hidden: &'a BTreeSet<String>,
    /// Services that are public.
    pub public: Vec<String>,
    /// Apps without a limit of memory.
    pub unlimited: Vec<String>,
    notes: Vec<(Kind, String, String)>,
    pub out: Map,
}

impl<'a> Work<'a> {
    pub fn new(
        services: &'a [Service],
        facts: &'a Facts<'a>,
        project: &'a Project,
        files: &'a Files,
        wishes: &Wishes<'a>,
    ) -> Self {
        Self {
            stack: wishes.name,
            services,
            facts,
            project,
            files,
            folder: wishes.folder,
            wants: BTreeSet::new(),
            logins: BTreeMap::new(),
            pairs: BTreeMap::new(),
            added: BTreeMap::new(),
            vault: Vault::default(),
            params: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            hidden: wishes.hidden,
            public: vec![],
            unlimited: vec![],
            notes: vec![],
            out: Map::default(),
        }
    }

    /// Tells something, once.
    pub fn note(&mut self, kind: Kind, service: &str, key: &str, message: &str) {
        let message: String = message.chars().filter(|c| !c.is_control()).take(600).collect();
        let place = format!("{}.{}", bounded(service), bounded(key));
        let message = self.shown(&message);
        if self.notes.len() < 2000 && !self.notes.iter().any(|(_, at, said)| *at == place && *said == message) {
            self.notes.push((kind, place, message));
        }
    }

    /// Words of a command for people: what is known to be secret, or stands behind an option that says so, is not shown.
    pub fn echoed(&self, words: &[String]) -> String {
        let mut hide = false;
        let mut shown = vec![];
        for word in words {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            let secret = name.starts_with('-') && secret::is_secret_name(&name.replace("auth", "password"));
            let known = |text: &str| {
                text.len() > 2
                    && self.logins.values().any(|login| {
                        login.password.as_deref().is_some_and(|own| self.facts.variables.plain(own) == text)
                    })
            };
            shown.push(match value {
                Some(value) if secret || known(value) => format!("{name}=***"),
                None if hide && !word.starts_with('-') || known(word) => "***".to_owned(),
                _ => word.clone(),
            });
            hide = secret && value.is_none();
        }
        crate::spec::mask(&shown.join(" "))
    }

    /// What has been told, by kind and in order.
    pub fn notes(&self, kind: Kind) -> impl Iterator<Item = (&str, &str)> {
        self.notes.iter().filter(move |(of, ..)| *of == kind).map(|(_, at, said)| (at.as_str(), said.as_str()))
    }

    /// A text for people.
    pub fn shown(&self, text: &str) -> String {
        let text = text.replace(OPEN, "${").replace(CLOSE, "}").replace(SECRET, "secrets.");
        super::service::shown(&text, self.facts.variables)
    }

    /// A secret of a service, as a reference.
    pub fn secret(&mut self, used: &Use<'_>) -> String {
        let key = self.vault.keep(used);
        secret_reference(&key)
    }

    /// What a variable becomes that has no value here.
    pub fn open(&mut self, service: &str, place: &str, variable: &Variable) -> String {
        let name = &variable.name;
        if let Some(own) = self.own_of(name) {
            return own;
        }
        if secret::is_secret_name(name) || secret::is_secret_url(name) {
            return self.secret(&Use { service, key: place, variable: Some(name), value: None, server: false });
        }
        let said = variable.message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
        let param = self.param(name, "", &format!("came from the shell{said}"));
        let message =
            format!("${{{name}}} came from the shell and is empty here{said}; give `params.{param}` its value");
        self.note(Kind::Set, service, place, &message);
        reference(&format!("params.{param}"))
    }

    /// Whether a text holds nothing that is secret, so that it may stand in a file.
    pub fn is_open(text: &str) -> bool {
        text.split(OPEN).skip(1).all(|rest| {
            let path = rest.split(CLOSE).next().unwrap_or_default();
            let server = path.starts_with("databases.") || path.starts_with("caches.");
            let field = path.rsplit('.').next().unwrap_or_default();
            !path.starts_with(SECRET) && (!server || matches!(field, "host" | "port" | "name" | "jdbcUrl"))
        }) && !crate::spec::is_credential(text)
    }

    /// Makes a parameter.
    pub fn param(&mut self, name: &str, value: &str, comment: &str) -> String {
        let param: String = name.chars().skip_while(|c| !c.is_ascii_alphabetic()).take(63).collect();
        let param = if param.is_empty() { "value".to_owned() } else { param };
        self.params.entry(param.clone()).or_insert_with(|| (value.to_owned(), comment.to_owned()));
        param
    }

    /// The reference to the login of a database or cache whose password is this variable.
    pub fn own_of(&self, variable: &str) -> Option<String> {
        self.logins.iter().find_map(|(service, login)| {
            let same = |text: &Option<String>| {
                text.as_deref()
                    .and_then(|text| self.facts.variables.alone(text))
                    .is_some_and(|own| own.name == variable)
            };
            same(&login.password).then(|| self.field(service, "password"))
        })
    }

    /// A field of a database or cache.
    pub fn field(&self, service: &str, field: &str) -> String {
        let section = if self.facts.role(service) == super::image::Role::Cache { "caches" } else { "databases" };
        reference(&format!("{section}.{}.{field}", self.facts.name(service)))
    }

    /// Writes the references into everything, and what looks like one so that it is none.
    pub fn finish(&mut self) {
        let mut used = BTreeSet::new();
        each_text(&mut self.out, &mut |text| {
            used.extend(text.split(SECRET).skip(1).filter_map(|rest| rest.split(CLOSE).next().map(str::to_owned)));
            text.to_owned()
        });
        self.vault.retain(&used);
        self.secrets();
        let secrets = self.vault.references();
        each_text(&mut self.out, &mut |text| finished(text, &secrets));
        let mut params = Map::default();
        for (name, (value, comment)) in &self.params {
            params.set_because(name, value.as_str(), comment);
        }
        self.out.set("params", params);
        for section in ["params", "secrets", "ingress"] {
            if matches!(self.out.get(section), Some(Value::Map(map)) if map.is_empty()) {
                self.out.remove(&[section]);
            }
        }
        for (_, _, said) in &mut self.notes {
            *said = crate::spec::mask(said);
        }
    }
}

impl Work<'_> {
    /// `secrets` of hks.yaml.
    fn secrets(&mut self) {
        let mut out = Map::default();
        for (name, random, keys) in self.vault.sections() {
            let mut section = Map::default();
            let mut listed = vec![];
            for (key, kept) in &keys {
                let used = kept.used.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
                if random {
                    let mut length = Map::default();
                    length.set("length", kept.length);
                    section.set_because(key, length, &format!("for {used}"));
                } else {
                    listed.push(Value::from(*key));
                }
            }
            let mut secret = Map::default();
            if random {
                secret.set("generate", section);
                out.set_because(&name, secret, "made once by hks: anything random does for these");
            } else {
                secret.set("keys", Value::List(listed));
                out.set_because(&name, secret, "set by `hks secret set`; until then nothing is deployed");
            }
        }
        self.out.set("secrets", out);
    }
}

fn each_text(map: &mut Map, turn: &mut impl FnMut(&str) -> String) {
    let keys: Vec<String> = map.keys().map(str::to_owned).collect();
    for key in keys {
        if let Some(value) = map.value(&key) {
            each_value(value, turn);
        }
    }
}

fn each_value(value: &mut Value, turn: &mut impl FnMut(&str) -> String) {
    match value {
        Value::Text(text) => *text = turn(text),
        Value::Bare(_) => {}
        Value::List(items) => items.iter_mut().for_each(|item| each_value(item, turn)),
        Value::Map(map) => each_text(map, turn),
    }
}

fn finished(text: &str, secrets: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(&before.replace("${", "$${"));
        let (inner, behind) = after.split_once(CLOSE).unwrap_or((after, ""));
        let path = inner.strip_prefix(SECRET).and_then(|key| secrets.get(key)).map_or(inner, String::as_str);
        out.push_str("${");
        out.push_str(path);
        out.push('}');
        rest = behind;
    }
    out.push_str(&rest.replace("${", "$${"));
    out
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

//! Templates → environment variables: public references become text, secret ones become `secretKeyRef` and `$(VAR)`.

use super::names::Names;
use super::{Object, Recipe, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{CacheField, DatabaseField, Part, Reference, Secret, Template};
use ring::digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a reference becomes.
enum Meaning {
    /// Text that may be seen.
    Public(String),
    /// A key of a Secret.
    Secret { secret: String, key: String },
}

impl Names<'_> {
    fn meaning(&self, reference: &Reference) -> Meaning {
        let public = Meaning::Public;
        match reference {
            Reference::Database(name, field) => {
                let key = match field {
                    DatabaseField::Host => return public(self.object(name)),
                    DatabaseField::Port => return public("5432".into()),
                    DatabaseField::Name => return public(self.database_name(name)),
                    DatabaseField::JdbcUrl => {
                        let (host, database) = (self.object(name), self.database_name(name));
                        return public(format!("jdbc:postgresql://{host}:5432/{database}"));
                    }
                    DatabaseField::User => "user",
                    DatabaseField::Password => "password",
                    DatabaseField::Url => "url",
                    DatabaseField::PoolerUrl => "pooler-url",
                };
                Meaning::Secret { secret: self.credentials(name), key: key.into() }
            }
            Reference::Cache(name, field) => {
                let key = match field {
                    CacheField::Host => return public(self.object(name)),
                    CacheField::Port => return public("6379".into()),
                    CacheField::Password => "password",
                    CacheField::Url => "url",
                };
                Meaning::Secret { secret: self.credentials(name), key: key.into() }
            }
            Reference::Secret(name, key) => {
                let secret = match self.spec.secrets.get(name) {
                    Some(Secret::Existing(existing)) => existing.clone(),
                    _ => self.object(name),
                };
                Meaning::Secret { secret, key: key.clone() }
            }
            Reference::AppHost(name) => public(self.object(name)),
            Reference::AppPort(name) => public(self.port(name)),
            Reference::AppUrl(name) => public(format!("http://{}:{}", self.object(name), self.port(name))),
            Reference::IngressHost(name) => public(self.ingress_host(name)),
            Reference::IngressUrl(name) => public(self.ingress_url(name)),
            Reference::GitSha => public(self.revision.to_string()),
            Reference::GitShortSha => public(self.revision.short().into()),
            Reference::Namespace => public(self.context.namespace.clone()),
        }
    }

    fn database_name(&self, name: &str) -> String {
        self.spec.databases.get(name).map(|database| database.name.clone()).unwrap_or_default()
    }

    /// The first port of an app.
    fn port(&self, name: &str) -> String {
        let app = self.spec.apps.get(name);
        app.and_then(|app| app.ports.first()).map(|port| port.number.to_string()).unwrap_or_default()
    }

    /// A template of public references as text. The parser lets no secret into the places where this is used.
    pub(super) fn text(&self, template: &Template) -> String {
        let parts = template.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Ref(reference) => match self.meaning(reference) {
                Meaning::Public(text) => text,
                Meaning::Secret { .. } => String::new(),
            },
        });
        parts.collect()
    }

    /// A template as Kubernetes expands it: secrets as `$(VAR)`, collected into `helpers` by variable name.
    fn expansion(&self, template: &Template, helpers: &mut BTreeMap<String, (String, String)>) -> String {
        let mut text = String::new();
        for part in &template.0 {
            match part {
                Part::Text(literal) => text.push_str(&unexpanded(literal)),
                Part::Ref(reference) => match self.meaning(reference) {
                    Meaning::Public(public) => text.push_str(&unexpanded(&public)),
                    Meaning::Secret { secret, key } => {
                        let variable = variable(&secret, &key);
                        text.push_str(&format!("$({variable})"));
                        helpers.insert(variable, (secret, key));
                    }
                },
            }
        }
        text
    }

    /// `env`, `command` and `args` of an app's container. Helper variables stand first: the kubelet expands only
    /// variables that are defined above.
    pub(super) fn environment(
        &self,
        env: &BTreeMap<String, Template>,
        command: &[Template],
        args: &[Template],
    ) -> (Vec<Value>, Vec<String>, Vec<String>) {
        let mut helpers = BTreeMap::new();
        let mut own = vec![];
        for (name, template) in env {
            // a lone secret needs no helper
            if let [Part::Ref(reference)] = template.0.as_slice()
                && let Meaning::Secret { secret, key } = self.meaning(reference)
            {
                own.push(from_secret(name, &secret, &key));
            } else {
                own.push(json!({ "name": name, "value": self.expansion(template, &mut helpers) }));
            }
        }
        let command = command.iter().map(|part| self.expansion(part, &mut helpers)).collect();
        let args = args.iter().map(|part| self.expansion(part, &mut helpers)).collect();
        let mut all: Vec<_> = helpers.iter().map(|(name, (secret, key))| from_secret(name, secret, key)).collect();
        all.extend(own);
        (all, command, args)
    }
}

/// Text as it must be written for the kubelet to leave it as it is: it expands `$(VAR)`, takes `$$` for `$`, and breaks what is not
/// ASCII behind a `$`. Source: `third_party/forked/golang/expansion` of Kubernetes.
pub(super) fn unexpanded(text: &str) -> String {
    let mut parts = text.split('$');
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let harmless = part.starts_with(|c: char| c.is_ascii() && c != '(');
        written.extend([if harmless { "$" } else { "$$" }, part]);
    }
    written
}

fn from_secret(name: &str, secret: &str, key: &str) -> Value {
    json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } })
}

/// The helper variable for a secret value; the parser keeps the prefix `HKS_` free of user variables. Secrets and keys may
/// differ in characters that a variable can't have, so a digest tells them apart.
fn variable(secret: &str, key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let id = digest::digest(&digest::SHA256, format!("{secret}/{key}").as_bytes());
    format!("HKS_{key}_{}", hex::encode(&id.as_ref()[..4])).chars().map(plain).collect()
}

/// The Secret of a `secrets.<name>.generate` entry: its keys and their lengths.
pub(super) fn generated(names: &Names<'_>, name: &str, keys: &BTreeMap<String, usize>) -> Object {
    let key = ObjectKey::new(Kind::Secret, names.object(name));
    let mut object = names.finish(Stage::Databases, key, None, json!({ "type": "Opaque" }));
    object.recipe = keys.iter().map(|(key, length)| (key.clone(), Recipe::Random(*length))).collect();
    object
}

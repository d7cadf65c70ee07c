//! A compose file (Compose Specification) as an hks.yaml: a translation by meaning, in which nothing is dropped without a word.
//!
//! The way of a file: YAML (`yaml`), the project with all that it takes in (`load`, `variables`), services with types
//! (`service`), what is known about them (`facts`, `image`), and what becomes of them (`wire`, `weave`, `database`, `cache`, `app`,
//! `limits`, `mount`, `probe`, `order`, `public`), written down with comments (`write`), notes, and the commands that set secrets (`told`).
//!
//! There is a YAML tree of its own, because no crate with types for compose takes what compose takes: `docker-compose-types` fails on
//! forms that it does not know, keeps neither order nor the text of numbers and reads YAML by a crate that nobody keeps; `compose_spec`
//! has not been kept since 2024. Neither knows `include`, `extends` or variables.

mod address;
mod app;
mod cache;
mod database;
mod facts;
mod image;
mod limits;
mod load;
mod mount;
mod order;
mod probe;
mod public;
mod secret;
mod service;
mod told;
mod variables;
mod weave;
mod wire;
mod words;
mod work;
mod write;
mod yaml;

pub use load::{Failure, Files};
pub use words::label;

use facts::Facts;
use load::Loader;
use service::Wait;
use std::collections::BTreeSet;
use work::{Kind, Work};
use write::Map;

/// The first lines of every file that is made: where editors find the schema.
pub const HEAD: &str =
    "# yaml-language-server: $schema=https://raw.githubusercontent.com/hexabase/hks/main/schema/hks.schema.json\n";

/// What came of a compose file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// A valid hks.yaml.
    pub file: String,
    /// What is to be known, under headings: what runs, what is public, what must be set, what is not as it was, what is left out.
    /// Lines of notes are `SERVICE.KEY: …`.
    pub notes: Vec<Section>,
    /// A script that sets the secrets that somebody has to set, with the values that the compose file and its variables had. Nothing
    /// if there are none.
    pub secrets: Option<String>,
    /// Services that are public.
    pub public: Vec<String>,
}

/// Lines under a heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The lines.
    pub lines: Vec<String>,
}

/// What is wished of a translation.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// Name of the Stack.
    pub name: &'a str,
    /// The folder of the compose file, seen from that of hks.yaml: empty if it is the same, and nothing if it can't be said, so that
    /// no file of it can be named.
    pub folder: Option<&'a str>,
    /// Services that are not to be public, whatever the file says.
    pub hidden: &'a BTreeSet<String>,
}

/// Turns the compose file `main` of `files` into an hks.yaml.
///
/// # Errors
/// More files are wanted, or it is no compose file, or has nothing that can be deployed.
pub fn translate(main: &str, files: &Files, wishes: &Wishes<'_>) -> Result<Translated, Failure> {
    let mut loader = Loader::new(files);
    loader.load(main)?;
    let project = loader.project;
    let services = service::services(&project);
    let facts = Facts::new(wishes.name, &services, &project, files);
    let mut work = Work::new(&services, &facts, &project, files, wishes);
    work.begin();
    work.find_logins();
    work.find_pairs();
    work.find_own_secrets();
    for section in ["params", "databases", "caches", "secrets", "apps", "jobs", "ingress"] {
        work.out.map(section);
    }
    for service in &services {
        match facts.left.get(&service.name) {
            Some(why) => work.note(Kind::Lost, &service.name, "image", why),
            None if facts.is_served(&service.name) && facts.role(&service.name) == image::Role::Cache => {
                work.cache(service);
            }
            None if facts.is_served(&service.name) => work.database(service),
            None if facts.ending.contains(&service.name) => {}
            None => work.app(service),
        }
    }
    for service in services.iter().filter(|service| facts.ending.contains(&service.name)) {
        work.job(service);
    }
    for section in ["params", "databases", "caches", "secrets", "apps", "jobs", "ingress"] {
        work.tidy(section);
    }
    if !work.wants.is_empty() {
        return Err(Failure::Wants(std::mem::take(&mut work.wants)));
    }
    if ["apps", "databases", "caches"].iter().all(|section| work.out.get(section).is_none()) {
        return Err(Failure::Refused("it has no service that can be deployed".to_owned()));
    }
    work.public();
    work.unreferred();
    if !work.unlimited.is_empty() {
        let message = format!(
            "compose sets no limit for {}; hks gives each 500m CPU and 256Mi at most, so raise `resources` where that is too little",
            work.unlimited.join(", ")
        );
        work.note(Kind::Changed, "resources", "limits", &message);
    }
    work.finish();
    work.told()
}

/// The name that a compose file gives its project, if it gives one.
pub fn name_of(text: &str) -> Option<String> {
    let name = yaml::read(text).ok()?.get("name").text()?.to_owned();
    (!name.contains('$') && !name.is_empty()).then_some(name)
}

impl Work<'_> {
    /// What the reading found.
    fn begin(&mut self) {
        for (service, key, message) in &self.project.notes {
            let kind = if key == "env_file" { Kind::Set } else { Kind::Lost };
            self.note(kind, service, key, message);
        }
        for mistake in &self.project.variables.mistakes {
            self.note(Kind::Changed, "variables", "${…}", mistake);
        }
        for service in self.services {
            let here = self.facts.name(&service.name);
            if here != service.name {
                let message = format!("is called `{here}` here: names have small letters, digits and `-`");
                self.note(Kind::Changed, &service.name, "name", &message);
            }
        }
        let mut head = Map::default();
        head.set("name", self.stack);
        self.out.set("apiVersion", "hks.hexabase.ai/v1");
        self.out.set("kind", "Stack");
        self.out.set("metadata", head);
    }

    /// Tells of databases and caches that a service waits for and names nowhere, and of apps that others wait for and nobody can reach.
    fn unreferred(&mut self) {
        for service in self.services.iter().filter(|service| self.facts.is_served(&service.name)) {
            let section = if self.facts.role(&service.name) == image::Role::Cache { "caches" } else { "databases" };
            let part = format!("{section}.{}", self.facts.name(&service.name));
            if self.out.get("apps").is_some() && !self.out.holds(&format!("{part}.")) {
                let message =
                    format!("no app refers to it; write ${{{part}.url}}, or its parts, where the program reads them");
                self.note(Kind::Set, &service.name, "url", &message);
            }
        }
        for service in self.services {
            for (on, wait) in &service.depends {
                let (name, here) = (self.facts.name(on).to_owned(), self.facts.name(&service.name).to_owned());
                if !self.facts.names.contains_key(on)
                    || self.facts.left.contains_key(on)
                    || self.facts.left.contains_key(&service.name)
                {
                    continue;
                }
                if self.facts.is_served(on)
                    && !self.facts.is_served(&service.name)
                    && !self.facts.ending.contains(&service.name)
                {
                    let section = if self.facts.role(on) == image::Role::Cache { "caches" } else { "databases" };
                    if !self.out.refers(&here, &format!("{section}.{name}.")) {
                        let message = format!(
                            "waits for `{on}` and names it nowhere, so it may know it by a default of its own; the host is `{name}`, and user and \
                             password are those of hks: add ${{{section}.{name}.host}}, ${{{section}.{name}.password}} and what else it reads \
                             under `env`"
                        );
                        self.note(Kind::Set, &service.name, on, &message);
                    }
                } else if self.facts.ports.get(on).is_some_and(Vec::is_empty)
                    && *wait != Wait::Completed
                    && !self.facts.ending.contains(on)
                {
                    let message = format!(
                        "waits for `{on}`, of which nothing tells a port: add `ports` to `apps.{name}` if it is to be reached"
                    );
                    self.note(Kind::Set, &service.name, on, &message);
                }
            }
        }
    }

    /// Takes a section away that nothing stands in.
    fn tidy(&mut self, section: &str) {
        let empty = matches!(self.out.get(section), Some(write::Value::Map(map)) if map.is_empty());
        // the places of the others are kept until the end
        if empty && !matches!(section, "params" | "secrets" | "ingress") {
            self.out.remove(&[section]);
        }
    }
}

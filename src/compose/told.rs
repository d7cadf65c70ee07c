//! The file as it is written, once it is certain that it is valid, and what people are told.

use super::load::Failure;
use super::service::Service;
use super::work::{Kind, Work};
use super::write::{Map, Value};
use super::{HEAD, Section, Translated};
use crate::spec::{self, Diagnostic, Selection};

/// What may be taken away so that the rest is valid: each time a few entries.
const ROUNDS: usize = 40;

impl Work<'_> {
    /// Writes everything down.
    pub fn told(mut self) -> Result<Translated, Failure> {
        let mut files = spec::Files::default();
        for (path, text) in self.files {
            if let (Ok(text), Some(folder)) = (text, self.folder) {
                let named = if folder.is_empty() { path.clone() } else { format!("{folder}/{path}") };
                files.add(&named, text.clone().into_bytes());
            }
        }
        let mut file = self.written();
        for round in 0.. {
            let Err(found) = spec::read(file.as_bytes(), "hks.yaml", &files, Selection::Any) else { break };
            let changed = found.iter().filter(|found| self.leave_out(found)).count();
            if changed == 0 || round == ROUNDS {
                let first = found.first().map(|found| format!("{}: {}; {}", found.path, found.message, found.help));
                return Err(Failure::Refused(format!(
                    "it can't become a valid hks.yaml: {}",
                    first.unwrap_or_default()
                )));
            }
            file = self.written();
        }
        if ["apps", "databases", "caches"].iter().all(|section| self.out.get(section).is_none()) {
            return Err(Failure::Refused("it has no service that can be deployed".to_owned()));
        }
        Ok(Translated {
            notes: self.sections(),
            secrets: self.script(),
            public: std::mem::take(&mut self.public),
            file,
        })
    }

    fn written(&self) -> String {
        let about = "# Made from a compose file. Sizes of volumes and memory are guesses; `hks explain PATH` tells what each key means.";
        format!("{HEAD}\n{about}\n{}", self.out.write())
    }

    /// Takes away what the language does not take, and tells it; false if there is nothing to take away.
    fn leave_out(&mut self, found: &Diagnostic) -> bool {
        let mut path = keys(&self.out, &found.path);
        // an app without its image is none
        if path.len() < 2 {
            return false;
        }
        if path.len() == 3 && path[0] == "apps" && path[2] == "image" {
            let image = format!("registry.example/{}:latest", path[1]);
            let app = self.out.map("apps").map(&path[1]);
            if app.get("image") == Some(&Value::Text(image.clone())) {
                return false;
            }
            app.set_because("image", image, "write one that can be pulled");
            let service = self.services.iter().find(|service| self.facts.name(&service.name) == path[1]);
            let service = service.map_or_else(|| path[1].clone(), |service| service.name.clone());
            self.note(
                Kind::Set,
                &service,
                "image",
                &format!("{}; {}; write one that can be pulled", found.message, found.help),
            );
            return true;
        }
        if path.len() == 3 && matches!(path[2].as_str(), "version" | "engine" | "paths" | "app" | "run") {
            path.truncate(2);
        }
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if !self.out.remove(&parts) {
            return false;
        }
        let here = path.get(1).map(String::as_str).unwrap_or_default();
        let service = self.services.iter().find(|service| self.facts.name(&service.name) == here);
        let service = service.map_or_else(|| here.to_owned(), |service| service.name.clone());
        let key =
            path.get(2..).map(|rest| rest.join(".")).filter(|rest| !rest.is_empty()).unwrap_or_else(|| path[0].clone());
        self.note(Kind::Lost, &service, &key, &format!("is left out: {}; {}", found.message, found.help));
        true
    }

    fn sections(&self) -> Vec<Section> {
        let mut all = vec![];
        let mut add = |title, lines: Vec<String>| {
            if !lines.is_empty() {
                all.push(Section { title, lines });
            }
        };
        let lines = |kind| self.notes(kind).map(|(at, said)| format!("{at}: {said}")).collect::<Vec<_>>();
        add("what runs", self.services.iter().filter_map(|service| self.runs(service)).collect());
        let (open, closed): (Vec<_>, Vec<_>) =
            lines(Kind::Public).into_iter().partition(|line| line.contains("is public as"));
        add("what is public", [open, closed].concat());
        let (mut set, mut made) = (vec![], vec![]);
        for (name, random, keys) in self.vault.sections() {
            for (key, kept) in keys {
                let used = kept.used.join(", ");
                if random {
                    made.push(format!("secrets.{key}: is generated by hks at the first deployment, for {used}"));
                } else {
                    set.push(format!(
                        "secrets.{key}: set it: hks secret set {} {name} {key} -n PROJECT (for {used})",
                        self.stack
                    ));
                }
            }
        }
        set.extend(lines(Kind::Set));
        add("what must be set before the first deployment", set);
        add(
            "what hks makes: anything random does; to keep an old value, move the key to `secrets.app.keys` and set it",
            made,
        );
        add("what is not as it was", lines(Kind::Changed));
        add("what is not carried over", lines(Kind::Lost));
        let mut next = vec![];
        if self.script().is_some() {
            next.push("set the secrets".to_owned());
        }
        next.push("look through hks.yaml: hks validate, then hks diff -n PROJECT".to_owned());
        next.push("commit it and push".to_owned());
        add("next", next);
        all
    }

    /// What a service has become.
    fn runs(&self, service: &Service) -> Option<String> {
        let name = self.facts.name(&service.name);
        let entry = |section: &str| {
            let Some(Value::Map(all)) = self.out.get(section) else { return None };
            let Some(Value::Map(entry)) = all.get(name) else { return None };
            Some(entry)
        };
        let text = |entry: &Map, key: &str| match entry.get(key) {
            Some(Value::Text(text) | Value::Bare(text)) => text.clone(),
            _ => String::new(),
        };
        let what = if let Some(database) = entry("databases") {
            format!("a database, PostgreSQL {}", text(database, "version"))
        } else if let Some(cache) = entry("caches") {
            format!("a cache, {} {}", text(cache, "engine"), text(cache, "version"))
        } else if let Some(job) = entry("jobs") {
            format!("a job with the image of {}, once for each release", text(job, "app"))
        } else {
            let app = entry("apps")?;
            format!("an app of {}", text(app, "image"))
        };
        Some(format!("{}: {what}", service.name))
    }

    /// The commands that set secrets.
    fn script(&self) -> Option<String> {
        let mut lines = String::new();
        for (name, random, keys) in self.vault.sections() {
            if random {
                continue;
            }
            for (key, kept) in keys {
                let command = format!("hks secret set {} {name} {key} -n \"$project\"", self.stack);
                let line = match (&kept.value, self.secret_files.get(key)) {
                    (Some(value), _) => format!("printf %s {} | {command}", quoted(value)),
                    (None, Some(path)) => format!("{command} --from-file {}", quoted(path)),
                    (None, None) => format!("# {command} < FILE  # for {}", kept.used.join(", ")),
                };
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        let head = "#!/bin/sh\n# Sets the secrets of hks.yaml, with the values that the compose file had: sh hks-secrets.sh PROJECT\n# It \
                    holds passwords: do not commit it, and delete it when it has run.\nset -eu\nproject=\"${1:?name the project: sh \
                    hks-secrets.sh PROJECT}\"\n";
        (!lines.is_empty()).then(|| format!("{head}{lines}"))
    }
}

/// A text as a shell takes it literally.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The keys of a diagnostic's path, as far as they are there; keys may hold dots themselves.
fn keys(map: &Map, path: &str) -> Vec<String> {
    let fits = |key: &str| path == key || path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    let Some(key) = map.keys().filter(|key| fits(key)).max_by_key(|key| key.len()) else { return vec![] };
    let mut found = vec![key.to_owned()];
    let rest = path.get(key.len() + 1..).unwrap_or_default();
    if let Some(Value::Map(inner)) = map.get(key) {
        found.extend(keys(inner, rest));
    }
    found
}

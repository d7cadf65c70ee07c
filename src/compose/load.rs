//! One project out of a compose file and what it takes in: `include`, `extends`, `env_file`, `.env`, profiles.

use super::variables::{self, Variables};
use super::yaml::{self, Node};
use std::collections::{BTreeMap, BTreeSet};

/// Files by their path from the folder of the compose file, `/` between their parts; or why one can't be read.
pub type Files = BTreeMap<String, Result<String, String>>;

/// Chains of `extends` and `include` are no longer.
const MAX_DEPTH: usize = 12;
/// Projects with more services are refused: an hks.yaml has at most 200 apps.
const MAX_SERVICES: usize = 150;

/// Why nothing was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// These files are needed as well: paths from the folder of the compose file. Those that are not there are to be added with
    /// the reason.
    Wants(BTreeSet<String>),
    /// The file is wrong, or has nothing that can be deployed.
    Refused(String),
}

/// A project: what compose would run, with the variables of its texts still to be seen.
#[derive(Default)]
pub(super) struct Project {
    /// Services that are started, in the order of the file.
    pub services: Vec<(String, Node)>,
    /// The environment of each service.
    pub environments: BTreeMap<String, Vec<(String, String)>>,
    /// Top-level entries of `volumes`, `configs` and `secrets`.
    pub shared: BTreeMap<&'static str, Vec<(String, Node)>>,
    /// Variables.
    pub variables: Variables,
    /// What was not taken in: service or file, key, message.
    pub notes: Vec<(String, String, String)>,
}

pub(super) struct Loader<'a> {
    files: &'a Files,
    /// Files that are needed and are not among those that were given.
    pub wants: BTreeSet<String>,
    pub project: Project,
}

/// The path of `path` as it is written in a file of `folder`.
///
/// # Errors
/// It leads out of the folder of the compose file.
pub(super) fn join(folder: &str, path: &str) -> Result<String, String> {
    let outside = || format!("`{path}` leads out of the folder of the compose file");
    if path.starts_with(['/', '~']) || path.contains('\\') || path.contains("://") || path.contains('\0') {
        return Err(outside());
    }
    let mut parts: Vec<&str> = vec![];
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(outside)?),
            other => parts.push(other),
        }
    }
    Ok(parts.join("/"))
}

fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default()
}

impl<'a> Loader<'a> {
    pub fn new(files: &'a Files) -> Self {
        Self { files, wants: BTreeSet::new(), project: Project::default() }
    }

    /// The text of a file; nothing if it is not known yet.
    fn text(&mut self, path: &str) -> Option<Result<&'a str, String>> {
        match self.files.get(path) {
            Some(Ok(text)) => Some(Ok(text)),
            Some(Err(why)) => Some(Err(why.clone())),
            None => {
                self.wants.insert(path.to_owned());
                None
            }
        }
    }

    /// Reads the project that begins with file `main`.
    pub fn load(&mut self, main: &str) -> Result<(), Failure> {
        if let Some(Ok(text)) = self.text(".env") {
            let set = variables::dotenv(text, &BTreeMap::new());
            let set = set.into_iter().filter_map(|(name, value)| Some((name, value?)));
            self.project.variables.set = set.collect();
        }
        let found = self.file(main, &mut vec![]).map_err(Failure::Refused)?;
        if self.wants.is_empty() && found.is_none() {
            return Err(Failure::Refused(format!("{main} is not there")));
        }
        self.profiles();
        if self.project.services.len() > MAX_SERVICES {
            return Err(Failure::Refused(format!("it has more than {MAX_SERVICES} services; split it")));
        }
        let services = self.project.services.clone();
        for (name, service) in &services {
            let environment = self.environment(name, service);
            self.project.environments.insert(name.clone(), environment);
        }
        if self.wants.is_empty() { Ok(()) } else { Err(Failure::Wants(std::mem::take(&mut self.wants))) }
    }

    /// The document of a compose file, read once more for each use: the variables may differ.
    fn document(&mut self, path: &str) -> Result<Option<Node>, String> {
        let Some(text) = self.text(path) else { return Ok(None) };
        let text = text.map_err(|why| format!("{path}: {why}"))?;
        let node = yaml::read(text).map_err(|why| format!("{path}: {why}"))?;
        if node.get("services").entries().is_empty() && node.get("include").is_null() {
            let has = !node.get("services").is_null() || node.entries().iter().any(|(key, _)| key == "services");
            let what = if has {
                "it has no service that can be deployed"
            } else {
                "it has no `services`; it is no compose file"
            };
            return Err(what.to_owned());
        }
        Ok(Some(self.project.variables.interpolate(&node)))
    }

    fn file(&mut self, path: &str, way: &mut Vec<String>) -> Result<Option<()>, String> {
        if way.contains(&path.to_owned()) || way.len() >= MAX_DEPTH {
            return Err(format!("{path} includes itself; take the circle away"));
        }
        let Some(document) = self.document(path)? else { return Ok(None) };
        way.push(path.to_owned());
        let folder = folder_of(path);
        for included in document.get("include").items() {
            self.include(&folder, included, way)?;
        }
        for (name, service) in document.get("services").entries() {
            let whole = self.extended(path, &document, name, service, &mut vec![])?;
            let whole = rebased(whole.settled(), &folder);
            if self.project.services.iter().any(|(known, _)| known == name) {
                self.note(name, "include", "stands in two files; the first one counts");
            } else {
                self.project.services.push((name.clone(), whole));
            }
        }
        for key in ["volumes", "configs", "secrets"] {
            for (name, entry) in document.get(key).entries() {
                let entry = rebased(entry.clone().settled(), &folder);
                let all = self.project.shared.entry(key).or_default();
                if all.iter().all(|(known, _)| known != name) {
                    all.push((name.clone(), entry));
                }
            }
        }
        way.pop();
        Ok(Some(()))
    }

    /// Compose Specification, "Include": each file with the variables of its own folder, where the project sets none.
    fn include(&mut self, folder: &str, entry: &Node, way: &mut Vec<String>) -> Result<(), String> {
        let paths = if entry.text().is_some() { entry.texts() } else { entry.get("path").texts() };
        let outer = self.project.variables.set.clone();
        for path in paths {
            let path = self.project.variables.plain(&path);
            let target = match join(folder, &path) {
                Ok(target) => target,
                Err(why) => {
                    self.note("include", &path, &format!("{why}; copy it beside the file that includes it"));
                    continue;
                }
            };
            let mut beside = entry.get("env_file").texts();
            if beside.is_empty() {
                beside.push(join(&folder_of(&target), ".env")?);
            }
            let mut set = BTreeMap::new();
            for file in beside {
                let file = self.project.variables.plain(&file);
                if let Some(Ok(text)) = self.text(&file) {
                    set.extend(variables::dotenv(text, &outer).into_iter().filter_map(|(k, v)| Some((k, v?))));
                }
            }
            set.extend(outer.clone());
            self.project.variables.set = set;
            self.file(&target, way)?;
            self.project.variables.set.clone_from(&outer);
        }
        Ok(())
    }

    /// A service with what it extends.
    fn extended(
        &mut self,
        path: &str,
        document: &Node,
        name: &str,
        service: &Node,
        way: &mut Vec<(String, String)>,
    ) -> Result<Node, String> {
        let extends = service.get("extends");
        let base = extends.text().or_else(|| extends.get("service").text());
        let Some(base) = base.map(|base| self.project.variables.plain(base)) else { return Ok(service.clone()) };
        let here = (path.to_owned(), name.to_owned());
        if way.contains(&here) || way.len() >= MAX_DEPTH {
            return Err(format!("services.{name}: it extends itself, or too many others; take the circle away"));
        }
        way.push(here);
        let found = if let Some(file) = extends.get("file").text().map(|file| self.project.variables.plain(file)) {
            let target = join(&folder_of(path), &file).map_err(|why| format!("services.{name}.extends: {why}"))?;
            let Some(other) = self.document(&target)? else { return Ok(service.clone()) };
            let service = other.get("services").get(&base).clone();
            let whole = self.extended(&target, &other, &base, &service, way)?;
            rebased(whole, &folder_of(&target))
        } else {
            let service = document.get("services").get(&base).clone();
            self.extended(path, document, &base, &service, way)?
        };
        way.pop();
        if found.is_null() {
            return Err(format!("services.{name}.extends: there is no service `{base}`"));
        }
        let mut own = service.clone();
        if let Node::Map(entries) = &mut own {
            entries.retain(|(key, _)| key != "extends");
        }
        Ok(merged(found, own, ""))
    }

    /// Leaves out what is started on demand only, unless something else needs it.
    fn profiles(&mut self) {
        let active = self.project.variables.set.get("COMPOSE_PROFILES").cloned().unwrap_or_default();
        let active: Vec<&str> = active.split(',').map(str::trim).collect();
        let wanted = |service: &Node| {
            let profiles = service.get("profiles").texts();
            profiles.is_empty() || profiles.iter().any(|profile| active.contains(&profile.as_str()) || active == ["*"])
        };
        let mut needed: Vec<String> = vec![];
        for (_, service) in self.project.services.iter().filter(|(_, service)| wanted(service)) {
            let on = service.get("depends_on");
            needed.extend(on.entries().iter().map(|(name, _)| name.clone()).chain(on.texts()));
        }
        let (kept, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.project.services)
            .into_iter()
            .partition(|(name, service)| wanted(service) || needed.contains(name));
        if kept.is_empty() {
            // somebody who imports such a file wants what is in it
            for (name, service) in &left {
                let profiles = service.get("profiles").texts().join(", ");
                self.note(
                    name,
                    "profiles",
                    &format!("is started by compose with `--profile {profiles}` only; here it always runs"),
                );
            }
            self.project.services = left;
            return;
        }
        for (name, service) in left {
            let profiles = service.get("profiles").texts().join(", ");
            let why = format!(
                "is left out: compose starts it with `--profile {profiles}` only; take `profiles` away and import again to have it"
            );
            self.note(&name, "profiles", &why);
        }
        self.project.services = kept;
    }

    /// The variables of a service: those of its files, then its own.
    fn environment(&mut self, name: &str, service: &Node) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = vec![];
        let mut set = |key: String, value: String| match found.iter_mut().find(|(known, _)| *known == key) {
            Some((_, there)) => *there = value,
            None => found.push((key, value)),
        };
        let files = match service.get("env_file") {
            Node::List(items) => items.clone(),
            Node::Null => vec![],
            one => vec![one.clone()],
        };
        for file in files {
            let required = file.get("required").text() != Some("false");
            let Some(path) = file.text().or_else(|| file.get("path").text()) else { continue };
            let path = self.project.variables.plain(path);
            let text = match join("", &path) {
                Ok(path) => self.text(&path),
                Err(why) => Some(Err(why)),
            };
            match text {
                Some(Ok(text)) => {
                    let outer = self.project.variables.set.clone();
                    for (key, value) in variables::dotenv(text, &outer) {
                        // the same file may belong to several services, and then this is one variable of all of them
                        let symbol = self.project.variables.given(&key, value);
                        set(key, symbol);
                    }
                }
                Some(Err(why)) if required => {
                    let why = format!(
                        "{path} was not read ({why}), so its variables are missing here; put it beside the compose file and import again, or add them under `env`"
                    );
                    self.note(name, "env_file", &why);
                }
                _ => {}
            }
        }
        for (key, value) in service.get("environment").pairs() {
            let key = key.trim().to_owned();
            let key = self.project.variables.plain(&key);
            if let Some(value) = value {
                set(key, value);
            } else {
                let symbol = self.project.variables.passed(&key);
                set(key, symbol);
            }
        }
        found
    }

    fn note(&mut self, name: &str, key: &str, message: &str) {
        self.project.notes.push((name.to_owned(), key.to_owned(), message.to_owned()));
    }
}

/// Paths of a service, written from the folder of the main file.
fn rebased(mut service: Node, folder: &str) -> Node {
    if folder.is_empty() {
        return service;
    }
    let relative = |text: &str| {
        let path = text.split(':').next().unwrap_or_default();
        let behind = text.get(path.len()..).unwrap_or_default();
        join(folder, path).map_or_else(|_| text.to_owned(), |path| format!("./{path}{behind}"))
    };
    let file = |text: &str| join(folder, text).unwrap_or_else(|_| text.to_owned());
    let each = |node: &Node, key: &str, turn: &dyn Fn(&str) -> String| match node {
        Node::Scalar(text) => Node::Scalar(turn(text)),
        Node::Map(_) => {
            let mut node = node.clone();
            if let Some(text) = node.get(key).text().map(turn) {
                node.set(key, Node::Scalar(text));
            }
            node
        }
        other => other.clone(),
    };
    let mut turn = |key: &str, inner: &str, turn: &dyn Fn(&str) -> String| {
        let turned = match service.get(key) {
            Node::List(items) => Node::List(items.iter().map(|item| each(item, inner, turn)).collect()),
            Node::Null => return,
            one => each(one, inner, turn),
        };
        service.set(key, turned);
    };
    turn("env_file", "path", &file);
    turn("file", "path", &file);
    turn("volumes", "source", &|text: &str| if text.starts_with('.') { relative(text) } else { text.to_owned() });
    service
}

/// Lists of a service that are put together; all others replace (Compose Specification, "Merge").
const JOINED: [&str; 22] = [
    "ports",
    "expose",
    "volumes",
    "tmpfs",
    "dns",
    "dns_search",
    "dns_opt",
    "env_file",
    "cap_add",
    "cap_drop",
    "devices",
    "secrets",
    "configs",
    "profiles",
    "links",
    "external_links",
    "security_opt",
    "group_add",
    "volumes_from",
    "device_cgroup_rules",
    "networks",
    "depends_on",
];

/// What `own` makes of `base`.
fn merged(base: Node, own: Node, key: &str) -> Node {
    match (base, own) {
        (_, Node::Override(inner)) => *inner,
        (_, Node::Reset) => Node::Reset,
        (base, Node::Null) => base,
        (Node::Null, own) => own,
        (base, own) if matches!(key, "environment" | "labels" | "sysctls" | "annotations" | "extra_hosts") => {
            let mut all = base.pairs();
            for (name, value) in own.pairs() {
                match all.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, there)) => *there = value,
                    None => all.push((name, value)),
                }
            }
            let node = |value: Option<String>| value.map_or(Node::Null, Node::Scalar);
            Node::Map(all.into_iter().map(|(name, value)| (name, node(value))).collect())
        }
        (base, own)
            if matches!(key, "depends_on" | "networks") && (base.items().is_empty() != own.items().is_empty()) =>
        {
            merged(mapped(base), mapped(own), "")
        }
        (Node::Map(mut entries), Node::Map(more)) => {
            for (name, value) in more {
                match entries.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, there)) => *there = merged(std::mem::take(there), value, &name),
                    None => entries.push((name, value)),
                }
            }
            Node::Map(entries)
        }
        (Node::List(mut items), Node::List(more)) if JOINED.contains(&key) => {
            if key == "volumes" {
                let target = |item: &Node| match item.text() {
                    Some(text) => text.split(':').nth(1).unwrap_or(text).to_owned(),
                    None => item.get("target").text().unwrap_or_default().to_owned(),
                };
                items.retain(|item| more.iter().all(|other| target(other) != target(item)));
            }
            items.extend(more.into_iter().filter(|item| !items.contains(item)).collect::<Vec<_>>());
            Node::List(items)
        }
        (_, own) => own,
    }
}

fn mapped(node: Node) -> Node {
    match node {
        Node::List(items) => {
            let names = items.iter().filter_map(|item| item.text().map(str::to_owned));
            Node::Map(names.map(|name| (name, Node::Map(vec![]))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Project, Failure> {
        let files: Files = files.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned()))).collect();
        let mut files = files;
        for _ in 0..8 {
            let mut loader = Loader::new(&files);
            match loader.load("compose.yaml") {
                Ok(()) => return Ok(loader.project),
                Err(Failure::Wants(more)) => {
                    files.extend(more.into_iter().map(|path| (path, Err("it is not there".to_owned()))));
                }
                Err(other) => return Err(other),
            }
        }
        Err(Failure::Wants(BTreeSet::new()))
    }

    #[test]
    fn services_come_from_all_files() -> Result<(), Failure> {
        let main = "include: [sub/more.yaml]\nservices:\n  web:\n    extends: {service: base, file: sub/base.yaml}\n    \
                    environment: [A=2, C]\n    ports: ['1:1']\n    command: own\n  off: {image: x, profiles: [debug]}\n";
        let base = "services:\n  base: {image: \"b:${TAG:-1}\", environment: {A: 1, B: 1}, ports: ['2:2'], command: [x], \
                    env_file: a.env, volumes: ['./x:/x']}\n";
        let project = load(&[
            ("compose.yaml", main),
            ("sub/base.yaml", base),
            ("sub/more.yaml", "services: {more: {image: \"m:${TAG}\"}}\n"),
            ("sub/.env", "TAG=3\n"),
            ("sub/a.env", "E=5\n"),
        ])?;
        let names: Vec<_> = project.services.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["more", "web"]);
        let image = |name: &str| {
            let service = project.services.iter().find(|(known, _)| known == name);
            project.variables.plain(service.and_then(|(_, node)| node.get("image").text()).unwrap_or_default())
        };
        assert_eq!((image("more"), image("web")), ("m:3".into(), "b:1".into()));
        let env: Vec<_> = project.environments["web"].iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(env, ["E", "A", "B", "C"]);
        let web = &project.services[1].1;
        assert_eq!(web.get("ports").texts(), ["2:2", "1:1"]);
        assert_eq!(
            (web.get("command").text(), web.get("volumes").texts()),
            (Some("own"), vec!["./sub/x:/x".to_owned()])
        );
        assert_eq!(project.notes.len(), 1, "{:?}", project.notes);
        Ok(())
    }

    #[test]
    fn circles_and_ways_out_are_refused() {
        let refused = |files: &[(&str, &str)]| match load(files) {
            Err(Failure::Refused(why)) => why,
            Err(Failure::Wants(_)) => "wants".into(),
            Ok(project) => format!("taken, {:?}", project.notes),
        };
        for (text, said) in [
            ("services: {a: {extends: b}, b: {extends: a}}", "extends itself"),
            ("include: [compose.yaml]\nservices: {a: {image: x}}", "includes itself"),
            ("services: {a: {extends: {service: b, file: ../x.yaml}}}", "leads out"),
            ("include: [../x.yaml]\nservices: {a: {image: x}}", "leads out"),
            ("services: {a: {env_file: /etc/passwd}}", "leads out"),
            ("services: {a: {extends: nothing}}", "no service `nothing`"),
            ("a: b", "no `services`"),
        ] {
            let told = refused(&[("compose.yaml", text)]);
            assert!(told.contains(said), "{text}: {told}");
        }
    }
}

//! From what is written to what is meant: defaults, names, and everything that a schema cannot say.
//!
//! Invariant: a function here returns `None` only when a diagnostic, perhaps one of the schema, says why.

use super::diagnostic::Code;
use super::image;
use super::model::{App, Database, Deploy, Drift, Generated, Ingress, Probe, Registry, Spec, Template};
use super::place::Path;
use super::quantity::Amount;
use super::reference::{Site, template};
use super::report::{Report, below, root};
use super::resources::{self, bytes, duration, resources};
use super::suggest;
use super::template as syntax;
use super::violation::Broken;
use super::wire;
use crate::ident::StackName;
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Services, Deployments and Ingresses: a DNS label.
const MAX_NAME: usize = 63;
/// The name of a `StatefulSet` becomes a label value together with a hash of 11 characters.
const MAX_DATABASE: usize = MAX_NAME - 11;

/// What is read, and where mistakes go.
pub(super) struct Check<'a, 'r> {
    /// The file.
    pub stack: &'a wire::Stack,
    /// What the schema refused.
    pub broken: &'a Broken,
    /// Mistakes.
    pub report: &'a mut Report<'r>,
}

impl Check<'_, '_> {
    /// The model of the file; `None` when something is wrong.
    pub fn spec(&mut self) -> Option<Spec> {
        let stack = self.stack;
        self.names();
        let registries = each(&stack.registries.0, |_, r| {
            Some(Registry { server: r.server.as_ref()?.0.clone(), secret: r.secret.as_ref()?.0.clone() })
        });
        let databases = each(&stack.databases.0, |name, d| self.database(&root(&["databases", name]), d));
        let apps = each(&stack.apps.0, |name, a| self.app(name, a));
        let secrets = each(&stack.secrets.0, |_, s| Some(generated(s)));
        let ingress = each(&stack.ingress.0, |name, i| self.ingress(name, i));
        self.hosts();
        let deploy = self.deploy();
        Some(Spec {
            name: StackName::new(stack.metadata.name.as_ref()?.0.clone())?,
            registries: registries?,
            databases: databases?,
            apps: apps?,
            secrets: secrets?,
            ingress: ingress?,
            deploy: deploy?,
        })
    }

    /// Names of objects: `STACK-NAME`.
    fn names(&mut self) {
        let stack = self.stack;
        for name in stack.apps.0.keys().filter(|name| stack.databases.0.contains_key(*name)) {
            let message = format!("`{name}` is the name of an app and of a database");
            self.report.key(Code::NameCollision, &root(&["apps", name]), &message, "rename one of them");
        }
        for name in stack.secrets.0.keys() {
            let database = name.strip_suffix("-credentials").unwrap_or_default();
            if stack.databases.0.contains_key(database) {
                let message = format!("`{name}` is where the credentials of the database `{database}` are kept");
                self.report.key(Code::NameCollision, &root(&["secrets", name]), &message, "rename it");
            }
        }
        let Some(prefix) = stack.metadata.name.as_ref().map(|n| n.0.len() + 1) else { return };
        let sections: [(&str, Vec<&String>, usize); 3] = [
            ("databases", stack.databases.0.keys().collect(), MAX_DATABASE),
            ("apps", stack.apps.0.keys().collect(), MAX_NAME),
            ("ingress", stack.ingress.0.keys().collect(), MAX_NAME),
        ];
        for (section, names, most) in sections {
            for name in names.into_iter().filter(|name| prefix + name.len() > most && name.len() <= MAX_NAME) {
                let message =
                    format!("a name of {} characters with the Stack's; {most} are allowed", prefix + name.len());
                let help = format!("shorten it by {}", prefix + name.len() - most);
                self.report.key(Code::NameTooLong, &root(&[section, name]), &message, &help);
            }
        }
    }

    fn database(&mut self, at: &Path, wire: &wire::Database) -> Option<Database> {
        let size = match &wire.storage.size {
            None => Some("5Gi".to_owned()),
            Some(size) => bytes(&size.0, &below(at, &["storage", "size"]), self.report).map(Amount::canonical),
        };
        let resources = resources(&wire.resources, &below(at, &["resources"]), &resources::DATABASE, self.report);
        wire.engine?;
        Some(Database { version: wire.version?.major(), storage: size?, resources: resources? })
    }

    fn app(&mut self, name: &str, wire: &wire::App) -> Option<App> {
        let at = root(&["apps", name]);
        let image = if self.broken.touches(&["apps", name, "image"]) {
            None
        } else {
            self.image(&below(&at, &["image"]), wire.image.as_ref())
        };
        let command = self.list(&below(&at, &["command"]), wire.command.len());
        let args = self.list(&below(&at, &["args"]), wire.args.len());
        let ports = self.ports(name, wire);
        let env = self.env(&at, wire);
        let resources = resources(&wire.resources, &below(&at, &["resources"]), &resources::APP, self.report);
        let mut probe = |kind: &str, wire: Option<&wire::Probe>, failures: u32| match wire {
            Some(wire) => self.probe(name, kind, wire, &ports, failures).map(Some),
            None => Some(None),
        };
        let startup = probe("startup", wire.probes.startup.as_ref(), 30);
        let readiness = probe("readiness", wire.probes.readiness.as_ref(), 3);
        let liveness = probe("liveness", wire.probes.liveness.as_ref(), 3);
        let tcp = ports.first().map(|(_, port)| Probe {
            path: None,
            port: *port,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
        });
        let (image, pull_secret) = image?;
        Some(App {
            image,
            pull_secret,
            command: command?,
            args: args?,
            ports,
            env: env?,
            replicas: wire.replicas.unwrap_or(1),
            resources: resources?,
            startup: startup?,
            readiness: readiness?.or(tcp),
            liveness: liveness?,
        })
    }

    /// The image and the pull secret of its registry.
    fn image(&mut self, at: &Path, wire: Option<&wire::Image>) -> Option<(Template, Option<String>)> {
        let (text, at, secret) = match wire? {
            wire::Image::Text(text) => (text.0.clone(), at.clone(), None),
            wire::Image::Parts(parts) => {
                let repository = parts.repository.as_ref()?;
                let named = below(at, &["repository"]);
                if image::split(repository).1.is_some() || repository.contains('@') {
                    let help = "write the tag under `tag`, the digest under `digest`";
                    self.report.value(Code::InvalidImage, &named, "the repository contains a tag or a digest", help);
                    return None;
                }
                let registry = match &parts.registry {
                    Some(name) => Some(self.registry(&below(at, &["registry"]), &name.0, repository, &named)?),
                    None => None,
                };
                let server = registry.as_ref().map(|r| format!("{}/", r.server)).unwrap_or_default();
                let tag = parts.tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
                let digest = parts.digest.as_ref().map(|d| format!("@{}", d.0)).unwrap_or_default();
                let at = if parts.tag.is_some() { below(at, &["tag"]) } else { named };
                (format!("{server}{repository}{tag}{digest}"), at, registry.map(|r| r.secret))
            }
        };
        let image = template(&text, &at, Site::Name, self.stack, self.broken, self.report)?;
        let shape = syntax::literal(&syntax::split(&text)?);
        if let Some((message, help)) = image::complaint(image::split(&shape)) {
            self.report.value(Code::InvalidImage, &at, message, help);
            return None;
        }
        Some((image, secret))
    }

    fn registry(&mut self, at: &Path, name: &str, repository: &str, named: &Path) -> Option<Registry> {
        let Some(registry) = self.stack.registries.0.get(name) else {
            if !self.broken.hides(&["registries"]) {
                let declared = self.stack.registries.0.keys().map(String::as_str);
                let help = suggest::hint(name, declared, "declare it under `registries`");
                self.report.value(Code::UnknownRegistry, at, &format!("`registries` has no `{name}`"), &help);
            }
            return None;
        };
        if image::names_host(repository) {
            let help = "leave out the host, or leave out `registry`";
            self.report.value(Code::InvalidImage, named, "the repository names a host beside its registry", help);
            return None;
        }
        Some(Registry { server: registry.server.as_ref()?.0.clone(), secret: registry.secret.as_ref()?.0.clone() })
    }

    fn list(&mut self, at: &Path, items: usize) -> Option<Vec<Template>> {
        let templates: Vec<_> = (0..items).map(|i| self.process(&below(at, &[&i.to_string()]))).collect();
        templates.into_iter().collect()
    }

    fn env(&mut self, app: &Path, wire: &wire::App) -> Option<BTreeMap<String, Template>> {
        each(&wire.env.0, |name, _| {
            let at = below(app, &["env", name]);
            if name.starts_with("HKS_") {
                self.report.key(Code::InvalidName, &at, &format!("`{name}` is reserved: `HKS_…`"), "rename it");
            }
            self.process(&at)
        })
    }

    /// A text that goes to the program, as it is written.
    fn process(&mut self, at: &Path) -> Option<Template> {
        let text = self.report.places.text(at)?.to_owned();
        template(&text, at, Site::Process, self.stack, self.broken, self.report)
    }

    /// The ports in the order of the file.
    fn ports(&mut self, app: &str, wire: &wire::App) -> Vec<(String, u16)> {
        let at = root(&["apps", app, "ports"]);
        let order: Vec<String> = self.report.places.keys(&at).into_iter().map(str::to_owned).collect();
        let mut ports: Vec<(String, u16)> = Vec::new();
        for name in order {
            let Some(port) = wire.ports.0.get(&name) else { continue };
            if let Some((first, _)) = ports.iter().find(|(_, p)| *p == port.0) {
                let message = format!("port {} is `{first}` already", port.0);
                self.report.value(Code::DuplicatePort, &below(&at, &[&name]), &message, "keep one of them");
            }
            ports.push((name, port.0));
        }
        ports
    }

    fn probe(
        &mut self,
        app: &str,
        kind: &str,
        wire: &wire::Probe,
        ports: &[(String, u16)],
        failures: u32,
    ) -> Option<Probe> {
        let at = root(&["apps", app, "probes", kind]);
        let port = self.port(app, ports, wire.port.as_ref(), &at);
        let mut time = |key: &str, wire: Option<&wire::Duration>, default: u64, least: u64| {
            duration(wire, default, &(least..=HOUR), &below(&at, &[key]), self.report)
        };
        let initial_delay = time("initialDelay", wire.initial_delay.as_ref(), 0, 0);
        let period = time("period", wire.period.as_ref(), 10, 1);
        let timeout = time("timeout", wire.timeout.as_ref(), 5, 1);
        Some(Probe {
            path: wire.path.as_ref().map(|p| p.0.clone()),
            port: port?.1,
            initial_delay: initial_delay?,
            period: period?,
            timeout: timeout?,
            failure_threshold: wire.failure_threshold.unwrap_or(failures),
        })
    }

    /// The port of `app` that is named at `at`, or its first one.
    fn port(
        &mut self,
        app: &str,
        ports: &[(String, u16)],
        name: Option<&wire::PortName>,
        at: &Path,
    ) -> Option<(String, u16)> {
        let found = match name {
            Some(name) => ports.iter().find(|(n, _)| *n == name.0),
            None => ports.first(),
        };
        if found.is_some() || self.broken.touches(&["apps", app, "ports"]) {
            return found.cloned();
        }
        if let (Some(name), false) = (name, ports.is_empty()) {
            let names: Vec<&str> = ports.iter().map(|(n, _)| n.as_str()).collect();
            let help = suggest::hint(&name.0, names.iter().copied(), &format!("it has {}", names.join(", ")));
            let message = format!("the app `{app}` has no port `{}`", name.0);
            self.report.value(Code::UnknownPort, &below(at, &["port"]), &message, &help);
        } else {
            let help = format!("add `ports: {{http: 8080}}` to `apps.{app}`");
            self.report.key(Code::NoPort, at, &format!("the app `{app}` has no ports"), &help);
        }
        None
    }

    fn ingress(&mut self, name: &str, wire: &wire::Ingress) -> Option<Ingress> {
        let at = root(&["ingress", name]);
        let host = match &wire.host {
            Some(host) => self.host(&below(&at, &["host"]), host).map(Some),
            None => Some(None),
        };
        let paths = each(&wire.paths.0, |prefix, target| {
            let at = below(&at, &["paths", prefix]);
            if prefix.contains("//") || prefix.split('/').any(|s| s == "." || s == "..") || prefix.contains('%') {
                let help = "leave out `//`, `.`, `..` and `%`";
                self.report.key(Code::InvalidPath, &at, &format!("`{prefix}` is not a path prefix"), help);
            }
            self.target(&at, target)
        });
        Some(Ingress { host: host?, paths: paths? })
    }

    fn target(&mut self, at: &Path, wire: &wire::Target) -> Option<(String, String)> {
        let (app, named, port) = match wire {
            wire::Target::App(app) => (&app.0, at.clone(), None),
            wire::Target::Port(target) => (&target.app.as_ref()?.0, below(at, &["app"]), target.port.as_ref()),
        };
        let Some(target) = self.stack.apps.0.get(app) else {
            if !self.broken.hides(&["apps"]) {
                let help = suggest::hint(app, self.stack.apps.0.keys().map(String::as_str), "declare it under `apps`");
                self.report.value(Code::UnknownApp, &named, &format!("`apps` has no `{app}`"), &help);
            }
            return None;
        };
        let order = self.report.places.keys(&root(&["apps", app, "ports"]));
        let ports: Vec<(String, u16)> =
            order.into_iter().filter_map(|n| target.ports.0.get(n).map(|p| (n.to_owned(), p.0))).collect();
        let (port, _) = self.port(app, &ports, port, at)?;
        Some((app.clone(), port))
    }

    fn host(&mut self, at: &Path, text: &str) -> Option<Template> {
        let host = template(text, at, Site::Name, self.stack, self.broken, self.report)?;
        let shape = syntax::shape(&syntax::split(text)?, |reference| match reference {
            "git.sha" => "0".repeat(40),
            "git.shortSha" => "0".repeat(7),
            _ => "x".to_owned(),
        });
        if !image::is_host(&shape) {
            let help = "write a DNS name in lower case, such as `app.example.com`; no scheme, port or `*`";
            self.report.value(Code::InvalidHost, at, "not a host name", help);
            return None;
        }
        Some(host)
    }

    /// No two entries may claim the same host.
    fn hosts(&mut self) {
        let mut claimed: BTreeMap<&str, &str> = BTreeMap::new();
        let stack = self.stack;
        for name in self.report.places.keys(&root(&["ingress"])) {
            let Some(host) = stack.ingress.0.get(name).and_then(|i| i.host.as_deref()) else { continue };
            match claimed.get(host) {
                Some(first) => {
                    let message = format!("`ingress.{first}` has the same host");
                    let help = "put all paths of a host into one entry";
                    self.report.value(Code::DuplicateHost, &root(&["ingress", name, "host"]), &message, help);
                }
                None => {
                    claimed.insert(host, name);
                }
            }
        }
    }

    fn deploy(&mut self) -> Option<Deploy> {
        let wire = &self.stack.deploy;
        let timeout = &root(&["deploy", "timeout"]);
        let timeout = duration(wire.timeout.as_ref(), 15 * MINUTE, &(10..=DAY), timeout, self.report);
        let wait = &root(&["deploy", "capacity", "wait"]);
        let capacity_wait = duration(wire.capacity.wait.as_ref(), 30 * MINUTE, &(0..=DAY), wait, self.report);
        let drift = match wire.drift {
            None | Some(wire::Drift::Correct) => Drift::Correct,
            Some(wire::Drift::Report) => Drift::Report,
        };
        Some(Deploy { timeout: timeout?, capacity_wait: capacity_wait?, drift })
    }
}

fn generated(wire: &wire::Secret) -> Generated {
    let length = |key: &wire::Key| key.length.and_then(|l| usize::try_from(l).ok()).unwrap_or(32);
    Generated { keys: wire.generate.0.iter().map(|(name, key)| (name.clone(), length(key))).collect() }
}

/// Every entry turned, all of them even if one fails.
fn each<A, B>(map: &BTreeMap<String, A>, mut turn: impl FnMut(&str, &A) -> Option<B>) -> Option<BTreeMap<String, B>> {
    let turned: Vec<_> = map.iter().map(|(name, a)| Some((name.clone(), turn(name, a)?))).collect();
    turned.into_iter().collect()
}

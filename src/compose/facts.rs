//! What is known about the services before anything is translated: names, roles, hosts, ports, which of them end.

use super::address;
use super::image::{self, Known, Role};
use super::load::{Files, Project, join};
use super::service::{Reach, Restart, Service, Source, Wait};
use super::variables::Variables;
use super::words::unique;
use std::collections::{BTreeMap, BTreeSet};

/// A port that an app will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppPort {
    pub name: String,
    pub number: u16,
    pub protocol: Protocol,
    pub reach: Reach,
    /// Why it is there, if the file does not declare it.
    pub because: Option<String>,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Tcp,
    Udp,
}

/// What is known.
pub(super) struct Facts<'a> {
    pub variables: &'a Variables,
    /// Names here by names there.
    pub names: BTreeMap<String, String>,
    /// What the images are known to be.
    pub known: BTreeMap<String, Known>,
    /// Services that are left out, and why.
    pub left: BTreeMap<String, String>,
    /// Services that end.
    pub ending: BTreeSet<String>,
    /// Ports of apps.
    pub ports: BTreeMap<String, Vec<AppPort>>,
    hosts: BTreeMap<String, String>,
    links: BTreeMap<(String, String), String>,
}

/// Ports on which no HTTP is spoken (IANA, and what the programs document).
const NO_HTTP: [u16; 48] = [
    20, 21, 22, 23, 25, 53, 110, 111, 139, 143, 389, 445, 465, 514, 587, 636, 853, 873, 993, 995, 1025, 1433, 1521,
    1883, 2049, 2181, 2222, 2525, 3306, 3389, 4222, 4369, 5432, 5433, 5671, 5672, 6379, 6380, 7687, 8883, 9042, 9092,
    9093, 9094, 9300, 11211, 27017, 61616,
];

/// Whether the number of a port says that HTTP is spoken there, or leaves it open.
pub(super) fn may_be_http(number: u16) -> bool {
    !NO_HTTP.contains(&number) && !matches!(number, 443 | 8443 | 9443)
}

impl<'a> Facts<'a> {
    pub fn new(stack: &str, services: &[Service], project: &'a Project, files: &Files) -> Self {
        let variables = &project.variables;
        let mut facts = Self {
            variables,
            names: BTreeMap::new(),
            known: BTreeMap::new(),
            left: BTreeMap::new(),
            ending: BTreeSet::new(),
            ports: BTreeMap::new(),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        // a Job's name has the Stack's before it and up to 11 characters behind it, 63 in all
        let most = 51_usize.saturating_sub(stack.len()).clamp(8, 40);
        for service in services {
            let taken = |name: &str| facts.names.values().any(|known| known == name);
            let name = unique(&service.name, most, taken);
            facts.names.insert(service.name.clone(), name);
            let image = variables.plain(&service.image);
            let mut known = image::of(if service.image.is_empty() { "" } else { &image });
            if known.role == Role::App {
                known = by_data(service).unwrap_or(known);
            }
            facts.known.insert(service.name.clone(), known);
        }
        for service in services {
            facts.hosts.insert(service.name.to_lowercase(), service.name.clone());
        }
        for service in services {
            for alias in &service.aliases {
                facts.hosts.entry(alias.to_lowercase()).or_insert_with(|| service.name.clone());
            }
            for (name, of) in &service.links {
                facts.links.insert((service.name.clone(), name.to_lowercase()), of.clone());
            }
        }
        facts.leave(services);
        facts.end(services);
        facts.all_ports(services, files);
        facts
    }

    pub fn role(&self, service: &str) -> Role {
        self.known.get(service).map_or(Role::App, |known| known.role)
    }

    pub fn name<'s>(&'s self, service: &'s str) -> &'s str {
        self.names.get(service).map_or(service, String::as_str)
    }

    /// The service that `from` reaches by a host name.
    pub fn host(&self, from: &str, host: &str) -> Option<&str> {
        let host = host.to_lowercase();
        let link = self.links.get(&(from.to_owned(), host.clone()));
        let found = link.or_else(|| self.hosts.get(&host))?;
        (self.names.contains_key(found) && !self.left.contains_key(found)).then_some(found.as_str())
    }

    /// Whether a host name is that of a service, whoever uses it.
    pub fn hosts_same(&self, service: &str, host: &str) -> bool {
        let host = host.to_lowercase();
        self.hosts.get(&host).is_some_and(|found| found == service)
            || self.links.iter().any(|((_, name), of)| *name == host && of == service)
    }

    /// Whether a service becomes a database or a cache, so that it is no app.
    pub fn is_served(&self, service: &str) -> bool {
        matches!(self.role(service), Role::Database | Role::Cache)
    }

    fn leave(&mut self, services: &[Service]) {
        for service in services {
            let docker = service.mounts.iter().any(|mount| {
                matches!(&mount.source, Source::Host(path) if path.ends_with("docker.sock"))
                    || mount.target.ends_with("docker.sock")
            });
            let why = match self.role(&service.name) {
                Role::Router => "is left out: requests come in by `ingress` here, and there is no Docker to look at",
                Role::Tool if docker => "is left out: it looks after Docker, which is not there",
                _ => continue,
            };
            self.left.insert(service.name.clone(), why.to_owned());
        }
    }

    /// Services that end: others wait for their end, or they are not started again and serve nothing.
    fn end(&mut self, services: &[Service]) {
        let awaited = |name: &str| {
            services.iter().any(|other| other.depends.iter().any(|(on, wait)| on == name && *wait == Wait::Completed))
        };
        for service in services {
            let role = self.role(&service.name);
            if self.is_served(&service.name) || role == Role::Router {
                continue;
            }
            // such an image is most often the server itself
            let server = matches!(role, Role::Store | Role::ForeignDatabase);
            let serves = !service.ports.is_empty()
                || !service.node.get("healthcheck").is_null()
                || service.labels.iter().any(|(key, _)| key.starts_with("traefik.http"))
                || services
                    .iter()
                    .any(|other| other.depends.iter().any(|(on, wait)| *on == service.name && *wait == Wait::Healthy));
            let ends = !serves
                && match service.restart {
                    Restart::Never if server => self.is_finite(service),
                    Restart::Unsaid if server => false,
                    Restart::Never => !self.is_endless(service),
                    Restart::OnFailure(_) => self.is_finite(service),
                    Restart::Always => false,
                    Restart::Unsaid => {
                        self.is_finite(service) && service.depends.iter().any(|(_, wait)| *wait != Wait::Completed)
                    }
                };
            if awaited(&service.name) || ends {
                self.ending.insert(service.name.clone());
            }
        }
    }

    /// The words of what a service does at last: its name, and its command behind the last `&&` or `;`.
    fn deeds(&self, service: &Service) -> Vec<String> {
        let words = service.entrypoint.iter().chain(&service.command).flatten();
        let text: Vec<String> = words.map(|word| self.variables.plain(word)).collect();
        let text = text.join(" ").to_lowercase();
        let last = text.trim_end_matches([';', ' ', '"']).rsplit(['&', ';']).next().unwrap_or_default().to_owned();
        let parts = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.flat_map(|word| [word].into_iter().chain(word.split('_'))).map(str::to_owned).collect()
        };
        [parts(&service.name.to_lowercase()), parts(&last)].concat()
    }

    /// Whether name or command speak of something that is done once.
    fn is_finite(&self, service: &Service) -> bool {
        const ONCE: [&str; 26] = [
            "migrate",
            "migration",
            "migrations",
            "migrator",
            "seed",
            "seeder",
            "init",
            "setup",
            "backup",
            "dump",
            "pg_dump",
            "mysqldump",
            "restore",
            "import",
            "create",
            "createbuckets",
            "bucket",
            "buckets",
            "collectstatic",
            "upgrade",
            "prepare",
            "bootstrap",
            "provision",
            "install",
            "prestart",
            "mb",
        ];
        self.deeds(service).iter().any(|word| ONCE.contains(&word.as_str())) && !self.is_endless(service)
    }

    /// Whether name or command speak of something that goes on.
    fn is_endless(&self, service: &Service) -> bool {
        const ALWAYS: [&str; 24] = [
            "worker",
            "workers",
            "sidekiq",
            "celery",
            "queue",
            "serve",
            "server",
            "runserver",
            "gunicorn",
            "uvicorn",
            "puma",
            "start",
            "daemon",
            "cron",
            "beat",
            "scheduler",
            "listen",
            "watch",
            "dev",
            "consumer",
            "nginx",
            "supervisord",
            "sleep",
            "run",
        ];
        let deeds = self.deeds(service);
        deeds.iter().any(|word| ALWAYS.contains(&word.as_str()))
    }

    fn all_ports(&mut self, services: &[Service], files: &Files) {
        let apps: Vec<&Service> = services.iter().filter(|service| !self.is_served(&service.name)).collect();
        for service in &apps {
            let mut ports: Vec<AppPort> = vec![];
            for port in &service.ports {
                add(&mut ports, port.number, port.udp, port.reach, None);
            }
            for (number, because) in self.own_ports(service) {
                add(&mut ports, number, false, Reach::Inside, Some(because));
            }
            self.ports.insert(service.name.clone(), ports);
        }
        // what others say
        let mut said: Vec<(String, u16, String)> = vec![];
        for service in services {
            let env = service.env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let words = service.entrypoint.iter().chain(&service.command).flatten();
            for (key, text) in env.chain(words.map(|word| ("command", word.as_str()))) {
                for found in address::find(&self.variables.plain(text)) {
                    let Some(other) = self.host(&service.name, &found.host) else { continue };
                    let port = found.port.as_deref().and_then(|port| port.parse().ok());
                    let usual = match found.scheme.as_deref() {
                        Some("http" | "ws") => Some(80),
                        _ => None,
                    };
                    let known = self.ports.get(other).is_some_and(|ports| !ports.is_empty());
                    if let Some(number) = port.or(usual.filter(|_| !known)).filter(|number| *number > 0)
                        && (service.name != *other || found.scheme.is_some())
                    {
                        said.push((other.to_owned(), number, format!("{}.{key} names it", service.name)));
                    }
                }
            }
        }
        // and what the files say that are mounted, such as that of a proxy
        for service in services {
            for mount in &service.mounts {
                let Source::Host(path) = &mount.source else { continue };
                let Some(Ok(text)) = join("", path).ok().and_then(|path| files.get(&path)) else { continue };
                if text.len() > crate::spec::MAX_FILE {
                    continue;
                }
                for found in address::find(text) {
                    if let (Some(other), Some(Ok(number))) =
                        (self.host(&service.name, &found.host), found.port.map(|port| port.parse()))
                        && number > 0
                    {
                        said.push((other.to_owned(), number, format!("{path} names it")));
                    }
                }
            }
        }
        for (other, number, because) in said {
            if let Some(ports) = self.ports.get_mut(&other) {
                add(ports, number, false, Reach::Inside, Some(because));
            }
        }
        for service in apps {
            let known = self.known.get(&service.name).map(|known| known.ports).unwrap_or_default();
            let Some(ports) = self.ports.get_mut(&service.name).filter(|ports| ports.is_empty()) else { continue };
            for number in known {
                add(ports, *number, false, Reach::Inside, Some("its image listens there".to_owned()));
            }
        }
        for ports in self.ports.values_mut() {
            name_all(ports);
        }
    }

    /// Ports that a service says itself, otherwise than by `ports` and `expose`.
    fn own_ports(&self, service: &Service) -> Vec<(u16, String)> {
        let mut found = vec![];
        for (key, value) in &service.labels {
            let port = key
                .strip_prefix("traefik.http.services.")
                .is_some_and(|key| key.ends_with(".loadbalancer.server.port"));
            if let (true, Ok(number)) = (port, value.parse()) {
                found.push((number, "its label names it".to_owned()));
            }
        }
        for (key, value) in &service.env {
            let value = self.variables.plain(value);
            let names = key == "VIRTUAL_PORT" || key == "PORT" && service.ports.is_empty();
            if let (true, Ok(number)) = (names, value.parse()) {
                found.push((number, format!("{key} names it")));
            }
        }
        let test = service.node.get("healthcheck").get("test").texts().join(" ");
        for address in address::find(&test) {
            let here = matches!(address.host.as_str(), "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]");
            if let (true, Some(Ok(number))) = (here, address.port.map(|port| port.parse()))
                && service.ports.is_empty()
            {
                found.push((number, "its health check asks there".to_owned()));
            }
        }
        // `--bind 0.0.0.0:8000`, `--port 8000`
        let words: Vec<String> = service
            .entrypoint
            .iter()
            .chain(&service.command)
            .flatten()
            .map(|word| self.variables.plain(word))
            .collect();
        let words = words.join(" ");
        let bound = address::find(&words)
            .into_iter()
            .filter(|address| address.host == "0.0.0.0")
            .filter_map(|address| address.port);
        let option = words.split(['=', ' ']).skip_while(|word| *word != "--port").nth(1).map(str::to_owned);
        for port in bound.chain(option).filter(|_| service.ports.is_empty()) {
            if let Ok(number) = port.parse() {
                found.push((number, "its command names it".to_owned()));
            }
        }
        // `exec 3<>/dev/tcp/127.0.0.1/9000`, `nc -z localhost 9092`
        for mark in ["/dev/tcp/127.0.0.1/", "/dev/tcp/localhost/", "nc -z localhost ", "nc -z 127.0.0.1 "] {
            let digits = test.split(mark).nth(1).unwrap_or_default();
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if let (true, Some(Ok(number))) = (service.ports.is_empty(), digits.get(..end).map(str::parse)) {
                found.push((number, "its health check asks there".to_owned()));
            }
        }
        found.retain(|(number, _)| *number > 0);
        found
    }
}

/// What an image that is built here is by what it is given: the folder of its data, or its name.
fn by_data(service: &Service) -> Option<Known> {
    let like = |image| Some(image::of(image));
    for mount in &service.mounts {
        let found = match mount.target.as_str() {
            "/var/lib/postgresql/data" | "/var/lib/postgresql" => {
                Some(Known { role: Role::ForeignDatabase, ..image::of("postgres") })
            }
            "/var/lib/mysql" => like("mysql"),
            "/data/db" => like("mongo"),
            "/var/lib/rabbitmq" => like("rabbitmq"),
            "/var/lib/clickhouse" => like("clickhouse"),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    let built = service.build.is_some();
    let proxy = matches!(service.name.to_lowercase().as_str(), "traefik" | "nginx" | "caddy" | "haproxy" | "proxy");
    (built && proxy).then_some(Known { role: Role::Proxy, ports: &[], root: false })
}

fn add(ports: &mut Vec<AppPort>, number: u16, udp: bool, reach: Reach, because: Option<String>) {
    let same = |port: &AppPort| port.number == number && (port.protocol == Protocol::Udp) == udp;
    // an app has at most 50
    if ports.iter().any(same) || ports.len() >= 50 {
        return;
    }
    let protocol = match (udp, NO_HTTP.contains(&number)) {
        (true, _) => Protocol::Udp,
        (false, true) => Protocol::Tcp,
        (false, false) => Protocol::Http,
    };
    ports.push(AppPort { name: String::new(), number, protocol, reach, because });
}

/// Names the ports: the first HTTP one is `http`, and stands first: it is the default of probes and paths.
fn name_all(ports: &mut [AppPort]) {
    let rank = |port: &AppPort| match (port.protocol, port.reach) {
        (Protocol::Http, Reach::Everywhere) if may_be_http(port.number) => 0,
        (Protocol::Http, Reach::Loopback) if may_be_http(port.number) => 1,
        (Protocol::Http, _) if may_be_http(port.number) => 2,
        (Protocol::Http, _) => 3,
        (Protocol::Tcp, _) => 4,
        (Protocol::Udp, _) => 5,
    };
    ports.sort_by_key(rank);
    let mut first = true;
    for port in ports {
        port.name = match port.protocol {
            Protocol::Http if first && may_be_http(port.number) => {
                first = false;
                "http".to_owned()
            }
            Protocol::Http if matches!(port.number, 443 | 8443 | 9443) => format!("https-{}", port.number),
            Protocol::Udp => format!("udp-{}", port.number),
            _ => match port.number {
                22 => "ssh".to_owned(),
                25 => "smtp".to_owned(),
                number => format!("port-{number}"),
            },
        };
    }
}

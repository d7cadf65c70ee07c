//! What is public, by evidence: labels of proxies, `VIRTUAL_HOST`, published ports, the order of the file.

use super::facts::{AppPort, Protocol, may_be_http};
use super::image::Role;
use super::service::{Reach, Service};
use super::words::unique;
use super::work::{Kind, Work};
use super::write::Map;
use std::collections::BTreeMap;

/// A service that is to be public.
struct Candidate {
    service: String,
    host: Option<String>,
    /// What stands for the host where that is not known: candidates with the same share one entry.
    group: Option<String>,
    paths: Vec<(String, u16)>,
    because: String,
}

/// Hosts that an hks.yaml may have.
const MOST: usize = 50;

/// Names that say that people come here first.
const FRONT: [&str; 7] = ["web", "frontend", "front", "www", "webapp", "gateway", "proxy"];

impl Work<'_> {
    pub fn public(&mut self) {
        let services = self.services;
        let mut found: Vec<Candidate> = vec![];
        for service in services {
            let name = &service.name;
            if self.facts.is_served(name) || self.facts.left.contains_key(name) || self.facts.ending.contains(name) {
                continue;
            }
            found.extend(self.by_labels(service));
            if found.iter().any(|candidate| candidate.service == *name) {
                continue;
            }
            let found_by =
                self.by_virtual_host(service).or_else(|| self.by_router(service)).or_else(|| self.by_port(service));
            if let Some(candidate) = found_by {
                found.push(candidate);
            }
        }
        // people come in by the proxy, or by what is named so, else by what stands first
        let role = |candidate: &Candidate| self.facts.role(&candidate.service);
        let proxy = found.iter().position(|candidate| role(candidate) == Role::Proxy);
        let named = |candidate: &Candidate| FRONT.contains(&candidate.service.to_lowercase().as_str());
        let first = proxy.or_else(|| found.iter().position(named)).unwrap_or(0);
        if first < found.len() {
            let front = found.remove(first);
            found.insert(0, front);
        }
        let several = found.len() > 1;
        let mut groups = BTreeMap::new();
        for (number, candidate) in
            found.iter().filter(|candidate| !self.hidden.contains(&candidate.service)).enumerate()
        {
            self.publish(candidate, number == 0, several, &mut groups);
        }
        for candidate in found.iter().filter(|candidate| self.hidden.contains(&candidate.service)).collect::<Vec<_>>() {
            self.note(Kind::Public, &candidate.service, "ports", "is not public, as was wished");
        }
        let none = matches!(self.out.get("ingress"), Some(super::write::Value::Map(all)) if all.is_empty());
        if none {
            let message = "nothing is public: no service says so; add `ingress: {public: {paths: {/: NAME}}}` for the app that people use";
            self.note(Kind::Public, "ingress", "public", message);
        }
    }

    fn publish(&mut self, candidate: &Candidate, first: bool, several: bool, groups: &mut BTreeMap<String, String>) {
        let app = self.facts.name(&candidate.service).to_owned();
        let ports = self.facts.ports.get(&candidate.service).cloned().unwrap_or_default();
        let wanted = if first { "public".to_owned() } else { app.clone() };
        // the same host, with other paths
        let group = candidate.group.clone().or_else(|| candidate.host.clone());
        let same = group.as_ref().and_then(|group| groups.get(group)).cloned();
        let taken = |name: &str| {
            self.out
                .get("ingress")
                .is_some_and(|all| matches!(all, super::write::Value::Map(all) if all.get(name).is_some()))
        };
        let full = matches!(self.out.get("ingress"), Some(super::write::Value::Map(all)) if all.keys().count() >= MOST);
        if full && same.is_none() {
            let message =
                format!("is not public: an hks.yaml has at most {MOST} hosts; put several paths under one of them");
            self.note(Kind::Public, &candidate.service, "ports", &message);
            return;
        }
        let name = same.unwrap_or_else(|| unique(&wanted, 30, taken));
        if let Some(group) = group {
            groups.entry(group).or_insert_with(|| name.clone());
        }
        let mut told = vec![];
        for (path, number) in &candidate.paths {
            let Some(port) = ports.iter().find(|port| port.number == *number && port.protocol == Protocol::Http) else {
                continue;
            };
            let mut target = Map::default();
            target.set("app", app.clone());
            target.set("port", port.name.clone());
            let all = self.out.map("ingress").map(&name);
            if all.get("host").is_none()
                && let Some(host) = &candidate.host
            {
                all.set("host", host.clone());
            }
            let paths = all.map("paths");
            if paths.get(path).is_none() {
                paths.set_because(path, target, &candidate.because);
                told.push(format!("{path} leads to port {number}"));
            }
        }
        if told.is_empty() {
            return;
        }
        self.public.push(candidate.service.clone());
        let host = match &candidate.host {
            Some(host) => format!("at {host}"),
            None => "at a host that is generated".to_owned(),
        };
        let more = if several && !first && candidate.because.starts_with("its port") {
            "; take it away if nobody is meant to come here"
        } else {
            ""
        };
        let message =
            format!("is public as `ingress.{name}` {host}: {} ({}){more}", told.join(", "), candidate.because);
        self.note(Kind::Public, &candidate.service, "ports", &message);
    }

    /// The port that HTTP is spoken on.
    fn http_port(&self, service: &str, wanted: Option<&str>) -> Option<u16> {
        let ports = self.facts.ports.get(service)?;
        let http = |port: &&AppPort| port.protocol == Protocol::Http && may_be_http(port.number);
        match wanted.and_then(|text| text.parse::<u16>().ok()) {
            Some(number) => ports
                .iter()
                .find(|port| port.number == number && port.protocol == Protocol::Http)
                .map(|port| port.number),
            None => ports.iter().find(http).map(|port| port.number),
        }
    }

    /// Traefik's labels, and those of caddy-docker-proxy.
    fn by_labels(&mut self, service: &Service) -> Vec<Candidate> {
        let label = |key: &str| service.labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        if label("traefik.enable") == Some("false") {
            return vec![];
        }
        let port = service
            .labels
            .iter()
            .find(|(key, _)| key.ends_with(".loadbalancer.server.port"))
            .map(|(_, value)| value.clone());
        let mut rules: Vec<(String, String)> = vec![];
        for (key, value) in &service.labels {
            let router =
                key.strip_prefix("traefik.http.routers.").is_some_and(|rest| rest.rsplit('.').next() == Some("rule"));
            if router || key == "traefik.frontend.rule" {
                rules.push((key.clone(), value.clone()));
            } else if key == "caddy" {
                rules.push((
                    key.clone(),
                    format!("Host(`{}`)", value.trim_start_matches("http://").trim_start_matches("https://")),
                ));
            }
        }
        if service.labels.iter().any(|(key, _)| key.starts_with("traefik.tcp.") || key.starts_with("traefik.udp.")) {
            let message = "routes of TCP and UDP are not carried over: an `ingress` leads HTTP only";
            self.note(Kind::Lost, &service.name, "labels", message);
        }
        if rules.is_empty() && label("traefik.enable") != Some("true") {
            return vec![];
        }
        let Some(number) = self.http_port(&service.name, port.as_deref()) else {
            let message =
                "its labels say that it is public, but nothing tells its port; add `ports` and an `ingress` for it";
            self.note(Kind::Set, &service.name, "labels", message);
            return vec![];
        };
        if rules.is_empty() {
            let because = "traefik.enable".to_owned();
            return vec![Candidate {
                service: service.name.clone(),
                host: None,
                group: None,
                paths: vec![("/".into(), number)],
                because,
            }];
        }
        let mut made: Vec<Candidate> = vec![];
        for (key, rule) in rules {
            for host in self.rule(service, &key, &rule) {
                let (host, group, paths) = host;
                let paths: Vec<(String, u16)> = paths.into_iter().map(|path| (path, number)).collect();
                match made.iter_mut().find(|candidate| candidate.host == host && candidate.group == group) {
                    Some(candidate) => candidate.paths.extend(paths),
                    None => made.push(Candidate {
                        service: service.name.clone(),
                        host,
                        group,
                        paths,
                        because: "its labels".to_owned(),
                    }),
                }
            }
        }
        let strips =
            service.labels.iter().any(|(key, _)| key.contains(".middlewares.") && !key.contains("redirectscheme"));
        if strips {
            self.note(
                Kind::Lost,
                &service.name,
                "labels",
                "middlewares of Traefik are not carried over; see `ingress` for headers, limits and redirects",
            );
        }
        made
    }

    /// Hosts and paths of a rule: ``Host(`a`) && PathPrefix(`/b`)``, and `Host:a` of Traefik 1.
    fn rule(&mut self, service: &Service, key: &str, rule: &str) -> Vec<(Option<String>, Option<String>, Vec<String>)> {
        let mut paths: Vec<String> = arguments(rule, "PathPrefix").into_iter().chain(arguments(rule, "Path")).collect();
        paths.retain(|path| {
            path.starts_with('/')
                && !path.contains("//")
                && path.chars().all(|c| c.is_ascii_alphanumeric() || "._~/-".contains(c))
                && !path.split('/').any(|part| part == "." || part == "..")
        });
        for path in &mut paths {
            let whole = path.trim_end_matches('/').len().max(1);
            path.truncate(whole);
        }
        paths.dedup();
        if paths.is_empty() {
            paths.push("/".to_owned());
        }
        if rule.contains("HostRegexp") || rule.contains("HostSNI") || rule.contains('!') || rule.contains("Header") {
            self.note(
                Kind::Changed,
                &service.name,
                key,
                "has conditions that an `ingress` does not know; look who comes in",
            );
        }
        let hosts = arguments(rule, "Host");
        let raw = arguments(&self.raw_label(service, key).unwrap_or_default(), "Host");
        let mut made = vec![];
        for (at, host) in hosts.into_iter().enumerate() {
            let lower = host.to_lowercase();
            let usable = crate::spec::is_host(&lower)
                && lower.contains('.')
                && !matches!(lower.rsplit('.').next(), Some("localhost" | "local"));
            if usable {
                made.push((Some(lower), None, paths.clone()));
                continue;
            }
            let raw = raw.get(at).cloned().unwrap_or(host);
            self.note(
                Kind::Set,
                &service.name,
                key,
                &format!("its host `{raw}` is not known here; one is generated until you write it as `host`"),
            );
            made.push((None, Some(raw), paths.clone()));
        }
        if made.is_empty() {
            // all rules without a host are of the same one
            made.push((None, Some(String::new()), paths));
        }
        made
    }

    /// A label as it is written.
    fn raw_label(&self, service: &Service, key: &str) -> Option<String> {
        let raw = self.project.services.iter().find(|(name, _)| *name == service.name).map(|(_, node)| node)?;
        let pairs = raw.get("labels").pairs().into_iter().chain(raw.get("deploy").get("labels").pairs());
        let found = pairs.into_iter().find(|(known, _)| self.facts.variables.plain(known) == key)?.1?;
        Some(self.shown(&found))
    }

    /// nginx-proxy's variables.
    fn by_virtual_host(&mut self, service: &Service) -> Option<Candidate> {
        let get = |key: &str| {
            service.env.iter().find(|(known, _)| known == key).map(|(_, value)| self.facts.variables.plain(value))
        };
        let hosts = get("VIRTUAL_HOST")?;
        let port = get("VIRTUAL_PORT");
        let plain = |path: &String| {
            path.len() > 1
                && path.starts_with('/')
                && path.chars().all(|c| c.is_ascii_alphanumeric() || "/_-".contains(c))
        };
        let path = get("VIRTUAL_PATH").map(|path| path.trim_end_matches('/').to_owned()).filter(plain);
        let path = path.filter(|path| !path.contains("//")).unwrap_or_else(|| "/".to_owned());
        let number = self.http_port(&service.name, port.as_deref());
        let Some(number) = number else {
            self.note(
                Kind::Set,
                &service.name,
                "VIRTUAL_HOST",
                "says that it is public, but nothing tells its port; add `ports` and an `ingress` for it",
            );
            return None;
        };
        let all: Vec<String> =
            hosts.split(',').map(|host| host.trim().to_lowercase()).filter(|host| !host.is_empty()).collect();
        let host = all.first().filter(|host| crate::spec::is_host(host) && host.contains('.')).cloned();
        if all.len() > 1 {
            let message = format!(
                "only the first of `{}` is a host here; add an `ingress` for each of the others",
                all.join(", ")
            );
            self.note(Kind::Set, &service.name, "VIRTUAL_HOST", &message);
        }
        Some(Candidate {
            service: service.name.clone(),
            host,
            group: None,
            paths: vec![(path, number)],
            because: "VIRTUAL_HOST".into(),
        })
    }

    /// A proxy that is left out, and named this service.
    fn by_router(&mut self, service: &Service) -> Option<Candidate> {
        let variables = self.facts.variables;
        for router in self.services.iter().filter(|other| self.facts.left.contains_key(&other.name)) {
            let texts = router.env.iter().map(|(_, value)| value).chain(router.command.iter().flatten());
            for text in texts {
                for address in super::address::find(&variables.plain(text)) {
                    if self.facts.host(&router.name, &address.host) != Some(service.name.as_str()) {
                        continue;
                    }
                    let number = self.http_port(&service.name, address.port.as_deref())?;
                    let because = format!("`{}` led here", router.name);
                    return Some(Candidate {
                        service: service.name.clone(),
                        host: None,
                        group: None,
                        paths: vec![("/".into(), number)],
                        because,
                    });
                }
            }
        }
        None
    }

    /// A published port that speaks HTTP.
    fn by_port(&mut self, service: &Service) -> Option<Candidate> {
        let ports = self.facts.ports.get(&service.name).cloned().unwrap_or_default();
        let role = self.facts.role(&service.name);
        let app = self.facts.name(&service.name).to_owned();
        let published = |port: &&AppPort| port.reach != Reach::Inside;
        let mut candidate = None;
        for port in ports.iter().filter(published) {
            let number = port.number;
            let line = format!(
                "to have it public, add `ingress.{app}: {{paths: {{/: {{app: {app}, port: {}}}}}}}`",
                port.name
            );
            let why = match (role, port.protocol, port.reach) {
                (Role::Store | Role::ForeignDatabase, ..) => {
                    let but = if port.protocol == Protocol::Http { format!("; {line}") } else { String::new() };
                    format!("port {number} of a database or queue is not public: only the Stack reaches it{but}")
                }
                (_, Protocol::Udp | Protocol::Tcp, _) => {
                    format!(
                        "port {number}{} speaks no HTTP, so it is not public: only the Stack reaches it",
                        if port.protocol == Protocol::Udp { "/udp" } else { "" }
                    )
                }
                (_, _, Reach::Loopback) => {
                    format!("port {number} was reached from this machine only (127.0.0.1), so it is not public; {line}")
                }
                (Role::Tool, ..) => {
                    format!("port {number} of a tool for its keepers is not public; {line}, with `allow` and a login")
                }
                _ if !may_be_http(number) => {
                    format!(
                        "port {number} speaks TLS itself, which an `ingress` does instead: it is not public; let the program speak HTTP on a port"
                    )
                }
                _ if candidate.is_some() => format!("port {number} was published as well, and is not public; {line}"),
                _ => {
                    candidate = Some(Candidate {
                        service: service.name.clone(),
                        host: None,
                        group: None,
                        paths: vec![("/".into(), number)],
                        because: "its port was published".to_owned(),
                    });
                    continue;
                }
            };
            self.note(Kind::Public, &service.name, "ports", &why);
        }
        candidate
    }
}

/// What stands between the brackets of a matcher of Traefik: ``Host(`a`, `b`)``, and `Host:a,b` of Traefik 1.
fn arguments(rule: &str, name: &str) -> Vec<String> {
    let mut found = vec![];
    for part in rule.split(&format!("{name}(")).skip(1) {
        let inner = part.split(')').next().unwrap_or_default();
        found.extend(inner.split(',').map(|text| text.trim().trim_matches(['`', '\'', '"']).to_owned()));
    }
    for part in rule.split(&format!("{name}:")).skip(1) {
        let inner = part.split(';').next().unwrap_or_default();
        found.extend(inner.split(',').map(|text| text.trim().to_owned()));
    }
    found
}

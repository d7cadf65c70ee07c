//! Public hosts.

use super::super::budget;
use super::super::diagnostic::Code;
use super::super::model::{Certificate, Cors, Ingress, Policy, Port, Protocol, Target, Template, Tls, TlsVersion};
use super::super::place::Path;
use super::super::quantity::{Amount, Bytes};
use super::super::reference::{Site, known, shape};
use super::super::report::{below, root};
use super::super::resources::duration;
use super::super::{image, wire};
use super::app::ports_of;
use super::{Check, DAY, HOUR, each};
use std::collections::BTreeMap;

/// Names of entries by the hosts that they claim.
pub(super) type Hosts = BTreeMap<String, String>;

/// Headers as they are written.
type Headers = wire::Map<wire::HeaderName, wire::HeaderValue>;

/// Headers about one message or connection (RFC 9110, sections 7.2, 7.6 and 8.6; RFC 9112, section 6): proxies make them.
const MESSAGE_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Check<'_, '_> {
    pub(super) fn ingress(&mut self, name: &str, wire: &wire::Ingress, hosts: &mut Hosts) -> Option<Ingress> {
        let at = root(&["ingress", name]);
        if !self.affords(2, wire.paths.0.len() + 2 * wire.redirects.0.len(), &at) {
            return None;
        }
        let host = match &wire.host {
            Some(host) => self.host(&below(&at, &["host"]), host).map(Some),
            None => Some(None),
        };
        if let Some(Some(host)) = &host {
            self.claim(name, host, hosts);
        }
        self.overlaps(&at);
        let common = self.policy(&at, wire.cors.as_ref(), [&wire.headers, &wire.request_headers]);
        let maintenance = wire.maintenance.as_ref().map(|app| {
            let at = below(&at, &["maintenance"]);
            self.port_of(&at, &at, &app.0, None).filter(|(app, port)| self.speaks_http(&at, app, port))
        });
        let paths = each(&wire.paths.0, |prefix, target| {
            let at = below(&at, &["paths", prefix]);
            self.prefix(&at, prefix);
            self.target(&at, target, common.as_ref()?)
        });
        let redirects = each(&wire.redirects.0, |prefix, redirect| {
            let at = below(&at, &["redirects", prefix]);
            self.prefix(&at, prefix);
            if wire.paths.0.contains_key(prefix) {
                let message = format!("`{prefix}` stands under `paths` as well");
                self.report.key(Code::Contradiction, &at, &message, "keep one of them");
                return None;
            }
            let code = redirect.code.unwrap_or(302);
            if !matches!(code, 301 | 302 | 307 | 308) {
                let message = format!("{code} is not a redirect that browsers follow");
                self.report.value(Code::UnknownValue, &below(&at, &["code"]), &message, "write 301, 302, 307 or 308");
                return None;
            }
            let to = &redirect.to.as_ref()?.0;
            self.innocent(&below(&at, &["to"]), to).then(|| (to.clone(), code))
        });
        let tls = wire.tls.as_ref().map(|tls| self.tls(&below(&at, &["tls"]), tls));
        let max_body_size = wire.max_body_size.as_ref().map(|size| {
            let at = below(&at, &["maxBodySize"]);
            let size = Bytes::parse(&size.0).filter(|size| !size.is_bare());
            if size.is_none() {
                let help = "add a unit, such as `512k` or `10Mi`";
                self.report.value(Code::MemoryUnit, &at, "not a size that a body can have", help);
            }
            u64::try_from(size?.size()).ok()
        });
        let mut networks = vec![];
        for (index, cidr) in wire.allow.iter().enumerate() {
            if self.is_broken(&below(&at, &["allow", &index.to_string()])) {
                continue;
            }
            if let Some(network) = network(&cidr.0) {
                networks.push(network);
            } else {
                let at = below(&at, &["allow", &index.to_string()]);
                let message = format!("`{}` is not a network", cidr.0);
                self.report.value(Code::InvalidNetwork, &at, &message, "write one such as `203.0.113.0/24`");
            }
        }
        let mut paths = paths?;
        if let Some((app, port)) = maintenance.map(|app| app.ok_or(())).transpose().ok()? {
            let grpc = port.protocol == Protocol::Grpc;
            paths = BTreeMap::from([("/".to_owned(), Target { app, port: port.name, grpc, policy: common.clone()? })]);
        }
        common?;
        let limit = wire.rate_limit.as_ref();
        Some(Ingress {
            host: host?,
            paths,
            tls: tls.map(|tls| tls.ok_or(())).transpose().ok()?,
            redirects: redirects?,
            websocket: wire.websocket.unwrap_or(false),
            max_body_size: max_body_size.map(|size| size.ok_or(())).transpose().ok()?,
            rate_limit: limit.and_then(|limit| Some((limit.requests_per_second?, limit.burst.unwrap_or(5)))),
            allow: networks,
            maintenance: wire.maintenance.is_some(),
        })
    }

    fn prefix(&mut self, at: &Path, prefix: &str) {
        if prefix.contains('*') || prefix.ends_with('$') || prefix.contains("(.") || prefix.contains("(/") {
            let plain = prefix.split(['*', '(', '$']).next().unwrap_or_default().trim_end_matches(['/', '.']);
            let help =
                format!("write `{}`: it matches all that begins with it", if plain.is_empty() { "/" } else { plain });
            self.report.key(Code::InvalidPath, at, &format!("`{prefix}` is a pattern; a path here is a prefix"), &help);
            return;
        }
        if prefix.contains("//") || prefix.split('/').any(|s| s == "." || s == "..") || prefix.contains('%') {
            let help = "leave out `//`, `.`, `..` and `%`";
            self.report.key(Code::InvalidPath, at, &format!("`{prefix}` is not a path prefix"), help);
        }
    }

    fn target(&mut self, at: &Path, wire: &wire::Target, common: &Policy) -> Option<Target> {
        let empty = wire::TargetParts::default();
        let (app, named, parts) = match wire {
            wire::Target::App(app) => (&app.0, at.clone(), &empty),
            wire::Target::Parts(parts) => (&parts.app.as_ref()?.0, below(at, &["app"]), parts),
        };
        let own = self.policy(at, parts.cors.as_ref(), [&parts.headers, &parts.request_headers]);
        let (app, port) = self.port_of(at, &named, app, parts.port.as_ref())?;
        let named = if parts.port.is_some() { below(at, &["port"]) } else { named };
        if !self.speaks_http(&named, &app, &port) {
            return None;
        }
        if !self.report.affords_copy(size(common), at) {
            return None;
        }
        let mut policy = common.clone();
        let own = own?;
        policy.cors = own.cors.or(policy.cors);
        policy.headers.extend(own.headers);
        policy.request_headers.extend(own.request_headers);
        Some(Target { app, port: port.name, grpc: port.protocol == Protocol::Grpc, policy })
    }

    fn speaks_http(&mut self, at: &Path, app: &str, port: &Port) -> bool {
        if !matches!(port.protocol, Protocol::Udp | Protocol::Tcp) {
            return true;
        }
        let message = format!("the port `{}` of `{app}` does not speak HTTP", port.name);
        self.report.value(Code::UnknownPort, at, &message, "name another port, or leave out its `protocol`");
        false
    }

    /// The app `app` and its port.
    fn port_of(&mut self, at: &Path, named: &Path, app: &str, port: Option<&wire::PortName>) -> Option<(String, Port)> {
        let Some(target) = self.stack.apps.0.get(app) else {
            self.unknown_app(named, app);
            return None;
        };
        if target.external.is_some() {
            let message = format!("the app `{app}` runs elsewhere; the cluster does not forward to it");
            self.report.value(Code::UnknownApp, named, &message, "use `redirects` to send clients there");
            return None;
        }
        let ports = ports_of(self.report.places.keys(&root(&["apps", app, "ports"])), target);
        let port = self.port(app, &ports, port, at)?;
        Some((app.to_owned(), port))
    }

    fn policy(&mut self, at: &Path, cors: Option<&wire::Cors>, [answers, requests]: [&Headers; 2]) -> Option<Policy> {
        let cors = cors.map(|cors| self.cors(&below(at, &["cors"]), cors).ok_or(())).transpose();
        let headers = self.headers(&below(at, &["headers"]), answers);
        let request_headers = self.headers(&below(at, &["requestHeaders"]), requests);
        Some(Policy { cors: cors.ok()?, headers: headers?, request_headers: request_headers? })
    }

    /// Headers by lower-case name: names differ by more than that (RFC 9110, section 5.1).
    fn headers(&mut self, at: &Path, wire: &Headers) -> Option<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut whole = true;
        for name in self.report.places.keys(at) {
            let at = below(at, &[name]);
            let Some(value) = wire.0.get(name).filter(|_| !self.is_broken(&at)) else { continue };
            let lower = name.to_ascii_lowercase();
            if MESSAGE_HEADERS.contains(&lower.as_str()) {
                let message = format!("`{name}` belongs to the connection, not to the app");
                self.report.key(Code::ReservedKey, &at, &message, "leave it out");
                whole = false;
                continue;
            }
            let text = self.template(&value.0, &at, Site::Known).map(|template| known(&template));
            let text = text.filter(|text| self.innocent(&at, text));
            whole &= text.is_some();
            // a parameter may hold anything
            if text.as_ref().is_some_and(|text| text.contains(|c: char| c.is_control() || !c.is_ascii())) {
                let help = "write one line of plain ASCII, without spaces around it";
                self.report.value(Code::InvalidHeader, &at, "not the value of an HTTP header", help);
                whole = false;
            }
            if found.insert(lower, text.unwrap_or_default()).is_some() {
                let message = format!("`{name}` stands here twice: capitals make no difference");
                self.report.key(Code::Contradiction, &at, &message, "keep one of them");
                whole = false;
            }
        }
        whole.then_some(found)
    }

    fn cors(&mut self, at: &Path, wire: &wire::Cors) -> Option<Cors> {
        let max_age = duration(wire.max_age.as_ref(), HOUR, &(0..=DAY), &below(at, &["maxAge"]), self.report);
        let credentials = wire.credentials.unwrap_or(false);
        let mut origins = vec![];
        for (index, origin) in wire.origins.iter().enumerate() {
            let at = below(at, &["origins", &index.to_string()]);
            if self.is_broken(&at) {
                return None;
            }
            let template = self.template(&origin.0, &at, Site::Known)?;
            let text = known(&template);
            let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
            let (host, port) = bare.split_once(':').map_or((bare, None), |(host, port)| (host, Some(port)));
            let wrong = !image::is_host(host) || port.is_some_and(|port| port.parse::<u16>().is_err());
            if text != "*" && wrong {
                let message = format!("`{text}` is not a site");
                self.report.value(
                    Code::InvalidHost,
                    &at,
                    &message,
                    "write scheme and host, such as `https://app.example.com`",
                );
                return None;
            }
            if text == "*" && credentials {
                let message = "browsers refuse `credentials` together with the origin `*`";
                self.report.value(Code::Contradiction, &at, message, "name the sites");
                return None;
            }
            origins.push(text);
        }
        Some(Cors {
            origins,
            methods: wire.methods.iter().map(|method| method.0.clone()).collect(),
            headers: wire.headers.iter().map(|header| header.0.clone()).collect(),
            credentials,
            max_age: max_age?,
        })
    }

    fn tls(&mut self, at: &Path, wire: &wire::Tls) -> Option<Tls> {
        if wire.issuer.is_some() && wire.secret.is_some() {
            let message = "only one of `issuer`, `secret` may be there";
            self.report.key(Code::ExactlyOne, &below(at, &["secret"]), message, "keep one of them");
            return None;
        }
        let certificate = match (&wire.issuer, &wire.secret) {
            (Some(issuer), _) => Certificate::Issuer(issuer.0.clone()),
            (None, Some(secret)) => Certificate::Secret(secret.0.clone()),
            (None, None) => Certificate::Default,
        };
        let min_version = wire.min_version.map(|version| match version {
            wire::TlsVersion::V1_2 => TlsVersion::V1_2,
            wire::TlsVersion::V1_3 => TlsVersion::V1_3,
        });
        Some(Tls { certificate, redirect: wire.redirect.unwrap_or(true), min_version })
    }

    fn host(&mut self, at: &Path, text: &str) -> Option<Template> {
        let host = self.template(text, at, Site::Name)?;
        let shape = shape(&host, |reference| reference.stand_in().to_owned());
        if !image::is_host(&shape) {
            let help = "write a DNS name in lower case, such as `app.example.com`; no scheme, port or `*`";
            self.report.value(Code::InvalidHost, at, "not a host name", help);
            return None;
        }
        Some(host)
    }

    /// No two entries may claim the same host, however they write it.
    fn claim(&mut self, name: &str, host: &Template, hosts: &mut Hosts) {
        let meant = shape(host, |reference| format!("{reference:?}"));
        let Some(first) = hosts.get(&meant) else {
            hosts.insert(meant, name.to_owned());
            return;
        };
        // the second one in the file is told
        let names = self.report.places.keys(&root(&["ingress"]));
        let place = |name: &str| names.iter().position(|known| *known == name);
        let (first, second) = if place(first) < place(name) { (first.as_str(), name) } else { (name, first.as_str()) };
        let message = format!("`ingress.{first}` has the same host");
        let help = "put all paths of a host into one entry";
        self.report.value(Code::DuplicateHost, &root(&["ingress", second, "host"]), &message, help);
    }

    /// No two paths of an entry may mean the same: `/api` and `/api/` match the same requests (`Prefix` of an Ingress).
    fn overlaps(&mut self, at: &Path) {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for section in ["paths", "redirects"] {
            for prefix in self.report.places.keys(&below(at, &[section])) {
                let meant = prefix.trim_end_matches('/');
                match known.get(meant) {
                    // the same text twice is told elsewhere
                    Some(first) if *first != prefix => {
                        let message = format!("`{prefix}` and `{first}` match the same requests");
                        let at = below(at, &[section, prefix]);
                        self.report.key(Code::Contradiction, &at, &message, "keep one of them");
                    }
                    Some(_) => {}
                    None => drop(known.insert(meant, prefix)),
                }
            }
        }
    }
}

/// About how many bytes a policy takes.
fn size(policy: &Policy) -> usize {
    let headers = policy.headers.iter().chain(&policy.request_headers);
    let cors = policy.cors.iter().flat_map(|cors| cors.origins.iter().chain(&cors.methods).chain(&cors.headers));
    let headers = headers.map(|(name, value)| budget::text(name.len() + value.len()));
    headers.chain(cors.map(|text| budget::text(text.len()))).sum()
}

/// A network as it is written canonically; one address is a network of its own.
fn network(text: &str) -> Option<String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: core::net::IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), str::parse::<u32>).ok().filter(|bits| *bits <= most)?;
    Some(format!("{address}/{bits}"))
}

//! Public hosts: Ingresses or routes of a Gateway, and the URL that people get.

mod gateway;
mod nginx;

pub use gateway::Gateway;

use super::names::{Names, digest};
use super::{Context, HASH_ANNOTATION, Object, PublicUrl, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{Certificate, Check, Ingress, Policy, Scale, Target, Tls};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The longest label of a host name (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// What public hosts are made of, and what it can do besides what every class can: hosts, paths and certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// Nothing that is known.
    #[default]
    Plain,
    /// What Traefik can do without objects of its own, which a tenant of a vCluster may not have.
    Traefik,
    /// The annotations `nginx.ingress.kubernetes.io/…`.
    Nginx,
    /// Routes of the Gateway API instead of Ingresses.
    Gateway(Gateway),
}

impl Edge {
    /// For people.
    fn title(&self) -> String {
        match self {
            Edge::Plain => "this ingress class".into(),
            Edge::Traefik => "Traefik, without its own kinds of objects,".into(),
            Edge::Nginx => "the nginx ingress class".into(),
            Edge::Gateway(gateway) => format!("the Gateway {}/{}", gateway.namespace, gateway.name),
        }
    }
}

impl Context {
    /// The domain of generated hosts, without its port.
    fn zone(&self) -> &str {
        self.domain.split(':').next().unwrap_or_default()
    }

    /// Whether a host is of the kind that is generated.
    pub(super) fn generates(&self, host: &str) -> bool {
        let label = host.strip_suffix(self.zone()).and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.contains('.'))
    }
}

impl Names<'_> {
    /// The host of ingress `name`: the one in the file, or a generated one.
    pub(super) fn ingress_host(&self, name: &str) -> String {
        match self.spec.ingress.get(name).and_then(|ingress| ingress.host.as_ref()) {
            Some(host) => self.text(host),
            None => self.generated_host(name),
        }
    }

    /// Whether the host of ingress `name` is one that others may name as well.
    pub(super) fn claims(&self, name: &str) -> bool {
        self.ingress_host(name) != self.generated_host(name)
    }

    /// `<stack>[-<ingress>]-<project>[-<workspace>].<domain>`; the name `public` is left out. A label that is too long, or that
    /// other names could make as well (`a-b` and `c`, `a` and `b-c`), ends with a digest.
    fn generated_host(&self, name: &str) -> String {
        let (stack, context) = (self.spec.name.as_str(), self.context);
        let (middle, workspace) = ((name != "public").then_some(name), context.workspace.as_deref());
        let parts: Vec<_> = [Some(stack), middle, Some(&context.namespace), workspace].into_iter().flatten().collect();
        // two parts: Stack and project; three: and workspace; four: and ingress
        let is_clear =
            parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
                && (middle.is_none() || workspace.is_some());
        let mut label = parts.join("-").to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if !is_clear || label.len() > MAX_LABEL {
            let id = digest(&json!([stack, name, context.namespace, workspace]).to_string(), 8);
            label.truncate(MAX_LABEL - 9);
            label = format!("{}-{id}", label.trim_end_matches('-'));
        }
        format!("{label}.{}", context.zone())
    }

    /// Where the certificate of a host with `tls` comes from.
    fn certificate(&self, tls: &Tls) -> Certificate {
        match (&tls.certificate, &self.context.tls.issuer) {
            (Certificate::Default, Some(issuer)) => Certificate::Issuer(issuer.clone()),
            (certificate, _) => certificate.clone(),
        }
    }

    /// The URL of ingress `name`, with the port of the daemon's domain, if it has one.
    pub(super) fn ingress_url(&self, name: &str) -> String {
        let tls = self.spec.ingress.get(name).is_some_and(|ingress| ingress.tls.is_some());
        let port = self.context.domain.split_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
        // the domain's port is that of its own scheme
        if tls && self.context.scheme != "https" {
            return format!("https://{}", self.ingress_host(name));
        }
        format!("{}://{}{port}", self.context.scheme, self.ingress_host(name))
    }
}

/// The address of `ingress` and how to see that it is live: each path must have an app behind it. At `/` that is the
/// readiness path of its app, when there is one. A page that says that nothing works may say so with any status.
pub(super) fn url(names: &Names<'_>, name: &str, ingress: &Ingress) -> PublicUrl {
    let ready = |app: &str| {
        let probe = names.spec.apps.get(app).and_then(|app| app.readiness.as_ref());
        probe.and_then(|probe| if let Check::Http(path, _) = &probe.check { Some(path.clone()) } else { None })
    };
    let check = |(path, target): (&String, &Target)| match path.as_str() {
        // the path may lead elsewhere from here
        "/" => ready(&target.app).filter(|path| leads(ingress, path) == Some("/")).unwrap_or_else(|| "/".into()),
        other => other.to_owned(),
    };
    // nothing answers for an app that is parked
    let parked = |target: &Target| names.spec.apps.get(&target.app).is_some_and(|app| app.scale == Scale::Fixed(0));
    let paths = ingress.paths.iter().filter(|(_, target)| !ingress.maintenance && !parked(target));
    let checks = paths.map(check).collect();
    PublicUrl { name: name.into(), url: names.ingress_url(name), checks, named: names.claims(name) }
}

/// The prefix that `path` falls under.
fn leads<'i>(ingress: &'i Ingress, path: &str) -> Option<&'i str> {
    let under = |prefix: &&String| {
        let rest = path.strip_prefix(prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    };
    ingress.paths.keys().filter(under).max_by_key(|prefix| prefix.len()).map(String::as_str)
}

/// What a class makes of what is asked: annotations, and what it can't do.
#[derive(Default)]
struct Realised {
    annotations: BTreeMap<&'static str, String>,
    impossible: Vec<&'static str>,
}

/// What can't be carried out, and why.
type Refused = (ObjectKey, String);

fn missing(edge: &Edge, name: &str, key: ObjectKey, mut what: Vec<&str>) -> Option<Refused> {
    what.sort_unstable();
    what.dedup();
    let message = || {
        format!(
            "{} can't do {}; take it out of `ingress.{name}`, or deploy to another class",
            edge.title(),
            what.join(", ")
        )
    };
    (!what.is_empty()).then(|| (key, message()))
}

/// The objects of ingress `name`, and what the class can't do.
pub(super) fn objects(names: &Names<'_>, name: &str, ingress: &Ingress) -> (Vec<Object>, Option<Refused>) {
    // Traffic is sent to apps that are ready, also where a path moves from one to another. An app of a later wave may need
    // the address already.
    let waves = ingress.paths.values().filter_map(|target| names.spec.apps.get(&target.app)).map(|app| app.wave);
    let stage = Stage::Apps(waves.max().map_or(0, |wave| u16::from(wave) * 2 + 1));
    match &names.context.edge {
        Edge::Gateway(gateway) => gateway::objects(names, name, stage, ingress, gateway),
        _ => ingresses(names, name, stage, ingress),
    }
}

/// Paths of equal policy share an object: annotations are for whole objects.
fn ingresses(names: &Names<'_>, name: &str, stage: Stage, ingress: &Ingress) -> (Vec<Object>, Option<Refused>) {
    let full = names.object(name);
    let mut groups: BTreeMap<(Policy, bool), Vec<(&String, &Target)>> = BTreeMap::new();
    for (path, target) in &ingress.paths {
        groups.entry((target.policy.clone(), target.grpc)).or_default().push((path, target));
    }
    let first = ingress.paths.keys().next();
    let (mut objects, mut impossible) = (vec![], vec![]);
    for ((policy, grpc), paths) in groups {
        let wants = Wants { ingress, policy: &policy, grpc, redirect: None };
        let realised = wants.realised(names.context);
        impossible.extend(realised.impossible);
        let leads = paths.first().map(|(path, _)| *path) == first;
        let object = if leads { full.clone() } else { format!("{full}-{}", digest(&format!("{policy:?}{grpc}"), 8)) };
        let rules: Vec<_> = paths.iter().map(|(path, target)| rule(names, path, target)).collect();
        let mut made = realised.annotations;
        // cert-manager lets one Ingress only ask for a certificate
        let certificate = ingress.tls.as_ref().map(|tls| names.certificate(tls));
        if let (true, Some(Certificate::Issuer(issuer))) = (leads, certificate) {
            made.insert("cert-manager.io/cluster-issuer", issuer);
        }
        objects.push(finish(names, name, stage, &object, ingress, &rules, made));
    }
    let anywhere = ingress.paths.values().next();
    for (path, (to, code)) in &ingress.redirects {
        let (policy, Some(target)) = (Policy::default(), anywhere) else { continue };
        let wants = Wants { ingress, policy: &policy, grpc: false, redirect: Some((to, *code)) };
        let realised = wants.realised(names.context);
        impossible.extend(realised.impossible);
        let object = format!("{full}-{}", digest(path, 8));
        objects.push(finish(names, name, stage, &object, ingress, &[rule(names, path, target)], realised.annotations));
    }
    (objects, missing(&names.context.edge, name, ObjectKey::new(Kind::Ingress, full), impossible))
}

/// What is asked of a class for one object.
struct Wants<'a> {
    ingress: &'a Ingress,
    policy: &'a Policy,
    grpc: bool,
    redirect: Option<(&'a String, u16)>,
}

impl Wants<'_> {
    fn realised(&self, context: &Context) -> Realised {
        let mut realised =
            if context.edge == Edge::Nginx { nginx::realise(self) } else { self.without_annotations(&context.edge) };
        // no class lets a host without objects of its own, or without the platform's consent, do these
        if !self.policy.headers.is_empty() {
            realised.impossible.push("`headers`");
        }
        if !self.policy.request_headers.is_empty() {
            realised.impossible.push("`requestHeaders`");
        }
        let version = self.ingress.tls.as_ref().and_then(|tls| tls.min_version);
        if let Some(version) = version.filter(|version| Some(*version) > context.tls.min_version) {
            let options = context.tls.options.range(version..).next().filter(|_| context.edge == Edge::Traefik);
            match options {
                Some((_, options)) => {
                    let name = "traefik.ingress.kubernetes.io/router.tls.options";
                    realised.annotations.insert(name, options.clone());
                }
                None => realised.impossible.push("`tls.minVersion`"),
            }
        }
        realised
    }

    fn without_annotations(&self, edge: &Edge) -> Realised {
        let (ingress, policy) = (self.ingress, self.policy);
        let tls = ingress.tls.as_ref();
        let traefik = *edge == Edge::Traefik;
        let wanted = [
            ("`cors`", policy.cors.is_some()),
            ("`redirects`", self.redirect.is_some()),
            ("`maxBodySize`", ingress.max_body_size.is_some()),
            ("`rateLimit`", ingress.rate_limit.is_some()),
            ("`allow`", !ingress.allow.is_empty()),
            // both have the entry point for HTTP send clients on, or not, for all hosts alike; Traefik serves a router
            // with TLS by HTTPS only
            ("`tls.redirect: true`", tls.is_some_and(|tls| tls.redirect) && !traefik),
            ("gRPC", self.grpc && !traefik),
            ("`websocket`", ingress.websocket && !traefik),
        ];
        let impossible = wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(key, _)| key).collect();
        let mut annotations = BTreeMap::new();
        if traefik && tls.is_some() {
            annotations.insert("traefik.ingress.kubernetes.io/router.tls", "true".to_owned());
        }
        Realised { annotations, impossible }
    }
}

fn rule(names: &Names<'_>, path: &str, target: &Target) -> Value {
    json!({
        "path": path,
        "pathType": "Prefix",
        "backend": { "service": { "name": names.object(&target.app), "port": { "name": target.port } } },
    })
}

fn finish(
    names: &Names<'_>,
    name: &str,
    stage: Stage,
    object: &str,
    ingress: &Ingress,
    paths: &[Value],
    annotations: BTreeMap<&'static str, String>,
) -> Object {
    let host = names.ingress_host(name);
    let mut body = json!({ "spec": { "rules": [{ "host": host, "http": { "paths": paths } }] } });
    if let Some(class) = &names.context.ingress_class {
        body["spec"]["ingressClassName"] = json!(class);
    }
    if let Some(tls) = &ingress.tls {
        let mut entry = json!({ "hosts": [host] });
        match names.certificate(tls) {
            Certificate::Default => {}
            Certificate::Secret(secret) => entry["secretName"] = json!(secret),
            Certificate::Issuer(_) => entry["secretName"] = json!(format!("{}-certificate", names.object(name))),
        }
        body["spec"]["tls"] = json!([entry]);
    }
    let mut made = names.finish(stage, ObjectKey::new(Kind::Ingress, object), None, body);
    if !annotations.is_empty() {
        let hash = digest(&format!("{} {annotations:?}", made.hash()), 16);
        let mut all: Map<String, Value> =
            annotations.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        all.insert(HASH_ANNOTATION.to_owned(), json!(hash));
        made.body["metadata"]["annotations"] = json!(all);
    }
    made
}

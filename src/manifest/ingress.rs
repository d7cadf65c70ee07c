//! Public hosts: an Ingress each, and the URL that people get.

use super::{Names, Object, PublicUrl, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::Ingress;
use ring::digest;
use serde_json::json;

/// The longest label of a host name (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

impl Names<'_> {
    /// The host of ingress `name`: the one in the file, or `<stack>[-<ingress>]-<project>.<domain>`. The name `public`
    /// is left out. A label that would be too long ends with a digest instead.
    pub(super) fn ingress_host(&self, name: &str) -> String {
        if let Some(host) = self.spec.ingress.get(name).and_then(|ingress| ingress.host.as_ref()) {
            return self.text(host);
        }
        let middle = if name == "public" { String::new() } else { format!("-{name}") };
        let mut label = format!("{}{middle}-{}", self.spec.name, self.context.namespace);
        if label.len() > MAX_LABEL {
            let id = hex::encode(&digest::digest(&digest::SHA256, label.as_bytes()).as_ref()[..4]);
            label = format!("{}-{id}", label[..MAX_LABEL - 9].trim_end_matches('-'));
        }
        let domain = self.context.domain.split(':').next().unwrap_or_default();
        format!("{label}.{domain}")
    }

    /// The URL of ingress `name`, with the port of the daemon's domain, if it has one.
    pub(super) fn ingress_url(&self, name: &str) -> String {
        let port = self.context.domain.split_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.context.scheme, self.ingress_host(name))
    }
}

/// The address of `ingress` and how to see that it is live: the readiness path of the app at `/`, when there is one.
pub(super) fn url(names: &Names<'_>, name: &str, ingress: &Ingress) -> PublicUrl {
    let ready = |app: &str| {
        let probe = names.spec.apps.get(app).and_then(|app| app.readiness.as_ref());
        probe.and_then(|probe| probe.path.clone())
    };
    let check = match ingress.paths.get("/") {
        Some((app, _)) => ready(app).unwrap_or_else(|| "/".into()),
        None => ingress.paths.keys().next().cloned().unwrap_or_else(|| "/".into()),
    };
    PublicUrl { name: name.into(), url: names.ingress_url(name), check }
}

pub(super) fn object(names: &Names<'_>, name: &str, ingress: &Ingress) -> Object {
    let paths = ingress.paths.iter().map(|(path, (app, port))| {
        json!({
            "path": path,
            "pathType": "Prefix",
            "backend": { "service": { "name": names.object(app), "port": { "name": port } } },
        })
    });
    let mut body = json!({ "spec": { "rules": [{
        "host": names.ingress_host(name),
        "http": { "paths": paths.collect::<Vec<_>>() },
    }]}});
    if let Some(class) = &names.context.ingress_class {
        body["spec"]["ingressClassName"] = json!(class);
    }
    names.finish(Stage::Apps, ObjectKey::new(Kind::Ingress, names.object(name)), None, body)
}

//! Files and certificates: immutable `ConfigMaps` whose names tell their contents, so that a change rolls out, and a
//! rollback finds the old contents.

use super::names::{Names, digest};
use super::{Object, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{Program, Template};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Where the bundle of certificates lies; the parser keeps `/hks…` free of other files.
const BUNDLE: &str = "/hks-certificates/ca.crt";

/// What programs in different languages read.
const VARIABLES: [&str; 4] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"];

/// The public authorities of Mozilla in PEM. `SSL_CERT_FILE` replaces what an image has, so they must be in the bundle.
static PUBLIC: LazyLock<String> = LazyLock::new(|| {
    let pem = |der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| pem(der)).collect()
});

/// What a program mounts.
pub(super) struct Contents {
    pub objects: Vec<Object>,
    pub volumes: Vec<Value>,
    pub mounts: Vec<Value>,
    /// Variables that lead to the certificates.
    pub env: Vec<(String, Template)>,
}

pub(super) fn contents(names: &Names<'_>, stage: Stage, component: (&str, &str), program: &Program) -> Contents {
    let mut all = Contents { objects: vec![], volumes: vec![], mounts: vec![], env: vec![] };
    if !program.files.is_empty() {
        let mut data = Map::new();
        for (index, (path, text)) in program.files.iter().enumerate() {
            // keys of a ConfigMap hold fewer characters than paths
            let base: String = path.rsplit('/').next().unwrap_or_default().replace(['@', '+'], "_");
            let key = format!("{index}-{base}");
            all.mounts.push(json!({ "name": "hks-files", "mountPath": path, "subPath": key, "readOnly": true }));
            data.insert(key, json!(names.text(text)));
        }
        let object = map(names, stage, &format!("{}-files", component.1), component, &data);
        all.volumes.push(json!({ "name": "hks-files", "configMap": { "name": object.key.name } }));
        all.objects.push(object);
    }
    if !program.certificates.is_empty() {
        let own: String = program.certificates.concat();
        let data = Map::from_iter([("ca.crt".to_owned(), json!(format!("{own}{}", *PUBLIC)))]);
        let object = map(names, stage, "certificates", component, &data);
        all.volumes.push(json!({ "name": "hks-certificates", "configMap": { "name": object.key.name } }));
        let folder = BUNDLE.rsplit_once('/').map_or(BUNDLE, |(folder, _)| folder);
        all.mounts.push(json!({ "name": "hks-certificates", "mountPath": folder, "readOnly": true }));
        all.env.extend(VARIABLES.iter().map(|name| ((*name).to_owned(), Template::text(BUNDLE))));
        all.objects.push(object);
    }
    all
}

fn map(names: &Names<'_>, stage: Stage, name: &str, component: (&str, &str), data: &Map<String, Value>) -> Object {
    let body = json!({ "immutable": true, "data": data });
    let key = ObjectKey::new(Kind::ConfigMap, format!("{}-{}", names.object(name), digest(&body.to_string(), 10)));
    // certificates may be shared by apps
    let component = (name != "certificates").then_some(component);
    names.finish(stage.min(Stage::Apps(0)), key, component, body)
}

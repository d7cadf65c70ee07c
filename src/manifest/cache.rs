//! A Redis or Valkey server: password, Service, NetworkPolicy and, if its data is to last, a volume.

use super::confine::{policy, user, uses_cache};
use super::names::{Names, of_class, with_login};
use super::pod::{append, resources};
use super::{CACHE_LABEL, Ingredient, Object, Recipe, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::{Cache, CacheEngine};
use serde_json::{Value, json};

/// uid and gid of redis and valkey in the official images.
pub(super) const USER: u32 = 999;

/// The settings are written into the pod's own memory, since the password stands among them.
const START: &str = r#"umask 077
cat > /hks-settings/server.conf <<CONF
requirepass $HKS_PASSWORD
maxmemory $HKS_MAX_MEMORY
maxmemory-policy $HKS_EVICTION
dir /data
save ""
appendonly $HKS_APPEND
CONF
exec "$HKS_PROGRAM" /hks-settings/server.conf"#;

pub(super) fn objects(names: &Names<'_>, name: &str, cache: &Cache) -> Vec<Object> {
    let full = names.object(name);
    let selector = names.selector(CACHE_LABEL, name);
    let component = Some((CACHE_LABEL, name));
    let finish = |kind, name: &str, body| names.finish(Stage::Databases, ObjectKey::new(kind, name), component, body);
    let mut secret = finish(Kind::Secret, &names.credentials(name), json!({ "type": "Opaque" }));
    let url = ["redis://:", "@", ":", "/0"].map(|text| Ingredient::Text(text.into()));
    let [scheme, at, colon, database] = url;
    let url = vec![
        scheme,
        Ingredient::Key("password".into()),
        at,
        Ingredient::Key("host".into()),
        colon,
        Ingredient::Key("port".into()),
        database,
    ];
    secret.recipe = [
        ("host", Recipe::Text(full.clone())),
        ("port", Recipe::Text("6379".into())),
        ("password", Recipe::Random(32)),
        ("url", Recipe::Composed(url)),
    ]
    .into_iter()
    .map(|(key, recipe)| (key.to_owned(), recipe))
    .collect();
    let service = json!({ "spec": {
        "selector": selector,
        "ports": [{ "name": "redis", "port": 6379, "targetPort": "redis", "protocol": "TCP" }],
    }});
    let mut objects = vec![
        secret,
        finish(Kind::Service, &full, service),
        finish(Kind::NetworkPolicy, &full, policy(&selector, "redis", &names.clients(uses_cache(name)))),
        finish(Kind::StatefulSet, &full, server(names, name, cache)),
    ];
    if let Some(size) = &cache.persistence {
        let volume = json!({ "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": size } },
        }});
        let volume = of_class(volume, cache.storage_class.as_deref().or(names.context.storage_class.as_deref()));
        objects.push(finish(Kind::PersistentVolumeClaim, &format!("data-{full}"), volume));
    }
    objects
}

/// The image, the server and the client of a cache.
pub(super) fn engine(names: &Names<'_>, cache: &Cache) -> (String, &'static str, &'static str) {
    let (image, program, client) = match cache.engine {
        CacheEngine::Redis => (&names.context.images.redis, "redis-server", "redis-cli"),
        CacheEngine::Valkey => (&names.context.images.valkey, "valkey-server", "valkey-cli"),
    };
    (image.replace("{version}", &cache.version.to_string()), program, client)
}

fn server(names: &Names<'_>, name: &str, cache: &Cache) -> Value {
    let (image, program, client) = engine(names, cache);
    let credentials = names.credentials(name);
    let password = |variable: &str| json!({ "name": variable, "valueFrom": { "secretKeyRef": { "name": credentials, "key": "password" } } });
    let text = |name: &str, value: &str| json!({ "name": name, "value": value });
    let append_only = if cache.persistence.is_some() { "yes" } else { "no" };
    let data = match &cache.persistence {
        Some(_) => {
            json!({ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-{}", names.object(name)) } })
        }
        None => json!({ "name": "data", "emptyDir": {} }),
    };
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": user(USER),
        "containers": [{
            "name": "server",
            "image": image,
            "command": ["/bin/sh", "-c", START],
            "env": [
                text("HKS_PROGRAM", program),
                text("HKS_MAX_MEMORY", &cache.max_memory.to_string()),
                text("HKS_EVICTION", cache.eviction),
                text("HKS_APPEND", append_only),
                password("HKS_PASSWORD"),
                password("REDISCLI_AUTH"),
            ],
            "ports": [{ "name": "redis", "containerPort": 6379, "protocol": "TCP" }],
            // while it loads its data it answers with an error, and PONG only after
            "readinessProbe": {
                "exec": { "command": ["/bin/sh", "-c", format!("{client} ping | grep -q PONG")] },
                "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 3,
            },
            "resources": resources(&cache.resources),
            "volumeMounts": [
                { "name": "data", "mountPath": "/data" },
                { "name": "settings", "mountPath": "/hks-settings" },
            ],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
        "volumes": [data],
    });
    append(&mut spec, "volumes", json!({ "name": "settings", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
    json!({ "spec": {
        "replicas": 1,
        // no stable host name is needed, and a subdomain makes a vCluster inject an init container of its own
        "serviceName": "",
        "selector": { "matchLabels": names.selector(CACHE_LABEL, name) },
        "template": { "metadata": { "labels": names.labels(Some((CACHE_LABEL, name))) }, "spec": with_login(spec, names.context) },
    }})
}

//! A PostgreSQL database: credentials, volume, server, Service and NetworkPolicy.

use super::confine::{policy, user, uses_server};
use super::env::unexpanded;
use super::names::{Names, annotate, of_class, with_login};
use super::pod::resources;
use super::pooler;
use super::{DATABASE_LABEL, Ingredient, ON_DELETE_ANNOTATION, Object, Recipe, Stage};
use crate::engine::postgres;
use crate::ident::{Kind, ObjectKey};
use crate::spec::Database;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The volume generation. A restore makes the next one; `volumeClaimTemplates` can't be changed (kubernetes#68737).
const GENERATION: u32 = 1;

pub(super) fn objects(names: &Names<'_>, name: &str, database: &Database) -> Vec<Object> {
    let full = names.object(name);
    let credentials = names.credentials(name);
    let claim = format!("data-{full}-{GENERATION}");
    let component = Some((DATABASE_LABEL, name));
    let finish = |kind, name: &str, body| {
        let mut object = names.finish(Stage::Databases, ObjectKey::new(kind, name), component, body);
        if database.delete_data {
            annotate(&mut object, ON_DELETE_ANNOTATION, "delete");
        }
        object
    };
    let mut secret = finish(Kind::Secret, &credentials, json!({ "type": "Opaque" }));
    secret.recipe = recipe(&full, &names.pooler(name), database);
    let volume = json!({ "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": database.storage } },
    }});
    let volume = of_class(volume, database.storage_class.as_deref().or(names.context.storage_class.as_deref()));
    let service = json!({ "spec": {
        "selector": names.selector(DATABASE_LABEL, name),
        "ports": [{ "name": postgres::CONTAINER, "port": postgres::PORT, "targetPort": postgres::CONTAINER, "protocol": "TCP" }],
    }});
    let mut clients = names.clients(uses_server(name));
    if database.pooler.is_some() {
        clients.push(json!({ "podSelector": { "matchLabels": pooler::selector(names, name) } }));
    }
    let mut objects = vec![
        secret,
        finish(Kind::PersistentVolumeClaim, &claim, volume),
        finish(Kind::Service, &full, service),
        finish(
            Kind::NetworkPolicy,
            &full,
            policy(&names.selector(DATABASE_LABEL, name), postgres::CONTAINER, &clients),
        ),
        finish(Kind::StatefulSet, &full, server(names, name, database, &claim)),
    ];
    if let Some(of) = &database.pooler {
        objects.extend(pooler::objects(names, name, database, of));
    }
    objects
}

fn recipe(host: &str, pooler: &str, database: &Database) -> BTreeMap<String, Recipe> {
    let text = |text: &str| Recipe::Text(text.into());
    let key = |name: &'static str| Ingredient::Key(name.into());
    let literal = |text: &'static str| Ingredient::Text(text.into());
    let url = |host: &'static str| {
        Recipe::Composed(vec![
            literal("postgresql://"),
            key("user"),
            literal(":"),
            key("password"),
            literal("@"),
            key(host),
            literal(":"),
            key("port"),
            literal("/"),
            key("name"),
        ])
    };
    let password = match &database.credentials {
        Some(secret) => Recipe::Copied { secret: secret.clone(), key: "password".into() },
        None => Recipe::Random(32),
    };
    let mut recipe = BTreeMap::from([
        ("host".to_owned(), text(host)),
        ("port".to_owned(), text(&postgres::PORT.to_string())),
        ("name".to_owned(), text(&database.name)),
        ("user".to_owned(), text(&database.user)),
        ("password".to_owned(), password),
        ("superuser-password".to_owned(), Recipe::Random(32)),
        ("url".to_owned(), url("host")),
    ]);
    if database.pooler.is_some() {
        recipe.insert("pooler-host".to_owned(), text(pooler));
        recipe.insert("pooler-url".to_owned(), url("pooler-host"));
    }
    recipe
}

impl Names<'_> {
    /// Name of the Secret with the credentials of database or cache `name`.
    pub(super) fn credentials(&self, name: &str) -> String {
        format!("{}-credentials", self.object(name))
    }
}

/// The image of the server.
pub(super) fn image(names: &Names<'_>, database: &Database) -> String {
    names.context.images.postgres.replace("{version}", &database.version.to_string())
}

/// The StatefulSet with the server.
fn server(names: &Names<'_>, name: &str, database: &Database, claim: &str) -> Value {
    let component = Some((DATABASE_LABEL, name));
    let credentials = names.credentials(name);
    let from_secret = |name: &str, key: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": credentials, "key": key } } });
    let mut container = json!({
        "name": postgres::CONTAINER,
        "image": image(names, database),
        "ports": [{ "name": postgres::CONTAINER, "containerPort": postgres::PORT, "protocol": "TCP" }],
        "env": [
            { "name": "PGDATA", "value": postgres::data_folder(database.version) },
            { "name": "POSTGRES_USER", "value": "postgres" },
            from_secret("POSTGRES_PASSWORD", "superuser-password"),
            { "name": "HKS_NAME", "value": database.name },
            { "name": "HKS_USER", "value": database.user },
            from_secret("HKS_APP_PASSWORD", "password"),
        ],
        "volumeMounts": [{ "name": "data", "mountPath": postgres::MOUNT }],
        "resources": resources(&database.resources),
        "lifecycle": {
            "postStart": { "exec": { "command": ["/bin/sh", "-c", postgres::prepare(&database.extensions)] } },
            "preStop": { "exec": { "command": postgres::STOP } },
        },
        "readinessProbe": {
            "exec": { "command": postgres::READY },
            "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 3,
        },
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    if !database.parameters.is_empty() {
        let setting = |(name, value): (&String, &String)| format!("{name}={}", unexpanded(value));
        let settings = database.parameters.iter().flat_map(|parameter| ["-c".to_owned(), setting(parameter)]);
        container["args"] = json!(std::iter::once("postgres".to_owned()).chain(settings).collect::<Vec<_>>());
    }
    let pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 60,
        "securityContext": user(postgres::USER),
        "containers": [container],
        "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
    });
    json!({ "spec": {
        "replicas": 1,
        // no stable host name is needed, and a subdomain makes a vCluster inject an init container of its own
        "serviceName": "",
        "selector": { "matchLabels": names.selector(DATABASE_LABEL, name) },
        "template": {
            "metadata": { "labels": names.labels(component) },
            "spec": with_login(pod, names.context),
        },
    }})
}

//! A PostgreSQL database: credentials, volume, server, Service and NetworkPolicy.

use super::app::resources;
use super::{APP_LABEL, DATABASE_LABEL, Ingredient, Names, Object, Recipe, STACK_LABEL, Stage};
use crate::ident::{Kind, ObjectKey};
use crate::spec::Database;
use serde_json::{Value, json};

/// The image of PostgreSQL `version` by the daemon's pattern.
pub fn postgres_image(pattern: &str, version: u32) -> String {
    pattern.replace("{version}", &version.to_string())
}

/// Makes the app's role and gives it the database, at every start of the server: it can be repeated, so a server that
/// was killed in the middle is completed, and a credentials Secret that was lost and made anew takes effect. It runs over the
/// socket, as the image's own start does. The role is no superuser and may do all within its own database.
/// Passwords come from a URL-safe alphabet, so they need no quoting.
const ENSURE_ROLE: &str = r"until pg_isready -q -U postgres -d postgres && psql -qX -v ON_ERROR_STOP=1 -U postgres -d postgres <<SQL
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SELECT 'CREATE ROLE app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') \gexec
ALTER ROLE app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '$HKS_APP_PASSWORD';
SELECT 'CREATE DATABASE app OWNER app' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'app') \gexec
REVOKE CONNECT ON DATABASE app FROM PUBLIC;
SQL
do sleep 0.2; done";

/// The volume generation. A restore makes the next one; `volumeClaimTemplates` can't be changed (kubernetes#68737).
const GENERATION: u32 = 1;

pub(super) fn objects(names: &Names<'_>, name: &str, database: &Database) -> Vec<Object> {
    let full = names.object(name);
    let credentials = names.credentials(name);
    let claim = format!("data-{full}-{GENERATION}");
    let component = Some((DATABASE_LABEL, name));
    let finish = |kind, name: &str, body| names.finish(Stage::Databases, ObjectKey::new(kind, name), component, body);
    let selector = names.selector(DATABASE_LABEL, name);

    let mut secret = finish(Kind::Secret, &credentials, json!({ "type": "Opaque" }));
    let text = |text: &str| Recipe::Text(text.into());
    secret.recipe = [
        ("host", text(&full)),
        ("port", text("5432")),
        ("name", text("app")),
        ("user", text("app")),
        ("password", Recipe::Random(32)),
        ("superuser-password", Recipe::Random(32)),
        (
            "url",
            Recipe::Composed(vec![
                Ingredient::Text("postgresql://"),
                Ingredient::Key("user"),
                Ingredient::Text(":"),
                Ingredient::Key("password"),
                Ingredient::Text("@"),
                Ingredient::Key("host"),
                Ingredient::Text(":"),
                Ingredient::Key("port"),
                Ingredient::Text("/"),
                Ingredient::Key("name"),
            ]),
        ),
    ]
    .into_iter()
    .map(|(key, recipe)| (key.to_owned(), recipe))
    .collect();

    let volume = json!({ "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": database.storage } },
    }});
    let service = json!({ "spec": {
        "selector": selector,
        "ports": [{ "name": "postgres", "port": 5432, "targetPort": "postgres", "protocol": "TCP" }],
    }});
    let users: Vec<_> = names.users_of(name).into_iter().collect();
    let from = json!([{ "podSelector": {
        "matchLabels": { STACK_LABEL: names.spec.name.as_str() },
        "matchExpressions": [{ "key": APP_LABEL, "operator": "In", "values": users }],
    }}]);
    let rules = if users.is_empty() {
        json!([])
    } else {
        json!([{ "from": from, "ports": [{ "port": "postgres", "protocol": "TCP" }] }])
    };
    let policy = json!({ "spec": {
        "podSelector": { "matchLabels": selector },
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }});
    vec![
        secret,
        finish(Kind::PersistentVolumeClaim, &claim, volume),
        finish(Kind::Service, &full, service),
        finish(Kind::NetworkPolicy, &full, policy),
        finish(Kind::StatefulSet, &full, server(names, name, database, &claim)),
    ]
}

/// The StatefulSet with the server.
fn server(names: &Names<'_>, name: &str, database: &Database, claim: &str) -> Value {
    let component = Some((DATABASE_LABEL, name));
    let credentials = names.credentials(name);
    let selector = names.selector(DATABASE_LABEL, name);
    let from_secret = |name: &str, key: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": credentials, "key": key } } });
    json!({ "spec": {
        "replicas": 1,
        // no stable host name is needed, and a subdomain makes a vCluster inject an init container of its own
        "serviceName": "",
        "selector": { "matchLabels": selector },
        "template": {
            "metadata": { "labels": names.labels(component) },
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 60,
                // 999 is the uid and gid of postgres in the official image
                "securityContext": {
                    "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999, "runAsNonRoot": true,
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [{
                    "name": "postgres",
                    "image": postgres_image(&names.context.postgres_image, database.version),
                    "ports": [{ "name": "postgres", "containerPort": 5432, "protocol": "TCP" }],
                    "env": [
                        // PostgreSQL 18's layout for every version: docker-library/postgres#1400
                        { "name": "PGDATA", "value": format!("/var/lib/postgresql/{}/docker", database.version) },
                        { "name": "POSTGRES_USER", "value": "postgres" },
                        from_secret("POSTGRES_PASSWORD", "superuser-password"),
                        from_secret("HKS_APP_PASSWORD", "password"),
                    ],
                    "volumeMounts": [{ "name": "data", "mountPath": "/var/lib/postgresql" }],
                    "resources": resources(&database.resources),
                    "lifecycle": {
                        "postStart": { "exec": { "command": ["/bin/sh", "-c", ENSURE_ROLE] } },
                        // a smart shutdown would wait for every client; this ends sessions and keeps all committed data
                        "preStop": { "exec": { "command": ["/bin/sh", "-c", "pg_ctl stop -m fast -w || true"] } },
                    },
                    // over TCP, which the image's first, temporary server does not open
                    "readinessProbe": {
                        "exec": { "command": ["pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"] },
                        "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 3,
                    },
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
            },
        },
    }})
}

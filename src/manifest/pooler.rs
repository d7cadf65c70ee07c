//! `PgBouncer` in front of a database.

use super::confine::{policy, user, uses_pooler};
use super::names::{Names, with_login};
use super::{DATABASE_LABEL, Object, STACK_LABEL, Stage};
use crate::engine::postgres;
use crate::ident::{Kind, ObjectKey};
use crate::spec::{Database, Pooler};
use serde_json::{Value, json};

/// Label that tells the pods of a pooler from those of its server.
const POOLER_LABEL: &str = "hks.hexabase.ai/pooler";

/// The settings are written into the pod's own memory, since the password stands among them.
const START: &str = r#"umask 077
printf '"%s" "%s"\n' "$HKS_USER" "$HKS_PASSWORD" > /tmp/users
cat > /tmp/pgbouncer.ini <<INI
[databases]
$HKS_NAME = host=$HKS_HOST port=5432
[pgbouncer]
listen_addr = *
listen_port = 5432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /tmp/users
pool_mode = $HKS_MODE
default_pool_size = $HKS_SIZE
max_client_conn = $HKS_MAX_CLIENTS
ignore_startup_parameters = extra_float_digits,options
server_tls_sslmode = prefer
server_login_retry = 1
INI
exec pgbouncer /tmp/pgbouncer.ini"#;

pub(super) fn selector(names: &Names<'_>, name: &str) -> Value {
    json!({ STACK_LABEL: names.spec.name.as_str(), POOLER_LABEL: name })
}

pub(super) fn objects(names: &Names<'_>, name: &str, database: &Database, pooler: &Pooler) -> Vec<Object> {
    let full = names.pooler(name);
    let finish =
        |kind, body| names.finish(Stage::Databases, ObjectKey::new(kind, &full), Some((DATABASE_LABEL, name)), body);
    let service = json!({ "spec": {
        "selector": selector(names, name),
        "ports": [{ "name": "postgres", "port": postgres::PORT, "targetPort": "postgres", "protocol": "TCP" }],
    }});
    vec![
        finish(Kind::Service, service),
        finish(Kind::NetworkPolicy, policy(&selector(names, name), "postgres", &names.clients(uses_pooler(name)))),
        finish(Kind::Deployment, server(names, name, database, pooler)),
    ]
}

fn server(names: &Names<'_>, name: &str, database: &Database, pooler: &Pooler) -> Value {
    let credentials = names.credentials(name);
    let from_secret = |name: &str, key: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": credentials, "key": key } } });
    let text = |name: &str, value: String| json!({ "name": name, "value": value });
    // the label of the database would make the pod one of its server's
    let mut labels = names.labels(None);
    labels[POOLER_LABEL] = json!(name);
    let pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        // any user may write its settings and open its port
        "securityContext": user(998),
        "containers": [{
            "name": "pgbouncer",
            "image": names.context.images.pgbouncer,
            "command": ["/bin/sh", "-c", START],
            "env": [
                text("HKS_HOST", names.object(name)),
                text("HKS_NAME", database.name.clone()),
                text("HKS_MODE", pooler.mode.to_owned()),
                text("HKS_SIZE", pooler.size.to_string()),
                text("HKS_MAX_CLIENTS", pooler.max_clients.to_string()),
                from_secret("HKS_USER", "user"),
                from_secret("HKS_PASSWORD", "password"),
            ],
            "ports": [{ "name": "postgres", "containerPort": postgres::PORT, "protocol": "TCP" }],
            "readinessProbe": {
                "tcpSocket": { "port": "postgres" },
                "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3,
            },
            "resources": {
                "requests": { "cpu": "50m", "memory": "32Mi" },
                "limits": { "cpu": "500m", "memory": "128Mi" },
            },
            "volumeMounts": [{ "name": "settings", "mountPath": "/tmp" }],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
        "volumes": [{ "name": "settings", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }],
    });
    json!({ "spec": {
        "replicas": pooler.replicas,
        "revisionHistoryLimit": 2,
        "selector": { "matchLabels": selector(names, name) },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "template": {
            "metadata": { "labels": labels },
            "spec": with_login(pod, names.context),
        },
    }})
}

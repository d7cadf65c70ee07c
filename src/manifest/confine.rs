//! Who a pod of a server runs as, and who may reach it.

use super::names::Names;
use super::{APP_LABEL, JOB_LABEL, STACK_LABEL};
use crate::spec::{DatabaseField, Reference};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Refers to the server of database `name`, and not only to its pooler.
pub(super) fn uses_server(name: &str) -> impl Fn(&Reference) -> bool {
    move |reference| matches!(reference, Reference::Database(of, field) if of == name && *field != DatabaseField::PoolerUrl)
}

/// Refers to the pooler of database `name`.
pub(super) fn uses_pooler(name: &str) -> impl Fn(&Reference) -> bool {
    move |reference| matches!(reference, Reference::Database(of, DatabaseField::PoolerUrl) if of == name)
}

/// Refers to cache `name`.
pub(super) fn uses_cache(name: &str) -> impl Fn(&Reference) -> bool {
    move |reference| matches!(reference, Reference::Cache(of, _) if of == name)
}

impl Names<'_> {
    /// Who uses something: the pods of apps and jobs that refer to it, as peers of a `NetworkPolicy`.
    pub(super) fn clients(&self, uses: impl Fn(&Reference) -> bool) -> Vec<Value> {
        let peer = |label: &str, users: BTreeSet<&str>| {
            (!users.is_empty()).then(|| {
                json!({ "podSelector": {
                    "matchLabels": { STACK_LABEL: self.spec.name.as_str() },
                    "matchExpressions": [{ "key": label, "operator": "In", "values": users }],
                }})
            })
        };
        let apps = self.spec.apps.iter().filter(|(_, app)| app.program.refers(&uses)).map(|(name, _)| name.as_str());
        let jobs = self.spec.jobs.iter().filter(|(_, job)| job.program.refers(&uses)).map(|(name, _)| name.as_str());
        [peer(APP_LABEL, apps.collect()), peer(JOB_LABEL, jobs.collect())].into_iter().flatten().collect()
    }
}

/// Lets only `clients` reach the port of the pods.
pub(super) fn policy(selector: &Value, port: &str, clients: &[Value]) -> Value {
    let rules = if clients.is_empty() {
        json!([])
    } else {
        json!([{ "from": clients, "ports": [{ "port": port, "protocol": "TCP" }] }])
    };
    json!({ "spec": { "podSelector": { "matchLabels": selector }, "policyTypes": ["Ingress"], "ingress": rules } })
}

/// Runs everything of a pod as this user and group.
pub(super) fn user(id: u32) -> Value {
    json!({
        "runAsUser": id, "runAsGroup": id, "fsGroup": id, "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

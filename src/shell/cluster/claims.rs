//! Whose a public host is. Ingress controllers and Gateways join what all namespaces say of a host, and the longest path wins: who
//! names the host of another takes its `/login`. So a host that a file names belongs to the project that named it first, and
//! that is kept in the host cluster, for all daemons that deploy there: one Lease for each host, whose holder is the project. The
//! API server decides who was first.
//!
//! Generated hosts carry Stack, project and vCluster and need none of this.

use crate::ident::{Component, Kind};
use crate::machine::Fault;
use crate::shell::clock;
use crate::shell::cluster::api::{making, merging, micro_time, resource};
use crate::shell::cluster::failure::describe_own;
use crate::shell::cluster::pages::paged;
use crate::shell::cluster::target::VCluster;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, Preconditions};
use kube::{Client, Error, ResourceExt};
use ring::digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Label of the Leases.
const LABEL: (&str, &str) = ("hks.hexabase.ai/claim", "host");
/// Label with the namespace of the project, as the project calls it.
const PROJECT: &str = "hks.hexabase.ai/project";
/// Annotation with the host, whose name is too long for a name.
const HOST: &str = "hks.hexabase.ai/host";
/// How long a claim stands of which nothing is seen in the cluster: a deployment may be on its way to it.
const FRESH: SignedDuration = SignedDuration::from_mins(30);
/// How long what was seen of all hosts is used: a thousand Stacks that begin together look once.
const SEEN: Duration = Duration::from_secs(5);

/// Hosts of one host cluster as they were last seen, with the projects that answer for each.
type Answering = BTreeMap<String, BTreeSet<String>>;

/// The host cluster, where claims are kept.
pub struct Registry {
    client: Client,
    namespace: String,
    seen: Mutex<Option<(Instant, Arc<Answering>)>>,
}

/// What one project claims.
#[derive(Clone)]
pub struct Claims {
    registry: Arc<Registry>,
    /// The name of the project in the host cluster: `NAMESPACE`, or `VCLUSTER-NAMESPACE/VCLUSTER/NAMESPACE`.
    project: String,
    namespace: String,
}

impl Registry {
    /// Claims are kept in `namespace`, or in that of the client: in a pod, its own.
    pub fn new(client: Client, namespace: Option<&str>) -> Arc<Self> {
        let namespace = namespace.unwrap_or_else(|| client.default_namespace()).to_owned();
        Arc::new(Self { client, namespace, seen: Mutex::default() })
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Which projects answer for a host, whoever made that so. Where it may not be seen, nobody does.
    async fn answering(&self, host: &str) -> Result<BTreeSet<String>, Error> {
        let mut seen = self.seen.lock().await;
        let known = match &*seen {
            Some((at, known)) if at.elapsed() < SEEN => Arc::clone(known),
            _ => {
                let known = Arc::new(self.look().await?);
                *seen = Some((Instant::now(), Arc::clone(&known)));
                known
            }
        };
        drop(seen);
        // a name with `*` gives way to whole ones
        Ok(known.get(host).cloned().unwrap_or_default())
    }

    async fn look(&self) -> Result<Answering, Error> {
        let mut found = Answering::new();
        for kind in [Kind::Ingress, Kind::HTTPRoute] {
            let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind));
            let page = |params: ListParams| {
                let all = all.clone();
                async move { all.list(&params).await }
            };
            let take = |object: DynamicObject| {
                if let Some(project) = project_of(&object) {
                    for host in hosts_of(kind, &object.data) {
                        found.entry(host.to_ascii_lowercase()).or_default().insert(project.clone());
                    }
                }
                ControlFlow::Continue(())
            };
            match paged(ListParams::default(), page, take).await {
                Err(Error::Api(status)) if matches!(status.code, 403 | 404) => {
                    tracing::debug!(%kind, error = %status.message, "hosts of others can't be seen");
                }
                listed => drop(listed?),
            }
        }
        Ok(found)
    }
}

impl Claims {
    /// Those of a project of a cluster.
    pub fn of(registry: Arc<Registry>, vcluster: Option<&VCluster>, namespace: &str) -> Self {
        let project = project_name(vcluster.map(|of| (&*of.namespace, &*of.name)), namespace);
        Self { registry, project, namespace: namespace.into() }
    }

    /// Claims hosts for the project; either all are its own afterwards, or it is said which is not.
    ///
    /// # Errors
    /// A host is somebody else's, or it can't be told whose it is.
    pub async fn claim(&self, hosts: &BTreeSet<String>) -> Result<(), Fault> {
        for host in hosts {
            self.claim_one(host).await?;
        }
        Ok(())
    }

    async fn claim_one(&self, host: &str) -> Result<(), Fault> {
        let (leases, name) = (self.registry.leases(), lease_name(host));
        let failed = |error: Error| self.describe(&error, &name);
        let found = leases.get_opt(&name).await.map_err(failed)?;
        let holder = found.as_ref().and_then(holder);
        match &found {
            Some(found) if holder == Some(&self.project) => {
                if renewed(found).is_none_or(|at| clock::now().duration_since(at) > FRESH / 2) {
                    self.renew(found).await.map_err(failed)?;
                }
                return Ok(());
            }
            Some(found) if !self.is_abandoned(found, host).await.map_err(failed)? => {
                return Err(self.taken(host, Some(&name)));
            }
            _ => {}
        }
        let others = self.registry.answering(host).await.map_err(failed)?;
        if others.iter().any(|other| *other != self.project) {
            return Err(self.taken(host, None));
        }
        let taken = match found {
            None => leases.create(&making(), &self.lease(host, None)).await,
            Some(found) => {
                leases.replace(&name, &making(), &self.lease(host, found.resource_version().as_deref())).await
            }
        };
        match taken {
            Ok(_) => {
                tracing::info!(host, project = self.project, "the host is this project's now");
                Ok(())
            }
            // somebody was faster: another project, or another Stack of this one
            Err(Error::Api(status)) if status.code == 409 => {
                let found = leases.get(&name).await.map_err(failed)?;
                if self::holder(&found) == Some(&self.project) { Ok(()) } else { Err(self.taken(host, Some(&name))) }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Gives up hosts, so that others may have them.
    pub async fn release(&self, hosts: &BTreeSet<String>) {
        let leases = self.registry.leases();
        for host in hosts {
            let name = lease_name(host);
            let Ok(Some(found)) = leases.get_opt(&name).await else { continue };
            if holder(&found) != Some(&self.project) {
                continue;
            }
            let (uid, resource_version) = (found.uid(), found.resource_version());
            let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version });
            match leases.delete(&name, &params).await {
                Ok(_) => tracing::info!(host, project = self.project, "the host is free now"),
                Err(error) => tracing::warn!(host, %error, "failed to give a host up; it stays this project's"),
            }
        }
    }

    /// Whether nobody has used a claim for long, and nothing answers for its host on behalf of who made it. In a vCluster that does
    /// not show its Ingresses to the host cluster something might.
    async fn is_abandoned(&self, found: &Lease, host: &str) -> Result<bool, Error> {
        let Some(holder) = holder(found) else { return Ok(true) };
        let is_old = renewed(found).is_some_and(|at| clock::now().duration_since(at) > FRESH);
        if !is_old || holder.contains('/') {
            return Ok(false);
        }
        Ok(!self.registry.answering(host).await?.contains(holder))
    }

    async fn renew(&self, found: &Lease) -> Result<(), Error> {
        let patch = json!({
            "metadata": { "resourceVersion": found.resource_version() },
            "spec": { "renewTime": micro_time(clock::now()) },
        });
        match self.registry.leases().patch(&found.name_any(), &merging(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // another Stack of the project has, or an operator has taken the claim away: it is looked at again in time
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, host: &str, version: Option<&str>) -> Lease {
        let now = micro_time(clock::now());
        let lease = json!({
            "metadata": {
                "name": lease_name(host),
                "namespace": self.registry.namespace,
                "labels": { LABEL.0: LABEL.1, PROJECT: self.namespace },
                "annotations": { HOST: host },
                "resourceVersion": version,
            },
            "spec": { "holderIdentity": self.project, "acquireTime": now, "renewTime": now },
        });
        serde_json::from_value(lease).unwrap_or_default()
    }

    /// Who it is is not told to whom it does not concern.
    fn taken(&self, host: &str, lease: Option<&str>) -> Fault {
        let about = match lease {
            Some(name) => format!("claim {name} in namespace {}", self.registry.namespace),
            None => "Ingresses and routes of the host cluster".into(),
        };
        let message =
            format!("it belongs to another project; choose another one, or ask your platform's operators ({about})");
        Fault {
            transient: false,
            object: format!("{}{host}", crate::rollout::HOST),
            component: Component::Stack,
            message,
        }
    }

    fn describe(&self, error: &Error, name: &str) -> Fault {
        let mut fault = describe_own(error, format!("Lease/{name}"));
        if matches!(error, Error::Api(status) if status.code == 403) {
            // an operator mends it, and nobody has to push again
            fault.transient = true;
            fault.message = format!(
                "hks may not keep claims of hosts in namespace {} of the host cluster; let it get, create, update, patch and \
                 delete leases there: {}",
                self.registry.namespace, fault.message
            );
        }
        fault
    }
}

fn project_name(vcluster: Option<(&str, &str)>, namespace: &str) -> String {
    match vcluster {
        Some((place, name)) => format!("{place}/{name}/{namespace}"),
        None => namespace.into(),
    }
}

/// The project that an object in the host cluster is of. What a vCluster's syncer made says itself where it is from, and can only
/// say so of the namespace that it is in.
fn project_of(object: &DynamicObject) -> Option<String> {
    let namespace = object.namespace()?;
    let within = object.annotations().get("vcluster.loft.sh/object-namespace");
    let vcluster = object.labels().get("vcluster.loft.sh/managed-by");
    Some(match (vcluster, within) {
        (Some(name), Some(within)) => project_name(Some((&namespace, name)), within),
        _ => project_name(None, &namespace),
    })
}

/// Hosts that an Ingress or route answers for, by whichever path; also one that it only has a certificate for.
fn hosts_of(kind: Kind, object: &Value) -> BTreeSet<String> {
    let list = |key: &str| object["spec"][key].as_array().into_iter().flatten();
    let hosts = match kind {
        Kind::Ingress => {
            let rules = list("rules").map(|rule| &rule["host"]);
            rules.chain(list("tls").flat_map(|tls| tls["hosts"].as_array().into_iter().flatten())).collect()
        }
        Kind::HTTPRoute => list("hostnames").collect::<Vec<_>>(),
        _ => vec![],
    };
    hosts.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn lease_name(host: &str) -> String {
    let mut id = hex::encode(digest::digest(&digest::SHA256, host.as_bytes()));
    id.truncate(32);
    // Leases of Stacks have no dot
    format!("hks.host.{id}")
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_of_the_project_that_made_it_so() {
        let object = |labels: Value, annotations: Value| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": { "name": "x", "namespace": "vcluster-a", "labels": labels, "annotations": annotations },
            }))
            .unwrap()
        };
        let label = json!({ "vcluster.loft.sh/managed-by": "a" });
        let from = json!({ "vcluster.loft.sh/object-namespace": "shop" });
        assert_eq!(project_of(&object(label.clone(), from.clone())).as_deref(), Some("vcluster-a/a/shop"));
        assert_eq!(project_of(&object(json!({}), from)).as_deref(), Some("vcluster-a"));
        assert_eq!(project_of(&object(label, json!({}))).as_deref(), Some("vcluster-a"));
        assert_ne!(project_name(None, "shop"), project_name(Some(("vcluster-a", "a")), "shop"));
        let secure = json!({ "spec": { "rules": [{}, { "host": "x" }], "tls": [{ "hosts": ["y"] }, {}] } });
        assert!(hosts_of(Kind::Ingress, &secure).iter().eq(["x", "y"]));
        assert!(lease_name("shop.example.com").len() <= 63 && lease_name("a") != lease_name("b"));
    }
}

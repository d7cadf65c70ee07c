//! Several daemons of one installation: one of them leads, and the others stand by, by a Lease that the leader renews (as leader
//! election of client-go). Who leads takes the Stacks of the one before it at once: that one writes nothing once it could not
//! renew, which `proof` sees to.

use crate::config::LeaderElection;
use crate::shell::clock;
use crate::shell::cluster::api::{making, merging};
use crate::shell::cluster::proof::{self, Proof};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ListParams, ObjectMeta, Patch};
use kube::{Client, Error, ResourceExt};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How long a Lease must have been left alone until its holder is gone. `proof` gives up two seconds before.
const LASTS: Duration = Duration::from_secs(8);
/// How often the leader renews it.
const RENEWED: Duration = Duration::from_secs(2);
/// How often whoever stands by looks.
const LOOKS: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Label of the leader's pod, by which the chart's Service finds it; its value is the name of the Lease.
const LEADS: &str = "hks.hexabase.ai/leads";
/// The variable with the name of this pod.
const POD: &str = "HKS_POD";

/// A daemon among those that stand in for each other.
pub struct Standby {
    leases: Api<Lease>,
    pods: Api<Pod>,
    name: String,
    me: String,
    pod: Option<String>,
    /// The Lease of somebody else, and since when it is like that.
    seen: Option<(Option<String>, Instant)>,
    /// What was said last of what does not work.
    said: String,
}

/// The name of a daemon on the Leases of Stacks: those that stand in for each other have the same beginning.
pub fn named(election: &LeaderElection, me: &str) -> String {
    format!("{}:{me}", election.lease)
}

/// Whether whoever leads as `me` stands in for `other`.
pub fn is_successor(me: &str, other: &str) -> bool {
    match (me.split_once(':'), other.split_once(':')) {
        (Some((mine, _)), Some((theirs, _))) => mine == theirs,
        _ => false,
    }
}

impl Standby {
    /// By the Lease that the configuration names, in the namespace of the client unless said otherwise.
    #[expect(clippy::disallowed_methods, reason = "the pod's name comes from the environment")]
    pub fn new(client: &Client, election: &LeaderElection, me: &str) -> Self {
        let namespace = election.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            name: election.lease.clone(),
            me: me.into(),
            pod: std::env::var(POD).ok().filter(|name| !name.is_empty()),
            seen: None,
            said: String::new(),
        }
    }

    /// Waits until this daemon leads.
    pub async fn lead(&mut self) {
        let (mut holder, mut told) = (None, false);
        loop {
            told = told || self.label(false).await;
            match self.renew().await {
                Ok(None) => return tracing::info!(lease = self.name, "this daemon leads"),
                Ok(other) if other != holder => {
                    tracing::info!(lease = self.name, leader = other, "standing by");
                    holder = other;
                }
                Ok(_) => {}
                Err(error) => self.complain(format!("failed to ask who leads: {error:#}")),
            }
            tokio::time::sleep(LOOKS).await;
        }
    }

    /// Leads until that can't be proven any more; returns why.
    pub async fn hold(&mut self) -> String {
        let mut told = false;
        loop {
            told = told || self.label(true).await;
            tokio::time::sleep(RENEWED).await;
            match self.renew().await {
                Ok(None) => {}
                Ok(Some(other)) => {
                    proof::overtaken();
                    return format!("{other} leads now");
                }
                Err(error) if proof::leads() => self.complain(format!("failed to renew the Lease: {error:#}")),
                Err(error) => return format!("the Lease could not be renewed: {error:#}"),
            }
        }
    }

    /// Lets another one lead at once. What took too long to be finished writes nothing any more.
    pub async fn give_up(&mut self) {
        proof::overtaken();
        let given = async {
            if let Ok(Some(lease)) = self.leases.get_opt(&self.name).await
                && holder_of(&lease) == self.me
            {
                let version = lease.resource_version();
                let free = json!({ "metadata": { "resourceVersion": version }, "spec": { "holderIdentity": "" } });
                let _ = self.leases.patch(&self.name, &merging(), &Patch::Merge(&free)).await;
            }
        };
        let _ = tokio::time::timeout(ANSWER, given).await;
    }

    /// Takes or renews the Lease, if nobody else has it; returns who has.
    async fn renew(&mut self) -> anyhow::Result<Option<String>> {
        let (proof, asked) = (Proof::now(), self.ask());
        let other = tokio::time::timeout(ANSWER, asked).await??;
        if other.is_none() {
            proof::led(proof);
        }
        Ok(other)
    }

    async fn ask(&mut self) -> Result<Option<String>, Error> {
        let now = MicroTime(clock::now());
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let mut lease = Lease { metadata, spec: None };
            self.sign(&mut lease, now);
            return self.leases.create(&making(), &lease).await.map(|_| None);
        };
        let holder = holder_of(&lease);
        if !holder.is_empty() && holder != self.me {
            let version = lease.resource_version();
            let since = match &self.seen {
                Some((known, since)) if *known == version => *since,
                _ => Instant::now(),
            };
            self.seen = Some((version, since));
            if since.elapsed() < LASTS {
                return Ok(Some(holder));
            }
        }
        self.sign(&mut lease, now);
        self.leases.replace(&self.name, &making(), &lease).await.map(|_| None)
    }

    /// Writes this daemon into a Lease.
    fn sign(&self, lease: &mut Lease, now: MicroTime) {
        let renews = holder_of(lease) == self.me;
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if !renews {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count + 1));
        }
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = i32::try_from(LASTS.as_secs()).ok();
        spec.renew_time = Some(now);
    }

    /// Labels this pod as the leader's, and no other one; or not as that. Returns whether that is done.
    async fn label(&mut self, leads: bool) -> bool {
        let Some(pod) = &self.pod else { return true };
        let set = async |pod: &str, value: Option<&str>| {
            let labels = json!({ "metadata": { "labels": { LEADS: value } } });
            self.pods.patch_metadata(pod, &merging(), &Patch::Merge(&labels)).await
        };
        let labelled = async {
            if !leads {
                return set(pod, None).await.map(drop);
            }
            let leading = ListParams::default().labels(&format!("{LEADS}={}", self.name));
            for other in self.pods.list_metadata(&leading).await?.items.iter().map(ResourceExt::name_any) {
                if other != *pod {
                    set(&other, None).await?;
                }
            }
            set(pod, Some(&self.name)).await.map(drop)
        };
        // the Lease must be renewed meanwhile
        let why = match tokio::time::timeout(ANSWER, labelled).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "there is no answer".into(),
        };
        self.complain(format!("failed to say in the pod's labels who leads: {why}"));
        false
    }

    /// Says what does not work, once for as long as it is the same. It is tried again.
    fn complain(&mut self, text: String) {
        if text != self.said {
            tracing::warn!(lease = self.name, "{text}; trying again");
            self.said = text;
        }
    }
}

fn holder_of(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_one_installation_stand_in_for_each_other() {
        let election = |lease: &str| LeaderElection { lease: lease.into(), namespace: None };
        let name = |lease, me| format!("{}/shop", named(&election(lease), me));
        assert!(is_successor(&name("hks", "b-2"), &name("hks", "a-1")));
        assert!(!is_successor(&name("hks", "b-2"), &name("other", "a-1")));
        assert!(!is_successor(&name("hks", "b-2"), "a-1/shop") && !is_successor("a-1/shop", "b-2/shop"));
    }
}

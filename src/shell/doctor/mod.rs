//! Looks whether a project has what hks needs, and says of each thing that is lacking which line mends it. Nothing is changed.

mod cluster;
mod edge;
mod outside;
mod rights;
mod vcluster;

pub use outside::{of_access, of_source};

use crate::platform::Platform;
use crate::shell::cluster::connection::Place;
use crate::shell::cluster::failure::Failure;
use crate::shell::cluster::target;
use kube::{Client, Error};
use serde::Serialize;
use serde_json::Value;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Something that hks can do won't work, or it can't be seen whether it does.
    Warning,
    /// Deployments won't work.
    Missing,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word.
    pub about: &'static str,
    /// How it is to be taken.
    pub verdict: Verdict,
    /// What was found.
    pub says: String,
    /// The line of vcluster.yaml, Helm value or command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// It could not be looked at, so nothing is known to be wrong.
    pub unseen: bool,
}

impl Finding {
    /// The cluster can't be reached at all.
    pub fn unreachable(failure: &Failure) -> Self {
        Self::missing("cluster", failure.message.clone(), "see target and kubeconfig in the configuration")
    }

    fn ok(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Ok, says: says.into(), mend: None, unseen: false }
    }

    fn warning(about: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Warning, says: says.into(), mend: Some(mend.into()), unseen: false }
    }

    fn unseen(about: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { unseen: true, ..Self::warning(about, says, mend) }
    }

    fn missing(about: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Missing, says: says.into(), mend: Some(mend.into()), unseen: false }
    }
}

/// An object of the cluster, as far as it can be seen.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// It is there.
    There(Value),
    /// It is not.
    Absent,
    /// One may not look, or there was no answer.
    Hidden(String),
}

impl Seen {
    /// Reads a path of the API.
    async fn at(client: &Client, path: &str) -> Self {
        let Ok(request) = http::Request::get(path).body(vec![]) else { return Seen::Hidden("no such path".into()) };
        match client.request::<Value>(request).await {
            Ok(value) => Seen::There(value),
            Err(Error::Api(status)) if status.code == 404 => Seen::Absent,
            Err(Error::Api(status)) => Seen::Hidden(status.message.clone()),
            Err(error) => Seen::Hidden(crate::shell::cluster::failure::root(&error)),
        }
    }

    /// The items of a list.
    fn items(&self) -> &[Value] {
        match self {
            Seen::There(list) => list["items"].as_array().map(Vec::as_slice).unwrap_or_default(),
            Seen::Absent | Seen::Hidden(_) => &[],
        }
    }
}

/// What is looked at.
struct Patient<'a> {
    place: &'a Place,
    platform: &'a Platform,
    /// The cluster that the project is in.
    target: Client,
    /// The cluster that the vCluster runs in, where the project is in one.
    host: Option<Client>,
}

/// Looks at a project. Findings come in a fixed order.
///
/// # Errors
/// When the cluster can't be reached at all.
pub async fn look(place: &Place, platform: &Platform) -> Result<Vec<Finding>, Failure> {
    let (host, target) = place.cluster.find().await?;
    let (target, host) = (target::client(target)?, place.cluster.vcluster.as_ref().map(|_| host));
    // what does not answer at all is not looked at any further
    if let Err(error) = target.apiserver_version().await
        && !matches!(error, Error::Api(_))
    {
        return Err(Failure::unreachable(&error, "the cluster does not answer"));
    }
    let patient = Patient { place, platform, target, host };
    let (rights, cluster, edge, vcluster, outside) = tokio::join!(
        rights::look(&patient),
        cluster::look(&patient),
        edge::look(&patient),
        vcluster::look(&patient),
        outside::of_platform(platform),
    );
    Ok([rights, cluster, edge, vcluster, outside].concat())
}

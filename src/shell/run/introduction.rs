//! What the daemon does once for each project that it connects to: it publishes the platform's settings there, and says in its log
//! what the project lacks.

use crate::config::Config;
use crate::shell::cluster::connection::Place;
use crate::shell::cluster::project::Project;
use crate::shell::cluster::published::{self, Published, Sources};
use crate::shell::doctor::{self, Finding, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// First and longest wait after a project could not be written to.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

/// What a configuration says of the sources that deploy to a place.
pub fn of(config: &Config, place: &Place) -> Sources {
    let here = |source: &crate::config::Source| {
        Place::new(&source.target, &source.namespace, config.kubeconfig.as_deref()) == *place
    };
    let one = |source: &crate::config::Source| Published {
        branch: source.git.branch.clone(),
        cluster: config.cluster.clone(),
        public_url: config.public_url.clone(),
        platform: config.platform_of(source),
    };
    let all = config.sources.iter().filter(|(_, source)| here(source));
    all.map(|(name, source)| (name.clone(), one(source))).collect()
}

/// Publishes at each connection, once it was deleted, and again until it has worked; then says once what the project lacks.
pub async fn keep(place: Place, sources: Sources, mut project: watch::Receiver<Option<Arc<Project>>>) {
    let mut wait = BACKOFF.0;
    let mut told = BTreeSet::new();
    loop {
        let connected = project.borrow_and_update().clone();
        let done = match &connected {
            Some(project) => match published::publish(&project.client, &place.namespace, &sources).await {
                Ok(()) => true,
                Err(failure) => {
                    let (namespace, error) = (&place.namespace, failure.message);
                    tracing::warn!(%namespace, %error, "failed to publish the platform's settings; the command line can't take them from there");
                    false
                }
            },
            None => true,
        };
        if done && connected.is_some() {
            for published in sources.values() {
                examine(&place, published, &mut told).await;
            }
        }
        let again = async {
            if done {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(wait).await;
        };
        let gone = async {
            match &connected {
                Some(project) => project.unpublished.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = gone => wait = BACKOFF.0,
            changed = project.changed() => match changed {
                Ok(()) => wait = BACKOFF.0,
                Err(_) => return,
            },
            () = again => wait = (wait * 2).min(BACKOFF.1),
        }
    }
}

/// Logs what the project lacks, each finding once.
async fn examine(place: &Place, published: &Published, told: &mut BTreeSet<String>) {
    let namespace = &place.namespace;
    let found = match doctor::look(place, &published.platform).await {
        Ok(found) => found,
        Err(error) => return tracing::debug!(%namespace, %error, "failed to examine the project"),
    };
    for Finding { about, verdict, says, mend, unseen } in found {
        // a daemon with no more rights than it needs sees less than an administrator
        if unseen || verdict == Verdict::Ok || !told.insert(says.clone()) {
            continue;
        }
        let mend = mend.unwrap_or_default();
        match verdict {
            Verdict::Missing => tracing::error!(%namespace, about, mend, "{says}"),
            Verdict::Warning | Verdict::Ok => tracing::warn!(%namespace, about, mend, "{says}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn each_place_hears_of_its_own_sources() -> anyhow::Result<()> {
        let text = "domain: apps.example\npublicUrl: https://hks.example\nsources:\n  a: {git: {url: /a, branch: next}, namespace: one}\n  \
                    b: {git: {url: /b}, namespace: one, domain: b.example}\n  c: {git: {url: /c}, namespace: two}\n";
        let config = Config::parse(text, Path::new("c.yaml"))?;
        let place = Place::new(&config.sources["a"].target, "one", None);
        let told = of(&config, &place);
        assert_eq!(told.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((told["a"].branch.as_str(), told["a"].platform.domain.as_str()), ("next", "apps.example"));
        assert_eq!(told["b"].platform.domain, "b.example");
        Ok(())
    }
}

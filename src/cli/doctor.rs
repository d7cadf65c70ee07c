//! `hks doctor`: what a project lacks, and which line mends it.

use super::args::ClusterArgs;
use super::output::{BAD, BUSY, GOOD, Out, STRONG, harmless};
use super::settings::PlatformArgs;
use super::{Ended, UNREACHABLE};
use crate::config::Config;
use crate::shell::cluster::connection::Place;
use crate::shell::cluster::failure::{Failure, FailureKind};
use crate::shell::cluster::published;
use crate::shell::doctor::{self, Finding, Verdict};
use crate::shell::run::daemon::Origin;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What was found, by what was looked at.
type Findings = BTreeMap<String, Vec<Finding>>;

/// Looks at one project, or at every source of a configuration.
pub(super) async fn doctor(file: Option<&Path>, cluster: &ClusterArgs, platform: &PlatformArgs, out: Out) -> Ended {
    let found = if let Some(path) = file {
        Box::pin(sources(path, cluster.timeout)).await?
    } else {
        // a project that is not there yet is what the doctor is there for
        let base = match cluster.connect().await {
            Ok(client) => published::load(&client, cluster.namespace(), None).await.ok().flatten(),
            Err(_) => None,
        };
        let platform = platform.over(base.map(|of| of.platform).unwrap_or_default())?;
        let place = cluster.place();
        let found = patient(cluster.timeout, doctor::look(&place, &platform)).await?;
        Findings::from([(format!("project {}", cluster.namespace()), found)])
    };
    let missing = found.values().flatten().any(|finding| finding.verdict == Verdict::Missing);
    if out.json {
        out.data(&json!({ "findings": found, "missing": missing }))?;
    } else {
        print(&found, out);
    }
    Ok(if missing { ExitCode::from(UNREACHABLE) } else { ExitCode::SUCCESS })
}

/// Looks at all sources, each of which may be out of reach by itself.
async fn sources(path: &Path, patience: Duration) -> Result<Findings, Failure> {
    let config: Config = Origin::File(path.to_owned()).read()?;
    let mut all = Findings::new();
    for (name, source) in &config.sources {
        let place = Place::new(&source.target, &source.namespace, config.kubeconfig.as_deref());
        let platform = config.platform_of(source);
        let mut found = match patient(patience, doctor::look(&place, &platform)).await {
            Ok(found) => found,
            Err(failure) => vec![Finding::unreachable(&failure)],
        };
        found.extend(doctor::of_source(&config, name, source).await);
        all.insert(format!("source {name} → {}", source.namespace), found);
    }
    let access = doctor::of_access(&config).await;
    if !access.is_empty() {
        all.insert("the endpoint".into(), access);
    }
    Ok(all)
}

async fn patient<T>(patience: Duration, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || {
        let patience = humantime::format_duration(patience);
        Failure::new(FailureKind::Unreachable, format!("failed to reach the cluster in {patience}: no answer"))
    };
    tokio::time::timeout(patience, what).await.unwrap_or_else(|_| Err(late()))
}

fn print(found: &Findings, out: Out) {
    for (of, findings) in found {
        out.print(&format!("{STRONG}{of}{STRONG:#}"));
        let width = findings.iter().map(|finding| finding.about.len()).max().unwrap_or_default();
        for finding in findings {
            let (sign, style) = match finding.verdict {
                Verdict::Ok => ("✓", GOOD),
                Verdict::Warning if finding.unseen => ("?", BUSY),
                Verdict::Warning => ("!", BUSY),
                Verdict::Missing => ("✗", BAD),
            };
            out.print(&format!("  {style}{sign}{style:#} {:width$}  {}", finding.about, harmless(&finding.says)));
            if let Some(mend) = &finding.mend {
                out.print(&format!("    {:width$}  → {}", "", harmless(mend)));
            }
        }
    }
    let count = |verdict| found.values().flatten().filter(|finding| finding.verdict == verdict).count();
    match (count(Verdict::Missing), count(Verdict::Warning)) {
        (0, 0) => out.say(&format!("{GOOD}nothing is lacking{GOOD:#}")),
        (0, warnings) => out.say(&format!("{BUSY}all that is needed is there{BUSY:#}; {warnings} to look at")),
        (missing, warnings) => out.say(&format!("{BAD}{missing} missing{BAD:#}, {warnings} to look at")),
    }
}

//! Counters for Prometheus. No label carries user text, so their number is bounded by Stacks.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a Stack.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StackLabels {
    /// Source.
    pub source: String,
    /// Stack.
    pub stack: String,
}

/// Labels of a Stack and a result.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResultLabels {
    /// Source.
    pub source: String,
    /// Stack.
    pub stack: String,
    /// How it ended or why it failed.
    pub result: &'static str,
}

/// Labels of something that has only a result.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// How it ended.
    pub result: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    /// What `/metrics` prints.
    pub registry: Registry,
    /// Ended deployments.
    pub deployments: Family<ResultLabels, Counter>,
    /// Rollbacks by cause.
    pub rollbacks: Family<ResultLabels, Counter>,
    /// Corrections of drift.
    pub drift_corrected: Family<StackLabels, Counter>,
    /// Whether nothing of a Stack is touched since not all of it is followed: 0 or 1.
    pub over_budget: Family<StackLabels, Gauge>,
    /// Requests to the API server, by what they were for.
    pub requests: Family<OutcomeLabels, Counter>,
    /// Seconds from the beginning of a deployment to its end.
    pub duration: Histogram,
    /// Webhook deliveries by result: `queued`, `ignored`, `unauthorized`, `invalid`.
    pub webhooks: Family<OutcomeLabels, Counter>,
    /// Commit statuses by result: `posted`, `deduped`, `failed`, `dropped`.
    pub statuses: Family<OutcomeLabels, Counter>,
    /// Fetches by result: `changed`, `unchanged`, `failed`.
    pub fetches: Family<OutcomeLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hks");
        let deployments = Family::default();
        let rollbacks = Family::default();
        let (drift_corrected, over_budget) = (Family::default(), Family::default());
        let requests = Family::default();
        let duration = Histogram::new(exponential_buckets(0.25, 2.0, 13));
        let (webhooks, statuses, fetches) = (Family::default(), Family::default(), Family::default());
        registry.register("deployments", "ended deployments", deployments.clone());
        registry.register("rollbacks", "rollbacks by cause", rollbacks.clone());
        registry.register("drift_corrected", "corrections of drift", drift_corrected.clone());
        registry.register("over_budget", "whether more is there than is followed", over_budget.clone());
        registry.register("requests", "requests to the API server", requests.clone());
        registry.register("deployment_duration_seconds", "length of deployments", duration.clone());
        registry.register("webhook_deliveries", "webhook deliveries", webhooks.clone());
        registry.register("status_posts", "commit statuses", statuses.clone());
        registry.register("fetches", "fetches of repositories", fetches.clone());
        Self {
            registry,
            deployments,
            rollbacks,
            drift_corrected,
            over_budget,
            requests,
            duration,
            webhooks,
            statuses,
            fetches,
        }
    }
}

//! Jobs as they are written.

use super::{Cron, Duration, EnvName, Label, Map, Resources, Scalar, TimeZone};
use schemars::JsonSchema;
use serde::Deserialize;

/// A program that ends, with the image, environment, files and certificates of an app: exactly one of `run` and `schedule`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["app"]))]
pub struct Job {
    /// Name of the app whose image, environment, files and certificates it has.
    pub app: Option<Label>,
    /// `postDeploy` runs once for each new release, when its apps are ready, and not when one goes back to an older release; if it
    /// fails, the release is rolled back. `manual` runs when `hks job run` says so.
    pub run: Option<Run>,
    /// When it runs, in cron's five fields.
    pub schedule: Option<Cron>,
    /// Time zone of the schedule.
    #[schemars(extend("default" = "UTC"))]
    pub timezone: Option<TimeZone>,
    /// What happens when a run is due while the last one still runs: `forbid` skips it, `replace` ends the old one.
    #[schemars(extend("default" = "forbid"))]
    pub concurrency: Option<Concurrency>,
    /// How many ended runs of a schedule are kept, good ones and failed ones each.
    #[schemars(range(max = 100), extend("default" = 3))]
    pub history: Option<u32>,
    /// How long a run may take in all, 1s to 7d.
    #[schemars(extend("default" = "15m"))]
    pub timeout: Option<Duration>,
    /// How often a failed run is tried again.
    #[schemars(range(max = 20), extend("default" = 0))]
    pub retries: Option<u32>,
    /// Replaces the image's entrypoint. May hold references.
    #[schemars(length(max = 1000))]
    pub command: Vec<Scalar>,
    /// Replaces the image's arguments. May hold references.
    #[schemars(length(max = 1000))]
    pub args: Vec<Scalar>,
    /// Environment variables besides those of the app. May hold references.
    #[schemars(extend("maxProperties" = 500))]
    pub env: Map<EnvName, Scalar>,
    /// CPU and memory; those of the app unless given.
    pub resources: Option<Resources>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Run {
    PostDeploy,
    Manual,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Concurrency {
    Forbid,
    Allow,
    Replace,
}

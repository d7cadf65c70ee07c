//! Declarative `GitOps` for platforms whose workspaces are vClusters.
//!
//! Data flows through the modules in one straight line, and the order of the `mod` lines below is the dependency rule: a
//! module uses only modules above it. Everything above `shell` is pure; `now` is always an argument.
//!
//! | module | verb | says |
//! |---|---|---|
//! | `ident` | – | the names that flow through hks |
//! | `engine` | – | what is peculiar to PostgreSQL |
//! | `spec` | parse | hks.yaml bytes → `Result<Spec, Vec<Diagnostic>>` |
//! | `compose` | translate | a compose file → hks.yaml, notes, and a script of secrets |
//! | `platform` | – | what the platform has set up, once for configuration, flags and projects |
//! | `manifest` | render | Spec × Revision → Manifest: objects in stages |
//! | `plan` | compare | Manifest × Live × Inventory → Plan; course → phases of the way |
//! | `rollout` | progress | Objects × Live → Progress, or the cause of a failure |
//! | `record` | – | what is kept in the cluster for each Stack |
//! | `report` | compose | what forges and people are told |
//! | `machine` | step | (Machine, Event, Live, now) → Effects: the one state machine, which interprets the phases |
//! | `config` | parse | the daemon's configuration: which repositories go where |
//! | `view` | compose | (Machine, Live) → View: what page, API and command line show |
//! | `shell` | perform, run | the only async: one room for each external thing |
//! | `cli` | – | arguments → what to run |

pub mod ident;
pub mod engine;
pub mod spec;
pub mod compose;
pub mod platform;
pub mod manifest;
pub mod plan;
pub mod rollout;
pub mod record;
pub mod report;
pub mod machine;
pub mod config;
pub mod view;
#[cfg(feature = "shell")]
pub mod shell;
#[cfg(feature = "shell")]
pub mod cli;

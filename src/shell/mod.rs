//! The only async part: one room for each external thing, and above them the daemon that runs. As in `lib.rs`, the order
//! of the `mod` lines is the dependency rule; a test holds it on every floor.

pub mod clock;
pub mod chance;
pub mod answer;
pub mod pace;
pub mod supervise;
pub mod files;
pub mod metrics;
pub mod cluster;
pub mod credential;
pub mod probe;
pub mod forge;
pub mod oidc;
pub mod git;
pub mod doctor;
pub mod web;
pub mod run;

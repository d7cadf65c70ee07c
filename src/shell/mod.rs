//! The only async part: one file for each external thing.

pub mod actor;
pub mod apply;
pub mod board;
pub mod clock;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod files;
pub mod forge;
pub mod git;
pub mod http;
pub mod inspect;
pub mod lease;
pub mod metrics;
pub mod page;
pub mod project;
pub mod record;
pub mod secrets;
pub mod source;
pub mod statuses;
pub mod supervise;
pub mod target;
pub mod view;
pub mod webhook;

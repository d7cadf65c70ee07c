//! Clusters: how one is reached, what of a project is seen, and what is written there.

pub mod bounds;
pub mod proof;
pub mod failure;
pub mod api;
pub mod pages;
mod transport;
pub mod target;
pub mod watch;
pub mod claims;
pub mod redactor;
pub mod project;
pub mod feed;
pub mod connection;
pub mod contact;
pub mod record;
pub mod wish;
pub mod standby;
pub mod lease;
pub mod secrets;
pub mod growth;
pub mod apply;
pub mod inspect;
pub mod logs;
pub mod published;

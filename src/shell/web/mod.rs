//! The HTTP endpoint: what is published, and how it is asked for.

pub mod board;
pub mod page;
pub mod endpoint;
pub mod access;
mod gate;
pub mod webhook;
pub mod http;

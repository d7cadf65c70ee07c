//! The HTTP endpoint: what is published, and how it is asked for.

pub mod board;
pub mod page;
pub mod endpoint;
mod gate;
pub mod webhook;
pub mod http;

//! The HTTP endpoint: what is published, and how it is asked for.

pub mod board;
pub mod page;
pub mod endpoint;
mod session;
pub mod access;
pub mod tls;
mod gate;
mod asked;
pub mod webhook;
mod act;
mod login;
pub mod http;

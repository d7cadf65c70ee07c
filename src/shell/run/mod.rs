//! The daemon at work: a follower for each source, an actor for each Stack.

pub mod actor;
pub mod source;
pub mod introduction;
mod pace;
mod kept;
pub mod desk;
pub mod daemon;

//! The daemon at work: a follower for each source, an actor for each Stack.

pub mod actor;
mod kept;
pub mod source;
pub mod introduction;
mod pace;
pub mod desk;
pub mod daemon;

//! The system's random source: for ids, keys and passwords.

use ring::rand::{SecureRandom as _, SystemRandom};

/// There is none.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoChance;

/// Fills bytes by chance.
///
/// # Errors
/// The system's random source failed.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoChance> {
    SystemRandom::new().fill(bytes).map_err(|_| NoChance)
}

/// So many bytes by chance.
///
/// # Errors
/// The system's random source failed.
pub fn bytes<const LEN: usize>() -> Result<[u8; LEN], NoChance> {
    let mut bytes = [0_u8; LEN];
    fill(&mut bytes)?;
    Ok(bytes)
}

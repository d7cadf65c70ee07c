//! Settings from the environment.

use std::{env, num::ParseIntError, time::Duration};

use tokio_postgres::Config as DatabaseConfig;

/// Given by the image's build; a development build has none.
pub const VERSION: &str = match option_env!("APP_VERSION") {
    Some(version) => version,
    None => "dev",
};

const DEFAULT_PORT: u16 = 8080;
const DEFAULT_DRAIN_SECONDS: u64 = 5;

/// A setting that stops the start. Never holds the value of `DATABASE_URL`, which has a password in it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("DATABASE_URL is not set: give postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    MissingDatabase,
    #[error("DATABASE_URL is not a PostgreSQL URL: give postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    InvalidDatabase,
    #[error("{name} is not a whole number: {source}")]
    NotANumber { name: &'static str, source: ParseIntError },
}

pub struct Config {
    pub port: u16,
    pub greeting: String,
    pub drain: Duration,
    pub database: DatabaseConfig,
}

impl Config {
    /// Reads the settings of the process.
    pub fn from_env() -> Result<Self, ConfigError> {
        let url = env::var("DATABASE_URL").map_err(|_| ConfigError::MissingDatabase)?;
        Ok(Self {
            port: number("PORT", DEFAULT_PORT)?,
            greeting: env::var("GREETING").unwrap_or_else(|_| "Welcome to Hexabase".to_owned()),
            drain: Duration::from_secs(number("DRAIN_SECONDS", DEFAULT_DRAIN_SECONDS)?),
            database: url.parse().map_err(|_| ConfigError::InvalidDatabase)?,
        })
    }
}

fn number<T: std::str::FromStr<Err = ParseIntError>>(name: &'static str, default: T) -> Result<T, ConfigError> {
    match env::var(name) {
        Ok(text) => text.trim().parse().map_err(|source| ConfigError::NotANumber { name, source }),
        Err(_) => Ok(default),
    }
}

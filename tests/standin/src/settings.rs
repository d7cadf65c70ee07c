//! Settings from the environment. No error holds a value: the values of some are passwords.

use std::{env, num::ParseIntError};

use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    #[error("{0} is not set")]
    NotSet(&'static str),
    #[error("{name} is not {wanted}")]
    Invalid { name: &'static str, wanted: &'static str },
    #[error("{name} is not a number: {source}")]
    NotANumber { name: &'static str, source: ParseIntError },
}

/// What an image says about itself.
#[derive(Clone)]
pub struct Identity {
    pub app: String,
    pub version: String,
}

impl Identity {
    pub fn from_env() -> Result<Self, SettingError> {
        let version = setting("APP_VERSION").unwrap_or_else(|| "dev".to_owned());
        Ok(Self { app: required("STANDIN_ROLE")?, version })
    }

    pub fn json(&self) -> Value {
        json!({"app": self.app, "version": self.version})
    }
}

/// A setting; an empty one is none.
pub fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

pub fn required(name: &'static str) -> Result<String, SettingError> {
    setting(name).ok_or(SettingError::NotSet(name))
}

pub fn number<T: std::str::FromStr<Err = ParseIntError>>(name: &'static str, default: T) -> Result<T, SettingError> {
    match setting(name) {
        Some(text) => text.trim().parse().map_err(|source| SettingError::NotANumber { name, source }),
        None => Ok(default),
    }
}

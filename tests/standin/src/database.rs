//! `PostgreSQL`, over a connection for each task. No statement is prepared under a name: behind a pooler that shares
//! connections between transactions, the next statement may meet another server process.

use std::{net::IpAddr, time::Duration};

use hickory_resolver::net::NetError;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, config::Host};

use crate::{
    dns,
    settings::{SettingError, required, setting},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Replicas that start together must not create a table twice: `IF NOT EXISTS` alone races. Both statements travel in
/// one message, which makes them one transaction.
const CREATE_LOCK: &str = "SELECT pg_advisory_xact_lock(7239188)";

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("its host name does not resolve")]
    Name(#[from] NetError),
    #[error("its URL names no host")]
    NoHost,
    #[error("the connection failed")]
    Database(#[from] tokio_postgres::Error),
    #[error("no answer in time")]
    Timeout,
}

pub struct Database(Config);

impl Database {
    /// The one that `DATABASE_URL` names, if it is set.
    pub fn from_env() -> Result<Option<Self>, SettingError> {
        setting("DATABASE_URL").map(|url| Self::from_url("DATABASE_URL", &url)).transpose()
    }

    pub fn required() -> Result<Self, SettingError> {
        Self::from_env()?.ok_or(SettingError::NotSet("DATABASE_URL"))
    }

    /// As Keycloak is told: the login is apart from the URL.
    pub fn of_keycloak() -> Result<Self, SettingError> {
        let mut database = Self::from_url("KC_DB_URL", &required("KC_DB_URL")?)?;
        database.0.user(required("KC_DB_USERNAME")?).password(required("KC_DB_PASSWORD")?);
        Ok(database)
    }

    fn from_url(name: &'static str, url: &str) -> Result<Self, SettingError> {
        let config = plain(url).parse().map_err(|_| SettingError::Invalid { name, wanted: "a PostgreSQL URL" })?;
        Ok(Self(config))
    }

    pub async fn connect(&self) -> Result<Client, DatabaseError> {
        let mut config = self.0.clone();
        for address in addresses(&config).await? {
            config.hostaddr(address);
        }
        let (client, connection) =
            timeout(CONNECT_TIMEOUT, config.connect(NoTls)).await.map_err(|_| DatabaseError::Timeout)??;
        // Its end shows in the next query.
        tokio::spawn(connection);
        Ok(client)
    }

    /// A connection to a database that has the table, which `definition` creates if it does not exist.
    pub async fn connect_with(&self, definition: &str) -> Result<Client, DatabaseError> {
        let client = self.connect().await?;
        in_time(client.batch_execute(&format!("{CREATE_LOCK}; {definition}"))).await?;
        Ok(client)
    }

    pub async fn ping(&self) -> Result<(), DatabaseError> {
        let client = self.connect().await?;
        in_time(client.simple_query("SELECT 1")).await?;
        Ok(())
    }
}

/// One address for each host of the URL, as the driver wants them paired.
async fn addresses(config: &Config) -> Result<Vec<IpAddr>, DatabaseError> {
    let mut addresses = Vec::new();
    for host in config.get_hosts() {
        if let Host::Tcp(name) = host {
            let found = timeout(CONNECT_TIMEOUT, dns::resolve(name)).await.map_err(|_| DatabaseError::Timeout)??;
            addresses.extend(found.first());
        }
    }
    if addresses.is_empty() { Err(DatabaseError::NoHost) } else { Ok(addresses) }
}

/// The answer to a query, or an error when it takes too long.
pub async fn in_time<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, DatabaseError> {
    Ok(timeout(QUERY_TIMEOUT, answer).await.map_err(|_| DatabaseError::Timeout)??)
}

/// A URL as libpq knows it. `jdbc:` and `+asyncpg` name drivers of other languages.
fn plain(url: &str) -> String {
    let url = url.strip_prefix("jdbc:").unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.split('+').next().unwrap_or(scheme)),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Database::from_url("DATABASE_URL", url).unwrap().0
    }

    #[test]
    fn urls_of_other_languages_are_understood() {
        for url in ["postgres://u:p%40ss@db:6432/main", "postgresql+asyncpg://u:p%40ss@db:6432/main"] {
            let config = config(url);
            assert_eq!(config.get_user(), Some("u"));
            assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
            assert_eq!(config.get_hosts(), [Host::Tcp("db".to_owned())]);
            assert_eq!(config.get_ports(), [6432]);
            assert_eq!(config.get_dbname(), Some("main"));
        }
    }

    #[test]
    fn a_jdbc_url_has_no_login() {
        let config = config("jdbc:postgresql://db:5432/keycloak");
        assert_eq!((config.get_user(), config.get_dbname()), (None, Some("keycloak")));
    }

    #[test]
    fn a_mistake_is_told_without_the_url() {
        let error = Database::from_url("DATABASE_URL", "mysql://u:secret@db/main").err().unwrap();
        assert_eq!(error.to_string(), "DATABASE_URL is not a PostgreSQL URL");
    }
}

//! Redis, and the jobs that wait in it.

use std::{io, net::SocketAddr, time::Duration};

use redis::{
    AsyncConnectionConfig, AsyncTypedCommands, Client, RedisError, RedisFuture, aio::MultiplexedConnection,
    io::AsyncDNSResolver,
};

use crate::{
    dns,
    settings::{SettingError, setting},
};

/// The list of jobs that wait; what scales workers looks at its length.
pub const JOBS: &str = "jobs:default";
/// Counts the jobs that were done.
pub const DONE: &str = "jobs:done";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than a worker waits for a job, which is an answer too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Redis(Client);

impl Redis {
    /// The one that the setting `name` names, if it is set: `redis://:PASSWORD@HOST:PORT/DATABASE`.
    pub fn from_env(name: &'static str) -> Result<Option<Self>, SettingError> {
        setting(name).map(|url| Self::from_url(name, &url)).transpose()
    }

    pub fn required(name: &'static str) -> Result<Self, SettingError> {
        Self::from_env(name)?.ok_or(SettingError::NotSet(name))
    }

    fn from_url(name: &'static str, url: &str) -> Result<Self, SettingError> {
        Ok(Self(Client::open(url).map_err(|_| SettingError::Invalid { name, wanted: "a Redis URL" })?))
    }

    pub async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_dns_resolver(Names);
        self.0.get_multiplexed_async_connection_with_config(&config).await
    }

    pub async fn ping(&self) -> Result<(), RedisError> {
        self.connect().await?.ping().await?;
        Ok(())
    }
}

/// The client's own way to resolve names needs a shared C library.
struct Names;

impl AsyncDNSResolver for Names {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = dns::resolve(host).await.map_err(io::Error::other)?;
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "its host name has no address").into());
            }
            let addresses = found.into_iter().map(move |address| SocketAddr::new(address, port));
            Ok(Box::new(addresses) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn a_url_may_hold_a_password_without_a_user() {
        let info = "redis://:p%40ss@cache:6379/0".into_connection_info().unwrap();
        assert_eq!(info.redis_settings().password(), Some("p@ss"));
        assert_eq!(info.redis_settings().username(), None);
        assert_eq!(info.addr().to_string(), "cache:6379");
    }

    #[test]
    fn a_mistake_is_told_without_the_url() {
        let error = Redis::from_url("REDIS_URL", "http://:secret@cache:6379/0").err().unwrap();
        assert_eq!(error.to_string(), "REDIS_URL is not a Redis URL");
    }
}

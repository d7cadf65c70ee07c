//! How requests reach an API server. All watches share one connection by HTTP/2: by HTTP/1.1, which is all that kube's own client
//! speaks, each of them takes one of its own, with 60 KiB and a TLS handshake. What is asked and answered goes by HTTP/1.1, which
//! takes a fifth less computing for a whole deployment, and whose connections go when they have nothing to do.

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config, Error};
use std::time::Duration;
use tower::ServiceBuilder;
use tower::limit::ConcurrencyLimitLayer;
use tower::steer::Steer;
use tower_http::decompression::DecompressionLayer;

/// Requests to one cluster at the same time; thousands of Stacks that start together gain nothing from more.
const REQUESTS: usize = 16;
/// How long it takes until a connection counts as not made.
const CONNECT: Duration = Duration::from_secs(5);
/// Server-side time-out of a watch is 290 s, so a reader that hears nothing for longer is dead.
const READ: Duration = Duration::from_secs(295);
/// … and a writer that can't write.
const WRITE: Duration = Duration::from_secs(30);
/// After how much silence the other end is asked whether it is there, and how long it has for the answer: as client-go has it
/// (`HTTP2_READ_IDLE_TIMEOUT_SECONDS`, `HTTP2_PING_TIMEOUT_SECONDS`).
const SILENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// A client of the cluster that a configuration describes.
///
/// # Errors
/// Its certificates or its login can't be used; or it asks for a proxy.
pub fn client(config: Config) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        // kube's own words on what is missing for that
        return Ok(ClientBuilder::try_from(config)?.build());
    }
    let ways = vec![way(&config, false)?, way(&config, true)?];
    let choose = |request: &http::Request<Body>, _: &[_]| usize::from(is_watch(request.uri()));
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(REQUESTS))
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(Steer::new(ways, choose));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

type Way = legacy::Client<TimeoutConnector<HttpsConnector<HttpConnector>>, Body>;

/// Format: Kubernetes API, parameter `watch` of lists.
fn is_watch(uri: &http::Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|parameter| parameter == "watch=true"))
}

/// Connections that are all of one version, or of the newest that both ends speak.
fn way(config: &Config, newest: bool) -> Result<Way, Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = config.tls_server_name.clone().and_then(|name| name.try_into().ok()) {
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = if newest {
        builder.enable_all_versions().wrap_connector(connector)
    } else {
        builder.enable_http1().wrap_connector(connector)
    };
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_read_timeout(Some(READ));
    connector.set_write_timeout(Some(WRITE));
    connector.set_reset_reader_on_write(true);
    let mut builder = legacy::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).http2_keep_alive_interval(SILENCE.0).http2_keep_alive_timeout(SILENCE.1);
    Ok(builder.build(connector))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Request;
    use kube::core::params::{ListParams, WatchParams};

    #[test]
    fn watches_are_told_from_lists() {
        let pods = Request::new("/api/v1/namespaces/shop/pods");
        let watch = pods.watch(&WatchParams::default().labels("a=watch"), "1").unwrap();
        let list = pods.list(&ListParams::default().labels("watch=true")).unwrap();
        assert!(is_watch(watch.uri()) && !is_watch(list.uri()), "{} {}", watch.uri(), list.uri());
    }
}

//! How requests reach an API server. All watches share one connection by HTTP/2: by HTTP/1.1, which is all that kube's own client
//! speaks, each of them takes one of its own, with 60 KiB and a TLS handshake. What is asked and answered goes by HTTP/1.1, which
//! takes a fifth less computing for a whole deployment, and whose connections go when they have nothing to do.

use crate::shell::cluster::bounds::{Bounds, Brief, is_exec, is_watch};
use crate::shell::cluster::proof::{self, Guarded};
use crate::shell::pace::Share;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config, Error};
use std::sync::Arc;
use std::time::Duration;
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};
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

/// A client of the cluster that a configuration describes. With a share, requests wait for their turn.
///
/// # Errors
/// Its certificates or its login can't be used; or it asks for a proxy.
pub fn client(config: Config, share: Option<&Arc<Share>>) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        // kube's own words on what is missing for that
        return Ok(ClientBuilder::try_from(config)?.build());
    }
    let brief = |connection| TokioIo::new(Brief::new(TokioIo::new(connection)));
    let usual = built(connector(&config, false)?);
    let watches = built(connector(&config, true)?);
    let programs = built(connector(&config, false)?.map_response(brief));
    let (ways, share) = (Arc::new((usual, watches, programs)), share.cloned());
    let send = move |request: http::Request<Body>| {
        let (ways, share) = (Arc::clone(&ways), share.clone());
        async move {
            let (usual, watches, programs) = &*ways;
            if let Some(share) = share {
                share.request().await;
            }
            let request = proof::guarded(request)?;
            let answer = match request.uri() {
                uri if is_watch(uri) => watches.request(request),
                uri if is_exec(uri) => programs.request(request),
                _ => usual.request(request),
            };
            answer.await.map_err(BoxError::from)
        }
    };
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(REQUESTS))
        .layer(config.base_uri_layer())
        .layer(Bounds)
        .layer(DecompressionLayer::new())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .service_fn(send);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

type Connector = TimeoutConnector<HttpsConnector<HttpConnector>>;

/// Makes connections that are all of one version, or of the newest that both ends speak.
fn connector(config: &Config, newest: bool) -> Result<Connector, Error> {
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
    Ok(connector)
}

fn built<C: Connect + Clone>(connector: C) -> legacy::Client<C, Guarded> {
    let mut builder = legacy::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).http2_keep_alive_interval(SILENCE.0).http2_keep_alive_timeout(SILENCE.1);
    builder.build(connector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::cluster::bounds::Excess;
    use crate::shell::cluster::proof::Proof;
    use crate::shell::cluster::{pages, watch};
    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::Request as Asked;
    use axum::response::Response;
    use axum::routing::any;
    use futures::{StreamExt, TryStreamExt, stream};
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use kube::Api;
    use kube::api::{AttachParams, ListParams, LogParams, Patch, PatchParams, WatchEvent, WatchParams};
    use kube::runtime::watcher;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::io::Write as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The address of a server that answers everything with `answer`.
    async fn serve(answer: impl Fn(Asked) -> Response + Clone + Send + Sync + 'static) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = any(move |request: Asked| {
            let answer = answer(request);
            async move { answer }
        });
        let router = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// A client of such a server.
    async fn client_of(answer: impl Fn(Asked) -> Response + Clone + Send + Sync + 'static) -> Client {
        client(Config::new(serve(answer).await.parse().unwrap()), None).unwrap()
    }

    fn endless(piece: &'static [u8]) -> Response {
        let pieces = stream::repeat_with(move || Ok::<_, Infallible>(Bytes::from_static(piece)));
        Response::new(axum::body::Body::from_stream(pieces))
    }

    fn excess<T>(answer: Result<T, Error>) -> Option<Excess> {
        Excess::of(&answer.err()?)
    }

    /// P51: a daemon that slept between the proof that it acts and what it writes, or waited for its turn.
    #[tokio::test]
    async fn nothing_is_sent_once_the_proof_is_old() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let client = client_of(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Response::new(json!({ "metadata": { "name": "a" } }).to_string().into())
        })
        .await;
        let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
        let written = |age| {
            let (maps, body) = (maps.clone(), json!({ "data": { "a": "b" } }));
            Proof::of_before(Duration::from_secs(age))
                .while_sure(async move { maps.patch("a", &PatchParams::default(), &Patch::Merge(&body)).await })
        };
        written(11).await.unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let refused = written(13).await.unwrap_err();
        let fault = crate::shell::cluster::failure::describe_own(&refused, "ConfigMap/a".into());
        assert!(fault.transient && fault.message.contains("may have slept"), "{fault:?}");
        assert_eq!(sent.load(Ordering::Relaxed), 1, "it was sent");
        maps.get("a").await.unwrap();
    }

    /// … or while a connection was made.
    #[tokio::test]
    async fn nothing_is_written_once_the_proof_is_old() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let address = serve(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Response::new("{}".into())
        })
        .await;
        let config = Config::new(address.parse().unwrap());
        let usual = built(connector(&config, false).unwrap());
        let written = |age| {
            let body = Guarded::new(b"{}".to_vec().into(), Some(Proof::of_before(Duration::from_secs(age))));
            usual.request(http::Request::post(&address).body(body).unwrap())
        };
        written(11).await.unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let refused = Error::Service(written(13).await.unwrap_err().into());
        let fault = crate::shell::cluster::failure::describe_own(&refused, "ConfigMap/a".into());
        assert!(fault.transient && fault.message.contains("may have slept"), "{fault:?}");
        assert_eq!(sent.load(Ordering::Relaxed), 1, "it was sent");
    }

    #[tokio::test]
    async fn an_answer_without_end_ends_at_its_bound() {
        let client = client_of(|_| endless(&[b' '; 8192])).await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
        assert_eq!(excess(pods.get("a").await), Some(Excess::Answer(10 << 20)));
        assert_eq!(excess(pods.list(&ListParams::default().limit(50)).await), Some(Excess::Page(50)));
        let metrics = http::Request::get("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods").body(vec![]).unwrap();
        assert_eq!(excess(client.request::<Value>(metrics).await), Some(Excess::Answer(1 << 20)));
        let few = LogParams { limit_bytes: Some(1000), ..LogParams::default() };
        assert_eq!(excess(pods.logs("a", &few).await), Some(Excess::Answer(1000 + (64 << 10))));
        let error = pods.get("a").await.err().unwrap();
        let fault = crate::shell::cluster::failure::describe_own(&error, "Pod/a".into());
        assert!(fault.message.starts_with("an answer has more than 10240 KiB"), "{}", fault.message);
    }

    #[tokio::test]
    async fn an_answer_of_nothing_but_values_ends_at_its_bound() {
        let client = client_of(|_| endless(b"{\"x\":[[0],[0],")).await;
        let pods: Api<Pod> = Api::namespaced(client, "shop");
        assert_eq!(excess(pods.get("a").await), Some(Excess::Values));
        assert_eq!(excess(pods.list(&ListParams::default().limit(50)).await), Some(Excess::Page(50)));
        let mut events = pods.watch(&WatchParams::default(), "1").await.unwrap().boxed();
        assert_eq!(excess(events.next().await.unwrap()), Some(Excess::Values));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn a_refusal_without_end_ends_as_well() {
        let client = client_of(|_| {
            let mut refusal = endless(b"no! ");
            *refusal.status_mut() = http::StatusCode::FORBIDDEN;
            refusal
        })
        .await;
        let pods: Api<Pod> = Api::namespaced(client, "shop");
        assert_eq!(excess(pods.get("a").await), Some(Excess::Answer(1 << 20)));
        let exec = pods.exec("a", ["df"], &AttachParams::default()).await;
        assert_eq!(exec.err().and_then(|error| Excess::of(&error)), Some(Excess::Answer(256 << 10)));
    }

    #[tokio::test]
    async fn what_comes_out_of_a_compressed_answer_counts() {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        (0..200).for_each(|_| packed.write_all(&vec![b' '; 1 << 20]).unwrap());
        let bomb = packed.finish().unwrap();
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        let client = client_of(move |_| {
            let answer = Response::builder().header("content-encoding", "gzip");
            answer.body(axum::body::Body::from(bomb.clone())).unwrap()
        })
        .await;
        let pods: Api<Pod> = Api::namespaced(client, "shop");
        assert_eq!(excess(pods.get("a").await), Some(Excess::Answer(10 << 20)));
    }

    #[tokio::test]
    async fn a_watch_has_no_end_and_each_event_has() {
        let client = client_of(|_| endless(&[b' '; 8192])).await;
        let pods: Api<Pod> = Api::namespaced(client, "shop");
        let mut events = pods.watch(&WatchParams::default(), "1").await.unwrap().boxed();
        assert_eq!(excess(events.next().await.unwrap()), Some(Excess::Answer(10 << 20)));
        assert!(events.next().await.is_none());
        // 30 MiB of short ones, a long one, and what comes behind it by another request
        let event = |name: &str, length: usize| {
            let map =
                json!({ "metadata": { "name": name, "resourceVersion": "2" }, "data": { "a": "b".repeat(length) } });
            format!("{}\n", json!({ "type": "ADDED", "object": map }))
        };
        let text = format!("{}{}{}", event("short", 100 << 10).repeat(300), event("long", 2 << 20), event("later", 1));
        let client = client_of(move |_| Response::new(text.clone().into())).await;
        let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
        let events = maps.watch(&WatchParams::default(), "1").await.unwrap();
        let names: Vec<_> = events
            .map_ok(|event| match event {
                WatchEvent::Added(map) => map.metadata.name.unwrap(),
                other => panic!("{other:?}"),
            })
            .try_collect()
            .await
            .unwrap();
        assert_eq!((names.len(), names[299].as_str(), names[300].as_str()), (301, "short", "long"));
    }

    /// A list of 120 objects of 600 KiB, of which each page has as many as are asked for.
    fn large(request: &Asked) -> Response {
        let query = request.uri().query().unwrap_or_default();
        let number = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map_or(0, |value| value.parse::<usize>().unwrap())
        };
        let from = number("continue");
        let until = (from + number("limit")).min(120);
        let object =
            |at: usize| json!({ "metadata": { "name": format!("o{at}") }, "data": { "a": "b".repeat(600 << 10) } });
        let more = if until < 120 { until.to_string() } else { String::new() };
        let list = json!({
            "apiVersion": "v1", "kind": "ConfigMapList", "metadata": { "resourceVersion": "7", "continue": more },
            "items": (from..until).map(object).collect::<Vec<_>>(),
        });
        Response::new(list.to_string().into())
    }

    #[tokio::test]
    async fn large_objects_come_in_smaller_pages() {
        let client = client_of(|request| large(&request)).await;
        let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
        let whole = maps.list(&ListParams::default().limit(50)).await;
        assert_eq!(excess(whole), Some(Excess::Page(50)));
        let all = pages::all(&maps, ListParams::default()).await.unwrap();
        assert_eq!(all.len(), 120);
        assert!(all.iter().enumerate().all(|(at, map)| map.metadata.name == Some(format!("o{at}"))));
        let mut listed = watch::lasting(maps, watcher::Config::default());
        let mut names = vec![];
        loop {
            match listed.next().await.unwrap().unwrap() {
                watcher::Event::Init => names.clear(),
                watcher::Event::InitApply(map) => names.extend(map.metadata.name),
                watcher::Event::InitDone => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(names.len(), 120, "a watch begins as well");
    }

    #[tokio::test]
    async fn a_line_of_a_log_has_an_end() {
        let client = client_of(|_| endless(b"word ")).await;
        let pods: Api<Pod> = Api::namespaced(client, "shop");
        let follow = LogParams { follow: true, ..LogParams::default() };
        let mut lines = futures::AsyncBufReadExt::lines(pods.log_stream("a", &follow).await.unwrap());
        let error = lines.next().await.unwrap().unwrap_err();
        assert_eq!(Excess::of(&error), Some(Excess::Answer(1 << 20)));
    }
}

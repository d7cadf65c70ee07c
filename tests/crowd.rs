//! The HTTP endpoint where many come who want nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use hks::record::SealKey;
use hks::shell::credential::Hidden;
use hks::shell::run::desk::Projects;
use hks::shell::web::access::Access;
use hks::shell::web::endpoint::{Endpoint, Hooks};
use hks::shell::web::http::{serve, serve_probes};
use reqwest::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

const SECRET: &str = "a secret";

struct OneSource;

impl Hooks for OneSource {
    fn secrets(&self) -> Vec<(String, Vec<Hidden>)> {
        vec![("shop".into(), vec![Hidden::new(SECRET)])]
    }

    fn fetch(&self, _: &str) {}

    fn follows(&self, _: &str, _: &str, _: &[String], _: &str) -> bool {
        false
    }
}

/// S5: who holds connections keeps nobody out, and the probes have a listener of their own.
#[tokio::test]
async fn idle_connections_give_way() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (ready, readiness) = watch::channel(false);
    let endpoint = Endpoint {
        board: Arc::default(),
        metrics: Arc::default(),
        hooks: Arc::new(OneSource),
        desk: Arc::new(Projects::default()),
        acts: Semaphore::new(1),
        ready: readiness.clone(),
        cluster: "prod".into(),
    };
    let _server = tokio::spawn(serve(
        listener,
        endpoint,
        Arc::new(Access::new(true, SealKey::new(&[7; 32]).unwrap())),
        None,
        std::future::pending(),
    ));
    let mut idle = vec![];
    for round in 0..2 {
        for index in 0..300 {
            let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            // some are in the middle of their headers
            if index % 2 == 0 {
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
            }
            idle.push(stream);
        }
        let client =
            Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(3)).build().unwrap();
        let answer = client.get(format!("http://{address}/healthz")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "round {round}");
    }
    // bodies that come slowly hold no room that others need
    let other = format!("sha256={}", "0".repeat(64));
    let slow = format!(
        "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {other}\r\nContent-Length: 26000000\r\n\r\n{{"
    );
    for _ in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, slow.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = format!("sha256={}", hex::encode(ring::hmac::sign(&key, b"{}")));
    let delivery = client.post(format!("http://{address}/webhooks/github")).header("x-hub-signature-256", signature);
    let answer = delivery.header("x-github-event", "ping").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probes = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve_probes(listener, readiness));
    let status = async |path: &str| client.get(format!("{probes}{path}")).send().await.unwrap().status().as_u16();
    assert_eq!([status("/healthz").await, status("/readyz").await, status("/").await], [200, 503, 404]);
    ready.send_replace(true);
    assert_eq!(status("/readyz").await, 200);
}

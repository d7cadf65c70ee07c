//! Asking public addresses and the daemon: once, or 50 times a second.

use serde_json::Value;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One runtime and HTTP client for all requests of a test process.
fn http() -> &'static (tokio::runtime::Runtime, reqwest::Client) {
    static HTTP: OnceLock<(tokio::runtime::Runtime, reqwest::Client)> = OnceLock::new();
    HTTP.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        (runtime.expect("a runtime"), hks::shell::probe::http_client().expect("a client"))
    })
}

/// GETs JSON; nothing if there is no answer or another one.
pub fn get_json(url: &str) -> Option<Value> {
    let (runtime, client) = http();
    runtime.block_on(async {
        let mut answer = client.get(url).send().await;
        // a connection that was idle for a minute is closed by the daemon, perhaps just now
        if answer.is_err() {
            answer = client.get(url).send().await;
        }
        answer.ok()?.json().await.ok()
    })
}

/// Sends a request; status and text of the answer.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let (runtime, client) = http();
    runtime.block_on(async {
        let mut request = client.request(method.parse().expect("a method"), url).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(error) => (0, format!("{error:?}")),
        }
    })
}

/// Asks a URL 50 times a second until dropped, and keeps what went wrong and when.
pub struct Client {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<(u64, Vec<String>)>>,
}

impl Client {
    /// Starts asking.
    pub fn start(url: &str) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (until, url) = (std::sync::Arc::clone(&stop), url.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut asked, mut failed) = (0, vec![]);
            let mut next = Instant::now();
            while !until.load(std::sync::atomic::Ordering::Relaxed) {
                let (status, text) = request("GET", &url, &[], "");
                asked += 1;
                if status != 200 {
                    failed.push(format!("{} {status} {text}", jiff::Timestamp::now()));
                }
                next += Duration::from_millis(20);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            (asked, failed)
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stops; tells how often it asked and what failed.
    pub fn stop(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().expect("running").join().expect("the client ends")
    }
}

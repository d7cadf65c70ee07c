//! What tests of the HTTP endpoint share: a board filled by hand behind a real listener.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "tests")]

use futures::FutureExt as _;
use hks::ident::{Revision, StackName};
use hks::record::{Answered, Deployment, Outcome, SealKey, Want};
use hks::report::{AppView, DatabaseView, Readiness, StackState, View};
use hks::shell::credential::Hidden;
use hks::shell::metrics::{Metrics, OutcomeLabels};
use hks::shell::web::access::Access;
use hks::shell::web::board::{Board, SourceView};
use hks::shell::web::endpoint::{Asking, Desk, Endpoint, Hooks};
use hks::shell::web::http::serve;
use jiff::SignedDuration;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

pub const SECRET: &str = "It's a Secret to Everybody";
pub const OLD_SECRET: &str = "canary-of-last-month";
/// The published example: `SECRET` over `Hello, World!`.
pub const EXAMPLE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
pub const HOSTILE: &str = "<script>alert('x')</script>\"&";
pub const OLD: &str = "4f1c2ab000000000000000000000000000000000";
pub const NEW: &str = "9d03e7b000000000000000000000000000000000";

/// Sources by name, with their secrets and the repository that each follows on `main`.
#[derive(Default)]
pub struct Routes {
    pub sources: Vec<(&'static str, Vec<&'static str>, &'static str)>,
    pub fetched: Mutex<Vec<String>>,
}

impl Hooks for Routes {
    fn secrets(&self) -> Vec<(String, Vec<Hidden>)> {
        let hidden = |list: &[&str]| list.iter().map(|secret| Hidden::new(*secret)).collect();
        self.sources.iter().map(|(name, secrets, _)| ((*name).to_owned(), hidden(secrets))).collect()
    }
    fn fetch(&self, source: &str) {
        self.fetched.lock().unwrap().push(source.into());
    }
    fn follows(&self, source: &str, full_name: &str, clone_urls: &[String], git_ref: &str) -> bool {
        let of = |url: &String| url.ends_with(&format!("/{full_name}.git"));
        self.sources.iter().any(|(name, _, repository)| *name == source && *repository == full_name)
            && clone_urls.iter().any(of)
            && git_ref == "refs/heads/main"
    }
}

/// Writes down what is asked for, and answers as it is told to.
#[derive(Default)]
pub struct Notebook {
    pub asked: Mutex<Vec<(String, String, Want, String)>>,
    pub refuses: Mutex<Option<String>>,
}

impl Desk for Notebook {
    fn ask(&self, source: &str, stack: &str, want: Want, by: String) -> Asking {
        self.asked.lock().unwrap().push((source.into(), stack.into(), want, by));
        let answer =
            Answered { id: "w-1".into(), at: hks::shell::clock::now(), refused: self.refuses.lock().unwrap().clone() };
        async move { Ok(("w-1".to_owned(), Some(answer))) }.boxed()
    }
}

/// Seals what browsers keep.
pub fn key() -> SealKey {
    SealKey::new(&[7; 32]).unwrap()
}

pub struct Daemon {
    pub base: String,
    pub client: Client,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub hooks: Arc<Routes>,
    pub desk: Arc<Notebook>,
    pub ready: watch::Sender<bool>,
    pub stop: oneshot::Sender<()>,
    pub server: JoinHandle<std::io::Result<()>>,
}

impl Daemon {
    pub async fn start(hooks: Routes) -> Self {
        Self::guarded(hooks, Access::new(true, key())).await
    }

    /// One that lets in whom `access` lets in.
    pub async fn guarded(hooks: Routes, access: Access) -> Self {
        Self::secured(hooks, access, None).await
    }

    /// … by HTTPS, if there is a certificate.
    pub async fn secured(hooks: Routes, access: Access, tls: Option<TlsAcceptor>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http{}://{}", if tls.is_some() { "s" } else { "" }, listener.local_addr().unwrap());
        let (board, metrics, hooks) = (Arc::new(Board::default()), Arc::new(Metrics::default()), Arc::new(hooks));
        let desk = Arc::new(Notebook::default());
        let (ready, readiness) = watch::channel(false);
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoint = Endpoint {
            board: Arc::clone(&board),
            metrics: Arc::clone(&metrics),
            hooks: Arc::clone(&hooks) as Arc<dyn Hooks>,
            desk: Arc::clone(&desk) as Arc<dyn Desk>,
            acts: Semaphore::new(1),
            ready: readiness,
            cluster: "prod".into(),
        };
        let stopped = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(serve(listener, endpoint, Arc::new(access), tls, stopped));
        let redirect = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().redirect(redirect).timeout(Duration::from_secs(20)).build().unwrap();
        Self { base, client, board, metrics, hooks, desk, ready, stop, server }
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn json(&self, path: &str) -> (u16, Value) {
        let (code, text) = self.get(path).await;
        (code, serde_json::from_str(&text).unwrap())
    }

    pub fn hook(&self) -> RequestBuilder {
        self.client.post(format!("{}/webhooks/github", self.base)).header("x-github-delivery", "d-1")
    }

    /// A delivery that is signed with `secret`.
    pub async fn deliver(&self, event: &str, secret: &str, body: &str) -> (u16, Value) {
        let request = self.hook().header("x-github-event", event).header("x-hub-signature-256", sign(secret, body));
        answer(request.body(body.to_owned()).send().await.unwrap()).await
    }

    pub fn count(&self, result: &'static str) -> u64 {
        self.metrics.webhooks.get_or_create(&OutcomeLabels { result }).get()
    }

    pub fn fetched(&self) -> Vec<String> {
        std::mem::take(&mut self.hooks.fetched.lock().unwrap())
    }
}

pub async fn answer(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

pub fn sign(secret: &str, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(ring::hmac::sign(&key, body.as_bytes())))
}

pub fn push(full_name: &str, git_ref: &str) -> String {
    let url = format!("https://github.com/{full_name}.git");
    json!({"ref": git_ref, "after": NEW, "repository": {"full_name": full_name, "clone_url": url}}).to_string()
}

pub fn two_sources() -> Routes {
    let sources = vec![("shop", vec![SECRET, OLD_SECRET], "acme/shop"), ("blog", vec!["another"], "acme/blog")];
    Routes { sources, ..Routes::default() }
}

pub fn view(name: &str, state: StackState) -> View {
    let at = hks::shell::clock::now();
    let deployment = |revision: &str, outcome, description: &str, ago: i64| {
        let times = (at - SignedDuration::from_secs(ago + 48), at - SignedDuration::from_secs(ago));
        let message = Some(hks::ident::Message::new(HOSTILE, &format!("{HOSTILE}\u{1b}[2J")));
        Deployment { message, ..Deployment::new(Revision::new(revision), times, outcome, None, description.into()) }
    };
    View {
        desired_revision: Some(Revision::new(NEW)),
        applied_revision: Some(Revision::new(if state == StackState::Settled { NEW } else { OLD })),
        urls: vec![format!("http://{name}.apps.localhost:18080"), "javascript:alert(1)".into()],
        apps: vec![AppView {
            name: "web".into(),
            readiness: Readiness::Ready,
            image: "ghcr.io/acme/web:1.4.2".into(),
            ready: 2,
            replicas: 2,
            limits: "500m cpu, 256Mi memory".into(),
            usage: Some("12m cpu, 80Mi memory".into()),
        }],
        databases: vec![DatabaseView {
            name: "todo-db".into(),
            readiness: Readiness::Ready,
            image: "postgres:17".into(),
            ready: true,
            storage: "10Gi".into(),
            usage: None,
        }],
        history: vec![
            Arc::new(deployment(NEW, Outcome::RolledBack, "rolled back to 4f1c2ab: image pull failed", 30)),
            Arc::new(deployment("1111111aaaa", Outcome::Succeeded, "1 app ready in 48s", 90_000)),
        ],
        ..View::bare(&StackName::new(name).unwrap(), "shop", state, at)
    }
}

pub fn publish(board: &Board, source: &str, view: View) {
    board.publish(source, &StackName::new(view.name.clone()).unwrap(), view);
}

pub fn source(name: &str) -> SourceView {
    SourceView {
        name: name.into(),
        url: format!("https://github.com/acme/{name}"),
        branch: "main".into(),
        head: Some(Revision::new(NEW)),
        fetched: Some(hks::shell::clock::now()),
        ..SourceView::default()
    }
}

//! Targets that speak HTTP: deliveries of webhooks, and answers of a forge.

use super::engine::Target;
use super::mutate::{CUT, parts};
use super::outside::block_on;
use super::words::is_fit;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hks::config::{ForgeKind, Oidc};
use hks::ident::Revision;
use hks::report::{Status, StatusState};
use hks::shell::credential::Hidden;
use hks::shell::forge::{ForgeConfig, Poster};
use hks::shell::metrics::Metrics;
use hks::shell::oidc::believed;
use hks::shell::run::desk::Projects;
use hks::shell::web::board::Board;
use hks::shell::web::endpoint::{Endpoint, Hooks};
use hks::shell::web::webhook::receive;
use jsonwebtoken::jwk::JwkSet;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

const SECRET: &str = "It's a Secret to Everybody";
const OTHER: &str = "a secret of another source";

/// Two sources with a secret each, and one that has an empty one by mistake.
#[derive(Default)]
struct Sources(Mutex<Vec<String>>);

impl Hooks for Sources {
    fn secrets(&self) -> Vec<(String, Vec<Hidden>)> {
        let all = [("shop", SECRET), ("blog", OTHER), ("open", "")];
        all.map(|(source, secret)| (source.to_owned(), vec![Hidden::new(secret)])).into()
    }
    fn fetch(&self, source: &str) {
        self.0.lock().unwrap().push(source.into());
    }
    fn follows(&self, _: &str, full_name: &str, _: &[String], git_ref: &str) -> bool {
        full_name == "acme/shop" && git_ref == "refs/heads/main"
    }
}

fn signed(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(ring::hmac::sign(&key, body)))
}

/// Deliveries: nothing is fetched without the signature of a secret of that source, whatever headers and body say.
pub const WEBHOOK: Target = Target {
    name: "webhook",
    run: webhook,
    words: &[
        "x-hub-signature-256: ",
        "signed",
        "signed by another",
        "sha256=",
        "x-github-event: ",
        "push",
        "ping",
        "x-github-delivery: ",
        "\n",
        "content-type: application/x-www-form-urlencoded",
        "payload=",
        "%7B",
        "&",
        "\"ref\":",
        "\"refs/heads/main\"",
        "\"repository\":",
        "\"full_name\":",
        "\"acme/shop\"",
        "\"clone_url\":",
        "null",
        "{",
        "}",
        CUT,
    ],
    grow: None,
    most: 2000,
    tries: 400,
};

fn webhook(input: &[u8]) -> String {
    let [head, body] = parts::<2>(input);
    let body = body.into_bytes();
    let sources = Arc::new(Sources::default());
    let endpoint = Endpoint {
        board: Arc::new(Board::default()),
        metrics: Arc::new(Metrics::default()),
        hooks: Arc::clone(&sources) as Arc<dyn Hooks>,
        desk: Arc::new(Projects::default()),
        acts: Semaphore::new(1),
        ready: watch::channel(true).1,
        cluster: "prod".into(),
    };
    let mut request = Request::builder().method("POST").uri("/webhooks/github");
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        // who knows a secret may sign anything
        let value = match value {
            "signed" => signed(SECRET, &body),
            "signed by another" => signed(OTHER, &body),
            other => other.to_owned(),
        };
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::from(body.clone())) else { return "no request".into() };
    let given =
        request.headers().get("x-hub-signature-256").and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
    let right = |secret: &str| given.as_deref() == Some(signed(secret, &body).as_str());
    let (shop, blog) = (right(SECRET), right(OTHER));
    let (code, answer) = block_on(async {
        let response = receive(State(Arc::new(endpoint)), request).await;
        (response.status().as_u16(), to_bytes(response.into_body(), 1 << 20).await.unwrap())
    });
    let fetched = std::mem::take(&mut *sources.0.lock().unwrap());
    let allowed = |source: &String| source == "shop" && shop || source == "blog" && blog;
    assert!(fetched.iter().all(allowed), "{fetched:?} for {given:?}");
    assert_eq!(code == 401, !shop && !blog, "{code} for {given:?}");
    assert!(matches!(code, 200 | 202 | 400 | 401), "{code}");
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    assert!(answer.to_string().len() <= 2 * input.len() + 1000, "an answer of {} bytes", answer.to_string().len());
    format!("{code} {} {}", answer["result"], fetched.len())
}

/// Where people log in, and its key.
static LOGINS: LazyLock<(Oidc, EcdsaKeyPair, JwkSet)> = LazyLock::new(|| {
    let setting = json!({
        "issuer": "https://sso.example", "clientId": "hks", "clientSecret": {"env": "NONE"},
        "groups": {"shop": {"sources": ["shop"]}, "": {"sources": []}},
    });
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y}]});
    (serde_json::from_value(setting).unwrap(), key, serde_json::from_value(keys).unwrap())
});

/// What a provider answers who is asked who has logged in: header and claims, signed or not.
pub const LOGIN: Target = Target {
    name: "login",
    run: login,
    words: &[
        "signed",
        "\"alg\":",
        "\"ES256\"",
        "\"HS256\"",
        "\"none\"",
        "\"kid\":",
        "\"a\"",
        "\"iss\":",
        "\"https://sso.example\"",
        "\"aud\":",
        "\"hks\"",
        "[\"hks\",\"x\"]",
        "\"azp\":",
        "\"sub\":",
        "\"exp\":",
        "99999999999",
        "1",
        "\"nbf\":",
        "\"nonce\":",
        "\"n-1\"",
        "\"groups\":",
        "[\"shop\"]",
        "\"shop\"",
        "\"preferred_username\":",
        "\"email\":",
        "null",
        "{",
        "}",
        ",",
        CUT,
    ],
    grow: None,
    most: 2000,
    tries: 400,
};

fn login(input: &[u8]) -> String {
    let [header, claims, tag] = parts::<3>(input);
    let (setting, key, keys) = &*LOGINS;
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&claims));
    let signed = tag.trim() == "signed";
    let tag =
        if signed { URL_SAFE_NO_PAD.encode(key.sign(&SystemRandom::new(), text.as_bytes()).unwrap()) } else { tag };
    let told = believed(setting, "https://sso.example", keys, &format!("{text}.{tag}"), "n-1");
    let person = match told {
        Ok(person) => person,
        Err(error) => return format!("{error:#}").chars().take(60).collect(),
    };
    assert!(signed, "believed without a signature");
    let header: Value = serde_json::from_str(&header).expect("a header is JSON");
    let claims: Value = serde_json::from_str(&claims).expect("claims are JSON");
    assert_eq!(header["alg"], "ES256");
    assert!(claims["iss"] == "https://sso.example" && claims["nonce"] == "n-1", "{claims}");
    let of_hks = claims["aud"] == "hks" || claims["aud"].as_array().is_some_and(|all| all.contains(&json!("hks")));
    assert!(of_hks && claims["exp"].as_f64().is_some_and(|end| end > 1_700_000_000.0), "{claims}");
    is_fit(&person.name);
    is_fit(&person.subject);
    assert!(person.groups.iter().all(|group| setting.groups.contains_key(group)), "{person:?}");
    format!("believed {}", person.groups.len())
}

const TOKEN: &str = "ghs_canary-5f1c";

/// What was logged, of the thread that runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers of a forge, byte for byte: what it is sent has its form, its words are told without the token, and it is not asked without
/// end.
pub const FORGE: Target = Target {
    name: "forge",
    run: forge,
    words: &[
        "HTTP/1.1 200 OK",
        "HTTP/1.1 201 Created",
        "HTTP/1.1 403 Forbidden",
        "HTTP/1.1 404 Not Found",
        "HTTP/1.1 422 Unprocessable",
        "HTTP/1.1 429 Too Many",
        "HTTP/1.1 500 Oops",
        "HTTP/1.1 302 Found",
        "location: /",
        "retry-after: 1",
        "x-ratelimit-remaining: 0",
        "x-ratelimit-reset: 9999999999",
        "content-encoding: gzip",
        "transfer-encoding: chunked",
        "\r\n",
        "[]",
        "{\"message\":",
        "\"errors\":[",
        "\"context\":\"hks/test/deploy\"",
        "\"state\":\"success\"",
        "\"id\":",
        "\"description\":",
        "null",
        TOKEN,
        "\\u001b[2J",
        "\u{1b}[2J",
        CUT,
    ],
    grow: None,
    most: 4 << 10,
    tries: 30,
};

fn forge(input: &[u8]) -> String {
    static CONNECTS: LazyLock<()> = LazyLock::new(|| drop(rustls::crypto::ring::default_provider().install_default()));
    LazyLock::force(&CONNECTS);
    let [first, later, said] = parts::<3>(input);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let asked = tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, converse([first, later], &said))
    });
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(!log.contains(TOKEN), "the token is logged: {log}");
    assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
    assert!(log.lines().count() <= 2 * asked.len() + 2 && log.len() <= 2000 * (asked.len() + 1), "{log}");
    assert!(!asked.is_empty() && asked.len() <= 40, "{} requests", asked.len());
    for (line, body) in &asked {
        if line.starts_with("POST") {
            let body: Value = serde_json::from_slice(body).expect("a status is JSON");
            is_fit(body["description"].as_str().unwrap());
            assert_eq!((&body["context"], &body["state"]), (&"hks/test/deploy".into(), &"failure".into()));
        }
        assert!(line.contains("/repos/acme/shop/"), "{line}");
    }
    let posts = asked.iter().filter(|(line, _)| line.starts_with("POST")).count();
    let told = log.split(": ").nth(1).unwrap_or_default();
    format!("{} {posts} {told}", asked.len().min(4))
}

/// The forge gives these answers, the last one to all further questions; returns what it was asked.
async fn converse(answers: [String; 2], said: &str) -> Vec<(String, Vec<u8>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}/api", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(vec![]));
    let first = Arc::new(Notify::new());
    let server = tokio::task::spawn_local({
        let (asked, first) = (Arc::clone(&heard), Arc::clone(&first));
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = asked.lock().unwrap().len();
                let heard = answer(stream, &answers[count.min(1)]).await;
                if heard.is_some() {
                    first.notify_one();
                }
                asked.lock().unwrap().extend(heard);
            }
        }
    });
    let mut config = ForgeConfig::new(ForgeKind::Gitea, api, "acme/shop", Hidden::new(TOKEN), "hks/test/deploy");
    (config.retry, config.pause) = (Duration::from_mins(1), Duration::from_mins(1));
    let poster = Poster::start(config, Arc::new(Metrics::default()));
    let revision = Revision::new("0123456789abcdef0123456789abcdef01234567");
    poster.post(Status::new(&revision, StatusState::Failure, said), None);
    tokio::time::timeout(Duration::from_secs(20), first.notified()).await.expect("the forge is asked");
    // one that is to be asked again later is left alone
    poster.flush(Duration::from_millis(25)).await;
    server.abort();
    std::mem::take(&mut heard.lock().unwrap())
}

/// Reads one request, and answers it byte for byte.
async fn answer(mut stream: TcpStream, answer: &str) -> Option<(String, Vec<u8>)> {
    let mut heard = vec![];
    let (head, length) = loop {
        if stream.read_buf(&mut heard).await.ok()? == 0 {
            return None;
        }
        let Some(end) = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&heard[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0_usize);
        break (end + 4, length);
    };
    while heard.len() < head + length && stream.read_buf(&mut heard).await.ok()? > 0 {}
    let line = String::from_utf8_lossy(&heard).lines().next().unwrap_or_default().to_owned();
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    Some((line, heard[head..].to_vec()))
}

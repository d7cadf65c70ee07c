//! Who may read what of the HTTP endpoint.

#![expect(clippy::disallowed_methods, reason = "tokens in files")]

mod endpoint;

use endpoint::{Daemon, answer, key, publish, source, two_sources, view};
use hks::config::{self, Credential, Reader};
use hks::record::Want;
use hks::report::StackState;
use hks::shell::web::access::Access;
use serde_json::json;
use std::time::Duration;

/// S11: a team sees its own Stacks, and nobody anything without a login.
#[tokio::test]
async fn who_has_a_token_sees_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Credential::File(path)
    };
    let reader = |token: Credential, sources: &[&str]| Reader {
        token,
        previous_token: None,
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        act: false,
    };
    let short = "too short";
    let tokens = [
        ("shop", reader(file("shop", "token-of-team-shop\n"), &["shop"])),
        ("all", reader(file("all", "token-of-the-platform"), &["*"])),
        ("new", reader(file("new", "token-of-nobody-yet"), &["not-there"])),
        ("short", reader(file("short", short), &["*"])),
        ("gone", reader(Credential::File(folder.path().join("none")), &["*"])),
    ];
    let setting = config::Access {
        tokens: tokens.map(|(name, reader)| (name.to_owned(), reader)).into(),
        ..config::Access::default()
    };
    let access = Access::new(true, key());
    access.set(&setting, None, None);
    let daemon = Daemon::guarded(two_sources(), access).await;
    for name in ["shop", "blog"] {
        daemon.board.publish_source(source(name));
        publish(&daemon.board, name, view(&format!("{name}-one"), StackState::Settled));
    }
    let ask = async |path: &str, token: &str| {
        let request = daemon.client.get(format!("{}{path}", daemon.base)).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let read = ["/", "/stacks/shop-one", "/api/v1/status", "/api/v1/stacks/shop-one", "/api/v1/stacks/x", "/metrics"];
    for path in read {
        let response = daemon.client.get(format!("{}{path}", daemon.base)).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers().get_all("www-authenticate").iter().count(), 2);
        assert!(!response.text().await.unwrap().contains("shop"), "{path}");
        for wrong in ["", short, "token-of-team-sho", "token-of-team-shop2"] {
            assert_eq!(ask(path, wrong).await.0, 401, "{path} {wrong}");
        }
        let (code, text) = ask(path, "token-of-team-shop").await;
        assert!(!text.contains("blog"), "{path} {text}");
        let expected = match path {
            "/metrics" => 403,
            "/api/v1/stacks/x" => 404,
            _ => 200,
        };
        assert_eq!(code, expected, "{path}");
        assert_ne!(ask(path, "token-of-the-platform").await.0, 401);
    }
    assert_eq!(ask("/stacks/blog-one", "token-of-team-shop").await.0, 404);
    assert_eq!(ask("/api/v1/stacks/blog-one?source=blog", "token-of-team-shop").await.0, 404);
    assert!(ask("/", "token-of-the-platform").await.1.contains("blog-one"));
    assert_eq!(ask("/metrics", "token-of-the-platform").await.0, 200);
    let by_password = daemon.client.get(format!("{}/", daemon.base)).basic_auth("ada", Some("token-of-team-shop"));
    assert!(by_password.send().await.unwrap().text().await.unwrap().contains("shop-one"));
    // who may see nothing is not told that there is nothing
    let (code, text) = ask("/", "token-of-nobody-yet").await;
    assert!(
        code == 200 && text.contains("nothing here that you may see") && !text.contains("nothing is deployed"),
        "{text}"
    );
    // probes, the version and webhooks need none
    for path in ["/healthz", "/version", "/style.css"] {
        assert_eq!(daemon.get(path).await.0, 200, "{path}");
    }
    assert_eq!(daemon.hook().send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn what_others_reach_shows_nothing_unless_that_was_said() {
    let closed = Daemon::guarded(two_sources(), Access::new(false, key())).await;
    let (code, text) = closed.get("/api/v1/status").await;
    assert!(code == 403 && text.contains("access.tokens"), "{text}");
    let open = Access::new(false, key());
    open.set(&config::Access { anonymous: true, ..config::Access::default() }, None, None);
    let open = Daemon::guarded(two_sources(), open).await;
    assert_eq!(open.get("/api/v1/status").await.0, 200);
    // with others that only act by a token
    let text = |act| {
        format!(
            "cluster: c\naccess: {{anonymous: true, tokens: {{ci: {{token: {{file: /none}}, sources: [\"*\"], act: {act}}}}}}}\nsources: {{}}\n"
        )
    };
    let parse = |act| config::Config::parse(&text(act), std::path::Path::new("hks.yaml"));
    assert!(parse("false").is_err_and(|error| format!("{error:#}").contains("only needed to act")));
    let both = Access::new(false, key());
    both.set(&parse("true").unwrap().access, None, None);
    let both = Daemon::guarded(two_sources(), both).await;
    assert_eq!(both.get("/api/v1/status").await.0, 200);
    let wrong = both.client.get(format!("{}/", both.base)).bearer_auth("some-token-of-nobody");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
}

/// Who may act by the endpoint: a token that says so, in its sources, and no page of another site on behalf of a browser that
/// knows it.
#[tokio::test]
async fn who_has_a_token_for_it_may_act() {
    let folder = tempfile::tempdir().unwrap();
    let token = |name: &str, act| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("token-of-{name}-person")).unwrap();
        let reader = Reader { token: Credential::File(path), previous_token: None, sources: vec!["shop".into()], act };
        (name.to_owned(), reader)
    };
    let access = Access::new(true, key());
    let tokens = [token("acting", true), token("reading", false)].into();
    access.set(&config::Access { tokens, ..config::Access::default() }, None, None);
    let daemon = Daemon::guarded(two_sources(), access).await;
    publish(&daemon.board, "shop", view("one", StackState::Settled));
    publish(&daemon.board, "blog", view("two", StackState::Settled));
    let post = |path: &str| daemon.client.post(format!("{}{path}", daemon.base));
    let acting = |path: &str| post(path).bearer_auth("token-of-acting-person");
    let asked = || std::mem::take(&mut *daemon.desk.asked.lock().unwrap());
    let suspend = "/api/v1/stacks/one/suspend";

    let (code, told) = answer(acting(suspend).json(&json!({"reason": "moving"})).send().await.unwrap()).await;
    assert_eq!((code, &told["answered"], &told["id"]), (200, &json!(true), &json!("w-1")));
    let wanted = Want::Suspend { reason: "moving".into() };
    assert_eq!(asked(), [("shop".to_owned(), "one".to_owned(), wanted, "token:acting".to_owned())]);
    for (request, expected) in [
        (post(suspend), 401),
        (post(suspend).bearer_auth("token-of-reading-person"), 403),
        (acting(suspend).header("sec-fetch-site", "cross-site"), 403),
        (acting(suspend).header("origin", "https://evil.example"), 403),
        (acting("/api/v1/stacks/two/suspend"), 404),
        (acting("/api/v1/stacks/none/suspend"), 404),
        (acting("/api/v1/stacks/one/destroy"), 400),
        (acting("/api/v1/stacks/one/rollback"), 400),
        (acting(suspend).body("{"), 400),
        (acting(suspend).body("x".repeat(9000)), 413),
        (
            post("/stacks/one")
                .basic_auth("me", Some("token-of-acting-person"))
                .header("sec-fetch-site", "same-site")
                .header("content-type", "application/x-www-form-urlencoded")
                .body("act=retry"),
            403,
        ),
    ] {
        let response = request.send().await.unwrap();
        let (code, text) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!((code, asked().len()), (expected, 0), "{text}");
    }
    *daemon.desk.refuses.lock().unwrap() = Some("it is not suspended".into());
    let (code, told) = answer(acting("/api/v1/stacks/one/resume").send().await.unwrap()).await;
    assert!(code == 409 && told["error"] == "it is not suspended", "{told}");

    // a page shows its forms to who may use them, and they come from the page itself
    let page = async |token: &str| {
        let request = daemon.client.get(format!("{}/stacks/one", daemon.base)).basic_auth("me", Some(token));
        request.send().await.unwrap().text().await.unwrap()
    };
    assert!(!page("token-of-reading-person").await.contains("<form"));
    let shown = page("token-of-acting-person").await;
    assert!(
        shown.contains(r#"action="/stacks/one?source=shop""#) && shown.contains("value=\"1111111aaaa\""),
        "{shown}"
    );
    asked();
    let form = |body: &'static str| {
        let request = post("/stacks/one?source=shop").basic_auth("me", Some("token-of-acting-person"));
        let request = request.header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    let refused = form("act=rollback&to=1111111aaaa").await.unwrap();
    assert_eq!(refused.status(), 409);
    assert!(refused.text().await.unwrap().contains("it is not suspended"));
    *daemon.desk.refuses.lock().unwrap() = None;
    let done = form("act=rollback&to=1111111aaaa").await.unwrap();
    assert_eq!(
        (done.status().as_u16(), done.headers()["location"].to_str().unwrap()),
        (303, "/stacks/one?source=shop")
    );
    let wants = asked().into_iter().map(|(_, _, want, _)| want).collect::<Vec<_>>();
    let back = Want::RollBack { to: "1111111aaaa".into() };
    assert_eq!(wants, [back.clone(), back]);
}

/// Where everybody on this machine may read, nobody acts: any page that is open in a browser could.
#[tokio::test]
async fn nobody_acts_without_a_token() {
    let daemon = Daemon::start(two_sources()).await;
    publish(&daemon.board, "shop", view("one", StackState::Settled));
    let response = daemon.client.post(format!("{}/api/v1/stacks/one/retry", daemon.base)).send().await.unwrap();
    let (code, told) = answer(response).await;
    assert!(code == 403 && told["error"].as_str().unwrap().contains("somebody who may act"), "{told}");
    assert!(!daemon.get("/stacks/one").await.1.contains("<form"));
    assert!(daemon.desk.asked.lock().unwrap().is_empty());
}

/// S11: tokens and passwords don't travel in the clear where there is a certificate.
#[tokio::test]
async fn the_endpoint_speaks_https() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let setting = config::Tls { certificate: fixtures.join("first.crt"), key: fixtures.join("first.key") };
    let acceptor = hks::shell::web::tls::acceptor(&setting).unwrap();
    let daemon = Daemon::secured(two_sources(), Access::new(true, key()), Some(acceptor)).await;
    assert!(daemon.base.starts_with("https://"));
    let authority = reqwest::Certificate::from_pem(&std::fs::read(&setting.certificate).unwrap()).unwrap();
    let client = || reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20));
    let client_of = |builder: reqwest::ClientBuilder| builder.build().unwrap();
    // who connects and says nothing holds up nobody
    let address = daemon.base.trim_start_matches("https://").to_owned();
    let mut silent = vec![];
    for _ in 0..20 {
        silent.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    let trusting = client_of(client().tls_certs_only([authority]));
    let response = trusting.get(format!("{}/healthz", daemon.base)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, "ok\n"));
    let large =
        trusting.post(format!("{}/webhooks/github", daemon.base)).body("x".repeat(300_000)).send().await.unwrap();
    assert_eq!(large.status(), 401);
    assert!(daemon.client.get(format!("{}/healthz", daemon.base)).send().await.is_err(), "nobody vouches for it");
    let plain = client_of(client()).get(format!("http://{address}/healthz"));
    assert!(plain.send().await.is_err());
}

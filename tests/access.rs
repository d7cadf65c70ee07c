//! Who may read what of the HTTP endpoint.

#![expect(clippy::disallowed_methods, reason = "tokens in files")]

mod endpoint;

use endpoint::{Daemon, publish, source, two_sources, view};
use hks::config::{self, Credential, Reader};
use hks::report::StackState;
use hks::shell::web::access::Access;

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
    };
    let short = "too short";
    let tokens = [
        ("shop", reader(file("shop", "token-of-team-shop\n"), &["shop"])),
        ("all", reader(file("all", "token-of-the-platform"), &["*"])),
        ("short", reader(file("short", short), &["*"])),
        ("gone", reader(Credential::File(folder.path().join("none")), &["*"])),
    ];
    let setting =
        config::Access { anonymous: false, tokens: tokens.map(|(name, reader)| (name.to_owned(), reader)).into() };
    let access = Access::new(true);
    access.set(&setting, None);
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
    // probes, the version and webhooks need none
    for path in ["/healthz", "/version", "/style.css"] {
        assert_eq!(daemon.get(path).await.0, 200, "{path}");
    }
    assert_eq!(daemon.hook().send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn what_others_reach_shows_nothing_unless_that_was_said() {
    let closed = Daemon::guarded(two_sources(), Access::new(false)).await;
    let (code, text) = closed.get("/api/v1/status").await;
    assert!(code == 403 && text.contains("access.tokens"), "{text}");
    let open = Access::new(false);
    open.set(&config::Access { anonymous: true, ..config::Access::default() }, None);
    assert_eq!(Daemon::guarded(two_sources(), open).await.get("/api/v1/status").await.0, 200);
}

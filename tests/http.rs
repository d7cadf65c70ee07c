//! The HTTP endpoint as clients see it: pages, API, probes and webhooks.

mod endpoint;

use endpoint::{
    Daemon, EXAMPLE, HOSTILE, NEW, OLD, OLD_SECRET, Routes, SECRET, answer, publish, push, sign, source, two_sources,
    view,
};
use hks::ident::Revision;
use hks::plan::Difference;
use hks::record::Suspended;
use hks::report::{DriftView, Ended, Readiness, StackState, TroubleView, View, Why};
use hks::rollout::Cause;
use hks::shell::metrics::OutcomeLabels;
use hks::shell::web::board::SourceView;
use jiff::SignedDuration;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn probes_and_metrics() {
    let daemon = Daemon::start(Routes::default()).await;
    assert_eq!(daemon.get("/healthz").await, (200, "ok\n".into()));
    assert_eq!(daemon.get("/readyz").await.0, 503);
    daemon.ready.send_replace(true);
    assert_eq!(daemon.get("/readyz").await, (200, "ok\n".into()));
    assert_eq!(daemon.json("/version").await.1["version"], env!("CARGO_PKG_VERSION"));
    daemon.metrics.statuses.get_or_create(&OutcomeLabels { result: "posted" }).inc();
    let response = daemon.client.get(format!("{}/metrics", daemon.base)).send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let text = response.text().await.unwrap();
    assert!(text.contains("hks_status_posts_total{result=\"posted\"} 1") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn the_api_tells_all_stacks_and_one() {
    let daemon = Daemon::start(Routes::default()).await;
    daemon.board.publish_source(source("shop"));
    publish(&daemon.board, "shop", view("todo", StackState::Settled));
    publish(&daemon.board, "shop", view("web", StackState::Held(Ended::Restored)));
    publish(&daemon.board, "blog", view("web", StackState::Settled));

    let (code, all) = daemon.json("/api/v1/status").await;
    assert_eq!((code, &all["apiVersion"], &all["cluster"]), (200, &json!("hks/v1"), &json!("prod")));
    assert_eq!(all["sources"][0]["branch"], "main");
    let names: Vec<_> =
        all["stacks"].as_array().unwrap().iter().map(|stack| (&stack["source"], &stack["name"])).collect();
    assert_eq!(
        names,
        [(&json!("blog"), &json!("web")), (&json!("shop"), &json!("todo")), (&json!("shop"), &json!("web"))]
    );
    assert_eq!(all["stacks"][2]["desiredRevision"], NEW);
    assert_eq!(all["stacks"][2]["appliedRevision"], OLD);

    let (code, one) = daemon.json("/api/v1/stacks/todo").await;
    assert_eq!((code, &one["apiVersion"], &one["source"]), (200, &json!("hks/v1"), &json!("shop")));
    assert_eq!(one["apps"][0]["image"], "ghcr.io/acme/web:1.4.2");
    assert_eq!(one["history"][0]["outcome"], "rolledBack");

    let (code, several) = daemon.json("/api/v1/stacks/web").await;
    assert_eq!((code, several["choices"].as_array().unwrap().len()), (300, 2));
    let (code, one) = daemon.json(several["choices"][1]["url"].as_str().unwrap()).await;
    assert_eq!((code, &one["state"]), (200, &json!("held")));

    let (code, none) = daemon.json("/api/v1/stacks/nope").await;
    assert_eq!((code, &none["known"]), (404, &json!(["todo", "web"])));
    assert_eq!(daemon.json("/api/v1/stacks/web?source=nope").await.0, 404);
}

#[tokio::test]
async fn what_is_not_there_is_told_as_json() {
    let daemon = Daemon::start(Routes::default()).await;
    for path in ["/nope", "/api/v1/nope", "/favicon.ico"] {
        let (code, body) = daemon.json(path).await;
        assert_eq!(code, 404);
        assert!(body["error"].is_string());
    }
    let (code, body) = answer(daemon.client.post(format!("{}/healthz", daemon.base)).send().await.unwrap()).await;
    assert_eq!(code, 405);
    assert!(body["error"].is_string());
    let (code, body) = daemon.json("/api/v1/stacks/%ff").await;
    assert_eq!(code, 400);
    assert!(body["error"].is_string());
    let large = daemon.client.get(format!("{}/", daemon.base)).body(vec![b'x'; (1 << 20) + 1]);
    assert_eq!(answer(large.send().await.unwrap()).await.0, 413);
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let daemon = Daemon::start(two_sources()).await;
    for path in ["/", "/stacks/x", "/style.css", "/api/v1/status", "/api/v1/stacks/x", "/healthz", "/metrics", "/nope"]
    {
        let response = daemon.client.get(format!("{}{path}", daemon.base)).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
    }
    assert!(daemon.hook().send().await.unwrap().headers().contains_key("content-security-policy"));
}

#[tokio::test]
async fn pages_say_first_what_needs_attention() {
    let daemon = Daemon::start(Routes::default()).await;
    assert!(daemon.get("/").await.1.contains("nothing is deployed yet"));
    daemon.board.publish_source(source("shop"));
    publish(&daemon.board, "shop", view("alpha", StackState::Settled));
    publish(&daemon.board, "shop", view("beta", StackState::Settled));
    let (code, html) = daemon.get("/").await;
    assert_eq!(code, 200);
    assert!(html.contains("all 2 stacks are settled") && !html.contains("http-equiv=\"refresh\""), "{html}");
    publish(&daemon.board, "shop", View { activity: "apps".into(), ..view("alpha", StackState::Deploying) });
    assert!(daemon.get("/").await.1.contains("<meta http-equiv=\"refresh\" content=\"5\">"));
    let cause = "image pull failed (manifest unknown): ghcr.io/acme/web:9";
    let log = Some("panic: no such table".into());
    publish(
        &daemon.board,
        "shop",
        View { cause: Some(cause.into()), log, ..view("beta", StackState::Held(Ended::Restored)) },
    );
    let html = daemon.get("/").await.1;
    assert!(html.contains("1 stack needs attention"), "{html}");
    assert!(html.find("/stacks/beta").unwrap() < html.find("/stacks/alpha").unwrap(), "failing ones come first");
    let (code, html) = daemon.get("/stacks/beta").await;
    assert_eq!(code, 200);
    for part in [
        cause,
        "panic: no such table",
        "wants <code title=\"9d03e7b",
        "runs <code title=\"4f1c2ab",
        "ghcr.io/acme/web:1.4.2",
        "2/2",
        "12m cpu, 80Mi memory",
        "10Gi",
        "rolled back",
        "48 s",
        "25 h ago",
        "hks status beta",
        "hks history beta",
        "hks rollback beta --to 1111111aaaa",
        "href=\"http://beta.apps.localhost:18080\"",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert!(html.find(cause).unwrap() < html.find("Apps").unwrap(), "the cause comes first");
    let (code, html) = daemon.get("/stacks/nope").await;
    assert_eq!(code, 404);
    assert!(html.contains("/stacks/beta"), "{html}");
    publish(&daemon.board, "blog", view("beta", StackState::Settled));
    assert_eq!(daemon.get("/stacks/beta").await.0, 300);
    let since = hks::shell::clock::now() - SignedDuration::from_mins(10);
    let trouble = TroubleView { component: "web".into(), cause: "web crashes (exit code 1)".into(), since };
    let mut degraded = View { troubles: vec![trouble], ..view("gamma", StackState::Degraded) };
    (degraded.apps[0].readiness, degraded.apps[0].replicas) = (Readiness::Parked, 0);
    publish(&daemon.board, "shop", degraded);
    let html = daemon.get("/stacks/gamma").await.1;
    assert!(html.contains("degraded") && html.contains("parked"), "{html}");
    assert!(html.contains("web crashes (exit code 1)") && html.contains("10 min ago"), "{html}");
    let mut suspended = view("delta", StackState::Suspended(Why::Asked));
    suspended.suspended = Some(Suspended { by: "eve".into(), at: since, reason: "audit".into() });
    publish(&daemon.board, "shop", suspended);
    let (_, json) = daemon.json("/api/v1/stacks/delta").await;
    assert_eq!((&json["state"], &json["suspended"]["by"]), (&json!("suspended"), &json!("eve")));
    assert!(json["sentence"].as_str().unwrap().starts_with("suspended by eve 10 min ago (audit)"), "{json}");
    daemon.board.forget("shop");
    publish(&daemon.board, "shop", view("beta", StackState::Settled));
    assert_eq!(daemon.get("/stacks/beta?source=blog").await.0, 200);
    let mut troubled = source("shop");
    troubled.error = Some("failed to fetch: connection refused".into());
    daemon.board.publish_source(troubled);
    let html = daemon.get("/").await.1;
    assert!(html.contains("failed to fetch: connection refused"), "{html}");
    assert!(html.contains("1 source needs attention"), "{html}");
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let daemon = Daemon::start(Routes::default()).await;
    let text = || HOSTILE.to_owned();
    let mut hostile = view("todo", StackState::Held(Ended::Restored));
    (hostile.namespace, hostile.activity, hostile.cause, hostile.log) = (text(), text(), Some(text()), Some(text()));
    hostile.urls = vec![format!("https://x/{HOSTILE}"), format!("javascript:{HOSTILE}"), "data:text/html,x".into()];
    (hostile.apps[0].name, hostile.apps[0].image, hostile.apps[0].limits) = (text(), text(), text());
    (hostile.databases[0].name, hostile.databases[0].storage) = (text(), text());
    let fields = vec![Difference { field: text(), live: Some(text()), wanted: text() }];
    hostile.drift = vec![DriftView { object: text(), fields }, DriftView { object: text(), fields: vec![] }];
    hostile.retained = vec![text()];
    let last = Arc::make_mut(&mut hostile.history[0]);
    last.description = text();
    last.revision = Revision::new(HOSTILE);
    last.cause = Some(Cause::Unavailable { message: text() });
    publish(&daemon.board, "shop", hostile);
    let mut troubled = source("shop");
    (troubled.url, troubled.branch, troubled.error) = (format!("javascript:{HOSTILE}"), text(), Some(text()));
    troubled.problems = vec![text()];
    daemon.board.publish_source(troubled);
    for path in ["/", "/stacks/todo", "/stacks/%3Cscript%3Ealert('x')%3C%2Fscript%3E"] {
        let html = daemon.get(path).await.1;
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
        assert!(!html.contains("href=\"javascript:") && !html.contains("href=\"data:"), "{html}");
    }
}

#[tokio::test]
async fn a_webhook_needs_a_signature() {
    let daemon = Daemon::start(two_sources()).await;
    let body = push("acme/shop", "refs/heads/main");
    let wrong = [
        None,
        Some(sign("wrong", &body)),
        Some(sign(SECRET, &format!("{body} "))),
        Some(sign("", &body)),
        Some("sha256=".into()),
        Some("sha256=zz".into()),
        Some(sign(SECRET, &body).replace("sha256=", "sha1=")),
    ];
    let tries = wrong.len() as u64;
    for signature in wrong {
        let mut request = daemon.hook().header("x-github-event", "push");
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        let (code, answer) = answer(request.body(body.clone()).send().await.unwrap()).await;
        assert_eq!(code, 401);
        assert!(answer["error"].is_string());
    }
    assert_eq!((daemon.fetched().len(), daemon.count("unauthorized")), (0, tries));
}

#[tokio::test]
async fn the_published_example_is_accepted() {
    let daemon = Daemon::start(two_sources()).await;
    let request = daemon.hook().header("x-github-event", "ping").header("x-hub-signature-256", EXAMPLE);
    let (code, answer) = answer(request.body("Hello, World!").send().await.unwrap()).await;
    assert_eq!((code, &answer["delivery"]), (200, &json!("d-1")));
}

#[tokio::test]
async fn a_push_makes_only_its_source_fetch() {
    let daemon = Daemon::start(two_sources()).await;
    let body = push("acme/shop", "refs/heads/main");
    for secret in [SECRET, OLD_SECRET] {
        let (code, answer) = daemon.deliver("push", secret, &body).await;
        assert_eq!((code, &answer["result"]), (202, &json!("queued")));
        assert_eq!(daemon.fetched(), ["shop"]);
    }
    // another source's secret says nothing about this repository
    for (event, secret, body) in [
        ("push", "another", body.clone()),
        ("push", SECRET, push("acme/shop", "refs/heads/topic")),
        ("push", SECRET, push("acme/blog", "refs/heads/main")),
        ("issues", SECRET, body.clone()),
    ] {
        let (code, answer) = daemon.deliver(event, secret, &body).await;
        assert_eq!((code, &answer["result"], &answer["delivery"]), (202, &json!("ignored"), &json!("d-1")));
    }
    let (code, answer) = daemon.deliver("push", SECRET, "{").await;
    assert_eq!(code, 400, "{answer}");
    assert_eq!(daemon.fetched(), [""; 0]);
    assert_eq!((daemon.count("queued"), daemon.count("ignored"), daemon.count("invalid")), (2, 4, 1));
}

#[tokio::test]
async fn a_push_may_come_as_a_form_and_be_large() {
    let daemon = Daemon::start(two_sources()).await;
    let json = push("acme/shop", "refs/heads/main");
    let form = format!("x=1&payload={}", json.replace('{', "%7B").replace('"', "%22").replace(' ', "+"));
    let kind = "application/x-www-form-urlencoded";
    let request = daemon.hook().header("x-github-event", "push").header("content-type", kind);
    let request = request.header("x-hub-signature-256", sign(SECRET, &form)).body(form);
    assert_eq!(answer(request.send().await.unwrap()).await.1["result"], "queued");
    let large = format!("{}{json}", " ".repeat(2 << 20));
    assert_eq!(daemon.deliver("push", SECRET, &large).await.1["result"], "queued");
    assert_eq!(daemon.fetched(), ["shop", "shop"]);
    let larger = format!("{}{json}", " ".repeat(25 << 20));
    assert_eq!(daemon.deliver("push", SECRET, &larger).await.0, 413);
}

#[tokio::test]
async fn without_a_secret_there_is_no_route() {
    let mut routes = two_sources();
    routes.sources = vec![("shop", vec![""], "acme/shop"), ("blog", vec![], "acme/blog")];
    let daemon = Daemon::start(routes).await;
    let (code, _) = daemon.deliver("push", "", &push("acme/shop", "refs/heads/main")).await;
    assert_eq!((code, daemon.fetched().len()), (404, 0));
}

#[tokio::test]
async fn no_secret_is_ever_told() {
    let daemon = Daemon::start(two_sources()).await;
    daemon.board.publish_source(source("shop"));
    publish(&daemon.board, "shop", view("todo", StackState::Held(Ended::Restored)));
    let body = push("acme/shop", "refs/heads/main");
    let mut all = String::new();
    for path in ["/", "/stacks/todo", "/api/v1/status", "/api/v1/stacks/todo", "/metrics", "/version", "/nope"] {
        all.push_str(&daemon.get(path).await.1);
    }
    for (event, secret) in [("push", OLD_SECRET), ("ping", OLD_SECRET), ("push", "wrong")] {
        all.push_str(&daemon.deliver(event, secret, &body).await.1.to_string());
    }
    for secret in [SECRET, OLD_SECRET] {
        assert!(!all.contains(secret), "{all}");
    }
}

#[tokio::test]
async fn it_stops_when_told_although_connections_are_open() {
    let daemon = Daemon::start(Routes::default()).await;
    // one kept alive by the client, one that never says what it wants
    daemon.get("/healthz").await;
    let address = daemon.base.trim_start_matches("http://").to_owned();
    let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
    let _ = daemon.stop.send(());
    tokio::time::timeout(Duration::from_secs(20), daemon.server).await.unwrap().unwrap().unwrap();
    assert!(daemon.client.get(format!("{}/healthz", daemon.base)).send().await.is_err());
}

/// For looking at the pages: `cargo test --test http example -- --ignored --nocapture` prints the address.
#[tokio::test]
#[ignore = "serves example data for five minutes"]
async fn example() {
    let daemon = Daemon::start(Routes::default()).await;
    daemon.board.publish_source(source("shop"));
    let error = Some("failed to fetch: connection refused".into());
    daemon.board.publish_source(SourceView { error, ..source("blog") });
    publish(&daemon.board, "shop", view("todo", StackState::Settled));
    publish(
        &daemon.board,
        "shop",
        View { activity: "apps: 1 of 2 pods ready".into(), ..view("cart", StackState::Deploying) },
    );
    let fields = vec![Difference { field: "spec.replicas".into(), live: Some("5".into()), wanted: "2".into() }];
    let drift = vec![DriftView { object: "Deployment/api-web".into(), fields }];
    let cause = Some("image pull failed (manifest unknown): ghcr.io/acme/web:1.4.3".into());
    let log = Some("2026-05-04T10:00:00Z starting\nerror: relation \"todos\" does not exist".into());
    let retained = vec!["PersistentVolumeClaim/api-old-db-data".into()];
    publish(
        &daemon.board,
        "shop",
        View { cause, log, drift, retained, ..view("api", StackState::Held(Ended::Restored)) },
    );
    eprintln!("{}", daemon.base);
    tokio::time::sleep(Duration::from_mins(5)).await;
}

//! What stands before the apps, on the real cluster: a Gateway with headers, redirects and HTTPS, and versions of TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use std::process::Command;
use support::{World, kit};

/// A web server that answers `/cgi-bin/env` with the headers of the request, and what stands before it.
fn stack(ingress: &str) -> String {
    let serve = "mkdir -p /tmp/www/cgi-bin; cd /tmp/www; echo hello > index.html; printf \"#!/bin/sh\\necho; env\" > cgi-bin/env; \
                 chmod +x cgi-bin/env; exec httpd -f -p 8080 -h /tmp/www";
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: edge}}\napps:\n  web:\n    image: {registry}/busybox:1\n    \
         command: [sh, -c, '{serve}']\n    ports: {{http: 8080}}\n    probes: {{readiness: {{path: /, period: 1s}}}}\n    shutdown: {{gracePeriod: 1s}}\n    \
         resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: 100m, memory: 32Mi}}}}\ningress:\n  public:\n    paths: \
         {{/: web}}\n{ingress}",
        registry = kit().registry,
    )
}

/// What curl prints of an answer, headers first, with the exit code; it trusts the authority of the cluster.
fn curl(args: &[&str], url: &str) -> (i32, String) {
    let authority = &kit().tls.as_ref().expect("an authority").1;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "5", "--noproxy", "*", "--cacert"])
        .arg(authority)
        .args(args)
        .arg(url)
        .output()
        .expect("curl runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).replace('\r', ""))
}

/// A world whose daemon serves `https://….<domain>` at `edge`; nothing on a cluster without these parts.
fn world(name: &str, source: &str, settings: &str) -> Option<World> {
    let (domain, _) = kit().tls.as_ref()?;
    let mut world = World::new(name);
    world.extra = format!("    domain: {domain}\n{source}");
    world.settings = format!("scheme: https\n{settings}");
    Some(world)
}

#[test]
fn a_gateway_sets_headers_and_sends_clients_on() {
    let Some(gateway) = &kit().gateway else { return };
    let source = format!("    gateway: {{name: {gateway}, http: web, https: websecure}}\n");
    let Some(mut world) = world("gateway", &source, "") else { return };
    let ingress = "    tls: {minVersion: \"1.2\"}\n    headers: {X-Frame-Options: DENY, Accept-Ranges: \"\"}\n    requestHeaders: \
                   {X-Shop: one, User-Agent: \"\"}\n    redirects: {/old: {to: \"https://www.example.com/new\", code: 301}}\n";
    world.settings += "ingressTls: {minVersion: \"1.2\"}\n";
    let sha = world.push_stack(&stack(ingress));
    world.start();
    world.settled("edge", &sha);
    let url = world.url("edge");
    let (code, answer) = curl(&[], &format!("{url}/"));
    assert!(code == 0 && answer.starts_with("HTTP/2 200") && answer.ends_with("hello\n"), "{code} {answer}");
    let lower = answer.to_lowercase();
    assert!(lower.contains("x-frame-options: deny\n") && !lower.contains("accept-ranges"), "{answer}");
    let (_, answer) = curl(&[], &format!("{url}/cgi-bin/env"));
    assert!(answer.contains("HTTP_X_SHOP=one\n") && !answer.contains("HTTP_USER_AGENT=curl"), "{answer}");
    let (_, answer) = curl(&[], &format!("{url}/old/page"));
    assert!(answer.contains(" 301") && answer.contains("ocation: https://www.example.com/new\n"), "{answer}");
    // by HTTP, everything leads to HTTPS
    let plain = url.replace("https://", "http://").replace(&kit().tls.as_ref().unwrap().0, &kit().domain);
    let (_, answer) = curl(&[], &format!("{plain}/page"));
    assert!(answer.contains(" 301") && answer.contains(&format!("ocation: {url}/page\n")), "{answer}");

    // what it can't do is refused before anything is touched
    let before = world.kubectl(&["get", "httproute,deployment", "-o", "jsonpath={.items[*].metadata.resourceVersion}"]);
    let sha = world.push_stack(&stack("    rateLimit: {requestsPerSecond: 5}\n"));
    let view = world.wait("edge", "refused", 30, |view| view["desiredRevision"] == sha && view["state"] == "invalid");
    let cause = view.to_string();
    assert!(
        cause.contains("the Gateway gateways/public can't do `rateLimit`; take it out of `ingress.public`"),
        "{view:#}"
    );
    let after = world.kubectl(&["get", "httproute,deployment", "-o", "jsonpath={.items[*].metadata.resourceVersion}"]);
    assert_eq!(before, after);

    // drift of a route is put back, and without a host there is no route
    world.push_stack(&stack(ingress));
    let patch = "[{\"op\": \"replace\", \"path\": \"/spec/hostnames/0\", \"value\": \"other.example.com\"}]";
    world.kubectl(&["patch", "httproute", "edge-public", "--type=json", "-p", patch]);
    let host = || world.kubectl(&["get", "httproute", "edge-public", "-o", "jsonpath={.spec.hostnames[0]}"]);
    assert!(support::until(10, || host() != "other.example.com"), "{}", host());
    let sha = world.push_stack(&stack("").replace("ingress:\n  public:\n    paths: {/: web}\n", ""));
    world.settled("edge", &sha);
    assert_eq!(world.kubectl(&["get", "httproute", "-o", "name"]), "");
}

#[test]
fn a_route_that_the_gateway_refuses_is_told() {
    let Some(gateway) = &kit().gateway else { return };
    let source = format!("    gateway: {{name: {gateway}, https: nosuch}}\n");
    let Some(mut world) = world("noroute", &source, "") else { return };
    let sha = world.push_stack(&stack(""));
    world.start();
    let view = world.held("edge", &sha);
    let cause = view.to_string();
    let refused = "the vCluster does not hand HTTPRoute/edge-public on to the Gateway public: ";
    assert!(cause.contains(refused) && cause.contains("not permitted"), "{view:#}");
    let nothing = support::until(60, || world.objects().is_empty());
    assert!(nothing, "{:?}", world.objects());
}

#[test]
fn annotations_of_nginx_answer_other_sites_path_by_path() {
    let Some(mut world) = world("nginx", "", "ingressClass: nginx\n") else { return };
    let ingress = "    tls: {}\n    cors: {origins: [\"https://one.example.com\"], methods: [GET], headers: [X-Token], maxAge: 10m}\n";
    let paths = "{/: web, /cgi-bin: {app: web, cors: {origins: [\"https://two.example.com\"], credentials: true}}}";
    let sha = world.push_stack(&stack(ingress).replace("{/: web}", paths));
    world.start();
    world.settled("edge", &sha);
    let url = world.url("edge");
    let preflight = |path: &str, origin: &str| {
        let origin = format!("Origin: {origin}");
        let args = ["-X", "OPTIONS", "-H", &origin, "-H", "Access-Control-Request-Method: GET"];
        curl(&args, &format!("{url}{path}")).1.to_lowercase()
    };
    let served =
        || preflight("/", "https://one.example.com").contains("access-control-allow-origin: https://one.example.com\n");
    assert!(support::until(10, served), "{}", preflight("/", "https://one.example.com"));
    let answer = preflight("/", "https://one.example.com");
    assert!(answer.contains("access-control-max-age: 600\n") && answer.contains("x-token"), "{answer}");
    assert!(!preflight("/", "https://two.example.com").contains("allow-origin"));
    let answer = preflight("/cgi-bin/env", "https://two.example.com");
    assert!(
        answer.contains("allow-origin: https://two.example.com\n") && answer.contains("allow-credentials: true\n"),
        "{answer}"
    );
    assert!(!preflight("/cgi-bin/env", "https://one.example.com").contains("allow-origin"));
    // by HTTP, everything leads to HTTPS
    let plain = url.replace("https://", "http://").replace(&kit().tls.as_ref().unwrap().0, &kit().domain);
    let (_, answer) = curl(&[], &plain);
    assert!(answer.contains(" 308") || answer.contains(" 301"), "{answer}");
}

#[test]
fn a_host_asks_for_a_version_of_tls() {
    let tls = "ingressKind: traefik\ningressTls: {options: {\"1.3\": tls13@file}}\n";
    let Some(mut world) = world("tls", "", tls) else { return };
    let sha = world.push_stack(&stack("    tls: {minVersion: \"1.3\"}\n"));
    world.start();
    world.settled("edge", &sha);
    let url = world.url("edge");
    let (code, answer) = curl(&["--tls-max", "1.2"], &url);
    assert_eq!(code, 35, "a handshake that fails: {answer}");
    let (code, answer) = curl(&[], &url);
    assert!(code == 0 && answer.contains("hello"), "{code} {answer}");
    // a host that does not ask lets them in
    let sha = world.push_stack(&stack("    tls: {}\n"));
    world.settled("edge", &sha);
    let in_time = support::until(10, || curl(&["--tls-max", "1.2"], &url).0 == 0);
    assert!(in_time, "{:?}", curl(&["--tls-max", "1.2"], &url));
}

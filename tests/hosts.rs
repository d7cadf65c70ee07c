//! Whose a public host is, on the real cluster: of the project that named it first, and of nobody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use serde_json::Value;
use std::fmt::Write as _;
use support::{World, kit, on_host, until};

/// A web server that answers with a word at a path of a host; without a host, of a generated one.
fn stack(word: &str, host: &str, path: &str) -> String {
    let host = if host.is_empty() { String::new() } else { format!("host: {host}, ") };
    let folder = path.trim_end_matches('/');
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: web}}\napps:\n  web:\n    image: {registry}/busybox:1\n    \
         command: [sh, -c, 'mkdir -p /tmp/www{folder}; echo {word} > /tmp/www{folder}/index.html; exec httpd -f -p 8080 -h /tmp/www']\n    \
         ports: {{http: 8080}}\n    probes: {{readiness: {{path: \"{path}\", period: 1s}}}}\n    shutdown: {{gracePeriod: 1s}}\n    resources: \
         {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: 100m, memory: 32Mi}}}}\ningress: {{public: {{{host}paths: {{\"{path}\": \
         web}}}}}}\n",
        registry = kit().registry,
    )
}

/// A project whose source may name hosts.
fn world(name: &str, hosts: &str) -> World {
    let mut world = World::new(name);
    writeln!(world.extra, "    hosts: [{hosts}]").unwrap();
    world
}

/// Waits until a commit was refused; tells why.
fn refused(world: &World, sha: &str) -> String {
    let is = |view: &Value| view["state"] == "invalid" && view["desiredRevision"] == sha;
    world.wait("web", "refused", 60, is)["cause"].as_str().unwrap().to_owned()
}

/// Asks for a refused commit once more, which may be tried by itself at that moment.
fn retry(world: &World) {
    let asked = world.hks(&["retry", "web"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
}

fn answer(url: &str) -> String {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--max-time", "5", "--noproxy", "*", "--resolve", "*:18080:127.0.0.1"])
        .arg(url)
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// S1, P9: who names a path of another project's host gets nothing of it; and the host is free once its owner gives it up.
#[test]
fn a_host_is_of_the_project_that_named_it_first() {
    let (mut first, mut second) = (world("owner", "\"*.owner.localhost\""), world("thief", "\"*\""));
    let host = format!("shop-{}.owner.localhost", std::process::id());
    let sha = first.push_stack(&stack("first", &host, "/"));
    first.start();
    first.settled("web", &sha);
    let url = first.url("web");
    assert!(url.contains(&host), "{url}");
    assert!(until(20, || answer(&url) == "first"), "{}", answer(&url));

    let sha = second.push_stack(&stack("second", &host, "/login"));
    second.start();
    let cause = refused(&second, &sha);
    assert!(cause.contains(&format!("host {host} was rejected: it belongs to another project; choose")), "{cause}");
    assert!(!cause.contains(&first.namespace), "it was told whose it is: {cause}");
    assert!(second.objects().is_empty(), "{:?}", second.objects());
    assert_eq!(answer(&url), "first");
    // a restart changes nothing, whoever comes first then
    first.kill();
    second.kill();
    second.start();
    retry(&second);
    assert!(until(30, || second.view("web")["state"] == "invalid"), "{:#}", second.view("web"));
    first.start();

    // a claim that an operator has taken away is made again for what runs
    let of = format!("hks.hexabase.ai/project={}", first.namespace);
    let lease =
        |columns: &str| on_host(&["get", "leases", "-A", "-l", &of, "-o", &format!("jsonpath={{.items[*]{columns}}}")]);
    let (name, place) = (lease(".metadata.name"), lease(".metadata.namespace"));
    assert!(name.starts_with("hks.host."), "{name}");
    assert!(until(30, || first.view("web")["state"] == "settled"), "{:#}", first.view("web"));
    first.kill();
    on_host(&["delete", "lease", &name, "-n", &place]);
    first.start();
    assert!(until(30, || lease(".metadata.name") == name), "{}", first.log());

    let sha = first.push_stack(&stack("first", "", "/"));
    first.settled("web", &sha);
    assert!(until(30, || lease(".metadata.name").is_empty()), "{}", first.log());
    retry(&second);
    assert!(until(60, || second.view("web")["state"] == "settled"), "{:#}", second.view("web"));
    let login = format!("{}/login/", second.url("web"));
    assert!(until(20, || answer(&login) == "second"), "{}", answer(&login));
}

/// Also of an Ingress that nobody of hks has made, and of two that come at the same time exactly one.
#[test]
fn a_host_that_something_else_answers_for_is_taken() {
    let (mut one, mut other) = (world("one", "\"*.both.localhost\""), world("other", "\"*.both.localhost\""));
    let host = |name: &str| format!("{name}-{}.both.localhost", std::process::id());
    let theirs = host("theirs");
    one.kubectl(&["create", "ingress", "theirs", &format!("--rule={theirs}/*=nobody:80")]);
    // what is seen of hosts may be some seconds old
    assert!(until(30, || on_host(&["get", "ingress", "-A", "-o", "jsonpath={..host}"]).contains(&theirs)));
    let sha = other.push_stack(&stack("other", &theirs, "/"));
    other.start();
    let cause = refused(&other, &sha);
    assert!(cause.contains("belongs to another project") && cause.contains("Ingresses and routes"), "{cause}");
    // in the project itself it stands in nobody's way
    let sha = one.push_stack(&stack("one", &theirs, "/mine"));
    one.start();
    one.settled("web", &sha);

    let both = host("both");
    let (a, b) = (one.push_stack(&stack("one", &both, "/")), other.push_stack(&stack("other", &both, "/")));
    let ended = |world: &World, sha: &str| {
        let view = world.view("web");
        let state = view["state"].as_str().unwrap_or_default().to_owned();
        (view["desiredRevision"] == sha && ["settled", "invalid"].contains(&&*state)).then_some(state)
    };
    assert!(until(90, || ended(&one, &a).is_some() && ended(&other, &b).is_some()), "{:#}", one.view("web"));
    let mut states = [ended(&one, &a).unwrap(), ended(&other, &b).unwrap()];
    states.sort();
    assert_eq!(states, ["invalid", "settled"]);
}

/// What a source may name is said by the platform, and its own host is never among it.
#[test]
fn hosts_are_named_by_who_may() {
    let mut world = world("hosts", "\"*.allowed.localhost\", hks.allowed.localhost");
    world.settings = "publicUrl: https://hks.allowed.localhost/\n".into();
    let sha = world.push_stack(&stack("a", "shop.elsewhere.localhost", "/"));
    world.start();
    let cause = refused(&world, &sha);
    assert!(cause.contains("shop.elsewhere.localhost is not one that this repository may have (`hosts`)"), "{cause}");
    let sha = world.push_stack(&stack("b", "hks.allowed.localhost", "/webhooks"));
    let cause = refused(&world, &sha);
    assert!(cause.contains("belongs to the platform (`reservedHosts`)"), "{cause}");
    assert!(world.objects().is_empty(), "{:?}", world.objects());
}

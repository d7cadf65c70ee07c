//! Valid hks.yaml files from bytes: each byte decides one thing, so that proptest can shrink what fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Decisions.
pub struct Tape<'a>(pub &'a [u8]);

impl Tape<'_> {
    fn below(&mut self, most: usize) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first) % most
            }
            None => 0,
        }
    }

    fn yes(&mut self) -> bool {
        self.below(3) == 1
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// A value that is there in one of three cases.
fn maybe(tape: &mut Tape<'_>, to: &mut Value, key: &str, value: impl FnOnce(&mut Tape<'_>) -> Value) {
    if tape.yes() {
        to[key] = value(tape);
    }
}

const APPS: [&str; 3] = ["api", "web-1", "worker"];

/// A Stack, as the value of an hks.yaml that is valid.
pub fn stack(tape: &mut Tape<'_>) -> Value {
    let mut stack = json!({
        "apiVersion": "hks.hexabase.ai/v1", "kind": "Stack", "metadata": { "name": tape.one(&["a", "shop", "x9-y"]) },
        "params": { "tag": tape.one(&["1.0", "latest"]) },
        "registries": { "team": { "server": "registry.example/team", "secret": "login" }, "open": { "server": "open.example:5000" } },
    });
    let (databases, caches, secrets) = (tape.below(3), tape.below(3), tape.below(3));
    for index in 0..databases {
        stack["databases"][format!("db{index}")] = database(tape);
    }
    for index in 0..caches {
        stack["caches"][format!("cache{index}")] = cache(tape);
    }
    for index in 0..secrets {
        stack["secrets"][format!("secret{index}")] = if index == 0 {
            json!({ "generate": { "key": { "length": 8 + tape.below(120) } } })
        } else {
            json!({ "from": { "existing": "theirs" } })
        };
    }
    let authority = STANDARD.encode(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
    stack["certificates"]["ca"] =
        json!({ "text": format!("-----BEGIN CERTIFICATE-----\n{authority}\n-----END CERTIFICATE-----") });
    let count = 1 + tape.below(APPS.len());
    let known = Known { databases, caches, secrets };
    for name in &APPS[..count] {
        stack["apps"][*name] = app(tape, name, &known);
    }
    if tape.yes() {
        stack["apps"]["elsewhere"] = json!({ "external": "https://www.example.com/x" });
    }
    for index in 0..tape.below(3) {
        stack["jobs"][format!("job{index}")] = job(tape, &known);
    }
    for name in ["public", "admin"].into_iter().take(tape.below(3)) {
        stack["ingress"][name] = ingress(tape);
    }
    maybe(tape, &mut stack, "deploy", |tape| json!({ "timeout": "10m", "drift": tape.one(&["correct", "report"]) }));
    stack
}

struct Known {
    databases: usize,
    caches: usize,
    secrets: usize,
}

fn resources(tape: &mut Tape<'_>) -> Value {
    json!({
        "requests": { "cpu": tape.one(&[json!("10m"), json!(0.1), json!("100m")]), "memory": tape.one(&["16Mi", "64M"]) },
        "limits": { "cpu": tape.one(&[json!(1), json!("1500m")]), "memory": tape.one(&["128Mi", "0.5Gi"]) },
    })
}

fn database(tape: &mut Tape<'_>) -> Value {
    let mut database = json!({ "engine": "postgres", "version": tape.one(&["13", "14", "15", "16", "17", "18"]) });
    maybe(tape, &mut database, "name", |_| json!("shop_db"));
    maybe(tape, &mut database, "user", |_| json!("shop_user"));
    maybe(tape, &mut database, "storage", |tape| json!({ "size": tape.one(&["1Gi", "500M", "1.5Gi"]) }));
    maybe(tape, &mut database, "resources", resources);
    maybe(
        tape,
        &mut database,
        "parameters",
        |_| json!({ "max_connections": 50, "work_mem": "8MB", "pg_stat_statements.max": 100 }),
    );
    maybe(tape, &mut database, "extensions", |_| json!(["pgcrypto", "uuid-ossp"]));
    maybe(
        tape,
        &mut database,
        "pooler",
        |tape| json!({ "mode": tape.one(&["transaction", "session"]), "replicas": 1 + tape.below(3) }),
    );
    maybe(tape, &mut database, "credentials", |_| json!({ "existing": "theirs" }));
    maybe(tape, &mut database, "onDelete", |tape| json!(tape.one(&["retain", "delete"])));
    database
}

fn cache(tape: &mut Tape<'_>) -> Value {
    let mut cache = json!({ "engine": tape.one(&["redis", "valkey"]), "version": tape.one(&["7", "8"]) });
    maybe(tape, &mut cache, "maxMemory", |tape| json!(tape.one(&["16Mi", "1Gi"])));
    maybe(tape, &mut cache, "eviction", |tape| json!(tape.one(&["allkeys-lru", "volatile-ttl"])));
    maybe(tape, &mut cache, "persistence", |_| json!({ "size": "1Gi" }));
    cache
}

fn text(tape: &mut Tape<'_>, known: &Known) -> Value {
    let mut all = vec![
        json!("text"),
        json!(""),
        json!("$(HOME) $${x}"),
        json!(1.5),
        json!(true),
        json!("${params.tag}"),
        json!("${git.sha}"),
        json!("${project.namespace}-x"),
        json!("日本"),
    ];
    if known.databases > 0 {
        let fields = ["url", "host", "port", "name", "user", "password", "jdbcUrl"];
        all.push(json!(format!("${{databases.db0.{}}}", tape.one(&fields))));
        all.push(json!("a://${databases.db0.user}:${databases.db0.password}@${databases.db0.host}"));
    }
    if known.caches > 0 {
        all.push(json!(format!("${{caches.cache0.{}}}", tape.one(&["url", "host", "port", "password"]))));
    }
    if known.secrets > 0 {
        all.push(json!("Bearer ${secrets.secret0.key}"));
    }
    if known.secrets > 1 {
        all.push(json!("${secrets.secret1.any}"));
    }
    tape.one(&all)
}

fn environment(tape: &mut Tape<'_>, known: &Known) -> Value {
    let mut env = Map::new();
    for name in ["A", "_B2", "LONG_NAME"].into_iter().take(tape.below(4)) {
        env.insert(name.to_owned(), text(tape, known));
    }
    env.into()
}

fn app(tape: &mut Tape<'_>, name: &str, known: &Known) -> Value {
    let mut app = json!({ "ports": { "http": 8080 } });
    if name == "worker" && tape.yes() {
        app["from"] = json!("api");
    } else {
        app["image"] = tape.one(&[
            json!("web:${params.tag}"),
            json!("registry.example/team/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            json!({ "repository": "web", "tag": "${git.shortSha}", "registry": "team" }),
            json!({ "repository": "web", "tag": "1", "registry": "open" }),
        ]);
    }
    maybe(tape, &mut app, "ports", |tape| {
        json!({
            "web": { "port": 3000, "protocol": tape.one(&["http", "grpc"]) }, "dns": { "port": 53, "protocol": "udp" }, "admin": 9000,
        })
    });
    app["env"] = environment(tape, known);
    maybe(tape, &mut app, "command", |tape| json!(["sh", "-c", text(tape, known)]));
    maybe(tape, &mut app, "args", |tape| json!([text(tape, known), 1]));
    maybe(
        tape,
        &mut app,
        "files",
        |tape| json!({ "/etc/app/a.conf": { "text": tape.one(&["x=1\n", "host ${project.namespace}"]) }, "/etc/b": { "text": "" } }),
    );
    maybe(tape, &mut app, "resources", resources);
    let probe = |tape: &mut Tape<'_>| {
        let mut probe = tape.one(&[
            json!({ "path": "/x?y=1" }),
            json!({ "tcp": true }),
            json!({ "exec": ["true"] }),
            json!({ "grpc": "" }),
            json!({ "grpc": "a.B" }),
            json!({}),
        ]);
        maybe(tape, &mut probe, "period", |_| json!("3s"));
        maybe(tape, &mut probe, "initialDelay", |_| json!("1m"));
        maybe(tape, &mut probe, "failureThreshold", |_| json!(7));
        probe
    };
    for kind in ["startup", "readiness", "liveness"] {
        if tape.yes() {
            app["probes"][kind] = probe(tape);
        }
    }
    match tape.below(4) {
        0 => app["replicas"] = json!(tape.below(5)),
        1 => {
            app["autoscaling"] = json!({ "min": 1 + tape.below(3), "max": 5, "cpu": 70 });
            maybe(tape, &mut app["autoscaling"], "memory", |_| json!(80));
            maybe(tape, &mut app["autoscaling"], "scaleDown", |_| json!({ "stabilization": "2m", "pods": 1 }));
            maybe(tape, &mut app["autoscaling"], "scaleUp", |_| json!({ "stabilization": "0s" }));
        }
        2 => app["volumes"]["data"] = json!({ "mount": "/var/data", "size": "1Gi" }),
        _ => {}
    }
    maybe(tape, &mut app["volumes"], "tmp", |_| json!({ "mount": "/tmp", "scratch": "10Mi" }));
    let lasting = app["volumes"]["data"].is_object();
    if !lasting && tape.yes() {
        app["rollout"] = tape.one(&[
            json!({ "maxSurge": "25%", "maxUnavailable": 1 }),
            json!({ "strategy": "blueGreen", "keepOld": "1m" }),
        ]);
        if app["rollout"]["strategy"] == "blueGreen" {
            app["probes"]["readiness"] = json!({ "path": "/" });
        }
    }
    if app["volumes"].is_null() {
        app.as_object_mut().unwrap().remove("volumes");
    }
    maybe(tape, &mut app, "shutdown", |tape| json!({ "gracePeriod": "1m", "drain": tape.one(&["0s", "30s"]) }));
    maybe(tape, &mut app, "security", |tape| {
        json!({
            "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "runAsNonRoot": tape.yes(), "readOnlyRootFilesystem": tape.yes(),
            "capabilities": ["NET_BIND_SERVICE", "CHOWN"],
        })
    });
    maybe(tape, &mut app, "labels", |_| json!({ "team": "x", "example.com/owner": "a_b.c" }));
    maybe(tape, &mut app, "annotations", |_| json!({ "example.com/note": "any text: {}" }));
    maybe(tape, &mut app, "caCertificates", |_| json!(["ca"]));
    if name == "web-1" {
        maybe(tape, &mut app, "dependsOn", |tape| json!({ "apps.api": tape.one(&["ready", "started"]) }));
    }
    app
}

fn job(tape: &mut Tape<'_>, known: &Known) -> Value {
    let mut job = json!({ "app": "api", "command": ["true"] });
    match tape.below(3) {
        0 => job["run"] = json!("postDeploy"),
        1 => job["run"] = json!("manual"),
        _ => {
            job["schedule"] = tape.one(&[json!("0 3 * * *"), json!("@daily"), json!("*/5 1-3 1,15 jan MON-FRI")]);
            maybe(tape, &mut job, "timezone", |tape| {
                json!(tape.one(&["Asia/Tokyo", "UTC", "America/Argentina/Ushuaia"]))
            });
            maybe(tape, &mut job, "concurrency", |tape| json!(tape.one(&["forbid", "allow", "replace"])));
            maybe(tape, &mut job, "history", |tape| json!(tape.below(10)));
        }
    }
    maybe(tape, &mut job, "timeout", |_| json!("1h"));
    maybe(tape, &mut job, "retries", |tape| json!(tape.below(5)));
    maybe(tape, &mut job, "resources", resources);
    job["env"] = environment(tape, known);
    job
}

fn ingress(tape: &mut Tape<'_>) -> Value {
    let mut ingress = json!({ "paths": { "/": "api" } });
    maybe(tape, &mut ingress, "host", |tape| json!(tape.one(&["app.example.com", "${project.namespace}.example.com"])));
    // two entries may not have the same host
    if ingress["host"] == "app.example.com" {
        ingress["host"] = json!(format!("h{}-{}.example.com", tape.below(250), tape.0.len()));
    } else {
        ingress.as_object_mut().unwrap().remove("host");
    }
    maybe(tape, &mut ingress, "tls", |tape| {
        tape.one(&[json!({ "secret": "cert" }), json!({ "issuer": "letsencrypt", "minVersion": "1.3" }), json!({})])
    });
    maybe(tape, &mut ingress, "websocket", |_| json!(true));
    maybe(
        tape,
        &mut ingress,
        "headers",
        |tape| json!({ "X-Frame-Options": tape.one(&["DENY", "", "${params.tag}"]), "server": "" }),
    );
    maybe(tape, &mut ingress, "requestHeaders", |_| json!({ "X-Forwarded-Prefix": "/api; a=b" }));
    maybe(
        tape,
        &mut ingress,
        "cors",
        |tape| json!({ "origins": ["https://a.example.com"], "methods": ["GET"], "credentials": tape.yes() }),
    );
    maybe(tape, &mut ingress, "maxBodySize", |_| json!("10Mi"));
    maybe(tape, &mut ingress, "rateLimit", |_| json!({ "requestsPerSecond": 10, "burst": 2 }));
    maybe(tape, &mut ingress, "allow", |_| json!(["10.0.0.0/8", "::1"]));
    maybe(tape, &mut ingress, "redirects", |_| json!({ "/old": { "to": "https://www.example.com/new", "code": 301 } }));
    maybe(
        tape,
        &mut ingress["paths"],
        "/api",
        |_| json!({ "app": "api", "cors": { "origins": ["*"] }, "headers": { "cache-control": "no-store" } }),
    );
    maybe(tape, &mut ingress, "maintenance", |_| json!("api"));
    ingress
}

//! Who may reach a database and a cache: only what refers to them, whatever others try, and a job from its first moment. The node
//! enforces `NetworkPolicies` meanwhile, and pods of a vCluster stand beside those of all its projects in one namespace of the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod support;

use std::process::Command;
use support::own::Own;
use support::{World, kit, on_host, try_on_host, until};

/// An app that does nothing, and may hold a reference.
fn app(name: &str, env: &str) -> String {
    format!(
        "  {name}:\n    image: {}/busybox:1\n    command: [sh, -c, 'trap exit TERM; sleep 3600 & wait']\n    env: {env}\n    resources: \
         {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: 200m, memory: 16Mi}}}}\n",
        kit().registry
    )
}

/// A Stack with a job that asks, once and in its first moment, all that app `of` refers to.
fn stack(pooler: &str, web: &str, nosy: &str, of: &str, servers: [&str; 2]) -> String {
    let asks = serde_json::json!(["sh", "-c", servers.map(knock).join(" && ")]);
    let small = "resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: 500m, memory: 128Mi}}";
    format!(
        "apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {{name: one}}\ndatabases: {{main: {{engine: postgres, version: \"15\", \
         {pooler}storage: {{size: 64Mi}}, {small}}}}}\ncaches: {{fast: {{engine: redis, version: \"7\"}}}}\napps:\n{}{}\
         jobs: {{asks: {{run: postDeploy, app: {of}, command: {asks}}}}}\n",
        app("web", web),
        app("nosy", nosy)
    )
}

/// Sends something to a port that ends the conversation with PostgreSQL as with Redis; a shell fails where nobody was there.
fn knock(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("printf 'QUIT\\r\\n' | timeout 5 nc -w 2 {host} {port}")
}

/// Whether a pod of the project gets through.
fn gets_through(world: &World, pod: &str, address: &str) -> bool {
    world.try_kubectl(&["exec", pod, "--", "sh", "-c", &knock(address)]).status.success()
}

/// A pod of one's own that waits, with labels as another one has them.
fn pod(labels: &str) -> Vec<String> {
    let image = format!("--image={}/busybox:1", kit().registry);
    let mut args: Vec<String> = ["run", "thief", "--restart=Never", &image].map(str::to_owned).into();
    if !labels.is_empty() {
        args.push(format!("--labels={labels}"));
    }
    args.extend(["--command", "--", "sleep", "3600"].map(str::to_owned));
    args
}

/// Labels as kubectl prints them, as an argument.
fn labels(json: &str) -> String {
    let labels: serde_json::Value = serde_json::from_str(json).unwrap();
    let labels = labels.as_object().unwrap().iter();
    labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect::<Vec<_>>().join(",")
}

/// `NetworkPolicies` are enforced as long as this is there.
struct Enforced;

impl Enforced {
    fn begin() -> Self {
        Self::turn("on");
        Self
    }

    fn turn(how: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");
        let done = Command::new("bash").args([script, "policies", how]).output().unwrap();
        assert!(done.status.success(), "policies {how}: {}", String::from_utf8_lossy(&done.stdout));
    }
}

impl Drop for Enforced {
    fn drop(&mut self) {
        Self::turn("off");
    }
}

#[test]
fn only_what_refers_to_a_database_reaches_it() {
    let mut world = World::new("walls");
    let _enforced = Enforced::begin();
    let both = r#"{DB: "${databases.main.url}", CACHE: "${caches.fast.url}"}"#;
    let sha = world.push_stack(&stack("", both, "{}", "web", ["one-main:5432", "one-fast:6379"]));
    world.start();
    world.settled("one", &sha);
    let address = |of: &str, port: u16| {
        let name = format!("jsonpath={{.items[?(@.metadata.name==\"{of}-0\")].status.podIP}}");
        format!("{}:{port}", world.kubectl(&["get", "pods", "-o", &name]))
    };
    let servers = [("one-main:5432", address("one-main", 5432)), ("one-fast:6379", address("one-fast", 6379))];
    let web = ["get", "pods", "-l", "hks.hexabase.ai/app=web", "-o", "jsonpath={.items[0].metadata.labels}"];
    let as_web = labels(&world.kubectl(&web));

    // another project of the same vCluster, once by a name of its own, once by that of the app
    let outside = World::new("outside");
    for labels in ["", &as_web] {
        let made = pod(labels);
        outside.kubectl(&made.iter().map(String::as_str).collect::<Vec<_>>());
        outside.kubectl(&["wait", "pod/thief", "--for=condition=Ready", "--timeout=60s"]);
        for (service, ip) in &servers {
            let (name, port) = service.split_once(':').unwrap();
            let by_name = format!("{name}.{}.svc:{port}", world.namespace);
            assert!(until(30, || gets_through(&world, "deployment/one-web", service)), "web does not reach {service}");
            assert!(gets_through(&world, "deployment/one-web", ip), "web does not reach {ip}");
            for address in [*service, ip] {
                assert!(!gets_through(&world, "deployment/one-nosy", address), "nosy reaches {address}");
            }
            for address in [&by_name, ip] {
                assert!(
                    !gets_through(&outside, "pod/thief", address),
                    "another project reaches {address} as {labels:?}"
                );
            }
        }
        outside.kubectl(&["delete", "pod", "thief", "--grace-period=1"]);
    }

    // another tenant's vCluster is another namespace of the host; what it makes there may call itself what it likes
    let tenant = Own::new("walls");
    let synced = format!("vcluster.loft.sh/namespace={}", world.namespace);
    let on_node =
        ["get", "pods", "-A", "-l", &synced, "-o", "jsonpath={.items[?(@.status.phase==\"Running\")].metadata.labels}"];
    let all = on_host(&on_node);
    let of_web = all
        .replace("} {", "}\n{")
        .lines()
        .map(labels)
        .find(|labels| labels.contains("one-web") || labels.contains("=web,"));
    for labels in ["", &of_web.expect("the pod of web on the host")] {
        let made = pod(labels);
        let mut args = vec!["-n", &tenant.namespace];
        args.extend(made.iter().map(String::as_str));
        on_host(&args);
        on_host(&["-n", &tenant.namespace, "wait", "pod/thief", "--for=condition=Ready", "--timeout=60s"]);
        for (_, ip) in &servers {
            let tried = try_on_host(&["-n", &tenant.namespace, "exec", "thief", "--", "sh", "-c", &knock(ip)]);
            assert!(!tried.status.success(), "another tenant reaches {ip} as {labels:?}");
            assert!(gets_through(&world, "deployment/one-web", ip), "web does not reach {ip}");
        }
        on_host(&["-n", &tenant.namespace, "delete", "pod", "thief", "--grace-period=1"]);
    }

    // who no longer refers to them is locked out, also by the pooler, and who does now is let in
    let pooled = r#"{DB: "${databases.main.poolerUrl}", CACHE: "${caches.fast.url}"}"#;
    Enforced::turn("held");
    let sha = world.push_stack(&stack("pooler: {}, ", "{}", pooled, "nosy", ["one-main-pooler:5432", "one-fast:6379"]));
    // a pod that nobody who enforces has heard of is refused
    let waits =
        ["get", "pods", "-l", "hks.hexabase.ai/job=asks", "-o", "jsonpath={..initContainerStatuses[*].state.running}"];
    assert!(until(120, || !world.kubectl(&waits).is_empty()), "its job does not wait: {}", world.log());
    Enforced::turn("on");
    world.settled("one", &sha);
    for service in ["one-main-pooler:5432", "one-fast:6379"] {
        assert!(until(30, || gets_through(&world, "deployment/one-nosy", service)), "nosy does not reach {service}");
        assert!(!gets_through(&world, "deployment/one-web", service), "web still reaches {service}");
    }
    assert!(!gets_through(&world, "deployment/one-web", "one-main:5432"), "web still reaches the database");
    assert!(
        !gets_through(&world, "deployment/one-nosy", "one-main:5432"),
        "nosy reaches the database beside its pooler"
    );
}

//! Targets that read one value of an hks.yaml: an amount, a schedule, an image, a host, a name in SQL.

use super::engine::Target;
use super::file::rendered;
use super::mutate::parts;
use hks::ident::Kind;
use hks::manifest::Manifest;
use hks::platform::Policy;
use hks::spec::{self, Spec, When};
use ipnet::IpNet;
use kube_quantity::ParsedQuantity;
use serde_json::{Value, json};
use std::net::IpAddr;

/// A small Stack, changed.
pub fn with(edit: impl FnOnce(&mut Value)) -> Result<Spec, String> {
    let mut file = json!({
        "apiVersion": "hks.hexabase.ai/v1", "kind": "Stack", "metadata": { "name": "a" }, "params": { "p": "7" },
        "apps": { "web": { "image": "a:1", "ports": { "http": 80 } } },
    });
    edit(&mut file);
    let source = serde_json::to_vec(&file).unwrap();
    spec::parse(&source, "hks.yaml").map_err(|found| found[0].code.to_string())
}

pub fn object<'m>(manifest: &'m Manifest, kind: Kind, name: &str) -> &'m Value {
    &manifest.objects.iter().find(|object| object.key.kind == kind && object.key.name == name).unwrap().body
}

/// One text of the input.
pub fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Amounts of memory and CPU: those that are taken are worth what Kubernetes makes of them, and are written as it writes them.
pub const QUANTITY: Target = Target {
    name: "quantity",
    run: quantity,
    words: &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "k", "M", "G", "m", ".", "e3", "E", "1", "512", "0", "+", "-", " "],
    grow: None,
    most: 40,
    tries: 120,
};

fn quantity(input: &[u8]) -> String {
    let text = text(input);
    let (bytes, cpu) = (spec::bytes(&text), spec::cpu(&text));
    for (amount, scale) in [(bytes, 1.0), (cpu, 1000.0)] {
        // theirs, in Rust, takes each `E` for an exponent
        let Some(amount) = amount.filter(|_| !text.contains('E')) else { continue };
        let theirs = ParsedQuantity::try_from(text.as_str()).map(|amount| amount.to_bytes_f64().unwrap());
        #[expect(clippy::cast_precision_loss, reason = "compared as such")]
        let ours = amount as f64;
        let theirs = theirs.unwrap_or_else(|_| panic!("Kubernetes does not take {text:?}")) * scale;
        // it rounds up to whole bytes and thousandths of a core
        assert!((ours - theirs).abs() <= 1.0 + theirs / 1e12, "{text:?} is {ours} for us and {theirs} for Kubernetes");
    }
    let read = with(|file| {
        file["apps"]["web"]["resources"] = json!({ "requests": { "memory": text }, "limits": { "memory": text } });
    });
    let Ok(read) = read else {
        return format!("{} {}", bytes.is_some(), cpu.is_some());
    };
    let canonical = &read.apps["web"].resources.limit_memory;
    // whole bytes of the largest amounts have more digits than a file may
    assert!(spec::bytes(canonical) == bytes || canonical.len() > 18, "{text:?} is written {canonical:?}");
    // a file has no room for the largest units
    if let Ok(again) = with(|file| file["apps"]["web"]["resources"] = json!({ "limits": { "memory": canonical } })) {
        assert_eq!(again.apps["web"].resources.limit_memory, *canonical, "written anew");
    }
    format!("{} {}", canonical.len(), canonical.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Durations: those that are taken are in their bounds, and the one that is rendered is the one that was read.
pub const DURATION: Target = Target {
    name: "duration",
    run: duration,
    words: &["s", "m", "h", "d", "ms", "us", "min", "1", "30", "60", "10m", "1h30m", " ", ".", "-", "years", "month"],
    grow: None,
    most: 60,
    tries: 120,
};

fn duration(input: &[u8]) -> String {
    let text = text(input);
    let read = with(|file| {
        file["deploy"] = json!({ "timeout": text });
        file["apps"]["web"]["probes"] = json!({ "readiness": { "tcp": true, "period": text } });
    });
    if let Ok(read) = &read {
        let period = read.apps["web"].readiness.as_ref().map(|probe| probe.period).unwrap();
        assert_eq!(read.deploy.timeout, period);
        assert!((1..=86400).contains(&period.as_secs()), "{period:?}");
        let body = rendered(read, "");
        let probe =
            &object(&body, Kind::Deployment, "a-web")["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
        let seconds = probe["periodSeconds"].as_u64().unwrap();
        assert!(seconds == period.as_secs() || seconds == period.as_secs() + 1, "{text:?} is rendered as {seconds} s");
        let written = humantime::format_duration(period).to_string();
        assert_eq!(humantime::parse_duration(&written).unwrap(), period);
    }
    read.map_or_else(|code| code, |read| (read.deploy.timeout.as_secs().ilog2()).to_string())
}

/// Schedules: what is taken has five fields of numbers that mean something, and is rendered as it was written.
pub const CRON: Target = Target {
    name: "cron",
    run: cron,
    words: &[
        "*",
        "*/5",
        "0",
        "3",
        "59",
        "60",
        "23",
        "31",
        "12",
        "7",
        "1-5",
        "1,15",
        "jan",
        "MON",
        "sun",
        "@daily",
        "@every 1h",
        "@reboot",
        "?",
        "L",
        "W",
        "#",
        " ",
        "  ",
        "TZ=UTC ",
        "CRON_TZ=",
        "/",
        "-",
        ",",
        "Europe/Berlin",
        "europe/berlin",
        "Local",
        "../etc/passwd",
        super::mutate::CUT,
    ],
    grow: None,
    most: 80,
    tries: 120,
};

fn cron(input: &[u8]) -> String {
    let [schedule, zone] = parts::<2>(input);
    let read = with(|file| {
        file["jobs"]["j"] = json!({ "app": "web", "schedule": schedule });
        if !zone.is_empty() {
            file["jobs"]["j"]["timezone"] = json!(zone);
        }
    });
    let read = match read {
        Ok(read) => read,
        Err(code) => return code,
    };
    let When::Scheduled { cron, timezone, .. } = &read.jobs["j"].when else { panic!("it is not scheduled") };
    assert_eq!((cron, timezone.as_str()), (&schedule, if zone.is_empty() { "UTC" } else { &zone }));
    assert!(!timezone.contains("..") && *timezone != "Local");
    if let Some(name) = cron.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        assert!(known.contains(&name), "{cron}");
        return cron.clone();
    }
    let fields: Vec<_> = cron.split(' ').collect();
    assert_eq!(fields.len(), 5, "{cron:?}");
    let most = [59_u32, 23, 31, 12, 6];
    for (field, most) in fields.iter().zip(most) {
        let ranges = field.split(',').map(|item| item.split('/').next().unwrap());
        for number in ranges.flat_map(|range| range.split('-')).filter_map(|number| number.parse::<u32>().ok()) {
            assert!(number <= most, "{number} in {cron:?}");
        }
    }
    let manifest = rendered(&read, "");
    assert_eq!(object(&manifest, Kind::CronJob, "a-j")["spec"]["schedule"], schedule);
    format!("{:?}", fields.iter().map(|field| field.contains(['/', '-', ','])).collect::<Vec<_>>())
}

/// Images: what is taken names a tag or a digest, holds nothing that a shell or a log would act on, and is pulled as it was written.
pub const IMAGE: Target = Target {
    name: "image",
    run: image,
    words: &[
        "registry.example",
        ":5000",
        "/",
        "team",
        "web",
        ":1.0",
        ":latest",
        "@sha256:",
        "localhost",
        "a",
        "_",
        "__",
        ".",
        "-",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "${git.sha}",
        "${params.p}",
        "[::1]",
        "docker.io",
    ],
    grow: None,
    most: 300,
    tries: 120,
};

fn image(input: &[u8]) -> String {
    let text = text(input);
    let read = with(|file| file["apps"]["web"]["image"] = json!(text));
    let read = match read {
        Ok(read) => read,
        Err(code) => return code,
    };
    let manifest = rendered(&read, "");
    let pod = &object(&manifest, Kind::Deployment, "a-web")["spec"]["template"]["spec"];
    let image = pod["containers"][0]["image"].as_str().unwrap();
    if !text.contains("${") {
        assert_eq!(image, text, "what is pulled");
    }
    assert!(!image.contains(|c: char| c.is_control() || c.is_whitespace() || !c.is_ascii()), "{image:?}");
    let name = image.rsplit('/').next().unwrap();
    assert!(name.contains(':') || name.contains('@'), "{image:?} has neither tag nor digest");
    assert!(image.len() <= 512, "{} bytes", image.len());
    format!("{} {} {}", image.matches('/').count().min(3), image.contains('@'), name.contains(':'))
}

/// Networks: what is taken is one for whoever enforces it, too.
pub const NETWORK: Target = Target {
    name: "network",
    run: network,
    words: &[
        "10.0.0.0/8",
        "::/0",
        "203.0.113.0/24",
        "/32",
        "/33",
        "/128",
        "2001:db8::",
        ".",
        ":",
        "/",
        "0",
        "fe80::1%eth0",
        "%",
    ],
    grow: None,
    most: 60,
    tries: 120,
};

fn network(input: &[u8]) -> String {
    let text = text(input);
    let read = with(|file| file["ingress"]["public"] = json!({ "paths": { "/": "web" }, "allow": [text] }));
    let network = text.parse::<IpNet>();
    match read {
        Ok(read) => {
            let taken: IpNet = read.ingress["public"].allow[0].parse().expect("a network");
            let address = text.parse::<IpAddr>().map(IpNet::from);
            let network = network.or(address).unwrap_or_else(|_| panic!("{text:?} is no network"));
            assert_eq!(taken, network, "{text:?}");
            format!("{} {}", network.addr().is_ipv4(), network.prefix_len() / 8)
        }
        Err(code) => format!("{code} {}", network.is_ok()),
    }
}

/// Hosts: two spellings of one host are one claim, and what is reserved for the platform is nobody's.
pub const HOST: Target = Target {
    name: "host",
    run: host,
    words: &[
        "shop.example.com",
        "*.example.com",
        "*",
        "EXAMPLE",
        ".",
        "..",
        "-",
        "_",
        "a",
        "xn--",
        "127.0.0.1",
        "[::1]",
        ":80",
        "/",
        "@",
        "münchen",
        "apps.example",
        "a-shop.apps.example",
        "hks.example.com",
        "${git.sha}",
        "${params.p}",
        " ",
    ],
    grow: None,
    most: 300,
    tries: 60,
};

fn host(input: &[u8]) -> String {
    let text = text(input);
    let read = |host: &str| {
        with(|file| file["ingress"]["public"] = json!({ "host": host, "paths": { "/": "web" } })).map(|read| {
            let policy = Policy {
                hosts: Some(vec!["*.example.com".into()]),
                reserved_hosts: vec!["hks.example.com".into()],
                ..Policy::default()
            };
            let context = hks::manifest::Context { policy, ..crate::pure::context() };
            hks::manifest::render(&read, &hks::ident::Revision::new("aaaa"), &context)
        })
    };
    let manifest = match read(&text) {
        Ok(manifest) => manifest,
        Err(code) => return code,
    };
    let hosts = manifest.named_hosts();
    for host in &hosts {
        assert!(spec::is_host(host), "{host:?} is claimed");
        assert_eq!(*host, host.to_lowercase(), "another spelling is another claim");
        let allowed = manifest.impossible.is_empty();
        let theirs = host.strip_suffix(".example.com").is_some_and(|rest| !rest.is_empty());
        assert!(!allowed || theirs && host != "hks.example.com", "{host:?} may be had");
    }
    // whoever looks a name up does not tell capitals or the dot of the root from it
    for other in [text.to_uppercase(), text.to_lowercase(), format!("{text}.")] {
        if let Ok(other) = read(&other).filter_same(&text) {
            assert_eq!(other.named_hosts(), hosts, "claims of {text:?}");
        }
    }
    format!("{} {}", hosts.len(), manifest.impossible.len())
}

/// What is told of spellings only holds where no reference stands in them.
trait SameName: Sized {
    fn filter_same(self, text: &str) -> Self;
}

impl SameName for Result<Manifest, String> {
    fn filter_same(self, text: &str) -> Self {
        if text.contains("${") { Err("refers".into()) } else { self }
    }
}

/// Names and extensions of a database: none can leave its place in a statement.
pub const SQL: Target = Target {
    name: "sql",
    run: sql,
    words: &[
        "app",
        "pg_",
        "postgres",
        "\"",
        "'",
        ";",
        "--",
        "DROP",
        "uuid-ossp",
        "_",
        "-",
        "$$",
        "\\",
        "\n",
        "SQL",
        super::mutate::CUT,
    ],
    grow: None,
    most: 150,
    tries: 100,
};

fn sql(input: &[u8]) -> String {
    let [name, user, extension] = parts::<3>(input);
    let mut database = json!({ "engine": "postgres", "version": "16" });
    for (key, text) in [("name", &name), ("user", &user)] {
        if !text.is_empty() {
            database[key] = json!(text);
        }
    }
    if !extension.is_empty() {
        database["extensions"] = json!([extension]);
    }
    let read = match with(|file| file["databases"]["main"] = database) {
        Ok(read) => read,
        Err(code) => return code,
    };
    let main = &read.databases["main"];
    for word in [&main.name, &main.user].into_iter().chain(&main.extensions) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        assert!(word.chars().all(plain) && word.len() <= 63 && !word.starts_with('-'), "{word:?} in a statement");
    }
    assert!(!hks::engine::postgres::is_taken(&main.name) && !hks::engine::postgres::is_taken(&main.user));
    let script = hks::engine::postgres::prepare(&main.extensions);
    let none = hks::engine::postgres::prepare(&[]);
    assert_eq!(script.matches("<<'SQL'").count(), script.lines().filter(|line| *line == "SQL").count(), "{script}");
    let lines = if main.extensions.is_empty() { 0 } else { 2 + main.extensions.len() };
    assert_eq!(script.lines().count(), none.lines().count() + lines, "{script}");
    format!("{} {} {}", main.name.len().min(2), main.user.len().min(2), main.extensions.len())
}

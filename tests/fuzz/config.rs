//! Targets that read what operators write: the daemon's configuration, and what a platform allows.

use super::engine::Target;
use super::mutate::parts;
use hks::platform::{Policy, fits_host, fits_key};
use serde_json::json;

/// The daemon's configuration: it is written as it was read, and nothing that is secret travels in the clear.
pub const CONFIG: Target = Target {
    name: "config",
    run: config,
    words: &[
        "sources:",
        "git:",
        "url:",
        "http://",
        "https://",
        "ssh://",
        "file://",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "@",
        "password:",
        "{file: /x}",
        "{env: X}",
        "{secret: a/b/c}",
        "namespace: p",
        "branch: main",
        "tag: v*",
        "poll: 30s",
        "forge:",
        "kind: gitea",
        "apiUrl:",
        "repository: a/b",
        "token:",
        "webhook:",
        "secret:",
        "access:",
        "tokens:",
        "anonymous: true",
        "platform:",
        "probeNetworks: [10.0.0.0/8]",
        "gateway:",
        "name: a/b",
        "\n  ",
        "\n    ",
        "yes",
        "0x10",
        "~",
        "hosts: ['*.example.com']",
    ],
    grow: None,
    most: 4 << 10,
    tries: 150,
};

fn config(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let read = hks::config::Config::parse(&text, std::path::Path::new("hks-daemon.yaml"));
    let config = match read {
        Ok(config) => config,
        Err(error) => {
            let said = format!("{error:#}");
            assert!(said.contains("hks-daemon.yaml"), "{said}");
            return said
                .split(": ")
                .nth(1)
                .unwrap_or_default()
                .split(['`', '"', '\n'])
                .next()
                .unwrap_or_default()
                .into();
        }
    };
    let written = serde_saphyr::to_string(&config).unwrap();
    let again = hks::config::Config::parse(&written, std::path::Path::new("hks-daemon.yaml"));
    assert_eq!(again.unwrap_or_else(|error| panic!("{error:#}\n{written}")), config, "{written}");
    for source in config.sources.values() {
        config.platform_of(source);
        let clear = |url: &str| {
            let url = url.to_lowercase();
            url.starts_with("http://") && !url.contains("localhost") && !url.contains("127.") && !url.contains("::1")
        };
        assert!(source.git.password.is_none() || !clear(&source.git.url), "{}", source.git.url);
        assert!(source.forge.as_ref().is_none_or(|forge| !clear(&forge.api_url)));
    }
    assert_eq!(config.networks().len(), config.probe_networks.len());
    json!([config.sources.len(), config.access.tokens.len()]).to_string()
}

/// What a platform allows: patterns of hosts and keys, and amounts.
pub const POLICY: Target = Target {
    name: "policy",
    run: policy,
    words: &[
        "hosts: [",
        "reservedHosts: [",
        "*.example.com",
        "*",
        "shop.example.com",
        "annotations: [",
        "prometheus.io/*",
        "labels: [",
        "registries: [",
        "ghcr.io/acme",
        "requireDigest: true",
        "maxReplicas: 3",
        "maxCpu: 500m",
        "maxMemory: 4Gi",
        "]",
        ",",
        "maxStorage: 1Gi",
        "issuers: []",
        "requiredLabels: [team]",
        "\n",
        super::mutate::CUT,
    ],
    grow: None,
    most: 1000,
    tries: 500,
};

fn policy(input: &[u8]) -> String {
    let [settings, asked] = parts::<2>(input);
    let Ok(policy) = serde_saphyr::from_str::<Policy>(&settings) else { return "unreadable".into() };
    let written = serde_saphyr::to_string(&policy).unwrap();
    assert_eq!(serde_saphyr::from_str::<Policy>(&written).unwrap(), policy, "{written}");
    if policy.check().is_err() {
        return "unusable".into();
    }
    for pattern in policy.hosts.iter().flatten().filter(|pattern| fits_host(pattern, &asked)) {
        let below = pattern.strip_prefix('*').is_some_and(|zone| asked.ends_with(zone) && asked.len() > zone.len());
        assert!(asked == *pattern || pattern == "*" || below, "{asked:?} is not one of {pattern:?}");
    }
    for pattern in policy.annotations.iter().flatten().filter(|pattern| fits_key(pattern, &asked)) {
        let below = pattern.strip_suffix('*').is_some_and(|prefix| prefix.ends_with('/') && asked.starts_with(prefix));
        assert!(asked == *pattern || below, "{asked:?} is not one of {pattern:?}");
    }
    assert_eq!(Policy::default().with(&policy), policy.clone().with(&Policy::default()), "nothing to add");
    assert_eq!(policy.clone().with(&Policy::default()), policy, "with one that says nothing");
    format!("{} {}", policy.hosts.is_some(), policy.max_cpu.is_some())
}

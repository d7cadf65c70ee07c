//! What is known about public images: what they are, which ports they listen on, as whom they start.

/// What a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A PostgreSQL that hks can be.
    Database,
    /// A Redis or Valkey that hks can be.
    Cache,
    /// A PostgreSQL with extensions that the image of hks lacks: it runs as an app with a volume.
    ForeignDatabase,
    /// Another database, a queue or a store: an app that is never public.
    Store,
    /// A proxy that does nothing but send requests to other services by their labels.
    Router,
    /// A proxy that is set up by a file.
    Proxy,
    /// A tool for people who look after it: never public by itself.
    Tool,
    /// Anything else.
    App,
}

/// What is known about an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub role: Role,
    /// Ports that it listens on, HTTP first.
    pub ports: &'static [u16],
    /// Whether it starts as root and then becomes another user, which takes capabilities.
    pub root: bool,
}

const APP: Known = Known { role: Role::App, ports: &[], root: false };

const fn known(role: Role, ports: &'static [u16], root: bool) -> Known {
    Known { role, ports, root }
}

/// Last parts of the names of repositories, as their publishers document them.
const IMAGES: &[(&[&str], Known)] = &[
    (&["postgres", "postgresql"], known(Role::Database, &[5432], true)),
    (
        &[
            "postgis",
            "pgvector",
            "timescaledb",
            "timescaledb-ha",
            "pgvecto-rs",
            "vchord-postgres",
            "vchord-suite",
            "citus",
            "paradedb",
            "pgrouting",
            "age",
            "supabase-postgres",
        ],
        known(Role::ForeignDatabase, &[5432], true),
    ),
    (&["redis", "valkey", "keydb"], known(Role::Cache, &[6379], true)),
    (
        &["mysql", "mysql-server", "mariadb", "percona", "percona-server", "mariadb-galera"],
        known(Role::Store, &[3306], true),
    ),
    (&["mongo", "mongodb", "mongodb-community-server"], known(Role::Store, &[27017], true)),
    (&["rabbitmq"], known(Role::Store, &[5672, 15672], true)),
    (&["kafka", "cp-kafka", "kafka-native", "redpanda"], known(Role::Store, &[9092], false)),
    (&["zookeeper", "cp-zookeeper"], known(Role::Store, &[2181], true)),
    (&["elasticsearch", "opensearch"], known(Role::Store, &[9200], false)),
    (&["minio"], known(Role::Store, &[9000, 9001], false)),
    (&["memcached"], known(Role::Store, &[11211], false)),
    (&["clickhouse-server", "clickhouse"], known(Role::Store, &[8123, 9000], true)),
    (&["meilisearch"], known(Role::Store, &[7700], false)),
    (&["typesense"], known(Role::Store, &[8108], false)),
    (&["qdrant"], known(Role::Store, &[6333, 6334], false)),
    (&["weaviate"], known(Role::Store, &[8080], false)),
    (&["milvus"], known(Role::Store, &[19530], false)),
    (&["neo4j"], known(Role::Store, &[7474, 7687], true)),
    (&["cassandra", "scylla"], known(Role::Store, &[9042], true)),
    (&["influxdb"], known(Role::Store, &[8086], true)),
    (&["couchdb"], known(Role::Store, &[5984], true)),
    (&["cockroach"], known(Role::Store, &[26257], false)),
    (&["mssql", "server", "azure-sql-edge"], known(Role::Store, &[1433], false)),
    (&["nats", "nats-streaming"], known(Role::Store, &[4222], false)),
    (&["eclipse-mosquitto", "mosquitto"], known(Role::Store, &[1883], true)),
    (
        &["redis-stack", "redis-stack-server", "dragonfly", "redis-sentinel", "redis-cluster"],
        known(Role::Store, &[6379], true),
    ),
    (&["pgbouncer", "pgpool", "haproxy-redis", "solr"], known(Role::Store, &[], false)),
    (
        &[
            "traefik",
            "https-portal",
            "nginx-proxy",
            "acme-companion",
            "letsencrypt-nginx-proxy-companion",
            "docker-gen",
            "caddy-docker-proxy",
        ],
        known(Role::Router, &[80], false),
    ),
    (
        &[
            "cloudflared",
            "docker-socket-proxy",
            "watchtower",
            "ofelia",
            "swarm-cronjob",
            "autoheal",
            "certbot",
            "dns-cloudflare",
        ],
        known(Role::Router, &[], false),
    ),
    (&["nginx", "caddy", "haproxy", "httpd", "openresty", "envoy"], known(Role::Proxy, &[80], true)),
    (&["nginx-unprivileged"], known(Role::Proxy, &[8080], false)),
    (&["adminer"], known(Role::Tool, &[8080], false)),
    (&["pgadmin4", "pgadmin", "phpmyadmin", "pma"], known(Role::Tool, &[80], true)),
    (&["mailpit", "mailhog"], known(Role::Tool, &[8025, 1025], false)),
    (&["maildev", "mailcatcher", "mailcrab"], known(Role::Tool, &[1080, 1025], false)),
    (&["redis-commander", "mongo-express"], known(Role::Tool, &[8081], false)),
    (&["redisinsight"], known(Role::Tool, &[5540], false)),
    (&["portainer", "portainer-ce", "dozzle"], known(Role::Tool, &[], false)),
    (&["flower"], known(Role::Tool, &[5555], false)),
    (&["prometheus"], known(Role::Tool, &[9090], false)),
    (&["kafka-ui", "akhq", "kafdrop"], known(Role::Tool, &[8080], false)),
    (&["jaeger", "all-in-one"], known(Role::Tool, &[16686], false)),
    (&["wordpress", "nextcloud", "drupal", "joomla", "matomo", "phpipam-www"], known(Role::App, &[80], true)),
    (&["ghost"], known(Role::App, &[2368], true)),
    (&["grafana", "grafana-oss", "grafana-enterprise"], known(Role::App, &[3000], false)),
    (&["keycloak"], known(Role::App, &[8080], false)),
    (&["n8n"], known(Role::App, &[5678], false)),
    (&["gitea", "forgejo"], known(Role::App, &[3000, 22], true)),
    (&["metabase"], known(Role::App, &[3000], true)),
];

/// Memory that a program is known to need, in MiB, where that is more than hks gives unless told: what their publishers ask for.
pub(super) fn memory(image: &str) -> Option<u64> {
    let (repository, _) = parts(image);
    Some(match repository.rsplit('/').next().unwrap_or_default() {
        "elasticsearch" | "opensearch" | "clickhouse-server" | "clickhouse" | "cassandra" | "scylla" | "neo4j"
        | "milvus" => 2048,
        "server" if of(image).role == Role::Store => 2048,
        "mysql"
        | "mariadb"
        | "percona"
        | "mongo"
        | "mongodb"
        | "kafka"
        | "cp-kafka"
        | "kafka-native"
        | "redpanda"
        | "keycloak"
        | "metabase"
        | "solr"
        | "immich-server"
        | "immich-machine-learning"
        | "gitlab-ce"
        | "couchdb"
        | "influxdb" => 1024,
        "rabbitmq" | "minio" | "gitea" | "forgejo" | "n8n" | "nextcloud" | "wordpress" | "ghost" | "grafana"
        | "meilisearch" | "typesense" | "qdrant" | "weaviate" | "zookeeper" | "cp-zookeeper" | "cockroach" => 512,
        _ if matches!(of(image).role, Role::ForeignDatabase) => 512,
        _ => return None,
    })
}

/// The group of the user that an image runs as, where it is not root and its publisher says so: a volume must be writable to it.
pub(super) fn group(image: &str) -> Option<u64> {
    let (repository, _) = parts(image);
    let (owner, last) = repository.rsplit_once('/').unwrap_or(("", repository));
    if owner.ends_with("bitnami") || owner.ends_with("bitnamilegacy") {
        return Some(1001);
    }
    Some(match last {
        "grafana" | "grafana-oss" | "grafana-enterprise" => 472,
        "n8n" | "elasticsearch" | "opensearch" | "jenkins" | "kafka" | "cp-kafka" | "keycloak" | "qdrant" => 1000,
        "outline" => 1001,
        "prometheus" | "alertmanager" => 65_534,
        "mattermost-team-edition" | "mattermost-enterprise-edition" => 2000,
        "server" if of(image).role == Role::Store => 10_001,
        _ => return None,
    })
}

/// The parts of an image's name: repository and tag, without registry's digest.
pub(super) fn parts(image: &str) -> (&str, &str) {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rfind('/').map_or(0, |at| at + 1);
    match name.get(last..).and_then(|last| last.find(':')) {
        Some(colon) => (name.get(..last + colon).unwrap_or_default(), name.get(last + colon + 1..).unwrap_or_default()),
        None => (name, ""),
    }
}

/// What is known about an image.
pub(super) fn of(image: &str) -> Known {
    let (repository, tag) = parts(image);
    let (owner, last) = repository.rsplit_once('/').unwrap_or(("", repository));
    let postgres = matches!(last, "postgres" | "postgresql");
    let vendor = |name: &str| owner == name || owner.ends_with(&format!("/{name}"));
    if postgres
        && (["supabase", "immich-app", "citusdata", "tensorchord"].iter().any(|name| vendor(name))
            || tag.contains("vector"))
    {
        return known(Role::ForeignDatabase, &[5432], true);
    }
    // Microsoft's is `mssql/server`
    if last == "server" && !vendor("mssql") {
        return APP;
    }
    // PHP's FastCGI server instead of a web server
    if tag.contains("fpm") {
        return known(Role::App, &[9000], true);
    }
    // builds of the same programs that do not start as root
    let rootless = ["bitnami", "bitnamilegacy", "chainguard", "dhi.io"].iter().any(|name| vendor(name));
    let found = IMAGES.iter().find(|(names, _)| names.contains(&last)).map_or(APP, |(_, known)| *known);
    Known { root: found.root && !rootless, ..found }
}

/// The major version of a PostgreSQL that an image names, if it names one.
pub(super) fn postgres_version(image: &str) -> Option<String> {
    let (_, tag) = parts(image);
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    // `2.17.2-pg16`, `pg14-v0.2.0`
    let named = tag.match_indices("pg").find_map(|(at, _)| {
        let number = digits(tag.get(at + 2..)?);
        let number = number.get(..2).unwrap_or(&number).to_owned();
        Some(number).filter(|number| !number.is_empty())
    });
    if named.is_some() {
        return named;
    }
    let tag = tag.trim_start_matches('v');
    let major = digits(tag);
    if major.is_empty() {
        return None;
    }
    // before 10, the major version had two parts
    let old = major.len() == 1;
    if old && let Some(rest) = tag.strip_prefix(&format!("{major}.")) {
        return Some(format!("{major}.{}", digits(rest)));
    }
    Some(major)
}

/// The major version that an image's tag begins with.
pub(super) fn version(image: &str) -> Option<String> {
    let (_, tag) = parts(image);
    let start = tag.trim_start_matches("x86_64_").trim_start_matches("arm64_").trim_start_matches('v');
    let digits: String = start.chars().take_while(char::is_ascii_digit).collect();
    Some(digits).filter(|digits| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_their_names() {
        for (image, role) in [
            ("postgres", Role::Database),
            ("docker.io/library/postgres:16-alpine@sha256:00", Role::Database),
            ("bitnami/postgresql:15.4.0", Role::Database),
            ("postgis/postgis:16-3.4", Role::ForeignDatabase),
            ("ghcr.io/immich-app/postgres:14-vectorchord0.4.3", Role::ForeignDatabase),
            ("supabase/postgres:15.1.1.78", Role::ForeignDatabase),
            ("localhost:5000/redis", Role::Cache),
            ("valkey/valkey:8", Role::Cache),
            ("redis/redis-stack:7", Role::Store),
            ("mcr.microsoft.com/mssql/server:2022", Role::Store),
            ("acme/server:1", Role::App),
            ("traefik:v3", Role::Router),
            ("", Role::App),
        ] {
            assert_eq!(of(image).role, role, "{image}");
        }
    }

    #[test]
    fn versions_of_postgres() {
        for (image, version) in [
            ("postgres:16", Some("16")),
            ("postgres:16.4-alpine3.20", Some("16")),
            ("postgres:15.3@sha256:aa", Some("15")),
            ("postgres:9.6", Some("9.6")),
            ("postgres:9.6.24-alpine", Some("9.6")),
            ("timescale/timescaledb:2.17.2-pg16", Some("16")),
            ("timescale/timescaledb-ha:pg15.3-ts2.10", Some("15")),
            ("pgvector/pgvector:0.8.0-pg17", Some("17")),
            ("postgres:alpine", None),
            ("postgres", None),
            ("localhost:5000/postgres", None),
        ] {
            assert_eq!(postgres_version(image).as_deref(), version, "{image}");
        }
        assert_eq!(version("eqalpha/keydb:x86_64_v6.3.4").as_deref(), Some("6"));
    }
}

//! PostgreSQL, as the official image runs it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// Name of the server's container, and of its port.
pub const CONTAINER: &str = "postgres";
/// Its port.
pub const PORT: u16 = 5432;
/// Where its volume is mounted.
pub const MOUNT: &str = "/var/lib/postgresql";
/// uid and gid of postgres in the official image.
pub const USER: u32 = 999;
/// Ready once it answers over TCP, which the image's first, temporary server does not open.
pub const READY: [&str; 6] = ["pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"];
/// Ends with success once a server answers at host `$0`, from where it is run: to be tried again and again, in the image of a server.
pub const REACHES: &str = "timeout 3 pg_isready -q -U postgres -h \"$0\"";
/// A smart shutdown would wait for every client; this ends sessions and keeps all committed data.
pub const STOP: [&str; 3] = ["/bin/sh", "-c", "pg_ctl stop -m fast -w || true"];

/// Server parameters that would take the server out of the hands of hks.
pub const RESERVED_PARAMETERS: [&str; 12] = [
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "password_encryption",
    "port",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "superuser_reserved_connections",
];

/// The server parameters that can be set, by their names in lower case: the server makes no difference. Those of extensions, which
/// have a `.` in their name, are not among them.
static PARAMETERS: LazyLock<BTreeMap<&str, Parameter>> = LazyLock::new(|| {
    let lines = include_str!("parameters.txt").lines().filter(|line| !line.starts_with('#'));
    let parameter = |line: &'static str| {
        let mut words = line.split(' ');
        let (name, is_switch) = (words.next()?, words.next()? == "bool");
        let mut version = |otherwise: u32| words.next().and_then(|word| word.parse().ok()).unwrap_or(otherwise);
        Some((name, Parameter { is_switch, versions: version(0)..=version(u32::MAX) }))
    };
    lines.filter_map(parameter).collect()
});

/// A server parameter that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Whether it is on or off.
    pub is_switch: bool,
    /// The major versions that have it.
    versions: RangeInclusive<u32>,
}

/// The parameter of this name, if a major version has it.
pub fn parameter(name: &str, major: u32) -> Option<&'static Parameter> {
    PARAMETERS.get(name).filter(|parameter| parameter.versions.contains(&major))
}

/// The names of all parameters that a major version has.
pub fn parameters(major: u32) -> impl Iterator<Item = &'static str> {
    PARAMETERS.iter().filter(move |(_, parameter)| parameter.versions.contains(&major)).map(|(name, _)| *name)
}

/// Whether the server takes `value` for a switch: `on`, `true`, `yes`, `1`, their opposites, and what only they begin with
/// (`parse_bool` of the server).
pub fn is_switch(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |whole: &str, least: usize| value.len() >= least && whole.starts_with(&value);
    begins("true", 1)
        || begins("false", 1)
        || begins("yes", 1)
        || begins("no", 1)
        || begins("off", 2)
        || value == "on"
        || value == "1"
        || value == "0"
}

/// Names that belong to the server itself.
const TAKEN: [&str; 5] = ["postgres", "template0", "template1", "public", "none"];

/// Makes the app's role and gives it the database, at every start of the server: it can be repeated, so a server that
/// was killed in the middle is completed, and a credentials Secret that was lost and made anew takes effect. It runs over the
/// socket, as the image's own start does. The role is no superuser and may do all within its own database.
/// psql itself quotes what comes from the environment.
const ENSURE_ROLE: &str = r#"until pg_isready -q -U postgres -d postgres && psql -qX -v ON_ERROR_STOP=1 -U postgres -d postgres <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set name `printenv HKS_NAME`
\set user `printenv HKS_USER`
\set password `printenv HKS_APP_PASSWORD`
SELECT format('CREATE ROLE %I LOGIN', :'user') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
ALTER ROLE :"user" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'user') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
do sleep 0.2; done"#;

/// Extensions need the superuser. What fails is written to the server's log, where people look.
const EXTENSIONS: (&str, &str) =
    ("\npsql -qX -v ON_ERROR_STOP=1 -U postgres -d \"$HKS_NAME\" 2>/proc/1/fd/2 <<'SQL'\n", "SQL");

/// Prints `empty`, or `tables` if anybody has made a table, view or sequence. What belongs to an extension does not count.
/// Every name is qualified: the database belongs to the app, which may put functions of its own into the search path.
const TABLES: &str = "SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
    WHERE n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema}'::pg_catalog.name[]) \
    AND NOT n.nspname OPERATOR(pg_catalog.~) '^pg_toast' \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid OPERATOR(pg_catalog.=) c.oid \
    AND d.deptype OPERATOR(pg_catalog.=) 'e')) THEN 'tables' ELSE 'empty' END";
/// Asks in every database of the server: an administrator may have put something elsewhere than into the one of the file. Names go
/// by the environment, where libpq takes none for a connection string.
const PSQL: &str = r#"set -e
export PGOPTIONS='-c search_path=pg_catalog'
ask() { PGDATABASE="$1" psql -XAtq -v ON_ERROR_STOP=1 -U postgres -c "$2" </dev/null; }
names=$(ask postgres "SELECT d.datname FROM pg_catalog.pg_database d WHERE d.datallowconn")
while IFS= read -r name; do
    found=$(ask "$name" "$0")
    if [ "$found" != empty ]; then printf '%s\n' "$found"; exit; fi
done <<END
$names
END
echo empty"#;

/// Says by `empty` or `tables` whether anybody has made something in a database of the server: to be run in the server's container.
pub const ANY_TABLE: [&str; 4] = ["sh", "-c", PSQL, TABLES];

/// Whether a database or role of this name belongs to the server itself.
pub fn is_taken(name: &str) -> bool {
    name.starts_with("pg_") || TAKEN.contains(&name)
}

/// Where the data of a server of this version is: PostgreSQL 18's layout for every version (docker-library/postgres#1400).
pub fn data_folder(version: impl std::fmt::Display) -> String {
    format!("{MOUNT}/{version}/docker")
}

/// The version whose data is in such a folder.
fn version_of(folder: &str) -> &str {
    let version = folder.strip_prefix(MOUNT).and_then(|rest| rest.strip_prefix('/'));
    version.and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

/// What a server was made with and what its data hangs on, as its container's environment has it: that is what the server really
/// goes by, now and after each upgrade of hks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The major version.
    pub version: &'a str,
    /// The database.
    pub name: &'a str,
    /// Its owner, the app's role.
    pub user: &'a str,
}

impl<'a> Facts<'a> {
    /// Reads them from the environment of a server's container; `None` if it is of something else.
    pub fn of(variable: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let (name, user) = (variable("HKS_NAME")?, variable("HKS_USER")?);
        Some(Self { version: version_of(variable("PGDATA")?), name, user })
    }

    /// Why a server with these facts can't become one with those of `wanted` on the same data, if it can't.
    pub fn refuses(&self, wanted: &Facts<'_>) -> Option<String> {
        for (key, live, wanted) in [("name", self.name, wanted.name), ("user", self.user, wanted.user)] {
            if live != wanted {
                return Some(format!(
                    "`{key}` can't change from `{live}` to `{wanted}`; set it back, or make a new database and copy the data"
                ));
            }
        }
        let (from, to) = (self.version, wanted.version);
        (from != to).then(|| {
            format!(
                "PostgreSQL {from} can't become {to} in place, its files differ; set version back to \"{from}\", or make a new \
                 database and copy the data"
            )
        })
    }
}

/// What the server's container does after each start: the role, the database, and `extensions`.
pub fn prepare(extensions: &[String]) -> String {
    let mut script = ENSURE_ROLE.to_owned();
    if !extensions.is_empty() {
        let create = |extension: &String| format!("CREATE EXTENSION IF NOT EXISTS \"{extension}\";\n");
        script.push_str(EXTENSIONS.0);
        script.extend(extensions.iter().map(create));
        script.push_str(EXTENSIONS.1);
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_version() {
        let is_switch = |name, major| parameter(name, major).map(|parameter| parameter.is_switch);
        assert_eq!((is_switch("fsync", 13), is_switch("work_mem", 18)), (Some(true), Some(false)));
        assert_eq!((is_switch("io_method", 17), is_switch("io_method", 18)), (None, Some(false)));
        assert_eq!((is_switch("db_user_namespace", 16), is_switch("db_user_namespace", 17)), (Some(true), None));
        assert!(parameters(15).all(|name| parameter(name, 15).is_some()) && parameters(15).count() > 300);
        for (value, wanted) in
            [("ON", true), ("of", true), ("t", true), ("0", true), ("o", false), ("", false), ("onn", false)]
        {
            assert_eq!(super::is_switch(value), wanted, "{value}");
        }
    }

    #[test]
    fn the_version_is_read_from_the_folder_again() {
        assert_eq!(version_of(&data_folder(17)), "17");
        assert_eq!(version_of("/var/lib/mysql"), "");
    }

    #[test]
    fn data_stays_with_the_server_that_made_it() {
        let facts = |version, name, user| Facts { version, name, user };
        let live = facts("16", "app", "app");
        let refused = |wanted| live.refuses(&wanted).unwrap_or_default();
        assert_eq!(refused(facts("16", "app", "app")), "");
        assert!(refused(facts("17", "app", "app")).starts_with("PostgreSQL 16 can't become 17 in place"));
        assert!(refused(facts("16", "shop", "app")).starts_with("`name` can't change from `app` to `shop`"));
        assert!(refused(facts("16", "app", "shop")).starts_with("`user` can't change from `app` to `shop`"));
        assert_eq!(Facts::of(|name| (name == "PGDATA").then_some("/data")), None, "some other server");
    }
}

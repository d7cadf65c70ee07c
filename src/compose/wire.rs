//! Variables of services: what names a database, a cache or another service by evidence becomes a reference, what is secret a
//! secret, and words stay words.

use super::address;
use super::image::Role;
use super::secret::{self, Use, is_secret_name, is_secret_value, words};
use super::service::Service;
use super::work::{Kind, Login, Work, has_reference, reference};

/// Words of a variable that names a host.
const HOST: [&str; 17] = [
    "HOST",
    "HOSTS",
    "HOSTNAME",
    "HOSTNAMES",
    "SERVER",
    "SERVERS",
    "ADDR",
    "ADDRESS",
    "ADDRESSES",
    "ENDPOINT",
    "ENDPOINTS",
    "UPSTREAM",
    "UPSTREAMS",
    "BROKERS",
    "NODE",
    "NODES",
    "SEEDS",
];

/// Endings of a variable that says where a server is; before it stands what the others of its kind begin with.
const PLACE: [&str; 12] =
    ["HOSTNAME", "HOSTS", "HOST", "SERVER", "ADDRESS", "ADDR", "ENDPOINT", "URL", "URI", "DSN", "STRING", "SERVICE"];

/// What the rest of a variable's name says, behind what those of one server begin with.
fn field_of(rest: &str) -> Option<&'static str> {
    let rest: String = rest.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    Some(match rest.as_str() {
        "PORT" | "PORTNUMBER" | "DBPORT" => "port",
        "USER" | "USERNAME" | "USR" | "LOGIN" | "ROLE" | "DBUSER" | "DBUSERNAME" => "user",
        "PASSWORD" | "PASS" | "PASSWD" | "PWD" | "PW" | "DBPASSWORD" | "DBPASS" | "AUTH" | "USERPASSWORD" => "password",
        "NAME" | "DB" | "DATABASE" | "DBNAME" | "DATABASENAME" | "DBDATABASE" => "name",
        _ => return None,
    })
}

/// What the variables of one server begin with, longest first.
fn prefixes(key: &str) -> Vec<String> {
    let mut found = vec![];
    let mut rest = key.to_owned();
    loop {
        let trimmed = rest.trim_end_matches(['_', '.', '-']);
        let upper = trimmed.to_ascii_uppercase();
        let Some(end) = PLACE.iter().find(|end| upper.ends_with(**end)) else { break };
        rest = trimmed.get(..trimmed.len() - end.len()).unwrap_or_default().to_owned();
        found.push(rest.clone());
    }
    found
}

/// Whether a variable of this name holds a host.
pub(super) fn is_host_name(key: &str) -> bool {
    let words = words(key);
    let Some(last) = words.last() else { return false };
    let before = words.len().checked_sub(2).and_then(|at| words.get(at)).map(String::as_str);
    HOST.contains(&last.as_str())
        || last.ends_with("HOST")
        || last.ends_with("SERVER")
        || last.ends_with("ADDR")
        || last == "NAME" && before == Some("HOST")
}

impl Work<'_> {
    /// Finds which variables of a service belong together, because one of them names the server.
    pub fn find_pairs(&mut self) {
        let services = self.services;
        for service in services.iter().filter(|service| !self.facts.is_served(&service.name)) {
            for (key, raw) in &service.env {
                let Some(server) = self.server_of(service, key, raw) else { continue };
                let cache = self.facts.role(&server) == Role::Cache;
                self.name_of(raw, &server);
                let known = self.facts.variables.known(raw);
                let mut password = known.contains("://") || known.to_lowercase().contains("password=");
                for prefix in prefixes(key) {
                    for (other, value) in &service.env {
                        let Some(rest) = other.strip_prefix(&prefix).filter(|_| other != key) else { continue };
                        let Some(field) = field_of(rest) else { continue };
                        // without anything in common, `PORT` is the service's own
                        let own = prefix.is_empty() && !matches!(field, "password" | "user");
                        if own || cache && matches!(field, "user" | "name") {
                            continue;
                        }
                        password |= field == "password";
                        self.pair(service, other, value, &server, field);
                    }
                }
                if cache && !password {
                    self.add_password(service, key, &server);
                }
            }
        }
    }

    /// A database that says no name has the one that its first URL says.
    fn name_of(&mut self, raw: &str, server: &str) {
        let known = self.facts.variables.known(raw);
        let found = address::find(&known)
            .into_iter()
            .find(|address| address.scheme.is_some() && self.facts.hosts_same(server, &address.host));
        let path = found.and_then(|address| known.get(address.whole.end..)?.strip_prefix('/'));
        let name = path.map(|path| {
            path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').next().unwrap_or_default()
        });
        if let (Some(name), Some(login)) = (name.filter(|name| !name.is_empty()), self.logins.get_mut(server))
            && login.name.is_none()
            && self.facts.role(server) == Role::Database
        {
            login.name = Some(name.to_owned());
        }
    }

    /// The database or cache that a variable names as host or in a URL.
    fn server_of(&self, service: &Service, key: &str, raw: &str) -> Option<String> {
        let known = self.facts.variables.known(raw);
        let served = |host: &str| {
            let found = self.facts.host(&service.name, host)?;
            self.facts.is_served(found).then(|| found.to_owned())
        };
        if is_host_name(key)
            && let Some(found) = served(known.trim())
        {
            return Some(found);
        }
        let found = address::find(&known).into_iter().find_map(|address| served(&address.host));
        found.or_else(|| served(known.trim()).filter(|_| prefixes(key).iter().any(|prefix| !prefix.is_empty())))
    }

    fn pair(&mut self, service: &Service, key: &str, raw: &str, server: &str, field: &'static str) {
        let at = (service.name.clone(), key.to_owned());
        if self.pairs.contains_key(&at) {
            return;
        }
        let value = self.facts.variables.plain(raw);
        let login = self.logins.get(server).cloned().unwrap_or_default();
        let own = match field {
            "user" => login.user.as_deref(),
            "name" => login.name.as_deref(),
            _ => None,
        };
        let own = own.map(|own| self.facts.variables.plain(own));
        if field == "name"
            && let Some(login) = self.logins.get_mut(server).filter(|login| login.name.is_none() && !value.is_empty())
        {
            login.name = Some(value.clone());
        }
        let mut comment = String::new();
        match field {
            "port" if self.facts.host(&service.name, &value).is_some() || value.contains("://") => return,
            "user" | "name" if !value.is_empty() && own.as_ref().is_some_and(|own| *own != value) => {
                let what = if field == "user" { "role" } else { "database" };
                let message = format!(
                    "was `{value}`, another {what} than that of `{server}`; a database of hks has one, which it is now"
                );
                self.note(Kind::Changed, &service.name, key, &message);
                comment = format!("was {value}");
            }
            _ => {}
        }
        let reference = self.field(server, field);
        self.pairs.insert(at, (reference, comment));
    }

    /// A cache of hks has a password, whatever the one of compose had.
    fn add_password(&mut self, service: &Service, key: &str, server: &str) {
        let prefix = prefixes(key).into_iter().find(|prefix| !prefix.is_empty());
        let name = format!("{}PASSWORD", prefix.unwrap_or_else(|| "REDIS_".to_owned()));
        let reference = self.field(server, "password");
        let message = format!(
            "was added: `{server}` had no password, and a cache of hks always has one; look whether the program reads this variable"
        );
        let added = self.added.entry(service.name.clone()).or_default();
        let there =
            service.env.iter().any(|(known, _)| *known == name) || added.iter().any(|(known, ..)| *known == name);
        if !there && is_env_name(&name) {
            added.push((name.clone(), reference, "a cache of hks always has a password".to_owned()));
            self.note(Kind::Changed, &service.name, &name, &message);
        }
    }

    /// The value of a variable, not finished, and a comment.
    pub fn variable(&mut self, service: &Service, key: &str, raw: &str) -> (String, String) {
        if let Some((reference, comment)) = self.pairs.get(&(service.name.clone(), key.to_owned())) {
            return (reference.clone(), comment.clone());
        }
        if let Some(reference) = self.own_login(service, key, raw) {
            return (reference, String::new());
        }
        let variables = self.facts.variables;
        let known = variables.known(raw);
        let known = known.trim_end_matches('\n').to_owned();
        if let Some(found) = self.bare_host(service, key, &known) {
            return found;
        }
        let alone = variables.alone(raw).cloned();
        let open = known.chars().any(|c| variables.of(c).is_some());
        let secret_name = is_secret_name(key) || alone.as_ref().is_some_and(|variable| is_secret_name(&variable.name));
        if secret_name
            && address::find(&known).iter().all(|address| self.facts.host(&service.name, &address.host).is_none())
        {
            let server = self.is_own_login(service);
            if let Some(variable) = alone.as_ref().filter(|variable| variable.value.is_none()) {
                let used = Use { service: &service.name, key, variable: Some(&variable.name), value: None, server };
                return (self.secret(&used), String::new());
            }
            if !open && is_secret_value(&known) {
                let variable = alone.as_ref().map(|variable| variable.name.as_str());
                let used = Use { service: &service.name, key, variable, value: Some(&known), server };
                return (self.secret(&used), String::new());
            }
        }
        if let Some(variable) = alone.as_ref().filter(|variable| variable.value.is_none() && secret::is_secret_url(key))
        {
            let used = Use { service: &service.name, key, variable: Some(&variable.name), value: None, server: false };
            return (self.secret(&used), String::new());
        }
        let text = self.text(service, key, raw);
        if !open && !has_reference(&text) && crate::spec::is_credential(&text) {
            let variable = alone.as_ref().map(|variable| variable.name.as_str());
            let used = Use { service: &service.name, key, variable, value: Some(&known), server: false };
            return (self.secret(&used), String::new());
        }
        (text, String::new())
    }

    /// Keeps the secrets of databases and queues first: they have the name of the one who makes a login of them.
    pub fn find_own_secrets(&mut self) {
        let services = self.services;
        for service in services {
            if !self.is_own_login(service) {
                continue;
            }
            for (key, raw) in &service.env {
                if is_secret_name(key) && !self.pairs.contains_key(&(service.name.clone(), key.clone())) {
                    self.variable(service, key, raw);
                }
            }
        }
    }

    /// Whether the secrets of a service are those that it makes its own logins of.
    pub fn is_own_login(&self, service: &Service) -> bool {
        matches!(self.facts.role(&service.name), Role::Store | Role::ForeignDatabase)
    }

    /// A variable that is a database's own: the same variable of the project, or the same name and value.
    fn own_login(&self, service: &Service, key: &str, raw: &str) -> Option<String> {
        let variables = self.facts.variables;
        let alone = variables.alone(raw).map(|variable| variable.name.as_str());
        let plain = variables.plain(raw);
        let words = words(key);
        let of_database = words.iter().any(|word| {
            ["POSTGRES", "POSTGRESQL", "PG", "DB", "DATABASE", "SQL"].contains(&word.as_str()) || word.starts_with("PG")
        });
        for (server, login) in &self.logins {
            let fields: [(&str, &Option<String>, &[&str]); 3] = [
                (
                    "password",
                    &login.password,
                    &["POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD", "REDIS_PASSWORD", "PGPASSWORD"],
                ),
                ("user", &login.user, &["POSTGRES_USER", "POSTGRESQL_USERNAME", "PGUSER"]),
                ("name", &login.name, &["POSTGRES_DB", "POSTGRESQL_DATABASE", "PGDATABASE"]),
            ];
            for (field, own, names) in fields {
                let Some(own) = own else { continue };
                let same_variable = alone.is_some() && variables.alone(own).map(|own| own.name.as_str()) == alone;
                let same_name = names.contains(&key) && !plain.is_empty() && variables.plain(own) == plain;
                let fits = match field {
                    "password" => is_secret_name(key) || of_database,
                    "user" => {
                        of_database
                            && words.iter().any(|word| word.contains("USER") || word == "ROLE" || word == "OWNER")
                    }
                    _ => of_database && !words.iter().any(|word| word.contains("USER") || word.contains("PASS")),
                };
                let related =
                    same_name && (self.logins.len() == 1 || service.depends.iter().any(|(on, _)| on == server));
                if same_variable && fits || related {
                    return Some(self.field(server, field));
                }
            }
        }
        None
    }

    /// A value that is nothing but the name of a service, or several of them.
    fn bare_host(&mut self, service: &Service, key: &str, known: &str) -> Option<(String, String)> {
        let names: Vec<&str> = known.split(',').map(str::trim).collect();
        let found: Option<Vec<String>> =
            names.iter().map(|name| self.facts.host(&service.name, name).map(str::to_owned)).collect();
        let found = found?;
        let own = found.iter().all(|other| *other == service.name);
        if !is_host_name(key) {
            if is_secret_name(key) {
                return None;
            }
            let comment = format!("the word `{known}`, not the host of the service");
            return Some((known.to_owned(), if own { String::new() } else { comment }));
        }
        if own {
            return Some((known.to_owned(), String::new()));
        }
        let hosts: Vec<String> = found.iter().map(|other| self.host_of(service, key, other)).collect();
        Some((hosts.join(","), String::new()))
    }

    /// The host of a service as a reference; its name where it has no port.
    pub fn host_of(&mut self, service: &Service, key: &str, other: &str) -> String {
        if self.facts.is_served(other) {
            return self.field(other, "host");
        }
        let name = self.facts.name(other).to_owned();
        if self.facts.ending.contains(other) {
            self.note(
                Kind::Changed,
                &service.name,
                key,
                &format!("names `{other}`, which is a job here and can't be reached"),
            );
            return name;
        }
        if self.facts.ports.get(other).is_none_or(Vec::is_empty) {
            let message = format!(
                "names `{other}`, which tells no port, so that nothing can reach it; add `ports` to `apps.{name}`, then write \
                 ${{apps.{name}.host}} here"
            );
            self.note(Kind::Set, &service.name, key, &message);
            return name;
        }
        reference(&format!("apps.{name}.host"))
    }

    /// Reads the logins of databases and caches.
    pub fn find_logins(&mut self) {
        for service in self.services.iter().filter(|service| self.facts.is_served(&service.name)) {
            let of = |names: &[&str]| {
                let found = service.env.iter().find(|(key, _)| names.contains(&key.as_str()));
                found.map(|(_, value)| value.clone()).filter(|value| !self.facts.variables.known(value).is_empty())
            };
            let mut login = Login::default();
            if self.facts.role(&service.name) == Role::Database {
                login.user = of(&["POSTGRES_USER", "POSTGRESQL_USERNAME", "POSTGRES_USERNAME", "POSTGRESQL_USER"]);
                login.password = of(&[
                    "POSTGRES_PASSWORD",
                    "POSTGRESQL_PASSWORD",
                    "POSTGRES_PASSWORD_FILE",
                    "POSTGRESQL_PASSWORD_FILE",
                ]);
                // the image: the name of the user, unless it is said
                let usual =
                    |user: &String| self.facts.variables.plain(user) != "postgres" && !user.starts_with("/run/");
                login.name = of(&["POSTGRES_DB", "POSTGRESQL_DATABASE", "POSTGRES_DATABASE"])
                    .or_else(|| login.user.clone().filter(usual));
            } else {
                login.password = of(&["REDIS_PASSWORD", "VALKEY_PASSWORD", "KEYDB_PASSWORD", "REDIS_PASSWORD_FILE"]);
                if let Some(password) = super::cache::option(service, self.facts, "--requirepass") {
                    login.password = Some(login.password.filter(|_| password.is_empty()).unwrap_or(password));
                }
            }
            self.logins.insert(service.name.clone(), login);
        }
    }
}

/// Whether hks.yaml takes a variable of this name.
pub(super) fn is_env_name(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.len() <= 256
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !key.starts_with("HKS_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_what_belongs_to_them() {
        for key in [
            "DB_HOST",
            "PGHOST",
            "GITEA__database__HOST",
            "UPSTREAM",
            "POSTGRES_SERVER",
            "DB_HOSTNAME",
            "dbHost",
            "DB_HOST_NAME",
        ] {
            assert!(is_host_name(key), "{key}");
        }
        for key in ["QUEUE_CONNECTION", "DB_USER", "KC_DB", "SERVER_NAME", "CACHE_DRIVER", "DB_TYPE", "HOST_TYPE"] {
            assert!(!is_host_name(key), "{key}");
        }
        assert_eq!(prefixes("KC_DB_URL_HOST"), ["KC_DB_URL_", "KC_DB_"]);
        assert_eq!(prefixes("PGHOST"), ["PG"]);
        assert_eq!(prefixes("database__connection__host"), ["database__connection__"]);
        assert_eq!(prefixes("UPSTREAM"), Vec::<String>::new());
        assert_eq!(field_of("DATABASE_NAME"), Some("name"));
        assert_eq!(field_of("POOL"), None);
    }
}

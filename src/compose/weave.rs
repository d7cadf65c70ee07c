//! Texts with addresses in them, and commands.

use super::address::{self, Address};
use super::image::Role;
use super::secret::{Use, is_secret_name, is_secret_value};
use super::service::{Reach, Service};
use super::work::{Kind, Work, has_reference, outside, secret_reference};

/// Schemes of URLs that PostgreSQL is reached by.
fn is_postgres(scheme: &str) -> bool {
    ["postgres", "postgresql", "postgis", "pgsql", "psql", "ecto", "pgx", "timescale"]
        .iter()
        .any(|name| scheme == *name || scheme.starts_with(&format!("{name}+")) || scheme.ends_with(&format!(":{name}")))
}

/// Schemes of URLs that Redis is reached by.
fn is_redis(scheme: &str) -> bool {
    matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys" | "redis-sentinel" | "keydb")
}

impl Work<'_> {
    /// A text with its addresses as references, its secrets as secrets, and its variables as parameters; not finished.
    pub fn text(&mut self, service: &Service, key: &str, raw: &str) -> String {
        let known = self.with_secrets(service, key, raw);
        let woven = match self.parts(service, key, &known) {
            Some(woven) => woven,
            None => self.addresses(service, key, &known),
        };
        let woven = self.without_secrets(&woven);
        self.without_variables(service, key, &woven)
    }

    /// What is known, with variables that are secret by their name as secrets.
    fn with_secrets(&mut self, service: &Service, key: &str, raw: &str) -> String {
        let mut out = String::with_capacity(raw.len());
        for c in raw.chars() {
            match self.facts.variables.of(c).cloned() {
                Some(variable) => match &variable.value {
                    Some(value) if is_secret_name(&variable.name) && is_secret_value(value) => {
                        let own = self.own_of(&variable.name);
                        out.push_str(&own.unwrap_or_else(|| {
                            let (service, name) = (service.name.as_str(), Some(variable.name.as_str()));
                            self.secret(&Use { service, key, variable: name, value: Some(value), server: false })
                        }));
                    }
                    Some(value) => out.push_str(value),
                    None => out.push(c),
                },
                None => out.push(c),
            }
        }
        out
    }

    fn addresses(&mut self, service: &Service, key: &str, known: &str) -> String {
        let mut out = String::with_capacity(known.len());
        let mut at = 0;
        for address in address::find(known) {
            if address.whole.start < at {
                continue;
            }
            out.push_str(known.get(at..address.whole.start).unwrap_or_default());
            let rest = known.get(address.whole.end..).unwrap_or_default();
            let (made, taken) = self.address(service, key, &address, rest);
            match made {
                Some(made) => out.push_str(&made),
                None => out.push_str(known.get(address.whole.clone()).unwrap_or_default()),
            }
            at = address.whole.end + if taken <= rest.len() { taken } else { 0 };
        }
        out.push_str(known.get(at..).unwrap_or_default());
        out
    }

    /// What an address becomes, and how much of what stands behind it is in that.
    fn address(&mut self, service: &Service, key: &str, address: &Address, rest: &str) -> (Option<String>, usize) {
        self.this_machine(service, key, address);
        let server = self.facts.host(&service.name, &address.host).map(str::to_owned);
        let Some(server) = server else { return (self.login_of(service, key, address, &address.host.clone()), 0) };
        let stop = |c: char| c.is_whitespace() || "\"'`,;)]}>|<\\".contains(c);
        let path_end = rest.find(|c| stop(c) || c == '?').unwrap_or(rest.len());
        let path = rest.get(..path_end).unwrap_or_default();
        let scheme = address.scheme.as_deref().unwrap_or_default();
        let role = self.facts.role(&server);
        let field = |work: &Self, field: &str| work.field(&server, field);
        match role {
            Role::Database if is_postgres(scheme) => {
                self.other_database(service, key, &server, path);
                let bare = scheme.ends_with(":postgresql") && address.user.is_none();
                let made = if bare {
                    field(self, "jdbcUrl")
                } else if matches!(scheme, "postgres" | "postgresql") {
                    field(self, "url")
                } else {
                    let part = |name| field(self, name);
                    format!(
                        "{scheme}://{}:{}@{}:{}/{}",
                        part("user"),
                        part("password"),
                        part("host"),
                        part("port"),
                        part("name")
                    )
                };
                // `?user=…&password=…`
                let query_end = rest.find(stop).unwrap_or(rest.len());
                let query = rest.get(path_end..query_end).unwrap_or_default();
                (Some(format!("{made}{}", self.query(&server, query))), query_end)
            }
            Role::Cache if is_redis(scheme) => {
                if scheme.ends_with('s') && scheme != "redis" {
                    self.note(Kind::Changed, &service.name, key, "a cache of hks speaks no TLS; the URL says so now");
                }
                let number = path.trim_start_matches('/');
                let made = if matches!(number, "" | "0") && matches!(scheme, "redis" | "valkey" | "rediss") {
                    field(self, "url")
                } else {
                    let scheme = if scheme == "rediss" { "redis" } else { scheme };
                    let path = if path.is_empty() { "/0" } else { path };
                    let part = |name| field(self, name);
                    format!("{scheme}://:{}@{}:{}{path}", part("password"), part("host"), part("port"))
                };
                (Some(made), path_end)
            }
            Role::Database | Role::Cache => {
                let before = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
                let port = address.port.as_ref().map(|_| format!(":{}", field(self, "port"))).unwrap_or_default();
                (Some(format!("{before}{}{port}", field(self, "host"))), 0)
            }
            _ => {
                let host = self.host_of(service, key, &server);
                (Some(self.login_of(service, key, address, &host).unwrap_or_else(|| plain(address, &host))), 0)
            }
        }
    }

    /// Tells of addresses of the machine that compose ran on: there is none like it any more.
    fn this_machine(&mut self, service: &Service, key: &str, address: &Address) {
        let host = address.host.as_str();
        if matches!(host, "host.docker.internal" | "gateway.docker.internal" | "172.17.0.1") {
            let message = format!("names {host}, the machine that compose ran on; write the address of what it meant");
            self.note(Kind::Set, &service.name, key, &message);
            return;
        }
        let port: Option<u16> = address.port.as_deref().and_then(|port| port.parse().ok());
        if !matches!(host, "localhost" | "127.0.0.1") || port.is_none() {
            return;
        }
        let published = |other: &&Service| other.ports.iter().any(|own| own.reach != Reach::Inside && own.host == port);
        if let Some(other) = self.services.iter().find(published).map(|other| other.name.clone()) {
            let message = format!(
                "names {host}:{}, where `{other}` was reached on the machine that compose ran on; write the address that it has \
                 now, such as that of its `ingress`",
                address.port.as_deref().unwrap_or_default()
            );
            self.note(Kind::Set, &service.name, key, &message);
        }
    }

    /// A URL whose password becomes a secret; nothing if it has none.
    fn login_of(&mut self, service: &Service, key: &str, address: &Address, host: &str) -> Option<String> {
        let (user, password) = address.user.as_deref()?.split_once(':')?;
        let variables = self.facts.variables;
        let plain = variables.plain(password);
        let alone = variables.alone(password).map(|variable| variable.name.clone());
        if password.is_empty() || has_reference(password) || alone.is_none() && plain != password {
            return None;
        }
        let called = format!("{key}_PASSWORD");
        let used = Use {
            service: &service.name,
            key: &called,
            variable: alone.as_deref(),
            value: Some(password).filter(|_| alone.is_none()),
            server: false,
        };
        let secret = self.secret(&used);
        let port = address.port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = address.scheme.as_ref().map(|scheme| format!("{scheme}://")).unwrap_or_default();
        self.note(
            Kind::Changed,
            &service.name,
            key,
            "the password of its URL is a secret now, and stands nowhere in the file",
        );
        Some(format!("{scheme}{user}:{secret}@{host}{port}"))
    }

    fn other_database(&mut self, service: &Service, key: &str, server: &str, path: &str) {
        let name = self.facts.variables.plain(path.trim_matches('/'));
        let own = self.logins.get(server).and_then(|login| login.name.clone());
        let own = own.map(|own| self.facts.variables.plain(&own));
        if !name.is_empty() && own.as_ref().is_some_and(|own| *own != name && !own.is_empty()) {
            let message = format!(
                "named the database `{name}`, another one than `{server}` makes; a database of hks has one, so add a second one for \
                 `{name}` under `databases`, or share"
            );
            self.note(Kind::Changed, &service.name, key, &message);
        }
    }

    fn query(&self, server: &str, query: &str) -> String {
        let part = |pair: &str| match pair.trim_start_matches('?').split_once('=') {
            Some(("user" | "username", _)) => format!("user={}", self.field(server, "user")),
            Some(("password", _)) => format!("password={}", self.field(server, "password")),
            _ => pair.trim_start_matches('?').to_owned(),
        };
        match query.strip_prefix('?') {
            Some(query) => format!("?{}", query.split('&').map(part).collect::<Vec<_>>().join("&")),
            None => query.to_owned(),
        }
    }

    /// `host=db user=app …`, with blanks or semicolons between (libpq and ADO.NET), and `user:password@tcp(db:3306)/name` (Go's `MySQL`).
    fn parts(&mut self, service: &Service, key: &str, known: &str) -> Option<String> {
        if let Some((login, rest)) = known.split_once("@tcp(")
            && let Some((user, password)) = login.split_once(':')
            && !login.contains(char::is_whitespace)
        {
            let address = Address {
                whole: 0..0,
                scheme: None,
                user: Some(format!("{user}:{password}")),
                host: String::new(),
                port: None,
            };
            let login = self.login_of(service, key, &address, "").unwrap_or_else(|| format!("{login}@"));
            let rest = self.addresses(service, key, &format!("tcp({rest}"));
            return Some(format!("{login}{rest}"));
        }
        let separator = if known.contains(';') { ';' } else { ' ' };
        let pairs: Vec<&str> = known.split(separator).collect();
        let field = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
            let field = match name.as_str() {
                "host" | "server" | "hostname" | "datasource" => "host",
                "port" => "port",
                "user" | "username" | "uid" | "userid" => "user",
                "password" | "pwd" => "password",
                "dbname" | "database" | "initialcatalog" => "name",
                _ => return None,
            };
            Some((field, value.trim().to_owned()))
        };
        if known.contains("://") || pairs.iter().filter(|pair| field(pair).is_some()).count() < 3 {
            return None;
        }
        let host = pairs.iter().find_map(|pair| field(pair).filter(|(field, _)| *field == "host"))?.1;
        let (name, port) = host.split_once([',', ':']).map_or((host.as_str(), None), |(name, port)| (name, Some(port)));
        let server = self.facts.host(&service.name, name)?.to_owned();
        let served = self.facts.role(&server) == Role::Database;
        let mut out = vec![];
        for pair in pairs {
            let Some((field, value)) = field(pair) else {
                out.push(pair.to_owned());
                continue;
            };
            let label = pair.split_once('=').map(|(label, _)| label).unwrap_or_default();
            let made = match field {
                "host" => {
                    let port = port.map(|port| format!(",{port}")).unwrap_or_default();
                    format!("{}{port}", self.host_of(service, key, &server))
                }
                "password" if !served => {
                    let alone = self.facts.variables.alone(&value).map(|variable| variable.name.clone());
                    let called = format!("{key}_PASSWORD");
                    let value = Some(value.as_str()).filter(|_| alone.is_none());
                    self.secret(&Use {
                        service: &service.name,
                        key: &called,
                        variable: alone.as_deref(),
                        value,
                        server: false,
                    })
                }
                field if served => self.field(&server, field),
                _ => value,
            };
            out.push(format!("{label}={made}"));
        }
        Some(out.join(&separator.to_string()))
    }

    /// Secrets that are known by another place, and stand in the middle of a text.
    pub fn without_secrets(&self, text: &str) -> String {
        let mut known: Vec<(String, String)> =
            self.vault.values().into_iter().map(|(value, key)| (value, secret_reference(&key))).collect();
        for (server, login) in &self.logins {
            let password = login.password.as_deref().map(|password| self.facts.variables.plain(password));
            known.extend(
                password.filter(|password| !password.starts_with('/')).map(|it| (it, self.field(server, "password"))),
            );
        }
        known.retain(|(value, _)| value.len() >= 6);
        known.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.0.cmp(&b.0)));
        let mut text = text.to_owned();
        for (value, with) in known.iter().take(200) {
            text = outside(&text, |part| bounded_replace(part, value, with));
        }
        text
    }

    fn without_variables(&mut self, service: &Service, key: &str, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match self.facts.variables.of(c).cloned() {
                Some(variable) => out.push_str(&self.open(&service.name, key, &variable)),
                None => out.push(c),
            }
        }
        out
    }

    /// A command with what names services, and with its secrets, as references.
    pub fn words(&mut self, service: &Service, key: &str, words: &[String]) -> Vec<String> {
        let mut before = String::new();
        let mut out = vec![];
        let subject = self.database_in(service, words);
        for (at, word) in words.iter().enumerate() {
            let next = words.get(at + 1).map(String::as_str);
            let secret =
                before.starts_with('-') && is_secret_name(before.trim_start_matches('-')) && !word.starts_with('-');
            let login = subject.as_deref().and_then(|server| self.login_word(server, &before, word));
            out.push(if let Some(login) = login {
                login
            } else if secret {
                self.password(service, &before, word)
            } else {
                self.word(service, key, &before, word, next)
            });
            before.clone_from(word);
        }
        out
    }

    /// The database that a command names.
    fn database_in(&self, service: &Service, words: &[String]) -> Option<String> {
        let known = words.iter().map(|word| self.facts.variables.known(word));
        let mut hosts = known.flat_map(|word| {
            let found = address::find(&word).into_iter().map(|address| address.host);
            let last = word.rsplit('=').next().unwrap_or_default().to_owned();
            found.chain([word.clone(), last]).collect::<Vec<_>>()
        });
        hosts.find_map(|host| {
            let server = self.facts.host(&service.name, &host)?;
            (self.facts.role(server) == Role::Database).then(|| server.to_owned())
        })
    }

    /// User and name of that database, where an option says them: `-U postgres`, `-user=app`, `--dbname app`.
    fn login_word(&self, server: &str, before: &str, word: &str) -> Option<String> {
        let known = self.facts.variables.known(word);
        let (option, value, head) = match known.split_once('=').filter(|(name, _)| name.starts_with('-')) {
            Some((name, value)) => (name.to_owned(), value.to_owned(), format!("{name}=")),
            None => (before.to_owned(), known.clone(), String::new()),
        };
        let login = self.logins.get(server)?;
        let own = |text: &Option<String>| text.as_deref().is_some_and(|own| self.facts.variables.plain(own) == value);
        let field = match option.as_str() {
            "-U" | "--username" | "-user" | "--user" if own(&login.user) || value == "postgres" => "user",
            "-d" | "--dbname" | "--database" if own(&login.name) => "name",
            _ => return None,
        };
        Some(format!("{head}{}", self.field(server, field)))
    }

    /// What stands behind `--password`.
    fn password(&mut self, service: &Service, flag: &str, raw: &str) -> String {
        let variables = self.facts.variables;
        let alone = variables.alone(raw).map(|variable| variable.name.clone());
        let known = variables.known(raw);
        // the shell puts it in
        if known.is_empty() || known.starts_with('$') || alone.is_none() && variables.plain(raw) != known {
            return self.text(service, "command", raw);
        }
        if let Some(own) =
            self.logins.iter().find(|(_, login)| login.password.as_deref() == Some(raw)).map(|(name, _)| name.clone())
        {
            return self.field(&own, "password");
        }
        let key: String = flag.trim_start_matches('-').to_uppercase().replace('-', "_");
        let value = Some(known.as_str()).filter(|known| variables.plain(raw) == **known && !known.is_empty());
        let value = value.filter(|value| value.chars().all(|c| variables.of(c).is_none()));
        self.secret(&Use { service: &service.name, key: &key, variable: alone.as_deref(), value, server: false })
    }

    fn word(&mut self, service: &Service, key: &str, before: &str, word: &str, next: Option<&str>) -> String {
        let known = self.facts.variables.known(word);
        // blanks of a variable's value part no words here: its character stays whole
        if word.contains(char::is_whitespace) {
            // a text for a shell: words with what stands between them
            let mut parts: Vec<(String, bool)> = vec![];
            for c in word.chars() {
                match parts.last_mut() {
                    Some((part, blank)) if *blank == c.is_whitespace() => part.push(c),
                    _ => parts.push((c.to_string(), c.is_whitespace())),
                }
            }
            let words: Vec<String> = parts.iter().filter(|(_, blank)| !blank).map(|(part, _)| part.clone()).collect();
            let mut turned = self.words(service, key, &words).into_iter();
            let put =
                parts.into_iter().map(|(part, blank)| if blank { part } else { turned.next().unwrap_or_default() });
            return put.collect();
        }
        let flag = |text: &str| {
            let name = text.trim_start_matches('-');
            text.starts_with('-')
                && (matches!(name, "h" | "H" | "host" | "hostname")
                    || name.ends_with("-host")
                    || name.ends_with("_host"))
        };
        let port = next.is_some_and(|next| {
            let next = next.trim_end_matches([';', '&', ')']);
            next.len() >= 2 && next.len() <= 5 && next.chars().all(|c| c.is_ascii_digit())
        });
        if let Some(server) = self.facts.host(&service.name, &known).map(str::to_owned)
            && (flag(before) || port)
        {
            return self.host_of(service, key, &server);
        }
        if let Some((name, value)) = known.split_once('=') {
            let server = self.facts.host(&service.name, value).map(str::to_owned);
            if let Some(server) = server.filter(|_| flag(name) || super::wire::is_host_name(name)) {
                return format!("{name}={}", self.host_of(service, key, &server));
            }
            if name.starts_with("--") && is_secret_name(name) && !value.is_empty() && !value.starts_with(['$', '/']) {
                let raw = word.split_once('=').map_or(value, |(_, raw)| raw);
                return format!("{name}={}", self.password(service, name, raw));
            }
        }
        self.text(service, key, word)
    }
}

/// An address with another host.
fn plain(address: &Address, host: &str) -> String {
    let scheme = address.scheme.as_ref().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let user = address.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = address.port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{user}{host}{port}")
}

/// Replaces a value where it is not a part of a longer word.
fn bounded_replace(text: &str, value: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (start, _) in text.match_indices(value) {
        let end = start + value.len();
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let before = inside(text.get(..start).and_then(|text| text.chars().next_back()));
        let behind = inside(text.get(end..).and_then(|text| text.chars().next()));
        if before || behind || start < at {
            continue;
        }
        out.push_str(text.get(at..start).unwrap_or_default());
        out.push_str(with);
        at = end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

//! Health checks as probes.

use super::address;
use super::facts::{AppPort, Protocol};
use super::service::Service;
use super::words::{quoted, seconds};
use super::work::{Kind, Work};
use super::write::{Map, Value};

/// Options of curl and wget that change nothing about what is asked, with those that take a word behind them.
const PLAIN: [&str; 27] = [
    "-f",
    "-s",
    "-S",
    "-L",
    "-q",
    "-I",
    "-k",
    "-O",
    "-fs",
    "-sf",
    "-fsS",
    "-sSf",
    "-fsSL",
    "-sfS",
    "-qO-",
    "-nv",
    "-O-",
    "--fail",
    "--silent",
    "--show-error",
    "--spider",
    "--quiet",
    "--no-verbose",
    "--location",
    "--tries=1",
    "--head",
    "-fSs",
];

/// What a health check asks.
#[derive(Debug, PartialEq)]
enum Test {
    /// GET of a path on a port.
    Get(u16, String),
    /// A command.
    Command(Vec<String>),
}

/// Reads a plain GET by curl or wget out of a command.
fn get(line: &str) -> Option<(u16, String)> {
    let line = line.trim();
    let line = line.split("||").next().unwrap_or_default().trim();
    if line.contains(['|', ';', '$', '`', '<']) || line.contains("&&") {
        return None;
    }
    let mut words = super::words::shell_words(line).into_iter();
    let program = words.next()?;
    if !matches!(program.rsplit('/').next(), Some("curl" | "wget")) {
        return None;
    }
    let mut url = None;
    while let Some(word) = words.next() {
        if PLAIN.contains(&word.as_str())
            || word.starts_with("--tries=")
            || word.starts_with("--timeout=")
            || word.starts_with("--retry=")
        {
            continue;
        }
        match word.as_str() {
            "-o" | "--output" | "-m" | "--max-time" | "-t" | "-T" | "--timeout" | "--tries" | "--connect-timeout"
            | "--retry" | ">" => {
                words.next();
            }
            ">/dev/null" | "2>&1" | "-" | "/dev/null" => {}
            word if word.starts_with('-') || url.is_some() => return None,
            word => url = Some(word.to_owned()),
        }
    }
    let url = url?;
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    let address = address::find(&url).into_iter().next()?;
    let local = matches!(address.host.as_str(), "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]");
    if address.scheme.as_deref() != Some("http") || !local || address.user.is_some() {
        return None;
    }
    let port = address.port.as_deref().map_or(Some(80), |port| port.parse().ok())?;
    let path = url.get(address.whole.end..).unwrap_or_default();
    let path = if path.is_empty() { "/".to_owned() } else { path.split('#').next().unwrap_or_default().to_owned() };
    let fits =
        path.starts_with('/') && path.chars().all(|c| c.is_ascii_alphanumeric() || "._~!$&'()*+,;=:@%/?-".contains(c));
    fits.then_some((port, path))
}

impl Work<'_> {
    pub fn probes(&mut self, service: &Service, ports: &[AppPort], app: &mut Map) {
        let check = service.node.get("healthcheck").clone();
        if check.is_null() {
            return;
        }
        let Some(test) = self.test(service) else { return };
        let mut probe = Map::default();
        match test {
            Test::Get(number, path) => {
                let port = ports.iter().find(|port| port.number == number && port.protocol == Protocol::Http);
                if let Some(port) = port {
                    probe.set("path", path);
                    if ports.first().is_some_and(|first| first.name != port.name) {
                        probe.set("port", port.name.clone());
                    }
                } else {
                    // it is asked inside of the container, where that port may be bound to the loopback
                    let words = self.raw_test(service).unwrap_or_default();
                    probe.set("exec", Value::List(words.into_iter().map(Value::from).collect()));
                }
            }
            Test::Command(words) => probe.set("exec", Value::List(words.into_iter().map(Value::from).collect())),
        }
        for (from, to) in [("interval", "period"), ("timeout", "timeout")] {
            if let Some(text) = check.get(from).text() {
                match seconds(text) {
                    Some(seconds) => probe.set(to, format!("{}s", seconds.clamp(1, 3600))),
                    None => self.note(
                        Kind::Lost,
                        &service.name,
                        &format!("healthcheck.{from}"),
                        &format!("`{text}` is no duration"),
                    ),
                }
            }
        }
        if let Some(retries) =
            check.get("retries").text().and_then(|text| text.parse::<u64>().ok()).filter(|n| (1..=1000).contains(n))
        {
            probe.set("failureThreshold", retries);
        }
        if let Some(delay) =
            check.get("start_period").text().and_then(seconds).filter(|delay| (1..=3600).contains(delay))
        {
            probe.set_because("initialDelay", format!("{delay}s"), "start_period");
        }
        app.map("probes").set_because(
            "readiness",
            probe,
            "the health check: no traffic before it is well; add `liveness` to have it restarted",
        );
    }

    /// The words of the check as they would be run, secrets by the names of their variables.
    fn raw_test(&mut self, service: &Service) -> Option<Vec<String>> {
        let raw = self.project.services.iter().find(|(name, _)| *name == service.name).map(|(_, node)| node)?;
        let test = raw.get("healthcheck").get("test").clone();
        let shell = |text: &str| vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()];
        let words = if let Some(text) = test.text() {
            shell(text)
        } else {
            let list = test.texts();
            let (first, rest) = list.split_first()?;
            match first.as_str() {
                "CMD" => rest.to_vec(),
                "CMD-SHELL" => shell(&rest.join(" ")),
                _ => return None,
            }
        };
        // a probe can't refer to anything, but a shell in the container knows its environment
        let mut named = vec![];
        let mut changed = false;
        for word in &words {
            let (word, was) = self.by_names(service, word);
            changed |= was;
            named.push(word);
        }
        let is_shell = named
            .first()
            .is_some_and(|word| word.rsplit('/').next().is_some_and(|name| matches!(name, "sh" | "bash" | "ash")))
            && named.get(1).is_some_and(|word| word.starts_with('-') && word.ends_with('c'));
        if changed && !is_shell {
            named = shell(&quoted(&named));
        }
        (!named.iter().any(|word| crate::spec::is_credential(word))).then_some(named)
    }

    /// A word with variables that have no value, and with secrets, as `$NAME` of the container's environment.
    fn by_names(&self, service: &Service, raw: &str) -> (String, bool) {
        let variables = self.facts.variables;
        let mut out = String::new();
        let mut changed = false;
        for c in raw.chars() {
            let Some(variable) = variables.of(c) else {
                out.push(c);
                continue;
            };
            let own = service
                .env
                .iter()
                .find(|(_, value)| variables.alone(value).is_some_and(|known| known.name == variable.name));
            let secret = super::secret::is_secret_name(&variable.name);
            match (own, &variable.value) {
                (Some((key, _)), value) if value.is_none() || secret => {
                    changed = true;
                    out.push('$');
                    out.push_str(key);
                }
                (_, Some(value)) => out.push_str(value),
                _ => {}
            }
        }
        for (key, value) in &service.env {
            let value = variables.plain(value);
            if value.len() >= 4 && super::secret::is_secret_name(key) && out.contains(&value) {
                changed = true;
                out = out.replace(&value, &format!("${key}"));
            }
        }
        let (unbraced, was) = unbraced(&out);
        (unbraced, changed || was)
    }

    fn test(&mut self, service: &Service) -> Option<Test> {
        let check = service.node.get("healthcheck");
        let test = check.get("test");
        let list = test.texts();
        if check.get("disable").is_true() || list.first().is_some_and(|first| first == "NONE") || test.is_null() {
            return None;
        }
        let line = match (test.text(), list.split_first()) {
            (Some(text), _) => text.to_owned(),
            (None, Some((first, rest))) if first == "CMD-SHELL" => rest.join(" "),
            (None, Some((_, rest))) => quoted(rest),
            _ => String::new(),
        };
        if let Some((port, path)) = get(&line) {
            return Some(Test::Get(port, path));
        }
        match self.raw_test(service) {
            Some(words) if !words.is_empty() && words.len() <= 100 => Some(Test::Command(words)),
            _ => {
                let message = "is not carried over: a probe can't hold a secret; put the check into a script of the image, and write \
                               `probes.readiness.exec`";
                self.note(Kind::Lost, &service.name, "healthcheck", message);
                None
            }
        }
    }
}

/// `${NAME}` as `$NAME`, where that is the same to a shell.
fn unbraced(text: &str) -> (String, bool) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let (name, behind) = after.split_at(end);
        match behind.strip_prefix('}') {
            Some(behind) if !name.is_empty() && !behind.starts_with(is_name) => {
                out.push('$');
                out.push_str(name);
                rest = behind;
                changed = true;
            }
            _ => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    (out, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_requests_are_read() {
        for (line, wanted) in [
            ("curl -f http://localhost:3000/up || exit 1", Some((3000, "/up"))),
            ("curl -fs localhost:8080", Some((8080, "/"))),
            ("wget -qO- http://127.0.0.1/health?x=1", Some((80, "/health?x=1"))),
            ("wget --no-verbose --tries=1 --spider http://localhost:9/x", Some((9, "/x"))),
            ("curl -f -o /dev/null http://localhost:1/", Some((1, "/"))),
            ("curl -H \"X: y\" localhost:8080/health", None),
            ("curl -f http://localhost/ | grep ok", None),
            ("curl -f https://localhost/", None),
            ("curl -f http://other:80/", None),
            ("pg_isready", None),
        ] {
            assert_eq!(get(line), wanted.map(|(port, path)| (port, path.to_owned())), "{line}");
        }
        assert_eq!(unbraced("a ${B} ${C}d ${D:-e} ${}").0, "a $B ${C}d ${D:-e} ${}");
    }
}

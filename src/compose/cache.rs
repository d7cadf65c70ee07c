//! Caches: Redis and Valkey as hks can be.

use super::facts::Facts;
use super::image;
use super::service::{Service, Source};
use super::words::{bytes, quantity, shell_words};
use super::work::{Kind, Work};
use super::write::{Map, Value};

/// What goes when the memory is full.
const EVICTIONS: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

/// The words of a server's command; what a shell gets is taken apart.
fn command(service: &Service) -> Vec<String> {
    let words: Vec<String> = service.entrypoint.iter().chain(&service.command).flatten().cloned().collect();
    words
        .into_iter()
        .flat_map(|word| if word.contains(char::is_whitespace) { shell_words(&word) } else { vec![word] })
        .collect()
}

/// An option of a server's command, with variables.
pub(super) fn option(service: &Service, facts: &Facts<'_>, name: &str) -> Option<String> {
    let words = command(service);
    let at = words.iter().position(|word| word.trim_end_matches('"') == name || word.starts_with(&format!("{name}=")));
    let found = if let Some(at) = at {
        let inside = words.get(at).and_then(|word| word.split_once('='));
        inside.map_or_else(|| words.get(at + 1).cloned().unwrap_or_default(), |(_, value)| value.to_owned())
    } else {
        // the official image takes options by a variable as well
        let all = service.env.iter().find(|(known, _)| known == "REDIS_ARGS")?;
        let words = shell_words(&facts.variables.known(&all.1));
        words.iter().position(|word| word == name).and_then(|at| words.get(at + 1).cloned())?
    };
    // `$REDIS_PASSWORD` is what the shell puts in
    let own = found.trim_matches(['"', '\'']).trim_start_matches('$').trim_matches(['{', '}']).to_owned();
    if found.trim_matches('"').starts_with('$') {
        return service.env.iter().find(|(key, _)| *key == own).map(|(_, value)| value.clone()).or(Some(String::new()));
    }
    Some(found)
}

impl Work<'_> {
    pub fn cache(&mut self, service: &Service) {
        let name = self.facts.name(&service.name).to_owned();
        let image = self.facts.variables.plain(&service.image);
        let (repository, _) = image::parts(&image);
        let valkey = repository.contains("valkey");
        let mut cache = Map::default();
        cache.set("engine", if valkey { "valkey" } else { "redis" });
        if repository.contains("keydb") {
            self.note(
                Kind::Changed,
                &service.name,
                "image",
                "KeyDB becomes Redis, whose protocol it speaks; its own commands are not there",
            );
        }
        self.cache_version(service, &image, valkey, &mut cache);
        let plain = |text: Option<String>| text.map(|text| self.facts.variables.plain(&text));
        let memory = plain(option(service, self.facts, "--maxmemory"));
        let eviction = plain(option(service, self.facts, "--maxmemory-policy"));
        let appends = plain(option(service, self.facts, "--appendonly")).is_some_and(|word| word.starts_with("yes"));
        let saves = plain(option(service, self.facts, "--save"))
            .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        if let Some(memory) = memory {
            match bytes(&memory).filter(|bytes| *bytes >= 1 << 20) {
                Some(bytes) => cache.set("maxMemory", quantity(bytes)),
                None => self.note(
                    Kind::Lost,
                    &service.name,
                    "command",
                    &format!("`--maxmemory {memory}` is no amount that hks takes"),
                ),
            }
        } else if let Some(limit) = super::limits::limit(service) {
            // hks gives the server half as much again as its data, and 32Mi
            let data = limit.saturating_sub(32 << 20) * 2 / 3;
            cache.set_because(
                "maxMemory",
                quantity(data.max(16 << 20)),
                "for data; the server gets more, the limit of compose in all",
            );
        }
        match eviction {
            Some(policy) if EVICTIONS.contains(&policy.as_str()) => cache.set("eviction", policy),
            Some(policy) => self.note(
                Kind::Lost,
                &service.name,
                "command",
                &format!("`--maxmemory-policy {policy}` is none that hks has"),
            ),
            None => {}
        }
        let kept = service.mounts.iter().any(|mount| {
            matches!(mount.source, Source::Named(_) | Source::Host(_))
                && !mount.target.contains(".conf")
                && !mount.target.contains("/etc/")
        });
        if appends || saves || kept {
            let mut size = Map::default();
            size.set("size", "1Gi");
            cache.set_because("persistence", size, "keeps its data over restarts; the size is a guess");
            self.note(Kind::Lost, &service.name, "volumes", "its data is not carried over; the new volume has 1Gi");
        }
        self.cache_rest(service);
        self.out.map("caches").set(&name, cache);
    }

    fn cache_version(&mut self, service: &Service, image: &str, valkey: bool, cache: &mut Map) {
        let (title, known, usual) =
            if valkey { ("Valkey", &["7", "8", "9"][..], "8") } else { ("Redis", &["6", "7", "8"][..], "7") };
        let found = image::version(image);
        let (version, comment) = match found.as_deref() {
            Some(version) if known.contains(&version) => (version, String::new()),
            Some(other) => {
                let number: u32 = other.parse().unwrap_or_default();
                let nearest = if number > 6 { known.last() } else { known.first() };
                let nearest = nearest.copied().unwrap_or(usual);
                let message = format!("{title} {other} is not among those of hks; it is {nearest} here");
                self.note(Kind::Changed, &service.name, "image", &message);
                (nearest, format!("was {other}, which hks does not have"))
            }
            None => {
                let message =
                    format!("`{}` names no version of {title}; it is {usual} here", self.shown(&service.image));
                self.note(Kind::Changed, &service.name, "image", &message);
                (usual, "the image names none".to_owned())
            }
        };
        cache.set_because("version", Value::from(version), &comment);
    }

    fn cache_rest(&mut self, service: &Service) {
        let words = command(service);
        let known = ["--requirepass", "--maxmemory", "--maxmemory-policy", "--appendonly", "--save"];
        let mut left = vec![];
        let mut words = words.iter().map(|word| self.facts.variables.plain(word)).peekable();
        while let Some(word) = words.next() {
            let name = word.split('=').next().unwrap_or_default().to_owned();
            if known.contains(&name.as_str()) {
                if !word.contains('=') {
                    while words.peek().is_some_and(|next| !next.starts_with("--")) {
                        words.next();
                    }
                }
            } else if word.starts_with("--") {
                left.push(word.clone());
                while words.peek().is_some_and(|next| !next.starts_with("--") && !word.contains('=')) {
                    left.extend(words.next());
                }
            } else if word.contains(".conf") {
                left.push(word);
            }
        }
        if !left.is_empty() {
            let message = format!("`{}` is not carried over: hks starts the server itself", self.echoed(&left));
            self.note(Kind::Lost, &service.name, "command", &message);
        }
        let read = [
            "ALLOW_EMPTY_PASSWORD",
            "REDIS_PASSWORD",
            "VALKEY_PASSWORD",
            "REDIS_ARGS",
            "REDIS_PASSWORD_FILE",
            "KEYDB_PASSWORD",
            "TZ",
        ];
        let own = service.node.get("environment").pairs();
        for (key, _) in own.iter().filter(|(key, _)| !read.contains(&key.as_str())) {
            self.note(Kind::Lost, &service.name, key, "is a variable of the image; it is not carried over");
        }
        self.shared_env(service);
        self.served(service, "the cache");
    }
}

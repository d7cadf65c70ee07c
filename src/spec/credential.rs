//! Recognises credentials in plain text, to refuse them in hks.yaml and to keep them out of every message.
//!
//! Invariant: each search looks at a character a few times, whatever the text is: a hostile one may be as long as a file.

use std::sync::LazyLock;

/// What stands for masked characters.
const MASK: char = '*';

/// Prefixes of tokens, how many token characters must follow, and what to call them. Source: the rules of gitleaks, those that
/// need nothing beside the token itself.
const TOKENS: &[(&str, usize, &str)] = &[
    ("sk-", 16, "an API key (`sk-…`)"),
    ("sk_live_", 16, "a Stripe key"),
    ("sk_test_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("rk_test_", 16, "a Stripe key"),
    ("whsec_", 20, "a secret of a webhook"),
    ("ghp_", 20, "a GitHub token"),
    ("gho_", 20, "a GitHub token"),
    ("ghu_", 20, "a GitHub token"),
    ("ghs_", 20, "a GitHub token"),
    ("ghr_", 20, "a GitHub token"),
    ("github_pat_", 20, "a GitHub token"),
    ("glpat-", 16, "a GitLab token"),
    ("glrt-", 16, "a GitLab token"),
    ("gldt-", 16, "a GitLab token"),
    ("xoxb-", 16, "a Slack token"),
    ("xoxp-", 16, "a Slack token"),
    ("xoxa-", 16, "a Slack token"),
    ("xoxs-", 16, "a Slack token"),
    ("xapp-", 16, "a Slack token"),
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("AIza", 35, "a Google API key"),
    ("GOCSPX-", 20, "a Google client secret"),
    ("ya29.", 20, "a Google token"),
    ("SG.", 20, "a SendGrid key"),
    ("npm_", 30, "an npm token"),
    ("pypi-", 32, "a PyPI token"),
    ("dckr_pat_", 20, "a Docker token"),
    ("dop_v1_", 32, "a DigitalOcean token"),
    ("hvs.", 20, "a Vault token"),
    ("hf_", 30, "a Hugging Face token"),
    ("shpat_", 20, "a Shopify token"),
    ("sntrys_", 20, "a Sentry token"),
    ("lin_api_", 20, "a Linear key"),
    ("ATATT3", 20, "an Atlassian token"),
];

/// What the prefixes of tokens end with: few other places need a look.
static ENDS: LazyLock<Vec<[u8; 2]>> = LazyLock::new(|| {
    let mut ends: Vec<_> = TOKENS.iter().filter_map(|(prefix, ..)| prefix.as_bytes().last_chunk().copied()).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
});

/// Addresses that let in whoever knows them: the end of the host before `.com/`, and the path.
const HOOKS: &[(&str, &str)] = &[
    ("hooks.slack", ".com/services/"),
    ("discord", ".com/api/webhooks/"),
    ("discordapp", ".com/api/webhooks/"),
    ("webhook.office", ".com/webhookb2/"),
];
/// How many characters must follow such an address.
const LEAST_HOOK: usize = 8;

/// Where the first credential of some kind stands in a text.
type Search = fn(&str) -> Option<(usize, usize)>;
/// What is told by its form.
const FORMS: [Search; 4] = [url_password, assigned, hook, web_token];

/// A run of base64 characters this long, of mixed case and with digits, is taken for key material when masking.
const OPAQUE: usize = 40;

/// What stands between key and value of YAML.
const ENTRY: &str = ": ";

/// What a reference becomes before [`find`] looks at a text: no literal, but not nothing either.
pub(super) const REFERENCE: char = '\u{1}';

/// What kind of credential `text` holds, if any. References stand in it as [`REFERENCE`].
pub(super) fn find(text: &str) -> Option<&'static str> {
    pem(text)
        .map(|_| "a private key")
        .or_else(|| token(text, 0).map(|t| t.2))
        .or_else(|| hook(text).map(|_| "the address of a webhook, which is a password,"))
        .or_else(|| web_token(text).map(|_| "a JSON Web Token"))
        .or_else(|| url_password(text).map(|_| "a URL with a password"))
        .or_else(|| assigned(text).map(|_| "a password"))
}

/// What kind of credential `value` is by the `name` that it stands under, if any. References stand in it as [`REFERENCE`].
pub(super) fn named(name: &str, value: impl FnOnce() -> String) -> Option<&'static str> {
    let kind = secret_name(name)?;
    is_secret_value(kind, &value(), true).then_some(match kind {
        Kind::Password => "a password",
        Kind::Key => "a key or token",
    })
}

/// `text` with every credential in it replaced by as many `*`.
pub(super) fn mask(text: &str) -> String {
    hidden(text, &FORMS)
}

/// A line of YAML with every credential in it replaced by as many `*`, those too that only their name tells.
pub(super) fn mask_line(line: &str) -> String {
    let [url, assigned, hook, web] = FORMS;
    hidden(line, &[url, assigned, hook, web, entry])
}

fn hidden(text: &str, forms: &[Search]) -> String {
    let mut hidden = vec![false; text.len()];
    let mut hide = |from: usize, to: usize| hidden.get_mut(from..to).unwrap_or_default().fill(true);
    let mut at = 0;
    while let Some((from, to, _)) = token(text, at) {
        hide(from, to);
        at = to;
    }
    for search in forms {
        at = 0;
        while let Some((from, to)) = text.get(at..).and_then(search) {
            hide(at + from, at + to);
            at += to;
        }
    }
    if let Some(from) = pem(text) {
        hide(from, text.len());
    }
    for (from, to) in runs(text, is_opaque).filter(|run| opaque(text, *run)) {
        hide(from, to);
    }
    text.char_indices().map(|(i, c)| if hidden.get(i) == Some(&true) { MASK } else { c }).collect()
}

/// `text` with the passwords of URLs in it replaced.
pub(super) fn mask_urls(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((from, to)) = url_password(rest) {
        let (before, behind) = rest.split_at(to);
        let (kept, password) = before.split_at(from);
        masked.push_str(kept);
        masked.extend(password.chars().map(|_| MASK));
        rest = behind;
    }
    masked + rest
}

/// Where a private key in PEM begins.
fn pem(text: &str) -> Option<usize> {
    let begin = text.find("-----BEGIN ")?;
    text.get(begin..)?.contains("PRIVATE KEY").then_some(begin)
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The first token in `text` from `start` on: from, to and its name. Each character is looked at a few times, however many
/// prefixes there are.
fn token(text: &str, start: usize) -> Option<(usize, usize, &'static str)> {
    let mut run = Run::default();
    for (at, pair) in text.as_bytes().windows(2).enumerate().skip(start) {
        if ENDS.binary_search_by(|end| end.as_slice().cmp(pair)).is_err() {
            continue;
        }
        let from = at + 2;
        let before = text.get(start..from).unwrap_or_default();
        let Some((prefix, least, name)) = TOKENS.iter().find(|(prefix, ..)| before.ends_with(prefix)) else { continue };
        run.go_on(text, from);
        let begin = from - prefix.len();
        let free = text.get(..begin).and_then(|t| t.chars().next_back()).is_none_or(|c| !c.is_ascii_alphanumeric());
        let body = text.get(from..run.end).unwrap_or_default();
        if free && body.len() >= *least && run.plausible(prefix, body, from) {
            return Some((begin, run.end, name));
        }
    }
    None
}

/// Characters of tokens one after the other; many prefixes may stand in them.
#[derive(Default)]
struct Run {
    end: usize,
    /// Where the last part of it begins that looks like chance.
    random: Option<usize>,
}

impl Run {
    fn go_on(&mut self, text: &str, from: usize) {
        if from < self.end {
            return;
        }
        let rest = text.get(from..).unwrap_or_default();
        let body = rest.get(..rest.find(|c| !is_token(c)).unwrap_or(rest.len())).unwrap_or_default();
        let random = |s: &str| s.len() >= 12 && s.chars().any(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        let mut at = from;
        self.random = None;
        for part in body.split(['-', '_']) {
            if random(part) {
                self.random = Some(at);
            }
            at += part.len() + 1;
        }
        self.end = from + body.len();
    }

    /// Whether `body`, which begins at `from`, can be what follows `prefix` in a real token, and is not a word or a name such
    /// as `sk-learn-model-2-service-production`.
    fn plausible(&self, prefix: &str, body: &str, from: usize) -> bool {
        match prefix {
            "AKIA" | "ASIA" => body
                .split(['-', '_'])
                .next()
                .is_some_and(|id| id.len() == 16 && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())),
            _ => !body.contains(['-', '_']) || self.random.is_some_and(|random| random >= from),
        }
    }
}

/// What a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What people choose: anything may be one.
    Password,
    /// What machines make: no number, word or path is one.
    Key,
}

/// Words that end the name of a password, and of what machines make. `_`, `-`, `.` and capitals part words.
const PASSWORDS: &[&str] = &["password", "passwd", "passphrase", "pwd", "passwort", "pass"];
const KEYS: &[&str] = &[
    "secret",
    "token",
    "apikey",
    "api_key",
    "secret_key",
    "secretkey",
    "secret_key_base",
    "private_key",
    "access_key",
    "encryption_key",
    "signing_key",
    "master_key",
    "session_key",
    "auth_key",
    "app_key",
    "client_secret",
    "salt",
    "pepper",
];

/// What kind of secret a variable of this name holds, if any: `DB_PASSWORD` and `apiKey` do, `PASSWORD_MIN_LENGTH`,
/// `PUBLIC_KEY` and `TOKEN_URL` do not.
fn secret_name(name: &str) -> Option<Kind> {
    /// No name is longer.
    const MOST: usize = 256;
    // most names are none, and need no copy
    let last = name.trim_end_matches(|c: char| c.is_ascii_digit() || "vV_-.".contains(c)).bytes().last()?;
    if !b"denrsty".contains(&last.to_ascii_lowercase()) {
        return None;
    }
    let mut words = String::new();
    let mut small = false;
    for c in name.get(..name.floor_char_boundary(MOST)).unwrap_or_default().chars() {
        if small && c.is_ascii_uppercase() {
            words.push('_');
        }
        small = c.is_ascii_lowercase() || c.is_ascii_digit();
        words.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    // `KEY_2`, `SECRET_V2`, `SECRET_2024`: the number is none of the name
    let bare = words.trim_end_matches(|c: char| c.is_ascii_digit());
    let bare = bare.strip_suffix("_v").or_else(|| bare.strip_suffix('_')).unwrap_or(bare);
    let ends = |with: &&&str| {
        bare.strip_suffix(**with).is_some_and(|before| before.is_empty() || before.ends_with('_') || with.len() >= 6)
    };
    let not =
        ["no", "public", "allow", "allow_empty", "enable", "disable", "use", "with", "reset", "grant", "publishable"];
    let word = PASSWORDS.iter().find(|word| ends(word)).map(|word| (word, Kind::Password));
    // `PWD` is where a shell is
    let (word, kind) =
        word.filter(|_| bare != "pwd").or_else(|| KEYS.iter().find(|w| ends(w)).map(|w| (w, Kind::Key)))?;
    let before = bare.strip_suffix(word).unwrap_or_default().trim_end_matches('_');
    let is_last = |not: &&str| before.strip_suffix(not).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
    (!not.iter().any(is_last)).then_some(kind)
}

/// Words that switch something instead of being a secret.
const SWITCHES: [&str; 12] =
    ["true", "false", "yes", "no", "on", "off", "none", "null", "required", "optional", "disabled", "enabled"];

/// Whether a value, or the beginning of one that is not `whole`, can be the secret that its name says: it is there, and more
/// than a reference, a variable, a path or a switch.
fn is_secret_value(kind: Kind, value: &str, whole: bool) -> bool {
    let value = value.trim();
    let referenced = value.contains(REFERENCE) || value.starts_with(['$', '{', '<', '%', '[']);
    let path = value.starts_with('/') || value.starts_with("./");
    let switch = SWITCHES.iter().any(|switch| value.eq_ignore_ascii_case(switch));
    let number = whole && value.parse::<f64>().is_ok();
    let masked = whole && value.chars().all(|c| matches!(c, '*' | '.' | '-' | 'x' | 'X'));
    let address = value.contains("://");
    !(referenced || path || switch || masked || address) && (kind == Kind::Password || (!number && value.len() >= 3))
}

/// The value of the first `password=…` in `text`, as connection strings and flags have it.
fn assigned(text: &str) -> Option<(usize, usize)> {
    given(text, "=")
}

/// The value of the first `password: …` in `text`, as YAML has it.
fn entry(text: &str) -> Option<(usize, usize)> {
    given(text, ENTRY)
}

/// The value that the first name of a secret in `text` is given by `sign`.
fn given(text: &str, sign: &str) -> Option<(usize, usize)> {
    /// The longest name that is looked at.
    const MOST: usize = 64;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let begin = start;
        start += line.len();
        let said = line.trim_start();
        if said.starts_with(['#', ';']) || said.starts_with("//") {
            continue;
        }
        for (at, _) in line.match_indices(sign) {
            let before = line.get(..at)?.trim_end_matches(['"', '\'']);
            let from = before.char_indices().rev().take(MOST).take_while(|(_, c)| is_name(*c)).last().map(|(at, _)| at);
            let Some(name) = from.and_then(|from| before.get(from..)) else { continue };
            let Some(kind) = secret_name(name) else { continue };
            let from = at + sign.len();
            let from = if sign == ENTRY { from + before_value(line.get(from..)?) } else { from };
            if let Some(found) = value(text, begin + from, kind) {
                return Some(found);
            }
        }
    }
    None
}

/// How much blanks, a tag and an anchor of YAML take before a value.
fn before_value(text: &str) -> usize {
    let mut rest = text.trim_start();
    for _ in 0..2 {
        if rest.starts_with(['!', '&']) {
            rest = rest.find(char::is_whitespace).and_then(|end| rest.get(end..)).unwrap_or_default().trim_start();
        }
    }
    text.len() - rest.len()
}

/// The value that begins at `from`, if it can be a secret. Its beginning tells; only where it is one, its end is looked for.
fn value(text: &str, from: usize, kind: Kind) -> Option<(usize, usize)> {
    /// Characters that tell.
    const SEEN: usize = 256;
    let quote = text.get(from..)?.chars().next().filter(|c| matches!(c, '"' | '\''));
    let start = from + quote.map_or(0, char::len_utf8);
    let rest = text.get(start..)?;
    let ends = |c: char| match quote {
        Some(quote) => c == quote,
        None => c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\'' | ')' | '`'),
    };
    let mut seen = rest.char_indices().take(SEEN + 1);
    let end = seen.find(|(index, c)| ends(*c) || *index >= SEEN).map(|(index, _)| index);
    let seen = rest.get(..end.unwrap_or(rest.len()))?;
    let whole = rest.get(seen.len()..)?.chars().next().is_none_or(ends);
    // a comparison is none
    if seen.starts_with('=') || !is_secret_value(kind, seen, whole) {
        return None;
    }
    Some((start, start + rest.find(ends).unwrap_or(rest.len())))
}

/// What follows the first address of a webhook in `text`.
fn hook(text: &str) -> Option<(usize, usize)> {
    text.match_indices(".com/").find_map(|(at, _)| {
        let (before, behind) = text.split_at_checked(at)?;
        let is_one = |(host, path): &&(&str, &str)| before.ends_with(host) && behind.starts_with(path);
        let (_, path) = HOOKS.iter().find(is_one)?;
        let from = at + path.len();
        let rest = text.get(from..)?;
        let secret = rest.get(..rest.find(|c| !is_token(c) && c != '/').unwrap_or(rest.len()))?;
        (secret.len() >= LEAST_HOOK).then_some((from, from + secret.len()))
    })
}

/// The first JSON Web Token in `text`: three parts in base64url, the first of which begins an object (RFC 7519).
fn web_token(text: &str) -> Option<(usize, usize)> {
    runs(text, |c| is_token(c) || c == '.').find_map(|(from, to)| {
        let (mut at, mut first, mut second) = (from, None::<(usize, &str)>, None::<(usize, &str)>);
        for third in text.get(from..to)?.split('.') {
            if let (Some((begin, head)), Some((_, body))) = (first, second)
                && body.starts_with("eyJ")
                && third.len() >= 16
                && let Some(object) = head.find("eyJ").filter(|object| head.len() - object >= 10)
            {
                return Some((begin + object, to));
            }
            (first, second) = (second, Some((at, third)));
            at += third.len() + 1;
        }
        None
    })
}

/// The password of the first URL in `text` that has one in plain text.
fn url_password(text: &str) -> Option<(usize, usize)> {
    for (scheme, _) in text.match_indices("://") {
        let from = scheme + 3;
        let rest = text.get(from..)?;
        let end = rest.find(['/', '?', '#', ' ', '"', '\'', '\n', ',', ';']).unwrap_or(rest.len());
        let Some((user, _)) = rest.get(..end).and_then(|authority| authority.rsplit_once('@')) else { continue };
        let Some((name, password)) = user.split_once(':') else { continue };
        let start = from + name.len() + 1;
        let referenced = password.starts_with("$(") && password.ends_with(')')
            || password.starts_with("${") && password.ends_with('}');
        if !referenced && password.chars().any(|c| c != REFERENCE) {
            return Some((start, start + password.len()));
        }
    }
    None
}

/// Where characters of a kind stand one after the other.
fn runs(text: &str, inside: fn(char) -> bool) -> impl Iterator<Item = (usize, usize)> {
    let mut from = None;
    text.char_indices().map(move |(at, c)| (at, inside(c))).chain([(text.len(), false)]).filter_map(
        move |(at, inside)| {
            if inside {
                from.get_or_insert(at);
                return None;
            }
            from.take().map(|from| (from, at))
        },
    )
}

fn is_opaque(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-')
}

/// Whether a run of such characters looks like key material.
fn opaque(text: &str, (from, to): (usize, usize)) -> bool {
    let run = text.get(from..to).unwrap_or_default();
    let has = |f: fn(&char) -> bool| run.chars().any(|c| f(&c));
    run.len() >= OPAQUE && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds() {
        let body = "Abc0123456789abcdefghij0123456789";
        for text in [
            format!("sk-{body}"),
            format!("sk-proj-{body}"),
            format!("Bearer sk-ant-x-{body}"),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----".to_owned(),
            "-----BEGIN PRIVATE KEY-----".to_owned(),
            "host=db user=app password=hunter2".to_owned(),
            "jdbc:postgresql://db/app?user=app&password=hunter2".to_owned(),
            "--db-password='hunter2' serve".to_owned(),
            format!("sk_live_{body}"),
            format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{body}"),
            format!("https://hooks.slack.com/services/T0/B0/{body}"),
            format!("AIza{}", "Sy-0123456789abcdefghijklmnopqrstuv"),
            format!("SG.{body}.{body}"),
            "postgres://app:hunter2@db:5432/app".to_owned(),
            "redis://:hunter2@cache:6379".to_owned(),
            "postgres://\u{1}:x\u{1}@db/app".to_owned(),
            "http://ok.example https://a:b@c".to_owned(),
            format!("AKIA{}", "IOSFODNN7EXAMPLE"),
            format!("ghp_{body}"),
            format!("github_pat_{body}_x"),
            format!("glpat-{body}"),
        ] {
            assert!(find(&text).is_some(), "{text}");
            assert_ne!(mask(&text), text);
        }
    }

    #[test]
    fn leaves_harmless_text() {
        for text in [
            "",
            "hello",
            "sk-learn",
            "sk-learn-model-2-service-production",
            "task-runner-with-a-long-name-1234567",
            "https://example.com/a:b@c",
            "https://user@example.com",
            "postgres://\u{1}:\u{1}@db:5432/app",
            "postgres://app:$(PASSWORD)@db:5432/app",
            "-----BEGIN CERTIFICATE-----",
            "AKIA",
            "grant_type=password",
            "password=$DB_PASSWORD",
            "password=\u{1}",
            "password_min_length=8",
            "# db-password=password",
            "a\n  ; token=changeme",
            "use_token=true",
            "max_token=4096",
            "test \"$token\" == abc",
            "https://hooks.slack.com/services/",
            "eyJ.eyJ.x",
            "http://\u{1}:8080",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn names_tell() {
        // what ends none of these words is not looked at
        assert!(PASSWORDS.iter().chain(KEYS).all(|word| secret_name(&format!("x_{word}")).is_some()));
        for name in [
            "DB_PASSWORD",
            "PGPASSWORD",
            "DATABASE_PASS",
            "SMTP_PWD",
            "dbPassword",
            "API_KEY",
            "apiKey",
            "JWT_SECRET",
            "SECRET_KEY",
            "SECRET_KEY_BASE",
            "JWT_SECRET_V2",
            "ENCRYPTION_KEY_2024",
            "AWS_SECRET_ACCESS_KEY",
            "GH_TOKEN",
            "SALT",
            "clientsecret",
        ] {
            assert!(named(name, || "wJalrXUtnFEMI".into()).is_some(), "{name}");
        }
        for name in [
            "PWD",
            "PASSWORD_MIN_LENGTH",
            "PUBLIC_KEY",
            "PUBLISHABLE_API_KEY",
            "AWS_ACCESS_KEY_ID",
            "TOKEN_URL",
            "SECRET_NAME",
            "BYPASS",
            "COMPASS",
            "TOKENIZERS_PARALLELISM",
            "KEY",
            "PRIMARY_KEY",
            "SORT_KEY",
            "PASSWORD_FILE",
            "ALLOW_EMPTY_PASSWORD",
            "NO_TOKEN",
        ] {
            assert_eq!(named(name, || "wJalrXUtnFEMI".into()), None, "{name}");
        }
        for value in
            ["", "true", "Off", "/run/secrets/db", "$OTHER", "\u{1}", "a\u{1}", "<set me>", "https://auth/token", "***"]
        {
            assert_eq!(named("DB_PASSWORD", || value.into()), None, "{value}");
        }
        assert!(named("DB_PASSWORD", || "12345".into()).is_some() && named("MAX_TOKEN", || "12345".into()).is_none());
    }

    #[test]
    fn lines_are_masked_by_name() {
        assert_eq!(mask_line("  DB_PASSWORD: hunter2"), "  DB_PASSWORD: *******");
        assert_eq!(mask_line("env: {A: b, API_KEY: \"abc def\", C: d}"), "env: {A: b, API_KEY: \"*******\", C: d}");
        assert_eq!(mask_line("a: 1, token: abc, token: /x, token: def"), "a: 1, token: ***, token: /x, token: ***");
        assert_eq!(mask_line("PASSWORD: !!str hunter2"), "PASSWORD: !!str *******");
        assert_eq!(mask_line("PASSWORD:  &a !env hunter2"), "PASSWORD:  &a !env *******");
        assert_eq!(mask_line("{\"PASSWORD\": hunter2}"), "{\"PASSWORD\": ********");
        assert_eq!(mask_line("password: ${secrets.a.b} token: x"), "password: ${secrets.a.b} token: x");
    }

    #[test]
    fn every_kind_of_webhook_is_masked_wherever_it_stands() {
        let text = "discord.com/api/webhooks/ discord.com/api/webhooks/12345678 hooks.slack.com/services/T1/B1/abcd";
        assert_eq!(
            mask(text),
            "discord.com/api/webhooks/ discord.com/api/webhooks/******** hooks.slack.com/services/**********"
        );
    }

    #[test]
    fn long_values_are_told_by_their_beginning() {
        let long = "ab".repeat(500);
        assert_eq!(mask(&format!("password={long};x")), format!("password={};x", "*".repeat(1000)));
        assert_eq!(find(&format!("password=/{long}")), None);
        assert!(find(&format!("password={}y", "x".repeat(300))).is_some());
        let token = format!("eyJhbGciOi.eyJzdWIi.{}", "a".repeat(16));
        assert_eq!(web_token(&format!("x.{token}, y")), Some((2, 2 + token.len())));
        assert_eq!(web_token(&format!("eyJ.eyJ.x.{token}")).map(|(from, _)| from), Some(10));
    }

    #[test]
    fn masks_in_place() {
        assert_eq!(mask("a postgres://u:pw@h b"), "a postgres://u:**@h b");
        assert_eq!(mask(&format!("é ghp_{} é", "a".repeat(26))), format!("é {} é", "*".repeat(30)));
        assert_eq!(mask("plain"), "plain");
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
        assert_eq!(mask(line), "*".repeat(line.len()));
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(mask(digest), digest);
    }

    #[test]
    fn many_prefixes_in_one_word() {
        let words = "sk-".repeat(20_000);
        assert_eq!(find(&words), None);
        assert_eq!(find(&format!("{words}Abc0123456789abcdefghij")), Some("an API key (`sk-…`)"));
        assert_eq!(mask(&"ask-a-task-for-a-long-".repeat(9)), "ask-a-task-for-a-long-".repeat(9));
        let two = format!("ghp_{0} xoxb-{0}", "a1".repeat(12));
        assert_eq!(mask(&two), format!("{} {}", "*".repeat(28), "*".repeat(29)));
    }

    #[test]
    fn masks_every_one() {
        let text = "redis://:one@a redis://:two@b";
        assert_eq!(mask(text), "redis://:***@a redis://:***@b");
        // also where a name goes on with it
        let key = format!("AKIA{}", "IOSFODNN7EXAMPLE");
        assert_eq!(mask(&format!("{key}-x {key}A")), format!("{} {key}A", "*".repeat(22)));
    }
}

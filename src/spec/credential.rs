//! Recognises credentials in plain text, to refuse them in hks.yaml and to keep them out of every message.

/// What stands for masked characters.
const MASK: char = '*';

/// Prefixes of tokens, how many token characters must follow, and what to call them.
const TOKENS: &[(&str, usize, &str)] = &[
    ("sk-", 16, "an API key (`sk-…`)"),
    ("ghp_", 20, "a GitHub token"),
    ("gho_", 20, "a GitHub token"),
    ("ghu_", 20, "a GitHub token"),
    ("ghs_", 20, "a GitHub token"),
    ("ghr_", 20, "a GitHub token"),
    ("github_pat_", 20, "a GitHub token"),
    ("glpat-", 16, "a GitLab token"),
    ("xoxb-", 16, "a Slack token"),
    ("xoxp-", 16, "a Slack token"),
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
];

/// A run of base64 characters this long, of mixed case and with digits, is taken for key material when masking.
const OPAQUE: usize = 40;

/// What a reference becomes before [`find`] looks at a text: no literal, but not nothing either.
pub(super) const REFERENCE: char = '\u{1}';

/// What kind of credential `text` holds, if any. References stand in it as [`REFERENCE`].
pub(super) fn find(text: &str) -> Option<&'static str> {
    pem(text)
        .map(|_| "a private key")
        .or_else(|| token(text, 0).map(|t| t.2))
        .or_else(|| url_password(text).map(|_| "a URL with a password"))
}

/// `text` with every credential in it replaced by as many `*`.
pub(super) fn mask(text: &str) -> String {
    let mut hidden = vec![false; text.len()];
    let mut hide = |from: usize, to: usize| hidden.get_mut(from..to).unwrap_or_default().fill(true);
    let mut at = 0;
    while let Some((from, to, _)) = token(text, at) {
        hide(from, to);
        at = to;
    }
    at = 0;
    while let Some((from, to)) = text.get(at..).and_then(url_password) {
        hide(at + from, at + to);
        at += to;
    }
    if let Some(from) = pem(text) {
        hide(from, text.len());
    }
    for (from, to) in opaque(text) {
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
        // the last two characters of the prefixes
        if !matches!(pair, b"k-" | b"p_" | b"o_" | b"u_" | b"s_" | b"r_" | b"t_" | b"t-" | b"b-" | b"p-" | b"IA") {
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

/// Runs of characters that look like key material.
fn opaque(text: &str) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut from = None;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let inside = c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
        match (from, inside) {
            (None, true) => from = Some(i),
            (Some(start), false) => {
                let run = text.get(start..i).unwrap_or_default();
                let has = |f: fn(&char) -> bool| run.chars().any(|c| f(&c));
                if run.len() >= OPAQUE
                    && has(char::is_ascii_uppercase)
                    && has(char::is_ascii_lowercase)
                    && has(char::is_ascii_digit)
                {
                    runs.push((start, i));
                }
                from = None;
            }
            _ => {}
        }
    }
    runs
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
            "http://\u{1}:8080",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
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

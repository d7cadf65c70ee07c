//! What is secret, and what becomes of it: made by hks where anything random does, else set by somebody.

use std::collections::{BTreeMap, BTreeSet};

/// Keys of one secret of hks.yaml are no more.
const MOST_KEYS: usize = 90;

/// Words that make a variable a secret.
const SECRET: [&str; 17] = [
    "PASSWORD",
    "PASSWD",
    "PASSWORT",
    "PASS",
    "PWD",
    "PW",
    "PASSPHRASE",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
    "SALT",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "PEPPER",
    "PASSCODE",
];

/// Words behind those that make it something about a secret.
const ABOUT: [&str; 49] = [
    "HEADER",
    "NAME",
    "NAMES",
    "FILE",
    "FILES",
    "PATH",
    "DIR",
    "URL",
    "URI",
    "ID",
    "EXPIRY",
    "EXPIRES",
    "EXPIRATION",
    "EXPIRE",
    "EXPIRED",
    "TTL",
    "LIFETIME",
    "LENGTH",
    "SIZE",
    "TYPE",
    "ALGORITHM",
    "ALG",
    "ENABLED",
    "ENABLE",
    "DISABLED",
    "MIN",
    "MAX",
    "AGE",
    "POLICY",
    "FIELD",
    "PREFIX",
    "ISSUER",
    "COUNT",
    "DURATION",
    "TIMEOUT",
    "REGEX",
    "MODE",
    "ENDPOINT",
    "HOST",
    "RESET",
    "LIMIT",
    "DAYS",
    "HOURS",
    "MINUTES",
    "SECONDS",
    "AUTH",
    "LOGIN",
    "REQUIRED",
    "AUDIENCE",
];

/// Words before `KEY` that make it none.
const PUBLIC: [&str; 17] = [
    "PUBLIC",
    "PUB",
    "PUBLISHABLE",
    "SITE",
    "SORT",
    "PARTITION",
    "CACHE",
    "PRIMARY",
    "FOREIGN",
    "ROUTING",
    "HOST",
    "INDEX",
    "GROUP",
    "OBJECT",
    "IDEMPOTENCY",
    "HOT",
    "ALLOW",
];

/// Words of secrets that somebody else has given, or that have a form of their own.
const GIVEN: [&str; 71] = [
    "STRIPE",
    "AWS",
    "GITHUB",
    "GITLAB",
    "GOOGLE",
    "OAUTH",
    "OAUTH2",
    "OIDC",
    "CLIENT",
    "API",
    "APIKEY",
    "SMTP",
    "MAIL",
    "EMAIL",
    "MAILER",
    "MAILGUN",
    "SENTRY",
    "SLACK",
    "TWILIO",
    "SENDGRID",
    "OPENAI",
    "ANTHROPIC",
    "S3",
    "ACCESS",
    "LICENSE",
    "LICENCE",
    "DSN",
    "TELEGRAM",
    "DISCORD",
    "FACEBOOK",
    "TWITTER",
    "LDAP",
    "WEBHOOK",
    "CLOUDFLARE",
    "CF",
    "AZURE",
    "GCP",
    "TOKEN",
    "TOKENS",
    "VAPID",
    "PRIVATE",
    "ENCRYPTION",
    "ENCRYPT",
    "CRYPT",
    "FERNET",
    "TOTP",
    "VAULT",
    "IV",
    "CERT",
    "RSA",
    "JWK",
    "JWKS",
    "PEM",
    "OTP",
    "HEX",
    "KEYS",
    "PAYPAL",
    "RECAPTCHA",
    "HCAPTCHA",
    "TURNSTILE",
    "POSTMARK",
    "RESEND",
    "ALGOLIA",
    "MAPBOX",
    "MAPS",
    "DOCKER",
    "NPM",
    "REGISTRY",
    "TUNNEL",
    "MAXMIND",
    "CREDENTIALS",
];

/// Words of secrets that a program makes up at its first start, or uses for itself only.
const OWN: [&str; 25] = [
    "ADMIN",
    "ROOT",
    "SUPERUSER",
    "SUPER",
    "INITIAL",
    "DEFAULT",
    "FIRST",
    "BOOTSTRAP",
    "SESSION",
    "SESSIONS",
    "COOKIE",
    "JWT",
    "SALT",
    "NEXTAUTH",
    "BETTER",
    "CSRF",
    "PEPPER",
    "BASE",
    "SIGNING",
    "HMAC",
    "INTERNAL",
    "DASHBOARD",
    "FLOWER",
    "STUDIO",
    "BASICAUTH",
];

/// The words of a name: parted by all but letters and digits, and where a capital follows a small letter.
pub(super) fn words(key: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(key.len());
    let mut before = ' ';
    for c in key.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            spaced.push(' ');
        }
        spaced.push(if c.is_ascii_alphanumeric() { c } else { ' ' });
        before = c;
    }
    spaced.split_whitespace().map(str::to_ascii_uppercase).collect()
}

fn is_version(word: &str) -> bool {
    word.trim_start_matches('V').chars().all(|c| c.is_ascii_digit())
}

/// Whether a variable of this name holds a secret.
pub(super) fn is_secret_name(key: &str) -> bool {
    let mut words = words(key);
    while words.last().is_some_and(|word| is_version(word)) {
        words.pop();
    }
    let has = |list: &[&str], word: &String| list.contains(&word.as_str());
    if words.iter().any(|word| matches!(word.as_str(), "PUBLIC" | "PUBLISHABLE")) {
        return false;
    }
    // `ALLOW_EMPTY_PASSWORD` is a switch
    if words.iter().any(|word| matches!(word.as_str(), "ALLOW" | "RANDOM" | "ENABLE" | "DISABLE" | "USE" | "REQUIRE")) {
        return false;
    }
    let last = words.iter().rposition(|word| {
        has(&SECRET, word) || word.ends_with("PASSWORD") || word.ends_with("PASSWD") || word.ends_with("SECRET")
    });
    if let Some(at) = last {
        let behind = words.get(at + 1..).unwrap_or_default();
        return !behind.iter().any(|word| has(&ABOUT, word));
    }
    match words.split_last() {
        Some((last, before)) if matches!(last.as_str(), "KEY" | "KEYS") || last.ends_with("KEYS") && last.len() > 5 => {
            !before.is_empty() && !before.last().is_some_and(|word| has(&PUBLIC, word))
        }
        Some((last, _)) => last == "APIKEY" || last.ends_with("APIKEY"),
        None => false,
    }
}

/// Whether a value under the name of a secret is one, and no switch or path.
pub(super) fn is_secret_value(value: &str) -> bool {
    let lower = value.trim().to_ascii_lowercase();
    let switch = matches!(lower.as_str(), "" | "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null");
    let path = value.starts_with('/') && value.matches('/').count() >= 2 && !value.contains([' ', '=', '+']);
    !switch && !path
}

/// Whether a variable without a value is likely to hold a URL with a password.
pub(super) fn is_secret_url(key: &str) -> bool {
    let words = words(key);
    let last = words.last().map(String::as_str).unwrap_or_default();
    let server = [
        "DATABASE",
        "DB",
        "POSTGRES",
        "POSTGRESQL",
        "MONGO",
        "MONGODB",
        "REDIS",
        "AMQP",
        "BROKER",
        "MYSQL",
        "RABBITMQ",
    ];
    matches!(last, "URL" | "URI" | "DSN") && words.iter().any(|word| server.contains(&word.as_str()))
}

/// Where a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Anything random does.
    Random,
    /// Nothing says that anything random does.
    Unclear,
    /// Somebody else has given it, or it has a form of its own.
    Given,
}

/// What a name says about where its secret comes from.
pub(super) fn origin(key: &str) -> Origin {
    let words = words(key);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let secret = words.iter().any(|word| word == "SECRET" || word == "SALT");
    // Laravel's key is `base64:` and 32 bytes
    let laravel = words == ["APP", "KEY"];
    if has(&GIVEN) || laravel {
        Origin::Given
    } else if has(&OWN) || secret {
        Origin::Random
    } else {
        Origin::Unclear
    }
}

/// Whether a value has a form that a program may count on: hexadecimal or base64 of some length.
fn has_form(value: &str) -> bool {
    let hexadecimal =
        value.len() >= 32 && value.len().is_multiple_of(2) && value.chars().all(|c| c.is_ascii_hexdigit());
    let base64 =
        value.starts_with("base64:") || value.len() >= 24 && value.len().is_multiple_of(4) && value.ends_with('=');
    // a token that another secret has signed (RFC 7519)
    let token = value.starts_with("eyJ") && value.matches('.').count() == 2;
    hexadecimal || base64 || token || value.contains('\n')
}

/// A secret that the file will have.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// What it was, where that is known.
    pub value: Option<String>,
    /// Whether hks makes it.
    pub random: bool,
    /// How many characters hks makes.
    pub length: u64,
    /// What uses it: `SERVICE.KEY`.
    pub used: Vec<String>,
    /// Whether a service of the file makes its own login of it.
    server: bool,
    origin: Origin,
}

/// A secret in hks.yaml: its name, whether hks makes it, and its keys.
pub(super) type Section<'a> = (String, bool, Vec<(&'a str, &'a Kept)>);

/// All secrets, each once however often it is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Vault {
    keys: BTreeMap<String, Kept>,
    by_variable: BTreeMap<String, String>,
    by_value: BTreeMap<String, String>,
}

/// A use of a secret.
pub(super) struct Use<'a> {
    /// The service and its variable.
    pub service: &'a str,
    /// The variable's name, or what it is called in a URL.
    pub key: &'a str,
    /// The variable of the project that it comes from.
    pub variable: Option<&'a str>,
    /// Its value, where that is known.
    pub value: Option<&'a str>,
    /// Whether the service takes it for its own login.
    pub server: bool,
}

impl Vault {
    /// The key of a secret, a new one unless it is known by its variable or value.
    pub fn keep(&mut self, used: &Use<'_>) -> String {
        let known = used.variable.and_then(|variable| self.by_variable.get(variable));
        let known = known.or_else(|| used.value.and_then(|value| self.by_value.get(value))).cloned();
        let key = known.unwrap_or_else(|| self.name(used));
        if let Some(variable) = used.variable {
            self.by_variable.insert(variable.to_owned(), key.clone());
        }
        if let Some(value) = used.value {
            self.by_value.entry(value.to_owned()).or_insert_with(|| key.clone());
        }
        let origin = origin(used.key).max(used.variable.map_or(Origin::Random, origin));
        let entry = self.keys.entry(key.clone()).or_insert_with(|| Kept {
            value: None,
            random: false,
            length: 32,
            used: vec![],
            server: false,
            origin,
        });
        if used.value.is_some_and(has_form) {
            entry.origin = Origin::Given;
        }
        entry.value = entry.value.take().or_else(|| used.value.map(str::to_owned));
        entry.server |= used.server;
        entry.origin = entry.origin.max(origin);
        if words(used.key).iter().any(|word| matches!(word.as_str(), "SECRET" | "BASE" | "SALT" | "KEY")) {
            entry.length = 64;
        }
        let place = format!("{}.{}", used.service, used.key);
        if !entry.used.contains(&place) {
            entry.used.push(place);
        }
        // a server takes whatever its login is
        entry.random = entry.server || entry.origin == Origin::Random;
        key
    }

    /// Forgets what is used nowhere. What has signed a token that is kept is kept as well.
    pub fn retain(&mut self, used: &BTreeSet<String>) {
        self.keys.retain(|key, _| used.contains(key));
        let token = |kept: &Kept| kept.value.as_ref().is_some_and(|value| value.starts_with("eyJ"));
        if self.keys.values().any(token) {
            for (key, kept) in &mut self.keys {
                kept.random &= kept.value.is_none() || !words(key).iter().any(|word| word == "JWT");
            }
        }
    }

    fn name(&self, used: &Use<'_>) -> String {
        let plain = |text: &str| -> String {
            let text: String =
                text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).take(56).collect();
            text.trim_matches('_').to_owned()
        };
        let wanted = plain(used.variable.unwrap_or(used.key));
        let wanted = if wanted.is_empty() { "SECRET".to_owned() } else { wanted };
        if !self.keys.contains_key(&wanted) {
            return wanted;
        }
        let own: String = plain(&format!("{}_{wanted}", used.service.to_uppercase())).chars().take(56).collect();
        let mut name = own.clone();
        let mut number = 2;
        while self.keys.contains_key(&name) {
            name = format!("{own}_{number}");
            number += 1;
        }
        name
    }

    /// The secrets in hks.yaml: name, whether hks makes it, and keys.
    pub fn sections(&self) -> Vec<Section<'_>> {
        let mut found = vec![];
        for random in [true, false] {
            let all: Vec<_> = self
                .keys
                .iter()
                .filter(|(_, kept)| kept.random == random)
                .map(|(key, kept)| (key.as_str(), kept))
                .collect();
            for (number, some) in all.chunks(MOST_KEYS).enumerate() {
                let name = if random { "generated" } else { "app" };
                let name = if number == 0 { name.to_owned() } else { format!("{name}-{}", number + 1) };
                found.push((name, random, some.to_vec()));
            }
        }
        found
    }

    /// The reference to each key.
    pub fn references(&self) -> BTreeMap<String, String> {
        let sections = self.sections();
        let all = sections.iter().flat_map(|(name, _, keys)| keys.iter().map(move |(key, _)| (name, *key)));
        all.map(|(name, key)| (key.to_owned(), format!("secrets.{name}.{key}"))).collect()
    }

    /// Values that are known, the longest first, with their keys.
    pub fn values(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.by_value.iter().map(|(value, key)| (value.clone(), key.clone())).collect();
        all.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for name in [
            "SECRET_KEY_BASE",
            "ADMIN_PASSWD",
            "SIGNING_PASSPHRASE",
            "SMTP_USER_PWD",
            "JWT_SECRET_V2",
            "SALT",
            "APP_KEYS",
            "ENCRYPTION_KEY_2024",
            "AWS_SECRET_ACCESS_KEY",
            "GITEA__database__PASSWD",
            "spring.datasource.password",
            "dbPassword",
            "RABBITMQ_DEFAULT_PASS",
            "GITHUB_TOKEN",
            "APP_KEY",
            "MEILI_MASTER_KEY",
            "PGPASSWORD",
            "OPENAI_API_KEY",
            "NEXTAUTH_SECRET",
            "FIRST_SUPERUSER_PASSWORD",
            "AUTH_OPENIDCONNECT_CLIENTSECRET",
            "PRIVATE_KEY",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PUBLIC_KEY",
            "CSRF_TOKEN_HEADER",
            "DB_PASSWORD_FILE",
            "NEXT_PUBLIC_API_KEY",
            "AWS_ACCESS_KEY_ID",
            "PASSWORD_RESET_TIMEOUT",
            "ALLOW_EMPTY_PASSWORD",
            "MYSQL_RANDOM_ROOT_PASSWORD",
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            "KEY",
            "KEYCLOAK_ADMIN",
            "MONKEY",
            "COMPASS",
            "CACHE_KEY_PREFIX",
            "SECRET_NAME",
            "RECAPTCHA_SITE_KEY",
            "TURKEY",
            "BYPASS_LOGIN",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
        assert!(is_secret_value("a") && !is_secret_value("yes") && !is_secret_value("/run/secrets/x"));
    }

    #[test]
    fn one_value_is_one_secret() {
        let mut vault = Vault::default();
        let mut keep = |service: &str, key: &str, variable: Option<&str>, value: Option<&str>, server: bool| {
            vault.keep(&Use { service, key, variable, value, server })
        };
        assert_eq!(keep("db", "MYSQL_PASSWORD", Some("DB_PW"), Some("x"), true), "DB_PW");
        assert_eq!(keep("web", "WORDPRESS_DB_PASSWORD", None, Some("x"), false), "DB_PW");
        assert_eq!(keep("web", "STRIPE_SECRET", Some("STRIPE_SECRET"), None, false), "STRIPE_SECRET");
        assert_eq!(keep("web", "DB_PW", None, Some("y"), false), "WEB_DB_PW");
        assert_eq!(keep("web", "SECRET_KEY", None, None, false), "SECRET_KEY");
        let references = vault.references();
        assert_eq!(references["DB_PW"], "secrets.generated.DB_PW");
        assert_eq!(references["SECRET_KEY"], "secrets.generated.SECRET_KEY");
        assert_eq!(references["STRIPE_SECRET"], "secrets.app.STRIPE_SECRET");
    }
}

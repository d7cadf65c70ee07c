//! Who may read what of the endpoint, and who may act by it: nobody without a token, unless the configuration lets everybody, or nobody else gets there.
//!
//! Tokens are read when somebody comes with one, and again when that was a while ago or one is not known: a new one counts at
//! once, and one that was taken away for a minute at most.

use crate::config;
use crate::shell::credential;
use crate::shell::web::endpoint::error;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use globset::GlobSet;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long tokens count as they were read …
const FRESH: Duration = Duration::from_mins(1);
/// … and how long it takes at least until they are read again for one that is not known.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a token may take to be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a token at least: shorter ones can be guessed.
const LEAST: usize = 16;
/// Bytes of a header that is looked at.
const MOST: usize = 4096;

const CLOSED: &str = "nothing is shown here without a login: set access.tokens, or access.anonymous where only those get here \
                      who may see all Stacks";

/// Decides who may read what.
pub struct Access {
    /// Nobody but this machine reaches the endpoint.
    is_loopback: bool,
    setting: RwLock<Arc<Setting>>,
}

#[derive(Default)]
struct Setting {
    anonymous: bool,
    readers: BTreeMap<String, (config::Reader, Sight)>,
    kubeconfig: Option<PathBuf>,
    known: Mutex<Known>,
}

/// Tokens as they were read last, by their digests.
#[derive(Default)]
struct Known {
    read: Option<Instant>,
    tokens: Vec<(Digest, String)>,
}

type Digest = [u8; 32];

/// Of which sources somebody may read: of all, or of those that match.
#[derive(Clone)]
struct Sight(Option<Arc<GlobSet>>);

impl Sight {
    const ALL: Self = Self(None);

    /// Those that match one of some patterns.
    fn of(patterns: &[String]) -> Self {
        if patterns.iter().any(|pattern| pattern == "*") {
            return Self::ALL;
        }
        let mut set = GlobSet::builder();
        for glob in patterns.iter().filter_map(|pattern| globset::Glob::new(pattern).ok()) {
            set.add(glob);
        }
        // a pattern that can't be read lets nobody see anything
        Self(Some(Arc::new(set.build().unwrap_or_else(|_| GlobSet::empty()))))
    }
}

/// Who has come.
#[derive(Clone)]
pub struct Visitor {
    /// Name of the token; nobody's where none is needed.
    name: Option<String>,
    sight: Sight,
    acts: bool,
}

impl Visitor {
    const ANYBODY: Self = Self { name: None, sight: Sight::ALL, acts: false };

    /// Whether it may read of a source.
    pub fn sees(&self, source: &str) -> bool {
        self.sight.0.as_ref().is_none_or(|set| set.is_match(source))
    }

    /// Whether it may read of all.
    pub fn sees_all(&self) -> bool {
        self.sight.0.is_none()
    }

    /// By which name it may ask for something that changes what runs, if it may. Nobody may without a token, also where
    /// everybody may read: any page that is open in a browser on this machine could.
    pub fn acts_as(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.acts)
    }

    /// Name of its token, for the audit log.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("nobody known")
    }
}

impl Access {
    /// Where nothing is set: everything on an address that only this machine reaches, and nothing on any other.
    pub fn new(is_loopback: bool) -> Self {
        Self { is_loopback, setting: RwLock::default() }
    }

    /// Takes another setting.
    pub fn set(&self, access: &config::Access, kubeconfig: Option<&Path>) {
        let reader =
            |(name, reader): (&String, &config::Reader)| (name.clone(), (reader.clone(), Sight::of(&reader.sources)));
        let setting = Setting {
            anonymous: access.anonymous,
            readers: access.tokens.iter().map(reader).collect(),
            kubeconfig: kubeconfig.map(Path::to_owned),
            known: Mutex::default(),
        };
        *self.setting.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setting);
    }

    /// What may be read with these headers.
    ///
    /// # Errors
    /// The answer to who may read nothing.
    async fn of(&self, headers: &HeaderMap) -> Result<Visitor, Response> {
        let setting = Arc::clone(&self.setting.read().unwrap_or_else(PoisonError::into_inner));
        let is_open = setting.anonymous || (setting.readers.is_empty() && self.is_loopback);
        let token = token(headers).filter(|_| !setting.readers.is_empty());
        let Some(token) = token else {
            return if is_open {
                Ok(Visitor::ANYBODY)
            } else if setting.readers.is_empty() {
                Err(error(StatusCode::FORBIDDEN, CLOSED))
            } else {
                Err(unknown("this needs a token"))
            };
        };
        match setting.who(&token).await {
            Some(visitor) => {
                tracing::debug!(reader = visitor.name(), "read");
                Ok(visitor)
            }
            None => Err(unknown("this token is not known")),
        }
    }
}

impl Setting {
    async fn who(&self, token: &str) -> Option<Visitor> {
        let digest = digest_of(token);
        let mut known = self.known.lock().await;
        let age = known.read.map(|read| read.elapsed());
        if age.is_none_or(|age| age > FRESH || (age > AGAIN && known.of(&digest).is_none())) {
            let tokens = self.read(&known.tokens).await;
            *known = Known { read: Some(Instant::now()), tokens };
        }
        let name = known.of(&digest)?;
        let (reader, sight) = self.readers.get(name)?;
        Some(Visitor { name: Some(name.to_owned()), sight: sight.clone(), acts: reader.act })
    }

    /// All tokens that can be read, and those of `before` that only can't be read now.
    async fn read(&self, before: &[(Digest, String)]) -> Vec<(Digest, String)> {
        let all = self.readers.iter().map(async |(name, (reader, _))| {
            let both = std::iter::once(&reader.token).chain(&reader.previous_token);
            let read = join_all(both.map(|credential| self.read_one(name, credential))).await;
            let known = before.iter().filter(|(_, of)| of == name).map(|(digest, _)| *digest);
            let kept = if read.contains(&Read::NotNow) { known.collect() } else { vec![] };
            let read =
                read.into_iter().filter_map(|read| if let Read::Token(digest) = read { Some(digest) } else { None });
            read.chain(kept).map(|digest| (digest, name.clone())).collect::<Vec<_>>()
        });
        join_all(all).await.concat()
    }

    async fn read_one(&self, reader: &str, credential: &config::Credential) -> Read {
        match timeout(PATIENCE, credential::read(credential, self.kubeconfig.as_deref())).await {
            Ok(Ok(token)) if token.expose().len() >= LEAST => Read::Token(digest_of(token.expose())),
            Ok(Ok(_)) => {
                tracing::error!(reader, "its token is too short to be accepted: {LEAST} bytes or more");
                Read::Nothing
            }
            Ok(Err(error)) => {
                tracing::error!(reader, error = %format!("{error:#}"), "failed to read its token");
                if credential::is_weather(&error) { Read::NotNow } else { Read::Nothing }
            }
            Err(_) => {
                tracing::error!(reader, "its token can't be read: no answer in {PATIENCE:?}");
                Read::NotNow
            }
        }
    }
}

/// What came of reading a token.
#[derive(PartialEq)]
enum Read {
    Token(Digest),
    /// There is none.
    Nothing,
    /// Whether there is one can't be told.
    NotNow,
}

impl Known {
    /// Whose a token is. What could be learned from the time that this takes is a part of a digest.
    fn of(&self, digest: &Digest) -> Option<&str> {
        self.tokens.iter().find(|(known, _)| known == digest).map(|(_, name)| name.as_str())
    }
}

fn digest_of(token: &str) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

/// The token of a request: `Bearer`, or the password of `Basic`, for which browsers ask. RFC 6750 and RFC 7617.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok().filter(|value| value.len() <= MOST)?;
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let pair = is_basic.then(|| STANDARD.decode(rest).ok()).flatten().and_then(|pair| String::from_utf8(pair).ok())?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn unknown(message: &str) -> Response {
    let mut response = error(StatusCode::UNAUTHORIZED, message);
    for scheme in ["Basic realm=\"hks: a token as password\", charset=\"UTF-8\"", "Bearer realm=\"hks\""] {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

/// Lets through who may read something, and notes what.
pub async fn require(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    match access.of(request.headers()).await {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(refused) => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_comes_in_two_ways() {
        assert_eq!(token(&headers("Bearer abc")).as_deref(), Some("abc"));
        assert_eq!(token(&headers(&format!("basic {}", STANDARD.encode("me:a:b")))).as_deref(), Some("a:b"));
        assert_eq!(token(&headers("Digest abc")), None);
        assert_eq!(token(&headers("Basic abc")), None);
        assert_eq!(token(&headers(&format!("Bearer {}", "x".repeat(MOST)))), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_seen_is_what_patterns_say() {
        let of = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            Visitor { sight: Sight::of(&patterns), ..Visitor::ANYBODY }
        };
        let team = of(&["shop-*", "blog"]);
        assert!(team.sees("shop-eu") && team.sees("blog") && !team.sees("blogs") && !team.sees_all());
        assert!(of(&["blog", "*"]).sees_all());
        assert!(!of(&[]).sees("blog") && !of(&["["]).sees("blog"));
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a token in a file")]
    async fn a_new_token_counts_at_once_and_an_old_one_for_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let reader = config::Reader {
            token: config::Credential::File(file.clone()),
            previous_token: None,
            sources: vec!["shop".into()],
            act: false,
        };
        let access = Access::new(true);
        let (first, second) = ("the-first-of-two-tokens", "the-second-of-two-tokens");
        std::fs::write(&file, first).unwrap();
        access.set(&config::Access { anonymous: false, tokens: [("shop".into(), reader)].into() }, None);
        let is_let_in = async |token: &str| access.of(&headers(&format!("Bearer {token}"))).await.is_ok();
        assert!(is_let_in(first).await && !is_let_in(second).await);
        std::fs::write(&file, second).unwrap();
        let pass = async |time: Duration| {
            let setting = Arc::clone(&access.setting.read().unwrap());
            let mut known = setting.known.lock().await;
            known.read = known.read.and_then(|read| read.checked_sub(time + Duration::from_secs(1)));
        };
        // a stranger does not make hks read again and again
        assert!(!is_let_in(second).await);
        pass(AGAIN).await;
        assert!(is_let_in(first).await);
        assert!(is_let_in(second).await && !is_let_in(first).await);
        std::fs::remove_file(&file).unwrap();
        assert!(is_let_in(second).await);
        pass(FRESH).await;
        assert!(!is_let_in(second).await);
    }
}

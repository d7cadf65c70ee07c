//! Who may read what of the endpoint, and who may act by it: nobody without a token or a login, unless the configuration lets
//! everybody, or nobody else gets there.
//!
//! Tokens are read when somebody comes with one, and again when that was a while ago or one is not known: a new one counts at
//! once, and one that was taken away for a minute at most.

use crate::config;
use crate::record::SealKey;
use crate::shell::credential;
use crate::shell::oidc::{Begun, Person, Provider};
use crate::shell::web::endpoint::error;
use crate::shell::web::page::Head;
use crate::shell::web::session::{Cookie, random};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use globset::GlobSet;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
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
    /// Seals what browsers keep.
    key: SealKey,
    setting: RwLock<Arc<Setting>>,
}

#[derive(Default)]
struct Setting {
    access: config::Access,
    /// What tokens and groups may, by name.
    tokens: BTreeMap<String, Grant>,
    groups: BTreeMap<String, Grant>,
    /// Where people log in; `None` also where that could not be set up.
    provider: Option<Arc<Provider>>,
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

/// Some of the sources: all, or those that match.
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

    fn holds(&self, source: &str) -> bool {
        self.0.as_ref().is_none_or(|set| set.is_match(source))
    }
}

/// What somebody may.
#[derive(Clone)]
struct Grant {
    sight: Sight,
    act: bool,
}

impl Grant {
    fn of(sources: &[String], act: bool) -> Self {
        Self { sight: Sight::of(sources), act }
    }
}

/// Who has come.
#[derive(Clone)]
pub struct Visitor {
    /// Who it is; `None` where nobody has to say.
    name: Option<String>,
    grants: Vec<Grant>,
    /// Where people log in, if they can.
    can_log_in: bool,
}

impl Visitor {
    /// Whether it may read of a source.
    pub fn sees(&self, source: &str) -> bool {
        self.grants.iter().any(|grant| grant.sight.holds(source))
    }

    /// Whether it may read of all.
    pub fn sees_all(&self) -> bool {
        self.grants.iter().any(|grant| grant.sight.0.is_none())
    }

    /// By which name it may ask for something that changes what runs in a source, if it may. Nobody may without a name, also where
    /// everybody may read: any page that is open in a browser on this machine could.
    pub fn acts_as(&self, source: &str) -> Option<&str> {
        let may = self.grants.iter().any(|grant| grant.act && grant.sight.holds(source));
        self.name.as_deref().filter(|_| may)
    }

    /// Who it is: `token:NAME` or `user:NAME`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What stands above its pages.
    pub fn head<'a>(&'a self, cluster: &'a str) -> Head<'a> {
        Head { cluster, who: self.name(), can_log_in: self.can_log_in }
    }
}

/// What a browser keeps of who has logged in. What the groups may is looked up each time.
#[derive(Serialize, Deserialize)]
struct Session {
    name: String,
    groups: Vec<String>,
}

/// A session: a working day.
const SESSION: Cookie = Cookie { name: "hks-session", lasts: Duration::from_hours(8) };
/// A login that was begun.
const LOGIN: Cookie = Cookie { name: "hks-login", lasts: Duration::from_mins(10) };

impl Access {
    /// Where nothing is set: everything on an address that only this machine reaches, and nothing on any other.
    pub fn new(is_loopback: bool, key: SealKey) -> Self {
        Self { is_loopback, key, setting: RwLock::default() }
    }

    /// Takes another setting.
    pub fn set(&self, access: &config::Access, public_url: Option<&str>, kubeconfig: Option<&Path>) {
        let provider = access.oidc.as_ref().zip(public_url).and_then(|(oidc, public_url)| {
            let provider = Provider::new(oidc, public_url, kubeconfig);
            provider.inspect_err(|error| tracing::error!(%error, "failed to set up logins")).ok()
        });
        let token = |(name, reader): (&String, &config::Reader)| (name.clone(), Grant::of(&reader.sources, reader.act));
        let group = |(name, group): (&String, &config::Group)| (name.clone(), Grant::of(&group.sources, group.act));
        let setting = Setting {
            access: access.clone(),
            tokens: access.tokens.iter().map(token).collect(),
            groups: access.oidc.iter().flat_map(|oidc| &oidc.groups).map(group).collect(),
            provider: provider.map(Arc::new),
            kubeconfig: kubeconfig.map(Path::to_owned),
            known: Mutex::default(),
        };
        *self.setting.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setting);
    }

    fn setting(&self) -> Arc<Setting> {
        Arc::clone(&self.setting.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who comes with these headers.
    ///
    /// # Errors
    /// The answer to who may read nothing.
    async fn of(&self, headers: &HeaderMap) -> Result<Visitor, Response> {
        let setting = self.setting();
        let asks = !setting.access.tokens.is_empty() || setting.access.oidc.is_some();
        if let Some(token) = token(headers).filter(|_| asks) {
            let visitor = setting.who(&token).await.ok_or_else(|| unknown("this token is not known"))?;
            tracing::debug!(reader = visitor.name(), "read");
            return Ok(visitor);
        }
        if let Some(visitor) = self.session(&setting, headers) {
            return Ok(visitor);
        }
        if setting.access.anonymous || (!asks && self.is_loopback) {
            let grants = vec![Grant { sight: Sight::ALL, act: false }];
            return Ok(Visitor { name: None, grants, can_log_in: setting.provider.is_some() });
        }
        Err(if asks { unknown("this needs a token") } else { error(StatusCode::FORBIDDEN, CLOSED) })
    }

    fn session(&self, setting: &Setting, headers: &HeaderMap) -> Option<Visitor> {
        let provider = setting.provider.as_ref()?;
        let session: Session = SESSION.get(headers, &self.key, &provider.purpose(), provider.is_secure())?;
        let groups = session.groups.iter().filter_map(|group| setting.groups.get(group));
        Some(setting.visitor(format!("user:{}", session.name), groups))
    }

    /// Begins a login: where the browser goes, and what it keeps meanwhile. Nothing if people can't log in.
    ///
    /// # Errors
    /// The provider does not say where.
    pub async fn begin(&self, to: &str) -> Option<anyhow::Result<(String, String)>> {
        let provider = self.setting().provider.clone()?;
        let begun = async {
            let (state, nonce, verifier) = (random()?, random()?, random()?);
            let begun = Begun { state, nonce, verifier, to: local(to).to_owned() };
            let address = provider.address(&begun).await?;
            Ok((address, LOGIN.set(&self.key, &provider.purpose(), provider.is_secure(), &begun)))
        };
        Some(begun.await)
    }

    /// Ends a login: the page that was asked for, and what the browser keeps from now on.
    ///
    /// # Errors
    /// In words for who tries to log in.
    pub async fn finish(
        &self,
        headers: &HeaderMap,
        state: &str,
        code: &str,
        from: &str,
    ) -> Result<(String, [String; 2]), String> {
        let setting = self.setting();
        let Some(provider) = &setting.provider else { return Err("nobody can log in here".into()) };
        let (of, secure) = (provider.purpose(), provider.is_secure());
        let begun: Option<Begun> = LOGIN.get(headers, &self.key, &of, secure);
        let Some(begun) = begun.filter(|begun| begun.state == state) else {
            return Err("this login was not begun in this browser, or more than ten minutes ago".into());
        };
        let person = provider.person(code, &begun).await.map_err(|error| {
            tracing::warn!(error = %format!("{error:#}"), "failed to log somebody in");
            format!("the provider's answer is of no use: {error:#}")
        })?;
        let Person { name, subject, groups } = person;
        tracing::info!(target: "audit", audit = "login", who = format!("user:{name}"), subject, groups = groups.join(" "), from, "logged in");
        let session = SESSION.set(&self.key, &of, secure, &Session { name, groups });
        Ok((begun.to, [session, LOGIN.clear(secure)]))
    }

    /// What a browser is told that logs out.
    pub fn end(&self) -> Option<String> {
        Some(SESSION.clear(self.setting().provider.as_ref()?.is_secure()))
    }

    /// Whether people can log in with a browser.
    fn has_login(&self) -> bool {
        self.setting().provider.is_some()
    }
}

/// A page of the endpoint; of what is none, the first one.
fn local(to: &str) -> &str {
    let is_local = to.starts_with('/') && !to.starts_with("//") && to.len() <= 512;
    let is_plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local && is_plain { to } else { "/" }
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
        let grant = self.tokens.get(name)?;
        Some(self.visitor(format!("token:{name}"), [grant].into_iter()))
    }

    /// Whoever is given this, besides what everybody is.
    fn visitor<'a>(&self, name: String, grants: impl Iterator<Item = &'a Grant>) -> Visitor {
        let all = self.access.anonymous.then_some(Grant { sight: Sight::ALL, act: false });
        Visitor { name: Some(name), grants: grants.cloned().chain(all).collect(), can_log_in: false }
    }

    /// All tokens that can be read, and those of `before` that only can't be read now.
    async fn read(&self, before: &[(Digest, String)]) -> Vec<(Digest, String)> {
        let all = self.access.tokens.iter().map(async |(name, reader)| {
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
        Err(refused) if refused.status() == StatusCode::UNAUTHORIZED && access.has_login() && is_page(&request) => {
            let to = request.uri().path_and_query().map_or("/", |path| path.as_str());
            Redirect::to(&format!("/login?to={}", utf8_percent_encode(to, NON_ALPHANUMERIC))).into_response()
        }
        Err(refused) => refused,
    }
}

/// Whether a browser asks for a page, with nothing that says who it is.
fn is_page(request: &Request) -> bool {
    let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    request.method() == Method::GET && accepts.contains("text/html") && !request.headers().contains_key(AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealKey {
        SealKey::new(&[7; 32]).unwrap()
    }

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
            Visitor { name: None, grants: vec![Grant::of(&patterns, true)], can_log_in: false }
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
        let access = Access::new(true, key());
        let (first, second) = ("the-first-of-two-tokens", "the-second-of-two-tokens");
        std::fs::write(&file, first).unwrap();
        access.set(
            &config::Access { tokens: [("shop".into(), reader)].into(), ..config::Access::default() },
            None,
            None,
        );
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

    #[test]
    fn a_login_leads_to_pages_of_the_endpoint_only() {
        assert_eq!(local("/stacks/one?source=shop"), "/stacks/one?source=shop");
        for to in ["", "https://evil.example", "//evil.example", "/\\evil.example", "/a b", "/\r\nSet-Cookie: x", "x"] {
            assert_eq!(local(to), "/", "{to}");
        }
    }

    #[test]
    fn groups_see_and_act_each_where_they_may() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let oidc = serde_json::json!({
            "issuer": "https://sso.example", "clientId": "hks", "clientSecret": {"env": "NONE"},
            "groups": {"shop": {"sources": ["shop-*"], "act": true}, "all": {"sources": ["*"]}, "none": {"sources": []}},
        });
        let access = Access::new(true, key());
        let oidc = serde_json::from_value(oidc).unwrap();
        access.set(
            &config::Access { oidc: Some(oidc), ..config::Access::default() },
            Some("https://hks.example"),
            None,
        );
        let visitor = |groups: &[&str]| {
            let setting = access.setting();
            setting.visitor("user:ada".into(), groups.iter().filter_map(|group| setting.groups.get(*group)))
        };
        let both = visitor(&["shop", "all"]);
        assert!(both.sees("blog") && both.sees_all() && both.acts_as("blog").is_none());
        assert_eq!(both.acts_as("shop-eu"), Some("user:ada"));
        let team = visitor(&["shop", "unknown"]);
        assert!(team.sees("shop-eu") && !team.sees("blog") && !team.sees_all());
        assert!(!visitor(&[]).sees("shop-eu") && !visitor(&["none"]).sees("shop-eu"));
    }

    #[tokio::test]
    async fn a_login_ends_where_it_began() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // nobody answers there
        let oidc = serde_json::json!({
            "issuer": "http://127.0.0.1:1", "clientId": "hks", "clientSecret": {"env": "NONE"}, "groups": {},
        });
        let access = Access::new(true, key());
        let oidc = serde_json::from_value(oidc).unwrap();
        access.set(&config::Access { oidc: Some(oidc), ..config::Access::default() }, Some("http://localhost"), None);
        let word = |text: &str| text.to_owned();
        let begun = Begun { state: word("s-1"), nonce: word("n-1"), verifier: word("v-1"), to: word("/") };
        let provider = access.setting().provider.clone().unwrap();
        let cookie = LOGIN.set(&key(), &provider.purpose(), false, &begun);
        let pair = HeaderValue::from_str(cookie.split(';').next().unwrap()).unwrap();
        let kept: HeaderMap = [(axum::http::header::COOKIE, pair)].into_iter().collect();
        let told = async |headers: &HeaderMap, state| access.finish(headers, state, "code", "").await.unwrap_err();
        assert!(told(&kept, "s-1").await.contains("the provider's answer is of no use"));
        assert!(told(&kept, "s-2").await.contains("was not begun in this browser"));
        assert!(told(&HeaderMap::new(), "s-1").await.contains("was not begun in this browser"));
        let another = LOGIN.set(&key(), "another provider", false, &begun);
        let pair = HeaderValue::from_str(another.split(';').next().unwrap()).unwrap();
        let kept: HeaderMap = [(axum::http::header::COOKIE, pair)].into_iter().collect();
        assert!(told(&kept, "s-1").await.contains("was not begun in this browser"));
    }
}

//! Login by `OpenID` Connect: authorization code with PKCE (`OpenID` Connect Core 1.0, section 3.1; RFC 7636). What a provider answers is
//! bounded, and believed only with its signature.

use crate::config::{self, is_loopback};
use crate::shell::answer::read;
use crate::shell::cluster::redactor::{URL_PART, visible};
use crate::shell::credential;
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, decode, decode_header};
use percent_encoding::utf8_percent_encode;
use reqwest::{Client, Method, RequestBuilder, Url};
use ring::digest::{SHA256, digest};
use ring::signature::{self as ring_signature, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// How long what the provider says of itself counts …
const FRESH: Duration = Duration::from_hours(1);
/// … and how long its keys do at least where a token names another one.
const AGAIN: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const MAX_ANSWER: usize = 256 * 1024;
/// Logins that are finished at the same time.
const AT_ONCE: usize = 8;
/// Keys that are tried for a token.
const MAX_KEYS: usize = 16;
/// Characters of a name.
const MAX_NAME: usize = 100;

/// Where people log in.
pub struct Provider {
    setting: config::Oidc,
    kubeconfig: Option<PathBuf>,
    /// Where it sends people back to.
    back: String,
    http: Client,
    room: Semaphore,
    metadata: Mutex<Option<(Instant, Arc<Metadata>)>>,
    keys: Mutex<Option<(Instant, Arc<JwkSet>)>>,
}

/// What a provider says of itself (`OpenID` Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// A login that was begun.
#[derive(Clone, Serialize, Deserialize)]
pub struct Begun {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the token.
    pub nonce: String,
    /// Proves that who brings the code is who asked for it.
    pub verifier: String,
    /// The page that was asked for.
    pub to: String,
}

/// Who has logged in.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    /// What people call them; the provider may give it to another one later.
    pub name: String,
    /// What the provider calls them, for ever.
    pub subject: String,
    /// Their groups, of those that the configuration names.
    pub groups: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    id_token: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    nonce: Option<String>,
    azp: Option<String>,
    aud: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Provider {
    /// A provider that sends people back to `public_url`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// HTTP can't be set up.
    pub fn new(setting: &config::Oidc, public_url: &str, kubeconfig: Option<&Path>) -> Result<Self> {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
        let http = http.user_agent(concat!("hks/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self {
            setting: setting.clone(),
            kubeconfig: kubeconfig.map(Path::to_owned),
            back: format!("{}/login/callback", public_url.trim_end_matches('/')),
            http,
            room: Semaphore::new(AT_ONCE),
            metadata: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    /// What its sessions are for: another provider's don't count.
    pub fn purpose(&self) -> String {
        format!("{} {}", self.setting.issuer, self.setting.client_id)
    }

    /// Whether people come by HTTPS.
    pub fn is_secure(&self) -> bool {
        self.back.starts_with("https://")
    }

    /// Whether it answers so that people could log in.
    ///
    /// # Errors
    /// It does not.
    pub async fn check(&self) -> Result<()> {
        let metadata = self.metadata().await?;
        self.keys(&metadata, FRESH).await.map(drop)
    }

    /// Where a browser is sent to log in.
    ///
    /// # Errors
    /// The provider does not say.
    pub async fn address(&self, begun: &Begun) -> Result<String> {
        let metadata = self.metadata().await?;
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, begun.verifier.as_bytes()));
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.setting.client_id),
            ("redirect_uri", &self.back),
            ("scope", &self.setting.scopes.join(" ")),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let url = Url::parse_with_params(&metadata.authorization_endpoint, parameters);
        Ok(url.context("failed to read the provider's authorization_endpoint")?.into())
    }

    /// Who has logged in, by the code that a browser brings.
    ///
    /// # Errors
    /// The provider does not answer, or not so that it can be believed.
    pub async fn person(&self, code: &str, begun: &Begun) -> Result<Person> {
        let _room = self.room.acquire().await?;
        let metadata = self.metadata().await?;
        let secret = credential::read(&self.setting.client_secret, self.kubeconfig.as_deref()).await;
        let secret = secret.context("failed to read access.oidc.clientSecret")?;
        let (id, secret) = (self.setting.client_id.as_str(), secret.expose());
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.back),
            ("code_verifier", &begun.verifier),
        ];
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let has = |method: &str| methods.iter().any(|one| one == method);
        let in_form = !has("client_secret_basic") && has("client_secret_post");
        if in_form {
            form.extend([("client_id", id), ("client_secret", secret)]);
        }
        let body = Url::parse_with_params("http://form", form)?.query().unwrap_or_default().to_owned();
        let mut request = self.http.request(Method::POST, &metadata.token_endpoint).body(body);
        request =
            request.header("content-type", "application/x-www-form-urlencoded").header("accept", "application/json");
        if !in_form {
            // RFC 6749, section 2.3.1: both are encoded before; Gitea 1.24 does not decode them
            let encoded = |text: &str| utf8_percent_encode(text, URL_PART).to_string();
            request = request.basic_auth(encoded(id), Some(encoded(secret)));
        }
        let answer: Answer = asked(request).await.context("failed to get a token for the code")?;
        let mut keys = self.keys(&metadata, FRESH).await?;
        if !knows(&keys, &answer.id_token) {
            keys = self.keys(&metadata, AGAIN).await?;
        }
        believed(&self.setting, &metadata.issuer, &keys, &answer.id_token, &begun.nonce)
    }

    async fn metadata(&self) -> Result<Arc<Metadata>> {
        let mut known = self.metadata.lock().await;
        if let Some((at, metadata)) = &*known
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(metadata));
        }
        let issuer = self.setting.issuer.trim_end_matches('/');
        let request = self.http.request(Method::GET, format!("{issuer}/.well-known/openid-configuration"));
        let metadata: Metadata = asked(request).await.context("failed to ask the provider what it can do")?;
        ensure!(metadata.issuer.trim_end_matches('/') == issuer, "the provider calls itself {:?}", metadata.issuer);
        for url in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            let is_fine = url.starts_with("https://") || (issuer.starts_with("http://") && is_loopback(url));
            ensure!(is_fine, "the provider wants to be asked at {url}");
        }
        let metadata = Arc::new(metadata);
        *known = Some((Instant::now(), Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// Its keys, as they were read so long ago at most.
    async fn keys(&self, metadata: &Metadata, at_most: Duration) -> Result<Arc<JwkSet>> {
        let mut known = self.keys.lock().await;
        if let Some((at, keys)) = &*known
            && at.elapsed() < at_most
        {
            return Ok(Arc::clone(keys));
        }
        let keys = asked(self.http.request(Method::GET, &metadata.jwks_uri)).await;
        let keys = Arc::new(keys.context("failed to get the provider's keys")?);
        *known = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

async fn asked<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let mut answer = request.send().await?;
    let (body, is_cut) = read(&mut answer, MAX_ANSWER).await?;
    ensure!(!is_cut, "the answer has more than {MAX_ANSWER} bytes");
    if !answer.status().is_success() {
        // RFC 6749, section 5.2
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let word = |key: &str| said[key].as_str().unwrap_or_default().chars().take(200).collect::<String>();
        bail!("it answers {}: {} {}", answer.status(), word("error"), word("error_description"));
    }
    serde_json::from_slice(&body).context("its answer can't be read")
}

/// Whether the key that a token names is known.
fn knows(keys: &JwkSet, token: &str) -> bool {
    let kid = decode_header(token).ok().and_then(|header| header.kid);
    kid.is_none_or(|kid| keys.find(&kid).is_some())
}

/// Who a token is of, if `keys` have signed it, for this client, in this login, and it is not over (`OpenID` Connect Core 1.0, section
/// 3.1.3.7).
///
/// # Errors
/// It is not to be believed.
pub fn believed(setting: &config::Oidc, issuer: &str, keys: &JwkSet, token: &str, nonce: &str) -> Result<Person> {
    // the first time only
    let _ = RING.install_default();
    let header = decode_header(token).context("failed to read the token")?;
    ensure!(
        is_asymmetric(header.alg),
        "the token is signed by {:?}, with a key that is no secret of the provider",
        header.alg
    );
    let fits = |key: &&jsonwebtoken::jwk::Jwk| {
        let common = &key.common;
        let algorithm = common.key_algorithm.as_ref().map(KeyAlgorithm::to_string);
        let named = header.kid.is_none() || common.key_id == header.kid;
        let signs = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
        named && signs && algorithm.is_none_or(|name| Algorithm::from_str(&name).ok() == Some(header.alg))
    };
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[&setting.client_id]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let of_key = |key: &jsonwebtoken::jwk::Jwk| {
        let key = DecodingKey::from_jwk(key)?;
        decode::<Claims>(token, &key, &validation)
    };
    // without a name, any of them may have signed it
    let mut tried = Err(ErrorKind::InvalidSignature.into());
    for key in keys.keys.iter().filter(fits).take(MAX_KEYS) {
        tried = of_key(key);
        if tried.is_ok() {
            break;
        }
    }
    let claims = tried.context("failed to verify the token")?.claims;
    ensure!(claims.nonce.as_deref() == Some(nonce), "the token is of another login");
    let several = claims.aud.as_array().is_some_and(|all| all.len() > 1);
    let wrong = claims.azp.as_ref().map_or(several, |azp| *azp != setting.client_id);
    ensure!(!wrong, "the token is for another client");
    let word = |key: &str| claims.rest.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let name = word("preferred_username").or_else(|| word("email")).unwrap_or(&claims.sub);
    let short = |text: &str| visible(text).trim().chars().take(MAX_NAME).collect::<String>();
    let groups = match claims.rest.get(&setting.groups_claim) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => vec![],
    };
    let groups = setting.groups.keys().filter(|name| groups.contains(&name.as_str())).cloned().collect();
    Ok(Person { name: short(name), subject: short(&claims.sub), groups })
}

/// A secret that hks shares with the provider vouches for nobody: whoever knows it, or takes a public key for it, could sign.
fn is_asymmetric(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// The cryptography of tokens: that of everything else in hks.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(ByRing { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils::new_unimplemented(),
};

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, text: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        let by_rsa = |parameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(parameters, text, tag)
            }
            DecodingKeyKind::SecretOrDer(_) => Err(ring::error::Unspecified),
        };
        let by = |family: AlgorithmFamily, algorithm: &'static dyn VerificationAlgorithm| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) if self.key.family() == family => {
                UnparsedPublicKey::new(algorithm, key).verify(text, tag)
            }
            _ => Err(ring::error::Unspecified),
        };
        let verified = match self.algorithm {
            Algorithm::RS256 => by_rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => by_rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => by_rsa(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => by_rsa(&ring_signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => by_rsa(&ring_signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => by_rsa(&ring_signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => by(AlgorithmFamily::Ec, &ring_signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => by(AlgorithmFamily::Ec, &ring_signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => by(AlgorithmFamily::Ed, &ring_signature::ED25519),
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    const ISSUER: &str = "https://sso.example";

    fn setting() -> config::Oidc {
        serde_json::from_value(json!({
            "issuer": ISSUER, "clientId": "hks", "clientSecret": {"env": "NONE"},
            "groups": {"shop": {"sources": ["shop"]}, "platform": {"sources": ["*"], "act": true}},
        }))
        .unwrap()
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap())
        }

        fn jwk(&self, kid: &str) -> Value {
            let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
            let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": encode(x), "y": encode(y)})
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let text = format!("{}.{}", part(header), part(claims));
            let tag = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
        }
    }

    fn claims() -> Value {
        let now = jsonwebtoken::get_current_timestamp();
        json!({
            "iss": ISSUER, "aud": "hks", "sub": "17", "exp": now + 300, "iat": now, "nonce": "n-1",
            "preferred_username": "ada", "groups": ["shop", "others"],
        })
    }

    #[test]
    fn a_token_is_believed_that_the_provider_has_signed_for_this_login() {
        let signer = Signer::new();
        let keys: JwkSet = serde_json::from_value(json!({"keys": [signer.jwk("a")]})).unwrap();
        let read = |token: &str| believed(&setting(), ISSUER, &keys, token, "n-1");
        let header = json!({"alg": "ES256", "kid": "a"});
        let person = Person { name: "ada".into(), subject: "17".into(), groups: vec!["shop".into()] };
        assert_eq!(read(&signer.sign(&header, &claims())).unwrap(), person);
        // keys need no name, and one group no list
        let mut one = claims();
        one["groups"] = "platform".into();
        assert_eq!(read(&signer.sign(&json!({"alg": "ES256"}), &one)).unwrap().groups, ["platform"]);
        let mut several = claims();
        several["aud"] = json!(["hks", "other"]);
        assert!(read(&signer.sign(&header, &several)).is_err());
        several["azp"] = "hks".into();
        assert!(read(&signer.sign(&header, &several)).is_ok());
    }

    #[test]
    fn no_other_token_is() {
        let signer = Signer::new();
        let keys: JwkSet = serde_json::from_value(json!({"keys": [signer.jwk("a")]})).unwrap();
        let read = |token: &str| believed(&setting(), ISSUER, &keys, token, "n-1");
        let header = json!({"alg": "ES256", "kid": "a"});
        let with = |key: &str, value: Value| {
            let mut claims = claims();
            claims[key] = value;
            signer.sign(&header, &claims)
        };
        let now = jsonwebtoken::get_current_timestamp();
        for (key, value) in [
            ("nonce", json!("n-2")),
            ("nonce", Value::Null),
            ("iss", json!("https://evil.example")),
            ("aud", json!("other")),
            ("aud", json!([])),
            ("azp", json!("other")),
            ("exp", json!(now - 3600)),
            ("exp", json!("never")),
            ("exp", Value::Null),
            ("nbf", json!(now + 3600)),
            ("sub", Value::Null),
        ] {
            let told = read(&with(key, value.clone()));
            assert!(told.is_err(), "{key}: {value} {told:?}");
        }
        let good = signer.sign(&header, &claims());
        let (text, tag) = good.rsplit_once('.').unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut others = claims();
        others["groups"] = json!(["platform"]);
        let forged = format!("{}.{}.{tag}", part(&header), part(&others));
        // the public key as a secret
        let public = keys.keys[0].clone();
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.0.public_key().as_ref());
        let head = part(&json!({"alg": "HS256", "kid": "a"}));
        let claimed = part(&claims());
        let mac = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, format!("{head}.{claimed}").as_bytes()));
        for token in [
            forged,
            format!("{text}."),
            text.to_owned(),
            format!("{}.{claimed}.", part(&json!({"alg": "none"}))),
            format!("{head}.{claimed}.{mac}"),
            Signer::new().sign(&header, &claims()),
            signer.sign(&json!({"alg": "ES256", "kid": "b"}), &claims()),
            signer.sign(&json!({"alg": "ES384", "kid": "a"}), &claims()),
            signer.sign(&json!({"alg": "RS256", "kid": "a"}), &claims()),
            String::new(),
            "..".into(),
        ] {
            assert!(read(&token).is_err(), "{token}");
        }
        assert!(!knows(&keys, &signer.sign(&json!({"alg": "ES256", "kid": "b"}), &claims())) && knows(&keys, &good));
        let mut encrypts = serde_json::to_value(&public).unwrap();
        encrypts["use"] = "enc".into();
        let keys: JwkSet = serde_json::from_value(json!({"keys": [encrypts]})).unwrap();
        assert!(believed(&setting(), ISSUER, &keys, &good, "n-1").is_err());
    }
}

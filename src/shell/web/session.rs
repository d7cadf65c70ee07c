//! What a browser keeps for the endpoint: cookies whose text nobody else can write.

use crate::record::SealKey;
use crate::shell::chance::{self, NoChance};
use crate::shell::clock;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bytes of all cookies that are looked at.
const MOST: usize = 8 * 1024;

/// Writes and reads cookies of one kind.
#[derive(Clone, Copy)]
pub struct Cookie {
    /// Its name, without what the prefix says.
    pub name: &'static str,
    /// How long it counts.
    pub lasts: Duration,
}

/// What is in a cookie.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    /// Second of the Unix epoch until which it counts.
    until: i64,
    what: T,
}

impl Cookie {
    /// The header that sets it. `of` is what it is for: it counts for nothing else.
    pub fn set<T: Serialize>(self, key: &SealKey, of: &str, secure: bool, what: T) -> String {
        let lasts = i64::try_from(self.lasts.as_secs()).unwrap_or(i64::MAX);
        let sealed = Sealed { until: clock::now().as_second().saturating_add(lasts), what };
        // text, numbers and lists of text can't fail
        let text = serde_json::to_vec(&sealed).unwrap_or_default();
        let tag = key.tag(&self.purpose(of), &text);
        let value = format!("{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(tag));
        self.header(secure, &value, lasts)
    }

    /// The header that takes it away.
    pub fn clear(self, secure: bool) -> String {
        self.header(secure, "", 0)
    }

    fn header(self, secure: bool, value: &str, lasts: i64) -> String {
        let name = self.full_name(secure);
        let secure = if secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={lasts}{secure}")
    }

    /// What a browser has sent back, if it is as it was set, for the same, and still counts.
    pub fn get<T: DeserializeOwned>(self, headers: &HeaderMap, key: &SealKey, of: &str, secure: bool) -> Option<T> {
        let name = self.full_name(secure);
        let all =
            headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).filter(|text| text.len() <= MOST);
        let mut values = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = values.find(|(of, _)| *of == name)?;
        let (text, tag) = value.split_once('.')?;
        let (text, tag) = (URL_SAFE_NO_PAD.decode(text).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        key.is_tag(&self.purpose(of), &text, &tag).then_some(())?;
        let sealed: Sealed<T> = serde_json::from_slice(&text).ok()?;
        (clock::now().as_second() < sealed.until).then_some(sealed.what)
    }

    /// With this prefix browsers take it from no other host, and not in the clear (RFC 6265bis, section 4.1.3.2).
    fn full_name(self, secure: bool) -> String {
        format!("{}{}", if secure { "__Host-" } else { "" }, self.name)
    }

    fn purpose(self, of: &str) -> String {
        format!("cookie {} {of}", self.name)
    }
}

/// What nobody can guess, as text that fits everywhere.
///
/// # Errors
/// The system's random source failed.
pub fn random() -> Result<String, NoChance> {
    chance::bytes::<32>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_cookie_counts_as_it_was_set_and_for_what_it_was_set() {
        let key = SealKey::new(&[7; 32]).unwrap();
        let cookie = Cookie { name: "hks-x", lasts: Duration::from_mins(1) };
        let set = cookie.set(&key, "one", true, vec!["ada"]);
        assert!(
            set.starts_with("__Host-hks-x=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"),
            "{set}"
        );
        let sent = |text: &str| {
            let text = format!("other=1; {text}; more=2");
            [(COOKIE, HeaderValue::from_str(&text).unwrap())].into_iter().collect::<HeaderMap>()
        };
        let pair = set.split(';').next().unwrap();
        let read =
            |text: &str, cookie: Cookie, of: &str, secure| cookie.get::<Vec<String>>(&sent(text), &key, of, secure);
        assert_eq!(read(pair, cookie, "one", true), Some(vec!["ada".to_owned()]));
        assert_eq!(read(pair, cookie, "two", true), None);
        assert_eq!(read(pair, cookie, "one", false), None);
        assert_eq!(read(pair, Cookie { name: "hks-y", ..cookie }, "one", true), None);
        let other = SealKey::new(&[8; 32]).unwrap();
        assert!(cookie.get::<Vec<String>>(&sent(pair), &other, "one", true).is_none());
        let (name, value) = pair.split_once('=').unwrap();
        let (text, tag) = value.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"until":99999999999,"what":["eve"]}"#);
        for value in [format!("{forged}.{tag}"), text.to_owned(), format!("{text}."), format!(".{tag}"), String::new()]
        {
            assert_eq!(read(&format!("{name}={value}"), cookie, "one", true), None, "{value}");
        }
        let over = Cookie { lasts: Duration::ZERO, ..cookie };
        let set = over.set(&key, "one", false, vec!["ada"]);
        assert_eq!(read(set.split(';').next().unwrap(), over, "one", false), None);
        assert!(cookie.clear(false).starts_with("hks-x=; ") && cookie.clear(false).contains("Max-Age=0"));
    }
}

//! The seal of a record. Whoever may write ConfigMaps in a project may write the record of a Stack; only the daemon has the key
//! to seal it, so what somebody else wrote is known for that.

use super::Stored;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Form of the seal; another one is no seal.
const FORM: &str = "v1:";

/// The key of a daemon.
#[derive(Clone, Debug)]
pub struct SealKey(hmac::Key);

/// The key for the records of one project: what was sealed for another one is not sealed for this one.
#[derive(Clone, Debug)]
pub struct Sealer {
    key: hmac::Key,
    place: String,
}

impl SealKey {
    /// Bytes of a key that is made.
    pub const LEN: usize = 32;
    /// Bytes that a key has at least: those of a key by hand.
    pub const LEAST: usize = 16;

    /// A key of these bytes; `None` if they are too few.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::LEAST).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// A tag that only this key makes of a text, for one purpose; no record's seal is one.
    pub fn tag(&self, purpose: &str, text: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, &tagged(purpose, text)).as_ref().to_vec()
    }

    /// Whether this is the tag of a text, for this purpose.
    pub fn is_tag(&self, purpose: &str, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, &tagged(purpose, text), tag).is_ok()
    }

    /// For the records of a project, by a name that no other one has.
    pub fn of(&self, place: impl Into<String>) -> Sealer {
        Sealer { key: self.0.clone(), place: place.into() }
    }
}

/// What a tag is made of. A record's text begins with the length of the name of its project, which is never this one.
fn tagged(purpose: &str, text: &[u8]) -> Vec<u8> {
    let mut all = u64::MAX.to_be_bytes().to_vec();
    all.extend((purpose.len() as u64).to_be_bytes());
    all.extend(purpose.as_bytes());
    all.extend(text);
    all
}

impl Sealer {
    /// The seal of the record of a Stack.
    pub fn seal(&self, stack: &str, stored: &Stored) -> String {
        let release = stored.release.as_ref().map_or(&[][..], |release| release.bytes());
        let tag = hmac::sign(&self.key, &self.text(stack, &stored.json, release));
        format!("{FORM}{}", STANDARD.encode(tag))
    }

    /// Whether this is the seal of the record as it was found.
    pub fn holds(&self, stack: &str, json: &str, release: Option<&[u8]>, seal: &str) -> bool {
        let tag = seal.strip_prefix(FORM).and_then(|tag| STANDARD.decode(tag).ok());
        let text = || self.text(stack, json, release.unwrap_or_default());
        tag.is_some_and(|tag| hmac::verify(&self.key, &text(), &tag).is_ok())
    }

    /// No part can reach into the next one.
    fn text(&self, stack: &str, json: &str, release: &[u8]) -> Vec<u8> {
        let mut text = vec![];
        for part in [self.place.as_bytes(), stack.as_bytes(), json.as_bytes(), release] {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(part);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_record_in_one_place_by_one_key() {
        let stored = |json: &str| Stored { json: json.into(), release: None };
        let key = SealKey::new(&[7; 32]).unwrap();
        let sealer = key.of("host/team-a/shop");
        let seal = sealer.seal("one", &stored("{}"));
        assert!(sealer.holds("one", "{}", None, &seal));
        assert!(!sealer.holds("one", "{ }", None, &seal));
        assert!(!sealer.holds("two", "{}", None, &seal));
        assert!(!sealer.holds("one", "{}", Some(b"x"), &seal));
        assert!(!key.of("host/team-b/shop").holds("one", "{}", None, &seal));
        assert!(!SealKey::new(&[8; 32]).unwrap().of("host/team-a/shop").holds("one", "{}", None, &seal));
        assert!(!sealer.holds("one", "{}", None, ""));
        assert!(!sealer.holds("one{", "}", None, &seal));
        assert!(SealKey::new(b"short").is_none());
    }
}

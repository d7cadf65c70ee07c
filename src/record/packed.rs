//! A release as it ran, compressed: its rendered objects, with Secrets only as recipes.
//!
//! What ran is kept and not only what it was rendered from: with another hks, or other settings of the platform, the same
//! file becomes other objects, and going back must mean what ran.

use crate::manifest::Manifest;
use crate::spec::Files;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes that a kept release may unpack to: who may write the record must not be able to fill memory with it.
const MAX_UNPACKED: usize = 16 << 20;
/// zstd's own default: higher levels take longer and gain a few percent on objects of some kilobytes.
const LEVEL: i32 = 3;

/// The compressed release.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

/// What is compressed.
#[derive(Serialize, Deserialize)]
struct Payload {
    /// Of the release that it belongs to: a record that an older hks has written since has another one.
    at: Timestamp,
    manifest: Manifest,
    /// The files of the release, where they are too large to stand in the record itself.
    #[serde(default, skip_serializing_if = "Files::is_empty")]
    files: Files,
}

impl Packed {
    /// Packs what settled at `at`; `files` only if the record can't hold them itself.
    ///
    /// # Errors
    /// In words; none is known that a rendered manifest could cause.
    pub fn pack(at: Timestamp, manifest: &Manifest, files: &Files) -> Result<Self, String> {
        let payload = Payload { at, manifest: manifest.clone(), files: files.clone() };
        let json = serde_json::to_vec(&payload).map_err(|error| error.to_string())?;
        // the window spans the whole: a file stands in it once for the release and once in its ConfigMap
        let packed = zstd::bulk::compress(&json, LEVEL).map_err(|error| error.to_string())?;
        Ok(Self(packed.into()))
    }

    /// As it was kept.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// As it is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The manifest, and the files if they are in it; `None` if it is of another release than the one that settled at `at`.
    ///
    /// # Errors
    /// In words.
    pub fn unpack(&self, at: Timestamp) -> Result<Option<(Manifest, Files)>, String> {
        let json = zstd::bulk::decompress(&self.0, MAX_UNPACKED).map_err(|error| error.to_string())?;
        let payload: Payload = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        Ok((payload.at == at).then_some((payload.manifest, payload.files)))
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Revision, StackName};

    #[test]
    fn what_is_packed_is_unpacked_for_its_own_release_only() {
        let manifest = Manifest::empty(StackName::new("todo").unwrap(), Revision::new("aaaa"));
        let packed = Packed::pack(Timestamp::UNIX_EPOCH, &manifest, &Files::default()).unwrap();
        let again = Packed::from_bytes(packed.bytes());
        assert_eq!(again.unpack(Timestamp::UNIX_EPOCH), Ok(Some((manifest, Files::default()))));
        assert_eq!(again.unpack(Timestamp::MAX), Ok(None));
        assert!(Packed::from_bytes(b"no").unpack(Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn what_would_fill_memory_is_refused() {
        let bomb = zstd::bulk::compress(&vec![b' '; MAX_UNPACKED + 1], LEVEL).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(Packed::from_bytes(&bomb).unpack(Timestamp::UNIX_EPOCH).is_err());
    }
}

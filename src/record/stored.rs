//! A record as a ConfigMap holds it: text that people and the hks before this one can read, and beside it, compressed, the
//! objects of the release.
//!
//! The text keeps the form of the hks before, so that going back one version finds what it needs. What does not fit is left
//! out in the order in which it is missed least, and a release that can't be kept is refused when its file is checked.

use super::{Packed, Record, Release};
use crate::rollout::Cause;
use crate::spec::Files;
use std::sync::Arc;

/// The form of records that this hks writes. One that is higher is of a newer hks, and is not touched.
pub const FORMAT: u32 = 2;
/// The API server takes objects of up to 1 MiB (etcd's limit, less what the rest of the object takes).
const MAX_BYTES: usize = 1_000_000;
/// Files that are larger together stand with the compressed release: there they take a fraction.
const MAX_FILES: usize = 128 * 1024;
/// Bytes of log lines that one deployment of the history keeps, as JSON writes them.
const MAX_LOG: usize = 4 * 1024;
/// Deployments that the history keeps at least, as long as they fit at all.
const LEAST_HISTORY: usize = 3;

/// The two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The record as JSON.
    pub json: String,
    /// The release, compressed.
    pub release: Option<Packed>,
}

impl Stored {
    fn len(&self) -> usize {
        // binary data travels as base64, but is counted as it is
        self.json.len() + self.release.as_ref().map_or(0, |release| release.bytes().len())
    }
}

impl Record {
    /// The record as it is written.
    ///
    /// # Errors
    /// It does not fit, in words for who wrote the file.
    pub fn encode(&self) -> Result<Stored, String> {
        let mut record = Record { format: FORMAT, ..self.clone() };
        let release = record.settled.as_mut().map(Arc::make_mut).and_then(|release| {
            if release.files_stand_apart() && release.ran.is_some() {
                release.files = Files::default();
            }
            release.ran.take()
        });
        let texts = record.history.iter_mut().filter_map(|deployment| Arc::make_mut(deployment).cause.as_mut());
        texts.chain(record.held.as_mut().map(|held| &mut held.cause)).for_each(cut_log);
        loop {
            let json = serde_json::to_string(&record).map_err(|error| error.to_string())?;
            let stored = Stored { json, release: release.clone() };
            let size = stored.len();
            if size <= MAX_BYTES {
                return Ok(stored);
            }
            if record.history.len() <= LEAST_HISTORY {
                return Err(format!(
                    "hks.yaml and its files take {} KiB as they are kept for a rollback, at most {} KiB fit; make the \
                     files smaller, or put them into an image or a volume",
                    size.div_ceil(1024),
                    MAX_BYTES / 1024
                ));
            }
            record.history.remove(0);
        }
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// In words for the person who has to mend it. Nothing may be done to the Stack then.
    pub fn decode(json: &str, release: Option<&[u8]>) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Head {
            #[serde(default)]
            format: u32,
        }
        if let Ok(Head { format }) = serde_json::from_str(json)
            && format > FORMAT
        {
            return Err(format!(
                "its record was written by a newer hks (format {format}, this one reads up to {FORMAT}); start that hks again"
            ));
        }
        let mut record: Record = serde_json::from_str(json).map_err(|error| {
            format!(
                "its record can't be read ({error}); restore it from a backup; if there is none, delete it: what runs is \
                 then taken over as it is, and nothing is deleted"
            )
        })?;
        if let Some(held) = &mut record.held
            && held.restored
            && held.ending == super::Ending::Open
        {
            held.ending = super::Ending::Healthy;
        }
        if let (Some(settled), Some(bytes)) = (record.settled.as_mut().map(Arc::make_mut), release) {
            let packed = Packed::from_bytes(bytes);
            match packed.unpack(settled.at) {
                Ok(Some((_, files))) => {
                    if settled.files.is_empty() {
                        settled.files = files;
                    }
                    settled.ran = Some(packed);
                }
                // an hks of the format before has settled another release since
                Ok(None) => {}
                // told when the release is needed: what is settled is not known
                Err(_) => settled.ran = Some(packed),
            }
        }
        Ok(record)
    }
}

impl Release {
    /// Whether the files are too large to stand in the record's text.
    pub(super) fn files_stand_apart(&self) -> bool {
        serde_json::to_string(&self.files).is_ok_and(|text| text.len() > MAX_FILES)
    }
}

/// Keeps the last lines: they tell most.
fn cut_log(cause: &mut Cause) {
    let (Cause::CrashLoop { log, .. } | Cause::NotReady { log, .. } | Cause::JobFailed { log, .. }) = cause else {
        return;
    };
    let encoded = |text: &str| serde_json::to_string(text).map_or(0, |json| json.len());
    while encoded(log) > MAX_LOG {
        // a line without an end is halved
        let at = log.find('\n').map_or(log.len() / 2, |end| end + 1).max(1);
        let at = (at..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
        log.drain(..at);
    }
}

//! What a person asks of a Stack, as the command line and the endpoint leave it on the record and the daemon takes it.
//!
//! Wishes are an annotation of the Stack's ConfigMap. The id of each is kept in the record once it was acted on, so that no restart
//! acts on it twice, whoever fails to take the annotation away.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where wishes lie until they are answered.
pub const ANNOTATION: &str = "hks.hexabase.ai/wish";
/// Bytes of wishes that are read at most.
const MAX_BYTES: usize = 16 * 1024;
/// Wishes that wait at most.
const MAX_WAITING: usize = 16;

/// Something that a person wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Random; two wishes that say the same are still two.
    pub id: String,
    /// What is wanted.
    pub what: Want,
    /// Who asked, as far as known.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Want {
    /// An older release, until the next commit that changes the Stack.
    RollBack {
        /// Its commit.
        to: String,
    },
    /// The newest commit once more, though it failed.
    Retry {
        /// Volumes that a settled release had and that are gone are made anew, empty.
        #[serde(default)]
        accept_data_loss: bool,
    },
    /// Nothing is changed or deleted until it is resumed.
    Suspend {
        /// Why, for the others; may be empty.
        reason: String,
    },
    /// The end of a suspension.
    Resume,
    /// Everything that belongs to the Stack goes, until the next commit that changes it.
    Destroy {
        /// Databases and volumes too.
        with_data: bool,
    },
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::RollBack { to } => write!(f, "roll back to {to}"),
            Want::Retry { accept_data_loss: false } => f.write_str("retry"),
            Want::Retry { accept_data_loss: true } => f.write_str("retry with empty volumes in place of the lost ones"),
            Want::Suspend { reason } if reason.is_empty() => f.write_str("suspend"),
            Want::Suspend { reason } => write!(f, "suspend ({reason})"),
            Want::Resume => f.write_str("resume"),
            Want::Destroy { with_data: false } => f.write_str("destroy all but data"),
            Want::Destroy { with_data: true } => f.write_str("destroy with data"),
        }
    }
}

impl Want {
    /// Nothing is left of what was wanted `earlier` once this is done.
    pub fn overtakes(&self, earlier: &Self) -> bool {
        match (earlier, self) {
            (Self::RollBack { .. }, Self::RollBack { .. } | Self::Destroy { .. }) => true,
            (Self::Destroy { with_data: earlier }, Self::Destroy { with_data: later }) => later >= earlier,
            _ => false,
        }
    }
}

impl Wish {
    /// What the person has written.
    pub fn words(&mut self) -> impl Iterator<Item = &mut String> {
        let what = match &mut self.what {
            Want::RollBack { to } => Some(to),
            Want::Suspend { reason } => Some(reason),
            Want::Retry { .. } | Want::Resume | Want::Destroy { .. } => None,
        };
        what.into_iter().chain([&mut self.by])
    }

    /// As wishes stand in the annotation, first the one that came first. One alone is written as hks has always read it.
    pub fn encode(wishes: &[Self]) -> String {
        // the type has no map and no float: this can't fail
        match wishes {
            [one] => serde_json::to_string(one),
            several => serde_json::to_string(several),
        }
        .unwrap_or_default()
    }

    /// Reads an annotation.
    ///
    /// # Errors
    /// In words for the person who wrote it.
    pub fn decode(text: &str) -> Result<Vec<Self>, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("the wishes are longer than {MAX_BYTES} bytes"));
        }
        let failed = |error| format!("the wish can't be read: {error}");
        if text.trim_start().starts_with('[') {
            return serde_json::from_str(text).map_err(failed);
        }
        serde_json::from_str(text).map(|one| vec![one]).map_err(failed)
    }

    /// Puts a wish behind those that wait already.
    ///
    /// # Errors
    /// Too many wait, in words.
    pub fn queue(self, waiting: &str) -> Result<String, String> {
        // what can't be read will never be answered
        let mut all = Self::decode(waiting).unwrap_or_default();
        all.push(self);
        let text = Self::encode(&all);
        if all.len() > MAX_WAITING || text.len() > MAX_BYTES {
            return Err(format!("{} wishes wait already, and no daemon answers them", all.len() - 1));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_undone_is_overtaken() {
        let back = Want::RollBack { to: "4f1c2ab".into() };
        let [some, all] = [false, true].map(|with_data| Want::Destroy { with_data });
        assert!(back.overtakes(&back) && some.overtakes(&back) && all.overtakes(&some) && some.overtakes(&some));
        assert!(!some.overtakes(&all), "the data would stay");
        assert!(!back.overtakes(&some), "it comes back without its data");
        assert!(!Want::Resume.overtakes(&back) && !back.overtakes(&Want::Resume));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let wants = [
            Want::RollBack { to: "4f1c2ab".into() },
            Want::Retry { accept_data_loss: true },
            Want::Suspend { reason: "migration by hand".into() },
            Want::Resume,
            Want::Destroy { with_data: true },
        ];
        for what in wants {
            let wish = Wish { id: "1".into(), what, by: "me".into(), at: Timestamp::UNIX_EPOCH };
            assert_eq!(Wish::decode(&Wish::encode(std::slice::from_ref(&wish))), Ok(vec![wish]));
        }
        assert!(Wish::decode("4f1c2ab cli").is_err());
        assert!(Wish::decode(&"x".repeat(20_000)).is_err_and(|error| error.contains("longer")));
    }

    #[test]
    fn a_wish_waits_behind_the_others_and_takes_nothing_away() {
        let wish = |number: usize| {
            let what = Want::Suspend { reason: String::new() };
            Wish { id: number.to_string(), what, by: "me".into(), at: Timestamp::UNIX_EPOCH }
        };
        let mut waiting = String::new();
        for number in 0..MAX_WAITING {
            waiting = wish(number).queue(&waiting).unwrap_or_default();
        }
        let all = Wish::decode(&waiting).unwrap_or_default();
        assert_eq!(
            all.iter().map(|wish| wish.id.as_str()).collect::<Vec<_>>().join(" "),
            "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"
        );
        assert!(wish(99).queue(&waiting).is_err_and(|error| error.starts_with("16 wishes wait already")));
        assert!(wish(1).queue("nonsense").is_ok());
    }
}

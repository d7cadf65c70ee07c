//! The states of a Stack, once: the endpoint's word, people's words, symbol, colour and order of each.

use serde::{Serialize, Serializer};

/// What state a Stack is in. A state that is not here can't be shown anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackState {
    /// Nothing was ever deployed.
    Fresh,
    /// A commit is on its way.
    Deploying,
    /// A commit is on its way, and the node pool has no room for it at the moment.
    Waiting,
    /// A commit failed, and the last release that worked is being put back.
    RollingBack,
    /// What somebody else changed is being put back.
    Correcting,
    /// Everything of it is being deleted, since a person said so.
    Destroying,
    /// The newest commit is in effect.
    Settled,
    /// The newest commit is in effect, and something of it is not well.
    Degraded,
    /// The newest commit failed and is not tried again by itself.
    Held(Ended),
    /// The newest commit can't be used; nothing was touched.
    Invalid,
    /// Nothing is changed or deleted.
    Suspended(Why),
    /// Data that the settled release had is gone; nothing is made in its place until a person decides.
    DataLost,
    /// Another daemon acts for this Stack.
    Standby,
    /// The cluster does not answer, or the connection to it is not made yet.
    Unreachable,
    /// What hks has kept of it can't be read, so nothing is done with it.
    Unreadable,
}

/// How the way back from a failed commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Everything is as it was, and well.
    Restored,
    /// Everything is as it was, and what was put back is not well itself.
    Unhealthy,
    /// The cluster refused what was to be put back.
    Refused,
}

/// Why a Stack is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its file is gone or empty, or none of its environments is meant.
    NoFile,
    /// A person said so.
    Asked,
}

/// How a state is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// As wished.
    Good,
    /// Under way.
    Busy,
    /// Somebody has to look.
    Bad,
    /// Nothing happens, and nothing should.
    Idle,
}

impl Tone {
    /// The class of its colour on pages.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Busy => "busy",
            Tone::Bad => "bad",
            Tone::Idle => "idle",
        }
    }
}

impl StackState {
    /// Every state, for tables and tests.
    pub const ALL: [Self; 18] = [
        Self::Fresh,
        Self::Deploying,
        Self::Waiting,
        Self::RollingBack,
        Self::Correcting,
        Self::Destroying,
        Self::Settled,
        Self::Degraded,
        Self::Held(Ended::Restored),
        Self::Held(Ended::Unhealthy),
        Self::Held(Ended::Refused),
        Self::Invalid,
        Self::Suspended(Why::NoFile),
        Self::Suspended(Why::Asked),
        Self::DataLost,
        Self::Standby,
        Self::Unreachable,
        Self::Unreadable,
    ];

    /// The word of the HTTP API and of `-o json`; it never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Deploying => "deploying",
            Self::Waiting => "waiting",
            Self::RollingBack => "rollingBack",
            Self::Correcting => "correcting",
            Self::Destroying => "destroying",
            Self::Settled => "settled",
            Self::Degraded => "degraded",
            Self::Held(_) => "held",
            Self::Invalid => "invalid",
            Self::Suspended(_) => "suspended",
            Self::DataLost => "dataLost",
            Self::Standby => "standby",
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fresh => "new",
            Self::Deploying => "deploying",
            Self::Waiting => "waiting",
            Self::RollingBack => "rolling back",
            Self::Correcting => "correcting drift",
            Self::Destroying => "being deleted",
            Self::Settled => "settled",
            Self::Degraded => "degraded",
            Self::Held(Ended::Restored) => "held back",
            Self::Held(Ended::Unhealthy) => "held back, not healthy",
            Self::Held(Ended::Refused) => "held, not restored",
            Self::Invalid => "invalid",
            Self::Suspended(_) => "suspended",
            Self::DataLost => "data lost",
            Self::Standby => "standby",
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
        }
    }

    /// How it is to be taken.
    pub fn tone(self) -> Tone {
        match self {
            Self::Settled => Tone::Good,
            Self::Deploying | Self::Waiting | Self::RollingBack | Self::Correcting | Self::Destroying => Tone::Busy,
            Self::Degraded | Self::Held(_) | Self::Invalid | Self::DataLost | Self::Unreachable | Self::Unreadable => {
                Tone::Bad
            }
            Self::Fresh | Self::Suspended(_) | Self::Standby => Tone::Idle,
        }
    }

    /// A sign that does not depend on colour.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Settled => "✓",
            Self::Held(_) | Self::Invalid => "✗",
            Self::Degraded | Self::DataLost | Self::Unreachable | Self::Unreadable => "⚠",
            Self::RollingBack => "↶",
            Self::Waiting => "…",
            Self::Deploying | Self::Correcting | Self::Destroying => "↻",
            Self::Fresh => "○",
            Self::Suspended(_) | Self::Standby => "‖",
        }
    }

    /// Lower comes first in a list: what somebody has to look at, then what is under way.
    pub fn rank(self) -> u8 {
        match (self, self.tone()) {
            (_, Tone::Bad) => 0,
            (Self::RollingBack, _) => 1,
            (_, Tone::Busy) => 2,
            (_, Tone::Idle) => 3,
            (_, Tone::Good) => 4,
        }
    }
}

impl Serialize for StackState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_state_has_its_own_words() {
        let words: BTreeSet<_> = StackState::ALL.iter().map(|state| state.word()).collect();
        // the ends of a rollback share a word, and so do the two ways to be suspended
        assert_eq!(words.len(), StackState::ALL.len() - 3);
        let ends = [Ended::Restored, Ended::Unhealthy, Ended::Refused];
        let titles: BTreeSet<_> = ends.iter().map(|end| StackState::Held(*end).title()).collect();
        assert_eq!(titles.len(), 3, "each end of a rollback is told apart");
    }

    #[test]
    fn what_needs_attention_comes_first() {
        let mut all = StackState::ALL;
        all.sort_by_key(|state| state.rank());
        assert_eq!(all[0].tone(), Tone::Bad);
        assert_eq!(all[all.len() - 1], StackState::Settled);
    }
}

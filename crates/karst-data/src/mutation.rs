//! Known-wrong behaviour, planted to prove that the simulator would see it.
//!
//! Only a build with the feature `mutations` can plant anything; in every other one [`is_planted`] is the
//! constant `false` and what it guards is compiled away. One process plants at most one.

/// What can be planted, each where the code says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// A write counts as durable before its device write has come back.
    AcknowledgesBeforeDurable = 1,
    /// A block is used again before what superseded its records is durable.
    NoQuarantine,
    /// A flush begins one sector early: a sector that holds acknowledged records is written again.
    RewritesASector,
    /// What was appended behind a failed write and never submitted counts as durable.
    ForgetsWhatAFailedWriteTookAlong,
    /// Blocks leave quarantine although what superseded their records was lost with a failed write.
    NoRescue,
    /// After a restart fill numbers are given out again that were given out before.
    UsesFillsAgain,
    /// A record's checksum does not depend on the fill of its block.
    SealWithoutFill,
    /// Recovery keeps the copy that it finds last, not the one with the highest version.
    RecoversLastFound,
    /// A sweep forgets tombstones while older copies may lie on devices.
    DropsTombstonesEarly,
    /// A delete leaves no tombstone.
    DeletesWithoutTombstone,
    /// A write over a tombstone does not say so: a truncation that takes the record leaves none in its stead.
    TruncatesOverTombstones,
    /// Defrag moves records that the index no longer points at.
    MovesStaleRecords,
    /// What comes from a device is served unchecked.
    ServesUnchecked,
    /// Recovery takes in what is left of partitions that were let go of.
    TakesInWhatWasLetGo,
}

impl Mutation {
    /// All there are.
    pub const ALL: [Mutation; 14] = [
        Mutation::AcknowledgesBeforeDurable,
        Mutation::NoQuarantine,
        Mutation::RewritesASector,
        Mutation::ForgetsWhatAFailedWriteTookAlong,
        Mutation::NoRescue,
        Mutation::UsesFillsAgain,
        Mutation::SealWithoutFill,
        Mutation::RecoversLastFound,
        Mutation::DropsTombstonesEarly,
        Mutation::DeletesWithoutTombstone,
        Mutation::TruncatesOverTombstones,
        Mutation::MovesStaleRecords,
        Mutation::ServesUnchecked,
        Mutation::TakesInWhatWasLetGo,
    ];
}

/// Whether this one is planted.
#[cfg(not(feature = "mutations"))]
pub const fn is_planted(_: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
pub use planted::{is_planted, plant};

#[cfg(feature = "mutations")]
mod planted {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutation;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants one for the rest of the process.
    pub fn plant(mutation: Mutation) {
        PLANTED.store(mutation as u8, Ordering::Relaxed);
    }

    /// Whether this one is planted.
    pub fn is_planted(mutation: Mutation) -> bool {
        PLANTED.load(Ordering::Relaxed) == mutation as u8
    }
}

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
    /// What was lost with a failed write is not brought elsewhere, and the blocks of what it superseded leave quarantine.
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
    /// A write counts as arrived when it was sent.
    AcknowledgesBeforeCopied,
    /// Of two states that were written apart the one of the higher version wins, whenever it was written.
    MergesByVersion,
    /// What a node kept while it was apart is not asked for.
    SkipsWhoIsApart,
    /// The hashes by which nodes compare leave tombstones out.
    HashesWithoutTombstones,
    /// A node that is apart gives what it kept for whatever it is sent.
    ApartTakesByVersion,
    /// A node that becomes the primary does not compare with who is in sync beside it.
    TakesOverUnseen,
    /// That a primary does not know of a record outweighs the record.
    BuriesForGood,
    /// Who joins a partition is sent its records and not what was deleted.
    MovesWithoutTombstones,
    /// A comparison that the map has overtaken is not made again.
    ForgetsRepairs,
    /// A strongly consistent write is acknowledged before anybody else has it.
    ConfirmsAlone,
    /// Confirmations of nodes that are not in sync count.
    CountsAnybody,
    /// A new primary asks nobody what was confirmed.
    SkipsFence,
    /// A change before the last one was activated begins from the set in between.
    IgnoresPrior,
    /// A regime is activated before everybody in sync holds what was confirmed.
    ActivatesEarly,
    /// A lease counts although it has run out.
    TrustsOldLeases,
    /// A read returns what is not confirmed yet.
    ReadsUnconfirmed,
    /// Of two states of a record the one of the lower version wins, where consistency is strong.
    MergesBackwards,
    /// A new primary numbers its writes as if nobody had written before.
    ReusesSequences,
    /// A node takes copies of an older regime than it has agreed to.
    TakesStaleCopies,
    /// A replica says that it has a write before that is on its device.
    AnswersBeforeCommit,
    /// A primary counts itself among those who have a write before that is on its device.
    ConfirmsBeforeCommit,
    /// A node that has lost what it confirmed does not say so.
    HidesLosses,
    /// What a node holds counts for a new primary before it is durable.
    FencesBeforeDurable,
}

impl Mutation {
    /// All there are.
    pub const ALL: [Mutation; 37] = [
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
        Mutation::AcknowledgesBeforeCopied,
        Mutation::MergesByVersion,
        Mutation::SkipsWhoIsApart,
        Mutation::HashesWithoutTombstones,
        Mutation::ApartTakesByVersion,
        Mutation::TakesOverUnseen,
        Mutation::BuriesForGood,
        Mutation::MovesWithoutTombstones,
        Mutation::ForgetsRepairs,
        Mutation::ConfirmsAlone,
        Mutation::CountsAnybody,
        Mutation::SkipsFence,
        Mutation::IgnoresPrior,
        Mutation::ActivatesEarly,
        Mutation::TrustsOldLeases,
        Mutation::ReadsUnconfirmed,
        Mutation::MergesBackwards,
        Mutation::ReusesSequences,
        Mutation::TakesStaleCopies,
        Mutation::AnswersBeforeCommit,
        Mutation::ConfirmsBeforeCommit,
        Mutation::HidesLosses,
        Mutation::FencesBeforeDurable,
    ];

    /// Whether it takes several nodes to see it.
    pub fn is_of_cluster(self) -> bool {
        self as u8 >= Mutation::AcknowledgesBeforeCopied as u8
    }

    /// Whether it is seen only where consistency is strong.
    pub fn is_of_strong(self) -> bool {
        self as u8 >= Mutation::ConfirmsAlone as u8
    }
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

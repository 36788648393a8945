//! What two nodes have to tell each other so that both hold the same of a partition.
//!
//! The primary compares. It asks the other node for the hashes of the partition's ranges
//! ([`Namespace::range_hashes`](crate::Namespace::range_hashes)), and where they differ, for what the range
//! holds. Per record it then either sends its own state, or takes the other's as a write of its own
//! ([`Namespace::merge`](crate::Namespace::merge)), which then reaches everybody as writes do. Meanwhile
//! the stream of writes goes on: whatever arrives twice or late changes nothing.
//!
//! Which state wins is a matter of when it was written ([`Weight`]), not of versions: two nodes that
//! could not talk may have written under versions that say nothing of each other. But a node keeps the
//! state of the highest version, now and at its next start. So a winner whose version does not say so is
//! written anew.

use karst_cluster::fabric::Listed;
use karst_data::key::Digest;
use karst_data::mutation::{Mutation, is_planted};
use karst_storage::index::{Flags, NewEntry};
use karst_storage::place::Version;

use crate::replica::Weight;

/// What may become of the other node's own states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It may hold writes that nobody else has: the later state wins.
    Merge,
    /// It holds nothing of its own, only what is left of earlier days: the primary's state wins, and what the
    /// primary does not have is gone.
    Impose,
    /// It may know what was confirmed, as everybody in sync may when a strongly consistent partition is taken over: the
    /// later state wins, by its version, and is only asked for here.
    Fence,
}

/// What is to be done about one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The other node has to be sent these.
    pub push: Vec<Digest>,
    /// These have to be written anew here first, above the other node's sequence, and then reach the other
    /// node as writes.
    pub renew: Vec<(Digest, u64)>,
    /// The other node's state of these wins, or is the only one.
    pub pull: Vec<Digest>,
    /// The other node still has these, and they are long gone.
    pub bury: Vec<Digest>,
}

/// Compares what the primary holds of a range with what another node does, both by digest.
/// States are told apart by their versions alone if `by_version` says so.
pub fn difference(mine: &[NewEntry], theirs: &[Listed], how: How, by_version: bool) -> Difference {
    let mut difference = Difference::default();
    let (mut mine, mut theirs) = (mine.iter().peekable(), theirs.iter().peekable());
    loop {
        let order = match (mine.peek(), theirs.peek()) {
            (None, None) => return difference,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(mine), Some(theirs)) => mine.digest.cmp(&theirs.digest),
        };
        let mine = if order.is_le() { mine.next() } else { None };
        let theirs = if order.is_ge() { theirs.next() } else { None };
        difference.add(mine, theirs, how, by_version);
    }
}

impl Difference {
    fn add(
        &mut self,
        mine: Option<&NewEntry>,
        theirs: Option<&Listed>,
        how: How,
        by_version: bool,
    ) {
        match (mine, theirs) {
            // Also that something is gone: when others hold the partition they are the ones to tell who comes back.
            (Some(mine), None)
                if mine.flags.contains(Flags::TOMBSTONE)
                    && is_planted(Mutation::MovesWithoutTombstones) => {}
            (Some(mine), None) => self.push.push(mine.digest),
            (None, Some(theirs)) => match how {
                How::Merge | How::Fence => self.pull.push(theirs.digest),
                How::Impose if theirs.tombstone => {}
                How::Impose => self.bury.push(theirs.digest),
            },
            (Some(mine), Some(theirs)) => self.weigh(mine, theirs, how, by_version),
            (None, None) => {}
        }
    }

    fn weigh(&mut self, mine: &NewEntry, theirs: &Listed, how: How, by_version: bool) {
        let weight = |weight: Weight| weight.by_version_if(by_version);
        let order = weight(Weight::of_entry(mine)).cmp(&weight(Weight::of_listed(theirs)));
        if order.is_eq() {
            return;
        }
        if order.is_lt() && how != How::Impose {
            self.pull.push(mine.digest);
        } else if mine.version > Version::unpack(theirs.version) {
            self.push.push(mine.digest);
        } else {
            let theirs = Version::unpack(theirs.version);
            self.renew.push((mine.digest, theirs.sequence));
        }
    }
}

/// What another node is told of an entry.
pub fn listed(entry: &NewEntry) -> Listed {
    Listed {
        digest: entry.digest,
        version: entry.version.pack(),
        update_time_ms: entry.update_time_ms,
        generation: entry.generation,
        tombstone: entry.flags.contains(Flags::TOMBSTONE),
    }
}

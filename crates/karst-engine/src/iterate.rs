//! A partition's records in the order of their digests, a bounded piece at a time.
//!
//! For those who compare or copy a partition: two nodes that hold it, or a node and a backup, name its
//! records in the same order, whatever their indexes look like. The index itself is in another order
//! ([`Namespace::scan_slice`]), which costs less and is what a scan should use.
//!
//! A piece is the least digests past a point. To find them the whole partition is walked once, in
//! slices of at most 256 entries, between which nothing is locked and the caller may do something else.
//! So a partition of n entries is walked n / [`PIECE_DIGESTS_MAX`] times over; one of 2,500 entries, as
//! in a node of ten million, once.
//!
//! What holds however the partition changes meanwhile
//!   digests come in ascending order, each at most once
//!   what is there from the first slice to the last comes exactly once
//!   what comes or goes in between comes at most once
//!
//! Why: an entry that is there all the time is visited by every walk. Past the point where a piece
//! begins it is either among those found or greater than all of them, and then a later piece begins
//! before it. All that is kept is the piece and two digests, and a new [`Iterate`] can be begun after any
//! digest, at another node too.

#[cfg(test)]
mod tests;

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use karst_data::key::{Digest, PartitionId};
use karst_storage::index::{Directory, WalkCursor};

use crate::namespace::Namespace;

/// Most entries that one slice visits, so that a partition's mutex is held for microseconds.
const SLICE_ENTRIES_MAX: usize = 256;

/// Most digests of a piece: 80 KiB.
pub const PIECE_DIGESTS_MAX: usize = 4096;

/// An iteration over one partition. Small, holds nothing, and can be dropped at any time.
#[derive(Debug)]
pub struct Iterate {
    partition: PartitionId,
    piece_max: usize,
    /// The last digest of the pieces that are done.
    after: Option<Digest>,
    /// Where the walk for this piece goes on.
    walk: Option<WalkCursor>,
    /// The least digests seen in this walk, greatest first.
    least: BinaryHeap<Digest>,
    done: bool,
}

/// How far a step came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Ask again: the walk is under way.
    Walking,
    /// The next digests in ascending order, tombstones included. At least one.
    Digests(Vec<Digest>),
    /// There are no more.
    End,
}

impl Iterate {
    /// Begins after a digest, or with the first. `piece_max` is the most digests of a piece, at most
    /// [`PIECE_DIGESTS_MAX`].
    ///
    /// # Panics
    /// If `piece_max` is 0.
    pub fn new(partition: PartitionId, after: Option<Digest>, piece_max: usize) -> Iterate {
        assert!(piece_max > 0, "a piece holds something");
        Iterate {
            partition,
            piece_max: piece_max.min(PIECE_DIGESTS_MAX),
            after,
            walk: None,
            least: BinaryHeap::new(),
            done: false,
        }
    }

    /// The last digest of the pieces that were returned: what to begin after, to go on from here.
    pub fn after(&self) -> Option<Digest> {
        self.after
    }

    /// One slice of the walk over the partition's directory, which is locked.
    fn slice(&mut self, directory: &Directory) {
        let mut visited = 0;
        let walk = self.walk.take();
        self.walk = directory.walk(walk, &mut |entry| {
            self.offer(entry.digest());
            visited += 1;
            if visited == SLICE_ENTRIES_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }

    /// Keeps a digest if it is among the least past `after`.
    fn offer(&mut self, digest: &Digest) {
        if self.after.is_some_and(|after| *digest <= after) {
            return;
        }
        if self.least.len() == self.piece_max {
            let greatest = self.least.peek().expect("a piece holds something");
            if digest >= greatest {
                return;
            }
            self.least.pop();
        }
        self.least.push(*digest);
    }

    /// What the walk found, once it is over.
    fn piece(&mut self) -> Piece {
        if self.walk.is_some() {
            return Piece::Walking;
        }
        let digests = std::mem::take(&mut self.least).into_sorted_vec();
        self.done = digests.len() < self.piece_max;
        match digests.last() {
            None => Piece::End,
            Some(last) => {
                self.after = Some(*last);
                Piece::Digests(digests)
            }
        }
    }
}

impl Namespace {
    /// Takes an iteration one step further.
    pub fn iterate(&self, iterate: &mut Iterate) -> Piece {
        if iterate.done {
            return Piece::End;
        }
        iterate.slice(&self.partition(iterate.partition).directory);
        iterate.piece()
    }
}

//! Walks through a directory in slices, in an order that outlives every change of it.
//!
//! The order is that of (hash with its bits reversed, digest). A bucket holds the entries that agree
//! in their low hash bits, so it is one stretch of this order however many buckets there are, and
//! growing or shrinking only cuts or joins stretches. A walk keeps no place in the directory, only the
//! last digest it has seen, and asks what comes next. Hence
//!
//!   what is there from a walk's first slice to its last is visited exactly once
//!   what comes or goes in between is visited at most once
//!   a walk may go on at another node, or at the same one restarted: the key, so the order, is shared
//!
//! Between two visits a walk looks at the empty buckets in between: up to 255 where a directory is
//! nearly empty, a few in any other, which holds at least 0.4 records per bucket. Who walks in slices
//! counts visits, in `visit`, and breaks.

use std::ops::{Bound, ControlFlow, RangeBounds};

use karst_data::key::Digest;

use super::directory::{Directory, prefetch_line};
use super::entry::{Entry, EntryMut};
use super::hash::order;
use super::link::{Handle, Link};

/// After so many visits a walk asks for what comes next, from memory.
const AHEAD_VISITS: usize = 16;

/// Buckets for which it asks: at least as many as so many visits get through, mostly.
const AHEAD_BUCKETS: usize = 32;

/// How far a walk has come: the digest of the entry visited last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkCursor {
    digest: Digest,
}

impl WalkCursor {
    /// Resumes after this digest, whether or not there is an entry for it.
    pub fn after(digest: Digest) -> WalkCursor {
        WalkCursor { digest }
    }

    /// The digest to resume after.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// What becomes of an entry that [`Directory::walk_mut`] visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
}

/// Where an entry stands in the order.
type Rank = (u64, Digest);

/// The rank of the first entry that could have this order.
fn least(order: u64) -> Bound<Rank> {
    Bound::Included((order, Digest([0; Digest::BYTES])))
}

impl Directory {
    /// Visits entries in order, from the first or from where an earlier slice stopped, until `visit`
    /// breaks; the entry it breaks at counts as visited. Returns where to resume, or `None` at the end.
    pub fn walk(
        &self,
        after: Option<WalkCursor>,
        visit: &mut dyn FnMut(&Entry) -> ControlFlow<()>,
    ) -> Option<WalkCursor> {
        let mut from = self.resume(after);
        let mut visited = 0;
        while let Some((rank, handle)) = self.successor(from) {
            from = Bound::Excluded(rank);
            if visited % AHEAD_VISITS == 0 {
                self.fetch_ahead(rank.0);
            }
            visited += 1;
            let entry = self.entry(handle);
            if visit(entry).is_break() {
                return Some(WalkCursor::after(*entry.digest()));
            }
        }
        None
    }

    /// As [`Directory::walk`], for change: `decide` may change the entry and says whether it stays.
    /// To break with a fate is to end the slice after carrying it out.
    pub fn walk_mut(
        &mut self,
        after: Option<WalkCursor>,
        decide: &mut dyn FnMut(EntryMut<'_>) -> ControlFlow<Fate, Fate>,
    ) -> Option<WalkCursor> {
        let mut from = self.resume(after);
        while let Some((rank, handle)) = self.successor(from) {
            from = Bound::Excluded(rank);
            let digest = *self.entry(handle).digest();
            let decision = decide(self.lend(handle));
            let (ControlFlow::Continue(fate) | ControlFlow::Break(fate)) = decision;
            match fate {
                Fate::Keep => {}
                Fate::Remove => assert!(self.remove(&digest).is_some()),
            }
            if decision.is_break() {
                return Some(WalkCursor::after(digest));
            }
        }
        None
    }

    /// Asks the CPU for the first entries of the buckets that come next in the order.
    fn fetch_ahead(&self, mut order: u64) {
        for _ in 0..AHEAD_BUCKETS {
            match self.order_past(self.bucket_of(order.reverse_bits())) {
                Some(next) => order = next,
                None => return,
            }
            if let Some(handle) = self.first(order.reverse_bits()).handle() {
                prefetch_line(self.entry(handle));
            }
        }
    }

    fn resume(&self, after: Option<WalkCursor>) -> Bound<Rank> {
        after.map_or(least(0), |cursor| {
            Bound::Excluded(self.rank(&cursor.digest))
        })
    }

    /// Where in the order of walks a digest stands, whether or not there is an entry for it: entries come in the
    /// order of (this, digest).
    pub fn walk_order(&self, digest: &Digest) -> u64 {
        order(self.hash(digest))
    }

    fn rank(&self, digest: &Digest) -> Rank {
        (self.walk_order(digest), *digest)
    }

    /// The first entry at or past a point of the order.
    fn successor(&self, mut from: Bound<Rank>) -> Option<(Rank, Handle)> {
        if self.is_empty() {
            return None;
        }
        loop {
            let (Bound::Included((order, _)) | Bound::Excluded((order, _))) = from else {
                unreachable!("a walk starts somewhere");
            };
            let hash = order.reverse_bits();
            if let Some(found) = self.successor_in_chain(self.first(hash), from) {
                return Some(found);
            }
            from = least(self.order_past(self.bucket_of(hash))?);
        }
    }

    /// As `successor`, among the entries of one chain. Looks at all of them each time: there are one
    /// or two, and no list of them needs to be kept.
    fn successor_in_chain(&self, mut link: Link, from: Bound<Rank>) -> Option<(Rank, Handle)> {
        let mut nearest: Option<(Rank, Handle)> = None;
        while let Some(handle) = link.handle() {
            let entry = self.entry(handle);
            let rank = self.rank(entry.digest());
            let is_nearer = nearest.is_none_or(|(nearest, _)| rank < nearest);
            if is_nearer && (from, Bound::Unbounded).contains(&rank) {
                nearest = Some((rank, handle));
            }
            link = entry.next();
        }
        nearest
    }

    /// Where in the order the stretch of a bucket ends, unless it is the last.
    fn order_past(&self, bucket: u32) -> Option<u64> {
        let depth = self.depth_of(bucket);
        u64::from(bucket)
            .reverse_bits()
            .checked_add(1 << (u64::BITS - depth))
    }
}

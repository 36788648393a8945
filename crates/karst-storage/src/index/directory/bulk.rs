//! Growth of a directory that is being filled at a start, when nobody is served yet.
//!
//! A split reads its chain and its parent's head from memory, once for every record: a third of what a
//! record costs at a start. Here buckets are doubled instead, and all entries chained anew in the order of
//! their slots, which is that of memory; the heads fit a cache. So a record is chained twice or three times,
//! and waits for no memory. What is too much in the end is given back by one more pass.

use super::super::link::{Handle, Link};
use super::{BUCKETS_MIN, Directory, RECORDS_MAX, SEGMENT_HEADS};

impl Directory {
    /// Makes room in the buckets for so many more records, so that their inserts do not split: at least
    /// doubles them when they are too few. Takes time in proportion to the size. [`Directory::fit`] gives
    /// back what was too much.
    pub fn grow_ahead(&mut self, more: u32) {
        let needed = self.len.saturating_add(more).min(RECORDS_MAX);
        if needed > self.buckets {
            let least = if self.is_empty() {
                BUCKETS_MIN
            } else {
                self.buckets * 2
            };
            self.chain_again(needed.max(least));
        }
    }

    /// As many buckets as inserts one by one would have made.
    pub fn fit(&mut self) {
        let buckets = self.len.max(BUCKETS_MIN);
        if self.buckets > buckets {
            self.chain_again(buckets);
        }
    }

    /// Chains all entries anew in so many buckets.
    fn chain_again(&mut self, buckets: u32) {
        let segments = (buckets as usize).div_ceil(SEGMENT_HEADS);
        while self.segments.len() > segments {
            self.segments.pop();
        }
        for at in 0..self.segments.len() {
            **self.segments.at_mut(at) = [Link::END; SEGMENT_HEADS];
        }
        self.open_segments(segments);
        self.buckets = buckets;
        for handle in (0..self.slots).map(Handle) {
            let entry = self.entry(handle);
            if !entry.is_vacant() {
                let hash = self.key.hash(entry.digest());
                self.push(hash, handle);
            }
        }
    }

    /// Adds segments of empty buckets up to so many.
    pub(super) fn open_segments(&mut self, segments: usize) {
        let more = segments - self.segments.len();
        self.segments.reserve(more);
        (0..more).for_each(|_| self.segments.push(Box::new([Link::END; SEGMENT_HEADS])));
    }
}

//! One key's way through the stages of a batch: what each key would wait for, all of them wait for
//! together.
//!
//! ```text
//! table    the place in the directory's tables that leads to the bucket
//! bucket   the bucket's head
//! entry    the first entry, if the head says that it may be the record's
//! next     the second, if the first is another's
//! ```
//!
//! A stage is called for all keys before the next is for any. Each is called under the partition's mutex,
//! which may have been free in between: a stage looks at nothing but the directory as it is now, and what
//! the probe remembers from earlier stages only spares it work that would be in vain.

use karst_data::key::Digest;

use super::directory::{Directory, SEGMENT_HEADS, prefetch_line};
use super::hash::{HashKey, tag_bit};

/// A key and how far its way was followed; no memory is held by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    hash: u64,
    leads_on: bool,
}

impl Probe {
    /// A probe for a key. The hash is made once, and outside of any mutex.
    #[inline]
    pub fn new(key: &HashKey, digest: &Digest) -> Probe {
        let hash = key.hash(digest);
        Probe {
            hash,
            leads_on: false,
        }
    }

    /// Asks the CPU for the place in the directory's table that leads to the bucket.
    #[inline]
    pub fn fetch_table(&self, directory: &Directory) {
        if let Some(bucket) = directory.bucket(self.hash) {
            directory.prefetch_tables(bucket as usize / SEGMENT_HEADS);
        }
    }

    /// Asks the CPU for the bucket's head.
    #[inline]
    pub fn fetch_bucket(&self, directory: &Directory) {
        if let Some(bucket) = directory.bucket(self.hash) {
            prefetch_line(directory.head(bucket));
        }
    }

    /// Asks the CPU for the entry that the bucket's head leads to.
    #[inline]
    pub fn fetch_entry(&mut self, directory: &Directory) {
        let (bit, first) = (tag_bit(self.hash), directory.first(self.hash));
        if let Some(handle) = first.towards(bit) {
            prefetch_line(directory.entry(handle));
            self.leads_on = first.tag() != bit;
        }
    }

    /// Whether there may be something for [`Probe::fetch_next`] to do: the tag of the way tells of an
    /// entry that is not the record's. So it does for two hits in three.
    #[inline]
    pub fn leads_on(&self) -> bool {
        self.leads_on
    }

    /// Asks the CPU for the second entry of the way, if the first is not the record's: so it is for one
    /// hit in three.
    #[inline]
    pub fn fetch_next(&self, directory: &Directory, digest: &Digest) {
        let bit = tag_bit(self.hash);
        if let Some(handle) = directory.first(self.hash).towards(bit) {
            let entry = directory.entry(handle);
            let next = entry.next().towards(bit);
            if let Some(next) = next.filter(|_| entry.digest() != digest) {
                prefetch_line(directory.entry(next));
            }
        }
    }
}

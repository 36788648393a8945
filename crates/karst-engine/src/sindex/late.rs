//! Records whose collections are too large to be indexed in the step of their write: put in later, in slices.
//!
//! ```text
//! write, copy, build --> late --> begin_late: a copy of the collection --> late_slice, late_slice ... --> not late
//!                          ^                                                      '-- written meanwhile --.
//!                          '----------------------------------------------------------------------------'
//! ```
//!
//! Until then queries take a late record for one that may have any value, and whoever reads it looks. So nothing
//! is missing at any time, and how long it takes costs time alone. A record is late at most once in a part: one
//! that is written often is put in as it is when there is time for it.
//!
//! The mutex is held for one slice at a time: at most `ELEMENTS_MAX` values are hashed outside of it and put inside.

use karst_data::key::{Digest, PartitionId};
use karst_data::sindex::ValueSlices;
use karst_data::time::Now;
use karst_storage::sindex::Stamp;

use super::Part;
use crate::namespace::{Fetched, Namespace, Partition, Step};

/// Most elements of a slice.
const ELEMENTS_MAX: usize = 512;

/// What is left to be done for a late record.
#[derive(Debug)]
pub struct Late {
    digest: Digest,
    stamp: Stamp,
    parts: Vec<LatePart>,
}

#[derive(Debug)]
struct LatePart {
    index: u32,
    slices: ValueSlices,
    is_done: bool,
    /// Values that were put.
    put: usize,
}

impl Partition {
    fn late_parts(&mut self, digest: &Digest) -> impl Iterator<Item = &mut Part> {
        let parts = self.parts.0.iter_mut();
        parts.filter(|part| part.late.contains(digest))
    }

    /// Nothing of the record is to be indexed any more.
    fn give_up_late(&mut self, digest: &Digest) {
        let parts = self.parts.0.iter_mut();
        parts.for_each(|part| part.set_late(digest, false));
    }
}

impl Namespace {
    /// Whether a record of any partition is late.
    pub fn has_late(&self) -> bool {
        self.sindexes().iter().any(|named| named.index.late() > 0)
    }

    /// The first late record of a partition behind another.
    pub fn next_late(&self, id: PartitionId, behind: Option<Digest>) -> Option<Digest> {
        use std::ops::Bound::{Excluded, Unbounded};
        let partition = self.partition(id);
        let from = behind.map_or(Unbounded, Excluded);
        let parts = partition.parts.0.iter();
        let firsts = parts.filter_map(|part| part.late.range((from, Unbounded)).next());
        firsts.min().copied()
    }

    /// Begins with a late record; `None` if it is late no more, has gone, or cannot be read, so that no query could
    /// return it either.
    pub fn begin_late(
        &self,
        digest: &Digest,
        fetched: Option<&Fetched>,
        now: Now,
    ) -> Step<Option<Late>> {
        let mut partition = self.partition_of(digest);
        if partition.late_parts(digest).next().is_none() {
            return Step::Done(None);
        }
        let entry = partition.directory.get(digest);
        let Some(entry) = entry.filter(|entry| !entry.is_tombstone()) else {
            partition.give_up_late(digest);
            return Step::Done(None);
        };
        let bytes = match self.bytes(entry.place(), fetched) {
            Ok(bytes) => bytes,
            Err(read) => return Step::Read(read),
        };
        let stamp = Stamp::of(entry.version());
        let Ok(record) = self.checked(&bytes, entry) else {
            partition.give_up_late(digest);
            return Step::Done(None);
        };
        let subject = (self.metadata(entry, record.set, now), record);
        let parts = partition.late_parts(digest).filter_map(|part| {
            Some(LatePart {
                index: part.index.id,
                slices: part.index.extractor.as_ref()?.slices(&subject),
                is_done: false,
                put: 0,
            })
        });
        Step::Done(Some(Late {
            digest: *digest,
            stamp,
            parts: parts.collect(),
        }))
    }

    /// Puts some more of its values in. Whether there is more to do: not when all are in, nor when the record was
    /// written meanwhile, which made it anew what it is now, late or not.
    pub fn late_slice(&self, late: &mut Late) -> bool {
        let Some(of) = late.parts.iter_mut().find(|part| !part.is_done) else {
            return false;
        };
        let mut values = Vec::with_capacity(ELEMENTS_MAX);
        of.is_done = !of.slices.next(ELEMENTS_MAX, &mut values);
        values.sort_unstable();
        values.dedup();
        let mut partition = self.partition_of(&late.digest);
        let Partition {
            directory, parts, ..
        } = &mut *partition;
        let entry = directory.get(&late.digest);
        if entry.is_none_or(|entry| Stamp::of(entry.version()) != late.stamp) {
            return false;
        }
        if let Some(part) = parts.0.iter_mut().find(|part| part.index.id == of.index) {
            let came = part.put(&late.digest, late.stamp, &values);
            of.put += values.len();
            if of.is_done {
                part.set_late(&late.digest, false);
                // As many may be left over of the record as it was before.
                part.note(u32::try_from(of.put).unwrap_or(u32::MAX));
            }
            part.owe(directory, came);
        }
        late.parts.iter().any(|part| !part.is_done)
    }
}

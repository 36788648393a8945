//! Building an index over the records that are there: a walk over each partition, a slice at a time.
//!
//! Whoever builds asks what a partition lacks ([`Namespace::begin_build`]), walks it ([`Namespace::build_slice`]),
//! has every record of a slice put in ([`Namespace::build_record`]), and says that it is done
//! ([`Namespace::end_build`]). A record with a large collection is put in later, see [`super::late`]. What is written meanwhile puts itself in; a record that changes between slice and
//! reading is put in as it is then. A walk that is given up leaves nothing to clear away.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use karst_data::key::{Digest, PartitionId};
use karst_data::time::Now;
use karst_storage::index::WalkCursor;
use karst_storage::sindex::Stamp;

use super::{Part, WALKED_BY_WRITE};
use crate::namespace::{Fetched, Namespace, Partition, Step};
use crate::walk::{SLICE_ENTRIES_MAX, ScanSlice};

/// What a partition's walk is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    partition: PartitionId,
    indexes: Vec<u32>,
}

impl Namespace {
    /// What a partition's parts lack; `None` when they are all built.
    pub fn begin_build(&self, id: PartitionId) -> Option<Build> {
        let partition = self.partition(id);
        let lacking = partition.parts.0.iter().filter(|part| !part.is_built);
        let indexes: Vec<u32> = lacking.map(|part| part.index.id).collect();
        (!indexes.is_empty()).then_some(Build {
            partition: id,
            indexes,
        })
    }

    /// Names records of the partition, those too that readers do not see for the moment: a truncation can be taken
    /// back.
    pub fn build_slice(&self, build: &Build, after: Option<WalkCursor>) -> ScanSlice {
        let mut digests = Vec::new();
        let mut visited = 0;
        let partition = self.partition(build.partition);
        let next = partition.directory.walk(after, &mut |entry| {
            visited += 1;
            if !entry.is_tombstone() {
                digests.push(*entry.digest());
            }
            match visited >= SLICE_ENTRIES_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        ScanSlice { digests, next }
    }

    /// Puts a record in, if it is still there. Reads it only if an index of its set wants values. `false` when it
    /// cannot be read: then it has none.
    pub fn build_record(
        &self,
        build: &Build,
        digest: &Digest,
        fetched: Option<&Fetched>,
        now: Now,
    ) -> Step<bool> {
        let mut partition = self.partition(build.partition);
        let Partition {
            directory, parts, ..
        } = &mut *partition;
        let entry = directory.get(digest);
        let Some(entry) = entry.filter(|entry| !entry.is_tombstone()) else {
            return Step::Done(true);
        };
        let lacks = |part: &&mut Part| build.indexes.contains(&part.index.id);
        let (found, mut has_values) = (entry.to_new(), false);
        for part in parts.0.iter_mut().filter(lacks) {
            match part.index.is_of_set() {
                true => part.follow_set(&self.sets, directory, &found, None),
                false => has_values |= part.index.extractor_for(&self.sets, found.set_id).is_some(),
            }
        }
        if !has_values {
            return Step::Done(true); // nobody wants to see the record
        }
        let bytes = match self.bytes(entry.place(), fetched) {
            Ok(bytes) => bytes,
            Err(read) => return Step::Read(read),
        };
        let (set_id, stamp) = (found.set_id, Stamp::of(found.version));
        let Ok(record) = self.checked(&bytes, entry) else {
            return Step::Done(false);
        };
        let subject = (self.metadata(entry, record.set, now), record);
        let (mut values, mut walked) = (Vec::new(), 0);
        let parts = parts.0.iter_mut().filter(lacks);
        for part in parts.filter(|part| !part.index.is_of_set()) {
            values.clear();
            let extractor = part.index.extractor_for(&self.sets, set_id);
            let left = WALKED_BY_WRITE - walked;
            let walks = extractor.map(|it| it.values_within(&subject, left, &mut values));
            walked += walks.flatten().unwrap_or(0);
            part.put(digest, stamp, &values);
            part.set_late(digest, walks == Some(None));
        }
        Step::Done(true)
    }

    /// All of the partition has been put in. Returns whether an index is whole by that.
    pub fn end_build(&self, build: &Build) -> bool {
        let mut partition = self.partition(build.partition);
        let parts = partition.parts.0.iter_mut();
        let mut whole = false;
        for part in parts.filter(|part| build.indexes.contains(&part.index.id)) {
            if !std::mem::replace(&mut part.is_built, true) {
                part.index.built.fetch_add(1, Ordering::AcqRel);
                whole |= part.index.is_built();
            }
        }
        whole
    }
}

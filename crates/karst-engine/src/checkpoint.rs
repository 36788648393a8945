//! The index of a namespace, a slice at a time, for a checkpoint; and back.

use std::ops::ControlFlow;

use karst_data::key::PartitionId;
use karst_storage::index::{NewEntry, WalkCursor};

use crate::namespace::Namespace;

/// Most entries of one slice, so that a partition's mutex is held for microseconds.
const SLICE_ENTRIES_MAX: usize = 256;

/// A slice of a partition.
pub struct EntrySlice {
    /// Where the next slice begins; `None` when the partition is done.
    pub next: Option<WalkCursor>,
    /// The sequence of the partition's latest write.
    pub sequence: u64,
}

impl Namespace {
    /// Adds some entries of a partition to `out`, tombstones too, from a point of the walk's order on.
    /// Each is what the index says while the slice is taken; what stays in the index throughout a
    /// walk is seen once.
    pub fn entry_slice(
        &self,
        id: PartitionId,
        after: Option<WalkCursor>,
        out: &mut Vec<NewEntry>,
    ) -> EntrySlice {
        let mut visited = 0;
        let partition = self.partition(id);
        let next = partition.directory.walk(after, &mut |entry| {
            out.push(entry.to_new());
            visited += 1;
            match visited >= SLICE_ENTRIES_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        EntrySlice {
            next,
            sequence: partition.directory.sequence(),
        }
    }
}

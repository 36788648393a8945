//! What the index says of records, for tools and checks. No request passes through here.

use std::ops::ControlFlow;

use karst_data::key::{Digest, PartitionId};
use karst_storage::index::{Entry, NewEntry};

use crate::namespace::Namespace;

impl Namespace {
    /// The index entry of a record, if there is one: of a tombstone or an expired record too.
    pub fn entry(&self, digest: &Digest) -> Option<NewEntry> {
        let partition = self.partition_of(digest);
        partition.directory.get(digest).map(Entry::to_new)
    }

    /// Every entry of a partition. The partition is locked for as long as that takes, so this is not for
    /// a node that serves.
    pub fn entries(&self, id: PartitionId) -> Vec<NewEntry> {
        let partition = self.partition(id);
        let mut entries = Vec::with_capacity(partition.directory.len());
        partition.directory.walk(None, &mut |entry| {
            entries.push(entry.to_new());
            ControlFlow::Continue(())
        });
        entries
    }
}

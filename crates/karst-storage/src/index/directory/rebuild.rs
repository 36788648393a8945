//! A directory made anew from the entries in its pages, none of which is believed before it was checked.

use std::sync::Arc;

use karst_data::key::PartitionId;

use super::super::arena::{EntryArena, PAGE_ENTRIES, Page};
use super::super::attach::Damaged;
use super::super::entry::Entry;
use super::super::hash::HashKey;
use super::super::link::{Handle, Link};
use super::{BUCKETS_MIN, Directory, RECORDS_MAX, SEGMENT_HEADS};

impl Directory {
    /// Chains what is in these pages, which were this partition's, calling `visit` with every entry.
    /// Twice over the pages: they come into the CPU's cache with the first time.
    pub(in super::super) fn rebuild(
        arena: Arc<EntryArena>,
        key: HashKey,
        partition: PartitionId,
        pages: impl ExactSizeIterator<Item = Page>,
        mut visit: impl FnMut(&Entry) -> Result<(), &'static str>,
    ) -> Result<Directory, Damaged> {
        let mut directory = Directory::new(arena, key, partition);
        directory.take_over(pages);
        if directory.pages.len() > (RECORDS_MAX as usize).div_ceil(PAGE_ENTRIES) {
            return Err(directory.damaged(directory.entry(Handle(0)), "too many pages"));
        }
        let slots = RECORDS_MAX.min((directory.pages.len() * PAGE_ENTRIES) as u32);
        directory.slots = slots; // the last ones of a full partition cannot be named, nor used
        let (mut records, mut sequence) = (0, directory.sequence());
        for handle in (0..slots).map(Handle) {
            let entry = directory.entry(handle);
            if !entry.is_vacant() {
                directory.check(entry)?;
                visit(entry).map_err(|what| directory.damaged(entry, what))?;
                records += 1;
                sequence = sequence.max(entry.version().sequence);
            }
        }
        directory.set_sequence(sequence);
        directory.open_buckets(records);
        directory.chain_all()?;
        assert!(directory.len == records);
        Ok(directory)
    }

    fn take_over(&mut self, pages: impl ExactSizeIterator<Item = Page>) {
        self.pages.reserve(pages.len());
        pages.for_each(|page| self.pages.push(page));
    }

    /// As many buckets as records, all empty.
    fn open_buckets(&mut self, records: u32) {
        if records > 0 {
            self.buckets = records.max(BUCKETS_MIN);
            self.open_segments((self.buckets as usize).div_ceil(SEGMENT_HEADS));
        }
    }

    /// Chains every slot, as a record or as vacant. From the last to the first, so that the lowest
    /// vacant slot is used first.
    fn chain_all(&mut self) -> Result<(), Damaged> {
        for handle in (0..self.slots).rev().map(Handle) {
            let entry = self.entry(handle);
            if entry.is_vacant() {
                let vacant = self.vacant;
                self.entry_mut(handle).set_next(vacant);
                self.vacant = Link::to(handle, 0);
                continue;
            }
            let hash = self.key.hash(entry.digest());
            if self.find(hash, entry.digest()).is_some() {
                return Err(self.damaged(entry, "its digest is there twice"));
            }
            self.push(hash, handle);
            self.len += 1;
        }
        Ok(())
    }

    fn check(&self, entry: &Entry) -> Result<(), Damaged> {
        if !entry.is_sealed() {
            return Err(self.damaged(entry, "its check is wrong"));
        }
        if entry.digest().partition() != self.partition {
            return Err(self.damaged(entry, "its page belongs to another partition"));
        }
        Ok(())
    }

    fn damaged(&self, entry: &Entry, what: &'static str) -> Damaged {
        Damaged {
            partition: self.partition,
            digest: *entry.digest(),
            what,
        }
    }
}

//! An index in shared memory is taken over from the process that made it.
//!
//! Only entries are believed, and only those whose check is right. Chains, heads and counts are made
//! anew, one partition at a time: its entries and heads fit the CPU's cache, so that costs little more
//! than looking at every entry, which has to be done anyway. Hence nothing but single entries has to
//! survive a kill at any instant.
//!
//! ```text
//! EntryArena::attach    is it this owner's, complete, of this session? undo what was not completed;
//!                       which partition does each page belong to?
//! Attach::partition     for each partition, on as many threads as there are: a Directory
//! ```
//!
//! Invariants, or the partition is [`Damaged`], the whole index is given up and the log is scanned
//!   every slot is vacant or holds an entry whose check is right, of the page's partition
//!   no digest is there twice
//!   the caller's `visit` finds nothing wrong with an entry
//!
//! Attaching changes nothing that would be missed: a process that is killed meanwhile leaves an index
//! that can be attached again.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_io::buffer::Region;

use super::arena::EntryArena;
use super::directory::{Directory, prefetch_line};
use super::entry::Entry;
use super::front::{FRONT_BYTES, Owner, Refused};
use super::hash::HashKey;

/// A partition of an attached index that cannot be trusted, and so the index cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition} of the index in shared memory is damaged: {what} ({digest})")]
pub struct Damaged {
    /// The partition.
    pub partition: PartitionId,
    /// The digest of the entry that is wrong, as far as that can be said.
    pub digest: Digest,
    /// What is wrong with it.
    pub what: &'static str,
}

/// An index that is being attached. To be asked for every partition once.
pub struct Attach {
    arena: Arc<EntryArena>,
    key: HashKey,
    /// Pages by partition.
    pages: Vec<u32>,
    /// Where each partition's pages begin in `pages`, and where the last one's end.
    begins: Vec<u32>,
    taken: Box<[AtomicBool]>,
    undone: u32,
}

impl EntryArena {
    /// Takes over the index that an earlier process made in shared memory, if it is this owner's, was
    /// complete, and is of this session. The region must be one of [`EntryArena::region_bytes`].
    ///
    /// # Errors
    /// See [`Refused`]. The region can then be had by [`EntryArena::create`], after opening its file
    /// again.
    pub fn attach(
        region: Region,
        entries_max: u64,
        owner: &Owner<'_>,
        session: u64,
    ) -> Result<Attach, Refused> {
        if region.backed_bytes() == 0 {
            return Err(Refused::Empty);
        }
        if region.backed_bytes() < FRONT_BYTES {
            let what = format!("it is {} bytes long", region.backed_bytes());
            return Err(Refused::Damaged { what });
        }
        let damaged = |cause: io::Error| Refused::Damaged {
            what: cause.to_string(),
        };
        let arena = EntryArena::over(region, entries_max).map_err(damaged)?;
        arena.check(owner, session)?;
        arena.check_names()?;
        let undone = arena.undo_unfinished()?;
        Ok(Attach::survey(arena, owner.key, undone))
    }

    fn check_names(&self) -> Result<(), Refused> {
        let names = self.front().names();
        let distinct = |names: &Vec<Box<[u8]>>| {
            let mut seen = HashSet::new();
            names.iter().all(|name| seen.insert(name))
        };
        match names.is_some_and(|names| distinct(&names)) {
            true => Ok(()),
            false => Err(Refused::Damaged {
                what: "the names of its sets".to_owned(),
            }),
        }
    }

    /// Puts entries back that were being changed; returns how many.
    fn undo_unfinished(&self) -> Result<u32, Refused> {
        let mut undone = 0;
        for control in self.front().controls() {
            if let Some((slot, entry)) = control.unfinished() {
                // SAFETY: the arena is new, and nobody has a page of it.
                if !unsafe { self.restore(slot, &entry) } {
                    let what = format!("slot {} was being changed and is not there", slot.0);
                    return Err(Refused::Damaged { what });
                }
                control.undone();
                undone += 1;
            }
        }
        Ok(undone)
    }
}

impl Attach {
    /// Finds out which partition each page belongs to: that of its first record.
    fn survey(arena: EntryArena, key: HashKey, undone: u32) -> Attach {
        const AHEAD: u32 = 16; // as many pages are asked for before the first of them is looked at
        let backed = arena.pages_backed();
        // SAFETY: the arena is new, and nobody has a page of it.
        let entries = |page| unsafe { arena.survey(page) };
        let partition_of = |page| {
            if page + AHEAD < backed {
                prefetch_line(&entries(page + AHEAD)[0]);
            }
            let occupied = entries(page).iter().find(|entry| !entry.is_vacant());
            occupied.map(|entry| entry.digest().partition())
        };
        let owners: Vec<Option<PartitionId>> = (0..backed).map(partition_of).collect();
        let fresh = owners
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last as u32 + 1);
        let vacant = |page: &u32| owners[*page as usize].is_none();
        arena.adopt(fresh, &(0..fresh).rev().filter(vacant).collect::<Vec<_>>());
        arena.is_gathered();
        let (pages, begins) = by_partition(&owners);
        Attach {
            arena: Arc::new(arena),
            key,
            pages,
            begins,
            taken: (0..PARTITIONS).map(|_| AtomicBool::new(false)).collect(),
            undone,
        }
    }

    /// The index's memory.
    pub fn arena(&self) -> &Arc<EntryArena> {
        &self.arena
    }

    /// Entries that were being changed when the earlier process ended, and are what they were before.
    pub fn undone(&self) -> u32 {
        self.undone
    }

    /// Rebuilds one partition's directory, calling `visit` with every entry. What `visit` finds wrong
    /// with one is an error. Different threads may do different partitions at a time. The directory's
    /// sequence is at least that of every entry.
    ///
    /// # Errors
    /// See [`Damaged`].
    ///
    /// # Panics
    /// If the same partition is asked for twice.
    pub fn partition(
        &self,
        id: PartitionId,
        visit: impl FnMut(&Entry) -> Result<(), &'static str>,
    ) -> Result<Directory, Damaged> {
        let taken = self.taken[id.index()].swap(true, Ordering::AcqRel);
        assert!(!taken, "partition {id} is attached once");
        let range = self.begins[id.index()] as usize..self.begins[id.index() + 1] as usize;
        let pages = self.pages[range].iter();
        // SAFETY: the page is listed for this partition alone, which nobody else is given, and only
        // pages without a record were returned.
        let pages = pages.map(|page| unsafe { self.arena.claim(*page) });
        Directory::rebuild(self.arena.clone(), self.key, id, pages, visit)
    }
}

/// Pages in the order of their partitions, and where each partition's begin.
fn by_partition(owners: &[Option<PartitionId>]) -> (Vec<u32>, Vec<u32>) {
    let mut begins = vec![0u32; PARTITIONS + 1];
    for owner in owners.iter().flatten() {
        begins[owner.index() + 1] += 1;
    }
    for at in 0..PARTITIONS {
        begins[at + 1] += begins[at];
    }
    let mut next = begins.clone();
    let mut pages = vec![0; begins[PARTITIONS] as usize];
    for (page, owner) in (0u32..).zip(owners) {
        if let Some(owner) = owner {
            let at = &mut next[owner.index()];
            pages[*at as usize] = page;
            *at += 1;
        }
    }
    (pages, begins)
}

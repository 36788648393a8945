//! One partition's hash directory: linear hashing over 4-byte bucket heads.
//!
//! With b buckets, 2^d <= b < 2^(d+1), an entry belongs to the bucket named by the low d+1 bits of its
//! hash, or by the low d bits if that bucket is not there yet. So a new bucket b takes entries from
//! exactly one other, b - 2^d, and the directory grows and shrinks at its end, a bucket at a time; at a
//! start, when nobody is served yet, it may grow in larger steps (`bulk`).
//!
//! Owns its entries' slots, in pages taken from the arena, and the chains through them. Does not own
//! the lock: the partition's mutex does, and whoever has it has `&mut Directory`.
//!
//! Invariants, each checked by [`Directory::validate`]
//!   every entry is in the chain of the bucket its hash names, once, and no digest is there twice
//!   a link's tag is the union of the tag bits of the entries reachable through it
//!   slots below `slots` hold a record or are on the chain of vacant ones; the others are untouched
//!   buckets is 0, or at least 256, and then at least len: one insert splits at most one
//!
//! An insert that finds no room changes nothing. A directory gives its pages back when dropped.

mod bulk;
mod rebuild;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use karst_data::key::{Digest, PartitionId};

use super::arena::{ArenaFull, EntryArena, PAGE_BYTES, PAGE_ENTRIES, Page};
use super::entry::{Entry, EntryMut, NewEntry};
use super::hash::{HashKey, tag_bit};
use super::link::{HANDLES_MAX, Handle, Link};
use super::table::{ALLOCATION_BYTES, Table};
use super::undo::{Control, Undo};

/// Records a partition can hold: what 24 bits can tell apart, less the two patterns kept free.
pub const RECORDS_MAX: u32 = HANDLES_MAX;

/// Heads of a segment: 1 KiB, the piece in which heads are allocated.
pub(super) const SEGMENT_HEADS: usize = 256;

/// The first segment is used whole from the first record on: its memory is there anyway.
const BUCKETS_MIN: u32 = SEGMENT_HEADS as u32;

/// Keeps the directory at 0.4 records per bucket or more, for which 2.5 merges are needed.
const MERGES_PER_REMOVE: u32 = 3;

/// Pages given back in one step once a directory holds no records.
const PAGES_PER_REMOVE: u32 = 8;

type Segment = [Link; SEGMENT_HEADS];
type Segments = Table<Box<Segment>>;
type Pages = Table<Page>;

/// Why a record was not inserted; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The namespace's index is full: stop writes, or evict.
    #[error(transparent)]
    ArenaFull(#[from] ArenaFull),
    /// This partition is full, others may not be.
    #[error("the partition holds {RECORDS_MAX} records and cannot hold more")]
    PartitionFull,
    /// The digest is known: change its entry instead ([`Directory::get_mut`]).
    #[error("the record is already in the index")]
    AlreadyPresent,
}

/// The index of one partition.
pub struct Directory {
    key: HashKey,
    arena: Arc<EntryArena>,
    partition: PartitionId,
    buckets: u32,
    len: u32,
    /// Slots ever used since the directory was last empty; the next fresh one.
    slots: u32,
    /// Freed slots, chained through their entries.
    vacant: Link,
    segments: Segments,
    pages: Pages,
}

impl Directory {
    /// An empty one, which owns no memory beyond itself. `key` is the cluster's. An arena serves one
    /// directory for each partition: they share what lies in the arena for a partition.
    pub fn new(arena: Arc<EntryArena>, key: HashKey, partition: PartitionId) -> Directory {
        Directory {
            key,
            arena,
            partition,
            len: 0,
            buckets: 0,
            slots: 0,
            vacant: Link::END,
            segments: Table::new(),
            pages: Table::new(),
        }
    }

    /// Entries, tombstones included.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All memory that exists because of this directory, in bytes: itself, its tables with what the
    /// allocator adds, and its pages whether full or not.
    pub fn memory_bytes(&self) -> u64 {
        let heads = self.segments.len() * (size_of::<Segment>() + ALLOCATION_BYTES);
        let tables = self.segments.heap_bytes() + self.pages.heap_bytes();
        (size_of::<Directory>() + heads + tables + self.pages.len() * PAGE_BYTES) as u64
    }

    /// The entry of a record, if the index knows it.
    #[inline]
    pub fn get(&self, digest: &Digest) -> Option<&Entry> {
        self.find(self.key.hash(digest), digest)
            .map(|handle| self.entry(handle))
    }

    /// The entry of a record for change, if the index knows it.
    #[inline]
    pub fn get_mut(&mut self, digest: &Digest) -> Option<EntryMut<'_>> {
        prefetch_line(self.control()); // about to be written, unless nothing is found
        let handle = self.find(self.key.hash(digest), digest)?;
        Some(self.lend(handle))
    }

    /// Number of the partition's last write. In shared memory it outlives the process.
    pub fn sequence(&self) -> u64 {
        self.control().sequence()
    }

    /// Sets what [`Directory::sequence`] returns.
    pub fn set_sequence(&mut self, sequence: u64) {
        self.control().set_sequence(sequence);
    }

    /// Adds a record that the index does not know.
    ///
    /// # Errors
    /// No room, or the digest is known after all. Nothing has changed then.
    ///
    /// # Panics
    /// If `new` cannot be an entry: generation 0, a place or version whose parts do not fit, or the
    /// digest of another partition.
    pub fn insert(&mut self, new: &NewEntry) -> Result<EntryMut<'_>, InsertError> {
        assert!(new.digest.partition() == self.partition);
        let hash = self.key.hash(&new.digest);
        if self.find(hash, &new.digest).is_some() {
            return Err(InsertError::AlreadyPresent);
        }
        let entry = Entry::new(new);
        let handle = self.take_slot()?;
        if self.buckets == 0 {
            self.segments.push(Box::new([Link::END; SEGMENT_HEADS]));
            self.buckets = BUCKETS_MIN;
        }
        self.entry_mut(handle).occupy(&entry);
        self.push(hash, handle);
        self.len += 1;
        if self.len > self.buckets {
            self.split();
        }
        Ok(self.lend(handle))
    }

    /// Makes sure that the next insert finds a slot, so that what it is for may be done first.
    ///
    /// # Errors
    /// No room.
    pub fn reserve(&mut self) -> Result<(), InsertError> {
        if self.vacant.handle().is_none() {
            let (handle, vacant) = (self.take_slot()?, self.vacant);
            self.entry_mut(handle).vacate(vacant);
            self.vacant = Link::to(handle, 0);
        }
        Ok(())
    }

    /// Forgets a record and returns what was known of it.
    pub fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let hash = self.key.hash(digest);
        let handle = self.find(hash, digest)?;
        let mut removed = *self.entry(handle);
        // The entries before it in the chain go in again on top of those behind it.
        let chain = mem::replace(self.head_mut(self.bucket_of(hash)), removed.next());
        self.push_again(chain, Some(handle));
        removed.set_next(Link::END);
        let vacant = self.vacant;
        self.entry_mut(handle).vacate(vacant);
        self.vacant = Link::to(handle, 0);
        self.len -= 1;
        self.shrink();
        Some(removed)
    }

    /// Gives back a little of what an emptier directory does not need, as every remove does; returns
    /// whether there is more. The first segment and the first page stay.
    pub fn shrink(&mut self) -> bool {
        for _ in 0..MERGES_PER_REMOVE {
            if self.is_sparse() {
                self.merge();
            }
        }
        if self.is_empty() {
            (self.slots, self.vacant) = (0, Link::END);
            for _ in 0..PAGES_PER_REMOVE {
                if self.pages.len() > 1 {
                    let page = self.pages.pop().expect("just counted");
                    // SAFETY: all of `pages` comes from `arena`.
                    unsafe { self.arena.give(page) };
                }
            }
        }
        self.is_sparse() || (self.is_empty() && self.pages.len() > 1)
    }

    /// Checks all invariants of the module, entry by entry; for tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn validate(&self) {
        assert!(self.buckets == 0 || self.buckets >= BUCKETS_MIN.max(self.len));
        assert!(self.segments.len() == (self.buckets as usize).div_ceil(SEGMENT_HEADS));
        assert!(self.pages.len() >= (self.slots as usize).div_ceil(PAGE_ENTRIES));
        let (mut slots, mut digests) = (HashSet::new(), HashSet::new());
        for bucket in 0..self.buckets {
            self.validate_chain(bucket, &mut slots);
        }
        assert!(slots.len() == self.len());
        assert!(
            slots
                .iter()
                .all(|slot| digests.insert(self.entry(Handle(*slot)).digest()))
        );
        let mut vacant = self.vacant;
        while let Some(handle) = vacant.handle() {
            assert!(self.entry(handle).is_vacant());
            assert!(
                slots.insert(handle.0),
                "slot {} is vacant and used, or twice vacant",
                handle.0
            );
            vacant = self.entry(handle).next();
        }
        assert!(slots.len() == self.slots as usize);
        assert!(slots.iter().all(|slot| *slot < self.slots));
    }

    fn validate_chain(&self, bucket: u32, slots: &mut HashSet<u32>) {
        let (mut chain, mut tags) = (vec![], vec![]);
        let mut link = *self.head(bucket);
        while let Some(handle) = link.handle() {
            assert!(slots.insert(handle.0), "slot {} is chained twice", handle.0);
            let entry = self.entry(handle);
            let hash = self.key.hash(entry.digest());
            assert!(!entry.is_vacant());
            assert!(entry.is_sealed());
            assert!(entry.digest().partition() == self.partition);
            assert!(self.bucket_of(hash) == bucket);
            chain.push(tag_bit(hash));
            tags.push(link.tag());
            link = entry.next();
        }
        assert!(link == Link::END);
        for (at, tag) in tags.into_iter().enumerate() {
            let union = chain[at..].iter().fold(0, |union, bit| union | bit);
            assert!(
                tag == union,
                "bucket {bucket}, link {at}: {tag:08b} instead of {union:08b}"
            );
        }
    }

    /// The arena that it has its pages from.
    pub fn arena(&self) -> &Arc<EntryArena> {
        &self.arena
    }

    /// The partition's control line.
    #[inline]
    fn control(&self) -> &Control {
        self.arena.control(self.partition)
    }

    /// The entry in a slot below `slots`, lent out for change.
    #[inline]
    pub(super) fn lend(&mut self, handle: Handle) -> EntryMut<'_> {
        let page = self.pages.at_mut(handle.page());
        let undo = Undo::new(self.arena.control(self.partition), page.slot(handle.slot()));
        // SAFETY: all of `pages` comes from `arena`.
        let entries = unsafe { self.arena.entries_mut(page) };
        EntryMut::new(&mut entries[handle.slot()], undo)
    }

    /// The hash that places a digest.
    #[inline]
    pub(super) fn hash(&self, digest: &Digest) -> u64 {
        self.key.hash(digest)
    }

    /// The bucket a hash belongs to; there must be buckets.
    #[inline]
    pub(super) fn bucket_of(&self, hash: u64) -> u32 {
        debug_assert!(self.buckets >= BUCKETS_MIN);
        let level = 1 << self.buckets.ilog2();
        let bucket = hash as u32 & (2 * level - 1);
        if bucket < self.buckets {
            bucket
        } else {
            bucket & (level - 1)
        }
    }

    /// As `bucket_of`, if there are buckets.
    #[inline]
    pub(super) fn bucket(&self, hash: u64) -> Option<u32> {
        (self.buckets > 0).then(|| self.bucket_of(hash))
    }

    /// Asks the CPU for what leads to a segment of heads, and for both ends of the table of pages.
    #[inline]
    pub(super) fn prefetch_tables(&self, segment: usize) {
        prefetch_line(self.segments.at(segment));
        if let Some(last) = self.pages.len().checked_sub(1) {
            prefetch_line(self.pages.at(0));
            prefetch_line(self.pages.at(last));
        }
    }

    /// Asks the CPU for what the next insert writes to beside its bucket: the partition's counter, and
    /// the slot, unless that is in a page to come.
    #[inline]
    pub fn prefetch_insert(&self) {
        self.control().prefetch_sequence();
        let slot = self.vacant.handle().unwrap_or(Handle(self.slots));
        if slot.page() < self.pages.len() {
            prefetch_line(self.entry(slot));
        }
    }

    /// How many low hash bits all entries of a bucket share.
    pub(super) fn depth_of(&self, bucket: u32) -> u32 {
        let (depth, level) = (self.buckets.ilog2(), 1 << self.buckets.ilog2());
        let has_split = bucket >= level || bucket + level < self.buckets;
        if has_split { depth + 1 } else { depth }
    }

    /// The first link of the chain a hash belongs to.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> Link {
        if self.buckets == 0 {
            Link::END
        } else {
            *self.head(self.bucket_of(hash))
        }
    }

    /// The entry in a slot below `slots`.
    #[inline]
    pub(super) fn entry(&self, handle: Handle) -> &Entry {
        // SAFETY: all of `pages` comes from `arena`.
        let entries = unsafe { self.arena.entries(self.pages.at(handle.page())) };
        &entries[handle.slot()]
    }

    /// The entry in a slot below `slots`, for change.
    #[inline]
    pub(super) fn entry_mut(&mut self, handle: Handle) -> &mut Entry {
        // SAFETY: all of `pages` comes from `arena`.
        let entries = unsafe { self.arena.entries_mut(self.pages.at_mut(handle.page())) };
        &mut entries[handle.slot()]
    }

    #[inline]
    fn find(&self, hash: u64, digest: &Digest) -> Option<Handle> {
        let bit = tag_bit(hash);
        let mut link = self.first(hash);
        while let Some(handle) = link.towards(bit) {
            let entry = self.entry(handle);
            if entry.digest() == digest {
                return Some(handle);
            }
            link = entry.next();
        }
        None
    }

    /// The first link of a bucket's chain.
    #[inline]
    pub(super) fn head(&self, bucket: u32) -> &Link {
        let bucket = bucket as usize;
        &self.segments.at(bucket / SEGMENT_HEADS)[bucket % SEGMENT_HEADS]
    }

    #[inline]
    fn head_mut(&mut self, bucket: u32) -> &mut Link {
        let bucket = bucket as usize;
        &mut self.segments.at_mut(bucket / SEGMENT_HEADS)[bucket % SEGMENT_HEADS]
    }

    /// Puts an entry of this hash first in its chain.
    fn push(&mut self, hash: u64, handle: Handle) {
        let head = self.head_mut(self.bucket_of(hash));
        let next = *head;
        *head = Link::to(handle, next.tag() | tag_bit(hash));
        self.entry_mut(handle).set_next(next);
    }

    /// Pushes the entries of a detached chain, up to but not including `stop`, to the buckets they
    /// now belong to, which also makes their tags exact.
    fn push_again(&mut self, mut chain: Link, stop: Option<Handle>) {
        while chain.handle() != stop {
            let handle = chain.handle().expect("the chain leads to `stop`");
            let entry = self.entry(handle);
            let hash = self.key.hash(entry.digest());
            chain = entry.next();
            self.push(hash, handle);
        }
    }

    /// Adds a bucket and moves to it what belongs there, all from one other.
    fn split(&mut self) {
        let added = self.buckets;
        if (added as usize).is_multiple_of(SEGMENT_HEADS) {
            self.segments.push(Box::new([Link::END; SEGMENT_HEADS]));
        }
        let parent = parent_of(added);
        let chain = mem::replace(self.head_mut(parent), Link::END);
        self.buckets += 1;
        self.push_again(chain, None);
    }

    /// Takes the last bucket away and moves its entries back to the one it was split from.
    fn merge(&mut self) {
        assert!(self.buckets > BUCKETS_MIN);
        self.buckets -= 1;
        let last = self.buckets;
        let chain = mem::replace(self.head_mut(last), Link::END);
        self.push_again(chain, None);
        if (last as usize).is_multiple_of(SEGMENT_HEADS) {
            self.segments.pop();
        }
    }

    /// Whether there are fewer than 0.4 records per bucket. Far below the 1.0 at which buckets are
    /// split, so that no pair of operations splits and merges for ever.
    fn is_sparse(&self) -> bool {
        self.buckets > BUCKETS_MIN && u64::from(self.len) * 5 < u64::from(self.buckets) * 2
    }

    /// A slot for a new entry, vacant ones first.
    fn take_slot(&mut self) -> Result<Handle, InsertError> {
        if let Some(handle) = self.vacant.handle() {
            assert!(self.entry(handle).is_vacant());
            self.vacant = self.entry(handle).next();
            return Ok(handle);
        }
        let handle = Handle(self.slots);
        if handle.0 == RECORDS_MAX {
            return Err(InsertError::PartitionFull);
        }
        if handle.page() == self.pages.len() {
            self.pages.push(self.arena.take()?);
        }
        self.slots += 1;
        Ok(handle)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        while let Some(page) = self.pages.pop() {
            // SAFETY: all of `pages` comes from `arena`.
            unsafe { self.arena.give(page) };
        }
    }
}

/// The bucket that a bucket is split from, and merged into.
fn parent_of(bucket: u32) -> u32 {
    bucket - (1 << bucket.ilog2())
}

/// Asks the CPU to fetch every cache line of `target`; for small objects.
#[inline]
pub fn prefetch_object<T>(target: &T) {
    const LINE_BYTES: usize = 64;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let base = std::ptr::from_ref(target).cast::<i8>();
        let last = size_of::<T>().saturating_sub(1);
        for at in (0..last).step_by(LINE_BYTES).chain([last]) {
            // SAFETY: a prefetch never faults, and `at` lies inside the object.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(base.wrapping_add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (target, LINE_BYTES);
}

/// Asks the CPU to fetch the first cache line of `target`; a hint, without effect on results.
#[inline]
pub fn prefetch_line<T>(target: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, and this one is of a valid address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(target).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}

//! From records that the log was found to hold, and entries that a checkpoint remembers, to an index.
//!
//! Any number of threads take records in at once, each through an [`Intake`] of its own, in any order:
//! of several copies of a record the one of the highest version stays, and which of two copies of one
//! version does depends on the fills of their blocks. So the outcome is that of the records alone.
//!
//! Records are taken in by batches. What each of them would wait for memory, the whole batch waits
//! together: partitions, buckets and entries are asked for one level at a time.

use std::cmp::Ordering;

use karst_data::flat::Facts;
use karst_data::key::PartitionId;
use karst_data::mutation::{Mutation, is_planted};
use karst_storage::index::{Directory, Entry, Flags, InsertError, NewEntry, Probe};
use karst_storage::log::BlockId;
use karst_storage::place::{Place, Version};

use crate::error::Reason;
use crate::namespace::{Namespace, Partition};
use crate::sets::SetCounts;
use crate::write::new_entry;

/// Records that are taken in together.
const BATCH: usize = 64;

/// One thread's way of taking records in. Call [`Intake::finish`] at the end.
pub struct Intake<'n> {
    namespace: &'n Namespace,
    /// Whether directories grow ahead of what comes.
    ahead: bool,
    batch: Vec<NewEntry>,
    /// The set that was looked up last: records next to each other are mostly in one.
    set_name: Vec<u8>,
    set_id: u16,
    counts: SetCounts,
    records: u64,
    /// Fill of the youngest block.
    youngest: u64,
}

impl<'n> Intake<'n> {
    /// An intake for a thread of its own. The log knows every block's fill by now.
    pub fn new(namespace: &'n Namespace) -> Intake<'n> {
        Intake {
            namespace,
            ahead: false,
            batch: Vec::with_capacity(BATCH),
            set_name: Vec::new(),
            set_id: 0,
            counts: SetCounts::default(),
            records: 0,
            youngest: namespace.log.youngest_fill(),
        }
    }

    /// For who takes in most of what the index will hold: it grows in large steps, so tell it when all
    /// intakes have finished ([`Namespace::fit_index`]).
    #[must_use]
    pub fn in_bulk(self) -> Intake<'n> {
        Intake {
            ahead: true,
            ..self
        }
    }

    /// Records taken in so far, whether or not the index kept them.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Takes in a record that lies at a place.
    ///
    /// # Errors
    /// When its set or its entry finds no room: the namespace holds more than this node may.
    pub fn take(&mut self, place: Place, facts: &Facts) -> Result<(), Reason> {
        let set_id = self.set_of(&facts.set)?;
        self.take_entry(new_entry(&facts.meta, facts.stores_key, set_id, place))
    }

    /// Takes in a record of which only the header is sound, though it was durable once: the index has to
    /// know of it, or an older version would pass for the record. Who asks for it is told that it
    /// cannot be read, until it is replaced as a whole or deleted.
    ///
    /// # Errors
    /// When it finds no room.
    pub fn take_damaged(&mut self, place: Place, facts: &Facts) -> Result<(), Reason> {
        let set_id = self.set_of(&facts.set)?;
        let entry = new_entry(&facts.meta, facts.stores_key, set_id, place);
        let flags = entry.flags.with(Flags::DAMAGED);
        self.take_entry(NewEntry { flags, ..entry })
    }

    /// Takes in what is known of a record; its set was given out by this namespace.
    ///
    /// # Errors
    /// When it finds no room.
    pub fn take_entry(&mut self, entry: NewEntry) -> Result<(), Reason> {
        self.batch.push(self.namespace.as_kept(&entry));
        if self.batch.len() == BATCH {
            self.apply()?;
        }
        Ok(())
    }

    /// Takes in many entries of one partition, mostly ones that it does not hold yet: its part of the
    /// index fits a cache, and its mutex is taken once.
    ///
    /// # Errors
    /// When one finds no room.
    pub fn take_partition(&mut self, id: PartitionId, entries: &[NewEntry]) -> Result<(), Reason> {
        let namespace = self.namespace;
        let mut known = Vec::new();
        let mut partition = namespace.partition(id);
        if self.ahead {
            partition.directory.grow_ahead(entries.len() as u32);
        }
        for found in entries {
            let new = &namespace.as_kept(found);
            if namespace.leaves_out(&partition, new) {
                continue;
            }
            let bytes = new.place.length.bytes() as u32;
            let block = namespace.log.block_of(new.place);
            match partition.directory.insert(new) {
                Ok(_) => {}
                Err(InsertError::AlreadyPresent) => {
                    known.push(*new);
                    continue;
                }
                Err(InsertError::PartitionFull | InsertError::ArenaFull(_)) => {
                    return Err(Reason::IndexFull);
                }
            }
            namespace.log.claim_found(block, bytes);
            partition.comes(new);
            self.count(new, 1);
        }
        drop(partition);
        self.records += (entries.len() - known.len()) as u64;
        known.into_iter().try_for_each(|new| self.take_entry(new))
    }

    /// Takes in what is left of the last batch and tells the namespace what was counted.
    ///
    /// # Errors
    /// When a record finds no room.
    pub fn finish(mut self) -> Result<u64, Reason> {
        self.apply()?;
        self.namespace.sets.add(&self.counts);
        Ok(self.records)
    }

    fn set_of(&mut self, name: &[u8]) -> Result<u16, Reason> {
        if *self.set_name != *name {
            let found = self.namespace.sets.find_or_make(name);
            self.set_id = found.map_err(|_| Reason::SetLimit)?;
            self.set_name.clear();
            self.set_name.extend_from_slice(name);
        }
        Ok(self.set_id)
    }

    fn apply(&mut self) -> Result<(), Reason> {
        let batch = std::mem::take(&mut self.batch);
        let digests = batch.iter().map(|new| &new.digest);
        let mut probes = [Probe::default(); BATCH];
        self.namespace
            .prefetch_entries(digests, &mut probes, Directory::prefetch_insert);
        self.claim(&batch);
        let applied = batch.iter().try_for_each(|new| self.apply_one(new));
        self.records += batch.len() as u64;
        self.batch = batch;
        self.batch.clear();
        applied
    }

    /// Claims all places of a batch, most of which lie in one block, before any is pointed at.
    fn claim(&self, batch: &[NewEntry]) {
        let log = &self.namespace.log;
        let mut run: Option<(BlockId, u32)> = None;
        for new in batch {
            let (id, bytes) = (log.block_of(new.place), new.place.length.bytes() as u32);
            run = match run {
                Some((same, sum)) if same == id => Some((same, sum + bytes)),
                other => {
                    if let Some((id, sum)) = other {
                        log.claim_found(id, sum);
                    }
                    Some((id, bytes))
                }
            };
        }
        if let Some((id, sum)) = run {
            log.claim_found(id, sum);
        }
    }

    fn apply_one(&mut self, new: &NewEntry) -> Result<(), Reason> {
        let namespace = self.namespace;
        let mut partition = namespace.partition_of(&new.digest);
        partition.not_before(new.version.sequence);
        if namespace.leaves_out(&partition, new) {
            drop(partition);
            namespace.log.disclaim_found(new.place);
            return Ok(());
        }
        let old = partition.add(new, self.ahead)?;
        if let Some(old) = &old {
            if !namespace.supersedes(self.youngest, new, old) {
                drop(partition);
                namespace.log.disclaim_found(new.place);
                return Ok(());
            }
            let entry = partition.directory.get_mut(&new.digest);
            entry.expect("it was just seen").rewrite(new);
            partition.goes(old);
        }
        partition.comes(new);
        drop(partition);
        self.count(new, 1);
        if let Some(old) = &old {
            self.count(old, -1);
            namespace.log.disclaim_found(old.place);
        }
        Ok(())
    }

    fn count(&mut self, entry: &NewEntry, by: i64) {
        let tombstone = entry.flags.contains(Flags::TOMBSTONE);
        self.counts.count(entry.set_id, tombstone, entry.place, by);
    }
}

fn never_expires(entry: &NewEntry) -> bool {
    entry.void_time_s == 0 && !entry.flags.contains(Flags::TOMBSTONE)
}

impl Partition {
    /// Adds an entry, unless there is one for its digest: then it returns that.
    fn add(&mut self, new: &NewEntry, ahead: bool) -> Result<Option<NewEntry>, Reason> {
        if ahead {
            self.directory.grow_ahead(1);
        }
        match self.directory.insert(new).map(drop) {
            Ok(()) => Ok(None),
            Err(InsertError::AlreadyPresent) => {
                Ok(self.directory.get(&new.digest).map(Entry::to_new))
            }
            Err(InsertError::PartitionFull | InsertError::ArenaFull(_)) => Err(Reason::IndexFull),
        }
    }

    /// Counts an entry that came.
    pub(crate) fn comes(&mut self, entry: &NewEntry) {
        self.tombstones += u32::from(entry.flags.contains(Flags::TOMBSTONE));
        self.expires |= entry.void_time_s != 0;
        self.never += u32::from(never_expires(entry));
    }

    /// The next write of the partition gets a higher sequence than this.
    pub(crate) fn not_before(&mut self, sequence: u64) {
        if sequence > self.directory.sequence() {
            self.directory.set_sequence(sequence);
        }
    }

    /// Uncounts an entry that goes.
    pub(crate) fn goes(&mut self, entry: &NewEntry) {
        self.tombstones -= u32::from(entry.flags.contains(Flags::TOMBSTONE));
        self.never -= u32::from(never_expires(entry));
    }
}

impl Namespace {
    /// Takes one record in; an [`Intake`] takes many.
    ///
    /// # Errors
    /// When its set or its entry finds no room.
    pub fn recover(&self, place: Place, facts: &Facts) -> Result<(), Reason> {
        let mut intake = Intake::new(self);
        intake.take(place, facts)?;
        intake.finish().map(drop)
    }

    /// Lets a partition's part of the index be as large as it has to be, after intakes in bulk.
    pub fn fit_index(&self, id: PartitionId) {
        self.partition(id).directory.fit();
    }

    /// Makes sure that no write of a partition is given a sequence up to this one again.
    pub fn recover_sequence(&self, id: PartitionId, sequence: u64) {
        let mut partition = self.partition(id);
        partition.not_before(sequence.min(Version::SEQUENCE_MAX));
    }

    /// What the index is to know of a found record: what a sweep would have made of one that a truncation
    /// covers and that was written over a tombstone. Left out, it would let that tombstone count again,
    /// in a block that may have been given up for free, or let return what the tombstone kept gone.
    fn as_kept(&self, found: &NewEntry) -> NewEntry {
        let is_truncated = || self.is_truncated(found.set_id, found.update_time_ms);
        if found.is_tombstone() || !self.leaves_tombstone(found.flags) || !is_truncated() {
            return *found;
        }
        NewEntry {
            flags: found.flags.with(Flags::TOMBSTONE),
            void_time_s: self.tombstone_fill(),
            place: self.shrunk(found),
            ..*found
        }
    }

    /// Whether a found record is not taken in: this node has let go of it, tombstones and all; or a truncation
    /// covers it, and so every older version of it, or
    /// another truncation does, or an idle tombstone that the next sweep forgets (see
    /// [`Flags::OVER_TOMBSTONE`]). Tombstones are taken in all the same: if the truncation is undone, what
    /// was deleted before must not come back. What an eviction covers is taken in, and is dead: an older
    /// version need not be.
    fn leaves_out(&self, partition: &Partition, new: &NewEntry) -> bool {
        self.is_void(partition, new.place)
            || !new.is_tombstone() && self.is_truncated(new.set_id, new.update_time_ms)
    }

    /// Whether a found record takes the place of one that was found before.
    ///
    /// Two copies of one version are the work of defrag. The one that was moved more often stands, since the
    /// block of the other may have been given up already, and was opened later all the same if the block
    /// that defrag fills was open for long; a damaged one gives way to a sound one. Also a copy in the
    /// youngest block of all gives way: if that was the last free block, then what was moved into it
    /// still lies where it came from, and it has to be free again, or no record could ever be moved again.
    fn supersedes(&self, youngest: u64, new: &NewEntry, old: &NewEntry) -> bool {
        let rank = |entry: &NewEntry| {
            let fill = self.log.fill_of(self.log.block_of(entry.place));
            let sound = !entry.flags.contains(Flags::DAMAGED);
            (sound, fill != youngest, entry.flags.moves(), fill)
        };
        if is_planted(Mutation::RecoversLastFound) {
            return true;
        }
        match new.version.cmp(&old.version) {
            Ordering::Greater => true,
            Ordering::Equal => rank(new) > rank(old),
            Ordering::Less => false,
        }
    }
}

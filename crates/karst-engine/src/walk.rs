//! Walking a partition in slices: for scans, for the sweep of what expired, for defrag.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use karst_data::flat::{Draft, Facts, Meta};
use karst_data::key::{Digest, PartitionId};
use karst_data::mutation::{Mutation, is_planted};
use karst_data::time::{Now, is_expired};
use karst_storage::index::{Fate, Flags, NewEntry, WalkCursor};
use karst_storage::log::recover::StoredRecord;
use karst_storage::log::{Appended, LaneId, NoSpace, Purpose};
use karst_storage::place::{Place, Rblocks};
use karst_storage::tombstone::Cover;

use crate::namespace::Namespace;

/// Most entries that one slice visits, so that a partition's mutex is held for microseconds.
pub(crate) const SLICE_ENTRIES_MAX: usize = 256;

/// A slice of a scan.
pub struct ScanSlice {
    /// Records that were alive, in the order of the walk.
    pub digests: Vec<Digest>,
    /// Where the next slice begins; `None` when the partition is done.
    pub next: Option<WalkCursor>,
}

/// What a sweep slice did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// Records that had expired.
    pub expired: u64,
    /// Records that an eviction covered.
    pub evicted: u64,
    /// Records that a truncation mark covered.
    pub truncated: u64,
    /// Tombstones that had nothing left to cover.
    pub tombstones: u64,
    /// Where the next slice begins; `None` when the partition is done.
    pub next: Option<WalkCursor>,
}

impl Namespace {
    /// Names records of a partition that are alive, `set_id` only if given, from a point of the walk's
    /// order on, by an index of the set if there is one. The order depends on digests alone, so a scan can be resumed after any of them.
    pub fn scan_slice(
        &self,
        id: PartitionId,
        set_id: Option<u16>,
        after: Option<WalkCursor>,
        records_max: usize,
        now: Now,
    ) -> ScanSlice {
        let mut digests = Vec::new();
        let partition = self.partition(id);
        let next = partition.look_on(&self.sets, set_id, after, |entry| {
            if self.is_alive(entry, now) {
                digests.push(*entry.digest());
            }
            match digests.len() >= records_max {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        ScanSlice { digests, next }
    }

    /// Clears part of a partition of what is gone: truncated records leave, or become tombstones if there
    /// was one below them; expired and evicted ones become tombstones (on devices) or leave; and tombstones
    /// leave when no block can still hold an older copy; secondary indexes are rid of part of what is left over. `oldest_fill` is [`karst_storage::log::Log::oldest_fill`], asked once per sweep.
    pub fn sweep_slice(
        &self,
        id: PartitionId,
        after: Option<WalkCursor>,
        oldest_fill: u64,
        now: Now,
    ) -> Swept {
        let mut swept = Swept::default();
        let mut gone: Vec<NewEntry> = Vec::new();
        let mut buried: Vec<(NewEntry, NewEntry)> = Vec::new();
        let (fill, on_devices) = (self.tombstone_fill(), self.log.config().on_devices);
        let keeps = self.keeps_tombstones.load(Ordering::Acquire);
        let mut visited = 0;
        let mut partition = self.partition(id);
        swept.next = partition.directory.walk_mut(after, &mut |mut entry| {
            visited += 1;
            let was = entry.to_new();
            let mut bury = false;
            let fate = if let Some(covers) = entry.tombstone_fill() {
                let idle = Cover(covers).is_idle(oldest_fill) && !keeps;
                let idle = idle || is_planted(Mutation::DropsTombstonesEarly);
                swept.tombstones += u64::from(idle);
                if idle { Fate::Remove } else { Fate::Keep }
            } else if self.is_truncated(was.set_id, was.update_time_ms) {
                swept.truncated += 1;
                bury = self.leaves_tombstone(was.flags);
                Fate::Remove
            } else if is_expired(was.void_time_s, now)
                || self.is_evicted(was.void_time_s, was.update_time_ms, was.set_id)
            {
                let expired = is_expired(was.void_time_s, now);
                swept.expired += u64::from(expired);
                swept.evicted += u64::from(!expired);
                bury = on_devices;
                Fate::Remove
            } else {
                Fate::Keep
            };
            let fate = if bury {
                entry.set_tombstone(fill);
                entry.set_place(self.shrunk(&was));
                buried.push((was, entry.to_new()));
                Fate::Keep
            } else {
                fate
            };
            if fate == Fate::Remove {
                gone.push(was);
            }
            if visited >= SLICE_ENTRIES_MAX {
                return ControlFlow::Break(fate);
            }
            ControlFlow::Continue(fate)
        });
        for entry in &gone {
            self.uncount(&mut partition, entry);
            self.log.release(entry.place);
        }
        for (was, is) in &buried {
            self.uncount(&mut partition, was);
            self.count(&mut partition, is);
            self.log.claim(is.place); // first, so that the block is not emptied in between
            self.log.release(was.place);
        }
        partition.parts.note(gone.len() + buried.len());
        partition.sweep_sindexes(SLICE_ENTRIES_MAX);
        drop(partition);
        self.count_swept(swept.expired, swept.evicted);
        swept
    }

    /// Whether a tombstone has to stay where a truncation takes a record with these flags. Where nothing
    /// outlives the index none is needed.
    pub(crate) fn leaves_tombstone(&self, flags: Flags) -> bool {
        flags.contains(Flags::OVER_TOMBSTONE) && self.log.config().on_devices
    }

    /// The place of a record that has become a tombstone in the index: of its bytes only as many are
    /// live from now on as the tombstone has that defrag will write in its stead. So room is made by
    /// expiry alone, and blocks of expired records become worth moving.
    pub(crate) fn shrunk(&self, was: &NewEntry) -> Place {
        let meta = Meta::tombstone(was.digest, was.version.pack(), was.update_time_ms, 0);
        let size = self.sets.with(was.set_id, |set| {
            Draft::tombstone(meta, &set.name).size_bytes()
        });
        Place {
            length: Rblocks::holding(size as u64).min(was.place.length),
            ..was.place
        }
    }

    /// What counts as live of a record that lies at a place, if the index points there: less than all of
    /// it where it has become a tombstone in the index.
    pub(crate) fn live_at(&self, digest: &Digest, place: Place) -> Option<Place> {
        let partition = self.partition_of(digest);
        let live = partition.directory.get(digest)?.place();
        is_same_spot(live, place).then_some(live)
    }

    /// Moves one record out of a block that is being emptied, if the index still points there.
    ///
    /// # Errors
    /// When no block is free to move it to; it stays where it is.
    pub fn move_record(
        &self,
        lane: LaneId,
        flush_clock_ms: u64,
        record: &StoredRecord<'_>,
    ) -> Result<(), NoSpace> {
        let append = |floor| self.log.append_moved(lane, floor, record, flush_clock_ms);
        self.relocate(lane, flush_clock_ms, record.place, &record.facts, append)
            .map(|_| ())
    }

    /// Appends a record anew and points the index there, if it pointed at `place`; else does nothing.
    /// `append` is told the partition's floor, below which the record would pass for one that is void.
    pub(crate) fn relocate(
        &self,
        lane: LaneId,
        flush_clock_ms: u64,
        place: Place,
        facts: &Facts,
        append: impl FnOnce(u64) -> Result<Appended, NoSpace>,
    ) -> Result<Option<Appended>, NoSpace> {
        let digest = facts.meta.digest;
        let mut partition = self.partition_of(&digest);
        let entry = partition.directory.get(&digest).map(|entry| entry.to_new());
        let is_there = |found: Place, wanted| {
            is_same_spot(found, wanted) || is_planted(Mutation::MovesStaleRecords)
        };
        let Some(entry) = entry.filter(|entry| is_there(entry.place, place)) else {
            return Ok(None);
        };
        let tombstone = entry.flags.contains(Flags::TOMBSTONE);
        let moved = if tombstone && !facts.meta.tombstone {
            self.append_shrunk(lane, partition.floor, flush_clock_ms, facts, &entry)?
        } else {
            append(partition.floor)?
        };
        let flags = entry.flags.with_moves(facts.meta.moves.saturating_add(1));
        let at = partition.directory.get_mut(&digest);
        let mut at = at.expect("it was just seen");
        at.set_place(moved.place);
        at.set_flags(flags);
        let after = at.to_new();
        drop(at); // makes the change one
        self.uncount(&mut partition, &entry);
        self.count(&mut partition, &after);
        self.log.release(entry.place);
        Ok(Some(moved))
    }

    /// An expired record moves as the tombstone it has become: without its bins.
    fn append_shrunk(
        &self,
        lane: LaneId,
        floor: u64,
        flush_clock_ms: u64,
        facts: &Facts,
        entry: &NewEntry,
    ) -> Result<Appended, NoSpace> {
        let meta = Meta {
            void_time_s: entry.void_time_s,
            tombstone: true,
            over_tombstone: false,
            moves: facts.meta.moves.saturating_add(1),
            ..facts.meta
        };
        let draft = Draft::tombstone(meta, &facts.set);
        self.log
            .append_record(lane, Purpose::Move, floor, &draft, flush_clock_ms)
    }
}

/// Whether two places begin at the same byte. Their lengths may differ: a tombstone in the index counts
/// less of what lies there as live.
fn is_same_spot(one: Place, other: Place) -> bool {
    (one.device, one.start) == (other.device, other.start)
}

//! Live records that their device does not give back: found, told apart, remembered, repaired.
//!
//! Whoever meets one, a client's read, defrag, the scrub or recovery, reports it as a *suspect*. The
//! owner of devices takes suspects, reads their places again and hands in the bytes; what they show
//! is the *kind* of damage. Until a suspect is replaced, deleted or repaired it stands in the ledger,
//! once, however often it is met.
//!
//! The ledger holds nothing that the index does not: an entry counts only while the index points at the
//! same place, so a client's write or delete clears it by itself, and no write has to look here.
//!
//! Bounds: `LEDGER_MAX` records; those beyond are counted ([`Report::left_out`]) and found again by the
//! next scrub once there is room.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use karst_data::flat::{FlatError, Form, Header, Meta, Record, Seal};
use karst_data::key::{Digest, PartitionId};
use karst_storage::index::{Entry, WalkCursor};
use karst_storage::log::format::BlockHeader;
use karst_storage::log::{BlockId, CommitPoint, DeviceRead, LaneId, Located, NoSpace, Purpose};
use karst_storage::place::{DeviceId, Place, Version};
use parking_lot::Mutex;

use crate::namespace::Namespace;

/// Most damaged records that a namespace remembers.
pub const LEDGER_MAX: usize = 4096;

/// Entries that one slice of a search visits.
const SLICE_ENTRIES_MAX: usize = 1024;

/// Sectors are at least this large: a torn write ends on such a boundary.
const SECTOR_BYTES: u64 = 512;

/// What became of a record's bytes, as far as they tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Kind {
    /// Not looked at yet.
    Suspect,
    /// The device refuses to read them.
    Unreadable,
    /// They changed, and do not show how.
    Rot,
    /// Their last sectors are blank: a write did not arrive whole.
    Torn,
    /// A sound record of another place lies there.
    Misdirected,
    /// The block is still of an earlier fill: its writes did not arrive at all.
    Stale,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::Suspect,
        Kind::Unreadable,
        Kind::Rot,
        Kind::Torn,
        Kind::Misdirected,
        Kind::Stale,
    ];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Suspect => "suspect",
            Kind::Unreadable => "unreadable",
            Kind::Rot => "rot",
            Kind::Torn => "torn",
            Kind::Misdirected => "misdirected",
            Kind::Stale => "stale",
        }
    }
}

/// Who met the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// A request of a client.
    Client,
    /// Emptying a block.
    Defrag,
    /// The scrub.
    Scrub,
    /// The start of the node.
    Recovery,
}

impl FoundBy {
    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            FoundBy::Client => "client",
            FoundBy::Defrag => "defrag",
            FoundBy::Scrub => "scrub",
            FoundBy::Recovery => "recovery",
        }
    }
}

/// A live record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its name.
    pub digest: Digest,
    /// The version that is missing.
    pub version: Version,
    /// Where the index says it lies.
    pub place: Place,
    /// What is wrong with it.
    pub kind: Kind,
    /// Who met it first.
    pub found_by: FoundBy,
}

/// What is known of a namespace's damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Damaged live records now.
    pub records: u64,
    /// Damaged records found since the start, by [`Kind`]; one that was met while the ledger was
    /// full is among the suspects.
    pub found: [u64; Kind::ALL.len()],
    /// Those that found no room in the ledger.
    pub left_out: u64,
    /// Suspects that were sound when they were read again.
    pub passing: u64,
    /// Damaged records that were repaired.
    pub repaired: u64,
}

/// See [the module](self).
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<BTreeMap<Digest, Damaged>>,
    found: [AtomicU64; Kind::ALL.len()],
    left_out: AtomicU64,
    passing: AtomicU64,
    repaired: AtomicU64,
}

/// What a suspect turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Damaged, in this way.
    Damaged(Kind),
    /// Sound after all: reading it failed once.
    Sound,
    /// The index no longer points there.
    Gone,
}

/// What a repair came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The record is whole again; durable when this says so.
    Done(CommitPoint),
    /// There is nothing to repair: the record was replaced, deleted or repaired meanwhile, or was
    /// never found damaged, or the bytes are of another version.
    Superseded,
}

/// Why a repair was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// The bytes are no record.
    #[error("the bytes to repair with are no record: {0}")]
    Unsound(#[from] FlatError),
    /// No block is free.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
}

impl Ledger {
    /// Remembers a suspect, once. The caller holds its partition's mutex, so takes no other here.
    pub(crate) fn note(&self, entry: &Entry, found_by: FoundBy) {
        let suspect = Damaged {
            digest: *entry.digest(),
            version: entry.version(),
            place: entry.place(),
            kind: Kind::Suspect,
            found_by,
        };
        let mut entries = self.entries.lock();
        let known = entries.get(&suspect.digest);
        if known.is_some_and(|known| known.place == suspect.place) {
            return;
        }
        if known.is_none() && entries.len() >= LEDGER_MAX {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        entries.insert(suspect.digest, suspect);
    }

    /// Writes down what a suspect turned out to be.
    fn settle(&self, suspect: &Damaged, verdict: Verdict) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&suspect.digest) else {
            return;
        };
        if entry.place != suspect.place || entry.kind != Kind::Suspect {
            return;
        }
        match verdict {
            Verdict::Damaged(kind) => {
                entry.kind = kind;
                self.found[kind as usize].fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Sound | Verdict::Gone => {
                entries.remove(&suspect.digest);
                let passing = u64::from(verdict == Verdict::Sound);
                self.passing.fetch_add(passing, Ordering::Relaxed);
            }
        }
    }

    fn all(&self) -> Vec<Damaged> {
        self.entries.lock().values().copied().collect()
    }
}

impl Namespace {
    /// Reports that a record could not be read, if the index still has it.
    pub fn suspect(&self, digest: &Digest, found_by: FoundBy) {
        let partition = self.partition_of(digest);
        if let Some(entry) = partition.directory.get(digest) {
            self.damage.note(entry, found_by);
        }
    }

    /// Records that were reported and not looked at yet, at most `most`.
    pub fn suspects(&self, most: usize) -> Vec<Damaged> {
        let entries = self.damage.entries.lock();
        let suspects = entries.values().filter(|entry| entry.kind == Kind::Suspect);
        suspects.take(most).copied().collect()
    }

    /// The read that shows what is wrong with a suspect; `None` when the index no longer points there,
    /// or when the record is in memory and so in no danger.
    pub fn examination(&self, suspect: &Damaged) -> Option<DeviceRead> {
        let read = {
            let partition = self.partition_of(&suspect.digest);
            let entry = partition.directory.get(&suspect.digest);
            entry
                .filter(|entry| entry.place() == suspect.place)
                .and_then(|entry| match self.log.locate(entry.place()) {
                    Located::Device(read) => Some(read),
                    Located::Memory(_) => None,
                })
        };
        if read.is_none() {
            self.damage.settle(suspect, Verdict::Gone);
        }
        read
    }

    /// Says what is wrong with a suspect, from the bytes that its examination brought (`None` if the
    /// device refused) and from the front of its block, and writes it down.
    pub fn examine(
        &self,
        suspect: &Damaged,
        read: &DeviceRead,
        bytes: Option<&[u8]>,
        block_front: Option<&[u8]>,
    ) -> Verdict {
        let verdict = if self.points_at(&suspect.digest, suspect.place) {
            match bytes.and_then(|bytes| bytes.get(read.skip..)) {
                Some(bytes) => self.diagnose(suspect, &read.seal, bytes, block_front),
                None => Verdict::Damaged(Kind::Unreadable),
            }
        } else {
            Verdict::Gone
        };
        self.damage.settle(suspect, verdict);
        verdict
    }

    fn diagnose(
        &self,
        suspect: &Damaged,
        seal: &Seal,
        bytes: &[u8],
        block_front: Option<&[u8]>,
    ) -> Verdict {
        let length = (suspect.place.length.bytes() as usize).min(bytes.len());
        let is_it = |header: &Header| {
            header.meta.digest == suspect.digest && header.meta.version == suspect.version.pack()
        };
        let kind = match self.sound(bytes, seal) {
            Ok(header) if is_it(&header) => return Verdict::Sound,
            Ok(_) => Kind::Misdirected,
            Err(_) if is_of_earlier_fill(block_front, seal) => Kind::Stale,
            Err(_) if self.is_of_another_place(bytes, suspect) => Kind::Misdirected,
            Err(_) if ends_blank(&bytes[..length], suspect.place.start.bytes()) => Kind::Torn,
            Err(_) => Kind::Rot,
        };
        Verdict::Damaged(kind)
    }

    /// The header of the record at the front of the bytes, if all of it is sound.
    fn sound(&self, bytes: &[u8], seal: &Seal) -> Result<Header, FlatError> {
        Form::check(bytes, seal)?;
        self.log.codec().header(bytes, seal)
    }

    /// Whether the bytes are a sound record whose own place is elsewhere. An encrypted one does not say
    /// whose it is before its place is known, so it is not recognised.
    fn is_of_another_place(&self, bytes: &[u8], suspect: &Damaged) -> bool {
        let encrypted = Form::read(bytes).is_ok_and(|form| form.encrypted);
        let Some(header) = Header::read(bytes).ok().filter(|_| !encrypted) else {
            return false;
        };
        let partition = self.partition_of(&header.meta.digest);
        let entry = partition.directory.get(&header.meta.digest);
        entry.is_some_and(|entry| {
            entry.place() != suspect.place
                && Form::check(bytes, &self.log.seal(entry.place())).is_ok()
        })
    }

    /// Whether the index points at a place for a record.
    pub fn points_at(&self, digest: &Digest, place: Place) -> bool {
        let partition = self.partition_of(digest);
        let entry = partition.directory.get(digest);
        entry.is_some_and(|entry| entry.place() == place)
    }

    /// Looks through part of a partition for live records that lie in a block and are not sound in
    /// `bytes`, its content, and reports them. `None` when the partition is done.
    pub fn suspect_in_block(
        &self,
        partition: PartitionId,
        after: Option<WalkCursor>,
        block: BlockId,
        bytes: &[u8],
        found_by: FoundBy,
    ) -> Option<WalkCursor> {
        let (block_start, _) = self.log.block_extent(block);
        let mut visited = 0;
        let partition = self.partition(partition);
        partition.directory.walk(after, &mut |entry| {
            visited += 1;
            let place = entry.place();
            if self.log.block_of(place) == block {
                let at = (place.start.bytes() - block_start) as usize;
                let record = bytes.get(at..).unwrap_or_default();
                let sound = self
                    .sound(record, &self.log.seal(place))
                    .is_ok_and(|header| {
                        header.meta.digest == *entry.digest()
                            && header.meta.version == entry.version().pack()
                    });
                if !sound {
                    self.damage.note(entry, found_by);
                }
            }
            match visited >= SLICE_ENTRIES_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    /// Counts, in part of a partition, the records and tombstones that lie on a device: those in blocks
    /// that are not broken, those in blocks that are, and where the next part begins.
    pub fn count_on_device(
        &self,
        partition: PartitionId,
        after: Option<WalkCursor>,
        device: DeviceId,
        is_broken: impl Fn(BlockId) -> bool,
    ) -> (u64, u64, Option<WalkCursor>) {
        let (mut visited, mut sound, mut broken) = (0, 0, 0);
        let partition = self.partition(partition);
        let next = partition.directory.walk(after, &mut |entry| {
            visited += 1;
            let place = entry.place();
            if place.device == device {
                let is_broken = is_broken(self.log.block_of(place));
                broken += u64::from(is_broken);
                sound += u64::from(!is_broken);
            }
            match visited >= SLICE_ENTRIES_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        (sound, broken, next)
    }

    /// Replaces a damaged record by sound bytes of the same version, as another replica sends them: its
    /// plain form, whatever its seal. Does nothing if the index has moved on.
    ///
    /// # Errors
    /// When the bytes are no record or no block is free.
    pub fn repair(
        &self,
        lane: LaneId,
        flush_clock_ms: u64,
        bytes: &[u8],
    ) -> Result<Repair, RepairError> {
        let record = Record::parse_unsealed(bytes)?;
        record.validate()?;
        let digest = record.meta.digest;
        let damaged = self.damage.entries.lock().get(&digest).copied();
        let Some(damaged) = damaged.filter(|at| at.version.pack() == record.meta.version) else {
            return Ok(Repair::Superseded);
        };
        let meta = Meta {
            moves: record.meta.moves.saturating_add(1),
            ..record.meta
        };
        let draft = record.draft(meta);
        let append = |floor| {
            self.log
                .append_record(lane, Purpose::Move, floor, &draft, flush_clock_ms)
        };
        let facts = record.facts();
        let moved = self.relocate(lane, flush_clock_ms, damaged.place, &facts, append)?;
        let Some(moved) = moved else {
            return Ok(Repair::Superseded);
        };
        self.damage.entries.lock().remove(&digest);
        self.damage.repaired.fetch_add(1, Ordering::Relaxed);
        Ok(Repair::Done(moved.commit))
    }

    /// Damaged live records, in the order of their digests. What was replaced or deleted leaves the
    /// ledger here.
    pub fn damaged(&self) -> Vec<Damaged> {
        let mut all = self.damage.all();
        all.retain(|damaged| {
            let stands = self.points_at(&damaged.digest, damaged.place);
            if !stands {
                let mut entries = self.damage.entries.lock();
                let found = entries.get(&damaged.digest);
                if found.is_some_and(|found| found.place == damaged.place) {
                    entries.remove(&damaged.digest);
                }
            }
            stands
        });
        all
    }

    /// What is known of damage.
    pub fn damage_report(&self) -> Report {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ledger = &self.damage;
        Report {
            records: self.damaged().len() as u64,
            found: std::array::from_fn(|kind| load(&ledger.found[kind])),
            left_out: load(&ledger.left_out),
            passing: load(&ledger.passing),
            repaired: load(&ledger.repaired),
        }
    }
}

/// Whether the front of a block is still that of an earlier fill than the index knows.
fn is_of_earlier_fill(block_front: Option<&[u8]>, seal: &Seal) -> bool {
    let header = block_front.and_then(BlockHeader::parse);
    header.is_some_and(|header| header.device == seal.device && header.fill < seal.fill)
}

/// Whether a record's bytes, which begin at `start` of their device, end in one blank sector or more.
fn ends_blank(bytes: &[u8], start: u64) -> bool {
    let end = start + bytes.len() as u64;
    let last_sector = (end - 1) / SECTOR_BYTES * SECTOR_BYTES;
    let from = last_sector.saturating_sub(start) as usize;
    // The record's own padding is blank too: what is left of the sector must be more than that.
    bytes.len() - from >= 16 && bytes[from..].iter().all(|byte| *byte == 0)
}

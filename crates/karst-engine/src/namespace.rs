//! A namespace: its partitions, its log, its sets, its truncation marks.
//!
//! A partition is an index directory, which also keeps its write counter, under one mutex; any core may take it. The
//! mutex covers memory work only. What needs a device is answered with a [`Step`] that says what to
//! read; the caller reads it and asks again, handing in the bytes. Nothing is locked meanwhile: on the
//! second try the index says whether the bytes are still those of the record, so a writer that was
//! overtaken simply finds the newer record in memory and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use karst_cluster::map::Regime;
use karst_data::flat::{FlatError, Record};
use karst_data::key::{Digest, PartitionId};
use karst_data::mutation::{Mutation, is_planted};
use karst_data::time::{Now, is_expired};
use karst_io::buffer::AlignedBuffer;
use karst_storage::index::{Directory, Entry, EntryArena, Flags, HashKey, Probe, prefetch_object};
use karst_storage::log::codec::{Codec, Opened};
use karst_storage::log::{DeviceRead, Located, Log, Resident};
use karst_storage::place::{Place, Version};
use parking_lot::{Mutex, MutexGuard};

use crate::damage::{FoundBy, Ledger};
use crate::error::Reason;
use crate::evict::ActiveMark;
use crate::floor::Leaving;
use crate::life::Lives;
use crate::scrub::Scrub;
use crate::sets::Sets;
use crate::sindex::{Named, Parts};
use crate::tenure::Tenure;

/// The regime of a partition that no map was heard of yet.
pub const FIRST_REGIME: u32 = 1;

/// Records whose way is fetched together: more than a CPU can wait for at once.
const PREFETCH_MAX: usize = 64;

/// What the configuration says about a namespace.
#[derive(Clone, Debug)]
pub struct NamespaceConfig {
    /// Its name.
    pub name: String,
    /// Time to live of records whose writer asks for the default, in seconds; 0 is for ever.
    pub default_ttl_s: u32,
    /// Largest record in stored form, in bytes.
    pub record_bytes_max: usize,
    /// Whether a write is answered only when it is on the device.
    pub commit_to_device: bool,
    /// Longest time that an appended record waits before it is sent to the device, in ms.
    pub flush_ms_max: u64,
    /// Whether what was acknowledged outlives any fault, and reads never go back: see [`crate::tenure`].
    pub strong: bool,
}

/// One partition's index, which also keeps its write counter.
pub struct Partition {
    pub(crate) directory: Directory,
    pub(crate) tombstones: u32,
    /// Some record of it had a void time, ever.
    pub(crate) expires: bool,
    /// Records that do not expire.
    pub(crate) never: u32,
    /// Under which its primary writes. What was decided under another is refused.
    pub(crate) regime: u32,
    /// This node may hold writes of it that nobody else has, which are still to be merged.
    pub(crate) apart: bool,
    /// What of it lies on the devices in fills below this is void; 0 while nothing is. See [`crate::floor`].
    pub(crate) floor: u64,
    /// It is being let go of.
    pub(crate) leaving: Option<Leaving>,
    /// What this node knows of it while it leads it, where consistency is strong.
    pub(crate) tenure: Tenure,
    /// Its secondary indexes.
    pub(crate) parts: Parts,
}

/// See [the module](self).
pub struct Namespace {
    config: NamespaceConfig,
    key: HashKey,
    partitions: Box<[Mutex<Partition>]>,
    pub(crate) log: Log,
    arena: Arc<EntryArena>,
    pub(crate) sets: Sets,
    /// Live records that cannot be read.
    pub(crate) damage: Ledger,
    /// How far the scrub has come.
    pub(crate) scrub: Scrub,
    /// Records last updated before this are gone; ms since 2010, 0 for none.
    truncated_before_ms: AtomicU64,
    /// The latest mark of the namespace and all its sets, so that most requests look at one number.
    any_truncation_ms: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    pub(crate) ttl_reductions_applied: AtomicU64,
    pub(crate) ttl_reductions_ignored: AtomicU64,
    pub(crate) lives: Lives,
    /// Another node may hold an older copy of any record.
    pub(crate) keeps_tombstones: AtomicBool,
    /// A limit is crossed: clients' writes are refused.
    pub(crate) stopped: AtomicBool,
    pub(crate) evictions: ArcSwap<Vec<ActiveMark>>,
    /// The greatest void time that an eviction covers, so that most requests look at one number.
    pub(crate) evicted_until_s: AtomicU32,
    /// The latest update time that an eviction covers is before this.
    pub(crate) evicted_before_ms: AtomicU64,
    /// Its secondary indexes, by name.
    pub(crate) sindexes: ArcSwap<Vec<Named>>,
    /// One change of them at a time.
    pub(crate) sindexes_changing: Mutex<()>,
    /// Counts all that there ever were.
    pub(crate) sindexes_made: AtomicU32,
}

/// How far a request came.
#[derive(Debug)]
pub enum Step<R> {
    /// It is answered.
    Done(R),
    /// Read this from the device and ask again with the bytes.
    Read(DeviceRead),
    /// Not now: no block is free until defrag has come further, or the partition changes hands. Look at
    /// the map and ask again.
    Wait,
}

/// Bytes that a [`Step::Read`] brought.
pub struct Fetched {
    /// What was read.
    pub read: DeviceRead,
    /// The bytes.
    pub buffer: AlignedBuffer,
}

impl Fetched {
    /// The record that the read was to bring, checked against its seal.
    pub(crate) fn record<'b>(
        &'b self,
        codec: &Codec,
        opened: &'b Opened,
    ) -> Result<Record<'b>, FlatError> {
        let bytes = self.buffer.as_slice().get(self.read.skip..);
        if is_planted(Mutation::ServesUnchecked) {
            return codec.open_unchecked(bytes.unwrap_or_default(), || self.read.seal, opened);
        }
        codec.open(bytes.unwrap_or_default(), &self.read.seal, opened)
    }
}

/// Counts of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceReport {
    /// Live records, those included that have expired and were not swept yet.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Memory of the index in bytes, all of it.
    pub index_bytes: u64,
    /// Records that the sweep found expired.
    pub expired: u64,
    /// Records that the sweep found evicted.
    pub evicted: u64,
    /// Live records that do not expire.
    pub never_expire: u64,
    /// Writes that made a life shorter.
    pub ttl_reductions_applied: u64,
    /// Writes that would have, and were not let.
    pub ttl_reductions_ignored: u64,
}

/// A record's bytes, wherever they were, and its plain form once it was read, if they are not that.
pub(crate) struct Bytes<'f> {
    source: Source<'f>,
    opened: Opened,
}

enum Source<'f> {
    Memory(Resident),
    Fetched(&'f Fetched),
}

impl Bytes<'_> {
    /// Reads the record. What came from a device is checked against its seal; what never left memory
    /// since this process checked or wrote it is not.
    pub(crate) fn record(&self, entry: &Entry, log: &Log) -> Result<Record<'_>, FlatError> {
        let (codec, opened) = (log.codec(), &self.opened);
        match &self.source {
            Source::Memory(resident) => {
                codec.open_unchecked(resident.bytes(), || log.seal(entry.place()), opened)
            }
            Source::Fetched(fetched) => {
                let record = fetched.record(codec, opened)?;
                if record.meta.digest != *entry.digest() {
                    return Err(FlatError::Content("another record lies here"));
                }
                if record.meta.version != entry.version().pack() {
                    return Err(FlatError::Content("another version lies here"));
                }
                Ok(record)
            }
        }
    }
}

impl Namespace {
    /// An empty namespace over a log. `key` hashes digests into the index; it is the cluster's own.
    pub fn new(
        config: NamespaceConfig,
        log: Log,
        arena: Arc<EntryArena>,
        key: HashKey,
    ) -> Namespace {
        // A process that has agreed to nothing yet takes nothing from anybody, not under the first regime of all either.
        let regime = match config.strong {
            true => 0,
            false => FIRST_REGIME,
        };
        let partition = |id| {
            let directory = Directory::new(arena.clone(), key, id);
            Mutex::new(Partition {
                directory,
                tombstones: 0,
                expires: false,
                never: 0,
                regime,
                apart: false,
                floor: 0,
                leaving: None,
                tenure: Tenure::default(),
                parts: Parts::default(),
            })
        };
        Namespace {
            lives: Lives::new(config.default_ttl_s),
            config,
            key,
            partitions: PartitionId::all().map(partition).collect(),
            log,
            sets: Sets::named_in(arena.clone()),
            damage: Ledger::default(),
            scrub: Scrub::default(),
            truncated_before_ms: AtomicU64::new(0),
            any_truncation_ms: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            ttl_reductions_applied: AtomicU64::new(0),
            ttl_reductions_ignored: AtomicU64::new(0),
            keeps_tombstones: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            evictions: ArcSwap::default(),
            evicted_until_s: AtomicU32::new(0),
            evicted_before_ms: AtomicU64::new(0),
            sindexes: ArcSwap::default(),
            sindexes_changing: Mutex::new(()),
            sindexes_made: AtomicU32::new(0),
            arena,
        }
    }

    /// What the configuration says.
    pub fn config(&self) -> &NamespaceConfig {
        &self.config
    }

    /// The memory of the index.
    pub fn arena(&self) -> &Arc<EntryArena> {
        &self.arena
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The sets.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    pub(crate) fn partition(&self, id: PartitionId) -> MutexGuard<'_, Partition> {
        self.partitions[id.index()].lock()
    }

    pub(crate) fn partition_mutex(&self, id: PartitionId) -> &Mutex<Partition> {
        &self.partitions[id.index()]
    }

    pub(crate) fn partition_of(&self, digest: &Digest) -> MutexGuard<'_, Partition> {
        self.partition(digest.partition())
    }

    /// Brings what requests for these records will touch towards the cache, one level for all of them
    /// before the next: partitions, buckets, entries, the records' own bytes. A hint only: a partition
    /// that is busy is left out.
    pub fn prefetch(&self, digests: &[Digest]) {
        for digests in digests.chunks(PREFETCH_MAX) {
            let mut probes = [Probe::default(); PREFETCH_MAX];
            let probes = &mut probes[..digests.len()];
            self.prefetch_entries(digests.iter(), probes, |_| {});
            for (digest, probe) in digests.iter().zip(probes) {
                if probe.leads_on()
                    && let Some(partition) = self.partition_mutex(digest.partition()).try_lock()
                {
                    probe.fetch_next(&partition.directory, digest);
                }
            }
            for digest in digests {
                if let Some(partition) = self.partition_mutex(digest.partition()).try_lock()
                    && let Some(entry) = partition.directory.get(digest)
                {
                    self.log.prefetch(entry.place());
                }
            }
        }
    }

    /// The first levels of [`Namespace::prefetch`]: as far as the first entry of each bucket. Sets as many
    /// probes as there are digests; `also` may ask for something else in the directory of each.
    pub(crate) fn prefetch_entries<'d>(
        &self,
        digests: impl Iterator<Item = &'d Digest> + Clone,
        probes: &mut [Probe],
        also: impl Fn(&Directory),
    ) {
        let partition = |digest: &Digest| self.partition_mutex(digest.partition());
        for (digest, probe) in digests.clone().zip(probes.iter_mut()) {
            prefetch_object(partition(digest));
            *probe = Probe::new(&self.key, digest);
        }
        for (digest, probe) in digests.clone().zip(probes.iter()) {
            if let Some(partition) = partition(digest).try_lock() {
                probe.fetch_table(&partition.directory);
            }
        }
        for (digest, probe) in digests.clone().zip(probes.iter()) {
            if let Some(partition) = partition(digest).try_lock() {
                probe.fetch_bucket(&partition.directory);
            }
        }
        for (digest, probe) in digests.zip(probes) {
            if let Some(partition) = partition(digest).try_lock() {
                probe.fetch_entry(&partition.directory);
                also(&partition.directory);
            }
        }
    }

    /// Whether an entry stands for a record that readers may see.
    pub(crate) fn is_alive(&self, entry: &Entry, now: Now) -> bool {
        !entry.is_tombstone()
            && !is_expired(entry.void_time_s(), now)
            && !self.is_truncated(entry.set_id(), entry.update_time_ms())
            && !self.is_evicted(entry.void_time_s(), entry.update_time_ms(), entry.set_id())
    }

    /// Whether a truncation mark covers a record of this set and update time.
    pub(crate) fn is_truncated(&self, set_id: u16, update_time_ms: u64) -> bool {
        if update_time_ms >= self.any_truncation_ms.load(Ordering::Acquire) {
            return false;
        }
        update_time_ms < self.truncated_before_ms.load(Ordering::Acquire)
            || self
                .sets
                .with(set_id, |set| update_time_ms < set.truncated_before_ms())
    }

    /// The earliest update time that no mark of truncation or eviction covers.
    pub(crate) fn uncovered_from_ms(&self, set_id: u16) -> u64 {
        let evicted = self.evicted_before_ms.load(Ordering::Acquire);
        let namespace = evicted.max(self.truncated_before_ms.load(Ordering::Acquire));
        self.sets
            .with(set_id, |set| namespace.max(set.truncated_before_ms()))
    }

    /// Makes records last updated before a time vanish: those of a set, or of all if none is named.
    ///
    /// # Errors
    /// When the set is new and cannot be made.
    pub fn truncate(&self, set: Option<&[u8]>, before_ms: u64) -> Result<(), Reason> {
        match set {
            Some(name) => {
                let number = self.sets.find_or_make(name).map_err(|_| Reason::SetLimit)?;
                self.sets.with(number, |set| set.truncate(before_ms));
            }
            None => {
                self.truncated_before_ms
                    .fetch_max(before_ms, Ordering::AcqRel);
            }
        }
        self.any_truncation_ms
            .fetch_max(before_ms, Ordering::AcqRel);
        Ok(())
    }

    /// Takes a truncation mark away. Records that were not swept yet are seen again.
    pub fn undo_truncate(&self, set: Option<&[u8]>) {
        match set {
            Some(name) => {
                if let Some(number) = self.sets.find(name) {
                    self.sets.with(number, |set| set.undo_truncate());
                }
            }
            None => self.truncated_before_ms.store(0, Ordering::Release),
        }
    }

    /// The namespace's own truncation mark, ms since 2010, 0 for none.
    pub fn truncated_before_ms(&self) -> u64 {
        self.truncated_before_ms.load(Ordering::Acquire)
    }

    /// The latest truncation mark of the namespace and all its sets: changes with every new one.
    pub fn truncations(&self) -> u64 {
        self.any_truncation_ms.load(Ordering::Acquire)
    }

    /// Whether a sweep of a partition can find anything: something in it expires, is deleted, or may
    /// be covered by a truncation mark, or a secondary index has something left over.
    pub fn may_hold_dead(&self, id: PartitionId) -> bool {
        let partition = self.partition(id);
        partition.expires
            || partition.tombstones > 0
            || self.truncations() != 0
            || partition.parts.may_have_left_over()
    }

    /// A record's bytes if its block is in memory. They stay as they are for as long as they are held,
    /// whatever becomes of record and block.
    pub fn resident(&self, digest: &Digest) -> Option<Resident> {
        let partition = self.partition_of(digest);
        match self.log.locate(partition.directory.get(digest)?.place()) {
            Located::Memory(resident) => Some(resident),
            Located::Device(_) => None,
        }
    }

    /// Finds a record's bytes: in memory, among the bytes already fetched, or still on the device.
    pub(crate) fn bytes<'f>(
        &self,
        place: Place,
        fetched: Option<&'f Fetched>,
    ) -> Result<Bytes<'f>, DeviceRead> {
        let source = match self.log.locate(place) {
            Located::Memory(resident) => Source::Memory(resident),
            Located::Device(read) => match fetched {
                Some(fetched) if fetched.read.seal == read.seal => Source::Fetched(fetched),
                Some(_) | None => return Err(read),
            },
        };
        let opened = Opened::default();
        Ok(Bytes { source, opened })
    }

    /// Reads a record's bytes as a record, and counts it when the device gave something else.
    pub(crate) fn checked<'b>(
        &self,
        bytes: &'b Bytes<'_>,
        entry: &Entry,
    ) -> Result<Record<'b>, Reason> {
        bytes.record(entry, &self.log).map_err(|_| {
            self.log.count_read_error(entry.place().device);
            self.damage.note(entry, FoundBy::Client);
            Reason::Unreadable
        })
    }

    pub(crate) fn count_swept(&self, expired: u64, evicted: u64) {
        self.expired.fetch_add(expired, Ordering::Relaxed);
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Pages of the index that are in use, and how many it may have.
    pub fn index_pages(&self) -> (u64, u64) {
        let (in_use, max) = (self.arena.pages_in_use(), self.arena.pages_max());
        (in_use.into(), max.into())
    }

    /// Says whether another node may hold older copies of records: then no tombstone is dropped, since a
    /// node that comes back with one has to be told that it is gone.
    pub fn keep_tombstones(&self, keep: bool) {
        self.keeps_tombstones.store(keep, Ordering::Release);
    }

    /// Counts over all partitions, one at a time.
    pub fn report(&self) -> NamespaceReport {
        let mut report = NamespaceReport {
            expired: self.expired.load(Ordering::Relaxed),
            evicted: self.evicted.load(Ordering::Relaxed),
            ttl_reductions_applied: self.ttl_reductions_applied.load(Ordering::Relaxed),
            ttl_reductions_ignored: self.ttl_reductions_ignored.load(Ordering::Relaxed),
            ..Default::default()
        };
        for partition in &self.partitions {
            let partition = partition.lock();
            let tombstones = u64::from(partition.tombstones);
            report.tombstones += tombstones;
            report.never_expire += u64::from(partition.never);
            report.records += partition.directory.len() as u64 - tombstones;
            report.index_bytes += partition.directory.memory_bytes();
        }
        report
    }

    /// Records and tombstones of one partition.
    pub fn partition_counts(&self, id: PartitionId) -> (u64, u64) {
        let partition = self.partition(id);
        let tombstones = u64::from(partition.tombstones);
        (partition.directory.len() as u64 - tombstones, tombstones)
    }
}

impl Partition {
    /// The version that the next write has if it succeeds.
    pub(crate) fn upcoming_version(&self) -> Version {
        Version {
            regime: match is_planted(Mutation::ReusesSequences) {
                true => FIRST_REGIME,
                false => Regime(self.regime).committed().0,
            },
            sequence: self.directory.sequence() + 1,
        }
    }
}

/// Whether a record's key is on the device too.
pub(crate) fn stores_key(entry: &Entry) -> bool {
    entry.flags().contains(Flags::KEY_STORED)
}

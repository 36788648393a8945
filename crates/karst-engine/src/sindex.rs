//! Secondary indexes: kept in step with the records, partition by partition.
//!
//! ```text
//! what the cluster has agreed on --> set_sindexes --> a part in every partition, empty
//! a write, a copy, a merge       --> store        --> the record's values are put, under the write's stamp
//! a record of before             --> build        --> the same, once, by a walk in slices
//! a large collection in either   --> late         --> the same, in slices of its own; until then it is noted as late
//! a query                        --> query        --> hits: what bears the stamp of the record of now, or is late
//! a scan of a set                --> set          --> the entries of its records, if there is an index of it
//! ```
//!
//! A part changes under its partition's mutex, in the same step as the primary index.
//!
//! Invariants
//!   a record that is in the primary index has each of its values in every built part, under its own stamp, or is late
//!   an item that bears another stamp than its record, or has none, is left over: no query returns it, unless the
//!   record is late: then it may have the value still, and whoever reads it will see
//!   a step under the mutex walks over at most [`WALKED_BY_WRITE`] bytes of collections, for all parts together
//!   of those a part holds at most about as many as of the others and [`LEFT_OVER_MIN`]
//!
//! So what changes a record need not know what it was: a delete, a sweep or a copy from another node leaves items
//! over, and counts itself. They are taken out by the partition's next sweeps, and by its writes when they come to be
//! many (`Part::owe`). A client's write that has the old record at hand takes its items out at once.
//!
//! Nothing of an index outlives the process. After a start every part is built anew.

pub mod build;
pub mod late;
pub mod query;
mod set;

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::Guard;
use karst_data::bin::BinRef;
use karst_data::expr::{Lookup, Metadata, Subject};
use karst_data::flat::{Draft, Record};
use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_data::sindex::{Definition, Extractor};
use karst_data::time::Now;
use karst_storage::index::{Directory, NewEntry};
use karst_storage::sindex::{Item, Ordered, Position, Stamp};

use crate::namespace::{Namespace, Partition};
use crate::sets::Sets;
use crate::write::Before;

/// Changes that leave something over which a part bears before writes sweep it.
pub const LEFT_OVER_MIN: u32 = 64;

/// Items that a write looks at once it has to: a run or two.
const SWEPT_BY_WRITE: usize = 128;

/// Bytes of collections that one step under the mutex walks over for their values, old or new: about a thousand of
/// them, which are hashed and put in half a millisecond. What is longer is put in later: see [`late`].
pub const WALKED_BY_WRITE: usize = 4096;

/// An index of a namespace.
#[derive(Debug)]
pub struct Index {
    /// Tells it from others of this process.
    id: u32,
    /// What it is of.
    pub definition: Definition,
    /// What takes its values out of records; `None` if this version cannot: then it never serves.
    pub extractor: Option<Extractor>,
    /// Partitions whose part holds all that it should.
    built: AtomicU32,
    /// How long it took to build all of them, in ms; set by who builds.
    pub build_ms: AtomicU64,
    /// Items that were left over and taken out by a sweep.
    swept: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
    /// Records that are to be put in later, over all partitions.
    late: AtomicU64,
}

impl Index {
    /// How much of it is built, in percent.
    pub fn built_percent(&self) -> u32 {
        self.built.load(Ordering::Acquire) * 100 / PARTITIONS as u32
    }

    /// Whether all partitions hold what they should.
    pub fn is_built(&self) -> bool {
        self.built.load(Ordering::Acquire) as usize == PARTITIONS
    }

    /// Whether queries may ask it.
    pub fn serves(&self) -> bool {
        self.is_built() && self.extractor.is_some()
    }

    /// Records whose values are not all put in yet; queries look at each of them.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Acquire)
    }

    /// Items that were left over and taken out by a sweep.
    pub fn swept(&self) -> u64 {
        self.swept.load(Ordering::Relaxed)
    }

    /// What it takes, over all partitions.
    pub fn report(&self) -> IndexReport {
        IndexReport {
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether it is of which records there are in a set.
    pub fn is_of_set(&self) -> bool {
        self.extractor.as_ref().is_some_and(Extractor::is_of_set)
    }

    fn is_of(&self, sets: &Sets, set_id: u16) -> bool {
        let set = self.definition.set.as_bytes();
        set.is_empty() || sets.with(set_id, |it| *it.name == *set)
    }

    /// What takes values out of records of this set, if the index is of such and holds values.
    fn extractor_for(&self, sets: &Sets, set_id: u16) -> Option<&Extractor> {
        let extractor = self.extractor.as_ref().filter(|it| !it.is_of_set());
        extractor.filter(|_| self.is_of(sets, set_id))
    }
}

/// An index under its name. The name can change; the index stays.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The index.
    pub index: Arc<Index>,
}

/// What an index takes, over all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Its items, those left over included.
    pub items: u64,
    /// Their memory.
    pub bytes: u64,
}

/// One index in one partition.
pub(crate) struct Part {
    index: Arc<Index>,
    items: Ordered,
    is_built: bool,
    /// Records whose values are not all put in yet. Each is a record of the partition, or was.
    late: BTreeSet<Digest>,
    /// Changes that may have left items over.
    left_over: u32,
    /// Those that the sweep under way will have seen.
    covered: u32,
    /// Where it goes on; `None` when none is under way.
    sweep: Option<Position>,
    /// Items that writes owe a look.
    owed: usize,
}

/// The indexes of a partition.
#[derive(Default)]
pub(crate) struct Parts(Vec<Part>);

/// The values of a record as it was, by part; `None` where there were too many to look at.
pub(crate) struct OldValues {
    stamp: Stamp,
    by_part: Vec<Option<Vec<i64>>>,
}

/// A record as it is about to be stored: what expressions are told of it.
struct Drafted<'a, 'b, B> {
    metadata: Metadata<'a>,
    key: Option<&'a [u8]>,
    bins: B,
    /// What the bins borrow from.
    _bytes: PhantomData<&'b [u8]>,
}

impl<'b, B: Iterator<Item = BinRef<'b>> + Clone> Subject for Drafted<'_, 'b, B> {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        Some(&self.metadata)
    }

    fn key(&self) -> Lookup<&[u8]> {
        self.key.into()
    }

    fn bin(&self, name: &[u8]) -> Lookup<BinRef<'_>> {
        self.bins.clone().find(|bin| bin.name == name).into()
    }
}

impl Part {
    fn new(index: Arc<Index>) -> Part {
        Part {
            index,
            items: Ordered::default(),
            is_built: false,
            late: BTreeSet::new(),
            left_over: 0,
            covered: 0,
            sweep: None,
            owed: 0,
        }
    }

    /// Changes the items, and keeps count of them and their memory.
    fn change<R>(&mut self, change: impl FnOnce(&mut Ordered) -> R) -> R {
        let (items, bytes) = (self.items.len(), self.items.memory_bytes());
        let changed = change(&mut self.items);
        // Less is as much as more, modulo 2^64.
        let add = |sum: &AtomicU64, was: usize, is: usize| {
            if was != is {
                sum.fetch_add((is as u64).wrapping_sub(was as u64), Ordering::Relaxed);
            }
        };
        add(&self.index.items, items, self.items.len());
        add(&self.index.bytes, bytes, self.items.memory_bytes());
        changed
    }

    /// Puts a record's values, and returns how many items came.
    fn put(&mut self, digest: &Digest, stamp: Stamp, values: &[i64]) -> usize {
        let item = |value: &i64| Item {
            value: *value,
            digest: *digest,
            stamp,
        };
        self.change(|items| {
            let put = values.iter().map(|value| items.put(item(value)));
            put.filter(|is_new| *is_new).count()
        })
    }

    /// Whether a record's values are all put in, or are to be put in later.
    fn set_late(&mut self, digest: &Digest, is_late: bool) {
        if is_late {
            if self.late.insert(*digest) {
                self.index.late.fetch_add(1, Ordering::AcqRel);
            }
        } else if !self.late.is_empty() && self.late.remove(digest) {
            self.index.late.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Something may be left over.
    fn note(&mut self, changes: u32) {
        if !self.items.is_empty() {
            self.left_over = self.left_over.saturating_add(changes);
        }
    }

    /// Where much is left over each write looks at more items than it has left or put, so that sweeps overtake writes.
    fn owe(&mut self, directory: &Directory, came: usize) {
        if self.left_over as usize <= LEFT_OVER_MIN as usize + self.items.len() / 4 {
            return;
        }
        self.owed += 8 + 4 * came;
        if self.owed >= SWEPT_BY_WRITE {
            self.sweep(directory, self.owed);
            self.owed = 0;
        }
    }

    /// Takes out what is left over of the next items.
    fn sweep(&mut self, directory: &Directory, items_max: usize) {
        if self.left_over == 0 {
            return;
        }
        if self.sweep.is_none() {
            self.covered = self.left_over;
        }
        let before = self.items.len();
        let behind = self.sweep;
        let late = std::mem::take(&mut self.late);
        let mut keep = |item: &Item| {
            let entry = directory.get(&item.digest).filter(|it| !it.is_tombstone());
            let is_of_now = |version| Stamp::of(version) == item.stamp;
            entry.is_some_and(|it| is_of_now(it.version()) || late.contains(&item.digest))
        };
        self.sweep = self.change(|items| items.retain(behind, items_max, &mut keep));
        self.late = late;
        let swept = before - self.items.len();
        self.index.swept.fetch_add(swept as u64, Ordering::Relaxed);
        if self.sweep.is_none() {
            self.left_over = self.left_over.saturating_sub(self.covered);
        }
    }
}

impl Parts {
    fn of(&self, index: &Index) -> Option<&Part> {
        self.0.iter().find(|part| part.index.id == index.id)
    }

    /// So many records were changed, or have gone, whose values nobody knows.
    pub(crate) fn note(&mut self, changes: usize) {
        let changes = u32::try_from(changes).unwrap_or(u32::MAX);
        self.0.iter_mut().for_each(|part| part.note(changes));
    }

    /// Whether a sweep can find something.
    pub(crate) fn may_have_left_over(&self) -> bool {
        self.0.iter().any(|part| part.left_over > 0)
    }

    /// The partition's records have all gone.
    pub(crate) fn clear(&mut self) {
        for part in &mut self.0 {
            part.change(|items| *items = Ordered::default());
            let late = std::mem::take(&mut part.late).len() as u64;
            part.index.late.fetch_sub(late, Ordering::AcqRel);
            part.sweep = None;
            (part.left_over, part.owed) = (0, 0);
        }
    }
}

impl Partition {
    /// A record has gone from the primary index, whose values nobody knows.
    pub(crate) fn lose_from_sindexes(&mut self, gone: &NewEntry) {
        let Partition {
            directory, parts, ..
        } = self;
        for part in &mut parts.0 {
            match part.index.is_of_set() {
                true => part.take_from_set(directory, gone),
                false => part.note(1),
            }
        }
    }

    /// Takes out what is left over of the next items of every index.
    pub(crate) fn sweep_sindexes(&mut self, items_max: usize) {
        let Partition {
            directory, parts, ..
        } = self;
        let parts = parts.0.iter_mut();
        parts.for_each(|part| part.sweep(directory, items_max));
    }

    /// Takes out the values of a record as it was before a write, but those that it still has, or may have.
    pub(crate) fn take_out(&mut self, digest: &Digest, old: Option<OldValues>) {
        let Some(OldValues { stamp, by_part }) = old else {
            return;
        };
        for (part, values) in self.parts.0.iter_mut().zip(by_part) {
            let Some(values) = values.filter(|_| !part.late.contains(digest)) else {
                continue;
            };
            part.change(|items| {
                for value in values {
                    items.remove(&(value, *digest), stamp);
                }
            });
            part.left_over = part.left_over.saturating_sub(1); // the write has counted itself
        }
    }
}

impl Namespace {
    /// Has these indexes and no others from now on. What is new is to be built: see [`build`].
    pub fn set_sindexes(&self, wanted: &[(String, Definition)]) {
        let _changing = self.sindexes_changing.lock();
        let known = self.sindexes.load();
        let mut added = Vec::new();
        let named = wanted.iter().map(|(name, definition)| {
            let same = known.iter().find(|it| it.index.definition == *definition);
            let index = same.map_or_else(
                || {
                    let index = Arc::new(self.new_index(definition));
                    added.push(index.clone());
                    index
                },
                |same| same.index.clone(),
            );
            Named {
                name: name.clone(),
                index,
            }
        });
        let named: Vec<Named> = named.collect();
        let stays = |index: &Index| named.iter().any(|it| it.index.id == index.id);
        if added.is_empty() && known.iter().all(|it| stays(&it.index)) {
            self.sindexes.store(Arc::new(named)); // at most their names have changed
            return;
        }
        let ids: Vec<u32> = named.iter().map(|it| it.index.id).collect();
        // Whoever finds a new index finds it in every partition; one that goes is found no more first.
        let standing = named
            .iter()
            .filter(|it| !added.iter().any(|new| Arc::ptr_eq(new, &it.index)));
        self.sindexes.store(Arc::new(standing.cloned().collect()));
        for id in PartitionId::all() {
            let mut partition = self.partition(id);
            let parts = &mut partition.parts.0;
            parts.retain(|part| ids.contains(&part.index.id));
            parts.extend(added.iter().cloned().map(Part::new));
        }
        self.sindexes.store(Arc::new(named));
    }

    fn new_index(&self, definition: &Definition) -> Index {
        Index {
            id: self.sindexes_made.fetch_add(1, Ordering::Relaxed),
            definition: definition.clone(),
            extractor: definition.extractor().ok(),
            built: AtomicU32::new(0),
            build_ms: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            items: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }
    }

    /// Its indexes.
    pub fn sindexes(&self) -> Guard<Arc<Vec<Named>>> {
        self.sindexes.load()
    }

    /// Memory of all indexes that hold values.
    pub fn sindex_bytes(&self) -> u64 {
        self.bytes_of_indexes(|index| !index.is_of_set())
    }

    /// Memory of all indexes of sets.
    pub fn set_index_bytes(&self) -> u64 {
        self.bytes_of_indexes(Index::is_of_set)
    }

    fn bytes_of_indexes(&self, are_meant: impl Fn(&Index) -> bool) -> u64 {
        let sindexes = self.sindexes();
        let meant = sindexes.iter().filter(|it| are_meant(&it.index));
        meant.map(|it| it.index.report().bytes).sum()
    }

    /// The values of a record that a write is about to change, if there are indexes to take them out of.
    pub(crate) fn old_values(
        &self,
        partition: &Partition,
        before: Option<&Before>,
        record: Option<&Record<'_>>,
        now: Now,
    ) -> Option<OldValues> {
        let (entry, record) = (&before?.entry, record?);
        if partition.parts.0.is_empty() {
            return None; // nearly always
        }
        let metadata = self.metadata_of(entry, record.key.is_some(), record.set, now);
        let subject = (metadata, *record);
        let mut walked = 0;
        let mut of_part = |part: &Part| {
            if part.index.is_of_set() {
                return None; // the write itself sees to it
            }
            let mut values = Vec::new();
            if let Some(extractor) = part.index.extractor_for(&self.sets, entry.set_id) {
                let left = WALKED_BY_WRITE - walked;
                walked += extractor.values_within(&subject, left, &mut values)?;
            }
            Some(values)
        };
        let by_part = partition.parts.0.iter().map(&mut of_part).collect();
        Some(OldValues {
            stamp: Stamp::of(entry.version),
            by_part,
        })
    }

    /// Brings the indexes in step with a record that was stored, and notes that one was there before.
    pub(crate) fn put_in_sindexes<'b, B>(
        &self,
        partition: &mut Partition,
        new: &NewEntry,
        draft: &Draft<'_, B>,
        before: Option<&Before>,
        now: Now,
    ) where
        B: Iterator<Item = BinRef<'b>> + Clone,
    {
        let Partition {
            directory, parts, ..
        } = partition;
        if parts.0.is_empty() {
            return; // nearly always
        }
        let drafted = Drafted {
            metadata: self.metadata_of(new, draft.key.is_some(), draft.set, now),
            key: draft.key,
            bins: draft.bins.clone(),
            _bytes: PhantomData,
        };
        let changed = before.is_some_and(|before| !before.entry.is_tombstone());
        let (mut values, mut walked) = (Vec::new(), 0);
        for part in &mut parts.0 {
            if part.index.is_of_set() {
                part.follow_set(&self.sets, directory, new, before.map(|it| &it.entry));
                continue;
            }
            values.clear();
            let extractor = part.index.extractor_for(&self.sets, new.set_id);
            let extractor = extractor.filter(|_| !new.is_tombstone());
            let left = WALKED_BY_WRITE - walked;
            let walks = extractor.map(|it| it.values_within(&drafted, left, &mut values));
            walked += walks.flatten().unwrap_or(0);
            let came = part.put(&new.digest, Stamp::of(new.version), &values);
            part.set_late(&new.digest, walks == Some(None));
            if changed {
                part.note(1);
                part.owe(directory, came);
            }
        }
    }
}

//! Secondary indexes: kept in step with the records, partition by partition.
//!
//! ```text
//! what the cluster has agreed on --> set_sindexes --> a part in every partition, empty
//! a write, a copy, a merge       --> store        --> the record's values are put, under the write's stamp
//! a record of before             --> build        --> the same, once, by a walk in slices
//! a query                        --> query        --> hits: what bears the stamp of the record of now
//! ```
//!
//! A part changes under its partition's mutex, in the same step as the primary index.
//!
//! Invariants
//!   a record that is in the primary index has each of its values in every built part, under its own stamp
//!   an item that bears another stamp than its record, or has none, is left over: no query returns it
//!   of those a part holds at most about as many as of the others and [`LEFT_OVER_MIN`]
//!
//! So what changes a record need not know what it was: a delete, a sweep or a copy from another node leaves items
//! over, and counts itself. They are taken out by the partition's next sweeps, and by its writes when they come to be
//! many (`Part::owe`). A client's write that has the old record at hand takes its items out at once.
//!
//! Nothing of an index outlives the process. After a start every part is built anew.

pub mod build;
pub mod query;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::Guard;
use karst_data::bin::BinRef;
use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_data::sindex::Definition;
use karst_storage::index::{Directory, NewEntry};
use karst_storage::sindex::{Item, Ordered, Position, Stamp};

use crate::namespace::{Namespace, Partition};
use crate::sets::Sets;
use crate::write::Before;

/// Changes that leave something over which a part bears before writes sweep it.
pub const LEFT_OVER_MIN: u32 = 64;

/// Items that a write looks at once it has to: a run or two.
const SWEPT_BY_WRITE: usize = 128;

/// An index of a namespace.
#[derive(Debug)]
pub struct Index {
    /// Tells it from others of this process.
    id: u32,
    /// What it is of.
    pub definition: Definition,
    /// Partitions whose part holds all that it should.
    built: AtomicU32,
    /// How long it took to build all of them, in ms; set by who builds.
    pub build_ms: AtomicU64,
    /// Items that were left over and taken out by a sweep.
    swept: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Index {
    /// How much of it is built, in percent.
    pub fn built_percent(&self) -> u32 {
        self.built.load(Ordering::Acquire) * 100 / PARTITIONS as u32
    }

    /// Whether queries may ask it.
    pub fn is_built(&self) -> bool {
        self.built.load(Ordering::Acquire) as usize == PARTITIONS
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

    fn is_of(&self, sets: &Sets, set_id: u16) -> bool {
        let set = self.definition.set.as_bytes();
        set.is_empty() || sets.with(set_id, |it| *it.name == *set)
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

/// The values of a record as it was, by part.
pub(crate) struct OldValues {
    stamp: Stamp,
    by_part: Vec<Vec<i64>>,
}

impl Part {
    fn new(index: Arc<Index>) -> Part {
        Part {
            index,
            items: Ordered::default(),
            is_built: false,
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
        let mut keep = |item: &Item| {
            let entry = directory.get(&item.digest);
            entry.is_some_and(|it| !it.is_tombstone() && Stamp::of(it.version()) == item.stamp)
        };
        self.sweep = self.change(|items| items.retain(behind, items_max, &mut keep));
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
            part.sweep = None;
            (part.left_over, part.owed) = (0, 0);
        }
    }
}

impl Partition {
    /// Takes out what is left over of the next items of every index.
    pub(crate) fn sweep_sindexes(&mut self, items_max: usize) {
        let Partition {
            directory, parts, ..
        } = self;
        let parts = parts.0.iter_mut();
        parts.for_each(|part| part.sweep(directory, items_max));
    }

    /// Takes out the values of a record as it was before a write, but those that it still has.
    pub(crate) fn take_out(&mut self, digest: &Digest, old: Option<OldValues>) {
        let Some(OldValues { stamp, by_part }) = old else {
            return;
        };
        for (part, values) in self.parts.0.iter_mut().zip(by_part) {
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
            built: AtomicU32::new(0),
            build_ms: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            items: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Its indexes.
    pub fn sindexes(&self) -> Guard<Arc<Vec<Named>>> {
        self.sindexes.load()
    }

    /// Memory of all indexes.
    pub fn sindex_bytes(&self) -> u64 {
        let sindexes = self.sindexes();
        sindexes.iter().map(|it| it.index.report().bytes).sum()
    }

    /// The values of a record that a write is about to change, if there are indexes to take them out of.
    pub(crate) fn old_values<'b>(
        &self,
        partition: &Partition,
        before: Option<&Before>,
        bins: Option<impl Iterator<Item = BinRef<'b>> + Clone>,
    ) -> Option<OldValues> {
        let (entry, bins) = (&before?.entry, bins?);
        if partition.parts.0.is_empty() {
            return None; // nearly always
        }
        let of_part = |part: &Part| {
            let mut values = Vec::new();
            if part.index.is_of(&self.sets, entry.set_id) {
                part.index.definition.values(bins.clone(), &mut values);
            }
            values
        };
        Some(OldValues {
            stamp: Stamp::of(entry.version),
            by_part: partition.parts.0.iter().map(of_part).collect(),
        })
    }

    /// Brings the indexes in step with a record that was stored, and notes that one was there before.
    pub(crate) fn put_in_sindexes<'b>(
        &self,
        partition: &mut Partition,
        new: &NewEntry,
        before: Option<&Before>,
        bins: impl Iterator<Item = BinRef<'b>> + Clone,
    ) {
        let Partition {
            directory, parts, ..
        } = partition;
        let changed = before.is_some_and(|before| !before.entry.is_tombstone());
        let mut values = Vec::new();
        for part in &mut parts.0 {
            let mut came = 0;
            if !new.is_tombstone() && part.index.is_of(&self.sets, new.set_id) {
                values.clear();
                part.index.definition.values(bins.clone(), &mut values);
                came = part.put(&new.digest, Stamp::of(new.version), &values);
            }
            if changed {
                part.note(1);
                part.owe(directory, came);
            }
        }
    }
}

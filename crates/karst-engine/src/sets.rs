//! The sets of a namespace: names to numbers, and what is counted for each.
//!
//! Numbers are given in order of first use and hold as long as the index does, which keeps the names
//! beside its entries: in shared memory they outlive the process together. Records on devices carry the
//! name. Readers take a snapshot, so that no lookup waits for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use karst_data::key::SET_BYTES_MAX;
use karst_storage::index::{EntryArena, NAMES_MAX};
use karst_storage::place::Place;
use parking_lot::Mutex;

use crate::life::SetRules;

/// Most sets of one namespace.
pub const SETS_MAX: usize = 4095;

const _: () = assert!(SETS_MAX <= NAMES_MAX);

/// One set.
#[derive(Debug)]
pub struct Set {
    /// Its name; empty for the records that are in no set.
    pub name: Box<[u8]>,
    records: AtomicI64,
    tombstones: AtomicI64,
    bytes: AtomicI64,
    truncated_before_ms: AtomicU64,
}

impl Set {
    fn new(name: &[u8]) -> Arc<Set> {
        Arc::new(Set {
            name: name.into(),
            records: AtomicI64::new(0),
            tombstones: AtomicI64::new(0),
            bytes: AtomicI64::new(0),
            truncated_before_ms: AtomicU64::new(0),
        })
    }

    /// Live records, those included that have expired and were not swept yet.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed).max(0) as u64
    }

    /// Tombstones.
    pub fn tombstones(&self) -> u64 {
        self.tombstones.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes of its live records on devices, padding included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).max(0) as u64
    }

    /// Records last updated before this, in ms since 2010, are gone; 0 for none.
    pub fn truncated_before_ms(&self) -> u64 {
        self.truncated_before_ms.load(Ordering::Acquire)
    }

    pub(crate) fn truncate(&self, before_ms: u64) {
        self.truncated_before_ms
            .fetch_max(before_ms, Ordering::AcqRel);
    }

    pub(crate) fn undo_truncate(&self) {
        self.truncated_before_ms.store(0, Ordering::Release);
    }

    pub(crate) fn count(&self, records: i64, tombstones: i64, bytes: i64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.tombstones.fetch_add(tombstones, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What one thread has counted of sets, by number. Shared counters would travel between the threads' caches with
/// every record.
#[derive(Default)]
pub(crate) struct SetCounts(Vec<Counts>);

#[derive(Clone, Copy, Default)]
struct Counts {
    records: i64,
    tombstones: i64,
    bytes: i64,
}

impl SetCounts {
    /// Counts an entry of a set that came, or by -1 uncounts one that goes.
    pub(crate) fn count(&mut self, set_id: u16, tombstone: bool, place: Place, by: i64) {
        let number = usize::from(set_id);
        if number >= self.0.len() {
            self.0.resize(number + 1, Counts::default());
        }
        let counts = &mut self.0[number];
        match tombstone {
            true => counts.tombstones += by,
            false => counts.records += by,
        }
        counts.bytes += by * place.length.bytes() as i64;
    }
}

/// A snapshot of the table.
#[derive(Debug, Clone)]
struct Table {
    numbers: HashMap<Box<[u8]>, u16>,
    sets: Vec<Arc<Set>>,
    /// What each is to keep to: as many as there are sets.
    rules: Vec<SetRules>,
}

impl Table {
    /// Number 0 alone.
    fn of_none() -> Table {
        Table {
            numbers: HashMap::new(),
            sets: vec![Set::new(b"")],
            rules: vec![SetRules::default()],
        }
    }

    /// Gives a name the next number.
    fn add(&mut self, name: &[u8], rules: SetRules) {
        self.numbers.insert(name.into(), self.sets.len() as u16);
        self.sets.push(Set::new(name));
        self.rules.push(rules);
    }
}

/// See [the module](self). Number 0 stands for "no set".
pub struct Sets {
    table: ArcSwap<Table>,
    /// Rules of the sets that have some, whether or not there is such a set yet. Whoever changes the table
    /// holds it.
    rules: Mutex<HashMap<Box<[u8]>, SetRules>>,
    /// Where names are kept; nowhere if there is no index.
    arena: Option<Arc<EntryArena>>,
}

/// The namespace has [`SETS_MAX`] sets, or the name is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetRefused;

impl Default for Sets {
    fn default() -> Sets {
        Sets {
            table: ArcSwap::from_pointee(Table::of_none()),
            rules: Mutex::default(),
            arena: None,
        }
    }
}

impl Sets {
    /// The sets whose names an index keeps, and those that come.
    pub fn named_in(arena: Arc<EntryArena>) -> Sets {
        let mut table = Table::of_none();
        let none = SetRules::default();
        arena.names().iter().for_each(|name| table.add(name, none));
        Sets {
            table: ArcSwap::from_pointee(table),
            rules: Mutex::default(),
            arena: Some(arena),
        }
    }

    /// Puts the sets under these rules and no others; sets that come have theirs too.
    pub fn set_rules(&self, rules: &[(Box<[u8]>, SetRules)]) {
        let mut kept = self.rules.lock();
        *kept = rules.iter().cloned().collect();
        let mut table = Table::clone(&self.table.load());
        let of = |set: &Arc<Set>| kept.get(&set.name).copied().unwrap_or_default();
        table.rules = table.sets.iter().map(of).collect();
        self.table.store(Arc::new(table));
    }

    /// What the set of a number is to keep to.
    pub fn rules(&self, number: u16) -> SetRules {
        self.table.load().rules[usize::from(number)]
    }

    /// Whether the rules of a set refuse a write.
    pub(crate) fn refuse(&self, number: u16, creates: bool) -> bool {
        let (table, at) = (self.table.load(), usize::from(number));
        table.rules[at].refuse(&table.sets[at], creates)
    }

    /// Names of the sets whose records are never evicted.
    pub(crate) fn never_evicted(&self) -> Vec<Box<[u8]>> {
        let rules = self.rules.lock();
        let spared = rules.iter().filter(|(_, rules)| rules.disable_eviction);
        spared.map(|(name, _)| name.clone()).collect()
    }

    /// The number of a set that is known. An empty name is number 0.
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        if name.is_empty() {
            return Some(0);
        }
        self.table.load().numbers.get(name).copied()
    }

    /// The number of a set, which comes into being if it is new.
    ///
    /// # Errors
    /// When it cannot.
    pub fn find_or_make(&self, name: &[u8]) -> Result<u16, SetRefused> {
        if let Some(number) = self.find(name) {
            return Ok(number);
        }
        let rules = self.rules.lock();
        if let Some(number) = self.find(name) {
            return Ok(number);
        }
        let old = self.table.load();
        if name.len() > SET_BYTES_MAX || old.sets.len() > SETS_MAX {
            return Err(SetRefused);
        }
        let number = old.sets.len() as u16;
        if let Some(arena) = &self.arena {
            arena.add_name(number, name); // before an entry can have the number
        }
        let mut table = Table::clone(&old);
        table.add(name, rules.get(name).copied().unwrap_or_default());
        self.table.store(Arc::new(table));
        Ok(number)
    }

    /// The set of a number that was given out.
    pub fn get(&self, number: u16) -> Arc<Set> {
        self.table.load().sets[usize::from(number)].clone()
    }

    /// Runs `with` on a set without taking a share in it.
    pub(crate) fn with<R>(&self, number: u16, with: impl FnOnce(&Set) -> R) -> R {
        with(&self.table.load().sets[usize::from(number)])
    }

    /// Adds what a thread has counted.
    pub(crate) fn add(&self, counted: &SetCounts) {
        for (number, counts) in counted.0.iter().enumerate() {
            self.with(number as u16, |set| {
                set.count(counts.records, counts.tombstones, counts.bytes);
            });
        }
    }

    /// Numbers that were given out, 0 included.
    pub fn known(&self) -> usize {
        self.table.load().sets.len()
    }

    /// Every named set in order of first use.
    pub fn all(&self) -> Vec<Arc<Set>> {
        self.table.load().sets[1..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_its_number_and_the_table_its_bound() {
        let sets = Sets::default();
        assert_eq!(sets.find(b"a"), None);
        assert_eq!(sets.find(b""), Some(0));
        assert_eq!(sets.find_or_make(b"a"), Ok(1));
        assert_eq!(sets.find_or_make(b"b"), Ok(2));
        assert_eq!(sets.find_or_make(b"a"), Ok(1));
        assert_eq!(
            sets.find_or_make(&[b'x'; SET_BYTES_MAX + 1]),
            Err(SetRefused)
        );
        for number in 3..=SETS_MAX {
            assert_eq!(
                sets.find_or_make(number.to_string().as_bytes()),
                Ok(number as u16)
            );
        }
        assert_eq!(sets.find_or_make(b"one more"), Err(SetRefused));
        assert_eq!(&*sets.get(2).name, b"b");
    }

    #[test]
    fn sets_whose_names_an_index_keeps_have_their_numbers_again() {
        let arena = Arc::new(EntryArena::new(64).unwrap());
        let sets = Sets::named_in(arena.clone());
        let names = [&b"a"[..], &[b'x'; SET_BYTES_MAX], b"c"];
        for (number, name) in (1..).zip(names) {
            assert_eq!(sets.find_or_make(name), Ok(number));
        }
        let again = Sets::named_in(arena);
        for (number, name) in (1..).zip(names) {
            assert_eq!(again.find(name), Some(number));
            assert_eq!(&*again.get(number).name, name);
        }
        assert_eq!(again.find_or_make(b"d"), Ok(4));
    }
}

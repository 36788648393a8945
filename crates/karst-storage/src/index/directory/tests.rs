//! Promises of the directory and of its walks, kept under random histories.
//!
//! Universes are small and half of their digests collide in all 64 bits of the hash, so that long
//! chains, doubled inserts and removes of strangers are common.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use karst_data::key::Digest;
use proptest::prelude::*;

use super::super::hash::{colliding_digest, order};
use super::super::probe::Probe;
use super::super::walk::{Fate, WalkCursor};
use super::*;
use crate::index::Flags;
use crate::place::{DeviceId, Place, Rblocks, Version};

const KEY: HashKey = HashKey([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<Directory>(); // any core may step a partition
    is_sync::<EntryArena>(); // all partitions share it
};

/// A stream of numbers (SplitMix64) that its seed determines.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// The partition of all digests here.
const PARTITION: PartitionId = PartitionId(0);

fn digest(number: u64) -> Digest {
    let mut rng = Rng(number);
    let mut bytes = [0; Digest::BYTES];
    bytes.chunks_mut(8).for_each(|chunk| {
        let word = rng.next().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    });
    (bytes[0], bytes[1]) = (0, bytes[1] & 0xf0);
    Digest(bytes)
}

/// Digest `number` of a universe in which the first 40 collide.
fn crowded_digest(number: usize) -> Digest {
    let number = number as u64;
    if number < 40 {
        colliding_digest(&KEY, number)
    } else {
        digest(number)
    }
}

fn new_entry(digest: Digest, salt: u64) -> NewEntry {
    NewEntry {
        digest,
        place: Place {
            device: DeviceId(3),
            start: Rblocks(salt >> 32),
            length: Rblocks(9),
        },
        version: Version {
            regime: 1,
            sequence: salt & Version::SEQUENCE_MAX,
        },
        update_time_ms: salt,
        void_time_s: salt as u32,
        generation: 1 + (salt % 1000) as u16,
        set_id: salt as u16,
        flags: Flags::KEY_STORED,
    }
}

fn directory_for(entries_max: u64) -> (Arc<EntryArena>, Directory) {
    let arena = Arc::new(EntryArena::new(entries_max).expect("a small reservation"));
    (arena.clone(), Directory::new(arena, KEY, PARTITION))
}

fn filled(numbers: impl Iterator<Item = u64>) -> Directory {
    let (_, mut directory) = directory_for(1 << 20);
    for number in numbers {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
    }
    directory
}

fn rank(digest: &Digest) -> (u64, Digest) {
    (order(KEY.hash(digest)), *digest)
}

fn all(directory: &Directory) -> Vec<Digest> {
    let mut seen = vec![];
    let end = directory.walk(None, &mut |entry| {
        seen.push(*entry.digest());
        ControlFlow::Continue(())
    });
    assert_eq!(end, None);
    seen
}

/// A directory beside the map it must agree with.
struct Pair {
    directory: Directory,
    model: BTreeMap<Digest, NewEntry>,
}

impl Pair {
    fn insert(&mut self, digest: Digest, salt: u64) {
        let (new, buckets) = (new_entry(digest, salt), self.directory.buckets);
        let inserted = self.directory.insert(&new).map(|entry| entry.to_new());
        let known = self.model.contains_key(&digest);
        assert_eq!(
            inserted,
            if known {
                Err(InsertError::AlreadyPresent)
            } else {
                Ok(new)
            }
        );
        self.model.entry(digest).or_insert(new);
        let opened = if buckets == 0 { BUCKETS_MIN } else { 0 };
        let added_max = if known { 0 } else { 1 + opened };
        assert!(self.directory.buckets - buckets <= added_max);
    }

    fn remove(&mut self, digest: Digest) {
        let buckets = self.directory.buckets;
        let removed = self.directory.remove(&digest).map(|entry| entry.to_new());
        assert_eq!(removed, self.model.remove(&digest));
        assert!(buckets - self.directory.buckets <= MERGES_PER_REMOVE);
    }

    fn update(&mut self, digest: Digest, salt: u64) {
        let new = new_entry(digest, salt);
        let entry = self
            .directory
            .get_mut(&digest)
            .map(|mut entry| entry.rewrite(&new));
        assert_eq!(entry.is_some(), self.model.contains_key(&digest));
        self.model.entry(digest).and_modify(|old| *old = new);
    }

    fn check(&self) {
        self.directory.validate();
        assert_eq!(self.directory.len(), self.model.len());
        for number in 0..UNIVERSE {
            let digest = crowded_digest(number);
            let found = self.directory.get(&digest).map(Entry::to_new);
            assert_eq!(found, self.model.get(&digest).copied());
            let mut probe = Probe::new(&KEY, &digest);
            probe.fetch_table(&self.directory);
            probe.fetch_bucket(&self.directory);
            probe.fetch_entry(&self.directory);
            probe.fetch_next(&self.directory, &digest);
            self.directory.prefetch_insert();
        }
    }
}

const UNIVERSE: usize = 1_500;

/// A stretch of a history: how many operations, and how many in a hundred insert.
fn any_history() -> impl Strategy<Value = Vec<(usize, usize, u64)>> {
    let share = prop_oneof![Just(2usize), Just(45), Just(95)];
    proptest::collection::vec((0..2_500usize, share, any::<u64>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_directory_agrees_with_a_map_whatever_its_history(history in any_history()) {
        let (_, directory) = directory_for(1 << 16);
        let mut pair = Pair { directory, model: BTreeMap::new() };
        for (operations, inserts_percent, seed) in history {
            let mut rng = Rng(seed);
            for _ in 0..operations {
                let digest = crowded_digest(rng.below(UNIVERSE));
                let dice = rng.below(110);
                if dice < inserts_percent {
                    pair.insert(digest, rng.next());
                } else if dice < 100 {
                    pair.remove(digest);
                } else {
                    pair.update(digest, rng.next());
                }
            }
            pair.check();
        }
    }

    #[test]
    fn a_walk_in_slices_visits_once_what_stays_and_at_most_once_what_comes_and_goes(
        stays in 0..800usize,
        churn in 0..400usize,
        slice_max in 1..200usize,
        seed: u64,
    ) {
        let mut rng = Rng(seed);
        let (_, mut directory) = directory_for(1 << 16);
        let stayers: BTreeSet<_> = (0..stays).map(|_| crowded_digest(rng.below(UNIVERSE))).collect();
        for digest in &stayers {
            directory.insert(&new_entry(*digest, 1)).expect("room");
        }
        let (mut seen, mut cursor): (Vec<Digest>, _) = (vec![], None);
        loop {
            let mut left = 1 + rng.below(slice_max);
            cursor = directory.walk(cursor, &mut |entry| {
                seen.push(*entry.digest());
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if cursor.is_none() {
                break;
            }
            for _ in 0..churn {
                let guest = crowded_digest(rng.below(2 * UNIVERSE));
                if !stayers.contains(&guest) && directory.remove(&guest).is_none() {
                    directory.insert(&new_entry(guest, 2)).expect("room");
                }
            }
        }
        directory.validate();
        prop_assert!(seen.is_sorted_by(|a, b| rank(a) < rank(b)), "in order, so none twice");
        let seen: BTreeSet<_> = seen.into_iter().collect();
        prop_assert!(stayers.is_subset(&seen));
    }

    #[test]
    fn a_sweep_in_slices_removes_the_doomed_and_keeps_the_others(
        records in 0..1_500u64,
        doomed_percent in 0..=100u64,
        slice_max in 1..300usize,
    ) {
        let mut directory = filled(0..records);
        let is_doomed = |entry: &Entry| entry.update_time_ms() % 100 < doomed_percent;
        let (mut cursor, mut visits) = (None, 0);
        loop {
            let mut left = slice_max;
            cursor = directory.walk_mut(cursor, &mut |mut entry| {
                (visits, left) = (visits + 1, left - 1);
                entry.set_set_id(77);
                let fate = if is_doomed(&entry) { Fate::Remove } else { Fate::Keep };
                if left == 0 { ControlFlow::Break(fate) } else { ControlFlow::Continue(fate) }
            });
            if cursor.is_none() {
                break;
            }
        }
        directory.validate();
        prop_assert_eq!(visits, records);
        for number in 0..records {
            let kept = directory.get(&digest(number)).map(|entry| entry.set_id());
            prop_assert_eq!(kept, (number % 100 >= doomed_percent).then_some(77));
        }
    }
}

#[test]
fn the_order_of_a_walk_does_not_depend_on_how_the_directory_grew() {
    let small = filled(0..200);
    let mut large = filled((0..5_000).rev());
    for number in 200..5_000 {
        large.remove(&digest(number));
    }
    assert!(large.buckets > small.buckets, "the two differ in shape");
    assert_eq!(all(&large), all(&small));
    assert!(all(&small).is_sorted_by_key(rank));
}

#[test]
fn a_walk_resumes_after_any_digest_known_or_not() {
    let directory = filled(0..1_000);
    let order = all(&directory);
    for number in 900..1_100 {
        let digest = digest(number);
        let mut next = None;
        directory.walk(Some(WalkCursor::after(digest)), &mut |entry| {
            next = Some(*entry.digest());
            ControlFlow::Break(())
        });
        assert_eq!(
            next,
            order
                .iter()
                .find(|other| rank(other) > rank(&digest))
                .copied()
        );
    }
}

#[test]
fn a_walk_of_an_empty_directory_ends_at_once() {
    let mut directory = filled(0..0);
    assert_eq!(all(&directory), []);
    directory.insert(&new_entry(digest(1), 1)).expect("room");
    directory.remove(&digest(1));
    assert_eq!(all(&directory), []);
    assert_eq!(
        directory.walk_mut(None, &mut |_| unreachable!("there is nothing to visit")),
        None
    );
}

#[test]
fn growth_adds_at_most_one_bucket_an_insert_and_one_small_piece_of_each_kind() {
    let (arena, mut directory) = directory_for(1 << 20);
    for number in 0..30_000 {
        let before = (
            directory.buckets,
            directory.segments.len(),
            arena.pages_in_use(),
        );
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
        assert!(directory.buckets <= before.0.max(BUCKETS_MIN) + 1);
        assert!(directory.segments.len() <= before.1 + 1);
        assert!(arena.pages_in_use() <= before.2 + 1);
        assert!(
            directory.len() <= directory.buckets as usize,
            "one record a bucket at most"
        );
    }
    assert_eq!(directory.buckets, 30_000);
    directory.validate();
}

#[test]
fn growth_ahead_and_a_fit_leave_what_growth_one_by_one_would_have() {
    for records in [0, 1, 255, 256, 257, 5_000] {
        let (_, mut directory) = directory_for(1 << 20);
        for number in 0..records {
            directory.grow_ahead(1);
            let buckets = directory.buckets;
            let new = new_entry(digest(number), number);
            directory.insert(&new).expect("room");
            assert!(buckets == 0 || directory.buckets == buckets, "no split");
        }
        directory.validate();
        directory.fit();
        directory.validate();
        let one_by_one = filled(0..records);
        let size = |of: &Directory| (of.buckets.max(BUCKETS_MIN), of.len, of.pages.len());
        assert_eq!(size(&directory), size(&one_by_one));
        assert_eq!(all(&directory), all(&one_by_one));
    }
}

#[test]
fn room_made_at_once_for_all_that_comes_is_no_more_than_that() {
    let (_, mut directory) = directory_for(1 << 20);
    directory.grow_ahead(3_000);
    for number in 0..3_000 {
        let new = new_entry(digest(number), number);
        directory.insert(&new).expect("room");
    }
    directory.validate();
    assert_eq!(directory.buckets, 3_000);
}

#[test]
fn slots_that_removes_left_stay_vacant_when_all_entries_are_chained_anew() {
    let (_, mut directory) = directory_for(1 << 20);
    for number in 0..2_000 {
        directory.grow_ahead(1);
        let new = new_entry(digest(number), number);
        directory.insert(&new).expect("room");
        if number % 3 == 0 {
            assert!(directory.remove(&digest(number / 2)).is_some());
        }
    }
    directory.fit();
    directory.validate();
    assert_eq!(directory.buckets, directory.len.max(BUCKETS_MIN));
}

#[test]
fn removes_keep_the_directory_dense_and_give_its_memory_back() {
    let (arena, mut directory) = directory_for(1 << 20);
    for number in 0..30_000 {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
    }
    for number in 0..30_000 {
        let pages = arena.pages_in_use();
        directory.remove(&digest(number)).expect("it was inserted");
        assert!(!directory.is_sparse());
        assert!(pages - arena.pages_in_use() <= PAGES_PER_REMOVE);
    }
    while directory.shrink() {}
    assert_eq!((directory.segments.len(), arena.pages_in_use()), (1, 1));
    let tables = directory.segments.heap_bytes() + directory.pages.heap_bytes();
    assert!(tables < 300, "one chunk of each table, not {tables} bytes");
    directory.validate();
}

#[test]
fn a_directory_emptied_in_the_middle_of_shrinking_fills_again() {
    let mut directory = filled(0..10_000);
    for number in 0..10_000 {
        directory.remove(&digest(number)).expect("it was inserted");
    }
    assert!(
        directory.pages.len() > 1,
        "pages are given back a few at a time"
    );
    for number in 0..10_000 {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
    }
    directory.validate();
}

#[test]
fn a_dropped_directory_returns_every_page() {
    let (arena, mut directory) = directory_for(1 << 20);
    for number in 0..5_000 {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
    }
    assert_eq!(arena.pages_in_use(), 5_000u32.div_ceil(64));
    drop(directory);
    assert_eq!(arena.pages_in_use(), 0);
}

#[test]
fn freed_slots_are_used_again_before_new_pages() {
    let (arena, mut directory) = directory_for(1 << 20);
    for number in 0..100_000 {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
        if number >= 1_000 {
            directory
                .remove(&digest(number - 1_000))
                .expect("a thousand inserts old");
        }
    }
    assert_eq!(arena.pages_in_use(), 1_001u32.div_ceil(64));
    directory.validate();
}

#[test]
fn an_insert_into_a_full_arena_changes_nothing() {
    let (arena, mut directory) = directory_for(128);
    for number in 0..128 {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("two pages");
    }
    let full = InsertError::ArenaFull(ArenaFull::Limit { pages_max: 2 });
    let refused = directory.insert(&new_entry(digest(128), 128));
    assert_eq!(refused.map(|entry| entry.to_new()), Err(full));
    directory.validate();
    assert_eq!((directory.len(), arena.pages_in_use()), (128, 2));
    directory.remove(&digest(5)).expect("it was inserted");
    directory
        .insert(&new_entry(digest(128), 128))
        .expect("room again");
}

#[test]
fn a_partition_out_of_handles_refuses_rather_than_wrap() {
    let (_, mut directory) = directory_for(1 << 20);
    directory.slots = RECORDS_MAX; // filling it would take a gigabyte
    let refused = directory.insert(&new_entry(digest(1), 1));
    assert_eq!(
        refused.map(|entry| entry.to_new()),
        Err(InsertError::PartitionFull)
    );
    assert_eq!((directory.len(), directory.slots), (0, RECORDS_MAX));
    directory.slots = RECORDS_MAX - 1;
    assert!(
        Link::to(Handle(directory.slots), 0).handle().is_some(),
        "the last handle fits"
    );
}

#[test]
fn an_empty_directory_owns_no_memory_but_itself() {
    let (arena, directory) = directory_for(1 << 20);
    assert_eq!(directory.memory_bytes(), size_of::<Directory>() as u64);
    assert_eq!(arena.pages_in_use(), 0);
}

#[test]
fn a_record_takes_at_most_72_bytes_all_in_from_two_thousand_a_partition() {
    let mut directory = filled(0..2_000); // ten million records are 2441 a partition
    for number in 2_000..6_000 {
        directory
            .insert(&new_entry(digest(number), number))
            .expect("room");
        let mutex_bytes = 8;
        let bytes = directory.memory_bytes() + mutex_bytes;
        assert!(
            bytes <= 72 * directory.len() as u64,
            "{bytes} bytes for {number} records"
        );
    }
}

#[test]
fn six_strangers_in_seven_are_ruled_out_by_the_bucket_head_alone() {
    let directory = filled(0..4_096); // just at one record a bucket
    assert_eq!(directory.buckets, 4_096);
    let needs_entry = |number| {
        let hash = KEY.hash(&digest(number));
        directory.first(hash).towards(tag_bit(hash)).is_some()
    };
    let touched = (10_000..80_000)
        .filter(|number| needs_entry(*number))
        .count();
    assert!(
        touched * 7 < 70_000,
        "{touched} of 70000 misses went on to an entry"
    );
}

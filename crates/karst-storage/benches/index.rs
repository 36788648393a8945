//! What the primary index costs: memory per record, and time per insert, hit, miss and batch.
//!
//! `cargo bench -p karst-storage --bench index -- --records 10000000`
//!
//! Sets up one namespace as a node does: 4096 directories, each under its mutex, out of one arena on
//! huge pages where there are some. Memory is the growth of the process's resident size from before
//! the arena to after the last insert, so it includes mutexes, tables and what the allocator wastes.
//! Single-threaded; every figure includes locking, and insert times include reading the clock.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_storage::index::{Directory, EntryArena, Flags, HashKey, NewEntry};
use karst_storage::place::{DeviceId, Place, Rblocks, Version};
use parking_lot::Mutex;

const RECORDS: u64 = 10_000_000;
const LOOKUPS: u64 = 5_000_000;
const BATCH: usize = 16;
const PAGE_BYTES: u64 = 4096; // of the system, in /proc/self/statm

fn main() {
    let records = records_from(std::env::args().skip(1));
    let mut insert_ns = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
    insert_ns.record(1).expect("within bounds"); // its memory is resident before we look
    insert_ns.reset();

    let before_bytes = resident_bytes();
    let namespace = Namespace::new(records);
    let before_preempted = times_preempted();
    let insert_mean_ns = namespace.fill(records, &mut insert_ns);
    let preempted = times_preempted() - before_preempted;
    let resident = (resident_bytes() - before_bytes) as f64 / records as f64;
    let counted = namespace.memory_bytes() as f64 / records as f64;

    let hit_ns = mean_ns(LOOKUPS, |n| {
        assert!(namespace.has(&digest(mix(n) % records)))
    });
    let miss_ns = mean_ns(LOOKUPS, |n| assert!(!namespace.has(&digest(records + n))));
    let batches = LOOKUPS / BATCH as u64;
    let batch_ns = mean_ns(batches, |n| namespace.batch(n, records)) / BATCH as f64;
    let digest_ns = mean_ns(LOOKUPS, |n| {
        black_box(digest(mix(n) % records));
    });

    let quantile_us = |quantile| insert_ns.value_at_quantile(quantile) as f64 / 1_000.0;
    println!("records                         {records:>12}");
    println!(
        "huge pages advised              {:>12}",
        namespace.huge_pages
    );
    println!("resident bytes per record       {resident:>12.2}");
    println!("counted bytes per record        {counted:>12.2}");
    println!("insert mean ns                  {insert_mean_ns:>12.0}");
    println!("insert p50 us                   {:>12.2}", quantile_us(0.5));
    println!(
        "insert p99 us                   {:>12.2}",
        quantile_us(0.99)
    );
    println!(
        "insert p99.99 us                {:>12.2}",
        quantile_us(0.9999)
    );
    println!(
        "insert max us                   {:>12.2}",
        insert_ns.max() as f64 / 1_000.0
    );
    let slow = insert_ns.count_between(100_000, insert_ns.max());
    println!("inserts of 100 us or more       {slow:>12}");
    println!("times preempted meanwhile       {preempted:>12}");
    println!("hit ns                          {hit_ns:>12.0}");
    println!("miss ns                         {miss_ns:>12.0}");
    println!("batch of {BATCH}, ns per hit          {batch_ns:>12.0}");
    println!("of which making a digest, ns    {digest_ns:>12.0}");
}

/// The index of one namespace.
struct Namespace {
    partitions: Vec<Mutex<Directory>>,
    huge_pages: bool,
}

impl Namespace {
    fn new(records: u64) -> Namespace {
        let arena = EntryArena::new(records + 64 * PARTITIONS as u64).expect("address space");
        let huge_pages = arena.advise_huge_pages().is_ok();
        let (arena, key) = (Arc::new(arena), HashKey([mix(1), mix(2)]));
        let directory = |id| Mutex::new(Directory::new(arena.clone(), key, id));
        Namespace {
            partitions: PartitionId::all().map(directory).collect(),
            huge_pages,
        }
    }

    /// Inserts records 0.. one by one and returns the mean time, that of the clock excluded.
    fn fill(&self, records: u64, insert_ns: &mut Histogram<u64>) -> f64 {
        let started = Instant::now();
        for number in 0..records {
            let new = new_entry(number);
            let insert_started = Instant::now();
            self.partition(&new.digest)
                .lock()
                .insert(&new)
                .expect("room was reserved");
            let elapsed_ns = insert_started.elapsed().as_nanos() as u64;
            insert_ns
                .record(elapsed_ns)
                .expect("an insert of less than a minute");
        }
        let all_ns = started.elapsed().as_nanos() as f64 / records as f64;
        let clock_ns = mean_ns(1_000_000, |n| {
            black_box((new_entry(n), Instant::now().elapsed()));
        });
        all_ns - clock_ns
    }

    fn partition(&self, digest: &Digest) -> &Mutex<Directory> {
        &self.partitions[digest.partition().index()]
    }

    fn has(&self, digest: &Digest) -> bool {
        self.partition(digest)
            .lock()
            .get(digest)
            .is_some_and(|entry| entry.generation() == 1)
    }

    /// Looks up sixteen records the way a batch request does.
    fn batch(&self, seed: u64, records: u64) {
        let number = |at| mix(seed * BATCH as u64 + at as u64) % records;
        let digests: [Digest; BATCH] = std::array::from_fn(|at| digest(number(at)));
        for digest in &digests {
            self.partition(digest).lock().prefetch_bucket(digest);
        }
        for digest in &digests {
            self.partition(digest).lock().prefetch_entry(digest);
        }
        assert!(digests.iter().all(|digest| self.has(digest)));
    }

    fn memory_bytes(&self) -> u64 {
        let around = (size_of::<Mutex<Directory>>() - size_of::<Directory>()) as u64;
        self.partitions
            .iter()
            .map(|partition| partition.lock().memory_bytes() + around)
            .sum()
    }
}

/// Mean time of a call, in nanoseconds, over calls with 0, 1, 2, ...
fn mean_ns(calls: u64, mut call: impl FnMut(u64)) -> f64 {
    let started = Instant::now();
    (0..calls).for_each(&mut call);
    started.elapsed().as_nanos() as f64 / calls as f64
}

fn new_entry(number: u64) -> NewEntry {
    NewEntry {
        digest: digest(number),
        place: Place {
            device: DeviceId(0),
            start: Rblocks(number),
            length: Rblocks(64),
        },
        version: Version {
            regime: 1,
            sequence: number,
        },
        update_time_ms: number,
        void_time_s: 0,
        generation: 1,
        set_id: 1,
        flags: Flags::NONE,
    }
}

/// The digest of record `number`, as if random; made when needed, so that it takes no memory.
fn digest(number: u64) -> Digest {
    let words = [mix(number), mix(number ^ 1 << 62), mix(number ^ 1 << 63)];
    let mut bytes = [0; Digest::BYTES];
    for (chunk, word) in bytes.chunks_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    Digest(bytes)
}

/// The finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Resident size of this process in bytes.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("statm has a second number") * PAGE_BYTES
}

/// How often this process had to yield its CPU: the machine's share in the slowest inserts.
fn times_preempted() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("status counts context switches")
}

/// The value of `--records`; cargo itself adds `--bench`.
fn records_from(mut arguments: impl Iterator<Item = String>) -> u64 {
    let mut records = RECORDS;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--records" => {
                let value = arguments.next().and_then(|value| value.parse().ok());
                records = value
                    .filter(|value| *value > 0)
                    .expect("--records takes a number");
            }
            other => panic!("unknown argument {other}; there is only --records N"),
        }
    }
    records
}

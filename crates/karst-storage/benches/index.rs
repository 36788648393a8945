//! What the primary index costs: memory per record, and time per insert, hit, miss and batch.
//!
//! `cargo bench -p karst-storage --bench index -- --records 10000000`
//! `cargo bench -p karst-storage --bench index -- --records 10000000 --shared /dev/shm`
//!
//! With `--shared` the index lies in a file of that folder, prepared ahead by a second thread as in a
//! node, and is at last given up and attached again, on two threads; the file is removed in the end.
//!
//! Sets up one namespace as a node does: 4096 directories, each under its mutex, out of one arena on
//! huge pages where there are some. Memory is the growth of the process's resident size from before
//! the arena to after the last insert, so it includes mutexes, tables and what the allocator wastes;
//! shared memory counts as it is allocated, touched or not. Single-threaded but for what was said;
//! every figure includes locking, and quantiles of inserts include reading the clock. Means are CPU time
//! of the thread, which a busy machine disturbs less than the time on the wall.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_io::buffer::Region;
use karst_io::shm::SharedFile;
use karst_storage::index::{
    Attach, Directory, EntryArena, Flags, HashKey, NewEntry, Owner, Probe, State, prefetch_object,
};
use karst_storage::place::{DeviceId, Place, Rblocks, Version};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

const RECORDS: u64 = 10_000_000;
const LOOKUPS: u64 = 5_000_000;
const BATCH: usize = 16;
const ATTACH_THREADS: usize = 2;
const AHEAD_BYTES: usize = 64 << 20;
const SESSION: u64 = 1;
const KEY: HashKey = HashKey([0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321]);

fn main() {
    let Arguments { records, shared } = Arguments::from(std::env::args().skip(1));
    let file = shared.map(|folder| folder.join(format!("karst-bench-{}", std::process::id())));
    let mut insert_ns = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
    insert_ns.record(1).expect("within bounds"); // its memory is resident before we look
    insert_ns.reset();

    let before_bytes = resident_bytes();
    let namespace = Namespace::new(records, file.as_deref());
    let before_preempted = times_preempted();
    let insert_mean_ns = namespace.while_prepared(|| namespace.fill(records, &mut insert_ns));
    let preempted = times_preempted() - before_preempted;
    let grown_bytes = resident_bytes() - before_bytes + namespace.shared_bytes();
    let resident = grown_bytes as f64 / records as f64;
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
    println!(
        "shared MiB allocated            {:>12}",
        namespace.shared_bytes() >> 20
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
    if let Some(file) = file {
        drop(namespace);
        report_attach(&file, records);
        fs::remove_file(file).expect("it was made here");
    }
}

/// Attaches the index again and prints what that took.
fn report_attach(file: &Path, records: u64) {
    let before_cpu_ns = cpu_ns(ClockId::ProcessCPUTime);
    let started = Instant::now();
    let attach = EntryArena::attach(
        region(file, records),
        entries_max(records),
        &owner(),
        SESSION,
    );
    let attach = attach.expect("it was given up in order");
    let survey_s = started.elapsed().as_secs_f64();
    let namespace = Namespace::attached(&attach);
    let (attach_s, attach_cpu_s) = (
        started.elapsed().as_secs_f64(),
        (cpu_ns(ClockId::ProcessCPUTime) - before_cpu_ns) as f64 / 1e9,
    );
    let found: u64 = namespace
        .partitions
        .iter()
        .map(|partition| partition.lock().len() as u64)
        .sum();
    assert!(
        found == records,
        "{found} of {records} records were attached"
    );
    let hit_ns = mean_ns(LOOKUPS, |n| {
        assert!(namespace.has(&digest(mix(n) % records)))
    });
    println!("attach on {ATTACH_THREADS} threads, s         {attach_s:>12.3}");
    println!("CPU time of that, s             {attach_cpu_s:>12.2}");
    println!("of which before the first, s    {survey_s:>12.3}");
    println!("hit ns after it                 {hit_ns:>12.0}");
}

/// The index of one namespace.
struct Namespace {
    partitions: Vec<Mutex<Directory>>,
    arena: Arc<EntryArena>,
    huge_pages: bool,
}

impl Namespace {
    fn new(records: u64, file: Option<&Path>) -> Namespace {
        let arena = match file {
            None => EntryArena::new(entries_max(records)).expect("address space"),
            Some(file) => {
                let region = region(file, records);
                let arena = EntryArena::create(region, entries_max(records), &owner());
                let arena = arena.expect("shared memory");
                arena.set_session(SESSION);
                arena.set_state(State::Serving);
                arena
            }
        };
        let huge_pages = arena.advise_huge_pages().is_ok();
        let (arena, key) = (Arc::new(arena), KEY);
        let directory = |id| Mutex::new(Directory::new(arena.clone(), key, id));
        Namespace {
            partitions: PartitionId::all().map(directory).collect(),
            arena,
            huge_pages,
        }
    }

    /// What an earlier one left, its partitions dealt out to threads in turn.
    fn attached(attach: &Attach) -> Namespace {
        let next = AtomicUsize::new(0);
        let some = || {
            let mut some = vec![];
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = PartitionId::all().nth(id) else {
                    return some;
                };
                let directory = attach.partition(id, |entry| {
                    black_box(entry.place());
                    Ok(())
                });
                some.push((id, Mutex::new(directory.expect("nothing is damaged"))));
            }
        };
        let mut all: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..ATTACH_THREADS).map(|_| scope.spawn(some)).collect();
            let each = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            each.flatten().collect()
        });
        all.sort_unstable_by_key(|(id, _)| *id);
        Namespace {
            partitions: all.into_iter().map(|(_, directory)| directory).collect(),
            arena: attach.arena().clone(),
            huge_pages: false,
        }
    }

    /// Does something while another thread sees to it that shared memory is there ahead of use.
    fn while_prepared<R>(&self, something: impl FnOnce() -> R) -> R {
        while self
            .arena
            .prepare_ahead(AHEAD_BYTES)
            .expect("shared memory")
        {}
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    if !self
                        .arena
                        .prepare_ahead(AHEAD_BYTES)
                        .expect("shared memory")
                    {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            let result = something();
            done.store(true, Ordering::Release);
            result
        })
    }

    fn shared_bytes(&self) -> u64 {
        if self.arena.is_shared() {
            self.arena.memory_bytes()
        } else {
            0
        }
    }

    /// Inserts records 0.. one by one and returns the mean time, that of the clock excluded.
    fn fill(&self, records: u64, insert_ns: &mut Histogram<u64>) -> f64 {
        let started_ns = cpu_ns(ClockId::ThreadCPUTime);
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
        let all_ns = (cpu_ns(ClockId::ThreadCPUTime) - started_ns) as f64 / records as f64;
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
        let mut probes = digests.each_ref().map(|digest| {
            prefetch_object(self.partition(digest));
            Probe::new(&KEY, digest)
        });
        for (digest, probe) in digests.iter().zip(&probes) {
            probe.fetch_table(&self.partition(digest).lock());
        }
        for (digest, probe) in digests.iter().zip(&probes) {
            probe.fetch_bucket(&self.partition(digest).lock());
        }
        for (digest, probe) in digests.iter().zip(&mut probes) {
            probe.fetch_entry(&self.partition(digest).lock());
        }
        for (digest, probe) in digests.iter().zip(&probes) {
            if probe.leads_on() {
                probe.fetch_next(&self.partition(digest).lock(), digest);
            }
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

/// Mean CPU time of a call, in nanoseconds, over calls with 0, 1, 2, ...
fn mean_ns(calls: u64, mut call: impl FnMut(u64)) -> f64 {
    let started_ns = cpu_ns(ClockId::ThreadCPUTime);
    (0..calls).for_each(&mut call);
    (cpu_ns(ClockId::ThreadCPUTime) - started_ns) as f64 / calls as f64
}

/// CPU time of this thread or process so far, in nanoseconds.
fn cpu_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
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

/// Anonymous memory of this process in bytes, as far as it is resident.
fn resident_bytes() -> u64 {
    let kib: u64 = status("RssAnon:")
        .trim_end_matches(" kB")
        .parse()
        .expect("a number of kB");
    kib << 10
}

/// How often this process had to yield its CPU: the machine's share in the slowest inserts.
fn times_preempted() -> u64 {
    status("nonvoluntary_ctxt_switches:")
        .parse()
        .expect("a number of switches")
}

/// What the kernel says of this process.
fn status(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let mut values = status.lines().filter_map(|line| line.strip_prefix(name));
    values
        .next()
        .expect("the kernel counts it")
        .trim()
        .to_owned()
}

fn entries_max(records: u64) -> u64 {
    records + 64 * PARTITIONS as u64
}

fn region(file: &Path, records: u64) -> Region {
    let file = SharedFile::open(file).expect("a file of shared memory");
    let bytes = EntryArena::region_bytes(entries_max(records)).expect("an index of this size");
    Region::shared(file, bytes).expect("address space")
}

fn owner() -> Owner<'static> {
    Owner {
        boot_id: karst_io::shm::boot_id().expect("Linux"),
        cluster_id: [0; 16],
        namespace: b"bench",
        key: KEY,
    }
}

/// The options; cargo itself adds `--bench`.
struct Arguments {
    records: u64,
    shared: Option<PathBuf>,
}

impl Arguments {
    fn from(mut arguments: impl Iterator<Item = String>) -> Arguments {
        let (mut records, mut shared) = (RECORDS, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--records" => {
                    let value = arguments.next().and_then(|value| value.parse().ok());
                    let value = value.filter(|value| *value > 0);
                    records = value.expect("--records takes a number");
                }
                "--shared" => {
                    let folder = arguments.next().expect("--shared takes a folder");
                    shared = Some(folder.into());
                }
                other => panic!("unknown argument {other}; there are --records N, --shared DIR"),
            }
        }
        Arguments { records, shared }
    }
}

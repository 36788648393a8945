//! What is gone stays gone: expired, evicted, truncated and deleted records over restarts, and after
//! enough churn that tombstones are dropped; and what makes room when there is none.
//!
//! One thread plays clients, devices, sweep and defrag in an order drawn from a seed. Everything is
//! durable before a restart, so after it each key has to be exactly as a plain map says.

mod rng;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::evict::with_mark;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::write::{DeleteRequest, Hand, WriteRequest, Written};
use karst_engine::{
    EvictionMark, Fetched, Life, Namespace, NamespaceConfig, Reason, Refusal, SetRules, Step,
};
use karst_io::buffer::AlignedBuffer;
use karst_storage::expire::{Cut, Survey};
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::recover::Scanned;
use karst_storage::log::{BlockId, DeviceGeometry, DeviceRead, DeviceWrite, Log, LogConfig};
use karst_storage::place::DeviceId;
use rng::Rng;

const BLOCK_BYTES: usize = 16 << 10;
const DEVICES: usize = 2;
const SECTOR_BYTES: u32 = 512;
const CORES: u16 = 1;

/// Sets of the keys, by the key's number: records of the second are never evicted.
const SETS: [&[u8]; 3] = [b"demo", b"kept", b"other"];

/// A record as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    tag: u64,
    /// The last second of its life; `None` is for ever.
    until_s: Option<u64>,
}

/// How a world is laid out.
#[derive(Clone, Copy)]
struct Shape {
    blocks: u32,
    index_entries: u64,
    value_bytes: usize,
}

const SMALL: Shape = Shape {
    blocks: 8,
    index_entries: 1 << 20,
    value_bytes: 1500,
};

struct World {
    shape: Shape,
    rng: Rng,
    namespace: Namespace,
    devices: Vec<Vec<u8>>,
    out: Vec<DeviceWrite>,
    now_ms: u64,
    model: BTreeMap<u64, Model>,
    /// What the node keeps in files.
    evictions: Vec<EvictionMark>,
    truncations: BTreeMap<Option<&'static [u8]>, u64>,
    /// Partitions that ever had a record.
    partitions: BTreeSet<PartitionId>,
    tombstones_dropped: u64,
    evicted: u64,
    expired: u64,
}

fn set_of(key: u64) -> &'static [u8] {
    SETS[(key % 3) as usize]
}

fn digest(key: u64) -> Digest {
    Digest::of(set_of(key), KeyBytes::Integer(key as i64))
}

fn open(shape: Shape) -> Namespace {
    let spared = SetRules {
        disable_eviction: true,
        ..SetRules::default()
    };
    let sets = vec![(b"kept".as_slice().into(), spared)];
    open_with(
        shape,
        Life {
            sets,
            ..Life::default()
        },
    )
}

fn open_with(shape: Shape, life: Life) -> Namespace {
    let geometry = |number| DeviceGeometry {
        number,
        blocks: shape.blocks,
        sector_bytes: SECTOR_BYTES,
    };
    let log = Log::new(LogConfig {
        on_devices: true,
        block_bytes: BLOCK_BYTES as u32,
        devices: (0..DEVICES as u64)
            .map(|device| geometry(device + 7))
            .collect(),
        cores: CORES,
        cache_bytes: BLOCK_BYTES as u64,
        defrag_low_water_percent: 50,
    });
    let config = NamespaceConfig {
        name: "test".into(),
        default_ttl_s: 0,
        record_bytes_max: BLOCK_BYTES - 64,
        commit_to_device: false,
        flush_ms_max: 10,
        strong: false,
    };
    let arena = Arc::new(EntryArena::new(shape.index_entries).unwrap());
    Namespace::new(config, log.unwrap(), arena, HashKey([3, 4])).with_life(&life)
}

impl World {
    fn new(seed: u64, shape: Shape) -> World {
        World {
            shape,
            rng: Rng(seed),
            namespace: open(shape),
            devices: vec![vec![0; BLOCK_BYTES * (shape.blocks as usize + 1)]; DEVICES],
            out: Vec::new(),
            now_ms: 1_000_000_000,
            model: BTreeMap::new(),
            evictions: Vec::new(),
            truncations: BTreeMap::new(),
            partitions: BTreeSet::new(),
            tombstones_dropped: 0,
            evicted: 0,
            expired: 0,
        }
    }

    fn now(&self) -> Now {
        Now::from_epoch_ms(self.now_ms)
    }

    fn hand(&self) -> Hand {
        Hand {
            lane: self.namespace.log().write_lane(0),
            now: self.now(),
            flush_clock_ms: self.now_ms,
            regime: FIRST_REGIME,
            replicated: false,
        }
    }

    fn fetch(&self, read: DeviceRead) -> Fetched {
        let mut buffer = AlignedBuffer::with_capacity(read.bytes);
        let from = read.offset as usize;
        let bytes = &self.devices[usize::from(read.device.0)][from..from + read.bytes];
        buffer.as_mut_slice().copy_from_slice(bytes);
        Fetched { read, buffer }
    }

    fn put(&mut self, key: u64, ttl_s: Option<u32>) {
        let put = self.try_put(key, ttl_s);
        put.unwrap_or_else(|reason| panic!("key {key} was refused: {reason}"));
    }

    fn try_put(&mut self, key: u64, ttl_s: Option<u32>) -> Result<(), Reason> {
        self.partitions.insert(digest(key).partition());
        let tag = self.rng.next();
        let bytes = 8 + self.rng.below(self.shape.value_bytes as u64) as usize;
        let value: Vec<u8> = tag
            .to_le_bytes()
            .iter()
            .copied()
            .cycle()
            .take(bytes)
            .collect();
        let operations = [Operation::Write(
            b"v",
            Some(Value {
                particle: ParticleType::Blob,
                bytes: value.as_slice().into(),
            }),
        )];
        let request = WriteRequest {
            digest: digest(key),
            set: set_of(key),
            key: None,
            exists: Exists::Replace,
            generation: GenerationRule::Any,
            ttl: ttl_s.map_or(Ttl::Never, Ttl::Seconds),
            flags: CommandFlags::default(),
            operations: &operations,
            filter: None,
        };
        for _ in 0..300 {
            let hand = self.hand();
            match self.namespace.write(&hand, &request, None, outcome) {
                Step::Done(Ok(())) => {
                    let until_s = ttl_s.map(|ttl| self.now_ms / 1000 + u64::from(ttl));
                    self.model.insert(key, Model { tag, until_s });
                    return Ok(());
                }
                Step::Done(Err(reason)) => return Err(reason),
                Step::Read(_) => panic!("a replace without a stored key reads nothing"),
                Step::Wait => self.make_room(),
            }
        }
        panic!("a write of key {key} waits for ever");
    }

    /// Deletes a key; `false` when there was none.
    fn delete(&mut self, key: u64) -> bool {
        let request = DeleteRequest {
            digest: digest(key),
            set: set_of(key),
            key: None,
            generation: GenerationRule::Any,
            filter: None,
        };
        for _ in 0..300 {
            let hand = self.hand();
            match self.namespace.delete(&hand, &request, None, outcome) {
                Step::Done(Ok(())) => {
                    self.model.remove(&key);
                    return true;
                }
                Step::Done(Err(Reason::NotFound)) => return false,
                Step::Done(Err(reason)) => panic!("a delete was refused: {reason}"),
                Step::Read(_) => panic!("a delete without a key reads nothing"),
                Step::Wait => self.make_room(),
            }
        }
        panic!("a delete found no room");
    }

    /// The tag of the value that is read, if the record is there.
    fn read(&self, key: u64) -> Option<u64> {
        let request = ReadRequest {
            digest: digest(key),
            set: b"",
            key: None,
            need: Need::Bins,
            filter: None,
        };
        let mut fetched = None;
        for _ in 0..3 {
            let step =
                self.namespace.read(
                    self.now(),
                    &request,
                    fetched.as_ref(),
                    |found| match found {
                        Ok(found) => {
                            let record = found.record.expect("bins were asked for");
                            let value = record.bin(b"v").expect("every record has it").value;
                            Some(u64::from_le_bytes(
                                *value.first_chunk().expect("eight bytes"),
                            ))
                        }
                        Err(refusal) if refusal.reason == Reason::NotFound => None,
                        Err(refusal) => panic!("key {key} cannot be read: {}", refusal.reason),
                    },
                );
            match step {
                Step::Done(value) => return value,
                Step::Read(read) => fetched = Some(self.fetch(read)),
                Step::Wait => panic!("a read does not wait for room"),
            }
        }
        panic!("nothing moves under this read");
    }

    fn flush(&mut self) {
        let log = self.namespace.log();
        log.flush(log.write_lane(0), u64::MAX);
        log.flush(log.move_lane(0), u64::MAX);
        log.take_writes(log.write_lane(0), &mut self.out);
        log.take_writes(log.move_lane(0), &mut self.out);
        for write in std::mem::take(&mut self.out) {
            self.put_down(&write);
            self.namespace.log().written(&write, true);
        }
    }

    fn put_down(&mut self, write: &DeviceWrite) {
        let source = write
            .source
            .bytes(write.range.clone())
            .expect("it was filled");
        let at = write.offset as usize;
        let device = &mut self.devices[usize::from(write.block.device.0)];
        device[at..at + source.len()].copy_from_slice(source);
    }

    /// Empties one block if one is worth it.
    fn defrag(&mut self) {
        let log = self.namespace.log();
        let Some(job) = log.next_move() else { return };
        let bytes = match log.block_in_memory(job.id) {
            Some(block) => block.bytes(0..block.filled()).unwrap().to_vec(),
            None => {
                let from = job.offset as usize;
                self.devices[usize::from(job.id.device.0)][from..from + BLOCK_BYTES].to_vec()
            }
        };
        let scanned = log.scan_block(job.id, &bytes);
        for record in scanned.filter_map(Scanned::record) {
            let lane = log.move_lane(0);
            let moved = self.namespace.move_record(lane, self.now_ms, &record);
            if moved.is_err() {
                return log.postpone_move(job);
            }
        }
        assert_eq!(
            log.end_move(job),
            0,
            "every live record of a block was moved"
        );
    }

    fn make_room(&mut self) {
        self.defrag();
        self.flush();
    }

    fn sweep(&mut self) {
        let oldest_fill = self.namespace.log().oldest_fill();
        for partition in self.partitions.clone() {
            if self.namespace.may_hold_dead(partition) {
                let swept = self
                    .namespace
                    .sweep_slice(partition, None, oldest_fill, self.now());
                assert!(
                    swept.next.is_none(),
                    "partitions of these tests are one slice"
                );
                self.tombstones_dropped += swept.tombstones;
                self.evicted += swept.evicted;
                self.expired += swept.expired;
            }
        }
    }

    /// Evicts what expires first, as a node does: the mark is kept before it takes effect.
    fn evict(&mut self, tenths: u32) -> Option<u32> {
        let mut survey = Survey::from_now(self.now().epoch_s(), 100);
        loop {
            for &partition in &self.partitions {
                if self.namespace.may_hold_evictable(partition) {
                    self.namespace
                        .survey_slice(partition, None, &mut survey, self.now());
                }
            }
            match survey.cut(tenths) {
                Cut::Nothing => return None,
                Cut::Finer { begins_s, width_s } => {
                    survey = Survey::within(begins_s, width_s, 100);
                }
                Cut::UpTo { void_until_s, .. } => {
                    self.evict_up_to(void_until_s);
                    return Some(void_until_s);
                }
            }
        }
    }

    fn evict_up_to(&mut self, void_until_s: u32) {
        let mark = self.namespace.eviction_mark(void_until_s, self.now());
        self.evictions = with_mark(&self.evictions, Some(mark), self.now());
        self.namespace.set_evictions(&self.evictions).unwrap();
        self.model.retain(|key, record| {
            let covered = record
                .until_s
                .is_some_and(|until| until <= void_until_s.into());
            !covered || set_of(*key) == b"kept"
        });
    }

    fn truncate(&mut self, set: Option<&'static [u8]>) {
        let before_ms = self.now_ms + 1;
        self.truncations.insert(set, before_ms);
        self.namespace.truncate(set, before_ms).unwrap();
        self.model
            .retain(|key, _| set.is_some_and(|set| set != set_of(*key)));
    }

    /// Overwrites a few keys until so many more blocks were opened.
    fn churn(&mut self, blocks: u64) {
        let until = self.namespace.log().fills() + blocks;
        while self.namespace.log().fills() < until {
            let hot = 1000 + self.rng.below(4);
            self.put(hot, None);
            self.sweep();
            self.make_room();
        }
    }

    /// Stops the node when all is durable and starts it from its devices and files.
    fn restart(&mut self) {
        self.flush();
        self.namespace = open(self.shape);
        for (set, before_ms) in &self.truncations {
            self.namespace.truncate(*set, *before_ms).unwrap();
        }
        self.namespace.set_evictions(&self.evictions).unwrap();
        self.recover();
    }

    fn recover(&self) {
        let log = self.namespace.log();
        for (device, bytes) in self.devices.iter().enumerate() {
            for block in 0..self.shape.blocks {
                let device = DeviceId(device as u8);
                let id = BlockId { device, block };
                let (offset, size) = log.block_extent(id);
                let bytes = &bytes[offset as usize..offset as usize + size];
                let scanned = log.recover_block(id, bytes, None).into_iter().flatten();
                for record in scanned.filter_map(Scanned::record) {
                    self.namespace.recover(record.place, &record.facts).unwrap();
                }
            }
        }
        log.finish_recovery();
    }

    /// Compares every full block with the index: nothing is missing from any.
    fn scrub(&self) {
        let log = self.namespace.log();
        let mut records = 0;
        for (device, bytes) in self.devices.iter().enumerate() {
            for block in 0..self.shape.blocks {
                let device = DeviceId(device as u8);
                let id = BlockId { device, block };
                let (offset, size) = log.block_extent(id);
                let bytes = &bytes[offset as usize..offset as usize + size];
                if let Some(finding) = self.namespace.check_block(id, bytes) {
                    assert!(!finding.record_damaged, "block {id:?}");
                    records += finding.records;
                }
            }
        }
        assert!(records > 0);
    }

    /// Compares every key with the model.
    fn check(&self, keys: impl IntoIterator<Item = u64>) {
        let now_s = self.now_ms / 1000;
        for key in keys {
            let alive = |record: &&Model| record.until_s.is_none_or(|until| until >= now_s);
            let expected = self.model.get(&key).filter(alive).map(|record| record.tag);
            assert_eq!(self.read(key), expected, "key {key}");
        }
    }

    fn live_bytes(&self) -> u64 {
        self.namespace.log().report().live_bytes
    }
}

fn outcome(written: Result<Written<'_>, Refusal>) -> Result<(), Reason> {
    written.map(drop).map_err(|refusal| refusal.reason)
}

fn seeds() -> u64 {
    let seeds = std::env::var("KARST_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}

#[test]
fn expired_evicted_truncated_and_deleted_records_never_return() {
    const KEYS: u64 = 40;
    let (mut dropped, mut evicted, mut expired) = (0, 0, 0);
    for seed in 0..seeds() {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, SMALL);
            for _ in 0..4 {
                for _ in 0..400 {
                    step(&mut world, KEYS);
                }
                world.check(0..KEYS);
                world.restart();
                world.check(0..KEYS);
            }
            (world.tombstones_dropped, world.evicted, world.expired)
        });
        let Ok(did) = run else { panic!("seed {seed}") };
        dropped += did.0;
        evicted += did.1;
        expired += did.2;
    }
    assert!(
        dropped > 0 && evicted > 0 && expired > 0,
        "no run came as far: {dropped} {evicted} {expired}"
    );
}

fn step(world: &mut World, keys: u64) {
    let key = world.rng.below(keys);
    match world.rng.below(100) {
        0..=29 => world.put(key, None),
        30..=54 => {
            let ttl = 1 + world.rng.below(60) as u32;
            world.put(key, Some(ttl));
        }
        55..=64 => drop(world.delete(key)),
        65..=72 => world.now_ms += world.rng.below(8000),
        73..=75 => drop(world.evict(200)),
        76 => {
            let set = world.rng.below(6) as usize;
            world.truncate(SETS.get(set).copied());
        }
        77..=84 => world.sweep(),
        85..=92 => world.make_room(),
        _ => world.check([key]),
    }
    world.now_ms += 2; // a truncation takes what was written in its own millisecond
}

#[test]
fn an_evicted_record_does_not_give_way_to_a_version_that_never_expires() {
    const KEY: u64 = 3;
    let mut world = World::new(21, SMALL);
    for cold in 100..115 {
        world.put(cold, None);
        if cold == 105 {
            world.put(KEY, None); // for ever, in a block that is never filled again
        }
    }
    world.churn(3);
    world.put(KEY, Some(1000));
    world.put(6, Some(5000));
    world.now_ms += 10;
    assert!(world.evict(500).is_some());
    assert_eq!(world.read(KEY), None);
    world.restart(); // before the sweep
    assert_eq!(world.read(KEY), None);
    world.churn(4 * DEVICES as u64 * u64::from(SMALL.blocks));
    assert_eq!(world.namespace.report().evicted, 1);
    world.restart(); // when the evicted version has long been overwritten
    assert_eq!(world.read(KEY), None);
    world.check([6, 105, 110]);
}

#[test]
fn what_is_written_after_an_eviction_is_not_covered_by_it_even_if_the_clock_stands_still() {
    let mut world = World::new(22, SMALL);
    for key in 0..9 {
        world.put(key, Some(100));
    }
    world.put(9, Some(200));
    let until = world.evict(900).expect("records are left");
    let kept: Vec<u64> = (0..9).filter(|key| set_of(*key) == b"kept").collect();
    world.check(0..10);
    assert!(
        kept.iter().all(|key| world.read(*key).is_some()),
        "a spared set"
    );
    world.put(3, Some(10)); // sooner than the cut, in the mark's own millisecond
    assert!(u64::from(until) > world.now_ms / 1000 + 10);
    world.check(0..10);
    world.restart();
    world.check(0..10);
    assert!(world.read(3).is_some());
}

/// Fills a world until it refuses; returns the first key that did not fit.
fn fill(world: &mut World, ttl_s: Option<u32>) -> u64 {
    for key in 0.. {
        match world.try_put(key, ttl_s) {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(reason, Reason::OutOfSpace);
                return key;
            }
        }
    }
    unreachable!("numbers do not run out before the devices do")
}

#[test]
fn a_sweep_alone_makes_room_where_expired_records_fill_everything() {
    let mut world = World::new(23, SMALL);
    let keys = fill(&mut world, Some(100));
    let full = world.live_bytes();
    world.now_ms += 102_000;
    world.sweep();
    assert_eq!(world.namespace.report().records, 0);
    assert!(
        world.live_bytes() < full / 5,
        "{} of {full} bytes still count as live",
        world.live_bytes()
    );
    world.flush();
    world.scrub();
    for key in keys..keys + keys * 3 / 4 {
        world.put(key, None);
    }
    world.restart();
    world.check(0..2 * keys);
}

#[test]
fn eviction_makes_room_and_leaves_what_expires_last() {
    let mut world = World::new(24, SMALL);
    let mut key = 0;
    while world.try_put(key, Some(1000 + key as u32)).is_ok() {
        key += 3; // all in one set, which is not spared
    }
    let full = world.live_bytes();
    let mut rounds = 0;
    while world.live_bytes() > full / 2 {
        assert!(world.evict(100).is_some(), "something can be evicted");
        world.sweep();
        world.now_ms += 1000;
        rounds += 1;
        assert!(rounds < 100, "eviction does not come to an end");
    }
    let left: Vec<u64> = world.model.keys().copied().collect();
    assert!(
        rounds > 2 && left.len() as u64 > key / 10,
        "{rounds} {}",
        left.len()
    );
    let first = left[0];
    assert_eq!(left, (first..key).step_by(3).collect::<Vec<_>>());
    world.check(0..key);
    world.restart();
    world.check(0..key);
    world.sweep(); // what was evicted shadows older versions until it is swept again
    world.put(key, None); // there is room again
}

#[test]
fn everything_can_be_deleted_when_the_devices_are_full_of_the_smallest_records() {
    // A tombstone takes four fifths of the room of such a record.
    let shape = Shape {
        blocks: 30,
        value_bytes: 1,
        ..SMALL
    };
    for percent in [85, 90] {
        let mut world = World::new(25, shape);
        world.namespace.log().set_live_percent_max(percent);
        let keys = fill(&mut world, None);
        assert!(keys > 5000, "{keys}");
        let mut order: Vec<u64> = (0..keys).collect();
        for at in 0..order.len() {
            let other = world.rng.below(order.len() as u64) as usize;
            order.swap(at, other); // so that no block empties as a whole
        }
        for key in order {
            assert!(world.delete(key), "key {key}");
        }
        assert_eq!(world.namespace.report().records, 0);
        world.put(0, None);
        world.restart();
        world.check(0..keys);
    }
}

#[test]
fn everything_can_be_deleted_when_the_index_is_full_and_when_writes_are_stopped() {
    let shape = Shape {
        blocks: 200,
        index_entries: 64 * 64,
        value_bytes: 1,
    };
    let mut world = World::new(26, shape);
    let mut key = 0;
    let refused = loop {
        match world.try_put(key, None) {
            Ok(()) => key += 1,
            Err(reason) => break reason,
        }
    };
    assert_eq!(refused, Reason::IndexFull);
    world.put(0, None); // what is there can be changed
    world.namespace.set_stopped(true);
    assert_eq!(world.try_put(0, None), Err(Reason::StopWrites));
    world.check(0..key);
    for key in 0..key {
        assert!(world.delete(key), "key {key}");
    }
    world.namespace.set_stopped(false);
    world.put(0, None);
    world.restart();
    world.check(0..key);
}

#[test]
fn a_tombstone_stays_while_a_block_with_a_damaged_header_could_be_read_again() {
    const KEY: u64 = 3;
    let mut world = World::new(28, SMALL);
    world.put(KEY, None);
    let first_block = world.namespace.log().fills();
    assert_eq!(first_block, 1);
    while world.namespace.log().fills() < 4 {
        world.put(1000 + world.rng.0 % 4, None);
    }
    world.delete(KEY);
    world.flush();
    // The header cannot be read at this start, and can at the next: a cable, a controller.
    let at = world.devices.iter().map(|device| {
        (0..SMALL.blocks as usize)
            .map(|block| (block + 1) * BLOCK_BYTES)
            .find(|at| device[*at + 16] == 1 && device[*at + 4] == b'K')
    });
    let at: Vec<_> = at.collect();
    let (device, at) = match at[..] {
        [Some(at), _] => (0, at),
        [_, Some(at)] => (1, at),
        _ => panic!("no device has the first fill"),
    };
    world.devices[device][at + 20] ^= 1;
    let cover = world.namespace.log().fills();
    world.restart();
    assert_eq!(world.namespace.log().oldest_fill(), 1, "{cover}");
    world.sweep();
    assert_eq!(world.tombstones_dropped, 0);
    assert_eq!(world.namespace.report().tombstones, 1);
    world.devices[device][at + 20] ^= 1;
    world.restart();
    assert_eq!(world.read(KEY), None);
}

#[test]
fn a_deleted_record_does_not_return_when_a_truncation_after_the_delete_is_undone() {
    const KEY: u64 = 3;
    let mut world = World::new(29, SMALL);
    for cold in 100..115 {
        world.put(cold, None);
        if cold == 105 {
            world.put(KEY, None);
        }
    }
    world.churn(3);
    world.delete(KEY);
    world.now_ms += 5;
    world.truncate(Some(set_of(KEY)));
    world.restart();
    world.churn(2 * DEVICES as u64 * u64::from(SMALL.blocks));
    world.truncations.clear();
    world.restart();
    assert_eq!(
        world.read(KEY),
        None,
        "it was deleted before it was truncated"
    );
}

#[test]
fn a_life_is_what_set_and_namespace_say() {
    let mut world = World::new(30, SMALL);
    let rules = |default_ttl_s| SetRules {
        default_ttl_s,
        stop_writes_count: 2,
        ..SetRules::default()
    };
    let life = Life {
        default_ttl_s: None,
        ttl_s_max: 500,
        apply_ttl_reductions: false,
        read_touch_percent: 20,
        sets: vec![(b"demo".as_slice().into(), rules(Some(60)))],
    };
    world.namespace = open_with(SMALL, life);
    assert_eq!(world.try_put(0, Some(501)), Err(Reason::TtlTooLong));
    world.put(0, Some(500));
    world.put(0, Some(10)); // would be sooner: ignored
    assert_eq!(world.namespace.report().ttl_reductions_ignored, 1);
    world.now_ms += 400_000;
    assert!(world.read(0).is_some());
    world.put(3, None);
    assert_eq!(world.try_put(6, None), Err(Reason::SetFull));
    world.put(3, None); // a change of what is there
    world.put(2, None); // another set
    world.delete(3);
    world.put(6, None);
    let demo = world.namespace.sets().find(b"demo").unwrap();
    assert_eq!(world.namespace.default_ttl_s(demo), 60);
    assert_eq!(world.namespace.default_ttl_s(0), 0);
    assert_eq!(world.namespace.read_touch_percent(demo), 20);

    world.namespace.set_life(&Life {
        default_ttl_s: Some(30),
        ttl_s_max: 600,
        ..Life::default()
    });
    assert_eq!(world.namespace.default_ttl_s(demo), 30);
    assert_eq!(world.namespace.read_touch_percent(demo), 0);
    world.put(9, Some(501)); // one more than the set had room for, and longer than it might live
    let demo = world.namespace.sets().get(demo);
    assert_eq!(demo.records(), 3, "what was counted stays");
}

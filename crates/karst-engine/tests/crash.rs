//! A namespace on made-up devices, cut at random points and started again.
//!
//! One thread plays clients, devices and defrag in an order drawn from a seed. A device keeps what was
//! written to it and completed; at a cut, each write that was out is kept whole, in part or not at all,
//! sector by sector. A failing seed is in the panic message and replays exactly.

mod rng;

use std::collections::HashMap;
use std::sync::Arc;

use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::write::{DeleteRequest, Hand, WriteRequest};
use karst_engine::{Fetched, Namespace, NamespaceConfig, Reason, Step};
use karst_io::buffer::AlignedBuffer;
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::recover::Scanned;
use karst_storage::log::{
    BlockId, Commit, CommitPoint, DeviceGeometry, DeviceRead, DeviceWrite, Log, LogConfig,
};
use karst_storage::place::DeviceId;
use rng::Rng;

const BLOCK_BYTES: usize = 16 << 10;
const BLOCKS: u32 = 7;
const DEVICES: usize = 2;
const SECTOR_BYTES: usize = 512;
const KEYS: u64 = 30;

/// What a client did to a key: the value it wrote, or a delete, and when that is durable.
#[derive(Clone)]
struct Deed {
    value: Option<Vec<u8>>,
    commit: Option<CommitPoint>,
    durable: bool,
}

struct World {
    rng: Rng,
    namespace: Namespace,
    devices: Vec<Vec<u8>>,
    /// Writes that the log handed out and no device has completed.
    out: Vec<DeviceWrite>,
    history: HashMap<u64, Vec<Deed>>,
    now_ms: u64,
    ttl: Ttl,
    written: u64,
    tombstones_dropped: u64,
}

fn digest(key: u64) -> Digest {
    Digest::of(b"demo", KeyBytes::Integer(key as i64))
}

fn open() -> Namespace {
    let geometry = |number| DeviceGeometry {
        number,
        blocks: BLOCKS,
        sector_bytes: SECTOR_BYTES as u32,
    };
    let log = Log::new(LogConfig {
        on_devices: true,
        block_bytes: BLOCK_BYTES as u32,
        devices: (0..DEVICES as u64)
            .map(|device| geometry(device + 77))
            .collect(),
        cores: 1,
        cache_bytes: 2 * BLOCK_BYTES as u64,
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
    let arena = Arc::new(EntryArena::new(1 << 20).unwrap());
    Namespace::new(config, log.unwrap(), arena, HashKey([3, 4]))
}

impl World {
    fn new(seed: u64) -> World {
        World {
            rng: Rng(seed),
            namespace: open(),
            devices: vec![vec![0; BLOCK_BYTES * (BLOCKS as usize + 1)]; DEVICES],
            out: Vec::new(),
            history: HashMap::new(),
            now_ms: 1_000_000,
            ttl: Ttl::Never,
            written: 0,
            tombstones_dropped: 0,
        }
    }

    fn hand(&self) -> Hand {
        let lane = self.namespace.log().write_lane(0);
        Hand {
            lane,
            now: Now::from_epoch_ms(self.now_ms),
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

    /// Writes, making room as a node would.
    fn write(&mut self, key: u64) {
        self.try_write(key).expect("the namespace takes writes");
    }

    /// As `write`, and says if the namespace refuses.
    fn try_write(&mut self, key: u64) -> Result<(), Reason> {
        let value = self.a_value();
        let operations = [Operation::Write(b"v", Some(blob(&value)))];
        let request = WriteRequest {
            digest: digest(key),
            set: b"demo",
            key: None,
            exists: if self.rng.chance(2) {
                Exists::Any
            } else {
                Exists::Replace
            },
            generation: GenerationRule::Any,
            ttl: self.ttl,
            flags: CommandFlags::default(),
            operations: &operations,
            filter: None,
        };
        let mut fetched = None;
        for _ in 0..200 {
            let hand = self.hand();
            let step = self
                .namespace
                .write(&hand, &request, fetched.as_ref(), |written| {
                    written
                        .map(|written| written.commit)
                        .map_err(|refusal| refusal.reason)
                });
            match step {
                Step::Done(Ok(commit)) => {
                    self.written += 1;
                    self.remember(key, Some(value.clone()), commit);
                    return Ok(());
                }
                Step::Done(Err(reason)) => return Err(reason),
                Step::Read(read) => fetched = Some(self.fetch(read)),
                Step::Wait => self.make_room(),
            }
        }
        panic!("a write of key {key} waits for ever");
    }

    fn a_value(&mut self) -> Vec<u8> {
        let bytes = 1 + self.rng.below(3000) as usize;
        let tag = self.rng.next().to_le_bytes();
        tag.iter().copied().cycle().take(bytes).collect()
    }

    fn delete(&mut self, key: u64) {
        let request = DeleteRequest {
            digest: digest(key),
            set: b"demo",
            key: None,
            generation: GenerationRule::Any,
            filter: None,
        };
        for _ in 0..200 {
            let hand = self.hand();
            let step = self.namespace.delete(&hand, &request, None, |written| {
                written
                    .map(|written| written.commit)
                    .map_err(|refusal| refusal.reason)
            });
            match step {
                Step::Done(Ok(commit)) => return self.remember(key, None, commit),
                Step::Done(Err(Reason::NotFound)) => return,
                Step::Done(Err(reason)) => panic!("a delete was refused: {reason}"),
                Step::Read(_) => panic!("a delete without a key needs no read"),
                Step::Wait => self.make_room(),
            }
        }
        panic!("a delete found no room");
    }

    fn remember(&mut self, key: u64, value: Option<Vec<u8>>, commit: Option<CommitPoint>) {
        let deed = Deed {
            value,
            commit,
            durable: false,
        };
        self.history.entry(key).or_default().push(deed);
    }

    fn read(&self, key: u64) -> Option<Vec<u8>> {
        let request = ReadRequest {
            digest: digest(key),
            set: b"",
            key: None,
            need: Need::Bins,
            filter: None,
        };
        let now = Now::from_epoch_ms(self.now_ms);
        let mut fetched = None;
        for _ in 0..3 {
            let step = self
                .namespace
                .read(now, &request, fetched.as_ref(), |found| match found {
                    Ok(found) => {
                        let record = found.record.expect("bins were asked for");
                        Some(
                            record
                                .bin(b"v")
                                .expect("every record has it")
                                .value
                                .to_vec(),
                        )
                    }
                    Err(refusal) if refusal.reason == Reason::NotFound => None,
                    Err(refusal) => panic!("key {key} cannot be read: {}", refusal.reason),
                });
            match step {
                Step::Done(value) => return value,
                Step::Read(read) => fetched = Some(self.fetch(read)),
                Step::Wait => panic!("a read does not wait for room"),
            }
        }
        panic!("nothing moves under this read, so the bytes fetched are the right ones");
    }

    fn flush(&mut self) {
        let log = self.namespace.log();
        log.flush(log.write_lane(0), u64::MAX);
        log.flush(log.move_lane(0), u64::MAX);
        self.collect();
    }

    fn collect(&mut self) {
        let log = self.namespace.log();
        log.take_writes(log.write_lane(0), &mut self.out);
        log.take_writes(log.move_lane(0), &mut self.out);
    }

    /// Lets the device complete one of the writes that are out, in any order.
    fn complete_one(&mut self) {
        self.collect();
        if self.out.is_empty() {
            return;
        }
        let at = self.rng.below(self.out.len() as u64) as usize;
        let write = self.out.swap_remove(at);
        self.put_down(&write, write.range.len());
        self.namespace.log().written(&write, true);
    }

    fn put_down(&mut self, write: &DeviceWrite, bytes: usize) {
        let range = write.range.start..write.range.start + bytes;
        let source = write.source.bytes(range).expect("it was filled");
        let at = write.offset as usize;
        let device = &mut self.devices[usize::from(write.block.device.0)];
        device[at..at + bytes].copy_from_slice(source);
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

    fn sweep(&mut self, key: u64) {
        let now = Now::from_epoch_ms(self.now_ms);
        let oldest_fill = self.namespace.log().oldest_fill();
        let swept = self
            .namespace
            .sweep_slice(digest(key).partition(), None, oldest_fill, now);
        self.tombstones_dropped += swept.tombstones;
    }

    fn make_room(&mut self) {
        self.defrag();
        self.flush();
        while !self.out.is_empty() {
            self.complete_one();
        }
    }

    /// Overwrites a few keys until so many more blocks were opened, sweeping `key`'s partition.
    fn churn(&mut self, blocks: u64, key: u64) {
        let until = self.namespace.log().fills() + blocks;
        while self.namespace.log().fills() < until {
            let hot = self.rng.below(4);
            self.write(hot);
            self.sweep(key);
            self.make_room();
        }
    }

    /// Notes which deeds are durable by now.
    fn note_durable(&mut self) {
        let log = self.namespace.log();
        for deed in self.history.values_mut().flatten() {
            if let Some(commit) = deed.commit {
                deed.durable |= log.commit(commit) == Commit::Durable;
            }
        }
    }

    fn step(&mut self) {
        self.now_ms += self.rng.below(3);
        match self.rng.below(100) {
            0..=59 => {
                let key = self.rng.below(KEYS);
                self.write(key);
            }
            60..=69 => {
                let key = self.rng.below(KEYS);
                self.delete(key);
            }
            70..=79 => self.complete_one(),
            80..=86 => self.flush(),
            87..=90 => self.defrag(),
            91..=93 => (0..KEYS).for_each(|key| self.sweep(key)),
            _ => {
                let key = self.rng.below(KEYS);
                self.check_now(key);
            }
        }
    }

    /// While the node lives, a read sees the latest deed.
    fn check_now(&self, key: u64) {
        let latest = self.history.get(&key).and_then(|deeds| deeds.last());
        assert_eq!(
            self.read(key),
            latest.and_then(|deed| deed.value.clone()),
            "key {key}"
        );
    }

    /// Stops the node as SIGKILL and power loss do, then starts it again from the devices.
    fn cut(&mut self) {
        self.cut_devices();
        for key in 0..KEYS {
            self.check_after_cut(key);
        }
    }

    fn cut_devices(&mut self) {
        self.collect();
        self.note_durable();
        for write in std::mem::take(&mut self.out) {
            match self.rng.below(3) {
                0 => {}
                1 => self.put_down(&write, write.range.len()),
                _ => {
                    let sectors = (write.range.len() / SECTOR_BYTES) as u64;
                    let kept = self.rng.below(sectors + 1) as usize;
                    self.put_down(&write, kept * SECTOR_BYTES);
                }
            }
        }
        self.namespace = open();
        self.recover();
    }

    fn recover(&self) {
        let log = self.namespace.log();
        for (device, bytes) in self.devices.iter().enumerate() {
            for block in 0..BLOCKS {
                let id = BlockId {
                    device: DeviceId(device as u8),
                    block,
                };
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

    /// After a cut a key is as some deed left it that is no older than its last durable one. From
    /// here on that deed is the last of its history, and it is durable: it was read from a device.
    fn check_after_cut(&mut self, key: u64) {
        let found = self.read(key);
        let Some(deeds) = self.history.get_mut(&key) else {
            assert_eq!(found, None, "key {key} was never written");
            return;
        };
        let first = deeds.iter().rposition(|deed| deed.durable);
        let allowed = &deeds[first.unwrap_or(0)..];
        let survives = allowed.iter().rev().find(|deed| deed.value == found);
        let never = first.is_none() && found.is_none();
        assert!(
            survives.is_some() || never,
            "key {key}: {} deeds, {} of them possible, found {:?}",
            deeds.len(),
            allowed.len(),
            found.map(|value| value.len())
        );
        *deeds = vec![Deed {
            value: found,
            commit: None,
            durable: true,
        }];
    }
}

fn blob(bytes: &[u8]) -> Value<'_> {
    Value {
        particle: ParticleType::Blob,
        bytes: bytes.into(),
    }
}

fn seeds() -> u64 {
    std::env::var("KARST_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(40)
}

#[test]
fn what_was_durable_survives_every_cut_and_deletes_stay_deleted() {
    let mut dropped = 0;
    for seed in 0..seeds() {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..4 {
                for _ in 0..800 {
                    world.step();
                }
                world.cut();
            }
            (world.written, world.tombstones_dropped)
        });
        let Ok((written, tombstones)) = run else {
            panic!("seed {seed}")
        };
        assert!(written > 500, "seed {seed}: the run did too little");
        dropped += tombstones;
    }
    assert!(dropped > 0, "no run came as far as to forget a tombstone");
}

#[test]
fn endless_overwrites_of_half_full_devices_never_run_out_of_room() {
    let mut world = World::new(7);
    let capacity = (DEVICES * BLOCKS as usize * BLOCK_BYTES) as u64;
    let mut keys = 0;
    while world.namespace.log().report().live_bytes < capacity / 2 {
        world.write(keys);
        keys += 1;
    }
    for _ in 0..20 * keys {
        let key = world.rng.below(keys);
        world.write(key);
        if world.rng.chance(3) {
            world.complete_one();
        }
        if world.rng.chance(5) {
            world.defrag();
        }
    }
    for key in 0..keys {
        world.check_now(key);
    }
}

#[test]
fn full_devices_refuse_writes_and_still_take_deletes() {
    let mut world = World::new(9);
    let mut keys = 0;
    let refused = loop {
        match world.try_write(keys) {
            Ok(()) => keys += 1,
            Err(reason) => break reason,
        }
    };
    assert_eq!(refused, Reason::OutOfSpace);
    let log = world.namespace.log();
    assert!(log.report().live_bytes > log.live_bytes_max());
    for key in 0..keys {
        world.check_now(key);
        world.delete(key);
    }
    assert_eq!(world.namespace.report().records, 0);
    world.write(1);
    let partitions: u64 = PartitionId::all()
        .map(|partition| world.namespace.partition_counts(partition).0)
        .sum();
    assert_eq!(partitions, 1);
}

#[test]
fn a_tombstone_stays_while_an_older_copy_lies_in_a_block_that_is_never_rewritten() {
    const DELETED: u64 = 7;
    let mut world = World::new(11);
    for cold in 100..120 {
        world.write(cold);
        if cold == 105 {
            world.write(DELETED);
        }
    }
    world.churn(3, DELETED); // so that the tombstone's block holds nothing that stays
    world.delete(DELETED);
    world.churn(4 * DEVICES as u64 * u64::from(BLOCKS), DELETED);
    world.cut();
    assert_eq!(world.read(DELETED), None);
}

#[test]
fn an_expired_record_does_not_give_way_to_the_version_before_it() {
    const EXPIRES: u64 = 7;
    let mut world = World::new(12);
    for cold in 100..120 {
        world.write(cold);
        if cold == 105 {
            world.write(EXPIRES); // for ever, in a block that is never rewritten
        }
    }
    world.churn(3, EXPIRES);
    world.ttl = Ttl::Seconds(1);
    world.write(EXPIRES);
    world.ttl = Ttl::Never;
    world.now_ms += 3000;
    assert_eq!(world.read(EXPIRES), None);
    world.churn(4 * DEVICES as u64 * u64::from(BLOCKS), EXPIRES);
    assert_eq!(world.namespace.report().expired, 1);
    world.cut_devices();
    assert_eq!(world.read(EXPIRES), None);
}

#[test]
fn truncated_records_stay_gone_after_a_cut_as_long_as_the_mark_is_known() {
    let mut world = World::new(13);
    for key in 0..10 {
        world.write(key);
    }
    world.flush();
    world.now_ms += 10;
    let mark = world.now_ms;
    world.namespace.truncate(Some(b"demo"), mark).unwrap();
    assert_eq!(world.read(3), None);
    world.write(4);
    world.flush();
    while !world.out.is_empty() {
        world.complete_one();
    }
    let kept = world.read(4);
    assert!(kept.is_some());
    world.namespace = open();
    world.namespace.truncate(Some(b"demo"), mark).unwrap(); // as boot does, before recovery
    world.recover();
    assert_eq!(world.read(3), None);
    assert_eq!(world.read(4), kept);
    assert_eq!(world.namespace.report().records, 1);
}

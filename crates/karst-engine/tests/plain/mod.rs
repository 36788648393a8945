//! A namespace on one made-up device that does at once what it is told.

#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::floor::Floor;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::recover::Intake;
use karst_engine::write::{DeleteRequest, Hand, WriteRequest};
use karst_engine::{Fetched, Namespace, NamespaceConfig, Reason, Step};
use karst_io::buffer::AlignedBuffer;
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::recover::{Damage, Scanned, Testimony};
use karst_storage::log::{
    BlockId, DeviceGeometry, DeviceRead, LaneId, Log, LogConfig, MoveJob, NoSpace,
};
use parking_lot::RwLock;

/// The time at which everything happens, in ms since 2010.
pub(crate) const NOW_MS: u64 = 1_000_000;

/// Size of a block.
pub(crate) const BLOCK_BYTES: usize = 16 << 10;

/// The namespace and the bytes of its device. Threads may share it.
pub(crate) struct World {
    pub(crate) namespace: Namespace,
    pub(crate) device: RwLock<Vec<u8>>,
    /// What a node keeps on disk of partitions that it has let go of.
    pub(crate) floors: BTreeMap<PartitionId, Floor>,
}

/// The digest of a key.
pub(crate) fn digest(key: u64) -> Digest {
    Digest::of(b"demo", KeyBytes::Integer(key as i64))
}

/// A value that names its key and version throughout.
pub(crate) fn value(key: u64, version: u64, bytes: usize) -> Vec<u8> {
    let words = [key, version].map(u64::to_le_bytes).concat();
    words.iter().copied().cycle().take(bytes).collect()
}

/// An empty namespace on one device, or in memory of its size.
fn open(blocks: u32, cores: u16, on_devices: bool) -> Namespace {
    let log = Log::new(LogConfig {
        on_devices,
        block_bytes: BLOCK_BYTES as u32,
        devices: vec![DeviceGeometry {
            number: 77,
            blocks,
            sector_bytes: 512,
        }],
        cores,
        cache_bytes: 0,
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
    /// An empty one for this many threads that write.
    pub(crate) fn new(blocks: u32, cores: u16) -> World {
        World::of(open(blocks, cores, true), blocks)
    }

    /// An empty one in memory.
    pub(crate) fn in_memory(blocks: u32) -> World {
        World::of(open(blocks, 1, false), blocks)
    }

    fn of(namespace: Namespace, blocks: u32) -> World {
        World {
            namespace,
            device: RwLock::new(vec![0; BLOCK_BYTES * (blocks as usize + 1)]),
            floors: BTreeMap::new(),
        }
    }

    /// Starts again from what is on the device, under marks of truncations. What was durable once and is
    /// damaged is taken in as such.
    pub(crate) fn start_again(&mut self, truncations: &[(&[u8], u64)]) {
        let blocks = (self.device.read().len() / BLOCK_BYTES - 1) as u32;
        let namespace = open(blocks, 1, true);
        for (set, before_ms) in truncations {
            namespace.truncate(Some(set), *before_ms).unwrap();
        }
        for (id, floor) in &self.floors {
            namespace.set_floor(*id, *floor);
        }
        let log = namespace.log();
        let ids = (0..blocks).map(|block| BlockId {
            device: karst_storage::place::DeviceId(0),
            block,
        });
        let bytes = |id: BlockId| {
            let (offset, size) = log.block_extent(id);
            self.device.read()[offset as usize..offset as usize + size].to_vec()
        };
        let mut testimony = Testimony::default();
        for id in ids.clone() {
            let bytes = bytes(id);
            if let Some(header) = log.block_header(id, &bytes) {
                testimony.hear(&header);
            }
            log.recover_block(id, &bytes, None);
        }
        let mut intake = Intake::new(&namespace);
        for id in ids.filter(|id| log.fill_of(*id) != 0) {
            for scanned in log.scan_block(id, &bytes(id)) {
                match scanned {
                    Scanned::Record(record) => intake.take(record.place, &record.facts).unwrap(),
                    Scanned::Damaged(Damage { place, facts }) => {
                        let settled = testimony.is_settled(log.fill_of(id));
                        if let Some(facts) = facts.filter(|_| settled) {
                            intake.take_damaged(place, &facts).unwrap();
                        }
                    }
                    Scanned::Sealed(_) => unreachable!("nothing is encrypted"),
                }
            }
        }
        intake.finish().unwrap();
        log.finish_recovery();
        self.namespace = namespace;
    }

    /// Drops all of a partition that is being let go of.
    pub(crate) fn drop_all(&self, id: PartitionId) {
        let mut after = None;
        loop {
            after = self.namespace.drop_slice(id, after).next;
            if after.is_none() {
                break;
            }
        }
    }

    /// Lets go of a partition.
    pub(crate) fn let_go(&mut self, id: PartitionId) {
        assert!(self.namespace.begin_leaving(id, self.namespace.regime(id)));
        self.floors.insert(id, Floor::Leaving);
        self.drop_all(id);
        let floor = self.namespace.next_floor();
        self.floors.insert(id, Floor::Fill(floor));
        self.namespace.end_leaving(id, floor);
    }

    /// Sweeps everything.
    pub(crate) fn sweep(&self) {
        let oldest_fill = self.namespace.log().oldest_fill();
        let now = Now::from_epoch_ms(NOW_MS);
        for id in PartitionId::all() {
            let mut after = None;
            loop {
                after = self.namespace.sweep_slice(id, after, oldest_fill, now).next;
                if after.is_none() {
                    break;
                }
            }
        }
    }

    /// Writes a value, or says that it has to wait.
    pub(crate) fn write(&self, core: u16, key: u64, value: &[u8]) -> Result<(), NoSpace> {
        self.write_in(b"demo", core, key, value)
    }

    /// Writes a value into a set: the digest is that of the key in any case.
    pub(crate) fn write_in(
        &self,
        set: &[u8],
        core: u16,
        key: u64,
        value: &[u8],
    ) -> Result<(), NoSpace> {
        let blob = Value {
            particle: ParticleType::Blob,
            bytes: value.into(),
        };
        let request = WriteRequest {
            digest: digest(key),
            set,
            key: None,
            exists: Exists::Replace,
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &[Operation::Write(b"v", Some(blob))],
            filter: None,
        };
        let step = self
            .namespace
            .write(&self.hand(core), &request, None, |written| {
                written.map(|_| ()).map_err(|refusal| refusal.reason)
            });
        match step {
            Step::Done(done) => {
                done.expect("the write is accepted");
                Ok(())
            }
            Step::Wait => Err(NoSpace::Wait),
            Step::Read(_) => unreachable!("the write replaces"),
        }
    }

    /// Deletes a key.
    pub(crate) fn delete(&self, key: u64) {
        self.delete_in(b"demo", key);
    }

    /// Deletes a key from a set.
    pub(crate) fn delete_in(&self, set: &[u8], key: u64) {
        let request = DeleteRequest {
            digest: digest(key),
            set,
            key: None,
            generation: GenerationRule::Any,
            filter: None,
        };
        let step = self
            .namespace
            .delete(&self.hand(0), &request, None, |deleted| deleted.is_ok());
        assert!(matches!(step, Step::Done(true)));
    }

    pub(crate) fn hand(&self, core: u16) -> Hand {
        Hand {
            lane: self.namespace.log().write_lane(core),
            now: Now::from_epoch_ms(NOW_MS),
            flush_clock_ms: 0,
            regime: FIRST_REGIME,
            replicated: false,
        }
    }

    /// Reads a value as a node does, device reads included.
    pub(crate) fn read(&self, key: u64) -> Result<Vec<u8>, Reason> {
        let request = ReadRequest {
            digest: digest(key),
            set: b"",
            key: None,
            need: Need::Bins,
            filter: None,
        };
        let mut fetched = None;
        for _ in 0..16 {
            let now = Now::from_epoch_ms(NOW_MS);
            let step = self
                .namespace
                .read(now, &request, fetched.as_ref(), |found| {
                    found
                        .map(|found| {
                            let record = found.record.expect("bins were asked for");
                            record
                                .bin(b"v")
                                .expect("every record has it")
                                .value
                                .to_vec()
                        })
                        .map_err(|refusal| refusal.reason)
                });
            match step {
                Step::Done(value) => return value,
                Step::Read(read) => fetched = Some(self.fetch(read)),
                Step::Wait => unreachable!("a read does not wait for room"),
            }
        }
        panic!("key {key} moves faster than it can be read");
    }

    /// Tries something until it is done, reading and making room as it asks.
    pub(crate) fn patiently<R>(&self, mut attempt: impl FnMut(Option<&Fetched>) -> Step<R>) -> R {
        let mut fetched = None;
        for _ in 0..100 {
            match attempt(fetched.as_ref()) {
                Step::Done(done) => return done,
                Step::Read(read) => fetched = Some(self.fetch(read)),
                Step::Wait => self.make_room(),
            }
        }
        panic!("it waits for ever");
    }

    /// Defrag's next step, if there is one, with everything on the device.
    pub(crate) fn make_room(&self) {
        if let Some(job) = self.namespace.log().next_move() {
            self.flush(0);
            self.empty(0, job);
        }
        self.flush(0);
    }

    /// The bytes of a device read.
    pub(crate) fn fetch(&self, read: DeviceRead) -> Fetched {
        let mut buffer = AlignedBuffer::with_capacity(read.bytes);
        let from = read.offset as usize;
        let device = self.device.read();
        buffer
            .as_mut_slice()
            .copy_from_slice(&device[from..from + read.bytes]);
        Fetched { read, buffer }
    }

    /// Brings everything that two lanes hold to the device.
    pub(crate) fn flush(&self, core: u16) {
        let log = self.namespace.log();
        for lane in [log.write_lane(core), log.move_lane(core)] {
            log.flush(lane, u64::MAX);
            self.send(lane);
        }
    }

    /// Writes what a lane has ready.
    pub(crate) fn send(&self, lane: LaneId) {
        let log = self.namespace.log();
        let mut writes = Vec::new();
        log.take_writes(lane, &mut writes);
        for write in writes {
            let source = write
                .source
                .bytes(write.range.clone())
                .expect("it was filled");
            let at = write.offset as usize;
            self.device.write()[at..at + source.len()].copy_from_slice(source);
            log.written(&write, true);
        }
    }

    /// The content of a block on the device.
    pub(crate) fn block(&self, id: BlockId) -> Vec<u8> {
        let (offset, size) = self.namespace.log().block_extent(id);
        self.device.read()[offset as usize..offset as usize + size].to_vec()
    }

    /// Empties a block. `false` if there was no room for that.
    pub(crate) fn empty(&self, core: u16, job: MoveJob) -> bool {
        let log = self.namespace.log();
        let bytes = match log.block_in_memory(job.id) {
            Some(block) => block.bytes(0..block.filled()).unwrap().to_vec(),
            None => self.block(job.id),
        };
        let scanned = log.scan_block(job.id, &bytes);
        for record in scanned.filter_map(Scanned::record) {
            let lane = log.move_lane(core);
            let moved = self.namespace.move_record(lane, 0, &record);
            if moved.is_err() {
                log.postpone_move(job);
                return false;
            }
        }
        log.end_move(job);
        true
    }
}

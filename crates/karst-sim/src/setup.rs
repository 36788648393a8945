//! What a run looks like, drawn from its seed: devices, namespace, workload, faults.
//!
//! Every axis on which runs may differ has its one place here. Not every run does everything: what is
//! left out gives the rest room, and finds what an even mixture hides ("swarm testing").

use std::sync::Arc;

use karst_engine::{Namespace, NamespaceConfig};
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::codec::{Codec, Compression, MasterKey};
use karst_storage::log::format::Superblock;
use karst_storage::log::{DeviceGeometry, Log, LogConfig};

use crate::check::Violation;
use crate::disk::Disk;
use crate::memory::{Begun, CLUSTER, Memory};
use crate::rng::Rng;
use crate::workload::Sizes;

/// Most records that an index of a run can hold; pages are touched as they are used.
const ENTRIES_MAX: u64 = 1 << 14;

/// The cluster's key, by which digests are hashed into the index.
const KEY: HashKey = HashKey([3, 4]);

/// How often each thing is done, as parts of the sum of all.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A client begins a request.
    pub begin: u32,
    /// A request that is under way goes on.
    pub proceed: u32,
    /// A device completes a write.
    pub complete: u32,
    /// Sectors of a write that is out reach their device before it completes.
    pub land: u32,
    /// The flush timer of a core goes off.
    pub flush: u32,
    /// Defrag goes a little further.
    pub defrag: u32,
    /// A partition is swept.
    pub sweep: u32,
    /// A set or the namespace is truncated.
    pub truncate: u32,
    /// Time passes: seconds, not milliseconds.
    pub wait: u32,
    /// A scan of everything.
    pub scan: u32,
    /// The node lets go of a partition, and takes part in it again.
    pub let_go: u32,
}

impl Pace {
    fn draw(rng: &mut Rng) -> Pace {
        let mut or_never = |weight: u32| if rng.one_in(5) { 0 } else { weight };
        let (land, truncate, wait, scan, sweep, let_go) = (
            or_never(40),
            or_never(1),
            or_never(3),
            or_never(3),
            or_never(60),
            or_never(1),
        );
        Pace {
            begin: rng.between(150, 400) as u32,
            proceed: rng.between(200, 500) as u32,
            complete: if rng.one_in(4) {
                rng.between(4, 20) as u32
            } else {
                rng.between(40, 300) as u32
            },
            land,
            flush: rng.between(10, 150) as u32,
            defrag: rng.between(20, 200) as u32,
            sweep,
            truncate,
            wait,
            scan,
            let_go,
        }
    }

    /// As weights, in the order of the fields.
    pub fn weights(&self) -> [u32; 11] {
        [
            self.begin,
            self.proceed,
            self.complete,
            self.land,
            self.flush,
            self.defrag,
            self.sweep,
            self.truncate,
            self.wait,
            self.scan,
            self.let_go,
        ]
    }
}

/// See [the module](self).
#[derive(Clone, Debug)]
pub struct Setup {
    /// Devices of the namespace.
    pub devices: usize,
    /// Blocks of each.
    pub blocks: u32,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Bytes of a sector, which a device writes wholly or not at all.
    pub sector_bytes: usize,
    /// Data cores; each has a lane for writes and one for defrag.
    pub cores: u16,
    /// Whether writes are answered only when they are durable.
    pub commit_to_device: bool,
    /// Longest time between an append and its flush, in ms.
    pub flush_ms_max: u64,
    /// Written blocks that stay in memory.
    pub cache_blocks: u64,
    /// Below this live part a block is moved, in percent.
    pub low_water_percent: u8,
    /// Time to live of records that ask for the default, in seconds; 0 for ever.
    pub default_ttl_s: u32,
    /// How records are packed.
    pub compression: Compression,
    /// Whether they are encrypted.
    pub encrypted: bool,
    /// Records that clients know of.
    pub keys: usize,
    /// Sets that they are in.
    pub sets: usize,
    /// How large values are.
    pub sizes: Sizes,
    /// Requests under way at most.
    pub requests_max: usize,
    /// How often each thing is done.
    pub pace: Pace,
    /// The device that is slow, if one is.
    pub slow_device: Option<usize>,
    /// One in so many writes fails; 0 for none.
    pub failing_writes: u64,
    /// Whether index and log lie in memory that outlives the process.
    pub shared_memory: bool,
    /// Whether sectors of which a write was cut may hold neither old nor new bytes.
    pub shorn_sectors: bool,
    /// Whether the namespace is strongly consistent.
    pub strong: bool,
    /// Devices that failed in an earlier life of the node, and were not replaced.
    pub failed_devices: Vec<usize>,
}

impl Setup {
    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Setup {
        let devices = rng.between(1, 3) as usize;
        let cores = rng.between(1, 2) as u16;
        // At least eight sectors to a block; sixteen is the least that a node accepts.
        let (block_bytes, sector_bytes) = *rng.pick(&[
            (8 << 10, 512),
            (16 << 10, 512),
            (32 << 10, 512),
            (32 << 10, 4096),
        ]);
        let needed = 3 * (2 * u64::from(cores) + 2);
        let blocks = needed.div_ceil(devices as u64) + rng.between(0, 4);
        let sizes = Sizes::draw(rng, block_bytes);
        let capacity = devices as u64 * blocks * block_bytes as u64;
        let filled = capacity * rng.between(10, 65) / 100;
        let keys = (filled / sizes.typical_bytes()).clamp(4, 120) as usize;
        Setup {
            devices,
            blocks: blocks as u32,
            block_bytes,
            sector_bytes,
            cores,
            commit_to_device: rng.one_in(2),
            flush_ms_max: rng.between(1, 50),
            cache_blocks: rng.between(0, 4),
            low_water_percent: rng.between(20, 70) as u8,
            default_ttl_s: if rng.one_in(4) { 5 } else { 0 },
            compression: *rng.pick(&[
                Compression::None,
                Compression::None,
                Compression::Lz4,
                Compression::Zstd(1),
            ]),
            encrypted: rng.one_in(4),
            keys,
            sets: rng.between(1, 3) as usize,
            sizes,
            requests_max: rng.between(1, 8) as usize,
            pace: Pace::draw(rng),
            slow_device: rng.one_in(4).then(|| rng.index(devices)),
            failing_writes: if rng.one_in(6) {
                rng.between(50, 400)
            } else {
                0
            },
            shared_memory: rng.one_in(4),
            shorn_sectors: rng.one_in(2),
            strong: false,
            failed_devices: Vec::new(),
        }
    }

    /// Draws the devices of one node of a strongly consistent cluster: small ones, which are used again soon.
    pub fn of_strong_node(rng: &mut Rng) -> Setup {
        let drawn = Setup::draw(rng);
        Setup {
            devices: rng.between(1, 2) as usize,
            blocks: rng.between(16, 28) as u32,
            block_bytes: *rng.pick(&[8 << 10, 16 << 10]),
            sector_bytes: 512,
            cores: 1,
            commit_to_device: true,
            default_ttl_s: 0,
            slow_device: None,
            failing_writes: 0,
            shared_memory: false,
            strong: true,
            ..drawn
        }
    }

    /// Bytes of one device: superblocks, then blocks.
    pub fn device_bytes(&self) -> usize {
        self.block_bytes * (self.blocks as usize + 1)
    }

    /// Bytes of all blocks.
    pub fn capacity_bytes(&self) -> u64 {
        self.devices as u64 * u64::from(self.blocks) * self.block_bytes as u64
    }

    /// The device's own number, as its superblock says.
    pub fn device_number(&self, device: usize) -> u64 {
        77 + device as u64
    }

    /// What a device's superblock says when it is taken into use.
    pub fn superblock(&self, device: usize) -> Superblock {
        Superblock {
            generation: 1,
            device: self.device_number(device),
            cluster: CLUSTER,
            namespace: "sim".into(),
            position: device as u8,
            devices: self.devices as u8,
            block_bytes: self.block_bytes as u32,
            blocks: self.blocks,
            session: 1,
            key_check: [0; 16],
            fills: 0,
        }
    }

    /// Takes blank devices into use, as boot does.
    pub fn format(&self, disk: &mut Disk) {
        for device in 0..self.devices {
            for generation in [1, 2] {
                let superblock = Superblock {
                    generation,
                    ..self.superblock(device)
                };
                disk.write_superblock(device, &superblock, |_| true);
            }
        }
    }

    /// The log as a node lays it out over these devices.
    pub fn log_config(&self) -> LogConfig {
        let geometry = |device| DeviceGeometry {
            number: self.device_number(device),
            blocks: self.blocks,
            sector_bytes: self.sector_bytes as u32,
        };
        LogConfig {
            on_devices: true,
            block_bytes: self.block_bytes as u32,
            devices: (0..self.devices).map(geometry).collect(),
            cores: self.cores,
            cache_bytes: self.cache_blocks * self.block_bytes as u64,
            defrag_low_water_percent: self.low_water_percent,
        }
    }

    /// What a process begins with: memory of its own, or what outlived an earlier process.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn begin(&self, memory: Option<&Memory>, session: u64) -> Result<Begun, Violation> {
        if let Some(memory) = memory {
            return memory.begin(self.log_config(), ENTRIES_MAX, KEY, session);
        }
        let log = Log::new(self.log_config()).expect("a drawn layout is one that a node accepts");
        let arena = EntryArena::new(ENTRIES_MAX).expect("a small reservation");
        Ok(Begun {
            log,
            arena: Arc::new(arena),
            attach: None,
            left: Vec::new(),
        })
    }

    fn codec(&self) -> Codec {
        let key = self.encrypted.then_some(MasterKey([9; 32]));
        let devices: Vec<u64> = (0..self.devices)
            .map(|device| self.device_number(device))
            .collect();
        Codec::new(
            self.compression,
            key.as_ref(),
            &devices,
            self.record_bytes_max(),
        )
    }

    /// A namespace over a log and an index.
    pub fn namespace(&self, mut log: Log, arena: Arc<EntryArena>) -> Namespace {
        let config = NamespaceConfig {
            name: "sim".into(),
            default_ttl_s: self.default_ttl_s,
            record_bytes_max: self.record_bytes_max(),
            commit_to_device: self.commit_to_device,
            flush_ms_max: self.flush_ms_max,
            strong: self.strong,
        };
        log.set_codec(self.codec());
        Namespace::new(config, log, arena, KEY)
    }

    /// Largest record, in bytes of stored form.
    pub fn record_bytes_max(&self) -> usize {
        self.block_bytes - 64
    }
}

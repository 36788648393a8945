//! The log of a namespace: records appended to blocks, blocks written to devices or kept in memory.
//!
//! Owns the blocks of all devices of the namespace, the lanes that fill them and the memory of those
//! being filled or written recently. Does not own the index: who calls tells it which records are live
//! ([`Log::release`] when one is superseded), and defrag asks the index, not the log.
//!
//! Performs no I/O: writes that are due are handed out ([`Log::take_writes`]) and their completions
//! are fed back ([`Log::written`]); reads of what is not in memory are described ([`Located::Device`])
//! for the caller to perform. Reads no clock: times are the caller's.
//!
//! Lock order: a partition's mutex, then a lane's, then the space's.

pub mod codec;
pub mod format;
mod found;
mod lane;
mod load;
pub mod look;
pub mod memory;
mod ranking;
pub mod recover;
mod resident;
mod snapshot;
pub(crate) mod space;
mod tally;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Seal};
use karst_data::mutation::{Mutation, is_planted};
use karst_io::buffer::AppendBuffer;
use parking_lot::Mutex;

pub use lane::{Commit, CommitPoint, DeviceWrite, LaneId, OUTSTANDING_BLOCKS_MAX};
pub use memory::{LeftBlock, LogMemory, MemoryIdentity, MemoryRefused};
pub use resident::Loaded;
pub use snapshot::LanePositions;
pub use space::BlockId;
pub use tally::{LiveTally, NoSuchPlace};

use self::codec::Codec;
use self::format::{BLOCK_HEADER_BYTES, BlockHeader, end_mark};
use self::lane::Lane;
use self::load::{Candidate, Positions, Standing};
use self::ranking::step_of;
use self::recover::StoredRecord;
use self::space::{Awaited, Block, Life, Space, UNKNOWN_FILL};
use crate::defrag::Urgency;
use crate::index::prefetch_line;
use crate::place::{DeviceId, Place, RBLOCK_BYTES, Rblocks, START_BITS};

/// Part of the usable blocks that live records may fill before writes are refused, in percent, unless
/// it is set otherwise. Above it moving records costs more than five writes for each one a client makes.
pub const LIVE_PERCENT_MAX: u64 = 85;

/// Most that it can be set to. Moving costs nine writes for each of a client's there; and of the rest,
/// deletes of records of the smallest size need two fifths before blocks become worth moving.
pub const LIVE_PERCENT_LIMIT: u64 = 90;

/// Memory that buffers for blocks are carved from, in bytes.
const PIECE_BYTES: usize = 8 << 20;

/// Most bytes of a record that are asked for ahead; what follows the CPU fetches by itself.
const PREFETCH_BYTES: usize = 1088;

/// One device as the log sees it.
#[derive(Clone, Debug)]
pub struct DeviceGeometry {
    /// The device's own number, part of every seal.
    pub number: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Smallest unit of a write in bytes.
    pub sector_bytes: u32,
}

/// How a log is laid out.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Whether blocks are written to devices; otherwise memory is all there is.
    pub on_devices: bool,
    /// Size of a block in bytes, a power of two.
    pub block_bytes: u32,
    /// The devices, in the order of the configuration; for a log in memory one made-up device.
    pub devices: Vec<DeviceGeometry>,
    /// Data cores; each has a lane for writes and one for defrag.
    pub cores: u16,
    /// Bytes of recently written blocks that stay in memory for reads.
    pub cache_bytes: u64,
    /// A block with a smaller live part is moved, in percent.
    pub defrag_low_water_percent: u8,
}

/// What an append is for; who may use the last blocks depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's record.
    Record,
    /// The memory of a delete: may use blocks that records may not.
    Tombstone,
    /// Moving a live record: may use every block.
    Move,
}

/// Why an append was refused. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSpace {
    /// Blocks will become free: defrag has something to gain or blocks wait for others' writes.
    #[error("no block is free yet")]
    Wait,
    /// Live records fill the devices.
    #[error("live records fill the devices")]
    Full,
    /// No device can be written to.
    #[error("every device has failed")]
    Failed,
    /// The record does not fit a block.
    #[error("a record of {size_bytes} bytes does not fit a block")]
    TooBig {
        /// Its size.
        size_bytes: usize,
    },
}

/// Where an appended record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub place: Place,
    /// When it is durable.
    pub commit: CommitPoint,
}

/// Where a record's bytes are.
pub enum Located {
    /// In memory.
    Memory(Resident),
    /// On a device.
    Device(DeviceRead),
}

/// A record's bytes in a block that is in memory.
pub struct Resident {
    buffer: Arc<AppendBuffer>,
    offset: usize,
    bytes: usize,
}

impl Resident {
    /// The record, padding included.
    pub fn bytes(&self) -> &[u8] {
        self.buffer
            .bytes(self.offset..self.offset + self.bytes)
            .unwrap_or_default()
    }
}

/// A read that brings a record's bytes, widened to whole sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRead {
    /// The device.
    pub device: DeviceId,
    /// Byte offset on the device, on a sector boundary.
    pub offset: u64,
    /// Bytes to read, whole sectors.
    pub bytes: usize,
    /// Where in the bytes read the record begins.
    pub skip: usize,
    /// The place that is being read.
    pub place: Place,
    /// The seal that the record there bears. Blocks are only appended to, so no other record ever
    /// bears the same one: bytes that fit it are the record that the index meant.
    pub seal: Seal,
}

/// A block to be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveJob {
    /// The block.
    pub id: BlockId,
    /// Byte offset of the block on its device.
    pub offset: u64,
    /// How urgent it is.
    pub urgency: Urgency,
}

/// How full a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceReport {
    /// Bytes of all blocks.
    pub total_bytes: u64,
    /// Bytes of records that the index points at.
    pub live_bytes: u64,
    /// Bytes of blocks that can be opened.
    pub free_bytes: u64,
    /// Blocks that wait for other writes before they are free.
    pub quarantined_blocks: u64,
    /// Full blocks whose live part is below the low-water mark.
    pub worth_moving_blocks: u64,
    /// Blocks that hold live records which cannot be read.
    pub damaged_blocks: u64,
    /// Blocks of failed devices with records that are only in memory.
    pub unrescued_blocks: u64,
    /// Blocks whose live records were moved since the start.
    pub moved_blocks: u64,
    /// Devices that failed.
    pub failed_devices: u64,
    /// Records that clients had written or deleted since the start.
    pub client_records: u64,
    /// Bytes of those.
    pub client_bytes: u64,
    /// Bytes written to devices since the start.
    pub written_bytes: u64,
}

impl SpaceReport {
    /// Bytes written to devices for each byte that clients wrote, in hundredths; `None` before the
    /// first write has come back.
    pub fn write_amplification_percent(&self) -> Option<u64> {
        (u128::from(self.written_bytes) * 100)
            .checked_div(u128::from(self.client_bytes))
            .map(|percent| percent as u64)
    }
}

struct Device {
    geometry: DeviceGeometry,
    blocks: Box<[Block]>,
    standing: Standing,
    live_bytes: AtomicU64,
    written_bytes: AtomicU64,
    read_errors: AtomicU64,
    /// The device failed and nothing that was lost on it is missing any more: nobody waits for it.
    forgiven: AtomicBool,
}

/// See [the module](self).
pub struct Log {
    config: LogConfig,
    codec: Codec,
    /// Whether blocks that hold something live stay in memory, all of them.
    resident: bool,
    devices: Vec<Device>,
    lanes: Vec<Mutex<Lane>>,
    /// Of each lane for each device: lane times devices plus device.
    positions: Vec<Positions>,
    pub(crate) space: Mutex<Space>,
    /// Buffers for blocks to be opened. The first touch of fresh memory costs more than the
    /// whole block's records do, so buffers are used again.
    spare: Mutex<Vec<Arc<AppendBuffer>>>,
    /// Blocks that stay in memory for reads, oldest first.
    cache: Mutex<VecDeque<(BlockId, u64)>>,
    fills: AtomicU64,
    /// The first fill of this run of the node.
    since: AtomicU64,
    /// See [`Log::live_bytes_max`].
    live_percent_max: AtomicU8,
    pub(crate) moved_blocks: AtomicU64,
    stalled: AtomicBool,
    /// Where fills and buffers are, if they are to outlive the process.
    memory: Option<LogMemory>,
    /// The caller's clock as of the last [`Log::tick`].
    clock_ms: AtomicU64,
}

/// Why a log cannot be laid out as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Too few blocks to work with.
    #[error("{found} blocks are too few: {cores} data cores need at least {needed}")]
    Blocks {
        /// Blocks of all devices.
        found: u64,
        /// Data cores.
        cores: u16,
        /// Blocks needed.
        needed: u64,
    },
    /// A device that a place cannot address.
    #[error("a device can have at most {max} bytes", max = (1u64 << START_BITS) * RBLOCK_BYTES)]
    DeviceTooBig,
    /// More devices than a place can tell apart.
    #[error("a namespace has at most 128 devices")]
    Devices,
}

impl LogConfig {
    /// Lanes: one per core for writes, one per core for defrag.
    fn lanes(&self) -> u16 {
        self.cores * 2
    }

    /// Blocks that clients' records may not use, so that defrag can always work.
    pub(crate) fn reserve_blocks(&self) -> usize {
        usize::from(self.lanes()) + 2
    }

    fn block_offset(&self, block: u32) -> u64 {
        (u64::from(block) + 1) * u64::from(self.block_bytes)
    }

    fn check(&self) -> Result<(), LayoutError> {
        let found: u64 = self
            .devices
            .iter()
            .map(|device| u64::from(device.blocks))
            .sum();
        let needed = 3 * self.reserve_blocks() as u64;
        if found < needed {
            return Err(LayoutError::Blocks {
                found,
                cores: self.cores,
                needed,
            });
        }
        if self.devices.len() > 128 {
            return Err(LayoutError::Devices);
        }
        let end_of = |device: &DeviceGeometry| self.block_offset(device.blocks);
        if self
            .devices
            .iter()
            .any(|device| end_of(device) > RBLOCK_BYTES << START_BITS)
        {
            return Err(LayoutError::DeviceTooBig);
        }
        Ok(())
    }
}

impl Log {
    /// Lays out a log whose blocks are all free. [`Log::recover_block`] then tells it what is there.
    ///
    /// # Errors
    /// When there are too few blocks to work with, or more than places can address.
    pub fn new(config: LogConfig) -> Result<Log, LayoutError> {
        Log::with_memory(config, None)
    }

    /// As [`Log::new`], its fills and buffers in memory that may outlive the process. When an earlier
    /// process has used that memory, [`Log::take_over`] comes next.
    ///
    /// # Errors
    /// As [`Log::new`].
    pub fn with_memory(config: LogConfig, memory: Option<LogMemory>) -> Result<Log, LayoutError> {
        config.check()?;
        let counts: Vec<u32> = config.devices.iter().map(|device| device.blocks).collect();
        let device = |geometry: &DeviceGeometry| Device {
            geometry: geometry.clone(),
            blocks: (0..geometry.blocks).map(|_| Block::default()).collect(),
            standing: Standing::default(),
            live_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            read_errors: AtomicU64::new(0),
            forgiven: AtomicBool::new(false),
        };
        let ways = usize::from(config.lanes()) * counts.len();
        Ok(Log {
            devices: config.devices.iter().map(device).collect(),
            lanes: (0..config.lanes())
                .map(|lane| Mutex::new(Lane::new(LaneId(lane), counts.len())))
                .collect(),
            positions: (0..ways).map(|_| Positions::default()).collect(),
            space: Mutex::new(Space::new(&counts)),
            spare: Mutex::new(Vec::new()),
            cache: Mutex::new(VecDeque::new()),
            fills: AtomicU64::new(0),
            since: AtomicU64::new(1),
            live_percent_max: AtomicU8::new(LIVE_PERCENT_MAX as u8),
            moved_blocks: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            memory,
            clock_ms: AtomicU64::new(0),
            codec: Codec::plain(config.block_bytes as usize),
            resident: false,
            config,
        })
    }

    /// Stores records in another form than the plain one. Asked for before anything else.
    pub fn set_codec(&mut self, codec: Codec) {
        self.codec = codec;
    }

    /// How records are stored.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// How the log is laid out.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// The lane for clients' writes of a data core.
    pub fn write_lane(&self, core: u16) -> LaneId {
        assert!(core < self.config.cores);
        LaneId(core)
    }

    /// The lane for records that a data core moves.
    pub fn move_lane(&self, core: u16) -> LaneId {
        assert!(core < self.config.cores);
        LaneId(self.config.cores + core)
    }

    /// Largest record, in bytes, that fits a block.
    pub fn record_bytes_max(&self) -> usize {
        self.config.block_bytes as usize - BLOCK_HEADER_BYTES
    }

    /// How many blocks have been opened, ever: grows, and survives restarts.
    pub fn fills(&self) -> u64 {
        self.fills.load(Ordering::Acquire)
    }

    pub(crate) fn block(&self, id: BlockId) -> &Block {
        &self.devices[usize::from(id.device.0)].blocks[id.block as usize]
    }

    /// The block that a place lies in.
    pub fn block_of(&self, place: Place) -> BlockId {
        let block = place.start.bytes() / u64::from(self.config.block_bytes) - 1;
        BlockId {
            device: place.device,
            block: block as u32,
        }
    }

    /// The seal that a record at this place has to bear now.
    pub fn seal(&self, place: Place) -> Seal {
        let start = place.start.bytes();
        Seal {
            start,
            ..self.block_seal(self.block_of(place))
        }
    }

    /// The least fill of blocks that are yet to be opened: all that was appended until now lies below it.
    /// What is appended from here on may too, in blocks that are open, unless it is kept from it
    /// ([`Log::append_from`]).
    pub fn next_fill(&self) -> u64 {
        self.fills() + 1
    }

    /// Appends a record to a lane, in the form in which the namespace stores records, to a block of this
    /// fill or a later one.
    ///
    /// # Errors
    /// See [`NoSpace`]; nothing was appended.
    pub fn append_record<'b, B>(
        &self,
        lane: LaneId,
        purpose: Purpose,
        floor: u64,
        draft: &Draft<'_, B>,
        now_ms: u64,
    ) -> Result<Appended, NoSpace>
    where
        B: Iterator<Item = BinRef<'b>> + Clone,
    {
        if !self.codec.packs() {
            let bytes = self.codec.unpacked_bytes(draft.size_bytes());
            return self.append_from(lane, purpose, floor, bytes, now_ms, |space, seal| {
                self.codec.store(draft, space, seal);
            });
        }
        let packed = self.codec.pack(draft);
        let bytes = packed.stored_bytes();
        let appended = self.append_from(lane, purpose, floor, bytes, now_ms, |space, seal| {
            packed.store(space, seal);
        })?;
        packed.count();
        Ok(appended)
    }

    /// Appends a copy of a record that was found sound in its block, in the form it has there, to a block of
    /// this fill or a later one.
    ///
    /// # Errors
    /// See [`NoSpace`]; nothing was appended.
    pub fn append_moved(
        &self,
        lane: LaneId,
        floor: u64,
        record: &StoredRecord<'_>,
        now_ms: u64,
    ) -> Result<Appended, NoSpace> {
        let from = self.seal(record.place);
        let bytes = record.bytes;
        let (purpose, size_bytes) = (Purpose::Move, bytes.len());
        self.append_from(lane, purpose, floor, size_bytes, now_ms, |space, seal| {
            space[..bytes.len()].copy_from_slice(bytes);
            let rehoused = self.codec.rehouse(space, &from, seal);
            rehoused.expect("the record was found sound in these bytes");
        })
    }

    /// Appends a record of `size_bytes` to a lane. `write` fills the space and bears the seal.
    ///
    /// # Errors
    /// See [`NoSpace`]; nothing was appended.
    pub fn append(
        &self,
        lane: LaneId,
        purpose: Purpose,
        size_bytes: usize,
        now_ms: u64,
        write: impl FnOnce(&mut [u8], &Seal),
    ) -> Result<Appended, NoSpace> {
        self.append_from(lane, purpose, 0, size_bytes, now_ms, write)
    }

    /// As [`Log::append`], to a block of this fill or a later one: a lane whose open block is of an earlier
    /// one leaves it. `floor` was a [`Log::next_fill`] once.
    ///
    /// # Errors
    /// See [`NoSpace`]; nothing was appended.
    pub fn append_from(
        &self,
        lane: LaneId,
        purpose: Purpose,
        floor: u64,
        size_bytes: usize,
        now_ms: u64,
        write: impl FnOnce(&mut [u8], &Seal),
    ) -> Result<Appended, NoSpace> {
        let length = Rblocks::holding(size_bytes as u64);
        let bytes = length.bytes() as usize;
        if bytes > self.record_bytes_max() {
            return Err(NoSpace::TooBig { size_bytes });
        }
        let mut filling = self.lanes[usize::from(lane.0)].lock();
        if !filling.has_room(bytes, floor) || self.would_leave(&filling) {
            self.turn_over(&mut filling, purpose, (bytes, floor), now_ms)?;
        }
        let open = filling.open.as_ref().expect("a block was just opened");
        let (id, fill) = (open.id, open.fill);
        assert!(
            fill >= floor,
            "what is appended now would pass for what was void before"
        );
        let number = self.devices[usize::from(id.device.0)].geometry.number;
        let offset = self.config.block_offset(id.block);
        let at = filling.append(bytes, now_ms, |space, at| {
            write(
                space,
                &Seal {
                    device: number,
                    fill,
                    start: offset + at as u64,
                },
            );
        });
        filling.count(purpose, bytes);
        if self.config.on_devices {
            self.position(lane, id.device)
                .publish_append(filling.way(id.device));
        } else {
            filling.settle_all();
            self.publish(&filling, id.device);
        }
        let commit = CommitPoint {
            lane,
            device: id.device,
            position: filling.way(id.device).appended,
        };
        let start = Rblocks((offset + at as u64) / RBLOCK_BYTES);
        let place = Place {
            device: id.device,
            start,
            length,
        };
        self.claim(place); // before the lane can close the block and find it empty
        drop(filling);
        Ok(Appended { place, commit })
    }

    /// Counts a place as live: the index points at it.
    pub fn claim(&self, place: Place) {
        self.claim_found(self.block_of(place), place.length.bytes() as u32);
    }

    /// Counts a place as dead: the index no longer points at it.
    pub fn release(&self, place: Place) {
        let id = self.block_of(place);
        let bytes = place.length.bytes() as u32;
        let left = self.block(id).remove_live(bytes);
        self.devices[usize::from(place.device.0)]
            .live_bytes
            .fetch_sub(u64::from(bytes), Ordering::Relaxed);
        let block_bytes = self.config.block_bytes;
        if left == 0 || step_of(left, block_bytes) != step_of(left + bytes, block_bytes) {
            self.settle(&mut self.space.lock(), id);
        }
    }

    /// The step of the ranking below which blocks are under the low-water mark.
    pub(crate) fn low_water_step(&self) -> usize {
        let percent = u64::from(self.config.defrag_low_water_percent);
        let bytes = u64::from(self.config.block_bytes) * percent / 100;
        step_of(bytes as u32, self.config.block_bytes)
    }

    /// The step of the ranking of a block with so many live bytes.
    pub(crate) fn step_of_bytes(&self, bytes: u64) -> usize {
        step_of(bytes as u32, self.config.block_bytes)
    }

    /// A block of a failed device was emptied from memory, or not. Its memory goes with its last
    /// live record.
    pub(crate) fn end_rescue(&self, space: &mut Space, id: BlockId, rescued: bool) {
        space.end_rescue(id, rescued);
        if rescued && self.block(id).live_bytes.load(Ordering::Acquire) == 0 {
            self.recycle(self.block(id).buffer.swap(None));
        }
    }

    /// Moves a block on in its life according to what is left in it.
    pub(crate) fn settle(&self, space: &mut Space, id: BlockId) {
        let live = self.block(id).live_bytes.load(Ordering::Acquire);
        match space.life(id) {
            Life::Full | Life::Damaged if live == 0 => self.retire(space, id),
            Life::Full => space.rank(id, step_of(live, self.config.block_bytes)),
            Life::Free
            | Life::Open
            | Life::Moving
            | Life::Quarantined
            | Life::Damaged
            | Life::Broken => {}
        }
    }

    /// Lets go of a block that holds nothing live.
    ///
    /// What superseded its records was appended, and its position published, before each record was
    /// released; so the positions read here cover all of it.
    pub(crate) fn retire(&self, space: &mut Space, id: BlockId) {
        if self.config.on_devices {
            if self.resident {
                self.recycle(self.block(id).buffer.swap(None));
            }
            let awaited = match is_planted(Mutation::NoQuarantine) {
                true => Vec::new(),
                false => self.awaited(),
            };
            space.quarantine(id, awaited.into());
        } else {
            self.recycle(self.block(id).buffer.swap(None));
            space.quarantine(id, Box::new([]));
            space.release_quarantine(|_| 0);
        }
    }

    /// Every position that was appended and is not safe yet.
    fn awaited(&self) -> Vec<Awaited> {
        let devices = self.devices.len();
        let unsafe_ways = self
            .positions
            .iter()
            .enumerate()
            .filter_map(|(way, positions)| {
                let position = positions.appended();
                let waits = position > positions.safe() && !self.is_forgiven(way % devices);
                waits.then_some(Awaited { way, position })
            });
        unsafe_ways.collect()
    }

    fn is_forgiven(&self, device: usize) -> bool {
        self.devices[device].forgiven.load(Ordering::Acquire)
    }

    /// Frees the blocks whose successors are durable by now.
    pub(crate) fn release_quarantine(&self, space: &mut Space) {
        let devices = self.devices.len();
        space.release_quarantine(|way| {
            if self.is_forgiven(way % devices) {
                u64::MAX
            } else {
                self.positions[way].safe()
            }
        });
    }

    /// Whether the device of a lane's open block failed, or is slow while another is not.
    fn would_leave(&self, lane: &Lane) -> bool {
        lane.open.as_ref().is_some_and(|open| {
            let device = &self.devices[usize::from(open.id.device.0)];
            device.standing.leave.load(Ordering::Relaxed)
        })
    }

    /// Leaves the lane's open block, if any, for another that has room and is not of an earlier fill than
    /// `floor`: one of the device's that was parked, or a free one. An open block that would do is only left
    /// for a device that is not slow.
    fn turn_over(
        &self,
        lane: &mut Lane,
        purpose: Purpose,
        (bytes, floor): (usize, u64),
        now_ms: u64,
    ) -> Result<(), NoSpace> {
        self.tick(now_ms);
        let mut space = self.space.lock();
        self.release_quarantine(&mut space);
        let would_do = lane.has_room(bytes, floor);
        if purpose == Purpose::Record && !would_do && self.is_past_live_max() {
            return Err(self.no_space(&space));
        }
        let open = lane.open.as_ref().map(|open| open.id.device);
        let stays = would_do && open.is_some_and(|device| !space.is_failed(device));
        let device = match self.next_device(lane, &space, purpose, (bytes, floor)) {
            Some(next) if stays && next.slow => return Ok(()),
            Some(next) => DeviceId(next.device as u8),
            None if stays => return Ok(()),
            None => return Err(self.no_device(&space, purpose)),
        };
        if stays {
            self.flush_open(lane);
            lane.park();
        } else {
            self.close(lane, &mut space);
        }
        if lane.has_parked(device, bytes, floor) {
            lane.unpark(device);
            return Ok(());
        }
        if lane.unpark(device) {
            self.close(lane, &mut space); // it would not do
        }
        let id = space.open(device).ok_or(NoSpace::Wait)?;
        drop(space);
        let Some(buffer) = self.take_buffer() else {
            self.space.lock().give_back(id);
            return Err(NoSpace::Wait); // memory for a buffer is short; others may return theirs
        };
        // Numbered only now that the block is sure to be filled: so the numbers that a stop keeps from
        // ever reaching a device are fewer than the blocks, and recovery knows how many to leave out.
        let block = self.block(id);
        let mut space = self.space.lock();
        let fill = self.fills.fetch_add(1, Ordering::AcqRel) + 1;
        let settled = space.begin_fill(fill, block.fill.load(Ordering::Acquire));
        drop(space);
        self.note_fill(id, fill);
        Log::label_buffer(&buffer, id, fill);
        self.recycle(block.buffer.swap(Some(buffer.clone())));
        let header = BlockHeader {
            device: self.devices[usize::from(id.device.0)].geometry.number,
            fill,
            block: id.block,
            previous: lane.previous,
            since: self.since.load(Ordering::Acquire),
            settled,
        };
        lane.begin(id, buffer, header);
        Ok(())
    }

    /// Free blocks that an append may not take the last of.
    fn spare_blocks(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Record => self.config.reserve_blocks(),
            Purpose::Tombstone => self.config.reserve_blocks() / 2,
            Purpose::Move => 0,
        }
    }

    /// The device on which a lane goes on when its open block has no room or is to be left.
    fn next_device(
        &self,
        lane: &Lane,
        space: &Space,
        purpose: Purpose,
        (bytes, floor): (usize, u64),
    ) -> Option<Candidate> {
        let may_open = space.free_blocks() > self.spare_blocks(purpose);
        let usable = |device: &DeviceId| {
            let free = may_open && space.free_blocks_of(*device) > 0;
            !space.is_failed(*device)
                && lane.may_begin(*device)
                && (free || lane.has_parked(*device, bytes, floor))
        };
        let candidate = |id: DeviceId| Candidate {
            device: usize::from(id.0),
            slow: self.devices[usize::from(id.0)]
                .standing
                .leave
                .load(Ordering::Relaxed),
            free: space.free_blocks_of(id),
            blocks: space.blocks_of(id),
            out_bytes: self
                .ways_to(usize::from(id.0))
                .map(Positions::out_bytes)
                .sum(),
        };
        let usable = self.device_ids().filter(usable);
        let candidates: Vec<Candidate> = usable.map(candidate).collect();
        load::choose(&candidates).copied()
    }

    /// Why no device takes an append.
    fn no_device(&self, space: &Space, purpose: Purpose) -> NoSpace {
        let full_of_writes = space.free_blocks() > self.spare_blocks(purpose);
        if full_of_writes {
            return NoSpace::Wait; // `OUTSTANDING_BLOCKS_MAX` are out on every device that has room
        }
        self.stalled.store(true, Ordering::Relaxed);
        match self.no_space(space) {
            // A delete makes room where a record takes it: it waits for defrag, however full.
            NoSpace::Full if purpose == Purpose::Tombstone => NoSpace::Wait,
            refusal => refusal,
        }
    }

    /// Whether waiting can help where no block is free.
    fn no_space(&self, space: &Space) -> NoSpace {
        if self.device_ids().all(|device| space.is_failed(device)) {
            return NoSpace::Failed;
        }
        if self.is_past_live_max() {
            return NoSpace::Full;
        }
        NoSpace::Wait
    }

    fn device_ids(&self) -> impl Iterator<Item = DeviceId> + use<> {
        (0..self.devices.len()).map(|device| DeviceId(device as u8)) // at most 128
    }

    fn live_bytes(&self) -> u64 {
        let live = |device: &Device| device.live_bytes.load(Ordering::Relaxed);
        self.devices.iter().map(live).sum()
    }

    /// Whether live records fill more than they may: clients' records are refused.
    pub fn is_past_live_max(&self) -> bool {
        self.live_bytes() > self.live_bytes_max()
    }

    /// Bytes of the blocks that clients' records may use, and how many of those are live. What is on
    /// failed devices cannot be moved and takes no room that could be written: it counts in neither.
    pub fn usable_bytes(&self) -> (u64, u64) {
        let (mut blocks, mut live) = (0, 0);
        for device in &self.devices {
            if !device.standing.failed.load(Ordering::Relaxed) {
                blocks += u64::from(device.geometry.blocks);
                live += device.live_bytes.load(Ordering::Relaxed);
            }
        }
        let usable = blocks.saturating_sub(self.config.reserve_blocks() as u64);
        (usable * u64::from(self.config.block_bytes), live)
    }

    /// Live bytes beyond which clients' records are refused, those on failed devices included.
    pub fn live_bytes_max(&self) -> u64 {
        let (usable, live) = self.usable_bytes();
        let out_of_use = self.live_bytes().saturating_sub(live);
        let percent = u64::from(self.live_percent_max.load(Ordering::Relaxed));
        usable * percent / 100 + out_of_use
    }

    /// Sets the part of the usable bytes, in percent, beyond which clients' records are refused.
    ///
    /// # Panics
    /// Above [`LIVE_PERCENT_LIMIT`], which defrag cannot sustain.
    pub fn set_live_percent_max(&self, percent: u8) {
        assert!(u64::from(percent) <= LIVE_PERCENT_LIMIT);
        self.live_percent_max.store(percent, Ordering::Relaxed);
    }

    /// Submits what the lane's open block holds.
    fn flush_open(&self, lane: &mut Lane) {
        let Some(id) = lane.open.as_ref().map(|open| open.id) else {
            return;
        };
        if self.config.on_devices {
            let now_ms = self.clock_ms.load(Ordering::Relaxed);
            lane.flush(
                self.config.block_offset(id.block),
                self.sector_bytes(id),
                now_ms,
            );
            self.publish(lane, id.device);
        }
    }

    /// Flushes and leaves the lane's open block.
    fn close(&self, lane: &mut Lane, space: &mut Space) {
        if self.config.on_devices
            && let Some(id) = lane.open.as_ref().map(|open| open.id)
        {
            let (offset, seal) = (self.config.block_offset(id.block), self.block_seal(id));
            lane.mark_end(|at| {
                let start = offset + at as u64;
                end_mark(&Seal { start, ..seal })
            });
        }
        self.flush_open(lane);
        if let Some((id, true)) = lane.close() {
            self.fill_up(space, id);
        }
    }

    /// A block is filled and all its writes are done.
    fn fill_up(&self, space: &mut Space, id: BlockId) {
        if space.life(id) == Life::Broken {
            if !is_planted(Mutation::NoRescue) {
                space.note_unrescued(id);
            }
            return;
        }
        assert_eq!(space.life(id), Life::Open);
        space.set_life(id, Life::Full);
        space.end_fill(self.block(id).fill.load(Ordering::Acquire));
        if self.config.on_devices {
            self.keep_for_reads(id);
        }
        self.settle(space, id);
    }

    /// Lets a written block stay in memory, and the oldest such blocks go.
    fn keep_for_reads(&self, id: BlockId) {
        if self.resident {
            return; // none of them goes
        }
        let mut cache = self.cache.lock();
        cache.push_back((id, self.block(id).fill.load(Ordering::Acquire)));
        let keep = (self.config.cache_bytes / u64::from(self.config.block_bytes)) as usize;
        while cache.len() > keep {
            let Some((oldest, fill)) = cache.pop_front() else {
                break;
            };
            let block = self.block(oldest);
            if block.fill.load(Ordering::Acquire) == fill {
                self.recycle(block.buffer.swap(None));
            }
        }
    }

    /// A buffer for a block: one that was used before, or the first of a new piece of memory.
    fn take_buffer(&self) -> Option<Arc<AppendBuffer>> {
        let mut spare = self.spare.lock();
        if let Some(at) = spare
            .iter()
            .position(|buffer| Arc::strong_count(buffer) == 1)
        {
            let mut buffer = spare.swap_remove(at);
            Arc::get_mut(&mut buffer)?.reset();
            return Some(buffer);
        }
        if let Some(memory) = &self.memory {
            return memory.slots.take().ok()?.map(Arc::new);
        }
        let block_bytes = self.config.block_bytes as usize;
        let carved = AppendBuffer::carve(block_bytes, (PIECE_BYTES / block_bytes).max(1)).ok()?;
        spare.extend(carved.into_iter().map(Arc::new));
        spare.pop()
    }

    /// Keeps a block's buffer for another block. Who still reads it may go on: it is used again only
    /// when nobody does. As many are kept as were ever needed at once.
    fn recycle(&self, buffer: Option<Arc<AppendBuffer>>) {
        self.spare.lock().extend(buffer);
    }

    fn sector_bytes(&self, id: BlockId) -> usize {
        self.devices[usize::from(id.device.0)].geometry.sector_bytes as usize
    }

    fn position(&self, lane: LaneId, device: DeviceId) -> &Positions {
        &self.positions[usize::from(lane.0) * self.devices.len() + usize::from(device.0)]
    }

    /// Every lane's way to a device.
    fn ways_to(&self, device: usize) -> impl Iterator<Item = &Positions> {
        self.positions
            .iter()
            .skip(device)
            .step_by(self.devices.len())
    }

    fn publish(&self, lane: &Lane, device: DeviceId) {
        self.position(lane.id(), device).publish(lane.way(device));
    }

    /// Tells the log what time it is, on the clock of [`Log::append`]. The age of writes, and so which
    /// devices are slow, is measured by it.
    pub fn tick(&self, now_ms: u64) {
        if self.clock_ms.swap(now_ms, Ordering::Relaxed) == now_ms || self.devices.len() == 1 {
            return;
        }
        let write_ms = |(at, device): (usize, &Device)| {
            let failed = device.standing.failed.load(Ordering::Relaxed);
            (!failed).then(|| device.standing.write_ms(self.ways_to(at), now_ms))
        };
        let write_ms: Vec<Option<u64>> = self.devices.iter().enumerate().map(write_ms).collect();
        for (device, slow) in self.devices.iter().zip(load::slow(&write_ms)) {
            let failed = device.standing.failed.load(Ordering::Relaxed);
            device
                .standing
                .leave
                .store(slow || failed, Ordering::Relaxed);
        }
    }

    /// Submits what a lane holds if anything in it was appended at or before `before_ms`.
    pub fn flush(&self, lane: LaneId, before_ms: u64) {
        if !self.config.on_devices {
            return;
        }
        let mut lane = self.lanes[usize::from(lane.0)].lock();
        if lane.waits_since(before_ms) {
            self.flush_open(&mut lane);
        }
    }

    /// Writes of a lane that are out to the device that it appends to.
    pub fn writes_out(&self, lane: LaneId) -> usize {
        self.lanes[usize::from(lane.0)].lock().writes_out()
    }

    /// Whether a lane has writes that were not taken.
    pub fn has_writes(&self, lane: LaneId) -> bool {
        self.lanes[usize::from(lane.0)].lock().has_writes()
    }

    /// Moves the writes that a lane has submitted to `out`, for the caller to perform. What was
    /// meant for a device that failed meanwhile is not handed out: it is lost, and `true` says that
    /// the outcome of some appends is known now.
    pub fn take_writes(&self, lane: LaneId, out: &mut Vec<DeviceWrite>) -> bool {
        let first = out.len();
        self.lanes[usize::from(lane.0)].lock().take_writes(out);
        let is_refused = |write: &mut DeviceWrite| self.device_failed(write.block.device);
        let refused: Vec<DeviceWrite> = out.extract_if(first.., is_refused).collect();
        refused.iter().for_each(|write| self.written(write, false));
        !refused.is_empty()
    }

    /// Takes the completion of a write. One that failed takes its device out of use, for good.
    pub fn written(&self, write: &DeviceWrite, kept: bool) {
        if kept {
            write.source.settle(write.range.clone());
        }
        let id = write.block;
        let device = &self.devices[usize::from(id.device.0)];
        let now_ms = self.clock_ms.load(Ordering::Relaxed);
        let mut lane = self.lanes[usize::from(write.lane.0)].lock();
        if !kept {
            device.standing.failed.store(true, Ordering::Release);
            device.standing.leave.store(true, Ordering::Release);
        }
        let Some((since_ms, filled)) = lane.written(id.device, write.sequence, kept) else {
            return;
        };
        let mut left = None;
        if !kept {
            let forgets = is_planted(Mutation::ForgetsWhatAFailedWriteTookAlong);
            if lane.open.as_ref().is_some_and(|open| open.id == id) && !forgets {
                self.flush_open(&mut lane); // is refused when it is taken, and lost like this one
            }
            left = lane.leave_block(id);
        }
        self.publish(&lane, id.device);
        device
            .standing
            .took(now_ms.saturating_sub(since_ms), now_ms);
        if kept {
            let bytes = write.range.len() as u64;
            device.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        let header = write.range.start == 0;
        if kept && filled.is_none() && !header {
            return;
        }
        let mut space = self.space.lock();
        if kept && header {
            space.header_durable(self.block_seal(write.block).fill);
        }
        if !kept {
            space.fail(id.device);
            space.set_life(id, Life::Broken);
        }
        for id in filled.into_iter().chain(left) {
            self.fill_up(&mut space, id);
        }
    }

    /// Takes a device out of use for writing before anything was appended: it failed in an earlier
    /// life of the node.
    pub fn fail_device(&self, device: DeviceId) {
        let state = &self.devices[usize::from(device.0)];
        state.standing.failed.store(true, Ordering::Release);
        state.standing.leave.store(true, Ordering::Release);
        state.forgiven.store(true, Ordering::Release);
        self.space.lock().fail(device);
    }

    /// Stops waiting for a failed device once nothing is missing for it: every append to it has its
    /// outcome, and the live records among the lost ones were brought to other devices. From then on
    /// what they had superseded waits for those copies instead.
    pub(crate) fn forgive_failed_devices(&self) {
        for (at, device) in self.devices.iter().enumerate() {
            let failed = device.standing.failed.load(Ordering::Acquire);
            if !failed || device.forgiven.load(Ordering::Acquire) {
                continue;
            }
            // Whoever takes a lane after this sees the device's failure, and does not append to it.
            let id = DeviceId(at as u8);
            let settled = |lane: &Mutex<Lane>| lane.lock().is_settled(id);
            if !self.lanes.iter().all(settled) {
                continue;
            }
            let mut space = self.space.lock();
            if space.unrescued_blocks() == 0 {
                device.forgiven.store(true, Ordering::Release);
                space.renew_quarantine(&self.awaited());
            }
        }
    }

    /// What became of an append.
    pub fn commit(&self, point: CommitPoint) -> Commit {
        if is_planted(Mutation::AcknowledgesBeforeDurable) {
            return Commit::Durable;
        }
        if self.position(point.lane, point.device).durable() < point.position {
            return Commit::Pending;
        }
        self.lanes[usize::from(point.lane.0)]
            .lock()
            .commit(point.device, point.position)
    }

    /// The ends of what was appended for clients and other nodes by now, where their outcome is not known yet. Empty
    /// where there are no devices.
    pub fn unsettled(&self) -> Vec<CommitPoint> {
        let lanes = (0..self.config.cores).map(|core| self.write_lane(core));
        let devices = || (0..self.devices.len()).map(|device| DeviceId(device as u8));
        let ends = lanes.flat_map(|lane| {
            devices().map(move |device| CommitPoint {
                lane,
                device,
                position: self.position(lane, device).appended(),
            })
        });
        ends.filter(|point| !self.is_settled(point)).collect()
    }

    /// Whether the outcome of an append, and of all before it on its lane's way to its device, is known: durable, or
    /// lost with the device.
    pub fn is_settled(&self, point: &CommitPoint) -> bool {
        self.position(point.lane, point.device).durable() >= point.position
    }

    /// Where the bytes of a place are. The caller holds the mutex of the partition whose index
    /// points there, so the block cannot be reused meanwhile.
    pub fn locate(&self, place: Place) -> Located {
        let id = self.block_of(place);
        let within = place.start.bytes() % u64::from(self.config.block_bytes);
        let bytes = place.length.bytes() as usize;
        match &*self.block(id).buffer.load() {
            Some(buffer) => Located::Memory(Resident {
                buffer: buffer.clone(),
                offset: within as usize,
                bytes,
            }),
            None => Located::Device(self.device_read(place, id)),
        }
    }

    /// Asks the CPU for the front of a record that is in memory, ahead of its being read.
    pub fn prefetch(&self, place: Place) {
        const LINE_BYTES: usize = 64;
        let within = (place.start.bytes() % u64::from(self.config.block_bytes)) as usize;
        let bytes = (place.length.bytes() as usize).min(PREFETCH_BYTES);
        if let Some(buffer) = &*self.block(self.block_of(place)).buffer.load()
            && let Some(front) = buffer.bytes(within..within + bytes)
        {
            front
                .chunks(LINE_BYTES)
                .for_each(|line| prefetch_line(&line[0]));
        }
    }

    fn device_read(&self, place: Place, id: BlockId) -> DeviceRead {
        let sector = self.sector_bytes(id) as u64;
        let start = place.start.bytes();
        let offset = start / sector * sector;
        let end = (start + place.length.bytes()).next_multiple_of(sector);
        DeviceRead {
            device: place.device,
            offset,
            bytes: (end - offset) as usize,
            skip: (start - offset) as usize,
            place,
            seal: self.seal(place),
        }
    }

    /// Counts a read that the device refused or that brought wrong bytes.
    pub fn count_read_error(&self, device: DeviceId) {
        self.devices[usize::from(device.0)]
            .read_errors
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Reads of a device that failed or brought wrong bytes.
    pub fn read_errors(&self, device: DeviceId) -> u64 {
        self.devices[usize::from(device.0)]
            .read_errors
            .load(Ordering::Relaxed)
    }

    /// Whether an append was refused since the last call; the caller's hint to run defrag at once.
    pub fn take_stalled(&self) -> bool {
        self.stalled.swap(false, Ordering::Relaxed)
    }

    /// The oldest fill of which any block still holds bytes, or would again after a stop now: what was
    /// appended before it is gone from every device. `u64::MAX` when nothing was ever written.
    pub fn oldest_fill(&self) -> u64 {
        let blocks = self.devices.iter().flat_map(|device| device.blocks.iter());
        let oldest = blocks
            .map(|block| block.fill.load(Ordering::Acquire))
            .filter(|fill| *fill != 0)
            .min();
        // Asked last: a block that is opened meanwhile was seen above or is known here.
        let behind = self.space.lock().oldest_fill_behind();
        oldest.into_iter().chain(behind).min().unwrap_or(u64::MAX)
    }

    /// Notes that a block holds something which could not be told at this start and may be readable at
    /// the next: it counts as older than any delete until it is filled anew.
    pub fn holds_unknown(&self, id: BlockId) {
        self.note_fill(id, UNKNOWN_FILL);
    }

    /// How full the log is.
    pub fn report(&self) -> SpaceReport {
        let clients: Vec<(u64, u64)> = self
            .lanes
            .iter()
            .map(|lane| lane.lock().clients())
            .collect();
        let space = self.space.lock();
        let block_bytes = u64::from(self.config.block_bytes);
        let blocks: u64 = self
            .devices
            .iter()
            .map(|device| u64::from(device.geometry.blocks))
            .sum();
        let written = |device: &Device| device.written_bytes.load(Ordering::Relaxed);
        let failed = |device: &DeviceId| space.is_failed(*device);
        SpaceReport {
            total_bytes: blocks * block_bytes,
            live_bytes: self.live_bytes(),
            free_bytes: space.free_blocks() as u64 * block_bytes,
            quarantined_blocks: space.quarantined_blocks() as u64,
            worth_moving_blocks: space.ranking.below(self.low_water_step()) as u64,
            damaged_blocks: space.damaged_blocks() as u64,
            unrescued_blocks: space.unrescued_blocks() as u64,
            moved_blocks: self.moved_blocks.load(Ordering::Relaxed),
            failed_devices: self.device_ids().filter(failed).count() as u64,
            client_records: clients.iter().map(|(records, _)| records).sum(),
            client_bytes: clients.iter().map(|(_, bytes)| bytes).sum(),
            written_bytes: self.devices.iter().map(written).sum(),
        }
    }

    /// Why an append of a client's record that needs a new block would be refused for good now; `None`
    /// while there is a block to open, or one will become free.
    pub fn refusal(&self) -> Option<NoSpace> {
        let space = self.space.lock();
        let short = space.free_blocks() <= self.config.reserve_blocks();
        (short || self.is_past_live_max())
            .then(|| self.no_space(&space))
            .filter(|refusal| *refusal != NoSpace::Wait)
    }

    /// Whether a device was taken out of use because a write to it failed.
    pub fn device_failed(&self, device: DeviceId) -> bool {
        let device = &self.devices[usize::from(device.0)];
        device.standing.failed.load(Ordering::Acquire)
    }

    /// Whether a device is slow while another of the namespace is not.
    pub fn device_slow(&self, device: DeviceId) -> bool {
        let device = &self.devices[usize::from(device.0)];
        device.standing.leave.load(Ordering::Relaxed)
    }

    /// Bytes written to a device since the start.
    pub fn device_written_bytes(&self, device: DeviceId) -> u64 {
        let device = &self.devices[usize::from(device.0)];
        device.written_bytes.load(Ordering::Relaxed)
    }

    /// Blocks of one device that hold nothing and can be opened; none of a failed device can.
    pub fn device_blocks_free(&self, device: DeviceId) -> u64 {
        let space = self.space.lock();
        if space.is_failed(device) {
            0
        } else {
            space.free_blocks_of(device) as u64
        }
    }

    /// Live bytes of one device.
    pub fn device_live_bytes(&self, device: DeviceId) -> u64 {
        let device = &self.devices[usize::from(device.0)];
        device.live_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;

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

pub mod format;
mod lane;
pub mod memory;
pub mod recover;
pub(crate) mod space;
mod tally;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use karst_data::flat::Seal;
use karst_io::buffer::AppendBuffer;
use parking_lot::Mutex;

pub use lane::{Commit, CommitPoint, DeviceWrite, LaneId};
pub use memory::{LeftBlock, LogMemory, MemoryIdentity, MemoryRefused};
pub use space::BlockId;
pub use tally::{LiveTally, NoSuchPlace};

use self::format::{BLOCK_HEADER_BYTES, BlockHeader};
use self::lane::Lane;
use self::space::{Block, Life, Space};
use crate::index::prefetch_line;
use crate::place::{DeviceId, Place, RBLOCK_BYTES, Rblocks, START_BITS};

/// Part of the usable blocks that live records may fill before writes are refused, in percent. Above
/// it moving records costs more than five writes for each one a client makes.
pub const LIVE_PERCENT_MAX: u64 = 85;

/// Memory that buffers for blocks are carved from, in bytes.
const PIECE_BYTES: usize = 8 << 20;

/// Most bytes of a record that are asked for ahead; what follows the CPU fetches by itself.
const PREFETCH_BYTES: usize = 1088;

/// Live part of a block, in percent, up to which it is moved when free blocks are short.
pub(crate) const PRESSED_LIVE_PERCENT_MAX: u64 = 95;

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
    /// Blocks below the low-water mark that wait to be moved.
    pub worth_moving_blocks: u64,
    /// Blocks whose live records were moved since the start.
    pub moved_blocks: u64,
    /// Devices that failed.
    pub failed_devices: u64,
}

struct Device {
    geometry: DeviceGeometry,
    blocks: Box<[Block]>,
    read_errors: AtomicU64,
}

/// A lane's positions, readable without its mutex.
#[derive(Default)]
pub(crate) struct Positions {
    appended: AtomicU64,
    durable: AtomicU64,
}

/// See [the module](self).
pub struct Log {
    config: LogConfig,
    devices: Vec<Device>,
    lanes: Vec<Mutex<Lane>>,
    pub(crate) positions: Vec<Positions>,
    pub(crate) space: Mutex<Space>,
    /// Buffers for blocks to be opened. The first touch of fresh memory costs more than the
    /// whole block's records do, so buffers are used again.
    spare: Mutex<Vec<Arc<AppendBuffer>>>,
    /// Blocks that stay in memory for reads, oldest first.
    cache: Mutex<VecDeque<(BlockId, u64)>>,
    fills: AtomicU64,
    live_bytes: AtomicU64,
    pub(crate) moved_blocks: AtomicU64,
    stalled: AtomicBool,
    /// Where fills and buffers are, if they are to outlive the process.
    memory: Option<LogMemory>,
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
            read_errors: AtomicU64::new(0),
        };
        Ok(Log {
            devices: config.devices.iter().map(device).collect(),
            lanes: (0..config.lanes())
                .map(|lane| Mutex::new(Lane::new(LaneId(lane))))
                .collect(),
            positions: (0..config.lanes()).map(|_| Positions::default()).collect(),
            space: Mutex::new(Space::new(&counts)),
            spare: Mutex::new(Vec::new()),
            cache: Mutex::new(VecDeque::new()),
            fills: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
            moved_blocks: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            memory,
            config,
        })
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
        let length = Rblocks::holding(size_bytes as u64);
        let bytes = length.bytes() as usize;
        if bytes > self.record_bytes_max() {
            return Err(NoSpace::TooBig { size_bytes });
        }
        let mut filling = self.lanes[usize::from(lane.0)].lock();
        if !filling.has_room(bytes) {
            self.turn_over(&mut filling, purpose)?;
        }
        let open = filling.open.as_ref().expect("a block was just opened");
        let (id, fill) = (open.id, open.fill);
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
        if !self.config.on_devices {
            filling.settle_all();
        }
        let commit = CommitPoint {
            lane,
            position: filling.appended,
        };
        self.publish(&filling);
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
        self.block(self.block_of(place))
            .add_live(place.length.bytes() as u32);
        self.live_bytes
            .fetch_add(place.length.bytes(), Ordering::Relaxed);
    }

    /// Counts a place as dead: the index no longer points at it.
    pub fn release(&self, place: Place) {
        let id = self.block_of(place);
        let bytes = place.length.bytes() as u32;
        let left = self.block(id).remove_live(bytes);
        self.live_bytes
            .fetch_sub(u64::from(bytes), Ordering::Relaxed);
        let low_water = self.low_water_bytes();
        if left == 0 || (left < low_water && left + bytes >= low_water) {
            self.settle(&mut self.space.lock(), id);
        }
    }

    fn low_water_bytes(&self) -> u32 {
        let percent = u64::from(self.config.defrag_low_water_percent);
        (u64::from(self.config.block_bytes) * percent / 100) as u32
    }

    /// Moves a block on in its life according to what is left in it.
    pub(crate) fn settle(&self, space: &mut Space, id: BlockId) {
        let live = self.block(id).live_bytes.load(Ordering::Acquire);
        match space.life(id) {
            Life::Full | Life::WorthMoving if live == 0 => self.retire(space, id),
            Life::Full if live < self.low_water_bytes() => space.note_worth_moving(id),
            Life::Full
            | Life::WorthMoving
            | Life::Free
            | Life::Open
            | Life::Moving
            | Life::Quarantined
            | Life::Broken => {}
        }
    }

    /// Lets go of a block that holds nothing live.
    ///
    /// What superseded its records was appended, and its position published, before each record was
    /// released; so the positions read here cover all of it.
    pub(crate) fn retire(&self, space: &mut Space, id: BlockId) {
        if self.config.on_devices {
            space.quarantine(id, self.positions.iter().map(Positions::appended).collect());
        } else {
            self.recycle(self.block(id).buffer.swap(None));
            space.quarantine(id, Box::new([]));
            space.release_quarantine(&[]);
        }
    }

    /// Frees the blocks whose successors are durable by now.
    pub(crate) fn release_quarantine(&self, space: &mut Space) {
        let durable: Vec<u64> = self.positions.iter().map(Positions::durable).collect();
        space.release_quarantine(&durable);
    }

    /// Leaves the lane's open block, if any, and opens another.
    fn turn_over(&self, lane: &mut Lane, purpose: Purpose) -> Result<(), NoSpace> {
        let mut space = self.space.lock();
        self.release_quarantine(&mut space);
        let spare = match purpose {
            Purpose::Record => self.config.reserve_blocks(),
            Purpose::Tombstone => self.config.reserve_blocks() / 2,
            Purpose::Move => 0,
        };
        if space.free_blocks() <= spare {
            self.stalled.store(true, Ordering::Relaxed);
            return Err(self.no_space(&space));
        }
        self.close(lane, &mut space);
        let id = space.open().ok_or(NoSpace::Failed)?;
        drop(space);
        let block = self.block(id);
        let fill = self.fills.fetch_add(1, Ordering::AcqRel) + 1;
        let number = self.devices[usize::from(id.device.0)].geometry.number;
        let Some(buffer) = self.take_buffer() else {
            self.space.lock().give_back(id);
            return Err(NoSpace::Wait); // memory for a buffer is short; others may return theirs
        };
        self.note_fill(id, fill);
        Log::label_buffer(&buffer, id, fill);
        self.recycle(block.buffer.swap(Some(buffer.clone())));
        lane.begin(
            id,
            buffer,
            BlockHeader {
                device: number,
                fill,
                block: id.block,
            },
        );
        Ok(())
    }

    /// Whether waiting can help where no block is free.
    fn no_space(&self, space: &Space) -> NoSpace {
        if (0..self.devices.len()).all(|device| space.is_failed(DeviceId(device as u8))) {
            return NoSpace::Failed;
        }
        if self.live_bytes.load(Ordering::Relaxed) > self.live_bytes_max() {
            return NoSpace::Full;
        }
        NoSpace::Wait
    }

    /// Live bytes beyond which clients' records are refused.
    pub fn live_bytes_max(&self) -> u64 {
        let blocks: u64 = self
            .devices
            .iter()
            .map(|device| u64::from(device.geometry.blocks))
            .sum();
        let usable = blocks - self.config.reserve_blocks() as u64;
        usable * u64::from(self.config.block_bytes) * LIVE_PERCENT_MAX / 100
    }

    /// Flushes and leaves the lane's open block.
    fn close(&self, lane: &mut Lane, space: &mut Space) {
        let Some(open) = lane.open.as_ref() else {
            return;
        };
        let id = open.id;
        if self.config.on_devices {
            lane.flush(self.config.block_offset(id.block), self.sector_bytes(id));
            self.publish(lane);
        }
        if let Some((id, true)) = lane.close() {
            self.fill_up(space, id);
        }
    }

    /// A block is filled and all its writes are done.
    fn fill_up(&self, space: &mut Space, id: BlockId) {
        if space.life(id) != Life::Open {
            return; // a write to it failed
        }
        space.set_life(id, Life::Full);
        if self.config.on_devices {
            self.keep_for_reads(id);
        }
        self.settle(space, id);
    }

    /// Lets a written block stay in memory, and the oldest such blocks go.
    fn keep_for_reads(&self, id: BlockId) {
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

    fn publish(&self, lane: &Lane) {
        let positions = &self.positions[usize::from(lane.id().0)];
        positions.appended.store(lane.appended, Ordering::Release);
        positions.durable.store(lane.durable, Ordering::Release);
    }

    /// Submits what a lane holds if anything in it was appended at or before `before_ms`.
    pub fn flush(&self, lane: LaneId, before_ms: u64) {
        if !self.config.on_devices {
            return;
        }
        let mut lane = self.lanes[usize::from(lane.0)].lock();
        if let Some(open) = lane.open.as_ref()
            && lane.waits_since(before_ms)
        {
            let id = open.id;
            lane.flush(self.config.block_offset(id.block), self.sector_bytes(id));
            self.publish(&lane);
        }
    }

    /// Moves the writes that a lane has submitted to `out`, for the caller to perform.
    pub fn take_writes(&self, lane: LaneId, out: &mut Vec<DeviceWrite>) {
        self.lanes[usize::from(lane.0)].lock().take_writes(out);
    }

    /// Takes the completion of a write. One that failed takes its device out of use.
    pub fn written(&self, write: &DeviceWrite, kept: bool) {
        if kept {
            write.source.settle(write.range.clone());
        }
        let mut lane = self.lanes[usize::from(write.lane.0)].lock();
        let filled = lane.written(write.sequence, kept);
        let leaves_open = !kept
            && lane
                .open
                .as_ref()
                .is_some_and(|open| open.id == write.block);
        if leaves_open {
            lane.close();
        }
        self.publish(&lane);
        if kept && filled.is_none() {
            return;
        }
        let mut space = self.space.lock();
        if !kept {
            space.fail(write.block.device);
            space.set_life(write.block, Life::Broken);
        }
        if let Some(id) = filled {
            self.fill_up(&mut space, id);
        }
    }

    /// What became of an append.
    pub fn commit(&self, point: CommitPoint) -> Commit {
        let positions = &self.positions[usize::from(point.lane.0)];
        if positions.durable() < point.position {
            return Commit::Pending;
        }
        self.lanes[usize::from(point.lane.0)]
            .lock()
            .commit(point.position)
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

    /// The oldest fill of which any block still holds bytes: what was appended before it is gone from
    /// every device. `u64::MAX` when nothing was ever written.
    pub fn oldest_fill(&self) -> u64 {
        let fills = self.devices.iter().flat_map(|device| device.blocks.iter());
        fills
            .map(|block| block.fill.load(Ordering::Acquire))
            .filter(|fill| *fill != 0)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// How full the log is.
    pub fn report(&self) -> SpaceReport {
        let space = self.space.lock();
        let block_bytes = u64::from(self.config.block_bytes);
        let blocks: u64 = self
            .devices
            .iter()
            .map(|device| u64::from(device.geometry.blocks))
            .sum();
        let failed = |device: &usize| space.is_failed(DeviceId(*device as u8));
        SpaceReport {
            total_bytes: blocks * block_bytes,
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            free_bytes: space.free_blocks() as u64 * block_bytes,
            quarantined_blocks: space.quarantined_blocks() as u64,
            worth_moving_blocks: space.worth_moving_blocks() as u64,
            moved_blocks: self.moved_blocks.load(Ordering::Relaxed),
            failed_devices: (0..self.devices.len()).filter(failed).count() as u64,
        }
    }

    /// Why an append of a client's record that needs a new block would be refused for good now; `None`
    /// while there is a block to open, or one will become free.
    pub fn refusal(&self) -> Option<NoSpace> {
        let space = self.space.lock();
        let short = space.free_blocks() <= self.config.reserve_blocks();
        short
            .then(|| self.no_space(&space))
            .filter(|refusal| *refusal != NoSpace::Wait)
    }

    /// Whether a device was taken out of use because a write to it failed.
    pub fn device_failed(&self, device: DeviceId) -> bool {
        self.space.lock().is_failed(device)
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
        let blocks = self.devices[usize::from(device.0)].blocks.iter();
        blocks
            .map(|block| u64::from(block.live_bytes.load(Ordering::Relaxed)))
            .sum()
    }
}

impl Positions {
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;

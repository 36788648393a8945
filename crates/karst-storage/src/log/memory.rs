//! What of a log outlives its process: which fill each block is in, and the blocks still being written.
//!
//! ```text
//! header   16 words: magic, layout, shape, boot id (2), cluster id (2), session, state, buffers
//! fills    one word for every block of every device, in order
//! buffers  a slot for each block that is in memory, with notes: see `karst_io::buffer::Slots`
//!            label: device (position) | block | fill
//! ```
//!
//! Lies in a file of a memory file system. A process that is killed leaves it as it was between two of its
//! stores; the next one takes it over when header and devices agree that nothing happened in between.
//! Everything here is checked before it is believed, and what contradicts itself is refused: then a
//! scan of the devices finds what is durable.
//!
//! A block's fill is stored before any record is appended to it. Appended bytes count once `filled` says
//! so. The record that was being appended is not in the index yet, or only there: whoever takes the
//! log over looks at the records of the blocks that were not durable and lets the higher version win, as a scan
//! would.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use karst_io::buffer::{AppendBuffer, Carver, Region, Slots, Words};

use super::recover::ScannedBlock;
use super::space::{BlockId, Life, UNKNOWN_FILL};
use super::{Log, LogConfig, OUTSTANDING_BLOCKS_MAX};
use crate::place::DeviceId;

const HEADER_WORDS: usize = 16;
const MAGIC: u64 = u64::from_le_bytes(*b"KARSTMEM");
/// Rises with every change of what lies where, or of what it means.
const LAYOUT: u64 = 2;

const AT_MAGIC: usize = 0;
const AT_LAYOUT: usize = 1;
const AT_SHAPE: usize = 2;
const AT_BOOT: usize = 3;
const AT_CLUSTER: usize = 5;
const AT_SESSION: usize = 7;
const AT_STATE: usize = 8;
const AT_BUFFERS: usize = 9;

/// More buffers than any configuration asks for.
const BUFFERS_SANE: usize = 1 << 22;

const BUILDING: u64 = 1;
const SERVING: u64 = 2;

/// Buffers beyond the cache that a lane may need on each device: its open or parked block, and those whose
/// writes are out.
const BUFFERS_PER_WAY: usize = OUTSTANDING_BLOCKS_MAX + 1;

/// Buffers for whoever still reads a block that is left.
const BUFFERS_MIN: usize = 32;

/// What memory and devices must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryIdentity {
    /// The system's boot: memory does not outlive it, but a file may.
    pub boot: [u8; 16],
    /// The cluster.
    pub cluster: [u8; 16],
    /// The session that the devices' superblocks name.
    pub session: u64,
}

/// Why memory that was found cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryRefused {
    /// Nothing is there.
    #[error("there is no shared memory of an earlier process")]
    Empty,
    /// Not ours, or of another version.
    #[error("it was left by another version of Karst")]
    Layout,
    /// The configuration changed.
    #[error("the devices or write_block have changed")]
    Shape,
    /// The system was started since.
    #[error("the machine was restarted since")]
    Boot,
    /// Another cluster's.
    #[error("it belongs to another cluster")]
    Cluster,
    /// The devices were in use without it.
    #[error("the devices were in use without it: they are in session {devices}, it is in {memory}")]
    Session {
        /// Session of the devices.
        devices: u64,
        /// Session of the memory.
        memory: u64,
    },
    /// The process that made it did not come as far as to serve.
    #[error("the start that made it was not finished")]
    Unfinished,
    /// The file cannot be used.
    #[error("the memory file system refuses: {0}")]
    System(io::ErrorKind),
}

/// Memory for one log.
pub struct LogMemory {
    header: Words,
    fills: Vec<Words>,
    pub(super) slots: Slots,
    left: Vec<AppendBuffer>,
}

/// A block that the process before this one had not made durable.
pub struct LeftBlock {
    /// The block.
    pub id: BlockId,
    /// Its content.
    pub buffer: Arc<AppendBuffer>,
    /// Bytes from its front that are durable.
    pub durable: usize,
    fill: u64,
}

impl LogConfig {
    /// Buffers for blocks that there may be at once.
    pub(super) fn buffers_max(&self) -> usize {
        let cached = (self.cache_bytes / u64::from(self.block_bytes)) as usize;
        let ways = usize::from(self.lanes()) * self.devices.len();
        cached + BUFFERS_PER_WAY * ways + BUFFERS_MIN
    }

    /// A number that differs when the layout of the memory would.
    fn shape(&self) -> u64 {
        let mut shape = crc32c::crc32c(&self.block_bytes.to_le_bytes());
        let mut add = |value: u64| shape = crc32c::crc32c_append(shape, &value.to_le_bytes());
        for device in &self.devices {
            add(device.number);
            add(u64::from(device.blocks));
        }
        u64::from(shape) | (self.devices.len() as u64) << 32
    }
}

impl LogMemory {
    /// Bytes of the region that [`LogMemory::create`] and [`LogMemory::attach`] want.
    pub fn bytes(config: &LogConfig) -> usize {
        let blocks: usize = config
            .devices
            .iter()
            .map(|device| device.blocks as usize)
            .sum();
        let words = (HEADER_WORDS + blocks) * size_of::<u64>();
        Slots::size(words, config.block_bytes as usize, config.buffers_max())
    }

    fn lay_out(mut carver: Carver, header: Words, config: &LogConfig) -> io::Result<LogMemory> {
        let buffers = header[AT_BUFFERS].load(Ordering::Acquire) as usize;
        let fills = config.devices.iter();
        let fills = fills
            .map(|device| carver.words(device.blocks as usize))
            .collect();
        let slots = Slots::new(carver, config.block_bytes as usize, buffers)?;
        Ok(LogMemory {
            header,
            fills,
            slots,
            left: Vec::new(),
        })
    }

    /// Lays out memory that is all zero. It cannot be taken over before [`LogMemory::begin_session`].
    ///
    /// # Errors
    /// The memory file system has no room.
    pub fn create(
        region: Region,
        config: &LogConfig,
        identity: &MemoryIdentity,
    ) -> io::Result<LogMemory> {
        region.back(HEADER_WORDS * size_of::<u64>())?;
        let mut carver = Carver::new(region);
        let header = carver.words(HEADER_WORDS);
        header[AT_STATE].store(BUILDING, Ordering::Release);
        header[AT_BUFFERS].store(config.buffers_max() as u64, Ordering::Release);
        let memory = LogMemory::lay_out(carver, header, config)?;
        memory.set(AT_LAYOUT, LAYOUT);
        memory.set(AT_SHAPE, config.shape());
        for (half, bytes) in [(AT_BOOT, identity.boot), (AT_CLUSTER, identity.cluster)] {
            let (words, _) = bytes.as_chunks::<8>();
            memory.set(half, u64::from_le_bytes(words[0]));
            memory.set(half + 1, u64::from_le_bytes(words[1]));
        }
        memory.set(AT_SESSION, identity.session);
        memory.set(AT_MAGIC, MAGIC);
        Ok(memory)
    }

    /// Takes over what an earlier process left.
    ///
    /// # Errors
    /// When it does not belong to these devices as they are now. Nothing was changed.
    pub fn attach(
        region: Region,
        config: &LogConfig,
        identity: &MemoryIdentity,
    ) -> Result<LogMemory, MemoryRefused> {
        if region.backed_bytes() == 0 {
            return Err(MemoryRefused::Empty);
        }
        if region.backed_bytes() < HEADER_WORDS * size_of::<u64>() {
            return Err(MemoryRefused::Unfinished);
        }
        let system = |error: io::Error| MemoryRefused::System(error.kind());
        let mut carver = Carver::new(region);
        let header = carver.words(HEADER_WORDS);
        check(&header, config, identity)?;
        let buffers = header[AT_BUFFERS].load(Ordering::Acquire) as usize;
        let blocks: usize = config
            .devices
            .iter()
            .map(|device| device.blocks as usize)
            .sum();
        let notes = (HEADER_WORDS + blocks) * size_of::<u64>();
        let fits =
            buffers <= BUFFERS_SANE && Slots::size(notes, 0, buffers) <= carver.region().len();
        if !fits {
            return Err(MemoryRefused::Layout);
        }
        let mut memory = LogMemory::lay_out(carver, header, config).map_err(system)?;
        memory.left = memory.slots.left().map_err(system)?;
        Ok(memory)
    }

    /// The memory holds all there is to know from here on. Called when the devices' superblocks name this
    /// session, before the first request is served.
    pub fn begin_session(&self, session: u64) {
        self.set(AT_SESSION, session);
        self.set(AT_STATE, SERVING);
    }

    /// What this holds cannot be relied on any more: the next start scans the devices.
    pub fn disown(&self) {
        self.set(AT_STATE, BUILDING);
    }

    fn set(&self, at: usize, value: u64) {
        self.header[at].store(value, Ordering::Release);
    }

    /// The fill that a block is in; 0 before its first.
    pub(super) fn fill(&self, id: BlockId) -> u64 {
        self.fills[usize::from(id.device.0)][id.block as usize].load(Ordering::Acquire)
    }

    pub(super) fn set_fill(&self, id: BlockId, fill: u64) {
        self.fills[usize::from(id.device.0)][id.block as usize].store(fill, Ordering::Release);
    }

    /// The block that a buffer's notes name, and its fill, if it is a block of this log in that fill.
    fn owner(&self, config: &LogConfig, label: [u64; 3]) -> Option<BlockId> {
        let [device, block, fill] = label;
        let geometry = config.devices.get(usize::try_from(device).ok()?)?;
        let id = BlockId {
            device: DeviceId(u8::try_from(device).ok()?),
            block: u32::try_from(block)
                .ok()
                .filter(|block| *block < geometry.blocks)?,
        };
        (self.fill(id) == fill).then_some(id)
    }
}

/// Whether memory belongs to these devices as they are now.
fn check(
    header: &Words,
    config: &LogConfig,
    identity: &MemoryIdentity,
) -> Result<(), MemoryRefused> {
    let get = |at: usize| header[at].load(Ordering::Acquire);
    let is = |at: usize, bytes: &[u8; 16]| {
        let (words, _) = bytes.as_chunks::<8>();
        get(at) == u64::from_le_bytes(words[0]) && get(at + 1) == u64::from_le_bytes(words[1])
    };
    let session = get(AT_SESSION);
    if get(AT_MAGIC) != MAGIC || get(AT_LAYOUT) != LAYOUT {
        Err(MemoryRefused::Layout)
    } else if !is(AT_CLUSTER, &identity.cluster) {
        Err(MemoryRefused::Cluster)
    } else if !is(AT_BOOT, &identity.boot) {
        Err(MemoryRefused::Boot)
    } else if get(AT_STATE) != SERVING {
        Err(MemoryRefused::Unfinished)
    } else if get(AT_SHAPE) != config.shape() {
        Err(MemoryRefused::Shape)
    } else if session != identity.session {
        let devices = identity.session;
        Err(MemoryRefused::Session {
            devices,
            memory: session,
        })
    } else {
        Ok(())
    }
}

impl Log {
    /// Says in the memory that outlives the process which block a buffer is for.
    pub(super) fn label_buffer(buffer: &AppendBuffer, id: BlockId, fill: u64) {
        buffer.label([u64::from(id.device.0), u64::from(id.block), fill]);
    }

    /// Notes a block's fill, here and in the memory that outlives the process.
    pub(super) fn note_fill(&self, id: BlockId, fill: u64) {
        self.block(id).fill.store(fill, Ordering::Release);
        if let Some(memory) = &self.memory {
            memory.set_fill(id, fill);
        }
    }

    /// Learns from the memory which fill each block is in, and which blocks are not durable. The content
    /// of those is in memory from here on. `claim` the places that the index points at, let the index see the
    /// records of every [`LeftBlock`], write those to their devices ([`Log::left_write`]), then
    /// [`Log::finish_take_over`].
    pub fn take_over(&mut self) -> Vec<LeftBlock> {
        let Some(mut memory) = self.memory.take() else {
            return Vec::new();
        };
        let mut left = Vec::new();
        for (number, device) in self.devices.iter().enumerate() {
            for (block, state) in device.blocks.iter().enumerate() {
                let fill = memory.fills[number][block].load(Ordering::Acquire);
                state.fill.store(fill, Ordering::Release);
                self.fills.fetch_max(fill, Ordering::AcqRel);
            }
        }
        for buffer in std::mem::take(&mut memory.left) {
            let buffer = Arc::new(buffer);
            let found = buffer.notes().filter(|notes| notes.durable < notes.filled);
            let owner =
                found.and_then(|notes| Some((notes, memory.owner(&self.config, notes.label)?)));
            let Some((notes, id)) = owner else {
                self.recycle(Some(buffer));
                continue;
            };
            self.block(id).buffer.store(Some(buffer.clone()));
            left.push(LeftBlock {
                id,
                buffer,
                durable: notes.durable,
                fill: notes.label[2],
            });
        }
        self.memory = Some(memory);
        left
    }

    /// The records of a block that was left, all of them.
    pub fn left_records<'a>(&'a self, left: &'a LeftBlock) -> ScannedBlock<'a> {
        let bytes = left.buffer.bytes(0..left.buffer.filled());
        self.scan_block(left.id, bytes.unwrap_or_default())
    }

    /// The write that makes a block durable that was left: the offset on its device, and the bytes, on
    /// sector boundaries. Some of them may be on the device already, exactly the same.
    pub fn left_write<'a>(&self, left: &'a LeftBlock) -> (u64, &'a [u8]) {
        let sector = self.sector_bytes(left.id);
        let end = left.buffer.pad_to(sector);
        let begin = left.durable / sector * sector;
        let (offset, _) = self.block_extent(left.id);
        let bytes = left.buffer.bytes(begin..end).unwrap_or_default();
        (offset + begin as u64, bytes)
    }

    /// Takes the outcome of [`Log::left_write`]. One that failed takes the device out of use; what the
    /// block holds can be read from memory for as long as this process lives.
    pub fn left_written(&self, left: LeftBlock, kept: bool) {
        if kept {
            left.buffer.settle(0..left.buffer.filled());
            drop(left.buffer);
            self.recycle(self.block(left.id).buffer.swap(None));
        } else {
            self.fail_device(left.id.device);
            let mut space = self.space.lock();
            if left.durable == 0 {
                space.begin_fill(left.fill, UNKNOWN_FILL); // no header ends what it held before
            }
            // Which fill of the block its device still holds is not known.
            space.begin_fill(left.fill, 1);
            space.set_life(left.id, Life::Broken);
            space.note_unrescued(left.id);
        }
    }

    /// The memory that outlives the process, if there is any.
    pub fn memory(&self) -> Option<&LogMemory> {
        self.memory.as_ref()
    }
}

#[cfg(test)]
mod tests;

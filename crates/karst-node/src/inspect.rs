//! `inspect`: an offline, read-only look at a device and what lies on it.
//!
//! Walks the blocks of one device as recovery would, but tells instead of loading. Without an index
//! there is no telling which version of a record is the live one, so every sound one is counted: a
//! record that was overwritten counts until defrag reuses its block.
//!
//! Memory is bounded by one block and the lists of the report ([`ROWS_MAX`], [`SETS_MAX`]), however large
//! the device. Nothing is written. A running node keeps its device locked, so it cannot be inspected
//! unless the lock is declined, and then blocks may change while they are read.

mod print;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use karst_data::flat::{Record, Seal};
use karst_io::buffer::AlignedBuffer;
use karst_io::device::{Device, OpenError, OpenOptions};
use karst_io::op::IoFailure;
use karst_storage::log::codec::{Codec, Compression, Opened};
use karst_storage::log::format::{
    BLOCK_HEADER_BYTES, BlockHeader, Front, SUPERBLOCK_BYTES, Superblock, read_front,
};
use karst_storage::log::recover::{Scanned, ScannedBlock, StoredRecord, Testimony};
use karst_storage::place::{DeviceId, Version};
use serde::Serialize;

use crate::boot::key::{self, KeyError};

/// Most blocks that a report lists; those beyond are summed only.
pub const ROWS_MAX: usize = 1 << 16;

/// Most sets that a report tells apart; a namespace has no more.
pub const SETS_MAX: usize = 4096;

/// Larger blocks than any configuration allows mean that the superblock is not to be trusted.
const BLOCK_BYTES_MAX: u32 = 64 << 20;

/// Command line of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Block device or file.
    pub device: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
    /// Lists the blocks that hold something.
    #[arg(long)]
    pub blocks: bool,
    /// Lists the records of one block and leaves the others unread.
    #[arg(long, value_name = "N", conflicts_with = "blocks")]
    pub block: Option<u32>,
    /// Reads although a node has the device open; what it shows may be half changed.
    #[arg(long)]
    pub while_running: bool,
    /// The namespace's encryption_key_file: without it records of an encrypted device are only counted.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// What to look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// List the blocks that hold something.
    pub blocks: bool,
    /// Read this block alone and list its records.
    pub block: Option<u32>,
    /// Do not ask for the lock that a running node holds.
    pub while_running: bool,
    /// The key file of an encrypted device.
    pub key_file: Option<&'a Path>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The device cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Its front cannot be read.
    #[error("{path}: its superblocks cannot be read: {failure}")]
    Front {
        /// The device.
        path: PathBuf,
        /// What the system said.
        failure: IoFailure,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is not that of the device.
    #[error("the key file does not hold the key of this device")]
    WrongKey,
    /// It starts with zeros.
    #[error("{path} was never used: it starts with zeros")]
    Blank {
        /// The device.
        path: PathBuf,
    },
    /// It was written in a format that this version does not read.
    #[error("{path} was written by another version of Karst: its format is {found}")]
    OtherFormat {
        /// The device.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It holds something else, or both superblocks are damaged.
    #[error("{path} is no Karst device: it has no sound superblock")]
    Foreign {
        /// The device.
        path: PathBuf,
    },
    /// The superblock is sound, but describes no layout of ours.
    #[error("{path}: blocks of {block_bytes} bytes on sectors of {sector_bytes} cannot be read")]
    Layout {
        /// The device.
        path: PathBuf,
        /// As the superblock says.
        block_bytes: u32,
        /// Of the device.
        sector_bytes: u32,
    },
    /// The block asked for is not there.
    #[error("there is no block {block}: the device has {blocks}, from 0")]
    NoBlock {
        /// The block.
        block: u32,
        /// How many there are.
        blocks: u32,
    },
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The device.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Its sector.
    pub sector_bytes: u32,
    /// Both superblocks; the sound one with the higher generation counts.
    pub superblocks: Vec<SuperblockReport>,
    /// What the superblock that counts says.
    pub layout: Layout,
    /// Blocks by what their headers say.
    pub blocks: Blocks,
    /// Over all blocks read.
    pub totals: Totals,
    /// By set, the records in none under the empty name. At most [`SETS_MAX`].
    pub sets: BTreeMap<String, Totals>,
    /// Blocks that hold something, in order; empty unless asked for.
    pub filled_blocks: Vec<BlockRow>,
    /// Blocks that were not listed because there are more than [`ROWS_MAX`].
    pub filled_blocks_unlisted: u64,
    /// Records of the one block asked for.
    pub records: Option<Vec<RecordRow>>,
}

/// One superblock.
#[derive(Debug, Serialize)]
pub struct SuperblockReport {
    /// Whether its checksum is right.
    pub sound: bool,
    /// Counts rewrites; absent unless sound.
    pub generation: Option<u64>,
}

/// How the device is divided, and whose it is.
#[derive(Debug, Serialize)]
pub struct Layout {
    /// The device's own number, hexadecimal.
    pub device: String,
    /// The cluster whose data it holds, hexadecimal.
    pub cluster: String,
    /// The namespace whose data it holds.
    pub namespace: String,
    /// Its position among the namespace's devices.
    pub position: u8,
    /// Which start of a node served from it last.
    pub session: u64,
    /// Whether its records are encrypted.
    pub encrypted: bool,
    /// Size of a block.
    pub block_bytes: u32,
    /// Blocks.
    pub blocks: u32,
    /// Blocks of those that lie beyond the device's end: it was larger once.
    pub blocks_missing: u32,
}

/// Blocks by what their headers say.
#[derive(Debug, Default, Serialize)]
pub struct Blocks {
    /// With a sound header.
    pub filled: u64,
    /// Never written: their header is zeros.
    pub blank: u64,
    /// With a header that is damaged, or is that of another block or device.
    pub damaged: u64,
    /// That the device did not give.
    pub unreadable: u64,
    /// Lowest fill found; 0 if none.
    pub oldest_fill: u64,
    /// Highest fill found; 0 if none.
    pub newest_fill: u64,
}

/// Counts of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Sound records, tombstones not counted; older versions are.
    pub records: u64,
    /// Sound tombstones.
    pub tombstones: u64,
    /// Sound records and tombstones that cannot be told apart without a key.
    pub encrypted: u64,
    /// Bytes of both, padding included.
    pub bytes: u64,
    /// Stretches without a sound record in blocks that were wholly durable once: rot.
    pub damaged: u64,
    /// Such stretches in other blocks: rot too, or the torn end of what was being written when a node
    /// stopped, or what an earlier fill of the block left.
    pub torn_or_stale: u64,
}

impl Totals {
    fn add(&mut self, record: &StoredRecord<'_>) {
        let tombstone = record.facts.meta.tombstone;
        self.records += u64::from(!tombstone);
        self.tombstones += u64::from(tombstone);
        self.bytes += record.place.length.bytes();
    }

    fn merge(&mut self, other: &Totals) {
        self.records += other.records;
        self.tombstones += other.tombstones;
        self.encrypted += other.encrypted;
        self.bytes += other.bytes;
        self.damaged += other.damaged;
        self.torn_or_stale += other.torn_or_stale;
    }
}

/// One block that holds something.
#[derive(Debug, Serialize)]
pub struct BlockRow {
    /// Its number.
    pub block: u32,
    /// How many blocks the namespace had opened when this one was.
    pub fill: u64,
    /// What is in it.
    #[serde(flatten)]
    pub totals: Totals,
}

/// One record.
#[derive(Debug, Serialize)]
pub struct RecordRow {
    /// Byte offset on the device.
    pub offset: u64,
    /// Size with padding.
    pub bytes: u64,
    /// Its digest, hexadecimal.
    pub digest: String,
    /// Its set; empty for none.
    pub set: String,
    /// How often it was written.
    pub generation: u16,
    /// Which write of its partition it is: regime and sequence.
    pub version: String,
    /// Whether it is the memory of a delete.
    pub tombstone: bool,
    /// When it expires, seconds since 2010; 0 never. In a tombstone, the fill it covers.
    pub void_time_s: u32,
    /// When it was last updated, ms since 2010.
    pub update_time_ms: u64,
    /// Whether the key itself is stored.
    pub has_key: bool,
    /// Its bins.
    pub bins: Vec<BinRow>,
}

/// One bin.
#[derive(Debug, Serialize)]
pub struct BinRow {
    /// Its name.
    pub name: String,
    /// The type of its value.
    pub particle: String,
    /// Size of its value.
    pub bytes: usize,
}

/// Runs the command: the report goes to stdout, an error to stderr.
pub fn main(arguments: &Arguments) -> ExitCode {
    let options = Options {
        blocks: arguments.blocks,
        block: arguments.block,
        while_running: arguments.while_running,
        key_file: arguments.key_file.as_deref(),
    };
    let report = match inspect(&arguments.device, options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            if matches!(error, InspectError::Open(OpenError::InUse { .. })) {
                eprintln!("stop its node first, or look all the same with --while-running");
            }
            return ExitCode::FAILURE;
        }
    };
    let text = if arguments.json {
        report.to_json()
    } else {
        report.to_string()
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS, // read enough
        Err(error) => {
            eprintln!("the report cannot be printed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Looks at a device.
///
/// # Errors
/// When it cannot be read or is none of ours; blocks that cannot be read are counted instead.
pub fn inspect(path: &Path, options: Options<'_>) -> Result<Report, InspectError> {
    let how = OpenOptions {
        read_only: true,
        lock: !options.while_running,
        ..Default::default()
    };
    let device = Device::open(path, &how)?;
    let (superblocks, superblock) = read_superblocks(&device)?;
    let codec = codec(&superblock, options.key_file)?;
    let mut walk = Walk::new(&device, superblock, superblocks, &codec)?;
    walk.hear_all();
    match options.block {
        Some(block) => walk.list_one(block)?,
        None => walk.sum_all(options.blocks),
    }
    Ok(walk.report)
}

impl Report {
    /// As JSON, one object.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_else(|error| {
            format!("{{\"error\":\"{error}\"}}") // none of the report's types can fail
        });
        text.push('\n');
        text
    }
}

fn read_superblocks(device: &Device) -> Result<(Vec<SuperblockReport>, Superblock), InspectError> {
    let path = || device.path().to_owned();
    let front_bytes = (2 * SUPERBLOCK_BYTES).max(device.sector_bytes() as usize);
    if device.size_bytes() < front_bytes as u64 {
        return Err(InspectError::Foreign { path: path() });
    }
    let mut front = AlignedBuffer::with_capacity(front_bytes);
    let read = device.read_at(0, &mut front);
    read.map_err(|failure| InspectError::Front {
        path: path(),
        failure,
    })?;
    let front = &front.as_slice()[..2 * SUPERBLOCK_BYTES];
    let copies = front.chunks(SUPERBLOCK_BYTES).map(|bytes| {
        let generation = Superblock::parse(bytes).map(|superblock| superblock.generation);
        SuperblockReport {
            sound: generation.is_some(),
            generation,
        }
    });
    match read_front(front) {
        Front::Karst(superblock) => Ok((copies.collect(), superblock)),
        Front::Blank => Err(InspectError::Blank { path: path() }),
        Front::OtherFormat(found) => Err(InspectError::OtherFormat {
            path: path(),
            found,
        }),
        Front::Foreign => Err(InspectError::Foreign { path: path() }),
    }
}

/// What it takes to read the records of a device.
fn codec(superblock: &Superblock, key_file: Option<&Path>) -> Result<Codec, InspectError> {
    let key = key_file.map(key::load).transpose()?;
    if let Some(key) = &key
        && key.check(superblock.device) != superblock.key_check
    {
        return Err(InspectError::WrongKey);
    }
    let (devices, bytes_max) = ([superblock.device], superblock.block_bytes as usize);
    Ok(Codec::new(
        Compression::None,
        key.as_ref(),
        &devices,
        bytes_max,
    ))
}

/// A walk over a device's blocks.
struct Walk<'d> {
    device: &'d Device,
    codec: &'d Codec,
    superblock: Superblock,
    buffer: AlignedBuffer,
    testimony: Testimony,
    report: Report,
}

/// What a block's header says.
enum Head {
    Filled(u64),
    Blank,
    Damaged,
}

impl<'d> Walk<'d> {
    fn new(
        device: &'d Device,
        superblock: Superblock,
        superblocks: Vec<SuperblockReport>,
        codec: &'d Codec,
    ) -> Result<Walk<'d>, InspectError> {
        let (block_bytes, sector_bytes) = (superblock.block_bytes, device.sector_bytes());
        if block_bytes > BLOCK_BYTES_MAX || block_bytes % sector_bytes != 0 {
            let path = device.path().to_owned();
            return Err(InspectError::Layout {
                path,
                block_bytes,
                sector_bytes,
            });
        }
        let room = device.size_bytes() / u64::from(block_bytes);
        let present = u64::from(superblock.blocks).min(room.saturating_sub(1)) as u32;
        let layout = Layout {
            device: format!("{:016x}", superblock.device),
            cluster: superblock
                .cluster
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            namespace: superblock.namespace.clone(),
            position: superblock.position,
            session: superblock.session,
            encrypted: superblock.key_check != [0; 16],
            block_bytes,
            blocks: superblock.blocks,
            blocks_missing: superblock.blocks - present,
        };
        let report = Report {
            path: device.path().to_owned(),
            size_bytes: device.size_bytes(),
            sector_bytes,
            superblocks,
            layout,
            blocks: Blocks::default(),
            totals: Totals::default(),
            sets: BTreeMap::new(),
            filled_blocks: Vec::new(),
            filled_blocks_unlisted: 0,
            records: None,
        };
        let buffer = AlignedBuffer::with_capacity(block_bytes as usize);
        Ok(Walk {
            device,
            codec,
            superblock,
            buffer,
            testimony: Testimony::default(),
            report,
        })
    }

    fn blocks_present(&self) -> u32 {
        self.report.layout.blocks - self.report.layout.blocks_missing
    }

    fn block_start(&self, block: u32) -> u64 {
        (u64::from(block) + 1) * u64::from(self.superblock.block_bytes)
    }

    /// Reads the headers of all blocks for what they say of each other.
    fn hear_all(&mut self) {
        let front_bytes = (self.report.sector_bytes as usize).max(SUPERBLOCK_BYTES);
        let mut buffer = AlignedBuffer::with_capacity(front_bytes);
        buffer.set_len(front_bytes);
        for block in 0..self.blocks_present() {
            if self
                .device
                .read_at(self.block_start(block), &mut buffer)
                .is_ok()
                && let Some(header) = header(buffer.as_slice(), self.superblock.device, block)
            {
                self.testimony.hear(&header);
            }
        }
    }

    fn sum_all(&mut self, list: bool) {
        for block in 0..self.blocks_present() {
            let Some(fill) = self.read(block) else {
                continue;
            };
            let totals = self.sum(block, fill, |_| {});
            if !list {
                continue;
            }
            if self.report.filled_blocks.len() < ROWS_MAX {
                self.report.filled_blocks.push(BlockRow {
                    block,
                    fill,
                    totals,
                });
            } else {
                self.report.filled_blocks_unlisted += 1;
            }
        }
    }

    fn list_one(&mut self, block: u32) -> Result<(), InspectError> {
        let blocks = self.blocks_present();
        if block >= blocks {
            return Err(InspectError::NoBlock { block, blocks });
        }
        let mut rows = Vec::new();
        if let Some(fill) = self.read(block) {
            let (device, codec) = (self.superblock.device, self.codec);
            let totals = self.sum(block, fill, |record| {
                let seal = Seal {
                    device,
                    fill,
                    start: record.place.start.bytes(),
                };
                rows.push(row(record, codec, seal));
            });
            self.report.filled_blocks.push(BlockRow {
                block,
                fill,
                totals,
            });
        }
        self.report.records = Some(rows);
        Ok(())
    }

    /// Reads a block and counts it by its header. Returns its fill, if it has one.
    fn read(&mut self, block: u32) -> Option<u64> {
        let start = self.block_start(block);
        if self.device.read_at(start, &mut self.buffer).is_err() {
            self.report.blocks.unreadable += 1;
            return None;
        }
        let blocks = &mut self.report.blocks;
        match head(self.buffer.as_slice(), self.superblock.device, block) {
            Head::Filled(fill) => {
                let first = blocks.filled == 0;
                blocks.oldest_fill = if first {
                    fill
                } else {
                    blocks.oldest_fill.min(fill)
                };
                blocks.newest_fill = blocks.newest_fill.max(fill);
                blocks.filled += 1;
                return Some(fill);
            }
            Head::Blank => blocks.blank += 1,
            Head::Damaged => blocks.damaged += 1,
        }
        None
    }

    /// Walks the records of the block in the buffer.
    fn sum(&mut self, block: u32, fill: u64, mut each: impl FnMut(&StoredRecord<'_>)) -> Totals {
        let start = self.block_start(block);
        let seal = Seal {
            device: self.superblock.device,
            fill,
            start: 0,
        };
        let mut totals = Totals::default();
        let mut scanned = ScannedBlock::new(self.buffer.as_slice(), DeviceId(0), start, seal)
            .with_codec(self.codec);
        for found in scanned.by_ref() {
            match found {
                Scanned::Record(record) => {
                    totals.add(&record);
                    count_set(&mut self.report.sets, &record);
                    each(&record);
                }
                Scanned::Sealed(place) => {
                    totals.encrypted += 1;
                    totals.bytes += place.length.bytes();
                }
                Scanned::Damaged(_) => {}
            }
        }
        if self.testimony.is_settled(fill) {
            totals.damaged = scanned.damaged();
        } else {
            totals.torn_or_stale = scanned.damaged();
        }
        self.report.totals.merge(&totals);
        totals
    }
}

/// The header of a block, if it is sound and belongs there.
fn header(bytes: &[u8], device: u64, block: u32) -> Option<BlockHeader> {
    BlockHeader::parse(bytes).filter(|header| header.device == device && header.block == block)
}

fn head(bytes: &[u8], device: u64, block: u32) -> Head {
    match header(bytes, device, block) {
        Some(header) => Head::Filled(header.fill),
        None if bytes.iter().take(BLOCK_HEADER_BYTES).all(|byte| *byte == 0) => Head::Blank,
        None => Head::Damaged,
    }
}

fn count_set(sets: &mut BTreeMap<String, Totals>, record: &StoredRecord<'_>) {
    let name = String::from_utf8_lossy(&record.facts.set);
    if let Some(totals) = sets.get_mut(&*name) {
        totals.add(record);
    } else if sets.len() < SETS_MAX {
        sets.entry(name.into_owned()).or_default().add(record);
    }
}

fn row(stored: &StoredRecord<'_>, codec: &Codec, seal: Seal) -> RecordRow {
    let StoredRecord { place, facts, .. } = stored;
    let meta = &facts.meta;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let opened = Opened::default();
    let record = codec.open_unchecked(stored.bytes, || seal, &opened).ok();
    let bins = record.iter().flat_map(Record::bins).map(|bin| BinRow {
        name: text(bin.name),
        particle: format!("{:?}", bin.particle),
        bytes: bin.value.len(),
    });
    RecordRow {
        offset: place.start.bytes(),
        bytes: place.length.bytes(),
        digest: meta.digest.to_string(),
        set: text(&facts.set),
        generation: meta.generation,
        version: Version::unpack(meta.version).to_string(),
        tombstone: meta.tombstone,
        void_time_s: meta.void_time_s,
        update_time_ms: meta.update_time_ms,
        has_key: facts.stores_key,
        bins: bins.collect(),
    }
}

#[cfg(test)]
mod tests;

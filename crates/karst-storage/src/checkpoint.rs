//! A checkpoint of a namespace's index as a file: bytes in, bytes out, nothing is written or read here.
//!
//! ```text
//! front     0..8    "KARSTCKP"
//!           8..12   crc32c of the front from byte 12 on
//!          12..16   format, 1
//!          16..32   cluster id
//!          32..40   fills: how many blocks the namespace had opened when the checkpoint began
//!          40..44   block size in bytes
//!          44..45   devices
//!          45..46   bytes of namespace name, 1 to 31
//!          46..77   namespace name
//!          77..80   zero
//!          80..     for each device: number 8 | blocks 4 | zero 4
//! chunks    one behind the other:
//!           0..4    crc32c of the chunk's offset (8 bytes), then of bytes 4 to the chunk's end
//!           4..5    kind: 1 fills, 2 entries, 3 sets, 4 table
//!           5..6    zero
//!           6..8    the device (fills) or the partition (entries)
//!           8..12   items
//!          12..16   bytes of payload
//!          16..     payload
//! footer    0..8    "KARSTEND"
//!           8..12   crc32c of bytes 12 to 40
//!          12..16   crc32c that the front bears
//!          16..24   offset of the table
//!          24..32   entries in all
//!          32..40   bytes of the file, the footer's included
//!
//! fills     for each block of the device, from its first on: fill 8, the highest bit set if the block
//!           was open, or its writes were not known to be durable, when the checkpoint began
//! entries   54 bytes each: digest 20 | void time 4 | place 8 | last update 6 | set 2 | generation 2 |
//!           flags 2 | version 10 (big-endian, as on devices)
//! sets      for each set from number 1 on: bytes of the name 1 | name
//! table     for each of the 4096 partitions: sequence 8; then for each other chunk, in file order:
//!           offset 8 | bytes with the head 4 | items 4 | kind 1 | zero 1 | device or partition 2
//! ```
//!
//! Numbers are little-endian unless said otherwise. A file counts only with a sound footer; the footer
//! is written last and the file gets its name after that. Why a checkpoint can be trusted together
//! with the blocks that were written after it is argued in docs/consistency.md.

use karst_data::key::{Digest, NAMESPACE_BYTES_MAX, PARTITIONS, PartitionId, SET_BYTES_MAX};

use crate::index::{Flags, NewEntry};
use crate::log::{BlockId, Log, LogConfig};
use crate::place::{Place, RBLOCK_BYTES, Version};

const FORMAT: u32 = 1;
const FRONT_MAGIC: &[u8; 8] = b"KARSTCKP";
const END_MAGIC: &[u8; 8] = b"KARSTEND";

/// Bytes of the front before its devices.
const FRONT_FIXED_BYTES: usize = 80;
const DEVICE_BYTES: usize = 16;

/// Largest front: that of 128 devices.
pub const FRONT_BYTES_MAX: usize = FRONT_FIXED_BYTES + 128 * DEVICE_BYTES;

/// Size of the footer in bytes.
pub const FOOTER_BYTES: usize = 40;

const CHUNK_HEAD_BYTES: usize = 16;
const REF_BYTES: usize = 20;

/// Size of one entry in bytes.
pub const ENTRY_BYTES: usize = 54;

/// Most entries of one chunk, and most fills: a reader holds a chunk of each thread in memory.
pub const CHUNK_ITEMS_MAX: usize = 1 << 16;

/// Marks a block in a list of fills that has to be scanned whatever its fill.
pub const SCAN: u64 = 1 << 63;

const MAGIC_AT: std::ops::Range<usize> = 0..8;

/// Why a checkpoint is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is cut short, or bytes of it have changed.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(&'static str),
    /// It was written by another version of Karst.
    #[error("the checkpoint has format {0}, this version reads format {FORMAT}")]
    Format(u32),
    /// It is about other devices, or about these at another time.
    #[error("the checkpoint is about something else: {0}")]
    Foreign(&'static str),
}

/// What a checkpoint is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The cluster.
    pub cluster: [u8; 16],
    /// The namespace.
    pub namespace: String,
    /// How many blocks the namespace had opened.
    pub fills: u64,
    /// Size of a block in bytes.
    pub block_bytes: u32,
    /// Number and blocks of each device, in the order of the configuration.
    pub devices: Vec<(u64, u32)>,
}

/// What the pieces of a checkpoint are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fills of blocks of a device.
    Fills,
    /// Entries of a partition.
    Entries,
    /// Names of sets.
    Sets,
    /// Where the others are.
    Table,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Fills => 1,
            Kind::Entries => 2,
            Kind::Sets => 3,
            Kind::Table => 4,
        }
    }

    fn of(number: u8) -> Option<Kind> {
        [Kind::Fills, Kind::Entries, Kind::Sets, Kind::Table]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// Where a chunk is and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its bytes, head included.
    pub bytes: u32,
    /// How many items it holds.
    pub items: u32,
    /// What they are.
    pub kind: Kind,
    /// The device, or the partition.
    pub of: u16,
}

/// The end of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The front's checksum, which says that they belong together.
    pub front: u32,
    /// Where the table begins.
    pub table: u64,
    /// Entries in all.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// For each partition, the sequence of its latest write when its entries were taken.
    pub sequences: Vec<u64>,
    /// Every chunk but the table, in file order.
    pub chunks: Vec<ChunkRef>,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

fn chunk_checksum(offset: u64, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), rest)
}

impl Front {
    /// The front that a checkpoint of these devices has to bear.
    pub fn of(cluster: [u8; 16], namespace: &str, log: &LogConfig, fills: u64) -> Front {
        let device = |geometry: &crate::log::DeviceGeometry| (geometry.number, geometry.blocks);
        Front {
            cluster,
            namespace: namespace.into(),
            fills,
            block_bytes: log.block_bytes,
            devices: log.devices.iter().map(device).collect(),
        }
    }

    /// The bytes to write, and the checksum among them.
    ///
    /// # Panics
    /// On a name or a number of devices beyond what the configuration allows.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        assert!(self.namespace.len() <= NAMESPACE_BYTES_MAX && self.devices.len() <= 128);
        let mut out = vec![0; FRONT_FIXED_BYTES];
        out[MAGIC_AT].copy_from_slice(FRONT_MAGIC);
        out[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..32].copy_from_slice(&self.cluster);
        out[32..40].copy_from_slice(&self.fills.to_le_bytes());
        out[40..44].copy_from_slice(&self.block_bytes.to_le_bytes());
        out[44] = self.devices.len() as u8;
        out[45] = self.namespace.len() as u8;
        out[46..46 + self.namespace.len()].copy_from_slice(self.namespace.as_bytes());
        for (number, blocks) in &self.devices {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&blocks.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        let checksum = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// Reads the front at the beginning of `bytes`, which may go on beyond it. Beside it, its checksum.
    ///
    /// # Errors
    /// When the bytes are none, or damaged, or of another format.
    pub fn parse(bytes: &[u8]) -> Result<(Front, u32), Unusable> {
        let damaged = Unusable::Damaged("its front");
        let fixed = bytes.get(..FRONT_FIXED_BYTES).ok_or(damaged.clone())?;
        if fixed[MAGIC_AT] != *FRONT_MAGIC {
            return Err(damaged);
        }
        let format = word(fixed, 12);
        if format != FORMAT {
            return Err(Unusable::Format(format));
        }
        let size = FRONT_FIXED_BYTES + usize::from(fixed[44]) * DEVICE_BYTES;
        let bytes = bytes.get(..size).ok_or(damaged.clone())?;
        let checksum = word(bytes, 8);
        if checksum != crc32c::crc32c(&bytes[12..]) {
            return Err(damaged);
        }
        let name = bytes[46..77].get(..usize::from(bytes[45]));
        let name = name.and_then(|name| String::from_utf8(name.to_vec()).ok());
        let devices = bytes[FRONT_FIXED_BYTES..].chunks_exact(DEVICE_BYTES);
        let front = Front {
            cluster: field(bytes, 16),
            namespace: name.ok_or(damaged)?,
            fills: long(bytes, 32),
            block_bytes: word(bytes, 40),
            devices: devices
                .map(|device| (long(device, 0), word(device, 8)))
                .collect(),
        };
        Ok((front, checksum))
    }

    /// Whether this checkpoint is about what `expected` says, whose fills do not matter.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, expected: &Front) -> Result<(), Unusable> {
        let rules = [
            (self.cluster == expected.cluster, "another cluster"),
            (self.namespace == expected.namespace, "another namespace"),
            (
                self.block_bytes == expected.block_bytes,
                "another block size",
            ),
            (
                self.devices == expected.devices,
                "other devices, or another order of them",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(Unusable::Foreign(what)),
            None => Ok(()),
        }
    }
}

impl Footer {
    fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[MAGIC_AT].copy_from_slice(END_MAGIC);
        out[12..16].copy_from_slice(&self.front.to_le_bytes());
        out[16..24].copy_from_slice(&self.table.to_le_bytes());
        out[24..32].copy_from_slice(&self.entries.to_le_bytes());
        out[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads the last [`FOOTER_BYTES`] of a file of `file_bytes` whose front bears the checksum `front`.
    ///
    /// # Errors
    /// When the file has no sound end.
    pub fn parse(bytes: &[u8], file_bytes: u64, front: u32) -> Result<Footer, Unusable> {
        let damaged = Unusable::Damaged("its end; it was cut short or changed");
        let bytes = bytes.get(..FOOTER_BYTES).ok_or(damaged.clone())?;
        let footer = Footer {
            front: word(bytes, 12),
            table: long(bytes, 16),
            entries: long(bytes, 24),
            bytes: long(bytes, 32),
        };
        let sound = bytes[MAGIC_AT] == *END_MAGIC
            && word(bytes, 8) == crc32c::crc32c(&bytes[12..])
            && footer.front == front
            && footer.bytes == file_bytes
            && footer.table <= file_bytes - FOOTER_BYTES as u64;
        if sound { Ok(footer) } else { Err(damaged) }
    }
}

/// The payload of a chunk, checked.
///
/// # Errors
/// When the bytes are not the chunk that `at` says.
pub fn payload<'a>(at: &ChunkRef, bytes: &'a [u8]) -> Result<&'a [u8], Unusable> {
    let damaged = Unusable::Damaged("one of its chunks");
    let sound = bytes.len() == at.bytes as usize
        && bytes.len() >= CHUNK_HEAD_BYTES
        && word(bytes, 0) == chunk_checksum(at.offset, &bytes[4..])
        && bytes[4] == at.kind.number()
        && u16::from_le_bytes(field(bytes, 6)) == at.of
        && word(bytes, 8) == at.items
        && word(bytes, 12) as usize == bytes.len() - CHUNK_HEAD_BYTES;
    if sound {
        Ok(&bytes[CHUNK_HEAD_BYTES..])
    } else {
        Err(damaged)
    }
}

impl Table {
    /// Reads a table from the chunk that the footer points at: everything from there to the footer.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn parse(footer: &Footer, bytes: &[u8]) -> Result<Table, Unusable> {
        let damaged = Unusable::Damaged("its table");
        let head = bytes.get(..CHUNK_HEAD_BYTES).ok_or(damaged.clone())?;
        let at = ChunkRef {
            offset: footer.table,
            bytes: bytes.len() as u32,
            items: word(head, 8),
            kind: Kind::Table,
            of: 0,
        };
        let payload = payload(&at, bytes).map_err(|_| damaged.clone())?;
        let sequences = payload.get(..PARTITIONS * 8).ok_or(damaged.clone())?;
        let refs = &payload[PARTITIONS * 8..];
        if refs.len() != at.items as usize * REF_BYTES {
            return Err(damaged);
        }
        let chunks = refs.chunks_exact(REF_BYTES).map(ChunkRef::parse).collect();
        Ok(Table {
            sequences: sequences
                .chunks_exact(8)
                .map(|bytes| long(bytes, 0))
                .collect(),
            chunks: Option::ok_or(chunks, damaged)?,
        })
    }
}

impl ChunkRef {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.items.to_le_bytes());
        out.extend_from_slice(&[self.kind.number(), 0]);
        out.extend_from_slice(&self.of.to_le_bytes());
    }

    fn parse(bytes: &[u8]) -> Option<ChunkRef> {
        Some(ChunkRef {
            offset: long(bytes, 0),
            bytes: word(bytes, 8),
            items: word(bytes, 12),
            kind: Kind::of(bytes[16])?,
            of: u16::from_le_bytes(field(bytes, 18)),
        })
    }
}

/// Writes a checkpoint front to end. The caller takes the bytes as they come.
pub struct Encoder {
    out: Vec<u8>,
    /// Bytes that were taken from `out` already.
    taken: u64,
    front: u32,
    chunks: Vec<ChunkRef>,
    entries: u64,
}

impl Encoder {
    /// Begins with the front.
    pub fn new(front: &Front) -> Encoder {
        let (out, front) = front.encode();
        Encoder {
            out,
            taken: 0,
            front,
            chunks: Vec::new(),
            entries: 0,
        }
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Hands out what was encoded since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        self.taken += self.out.len() as u64;
        std::mem::take(&mut self.out)
    }

    /// The next fills of a device.
    pub fn fills(&mut self, device: u8, fills: &[u64]) {
        self.chunk(Kind::Fills, device.into(), fills.len(), |out| {
            fills
                .iter()
                .for_each(|fill| out.extend_from_slice(&fill.to_le_bytes()));
        });
    }

    /// Entries of a partition, at most [`CHUNK_ITEMS_MAX`].
    pub fn partition(&mut self, id: PartitionId, entries: &[NewEntry]) {
        self.entries += entries.len() as u64;
        self.chunk(Kind::Entries, id.index() as u16, entries.len(), |out| {
            entries.iter().for_each(|entry| encode_entry(entry, out));
        });
    }

    /// The names of all sets from number 1 on.
    pub fn sets<'s>(&mut self, names: impl ExactSizeIterator<Item = &'s [u8]>) {
        let count = names.len();
        self.chunk(Kind::Sets, 0, count, |out| {
            for name in names {
                out.push(name.len() as u8); // at most 63
                out.extend_from_slice(name);
            }
        });
    }

    /// Ends the file. `sequences` has one for each partition.
    ///
    /// # Panics
    /// On another number of sequences.
    pub fn finish(&mut self, sequences: &[u64]) {
        assert_eq!(sequences.len(), PARTITIONS);
        let table = self.offset();
        let chunks = std::mem::take(&mut self.chunks);
        self.chunk(Kind::Table, 0, chunks.len(), |out| {
            sequences
                .iter()
                .for_each(|sequence| out.extend_from_slice(&sequence.to_le_bytes()));
            chunks.iter().for_each(|chunk| chunk.encode(out));
        });
        let footer = Footer {
            front: self.front,
            table,
            entries: self.entries,
            bytes: self.offset() + FOOTER_BYTES as u64,
        };
        self.out.extend_from_slice(&footer.encode());
    }

    fn offset(&self) -> u64 {
        self.taken + self.out.len() as u64
    }

    fn chunk(&mut self, kind: Kind, of: u16, items: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let (offset, at) = (self.offset(), self.out.len());
        self.out.extend_from_slice(&[0; CHUNK_HEAD_BYTES]);
        write(&mut self.out);
        let chunk = &mut self.out[at..];
        let bytes = u32::try_from(chunk.len()).expect("a chunk's items are bounded");
        chunk[4] = kind.number();
        chunk[6..8].copy_from_slice(&of.to_le_bytes());
        chunk[8..12].copy_from_slice(&(items as u32).to_le_bytes());
        chunk[12..16].copy_from_slice(&(bytes - CHUNK_HEAD_BYTES as u32).to_le_bytes());
        let checksum = chunk_checksum(offset, &chunk[4..]);
        chunk[..4].copy_from_slice(&checksum.to_le_bytes());
        self.chunks.push(ChunkRef {
            offset,
            bytes,
            items: items as u32,
            kind,
            of,
        });
    }
}

fn encode_entry(entry: &NewEntry, out: &mut Vec<u8>) {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..20].copy_from_slice(&entry.digest.0);
    bytes[20..24].copy_from_slice(&entry.void_time_s.to_le_bytes());
    bytes[24..32].copy_from_slice(&entry.place.pack().to_le_bytes());
    bytes[32..38].copy_from_slice(&entry.update_time_ms.to_le_bytes()[..6]); // 40 bits are used
    bytes[38..40].copy_from_slice(&entry.set_id.to_le_bytes());
    bytes[40..42].copy_from_slice(&entry.generation.to_le_bytes());
    bytes[42..44].copy_from_slice(&entry.flags.bits().to_le_bytes());
    bytes[44..54].copy_from_slice(&entry.version.pack());
    out.extend_from_slice(&bytes);
}

fn parse_entry(bytes: &[u8]) -> NewEntry {
    let mut update_time = [0; 8];
    update_time[..6].copy_from_slice(&bytes[32..38]);
    NewEntry {
        digest: Digest(field(bytes, 0)),
        void_time_s: word(bytes, 20),
        place: Place::unpack(long(bytes, 24)),
        update_time_ms: u64::from_le_bytes(update_time),
        set_id: u16::from_le_bytes(field(bytes, 38)),
        generation: u16::from_le_bytes(field(bytes, 40)),
        flags: Flags::from_bits(u16::from_le_bytes(field(bytes, 42))),
        version: Version::unpack(field(bytes, 44)),
    }
}

/// The entries of a chunk. Each names a place that lies within one block of `log`; its set is still
/// numbered as in the file.
///
/// # Errors
/// When one of them cannot be an entry of that partition: the writer was wrong, since the checksum holds.
pub fn entries(at: &ChunkRef, payload: &[u8], log: &LogConfig) -> Result<Vec<NewEntry>, Unusable> {
    let wrong = Unusable::Damaged("an entry that cannot be one");
    if payload.len() != at.items as usize * ENTRY_BYTES {
        return Err(wrong);
    }
    let entries: Vec<_> = payload.chunks_exact(ENTRY_BYTES).map(parse_entry).collect();
    let fits = |entry: &NewEntry| {
        entry.generation != 0
            && entry.digest.partition().index() == usize::from(at.of)
            && lies_in_a_block(entry.place, log)
    };
    if entries.iter().all(fits) {
        Ok(entries)
    } else {
        Err(wrong)
    }
}

fn lies_in_a_block(place: Place, log: &LogConfig) -> bool {
    let block_bytes = u64::from(log.block_bytes);
    let Some(device) = log.devices.get(usize::from(place.device.0)) else {
        return false;
    };
    let (start, length) = (place.start.0 * RBLOCK_BYTES, place.length.bytes());
    let within = start % block_bytes;
    length > 0
        && within >= crate::log::format::BLOCK_HEADER_BYTES as u64
        && within + length <= block_bytes
        && (1..=u64::from(device.blocks)).contains(&(start / block_bytes))
}

/// The fills of a chunk, in the order of blocks.
///
/// # Errors
/// When their number is not the one promised.
pub fn fills(at: &ChunkRef, payload: &[u8]) -> Result<Vec<u64>, Unusable> {
    if payload.len() != at.items as usize * 8 {
        return Err(Unusable::Damaged("a list of fills"));
    }
    Ok(payload
        .chunks_exact(8)
        .map(|bytes| long(bytes, 0))
        .collect())
}

/// What every block held when a checkpoint began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fills(Vec<Vec<u64>>);

impl Fills {
    /// Of so many devices, none known yet.
    pub fn of_devices(devices: usize) -> Fills {
        Fills(vec![Vec::new(); devices])
    }

    /// Takes the next chunk of a device's.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn add(&mut self, at: &ChunkRef, payload: &[u8]) -> Result<(), Unusable> {
        let device = self.0.get_mut(usize::from(at.of));
        let device = device.ok_or(Unusable::Damaged("fills of no device"))?;
        device.extend(fills(at, payload)?);
        Ok(())
    }

    /// Whether there is one for each block of these devices, and no more.
    ///
    /// # Errors
    /// When there is not.
    pub fn check(&self, log: &LogConfig) -> Result<(), Unusable> {
        let mut devices = log.devices.iter().zip(&self.0);
        let complete = devices.all(|(device, fills)| fills.len() == device.blocks as usize);
        match complete && self.0.len() == log.devices.len() {
            true => Ok(()),
            false => Err(Unusable::Damaged("fills of some blocks are missing")),
        }
    }

    /// The fill of a block then; with [`SCAN`] when it says nothing of what the block holds now.
    pub fn then(&self, id: BlockId) -> u64 {
        self.0[usize::from(id.device.0)][id.block as usize]
    }

    /// The blocks, of those that were ever filled, that have to be scanned: what was open then, or has
    /// been filled since. The log knows each block's present fill.
    ///
    /// # Errors
    /// When a block has an earlier fill than then: a device was put back to an earlier state.
    pub fn changed(&self, log: &Log, filled: &[BlockId]) -> Result<Vec<BlockId>, Unusable> {
        let mut changed = Vec::new();
        for id in filled {
            let (then, now) = (self.then(*id), log.fill_of(*id));
            if now < then & !SCAN {
                let text = "a device holds an earlier state than it knows of";
                return Err(Unusable::Foreign(text));
            }
            if now != then {
                changed.push(*id);
            }
        }
        Ok(changed)
    }

    /// Whether an entry of the checkpoint counts: its block holds what it held. A block that was filled
    /// anew is scanned, and one whose header is gone has no fill.
    pub fn vouch_for(&self, log: &Log, entry: &NewEntry) -> bool {
        let id = log.block_of(entry.place);
        let then = self.then(id);
        then != 0 && then == log.fill_of(id)
    }
}

/// The names of sets, from number 1 on.
///
/// # Errors
/// When the bytes are no such list.
pub fn sets(at: &ChunkRef, mut payload: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
    let wrong = || Unusable::Damaged("its list of sets");
    let mut names = Vec::new();
    while let Some((length, rest)) = payload.split_first() {
        let name = rest.get(..usize::from(*length)).ok_or_else(wrong)?;
        if name.is_empty() || name.len() > SET_BYTES_MAX {
            return Err(wrong());
        }
        names.push(name.to_vec());
        payload = &rest[name.len()..];
    }
    if names.len() == at.items as usize {
        Ok(names)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests;

//! What is written around records: superblocks at a device's front and a header in each block.
//!
//! ```text
//! device      superblock 0 | superblock 1 | gap to the first multiple of the block size | blocks
//!             4096 bytes     4096 bytes
//!
//! superblock  0..8    "KARSTLOG"
//!             8..12   crc32c of bytes 12..4096
//!            12..16   format, 3
//!            16..24   generation; the valid superblock with the higher one counts
//!            24..32   device number, drawn at random when the device was taken into use
//!            32..48   cluster id
//!            48..49   bytes of namespace name, 1 to 31
//!            49..80   namespace name
//!            80..81   position of the device in its namespace
//!            81..82   devices that the namespace has
//!            82..84   zero
//!            84..88   block size in bytes
//!            88..92   blocks
//!            92..96   zero
//!            96..104  session: which start of the node serves from the device
//!           104..120  key check: tells the right key from a wrong one; zero without encryption
//!           120..128  fills that had been numbered when the session began; the next recovery goes on above
//!           128..4096 zero
//!
//! block       0..4    crc32c of bytes 4..64
//!             4..8    "KBLK"
//!             8..16   device number
//!            16..24   fill: how many blocks the namespace had opened, this one included
//!            24..28   number of the block
//!            28..32   number of the block that the same lane filled before; 0 if there was none
//!            32..40   its device's number
//!            40..48   its fill
//!            48..56   since: the first fill of the run of the node that opened this block
//!            56..64   settled: every fill from `since` up to, not including, this one was wholly durable
//!                     when this block was opened
//!            64..     records on 16-byte boundaries; zeros from the end of a flush to its sector's end
//!
//! end mark    0..4    crc32c of the seal and bytes 4..16
//!             4..8    "KEND"
//!             8..16   zero
//! ```
//!
//! The end mark lies behind the last record of a block that was left with room for one: what follows it
//! is of earlier fills. A block without one is full to its last 16 bytes, or was being filled when its
//! node stopped.
//!
//! Numbers are little-endian. Block `n` begins at byte `(n + 1) * block size`. A header is written with
//! the first flush of its fill and never again, and every record's seal names the fill, so what an
//! earlier fill left behind in the same block cannot be taken for part of this one.

use karst_data::flat::Seal;
use karst_data::key::NAMESPACE_BYTES_MAX;

/// Size of one superblock in bytes; two lie at the front of a device.
pub const SUPERBLOCK_BYTES: usize = 4096;

/// Size of a block's header in bytes.
pub const BLOCK_HEADER_BYTES: usize = 64;

/// Size of the mark behind a block's last record in bytes.
pub const END_MARK_BYTES: usize = 16;

/// The format that this version writes, and the only one that it reads.
pub const FORMAT: u32 = 3;
const SUPERBLOCK_MAGIC: &[u8; 8] = b"KARSTLOG";
const BLOCK_MAGIC: &[u8; 4] = b"KBLK";
const END_MAGIC: &[u8; 4] = b"KEND";

/// Whose device this is and how it is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Rises by one with each rewrite.
    pub generation: u64,
    /// The device's own number.
    pub device: u64,
    /// The cluster whose data it holds.
    pub cluster: [u8; 16],
    /// The namespace whose data it holds.
    pub namespace: String,
    /// Its position among the namespace's devices.
    pub position: u8,
    /// How many devices the namespace has: one that is left out is noticed.
    pub devices: u8,
    /// Size of a block in bytes.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// Which start of the node serves from the device: what was kept elsewhere under another number
    /// is not about the device's present content.
    pub session: u64,
    /// Tells the right key from a wrong one; zero for a device that is not encrypted.
    pub key_check: [u8; 16],
    /// The namespace's fills that had been numbered when the session began: a session of which nothing
    /// became durable leaves no other trace of the numbers it used.
    pub fills: u64,
}

/// What the front of a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// Zeros only: the device was never used.
    Blank,
    /// A superblock of ours.
    Karst(Superblock),
    /// A sound superblock of another format than this version reads.
    OtherFormat(u32),
    /// Something else, or superblocks of which both are damaged.
    Foreign,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

impl Superblock {
    /// The bytes to write.
    ///
    /// # Panics
    /// On a namespace name longer than the protocol allows; the configuration refuses those.
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        assert!(self.namespace.len() <= NAMESPACE_BYTES_MAX);
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes[..8].copy_from_slice(SUPERBLOCK_MAGIC);
        bytes[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.device.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.cluster);
        bytes[48] = self.namespace.len() as u8;
        bytes[49..49 + self.namespace.len()].copy_from_slice(self.namespace.as_bytes());
        bytes[80] = self.position;
        bytes[81] = self.devices;
        bytes[84..88].copy_from_slice(&self.block_bytes.to_le_bytes());
        bytes[88..92].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[96..104].copy_from_slice(&self.session.to_le_bytes());
        bytes[104..120].copy_from_slice(&self.key_check);
        bytes[120..128].copy_from_slice(&self.fills.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The format of the superblock in the bytes, if they are a sound one of any format.
    fn format(bytes: &[u8]) -> Option<u32> {
        let bytes = bytes.get(..SUPERBLOCK_BYTES)?;
        let sound = bytes.starts_with(SUPERBLOCK_MAGIC)
            && u32::from_le_bytes(field(bytes, 8)) == crc32c::crc32c(&bytes[12..]);
        sound.then(|| u32::from_le_bytes(field(bytes, 12)))
    }

    /// Reads one superblock; `None` when the bytes are not one, or are damaged, or of another format.
    pub fn parse(bytes: &[u8]) -> Option<Superblock> {
        let bytes = bytes.get(..SUPERBLOCK_BYTES)?;
        if Superblock::format(bytes) != Some(FORMAT) {
            return None;
        }
        let name = bytes[49..80].get(..usize::from(bytes[48]))?;
        let block_bytes = u32::from_le_bytes(field(bytes, 84));
        if !block_bytes.is_power_of_two() || block_bytes < 2 * SUPERBLOCK_BYTES as u32 {
            return None;
        }
        Some(Superblock {
            generation: u64::from_le_bytes(field(bytes, 16)),
            device: u64::from_le_bytes(field(bytes, 24)),
            cluster: field(bytes, 32),
            namespace: String::from_utf8(name.to_vec()).ok()?,
            position: bytes[80],
            devices: bytes[81],
            block_bytes,
            blocks: u32::from_le_bytes(field(bytes, 88)),
            session: u64::from_le_bytes(field(bytes, 96)),
            key_check: field(bytes, 104),
            fills: u64::from_le_bytes(field(bytes, 120)),
        })
    }

    /// Byte offset of the copy with this generation: the two lie in turns, so that writing one leaves
    /// the one before it as it is.
    pub fn copy_offset(&self) -> u64 {
        (self.generation + 1) % 2 * SUPERBLOCK_BYTES as u64
    }
}

/// Reads the first two superblocks' worth of a device.
pub fn read_front(bytes: &[u8]) -> Front {
    let copies = || bytes.chunks(SUPERBLOCK_BYTES).take(2);
    let newest = copies()
        .filter_map(Superblock::parse)
        .max_by_key(|superblock| superblock.generation);
    match (newest, copies().find_map(Superblock::format)) {
        (Some(superblock), _) => Front::Karst(superblock),
        (None, Some(format)) if format != FORMAT => Front::OtherFormat(format),
        (None, _) if bytes.iter().all(|byte| *byte == 0) => Front::Blank,
        (None, _) => Front::Foreign,
    }
}

/// One fill of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFill {
    /// The number of the block's device.
    pub device: u64,
    /// Number of the block on its device.
    pub block: u32,
    /// How many blocks the namespace had opened.
    pub fill: u64,
}

/// The header of a block: which fill it is, and what was known of others when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The device's own number.
    pub device: u64,
    /// How many blocks the namespace had opened.
    pub fill: u64,
    /// Number of the block on its device.
    pub block: u32,
    /// What the same lane filled before, in the same run of the node.
    pub previous: Option<BlockFill>,
    /// The first fill of the run of the node that opened this block.
    pub since: u64,
    /// Every fill from `since` on below this one was wholly durable when this block was opened: what
    /// is damaged in such a block was not torn by a stop but rotted.
    pub settled: u64,
}

impl BlockHeader {
    /// The bytes to write at the block's front.
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[4..8].copy_from_slice(BLOCK_MAGIC);
        bytes[8..16].copy_from_slice(&self.device.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.fill.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.block.to_le_bytes());
        if let Some(previous) = &self.previous {
            bytes[28..32].copy_from_slice(&previous.block.to_le_bytes());
            bytes[32..40].copy_from_slice(&previous.device.to_le_bytes());
            bytes[40..48].copy_from_slice(&previous.fill.to_le_bytes());
        }
        bytes[48..56].copy_from_slice(&self.since.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.settled.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Whether the bytes were a header once and no longer are a sound one.
    pub fn is_damaged(bytes: &[u8]) -> bool {
        let once = bytes.get(4..8).is_some_and(|magic| magic == BLOCK_MAGIC);
        once && BlockHeader::parse(bytes).is_none()
    }

    /// Reads a header; `None` where there is none or it is damaged.
    pub fn parse(bytes: &[u8]) -> Option<BlockHeader> {
        let bytes = bytes.get(..BLOCK_HEADER_BYTES)?;
        let sound = bytes[4..8] == *BLOCK_MAGIC
            && u32::from_le_bytes(field(bytes, 0)) == crc32c::crc32c(&bytes[4..]);
        if !sound {
            return None;
        }
        let previous = BlockFill {
            block: u32::from_le_bytes(field(bytes, 28)),
            device: u64::from_le_bytes(field(bytes, 32)),
            fill: u64::from_le_bytes(field(bytes, 40)),
        };
        Some(BlockHeader {
            device: u64::from_le_bytes(field(bytes, 8)),
            fill: u64::from_le_bytes(field(bytes, 16)),
            block: u32::from_le_bytes(field(bytes, 24)),
            previous: (previous.fill != 0).then_some(previous),
            since: u64::from_le_bytes(field(bytes, 48)),
            settled: u64::from_le_bytes(field(bytes, 56)),
        })
    }
}

/// What lies behind the last record of a block that was left.
pub fn end_mark(seal: &Seal) -> [u8; END_MARK_BYTES] {
    let mut bytes = [0; END_MARK_BYTES];
    bytes[4..8].copy_from_slice(END_MAGIC);
    let checksum = seal.checksum(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whether the bytes begin with the end mark that belongs at this place.
pub fn is_end_mark(bytes: &[u8], seal: &Seal) -> bool {
    bytes.get(4..8).is_some_and(|magic| magic == END_MAGIC) && bytes.starts_with(&end_mark(seal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(generation: u64) -> Superblock {
        Superblock {
            generation,
            device: 0x1234,
            cluster: *b"0123456789abcdef",
            namespace: "test".into(),
            position: 3,
            devices: 4,
            block_bytes: 1 << 20,
            blocks: 99,
            session: 12,
            key_check: [9; 16],
            fills: 77,
        }
    }

    #[test]
    fn the_newer_of_two_sound_superblocks_counts() {
        let mut front = [superblock(4).encode(), superblock(5).encode()].concat();
        assert_eq!(read_front(&front), Front::Karst(superblock(5)));
        front[SUPERBLOCK_BYTES + 100] ^= 1;
        assert_eq!(read_front(&front), Front::Karst(superblock(4)));
        front[100] ^= 1;
        assert_eq!(read_front(&front), Front::Foreign);
        assert_eq!(read_front(&[0; 2 * SUPERBLOCK_BYTES]), Front::Blank);
    }

    #[test]
    fn a_superblock_of_another_format_is_told_from_foreign_bytes() {
        for other in [1, 2, 4] {
            let mut front = [superblock(4).encode(), superblock(5).encode()].concat();
            for copy in front.chunks_mut(SUPERBLOCK_BYTES) {
                copy[12] = other;
                let checksum = crc32c::crc32c(&copy[12..]);
                copy[8..12].copy_from_slice(&checksum.to_le_bytes());
            }
            let found = Front::OtherFormat(other.into());
            assert_eq!(read_front(&front), found);
            front[20] ^= 1;
            assert_eq!(read_front(&front), found);
            front[SUPERBLOCK_BYTES + 20] ^= 1;
            assert_eq!(read_front(&front), Front::Foreign);
        }
    }

    #[test]
    fn a_rewritten_superblock_leaves_the_one_before_it() {
        assert_ne!(superblock(4).copy_offset(), superblock(5).copy_offset());
        assert_eq!(superblock(1).copy_offset(), 0);
    }

    #[test]
    fn an_end_mark_counts_only_at_its_own_place_and_fill() {
        let seal = Seal {
            device: 1,
            fill: 2,
            start: 3 << 20,
        };
        let mark = end_mark(&seal);
        assert!(is_end_mark(&mark, &seal));
        let earlier = Seal { fill: 1, ..seal };
        assert!(!is_end_mark(&mark, &earlier));
        for at in 0..END_MARK_BYTES {
            let mut damaged = mark;
            damaged[at] ^= 0x10;
            assert!(!is_end_mark(&damaged, &seal), "byte {at}");
        }
        assert!(!is_end_mark(&mark[..15], &seal));
    }

    #[test]
    fn a_damaged_block_header_is_no_header() {
        let previous = BlockFill {
            device: 8,
            block: 9,
            fill: 1,
        };
        let header = BlockHeader {
            device: 1,
            fill: 2,
            block: 3,
            previous: Some(previous),
            since: 1,
            settled: 2,
        };
        let bytes = header.encode();
        assert_eq!(BlockHeader::parse(&bytes), Some(header));
        for at in 0..BLOCK_HEADER_BYTES {
            let mut damaged = bytes;
            damaged[at] ^= 0x10;
            assert_eq!(BlockHeader::parse(&damaged), None, "byte {at}");
        }
        assert_eq!(BlockHeader::parse(&bytes[1..]), None);
    }
}

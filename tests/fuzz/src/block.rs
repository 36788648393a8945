//! What recovery reads from a device: superblocks, block headers, the records of a block.
//!
//! As with records, checksums are made right first, so that what lies behind them is reached.

use karst_data::flat::{FlatError, Record, Seal, reseal, size_of_record_at};
use karst_storage::log::format::{
    BLOCK_HEADER_BYTES, BlockHeader, Front, SUPERBLOCK_BYTES, Superblock, read_front,
};
use karst_storage::log::recover::{Scanned, ScannedBlock, Testimony};
use karst_storage::place::{DeviceId, RBLOCK_BYTES};

/// Where on its device the block of this target begins.
pub const BLOCK_START: u64 = 1 << 20;

/// Largest block that is looked at here, so that a round stays short: every rblock may look like a
/// record that reaches to the end.
const BLOCK_BYTES_MAX: usize = 16 << 10;

/// The device and fill of the block of this target; its start is filled in for each record.
pub const SEAL: Seal = Seal {
    device: 7,
    fill: 3,
    start: 0,
};

/// Takes `bytes` for the front of a device, then for a block.
pub fn check(bytes: &[u8]) {
    front(bytes);
    header(bytes);
    let mut block = bytes[..bytes.len().min(BLOCK_BYTES_MAX)].to_vec();
    walk(&block);
    seal_records(&mut block);
    walk(&block);
}

fn front(bytes: &[u8]) {
    look_at_front(bytes);
    let mut sealed = bytes.to_vec();
    for copy in sealed.chunks_exact_mut(SUPERBLOCK_BYTES).take(2) {
        let checksum = crc32c(&copy[12..]);
        copy[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
    look_at_front(&sealed);
}

fn header(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    if let Some(front) = sealed.get_mut(..BLOCK_HEADER_BYTES) {
        let checksum = crc32c(&front[4..]);
        front[..4].copy_from_slice(&checksum.to_le_bytes());
    }
    for bytes in [bytes, &sealed] {
        if let Some(header) = BlockHeader::parse(bytes) {
            let mut testimony = Testimony::default();
            testimony.hear(&header);
            let _ = testimony.is_settled(header.fill);
            assert_eq!(BlockHeader::parse(&header.encode()), Some(header));
        }
    }
}

fn look_at_front(bytes: &[u8]) {
    let copies = || {
        bytes
            .chunks(SUPERBLOCK_BYTES)
            .take(2)
            .filter_map(Superblock::parse)
    };
    match read_front(bytes) {
        Front::Karst(superblock) => {
            assert!(copies().all(|copy| copy.generation <= superblock.generation));
            assert_eq!(Superblock::parse(&superblock.encode()), Some(superblock));
        }
        Front::Blank => assert!(bytes.iter().all(|byte| *byte == 0)),
        Front::Foreign | Front::OtherFormat(_) => assert_eq!(copies().count(), 0),
    }
}

/// Walks a block as recovery does. Records lie within it, one behind the other.
fn walk(block: &[u8]) {
    let mut scanned = ScannedBlock::new(block, DeviceId(5), BLOCK_START, SEAL);
    let mut end = BLOCK_START + BLOCK_HEADER_BYTES as u64;
    let mut damaged = 0;
    for scanned in scanned.by_ref() {
        let place = scanned.place();
        assert!(place.start.bytes() >= end, "stretches overlap");
        assert_eq!(
            (place.device, place.start.bytes() % RBLOCK_BYTES),
            (DeviceId(5), 0)
        );
        assert_eq!(karst_storage::place::Place::unpack(place.pack()), place);
        end = place.start.bytes() + place.length.bytes();
        match scanned {
            Scanned::Record(record) => {
                let seal = Seal {
                    start: place.start.bytes(),
                    ..SEAL
                };
                match Record::parse(record.bytes, &seal) {
                    Ok(parsed) => {
                        assert_eq!(parsed.facts(), record.facts);
                        let _ = parsed.validate();
                    }
                    // Both checksums fit what nobody of ours writes: a reader refuses it.
                    Err(FlatError::Content(_)) => {}
                    Err(other) => panic!("a scan took it for sound: {other}"),
                }
            }
            Scanned::Sealed(_) => {} // of some other key, for all this walk knows
            Scanned::Damaged(_) => damaged += 1,
        }
    }
    assert!(end < BLOCK_START + block.len() as u64 + BLOCK_HEADER_BYTES as u64 + RBLOCK_BYTES);
    assert_eq!(damaged, scanned.damaged());
}

/// Makes the checksum of everything that looks like a record right, front to back.
fn seal_records(block: &mut [u8]) {
    let mut at = BLOCK_HEADER_BYTES;
    while let Some(rest) = block.get_mut(at..) {
        let seal = Seal {
            start: BLOCK_START + at as u64,
            ..SEAL
        };
        at += match size_of_record_at(rest) {
            Ok(size) if reseal(rest, &seal).is_ok() => size.next_multiple_of(RBLOCK_BYTES as usize),
            _ => RBLOCK_BYTES as usize,
        };
    }
}

/// The checksum of superblocks, bit by bit: not the code under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    })
}

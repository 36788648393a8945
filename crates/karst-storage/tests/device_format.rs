//! docs/device-format.md, read by the code that it describes.

use karst_data::flat::{Form, Record, Seal};
use karst_data::key::{Digest, KeyBytes};
use karst_storage::log::format::{
    BLOCK_HEADER_BYTES, BlockHeader, FORMAT, SUPERBLOCK_BYTES, Superblock,
};

const PAGE: &str = include_str!("../../../docs/device-format.md");

/// Where block 0 of the worked example begins.
const BLOCK_AT: usize = 64 << 10;

/// The bytes of the worked example, zeros where it shows none.
fn example() -> Vec<u8> {
    let mut device = vec![0; 1 << 20];
    for line in PAGE.lines() {
        let Some((at, rest)) = line.split_once(": ") else {
            continue;
        };
        let (Ok(at), 8) = (usize::from_str_radix(at, 16), at.len()) else {
            continue;
        };
        let (hex, _) = rest.split_once("  ").expect("characters follow");
        let hex: String = hex.split(' ').collect();
        for (number, byte) in device[at..at + 16].iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * number..2 * number + 2], 16).expect("hex");
        }
    }
    device
}

#[test]
fn the_worked_example_reads_as_the_page_says() {
    let device = example();
    let superblock = Superblock::parse(&device[..SUPERBLOCK_BYTES]).expect("it is sound");
    assert_eq!(superblock.device, 0xba96_cdf0_d33b_b82a);
    assert_eq!((superblock.generation, superblock.session), (3, 1));
    assert_eq!(&*superblock.namespace, "test");
    assert_eq!((superblock.block_bytes, superblock.blocks), (65_536, 15));
    assert_eq!(superblock.fills, 16);

    let header = BlockHeader::parse(&device[BLOCK_AT..]).expect("it is sound");
    assert_eq!((header.device, header.block), (superblock.device, 0));
    assert_eq!((header.fill, header.since, header.settled), (17, 17, 17));
    assert_eq!(header.previous, None);

    let at = BLOCK_AT + BLOCK_HEADER_BYTES;
    let seal = Seal {
        device: header.device,
        fill: header.fill,
        start: at as u64,
    };
    let form = Form::check(&device[at..], &seal).expect("it is sound");
    assert_eq!((form.payload_bytes, form.set_bytes), (50, 6));
    let record = Record::parse(&device[at..], &seal).expect("it is sound");
    record.validate().expect("its bins fill it");
    let meta = record.meta;
    assert_eq!(
        meta.digest,
        Digest::of(b"cities", KeyBytes::Integer(3_413_829))
    );
    assert_eq!((meta.generation, meta.void_time_s, meta.moves), (1, 0, 0));
    assert_eq!(meta.update_time_ms, 533_338_590_306);
    assert_eq!((meta.tombstone, meta.over_tombstone), (false, false));
    assert_eq!(record.set, b"cities");
    assert_eq!(record.key, Some(&b"\x01\0\0\0\0\0\x34\x17\x45"[..]));
    let bin = |name: &[u8]| record.bin(name).map(|bin| bin.value.to_vec());
    assert_eq!(bin(b"name"), Some("Reykjavík".into()));
    assert_eq!(bin(b"pop"), Some(118_918u64.to_be_bytes().to_vec()));
}

#[test]
fn the_page_names_the_format_that_is_written() {
    assert!(PAGE.contains(&format!("This is format {FORMAT}.")));
    assert!(PAGE.contains(&format!("| 12 | 4 | format: {FORMAT} |")));
}

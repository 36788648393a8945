use std::fs::File;
use std::os::unix::fs::FileExt as _;

use karst_data::bin::BinRef;
use karst_data::flat::{Draft, Meta};
use karst_data::key::{Digest, KeyBytes};
use karst_data::value::ParticleType;
use karst_storage::place::RBLOCK_BYTES;
use tempfile::TempDir;

use super::*;

const BLOCK_BYTES: u32 = 64 << 10;
const BLOCKS: u32 = 6;
const DEVICE: u64 = 0x1234_5678;

/// A device file in the making.
struct Disk {
    path: PathBuf,
    file: File,
    _dir: TempDir,
}

impl Disk {
    /// With two superblocks and no block written.
    fn new() -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.dat");
        let file = File::create_new(&path).unwrap();
        file.set_len(u64::from(BLOCK_BYTES) * u64::from(BLOCKS + 1))
            .unwrap();
        let disk = Disk {
            path,
            file,
            _dir: dir,
        };
        disk.superblock(0, 4);
        disk.superblock(1, 5);
        disk
    }

    fn superblock(&self, copy: u64, generation: u64) {
        let superblock = Superblock {
            generation,
            device: DEVICE,
            cluster: *b"0123456789abcdef",
            namespace: "test".into(),
            position: 2,
            devices: 3,
            block_bytes: BLOCK_BYTES,
            blocks: BLOCKS,
            session: 6,
            key_check: [0; 16],
            fills: 0,
        };
        self.file
            .write_all_at(&superblock.encode(), copy * SUPERBLOCK_BYTES as u64)
            .unwrap();
    }

    fn start(block: u32) -> u64 {
        u64::from(block + 1) * u64::from(BLOCK_BYTES)
    }

    /// Writes a block with these records, each (set, key, deleted). Returns their offsets.
    fn block(&self, block: u32, fill: u64, records: &[(&str, i64, bool)]) -> Vec<u64> {
        let header = BlockHeader {
            fill,
            settled: fill - 1,
            ..header(block)
        };
        let start = Disk::start(block);
        self.file.write_all_at(&header.encode(), start).unwrap();
        let mut at = start + BLOCK_HEADER_BYTES as u64;
        let mut offsets = Vec::new();
        for (set, key, deleted) in records {
            let seal = Seal {
                device: DEVICE,
                fill,
                start: at,
            };
            let bytes = record(set, *key, *deleted, &seal);
            self.file.write_all_at(&bytes, at).unwrap();
            offsets.push(at);
            at += (bytes.len() as u64).next_multiple_of(RBLOCK_BYTES);
        }
        offsets
    }

    fn look(&self, options: Options) -> Report {
        inspect(&self.path, options).unwrap()
    }
}

fn header(block: u32) -> BlockHeader {
    BlockHeader {
        device: DEVICE,
        fill: 1,
        block,
        previous: None,
        since: 1,
        settled: 1,
    }
}

fn record(set: &str, key: i64, deleted: bool, seal: &Seal) -> Vec<u8> {
    let value = key.to_be_bytes();
    let bin = BinRef {
        name: b"a",
        particle: ParticleType::Integer,
        value: &value,
    };
    let draft = Draft {
        meta: Meta {
            digest: Digest::of(set.as_bytes(), KeyBytes::Integer(key)),
            generation: 3,
            void_time_s: 0,
            update_time_ms: 77,
            version: Version {
                regime: 1,
                sequence: 9,
            }
            .pack(),
            tombstone: deleted,
            over_tombstone: false,
            moves: 0,
        },
        set: set.as_bytes(),
        key: None,
        bins: (!deleted).then_some(bin).into_iter(),
    };
    let mut bytes = vec![0; draft.size_bytes()];
    draft.write(&mut bytes, seal);
    bytes
}

#[test]
fn every_record_of_every_block_is_counted_by_set() {
    let disk = Disk::new();
    disk.block(
        0,
        10,
        &[("demo", 1, false), ("demo", 2, true), ("", 3, false)],
    );
    disk.block(4, 12, &[("demo", 1, false), ("other", 5, false)]);
    let report = disk.look(Options {
        blocks: true,
        ..Options::default()
    });
    assert_eq!(report.layout.namespace, "test");
    assert_eq!(report.layout.device, "0000000012345678");
    assert_eq!(report.layout.blocks_missing, 0);
    assert_eq!(
        (
            report.blocks.filled,
            report.blocks.blank,
            report.blocks.damaged
        ),
        (2, 4, 0)
    );
    assert_eq!(
        (report.blocks.oldest_fill, report.blocks.newest_fill),
        (10, 12)
    );
    let counts = |totals: &Totals| (totals.records, totals.tombstones, totals.damaged);
    assert_eq!(counts(&report.totals), (4, 1, 0));
    let sets: Vec<_> = report
        .sets
        .iter()
        .map(|(name, totals)| (&**name, counts(totals)))
        .collect();
    assert_eq!(
        sets,
        [("", (1, 0, 0)), ("demo", (2, 1, 0)), ("other", (1, 0, 0))]
    );
    let rows: Vec<_> = report
        .filled_blocks
        .iter()
        .map(|row| (row.block, row.fill))
        .collect();
    assert_eq!(rows, [(0, 10), (4, 12)]);
    assert_eq!(
        report.sets.values().map(|set| set.bytes).sum::<u64>(),
        report.totals.bytes
    );
    assert!(report.records.is_none());
}

#[test]
fn damage_is_found_and_costs_only_what_it_hit() {
    let disk = Disk::new();
    let offsets = disk.block(
        0,
        10,
        &[("demo", 1, false), ("demo", 2, false), ("demo", 3, false)],
    );
    disk.block(1, 11, &[("demo", 4, false)]);
    disk.block(2, 12, &[("demo", 5, false)]);
    disk.file.write_all_at(&[0xee], offsets[1] + 60).unwrap(); // the set's name
    disk.file
        .write_all_at(&[0xee], Disk::start(1) + 20)
        .unwrap(); // a header
    let report = disk.look(Options::default());
    let Totals {
        records,
        damaged,
        torn_or_stale,
        ..
    } = report.totals;
    assert_eq!((records, damaged, torn_or_stale), (3, 1, 0));
    assert_eq!((report.blocks.filled, report.blocks.damaged), (2, 1));
    assert!(
        report.filled_blocks.is_empty(),
        "blocks are listed only when asked for"
    );
}

#[test]
fn damage_in_a_block_that_a_stop_may_have_torn_is_told_apart() {
    let disk = Disk::new();
    disk.block(0, 10, &[("demo", 1, false)]);
    let offsets = disk.block(1, 11, &[("demo", 2, false)]);
    disk.file.write_all_at(&[0xee], offsets[0] + 62).unwrap();
    let report = disk.look(Options::default());
    let Totals {
        records,
        damaged,
        torn_or_stale,
        ..
    } = report.totals;
    assert_eq!((records, damaged, torn_or_stale), (1, 0, 1));
}

#[test]
fn a_block_that_lies_where_another_belongs_is_damage() {
    let disk = Disk::new();
    let header = BlockHeader {
        fill: 1,
        ..header(3)
    };
    disk.file
        .write_all_at(&header.encode(), Disk::start(2))
        .unwrap();
    let header = BlockHeader {
        device: DEVICE + 1,
        block: 4,
        ..header
    };
    disk.file
        .write_all_at(&header.encode(), Disk::start(4))
        .unwrap();
    let report = disk.look(Options::default());
    assert_eq!((report.blocks.filled, report.blocks.damaged), (0, 2));
}

#[test]
fn one_block_is_listed_record_by_record() {
    let disk = Disk::new();
    let offsets = disk.block(3, 10, &[("demo", 1, false), ("demo", 2, true)]);
    disk.block(4, 11, &[("demo", 3, false)]);
    let report = disk.look(Options {
        block: Some(3),
        ..Options::default()
    });
    let rows = report.records.as_ref().unwrap();
    assert_eq!(
        rows.iter().map(|row| row.offset).collect::<Vec<_>>(),
        offsets
    );
    let first = &rows[0];
    assert_eq!(
        first.digest,
        Digest::of(b"demo", KeyBytes::Integer(1)).to_string()
    );
    assert_eq!(
        (&*first.set, first.generation, &*first.version),
        ("demo", 3, "1.9")
    );
    assert_eq!(
        (&*first.bins[0].name, first.bins[0].bytes, first.tombstone),
        ("a", 8, false)
    );
    assert!(rows[1].tombstone && rows[1].bins.is_empty());
    assert_eq!(report.blocks.filled, 1, "the others are left unread");
    let none = disk.look(Options {
        block: Some(0),
        ..Options::default()
    });
    assert!(none.records.unwrap().is_empty());
    let beyond = inspect(
        &disk.path,
        Options {
            block: Some(BLOCKS),
            ..Options::default()
        },
    );
    assert_eq!(
        beyond.unwrap_err().to_string(),
        "there is no block 6: the device has 6, from 0"
    );
}

#[test]
fn what_is_no_device_of_ours_is_refused_with_the_reason() {
    let disk = Disk::new();
    let refusal = || {
        inspect(&disk.path, Options::default())
            .unwrap_err()
            .to_string()
    };
    disk.file
        .write_all_at(&[0; 2 * SUPERBLOCK_BYTES], 0)
        .unwrap();
    assert!(refusal().ends_with("was never used: it starts with zeros"));
    disk.file.write_all_at(b"#!/bin/sh\n", 0).unwrap();
    assert!(refusal().ends_with("is no Karst device: it has no sound superblock"));
    disk.file.set_len(SUPERBLOCK_BYTES as u64).unwrap();
    assert!(refusal().ends_with("is no Karst device: it has no sound superblock"));
    let missing = inspect(Path::new("/no/such/device"), Options::default()).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("/no/such/device: opening: "),
        "{missing}"
    );
}

#[test]
fn one_sound_superblock_is_enough_and_the_other_is_told() {
    let disk = Disk::new();
    disk.file
        .write_all_at(&[0xee], SUPERBLOCK_BYTES as u64 + 200)
        .unwrap();
    let report = disk.look(Options::default());
    let found: Vec<_> = report
        .superblocks
        .iter()
        .map(|copy| (copy.sound, copy.generation))
        .collect();
    assert_eq!(found, [(true, Some(4)), (false, None)]);
    assert!(report.to_string().contains("sound (generation 4) DAMAGED"));
}

#[test]
fn blocks_beyond_the_end_of_a_cut_device_are_told_and_not_read() {
    let disk = Disk::new();
    disk.block(0, 10, &[("demo", 1, false)]);
    disk.file.set_len(Disk::start(2)).unwrap();
    let report = disk.look(Options::default());
    assert_eq!((report.layout.blocks, report.layout.blocks_missing), (6, 4));
    assert_eq!((report.blocks.filled, report.blocks.unreadable), (1, 0));
    assert!(
        report
            .to_string()
            .contains("4 of them BEYOND THE DEVICE'S END")
    );
}

#[test]
fn a_device_in_use_is_left_alone_unless_told_otherwise() {
    let disk = Disk::new();
    let _node = Device::open(&disk.path, &OpenOptions::default()).unwrap();
    let refused = inspect(&disk.path, Options::default()).unwrap_err();
    assert!(
        matches!(refused, InspectError::Open(OpenError::InUse { .. })),
        "{refused}"
    );
    disk.look(Options {
        while_running: true,
        ..Options::default()
    });
}

#[test]
fn the_report_prints_for_people_and_as_json() {
    let disk = Disk::new();
    disk.block(0, 10, &[("de\x1b[2Jmo", 1, false), ("", 2, true)]);
    let report = disk.look(Options {
        blocks: true,
        ..Options::default()
    });
    let text = report.to_string();
    for part in [
        "namespace    test",
        "1 filled, 5 never used",
        "records      2 sound, 0 damaged",
        "(none)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "names cannot move the cursor");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["layout"]["namespace"], "test");
    assert_eq!(json["totals"]["records"], 1);
    assert_eq!(json["filled_blocks"][0]["fill"], 10);
    assert_eq!(json["filled_blocks"][0]["tombstones"], 1);
    let one = disk.look(Options {
        block: Some(0),
        ..Options::default()
    });
    let json: serde_json::Value = serde_json::from_str(&one.to_json()).unwrap();
    assert_eq!(json["records"][1]["tombstone"], true);
    assert!(one.to_string().contains("deleted"));
}

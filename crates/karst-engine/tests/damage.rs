//! Damaged live records: told apart, remembered once, cleared by who replaces them, repaired; and what
//! the scrub and defrag make of them.

mod plain;

use karst_data::flat::Record;
use karst_data::key::PartitionId;
use karst_engine::Reason;
use karst_engine::damage::{Damaged, FoundBy, Kind, LEDGER_MAX, Repair, RepairError, Verdict};
use karst_engine::scrub::Next;
use karst_storage::log::BlockId;
use plain::{BLOCK_BYTES, World, digest, value};

const KEYS: u64 = 30;
const VALUE_BYTES: usize = 1500;

/// Bytes that such a record has on the device.
const STORED_BYTES: usize = 1584;

/// Every key once, in full blocks that are on the device only.
fn filled() -> World {
    let world = World::new(24, 1);
    for key in 0..KEYS {
        world.write(0, key, &value(key, 1, VALUE_BYTES)).unwrap();
    }
    for key in KEYS..KEYS + 12 {
        world.write(0, key, &value(key, 1, VALUE_BYTES)).unwrap(); // so that the others' blocks are full
    }
    world.flush(0);
    world
}

/// Where a key's record begins on the device.
fn start_of(world: &World, key: u64) -> usize {
    let wanted = value(key, 1, VALUE_BYTES);
    let device = world.device.read();
    let at = device
        .windows(VALUE_BYTES)
        .position(|found| found == wanted);
    let digest = digest(key);
    let at = at.expect("it was written");
    let header = device[..at]
        .windows(20)
        .rposition(|found| found == &digest.0[..]);
    header.expect("its digest is before it") - 16
}

fn flip(world: &World, at: usize) {
    world.device.write()[at] ^= 0x55;
}

/// Looks at every suspect as a node does; returns the kinds found.
fn examine(world: &World) -> Vec<(Damaged, Verdict)> {
    let suspects = world.namespace.suspects(100);
    let look = |suspect: Damaged| {
        let read = world.namespace.examination(&suspect)?;
        let bytes = world.fetch(read);
        let front = world.block(world.namespace.log().block_of(suspect.place));
        let bytes = Some(bytes.buffer.as_slice());
        let verdict = world
            .namespace
            .examine(&suspect, &read, bytes, Some(&front[..4096]));
        Some((suspect, verdict))
    };
    suspects.into_iter().filter_map(look).collect()
}

fn kind_of_only_damage(world: &World, key: u64) -> Kind {
    assert_eq!(world.read(key), Err(Reason::Unreadable));
    examine(world);
    let damaged = world.namespace.damaged();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].digest, digest(key));
    assert_eq!(
        world.namespace.damage_report().found[damaged[0].kind as usize],
        1
    );
    damaged[0].kind
}

#[test]
fn each_kind_of_damage_is_told_from_the_others() {
    let rot = filled();
    flip(&rot, start_of(&rot, 3) + 700);
    assert_eq!(kind_of_only_damage(&rot, 3), Kind::Rot);

    let torn = filled();
    let at = start_of(&torn, 3);
    let (from, to) = ((at + 1000).next_multiple_of(512), at + 1600);
    torn.device.write()[from..to].fill(0);
    assert!(matches!(torn.read(3), Err(Reason::Unreadable)));
    examine(&torn);
    assert_eq!(torn.namespace.damaged()[0].kind, Kind::Torn);

    let misdirected = filled();
    let (from, to) = (start_of(&misdirected, 5), start_of(&misdirected, 3));
    misdirected
        .device
        .write()
        .copy_within(from..from + STORED_BYTES, to);
    assert_eq!(kind_of_only_damage(&misdirected, 3), Kind::Misdirected);

    let unreadable = filled();
    let suspect = {
        unreadable.namespace.suspect(&digest(3), FoundBy::Client);
        unreadable.namespace.suspects(1)[0]
    };
    let read = unreadable.namespace.examination(&suspect).unwrap();
    let verdict = unreadable.namespace.examine(&suspect, &read, None, None);
    assert_eq!(verdict, Verdict::Damaged(Kind::Unreadable));
}

#[test]
fn a_block_whose_write_never_arrived_is_stale() {
    let world = World::new(12, 1);
    let fill = |version| {
        for key in 0..9 {
            world
                .write(0, key, &value(key, version, VALUE_BYTES))
                .unwrap();
        }
        world.flush(0);
    };
    // Filled until the first block comes around again; then its new content gets lost.
    fill(1);
    let log = world.namespace.log();
    let first = BlockId {
        device: karst_storage::place::DeviceId(0),
        block: 0,
    };
    let (old, old_fill) = (world.block(first), log.block_seal(first).fill);
    let mut version = 2;
    while log.block_seal(first).fill == old_fill {
        fill(version);
        version += 1;
    }
    fill(version); // so that it is full
    let at = BLOCK_BYTES;
    world.device.write()[at..at + BLOCK_BYTES].copy_from_slice(&old);
    let unreadable = (0..9).filter(|key| world.read(*key).is_err()).count();
    examine(&world);
    let damaged = world.namespace.damaged();
    assert_eq!(damaged.len(), unreadable);
    assert!(
        unreadable > 0 && damaged.iter().any(|damaged| damaged.kind == Kind::Stale),
        "{damaged:?}"
    );
}

#[test]
fn a_damaged_record_stands_in_the_ledger_once_until_it_is_written_or_deleted() {
    let world = filled();
    for key in [3, 4] {
        flip(&world, start_of(&world, key) + 700);
        for _ in 0..5 {
            assert_eq!(world.read(key), Err(Reason::Unreadable));
        }
    }
    assert_eq!(examine(&world).len(), 2);
    assert_eq!(world.read(3), Err(Reason::Unreadable));
    assert_eq!(world.namespace.damage_report().records, 2);
    assert!(
        world.namespace.suspects(10).is_empty(),
        "what is known is not examined again"
    );
    world.write(0, 3, b"new").unwrap();
    assert_eq!(world.namespace.damage_report().records, 1);
    world.delete(4);
    assert_eq!(world.namespace.damage_report().records, 0);
    assert_eq!(world.read(3).unwrap(), b"new");
}

#[test]
fn a_suspect_that_is_sound_when_read_again_is_no_damage() {
    let world = filled();
    world.namespace.suspect(&digest(3), FoundBy::Client);
    assert_eq!(examine(&world)[0].1, Verdict::Sound);
    let report = world.namespace.damage_report();
    assert_eq!((report.records, report.passing), (0, 1));
}

#[test]
fn the_ledger_is_bounded_and_counts_what_it_leaves_out() {
    let world = World::new(200, 1);
    let keys = LEDGER_MAX as u64 + 10;
    for key in 0..keys {
        world.write(0, key, b"x").unwrap();
        world.flush(0);
        world.namespace.suspect(&digest(key), FoundBy::Scrub);
    }
    let report = world.namespace.damage_report();
    assert_eq!((report.records, report.left_out), (LEDGER_MAX as u64, 10));
}

#[test]
fn a_repair_replaces_exactly_the_damaged_version_and_nothing_newer() {
    let world = filled();
    let at = start_of(&world, 3);
    let sound = world.device.read()[at..at + STORED_BYTES].to_vec();
    assert_eq!(
        Record::parse_unsealed(&sound).unwrap().meta.digest,
        digest(3)
    );
    let repair = |bytes: &[u8]| {
        let lane = world.namespace.log().move_lane(0);
        world.namespace.repair(lane, 0, bytes)
    };
    assert_eq!(
        repair(&sound),
        Ok(Repair::Superseded),
        "nothing is damaged yet"
    );
    flip(&world, at + 700);
    assert_eq!(world.read(3), Err(Reason::Unreadable));
    examine(&world);
    assert!(matches!(repair(&sound[..40]), Err(RepairError::Unsound(_))));
    let other = start_of(&world, 4);
    let other = world.device.read()[other..other + STORED_BYTES].to_vec();
    assert_eq!(repair(&other), Ok(Repair::Superseded), "another record");
    assert!(matches!(repair(&sound), Ok(Repair::Done(_))));
    assert_eq!(world.read(3).unwrap(), value(3, 1, VALUE_BYTES));
    world.flush(0);
    assert_eq!(world.read(3).unwrap(), value(3, 1, VALUE_BYTES));
    let report = world.namespace.damage_report();
    assert_eq!((report.records, report.repaired), (0, 1));

    flip(&world, start_of(&world, 5) + 700);
    let at = start_of(&world, 6); // any sound bytes of key 6, damaged and then overwritten
    let sound = world.device.read()[at..at + STORED_BYTES].to_vec();
    flip(&world, at + 700);
    assert_eq!(world.read(6), Err(Reason::Unreadable));
    world.write(0, 6, b"newer").unwrap();
    assert_eq!(repair(&sound), Ok(Repair::Superseded));
    assert_eq!(world.read(6).unwrap(), b"newer");
}

/// Scrubs once around; returns blocks with a damaged header and records suspected.
fn scrub(world: &World) -> (usize, usize) {
    let mut headers = 0;
    loop {
        match world.namespace.next_scrub() {
            Next::PassEnded => return (headers, world.namespace.suspects(1000).len()),
            Next::Searching => {}
            Next::Block(id) => {
                let bytes = world.block(id);
                let Some(finding) = world.namespace.check_block(id, &bytes) else {
                    continue;
                };
                headers += usize::from(finding.header_damaged);
                if finding.record_damaged {
                    for partition in PartitionId::all() {
                        let by = FoundBy::Scrub;
                        let engine = &world.namespace;
                        while engine
                            .suspect_in_block(partition, None, id, &bytes, by)
                            .is_some()
                        {}
                    }
                }
            }
        }
    }
}

#[test]
fn the_scrub_finds_every_damaged_record_and_header_and_nothing_else() {
    let world = filled();
    assert_eq!(scrub(&world), (0, 0));
    for key in [1, 7, 8] {
        flip(&world, start_of(&world, key) + 700);
    }
    flip(&world, start_of(&world, 12) + 15); // in the header of a record: its digest
    flip(&world, BLOCK_BYTES + 20); // the header of the first block
    assert_eq!(scrub(&world), (1, 4));
    examine(&world);
    assert_eq!(world.namespace.damage_report().records, 4);
    let found: Vec<_> = world
        .namespace
        .damaged()
        .iter()
        .map(|damaged| damaged.digest)
        .collect();
    for key in [1, 7, 8, 12] {
        assert!(found.contains(&digest(key)), "key {key}");
    }
}

#[test]
fn defrag_saves_what_it_can_of_a_damaged_block_and_leaves_it_until_the_rest_is_replaced() {
    let world = filled();
    let log = world.namespace.log();
    flip(&world, start_of(&world, 3) + 700);
    let block = BlockId {
        device: karst_storage::place::DeviceId(0),
        block: 0,
    };
    let job = log.move_block(block).expect("it is full");
    assert!(world.empty(0, job));
    world.flush(0);
    assert!(
        log.block_live_bytes(block) > 0,
        "the damaged record still counts"
    );
    assert_eq!(log.report().damaged_blocks, 1);
    assert_eq!(log.move_block(block), None, "it is not tried over and over");
    for key in (0..KEYS).filter(|key| *key != 3) {
        assert_eq!(
            world.read(key).unwrap(),
            value(key, 1, VALUE_BYTES),
            "key {key}"
        );
    }
    assert_eq!(world.read(3), Err(Reason::Unreadable));
    let free = log.report().free_bytes;
    world.write(0, 3, b"new").unwrap();
    world.flush(0);
    assert_eq!(log.next_move(), None);
    let report = log.report();
    assert_eq!(report.damaged_blocks, 0);
    assert_eq!(
        report.free_bytes,
        free + BLOCK_BYTES as u64,
        "then it is free like any other"
    );
}

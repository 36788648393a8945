//! What a truncation takes away stays away, and nothing comes back that lay below it: after starts from
//! the device, where a set's mark and the records are all that is left.

mod plain;

use karst_data::key::Digest;
use karst_engine::Reason;
use karst_storage::index::NewEntry;
use karst_storage::log::BlockId;
use plain::{BLOCK_BYTES, NOW_MS, World, digest, value};

const KEY: u64 = 7;
const BLOCKS: u32 = 12;
const VALUE_BYTES: usize = 900;

/// Covers whatever was written before.
const MARK_MS: u64 = NOW_MS + 1;

/// Writes records that stay until the next block is opened, so that what was written before lies in
/// blocks of its own.
fn to_next_block(world: &World, from: u64) {
    let fills = world.namespace.log().fills();
    for key in from.. {
        world
            .write_in(b"cold", 0, key, &value(key, 1, VALUE_BYTES))
            .unwrap();
        if world.namespace.log().fills() > fills {
            break;
        }
    }
    world.flush(0);
}

fn entry(world: &World, digest: &Digest) -> Option<NewEntry> {
    world.namespace.entry(digest)
}

fn block_of(world: &World, key: u64) -> BlockId {
    let entry = entry(world, &digest(key)).expect("it is in the index");
    world.namespace.log().block_of(entry.place)
}

/// A record in `first`, deleted, and made anew in `second`, each in a block of its own.
fn deleted_and_made_anew(first: &[u8], second: &[u8]) -> (World, [BlockId; 3]) {
    let world = World::new(BLOCKS, 1);
    let mut blocks = Vec::new();
    for version in 0..3 {
        match version {
            0 => world
                .write_in(first, 0, KEY, &value(KEY, 1, VALUE_BYTES))
                .unwrap(),
            1 => world.delete_in(first, KEY),
            _ => world
                .write_in(second, 0, KEY, &value(KEY, 2, VALUE_BYTES))
                .unwrap(),
        }
        blocks.push(block_of(&world, KEY));
        to_next_block(&world, 1000 * (version + 1));
    }
    (world, [blocks[0], blocks[1], blocks[2]])
}

/// The block is filled anew: nothing that it held can be read any more.
fn wipe(world: &World, block: BlockId) {
    let (offset, size) = world.namespace.log().block_extent(block);
    world.device.write()[offset as usize..offset as usize + size].fill(0);
}

#[test]
fn a_tombstone_below_a_truncated_record_does_not_count_again_after_a_start() {
    let (mut world, [_, tombstone, record]) = deleted_and_made_anew(b"demo", b"demo");
    let live = |world: &World, block| world.namespace.log().block_live_bytes(block);
    let cold = live(&world, tombstone);
    world.namespace.truncate(Some(b"demo"), MARK_MS).unwrap();
    world.sweep();
    let report = world.namespace.report();
    assert_eq!(report.tombstones, 1, "one is left in the record's stead");
    let swept = live(&world, record);
    for swept_again in [false, true] {
        world.start_again(&[(b"demo", MARK_MS)]);
        if swept_again {
            world.sweep();
        }
        assert_eq!(world.read(KEY), Err(Reason::NotFound));
        assert_eq!(block_of(&world, KEY), record);
        assert_eq!(
            (live(&world, tombstone), live(&world, record)),
            (cold, swept)
        );
        let again = world.namespace.report();
        assert_eq!((again.tombstones, again.records), (1, report.records));
    }
}

#[test]
fn a_record_deleted_in_one_set_does_not_return_when_its_successor_in_another_is_truncated() {
    let (mut world, [_, tombstone, record]) = deleted_and_made_anew(b"demo", b"other");
    world.namespace.truncate(Some(b"other"), MARK_MS).unwrap();
    wipe(&world, tombstone); // nothing points there, so it may be filled anew
    world.start_again(&[(b"other", MARK_MS)]);
    assert_eq!(world.read(KEY), Err(Reason::NotFound));
    world.sweep();
    assert_eq!(world.read(KEY), Err(Reason::NotFound));
    // Defrag writes a tombstone in the record's stead before its block is filled anew.
    let job = world
        .namespace
        .log()
        .move_block(record)
        .expect("it is full");
    assert!(world.empty(0, job));
    world.flush(0);
    wipe(&world, record);
    world.start_again(&[(b"other", MARK_MS)]);
    assert_eq!(world.read(KEY), Err(Reason::NotFound));
    assert!(entry(&world, &digest(KEY)).unwrap().is_tombstone());
}

#[test]
fn what_was_deleted_stays_deleted_when_a_truncation_of_what_was_made_anew_is_undone() {
    let (mut world, [_, tombstone, record]) = deleted_and_made_anew(b"demo", b"demo");
    world.namespace.truncate(Some(b"demo"), MARK_MS).unwrap();
    world.sweep();
    wipe(&world, tombstone);
    let job = world
        .namespace
        .log()
        .move_block(record)
        .expect("it is full");
    assert!(world.empty(0, job));
    world.flush(0);
    wipe(&world, record);
    world.start_again(&[]);
    assert_eq!(world.read(KEY), Err(Reason::NotFound));
}

#[test]
fn a_truncated_record_without_a_tombstone_below_leaves_nothing_behind() {
    let mut world = World::new(BLOCKS, 1);
    for version in 1..3 {
        world
            .write(0, KEY, &value(KEY, version, VALUE_BYTES))
            .unwrap();
    }
    world.flush(0);
    world.namespace.truncate(Some(b"demo"), MARK_MS).unwrap();
    world.sweep();
    let empty = (
        world.namespace.report().tombstones,
        world.namespace.log().report().live_bytes,
    );
    assert_eq!(empty, (0, 0));
    world.start_again(&[(b"demo", MARK_MS)]);
    let empty = (
        world.namespace.report().tombstones,
        world.namespace.log().report().live_bytes,
    );
    assert_eq!(empty, (0, 0));
    assert_eq!(entry(&world, &digest(KEY)), None);
}

#[test]
fn a_truncation_covers_a_damaged_record_of_its_set_and_no_other() {
    let mut world = World::new(BLOCKS, 1);
    for (key, set) in [(1, &b"demo"[..]), (2, b"other")] {
        world
            .write_in(set, 0, key, &value(key, 1, VALUE_BYTES))
            .unwrap();
    }
    for from in [1000, 2000, 3000] {
        to_next_block(&world, from); // so that a later header says that the first block was durable
    }
    let log = world.namespace.log();
    let starts = [1, 2].map(|key| entry(&world, &digest(key)).unwrap().place.start.bytes());
    assert!(
        starts.iter().all(|start| *start < 2 * BLOCK_BYTES as u64),
        "both lie in the first block"
    );
    assert_eq!(
        log.block_of(entry(&world, &digest(1)).unwrap().place),
        block_of(&world, 2)
    );
    for start in starts {
        world.device.write()[start as usize + 500] ^= 1; // in the value
    }
    world.start_again(&[(b"demo", MARK_MS)]);
    assert_eq!(world.read(1), Err(Reason::NotFound));
    assert_eq!(world.read(2), Err(Reason::Unreadable));
    assert_eq!(
        world
            .namespace
            .sets()
            .get(entry(&world, &digest(2)).unwrap().set_id)
            .name[..],
        *b"other"
    );
    world.write_in(b"other", 0, 2, b"new").unwrap();
    assert_eq!(world.read(2).unwrap(), b"new");
}

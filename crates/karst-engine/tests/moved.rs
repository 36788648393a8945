//! Where a record lies that was moved: in the block that it was moved to, after a start too.

mod plain;

use karst_storage::log::BlockId;
use plain::{World, digest, value};

const BLOCKS: u32 = 12;
const VALUE_BYTES: usize = 900;

fn block_of(world: &World, key: u64) -> BlockId {
    let entry = world.namespace.entry(&digest(key));
    let place = entry.expect("it is in the index").place;
    world.namespace.log().block_of(place)
}

/// Writes a key and then others, until its block is full.
fn write_and_fill_up(world: &World, key: u64) {
    world.write(0, key, &value(key, 1, VALUE_BYTES)).unwrap();
    let block = block_of(world, key);
    for other in 1000 * (key + 1).. {
        world
            .write(0, other, &value(other, 1, VALUE_BYTES))
            .unwrap();
        if block_of(world, other) != block {
            break;
        }
        world.delete(other); // so that little of the block is worth keeping
    }
    world.flush(0);
}

fn move_out(world: &World, key: u64) {
    let from = block_of(world, key);
    let job = world.namespace.log().move_block(from);
    assert!(world.empty(0, job.expect("it is full")));
    world.flush(0);
    assert_ne!(block_of(world, key), from);
}

#[test]
fn a_record_moved_to_a_block_that_was_opened_before_its_own_lies_there_after_a_start() {
    const KEY: u64 = 3;
    let mut world = World::new(BLOCKS, 1);
    write_and_fill_up(&world, 1);
    move_out(&world, 1); // opens the block that defrag fills
    write_and_fill_up(&world, 2); // so that the next one lies in a block that is opened from now on
    write_and_fill_up(&world, KEY);
    let from = block_of(&world, KEY);
    move_out(&world, KEY);
    let to = block_of(&world, KEY);
    assert_eq!(to, block_of(&world, 1));
    let fill_of = |block| world.namespace.log().fill_of(block);
    assert!(fill_of(to) < fill_of(from), "the source is younger");
    write_and_fill_up(&world, 4); // neither is the youngest of all
    assert_eq!(world.namespace.log().block_live_bytes(from), 0);
    world.start_again(&[]);
    assert_eq!(block_of(&world, KEY), to);
    let live_bytes = world.namespace.log().block_live_bytes(from);
    assert_eq!(live_bytes, 0, "what was given up is not needed again");
    assert_eq!(world.read(KEY).unwrap(), value(KEY, 1, VALUE_BYTES));
}

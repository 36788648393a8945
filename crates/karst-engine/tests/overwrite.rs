//! Uniform overwrites without end: what they cost in device writes, and that they never run out of room.

mod plain;

use plain::{World, value};

/// Bytes of a value, and what such a record has on the device.
const VALUE_BYTES: usize = 900;
const STORED_BYTES: u64 = 992;

const BLOCKS: u32 = 400;

/// Fills the device so far, overwrites it several times in random order, and returns the write
/// amplification of the last laps in percent. Defrag goes on for as long as it finds anything worth the work,
/// which is the most that it can cost.
fn amplification_percent(fill_percent: u64) -> u64 {
    let world = World::new(BLOCKS, 1);
    let capacity = u64::from(BLOCKS) * plain::BLOCK_BYTES as u64;
    let keys = capacity * fill_percent / 100 / STORED_BYTES;
    let mut random = 1u64;
    let write = |key: u64, version: u64| {
        world
            .write(0, key, &value(key, version, VALUE_BYTES))
            .unwrap_or_else(|_| panic!("{fill_percent}%: a write has to wait"));
        world.send(world.namespace.log().write_lane(0));
        while let Some(job) = world.namespace.log().next_move() {
            assert!(world.empty(0, job), "{fill_percent}%: defrag has no room");
            world.send(world.namespace.log().move_lane(0));
        }
    };
    (0..keys).for_each(|key| write(key, 0));
    let mut lap = |version| {
        for _ in 0..2 * keys {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            write((random >> 33) % keys, version);
        }
    };
    lap(1); // the steady state comes after the first lap over the device
    lap(2);
    let before = world.namespace.log().report();
    lap(3);
    let after = world.namespace.log().report();
    let live_percent = after.live_bytes * 100 / after.total_bytes;
    assert!((fill_percent - 2..=fill_percent + 2).contains(&live_percent));
    let written = after.written_bytes - before.written_bytes;
    written * 100 / (after.client_bytes - before.client_bytes)
}

#[test]
fn overwriting_a_device_half_full_costs_less_than_one_and_a_half_device_writes() {
    let percent = amplification_percent(50);
    println!("write amplification at 50% fill: {percent}%");
    assert!(percent <= 150, "{percent}%");
}

#[test]
fn a_device_80_percent_full_is_overwritten_without_end_and_at_a_bounded_price() {
    let percent = amplification_percent(80);
    println!("write amplification at 80% fill: {percent}%");
    assert!(percent <= 450, "{percent}%");
}

//! Records that a scan comes upon: those that are alive, as they were then.

mod plain;

use std::collections::BTreeMap;

use karst_data::expr::Filter;
use karst_data::key::{Digest, PartitionId};
use karst_data::time::Now;
use karst_data::work::Work;
use karst_engine::read::Need;
use karst_engine::seen::{Scan, Seen};
use plain::{NOW_MS, World, digest, value};

const RECORDS: u64 = 300;

fn now() -> Now {
    Now::from_epoch_ms(NOW_MS)
}

fn scan(partition: PartitionId, filter: Option<&Filter>) -> Scan<'_> {
    Scan {
        partition,
        set_id: None,
        filter,
        need: Need::Bins,
    }
}

/// All records, in slices of at most so many.
fn see(world: &World, filter: Option<&Filter>, records_max: usize) -> Vec<Seen> {
    let mut all = Vec::new();
    for partition in PartitionId::all() {
        let mut after = None;
        loop {
            let scan = scan(partition, filter);
            let slice = world.namespace.see_slice(&scan, after, records_max, now());
            assert!(slice.records.len() <= records_max);
            all.extend(slice.records);
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
    }
    all
}

/// The values of those that pass and whose bytes are at hand, and how many are not.
fn values(
    world: &World,
    filter: Option<&Filter>,
    seen: &[Seen],
) -> (BTreeMap<Digest, Vec<u8>>, usize) {
    let (mut values, mut away) = (BTreeMap::new(), 0);
    for seen in seen {
        let scan = scan(seen.digest().partition(), filter);
        let read = world
            .namespace
            .read_seen(now(), &scan, seen, &Work::at_once(), |found| {
                let record = found.ok()?.record.expect("bins were asked for");
                Some(
                    record
                        .bin(b"v")
                        .expect("every record has it")
                        .value
                        .to_vec(),
                )
            });
        match read {
            Some(Some(value)) => {
                let before = values.insert(*seen.digest(), value);
                assert!(before.is_none(), "it was seen once");
            }
            Some(None) => {}
            None => away += 1,
        }
    }
    (values, away)
}

fn expected(keys: impl Iterator<Item = u64>, version: u64) -> BTreeMap<Digest, Vec<u8>> {
    keys.map(|key| (digest(key), value(key, version, 100)))
        .collect()
}

fn world() -> World {
    let world = World::new(64, 1);
    for key in 0..RECORDS {
        world.write(0, key, &value(key, 0, 100)).expect("room");
    }
    world
}

#[test]
fn what_is_alive_is_seen_once_and_read_as_it_was_then() {
    let world = world();
    world.delete(7);
    let alive = || (0..RECORDS).filter(|key| *key != 7);
    let seen = see(&world, None, 3);
    for key in 0..RECORDS {
        world.write(0, key, &value(key, 1, 100)).expect("room");
    }
    assert_eq!(values(&world, None, &seen), (expected(alive(), 0), 0));
    let seen = see(&world, None, usize::MAX);
    assert_eq!(values(&world, None, &seen), (expected(0..RECORDS, 1), 0));
}

#[test]
fn what_is_on_a_device_alone_is_seen_and_has_to_be_read() {
    let world = world();
    world.send(world.namespace.log().write_lane(0));
    let seen = see(&world, None, usize::MAX);
    assert_eq!(seen.len() as u64, RECORDS);
    let (found, away) = values(&world, None, &seen);
    assert_eq!(found.len() + away, seen.len());
    assert!(away > 0, "some of it has left memory");
}

#[test]
fn a_filter_leaves_out_by_the_index_what_it_can_and_the_rest_by_the_record() {
    let world = world();
    let filter = |bytes: &[u8]| Filter::parse(bytes).expect("a filter");
    let small = filter(&[0x93, 5, 0x91, 74, 5]); // less than five bytes
    assert!(see(&world, Some(&small), usize::MAX).is_empty());
    let large = filter(&[0x93, 3, 0x91, 74, 5]);
    let seen = see(&world, Some(&large), usize::MAX);
    assert_eq!(
        values(&world, Some(&large), &seen).0,
        expected(0..RECORDS, 0)
    );
    let lacks_bin = filter(&[0x93, 1, 0x92, 82, 0xa1, b'v', 0]);
    let seen = see(&world, Some(&lacks_bin), usize::MAX);
    assert_eq!(seen.len() as u64, RECORDS, "only the records tell");
    assert!(values(&world, Some(&lacks_bin), &seen).0.is_empty());
    // A pattern may take long: it is asked about the record alone, though the index would do.
    let in_set = filter(&[0x94, 7, 1, 0xa2, b'^', b'd', 0x91, 70]);
    let seen = see(&world, Some(&in_set), usize::MAX);
    assert_eq!(
        values(&world, Some(&in_set), &seen).0,
        expected(0..RECORDS, 0)
    );
}

//! Filters of requests: asked in their place among the other demands, and without a read where they can be.

mod plain;

use karst_data::expr::Filter;
use karst_data::operation::{CommandFlags, Operand, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::Value;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::write::{DeleteRequest, WriteRequest};
use karst_engine::{Fetched, Reason, Step};
use plain::{NOW_MS, World, digest, value};

const RECORDS: u64 = 100;

/// Record size greater or less than 100 bytes.
const LARGE: &[u8] = &[0x93, 3, 0x91, 74, 100];
const SMALL: &[u8] = &[0x93, 5, 0x91, 74, 100];
/// Bin `v` is there, or not.
const HAS_BIN: &[u8] = &[0x93, 2, 0x92, 82, 0xa1, b'v', 0];
const LACKS_BIN: &[u8] = &[0x93, 1, 0x92, 82, 0xa1, b'v', 0];

/// How a request ended: refused or not, and how many reads it took.
type End = (Result<(), Reason>, u32);

fn filter(bytes: &[u8]) -> Filter {
    Filter::parse(bytes).expect("a filter")
}

/// A world whose first records are on the device alone.
fn world() -> World {
    let world = World::new(64, 1);
    for key in 0..RECORDS {
        world.write(0, key, &value(key, 0, 900)).expect("room");
        world.send(world.namespace.log().write_lane(0));
    }
    world
}

/// Tries until it is done.
fn carry_out(
    world: &World,
    mut attempt: impl FnMut(Option<&Fetched>) -> Step<Result<(), Reason>>,
) -> End {
    let (mut fetched, mut reads) = (None, 0);
    loop {
        match attempt(fetched.as_ref()) {
            Step::Done(done) => return (done, reads),
            Step::Read(read) => fetched = Some(world.fetch(read)),
            Step::Wait => panic!("there is room"),
        }
        reads += 1;
    }
}

fn read(world: &World, key: u64, need: Need, bytes: &[u8]) -> End {
    let filter = filter(bytes);
    let request = ReadRequest {
        digest: digest(key),
        set: b"demo",
        key: None,
        need,
        filter: Some(&filter),
    };
    let now = Now::from_epoch_ms(NOW_MS);
    carry_out(world, |fetched| {
        world.namespace.read(now, &request, fetched, |found| {
            found
                .map(|found| assert_eq!(found.record.is_some(), need == Need::Bins))
                .map_err(|refusal| refusal.reason)
        })
    })
}

fn write(world: &World, key: u64, exists: Exists, generation: GenerationRule, bytes: &[u8]) -> End {
    let filter = filter(bytes);
    let operations = match exists {
        Exists::Replace => [Operation::Write(b"v", Some(Value::integer(1)))],
        _ => [Operation::Increment(
            b"n",
            Operand::Value(Value::integer(1)),
        )],
    };
    let request = WriteRequest {
        digest: digest(key),
        set: b"demo",
        key: None,
        exists,
        generation,
        ttl: Ttl::Never,
        flags: CommandFlags {
            replaces: exists.replaces(),
            ..CommandFlags::default()
        },
        operations: &operations,
        filter: Some(&filter),
    };
    let hand = world.hand(0);
    carry_out(world, |fetched| {
        world.namespace.write(&hand, &request, fetched, |written| {
            written.map(|_| ()).map_err(|refusal| refusal.reason)
        })
    })
}

fn delete(world: &World, key: u64, bytes: &[u8]) -> End {
    let filter = filter(bytes);
    let request = DeleteRequest {
        digest: digest(key),
        set: b"demo",
        key: None,
        generation: GenerationRule::Any,
        filter: Some(&filter),
    };
    let hand = world.hand(0);
    carry_out(world, |fetched| {
        world.namespace.delete(&hand, &request, fetched, |deleted| {
            deleted.map(|_| ()).map_err(|refusal| refusal.reason)
        })
    })
}

const OUT: Result<(), Reason> = Err(Reason::FilteredOut);

#[test]
fn what_metadata_decide_needs_no_read_from_the_device() {
    let world = world();
    assert_eq!(read(&world, 0, Need::Facts, LARGE), (Ok(()), 0));
    assert_eq!(read(&world, 0, Need::Bins, SMALL), (OUT, 0));
    assert_eq!(read(&world, 0, Need::Bins, LARGE), (Ok(()), 1)); // for what it asks for
    assert_eq!(read(&world, 0, Need::Facts, HAS_BIN), (Ok(()), 1));
    assert_eq!(read(&world, 0, Need::Facts, LACKS_BIN), (OUT, 1));
    let any = GenerationRule::Any;
    assert_eq!(write(&world, 1, Exists::Any, any, SMALL), (OUT, 0));
    assert_eq!(write(&world, 1, Exists::Replace, any, SMALL), (OUT, 0));
    assert_eq!(write(&world, 1, Exists::Replace, any, LACKS_BIN), (OUT, 1));
    assert_eq!(write(&world, 1, Exists::Replace, any, LARGE), (Ok(()), 0));
    assert_eq!(write(&world, 2, Exists::Replace, any, HAS_BIN), (Ok(()), 1));
    assert_eq!(write(&world, 3, Exists::Any, any, HAS_BIN), (Ok(()), 1));
    assert_eq!(delete(&world, 4, SMALL), (OUT, 0));
    assert_eq!(delete(&world, 4, LACKS_BIN), (OUT, 1));
    assert_eq!(delete(&world, 4, HAS_BIN), (Ok(()), 1));
    assert_eq!(delete(&world, 5, LARGE), (Ok(()), 0));
}

#[test]
fn existence_and_generation_are_told_before_the_filter_and_creating_ignores_it() {
    let world = world();
    let any = GenerationRule::Any;
    assert_eq!(
        read(&world, RECORDS, Need::Bins, SMALL).0,
        Err(Reason::NotFound)
    );
    assert_eq!(delete(&world, RECORDS, SMALL).0, Err(Reason::NotFound));
    assert_eq!(
        write(&world, RECORDS, Exists::UpdateOnly, any, SMALL).0,
        Err(Reason::NotFound)
    );
    assert_eq!(
        write(&world, 0, Exists::CreateOnly, any, SMALL).0,
        Err(Reason::Exists)
    );
    let second = GenerationRule::Equal(2);
    assert_eq!(
        write(&world, 0, Exists::Any, second, SMALL).0,
        Err(Reason::Generation)
    );
    assert_eq!(write(&world, RECORDS, Exists::Any, any, SMALL).0, Ok(()));
    assert_eq!(world.read(0), Ok(value(0, 0, 900)));
}

/// Whether -1 is one of a few thousand numbers, asked a thousand times.
fn too_long() -> Vec<u8> {
    let list = |count: u16, element: &[u8]| {
        let head = [&[0xdc][..], &count.to_be_bytes()].concat();
        [head, element.repeat(count.into())].concat()
    };
    let numbers = [&[0x92, 126][..], &list(5000, &[7])].concat();
    let is_among = [0x93, 9, 0xff, 0x92, 124, 0xa1, b'l'];
    let mut any = list(1000, &is_among);
    any.splice(1..3, 1001u16.to_be_bytes());
    any.insert(3, 17);
    [&[0x94, 125, 0xa1, b'l'][..], &numbers, &any].concat()
}

#[test]
fn a_filter_that_takes_too_long_is_refused_and_nothing_is_done() {
    let world = World::new(64, 1);
    world.write(0, 1, &value(1, 0, 900)).expect("room");
    let (any, too_long) = (GenerationRule::Any, too_long());
    let refused = (Err(Reason::Exhausted), 0);
    assert_eq!(read(&world, 1, Need::Bins, &too_long), refused);
    assert_eq!(read(&world, 1, Need::Facts, &too_long), refused);
    assert_eq!(write(&world, 1, Exists::Any, any, &too_long), refused);
    assert_eq!(write(&world, 1, Exists::Replace, any, &too_long), refused);
    assert_eq!(delete(&world, 1, &too_long), refused);
    assert_eq!(world.read(1), Ok(value(1, 0, 900)));
    let entry = world.namespace.entry(&digest(1)).expect("it is there");
    assert_eq!(entry.generation, 1);
}

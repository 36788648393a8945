//! Writes that were made from a state of the record: they take place only if it is still the same.

mod plain;

use karst_data::key::{Digest, KeyBytes};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::Value;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::write::{Basis, DeleteRequest, Hand, WriteRequest};
use karst_engine::{Reason, Step};
use plain::World;

const KEY: u64 = 7;

fn hand(world: &World) -> Hand {
    Hand {
        lane: world.namespace.log().write_lane(0),
        now: Now::from_epoch_ms(plain::NOW_MS),
        flush_clock_ms: 0,
        regime: FIRST_REGIME,
        replicated: false,
    }
}

fn version(world: &World, digest: &Digest) -> Option<[u8; 10]> {
    let entry = world.namespace.entry(digest);
    let alive = entry.filter(|entry| !entry.is_tombstone());
    alive.map(|entry| entry.version.pack())
}

fn write_over(world: &World, version: Option<[u8; 10]>) -> Result<u16, Reason> {
    let request = WriteRequest {
        filter: None,
        digest: plain::digest(KEY),
        set: b"demo",
        key: None,
        exists: Exists::Any,
        generation: GenerationRule::Any,
        ttl: Ttl::Default,
        flags: CommandFlags::default(),
        operations: &[Operation::Write(b"n", Some(Value::integer(1)))],
    };
    let basis = Basis {
        version,
        drops_key: false,
    };
    let step = (world.namespace).write_over(&hand(world), &request, &basis, None, |written| {
        written.map(|it| it.generation).map_err(|it| it.reason)
    });
    match step {
        Step::Done(written) => written,
        other => panic!("{other:?}"),
    }
}

fn delete(world: &World) {
    let request = DeleteRequest {
        filter: None,
        digest: plain::digest(KEY),
        set: b"",
        key: None,
        generation: GenerationRule::Any,
    };
    let step = (world.namespace).delete(&hand(world), &request, None, |written| written.is_ok());
    assert!(matches!(step, Step::Done(true)));
}

#[test]
fn a_write_made_from_another_state_is_not_carried_out() {
    assert_eq!(
        plain::digest(KEY),
        Digest::of(b"demo", KeyBytes::Integer(KEY as i64))
    );
    let world = World::new(16, 1);
    let now = || version(&world, &plain::digest(KEY));
    assert_eq!(write_over(&world, Some([1; 10])), Err(Reason::Overtaken));
    assert_eq!(write_over(&world, None), Ok(1));
    let first = now();
    assert_eq!(write_over(&world, None), Err(Reason::Overtaken));
    assert_eq!(write_over(&world, first), Ok(2));
    assert_eq!(write_over(&world, first), Err(Reason::Overtaken));
    // Deleted and made again it has the generation that it had, and is another record all the same.
    delete(&world);
    assert_eq!(write_over(&world, first), Err(Reason::Overtaken));
    assert_eq!(write_over(&world, None), Ok(1));
    assert_eq!(write_over(&world, first), Err(Reason::Overtaken));
    assert_eq!(write_over(&world, now()), Ok(2));
}

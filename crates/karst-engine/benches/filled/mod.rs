//! A namespace in memory that benches fill.

#![allow(dead_code, reason = "each bench uses another part")]

use std::sync::Arc;

use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::write::{Hand, WriteRequest};
use karst_engine::{Namespace, NamespaceConfig, Step};
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::{DeviceGeometry, Log, LogConfig};

pub(crate) const BLOCK_BYTES: u32 = 1 << 20;

/// An empty one with room for so many records.
pub(crate) fn open(records: u64) -> Namespace {
    let log = Log::new(LogConfig {
        on_devices: false,
        block_bytes: BLOCK_BYTES,
        devices: vec![DeviceGeometry {
            number: 1,
            blocks: (records / 2000 + 64) as u32,
            sector_bytes: 512,
        }],
        cores: 1,
        cache_bytes: 0,
        defrag_low_water_percent: 50,
    });
    let config = NamespaceConfig {
        name: "test".into(),
        default_ttl_s: 0,
        record_bytes_max: BLOCK_BYTES as usize - 64,
        commit_to_device: false,
        flush_ms_max: 1000,
        strong: false,
    };
    let arena = EntryArena::new(records * 2 + (4096 * 64)).expect("room for the index");
    Namespace::new(
        config,
        log.expect("a sound layout"),
        Arc::new(arena),
        HashKey([3, 4]),
    )
}

pub(crate) fn now() -> Now {
    Now::from_epoch_ms(1_000_000)
}

pub(crate) fn hand(namespace: &Namespace) -> Hand {
    Hand {
        lane: namespace.log().write_lane(0),
        now: now(),
        flush_clock_ms: 0,
        regime: FIRST_REGIME,
        replicated: false,
    }
}

/// Writes a record.
pub(crate) fn put(
    namespace: &Namespace,
    hand: &Hand,
    set: &[u8],
    number: u64,
    operations: &[Operation<'_>],
) {
    let request = WriteRequest {
        filter: None,
        digest: Digest::of(set, KeyBytes::Integer(number as i64)),
        set,
        key: None,
        exists: Exists::Any,
        generation: GenerationRule::Any,
        ttl: Ttl::Never,
        flags: CommandFlags::default(),
        operations,
    };
    let step = namespace.write(hand, &request, None, |written| written.is_ok());
    assert!(matches!(step, Step::Done(true)), "record {number}");
}

/// Writes records of the set `demo`: each with a number below `values`, and a blob.
pub(crate) fn fill(namespace: &Namespace, records: u64, values: u64) {
    let hand = hand(namespace);
    let blob = [7u8; 120];
    for number in 0..records {
        let value = Value {
            particle: ParticleType::Blob,
            bytes: blob.as_slice().into(),
        };
        let operations = [
            Operation::Write(b"n", Some(Value::integer((number % values) as i64))),
            Operation::Write(b"v", Some(value)),
        ];
        put(namespace, &hand, b"demo", number, &operations);
    }
}

/// Builds the indexes that lack something.
pub(crate) fn build(namespace: &Namespace) {
    for id in PartitionId::all() {
        let build = namespace.begin_build(id).expect("nothing is built");
        let mut after = None;
        loop {
            let slice = namespace.build_slice(&build, after);
            for digest in &slice.digests {
                let step = namespace.build_record(&build, digest, None, now());
                assert!(matches!(step, Step::Done(true)));
            }
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
        namespace.end_build(&build);
    }
}

//! A filtered scan of records in memory: what it costs in the engine, without sockets and replies.
//!
//! `cargo bench -p karst-engine --bench scan -- --records 1000000`
//!
//! One thread. Three ways: seen and read in one go, as scans are; named first and then read one by one, as strongly
//! consistent ones are; and by a filter for which the index alone is enough.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::sync::Arc;
use std::time::Instant;

use karst_data::expr::Filter;
use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_data::work::Work;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::seen::Scan;
use karst_engine::write::{Hand, WriteRequest};
use karst_engine::{Namespace, NamespaceConfig, Step};
use karst_storage::index::{EntryArena, HashKey};
use karst_storage::log::{DeviceGeometry, Log, LogConfig};

const VALUES: u64 = 100;
const BLOCK_BYTES: u32 = 1 << 20;

fn open(records: u64) -> Namespace {
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

fn now() -> Now {
    Now::from_epoch_ms(1_000_000)
}

fn fill(namespace: &Namespace, records: u64) {
    let hand = Hand {
        lane: namespace.log().write_lane(0),
        now: now(),
        flush_clock_ms: 0,
        regime: FIRST_REGIME,
        replicated: false,
    };
    let blob = [7u8; 120];
    for number in 0..records {
        let value = Value {
            particle: ParticleType::Blob,
            bytes: blob.as_slice().into(),
        };
        let operations = [
            Operation::Write(b"n", Some(Value::integer((number % VALUES) as i64))),
            Operation::Write(b"v", Some(value)),
        ];
        let request = WriteRequest {
            filter: None,
            digest: Digest::of(b"demo", KeyBytes::Integer(number as i64)),
            set: b"demo",
            key: None,
            exists: Exists::Any,
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &operations,
        };
        let step = namespace.write(&hand, &request, None, |written| written.is_ok());
        assert!(matches!(step, Step::Done(true)), "record {number}");
    }
}

fn seen(namespace: &Namespace, filter: &Filter) -> usize {
    let mut found = 0;
    for partition in PartitionId::all() {
        let scan = Scan {
            partition,
            set_id: None,
            filter: Some(filter),
            need: Need::Bins,
        };
        let mut after = None;
        loop {
            let slice = namespace.see_slice(&scan, after, usize::MAX, now());
            for record in &slice.records {
                let passes = namespace.read_seen(now(), &scan, record, &Work::at_once(), |found| {
                    found.is_ok()
                });
                found += usize::from(passes.expect("it is in memory"));
            }
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

fn one_by_one(namespace: &Namespace, filter: &Filter) -> usize {
    let passes = |digest: &Digest| {
        let request = ReadRequest {
            filter: Some(filter),
            digest: *digest,
            set: b"",
            key: None,
            need: Need::Bins,
        };
        let step = namespace.read(now(), &request, None, |found| found.is_ok());
        matches!(step, Step::Done(true))
    };
    let mut found = 0;
    for id in PartitionId::all() {
        let mut after = None;
        loop {
            let slice = namespace.scan_slice(id, None, after, usize::MAX, now());
            found += slice.digests.iter().filter(|it| passes(it)).count();
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

fn timed(what: &str, records: u64, run: impl FnOnce() -> usize) {
    let began = Instant::now();
    let found = run();
    let seconds = began.elapsed().as_secs_f64();
    let (rate, ns) = (records as f64 / seconds, seconds * 1e9 / records as f64);
    println!("{what:<40} {found:>8} found {rate:>11.0} records/s {ns:>7.0} ns a record");
}

fn main() {
    let mut arguments = std::env::args().skip_while(|it| it != "--records").skip(1);
    let records = arguments.next().and_then(|it| it.parse().ok());
    let records: u64 = records.unwrap_or(100_000);
    let namespace = open(records);
    println!("{records} records of some 200 bytes, {VALUES} values");
    fill(&namespace, records);
    // The bin n is 5; the record was not updated for a second or more.
    let by_bin = [0x93, 1, 0x93, 81, 2, 0xa1, b'n', 5];
    let by_bin = Filter::parse(&by_bin).expect("a filter");
    let by_time = [0x93, 4, 0x91, 67, 0xcd, 0x03, 0xe8];
    let by_time = Filter::parse(&by_time).expect("a filter");
    for _ in 0..3 {
        timed("named, then read one by one", records, || {
            one_by_one(&namespace, &by_bin)
        });
        timed("seen and read", records, || seen(&namespace, &by_bin));
        timed("by the index alone", records, || seen(&namespace, &by_time));
    }
}

//! An equality query by a secondary index that returns one record in a hundred, beside a look at every record.
//!
//! `cargo bench -p karst-engine --bench sindex -- --records 1000000`
//!
//! One thread, records in memory, no sockets: what both ways cost in the engine. Each reads the records that it
//! returns, and asks each whether it has the value.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::sync::Arc;
use std::time::Instant;

use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::sindex::{Definition, Kind, Source, Wanted};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::sindex::query::Query;
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
        let operations = [
            Operation::Write(b"n", Some(Value::integer((number % VALUES) as i64))),
            Operation::Write(
                b"v",
                Some(Value {
                    particle: ParticleType::Blob,
                    bytes: blob.as_slice().into(),
                }),
            ),
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

fn build(namespace: &Namespace) {
    for id in PartitionId::all() {
        let build = namespace.begin_build(id).expect("nothing is built");
        let mut after = None;
        loop {
            let slice = namespace.build_slice(&build, after);
            for digest in &slice.digests {
                let step = namespace.build_record(&build, digest, None);
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

fn has(namespace: &Namespace, digest: Digest, wanted: &Wanted<'_>) -> bool {
    let request = ReadRequest {
        filter: None,
        digest,
        set: b"demo",
        key: None,
        need: Need::Bins,
    };
    let step = namespace.read(now(), &request, None, |found| {
        let record = found.ok().and_then(|found| found.record);
        let bin = record.and_then(|record| record.bin(b"n"));
        bin.is_some_and(|bin| wanted.is_met_by(Source::Bin, &bin))
    });
    matches!(step, Step::Done(true))
}

fn scan(namespace: &Namespace, set_id: u16, wanted: &Wanted<'_>) -> usize {
    let mut found = 0;
    for id in PartitionId::all() {
        let mut after = None;
        loop {
            let slice = namespace.scan_slice(id, Some(set_id), after, usize::MAX, now());
            let met = slice.digests.iter();
            found += met.filter(|it| has(namespace, **it, wanted)).count();
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

fn query(namespace: &Namespace, set_id: u16, wanted: &Wanted<'_>) -> usize {
    let named = namespace.sindex_named(b"by_n").expect("it was made");
    let mut found = 0;
    for partition in PartitionId::all() {
        let query = Query {
            partition,
            index: &named.index,
            ranges: &wanted.ranges(),
            set_id: Some(set_id),
            records_max: usize::MAX,
        };
        let mut behind = None;
        loop {
            let slice = namespace.query_slice(&query, behind, now());
            let slice = slice.expect("it is built");
            let met = slice.hits.iter();
            found += met.filter(|it| has(namespace, it.1, wanted)).count();
            behind = slice.next;
            if behind.is_none() {
                break;
            }
        }
    }
    found
}

fn timed<R>(what: &str, run: impl FnOnce() -> R) -> (R, f64) {
    #[allow(clippy::disallowed_methods)] // a bench reads the clock
    let began = Instant::now();
    let result = run();
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    println!("{what:<34} {ms:10.1} ms");
    (result, ms)
}

fn main() {
    let mut arguments = std::env::args().skip_while(|it| it != "--records").skip(1);
    let records = arguments.next().and_then(|it| it.parse().ok());
    let records: u64 = records.unwrap_or(100_000);
    let definition = Definition {
        set: "demo".into(),
        bin: "n".into(),
        kind: Kind::Numeric,
        source: Source::Bin,
    };
    let wanted = [("by_n".to_owned(), definition)];
    println!("{records} records of some 200 bytes, {VALUES} values");
    let namespace = open(records);
    timed("writes, no index", || fill(&namespace, records));
    namespace.set_sindexes(&wanted);
    timed("build", || build(&namespace));
    let report = namespace
        .sindex_named(b"by_n")
        .expect("it was made")
        .index
        .report();
    println!(
        "{} items, {:.1} bytes each",
        report.items,
        report.bytes as f64 / report.items as f64
    );
    let set_id = namespace.sets().find(b"demo").expect("it has records");
    let equal = |value| Wanted::Integers {
        first: value,
        last: value,
    };
    for round in 0..3 {
        let (one, scan_ms) = timed("scan, filtered", || scan(&namespace, set_id, &equal(round)));
        let (other, query_ms) = timed("query", || query(&namespace, set_id, &equal(round)));
        assert_eq!(one, other);
        println!(
            "{one} records found, {:.1} times as fast",
            scan_ms / query_ms
        );
    }
    drop(namespace);
    let indexed = open(records);
    indexed.set_sindexes(&wanted);
    timed("writes, into the index too", || fill(&indexed, records));
    timed("updates of it, read first", || fill(&indexed, records / 4));
}

//! An equality query by a secondary index that returns one record in a hundred, beside a look at every record.
//!
//! `cargo bench -p karst-engine --bench sindex -- --records 1000000`
//!
//! One thread, records in memory, no sockets: what both ways cost in the engine. Each reads the records that it
//! returns, and asks each whether it has the value.
//!
//! Then records whose list has a hundred thousand values, overwritten again and again: the longest step of each kind
//! that a core takes for them, and how long all of them take.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod filled;

use std::time::Instant;

use filled::{build, fill, hand, now, open};
use karst_data::key::{Digest, KeyBytes, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::sindex::{Definition, Kind, Source, Wanted};
use karst_data::time::Ttl;
use karst_data::value::{ParticleType, Value};
use karst_engine::read::{Need, ReadRequest};
use karst_engine::sindex::query::Query;
use karst_engine::write::WriteRequest;
use karst_engine::{Namespace, Step};

const VALUES: u64 = 100;

/// Elements of a large list.
const ELEMENTS: u32 = 100_000;

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
        bin.is_some_and(|bin| match (wanted, bin.value.try_into()) {
            (Wanted::Integers { first, last }, Ok(bytes)) => {
                (*first..=*last).contains(&i64::from_be_bytes(bytes))
            }
            _ => false,
        })
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

/// A packed list of integers of five bytes, or of strings as long, all other than in other rounds.
fn large_list(round: u32, of_text: bool) -> Vec<u8> {
    let mut packed = vec![0xdd];
    packed.extend(ELEMENTS.to_be_bytes());
    for number in 0..ELEMENTS {
        // Spread over all values, as hashes are.
        let value = (round * ELEMENTS + number).wrapping_mul(0x9e37_79b1) | 0x8000_0000;
        match of_text {
            true => packed.extend([0xa5, 3]),
            false => packed.push(0xce),
        }
        packed.extend(value.to_be_bytes());
    }
    packed
}

/// The longest of some steps, and all of them, in ms.
#[derive(Default)]
struct Steps {
    count: u64,
    longest_ms: f64,
    all_ms: f64,
}

impl Steps {
    fn time<R>(&mut self, step: impl FnOnce() -> R) -> R {
        #[allow(clippy::disallowed_methods)] // a bench reads the clock
        let began = Instant::now();
        let result = step();
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        self.count += 1;
        self.longest_ms = self.longest_ms.max(ms);
        self.all_ms += ms;
        result
    }
}

/// Overwrites a record with a large list, and indexes it as a core does.
fn large(of_text: bool) {
    const ROUNDS: u32 = 20;
    let namespace = open(100_000);
    let kind = if of_text { Kind::Text } else { Kind::Numeric };
    let definition = Definition::of_bin("demo", "l", kind, Source::List);
    namespace.set_sindexes(&[("by_l".to_owned(), definition)]);
    build(&namespace);
    let digest = Digest::of(b"demo", KeyBytes::Integer(7));
    let (mut writes, mut begins, mut slices) =
        (Steps::default(), Steps::default(), Steps::default());
    for round in 0..ROUNDS {
        let list = large_list(round, of_text);
        let value = Value {
            particle: ParticleType::List,
            bytes: list.as_slice().into(),
        };
        let operations = [Operation::Write(b"l", Some(value))];
        let request = WriteRequest {
            filter: None,
            digest,
            set: b"demo",
            key: None,
            exists: Exists::Any,
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &operations,
        };
        let hand = hand(&namespace);
        let step = writes.time(|| namespace.write(&hand, &request, None, |it| it.is_ok()));
        assert!(matches!(step, Step::Done(true)));
        let Step::Done(Some(mut late)) = begins.time(|| namespace.begin_late(&digest, None, now()))
        else {
            panic!("it is too large to be indexed at once")
        };
        while slices.time(|| namespace.late_slice(&mut late)) {}
        assert!(!namespace.has_late());
    }
    let what = if of_text { "strings" } else { "integers" };
    println!("{ROUNDS} writes of a list of {ELEMENTS} {what}:");
    for (name, steps) in [
        ("write", writes),
        ("copy", begins),
        ("index, in slices", slices),
    ] {
        println!(
            "  {name:<18} {:6} steps, the longest {:6.2} ms, {:8.2} ms a record",
            steps.count,
            steps.longest_ms,
            steps.all_ms / f64::from(ROUNDS)
        );
    }
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
    let definition = Definition::of_bin("demo", "n", Kind::Numeric, Source::Bin);
    let wanted = [("by_n".to_owned(), definition)];
    println!("{records} records of some 200 bytes, {VALUES} values");
    let namespace = open(records);
    timed("writes, no index", || fill(&namespace, records, VALUES));
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
    timed("writes, into the index too", || {
        fill(&indexed, records, VALUES)
    });
    timed("updates of it, read first", || {
        fill(&indexed, records / 4, VALUES)
    });
    drop(indexed);
    large(false);
    large(true);
}

//! A scan of a set among others', by its index and by a look at every record.
//!
//! `cargo bench -p karst-engine --bench set_index -- --records 1000000`
//!
//! One thread, records in memory, no sockets: what naming the records costs in the engine. The sets have a thousand
//! records, one record in 64, about one in 8 and in 2, and the rest.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod filled;

use std::time::Instant;

use filled::{build, now, open, put};
use karst_data::key::PartitionId;
use karst_data::operation::Operation;
use karst_data::sindex::Definition;
use karst_data::value::Value;
use karst_engine::Namespace;
use karst_engine::read::Need;
use karst_engine::seen::Scan;

/// The smallest set.
const FEW: u64 = 1000;

/// Of what is left then, one record in so many; the last takes all.
const ONE_IN: [u64; 4] = [64, 8, 2, 1];

/// Of several runs the fastest counts.
const RUNS: usize = 5;

/// The sets, and of each one record in how many.
fn sets(records: u64) -> Vec<(String, u64)> {
    let few = ("few".to_owned(), (records / FEW).max(1));
    let others = ONE_IN.map(|one_in| (format!("one_in_{one_in}"), one_in));
    std::iter::once(few).chain(others).collect()
}

fn fill(namespace: &Namespace, records: u64) {
    let sets = sets(records);
    let hand = filled::hand(namespace);
    for number in 0..records {
        let mut of = sets.iter();
        let of = of.find(|(_, one_in)| number.is_multiple_of(*one_in));
        let (set, _) = of.expect("the last takes all");
        let operations = [Operation::Write(b"n", Some(Value::integer(number as i64)))];
        put(namespace, &hand, set.as_bytes(), number, &operations);
    }
}

fn scan(namespace: &Namespace, set: &str) -> usize {
    let set_id = namespace.sets().find(set.as_bytes());
    let mut found = 0;
    for partition in PartitionId::all() {
        let scan = Scan {
            partition,
            set_id,
            filter: None,
            need: Need::Bins,
        };
        let mut after = None;
        loop {
            let slice = namespace.see_slice(&scan, after, usize::MAX, now());
            found += slice.records.len();
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

/// What it returns, and the fastest of some runs in ms.
fn fastest<R>(mut run: impl FnMut() -> R) -> (R, f64) {
    let mut timed = || {
        let began = Instant::now();
        let result = run();
        (result, began.elapsed().as_secs_f64() * 1000.0)
    };
    let mut best = timed();
    for _ in 1..RUNS {
        let next = timed();
        if next.1 < best.1 {
            best = next;
        }
    }
    best
}

fn main() {
    let mut arguments = std::env::args().skip_while(|it| it != "--records").skip(1);
    let records = arguments.next().and_then(|it| it.parse().ok());
    let records: u64 = records.unwrap_or(100_000);
    let namespace = open(records);
    fill(&namespace, records);
    println!("{records} records");
    let before: Vec<_> = (sets(records).iter())
        .map(|(set, _)| fastest(|| scan(&namespace, set)))
        .collect();
    for ((set, _), (found, without_ms)) in sets(records).iter().zip(before) {
        namespace.set_sindexes(&[("ix".to_owned(), Definition::of_set(set))]);
        let began = Instant::now();
        build(&namespace);
        let build_ms = began.elapsed().as_secs_f64() * 1000.0;
        let (again, with_ms) = fastest(|| scan(&namespace, set));
        assert_eq!(again, found);
        let named = namespace.sindex_named(b"ix").expect("it was made");
        let bytes = named.index.report().bytes as f64 / found as f64;
        println!(
            "{set:<10} {found:>7} records: {without_ms:7.2} ms without, {with_ms:7.2} ms with, {:5.1} times as fast; \
             built in {build_ms:.0} ms, {bytes:.0} bytes a record",
            without_ms / with_ms
        );
    }
}

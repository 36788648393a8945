//! A filtered scan of records in memory: what it costs in the engine, without sockets and replies.
//!
//! `cargo bench -p karst-engine --bench scan -- --records 1000000`
//!
//! One thread. Three ways: seen and read in one go, as scans are; named first and then read one by one, as strongly
//! consistent ones are; and by a filter for which the index alone is enough.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod filled;

use std::time::Instant;

use filled::{fill, now, open};
use karst_data::expr::Filter;
use karst_data::key::{Digest, PartitionId};
use karst_data::work::Work;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::seen::Scan;
use karst_engine::{Namespace, Step};

const VALUES: u64 = 100;

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
    fill(&namespace, records, VALUES);
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

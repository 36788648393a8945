//! Latency histograms.
//!
//! They tell of the last whole slice of ten seconds. Columns are thresholds of 2^0 to 2^16
//! microseconds, which are the bounds that are counted, so no column is an interpolation.

use std::fmt::Write as _;

use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, entry, made, refused};
use crate::core::latencies::Slice;
use crate::counters::{LATENCY_BUCKETS, Op};
use crate::metrics::{ByOp, LatencyFigures};

/// Thresholds that are listed.
const COLUMNS: usize = 17;

const _: () = assert!(COLUMNS < LATENCY_BUCKETS);

/// Histograms of a namespace in the canonical order, and what is counted for each, if anything.
const OF_NAMESPACE: [(&str, Option<Op>); 8] = [
    ("read", Some(Op::Read)),
    ("write", Some(Op::Write)),
    ("udf", Some(Op::Udf)),
    ("batch-sub-read", Some(Op::BatchRead)),
    ("batch-sub-write", Some(Op::BatchWrite)),
    ("batch-sub-udf", Some(Op::BatchUdf)),
    ("pi-query", Some(Op::Scan)),
    ("si-query", None),
];

/// Histograms that exist and stay empty here.
const EMPTY: [&str; 3] = ["proxy", "re-repl", "read-touch"];

pub(super) const COMMANDS: &[Entry] = &[entry("latencies", latencies)];

fn latencies(asked: &mut Asked<'_>) -> Answer {
    let slice = asked.node.latencies.last();
    let slice = slice.as_deref();
    match asked.params().text("hist", 127)? {
        Some(name) => one(asked, slice, name),
        None => made(all(asked, slice)),
    }
}

fn all(asked: &Asked<'_>, slice: Option<&Slice>) -> String {
    let mut items = vec![item("batch-index", slice.map(batches))];
    for (position, namespace) in asked.node.namespaces.iter().enumerate() {
        for (kind, op) in OF_NAMESPACE {
            let name = format!("{{{}}}-{kind}", namespace.config.name);
            items.push(item(&name, slice.and_then(|it| times(it, position, op?))));
        }
    }
    items.join(";")
}

fn one(asked: &Asked<'_>, slice: Option<&Slice>, name: &str) -> Answer {
    match name {
        "batch-index" => return made(item(name, slice.map(batches))),
        "benchmarks-fabric" | "info" => return made(item(name, None)),
        _ => {}
    }
    let parts = name
        .strip_prefix('{')
        .and_then(|rest| rest.split_once("}-"));
    let found = parts.and_then(|(namespace, kind)| {
        let (position, _) = asked.node.namespace(namespace.as_bytes())?;
        Some((position, kind))
    });
    let Some((position, kind)) = found else {
        return refused(ResultCode::Parameter, "bad hist name");
    };
    let known = OF_NAMESPACE.iter().find(|(known, _)| *known == kind);
    match known {
        Some((_, op)) => {
            let times = slice.and_then(|it| times(it, position, (*op)?));
            made(item(name, times))
        }
        None if EMPTY.contains(&kind) || kind.starts_with("benchmarks-") => made(item(name, None)),
        None => refused(ResultCode::Parameter, "bad hist name"),
    }
}

/// What there is to tell of one kind of request.
struct Times {
    /// Whether there ever was one.
    any: bool,
    /// Those of the slice.
    within: LatencyFigures,
    /// How long the slice was.
    seconds: f64,
}

fn times(slice: &Slice, position: usize, op: Op) -> Option<Times> {
    Some(Times {
        any: slice.ever.get(position)?[op as usize].count() > 0,
        within: slice.within.get(position)?[op as usize],
        seconds: slice.seconds,
    })
}

/// Batches of the whole node: one may span namespaces.
fn batches(slice: &Slice) -> Times {
    let sum = |namespaces: &[ByOp]| {
        let mut sum = LatencyFigures::default();
        for part in namespaces.iter().map(|by_op| &by_op[Op::Batch as usize]) {
            sum.add(part);
        }
        sum
    };
    Times {
        any: sum(&slice.ever).count() > 0,
        within: sum(&slice.within),
        seconds: slice.seconds,
    }
}

/// `name:usec,<per second>,<percent slower than 2^0 us>,...`; the bare name if there never was such a request, or no
/// slice has ended yet.
fn item(name: &str, times: Option<Times>) -> String {
    let mut item = format!("{name}:");
    let Some(times) = times.filter(|times| times.any) else {
        return item;
    };
    let count = times.within.count() as f64;
    // Writing to a string does not fail.
    let _ = write!(item, "usec,{:.1}", count / times.seconds);
    for column in 0..COLUMNS {
        let slower = times.within.count_from(column) as f64;
        let _ = write!(item, ",{:.2}", slower * 100.0 / count.max(1.0));
    }
    item
}

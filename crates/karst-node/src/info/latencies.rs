//! Latency histograms.
//!
//! They run from the node's start and not over a last slice: the rate is the mean since then. Columns
//! are thresholds of 2^0 to 2^16 microseconds, which are the bounds that are counted, so no column is
//! an interpolation.

use std::fmt::Write as _;

use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, entry, made, refused};
use crate::counters::{LATENCY_BUCKETS, Op};
use crate::metrics::LatencyFigures;

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
    match asked.params().text("hist", 127)? {
        Some(name) => one(asked, name),
        None => made(all(asked)),
    }
}

fn all(asked: &Asked<'_>) -> String {
    let mut items = vec![item("batch-index", Some(&batches(asked)), asked)];
    for (namespace, figures) in asked.node.namespaces.iter().zip(asked.all_figures()) {
        for (name, op) in OF_NAMESPACE {
            let latency = op.map(|op| &figures.latency[op as usize]);
            let name = format!("{{{}}}-{name}", namespace.config.name);
            items.push(item(&name, latency, asked));
        }
    }
    items.join(";")
}

fn one(asked: &Asked<'_>, name: &str) -> Answer {
    match name {
        "batch-index" => return made(item(name, Some(&batches(asked)), asked)),
        "benchmarks-fabric" | "info" => return made(item(name, None, asked)),
        _ => {}
    }
    let parts = name
        .strip_prefix('{')
        .and_then(|rest| rest.split_once("}-"));
    let found = parts.and_then(|(namespace, kind)| Some((asked.namespace(namespace)?.2, kind)));
    let Some((figures, kind)) = found else {
        return refused(ResultCode::Parameter, "bad hist name");
    };
    let known = OF_NAMESPACE.iter().find(|(known, _)| *known == kind);
    match known {
        Some((_, op)) => made(item(
            name,
            op.map(|op| &figures.latency[op as usize]),
            asked,
        )),
        None if EMPTY.contains(&kind) || kind.starts_with("benchmarks-") => {
            made(item(name, None, asked))
        }
        None => refused(ResultCode::Parameter, "bad hist name"),
    }
}

/// Batches of the whole node: one may span namespaces.
fn batches(asked: &Asked<'_>) -> LatencyFigures {
    let mut sum = LatencyFigures::default();
    for figures in asked.all_figures() {
        let part = &figures.latency[Op::Batch as usize];
        sum.buckets
            .iter_mut()
            .zip(part.buckets)
            .for_each(|(sum, part)| *sum += part);
        sum.sum_us += part.sum_us;
    }
    sum
}

/// `name:usec,<per second>,<percent slower than 2^0 us>,...`, or the bare name if nothing was counted.
fn item(name: &str, latency: Option<&LatencyFigures>, asked: &Asked<'_>) -> String {
    let mut item = format!("{name}:");
    let Some(latency) = latency.filter(|latency| latency.count() > 0) else {
        return item;
    };
    let count = latency.count() as f64;
    let seconds = asked.node.uptime_s().max(1) as f64;
    // Writing to a string does not fail.
    let _ = write!(item, "usec,{:.1}", count / seconds);
    for column in 0..COLUMNS {
        let _ = write!(
            item,
            ",{:.2}",
            latency.count_from(column) as f64 * 100.0 / count
        );
    }
    item
}

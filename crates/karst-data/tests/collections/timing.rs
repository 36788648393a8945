//! What operations inside large collections cost. Prints figures and judges none:
//! `cargo test --release -p karst-data --test collections -- --ignored --nocapture timing`.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement reads the real clock"
)]

use std::hint::black_box;
use std::time::Instant;

use karst_data::cdt::{Access, CdtOp, NoExpressions, Subject};
use karst_data::work::Work;

use crate::run::packed;
use crate::tree::Tree;

const ENTRIES: i64 = 10_000;

/// Nanoseconds of one round, the best of many: others use this machine too.
fn time_ns(mut round: impl FnMut()) -> f64 {
    let timed = (0..2000).map(|_| {
        let started = Instant::now();
        round();
        started.elapsed().as_nanos()
    });
    timed.min().unwrap_or(0) as f64
}

fn measure(what: &str, value: &Tree, operation: &str) {
    let bytes = value.packed();
    let (payload, access) = packed(operation);
    let subject = match value {
        Tree::Map { .. } => Subject::Map(&bytes),
        _ => Subject::List(&bytes),
    };
    let ns = time_ns(|| {
        let op = CdtOp::parse(black_box(&payload), access).expect("an operation");
        match access {
            Access::Read => {
                black_box(op.read(black_box(subject), &mut NoExpressions, &Work::unlimited()))
                    .expect("an answer");
            }
            Access::Modify => {
                black_box(op.modify(black_box(subject), &mut NoExpressions, &Work::unlimited()))
                    .expect("a change");
            }
        }
    });
    let copy_ns = time_ns(|| {
        let mut copy = Vec::with_capacity(bytes.len() + 64);
        copy.extend_from_slice(black_box(&bytes));
        black_box(copy);
    });
    println!(
        "{what:<44} {:>8.1} us  ({} bytes, a copy takes {:.1} us)",
        ns / 1000.0,
        bytes.len(),
        copy_ns / 1000.0
    );
}

fn map(flags: u8, key: impl Fn(i64) -> Tree, value: impl Fn(i64) -> Tree) -> Tree {
    let pairs = (0..ENTRIES).map(|at| (key(at), value(at))).collect();
    Tree::Map { flags, pairs }
}

#[test]
#[ignore = "a measurement"]
fn timing() {
    let text = |at: i64| Tree::text(&format!("key{at:05}"));
    let mixed = |at: i64| Tree::text(&format!("key{at:05}{}", "x".repeat((at * 7 % 23) as usize)));
    measure(
        "increment, text keys, small numbers",
        &map(1, text, |at| Tree::Int(at % 100)),
        "m.increment \"key05000\" 1",
    );
    measure(
        "increment, text keys, mixed widths",
        &map(1, mixed, |at| Tree::Int(at * at * 77)),
        "m.increment \"key00000\" 1",
    );
    measure(
        "increment, number keys",
        &map(1, Tree::Int, |at| Tree::Int(at % 100)),
        "m.increment 5000 1",
    );
    measure(
        "get by key, text keys",
        &map(1, text, |at| Tree::Int(at % 100)),
        "m.get_key VALUE \"key05000\"",
    );
    measure(
        "put of a new key",
        &map(1, text, |at| Tree::Int(at % 100)),
        "m.put \"key05000a\" 1",
    );
    measure(
        "get by rank of a map",
        &map(1, text, |at| Tree::Int(at * 7919 % 10_007)),
        "m.get_rank VALUE -1",
    );
    measure(
        "ten highest of a map",
        &map(1, text, |at| Tree::Int(at * 7919 % 10_007)),
        "m.get_rank_range KV -10 10",
    );
    let list = Tree::list(
        (0..ENTRIES)
            .map(|at| Tree::Int(at * 7919 % 10_007))
            .collect(),
    );
    measure("append to a list", &list, "l.append 5");
    measure("get from a list by index", &list, "l.get 5000");
    measure("sort a list", &list, "l.sort");
    let items = (0..ENTRIES).map(Tree::Int).collect();
    let ordered = Tree::List {
        ordered: true,
        items,
    };
    measure("append to an ordered list", &ordered, "l.append 5000");
    let inner = map(1, text, |at| Tree::Int(at % 100));
    let outer = Tree::Map {
        flags: 1,
        pairs: vec![(Tree::Int(1), inner)],
    };
    measure(
        "increment in a map in a map",
        &outer,
        "in [0x22, 1] m.increment \"key05000\" 1",
    );
}

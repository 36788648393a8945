//! What operations on the largest records cost, beside the steps of work that are counted for them; what it costs to
//! read a request; what filters cost a record; and an increment inside a large map beside a plain one.
//!
//! `cargo bench -p karst-data --bench work -- [--mib 1] [heavy] [requests] [filters] [increment]`
//!
//! One thread, values in memory. CPU time is told, not the time that passes: others use this machine too.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use karst_data::bin::{BinRef, Bins};
use karst_data::bit::{BitModify, BitRead};
use karst_data::cdt::{Access, CdtOp, NoExpressions, Subject as Whole};
use karst_data::expr::{Filter, Metadata};
use karst_data::flat::{Draft, Meta, Record, Seal};
use karst_data::hll::{HllModify, HllRead};
use karst_data::key::Digest;
use karst_data::msgpack::{Collection, normalise, write_int, write_list_count, write_typed};
use karst_data::operation::{Collection as Call, Operand, Operation, Setting, apply};
use karst_data::time::Now;
use karst_data::value::{ParticleType, Value};
use karst_data::weigh;
use karst_data::work::{STEPS, Work};

/// CPU time of this thread in ns, as Linux counts it: in steps of 10 ms.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux tells of threads");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|it| it.parse::<u64>().expect("a number"))
        .sum::<u64>()
        * 10_000_000
}

/// CPU nanoseconds of one round, over as many as take a third of a second: others use this machine too, so the time that
/// passes says little.
fn time_ns(mut round: impl FnMut()) -> f64 {
    const ENOUGH_NS: u64 = 330_000_000;
    round();
    let began = Instant::now();
    round();
    let about_ns = began.elapsed().as_nanos().max(1) as u64;
    let batch = (ENOUGH_NS / 10 / about_ns).max(1);
    let (began_ns, mut rounds) = (cpu_ns(), 0);
    loop {
        (0..batch).for_each(|_| round());
        rounds += batch;
        let spent_ns = cpu_ns() - began_ns;
        if spent_ns >= ENOUGH_NS {
            return spent_ns as f64 / rounds as f64;
        }
    }
}

/// Packed elements of a call or value.
#[derive(Default)]
struct Packer(Vec<u8>);

impl Packer {
    fn list(mut self, count: usize) -> Packer {
        write_list_count(&mut self.0, count as u32);
        self
    }

    fn map(mut self, pairs: usize) -> Packer {
        self.0.push(0xdf); // the flags are a pair of their own
        self.0.extend((pairs as u32 + 1).to_be_bytes());
        self.0.extend([0xc7, 0, 1, 0xc0]);
        self
    }

    /// The head of a map that does not say that it is in order.
    fn unordered(mut self, pairs: usize) -> Packer {
        self.0.push(0xdf);
        self.0.extend((pairs as u32).to_be_bytes());
        self
    }

    fn int(mut self, value: i64) -> Packer {
        write_int(&mut self.0, value, false);
        self
    }

    fn text(mut self, text: &str) -> Packer {
        write_typed(&mut self.0, 3, text.as_bytes());
        self
    }

    fn blob(mut self, bytes: &[u8]) -> Packer {
        write_typed(&mut self.0, 18, bytes);
        self
    }

    fn name(mut self, name: &str) -> Packer {
        self.0.push(0xa0 | name.len() as u8);
        self.0.extend(name.bytes());
        self
    }

    fn raw(mut self, packed: &[u8]) -> Packer {
        self.0.extend_from_slice(packed);
        self
    }
}

fn pack() -> Packer {
    Packer::default()
}

fn shuffled(at: usize) -> u64 {
    (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn list(count: usize, element: impl Fn(Packer, usize) -> Packer) -> Vec<u8> {
    (0..count).fold(pack().list(count), element).0
}

/// An ordered map of texts, as many as fill so many bytes.
fn map(bytes: usize) -> Vec<u8> {
    let pairs = bytes / 13;
    let pair = |packer: Packer, at: usize| packer.text(&format!("key{at:07}")).int(at as i64 % 100);
    (0..pairs).fold(pack().map(pairs), pair).0
}

fn told(what: &str, bytes: usize, mut run: impl FnMut(&Work)) {
    let counted = Work::unlimited();
    run(&counted);
    let ns = time_ns(|| run(&Work::unlimited()));
    let (steps, ms) = (counted.spent(), ns / 1e6);
    let ratio = ns / steps.max(1) as f64;
    let place = if steps > STEPS { "aside" } else { "at once" };
    println!(
        "{what:<52} {bytes:>9} bytes {ms:>9.3} ms {steps:>11} steps {ratio:>6.2} ns a step  {place}"
    );
}

fn on(what: &str, value: &[u8], payload: &[u8], access: Access) {
    let subject = match value[0] {
        0x80..=0x8f | 0xde | 0xdf => Whole::Map(value),
        _ => Whole::List(value),
    };
    told(what, value.len(), |work| {
        let op = CdtOp::parse(payload, access).expect("an operation");
        match access {
            Access::Read => {
                black_box(op.read(subject, &mut NoExpressions, work)).expect("an answer");
            }
            Access::Modify => {
                black_box(op.modify(subject, &mut NoExpressions, work)).expect("a change");
            }
        }
    });
}

fn heavy(mib: usize) {
    let bytes = (mib << 20) - 1024;
    let small = list(bytes, |packer, at| packer.int(shuffled(at) as i64 % 128));
    let wide = list(bytes / 9, |packer, at| {
        packer.int((shuffled(at) << 20) as i64)
    });
    let texts = list(bytes / 20, |packer, at| {
        packer.text(&format!("{:018x}", shuffled(at)))
    });
    let alike = list(bytes / 42, |packer, at| {
        packer.text(&format!(
            "{}{:010}",
            "x".repeat(30),
            shuffled(at) % 1_000_000_000
        ))
    });
    let nested = list(bytes / 34, |packer, at| {
        (0..31)
            .fold(packer.list(32), |packer, _| packer.int(7))
            .int(shuffled(at) as i64 % 128)
    });
    let map = map(bytes);
    let ordered = |list: &[u8]| {
        let op = pack().list(2).int(0).int(1).0;
        let op = CdtOp::parse(&op, Access::Modify).expect("an operation");
        let made = op.modify(Whole::List(list), &mut NoExpressions, &Work::unlimited());
        made.expect("a list").value.expect("another one").1
    };
    let sort = pack().list(1).int(13).0;
    for (what, list) in [
        ("small numbers", &small),
        ("wide numbers", &wide),
        ("texts", &texts),
        ("texts that begin alike", &alike),
        ("lists alike up to their end", &nested),
    ] {
        on(
            &format!("sort a list of {what}"),
            list,
            &sort,
            Access::Modify,
        );
    }
    on(
        "element by index",
        &wide,
        &pack().list(2).int(17).int(-1).0,
        Access::Read,
    );
    on(
        "element by rank",
        &wide,
        &pack().list(3).int(21).int(7).int(5000).0,
        Access::Read,
    );
    on(
        "all by rank",
        &wide,
        &pack().list(3).int(26).int(7).int(0).0,
        Access::Read,
    );
    on(
        "all ranks of a list",
        &wide,
        &pack().list(3).int(24).int(3).int(0).0,
        Access::Read,
    );
    let wanted = list(bytes / 9, |packer, at| {
        packer.int((shuffled(at * 7) << 20) as i64)
    });
    let find = pack().list(3).int(23).int(7).raw(&wanted).0;
    on(
        "look for as many values as there are",
        &wide,
        &find,
        Access::Read,
    );
    on(
        "remove as many values as there are",
        &wide,
        &pack().list(3).int(36).int(5).raw(&wanted).0,
        Access::Modify,
    );
    let unique = pack().list(4).int(2).raw(&wanted).int(0).int(13).0;
    on(
        "append as many that must be unique",
        &wide,
        &unique,
        Access::Modify,
    );
    let in_order = ordered(&wide);
    on(
        "merge as many into an ordered list",
        &in_order,
        &pack().list(4).int(2).raw(&wanted).int(1).int(0).0,
        Access::Modify,
    );
    on(
        "increment in a map by key",
        &map,
        &pack().list(3).int(73).text("key0040000").int(1).0,
        Access::Modify,
    );
    on(
        "element of a map by key",
        &map,
        &pack().list(3).int(97).int(7).text("key0040000").0,
        Access::Read,
    );
    on(
        "element of a map by rank",
        &map,
        &pack().list(3).int(100).int(7).int(-1).0,
        Access::Read,
    );
    on(
        "all of a map by rank",
        &map,
        &pack().list(3).int(106).int(8).int(0).0,
        Access::Read,
    );
    let keys = list(bytes / 13, |packer, at| packer.text(&format!("key{at:07}")));
    on(
        "remove all keys of a map by name",
        &map,
        &pack().list(3).int(81).int(5).raw(&keys).0,
        Access::Modify,
    );
    on(
        "put all pairs of a map again",
        &map,
        &pack().list(4).int(68).raw(&map).int(1).int(0).0,
        Access::Modify,
    );
    let blob = vec![0x5a; bytes];
    let value = Value {
        particle: ParticleType::Blob,
        bytes: Cow::Borrowed(&blob),
    };
    let count = pack().list(3).int(51).int(0).int(bytes as i64 * 8).0;
    told("count the bits of a blob", bytes, |work| {
        let read = BitRead::parse(&count).expect("a call");
        work.spend(read.steps(bytes)).expect("room");
        black_box(read.read(&value)).expect("an answer");
    });
    let shift = pack().list(4).int(8).int(0).int(bytes as i64 * 8).int(13).0;
    told("shift the bits of a blob", bytes, |work| {
        let modify = BitModify::parse(&shift).expect("a call");
        work.spend(modify.steps(bytes)).expect("room");
        black_box(modify.modify(Some(&value))).expect("a change");
    });
    sketches(bytes);
}

/// What it costs to read the values and calls of a request, before any record is looked at.
fn requests(mib: usize) {
    println!("\nvalues and calls of a request, read");
    let bytes = (mib << 20) - 1024;
    let of_collection = |packed: &[u8]| weigh::of_value(20, packed, u64::MAX);
    let take_in = |what: &str, packed: &[u8], kind: Collection| {
        read_in(what, packed, of_collection(packed), || {
            black_box(normalise(packed, kind)).expect("a collection");
        });
    };
    let small = list(bytes, |packer, at| packer.int(shuffled(at) as i64 % 128));
    take_in("a list of small numbers", &small, Collection::List);
    let wide = list(bytes / 9, |packer, at| {
        packer.int((shuffled(at) << 20) as i64)
    });
    take_in("a list of wide numbers", &wide, Collection::List);
    let texts = list(bytes / 20, |packer, at| {
        packer.text(&format!("{:018x}", shuffled(at)))
    });
    take_in("a list of texts", &texts, Collection::List);
    let nested = list(bytes / 2, |packer, at| packer.list(1).int(at as i64 % 128));
    take_in("a list of lists of one", &nested, Collection::List);
    let padded = list(bytes / 9, |mut packer, at| {
        packer.0.push(0xcf);
        packer.0.extend((at as u64 % 128).to_be_bytes());
        packer
    });
    take_in(
        "a list of numbers wider than need be",
        &padded,
        Collection::List,
    );
    take_in("a map in order", &map(bytes), Collection::Map);
    let pairs = bytes / 13;
    let pair = |packer: Packer, at: usize| {
        packer.text(&format!("key{:07}", at * 7919 % pairs)).int(1) // each once: 7919 is a prime
    };
    let texts = (0..pairs).fold(pack().unordered(pairs), pair).0;
    take_in("a map that is not in order", &texts, Collection::Map);
    let pairs = bytes / 6;
    let pair = |packer: Packer, at: usize| packer.int(((at * 7919 % pairs) << 8) as i64).int(1);
    let numbers = (0..pairs).fold(pack().unordered(pairs), pair).0;
    take_in(
        "a map of numbers that is not in order",
        &numbers,
        Collection::Map,
    );
    let nested = list(bytes / 10, |packer, _| {
        packer.unordered(2).int(9).int(1).int(8).int(1)
    });
    take_in(
        "a list of maps that are not in order",
        &nested,
        Collection::List,
    );
    let append = pack().list(2).int(2).raw(&small).0;
    let steps = weigh::of_call(&append, u64::MAX);
    read_in("append a list of small numbers", &append, steps, || {
        black_box(CdtOp::parse(&append, Access::Modify)).expect("an operation");
    });
    let filter = |what: &str, filter: &[u8]| {
        read_in(what, filter, weigh::of_expression(filter, u64::MAX), || {
            black_box(Filter::parse(filter)).expect("a filter");
        });
    };
    let any = |count: usize, one: &[u8]| {
        let all = pack().list(count + 1).int(17);
        (0..count).fold(all, |packer, _| packer.raw(one)).0
    };
    let is_equal = pack().list(3).int(1).int(1).int(2).0;
    filter("a filter of 65,000 instructions", &any(21_000, &is_equal));
    let pattern = pack().list(4).int(7).int(1).name("[^a-z]{99}").text("x").0;
    filter("a filter of 100 patterns", &any(100, &pattern));
    let pattern = pack()
        .list(4)
        .int(7)
        .int(1)
        .name("[^a-z]{7000}")
        .text("x")
        .0;
    filter("a filter of one pattern, as large as one may be", &pattern);
    let pattern = pack()
        .list(4)
        .int(7)
        .int(3)
        .name("forty.*more|less")
        .text("x")
        .0;
    filter("a filter of 100 small patterns", &any(100, &pattern));
    let call = pack()
        .list(5)
        .int(127)
        .int(2)
        .int(0)
        .raw(&pack().list(3).int(97).int(7).text("key").0)
        .raw(&pack().list(3).int(81).int(5).name("m").0)
        .0;
    let is_one = pack().list(3).int(1).raw(&call).int(1).0;
    filter("a filter of 16,000 calls", &any(16_000, &is_one));
    for (what, text) in [
        ("a polygon", polygon(bytes.min(1 << 20) / 22)),
        (
            "as many polygons as there may be",
            triangles(bytes.min(1 << 20) / 52),
        ),
    ] {
        let value = [&[0, 0, 0], text.as_bytes()].concat();
        read_in(what, &value, weigh::of_value(23, &value, u64::MAX), || {
            black_box(Value::from_wire(23, &value)).expect("GeoJSON");
        });
    }
}

/// A polygon of so many positions on a rim that goes in and out.
fn polygon(positions: usize) -> String {
    let position = |at: usize| {
        let angle = at as f64 / positions as f64 * std::f64::consts::TAU;
        let far = 10.0 + (at % 2) as f64;
        format!("[{:.6},{:.6}]", far * angle.cos(), far * angle.sin())
    };
    let mut all: Vec<String> = (0..positions).map(position).collect();
    all.push(position(0));
    format!(
        r#"{{"type":"Polygon","coordinates":[[{}]]}}"#,
        all.join(",")
    )
}

/// So many small triangles all over the globe.
fn triangles(count: usize) -> String {
    let triangle = |at: usize| {
        let (x, y) = (shuffled(at) % 340, shuffled(at + count) % 160);
        let (x, y) = (x as i64 - 170, y as i64 - 80);
        let (east, north) = (x + 1, y + 1);
        format!("[[[{x},{y}],[{east},{y}],[{x},{north}],[{x},{y}]]]")
    };
    let all: Vec<String> = (0..count).map(triangle).collect();
    format!(
        r#"{{"type":"MultiPolygon","coordinates":[{}]}}"#,
        all.join(",")
    )
}

fn read_in(what: &str, bytes: &[u8], steps: u64, run: impl FnMut()) {
    let ns = time_ns(run);
    let (ms, ratio) = (ns / 1e6, ns / steps.max(1) as f64);
    let bytes = bytes.len();
    let place = if steps > STEPS { "aside" } else { "at once" };
    println!(
        "{what:<52} {bytes:>9} bytes {ms:>9.3} ms {steps:>11} steps {ratio:>6.2} ns a step  {place}"
    );
}

fn sketches(bytes: usize) {
    let made = |minhash: i64, seed: usize| {
        let elements = list(1000, |packer, at| {
            packer.int(shuffled(at * 31 + seed) as i64)
        });
        let add = pack().list(4).int(1).raw(&elements).int(16).int(minhash).0;
        let done = HllModify::parse(&add)
            .expect("a call")
            .modify(None)
            .expect("a sketch");
        done.value.expect("a sketch").bytes.into_owned()
    };
    for (what, minhash) in [("without minhashes", 0), ("with minhashes", 10)] {
        let own = made(minhash, 1);
        let value = Value {
            particle: ParticleType::Hll,
            bytes: Cow::Borrowed(&own),
        };
        let count = bytes / own.len();
        let others = list(count, |packer, at| packer.blob(&made(minhash, at + 2)));
        let union = pack().list(2).int(52).raw(&others).0;
        told(
            &format!("count a union of {count} sketches {what}"),
            union.len(),
            |work| {
                let read = HllRead::parse(&union).expect("a call");
                work.spend(read.steps(own.len())).expect("room");
                black_box(read.read(&value)).expect("an answer");
            },
        );
    }
}

const SEAL: Seal = Seal {
    device: 7,
    fill: 3,
    start: 4096,
};

fn stored<'b>(bins: impl Iterator<Item = BinRef<'b>> + Clone) -> Vec<u8> {
    let meta = Meta {
        digest: Digest([5; 20]),
        generation: 1,
        void_time_s: 0,
        update_time_ms: 1,
        version: [0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
        tombstone: false,
        over_tombstone: false,
        moves: 0,
    };
    let draft = Draft {
        meta,
        set: b"",
        key: None,
        bins,
    };
    let mut bytes = vec![0; draft.size_bytes()];
    draft.write(&mut bytes, &SEAL);
    bytes
}

fn metadata() -> Metadata<'static> {
    Metadata {
        digest: Digest([5; 20]),
        set: b"",
        stores_key: false,
        tombstone: false,
        void_time_s: 0,
        update_time_ms: 1,
        size_bytes: 256,
        in_memory: true,
        now: Now::from_epoch_ms(1_000_000),
    }
}

fn filters() {
    let number = 42i64.to_be_bytes();
    let map = map(13 * 10);
    let some = list(100, |packer, at| packer.int(at as i64));
    let add = pack().list(3).int(1).raw(&some).int(8).0;
    let sketch = HllModify::parse(&add).expect("a call").modify(None);
    let sketch = sketch.expect("a sketch").value.expect("a sketch").bytes;
    let list = list(20, |packer, at| packer.int(at as i64));
    let bins = [
        BinRef {
            name: b"h",
            particle: ParticleType::Hll,
            value: &sketch,
        },
        BinRef {
            name: b"n",
            particle: ParticleType::Integer,
            value: &number,
        },
        BinRef {
            name: b"text",
            particle: ParticleType::String,
            value: b"a text of some forty characters, no more",
        },
        BinRef {
            name: b"m",
            particle: ParticleType::Map,
            value: &map,
        },
        BinRef {
            name: b"l",
            particle: ParticleType::List,
            value: &list,
        },
    ];
    let bytes = stored(bins.into_iter());
    let bin = |kind: i64, name: &str| pack().list(3).int(81).int(kind).name(name).0;
    let call = |kind: i64, op: Packer, on: &[u8]| {
        pack()
            .list(5)
            .int(127)
            .int(kind)
            .int(0)
            .raw(&op.0)
            .raw(on)
            .0
    };
    let is =
        |code: i64, left: &[u8], right: Packer| pack().list(3).int(code).raw(left).raw(&right.0).0;
    let cases = [
        (
            "a bin is greater than a number",
            is(3, &bin(2, "n"), pack().int(5)),
        ),
        (
            "a value of a map is a number",
            is(
                1,
                &call(
                    2,
                    pack().list(3).int(97).int(7).text("key0000005"),
                    &bin(5, "m"),
                ),
                pack().int(5),
            ),
        ),
        (
            "an element of a list is a number",
            is(
                1,
                &call(2, pack().list(3).int(19).int(7).int(15), &bin(4, "l")),
                pack().int(15),
            ),
        ),
        (
            "a list has a value",
            is(
                3,
                &call(2, pack().list(3).int(22).int(5).int(15), &bin(4, "l")),
                pack().int(0),
            ),
        ),
        (
            "a sketch may have 100 elements",
            is(
                1,
                &pack()
                    .list(5)
                    .int(127)
                    .int(2)
                    .int(2)
                    .raw(&pack().list(2).int(56).list(2).int(126).raw(&some).0)
                    .raw(&bin(9, "h"))
                    .0,
                pack().int(1),
            ),
        ),
        (
            "a text matches a pattern",
            pack()
                .list(4)
                .int(7)
                .int(1)
                .name("forty.*more")
                .raw(&bin(3, "text"))
                .0,
        ),
    ];
    println!(
        "\na filter on a record of {} bytes, the record read for it",
        bytes.len()
    );
    for (what, filter) in cases {
        let filter = Filter::parse(&filter).expect("a filter");
        let ns = time_ns(|| {
            for _ in 0..1000 {
                let record = Record::parse_unsealed(black_box(&bytes)).expect("a record");
                let work = Work::at_once();
                assert!(filter.passes(&(metadata(), record), &work));
            }
        }) / 1000.0;
        println!("{what:<52} {ns:>9.1} ns a record");
    }
}

/// Reads a record, applies one operation and writes the record again, with its checksums.
fn rewrite(bytes: &[u8], operation: &Operation<'_>, out: &mut [u8]) {
    let record = Record::parse(bytes, &SEAL).expect("a record");
    let bins: Bins<'_> = record.bins().collect();
    let setting = Setting {
        respond_all: false,
        writes: true,
        metadata: metadata(),
        key: None,
    };
    let applied = apply(
        bins,
        std::slice::from_ref(operation),
        &setting,
        &Work::at_once(),
    );
    let applied = applied.expect("an increment");
    let draft = Draft {
        meta: record.meta,
        set: b"",
        key: None,
        bins: applied.bins.iter(),
    };
    draft.write(out, &SEAL);
}

fn increment() {
    const PAIRS: usize = 10_000;
    println!("\nan increment in a record: read, checked, changed, written with its checksums");
    let one = Value::integer(1);
    let number = 1i64.to_be_bytes();
    let text_keys = map(13 * PAIRS);
    let pair = |packer: Packer, at: usize| packer.int(at as i64).int(at as i64 % 100);
    let number_keys = (0..PAIRS).fold(pack().map(PAIRS), pair).0;
    for (what, map, keys) in [
        (
            "text keys",
            &text_keys,
            [
                pack().text("key0000001"),
                pack().text("key0005000"),
                pack().text("key0009999"),
            ],
        ),
        (
            "number keys",
            &number_keys,
            [pack().int(1), pack().int(5000), pack().int(9999)],
        ),
    ] {
        let beside = BinRef {
            name: b"b",
            particle: ParticleType::Blob,
            value: map,
        };
        let plain = [
            BinRef {
                name: b"n",
                particle: ParticleType::Integer,
                value: &number,
            },
            beside,
        ];
        let plain = stored(plain.into_iter());
        let nested = stored(
            [BinRef {
                name: b"m",
                particle: ParticleType::Map,
                value: map,
            }]
            .into_iter(),
        );
        let mut out = vec![0; map.len() + 4096];
        let operation = Operation::Increment(b"n", Operand::Value(one.clone()));
        let plain_ns = time_ns(|| rewrite(&plain, &operation, &mut out));
        println!(
            "plain, beside a bin of as many bytes, {what:<14} {:>9} bytes {:>9.1} us",
            plain.len(),
            plain_ns / 1e3
        );
        for (at, key) in ["first", "middle", "last"].into_iter().zip(keys) {
            let payload = pack().list(3).int(73).raw(&key.0).int(1).0;
            let operation =
                Operation::CollectionModify(b"m", Call::parse(&payload, Access::Modify));
            let ns = time_ns(|| rewrite(&nested, &operation, &mut out));
            println!(
                "in a map of {PAIRS}, {at} of its {what:<17} {:>9} bytes {:>9.1} us  {:.2} times the plain one",
                nested.len(),
                ns / 1e3,
                ns / plain_ns
            );
        }
    }
}

fn main() {
    let mut arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    let mut mib = 1;
    if let Some(at) = arguments.iter().position(|it| it == "--mib") {
        mib = arguments
            .get(at + 1)
            .and_then(|it| it.parse().ok())
            .expect("--mib and a number");
        arguments.drain(at..at + 2);
    }
    let wants = |what: &str| arguments.is_empty() || arguments.iter().any(|it| it == what);
    if wants("heavy") {
        heavy(mib);
    }
    if wants("requests") {
        requests(mib);
    }
    if wants("filters") {
        filters();
    }
    if wants("increment") {
        increment();
    }
}

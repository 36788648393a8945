//! Indexes and records agree, whatever happened: writes of every kind, of small and of large collections, copies from
//! another node, deletes, expiry, truncation and its taking back, sweeps, defrag, indexes that come and go, restarts.
//!
//! One thread plays all of it in an order drawn from a seed. The truth is read from the records: of each query
//! those have to come, and no others, that a look at every record finds.

mod plain;
mod rng;

use std::collections::BTreeSet;
use std::sync::Arc;

use karst_data::bin::BinRef;
use karst_data::expr::Metadata;
use karst_data::flat::{Draft, Meta, Record};
use karst_data::geo;
use karst_data::key::{Digest, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::sindex::{Definition, Kind, Source, Wanted};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::Step;
use karst_engine::read::{Need, ReadRequest};
use karst_engine::sindex::late::Late;
use karst_engine::sindex::query::Query;
use karst_engine::sindex::{Index, LEFT_OVER_MIN, WALKED_BY_WRITE};
use karst_engine::write::{DeleteRequest, Hand, WriteRequest};
use karst_storage::place::Version;

use plain::{NOW_MS, World, digest};
use rng::Rng;

const KEYS: u64 = 60;

/// `bin(integer, "n") * 2`
const TWICE: &[u8] = &[0x93, 22, 0x93, 81, 2, 0xa1, b'n', 2];

/// `bin(GeoJSON, "g")`
const PLACE: &[u8] = &[0x93, 81, 8, 0xa1, b'g'];

fn definitions() -> [(String, Definition); 10] {
    let make = |name: &str, set: &str, bin: &str, kind, source| {
        let definition = Definition::of_bin(set, bin, kind, source);
        (name.to_owned(), definition)
    };
    let within = |name: &str, key: u8, kind, source| {
        let context = vec![0x92, 0x22, 0xa2, 3, key];
        let definition = Definition {
            context,
            ..Definition::of_bin("demo", "m", kind, source)
        };
        (name.to_owned(), definition)
    };
    let computed = |name: &str, expression: &[u8], kind| {
        let definition = Definition {
            expression: expression.to_vec(),
            ..Definition::of_bin("", "", kind, Source::Bin)
        };
        (name.to_owned(), definition)
    };
    [
        make("by_n", "demo", "n", Kind::Numeric, Source::Bin),
        make("by_t", "", "t", Kind::Text, Source::Bin),
        make("by_l", "", "l", Kind::Numeric, Source::List),
        within("by_m_k", b'k', Kind::Numeric, Source::Bin),
        within("by_m_l", b'l', Kind::Numeric, Source::List),
        computed("by_twice_n", TWICE, Kind::Numeric),
        make("by_g", "", "g", Kind::Geo, Source::Bin),
        make("by_s", "demo", "s", Kind::Geo, Source::List),
        within("by_m_g", b'g', Kind::Geo, Source::Bin),
        computed("by_place", PLACE, Kind::Geo),
    ]
}

/// One of some points and regions, on both sides of the globe.
fn shape(number: u64) -> String {
    let (longitude, latitude) = ([8.5, -171.5][number as usize % 2], number as f64 / 10.0);
    match number % 4 {
        0 | 1 => format!(r#"{{"type":"Point","coordinates":[{longitude},{latitude}]}}"#),
        2 => format!(r#"{{"type":"AeroCircle","coordinates":[[{longitude},{latitude}],30000]}}"#),
        _ => {
            let (east, north) = (longitude + 0.3, latitude + 0.3);
            format!(
                r#"{{"type":"Polygon","coordinates":[[[{longitude},0],[{east},0],[{east},{north}],[{longitude},0]]]}}"#
            )
        }
    }
}

/// `[a, nil, nil ..., b]`, too long for the step of a write if `is_large`.
fn shapes(a: u64, b: u64, is_large: bool) -> Vec<u8> {
    let nils = if is_large { WALKED_BY_WRITE } else { 0 };
    let mut packed = vec![0xdc];
    packed.extend((nils as u16 + 2).to_be_bytes());
    packed.extend(packed_shape(&shape(a)));
    packed.resize(packed.len() + nils, 0xc0);
    packed.extend(packed_shape(&shape(b)));
    packed
}

/// As an element of a collection.
fn packed_shape(text: &str) -> Vec<u8> {
    [&[0xd9, text.len() as u8 + 1, 23], text.as_bytes()].concat()
}

fn text(number: u64) -> Vec<u8> {
    format!("text {number}").into_bytes()
}

/// `[a, nil, nil ..., b, a]`, too long for the step of a write if `is_large`.
fn list(a: u64, b: u64, is_large: bool) -> Vec<u8> {
    let nils = if is_large { WALKED_BY_WRITE } else { 0 };
    let mut packed = vec![0xdc];
    packed.extend((nils as u16 + 3).to_be_bytes());
    packed.push(a as u8);
    packed.resize(packed.len() + nils, 0xc0);
    packed.extend([b as u8, a as u8]);
    packed
}

/// `{"g": shape, "k": k, "l": list}`
fn map(k: u64, list: &[u8], shape: &str) -> Vec<u8> {
    let mut packed = vec![0x83, 0xa2, 3, b'g'];
    packed.extend(packed_shape(shape));
    packed.extend([0xa2, 3, b'k', k as u8, 0xa2, 3, b'l']);
    packed.extend(list);
    packed
}

struct Play {
    world: World,
    /// A record that is late and is being put in.
    late: Option<Late>,
    rng: Rng,
    now_ms: u64,
    truncated: bool,
}

impl Play {
    fn new(seed: u64) -> Play {
        Play {
            world: World::new(96, 1),
            late: None,
            rng: Rng(seed),
            now_ms: NOW_MS,
            truncated: false,
        }
    }

    fn now(&self) -> Now {
        Now::from_epoch_ms(self.now_ms)
    }

    fn hand(&self) -> Hand {
        Hand {
            now: self.now(),
            ..self.world.hand(0)
        }
    }

    /// A write of some bins, some of them removed, in any manner.
    fn write(&mut self) {
        let rng = &mut self.rng;
        let key = rng.below(KEYS);
        let value = |particle, bytes: Vec<u8>| {
            Some(Value {
                particle,
                bytes: bytes.into(),
            })
        };
        let mut operations = Vec::new();
        if rng.below(3) > 0 {
            let number = (rng.below(12) as i64).to_be_bytes().to_vec();
            operations.push(Operation::Write(b"n", value(ParticleType::Integer, number)));
        }
        if rng.below(3) == 0 {
            let text = text(rng.below(8));
            operations.push(Operation::Write(b"t", value(ParticleType::String, text)));
        }
        if rng.below(3) == 0 {
            let list = list(rng.below(12), rng.below(12), rng.below(8) == 0);
            operations.push(Operation::Write(b"l", value(ParticleType::List, list)));
        }
        if rng.below(3) == 0 {
            let list = list(rng.below(12), rng.below(12), rng.below(8) == 0);
            let map = map(rng.below(12), &list, &shape(rng.below(12)));
            operations.push(Operation::Write(b"m", value(ParticleType::Map, map)));
        }
        if rng.below(3) == 0 {
            let stored = geo::stored(shape(rng.below(12)).as_bytes()).unwrap();
            operations.push(Operation::Write(b"g", value(ParticleType::GeoJson, stored)));
        }
        if rng.below(3) == 0 {
            let is_large = rng.below(8) == 0;
            let shapes = shapes(rng.below(12), rng.below(12), is_large);
            operations.push(Operation::Write(b"s", value(ParticleType::List, shapes)));
        }
        if rng.below(4) == 0 || operations.is_empty() {
            let bin = [b"n", b"t", b"l", b"m", b"g", b"s"][rng.below(6) as usize];
            operations.push(Operation::Write(bin, None));
        }
        let request = WriteRequest {
            filter: None,
            digest: digest(key),
            set: b"demo",
            key: None,
            exists: if rng.below(3) == 0 {
                Exists::Replace
            } else {
                Exists::Any
            },
            generation: GenerationRule::Any,
            ttl: if rng.below(4) == 0 {
                Ttl::Seconds(1)
            } else {
                Ttl::Never
            },
            flags: CommandFlags::default(),
            operations: &operations,
        };
        let namespace = &self.world.namespace;
        self.world
            .patiently(|fetched| namespace.write(&self.hand(), &request, fetched, |_| ()));
    }

    /// A record, or a delete, comes from another node.
    fn take_copy(&mut self) {
        let digest = digest(self.rng.below(KEYS));
        let sequence = 1_000_000 + self.rng.next() % 1_000_000;
        let version = Version {
            regime: 1,
            sequence,
        };
        let number = (self.rng.below(12) as i64).to_be_bytes();
        let bin = BinRef {
            name: b"n",
            particle: ParticleType::Integer,
            value: &number,
        };
        let tombstone = self.rng.below(3) == 0;
        let meta = Meta {
            generation: 1,
            ..Meta::tombstone(digest, version.pack(), self.now_ms, 0)
        };
        let image = match tombstone {
            true => Draft::tombstone(meta, b"demo").image(),
            false => {
                let meta = Meta {
                    tombstone: false,
                    void_time_s: 0,
                    ..meta
                };
                let (set, key, bins) = (b"demo", None, [bin].into_iter());
                Draft {
                    meta,
                    set,
                    key,
                    bins,
                }
                .image()
            }
        };
        let record = Record::parse_unsealed(&image).unwrap();
        let namespace = &self.world.namespace;
        self.world
            .patiently(|_| namespace.take_copy(&self.hand(), &record));
    }

    fn delete(&mut self) {
        let request = DeleteRequest {
            filter: None,
            digest: digest(self.rng.below(KEYS)),
            set: b"demo",
            key: None,
            generation: GenerationRule::Any,
        };
        let namespace = &self.world.namespace;
        let _ = namespace.delete(&self.hand(), &request, None, |_| ());
    }

    fn sweep(&self) {
        let namespace = &self.world.namespace;
        let oldest_fill = namespace.log().oldest_fill();
        for key in 0..KEYS {
            let id = digest(key).partition();
            namespace.sweep_slice(id, None, oldest_fill, self.now());
        }
    }

    fn build(&self) {
        for id in PartitionId::all() {
            while let Some(build) = self.world.namespace.begin_build(id) {
                let mut after = None;
                loop {
                    let slice = self.world.namespace.build_slice(&build, after);
                    for digest in &slice.digests {
                        let mut fetched = None;
                        loop {
                            let namespace = &self.world.namespace;
                            let fetch = fetched.as_ref();
                            match namespace.build_record(&build, digest, fetch, self.now()) {
                                Step::Done(read) => break assert!(read),
                                Step::Read(read) => fetched = Some(self.world.fetch(read)),
                                Step::Wait => unreachable!("a build does not wait for room"),
                            }
                        }
                    }
                    after = slice.next;
                    if after.is_none() {
                        break;
                    }
                }
                self.world.namespace.end_build(&build);
            }
        }
    }

    /// Puts the next slice of a late record in, or begins with one.
    fn put_late(&mut self) {
        let namespace = &self.world.namespace;
        if let Some(mut late) = self.late.take() {
            self.late = namespace.late_slice(&mut late).then_some(late);
            return;
        }
        let behind = Some(digest(self.rng.below(KEYS)));
        let ids = PartitionId::all();
        let all = ids.filter_map(|id| {
            let next = namespace.next_late(id, behind);
            next.or_else(|| namespace.next_late(id, None))
        });
        let all: Vec<Digest> = all.collect();
        assert_eq!(all.is_empty(), !namespace.has_late());
        if all.is_empty() {
            return;
        }
        let digest = all[self.rng.below(all.len() as u64) as usize];
        let mut fetched = None;
        self.late = loop {
            match namespace.begin_late(&digest, fetched.as_ref(), self.now()) {
                Step::Done(late) => break late,
                Step::Read(read) => fetched = Some(self.world.fetch(read)),
                Step::Wait => unreachable!("nothing is written"),
            }
        };
    }

    fn restart(&mut self) {
        self.late = None;
        self.world.flush(0);
        let marks: Vec<(&[u8], u64)> = match self.truncated {
            true => vec![(b"demo", self.world.namespace.truncations())],
            false => Vec::new(),
        };
        self.world.start_again(&marks);
        self.world.namespace.set_sindexes(&definitions());
        self.build();
    }

    fn step(&mut self) {
        self.now_ms += self.rng.below(200);
        match self.rng.below(100) {
            0..=64 => self.write(),
            65..=72 => self.take_copy(),
            73..=82 => self.delete(),
            83..=86 => self.sweep(),
            87..=89 => self.world.make_room(),
            90..=91 => {
                // What is written from now on is dated behind the mark.
                self.world
                    .namespace
                    .truncate(Some(b"demo"), self.now_ms)
                    .unwrap();
                self.truncated = true;
            }
            92 => {
                // One is dropped and comes anew.
                self.world.namespace.set_sindexes(&definitions()[1..]);
                self.world.namespace.set_sindexes(&definitions());
                self.write();
                self.build();
            }
            93 => self.restart(),
            94..=96 => (0..20).for_each(|_| self.put_late()),
            _ => self.check(),
        }
    }

    fn read(&self, digest: Digest, index: &Index, wanted: &Wanted<'_>) -> bool {
        let request = ReadRequest {
            filter: None,
            digest,
            set: b"",
            key: None,
            need: Need::Bins,
        };
        let extractor = index.extractor.as_ref().expect("it can be had");
        let mut fetched = None;
        loop {
            let namespace = &self.world.namespace;
            let step = namespace.read(self.now(), &request, fetched.as_ref(), |found| {
                let found = found.ok()?;
                let record = found.record?;
                let metadata = Metadata {
                    digest,
                    set: record.set,
                    stores_key: false,
                    tombstone: false,
                    void_time_s: found.void_time_s,
                    update_time_ms: found.update_time_ms,
                    size_bytes: found.size_bytes,
                    in_memory: false,
                    now: self.now(),
                };
                Some(extractor.finds(wanted, &(metadata, record)))
            });
            match step {
                Step::Done(met) => return met.unwrap_or(false),
                Step::Read(read) => fetched = Some(self.world.fetch(read)),
                Step::Wait => unreachable!("a read does not wait for room"),
            }
        }
    }

    /// What the index says, in slices of one record.
    fn ask(&self, index: &Index, wanted: &Wanted<'_>) -> Vec<Digest> {
        let mut found = Vec::new();
        let partitions: BTreeSet<_> = (0..KEYS).map(|key| digest(key).partition()).collect();
        for partition in partitions {
            let query = Query {
                partition,
                index,
                ranges: &wanted.ranges(),
                set_id: None,
                records_max: 1,
            };
            let mut behind = None;
            loop {
                let slice = self.world.namespace.query_slice(&query, behind, self.now());
                let slice = slice.expect("the index is built");
                let hits = slice.hits.iter().map(|(_, digest)| *digest);
                found.extend(hits.filter(|digest| self.read(*digest, index, wanted)));
                behind = slice.next;
                if behind.is_none() {
                    break;
                }
            }
        }
        found
    }

    fn check(&self) {
        let texts: Vec<Vec<u8>> = (0..8).map(text).collect();
        for named in self.world.namespace.sindexes().iter() {
            let index = &named.index;
            let integers = (0..12).map(|first| Wanted::Integers { first, last: first });
            let wanted: Vec<Wanted<'_>> = match index.definition.kind {
                Kind::Numeric => integers.collect(),
                Kind::Geo => (0..12)
                    .map(|number| geo::Search::parse(shape(number).as_bytes()).unwrap())
                    .map(|search| Wanted::Geo(Arc::new(search)))
                    .collect(),
                Kind::Text | Kind::Blob => texts.iter().map(|text| Wanted::Text(text)).collect(),
                Kind::Set => unreachable!("no query asks it"),
            };
            for wanted in wanted {
                let found = self.ask(index, &wanted);
                let (mut sorted, all) = (found.clone(), (0..KEYS).map(digest));
                sorted.sort_unstable();
                let extractor = index.extractor.as_ref().expect("it can be had");
                if !extractor.finds_once() && wanted.may_find_twice() {
                    sorted.dedup(); // as whoever asks does
                }
                let mut expected: Vec<_> =
                    all.filter(|it| self.read(*it, index, &wanted)).collect();
                expected.sort_unstable();
                assert_eq!(sorted, expected, "{} {wanted:?}", named.name);
            }
        }
    }
}

#[test]
fn a_query_returns_what_a_look_at_every_record_finds() {
    for seed in 0..6 {
        let mut play = Play::new(seed);
        play.world.namespace.set_sindexes(&definitions());
        play.build();
        let steps = std::panic::AssertUnwindSafe(|| {
            (0..400).for_each(|_| play.step());
            play.check();
        });
        if let Err(panic) = std::panic::catch_unwind(steps) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_record_that_a_truncation_hid_is_found_again_when_that_is_taken_back() {
    let mut play = Play::new(1);
    (0..200).for_each(|_| play.write());
    play.now_ms += 10;
    play.world
        .namespace
        .truncate(Some(b"demo"), play.now_ms)
        .unwrap();
    play.world.namespace.set_sindexes(&definitions());
    play.build();
    play.check();
    play.world.namespace.undo_truncate(Some(b"demo"));
    play.check();
    let all = Wanted::Integers { first: 0, last: 11 };
    let by_n = play.world.namespace.sindex_named(b"by_n").unwrap();
    assert!(!play.ask(&by_n.index, &all).is_empty());
}

#[test]
fn what_is_left_over_stays_within_bounds_whoever_overwrites_and_is_gone_after_sweeps() {
    let play = Play::new(7);
    play.world.namespace.set_sindexes(&definitions()[..1]);
    play.build();
    let by_n = play.world.namespace.sindex_named(b"by_n").unwrap();
    let items = || by_n.index.report().items;
    let mut most = 0;
    for number in 0..5_000i64 {
        let number = number.to_be_bytes();
        let value = Value {
            particle: ParticleType::Integer,
            bytes: number.as_slice().into(),
        };
        let request = WriteRequest {
            filter: None,
            digest: digest(3),
            set: b"demo",
            key: None,
            exists: Exists::Replace, // the old record is not read
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &[Operation::Write(b"n", Some(value))],
        };
        while let Step::Wait = play
            .world
            .namespace
            .write(&play.hand(), &request, None, |_| ())
        {
            play.world.make_room();
        }
        most = most.max(items());
    }
    assert!(
        most < u64::from(LEFT_OVER_MIN) * 5,
        "{most} items of one record"
    );
    (0..4).for_each(|_| play.sweep());
    assert_eq!(items(), 1);
    assert!(by_n.index.swept() > 4_000);
}

#[test]
fn an_update_that_read_the_record_leaves_nothing_over() {
    let play = Play::new(9);
    play.world.namespace.set_sindexes(&definitions()[..1]);
    play.build();
    let by_n = play.world.namespace.sindex_named(b"by_n").unwrap();
    for number in 0..50i64 {
        let number = number.to_be_bytes();
        let value = Value {
            particle: ParticleType::Integer,
            bytes: number.as_slice().into(),
        };
        let request = WriteRequest {
            filter: None,
            digest: digest(3),
            set: b"demo",
            key: None,
            exists: Exists::Any,
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &[Operation::Write(b"n", Some(value))],
        };
        let step = play
            .world
            .namespace
            .write(&play.hand(), &request, None, |_| ());
        assert!(matches!(step, Step::Done(())));
        assert_eq!(by_n.index.report().items, 1);
    }
    assert_eq!(by_n.index.swept(), 0);
}

#[test]
fn an_index_is_renamed_without_being_built_anew_and_asked_by_its_set_first() {
    let play = Play::new(1);
    let namespace = &play.world.namespace;
    let [(_, by_n), ..] = definitions();
    let of_all = Definition {
        set: String::new(),
        ..by_n.clone()
    };
    namespace.set_sindexes(&[("a".into(), by_n.clone()), ("all".into(), of_all.clone())]);
    let find = |set: &str| {
        let wanted = Definition::of_bin(set, "n", Kind::Numeric, Source::Bin);
        namespace.sindex_for(&wanted).map(|it| it.name)
    };
    assert!(!namespace.sindex_named(b"a").unwrap().index.is_built());
    play.build();
    namespace.set_sindexes(&[("b".into(), by_n), ("all".into(), of_all)]);
    assert!(namespace.sindex_named(b"b").unwrap().index.is_built());
    assert!(namespace.sindex_named(b"a").is_none());
    assert_eq!(find("demo").as_deref(), Some("b"));
    assert_eq!(find("other").as_deref(), Some("all"));
    assert_eq!(find("").as_deref(), Some("all"));
    namespace.set_sindexes(&[]);
    assert_eq!(find("demo"), None);
}

#[test]
fn a_large_collection_is_found_at_once_and_indexed_in_slices_later() {
    let mut play = Play::new(3);
    let [_, _, by_l, ..] = definitions();
    play.world.namespace.set_sindexes(&[by_l]);
    play.build();
    let named = play.world.namespace.sindex_named(b"by_l").unwrap();
    let put = |play: &Play, list: Vec<u8>| {
        let value = Value {
            particle: ParticleType::List,
            bytes: list.into(),
        };
        let request = WriteRequest {
            filter: None,
            digest: digest(3),
            set: b"demo",
            key: None,
            exists: Exists::Any,
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &[Operation::Write(b"l", Some(value))],
        };
        let namespace = &play.world.namespace;
        let step = namespace.write(&play.hand(), &request, None, |it| it.is_ok());
        assert!(matches!(step, Step::Done(true)));
    };
    let finds = |play: &Play, value| {
        let wanted = Wanted::Integers {
            first: value,
            last: value,
        };
        play.ask(&named.index, &wanted) == [digest(3)]
    };
    put(&play, list(4, 5, true));
    assert_eq!((named.index.late(), named.index.report().items), (1, 0));
    assert!(finds(&play, 4) && finds(&play, 5) && !finds(&play, 6));
    play.put_late(); // begins
    play.put_late();
    assert_eq!((named.index.late(), named.index.report().items), (1, 1));
    assert!(finds(&play, 4) && finds(&play, 5));
    put(&play, list(6, 7, true)); // while it is put in
    assert!(finds(&play, 6) && finds(&play, 7) && !finds(&play, 4));
    (0..20).for_each(|_| play.put_late());
    assert_eq!(named.index.late(), 0);
    assert!(finds(&play, 6) && finds(&play, 7) && !finds(&play, 4));
    (0..4).for_each(|_| play.sweep());
    assert_eq!(named.index.report().items, 2, "nothing is left over");
    put(&play, list(4, 5, true));
    put(&play, list(8, 9, false));
    assert_eq!(named.index.late(), 0, "it is small again");
    assert!(finds(&play, 8) && !finds(&play, 4));
    put(&play, list(4, 5, true));
    play.world.namespace.set_sindexes(&[]);
    assert!(!play.world.namespace.has_late());
}

#[test]
fn a_late_record_that_is_deleted_is_late_no_more() {
    let mut play = Play::new(3);
    play.world.namespace.set_sindexes(&definitions());
    play.build();
    (0..300).for_each(|_| play.write());
    assert!(play.world.namespace.has_late());
    (0..2000).for_each(|_| play.delete());
    play.check();
    while play.world.namespace.has_late() {
        play.put_late();
    }
    play.check();
}

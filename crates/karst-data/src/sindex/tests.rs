use super::*;
use crate::value::Value;

fn definition(kind: Kind, source: Source) -> Definition {
    Definition {
        set: String::new(),
        bin: "b".into(),
        kind,
        source,
    }
}

fn bin<'a>(particle: ParticleType, value: &'a [u8]) -> BinRef<'a> {
    BinRef {
        name: b"b",
        particle,
        value,
    }
}

fn values(kind: Kind, source: Source, bin: BinRef<'_>) -> Vec<i64> {
    let mut out = vec![-77];
    definition(kind, source).values([bin], &mut out);
    assert_eq!(out.remove(0), -77, "what was there stays");
    out
}

/// `[3, "a", [3, 9], 5, 3, {1: 8}, b"a"]`
const LIST: &[u8] = &[
    0x97, 3, 0xa2, 3, b'a', 0x92, 3, 9, 5, 3, 0x81, 1, 8, 0xa2, 4, b'a',
];

/// Ordered `{1: "x", 7: [1], "k": 2}`
const MAP: &[u8] = &[
    0x84, 0xc7, 0, 1, 0xc0, 1, 0xa2, 3, b'x', 7, 0x91, 1, 0xa2, 3, b'k', 2,
];

#[test]
fn only_what_stands_at_the_top_of_a_collection_is_indexed_and_each_value_once() {
    for (kind, source, particle, value, expected) in [
        (
            Kind::Numeric,
            Source::List,
            ParticleType::List,
            LIST,
            vec![3, 5],
        ),
        (
            Kind::Text,
            Source::List,
            ParticleType::List,
            LIST,
            vec![hash(b"a")],
        ),
        (
            Kind::Blob,
            Source::List,
            ParticleType::List,
            LIST,
            vec![hash(b"a")],
        ),
        (
            Kind::Numeric,
            Source::MapKeys,
            ParticleType::Map,
            MAP,
            vec![1, 7],
        ),
        (
            Kind::Text,
            Source::MapKeys,
            ParticleType::Map,
            MAP,
            vec![hash(b"k")],
        ),
        (
            Kind::Numeric,
            Source::MapValues,
            ParticleType::Map,
            MAP,
            vec![2],
        ),
        (
            Kind::Text,
            Source::MapValues,
            ParticleType::Map,
            MAP,
            vec![hash(b"x")],
        ),
        (Kind::Numeric, Source::Bin, ParticleType::List, LIST, vec![]),
        (
            Kind::Numeric,
            Source::MapKeys,
            ParticleType::List,
            LIST,
            vec![],
        ),
    ] {
        let found = values(kind, source, bin(particle, value));
        assert_eq!(found, expected, "{kind:?} {source:?}");
    }
}

#[test]
fn a_value_of_another_kind_is_not_indexed() {
    let integer = Value::integer(-5);
    let integer = bin(ParticleType::Integer, &integer.bytes);
    assert_eq!(values(Kind::Numeric, Source::Bin, integer), [-5]);
    assert!(values(Kind::Text, Source::Bin, integer).is_empty());
    let text = bin(ParticleType::String, b"five");
    assert_eq!(values(Kind::Text, Source::Bin, text), [hash(b"five")]);
    assert!(values(Kind::Blob, Source::Bin, text).is_empty());
    let long = vec![b'x'; TEXT_BYTES_MAX + 1];
    assert!(values(Kind::Text, Source::Bin, bin(ParticleType::String, &long)).is_empty());
    let fits = values(
        Kind::Text,
        Source::Bin,
        bin(ParticleType::String, &long[1..]),
    );
    assert_eq!(fits.len(), 1);
}

#[test]
fn what_a_query_wants_is_what_the_index_holds() {
    let list = bin(ParticleType::List, LIST);
    let met = |wanted: Wanted<'_>| wanted.is_met_by(Source::List, &list);
    assert!(met(Wanted::Integers { first: 4, last: 6 }));
    assert!(!met(Wanted::Integers { first: 6, last: 9 }));
    assert!(met(Wanted::Text(b"a")));
    assert!(!met(Wanted::Text(b"b")));
    assert!(met(Wanted::Blob(b"a")));
    assert!(!Wanted::Blob(b"a").is_met_by(Source::Bin, &bin(ParticleType::String, b"a")));
    assert!(Wanted::Text(b"a").range().contains(&hash(b"a")));
}

#[test]
fn bytes_that_are_no_collection_hold_nothing_and_harm_nobody() {
    for bytes in [
        &[][..],
        &[0x93, 1],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xc1],
        &[0x01],
    ] {
        for source in [Source::List, Source::MapKeys, Source::MapValues] {
            for particle in [ParticleType::List, ParticleType::Map] {
                values(Kind::Numeric, source, bin(particle, bytes));
            }
        }
    }
}

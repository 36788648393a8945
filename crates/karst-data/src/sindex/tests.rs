use super::*;
use crate::bin::{BinRef, Bins};
use crate::expr::{Lookup, Metadata, Subject};
use crate::key::Digest;
use crate::time::Now;
use crate::value::{ParticleType, Value};

fn definition(kind: Kind, source: Source) -> Definition {
    Definition::of_bin("", "b", kind, source)
}

fn bin<'a>(particle: ParticleType, value: &'a [u8]) -> BinRef<'a> {
    BinRef {
        name: b"b",
        particle,
        value,
    }
}

/// A record of one bin.
struct Only<'a>(BinRef<'a>);

impl Subject for Only<'_> {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        None
    }

    fn key(&self) -> Lookup<&[u8]> {
        Lookup::Missing
    }

    fn bin(&self, name: &[u8]) -> Lookup<BinRef<'_>> {
        Some(self.0).filter(|bin| bin.name == name).into()
    }
}

fn of(definition: &Definition, bin: BinRef<'_>) -> Vec<i64> {
    let mut out = vec![-77];
    let extractor = definition.extractor().unwrap();
    extractor.values(&Only(bin), &mut out);
    assert_eq!(out.remove(0), -77, "what was there stays");
    assert_eq!(
        slices(&extractor, bin, 1),
        out,
        "the same a little at a time"
    );
    out
}

/// All values, taken so many elements at a time.
fn slices(extractor: &Extractor, bin: BinRef<'_>, elements_max: usize) -> Vec<i64> {
    let mut slices = extractor.slices(&Only(bin));
    let (mut all, mut count) = (Vec::new(), 0);
    while slices.next(elements_max, &mut all) {
        count += 1;
        assert!(count < 1000, "it does not end");
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn values(kind: Kind, source: Source, bin: BinRef<'_>) -> Vec<i64> {
    of(&definition(kind, source), bin)
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
    use ParticleType::{List, Map};
    for (kind, source, particle, value, expected) in [
        (Kind::Numeric, Source::List, List, LIST, vec![3, 5]),
        (Kind::Text, Source::List, List, LIST, vec![hash(b"a")]),
        (Kind::Blob, Source::List, List, LIST, vec![hash(b"a")]),
        (Kind::Numeric, Source::MapKeys, Map, MAP, vec![1, 7]),
        (Kind::Text, Source::MapKeys, Map, MAP, vec![hash(b"k")]),
        (Kind::Numeric, Source::MapValues, Map, MAP, vec![2]),
        (Kind::Text, Source::MapValues, Map, MAP, vec![hash(b"x")]),
        (Kind::Numeric, Source::Bin, List, LIST, vec![]),
        (Kind::Numeric, Source::MapKeys, List, LIST, vec![]),
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
    assert!(values(Kind::Numeric, Source::List, integer).is_empty());
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
    let finds = |source, wanted: Wanted<'_>, bin| {
        let extractor = definition(wanted.kind(), source).extractor().unwrap();
        extractor.finds(&wanted, &Only(bin))
    };
    let list = bin(ParticleType::List, LIST);
    let met = |wanted: Wanted<'_>| finds(Source::List, wanted, list);
    assert!(met(Wanted::Integers { first: 4, last: 6 }));
    assert!(!met(Wanted::Integers { first: 6, last: 9 }));
    assert!(met(Wanted::Text(b"a")));
    assert!(!met(Wanted::Text(b"b")));
    assert!(met(Wanted::Blob(b"a")));
    let text = bin(ParticleType::String, b"a");
    assert!(!finds(Source::Bin, Wanted::Blob(b"a"), text));
    assert!(finds(Source::Bin, Wanted::Text(b"a"), text));
    assert!(Wanted::Text(b"a").range().contains(&hash(b"a")));
}

#[test]
fn a_context_leads_to_what_is_indexed() {
    let within = |context: &[u8], kind, source| Definition {
        context: context.to_vec(),
        ..definition(kind, source)
    };
    let map = bin(ParticleType::Map, MAP);
    let list = bin(ParticleType::List, LIST);
    let by_key = [0x92, 0x22, 0xa2, 3, b'k'];
    let third = [0x92, 0x10, 2];
    for (definition, bin, expected) in [
        (within(&by_key, Kind::Numeric, Source::Bin), map, vec![2]),
        (within(&by_key, Kind::Text, Source::Bin), map, vec![]),
        (
            within(&[0x92, 0x22, 1], Kind::Text, Source::Bin),
            map,
            vec![hash(b"x")],
        ),
        (
            within(&[0x92, 0x22, 7], Kind::Numeric, Source::List),
            map,
            vec![1],
        ),
        (
            within(&third, Kind::Numeric, Source::List),
            list,
            vec![3, 9],
        ),
        (within(&third, Kind::Numeric, Source::Bin), list, vec![]),
        (
            within(&[0x92, 0x10, 5], Kind::Numeric, Source::MapValues),
            list,
            vec![8],
        ),
        (within(&third, Kind::Numeric, Source::List), map, vec![]),
    ] {
        assert_eq!(of(&definition, bin), expected, "{definition:?}");
    }
    let extractor = within(&third, Kind::Numeric, Source::List)
        .extractor()
        .unwrap();
    assert!(extractor.finds(&Wanted::Integers { first: 9, last: 9 }, &Only(list)));
    assert!(!extractor.finds(&Wanted::Integers { first: 5, last: 5 }, &Only(list)));
}

/// `bin(type, "b")`
fn bin_of_type(number: u8) -> Vec<u8> {
    vec![0x93, 81, number, 0xa1, b'b']
}

fn computed(expression: &[u8], kind: Kind, source: Source) -> Definition {
    Definition {
        bin: String::new(),
        expression: expression.to_vec(),
        ..definition(kind, source)
    }
}

#[test]
fn what_an_expression_computes_is_indexed_and_what_is_unknown_is_not() {
    let integer = Value::integer(20);
    let integer = bin(ParticleType::Integer, &integer.bytes);
    let twice = [&[0x93, 22, 2][..], &bin_of_type(2)].concat();
    let doubled = computed(&twice, Kind::Numeric, Source::Bin);
    assert_eq!(of(&doubled, integer), [40]);
    assert!(of(&doubled, bin(ParticleType::String, b"20")).is_empty());
    let by_zero = [&[0x93, 23][..], &bin_of_type(2), &[0]].concat();
    assert!(of(&computed(&by_zero, Kind::Numeric, Source::Bin), integer).is_empty());
    let list = computed(&bin_of_type(4), Kind::Numeric, Source::List);
    assert_eq!(of(&list, bin(ParticleType::List, LIST)), [3, 5]);
    let extractor = doubled.extractor().unwrap();
    assert!(extractor.finds(
        &Wanted::Integers {
            first: 40,
            last: 40
        },
        &Only(integer)
    ));
}

#[test]
fn a_definition_that_no_index_can_have_is_refused() {
    let numeric = definition(Kind::Numeric, Source::Bin);
    for (definition, why) in [
        (
            Definition {
                bin: String::new(),
                ..numeric.clone()
            },
            Undefinable::Of,
        ),
        (
            Definition {
                expression: bin_of_type(2),
                ..numeric.clone()
            },
            Undefinable::Of,
        ),
        (
            Definition {
                context: vec![0x92, 0x50, 0],
                ..numeric
            },
            Undefinable::Context,
        ),
        (
            computed(&[0xc1], Kind::Numeric, Source::Bin),
            Undefinable::Expression,
        ),
        (
            computed(&bin_of_type(3), Kind::Numeric, Source::Bin),
            Undefinable::ExpressionType,
        ),
        (
            computed(&bin_of_type(2), Kind::Numeric, Source::List),
            Undefinable::ExpressionType,
        ),
        (
            computed(&[0x91, 67], Kind::Numeric, Source::Bin),
            Undefinable::ExpressionOfTime,
        ),
    ] {
        assert_eq!(definition.extractor().unwrap_err(), why, "{definition:?}");
    }
    assert!(
        computed(&[0x91, 66], Kind::Numeric, Source::Bin)
            .extractor()
            .is_ok()
    );
}

#[test]
fn a_definition_of_an_older_version_is_one_of_a_bin() {
    let old = r#"{"set":"demo","bin":"b","kind":"Numeric","source":"Bin"}"#;
    let read: Definition = serde_json::from_str(old).unwrap();
    assert_eq!(read.bin, "b");
    assert!(read.context.is_empty() && read.expression.is_empty());
    assert_eq!(
        serde_json::to_string(&read).unwrap(),
        old,
        "and an older version can read it"
    );
}

#[test]
fn a_collection_that_is_too_long_for_one_step_is_not_walked() {
    let extractor = definition(Kind::Numeric, Source::List).extractor().unwrap();
    let list = Only(bin(ParticleType::List, LIST));
    let mut out = vec![];
    assert_eq!(
        extractor.values_within(&list, LIST.len(), &mut out),
        Some(LIST.len())
    );
    assert_eq!(out, [3, 5]);
    out.clear();
    assert_eq!(
        extractor.values_within(&list, LIST.len() - 1, &mut out),
        None
    );
    assert!(out.is_empty());
    let itself = definition(Kind::Numeric, Source::Bin).extractor().unwrap();
    assert_eq!(itself.values_within(&list, 0, &mut out), Some(0));
}

#[test]
fn a_record_in_the_making_is_indexed_as_it_will_be_read() {
    let mut bins = Bins::default();
    bins.set(b"b", Value::integer(4));
    let metadata = Metadata {
        digest: Digest([1; Digest::BYTES]),
        set: b"demo",
        stores_key: false,
        tombstone: false,
        void_time_s: 0,
        update_time_ms: 5,
        size_bytes: 0,
        in_memory: true,
        now: Now::from_epoch_ms(6),
    };
    let mut out = vec![];
    let extractor = definition(Kind::Numeric, Source::Bin).extractor().unwrap();
    extractor.values(&(metadata, None, &bins), &mut out);
    assert_eq!(out, [4]);
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
        for source in [
            Source::Bin,
            Source::List,
            Source::MapKeys,
            Source::MapValues,
        ] {
            for particle in [ParticleType::List, ParticleType::Map] {
                values(Kind::Text, source, bin(particle, bytes));
            }
        }
    }
}

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
    assert_eq!(Wanted::Text(b"a").ranges(), [hash(b"a")..=hash(b"a")]);
}

/// `[3, <point>, <circle>, <no GeoJSON>]`
fn places() -> Vec<u8> {
    let mut list = vec![0x94, 3];
    for text in [POINT, CIRCLE, b"{}"] {
        list.extend([0xd9, text.len() as u8 + 1, 23]);
        list.extend_from_slice(text);
    }
    list
}

const POINT: &[u8] = br#"{"type":"Point","coordinates":[8.5,47.4]}"#;
const CIRCLE: &[u8] = br#"{"type":"AeroCircle","coordinates":[[8.5,47.4],1000]}"#;

#[test]
fn places_are_indexed_by_their_cells_in_bins_and_in_collections() {
    let cells = |text: &[u8]| -> Vec<i64> {
        let cells = Shape::parse(text).unwrap().cells();
        cells.into_iter().map(geo::index_value).collect()
    };
    let (point, circle) = (geo::stored(POINT).unwrap(), geo::stored(CIRCLE).unwrap());
    let of_bin = |value: &[u8]| values(Kind::Geo, Source::Bin, bin(ParticleType::GeoJson, value));
    assert_eq!(of_bin(&point), cells(POINT));
    assert_eq!(of_bin(&circle), cells(CIRCLE));
    let older = geo::without_cells(CIRCLE);
    assert_eq!(of_bin(&older), cells(CIRCLE));
    assert!(of_bin(&circle[..10]).is_empty());
    let mut both = [cells(POINT), cells(CIRCLE)].concat();
    both.sort_unstable();
    let places = places();
    let list = bin(ParticleType::List, &places);
    assert_eq!(values(Kind::Geo, Source::List, list), both);
    assert_eq!(values(Kind::Numeric, Source::List, list), [3]);
    let text = bin(ParticleType::String, POINT);
    assert!(values(Kind::Geo, Source::Bin, text).is_empty());
}

#[test]
fn a_query_for_places_tells_points_from_regions() {
    let wanted = |text| Wanted::Geo(Box::new(Search::parse(text).unwrap()));
    let (point, circle) = (geo::stored(POINT).unwrap(), geo::stored(CIRCLE).unwrap());
    let meets = |wanted: &Wanted<'_>, value| {
        wanted.is_met_by(Source::Bin, &bin(ParticleType::GeoJson, value))
    };
    assert!(meets(&wanted(CIRCLE), &point));
    assert!(!meets(&wanted(CIRCLE), &circle));
    assert!(meets(&wanted(POINT), &circle));
    assert!(!meets(&wanted(POINT), &point));
    let places = places();
    let list = bin(ParticleType::List, &places);
    assert!(wanted(POINT).is_met_by(Source::List, &list));
    let far = br#"{"type":"Point","coordinates":[8.5,47.5]}"#;
    assert!(!wanted(far).is_met_by(Source::List, &list));
}

#[test]
fn a_long_list_of_regions_is_indexed_whole_if_roughly() {
    let count = 500;
    let mut list = vec![0xdc, 1, 0xf4];
    let centre = |number: usize| (number as f64 / 3.0, number as f64 / 6.0);
    for number in 0..count {
        let (longitude, latitude) = centre(number);
        let text =
            format!(r#"{{"type":"AeroCircle","coordinates":[[{longitude},{latitude}],1000]}}"#);
        list.extend([0xd9, text.len() as u8 + 1, 23]);
        list.extend_from_slice(text.as_bytes());
    }
    let found = values(Kind::Geo, Source::List, bin(ParticleType::List, &list));
    assert!(
        list.len() > FINE_BYTES_MAX + 200 * 40,
        "some are covered either way"
    );
    assert!(found.len() <= count * 12);
    for number in 0..count {
        let (longitude, latitude) = centre(number);
        let text = format!(r#"{{"type":"Point","coordinates":[{longitude},{latitude}]}}"#);
        let search = Search::parse(text.as_bytes()).unwrap();
        let hit = |value: &i64| search.ranges().iter().any(|range| range.contains(value));
        assert!(found.iter().any(hit), "{text}");
    }
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

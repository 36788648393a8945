use super::*;
use crate::bin::{BinRef, Bins};
use crate::expr::{Lookup, Metadata, Subject};
use crate::key::Digest;
use crate::time::Now;
use crate::value::{ParticleType, Value};
use crate::work::Work;

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
    let wanted = |text| Wanted::Geo(Arc::new(Search::parse(text).unwrap()));
    let (point, circle) = (geo::stored(POINT).unwrap(), geo::stored(CIRCLE).unwrap());
    let finds = |source, wanted: &Wanted<'_>, bin| {
        let extractor = definition(Kind::Geo, source).extractor().unwrap();
        extractor.finds(wanted, &Only(bin))
    };
    let meets =
        |wanted: &Wanted<'_>, value| finds(Source::Bin, wanted, bin(ParticleType::GeoJson, value));
    assert!(meets(&wanted(CIRCLE), &point));
    assert!(!meets(&wanted(CIRCLE), &circle));
    assert!(meets(&wanted(POINT), &circle));
    assert!(!meets(&wanted(POINT), &point));
    let places = places();
    let list = bin(ParticleType::List, &places);
    assert!(finds(Source::List, &wanted(POINT), list));
    let far = br#"{"type":"Point","coordinates":[8.5,47.5]}"#;
    assert!(!finds(Source::List, &wanted(far), list));
}

#[test]
fn places_are_indexed_in_maps_behind_contexts_and_as_computed() {
    let cells = |text: &[u8]| -> Vec<i64> {
        let cells = Shape::parse(text).unwrap().cells();
        cells.into_iter().map(geo::index_value).collect()
    };
    let search =
        |text: &[u8]| -> Wanted<'static> { Wanted::Geo(Arc::new(Search::parse(text).unwrap())) };
    let check = |definition: &Definition, bin, text: &[u8], other| {
        assert_eq!(of(definition, bin), cells(text), "{definition:?}");
        let extractor = definition.extractor().unwrap();
        assert!(extractor.finds(&search(other), &Only(bin)));
        assert!(!extractor.finds(&search(text), &Only(bin)));
    };
    // `{1: point, 2: "a", 3: circle}`
    let mut map = vec![0x83, 1, 0xd9, POINT.len() as u8 + 1, 23];
    map.extend_from_slice(POINT);
    map.extend([2, 0xa2, 3, b'a', 3, 0xd9, CIRCLE.len() as u8 + 1, 23]);
    map.extend_from_slice(CIRCLE);
    let map = bin(ParticleType::Map, &map);
    let mut both = [cells(POINT), cells(CIRCLE)].concat();
    both.sort_unstable();
    assert_eq!(values(Kind::Geo, Source::MapValues, map), both);
    let within = |key| Definition {
        context: vec![0x92, 0x22, key],
        ..definition(Kind::Geo, Source::Bin)
    };
    check(&within(1), map, POINT, CIRCLE);
    check(&within(3), map, CIRCLE, POINT);
    assert!(of(&within(2), map).is_empty());
    let computed = computed(&bin_of_type(8), Kind::Geo, Source::Bin);
    let circle = geo::stored(CIRCLE).unwrap();
    let circle = bin(ParticleType::GeoJson, &circle);
    check(&computed, circle, CIRCLE, POINT);
    assert!(of(&computed, bin(ParticleType::String, CIRCLE)).is_empty());
}

#[test]
fn a_region_is_found_once_by_its_cells_unless_it_may_come_late() {
    let once = |definition: &Definition| definition.extractor().unwrap().finds_once();
    let place = bin_of_type(8);
    assert!(once(&definition(Kind::Geo, Source::Bin)));
    assert!(!once(&definition(Kind::Geo, Source::List)));
    assert!(!once(&computed(&place, Kind::Geo, Source::Bin)));
    let extractor = computed(&place, Kind::Geo, Source::Bin).extractor();
    let circle = geo::stored(CIRCLE).unwrap();
    let circle = Only(bin(ParticleType::GeoJson, &circle));
    let (extractor, mut out) = (extractor.unwrap(), vec![]);
    let enough = CIRCLE.len();
    assert_eq!(extractor.values_within(&circle, enough - 1, &mut out), None);
    assert!(out.is_empty());
    let walked = extractor.values_within(&circle, enough, &mut out);
    assert_eq!(walked, Some(enough));
}

#[test]
fn a_slice_ends_when_its_values_or_their_text_are_many() {
    let count = 200;
    let mut list = vec![0xdc, 0, count];
    for _ in 0..count {
        list.extend([0xd9, CIRCLE.len() as u8 + 1, 23]);
        list.extend_from_slice(CIRCLE);
    }
    let extractor = definition(Kind::Geo, Source::List).extractor().unwrap();
    let mut slices = extractor.slices(&Only(bin(ParticleType::List, &list)));
    let mut count = 0;
    loop {
        let mut out = vec![];
        let is_more = slices.next(100, &mut out);
        assert!(out.len() < 100 + 24, "{} values", out.len());
        count += 1;
        if !is_more {
            break;
        }
    }
    assert!(count > 2, "{count} slices");
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
        (
            computed(&bin_of_type(3), Kind::Geo, Source::Bin),
            Undefinable::ExpressionType,
        ),
        (
            definition(Kind::Geo, Source::MapKeys),
            Undefinable::PlacesInKeys,
        ),
        (
            computed(&bin_of_type(5), Kind::Geo, Source::MapKeys),
            Undefinable::PlacesInKeys,
        ),
        (Definition::of_set(""), Undefinable::OfSet),
        (definition(Kind::Set, Source::Bin), Undefinable::OfSet),
        (
            Definition {
                source: Source::List,
                ..Definition::of_set("demo")
            },
            Undefinable::OfSet,
        ),
        (
            Definition {
                set: "demo".into(),
                ..computed(&bin_of_type(2), Kind::Set, Source::Bin)
            },
            Undefinable::OfSet,
        ),
    ] {
        assert_eq!(definition.extractor().unwrap_err(), why, "{definition:?}");
    }
    assert!(
        computed(&[0x91, 66], Kind::Numeric, Source::Bin)
            .extractor()
            .is_ok()
    );
    let of_set = Definition::of_set("demo").extractor().unwrap();
    assert!(of_set.is_of_set());
    let of_bin = definition(Kind::Numeric, Source::Bin).extractor();
    assert!(!of_bin.unwrap().is_of_set());
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

#[test]
fn a_record_whose_value_takes_more_work_than_is_left_is_not_said_to_be_no_match() {
    let size = [0x95, 127, 2, 0, 0x91, 16, 0x93, 81, 4, 0xa1, b'b'];
    let extractor = computed(&size, Kind::Numeric, Source::Bin).extractor();
    let extractor = extractor.unwrap();
    let list = Only(bin(ParticleType::List, &[0x93, 1, 2, 3]));
    let three = Wanted::Integers { first: 3, last: 3 };
    let work = Work::at_once();
    assert!(extractor.finds_within(&three, &list, &work));
    let takes = work.spent();
    assert!(takes > 0);
    for left in 0..takes {
        let work = Work::new(left);
        assert!(!extractor.finds_within(&three, &list, &work));
        assert!(work.is_exhausted(), "{left} of {takes}");
    }
}

//! What queries ask of secondary indexes, and what those hold of a bin.

use std::sync::Arc;

use karst_data::bin::BinRef;
use karst_data::expr::{Lookup, Metadata, Subject};
use karst_data::geo::Search;
use karst_data::msgpack::{Collection, normalise};
use karst_data::sindex::{Definition, Kind, Source, Wanted};
use karst_data::value::ParticleType;
use karst_wire::command;
use karst_wire::field;
use karst_wire::frame::{HEADER_BYTES, MessageHeader};
use karst_wire::request::{IndexKind, Message, Target};

/// The first byte says what of a bin is indexed, the second how long the range is that comes next; the rest is a
/// list or map.
pub fn check(bytes: &[u8]) {
    let [kind, length, rest @ ..] = bytes else {
        return;
    };
    let (range, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let mut query = Vec::new();
    let written = command::message(&mut query, MessageHeader::default(), |body| {
        body.field(field::INDEX_TYPE, &[*kind]);
        body.field(field::INDEX_RANGE, range);
    });
    written.expect("two short fields");
    let message = Message::parse(&query[HEADER_BYTES..]).expect("it was just written");
    let (Ok(Some(asked)), Ok(kind)) = (message.index_range(), message.index_kind()) else {
        return;
    };
    let wanted = match asked.target {
        Target::Integers { first, last } => {
            assert!(first <= last, "a range has something in it");
            Wanted::Integers { first, last }
        }
        Target::Text(text) => Wanted::Text(text),
        Target::Blob(blob) => Wanted::Blob(blob),
        Target::Geo(text) => match Search::parse(text) {
            Ok(search) => Wanted::Geo(Arc::new(search)),
            Err(_) => return,
        },
    };
    let source = match kind {
        IndexKind::Default => Source::Bin,
        IndexKind::List => Source::List,
        IndexKind::MapKeys => Source::MapKeys,
        IndexKind::MapValues => Source::MapValues,
    };
    for (particle, kind) in [
        (ParticleType::List, Collection::List),
        (ParticleType::Map, Collection::Map),
    ] {
        if let Ok(value) = normalise(value, kind) {
            agree(&wanted, source, particle, &value);
        }
    }
    agree(&wanted, source, ParticleType::String, value);
    agree(&wanted, source, ParticleType::Blob, value);
    agree(&wanted, source, ParticleType::GeoJson, value);
    agree(&wanted, source, ParticleType::List, value); // whatever it is
    agree(&wanted, source, ParticleType::Map, value);
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

/// A record that has what is asked for is found by it.
fn agree(wanted: &Wanted<'_>, source: Source, particle: ParticleType, value: &[u8]) {
    let record = Only(BinRef {
        name: b"b",
        particle,
        value,
    });
    let definition = Definition::of_bin("", "b", wanted.kind(), source);
    let Ok(extractor) = definition.extractor() else {
        assert_eq!((wanted.kind(), source), (Kind::Geo, Source::MapKeys));
        return;
    };
    let mut held = Vec::new();
    extractor.values(&record, &mut held);
    assert!(held.is_sorted());
    assert!(held.len() <= value.len() + 1, "a value has a byte"); // cells have a text far longer
    let mut slices = extractor.slices(&record);
    let mut sliced = Vec::new();
    while slices.next(3, &mut sliced) {}
    sliced.sort_unstable();
    sliced.dedup();
    assert_eq!(sliced, held, "the same in slices");
    let ranges = wanted.ranges();
    if extractor.finds(wanted, &record) {
        let is_in = |value: &i64| ranges.iter().any(|range| range.contains(value));
        assert!(held.iter().any(is_in));
    }
}

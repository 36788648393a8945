//! Values while an expression runs.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Type;
use crate::geo;
use crate::hll;
use crate::msgpack;
use crate::msgpack::{Collection, normalise};
use crate::packed::{self, Cursor, Element, Incomparable, Maps};
use crate::value::{ParticleType, Value};

/// What an instruction computed. Bytes are borrowed from the record or the expression where they can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'v> {
    /// It could not be computed.
    Unknown,
    /// That the element is to be removed: paths into collections understand it.
    Remove,
    /// Nil.
    Nil,
    /// A truth.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// Anything that is bytes: strings and blobs as they are, sketches as they are stored, lists and maps
    /// packed, GeoJSON as its text.
    Bytes(Type, Cow<'v, [u8]>),
}

impl<'v> Datum<'v> {
    /// A bin's value. Values of types that expressions do not have are unknown.
    pub(super) fn from_stored(particle: ParticleType, bytes: Cow<'v, [u8]>) -> Datum<'v> {
        let eight = || <[u8; 8]>::try_from(&*bytes).ok();
        let kind = match particle {
            ParticleType::Integer => {
                return eight().map_or(Datum::Unknown, |bytes| {
                    Datum::Int(i64::from_be_bytes(bytes))
                });
            }
            ParticleType::Float => {
                return eight().map_or(Datum::Unknown, |bytes| {
                    Datum::Float(f64::from_be_bytes(bytes))
                });
            }
            ParticleType::Bool => return Datum::Bool(*bytes != [0]),
            ParticleType::GeoJson => return geo_text(bytes),
            ParticleType::String => Type::String,
            ParticleType::Blob => Type::Blob,
            ParticleType::Hll => Type::Hll,
            ParticleType::Map => Type::Map,
            ParticleType::List => Type::List,
            ParticleType::JavaBlob
            | ParticleType::CsharpBlob
            | ParticleType::PythonBlob
            | ParticleType::RubyBlob
            | ParticleType::PhpBlob
            | ParticleType::ErlangBlob
            | ParticleType::Vector => return Datum::Unknown,
        };
        Datum::Bytes(kind, bytes)
    }

    /// A packed element. What cannot be told apart from bytes of no type is unknown.
    pub(super) fn from_packed(element: &'v [u8]) -> Datum<'v> {
        let bytes = |kind, bytes| Datum::Bytes(kind, Cow::Borrowed(bytes));
        match Cursor::new(element).head() {
            Some(Element::Nil) => Datum::Nil,
            Some(Element::Bool(value)) => Datum::Bool(value),
            Some(Element::Int { value, .. }) => Datum::Int(value),
            Some(Element::Double(value)) => Datum::Float(value),
            Some(Element::Raw([3, text @ ..])) => bytes(Type::String, text),
            Some(Element::Raw([4, blob @ ..])) => bytes(Type::Blob, blob),
            Some(Element::Raw([18, sketch @ ..])) => bytes(Type::Hll, sketch),
            Some(Element::Raw([23, text @ ..])) => bytes(Type::GeoJson, text),
            Some(Element::List(_)) => bytes(Type::List, element),
            Some(Element::Map(_)) => bytes(Type::Map, element),
            Some(Element::Raw(_) | Element::Ext { .. }) | None => Datum::Unknown,
        }
    }

    /// Its type, unless it has none.
    pub fn kind(&self) -> Option<Type> {
        match self {
            Datum::Unknown | Datum::Remove => None,
            Datum::Nil => Some(Type::Nil),
            Datum::Bool(_) => Some(Type::Bool),
            Datum::Int(_) => Some(Type::Int),
            Datum::Float(_) => Some(Type::Float),
            Datum::Bytes(kind, _) => Some(*kind),
        }
    }

    /// Itself if it is of this type, else unknown.
    pub(super) fn of_type(self, kind: Type) -> Datum<'v> {
        if self.kind() == Some(kind) {
            self
        } else {
            Datum::Unknown
        }
    }

    /// As a bin's value. Nil is `Some(None)`; `None` is what no bin can hold.
    pub(super) fn into_value(self) -> Option<Option<Value<'v>>> {
        let value = |particle, bytes| Some(Some(Value { particle, bytes }));
        let owned = |particle, bytes: &[u8]| value(particle, Cow::Owned(bytes.to_vec()));
        match self {
            Datum::Unknown | Datum::Remove => None,
            Datum::Nil => Some(None),
            Datum::Bool(truth) => owned(ParticleType::Bool, &[u8::from(truth)]),
            Datum::Int(number) => owned(ParticleType::Integer, &number.to_be_bytes()),
            Datum::Float(number) => owned(ParticleType::Float, &number.to_be_bytes()),
            Datum::Bytes(kind, bytes) => match kind {
                Type::String => value(ParticleType::String, bytes),
                Type::Blob => value(ParticleType::Blob, bytes),
                Type::Hll if !hll::is_sketch(&bytes) => None, // a literal may be anything
                Type::Hll => value(ParticleType::Hll, bytes),
                Type::GeoJson => owned(ParticleType::GeoJson, &geo::stored(&bytes).ok()?),
                Type::List => value(ParticleType::List, storable(bytes, Collection::List)?),
                Type::Map => value(ParticleType::Map, storable(bytes, Collection::Map)?),
                Type::Nil | Type::Bool | Type::Int | Type::Float => None, // never in this form
            },
        }
    }

    /// As what is told. A map that says that it is not in the order of its keys stays as it is, and GeoJSON is told
    /// without cells.
    pub(super) fn into_answer(self) -> Option<Option<Value<'v>>> {
        match self {
            Datum::Bytes(Type::GeoJson, text) => Some(Some(Value {
                particle: ParticleType::GeoJson,
                bytes: Cow::Owned(geo::without_cells(&text)),
            })),
            Datum::Bytes(Type::Map, bytes) if keeps_order(&bytes) => {
                let particle = ParticleType::Map;
                Some(Some(Value { particle, bytes }))
            }
            datum => datum.into_value(),
        }
    }

    /// Writes it as an argument of a call. Whether it could be.
    pub(super) fn pack(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Datum::Unknown | Datum::Remove => return false,
            Datum::Nil => out.push(0xc0),
            Datum::Bool(value) => out.push(0xc2 + u8::from(*value)),
            Datum::Int(value) => msgpack::write_int(out, *value, false),
            Datum::Float(value) => msgpack::write_double(out, *value),
            Datum::Bytes(Type::List | Type::Map, bytes) => out.extend_from_slice(bytes),
            Datum::Bytes(kind, bytes) => msgpack::write_typed(out, prefix(*kind), bytes),
        }
        true
    }

    /// How it compares with another of the same type. `Ok(None)` if one is not a number.
    pub(super) fn compare(&self, other: &Datum<'_>) -> Result<Option<Ordering>, Incomparable> {
        Ok(match (self, other) {
            (Datum::Nil, Datum::Nil) => Some(Ordering::Equal),
            (Datum::Bool(a), Datum::Bool(b)) => Some(a.cmp(b)),
            (Datum::Int(a), Datum::Int(b)) => Some(a.cmp(b)),
            (Datum::Float(a), Datum::Float(b)) => a.partial_cmp(b),
            (Datum::Bytes(Type::List | Type::Map, a), Datum::Bytes(_, b)) => {
                Some(packed::compare(a, b, Maps::Flagged)?)
            }
            (Datum::Bytes(_, a), Datum::Bytes(_, b)) => Some(a.cmp(b)),
            _ => return Err(Incomparable::Malformed), // unknown
        })
    }

    /// Whether a packed element is this value.
    pub(super) fn is_packed(&self, element: &[u8]) -> bool {
        let equal = |a: f64, b: f64| a.partial_cmp(&b).is_none_or(Ordering::is_eq); // as in collections
        match (self, Cursor::new(element).head()) {
            (_, Some(head)) if head.is_wildcard() => true,
            (Datum::Nil, Some(Element::Nil)) => true,
            (Datum::Bool(a), Some(Element::Bool(b))) => *a == b,
            (Datum::Int(a), Some(Element::Int { value, wide })) => *a == value && !wide,
            (Datum::Float(a), Some(Element::Double(b))) => equal(*a, b),
            (Datum::Bytes(Type::List | Type::Map, bytes), Some(_)) => {
                packed::compare(bytes, element, Maps::Packed) == Ok(Ordering::Equal)
            }
            (Datum::Bytes(kind, bytes), Some(Element::Raw([first, rest @ ..]))) => {
                *first == prefix(*kind) && **bytes == *rest
            }
            _ => false,
        }
    }
}

/// The type byte of a packed string, blob, sketch or text of GeoJSON.
fn prefix(kind: Type) -> u8 {
    match kind {
        Type::String => 3,
        Type::Hll => 18,
        Type::GeoJson => 23,
        Type::Blob | Type::Nil | Type::Bool | Type::Int | Type::Float | Type::List | Type::Map => 4,
    }
}

/// The text behind the flags and cells of stored GeoJSON.
fn geo_text(bytes: Cow<'_, [u8]>) -> Datum<'_> {
    let text = match bytes {
        Cow::Borrowed(bytes) => geo::split(bytes).map(|(_, text)| Cow::Borrowed(text)),
        Cow::Owned(bytes) => geo::split(&bytes).map(|(_, text)| Cow::Owned(text.to_vec())),
    };
    text.map_or(Datum::Unknown, |text| Datum::Bytes(Type::GeoJson, text))
}

/// Whether a packed map says that its pairs have an order of their own.
fn keeps_order(map: &[u8]) -> bool {
    const OWN_ORDER: u8 = 8;
    let mut cursor = Cursor::new(map);
    let head = cursor.head();
    let flags = head.and_then(|head| cursor.flags(head));
    flags.is_some_and(|(flags, _)| flags & OWN_ORDER != 0)
}

/// A list or map as it is stored, if it may be.
fn storable(bytes: Cow<'_, [u8]>, kind: Collection) -> Option<Cow<'_, [u8]>> {
    match bytes {
        Cow::Borrowed(bytes) => normalise(bytes, kind).ok(),
        Cow::Owned(bytes) => Some(Cow::Owned(normalise(&bytes, kind).ok()?.into_owned())),
    }
}

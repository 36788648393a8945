//! Values of bins: a particle type and bytes, checked once where they come in.
//!
//! The stored form of every type is the form in which the wire returns it, so serving a value is a
//! copy. Integers are eight bytes big-endian; GeoJSON has flags and cells before its text (see
//! [`crate::geo`]); lists and maps are canonical MessagePack (see [`crate::msgpack`]).

use std::borrow::Cow;

use crate::geo;
use crate::hll;
use crate::msgpack::{self, Collection, InvalidCollection};

/// The type of a bin's value, by its number on the wire and on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names say it
pub enum ParticleType {
    Integer = 1,
    Float = 2,
    String = 3,
    Blob = 4,
    JavaBlob = 7,
    CsharpBlob = 8,
    PythonBlob = 9,
    RubyBlob = 10,
    PhpBlob = 11,
    ErlangBlob = 12,
    Vector = 16,
    Bool = 17,
    Hll = 18,
    Map = 19,
    List = 20,
    GeoJson = 23,
}

impl ParticleType {
    /// From its number; `None` for null (0) and for numbers that no value may have.
    pub fn from_wire(particle: u8) -> Option<ParticleType> {
        Some(match particle {
            1 => ParticleType::Integer,
            2 => ParticleType::Float,
            3 => ParticleType::String,
            4 => ParticleType::Blob,
            7 => ParticleType::JavaBlob,
            8 => ParticleType::CsharpBlob,
            9 => ParticleType::PythonBlob,
            10 => ParticleType::RubyBlob,
            11 => ParticleType::PhpBlob,
            12 => ParticleType::ErlangBlob,
            16 => ParticleType::Vector,
            17 => ParticleType::Bool,
            18 => ParticleType::Hll,
            19 => ParticleType::Map,
            20 => ParticleType::List,
            23 => ParticleType::GeoJson,
            _ => return None,
        })
    }

    /// Whether bytes may be appended and prepended: strings and the blob family.
    pub fn is_text_or_blob(self) -> bool {
        match self {
            ParticleType::String
            | ParticleType::Blob
            | ParticleType::JavaBlob
            | ParticleType::CsharpBlob
            | ParticleType::PythonBlob
            | ParticleType::RubyBlob
            | ParticleType::PhpBlob
            | ParticleType::ErlangBlob
            | ParticleType::Vector => true,
            ParticleType::Integer
            | ParticleType::Float
            | ParticleType::Bool
            | ParticleType::Hll
            | ParticleType::Map
            | ParticleType::List
            | ParticleType::GeoJson => false,
        }
    }
}

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The particle type cannot be stored.
    #[error("particle type {0} cannot be stored")]
    Type(u8),
    /// The bytes do not fit the type.
    #[error("{size_bytes} bytes cannot be a value of type {particle:?}")]
    Malformed {
        /// The type they were sent as.
        particle: ParticleType,
        /// How many came.
        size_bytes: usize,
    },
    /// A list or map is malformed.
    #[error(transparent)]
    Collection(#[from] InvalidCollection),
    /// GeoJSON that is no point, polygon, multi-polygon or circle.
    #[error("not GeoJSON that can be stored")]
    GeoJson,
}

/// One value: its type and its bytes in stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The type.
    pub particle: ParticleType,
    /// The bytes, in the form described at [the module](self).
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Value<'a> {
    /// Checks a value as it came from a client. Null (type 0) is `Ok(None)`.
    ///
    /// # Errors
    /// See [`ValueError`]; nothing of a refused value is kept.
    pub fn from_wire(particle: u8, bytes: &'a [u8]) -> Result<Option<Value<'a>>, ValueError> {
        if particle == 0 {
            return Ok(None);
        }
        let kind = ParticleType::from_wire(particle).ok_or(ValueError::Type(particle))?;
        let malformed = ValueError::Malformed {
            particle: kind,
            size_bytes: bytes.len(),
        };
        let bytes = match kind {
            ParticleType::Integer => widen(bytes).ok_or(malformed)?,
            ParticleType::Float if bytes.len() != 8 => return Err(malformed),
            ParticleType::Bool if !matches!(bytes, [0 | 1]) => return Err(malformed),
            ParticleType::Hll if !hll::is_sketch(bytes) => return Err(malformed),
            ParticleType::List => msgpack::normalise(bytes, Collection::List)?,
            ParticleType::Map => msgpack::normalise(bytes, Collection::Map)?,
            ParticleType::GeoJson => geo_json(bytes).ok_or(ValueError::GeoJson)?,
            ParticleType::Float
            | ParticleType::Bool
            | ParticleType::Hll
            | ParticleType::String
            | ParticleType::Blob
            | ParticleType::JavaBlob
            | ParticleType::CsharpBlob
            | ParticleType::PythonBlob
            | ParticleType::RubyBlob
            | ParticleType::PhpBlob
            | ParticleType::ErlangBlob
            | ParticleType::Vector => Cow::Borrowed(bytes),
        };
        Ok(Some(Value {
            particle: kind,
            bytes,
        }))
    }

    /// The same value with bytes of its own.
    pub fn into_owned(self) -> Value<'static> {
        Value {
            particle: self.particle,
            bytes: Cow::Owned(self.bytes.into_owned()),
        }
    }

    /// An integer value.
    pub fn integer(value: i64) -> Value<'static> {
        let bytes = Cow::Owned(value.to_be_bytes().to_vec());
        Value {
            particle: ParticleType::Integer,
            bytes,
        }
    }
}

/// Integers come in one, two, four or eight bytes; the short ones are unsigned.
fn widen(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    match bytes.len() {
        8 => Some(Cow::Borrowed(bytes)),
        short @ (1 | 2 | 4) => {
            let mut wide = vec![0; 8];
            wide[8 - short..].copy_from_slice(bytes);
            Some(Cow::Owned(wide))
        }
        _ => None,
    }
}

/// GeoJSON with the cells that it has, whatever cells came with it.
fn geo_json(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (_, text) = geo::split(bytes)?;
    Some(Cow::Owned(geo::stored(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(particle: u8, bytes: &[u8], stored: Result<&[u8], ()>) {
        let found = Value::from_wire(particle, bytes).map(|value| value.unwrap().bytes);
        assert_eq!(
            found.as_deref().map_err(|_| ()),
            stored,
            "type {particle} {bytes:?}"
        );
    }

    #[test]
    fn short_integers_are_widened_without_sign() {
        check(1, &[0xff], Ok(&[0, 0, 0, 0, 0, 0, 0, 0xff]));
        check(1, &[0x80, 0], Ok(&[0, 0, 0, 0, 0, 0, 0x80, 0]));
        check(1, &[0xff; 8], Ok(&[0xff; 8]));
        check(1, &[1, 2, 3], Err(()));
        check(1, &[], Err(()));
    }

    #[test]
    fn values_that_do_not_fit_their_type_are_refused() {
        check(2, &[0; 4], Err(()));
        check(17, &[2], Err(()));
        check(17, &[1], Ok(&[1]));
        check(17, &[], Err(()));
        check(3, b"", Ok(b""));
        check(9, b"pickle", Ok(b"pickle"));
        for particle in [5, 6, 13, 14, 15, 21, 22, 24, 255] {
            assert_eq!(
                Value::from_wire(particle, b"x"),
                Err(ValueError::Type(particle))
            );
        }
        assert_eq!(Value::from_wire(0, b""), Ok(None));
    }

    #[test]
    fn hll_must_have_exactly_its_registers() {
        let hll = |flags, index, minhash, registers: usize| {
            let mut bytes = vec![flags, index, minhash];
            bytes.extend(vec![0; 8 + registers]);
            Value::from_wire(18, &bytes).is_ok()
        };
        assert!(hll(0, 4, 0, 12));
        assert!(hll(0, 12, 0, 3072));
        assert!(hll(0, 8, 16, 22 * 256 / 8));
        assert!(!hll(0, 4, 0, 11));
        assert!(!hll(1, 4, 0, 12));
        assert!(!hll(0, 3, 0, 6));
        assert!(!hll(0, 4, 3, 18));
        assert!(!hll(0, 17, 0, 98_304));
    }

    #[test]
    fn geo_json_is_stored_only_in_known_shapes() {
        let stored =
            |text: &str| Value::from_wire(23, &[&[0, 0, 0], text.as_bytes()].concat()).is_ok();
        assert!(stored(r#"{"type":"Point","coordinates":[-122.0,37.5]}"#));
        assert!(stored(
            r#"{"type":"AeroCircle","coordinates":[[-122.0,37.5],1000]}"#
        ));
        assert!(stored(
            r#"{"type":"Polygon","coordinates":[[[0,0],[0,1],[1,1],[0,0]]]}"#
        ));
        assert!(stored(
            r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{}}"#
        ));
        assert!(!stored(r#"{"type":"Point","coordinates":[200,0]}"#));
        assert!(!stored(
            r#"{"type":"LineString","coordinates":[[0,0],[1,1]]}"#
        ));
        assert!(!stored(
            r#"{"type":"Polygon","coordinates":[[[0,0],[0,1],[0,0]]]}"#
        ));
        assert!(!stored("not json"));
        let text = br#"{"type":"Point","coordinates":[1,2]}"#;
        let stored = geo::stored(text).unwrap();
        check(23, &geo::without_cells(text), Ok(&stored));
        let foreign = [&[1, 0, 1][..], &[9; 8], text];
        check(23, &foreign.concat(), Ok(&stored));
        check(23, &[0, 0, 1, 9], Err(()));
    }
}

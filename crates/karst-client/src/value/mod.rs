//! What a bin holds, and how it travels.
//!
//! Scalars travel as their bytes, lists and maps as msgpack (`msgpack`). Values this client has no
//! type for (text that is not UTF-8, language-specific blobs, vectors) are kept as bytes with their
//! particle type, so that reading a record and writing it back never loses anything.
//!
//! Any bytes may arrive: what cannot be decoded gives [`BadValue`], never a panic.

mod msgpack;

pub(crate) use msgpack::{encode as encode_packed, encode_list_head};

use karst_wire::particle;

/// Bytes before the cells of a GeoJSON value: flags, and how many cells there are.
const GEOJSON_HEAD_BYTES: usize = 3;

/// A value of a bin, or an element of a list or map.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value. Written to a bin, it removes the bin.
    #[default]
    Nil,
    /// A truth value.
    Bool(bool),
    /// A signed integer of 64 bits. Unsigned numbers above `i64::MAX` inside lists and maps, which
    /// other clients can write, arrive as the negative number of the same bits.
    Int(i64),
    /// A double.
    Float(f64),
    /// Text.
    String(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Pairs of key and value, in the order the server keeps them.
    Map(Vec<(Value, Value)>),
    /// GeoJSON text.
    GeoJson(String),
    /// A HyperLogLog sketch, opaque.
    Hll(Vec<u8>),
    /// Bytes of a type this client does not interpret, with its particle type.
    Other {
        /// The protocol's number of the type.
        particle: u8,
        /// The bytes, as stored.
        bytes: Vec<u8>,
    },
    /// Equal to everything, at the end of a list to all that is left; in what is looked for only, such as
    /// `["blue", *]`.
    Wildcard,
    /// Greater than everything; in what is looked for only.
    Infinity,
}

/// A particle type that no server stores: a request to write such a value is refused.
const NO_PARTICLE: u8 = u8::MAX;

/// Why the bytes of a value cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// A scalar has another size than its type.
    #[error("value of type {particle} has {bytes} bytes")]
    Size {
        /// Particle type.
        particle: u8,
        /// Its size in bytes.
        bytes: usize,
    },
    /// A list or map ends early, has bytes behind its end, or holds a code msgpack does not have.
    #[error("list or map is not well-formed at byte {at}")]
    Msgpack {
        /// Where, counted from its start.
        at: usize,
    },
    /// Lists and maps are nested deeper than this client follows.
    #[error("list or map is nested deeper than {levels_max} levels")]
    TooDeep {
        /// Levels it follows.
        levels_max: usize,
    },
}

impl Value {
    /// A list of what can be values.
    ///
    /// ```
    /// use karst_client::Value;
    ///
    /// assert_eq!(Value::list(["a", "b"]).as_list().unwrap().len(), 2);
    /// ```
    pub fn list<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }

    /// A map of what can be values; keys are integers, text or blobs, each once.
    pub fn map<K: Into<Value>, V: Into<Value>>(pairs: impl IntoIterator<Item = (K, V)>) -> Value {
        let pairs = pairs.into_iter();
        Value::Map(
            pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The double, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is a string or GeoJSON.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::GeoJson(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is a blob, a sketch or of a type this client does not interpret.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Blob(bytes) | Value::Hll(bytes) | Value::Other { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }

    /// The pairs, if it is a map.
    pub fn as_map(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Whether it is [`Value::Nil`].
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// The particle type it travels as.
    pub(crate) fn particle(&self) -> u8 {
        match self {
            Value::Nil => particle::NULL,
            Value::Bool(_) => particle::BOOL,
            Value::Int(_) => particle::INTEGER,
            Value::Float(_) => particle::FLOAT,
            Value::String(_) => particle::STRING,
            Value::Blob(_) => particle::BLOB,
            Value::List(_) => particle::LIST,
            Value::Map(_) => particle::MAP,
            Value::GeoJson(_) => particle::GEOJSON,
            Value::Hll(_) => particle::HLL,
            Value::Other { particle, .. } => *particle,
            Value::Wildcard | Value::Infinity => NO_PARTICLE,
        }
    }

    /// Appends the bytes it travels as.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Nil => {}
            Value::Bool(value) => out.push(u8::from(*value)),
            Value::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            Value::Blob(bytes) | Value::Hll(bytes) | Value::Other { bytes, .. } => {
                out.extend_from_slice(bytes);
            }
            Value::List(_) | Value::Map(_) | Value::Wildcard | Value::Infinity => {
                msgpack::encode(self, out);
            }
            Value::GeoJson(text) => {
                out.extend_from_slice(&[0; GEOJSON_HEAD_BYTES]); // the server finds the cells
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Reads the value of a bin.
    pub(crate) fn decode(particle: u8, bytes: &[u8]) -> Result<Value, BadValue> {
        let size = BadValue::Size {
            particle,
            bytes: bytes.len(),
        };
        let other = |bytes: &[u8]| Value::Other {
            particle,
            bytes: bytes.to_vec(),
        };
        Ok(match particle {
            particle::NULL => Value::Nil,
            particle::INTEGER => {
                Value::Int(i64::from_be_bytes(bytes.try_into().map_err(|_| size)?))
            }
            particle::FLOAT => {
                Value::Float(f64::from_be_bytes(bytes.try_into().map_err(|_| size)?))
            }
            particle::BOOL => match bytes {
                [flag] => Value::Bool(*flag != 0),
                _ => return Err(size),
            },
            particle::STRING => match str::from_utf8(bytes) {
                Ok(text) => Value::String(text.to_owned()),
                Err(_) => other(bytes),
            },
            particle::BLOB => Value::Blob(bytes.to_vec()),
            particle::HLL => Value::Hll(bytes.to_vec()),
            particle::LIST | particle::MAP => msgpack::decode(bytes)?,
            particle::GEOJSON => match str::from_utf8(geojson_text(bytes).ok_or(size)?) {
                Ok(text) => Value::GeoJson(text.to_owned()),
                Err(_) => other(bytes),
            },
            _ => other(bytes),
        })
    }
}

/// The text of a GeoJSON value, behind its cells.
fn geojson_text(bytes: &[u8]) -> Option<&[u8]> {
    let ([_flags, high, low], rest) = bytes.split_first_chunk::<GEOJSON_HEAD_BYTES>()?;
    let cells = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(cells * size_of::<u64>()..)
}

/// Converts each type into the variant that holds it.
macro_rules! value_from {
    ($($type:ty => |$value:ident| $made:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Value {
                $made
            }
        })+
    };
}

value_from! {
    bool => |value| Value::Bool(value);
    i8 => |value| Value::Int(value.into());
    i16 => |value| Value::Int(value.into());
    i32 => |value| Value::Int(value.into());
    i64 => |value| Value::Int(value);
    u8 => |value| Value::Int(value.into());
    u16 => |value| Value::Int(value.into());
    u32 => |value| Value::Int(value.into());
    f32 => |value| Value::Float(value.into());
    f64 => |value| Value::Float(value);
    &str => |value| Value::String(value.to_owned());
    String => |value| Value::String(value);
    &[u8] => |value| Value::Blob(value.to_vec());
    Vec<u8> => |value| Value::Blob(value);
    Vec<Value> => |value| Value::List(value);
    Vec<(Value, Value)> => |value| Value::Map(value);
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Value {
        Value::Blob(bytes.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Nil, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: Value, particle: u8, bytes: &[u8]) {
        let mut out = vec![];
        value.encode(&mut out);
        assert_eq!((value.particle(), &out[..]), (particle, bytes));
        assert_eq!(Value::decode(particle, bytes), Ok(value));
    }

    #[test]
    fn scalars_travel_as_the_protocol_says() {
        check(Value::Nil, 0, b"");
        check(Value::Int(-2), 1, &(-2i64).to_be_bytes());
        check(Value::Float(1.5), 2, &1.5f64.to_be_bytes());
        check("text".into(), 3, b"text");
        check(Value::Blob(vec![0, 255]), 4, &[0, 255]);
        check(Value::Bool(true), 17, &[1]);
        check(Value::Hll(vec![1, 2, 3]), 18, &[1, 2, 3]);
        check(Value::GeoJson("{}".into()), 23, b"\0\0\0{}");
    }

    #[test]
    fn cells_of_a_geojson_value_are_skipped() {
        let mut bytes = vec![0, 0, 2];
        bytes.extend_from_slice(&[7; 16]);
        bytes.extend_from_slice(b"{}");
        assert_eq!(Value::decode(23, &bytes), Ok(Value::GeoJson("{}".into())));
        assert!(Value::decode(23, &bytes[..18]).is_err());
    }

    #[test]
    fn what_has_no_type_here_is_kept_as_it_is() {
        for (particle, bytes) in [(3, &b"\xff\xfe"[..]), (9, b"pickle"), (16, b"vector")] {
            let value = Value::decode(particle, bytes).unwrap();
            check(value, particle, bytes);
        }
    }

    #[test]
    fn scalars_of_another_size_are_refused() {
        for (particle, bytes) in [(1, 7), (1, 9), (2, 4), (17, 0), (17, 2), (23, 2)] {
            let size = BadValue::Size { particle, bytes };
            assert_eq!(Value::decode(particle, &vec![0; bytes]), Err(size));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(
            particle in any::<u8>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = Value::decode(particle, &bytes);
        }
    }
}

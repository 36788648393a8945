//! Lists, maps and the arguments of calls as msgpack, the way the protocol bends it: text, blobs and
//! GeoJSON are msgpack strings whose first byte is their particle type, and a collection's order
//! travels as an empty extension in front of its first element.
//!
//! Written in the shortest form, unordered. Read in any form; the order mark is dropped, because the
//! elements arrive in that order.
//!
//! Invariants
//!   decoding never reserves room for more elements than there are bytes left
//!   decoding follows at most [`LEVELS_MAX`] levels, so foreign bytes cannot exhaust the stack

use karst_data::msgpack::{write_double, write_int, write_list_count, write_map_head, write_typed};
use karst_wire::particle;

use super::{BadValue, Value};

/// Levels of nesting that are followed. Applications nest a few; the bound protects the stack.
const LEVELS_MAX: usize = 128;

const NIL: u8 = 0xc0;
const FALSE: u8 = 0xc2;

/// What means something in comparisons only: extensions of one byte.
const WILDCARD: [u8; 3] = [0xd4, 0xff, 0];
const INFINITY: [u8; 3] = [0xd4, 0xff, 1];

/// Appends a value.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.push(NIL),
        Value::Bool(value) => out.push(FALSE + u8::from(*value)),
        Value::Int(value) => write_int(out, *value, false),
        Value::Float(value) => write_double(out, *value),
        Value::String(text) => write_typed(out, particle::STRING, text.as_bytes()),
        Value::GeoJson(text) => write_typed(out, particle::GEOJSON, text.as_bytes()),
        Value::Blob(bytes) => write_typed(out, particle::BLOB, bytes),
        Value::Hll(bytes) => write_typed(out, particle::HLL, bytes),
        Value::Other { particle, bytes } => write_typed(out, *particle, bytes),
        Value::List(values) => {
            encode_list_head(values.len(), out);
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Map(pairs) => {
            // As with lists, more pairs than a head can count belong to a frame that is refused.
            let _ = write_map_head(out, pairs.len(), 0);
            for (key, value) in pairs {
                encode(key, out);
                encode(value, out);
            }
        }
        Value::Wildcard => out.extend_from_slice(&WILDCARD),
        Value::Infinity => out.extend_from_slice(&INFINITY),
    }
}

/// Appends the head of a list. More elements than 32 bits count would need a frame the encoder refuses
/// anyway.
pub(crate) fn encode_list_head(count: usize, out: &mut Vec<u8>) {
    write_list_count(out, u32::try_from(count).unwrap_or(u32::MAX));
}

/// Reads one value that fills `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, BadValue> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.item(0)? {
        Item::Value(value) if reader.at == bytes.len() => Ok(value),
        Item::Value(_) | Item::OrderMark => Err(reader.bad()),
    }
}

/// What stands at one place: a value, or the extension that says how a collection is ordered.
enum Item {
    Value(Value),
    OrderMark,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self) -> BadValue {
        BadValue::Msgpack { at: self.at }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BadValue> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(self.bad())?;
        self.at += count;
        Ok(taken)
    }

    /// An unsigned number of 1, 2, 4 or 8 bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, BadValue> {
        let digits = self.take(bytes)?;
        Ok(digits
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A signed number of 1, 2, 4 or 8 bytes.
    fn signed(&mut self, bytes: usize) -> Result<i64, BadValue> {
        let unused_bits = 64 - 8 * bytes as u32;
        Ok((self.number(bytes)? << unused_bits) as i64 >> unused_bits)
    }

    fn size(&mut self, bytes: usize) -> Result<usize, BadValue> {
        let number = self.number(bytes)?;
        usize::try_from(number).map_err(|_| self.bad())
    }

    fn item(&mut self, level: usize) -> Result<Item, BadValue> {
        let head = self.take(1)?[0];
        Ok(Item::Value(match head {
            0x00..=0x7f => Value::Int(i64::from(head)),
            0xe0..=0xff => Value::Int(i64::from(head as i8)),
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Bool(head == 0xc3),
            0xca => Value::Float(f64::from(f32::from_bits(self.number(4)? as u32))),
            0xcb => Value::Float(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Value::Int(self.number(1 << (head - 0xcc))? as i64),
            0xd0..=0xd3 => Value::Int(self.signed(1 << (head - 0xd0))?),
            0xa0..=0xbf => self.typed_bytes(usize::from(head & 0x1f))?,
            0xc4..=0xc6 => {
                let size = self.size(1 << (head - 0xc4))?;
                self.typed_bytes(size)?
            }
            0xd9..=0xdb => {
                let size = self.size(1 << (head - 0xd9))?;
                self.typed_bytes(size)?
            }
            0x90..=0x9f => self.list(usize::from(head & 0x0f), level)?,
            0xdc | 0xdd => {
                let count = self.size(2 << (head - 0xdc))?;
                self.list(count, level)?
            }
            0x80..=0x8f => self.map(usize::from(head & 0x0f), level)?,
            0xde | 0xdf => {
                let count = self.size(2 << (head - 0xde))?;
                self.map(count, level)?
            }
            0xc7..=0xc9 => {
                let size = self.size(1 << (head - 0xc7))?;
                return self.extension(size);
            }
            0xd4..=0xd8 => return self.extension(1 << (head - 0xd4)),
            0xc1 => return Err(self.bad()),
        }))
    }

    /// Skips an extension's type and content.
    fn extension(&mut self, size: usize) -> Result<Item, BadValue> {
        self.take(1)?;
        self.take(size)?;
        Ok(Item::OrderMark)
    }

    /// Text, a blob or GeoJSON: its first byte says which.
    fn typed_bytes(&mut self, size: usize) -> Result<Value, BadValue> {
        let content = self.take(size)?;
        let (particle, bytes) = content.split_first().ok_or(self.bad())?;
        let text = || str::from_utf8(bytes).ok().map(str::to_owned);
        let known = match *particle {
            particle::STRING => text().map(Value::String),
            particle::GEOJSON => text().map(Value::GeoJson),
            particle::BLOB => Some(Value::Blob(bytes.to_vec())),
            particle::HLL => Some(Value::Hll(bytes.to_vec())),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Value::Other {
            particle: *particle,
            bytes: bytes.to_vec(),
        }))
    }

    /// Room for `count` elements, as far as the bytes left can hold them.
    fn room(&self, count: usize) -> usize {
        count.min(self.bytes.len() - self.at)
    }

    fn deeper(&self, level: usize) -> Result<usize, BadValue> {
        match level + 1 {
            levels if levels <= LEVELS_MAX => Ok(levels),
            _ => Err(BadValue::TooDeep {
                levels_max: LEVELS_MAX,
            }),
        }
    }

    fn list(&mut self, count: usize, level: usize) -> Result<Value, BadValue> {
        let level = self.deeper(level)?;
        let mut values = Vec::with_capacity(self.room(count));
        for index in 0..count {
            match self.item(level)? {
                Item::Value(value) => values.push(value),
                Item::OrderMark if index == 0 => {}
                Item::OrderMark => return Err(self.bad()),
            }
        }
        Ok(Value::List(values))
    }

    fn map(&mut self, count: usize, level: usize) -> Result<Value, BadValue> {
        let level = self.deeper(level)?;
        let mut pairs = Vec::with_capacity(self.room(count) / 2);
        for index in 0..count {
            match (self.item(level)?, self.item(level)?) {
                (Item::Value(key), Item::Value(value)) => pairs.push((key, value)),
                (Item::OrderMark, Item::Value(_)) if index == 0 => {}
                _ => return Err(self.bad()),
            }
        }
        Ok(Value::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = vec![];
        encode(value, &mut out);
        out
    }

    fn ints(values: &[i64]) -> Value {
        Value::List(values.iter().map(|value| Value::Int(*value)).collect())
    }

    #[test]
    fn collections_are_byte_for_byte_the_protocols_examples() {
        let list = Value::List(vec![1.into(), "ab".into(), Value::Nil]);
        assert_eq!(encoded(&list), [0x93, 1, 0xa3, 3, b'a', b'b', 0xc0]);
        assert_eq!(decode(&encoded(&list)), Ok(list));
        assert_eq!(encoded(&Value::Map(vec![])), [0x80]);
    }

    #[test]
    fn order_marks_are_not_elements() {
        assert_eq!(decode(&[0x93, 0xc7, 0, 1, 1, 2]), Ok(ints(&[1, 2])));
        let map = Value::Map(vec![("a".into(), 1.into())]);
        let ordered = [0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'a', 1];
        assert_eq!(decode(&ordered), Ok(map));
        let with_content = [0x92, 0xc7, 2, 1, 9, 9, 5];
        assert_eq!(decode(&with_content), Ok(ints(&[5])));
    }

    #[test]
    fn integers_take_their_shortest_form() {
        let check = |value: i64, expected: &[u8]| {
            assert_eq!(encoded(&Value::Int(value)), expected, "{value}");
            assert_eq!(decode(expected), Ok(Value::Int(value)), "{value}");
        };
        check(0, &[0]);
        check(127, &[0x7f]);
        check(128, &[0xcc, 0x80]);
        check(255, &[0xcc, 0xff]);
        check(256, &[0xcd, 1, 0]);
        check(65_536, &[0xce, 0, 1, 0, 0]);
        check(1 << 32, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
        check(-1, &[0xff]);
        check(-32, &[0xe0]);
        check(-33, &[0xd0, 0xdf]);
        check(-129, &[0xd1, 0xff, 0x7f]);
        check(-32_769, &[0xd2, 0xff, 0xff, 0x7f, 0xff]);
        check(i64::MIN, &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn text_and_blobs_are_read_from_every_family_of_heads() {
        for head in [
            &[0xa2][..],
            &[0xd9, 2],
            &[0xda, 0, 2],
            &[0xdb, 0, 0, 0, 2],
            &[0xc4, 2],
        ] {
            let bytes = [head, &[3, b'x']].concat();
            assert_eq!(decode(&bytes), Ok("x".into()), "{head:x?}");
        }
    }

    #[test]
    fn a_lying_count_reserves_no_more_than_there_are_bytes() {
        let reader = Reader {
            bytes: &[0xdd, 0xff, 0xff, 0xff, 0xff],
            at: 5,
        };
        assert_eq!(reader.room(u32::MAX as usize), 0);
        assert!(decode(reader.bytes).is_err());
    }

    #[test]
    fn nesting_is_followed_to_the_limit_and_refused_beyond() {
        let nested = |levels: usize| [vec![0x91; levels], vec![0]].concat();
        assert!(decode(&nested(LEVELS_MAX)).is_ok());
        assert!(matches!(
            decode(&nested(LEVELS_MAX + 1)),
            Err(BadValue::TooDeep { .. })
        ));
    }

    #[test]
    fn bytes_behind_the_value_or_a_mark_alone_are_refused() {
        assert!(decode(&[0x90, 0]).is_err());
        assert!(decode(&[0xc7, 0, 1]).is_err());
        assert!(decode(&[0x92, 1, 0xc7, 0, 1]).is_err());
        assert!(decode(&[0xa0]).is_err()); // no particle type
        assert!(decode(&[]).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e300f64..1e300).prop_map(Value::Float),
            ".{0,40}".prop_map(Value::String),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Blob),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            let pair = (inner.clone(), inner.clone());
            prop_oneof![
                proptest::collection::vec(inner, 0..20).prop_map(Value::List),
                proptest::collection::vec(pair, 0..20).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_was(value in any_value()) {
            prop_assert_eq!(decode(&encoded(&value)), Ok(value));
        }

        #[test]
        fn every_cut_is_refused(value in any_value()) {
            let bytes = encoded(&value);
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err());
            }
        }
    }
}

//! Collections as the protocol packs them: validated and brought into one canonical form.
//!
//! Lists and maps arrive as MessagePack with three conventions of the Aerospike protocol: strings,
//! blobs and GeoJSON are all of the str or bin families with a leading particle-type byte; an ordered
//! collection begins with an ext element (in a map: an ext key with a nil value) whose type byte holds
//! the order flags; and `d4 ff 00`, `d4 ff 01` are the comparison-only values wildcard and infinity.
//!
//! [`normalise`] is the only door for whole values: what it returns has minimal widths, sorted
//! unflagged maps, unique keys of allowed types and nothing after its end, so all later readers of
//! stored collections may trust those properties. Nesting is limited to [`DEPTH_MAX`].

pub mod elements;

use std::borrow::Cow;
use std::cmp::Ordering;

/// Deepest nesting of collections that is accepted.
pub const DEPTH_MAX: usize = 128;

/// Order flags of a collection's ext element.
const FLAG_LIST_ORDERED: u8 = 0x01;
const FLAGS_MAP: u8 = 0x03;

/// Which collection a whole value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// An array.
    List,
    /// A map.
    Map,
}

/// The bytes are not a storable collection; the text says what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a storable collection: {0}")]
pub struct InvalidCollection(pub &'static str);

type Result<T> = std::result::Result<T, InvalidCollection>;

/// One packed element's head. Containers carry their element or pair count, others their content.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Head<'a> {
    Nil,
    Bool(bool),
    /// Two's complement; `wide` marks an unsigned value above `i64::MAX`.
    Int {
        value: i64,
        wide: bool,
    },
    Double(f64),
    Raw(&'a [u8]),
    List(u32),
    Map(u32),
    Ext {
        kind: u8,
        content: &'a [u8],
    },
}

/// Reads elements from the front of a slice.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(InvalidCollection("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        self.number::<1>().map(|[byte]| byte)
    }

    /// A big-endian length of one, two or four bytes.
    fn length(&mut self, width: u8) -> Result<u32> {
        Ok(match width {
            1 => u32::from(self.byte()?),
            2 => u32::from(u16::from_be_bytes(self.number()?)),
            _ => u32::from_be_bytes(self.number()?),
        })
    }

    fn raw(&mut self, width: u8) -> Result<Head<'a>> {
        let length = self.length(width)?;
        self.take(length as usize).map(Head::Raw)
    }

    fn ext(&mut self, length: u32) -> Result<Head<'a>> {
        let kind = self.byte()?;
        Ok(Head::Ext {
            kind,
            content: self.take(length as usize)?,
        })
    }

    fn signed(value: i64) -> Head<'a> {
        Head::Int { value, wide: false }
    }

    fn head(&mut self) -> Result<Head<'a>> {
        let first = self.byte()?;
        Ok(match first {
            0x00..=0x7f => Self::signed(i64::from(first)),
            0x80..=0x8f => Head::Map(u32::from(first & 0x0f)),
            0x90..=0x9f => Head::List(u32::from(first & 0x0f)),
            0xa0..=0xbf => Head::Raw(self.take(usize::from(first & 0x1f))?),
            0xc0 => Head::Nil,
            0xc1 => return Err(InvalidCollection("byte c1 is no element")),
            0xc2 | 0xc3 => Head::Bool(first == 0xc3),
            0xc4 | 0xd9 => self.raw(1)?,
            0xc5 | 0xda => self.raw(2)?,
            0xc6 | 0xdb => self.raw(4)?,
            0xc7 => self.length(1).and_then(|length| self.ext(length))?,
            0xc8 => self.length(2).and_then(|length| self.ext(length))?,
            0xc9 => self.length(4).and_then(|length| self.ext(length))?,
            0xca => Head::Double(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Head::Double(f64::from_be_bytes(self.number()?)),
            0xcc => Self::signed(i64::from(self.byte()?)),
            0xcd => Self::signed(i64::from(u16::from_be_bytes(self.number()?))),
            0xce => Self::signed(i64::from(u32::from_be_bytes(self.number()?))),
            0xcf => {
                let value = i64::from_be_bytes(self.number()?);
                Head::Int {
                    value,
                    wide: value < 0,
                }
            }
            0xd0 => Self::signed(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => Self::signed(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => Self::signed(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => Self::signed(i64::from_be_bytes(self.number()?)),
            0xd4..=0xd8 => self.ext(1 << (first - 0xd4))?,
            0xdc => Head::List(self.length(2)?),
            0xdd => Head::List(self.length(4)?),
            0xde => Head::Map(self.length(2)?),
            0xdf => Head::Map(self.length(4)?),
            0xe0..=0xff => Self::signed(i64::from(first as i8)),
        })
    }
}

/// Checks a whole list or map that a client wants stored and returns its canonical form, borrowed
/// when it already was canonical.
///
/// # Errors
/// Malformed or trailing bytes, the wrong kind at the top, wildcard or infinity anywhere, map keys
/// that are not integers, strings or blobs, duplicate keys, a collection flagged ordered that is not,
/// nesting beyond [`DEPTH_MAX`].
pub fn normalise(bytes: &[u8], expected: Collection) -> Result<Cow<'_, [u8]>> {
    let mut reader = Reader { rest: bytes };
    let found = match (Reader { rest: bytes }).head()? {
        Head::List(_) => Collection::List,
        Head::Map(_) => Collection::Map,
        _ => return Err(InvalidCollection("the top is neither list nor map")),
    };
    if found != expected {
        return Err(InvalidCollection(
            "a list where a map is due, or the reverse",
        ));
    }
    let mut canonical = Vec::with_capacity(bytes.len());
    copy_element(&mut reader, &mut canonical, 0)?;
    if !reader.rest.is_empty() {
        return Err(InvalidCollection("bytes follow its end"));
    }
    Ok(if canonical == bytes {
        Cow::Borrowed(bytes)
    } else {
        Cow::Owned(canonical)
    })
}

fn copy_element(reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    match reader.head()? {
        Head::Nil => out.push(0xc0),
        Head::Bool(value) => out.push(0xc2 + u8::from(value)),
        Head::Int { value, wide } => write_int(out, value, wide),
        Head::Double(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Head::Raw(content) => {
            if content.is_empty() {
                return Err(InvalidCollection("a string or blob without its type byte"));
            }
            write_raw(out, content);
        }
        Head::List(count) => copy_list(reader, out, count, depth + 1)?,
        Head::Map(count) => copy_map(reader, out, count, depth + 1)?,
        Head::Ext { .. } => return Err(InvalidCollection("an ext that is no order flag")),
    }
    Ok(())
}

/// Takes the leading ext of a collection, if there is one, and returns its kind byte.
fn take_flags(reader: &mut Reader<'_>, count: u32) -> Result<Option<u8>> {
    if count == 0 {
        return Ok(None);
    }
    let mut ahead = *reader;
    match ahead.head()? {
        Head::Ext {
            kind: 0xff,
            content: [_],
        } => Err(InvalidCollection("wildcard and infinity cannot be stored")),
        Head::Ext { kind, .. } => {
            *reader = ahead;
            Ok(Some(kind))
        }
        _ => Ok(None),
    }
}

fn check_depth(depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        Err(InvalidCollection("it nests too deeply"))
    } else {
        Ok(())
    }
}

fn copy_list(reader: &mut Reader<'_>, out: &mut Vec<u8>, count: u32, depth: usize) -> Result<()> {
    check_depth(depth)?;
    let ext = take_flags(reader, count)?;
    let count = count - u32::from(ext.is_some());
    let ordered = ext.is_some_and(|flags| flags & FLAG_LIST_ORDERED != 0);
    write_count(out, 0x90, 0xdc, u64::from(count) + u64::from(ordered))?;
    if ordered {
        out.extend_from_slice(&[0xc7, 0, FLAG_LIST_ORDERED]);
    }
    let mut previous: Option<usize> = None;
    for _ in 0..count {
        let start = out.len();
        copy_element(reader, out, depth)?;
        if let (true, Some(before)) = (ordered, previous)
            && compare(&out[before..start], &out[start..]) == Ordering::Greater
        {
            return Err(InvalidCollection("an ordered list out of order"));
        }
        previous = Some(start);
    }
    Ok(())
}

fn copy_map(reader: &mut Reader<'_>, out: &mut Vec<u8>, count: u32, depth: usize) -> Result<()> {
    check_depth(depth)?;
    let ext = take_flags(reader, count)?;
    let count = count - u32::from(ext.is_some());
    if ext.is_some() && reader.head()? != Head::Nil {
        return Err(InvalidCollection("a map's order flag without its nil"));
    }
    let flags = match ext.map_or(0, |flags| flags & FLAGS_MAP) {
        flags if flags & FLAG_LIST_ORDERED == 0 => 0, // value order alone means nothing
        flags => flags,
    };
    write_count(out, 0x80, 0xde, u64::from(count) + u64::from(flags != 0))?;
    if flags != 0 {
        out.extend_from_slice(&[0xc7, 0, flags, 0xc0]);
    }
    let entries_start = out.len();
    let mut entries = Vec::new(); // (start, start of value, end) in `out`
    for _ in 0..count {
        let start = out.len();
        copy_key(reader, out)?;
        let value = out.len();
        copy_element(reader, out, depth)?;
        entries.push((start, value, out.len()));
    }
    sort_entries(out, entries_start, &mut entries, flags != 0)
}

fn copy_key(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
    let mut ahead = *reader;
    match ahead.head()? {
        Head::Int { .. } | Head::Raw([3 | 4, ..]) => copy_element(reader, out, 0),
        _ => Err(InvalidCollection(
            "a map key that is no integer, string or blob",
        )),
    }
}

/// Puts the entries of a map in key order; a map flagged ordered must have arrived so.
fn sort_entries(
    out: &mut Vec<u8>,
    from: usize,
    entries: &mut [(usize, usize, usize)],
    flagged: bool,
) -> Result<()> {
    let by_key = |a: &(usize, usize, usize), b: &(usize, usize, usize)| {
        compare(&out[a.0..a.1], &out[b.0..b.1])
    };
    if entries.is_sorted_by(|a, b| by_key(a, b) == Ordering::Less) {
        return Ok(());
    }
    if flagged {
        return Err(InvalidCollection(
            "an ordered map out of order or with equal keys",
        ));
    }
    entries.sort_by(by_key);
    if entries
        .windows(2)
        .any(|pair| by_key(&pair[0], &pair[1]) == Ordering::Equal)
    {
        return Err(InvalidCollection("a map with equal keys"));
    }
    let mut sorted = Vec::with_capacity(out.len() - from);
    for &(start, _, end) in entries.iter() {
        sorted.extend_from_slice(&out[start..end]);
    }
    out.truncate(from);
    out.append(&mut sorted);
    Ok(())
}

fn write_int(out: &mut Vec<u8>, value: i64, wide: bool) {
    if wide || value >= 0 {
        match value as u64 {
            value @ 0..=0x7f => out.push(value as u8),
            value @ 0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
            value @ 0x100..=0xffff => {
                out.push(0xcd);
                out.extend_from_slice(&(value as u16).to_be_bytes());
            }
            value @ 0x1_0000..=0xffff_ffff => {
                out.push(0xce);
                out.extend_from_slice(&(value as u32).to_be_bytes());
            }
            value => {
                out.push(0xcf);
                out.extend_from_slice(&value.to_be_bytes());
            }
        }
    } else if value >= -32 {
        out.push(value as i8 as u8);
    } else if let Ok(value) = i8::try_from(value) {
        out.extend_from_slice(&[0xd0, value as u8]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn write_raw(out: &mut Vec<u8>, content: &[u8]) {
    match content.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
}

fn write_count(out: &mut Vec<u8>, short: u8, medium: u8, count: u64) -> Result<()> {
    match count {
        0..=15 => out.push(short | count as u8),
        16..=0xffff => {
            out.push(medium);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            let count = u32::try_from(count).map_err(|_| InvalidCollection("too many elements"))?;
            out.push(medium + 1);
            out.extend_from_slice(&count.to_be_bytes());
        }
    }
    Ok(())
}

/// Orders two canonical elements: nil, false, true, integers, strings, lists, maps, bytes, doubles,
/// GeoJSON. Bytes that are not canonical elements compare as equal.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    compare_element(&mut Reader { rest: a }, &mut Reader { rest: b }).unwrap_or(Ordering::Equal)
}

fn rank(head: &Head<'_>) -> u8 {
    match head {
        Head::Nil => 0,
        Head::Bool(false) => 1,
        Head::Bool(true) => 2,
        Head::Int { .. } => 3,
        Head::Raw([3, ..]) => 4,
        Head::List(_) => 5,
        Head::Map(_) => 6,
        Head::Raw([23, ..]) => 9,
        Head::Raw(_) => 7,
        Head::Double(_) => 8,
        Head::Ext { .. } => 10,
    }
}

fn compare_element(a: &mut Reader<'_>, b: &mut Reader<'_>) -> Result<Ordering> {
    let (head_a, head_b) = (a.head()?, b.head()?);
    Ok(match (head_a, head_b) {
        (
            Head::Int {
                value: a,
                wide: wide_a,
            },
            Head::Int {
                value: b,
                wide: wide_b,
            },
        ) => wide_a.cmp(&wide_b).then(a.cmp(&b)),
        (Head::Double(a), Head::Double(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (Head::Raw(x), Head::Raw(y)) if rank(&head_a) == rank(&head_b) => x.cmp(y),
        (Head::List(count_a), Head::List(count_b)) => {
            let (count_a, count_b) = (skip_flags(a, count_a)?, skip_flags(b, count_b)?);
            for _ in 0..count_a.min(count_b) {
                match compare_element(a, b)? {
                    Ordering::Equal => {}
                    unequal => return Ok(unequal),
                }
            }
            count_a.cmp(&count_b)
        }
        (Head::Map(count_a), Head::Map(count_b)) => {
            let (count_a, count_b) = (skip_pair_flags(a, count_a)?, skip_pair_flags(b, count_b)?);
            if count_a != count_b {
                return Ok(count_a.cmp(&count_b));
            }
            for _ in 0..u64::from(count_a) * 2 {
                match compare_element(a, b)? {
                    Ordering::Equal => {}
                    unequal => return Ok(unequal),
                }
            }
            Ordering::Equal
        }
        _ => rank(&head_a).cmp(&rank(&head_b)),
    })
}

fn skip_flags(reader: &mut Reader<'_>, count: u32) -> Result<u32> {
    Ok(count - u32::from(take_flags(reader, count)?.is_some()))
}

fn skip_pair_flags(reader: &mut Reader<'_>, count: u32) -> Result<u32> {
    let flagged = take_flags(reader, count)?.is_some();
    if flagged {
        reader.head()?;
    }
    Ok(count - u32::from(flagged))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn check(expected: Collection, before: &str, after: Option<&str>) {
        let found = normalise(&hex(before), expected).map(Cow::into_owned);
        assert_eq!(found.ok(), after.map(hex), "{before}");
    }

    fn list(before: &str, after: Option<&str>) {
        check(Collection::List, before, after);
    }

    fn map(before: &str, after: Option<&str>) {
        check(Collection::Map, before, after);
    }

    #[test]
    fn lists_keep_their_elements_in_minimal_widths() {
        list("93 01 a3 03 61 62 c0", Some("93 01 a3 03 61 62 c0"));
        list("dd 00 00 00 01 cd 00 05", Some("91 05"));
        list("91 d3 ff ff ff ff ff ff ff ff", Some("91 ff"));
        list("91 da 00 02 03 61", Some("91 a2 03 61"));
        list("91 c4 02 04 61", Some("91 a2 04 61"));
        list("91 ca 3f 80 00 00", Some("91 cb 3f f0 00 00 00 00 00 00"));
        list("90", Some("90"));
    }

    #[test]
    fn ordered_collections_keep_their_flag_and_must_be_in_order() {
        list("93 c7 00 01 01 02", Some("93 c7 00 01 01 02"));
        list("93 c7 00 11 01 02", Some("93 c7 00 01 01 02")); // the index flag is not stored
        list("93 c7 00 10 02 01", Some("92 02 01"));
        list("93 c7 00 01 02 01", None);
        map(
            "82 c7 00 01 c0 a2 03 61 01",
            Some("82 c7 00 01 c0 a2 03 61 01"),
        );
        map("83 c7 00 01 c0 02 01 01 01", None);
        map("81 c7 00 01 c0", Some("81 c7 00 01 c0"));
    }

    #[test]
    fn unflagged_maps_are_stored_in_key_order() {
        map("82 02 c0 01 c3", Some("82 01 c3 02 c0"));
        map("82 a2 03 61 01 05 02", Some("82 05 02 a2 03 61 01"));
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        map("82 01 c0 01 c3", None); // equal keys
        map("81 c0 01", None); // nil as key
        map("81 90 01", None); // list as key
        map("81 01", None);
        list("81 01 01", None);
        list("91", None);
        list("91 01 01", None); // trailing byte
        list("91 c1", None);
        list("91 d4 ff 00", None); // wildcard
        list("92 01 d4 ff 01", None); // infinity
        list("91 a0", None); // a string without its type byte
        list("", None);
        list("01", None);
        list("dd ff ff ff ff 01", None); // counts that lie cost nothing
        map("df ff ff ff ff 01", None);
        let deep = [vec![0x91; DEPTH_MAX + 1], vec![0x01]].concat();
        assert!(normalise(&deep, Collection::List).is_err());
        assert!(normalise(&deep[1..], Collection::List).is_ok());
    }

    #[test]
    fn elements_have_one_order_across_types() {
        let ascending = [
            "c0",
            "c2",
            "c3",
            "ff",
            "00",
            "7f",
            "cd 01 00",
            "cf ff ff ff ff ff ff ff ff",
            "a1 03",
            "a2 03 61",
            "a2 03 62",
            "90",
            "91 01",
            "92 01 c0",
            "80",
            "81 05 01",
            "a2 04 00",
            "cb bf f0 00 00 00 00 00 00",
            "cb 3f f0 00 00 00 00 00 00",
            "a2 17 7b",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(&hex(a), &hex(b)), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_canonical_form_is_a_fixed_point(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), top in 0u8..32
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 + top;
            }
            for expected in [Collection::List, Collection::Map] {
                if let Ok(canonical) = normalise(&bytes, expected) {
                    let again = normalise(&canonical, expected).unwrap();
                    prop_assert_eq!(&*again, &*canonical);
                }
            }
        }
    }
}

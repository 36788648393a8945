//! Collections as the protocol packs them: validated and brought into one canonical form.
//!
//! Lists and maps arrive as MessagePack with three conventions of the Aerospike protocol: strings,
//! blobs and GeoJSON are all of the str or bin families with a leading particle-type byte; an ordered
//! collection begins with an ext element (in a map: an ext key with a nil value) whose type byte holds
//! the order flags; and `d4 ff 00`, `d4 ff 01` are the comparison-only values wildcard and infinity.
//!
//! [`normalise`] and [`storable`] are the only doors for what is stored: what they return has minimal
//! widths, sorted unflagged maps, unique keys of allowed types and nothing after its end, so all later
//! readers of stored collections may trust those properties. Nesting is limited to [`DEPTH_MAX`].
//! What is only compared with stored values comes in through [`comparable`].

pub mod elements;

use std::borrow::Cow;
use std::cmp::Ordering;

mod canonical;
mod order;
mod ranked;
mod read;
#[cfg(test)]
mod tests;
mod weigh;
mod write;

pub use order::compare;
pub(crate) use order::compare_total;
pub(crate) use ranked::Ranked;
use read::are_small_numbers;
pub use read::{Head, Reader};
pub(crate) use read::{SIZES, end_of};
pub use weigh::steps_to_take_in;
pub use write::{
    write_double, write_int, write_list_count, write_map_head, write_raw, write_typed,
};
pub(crate) use write::{write_list_head, write_raw_head};

/// Deepest nesting of collections that is accepted.
pub const DEPTH_MAX: usize = 128;

/// Order flags of a collection's ext element.
pub(crate) const FLAG_LIST_ORDERED: u8 = 0x01;
pub(crate) const FLAG_MAP_KEY_ORDERED: u8 = 0x01;
pub(crate) const FLAGS_MAP: u8 = 0x03;

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

/// What elements are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// They are stored: nothing may be in them that only means something in a comparison.
    Storing,
    /// They are compared with what is stored.
    Comparing,
}

type Result<T> = std::result::Result<T, InvalidCollection>;

/// Checks a whole list or map that a client wants stored and returns its canonical form, borrowed
/// when it already was canonical.
///
/// # Errors
/// Malformed or trailing bytes, the wrong kind at the top, wildcard or infinity anywhere, map keys
/// that are not integers, strings or blobs, duplicate keys, a collection flagged ordered that is not,
/// nesting beyond [`DEPTH_MAX`].
pub fn normalise(bytes: &[u8], expected: Collection) -> Result<Cow<'_, [u8]>> {
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
    copy_whole(bytes, Purpose::Storing)
}

/// Checks one element of any type that a client wants stored inside a collection, as [`normalise`]
/// does for whole ones.
///
/// # Errors
/// As [`normalise`].
pub fn storable(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    copy_whole(bytes, Purpose::Storing)
}

/// Brings one element that is only compared with stored ones into the form that those have. Wildcard
/// and infinity may be in it, its maps are sorted whatever their keys are, and order flags are not held
/// against its elements.
///
/// # Errors
/// Malformed or trailing bytes, nesting beyond [`DEPTH_MAX`].
pub fn comparable(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    copy_whole(bytes, Purpose::Comparing)
}

/// Whether an element is, or holds, a wildcard or infinity.
pub(crate) fn holds_wild(bytes: &[u8]) -> bool {
    let mut reader = Reader { rest: bytes };
    while let (false, Ok(head)) = (reader.rest.is_empty(), reader.head()) {
        if head.is_wildcard() || head.is_infinity() {
            return true;
        }
    }
    false
}

fn copy_whole(bytes: &[u8], purpose: Purpose) -> Result<Cow<'_, [u8]>> {
    if let [0..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff] = bytes {
        return Ok(Cow::Borrowed(bytes)); // the commonest elements by far
    }
    if canonical::is_canonical(bytes) {
        return Ok(Cow::Borrowed(bytes)); // in what is stored nothing is that could not be compared
    }
    let canonical = in_canonical_form(bytes, purpose)?;
    Ok(if canonical == bytes {
        Cow::Borrowed(bytes)
    } else {
        Cow::Owned(canonical)
    })
}

fn in_canonical_form(bytes: &[u8], purpose: Purpose) -> Result<Vec<u8>> {
    let mut reader = Reader { rest: bytes };
    let mut canonical = Vec::with_capacity(bytes.len());
    copy_element(&mut reader, &mut canonical, 0, purpose)?;
    if !reader.rest.is_empty() {
        return Err(InvalidCollection("bytes follow its end"));
    }
    Ok(canonical)
}

fn copy_element(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    purpose: Purpose,
) -> Result<()> {
    let whole = reader.rest;
    match reader.head()? {
        Head::Nil => out.push(0xc0),
        Head::Bool(value) => out.push(0xc2 + u8::from(value)),
        Head::Int { value, wide } => write_int(out, value, wide),
        Head::Double(value) => write_double(out, value),
        Head::Raw([]) if purpose == Purpose::Storing => {
            return Err(InvalidCollection("a string or blob without its type byte"));
        }
        Head::Raw(content) => write_raw(out, content),
        Head::List(count) => copy_list(reader, out, count, depth + 1, purpose)?,
        Head::Map(count) => copy_map(reader, out, count, depth + 1, purpose)?,
        Head::Ext { .. } if purpose == Purpose::Comparing => {
            out.extend_from_slice(&whole[..whole.len() - reader.rest.len()]);
        }
        Head::Ext { .. } => return Err(InvalidCollection("an ext that is no order flag")),
    }
    Ok(())
}

/// Takes the leading ext of a collection, if there is one, and returns its kind byte. A wildcard or
/// infinity in front is an element like others. Of a map its value, a nil, follows.
///
/// # Errors
/// When the bytes end early, or are no element.
pub fn leading_ext(reader: &mut Reader<'_>, count: u32) -> Result<Option<u8>> {
    if count == 0 {
        return Ok(None);
    }
    let mut ahead = *reader;
    match ahead.head()? {
        head if head.is_wildcard() || head.is_infinity() => Ok(None),
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

fn copy_list(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    count: u32,
    depth: usize,
    purpose: Purpose,
) -> Result<()> {
    check_depth(depth)?;
    let ext = leading_ext(reader, count)?;
    let count = count - u32::from(ext.is_some());
    let ordered = ext.is_some_and(|flags| flags & FLAG_LIST_ORDERED != 0);
    write_list_head(out, count as usize, ordered)?;
    let mut previous: Option<usize> = None;
    for _ in 0..count {
        let start = out.len();
        copy_element(reader, out, depth, purpose)?;
        if let (true, Some(before)) = (ordered && purpose == Purpose::Storing, previous)
            && compare(&out[before..start], &out[start..]) == Ordering::Greater
        {
            return Err(InvalidCollection("an ordered list out of order"));
        }
        previous = Some(start);
    }
    Ok(())
}

fn copy_map(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    count: u32,
    depth: usize,
    purpose: Purpose,
) -> Result<()> {
    check_depth(depth)?;
    let ext = leading_ext(reader, count)?;
    let count = count - u32::from(ext.is_some());
    if ext.is_some() && reader.head()? != Head::Nil {
        return Err(InvalidCollection("a map's order flag without its nil"));
    }
    let flags = match ext.map_or(0, |flags| flags & FLAGS_MAP) {
        flags if flags & FLAG_MAP_KEY_ORDERED == 0 => 0, // value order alone means nothing
        flags => flags,
    };
    write_map_head(out, count as usize, flags)?;
    let entries_start = out.len();
    let mut entries = Vec::new(); // (start, start of value, end) in `out`
    for _ in 0..count {
        let start = out.len();
        copy_key(reader, out, depth, purpose)?;
        let value = out.len();
        copy_element(reader, out, depth, purpose)?;
        entries.push((start, value, out.len()));
    }
    sort_entries(out, entries_start, &entries, flags != 0, purpose)
}

fn copy_key(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    purpose: Purpose,
) -> Result<()> {
    if purpose == Purpose::Storing && !is_key(reader.rest) {
        return Err(InvalidCollection(
            "a map key that is no integer, string or blob",
        ));
    }
    copy_element(reader, out, depth, purpose)
}

/// Whether an element may be a map's key.
pub(crate) fn is_key(bytes: &[u8]) -> bool {
    matches!(
        (Reader { rest: bytes }).head(),
        Ok(Head::Int { .. } | Head::Raw([3 | 4, ..]))
    )
}

/// Puts the entries of a map in key order; a map flagged ordered must have arrived so.
fn sort_entries(
    out: &mut Vec<u8>,
    from: usize,
    entries: &[(usize, usize, usize)],
    flagged: bool,
    purpose: Purpose,
) -> Result<()> {
    let by_key = |a: &(usize, usize, usize), b: &(usize, usize, usize)| {
        compare_total(&out[a.0..a.1], &out[b.0..b.1])
    };
    if entries.is_sorted_by(|a, b| by_key(a, b) == Ordering::Less) {
        return Ok(());
    }
    if flagged && purpose == Purpose::Storing {
        return Err(InvalidCollection(
            "an ordered map out of order or with equal keys",
        ));
    }
    let is_wild = |entry: &(usize, usize, usize)| holds_wild(&out[entry.0..entry.1]);
    if purpose == Purpose::Comparing && entries.iter().any(is_wild) {
        return Ok(()); // there is no order to sort by
    }
    let key = |at: usize| &out[entries[at].0..entries[at].1];
    let order = Ranked::of(entries.len(), key).into_ranks(0, entries.len());
    let entries: Vec<_> = order.iter().map(|at| entries[*at as usize]).collect();
    if purpose == Purpose::Storing
        && entries
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

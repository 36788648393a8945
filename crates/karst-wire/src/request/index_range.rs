//! What a query by a secondary index looks for: field 22.

use crate::field;
use crate::malformed::Malformed;

/// Particle types of what can be looked for.
const INTEGER: u8 = 1;
const STRING: u8 = 3;
const BLOB: u8 = 4;
const GEO_JSON: u8 = 23;

/// Strings and blobs are shorter than this.
const TEXT_BYTES_LIMIT: usize = 2048;

/// GeoJSON is shorter than this.
const GEO_BYTES_LIMIT: usize = 1 << 20;

/// One range of one bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRange<'a> {
    /// The bin; empty if the index is named in another way.
    pub bin: &'a [u8],
    /// What is looked for.
    pub target: Target<'a>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An integer between two, both included, the first not above the last.
    Integers {
        /// The least.
        first: i64,
        /// The greatest.
        last: i64,
    },
    /// A string.
    Text(&'a [u8]),
    /// A blob.
    Blob(&'a [u8]),
    /// GeoJSON: a region for points within it, a point for regions around it.
    Geo(&'a [u8]),
}

impl<'a> IndexRange<'a> {
    /// Reads the field of a query.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(data: &'a [u8]) -> Result<IndexRange<'a>, Malformed> {
        let mut rest = data;
        let [count, name_bytes] = *take(&mut rest, 2)? else {
            return Err(Malformed::IndexRange("it ends early"));
        };
        if count != 1 {
            return Err(Malformed::IndexRange("it is not one range"));
        }
        let bin = take(&mut rest, usize::from(name_bytes))?;
        if bin.len() > crate::op::BIN_NAME_BYTES_MAX {
            return Err(Malformed::IndexRange("the bin's name is too long"));
        }
        let particle = take(&mut rest, 1)?[0];
        let (first, last) = (sized(&mut rest)?, sized(&mut rest)?);
        let target = match particle {
            INTEGER => integers(first, last)?,
            STRING | BLOB if first.len() >= TEXT_BYTES_LIMIT => {
                return Err(Malformed::IndexRange("the value is too long"));
            }
            STRING => Target::Text(first),
            BLOB => Target::Blob(first),
            GEO_JSON if first.len() < GEO_BYTES_LIMIT => Target::Geo(first),
            _ => return Err(Malformed::IndexRange("no index has values of this type")),
        };
        Ok(IndexRange { bin, target })
    }
}

fn integers<'a>(first: &[u8], last: &[u8]) -> Result<Target<'a>, Malformed> {
    let (Ok(first), Ok(last)) = (first.try_into(), last.try_into()) else {
        return Err(Malformed::IndexRange("an integer has 8 bytes"));
    };
    let (first, last) = (i64::from_be_bytes(first), i64::from_be_bytes(last));
    match first <= last {
        true => Ok(Target::Integers { first, last }),
        false => Err(Malformed::IndexRange("it ends before it begins")),
    }
}

/// Takes bytes off the front.
fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Malformed> {
    let split = rest.split_at_checked(bytes);
    let (taken, after) = split.ok_or(Malformed::IndexRange("it ends early"))?;
    *rest = after;
    Ok(taken)
}

/// Takes a value behind its length.
fn sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let bytes = take(rest, 4)?;
    let bytes: [u8; 4] = bytes.try_into().expect("four were taken");
    take(rest, u32::from_be_bytes(bytes) as usize)
}

/// Which values of a bin are looked at: field 26.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// The value itself.
    Default,
    /// A list's elements.
    List,
    /// A map's keys.
    MapKeys,
    /// A map's values.
    MapValues,
}

impl IndexKind {
    pub(crate) fn read(data: Option<&[u8]>) -> Result<IndexKind, Malformed> {
        let id = field::INDEX_TYPE;
        match data {
            None | Some([0]) => Ok(IndexKind::Default),
            Some([1]) => Ok(IndexKind::List),
            Some([2]) => Ok(IndexKind::MapKeys),
            Some([3]) => Ok(IndexKind::MapValues),
            Some([_]) => Err(Malformed::IndexRange("no index is of this type")),
            Some(other) => Err(Malformed::FieldSize {
                id,
                bytes: other.len(),
                expected: 1,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(bin: &[u8], particle: u8, first: &[u8], last: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, bin.len() as u8];
        bytes.extend_from_slice(bin);
        bytes.push(particle);
        for value in [first, last] {
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn a_range_is_read_as_it_was_meant() {
        let bytes = range(b"age", 1, &(-3i64).to_be_bytes(), &9i64.to_be_bytes());
        let read = IndexRange::read(&bytes).unwrap();
        assert_eq!(read.bin, b"age");
        assert_eq!(read.target, Target::Integers { first: -3, last: 9 });
        let bytes = range(b"", 3, b"x", b"x");
        let read = IndexRange::read(&bytes).unwrap();
        assert_eq!((read.bin, read.target), (&b""[..], Target::Text(b"x")));
    }

    #[test]
    fn what_is_no_range_is_refused_wherever_it_ends() {
        let good = range(b"age", 1, &[0; 8], &[0; 8]);
        for bytes in 0..good.len() {
            assert!(IndexRange::read(&good[..bytes]).is_err(), "{bytes} bytes");
        }
        let one = 1i64.to_be_bytes();
        for bad in [
            range(b"age", 1, &one, &[0; 8]),
            range(b"age", 1, &[0; 4], &[0; 4]),
            range(b"age", 2, &[0; 8], &[0; 8]),
            range(b"age", 3, &[b'x'; TEXT_BYTES_LIMIT], b""),
            range(b"a name of sixteen", 1, &[0; 8], &[0; 8]),
            [&[2], &good[1..]].concat(),
        ] {
            let error = IndexRange::read(&bad).unwrap_err();
            assert_eq!(error.code(), crate::code::ResultCode::Parameter);
        }
    }
}

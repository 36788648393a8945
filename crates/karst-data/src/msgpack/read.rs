//! Reading packed elements from the front of a slice, and stepping over them without reading.

use super::{InvalidCollection, Result};

/// One packed element's head. Containers carry their element or pair count, others their content.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the names say the rest
pub enum Head<'a> {
    Nil,
    Bool(bool),
    /// Two's complement; `wide` marks an unsigned value above `i64::MAX`.
    Int {
        value: i64,
        wide: bool,
    },
    Double(f64),
    /// Text, bytes or GeoJSON: the type byte first.
    Raw(&'a [u8]),
    List(u32),
    Map(u32),
    /// Order flags, or a value that is only compared with.
    Ext {
        kind: u8,
        content: &'a [u8],
    },
}

impl Head<'_> {
    /// The value that is equal to every other.
    pub(crate) fn is_wildcard(&self) -> bool {
        matches!(
            self,
            Head::Ext {
                kind: 0xff,
                content: [0]
            }
        )
    }

    /// The value that is greater than every other.
    pub(crate) fn is_infinity(&self) -> bool {
        matches!(
            self,
            Head::Ext {
                kind: 0xff,
                content: [1]
            }
        )
    }
}

/// Reads elements from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// What was not read yet.
    pub rest: &'a [u8],
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

    /// The next element's head. Of collections the elements follow.
    ///
    /// # Errors
    /// When the bytes end early, or are no element.
    pub fn head(&mut self) -> Result<Head<'a>> {
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

    /// Takes the next element whole, without looking into it.
    pub(crate) fn element(&mut self) -> Result<&'a [u8]> {
        let end = end_of(self.rest, 0).ok_or(InvalidCollection("it ends early"))?;
        self.take(end)
    }
}

/// Whole sizes of the elements whose first byte tells it; 0 for those where more has to be read.
pub(crate) static SIZES: [u8; 256] = {
    let mut sizes = [0; 256];
    let mut first = 0;
    while first < 256 {
        sizes[first] = match first {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 1,
            0xa0..=0xbf => 1 + (first as u8 & 0x1f),
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 | 0xd4 => 3,
            0xd5 => 4,
            0xca | 0xce | 0xd2 => 5,
            0xd6 => 6,
            0xcb | 0xcf | 0xd3 => 9,
            0xd7 => 10,
            0xd8 => 18,
            _ => 0,
        };
        first += 1;
    }
    sizes
};

/// Where the element ends that begins at `at`; `None` if the bytes end before it does. Looks at one head
/// for each element inside and recurses into none.
#[inline]
pub(crate) fn end_of(bytes: &[u8], at: usize) -> Option<usize> {
    let size = SIZES[usize::from(*bytes.get(at)?)];
    if size == 0 {
        return end_of_long(bytes, at);
    }
    let end = at + usize::from(size);
    (end <= bytes.len()).then_some(end)
}

/// Whether eight numbers of one byte each begin at `at`: of those that fill lists many can be stepped over at once.
#[inline]
pub(super) fn are_small_numbers(bytes: &[u8], at: usize) -> bool {
    let eight = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    eight.is_some_and(|eight| u64::from_ne_bytes(*eight) & 0x8080_8080_8080_8080 == 0)
}

fn end_of_long(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut due = 1u64;
    while due > 0 {
        if due >= 8 && are_small_numbers(bytes, at) {
            (at, due) = (at + 8, due - 8);
            continue;
        }
        due -= 1;
        let first = *bytes.get(at)?;
        let size = SIZES[usize::from(first)];
        if size != 0 {
            at += usize::from(size);
            continue;
        }
        let (head, content, inside) = long_head(bytes, at, first)?;
        at = at.checked_add(head)?.checked_add(content)?;
        due = due.saturating_add(inside);
    }
    (at <= bytes.len()).then_some(at)
}

/// Sizes of head and content, and how many elements follow inside.
fn long_head(bytes: &[u8], at: usize, first: u8) -> Option<(usize, usize, u64)> {
    let length = |width: usize| {
        let digits = bytes.get(at + 1..at + 1 + width)?;
        Some(
            digits
                .iter()
                .fold(0u64, |sum, digit| sum << 8 | u64::from(*digit)),
        )
    };
    Some(match first {
        0x80..=0x8f => (1, 0, u64::from(first & 0x0f) * 2),
        0x90..=0x9f => (1, 0, u64::from(first & 0x0f)),
        0xc4 | 0xd9 => (2, length(1)? as usize, 0),
        0xc5 | 0xda => (3, length(2)? as usize, 0),
        0xc6 | 0xdb => (5, length(4)? as usize, 0),
        0xc7 => (3, length(1)? as usize, 0), // an ext has its kind byte beside its length
        0xc8 => (4, length(2)? as usize, 0),
        0xc9 => (6, length(4)? as usize, 0),
        0xdc => (3, 0, length(2)?),
        0xdd => (5, 0, length(4)?),
        0xde => (3, 0, length(2)? * 2),
        0xdf => (5, 0, length(4)? * 2),
        _ => return None, // c1 is no element; all others have a known size
    })
}

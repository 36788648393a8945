//! Whether packed elements are in canonical form as they came.
//!
//! Nearly all that clients send is, and then nothing need be made of it: each element is looked at once and none is
//! copied. Of what is in another form, or is nothing that could be stored, nothing is told but that; whoever brings it
//! into the form finds out what is wrong with it.

use std::cmp::Ordering;

use super::{
    DEPTH_MAX, FLAG_LIST_ORDERED, FLAG_MAP_KEY_ORDERED, FLAGS_MAP, SIZES, are_small_numbers,
    compare, compare_total, is_key,
};

/// Whole sizes of the elements whose first byte alone tells that they are in canonical form; 0 for all others.
pub(super) static SIZES_PLAIN: [u8; 256] = {
    let mut sizes = [0; 256];
    let mut first = 0;
    while first < 256 {
        sizes[first] = match first {
            0x00..=0x7f | 0xa1..=0xbf | 0xc0 | 0xc2 | 0xc3 | 0xcb | 0xe0..=0xff => SIZES[first],
            _ => 0,
        };
        first += 1;
    }
    sizes
};

/// Whether some bytes are exactly one element that may be stored, in canonical form.
pub(super) fn is_canonical(bytes: &[u8]) -> bool {
    Scan { bytes }.end_of(0, 0) == Some(bytes.len())
}

/// The end of a number or text that begins at `at`, if that is in canonical form and its first byte does not tell it.
pub(super) fn end_of_single(bytes: &[u8], at: usize) -> Option<usize> {
    Scan { bytes }.end_of_single(at)
}

/// Where elements end that are in canonical form; `None` of those that are not, or end too early.
struct Scan<'a> {
    bytes: &'a [u8],
}

impl Scan<'_> {
    #[inline]
    fn end_of(&self, at: usize, depth: usize) -> Option<usize> {
        let size = SIZES_PLAIN[usize::from(*self.bytes.get(at)?)];
        if size == 0 {
            return self.end_of_other(at, depth);
        }
        self.within(at + usize::from(size))
    }

    fn end_of_other(&self, at: usize, depth: usize) -> Option<usize> {
        let first = *self.bytes.get(at)?;
        let counted = |width: usize, least: u64| {
            let count = self.number(at, width).filter(|count| *count >= least)?;
            Some((at + 1 + width, count))
        };
        let (is_map, (from, count)) = match first {
            0x80..=0x8f => (true, (at + 1, u64::from(first & 0x0f))),
            0x90..=0x9f => (false, (at + 1, u64::from(first & 0x0f))),
            0xdc => (false, counted(2, 16)?),
            0xdd => (false, counted(4, 0x1_0000)?),
            0xde => (true, counted(2, 16)?),
            0xdf => (true, counted(4, 0x1_0000)?),
            _ => return self.end_of_single(at),
        };
        match is_map {
            true => self.end_of_pairs(from, count, depth + 1),
            false => self.end_of_elements(from, count, depth + 1),
        }
    }

    /// The end of a number or text whose first byte does not tell it.
    fn end_of_single(&self, at: usize) -> Option<usize> {
        let raw = |width: usize, least: u64| {
            let length = self.number(at, width).filter(|length| *length >= least)?;
            self.within(at + 1 + width + length as usize) // of at most 32 bits
        };
        let unsigned = |width: usize, least: u64| {
            self.number(at, width).filter(|number| *number >= least)?;
            Some(at + 1 + width)
        };
        let signed = |width: usize, below: i64| {
            let unused = 64 - 8 * width as u32;
            let number = (self.number(at, width)? << unused) as i64 >> unused;
            (number < below).then_some(at + 1 + width)
        };
        match *self.bytes.get(at)? {
            0xcc => unsigned(1, 0x80),
            0xcd => unsigned(2, 0x100),
            0xce => unsigned(4, 0x1_0000),
            0xcf => unsigned(8, 0x1_0000_0000),
            0xd0 => signed(1, -32),
            0xd1 => signed(2, i8::MIN.into()),
            0xd2 => signed(4, i16::MIN.into()),
            0xd3 => signed(8, i32::MIN.into()),
            0xd9 => raw(1, 32),
            0xda => raw(2, 0x100),
            0xdb => raw(4, 0x1_0000),
            _ => None, // in another form, or nothing that is stored
        }
    }

    /// The place itself, unless the bytes end before it.
    fn within(&self, end: usize) -> Option<usize> {
        (end <= self.bytes.len()).then_some(end)
    }

    /// The big-endian number of so many bytes behind the first byte of an element.
    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let digits = self.bytes.get(at + 1..at + 1 + width)?;
        let mut wide = [0; 8];
        wide[8 - width..].copy_from_slice(digits);
        Some(u64::from_be_bytes(wide))
    }

    fn end_of_elements(&self, from: usize, count: u64, depth: usize) -> Option<usize> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut at = from;
        if count == 0 || self.bytes.get(at) != Some(&0xc7) {
            return self.end_of_unordered(at, count, depth);
        }
        let flags = self.bytes.get(at..at + 3)?;
        if flags != [0xc7, 0, FLAG_LIST_ORDERED] {
            return None;
        }
        at += flags.len();
        let mut before: Option<&[u8]> = None;
        for _ in 1..count {
            let end = self.end_of(at, depth)?;
            let element = &self.bytes[at..end];
            if before.is_some_and(|before| compare(before, element) == Ordering::Greater) {
                return None;
            }
            (before, at) = (Some(element), end);
        }
        Some(at)
    }

    /// Elements that may be in any order.
    fn end_of_unordered(&self, from: usize, count: u64, depth: usize) -> Option<usize> {
        let (mut at, mut left) = (from, count);
        while left > 0 {
            if left >= 8 && are_small_numbers(self.bytes, at) {
                (at, left) = (at + 8, left - 8);
                continue;
            }
            let size = SIZES_PLAIN[usize::from(*self.bytes.get(at)?)];
            at = match size {
                0 => self.end_of_other(at, depth)?,
                size => at + usize::from(size),
            };
            left -= 1;
        }
        self.within(at)
    }

    fn end_of_pairs(&self, from: usize, count: u64, depth: usize) -> Option<usize> {
        if depth > DEPTH_MAX {
            return None;
        }
        let (mut at, mut left) = (from, count);
        if left > 0 && self.bytes.get(at) == Some(&0xc7) {
            let flags = self.bytes.get(at..at + 4)?;
            let [0xc7, 0, order, 0xc0] = flags else {
                return None;
            };
            if order & !FLAGS_MAP != 0 || order & FLAG_MAP_KEY_ORDERED == 0 {
                return None;
            }
            (at, left) = (at + flags.len(), left - 1);
        }
        let mut before: Option<&[u8]> = None;
        for _ in 0..left {
            let value = self.end_of(at, depth)?;
            let key = &self.bytes[at..value];
            let follows = |before| compare_total(before, key) == Ordering::Less;
            if !is_key(key) || !before.is_none_or(follows) {
                return None;
            }
            (before, at) = (Some(key), self.end_of(value, depth)?);
        }
        Some(at)
    }
}

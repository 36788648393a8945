//! What bits say.

use std::borrow::Cow;

use super::window::{chunks, load};
use super::{BitRead, Range, ReadKind};
use crate::call::CallError;
use crate::value::{ParticleType, Value};

impl Range {
    /// Where the range begins in a blob of `length` bits or bytes.
    pub(super) fn start(&self, length: u64) -> Result<u64, CallError> {
        start(self.offset, length)
    }
}

/// Where an offset points in a blob of `length` bits or bytes.
pub(super) fn start(offset: i64, length: u64) -> Result<u64, CallError> {
    if offset >= 0 {
        return Ok(offset as u64);
    }
    length
        .checked_sub(offset.unsigned_abs())
        .ok_or(CallError::Parameter(
            "an offset from the end reaches beyond the start",
        ))
}

impl BitRead {
    /// Steps that reading from a blob of so many bytes takes.
    pub fn steps(&self, blob_bytes: usize) -> u64 {
        match self.kind {
            ReadKind::GetInt { .. } => 10,
            ReadKind::Get | ReadKind::Count | ReadKind::ScanLeft(_) | ReadKind::ScanRight(_) => {
                10 + (self.range.size / 8).min(blob_bytes as u64)
            }
        }
    }

    /// Reads from a bin's value.
    ///
    /// # Errors
    /// It is no blob, or the range is not inside.
    pub fn read(&self, value: &Value<'_>) -> Result<Value<'static>, CallError> {
        if value.particle != ParticleType::Blob {
            return Err(CallError::Incompatible(value.particle));
        }
        self.read_bytes(&value.bytes)
    }

    fn read_bytes(&self, blob: &[u8]) -> Result<Value<'static>, CallError> {
        let bits = blob.len() as u64 * 8;
        let start = self.range.start(bits)?;
        let size = self.range.size;
        if start + size > bits {
            return Err(CallError::NotApplicable("the range is not inside the blob"));
        }
        Ok(match self.kind {
            ReadKind::Get => Value {
                particle: ParticleType::Blob,
                bytes: Cow::Owned(copy(blob, start, size)),
            },
            ReadKind::Count => {
                let ones = |(at, count)| i64::from(load(blob, at, count).count_ones());
                Value::integer(chunks(start, size).map(ones).sum())
            }
            ReadKind::ScanLeft(wanted) => Value::integer(scan_left(blob, start, size, wanted)),
            ReadKind::ScanRight(wanted) => Value::integer(scan_right(blob, start, size, wanted)),
            ReadKind::GetInt { signed } => {
                let number = load(blob, start, size as u32); // at most 64
                let unused = 64 - size as u32;
                Value::integer(if signed {
                    ((number << unused) as i64) >> unused
                } else {
                    number as i64
                })
            }
        })
    }
}

/// The bits of a range from the left, the rest of the last byte zero.
fn copy(blob: &[u8], start: u64, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(size.div_ceil(8) as usize);
    for (at, count) in chunks(start, size) {
        let from_left = load(blob, at, count) << (64 - count);
        out.extend_from_slice(&from_left.to_be_bytes()[..count.div_ceil(8) as usize]);
    }
    out
}

/// The wanted bits of a chunk as ones, from the left of a word.
fn wanted_bits(blob: &[u8], (at, count): (u64, u32), wanted: bool) -> u64 {
    let bits = load(blob, at, count);
    let bits = if wanted { bits } else { !bits };
    bits << (64 - count)
}

fn scan_left(blob: &[u8], start: u64, size: u64, wanted: bool) -> i64 {
    chunks(start, size)
        .map(|chunk| (chunk.0, wanted_bits(blob, chunk, wanted)))
        .find(|(_, bits)| *bits != 0)
        .map_or(-1, |(at, bits)| {
            (at - start) as i64 + i64::from(bits.leading_zeros())
        })
}

fn scan_right(blob: &[u8], start: u64, size: u64, wanted: bool) -> i64 {
    chunks(start, size)
        .rev()
        .map(|chunk| (chunk.0, wanted_bits(blob, chunk, wanted)))
        .find(|(_, bits)| *bits != 0)
        .map_or(-1, |(at, bits)| {
            (at - start) as i64 + 63 - i64::from(bits.trailing_zeros())
        })
}

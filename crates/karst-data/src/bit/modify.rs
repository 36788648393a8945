//! How bits change.

use std::borrow::Cow;

use super::read::start;
use super::window::{chunks, load, store};
use super::{Addend, BLOB_BYTES_MAX, BitModify, Combine, ModifyKind, Overflow, Range, Resize};
use crate::call::{CallError, WriteFlags};
use crate::flat::PAYLOAD_BYTES_MAX;
use crate::value::{ParticleType, Value};
use crate::work::of_bytes;

const OUTSIDE: CallError = CallError::NotApplicable("the range is not inside the blob");

/// What a change makes of a blob: nothing if it is to stay as it is.
type Changed = Result<Option<Vec<u8>>, CallError>;

impl BitModify<'_> {
    /// Steps that changing a blob of so many bytes takes: a copy, and a look at all bits that change.
    pub fn steps(&self, blob_bytes: usize) -> u64 {
        let copied = of_bytes(blob_bytes);
        let within = |range: Range| (range.size / 8).min(blob_bytes as u64);
        match &self.kind {
            ModifyKind::Resize { bytes, .. } => copied + bytes / 16,
            ModifyKind::Insert { buffer, .. } => copied + of_bytes(buffer.len()),
            ModifyKind::Remove(_) | ModifyKind::Add(..) | ModifyKind::SetInt(..) => copied,
            ModifyKind::Combine(_, range, _)
            | ModifyKind::Not(range)
            | ModifyKind::ShiftLeft(range, _)
            | ModifyKind::ShiftRight(range, _) => copied + within(*range),
        }
    }

    /// The bin's value afterwards. `None` if it stays as it is, or if there is still none.
    ///
    /// # Errors
    /// See [`CallError`]. Nothing was changed then.
    pub fn modify(&self, current: Option<&Value<'_>>) -> Result<Option<Value<'static>>, CallError> {
        let blob = match current {
            Some(_) if self.flags.has(WriteFlags::CREATE_ONLY) => {
                return self.flags.unless_no_fail(CallError::BinExists);
            }
            Some(value) if value.particle != ParticleType::Blob => {
                return Err(CallError::Incompatible(value.particle));
            }
            Some(value) => Some(&*value.bytes),
            None if self.flags.has(WriteFlags::UPDATE_ONLY) || !self.creates() => {
                return self.flags.unless_no_fail(CallError::BinNotFound);
            }
            None => None,
        };
        let changed = self.changed(blob)?;
        Ok(changed.map(|bytes| Value {
            particle: ParticleType::Blob,
            bytes: Cow::Owned(bytes),
        }))
    }

    fn creates(&self) -> bool {
        matches!(
            self.kind,
            ModifyKind::Resize { .. } | ModifyKind::Insert { .. }
        )
    }

    fn changed(&self, blob: Option<&[u8]>) -> Changed {
        let bytes = blob.unwrap_or_default();
        match self.kind {
            ModifyKind::Resize { bytes, resize } => self.resized(blob, bytes, resize),
            ModifyKind::Insert { offset, ref buffer } => inserted(bytes, offset, buffer),
            ModifyKind::Remove(range) => self.removed(bytes, range),
            ModifyKind::Combine(combine, range, ref buffer) => {
                self.within(bytes, range, |out, start, size| {
                    combine_bits(out, start, size, combine, buffer);
                })
            }
            ModifyKind::Not(range) => self.within(bytes, range, |out, start, size| {
                for (at, count) in chunks(start, size) {
                    let bits = load(out, at, count);
                    store(out, at, count, !bits);
                }
            }),
            ModifyKind::ShiftLeft(range, by) => self.within(bytes, range, |out, start, size| {
                shift_left(out, start, size, by.min(size));
            }),
            ModifyKind::ShiftRight(range, by) => self.within(bytes, range, |out, start, size| {
                shift_right(out, start, size, by.min(size));
            }),
            ModifyKind::Add(range, addend) => {
                self.number(bytes, range, |old, bits| addend.sum(old, bits))
            }
            ModifyKind::SetInt(range, value) => self.number(bytes, range, |_, _| Some(value)),
        }
    }

    fn resized(&self, blob: Option<&[u8]>, bytes: u64, resize: Resize) -> Changed {
        let old = blob.unwrap_or_default();
        let (new_len, old_len) = (bytes as usize, old.len());
        if blob.is_some() && new_len == old_len {
            return Ok(None);
        }
        if resize.grow_only && new_len < old_len || resize.shrink_only && new_len > old_len {
            let refused = CallError::Parameter("a blob of that size would have to grow or shrink");
            return self.flags.unless_no_fail(refused);
        }
        check_size(bytes)?;
        let kept = new_len.min(old_len);
        let mut out = vec![0; new_len];
        if resize.from_front {
            out[new_len - kept..].copy_from_slice(&old[old_len - kept..]);
        } else {
            out[..kept].copy_from_slice(&old[..kept]);
        }
        Ok(Some(out))
    }

    fn removed(&self, blob: &[u8], range: Range) -> Changed {
        let length = blob.len() as u64;
        let start = range.start(length)?;
        let outside = CallError::Parameter("the range is not inside the blob");
        let partial = self.flags.has(WriteFlags::PARTIAL);
        if start >= length || start + range.size > length && !partial {
            return self.flags.unless_no_fail(outside);
        }
        let end = (start + range.size).min(length);
        Ok(Some(
            [&blob[..start as usize], &blob[end as usize..]].concat(),
        ))
    }

    /// Changes the bits of a range, of which what is outside is left out if that was allowed.
    fn within(
        &self,
        blob: &[u8],
        range: Range,
        change: impl FnOnce(&mut [u8], u64, u64),
    ) -> Changed {
        let bits = blob.len() as u64 * 8;
        let start = range.start(bits)?;
        let partial = self.flags.has(WriteFlags::PARTIAL);
        if start >= bits || start + range.size > bits && !partial {
            return self.flags.unless_no_fail(OUTSIDE);
        }
        let mut out = blob.to_vec();
        change(&mut out, start, range.size.min(bits - start));
        Ok(Some(out))
    }

    /// Changes a number of up to 64 bits, which must be inside. `None` of `change` is an overflow.
    fn number(
        &self,
        blob: &[u8],
        range: Range,
        change: impl FnOnce(u64, u32) -> Option<u64>,
    ) -> Changed {
        let bits = blob.len() as u64 * 8;
        let start = range.start(bits)?;
        if start + range.size > bits {
            return self.flags.unless_no_fail(OUTSIDE);
        }
        let count = range.size as u32; // at most 64
        let Some(new) = change(load(blob, start, count), count) else {
            let overflow = CallError::NotApplicable("the sum does not fit its bits");
            return self.flags.unless_no_fail(overflow);
        };
        let mut out = blob.to_vec();
        store(&mut out, start, count, new);
        Ok(Some(out))
    }
}

/// Refuses a blob that could not be stored before there is memory for it.
fn check_size(bytes: u64) -> Result<(), CallError> {
    if bytes >= BLOB_BYTES_MAX {
        return Err(CallError::Parameter(
            "the blob would grow beyond what blobs may be",
        ));
    }
    if bytes > PAYLOAD_BYTES_MAX as u64 {
        return Err(CallError::TooBig(bytes));
    }
    Ok(())
}

fn inserted(blob: &[u8], offset: i64, buffer: &[u8]) -> Changed {
    let start = start(offset, blob.len() as u64)?;
    let length = start.max(blob.len() as u64) + buffer.len() as u64;
    check_size(length)?;
    let start = start as usize;
    let (before, after) = blob.split_at(start.min(blob.len()));
    let mut out = vec![0; length as usize];
    out[..before.len()].copy_from_slice(before);
    out[start..start + buffer.len()].copy_from_slice(buffer);
    out[start + buffer.len()..].copy_from_slice(after);
    Ok(Some(out))
}

fn combine_bits(out: &mut [u8], start: u64, size: u64, combine: Combine, buffer: &[u8]) {
    for (at, count) in chunks(start, size) {
        let new = load(buffer, at - start, count);
        let bits = match combine {
            Combine::Set => new,
            Combine::Or => load(out, at, count) | new,
            Combine::Xor => load(out, at, count) ^ new,
            Combine::And => load(out, at, count) & new,
        };
        store(out, at, count, bits);
    }
}

fn clear(out: &mut [u8], start: u64, size: u64) {
    for (at, count) in chunks(start, size) {
        store(out, at, count, 0);
    }
}

fn shift_left(out: &mut [u8], start: u64, size: u64, by: u64) {
    for (at, count) in chunks(start, size - by) {
        let bits = load(out, at + by, count);
        store(out, at, count, bits);
    }
    clear(out, start + size - by, by);
}

fn shift_right(out: &mut [u8], start: u64, size: u64, by: u64) {
    for (at, count) in chunks(start + by, size - by).rev() {
        let bits = load(out, at - by, count);
        store(out, at, count, bits);
    }
    clear(out, start, by);
}

impl Addend {
    /// The sum in its low `bits` bits; `None` if it does not fit and that is to fail.
    fn sum(&self, old: u64, bits: u32) -> Option<u64> {
        let unused = 64 - bits;
        let mask = u64::MAX >> unused;
        let value = self.value & mask;
        let value = if self.subtract {
            value.wrapping_neg() & mask
        } else {
            value
        };
        let sum = old.wrapping_add(value) & mask;
        let limit = if self.signed {
            signed_limit(old, value, sum, unused)
        } else {
            self.unsigned_limit(old, mask)
        };
        match (limit, self.overflow) {
            (None, _) | (_, Overflow::Wrap) => Some(sum),
            (Some(limit), Overflow::Saturate) => Some(limit),
            (Some(_), Overflow::Fail) => None,
        }
    }

    /// What an unsigned sum is held at, if it does not fit.
    fn unsigned_limit(&self, old: u64, mask: u64) -> Option<u64> {
        let value = self.value & mask;
        if self.subtract {
            (value > old).then_some(0)
        } else {
            (value > mask - old).then_some(mask)
        }
    }
}

/// What a signed sum is held at, if it does not fit. As in the reference, two negatives whose sum wraps to
/// zero count as fitting, and a subtraction is the addition of the negative, whatever that wraps to.
fn signed_limit(old: u64, value: u64, sum: u64, unused: u32) -> Option<u64> {
    let number = |bits: u64| (bits << unused) as i64;
    let (old, value, sum) = (number(old), number(value), number(sum));
    let most = u64::MAX >> unused >> 1;
    if old > 0 && value > 0 && sum < 0 {
        Some(most)
    } else if old < 0 && value < 0 && sum > 0 {
        Some(most + 1)
    } else {
        None
    }
}

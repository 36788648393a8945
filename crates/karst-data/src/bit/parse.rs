//! Bit calls as clients send them.

use std::borrow::Cow;

use super::{
    Addend, BLOB_BYTES_MAX, BitModify, BitRead, Combine, ModifyKind, Overflow, Range, ReadKind,
    Resize,
};
use crate::call::{Arguments, CallError, WriteFlags};
use crate::packed::Cursor;

const BLOB_BITS_MAX: u64 = BLOB_BYTES_MAX * 8;

/// The widest number that is added to.
const NUMBER_BITS_MAX: u64 = 64;

const CREATE: u8 = WriteFlags::CREATE_ONLY | WriteFlags::UPDATE_ONLY | WriteFlags::NO_FAIL;
const CHANGE: u8 = WriteFlags::UPDATE_ONLY | WriteFlags::NO_FAIL;
const CHANGE_PART: u8 = CHANGE | WriteFlags::PARTIAL;

/// Whether a code is that of a call that reads.
pub(crate) fn is_read_code(code: i64) -> bool {
    (50..=54).contains(&code)
}

/// Whether a code is that of a call that changes.
pub(crate) fn is_modify_code(code: i64) -> bool {
    (0..=12).contains(&code)
}

impl BitRead {
    /// Parses a call.
    ///
    /// # Errors
    /// [`CallError::Parameter`] alone.
    pub fn parse(payload: &[u8]) -> Result<BitRead, CallError> {
        let (code, mut arguments) = Arguments::open(payload)?;
        match code {
            50 | 51 => arguments.expect(2, 2)?,
            52 | 53 => arguments.expect(3, 3)?,
            54 => arguments.expect(2, 3)?,
            _ => return Err(CallError::Parameter("no call on bits that reads")),
        }
        let most = if code == 54 {
            NUMBER_BITS_MAX
        } else {
            BLOB_BITS_MAX
        };
        let range = range(&mut arguments, BLOB_BITS_MAX, most)?;
        let kind = match code {
            50 => ReadKind::Get,
            51 => ReadKind::Count,
            52 => ReadKind::ScanLeft(arguments.take(Cursor::bool)?),
            53 => ReadKind::ScanRight(arguments.take(Cursor::bool)?),
            _ => ReadKind::GetInt {
                signed: match arguments.optional_int(0)? {
                    0 => false,
                    1 => true,
                    _ => return Err(CallError::Parameter("flags that the call does not have")),
                },
            },
        };
        arguments.close()?;
        Ok(BitRead { range, kind })
    }
}

impl<'a> BitModify<'a> {
    /// Parses a call.
    ///
    /// # Errors
    /// [`CallError::Parameter`] alone.
    pub fn parse(payload: &'a [u8]) -> Result<BitModify<'a>, CallError> {
        let (code, mut arguments) = Arguments::open(payload)?;
        let call = match code {
            0 => resize(&mut arguments)?,
            1 => insert(&mut arguments)?,
            2 => {
                arguments.expect(2, 3)?;
                let range = range(&mut arguments, BLOB_BYTES_MAX, BLOB_BYTES_MAX)?;
                flagged(&mut arguments, ModifyKind::Remove(range), CHANGE_PART)?
            }
            3 => combine(&mut arguments, Combine::Set)?,
            4 => combine(&mut arguments, Combine::Or)?,
            5 => combine(&mut arguments, Combine::Xor)?,
            6 => combine(&mut arguments, Combine::And)?,
            7 => {
                arguments.expect(2, 3)?;
                let range = range(&mut arguments, BLOB_BITS_MAX, BLOB_BITS_MAX)?;
                flagged(&mut arguments, ModifyKind::Not(range), CHANGE_PART)?
            }
            8 | 9 => shift(&mut arguments, code == 8)?,
            10 | 11 => add(&mut arguments, code == 11)?,
            12 => {
                arguments.expect(3, 4)?;
                let range = range(&mut arguments, BLOB_BITS_MAX, NUMBER_BITS_MAX)?;
                let value = arguments.take(Cursor::int)? as u64; // two's complement
                flagged(&mut arguments, ModifyKind::SetInt(range, value), CHANGE)?
            }
            _ => return Err(CallError::Parameter("no call on bits that changes them")),
        };
        arguments.close()?;
        Ok(call)
    }
}

/// An offset and a size that is not zero.
fn range(
    arguments: &mut Arguments<'_>,
    offset_max: u64,
    size_max: u64,
) -> Result<Range, CallError> {
    let offset = offset(arguments, offset_max)?;
    match arguments.take(|cursor| cursor.uint(size_max))? {
        0 => Err(CallError::Parameter("a range of no bits")),
        size => Ok(Range { offset, size }),
    }
}

fn offset(arguments: &mut Arguments<'_>, most: u64) -> Result<i64, CallError> {
    let offset = arguments.take(Cursor::int)?;
    if offset.unsigned_abs() > most {
        return Err(CallError::Parameter("an offset larger than blobs are"));
    }
    Ok(offset)
}

/// The call, with the flags that come next.
fn flagged<'a>(
    arguments: &mut Arguments<'a>,
    kind: ModifyKind<'a>,
    allowed: u8,
) -> Result<BitModify<'a>, CallError> {
    let flags = arguments.flags(allowed)?;
    Ok(BitModify { kind, flags })
}

fn resize<'a>(arguments: &mut Arguments<'a>) -> Result<BitModify<'a>, CallError> {
    arguments.expect(1, 3)?;
    let bytes = arguments.take(|cursor| cursor.uint(BLOB_BYTES_MAX))?;
    let flags = arguments.flags(CREATE)?;
    let how = arguments.optional_int(0)?;
    if !(0..6).contains(&how) {
        // 6 and 7 both only grow and only shrink
        return Err(CallError::Parameter("flags that the call does not have"));
    }
    let resize = Resize {
        from_front: how & 1 != 0,
        grow_only: how & 2 != 0,
        shrink_only: how & 4 != 0,
    };
    let kind = ModifyKind::Resize { bytes, resize };
    Ok(BitModify { kind, flags })
}

/// A blob argument without its type byte, which says nothing here.
fn buffer<'a>(arguments: &mut Arguments<'a>) -> Result<Cow<'a, [u8]>, CallError> {
    match arguments.take(Cursor::raw)? {
        [_, content @ ..] if !content.is_empty() => Ok(Cow::Borrowed(content)),
        _ => Err(CallError::Parameter("an empty buffer")),
    }
}

fn insert<'a>(arguments: &mut Arguments<'a>) -> Result<BitModify<'a>, CallError> {
    arguments.expect(2, 3)?;
    let offset = offset(arguments, BLOB_BYTES_MAX)?;
    let buffer = buffer(arguments)?;
    flagged(arguments, ModifyKind::Insert { offset, buffer }, CREATE)
}

fn combine<'a>(
    arguments: &mut Arguments<'a>,
    combine: Combine,
) -> Result<BitModify<'a>, CallError> {
    arguments.expect(3, 4)?;
    let range = range(arguments, BLOB_BITS_MAX, BLOB_BITS_MAX)?;
    let buffer = buffer(arguments)?;
    if (buffer.len() as u64) < range.size.div_ceil(8) {
        return Err(CallError::Parameter(
            "the buffer holds fewer bits than are asked for",
        ));
    }
    flagged(
        arguments,
        ModifyKind::Combine(combine, range, buffer),
        CHANGE_PART,
    )
}

fn shift<'a>(arguments: &mut Arguments<'a>, left: bool) -> Result<BitModify<'a>, CallError> {
    arguments.expect(3, 4)?;
    let range = range(arguments, BLOB_BITS_MAX, BLOB_BITS_MAX)?;
    let by = arguments.take(|cursor| cursor.uint(BLOB_BITS_MAX))?;
    let kind = if left {
        ModifyKind::ShiftLeft(range, by)
    } else {
        ModifyKind::ShiftRight(range, by)
    };
    flagged(arguments, kind, CHANGE_PART)
}

fn add<'a>(arguments: &mut Arguments<'a>, subtract: bool) -> Result<BitModify<'a>, CallError> {
    arguments.expect(3, 5)?;
    let range = range(arguments, BLOB_BITS_MAX, NUMBER_BITS_MAX)?;
    let value = arguments.take(Cursor::int)? as u64; // two's complement
    let flags = arguments.flags(CHANGE)?;
    let how = arguments.optional_int(0)?;
    let overflow = match how & !1 {
        0 => Overflow::Fail,
        2 => Overflow::Saturate,
        4 => Overflow::Wrap,
        _ => return Err(CallError::Parameter("flags that the call does not have")),
    };
    let addend = Addend {
        value,
        subtract,
        signed: how & 1 != 0,
        overflow,
    };
    let kind = ModifyKind::Add(range, addend);
    Ok(BitModify { kind, flags })
}

//! Operations on the bits of blobs.
//!
//! Bit 0 is the most significant bit of byte 0. A call is parsed once ([`BitRead::parse`],
//! [`BitModify::parse`]) and then works on bytes: those of a bin, or of a value inside an expression.
//! Offsets may count back from the end, so ranges are found only when the blob is there.
//!
//! Nothing is ever read or written outside the range that a call names; `window` alone touches bits.

use std::borrow::Cow;

mod modify;
mod parse;
mod read;
#[cfg(test)]
mod tests;
pub(crate) mod window;

pub(crate) use self::parse::{is_modify_code, is_read_code};

/// No blob grows to this many bytes, and no argument names more.
pub const BLOB_BYTES_MAX: u64 = 128 << 20;

/// A range of a blob, in bits or in bytes as the call has it. A negative offset counts from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    offset: i64,
    size: u64,
}

/// A call that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRead {
    range: Range,
    kind: ReadKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadKind {
    /// The bits, from the left, the rest of the last byte zero.
    Get,
    /// How many are set.
    Count,
    /// Where the first such bit is.
    ScanLeft(bool),
    /// Where the last such bit is.
    ScanRight(bool),
    /// The bits as a number.
    GetInt { signed: bool },
}

/// A call that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitModify<'a> {
    kind: ModifyKind<'a>,
    flags: crate::call::WriteFlags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ModifyKind<'a> {
    Resize { bytes: u64, resize: Resize },
    Insert { offset: i64, buffer: Cow<'a, [u8]> },
    Remove(Range),
    Combine(Combine, Range, Cow<'a, [u8]>),
    Not(Range),
    ShiftLeft(Range, u64),
    ShiftRight(Range, u64),
    Add(Range, Addend),
    SetInt(Range, u64),
}

impl BitModify<'_> {
    /// The same call, kept without its request.
    pub(crate) fn into_owned(self) -> BitModify<'static> {
        let owned = |buffer: Cow<'_, [u8]>| Cow::Owned(buffer.into_owned());
        let kind = match self.kind {
            ModifyKind::Resize { bytes, resize } => ModifyKind::Resize { bytes, resize },
            ModifyKind::Insert { offset, buffer } => ModifyKind::Insert {
                offset,
                buffer: owned(buffer),
            },
            ModifyKind::Remove(range) => ModifyKind::Remove(range),
            ModifyKind::Combine(combine, range, buffer) => {
                ModifyKind::Combine(combine, range, owned(buffer))
            }
            ModifyKind::Not(range) => ModifyKind::Not(range),
            ModifyKind::ShiftLeft(range, count) => ModifyKind::ShiftLeft(range, count),
            ModifyKind::ShiftRight(range, count) => ModifyKind::ShiftRight(range, count),
            ModifyKind::Add(range, addend) => ModifyKind::Add(range, addend),
            ModifyKind::SetInt(range, value) => ModifyKind::SetInt(range, value),
        };
        BitModify {
            kind,
            flags: self.flags,
        }
    }
}

/// Which bits of two win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    Set,
    Or,
    Xor,
    And,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resize {
    from_front: bool,
    grow_only: bool,
    shrink_only: bool,
}

/// What is added to a number of up to 64 bits, and what happens where it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Addend {
    value: u64,
    subtract: bool,
    signed: bool,
    overflow: Overflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Fail,
    Saturate,
    Wrap,
}

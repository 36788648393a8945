//! The operations of a message: what is to be done, bin by bin.
//!
//! ```text
//! op size u32 | code u8 | particle u8 | flags u8 | name size u8 | name | [update time u64] | value
//! ```
//!
//! All of them are walked once when the message is parsed, so that walking them again while the
//! request is carried out cannot fail. Nothing is copied and nothing allocated.

use crate::malformed::Malformed;
use crate::op::{BIN_NAME_BYTES_MAX, OPS_MAX, OpCode};

/// Bytes of an operation that its size does not count: the size itself.
const SIZE_BYTES: usize = 4;

/// Bytes of an operation between its size and its name.
const FIXED_BYTES: usize = 4;

/// Flag of an operation shipped from another cluster: eight bytes of update time follow the name.
const HAS_UPDATE_TIME: u8 = 0x01;

/// Bytes of that update time.
const UPDATE_TIME_BYTES: usize = 8;

/// One operation on one bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// What to do.
    pub code: OpCode,
    /// Type of the value, one of [`crate::particle`].
    pub particle: u8,
    /// Bin name: at most 15 bytes, none of them NUL; empty where the operation has no bin.
    pub name: &'a [u8],
    /// The value. The update time of a shipped operation is not part of it.
    pub value: &'a [u8],
}

/// The operations of a message, each known to be well formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ops<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Ops<'a> {
    /// How many operations there are.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The operations as they came.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The operations in the order of the request.
    #[inline]
    pub fn iter(&self) -> OpIter<'a> {
        OpIter {
            rest: self.bytes,
            left: self.count,
        }
    }

    /// Takes `count` operations off the front of `rest`.
    ///
    /// Two kinds of failure are told apart. `Err`: it is unknown where the operations end.
    /// `Ok` with a fault: the boundaries are sound, so what follows can still be read, but these
    /// operations must be refused with the fault's code.
    pub(crate) fn take(
        rest: &mut &'a [u8],
        count: u16,
    ) -> Result<(Ops<'a>, Option<Malformed>), Malformed> {
        let bytes = *rest;
        let mut fault = (count > OPS_MAX).then_some(Malformed::OpCount { count });
        for index in 0..count {
            let op = take_op(rest, index, count)?;
            fault = fault.or(name_fault(op.name, index));
        }
        let bytes = &bytes[..bytes.len() - rest.len()];
        Ok((Ops { bytes, count }, fault))
    }
}

impl<'a> IntoIterator for Ops<'a> {
    type Item = Op<'a>;
    type IntoIter = OpIter<'a>;

    fn into_iter(self) -> OpIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Ops<'a> {
    type Item = Op<'a>;
    type IntoIter = OpIter<'a>;

    fn into_iter(self) -> OpIter<'a> {
        self.iter()
    }
}

/// Walks the operations of a message; see [`Ops::iter`].
#[derive(Clone, Debug)]
pub struct OpIter<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for OpIter<'a> {
    type Item = Op<'a>;

    #[inline]
    fn next(&mut self) -> Option<Op<'a>> {
        self.left = self.left.checked_sub(1)?;
        let op = take_op(&mut self.rest, 0, 1);
        debug_assert!(op.is_ok(), "the operations were walked when parsed");
        op.ok()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for OpIter<'_> {}

/// Takes one operation off the front of `rest`. Its name may still be unacceptable.
#[inline]
fn take_op<'a>(rest: &mut &'a [u8], index: u16, count: u16) -> Result<Op<'a>, Malformed> {
    let truncated = Malformed::OpTruncated { index, count };
    let (size, after) = rest.split_first_chunk::<SIZE_BYTES>().ok_or(truncated)?;
    let op_bytes = u32::from_be_bytes(*size);
    let too_small = Malformed::OpSize { index, op_bytes };
    let (op, after) = after.split_at_checked(op_bytes as usize).ok_or(truncated)?;
    let (fixed, named) = op.split_first_chunk::<FIXED_BYTES>().ok_or(too_small)?;
    let [code, particle, flags, name_bytes] = *fixed;
    let (name, mut value) = named
        .split_at_checked(usize::from(name_bytes))
        .ok_or(too_small)?;
    if flags & HAS_UPDATE_TIME != 0 {
        value = value.get(UPDATE_TIME_BYTES..).ok_or(too_small)?;
    }
    *rest = after;
    Ok(Op {
        code: OpCode::from_u8(code),
        particle,
        name,
        value,
    })
}

/// What is wrong with a bin name, if anything.
#[inline]
fn name_fault(name: &[u8], index: u16) -> Option<Malformed> {
    if name.len() > BIN_NAME_BYTES_MAX {
        let bytes = name.len() as u8; // the size on the wire is one byte
        return Some(Malformed::BinNameLong { index, bytes });
    }
    name.contains(&0).then_some(Malformed::BinNameNul { index })
}

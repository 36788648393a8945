//! Calls on values, as bits and HyperLogLog have them: MessagePack `[code, arguments...]`.
//!
//! A call is parsed once into a typed operation and then works on bytes, whether those are a bin's or an
//! intermediate value's inside an expression. Why one is refused is the same for all of them.

use crate::packed::Cursor;
use crate::value::ParticleType;

/// Why a call was refused; what it was called on is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The call itself is malformed, or its arguments contradict each other or what they meet.
    #[error("{0}")]
    Parameter(&'static str),
    /// It may only create, and there is a bin.
    #[error("the bin exists")]
    BinExists,
    /// It needs a bin, and there is none.
    #[error("there is no such bin")]
    BinNotFound,
    /// The bin is of another type.
    #[error("the call does not fit a bin of type {0:?}")]
    Incompatible(ParticleType),
    /// What is there does not allow it.
    #[error("{0}")]
    NotApplicable(&'static str),
    /// No record could hold what would come out.
    #[error("a value of {0} bytes is larger than any record")]
    TooBig(u64),
    /// What is stored is not what its type promises.
    #[error("the stored value contradicts its type")]
    Corrupt,
}

/// What every call says about bins that are there or not: bits of its flags argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteFlags(u8);

impl WriteFlags {
    /// Only where no bin is.
    pub const CREATE_ONLY: u8 = 1;
    /// Only where a bin is.
    pub const UPDATE_ONLY: u8 = 2;
    /// What is refused for what is there changes nothing, and succeeds.
    pub const NO_FAIL: u8 = 4;
    /// Of bits: what lies outside is left out.
    pub const PARTIAL: u8 = 8;
    /// Of HyperLogLog: the bin may lose precision.
    pub const ALLOW_FOLD: u8 = 8;

    /// Flags as sent. `None` if one of them is not among the allowed ones, or if they contradict.
    pub(crate) fn new(flags: i64, allowed: u8) -> Option<WriteFlags> {
        let contradicts = flags & 3 == 3;
        let known = flags & !i64::from(allowed) == 0;
        (known && !contradicts).then_some(WriteFlags(flags as u8)) // known ones fit a byte
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// An error, or that nothing changes if failing was ruled out.
    pub(crate) fn unless_no_fail<T>(self, error: CallError) -> Result<Option<T>, CallError> {
        if self.has(WriteFlags::NO_FAIL) {
            Ok(None)
        } else {
            Err(error)
        }
    }
}

/// The arguments of a call, behind its code.
pub(crate) struct Arguments<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> Arguments<'a> {
    /// Opens a call: its code and its arguments, which are not looked at yet.
    pub(crate) fn open(payload: &'a [u8]) -> Result<(i64, Arguments<'a>), CallError> {
        let mut cursor = Cursor::new(payload);
        let count = cursor.list().and_then(|count| count.checked_sub(1));
        match (count, cursor.int()) {
            (Some(left), Some(code)) => Ok((code, Arguments { cursor, left })),
            _ => Err(CallError::Parameter(
                "a call is a list that begins with a code",
            )),
        }
    }

    /// Refuses a call that has more arguments or fewer.
    pub(crate) fn expect(&self, least: u32, most: u32) -> Result<(), CallError> {
        if (least..=most).contains(&self.left) {
            Ok(())
        } else {
            Err(CallError::Parameter(
                "the call has too few arguments or too many",
            ))
        }
    }

    /// The next argument, as `read` takes it.
    pub(crate) fn take<T>(
        &mut self,
        read: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
    ) -> Result<T, CallError> {
        self.left = self.left.saturating_sub(1);
        read(&mut self.cursor).ok_or(CallError::Parameter("an argument is of the wrong type"))
    }

    /// The next argument if there is one more, an integer.
    pub(crate) fn optional_int(&mut self, missing: i64) -> Result<i64, CallError> {
        if self.left == 0 {
            return Ok(missing);
        }
        self.take(Cursor::int)
    }

    /// The next argument if there is one more: write flags, of which some are allowed.
    pub(crate) fn flags(&mut self, allowed: u8) -> Result<WriteFlags, CallError> {
        WriteFlags::new(self.optional_int(0)?, allowed)
            .ok_or(CallError::Parameter("flags that the call does not have"))
    }

    /// Nothing may follow the last argument.
    pub(crate) fn close(self) -> Result<(), CallError> {
        if self.left == 0 && self.cursor.is_empty() {
            Ok(())
        } else {
            Err(CallError::Parameter(
                "something follows the call's last argument",
            ))
        }
    }
}

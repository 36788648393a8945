//! Adding to numbers inside collections.

use super::CdtError;
use super::answer::Answer;
use crate::msgpack::{Head, Reader, write_double, write_int};

/// A number as an element: an integer of 64 bits, or a double.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Double(f64),
}

impl Number {
    /// # Errors
    /// [`CdtError::Parameter`] if the element is no number.
    pub(crate) fn of(element: &[u8]) -> Result<Number, CdtError> {
        match (Reader { rest: element }).head() {
            Ok(Head::Int { value, .. }) => Ok(Number::Int(value)),
            Ok(Head::Double(value)) => Ok(Number::Double(value)),
            _ => Err(CdtError::Parameter("only numbers can be added")),
        }
    }

    /// What is added: one, unless an element says otherwise.
    ///
    /// # Errors
    /// As [`Number::of`].
    pub(crate) fn delta(element: &[u8]) -> Result<Number, CdtError> {
        match (Reader { rest: element }).head() {
            Ok(Head::Nil) => Ok(Number::Int(1)),
            _ => Number::of(element),
        }
    }

    pub(crate) fn negated(self) -> Number {
        match self {
            Number::Int(value) => Number::Int(value.wrapping_neg()),
            Number::Double(value) => Number::Double(-value),
        }
    }

    /// The sum, of the type of the first.
    pub(crate) fn plus(self, delta: Number) -> Number {
        match (self, delta) {
            (Number::Int(value), Number::Int(delta)) => Number::Int(value.wrapping_add(delta)),
            (Number::Int(value), Number::Double(delta)) => {
                Number::Int(value.wrapping_add(delta as i64))
            }
            (Number::Double(value), Number::Int(delta)) => Number::Double(value + delta as f64),
            (Number::Double(value), Number::Double(delta)) => Number::Double(value + delta),
        }
    }

    pub(crate) fn answer<'v>(self) -> Answer<'v> {
        match self {
            Number::Int(value) => Answer::Int(value),
            Number::Double(value) => Answer::Double(value),
        }
    }

    pub(crate) fn packed(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9);
        match self {
            Number::Int(value) => write_int(&mut out, value, false),
            Number::Double(value) => write_double(&mut out, value),
        }
        out
    }
}

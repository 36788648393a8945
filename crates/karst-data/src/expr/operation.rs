//! Expressions as operations of a command: what they compute is answered, or stored in a bin.

use super::parse::{Parser, malformed};
use super::subject::Subject;
use super::value::Datum;
use super::{Expr, ExprError, Type};
use crate::call::CallError;
use crate::value::Value;
use crate::work::Work;

const CREATE_ONLY: u64 = 1;
const UPDATE_ONLY: u64 = 2;
const ALLOW_DELETE: u64 = 4;
const POLICY_NO_FAIL: u64 = 8;
const EVAL_NO_FAIL: u64 = 16;

const READ_FLAGS: u64 = EVAL_NO_FAIL;
const WRITE_FLAGS: u64 = CREATE_ONLY | UPDATE_ONLY | ALLOW_DELETE | POLICY_NO_FAIL | EVAL_NO_FAIL;

const UNKNOWN: CallError = CallError::NotApplicable("the expression could not be computed");

/// An expression whose result is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpressionRead {
    expr: Expr,
    flags: u64,
}

/// An expression whose result is stored in a bin.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpressionWrite {
    expr: Expr,
    flags: u64,
}

/// What becomes of a bin.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<'v> {
    /// It stays as it is.
    Nothing,
    /// It goes.
    Remove,
    /// It gets a value.
    Set(Value<'v>),
}

impl ExpressionRead {
    /// Parses an operation's value: an expression and perhaps flags.
    ///
    /// # Errors
    /// See [`ExprError`].
    pub fn parse(payload: &[u8]) -> Result<ExpressionRead, ExprError> {
        let (expr, flags) = parse(payload, READ_FLAGS)?;
        Ok(ExpressionRead { expr, flags })
    }

    /// The expression.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// What it computes; `None` if that is nil, or unknown where that is no failure.
    ///
    /// # Errors
    /// [`CallError::NotApplicable`] if it is unknown.
    pub fn evaluate<'v, S: Subject + ?Sized>(
        &'v self,
        subject: &'v S,
        work: &'v Work,
    ) -> Result<Option<Value<'v>>, CallError> {
        match paid_for(self.expr.evaluate(subject, work), work).into_answer() {
            Some(value) => Ok(value),
            None if self.flags & EVAL_NO_FAIL != 0 => Ok(None),
            None => Err(UNKNOWN),
        }
    }
}

impl ExpressionWrite {
    /// Parses an operation's value: an expression and perhaps flags.
    ///
    /// # Errors
    /// See [`ExprError`].
    pub fn parse(payload: &[u8]) -> Result<ExpressionWrite, ExprError> {
        let (expr, flags) = parse(payload, WRITE_FLAGS)?;
        Ok(ExpressionWrite { expr, flags })
    }

    /// The expression.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// What becomes of a bin that is there or not.
    ///
    /// # Errors
    /// The bin is there and may not be, or the other way about; the result is unknown; it is nil, and the
    /// bin may not go.
    pub fn evaluate<'v, S: Subject + ?Sized>(
        &'v self,
        subject: &'v S,
        bin_exists: bool,
        work: &'v Work,
    ) -> Result<Change<'v>, CallError> {
        let refused = match bin_exists {
            true if self.has(CREATE_ONLY) => Some(CallError::BinExists),
            false if self.has(UPDATE_ONLY) => Some(CallError::BinNotFound),
            _ => None,
        };
        match refused {
            Some(_) if self.has(POLICY_NO_FAIL) => return Ok(Change::Nothing),
            Some(error) => return Err(error),
            None => {}
        }
        match paid_for(self.expr.evaluate(subject, work), work).into_value() {
            Some(Some(value)) => Ok(Change::Set(value)),
            Some(None) => self.on_nil(bin_exists),
            None if self.has(EVAL_NO_FAIL) => Ok(Change::Nothing),
            None => Err(UNKNOWN),
        }
    }

    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// As in the reference, any flag makes a nil that may not remove the bin a success that changes nothing.
    fn on_nil(&self, bin_exists: bool) -> Result<Change<'static>, CallError> {
        match bin_exists {
            true if self.has(ALLOW_DELETE) => Ok(Change::Remove),
            true if self.flags == 0 => Err(CallError::NotApplicable(
                "a nil does not remove a bin unless it may",
            )),
            _ => Ok(Change::Nothing),
        }
    }
}

/// A result, if there is work left to bring it into the form that is stored.
fn paid_for<'v>(datum: Datum<'v>, work: &Work) -> Datum<'v> {
    match &datum {
        Datum::Bytes(Type::List | Type::Map, bytes) if !work.allows(4 * bytes.len() as u64) => {
            Datum::Unknown
        }
        _ => datum,
    }
}

/// The expression of an operation and its flags.
fn parse(payload: &[u8], allowed: u64) -> Result<(Expr, u64), ExprError> {
    let mut parser = Parser::new(payload)?;
    let count = match parser.cursor.list() {
        Some(count @ (1 | 2)) => count,
        _ => return malformed("an operation that is no list of an expression and flags"),
    };
    let Some(bytes) = parser.cursor.element() else {
        return malformed("it ends early");
    };
    let flags = if count == 2 {
        parser.number(u64::MAX)?
    } else {
        0
    };
    if flags & !allowed != 0 {
        return malformed("flags that the operation does not have");
    }
    if !parser.cursor.is_empty() {
        return malformed("something follows its end");
    }
    Ok((Expr::parse(bytes)?, flags))
}

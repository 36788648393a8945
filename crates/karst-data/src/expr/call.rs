//! Calls on values inside expressions: lists and maps, bits and HyperLogLog.
//!
//! A call's payload is what a client would send for a bin, but that an argument which is an array is an
//! expression. If all of those are literals the payload is put together once; else each time. What a call
//! refuses makes its result unknown, never the command wrong; only a code that is no call is found when the
//! expression is parsed.
//!
//! A call that selects by a path comes as it is; the expressions of its path are parsed with the one around it.

use std::borrow::Cow;

use super::eval::Evaluator;
use super::parse::{Parser, Result, Static, Typed, malformed};
use super::program::{Call, Node, Payload, Piece, System};
use super::subject::Subject;
use super::value::Datum;
use super::{ExprError, PathExpressions, Type};
use crate::bit::{self, BitModify, BitRead};
use crate::call::CallError;
use crate::cdt::{self, Access, CdtError, CdtOp, Subject as Whole};
use crate::hll::{self, HllModify, HllRead};
use crate::packed::{Cursor, Element};
use crate::value::Value;

/// Added to the number of a system for calls that change.
const MODIFIES: u64 = 0x40;

/// In place of a code: a path into the value follows, and the call on what is there.
const WITH_CONTEXT: i64 = 0xff;

/// In place of a code: elements are selected by a path.
const BY_PATH: i64 = 0xfe;

impl<'a> Parser<'a> {
    /// A call: the type of its result, its system, the call and the value it is on.
    pub(super) fn call(&mut self) -> Result<Typed> {
        let result = self.kind()?;
        let number = self.number(u64::from(u8::MAX))?;
        let modifies = number & MODIFIES != 0;
        let system = match number & !MODIFIES {
            0 => System::Collections,
            1 => System::Bits,
            2 => System::Hll,
            _ => return malformed("a call on what has no calls"),
        };
        let pieces = self.pieces(system, modifies)?;
        let payload = self.payload(pieces);
        let inner = match (&payload, system) {
            (Payload::Whole(span), System::Collections) => {
                let payload = self.program.span(*span);
                // What else is wrong with a call is found when it runs.
                let op = CdtOp::parse(payload, access(modifies)).ok();
                op.map(|op| PathExpressions::parse_within(&op, self.depth))
                    .transpose()?
            }
            _ => None,
        };
        let (target, kind) = self.expression()?;
        let fits = match (system, kind) {
            (_, Static::Known(Type::Nil))
            | (System::Collections, Static::Known(Type::List | Type::Map))
            | (System::Bits, Static::Known(Type::Blob))
            | (System::Hll, Static::Known(Type::Hll)) => true,
            (System::Collections | System::Bits | System::Hll, _) => false,
        };
        if !fits {
            return malformed("a call on a value that it does not fit");
        }
        let number = self.program.calls.len() as u32;
        self.program.calls.push(Call {
            system,
            modifies,
            result,
            payload,
            target,
            inner: inner.unwrap_or_default(),
        });
        self.push(Node::Call(number), result)
    }

    /// The payload of a call: stretches of it as they came, and arguments that are computed.
    fn pieces(&mut self, system: System, modifies: bool) -> Result<Vec<Piece>> {
        const NO_CALL: ExprError = ExprError::Malformed("a call that is no list with a code");
        let start = self.cursor;
        let mut count = self.cursor.list().ok_or(NO_CALL)?;
        let mut code = self.cursor.int().ok_or(NO_CALL)?;
        if system == System::Collections && code == BY_PATH {
            self.cursor = start;
            let whole = self.cursor.element().ok_or(NO_CALL)?;
            return Ok(vec![Piece::Verbatim(self.span(whole))]);
        }
        if system == System::Collections && code == WITH_CONTEXT {
            if count != 3
                || !matches!(
                    self.cursor.element().map(head),
                    Some(Some(Element::List(_)))
                )
            {
                return Err(NO_CALL);
            }
            count = self.cursor.list().ok_or(NO_CALL)?;
            code = self.cursor.int().ok_or(NO_CALL)?;
        }
        self.check_code(system, modifies, code)?;
        let mut pieces = Vec::new();
        let mut verbatim = start;
        for _ in 1..count {
            let argument = self.cursor;
            match self.cursor.head().ok_or(NO_CALL)? {
                Element::List(_) => {
                    self.stretch(&mut pieces, verbatim, argument);
                    self.cursor = argument;
                    pieces.push(self.computed()?);
                    verbatim = self.cursor;
                }
                _ => {
                    self.cursor = argument;
                    self.cursor.element().ok_or(NO_CALL)?;
                }
            }
        }
        self.stretch(&mut pieces, verbatim, self.cursor);
        Ok(pieces)
    }

    /// Adds a stretch of the source, unless it is empty.
    fn stretch(&self, pieces: &mut Vec<Piece>, from: Cursor<'a>, to: Cursor<'a>) {
        let bytes = from.until(&to);
        if !bytes.is_empty() {
            pieces.push(Piece::Verbatim(self.span(bytes)));
        }
    }

    /// An argument that is an expression. A list that is a literal is a piece as it is.
    fn computed(&mut self) -> Result<Piece> {
        let (node, _) = self.expression()?;
        Ok(match self.program.node(node) {
            Node::Bytes(Type::List, span) => Piece::Verbatim(span),
            _ => Piece::Computed(node),
        })
    }

    /// Joins the pieces, if none of them is computed.
    fn payload(&mut self, pieces: Vec<Piece>) -> Payload {
        let mut whole = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Verbatim(span) if pieces.len() == 1 => return Payload::Whole(*span),
                Piece::Verbatim(span) => whole.extend_from_slice(self.program.span(*span)),
                Piece::Computed(_) => return Payload::Pieces(pieces),
            }
        }
        Payload::Whole(self.program.keep(&whole))
    }

    /// Refuses a code that is no call, or one that changes among those that read and the other way about.
    fn check_code(&self, system: System, modifies: bool, code: i64) -> Result<()> {
        let known = match (system, modifies) {
            (System::Collections, _) => cdt::is_code(code, access(modifies)),
            (System::Bits, false) => bit::is_read_code(code),
            (System::Bits, true) => bit::is_modify_code(code),
            (System::Hll, false) => hll::is_read_code(code),
            (System::Hll, true) => hll::is_modify_code(code),
        };
        if known {
            Ok(())
        } else {
            malformed("a call that does not exist")
        }
    }
}

fn head(element: &[u8]) -> Option<Element<'_>> {
    Cursor::new(element).head()
}

/// Runs a call.
pub(super) fn run<'v, S: Subject + ?Sized>(
    evaluator: &mut Evaluator<'v, S>,
    call: &'v Call,
) -> Datum<'v> {
    called(evaluator, call).map_or(Datum::Unknown, |result| result.of_type(call.result))
}

/// What a call gives; `None` if that is unknown.
fn called<'v, S: Subject + ?Sized>(
    evaluator: &mut Evaluator<'v, S>,
    call: &'v Call,
) -> Option<Datum<'v>> {
    let target = evaluator.eval(call.target).into_value()?;
    let payload = match &call.payload {
        Payload::Whole(span) => Cow::Borrowed(evaluator.program.span(*span)),
        Payload::Pieces(pieces) => Cow::Owned(joined(evaluator, pieces)?),
    };
    let result = match call.system {
        System::Bits => on_bits(call.modifies, &payload, target).ok()?,
        System::Hll => on_sketch(call.modifies, &payload, target).ok()?,
        System::Collections => on_collection(call, &payload, target).ok()?,
    };
    Some(match result {
        Some(value) => Datum::from_stored(value.particle, value.bytes),
        None => Datum::Nil,
    })
}

fn joined<S: Subject + ?Sized>(
    evaluator: &mut Evaluator<'_, S>,
    pieces: &[Piece],
) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Verbatim(span) => payload.extend_from_slice(evaluator.program.span(*span)),
            Piece::Computed(node) => {
                if !evaluator.eval(*node).pack(&mut payload) {
                    return None;
                }
            }
        }
    }
    Some(payload)
}

/// What a call on a blob or sketch gives, or on none.
type Called<'v> = std::result::Result<Option<Value<'v>>, CallError>;

fn on_bits<'v>(modifies: bool, payload: &[u8], target: Option<Value<'v>>) -> Called<'v> {
    if modifies {
        let changed = BitModify::parse(payload)?.modify(target.as_ref())?;
        return Ok(changed.or(target));
    }
    let target = target.ok_or(CallError::BinNotFound)?;
    BitRead::parse(payload)?.read(&target).map(Some)
}

fn on_sketch<'v>(modifies: bool, payload: &[u8], target: Option<Value<'v>>) -> Called<'v> {
    if modifies {
        let done = HllModify::parse(payload)?.modify(target.as_ref())?;
        return Ok(done.value.or(target));
    }
    let target = target.ok_or(CallError::BinNotFound)?;
    HllRead::parse(payload)?.read(&target).map(Some)
}

fn on_collection<'v>(
    call: &Call,
    payload: &[u8],
    target: Option<Value<'v>>,
) -> std::result::Result<Option<Value<'v>>, CdtError> {
    let op = CdtOp::parse(payload, access(call.modifies))?;
    let mut inner = &call.inner;
    if call.modifies {
        let mut changed = op.modify(Whole::of(target.as_ref()), &mut inner)?;
        return Ok(changed.take_value().or(target));
    }
    let target = target.ok_or(CdtError::Incompatible)?;
    op.read_value(&target, &mut inner).map(Option::flatten)
}

/// The half of requests that a call belongs to.
fn access(modifies: bool) -> Access {
    if modifies {
        Access::Modify
    } else {
        Access::Read
    }
}

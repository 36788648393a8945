//! Calls on values inside expressions: lists and maps, bits and HyperLogLog.
//!
//! A call's payload is what a client would send for a bin, but that an argument which is an array is an
//! expression. If all of those are literals the payload is put together and parsed once; else each time. What a call
//! refuses makes its result unknown, never the command wrong; only a code that is no call is found when the
//! expression is parsed.
//!
//! A call that selects by a path comes as it is; the expressions of its path are parsed with the one around it.

use super::eval::Evaluator;
use super::parse::{Parser, Result, Static, Typed, malformed};
use super::program::{Call, Callee, Node, NodeId, Piece, Span, System};
use super::subject::Subject;
use super::value::Datum;
use super::{ExprError, PathExpressions, Type};
use crate::bit::{self, BitModify, BitRead};
use crate::cdt::{self, Access, CdtOp, Subject as Whole};
use crate::hll::{self, HllModify, HllRead};
use crate::packed::{Cursor, Element};
use crate::value::{ParticleType, Value};
use crate::work::{Work, of_bytes};

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
        let (callee, inner) = self.callee(pieces, system, modifies)?;
        self.program.is_long = true;
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
            callee,
            target,
            inner,
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

    /// What is called, parsed as far as that can be done once for all, and the expressions of its path.
    fn callee(
        &mut self,
        pieces: Vec<Piece>,
        system: System,
        modifies: bool,
    ) -> Result<(Callee, PathExpressions)> {
        let none = PathExpressions::default();
        let Some(span) = self.joined(&pieces) else {
            return Ok((Callee::Pieces(pieces), none));
        };
        let payload = self.program.span(span);
        Ok(match (system, modifies) {
            (System::Collections, _) => match CdtOp::parse(payload, access(modifies)) {
                Ok(op) => {
                    let inner = PathExpressions::parse_within(&op, self.depth)?;
                    (Callee::Collection(Box::new(op.into_owned())), inner)
                }
                Err(_) => (Callee::Refused, none),
            },
            (System::Bits, false) => match BitRead::parse(payload) {
                Ok(read) => (Callee::Bits(read), none),
                Err(_) => (Callee::Refused, none),
            },
            (System::Bits, true) => match BitModify::parse(payload) {
                Ok(modify) => (Callee::BitsModify(Box::new(modify.into_owned())), none),
                Err(_) => (Callee::Refused, none),
            },
            (System::Hll, false) => match HllRead::parse(payload) {
                Ok(read) => (Callee::Sketch(Box::new(read.into_owned())), none),
                Err(_) => (Callee::Refused, none),
            },
            (System::Hll, true) => match HllModify::parse(payload) {
                Ok(modify) => (Callee::SketchModify(Box::new(modify.into_owned())), none),
                Err(_) => (Callee::Refused, none),
            },
        })
    }

    /// Joins the pieces, if none of them is computed.
    fn joined(&mut self, pieces: &[Piece]) -> Option<Span> {
        let mut whole = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Verbatim(span) if pieces.len() == 1 => return Some(*span),
                Piece::Verbatim(span) => whole.extend_from_slice(self.program.span(*span)),
                Piece::Computed(_) => return None,
            }
        }
        Some(self.program.keep(&whole))
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
    let target = target(evaluator, call.target)?;
    let work = evaluator.work;
    let result = match &call.callee {
        Callee::Refused => None,
        Callee::Collection(op) => on_collection(call, op, target, work),
        Callee::Bits(read) => bits_read(read, target, work),
        Callee::BitsModify(modify) => bits_modified(modify, target, work),
        Callee::Sketch(read) => sketch_read(read, target, work),
        Callee::SketchModify(modify) => sketch_modified(modify, target, work),
        Callee::Pieces(pieces) => {
            let payload = joined(evaluator, pieces)?;
            work.spend(4 * payload.len() as u64).ok()?;
            on_packed(call, &payload, target, work)
        }
    }?;
    Some(match result {
        Some(value) => Datum::from_stored(value.particle, value.bytes),
        None => Datum::Nil,
    })
}

/// What a call is on; nil is `Some(None)`.
fn target<'v, S: Subject + ?Sized>(
    evaluator: &mut Evaluator<'v, S>,
    node: NodeId,
) -> Option<Option<Value<'v>>> {
    let target = evaluator.eval(node);
    if let (Node::Bin(..) | Node::BuiltIn(..), Datum::Bytes(kind, _)) =
        (evaluator.program.node(node), &target)
        && matches!(kind, Type::List | Type::Map)
    {
        // What is stored is in the form in which it is stored.
        let particle = match kind {
            Type::List => ParticleType::List,
            _ => ParticleType::Map,
        };
        let Datum::Bytes(_, bytes) = target else {
            return None; // it was just seen
        };
        return Some(Some(Value { particle, bytes }));
    }
    if let Datum::Bytes(Type::List | Type::Map, bytes) = &target {
        evaluator.work.spend(4 * bytes.len() as u64).ok()?;
    }
    target.into_value()
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
                let datum = evaluator.eval(*node);
                if let Datum::Bytes(_, bytes) = &datum {
                    evaluator.work.spend(of_bytes(bytes.len())).ok()?;
                }
                if !datum.pack(&mut payload) {
                    return None;
                }
            }
        }
    }
    Some(payload)
}

/// What a call gives: `None` if it is refused, `Some(None)` if nil.
type Called<'v> = Option<Option<Value<'v>>>;

/// A call that is parsed now.
fn on_packed<'v>(
    call: &Call,
    payload: &[u8],
    target: Option<Value<'v>>,
    work: &Work,
) -> Called<'v> {
    match (call.system, call.modifies) {
        (System::Bits, false) => bits_read(&BitRead::parse(payload).ok()?, target, work),
        (System::Bits, true) => bits_modified(&BitModify::parse(payload).ok()?, target, work),
        (System::Hll, false) => sketch_read(&HllRead::parse(payload).ok()?, target, work),
        (System::Hll, true) => sketch_modified(&HllModify::parse(payload).ok()?, target, work),
        (System::Collections, modifies) => {
            let op = CdtOp::parse(payload, access(modifies)).ok()?;
            on_collection(call, &op, target, work)
        }
    }
}

fn bits_read<'v>(read: &BitRead, target: Option<Value<'v>>, work: &Work) -> Called<'v> {
    let target = target?;
    work.spend(read.steps(target.bytes.len())).ok()?;
    read.read(&target).ok().map(Some)
}

fn bits_modified<'v>(modify: &BitModify<'_>, target: Option<Value<'v>>, work: &Work) -> Called<'v> {
    work.spend(modify.steps(bytes_of(&target))).ok()?;
    let changed = modify.modify(target.as_ref()).ok()?;
    Some(changed.or(target))
}

fn sketch_read<'v>(read: &HllRead<'_>, target: Option<Value<'v>>, work: &Work) -> Called<'v> {
    work.spend(read.steps(bytes_of(&target))).ok()?;
    read.read(&target?).ok().map(Some)
}

fn sketch_modified<'v>(
    modify: &HllModify<'_>,
    target: Option<Value<'v>>,
    work: &Work,
) -> Called<'v> {
    work.spend(modify.steps(bytes_of(&target))).ok()?;
    let done = modify.modify(target.as_ref()).ok()?;
    Some(done.value.or(target))
}

fn bytes_of(target: &Option<Value<'_>>) -> usize {
    target.as_ref().map_or(0, |target| target.bytes.len())
}

fn on_collection<'v>(
    call: &Call,
    op: &CdtOp<'_>,
    target: Option<Value<'v>>,
    work: &Work,
) -> Called<'v> {
    let mut inner = call.inner.lent(work);
    if call.modifies {
        let subject = Whole::of(target.as_ref());
        let mut changed = op.modify(subject, &mut inner, work).ok()?;
        return Some(changed.take_value().or(target));
    }
    let told = op.read_value(&target?, &mut inner, work).ok()?;
    Some(told.flatten())
}

/// The half of requests that a call belongs to.
fn access(modifies: bool) -> Access {
    if modifies {
        Access::Modify
    } else {
        Access::Read
    }
}

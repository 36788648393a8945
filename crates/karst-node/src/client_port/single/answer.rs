//! What a single-record request is answered with: records, answers of operations, and how the protocol spells refusals.

use karst_data::operation::{self, OperationError};
use karst_engine::read::Found;
use karst_engine::{Reason, Refusal};
use karst_wire::code::ResultCode;
use karst_wire::op::OpCode;
use karst_wire::reply::{self, RecordReply, ReplyHead};
use karst_wire::request::Ops;

use super::Asked;
use crate::client_port::call;
use crate::core::Core;
use crate::counters::Ending;

/// Appends an answer without a record.
pub(in crate::client_port) fn error(out: &mut Vec<u8>, asked: Asked, code: ResultCode) {
    head_only(out, &asked.head(code, 0, 0));
}

pub(in crate::client_port) fn head_only(out: &mut Vec<u8>, head: &ReplyHead) {
    // A message without fields and operations cannot exceed a limit.
    let finished = RecordReply::framed(out, head).finish();
    debug_assert!(finished.is_ok());
}

/// Appends what operations have to tell.
pub(in crate::client_port) fn append_answers(
    reply: &mut RecordReply<'_>,
    answers: &[operation::Answer<'_>],
) {
    for (name, value) in answers {
        match value {
            Some(value) => reply.op(OpCode::Read, value.particle as u8, name, &value.bytes),
            None => reply.op(OpCode::Read, 0, name, &[]),
        }
    }
}

/// Appends the bins that operations name; with `respond_all` an empty answer for those missing.
pub(in crate::client_port) fn append_named(
    reply: &mut RecordReply<'_>,
    ops: Ops<'_>,
    found: &Found<'_>,
    respond_all: bool,
) {
    const FEW: usize = 64;
    let sorted = (ops.len() > FEW).then(|| {
        let bins = found.record.iter().flat_map(|record| record.bins());
        let mut bins: Vec<_> = bins.collect();
        bins.sort_unstable_by_key(|bin| bin.name);
        bins
    });
    let bin = |name: &[u8]| match &sorted {
        Some(bins) => {
            let at = bins.binary_search_by_key(&name, |bin| bin.name);
            at.ok().map(|at| bins[at])
        }
        None => found.record.as_ref().and_then(|record| record.bin(name)),
    };
    for op in ops.iter() {
        match bin(op.name) {
            Some(bin) => reply.op(op.code, bin.particle as u8, bin.name, bin.value),
            None if respond_all => reply.op(op.code, 0, op.name, &[]),
            None => {}
        }
    }
}

/// A reply that exceeds what the protocol can carry is answered with an error in its stead.
pub(in crate::client_port) fn finish(fits: bool, out: &mut Vec<u8>, asked: Asked) -> Ending {
    if fits {
        return Ending::Ok;
    }
    error(out, asked, ResultCode::RecordTooBig);
    Ending::Error
}

/// Answers with a refusal of the engine.
pub(in crate::client_port) fn refused(
    out: &mut Vec<u8>,
    asked: Asked,
    refusal: &Refusal,
) -> Ending {
    let (code, ending) = code_of(&refusal.reason);
    head_only(
        out,
        &asked.head(code, refusal.generation, refusal.void_time_s),
    );
    ending
}

/// How the protocol spells a refusal.
pub(in crate::client_port) fn code_of(reason: &Reason) -> (ResultCode, Ending) {
    match reason {
        Reason::NotFound => (ResultCode::NotFound, Ending::NotFound),
        Reason::Exists => (ResultCode::RecordExists, Ending::Refused),
        Reason::Generation => (ResultCode::Generation, Ending::Refused),
        // Told to nobody: the function is called again.
        Reason::Overtaken => (ResultCode::KeyBusy, Ending::Refused),
        Reason::SetMismatch | Reason::SetLimit | Reason::TtlTooLong => {
            (ResultCode::Parameter, Ending::Refused)
        }
        Reason::KeyMismatch => (ResultCode::KeyMismatch, Ending::Refused),
        Reason::KeyMalformed => (ResultCode::UnsupportedFeature, Ending::Refused),
        Reason::FilteredOut => (ResultCode::FilteredOut, Ending::FilteredOut),
        Reason::Operation(error) => (code_of_operation(error), Ending::Refused),
        Reason::Exhausted => (call::EXHAUSTED, Ending::Refused),
        Reason::TooBig { .. } => (ResultCode::RecordTooBig, Ending::Refused),
        Reason::SetFull => (ResultCode::Forbidden, Ending::Refused),
        Reason::OutOfSpace | Reason::IndexFull | Reason::DeviceFailed | Reason::StopWrites => {
            (ResultCode::OutOfSpace, Ending::Overload)
        }
        Reason::Unreadable => (ResultCode::Unknown, Ending::Error),
    }
}

/// How the protocol spells the refusal of operations.
pub(in crate::client_port) fn code_of_operation(error: &OperationError) -> ResultCode {
    match error {
        OperationError::Count(_) | OperationError::Combination(_) | OperationError::TooManyBins => {
            ResultCode::Parameter
        }
        OperationError::Incompatible(_) => ResultCode::IncompatibleType,
        OperationError::Exhausted => call::EXHAUSTED,
        OperationError::Call(error) => call::code_of(error),
        OperationError::Collection(error) => call::code_of_collection(*error),
        OperationError::GeoJson => ResultCode::Unknown,
    }
}

/// Appends the answer to a request that could not even be parsed.
pub(in crate::client_port) fn refuse(core: &Core, out: &mut Vec<u8>, code: ResultCode) {
    core.counters.malformed.add(1);
    reply::ack(out, code, 0, 0);
}

//! A request's operations and rules: the wire's spelling to the engine's.

use karst_data::operation::{Operand, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::value::Value;
use karst_data::weigh;
use karst_data::work::STEPS;
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::op::{OpCode, OpKind};
use karst_wire::request::{Message, Op as WireOp, Ops};
use smallvec::SmallVec;

use super::Refused;
use crate::client_port::call;
use crate::core::Core;

/// Most bytes that the compiled patterns of all operations of a request may have.
const PATTERN_BYTES_MAX: usize = 4 << 20;

pub(in crate::client_port) type Operations<'a> = SmallVec<[Operation<'a>; 4]>;

/// Steps to read an operation, whatever it brings.
const STEPS_OF_OPERATION: u64 = 20;

/// How much work it is to read the filter and the operations of a request. More than [`STEPS`] is more than may be done
/// at once, however much it is.
pub(in crate::client_port) fn steps_to_read(core: &Core, message: &Message<'_>) -> u64 {
    let mut steps = (message.fields.filter).map_or(0, |filter| call::steps_to_filter(core, filter));
    for op in message.ops.iter() {
        if steps > STEPS {
            break;
        }
        steps += STEPS_OF_OPERATION + steps_of(op, STEPS - steps);
    }
    steps
}

/// How much work it is to read what an operation brings; the count ends where it is more than `most`.
fn steps_of(op: WireOp<'_>, most: u64) -> u64 {
    match op.code {
        OpCode::Write | OpCode::Increment | OpCode::Append | OpCode::Prepend => {
            weigh::of_value(op.particle, op.value, most)
        }
        OpCode::CdtRead
        | OpCode::CdtModify
        | OpCode::BitsRead
        | OpCode::BitsModify
        | OpCode::HllRead
        | OpCode::HllModify => weigh::of_call(op.value, most),
        OpCode::ExpressionRead | OpCode::ExpressionModify => weigh::of_expression(op.value, most),
        OpCode::Read | OpCode::Touch | OpCode::DeleteAll | OpCode::Unknown(_) => 0,
    }
}

pub(in crate::client_port) fn exists(info2: Info2, info3: Info3) -> Exists {
    if info2.contains(Info2::CREATE_ONLY) {
        Exists::CreateOnly
    } else if info3.contains(Info3::REPLACE_ONLY) {
        Exists::ReplaceOnly
    } else if info3.contains(Info3::CREATE_OR_REPLACE) {
        Exists::Replace
    } else if info3.contains(Info3::UPDATE_ONLY) {
        Exists::UpdateOnly
    } else {
        Exists::Any
    }
}

pub(in crate::client_port) fn generation(info2: Info2, generation: u32) -> GenerationRule {
    if info2.contains(Info2::GENERATION) {
        GenerationRule::Equal(generation)
    } else if info2.contains(Info2::GENERATION_GT) {
        GenerationRule::Below(generation)
    } else {
        GenerationRule::Any
    }
}

/// The operations of a write. One whose value alone exceeds what a record may have is refused before
/// the value is looked at: to unpack a collection takes a multiple of its size.
pub(in crate::client_port) fn operations<'a>(
    message: &Message<'a>,
    bytes_max: usize,
) -> Result<Operations<'a>, Refused> {
    if message.ops.iter().any(|op| op.value.len() > bytes_max) {
        return Err(ResultCode::RecordTooBig.into());
    }
    let no_bins = message.header.info1.contains(Info1::GET_NO_BINS);
    let mut operations = parsed(message.ops)?;
    for operation in operations.iter_mut().filter(|_| no_bins) {
        if *operation == Operation::ReadAll {
            *operation = HEADER;
        }
    }
    Ok(operations)
}

/// Asks for what every reply begins with, so for no bin: no bin has this name.
const HEADER: Operation<'static> = Operation::Read(b"");

/// Operations as the engine has them.
pub(in crate::client_port) fn parsed(ops: Ops<'_>) -> Result<Operations<'_>, Refused> {
    let mut pattern_bytes = 0;
    ops.iter()
        .map(|op| {
            let operation = operation(op)?;
            pattern_bytes += operation.pattern_bytes();
            match pattern_bytes <= PATTERN_BYTES_MAX {
                true => Ok(operation),
                false => Err(ResultCode::Parameter.into()),
            }
        })
        .collect()
}

fn operation(op: WireOp<'_>) -> Result<Operation<'_>, Refused> {
    let value = || Value::from_wire(op.particle, op.value);
    let some_value = || value()?.ok_or(Refused(ResultCode::Parameter));
    Ok(match op.code {
        OpCode::Read if op.name.is_empty() => Operation::ReadAll,
        OpCode::Read => Operation::Read(op.name),
        OpCode::Write => Operation::Write(op.name, value()?),
        OpCode::Increment => {
            let operand = Operand::from_wire(op.particle, op.value)?;
            Operation::Increment(op.name, operand.ok_or(ResultCode::Parameter)?)
        }
        OpCode::Append => Operation::Append(op.name, some_value()?),
        OpCode::Prepend => Operation::Prepend(op.name, some_value()?),
        OpCode::Touch => Operation::Touch,
        OpCode::DeleteAll => Operation::DeleteAll,
        OpCode::CdtRead
        | OpCode::CdtModify
        | OpCode::ExpressionRead
        | OpCode::ExpressionModify
        | OpCode::BitsRead
        | OpCode::BitsModify
        | OpCode::HllRead
        | OpCode::HllModify => call::operation(op)?,
        OpCode::Unknown(_) => return Err(ResultCode::Parameter.into()),
    })
}

/// Why operations cannot be those of a read, if they cannot.
pub(in crate::client_port) fn no_projection(ops: Ops<'_>) -> Option<ResultCode> {
    ops.iter().find_map(|op| match op.code.kind() {
        OpKind::Read => None,
        OpKind::Write | OpKind::Unknown => Some(ResultCode::Parameter),
    })
}

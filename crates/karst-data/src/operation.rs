//! Operations of a single-record command, applied in order to a record's bins.
//!
//! [`check`] refuses combinations that contradict themselves before anything is read; [`apply`] then
//! works on a copy of the bins, so that a failing operation leaves the record as it was.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::bin::Bins;
use crate::bit::{BitModify, BitRead};
use crate::call::CallError;
use crate::cdt::CdtError;
use crate::expr::{ExpressionRead, ExpressionWrite, Metadata};
use crate::hll::{HllModify, HllRead};
use crate::value::{ParticleType, Value, ValueError};
use crate::work::{Exhausted, Work, of_bytes};

mod call;
mod collection;
#[cfg(test)]
mod tests;

pub use collection::Collection;

/// Most operations of one command.
pub const OPERATIONS_MAX: usize = 32_768;

/// Steps of one operation, whatever it does.
const STEPS_OF_OPERATION: u64 = 20;

/// Steps to put a bin into the table of bins.
const STEPS_TO_INDEX: u64 = 40;

/// From so many operations on it is worth knowing where each of many bins is.
const INDEXED_FROM: usize = 8;

/// Steps to pass a bin by where another one is looked for.
const STEPS_OF_BIN: u64 = 4;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation<'a> {
    /// Returns a bin.
    Read(&'a [u8]),
    /// Returns all bins as they are at this point.
    ReadAll,
    /// Sets a bin; no value removes it.
    Write(&'a [u8], Option<Value<'a>>),
    /// Adds a number to a bin.
    Increment(&'a [u8], Operand<'a>),
    /// Puts bytes behind those of a bin.
    Append(&'a [u8], Value<'a>),
    /// Puts bytes before those of a bin.
    Prepend(&'a [u8], Value<'a>),
    /// Reads inside a list or map.
    CollectionRead(&'a [u8], Collection<'a>),
    /// Changes a list or map, or makes one.
    CollectionModify(&'a [u8], Collection<'a>),
    /// Counts as a write that changes no bin.
    Touch,
    /// Removes all bins.
    DeleteAll,
    /// Reads the bits of a blob.
    BitsRead(&'a [u8], BitRead),
    /// Changes the bits of a blob.
    BitsModify(&'a [u8], BitModify<'a>),
    /// Asks a sketch.
    HllRead(&'a [u8], HllRead<'a>),
    /// Changes a sketch.
    HllModify(&'a [u8], HllModify<'a>),
    /// Answers what an expression computes, under a name.
    ExpressionRead(&'a [u8], Box<ExpressionRead>),
    /// Sets a bin to what an expression computes.
    ExpressionWrite(&'a [u8], Box<ExpressionWrite>),
}

/// What an increment adds.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand<'a> {
    /// A value of the protocol's own types.
    Value(Value<'a>),
    /// The memcached manner: a negative delta stops at zero.
    Floored(i64),
}

impl Operation<'_> {
    /// Size of the compiled patterns in its expressions, in bytes.
    pub fn pattern_bytes(&self) -> usize {
        match self {
            Operation::ExpressionRead(_, read) => read.expr().pattern_bytes(),
            Operation::ExpressionWrite(_, write) => write.expr().pattern_bytes(),
            Operation::CollectionRead(_, call) | Operation::CollectionModify(_, call) => {
                call.pattern_bytes()
            }
            Operation::Read(_)
            | Operation::ReadAll
            | Operation::Write(..)
            | Operation::Increment(..)
            | Operation::Append(..)
            | Operation::Prepend(..)
            | Operation::Touch
            | Operation::DeleteAll
            | Operation::BitsRead(..)
            | Operation::BitsModify(..)
            | Operation::HllRead(..)
            | Operation::HllModify(..) => 0,
        }
    }
}

impl<'a> Operand<'a> {
    /// Reads an increment's operand as it came from a client; `None` when it is null.
    ///
    /// # Errors
    /// As [`Value::from_wire`].
    pub fn from_wire(particle: u8, bytes: &'a [u8]) -> Result<Option<Operand<'a>>, ValueError> {
        if let (1, 16, Some(delta)) = (particle, bytes.len(), bytes.first_chunk::<8>()) {
            return Ok(Some(Operand::Floored(i64::from_be_bytes(*delta))));
        }
        Ok(Value::from_wire(particle, bytes)?.map(Operand::Value))
    }
}

/// Why operations were refused; the record is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The command has no operation, or too many.
    #[error("a command holds 1 to {OPERATIONS_MAX} operations, not {0}")]
    Count(usize),
    /// Operations or flags that contradict each other.
    #[error("{0}")]
    Combination(&'static str),
    /// The operation does not fit the type of the bin.
    #[error("the operation does not fit a bin of type {0:?}")]
    Incompatible(ParticleType),
    /// A call was refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Text operations on GeoJSON.
    #[error("GeoJSON cannot be added to")]
    GeoJson,
    /// An operation on a list or map was refused.
    #[error(transparent)]
    Collection(#[from] CdtError),
    /// They take more work than one request may make.
    #[error("the operations take more work than one request may make")]
    Exhausted,
    /// More bins than a record may have.
    #[error("a record holds at most {max} bins", max = crate::flat::BINS_MAX)]
    TooManyBins,
}

impl From<Exhausted> for OperationError {
    fn from(_: Exhausted) -> OperationError {
        OperationError::Exhausted
    }
}

/// Flags of a command that decide which operations may come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandFlags {
    /// The command said that it reads.
    pub reads: bool,
    /// It asked for all bins by flag.
    pub get_all: bool,
    /// It discards the bins that are there.
    pub replaces: bool,
    /// It wants one answer per operation.
    pub respond_all: bool,
}

/// Refuses a write command whose operations and flags contradict each other.
///
/// # Errors
/// See [`OperationError::Count`] and [`OperationError::Combination`].
pub fn check(operations: &[Operation<'_>], flags: CommandFlags) -> Result<(), OperationError> {
    if operations.is_empty() || operations.len() > OPERATIONS_MAX {
        return Err(OperationError::Count(operations.len()));
    }
    let (mut read_all, mut reads, mut answers) = (0, 0, 0);
    for operation in operations {
        match operation {
            Operation::Read(_)
            | Operation::CollectionRead(..)
            | Operation::BitsRead(..)
            | Operation::HllRead(..)
            | Operation::ExpressionRead(..) => reads += 1,
            Operation::ReadAll => read_all += 1,
            Operation::Touch
            | Operation::Write(_, None)
            | Operation::Increment(..)
            | Operation::Append(..)
            | Operation::Prepend(..)
            | Operation::CollectionModify(..)
            | Operation::DeleteAll
            | Operation::BitsModify(..)
            | Operation::HllModify(..)
                if flags.replaces =>
            {
                return Err(OperationError::Combination(
                    "a replace takes only whole values",
                ));
            }
            Operation::CollectionModify(..) => answers += 1,
            Operation::Touch
            | Operation::Write(..)
            | Operation::Increment(..)
            | Operation::Append(..)
            | Operation::Prepend(..)
            | Operation::DeleteAll
            | Operation::BitsModify(..)
            | Operation::ExpressionWrite(..) => {}
            Operation::HllModify(_, call) => answers += usize::from(call.answers()),
        }
    }
    if (reads > 0 || read_all > 0) && !flags.reads {
        return Err(OperationError::Combination(
            "a read inside a command that does not read",
        ));
    }
    if read_all > 1 || (read_all == 1 && (reads + answers > 0 || flags.respond_all)) {
        return Err(OperationError::Combination(
            "read-all comes once and alone among what is answered",
        ));
    }
    if flags.get_all && read_all == 0 {
        return Err(OperationError::Combination(
            "get-all without a read-all operation",
        ));
    }
    Ok(())
}

/// One answer of a command: the bin's name and, unless there is nothing to tell, its value.
pub type Answer<'a> = (Cow<'a, [u8]>, Option<Value<'a>>);

/// What a command's operations did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied<'a> {
    /// The bins afterwards.
    pub bins: Bins<'a>,
    /// The answers in order.
    pub answers: SmallVec<[Answer<'a>; 4]>,
}

/// What operations are applied in.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'s> {
    /// The command wants one answer per operation.
    pub respond_all: bool,
    /// It writes: a call that finds nothing to tell of a bin says so then.
    pub writes: bool,
    /// What expressions are told of the record.
    pub metadata: Metadata<'s>,
    /// Its stored key, type byte first.
    pub key: Option<&'s [u8]>,
}

/// Applies a checked command to the bins of a record. A command that only reads may have only operations
/// that read.
///
/// # Errors
/// See [`OperationError`]. Nothing was applied then.
pub fn apply<'a>(
    bins: Bins<'a>,
    operations: &[Operation<'a>],
    setting: &Setting<'_>,
    work: &Work,
) -> Result<Applied<'a>, OperationError> {
    let mut applied = Applied {
        bins,
        answers: SmallVec::new(),
    };
    for operation in operations {
        if operations.len() > INDEXED_FROM && applied.bins.lacks_index() {
            work.spend(STEPS_TO_INDEX * applied.bins.len() as u64)?;
            applied.bins.index();
        }
        work.spend(STEPS_OF_OPERATION + STEPS_OF_BIN * applied.bins.passed_by() as u64)?;
        let done = apply_one(&mut applied, operation, setting, work);
        work.spend(0)?; // what an operation did that went too far means nothing
        done?;
    }
    if applied.bins.len() > crate::flat::BINS_MAX {
        return Err(OperationError::TooManyBins);
    }
    Ok(applied)
}

fn apply_one<'a>(
    applied: &mut Applied<'a>,
    operation: &Operation<'a>,
    setting: &Setting<'_>,
    work: &Work,
) -> Result<(), OperationError> {
    let respond_all = setting.respond_all;
    let Applied { bins, answers } = applied;
    let name: &'a [u8] = match operation {
        Operation::Read(name) => {
            let value = bins.get(name);
            if let Some(Cow::Owned(bytes)) = value.map(|value| &value.bytes) {
                work.spend(of_bytes(bytes.len()))?;
            }
            let value = value.cloned();
            if value.is_some() || respond_all {
                answers.push((Cow::Borrowed(*name), value));
            }
            return Ok(());
        }
        Operation::ReadAll => {
            let bytes = bins.iter().map(|bin| bin.value.len()).sum();
            work.spend(of_bytes(bytes))?;
            answers.extend(bins.iter().map(|bin| {
                let bytes = Cow::Owned(bin.value.to_vec());
                (
                    Cow::Owned(bin.name.to_vec()),
                    Some(Value {
                        particle: bin.particle,
                        bytes,
                    }),
                )
            }));
            return Ok(());
        }
        Operation::CollectionRead(name, call) => {
            let answer = collection::read(bins.get(name), call, setting.writes, work)?;
            if respond_all || answer.is_some() {
                answers.push((Cow::Borrowed(*name), answer.flatten()));
            }
            return Ok(());
        }
        Operation::CollectionModify(name, call) => {
            let (value, answer) = collection::modify(bins.get(name), call, work)?;
            if let Some(value) = value {
                bins.set(name, value);
            }
            if respond_all || answer.is_some() {
                answers.push((Cow::Borrowed(*name), answer.flatten()));
            }
            return Ok(());
        }
        Operation::Touch => return Ok(()),
        Operation::Write(name, value) => {
            match value {
                Some(value) => bins.set(name, value.clone()),
                None => {
                    work.spend(STEPS_OF_BIN * bins.len() as u64)?;
                    bins.remove(name);
                }
            }
            name
        }
        Operation::Increment(name, operand) => {
            let sum = incremented(bins.get(name), operand)?;
            bins.set(name, sum);
            name
        }
        Operation::Append(name, value) => {
            work.spend(steps_to_join(bins.get(name), value))?;
            let joined = joined(bins.get(name), value, |old, new| [old, new])?;
            bins.set(name, joined);
            name
        }
        Operation::Prepend(name, value) => {
            work.spend(steps_to_join(bins.get(name), value))?;
            let joined = joined(bins.get(name), value, |old, new| [new, old])?;
            bins.set(name, joined);
            name
        }
        Operation::DeleteAll => {
            bins.clear();
            &[]
        }
        Operation::BitsRead(..)
        | Operation::BitsModify(..)
        | Operation::HllRead(..)
        | Operation::HllModify(..)
        | Operation::ExpressionRead(..)
        | Operation::ExpressionWrite(..) => return call::apply(applied, operation, setting, work),
    };
    if respond_all {
        answers.push((Cow::Borrowed(name), None));
    }
    Ok(())
}

/// Steps to put bytes beside those of a bin.
fn steps_to_join(current: Option<&Value<'_>>, value: &Value<'_>) -> u64 {
    of_bytes(current.map_or(0, |current| current.bytes.len()) + value.bytes.len())
}

/// The eight bytes of a number in stored form.
fn eight(value: &Value<'_>) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&value.bytes);
    bytes
}

fn incremented<'a>(
    current: Option<&Value<'a>>,
    operand: &Operand<'a>,
) -> Result<Value<'a>, OperationError> {
    let Some(current) = current else {
        return Ok(match operand {
            Operand::Value(value) => value.clone(),
            Operand::Floored(delta) => Value::integer((*delta).max(0)),
        });
    };
    let number = |value: &Value<'_>| i64::from_be_bytes(eight(value));
    match (current.particle, operand) {
        (ParticleType::Integer, Operand::Floored(delta)) => {
            let sum = number(current).wrapping_add(*delta);
            Ok(Value::integer(if *delta < 0 { sum.max(0) } else { sum }))
        }
        (ParticleType::Integer, Operand::Value(value))
            if value.particle == ParticleType::Integer =>
        {
            Ok(Value::integer(number(current).wrapping_add(number(value))))
        }
        (ParticleType::Float, Operand::Value(value)) if value.particle == ParticleType::Float => {
            let sum = f64::from_be_bytes(eight(current)) + f64::from_be_bytes(eight(value));
            let bytes = Cow::Owned(sum.to_be_bytes().to_vec());
            Ok(Value {
                particle: ParticleType::Float,
                bytes,
            })
        }
        (ParticleType::GeoJson, _) => Err(OperationError::GeoJson),
        (particle, _) => Err(OperationError::Incompatible(particle)),
    }
}

fn joined<'a>(
    current: Option<&Value<'a>>,
    value: &Value<'a>,
    order: for<'b> fn(&'b [u8], &'b [u8]) -> [&'b [u8]; 2],
) -> Result<Value<'a>, OperationError> {
    let Some(current) = current else {
        return Ok(value.clone());
    };
    if current.particle == ParticleType::GeoJson {
        return Err(OperationError::GeoJson);
    }
    if !current.particle.is_text_or_blob() || current.particle != value.particle {
        return Err(OperationError::Incompatible(current.particle));
    }
    let bytes = Cow::Owned(order(&current.bytes, &value.bytes).concat());
    Ok(Value {
        particle: current.particle,
        bytes,
    })
}

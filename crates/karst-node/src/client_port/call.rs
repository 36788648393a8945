//! Calls and expressions of requests: the wire's spelling of them, and their refusals.

use std::rc::Rc;
use std::time::Duration;

use karst_data::bit::{BitModify, BitRead};
use karst_data::call::CallError;
use karst_data::cdt::{Access, CdtError};
use karst_data::expr::{ExprError, ExpressionRead, ExpressionWrite, Filter, Metadata};
use karst_data::hll::{HllModify, HllRead};
use karst_data::key::Digest;
use karst_data::operation::{self, Applied, Collection, Operation, Setting};
use karst_data::time::Now;
use karst_data::weigh;
use karst_data::work::{STEPS, Work};
use karst_engine::read::Found;
use karst_wire::code::ResultCode;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::request::{Op as WireOp, Ops};

use super::single::Refused;
use crate::core::Core;

impl From<CallError> for Refused {
    fn from(error: CallError) -> Refused {
        Refused(code_of(&error))
    }
}

impl From<ExprError> for Refused {
    fn from(error: ExprError) -> Refused {
        Refused(match error {
            ExprError::Malformed(_) => ResultCode::Parameter,
            ExprError::Unsupported(_) => ResultCode::UnsupportedFeature,
        })
    }
}

/// How the protocol spells that something takes more work than a request may make: it was not done, and would not be
/// if it were asked for again.
pub(super) const EXHAUSTED: ResultCode = ResultCode::OpNotApplicable;

/// How the protocol spells the refusal of a call.
pub(super) fn code_of(error: &CallError) -> ResultCode {
    match error {
        CallError::Parameter(_) => ResultCode::Parameter,
        CallError::BinExists => ResultCode::BinExists,
        CallError::BinNotFound => ResultCode::BinNotFound,
        CallError::Incompatible(_) => ResultCode::IncompatibleType,
        CallError::NotApplicable(_) => ResultCode::OpNotApplicable,
        CallError::TooBig(_) => ResultCode::RecordTooBig,
        CallError::Corrupt => ResultCode::Unknown,
    }
}

/// How the protocol spells the refusal of an operation on a list or map.
pub(super) fn code_of_collection(error: CdtError) -> ResultCode {
    match error {
        CdtError::Parameter(_) => ResultCode::Parameter,
        CdtError::Incompatible => ResultCode::IncompatibleType,
        CdtError::ElementNotFound => ResultCode::ElementNotFound,
        CdtError::ElementExists => ResultCode::ElementExists,
        CdtError::NotApplicable(_) => ResultCode::OpNotApplicable,
        CdtError::TooBig => ResultCode::RecordTooBig,
        CdtError::Unsupported(_) => ResultCode::UnsupportedFeature,
        CdtError::Exhausted => EXHAUSTED,
        CdtError::NoValue | CdtError::Damaged(_) => ResultCode::Unknown,
    }
}

/// The filter of a request, if it has one. The last one is remembered: rows of a batch share theirs.
pub(super) fn filter(core: &Core, bytes: Option<&[u8]>) -> Result<Option<Rc<Filter>>, Refused> {
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let mut last = core.last_filter.borrow_mut();
    if let Some(filter) = last.as_ref().filter(|filter| filter.source() == bytes) {
        return Ok(Some(filter.clone()));
    }
    let filter = Rc::new(Filter::parse(bytes)?);
    *last = Some(filter.clone());
    Ok(Some(filter))
}

/// How long something that takes long to read may take.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// Reads something of a request on another thread.
///
/// # Errors
/// When nobody reads it.
pub(super) async fn read_elsewhere<T: Send + 'static>(
    core: &Core,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ResultCode> {
    let read = core.node.functions.aside(read, READ_PATIENCE).await;
    read.map_err(|_| ResultCode::DeviceOverload)
}

/// Reads the filter of a request on another thread if that takes longer than a core may be held: it is the last one then.
///
/// # Errors
/// When it is none, or nobody reads it.
pub(super) async fn filter_ahead(core: &Core, bytes: Option<&[u8]>) -> Result<(), Refused> {
    let Some(bytes) = bytes.filter(|bytes| steps_to_filter(core, bytes) > STEPS) else {
        return Ok(());
    };
    let bytes = bytes.to_vec();
    let filter = read_elsewhere(core, move || Filter::parse(&bytes)).await??;
    *core.last_filter.borrow_mut() = Some(Rc::new(filter));
    Ok(())
}

/// The filter of a query, if it has one: such as takes long to read was read [ahead](filter_ahead).
///
/// # Errors
/// When it is none, or was not read ahead.
pub(super) fn filter_of_query(
    core: &Core,
    bytes: Option<&[u8]>,
) -> Result<Option<Rc<Filter>>, Refused> {
    match bytes.is_some_and(|bytes| steps_to_filter(core, bytes) > STEPS) {
        true => Err(EXHAUSTED.into()),
        false => filter(core, bytes),
    }
}

/// How much work it is to have the filter of a request: much less if it was the last one.
pub(super) fn steps_to_filter(core: &Core, bytes: &[u8]) -> u64 {
    let last = core.last_filter.borrow();
    match last.as_ref().is_some_and(|filter| filter.source() == bytes) {
        true => 0,
        false => weigh::of_expression(bytes, STEPS),
    }
}

/// An operation that calls.
pub(super) fn operation(op: WireOp<'_>) -> Result<Operation<'_>, Refused> {
    let is_blob = op.particle == particle::BLOB;
    Ok(match op.code {
        OpCode::BitsRead | OpCode::BitsModify if !is_blob => {
            return Err(ResultCode::IncompatibleType.into());
        }
        OpCode::CdtRead => {
            Operation::CollectionRead(op.name, Collection::parse(op.value, Access::Read))
        }
        OpCode::CdtModify => {
            Operation::CollectionModify(op.name, Collection::parse(op.value, Access::Modify))
        }
        OpCode::BitsRead => Operation::BitsRead(op.name, BitRead::parse(op.value)?),
        OpCode::BitsModify => Operation::BitsModify(op.name, BitModify::parse(op.value)?),
        OpCode::HllRead => Operation::HllRead(op.name, HllRead::parse(op.value)?),
        OpCode::HllModify => Operation::HllModify(op.name, HllModify::parse(op.value)?),
        OpCode::ExpressionRead => {
            Operation::ExpressionRead(op.name, Box::new(ExpressionRead::parse(op.value)?))
        }
        OpCode::ExpressionModify => {
            Operation::ExpressionWrite(op.name, Box::new(ExpressionWrite::parse(op.value)?))
        }
        _ => return Err(ResultCode::Parameter.into()),
    })
}

/// Whether operations only name bins to be returned.
pub(super) fn only_names(ops: Ops<'_>) -> bool {
    ops.iter().all(|op| op.code == OpCode::Read)
}

/// Where a record was read.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    /// Its name.
    pub(super) digest: Digest,
    /// Whether its namespace is in memory.
    pub(super) in_memory: bool,
    /// The present.
    pub(super) now: Now,
    /// Whether every operation is answered.
    pub(super) respond_all: bool,
}

impl Scene {
    /// Where a record of a namespace is read now.
    pub(super) fn of(core: &Core, namespace: usize, digest: Digest, respond_all: bool) -> Scene {
        let engine = &core.namespace(namespace).engine;
        Scene {
            digest,
            in_memory: !engine.log().config().on_devices,
            now: core.now(),
            respond_all,
        }
    }

    /// What expressions are told of a record that was read whole.
    pub(super) fn metadata<'a>(&self, found: &Found<'a>) -> Metadata<'a> {
        let record = found.record.as_ref();
        Metadata {
            digest: self.digest,
            set: record.map_or(&[], |record| record.set),
            stores_key: record.is_some_and(|record| record.key.is_some()),
            tombstone: false,
            void_time_s: found.void_time_s,
            update_time_ms: found.update_time_ms,
            size_bytes: found.size_bytes,
            in_memory: self.in_memory,
            now: self.now,
        }
    }
}

/// What operations that read have to tell of a record.
pub(super) fn told<'a>(
    operations: &[Operation<'a>],
    found: &Found<'a>,
    scene: &Scene,
    work: &Work,
) -> Result<Applied<'a>, operation::OperationError> {
    let record = found.record.as_ref();
    let setting = Setting {
        respond_all: scene.respond_all,
        writes: false,
        metadata: scene.metadata(found),
        key: record.and_then(|record| record.key),
    };
    let bins = record
        .into_iter()
        .flat_map(|record| record.bins())
        .collect();
    operation::apply(bins, operations, &setting, work)
}

//! A function that is run on one record: read, call, write.
//!
//! ```text
//! attempt: read the record -> Try::Call -> a thread runs the function, the core goes on
//!          -> written if the record is still what was read (an ordinary write in every other way) -> reply
//!                        '- else read again and called again, CALLS_MAX times at most
//! ```
//!
//! No lock is held while the function runs. One that wrote nothing is answered as a read is: where consistency is
//! strong only by a node that knows that it still leads.

use std::rc::Rc;
use std::time::Duration;

use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::Ttl;
use karst_data::value::Value;
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::write::{Basis, WriteRequest};
use karst_engine::{Fetched, Reason, Step};
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info2, Info3};
use karst_wire::op::OpCode;
use karst_wire::reply::RecordReply;
use karst_wire::request::Message;

use super::call;
use super::single::{self, Asked, At, Refused, Try};
use super::strong;
use crate::core::Core;
use crate::counters::{Ending, Op};
use crate::udf::state::BINS_MAX;
use crate::udf::{Call, Change, Ended, NotRun, Returned, Snapshot, Subject};

/// How often a function is called for one request because the record has changed meanwhile.
pub(super) const CALLS_MAX: usize = 64;

/// Longest time that a function has, whatever the client says.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// Most bytes of a module's or a function's name.
const NAME_BYTES_MAX: usize = 127;

/// A function that was run, and what it was run on.
pub(super) struct Ran {
    ended: Result<Ended, NotRun>,
    version: Option<[u8; 10]>,
    generation: u16,
    void_time_s: u32,
}

/// Runs a function; nothing is written yet.
pub(super) async fn run(core: &Rc<Core>, call: Box<Call>, patience: Duration) -> Ran {
    let found = call.record.found.as_ref();
    let (version, generation, void_time_s) = match found {
        Some(found) => (Some(found.version), found.generation, found.void_time_s),
        None => (None, 0, 0),
    };
    let patience = patience.min(CALL_TIME_MAX);
    Ran {
        ended: core.node.functions.run(*call, patience).await,
        version,
        generation,
        void_time_s,
    }
}

/// The version of the record that the request's filter has let pass already; none if there was no record.
pub(super) struct Passed(pub(super) Option<[u8; 10]>);

/// Reads the record that a function is to be called with.
pub(super) fn begin(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    (passed, fetched): (Option<&Passed>, Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let named = Named::of(message)?;
    if !asked.is_of_query() {
        check_flags(message)?; // a query was asked whether its client's are right
    }
    let set = message.set()?.unwrap_or_default();
    let filter = match passed {
        Some(_) => None,
        None => call::filter(core, message.fields.filter)?,
    };
    let request = ReadRequest {
        digest: at.digest,
        set,
        key: message.key().map(|key| key.0),
        need: Need::Bins,
        filter: filter.as_deref(),
    };
    let index = at.index;
    let engine = &core.namespace(index).engine;
    let now = core.now();
    let mut too_long = false;
    let read = engine.read_within(now, &request, &at.work(), fetched, |found| match found {
        Ok(found) if bins(&found) > BINS_MAX => Err((ResultCode::BinName, Ending::Refused)),
        Ok(found) if is_another(asked, message, &found) => {
            Err(single::code_of(&Reason::Generation))
        }
        Ok(found) => Ok(snapshot(&found, now.epoch_s())),
        Err(refusal) if refusal.reason == Reason::NotFound && !asked.is_of_query() => Ok(None),
        Err(refusal) => {
            too_long = refusal.reason == Reason::Exhausted;
            Err(single::code_of(&refusal.reason))
        }
    });
    if too_long {
        return Ok(single::put_aside(core, index));
    }
    let found = match read {
        Step::Read(read) => return Ok(Try::Read(index, read)),
        Step::Wait => return Ok(Try::Wait(index)),
        Step::Done(Ok(found)) => found,
        Step::Done(Err((code, ending))) => {
            asked.count(core, index, Op::Udf, ending);
            single::error(out, asked, code);
            return Ok(Try::Replied(None));
        }
    };
    let version = found.as_ref().map(|found| found.version);
    if passed.is_some_and(|passed| passed.0 != version) {
        return Ok(Try::Overtaken);
    }
    let record = Subject {
        digest: at.digest.0,
        set: set.to_vec(),
        found,
    };
    let call = Call {
        modules: core.node.cluster.snapshot().modules.clone(),
        module: named.module,
        function: named.function,
        arguments: named.arguments.to_vec(),
        record,
    };
    Ok(Try::Call(index, Box::new(call)))
}

/// A packed list of nothing: the C client sends an empty field in its stead, with aggregations.
const NO_ARGUMENTS: &[u8] = &[0x90];

/// The function that a request names.
pub(super) struct Named<'a> {
    pub(super) module: String,
    pub(super) function: String,
    /// A packed list.
    pub(super) arguments: &'a [u8],
}

impl<'a> Named<'a> {
    /// # Errors
    /// When it names none.
    pub(super) fn of(message: &Message<'a>) -> Result<Named<'a>, Refused> {
        let fields = &message.fields;
        Ok(Named {
            module: name(fields.udf_filename)?,
            function: name(fields.udf_function)?,
            arguments: match fields.udf_arguments.ok_or(ResultCode::Parameter)? {
                [] => NO_ARGUMENTS,
                arguments => arguments,
            },
        })
    }
}

/// Whether the record is another than the one in which a query found what it looks for.
fn is_another(asked: Asked, message: &Message<'_>, found: &Found<'_>) -> bool {
    let header = &message.header;
    asked.is_of_query()
        && header.info2.contains(Info2::GENERATION)
        && header.generation != u32::from(found.generation)
}

fn name(field: Option<&[u8]>) -> Result<String, Refused> {
    let name = field.ok_or(ResultCode::Parameter)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(ResultCode::Parameter.into());
    }
    Ok(String::from_utf8_lossy(name).into_owned()) // what is no text is found nowhere
}

/// A function sees for itself whether there is a record, and of which generation.
///
/// # Errors
/// When the request says more about it.
pub(super) fn check_flags(message: &Message<'_>) -> Result<(), Refused> {
    let (info2, info3) = (message.header.info2, message.header.info3);
    let demands = [Info2::GENERATION, Info2::GENERATION_GT, Info2::CREATE_ONLY];
    let replaces = [
        Info3::UPDATE_ONLY,
        Info3::CREATE_OR_REPLACE,
        Info3::REPLACE_ONLY,
    ];
    let any = demands.iter().any(|flag| info2.contains(*flag))
        || replaces.iter().any(|flag| info3.contains(*flag));
    match any {
        true => Err(ResultCode::Parameter.into()),
        false => Ok(()),
    }
}

fn bins(found: &Found<'_>) -> usize {
    let record = found.record.as_ref();
    record.map_or(0, |record| usize::from(record.bin_count()))
}

/// The record as it is, if it was read in full.
pub(super) fn snapshot(found: &Found<'_>, now_s: u32) -> Option<Snapshot> {
    let record = found.record.as_ref()?;
    let bins = record.bins();
    let size_bytes = record.draft(record.meta).size_bytes();
    Some(Snapshot {
        version: record.meta.version,
        generation: found.generation,
        void_time_s: found.void_time_s,
        ttl_s: match found.void_time_s {
            0 => 0,
            void_time_s => void_time_s.saturating_sub(now_s),
        },
        update_time_ms: found.update_time_ms,
        key: record.key.map(<[u8]>::to_vec),
        size_bytes,
        bins: bins
            .map(|bin| (bin.name.to_vec(), bin.particle, bin.value.to_vec()))
            .collect(),
    })
}

/// Answers for a function that was run, and writes what it did.
pub(super) fn finish(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    (ran, fetched): (&Ran, Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let start = out.len();
    let ending = match &ran.ended {
        Ok(Ended::Returned(Returned {
            rejected: None,
            change: Some(change),
            value,
        })) => {
            return write(core, at, message, asked, (ran, change, value, fetched), out);
        }
        Ok(Ended::Returned(Returned {
            rejected: Some(code),
            ..
        })) => {
            let code = ResultCode::from_u8(*code).unwrap_or(ResultCode::Unknown);
            single::error(out, asked, code);
            Ending::Refused
        }
        Ok(Ended::Returned(Returned { value, .. })) => {
            let (generation, void_time_s) = (ran.generation, ran.void_time_s);
            answer(out, asked, value, generation, void_time_s)
        }
        Ok(Ended::Failed(why)) => failure(out, asked, why),
        Err(NotRun::Late) => {
            let why = NotRun::Late.to_string();
            failure(out, asked, why.as_bytes())
        }
        Err(NotRun::Busy) => {
            single::error(out, asked, ResultCode::DeviceOverload);
            Ending::Overload
        }
    };
    let tried = match at.share.quorums.is_some() {
        true => {
            let reads = strong::Reads::of(at.share, message).of_primary();
            strong::after_read(core, at.index, &at.digest, at.by(), reads)
        }
        false => Try::Replied(None),
    };
    if let Try::Replied(_) = &tried {
        asked.count(core, at.index, Op::Udf, ending);
    }
    Ok(tried.or_take_back(out, start))
}

fn write(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    (ran, change, value, fetched): (&Ran, &Change, &(u8, Vec<u8>), Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let index = at.index;
    if ran.version.is_none() && change.bins.iter().all(|bin| bin.1.is_none()) {
        single::error(out, asked, ResultCode::NotFound); // there is no record, and it would have no bins
        return Ok(Try::Replied(None));
    }
    let operations = operations(change);
    let request = WriteRequest {
        digest: at.digest,
        set: message.set()?.unwrap_or_default(),
        key: message.key().map(|key| key.0),
        exists: Exists::Any,
        generation: GenerationRule::Any,
        ttl: ttl(change, message.header.record_ttl)?,
        flags: CommandFlags::default(),
        operations: &operations,
        filter: None, // it has let the record pass that this is written over
    };
    let basis = Basis {
        version: ran.version,
        drops_key: change.drops_key,
    };
    let engine = &core.namespace(index).engine;
    let hand = core.hand(index, at.share.regime, at.replicated);
    let (start, mut overtaken) = (out.len(), false);
    let step = engine.write_over(&hand, &request, &basis, fetched, |written| {
        let ending = match &written {
            Ok(written) => answer(out, asked, value, written.generation, written.void_time_s),
            Err(refusal) if refusal.reason == Reason::Overtaken => {
                overtaken = true;
                return None;
            }
            Err(refusal) => single::refused(out, asked, refusal),
        };
        asked.count(core, index, Op::Udf, ending);
        single::stored(written.ok()?)
    });
    if overtaken {
        return Ok(Try::Overtaken);
    }
    Ok(single::after_write(core, at, message, step).or_take_back(out, start))
}

fn operations(change: &Change) -> Vec<Operation<'_>> {
    let mut operations = Vec::with_capacity(change.bins.len() + 1);
    if change.wiped {
        operations.push(Operation::DeleteAll);
    }
    operations.extend(change.bins.iter().map(|(name, value)| {
        let value = value.as_ref().map(|(particle, bytes)| Value {
            particle: *particle,
            bytes: bytes.as_slice().into(),
        });
        Operation::Write(name, value)
    }));
    if operations.is_empty() {
        operations.push(Operation::Touch);
    }
    operations
}

/// The record's life after the write: what the function chose, or else the client.
fn ttl(change: &Change, of_message: u32) -> Result<Ttl, Refused> {
    let ttl = match change.ttl {
        None => Ttl::from_wire(of_message),
        Some(-2) => Some(Ttl::Keep),
        Some(-1) => Some(Ttl::Never),
        Some(seconds) => u32::try_from(seconds).ok().and_then(Ttl::from_wire),
    };
    Ok(ttl.ok_or(ResultCode::Parameter)?)
}

fn answer(
    out: &mut Vec<u8>,
    asked: Asked,
    (particle, bytes): &(u8, Vec<u8>),
    generation: u16,
    void_time_s: u32,
) -> Ending {
    let head = asked.head(ResultCode::Ok, generation, void_time_s);
    let mut reply = RecordReply::framed(out, &head);
    reply.op(OpCode::Read, *particle, b"SUCCESS", bytes);
    single::finish(reply.finish().is_ok(), out, asked)
}

fn failure(out: &mut Vec<u8>, asked: Asked, why: &[u8]) -> Ending {
    let head = asked.head(ResultCode::UdfExecution, 0, 0);
    let mut reply = RecordReply::framed(out, &head);
    reply.op(OpCode::Read, 3, b"FAILURE", why);
    single::finish(reply.finish().is_ok(), out, asked);
    Ending::Refused
}

//! One single-record request: the wire's spelling to the engine's, and its outcome to a reply.
//!
//! A request is *tried* where it arrives. Most are answered at once. One that needs a device, or has
//! to wait for a block or a commit, is carried on from a copy of its message by a task of its own,
//! which tries again with what it waited for.

mod answer;
mod asked;
mod carry_on;
mod operations;
mod pending;
mod read;
mod write;

use std::rc::Rc;

use karst_cluster::map::Role;
use karst_cluster::node::NodeId;
use karst_cluster::view::{Share, Way};
use karst_data::key::Digest;
use karst_data::value::ValueError;
use karst_data::work::{STEPS, Work};
use karst_engine::Fetched;
use karst_storage::log::DeviceRead;
use karst_wire::code::ResultCode;
use karst_wire::op::OpCode;
use karst_wire::reply;
use karst_wire::request::{Kind, Message, Op as WireOp};

use super::udf::{self, Ran};
use super::{aside, strong};
use crate::core::Core;
use crate::udf::Call;

pub(super) use answer::{
    append_answers, append_named, code_of, code_of_operation, error, finish, head_only, refuse,
    refused,
};
pub(super) use asked::Asked;
pub(crate) use carry_on::carry_out_for;
pub(super) use carry_on::{TIMEOUT_DEFAULT, carry_on, carry_on_message, timeout};
pub(super) use operations::{
    Operations, exists, generation, no_projection, operations, parsed, steps_to_read,
};
pub(super) use pending::{Pending, settle};
pub(super) use read::{all, selected};
pub(super) use write::{after_write, stored};

/// A request whose values have no more bytes than these does not take long to read.
const SHORT_BYTES: usize = 64 << 10;

/// How far one try of a request came.
pub(super) enum Try {
    /// The reply is in the buffer. It may be sent once the commit, if any, is durable.
    Replied(Option<Pending>),
    /// Read this and try again.
    Read(usize, DeviceRead),
    /// No block is free, or the partition is changing hands; try again.
    Wait(usize),
    /// This function is to be run.
    Call(usize, Box<Call>),
    /// It takes longer than a core may be held: a thread carries it out. It may hold so many bytes meanwhile.
    Aside(usize, usize),
    /// The record has changed since what is to be written was made of it: that is made again.
    Overtaken,
    /// This other node carries it out.
    Away(NodeId),
    /// Nobody serves its partition now.
    Nowhere,
}

impl Try {
    /// Itself; if it is no reply after all, what was appended from there on is taken back.
    pub(super) fn or_take_back(self, out: &mut Vec<u8>, start: usize) -> Try {
        if !matches!(self, Try::Replied(_)) {
            out.truncate(start);
        }
        self
    }

    /// About how many bytes the request will hold while it waits, and answer with: what it reads, and
    /// that again for each time it asks for it.
    pub(super) fn expected_bytes(&self, message: &Message<'_>) -> usize {
        match self {
            Try::Read(_, read) => {
                let answered = read.bytes.saturating_mul(message.ops.len().max(1));
                read.bytes + answered.min(reply::REPLY_BYTES_MAX)
            }
            Try::Call(_, call) => call
                .record
                .found
                .as_ref()
                .map_or(0, |found| found.size_bytes),
            Try::Aside(_, bytes) => *bytes,
            Try::Replied(_) | Try::Wait(_) | Try::Away(..) | Try::Nowhere | Try::Overtaken => 0,
        }
    }
}

/// Why a request is refused before the engine sees it.
pub(super) struct Refused(pub(super) ResultCode);

impl From<ResultCode> for Refused {
    fn from(code: ResultCode) -> Refused {
        Refused(code)
    }
}

impl From<karst_wire::malformed::Malformed> for Refused {
    fn from(malformed: karst_wire::malformed::Malformed) -> Refused {
        Refused(malformed.code())
    }
}

impl From<ValueError> for Refused {
    fn from(error: ValueError) -> Refused {
        Refused(match error {
            ValueError::Type(_) | ValueError::Malformed { .. } => ResultCode::Parameter,
            ValueError::Collection(_) => ResultCode::Unknown,
            ValueError::GeoJson => ResultCode::GeoInvalidGeojson,
        })
    }
}

/// Tries a request. Whatever the outcome but [`Try::Replied`], nothing was appended to `out`.
pub(super) fn attempt(
    core: &Rc<Core>,
    message: &Message<'_>,
    asked: Asked,
    fetched: Option<&Fetched>,
    out: &mut Vec<u8>,
) -> Try {
    attempt_after(core, message, asked, (Elsewhere::Nothing, fetched), out)
}

/// What was done for a request on another thread.
#[derive(Clone, Copy)]
enum Elsewhere<'r> {
    /// Nothing.
    Nothing,
    /// Its function was run.
    Function(&'r Ran),
    /// Its filter and operations were carried out on a copy of the record.
    Operations(&'r aside::Done),
}

/// The same when part of it was done elsewhere.
fn attempt_after(
    core: &Rc<Core>,
    message: &Message<'_>,
    asked: Asked,
    (elsewhere, fetched): (Elsewhere<'_>, Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Try {
    let value_bytes: usize = message.ops.iter().map(|op| op.value.len()).sum();
    let is_short = value_bytes <= SHORT_BYTES && message.ops.iter().all(is_plain);
    if !is_short || message.fields.filter.is_some() {
        core.may_take_long();
    }
    let tried = locate(core, message).and_then(|(index, kind)| {
        // To read values takes as long as they are.
        if value_bytes > 2 * core.namespace(index).engine.config().record_bytes_max {
            return Err(ResultCode::RecordTooBig.into());
        }
        let steps_to_read = match elsewhere {
            Elsewhere::Nothing => steps_to_read(core, message),
            Elsewhere::Function(_) | Elsewhere::Operations(_) => 0, // it was read there
        };
        let digest = message.digest()?.ok_or(ResultCode::Parameter)?;
        let sight = core.node.sights.now();
        let share = sight.view.share(index, digest.partition());
        let reads = strong::Reads::of(share, message);
        if share.quorums.is_some() && kind != Kind::Read {
            strong::admit(message)?;
            if share.role == Role::Primary && !strong::can_confirm(core, index, share) {
                return Ok(Try::Nowhere);
            }
        }
        let of_primary = kind != Kind::Read || reads.belong_to_primary();
        if of_primary && strong::is_given_up(share) {
            return Ok(Try::Nowhere);
        }
        match share.way(of_primary) {
            Way::Here if fetched.is_none() => core.counted(index).heat.add(digest.partition()),
            Way::Here => {}
            Way::At(node) => return Ok(Try::Away(node)),
            Way::Nowhere => return Ok(Try::Nowhere),
        }
        let at = At {
            index,
            digest,
            share,
            reads,
            generation: sight.view.generation,
            replicated: sight.has_others(),
            steps_left: STEPS.saturating_sub(steps_to_read),
        };
        if let Elsewhere::Operations(done) = elsewhere {
            return aside::finish(core, &at, message, asked, (done, fetched), out);
        }
        match kind {
            Kind::Read | Kind::Write | Kind::Delete | Kind::Udf if steps_to_read > STEPS => {
                Ok(put_aside(core, index))
            }
            Kind::Read => read::read(core, &at, message, asked, fetched, out),
            Kind::Write => write::write(core, &at, message, asked, fetched, out),
            Kind::Delete => write::delete(core, &at, message, asked, fetched, out),
            Kind::Udf => match elsewhere {
                Elsewhere::Function(ran) => {
                    udf::finish(core, &at, message, asked, (ran, fetched), out)
                }
                _ => udf::begin(core, &at, message, asked, (None, fetched), out),
            },
            Kind::Batch
            | Kind::Query
            | Kind::BackgroundOps
            | Kind::BackgroundUdf
            | Kind::Aggregation => Err(ResultCode::UnsupportedFeature.into()),
        }
    });
    tried.unwrap_or_else(|Refused(code)| {
        core.counters.malformed.add(1);
        error(out, asked, code);
        Try::Replied(None)
    })
}

/// Whether an operation takes as long as the value that it names or brings is to copy.
fn is_plain(op: WireOp<'_>) -> bool {
    matches!(
        op.code,
        OpCode::Read
            | OpCode::Write
            | OpCode::Increment
            | OpCode::Append
            | OpCode::Prepend
            | OpCode::Touch
            | OpCode::DeleteAll
    )
}

/// A request that takes too long for this core.
pub(super) fn put_aside(core: &Core, index: usize) -> Try {
    let record_bytes = core.namespace(index).engine.config().record_bytes_max;
    Try::Aside(index, 2 * record_bytes)
}

/// Where a request is carried out.
pub(super) struct At<'s> {
    /// Position of the namespace.
    pub(super) index: usize,
    pub(super) digest: Digest,
    /// What this node has to do with the partition.
    pub(super) share: &'s Share,
    /// What a read has to be sure of.
    pub(super) reads: strong::Reads,
    /// Of the map by which that was looked up.
    generation: u64,
    /// Whether other nodes are to know of writes.
    pub(super) replicated: bool,
    /// What of the work that may be done at once is left when the request was read.
    steps_left: u64,
}

impl At<'_> {
    /// What may be done while this core waits for it.
    pub(super) fn work(&self) -> Work {
        Work::new(self.steps_left)
    }

    /// The map by which that was looked up.
    pub(super) fn by(&self) -> strong::By {
        strong::By {
            regime: self.share.regime,
            generation: self.generation,
        }
    }
}

/// The namespace that a request is about and what it wants there.
fn locate(core: &Core, message: &Message<'_>) -> Result<(usize, Kind), Refused> {
    let kind = message.kind()?;
    let (index, _) = core
        .node
        .namespace(message.namespace()?)
        .ok_or(ResultCode::Namespace)?;
    if message.fields.transaction_id.is_some() {
        return Err(ResultCode::EnterpriseOnly.into()); // the code by which clients know "no transactions"
    }
    Ok((index, kind))
}

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
use karst_engine::Fetched;
use karst_storage::log::DeviceRead;
use karst_wire::code::ResultCode;
use karst_wire::reply;
use karst_wire::request::{Kind, Message};

use super::strong;
use super::udf::{self, Ran};
use crate::core::Core;
use crate::udf::Call;

pub(super) use answer::{append_answers, append_named, code_of, error, finish, refuse, refused};
pub(super) use asked::Asked;
pub(crate) use carry_on::carry_out_for;
pub(super) use carry_on::{TIMEOUT_DEFAULT, carry_on, carry_on_message, timeout};
pub(super) use operations::{Operations, no_projection, operations, parsed};
pub(super) use pending::{Pending, settle};
pub(super) use write::{after_write, stored};

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
    /// The record has changed since the function was run that wanted to write it: run it again.
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
    attempt_after(core, message, asked, (None, fetched), out)
}

/// The same when its function, if it is about one, may have been run.
fn attempt_after(
    core: &Rc<Core>,
    message: &Message<'_>,
    asked: Asked,
    (ran, fetched): (Option<&Ran>, Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Try {
    let tried = locate(core, message).and_then(|(index, kind)| {
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
        };
        match kind {
            Kind::Read => read::read(core, &at, message, asked, fetched, out),
            Kind::Write => write::write(core, &at, message, asked, fetched, out),
            Kind::Delete => write::delete(core, &at, message, asked, fetched, out),
            Kind::Udf => match ran {
                None => udf::begin(core, &at, message, asked, fetched, out),
                Some(ran) => udf::finish(core, &at, message, asked, (ran, fetched), out),
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

/// Where a request is carried out.
pub(super) struct At<'s> {
    /// Position of the namespace.
    pub(super) index: usize,
    pub(super) digest: Digest,
    /// What this node has to do with the partition.
    pub(super) share: &'s Share,
    /// What a read has to be sure of.
    reads: strong::Reads,
    /// Of the map by which that was looked up.
    generation: u64,
    /// Whether other nodes are to know of writes.
    pub(super) replicated: bool,
}

impl At<'_> {
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

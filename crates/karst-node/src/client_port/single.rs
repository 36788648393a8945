//! One single-record request: the wire's spelling to the engine's, and its outcome to a reply.
//!
//! A request is *tried* where it arrives. Most are answered at once. One that needs a device, or has
//! to wait for a block or a commit, is carried on from a copy of its message by a task of its own,
//! which tries again with what it waited for.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::fabric::{self, Ack, Proxy};
use karst_cluster::map::Role;
use karst_cluster::node::NodeId;
use karst_cluster::view::{Share, Way};
use karst_data::key::Digest;
use karst_data::operation::{self, CommandFlags, Operand, Operation, OperationError};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::Ttl;
use karst_data::value::{Value, ValueError};
use karst_data::work::{Exhausted, Work};
use karst_engine::damage::FoundBy;
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::write::{DeleteRequest, WriteRequest, Written};
use karst_engine::{Fetched, Reason, Refusal, Step};
use karst_io::clock;
use karst_storage::log::{CommitPoint, DeviceRead};
use karst_storage::place::Version;
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::op::{OpCode, OpKind};
use karst_wire::reply::{self, RecordReply, ReplyHead};
use karst_wire::request::{Kind, Message, Op as WireOp, Ops};
use smallvec::SmallVec;

use super::aside;
use super::call::{self, Scene};
use super::strong;
use super::touch::Touch;
use super::udf::{self, Ran};
use crate::core::{Core, DeviceError};
use crate::counters::{Ending, Op};
use crate::fabric_port::copy::Copies;
use crate::fabric_port::flight::{Flight, Made};
use crate::fabric_port::peer::{Answer, NoAnswer};
use crate::udf::Call;

/// How long a request may wait for room when the client sets no limit.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_millis(1000);

/// How long a request waits at most for somebody to serve its partition: longer than it takes to take one over.
const UNSERVED_PATIENCE_MAX: Duration = Duration::from_secs(5);

/// How long a write waits before it looks for a free block again.
const SPACE_PAUSE: Duration = Duration::from_millis(2);

/// How long a request waits before it looks at the map again.
const MAP_PAUSE: Duration = Duration::from_millis(5);

/// Writes of one core whose copies may be on their way with nobody waiting for them.
const UNWATCHED_MAX: usize = 4096;

/// How often a read is tried again because the record moved while its old place was read.
const FETCHES_MAX: usize = 16;

/// A request whose values have no more bytes than these does not take long to read.
const SHORT_BYTES: usize = 64 << 10;

/// Most bytes that the compiled patterns of all operations of a request may have.
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// How far one try of a request came.
pub(super) enum Try {
    /// The reply is in the buffer. It may be sent once the commit, if any, is durable.
    Replied(Option<Pending>),
    /// Read this and try again.
    Read(usize, DeviceRead),
    /// No block is free, or the partition is changing hands; try again.
    Wait(usize),
    /// This function is to be run.
    Call(Box<Call>),
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
            Try::Call(call) => call
                .record
                .found
                .as_ref()
                .map_or(0, |found| found.size_bytes),
            Try::Aside(_, bytes) => *bytes,
            Try::Replied(_) | Try::Wait(_) | Try::Away(..) | Try::Nowhere | Try::Overtaken => 0,
        }
    }
}

/// What a reply has to wait for.
#[allow(
    clippy::large_enum_variant,
    reason = "the largest is what most writes are, and it is moved once"
)]
pub(super) enum Pending {
    /// A write is where it should be.
    Write(PendingWrite),
    /// A write is confirmed.
    Flight {
        /// The write.
        flight: Flight,
        /// How long its client waits.
        patience: Duration,
    },
    /// Whoever confirms writes of a partition agrees that this node still leads it.
    Standing(strong::Standing),
}

/// A write that is answered when it is durable, and where it should be.
pub(super) struct PendingWrite {
    namespace: usize,
    /// A commit on this node's devices.
    point: Option<CommitPoint>,
    /// Copies on their way to other nodes.
    copies: Option<Copies>,
}

/// What a reply has to know of its request beside the message.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// The client's number for a row of a batch; `None` for a single-record request.
    row: Option<u32>,
    /// When it arrived, on the monotonic clock, in microseconds.
    at_us: u64,
    /// It is still the turn in which it arrived.
    within_turn: bool,
    /// Another node has handed it on: it goes no further.
    proxied: bool,
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

pub(super) type Operations<'a> = SmallVec<[Operation<'a>; 4]>;

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
        // To read values takes as long as they are, before anybody counts what it takes.
        if value_bytes > 2 * core.namespace(index).engine.config().record_bytes_max {
            return Err(ResultCode::RecordTooBig.into());
        }
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
        if let Elsewhere::Operations(done) = elsewhere {
            return aside::finish(core, &at, message, asked, (done, fetched), out);
        }
        match kind {
            Kind::Read => read(core, &at, message, asked, fetched, out),
            Kind::Write => write(core, &at, message, asked, fetched, out),
            Kind::Delete => delete(core, &at, message, asked, fetched, out),
            Kind::Udf => match elsewhere {
                Elsewhere::Function(ran) => {
                    udf::finish(core, &at, message, asked, (ran, fetched), out)
                }
                _ => udf::begin(core, &at, message, asked, fetched, out),
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
fn aside(core: &Core, index: usize) -> Try {
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

/// Appends an answer without a record.
pub(super) fn error(out: &mut Vec<u8>, asked: Asked, code: ResultCode) {
    head_only(out, &asked.head(code, 0, 0));
}

pub(super) fn head_only(out: &mut Vec<u8>, head: &ReplyHead) {
    // A message without fields and operations cannot exceed a limit.
    let finished = RecordReply::framed(out, head).finish();
    debug_assert!(finished.is_ok());
}

impl Asked {
    pub(super) fn head(self, code: ResultCode, generation: u16, void_time_s: u32) -> ReplyHead {
        let batch_index = self.row.unwrap_or(0);
        ReplyHead {
            generation,
            void_time_s,
            batch_index,
            ..ReplyHead::of(code)
        }
    }

    fn counted_as(self, single: Op) -> Op {
        match (self.row, single) {
            (Some(_), Op::Read) => Op::BatchRead,
            (Some(_), Op::Write) => Op::BatchWrite,
            (Some(_), Op::Delete) => Op::BatchDelete,
            (_, op) => op,
        }
    }

    /// A single-record request that arrived in this turn.
    pub(super) fn now(core: &Core) -> Asked {
        Asked {
            row: None,
            at_us: core.now_us(),
            within_turn: true,
            proxied: false,
        }
    }

    /// A row of a batch that arrived at this time.
    pub(super) fn row(row: u32, at_us: u64) -> Asked {
        Asked {
            row: Some(row),
            at_us,
            within_turn: false,
            proxied: false,
        }
    }

    /// A request that another node has handed on.
    fn proxied(core: &Core, row: Option<u32>) -> Asked {
        Asked {
            row,
            at_us: core.now_us(),
            within_turn: false,
            proxied: true,
        }
    }

    /// Counts a request that is answered.
    pub(super) fn count(self, core: &Core, index: usize, single: Op, ending: Ending) {
        let (op, counted) = (self.counted_as(single), core.counted(index));
        counted.count(op, ending);
        if self.within_turn {
            core.answered(index, op);
        } else {
            counted.latency[op as usize].record(clock::monotonic_us() - self.at_us, 1);
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

fn read(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    fetched: Option<&Fetched>,
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let index = at.index;
    let info1 = message.header.info1;
    let touch_percent = message.header.record_ttl;
    if touch_percent > 100 && touch_percent != u32::MAX {
        return Err(ResultCode::Parameter.into());
    }
    let get_all = info1.contains(Info1::GET_ALL);
    let need = if info1.contains(Info1::GET_NO_BINS) {
        Need::Facts
    } else {
        Need::Bins
    };
    let filter = call::filter(core, message.fields.filter)?;
    let request = ReadRequest {
        digest: at.digest,
        set: message.set()?.unwrap_or_default(),
        key: message.key().map(|key| key.0),
        need,
        filter: filter.as_deref(),
    };
    let now = core.now();
    let engine = &core.namespace(index).engine;
    let (start, mut too_long) = (out.len(), false);
    let step = engine.read(now, &request, fetched, |found| {
        let ending = match &found {
            Ok(found) if need == Need::Bins && !get_all => {
                let scene = Scene {
                    digest: at.digest,
                    in_memory: !engine.log().config().on_devices,
                    now,
                    respond_all: message.header.info2.contains(Info2::RESPOND_ALL_OPS),
                };
                match selected(out, asked, message, found, &scene, &Work::at_once()) {
                    Ok(ending) => ending,
                    Err(Exhausted) => {
                        too_long = true;
                        return None;
                    }
                }
            }
            Ok(found) => all(out, asked, found),
            Err(refusal) if refusal.reason == Reason::Exhausted => {
                too_long = true;
                return None;
            }
            Err(refusal) => refused(out, asked, refusal),
        };
        asked.count(core, index, Op::Read, ending);
        let found = found.ok().filter(|_| ending == Ending::Ok)?;
        let percent = match touch_percent {
            0 => engine.read_touch_percent(found.set_id).into(),
            percent => percent,
        };
        let touch = Touch::due(index, request.digest, &found, percent, now);
        // Who else reads cannot write; and where consistency is strong nothing expires.
        touch.filter(|_| at.share.role == Role::Primary && at.share.quorums.is_none())
    });
    Ok(match step {
        Step::Done(_) if too_long => aside(core, index).or_take_back(out, start),
        Step::Done(_) if at.reads.belong_to_primary() => {
            strong::after_read(core, index, &at.digest, at.by(), at.reads).or_take_back(out, start)
        }
        Step::Done(touch) => {
            touch.into_iter().for_each(|touch| touch.start(core));
            Try::Replied(None)
        }
        Step::Read(read) => Try::Read(index, read),
        Step::Wait => Try::Wait(index),
    })
}

/// Answers with every bin, or with none if none was asked for.
pub(super) fn all(out: &mut Vec<u8>, asked: Asked, found: &Found<'_>) -> Ending {
    let head = asked.head(ResultCode::Ok, found.generation, found.void_time_s);
    let mut reply = RecordReply::framed(out, &head);
    for bin in found.record.iter().flat_map(|record| record.bins()) {
        reply.op(OpCode::Read, bin.particle as u8, bin.name, bin.value);
    }
    finish(reply.finish().is_ok(), out, asked)
}

/// Answers with what the request's operations ask of the record. Bins that are only named are not copied.
///
/// # Errors
/// When the operations take more work than is left; then nothing is answered.
pub(super) fn selected(
    out: &mut Vec<u8>,
    asked: Asked,
    message: &Message<'_>,
    found: &Found<'_>,
    scene: &Scene,
    work: &Work,
) -> Result<Ending, Exhausted> {
    let head = |code| asked.head(code, found.generation, found.void_time_s);
    if let Some(code) = unreadable(message) {
        head_only(out, &head(code));
        return Ok(Ending::Refused);
    }
    if call::only_names(message.ops) {
        let mut reply = RecordReply::framed(out, &head(ResultCode::Ok));
        append_named(&mut reply, message.ops, found, scene.respond_all);
        return Ok(finish(reply.finish().is_ok(), out, asked));
    }
    let operations = parsed(message.ops);
    let told = operations.and_then(|operations| {
        let told = call::told(&operations, found, scene, work);
        told.map_err(|error| Refused(code_of_operation(&error)))
    });
    work.spend(0)?;
    Ok(match told {
        Ok(told) => {
            let mut reply = RecordReply::framed(out, &head(ResultCode::Ok));
            append_answers(&mut reply, &told.answers);
            finish(reply.finish().is_ok(), out, asked)
        }
        Err(Refused(code)) => {
            head_only(out, &head(code));
            Ending::Refused
        }
    })
}

/// Appends what operations have to tell.
pub(super) fn append_answers(reply: &mut RecordReply<'_>, answers: &[operation::Answer<'_>]) {
    for (name, value) in answers {
        match value {
            Some(value) => reply.op(OpCode::Read, value.particle as u8, name, &value.bytes),
            None => reply.op(OpCode::Read, 0, name, &[]),
        }
    }
}

/// Appends the bins that operations name; with `respond_all` an empty answer for those missing.
pub(super) fn append_named(
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

/// Why the operations of a read cannot be carried out.
fn unreadable(message: &Message<'_>) -> Option<ResultCode> {
    if message.ops.is_empty() {
        return Some(ResultCode::Parameter);
    }
    no_projection(message.ops)
}

/// Why operations cannot be those of a read, if they cannot.
pub(super) fn no_projection(ops: Ops<'_>) -> Option<ResultCode> {
    ops.iter().find_map(|op| match op.code.kind() {
        OpKind::Read => None,
        OpKind::Write | OpKind::Unknown => Some(ResultCode::Parameter),
    })
}

/// A reply that exceeds what the protocol can carry is answered with an error in its stead.
pub(super) fn finish(fits: bool, out: &mut Vec<u8>, asked: Asked) -> Ending {
    if fits {
        return Ending::Ok;
    }
    error(out, asked, ResultCode::RecordTooBig);
    Ending::Error
}

fn write(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    fetched: Option<&Fetched>,
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let index = at.index;
    let header = &message.header;
    let (info1, info2) = (header.info1, header.info2);
    let exists = exists(info2, header.info3);
    let operations = operations(
        message,
        core.namespace(index).engine.config().record_bytes_max,
    )?;
    let filter = call::filter(core, message.fields.filter)?;
    let request = WriteRequest {
        digest: at.digest,
        set: message.set()?.unwrap_or_default(),
        key: message.key().map(|key| key.0),
        exists,
        generation: generation(info2, header.generation),
        ttl: Ttl::from_wire(header.record_ttl).ok_or(ResultCode::Parameter)?,
        flags: CommandFlags {
            reads: info1.contains(Info1::READ),
            get_all: info1.contains(Info1::GET_ALL),
            replaces: exists.replaces(),
            respond_all: info2.contains(Info2::RESPOND_ALL_OPS),
        },
        operations: &operations,
        filter: filter.as_deref(),
    };
    let engine = &core.namespace(index).engine;
    let hand = core.hand(index, at.share.regime, at.replicated);
    let (start, mut too_long) = (out.len(), false);
    let step = engine.write(&hand, &request, fetched, |written| {
        let ending = match &written {
            Ok(written) => answers(out, asked, written),
            Err(refusal) if refusal.reason == Reason::Exhausted => {
                too_long = true;
                return None;
            }
            Err(refusal) => refused(out, asked, refusal),
        };
        asked.count(core, index, Op::Write, ending);
        stored(written.ok()?)
    });
    if too_long {
        return Ok(aside(core, index));
    }
    Ok(after_write(core, at, message, step).or_take_back(out, start))
}

/// Answers with what the operations of a write have to tell.
fn answers(out: &mut Vec<u8>, asked: Asked, written: &Written<'_>) -> Ending {
    let head = asked.head(ResultCode::Ok, written.generation, written.void_time_s);
    if written.answers.is_empty() {
        head_only(out, &head);
        return Ending::Ok;
    }
    let mut reply = RecordReply::framed(out, &head);
    append_answers(&mut reply, written.answers);
    if reply.finish().is_ok() {
        return Ending::Ok;
    }
    // The write is done and only its answers are too long: the code by which clients know doubt.
    error(out, asked, ResultCode::Timeout);
    Ending::Error
}

fn delete(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    fetched: Option<&Fetched>,
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let filter = call::filter(core, message.fields.filter)?;
    let request = DeleteRequest {
        digest: at.digest,
        set: message.set()?.unwrap_or_default(),
        key: message.key().map(|key| key.0),
        generation: generation(message.header.info2, message.header.generation),
        filter: filter.as_deref(),
    };
    let index = at.index;
    let engine = &core.namespace(index).engine;
    let hand = core.hand(index, at.share.regime, at.replicated);
    let start = out.len();
    let step = engine.delete(&hand, &request, fetched, |written| {
        let ending = match &written {
            Ok(written) => answers(out, asked, written),
            Err(refusal) => refused(out, asked, refusal),
        };
        asked.count(core, index, Op::Delete, ending);
        stored(written.ok()?)
    });
    Ok(after_write(core, at, message, step).or_take_back(out, start))
}

/// A write that succeeded: when it is durable here, what other nodes are to have, and its version if it is to be
/// confirmed.
pub(super) type Stored = (CommitPoint, Option<Vec<u8>>, Option<Version>);

pub(super) fn stored(written: Written<'_>) -> Option<Stored> {
    Some((written.commit?, written.image, written.in_flight))
}

pub(super) fn after_write(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    step: Step<Option<Stored>>,
) -> Try {
    let namespace = at.index;
    let (point, image, in_flight) = match step {
        Step::Read(read) => return Try::Read(namespace, read),
        Step::Wait => return Try::Wait(namespace),
        // A refusal may tell what the record is like: this node has to be the one that knows, as for a read.
        Step::Done(None) if at.share.quorums.is_some() => {
            let reads = strong::Reads::of(at.share, message).of_primary();
            return strong::after_read(core, namespace, &at.digest, at.by(), reads);
        }
        Step::Done(None) => return Try::Replied(None),
        Step::Done(Some(stored)) => stored,
    };
    let engine = &core.namespace(namespace).engine;
    if engine.log().config().on_devices {
        core.appended(namespace);
    }
    let point = Some(point).filter(|_| engine.config().commit_to_device);
    if let Some(version) = in_flight {
        let made = Made {
            namespace,
            digest: at.digest,
            version,
            image,
            point,
        };
        let flight = Flight::begin(core, at.share, made);
        let patience = timeout(message);
        return Try::Replied(flight.map(|flight| Pending::Flight { flight, patience }));
    }
    let partition = at.digest.partition();
    let send = |image| {
        Copies::send(
            core,
            namespace,
            partition,
            at.share,
            image,
            timeout(message),
        )
    };
    let copies = image.and_then(send);
    let answers_first = message.header.info3.contains(Info3::COMMIT_LEVEL_MASTER);
    let write = PendingWrite {
        namespace,
        point,
        copies,
    };
    match write {
        PendingWrite {
            point: None,
            copies: None,
            ..
        } => Try::Replied(None),
        write if answers_first => Try::Replied(write.unwatched(core).map(Pending::Write)),
        write => Try::Replied(Some(Pending::Write(write))),
    }
}

pub(super) fn exists(info2: Info2, info3: Info3) -> Exists {
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

pub(super) fn generation(info2: Info2, generation: u32) -> GenerationRule {
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
pub(super) fn operations<'a>(
    message: &Message<'a>,
    bytes_max: usize,
) -> Result<Operations<'a>, Refused> {
    if message.ops.iter().any(|op| op.value.len() > bytes_max) {
        return Err(ResultCode::RecordTooBig.into());
    }
    parsed(message.ops)
}

/// Operations as the engine has them.
pub(super) fn parsed(ops: Ops<'_>) -> Result<Operations<'_>, Refused> {
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

/// Answers with a refusal of the engine.
pub(super) fn refused(out: &mut Vec<u8>, asked: Asked, refusal: &Refusal) -> Ending {
    let (code, ending) = code_of(&refusal.reason);
    head_only(
        out,
        &asked.head(code, refusal.generation, refusal.void_time_s),
    );
    ending
}

/// How the protocol spells a refusal.
pub(super) fn code_of(reason: &Reason) -> (ResultCode, Ending) {
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
        Reason::FilteredOut => (ResultCode::FilteredOut, Ending::Refused),
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
pub(super) fn code_of_operation(error: &OperationError) -> ResultCode {
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

/// Carries a request on that could not be answered at once, and returns its reply.
pub(super) async fn carry_on(core: Rc<Core>, body: Box<[u8]>, asked: Asked, first: Try) -> Vec<u8> {
    let mut out = Vec::new();
    let Ok(message) = Message::parse(&body) else {
        error(&mut out, asked, ResultCode::Parameter); // it was parsed before it was copied
        return out;
    };
    carry_on_message(&core, &message, asked, first, &mut out).await;
    out
}

/// Carries out a request that another node has handed on, and returns its reply.
///
/// # Errors
/// When it does not belong here, or is none: it was not carried out.
pub(crate) async fn carry_out_for(
    core: &Rc<Core>,
    row: Option<u32>,
    body: &[u8],
) -> Result<Vec<u8>, Ack> {
    core.begin_turn();
    let asked = Asked::proxied(core, row);
    let message = Message::parse(body).map_err(|_| Ack::Failed)?;
    let mut out = Vec::new();
    let first = attempt(core, &message, asked, None, &mut out);
    if let Try::Away(..) | Try::Nowhere = first {
        return Err(Ack::Misled);
    }
    core.counters.proxied_in.add(1);
    carry_on_message(core, &message, asked, first, &mut out).await;
    Ok(out)
}

/// As [`carry_on`], for a message that somebody else keeps.
pub(super) async fn carry_on_message(
    core: &Rc<Core>,
    message: &Message<'_>,
    asked: Asked,
    first: Try,
    out: &mut Vec<u8>,
) {
    let began = tokio::time::Instant::now();
    let deadline = began + timeout(message);
    let is_late = || tokio::time::Instant::now() >= deadline;
    let is_unserved = || began.elapsed() >= unserved_patience(message);
    let asked = Asked {
        within_turn: false,
        ..asked
    };
    let mut tried = first;
    let mut fetches = 0;
    let (mut ran, mut done, mut calls) = (None, None, 0);
    loop {
        let fetched = match tried {
            Try::Call(call) => {
                calls += 1;
                // A little less than the client waits, so that it hears what became of the function.
                let patience = (timeout(message) * 7 / 8).saturating_sub(began.elapsed());
                ran = Some(udf::run(core, call, patience).await);
                None
            }
            Try::Overtaken if calls == udf::CALLS_MAX || is_late() => {
                return error(out, asked, ResultCode::KeyBusy);
            }
            Try::Overtaken => {
                (ran, done) = (None, None);
                None
            }
            Try::Aside(index, _) => {
                calls += 1;
                let patience = (timeout(message) * 7 / 8).saturating_sub(began.elapsed());
                done = Some(aside::run(core, index, message, asked, patience).await);
                None
            }
            Try::Replied(pending) => return settle(core, asked, pending, out).await,
            Try::Read(..) if fetches == FETCHES_MAX => {
                return error(out, asked, ResultCode::Timeout);
            }
            Try::Read(index, read) => {
                fetches += 1;
                match core.fetch(index, read).await {
                    Ok(fetched) => Some(fetched),
                    Err(DeviceError) => {
                        suspect(core, index, message);
                        return error(out, asked, ResultCode::Unknown);
                    }
                }
            }
            Try::Wait(index) => {
                core.counted(index).stalled_writes.add(1);
                if is_unserved() && strong::is_unavailable(core, index, message) {
                    return error(out, asked, ResultCode::Unavailable);
                }
                if is_late() {
                    asked.count(core, index, Op::Write, Ending::Overload);
                    return error(out, asked, ResultCode::DeviceOverload);
                }
                strong::send_stuck_again(core, index, message);
                tokio::time::sleep(SPACE_PAUSE).await;
                None
            }
            // Nobody has carried it out.
            Try::Nowhere | Try::Away(..) if is_unserved() => {
                return error(out, asked, ResultCode::Unavailable);
            }
            Try::Away(node) if !asked.proxied => {
                match hand_on(core, message, asked, node, deadline).await {
                    HandedOn::Answered(reply) => return out.extend(reply),
                    HandedOn::InDoubt => return error(out, asked, ResultCode::Timeout),
                    HandedOn::NotCarriedOut => tokio::time::sleep(MAP_PAUSE).await,
                }
                None
            }
            Try::Away(..) | Try::Nowhere => {
                tokio::time::sleep(MAP_PAUSE).await;
                None
            }
        };
        core.begin_turn();
        let elsewhere = match (&ran, &done) {
            (Some(ran), _) => Elsewhere::Function(ran),
            (None, Some(done)) => Elsewhere::Operations(done),
            (None, None) => Elsewhere::Nothing,
        };
        tried = attempt_after(core, message, asked, (elsewhere, fetched.as_ref()), out);
        fetched
            .into_iter()
            .for_each(|fetched| core.done_with(fetched));
    }
}

/// What became of a request that another node was to carry out.
enum HandedOn {
    /// This is the reply to the client.
    Answered(Vec<u8>),
    /// It was not, for sure: where to is to be looked up again.
    NotCarriedOut,
    /// It is a write, and may have been.
    InDoubt,
}

/// Lets another node carry a request out.
async fn hand_on(
    core: &Rc<Core>,
    message: &Message<'_>,
    asked: Asked,
    node: NodeId,
    deadline: tokio::time::Instant,
) -> HandedOn {
    let mut body = Vec::new();
    message.put(&mut body);
    let proxy = Proxy {
        row: asked.row,
        message: &body,
    };
    let Some(peer) = core.peers.to(node) else {
        return HandedOn::NotCarriedOut;
    };
    core.counters.proxied_out.add(1);
    let patience = deadline.saturating_duration_since(tokio::time::Instant::now());
    let answer = peer
        .request(fabric::Kind::Proxy, patience, |out| proxy.put(out))
        .await;
    let writes = !matches!(message.kind(), Ok(Kind::Read));
    match answer {
        Ok(Answer::Reply(reply)) => HandedOn::Answered(reply),
        Ok(Answer::Refused(_)) | Err(NoAnswer::NotSent) => HandedOn::NotCarriedOut,
        Err(NoAnswer::Gone) if writes => HandedOn::InDoubt,
        Err(NoAnswer::Gone) => HandedOn::NotCarriedOut,
    }
}

/// Reports the record of a request whose device read failed.
fn suspect(core: &Core, index: usize, message: &Message<'_>) {
    if let Ok(Some(digest)) = message.digest() {
        core.namespace(index)
            .engine
            .suspect(&digest, FoundBy::Client);
    }
}

/// Lets a reply wait until its write is durable here and has arrived where it is to be. When that fails
/// the outcome is in doubt: the record is served from memory, and may be gone after a restart or a
/// failure. Clients read a timeout so.
pub(super) async fn settle(
    core: &Rc<Core>,
    asked: Asked,
    pending: Option<Pending>,
    out: &mut Vec<u8>,
) {
    let Some(pending) = pending else { return };
    let otherwise = match pending {
        Pending::Write(_) | Pending::Flight { .. } => ResultCode::Timeout,
        Pending::Standing(_) => ResultCode::Unavailable, // it was only a read
    };
    if !pending.comes_true(core).await {
        out.clear();
        error(out, asked, otherwise);
    }
}

impl Pending {
    /// Whether everything that was waited for came true.
    pub(super) async fn comes_true(self, core: &Rc<Core>) -> bool {
        match self {
            Pending::Write(write) => write.comes_true(core).await,
            Pending::Flight { flight, patience } => {
                let confirmed = tokio::time::timeout(patience, flight.is_confirmed()).await;
                confirmed.unwrap_or(false)
            }
            Pending::Standing(standing) => standing.comes_true(core).await,
        }
    }
}

impl PendingWrite {
    async fn comes_true(self, core: &Rc<Core>) -> bool {
        let committed = async {
            match self.point {
                None => true,
                Some(point) => core.committed(self.namespace, point).await.is_ok(),
            }
        };
        let copied = async {
            match self.copies {
                None => true,
                Some(copies) => copies.arrive(core).await.is_ok(),
            }
        };
        let (committed, copied) = tokio::join!(committed, copied);
        committed && copied
    }

    /// Lets copies arrive with nobody waiting for them, unless too many do so already. What is left is
    /// what the reply has to wait for.
    fn unwatched(mut self, core: &Core) -> Option<PendingWrite> {
        let unwatched = &core.unwatched;
        if unwatched.get() < UNWATCHED_MAX
            && let Some(copies) = self.copies.take()
        {
            unwatched.set(unwatched.get() + 1);
            let core = core.itself();
            tokio::task::spawn_local(async move {
                let _ = copies.arrive(&core).await; // who missed it is compared with later
                core.unwatched.set(core.unwatched.get() - 1);
            });
        }
        (self.point.is_some() || self.copies.is_some()).then_some(self)
    }
}

pub(super) fn timeout(message: &Message<'_>) -> Duration {
    match message.header.transaction_ttl {
        0 => TIMEOUT_DEFAULT,
        ms => Duration::from_millis(u64::from(ms)),
    }
}

/// How long a request waits for somebody to serve its partition: less than the client waits for the answer, so that it
/// hears that nothing was done, and hears it from whoever hands on requests as well.
fn unserved_patience(message: &Message<'_>) -> Duration {
    (timeout(message) * 7 / 8).min(UNSERVED_PATIENCE_MAX)
}

/// Appends the answer to a request that could not even be parsed.
pub(super) fn refuse(core: &Core, out: &mut Vec<u8>, code: ResultCode) {
    core.counters.malformed.add(1);
    reply::ack(out, code, 0, 0);
}

//! A write or a delete of one record, and how far it has to come before it is answered.

use std::rc::Rc;

use karst_data::operation::CommandFlags;
use karst_data::time::Ttl;
use karst_engine::write::{DeleteRequest, WriteRequest, Written};
use karst_engine::{Fetched, Reason, Step};
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::reply::RecordReply;
use karst_wire::request::Message;

use super::answer::{append_answers, error, head_only, refused};
use super::operations::{exists, generation, operations};
use super::pending::{Pending, PendingWrite};
use super::{Asked, At, Refused, Try, put_aside, timeout};
use crate::client_port::{call, strong};
use crate::core::Core;
use crate::counters::{Ending, Op};
use crate::fabric_port::copy::Copies;
use crate::fabric_port::flight::{Flight, Made};

pub(super) fn write(
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
    let step = engine.write_within(&hand, &request, &at.work(), fetched, |written| {
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
        return Ok(put_aside(core, index));
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

pub(super) fn delete(
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
    let (start, mut too_long) = (out.len(), false);
    let step = engine.delete_within(&hand, &request, &at.work(), fetched, |written| {
        let ending = match &written {
            Ok(written) => answers(out, asked, written),
            Err(refusal) if refusal.reason == Reason::Exhausted => {
                too_long = true;
                return None;
            }
            Err(refusal) => refused(out, asked, refusal),
        };
        asked.count(core, index, Op::Delete, ending);
        stored(written.ok()?)
    });
    if too_long {
        return Ok(put_aside(core, index));
    }
    Ok(after_write(core, at, message, step).or_take_back(out, start))
}

/// A write that succeeded: when it is durable here, what other nodes are to have, and its version if it is to be
/// confirmed.
pub(in crate::client_port) type Stored = (CommitPoint, Option<Vec<u8>>, Option<Version>);

pub(in crate::client_port) fn stored(written: Written<'_>) -> Option<Stored> {
    Some((written.commit?, written.image, written.in_flight))
}

pub(in crate::client_port) fn after_write(
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

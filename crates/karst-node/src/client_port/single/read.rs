//! A read of one record.

use std::rc::Rc;

use karst_cluster::map::Role;
use karst_data::work::{Exhausted, Work};
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::{Fetched, Reason, Step};
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info1, Info2};
use karst_wire::op::OpCode;
use karst_wire::reply::RecordReply;
use karst_wire::request::Message;

use super::answer::{append_answers, append_named, code_of_operation, finish, head_only, refused};
use super::operations::{no_projection, parsed};
use super::{Asked, At, Refused, Try, put_aside};
use crate::client_port::call::{self, Scene};
use crate::client_port::strong;
use crate::client_port::touch::Touch;
use crate::core::Core;
use crate::counters::{Ending, Op};

pub(super) fn read(
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
    let work = at.work();
    let step = engine.read_within(now, &request, &work, fetched, |found| {
        let ending = match &found {
            Ok(found) if need == Need::Bins && !get_all => {
                let respond_all = message.header.info2.contains(Info2::RESPOND_ALL_OPS);
                let scene = Scene::of(core, index, at.digest, respond_all);
                match selected(out, asked, message, found, &scene, &work) {
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
        Step::Done(_) if too_long => put_aside(core, index).or_take_back(out, start),
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
pub(in crate::client_port) fn all(out: &mut Vec<u8>, asked: Asked, found: &Found<'_>) -> Ending {
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
pub(in crate::client_port) fn selected(
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

/// Why the operations of a read cannot be carried out.
fn unreadable(message: &Message<'_>) -> Option<ResultCode> {
    if message.ops.is_empty() {
        return Some(ResultCode::Parameter);
    }
    no_projection(message.ops)
}

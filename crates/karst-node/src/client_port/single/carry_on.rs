//! A request that could not be answered at once, carried on until it is: here, or by the node it belongs to.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::fabric::{self, Ack, Proxy};
use karst_cluster::node::NodeId;
use karst_data::key::Digest;
use karst_engine::damage::FoundBy;
use karst_wire::code::ResultCode;
use karst_wire::request::{Kind, Message};

use super::answer::error;
use super::pending::settle;
use super::{Asked, Elsewhere, Try, attempt, attempt_after};
use crate::client_port::{aside, strong, udf};
use crate::core::{Core, DeviceError};
use crate::counters::{Ending, Op};
use crate::fabric_port::peer::{Answer, NoAnswer};

/// How long a request may wait for room when the client sets no limit.
pub(in crate::client_port) const TIMEOUT_DEFAULT: Duration = Duration::from_millis(1000);

/// How long a request waits at most for somebody to serve its partition: longer than it takes to take one over.
const UNSERVED_PATIENCE_MAX: Duration = Duration::from_secs(5);

/// How long a write waits before it looks for a free block again.
const SPACE_PAUSE: Duration = Duration::from_millis(2);

/// How long a request waits before it looks at the map again.
const MAP_PAUSE: Duration = Duration::from_millis(5);

/// How often a read is tried again because the record moved while its old place was read.
const FETCHES_MAX: usize = 16;

/// Carries a request on that could not be answered at once, and returns its reply.
pub(in crate::client_port) async fn carry_on(
    core: Rc<Core>,
    body: Box<[u8]>,
    asked: Asked,
    first: Try,
) -> Vec<u8> {
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
pub(in crate::client_port) async fn carry_on_message(
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
    // A little less than the client waits, so that it hears what became of its function.
    let patience = || (timeout(message) * 7 / 8).saturating_sub(began.elapsed());
    let asked = Asked {
        within_turn: false,
        ..asked
    };
    let mut tried = first;
    let mut fetches = 0;
    let (mut ran, mut done, mut calls) = (None, None, 0);
    let mut turn = None;
    loop {
        let fetched = match tried {
            Try::Call(index, ref call) if turn.is_none() => {
                let digest = Digest(call.record.digest);
                let wait = core.node.turns.wait(index, &digest);
                let Ok(mine) = tokio::time::timeout(patience(), wait).await else {
                    return error(out, asked, ResultCode::KeyBusy);
                };
                let waited = mine.waited;
                turn = Some(mine);
                if !waited {
                    continue;
                }
                None // it is not what was read
            }
            Try::Call(_, call) => {
                calls += 1;
                ran = Some(udf::run(core, call, patience()).await);
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
                done = Some(aside::run(core, index, message, asked, patience()).await);
                None
            }
            Try::Replied(pending) => {
                drop(turn); // the next one reads what this one wrote
                return settle(core, asked, pending, out).await;
            }
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

pub(in crate::client_port) fn timeout(message: &Message<'_>) -> Duration {
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

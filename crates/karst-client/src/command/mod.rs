//! Calls: one request, its attempts, and what comes back.
//!
//! [`Client::call`] is the loop every single-record call runs through: choose the node, send, judge
//! the answer, and try again as the policy and the error's advice allow. A retry goes to a replica that has
//! not failed the call yet, so to the new master once the map tells of one. A request is encoded anew
//! for each attempt, straight into the connection's buffer, so nothing is kept for a retry.

pub(crate) mod background;
pub(crate) mod batch;
pub(crate) mod scan;
mod single;
mod udf;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use karst_data::key::PartitionId;
use karst_wire::code::ResultCode;
use karst_wire::command::{Body, CommandError};
use karst_wire::field;
use karst_wire::response::{Answer, BadResponse};
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::key::Key;
use crate::policy::{Hedge, ReadMode, Replica, RetryPolicy};
use crate::pool::Node;
use crate::pool::pipe::Expect;
use crate::retry::{Access, Repeat, Retries, Step, deadline};
use crate::route::{Choice, Failed};

/// One call on one record.
struct Call<'a> {
    key: &'a Key,
    access: Access,
    timeout: Duration,
    attempt_timeout: Option<Duration>,
    retry: RetryPolicy,
    repeat: Repeat,
    replica: Replica,
    hedge: Option<Hedge>,
    read_mode: ReadMode,
}

/// An answer that was not an error. [`ResultCode::NotFound`] is none: what it means depends on the
/// call.
struct Reply {
    node: Arc<Node>,
    code: ResultCode,
    body: Vec<u8>,
    access: Access,
}

impl Reply {
    fn answer(&self) -> Result<Answer<'_>> {
        Answer::single(&self.body).map_err(|source| bad_answer(&self.node, source, self.access))
    }

    fn found(&self) -> bool {
        self.code == ResultCode::Ok
    }

    /// The error of a record that should have been there.
    fn not_found(&self) -> Error {
        refused(&self.node, self.code, self.access)
    }
}

/// Longest time a retry waits for a new map. A round asks every node, and one that is silent must not
/// hold up requests to the others.
const REFRESH_WAIT_MAX: Duration = Duration::from_millis(200);

/// Most of a call's time that is held back from the server, so that its word that nothing was applied
/// arrives before the call is given up. A tenth of short calls.
const ANSWER_MARGIN_MAX: Duration = Duration::from_millis(50);

impl Client {
    /// Runs a call to its end. `encode` appends the request; its last argument is the time in
    /// milliseconds the server may take.
    async fn call(
        &self,
        call: Call<'_>,
        encode: impl Fn(&mut Vec<u8>, u32) -> std::result::Result<(), CommandError>,
    ) -> Result<Reply> {
        let deadline = deadline(Instant::now(), call.timeout);
        let mut retries = Retries::new(call.retry, deadline);
        let turn = self.next_turn();
        let mut failed = Failed::default();
        let mut doubted = false;
        loop {
            let course = Course {
                call: &call,
                turn,
                deadline,
            };
            let error = match self.attempt(course, &mut failed, &encode).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            doubted |= error.in_doubt();
            let advice = call.repeat.advice(&error);
            match retries.after(advice, Instant::now(), rand::random()) {
                Some(step) => self.pause(step, deadline).await,
                None => return Err(error.after_doubt(doubted)),
            }
        }
    }

    /// Asks one replica, or two if the policy says so and the first is slow.
    async fn attempt(
        &self,
        course: Course<'_>,
        failed: &mut Failed,
        encode: &impl Fn(&mut Vec<u8>, u32) -> std::result::Result<(), CommandError>,
    ) -> Result<Reply> {
        let node = self.replica(course, failed)?;
        let reply = match self.hedge_wait(course.call) {
            None => ask(course, Arc::clone(&node), encode).await,
            Some(wait) => self.ask_hedged(course, &node, wait, failed, encode).await,
        };
        reply.inspect_err(|error| {
            if error.blames_node() {
                failed.add(&node);
            }
        })
    }

    /// How long the first replica has before a second is asked.
    fn hedge_wait(&self, call: &Call<'_>) -> Option<Duration> {
        let hedge = call.hedge.filter(|_| call.access == Access::Read)?;
        let master_only = call.read_mode.needs_master()
            && self.cluster().peek().map.is_strong(call.key.namespace());
        (!master_only).then(|| self.latencies().wait(hedge))
    }

    /// Asks `first`, and another replica too when that has not answered in time. The first answer
    /// counts; an error only if the other has none either.
    async fn ask_hedged(
        &self,
        course: Course<'_>,
        first: &Arc<Node>,
        wait: Duration,
        failed: &Failed,
        encode: &impl Fn(&mut Vec<u8>, u32) -> std::result::Result<(), CommandError>,
    ) -> Result<Reply> {
        let started = Instant::now();
        let mut asked = pin!(ask(course, Arc::clone(first), encode));
        if let Ok(reply) = timeout(wait, &mut asked).await {
            self.latencies().note(started.elapsed());
            return reply;
        }
        let mut failed = failed.clone();
        failed.add(first);
        let second = self.replica(course, &failed)?;
        if Arc::ptr_eq(&second, first) {
            return asked.await;
        }
        let mut hedged = pin!(ask(course, second, encode));
        tokio::select! {
            reply = &mut asked => {
                self.latencies().note(started.elapsed());
                match reply {
                    Ok(reply) => Ok(reply),
                    Err(_) => hedged.await,
                }
            }
            reply = &mut hedged => match reply {
                Ok(reply) => {
                    self.latencies().note_slower_than(wait);
                    Ok(reply)
                }
                Err(_) => asked.await,
            },
        }
    }

    fn replica(&self, course: Course<'_>, failed: &Failed) -> Result<Arc<Node>> {
        let Course { call, turn, .. } = course;
        let choice = Choice {
            replica: call.replica,
            strong_needs_master: call.read_mode.needs_master(),
            turn,
            racks: self.racks(),
            failed,
            now: Instant::now(),
        };
        self.owner(call.key.namespace(), call.key.partition(), choice)
    }

    /// The choice of the master, or of whoever is next after these failed.
    pub(crate) fn master<'a>(&'a self, failed: &'a Failed) -> Choice<'a> {
        Choice {
            replica: Replica::Sequence,
            strong_needs_master: true,
            turn: 0,
            racks: self.racks(),
            failed,
            now: Instant::now(),
        }
    }

    /// The node to ask for a partition.
    pub(crate) fn owner(
        &self,
        namespace: &str,
        partition: PartitionId,
        choice: Choice<'_>,
    ) -> Result<Arc<Node>> {
        let snapshot = self.cluster().peek();
        match snapshot.map.owner(namespace, partition, choice) {
            Some(node) => Ok(Arc::clone(node)),
            None => {
                let namespace = namespace.to_owned();
                Err(match snapshot.map.has(&namespace) {
                    true => Error::NoOwner {
                        namespace,
                        partition,
                    },
                    false => Error::UnknownNamespace { namespace },
                })
            }
        }
    }

    /// Does what a retry asks for before the next attempt. Waiting for a new map is part of the pause.
    async fn pause(&self, step: Step, deadline: Instant) {
        let started = Instant::now();
        let until = started + step.pause;
        if step.refresh_map {
            let latest = deadline.min(started + REFRESH_WAIT_MAX);
            self.cluster().refresh(latest).await;
        }
        let rest = until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            sleep(rest).await;
        }
    }
}

/// What all attempts of a call share.
#[derive(Clone, Copy)]
struct Course<'a> {
    call: &'a Call<'a>,
    /// Where a round over all replicas starts.
    turn: usize,
    deadline: Instant,
}

/// Sends a call's request to a node and waits for the answer.
async fn ask(
    course: Course<'_>,
    node: Arc<Node>,
    encode: &impl Fn(&mut Vec<u8>, u32) -> std::result::Result<(), CommandError>,
) -> Result<Reply> {
    let replied = send_to(course, &node, encode).await;
    let replied = replied.and_then(|body| judge(&node, body, course.call.access));
    replied.inspect_err(|error| node.note(error))
}

async fn send_to(
    course: Course<'_>,
    node: &Node,
    encode: &impl Fn(&mut Vec<u8>, u32) -> std::result::Result<(), CommandError>,
) -> Result<Vec<u8>> {
    let Course { call, deadline, .. } = course;
    let started = Instant::now();
    let deadline = attempt_deadline(call.attempt_timeout, deadline);
    let pipe = node.pipe(deadline).await?;
    let timeout_ms = millis_until(deadline);
    let pending = pipe
        .submit(Expect::Message, deadline, |out| encode(out, timeout_ms))
        .await
        .map_err(|refused| node.refused(refused, started))?;
    let body = pending.wait().await;
    body.map_err(|lost| node.unanswered(lost, call.access, started))
}

/// When an attempt that starts now is given up.
fn attempt_deadline(attempt_timeout: Option<Duration>, deadline: Instant) -> Instant {
    let own = attempt_timeout.map(|wait| self::deadline(Instant::now(), wait));
    own.map_or(deadline, |own| own.min(deadline))
}

/// Tells success from failure by the result code.
fn judge(node: &Arc<Node>, body: Vec<u8>, access: Access) -> Result<Reply> {
    let answer = Answer::single(&body).map_err(|source| bad_answer(node, source, access))?;
    match result_of(node, &answer, access) {
        Ok(code) => Ok(Reply {
            node: Arc::clone(node),
            code,
            body,
            access,
        }),
        Err(error) => Err(error),
    }
}

/// [`ResultCode::Ok`] or [`ResultCode::NotFound`]; anything else is an error.
fn result_of(node: &Node, answer: &Answer<'_>, access: Access) -> Result<ResultCode> {
    match answer.code() {
        Ok(code @ (ResultCode::Ok | ResultCode::NotFound)) => Ok(code),
        Ok(ResultCode::UdfExecution) => Err(Error::Udf {
            node: node.name().to_owned(),
            message: udf::failure(answer),
        }),
        Ok(code) => Err(refused(node, code, access)),
        Err(number) => Err(Error::UnknownResult {
            node: node.name().to_owned(),
            number,
            in_doubt: access.doubts_silence(),
        }),
    }
}

fn refused(node: &Node, code: ResultCode, access: Access) -> Error {
    Error::Server {
        node: node.name().to_owned(),
        code,
        in_doubt: access.doubts(code),
    }
}

fn bad_answer(node: &Node, source: BadResponse, access: Access) -> Error {
    Error::BadAnswer {
        node: node.name().to_owned(),
        source,
        in_doubt: access.doubts_silence(),
    }
}

/// Milliseconds the server may take of the time until `deadline`, at least 1: 0 would mean the server's
/// default.
fn millis_until(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left - (left / 10).min(ANSWER_MARGIN_MAX);
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Writes the fields of a request on one record.
fn record_fields(body: &mut Body<'_>, key: &Key, send_key: bool, filter: Option<&Expr>) {
    body.namespace(key.namespace());
    body.set(key.set());
    body.digest(key.digest());
    optional_fields(body, key, send_key, filter);
}

/// Writes the user key and the filter, where there are any.
fn optional_fields(body: &mut Body<'_>, key: &Key, send_key: bool, filter: Option<&Expr>) {
    if let Some(user_key) = key.user_key().filter(|_| send_key) {
        user_key.write(|particle, bytes| body.key(particle, bytes));
    }
    filter_field(body, filter);
}

/// Writes the filter, if there is one.
fn filter_field(body: &mut Body<'_>, filter: Option<&Expr>) {
    match filter.map(|filter| (filter, filter.fault())) {
        None => {}
        Some((filter, None)) => body.field(field::FILTER, filter.as_bytes()),
        Some((_, Some(reason))) => body.refuse(CommandError::Argument { reason }),
    }
}

/// Runs futures side by side on the calling task and returns their results in order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    enum Slot<F: Future> {
        Running(Pin<Box<F>>),
        Done(F::Output),
    }
    let futures = futures.into_iter();
    let mut slots: Vec<Slot<F>> = futures
        .map(|future| Slot::Running(Box::pin(future)))
        .collect();
    // The slots' futures are boxed, so moving a slot moves no pinned future.
    std::future::poll_fn(|context| {
        let mut running = false;
        for slot in &mut slots {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *slot = Slot::Done(output),
                    Poll::Pending => running = true,
                }
            }
        }
        if running {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    let done = slots.into_iter().filter_map(|slot| match slot {
        Slot::Done(output) => Some(output),
        Slot::Running(_) => None,
    });
    done.collect()
}

//! Queries in the background: operations, or a function, on each of the records that a query finds.
//!
//! ```text
//! request -> a task of this core: checked, entered as a job -> answered at once
//!   source -> record: as a query looks for it? -> an ordinary single-record request, as if its client had sent it
//! ```
//!
//! The task lives on the core that the request came to. It makes no writes of its own: each record gets a request
//! ([`single`]), so that whatever holds for clients' writes, of replicas, of strong consistency, of functions that are
//! overtaken, holds for these. What an index has named is read first; the write then demands the generation that was
//! found, and if the record has another by now it is looked at anew.
//!
//! Bounds: [`RECORDS_MAX`] records at a time, the namespace's `background_rps_max` a second. A record that cannot be
//! changed is counted, and the others go on. A job is over when the node stops, or dies; nothing of it is remembered then.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_data::expr::Filter;
use karst_data::key::{Digest, PARTITIONS};
use karst_data::time::Ttl;
use karst_data::work::STEPS;
use karst_engine::read::{Found, Need};
use karst_io::clock;
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpKind;
use karst_wire::reply;
use karst_wire::request::{Fields, Kind, Message};
use tokio::sync::oneshot;

use super::batch::code_of_reply;
use super::connection::Connection;
use super::single::{self, Asked, Refused};
use super::source::{Looked, Next, Pace, Source, is_to_end};
use super::{call, udf};
use crate::core::Core;
use crate::counters::{Query, QueryEnding};
use crate::jobs::{self, Job, NotBegun, Running, Status, Work};

/// Records of one job that are being changed at a time.
const RECORDS_MAX: usize = 32;

/// How long one record's change may take, in ms.
const PATIENCE_MS: u32 = 5_000;

/// How often a record is tried again that changes while it is looked at, or for which there is no room.
const TRIES_MAX: usize = 16;

/// How long a job works before others of the core get a turn, in us.
const TURN_US: u64 = 500;

/// Pause before a record is tried again for which there was no room.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Accepts a query, or refuses it, and answers; it is carried out meanwhile.
pub(super) async fn run(connection: &Connection, body: Vec<u8>) {
    let core = connection.core.clone();
    let (accepted, answer) = oneshot::channel();
    tokio::task::spawn_local(work(core.clone(), body, connection.client(), accepted));
    let refused = Err(Refused(ResultCode::Unknown)); // its task has ended without a word
    let answer = answer.await.unwrap_or(refused);
    connection.link.append(|out| match answer {
        Ok(()) => reply::last(out, ResultCode::Ok),
        Err(Refused(code)) => single::refuse(&core, out, code),
    });
}

/// What is to be done to each record.
struct Plan<'a> {
    /// The client's own; those on single records are made from it.
    message: Message<'a>,
    source: Source<'a>,
    filter: Option<Rc<Filter>>,
    work: Work,
    per_second: u32,
}

async fn accept<'a>(
    core: &Core,
    body: &'a [u8],
    client: String,
) -> Result<(Plan<'a>, Running), Refused> {
    let message = Message::parse(body)?;
    let plan = Plan::of(core, &message).await?;
    let asked = jobs::Asked {
        id: message.task_id()?.unwrap_or(0),
        namespace: core.namespace(plan.source.namespace).config.name.clone(),
        set: plan.source.set.to_vec(),
        index: plan.source.index().map(str::to_owned),
        work: plan.work.clone(),
        from_start: None,
        resumed: 0,
        partitions: PARTITIONS,
        records_per_second: plan.per_second,
        socket_timeout_ms: 0,
        client,
    };
    let running = core.node.jobs.begin(asked)?;
    Ok((plan, running))
}

impl From<NotBegun> for Refused {
    fn from(not_begun: NotBegun) -> Refused {
        Refused(not_begun.code())
    }
}

/// The records a second that a query may take: what it asks for, if it may have that.
fn per_second(message: &Message<'_>, most: u32) -> Result<u32, Refused> {
    match message.records_per_second()? {
        None | Some(0) => Ok(most),
        Some(rate) if rate <= most => Ok(rate),
        Some(_) => Err(ResultCode::Parameter.into()),
    }
}

impl<'a> Plan<'a> {
    /// # Errors
    /// What speaks against it.
    async fn of(core: &Core, message: &Message<'a>) -> Result<Plan<'a>, Refused> {
        let header = &message.header;
        if header.info1.contains(Info1::SHORT_QUERY) {
            return Err(ResultCode::Parameter.into());
        }
        let source = Source::of(core, message).await?;
        call::filter_ahead(core, message.fields.filter).await?; // nothing is awaited until it is asked for
        let work = match message.kind()? {
            Kind::BackgroundUdf => function(message)?,
            _ => operations(core, message, &source)?,
        };
        let ttl = Ttl::from_wire(header.record_ttl).ok_or(ResultCode::Parameter)?;
        let namespace = core.namespace(source.namespace);
        let most = namespace.config.background_rps_max;
        if namespace.engine.config().strong && matches!(ttl, Ttl::Seconds(_)) {
            return Err(ResultCode::Forbidden.into());
        }
        Ok(Plan {
            message: *message,
            source,
            filter: call::filter_of_query(core, message.fields.filter)?,
            work,
            per_second: per_second(message, most)?,
        })
    }

    fn query(&self) -> Query {
        match self.work {
            Work::Function { .. } => Query::BackgroundUdf,
            Work::Operations | Work::Basic | Work::Aggregation => Query::BackgroundOps,
        }
    }

    /// The request on one record; `generation` is given if it is to have that.
    fn of_record<'r>(
        &'r self,
        digest: &'r Digest,
        set: &'r [u8],
        generation: Option<u16>,
    ) -> Message<'r> {
        let (header, fields) = (&self.message.header, &self.message.fields);
        let mut info2 = Info2::WRITE | header.info2.only(Info2::DURABLE_DELETE);
        let mut info3 = header.info3.only(Info3::REPLACE_ONLY);
        if generation.is_some() {
            info2 |= Info2::GENERATION;
        }
        if self.work == Work::Operations && !info3.contains(Info3::REPLACE_ONLY) {
            info3 |= Info3::UPDATE_ONLY;
        }
        Message {
            header: MessageHeader {
                info2,
                info3,
                generation: generation.map_or(0, u32::from),
                record_ttl: header.record_ttl,
                transaction_ttl: PATIENCE_MS,
                ..MessageHeader::default()
            },
            fields: Fields {
                namespace: fields.namespace,
                set: Some(set),
                digest: Some(&digest.0),
                filter: fields.filter,
                udf_filename: fields.udf_filename,
                udf_function: fields.udf_function,
                udf_arguments: fields.udf_arguments,
                ..Fields::default()
            },
            ops: self.message.ops,
        }
    }
}

fn function(message: &Message<'_>) -> Result<Work, Refused> {
    let named = udf::Named::of(message)?;
    udf::check_flags(message)?;
    Ok(Work::Function {
        module: named.module,
        name: named.function,
    })
}

/// Operations that write and are well-formed.
fn operations(core: &Core, message: &Message<'_>, source: &Source<'_>) -> Result<Work, Refused> {
    let ops = message.ops;
    let writes = !ops.is_empty() && ops.iter().all(|op| op.code.kind() == OpKind::Write);
    if !writes || message.header.info1.contains(Info1::READ) {
        return Err(ResultCode::Parameter.into());
    }
    let bytes_max = core
        .namespace(source.namespace)
        .engine
        .config()
        .record_bytes_max;
    if single::steps_to_read(core, message) > STEPS {
        return Err(call::EXHAUSTED.into());
    }
    single::operations(message, bytes_max)?;
    Ok(Work::Operations)
}

/// Says whether a query is accepted; if so, carries it out to its end.
async fn work(
    core: Rc<Core>,
    body: Vec<u8>,
    client: String,
    accepted: oneshot::Sender<Result<(), Refused>>,
) {
    core.begin_turn();
    let (mut plan, running) = match accept(&core, &body, client).await {
        Ok(begun) => begun,
        Err(refused) => {
            let _ = accepted.send(Err(refused)); // a client that has gone is not told
            return;
        }
    };
    let _ = accepted.send(Ok(())); // who asked is gone, and it goes on
    let job = running.job().clone();
    let status = records(&core, &mut plan, &job).await;
    let ending = match status {
        Status::Done => QueryEnding::Complete,
        Status::Aborted => QueryEnding::Abort,
        Status::ClientGone | Status::Failed => QueryEnding::Error,
    };
    let by_index = plan.source.index().is_some();
    let counted = core.counted(plan.source.namespace);
    counted.count_query(plan.query(), by_index, ending);
    running.end(status);
    tracing::info!(job = job.id, ?status, tally = ?job.tally, "a query in the background has ended");
}

async fn records(core: &Rc<Core>, plan: &mut Plan<'_>, job: &Job) -> Status {
    let mut pace = Pace::new(plan.per_second);
    loop {
        let digests = match plan.source.next(core, job).await {
            Next::Records(digests) => digests,
            Next::End => return Status::Done,
            Next::IndexGone => return Status::Failed,
        };
        if !slice(core, plan, job, &digests, &mut pace).await {
            return match job.is_aborted() {
                true => Status::Aborted,
                false => Status::Failed,
            };
        }
        tokio::task::yield_now().await;
    }
}

/// Changes records, some at a time. Whether it came to their end.
async fn slice(
    core: &Rc<Core>,
    plan: &Plan<'_>,
    job: &Job,
    digests: &[Digest],
    pace: &mut Pace,
) -> bool {
    let mut changing = FuturesUnordered::new();
    let mut digests = digests.iter();
    let mut turn_us = clock::monotonic_us();
    loop {
        if is_to_end(core, job) {
            while changing.next().await.is_some() {} // what was begun is ended
            return false;
        }
        if changing.len() == RECORDS_MAX {
            changing.next().await;
        }
        let Some(digest) = digests.next() else {
            while changing.next().await.is_some() {}
            return true;
        };
        if let Some(due) = pace.pass() {
            add(&job.tally.throttled);
            loop {
                tokio::select! {
                    biased;
                    () = job.aborted() => break,
                    () = tokio::time::sleep_until(due) => break,
                    Some(()) = changing.next(), if !changing.is_empty() => {}
                }
            }
        }
        if job.is_aborted() {
            continue;
        }
        changing.push(record(core, plan, job, digest));
        // It begins now, alone: what many records want to have done at once would hold up others of the core.
        poll_fn(|context| Poll::Ready(changing.poll_next_unpin(context).is_ready())).await;
        if clock::monotonic_us() - turn_us >= TURN_US {
            tokio::task::yield_now().await;
            turn_us = clock::monotonic_us();
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Changes one record, if it is one of those that are to be.
async fn record(core: &Rc<Core>, plan: &Plan<'_>, job: &Job, digest: &Digest) {
    let tally = &job.tally;
    tally.under_way.fetch_add(1, Ordering::Relaxed);
    match outcome(core, plan, digest).await {
        ResultCode::Ok => add(&tally.succeeded),
        ResultCode::NotFound => {} // it has gone, or changed
        ResultCode::FilteredOut => add(&tally.filtered),
        code => {
            tracing::debug!(job = job.id, ?code, "a record could not be changed");
            add(&tally.failed);
        }
    }
    tally.under_way.fetch_sub(1, Ordering::Relaxed);
}

/// The result code of what was done to a record.
async fn outcome(core: &Rc<Core>, plan: &Plan<'_>, digest: &Digest) -> ResultCode {
    let by_index = plan.source.index().is_some();
    let mut code = ResultCode::KeyBusy;
    for _ in 0..TRIES_MAX {
        let (generation, set_id) = match look(core, plan, digest).await {
            Looked::Wanted(facts) => facts,
            Looked::Other => return ResultCode::NotFound,
            Looked::FilteredOut => return ResultCode::FilteredOut,
            Looked::Unreadable => return ResultCode::Unknown,
            Looked::Refused(code) => return code,
        };
        let set = core
            .namespace(plan.source.namespace)
            .engine
            .sets()
            .get(set_id);
        let message = plan.of_record(digest, &set.name, by_index.then_some(generation));
        code = carry_out(core, plan, &message).await;
        match code {
            ResultCode::Generation if by_index => {}
            ResultCode::DeviceOverload => tokio::time::sleep(ROOM_PAUSE).await,
            code => return code,
        }
    }
    code
}

/// Whether a record is one of those that are to be changed; if so its generation, and the set that it is in.
async fn look(core: &Rc<Core>, plan: &Plan<'_>, digest: &Digest) -> Looked<(u16, u16)> {
    let asked = match plan.source.index() {
        Some(_) => (Need::Bins, plan.filter.as_deref()),
        None => (Need::Facts, None), // the filter is asked when the record is changed
    };
    let facts = |found: &Found<'_>| (found.generation, found.set_id);
    plan.source.look(core, digest, asked, facts).await
}

/// Carries out a request on one record.
async fn carry_out(core: &Rc<Core>, plan: &Plan<'_>, message: &Message<'_>) -> ResultCode {
    let mut out = Vec::new();
    let turn = plan.source.turn(core).await;
    let asked = Asked::of_query(core);
    let tried = single::attempt(core, message, asked, None, &mut out);
    drop(turn);
    single::carry_on_message(core, message, asked, tried, &mut out).await;
    code_of_reply(&out)
}

//! Aggregations: a function over the records of a query, whose results are streamed to the client.
//!
//! ```text
//! source -> records, read and copied -> a batch -> a thread for functions: values -> client, which puts them together
//! ```
//!
//! The function sees the records of this node some at a time, in no order, and each batch as a stream of its own: the
//! reference cuts by partitions, here a batch holds as many as make it worth the way to another thread. If the query
//! finds nothing the function sees one empty stream, so that a function that is not there is told of all the same.
//!
//! Bounds: a batch has [`BATCH_RECORDS_MAX`] records and about [`BATCH_BYTES_MAX`] bytes, [`BATCHES_MAX`] are with
//! functions; what a batch gives is bounded by [`crate::udf::ANSWER_BYTES_MAX`], its time by [`BATCH_TIME_MAX`].
//!
//! A record that cannot be read, or in time be told of where consistency is strong, fails the whole: a sum that lacks
//! it would be wrong without a word.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_data::key::{Digest, PARTITIONS};
use karst_engine::read::{Found, Need};
use karst_wire::code::ResultCode;
use karst_wire::flags::Info1;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::reply::{self, ReplyHead, ReplyStream};
use karst_wire::request::Message;

use super::connection::{Closed, Connection};
use super::scan::{self, drain, is_confirmed, socket_timeout};
use super::single::{self, Refused};
use super::source::{Looked, Next, Pace, Source, is_to_end};
use super::udf::{self, Named};
use crate::core::Core;
use crate::counters::{Query, QueryEnding};
use crate::jobs::{self, Job, Running, Status, Work};
use crate::node;
use crate::udf::{Aggregated, Aggregation, NotRun, Subject};

/// Most records of a batch.
const BATCH_RECORDS_MAX: usize = 1000;

/// Bytes of records beyond which a batch is full.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Batches that are with functions at a time.
const BATCHES_MAX: usize = 2;

/// How long a function may take for a batch.
const BATCH_TIME_MAX: Duration = Duration::from_secs(10);

/// Pause before a batch is offered again while too many functions wait.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Records that are read from devices at a time.
const READS_MAX: usize = 32;

/// What an aggregation is to do.
struct Plan<'a> {
    source: Source<'a>,
    named: Named<'a>,
    per_second: u32,
    socket_timeout: Option<Duration>,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// What speaks against it.
    async fn of(core: &Core, message: &Message<'a>) -> Result<Plan<'a>, Refused> {
        if message.fields.filter.is_some() {
            return Err(ResultCode::UnsupportedFeature.into());
        }
        if message.header.info1.contains(Info1::SHORT_QUERY) {
            return Err(ResultCode::Parameter.into());
        }
        Ok(Plan {
            named: Named::of(message)?,
            source: Source::of(core, message).await?,
            per_second: message.records_per_second()?.unwrap_or(0),
            socket_timeout: socket_timeout(message)?,
        })
    }

    fn asked(
        &self,
        core: &Core,
        message: &Message<'_>,
        client: String,
    ) -> Result<jobs::Asked, Refused> {
        let timeout_ms = self.socket_timeout.map_or(0, |limit| limit.as_millis());
        Ok(jobs::Asked {
            id: message.task_id()?.unwrap_or(0),
            namespace: core.namespace(self.source.namespace).config.name.clone(),
            set: self.source.set.to_vec(),
            index: self.source.index().map(str::to_owned),
            work: Work::Aggregation,
            from_start: None,
            resumed: 0,
            partitions: PARTITIONS,
            records_per_second: self.per_second,
            socket_timeout_ms: timeout_ms as u64, // it was 32 bits
            client,
        })
    }
}

/// Carries out an aggregation and streams what comes out of it.
///
/// # Errors
/// When the client has gone, or does not read.
pub(super) async fn run(connection: &mut Connection, body: &[u8]) -> Result<(), Closed> {
    let core = connection.core.clone();
    let begun = begin(&core, body, connection.client()).await;
    let (plan, running) = match begun {
        Ok(begun) => begun,
        Err(Refused(code)) => {
            connection
                .link
                .append(|out| single::refuse(&core, out, code));
            return Ok(());
        }
    };
    let (namespace, by_index) = (plan.source.namespace, plan.source.index().is_some());
    let run = Run {
        connection,
        core: core.clone(),
        plan,
        job: running.job().clone(),
        batch: Batch::default(),
        batches: FuturesUnordered::new(),
        evaluated: false,
    };
    let done = run.carry_out().await;
    let (status, ending, code) = match &done {
        Ok(Ok(())) => (Status::Done, QueryEnding::Complete, ResultCode::Ok),
        Ok(Err(Fault::Aborted)) => (Status::Aborted, QueryEnding::Abort, ResultCode::QueryAbort),
        Ok(Err(Fault::Failed(_))) => (Status::Failed, QueryEnding::Error, ResultCode::Unknown),
        Err(Closed) => (Status::ClientGone, QueryEnding::Error, ResultCode::Unknown),
    };
    running.end(status);
    core.counted(namespace)
        .count_query(Query::Aggregation, by_index, ending);
    if let Err(Fault::Failed(Some(why))) = done? {
        let value = (particle::STRING, message(why));
        connection
            .link
            .append(|out| value_message(out, b"FAILURE", &value));
    }
    connection.link.append(|out| reply::last(out, code));
    Ok(())
}

/// What a client is told of a function that failed.
fn message(why: Vec<u8>) -> Vec<u8> {
    match why.starts_with(b"UDF: Execution Error ") {
        true => why,
        false => [b"UDF: Execution Error 1 : ", &*why].concat(),
    }
}

async fn begin<'a>(
    core: &Core,
    body: &'a [u8],
    client: String,
) -> Result<(Plan<'a>, Running), Refused> {
    let message = Message::parse(body)?;
    let plan = Plan::of(core, &message).await?;
    let asked = plan.asked(core, &message, client)?;
    Ok((plan, core.node.jobs.begin(asked)?))
}

/// Why an aggregation did not come to its end.
enum Fault {
    /// Somebody has asked for it.
    Aborted,
    /// Something else; the client is told what, if a function said so.
    Failed(Option<Vec<u8>>),
}

/// Records that are gathered for a function.
#[derive(Default)]
struct Batch {
    records: Vec<Subject>,
    bytes: usize,
}

/// A batch that is with a function.
type Evaluating = Pin<Box<dyn Future<Output = Result<Vec<(u8, Vec<u8>)>, Fault>>>>;

struct Run<'c, 'a> {
    connection: &'c mut Connection,
    core: Rc<Core>,
    plan: Plan<'a>,
    job: Arc<Job>,
    batch: Batch,
    batches: FuturesUnordered<Evaluating>,
    /// A function has seen something.
    evaluated: bool,
}

impl Run<'_, '_> {
    async fn carry_out(mut self) -> Result<Result<(), Fault>, Closed> {
        let mut pace = Pace::new(self.plan.per_second);
        loop {
            let digests = match self.plan.source.next(&self.core, &self.job).await {
                Next::Records(digests) => digests,
                Next::End => break,
                Next::IndexGone => return Ok(Err(Fault::Failed(None))),
            };
            for digests in digests.chunks(READS_MAX) {
                if let Err(fault) = self.gather(digests, &mut pace).await {
                    return Ok(Err(fault));
                }
                if self.batch.is_full()
                    && let Err(fault) = self.evaluate().await?
                {
                    return Ok(Err(fault));
                }
            }
            if self.connection.is_left().await {
                return Err(Closed);
            }
            tokio::task::yield_now().await;
        }
        if (!self.batch.records.is_empty() || !self.evaluated)
            && let Err(fault) = self.evaluate().await?
        {
            return Ok(Err(fault));
        }
        while !self.batches.is_empty() {
            if let Err(fault) = self.take_evaluated().await? {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }

    /// Reads at most [`READS_MAX`] records into the batch.
    async fn gather(&mut self, digests: &[Digest], pace: &mut Pace) -> Result<(), Fault> {
        let mut reading = FuturesUnordered::new();
        for digest in digests {
            if is_to_end(&self.core, &self.job) {
                return Err(Fault::of_end(&self.job));
            }
            if let Some(due) = pace.pass() {
                self.job.tally.throttled.fetch_add(1, Ordering::Relaxed);
                tokio::select! {
                    () = self.job.aborted() => return Err(Fault::Aborted),
                    () = tokio::time::sleep_until(due) => {}
                }
            }
            reading.push(subject(&self.core, &self.plan.source, digest));
        }
        let tally = &self.job.tally;
        while let Some(read) = reading.next().await {
            match read {
                Ok(Some(subject)) => {
                    tally.succeeded.fetch_add(1, Ordering::Relaxed);
                    self.batch.put(subject);
                }
                Ok(None) => {} // it has gone, or changed
                Err(Unreadable) => {
                    tally.failed.fetch_add(1, Ordering::Relaxed);
                    return Err(Fault::Failed(None));
                }
            }
        }
        Ok(())
    }

    /// Hands the batch to a function, and takes what has come out of those before it.
    async fn evaluate(&mut self) -> Result<Result<(), Fault>, Closed> {
        while self.batches.len() >= BATCHES_MAX {
            if let Err(fault) = self.take_evaluated().await? {
                return Ok(Err(fault));
            }
        }
        self.evaluated = true;
        let batch = std::mem::take(&mut self.batch);
        let named = &self.plan.named;
        let aggregation = Aggregation {
            modules: self.core.node.cluster.snapshot().modules.clone(),
            module: named.module.clone(),
            function: named.function.clone(),
            arguments: named.arguments.to_vec(),
            records: batch.records.into(),
        };
        let (core, job) = (self.core.clone(), self.job.clone());
        self.batches
            .push(Box::pin(evaluated(core, job, aggregation)));
        Ok(Ok(()))
    }

    /// Sends what came out of a batch.
    async fn take_evaluated(&mut self) -> Result<Result<(), Fault>, Closed> {
        let values = match self.batches.next().await {
            None => return Ok(Ok(())),
            Some(Err(fault)) => return Ok(Err(fault)),
            Some(Ok(values)) => values,
        };
        let link = &self.connection.link;
        let before = link.unsent_bytes();
        link.append(|out| {
            let mut stream = ReplyStream::begin(out);
            for value in &values {
                append_value(&mut stream, out, b"SUCCESS", value);
            }
            stream.finish(out);
        });
        let sent = link.unsent_bytes() - before;
        self.job
            .tally
            .sent_bytes
            .fetch_add(sent as u64, Ordering::Relaxed);
        drain(self.connection, self.plan.socket_timeout).await?;
        Ok(Ok(()))
    }
}

impl Batch {
    fn put(&mut self, subject: Subject) {
        self.bytes += subject.found.as_ref().map_or(0, |found| found.size_bytes);
        self.records.push(subject);
    }

    /// [`READS_MAX`] records are read at once: that is what a batch may exceed its bounds by.
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl Fault {
    fn of_end(job: &Job) -> Fault {
        match job.is_aborted() {
            true => Fault::Aborted,
            false => Fault::Failed(None), // the node stops
        }
    }
}

/// Has a function called for a batch.
async fn evaluated(
    core: Rc<Core>,
    job: Arc<Job>,
    aggregation: Aggregation,
) -> Result<Vec<(u8, Vec<u8>)>, Fault> {
    loop {
        let run = core
            .node
            .functions
            .aggregate(aggregation.clone(), BATCH_TIME_MAX);
        let aggregated: Result<Aggregated, NotRun> = tokio::select! {
            () = job.aborted() => return Err(Fault::Aborted),
            aggregated = run => aggregated,
        };
        match aggregated {
            Ok(Ok(values)) => return Ok(values),
            Ok(Err(why)) => return Err(Fault::Failed(Some(why))),
            Err(NotRun::Late) => return Err(Fault::Failed(Some(NotRun::Late.to_string().into()))),
            Err(NotRun::Busy) if is_to_end(&core, &job) => return Err(Fault::of_end(&job)),
            Err(NotRun::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
        }
    }
}

/// A record cannot be read, or nobody may be told of it for longer than a query waits.
struct Unreadable;

/// Reads a record for a function; `None` if it is none of those that are looked for any more.
async fn subject(
    core: &Rc<Core>,
    source: &Source<'_>,
    digest: &Digest,
) -> Result<Option<Subject>, Unreadable> {
    let deadline = tokio::time::Instant::now() + scan::UNCONFIRMED_MAX;
    loop {
        let engine = &core.namespace(source.namespace).engine;
        let now_s = node::now().epoch_s();
        let subject = |found: &Found<'_>| Subject {
            digest: digest.0,
            set: engine.sets().get(found.set_id).name.to_vec(),
            found: udf::snapshot(found, now_s),
        };
        let found = match source.look(core, digest, (Need::Bins, None), subject).await {
            Looked::Wanted(subject) => Ok(Some(subject)),
            Looked::Other | Looked::FilteredOut => Ok(None), // there is no filter
            Looked::Unreadable | Looked::Refused(_) => Err(Unreadable),
        };
        if is_confirmed(core, source.namespace, digest) {
            return found;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Unreadable);
        }
        tokio::time::sleep(scan::UNCONFIRMED_PAUSE).await;
    }
}

fn value_message(out: &mut Vec<u8>, name: &[u8], value: &(u8, Vec<u8>)) {
    let mut stream = ReplyStream::begin(out);
    append_value(&mut stream, out, name, value);
    stream.finish(out);
}

fn append_value(
    stream: &mut ReplyStream,
    out: &mut Vec<u8>,
    name: &[u8],
    (particle, bytes): &(u8, Vec<u8>),
) {
    let mut reply = stream.record(out, &ReplyHead::of(ResultCode::Ok));
    reply.op(OpCode::Read, *particle, name, bytes);
    // It is far below what a message can carry.
    let finished = reply.finish();
    debug_assert!(finished.is_ok());
}

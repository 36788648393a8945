//! A partition scan: records of named partitions, streamed in an order that can be resumed.
//!
//! A partition is walked in slices ([`karst_engine::seen`]). What of a slice is in memory is answered as it was then,
//! one record after the other; what is on devices is read like any other record, many at once, so that no lock is held
//! while a device works. Records are sent in the order of the walk, whichever was read first: the client remembers the
//! last digest of each partition and asks to go on after it. Where consistency is strong every record is read by
//! itself, in its present form, and told only once it is confirmed.
//!
//! Others of the core get their turn after every slice, and sooner if the records of one take long. What takes longer
//! than a core may be held is found out about a record on another thread ([`long`]).
//!
//! A query by a secondary index ([`super::query`]) goes the same way; there the index names the records.

mod long;

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use karst_cluster::map::Role;
use karst_data::expr::Filter;
use karst_data::key::{Digest, PartitionId};
use karst_data::operation::Operation;
use karst_data::work::{STEPS, Work};
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::seen::{Scan, Seen};
use karst_engine::{Fetched, Reason, Refusal, Step};
use karst_io::clock;
use karst_storage::index::WalkCursor;
use karst_storage::log::DeviceRead;
use karst_wire::code::ResultCode;
use karst_wire::field;
use karst_wire::flags::{Info1, Info2, Info3};
use karst_wire::op::OpCode;
use karst_wire::reply::{ReplyHead, ReplyStream};
use karst_wire::request::{Message, Ops, Resume};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::call::{self, Scene};
use super::connection::{Closed, Connection};
use super::query::{Search, region_ahead, search};
use super::single::{Operations, Refused};
use super::{single, strong};
use crate::core::Core;
use crate::counters::{Ending, Op, Query, QueryEnding};
use crate::jobs::{self, Job, Running, Status};

/// Records of one scan that may be read from devices at once.
const READS_MAX: usize = 64;

/// Bytes of records that are gathered before they are sent.
const CHUNK_BYTES: usize = 256 << 10;

/// How long a client may leave records unread when it sets no limit.
const SOCKET_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How often a record that moves under a scan is looked for.
const FETCHES_MAX: usize = 16;

/// How long a record may stay unconfirmed that a scan is to bring, where consistency is strong.
pub(super) const UNCONFIRMED_MAX: Duration = Duration::from_secs(3);

/// Pause before it is read again.
pub(super) const UNCONFIRMED_PAUSE: Duration = Duration::from_millis(2);

/// What a scan asks for.
struct Plan<'a> {
    namespace: usize,
    set_id: Among,
    set: &'a [u8],
    partitions: Vec<(PartitionId, Option<Resume>)>,
    message: Message<'a>,
    filter: Option<Rc<Filter>>,
    /// What to answer of each record, if it is more than bins by name.
    operations: Operations<'a>,
    /// What an index is asked; `None` for a scan.
    search: Option<Search<'a>>,
    /// To look at a record takes a few microseconds at most.
    is_short: bool,
    /// The client wants no bins.
    no_bins: bool,
    need: Need,
    records_max: u64,
    records_per_second: u32,
    socket_timeout: Option<Duration>,
    /// One record at a time is looked at elsewhere: others need the threads too.
    long: Semaphore,
}

impl Plan<'_> {
    /// Where one of its records is read now.
    fn scene(&self, core: &Core, digest: Digest) -> Scene {
        let respond_all = self.message.header.info2.contains(Info2::RESPOND_ALL_OPS);
        Scene::of(core, self.namespace, digest, respond_all)
    }

    /// What of it the engine has to know to walk through a partition.
    fn scan(&self, partition: PartitionId, set_id: Option<u16>) -> Scan<'_> {
        Scan {
            partition,
            set_id,
            filter: self.filter.as_deref(),
            need: self.need,
        }
    }
}

/// Which records of a partition are meant.
#[derive(Clone, Copy)]
enum Among {
    All,
    Set(u16),
    /// Their set is not known here, so there are none.
    Nothing,
}

/// Carries out a scan and streams its records.
///
/// # Errors
/// When the client has gone, or does not read.
pub(super) async fn run(connection: &mut Connection, body: &[u8]) -> Result<(), Closed> {
    let core = connection.core.clone();
    let message = match Message::parse(body) {
        Ok(message) => message,
        Err(malformed) => {
            connection
                .link
                .append(|out| single::refuse(&core, out, malformed.code()));
            return Ok(());
        }
    };
    let planned = plan(&core, message).await.and_then(|plan| {
        let entered = enter(&core, &plan, connection.client())?;
        Ok((plan, entered))
    });
    match planned {
        Ok((plan, entered)) => {
            let counted = core.counted(plan.namespace);
            let by_index = plan.search.is_some();
            let started_us = clock::monotonic_us();
            let done = Run {
                connection,
                core: core.clone(),
                plan,
                job: entered.as_ref().map(|running| running.job().clone()),
                sent: 0,
                seen: HashSet::new(),
            }
            .partitions()
            .await;
            let (query, ending) = match (&entered, &done) {
                (None, Ok(ResultCode::Ok)) => (Query::Short, QueryEnding::Complete),
                (None, _) => (Query::Short, QueryEnding::Error),
                (Some(_), Ok(ResultCode::Ok)) => (Query::Long, QueryEnding::Complete),
                (Some(_), Ok(ResultCode::QueryAbort)) => (Query::Long, QueryEnding::Abort),
                (Some(_), _) => (Query::Long, QueryEnding::Error),
            };
            counted.count_query(query, by_index, ending);
            if let Some(running) = entered {
                running.end(match (ending, &done) {
                    (QueryEnding::Complete, _) => Status::Done,
                    (QueryEnding::Abort, _) => Status::Aborted,
                    (QueryEnding::Error, Ok(_)) => Status::Failed,
                    (QueryEnding::Error, Err(Closed)) => Status::ClientGone,
                });
            }
            let took_us = clock::monotonic_us() - started_us;
            counted.latency[Op::Scan as usize].record(took_us, 1);
            counted.count(
                Op::Scan,
                match done {
                    Ok(ResultCode::Ok) => Ending::Ok,
                    Ok(_) | Err(_) => Ending::Error,
                },
            );
            let code = done?;
            connection
                .link
                .append(|out| karst_wire::reply::last(out, code));
        }
        Err(Refused(code)) => {
            connection
                .link
                .append(|out| single::refuse(&core, out, code));
        }
    }
    Ok(())
}

/// Enters a query into the list of those that run, unless its client says that it is short.
fn enter(core: &Core, plan: &Plan<'_>, client: String) -> Result<Option<Running>, Refused> {
    if plan.message.header.info1.contains(Info1::SHORT_QUERY) {
        return Ok(None);
    }
    let resumed = plan.partitions.iter().filter(|it| it.1.is_some()).count();
    let timeout_ms = plan.socket_timeout.map_or(0, |limit| limit.as_millis());
    let asked = jobs::Asked {
        id: plan.message.task_id()?.unwrap_or(0),
        namespace: core.namespace(plan.namespace).config.name.clone(),
        set: plan.set.to_vec(),
        index: (plan.search.as_ref()).map(|search| search.index_name().to_owned()),
        work: jobs::Work::Basic,
        from_start: Some(plan.partitions.len() - resumed),
        resumed,
        partitions: plan.partitions.len(),
        records_per_second: plan.records_per_second,
        socket_timeout_ms: timeout_ms as u64, // it was 32 bits
        client,
    };
    Ok(Some(core.node.jobs.begin(asked)?))
}

async fn plan<'a>(core: &Core, message: Message<'a>) -> Result<Plan<'a>, Refused> {
    let region = region_ahead(core, &message).await?;
    call::filter_ahead(core, message.fields.filter).await?; // nothing else may be awaited until it is asked for
    let (namespace, state) = core
        .node
        .namespace(message.namespace()?)
        .ok_or(Refused(ResultCode::Namespace))?;
    if !message.header.info3.contains(Info3::PARTITION_DONE) {
        return Err(Refused(ResultCode::UnsupportedFeature));
    }
    let fields = &message.fields;
    let sieve = call::filter_of_query(core, fields.filter)?;
    if let Some(code) = single::no_projection(message.ops) {
        return Err(Refused(code));
    }
    let operations = if call::only_names(message.ops) {
        Operations::new()
    } else if single::steps_to_read(core, &message) > STEPS {
        return Err(Refused(call::EXHAUSTED));
    } else {
        single::parsed(message.ops)?
    };
    let filter = message.partition_filter()?;
    let search = search(state, core.counted(namespace), &message, region).map_err(Refused)?;
    if search.is_some() && filter.resumed().any(|resume| resume.bval.is_none()) {
        return Err(Refused(ResultCode::Parameter));
    }
    let from_start = filter.from_start().map(|partition| (partition, None));
    let resumed = filter.resumed();
    let resumed = resumed.map(|resume| (resume.digest.partition(), Some(resume)));
    let partitions = from_start.chain(resumed).collect();
    let set = message.set()?.unwrap_or_default();
    let set_id = match set {
        [] => Among::All,
        name => state
            .engine
            .sets()
            .find(name)
            .map_or(Among::Nothing, Among::Set),
    };
    let no_bins = message.header.info1.contains(Info1::GET_NO_BINS);
    let records_per_second = message.records_per_second()?.unwrap_or(0);
    if records_per_second != 0 && message.header.info1.contains(Info1::SHORT_QUERY) {
        return Err(Refused(ResultCode::Parameter));
    }
    Ok(Plan {
        namespace,
        set_id,
        set,
        partitions,
        is_short: sieve.as_ref().is_none_or(|it| it.is_short()) && operations.is_empty(),
        filter: sieve,
        operations,
        need: if no_bins && search.is_none() {
            Need::FactsAndKey
        } else {
            Need::Bins
        },
        search,
        no_bins,
        records_max: match message.sample_max()? {
            None | Some(0) => u64::MAX,
            Some(records) => records,
        },
        records_per_second,
        socket_timeout: socket_timeout(&message)?,
        long: Semaphore::new(1),
        message,
    })
}

/// How long a client may leave records unread; `None` for ever.
///
/// # Errors
/// When what it says of that is malformed.
pub(super) fn socket_timeout(message: &Message<'_>) -> Result<Option<Duration>, Refused> {
    Ok(match message.socket_timeout_ms()? {
        None => Some(SOCKET_TIMEOUT_DEFAULT),
        Some(0) => None,
        Some(ms) => Some(Duration::from_millis(u64::from(ms))),
    })
}

struct Run<'c, 'a> {
    connection: &'c mut Connection,
    core: Rc<Core>,
    plan: Plan<'a>,
    /// How it goes, for whoever asks; `None` if it is short.
    job: Option<Arc<Job>>,
    /// Records taken so far, counted behind the filter and before projection.
    sent: u64,
    /// Those of the partition at hand, if a query can come upon one twice.
    seen: HashSet<Digest>,
}

/// A record that a slice names.
struct Hit {
    digest: Digest,
    /// The value that an index has it under.
    value: Option<i64>,
    /// What a walk has seen of it.
    seen: Option<Seen>,
}

impl Hit {
    fn named(digest: Digest) -> Hit {
        Hit {
            digest,
            value: None,
            seen: None,
        }
    }

    fn seen(seen: Seen) -> Hit {
        Hit {
            digest: *seen.digest(),
            value: None,
            seen: Some(seen),
        }
    }
}

/// Some records of a partition.
struct Slice {
    hits: Vec<Hit>,
    /// Where the next one begins; `None` when the partition is done.
    next: Option<Resume>,
}

/// A record's message, complete or empty; its place in the order is kept while it is read.
type Reading<'s> = Pin<Box<dyn Future<Output = Result<(Taken, Vec<u8>), Unconfirmed>> + 's>>;

/// What became of a record.
#[derive(Clone, Copy, Default)]
struct Taken {
    /// It is one of those that were asked for, whether or not it has any of the bins.
    counts: bool,
    /// The filter did not let it pass.
    filtered: bool,
    /// An index named it, and it is not what is searched for.
    missed: bool,
    /// To find that out takes longer than a core may be held.
    exhausted: bool,
    /// It could not be found out, and the scan ends here.
    refused: Option<ResultCode>,
}

/// How far the records of a slice were sent.
enum Sent {
    All,
    /// Up to one that nobody may be told of.
    UpToUnconfirmed,
    /// Up to one that takes too much work, or for which there was no room.
    Refused(ResultCode),
}

/// A record that nobody may be told of, for longer than a scan waits, or not by this node any more.
struct Unconfirmed;

impl Run<'_, '_> {
    async fn partitions(mut self) -> Result<ResultCode, Closed> {
        let started = Instant::now();
        let partitions = std::mem::take(&mut self.plan.partitions);
        for (done, (partition, from)) in partitions.into_iter().enumerate() {
            let mut after = from;
            self.seen.clear();
            if let Some(job) = &self.job {
                job.tally.partitions.store(done as u64, Ordering::Relaxed);
            }
            loop {
                if self.job.as_ref().is_some_and(|job| job.is_aborted()) {
                    return Ok(ResultCode::QueryAbort);
                }
                if !self.holds(partition) {
                    self.gone(partition);
                    break;
                }
                let left = self.plan.records_max - self.sent;
                if left == 0 {
                    return Ok(ResultCode::Ok);
                }
                let left = match self.plan.records_per_second {
                    0 => left,
                    rate => left.min(u64::from(rate)), // a client gives up what is silent for long
                };
                let max = usize::try_from(left).unwrap_or(usize::MAX);
                let set_id = match self.plan.set_id {
                    Among::All => None,
                    Among::Set(id) => Some(id),
                    Among::Nothing => break,
                };
                let Some(slice) = self.slice(partition, set_id, after, max) else {
                    return Ok(ResultCode::SindexNotFound);
                };
                match self.send(partition, &slice.hits).await? {
                    Sent::All => {}
                    Sent::UpToUnconfirmed => {
                        self.gone(partition);
                        break;
                    }
                    Sent::Refused(code) => {
                        drain(self.connection, self.plan.socket_timeout).await?;
                        return Ok(code);
                    }
                }
                self.keep_pace(started).await?;
                match slice.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        drain(self.connection, self.plan.socket_timeout).await?;
        Ok(ResultCode::Ok)
    }

    /// Names the next records of a partition. `None` when the index that is to do so has gone.
    fn slice(
        &mut self,
        partition: PartitionId,
        set_id: Option<u16>,
        after: Option<Resume>,
        max: usize,
    ) -> Option<Slice> {
        self.core.begin_turn();
        let (state, now) = (self.core.namespace(self.plan.namespace), self.core.now());
        let Some(search) = &self.plan.search else {
            let after = after.map(|after| WalkCursor::after(after.digest));
            let resume = |next: WalkCursor| Resume {
                digest: *next.digest(),
                bval: None,
            };
            if self.is_strong(partition) {
                let slice = state.engine.scan_slice(partition, set_id, after, max, now);
                return Some(Slice {
                    hits: slice.digests.into_iter().map(Hit::named).collect(),
                    next: slice.next.map(resume),
                });
            }
            let scan = self.plan.scan(partition, set_id);
            let slice = state.engine.see_slice(&scan, after, max, now);
            return Some(Slice {
                hits: slice.records.into_iter().map(Hit::seen).collect(),
                next: slice.next.map(resume),
            });
        };
        let behind = after.map(|after| (after.bval.unwrap_or_default() as i64, after.digest));
        let slice = search.slice(state, partition, set_id, behind, max, now)?;
        let mut hits = slice.hits;
        if search.may_find_twice() {
            hits.retain(|(_, digest)| self.seen.insert(*digest));
        }
        let resume = |(value, digest): (i64, Digest)| Resume {
            digest,
            bval: Some(value as u64),
        };
        Some(Slice {
            hits: hits
                .into_iter()
                .map(|(value, it)| Hit {
                    value: Some(value),
                    ..Hit::named(it)
                })
                .collect(),
            next: slice.next.map(resume),
        })
    }

    /// Whether this node holds all of a partition.
    fn holds(&self, partition: PartitionId) -> bool {
        let sight = self.core.node.sights.now();
        let share = sight.view.share(self.plan.namespace, partition);
        let engine = &self.core.namespace(self.plan.namespace).engine;
        match share.role {
            Role::Primary if share.quorums.is_some() => {
                engine.is_serving(partition, share.regime.0)
            }
            Role::Primary => true,
            Role::Replica => share.quorums.is_none(),
            Role::Joining | Role::Stranger => false,
        }
    }

    /// Tells the client that a partition, or what is left of it, is to be had elsewhere.
    fn gone(&self, partition: PartitionId) {
        self.connection.link.append(|out| {
            let mut stream = ReplyStream::begin(out);
            stream.partition_done(out, partition, ResultCode::Unavailable);
            stream.finish(out);
        });
    }

    /// Waits for as long as the rate asks for, with nothing of what was read still to be sent.
    async fn keep_pace(&mut self, started: Instant) -> Result<(), Closed> {
        let rate = u64::from(self.plan.records_per_second);
        let (Some(job), Some(due_ms)) = (&self.job, (self.sent * 1000).checked_div(rate)) else {
            tokio::task::yield_now().await; // a short query has no rate
            return Ok(());
        };
        let due = started + Duration::from_millis(due_ms);
        if due > Instant::now() {
            drain(self.connection, self.plan.socket_timeout).await?;
        }
        tokio::select! {
            () = job.aborted() => {}
            () = tokio::time::sleep_until(due) => {}
        }
        Ok(())
    }

    /// Reads the records of a slice and sends them in order. What is in memory is read where it is; of what is on
    /// devices much is read at once.
    async fn send(&mut self, partition: PartitionId, hits: &[Hit]) -> Result<Sent, Closed> {
        let is_strong = self.is_strong(partition);
        let Run {
            connection,
            core,
            plan,
            job,
            sent,
            ..
        } = self;
        let mut hits = hits.iter();
        let mut readings: FuturesOrdered<Reading<'_>> = FuturesOrdered::new();
        loop {
            while readings.len() < READS_MAX
                && let Some(hit) = hits.next()
            {
                if is_strong || !readings.is_empty() {
                    readings.push_back(Box::pin(read(core, plan, hit, None)));
                    continue;
                }
                let mut bytes = 0;
                let step = connection.link.append(|ready| {
                    let start = ready.len();
                    let step = try_read(core, plan, hit, None, ready);
                    bytes = ready.len() - start;
                    step
                });
                match step {
                    Step::Done(taken) if taken.exhausted => {
                        readings.push_back(Box::pin(long::read(core, plan, hit)));
                        continue;
                    }
                    Step::Done(taken) => {
                        *sent += u64::from(taken.counts);
                        tally(core, plan, job.as_deref(), &taken, bytes, *sent);
                    }
                    Step::Read(first) => {
                        readings.push_back(Box::pin(read(core, plan, hit, Some(first))));
                        continue;
                    }
                    Step::Wait => unreachable!("a read does not wait for room"),
                }
                if connection.link.unsent_bytes() >= CHUNK_BYTES {
                    drain(connection, plan.socket_timeout).await?;
                }
                if !plan.is_short && core.has_lasted() {
                    tokio::task::yield_now().await;
                    core.begin_turn();
                }
            }
            let (taken, mut message) = match readings.next().await {
                None => return Ok(Sent::All),
                Some(Err(Unconfirmed)) => return Ok(Sent::UpToUnconfirmed),
                Some(Ok((
                    Taken {
                        refused: Some(code),
                        ..
                    },
                    _,
                ))) => return Ok(Sent::Refused(code)),
                Some(Ok(read)) => read,
            };
            *sent += u64::from(taken.counts);
            tally(core, plan, job.as_deref(), &taken, message.len(), *sent);
            connection.link.append(|ready| ready.append(&mut message));
            if connection.link.unsent_bytes() >= CHUNK_BYTES {
                drain(connection, plan.socket_timeout).await?;
            }
        }
    }

    /// Whether nobody is told of records of a partition before they are confirmed.
    fn is_strong(&self, partition: PartitionId) -> bool {
        let sight = self.core.node.sights.now();
        let share = sight.view.share(self.plan.namespace, partition);
        share.quorums.is_some()
    }
}

/// Counts what became of a record: so many bytes of it were appended, and so many records sent by now.
fn tally(core: &Core, plan: &Plan<'_>, job: Option<&Job>, taken: &Taken, bytes: usize, sent: u64) {
    if let Some(search) = plan
        .search
        .as_ref()
        .filter(|_| taken.counts || taken.missed)
    {
        search.count(taken.counts, core.counted(plan.namespace));
    }
    let Some(job) = job else {
        return;
    };
    let tally = &job.tally;
    tally.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    tally
        .filtered
        .fetch_add(u64::from(taken.filtered), Ordering::Relaxed);
    tally.succeeded.store(sent, Ordering::Relaxed);
}

/// Waits until the client has taken what was sent; one that does not is cut off.
pub(super) async fn drain(
    connection: &mut Connection,
    limit: Option<Duration>,
) -> Result<(), Closed> {
    let settle = connection.settle();
    match limit {
        None => settle.await,
        Some(limit) => match tokio::time::timeout(limit, settle).await {
            Ok(settled) => settled,
            Err(_) => Err(Closed),
        },
    }
}

/// One record's message in a frame of its own; empty when the record is gone or has none of the bins. `first` is
/// what is to be read from a device, if that is known.
async fn read(
    core: &Rc<Core>,
    plan: &Plan<'_>,
    hit: &Hit,
    first: Option<DeviceRead>,
) -> Result<(Taken, Vec<u8>), Unconfirmed> {
    let deadline = Instant::now() + UNCONFIRMED_MAX;
    let mut fetched: Option<Fetched> = None;
    let mut fetches = 0;
    let mut message = Vec::new();
    let mut first = first.map(Step::Read);
    while fetches < FETCHES_MAX {
        let step = first
            .take()
            .unwrap_or_else(|| try_read(core, plan, hit, fetched.as_ref(), &mut message));
        match step {
            Step::Done(taken) => {
                fetched
                    .into_iter()
                    .for_each(|fetched| core.done_with(fetched));
                if taken.exhausted {
                    return long::read(core, plan, hit).await;
                }
                if is_confirmed(core, plan.namespace, &hit.digest) {
                    return Ok((taken, message));
                }
                if Instant::now() >= deadline {
                    return Err(Unconfirmed);
                }
                fetched = None;
                message.clear();
                tokio::time::sleep(UNCONFIRMED_PAUSE).await;
            }
            Step::Read(read) => match core.fetch(plan.namespace, read).await {
                Ok(bytes) => {
                    fetched = Some(bytes);
                    fetches += 1;
                }
                Err(_) => break,
            },
            Step::Wait => unreachable!("a read does not wait for room"),
        }
    }
    Ok((Taken::default(), Vec::new()))
}

/// Whether what was read may be told: where consistency is strong, not before it is confirmed.
pub(super) fn is_confirmed(core: &Rc<Core>, namespace: usize, digest: &Digest) -> bool {
    let regime = {
        let sight = core.node.sights.now();
        let share = sight.view.share(namespace, digest.partition());
        if share.quorums.is_none() {
            return true;
        }
        share.regime
    };
    strong::is_confirmed(core, namespace, digest, regime)
}

/// Appends a record's message, unless it has to be read first.
fn try_read(
    core: &Core,
    plan: &Plan<'_>,
    hit: &Hit,
    fetched: Option<&Fetched>,
    out: &mut Vec<u8>,
) -> Step<Taken> {
    let request = ReadRequest {
        digest: hit.digest,
        set: plan.set,
        key: None,
        need: plan.need,
        filter: plan.filter.as_deref(),
    };
    let scene = plan.scene(core, hit.digest);
    let work = Work::at_once();
    let mut answer = |found: Result<Found<'_>, Refusal>| {
        let mut taken = Taken {
            filtered: matches!(&found, Err(it) if it.reason == Reason::FilteredOut),
            ..Taken::default()
        };
        let wanted = |found: &Found<'_>| match &plan.search {
            None => true,
            Some(search) => search.is_met_by(found, scene.metadata(found), &work),
        };
        match found {
            Err(refusal) => taken.exhausted = refusal.reason == Reason::Exhausted,
            Ok(found) if wanted(&found) => {
                let start = out.len();
                let mut stream = ReplyStream::begin(out);
                let state = core.namespace(plan.namespace);
                let set = (found.set_id != 0).then(|| state.engine.sets().get(found.set_id));
                let telling = Telling {
                    namespace: &state.config.name,
                    set: set.as_ref().map(|set| &*set.name),
                    value: hit.value,
                    no_bins: plan.no_bins,
                    ops: plan.message.ops,
                    operations: &plan.operations,
                };
                telling.record(&scene, (&found, &work), &mut stream, out);
                stream.finish(out);
                taken.counts = true;
                taken.exhausted = work.is_exhausted();
                if taken.exhausted {
                    out.truncate(start);
                }
            }
            Ok(_) => (taken.missed, taken.exhausted) = (true, work.is_exhausted()),
        }
        taken
    };
    let (engine, now) = (&core.namespace(plan.namespace).engine, core.now());
    if let (Some(seen), None) = (&hit.seen, fetched) {
        let scan = plan.scan(hit.digest.partition(), None);
        if let Some(taken) = engine.read_seen(now, &scan, seen, &work, &mut answer) {
            return Step::Done(taken);
        }
    }
    engine.read_within(now, &request, &work, fetched, answer)
}

/// What is told of a record, beside what is in it.
struct Telling<'t> {
    namespace: &'t str,
    set: Option<&'t [u8]>,
    /// The value that an index has it under.
    value: Option<i64>,
    no_bins: bool,
    ops: Ops<'t>,
    /// What to answer, if it is more than bins by name.
    operations: &'t [Operation<'t>],
}

impl Telling<'_> {
    /// Appends a record's message, unless none of the bins asked for is there.
    fn record(
        &self,
        scene: &Scene,
        (found, work): (&Found<'_>, &Work),
        stream: &mut ReplyStream,
        out: &mut Vec<u8>,
    ) {
        let Telling { no_bins, ops, .. } = *self;
        let respond_all = scene.respond_all;
        let told = if no_bins || self.operations.is_empty() {
            None
        } else {
            match call::told(self.operations, found, scene, work) {
                Ok(told) if told.answers.is_empty() => return,
                Ok(told) => Some(told),
                Err(_) => return, // there is nothing to tell of a record that does not allow the operations
            }
        };
        let bin = |name| found.record.as_ref().and_then(|record| record.bin(name));
        let names = told.is_none() && !ops.is_empty();
        if !no_bins && names && !respond_all && ops.iter().all(|op| bin(op.name).is_none()) {
            return;
        }
        let head = ReplyHead {
            info1: if no_bins {
                Info1::GET_NO_BINS
            } else {
                Info1::NONE
            },
            ..ReplyHead::found(found.generation, found.void_time_s)
        };
        let mut reply = stream.record(out, &head);
        reply.field(field::NAMESPACE, self.namespace.as_bytes());
        reply.field(field::DIGEST, &scene.digest.0);
        if let Some(set) = self.set {
            reply.field(field::SET, set);
        }
        if let Some(key) = found.record.as_ref().and_then(|record| record.key) {
            reply.field(field::KEY, key);
        }
        if let Some(value) = self.value {
            reply.field(field::BVAL_ARRAY, &value.to_le_bytes());
        }
        if let Some(told) = told {
            single::append_answers(&mut reply, &told.answers);
        } else if ops.is_empty() {
            let bins = found
                .record
                .iter()
                .filter(|_| !no_bins)
                .flat_map(|record| record.bins());
            for bin in bins {
                reply.op(OpCode::Read, bin.particle as u8, bin.name, bin.value);
            }
        } else if !no_bins {
            single::append_named(&mut reply, ops, found, respond_all);
        }
        // Left out if it exceeds what a message can carry: a stored record never does.
        let _ = reply.finish();
    }
}

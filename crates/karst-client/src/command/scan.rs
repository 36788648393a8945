//! Scans: all records of a namespace or set, as a stream that can be stopped and taken up again.
//!
//! Every node is asked for the partitions it owns, several nodes at a time, each over a connection of
//! its own. Records wait in a bounded queue; when it is full the nodes wait, so a slow reader costs
//! no memory. Partitions that could not be read are asked for again in further rounds, each from
//! where it stopped and of its owner by then; instead of a node that failed another replica is asked.
//!
//! Two cursors exist. The worker's runs ahead and says where the next round resumes. The reader's
//! counts only what the application has taken out of the stream, so a scan taken up from it repeats
//! nothing and misses nothing that was not deleted or written meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_wire::code::ResultCode;
use karst_wire::command::{CommandError, message};
use karst_wire::field;
use karst_wire::flags::{Info1, Info3};
use karst_wire::frame::{FrameKind, MessageHeader};
use karst_wire::response::{Answer, Answers};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::Stream;

use crate::client::Client;
use crate::command::single::{bins_flags, encode_bin_names};
use crate::command::{bad_answer, refused, result_of};
use crate::error::{Advice, Error, Result};
use crate::key::{Key, UserKey, check_names};
use crate::policy::{Bins, ScanPolicy};
use crate::pool::Node;
use crate::record::Record;
use crate::retry::{Access, Retries, deadline};
use crate::route::Failed;

/// Longest time a scan goes on retrying without reading anything new.
const STUCK_TIMEOUT: Duration = Duration::from_secs(60);

/// First byte of a cursor's bytes: the version of its form.
const CURSOR_VERSION: u8 = 1;

/// A record of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanRecord {
    /// Its key. The user's part is there only if it is stored with the record.
    pub key: Key,
    /// Its bins, generation and expiry.
    pub record: Record,
}

/// What is still to be scanned: for each partition where to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanCursor {
    /// Partitions not yet finished; the digest after which to resume, `None` from the start.
    partitions: BTreeMap<u16, Option<Digest>>,
}

impl ScanCursor {
    /// Everything.
    pub fn all() -> ScanCursor {
        ScanCursor::of(PartitionId::all())
    }

    /// These partitions, from their start. Numbers that no partition has are left out.
    pub fn of(partitions: impl IntoIterator<Item = PartitionId>) -> ScanCursor {
        let valid = partitions.into_iter().filter(|id| id.index() < PARTITIONS);
        ScanCursor {
            partitions: valid.map(|id| (id.0, None)).collect(),
        }
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.partitions.is_empty()
    }

    /// How many partitions are not finished.
    pub fn partitions_left(&self) -> usize {
        self.partitions.len()
    }

    /// The cursor as bytes, for a later process to go on from.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![CURSOR_VERSION];
        for (partition, after) in &self.partitions {
            bytes.extend_from_slice(&partition.to_be_bytes());
            bytes.push(u8::from(after.is_some()));
            bytes.extend(after.iter().flat_map(|digest| digest.0));
        }
        bytes
    }

    /// Reads a cursor from its bytes.
    ///
    /// # Errors
    /// [`Error::BadCursor`] if they are not those of a cursor.
    pub fn from_bytes(bytes: &[u8]) -> Result<ScanCursor> {
        let mut partitions = BTreeMap::new();
        let (version, mut rest) = bytes.split_first().ok_or(Error::BadCursor)?;
        if *version != CURSOR_VERSION {
            return Err(Error::BadCursor);
        }
        while !rest.is_empty() {
            let (partition, after);
            (partition, after, rest) = read_position(rest).ok_or(Error::BadCursor)?;
            if partitions.insert(partition, after).is_some() {
                return Err(Error::BadCursor);
            }
        }
        Ok(ScanCursor { partitions })
    }

    /// Moves behind a record, unless its partition is not being scanned. False then.
    fn advance(&mut self, digest: Digest) -> bool {
        let position = self.partitions.get_mut(&digest.partition().0);
        position.map(|after| *after = Some(digest)).is_some()
    }
}

type Position<'a> = (u16, Option<Digest>, &'a [u8]);

fn read_position(bytes: &[u8]) -> Option<Position<'_>> {
    let ([high, low, resumes], rest) = bytes.split_first_chunk::<3>()?;
    let partition = u16::from_be_bytes([*high, *low]);
    if usize::from(partition) >= PARTITIONS {
        return None;
    }
    match resumes {
        0 => Some((partition, None, rest)),
        1 => {
            let (digest, rest) = rest.split_first_chunk::<{ Digest::BYTES }>()?;
            let digest = Digest(*digest);
            (digest.partition().0 == partition).then_some((partition, Some(digest), rest))
        }
        _ => None,
    }
}

/// What the worker hands to the reader.
enum Item {
    Record(ScanRecord),
    /// These partitions hold nothing more.
    Finished(Vec<u16>),
    Failed(Error),
    /// Nothing more will come: all is read, or as much as was wanted.
    Ended,
}

/// A running scan: a stream of records. Dropping it stops the scan on all nodes.
pub struct Scan {
    items: mpsc::Receiver<Item>,
    cursor: ScanCursor,
    worker: AbortHandle,
    /// The end, or an error, was handed out.
    ended: bool,
}

impl Scan {
    /// The next record; `None` at the end. An error ends the scan; the cursor says what is left.
    pub async fn next(&mut self) -> Option<Result<ScanRecord>> {
        std::future::poll_fn(|context| self.poll_item(context)).await
    }

    /// Where to go on, with [`Client::scan_from`], after the records taken so far.
    pub fn cursor(&self) -> &ScanCursor {
        &self.cursor
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<ScanRecord>>> {
        while !self.ended {
            match self.items.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.ended = true; // without a word: the runtime is shutting down
                    return Poll::Ready(Some(Err(Error::Stopped)));
                }
                Poll::Ready(Some(Item::Record(record))) => {
                    self.cursor.advance(*record.key.digest());
                    return Poll::Ready(Some(Ok(record)));
                }
                Poll::Ready(Some(Item::Finished(partitions))) => {
                    for partition in partitions {
                        self.cursor.partitions.remove(&partition);
                    }
                }
                Poll::Ready(Some(Item::Failed(error))) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Item::Ended)) => self.ended = true,
            }
        }
        Poll::Ready(None)
    }
}

impl Stream for Scan {
    type Item = Result<ScanRecord>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(context)
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Client {
    /// Streams all records of a set, or of the whole namespace if `set` is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names the protocol cannot carry, [`Error::UnknownNamespace`]. Later
    /// errors come through the stream.
    pub fn scan(&self, namespace: &str, set: &str, policy: ScanPolicy) -> Result<Scan> {
        self.scan_from(namespace, set, policy, ScanCursor::all())
    }

    /// Streams what a cursor has left, with the same namespace and set as before.
    ///
    /// # Errors
    /// As [`Client::scan`].
    pub fn scan_from(
        &self,
        namespace: &str,
        set: &str,
        policy: ScanPolicy,
        cursor: ScanCursor,
    ) -> Result<Scan> {
        check_names(namespace, set)?;
        if !self.cluster().peek().map.has(namespace) {
            let namespace = namespace.to_owned();
            return Err(Error::UnknownNamespace { namespace });
        }
        let (sender, items) = mpsc::channel(policy.buffer_records.max(1));
        let worker = Worker {
            client: self.clone(),
            job: Arc::new(Job {
                namespace: namespace.into(),
                set: set.into(),
                policy,
                sender,
            }),
            left: cursor.partitions.clone(),
            failed: Failed::default(),
        };
        let worker = tokio::spawn(worker.run()).abort_handle();
        Ok(Scan {
            items,
            cursor,
            worker,
            ended: false,
        })
    }
}

/// What every node's part of a scan shares.
struct Job {
    namespace: Arc<str>,
    set: Arc<str>,
    policy: ScanPolicy,
    sender: mpsc::Sender<Item>,
}

/// Partitions and where to resume each.
type Positions = BTreeMap<u16, Option<Digest>>;

/// What one node is asked for in one round.
struct Share {
    node: Arc<Node>,
    positions: Positions,
    /// Most records; 0 for no limit.
    records_max: u64,
}

/// How one node's part of a round ended.
struct ShareEnd {
    /// What it has left.
    positions: Positions,
    returned: u64,
    error: Option<Error>,
    /// The node, if it failed the whole share.
    failed: Option<Arc<Node>>,
}

struct Worker {
    client: Client,
    job: Arc<Job>,
    left: Positions,
    /// Nodes that failed since anything was read.
    failed: Failed,
}

impl Worker {
    async fn run(mut self) {
        let last = match self.read_all().await {
            Ok(()) => Item::Ended,
            Err(error) => Item::Failed(self.final_error(error)),
        };
        let _ = self.job.sender.send(last).await; // the reader may have left
    }

    /// Rounds until nothing is left or enough was read.
    async fn read_all(&mut self) -> Result<()> {
        let mut records_left = self.job.policy.records_max;
        let limited = records_left != 0;
        let mut retries = self.new_retries();
        while !self.left.is_empty() {
            let (returned, error) = self.round(records_left).await;
            records_left = records_left.saturating_sub(returned);
            if limited && records_left == 0 {
                return Ok(());
            }
            if returned > 0 {
                retries = self.new_retries();
                self.failed = Failed::default();
            }
            let Some(error) = error else { continue };
            match retries.after(error.advice(), Instant::now(), rand::random()) {
                Some(step) => {
                    self.client
                        .pause(step, Instant::now() + STUCK_TIMEOUT)
                        .await
                }
                None => return Err(error),
            }
        }
        Ok(())
    }

    fn new_retries(&self) -> Retries {
        Retries::new(self.job.policy.retry, Instant::now() + STUCK_TIMEOUT)
    }

    /// A passing error that has used up its retries becomes one that says how much is missing.
    fn final_error(&self, error: Error) -> Error {
        match error.advice() {
            Advice::GiveUp | Advice::ReadBeforeRetry => error,
            Advice::RetryNow | Advice::RefreshMapAndRetry | Advice::BackOffAndRetry => {
                Error::ScanIncomplete {
                    partitions: self.left.len(),
                    last: Box::new(error),
                }
            }
        }
    }

    /// Asks each node once. Returns how many records came, and an error if anything is left to retry.
    async fn round(&mut self, records_max: u64) -> (u64, Option<Error>) {
        let (mut waiting, mut last_error) = self.shares(records_max);
        let nodes_at_once = self.job.policy.nodes_at_once.max(1);
        let mut returned = 0;
        let mut running = JoinSet::new();
        loop {
            while running.len() < nodes_at_once
                && let Some(share) = waiting.pop_front()
            {
                running.spawn(scan_share(Arc::clone(&self.job), share));
            }
            let Some(ended) = running.join_next().await else {
                return (returned, last_error);
            };
            let end = ended.expect("a share is neither cancelled nor allowed to panic");
            returned += end.returned;
            self.left.extend(end.positions);
            if let Some(node) = end.failed {
                self.failed.add(&node);
            }
            last_error = end.error.or(last_error);
        }
    }

    /// Divides what is left among the owners. Partitions without one stay, and are an error; those
    /// that were handed out come back with the end of their share.
    fn shares(&mut self, records_max: u64) -> (VecDeque<Share>, Option<Error>) {
        let mut by_node: BTreeMap<String, (Arc<Node>, Positions)> = BTreeMap::new();
        let mut unowned = None;
        let namespace = &self.job.namespace;
        for (partition, after) in std::mem::take(&mut self.left) {
            let id = PartitionId(partition);
            let choice = self.client.master(&self.failed);
            match self.client.owner(namespace, id, choice) {
                Ok(node) => {
                    let share = by_node.entry(node.name().to_owned());
                    let (_, positions) = share.or_insert_with(|| (node, Positions::new()));
                    positions.insert(partition, after);
                }
                Err(error) => {
                    self.left.insert(partition, after);
                    unowned = Some(error);
                }
            }
        }
        let nodes = by_node.len() as u64;
        let mut shares = VecDeque::new();
        for (rank, (node, positions)) in (0u64..).zip(by_node.into_values()) {
            let limit = records_max / nodes + u64::from(rank < records_max % nodes);
            match records_max != 0 && limit == 0 {
                true => self.left.extend(positions), // fewer records wanted than nodes
                false => shares.push_back(Share {
                    node,
                    positions,
                    records_max: limit,
                }),
            }
        }
        (shares, unowned)
    }
}

/// Scans one node's share and says what is left of it.
async fn scan_share(job: Arc<Job>, share: Share) -> ShareEnd {
    let Share {
        node,
        positions,
        records_max,
    } = share;
    let mut reader = ShareReader {
        job: &job,
        node: &node,
        positions,
        unread: vec![],
        records_max,
        returned: 0,
    };
    let ended = reader.run().await;
    if ended.is_ok() {
        reader.finish().await;
    }
    let unread =
        (!reader.unread.is_empty()).then(|| refused(&node, ResultCode::Unavailable, Access::Read));
    let positions = reader.positions;
    let returned = reader.returned;
    let failed = ended.as_ref().is_err_and(|error| {
        node.note(error);
        error.blames_node()
    });
    ShareEnd {
        positions,
        returned,
        error: ended.err().or(unread),
        failed: failed.then_some(node),
    }
}

struct ShareReader<'a> {
    job: &'a Job,
    node: &'a Node,
    /// What is left, advanced with every record.
    positions: Positions,
    /// Partitions the node could not read.
    unread: Vec<u16>,
    records_max: u64,
    returned: u64,
}

/// Whether a stream goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    More,
    Ended,
}

impl ShareReader<'_> {
    /// Sends the request and reads its answers to the end.
    async fn run(&mut self) -> Result<()> {
        let started = Instant::now();
        let idle = self.job.policy.idle_timeout;
        let first = deadline(started, idle);
        let mut lease = self.node.lease_for_scan(first).await?;
        let connection = &mut lease.connection;
        let request = |out: &mut Vec<u8>| self.encode(out);
        let sent = connection.send(first, request).await;
        sent.map_err(|failed| self.node.failed(failed, started))?;
        loop {
            let asked = Instant::now();
            let frame = connection
                .receive(FrameKind::Message, deadline(asked, idle))
                .await;
            let frame = frame.map_err(|failed| self.node.failed(failed, asked))?;
            if self.take_frame(connection.body(&frame)).await? == Flow::Ended {
                lease.give_back();
                return Ok(());
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) -> std::result::Result<(), CommandError> {
        let policy = &self.job.policy;
        let idle_ms = u32::try_from(policy.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let no_bins = match &policy.bins {
            Bins::All => Info1::NONE, // a scan without operations returns all bins
            bins => bins_flags(bins),
        };
        let header = MessageHeader {
            info1: Info1::READ | no_bins,
            info3: Info3::PARTITION_DONE,
            record_ttl: u32::MAX,
            transaction_ttl: idle_ms,
            ..MessageHeader::default()
        };
        let resumed: Vec<Digest> = self.positions.values().flatten().copied().collect();
        let fresh = self.positions.iter().filter(|(_, after)| after.is_none());
        let fresh: Vec<PartitionId> = fresh.map(|(id, _)| PartitionId(*id)).collect();
        message(out, header, |body| {
            body.namespace(&self.job.namespace);
            if !self.job.set.is_empty() {
                body.set(&self.job.set);
            }
            if policy.records_per_second != 0 {
                let limit = policy.records_per_second.to_be_bytes();
                body.field(field::RECORDS_PER_SECOND, &limit);
            }
            body.field(field::SOCKET_TIMEOUT, &idle_ms.to_be_bytes());
            body.field(field::TASK_ID, &rand::random::<u64>().to_be_bytes());
            if let Some(filter) = &policy.filter {
                body.field(field::FILTER, filter);
            }
            if !fresh.is_empty() {
                body.partitions(&fresh);
            }
            if !resumed.is_empty() {
                body.resume_after(&resumed);
            }
            if self.records_max != 0 {
                body.field(field::SAMPLE_MAX, &self.records_max.to_be_bytes());
            }
            encode_bin_names(body, &policy.bins);
        })
    }

    async fn take_frame(&mut self, body: &[u8]) -> Result<Flow> {
        for answer in Answers::new(body) {
            let answer = answer.map_err(|error| bad_answer(self.node, error, Access::Read))?;
            if self.take_answer(&answer).await? == Flow::Ended {
                return Ok(Flow::Ended);
            }
        }
        Ok(Flow::More)
    }

    async fn take_answer(&mut self, answer: &Answer<'_>) -> Result<Flow> {
        if let Some(partition) = answer.partition_done() {
            if answer.code() != Ok(ResultCode::Ok) {
                self.unread.push(partition.0);
            }
            return Ok(Flow::More);
        }
        let code = result_of(self.node, answer, Access::Read)?;
        if answer.is_last() || code == ResultCode::NotFound {
            return Ok(Flow::Ended); // an unknown set has no records
        }
        if self.records_max != 0 && self.returned >= self.records_max {
            return Ok(Flow::More); // the node sent more than it was asked for
        }
        let digest = answer.digest().filter(|digest| {
            let position = self.positions.get_mut(&digest.partition().0);
            position.map(|after| *after = Some(*digest)).is_some()
        });
        let digest = digest.ok_or_else(|| Error::StrayRecord {
            node: self.node.name().to_owned(),
        })?;
        let record = self.read_record(answer, digest)?;
        self.returned += 1;
        let _ = self.job.sender.send(Item::Record(record)).await; // a reader that left aborts us
        Ok(Flow::More)
    }

    fn read_record(&self, answer: &Answer<'_>, digest: Digest) -> Result<ScanRecord> {
        let set = answer.field(field::SET).unwrap_or_default();
        let set = match set == self.job.set.as_bytes() {
            true => Arc::clone(&self.job.set),
            false => String::from_utf8_lossy(set).into(),
        };
        let key = Key::from_digest(Arc::clone(&self.job.namespace), set, digest)?;
        let user_key = answer.field(field::KEY).and_then(UserKey::read);
        Ok(ScanRecord {
            key: key.with_user_key(user_key),
            record: Record::from_answer(answer, false)?,
        })
    }

    /// After a sound end: every partition is finished, except those that could not be read, and
    /// except all of them if the node stopped at its limit of records.
    async fn finish(&mut self) {
        if self.records_max != 0 && self.returned >= self.records_max {
            return;
        }
        let unread = self.unread.iter();
        let kept: Positions = unread
            .filter_map(|id| self.positions.get_key_value(id))
            .map(|(id, after)| (*id, *after))
            .collect();
        let all = std::mem::replace(&mut self.positions, kept);
        let finished = all
            .into_keys()
            .filter(|id| !self.positions.contains_key(id));
        let finished: Vec<u16> = finished.collect();
        let _ = self.job.sender.send(Item::Finished(finished)).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest_in(partition: u16) -> Digest {
        let mut bytes = [7; 20];
        bytes[..2].copy_from_slice(&partition.to_le_bytes());
        Digest(bytes)
    }

    #[test]
    fn a_cursor_survives_its_bytes() {
        let mut cursor = ScanCursor::of([0, 1, 492, 4095].map(PartitionId));
        assert!(cursor.advance(digest_in(492)));
        assert_eq!(ScanCursor::from_bytes(&cursor.to_bytes()).unwrap(), cursor);
        let done = ScanCursor::of([]);
        assert!(ScanCursor::from_bytes(&done.to_bytes()).unwrap().is_done());
    }

    #[test]
    fn a_cursor_stays_out_of_partitions_it_does_not_scan() {
        let mut cursor = ScanCursor::of([PartitionId(1), PartitionId(4096)]);
        assert_eq!(cursor.partitions_left(), 1);
        assert!(!cursor.advance(digest_in(2)));
        assert_eq!(cursor.partitions_left(), 1);
    }

    #[test]
    fn bytes_that_are_no_cursor_are_refused() {
        let with_digest_of_another = [&[1, 0, 5, 1][..], &digest_in(6).0].concat();
        for bytes in [
            &[][..],
            &[2],
            &[1, 0],
            &[1, 0x10, 0, 0],
            &[1, 0, 1, 2],
            &[1, 0, 1, 0, 0, 1, 0],
            &with_digest_of_another,
        ] {
            assert!(ScanCursor::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_cursor_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(cursor) = ScanCursor::from_bytes(&bytes) {
                prop_assert!(cursor.partitions_left() <= PARTITIONS);
            }
        }
    }
}

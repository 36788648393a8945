//! Scans and queries: the records of a namespace or set, or those that a secondary index finds, as a stream
//! that can be stopped and taken up again.
//!
//! Every node is asked for the partitions it owns, several nodes at a time, each over a connection of
//! its own. Records wait in a bounded queue; when it is full the nodes wait, so a slow reader costs
//! no memory. Partitions that could not be read are asked for again in further rounds, each from
//! where it stopped and of its owner by then; instead of a node that failed another replica is asked.
//!
//! Two cursors exist. The worker's runs ahead and says where the next round resumes. The reader's
//! counts only what the application has taken out of the stream, so a scan taken up from it repeats
//! nothing and misses nothing that was not deleted or written meanwhile.

mod cursor;
mod share;

pub use cursor::ScanCursor;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use karst_data::key::PartitionId;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::Stream;

use crate::client::Client;
use crate::error::{Advice, Error, Result};
use crate::key::Key;
use crate::policy::ScanPolicy;
use crate::pool::Node;
use crate::query::Query;
use crate::record::Record;
use crate::retry::Retries;
use crate::route::Failed;

use cursor::{Place, Positions};
use share::{Share, scan_share};

/// Longest time a scan goes on retrying without reading anything new.
const STUCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A record of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanRecord {
    /// Its key. The user's part is there only if it is stored with the record.
    pub key: Key,
    /// Its bins, generation and expiry.
    pub record: Record,
}

/// What the worker hands to the reader.
enum Item {
    /// A record, and the index value it was found under.
    Record(ScanRecord, Option<u64>),
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
                Poll::Ready(Some(Item::Record(record, value))) => {
                    let digest = *record.key.digest();
                    self.cursor.advance(Place { digest, value });
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
        self.query_from(&Query::new(namespace, set), policy, cursor)
    }

    /// Streams the records that a query is about.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what the protocol cannot carry, [`Error::UnknownNamespace`]. Later errors come
    /// through the stream: `SindexNotFound` if there is no such index.
    pub fn query(&self, query: &Query, policy: ScanPolicy) -> Result<Scan> {
        self.query_from(query, policy, ScanCursor::all())
    }

    /// Streams what a cursor has left, of the same query as before.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub fn query_from(
        &self,
        query: &Query,
        policy: ScanPolicy,
        cursor: ScanCursor,
    ) -> Result<Scan> {
        query.check()?;
        if !self.cluster().peek().map.has(&query.namespace) {
            let namespace = query.namespace.to_string();
            return Err(Error::UnknownNamespace { namespace });
        }
        let (sender, items) = mpsc::channel(policy.buffer_records.max(1));
        let worker = Worker {
            client: self.clone(),
            job: Arc::new(Job {
                query: query.clone(),
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
    query: Query,
    policy: ScanPolicy,
    sender: mpsc::Sender<Item>,
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
        let namespace = &self.job.query.namespace;
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

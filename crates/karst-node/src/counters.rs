//! What each data core counts.
//!
//! Only the core itself writes its counters, so a relaxed load and store is enough and costs what a
//! plain integer does; anyone may read them. `metrics` declares how they are called outside.

use std::sync::atomic::{AtomicU64, Ordering};

use karst_data::key::{PARTITIONS, PartitionId};

/// A number that one thread writes and any reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only from the owning thread.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    /// Subtracts; only from the owning thread.
    #[inline]
    pub fn subtract(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(amount),
            Ordering::Relaxed,
        );
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a request is, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Op {
    /// A single-record read.
    Read,
    /// A single-record write, operate or touch.
    Write,
    /// A single-record delete.
    Delete,
    /// A read within a batch.
    BatchRead,
    /// A write within a batch.
    BatchWrite,
    /// A delete within a batch.
    BatchDelete,
    /// A partition scan.
    Scan,
    /// A batch as a whole.
    Batch,
    /// A function on one record.
    Udf,
    /// A function within a batch.
    BatchUdf,
    /// A write of a query in the background.
    QueryWrite,
    /// A function that a query in the background calls.
    QueryUdf,
}

impl Op {
    /// Every kind.
    pub const ALL: [Op; 12] = [
        Op::Read,
        Op::Write,
        Op::Delete,
        Op::BatchRead,
        Op::BatchWrite,
        Op::BatchDelete,
        Op::Scan,
        Op::Batch,
        Op::Udf,
        Op::BatchUdf,
        Op::QueryWrite,
        Op::QueryUdf,
    ];

    /// Its label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Op::Read => "read",
            Op::Write => "write",
            Op::Delete => "delete",
            Op::BatchRead => "batch_read",
            Op::BatchWrite => "batch_write",
            Op::BatchDelete => "batch_delete",
            Op::Scan => "scan",
            Op::Batch => "batch",
            Op::Udf => "udf",
            Op::BatchUdf => "batch_udf",
            Op::QueryWrite => "query_write",
            Op::QueryUdf => "query_udf",
        }
    }
}

/// How a request ended, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Ending {
    /// As asked.
    Ok,
    /// The record was not there.
    NotFound,
    /// The request's filter did not let the record pass.
    FilteredOut,
    /// The request was refused by a rule that the client set or broke.
    Refused,
    /// The server ran out of time or room for it.
    Overload,
    /// The server failed.
    Error,
}

impl Ending {
    /// Every kind.
    pub const ALL: [Ending; 6] = [
        Ending::Ok,
        Ending::NotFound,
        Ending::FilteredOut,
        Ending::Refused,
        Ending::Overload,
        Ending::Error,
    ];

    /// Its label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Ending::Ok => "ok",
            Ending::NotFound => "not_found",
            Ending::FilteredOut => "filtered_out",
            Ending::Refused => "refused",
            Ending::Overload => "overload",
            Ending::Error => "error",
        }
    }
}

/// What a query is, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Query {
    /// Its client says that it is short.
    Short,
    /// Any other that sends records.
    Long,
    /// A function over its records.
    Aggregation,
    /// A function on each of its records, in the background.
    BackgroundUdf,
    /// Operations on each of its records, in the background.
    BackgroundOps,
}

impl Query {
    /// Every kind.
    pub const ALL: [Query; 5] = [
        Query::Short,
        Query::Long,
        Query::Aggregation,
        Query::BackgroundUdf,
        Query::BackgroundOps,
    ];

    /// Its name in the reference's statistics.
    pub fn name(self) -> &'static str {
        match self {
            Query::Short => "short_basic",
            Query::Long => "long_basic",
            Query::Aggregation => "aggr",
            Query::BackgroundUdf => "udf_bg",
            Query::BackgroundOps => "ops_bg",
        }
    }
}

/// How a query ended, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum QueryEnding {
    /// It did all it was to do.
    Complete,
    /// It could not.
    Error,
    /// Somebody ended it.
    Abort,
}

impl QueryEnding {
    /// Every way.
    pub const ALL: [QueryEnding; 3] = [
        QueryEnding::Complete,
        QueryEnding::Error,
        QueryEnding::Abort,
    ];
}

/// Queries by what they are ([`Query`]), then by how they ended ([`QueryEnding`]).
pub type Queries<T> = [[T; QueryEnding::ALL.len()]; Query::ALL.len()];

/// What queries for places came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<T> {
    /// Queries that were begun.
    pub queries: T,
    /// Stretches of the index's order that they looked through.
    pub ranges: T,
    /// Records that were found there and are meant.
    pub met: T,
    /// Records that were found there and lie beside what is asked for.
    pub missed: T,
}

/// Buckets of a latency histogram: bucket `n` counts times below `2^n` microseconds, the last one all.
pub const LATENCY_BUCKETS: usize = 25;

/// A histogram of times by powers of two.
#[derive(Debug, Default)]
pub struct Latency {
    /// Times in each bucket, not cumulated.
    pub buckets: [Counter; LATENCY_BUCKETS],
    /// Sum of all times in microseconds.
    pub sum_us: Counter,
}

impl Latency {
    /// Counts `count` requests that took this long each.
    #[inline]
    pub fn record(&self, us: u64, count: u64) {
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(LATENCY_BUCKETS - 1)].add(count);
        self.sum_us.add(us * count);
    }
}

/// How often each partition was asked for.
#[derive(Debug)]
pub struct Heat(Box<[Counter]>);

impl Default for Heat {
    fn default() -> Heat {
        Heat((0..PARTITIONS).map(|_| Counter::default()).collect())
    }
}

impl Heat {
    /// Counts a request for one of its records.
    #[inline]
    pub fn add(&self, id: PartitionId) {
        self.0[id.index()].add(1);
    }

    /// Requests of each partition, in order.
    pub fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(Counter::get)
    }
}

/// What is counted per namespace.
#[derive(Debug, Default)]
pub struct NamespaceCounters {
    /// By [`Op`], then by [`Ending`].
    pub requests: [[Counter; Ending::ALL.len()]; Op::ALL.len()],
    /// By [`Op`].
    pub latency: [Latency; Op::ALL.len()],
    /// Requests for single records that were carried out here, by partition.
    pub heat: Heat,
    /// Reads that a device was asked for.
    pub device_reads: Counter,
    /// Time that device reads took, summed, in microseconds.
    pub device_read_us: Counter,
    /// Writes that a device was asked for.
    pub device_writes: Counter,
    /// Bytes of those.
    pub device_write_bytes: Counter,
    /// Time that device writes took, summed, in microseconds.
    pub device_write_us: Counter,
    /// Writes of what clients wrote, as far as a device was asked for them: each makes all that was
    /// appended until then durable.
    pub client_flushes: Counter,
    /// Records that defrag moved.
    pub moved_records: Counter,
    /// Writes that waited for defrag to free a block.
    pub stalled_writes: Counter,
    /// Queries that walked partitions.
    pub scans: Queries<Counter>,
    /// Queries that asked an index.
    pub index_queries: Queries<Counter>,
    /// Queries for places.
    pub places: Places<Counter>,
    /// Reads of strongly consistent partitions that were answered by the lease.
    pub lease_reads: Counter,
    /// Those for which a quorum was asked.
    pub quorum_reads: Counter,
}

impl NamespaceCounters {
    /// Counts one request.
    #[inline]
    pub fn count(&self, op: Op, ending: Ending) {
        self.requests[op as usize][ending as usize].add(1);
    }

    /// Counts one query that has ended.
    pub fn count_query(&self, query: Query, by_index: bool, ending: QueryEnding) {
        let queries = match by_index {
            true => &self.index_queries,
            false => &self.scans,
        };
        queries[query as usize][ending as usize].add(1);
    }
}

/// What one data core counts.
#[derive(Debug)]
pub struct CoreCounters {
    /// By position of the namespace.
    pub namespaces: Vec<NamespaceCounters>,
    /// Connections open now.
    pub connections: Counter,
    /// Connections ever opened.
    pub connections_opened: Counter,
    /// Connections closed because of what they sent.
    pub connections_rejected: Counter,
    /// Requests that named no namespace of this node or could not be parsed.
    pub malformed: Counter,
    /// Info commands answered.
    pub info: Counter,
    /// Requests handed on to the node to which they belong.
    pub proxied_out: Counter,
    /// Requests that other nodes have handed on to this one.
    pub proxied_in: Counter,
    /// Writes sent to other nodes, again if need be.
    pub replicated_out: Counter,
    /// Writes that other nodes sent.
    pub replicated_in: Counter,
    /// Records sent to nodes that are being filled.
    pub filled_records: Counter,
    /// Their bytes.
    pub filled_bytes: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
}

impl CoreCounters {
    /// Zeros for this many namespaces.
    pub fn new(namespaces: usize) -> CoreCounters {
        CoreCounters {
            namespaces: (0..namespaces)
                .map(|_| NamespaceCounters::default())
                .collect(),
            connections: Counter::default(),
            connections_opened: Counter::default(),
            connections_rejected: Counter::default(),
            malformed: Counter::default(),
            info: Counter::default(),
            proxied_out: Counter::default(),
            proxied_in: Counter::default(),
            replicated_out: Counter::default(),
            replicated_in: Counter::default(),
            filled_records: Counter::default(),
            filled_bytes: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
        }
    }
}

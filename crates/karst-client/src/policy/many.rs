//! How calls on many records behave.

use std::time::Duration;

use super::{Bins, ReadMode, Replica, RetryPolicy, Ttl};
use crate::expr::Expr;

/// How a batch as a whole behaves; its rows bring what concerns one record.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPolicy {
    /// Longest time of the call with all its retries.
    pub timeout: Duration,
    /// Longest time of one attempt; `None` lets one attempt use all of `timeout`.
    pub attempt_timeout: Option<Duration>,
    /// Retries of rows that failed: reads, writes that were definitely not applied, and those whose own
    /// policy calls them idempotent.
    pub retry: RetryPolicy,
    /// Which replica answers reads.
    pub replica: Replica,
    /// Consistency of reads in strong-consistency namespaces.
    pub read_mode: ReadMode,
    /// Most rows of one request to one node; larger batches are cut.
    pub rows_max: usize,
    /// Expression that must hold for each record; else its row fails with `FilteredOut`.
    pub filter: Option<Expr>,
}

impl Default for BatchPolicy {
    fn default() -> BatchPolicy {
        BatchPolicy {
            timeout: Duration::from_secs(1),
            attempt_timeout: None,
            retry: RetryPolicy::default(),
            replica: Replica::default(),
            read_mode: ReadMode::default(),
            rows_max: 1000,
            filter: None,
        }
    }
}

impl BatchPolicy {
    /// With this condition on each record.
    #[must_use]
    pub fn with_filter(mut self, filter: Expr) -> BatchPolicy {
        self.filter = Some(filter);
        self
    }

    /// With this consistency of reads in strong-consistency namespaces.
    #[must_use]
    pub fn with_read_mode(mut self, mode: ReadMode) -> BatchPolicy {
        self.read_mode = mode;
        self
    }

    /// With at most so many rows in one request to one node.
    #[must_use]
    pub fn with_rows_max(mut self, rows_max: usize) -> BatchPolicy {
        self.rows_max = rows_max;
        self
    }

    /// With this longest time of the call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> BatchPolicy {
        self.timeout = timeout;
        self
    }

    /// With this longest time of one attempt.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> BatchPolicy {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// With this choice of replica.
    #[must_use]
    pub fn with_replica(mut self, replica: Replica) -> BatchPolicy {
        self.replica = replica;
        self
    }

    /// With these retries.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> BatchPolicy {
        self.retry = retry;
        self
    }
}

/// How a scan or query behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanPolicy {
    /// Longest time between two answers of one node.
    pub idle_timeout: Duration,
    /// Retries in a row of partitions that could not be read; each resumes where it stopped.
    pub retry: RetryPolicy,
    /// What of each record to return.
    pub bins: Bins,
    /// Most records to return; 0 returns all. The cursor resumes behind them.
    pub records_max: u64,
    /// Most records a second of each node; 0 sets no limit.
    pub records_per_second: u32,
    /// Records that wait for the application before nodes are made to wait.
    pub buffer_records: usize,
    /// Most nodes asked at the same time.
    pub nodes_at_once: usize,
    /// Expression that must hold for a record to be returned.
    pub filter: Option<Expr>,
}

impl Default for ScanPolicy {
    fn default() -> ScanPolicy {
        ScanPolicy {
            idle_timeout: Duration::from_secs(30),
            retry: RetryPolicy {
                retries_max: 25, // about five seconds, in which a cluster gets over the loss of a node
                ..RetryPolicy::default()
            },
            bins: Bins::All,
            records_max: 0,
            records_per_second: 0,
            buffer_records: 1024,
            nodes_at_once: 16,
            filter: None,
        }
    }
}

impl ScanPolicy {
    /// With this condition on the records that are returned.
    #[must_use]
    pub fn with_filter(mut self, filter: Expr) -> ScanPolicy {
        self.filter = Some(filter);
        self
    }

    /// With at most so many records a second of each node.
    #[must_use]
    pub fn with_records_per_second(mut self, limit: u32) -> ScanPolicy {
        self.records_per_second = limit;
        self
    }

    /// With these bins.
    #[must_use]
    pub fn with_bins(mut self, bins: Bins) -> ScanPolicy {
        self.bins = bins;
        self
    }

    /// With at most so many records.
    #[must_use]
    pub fn with_records_max(mut self, records_max: u64) -> ScanPolicy {
        self.records_max = records_max;
        self
    }

    /// With these retries.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> ScanPolicy {
        self.retry = retry;
        self
    }
}

/// How servers change many records in the background.
#[derive(Clone, Debug, PartialEq)]
pub struct BackgroundPolicy {
    /// Longest time until all nodes have begun.
    pub timeout: Duration,
    /// How long each changed record lives.
    pub ttl: Ttl,
    /// A record that loses its last bin leaves a tombstone. Karst always does that; other servers may refuse
    /// it with `EnterpriseOnly`.
    pub durable_delete: bool,
    /// Most records a second of each node; 0 for the server's own limit.
    pub records_per_second: u32,
    /// Expression that must hold for a record to be changed.
    pub filter: Option<Expr>,
}

impl Default for BackgroundPolicy {
    fn default() -> BackgroundPolicy {
        BackgroundPolicy {
            timeout: Duration::from_secs(5),
            ttl: Ttl::default(),
            durable_delete: false,
            records_per_second: 0,
            filter: None,
        }
    }
}

impl BackgroundPolicy {
    /// With this condition on the records that are changed.
    #[must_use]
    pub fn with_filter(mut self, filter: Expr) -> BackgroundPolicy {
        self.filter = Some(filter);
        self
    }

    /// With at most so many records a second of each node.
    #[must_use]
    pub fn with_records_per_second(mut self, limit: u32) -> BackgroundPolicy {
        self.records_per_second = limit;
        self
    }

    /// With this life of each changed record.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> BackgroundPolicy {
        self.ttl = ttl;
        self
    }
}

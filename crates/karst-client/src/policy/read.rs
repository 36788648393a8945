//! How reads behave.

use std::time::Duration;

use karst_wire::flags::Info1;

use super::{Hedge, ReadMode, Replica, RetryPolicy};
use crate::expr::Expr;

/// How reads behave.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadPolicy {
    /// Longest time of the call with all its retries.
    pub timeout: Duration,
    /// Longest time of one attempt; `None` lets one attempt use all of `timeout`.
    pub attempt_timeout: Option<Duration>,
    /// Retries.
    pub retry: RetryPolicy,
    /// Which replica answers.
    pub replica: Replica,
    /// When a second replica is asked as well; `None` for never.
    pub hedge: Option<Hedge>,
    /// Consistency in strong-consistency namespaces.
    pub read_mode: ReadMode,
    /// Available mode: ask all holders of the record before answering, while data migrates.
    pub consult_all: bool,
    /// Send the user key, so that the server compares it with the stored one.
    pub send_key: bool,
    /// Expression that must hold for the record; else the call fails with `FilteredOut`.
    pub filter: Option<Expr>,
}

impl Default for ReadPolicy {
    fn default() -> ReadPolicy {
        ReadPolicy {
            timeout: Duration::from_secs(1),
            attempt_timeout: None,
            retry: RetryPolicy::default(),
            replica: Replica::default(),
            hedge: None,
            read_mode: ReadMode::default(),
            consult_all: false,
            send_key: false,
            filter: None,
        }
    }
}

impl ReadPolicy {
    /// With this condition on the record.
    #[must_use]
    pub fn with_filter(mut self, filter: Expr) -> ReadPolicy {
        self.filter = Some(filter);
        self
    }

    /// With this longest time of the call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> ReadPolicy {
        self.timeout = timeout;
        self
    }

    /// With this longest time of one attempt.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> ReadPolicy {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// With these retries.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> ReadPolicy {
        self.retry = retry;
        self
    }

    /// With this choice of replica.
    #[must_use]
    pub fn with_replica(mut self, replica: Replica) -> ReadPolicy {
        self.replica = replica;
        self
    }

    /// With a second replica asked as well.
    #[must_use]
    pub fn with_hedge(mut self, hedge: Hedge) -> ReadPolicy {
        self.hedge = Some(hedge);
        self
    }

    /// With this consistency.
    #[must_use]
    pub fn with_read_mode(mut self, mode: ReadMode) -> ReadPolicy {
        self.read_mode = mode;
        self
    }

    pub(crate) fn info1(&self) -> Info1 {
        let all = if self.consult_all {
            Info1::CONSISTENCY_LEVEL_ALL
        } else {
            Info1::NONE
        };
        Info1::READ | all
    }
}

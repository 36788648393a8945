//! How writes behave.

use std::time::Duration;

use karst_wire::flags::{Info2, Info3};

use super::RetryPolicy;
use crate::expr::Expr;

/// Longest time to live the protocol carries: ten years.
pub const TTL_SECONDS_MAX: u32 = 315_360_000;

/// What a write does, depending on whether the record exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exists {
    /// Creates the record, or changes the named bins and leaves the others.
    #[default]
    Update,
    /// Changes bins; fails with `NotFound` if there is no record.
    UpdateOnly,
    /// Creates the record; fails with `RecordExists` if there is one.
    CreateOnly,
    /// Creates the record, or replaces all its bins.
    Replace,
    /// Replaces all bins; fails with `NotFound` if there is no record.
    ReplaceOnly,
}

/// What a write expects of the record's generation; else it fails with `Generation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// Anything.
    #[default]
    Any,
    /// The record still has this generation: nobody wrote it since it was read.
    Equal(u16),
    /// The record has a smaller generation than this one; for restoring copies.
    Greater(u16),
}

/// How long the record lives after a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// As the namespace or set is configured.
    #[default]
    ServerDefault,
    /// For ever.
    Never,
    /// Until it would have expired anyway.
    Keep,
    /// So many seconds from now; servers refuse more than [`TTL_SECONDS_MAX`] with `Parameter`. 0 means
    /// [`Ttl::ServerDefault`].
    Seconds(u32),
}

impl Ttl {
    pub(crate) fn on_wire(self) -> u32 {
        match self {
            Ttl::ServerDefault => 0,
            Ttl::Never => u32::MAX,
            Ttl::Keep => u32::MAX - 1,
            // Beyond the maximum lie numbers with other meanings; the first one has none and is refused.
            Ttl::Seconds(seconds) => seconds.min(TTL_SECONDS_MAX + 1),
        }
    }
}

/// Which replicas a write waits for; strong-consistency namespaces always wait for their quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitLevel {
    /// Every reachable replica.
    #[default]
    All,
    /// Only the master; replicas follow.
    Master,
}

/// How writes behave.
#[derive(Clone, Debug, PartialEq)]
pub struct WritePolicy {
    /// Longest time of the call with all its retries.
    pub timeout: Duration,
    /// Longest time of one attempt; `None` lets one attempt use all of `timeout`. What is given up
    /// unanswered is in doubt, so it matters for idempotent writes only.
    pub attempt_timeout: Option<Duration>,
    /// Retries; of writes that were definitely not applied, and of idempotent ones.
    pub retry: RetryPolicy,
    /// The write may be applied twice without harm, so that it is also sent again when in doubt. True of
    /// writes of whole values that nobody else writes meanwhile; not of additions and appends.
    pub idempotent: bool,
    /// What to do if the record exists, or does not.
    pub exists: Exists,
    /// The generation the record must have.
    pub generation: Generation,
    /// How long the record lives.
    pub ttl: Ttl,
    /// Which replicas to wait for.
    pub commit_level: CommitLevel,
    /// A delete leaves a tombstone, so that no older copy comes back. Karst always does; other servers
    /// may refuse it with `EnterpriseOnly`.
    pub durable_delete: bool,
    /// Send the user key, so that the server stores it with the record.
    pub send_key: bool,
    /// `operate` answers with one result per operation, [`Value::Nil`](crate::Value::Nil) for those
    /// without one, instead of leaving these out.
    pub respond_all_ops: bool,
    /// Expression that must hold for the record; else the call fails with `FilteredOut`.
    pub filter: Option<Expr>,
}

impl Default for WritePolicy {
    fn default() -> WritePolicy {
        WritePolicy {
            timeout: Duration::from_secs(1),
            attempt_timeout: None,
            retry: RetryPolicy::default(),
            idempotent: false,
            exists: Exists::default(),
            generation: Generation::default(),
            ttl: Ttl::default(),
            commit_level: CommitLevel::default(),
            durable_delete: false,
            send_key: false,
            respond_all_ops: false,
            filter: None,
        }
    }
}

impl WritePolicy {
    /// With this condition on the record.
    #[must_use]
    pub fn with_filter(mut self, filter: Expr) -> WritePolicy {
        self.filter = Some(filter);
        self
    }

    /// With this longest time of the call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> WritePolicy {
        self.timeout = timeout;
        self
    }

    /// With these retries.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> WritePolicy {
        self.retry = retry;
        self
    }

    /// With this longest time of one attempt.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> WritePolicy {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// With or without retries of attempts that may have been applied.
    #[must_use]
    pub fn with_idempotent(mut self, idempotent: bool) -> WritePolicy {
        self.idempotent = idempotent;
        self
    }

    /// With this action if the record exists, or does not.
    #[must_use]
    pub fn with_exists(mut self, exists: Exists) -> WritePolicy {
        self.exists = exists;
        self
    }

    /// With this expectation of the record's generation.
    #[must_use]
    pub fn with_generation(mut self, generation: Generation) -> WritePolicy {
        self.generation = generation;
        self
    }

    /// With this life of the record.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> WritePolicy {
        self.ttl = ttl;
        self
    }

    /// With these replicas waited for.
    #[must_use]
    pub fn with_commit_level(mut self, level: CommitLevel) -> WritePolicy {
        self.commit_level = level;
        self
    }

    /// With or without a tombstone left by deletes.
    #[must_use]
    pub fn with_durable_delete(mut self, durable: bool) -> WritePolicy {
        self.durable_delete = durable;
        self
    }

    /// With or without the user key stored beside the record.
    #[must_use]
    pub fn with_send_key(mut self, send: bool) -> WritePolicy {
        self.send_key = send;
        self
    }

    /// With or without one result per operation.
    #[must_use]
    pub fn with_respond_all_ops(mut self, respond: bool) -> WritePolicy {
        self.respond_all_ops = respond;
        self
    }

    /// The generation that travels in the header.
    pub(crate) fn expected_generation(&self) -> u16 {
        match self.generation {
            Generation::Any => 0,
            Generation::Equal(generation) | Generation::Greater(generation) => generation,
        }
    }

    pub(crate) fn info2(&self) -> Info2 {
        let generation = match self.generation {
            Generation::Any => Info2::NONE,
            Generation::Equal(_) => Info2::GENERATION,
            Generation::Greater(_) => Info2::GENERATION_GT,
        };
        let create = if self.exists == Exists::CreateOnly {
            Info2::CREATE_ONLY
        } else {
            Info2::NONE
        };
        let durable = if self.durable_delete {
            Info2::DURABLE_DELETE
        } else {
            Info2::NONE
        };
        Info2::WRITE | generation | create | durable
    }

    pub(crate) fn info3(&self) -> Info3 {
        let exists = match self.exists {
            Exists::Update | Exists::CreateOnly => Info3::NONE,
            Exists::UpdateOnly => Info3::UPDATE_ONLY,
            Exists::Replace => Info3::CREATE_OR_REPLACE,
            Exists::ReplaceOnly => Info3::REPLACE_ONLY,
        };
        exists | self.commit_flags()
    }

    pub(crate) fn commit_flags(&self) -> Info3 {
        match self.commit_level {
            CommitLevel::All => Info3::NONE,
            CommitLevel::Master => Info3::COMMIT_LEVEL_MASTER,
        }
    }
}

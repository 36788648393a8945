//! How a call behaves: how long it may take, what it retries, what it asks of the server.
//!
//! Every policy has defaults that suit most applications; change single fields with the `with_`
//! methods or with struct update.
//!
//! ```
//! use std::time::Duration;
//! use karst_client::{Exists, Generation, WritePolicy};
//!
//! let create = WritePolicy::default()
//!     .with_exists(Exists::CreateOnly)
//!     .with_timeout(Duration::from_millis(200));
//! let swap = WritePolicy { generation: Generation::Equal(7), ..create };
//! ```

use std::time::Duration;

use karst_wire::flags::{Info1, Info2, Info3};

/// Longest time to live the protocol carries: ten years.
pub const TTL_SECONDS_MAX: u32 = 315_360_000;

/// Retries within one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts after the first.
    pub retries_max: u32,
    /// Pause before the first retry that has to wait; it doubles from then on.
    pub pause_first: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    /// Enough to outlast, within the time of a call, a partition's way to its next owner: that takes
    /// about a second when a node dies.
    fn default() -> RetryPolicy {
        RetryPolicy {
            retries_max: 10,
            pause_first: Duration::from_millis(5),
            pause_max: Duration::from_millis(250),
        }
    }
}

impl RetryPolicy {
    /// Never retries.
    pub const NEVER: RetryPolicy = RetryPolicy {
        retries_max: 0,
        pause_first: Duration::ZERO,
        pause_max: Duration::ZERO,
    };
}

/// Which of a partition's replicas answers a read. Strong-consistency namespaces read from the
/// master, unless the read mode allows others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replica {
    /// Always the master.
    Master,
    /// The master first, the next replica at each retry.
    #[default]
    Sequence,
    /// All replicas in turn: spreads load, may read what is a moment old.
    Any,
    /// A replica on one of the client's own racks ([`crate::ClientBuilder::racks`]), the first rack
    /// first; others if there is none or it fails. May read what is a moment old.
    PreferRack,
}

/// When a read is sent to a second replica as well; the first answer counts. It costs requests and spares
/// waiting for a node that is slow just now. Reads of strong-consistency namespaces that need the master
/// are not hedged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// When the first has not answered for so long.
    After(Duration),
    /// When the first takes longer than 99 of 100 hedged reads of this client lately did: one more
    /// request for a hundred.
    AfterP99,
}

/// How a strong-consistency namespace answers a read; others ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// Never back in time within this client.
    #[default]
    Session,
    /// Never back in time for anyone; asks a quorum.
    Linearize,
    /// Any replica may answer.
    AllowReplica,
    /// Even a partition that is not available may answer.
    AllowUnavailable,
}

impl ReadMode {
    pub(crate) fn flags(self) -> Info3 {
        match self {
            ReadMode::Session => Info3::NONE,
            ReadMode::Linearize => Info3::SC_READ_TYPE,
            ReadMode::AllowReplica => Info3::SC_READ_RELAX,
            ReadMode::AllowUnavailable => Info3::SC_READ_BITS,
        }
    }

    /// Whether only the master may answer.
    pub(crate) fn needs_master(self) -> bool {
        matches!(self, ReadMode::Session | ReadMode::Linearize)
    }
}

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
    /// Expression, msgpack, that must hold for the record; else the call fails with `FilteredOut`.
    pub filter: Option<Vec<u8>>,
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
    /// Expression, msgpack, that must hold for the record; else the call fails with `FilteredOut`.
    pub filter: Option<Vec<u8>>,
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
    /// Expression, msgpack, that must hold for each record; else its row fails with `FilteredOut`.
    pub filter: Option<Vec<u8>>,
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

/// Which bins of a record to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bins {
    /// Every bin.
    #[default]
    All,
    /// None: only that the record exists, its generation and expiry.
    None,
    /// These. A record that has none of them is returned without bins; scans leave it out.
    Some(Vec<String>),
}

impl Bins {
    /// The named bins.
    pub fn named<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Bins {
        Bins::Some(names.into_iter().map(Into::into).collect())
    }
}

/// How a scan behaves.
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
    /// Most nodes scanned at the same time.
    pub nodes_at_once: usize,
    /// Expression, msgpack, that must hold for a record to be returned.
    pub filter: Option<Vec<u8>>,
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

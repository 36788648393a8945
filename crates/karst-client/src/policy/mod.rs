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

mod many;
mod read;
mod write;

pub use many::{BackgroundPolicy, BatchPolicy, ScanPolicy};
pub use read::ReadPolicy;
pub use write::{CommitLevel, Exists, Generation, TTL_SECONDS_MAX, Ttl, WritePolicy};

use std::time::Duration;

use karst_wire::flags::Info3;

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

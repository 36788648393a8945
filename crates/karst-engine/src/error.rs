//! Why a request was refused. A refusal was not applied.

use karst_data::operation::OperationError;
use karst_data::work::Exhausted;
use karst_storage::index::Entry;

/// A refused request: why, and what is known of the record it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Generation of the record that was met, 0 if none was.
    pub generation: u16,
    /// Its void time, 0 if none was met or it does not expire.
    pub void_time_s: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// The record exists, and the request would only create it.
    #[error("the record exists")]
    Exists,
    /// The record's generation is not one that the request accepts.
    #[error("the generation differs")]
    Generation,
    /// The record is not in the state that the write was made from.
    #[error("the record has changed since")]
    Overtaken,
    /// The request names another set than the record is in.
    #[error("the record is in another set")]
    SetMismatch,
    /// The set name is too long, or the namespace has as many sets as it may have.
    #[error("the set cannot be made")]
    SetLimit,
    /// The request's filter does not let the record pass.
    #[error("the filter does not let the record pass")]
    FilteredOut,
    /// The request's key is not the one stored with the record.
    #[error("the key differs from the stored one")]
    KeyMismatch,
    /// The request's key cannot be stored.
    #[error("the key cannot be stored")]
    KeyMalformed,
    /// The operations contradict each other or do not fit the record.
    #[error(transparent)]
    Operation(OperationError),
    /// The request's filter or operations take more work than may be done now.
    #[error("it takes more work than one request may make")]
    Exhausted,
    /// The record would exceed the namespace's limit.
    #[error("a record of {size_bytes} bytes exceeds the limit of {bytes_max}")]
    TooBig {
        /// Size it would have.
        size_bytes: usize,
        /// The namespace's limit.
        bytes_max: usize,
    },
    /// The time to live exceeds the namespace's limit.
    #[error("the time to live exceeds the namespace's limit")]
    TtlTooLong,
    /// A limit of the namespace or its machine is crossed: no writes but deletes.
    #[error("writes are stopped")]
    StopWrites,
    /// The set holds as much as it may.
    #[error("the set holds as much as it may")]
    SetFull,
    /// Live records fill the devices.
    #[error("live records fill the devices")]
    OutOfSpace,
    /// No device of the namespace can be written to.
    #[error("no device can be written to")]
    DeviceFailed,
    /// The index has no room for another record.
    #[error("the index is full")]
    IndexFull,
    /// The device did not give back the record that the index points at.
    #[error("the record cannot be read back")]
    Unreadable,
}

impl From<OperationError> for Reason {
    fn from(error: OperationError) -> Reason {
        match error {
            OperationError::Exhausted => Reason::Exhausted,
            error => Reason::Operation(error),
        }
    }
}

impl From<Exhausted> for Reason {
    fn from(_: Exhausted) -> Reason {
        Reason::Exhausted
    }
}

impl Refusal {
    /// A refusal of a request that met this live record.
    pub(crate) fn met(entry: &Entry, reason: Reason) -> Refusal {
        Refusal {
            reason,
            generation: entry.generation(),
            void_time_s: entry.void_time_s(),
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal {
            reason,
            generation: 0,
            void_time_s: 0,
        }
    }
}

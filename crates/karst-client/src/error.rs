//! What can go wrong, and what the caller should do about it.
//!
//! Two questions matter to whoever gets an error: may the write have been applied after all
//! ([`Error::in_doubt`]), and what helps now ([`Error::advice`]). A definite failure was not applied,
//! neither now nor later; everything else is in doubt. Reads change nothing and are never in doubt.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_wire::code::ResultCode;
use karst_wire::command::CommandError;
use karst_wire::frame::FrameError;
use karst_wire::response::BadResponse;

use crate::value::BadValue;

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What to do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Send it again at once; nothing was applied.
    RetryNow,
    /// The node asked does not serve the partition now: learn the new owner, then send it again.
    RefreshMapAndRetry,
    /// The node or its queue is full: wait, then send it again; nothing was applied.
    BackOffAndRetry,
    /// It may have been applied: read the record before deciding.
    ReadBeforeRetry,
    /// Sending the same again gives the same error.
    GiveUp,
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseReason {
    /// The server closed it.
    #[error("closed by the server")]
    ByServer,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// What came is no frame.
    #[error("bad frame: {0}")]
    Frame(#[source] FrameError),
    /// What came is no answer.
    #[error("bad answer: {0}")]
    Answer(#[source] BadResponse),
    /// An answer came that nobody had asked for, or one of the wrong kind.
    #[error("unexpected answer")]
    Unexpected,
    /// The answers to one batch exceed the protocol's largest frame.
    #[error("answers to one batch exceed {limit_bytes} bytes")]
    AnswerTooBig {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The oldest request stayed unanswered long after its deadline.
    #[error("no answer long after the deadline")]
    Stalled,
    /// The server was started again, so whoever was asked is gone.
    #[error("the server was started again")]
    Restarted,
    /// This client closed it.
    #[error("closed by this client")]
    ByClient,
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> CloseReason {
        CloseReason::Io(Arc::new(error))
    }
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The arguments cannot be sent; nothing was.
    #[error("invalid argument: {reason}")]
    Invalid {
        /// What is wrong with them.
        reason: String,
    },
    /// The request breaks a limit of the protocol; nothing was sent.
    #[error("request cannot be encoded: {0}")]
    Command(#[from] CommandError),
    /// No seed address led to a node that is ready.
    #[error("none of {seeds} seed addresses answered within {after:?}; last: {last}")]
    NoSeed {
        /// How many addresses were tried.
        seeds: usize,
        /// How long was tried.
        after: Duration,
        /// What the last one answered.
        last: String,
    },
    /// No node serves the namespace.
    #[error("namespace {namespace:?} is on no node")]
    UnknownNamespace {
        /// The namespace.
        namespace: String,
    },
    /// No node has the name.
    #[error("no node is named {node:?}")]
    UnknownNode {
        /// The name asked for.
        node: String,
    },
    /// No node owns the partition at the moment.
    #[error("partition {partition} of namespace {namespace:?} has no owner")]
    NoOwner {
        /// The namespace.
        namespace: String,
        /// The partition.
        partition: PartitionId,
    },
    /// No connection to the node could be opened; nothing was sent.
    #[error("cannot connect to node {node} at {address}: {source}")]
    Connect {
        /// Name of the node.
        node: String,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No connection had room for the request before its deadline; nothing was sent.
    #[error("node {node} had no room for another request within {after:?}")]
    Busy {
        /// Name of the node.
        node: String,
        /// How long was waited.
        after: Duration,
    },
    /// The request was given up unanswered.
    #[error("node {node} did not answer within {after:?}")]
    Timeout {
        /// Name of the node.
        node: String,
        /// How long was waited.
        after: Duration,
        /// Whether a write may have been applied.
        in_doubt: bool,
    },
    /// The connection ended before the answer came.
    #[error("connection to node {node} lost: {reason}")]
    ConnectionLost {
        /// Name of the node.
        node: String,
        /// Why it ended.
        reason: CloseReason,
        /// Whether a write may have been applied. False if the request had not left yet.
        in_doubt: bool,
    },
    /// The server refused or failed the request.
    #[error("node {node}: {code}")]
    Server {
        /// Name of the node.
        node: String,
        /// What it answered.
        code: ResultCode,
        /// Whether a write may have been applied.
        in_doubt: bool,
    },
    /// The server answered with a result this client does not know.
    #[error("node {node} answered unknown result {number}")]
    UnknownResult {
        /// Name of the node.
        node: String,
        /// The result's number.
        number: u8,
        /// Whether a write may have been applied.
        in_doubt: bool,
    },
    /// The server's answer cannot be understood.
    #[error("bad answer of node {node}: {source}")]
    BadAnswer {
        /// Name of the node.
        node: String,
        /// What is wrong with it.
        source: BadResponse,
        /// Whether a write may have been applied.
        in_doubt: bool,
    },
    /// A bin of the answer holds a value that cannot be understood.
    #[error("bin {bin:?}: {source}")]
    BadValue {
        /// Name of the bin.
        bin: String,
        /// What is wrong with it.
        source: BadValue,
        /// Whether the same request also wrote.
        in_doubt: bool,
    },
    /// A batch ended without a word about this row.
    #[error("node {node} ended the batch without an answer to this row")]
    NoRowAnswer {
        /// Name of the node.
        node: String,
        /// Whether a write may have been applied.
        in_doubt: bool,
    },
    /// The last attempt failed for certain, but an earlier one of the same call may have been applied.
    #[error("an earlier attempt may have been applied; the last one: {last}")]
    EarlierInDoubt {
        /// How the last attempt ended.
        last: Box<Error>,
    },
    /// The node failed so often lately that nothing is sent to it for a moment; nothing was.
    #[error("node {node} is avoided after {errors} errors")]
    Avoided {
        /// Name of the node.
        node: String,
        /// Errors within the present window.
        errors: u32,
    },
    /// The server answered an info command with an error.
    #[error("info command {command:?}: {message} (code {code})")]
    Info {
        /// The command.
        command: String,
        /// Number of the result code.
        code: u8,
        /// The server's words.
        message: String,
    },
    /// A user-defined function failed; nothing was written.
    #[error("node {node}: function failed: {message}")]
    Udf {
        /// Name of the node.
        node: String,
        /// Why, in the server's words; mostly file, line and message.
        message: String,
    },
    /// A change in the background ended before it was done with all records.
    #[error("node {node} ended the job: {status}")]
    JobEnded {
        /// Name of the node.
        node: String,
        /// How it ended, in the server's words.
        status: String,
    },
    /// What was waited for has not come to pass on all nodes.
    #[error("not done on node {node} after {after:?}")]
    NotDone {
        /// Name of a node that has not done it.
        node: String,
        /// How long was waited.
        after: Duration,
    },
    /// Some partitions could not be scanned; the cursor says which.
    #[error("{partitions} partitions were not scanned; last: {last}")]
    ScanIncomplete {
        /// How many partitions.
        partitions: usize,
        /// What the last failing node answered.
        last: Box<Error>,
    },
    /// A scanned record has no digest, or that of a partition the node was not asked for: nobody could
    /// resume behind it.
    #[error("node {node} sent a record of a partition it was not asked for")]
    StrayRecord {
        /// Name of the node.
        node: String,
    },
    /// The client's background tasks are gone: the runtime it was connected in was shut down.
    #[error("the client has stopped")]
    Stopped,
    /// A scan cursor's bytes are not one.
    #[error("not a scan cursor")]
    BadCursor,
}

impl Error {
    /// Whether a write may have been applied, now or later. False means that it was not and will not
    /// be. Always false for reads.
    pub fn in_doubt(&self) -> bool {
        match self {
            Error::Timeout { in_doubt, .. }
            | Error::ConnectionLost { in_doubt, .. }
            | Error::Server { in_doubt, .. }
            | Error::UnknownResult { in_doubt, .. }
            | Error::BadAnswer { in_doubt, .. }
            | Error::BadValue { in_doubt, .. }
            | Error::NoRowAnswer { in_doubt, .. } => *in_doubt,
            Error::EarlierInDoubt { .. } => true,
            Error::Invalid { .. }
            | Error::Command(_)
            | Error::NoSeed { .. }
            | Error::UnknownNamespace { .. }
            | Error::UnknownNode { .. }
            | Error::NoOwner { .. }
            | Error::Connect { .. }
            | Error::Busy { .. }
            | Error::Avoided { .. }
            | Error::Info { .. }
            | Error::Udf { .. }
            | Error::JobEnded { .. }
            | Error::NotDone { .. }
            | Error::ScanIncomplete { .. }
            | Error::StrayRecord { .. }
            | Error::Stopped
            | Error::BadCursor => false,
        }
    }

    /// The same error of a request that changes nothing.
    pub(crate) fn without_doubt(mut self) -> Error {
        match &mut self {
            Error::Timeout { in_doubt, .. }
            | Error::ConnectionLost { in_doubt, .. }
            | Error::Server { in_doubt, .. }
            | Error::UnknownResult { in_doubt, .. }
            | Error::BadAnswer { in_doubt, .. }
            | Error::BadValue { in_doubt, .. }
            | Error::NoRowAnswer { in_doubt, .. } => *in_doubt = false,
            Error::EarlierInDoubt { last } => return last.clone().without_doubt(),
            Error::Invalid { .. }
            | Error::Command(_)
            | Error::NoSeed { .. }
            | Error::UnknownNamespace { .. }
            | Error::UnknownNode { .. }
            | Error::NoOwner { .. }
            | Error::Connect { .. }
            | Error::Busy { .. }
            | Error::Avoided { .. }
            | Error::Info { .. }
            | Error::Udf { .. }
            | Error::JobEnded { .. }
            | Error::NotDone { .. }
            | Error::ScanIncomplete { .. }
            | Error::StrayRecord { .. }
            | Error::Stopped
            | Error::BadCursor => {}
        }
        self
    }

    /// This error as the end of a call of which an earlier attempt was in doubt.
    pub(crate) fn after_doubt(self, earlier_in_doubt: bool) -> Error {
        match earlier_in_doubt && !self.in_doubt() {
            true => Error::EarlierInDoubt {
                last: Box::new(self),
            },
            false => self,
        }
    }

    /// Whether it speaks against the node that was asked: another replica may do better.
    pub(crate) fn blames_node(&self) -> bool {
        match self {
            Error::Connect { .. }
            | Error::Busy { .. }
            | Error::Avoided { .. }
            | Error::Timeout { .. }
            | Error::ConnectionLost { .. }
            | Error::BadAnswer { .. }
            | Error::NoRowAnswer { .. } => true,
            Error::Server { code, .. } => {
                matches!(code, ResultCode::Unavailable | ResultCode::Timeout)
            }
            Error::Invalid { .. }
            | Error::Command(_)
            | Error::NoSeed { .. }
            | Error::UnknownNamespace { .. }
            | Error::UnknownNode { .. }
            | Error::NoOwner { .. }
            | Error::UnknownResult { .. }
            | Error::BadValue { .. }
            | Error::EarlierInDoubt { .. }
            | Error::Info { .. }
            | Error::Udf { .. }
            | Error::JobEnded { .. }
            | Error::NotDone { .. }
            | Error::ScanIncomplete { .. }
            | Error::StrayRecord { .. }
            | Error::Stopped
            | Error::BadCursor => false,
        }
    }

    /// Whether it counts towards avoiding the node: it is overloaded, or not well. A refusal that another
    /// node might not make says nothing of that.
    pub(crate) fn is_strain(&self) -> bool {
        match self {
            Error::Server { code, .. } => {
                matches!(code, ResultCode::Timeout | ResultCode::DeviceOverload)
            }
            Error::Avoided { .. } => false, // it would never end
            other => other.blames_node(),
        }
    }

    /// What to do next. The client follows it within a policy's retries; what arrives at the caller
    /// has used them up, except for [`Advice::ReadBeforeRetry`] and [`Advice::GiveUp`], which are
    /// never retried.
    pub fn advice(&self) -> Advice {
        match self.in_doubt() {
            true => Advice::ReadBeforeRetry,
            false => self.advice_if_repeatable(),
        }
    }

    /// What to do next if it does no harm to apply the request twice.
    pub(crate) fn advice_if_repeatable(&self) -> Advice {
        match self {
            Error::EarlierInDoubt { last } => last.advice_if_repeatable(),
            Error::Server { code, .. } => advice_on(*code),
            Error::NoOwner { .. } | Error::Connect { .. } => Advice::RefreshMapAndRetry,
            Error::ConnectionLost { .. } => Advice::RetryNow,
            Error::NoSeed { .. }
            | Error::Busy { .. }
            | Error::Avoided { .. }
            | Error::Timeout { .. }
            | Error::NoRowAnswer { .. }
            | Error::NotDone { .. }
            | Error::ScanIncomplete { .. } => Advice::BackOffAndRetry,
            Error::Invalid { .. }
            | Error::Command(_)
            | Error::UnknownNamespace { .. }
            | Error::UnknownNode { .. }
            | Error::UnknownResult { .. }
            | Error::BadAnswer { .. }
            | Error::BadValue { .. }
            | Error::Info { .. }
            | Error::Udf { .. }
            | Error::JobEnded { .. }
            | Error::StrayRecord { .. }
            | Error::Stopped
            | Error::BadCursor => Advice::GiveUp,
        }
    }

    /// The server's result code, if it answered with one.
    pub fn code(&self) -> Option<ResultCode> {
        match self {
            Error::Server { code, .. } => Some(*code),
            Error::Udf { .. } => Some(ResultCode::UdfExecution),
            Error::EarlierInDoubt { last } => last.code(),
            _ => None,
        }
    }
}

/// What to do about a definite refusal.
fn advice_on(code: ResultCode) -> Advice {
    match code {
        ResultCode::Unavailable => Advice::RefreshMapAndRetry,
        ResultCode::Timeout
        | ResultCode::KeyBusy
        | ResultCode::DeviceOverload
        | ResultCode::XdrKeyBusy
        | ResultCode::SindexNotReadable
        | ResultCode::BatchQueuesFull => Advice::BackOffAndRetry,
        _ => Advice::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: ResultCode, in_doubt: bool) -> Error {
        Error::Server {
            node: "A".into(),
            code,
            in_doubt,
        }
    }

    #[test]
    fn what_is_in_doubt_is_never_advised_to_be_sent_again() {
        for code in ResultCode::ALL {
            let error = server(*code, true);
            assert_eq!(error.advice(), Advice::ReadBeforeRetry, "{code}");
        }
    }

    #[test]
    fn passing_refusals_are_told_from_lasting_ones() {
        let check = |code, advice| assert_eq!(server(code, false).advice(), advice, "{code}");
        check(ResultCode::Unavailable, Advice::RefreshMapAndRetry);
        check(ResultCode::KeyBusy, Advice::BackOffAndRetry);
        check(ResultCode::DeviceOverload, Advice::BackOffAndRetry);
        check(ResultCode::SindexNotReadable, Advice::BackOffAndRetry);
        check(ResultCode::SindexNotFound, Advice::GiveUp);
        check(ResultCode::Generation, Advice::GiveUp);
        check(ResultCode::OutOfSpace, Advice::GiveUp);
    }
}

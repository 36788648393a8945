//! Device operations as values: what decision crates emit, and what comes back.
//!
//! Nothing here acts. A queue carries operations out (`crate::Queue`); a simulation may as well.
//! Operations run in no particular order: one that must follow another is submitted after the
//! other's completion was reaped.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{AlignedBuffer, AppendBuffer};

/// A device, by its position in the list a queue was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u16);

/// Something to be done to a device. Offsets are in bytes from the device's start.
///
/// On a direct device, offset and length of a transfer, and the start of a written range, must be
/// multiples of the device's sector; the kernel refuses others with `EINVAL`.
#[derive(Debug)]
pub enum Op {
    /// Reads exactly `buffer.len()` bytes; the buffer comes back with the completion.
    Read {
        /// Which device.
        file: FileId,
        /// Where on it.
        offset: u64,
        /// What to fill.
        buffer: AlignedBuffer,
    },
    /// Writes `range` of `source`, which must have been appended already.
    Write {
        /// Which device.
        file: FileId,
        /// Where on it. The write must end within the device.
        offset: u64,
        /// Where the bytes come from.
        source: Arc<AppendBuffer>,
        /// Which of its bytes.
        range: Range<usize>,
        /// Complete only when the bytes would survive a loss of power.
        durable: bool,
    },
    /// Makes every write whose completion was reaped before this was submitted survive a loss of
    /// power.
    Sync {
        /// Which device.
        file: FileId,
    },
}

impl Op {
    /// The device it is for.
    pub fn file(&self) -> FileId {
        match self {
            Op::Read { file, .. } | Op::Write { file, .. } | Op::Sync { file } => *file,
        }
    }

    /// What is to be done, for messages.
    pub fn attempt(&self) -> Attempt {
        match self {
            Op::Read { offset, buffer, .. } => Attempt {
                kind: AttemptKind::Read,
                offset: *offset,
                bytes: buffer.len(),
            },
            Op::Write {
                offset,
                range,
                durable,
                ..
            } => {
                let kind = if *durable {
                    AttemptKind::DurableWrite
                } else {
                    AttemptKind::Write
                };
                Attempt {
                    kind,
                    offset: *offset,
                    bytes: range.len(),
                }
            }
            Op::Sync { .. } => Attempt {
                kind: AttemptKind::Sync,
                offset: 0,
                bytes: 0,
            },
        }
    }
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The ticket the operation was submitted under.
    pub ticket: u64,
    /// Done in full, or failed. After a failure nothing is known about what reached the device.
    pub outcome: Result<(), IoFailure>,
    /// The buffer of a read, whether it succeeded or not; `None` for other operations.
    pub buffer: Option<AlignedBuffer>,
}

/// What kind of operation was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    /// A read.
    Read,
    /// A write that may still be in a cache.
    Write,
    /// A write that waits for the medium.
    DurableWrite,
    /// A flush of what was written before.
    Sync,
}

/// What was tried: the operation without its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Kind of operation.
    pub kind: AttemptKind,
    /// Where on the device, in bytes; zero for a sync.
    pub offset: u64,
    /// How many bytes; zero for a sync.
    pub bytes: usize,
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt {
            kind,
            offset,
            bytes,
        } = self;
        match kind {
            AttemptKind::Read => write!(formatter, "read of {bytes} bytes at {offset}"),
            AttemptKind::Write => write!(formatter, "write of {bytes} bytes at {offset}"),
            AttemptKind::DurableWrite => {
                write!(formatter, "durable write of {bytes} bytes at {offset}")
            }
            AttemptKind::Sync => write!(formatter, "sync"),
        }
    }
}

/// Why an operation failed, and which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempt} failed after {done} bytes: {cause}")]
pub struct IoFailure {
    /// The operation.
    pub attempt: Attempt,
    /// Bytes transferred before it failed.
    pub done: usize,
    /// What went wrong.
    pub cause: IoCause,
}

/// What went wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoCause {
    /// The system refused or failed, with this `errno`.
    System(i32),
    /// A read met the end of the device.
    EndOfDevice,
    /// The system accepted a write of more than nothing and wrote nothing.
    NothingWritten,
}

impl IoFailure {
    /// The system's error number, when it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self.cause {
            IoCause::System(errno) => Some(errno),
            IoCause::EndOfDevice | IoCause::NothingWritten => None,
        }
    }
}

impl fmt::Display for IoCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoCause::System(errno) => io::Error::from_raw_os_error(*errno).fmt(formatter),
            IoCause::EndOfDevice => formatter.write_str("the device ends there"),
            IoCause::NothingWritten => formatter.write_str("the system wrote nothing"),
        }
    }
}

impl From<IoFailure> for io::Error {
    fn from(failure: IoFailure) -> io::Error {
        let kind = match failure.cause {
            IoCause::System(errno) => io::Error::from_raw_os_error(errno).kind(),
            IoCause::EndOfDevice => io::ErrorKind::UnexpectedEof,
            IoCause::NothingWritten => io::ErrorKind::WriteZero,
        };
        io::Error::new(kind, failure)
    }
}

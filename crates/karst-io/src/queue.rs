//! Whichever of the two a machine offers, behind one set of methods.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Device;
use crate::op::{Completion, Op};
use crate::pool::ThreadPool;
use crate::ring::{Ring, RingRefused};

/// What carries out a core's device operations. The crate's header states what both kinds promise.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a core makes one, and an indirection would cost each call"
)]
pub enum Queue {
    /// An io_uring.
    Ring(Ring),
    /// A few threads.
    Threads(ThreadPool),
}

/// Which queue to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueChoice {
    /// A ring, or threads where the ring is refused.
    #[default]
    Auto,
    /// A ring or nothing.
    Ring,
    /// Threads.
    Threads,
}

/// Which queue it became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// An io_uring.
    Ring,
    /// A few threads.
    Threads,
}

impl fmt::Display for QueueKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            QueueKind::Ring => "io_uring",
            QueueKind::Threads => "threads",
        })
    }
}

impl Queue {
    /// A queue of the chosen kind for up to `entries` operations on `devices`, which operations
    /// name by position. Beside it, why it is not the ring that would have been taken.
    ///
    /// # Errors
    ///
    /// A ring was demanded and refused, or there are no threads to be had.
    pub fn probe(
        choice: QueueChoice,
        entries: u32,
        devices: &[Arc<Device>],
    ) -> io::Result<(Queue, Option<RingRefused>)> {
        let threads = || ThreadPool::new(entries, devices).map(Queue::Threads);
        match choice {
            QueueChoice::Threads => Ok((threads()?, None)),
            QueueChoice::Ring => {
                let ring = Ring::new(entries, devices).map_err(io::Error::other)?;
                Ok((Queue::Ring(ring), None))
            }
            QueueChoice::Auto => match Ring::new(entries, devices) {
                Ok(ring) => Ok((Queue::Ring(ring), None)),
                Err(refused) => Ok((threads()?, Some(refused))),
            },
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> QueueKind {
        match self {
            Queue::Ring(_) => QueueKind::Ring,
            Queue::Threads(_) => QueueKind::Threads,
        }
    }

    /// Accepts an operation; it starts with the next [`flush`](Queue::flush). Its completion
    /// carries `ticket`.
    ///
    /// # Errors
    ///
    /// Hands the operation back when [`depth`](Queue::depth) are in flight: reap first.
    ///
    /// # Panics
    ///
    /// If the operation names no device of this queue, writes bytes that were not appended, or
    /// writes past the end of its device.
    pub fn submit(&mut self, ticket: u64, op: Op) -> Result<(), Op> {
        match self {
            Queue::Ring(ring) => ring.submit(ticket, op),
            Queue::Threads(pool) => pool.submit(ticket, op),
        }
    }

    /// Starts everything submitted. Call it at the end of every turn: it costs nothing when there
    /// is nothing to start, and takes up what an earlier one had to leave.
    ///
    /// # Errors
    ///
    /// The ring is unusable: its operations will not complete.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Queue::Ring(ring) => ring.flush(),
            Queue::Threads(pool) => {
                pool.flush();
                Ok(())
            }
        }
    }

    /// Moves what has completed to `completions`, at most [`depth`](Queue::depth) of them, without
    /// blocking.
    pub fn reap(&mut self, completions: &mut Vec<Completion>) {
        match self {
            Queue::Ring(ring) => ring.reap(completions),
            Queue::Threads(pool) => pool.reap(completions),
        }
    }

    /// The descriptor that becomes readable when there may be something to reap. Reset it (read its
    /// eight bytes) before reaping, or a later signal may be lost.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        match self {
            Queue::Ring(ring) => ring.event_fd(),
            Queue::Threads(pool) => pool.event_fd(),
        }
    }

    /// Blocks until there may be something to reap, or until `timeout` has passed; resets the
    /// event. Returns whether it was signalled. For start-up and tests; a data core waits in its
    /// runtime.
    ///
    /// # Errors
    ///
    /// The wait itself failed.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        match self {
            Queue::Ring(ring) => ring.wait(timeout),
            Queue::Threads(pool) => pool.wait(timeout),
        }
    }

    /// Operations submitted and not yet reaped.
    pub fn in_flight(&self) -> usize {
        match self {
            Queue::Ring(ring) => ring.in_flight(),
            Queue::Threads(pool) => pool.in_flight(),
        }
    }

    /// Most operations that can be in flight.
    pub fn depth(&self) -> usize {
        match self {
            Queue::Ring(ring) => ring.depth(),
            Queue::Threads(pool) => pool.depth(),
        }
    }
}

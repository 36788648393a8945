//! Waiting for a queue inside a tokio runtime.
//!
//! A core's turn with a queue, in the order that loses no wake-up:
//!
//! ```text
//! submit..., flush -> event.readable().await -> reap -> act on completions -> again
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A queue's event, registered with the runtime of the thread that reaps it.
#[derive(Debug)]
pub struct EventFd {
    fd: AsyncFd<OwnedFd>,
}

impl EventFd {
    /// Registers `event`, a queue's `event_fd()`, of which it keeps a duplicate.
    ///
    /// # Errors
    ///
    /// Out of file descriptors.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled.
    pub fn new(event: BorrowedFd<'_>) -> io::Result<EventFd> {
        let fd = event.try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` is open and the same descriptor for as long as it exists, and the
        // `AsyncFd` that now owns it is private and never gives it away.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(EventFd { fd })
    }

    /// Returns when the event was signalled since the last call, having reset it: reap next.
    ///
    /// Cancel-safe: a dropped call leaves the signal standing for the next one.
    ///
    /// # Errors
    ///
    /// The runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let signalled = crate::event::reset(ready.get_inner().as_fd())?;
            ready.clear_ready(); // one read drains an eventfd, and a later signal is a new edge
            if signalled {
                return Ok(());
            }
        }
    }
}

//! An eventfd: how a queue wakes the thread that reaps it.
//!
//! Signals add up until one `reset` clears them all. The order that loses nothing is: wait, reset,
//! then look for completions; whatever arrives after the reset signals anew.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

/// A non-blocking eventfd, closed on exec.
#[derive(Debug)]
pub(crate) struct Event {
    fd: OwnedFd,
}

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        Ok(Event {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        // The one failure is a counter of 2^64 - 2 unread signals, and then it is readable already.
        let _ = write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Waits until signalled or until `timeout` has passed, and resets. Returns whether it was
    /// signalled. An interruption starts the time anew.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
        match rustix::io::retry_on_intr(|| poll(&mut polled, timeout.as_ref()))? {
            0 => Ok(false),
            _ => Ok(reset(self.fd.as_fd())?),
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Clears all signals of an eventfd; returns whether there were any.
pub(crate) fn reset(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut count = [0; 8];
    match read(fd, &mut count) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

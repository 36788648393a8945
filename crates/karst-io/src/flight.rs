//! One operation on its way: what is done, what is left, and when it is over.
//!
//! Both queues share this bookkeeping, so an operation means the same on either. A *step* is one
//! request to the kernel for what is left; `advance` takes the step's result and says whether
//! another is due.
//!
//! ```text
//! step -> n bytes, more left      -> step for the rest
//!      -> all bytes               -> done
//!      -> nothing, though asked   -> failed (end of device, nothing written)
//!      -> EINTR, EAGAIN           -> the same step again, a bounded number of times
//!      -> any other error         -> failed; a failed write is never tried again
//! ```

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::{Errno, IoSlice, ReadWriteFlags, pread, pwrite, pwritev2};

use crate::device::Device;
use crate::op::{Attempt, AttemptKind, Completion, IoCause, IoFailure, Op};

/// Steps that may end in EINTR or EAGAIN, in a row, before the operation fails with it.
const RETRIES_MAX: u32 = 1_000;

/// Bytes asked for in one step: below the kernel's own limit of 2 GiB less a page.
const STEP_BYTES_MAX: usize = 1 << 30;

/// The kernel refuses to read here. Offsets beyond are brought down to it, because an io_uring
/// takes the very last one for "wherever the file stands".
const OFFSET_MAX: u64 = i64::MAX as u64;

/// How an operation ended.
pub(crate) type Outcome = Result<(), IoFailure>;

/// How far an operation has come.
#[derive(Debug)]
pub(crate) struct Progress {
    attempt: Attempt,
    done: usize,
    retries: u32,
}

/// An operation a queue has accepted.
#[derive(Debug)]
pub(crate) struct Flight {
    ticket: u64,
    op: Op,
    progress: Progress,
}

/// What the next step asks of the kernel. The memory belongs to the flight.
pub(crate) enum Step<'a> {
    Read {
        into: &'a mut [u8],
        offset: u64,
    },
    Write {
        from: &'a [u8],
        offset: u64,
        durable: bool,
    },
    Sync,
}

impl Progress {
    pub(crate) fn new(attempt: Attempt) -> Progress {
        Progress {
            attempt,
            done: 0,
            retries: 0,
        }
    }

    /// Bytes transferred so far.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Takes the result of a step. `None`: there is another step to make.
    pub(crate) fn advance(&mut self, result: Result<usize, Errno>) -> Option<Outcome> {
        match result {
            Ok(bytes) => {
                self.done += bytes;
                self.retries = 0;
                assert!(self.done <= self.attempt.bytes);
                if self.done == self.attempt.bytes {
                    Some(Ok(()))
                } else if bytes > 0 {
                    None
                } else {
                    Some(Err(self.failure(cause_of_nothing(self.attempt.kind))))
                }
            }
            Err(Errno::INTR | Errno::AGAIN) if self.retries < RETRIES_MAX => {
                self.retries += 1;
                None
            }
            Err(errno) => Some(Err(self.failure(IoCause::System(errno.raw_os_error())))),
        }
    }

    fn failure(&self, cause: IoCause) -> IoFailure {
        IoFailure {
            attempt: self.attempt,
            done: self.done,
            cause,
        }
    }
}

impl Flight {
    /// Accepts an operation for one of `devices`.
    ///
    /// # Panics
    ///
    /// On what only our own mistakes produce: a device that is not in the list, a range that was
    /// not appended, a write past the end of its device (which would grow a file).
    pub(crate) fn new(ticket: u64, op: Op, devices: &[Arc<Device>]) -> Flight {
        let device = devices.get(usize::from(op.file().0));
        let device = device.expect("an operation names a device of its queue");
        if let Op::Write {
            offset,
            source,
            range,
            ..
        } = &op
        {
            assert!(
                source.bytes(range.clone()).is_some(),
                "only appended bytes are written"
            );
            let end = offset.checked_add(range.len() as u64);
            assert!(
                end.is_some_and(|end| end <= device.size_bytes()),
                "a write ends in its device"
            );
        }
        let progress = Progress::new(op.attempt());
        Flight {
            ticket,
            op,
            progress,
        }
    }

    /// The device the operation is for, as an index into the queue's devices.
    pub(crate) fn device(&self) -> usize {
        usize::from(self.op.file().0)
    }

    /// What to ask for next.
    pub(crate) fn step(&mut self) -> Step<'_> {
        let done = self.progress.done;
        match &mut self.op {
            Op::Read { offset, buffer, .. } => {
                let end = buffer.len().min(done + STEP_BYTES_MAX);
                let into = &mut buffer.as_mut_slice()[done..end];
                let offset = offset.saturating_add(done as u64).min(OFFSET_MAX);
                Step::Read { into, offset }
            }
            Op::Write {
                offset,
                source,
                range,
                durable,
                ..
            } => {
                let end = range.end.min(range.start + done + STEP_BYTES_MAX);
                let from = source
                    .bytes(range.start + done..end)
                    .expect("checked when accepted");
                Step::Write {
                    from,
                    offset: *offset + done as u64,
                    durable: *durable,
                }
            }
            Op::Sync { .. } => Step::Sync,
        }
    }

    /// Takes the result of a step. `None`: there is another step to make.
    pub(crate) fn advance(&mut self, result: Result<usize, Errno>) -> Option<Outcome> {
        self.progress.advance(result)
    }

    /// Ends the flight.
    pub(crate) fn complete(self, outcome: Outcome) -> Completion {
        let buffer = match self.op {
            Op::Read { buffer, .. } => Some(buffer),
            Op::Write { .. } | Op::Sync { .. } => None,
        };
        Completion {
            ticket: self.ticket,
            outcome,
            buffer,
        }
    }

    /// Makes all steps on the calling thread.
    pub(crate) fn fly(mut self, file: BorrowedFd<'_>) -> Completion {
        loop {
            let result = self.step().perform(file);
            if let Some(outcome) = self.advance(result) {
                return self.complete(outcome);
            }
        }
    }
}

impl Step<'_> {
    /// Makes the step with a blocking system call.
    pub(crate) fn perform(self, file: BorrowedFd<'_>) -> Result<usize, Errno> {
        match self {
            Step::Read { into, offset } => pread(file, into, offset),
            Step::Write {
                from,
                offset,
                durable: false,
            } => pwrite(file, from, offset),
            Step::Write {
                from,
                offset,
                durable: true,
            } => write_durable(file, from, offset),
            Step::Sync => rustix::fs::fdatasync(file).map(|()| 0),
        }
    }
}

/// What it means that the kernel transferred nothing though there was something to transfer.
fn cause_of_nothing(kind: AttemptKind) -> IoCause {
    match kind {
        AttemptKind::Read => IoCause::EndOfDevice,
        AttemptKind::Write | AttemptKind::DurableWrite => IoCause::NothingWritten,
        AttemptKind::Sync => unreachable!("a sync transfers nothing and is then complete"),
    }
}

/// Writes through to the medium. Sandboxes that lack the flag or the call get a write and a sync;
/// should the sync be interrupted, writing the same bytes to the same place once more does no harm.
fn write_durable(file: BorrowedFd<'_>, from: &[u8], offset: u64) -> Result<usize, Errno> {
    match pwritev2(file, &[IoSlice::new(from)], offset, ReadWriteFlags::DSYNC) {
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => {
            let bytes = pwrite(file, from, offset)?;
            rustix::fs::fdatasync(file)?;
            Ok(bytes)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Result<usize, Errno> = Ok(100);

    /// Feeds `results` to an operation of 300 bytes; all but the last must ask for another step.
    fn check(
        kind: AttemptKind,
        results: &[Result<usize, Errno>],
        expected: Result<(), (usize, IoCause)>,
    ) {
        let attempt = Attempt {
            kind,
            offset: 4096,
            bytes: 300,
        };
        let mut progress = Progress::new(attempt);
        let (last, before) = results.split_last().unwrap();
        for result in before {
            assert_eq!(progress.advance(*result), None, "{result:?} of {results:?}");
        }
        let expected = expected.map_err(|(done, cause)| IoFailure {
            attempt,
            done,
            cause,
        });
        assert_eq!(progress.advance(*last), Some(expected), "{results:?}");
    }

    #[test]
    fn a_transfer_is_over_when_it_is_whole_or_when_nothing_more_can_come() {
        use AttemptKind::{DurableWrite, Read, Write};
        let system = |errno: Errno| IoCause::System(errno.raw_os_error());
        for kind in [Read, Write, DurableWrite] {
            check(kind, &[Ok(300)], Ok(()));
            check(kind, &[SHORT, SHORT, SHORT], Ok(()));
            check(
                kind,
                &[Err(Errno::INTR), SHORT, Err(Errno::AGAIN), Ok(200)],
                Ok(()),
            );
            check(kind, &[Err(Errno::IO)], Err((0, system(Errno::IO))));
            check(
                kind,
                &[SHORT, Err(Errno::NOSPC)],
                Err((100, system(Errno::NOSPC))),
            );
        }
        check(Read, &[Ok(0)], Err((0, IoCause::EndOfDevice)));
        check(Read, &[SHORT, Ok(0)], Err((100, IoCause::EndOfDevice)));
        check(Write, &[SHORT, Ok(0)], Err((100, IoCause::NothingWritten)));
    }

    #[test]
    fn an_operation_of_no_bytes_succeeds() {
        for kind in [AttemptKind::Read, AttemptKind::Write, AttemptKind::Sync] {
            let mut progress = Progress::new(Attempt {
                kind,
                offset: 0,
                bytes: 0,
            });
            assert_eq!(progress.advance(Ok(0)), Some(Ok(())));
        }
    }

    #[test]
    fn a_device_that_is_never_ready_is_given_up() {
        let never = vec![Err(Errno::AGAIN); RETRIES_MAX as usize + 1];
        let gave_up = IoCause::System(Errno::AGAIN.raw_os_error());
        check(AttemptKind::Read, &never, Err((0, gave_up)));
    }

    #[test]
    fn a_failed_write_is_not_tried_again() {
        for errno in [Errno::IO, Errno::NOSPC, Errno::NODEV, Errno::CANCELED] {
            let failed = Err((0, IoCause::System(errno.raw_os_error())));
            check(AttemptKind::DurableWrite, &[Err(errno)], failed);
        }
    }
}

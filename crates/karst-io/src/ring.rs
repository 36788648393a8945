//! One io_uring, owned by one core: operations go to the kernel together and come back by eventfd.
//!
//! ```text
//! submit -> flights, submission queue -- flush --> kernel -> completion queue, eventfd
//!                        ^                                           |
//!                        |                                          reap --> caller
//!                        '-- a short transfer asks for the rest -----'
//! ```
//!
//! Owns every operation, with its memory and a hold on the devices, from `submit` until its
//! completion was taken from the kernel. That ownership is what makes the unsafe parts sound: the
//! kernel only ever has addresses of memory that a flight keeps.
//!
//! Invariants
//!   a flight has at most one entry in the submission queue, the kernel or the completion queue
//!   flights <= entries, so the submission queue has room for each, and the completion queue, twice
//!   as long, cannot overflow (should a kernel say it did, `reap` fetches what was withheld)
//!   what `flush` or `reap` leave queued has a signal standing, so a later turn flushes it
//!
//! The thread that flushes must outlive its operations: the kernel cancels those of an exiting
//! thread. Completions reach the eventfd. The ring's own descriptor is never polled and
//! `DEFER_TASKRUN` is not used, because the two together have been seen to hang.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::io::Errno;
use slab::Slab;

use crate::device::Device;
use crate::event::Event;
use crate::flight::{Flight, Step};
use crate::op::{Completion, Op};

/// Most operations one ring carries at a time.
pub const ENTRIES_MAX: u32 = 4096;

/// Why there is no ring on this machine. Seen in containers, in sandboxes and on old kernels.
#[derive(Debug, thiserror::Error)]
pub enum RingRefused {
    /// The kernel, or a filter in front of it, refused a step of setting up.
    #[error("io_uring is refused at {step}: {cause}")]
    Step {
        /// The step.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// There is a ring, but an old one.
    #[error("this kernel's io_uring lacks {what}")]
    Lacks {
        /// What is missing.
        what: &'static str,
    },
}

/// A ring and the operations it carries.
pub struct Ring {
    ring: IoUring,
    event: Event,
    flights: Slab<Flight>,
    depth: usize,
    devices: Vec<Arc<Device>>,
}

impl Ring {
    /// Sets up a ring for up to `entries` operations (1 to [`ENTRIES_MAX`], brought into that
    /// range) on `devices`, which operations name by position, and tries it.
    ///
    /// # Errors
    ///
    /// Any refusal; nothing is left behind then.
    pub fn new(entries: u32, devices: &[Arc<Device>]) -> Result<Ring, RingRefused> {
        let entries = entries.clamp(1, ENTRIES_MAX);
        let ring = set_up(entries).map_err(refused_at("setting up"))?;
        let event = Event::new().map_err(refused_at("making an eventfd"))?;
        let depth = entries as usize;
        let flights = Slab::with_capacity(depth);
        let mut ring = Ring {
            ring,
            event,
            flights,
            depth,
            devices: devices.to_vec(),
        };
        ring.check_features()?;
        ring.register()?;
        ring.try_out()?;
        Ok(ring)
    }

    /// Accepts an operation; it starts with the next [`flush`](Ring::flush). Its completion carries
    /// `ticket`.
    ///
    /// # Errors
    ///
    /// Hands the operation back when as many are in flight as the ring has entries: reap first.
    ///
    /// # Panics
    ///
    /// If the operation names no device of this ring, writes bytes that were not appended, or
    /// writes past the end of its device.
    pub fn submit(&mut self, ticket: u64, op: Op) -> Result<(), Op> {
        if self.flights.len() >= self.depth {
            return Err(op);
        }
        let mut flight = Flight::new(ticket, op, &self.devices);
        let slot = self.flights.vacant_entry();
        let entry = entry_for(slot.key(), &mut flight);
        push(&mut self.ring.submission(), &entry);
        slot.insert(flight);
        Ok(())
    }

    /// Hands everything submitted to the kernel, in one call as a rule.
    ///
    /// When the kernel is short of memory the rest stays queued and the event is signalled, so that
    /// the next turn flushes again.
    ///
    /// # Errors
    ///
    /// The ring is unusable. What was queued stays queued.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(1..) => {}
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if !is_shortage(&cause) => return Err(cause),
                Ok(0) | Err(_) => {
                    self.event.signal();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Moves what has completed to `completions`, without blocking. Short transfers go on instead.
    pub fn reap(&mut self, completions: &mut Vec<Completion>) {
        self.fetch_withheld();
        let flights = &mut self.flights;
        let (_, mut submission, completed) = self.ring.split();
        for entry in completed {
            let key = usize::try_from(entry.user_data()).expect("made from a usize");
            let flight = flights
                .get_mut(key)
                .expect("a flight lasts until its completion");
            match flight.advance(result_of(entry.result())) {
                Some(outcome) => completions.push(flights.remove(key).complete(outcome)),
                None => push(&mut submission, &entry_for(key, flight)),
            }
        }
        drop(submission);
        if self.flush().is_err() {
            self.event.signal(); // the next flush meets the error again and reports it
        }
    }

    /// The descriptor that becomes readable when there may be something to reap.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Blocks until there may be something to reap, or until `timeout` has passed; resets the
    /// event. Returns whether it was signalled. Without a timeout the kernel is entered once, and
    /// the event is not looked at.
    ///
    /// # Errors
    ///
    /// The wait itself failed.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        if timeout.is_some() || self.flights.is_empty() {
            return self.event.wait(timeout);
        }
        match self.ring.submit_and_wait(1) {
            Ok(_) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted || is_shortage(&cause) => {
                Ok(true) // there may be something to reap; if not, the caller waits again
            }
            Err(cause) => Err(cause),
        }
    }

    /// Operations submitted and not yet reaped.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Most operations that can be in flight.
    pub fn depth(&self) -> usize {
        self.depth
    }

    fn check_features(&self) -> Result<(), RingRefused> {
        if !self.ring.params().is_feature_nodrop() {
            return Err(RingRefused::Lacks {
                what: "completions that are never dropped",
            });
        }
        let mut probe = Probe::new();
        self.ring
            .submitter()
            .register_probe(&mut probe)
            .map_err(refused_at("probing"))?;
        let needed = [
            (opcode::Nop::CODE, "no-operation"),
            (opcode::Read::CODE, "reads"),
            (opcode::Write::CODE, "writes"),
            (opcode::Fsync::CODE, "syncs"),
        ];
        match needed
            .into_iter()
            .find(|(code, _)| !probe.is_supported(*code))
        {
            Some((_, what)) => Err(RingRefused::Lacks { what }),
            None => Ok(()),
        }
    }

    fn register(&self) -> Result<(), RingRefused> {
        let submitter = self.ring.submitter();
        let event = self.event.as_fd().as_raw_fd();
        submitter
            .register_eventfd(event)
            .map_err(refused_at("registering an eventfd"))?;
        let files: Vec<RawFd> = self
            .devices
            .iter()
            .map(|it| it.as_fd().as_raw_fd())
            .collect();
        if files.is_empty() {
            return Ok(()); // the kernel refuses an empty list
        }
        submitter
            .register_files(&files)
            .map_err(refused_at("registering files"))
    }

    /// Sends an operation that does nothing the whole way round, eventfd included.
    fn try_out(&mut self) -> Result<(), RingRefused> {
        const TRIAL: u64 = u64::MAX;
        push(
            &mut self.ring.submission(),
            &opcode::Nop::new().build().user_data(TRIAL),
        );
        let submitted = retry_interrupted(|| self.ring.submit_and_wait(1));
        submitted.map_err(refused_at("the first operation"))?;
        let done = self.ring.completion().next();
        if !done.is_some_and(|entry| entry.user_data() == TRIAL && entry.result() == 0) {
            return Err(RingRefused::Lacks {
                what: "a working no-operation",
            });
        }
        let signalled = self.event.wait(Some(Duration::ZERO));
        match signalled.map_err(refused_at("waiting for the eventfd"))? {
            true => Ok(()),
            false => Err(RingRefused::Lacks {
                what: "signals to an eventfd",
            }),
        }
    }

    /// Enters the kernel when it holds completions back: those that found the completion queue
    /// full, and those whose last part runs only on a thread that enters.
    fn fetch_withheld(&mut self) {
        let (submitter, submission, _) = self.ring.split();
        if submission.cq_overflow() || submission.taskrun() {
            drop(submission);
            if submitter.submit().is_err() {
                self.event.signal(); // what is withheld stays so; a later turn tries again
            }
        }
    }

    /// Waits for the kernel to be done with every operation. Fails only if the kernel cannot be
    /// asked.
    fn settle(&mut self) -> io::Result<()> {
        let mut completions = Vec::new();
        while !self.flights.is_empty() {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if is_shortage(&cause) => {}
                Err(cause) => return Err(cause),
            }
            self.reap(&mut completions);
            completions.clear();
        }
        Ok(())
    }
}

impl Drop for Ring {
    /// Waits for the operations in flight, those not yet flushed included: the kernel may still
    /// write into their buffers. Their completions are lost.
    fn drop(&mut self) {
        if self.settle().is_err() {
            mem::forget(mem::take(&mut self.flights)); // better leaked than written to once freed
        }
        // Closing a ring lets go of its files, and so of their locks, only some time later.
        let _ = self.ring.submitter().unregister_files();
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Ring({} of {} in flight)",
            self.flights.len(),
            self.depth
        )
    }
}

/// A ring whose completion work waits for the owner's next system call, not for an interrupt;
/// without that on kernels before 5.19.
fn set_up(entries: u32) -> io::Result<IoUring> {
    match IoUring::builder()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(entries)
    {
        Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => IoUring::new(entries),
        built => built,
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn refused_at(step: &'static str) -> impl FnOnce(io::Error) -> RingRefused {
    move |cause| RingRefused::Step { step, cause }
}

/// The kernel had no memory for more requests, or wants completions taken first.
fn is_shortage(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

fn result_of(result: i32) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

/// What the kernel is asked for the next step of a flight.
fn entry_for(key: usize, flight: &mut Flight) -> squeue::Entry {
    let file = Fixed(flight.device() as u32);
    let entry = match flight.step() {
        Step::Read { into, offset } => {
            opcode::Read::new(file, into.as_mut_ptr(), into.len() as u32)
                .offset(offset)
                .build()
        }
        Step::Write {
            from,
            offset,
            durable,
        } => {
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            let write = opcode::Write::new(file, from.as_ptr(), from.len() as u32);
            write.offset(offset).rw_flags(flags).build()
        }
        Step::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
    };
    entry.user_data(key as u64)
}

fn push(submission: &mut squeue::SubmissionQueue<'_>, entry: &squeue::Entry) {
    // SAFETY: an entry names registered files and the memory of a flight, which stays in `flights`
    // until the entry's completion was taken (or is leaked), so its addresses are valid for the
    // kernel's use. A read's memory is an `AlignedBuffer`'s own; a write's is below `filled` of an
    // `AppendBuffer` and never changes. The trial operation names neither.
    let pushed = unsafe { submission.push(entry) };
    pushed.expect("one entry per flight, and as many entries as flights");
}

//! The same operations on a few threads, where io_uring is refused.
//!
//! ```text
//! submit -> waiting -- flush --> work -> a thread: pread, pwrite -> done, eventfd -- reap -->
//! ```
//!
//! Owns its threads, and every operation from `submit` until it is reaped. Costs six to eight times
//! the CPU of a ring per read, which is why it is the fallback and no more.
//!
//! Invariants
//!   waiting + work + on a thread + done = in flight <= depth, so all four lists are bounded
//!   `done` turning non-empty is followed by a signal
//!
//! Dropping it lets the workers finish what was submitted and joins them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::device::Device;
use crate::event::Event;
use crate::flight::Flight;
use crate::op::{Completion, Op};
use crate::ring::ENTRIES_MAX;

/// Threads of one pool, and so system calls one core keeps under way. Chosen, not measured: enough
/// to give a device several requests at once, few enough that a machine of many cores does not
/// drown in threads.
pub const THREADS_MAX: u32 = 8;

/// A fixed set of threads and the operations they carry.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    waiting: Vec<Flight>,
    in_flight: usize,
    depth: usize,
}

struct Shared {
    devices: Vec<Arc<Device>>,
    queue: Mutex<Work>,
    work_arrived: Condvar,
    done: Mutex<Vec<Completion>>,
    event: Event,
}

#[derive(Default)]
struct Work {
    flights: VecDeque<Flight>,
    closed: bool,
}

impl ThreadPool {
    /// Starts the threads for up to `entries` operations (1 to [`ENTRIES_MAX`], brought into that
    /// range) on `devices`, which operations name by position.
    ///
    /// # Errors
    ///
    /// The system has no threads or descriptors to give; threads already started are ended.
    pub fn new(entries: u32, devices: &[Arc<Device>]) -> io::Result<ThreadPool> {
        let entries = entries.clamp(1, ENTRIES_MAX);
        let shared = Arc::new(Shared {
            devices: devices.to_vec(),
            queue: Mutex::default(),
            work_arrived: Condvar::new(),
            done: Mutex::default(),
            event: Event::new()?,
        });
        let depth = entries as usize;
        let (workers, waiting) = (Vec::new(), Vec::with_capacity(depth));
        let mut pool = ThreadPool {
            shared,
            workers,
            waiting,
            in_flight: 0,
            depth,
        };
        for number in 0..entries.min(THREADS_MAX) {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new().name(format!("karst-io-{number}"));
            // Should one not start, dropping `pool` ends the others.
            pool.workers.push(worker.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    /// Accepts an operation; it starts with the next [`flush`](ThreadPool::flush). Its completion
    /// carries `ticket`.
    ///
    /// # Errors
    ///
    /// Hands the operation back when `depth` are in flight: reap first.
    ///
    /// # Panics
    ///
    /// If the operation names no device of this pool, writes bytes that were not appended, or
    /// writes past the end of its device.
    pub fn submit(&mut self, ticket: u64, op: Op) -> Result<(), Op> {
        if self.in_flight >= self.depth {
            return Err(op);
        }
        self.waiting
            .push(Flight::new(ticket, op, &self.shared.devices));
        self.in_flight += 1;
        Ok(())
    }

    /// Hands everything submitted to the threads.
    pub fn flush(&mut self) {
        let arrived = self.waiting.len();
        self.shared
            .queue
            .lock()
            .flights
            .extend(self.waiting.drain(..));
        for _ in 0..arrived.min(self.workers.len()) {
            self.shared.work_arrived.notify_one(); // a worker that is busy looks before it sleeps
        }
    }

    /// Moves what has completed to `completions`, without blocking on a device.
    pub fn reap(&mut self, completions: &mut Vec<Completion>) {
        let before = completions.len();
        completions.append(&mut self.shared.done.lock());
        self.in_flight -= completions.len() - before;
    }

    /// The descriptor that becomes readable when there may be something to reap.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// Blocks until there may be something to reap, or until `timeout` has passed; resets the
    /// event. Returns whether it was signalled.
    ///
    /// # Errors
    ///
    /// The wait itself failed.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.shared.event.wait(timeout)
    }

    /// Operations submitted and not yet reaped.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Most operations that can be in flight.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.flush();
        self.shared.queue.lock().closed = true;
        self.shared.work_arrived.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // a worker that panicked has said so itself
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "ThreadPool({} of {} in flight)",
            self.in_flight, self.depth
        )
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self) {
        while let Some(flight) = self.next() {
            let device = &self.devices[flight.device()];
            self.finish(flight.fly(device.as_fd()));
        }
    }

    /// The next operation, as soon as there is one. `None`: closed, and nothing is left.
    fn next(&self) -> Option<Flight> {
        let mut work = self.queue.lock();
        loop {
            if let Some(flight) = work.flights.pop_front() {
                return Some(flight);
            }
            if work.closed {
                return None;
            }
            self.work_arrived.wait(&mut work);
        }
    }

    fn finish(&self, completion: Completion) {
        let mut done = self.done.lock();
        let first = done.is_empty();
        done.push(completion);
        drop(done);
        if first {
            self.event.signal(); // those that follow before the next reap need none of their own
        }
    }
}

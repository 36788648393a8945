//! Many reads of devices at their speed: several threads, each with several reads in flight.
//!
//! Reads are handed to threads one at a time and end in any order, so what is made of them must not
//! depend on it. Every thread has a device queue of its own and makes what it wants of the bytes
//! while its next reads are on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use karst_io::buffer::AlignedBuffer;
use karst_io::device::Device;
use karst_io::op::{Completion, FileId, IoFailure, Op};
use karst_io::{Queue, QueueChoice, QueueKind};

/// Most threads; more do not make one machine's devices faster.
const THREADS_MAX: usize = 32;

/// One read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Position of the device in the namespace.
    pub(super) device: u8,
    /// Where on it.
    pub(super) offset: u64,
    /// How much.
    pub(super) bytes: usize,
}

/// What a thread makes of the bytes it reads.
pub(super) trait Consumer {
    /// Takes the bytes of the job of this number.
    ///
    /// # Errors
    /// What is wrong with them; all reading ends then.
    fn take(&mut self, job: usize, bytes: &[u8]) -> Result<(), String>;

    /// No more comes.
    ///
    /// # Errors
    /// What is wrong with what came.
    fn finish(self) -> Result<(), String>;
}

/// Which devices are read, and how.
pub(super) struct Reader<'d> {
    /// In the order of the configuration.
    pub(super) devices: &'d [Arc<Device>],
    /// What carries the reads.
    pub(super) kind: QueueKind,
    /// Asked, with device, offset and failure, whether a read that failed may be left out.
    pub(super) unreadable: &'d (dyn Fn(u8, u64, &IoFailure) -> bool + Sync),
}

/// Threads that work on a recovery at once.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX)
}

impl Reader<'_> {
    /// Carries out every job, `ahead` of them in flight for each thread, whose consumer `make` makes.
    ///
    /// # Errors
    /// The first read that failed, or what a consumer said.
    pub(super) fn read_all<C: Consumer>(
        &self,
        jobs: &[Job],
        ahead: usize,
        make: impl Fn() -> C + Sync,
    ) -> Result<(), String> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || {
            let lane = Lane::new(self, jobs, &next, &failed, ahead)?;
            let outcome = lane.run(make());
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcome
        };
        let threads = threads().min(jobs.len().max(1));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ended = threads.into_iter().map(|thread| {
                let panicked = |_| Err("a recovery thread panicked".into());
                thread.join().unwrap_or_else(panicked)
            });
            ended.fold(Ok(()), Result::and)
        })
    }
}

/// One thread's reads.
struct Lane<'r> {
    devices: &'r [Arc<Device>],
    queue: Queue,
    jobs: &'r [Job],
    next: &'r AtomicUsize,
    /// Another thread met an error: what is read now is of no use.
    failed: &'r AtomicBool,
    ahead: usize,
    unreadable: &'r (dyn Fn(u8, u64, &IoFailure) -> bool + Sync),
    idle: Vec<AlignedBuffer>,
}

impl<'r> Lane<'r> {
    fn new(
        reader: &'r Reader<'_>,
        jobs: &'r [Job],
        next: &'r AtomicUsize,
        failed: &'r AtomicBool,
        ahead: usize,
    ) -> Result<Lane<'r>, String> {
        let choice = match reader.kind {
            QueueKind::Ring => QueueChoice::Ring,
            QueueKind::Threads => QueueChoice::Threads,
        };
        let (queue, _) = Queue::probe(choice, ahead as u32, reader.devices)
            .map_err(|error| format!("a device queue for recovery: {error}"))?;
        Ok(Lane {
            devices: reader.devices,
            queue,
            jobs,
            next,
            failed,
            ahead,
            unreadable: reader.unreadable,
            idle: Vec::new(),
        })
    }

    fn run<C: Consumer>(mut self, mut consumer: C) -> Result<(), String> {
        let mut completions = Vec::new();
        self.refill()?;
        while self.queue.in_flight() > 0 {
            self.queue.reap(&mut completions);
            if completions.is_empty() {
                self.queue.wait(None).map_err(|error| error.to_string())?;
            }
            for completion in completions.drain(..) {
                if let Some((job, buffer)) = self.arrived(completion)? {
                    consumer.take(job, buffer.as_slice())?;
                    self.idle.push(buffer);
                }
                self.refill()?; // at once, so that the device has something to do meanwhile
            }
        }
        consumer.finish()
    }

    /// Starts reads until enough are in flight or there are no more.
    fn refill(&mut self) -> Result<(), String> {
        while self.queue.in_flight() < self.ahead && !self.failed.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(number) else {
                break;
            };
            let mut buffer = self
                .idle
                .pop()
                .unwrap_or_else(|| AlignedBuffer::with_capacity(job.bytes));
            buffer.set_len(job.bytes);
            let read = Op::Read {
                file: FileId(u16::from(job.device)),
                offset: job.offset,
                buffer,
            };
            let submitted = self.queue.submit(number as u64, read);
            assert!(submitted.is_ok(), "fewer are in flight than fit");
        }
        self.queue.flush().map_err(|error| error.to_string())
    }

    /// The job and its bytes; `None` if it is left out.
    fn arrived(&self, completion: Completion) -> Result<Option<(usize, AlignedBuffer)>, String> {
        let number = completion.ticket as usize;
        let job = self.jobs[number];
        let path = || {
            let device = &self.devices[usize::from(job.device)];
            device.path().display().to_string()
        };
        match (completion.outcome, completion.buffer) {
            (Ok(()), Some(buffer)) => Ok(Some((number, buffer))),
            (Ok(()), None) => Err(format!("{}: a read brought nothing", path())),
            (Err(failure), _) if (self.unreadable)(job.device, job.offset, &failure) => Ok(None),
            (Err(failure), _) => Err(format!("{}: {failure}", path())),
        }
    }
}

//! The threads on which functions run, and their queue. What takes too long for a data core runs there too.
//!
//! ```text
//! core: run() -> queue -> thread: state of the module, call -> answer -> core
//! ```
//!
//! Bounds: as many threads as data cores; [`QUEUE_MAX`] calls that wait, [`ASIDE_MAX`] of them or of those under way
//! that are no functions; `STATES_MAX` states a thread. Threads are
//! made when the first call comes, and give way to data cores: the kernel is told that they are nice.
//!
//! A call whose time is over ends within some instructions. One that is busy inside of a C function of Lua's does
//! not, and nothing can end it: its thread is given up, and another takes its place, up to [`LOST_MAX`] of them at a
//! time. The client has long been told that time is over. When the call comes to its end after all, its thread
//! ends with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use karst_cluster::modules::{Module, Modules};
use karst_io::clock;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::state::{State, TIMEOUT, find, not_loaded};
use super::{Aggregated, Aggregation, Call, Ended, Faulty};

/// Most calls that wait for a thread.
pub const QUEUE_MAX: usize = 1024;

/// Most requests at a time that are carried out here because they take too long for a core: each holds a copy of its
/// record.
pub const ASIDE_MAX: usize = 64;

/// Longest time that one of them takes: what work it may make is counted, so it ends by itself.
const ASIDE_TIME_MAX: Duration = Duration::from_secs(10);

/// Most states that a thread keeps.
const STATES_MAX: usize = 16;

/// Most threads that are given up at a time.
pub const LOST_MAX: usize = 8;

/// How long after its time a call may still run before its thread is given up.
const GRACE_US: u64 = 500_000;

/// How much a thread gives way to data cores.
const NICENESS: i32 = 5;

/// Stack of a thread: Lua's C functions nest up to 200 deep.
const STACK_BYTES: usize = 8 << 20;

/// A call has no outcome: it did not begin, or nobody knows how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// Too many wait.
    #[error("{QUEUE_MAX} functions wait already")]
    Busy,
    /// Its time was over before it ended, or even began.
    #[error("{TIMEOUT}")]
    Late,
}

/// What a thread is to do.
enum Work {
    Call(Box<Call>, oneshot::Sender<Ended>),
    Aggregate(Box<Aggregation>, oneshot::Sender<Aggregated>),
    Check(Modules, Module, oneshot::Sender<Result<(), Faulty>>),
    Aside(Box<dyn FnOnce() + Send>),
}

struct Job {
    work: Work,
    deadline_us: u64,
}

/// What is known of a thread.
#[derive(Default)]
struct Worker {
    /// When the call that it runs is to have ended; 0 while it runs none.
    until_us: AtomicU64,
    /// Another has taken its place.
    given_up: AtomicBool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    workers: Vec<Arc<Worker>>,
    closed: bool,
}

struct Shared {
    threads: usize,
    queue: Mutex<Queue>,
    wakes: Condvar,
    lost: AtomicUsize,
    /// Requests that are no functions, waiting or under way.
    aside: AtomicUsize,
}

/// See [the module](self). The threads end when this is dropped.
pub struct Functions(Arc<Shared>);

impl Functions {
    /// Functions for a node with this many data cores. Nothing is started yet.
    pub fn new(cores: usize) -> Functions {
        Functions(Arc::new(Shared {
            threads: cores.max(2),
            queue: Mutex::default(),
            wakes: Condvar::new(),
            lost: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
        }))
    }

    /// Calls a function.
    ///
    /// # Errors
    /// When there is no outcome. What it did is nothing in any case: the caller has it written.
    pub async fn run(&self, call: Call, patience: Duration) -> Result<Ended, NotRun> {
        let (answer, answered) = oneshot::channel();
        let work = Work::Call(Box::new(call), answer);
        self.wait(work, answered, patience).await
    }

    /// Calls a function with a stream of records.
    ///
    /// # Errors
    /// When there is no outcome.
    pub async fn aggregate(
        &self,
        aggregation: Aggregation,
        patience: Duration,
    ) -> Result<Aggregated, NotRun> {
        let (answer, answered) = oneshot::channel();
        let work = Work::Aggregate(Box::new(aggregation), answer);
        self.wait(work, answered, patience).await
    }

    /// Loads a module as a call would, to see whether it can be.
    ///
    /// # Errors
    /// When nobody finds out; and within that why it cannot.
    pub async fn check(
        &self,
        modules: Modules,
        module: Module,
        patience: Duration,
    ) -> Result<Result<(), Faulty>, NotRun> {
        let (answer, answered) = oneshot::channel();
        let work = Work::Check(modules, module, answer);
        self.wait(work, answered, patience).await
    }

    /// Carries out something that takes too long for a core. It ends by itself, if not soon.
    ///
    /// # Errors
    /// When there is no outcome.
    pub async fn aside<T: Send + 'static>(
        &self,
        carry_out: impl FnOnce() -> T + Send + 'static,
        patience: Duration,
    ) -> Result<T, NotRun> {
        let place = Place::take(&self.0)?;
        let (answer, answered) = oneshot::channel();
        let work = move || {
            if !answer.is_closed() {
                let _ = answer.send(carry_out());
            }
            drop(place); // whoever waits no longer has left it to us
        };
        let work = Work::Aside(Box::new(work));
        let patience = patience.min(ASIDE_TIME_MAX);
        self.wait(work, answered, patience).await
    }

    async fn wait<T>(
        &self,
        work: Work,
        answered: oneshot::Receiver<T>,
        patience: Duration,
    ) -> Result<T, NotRun> {
        let deadline_us = clock::monotonic_us() + patience.as_micros() as u64;
        self.0.push(Job { work, deadline_us })?;
        let longest = patience + Duration::from_micros(GRACE_US);
        let answer = tokio::time::timeout(longest, answered).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            // Its turn came too late, or its thread does not come back.
            Ok(Err(_)) => Err(NotRun::Late),
            Err(_) => {
                Shared::keep_up(&self.0, &mut self.0.queue.lock());
                Err(NotRun::Late)
            }
        }
    }

    /// Threads that are given up now.
    pub fn lost(&self) -> usize {
        self.0.lost.load(Ordering::Relaxed)
    }
}

/// One of the [`ASIDE_MAX`] places.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Result<Place, NotRun> {
        let place = Place(shared.clone());
        match shared.aside.fetch_add(1, Ordering::Relaxed) < ASIDE_MAX {
            true => Ok(place),
            false => Err(NotRun::Busy), // the place that was not free is left as it is dropped
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.aside.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.wakes.notify_all();
    }
}

impl Shared {
    fn push(self: &Arc<Shared>, job: Job) -> Result<(), NotRun> {
        let mut queue = self.queue.lock();
        if queue.jobs.len() >= QUEUE_MAX {
            return Err(NotRun::Busy);
        }
        queue.jobs.push_back(job);
        Shared::keep_up(self, &mut queue);
        drop(queue);
        self.wakes.notify_one();
        Ok(())
    }

    /// Gives up threads that do not come back, and makes those that are wanting.
    fn keep_up(shared: &Arc<Shared>, queue: &mut Queue) {
        let now_us = clock::monotonic_us();
        queue.workers.retain(|worker| {
            let until_us = worker.until_us.load(Ordering::Acquire);
            let overdue = until_us != 0 && now_us > until_us + GRACE_US;
            if !overdue || shared.lost.load(Ordering::Relaxed) >= LOST_MAX {
                return true;
            }
            tracing::error!("a function cannot be ended: its thread is given up");
            shared.lost.fetch_add(1, Ordering::Relaxed);
            worker.given_up.store(true, Ordering::Release);
            false
        });
        while queue.workers.len() < shared.threads {
            let worker = Arc::new(Worker::default());
            let (itself, shared) = (worker.clone(), shared.clone());
            let thread = std::thread::Builder::new()
                .name("functions".into())
                .stack_size(STACK_BYTES);
            if let Err(error) = thread.spawn(move || shared.work(&itself)) {
                tracing::error!(%error, "a thread for functions cannot be made");
                return;
            }
            queue.workers.push(worker);
        }
    }

    fn work(&self, worker: &Worker) {
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "a thread for functions is as urgent as a data core");
        }
        let mut states = States::default();
        while let Some(job) = self.next() {
            let until_us = job.deadline_us.max(1);
            worker.until_us.store(until_us, Ordering::Release);
            states.carry_out(job);
            worker.until_us.store(0, Ordering::Release);
            // Under the lock under which it is given up: either it is seen to have come back, or this is.
            let queue = self.queue.lock();
            let given_up = worker.given_up.load(Ordering::Acquire);
            drop(queue);
            if given_up {
                self.lost.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// The next call whose time is not over; `None` when the node stops.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            match queue.jobs.pop_front() {
                Some(job) if clock::monotonic_us() >= job.deadline_us => {} // whoever waits hears it
                Some(job) => return Some(job),
                None => self.wakes.wait(&mut queue),
            }
        }
    }
}

/// The states that a thread keeps, the one used last at the end.
#[derive(Default)]
struct States {
    modules: Modules,
    kept: Vec<(String, State)>,
}

impl States {
    fn carry_out(&mut self, Job { work, deadline_us }: Job) {
        match work {
            // Nobody waits any more.
            Work::Call(_, answer) if answer.is_closed() => {}
            Work::Aggregate(_, answer) if answer.is_closed() => {}
            Work::Check(_, _, answer) if answer.is_closed() => {}
            Work::Call(call, answer) => {
                let _ = answer.send(self.call(*call, deadline_us));
            }
            Work::Aggregate(aggregation, answer) => {
                let _ = answer.send(self.aggregate(&aggregation, deadline_us));
            }
            Work::Aside(carry_out) => carry_out(),
            Work::Check(modules, module, answer) => {
                let loaded = State::load(&modules, &module, deadline_us);
                let _ = answer.send(loaded.map(drop));
            }
        }
    }

    fn call(&mut self, call: Call, deadline_us: u64) -> Ended {
        let name = call.module.clone();
        let state = match self.take(&call.modules, &name, deadline_us) {
            Ok(state) => state,
            Err(why) => return Ended::Failed(why),
        };
        let ended = state.run(call, deadline_us);
        self.keep(name, state, deadline_us);
        ended
    }

    fn aggregate(&mut self, aggregation: &Aggregation, deadline_us: u64) -> Aggregated {
        let name = &aggregation.module;
        let state = self.take(&aggregation.modules, name, deadline_us)?;
        let aggregated = state.aggregate(aggregation, deadline_us);
        self.keep(name.clone(), state, deadline_us);
        aggregated
    }

    /// The state of a module, loaded if need be; or what its callers are told.
    fn take(&mut self, modules: &Modules, name: &str, deadline_us: u64) -> Result<State, Vec<u8>> {
        if !self.modules.is(modules) {
            self.kept.clear();
            self.modules = modules.clone();
        }
        if let Some(at) = self.kept.iter().position(|(module, _)| module == name) {
            return Ok(self.kept.remove(at).1);
        }
        let module = find(&self.modules, name).ok_or_else(|| not_loaded(None))?;
        State::load(&self.modules, module, deadline_us).map_err(|why| not_loaded(Some(&why)))
    }

    /// Keeps a state for the next call, if it is fit for one.
    fn keep(&mut self, name: String, state: State, deadline_us: u64) {
        if clock::monotonic_us() < deadline_us && state.is_fit() {
            if self.kept.len() == STATES_MAX {
                self.kept.remove(0);
            }
            self.kept.push((name, state));
        }
    }
}

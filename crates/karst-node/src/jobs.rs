//! Long queries: which run on this node, how far each has come, and how those of late have ended.
//!
//! Whoever runs a query holds a [`Running`], which takes it off the list when it ends, however that happens. Everybody
//! else may look at its [`Job`], and ask it to end.
//!
//! Bounds: a connection runs one query at a time; of those that work in the background or call functions there are
//! [`HEAVY_MAX`]; the last [`DONE_MAX`] that have ended are remembered. Nothing of a query outlives its node.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use karst_io::clock;
use karst_wire::code::ResultCode;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Queries at a time that work in the background or call functions: the reference's 128 threads of 4 each.
pub const HEAVY_MAX: usize = 32;

/// Queries that are remembered once they have ended: the reference's `query-max-done`.
pub const DONE_MAX: usize = 100;

/// What a query does with the records that it finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// They are sent to the client.
    Basic,
    /// A function makes something of them that is sent to the client.
    Aggregation,
    /// A function is called with each, in the background.
    Function {
        /// Its module.
        module: String,
        /// Its name.
        name: String,
    },
    /// Operations are applied to each, in the background.
    Operations,
}

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did all it was to do.
    Done,
    /// Somebody ended it.
    Aborted,
    /// Its client has gone, or did not read.
    ClientGone,
    /// Something else kept it from its end.
    Failed,
}

/// What a query is to do, as it is told to who asks.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The client's number for it; 0 if it is to get one here.
    pub id: u64,
    /// The namespace.
    pub namespace: String,
    /// The set; empty for the whole namespace.
    pub set: Vec<u8>,
    /// The index that is asked, if one is.
    pub index: Option<String>,
    /// What becomes of the records.
    pub work: Work,
    /// Partitions that are to be read from their beginning; `None` if the client named none.
    pub from_start: Option<usize>,
    /// Partitions that are to be gone on with.
    pub resumed: usize,
    /// Partitions that are looked at in all.
    pub partitions: usize,
    /// Records a second, 0 for as many as there are.
    pub records_per_second: u32,
    /// How long the client may leave unread what it is sent, in ms; 0 for ever.
    pub socket_timeout_ms: u64,
    /// The client's address.
    pub client: String,
}

/// What a query has done so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Partitions that are done.
    pub partitions: AtomicU64,
    /// Records that had to wait for the rate.
    pub throttled: AtomicU64,
    /// Records that did not pass the filter.
    pub filtered: AtomicU64,
    /// Records that were sent or changed.
    pub succeeded: AtomicU64,
    /// Records that could not be.
    pub failed: AtomicU64,
    /// Records that are being changed now.
    pub under_way: AtomicU64,
    /// Bytes that were sent.
    pub sent_bytes: AtomicU64,
}

/// A long query, running or ended.
#[derive(Debug)]
pub struct Job {
    /// Its number, never 0.
    pub id: u64,
    /// What it is to do.
    pub asked: Asked,
    /// What it has done.
    pub tally: Tally,
    began_us: u64,
    is_aborted: AtomicBool,
    aborted: Notify,
    ended: OnceLock<(u64, Status)>,
}

/// Why a query does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// One of this number runs, or has ended lately.
    #[error("query {0} runs already, or has ended lately")]
    Known(u64),
    /// Enough run.
    #[error("{HEAVY_MAX} queries work in the background or call functions already")]
    TooMany,
}

impl NotBegun {
    /// What its client is told.
    pub fn code(self) -> ResultCode {
        match self {
            NotBegun::Known(_) => ResultCode::Parameter,
            NotBegun::TooMany => ResultCode::Forbidden,
        }
    }
}

#[derive(Default)]
struct List {
    running: Vec<Arc<Job>>,
    /// The last one at the end.
    done: VecDeque<Arc<Job>>,
    last_id: u64,
}

/// See [the module](self).
#[derive(Clone, Default)]
pub struct Jobs(Arc<Mutex<List>>);

impl Jobs {
    /// Enters a query that begins now.
    ///
    /// # Errors
    /// When it may not.
    pub fn begin(&self, asked: Asked) -> Result<Running, NotBegun> {
        let mut list = self.0.lock();
        let heavy = |job: &&Arc<Job>| job.asked.work != Work::Basic;
        if asked.work != Work::Basic && list.running.iter().filter(heavy).count() >= HEAVY_MAX {
            return Err(NotBegun::TooMany);
        }
        let id = match asked.id {
            0 => list.free_id(),
            id if list.find(id).is_some() => return Err(NotBegun::Known(id)),
            id => id,
        };
        let job = Arc::new(Job {
            id,
            asked,
            tally: Tally::default(),
            began_us: clock::monotonic_us(),
            is_aborted: AtomicBool::new(false),
            aborted: Notify::new(),
            ended: OnceLock::new(),
        });
        list.running.push(job.clone());
        let jobs = self.clone();
        Ok(Running { jobs, job })
    }

    /// The query of this number.
    pub fn find(&self, id: u64) -> Option<Arc<Job>> {
        self.0.lock().find(id).cloned()
    }

    /// Those that run, then those that have ended, the last of them first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        let list = self.0.lock();
        let done = list.done.iter().rev();
        list.running.iter().chain(done).cloned().collect()
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.0.lock().running.len()
    }

    /// Asks a query to end. Whether it runs.
    pub fn abort(&self, id: u64) -> bool {
        let list = self.0.lock();
        let job = list.running.iter().find(|job| job.id == id);
        job.is_some_and(|job| job.abort())
    }

    /// Asks all to end. How many there are.
    pub fn abort_all(&self) -> usize {
        let list = self.0.lock();
        list.running.iter().filter(|job| job.abort()).count()
    }

    fn end(&self, job: &Arc<Job>, status: Status) {
        let mut list = self.0.lock();
        if job.ended.set((clock::monotonic_us(), status)).is_err() {
            return; // it has ended before
        }
        list.running.retain(|it| !Arc::ptr_eq(it, job));
        if list.done.len() == DONE_MAX {
            list.done.pop_front();
        }
        list.done.push_back(job.clone());
    }
}

impl List {
    fn find(&self, id: u64) -> Option<&Arc<Job>> {
        let mut all = self.running.iter().chain(&self.done);
        all.find(|job| job.id == id)
    }

    /// A number that no query has: clients draw theirs, and do not count.
    fn free_id(&mut self) -> u64 {
        loop {
            self.last_id += 1;
            if self.find(self.last_id).is_none() {
                return self.last_id;
            }
        }
    }
}

impl Job {
    fn abort(&self) -> bool {
        self.aborted.notify_one(); // whoever runs it is alone
        !self.is_aborted.swap(true, Ordering::AcqRel)
    }

    /// Whether it was asked to end.
    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }

    /// Waits until it is asked to end.
    pub async fn aborted(&self) {
        while !self.is_aborted() {
            self.aborted.notified().await;
        }
    }

    /// How it ended; `None` while it runs.
    pub fn status(&self) -> Option<Status> {
        self.ended.get().map(|(_, status)| *status)
    }

    /// How long it runs, or ran, in ms.
    pub fn run_ms(&self, now_us: u64) -> u64 {
        let until_us = self.ended.get().map_or(now_us, |(at_us, _)| *at_us);
        until_us.saturating_sub(self.began_us) / 1000
    }

    /// How long ago it ended, in ms; 0 while it runs.
    pub fn ended_ms_ago(&self, now_us: u64) -> u64 {
        let ended = self.ended.get();
        ended.map_or(0, |(at_us, _)| now_us.saturating_sub(*at_us) / 1000)
    }

    /// How much of it is done, in hundredths of a percent.
    pub fn progress(&self) -> u64 {
        let done = self.tally.partitions.load(Ordering::Relaxed);
        match self.status() {
            Some(Status::Done) => 10_000,
            _ => (done * 10_000)
                .checked_div(self.asked.partitions as u64)
                .unwrap_or(0),
        }
    }
}

/// A query that runs. It is taken for one whose client has gone if it is dropped without an end.
pub struct Running {
    jobs: Jobs,
    job: Arc<Job>,
}

impl Running {
    /// What is known of it.
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// It has ended.
    pub fn end(self, status: Status) {
        self.jobs.end(&self.job, status);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.end(&self.job, Status::ClientGone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn asked(id: u64, work: Work) -> Asked {
        Asked {
            id,
            namespace: "test".into(),
            set: Vec::new(),
            index: None,
            work,
            from_start: None,
            resumed: 0,
            partitions: 8,
            records_per_second: 0,
            socket_timeout_ms: 0,
            client: "10.0.0.1:4000".into(),
        }
    }

    #[test]
    fn a_number_is_taken_while_its_query_runs_and_while_it_is_remembered() {
        let jobs = Jobs::default();
        let first = jobs.begin(asked(7, Work::Basic)).unwrap();
        let again = jobs.begin(asked(7, Work::Basic)).map(drop);
        assert_eq!(again, Err(NotBegun::Known(7)));
        first.end(Status::Done);
        assert!(jobs.begin(asked(7, Work::Basic)).is_err());
        for id in 100..100 + DONE_MAX as u64 {
            jobs.begin(asked(id, Work::Basic))
                .unwrap()
                .end(Status::Done);
        }
        assert!(jobs.begin(asked(7, Work::Basic)).is_ok());
        let (a, b) = (
            jobs.begin(asked(0, Work::Basic)),
            jobs.begin(asked(0, Work::Basic)),
        );
        assert_ne!(a.unwrap().job().id, b.unwrap().job().id);
    }

    #[test]
    fn those_that_work_in_the_background_are_bounded_and_others_are_not() {
        let jobs = Jobs::default();
        let background: Vec<_> = (0..HEAVY_MAX)
            .map(|_| jobs.begin(asked(0, Work::Operations)).unwrap())
            .collect();
        let another = jobs.begin(asked(0, Work::Aggregation)).map(drop);
        assert_eq!(another, Err(NotBegun::TooMany));
        assert!(jobs.begin(asked(0, Work::Basic)).is_ok());
        drop(background);
        assert!(jobs.begin(asked(0, Work::Aggregation)).is_ok());
        assert_eq!(jobs.running(), 0);
    }

    #[test]
    fn an_abort_is_heard_and_told_of_once() {
        let jobs = Jobs::default();
        let running = jobs.begin(asked(9, Work::Operations)).unwrap();
        let job = running.job().clone();
        assert!(jobs.abort(9));
        assert!(!jobs.abort(9), "it was told already");
        assert!(job.is_aborted());
        assert_eq!(job.status(), None);
        running.end(Status::Aborted);
        assert_eq!(job.status(), Some(Status::Aborted));
        assert!(!jobs.abort(9));
        assert_eq!(jobs.all().len(), 1);
    }

    #[test]
    fn one_that_is_dropped_counts_as_left_by_its_client() {
        let jobs = Jobs::default();
        let job = jobs.begin(asked(9, Work::Basic)).unwrap().job().clone();
        assert_eq!(job.status(), Some(Status::ClientGone));
        assert_eq!(job.progress(), 0);
    }
}

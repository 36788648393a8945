//! One data core: a thread with its own runtime, device queue, lanes and connections.
//!
//! Owns its connections for life, one lane of every log for clients' writes and one for defrag, and
//! everything in flight on its device queue. Shares the namespaces with the other cores. Carries out
//! what the engine decides: reads that it asks for, writes that its logs have ready, waiting until a
//! write is durable or a block is free.

mod damage;
mod defrag;
mod devices;
pub mod disk;
pub(crate) mod evict;
pub mod histograms;
pub mod latencies;
mod scrub;
mod sindex;
pub mod upkeep;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use karst_cluster::map::Regime;
use karst_data::expr::Filter;
use karst_data::flat::Form;
use karst_data::key::Digest;
use karst_data::time::Now;
use karst_engine::write::Hand;
use karst_engine::{Fetched, Step};
use karst_io::buffer::AlignedBuffer;
use karst_io::clock;
use karst_io::op::{FileId, Op as DeviceOp};
use karst_storage::defrag::Foreground;
use karst_storage::log::{Commit, CommitPoint, DeviceRead, DeviceWrite};
use tokio::sync::Notify;

pub(crate) use self::damage::hex;
use self::disk::Disk;
use crate::counters::{CoreCounters, NamespaceCounters, Op};
use crate::fabric_port::pace::Pace;
use crate::fabric_port::peer::Peers;
use crate::node::{self, NamespaceState, Node};

/// Records that are brought towards the cache together at most.
const AHEAD_MAX: usize = 128;

/// Commits of one core and device that are out before further writes gather for the next one. One
/// alone would leave the device idle between its answer and the next commit; from 2 on it makes no
/// difference that was measured (34,000 writes a second with 1, 39,000 to 42,000 with 2 to 64).
const COMMITS_OUT_MAX: usize = 8;

/// How often a record that moves while it is read is looked for.
const FETCHES_MAX: usize = 16;

/// How often it is looked whether what other cores wrote is durable, and for how long.
const SETTLES_LOOK: Duration = Duration::from_millis(1);
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// For how long clients' last waits are taken for their present ones, in us.
const FOREGROUND_MEMORY_US: u64 = 200_000;

/// From so long on a turn ends, whatever else has arrived.
const TURN_LONG_US: u64 = 1000;

/// What a core keeps for each namespace.
#[derive(Default)]
struct Lanes {
    /// A write came back: who waits for one to be durable looks again.
    written: Notify,
    /// Something was appended this turn.
    appended: Cell<bool>,
    /// Writes gather for the next commit while as many as may be are out.
    gathering: Cell<bool>,
    /// What clients wait for device reads and for commits, and when that was last seen.
    reads: Cell<Foreground>,
    commits: Cell<Foreground>,
    sampled_us: Cell<u64>,
    /// Bytes of device writes that are out, to hold defrag back.
    writing: Cell<u64>,
    /// Device writes that are out.
    writes_out: Cell<u64>,
    /// Records that requests which have arrived will touch.
    ahead: RefCell<Vec<Digest>>,
    /// Requests answered this turn, by [`Op`], whose time is not recorded yet.
    answered: RefCell<[u64; Op::ALL.len()]>,
}

/// See [the module](self).
pub struct Core {
    /// The node.
    pub node: Arc<Node>,
    /// Which of its cores this is.
    pub number: u16,
    /// What it counts.
    pub counters: Arc<CoreCounters>,
    /// Its links to other nodes.
    pub peers: Peers,
    /// How fast it fills them.
    pub pace: Pace,
    disk: Rc<Disk>,
    lanes: Vec<Lanes>,
    /// First file of each namespace in the device queue.
    files: Vec<u16>,
    turn_ends: Notify,
    /// Writes whose copies are on their way with nobody waiting for them.
    pub(crate) unwatched: Cell<usize>,
    /// A request of this turn may have taken long.
    long: Cell<bool>,
    /// The filter that was last parsed.
    pub(crate) last_filter: RefCell<Option<Rc<Filter>>>,
    itself: Weak<Core>,
    /// The present, as of the beginning of this turn.
    now: Cell<Now>,
    now_us: Cell<u64>,
    outbox: RefCell<Vec<DeviceWrite>>,
}

/// A device did not do what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceError;

impl Core {
    /// A core over its device queue, in whose runtime it is called.
    pub fn new(node: Arc<Node>, number: u16, disk: Rc<Disk>) -> Rc<Core> {
        let counters = node.cores[usize::from(number)].clone();
        let lanes = node.namespaces.iter().map(|_| Lanes::default()).collect();
        let mut files = Vec::new();
        let mut next = 0;
        for namespace in &node.namespaces {
            files.push(next);
            next += (namespace.devices.len() + namespace.cached.len()) as u16;
        }
        let cores = node.cores.len() as u64;
        let pace = Pace::new(node.config.cluster.fill_rate.map(|rate| rate / cores));
        let (turn_ends, outbox) = (Notify::new(), RefCell::new(Vec::new()));
        let (now, now_us) = (Cell::new(node::now()), Cell::new(clock::monotonic_us()));
        Rc::new_cyclic(|itself| Core {
            itself: itself.clone(),
            unwatched: Cell::new(0),
            long: Cell::new(false),
            last_filter: RefCell::new(None),
            node,
            number,
            counters,
            peers: Peers::default(),
            pace,
            disk,
            lanes,
            files,
            turn_ends,
            now,
            now_us,
            outbox,
        })
    }

    /// The core, to be kept by a task.
    pub(crate) fn itself(&self) -> Rc<Core> {
        self.itself
            .upgrade()
            .expect("a core is only ever had by reference count")
    }

    /// A namespace by position.
    pub fn namespace(&self, index: usize) -> &NamespaceState {
        &self.node.namespaces[index]
    }

    /// Its counters on this core.
    pub fn counted(&self, index: usize) -> &NamespaceCounters {
        &self.counters.namespaces[index]
    }

    /// What a write needs to know of who carries it out, and when. `regime` is that of the partition in
    /// the view by which it was found to belong here; `replicated` says whether other nodes are to know.
    pub fn hand(&self, index: usize, regime: Regime, replicated: bool) -> Hand {
        let lane = self.namespace(index).engine.log().write_lane(self.number);
        Hand {
            lane,
            now: self.now(),
            flush_clock_ms: self.now_us() / 1000,
            regime: regime.0,
            replicated,
        }
    }

    /// Looks at the clocks: whoever begins a turn does, so that its requests need not.
    pub fn begin_turn(&self) {
        self.now.set(node::now());
        self.now_us.set(clock::monotonic_us());
    }

    /// Notes that a request of this turn may take longer than most.
    pub(crate) fn may_take_long(&self) {
        self.long.set(true);
    }

    /// Whether this turn has lasted so long that it should end: the clock is looked at only after requests that may
    /// have taken long.
    pub(crate) fn has_taken_long(&self) -> bool {
        self.long.take() && self.has_lasted()
    }

    /// Whether this turn has lasted long, by the clock.
    pub(crate) fn has_lasted(&self) -> bool {
        clock::monotonic_us() - self.now_us() > TURN_LONG_US
    }

    /// The time of day at the beginning of this turn.
    pub fn now(&self) -> Now {
        self.now.get()
    }

    /// The monotonic clock at the beginning of this turn, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    /// Counts a request that is answered within the turn in which it arrived.
    pub fn answered(&self, index: usize, op: Op) {
        self.lanes[index].answered.borrow_mut()[op as usize] += 1;
    }

    /// Records the time of what this turn answered.
    pub fn end_turn(&self) {
        let took_us = clock::monotonic_us() - self.now_us();
        for (index, lanes) in self.lanes.iter().enumerate() {
            let latency = &self.counted(index).latency;
            for (count, latency) in lanes.answered.borrow_mut().iter_mut().zip(latency) {
                if *count > 0 {
                    latency.record(took_us, std::mem::take(count));
                }
            }
        }
    }

    /// Notes that a request which has arrived will touch a record.
    pub fn will_touch(&self, index: usize, digest: Digest) {
        let mut ahead = self.lanes[index].ahead.borrow_mut();
        ahead.push(digest);
        if ahead.len() >= AHEAD_MAX {
            self.namespace(index).engine.prefetch(&ahead);
            ahead.clear();
        }
    }

    /// Brings the records that were noted towards the cache, all of them at once: what each would wait
    /// for memory, they wait together. One alone gains nothing.
    pub fn fetch_ahead(&self) {
        for (index, lanes) in self.lanes.iter().enumerate() {
            let mut ahead = lanes.ahead.borrow_mut();
            if ahead.len() > 1 {
                self.namespace(index).engine.prefetch(&ahead);
            }
            ahead.clear();
        }
    }

    fn file(&self, index: usize, device: u8) -> FileId {
        FileId(self.files[index] + u16::from(device))
    }

    /// Reads what the engine asked for.
    ///
    /// # Errors
    /// When the device fails; it was logged and counted.
    pub async fn fetch(&self, index: usize, read: DeviceRead) -> Result<Fetched, DeviceError> {
        let started_us = clock::monotonic_us();
        let buffer = match self.read_cached(index, &read).await {
            Some(buffer) => buffer,
            None => {
                self.read(index, read.device.0, read.offset, read.bytes)
                    .await?
            }
        };
        self.sample(index, &self.lanes[index].reads, started_us);
        Ok(Fetched { read, buffer })
    }

    /// Notes how long a client waited for a device since `started_us`.
    fn sample(&self, index: usize, series: &Cell<Foreground>, started_us: u64) {
        let now_us = clock::monotonic_us();
        let mut foreground = series.get();
        foreground.sample(now_us - started_us);
        series.set(foreground);
        self.lanes[index].sampled_us.set(now_us);
    }

    /// What clients wait for devices now, the worse of reads and commits; calm when nobody asks.
    fn foreground(&self, index: usize) -> Foreground {
        let lanes = &self.lanes[index];
        if clock::monotonic_us() - lanes.sampled_us.get() > FOREGROUND_MEMORY_US {
            return Foreground::default();
        }
        let (reads, commits) = (lanes.reads.get(), lanes.commits.get());
        if reads.latency_percent() >= commits.latency_percent() {
            reads
        } else {
            commits
        }
    }

    /// Reads through the page cache, if that is wanted. What that brings may be older than what a direct
    /// write has put on the device: the seal tells, and then the device is asked.
    async fn read_cached(&self, index: usize, read: &DeviceRead) -> Option<AlignedBuffer> {
        let devices = &self.namespace(index).devices;
        let cached = self.namespace(index).cached.len();
        if cached == 0 {
            return None;
        }
        let file = FileId(self.file(index, read.device.0).0 + devices.len() as u16);
        let buffer = self.disk.buffer(read.bytes);
        let offset = read.offset;
        let op = DeviceOp::Read {
            file,
            offset,
            buffer,
        };
        let completion = self.disk.start(op).await;
        let buffer = completion.buffer?;
        let record = buffer.as_slice().get(read.skip..).unwrap_or_default();
        if completion.outcome.is_ok() && Form::check(record, &read.seal).is_ok() {
            return Some(buffer);
        }
        self.disk.give_back(buffer);
        None
    }

    /// A record or tombstone as it is here, for another node; `None` if there is nothing.
    ///
    /// # Errors
    /// When the device fails or gave back something else.
    pub async fn image(
        &self,
        index: usize,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, DeviceError> {
        let engine = &self.namespace(index).engine;
        let mut fetched: Option<Fetched> = None;
        for _ in 0..FETCHES_MAX {
            let step = engine.image(digest, fetched.as_ref());
            fetched.take().into_iter().for_each(|it| self.done_with(it));
            match step {
                Step::Done(image) => return image.map_err(|_| DeviceError),
                Step::Read(read) => fetched = Some(self.fetch(index, read).await?),
                Step::Wait => return Err(DeviceError),
            }
        }
        Err(DeviceError)
    }

    /// Takes a read's buffer back.
    pub fn done_with(&self, fetched: Fetched) {
        self.disk.give_back(fetched.buffer);
    }

    async fn read(
        &self,
        index: usize,
        device: u8,
        offset: u64,
        bytes: usize,
    ) -> Result<AlignedBuffer, DeviceError> {
        let started_us = clock::monotonic_us();
        let file = self.file(index, device);
        let buffer = self.disk.buffer(bytes);
        let completion = self
            .disk
            .start(DeviceOp::Read {
                file,
                offset,
                buffer,
            })
            .await;
        let counted = self.counted(index);
        counted.device_reads.add(1);
        counted
            .device_read_us
            .add(clock::monotonic_us() - started_us);
        match (completion.outcome, completion.buffer) {
            (Ok(()), Some(buffer)) => Ok(buffer),
            (outcome, buffer) => {
                buffer
                    .into_iter()
                    .for_each(|buffer| self.disk.give_back(buffer));
                let namespace = self.namespace(index);
                let path = namespace.devices[usize::from(device)].path().display();
                tracing::error!(device = %path, offset, bytes, ?outcome, "a device read failed");
                let device = karst_storage::place::DeviceId(device);
                namespace.engine.log().count_read_error(device);
                Err(DeviceError)
            }
        }
    }

    /// Notes that something was appended to this core's lanes of a namespace.
    pub fn appended(&self, index: usize) {
        if !self.lanes[index].appended.replace(true) {
            self.turn_ends.notify_one();
        }
    }

    /// Sends what this turn appended towards the devices, at the end of every turn in which something
    /// was; never returns. All writes of a turn share one commit; while `COMMITS_OUT_MAX` are out
    /// further ones gather for the next.
    pub async fn send_writes(self: Rc<Core>) {
        loop {
            self.turn_ends.notified().await;
            for index in 0..self.lanes.len() {
                if self.lanes[index].appended.replace(false) {
                    if self.namespace(index).config.storage.commit_to_device {
                        self.commit(index);
                    }
                    self.send(index);
                }
            }
        }
    }

    /// Flushes what clients wait for, or lets it gather while enough commits are out.
    fn commit(&self, index: usize) {
        let log = self.namespace(index).engine.log();
        let lane = log.write_lane(self.number);
        let gathers = log.writes_out(lane) >= COMMITS_OUT_MAX;
        self.lanes[index].gathering.set(gathers);
        if !gathers {
            log.tick(clock::monotonic_us() / 1000);
            log.flush(lane, u64::MAX);
        }
    }

    /// Flushes this core's lanes of what was appended at or before a time of the flush clock.
    pub fn flush(&self, index: usize, before_ms: u64) {
        let log = self.namespace(index).engine.log();
        log.tick(clock::monotonic_us() / 1000);
        log.flush(log.write_lane(self.number), before_ms);
        log.flush(log.move_lane(self.number), before_ms);
    }

    /// Starts the writes that this core's lanes have ready.
    pub fn send(self: &Rc<Core>, index: usize) {
        let log = self.namespace(index).engine.log();
        let mut outbox = self.outbox.borrow_mut();
        let refused = log.take_writes(log.write_lane(self.number), &mut outbox)
            | log.take_writes(log.move_lane(self.number), &mut outbox);
        if refused {
            self.lanes[index].written.notify_waiters();
        }
        for write in outbox.drain(..) {
            let out = &self.lanes[index].writes_out;
            out.set(out.get() + 1);
            tokio::task::spawn_local(self.clone().write(index, write));
        }
    }

    async fn write(self: Rc<Core>, index: usize, write: DeviceWrite) {
        let started_us = clock::monotonic_us();
        let bytes = write.range.len() as u64;
        let lanes = &self.lanes[index];
        lanes.writing.set(lanes.writing.get() + bytes);
        let operation = self.disk.start(DeviceOp::Write {
            file: self.file(index, write.block.device.0),
            offset: write.offset,
            source: write.source.clone(),
            range: write.range.clone(),
            durable: true,
        });
        let outcome = operation.await.outcome;
        lanes.writing.set(lanes.writing.get() - bytes);
        let counted = self.counted(index);
        counted.device_writes.add(1);
        counted.device_write_bytes.add(bytes);
        counted
            .device_write_us
            .add(clock::monotonic_us() - started_us);
        let namespace = self.namespace(index);
        let log = namespace.engine.log();
        if let Err(failure) = &outcome {
            devices::failed(&self.node, index, write.block.device, failure);
        }
        log.tick(clock::monotonic_us() / 1000);
        log.written(&write, outcome.is_ok());
        if write.lane == log.write_lane(self.number) {
            counted.client_flushes.add(1);
        }
        lanes.writes_out.set(lanes.writes_out.get() - 1);
        lanes.written.notify_waiters();
        if lanes.gathering.get() {
            self.commit(index);
        }
        if lanes.gathering.get() || outcome.is_err() || log.has_writes(write.lane) {
            self.send(index);
        }
    }

    /// Bytes of a namespace's device writes that this core has out.
    fn writing(&self, index: usize) -> u64 {
        self.lanes[index].writing.get()
    }

    /// Waits until none of a namespace's device writes is out on this core.
    pub async fn idle(&self, index: usize) {
        loop {
            let written = self.lanes[index].written.notified();
            let mut written = std::pin::pin!(written);
            written.as_mut().enable();
            if self.lanes[index].writes_out.get() == 0 {
                return;
            }
            written.await;
        }
    }

    /// Waits until an append is durable.
    ///
    /// # Errors
    /// When its write failed: the record is in memory only.
    pub async fn committed(&self, index: usize, point: CommitPoint) -> Result<(), DeviceError> {
        let log = self.namespace(index).engine.log();
        let started_us = clock::monotonic_us();
        loop {
            let written = self.lanes[index].written.notified();
            let mut written = std::pin::pin!(written);
            written.as_mut().enable();
            match log.commit(point) {
                Commit::Durable => {
                    self.sample(index, &self.lanes[index].commits, started_us);
                    return Ok(());
                }
                Commit::Lost => return Err(DeviceError),
                Commit::Pending => written.await,
            }
        }
    }

    /// Whether everything that was appended to a namespace by now, by any core, has its outcome. Always, where what
    /// is written need not be durable to count.
    pub fn is_settled(&self, index: usize) -> bool {
        let engine = &self.namespace(index).engine;
        !engine.config().commit_to_device || engine.log().unsettled().is_empty()
    }

    /// Waits until everything that was appended to a namespace by now, by any core, has its outcome: it is durable, or
    /// its device has failed.
    ///
    /// # Errors
    /// When that takes longer than `SETTLES_WITHIN`.
    pub async fn settled(&self, index: usize) -> Result<(), DeviceError> {
        let engine = &self.namespace(index).engine;
        if !engine.config().commit_to_device {
            return Ok(());
        }
        let log = engine.log();
        let mut unsettled = log.unsettled();
        let waits = async {
            while !unsettled.is_empty() {
                tokio::time::sleep(SETTLES_LOOK).await; // other cores write, and tell nobody here
                unsettled.retain(|point| !log.is_settled(point));
            }
        };
        let settled = tokio::time::timeout(SETTLES_WITHIN, waits).await;
        settled.map_err(|_| DeviceError)
    }
}

//! Checkpoints of the index, so that a start without shared memory need not read whole devices.
//!
//! ```text
//! fills of all blocks -> entries, partition by partition, at a bounded rate
//!   -> every lane flushed, and all that was appended has come back -> table and footer
//!   -> fsync -> renamed to <namespace>.checkpoint -> folder fsynced
//! ```
//!
//! One thread writes them, of one namespace after the other: every `checkpoint_period`, soon after a
//! start that had to scan, and once at a clean stop, when nothing changes any more. A checkpoint that
//! cannot be finished leaves the one before it in place, which stays true: the longer ago it was made,
//! the more blocks a start has to scan beside it. While a device is failed none is made, since the
//! index then speaks of records that are on no device.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use karst_data::key::PartitionId;
use karst_io::clock;
use karst_storage::checkpoint::{CHUNK_ITEMS_MAX, Encoder, Front};
use karst_storage::log::Log;
use karst_storage::place::DeviceId;
use parking_lot::Mutex;

use crate::node::{NamespaceState, Node};
use crate::restart::Way;

/// Bytes per second that a checkpoint is written with while clients are served, at least.
const BYTES_PER_S: f64 = 64e6;

/// Encoded bytes that are written at once, and how much may be written before the file is synced.
const WRITE_BYTES: usize = 1 << 20;
const SYNC_BYTES: u64 = 32 << 20;

/// How long a checkpoint waits for writes to come back before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// After a start that had to scan, a checkpoint is made this soon.
const SOON: Duration = Duration::from_secs(10);

/// Blocks whose fills are read under one lock of the space.
const FILLS_AT_ONCE: u32 = CHUNK_ITEMS_MAX as u32;

/// The latest checkpoint that was written by this process.
#[derive(Clone, Debug)]
pub struct Written {
    /// Time since boot when it was finished, in microseconds.
    pub at_boot_us: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What is known of a namespace's checkpoints.
#[derive(Debug, Default)]
pub struct State {
    written: Mutex<Option<Written>>,
    failure: Mutex<Option<String>>,
}

impl State {
    /// The latest one that was written, by this process.
    pub fn written(&self) -> Option<Written> {
        self.written.lock().clone()
    }

    /// Why the last attempt failed; `None` when it did not.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }
}

/// The folder of checkpoints.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("checkpoint")
}

/// A namespace's checkpoint.
pub fn path(data_dir: &Path, namespace: &str) -> PathBuf {
    folder(data_dir).join(format!("{namespace}.checkpoint"))
}

/// The thread that writes checkpoints while the node serves.
pub struct Keeper {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(node: Arc<Node>) -> io::Result<Keeper> {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || keep(&node, &stopped))?;
        Ok(Keeper { stop, thread })
    }

    /// Ends the thread; a checkpoint that is being written is given up.
    pub fn end(self) {
        let _ = self.stop.try_send(());
        let _ = self.thread.join();
    }
}

/// Writes each namespace's checkpoint whenever it is due, until told to stop.
fn keep(node: &Node, stopped: &Receiver<()>) {
    let mut due: Vec<Option<Instant>> = node.namespaces.iter().map(first_due).collect();
    while let Some((at, index)) = next(&due) {
        let wait = at.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let namespace = &node.namespaces[index];
        let Some(period) = namespace.config.storage.checkpoint_period else {
            return;
        };
        match write(node, namespace, Pace::Bounded { period, stopped }) {
            Err(Halt::Stopped) => return,
            Err(Halt::Failed(_)) | Ok(()) => due[index] = Some(Instant::now() + period),
        }
    }
}

fn next(due: &[Option<Instant>]) -> Option<(Instant, usize)> {
    let due = due.iter().enumerate();
    due.filter_map(|(index, at)| at.map(|at| (at, index))).min()
}

fn first_due(namespace: &NamespaceState) -> Option<Instant> {
    let period = namespace.config.storage.checkpoint_period?;
    if namespace.devices.is_empty() {
        return None;
    }
    let scanned = namespace
        .restart
        .outcome()
        .is_some_and(|outcome| outcome.way == Way::Scan);
    let first = if scanned { period.min(SOON) } else { period };
    Some(Instant::now() + first)
}

/// Writes a checkpoint of every namespace that wants one, when the cores have stopped.
pub fn write_last(node: &Node) {
    for namespace in &node.namespaces {
        let wanted = namespace.config.storage.checkpoint_period.is_some();
        if wanted && !namespace.devices.is_empty() {
            // What goes wrong is logged; the checkpoint before it stays.
            let _ = write(node, namespace, Pace::Full);
        }
    }
}

/// How fast a checkpoint is written.
#[derive(Clone, Copy)]
enum Pace<'s> {
    /// Beside clients: half of the period at most, or at the least rate; ends when the node stops.
    Bounded {
        period: Duration,
        stopped: &'s Receiver<()>,
    },
    /// As fast as it goes: nobody is served, and no write is out that could still come back.
    Full,
}

/// Why a checkpoint was not finished.
enum Halt {
    /// The node stops.
    Stopped,
    /// What went wrong.
    Failed(String),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        Halt::Failed(error.to_string())
    }
}

fn write(node: &Node, namespace: &NamespaceState, pace: Pace<'_>) -> Result<(), Halt> {
    let name = &namespace.config.name;
    let started = Instant::now();
    let written = Writer::new(node, namespace, pace).and_then(Writer::run);
    match &written {
        Ok((bytes, entries)) => {
            let written = Written {
                at_boot_us: clock::boot_us(),
                bytes: *bytes,
                entries: *entries,
                seconds: started.elapsed().as_secs_f64(),
            };
            tracing::info!(
                namespace = name,
                bytes,
                entries,
                seconds = written.seconds,
                "checkpoint written"
            );
            *namespace.checkpoint.written.lock() = Some(written);
            *namespace.checkpoint.failure.lock() = None;
        }
        Err(Halt::Stopped) => {}
        Err(Halt::Failed(why)) => {
            tracing::warn!(
                namespace = name,
                why,
                "no checkpoint was written; the one before it stays"
            );
            *namespace.checkpoint.failure.lock() = Some(why.clone());
        }
    }
    written.map(drop)
}

/// A checkpoint being written.
struct Writer<'n> {
    namespace: &'n NamespaceState,
    pace: Pace<'n>,
    started: Instant,
    bytes_per_s: f64,
    beside: PathBuf,
    path: PathBuf,
    file: File,
    encoder: Encoder,
    bytes: u64,
    synced: u64,
}

impl<'n> Writer<'n> {
    fn new(node: &Node, namespace: &'n NamespaceState, pace: Pace<'n>) -> Result<Self, Halt> {
        let log = namespace.engine.log();
        if log.any_device_failed() {
            return Err(Halt::Failed("a device has failed".into()));
        }
        let path = path(&node.config.node.data_dir, &namespace.config.name);
        fs::create_dir_all(folder(&node.config.node.data_dir))?;
        let beside = path.with_extension("unfinished");
        let front = Front::of(
            node.cluster_id.0,
            &namespace.config.name,
            log.config(),
            log.fills(),
        );
        Ok(Writer {
            namespace,
            pace,
            started: Instant::now(),
            bytes_per_s: bytes_per_s(pace, namespace),
            file: File::create(&beside)?,
            beside,
            path,
            encoder: Encoder::new(&front),
            bytes: 0,
            synced: 0,
        })
    }

    /// Returns bytes and entries of the file.
    fn run(mut self) -> Result<(u64, u64), Halt> {
        self.fills()?;
        let sequences = self.entries()?;
        self.wait_until_durable()?;
        self.sets();
        self.encoder.finish(&sequences);
        self.put_down()?;
        self.file.sync_all()?;
        fs::rename(&self.beside, &self.path)?;
        let folder = self.path.parent().expect("it lies in the folder");
        File::open(folder)?.sync_all()?;
        Ok((self.bytes, self.encoder.entries()))
    }

    fn fills(&mut self) -> Result<(), Halt> {
        let log = self.namespace.engine.log();
        for (number, device) in log.config().devices.iter().enumerate() {
            let id = DeviceId(number as u8); // the log has at most 128
            for from in (0..device.blocks).step_by(FILLS_AT_ONCE as usize) {
                let to = from.saturating_add(FILLS_AT_ONCE).min(device.blocks);
                self.encoder.fills(id.0, &log.fills_now(id, from..to));
                self.put_down_some()?;
            }
        }
        Ok(())
    }

    /// Takes every partition, and returns the sequence that each had come to.
    fn entries(&mut self) -> Result<Vec<u64>, Halt> {
        let engine = &self.namespace.engine;
        let (mut sequences, mut entries) = (Vec::new(), Vec::new());
        for id in PartitionId::all() {
            let mut after = None;
            let sequence = loop {
                let slice = engine.entry_slice(id, after, &mut entries);
                after = slice.next;
                if after.is_none() || entries.len() + 1024 > CHUNK_ITEMS_MAX {
                    self.encoder.partition(id, &entries);
                    entries.clear();
                    self.put_down_some()?;
                }
                if after.is_none() {
                    break slice.sequence;
                }
            };
            sequences.push(sequence);
        }
        Ok(sequences)
    }

    fn sets(&mut self) {
        let sets = self.namespace.engine.sets().all();
        self.encoder.sets(sets.iter().map(|set| &*set.name));
    }

    /// What the entries say came after what they no longer say, and it has to be as durable.
    fn wait_until_durable(&mut self) -> Result<(), Halt> {
        let log: &Log = self.namespace.engine.log();
        let deadline = Instant::now() + PATIENCE;
        // What an earlier process had only in memory has to be brought to a device first.
        let mut to = None;
        while !to.as_ref().is_some_and(|to| log.are_safe(to)) {
            if to.is_none() && log.report().unrescued_blocks == 0 {
                to = Some(log.flush_all());
                continue;
            }
            match self.pace {
                Pace::Bounded { stopped, .. } => pause(stopped, LOOK_EVERY)?,
                Pace::Full => return Err(Halt::Failed("writes have not come back".into())),
            }
            if Instant::now() > deadline {
                let text = format!("writes did not come back within {PATIENCE:?}");
                return Err(Halt::Failed(text));
            }
        }
        match log.any_device_failed() {
            true => Err(Halt::Failed("a device failed meanwhile".into())),
            false => Ok(()),
        }
    }

    fn put_down_some(&mut self) -> Result<(), Halt> {
        match self.encoder.waiting() >= WRITE_BYTES {
            true => self.put_down(),
            false => Ok(()),
        }
    }

    fn put_down(&mut self) -> Result<(), Halt> {
        let bytes = self.encoder.take();
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes - self.synced >= SYNC_BYTES {
            self.file.sync_data()?; // so that the end does not have to write all of it
            self.synced = self.bytes;
        }
        let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_s);
        match self.pace {
            Pace::Bounded { stopped, .. } => {
                pause(stopped, due.saturating_sub(self.started.elapsed()))
            }
            Pace::Full => Ok(()),
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // After a success it has its other name, and there is nothing to remove.
        let _ = fs::remove_file(&self.beside);
    }
}

/// Waits, unless the node stops.
fn pause(stopped: &Receiver<()>, time: Duration) -> Result<(), Halt> {
    if time.is_zero() {
        return Ok(());
    }
    match stopped.recv_timeout(time) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Halt::Stopped),
    }
}

/// A large index is written faster, so that it takes half of a period at most.
fn bytes_per_s(pace: Pace<'_>, namespace: &NamespaceState) -> f64 {
    match pace {
        Pace::Full => f64::INFINITY,
        Pace::Bounded { period, .. } => {
            let report = namespace.engine.report();
            let entries = report.records + report.tombstones;
            let bytes = entries as f64 * karst_storage::checkpoint::ENTRY_BYTES as f64;
            BYTES_PER_S.max(bytes / (period.as_secs_f64() / 2.0))
        }
    }
}

//! Memory that outlives the process: where it lies, whether this node can take it over, and how it does.
//!
//! ```text
//! <shm_dir>/karst-<node id>/<namespace>.index    the entries of the index
//!                          /<namespace>.log      which fill each block is in, and blocks not yet durable
//!
//! open      is it of this boot, cluster and session, and complete?
//! take over index: chains are made anew from entries, each checked; what is live is counted
//!           log: the index sees the records of blocks that were not durable; they go to their devices
//! begin     superblocks, then index and log name a new session: from here on memory is what counts
//! ```
//!
//! The two files are judged apart. What the log's memory holds is not on any device, so it is brought there
//! even when the index cannot be taken over and the devices are scanned. What cannot be trusted is given up
//! with a line in the log that says why; nothing that is durable depends on it.
//!
//! Where the memory file system is too small, or there is none, all of it lies in the process, and a
//! restart reads the devices.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_engine::take_over::Tally;
use karst_io::buffer::{AlignedBuffer, Region};
use karst_io::shm::{SharedError, SharedFile, boot_id};
use karst_storage::index::{Attach, EntryArena, HashKey, Owner, State};
use karst_storage::log::{LeftBlock, Log, LogConfig, LogMemory, MemoryIdentity};
use parking_lot::Mutex;

use super::claim::Claimed;
use crate::node::{ClusterId, NamespaceState, Node, NodeId};
use crate::restart::Phase;

/// Threads that take an index over.
const THREADS: usize = 4;

/// A memory file system is used only if it has room for as many bytes of index as this part of the
/// machine's memory, or for the whole index if that is less.
const MEMORY_PART: u64 = 4;

/// Index memory that is kept ready beyond what is in use, in bytes, and as a part of that.
const AHEAD_BYTES: usize = 8 << 20;
const AHEAD_PART: usize = 16;

/// How long the thread that keeps it ready rests.
const AHEAD_REST: Duration = Duration::from_millis(20);

/// The folder of one node.
pub(super) struct Folder {
    path: PathBuf,
    boot: [u8; 16],
}

/// What a namespace's memory is to be like.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) cluster: ClusterId,
    pub(super) key: HashKey,
    pub(super) entries_max: u64,
    pub(super) log: &'a LogConfig,
    pub(super) devices: &'a [Claimed],
}

/// The memory of one namespace.
pub(super) struct Memory {
    pub(super) log: Option<LogMemory>,
    pub(super) arena: Arc<EntryArena>,
    pub(super) found: Found,
}

/// What an earlier process left of a namespace.
#[derive(Default)]
pub(super) struct Found {
    /// Its index, if it can be taken over.
    attach: Option<Attach>,
    /// Why it cannot.
    why: String,
    /// Its blocks that are not durable.
    left: Vec<LeftBlock>,
}

impl Found {
    /// Takes over what the log's memory holds.
    pub(super) fn look(&mut self, log: &mut Log) {
        self.left = log.take_over();
    }
}

impl Folder {
    /// Makes the node's folder if it is not there. `None`, and a line in the log, where there can be none:
    /// the node works without.
    pub(super) fn open(shm_dir: Option<&Path>, node: NodeId) -> Option<Folder> {
        let path = shm_dir?.join(format!("karst-{node}"));
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path);
        match made.and_then(|()| boot_id()) {
            Ok(boot) => Some(Folder { path, boot }),
            Err(error) => {
                tracing::warn!(
                    folder = %path.display(), %error,
                    "no memory can be kept beyond the life of the process: every start reads the devices, and \
                     kill -9 loses what was not flushed"
                );
                None
            }
        }
    }

    /// Removes what namespaces left that are no longer configured: it takes memory.
    pub(super) fn tidy(&self, namespaces: &[&str]) {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let namespace = path.file_stem().and_then(|stem| stem.to_str());
            if namespace.is_none_or(|namespace| !namespaces.contains(&namespace)) {
                tracing::info!(file = %path.display(), "removed: its namespace is not configured");
                let _ = fs::remove_file(&path); // it stays and takes memory; nothing else depends on it
            }
        }
    }

    /// The memory of one namespace on devices, as an earlier process left it if that can be trusted.
    ///
    /// # Errors
    /// When not even memory of this process can be had, or another process uses the files.
    pub(super) fn memory(&self, wanted: &Wanted<'_>) -> io::Result<Memory> {
        if let Some(why) = self.too_small(wanted)? {
            tracing::warn!(
                namespace = wanted.name, folder = %self.path.display(), why,
                "the memory file system is too small to keep this namespace's memory beyond the life of the \
                 process: every start reads the devices, and kill -9 loses what was not flushed"
            );
            return Memory::of_process(wanted, why);
        }
        self.shared(wanted).or_else(|error| {
            if let Some(SharedError::InUse { .. }) = error.get_ref().and_then(|error| error.downcast_ref()) {
                return Err(error);
            }
            tracing::warn!(
                namespace = wanted.name, folder = %self.path.display(), %error,
                "memory that outlives the process cannot be had: every start reads the devices, and kill -9 \
                 loses what was not flushed"
            );
            Memory::of_process(wanted, error.to_string())
        })
    }

    fn shared(&self, wanted: &Wanted<'_>) -> io::Result<Memory> {
        let sessions: Vec<u64> = wanted
            .devices
            .iter()
            .filter(|claimed| !claimed.failed) // one that failed takes no superblock any more
            .map(|claimed| claimed.superblock.session)
            .collect();
        let session = sessions.iter().copied().max().unwrap_or(0);
        let together = sessions.iter().all(|other| *other == session);
        // A session that no memory bears, where the devices do not agree on one.
        let session = if together { session } else { u64::MAX };
        let (log, log_why) = self.log(wanted, session)?;
        let (arena, attach, index_why) = self.index(wanted, session)?;
        // An index without the log's memory is of no use: which fill its places are in is not known.
        let (arena, attach) = if attach.is_some() && !log_why.is_empty() {
            drop((arena, attach)); // so that its file can be opened again
            (self.new_index(wanted)?, None)
        } else {
            (arena, attach)
        };
        let found = Found {
            attach,
            why: if log_why.is_empty() {
                index_why
            } else {
                log_why
            },
            left: Vec::new(),
        };
        Ok(Memory {
            log: Some(log),
            arena,
            found,
        })
    }

    fn log(&self, wanted: &Wanted<'_>, session: u64) -> io::Result<(LogMemory, String)> {
        let identity = MemoryIdentity {
            boot: self.boot,
            cluster: wanted.cluster.0,
            session,
        };
        let bytes = LogMemory::bytes(wanted.log);
        let refused = match LogMemory::attach(
            self.region(wanted.name, "log", bytes)?,
            wanted.log,
            &identity,
        ) {
            Ok(memory) => return Ok((memory, String::new())),
            Err(refused) => refused,
        };
        let mut region = self.region(wanted.name, "log", bytes)?;
        region.clear()?;
        Ok((
            LogMemory::create(region, wanted.log, &identity)?,
            refused.to_string(),
        ))
    }

    fn index(
        &self,
        wanted: &Wanted<'_>,
        session: u64,
    ) -> io::Result<(Arc<EntryArena>, Option<Attach>, String)> {
        let region = self.region(
            wanted.name,
            "index",
            EntryArena::region_bytes(wanted.entries_max)?,
        )?;
        match EntryArena::attach(region, wanted.entries_max, &self.owner(wanted), session) {
            Ok(attach) => Ok((attach.arena().clone(), Some(attach), String::new())),
            Err(refused) => Ok((self.new_index(wanted)?, None, refused.to_string())),
        }
    }

    fn new_index(&self, wanted: &Wanted<'_>) -> io::Result<Arc<EntryArena>> {
        let region = self.region(
            wanted.name,
            "index",
            EntryArena::region_bytes(wanted.entries_max)?,
        )?;
        EntryArena::create(region, wanted.entries_max, &self.owner(wanted)).map(Arc::new)
    }

    fn owner<'a>(&self, wanted: &Wanted<'a>) -> Owner<'a> {
        Owner {
            boot_id: self.boot,
            cluster_id: wanted.cluster.0,
            namespace: wanted.name.as_bytes(),
            key: wanted.key,
        }
    }

    fn path(&self, namespace: &str, what: &str) -> PathBuf {
        self.path.join(format!("{namespace}.{what}"))
    }

    fn region(&self, namespace: &str, what: &str, bytes: usize) -> io::Result<Region> {
        let file = SharedFile::open(self.path(namespace, what)).map_err(io::Error::other)?;
        Region::shared(file, bytes)
    }

    /// Why the memory file system is too small, if it is.
    fn too_small(&self, wanted: &Wanted<'_>) -> io::Result<Option<String>> {
        let system = rustix::fs::statvfs(&self.path)?;
        let taken = |what| {
            let found = fs::metadata(self.path(wanted.name, what));
            found.map_or(0, |found| found.blocks() * 512)
        };
        let room = system.f_bavail * system.f_frsize + taken("index") + taken("log");
        let index = wanted
            .entries_max
            .saturating_mul(64)
            .min(super::memory_bytes() / MEMORY_PART);
        let needed = index + LogMemory::bytes(wanted.log) as u64;
        Ok((room < needed).then(|| format!("{room} bytes are free, {needed} are needed")))
    }
}

impl Memory {
    /// Memory of the process alone.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn of_process(wanted: &Wanted<'_>, why: String) -> io::Result<Memory> {
        let arena = EntryArena::new(wanted.entries_max)?;
        // Without huge pages lookups cost a little more; that is all.
        let _ = arena.advise_huge_pages();
        Ok(Memory {
            log: None,
            arena: Arc::new(arena),
            found: Found {
                why,
                ..Found::default()
            },
        })
    }
}

/// What came of an attempt to take a namespace over.
pub(super) enum TakeOver {
    /// It is as the earlier process left it.
    Done,
    /// It has to be recovered from its devices, for this reason.
    NotPossible(String),
    /// It looked sound and was not: what is in memory now is of no use, and the node has to begin anew.
    Spoilt(String),
}

/// Takes a namespace over from memory, as far as it goes, and brings what only memory holds to the devices.
///
/// # Errors
/// When the index finds no room for a record of a block that was not durable.
pub(super) fn take_over(namespace: &NamespaceState, found: Found) -> Result<TakeOver, String> {
    let Found { attach, why, left } = found;
    let Some(attach) = attach else {
        write_left(namespace, left);
        return Ok(TakeOver::NotPossible(why));
    };
    namespace
        .restart
        .begin(Phase::Attach, attach.arena().memory_bytes());
    if let Err(what) = take_index(namespace, &attach) {
        attach.arena().set_state(State::Building);
        return Ok(TakeOver::Spoilt(what));
    }
    for block in &left {
        let seen = namespace.engine.see_left(block);
        seen.map_err(|reason| reason.to_string())?;
    }
    write_left(namespace, left);
    namespace.engine.log().finish_take_over();
    Ok(TakeOver::Done)
}

fn take_index(namespace: &NamespaceState, attach: &Attach) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), String> {
        let mut tally = namespace.engine.tally();
        let taken = take_partitions(namespace, attach, &next, &mut tally);
        namespace.engine.add_tally(&tally);
        taken
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            let joined = thread.join();
            joined.unwrap_or_else(|_| Err("a thread that took the index over panicked".into()))
        })
    })
}

fn take_partitions(
    namespace: &NamespaceState,
    attach: &Attach,
    next: &AtomicUsize,
    tally: &mut Tally,
) -> Result<(), String> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(id) = PartitionId::all().nth(number) else {
            return Ok(());
        };
        let directory = attach.partition(id, |entry| tally.see(entry));
        let directory = directory.map_err(|damaged| damaged.to_string())?;
        let (entries, restart) = (directory.len() as u64, &namespace.restart);
        namespace.engine.take_over_partition(id, directory, tally);
        restart
            .tally
            .entries_loaded
            .fetch_add(entries, Ordering::Relaxed);
        restart.advance(entries * 64);
    }
}

/// Brings blocks to their devices that only memory holds. One that cannot be written takes its device out
/// of use, as any failed write does.
fn write_left(namespace: &NamespaceState, left: Vec<LeftBlock>) {
    let log = namespace.engine.log();
    for block in left {
        let device = &namespace.devices[usize::from(block.id.device.0)];
        if log.device_failed(block.id.device) {
            tracing::error!(
                namespace = namespace.config.name, device = %device.path().display(),
                block = block.id.block,
                "a block that only memory held is of a device that failed: its records are in memory alone"
            );
            log.left_written(block, false);
            continue;
        }
        let (offset, bytes) = log.left_write(&block);
        let mut buffer = AlignedBuffer::with_capacity(bytes.len());
        buffer.as_mut_slice().copy_from_slice(bytes);
        let written = device.write_at_durable(offset, &buffer);
        match &written {
            Ok(()) => tracing::info!(
                namespace = namespace.config.name, device = %device.path().display(),
                block = block.id.block, bytes = bytes.len(),
                "a block that only memory held is on its device"
            ),
            Err(error) => tracing::error!(
                namespace = namespace.config.name, device = %device.path().display(),
                block = block.id.block, ?error,
                "a block that only memory held cannot be written: its records are in memory alone"
            ),
        }
        log.left_written(block, written.is_ok());
    }
}

/// Names a new session on a namespace's devices and in its memory: from here on the memory counts.
///
/// # Errors
/// When a device does not take its superblock.
pub(super) fn begin_session(
    namespace: &NamespaceState,
    claims: &mut [Claimed],
) -> Result<(), super::claim::ClaimError> {
    let session = super::claim::next_session(claims);
    let fills = namespace.engine.log().fills();
    for claimed in claims {
        claimed.begin_session(session, fills)?;
    }
    if let Some(memory) = namespace.engine.log().memory() {
        let arena = namespace.engine.arena();
        arena.set_session(session);
        arena.set_state(State::Serving);
        memory.begin_session(session);
    }
    Ok(())
}

/// Notes in the memory of every namespace that the node stopped in order.
pub(super) fn end_sessions(node: &Node) {
    let shared = node
        .namespaces
        .iter()
        .map(|namespace| namespace.engine.arena());
    for arena in shared.filter(|arena| arena.is_shared()) {
        arena.set_state(State::Stopped);
    }
}

/// A thread that keeps index memory ready, so that no request waits for the system to find some.
pub(super) struct Ahead {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ahead {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(arenas: Vec<Arc<EntryArena>>) -> io::Result<Ahead> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::Builder::new()
            .name("index-memory".into())
            .spawn(move || {
                while !told.load(Ordering::Relaxed) {
                    let more = arenas.iter().filter(|arena| arena.is_shared()).fold(
                        false,
                        |more, arena| {
                            let in_use = arena.memory_bytes() as usize;
                            // A full file system is met again by the insert that wants more, which says so.
                            more | arena
                                .prepare_ahead(AHEAD_BYTES + in_use / AHEAD_PART)
                                .unwrap_or(false)
                        },
                    );
                    if !more {
                        std::thread::sleep(AHEAD_REST);
                    }
                }
            })?;
        Ok(Ahead {
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join(); // it cannot panic, and there is nothing left for it to do
        }
    }
}

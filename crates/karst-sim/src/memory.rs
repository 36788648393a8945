//! Memory that outlives the process, and a kill of the process that uses it.
//!
//! Index and log lie in files of a memory file system, as a node's do. A kill is played by copying the
//! files as they are between two calls of the engine; the copy is what the next process finds, whatever
//! the destructors of this one still do to the original. A kill in the midst of a store cannot be played
//! so: tests of `karst_storage::index` cut there. When power goes there is nothing to be found.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use karst_data::key::PartitionId;
use karst_engine::Namespace;
use karst_io::buffer::Region;
use karst_io::shm::SharedFile;
use karst_storage::index::{Attach, EntryArena, HashKey, Owner};
use karst_storage::log::{LeftBlock, Log, LogConfig, LogMemory, MemoryIdentity};

use crate::check::Violation;
use crate::disk::Disk;

/// The cluster, everywhere in here.
pub const CLUSTER: [u8; 16] = *b"karst simulation";

/// The boot of the machine. After a power cut there is no memory that could bear another.
const BOOT: [u8; 16] = [7; 16];

/// Folders that this process has made, so that no two worlds share one.
static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// The files of one namespace. Gone when dropped.
pub struct Memory {
    folder: PathBuf,
    life: u64,
}

/// What a process begins with.
pub struct Begun {
    /// The log, its blocks known if there was memory of them.
    pub log: Log,
    /// The index's memory.
    pub arena: Arc<EntryArena>,
    /// The index that was left, if it can be taken over.
    pub attach: Option<Attach>,
    /// Blocks that were not durable.
    pub left: Vec<LeftBlock>,
}

fn broken(what: impl ToString) -> Violation {
    Violation::new("memory", what.to_string())
}

impl Memory {
    /// Nothing yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Memory> {
        let shm = PathBuf::from("/dev/shm");
        let parent = if shm.is_dir() {
            shm
        } else {
            std::env::temp_dir()
        };
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("karst-sim-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Memory { folder, life: 0 })
    }

    fn path(&self, life: u64, what: &str) -> PathBuf {
        self.folder.join(format!("{life}.{what}"))
    }

    fn region(&self, what: &str, bytes: usize) -> io::Result<Region> {
        let file = SharedFile::open(self.path(self.life, what)).map_err(io::Error::other)?;
        Region::shared(file, bytes)
    }

    /// The process is killed: the next one finds what is there now.
    ///
    /// # Errors
    /// What the system says.
    pub fn outlive_kill(&mut self) -> io::Result<()> {
        self.life += 1;
        for what in ["index", "log"] {
            fs::copy(self.path(self.life - 1, what), self.path(self.life, what))?;
        }
        Ok(())
    }

    /// Power goes: the next process finds nothing.
    pub fn lose(&mut self) {
        self.life += 1;
    }

    /// The files of earlier lives go, once nobody has them open.
    pub fn tidy(&self) {
        for what in ["index", "log"] {
            // The first life has no earlier one, and a lost one left no files.
            let _ = fs::remove_file(self.path(self.life.wrapping_sub(1), what));
        }
    }

    /// Opens log and index as boot does: taken over if they are of this session, new otherwise.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn begin(
        &self,
        config: LogConfig,
        entries_max: u64,
        key: HashKey,
        session: u64,
    ) -> Result<Begun, Violation> {
        let identity = MemoryIdentity {
            boot: BOOT,
            cluster: CLUSTER,
            session,
        };
        let owner = Owner {
            boot_id: BOOT,
            cluster_id: CLUSTER,
            namespace: b"sim",
            key,
        };
        let bytes = LogMemory::bytes(&config);
        let region = self.region("log", bytes).map_err(broken)?;
        let attached = LogMemory::attach(region, &config, &identity).ok();
        let (memory, is_known) = match attached {
            Some(memory) => (memory, true),
            None => {
                let mut region = self.region("log", bytes).map_err(broken)?;
                region.clear().map_err(broken)?;
                (
                    LogMemory::create(region, &config, &identity).map_err(broken)?,
                    false,
                )
            }
        };
        let mut log = Log::with_memory(config, Some(memory)).map_err(broken)?;
        let left = log.take_over();
        let bytes = EntryArena::region_bytes(entries_max).map_err(broken)?;
        let region = self.region("index", bytes).map_err(broken)?;
        let attach = EntryArena::attach(region, entries_max, &owner, session);
        // An index without the log's memory is of no use: which fill its places are in is not known.
        let (arena, attach) = match attach.ok().filter(|_| is_known) {
            Some(attach) => (attach.arena().clone(), Some(attach)),
            None => {
                let region = self.region("index", bytes).map_err(broken)?;
                let arena = EntryArena::create(region, entries_max, &owner).map_err(broken)?;
                (Arc::new(arena), None)
            }
        };
        Ok(Begun {
            log,
            arena,
            attach,
            left,
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // it is in memory and goes with the machine at the latest
    }
}

/// Takes the index over, partition by partition.
///
/// # Errors
/// When an entry cannot be one of this namespace.
pub fn take_index(namespace: &Namespace, attach: &Attach) -> Result<(), Violation> {
    let mut tally = namespace.tally();
    for id in PartitionId::all() {
        let directory = attach.partition(id, |entry| tally.see(entry));
        namespace.take_over_partition(id, directory.map_err(broken)?, &mut tally);
    }
    namespace.add_tally(&tally);
    Ok(())
}

/// Brings blocks to their devices that only memory held.
pub fn write_left(namespace: &Namespace, left: Vec<LeftBlock>, disk: &mut Disk) {
    for block in left {
        let (offset, bytes) = namespace.log().left_write(&block);
        let offset = offset as usize;
        let device = usize::from(block.id.device.0);
        disk.bytes_mut(device)[offset..offset + bytes.len()].copy_from_slice(bytes);
        namespace.log().left_written(block, true);
    }
}

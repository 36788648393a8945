//! The configuration as the node uses it: every value typed, ranged and agreeing with the others.
//!
//! Made by `check` alone. Plain data: a change after loading is the business of whoever holds it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use karst_storage::watermark::Limits;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This node.
    pub node: Node,
    /// Its logs.
    pub log: Log,
    /// The client protocol.
    pub service: Service,
    /// Node to node.
    pub fabric: Door,
    /// gRPC: raft, admin, map watch.
    pub admin: Door,
    /// Metrics, health, console.
    pub http: Door,
    /// The cluster it belongs to.
    pub cluster: Cluster,
    /// At least one, in the order written, names distinct.
    pub namespaces: Vec<Namespace>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the cluster; the host name by default. 1 to 63 printable ASCII characters.
    pub name: String,
    /// Node id, raft log, user functions. Created at boot if missing.
    pub data_dir: PathBuf,
    /// Data cores; 0 means one per CPU.
    pub cores: u32,
    /// Failure domain.
    pub rack: u32,
    /// What carries device reads and writes.
    pub io: IoChoice,
    /// Most index entries of the whole node; `None` is bounded by memory alone.
    pub index_entries_max: Option<u64>,
    /// Folder of a memory file system that keeps indexes and open write blocks beyond the life of the
    /// process; `None` keeps them in the process.
    pub shm_dir: Option<PathBuf>,
}

/// What carries device reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where the kernel grants it, threads otherwise.
    Auto,
    /// io_uring, or the node does not start.
    Ring,
    /// Threads.
    Threads,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A level or per-module filters, known to be well formed.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[service]`
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Where clients connect; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What clients are told to connect to.
    pub advertise: Advertise,
    /// Client connections beyond this are closed at once. At least 1.
    pub connections_max: u32,
    /// A connection silent for this long is closed; `None` never closes one.
    pub idle_timeout: Option<Duration>,
}

/// Addresses told to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// The listening address, or this host's own where that is a wildcard.
    Auto,
    /// These; at least one.
    Addresses(Vec<HostPort>),
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address without brackets; never empty.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `[fabric]`, `[admin]`, `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Equal on every node. 1 to 63 printable ASCII characters.
    pub name: String,
    /// Where others may be: addresses of gRPC doors. This node's own may be among them.
    pub seeds: Vec<HostPort>,
    /// Fresh nodes that form a cluster together, this one included. At least 1.
    pub bootstrap_expect: u32,
    /// Silence after which a node counts as dead.
    pub suspect_after: Duration,
    /// Bytes a second that a node sends to others to fill them; `None` is as fast as clients allow.
    pub fill_rate: Option<u64>,
    /// How long a node that is told to stop may take to let others lead what it holds; zero is not at all.
    pub drain_on_stop: Duration,
}

impl Cluster {
    /// Whether a fresh node is a cluster of its own from the start.
    pub fn is_alone(&self) -> bool {
        self.seeds.is_empty() && self.bootstrap_expect == 1
    }
}

/// `[[namespace]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// 1 to 31 letters, digits, `_`, `-` or `$`.
    pub name: String,
    /// Its promise when nodes cannot talk.
    pub mode: Mode,
    /// Copies of each record aimed at; capped by the number of nodes. At least 1.
    pub replication_factor: u8,
    /// Complete copies below which a strongly consistent namespace takes no writes. At least 1.
    pub min_in_sync: u8,
    /// How long records live, when they are evicted, and when writes stop.
    pub life: Life,
    /// Largest stored record in bytes; fits a write block together with the block's own header.
    pub max_record_size: u64,
    /// Records a second that a query in the background changes at most.
    pub background_rps_max: u32,
    /// Where its records live.
    pub storage: Storage,
}

/// How long a namespace's records live, when they are evicted, and when writes stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Longest life that a writer may ask for, whole seconds.
    pub max_ttl: Duration,
    /// Life of a record whose writer gives none, whole seconds; `None` is for ever.
    pub default_ttl: Option<Duration>,
    /// Whether a write may make a record's life shorter.
    pub apply_ttl_reductions: bool,
    /// At which percent of its life's end a read renews a record; 0 is not at all.
    pub read_touch_percent: u8,
    /// How often what is gone is swept.
    pub sweep_period: Duration,
    /// How much one eviction takes, in tenths of a percent of the records that may be evicted.
    pub evict_tenths_percent: u32,
    /// How finely void times are told apart for it.
    pub evict_histogram_buckets: usize,
    /// From when on to evict, and to refuse writes; 0 is never.
    pub limits: Limits,
    /// Sets with rules of their own, names distinct.
    pub sets: Vec<SetLife>,
}

/// `[[namespace.set]]`
#[derive(Clone, Debug, PartialEq)]
pub struct SetLife {
    /// 1 to 63 bytes.
    pub name: String,
    /// As [`Life::default_ttl`], zero being for ever; `None` is the namespace's.
    pub default_ttl: Option<Duration>,
    /// As [`Life::read_touch_percent`]; `None` is the namespace's.
    pub read_touch_percent: Option<u8>,
    /// Its records are never evicted.
    pub disable_eviction: bool,
    /// Records from which on no new one is taken; 0 is any number.
    pub stop_writes_count: u64,
    /// Bytes from which on no write is taken; 0 is any number.
    pub stop_writes_bytes: u64,
}

/// A namespace's promise when nodes cannot talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Available: every reachable replica serves.
    Ap,
    /// Strongly consistent: what was acknowledged outlives any fault, and reads never go back.
    Cp,
}

/// `[namespace.storage]`
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// What holds the log.
    pub engine: Engine,
    /// Unit of writing and of reclaiming, in bytes: a power of two.
    pub write_block: u64,
    /// Whether a reply waits for a durable write.
    pub commit_to_device: bool,
    /// A block that does not fill is flushed after this long.
    pub flush_max: Duration,
    /// Blocks with less live data than this are emptied; 1 to 99.
    pub defrag_low_water_percent: u8,
    /// How records are compressed.
    pub compression: Compression,
    /// Holds the key with which devices are encrypted; they are not without.
    pub encryption_key_file: Option<PathBuf>,
    /// Whether records are read from devices through the system's page cache.
    pub read_page_cache: bool,
    /// Bytes of recently written blocks kept for reads.
    pub post_write_cache: u64,
    /// Bytes a second that the scrub reads; `None` when it is off, as it is in memory.
    pub scrub_rate: Option<u64>,
    /// Time between checkpoints of the index; `None` when there are to be none.
    pub checkpoint_period: Option<Duration>,
}

/// What holds a namespace's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Block devices or files, read and written past the page cache.
    Device {
        /// At least one, paths distinct across the whole configuration.
        devices: Vec<Device>,
        /// Whether all of it is kept in memory too: `engine = "memory"` with devices.
        resident: bool,
    },
    /// The same log in memory.
    Memory {
        /// Most bytes of log; a whole number of write blocks.
        size: u64,
    },
}

/// One of `devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// A block device or a file.
    pub path: PathBuf,
    /// Bytes to use; a whole number of write blocks. `None` takes a block device, or a file that
    /// already exists, as large as it is.
    pub size: Option<u64>,
    /// Unit of writes in bytes, where it is to be larger than the device's own.
    pub sector_size: Option<u32>,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By LZ4.
    Lz4,
    /// By Zstandard, at this level.
    Zstd(u8),
}

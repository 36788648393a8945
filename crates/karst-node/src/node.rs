//! The node's shared state: what every door may look at.
//!
//! Made once at boot and never replaced; what changes in it are counters, the state, and marks that
//! have their own locks. Nothing here does I/O.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use karst_data::time::Now;
use karst_engine::Namespace;
use karst_io::device::Device;
use karst_io::{QueueKind, clock};
use karst_storage::watermark::Limits;
use parking_lot::Mutex;

use crate::checkpoint;
use crate::config::{self, Config, HostPort};
use crate::control::Cluster;
use crate::core::histograms::Histograms;
use crate::core::latencies::Slices;
use crate::counters::CoreCounters;
use crate::fabric_port::fill::Repairs;
use crate::fabric_port::lag::Lags;
use crate::failures::Failures;
use crate::island::Hearing;
use crate::jobs::Jobs;
use crate::limits;
use crate::marks::Marks;
use crate::migrations::Migrations;
use crate::restart::Restart;
use crate::sight::Sights;
use crate::udf::{Functions, Turns};
use crate::user_agents::UserAgents;

pub use karst_cluster::node::{ClusterId, NodeId};

/// Whether the node serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Recovering its devices.
    Starting = 0,
    /// Serving clients.
    Serving = 1,
    /// Finishing what it has before it stops.
    Draining = 2,
}

/// Where the doors are, as bound.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Client protocol.
    pub service: SocketAddr,
    /// gRPC.
    pub admin: SocketAddr,
    /// Metrics and health.
    pub http: SocketAddr,
    /// Node to node.
    pub fabric: SocketAddr,
    /// What clients are told to connect to; never empty.
    pub advertised: Vec<HostPort>,
}

/// What carries device reads and writes.
#[derive(Clone, Debug)]
pub struct IoReport {
    /// The queue in use.
    pub kind: QueueKind,
    /// Why io_uring is not used although it was allowed.
    pub fallback_reason: Option<String>,
}

/// One namespace of the node.
pub struct NamespaceState {
    /// What the configuration says.
    pub config: config::Namespace,
    /// What holds now of the part of it that may change.
    pub life: Live,
    /// Its records.
    pub engine: Namespace,
    /// Its devices in the order of the configuration; none for the memory engine.
    pub devices: Vec<Arc<Device>>,
    /// The same once more, to be read through the page cache; none unless that is wanted.
    pub cached: Vec<Arc<Device>>,
    /// How it came up.
    pub restart: Restart,
    /// What is known of its checkpoints.
    pub checkpoint: checkpoint::State,
    /// What sweeps and surveys of it came to.
    pub upkeep: Upkeep,
}

/// Settings of a namespace that may change while the node runs. A change is gone with the process: what a node starts
/// with is in its configuration.
pub struct Live {
    now: ArcSwap<config::Life>,
    changing: Mutex<()>,
}

impl Live {
    /// What the configuration says, to begin with.
    pub fn new(life: config::Life) -> Live {
        Live {
            now: ArcSwap::from_pointee(life),
            changing: Mutex::new(()),
        }
    }
}

impl NamespaceState {
    /// How long records live, when they are evicted and when writes stop, as of now.
    pub fn life(&self) -> Arc<config::Life> {
        self.life.now.load_full()
    }

    /// From when on to evict, and to refuse writes, as of now.
    pub fn limits(&self) -> Limits {
        self.life.now.load().limits
    }

    /// Changes these settings, all at once; `change` makes the new ones from those of now.
    ///
    /// # Errors
    /// What `change` says: then nothing has changed.
    pub fn change_life<E>(
        &self,
        change: impl FnOnce(&config::Life) -> Result<config::Life, E>,
    ) -> Result<(), E> {
        let _changing = self.life.changing.lock();
        let life = change(&self.life())?;
        self.engine.set_life(&limits::engine_life(&life));
        let log = self.engine.log();
        log.set_live_percent_max(life.limits.stop_used_percent);
        self.life.now.store(Arc::new(life));
        Ok(())
    }
}

/// What sweeps and surveys of a namespace came to.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// How long the last whole sweep took on its slowest core, rests included, in ms.
    pub sweep_ms: AtomicU64,
    /// Part of the records that the last whole sweep removed, in tenths of a percent.
    pub swept_tenths_percent: AtomicU64,
    /// Histograms of the records, and what asks for new ones.
    pub histograms: Histograms,
    /// Regimes of partitions that this node leads which the cluster activated.
    pub activations: AtomicU64,
}

/// See [the module](self).
pub struct Node {
    /// The effective configuration.
    pub config: Config,
    /// Who this node is.
    pub id: NodeId,
    /// Which cluster it is in.
    pub cluster_id: ClusterId,
    /// What is known of that cluster.
    pub cluster: Cluster,
    /// Its namespaces in the order of the configuration.
    pub namespaces: Vec<NamespaceState>,
    /// Counters of each data core.
    pub cores: Vec<Arc<CoreCounters>>,
    /// Where its doors are.
    pub doors: Doors,
    /// What carries device reads and writes.
    pub io: IoReport,
    /// Truncation marks, kept in `data_dir`.
    pub marks: Marks,
    /// Devices that failed, kept there too.
    pub failures: Failures,
    /// Who is connected, by the clients' own account.
    pub user_agents: UserAgents,
    /// Time since boot at which the node began to serve, in microseconds.
    pub started_boot_us: u64,
    /// What it sees of its cluster.
    pub sights: Sights,
    /// Nodes that missed a write.
    pub repairs: Repairs,
    /// Who answers on the fabric.
    pub hearing: Hearing,
    /// Copies on their way.
    pub migrations: Migrations,
    /// Records that other nodes have not confirmed yet.
    pub lags: Lags,
    /// Where user-defined functions run.
    pub functions: Functions,
    /// How long requests took lately.
    pub latencies: Slices,
    /// Whose turn it is to have a function run on a record.
    pub turns: Turns,
    /// Long queries.
    pub jobs: Jobs,
    state: AtomicU8,
    /// Memory of the machine in use, in percent; [`UNKNOWN_PERCENT`] where it cannot be told.
    memory_percent: AtomicU64,
}

const UNKNOWN_PERCENT: u64 = u64::MAX;

/// What [`Node::new`] is made from.
pub struct Parts {
    /// The effective configuration.
    pub config: Config,
    /// Who this node is.
    pub id: NodeId,
    /// Which cluster it is in.
    pub cluster_id: ClusterId,
    /// What is known of that cluster.
    pub cluster: Cluster,
    /// Its namespaces.
    pub namespaces: Vec<NamespaceState>,
    /// Number of data cores.
    pub cores: usize,
    /// Where its doors are.
    pub doors: Doors,
    /// What carries device reads and writes.
    pub io: IoReport,
    /// Truncation marks.
    pub marks: Marks,
    /// Devices that failed.
    pub failures: Failures,
}

impl Node {
    /// A node that is starting.
    pub fn new(parts: Parts) -> Arc<Node> {
        let namespaces = parts.namespaces.len();
        let names = parts.namespaces.iter();
        let names = names.map(|namespace| namespace.config.name.clone());
        Arc::new(Node {
            sights: Sights::new(parts.id, parts.cluster.me().incarnation, names.collect()),
            repairs: Repairs::default(),
            hearing: Hearing::default(),
            migrations: Migrations::default(),
            lags: Lags::default(),
            functions: Functions::new(parts.cores),
            latencies: Slices::default(),
            turns: Turns::default(),
            jobs: Jobs::default(),
            config: parts.config,
            id: parts.id,
            cluster_id: parts.cluster_id,
            cluster: parts.cluster,
            namespaces: parts.namespaces,
            cores: (0..parts.cores)
                .map(|_| Arc::new(CoreCounters::new(namespaces)))
                .collect(),
            doors: parts.doors,
            io: parts.io,
            marks: parts.marks,
            failures: parts.failures,
            user_agents: UserAgents::default(),
            started_boot_us: clock::boot_us(),
            state: AtomicU8::new(State::Starting as u8),
            memory_percent: AtomicU64::new(UNKNOWN_PERCENT),
        })
    }

    /// Whether the node serves.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Serving,
            _ => State::Draining,
        }
    }

    /// Moves on; a state is never returned to.
    pub fn set_state(&self, state: State) {
        self.state.fetch_max(state as u8, Ordering::AcqRel);
    }

    /// Memory of the machine, or the container, in use, in percent.
    pub fn memory_percent(&self) -> Option<u64> {
        let percent = self.memory_percent.load(Ordering::Relaxed);
        (percent != UNKNOWN_PERCENT).then_some(percent)
    }

    /// Notes how much of the memory is in use.
    pub fn set_memory_percent(&self, percent: Option<u64>) {
        self.memory_percent
            .store(percent.unwrap_or(UNKNOWN_PERCENT), Ordering::Relaxed);
    }

    /// The namespace of this name and its position.
    pub fn namespace(&self, name: &[u8]) -> Option<(usize, &NamespaceState)> {
        self.namespaces
            .iter()
            .enumerate()
            .find(|(_, namespace)| namespace.config.name.as_bytes() == name)
    }

    /// Seconds since the node began to serve.
    pub fn uptime_s(&self) -> u64 {
        clock::boot_us().saturating_sub(self.started_boot_us) / 1_000_000
    }
}

/// Where a node will be: doors that are open before it is made look here.
#[derive(Clone, Default)]
pub struct NodeSlot(Arc<OnceLock<Arc<Node>>>);

impl NodeSlot {
    /// The node, once it is made.
    pub fn get(&self) -> Option<&Arc<Node>> {
        self.0.get()
    }

    /// Puts the node there. Only the first one counts.
    pub fn fill(&self, node: Arc<Node>) {
        let _ = self.0.set(node);
    }
}

impl From<Arc<Node>> for NodeSlot {
    fn from(node: Arc<Node>) -> NodeSlot {
        let slot = NodeSlot::default();
        slot.fill(node);
        slot
    }
}

/// The present, as decisions want it.
pub fn now() -> Now {
    Now::from_unix_ms(clock::wall_ms())
}

/// Files that the node keeps in its `data_dir`.
#[derive(Clone, Debug)]
pub struct DataDir(pub PathBuf);

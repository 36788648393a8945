//! Start and stop of a node, in order.
//!
//! ```text
//! identity, marks -> doors bound, http answers -> control plane: gRPC door, the cluster's id
//!   -> devices opened and claimed -> what an earlier process left in shared memory is taken over, or recovery: devices to index
//!      (/readyz answers 503) -> what it was letting go of is gone -> sessions begin -> data cores -> clients accepted, serving
//! signal -> others lead what this node holds (`leave`) -> draining: no new clients -> cores flush what they hold -> last checkpoints -> control plane
//!   ends -> exit
//! ```
//!
//! A node that is in no cluster yet touches no device: which cluster may claim it is not known.

pub mod claim;
mod cores;
pub mod key;
mod recovery;
mod warm;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use karst_cluster::node::{NamespaceFacts, NodeFacts};
use karst_engine::{Namespace, NamespaceConfig};
use karst_io::device::{Device, OpenOptions};
use karst_io::{Queue, QueueChoice, clock};
use karst_storage::index::HashKey;
use karst_storage::log::codec::{Codec, Compression, MasterKey};
use karst_storage::log::{DeviceGeometry, Log, LogConfig};
use karst_storage::place::DeviceId;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{self, Advertise, Config, Engine, HostPort, IoChoice};
use crate::control::{self, Cluster, Control, ControlError};
use crate::data_dir::{self, Identity};
use crate::fabric_port::{door, let_go};
use crate::failures::Failures;
use crate::marks::Marks;
use crate::node::{ClusterId, Doors, IoReport, Live, NamespaceState, Node, NodeSlot, Parts, State};
use crate::restart::{Outcome, Way};
use crate::{
    checkpoint, client_port, http, island, leave, limits, memory, migrations, sight, trust,
};

/// Operations that one core's device queue holds at once.
pub const QUEUE_DEPTH: u32 = 256;

/// Connections that the kernel takes before they are looked at.
const BACKLOG: u32 = 1024;

/// Why a node does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file or folder of the node.
    #[error("{what}: {error}")]
    File {
        /// Which, and what was tried.
        what: String,
        /// What went wrong.
        error: io::Error,
    },
    /// A door that cannot be opened.
    #[error("{door} cannot listen on {address}: {error}")]
    Door {
        /// Which.
        door: &'static str,
        /// Where.
        address: SocketAddr,
        /// What went wrong.
        error: io::Error,
    },
    /// A device that cannot be used.
    #[error("namespace {namespace}: {error}")]
    Device {
        /// Whose device.
        namespace: String,
        /// What is wrong.
        error: claim::ClaimError,
    },
    /// A key that cannot be had.
    #[error("namespace {namespace}: {error}")]
    Key {
        /// Whose.
        namespace: String,
        /// What is wrong.
        error: key::KeyError,
    },
    /// A namespace that cannot be laid out.
    #[error("namespace {namespace}: {error}")]
    Layout {
        /// Which.
        namespace: String,
        /// What is wrong.
        error: karst_storage::log::LayoutError,
    },
    /// Recovery found more than the index can hold, or could not read a device.
    #[error("namespace {namespace}: recovery stopped: {what}")]
    Recovery {
        /// Which.
        namespace: String,
        /// Why.
        what: String,
    },
    /// A data core or its device queue cannot be set up.
    #[error("data cores cannot start: {0}")]
    Cores(io::Error),
    /// The control plane.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Memory that looked sound was not. It is marked as such, and what of it was put into the index is of
    /// no use: the node has to begin anew.
    #[error("namespace {namespace}: {what}")]
    Spoilt {
        /// Which.
        namespace: String,
        /// What is wrong.
        what: String,
    },
}

fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> BootError {
    let what = what.into();
    move |error| BootError::File { what, error }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting; nothing is left running then.
pub fn run(config: Config) -> Result<(), BootError> {
    loop {
        match run_once(config.clone()) {
            // What is spoilt is not taken over again, so this ends.
            Err(BootError::Spoilt { namespace, what }) => tracing::error!(
                namespace,
                what,
                "the index in shared memory is given up: the devices are read instead"
            ),
            ended => return ended,
        }
    }
}

fn run_once(config: Config) -> Result<(), BootError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BootError::Cores)?
        .block_on(start(config))
}

/// Starts the control plane, and the rest of the node once its cluster is known.
async fn start(config: Config) -> Result<(), BootError> {
    let data_dir = config.node.data_dir.clone();
    let identity = data_dir::identity(&data_dir, config.cluster.is_alone())
        .map_err(file(format!("data folder {}", data_dir.display())))?;
    let bound = Bound::open(&config).await?;
    let (slot, stop) = (NodeSlot::default(), watch::channel(false).0);
    tokio::spawn(report(
        "http",
        http::serve(slot.clone(), bound.http, until(stop.subscribe())),
    ));
    let control = control_start(&config, &identity, &bound.doors);
    let admin = bound.admin.into_std().map_err(BootError::Cores)?;
    let mut control = Control::start(control, admin, slot.clone())?;
    let mut told = std::pin::pin!(told_to_stop());
    // Signals end the process by themselves until they are first waited for: a recovery ends at once. A node
    // that looks for others may do so for long, and ends as it should.
    let formed = tokio::select! {
        formed = control.formed() => Some(formed),
        () = &mut told, if identity.cluster.is_none() => None,
    };
    let ran = match formed {
        None => Ok(()),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(cluster)) => {
            let cluster = (cluster, control.cluster().clone());
            match prepare(config, identity, cluster, bound.doors).await {
                Ok(ready) => {
                    let data = (bound.service, bound.fabric);
                    serve(ready, data, slot, &stop, told).await
                }
                Err(error) => Err(error),
            }
        }
    };
    let _ = tokio::task::spawn_blocking(|| control.end()).await;
    ran
}

/// Resolves when told so.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// The doors, bound before anything else: what others are told of this node names them.
struct Bound {
    service: Reserved,
    admin: TcpListener,
    http: TcpListener,
    fabric: Reserved,
    doors: Doors,
}

/// An address at which nobody is let in yet. Were it listened at, the kernel would let clients connect and keep what
/// they ask: they would wait instead of asking another node, and a write that its client gave up long ago would
/// be carried out once this node serves.
struct Reserved {
    door: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

impl Reserved {
    fn at(door: &'static str, at: SocketAddr) -> Result<Reserved, BootError> {
        let open = || {
            let socket = match at {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?; // the connections of an earlier process may not have faded yet
            socket.bind(at)?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = open().map_err(|error| BootError::Door {
            door,
            address: at,
            error,
        })?;
        Ok(Reserved {
            door,
            address,
            socket,
        })
    }

    fn listen(self) -> Result<TcpListener, BootError> {
        let (door, address) = (self.door, self.address);
        let listener = self.socket.listen(BACKLOG);
        listener.map_err(|error| BootError::Door {
            door,
            address,
            error,
        })
    }
}

impl Bound {
    async fn open(config: &Config) -> Result<Bound, BootError> {
        let service = Reserved::at("service", config.service.listen)?;
        let admin = bind("admin", config.admin.listen).await?;
        let http = bind("http", config.http.listen).await?;
        let fabric = Reserved::at("fabric", config.fabric.listen)?;
        let doors = Doors {
            advertised: advertised(&config.service.advertise, service.address),
            service: service.address,
            admin: address(&admin),
            http: address(&http),
            fabric: fabric.address,
        };
        Ok(Bound {
            service,
            admin,
            http,
            fabric,
            doors,
        })
    }
}

fn control_start(config: &Config, identity: &Identity, doors: &Doors) -> control::Start {
    let cluster = &config.cluster;
    control::Start {
        data_dir: config.node.data_dir.clone(),
        known_cluster: identity.cluster,
        cluster_name: cluster.name.clone(),
        seeds: cluster.seeds.iter().map(HostPort::to_string).collect(),
        expect: cluster.bootstrap_expect as usize,
        suspect_after: cluster.suspect_after,
        me: facts(config, identity, doors),
        planner: control::available_planner(),
    }
}

/// What this node tells the others of itself.
fn facts(config: &Config, identity: &Identity, doors: &Doors) -> NodeFacts {
    let namespaces = config.namespaces.iter();
    let namespaces = namespaces.map(|namespace| NamespaceFacts {
        name: namespace.name.clone(),
        replication_factor: namespace.replication_factor,
        volatile: matches!(namespace.storage.engine, Engine::Memory { .. }),
        strong: namespace.mode == config::Mode::Cp,
    });
    NodeFacts {
        id: identity.node,
        incarnation: clock::wall_ms(),
        name: config.node.name.clone(),
        fabric: reachable(doors.fabric),
        control: reachable(doors.admin),
        service: doors.advertised.iter().map(HostPort::to_string).collect(),
        rack: config.node.rack,
        namespaces: namespaces.collect(),
    }
}

/// Where others reach a door of this node.
fn reachable(bound: SocketAddr) -> String {
    let all = advertised(&Advertise::Auto, bound);
    all.first().map(HostPort::to_string).unwrap_or_default()
}

/// Claims the devices and lays out the namespaces, beside the runtime: it may take long.
async fn prepare(
    config: Config,
    identity: Identity,
    (cluster_id, cluster): (ClusterId, Cluster),
    doors: Doors,
) -> Result<Start, BootError> {
    let prepared = tokio::task::spawn_blocking(move || {
        let data_dir = &config.node.data_dir;
        if identity.cluster != Some(cluster_id) {
            let joined = Identity {
                cluster: Some(cluster_id),
                ..identity
            };
            data_dir::keep(data_dir, &joined).map_err(file("identity"))?;
        }
        let marks = Marks::load(data_dir).map_err(file("truncation marks"))?;
        let failures = Failures::load(data_dir).map_err(file("failed devices"))?;
        let cores = core_count(&config);
        let opened = open_all(&config, cluster_id, &failures)?;
        let io = probe(&config, &opened)?;
        let (namespaces, pending) =
            namespaces(&config, &identity, cluster_id, opened, cores, &marks)?;
        let parts = Parts {
            id: identity.node,
            cluster_id,
            cluster,
            cores: usize::from(cores),
            config,
            namespaces,
            doors,
            io,
            marks,
            failures,
        };
        Ok::<_, BootError>(Start { parts, pending })
    });
    let prepared = prepared.await;
    prepared.map_err(|error| BootError::Cores(io::Error::other(error)))?
}

fn core_count(config: &Config) -> u16 {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    match config.node.cores {
        0 => u16::try_from(available).unwrap_or(u16::MAX),
        cores => u16::try_from(cores).unwrap_or(u16::MAX),
    }
}

/// A namespace whose devices are open and known to be its own.
struct Opened {
    config: config::Namespace,
    devices: Vec<claim::Claimed>,
    /// The same devices once more, to be read through the page cache, if that is wanted.
    cached: Vec<Arc<Device>>,
    key: Option<MasterKey>,
}

fn open_all(
    config: &Config,
    cluster: ClusterId,
    failures: &Failures,
) -> Result<Vec<Opened>, BootError> {
    let open = |namespace: &config::Namespace| {
        let key_file = namespace.storage.encryption_key_file.as_deref();
        let key = key_file.map(key::load).transpose();
        let key = key.map_err(|error| BootError::Key {
            namespace: namespace.name.clone(),
            error,
        })?;
        if namespace.mode == config::Mode::Cp && claim::are_emptied(namespace) {
            let noted = trust::note_loss(&config.node.data_dir, &namespace.name);
            noted.map_err(file("mark of a loss"))?; // behind this it cannot be seen any more
        }
        let claimed = claim::claim_all(namespace, cluster, failures, key.as_ref());
        let devices = claimed.map_err(|error| BootError::Device {
            namespace: namespace.name.clone(),
            error,
        })?;
        let cached = open_cached(namespace, &devices)?;
        Ok(Opened {
            config: namespace.clone(),
            devices,
            cached,
            key,
        })
    };
    config.namespaces.iter().map(open).collect()
}

/// Opens the devices of a namespace once more, through the page cache, if it wants that.
fn open_cached(
    namespace: &config::Namespace,
    devices: &[claim::Claimed],
) -> Result<Vec<Arc<Device>>, BootError> {
    if !namespace.storage.read_page_cache {
        return Ok(Vec::new());
    }
    let how = OpenOptions {
        direct: false,
        lock: false, // the direct one holds it
        read_only: true,
        ..OpenOptions::default()
    };
    let open = |claimed: &claim::Claimed| {
        let opened = Device::open(claimed.device.path(), &how);
        opened.map(Arc::new).map_err(|error| BootError::Device {
            namespace: namespace.name.clone(),
            error: error.into(),
        })
    };
    devices.iter().map(open).collect()
}

/// Finds out which device queue works here.
fn probe(config: &Config, opened: &[Opened]) -> Result<IoReport, BootError> {
    let choice = match config.node.io {
        IoChoice::Auto => QueueChoice::Auto,
        IoChoice::Ring => QueueChoice::Ring,
        IoChoice::Threads => QueueChoice::Threads,
    };
    let devices = all_devices(opened.iter().flat_map(|namespace| {
        let direct = namespace.devices.iter().map(|claimed| &claimed.device);
        direct.chain(&namespace.cached)
    }));
    let (queue, refused) = Queue::probe(choice, QUEUE_DEPTH, &devices).map_err(BootError::Cores)?;
    let fallback_reason = refused.map(|refused| refused.to_string());
    if let Some(reason) = &fallback_reason {
        tracing::warn!(
            reason,
            "io_uring is not available: devices are read by threads instead"
        );
    }
    Ok(IoReport {
        kind: queue.kind(),
        fallback_reason,
    })
}

fn all_devices<'a>(devices: impl Iterator<Item = &'a Arc<Device>>) -> Vec<Arc<Device>> {
    devices.cloned().collect()
}

/// What of a namespace's start is left to be done once the doors are open.
struct Pending {
    claims: Vec<claim::Claimed>,
    found: warm::Found,
}

fn namespaces(
    config: &Config,
    identity: &Identity,
    cluster: ClusterId,
    opened: Vec<Opened>,
    cores: u16,
    marks: &Marks,
) -> Result<(Vec<NamespaceState>, Vec<Pending>), BootError> {
    let folder = warm::Folder::open(config.node.shm_dir.as_deref(), identity.node);
    let names: Vec<&str> = opened.iter().map(|opened| &*opened.config.name).collect();
    if let Some(folder) = &folder {
        folder.tidy(&names);
    }
    let entries_max = config
        .node
        .index_entries_max
        .unwrap_or_else(entries_that_fit_memory);
    let make = |opened: Opened| {
        let name = opened.config.name.clone();
        let log_config = log_config(&opened, cores);
        let wanted = warm::Wanted {
            name: &name,
            cluster,
            key: HashKey(identity.index_key),
            entries_max,
            log: &log_config,
            devices: &opened.devices,
        };
        let memory = match &folder {
            Some(folder) if log_config.on_devices => folder.memory(&wanted),
            _ => warm::Memory::of_process(&wanted, "shared memory is not used".into()),
        };
        let warm::Memory {
            log: log_memory,
            arena,
            mut found,
        } = memory.map_err(file(format!("memory for {entries_max} records")))?;
        let log = Log::with_memory(log_config, log_memory);
        let mut log = log.map_err(|error| BootError::Layout {
            namespace: name.clone(),
            error,
        })?;
        log.set_codec(codec(&opened));
        log.set_resident(is_resident(&opened.config));
        log.raise_fills(claim::fills(&opened.devices));
        let floors = match log.config().on_devices {
            true => marks.floors.of(&name),
            false => Vec::new(), // of a time when it had devices
        };
        for (number, claimed) in opened.devices.iter().enumerate() {
            if claimed.failed {
                log.fail_device(DeviceId(number as u8)); // the log has at most 128
            }
        }
        found.look(&mut log);
        let key = HashKey(identity.index_key);
        log.set_live_percent_max(opened.config.life.limits.stop_used_percent);
        let engine = Namespace::new(engine_config(&opened.config), log, arena, key)
            .with_life(&limits::engine_life(&opened.config.life));
        for (set, before_ms) in marks.of(&name) {
            let set = (!set.is_empty()).then_some(set.as_bytes());
            engine
                .truncate(set, before_ms)
                .map_err(|error| BootError::Recovery {
                    namespace: name.clone(),
                    what: error.to_string(),
                })?;
        }
        let evictions = marks.evictions.of(&name);
        engine
            .set_evictions(&evictions)
            .map_err(|error| BootError::Recovery {
                namespace: name.clone(),
                what: error.to_string(),
            })?;
        for (id, floor) in floors {
            engine.set_floor(id, floor);
        }
        let claims = opened.devices;
        let devices = claims.iter().map(|claimed| claimed.device.clone());
        let state = NamespaceState {
            life: Live::new(opened.config.life.clone()),
            config: opened.config,
            engine,
            devices: devices.collect(),
            upkeep: Default::default(),
            cached: opened.cached,
            restart: crate::restart::Restart::default(),
            checkpoint: crate::checkpoint::State::default(),
        };
        Ok((state, Pending { claims, found }))
    };
    let made: Result<Vec<_>, BootError> = opened.into_iter().map(make).collect();
    Ok(made?.into_iter().unzip())
}

/// Bytes of this machine's memory.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Entries that would fill this machine's memory.
fn entries_that_fit_memory() -> u64 {
    const ENTRY_BYTES: u64 = 64;
    (memory_bytes() / ENTRY_BYTES).clamp(1 << 20, 1 << 36)
}

fn log_config(opened: &Opened, cores: u16) -> LogConfig {
    let storage = &opened.config.storage;
    let block_bytes = storage.write_block as u32; // at most 8 MiB
    let (on_devices, devices) = match &storage.engine {
        Engine::Device { .. } => (
            true,
            opened
                .devices
                .iter()
                .map(|claimed| claimed.geometry.clone())
                .collect(),
        ),
        Engine::Memory { size } => {
            let blocks = u32::try_from(size / storage.write_block).unwrap_or(u32::MAX);
            (
                false,
                vec![DeviceGeometry {
                    number: 0,
                    blocks,
                    sector_bytes: 512,
                }],
            )
        }
    };
    let blocks = |devices: &[DeviceGeometry]| -> u64 {
        devices.iter().map(|device| u64::from(device.blocks)).sum()
    };
    let cache_bytes = match is_resident(&opened.config) {
        true => blocks(&devices) * storage.write_block,
        false => storage.post_write_cache,
    };
    LogConfig {
        on_devices,
        block_bytes,
        devices,
        cores,
        cache_bytes,
        defrag_low_water_percent: storage.defrag_low_water_percent,
    }
}

/// Whether all of a namespace that has devices is kept in memory too.
pub(crate) fn is_resident(config: &config::Namespace) -> bool {
    matches!(config.storage.engine, Engine::Device { resident: true, .. })
}

/// How a namespace's records are stored.
fn codec(opened: &Opened) -> Codec {
    let storage = &opened.config.storage;
    let compression = match storage.compression {
        config::Compression::None => Compression::None,
        config::Compression::Lz4 => Compression::Lz4,
        config::Compression::Zstd(level) => Compression::Zstd(level.into()),
    };
    let devices: Vec<u64> = opened
        .devices
        .iter()
        .map(|claimed| claimed.geometry.number)
        .collect();
    let record_bytes_max = storage.write_block as usize; // no record was ever larger
    Codec::new(compression, opened.key.as_ref(), &devices, record_bytes_max)
}

fn engine_config(config: &config::Namespace) -> NamespaceConfig {
    let storage = &config.storage;
    let on_devices = matches!(storage.engine, Engine::Device { .. });
    NamespaceConfig {
        name: config.name.clone(),
        default_ttl_s: config
            .life
            .default_ttl
            .map_or(0, |ttl| ttl.as_secs() as u32),
        record_bytes_max: config.max_record_size as usize,
        commit_to_device: storage.commit_to_device && on_devices,
        flush_ms_max: storage.flush_max.as_millis() as u64,
        strong: config.mode == config::Mode::Cp,
    }
}

/// What a node is started with.
struct Start {
    parts: Parts,
    pending: Vec<Pending>,
}

/// Fills every index, from memory or from devices, and begins a session of each namespace.
async fn begin(node: &Arc<Node>, pending: Vec<Pending>) -> Result<(), BootError> {
    let node = node.clone();
    let begun = tokio::task::spawn_blocking(move || {
        let namespaces = node.namespaces.iter().zip(pending);
        namespaces
            .enumerate()
            .try_for_each(|(index, (_, pending))| begin_one(&node, index, pending))
    });
    begun
        .await
        .map_err(|error| BootError::Cores(io::Error::other(error)))?
}

fn begin_one(node: &Node, index: usize, pending: Pending) -> Result<(), BootError> {
    let namespace = &node.namespaces[index];
    let name = || namespace.config.name.clone();
    let Pending { mut claims, found } = pending;
    let taken = recovery::telling(namespace, || warm::take_over(namespace, found));
    let taken = taken.map_err(|what| BootError::Recovery {
        namespace: name(),
        what,
    })?;
    match taken {
        warm::TakeOver::Done => {
            let (way, why) = (Way::Warm, String::new());
            recovery::ready(namespace, &Outcome { way, why });
        }
        warm::TakeOver::NotPossible(why) => {
            recovery::run_one(node, namespace, &why)?;
        }
        warm::TakeOver::Spoilt(what) => {
            let namespace = name();
            return Err(BootError::Spoilt { namespace, what });
        }
    }
    let_go::end_of_earlier_process(node, index).map_err(file("floors of partitions"))?;
    trust::note_if_lost(node, namespace).map_err(file("mark of a loss"))?;
    let begun = warm::begin_session(namespace, &mut claims);
    begun.map_err(|error| BootError::Device {
        namespace: name(),
        error,
    })
}

/// Brings the node up and serves until told to stop.
async fn serve(
    start: Start,
    (service, fabric): (Reserved, Reserved),
    slot: NodeSlot,
    stop: &watch::Sender<bool>,
    told: impl Future<Output = ()>,
) -> Result<(), BootError> {
    let Start { parts, pending } = start;
    let queue_kind = parts.io.kind;
    let node = Node::new(parts);
    slot.fill(node.clone());
    tokio::spawn(memory::watch(node.clone()));
    let arenas = node.namespaces.iter();
    let arenas = arenas.map(|namespace| namespace.engine.arena().clone());
    let ahead = warm::Ahead::start(arenas.collect()).map_err(BootError::Cores)?;
    begin(&node, pending).await?;
    let lost = trust::lost(&node).map_err(file("mark of a stop in order"))?;
    let cores = cores::start(&node, queue_kind, stop.subscribe())?;
    let checkpoints = checkpoint::Keeper::start(node.clone()).map_err(BootError::Cores)?;
    let (service, fabric) = (service.listen()?, fabric.listen()?);
    let accepting = tokio::spawn(client_port::accept(
        node.clone(),
        service,
        cores.connections.clone(),
    ));
    let linking = tokio::spawn(door::accept(fabric, cores.links.clone()));
    let watching = tokio::spawn(island::follow(node.clone(), lost));
    tokio::spawn(migrations::watch(node.clone()));
    tokio::spawn(sight::remind_clients(node.clone()));
    tokio::spawn(trust::watch(node.clone()));
    node.set_state(State::Serving);
    node.cluster.set_serves(true);
    announce(&node);
    told.await;
    leave::leave(&node).await;
    tracing::info!("stopping: what was written goes to the devices first");
    node.set_state(State::Draining);
    watching.abort();
    accepting.abort();
    linking.abort();
    let _ = stop.send(true);
    let ended = tokio::task::spawn_blocking(|| checkpoints.end());
    cores.join().await.map_err(BootError::Cores)?;
    let _ = ended.await;
    let last = node.clone();
    let _ = tokio::task::spawn_blocking(move || checkpoint::write_last(&last)).await;
    drop(ahead);
    warm::end_sessions(&node);
    trust::note_stop(&node);
    tracing::info!("stopped");
    Ok(())
}

/// Runs a door and says so when it fails: the node goes on serving its clients without it.
async fn report<E: std::fmt::Display>(
    door: &'static str,
    serving: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = serving.await {
        tracing::error!(door, %error, "a door is closed");
    }
}

fn announce(node: &Node) {
    tracing::info!(
        node = %node.config.node.name, id = %node.id, cluster = %node.config.cluster.name,
        service = %node.doors.service, admin = %node.doors.admin, http = %node.doors.http,
        cores = node.cores.len(), devices = %node.io.kind, "serving"
    );
}

async fn bind(door: &'static str, at: SocketAddr) -> Result<TcpListener, BootError> {
    TcpListener::bind(at)
        .await
        .map_err(|error| BootError::Door {
            door,
            address: at,
            error,
        })
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener
        .local_addr()
        .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// What clients are told to connect to. A wildcard address is no address to connect to: then the
/// host's own addresses are told.
fn advertised(advertise: &Advertise, bound: SocketAddr) -> Vec<HostPort> {
    match advertise {
        Advertise::Addresses(addresses) => addresses.clone(),
        Advertise::Auto if !bound.ip().is_unspecified() => {
            vec![HostPort {
                host: bound.ip().to_string(),
                port: bound.port(),
            }]
        }
        Advertise::Auto => own_addresses(bound.port()),
    }
}

/// The addresses by which this host reaches others, found without sending anything: the one that a
/// socket towards a public address would use, and the loopback where there is none.
fn own_addresses(port: u16) -> Vec<HostPort> {
    let routed = |local: &str, remote: &str| {
        let socket = std::net::UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let found = routed("0.0.0.0:0", "192.0.2.1:9").filter(|ip| !ip.is_unspecified());
    let host = found.map_or_else(|| "127.0.0.1".into(), |ip| ip.to_string());
    vec![HostPort { host, port }]
}

async fn told_to_stop() {
    let signals = || {
        let of = |kind| signal(kind);
        Ok::<_, io::Error>((
            of(SignalKind::terminate())?,
            of(SignalKind::interrupt())?,
            of(SignalKind::hangup())?,
        ))
    };
    let Ok((mut terminate, mut interrupt, mut hangup)) = signals() else {
        tracing::error!("signals cannot be received: only SIGKILL stops this node");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            // Logs go to stderr and there are no TLS files yet: nothing to open again.
            _ = hangup.recv() => tracing::info!("SIGHUP: nothing to reload"),
        }
    }
}

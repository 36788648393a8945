//! Start and stop of the control plane's thread.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use karst_cluster::node::{ClusterId, NodeFacts};
use karst_cluster::raft::TypeConfig;
use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use openraft::{Config, SnapshotPolicy};
use tokio::sync::{oneshot, watch};

use super::bond::Bond;
use super::form::Search;
use super::machine::StateMachine;
use super::network::Network;
use super::published::Published;
use super::store::Store;
use super::{Cluster, Planner, Raft, Shared, form, lead, report};
use crate::admin;
use crate::node::NodeSlot;

/// The log, beside the node's identity.
const LOG_FILE: &str = "raft.redb";

/// Time between two heartbeats of the group's leader.
const HEARTBEAT_MS: u64 = 100;

/// Silence after which a node stands for election: three to six heartbeats, so that a leader is replaced
/// within a second.
const ELECTION_MS: std::ops::Range<u64> = 300..600;

/// Entries after which the state is written down and the log before it forgotten.
const SNAPSHOT_EVERY: u64 = 1000;

/// Entries kept behind a snapshot, for nodes that lag a little.
const KEPT_MAX: u64 = 500;

/// Entries that a node may lack before it is sent the snapshot instead.
const LAG_MAX: u64 = 2000;

/// Entries sent at once: with each of the largest size they fit into a message.
const ENTRIES_MAX: u64 = 12;

/// Messages that wait for openraft's own tasks.
const CHANNEL_MAX: u64 = 4096;

/// How long the group's member may take to stop.
const STOP_MAX: Duration = Duration::from_secs(2);

/// What the control plane is started with.
pub struct Start {
    /// Where the log is kept.
    pub data_dir: PathBuf,
    /// The cluster that this node is in, if it has been in one.
    pub known_cluster: Option<ClusterId>,
    /// The cluster's name in the configuration.
    pub cluster_name: String,
    /// Where others may be.
    pub seeds: Vec<String>,
    /// Fresh nodes that form a cluster together.
    pub expect: usize,
    /// Silence after which a node counts as dead.
    pub suspect_after: Duration,
    /// What this node tells of itself.
    pub me: NodeFacts,
    /// What the leader decides with.
    pub planner: Planner,
}

/// Why the control plane does not start, or finds no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The log.
    #[error("the Raft log: {0}")]
    Log(io::Error),
    /// Its thread, or its runtime.
    #[error("the control plane's thread: {0}")]
    Thread(io::Error),
    /// No random bytes.
    #[error("no id can be drawn: {0}")]
    Random(io::Error),
    /// The folder's files contradict each other.
    #[error(
        "identity.json says cluster {identity}, {LOG_FILE} says {log}: they come from different nodes"
    )]
    TwoClusters {
        /// One.
        identity: ClusterId,
        /// The other.
        log: ClusterId,
    },
    /// A node of a cluster without its log.
    #[error(
        "identity.json says cluster {0}, but {LOG_FILE} is missing or empty. If this node was alone so \
         far, start it once without cluster.seeds and with cluster.bootstrap_expect = 1; if it was a member, \
         its log is lost: wipe its data_dir and devices and let it join as a new node"
    )]
    LogLost(ClusterId),
    /// A seed will not have it.
    #[error("{address} refuses this node: {why}")]
    Refused {
        /// Who.
        address: String,
        /// Why.
        why: String,
    },
    /// Nodes of two clusters.
    #[error(
        "nodes of two clusters of this name answer, {0} and {1}: which one to join is not clear"
    )]
    Torn(ClusterId, ClusterId),
    /// The group does not begin.
    #[error("the Raft group: {0}")]
    Group(String),
    /// The thread has ended.
    #[error("the control plane has ended")]
    Ended,
}

/// The running control plane.
pub struct Control {
    cluster: Cluster,
    formed: Option<oneshot::Receiver<Result<ClusterId, ControlError>>>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts the thread, and opens the gRPC door on it.
    ///
    /// # Errors
    /// When the log cannot be used, or the thread cannot be had.
    pub fn start(start: Start, door: TcpListener, node: NodeSlot) -> Result<Control, ControlError> {
        let (stop, stopped) = watch::channel(false);
        let (tell_formed, formed) = oneshot::channel();
        let (tell_started, started) = sync_channel(1);
        let run = move || run(start, door, node, stopped, &tell_started, tell_formed);
        let thread = std::thread::Builder::new().name("control".into());
        let thread = thread.spawn(run).map_err(ControlError::Thread)?;
        let started = started.recv().unwrap_or(Err(ControlError::Ended));
        let cluster = match started {
            Ok(cluster) => cluster,
            Err(error) => {
                let _ = thread.join(); // it has told why it ends
                return Err(error);
            }
        };
        Ok(Control {
            cluster,
            formed: Some(formed),
            stop,
            thread,
        })
    }

    /// The handle for the rest of the node.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Waits until this node is in a cluster. To be asked once.
    ///
    /// # Errors
    /// When it will not be in one.
    pub async fn formed(&mut self) -> Result<ClusterId, ControlError> {
        match self.formed.take() {
            Some(formed) => formed.await.unwrap_or(Err(ControlError::Ended)),
            None => Err(ControlError::Ended),
        }
    }

    /// Ends the thread and closes the log.
    pub fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.thread.join(); // one that panicked has said so
    }
}

fn run(
    start: Start,
    door: TcpListener,
    node: NodeSlot,
    stopped: watch::Receiver<bool>,
    tell_started: &SyncSender<Result<Cluster, ControlError>>,
    tell_formed: oneshot::Sender<Result<ClusterId, ControlError>>,
) {
    let opened = Store::open(&start.data_dir.join(LOG_FILE)).map_err(ControlError::Log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ControlError::Thread);
    let (runtime, (store, store_thread)) = match runtime.and_then(|runtime| Ok((runtime, opened?)))
    {
        Ok(both) => both,
        Err(error) => return drop(tell_started.send(Err(error))),
    };
    runtime.block_on(async {
        match begin(&start, store.clone()).await {
            Ok(shared) => {
                let _ = tell_started.send(Ok(Cluster(shared.clone())));
                serve(shared, start, door, node, stopped, tell_formed).await;
            }
            Err(error) => drop(tell_started.send(Err(error))),
        }
        store.close().await;
    });
    runtime.shutdown_timeout(STOP_MAX);
    let _ = store_thread.join(); // a next start in this process finds the file closed
}

/// Starts the group's member.
async fn begin(start: &Start, mut store: Store) -> Result<Arc<Shared>, ControlError> {
    let word = store.cluster().await.map_err(ControlError::Log)?;
    let log = store.get_log_state().await.map_err(ControlError::Log)?;
    let vote = store.read_vote().await.map_err(ControlError::Log)?;
    let begun = log.last_log_id.is_some() || vote.is_some();
    let alone = start.seeds.is_empty() && start.expect <= 1;
    match (start.known_cluster, word) {
        (Some(identity), Some(log)) if identity != log => {
            return Err(ControlError::TwoClusters { identity, log });
        }
        (Some(known), _) if !begun && !alone => return Err(ControlError::LogLost(known)),
        _ => {}
    }
    let published = Arc::new(Published::default());
    let machine = StateMachine::load(store.clone(), published.clone()).await;
    let machine = machine.map_err(ControlError::Log)?;
    let known = start.known_cluster.or(word);
    let bond = Bond::new(known, begun || start.known_cluster.is_some(), store.clone());
    let shared = Arc::new(Shared::new(
        start.cluster_name.clone(),
        start.me.clone(),
        start.suspect_after,
        start.known_cluster,
        published,
        bond,
    ));
    let raft = raft(&shared, store, machine).await?;
    let _ = shared.raft.set(raft);
    let _ = shared.runtime.set(tokio::runtime::Handle::current());
    Ok(shared)
}

async fn raft(
    shared: &Arc<Shared>,
    store: Store,
    machine: StateMachine,
) -> Result<Raft, ControlError> {
    let config = Config {
        cluster_name: shared.cluster_name.clone(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.start,
        election_timeout_max: ELECTION_MS.end,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: KEPT_MAX,
        replication_lag_threshold: LAG_MAX,
        max_payload_entries: ENTRIES_MAX,
        install_snapshot_timeout: 10_000,
        api_channel_size: Some(CHANNEL_MAX),
        notification_channel_size: Some(CHANNEL_MAX),
        backoff: "50ms 100ms 200ms ...500ms".into(),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false), // what it had committed may be more than is marked here
        ..Config::default()
    };
    let config = config.validate();
    let config = config.map_err(|error| ControlError::Group(error.to_string()))?;
    let network = Network(shared.clone());
    let raft = Raft::new(shared.me.id, Arc::new(config), network, store, machine).await;
    let raft = raft.map_err(|error| ControlError::Group(error.to_string()))?;
    let metrics = raft.metrics().borrow_watched().clone();
    let mut voters = metrics.membership_config.voter_ids();
    if voters.next() == Some(shared.me.id) && voters.next().is_none() {
        let _ = raft.trigger().elect(false).await; // nobody else could be elected: no need to wait
    }
    Ok(raft)
}

/// Serves until told to stop.
async fn serve(
    shared: Arc<Shared>,
    start: Start,
    door: TcpListener,
    node: NodeSlot,
    mut stopped: watch::Receiver<bool>,
    tell_formed: oneshot::Sender<Result<ClusterId, ControlError>>,
) {
    let mut closed = stopped.clone();
    let close = async move {
        let _ = closed.wait_for(|stop| *stop).await;
    };
    let doors = admin::serve_cluster(node, shared.clone(), door, close);
    tokio::spawn(async {
        if let Err(error) = doors.await {
            tracing::error!(door = "admin", %error, "a door is closed");
        }
    });
    tokio::spawn(watch_member(shared.clone(), stopped.clone()));
    tokio::spawn(lead::lead(shared.clone(), start.planner));
    tokio::spawn(lead::tend_voters(shared.clone()));
    tokio::spawn(report::report(shared.clone(), start.seeds.clone()));
    let search = Search {
        seeds: start.seeds,
        expect: start.expect,
    };
    let seeking = shared.clone();
    tokio::spawn(async move {
        let formed = form::form(seeking, &search).await;
        let _ = tell_formed.send(formed); // whoever waits may have been told to stop
    });
    let _ = stopped.wait_for(|stop| *stop).await;
    if let Ok(raft) = shared.raft() {
        let _ = tokio::time::timeout(STOP_MAX, raft.shutdown()).await;
    }
}

/// Ends the process when the group's member on this node has failed: it can neither vote nor follow.
async fn watch_member(shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let Ok(raft) = shared.raft() else {
        return;
    };
    let mut metrics = raft.metrics();
    loop {
        let failed = metrics.borrow_watched().running_state.clone().err();
        if let Some(error) = failed.filter(|_| !*stopped.borrow()) {
            tracing::error!(%error, "the cluster's state can no longer be kept: this node ends");
            std::process::exit(1);
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// Whether the log or a vote is here: then there is a group.
    pub(crate) async fn has_begun(&self) -> Result<bool, ControlError> {
        let raft = self.raft().map_err(|_| ControlError::Ended)?;
        let begun = raft.is_initialized().await;
        begun.map_err(|error: openraft::error::Fatal<TypeConfig>| {
            ControlError::Group(error.to_string())
        })
    }
}

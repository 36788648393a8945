//! The client: what an application holds, and how it is made.
//!
//! A [`Client`] is a handle to shared state (the tend task, the nodes and their connections); cloning
//! it is cheap, and everything stops when the last clone and the last [`crate::Scan`] are gone. It
//! belongs to the tokio runtime it was connected in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use karst_wire::response::info_error;

use crate::cluster::{Cluster, TendConfig};
use crate::command::join_all;
use crate::error::{Error, Result};
use crate::hedge::Latencies;
use crate::key::{check_names, check_text};
use crate::pool::{Node, PoolConfig};
use crate::retry::deadline;

/// Most pipelined connections to one node.
pub const CONNECTIONS_PER_NODE_MAX: usize = 256;

/// Most requests in flight on one connection.
pub const PIPELINE_DEPTH_MAX: usize = 65_536;

/// A connection to a cluster. See the [crate's page](crate) for an example.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    /// Counts calls; spreads reads that any replica may answer.
    turn: AtomicUsize,
    /// Of hedged reads.
    latencies: Latencies,
    info_timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("nodes", &self.nodes())
            .finish()
    }
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The name it gives itself.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Client {
    /// Connects to the cluster that `seeds` belongs to: one or more `host:port`, split by commas.
    ///
    /// # Errors
    /// [`Error::NoSeed`] if none answers; [`Error::Invalid`] if there is none.
    pub async fn connect(seeds: &str) -> Result<Client> {
        let seeds = seeds
            .split(',')
            .map(str::trim)
            .filter(|seed| !seed.is_empty());
        ClientBuilder::new(seeds).connect().await
    }

    /// The nodes known now.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let snapshot = self.cluster().peek();
        let nodes = snapshot.nodes.iter().map(|node| NodeInfo {
            name: node.name().to_owned(),
            address: node.address(),
        });
        nodes.collect()
    }

    /// Counts the changes of nodes and partition map that this client has seen.
    pub fn map_version(&self) -> u64 {
        *self.cluster().version().borrow()
    }

    /// Waits until the nodes or the partition map have changed since `version`, and returns the version
    /// by then; at once if they have already.
    pub async fn map_changed(&self, version: u64) -> u64 {
        let mut versions = self.cluster().version();
        let changed = versions.wait_for(|now| *now != version).await;
        changed.map_or(version, |now| *now) // the sender lives as long as this client
    }

    /// Asks one node an info command and returns its answer.
    ///
    /// # Errors
    /// [`Error::UnknownNode`]; [`Error::Info`] if the answer is an error; those of the connection.
    pub async fn info(&self, node: &str, command: &str) -> Result<String> {
        let snapshot = self.cluster().snapshot();
        let named = snapshot.nodes.iter().find(|known| known.name() == node);
        let node = named.ok_or_else(|| Error::UnknownNode { node: node.into() })?;
        self.ask(node, command).await
    }

    /// Removes all records of a set, or of the whole namespace if `set` is empty, that were written
    /// before now. One node is asked; it tells the others.
    ///
    /// # Errors
    /// As [`Client::info`], and [`Error::Invalid`] for names the protocol cannot carry.
    pub async fn truncate(&self, namespace: &str, set: &str) -> Result<()> {
        check_names(namespace, set)?;
        check_text(&[namespace, set])?;
        let command = match set {
            "" => format!("truncate-namespace:namespace={namespace}"),
            set => format!("truncate:namespace={namespace};set={set}"),
        };
        self.ask_any(&command).await.map(drop)
    }

    /// Asks one node or another what one of them tells the others.
    pub(crate) async fn ask_any(&self, command: &str) -> Result<String> {
        let snapshot = self.cluster().snapshot();
        let turn = self.next_turn();
        match snapshot.nodes.len() {
            0 => Err(Error::UnknownNode { node: "any".into() }),
            count => self.ask(&snapshot.nodes[turn % count], command).await,
        }
    }

    /// Asks every node at the same time; their names and answers.
    pub(crate) async fn ask_all(&self, command: &str) -> Vec<(String, Result<String>)> {
        let snapshot = self.cluster().snapshot();
        let asked = snapshot.nodes.iter().map(|node| self.ask(node, command));
        let answers = join_all(asked).await;
        let names = snapshot.nodes.iter().map(|node| node.name().to_owned());
        names.zip(answers).collect()
    }

    pub(crate) async fn ask(&self, node: &Node, command: &str) -> Result<String> {
        let deadline = deadline(Instant::now(), self.inner.info_timeout);
        let values = node.info(&[command], deadline).await?;
        let value = values.into_iter().next().unwrap_or_default();
        match info_error(&value) {
            None => Ok(value),
            Some((code, message)) => Err(Error::Info {
                command: command.to_owned(),
                code,
                message: message.to_owned(),
            }),
        }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    pub(crate) fn racks(&self) -> &[u32] {
        self.cluster().racks()
    }

    pub(crate) fn latencies(&self) -> &Latencies {
        &self.inner.latencies
    }

    pub(crate) fn next_turn(&self) -> usize {
        self.inner.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// Settings of a [`Client`] before it connects.
///
/// ```no_run
/// # async fn example() -> karst_client::Result<()> {
/// use std::time::Duration;
/// use karst_client::ClientBuilder;
///
/// let client = ClientBuilder::new(["10.0.0.1:3000", "10.0.0.2:3000"])
///     .connections_per_node(4)
///     .pipeline_depth(256)
///     .connect_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    seeds: Vec<String>,
    connections_per_node: usize,
    pipeline_depth: usize,
    connect_timeout: Duration,
    tend_interval: Duration,
    info_timeout: Duration,
    racks: Vec<u32>,
    map_watch: bool,
    errors_max: u32,
    error_window: Duration,
}

impl ClientBuilder {
    /// Settings for the cluster these seeds (`host:port`, the port 3000 if left out) belong to.
    pub fn new<S: Into<String>>(seeds: impl IntoIterator<Item = S>) -> ClientBuilder {
        ClientBuilder {
            seeds: seeds.into_iter().map(Into::into).collect(),
            connections_per_node: 2,
            pipeline_depth: 256,
            connect_timeout: Duration::from_secs(5),
            tend_interval: Duration::from_secs(1),
            info_timeout: Duration::from_secs(5),
            racks: Vec::new(),
            map_watch: true,
            errors_max: 100,
            error_window: Duration::from_secs(1),
        }
    }

    /// Pipelined connections to each node, 1 to [`CONNECTIONS_PER_NODE_MAX`]; 2 by default.
    #[must_use]
    pub fn connections_per_node(mut self, count: usize) -> ClientBuilder {
        self.connections_per_node = count.clamp(1, CONNECTIONS_PER_NODE_MAX);
        self
    }

    /// Requests in flight on each connection, 1 to [`PIPELINE_DEPTH_MAX`]; 256 by default. More wait.
    #[must_use]
    pub fn pipeline_depth(mut self, depth: usize) -> ClientBuilder {
        self.pipeline_depth = depth.clamp(1, PIPELINE_DEPTH_MAX);
        self
    }

    /// Longest time to find the cluster, and to open one connection; 5 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.connect_timeout = timeout;
        self
    }

    /// Time between two looks at the cluster; 1 s by default.
    #[must_use]
    pub fn tend_interval(mut self, interval: Duration) -> ClientBuilder {
        self.tend_interval = interval;
        self
    }

    /// Longest time of one info command; 5 s by default.
    #[must_use]
    pub fn info_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.info_timeout = timeout;
        self
    }

    /// The racks near this client, the nearest first; for [`crate::Replica::PreferRack`]. None by default.
    #[must_use]
    pub fn racks(mut self, racks: impl IntoIterator<Item = u32>) -> ClientBuilder {
        self.racks = racks.into_iter().collect();
        self
    }

    /// Whether each node is asked, over a connection of its own, to tell of changes of the map at once; true
    /// by default. Without it, and with servers that cannot, changes are seen at the next look at the
    /// cluster, or when a request fails.
    #[must_use]
    pub fn map_watch(mut self, watch: bool) -> ClientBuilder {
        self.map_watch = watch;
        self
    }

    /// Errors of one node (lost connections, timeouts, overload) within `window` from which on nothing is
    /// sent to it until the window is over; 0 for never. 100 within a second by default.
    #[must_use]
    pub fn errors_per_node(mut self, errors_max: u32, window: Duration) -> ClientBuilder {
        self.errors_max = errors_max;
        self.error_window = window;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect(self) -> Result<Client> {
        let config = TendConfig {
            seeds: self.seeds,
            interval: self.tend_interval,
            connect_timeout: self.connect_timeout,
            pool: PoolConfig {
                pipes: self.connections_per_node,
                depth: self.pipeline_depth,
                connect_timeout: self.connect_timeout,
                errors_max: self.errors_max,
                error_window: self.error_window,
            },
            racks: self.racks,
            watch: self.map_watch,
        };
        let inner = Inner {
            cluster: Cluster::connect(config).await?,
            turn: AtomicUsize::new(0),
            latencies: Latencies::default(),
            info_timeout: self.info_timeout,
        };
        Ok(Client {
            inner: Arc::new(inner),
        })
    }
}

//! The tend task: learns which nodes there are and which partitions they own.
//!
//! Owns the partition map and the list of nodes. Everyone else reads immutable snapshots, published
//! whole. Once an interval, and at once when a request found the map out of date, it asks every node
//! for its generations and fetches only what has changed.
//!
//! A node that does not answer is kept while others still count it among their peers, up to
//! [`FAILURES_MAX`] rounds; one that answers but is nobody's peer is dropped when it owns nothing.
//! When no node is left the seeds are resolved and asked again, so a cluster may move entirely.
//! A node that has no peers while others answer cannot take over the map: it was cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout_at};

use crate::error::{Error, Result};
use crate::peers::{Host, Peer, parse_peers};
use crate::pool::{Node, PoolConfig};
use crate::route::{Claim, PartitionMap, parse_replicas};

/// Rounds in a row without an answer after which a node is dropped whatever its peers say.
const FAILURES_MAX: u32 = 5;

/// Most nodes of a cluster; peers beyond are ignored.
const NODES_MAX: usize = 1024;

/// Shortest time between two rounds, however often a new map is asked for.
const ROUND_GAP: Duration = Duration::from_millis(20);

/// Longest time one node may take to answer in one round.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most rounds that follow each other at once because each found new nodes.
const DISCOVERY_ROUNDS_MAX: usize = 4;

/// How a client follows its cluster.
#[derive(Clone, Debug)]
pub(crate) struct TendConfig {
    pub(crate) seeds: Vec<String>,
    pub(crate) interval: Duration,
    /// Longest time to find the first node.
    pub(crate) connect_timeout: Duration,
    pub(crate) pool: PoolConfig,
}

/// What is known of the cluster at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Every node, by name.
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Who owns what.
    pub(crate) map: PartitionMap,
}

/// A reader's view of the tend task, which ends when this is dropped.
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Asks for a round now.
    wake: Notify,
    /// Counts beginnings and ends of rounds: while it is odd one is running.
    rounds: watch::Sender<u64>,
}

impl Cluster {
    /// Finds the cluster through its seeds and starts to follow it.
    ///
    /// # Errors
    /// [`Error::NoSeed`] if none of them answers in time; [`Error::Invalid`] if there are none.
    pub(crate) async fn connect(config: TendConfig) -> Result<Cluster> {
        if config.seeds.is_empty() {
            let reason = "no seed addresses".to_owned();
            return Err(Error::Invalid { reason });
        }
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::default(),
            wake: Notify::new(),
            rounds: watch::Sender::new(0),
        });
        let mut tender = Tender::new(config, Arc::clone(&shared));
        tender.find_cluster().await?;
        let task = tokio::spawn(tender.run()).abort_handle();
        Ok(Cluster { shared, task })
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// What is known now, for a short look.
    pub(crate) fn peek(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Waits for the end of a round that begins after this call, at most until `deadline`.
    pub(crate) async fn refresh(&self, deadline: Instant) {
        let mut rounds = self.shared.rounds.subscribe();
        let now = *rounds.borrow();
        let wanted = match now % 2 {
            0 => now + 2,
            _ => now + 3, // the one that is running may have seen the old map
        };
        self.shared.wake.notify_one();
        let reached = rounds.wait_for(|count| *count >= wanted);
        let _ = timeout_at(deadline.into(), reached).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the tend task remembers of a node.
struct Member {
    node: Arc<Node>,
    /// As last read; `None` reads the peers again.
    peers_generation: Option<i64>,
    /// As last read; `None` reads the claims again.
    partition_generation: Option<i64>,
    peers: Vec<Peer>,
    /// Rounds in a row without an answer.
    failures: u32,
}

impl Member {
    fn new(node: Node) -> Member {
        Member {
            node: Arc::new(node),
            peers_generation: None,
            partition_generation: None,
            peers: vec![],
            failures: 0,
        }
    }
}

/// What a node answered in one round; what has not changed is left out.
struct Report {
    peers_generation: i64,
    partition_generation: i64,
    peers: Option<Vec<Peer>>,
    claims: Option<Vec<Claim>>,
}

struct Tender {
    config: TendConfig,
    shared: Arc<Shared>,
    members: BTreeMap<String, Member>,
    map: PartitionMap,
    /// Someone failed last round: everyone's peers may have changed.
    reread_peers: bool,
}

impl Tender {
    fn new(config: TendConfig, shared: Arc<Shared>) -> Tender {
        Tender {
            config,
            shared,
            members: BTreeMap::new(),
            map: PartitionMap::default(),
            reread_peers: false,
        }
    }

    /// Rounds until a node has answered, or the time to connect is over.
    async fn find_cluster(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            let last = self.rounds().await;
            let mut members = self.members.values();
            if members.any(|member| member.partition_generation.is_some()) {
                return Ok(());
            }
            let after = started.elapsed();
            if after >= self.config.connect_timeout {
                return Err(Error::NoSeed {
                    seeds: self.config.seeds.len(),
                    after,
                    last: last.unwrap_or_else(|| "no partition map".to_owned()),
                });
            }
            sleep(self.config.interval.min(self.config.connect_timeout / 10)).await;
        }
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                () = sleep(self.config.interval) => {}
                () = shared.wake.notified() => {}
            }
            self.rounds().await;
            sleep(ROUND_GAP).await;
        }
    }

    /// One round, and further ones while each finds new nodes. Returns why the last seed was no use.
    async fn rounds(&mut self) -> Option<String> {
        self.shared.rounds.send_modify(|count| *count += 1);
        let seed_trouble = match self.members.is_empty() {
            true => self.ask_seeds().await,
            false => None,
        };
        for _ in 0..DISCOVERY_ROUNDS_MAX {
            self.ask_members().await;
            self.publish(); // meeting a peer that does not answer takes long
            if !self.meet_peers().await {
                break;
            }
        }
        self.drop_lost();
        self.publish();
        self.shared.rounds.send_modify(|count| *count += 1);
        seed_trouble
    }

    /// Makes every seed that answers a member; only the first address of each that does.
    async fn ask_seeds(&mut self) -> Option<String> {
        let mut trouble = None;
        for seed in self.config.seeds.clone() {
            match self.ask_seed(&seed).await {
                Ok(node) => self.add(node),
                Err(error) => trouble = Some(format!("{seed}: {error}")),
            }
        }
        trouble
    }

    async fn ask_seed(&self, seed: &str) -> Result<Node> {
        let host = Host::parse(seed, 3000).ok_or_else(|| Error::Invalid {
            reason: format!("seed address {seed:?} is not host:port"),
        })?;
        greet(host, None, &self.config).await
    }

    fn add(&mut self, node: Node) {
        let name = node.name().to_owned();
        if self.members.len() < NODES_MAX {
            self.members
                .entry(name)
                .or_insert_with(|| Member::new(node));
        }
    }

    /// Asks every member what has changed, all at the same time, and takes in the answers.
    async fn ask_members(&mut self) {
        let deadline = Instant::now() + NODE_TIMEOUT;
        let mut asked = JoinSet::new();
        for (name, member) in &self.members {
            member.node.close_stalled(Instant::now());
            let (name, node) = (name.clone(), Arc::clone(&member.node));
            let known_peers = member.peers_generation.filter(|_| !self.reread_peers);
            let known_claims = member.partition_generation;
            asked.spawn(async move {
                let report = ask_node(&node, known_peers, known_claims, deadline).await;
                (name, report)
            });
        }
        let mut reports = BTreeMap::new();
        while let Some(answered) = asked.join_next().await {
            if let Ok((name, report)) = answered {
                reports.insert(name, report);
            }
        }
        self.take_in(reports);
    }

    fn take_in(&mut self, reports: BTreeMap<String, Option<Report>>) {
        self.reread_peers = reports.values().any(Option::is_none);
        let answered = reports.values().flatten().count();
        for (name, report) in reports {
            let Some(member) = self.members.get_mut(&name) else {
                continue;
            };
            let Some(report) = report else {
                member.failures += 1;
                member.peers_generation = None;
                continue;
            };
            member.failures = 0;
            if let Some(peers) = report.peers {
                member.peers = peers;
                member.peers_generation = Some(report.peers_generation);
            }
            let cut_off = member.peers.is_empty() && answered > 1;
            let Some(claims) = report.claims.filter(|_| !cut_off) else {
                continue;
            };
            member.partition_generation = Some(report.partition_generation);
            let node = Arc::clone(&member.node);
            let losers = self.map.merge(&node, claims);
            self.reread_claims_of(&losers);
        }
    }

    fn reread_claims_of(&mut self, nodes: &[Arc<Node>]) {
        for node in nodes {
            if let Some(member) = self.members.get_mut(node.name()) {
                member.partition_generation = None;
            }
        }
    }

    /// Connects to peers that are not members, and to failing members that have moved. True if
    /// anyone new was met.
    async fn meet_peers(&mut self) -> bool {
        let mut unknown: BTreeMap<&str, &Peer> = BTreeMap::new();
        let answering = self.members.values().filter(|member| member.failures == 0);
        for peer in answering.flat_map(|member| &member.peers) {
            let member = self.members.get(&peer.name);
            if member.is_none_or(|member| member.failures > 0) && !peer.hosts.is_empty() {
                unknown.insert(&peer.name, peer);
            }
        }
        let mut greeted = JoinSet::new();
        for peer in unknown.into_values().take(NODES_MAX) {
            let (peer, config) = (peer.clone(), self.config.clone());
            greeted.spawn(async move { greet_peer(peer, &config).await });
        }
        let mut met = false;
        while let Some(greeting) = greeted.join_next().await {
            if let Ok(Some(node)) = greeting {
                met |= self.replace(node);
            }
        }
        met
    }

    /// Makes a node a member, in place of one of the same name at another address.
    fn replace(&mut self, node: Node) -> bool {
        if let Some(member) = self.members.get(node.name()) {
            if member.node.address() == node.address() {
                return false; // it is known, and failed only just now
            }
            self.map.remove(&Arc::clone(&member.node));
            self.members.remove(node.name());
        }
        self.add(node);
        true
    }

    fn drop_lost(&mut self) {
        let answering = || self.members.values().filter(|member| member.failures == 0);
        let listed: BTreeSet<&str> = answering()
            .flat_map(|member| member.peers.iter().map(|peer| peer.name.as_str()))
            .collect();
        let others_answer = answering().count() > 1;
        let is_lost = |name: &str, member: &Member| {
            let unlisted = !listed.contains(name);
            let alone = answering().next().is_none();
            match member.failures {
                0 => unlisted && others_answer && !self.map.owns_any(&member.node),
                failures => failures >= FAILURES_MAX || (unlisted && !alone),
            }
        };
        let lost: Vec<String> = self
            .members
            .iter()
            .filter(|(name, member)| is_lost(name, member))
            .map(|(name, _)| name.clone())
            .collect();
        for name in lost {
            if let Some(member) = self.members.remove(&name) {
                self.map.remove(&member.node);
            }
        }
    }

    fn publish(&self) {
        let members = self.members.values();
        let snapshot = Snapshot {
            nodes: members.map(|member| Arc::clone(&member.node)).collect(),
            map: self.map.clone(),
        };
        self.shared.snapshot.store(Arc::new(snapshot));
    }
}

/// Connects to a peer at the first of its hosts that answers under its name.
async fn greet_peer(peer: Peer, config: &TendConfig) -> Option<Node> {
    for host in peer.hosts {
        if let Ok(node) = greet(host, Some(&peer.name), config).await {
            return Some(node);
        }
    }
    None
}

/// Finds out who listens at a host. A node of another name than expected, or one whose partitions
/// are not laid out yet, is none.
async fn greet(host: Host, expected: Option<&str>, config: &TendConfig) -> Result<Node> {
    let deadline = Instant::now() + NODE_TIMEOUT;
    let invalid = |reason: String| Error::Invalid { reason };
    let lookup = lookup_host((host.name.as_str(), host.port));
    let addresses = timeout_at(deadline.into(), lookup)
        .await
        .map_err(|_| invalid("name look-up timed out".into()))?
        .map_err(|error| invalid(error.to_string()))?;
    let mut last = invalid("the name has no address".into());
    for address in addresses {
        let stranger = Node::new(host.name.clone(), address, config.pool);
        match stranger
            .info(&["node", "partition-generation"], deadline)
            .await
        {
            Ok(values) if values[1].starts_with('-') => {
                last = invalid("its partitions are not laid out yet".into());
            }
            Ok(values) if expected.is_some_and(|name| name != values[0]) => {
                last = invalid(format!("it is called {}", values[0]));
            }
            Ok(values) => return Ok(Node::new(values[0].clone(), address, config.pool)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks a node for its generations, and for what changed since the known ones. `None` if it does not
/// answer, answers nonsense, or is another node by now.
async fn ask_node(
    node: &Node,
    known_peers: Option<i64>,
    known_claims: Option<i64>,
    deadline: Instant,
) -> Option<Report> {
    let commands = ["node", "peers-generation", "partition-generation"];
    let values = node.info(&commands, deadline).await.ok()?;
    let [name, peers_generation, partition_generation] = values.try_into().ok()?;
    if name != node.name() {
        return None;
    }
    let mut report = Report {
        peers_generation: peers_generation.parse().ok()?,
        partition_generation: partition_generation.parse().ok()?,
        peers: None,
        claims: None,
    };
    if known_peers != Some(report.peers_generation) {
        let values = node.info(&["peers-clear-std"], deadline).await.ok()?;
        report.peers = Some(parse_peers(&values[0])?);
    }
    if known_claims != Some(report.partition_generation) && report.partition_generation >= 0 {
        // The generation is asked again: the claims may be newer than the one above.
        let commands = ["partition-generation", "replicas"];
        let values = node.info(&commands, deadline).await.ok()?;
        report.partition_generation = values[0].parse().ok()?;
        report.claims = Some(parse_replicas(&values[1])?);
    }
    Some(report)
}

//! The tend task: learns which nodes there are and which partitions they own.
//!
//! Owns the partition map and the list of nodes. Everyone else reads immutable snapshots, published
//! whole. In rounds it asks nodes for their generations and fetches only what has changed: every node once
//! an interval, and at once when a request found the map out of date; a single node when its watch
//! ([`crate::watch`]) says that it has news, or has ended.
//!
//! ```text
//! interval, refresh -> all due --+                 +-> answer: merge its claims, publish; losers due
//! watch of a node -> it is due --+-> ask the due --+-> silence: it is failing
//!                                                  +-> another name: it is gone at once
//!                    then greet peers that are not members, who are due in turn
//! ```
//!
//! Invariants
//!   answers are taken in as they come: a silent node holds up nobody else's news
//!   a node is asked once at a time
//!   a node that has no peers while others answer cannot take over the map: it was cut off
//!
//! A node that does not answer is kept while others still count it among their peers, up to
//! [`FAILING_ROUNDS_MAX`] intervals; one that answers but is nobody's peer is dropped when it owns nothing.
//! When no node answers the seeds are resolved and asked again, so a cluster may move entirely.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use karst_wire::response::info_error;
use tokio::net::lookup_host;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::error::{Error, Result};
use crate::peers::{Host, Peer, parse_peers};
use crate::pool::{Node, PoolConfig};
use crate::route::{Claim, PartitionMap, parse_replicas};
use crate::watch::{PUSHES_MAX, Push, Watch};

/// Intervals without an answer after which a node is dropped whatever its peers say.
const FAILING_ROUNDS_MAX: u32 = 5;

/// Most nodes of a cluster; peers beyond are ignored.
const NODES_MAX: usize = 1024;

/// Shortest time between two rounds, however often a new map is asked for.
const ROUND_GAP: Duration = Duration::from_millis(10);

/// How long a round waits for those it asked. Later answers count when they come.
const ROUND_WAIT: Duration = Duration::from_millis(150);

/// Longest time one node may take to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most steps of one round: each asks the nodes that the one before found, and those that lost a partition
/// in it.
const STEPS_MAX: usize = 4;

/// How a client follows its cluster.
#[derive(Clone, Debug)]
pub(crate) struct TendConfig {
    pub(crate) seeds: Vec<String>,
    pub(crate) interval: Duration,
    /// Longest time to find the first node.
    pub(crate) connect_timeout: Duration,
    pub(crate) pool: PoolConfig,
    /// The client's own racks; without any, nobody is asked for his.
    pub(crate) racks: Vec<u32>,
    /// Whether nodes are asked to tell of changes.
    pub(crate) watch: bool,
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
    racks: Vec<u32>,
    task: AbortHandle,
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Asks for a round now.
    wake: Notify,
    /// Counts beginnings and ends of rounds: while it is odd one is running.
    rounds: watch::Sender<u64>,
    /// Counts the snapshots published.
    version: watch::Sender<u64>,
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
            version: watch::Sender::new(0),
        });
        let racks = config.racks.clone();
        let mut tender = Tender::new(config, Arc::clone(&shared));
        tender.find_cluster().await?;
        let task = tokio::spawn(tender.run()).abort_handle();
        Ok(Cluster {
            shared,
            racks,
            task,
        })
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// What is known now, for a short look.
    pub(crate) fn peek(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Counts the snapshots published so far, and tells of new ones.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The client's own racks, the nearest first.
    pub(crate) fn racks(&self) -> &[u32] {
        &self.racks
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
    /// What it said last of what has changed; `None` reads it again.
    known: Known,
    peers: Vec<Peer>,
    /// Whether it is being asked.
    asking: Asking,
    /// Since when it has not answered.
    failing_since: Option<Instant>,
    _watch: Option<Watch>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    Yes,
    /// It is, and that began too early: once more.
    Again,
}

/// Generations of a node, as last read.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    peers: Option<i64>,
    partitions: Option<i64>,
    racks: Option<i64>,
}

impl Known {
    /// Whether the counters of a node say that it was started again: they only grow.
    fn was_restarted(&self, report: &Report) -> bool {
        let fell = |known: Option<i64>, now| known.is_some_and(|known| now < known);
        fell(self.peers, report.peers_generation)
            || fell(self.partitions, report.partition_generation)
    }
}

/// What a node answered; what has not changed is left out.
struct Report {
    peers_generation: i64,
    partition_generation: i64,
    rack_generation: i64,
    peers: Option<Vec<Peer>>,
    claims: Option<Vec<Claim>>,
    racks: Option<BTreeMap<String, u32>>,
}

/// Why there is no report.
enum Unheard {
    /// It does not answer, or not in a form that can be understood.
    Silent,
    /// Another node answers in its place.
    Another,
}

/// Who was asked, and what came of it.
type Asked = std::result::Result<(String, std::result::Result<Report, Unheard>), JoinError>;

/// Who was greeted, and the node that answered.
type Greeted = std::result::Result<(String, Option<Node>), JoinError>;

struct Tender {
    config: Arc<TendConfig>,
    shared: Arc<Shared>,
    members: BTreeMap<String, Member>,
    map: PartitionMap,
    /// Members to be asked.
    due: BTreeSet<String>,
    /// Members that this round waits for.
    awaited: BTreeSet<String>,
    asks: JoinSet<(String, std::result::Result<Report, Unheard>)>,
    /// Peers that are being connected to.
    greeted: BTreeSet<String>,
    greetings: JoinSet<(String, Option<Node>)>,
    push: mpsc::Sender<Push>,
    pushes: mpsc::Receiver<Push>,
    /// Someone failed: everyone's peers may have changed.
    reread_peers: bool,
    /// What is published is out of date.
    changed: bool,
}

impl Tender {
    fn new(config: TendConfig, shared: Arc<Shared>) -> Tender {
        let (push, pushes) = mpsc::channel(PUSHES_MAX);
        Tender {
            config: Arc::new(config),
            shared,
            members: BTreeMap::new(),
            map: PartitionMap::default(),
            due: BTreeSet::new(),
            awaited: BTreeSet::new(),
            asks: JoinSet::new(),
            greeted: BTreeSet::new(),
            greetings: JoinSet::new(),
            push,
            pushes,
            reread_peers: false,
            changed: false,
        }
    }

    /// Rounds until a node has answered, or the time to connect is over.
    async fn find_cluster(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.all_due();
            let last = self.round(NODE_TIMEOUT).await;
            let mut members = self.members.values();
            if members.any(|member| member.known.partitions.is_some()) {
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
        let mut next_tick = Instant::now() + self.config.interval;
        loop {
            let mut ticked = false;
            tokio::select! {
                () = sleep_until(next_tick.into()) => ticked = true,
                () = shared.wake.notified() => ticked = true,
                Some(push) = self.pushes.recv() => self.take_push(push),
                Some(asked) = self.asks.join_next() => self.take_ask(asked),
                Some(greeted) = self.greetings.join_next() => self.take_greeting(greeted),
            }
            while let Ok(push) = self.pushes.try_recv() {
                self.take_push(push);
            }
            if ticked {
                self.all_due();
                next_tick = Instant::now() + self.config.interval;
            }
            if ticked || !self.due.is_empty() {
                self.round(ROUND_WAIT).await;
                sleep(ROUND_GAP).await;
            }
        }
    }

    fn all_due(&mut self) {
        self.due.extend(self.members.keys().cloned());
    }

    fn take_push(&mut self, push: Push) {
        let (Push::News(name) | Push::Lost(name)) = &push;
        if let Some(member) = self.members.get_mut(name) {
            if let Push::Lost(_) = push {
                member.known = Known::default(); // started again its counters may be the same
            }
            self.due.insert(name.clone());
        }
    }

    /// Asks the members that are due, and in further steps those who turn up and those who lost partitions.
    /// Returns why the last seed was no use.
    async fn round(&mut self, patience: Duration) -> Option<String> {
        self.shared.rounds.send_modify(|count| *count += 1);
        let mut members = self.members.values();
        let seed_trouble = match members.all(|member| member.failing_since.is_some()) {
            true => self.ask_seeds().await,
            false => None,
        };
        let until = Instant::now() + patience;
        for _ in 0..STEPS_MAX {
            self.ask_due();
            self.await_asks(until).await;
            self.greet_peers();
            self.await_greetings(until).await;
            if self.due.is_empty() {
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
        let mut asked = JoinSet::new();
        for seed in self.config.seeds.clone() {
            let config = Arc::clone(&self.config);
            asked.spawn(async move {
                let greeted = ask_seed(&seed, &config).await;
                greeted.map_err(|error| format!("{seed}: {error}"))
            });
        }
        let mut trouble = None;
        while let Some(Ok(answered)) = asked.join_next().await {
            match answered {
                Ok(node) => self.replace(node),
                Err(why) => trouble = Some(why),
            }
        }
        trouble
    }

    fn add(&mut self, node: Node) {
        if self.members.len() >= NODES_MAX {
            return;
        }
        let node = Arc::new(node);
        let watch = self.config.watch;
        let watch = watch.then(|| Watch::start(Arc::clone(&node), self.push.clone()));
        let name = node.name().to_owned();
        let member = Member {
            node,
            known: Known::default(),
            peers: vec![],
            asking: Asking::No,
            failing_since: None,
            _watch: watch,
        };
        self.members.insert(name.clone(), member);
        self.due.insert(name);
        self.changed = true;
    }

    /// Makes a node a member, in place of one of the same name at another address.
    fn replace(&mut self, node: Node) {
        let known = self.members.get(node.name());
        if known.is_some_and(|known| known.node.address() == node.address()) {
            return; // it is known, and failed only just now
        }
        self.remove(node.name());
        self.add(node);
    }

    fn remove(&mut self, name: &str) {
        if let Some(member) = self.members.remove(name) {
            self.map.remove(&member.node);
            self.changed = true;
        }
    }

    /// Asks every member that is due what has changed, all at the same time.
    fn ask_due(&mut self) {
        let deadline = Instant::now() + NODE_TIMEOUT;
        let reread_peers = std::mem::take(&mut self.reread_peers);
        for name in std::mem::take(&mut self.due) {
            let Some(member) = self.members.get_mut(&name) else {
                continue;
            };
            if member.asking != Asking::No {
                member.asking = Asking::Again;
                continue;
            }
            member.asking = Asking::Yes;
            member.node.close_stalled(Instant::now());
            let mut known = member.known;
            known.peers = known.peers.filter(|_| !reread_peers);
            let (node, racks) = (Arc::clone(&member.node), !self.config.racks.is_empty());
            self.awaited.insert(name.clone());
            self.asks.spawn(async move {
                let report = ask_node(&node, known, racks, deadline).await;
                (name, report)
            });
        }
    }

    async fn await_asks(&mut self, until: Instant) {
        while !self.awaited.is_empty() {
            match timeout_at(until.into(), self.asks.join_next()).await {
                Ok(Some(asked)) => self.take_ask(asked),
                Ok(None) | Err(_) => break,
            }
        }
        self.awaited.clear();
    }

    /// Takes in what a member answered, and publishes what that changes.
    fn take_ask(&mut self, asked: Asked) {
        let Ok((name, report)) = asked else {
            return; // the runtime is shutting down
        };
        self.awaited.remove(&name);
        let Some(member) = self.members.get_mut(&name) else {
            return;
        };
        if std::mem::replace(&mut member.asking, Asking::No) == Asking::Again {
            self.due.insert(name.clone());
        }
        match report {
            Ok(report) => self.take_report(&name, report),
            Err(Unheard::Silent) => {
                member.failing_since.get_or_insert_with(Instant::now);
                member.known = Known::default();
                member.node.set_down(true);
                self.reread_peers = true;
            }
            Err(Unheard::Another) => {
                let host = Host::of(member.node.address());
                self.remove(&name);
                self.greet(String::new(), vec![host]);
                self.reread_peers = true;
            }
        }
        self.publish();
    }

    fn take_report(&mut self, name: &str, report: Report) {
        let mut members = self.members.iter();
        let others_answer = members.any(|(other, member)| other != name && member.is_heard());
        let Some(member) = self.members.get_mut(name) else {
            return;
        };
        if member.known.was_restarted(&report) {
            member.node.disconnect();
        }
        member.failing_since = None;
        member.node.set_down(false);
        if let Some(peers) = report.peers {
            member.peers = peers;
            member.known.peers = Some(report.peers_generation);
        }
        if let Some(racks) = report.racks {
            member.node.set_racks(racks);
            member.known.racks = Some(report.rack_generation);
        }
        if report.partition_generation < 0 {
            member.known.partitions = None;
        }
        let cut_off = member.peers.is_empty() && others_answer;
        if let Some(claims) = report.claims.filter(|_| !cut_off) {
            member.known.partitions = Some(report.partition_generation);
            let node = Arc::clone(&member.node);
            self.take_claims(&node, claims);
        }
    }

    /// Merges claims. Who lost an entry by it is asked again: one of the two knows less than the other.
    fn take_claims(&mut self, node: &Arc<Node>, claims: Vec<Claim>) {
        let merged = self.map.merge(node, claims);
        self.changed |= merged.changed;
        for loser in merged.losers {
            if let Some(member) = self.members.get_mut(loser.name()) {
                member.known.partitions = None;
                self.due.insert(loser.name().to_owned());
            }
        }
    }

    /// Connects to peers that are not members, and to failing members that may have moved.
    fn greet_peers(&mut self) {
        let mut unknown: BTreeMap<&str, &Peer> = BTreeMap::new();
        let heard = self.members.values().filter(|member| member.is_heard());
        for peer in heard.flat_map(|member| &member.peers) {
            let member = self.members.get(&peer.name);
            let is_new = member.is_none_or(|member| member.failing_since.is_some());
            if is_new && !peer.hosts.is_empty() && !self.greeted.contains(&peer.name) {
                unknown.insert(&peer.name, peer);
            }
        }
        let unknown: Vec<Peer> = unknown.into_values().take(NODES_MAX).cloned().collect();
        for peer in unknown {
            self.greet(peer.name, peer.hosts);
        }
    }

    /// Begins to connect to the first of these hosts that answers, under this name unless it is empty.
    fn greet(&mut self, name: String, hosts: Vec<Host>) {
        let config = Arc::clone(&self.config);
        self.greeted.insert(name.clone());
        self.greetings.spawn(async move {
            let expected = Some(name.as_str()).filter(|name| !name.is_empty());
            let node = greet_any(hosts, expected, &config).await;
            (name, node)
        });
    }

    async fn await_greetings(&mut self, until: Instant) {
        while !self.greetings.is_empty() {
            match timeout_at(until.into(), self.greetings.join_next()).await {
                Ok(Some(greeted)) => self.take_greeting(greeted),
                Ok(None) | Err(_) => break,
            }
        }
    }

    fn take_greeting(&mut self, greeted: Greeted) {
        let Ok((name, node)) = greeted else {
            return; // the runtime is shutting down
        };
        self.greeted.remove(&name);
        if let Some(node) = node {
            self.replace(node);
        }
    }

    fn drop_lost(&mut self) {
        let heard = || self.members.values().filter(|member| member.is_heard());
        let listed: BTreeSet<&str> = heard()
            .flat_map(|member| member.peers.iter().map(|peer| peer.name.as_str()))
            .collect();
        let (alone, others_answer) = (heard().next().is_none(), heard().count() > 1);
        let failing_max = self.config.interval * FAILING_ROUNDS_MAX;
        let is_lost = |name: &str, member: &Member| {
            let unlisted = !listed.contains(name);
            match member.failing_since {
                None => {
                    let idle = member.is_heard() && !self.map.owns_any(&member.node);
                    unlisted && others_answer && idle
                }
                Some(since) => since.elapsed() >= failing_max || (unlisted && !alone),
            }
        };
        let members = self.members.iter();
        let lost: Vec<String> = members
            .filter(|(name, member)| is_lost(name, member))
            .map(|(name, _)| name.clone())
            .collect();
        lost.iter().for_each(|name| self.remove(name));
    }

    fn publish(&mut self) {
        if !std::mem::replace(&mut self.changed, false) {
            return;
        }
        let members = self.members.values();
        let snapshot = Snapshot {
            nodes: members.map(|member| Arc::clone(&member.node)).collect(),
            map: self.map.clone(),
        };
        self.shared.snapshot.store(Arc::new(snapshot));
        self.shared.version.send_modify(|count| *count += 1);
    }
}

impl Member {
    /// Whether it has answered, and still does.
    fn is_heard(&self) -> bool {
        self.failing_since.is_none() && self.known.peers.is_some()
    }
}

async fn ask_seed(seed: &str, config: &TendConfig) -> Result<Node> {
    let host = Host::parse(seed, 3000).ok_or_else(|| Error::Invalid {
        reason: format!("seed address {seed:?} is not host:port"),
    })?;
    greet(host, None, config).await
}

/// Connects to the first of these hosts that answers under the name expected.
async fn greet_any(hosts: Vec<Host>, expected: Option<&str>, config: &TendConfig) -> Option<Node> {
    for host in hosts {
        if let Ok(node) = greet(host, expected, config).await {
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

/// Asks a node for its generations, and for what changed since the known ones.
async fn ask_node(
    node: &Node,
    known: Known,
    racks: bool,
    deadline: Instant,
) -> std::result::Result<Report, Unheard> {
    let mut commands = vec!["node", "peers-generation", "partition-generation"];
    commands.extend(racks.then_some("rebalance-generation"));
    let values = node.info(&commands, deadline).await;
    let values = values.map_err(|_| Unheard::Silent)?;
    if values[0] != node.name() {
        return Err(Unheard::Another);
    }
    let report = read_changes(node, known, &values, deadline).await;
    report.ok_or(Unheard::Silent)
}

/// Fetches what the generations say has changed. `None` if the node does not answer, or answers nonsense.
async fn read_changes(
    node: &Node,
    known: Known,
    generations: &[String],
    deadline: Instant,
) -> Option<Report> {
    let rack_generation = generations.get(3);
    let mut report = Report {
        peers_generation: generations[1].parse().ok()?,
        partition_generation: generations[2].parse().ok()?,
        rack_generation: rack_generation.map_or(Some(0), |text| text.parse().ok())?,
        peers: None,
        claims: None,
        racks: None,
    };
    if known.peers != Some(report.peers_generation) {
        let values = node.info(&["peers-clear-std"], deadline).await.ok()?;
        report.peers = Some(parse_peers(&values[0])?);
    }
    if rack_generation.is_some() && known.racks != Some(report.rack_generation) {
        let values = node.info(&["rack-ids"], deadline).await.ok()?;
        report.racks = Some(parse_racks(&values[0]));
    }
    if known.partitions != Some(report.partition_generation) && report.partition_generation >= 0 {
        // The generation is asked again, and before the claims: these may be newer, but not older.
        let commands = ["partition-generation", "replicas"];
        let values = node.info(&commands, deadline).await.ok()?;
        report.partition_generation = values[0].parse().ok()?;
        report.claims = Some(parse_replicas(&values[1])?);
    }
    Some(report)
}

/// Reads `namespace:rack;namespace:rack`. A server without racks answers with an error, which means none.
fn parse_racks(text: &str) -> BTreeMap<String, u32> {
    if info_error(text).is_some() {
        return BTreeMap::new();
    }
    let pairs = text.split(';').filter_map(|pair| pair.rsplit_once(':'));
    let racks = pairs.filter_map(|(name, rack)| Some((name.to_owned(), rack.parse().ok()?)));
    racks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racks_are_read_by_namespace() {
        let racks = parse_racks("test:1;bar:22");
        assert_eq!(racks, [("test".into(), 1), ("bar".into(), 22)].into());
        assert!(parse_racks("ERROR:25:enterprise only").is_empty());
        assert!(parse_racks("").is_empty());
    }
}

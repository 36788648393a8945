//! An ideal Raft: one log, whose leader needs a majority of nodes that can talk to it, and whose entries other
//! nodes learn of after a while. What the leader does with it is the real thing, `karst_cluster::plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use karst_cluster::balance::balance;
use karst_cluster::lease::Granted;
use karst_cluster::map::{NamespaceMap, Ownership};
use karst_cluster::node::NodeId;
use karst_cluster::plan::{Heard, Rows, Synced, plan_with};
use karst_cluster::state::{ClusterState, Command, Outcome};

/// The namespace, everywhere in here.
pub const NAMESPACE: &str = "sim";

/// How long a node may be silent.
pub const SUSPECT_US: u64 = 800_000;

/// What a node last told the leader.
struct Reported {
    at_us: u64,
    synced: Vec<Synced>,
}

/// A leader that was replaced.
pub struct Replaced {
    /// Which node.
    pub node: usize,
    /// When it last had a majority.
    pub quorum_us: u64,
    /// When another one was elected.
    pub at_us: u64,
    /// The last entry of its time.
    pub entry: usize,
    /// The leases that it has granted, and goes on to grant.
    pub granted: Granted,
}

/// See [the module](self).
pub struct Control {
    /// The state after each entry.
    states: Vec<Arc<ClusterState>>,
    /// Who leads, by position.
    pub leader: Option<usize>,
    /// Since when it does.
    pub led_since_us: u64,
    /// When it last had a majority.
    pub quorum_us: u64,
    /// When it began to lead, by its own clock.
    led_since_boot_us: u64,
    /// The leases that it has granted, by its own clock.
    pub granted: Granted,
    /// The leader before, which may not know that it is none any more.
    pub replaced: Option<Replaced>,
    reports: BTreeMap<NodeId, Reported>,
    rows: RowsOf,
}

impl Control {
    /// A group of nobody, for so many partitions from one of the balancer's on.
    pub fn new(
        replication_factor: u8,
        strong: bool,
        first_partition: usize,
        partitions: usize,
    ) -> Control {
        let map = NamespaceMap {
            replication_factor,
            strong,
            partitions: vec![Ownership::default(); partitions],
        };
        let state = ClusterState {
            maps: BTreeMap::from([(NAMESPACE.to_owned(), map)]),
            ..ClusterState::default()
        };
        Control {
            states: vec![Arc::new(state)],
            leader: None,
            led_since_us: 0,
            quorum_us: 0,
            led_since_boot_us: 0,
            granted: Granted::default(),
            replaced: None,
            reports: BTreeMap::new(),
            rows: RowsOf {
                first_partition,
                partitions,
                known: BTreeMap::new(),
            },
        }
    }

    /// The number of the last entry.
    pub fn last(&self) -> usize {
        self.states.len() - 1
    }

    /// The state after an entry.
    pub fn state(&self, entry: usize) -> &Arc<ClusterState> {
        &self.states[entry]
    }

    /// The newest state.
    pub fn newest(&self) -> &Arc<ClusterState> {
        self.state(self.last())
    }

    /// Whether so many nodes are a majority of all.
    pub fn is_majority(&self, nodes: usize) -> bool {
        nodes * 2 > self.newest().nodes.len().max(1)
    }

    /// A node begins to lead, at this time by its own clock.
    pub fn elect(&mut self, leader: usize, now_us: u64, boot_us: u64) {
        if let Some(node) = self.leader.replace(leader).filter(|it| *it != leader) {
            self.replaced = Some(Replaced {
                node,
                quorum_us: self.quorum_us,
                at_us: now_us,
                entry: self.last(),
                granted: std::mem::take(&mut self.granted),
            });
        }
        (self.led_since_us, self.quorum_us) = (now_us, now_us);
        self.led_since_boot_us = boot_us;
        self.granted.clear();
        self.reports.clear();
    }

    /// Whether the leader has a majority now.
    pub fn has_quorum(&self, now_us: u64) -> bool {
        self.leader.is_some() && self.quorum_us == now_us
    }

    /// Appends an entry, which the caller has found that the leader may.
    pub fn append(&mut self, command: Command) -> Outcome {
        let mut state = (**self.newest()).clone();
        let outcome = state.apply(command);
        self.states.push(Arc::new(state));
        outcome
    }

    /// A node has reported to the leader.
    pub fn note(&mut self, node: NodeId, at_us: u64, synced: Vec<Synced>) {
        self.reports.insert(node, Reported { at_us, synced });
    }

    /// What the leader is to propose now, at this time by its own clock.
    pub fn plan(&mut self, now_us: u64, boot_us: u64) -> Vec<Command> {
        let state = self.newest().clone();
        self.reports.retain(|_, it| it.at_us + SUSPECT_US >= now_us);
        let mut heard: BTreeSet<NodeId> = self.reports.keys().copied().collect();
        if now_us < self.led_since_us + SUSPECT_US {
            let alive = state.nodes.iter().filter(|(_, member)| member.alive);
            heard.extend(alive.map(|(id, _)| *id));
        }
        let given_up = state.nodes.keys().filter(|it| !heard.contains(it));
        self.granted.give_up(given_up.copied().collect(), false);
        let mut leased = self.granted.holders(boot_us, SUSPECT_US);
        if boot_us < self.led_since_boot_us + SUSPECT_US {
            // Another leader may have granted one until this one was elected, to whom it has given up since, too.
            leased.extend(state.nodes.keys());
        }
        let heard = Heard {
            nodes: heard,
            leased,
        };
        let synced: Vec<Synced> = self
            .reports
            .values()
            .flat_map(|it| it.synced.iter().cloned())
            .collect();
        plan_with(&state, &heard, &synced, |racks, factor| {
            self.rows.get(racks, factor)
        })
    }
}

/// Nodes with their racks, and a replication factor.
type Asked = (BTreeMap<NodeId, u32>, u8);

/// All that the balancer has said in this process: it is a pure function, and dear.
static BALANCED: Mutex<BTreeMap<Asked, Rows>> = Mutex::new(BTreeMap::new());

/// The rows of the partitions in play.
struct RowsOf {
    first_partition: usize,
    partitions: usize,
    known: BTreeMap<Asked, Rows>,
}

impl RowsOf {
    fn get(&mut self, racks: &BTreeMap<NodeId, u32>, factor: u8) -> Rows {
        let asked = (racks.clone(), factor);
        let (first, count) = (self.first_partition, self.partitions);
        let rows = self.known.entry(asked).or_insert_with_key(|asked| {
            let mut balanced = BALANCED.lock().expect("nobody panics in here");
            let all = balanced
                .entry(asked.clone())
                .or_insert_with(|| Arc::new(balance(&asked.0, asked.1)));
            Arc::new(all[first..first + count].to_vec())
        });
        rows.clone()
    }
}

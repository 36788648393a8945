//! What the Raft leader should propose now: from the state, who is heard, and what primaries report.
//!
//! Strongly consistent namespaces are planned in `plan/strong.rs`. In available mode a partition is served as long as one node is alive that is configured with its namespace,
//! with whatever that node holds.
//!
//! The leader asks again a few times a second and proposes what it is told. Nothing is remembered between two
//! questions, so that a new leader goes on where the old one stopped, and what was overtaken or lost is asked
//! for again. Once the map is what it should be the answer is nothing. A node must not be missed before its
//! time: a new leader waits as long as a node may be silent before it asks at all.
//!
//! For each partition
//!   the row is what [`balance`](crate::balance) wants of the nodes alive that are not draining
//!   in sync stays who was and is alive; whom the primary reported under this very regime comes to it
//!   if that leaves nobody, one node serves alone and the others join: one that had a part of the data if
//!     there is any, else the first of the row
//!   apart is who was in sync and died or went on alone, until a primary has reported to have merged with it,
//!     whether it comes to be in sync or not
//!   at most as many nodes are in sync as the row is long: for each that joins, one goes that is not of the row
//!   once all of the row is in sync it serves in its own order, and nobody else holds anything
//!
//! **The primary stays** while any node of the row still joins, even if the row's first is in sync already.
//! It is the one that fills the others; who takes over now would have to find out anew what they lack, and the
//! partition would change hands twice. What it costs is that primaries are unequal until copies have arrived.
//!
//! **A stopping node leads nothing** that another one in sync can lead: it is the last in sync, and stays in its
//! rows. Once it has said that it is gone (`SetAlive` to false) it counts as dead, whatever was heard of it until
//! then, so that nobody waits for it.
//!
//! A draining node is in no row and goes on serving what it holds until the row has it. When all nodes alive
//! are draining they keep what they hold: there is nobody to give it to. When nobody is alive, the row tells
//! who held the partition last, so that of those who return one of them is preferred.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::balance::balance;
use crate::map::{NamespaceMap, Ownership, Regime};
use crate::node::NodeId;
use crate::state::{Activation, Change, ClusterState, Command, Member};

mod strong;

/// The most changes in one command, so that a Raft entry stays under a megabyte.
pub const CHANGES_MAX: usize = 8192;

/// Maps that a [`Planner`] remembers: one for each namespace with nodes or replication factor of its own, and
/// the one before, since nodes come back.
const REMEMBERED_MAX: usize = 16;

/// A primary's report of what a node holds of its partition.
///
/// A primary repeats it under its newest regime until the map shows what follows from it: a report of another
/// regime counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Synced {
    /// The namespace.
    pub namespace: String,
    /// The partition's number.
    pub partition: u16,
    /// The regime under which that is so.
    pub regime: Regime,
    /// Who. The primary itself, if everybody in sync holds what was confirmed, so that the regime can be activated.
    pub node: NodeId,
    /// What the node holds.
    pub holds: Holds,
}

impl Synced {
    /// Whether something follows from it that its partition does not show yet.
    pub fn is_news(&self, partition: &Ownership) -> bool {
        let in_sync = partition.in_sync.contains(&self.node);
        let to_activate = partition.primary() == Some(self.node) && !partition.prior.is_empty();
        partition.regime == self.regime
            && match self.holds {
                Holds::All => !in_sync || to_activate,
                Holds::Less => in_sync,
            }
    }
}

/// How much a node holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holds {
    /// All.
    All,
    /// Less than it should, although it counts as in sync: it did not take a write in time.
    Less,
}

/// A desired row for each partition.
pub type Rows = Arc<Vec<Vec<NodeId>>>;

/// Who is there, as the leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Who is heard.
    pub nodes: BTreeSet<NodeId>,
    /// Who may hold a lease that was granted to it, heard or not: it may be answering reads of what it leads.
    pub leased: BTreeSet<NodeId>,
}

impl Heard {
    /// Of nodes of which nobody else can hold a lease.
    pub fn all(nodes: BTreeSet<NodeId>) -> Heard {
        let leased = BTreeSet::new();
        Heard { nodes, leased }
    }
}

/// What to propose now, in this order. See [the module](self).
pub fn plan(state: &ClusterState, heard: &Heard, synced: &[Synced]) -> Vec<Command> {
    Planner::default().plan(state, heard, synced)
}

/// [`plan`] for whoever asks often: remembers the rows that it found last, which are most of the work.
#[derive(Default)]
pub struct Planner {
    remembered: Vec<Remembered>,
}

struct Remembered {
    racks: BTreeMap<NodeId, u32>,
    replication_factor: u8,
    rows: Rows,
}

impl Planner {
    /// What [`plan`] says.
    pub fn plan(&mut self, state: &ClusterState, heard: &Heard, synced: &[Synced]) -> Vec<Command> {
        plan_with(state, heard, synced, |racks, factor| {
            self.rows(racks, factor)
        })
    }

    fn rows(&mut self, racks: &BTreeMap<NodeId, u32>, replication_factor: u8) -> Rows {
        let same =
            |it: &Remembered| it.racks == *racks && it.replication_factor == replication_factor;
        let found = match self.remembered.iter().position(same) {
            Some(at) => self.remembered.remove(at),
            None => Remembered {
                racks: racks.clone(),
                replication_factor,
                rows: Arc::new(balance(racks, replication_factor)),
            },
        };
        let rows = found.rows.clone();
        self.remembered.truncate(REMEMBERED_MAX - 1);
        self.remembered.insert(0, found);
        rows
    }
}

/// [`plan`] with somebody else's rows: of so many nodes, each with its rack, for a replication factor.
pub fn plan_with(
    state: &ClusterState,
    heard: &Heard,
    synced: &[Synced],
    mut rows: impl FnMut(&BTreeMap<NodeId, u32>, u8) -> Rows,
) -> Vec<Command> {
    let mut commands = liveness(state, &heard.nodes);
    let mut changes = Vec::new();
    let mut activations = Vec::new();
    let none = Reported::default();
    // Who says that its process ends answers nothing any more.
    let answers = |node: &&NodeId| !state.nodes.get(node).is_some_and(is_gone);
    let leased: BTreeSet<NodeId> = heard.leased.iter().filter(answers).copied().collect();
    for (name, map) in &state.maps {
        let present = Present::new(state, &heard.nodes, name);
        let rows = rows(&present.takers, map.replication_factor);
        let reported = reported(map, name, synced);
        for (partition, (old, wanted)) in map.partitions.iter().zip(rows.iter()).enumerate() {
            let partition = partition as u16;
            let reported = reported.get(&partition).unwrap_or(&none);
            if map.strong {
                match strong::decide(&present, &leased, old, wanted, reported) {
                    Some(strong::Decision::Activate) => activations.push(Activation {
                        namespace: name.clone(),
                        partition,
                        regime: old.regime,
                    }),
                    Some(strong::Decision::Change { row, in_sync }) => changes.push(Change {
                        namespace: name.clone(),
                        partition,
                        expected: old.regime,
                        row,
                        in_sync,
                        apart: Vec::new(),
                    }),
                    None => {}
                }
                continue;
            }
            let complete = &reported.complete;
            let (row, in_sync) = present.decide(old, wanted, complete);
            let apart = present.apart(old, &in_sync, complete);
            if row != old.row || in_sync != old.in_sync || apart != old.apart {
                changes.push(Change {
                    namespace: name.clone(),
                    partition,
                    expected: old.regime,
                    row,
                    in_sync,
                    apart,
                });
            }
        }
    }
    // Nobody serves a partition before its regime is activated; what is changed is served meanwhile, or waits for more.
    let pieces = activations.chunks(CHANGES_MAX);
    commands.extend(pieces.map(|piece| Command::Activate(piece.to_vec())));
    let pieces = changes.chunks(CHANGES_MAX);
    commands.extend(pieces.map(|piece| Command::Repartition(piece.to_vec())));
    commands
}

/// Members that count as alive and are not heard, and the other way round.
fn liveness(state: &ClusterState, heard: &BTreeSet<NodeId>) -> Vec<Command> {
    let set = |(node, member): (&NodeId, &Member)| {
        let alive = heard.contains(node) && !is_gone(member);
        let set = Command::SetAlive { node: *node, alive };
        (member.alive != alive).then_some(set)
    };
    state.nodes.iter().filter_map(set).collect()
}

/// Whether a node has said that its process ends.
fn is_gone(member: &Member) -> bool {
    member.stopping && !member.alive
}

/// What was reported of a partition under the regime that stands.
#[derive(Clone, Debug, Default)]
struct Reported {
    /// Who holds all of it.
    complete: Vec<NodeId>,
    /// Who holds less than it should.
    lacking: Vec<NodeId>,
}

/// What primaries reported, by partition.
fn reported(map: &NamespaceMap, name: &str, synced: &[Synced]) -> BTreeMap<u16, Reported> {
    let mut reported = BTreeMap::<u16, Reported>::new();
    for report in synced.iter().filter(|report| report.namespace == name) {
        let partition = map.partitions.get(usize::from(report.partition));
        if partition.is_some_and(|it| it.regime == report.regime) {
            let of = reported.entry(report.partition).or_default();
            match report.holds {
                Holds::All => of.complete.push(report.node),
                Holds::Less => of.lacking.push(report.node),
            }
        }
    }
    reported
}

/// The nodes configured with one namespace, as they are to be seen now.
struct Present {
    /// Dead ones too.
    configured: BTreeSet<NodeId>,
    alive: BTreeSet<NodeId>,
    /// Those alive that are not draining, with their racks.
    takers: BTreeMap<NodeId, u32>,
    /// Those alive that are about to stop.
    stopping: BTreeSet<NodeId>,
}

impl Present {
    fn new(state: &ClusterState, heard: &BTreeSet<NodeId>, namespace: &str) -> Present {
        let mut present = Present {
            configured: BTreeSet::new(),
            alive: BTreeSet::new(),
            takers: BTreeMap::new(),
            stopping: BTreeSet::new(),
        };
        for (id, member) in &state.nodes {
            let namespaces = &member.facts.namespaces;
            if !namespaces.iter().any(|it| it.name == namespace) {
                continue;
            }
            present.configured.insert(*id);
            if heard.contains(id) && !is_gone(member) {
                present.alive.insert(*id);
                if member.stopping {
                    present.stopping.insert(*id);
                }
                if !member.draining {
                    present.takers.insert(*id, member.facts.rack);
                }
            }
        }
        present
    }

    /// The row and the in-sync set that a partition should have now.
    fn decide(
        &self,
        old: &Ownership,
        wanted: &[NodeId],
        complete: &[NodeId],
    ) -> (Vec<NodeId>, Vec<NodeId>) {
        if self.alive.is_empty() {
            return (self.last_holders(old), Vec::new());
        }
        let mut holding = self.holding(old, complete);
        if holding.is_empty() {
            holding.extend(self.stand_in(old, wanted));
        }
        let all_in = !wanted.is_empty() && wanted.iter().all(|node| holding.contains(node));
        let mut in_sync = match all_in {
            true => wanted.to_vec(),
            false => in_order(old, wanted, &holding),
        };
        assert!(!in_sync.is_empty());
        in_sync.sort_by_key(|node| self.stopping.contains(node)); // stable
        (wanted.to_vec(), in_sync)
    }

    /// Who may hold writes that nobody else has: those apart until now and those in sync that died or went
    /// on alone, but for whom a primary has merged with. Where nobody is left of those in sync, those who were
    /// joining have taken their writes, and who stands in may have not.
    fn apart(&self, old: &Ownership, in_sync: &[NodeId], complete: &[NodeId]) -> Vec<NodeId> {
        let sound = |node: &NodeId| self.alive.contains(node);
        let fell_out = old.in_sync.iter().copied().filter(|node| !sound(node));
        let none_left = !old.in_sync.iter().any(|node| in_sync.contains(node));
        let joining = old
            .joining()
            .filter(|_| none_left && !old.in_sync.is_empty());
        let mut apart: Vec<NodeId> = Vec::new();
        let candidates = old.apart.iter().copied().chain(fell_out).chain(joining);
        for node in candidates {
            let merged = in_sync.contains(&node) || (complete.contains(&node) && sound(&node));
            if !merged && self.configured.contains(&node) && !apart.contains(&node) {
                apart.push(node);
            }
        }
        apart
    }

    /// Those alive that hold all of the partition.
    fn holding(&self, old: &Ownership, complete: &[NodeId]) -> Vec<NodeId> {
        let in_row = |node: &&NodeId| old.row.contains(node);
        let sound = |node: &&NodeId| self.alive.contains(node);
        let mut holding: Vec<NodeId> = Vec::new();
        let joined = complete.iter().filter(in_row);
        for node in old.in_sync.iter().chain(joined).filter(sound) {
            if !holding.contains(node) {
                holding.push(*node);
            }
        }
        holding
    }

    /// Who serves when nobody is left that holds all: who has strayed with it, else who has a part of it.
    fn stand_in(&self, old: &Ownership, wanted: &[NodeId]) -> Option<NodeId> {
        let candidates = old.in_sync.iter().chain(&old.row).chain(wanted);
        let mut candidates = candidates.chain(&self.alive);
        candidates.find(|node| self.alive.contains(node)).copied()
    }

    /// What a row remembers while nobody is alive.
    fn last_holders(&self, old: &Ownership) -> Vec<NodeId> {
        let holders = match old.in_sync.is_empty() {
            true => &old.row,
            false => &old.in_sync,
        };
        let known = |node: &&NodeId| self.configured.contains(node);
        holders.iter().filter(known).copied().collect()
    }
}

/// The in-sync set while some of the row are not in sync: the primary stays, then the row in its order, then
/// others, as many as the row lacks.
fn in_order(old: &Ownership, wanted: &[NodeId], holding: &[NodeId]) -> Vec<NodeId> {
    let of_row = wanted.iter().filter(|node| holding.contains(node));
    let others = holding.iter().filter(|node| !wanted.contains(node));
    let primary = old.primary().filter(|node| holding.contains(node));
    let lacking = match wanted.is_empty() {
        true => holding.len(),
        false => wanted.len() - of_row.clone().count(),
    };
    let stays = primary.filter(|node| !wanted.contains(node));
    // The primary is among the others that stay, wherever it stood among them.
    let other = |node: &&NodeId| Some(**node) != stays;
    let others = stays.iter().chain(others.filter(other)).take(lacking);
    let rest = of_row.chain(others).copied();
    let rest = rest.filter(|node| Some(*node) != primary);
    primary.into_iter().chain(rest).collect()
}

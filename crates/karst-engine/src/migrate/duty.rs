//! Which nodes a primary has to compare with now: who joins, who is apart, and who missed a write.
//!
//! That follows from the state of the cluster alone, and is looked up anew whenever it changes. What was
//! compared and reported is not compared again under the same regime; when the partition changes hands it is,
//! which costs little: what was sent is there.

use std::collections::{BTreeSet, VecDeque};

use karst_cluster::map::{Ownership, Regime};
use karst_cluster::node::NodeId;
use karst_cluster::state::ClusterState;
use karst_data::key::PartitionId;

use super::Cut;
use crate::reconcile::How;

/// One partition that is to be compared with one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// The namespace's position.
    pub namespace: usize,
    /// The partition.
    pub partition: PartitionId,
    /// Under which this node is its primary.
    pub regime: Regime,
    /// With whom.
    pub node: NodeId,
    /// What may become of the other node's own states.
    pub how: How,
    /// Whether the node is to hold what this one holds. If not it is only asked for what it has of its own.
    pub follows: bool,
}

impl Task {
    /// The same comparison, to be asked for again.
    pub fn repair(&self) -> Repair {
        Repair {
            namespace: self.namespace,
            partition: self.partition,
            node: self.node,
            how: self.how,
        }
    }
}

/// A node that is to be compared with although the map takes it for one that holds everything, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repair {
    /// The namespace's position.
    pub namespace: usize,
    /// The partition.
    pub partition: PartitionId,
    /// Who.
    pub node: NodeId,
    /// What may become of its own states: replaced where it missed a write of this primary, merged where both
    /// followed another one.
    pub how: How,
}

/// Whom a primary has to compare with because it has just become one: those in sync beside it. The one before may
/// have been about to write, and have reached some of them and not others.
pub fn taken_over(
    me: NodeId,
    namespace: usize,
    partition: PartitionId,
    was: Option<&Ownership>,
    is: &Ownership,
) -> impl Iterator<Item = Repair> {
    let went_on = was.is_some_and(|was| {
        let next = was.regime == is.regime || was.regime.next() == is.regime;
        was.primary() == Some(me) && next
    });
    let takes_over = is.primary() == Some(me) && !is.regime.is_alone() && !went_on;
    let others = is.in_sync.iter().skip(1).filter(move |_| takes_over);
    others.map(move |node| Repair {
        namespace,
        partition,
        node: *node,
        how: How::Merge,
    })
}

/// What follows when a comparison has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The node holds everything: the cluster is to know.
    Report,
    /// It counts as in sync and still may lack something: it is to be compared with again.
    Repair,
    /// Nothing: if it is still to be done, it is found again.
    Nothing,
}

/// See [the module](self).
#[derive(Default)]
pub struct Duties {
    /// What was reported under its regime is not looked at again.
    done: BTreeSet<Task>,
}

impl Duties {
    /// What a node has to do now by a state of the cluster. `names` are its namespaces in its own order, `mine`
    /// tells which partitions are asked about, `repairs` who missed something of those.
    pub fn look<'n>(
        &mut self,
        me: NodeId,
        state: &ClusterState,
        names: impl Iterator<Item = &'n str>,
        mine: impl Fn(PartitionId) -> bool,
        repairs: impl FnOnce() -> Vec<Repair>,
    ) -> VecDeque<Task> {
        let mut tasks = VecDeque::new();
        let mut still_done = BTreeSet::new();
        if state.is_island() {
            // Who has gone on alone as well is not known: to bring it to this node's state would undo its writes.
            return tasks;
        }
        let names: Vec<&str> = names.collect();
        for (namespace, name) in names.iter().enumerate() {
            let partitions = state.maps.get(*name).map(|map| &map.partitions);
            for (at, ownership) in partitions.into_iter().flatten().enumerate() {
                let partition = PartitionId(at as u16);
                if ownership.primary() != Some(me) || !mine(partition) {
                    continue;
                }
                for task in of_partition(state, namespace, partition, ownership) {
                    match self.done.contains(&task) {
                        true => _ = still_done.insert(task),
                        false => tasks.push_back(task),
                    }
                }
            }
        }
        let missed = repairs().into_iter().filter_map(|repair| {
            let map = state.maps.get(*names.get(repair.namespace)?)?;
            of_repair(me, map.partition(repair.partition), repair)
        });
        tasks.extend(missed);
        self.done = still_done;
        tasks
    }

    /// A comparison has ended; `name` is that of its namespace.
    pub fn ended(
        &mut self,
        state: &ClusterState,
        name: &str,
        task: Task,
        outcome: Result<(), Cut>,
    ) -> After {
        let in_sync = || {
            let map = state.maps.get(name);
            map.is_some_and(|map| map.partition(task.partition).in_sync.contains(&task.node))
        };
        match outcome {
            Ok(()) => {
                self.done.insert(task);
                After::Report
            }
            Err(Cut::Later) if in_sync() => After::Repair,
            Err(Cut::Later | Cut::Overtaken) => After::Nothing,
        }
    }
}

fn of_partition(
    state: &ClusterState,
    namespace: usize,
    partition: PartitionId,
    ownership: &Ownership,
) -> impl Iterator<Item = Task> {
    let alive = |node: &NodeId| state.is_alive(*node);
    ownership
        .to_reconcile()
        .filter(alive)
        .map(move |node| Task {
            namespace,
            partition,
            regime: ownership.regime,
            node,
            how: match ownership.apart.contains(&node) {
                true => How::Merge,
                false => How::Impose,
            },
            follows: ownership.row.contains(&node),
        })
}

fn of_repair(me: NodeId, ownership: &Ownership, repair: Repair) -> Option<Task> {
    let follows = match repair.how {
        How::Merge => ownership.in_sync.contains(&repair.node),
        How::Impose => ownership.followers().any(|node| node == repair.node),
    };
    (ownership.primary() == Some(me) && follows).then_some(Task {
        namespace: repair.namespace,
        partition: repair.partition,
        regime: ownership.regime,
        node: repair.node,
        how: repair.how,
        follows: true,
    })
}

//! Which nodes a primary has to compare with now: who joins, who is apart, and who missed a write.
//!
//! That follows from the state of the cluster alone, and is looked up anew whenever it changes. What was
//! compared and reported is not compared again under the same regime; when the partition changes hands it is,
//! which costs little: what was sent is there.

use std::collections::{BTreeSet, VecDeque};

use karst_cluster::map::{Ownership, Regime};
use karst_cluster::node::NodeId;
use karst_cluster::plan::{Holds, Synced};
use karst_cluster::state::ClusterState;
use karst_data::key::PartitionId;
use karst_data::mutation::{Mutation, is_planted};

use super::Cut;
use crate::reconcile::How;
use crate::tenure::Stage;

/// One partition that is to be compared with one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// The namespace's position.
    pub namespace: usize,
    /// The partition.
    pub partition: PartitionId,
    /// Under which this node is its primary.
    pub regime: Regime,
    /// With whom; with itself, to see to it that what this node holds is durable.
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
    let went_on = went_on || is_planted(Mutation::TakesOverUnseen);
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
    /// What a node has to do now by a state of the cluster, first what concerns who is in sync: partitions that were
    /// taken over wait for it, and whoever joins only for the rest. `names` are its namespaces in its own order, `mine`
    /// tells which partitions are asked about, `repairs` who missed something of those, `stage` how far this node is with
    /// a strongly consistent one.
    pub fn look<'n>(
        &mut self,
        me: NodeId,
        state: &ClusterState,
        names: impl Iterator<Item = &'n str>,
        mine: impl Fn(PartitionId) -> bool,
        repairs: impl FnOnce() -> Vec<Repair>,
        stage: impl Fn(usize, PartitionId) -> Stage,
    ) -> VecDeque<Task> {
        let (mut tasks, mut fills) = (VecDeque::new(), VecDeque::new());
        let mut still_done = BTreeSet::new();
        let names: Vec<&str> = names.collect();
        for (namespace, name) in names.iter().enumerate() {
            let Some(map) = state.maps.get(*name) else {
                continue;
            };
            if state.is_island() && !map.strong {
                // Who has gone on alone as well is not known: to bring it to this node's state would undo its writes.
                continue;
            }
            for (at, ownership) in map.partitions.iter().enumerate() {
                let partition = PartitionId(at as u16);
                if ownership.primary() != Some(me) || !mine(partition) {
                    continue;
                }
                if map.strong {
                    let stage = stage(namespace, partition);
                    for task in of_strong(state, namespace, partition, ownership, &stage) {
                        match ownership.in_sync.contains(&task.node) {
                            true => tasks.push_back(task),
                            false => fills.push_back(task),
                        }
                    }
                    continue;
                }
                for task in of_partition(state, namespace, partition, ownership) {
                    match self.done.contains(&task) {
                        true => _ = still_done.insert(task),
                        false => fills.push_back(task),
                    }
                }
            }
        }
        let missed = repairs().into_iter().filter_map(|repair| {
            let map = state.maps.get(*names.get(repair.namespace)?)?;
            if map.strong || state.is_island() {
                return None; // what is to be done there is always known
            }
            of_repair(me, map.partition(repair.partition), repair)
        });
        tasks.extend(missed);
        tasks.append(&mut fills);
        self.done = still_done;
        tasks
    }

    /// What is to be done about a strongly consistent partition once everybody in sync was fenced, which a comparison
    /// may just have brought about; nothing before.
    pub fn look_again(
        &self,
        state: &ClusterState,
        name: &str,
        task: Task,
        stage: &Stage,
    ) -> Vec<Task> {
        let map = state.maps.get(name).filter(|map| map.strong);
        let Some(map) = map.filter(|_| task.how == How::Fence) else {
            return Vec::new();
        };
        let ownership = map.partition(task.partition);
        let tasks = of_strong(state, task.namespace, task.partition, ownership, stage);
        match tasks.iter().any(|it| it.how == How::Fence) {
            true => Vec::new(),
            false => tasks,
        }
    }

    /// A comparison has ended, or was not begun because the map has changed; `name` is that of its namespace.
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
            _ if state.maps.get(name).is_some_and(|map| map.strong) => After::Nothing,
            Ok(()) => {
                self.done.insert(task);
                After::Report
            }
            Err(Cut::Overtaken) if is_planted(Mutation::ForgetsRepairs) => After::Nothing,
            // Whatever the map says now, nothing else would tell that it is still to be done.
            Err(Cut::Later | Cut::Overtaken) if in_sync() => After::Repair,
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

/// What the primary of a strongly consistent partition has to do: see [`crate::tenure`]. It fences itself like the
/// others in sync: there is nobody to ask then.
fn of_strong(
    state: &ClusterState,
    namespace: usize,
    partition: PartitionId,
    ownership: &Ownership,
    stage: &Stage,
) -> Vec<Task> {
    if stage.regime != ownership.regime.0 {
        return Vec::new(); // the map is being put into force
    }
    let task = |node: NodeId, how: How| Task {
        namespace,
        partition,
        regime: ownership.regime,
        node,
        how,
        follows: how != How::Fence,
    };
    let all = || ownership.in_sync.iter().copied();
    let others = || all().skip(1);
    let unfenced = all().filter(|it| !stage.fenced.contains(it));
    let unfenced: Vec<Task> = unfenced.map(|it| task(it, How::Fence)).collect();
    if !stage.serves && !unfenced.is_empty() && !is_planted(Mutation::SkipsFence) {
        return unfenced;
    }
    let joining = ownership.joining().filter(|_| stage.serves);
    let alive = |node: &NodeId| state.is_alive(*node);
    let unfilled = others().chain(joining.filter(alive));
    let unfilled = unfilled.filter(|it| !stage.holders.contains(it));
    // Nobody reads a write that got stuck before this node has it durable: that comes first.
    let unsure = all()
        .take(1)
        .filter(|it| stage.unsure && !stage.fenced.contains(it));
    let unsure = unsure.map(|it| task(it, How::Fence));
    unsure
        .chain(unfilled.map(|it| task(it, How::Impose)))
        .collect()
}

/// What the primary of a strongly consistent partition has to report: that everybody in sync holds what was confirmed,
/// whom it has filled, and who did not take a write in time.
pub fn reports(
    me: NodeId,
    name: &str,
    partition: PartitionId,
    ownership: &Ownership,
    can_activate: bool,
    stage: &Stage,
) -> Vec<Synced> {
    let report = |node: NodeId, holds: Holds| Synced {
        namespace: name.to_owned(),
        partition: partition.0,
        regime: ownership.regime,
        node,
        holds,
    };
    if ownership.primary() != Some(me) || stage.regime != ownership.regime.0 {
        return Vec::new();
    }
    let lacks = |it: &NodeId| stage.lacking.contains(it) && !stage.holders.contains(it);
    let lacking = ownership.in_sync.iter().skip(1).copied().filter(lacks);
    let lacking = lacking.map(|it| report(it, Holds::Less));
    let activated = can_activate.then(|| report(me, Holds::All));
    let filled = ownership.joining().filter(|it| stage.holders.contains(it));
    let filled = filled
        .filter(|_| stage.serves)
        .map(|it| report(it, Holds::All));
    lacking.chain(activated).chain(filled).collect()
}

fn of_repair(me: NodeId, ownership: &Ownership, repair: Repair) -> Option<Task> {
    // What it holds of its own is merged first, whatever it missed meanwhile.
    let apart = ownership.apart.contains(&repair.node);
    let how = if apart { How::Merge } else { repair.how };
    let follows = match repair.how {
        How::Merge => ownership.in_sync.contains(&repair.node),
        How::Impose | How::Fence => ownership.followers().any(|node| node == repair.node),
    };
    (ownership.primary() == Some(me) && follows).then_some(Task {
        namespace: repair.namespace,
        partition: repair.partition,
        regime: ownership.regime,
        node: repair.node,
        how,
        follows: true,
    })
}

#[cfg(test)]
mod tests {
    use karst_cluster::map::NamespaceMap;
    use karst_data::key::PARTITIONS;

    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const ID: PartitionId = PartitionId(7);

    fn ownership(regime: u32, in_sync: &[NodeId]) -> Ownership {
        Ownership {
            regime: Regime(regime),
            row: in_sync.to_vec(),
            in_sync: in_sync.to_vec(),
            ..Ownership::default()
        }
    }

    fn state(ownership: Ownership) -> ClusterState {
        let mut map = NamespaceMap::new(2);
        assert_eq!(map.partitions.len(), PARTITIONS);
        map.partitions[ID.index()] = ownership;
        ClusterState {
            maps: [("test".to_owned(), map)].into(),
            ..ClusterState::default()
        }
    }

    fn look(state: &ClusterState, repairs: Vec<Repair>) -> Vec<Task> {
        let names = ["test"].into_iter();
        let stage = |_, _| Stage::default();
        let tasks = Duties::default().look(ME, state, names, |_| true, || repairs, stage);
        tasks.into_iter().collect()
    }

    #[test]
    fn a_primary_that_has_just_become_one_merges_with_who_is_in_sync_beside_it() {
        let is = ownership(5, &[ME, OTHER]);
        let after = |was: Option<&Ownership>| taken_over(ME, 0, ID, was, &is).count();
        assert_eq!(after(None), 1, "after a restart");
        assert_eq!(after(Some(&ownership(4, &[OTHER, ME]))), 1);
        assert_eq!(
            after(Some(&ownership(3, &[ME, OTHER]))),
            1,
            "who led meanwhile is not known"
        );
        assert_eq!(after(Some(&ownership(4, &[ME, OTHER]))), 0);
        let repairs: Vec<Repair> = taken_over(ME, 0, ID, None, &is).collect();
        let tasks = look(&state(is), repairs.clone());
        assert_eq!((tasks[0].how, tasks[0].node), (How::Merge, OTHER));
        let given_up = look(&state(ownership(6, &[ME])), repairs);
        assert_eq!(given_up, []);
    }

    #[test]
    fn a_repair_that_the_map_has_overtaken_is_still_to_be_made() {
        let repair = Repair {
            namespace: 0,
            partition: ID,
            node: OTHER,
            how: How::Impose,
        };
        let task = look(&state(ownership(4, &[ME, OTHER])), vec![repair])[0];
        let now = state(ownership(5, &[ME, OTHER]));
        for cut in [Cut::Later, Cut::Overtaken] {
            let after = Duties::default().ended(&now, "test", task, Err(cut));
            assert_eq!(after, After::Repair);
        }
        assert_eq!(task.repair(), repair);
        let later = look(&now, vec![repair]);
        assert_eq!(later[0].regime, Regime(5));
    }

    #[test]
    fn who_missed_a_write_and_is_apart_is_merged_with() {
        let apart = Ownership {
            row: vec![ME, OTHER],
            apart: vec![OTHER],
            ..ownership(4, &[ME])
        };
        let repair = Repair {
            namespace: 0,
            partition: ID,
            node: OTHER,
            how: How::Impose,
        };
        let tasks = look(&state(apart), vec![repair]);
        assert!(tasks.iter().all(|task| task.how == How::Merge));
    }
}

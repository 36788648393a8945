//! Everything that Raft keeps, and the commands that change it.
//!
//! A command is applied by every node in the same order and has the same outcome on each: it depends on the
//! state alone. What a command asks may have been overtaken; it is then refused as a whole, and whoever
//! proposed it looks again.

use std::collections::BTreeMap;

use karst_data::key::{PARTITIONS, PartitionId};
use serde::{Deserialize, Serialize};

use crate::map::{Maps, NamespaceMap, Ownership, Regime};
use crate::modules::{Module, Modules};
use crate::node::{ClusterId, NodeFacts, NodeId};
use crate::sindex::Sindex;

/// What the cluster knows of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it last told of itself.
    pub facts: NodeFacts,
    /// Whether it is counted on: it was heard of lately when this was last decided.
    pub alive: bool,
    /// Rises whenever it went on alone and came back, and is never less than it was, even if the node was forgotten in
    /// between: who waits for it to rise would wait for ever.
    #[serde(default)]
    pub strays: u64,
    /// Its first process in this cluster: that one had nothing to lose.
    #[serde(default)]
    pub first: u64,
    /// How often it lost what it held of a strongly consistent namespace.
    #[serde(default)]
    pub losses: u64,
    /// Whether it is on its way out: it keeps what it holds until others have it, and is given nothing.
    pub draining: bool,
    /// Whether its process is about to end: who else holds a partition leads it. Until it joins again it does
    /// not come to be alive once it is not.
    #[serde(default)]
    pub stopping: bool,
}

/// A truncation mark: records of the set last updated before this are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// The namespace.
    pub namespace: String,
    /// The set; empty for the whole namespace.
    pub set: String,
    /// Milliseconds since 2010-01-01T00:00:00Z; 0 takes the mark away.
    pub before_ms: u64,
}

/// A new owner list for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The namespace.
    pub namespace: String,
    /// The partition's number.
    pub partition: u16,
    /// The regime that the change was decided on: any other and it is refused.
    pub expected: Regime,
    /// Who should hold it.
    pub row: Vec<NodeId>,
    /// Who holds all of it, the primary first.
    pub in_sync: Vec<NodeId>,
    /// Who may hold writes that nobody else has.
    #[serde(default)]
    pub apart: Vec<NodeId>,
}

/// A partition whose regime can be activated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The namespace.
    pub namespace: String,
    /// The partition's number.
    pub partition: u16,
    /// The regime.
    pub regime: Regime,
}

/// What changes the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a cluster that was just formed its id. Refused if it has one.
    Found(ClusterId),
    /// A node joins, or tells something new of itself. It counts as alive.
    Admit(NodeFacts),
    /// A node was heard of again, or was not for too long.
    SetAlive {
        /// Which.
        node: NodeId,
        /// Whether it counts as alive.
        alive: bool,
    },
    /// A node has heard nothing of the cluster for so long that it went on alone, and is back: what it holds
    /// is to be merged.
    Stray(NodeId),
    /// A node is to leave, or is to stay after all.
    SetDraining {
        /// Which.
        node: NodeId,
        /// Whether it is to leave.
        draining: bool,
    },
    /// A node's process is about to end: others are to lead what it holds.
    Stop(NodeId),
    /// Forgets a node. Refused while it is in the in-sync set or the row of a partition that is served.
    Remove(NodeId),
    /// Partitions change hands. Those whose regime has moved on are left as they are, and those that would go
    /// to a node which was forgotten meanwhile.
    Repartition(Vec<Change>),
    /// Of these partitions everybody in sync holds what was confirmed before: they are strongly consistent ones, and
    /// each is under this regime. Others are left as they are.
    Activate(Vec<Activation>),
    /// A node has lost what it held of a strongly consistent namespace.
    Lose {
        /// Which node.
        node: NodeId,
        /// Its process.
        incarnation: u64,
        /// The namespace.
        namespace: String,
    },
    /// The partitions of a strongly consistent namespace of which too few nodes are alive that know what was
    /// confirmed go on with what others hold. What only those know that are not is lost.
    Revive {
        /// The namespace.
        namespace: String,
        /// Those of which nobody alive holds anything begin anew, empty.
        #[serde(default)]
        empty: bool,
    },
    /// A truncation mark is set, never back.
    Truncate(Truncation),
    /// A truncation mark is taken away.
    UndoTruncate {
        /// The namespace.
        namespace: String,
        /// The set; empty for the namespace's own.
        set: String,
    },
    /// A secondary index is made, or takes another name: see [`crate::sindex`].
    CreateSindex(Sindex),
    /// A secondary index goes, if it is there.
    DropSindex {
        /// The namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A module of user-defined functions is there from now on, in the stead of one of the same file.
    PutModule(Module),
    /// The module of this file is there no more.
    RemoveModule(String),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was applied, or asked for what is already so.
    Applied,
    /// It was not, and why.
    Refused(String),
}

/// Marks the generation of a state that a node made [for itself](crate::island).
pub const ISLAND: u64 = 1 << 63;

/// See [the module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Drawn when the cluster was formed.
    pub cluster: Option<ClusterId>,
    /// Its nodes, dead ones too until they are removed.
    pub nodes: BTreeMap<NodeId, Member>,
    /// Who serves what, by namespace.
    pub maps: Maps,
    /// Truncation marks by namespace and set.
    pub truncations: Vec<Truncation>,
    /// Secondary indexes, by namespace and name.
    #[serde(default)]
    pub sindexes: Vec<Sindex>,
    /// Modules of user-defined functions.
    #[serde(default)]
    pub modules: Modules,
    /// Rises with each change of `nodes` or `maps` that anybody may see.
    pub generation: u64,
}

impl ClusterState {
    /// Whether a node counts as alive.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|it| it.alive)
    }

    /// Whether this is a state that a node made for itself, while nothing was heard of the cluster.
    pub fn is_island(&self) -> bool {
        self.generation & ISLAND != 0
    }

    /// Whether some node may hold an older state of a record than those who serve it: one is away, partitions
    /// of the namespace are still on their way, or what others hold is not known, or nothing at all. Then no tombstone
    /// is dropped.
    pub fn may_be_outdated_somewhere(&self, namespace: &str) -> bool {
        let away = self.nodes.values().any(|member| !member.alive);
        let moving = || {
            let map = self.maps.get(namespace);
            map.is_some_and(|map| {
                map.partitions
                    .iter()
                    .any(|it| !it.is_settled() || !it.apart.is_empty())
            })
        };
        let unknown = self.nodes.is_empty(); // of a node that was not let in yet
        unknown || self.nodes.len() > 1 && (self.is_island() || away || moving())
    }

    /// Applies a command. See [the module](self).
    pub fn apply(&mut self, command: Command) -> Outcome {
        let before = self.generation;
        let outcome = match command {
            Command::Found(cluster) => self.found(cluster),
            Command::Admit(facts) => self.admit(facts),
            Command::SetAlive { node, alive } => self.change(node, |member| member.alive = alive),
            Command::SetDraining { node, draining } => {
                self.change(node, |member| member.draining = draining)
            }
            Command::Stray(node) => self.stray(node),
            Command::Stop(node) => self.change(node, |member| member.stopping = true),
            Command::Remove(node) => self.remove(node),
            Command::Repartition(changes) => self.repartition(changes),
            Command::Activate(activations) => self.activate(&activations),
            Command::Lose {
                node,
                incarnation,
                namespace,
            } => self.lose(node, incarnation, &namespace),
            Command::Revive { namespace, empty } => self.revive(&namespace, empty),
            Command::Truncate(truncation) => self.truncate(truncation),
            Command::UndoTruncate { namespace, set } => {
                self.truncations
                    .retain(|mark| mark.namespace != namespace || mark.set != set);
                Outcome::Applied
            }
            Command::CreateSindex(sindex) => self.create_sindex(sindex),
            Command::DropSindex { namespace, name } => self.drop_sindex(&namespace, &name),
            Command::PutModule(module) => match self.modules.put(module) {
                Ok(()) => Outcome::Applied,
                Err(why) => Outcome::Refused(why),
            },
            Command::RemoveModule(file) => {
                self.modules.remove(&file);
                Outcome::Applied
            }
        };
        debug_assert!(self.generation >= before);
        outcome
    }

    fn found(&mut self, cluster: ClusterId) -> Outcome {
        match self.cluster {
            Some(known) if known != cluster => {
                Outcome::Refused(format!("this is cluster {known} already"))
            }
            Some(_) | None => {
                self.cluster = Some(cluster);
                Outcome::Applied
            }
        }
    }

    fn admit(&mut self, facts: NodeFacts) -> Outcome {
        let differs = facts.namespaces.iter().find(|namespace| {
            let map = self.maps.get(&namespace.name);
            map.is_some_and(|map| map.strong != namespace.strong)
        });
        if let Some(namespace) = differs {
            let mode = |strong: bool| if strong { "cp" } else { "ap" };
            return Outcome::Refused(format!(
                "namespace {} has mode {:?} in this cluster, and {:?} at this node",
                namespace.name,
                mode(!namespace.strong),
                mode(namespace.strong),
            ));
        }
        let known = self.nodes.get(&facts.id);
        let member = Member {
            draining: known.is_some_and(|member| member.draining),
            strays: known.map_or(self.generation, |member| member.strays), // which rose whenever that did
            first: known.map_or(facts.incarnation, |member| member.first),
            losses: known.map_or(0, |member| member.losses),
            facts,
            alive: true,
            stopping: false,
        };
        let id = member.facts.id;
        let before = self.nodes.get(&id).map(|known| known.facts.incarnation);
        if before.is_some_and(|before| before != member.facts.incarnation) {
            self.out_of_sync(id);
            self.restarted(id);
        }
        if self.nodes.get(&id) != Some(&member) {
            self.nodes.insert(id, member);
            self.take_up_namespaces();
            self.generation += 1;
        }
        Outcome::Applied
    }

    /// Gives every namespace that a node is configured with a map, and the replication factor that all nodes
    /// agree to: the smallest of theirs. One that no node is configured with any more keeps its last.
    fn take_up_namespaces(&mut self) {
        let mut factors = BTreeMap::<&str, (u8, bool)>::new();
        for namespace in self.nodes.values().flat_map(|it| &it.facts.namespaces) {
            let (factor, _) = factors
                .entry(&namespace.name)
                .or_insert((namespace.replication_factor, namespace.strong));
            *factor = (*factor).min(namespace.replication_factor);
        }
        for (name, (factor, strong)) in factors {
            let new = || NamespaceMap {
                strong,
                ..NamespaceMap::new(factor)
            };
            let map = self.maps.entry(name.to_owned()).or_insert_with(new);
            map.replication_factor = factor;
        }
    }

    /// A node went on alone and may have taken writes of any partition of its namespaces. Where others hold
    /// everything it is one of those no more.
    fn stray(&mut self, node: NodeId) -> Outcome {
        self.out_of_sync(node);
        let Some(member) = self.nodes.get(&node) else {
            return Outcome::Refused(format!("no node {node}"));
        };
        for namespace in &member.facts.namespaces {
            let map = self.maps.get_mut(&namespace.name);
            let map = map.filter(|map| !map.strong); // of that nobody takes writes alone
            for partition in map.into_iter().flat_map(|map| &mut map.partitions) {
                let known = partition.in_sync.contains(&node) || partition.apart.contains(&node);
                if !known {
                    partition.apart.push(node);
                    partition.regime = partition.regime.next();
                }
            }
        }
        self.change(node, |member| member.strays += 1)
    }

    /// A node has come back as another process before anybody missed it, or went on alone. It may hold less
    /// than it should, or more: where others hold everything it is one of those no more.
    ///
    /// The last one in sync stays. But where all that it held is gone with the process, who was joining may have
    /// more, and is to be merged with.
    fn out_of_sync(&mut self, node: NodeId) {
        let facts = self.nodes.get(&node).map(|member| &member.facts);
        let volatile = |name: &str| {
            let mut namespaces = facts.iter().flat_map(|facts| &facts.namespaces);
            namespaces.any(|it| it.name == name && it.volatile)
        };
        let available = self.maps.iter_mut().filter(|(_, map)| !map.strong);
        let partitions = available.flat_map(|(name, map)| {
            let volatile = volatile(name);
            map.partitions.iter_mut().map(move |it| (it, volatile))
        });
        for (partition, volatile) in partitions {
            let in_sync = partition.in_sync.contains(&node);
            if in_sync && partition.in_sync.len() > 1 {
                partition.in_sync.retain(|it| *it != node);
                partition.apart.push(node);
            } else if in_sync && volatile {
                let joining: Vec<NodeId> = partition.joining().collect();
                partition.apart.extend(joining);
                partition.apart.sort_unstable();
                partition.apart.dedup();
            }
            // A report that it was filled is of what it held then.
            if in_sync || partition.row.contains(&node) || partition.apart.contains(&node) {
                partition.regime = partition.regime.next();
            }
        }
    }

    /// A node has come back as another process, which takes part in nothing before its copy of the state says so.
    fn restarted(&mut self, node: NodeId) {
        let facts = self.nodes.get(&node).map(|member| &member.facts);
        let namespaces = facts.iter().flat_map(|facts| &facts.namespaces);
        for namespace in namespaces.filter(|it| it.strong) {
            let map = self.maps.get_mut(&namespace.name);
            for partition in map.into_iter().flat_map(|map| &mut map.partitions) {
                partition.restarted(node, namespace.volatile);
            }
        }
    }

    fn lose(&mut self, node: NodeId, incarnation: u64, namespace: &str) -> Outcome {
        let known = self.nodes.get(&node).map(|member| member.facts.incarnation);
        if known != Some(incarnation) {
            return Outcome::Refused(format!("node {node} is another process by now"));
        }
        let Some(map) = self.maps.get_mut(namespace).filter(|map| map.strong) else {
            return Outcome::Refused(format!("no strongly consistent namespace {namespace}"));
        };
        for partition in &mut map.partitions {
            partition.restarted(node, true);
        }
        self.change(node, |member| member.losses += 1)
    }

    fn revive(&mut self, namespace: &str, empty: bool) -> Outcome {
        let nodes = &self.nodes;
        let alive = |node: NodeId| nodes.get(&node).is_some_and(|it| it.alive);
        let Some(map) = self.maps.get_mut(namespace).filter(|map| map.strong) else {
            return Outcome::Refused(format!("no strongly consistent namespace {namespace}"));
        };
        let mut revived = 0;
        for partition in &mut map.partitions {
            let next = partition.revived(alive);
            if let Some(next) = next.or_else(|| partition.emptied(alive).filter(|_| empty)) {
                *partition = next;
                revived += 1;
            }
        }
        self.generation += u64::from(revived > 0);
        Outcome::Applied
    }

    fn activate(&mut self, activations: &[Activation]) -> Outcome {
        let mut stale = 0;
        for it in activations {
            let map = self.maps.get_mut(&it.namespace);
            let partition = map.and_then(|map| map.partitions.get_mut(usize::from(it.partition)));
            let activated = partition.is_some_and(|partition| partition.activate(it.regime));
            stale += usize::from(!activated);
        }
        self.generation += u64::from(stale < activations.len());
        match stale {
            0 => Outcome::Applied,
            _ => Outcome::Refused(format!("{stale} of {} were overtaken", activations.len())),
        }
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Member)) -> Outcome {
        let Some(member) = self.nodes.get_mut(&node) else {
            return Outcome::Refused(format!("no node {node}"));
        };
        let before = member.clone();
        change(member);
        self.generation += u64::from(*member != before);
        Outcome::Applied
    }

    fn remove(&mut self, node: NodeId) -> Outcome {
        // Where nobody serves, the row tells who held the partition last. It must not keep a node that is gone
        // for good from being forgotten.
        let holds = |partition: &Ownership| {
            partition.in_sync.contains(&node)
                || partition.prior.contains(&node)
                || partition.row.contains(&node) && partition.primary().is_some()
        };
        let held = |map: &NamespaceMap| map.partitions.iter().filter(|it| holds(it)).count();
        let held: usize = self.maps.values().map(held).sum();
        if held > 0 {
            return Outcome::Refused(format!("node {node} still has {held} partitions"));
        }
        self.generation += u64::from(self.nodes.remove(&node).is_some());
        self.take_up_namespaces();
        Outcome::Applied
    }

    fn repartition(&mut self, changes: Vec<Change>) -> Outcome {
        let mut stale = 0;
        let asked = changes.len();
        for change in changes {
            stale += usize::from(!self.hand_over(change));
        }
        self.generation += u64::from(stale < asked);
        match stale {
            0 => Outcome::Applied,
            _ => Outcome::Refused(format!("{stale} of {asked} changes were overtaken")),
        }
    }

    fn hand_over(&mut self, change: Change) -> bool {
        if usize::from(change.partition) >= PARTITIONS {
            return false;
        }
        let Some(map) = self.maps.get_mut(&change.namespace) else {
            return false;
        };
        let partition = &mut map.partitions[PartitionId(change.partition).index()];
        let mut named = change.row.iter().chain(&change.in_sync);
        if partition.regime != change.expected || !named.all(|it| self.nodes.contains_key(it)) {
            return false;
        }
        if map.strong {
            let next = partition.next_config(change.row, change.in_sync);
            return next.map(|next| *partition = next).is_some();
        }
        *partition = Ownership {
            regime: change.expected.next(),
            row: change.row,
            in_sync: change.in_sync,
            apart: change.apart,
            ..Ownership::default()
        };
        true
    }

    fn truncate(&mut self, new: Truncation) -> Outcome {
        let same = |mark: &&mut Truncation| mark.namespace == new.namespace && mark.set == new.set;
        match self.truncations.iter_mut().find(same) {
            Some(mark) => mark.before_ms = mark.before_ms.max(new.before_ms),
            None => self.truncations.push(new),
        }
        Outcome::Applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: u64) -> NodeFacts {
        NodeFacts {
            id: NodeId(id),
            incarnation: 0,
            name: format!("n{id}"),
            fabric: String::new(),
            control: String::new(),
            service: Vec::new(),
            rack: 0,
            namespaces: vec![crate::node::NamespaceFacts {
                name: "test".into(),
                replication_factor: 2,
                volatile: false,
                strong: false,
            }],
        }
    }

    fn change(expected: u32, in_sync: &[u64]) -> Change {
        let nodes: Vec<_> = in_sync.iter().map(|id| NodeId(*id)).collect();
        Change {
            namespace: "test".into(),
            partition: 7,
            expected: Regime(expected),
            row: nodes.clone(),
            in_sync: nodes,
            apart: Vec::new(),
        }
    }

    #[test]
    fn a_change_that_was_decided_on_an_older_regime_changes_nothing() {
        let mut state = ClusterState::default();
        state.apply(Command::Admit(facts(1)));
        state.apply(Command::Admit(facts(2)));
        let first = state.apply(Command::Repartition(vec![change(0, &[1])]));
        assert_eq!(first, Outcome::Applied);
        let before = state.clone();
        let second = state.apply(Command::Repartition(vec![change(0, &[2])]));
        assert!(matches!(second, Outcome::Refused(_)));
        assert_eq!(state, before);
        assert_eq!(state.maps["test"].partitions[7].regime, Regime(1));
    }

    #[test]
    fn who_knows_nothing_of_the_others_takes_them_for_outdated() {
        let mut state = ClusterState::default();
        assert!(state.may_be_outdated_somewhere("test"));
        state.apply(Command::Admit(facts(1)));
        assert!(!state.may_be_outdated_somewhere("test"));
        state.apply(Command::Admit(facts(2)));
        state.apply(Command::SetAlive {
            node: NodeId(2),
            alive: false,
        });
        assert!(state.may_be_outdated_somewhere("test"));
    }

    #[test]
    fn a_node_that_still_holds_partitions_is_not_removed() {
        let mut state = ClusterState::default();
        state.apply(Command::Admit(facts(1)));
        state.apply(Command::Admit(facts(2)));
        state.apply(Command::Repartition(vec![change(0, &[1])]));
        assert!(matches!(
            state.apply(Command::Remove(NodeId(1))),
            Outcome::Refused(_)
        ));
        state.apply(Command::Repartition(vec![change(1, &[2])]));
        assert_eq!(state.apply(Command::Remove(NodeId(1))), Outcome::Applied);
        assert!(state.nodes.keys().eq([&NodeId(2)]));
    }

    #[test]
    fn a_node_that_was_forgotten_is_given_nothing() {
        let mut state = ClusterState::default();
        state.apply(Command::Admit(facts(1)));
        state.apply(Command::Admit(facts(2)));
        state.apply(Command::Remove(NodeId(2)));
        let late = state.apply(Command::Repartition(vec![change(0, &[1, 2])]));
        assert!(matches!(late, Outcome::Refused(_)));
        assert_eq!(state.maps["test"].partitions[7], Ownership::default());
    }

    #[test]
    fn a_namespace_has_as_many_copies_as_the_node_that_asks_for_fewest() {
        let asking = |id: u64, replication_factor: u8| {
            let mut facts = facts(id);
            facts.namespaces[0].replication_factor = replication_factor;
            Command::Admit(facts)
        };
        let mut state = ClusterState::default();
        let mut check = |command, expected| {
            assert_eq!(state.apply(command), Outcome::Applied);
            assert_eq!(state.maps["test"].replication_factor, expected);
        };
        check(asking(1, 3), 3);
        check(asking(2, 2), 2);
        check(asking(3, 4), 2);
        check(asking(2, 3), 3);
        check(asking(1, 1), 1);
        check(Command::Remove(NodeId(1)), 3);
    }

    #[test]
    fn a_node_that_restarts_unmissed_is_out_of_sync_wherever_others_are_in() {
        let mut state = ClusterState::default();
        state.apply(Command::Admit(facts(1)));
        state.apply(Command::Admit(facts(2)));
        state.apply(Command::Repartition(vec![change(0, &[1, 2])]));
        let restarted = |id, incarnation| NodeFacts {
            incarnation,
            ..facts(id)
        };
        state.apply(Command::Admit(restarted(1, 5)));
        let partition = &state.maps["test"].partitions[7];
        assert_eq!(
            (&*partition.in_sync, &*partition.apart),
            (&[NodeId(2)][..], &[NodeId(1)][..])
        );
        assert_eq!(partition.regime, Regime(2));
        // The last one stays: nobody holds more. What was reported of who joins counts no more.
        state.apply(Command::Admit(restarted(2, 6)));
        let partition = &state.maps["test"].partitions[7];
        assert_eq!(partition.in_sync, [NodeId(2)]);
        assert_eq!(partition.regime, Regime(3));
        state.apply(Command::Admit(restarted(1, 7)));
        assert_eq!(state.maps["test"].partitions[7].regime, Regime(4));
    }

    #[test]
    fn who_joined_a_node_that_lost_its_memory_is_merged_with() {
        let mut state = ClusterState::default();
        let in_memory = |id, incarnation| {
            let mut facts = facts(id);
            facts.namespaces[0].volatile = true;
            NodeFacts {
                incarnation,
                ..facts
            }
        };
        state.apply(Command::Admit(in_memory(1, 0)));
        state.apply(Command::Admit(in_memory(2, 0)));
        let filling = Change {
            row: vec![NodeId(1), NodeId(2)],
            ..change(0, &[1])
        };
        state.apply(Command::Repartition(vec![filling]));
        state.apply(Command::Admit(in_memory(1, 5)));
        let partition = &state.maps["test"].partitions[7];
        assert_eq!(
            (&*partition.in_sync, &*partition.apart),
            (&[NodeId(1)][..], &[NodeId(2)][..])
        );
    }

    #[test]
    fn who_is_forgotten_while_he_waits_to_be_taken_back_sees_that_he_was() {
        let mut state = ClusterState::default();
        (1..=3).for_each(|id| drop(state.apply(Command::Admit(facts(id)))));
        (0..2).for_each(|_| drop(state.apply(Command::Stray(NodeId(3)))));
        let before = state.nodes[&NodeId(3)].strays;
        for partition in &mut state.maps.get_mut("test").unwrap().partitions {
            partition.apart.clear();
        }
        assert_eq!(state.apply(Command::Remove(NodeId(3))), Outcome::Applied);
        state.apply(Command::Admit(facts(3)));
        state.apply(Command::Stray(NodeId(3)));
        assert!(state.nodes[&NodeId(3)].strays > before);
    }

    #[test]
    fn a_node_that_went_on_alone_may_hold_writes_of_every_partition() {
        let mut state = ClusterState::default();
        (1..=3).for_each(|id| drop(state.apply(Command::Admit(facts(id)))));
        state.apply(Command::Repartition(vec![change(0, &[1, 2])]));
        let before = state.nodes[&NodeId(3)].strays;
        assert_eq!(state.apply(Command::Stray(NodeId(3))), Outcome::Applied);
        let partitions = &state.maps["test"].partitions;
        assert!(partitions.iter().all(|it| it.apart == [NodeId(3)]));
        assert_eq!(partitions[7].in_sync, [NodeId(1), NodeId(2)]);
        assert_eq!(state.nodes[&NodeId(3)].strays, before + 1);
        let no_such = state.apply(Command::Stray(NodeId(9)));
        assert!(matches!(no_such, Outcome::Refused(_)));
    }

    #[test]
    fn a_cluster_never_takes_another_id() {
        let mut state = ClusterState::default();
        let (a, b) = (ClusterId([1; 16]), ClusterId([2; 16]));
        assert_eq!(state.apply(Command::Found(a)), Outcome::Applied);
        assert!(matches!(
            state.apply(Command::Found(b)),
            Outcome::Refused(_)
        ));
        assert_eq!(state.cluster, Some(a));
    }
}

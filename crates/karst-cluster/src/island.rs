//! The map of nodes that hear each other and no Raft leader.
//!
//! In available mode such a node goes on: from the last map that it knows to be committed, and the nodes it
//! hears, it makes the map that a leader would make that heard the same. It is made anew from the committed one
//! whenever other nodes are heard, never from an earlier one of its own, so that nodes with the same committed
//! map that hear each other make the same. Where they do not, because they hear different nodes for a moment
//! or know different maps, two nodes may take a partition's writes at once. Copies then differ until they are
//! merged, as they do between two islands.
//!
//! What always holds
//!   an island's map is in memory only: Raft never sees it, and a restart forgets it
//!   every regime on it bears the mark of [`Regime::alone`](crate::map::Regime::alone), so that no message of
//!     an island passes for one of the committed map, nor the other way round; a node takes only those of the
//!     kind of its own map, and of another island only those that began from the same committed map
//!   nobody comes to be in sync on an island: whoever joins takes writes, but is only trusted after healing
//!
//! **Order.** Between two committed regimes the greater is the newer. An island's and a committed one are not
//! compared at all: after healing the committed map replaces the island's, whatever the numbers.
//!
//! **Healing.** Meanwhile the leader may have given the partitions to others, or there was none and two nodes
//! in sync went on apart. Either way a node that served alone holds writes that others lack and lacks theirs.
//! So it has the cluster agree ([`Stray`](crate::state::Command::Stray)) that it may hold writes of every partition of
//! its namespaces: it is taken out of the in-sync sets in which others are, and is apart everywhere else. Until its own copy
//! of the state says so it serves by its island's map. Then it is joining, or apart, or the only one in sync; primaries merge with
//! it in both directions, by last update, so nothing is lost that should win. If the leader fails on the way it is asked for once more,
//! which does no harm.

use std::collections::BTreeSet;

use crate::map::{Maps, NamespaceMap};
use crate::node::NodeId;
use crate::plan::{Heard, plan};
use crate::state::{ClusterState, ISLAND};

/// A map that was made alone. See [the module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Island {
    /// The generation of the committed state that it was made from.
    pub since: u64,
    /// Who is on it.
    pub nodes: BTreeSet<NodeId>,
    /// Who serves what there.
    pub maps: Maps,
}

/// The map by which a node serves that hears these nodes and no leader.
pub fn local_map(committed: &ClusterState, me: NodeId, heard: &BTreeSet<NodeId>) -> Island {
    let mut nodes = heard.clone();
    nodes.insert(me);
    let mut state = committed.clone();
    // Strongly consistent namespaces know no islands: what was agreed on stands.
    let strong = |map: &NamespaceMap| map.strong;
    state.maps.retain(|_, map| !strong(map));
    for command in plan(&state, &Heard::all(nodes.clone()), &[]) {
        state.apply(command);
    }
    let mut maps = state.maps;
    let kept = committed.maps.iter().filter(|(_, map)| strong(map));
    maps.extend(kept.map(|(name, map)| (name.clone(), map.clone())));
    let available = maps.values_mut().filter(|map| !strong(map));
    for partition in available.flat_map(|map| &mut map.partitions) {
        partition.regime = partition.regime.alone();
    }
    Island {
        since: committed.generation,
        nodes,
        maps,
    }
}

/// The state by which a node serves that hears these nodes and no leader.
pub fn alone_with(committed: &ClusterState, me: NodeId, heard: &BTreeSet<NodeId>) -> ClusterState {
    let island = local_map(committed, me, heard);
    let mut state = ClusterState {
        maps: island.maps,
        generation: committed.generation | ISLAND, // it is told apart from the cluster's by clients
        ..committed.clone()
    };
    for (id, member) in &mut state.nodes {
        member.alive = island.nodes.contains(id);
    }
    state
}

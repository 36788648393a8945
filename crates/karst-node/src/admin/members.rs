//! The cluster and its nodes, as this node sees them.
//!
//! Of itself the asked node tells everything, of the others what the cluster's state has of them.

use std::collections::BTreeSet;

use karst_cluster::state::{ClusterState, Member};
use karst_proto::admin as proto;

use crate::metrics::Figures;
use crate::node::{Node, NodeId};

/// The cluster as a whole.
pub(super) fn cluster(node: &Node) -> proto::Cluster {
    let state = node.cluster.snapshot();
    proto::Cluster {
        name: node.config.cluster.name.clone(),
        id: node.cluster_id.to_string(),
        leader: leader(node, &state),
        map_generation: state.generation,
    }
}

/// The leader's name; empty while none is known.
fn leader(node: &Node, state: &ClusterState) -> String {
    let only = || state.nodes.keys().next().filter(|_| state.nodes.len() == 1);
    let leader = node.cluster.leader().or(only().copied());
    match leader.map(|leader| (leader, state.nodes.get(&leader))) {
        Some((_, Some(member))) => member.facts.name.clone(),
        Some((leader, None)) if leader == node.id => node.config.node.name.clone(),
        Some(_) | None => String::new(),
    }
}

/// All nodes, by name.
pub(super) fn nodes(node: &Node, figures: &[Figures]) -> Vec<proto::Node> {
    let state = node.cluster.snapshot();
    let joining = joining(&state);
    let others = state.nodes.iter().filter(|(id, _)| **id != node.id);
    let others = others.map(|(id, member)| other(member, joining.contains(id)));
    let mut all: Vec<proto::Node> = others.collect();
    all.push(super::this_node(node, figures));
    all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    all
}

/// Nodes that are to hold something and hold nothing yet.
fn joining(state: &ClusterState) -> BTreeSet<NodeId> {
    let partitions = || state.maps.values().flat_map(|map| &map.partitions);
    let mut joining: BTreeSet<NodeId> = partitions().flat_map(|it| it.joining()).collect();
    for holder in partitions().flat_map(|partition| &partition.in_sync) {
        joining.remove(holder);
    }
    joining
}

fn other(member: &Member, joining: bool) -> proto::Node {
    let facts = &member.facts;
    let state = match member {
        Member { alive: false, .. } => proto::NodeState::Unreachable,
        Member { draining: true, .. } => proto::NodeState::Draining,
        Member { .. } if joining => proto::NodeState::Joining,
        Member { .. } => proto::NodeState::Serving,
    };
    proto::Node {
        name: facts.name.clone(),
        id: facts.id.to_string(),
        state: state.into(),
        service: facts.service.first().cloned().unwrap_or_default(),
        admin: facts.control.clone(),
        rack: facts.rack,
        fabric: facts.fabric.clone(),
        ..proto::Node::default()
    }
}

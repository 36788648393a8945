//! The cluster and its nodes, as this node sees them.
//!
//! Of itself the asked node tells everything, of the others what the cluster's state has of them.

use std::collections::BTreeMap;

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
    let shares = shares(&state);
    let share = |id: &NodeId| shares.get(id).copied().unwrap_or_default();
    let others = state.nodes.iter().filter(|(id, _)| **id != node.id);
    let mut all: Vec<proto::Node> = others
        .map(|(id, member)| other(member, share(id)))
        .collect();
    let mut this = super::this_node(node, figures);
    if let Some(member) = state.nodes.get(&node.id) {
        if this.state() == proto::NodeState::Serving && (member.draining || member.stopping) {
            this.set_state(proto::NodeState::Draining);
        }
        this.draining = member.draining;
    }
    share(&node.id).put(&mut this);
    all.push(this);
    all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    all
}

/// One node as the state has it.
pub(super) fn one(state: &ClusterState, id: NodeId, member: &Member) -> proto::Node {
    other(member, shares(state).get(&id).copied().unwrap_or_default())
}

/// Partitions of a node, of all namespaces together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) primary: u64,
    pub(super) replica: u64,
    pub(super) joining: u64,
    pub(super) apart: u64,
}

impl Share {
    /// It is to hold something and holds nothing yet.
    fn joins(&self) -> bool {
        self.joining > 0 && self.primary + self.replica == 0
    }

    fn put(&self, node: &mut proto::Node) {
        node.partitions_primary = self.primary;
        node.partitions_replica = self.replica;
        node.partitions_joining = self.joining;
        node.partitions_apart = self.apart;
    }
}

fn shares(state: &ClusterState) -> BTreeMap<NodeId, Share> {
    let mut shares = BTreeMap::<NodeId, Share>::new();
    for partition in state.maps.values().flat_map(|map| &map.partitions) {
        for (place, id) in partition.in_sync.iter().enumerate() {
            let share = shares.entry(*id).or_default();
            match place {
                0 => share.primary += 1,
                _ => share.replica += 1,
            }
        }
        for id in partition.joining() {
            shares.entry(id).or_default().joining += 1;
        }
        for id in &partition.apart {
            shares.entry(*id).or_default().apart += 1;
        }
    }
    shares
}

fn other(member: &Member, share: Share) -> proto::Node {
    let facts = &member.facts;
    let state = match member {
        Member { alive: false, .. } => proto::NodeState::Unreachable,
        Member { draining: true, .. } | Member { stopping: true, .. } => proto::NodeState::Draining,
        Member { .. } if share.joins() => proto::NodeState::Joining,
        Member { .. } => proto::NodeState::Serving,
    };
    let mut node = proto::Node {
        name: facts.name.clone(),
        id: facts.id.to_string(),
        state: state.into(),
        service: facts.service.first().cloned().unwrap_or_default(),
        admin: facts.control.clone(),
        rack: facts.rack,
        fabric: facts.fabric.clone(),
        draining: member.draining,
        ..proto::Node::default()
    };
    share.put(&mut node);
    node
}

//! The map as one node's data path reads it: by the node's own namespaces, with its own role worked out.
//!
//! A view is made once for each change of the map and never changed. Whoever carries out a request takes
//! one at its beginning; what it decided on may be overtaken, which is what regimes are for: a partition
//! itself knows the newest regime, and refuses what was decided under another.

use karst_data::key::{PARTITIONS, PartitionId};
use karst_data::mutation::{Mutation, is_planted};

use crate::map::{Ownership, Regime, Role};
use crate::node::NodeId;
use crate::state::ClusterState;
use crate::strong::{is_confirmed, write_quorum};

/// What a node has to know of one partition to carry out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of the partition.
    pub regime: Regime,
    /// What this node is to it.
    pub role: Role,
    /// Whether this node may hold writes of it that nobody else has.
    pub apart: bool,
    /// Who takes its writes.
    pub primary: Option<NodeId>,
    /// Whom its primary sends each write.
    pub followers: Box<[NodeId]>,
    /// Who confirms writes, if consistency is strong.
    pub quorums: Option<Quorums>,
}

/// Whose confirmations a write of a strongly consistent partition needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// A write quorum of these.
    pub in_sync: Box<[NodeId]>,
    /// And one of these, while the regime is not activated.
    pub prior: Box<[NodeId]>,
    /// The last regime that was activated.
    pub activated: Regime,
    /// Whether enough of them are alive.
    pub can_confirm: bool,
    /// Whether this node is one of those that know what was confirmed.
    pub knows: bool,
    /// Whether enough of those are alive for the partition to be served, now or soon.
    pub stands: bool,
    /// The process of each whom the primary sends its writes: another one may hold less.
    pub processes: Box<[(NodeId, u64)]>,
}

impl Quorums {
    pub(crate) fn of(
        me: NodeId,
        state: &ClusterState,
        ownership: &Ownership,
        followers: &[NodeId],
    ) -> Quorums {
        let process = |node: &NodeId| {
            let member = state.nodes.get(node);
            (*node, member.map_or(0, |member| member.facts.incarnation))
        };
        let mut quorums = Quorums {
            in_sync: ownership.in_sync.as_slice().into(),
            prior: ownership.prior.as_slice().into(),
            activated: ownership.activated,
            can_confirm: false,
            knows: ownership.known().any(|it| it == me),
            stands: ownership.is_known_to(|it| state.is_alive(it)),
            processes: followers.iter().map(process).collect(),
        };
        let all = ownership.in_sync.iter().chain(&ownership.prior);
        let alive: Vec<NodeId> = all.filter(|it| state.is_alive(**it)).copied().collect();
        quorums.can_confirm = quorums.are_met_by(&alive);
        quorums
    }

    /// Whether these nodes' confirmations are enough.
    pub fn are_met_by(&self, nodes: &[NodeId]) -> bool {
        if is_planted(Mutation::CountsAnybody) {
            return nodes.len() >= write_quorum(self.in_sync.len());
        }
        match self.prior.is_empty() {
            true => is_confirmed(nodes, &[&self.in_sync]),
            false => is_confirmed(nodes, &[&self.in_sync, &self.prior]),
        }
    }

    /// Whether the regime that stands is activated.
    pub fn is_activated(&self) -> bool {
        self.prior.is_empty()
    }
}

/// Where a request is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Here.
    Here,
    /// By this node, to which it is handed on.
    At(NodeId),
    /// Nobody serves the partition now.
    Nowhere,
}

impl Share {
    /// Of a partition that nobody serves, for as long as there is no map.
    fn unserved() -> Share {
        Share {
            regime: Regime::default(),
            role: Role::Stranger,
            apart: false,
            primary: None,
            followers: Box::default(),
            quorums: None,
        }
    }

    fn of(me: NodeId, ownership: &Ownership) -> Share {
        Share {
            regime: ownership.regime,
            role: ownership.role(me),
            apart: ownership.apart.contains(&me),
            primary: ownership.primary(),
            followers: ownership.followers().collect(),
            quorums: None,
        }
    }

    /// Of a partition of a strongly consistent namespace: those by whom writes were last confirmed are sent them too,
    /// as long as they have to confirm.
    fn of_strong(me: NodeId, state: &ClusterState, ownership: &Ownership) -> Share {
        let mut followers: Vec<NodeId> = ownership.followers().collect();
        for node in ownership.prior.iter().filter(|it| state.is_alive(**it)) {
            if *node != me && !ownership.in_sync.contains(node) && !followers.contains(node) {
                followers.push(*node);
            }
        }
        Share {
            quorums: Some(Quorums::of(me, state, ownership, &followers)),
            followers: followers.into(),
            ..Share::of(me, ownership)
        }
    }

    /// Where a request goes. Writes belong to the primary. A read is answered by whoever holds all of
    /// the partition, so that clients may choose a replica; it may then be a moment behind, which is why a read of
    /// a strongly consistent partition counts as a write here unless its client allows that.
    pub fn way(&self, writes: bool) -> Way {
        match (self.role, self.primary) {
            (Role::Primary, _) => Way::Here,
            (Role::Replica, _) if !writes => Way::Here,
            (Role::Replica | Role::Joining | Role::Stranger, Some(primary)) => Way::At(primary),
            (Role::Replica | Role::Joining | Role::Stranger, None) => Way::Nowhere,
        }
    }
}

/// See [the module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// Of the cluster's state that this was made from.
    pub generation: u64,
    namespaces: Vec<Vec<Share>>,
}

impl View {
    /// What a node sees of a state. `names` are its own namespaces in its own order.
    pub fn new(me: NodeId, state: &ClusterState, names: &[&str]) -> View {
        let shares = |name: &&str| match state.maps.get(*name) {
            None => vec![Share::unserved(); PARTITIONS],
            Some(map) => {
                let of = |it| match map.strong {
                    true => Share::of_strong(me, state, it),
                    false => Share::of(me, it),
                };
                map.partitions.iter().map(of).collect()
            }
        };
        View {
            me,
            generation: state.generation,
            namespaces: names.iter().map(shares).collect(),
        }
    }

    /// One partition of the namespace at a position.
    pub fn share(&self, namespace: usize, id: PartitionId) -> &Share {
        &self.namespaces[namespace][id.index()]
    }

    /// All partitions of a namespace, in order.
    pub fn shares(&self, namespace: usize) -> &[Share] {
        &self.namespaces[namespace]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(me: u64, row: &[u64], in_sync: &[u64]) -> Share {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
        let ownership = Ownership {
            regime: Regime(3),
            row: nodes(row),
            in_sync: nodes(in_sync),
            ..Ownership::default()
        };
        Share::of(NodeId(me), &ownership)
    }

    #[test]
    fn writes_go_to_the_primary_and_reads_to_whoever_holds_everything() {
        let cases = [
            (share(1, &[1, 2], &[1, 2]), Way::Here, Way::Here),
            (share(2, &[1, 2], &[1, 2]), Way::At(NodeId(1)), Way::Here),
            (
                share(2, &[1, 2], &[1]),
                Way::At(NodeId(1)),
                Way::At(NodeId(1)),
            ),
            (
                share(3, &[1, 2], &[1, 2]),
                Way::At(NodeId(1)),
                Way::At(NodeId(1)),
            ),
            (share(1, &[1, 2], &[]), Way::Nowhere, Way::Nowhere),
        ];
        for (share, write, read) in cases {
            assert_eq!(
                (share.way(true), share.way(false)),
                (write, read),
                "{share:?}"
            );
        }
    }

    #[test]
    fn a_primary_sends_writes_to_who_is_in_sync_and_to_who_is_being_filled() {
        let followers = share(4, &[1, 2, 3], &[4, 2]).followers;
        assert_eq!(*followers, [NodeId(2), NodeId(1), NodeId(3)]);
    }
}

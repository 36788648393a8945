//! Who serves which partition, as the newest state has it.

use std::collections::BTreeMap;

use karst_cluster::map::{NamespaceMap, Ownership};
use karst_cluster::standing::Standing;
use karst_cluster::state::ClusterState;
use karst_data::key::PARTITIONS;
use karst_proto::admin as proto;
use tonic::Status;

use crate::node::{Node, NodeId};

/// The map of a namespace, or a part of it.
pub(super) fn map(node: &Node, request: &proto::MapRequest) -> Result<proto::MapResponse, Status> {
    let sight = node.sights.now();
    let state = &sight.state;
    let Some(map) = state.maps.get(&request.namespace) else {
        return Err(Status::not_found(format!(
            "there is no namespace \"{}\"",
            request.namespace
        )));
    };
    let first = request.first as usize;
    if first >= PARTITIONS {
        let all = PARTITIONS - 1;
        return Err(Status::invalid_argument(format!(
            "partitions are numbered 0 to {all}"
        )));
    }
    let count = match request.count {
        0 => PARTITIONS,
        count => count as usize,
    };
    let mut names = Names::new(state);
    let some = map.partitions.iter().enumerate().skip(first).take(count);
    let partitions = some.map(|(number, it)| owners(number, it, (state, map), &mut names));
    Ok(proto::MapResponse {
        partitions: partitions.collect(),
        nodes: names.list,
    })
}

/// Names by position; nodes that were forgotten go by their id.
struct Names {
    list: Vec<String>,
    positions: BTreeMap<NodeId, u32>,
}

impl Names {
    fn new(state: &ClusterState) -> Names {
        let mut members: Vec<_> = state.nodes.iter().collect();
        members.sort_by_key(|(id, member)| (&member.facts.name, **id));
        let ids = members.iter().enumerate();
        Names {
            positions: ids.map(|(at, (id, _))| (**id, at as u32)).collect(),
            list: members
                .iter()
                .map(|(_, member)| member.facts.name.clone())
                .collect(),
        }
    }

    fn position(&mut self, id: NodeId) -> u32 {
        *self.positions.entry(id).or_insert_with(|| {
            self.list.push(id.to_string());
            self.list.len() as u32 - 1
        })
    }
}

fn owners(
    number: usize,
    it: &Ownership,
    (state, map): (&ClusterState, &NamespaceMap),
    names: &mut Names,
) -> proto::Owners {
    let mut positions = |nodes: &[NodeId]| nodes.iter().map(|id| names.position(*id)).collect();
    let joining: Vec<NodeId> = it.joining().collect();
    proto::Owners {
        number: number as u32,
        state: partition_state(it, state, map).into(),
        regime: it.regime.0,
        row: positions(&it.row),
        in_sync: positions(&it.in_sync),
        joining: positions(&joining),
        apart: positions(&it.apart),
        prior: positions(&it.prior),
        lost: positions(&it.lost),
        activated: it.activated.0,
    }
}

fn partition_state(
    it: &Ownership,
    state: &ClusterState,
    map: &NamespaceMap,
) -> proto::PartitionState {
    let alive = |id: &NodeId| state.nodes.get(id).is_some_and(|it| it.alive);
    match Standing::of(state, map, it) {
        Standing::Dead => proto::PartitionState::Dead,
        Standing::Unavailable if map.strong => proto::PartitionState::Unavailable,
        Standing::Unavailable => proto::PartitionState::Unserved,
        Standing::Recovering => proto::PartitionState::Recovering,
        Standing::Active if it.is_settled() && !it.apart.iter().any(alive) => {
            proto::PartitionState::Settled
        }
        Standing::Active => proto::PartitionState::Migrating,
    }
}

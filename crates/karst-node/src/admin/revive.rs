//! Partitions that nobody can serve go on with what is left of them: what that comes to, and that it is done.

use std::collections::BTreeMap;

use karst_cluster::standing::{Loss, Standing};
use karst_cluster::state::{ClusterState, Command};
use karst_data::key::PartitionId;
use karst_proto::admin as proto;
use tonic::Status;

use super::change::{heard, propose};
use crate::node::{Node, NodeId};

/// Tells what a revival would come to, and carries it out if that is asked for.
pub(super) async fn revive(
    node: &Node,
    request: &proto::ReviveRequest,
) -> Result<proto::ReviveResponse, Status> {
    let name = &request.namespace;
    let state = node.cluster.snapshot();
    let Some(map) = state.maps.get(name) else {
        let what = format!("there is no namespace \"{name}\"");
        return Err(Status::not_found(what));
    };
    if !map.strong {
        return Err(Status::failed_precondition(format!(
            "namespace {name} is not strongly consistent: whoever has something of it serves it"
        )));
    }
    let groups = groups(&state, name);
    let changes = groups
        .iter()
        .any(|group| request.empty || !group.left.is_empty());
    if request.carry_out && changes {
        let namespace = name.clone();
        let empty = request.empty;
        propose(node, name, Command::Revive { namespace, empty }).await?;
        heard(node, |now| now.generation > state.generation).await;
    }
    Ok(proto::ReviveResponse {
        groups,
        done: request.carry_out && changes,
    })
}

/// The partitions of a namespace that nobody serves, by why: those that can be revived first.
pub(super) fn groups(state: &ClusterState, name: &str) -> Vec<proto::ReviveGroup> {
    let Some(map) = state.maps.get(name) else {
        return Vec::new();
    };
    let mut groups = BTreeMap::<(bool, Loss), Vec<u32>>::new();
    for (id, partition) in PartitionId::all().zip(&map.partitions) {
        if let Some(loss) = Loss::of(state, map, partition) {
            let dead = Standing::of(state, map, partition) == Standing::Dead;
            groups.entry((dead, loss)).or_default().push(id.0.into());
        }
    }
    let named = |nodes: Vec<NodeId>| -> Vec<String> {
        let name = |id: NodeId| match state.nodes.get(&id) {
            Some(member) => member.facts.name.clone(),
            None => id.to_string(),
        };
        let mut names: Vec<String> = nodes.into_iter().map(name).collect();
        names.sort_unstable();
        names
    };
    let group = |((dead, loss), partitions): ((bool, Loss), Vec<u32>)| proto::ReviveGroup {
        partitions,
        away: named(loss.away),
        lost: named(loss.lost),
        left: named(loss.left),
        dead,
    };
    let mut groups: Vec<_> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| group.left.is_empty()); // stable
    groups
}

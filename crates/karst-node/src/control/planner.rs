//! A stand-in for the planner: TO BE REPLACED by `karst_cluster::plan`, which knows of racks, of what a node
//! holds and of moving little. This one knows none of it.

use std::collections::BTreeSet;

use karst_cluster::map::Ownership;
use karst_cluster::node::NodeId;
use karst_cluster::state::{Change, ClusterState, Command};

use super::Synced;

/// Says who is alive, and gives every partition to the lowest ids of those.
pub fn minimal(
    state: &ClusterState,
    heard: &BTreeSet<NodeId>,
    _strayed: &BTreeSet<NodeId>,
    _synced: &[Synced],
) -> Vec<Command> {
    let members = state.nodes.iter();
    let changed = members.filter(|(id, member)| member.alive != heard.contains(id));
    let mut commands: Vec<Command> = changed
        .map(|(id, _)| Command::SetAlive {
            node: *id,
            alive: heard.contains(id),
        })
        .collect();
    let alive: Vec<NodeId> = state
        .nodes
        .keys()
        .filter(|id| heard.contains(id))
        .copied()
        .collect();
    if alive.is_empty() {
        return commands;
    }
    for (namespace, map) in &state.maps {
        let row = &alive[..alive.len().min(usize::from(map.replication_factor))];
        let wrong = |(_, partition): &(usize, &Ownership)| partition.row != row;
        let partitions = map.partitions.iter().enumerate().filter(wrong);
        let changes: Vec<Change> = partitions
            .map(|(number, partition)| Change {
                namespace: namespace.clone(),
                partition: number as u16, // there are 4096
                expected: partition.regime,
                row: row.to_vec(),
                in_sync: row.to_vec(),
            })
            .collect();
        if !changes.is_empty() {
            commands.push(Command::Repartition(changes));
        }
    }
    commands
}

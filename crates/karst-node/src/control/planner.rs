//! The planner of available mode, in the control plane's words.

use std::collections::BTreeSet;

use karst_cluster::node::NodeId;
use karst_cluster::plan;
use karst_cluster::state::{ClusterState, Command};

use super::Synced;

/// What the leader should propose now.
pub fn available(
    state: &ClusterState,
    heard: &BTreeSet<NodeId>,
    strayed: &BTreeSet<NodeId>,
    synced: &[Synced],
) -> Vec<Command> {
    let synced: Vec<plan::Synced> = synced
        .iter()
        .map(|synced| plan::Synced {
            namespace: synced.namespace.clone(),
            partition: synced.partition.0,
            regime: synced.regime,
            node: synced.node,
        })
        .collect();
    plan::plan(state, heard, &synced, strayed)
}

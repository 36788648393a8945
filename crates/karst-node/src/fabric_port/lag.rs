//! How far other nodes are behind: records that were sent to each and that it has not confirmed yet.
//!
//! Each link counts its own, since every write passes here; whoever asks adds them up.

use std::collections::BTreeMap;
use std::sync::Arc;

use karst_cluster::node::NodeId;
use parking_lot::Mutex;

use crate::counters::Counter;

/// Counters of all links, by the node they lead to. A link that ends leaves its counter at zero.
#[derive(Default)]
pub struct Lags(Mutex<BTreeMap<NodeId, BTreeMap<u16, Arc<Counter>>>>);

impl Lags {
    /// The counter of one core's link to a node.
    pub fn counter(&self, node: NodeId, core: u16) -> Arc<Counter> {
        let mut all = self.0.lock();
        all.entry(node)
            .or_default()
            .entry(core)
            .or_default()
            .clone()
    }

    /// Records that a node has not confirmed.
    pub fn of(&self, node: NodeId) -> u64 {
        let all = self.0.lock();
        let links = all.get(&node).into_iter().flatten();
        links.map(|(_, counter)| counter.get()).sum()
    }
}

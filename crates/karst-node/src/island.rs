//! Going on without the cluster: a node that hears nothing of a majority for long serves with those whom it
//! still hears, by a map of its own; and when the cluster is there again, has what it wrote merged.
//!
//! That it went on alone is noted in `data_dir` before it does: a node that restarts on its island, or before the
//! cluster knows, has its writes merged all the same.
//!
//! The map comes from `karst_cluster::island`, which says what holds for it. Here is when: a leader gives a
//! silent node up after `suspect_after`, and elects a successor of its own within about as long. A node
//! waits for a multiple of that, so that a change of leaders does not make islands of all. Until then it
//! serves by the last map; what it writes is acknowledged only by those who go by the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use karst_cluster::island::alone_with;
use karst_cluster::node::NodeId;
use karst_cluster::state::{ClusterState, Command, Outcome};
use karst_io::clock;
use parking_lot::Mutex;

use crate::data_dir;
use crate::node::Node;
use crate::trust;

/// Silence of the cluster, in suspicion times, after which a node goes on alone.
const SUSPICIONS: u32 = 4;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Pause before the cluster is asked again to take a node back.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Who answered on the fabric, and when last.
#[derive(Default)]
pub struct Hearing(Mutex<BTreeMap<NodeId, u64>>);

/// Since when each node was to be heard. For whoever asks regularly.
#[derive(Default)]
pub struct Expected {
    since_us: BTreeMap<NodeId, u64>,
    asked_us: u64,
}

/// Pause between two questions after which this process itself must have stood still, so that nobody can be blamed.
const STANDSTILL_US: u64 = 1_000_000;

impl Expected {
    /// Of these nodes, those that were to be heard for this long and were not. `last_us` is when each was.
    fn unheard(
        &mut self,
        nodes: BTreeSet<NodeId>,
        last_us: &BTreeMap<NodeId, u64>,
        patience: Duration,
        now_us: u64,
    ) -> BTreeSet<NodeId> {
        let stood_still = now_us.saturating_sub(self.asked_us) > STANDSTILL_US;
        self.asked_us = now_us;
        self.since_us
            .retain(|node, _| nodes.contains(node) && !stood_still);
        let is_unheard = |node: &NodeId| {
            let since_us = *self.since_us.entry(*node).or_insert(now_us);
            let heard_us = last_us.get(node).copied().unwrap_or(0).max(since_us);
            now_us.saturating_sub(heard_us) >= patience.as_micros() as u64
        };
        nodes.into_iter().filter(is_unheard).collect()
    }
}

impl Hearing {
    /// A node has answered.
    pub fn note(&self, node: NodeId) {
        self.0.lock().insert(node, clock::boot_us());
    }

    /// Of these nodes, those that were to be heard for this long and were not.
    pub fn unheard(
        &self,
        expected: &mut Expected,
        nodes: BTreeSet<NodeId>,
        patience: Duration,
    ) -> BTreeSet<NodeId> {
        expected.unheard(nodes, &self.0.lock(), patience, clock::boot_us())
    }

    /// Who has within this time.
    fn within(&self, time: Duration) -> BTreeSet<NodeId> {
        let since_us = clock::boot_us().saturating_sub(time.as_micros() as u64);
        let heard = self.0.lock();
        let lately = heard.iter().filter(|(_, at_us)| **at_us >= since_us);
        lately.map(|(node, _)| *node).collect()
    }
}

/// Lets the node serve by the cluster's state, or by a map of its own while it hears nothing of the cluster;
/// never returns.
///
/// `lost` are the namespaces of which it lacks what it had confirmed: the cluster is told before anything else.
pub async fn follow(node: Arc<Node>, lost: Vec<String>) {
    trust::declare(&node, lost).await;
    let mut changes = node.cluster.changes();
    if note(&node).exists() {
        come_back(&node).await;
    }
    loop {
        let state = changes.borrow_and_update().clone();
        put(&node, state).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = silence(&node) => {
                alone(&node).await;
                come_back(&node).await;
            }
        }
    }
}

/// Resolves when the cluster has been silent for too long.
async fn silence(node: &Node) {
    let patience = node.config.cluster.suspect_after * SUSPICIONS;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let silent = node.cluster.heard().contact_age;
        if node.sights.is_placed() && silent.is_some_and(|age| age >= patience) {
            return;
        }
    }
}

/// Where it is noted that the node went on alone.
fn note(node: &Node) -> PathBuf {
    node.config.node.data_dir.join("island")
}

/// Serves with those whom it hears, until it is in touch with the cluster again.
async fn alone(node: &Arc<Node>) {
    let mut last = None;
    if let Err(error) = data_dir::replace(&note(node), b"") {
        tracing::error!(%error, "it cannot be noted that this node serves alone: it does not");
        return;
    }
    while !node.cluster.heard().in_touch {
        let heard = node.hearing.within(node.config.cluster.suspect_after);
        if last.as_ref() != Some(&heard) {
            let with: Vec<String> = heard.iter().map(NodeId::to_string).collect();
            tracing::warn!(
                with = with.join(" "),
                "nothing is heard of the cluster: this node serves on an island"
            );
            let state = alone_with(&node.cluster.snapshot(), node.id, &heard);
            put(node, Arc::new(state)).await;
            last = Some(heard);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Has the cluster know that this node has writes of its own, and waits until its state says so.
async fn come_back(node: &Arc<Node>) {
    let strays = |state: &ClusterState| state.nodes.get(&node.id).map(|member| member.strays);
    let before = strays(&node.cluster.snapshot());
    tracing::info!("the cluster is there again: what was written meanwhile is merged");
    loop {
        match node.cluster.propose(Command::Stray(node.id)).await {
            Ok(Outcome::Applied) => break,
            Ok(Outcome::Refused(why)) => {
                tracing::error!(why, "the cluster does not take this node back");
            }
            Err(error) => tracing::info!(%error, "the cluster is not there yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    while strays(&node.cluster.snapshot()) <= before {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if let Err(error) = std::fs::remove_file(note(node)) {
        tracing::warn!(%error, "what this node holds will be merged once more at its next start");
    }
}

/// Puts a state into force beside the runtime: it takes the mutex of every partition that changes hands.
async fn put(node: &Arc<Node>, state: Arc<ClusterState>) {
    let node = node.clone();
    let put = tokio::task::spawn_blocking(move || crate::sight::put(&node, state));
    if let Err(error) = put.await {
        tracing::error!(%error, "a state of the cluster could not be put into force");
        std::process::exit(1); // it would serve by an old one for ever
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    #[test]
    fn a_node_is_unheard_when_it_was_to_be_heard_for_long_and_nobody_is_while_this_process_stood_still()
     {
        let mut expected = Expected::default();
        let mut heard = BTreeMap::new();
        let mut found = nodes(&[]);
        for tick in 50..70u64 {
            let now_us = tick * 200_000;
            heard.insert(NodeId(1), now_us);
            found = expected.unheard(nodes(&[1, 2]), &heard, PATIENCE, now_us);
            assert_eq!(found.contains(&NodeId(2)), tick >= 60, "{tick}");
        }
        assert_eq!(found, nodes(&[2]));
        let later = expected.unheard(nodes(&[1, 2]), &heard, PATIENCE, 40_000_000);
        assert_eq!(later, nodes(&[]), "it slept for half a minute");
    }
}

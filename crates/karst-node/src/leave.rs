//! What a node does first when it is told to stop: it has others lead what it holds, and lets clients hear of it.
//!
//! ```text
//! told to stop -> if it leads the group, another voter is asked to
//!   -> Stop: who else is in sync leads; this one follows, and hands on what still comes
//!   -> clients that are connected get the time in which they ask for the map again, and more while they send
//!   -> SetAlive false: nobody waits for this node any more -> the rest of the stop
//! ```
//!
//! All of it within `cluster.drain_on_stop`; what is not done then is left to the others, who find out within
//! the suspicion time. A node that is alone, or hears nothing of the cluster, stops at once. Nothing is copied:
//! who is to leave for good is drained first.

use std::time::Duration;

use karst_cluster::state::{ClusterState, Command, Outcome};

use crate::metrics::Figures;
use crate::node::{Node, NodeId};

/// Pause between two looks at the map.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Clients ask for the map once a second, and are reminded of it after 400 ms.
const CLIENTS_LEARN: Duration = Duration::from_millis(1500);

/// No request for so long: clients have learnt.
const QUIET: Duration = Duration::from_millis(500);

/// Longest wait for the others to know that this node is gone.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Longest wait for another leader of the group: two elections.
const STEP_DOWN_MAX: Duration = Duration::from_secs(1);

/// See [the module](self).
pub async fn leave(node: &Node) {
    let patience = node.config.cluster.drain_on_stop;
    let has_others = node.sights.now().others_alive().next().is_some();
    let in_touch = || node.cluster.heard().in_touch;
    if patience.is_zero() || !has_others || !in_touch() {
        return node.cluster.set_serves(false);
    }
    tracing::info!("stopping: others take over what this node leads");
    if tokio::time::timeout(patience, hand_over(node))
        .await
        .is_err()
    {
        tracing::warn!(
            ?patience,
            "others did not take over in time: this node stops all the same"
        );
    }
    node.cluster.set_serves(false); // it reports no more that it is alive
    if in_touch() {
        let _ = tokio::time::timeout(GOODBYE_MAX, say_goodbye(node)).await;
    }
}

/// Has others lead, and waits until clients know.
async fn hand_over(node: &Node) {
    let _ = tokio::time::timeout(STEP_DOWN_MAX, step_down(node)).await; // it can lead meanwhile
    match node.cluster.propose(Command::Stop(node.id)).await {
        Ok(Outcome::Applied) => {}
        Ok(Outcome::Refused(why)) => return tracing::warn!(why, "nobody takes over"),
        Err(error) => return tracing::warn!(%error, "nobody takes over"),
    }
    while leads(&node.sights.now().state, node.id) > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if node.cores.iter().any(|core| core.connections.get() > 0) {
        tokio::time::sleep(CLIENTS_LEARN).await;
        quiet(node).await;
    }
}

/// Waits until no client asks anything of this node.
async fn quiet(node: &Node) {
    let mut before = None;
    loop {
        let answered = (0..node.namespaces.len()).map(|at| Figures::of(node, at).answered());
        let now = answered.sum::<u64>() + proxied(node);
        if before.replace(now) == Some(now) {
            return;
        }
        tokio::time::sleep(QUIET).await;
    }
}

/// Requests that were handed on to other nodes: those are counted there.
fn proxied(node: &Node) -> u64 {
    node.cores.iter().map(|core| core.proxied_out.get()).sum()
}

/// Lets another node lead the group: whoever leads is to see this one go.
async fn step_down(node: &Node) {
    node.cluster.step_down().await;
    while node.cluster.leader().is_none_or(|leader| leader == node.id) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Partitions that a node leads and another could.
fn leads(state: &ClusterState, node: NodeId) -> usize {
    let partitions = state.maps.values().flat_map(|map| &map.partitions);
    let stays = |id: &NodeId| {
        state
            .nodes
            .get(id)
            .is_some_and(|it| it.alive && !it.stopping)
    };
    let led = partitions.filter(|it| it.primary() == Some(node) && it.in_sync.iter().any(stays));
    led.count()
}

/// Tells the others not to wait for this node.
async fn say_goodbye(node: &Node) {
    let gone = Command::SetAlive {
        node: node.id,
        alive: false,
    };
    let told = node.cluster.propose(gone).await;
    if let Err(error) = told {
        return tracing::info!(%error, "the others find out by themselves that this node is gone");
    }
    let follows = |state: &ClusterState| {
        let partitions = state.maps.values().flat_map(|map| &map.partitions);
        let mut partitions = partitions.filter(|it| it.in_sync.len() > 1);
        partitions.any(|it| it.in_sync.contains(&node.id))
    };
    while follows(&node.cluster.snapshot()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

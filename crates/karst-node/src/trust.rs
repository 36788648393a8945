//! Whether this process holds all that earlier ones of this node have confirmed, and what follows where it does not.
//!
//! A node that has lost records of a strongly consistent namespace says so before it takes part in anything: it still
//! counts among those by whom writes were confirmed, and no more among those who know what was. What it holds is
//! then replaced by what others hold. All of a namespace counts as lost, however little it may be: which records were
//! is not known.
//!
//! Records are lost where memory was all that held them and is gone, where a device failed or is new, and where
//! something that was durable once cannot be read. A namespace that does not commit to the device keeps what its
//! write buffers held through a crash of the process, and through a stop in order, of which `data_dir/stopped` is the
//! proof; not through one of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use karst_cluster::state::{ClusterState, Command, Outcome};

use crate::config::Mode;
use crate::data_dir;
use crate::node::{NamespaceState, Node};
use crate::restart::Way;

/// Pause before the cluster is told again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The file that says that the last process stopped in order.
const STOPPED: &str = "stopped";

/// Notes that this process stops in order: everything is on the devices.
pub fn note_stop(node: &Node) {
    let path = node.config.node.data_dir.join(STOPPED);
    if let Err(error) = data_dir::replace(&path, b"") {
        tracing::warn!(%error, "that this node stops in order cannot be noted");
    }
}

/// The strongly consistent namespaces of which something is lost that earlier processes confirmed. To be asked once,
/// when everything is recovered and before anything is served: from then on this process has not stopped in order.
///
/// # Errors
/// When that cannot be noted in `data_dir`.
pub fn lost(node: &Node) -> std::io::Result<Vec<String>> {
    let path = node.config.node.data_dir.join(STOPPED);
    let stopped = path.try_exists()?;
    if stopped {
        data_dir::remove(&path)?; // before anything is served
    }
    let strong = node.namespaces.iter();
    let strong = strong.filter(|namespace| namespace.config.mode == Mode::Cp);
    let lost = strong.filter(|namespace| has_lost(namespace, stopped));
    Ok(lost
        .map(|namespace| namespace.config.name.clone())
        .collect())
}

fn has_lost(namespace: &NamespaceState, stopped: bool) -> bool {
    let tally = &namespace.restart.tally;
    let found = |count: &AtomicU64| count.load(Ordering::Acquire) > 0;
    let damaged = found(&tally.damaged_records)
        || found(&tally.rotten_stretches)
        || found(&tally.unreadable_blocks)
        || found(&tally.damaged_headers)
        || namespace.engine.log().any_device_failed();
    let keeps = match namespace.restart.outcome().map(|outcome| outcome.way) {
        Some(Way::Warm) => true,
        Some(Way::Checkpoint | Way::Scan) => stopped || namespace.config.storage.commit_to_device,
        Some(Way::Empty) | None => false,
    };
    damaged || !keeps
}

/// Tells the cluster what this node has lost, and waits until its own copy of the state says so. Meanwhile it holds no
/// lease: others may lead what it leads before it knows.
pub async fn declare(node: &Arc<Node>, lost: Vec<String>) {
    node.cluster.hold_no_lease(true);
    declare_all(node, lost).await;
    node.cluster.hold_no_lease(false);
}

async fn declare_all(node: &Arc<Node>, lost: Vec<String>) {
    let me = node.cluster.me();
    let (id, incarnation) = (me.id, me.incarnation);
    let known = |state: &ClusterState| {
        let member = state.nodes.get(&id);
        let member = member.filter(|member| member.facts.incarnation == incarnation);
        member.map(|member| (member.losses, member.first))
    };
    let mut changes = node.cluster.changes();
    for namespace in lost {
        let before = loop {
            let member = known(&changes.borrow_and_update());
            match member {
                Some((_, first)) if first == incarnation => return, // there was nothing to lose
                Some((losses, _)) => break losses,
                None if changes.changed().await.is_err() => return,
                None => {}
            }
        };
        loop {
            let command = Command::Lose {
                node: id,
                incarnation,
                namespace: namespace.clone(),
            };
            match node.cluster.propose(command).await {
                Ok(Outcome::Applied) => break,
                Ok(Outcome::Refused(why)) => {
                    tracing::warn!(namespace, why, "that records are lost is not taken note of");
                }
                Err(error) => tracing::info!(%error, "the cluster is not there yet"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        tracing::warn!(
            namespace,
            "this node may lack records that it had confirmed: what it holds gives way to what others hold"
        );
        loop {
            let member = known(&changes.borrow_and_update());
            if member.is_some_and(|(losses, _)| losses > before) {
                break;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

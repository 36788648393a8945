//! Whether this process holds all that earlier ones of this node have confirmed, and what follows where it does not.
//!
//! A node that has lost records of a strongly consistent namespace says so before it takes part in anything: it still
//! counts among those by whom writes were confirmed, and no more among those who know what was. What it holds is
//! then replaced by what others hold. All of a namespace counts as lost, however little it may be: which records were
//! is not known.
//!
//! Records are lost where memory was all that held them and is gone, where a device failed or is new in another one's
//! stead, and where something that was durable once cannot be read. A namespace that does not commit to the device keeps what its
//! write buffers held through a crash of the process, and through a stop in order, of which `data_dir/stopped` is the
//! proof; not through one of the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use karst_cluster::node::NodeFacts;
use karst_cluster::state::{ClusterState, Command, Member, Outcome};
use karst_storage::place::DeviceId;

use crate::config::Mode;
use crate::data_dir;
use crate::node::{NamespaceState, Node};
use crate::restart::Way;

/// How often it is looked whether a device has failed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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

/// Notes that something of a namespace is lost, until the cluster knows: a process that goes on with what this one has
/// recovered would not see it any more.
///
/// # Errors
/// When `data_dir` cannot be written.
pub fn note_loss(data_dir: &Path, namespace: &str) -> std::io::Result<()> {
    data_dir::replace(&loss(data_dir, namespace), b"")
}

/// The same, where recovery shows it. To be asked before memory can be taken over by a later process.
///
/// # Errors
/// When `data_dir` cannot be written.
pub fn note_if_lost(node: &Node, namespace: &NamespaceState) -> std::io::Result<()> {
    let data_dir = &node.config.node.data_dir;
    let stopped = data_dir.join(STOPPED).try_exists()?;
    match namespace.config.mode == Mode::Cp && has_lost(namespace, stopped) {
        true => note_loss(data_dir, &namespace.config.name),
        false => Ok(()),
    }
}

/// The file that says so.
fn loss(data_dir: &Path, namespace: &str) -> PathBuf {
    data_dir.join(format!("lost-{namespace}"))
}

/// The strongly consistent namespaces of which something is lost that earlier processes confirmed. To be asked once,
/// when everything is recovered and before anything is served: from then on this process has not stopped in order.
///
/// # Errors
/// When that cannot be noted in `data_dir`.
pub fn lost(node: &Node) -> std::io::Result<Vec<String>> {
    let data_dir = &node.config.node.data_dir;
    let path = data_dir.join(STOPPED);
    if path.try_exists()? {
        data_dir::remove(&path)?; // before anything is served
    }
    let mut lost = Vec::new();
    for namespace in node.namespaces.iter().map(|it| &it.config) {
        let noted = loss(data_dir, &namespace.name).try_exists()?;
        if noted && namespace.mode == Mode::Cp {
            lost.push(namespace.name.clone());
        }
    }
    Ok(lost)
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
        // Of devices that nothing was ever written to, nothing can be missing.
        Some(Way::Empty) if namespace.devices.is_empty() => false,
        Some(Way::Checkpoint | Way::Scan | Way::Empty) => {
            stopped || namespace.config.storage.commit_to_device
        }
        None => false,
    };
    damaged || !keeps
}

/// Tells the cluster what this node has lost, and waits until its own copy of the state says so. Meanwhile it holds no
/// lease: others may lead what it leads before it knows.
pub async fn declare(node: &Arc<Node>, lost: Vec<String>) {
    if lost.is_empty() {
        return;
    }
    node.cluster.hold_no_lease(true);
    declare_all(node, lost).await;
    node.cluster.hold_no_lease(false);
}

async fn declare_all(node: &Arc<Node>, lost: Vec<String>) {
    let me = node.cluster.me();
    let mut changes = node.cluster.changes();
    let first = match changes.wait_for(|state| known(me, state).is_some()).await {
        Ok(state) => known(me, &state).map(|member| member.first),
        Err(_) => return, // the node ends
    };
    for namespace in lost {
        if first != Some(me.incarnation) {
            lose(node, &namespace).await; // else there was nothing to lose
        }
        let note = loss(&node.config.node.data_dir, &namespace);
        if note.exists()
            && let Err(error) = data_dir::remove(&note)
        {
            tracing::warn!(%error, "what this node holds will be replaced once more at its next start");
        }
    }
}

/// What the cluster knows of this process, once it does.
fn known<'s>(me: &NodeFacts, state: &'s ClusterState) -> Option<&'s Member> {
    let member = state.nodes.get(&me.id);
    member.filter(|member| member.facts.incarnation == me.incarnation)
}

async fn lose(node: &Arc<Node>, namespace: &str) {
    let me = node.cluster.me();
    let losses = |state: &ClusterState| known(me, state).map_or(0, |member| member.losses);
    let before = losses(&node.cluster.snapshot());
    loop {
        let command = Command::Lose {
            node: me.id,
            incarnation: me.incarnation,
            namespace: namespace.to_owned(),
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
    let mut changes = node.cluster.changes();
    let _ = changes.wait_for(|state| losses(state) > before).await; // or the node ends
}

/// Tells the cluster of devices that fail while the node runs, as long as it does: what of a strongly consistent namespace
/// lies on one is to be had from others. Until others have it the node keeps what it has, and counts.
pub async fn watch(node: Arc<Node>) {
    let mut told: Vec<usize> = node.namespaces.iter().map(failed_devices).collect();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (namespace, told) in node.namespaces.iter().zip(&mut told) {
            let failed = failed_devices(namespace);
            let name = &namespace.config.name;
            let strong = namespace.config.mode == Mode::Cp;
            if strong && failed > *told && others_can_go_on(&node, name) {
                node.cluster.hold_no_lease(true); // others may lead what it leads before it knows
                lose(&node, name).await;
                node.cluster.hold_no_lease(false);
                *told = failed;
            }
        }
    }
}

fn failed_devices(namespace: &NamespaceState) -> usize {
    let log = namespace.engine.log();
    let devices = 0..log.config().devices.len();
    devices
        .filter(|device| log.device_failed(DeviceId(*device as u8)))
        .count() // at most 128
}

/// Whether no partition of a namespace dies of it if this node has lost what it confirmed.
fn others_can_go_on(node: &Node, name: &str) -> bool {
    let state = node.cluster.snapshot();
    let Some(map) = state.maps.get(name) else {
        return false;
    };
    map.partitions.iter().all(|partition| {
        let mut without = partition.clone();
        without.restarted(node.id, true);
        !without.is_dead() || partition.is_dead()
    })
}

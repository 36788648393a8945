//! From devices to index, before the node serves.
//!
//! ```text
//! checkpoint   its front, table, fills: is there one, and is it about these devices?
//! headers      of every block: which were filled, and with which fill
//! load         entries of the checkpoint whose block is still as it was
//! scan         blocks that were filled since, or all that were ever filled where there is no checkpoint
//! ```
//!
//! The outcome does not depend on any order: the index keeps the highest version of each record. What
//! makes a checkpoint and the blocks written after it as good as all blocks is argued in
//! docs/consistency.md. A checkpoint that proves damaged half way does no harm: what was loaded of it
//! is true, and the scan of all blocks brings the rest.

mod headers;
mod load;
mod read;
mod scan;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_io::op::IoFailure;
use karst_storage::checkpoint::Front;
use karst_storage::log::BlockId;
use karst_storage::place::DeviceId;

use self::headers::Headers;
use self::load::{Checkpoint, NoUse};
use self::read::Reader;
use super::BootError;
use crate::checkpoint;
use crate::node::{NamespaceState, Node};
use crate::restart::{Outcome, Phase, Way};

/// Time between two lines of the log that say how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Recovers one namespace from its devices, blocking. `not_warm` says why its index could not be taken
/// over from shared memory, empty when that was not tried.
///
/// # Errors
/// When a device cannot be read or the index has no room.
pub(super) fn run_one(
    node: &Node,
    namespace: &NamespaceState,
    not_warm: &str,
) -> Result<Outcome, BootError> {
    if namespace.devices.is_empty() {
        let outcome = Outcome {
            way: Way::Empty,
            why: "the engine is memory".into(),
        };
        namespace.restart.end(outcome.clone());
        return Ok(outcome);
    }
    let recovered = telling(namespace, || from_devices(node, namespace, not_warm));
    let outcome = recovered.map_err(|what| BootError::Recovery {
        namespace: namespace.config.name.clone(),
        what,
    })?;
    namespace.engine.log().finish_recovery();
    ready(namespace, &outcome);
    Ok(outcome)
}

/// Does a part of recovery, while a line of the log says every few seconds how far it is.
pub(super) fn telling<R>(namespace: &NamespaceState, work: impl FnOnce() -> R) -> R {
    let (stop, stopped) = sync_channel::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.recv_timeout(SAY_EVERY) == Err(RecvTimeoutError::Timeout) {
                say_progress(namespace);
            }
        });
        let done = work();
        drop(stop);
        done
    })
}

/// Notes how a namespace came up, and says so.
pub(super) fn ready(namespace: &NamespaceState, outcome: &Outcome) {
    namespace.restart.end(outcome.clone());
    say_outcome(namespace, outcome);
}

fn from_devices(
    node: &Node,
    namespace: &NamespaceState,
    not_warm: &str,
) -> Result<Outcome, String> {
    let restart = &namespace.restart;
    let reader = Reader {
        devices: &namespace.devices,
        kind: node.io.kind,
        unreadable: &|device, offset, failure| note_unreadable(namespace, device, offset, failure),
    };
    restart.begin(Phase::Checkpoint, 0);
    let checkpoint = open_checkpoint(node, namespace);
    restart.begin(Phase::Headers, headers::bytes(namespace));
    let mut headers = headers::read(namespace, &reader)?;
    let damaged = headers.damaged.len();
    headers.replace(namespace, checkpoint.as_ref().ok())?;
    let replaced = &restart.tally.replaced_headers;
    replaced.store((damaged - headers.damaged.len()) as u64, Ordering::Relaxed);
    for id in &headers.damaged {
        name_damaged(namespace, *id);
    }
    let fills = checkpoint.as_ref().map_or(0, Checkpoint::fill_count);
    let loaded = checkpoint.and_then(|checkpoint| load(namespace, &checkpoint, &headers));
    let (way, why, blocks) = match loaded {
        Ok(changed) => (Way::Checkpoint, String::new(), changed),
        Err(NoUse::NoRoom(reason)) => return Err(reason.to_string()),
        Err(_) if headers.filled.is_empty() => (Way::Empty, String::new(), Vec::new()),
        Err(why) => (Way::Scan, why.to_string(), headers.filled.clone()),
    };
    if way == Way::Scan {
        tracing::warn!(
            namespace = namespace.config.name,
            why,
            blocks = blocks.len(),
            "every block that was ever filled is scanned"
        );
    }
    let block_bytes = u64::from(namespace.engine.log().config().block_bytes);
    restart.begin(Phase::Scan, blocks.len() as u64 * block_bytes);
    scan::run(namespace, &reader, &blocks, &headers.testimony)?;
    fit_index(namespace);
    namespace.engine.log().raise_fills(fills);
    let whys = [not_warm, &why].into_iter().filter(|why| !why.is_empty());
    Ok(Outcome {
        way,
        why: whys.collect::<Vec<_>>().join("; "),
    })
}

/// Ends the intake in bulk: no partition's part of the index stays larger than it has to be.
fn fit_index(namespace: &NamespaceState) {
    let next = AtomicUsize::new(0);
    let work = || {
        let partitions = || PartitionId::all().nth(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(partitions).for_each(|id| namespace.engine.fit_index(id));
    };
    std::thread::scope(|scope| (0..read::threads()).for_each(|_| drop(scope.spawn(work))));
}

fn open_checkpoint(node: &Node, namespace: &NamespaceState) -> Result<Checkpoint, NoUse> {
    let name = &namespace.config.name;
    let path = checkpoint::path(&node.config.node.data_dir, name);
    let log = namespace.engine.log().config();
    load::open(&path, &Front::of(node.cluster_id.0, name, log, 0), log)
}

/// Loads a checkpoint, and returns the blocks that have to be scanned beside it.
fn load(
    namespace: &NamespaceState,
    checkpoint: &Checkpoint,
    headers: &Headers,
) -> Result<Vec<BlockId>, NoUse> {
    let changed = checkpoint.changed(namespace, &headers.filled)?;
    let restart = &namespace.restart;
    restart.begin(Phase::Load, checkpoint.entry_bytes());
    checkpoint.load(namespace)?;
    Ok(changed)
}

/// A block without a sound header was never filled, or holds what was on the device before it was
/// taken into use, or was filled and cannot be trusted any more. The last is told apart by its magic.
fn name_damaged(namespace: &NamespaceState, id: BlockId) {
    let tally = &namespace.restart.tally;
    tally.damaged_headers.fetch_add(1, Ordering::Relaxed);
    let device = namespace.devices[usize::from(id.device.0)].path().display();
    tracing::error!(
        namespace = namespace.config.name, device = %device, block = id.block,
        "the header of a block is damaged: its records cannot be read and are left out"
    );
}

/// Takes note of a read that failed, if its device is known to have: what lies there is missing. Any
/// other device that cannot be read keeps the node from starting.
fn note_unreadable(
    namespace: &NamespaceState,
    device: u8,
    offset: u64,
    failure: &IoFailure,
) -> bool {
    let failed = namespace.engine.log().device_failed(DeviceId(device));
    if failed {
        let tally = &namespace.restart.tally;
        tally.unreadable_blocks.fetch_add(1, Ordering::Relaxed);
        let device = namespace.devices[usize::from(device)].path().display();
        tracing::error!(
            namespace = namespace.config.name, device = %device, offset, %failure,
            "a block of a failed device cannot be read: its records are missing"
        );
    }
    failed
}

fn say_progress(namespace: &NamespaceState) {
    let moment = namespace.restart.moment();
    tracing::info!(
        namespace = namespace.config.name,
        phase = moment.phase.name(),
        done_bytes = moment.done_bytes,
        total_bytes = moment.total_bytes,
        bytes_per_second = moment.bytes_per_s as u64,
        records = moment.records,
        eta_seconds = moment.eta_s.map(f64::ceil),
        "recovering"
    );
}

fn say_outcome(namespace: &NamespaceState, outcome: &Outcome) {
    let (report, moment) = (namespace.engine.report(), namespace.restart.moment());
    let tally = &namespace.restart.tally;
    let phases = moment.phases.iter();
    let phases: Vec<_> = phases
        .map(|(phase, seconds)| format!("{} {seconds:.3}", phase.name()))
        .collect();
    tracing::info!(
        namespace = namespace.config.name,
        from = outcome.way.name(),
        why = outcome.why,
        records = report.records,
        tombstones = report.tombstones,
        entries_loaded = tally.entries_loaded.load(Ordering::Relaxed),
        blocks_scanned = tally.blocks_scanned.load(Ordering::Relaxed),
        records_scanned = tally.records_scanned.load(Ordering::Relaxed),
        damaged_records = tally.damaged_records.load(Ordering::Relaxed),
        rotten_stretches = tally.rotten_stretches.load(Ordering::Relaxed),
        torn_or_stale = tally.torn_or_stale.load(Ordering::Relaxed),
        unreadable_blocks = tally.unreadable_blocks.load(Ordering::Relaxed),
        replaced_headers = tally.replaced_headers.load(Ordering::Relaxed),
        damaged_headers = tally.damaged_headers.load(Ordering::Relaxed),
        seconds = moment.seconds,
        phases = phases.join(", "),
        "recovered"
    );
}

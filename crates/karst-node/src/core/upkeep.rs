//! What a data core does beside its clients: timely flushes, defrag, the sweep.

use std::rc::Rc;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_io::clock;
use karst_storage::log::recover::Scanned;
use karst_storage::log::{MoveJob, NoSpace};

use super::{Core, DeviceError};
use crate::node;

/// How often expired and truncated records are swept, the whole of a namespace each time.
pub const SWEEP_PERIOD: Duration = Duration::from_secs(120);

/// How often it is looked whether a namespace is full.
const SPACE_PAUSE: Duration = Duration::from_millis(500);

/// Records that defrag moves before it lets others run.
const MOVES_PER_TURN: usize = 32;

/// How long defrag rests when there is nothing to do.
const DEFRAG_REST: Duration = Duration::from_millis(20);

/// Bytes of device writes a core may have out before its defrag waits for them.
const WRITING_BYTES_MAX: u64 = 8 << 20;

/// Starts the upkeep of every namespace.
pub fn start(core: &Rc<Core>) {
    for index in 0..core.node.namespaces.len() {
        tokio::task::spawn_local(flush_in_time(core.clone(), index));
        tokio::task::spawn_local(defrag(core.clone(), index));
        tokio::task::spawn_local(sweep(core.clone(), index));
        if core.number == 0 {
            tokio::task::spawn_local(watch_space(core.clone(), index));
        }
    }
}

/// Says when a namespace begins to refuse writes for want of room, what to do about it, and when it
/// takes them again.
async fn watch_space(core: Rc<Core>, index: usize) {
    let log = core.namespace(index).engine.log();
    let namespace = &core.namespace(index).config.name;
    let mut known = None;
    loop {
        tokio::time::sleep(SPACE_PAUSE).await;
        let refusal = log.refusal();
        if refusal == known {
            continue;
        }
        known = refusal;
        let (live_bytes, live_bytes_max) = (log.report().live_bytes, log.live_bytes_max());
        match refusal {
            Some(NoSpace::Failed) => tracing::error!(
                namespace,
                "writes are refused (code 8): every device has failed; replace one and restart"
            ),
            Some(NoSpace::Full | NoSpace::Wait | NoSpace::TooBig { .. }) => tracing::warn!(
                namespace,
                live_bytes,
                live_bytes_max,
                "full: writes are refused (code 8); delete or truncate records, let them expire, or \
                 add a device"
            ),
            None => tracing::info!(
                namespace,
                live_bytes,
                live_bytes_max,
                "writes are taken again"
            ),
        }
    }
}

/// Sends blocks to the device that did not fill within `flush_max`.
async fn flush_in_time(core: Rc<Core>, index: usize) {
    let flush_ms_max = core.namespace(index).engine.config().flush_ms_max;
    let pause = Duration::from_millis((flush_ms_max / 4).clamp(5, 250));
    if !core.namespace(index).engine.log().config().on_devices {
        return;
    }
    loop {
        tokio::time::sleep(pause).await;
        let now_ms = clock::monotonic_us() / 1000;
        core.flush(index, now_ms.saturating_sub(flush_ms_max * 3 / 4));
        core.send(index);
    }
}

/// Empties blocks for as long as the node lives.
async fn defrag(core: Rc<Core>, index: usize) {
    loop {
        let log = core.namespace(index).engine.log();
        let Some(job) = log.next_move() else {
            if log.take_stalled() {
                // Emptied blocks are free once what superseded them is durable: help that along.
                core.flush(index, u64::MAX);
                core.send(index);
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else {
                tokio::time::sleep(DEFRAG_REST).await;
            }
            continue;
        };
        if !empty_block(&core, index, job).await {
            log.postpone_move(job);
            core.flush(index, u64::MAX);
            core.send(index);
            tokio::time::sleep(DEFRAG_REST).await;
        }
        while core.writing(index) > WRITING_BYTES_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Moves what is live in a block elsewhere. `false` when there was no room for it.
async fn empty_block(core: &Rc<Core>, index: usize, job: MoveJob) -> bool {
    let log = core.namespace(index).engine.log();
    if let Some(block) = log.block_in_memory(job.id) {
        let bytes = block.bytes(0..block.filled()).unwrap_or_default();
        return move_records(core, index, job, bytes).await;
    }
    let (offset, size) = log.block_extent(job.id);
    match core.read(index, job.id.device.0, offset, size).await {
        Ok(buffer) => {
            let moved = move_records(core, index, job, buffer.as_slice()).await;
            core.disk.give_back(buffer);
            moved
        }
        Err(DeviceError) => {
            log.end_move(job); // its records stay readable one by one, as far as the device allows
            true
        }
    }
}

async fn move_records(core: &Rc<Core>, index: usize, job: MoveJob, bytes: &[u8]) -> bool {
    let engine = &core.namespace(index).engine;
    let log = engine.log();
    let lane = log.move_lane(core.number);
    let scanned = log.scan_block(job.id, bytes);
    for (count, record) in scanned.filter_map(Scanned::record).enumerate() {
        let now_ms = clock::monotonic_us() / 1000;
        match engine.move_record(lane, now_ms, &record) {
            Ok(()) => core.counted(index).moved_records.add(1),
            Err(NoSpace::Wait | NoSpace::Full | NoSpace::Failed | NoSpace::TooBig { .. }) => {
                return false;
            }
        }
        if count % MOVES_PER_TURN == MOVES_PER_TURN - 1 {
            core.send(index);
            tokio::task::yield_now().await;
        }
    }
    core.appended(index);
    let left = log.end_move(job);
    if left > 0 {
        tracing::error!(
            namespace = engine.config().name,
            block = job.id.block,
            left,
            "records of a block cannot be read and stay where they are: see `karst inspect`"
        );
    }
    true
}

/// Clears partitions of what is gone: this core's share of them, once in each period, and at once
/// when something was truncated.
async fn sweep(core: Rc<Core>, index: usize) {
    let cores = core.node.cores.len();
    let engine = &core.namespace(index).engine;
    let mine = || {
        PartitionId::all()
            .skip(usize::from(core.number))
            .step_by(cores)
    };
    let pause = SWEEP_PERIOD / mine().count() as u32;
    let mut swept = 0; // the latest truncation mark that a whole pass has seen
    loop {
        let mark = engine.truncations();
        for partition in mine() {
            if engine.truncations() == swept {
                tokio::time::sleep(pause).await;
            }
            if engine.may_hold_dead(partition) {
                sweep_partition(&core, index, partition).await;
            }
        }
        swept = mark;
        tokio::time::sleep(pause).await;
    }
}

async fn sweep_partition(core: &Rc<Core>, index: usize, partition: PartitionId) {
    let engine = &core.namespace(index).engine;
    let oldest_fill = engine.log().oldest_fill();
    let mut after = None;
    loop {
        let swept = engine.sweep_slice(partition, after, oldest_fill, node::now());
        let Some(next) = swept.next else { return };
        after = Some(next);
        tokio::task::yield_now().await;
    }
}

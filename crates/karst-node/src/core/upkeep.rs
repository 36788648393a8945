//! What a data core does beside its clients: timely flushes, defrag, the sweep.

use std::rc::Rc;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_io::clock;
use karst_storage::log::{BlockId, Loaded, NoSpace};
use karst_storage::place::DeviceId;

use super::{Core, damage, defrag, devices, scrub};
use crate::node;

/// How often expired and truncated records are swept, the whole of a namespace each time.
pub const SWEEP_PERIOD: Duration = Duration::from_secs(120);

/// How often it is looked whether a namespace is full.
const SPACE_PAUSE: Duration = Duration::from_millis(500);

/// Starts the upkeep of every namespace.
pub fn start(core: &Rc<Core>) {
    for index in 0..core.node.namespaces.len() {
        tokio::task::spawn_local(flush_in_time(core.clone(), index));
        tokio::task::spawn_local(defrag::run(core.clone(), index));
        tokio::task::spawn_local(sweep(core.clone(), index));
        if core.namespace(index).engine.log().is_resident() {
            tokio::task::spawn_local(load(core.clone(), index));
        }
        if core.number == 0 {
            tokio::task::spawn_local(watch_space(core.clone(), index));
            tokio::task::spawn_local(damage::watch(core.clone(), index));
            tokio::task::spawn_local(devices::watch(core.clone(), index));
            tokio::task::spawn_local(scrub::run(core.clone(), index));
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
                "writes are refused (code 8): every device has failed; wipe or replace one and restart"
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

/// Brings what an earlier run wrote into memory, this core's share of the blocks, and ends.
async fn load(core: Rc<Core>, index: usize) {
    let log = core.namespace(index).engine.log();
    let cores = core.node.cores.len();
    let devices = log.config().devices.iter().enumerate();
    let blocks = devices.flat_map(|(device, geometry)| {
        let device = DeviceId(device as u8); // at most 128
        (0..geometry.blocks).map(move |block| BlockId { device, block })
    });
    let (mut loaded, mut left) = (0u64, 0u64);
    for id in blocks.skip(usize::from(core.number)).step_by(cores) {
        let Some(fill) = log.wants_loading(id) else {
            continue;
        };
        let (offset, size) = log.block_extent(id);
        let Ok(buffer) = core.read(index, id.device.0, offset, size).await else {
            left += 1;
            continue;
        };
        match log.load_block(id, fill, buffer.as_slice()) {
            Loaded::Yes => loaded += 1,
            Loaded::Damaged | Loaded::NoMemory => left += 1,
            Loaded::Superseded => {}
        }
        core.disk.give_back(buffer);
    }
    let namespace = &core.namespace(index).config.name;
    tracing::info!(
        namespace,
        core = core.number,
        loaded,
        left,
        "blocks are in memory"
    );
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

//! What a data core does beside its clients: timely flushes, defrag, the sweep, indexes to be built.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_io::clock;
use karst_storage::log::{BlockId, Loaded};
use karst_storage::place::DeviceId;
use karst_storage::watermark::Resource;
use tokio::time::Instant;

use super::{Core, damage, defrag, devices, evict, histograms, latencies, scrub, sindex};
use crate::limits::{self, Refusal};
use crate::node;

/// How often it is looked how full a namespace is.
const SPACE_PAUSE: Duration = Duration::from_millis(500);

/// How long nothing has to have moved in a cluster before deletes are forgotten. Until then somebody may have yet
/// to let go of what he holds, or may be carrying out what was asked for before.
const REST: Duration = Duration::from_mins(1);

/// How often it is looked whether that is so.
const REST_PAUSE: Duration = Duration::from_secs(1);

/// Starts the upkeep of every namespace.
pub fn start(core: &Rc<Core>) {
    if core.number == 0 {
        tokio::task::spawn_local(latencies::keep(core.clone()));
    }
    for index in 0..core.node.namespaces.len() {
        tokio::task::spawn_local(flush_in_time(core.clone(), index));
        tokio::task::spawn_local(defrag::run(core.clone(), index));
        tokio::task::spawn_local(sweep(core.clone(), index));
        tokio::task::spawn_local(sindex::build(core.clone(), index));
        if core.namespace(index).engine.log().is_resident() {
            tokio::task::spawn_local(load(core.clone(), index));
        }
        if core.number == 0 {
            tokio::task::spawn_local(watch_space(core.clone(), index));
            tokio::task::spawn_local(damage::watch(core.clone(), index));
            tokio::task::spawn_local(devices::watch(core.clone(), index));
            tokio::task::spawn_local(scrub::run(core.clone(), index));
            tokio::task::spawn_local(evict::evict(core.clone(), index));
            tokio::task::spawn_local(histograms::keep(core.clone(), index));
            tokio::task::spawn_local(forget_deletes(core.clone(), index));
        }
    }
}

/// Refuses clients' writes while a limit is crossed, and says so: when one is near, when writes begin to
/// be refused and what to do about it, and when they are taken again.
async fn watch_space(core: Rc<Core>, index: usize) {
    let namespace = core.namespace(index);
    let (engine, name) = (&namespace.engine, &namespace.config.name);
    let mut known: Option<Refusal> = None;
    let mut near: Vec<Resource> = Vec::new();
    loop {
        let limits = namespace.limits();
        let usage = limits::usage(namespace, core.node.memory_percent());
        engine.set_stopped(limits.stop_writes(&usage).is_some());
        let refusal = Refusal::of(namespace, &usage);
        match (&known, &refusal) {
            (None, Some(Refusal::Failed)) | (Some(Refusal::Limit(_)), Some(Refusal::Failed)) => {
                tracing::error!(
                    namespace = name,
                    "writes are refused (code 8): every device has failed; wipe or replace one and restart"
                );
            }
            (None, Some(refusal)) => tracing::warn!(
                namespace = name,
                live_bytes = usage.live_bytes,
                live_bytes_max = engine.log().live_bytes_max(),
                "full: writes are refused (code 8): {refusal}"
            ),
            (Some(_), None) => tracing::info!(
                namespace = name,
                live_bytes = usage.live_bytes,
                live_bytes_max = engine.log().live_bytes_max(),
                "writes are taken again"
            ),
            (None, None) | (Some(_), Some(_)) => {}
        }
        known = refusal;
        let warnings = limits::warnings(&limits, &usage);
        for (_, text) in warnings
            .iter()
            .filter(|(breach, _)| !near.contains(&breach.resource))
        {
            tracing::warn!(namespace = name, "{text}");
        }
        near = warnings.iter().map(|(breach, _)| breach.resource).collect();
        if let Some(Refusal::Limit(breach)) = &known {
            near.push(breach.resource); // was told, and need not be once it is merely near again
        }
        tokio::time::sleep(SPACE_PAUSE).await;
    }
}

/// Lets tombstones go once no other node can hold what they cover.
async fn forget_deletes(core: Rc<Core>, index: usize) {
    let namespace = core.namespace(index);
    let name = &namespace.config.name;
    let mut rests_since = None;
    let mut changes = core.node.sights.changes();
    let outdated = || {
        let sight = core.node.sights.now();
        sight.state.may_be_outdated_somewhere(name)
    };
    loop {
        rests_since = match outdated() {
            true => None,
            false => rests_since.or_else(|| Some(Instant::now())),
        };
        let rested = rests_since.is_some_and(|since| since.elapsed() >= REST);
        let alone = {
            let sight = core.node.sights.now();
            sight.is_known() && !sight.has_others()
        };
        let forget = rested || alone;
        namespace.engine.keep_tombstones(!forget);
        if forget && outdated() {
            continue; // another sight came meanwhile
        }
        let _ = tokio::time::timeout(REST_PAUSE, changes.changed()).await;
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
    let mut swept = 0; // the latest truncation mark that a whole pass has seen
    loop {
        let pause = core.namespace(index).life().sweep_period / mine().count() as u32;
        let mark = engine.truncations();
        let (began_us, mut removed) = (clock::monotonic_us(), 0);
        let oldest_fill = engine.log().oldest_fill(); // looks at every block: once is enough
        for partition in mine() {
            if engine.truncations() == swept {
                tokio::time::sleep(pause).await;
            }
            if engine.may_hold_dead(partition) {
                removed += sweep_partition(&core, index, partition, oldest_fill).await;
            }
        }
        swept = mark;
        let took = Duration::from_micros(clock::monotonic_us() - began_us);
        note_sweep(&core, index, took, removed);
        tokio::time::sleep(pause).await;
    }
}

/// Notes what a core's pass over its share of the partitions came to.
fn note_sweep(core: &Core, index: usize, took: Duration, removed: u64) {
    let namespace = core.namespace(index);
    let upkeep = &namespace.upkeep;
    let cores = core.node.cores.len() as u64;
    let (pages, _) = namespace.engine.index_pages();
    let share = (pages * 64 / cores).max(removed).max(1); // about as many records as it has seen
    upkeep
        .sweep_ms
        .store(took.as_millis() as u64, Ordering::Relaxed);
    upkeep
        .swept_tenths_percent
        .store(removed * 1000 / share, Ordering::Relaxed);
}

/// Sweeps a partition, and returns how many records it removed. `oldest_fill` may be that of some time
/// ago: it only grows.
pub(super) async fn sweep_partition(
    core: &Rc<Core>,
    index: usize,
    partition: PartitionId,
    oldest_fill: u64,
) -> u64 {
    let engine = &core.namespace(index).engine;
    let (mut after, mut removed) = (None, 0);
    loop {
        let swept = engine.sweep_slice(partition, after, oldest_fill, node::now());
        removed += swept.expired + swept.evicted + swept.truncated;
        let Some(next) = swept.next else { break };
        after = Some(next);
        tokio::task::yield_now().await;
    }
    removed
}

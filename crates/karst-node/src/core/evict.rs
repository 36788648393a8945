//! Eviction, carried out: a survey, a cut, a mark on disk, a sweep, until what is too much no longer is.
//!
//! One core does it for a namespace, a slice of a partition at a time, between its clients' requests.
//! Each round takes `evict_tenths_percent` of what may be evicted, so what is taken beyond need is
//! little; rounds follow each other as long as a limit is crossed, and stop once none is.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_engine::EvictionMark;
use karst_engine::evict::with_mark;
use karst_storage::expire::{Cut, Survey};

use super::Core;
use super::upkeep::sweep_partition;
use crate::limits;
use crate::node::{self, Node};

/// How often it is looked whether a limit is crossed.
const PAUSE: Duration = Duration::from_millis(500);

/// Partitions of which a slice each is looked at before others run.
const PARTITIONS_PER_TURN: usize = 8;

/// Rest after a round that found nothing to evict, and after a mark that could not be written.
const REST: Duration = Duration::from_secs(10);

/// Evicts for as long as the node lives.
pub(super) async fn evict(core: Rc<Core>, index: usize) {
    let namespace = core.namespace(index);
    let name = &namespace.config.name;
    let breach = || {
        let limits = namespace.limits();
        let evicts = limits.evict_used_percent > 0 || limits.evict_index_percent > 0;
        evicts
            .then(|| limits.evict(&limits::usage(namespace, None)))
            .flatten()
    };
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(crossed) = breach() else { continue };
        tracing::warn!(namespace = name, "{crossed}: records are evicted");
        let (mut rounds, mut records) = (0u64, 0);
        while breach().is_some() {
            match round(&core, index).await {
                ControlFlow::Continue(evicted) => records += evicted,
                ControlFlow::Break(()) => {
                    tokio::time::sleep(REST).await;
                    break;
                }
            }
            rounds += 1;
        }
        tracing::info!(
            namespace = name,
            rounds,
            records,
            still_crossed = breach().is_some(),
            "eviction rests"
        );
    }
}

/// One eviction, as far as the room that it makes. Breaks when there is nothing to evict, or it cannot
/// be remembered.
async fn round(core: &Rc<Core>, index: usize) -> ControlFlow<(), u64> {
    let name = &core.namespace(index).config.name;
    let Some((void_until_s, records)) = cut(core, index).await else {
        tracing::warn!(
            namespace = name,
            "nothing can be evicted: no records expire, or all of them at once, or their sets are spared"
        );
        return ControlFlow::Break(());
    };
    let node = core.node.clone();
    let marked = tokio::task::spawn_blocking(move || mark(&node, index, void_until_s)).await;
    if !matches!(marked, Ok(Ok(()))) {
        tracing::error!(
            namespace = name,
            ?marked,
            "an eviction mark cannot be written to data_dir; nothing is evicted"
        );
        return ControlFlow::Break(());
    }
    tracing::info!(namespace = name, void_until_s, records, "evicted");
    let engine = &core.namespace(index).engine;
    let oldest_fill = engine.log().oldest_fill();
    for partition in PartitionId::all() {
        if engine.may_hold_dead(partition) {
            sweep_partition(core, index, partition, oldest_fill).await;
            rest_at(partition).await;
        }
    }
    ControlFlow::Continue(records)
}

/// Evicts what expires up to a time, durably: the file first, then the engine. Waits for the disk.
///
/// # Errors
/// When the file cannot be written; nothing is evicted then.
pub(crate) fn mark(node: &Node, index: usize, void_until_s: u32) -> std::io::Result<()> {
    let namespace = &node.namespaces[index];
    let engine = &namespace.engine;
    let make = |marks: &[EvictionMark]| {
        let now = node::now();
        with_mark(marks, Some(engine.eviction_mark(void_until_s, now)), now)
    };
    change(node, index, make)
}

/// Changes a namespace's eviction marks, on disk and then in the engine.
///
/// # Errors
/// When the file cannot be written; nothing has changed then.
pub(crate) fn change(
    node: &Node,
    index: usize,
    make: impl FnOnce(&[EvictionMark]) -> Vec<EvictionMark>,
) -> std::io::Result<()> {
    let namespace = &node.namespaces[index];
    let name = &namespace.config.name;
    node.marks.evictions.change(name, make, |marks| {
        // The sets that a mark spares are of the configuration, which is checked for their number.
        if let Err(reason) = namespace.engine.set_evictions(marks) {
            tracing::error!(namespace = name, %reason, "eviction marks take effect at the next start");
        }
    })
}

/// Up to which void time records go, and how many these are.
async fn cut(core: &Rc<Core>, index: usize) -> Option<(u32, u64)> {
    let life = core.namespace(index).life();
    let buckets = life.evict_histogram_buckets;
    let mut survey = Survey::from_now(node::now().epoch_s(), buckets);
    loop {
        for partition in PartitionId::all() {
            survey_partition(core, index, partition, &mut survey).await;
        }
        match survey.cut(life.evict_tenths_percent) {
            Cut::Nothing => return None,
            Cut::UpTo {
                void_until_s,
                records,
            } => return Some((void_until_s, records)),
            Cut::Finer { begins_s, width_s } => survey = Survey::within(begins_s, width_s, buckets),
        }
    }
}

/// Lets others run between a few partitions: most have less than one slice of entries.
async fn rest_at(partition: PartitionId) {
    if partition.index().is_multiple_of(PARTITIONS_PER_TURN) {
        tokio::task::yield_now().await;
    }
}

async fn survey_partition(
    core: &Rc<Core>,
    index: usize,
    partition: PartitionId,
    survey: &mut Survey,
) {
    let engine = &core.namespace(index).engine;
    if !engine.may_hold_evictable(partition) {
        return;
    }
    let mut after = None;
    loop {
        after = engine.survey_slice(partition, after, survey, node::now());
        if after.is_none() {
            return rest_at(partition).await;
        }
        tokio::task::yield_now().await;
    }
}

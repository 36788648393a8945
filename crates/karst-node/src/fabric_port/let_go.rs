//! A node lets go of what it has nothing to do with any more, and sees that it does not come back.
//!
//! One task of the node does so, a batch of partitions at a time, in the order that [`karst_engine::floor`]
//! gives: note on disk, drop, floor on disk. While a batch is under way its partitions take no part in a newer
//! map, so a batch is small; and as long as `data_dir` cannot be written they take part in nothing, as
//! the node itself can no more follow the cluster then.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::map::Regime;
use karst_data::key::PartitionId;
use karst_engine::floor::Floor;

use crate::core::Core;
use crate::node::Node;

/// Entries of one batch, unless one partition alone has more.
const BATCH_ENTRIES: u64 = 1 << 18;

/// Pause before floors that could not be written are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Partitions of which all of a step is done before the next, each with its namespace.
type Batch = Vec<(usize, PartitionId)>;

/// Lets go of partitions that others hold, for as long as the core runs.
pub async fn let_go(core: Rc<Core>) {
    let mut changes = core.node.sights.changes();
    loop {
        loop {
            let batch = begin(&core.node);
            if batch.is_empty() {
                break;
            }
            carry_out(&core, batch).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Begins to let go of as much as a batch may be.
fn begin(node: &Node) -> Batch {
    let (mut batch, mut entries) = (Batch::new(), 0);
    for (namespace, id, regime) in surplus(node) {
        let engine = &node.namespaces[namespace].engine;
        let (records, tombstones) = engine.partition_counts(id);
        entries += records + tombstones;
        if !batch.is_empty() && entries > BATCH_ENTRIES {
            break;
        }
        if engine.begin_leaving(id, regime.0) {
            batch.push((namespace, id));
        }
    }
    batch
}

/// Partitions that this node holds something of, and that others hold all of.
fn surplus(node: &Node) -> Vec<(usize, PartitionId, Regime)> {
    let me = node.id;
    let sight = node.sights.now();
    let mut surplus = Vec::new();
    for (namespace, state) in node.namespaces.iter().enumerate() {
        let Some(map) = sight.state.maps.get(&state.config.name) else {
            continue;
        };
        for partition in PartitionId::all() {
            let ownership = map.partition(partition);
            if ownership.is_needless_at(me) && state.engine.partition_counts(partition) != (0, 0) {
                surplus.push((namespace, partition, ownership.regime));
            }
        }
    }
    surplus
}

/// Lets go of what was begun.
async fn carry_out(core: &Rc<Core>, batch: Batch) {
    let floor_of = |floor: fn(&Node, usize) -> Floor| -> Vec<(usize, PartitionId, Floor)> {
        let floors = batch.iter();
        let floors = floors.map(|(namespace, id)| (*namespace, *id, floor(&core.node, *namespace)));
        floors.collect()
    };
    keep(core, floor_of(|_, _| Floor::Leaving)).await;
    for (namespace, id) in &batch {
        let engine = &core.namespace(*namespace).engine;
        let mut after = None;
        loop {
            after = engine.drop_slice(*id, after).next;
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let floors = floor_of(|node, namespace| {
        let engine = &node.namespaces[namespace].engine;
        Floor::Fill(engine.next_floor())
    });
    keep(core, floors.clone()).await;
    for (namespace, id, floor) in floors {
        if let Floor::Fill(fill) = floor {
            core.namespace(namespace).engine.end_leaving(id, fill);
        }
    }
}

/// Keeps floors on disk, however often that has to be tried. Of namespaces in memory nothing outlives the
/// process.
async fn keep(core: &Rc<Core>, mut floors: Vec<(usize, PartitionId, Floor)>) {
    floors.retain(|(namespace, _, _)| !core.namespace(*namespace).devices.is_empty());
    while !floors.is_empty() {
        let (node, kept) = (core.node.clone(), floors.clone());
        let written = tokio::task::spawn_blocking(move || {
            let name = |namespace: usize| node.namespaces[namespace].config.name.as_str();
            let kept = kept.iter();
            let kept: Vec<_> = kept
                .map(|(at, id, floor)| (name(*at), *id, *floor))
                .collect();
            node.marks.floors.keep(&kept)
        });
        match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(
                %error,
                "what this node lets go of cannot be noted in data_dir: these partitions wait"
            ),
            Err(error) => tracing::error!(%error, "noting what this node lets go of failed"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Ends letting go of what an earlier process had begun to, blocking. The namespace is recovered, and serves
/// nobody yet.
///
/// # Errors
/// When the floors cannot be written.
pub fn end_of_earlier_process(node: &Node, namespace: usize) -> std::io::Result<()> {
    let state = &node.namespaces[namespace];
    let (name, engine) = (state.config.name.as_str(), &state.engine);
    let mut left = node.marks.floors.of(name);
    left.retain(|(_, floor)| *floor == Floor::Leaving);
    if left.is_empty() || state.devices.is_empty() {
        return Ok(());
    }
    for (id, _) in &left {
        let mut after = None;
        loop {
            after = engine.drop_slice(*id, after).next;
            if after.is_none() {
                break;
            }
        }
    }
    let floor = engine.next_floor();
    let floors = left.iter();
    let floors: Vec<_> = floors
        .map(|(id, _)| (name, *id, Floor::Fill(floor)))
        .collect();
    node.marks.floors.keep(&floors)?;
    left.iter()
        .for_each(|(id, _)| engine.end_leaving(*id, floor));
    tracing::info!(
        namespace = name,
        partitions = left.len(),
        "partitions that were being let go of at the last stop are gone"
    );
    Ok(())
}

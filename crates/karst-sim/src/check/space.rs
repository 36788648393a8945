//! No block is lost, none is counted wrong, none is written over while the index points into it.

use std::collections::{HashMap, HashSet};

use karst_data::key::{Digest, PartitionId};
use karst_storage::index::NewEntry;
use karst_storage::log::recover::Scanned;
use karst_storage::log::{BlockId, DeviceWrite};

use super::Violation;
use crate::node::blocks;
use crate::workload::PARTITIONS;
use crate::world::World;

fn entries(world: &World) -> impl Iterator<Item = NewEntry> + '_ {
    let partitions = PARTITIONS.iter().map(|partition| PartitionId(*partition));
    partitions.flat_map(|partition| world.node.namespace.entries(partition))
}

/// The first write of a fill meets a block that the index no longer needs.
///
/// # Errors
/// When an entry whose record is older than the fill points into it.
pub fn block_is_unused(world: &World, write: &DeviceWrite) -> Result<(), Violation> {
    if write.range.start != 0 {
        return Ok(());
    }
    let log = world.node.namespace.log();
    let source = &write.source;
    let content = source.bytes(0..source.filled()).unwrap_or_default();
    let scanned = log.scan_block(write.block, content);
    let holds: HashSet<(Digest, [u8; 10])> = scanned
        .filter_map(Scanned::record)
        .map(|record| (record.facts.meta.digest, record.facts.meta.version))
        .collect();
    for entry in entries(world).filter(|entry| log.block_of(entry.place) == write.block) {
        if !holds.contains(&(entry.digest, entry.version.pack())) {
            let what = format!("{write:?} overwrites {:?}", entry.place);
            return Err(Violation::new("space", what));
        }
    }
    Ok(())
}

/// What the log counts as live in each block is the sum of what the index points at there, and no block
/// is free and referenced.
///
/// # Errors
/// When it is not so.
pub fn accounts(world: &World) -> Result<(), Violation> {
    let log = world.node.namespace.log();
    let mut live: HashMap<BlockId, u32> = HashMap::new();
    for entry in entries(world) {
        *live.entry(log.block_of(entry.place)).or_default() += entry.place.length.bytes() as u32;
    }
    for id in blocks(&world.disk) {
        let report = log.block_report(id);
        let counted = live.get(&id).copied().unwrap_or(0);
        if report.live_bytes != counted || (report.free && counted > 0) {
            let what = format!("{id:?}: {report:?}, but the index points at {counted} bytes of it");
            return Err(Violation::new("space", what));
        }
    }
    let sum: u64 = live.values().map(|bytes| u64::from(*bytes)).sum();
    let report = log.report();
    if report.live_bytes != sum {
        let what = format!("{report:?}, but the index points at {sum} bytes");
        return Err(Violation::new("space", what));
    }
    Ok(())
}

/// As [`accounts`], and every block that holds nothing is free or being filled.
///
/// # Errors
/// When a block is lost.
pub fn at_rest(world: &mut World) -> Result<(), Violation> {
    if world.setup.failing_writes != 0 {
        return accounts(world); // a failed device keeps its blocks until the node restarts
    }
    if let Some(job) = world.node.namespace.log().next_move() {
        // Asking frees what quarantine no longer has to hold; the block stays as it is.
        world.node.namespace.log().postpone_move(job);
    }
    accounts(world)?;
    let log = world.node.namespace.log();
    for id in blocks(&world.disk) {
        let report = log.block_report(id);
        if report.live_bytes == 0 && !report.free && !report.open {
            let what = format!("{id:?} holds nothing, and is neither free nor being filled");
            return Err(Violation::new("space", what));
        }
    }
    Ok(())
}

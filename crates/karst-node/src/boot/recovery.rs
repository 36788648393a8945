//! From devices to index, before the node serves.
//!
//! Every block of every device is read once; blocks are handed to a few threads one at a time. The
//! outcome does not depend on the order: the index keeps the highest version of each record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use karst_io::buffer::AlignedBuffer;
use karst_io::op::IoFailure;
use karst_storage::log::BlockId;
use karst_storage::log::format::BlockHeader;
use karst_storage::log::recover::Scanned;
use karst_storage::place::DeviceId;

use super::BootError;
use crate::node::NamespaceState;

/// Threads that read blocks.
const THREADS: usize = 4;

/// Bytes read first of every block, to see whether it was ever filled.
const HEADER_READ_BYTES: usize = 4096;

#[derive(Default)]
struct Tally {
    blocks: AtomicUsize,
    records: AtomicUsize,
    damaged: AtomicUsize,
    headers: AtomicUsize,
    unreadable: AtomicUsize,
}

/// Recovers one namespace. `not_warm` says why its index could not be taken over from shared memory.
///
/// # Errors
/// When a device cannot be read or the index has no room: to serve part of the data would be to lie.
pub(super) fn run_one(namespace: &NamespaceState, not_warm: &str) -> Result<(), BootError> {
    let started = Instant::now();
    let log = namespace.engine.log();
    let blocks: Vec<BlockId> = (0..namespace.devices.len() as u8)
        .flat_map(|device| {
            let count = log.config().devices[usize::from(device)].blocks;
            (0..count).map(move |block| BlockId {
                device: DeviceId(device),
                block,
            })
        })
        .collect();
    let (next, tally) = (AtomicUsize::new(0), Tally::default());
    let work = || -> Result<(), String> {
        let mut buffer = AlignedBuffer::with_capacity(log.config().block_bytes as usize);
        while let Some(id) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            recover_block(namespace, *id, &mut buffer, &tally)?;
        }
        Ok(())
    };
    let outcome = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a recovery thread panicked".into()))
        })
    });
    outcome.map_err(|what| BootError::Recovery {
        namespace: namespace.config.name.clone(),
        what,
    })?;
    log.finish_recovery();
    let report = namespace.engine.report();
    tracing::info!(
        namespace = namespace.config.name,
        records = report.records,
        tombstones = report.tombstones,
        blocks_scanned = tally.blocks.into_inner(),
        records_scanned = tally.records.into_inner(),
        stale_or_damaged = tally.damaged.into_inner(),
        damaged_headers = tally.headers.into_inner(),
        unreadable_blocks = tally.unreadable.into_inner(),
        seconds = started.elapsed().as_secs_f64(),
        not_warm,
        "recovered"
    );
    Ok(())
}

/// A block that a failed device does not give back: its records are missing. Any other device that
/// cannot be read keeps the node from starting.
fn note_unreadable(namespace: &NamespaceState, id: BlockId, error: &IoFailure, tally: &Tally) {
    tally.unreadable.fetch_add(1, Ordering::Relaxed);
    let device = namespace.devices[usize::from(id.device.0)].path().display();
    tracing::error!(
        namespace = namespace.config.name, device = %device, block = id.block, %error,
        "a block of a failed device cannot be read: its records are missing"
    );
}

/// A block without a sound header was never filled, or holds what was on the device before it was
/// taken into use, or was filled and cannot be trusted any more. The last is told apart by its magic.
fn note_if_damaged(namespace: &NamespaceState, id: BlockId, front: &[u8], tally: &Tally) {
    if BlockHeader::is_damaged(front) {
        tally.headers.fetch_add(1, Ordering::Relaxed);
        let device = namespace.devices[usize::from(id.device.0)].path().display();
        tracing::error!(
            namespace = namespace.config.name, device = %device, block = id.block,
            "the header of a block is damaged: its records cannot be read and are left out"
        );
    }
}

fn recover_block(
    namespace: &NamespaceState,
    id: BlockId,
    buffer: &mut AlignedBuffer,
    tally: &Tally,
) -> Result<(), String> {
    let log = namespace.engine.log();
    let device = &namespace.devices[usize::from(id.device.0)];
    let (offset, size) = log.block_extent(id);
    let read = |bytes: usize, buffer: &mut AlignedBuffer| {
        buffer.set_len(bytes);
        match device.read_at(offset, buffer) {
            Ok(()) => Ok(true),
            Err(error) if log.device_failed(id.device) => {
                note_unreadable(namespace, id, &error, tally);
                Ok(false)
            }
            Err(error) => Err(error.to_string()),
        }
    };
    if !read(HEADER_READ_BYTES.min(size), buffer)? {
        return Ok(());
    }
    if log.block_header(id, buffer.as_slice()).is_none() {
        note_if_damaged(namespace, id, buffer.as_slice(), tally);
        return Ok(());
    }
    if !read(size, buffer)? {
        return Ok(());
    }
    let Some(mut scanned) = log.recover_block(id, buffer.as_slice(), None) else {
        return Ok(());
    };
    tally.blocks.fetch_add(1, Ordering::Relaxed);
    for record in scanned.by_ref().filter_map(Scanned::record) {
        tally.records.fetch_add(1, Ordering::Relaxed);
        namespace
            .engine
            .recover(record.place, &record.facts)
            .map_err(|reason| reason.to_string())?;
    }
    tally
        .damaged
        .fetch_add(scanned.damaged() as usize, Ordering::Relaxed);
    Ok(())
}

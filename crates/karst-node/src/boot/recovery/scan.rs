//! Whole blocks to the index.
//!
//! The order does not matter: the index keeps the highest version of each record.

use std::sync::atomic::Ordering;

use karst_engine::recover::Intake;
use karst_storage::log::BlockId;

use super::read::{Consumer, Job, Reader};
use crate::node::NamespaceState;

/// Blocks in flight on each thread: at 1 MiB each enough for any device there is.
const AHEAD: usize = 4;

/// Reads blocks and takes in every sound record of theirs.
///
/// # Errors
/// When a device cannot be read, or the index has no room.
pub(super) fn run(
    namespace: &NamespaceState,
    reader: &Reader<'_>,
    blocks: &[BlockId],
) -> Result<(), String> {
    let log = namespace.engine.log();
    let job = |id: &BlockId| {
        let (offset, bytes) = log.block_extent(*id);
        Job {
            device: id.device.0,
            offset,
            bytes,
        }
    };
    let jobs: Vec<Job> = blocks.iter().map(job).collect();
    reader.read_all(&jobs, AHEAD, || Blocks {
        namespace,
        blocks,
        intake: Intake::new(&namespace.engine),
    })
}

struct Blocks<'n> {
    namespace: &'n NamespaceState,
    blocks: &'n [BlockId],
    intake: Intake<'n>,
}

impl Consumer for Blocks<'_> {
    fn take(&mut self, job: usize, bytes: &[u8]) -> Result<(), String> {
        let tally = &self.namespace.restart.tally;
        let log = self.namespace.engine.log();
        if let Some(mut scanned) = log.recover_block(self.blocks[job], bytes) {
            let mut records = 0;
            for (place, record) in scanned.by_ref() {
                records += 1;
                let taken = self.intake.take(place, &record);
                taken.map_err(|reason| reason.to_string())?;
            }
            let (damaged, relaxed) = (scanned.damaged(), Ordering::Relaxed);
            tally.blocks_scanned.fetch_add(1, relaxed);
            tally.records_scanned.fetch_add(records, relaxed);
            tally.stale_or_damaged.fetch_add(damaged, relaxed);
        }
        self.namespace.restart.advance(bytes.len() as u64);
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        let finished = self.intake.finish();
        finished.map(drop).map_err(|reason| reason.to_string())
    }
}

//! The header of every block, before any block is read as a whole: most of a device may never have
//! been filled, and what a checkpoint covers need not be read again.

use std::sync::Arc;

use karst_storage::log::BlockId;
use karst_storage::log::format::BlockHeader;
use karst_storage::place::DeviceId;
use parking_lot::Mutex;

use super::read::{Consumer, Job, Reader};
use crate::node::NamespaceState;

/// Bytes read of every block's front: whole sectors of any device.
const FRONT_BYTES: usize = 4096;

/// Headers in flight on each thread.
const AHEAD: usize = 64;

/// What the headers say.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Blocks that were filled, in the order of devices and blocks. Their fills are in the log.
    pub(super) filled: Vec<BlockId>,
    /// Blocks whose header was one and is damaged.
    pub(super) damaged: Vec<BlockId>,
}

/// Reads every block's header, and tells the log what each block was filled with.
///
/// # Errors
/// When a device cannot be read.
pub(super) fn read(namespace: &NamespaceState, reader: &Reader<'_>) -> Result<Headers, String> {
    let log = namespace.engine.log();
    let blocks = all_blocks(namespace);
    let job = |id: &BlockId| {
        let (offset, size) = log.block_extent(*id);
        let (device, bytes) = (id.device.0, FRONT_BYTES.min(size));
        Job {
            device,
            offset,
            bytes,
        }
    };
    let jobs: Vec<Job> = blocks.iter().map(job).collect();
    let found = Arc::new(Mutex::new(Headers::default()));
    reader.read_all(&jobs, AHEAD, || Fronts {
        namespace,
        blocks: &blocks,
        mine: Headers::default(),
        all: found.clone(),
    })?;
    let mut found = std::mem::take(&mut *found.lock());
    found.filled.sort_unstable();
    found.damaged.sort_unstable();
    Ok(found)
}

/// Every block of every device.
fn all_blocks(namespace: &NamespaceState) -> Vec<BlockId> {
    let devices = namespace.engine.log().config().devices.iter().enumerate();
    let blocks = devices.flat_map(|(number, device)| {
        let device_id = DeviceId(number as u8); // the log has at most 128
        (0..device.blocks).map(move |block| BlockId {
            device: device_id,
            block,
        })
    });
    blocks.collect()
}

/// Bytes that [`read`] will read.
pub(super) fn bytes(namespace: &NamespaceState) -> u64 {
    let devices = &namespace.engine.log().config().devices;
    let blocks: u64 = devices.iter().map(|device| u64::from(device.blocks)).sum();
    blocks * FRONT_BYTES as u64
}

struct Fronts<'n> {
    namespace: &'n NamespaceState,
    blocks: &'n [BlockId],
    mine: Headers,
    all: Arc<Mutex<Headers>>,
}

impl Consumer for Fronts<'_> {
    fn take(&mut self, job: usize, bytes: &[u8]) -> Result<(), String> {
        let id = self.blocks[job];
        self.namespace.restart.advance(bytes.len() as u64);
        if self
            .namespace
            .engine
            .log()
            .recover_block(id, bytes)
            .is_some()
        {
            self.mine.filled.push(id);
        } else if BlockHeader::is_damaged(bytes) {
            self.mine.damaged.push(id);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        let mut all = self.all.lock();
        all.filled.extend(self.mine.filled);
        all.damaged.extend(self.mine.damaged);
        Ok(())
    }
}

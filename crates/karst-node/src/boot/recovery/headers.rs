//! The header of every block, before any block is read as a whole: most of a device may never have
//! been filled, and what a checkpoint covers need not be read again.

use std::sync::Arc;

use karst_io::buffer::AlignedBuffer;
use karst_storage::log::format::BlockHeader;
use karst_storage::log::recover::Testimony;
use karst_storage::log::{BlockId, Log};
use karst_storage::place::DeviceId;
use parking_lot::Mutex;

use super::load::Checkpoint;
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
    /// Blocks whose front is no header of ours at all, and not blank. Where a sound header tells of a fill
    /// of such a block, it was one.
    strange: Vec<BlockId>,
    /// What the sound ones say of other blocks.
    pub(super) testimony: Testimony,
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
        filled: Vec::new(),
        damaged: Vec::new(),
        strange: Vec::new(),
        all: found.clone(),
    })?;
    let mut found = std::mem::take(&mut *found.lock());
    found.believe_others(log);
    found.filled.sort_unstable();
    found.damaged.sort_unstable();
    Ok(found)
}

impl Headers {
    /// Counts as damaged what sound headers of other blocks contradict: a front that is no header any
    /// more, and an old header where a later fill was wholly durable once.
    fn believe_others(&mut self, log: &Log) {
        let number = |id: &BlockId| log.config().devices[usize::from(id.device.0)].number;
        let strange = std::mem::take(&mut self.strange).into_iter();
        let known = |id: &BlockId| self.testimony.fill_of(number(id), id.block).is_some();
        self.damaged.extend(strange.filter(known));
        let is_stale = |id: &mut BlockId| {
            let fill = log.fill_of(*id);
            self.testimony.is_stale(number(id), id.block, fill)
        };
        self.damaged.extend(self.filled.extract_if(.., is_stale));
    }

    /// Looks for another witness of what a block with a damaged header holds: its lane's next block, or
    /// a checkpoint. The front of the block has to bear it out. Blocks that are left are `damaged`.
    ///
    /// # Errors
    /// When a device cannot be read.
    pub(super) fn replace(
        &mut self,
        namespace: &NamespaceState,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), String> {
        let log = namespace.engine.log();
        for id in std::mem::take(&mut self.damaged) {
            let device = usize::from(id.device.0);
            let (offset, size) = log.block_extent(id);
            let mut front = AlignedBuffer::with_capacity(FRONT_BYTES.min(size));
            front.set_len(FRONT_BYTES.min(size));
            let read = namespace.devices[device].read_at(offset, &mut front);
            read.map_err(|failure| failure.to_string())?;
            let number = log.config().devices[device].number;
            let told = self.testimony.fill_of(number, id.block);
            let remembered = checkpoint.and_then(|checkpoint| checkpoint.fill(id));
            let is_stale = log.block_header(id, front.as_slice()).is_some();
            let bears_out = |fill: &u64| {
                let found = log.recover_block(id, front.as_slice(), Some(*fill));
                found.is_some() && !is_stale
            };
            match told.into_iter().chain(remembered).find(bears_out) {
                Some(_) => self.filled.push(id),
                None => {
                    log.holds_unknown(id); // it may be readable at the next start
                    self.damaged.push(id);
                }
            }
        }
        self.filled.sort_unstable();
        Ok(())
    }
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
    filled: Vec<BlockId>,
    damaged: Vec<BlockId>,
    strange: Vec<BlockId>,
    all: Arc<Mutex<Headers>>,
}

impl Consumer for Fronts<'_> {
    fn take(&mut self, job: usize, bytes: &[u8]) -> Result<(), String> {
        let id = self.blocks[job];
        self.namespace.restart.advance(bytes.len() as u64);
        let log = self.namespace.engine.log();
        if let Some(header) = log.block_header(id, bytes) {
            log.recover_block(id, bytes, None); // it learns the fill
            self.all.lock().testimony.hear(&header);
            self.filled.push(id);
        } else if BlockHeader::is_damaged(bytes) {
            self.damaged.push(id);
        } else {
            log.recover_block(id, bytes, None); // it learns whether there is something
            if bytes.iter().any(|byte| *byte != 0) {
                self.strange.push(id);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        let mut all = self.all.lock();
        all.filled.extend(self.filled);
        all.damaged.extend(self.damaged);
        all.strange.extend(self.strange);
        Ok(())
    }
}

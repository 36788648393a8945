//! From the bytes of blocks back to records, after a stop of any kind.
//!
//! Every block whose header is sound is walked from front to end. A record counts if its checksum is
//! right under the seal of the block's fill; anything else is stepped over one rblock at a time, so
//! that one torn or rotten record costs only itself. Which of several versions of a record is the live
//! one is for the index to say; the log only reports what it found.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use karst_data::flat::{FlatError, Record, Seal, size_of_record_at};

use super::Log;
use super::format::{BLOCK_HEADER_BYTES, BlockHeader};
use super::space::{BlockId, Life};
use crate::place::{DeviceId, Place, RBLOCK_BYTES, Rblocks};

/// What one block holds.
pub struct ScannedBlock<'a> {
    bytes: &'a [u8],
    seal: Seal,
    device: DeviceId,
    block_start: u64,
    at: usize,
    damaged: u64,
}

impl<'a> ScannedBlock<'a> {
    /// Walks the records of a block. `seal` names device and fill; its start is ignored.
    pub fn new(bytes: &'a [u8], device: DeviceId, block_start: u64, seal: Seal) -> Self {
        ScannedBlock {
            bytes,
            seal,
            device,
            block_start,
            at: BLOCK_HEADER_BYTES,
            damaged: 0,
        }
    }

    /// Records that began soundly and failed their checksum. Ask when the walk is over. A block that
    /// was being written when the node stopped ends with remains of its previous fill, which count
    /// here too; the number alone is no proof of rot.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }
}

impl<'a> Iterator for ScannedBlock<'a> {
    type Item = (Place, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at + karst_data::flat::HEADER_BYTES <= self.bytes.len() {
            let rest = &self.bytes[self.at..];
            let start = self.block_start + self.at as u64;
            match Record::parse(rest, &Seal { start, ..self.seal }) {
                Ok(record) if record.validate().is_ok() => {
                    let length = size_of_record_at(rest).ok().map(|bytes| bytes as u64)?;
                    let length = Rblocks::holding(length);
                    self.at += length.bytes() as usize;
                    let start = Rblocks(start / RBLOCK_BYTES);
                    return Some((
                        Place {
                            device: self.device,
                            start,
                            length,
                        },
                        record,
                    ));
                }
                Ok(_) | Err(FlatError::Checksum | FlatError::Content(_)) => self.damaged += 1,
                Err(FlatError::Magic | FlatError::Short { .. }) => {}
            }
            self.at += RBLOCK_BYTES as usize;
        }
        None
    }
}

impl Log {
    /// Byte offset and size of a block on its device, for the caller to read.
    pub fn block_extent(&self, id: BlockId) -> (u64, usize) {
        (
            self.config.block_offset(id.block),
            self.config.block_bytes as usize,
        )
    }

    /// The seal of a block's present content; its start is the caller's to fill in.
    pub fn block_seal(&self, id: BlockId) -> Seal {
        Seal {
            device: self.devices[usize::from(id.device.0)].geometry.number,
            fill: self.block(id).fill.load(Ordering::Acquire),
            start: 0,
        }
    }

    /// Walks one block of a device that was in use before. `None` when it was never filled, or when its
    /// header is damaged, which makes it free.
    pub fn recover_block<'a>(&self, id: BlockId, bytes: &'a [u8]) -> Option<ScannedBlock<'a>> {
        let number = self.devices[usize::from(id.device.0)].geometry.number;
        let header = BlockHeader::parse(bytes)
            .filter(|header| header.device == number && header.block == id.block)?;
        self.block(id).fill.store(header.fill, Ordering::Release);
        self.fills.fetch_max(header.fill, Ordering::AcqRel);
        let seal = self.block_seal(id);
        Some(ScannedBlock::new(
            bytes,
            id.device,
            self.config.block_offset(id.block),
            seal,
        ))
    }

    /// Ends recovery: blocks with live records are full, the others free, the longest-written first.
    /// The index has claimed every place it points at.
    pub fn finish_recovery(&self) {
        let mut space = self.space.lock();
        for (number, device) in self.devices.iter().enumerate() {
            let device_id = DeviceId(number as u8);
            let mut free: Vec<(u64, u32)> = Vec::new();
            for (block, state) in device.blocks.iter().enumerate() {
                let id = BlockId {
                    device: device_id,
                    block: block as u32,
                };
                if space.life(id) == Life::Broken {
                    continue; // what was left of it could not be written
                }
                if state.live_bytes.load(Ordering::Acquire) == 0 {
                    free.push((state.fill.load(Ordering::Acquire), id.block));
                } else {
                    space.set_life(id, Life::Full);
                }
            }
            free.sort_unstable();
            let free: VecDeque<u32> = free.into_iter().map(|(_, block)| block).collect();
            space.set_free(device_id, free);
            for block in 0..device.blocks.len() as u32 {
                self.settle(
                    &mut space,
                    BlockId {
                        device: device_id,
                        block,
                    },
                );
            }
        }
    }
}

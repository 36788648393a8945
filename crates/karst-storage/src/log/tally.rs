//! Counting what is live in each block, many entries at a time.
//!
//! A start that takes an index over counts millions of places from several threads. Each counts in a
//! tally of its own and adds it to the log once.

use super::format::BLOCK_HEADER_BYTES;
use super::{BlockId, Log};
use crate::place::{DeviceId, Place};

/// Live bytes of every block, as far as one thread has seen.
pub struct LiveTally {
    blocks: Vec<Box<[u32]>>,
    block_bytes: u64,
}

/// A place that is none: its device or block does not exist, or it does not lie within one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place of this namespace's devices")]
pub struct NoSuchPlace(pub Place);

impl LiveTally {
    /// Counts a place as live.
    ///
    /// # Errors
    /// When there can be no record: then whoever said so is not to be trusted.
    pub fn add(&mut self, place: Place) -> Result<(), NoSuchPlace> {
        let refused = NoSuchPlace(place);
        let start = place.start.bytes();
        let block = (start / self.block_bytes).checked_sub(1).ok_or(refused)?;
        let within = start % self.block_bytes;
        let end = within + place.length.bytes();
        if within < BLOCK_HEADER_BYTES as u64 || end > self.block_bytes || place.length.0 == 0 {
            return Err(refused);
        }
        let device = self.blocks.get_mut(usize::from(place.device.0));
        let live = device.and_then(|blocks| blocks.get_mut(usize::try_from(block).ok()?));
        let live = live.ok_or(refused)?;
        let sum = u64::from(*live) + place.length.bytes();
        if sum > self.block_bytes {
            return Err(refused); // more than fits: some of these places overlap
        }
        *live = sum as u32;
        Ok(())
    }
}

impl Log {
    /// A tally of nothing.
    pub fn tally(&self) -> LiveTally {
        let devices = self.devices.iter();
        LiveTally {
            blocks: devices
                .map(|device| vec![0; device.blocks.len()].into())
                .collect(),
            block_bytes: u64::from(self.config.block_bytes),
        }
    }

    /// Counts all places of a tally as live, as [`Log::claim`] does one.
    pub fn claim_all(&self, tally: &LiveTally) {
        for (number, blocks) in tally.blocks.iter().enumerate() {
            for (block, live) in blocks.iter().enumerate().filter(|(_, live)| **live > 0) {
                let id = BlockId {
                    device: DeviceId(number as u8),
                    block: block as u32,
                };
                self.claim_found(id, *live);
            }
        }
    }
}

//! What recovery tells the log of live bytes, before any block has a life.
//!
//! While a node recovers no block is open and none is ever freed, so places are counted without moving
//! blocks on: [`Log::finish_recovery`] looks at what is left once all records are known.

use std::sync::atomic::Ordering;

use super::{BlockId, Log};
use crate::place::Place;

impl Log {
    /// The fill that a block's content belongs to; 0 before its first.
    pub fn fill_of(&self, id: BlockId) -> u64 {
        self.block(id).fill.load(Ordering::Acquire)
    }

    /// The highest fill that any block was found to hold.
    pub fn youngest_fill(&self) -> u64 {
        let blocks = self.devices.iter().flat_map(|device| device.blocks.iter());
        let fills = blocks.map(|block| block.fill.load(Ordering::Acquire));
        fills.max().unwrap_or(0)
    }

    /// Counts bytes of a block as live, in one step for many records. To be told before the index is
    /// made to point at any of them: another thread may supersede one at once.
    pub fn claim_found(&self, id: BlockId, bytes: u32) {
        self.block(id).add_live(bytes);
        let device = &self.devices[usize::from(id.device.0)];
        device
            .live_bytes
            .fetch_add(u64::from(bytes), Ordering::Relaxed);
    }

    /// Counts a place as dead that was claimed by [`Log::claim_found`].
    pub fn disclaim_found(&self, place: Place) {
        let bytes = place.length.bytes() as u32;
        self.block(self.block_of(place)).remove_live(bytes);
        let device = &self.devices[usize::from(place.device.0)];
        device
            .live_bytes
            .fetch_sub(u64::from(bytes), Ordering::Relaxed);
    }
}

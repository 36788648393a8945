//! Defrag: which block is emptied next, and what becomes of it.
//!
//! On devices defrag is lazy: while one in `FREE_PART_WANTED` blocks is free nothing is moved, since
//! blocks only get emptier, and cheaper to move, by waiting. In memory it is not, since a block that
//! is used again spares the first touch of fresh memory, which costs more than moving. Then blocks whose live part fell below the
//! low-water mark are taken in the order in which they fell. When free blocks are short, the fullest-of-holes block is taken whatever the mark says, so that a
//! namespace filled to any degree under the stop-writes limit stays writable: among blocks that are
//! `u` live on average one is at most `u` live, and moving it gains the rest of it.
//!
//! The caller reads the block, moves each record that the index still points at to a lane of its own
//! ([`Log::move_lane`]), and reports the end. The block is then empty and quarantined like any other
//! that ran empty: it is free once the moved records are durable.

use std::sync::atomic::Ordering;

use crate::log::{BlockId, Log, MoveJob, PRESSED_LIVE_PERCENT_MAX};

/// On devices defrag begins when fewer than one in so many blocks is free.
const FREE_PART_WANTED: usize = 3;

impl Log {
    /// The next block to empty, if there is one worth the work.
    pub fn next_move(&self) -> Option<MoveJob> {
        let mut space = self.space.lock();
        self.release_quarantine(&mut space);
        let free = space.free_blocks() + space.quarantined_blocks();
        if self.config().on_devices && free * FREE_PART_WANTED >= self.blocks() {
            return None;
        }
        let marked = space.take_worth_moving();
        let id = marked.or_else(|| {
            let id = if free < self.pressed_blocks() {
                self.emptiest(space.full())
            } else {
                None
            };
            id.inspect(|id| space.begin_move(*id))
        })?;
        let (offset, _) = self.block_extent(id);
        Some(MoveJob { id, offset })
    }

    /// All blocks of all devices.
    fn blocks(&self) -> usize {
        let devices = self.config().devices.iter();
        devices.map(|device| device.blocks as usize).sum()
    }

    /// Free blocks below which the low-water mark no longer decides.
    fn pressed_blocks(&self) -> usize {
        2 * self.config().reserve_blocks() + self.blocks() / 50
    }

    /// The block with the fewest live bytes, if moving it gains anything.
    fn emptiest(&self, blocks: impl Iterator<Item = BlockId>) -> Option<BlockId> {
        let live = |id: &BlockId| self.block(*id).live_bytes.load(Ordering::Acquire);
        let worth = u64::from(self.config().block_bytes) * PRESSED_LIVE_PERCENT_MAX / 100;
        blocks
            .map(|id| (live(&id), id))
            .min_by_key(|(live, _)| *live)
            .filter(|(live, _)| u64::from(*live) < worth)
            .map(|(_, id)| id)
    }

    /// The block's bytes if they are in memory.
    pub fn block_in_memory(
        &self,
        id: BlockId,
    ) -> Option<std::sync::Arc<karst_io::buffer::AppendBuffer>> {
        self.block(id).buffer.load_full()
    }

    /// Ends the emptying of a block. Returns the live bytes that could not be moved; a block that keeps
    /// some is left alone from then on, since its next reader would fail on the same record.
    pub fn end_move(&self, job: MoveJob) -> u32 {
        let mut space = self.space.lock();
        let left = self.block(job.id).live_bytes.load(Ordering::Acquire);
        if left == 0 {
            self.moved_blocks.fetch_add(1, Ordering::Relaxed);
            self.retire(&mut space, job.id);
        } else {
            space.leave_alone(job.id);
        }
        left
    }

    /// Gives a block back that could not be emptied for want of space; it is tried again later.
    pub fn postpone_move(&self, job: MoveJob) {
        let mut space = self.space.lock();
        space.end_move(job.id);
        self.settle(&mut space, job.id);
    }
}

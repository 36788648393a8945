//! What the log says of its blocks, for tools and checks. Nothing on the way of a record asks here.

use std::sync::atomic::Ordering;

use super::Log;
use super::space::{BlockId, Life};

/// One block as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockReport {
    /// The fill that its content belongs to, 0 before its first.
    pub fill: u64,
    /// Bytes of records in it that the index points at.
    pub live_bytes: u32,
    /// It holds nothing that anybody needs and can be opened.
    pub free: bool,
    /// A lane is filling it, or writes of it are out.
    pub open: bool,
}

impl Log {
    /// One block.
    pub fn block_report(&self, id: BlockId) -> BlockReport {
        let life = self.space.lock().life(id);
        let block = self.block(id);
        BlockReport {
            fill: block.fill.load(Ordering::Acquire),
            live_bytes: block.live_bytes.load(Ordering::Acquire),
            free: life == Life::Free,
            open: life == Life::Open,
        }
    }
}

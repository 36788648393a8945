//! A log on devices of which every live block is in memory too: the memory engine with a shadow.
//!
//! What is written stays where it was written from. What an earlier run wrote is read once, in any order
//! and while requests are served: until a block is there its records are read from the device. Only a block
//! that was read whole and sound comes into memory, since what lies there is not checked again; one with
//! a damaged stretch stays on its device, where each of its records is checked whenever it is read.
//!
//! A block's memory is used for another one as soon as nothing in it is live.

use super::Log;
use super::recover::Scanned;
use super::space::{BlockId, Life};

/// What became of a block that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in memory.
    Yes,
    /// Part of it is damaged, so it stays on its device alone.
    Damaged,
    /// It holds something else by now, or nothing, or is in memory already.
    Superseded,
    /// There is no memory for it.
    NoMemory,
}

impl Log {
    /// Keeps all that is live in memory too. Asked for before anything else.
    pub fn set_resident(&mut self, resident: bool) {
        self.resident = resident;
    }

    /// Whether all that is live is kept in memory too.
    pub fn is_resident(&self) -> bool {
        self.resident
    }

    /// Whether a block is one that should be in memory and is not. Returns its fill then.
    pub fn wants_loading(&self, id: BlockId) -> Option<u64> {
        let space = self.space.lock();
        let lives = matches!(space.life(id), Life::Full | Life::Moving | Life::Damaged);
        let absent = self.block(id).buffer.load().is_none();
        (self.resident && lives && absent).then(|| self.block_seal(id).fill)
    }

    /// Takes the content of a block that was read from its device while it was in this fill.
    pub fn load_block(&self, id: BlockId, fill: u64, bytes: &[u8]) -> Loaded {
        if self.block_seal(id).fill != fill {
            return Loaded::Superseded;
        }
        let scanned = self.scan_block(id, bytes);
        if scanned
            .into_iter()
            .any(|found| matches!(found, Scanned::Damaged(_)))
        {
            return Loaded::Damaged;
        }
        let Some(buffer) = self.take_buffer() else {
            return Loaded::NoMemory;
        };
        let appended = buffer.append(bytes.len(), |space| space.copy_from_slice(bytes));
        assert_eq!(appended, Some(0), "a buffer holds a block");
        Log::label_buffer(&buffer, id, fill);
        buffer.settle(0..bytes.len());
        // A block is opened, emptied and let go under this mutex.
        let space = self.space.lock();
        let lives = matches!(space.life(id), Life::Full | Life::Moving | Life::Damaged);
        let block = self.block(id);
        if !lives || self.block_seal(id).fill != fill || block.buffer.load().is_some() {
            drop(space);
            self.recycle(Some(buffer));
            return Loaded::Superseded;
        }
        block.buffer.store(Some(buffer));
        Loaded::Yes
    }
}

#[cfg(test)]
mod tests;

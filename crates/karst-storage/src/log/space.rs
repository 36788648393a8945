//! The blocks of a namespace: which are free, filling, full, and what each still holds.
//!
//! One mutex guards the life of blocks; it is visited about once per block, not once per record. How
//! many bytes of a block are live is an atomic beside it, since that changes with every write.
//!
//! ```text
//!             open              all its writes done             below the low-water mark
//!   Free ------------> Open ----------------------------> Full -------------------------> Worth moving
//!    ^                                                      |                                  |  taken
//!    |  every lane has made durable what it held            |  nothing live is left            v
//!    '------------------ Quarantined <----------------------+------------------------------ Moving
//! ```
//!
//! Invariants
//!   a block is reused only when all that superseded its records is durable (quarantine)
//!   live bytes of a block never exceed its size, and are zero when it is free
//!   `Broken` blocks are never reused while the process lives: a write to them failed, or a record in
//!   them that the index still wants cannot be read

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use karst_io::buffer::AppendBuffer;

use crate::place::DeviceId;

/// A block of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// Its device.
    pub device: DeviceId,
    /// Its number on the device.
    pub block: u32,
}

/// Where a block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Free,
    Open,
    Full,
    WorthMoving,
    Moving,
    Quarantined,
    Broken,
}

/// What every core may ask of a block without the mutex.
#[derive(Default)]
pub(crate) struct Block {
    /// Bytes of records that the index points at, padding to the rblock included.
    pub(crate) live_bytes: AtomicU32,
    /// The fill that the block's content belongs to; 0 before its first.
    pub(crate) fill: AtomicU64,
    /// The content, while it is in memory.
    pub(crate) buffer: ArcSwapOption<AppendBuffer>,
}

/// One block waiting until what superseded its records is durable in every lane.
struct Quarantined {
    id: BlockId,
    /// Per lane, the position that has to be durable first.
    positions: Box<[u64]>,
}

/// The lives of all blocks. Guarded by the log's mutex.
pub(crate) struct Space {
    lives: Vec<Box<[Life]>>,
    free: Vec<VecDeque<u32>>,
    quarantine: VecDeque<Quarantined>,
    worth_moving: VecDeque<BlockId>,
    failed: Vec<bool>,
    free_blocks: usize,
}

impl Space {
    /// All blocks of all devices; `blocks[d]` of them on device `d`, every one free.
    pub(crate) fn new(blocks: &[u32]) -> Space {
        Space {
            lives: blocks
                .iter()
                .map(|count| vec![Life::Free; *count as usize].into())
                .collect(),
            free: blocks.iter().map(|count| (0..*count).collect()).collect(),
            quarantine: VecDeque::new(),
            worth_moving: VecDeque::new(),
            failed: vec![false; blocks.len()],
            free_blocks: blocks.iter().map(|count| *count as usize).sum(),
        }
    }

    /// Blocks that can be opened at once.
    pub(crate) fn free_blocks(&self) -> usize {
        self.free_blocks
    }

    /// Blocks on the free list of one device, failed or not.
    pub(crate) fn free_blocks_of(&self, device: DeviceId) -> usize {
        self.free[usize::from(device.0)].len()
    }

    /// Blocks whose content is dead but whose successors are not all durable yet.
    pub(crate) fn quarantined_blocks(&self) -> usize {
        self.quarantine.len()
    }

    pub(crate) fn life(&self, id: BlockId) -> Life {
        self.lives[usize::from(id.device.0)][id.block as usize]
    }

    pub(crate) fn set_life(&mut self, id: BlockId, life: Life) {
        self.lives[usize::from(id.device.0)][id.block as usize] = life;
    }

    /// Frees what quarantine no longer has to hold; `durable[lane]` is each lane's durable position.
    pub(crate) fn release_quarantine(&mut self, durable: &[u64]) {
        let served = |positions: &[u64]| positions.iter().zip(durable).all(|(at, is)| at <= is);
        while let Some(oldest) = self.quarantine.front()
            && served(&oldest.positions)
        {
            let id = oldest.id;
            self.quarantine.pop_front();
            self.set_life(id, Life::Free);
            self.free[usize::from(id.device.0)].push_back(id.block);
            self.free_blocks += usize::from(!self.failed[usize::from(id.device.0)]);
        }
    }

    /// Sends an emptied block into quarantine; `appended[lane]` is each lane's position now.
    pub(crate) fn quarantine(&mut self, id: BlockId, appended: Box<[u64]>) {
        self.set_life(id, Life::Quarantined);
        self.quarantine.push_back(Quarantined {
            id,
            positions: appended,
        });
    }

    /// Opens the longest-free block of the healthy device that has the largest part of itself free.
    pub(crate) fn open(&mut self) -> Option<BlockId> {
        let fullness = |device: usize| {
            let (free, total) = (
                self.free[device].len() as u64,
                self.lives[device].len() as u64,
            );
            free * 1_000_000 / total.max(1)
        };
        let device = (0..self.free.len())
            .filter(|device| !self.failed[*device] && !self.free[*device].is_empty())
            .max_by_key(|device| fullness(*device))?;
        let block = self.free[device].pop_front()?;
        self.free_blocks -= 1;
        let id = BlockId {
            device: DeviceId(device as u8),
            block,
        };
        assert_eq!(self.life(id), Life::Free);
        self.set_life(id, Life::Open);
        Some(id)
    }

    /// Takes back a block that was opened and not used.
    pub(crate) fn give_back(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Open);
        self.set_life(id, Life::Free);
        self.free[usize::from(id.device.0)].push_front(id.block);
        self.free_blocks += usize::from(!self.is_failed(id.device));
    }

    /// Notes that a full block fell below the low-water mark.
    pub(crate) fn note_worth_moving(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Full);
        self.set_life(id, Life::WorthMoving);
        self.worth_moving.push_back(id);
    }

    /// The next block that fell below the low-water mark; it is the caller's to move.
    pub(crate) fn take_worth_moving(&mut self) -> Option<BlockId> {
        while let Some(id) = self.worth_moving.pop_front() {
            if self.life(id) == Life::WorthMoving {
                self.set_life(id, Life::Moving);
                return Some(id);
            }
        }
        None
    }

    /// Takes a full block for moving, whatever is in it.
    pub(crate) fn begin_move(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Full);
        self.set_life(id, Life::Moving);
    }

    /// A block that was to be moved is full again.
    pub(crate) fn end_move(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Moving);
        self.set_life(id, Life::Full);
    }

    /// A block that cannot be emptied stays as it is.
    pub(crate) fn leave_alone(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Moving);
        self.set_life(id, Life::Broken);
    }

    /// Blocks known to be below the low-water mark.
    pub(crate) fn worth_moving_blocks(&self) -> usize {
        self.worth_moving.len()
    }

    /// Every block that is full and not yet marked as worth moving.
    pub(crate) fn full(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.lives.iter().enumerate().flat_map(|(device, lives)| {
            let device = DeviceId(device as u8);
            (0..lives.len() as u32)
                .map(move |block| BlockId { device, block })
                .filter(|id| lives[id.block as usize] == Life::Full)
        })
    }

    /// Takes a device out of use for writing; what is on it can still be read.
    pub(crate) fn fail(&mut self, device: DeviceId) {
        let device = usize::from(device.0);
        if !std::mem::replace(&mut self.failed[device], true) {
            self.free_blocks -= self.free[device].len();
        }
    }

    pub(crate) fn is_failed(&self, device: DeviceId) -> bool {
        self.failed[usize::from(device.0)]
    }

    /// Replaces the free list of a device after recovery, in the order in which to use it.
    pub(crate) fn set_free(&mut self, device: DeviceId, blocks: VecDeque<u32>) {
        let free = &mut self.free[usize::from(device.0)];
        self.free_blocks = self.free_blocks - free.len() + blocks.len();
        *free = blocks;
    }
}

impl Block {
    /// Adds to the live bytes.
    pub(crate) fn add_live(&self, bytes: u32) {
        self.live_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Takes from the live bytes and returns what is left.
    pub(crate) fn remove_live(&self, bytes: u32) -> u32 {
        let before = self.live_bytes.fetch_sub(bytes, Ordering::AcqRel);
        assert!(
            before >= bytes,
            "{bytes} bytes leave a block that holds {before}"
        );
        before - bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(block: u32) -> BlockId {
        BlockId {
            device: DeviceId(0),
            block,
        }
    }

    #[test]
    fn a_quarantined_block_is_free_only_when_every_lane_is_durable_so_far() {
        let mut space = Space::new(&[1]);
        assert_eq!(space.open(), Some(id(0)));
        assert_eq!(space.open(), None);
        space.quarantine(id(0), Box::new([10, 20]));
        for not_enough in [[0, 0], [10, 19], [9, 20]] {
            space.release_quarantine(&not_enough);
            assert_eq!(space.free_blocks(), 0);
        }
        space.release_quarantine(&[10, 20]);
        assert_eq!(space.free_blocks(), 1);
        assert_eq!(space.open(), Some(id(0)));
    }

    #[test]
    fn blocks_come_from_the_emptiest_healthy_device() {
        let mut space = Space::new(&[2, 4]);
        assert_eq!(space.open().unwrap().device, DeviceId(1));
        space.fail(DeviceId(1));
        assert_eq!(space.free_blocks(), 2);
        assert_eq!(space.open().unwrap().device, DeviceId(0));
        assert_eq!(space.open().unwrap().device, DeviceId(0));
        assert_eq!(space.open(), None);
    }
}

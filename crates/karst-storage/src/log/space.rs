//! The blocks of a namespace: which are free, filling, full, and what each still holds.
//!
//! One mutex guards the life of blocks; it is visited some dozen times per block, not once per record.
//! How many bytes of a block are live is an atomic beside it, since that changes with every write.
//!
//! ```text
//!            open              all its writes are back        the emptiest, when blocks are short
//!   Free -----------> Open -----------------------------> Full -------------------------> Moving
//!    ^                 |                                    |                               |   |
//!    |                 | a write failed                     | nothing live is left          |   | some of it
//!    |                 v                                    v                               |   v cannot be read
//!    |              Broken                             Quarantined <------------------------'  Damaged
//!    |                                                   |     ^                                  |
//!    '---- what superseded its records is durable -------'     '------- nothing live is left -----'
//! ```
//!
//! Invariants
//!   a block is reused only when all that superseded its records is durable (quarantine)
//!   live bytes of a block never exceed its size, and are zero when it is free
//!   full blocks of devices that can be written to, and no others, are ranked by their live bytes
//!   `Broken` blocks are never reused: a write to them failed. Their content stays in memory, from
//!   where it is brought to another device (`unrescued`)
//!   `Damaged` blocks hold live records that cannot be read; they are free like others once those
//!   were replaced or deleted

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use karst_io::buffer::AppendBuffer;

use super::ranking::Ranking;
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
    Moving,
    Quarantined,
    Damaged,
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

/// A position of a lane's way to a device, of which something waits to become safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// Which way: lane times devices plus device.
    pub(crate) way: usize,
    pub(crate) position: u64,
}

/// One block waiting until what superseded its records is durable in every lane.
struct Quarantined {
    id: BlockId,
    /// What has to be safe first; ways that already were are left out.
    awaited: Box<[Awaited]>,
}

/// The lives of all blocks. Guarded by the log's mutex.
pub(crate) struct Space {
    lives: Vec<Box<[Life]>>,
    free: Vec<VecDeque<u32>>,
    quarantine: VecDeque<Quarantined>,
    pub(crate) ranking: Ranking,
    failed: Vec<bool>,
    /// Broken blocks whose live records have yet to be brought elsewhere, and those being so.
    unrescued: VecDeque<BlockId>,
    rescuing: usize,
    damaged: usize,
    free_blocks: usize,
    /// Fills that are open or have writes out, or of which a write failed. A few per lane.
    unsettled: Vec<Unsettled>,
}

/// A fill of which some write may not be durable.
struct Unsettled {
    fill: u64,
    /// The block's fill before it, which a stop may bring back until this one's header is durable; 0 then.
    before: u64,
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
            ranking: Ranking::new(blocks),
            failed: vec![false; blocks.len()],
            unrescued: VecDeque::new(),
            rescuing: 0,
            damaged: 0,
            free_blocks: blocks.iter().map(|count| *count as usize).sum(),
            unsettled: Vec::new(),
        }
    }

    /// Notes that a block with this fill was opened, whose fill was `before`. Returns the fill below
    /// which all that were opened and noted here are wholly durable.
    pub(crate) fn begin_fill(&mut self, fill: u64, before: u64) -> u64 {
        self.unsettled.push(Unsettled { fill, before });
        let fills = self.unsettled.iter().map(|unsettled| unsettled.fill);
        fills.min().unwrap_or(fill)
    }

    /// Notes that the header of a fill is durable.
    pub(crate) fn header_durable(&mut self, fill: u64) {
        let mut unsettled = self.unsettled.iter_mut();
        if let Some(unsettled) = unsettled.find(|unsettled| unsettled.fill == fill) {
            unsettled.before = 0;
        }
    }

    /// Notes that every write of a fill is durable and none will follow.
    pub(crate) fn end_fill(&mut self, fill: u64) {
        self.unsettled.retain(|unsettled| unsettled.fill != fill);
    }

    /// The oldest fill that a stop now would bring back, of a block that was opened since.
    pub(crate) fn oldest_fill_behind(&self) -> Option<u64> {
        let before = self.unsettled.iter().map(|unsettled| unsettled.before);
        before.filter(|fill| *fill != 0).min()
    }

    /// Blocks that can be opened at once.
    pub(crate) fn free_blocks(&self) -> usize {
        self.free_blocks
    }

    /// Blocks on the free list of one device, failed or not.
    pub(crate) fn free_blocks_of(&self, device: DeviceId) -> usize {
        self.free[usize::from(device.0)].len()
    }

    /// Blocks of one device.
    pub(crate) fn blocks_of(&self, device: DeviceId) -> usize {
        self.lives[usize::from(device.0)].len()
    }

    /// Blocks whose content is dead but whose successors are not all durable yet.
    pub(crate) fn quarantined_blocks(&self) -> usize {
        self.quarantine.len()
    }

    /// Blocks that hold live records which cannot be read.
    pub(crate) fn damaged_blocks(&self) -> usize {
        self.damaged
    }

    pub(crate) fn life(&self, id: BlockId) -> Life {
        self.lives[usize::from(id.device.0)][id.block as usize]
    }

    /// Changes a block's life. Whatever it becomes it is not ranked; [`Space::rank`] does that.
    pub(crate) fn set_life(&mut self, id: BlockId, life: Life) {
        let before = &mut self.lives[usize::from(id.device.0)][id.block as usize];
        let before = std::mem::replace(before, life);
        if before == Life::Full {
            self.ranking.remove(id);
        }
        self.damaged += usize::from(life == Life::Damaged);
        self.damaged -= usize::from(before == Life::Damaged);
    }

    /// Ranks a full block by its live bytes, unless it is on a failed device, where nothing is gained
    /// by emptying it.
    pub(crate) fn rank(&mut self, id: BlockId, step: usize) {
        assert_eq!(self.life(id), Life::Full);
        if !self.is_failed(id.device) {
            self.ranking.put(id, step);
        }
    }

    /// Frees what quarantine no longer has to hold; `safe(way)` is each way's position up to which
    /// nothing is missing.
    pub(crate) fn release_quarantine(&mut self, safe: impl Fn(usize) -> u64) {
        while let Some(oldest) = self.quarantine.front()
            && oldest
                .awaited
                .iter()
                .all(|awaited| awaited.position <= safe(awaited.way))
        {
            let id = oldest.id;
            self.quarantine.pop_front();
            self.set_life(id, Life::Free);
            self.free[usize::from(id.device.0)].push_back(id.block);
            self.free_blocks += usize::from(!self.failed[usize::from(id.device.0)]);
        }
    }

    /// Sends an emptied block into quarantine until these positions are safe.
    pub(crate) fn quarantine(&mut self, id: BlockId, awaited: Box<[Awaited]>) {
        self.set_life(id, Life::Quarantined);
        self.quarantine.push_back(Quarantined { id, awaited });
    }

    /// Makes everything in quarantine wait for these positions instead of its own.
    pub(crate) fn renew_quarantine(&mut self, awaited: &[Awaited]) {
        for quarantined in &mut self.quarantine {
            quarantined.awaited = awaited.into();
        }
    }

    /// Opens the longest-free block of a device that can be written to.
    pub(crate) fn open(&mut self, device: DeviceId) -> Option<BlockId> {
        assert!(!self.is_failed(device));
        let block = self.free[usize::from(device.0)].pop_front()?;
        self.free_blocks -= 1;
        let id = BlockId { device, block };
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

    /// The emptiest full block if it stands below `step`; it is the caller's to move.
    pub(crate) fn take_emptiest(&mut self, step: usize) -> Option<BlockId> {
        let (id, _) = self.ranking.emptiest().filter(|(_, found)| *found < step)?;
        self.set_life(id, Life::Moving);
        Some(id)
    }

    /// A broken block whose records are to be brought elsewhere; it is the caller's to empty.
    pub(crate) fn take_unrescued(&mut self) -> Option<BlockId> {
        let id = self.unrescued.pop_front()?;
        self.rescuing += 1;
        Some(id)
    }

    /// Notes that a broken block takes no more appends and has no write out.
    pub(crate) fn note_unrescued(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Broken);
        self.unrescued.push_back(id);
    }

    /// The emptying of a broken block is over; if it did not succeed it is tried again.
    pub(crate) fn end_rescue(&mut self, id: BlockId, rescued: bool) {
        self.rescuing -= 1;
        if !rescued {
            self.note_unrescued(id);
        }
    }

    /// Broken blocks with records that are nowhere else yet.
    pub(crate) fn unrescued_blocks(&self) -> usize {
        self.unrescued.len() + self.rescuing
    }

    /// A block that was to be moved is full again.
    pub(crate) fn end_move(&mut self, id: BlockId) {
        assert_eq!(self.life(id), Life::Moving);
        self.set_life(id, Life::Full);
    }

    /// Takes a device out of use for writing; what is on it can still be read.
    pub(crate) fn fail(&mut self, device: DeviceId) {
        let at = usize::from(device.0);
        if !std::mem::replace(&mut self.failed[at], true) {
            self.free_blocks -= self.free[at].len();
            self.ranking.remove_device(device);
        }
    }

    pub(crate) fn is_failed(&self, device: DeviceId) -> bool {
        self.failed[usize::from(device.0)]
    }

    /// Replaces the free list of a device after recovery, in the order in which to use it.
    pub(crate) fn set_free(&mut self, device: DeviceId, blocks: VecDeque<u32>) {
        let usable = usize::from(!self.is_failed(device));
        let free = &mut self.free[usize::from(device.0)];
        self.free_blocks = self.free_blocks - usable * free.len() + usable * blocks.len();
        *free = blocks;
    }
}

/// Stands for the fill of content that is there and cannot be told: as old as any.
pub(crate) const UNKNOWN_FILL: u64 = 1;

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
    fn a_quarantined_block_is_free_only_when_everything_it_waits_for_is_safe() {
        let mut space = Space::new(&[1]);
        assert_eq!(space.open(DeviceId(0)), Some(id(0)));
        assert_eq!(space.open(DeviceId(0)), None);
        let awaited = |way, position| Awaited { way, position };
        space.quarantine(id(0), Box::new([awaited(0, 10), awaited(3, 20)]));
        for not_enough in [[0, 0], [10, 19], [9, 20]] {
            space.release_quarantine(|way| not_enough[way / 3]);
            assert_eq!(space.free_blocks(), 0);
        }
        space.renew_quarantine(&[awaited(1, 5)]);
        space.release_quarantine(|way| [10, 4, 0, 20][way]);
        assert_eq!(space.free_blocks(), 0);
        space.release_quarantine(|way| [0, 5, 0, 0][way]);
        assert_eq!(space.free_blocks(), 1);
        assert_eq!(space.open(DeviceId(0)), Some(id(0)));
    }

    #[test]
    fn a_failed_device_has_no_free_blocks_and_none_worth_emptying() {
        let mut space = Space::new(&[2, 4]);
        let full = space.open(DeviceId(1)).unwrap();
        space.set_life(full, Life::Full);
        space.rank(full, 3);
        assert_eq!(space.free_blocks(), 5);
        space.fail(DeviceId(1));
        assert_eq!(space.free_blocks(), 2);
        assert_eq!(space.take_emptiest(64), None);
        space.set_free(DeviceId(1), (0..3).collect());
        assert_eq!(space.free_blocks(), 2);
    }
}

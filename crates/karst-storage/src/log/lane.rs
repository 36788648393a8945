//! A lane: the block that one writer is filling, and which of its bytes are durable.
//!
//! Each data core has one lane for clients' writes and one for records that defrag moves. A lane keeps
//! one *way* for each device, so that a slow device holds up nobody but those who wrote to it. A way's
//! position counts the bytes that the lane ever appended for that device, padding included; `durable` is
//! the position up to which every write has come back. Both only grow, across blocks.
//!
//! Of each device a lane holds at most one block that is not filled: the *open* one, which takes
//! appends, or a *parked* one, left half full because its device was slow, and taken up again when
//! the lane next writes to that device. So a way's positions follow the order of its appends.
//!
//! Invariants, within a block
//!   submitted <= filled <= block size, submitted on a sector boundary
//!   a flush pads to the sector, so no two writes touch the same sector
//!   a parked block holds nothing that was not submitted
//!
//! A failed write is not tried again: its positions are remembered as lost and count as settled.
//! `safe` stays in front of the first of them for good: what a lost write was to supersede is not
//! given up before the log has brought the lost records elsewhere.
//!
//! Bounds: filled blocks of a way with writes still out, `OUTSTANDING_BLOCKS_MAX`; then the way takes no
//! further block, and if no other device does, the append waits.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use karst_data::mutation::{Mutation, is_planted};
use karst_io::buffer::AppendBuffer;

use super::Purpose;
use super::format::{BLOCK_HEADER_BYTES, BlockFill, BlockHeader, END_MARK_BYTES};
use super::space::BlockId;
use crate::place::DeviceId;

/// One writer of a log, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneId(pub u16);

/// The end of an append: durable once its lane's durable position for the device has reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPoint {
    /// The lane.
    pub lane: LaneId,
    /// The device appended to.
    pub device: DeviceId,
    /// The lane's position for that device, behind the append.
    pub position: u64,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Its write has not come back.
    Pending,
    /// It is on the device.
    Durable,
    /// Its write failed; the record lives in memory only.
    Lost,
}

/// Bytes of a block that have to be written, durably, at an offset of a device.
#[derive(Clone, Debug)]
pub struct DeviceWrite {
    /// The lane that wants it; its completion goes there.
    pub lane: LaneId,
    /// Names the write within the lane.
    pub sequence: u64,
    /// The block.
    pub block: BlockId,
    /// Byte offset on the device.
    pub offset: u64,
    /// The block's memory.
    pub source: Arc<AppendBuffer>,
    /// Which part of it, on sector boundaries.
    pub range: Range<usize>,
}

/// Filled blocks of one lane and device whose writes may be out at a time.
pub const OUTSTANDING_BLOCKS_MAX: usize = 8;

/// Most lost ranges that are told apart; beyond it neighbours are joined.
const LOST_RANGES_MAX: usize = 64;

/// A write that is out.
struct Outstanding {
    sequence: u64,
    block: BlockId,
    to: u64,
    from: u64,
    since_ms: u64,
    settled: bool,
}

/// A block that is not filled yet.
pub(crate) struct OpenBlock {
    pub(crate) id: BlockId,
    pub(crate) buffer: Arc<AppendBuffer>,
    pub(crate) fill: u64,
    submitted: usize,
    /// When the oldest byte not yet submitted was appended, ms on the caller's clock.
    waiting_since_ms: Option<u64>,
}

impl OpenBlock {
    fn has_room(&self, bytes: usize, floor: u64) -> bool {
        self.fill >= floor && self.buffer.filled() + bytes <= self.buffer.capacity()
    }
}

/// What a lane has appended for one device, and how far that has come.
#[derive(Default)]
pub(crate) struct Way {
    parked: Option<OpenBlock>,
    /// Filled blocks of which writes are still out.
    closing: Vec<BlockId>,
    outstanding: VecDeque<Outstanding>,
    lost: Vec<Range<u64>>,
    submitted: u64,
    pub(crate) appended: u64,
    pub(crate) durable: u64,
}

pub(crate) struct Lane {
    id: LaneId,
    pub(crate) open: Option<OpenBlock>,
    /// What was opened last; the next block's header names it.
    pub(crate) previous: Option<BlockFill>,
    ways: Vec<Way>,
    outbox: Vec<DeviceWrite>,
    next_sequence: u64,
    client_records: u64,
    client_bytes: u64,
}

impl Way {
    /// Where quarantine takes the way to be: in front of anything lost.
    pub(crate) fn safe(&self) -> u64 {
        if is_planted(Mutation::NoRescue) {
            return self.durable;
        }
        let lost = self.lost.iter().map(|range| range.start).min();
        lost.map_or(self.durable, |lost| lost.min(self.durable))
    }

    /// Bytes of writes that are out.
    pub(crate) fn out_bytes(&self) -> u64 {
        self.submitted - self.durable
    }

    /// When the oldest write that is out was submitted.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.outstanding.front().map(|write| write.since_ms)
    }

    /// Takes a write's completion. Returns when it was submitted, and its block if it was the last
    /// write of a filled one.
    fn written(&mut self, sequence: u64, kept: bool) -> Option<(u64, Option<BlockId>)> {
        let mut writes = self.outstanding.iter_mut();
        let write = writes.find(|write| write.sequence == sequence)?;
        write.settled = true;
        let (block, since_ms) = (write.block, write.since_ms);
        if !kept {
            self.lose_from(block, sequence);
        }
        while let Some(oldest) = self.outstanding.front()
            && oldest.settled
        {
            self.durable = oldest.to;
            self.outstanding.pop_front();
        }
        let more = self.is_out(block);
        let closed = self.closing.iter().position(|closing| *closing == block);
        let filled = match closed {
            Some(at) if !more => Some(self.closing.swap_remove(at)),
            _ => None,
        };
        Some((since_ms, filled))
    }

    fn is_out(&self, block: BlockId) -> bool {
        let mut writes = self.outstanding.iter();
        writes.any(|write| write.block == block && !write.settled)
    }

    /// A write of a block failed: it is lost, and so is what was asked for behind it in that block, be it
    /// written or not. It may have been the write of the header, without which recovery finds nothing.
    fn lose_from(&mut self, block: BlockId, sequence: u64) {
        let behind = |write: &&Outstanding| write.block == block && write.sequence >= sequence;
        let lost = self.outstanding.iter().filter(behind);
        let lost: Vec<Range<u64>> = lost.map(|write| write.from..write.to).collect();
        lost.into_iter().for_each(|range| self.remember_lost(range));
    }

    fn remember_lost(&mut self, range: Range<u64>) {
        let many = self.lost.len() == LOST_RANGES_MAX;
        match self.lost.last_mut() {
            Some(last) if many || last.end == range.start => {
                last.start = last.start.min(range.start);
                last.end = last.end.max(range.end);
            }
            _ => self.lost.push(range),
        }
    }

    fn commit(&self, position: u64) -> Commit {
        if position > self.durable {
            return Commit::Pending;
        }
        let lost = |range: &Range<u64>| range.start < position && position <= range.end;
        if self.lost.iter().any(lost) {
            Commit::Lost
        } else {
            Commit::Durable
        }
    }
}

impl Lane {
    pub(crate) fn new(id: LaneId, devices: usize) -> Lane {
        Lane {
            id,
            open: None,
            ways: (0..devices).map(|_| Way::default()).collect(),
            previous: None,
            outbox: Vec::new(),
            next_sequence: 0,
            client_records: 0,
            client_bytes: 0,
        }
    }

    /// Counts an append, if it was a client's.
    pub(crate) fn count(&mut self, purpose: Purpose, bytes: usize) {
        match purpose {
            Purpose::Record | Purpose::Tombstone => {
                self.client_records += 1;
                self.client_bytes += bytes as u64;
            }
            Purpose::Move => {}
        }
    }

    /// Appends of clients, and their bytes.
    pub(crate) fn clients(&self) -> (u64, u64) {
        (self.client_records, self.client_bytes)
    }

    /// Writes that are out to the device of the open block.
    pub(crate) fn writes_out(&self) -> usize {
        let open = self.open.as_ref();
        open.map_or(0, |open| self.way(open.id.device).outstanding.len())
    }

    /// Whether writes wait to be taken.
    pub(crate) fn has_writes(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether every append to a device has its outcome.
    pub(crate) fn is_settled(&self, device: DeviceId) -> bool {
        let way = self.way(device);
        way.durable == way.appended
    }

    pub(crate) fn id(&self) -> LaneId {
        self.id
    }

    pub(crate) fn way(&self, device: DeviceId) -> &Way {
        &self.ways[usize::from(device.0)]
    }

    /// Whether the lane may fill another block of a device.
    pub(crate) fn may_begin(&self, device: DeviceId) -> bool {
        self.way(device).closing.len() < OUTSTANDING_BLOCKS_MAX
    }

    /// Begins a block whose buffer is empty.
    pub(crate) fn begin(&mut self, id: BlockId, buffer: Arc<AppendBuffer>, header: BlockHeader) {
        assert!(self.open.is_none());
        assert!(self.way(id.device).parked.is_none());
        assert_eq!(buffer.filled(), 0);
        let bytes = header.encode();
        let at = buffer.append(bytes.len(), |space| space.copy_from_slice(&bytes));
        assert_eq!(at, Some(0));
        self.previous = Some(BlockFill {
            device: header.device,
            block: header.block,
            fill: header.fill,
        });
        self.open = Some(OpenBlock {
            id,
            buffer,
            fill: header.fill,
            submitted: 0,
            waiting_since_ms: None,
        });
    }

    /// Whether the open block is not of an earlier fill than `floor` and has room for a record of `bytes`, a
    /// multiple of the rblock.
    pub(crate) fn has_room(&self, bytes: usize, floor: u64) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.has_room(bytes, floor))
    }

    /// Whether a block of a device is parked of which the same is true.
    pub(crate) fn has_parked(&self, device: DeviceId, bytes: usize, floor: u64) -> bool {
        let parked = self.way(device).parked.as_ref();
        parked.is_some_and(|parked| parked.has_room(bytes, floor))
    }

    /// Puts the open block, which was flushed, aside.
    pub(crate) fn park(&mut self) {
        if let Some(open) = self.open.take() {
            assert!(
                open.waiting_since_ms.is_none(),
                "what is parked was submitted"
            );
            let way = &mut self.ways[usize::from(open.id.device.0)];
            assert!(way.parked.is_none());
            way.parked = Some(open);
        }
    }

    /// Makes a device's parked block, if there is one, the open one again.
    pub(crate) fn unpark(&mut self, device: DeviceId) -> bool {
        assert!(self.open.is_none());
        self.open = self.ways[usize::from(device.0)].parked.take();
        self.open.is_some()
    }

    /// Appends to the open block, which has room; returns the offset within the block.
    pub(crate) fn append(
        &mut self,
        bytes: usize,
        now_ms: u64,
        write: impl FnOnce(&mut [u8], usize),
    ) -> usize {
        let open = self.open.as_mut().expect("room was found in an open block");
        let at = open.buffer.filled();
        assert!(at >= BLOCK_HEADER_BYTES);
        let appended = open.buffer.append(bytes, |space| write(space, at));
        assert_eq!(appended, Some(at), "one writer fills a block");
        open.waiting_since_ms.get_or_insert(now_ms);
        self.ways[usize::from(open.id.device.0)].appended += bytes as u64;
        at
    }

    /// Puts the end mark behind the last record of the open block, if there is room; `mark` makes it for
    /// its offset within the block.
    pub(crate) fn mark_end(&mut self, mark: impl FnOnce(usize) -> [u8; END_MARK_BYTES]) {
        if self.has_room(END_MARK_BYTES, 0) {
            self.append(END_MARK_BYTES, 0, |space, at| {
                space.copy_from_slice(&mark(at));
            });
        }
    }

    /// Whether something was appended at or before `before_ms` and not yet submitted.
    pub(crate) fn waits_since(&self, before_ms: u64) -> bool {
        self.open
            .as_ref()
            .and_then(|open| open.waiting_since_ms)
            .is_some_and(|since| since <= before_ms)
    }

    /// Submits what the open block holds, padded to the sector. `offset` is the block's on its device.
    pub(crate) fn flush(&mut self, offset: u64, sector_bytes: usize, now_ms: u64) {
        let Some(open) = self.open.as_mut() else {
            return;
        };
        if open.waiting_since_ms.take().is_none() {
            return;
        }
        let filled = open.buffer.filled();
        let end = open.buffer.pad_to(sector_bytes);
        let begin = match is_planted(Mutation::RewritesASector) {
            true => open.submitted.saturating_sub(sector_bytes),
            false => open.submitted,
        };
        let range = begin..end;
        open.submitted = end;
        self.outbox.push(DeviceWrite {
            lane: self.id,
            sequence: self.next_sequence,
            block: open.id,
            offset: offset + range.start as u64,
            source: open.buffer.clone(),
            range,
        });
        let way = &mut self.ways[usize::from(open.id.device.0)];
        way.appended += (end - filled) as u64;
        way.outstanding.push_back(Outstanding {
            sequence: self.next_sequence,
            block: open.id,
            from: way.submitted,
            to: way.appended,
            since_ms: now_ms,
            settled: false,
        });
        way.submitted = way.appended;
        self.next_sequence += 1;
    }

    /// Leaves the open block, which was flushed. `true` if no write of it is out any more.
    pub(crate) fn close(&mut self) -> Option<(BlockId, bool)> {
        let open = self.open.take()?;
        Some((open.id, self.leave(open.id)))
    }

    /// Leaves the parked block of a device, likewise.
    pub(crate) fn close_parked(&mut self, device: DeviceId) -> Option<(BlockId, bool)> {
        let parked = self.ways[usize::from(device.0)].parked.take()?;
        Some((parked.id, self.leave(parked.id)))
    }

    /// Leaves a block to which a write failed, be it open (and flushed), parked or neither. `Some` if it
    /// was left and no write of it is out any more.
    pub(crate) fn leave_block(&mut self, id: BlockId) -> Option<BlockId> {
        let is_open = self.open.as_ref().is_some_and(|open| open.id == id);
        let parked = self.way(id.device).parked.as_ref();
        let left = if is_open {
            self.close()
        } else if parked.is_some_and(|parked| parked.id == id) {
            self.close_parked(id.device)
        } else {
            None
        };
        left.and_then(|(id, settled)| settled.then_some(id))
    }

    fn leave(&mut self, id: BlockId) -> bool {
        let way = &mut self.ways[usize::from(id.device.0)];
        let settled = !way.is_out(id);
        if !settled {
            way.closing.push(id);
        }
        settled
    }

    /// For logs without devices: all that was appended counts as durable.
    pub(crate) fn settle_all(&mut self) {
        if let Some(open) = self.open.as_mut() {
            open.waiting_since_ms = None;
        }
        for way in &mut self.ways {
            way.submitted = way.appended;
            way.durable = way.appended;
        }
    }

    pub(crate) fn take_writes(&mut self, out: &mut Vec<DeviceWrite>) {
        out.append(&mut self.outbox);
    }

    /// Takes a write's completion. Returns when it was submitted, and its block if it was the last
    /// write of a filled one.
    pub(crate) fn written(
        &mut self,
        device: DeviceId,
        sequence: u64,
        kept: bool,
    ) -> Option<(u64, Option<BlockId>)> {
        self.ways[usize::from(device.0)].written(sequence, kept)
    }

    /// What became of the append that ended at `position`.
    pub(crate) fn commit(&self, device: DeviceId, position: u64) -> Commit {
        self.way(device).commit(position)
    }
}

//! A lane: the block that one writer is filling, and which of its bytes are durable.
//!
//! Each data core has one lane for clients' writes and one for records that defrag moves. A lane's
//! *position* counts the bytes that were ever appended to it, padding included; `durable` is the
//! position up to which every write has come back. Both only grow, across blocks.
//!
//! Invariants, within the open block
//!   submitted <= filled <= block size, submitted on a sector boundary
//!   a flush pads to the sector, so no two writes touch the same sector
//!
//! A failed write is not tried again: its positions are remembered as lost and count as settled.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use karst_io::buffer::AppendBuffer;

use super::format::{BLOCK_HEADER_BYTES, BlockHeader};
use super::space::BlockId;

/// One writer of a log, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneId(pub u16);

/// The end of an append: durable once its lane's durable position has reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPoint {
    /// The lane.
    pub lane: LaneId,
    /// The lane's position behind the append.
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

/// A write that is out.
struct Outstanding {
    sequence: u64,
    block: BlockId,
    from: u64,
    to: u64,
    settled: bool,
}

/// The block being filled.
pub(crate) struct OpenBlock {
    pub(crate) id: BlockId,
    pub(crate) buffer: Arc<AppendBuffer>,
    pub(crate) fill: u64,
    submitted: usize,
    /// When the oldest byte not yet submitted was appended, ms on the caller's clock.
    waiting_since_ms: Option<u64>,
}

pub(crate) struct Lane {
    id: LaneId,
    pub(crate) open: Option<OpenBlock>,
    /// Filled blocks of which writes are still out.
    closing: Vec<BlockId>,
    outstanding: VecDeque<Outstanding>,
    outbox: Vec<DeviceWrite>,
    lost: Vec<Range<u64>>,
    next_sequence: u64,
    submitted_position: u64,
    pub(crate) appended: u64,
    pub(crate) durable: u64,
}

/// Most lost ranges that are told apart; beyond it neighbours are joined.
const LOST_RANGES_MAX: usize = 64;

impl Lane {
    pub(crate) fn new(id: LaneId) -> Lane {
        Lane {
            id,
            open: None,
            closing: Vec::new(),
            outstanding: VecDeque::new(),
            outbox: Vec::new(),
            lost: Vec::new(),
            next_sequence: 0,
            submitted_position: 0,
            appended: 0,
            durable: 0,
        }
    }

    pub(crate) fn id(&self) -> LaneId {
        self.id
    }

    /// Begins a block whose buffer is empty.
    pub(crate) fn begin(&mut self, id: BlockId, buffer: Arc<AppendBuffer>, header: BlockHeader) {
        assert!(self.open.is_none());
        assert_eq!(buffer.filled(), 0);
        let bytes = header.encode();
        let at = buffer.append(bytes.len(), |space| space.copy_from_slice(&bytes));
        assert_eq!(at, Some(0));
        self.open = Some(OpenBlock {
            id,
            buffer,
            fill: header.fill,
            submitted: 0,
            waiting_since_ms: None,
        });
    }

    /// Whether the open block has room for a record of `bytes`, a multiple of the rblock.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.buffer.filled() + bytes <= open.buffer.capacity())
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
        self.appended += bytes as u64;
        at
    }

    /// Whether something was appended at or before `before_ms` and not yet submitted.
    pub(crate) fn waits_since(&self, before_ms: u64) -> bool {
        self.open
            .as_ref()
            .and_then(|open| open.waiting_since_ms)
            .is_some_and(|since| since <= before_ms)
    }

    /// Submits what the open block holds, padded to the sector. `offset` is the block's on its device.
    pub(crate) fn flush(&mut self, offset: u64, sector_bytes: usize) {
        let Some(open) = self.open.as_mut() else {
            return;
        };
        if open.waiting_since_ms.take().is_none() {
            return;
        }
        let filled = open.buffer.filled();
        let end = open.buffer.pad_to(sector_bytes);
        self.appended += (end - filled) as u64;
        let range = open.submitted..end;
        open.submitted = end;
        self.outbox.push(DeviceWrite {
            lane: self.id,
            sequence: self.next_sequence,
            block: open.id,
            offset: offset + range.start as u64,
            source: open.buffer.clone(),
            range,
        });
        self.outstanding.push_back(Outstanding {
            sequence: self.next_sequence,
            block: open.id,
            from: self.submitted_position,
            to: self.appended,
            settled: false,
        });
        self.submitted_position = self.appended;
        self.next_sequence += 1;
    }

    /// Leaves the open block, which was flushed. `true` if no write of it is out any more.
    pub(crate) fn close(&mut self) -> Option<(BlockId, bool)> {
        let open = self.open.take()?;
        let settled = !self.outstanding.iter().any(|write| write.block == open.id);
        if !settled {
            self.closing.push(open.id);
        }
        Some((open.id, settled))
    }

    /// For logs without devices: all that was appended counts as durable.
    pub(crate) fn settle_all(&mut self) {
        if let Some(open) = self.open.as_mut() {
            open.waiting_since_ms = None;
        }
        self.submitted_position = self.appended;
        self.durable = self.appended;
    }

    pub(crate) fn take_writes(&mut self, out: &mut Vec<DeviceWrite>) {
        out.append(&mut self.outbox);
    }

    /// Takes a write's completion. Returns the block if it was the last write of a filled one.
    pub(crate) fn written(&mut self, sequence: u64, kept: bool) -> Option<BlockId> {
        let write = self
            .outstanding
            .iter_mut()
            .find(|write| write.sequence == sequence)?;
        write.settled = true;
        let (block, range) = (write.block, write.from..write.to);
        if !kept {
            self.remember_lost(range);
        }
        while let Some(oldest) = self.outstanding.front()
            && oldest.settled
        {
            self.durable = oldest.to;
            self.outstanding.pop_front();
        }
        let more = self
            .outstanding
            .iter()
            .any(|write| write.block == block && !write.settled);
        let closed = self.closing.iter().position(|closing| *closing == block);
        match closed {
            Some(at) if !more => Some(self.closing.swap_remove(at)),
            _ => None,
        }
    }

    fn remember_lost(&mut self, range: Range<u64>) {
        let many = self.lost.len() == LOST_RANGES_MAX;
        match self.lost.last_mut() {
            Some(last) if many || last.end == range.start => last.end = last.end.max(range.end),
            _ => self.lost.push(range),
        }
    }

    /// What became of the append that ended at `position`.
    pub(crate) fn commit(&self, position: u64) -> Commit {
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

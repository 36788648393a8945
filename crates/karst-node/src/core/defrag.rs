//! Defrag as a data core carries it out: blocks are read in parts and their records moved a few at a
//! time, with rests between that `karst_storage::defrag` decides from the urgency and from how long
//! clients wait.

use std::rc::Rc;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_engine::damage::FoundBy;
use karst_io::clock;
use karst_storage::defrag::{Urgency, rest_us};
use karst_storage::log::recover::Scanned;
use karst_storage::log::{BlockId, MoveJob, NoSpace};

use super::Core;

/// Records that are moved before others run.
const MOVES_PER_TURN: usize = 32;

/// Bytes of a block that are read at a time: a client's read waits behind no more.
const PART_BYTES: usize = 128 << 10;

/// Bytes that are read at a time where a part cannot be read as a whole.
const PIECE_BYTES: usize = 4 << 10;

/// How long defrag rests when there is nothing to do.
const IDLE_REST: Duration = Duration::from_millis(20);

/// Bytes of device writes a core may have out before its defrag waits for them.
const WRITING_BYTES_MAX: u64 = 8 << 20;

/// Shortest sleep that is worth a timer; what is due below it adds up.
const SLEEP_US_MIN: u64 = 1000;

/// Keeps defrag to its share of the time.
struct Pace<'c> {
    core: &'c Core,
    index: usize,
    urgency: Urgency,
    began_us: u64,
    due_us: u64,
}

impl<'c> Pace<'c> {
    fn new(core: &'c Core, index: usize, urgency: Urgency) -> Pace<'c> {
        Pace {
            core,
            index,
            urgency,
            began_us: clock::monotonic_us(),
            due_us: 0,
        }
    }

    /// Rests for the work that was done since the last rest.
    async fn rest(&mut self) {
        let busy_us = clock::monotonic_us() - self.began_us;
        self.due_us += rest_us(self.urgency, busy_us, &self.core.foreground(self.index));
        if self.due_us >= SLEEP_US_MIN {
            tokio::time::sleep(Duration::from_micros(std::mem::take(&mut self.due_us))).await;
        } else {
            tokio::task::yield_now().await;
        }
        self.began_us = clock::monotonic_us();
    }
}

/// Empties blocks for as long as the node lives.
pub(super) async fn run(core: Rc<Core>, index: usize) {
    loop {
        let log = core.namespace(index).engine.log();
        let Some(job) = log.next_move() else {
            let stalled = log.take_stalled();
            if stalled || log.wants_flush() {
                // Emptied blocks are free once what superseded them is durable: help that along.
                core.flush(index, u64::MAX);
                core.send(index);
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else {
                tokio::time::sleep(IDLE_REST).await;
            }
            continue;
        };
        if !empty_block(&core, index, job).await {
            log.postpone_move(job);
            core.flush(index, u64::MAX);
            core.send(index);
            tokio::time::sleep(IDLE_REST).await;
        }
        if log.wants_flush() {
            core.flush(index, u64::MAX);
            core.send(index);
        }
        while core.writing(index) > WRITING_BYTES_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Moves what is live in a block elsewhere. `false` when there was no room for it.
pub(super) async fn empty_block(core: &Rc<Core>, index: usize, job: MoveJob) -> bool {
    let log = core.namespace(index).engine.log();
    let mut pace = Pace::new(core, index, job.urgency);
    if let Some(block) = log.block_in_memory(job.id) {
        let bytes = block.bytes(0..block.filled()).unwrap_or_default();
        return move_records(core, index, job, bytes, &mut pace).await;
    }
    let bytes = read_block(core, index, job.id, async || pace.rest().await).await;
    move_records(core, index, job, &bytes, &mut pace).await
}

/// A block's bytes, read in parts with rests between. What cannot be read is zero: no record is sound
/// there.
pub(super) async fn read_block(
    core: &Rc<Core>,
    index: usize,
    id: BlockId,
    mut rest: impl AsyncFnMut(),
) -> Vec<u8> {
    let (offset, size) = core.namespace(index).engine.log().block_extent(id);
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let part = PART_BYTES.min(size - bytes.len());
        let at = offset + bytes.len() as u64;
        match core.read(index, id.device.0, at, part).await {
            Ok(buffer) => {
                bytes.extend_from_slice(buffer.as_slice());
                core.disk.give_back(buffer);
            }
            Err(_) => read_pieces(core, index, id, at, part, &mut bytes).await,
        }
        rest().await;
    }
    bytes
}

/// As much of a part as can be read at all, each piece tried once.
async fn read_pieces(
    core: &Rc<Core>,
    index: usize,
    id: BlockId,
    offset: u64,
    size: usize,
    bytes: &mut Vec<u8>,
) {
    for at in (0..size).step_by(PIECE_BYTES) {
        match core
            .read(index, id.device.0, offset + at as u64, PIECE_BYTES)
            .await
        {
            Ok(buffer) => {
                bytes.extend_from_slice(buffer.as_slice());
                core.disk.give_back(buffer);
            }
            Err(_) => bytes.resize(bytes.len() + PIECE_BYTES, 0),
        }
    }
}

async fn move_records(
    core: &Rc<Core>,
    index: usize,
    job: MoveJob,
    bytes: &[u8],
    pace: &mut Pace<'_>,
) -> bool {
    let engine = &core.namespace(index).engine;
    let log = engine.log();
    let lane = log.move_lane(core.number);
    let scanned = log.scan_block(job.id, bytes);
    for (count, record) in scanned.filter_map(Scanned::record).enumerate() {
        let now_ms = clock::monotonic_us() / 1000;
        match engine.move_record(lane, now_ms, &record) {
            Ok(()) => core.counted(index).moved_records.add(1),
            Err(NoSpace::Wait | NoSpace::Full | NoSpace::Failed | NoSpace::TooBig { .. }) => {
                return false;
            }
        }
        if count % MOVES_PER_TURN == MOVES_PER_TURN - 1 {
            core.send(index);
            pace.rest().await;
        }
    }
    core.send(index);
    if log.end_move(job) > 0 && !log.is_broken(job.id) {
        suspect_rest(core, index, job.id, bytes, FoundBy::Defrag).await;
    }
    true
}

/// Finds out which live records of a block are not sound, by asking the whole index.
pub(super) async fn suspect_rest(
    core: &Rc<Core>,
    index: usize,
    id: BlockId,
    bytes: &[u8],
    found_by: FoundBy,
) {
    let engine = &core.namespace(index).engine;
    for partition in PartitionId::all() {
        let mut after = None;
        loop {
            after = engine.suspect_in_block(partition, after, id, bytes, found_by);
            tokio::task::yield_now().await;
            if after.is_none() {
                break;
            }
        }
    }
}

//! The scrub: every block is read and compared with the index, over and over, at a limited rate.
//!
//! Pure parts: which block is next, how long to rest, what a block's bytes show. Who owns the devices
//! reads and waits. The position is a number that survives restarts if its owner keeps it.
//!
//! A block is sound if its header names its fill and every record that the index points at in it is
//! whole. The second is seen without asking the index for them: the sound records that it points at
//! have to make up the block's live bytes. Only when they do not is the index searched.

use std::sync::atomic::{AtomicU64, Ordering};

use karst_storage::log::format::BlockHeader;
use karst_storage::log::recover::{Scanned, ScannedBlock};
use karst_storage::log::{BlockId, Log};
use karst_storage::place::DeviceId;

use crate::namespace::Namespace;

/// Blocks that one search for the next full one looks at.
const SEARCH_MAX: u64 = 4096;

/// How far the scrub of a namespace has come.
#[derive(Debug, Default)]
pub struct Scrub {
    /// The block to look at next, counted over all devices.
    next: AtomicU64,
    passes: AtomicU64,
    pass_ended_unix_ms: AtomicU64,
    blocks: AtomicU64,
    bytes: AtomicU64,
    damaged_headers: AtomicU64,
}

/// As [`Scrub`], at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The block to look at next, counted over all devices.
    pub next: u64,
    /// Blocks of all devices.
    pub of: u64,
    /// Whole passes ever, as far as the owner kept count.
    pub passes: u64,
    /// When the last one ended, in ms since 1970; 0 before the first.
    pub pass_ended_unix_ms: u64,
    /// Blocks looked at since the start.
    pub blocks: u64,
    /// Bytes read for it since the start.
    pub bytes: u64,
    /// Blocks found with a damaged header since the start.
    pub damaged_headers: u64,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at this block.
    Block(BlockId),
    /// Nothing to look at here; ask again.
    Searching,
    /// All blocks were looked at; the next search begins at the first again.
    PassEnded,
}

/// What a block's bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its header is not the one of its fill.
    pub header_damaged: bool,
    /// A live record of it is not sound.
    pub record_damaged: bool,
    /// Live records that were found sound.
    pub records: u64,
}

/// How long to rest after reading so many bytes at a rate of bytes a second, of which the reading
/// itself took `busy_us`.
pub fn rest_us(bytes: u64, bytes_per_s: u64, busy_us: u64) -> u64 {
    let due_us = bytes.saturating_mul(1_000_000) / bytes_per_s.max(1);
    due_us.saturating_sub(busy_us)
}

impl Namespace {
    /// The next block to look at.
    pub fn next_scrub(&self) -> Next {
        let (from, of) = (self.scrub.next.load(Ordering::Relaxed), blocks(&self.log));
        if from >= of {
            self.scrub.next.store(0, Ordering::Relaxed);
            return Next::PassEnded;
        }
        let to = of.min(from + SEARCH_MAX);
        let ids = (from..to).filter_map(|number| Some((number, nth(&self.log, number)?)));
        match self.log.first_full(ids) {
            Some((number, id)) => {
                self.scrub.next.store(number + 1, Ordering::Relaxed);
                Next::Block(id)
            }
            None => {
                self.scrub.next.store(to, Ordering::Relaxed);
                Next::Searching
            }
        }
    }

    /// Compares a full block's bytes, read from its device, with what it should hold. `None` when it
    /// was not full any more when this was over: nothing can be said then.
    pub fn check_block(&self, id: BlockId, bytes: &[u8]) -> Option<Finding> {
        let seal = self.log.block_seal(id);
        let (start, _) = self.log.block_extent(id);
        let header = BlockHeader::parse(bytes);
        let header_damaged = header.is_none_or(|header| {
            header.fill != seal.fill || header.device != seal.device || header.block != id.block
        });
        let mut missing = true;
        let mut records = 0;
        // A record that leaves the block between two looks can hide a missing one or seem to be one:
        // then it is looked again.
        for _ in 0..3 {
            let live_before = self.log.block_live_bytes(id);
            let scanned =
                ScannedBlock::new(bytes, id.device, start, seal).with_codec(self.log.codec());
            let (mut found, mut found_bytes) = (0, 0);
            for record in scanned.filter_map(Scanned::record) {
                if let Some(live) = self.live_at(&record.facts.meta.digest, record.place) {
                    found += 1;
                    found_bytes += live.length.bytes();
                }
            }
            let live_after = self.log.block_live_bytes(id);
            records = found;
            missing = u64::from(live_after) > found_bytes;
            if missing || u64::from(live_before) == found_bytes {
                break;
            }
        }
        self.log.is_full(id, seal.fill).then(|| {
            self.scrub.blocks.fetch_add(1, Ordering::Relaxed);
            self.scrub
                .bytes
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let damaged = u64::from(header_damaged);
            self.scrub
                .damaged_headers
                .fetch_add(damaged, Ordering::Relaxed);
            Finding {
                header_damaged,
                record_damaged: missing,
                records,
            }
        })
    }

    /// Counts a whole pass, ended at this time.
    pub fn end_scrub_pass(&self, unix_ms: u64) {
        self.scrub.passes.fetch_add(1, Ordering::Relaxed);
        self.scrub
            .pass_ended_unix_ms
            .store(unix_ms, Ordering::Relaxed);
    }

    /// Goes on where an earlier life of the node was.
    pub fn resume_scrub(&self, next: u64, passes: u64, pass_ended_unix_ms: u64) {
        self.scrub.next.store(next, Ordering::Relaxed);
        self.scrub.passes.store(passes, Ordering::Relaxed);
        self.scrub
            .pass_ended_unix_ms
            .store(pass_ended_unix_ms, Ordering::Relaxed);
    }

    /// How far the scrub has come.
    pub fn scrub_progress(&self) -> Progress {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress {
            next: load(&self.scrub.next),
            of: blocks(&self.log),
            passes: load(&self.scrub.passes),
            pass_ended_unix_ms: load(&self.scrub.pass_ended_unix_ms),
            blocks: load(&self.scrub.blocks),
            bytes: load(&self.scrub.bytes),
            damaged_headers: load(&self.scrub.damaged_headers),
        }
    }
}

fn blocks(log: &Log) -> u64 {
    let devices = log.config().devices.iter();
    devices.map(|device| u64::from(device.blocks)).sum()
}

/// A block by its number over all devices.
fn nth(log: &Log, mut number: u64) -> Option<BlockId> {
    for (device, geometry) in log.config().devices.iter().enumerate() {
        if number < u64::from(geometry.blocks) {
            return Some(BlockId {
                device: DeviceId(device as u8), // at most 128
                block: number as u32,
            });
        }
        number -= u64::from(geometry.blocks);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrub_rests_what_reading_left_of_the_time_its_rate_allows() {
        assert_eq!(rest_us(1 << 20, 4 << 20, 0), 250_000);
        assert_eq!(rest_us(1 << 20, 4 << 20, 50_000), 200_000);
        assert_eq!(rest_us(1 << 20, 4 << 20, 300_000), 0);
        assert_eq!(rest_us(1 << 20, 0, 0), (1 << 20) * 1_000_000);
    }
}

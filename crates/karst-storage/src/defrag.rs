//! Defrag: which block is emptied next, how eagerly, and what becomes of it.
//!
//! On devices defrag is lazy. Blocks only get emptier, and cheaper to move, by waiting; so nothing is
//! moved while a comfortable part of all blocks is free. Below that the *urgency* grows with every
//! block that is missing, up to a critical level:
//!
//! ```text
//! free blocks     all ........ comfortable ................................ critical .... 0
//! urgency                  0   ............... grows evenly ............... 1
//! victims                  -   under the low-water mark ... any that gains  `LIVE_PERCENT_MOVED_MAX`
//! share of time            -   `SHARE_MIN` of a core, less under load       all of it, whatever the load
//! ```
//!
//! The victim is always the emptiest block. Under uniform overwrites that is within a few percent of the
//! best there is: with the devices `a` full, a victim is `u` live where `a = (1 - u) / -ln u`, and a
//! client's byte costs `1 / (1 - u)` written: 1.3 at half full, about 3 at 80%. The level of free blocks
//! settles by itself where victims gained keep up with blocks opened.
//!
//! In memory defrag is eager: a block that is used again spares the first touch of fresh memory, which
//! costs more than moving.
//!
//! The caller reads the block, moves each record that the index still points at to a lane of its own
//! ([`Log::move_lane`]), and reports the end. The block is then empty and quarantined like any other
//! that ran empty: it is free once the moved records are durable. Blocks of a failed device of which
//! writes were lost come first of all, from memory: their records are nowhere else.

use std::sync::atomic::Ordering;

use crate::log::space::Life;
use crate::log::{BlockId, Log, MoveJob};

/// Live part of a block up to which it is moved when free blocks are critically short, in percent.
const LIVE_PERCENT_MOVED_MAX: u64 = 95;

/// Comfortable are twice the reserve and one in so many blocks.
const COMFORTABLE_PART: usize = 16;

/// Critical are the reserve and one in so many blocks.
const CRITICAL_PART: usize = 128;

/// Share of its core's time that defrag takes when it just begins, in thousandths.
const SHARE_MIN: u64 = 100;

/// How far foreground latency may rise over its calm value before defrag yields, in percent.
const LATENCY_PERCENT_FREE: u64 = 150;

/// Shortest share that latency alone leaves defrag, in thousandths of what it would take.
const YIELD_MIN: u64 = 100;

/// Longest rest after one piece of work, in us: conditions change.
const REST_US_MAX: u64 = 50_000;

/// How much freed space is wanted, from 0 (a block would be nice) to 1000 (writes are about to wait).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency(u16);

impl Urgency {
    /// As urgent as it gets.
    pub const HIGHEST: Urgency = Urgency(1000);

    /// By free blocks and the levels between which urgency grows; `None` above the comfortable one.
    fn of(free: usize, comfortable: usize, critical: usize) -> Option<Urgency> {
        if free >= comfortable {
            return None;
        }
        let missing = comfortable - free.max(critical);
        Some(Urgency(
            (missing * 1000 / (comfortable - critical).max(1)) as u16,
        ))
    }

    /// In thousandths.
    pub fn permille(self) -> u64 {
        u64::from(self.0)
    }

    /// Live part of a block, in percent, up to which moving it is worth its price now.
    fn live_percent_max(self, low_water_percent: u64) -> u64 {
        let span = LIVE_PERCENT_MOVED_MAX.saturating_sub(low_water_percent);
        low_water_percent + span * self.permille() / 1000
    }
}

/// What foreground requests have to wait for devices: lately, and when it is calm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreground {
    /// Average over about the last 32 samples, in 1/16 us.
    recent: u64,
    /// The calm value, in 1/16 us: follows `recent` down at once and up over some ten thousand samples.
    calm: u64,
}

impl Foreground {
    /// Takes the time of one device read that a client waited for, in us.
    pub fn sample(&mut self, us: u64) {
        let sample = us.min(10_000_000) * 16;
        if self.recent == 0 {
            (self.recent, self.calm) = (sample, sample.max(1));
            return;
        }
        self.recent = (self.recent * 31 + sample) / 32;
        if self.recent < self.calm {
            self.calm = self.recent.max(1);
        } else {
            self.calm += (self.recent - self.calm).div_ceil(16_384);
        }
    }

    /// How much longer than in calm requests wait, in percent; 100 is not at all.
    pub fn latency_percent(&self) -> u64 {
        (self.recent * 100).checked_div(self.calm).unwrap_or(100)
    }
}

/// How long to rest after a piece of defrag that took `busy_us`, so that defrag takes its share of the
/// time and no more. Urgency overrides latency: at the highest there is no rest at all.
pub fn rest_us(urgency: Urgency, busy_us: u64, foreground: &Foreground) -> u64 {
    let urgent = urgency.permille();
    let wanted = SHARE_MIN + (1000 - SHARE_MIN) * urgent / 1000;
    let latency = foreground.latency_percent();
    let yielding = if latency <= LATENCY_PERCENT_FREE {
        1000
    } else {
        (1000 * LATENCY_PERCENT_FREE / latency).max(YIELD_MIN)
    };
    let kept = yielding + (1000 - yielding) * urgent / 1000;
    let share = (wanted * kept / 1000).clamp(1, 1000);
    (busy_us * (1000 - share) / share).min(REST_US_MAX)
}

impl Log {
    /// The next block to empty, if there is one worth the work.
    pub fn next_move(&self) -> Option<MoveJob> {
        self.forgive_failed_devices();
        let mut space = self.space.lock();
        self.release_quarantine(&mut space);
        let job = |id, urgency| {
            let (offset, _) = self.block_extent(id);
            Some(MoveJob {
                id,
                offset,
                urgency,
            })
        };
        if space.free_blocks() > 0
            && let Some(id) = space.take_unrescued()
        {
            return job(id, Urgency::HIGHEST);
        }
        let free = space.free_blocks() + space.quarantined_blocks();
        let (urgency, step) = match self.urgency(free) {
            Some(urgency) => {
                let low_water = u64::from(self.config().defrag_low_water_percent);
                let bytes = urgency.live_percent_max(low_water) * self.block_bytes() / 100;
                (urgency, self.step_of_bytes(bytes))
            }
            None if self.config().on_devices => return None,
            None => (Urgency(0), self.low_water_step()),
        };
        job(space.take_emptiest(step)?, urgency)
    }

    fn urgency(&self, free: usize) -> Option<Urgency> {
        let (reserve, blocks) = (self.config().reserve_blocks(), self.blocks());
        let critical = reserve + blocks / CRITICAL_PART;
        let comfortable = 2 * reserve + blocks / COMFORTABLE_PART;
        Urgency::of(free, comfortable, critical)
    }

    /// Whether free blocks are short while others wait only for writes to come back: who fills lanes
    /// slowly should flush them.
    pub fn wants_flush(&self) -> bool {
        let mut space = self.space.lock();
        self.release_quarantine(&mut space);
        space.free_blocks() <= 2 * self.config().reserve_blocks() && space.quarantined_blocks() > 0
    }

    fn block_bytes(&self) -> u64 {
        u64::from(self.config().block_bytes)
    }

    /// All blocks of devices that can be written to.
    fn blocks(&self) -> usize {
        let devices = self.config().devices.iter().enumerate();
        devices
            .filter(|(number, _)| !self.device_failed(crate::place::DeviceId(*number as u8)))
            .map(|(_, device)| device.blocks as usize)
            .sum()
    }

    /// Takes one full block for moving, whatever is in it; `None` if it is not full now.
    pub fn move_block(&self, id: BlockId) -> Option<MoveJob> {
        let mut space = self.space.lock();
        let is_full = space.life(id) == Life::Full;
        is_full.then(|| {
            space.set_life(id, Life::Moving);
            let (offset, _) = self.block_extent(id);
            MoveJob {
                id,
                offset,
                urgency: Urgency::HIGHEST,
            }
        })
    }

    /// The first of these blocks that is full, so that what it holds is on its device.
    pub fn first_full<T>(
        &self,
        mut blocks: impl Iterator<Item = (T, BlockId)>,
    ) -> Option<(T, BlockId)> {
        let space = self.space.lock();
        blocks.find(|(_, id)| matches!(space.life(*id), Life::Full | Life::Damaged))
    }

    /// Whether a block is full and of this fill.
    pub fn is_full(&self, id: BlockId, fill: u64) -> bool {
        let space = self.space.lock();
        let full = matches!(space.life(id), Life::Full | Life::Damaged);
        full && self.block(id).fill.load(Ordering::Acquire) == fill
    }

    /// Whether a write to a block was lost: its records are in memory only.
    pub fn is_broken(&self, id: BlockId) -> bool {
        self.space.lock().life(id) == Life::Broken
    }

    /// Bytes of records in a block that the index points at.
    pub fn block_live_bytes(&self, id: BlockId) -> u32 {
        self.block(id).live_bytes.load(Ordering::Acquire)
    }

    /// The block's bytes if they are in memory.
    pub fn block_in_memory(
        &self,
        id: BlockId,
    ) -> Option<std::sync::Arc<karst_io::buffer::AppendBuffer>> {
        self.block(id).buffer.load_full()
    }

    /// Ends the emptying of a block. Returns the live bytes that could not be moved. A block that keeps
    /// some is left alone until they were replaced or deleted, since its next reader would fail on
    /// the same records; then it is free like any other.
    pub fn end_move(&self, job: MoveJob) -> u32 {
        let mut space = self.space.lock();
        let left = self.block(job.id).live_bytes.load(Ordering::Acquire);
        if space.life(job.id) == Life::Broken {
            self.end_rescue(&mut space, job.id, true);
        } else if left == 0 {
            self.moved_blocks.fetch_add(1, Ordering::Relaxed);
            self.retire(&mut space, job.id);
        } else {
            space.set_life(job.id, Life::Damaged);
            self.settle(&mut space, job.id); // the last of them may have gone this moment
        }
        left
    }

    /// Gives a block back that could not be emptied for want of space; it is tried again later.
    pub fn postpone_move(&self, job: MoveJob) {
        let mut space = self.space.lock();
        if space.life(job.id) == Life::Broken {
            return self.end_rescue(&mut space, job.id, false);
        }
        space.end_move(job.id);
        self.settle(&mut space, job.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_grows_evenly_from_the_comfortable_to_the_critical_level() {
        let check = |free, expected: Option<u16>| {
            assert_eq!(Urgency::of(free, 100, 20), expected.map(Urgency), "{free}");
        };
        check(100, None);
        check(99, Some(12));
        check(60, Some(500));
        check(20, Some(1000));
        check(0, Some(1000));
        assert_eq!(Urgency(0).live_percent_max(50), 50);
        assert_eq!(Urgency(1000).live_percent_max(50), LIVE_PERCENT_MOVED_MAX);
        assert_eq!(Urgency(1000).live_percent_max(99), 99);
    }

    #[test]
    fn defrag_rests_less_the_more_urgent_it_is_and_never_when_space_is_critical() {
        let calm = Foreground::default();
        assert_eq!(rest_us(Urgency(0), 1000, &calm), 9000);
        let rests: Vec<u64> = (0..=10)
            .map(|tenth| rest_us(Urgency(tenth * 100), 1000, &calm))
            .collect();
        assert!(rests.is_sorted_by(|a, b| a > b), "{rests:?}");
        assert_eq!(rests[10], 0);
    }

    #[test]
    fn defrag_yields_when_clients_wait_longer_but_not_when_space_is_critical() {
        let mut loaded = Foreground::default();
        (0..1000).for_each(|_| loaded.sample(100));
        let calm = loaded;
        assert_eq!(calm.latency_percent(), 100);
        (0..100).for_each(|_| loaded.sample(600));
        assert!(
            loaded.latency_percent() > 400,
            "{}",
            loaded.latency_percent()
        );
        for urgency in [Urgency(0), Urgency(500), Urgency(900)] {
            let (quiet, busy) = (
                rest_us(urgency, 1000, &calm),
                rest_us(urgency, 1000, &loaded),
            );
            assert!(busy > quiet, "{urgency:?}: {quiet} {busy}");
        }
        assert_eq!(rest_us(Urgency::HIGHEST, 1000, &loaded), 0);
    }

    #[test]
    fn a_lasting_load_becomes_the_new_calm() {
        let mut foreground = Foreground::default();
        (0..100).for_each(|_| foreground.sample(100));
        (0..200_000).for_each(|_| foreground.sample(400));
        assert!(foreground.latency_percent() < 110);
        (0..200).for_each(|_| foreground.sample(100));
        assert_eq!(foreground.latency_percent(), 100);
    }
}

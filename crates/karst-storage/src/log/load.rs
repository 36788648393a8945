//! How loaded devices are, and which of them the next block is opened on.
//!
//! Decisions are pure: positions, times and shares go in, a device comes out. What is known of a lane's
//! way to a device is published as atomics, so that choosing a device locks nobody else's lane.
//!
//! A device is *slow* when a write to it has been out, or recently took, many times longer than on the
//! calmest other device. A lane leaves a slow device for others; it comes back to it when the memory
//! of the slow write has faded, with one block, and so finds out whether it has recovered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::lane::Way;

/// A write that is back sooner than this is never slow, in ms: a healthy device has such pauses.
const SLOW_MS_MIN: u64 = 20;

/// How many times slower than the calmest other device is slow.
const SLOW_FACTOR: u64 = 8;

/// For how many times its duration a slow write is held against its device.
const MEMORY_FACTOR: u64 = 16;

/// Longest time that a slow write is held against its device, in ms.
const MEMORY_MS_MAX: u64 = 10_000;

/// A lane's way to one device, as other lanes may see it.
#[derive(Default)]
pub(crate) struct Positions {
    appended: AtomicU64,
    durable: AtomicU64,
    safe: AtomicU64,
    out_bytes: AtomicU64,
    /// When the oldest write that is out was submitted, plus one; 0 while none is.
    oldest: AtomicU64,
}

impl Positions {
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The position up to which everything is on the device and nothing was lost.
    pub(crate) fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    pub(crate) fn out_bytes(&self) -> u64 {
        self.out_bytes.load(Ordering::Relaxed)
    }

    fn oldest_ms(&self) -> Option<u64> {
        self.oldest.load(Ordering::Relaxed).checked_sub(1)
    }

    /// After an append, which changes nothing else.
    pub(crate) fn publish_append(&self, way: &Way) {
        self.appended.store(way.appended, Ordering::Release);
    }

    pub(crate) fn publish(&self, way: &Way) {
        self.appended.store(way.appended, Ordering::Release);
        self.safe.store(way.safe(), Ordering::Release);
        self.durable.store(way.durable, Ordering::Release);
        self.out_bytes.store(way.out_bytes(), Ordering::Relaxed);
        let oldest = way.oldest_ms().map_or(0, |since_ms| since_ms + 1);
        self.oldest.store(oldest, Ordering::Relaxed);
    }
}

/// What is held against one device.
#[derive(Default)]
pub(crate) struct Standing {
    /// No write goes there any more.
    pub(crate) failed: AtomicBool,
    /// It is slow while others are not, or failed: lanes leave it.
    pub(crate) leave: AtomicBool,
    slow_write_ms: AtomicU64,
    slow_until_ms: AtomicU64,
}

impl Standing {
    /// Takes the duration of a write that came back.
    pub(crate) fn took(&self, write_ms: u64, now_ms: u64) {
        let held_against = now_ms < self.slow_until_ms.load(Ordering::Relaxed);
        let worse = write_ms > self.slow_write_ms.load(Ordering::Relaxed);
        if write_ms < SLOW_MS_MIN || (held_against && !worse) {
            return;
        }
        let memory_ms = (write_ms * MEMORY_FACTOR).min(MEMORY_MS_MAX);
        self.slow_write_ms.store(write_ms, Ordering::Relaxed);
        self.slow_until_ms
            .store(now_ms + memory_ms, Ordering::Relaxed);
    }

    /// How long a write takes there, as far as is known: the age of the oldest that is out, or the
    /// duration of one that was slow not long ago.
    pub(crate) fn write_ms<'p>(
        &self,
        ways: impl Iterator<Item = &'p Positions>,
        now_ms: u64,
    ) -> u64 {
        let oldest = ways.filter_map(Positions::oldest_ms).min();
        let age_ms = oldest.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        if now_ms < self.slow_until_ms.load(Ordering::Relaxed) {
            age_ms.max(self.slow_write_ms.load(Ordering::Relaxed))
        } else {
            age_ms
        }
    }
}

/// Which devices are slow, `None` standing for one that failed.
pub(crate) fn slow(write_ms: &[Option<u64>]) -> Vec<bool> {
    let is_slow = |(at, this): (usize, &Option<u64>)| {
        let others = write_ms
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        let calmest = others.filter_map(|(_, other)| *other).min();
        match (this, calmest) {
            (Some(this), Some(calmest)) => {
                *this >= SLOW_MS_MIN && *this >= SLOW_FACTOR * (calmest + 1)
            }
            (None, _) | (_, None) => false,
        }
    };
    write_ms.iter().enumerate().map(is_slow).collect()
}

/// What speaks for opening the next block on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) device: usize,
    pub(crate) slow: bool,
    /// Free blocks and blocks in all.
    pub(crate) free: usize,
    pub(crate) blocks: usize,
    /// Bytes of writes that are out, of all lanes.
    pub(crate) out_bytes: u64,
}

/// The device to open a block on: not a slow one if there is another; the one with the largest part
/// of itself free, by whole percents; of those the one with the least on its way to it.
pub(crate) fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    let rank = |candidate: &&Candidate| {
        let percent = candidate.free * 100 / candidate.blocks.max(1);
        let idle = u64::MAX - candidate.out_bytes;
        (!candidate.slow, percent, idle, candidate.free)
    };
    candidates.iter().max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_slow_only_beside_one_that_is_not() {
        let check = |write_ms: &[Option<u64>], expected: &[bool]| {
            assert_eq!(slow(write_ms), expected, "{write_ms:?}");
        };
        check(&[Some(500)], &[false]);
        check(&[Some(500), Some(3)], &[true, false]);
        check(&[Some(500), Some(400)], &[false, false]);
        check(&[Some(19), Some(0)], &[false, false]);
        check(&[Some(500), None], &[false, false]);
        check(&[Some(500), None, Some(1)], &[true, false, false]);
    }

    #[test]
    fn blocks_go_to_the_emptiest_device_then_to_the_idlest_and_to_a_slow_one_last() {
        let candidate = |device, slow, free, out_bytes| Candidate {
            device,
            slow,
            free,
            blocks: 1000,
            out_bytes,
        };
        let check = |candidates: &[Candidate], expected: Option<usize>| {
            let chosen = choose(candidates).map(|candidate| candidate.device);
            assert_eq!(chosen, expected, "{candidates:?}");
        };
        check(&[], None);
        check(
            &[candidate(0, false, 500, 0), candidate(1, false, 600, 9)],
            Some(1),
        );
        check(
            &[candidate(0, false, 501, 9), candidate(1, false, 500, 0)],
            Some(1),
        );
        check(
            &[candidate(0, false, 100, 9), candidate(1, true, 900, 0)],
            Some(0),
        );
        check(&[candidate(1, true, 900, 0)], Some(1));
    }

    #[test]
    fn a_slow_write_is_held_against_its_device_for_a_while() {
        let standing = Standing::default();
        standing.took(100, 1000);
        let at = |now_ms| standing.write_ms(std::iter::empty(), now_ms);
        assert_eq!((at(1000), at(2599), at(2600)), (100, 100, 0));
        standing.took(5, 3000);
        assert_eq!(at(3000), 0);
    }
}

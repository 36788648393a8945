//! When to ask a second replica: how long reads took lately, and what that says of the slowest.
//!
//! Latencies are counted in buckets, two for each doubling, and halved now and then so that what was long ago
//! fades. A read that a second replica answered first counts as slower than the wait for it: if only what
//! it took in the end counted, the wait would shrink with every hedge.
//!
//! Pure: latencies come in as arguments. Many calls count at once; a count lost between two of them does
//! not matter.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::policy::Hedge;

/// Two for each doubling from 1 us; the last ones reach far beyond every timeout.
const BUCKETS: usize = 64;

/// Latencies after which all counts are halved.
const SAMPLES_MAX: u32 = 4096;

/// Latencies without which nothing can be said of the slowest of a hundred.
const SAMPLES_MIN: u32 = 100;

/// Wait until then.
const WAIT_UNKNOWN: Duration = Duration::from_millis(20);

/// See [the module](self).
#[derive(Debug)]
pub(crate) struct Latencies {
    buckets: [AtomicU32; BUCKETS],
    samples: AtomicU32,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            samples: AtomicU32::new(0),
        }
    }
}

impl Latencies {
    /// How long to wait for the first replica before the second is asked.
    pub(crate) fn wait(&self, hedge: Hedge) -> Duration {
        match hedge {
            Hedge::After(wait) => wait,
            Hedge::AfterP99 => self.p99().unwrap_or(WAIT_UNKNOWN),
        }
    }

    /// Counts a read that took so long.
    pub(crate) fn note(&self, took: Duration) {
        self.buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
        if self.samples.fetch_add(1, Ordering::Relaxed) + 1 >= SAMPLES_MAX {
            self.fade();
        }
    }

    /// Counts a read whose first replica had not answered after `wait`.
    pub(crate) fn note_slower_than(&self, wait: Duration) {
        self.note(wait * 2);
    }

    fn fade(&self) {
        let mut left = 0;
        for bucket in &self.buckets {
            let half = bucket.load(Ordering::Relaxed) / 2;
            bucket.store(half, Ordering::Relaxed);
            left += half;
        }
        self.samples.store(left, Ordering::Relaxed);
    }

    /// What 99 of 100 took at most.
    fn p99(&self) -> Option<Duration> {
        let counts = self.buckets.each_ref();
        let counts = counts.map(|bucket| bucket.load(Ordering::Relaxed));
        let total: u32 = counts.iter().sum();
        if total < SAMPLES_MIN {
            return None;
        }
        let mut slower = total / 100;
        let slowest = counts.iter().enumerate().rev().find(|(_, count)| {
            let is_it = **count > slower;
            slower = slower.saturating_sub(**count);
            is_it
        });
        slowest.map(|(index, _)| upper_bound(index))
    }
}

/// The bucket of a latency: twice its binary logarithm in microseconds, rounded down.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = us.ilog2();
    let upper_half = doublings > 0 && us >> (doublings - 1) & 1 == 1;
    (doublings as usize * 2 + usize::from(upper_half)).min(BUCKETS - 1)
}

/// The least latency beyond a bucket: half as much again as its power of two, or twice that.
fn upper_bound(index: usize) -> Duration {
    let power = 1u64 << (index / 2);
    Duration::from_micros(match index % 2 {
        0 => power + power.div_ceil(2),
        _ => power * 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_below_the_bound_of_its_bucket_and_near_it() {
        for us in (1..5000).chain([1 << 20, 3 << 20, (1 << 30) - 1]) {
            let took = Duration::from_micros(us);
            let bound = upper_bound(bucket(took));
            assert!(bound > took && bound <= took * 2, "{us} us: {bound:?}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_wait_is_what_99_of_100_reads_stay_below() {
        let latencies = Latencies::default();
        assert_eq!(latencies.wait(Hedge::AfterP99), WAIT_UNKNOWN);
        let (quick, slow) = (Duration::from_micros(100), Duration::from_millis(50));
        for number in 0..1000 {
            latencies.note(if number % 200 == 0 { slow } else { quick });
        }
        let wait = latencies.wait(Hedge::AfterP99);
        assert!(wait >= quick && wait <= 2 * quick, "{wait:?}");
        (0..50).for_each(|_| latencies.note(slow));
        assert!(latencies.wait(Hedge::AfterP99) >= slow);
        let own = Duration::from_millis(3);
        assert_eq!(latencies.wait(Hedge::After(own)), own);
    }

    #[test]
    fn hedging_does_not_shorten_its_own_wait() {
        let latencies = Latencies::default();
        (0..200).for_each(|_| latencies.note(Duration::from_micros(100)));
        let first = latencies.wait(Hedge::AfterP99);
        for _ in 0..10_000 {
            latencies.note(Duration::from_micros(100));
            latencies.note_slower_than(first);
        }
        assert!(latencies.wait(Hedge::AfterP99) > first);
    }
}

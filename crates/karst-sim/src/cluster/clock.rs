//! A node's clocks: none runs quite right, and the time of day is whatever somebody has set it to.

use crate::rng::Rng;

/// Parts of a rate.
const MILLION: u64 = 1_000_000;

/// See [the module](self).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When its machine was switched on, before the beginning.
    up_us: u64,
    /// Microseconds that it counts in a second.
    rate: u64,
    /// By how much the time of day is wrong.
    wrong_ms: i64,
}

impl Default for Clock {
    /// One that is right.
    fn default() -> Clock {
        Clock {
            up_us: 0,
            rate: MILLION,
            wrong_ms: 0,
        }
    }
}

impl Clock {
    /// One that is too fast or too slow by so many percent at most.
    pub fn draw(rng: &mut Rng, percent: u64) -> Clock {
        let parts = percent * MILLION / 100;
        Clock {
            up_us: rng.below(1_000_000_000),
            rate: MILLION - parts + rng.below(2 * parts + 1),
            wrong_ms: 0,
        }
    }

    /// The time since its machine was switched on.
    pub fn boot_us(&self, now_us: u64) -> u64 {
        self.up_us + self.lasts(now_us)
    }

    /// How long something lasts by it.
    pub fn lasts(&self, us: u64) -> u64 {
        us / MILLION * self.rate + us % MILLION * self.rate / MILLION
    }

    /// The time of day, which is this in truth.
    pub fn day_ms(&self, ms: u64) -> u64 {
        ms.saturating_add_signed(self.wrong_ms)
    }

    /// Somebody sets the time of day, up to an hour from the right one.
    pub fn set(&mut self, rng: &mut Rng) {
        let hour_ms = 3_600_000;
        self.wrong_ms = rng.below(2 * hour_ms) as i64 - hour_ms as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_by_no_more_than_was_drawn() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..1000 {
            let clock = Clock::draw(&mut rng, 3);
            let second_us = clock.boot_us(5_000_000) - clock.boot_us(4_000_000);
            assert!((970_000..=1_030_000).contains(&second_us), "{clock:?}");
        }
        assert_eq!(Clock::default().boot_us(4_711), 4_711);
    }
}

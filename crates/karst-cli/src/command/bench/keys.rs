//! Which key comes next: uniform or by Zipf's law, from one seed.
//!
//! Zipf draws are by rejection-inversion (Hörmann and Derflinger, 1996): constant time and no table
//! whatever the number of keys, so the loader's caches stay free. Rank 0 is the most frequent key;
//! digests scatter ranks over partitions, so frequent keys are not neighbours on the server.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// An endless row of keys below a bound.
#[derive(Debug)]
pub(super) struct Keys {
    rng: SmallRng,
    choice: Choice,
}

#[derive(Debug)]
enum Choice {
    Uniform(u64),
    Zipf(Zipf),
}

impl Keys {
    /// Each key below `keys` as often as any other.
    pub(super) fn uniform(keys: u64, seed: u64) -> Keys {
        Keys {
            rng: SmallRng::seed_from_u64(seed),
            choice: Choice::Uniform(keys.max(1)),
        }
    }

    /// Key k as often as `(k + 1)^-exponent` says. The exponent is above 0.
    pub(super) fn zipf(keys: u64, exponent: f64, seed: u64) -> Keys {
        Keys {
            rng: SmallRng::seed_from_u64(seed),
            choice: Choice::Zipf(Zipf::new(keys.max(1), exponent)),
        }
    }

    /// The next key.
    pub(super) fn next(&mut self) -> u64 {
        match &self.choice {
            Choice::Uniform(keys) => self.rng.random_range(0..*keys),
            Choice::Zipf(zipf) => zipf.draw(&mut self.rng) - 1,
        }
    }

    /// True in `percent` of 100 calls.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.rng.random_range(0..100) < percent
    }
}

/// Zipf's distribution over 1..=n.
///
/// `hat` is the integral of x^-exponent. A uniform point under it, inverted, gives a candidate, which
/// is kept unless it falls into the sliver between the curve and the bar of its integer.
#[derive(Debug)]
struct Zipf {
    exponent: f64,
    n: f64,
    hat_first: f64,
    hat_last: f64,
    /// Candidates this close to their integer are kept without a look at the curve.
    squeeze: f64,
}

impl Zipf {
    fn new(n: u64, exponent: f64) -> Zipf {
        let n = n as f64;
        let mut zipf = Zipf {
            exponent,
            n,
            hat_first: 0.0,
            hat_last: 0.0,
            squeeze: 0.0,
        };
        zipf.hat_first = zipf.hat(1.5) - 1.0;
        zipf.hat_last = zipf.hat(n + 0.5);
        zipf.squeeze = 2.0 - zipf.hat_inverse(zipf.hat(2.5) - zipf.weight(2.0));
        zipf
    }

    fn draw(&self, rng: &mut SmallRng) -> u64 {
        loop {
            let under: f64 = rng.random();
            let area = self.hat_last + under * (self.hat_first - self.hat_last);
            let x = self.hat_inverse(area);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.squeeze || area >= self.hat(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Integral of `weight` from 1 to x, written so that it holds at exponent 1 too.
    fn hat(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_over((1.0 - self.exponent) * log) * log
    }

    fn hat_inverse(&self, area: f64) -> f64 {
        // Rounding may put the argument just below the pole at -1.
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (ln1p_over(t) * area).exp()
    }
}

/// (e^x - 1) / x, and its limit at 0.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.exp_m1() / x
    } else {
        1.0 + x / 2.0
    }
}

/// ln(1 + x) / x, and its limit at 0.
fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.ln_1p() / x
    } else {
        1.0 - x / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 200_000;

    fn histogram(mut keys: Keys, count: usize) -> Vec<usize> {
        let mut seen = vec![0; count];
        for _ in 0..DRAWS {
            seen[keys.next() as usize] += 1; // a key out of bounds panics here
        }
        seen
    }

    #[test]
    fn zipf_draws_each_rank_as_often_as_the_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.5, 3.0] {
            let seen = histogram(Keys::zipf(1000, exponent, 7), 1000);
            let total: f64 = (1..=1000).map(|k| f64::from(k).powf(-exponent)).sum();
            for rank in [0, 1, 2, 9, 99] {
                let expected = f64::from(rank + 1).powf(-exponent) / total * DRAWS as f64;
                let found = seen[rank as usize] as f64;
                // Five standard deviations of a count.
                let tolerance = 5.0 * expected.sqrt() + 1.0;
                assert!(
                    (found - expected).abs() <= tolerance,
                    "exponent {exponent}, rank {rank}: {found}, expected {expected:.0}"
                );
            }
        }
    }

    #[test]
    fn zipf_works_for_one_key_and_for_a_trillion() {
        assert_eq!(histogram(Keys::zipf(1, 0.99, 1), 1), [DRAWS]);
        let mut keys = Keys::zipf(1_000_000_000_000, 0.99, 1);
        let drawn: Vec<_> = (0..10_000).map(|_| keys.next()).collect();
        assert!(drawn.iter().all(|key| *key < 1_000_000_000_000));
        assert!(
            drawn.iter().any(|key| *key > 1_000_000),
            "the tail is never drawn"
        );
        let mut steep = Keys::zipf(1_000_000_000_000, 10.0, 1);
        assert!((0..1000).all(|_| steep.next() < 10));
    }

    #[test]
    fn uniform_draws_each_key_as_often_as_any_other() {
        let seen = histogram(Keys::uniform(100, 7), 100);
        let expected = DRAWS / 100;
        let off = |count: &usize| count.abs_diff(expected) as f64 > 5.0 * (expected as f64).sqrt();
        assert!(!seen.iter().any(off), "{seen:?}");
    }

    #[test]
    fn one_seed_gives_one_row_of_keys() {
        let row = |seed| {
            let mut keys = Keys::zipf(1000, 0.99, seed);
            (0..100).map(|_| keys.next()).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }

    #[test]
    fn chance_keeps_its_percentage() {
        let mut keys = Keys::uniform(1, 3);
        assert!((0..1000).all(|_| keys.chance(100) && !keys.chance(0)));
        let hits = (0..100_000).filter(|_| keys.chance(30)).count();
        assert!((29_000..31_000).contains(&hits), "{hits}");
    }
}

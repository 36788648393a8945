//! Chance from a seed, so that a run that fails can be repeated.

pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn from_seed(seed: u64) -> Rng {
        let mut rng = Rng(seed.wrapping_mul(0x9E6C_63D0_876A_9A35) ^ 0x5851_F42D_4C95_7F2D);
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*, which never leaves zero, so it is kept out.
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize) % bound
    }
}

/// The seeds to run: so many, or as many as `KARST_SEEDS` says, or the one in `KARST_SEED`.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().expect("the variable is a number"))
    };
    match number("KARST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KARST_SEEDS").unwrap_or(count),
    }
}

//! Changes to inputs, drawn from a seed: what a byte-level fuzzer does, without its feedback.
//!
//! The same seed and corpus give the same inputs in the same order.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Longest input that mutations grow to.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Values at which sizes, counts and signs tip over.
const EDGES: [u8; 10] = [0, 1, 2, 0x0f, 0x10, 0x7f, 0x80, 0xc7, 0xfe, 0xff];

/// Draws inputs: mostly changed ones of the corpus, sometimes plain noise.
pub(crate) struct Mutator<'c> {
    rng: StdRng,
    corpus: &'c [Vec<u8>],
}

impl<'c> Mutator<'c> {
    /// A mutator over a corpus, which must not be empty.
    pub(crate) fn new(seed: u64, corpus: &'c [Vec<u8>]) -> Mutator<'c> {
        assert!(!corpus.is_empty(), "there is nothing to mutate");
        Mutator {
            rng: StdRng::seed_from_u64(seed),
            corpus,
        }
    }

    /// The next input.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        if self.rng.random_ratio(1, 50) {
            return self.noise(200);
        }
        let mut input = self.pick().to_vec();
        for _ in 0..self.rng.random_range(1..=6) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn pick(&mut self) -> &'c [u8] {
        &self.corpus[self.rng.random_range(0..self.corpus.len())]
    }

    fn noise(&mut self, bytes_max: usize) -> Vec<u8> {
        let bytes = self.rng.random_range(0..=bytes_max);
        (0..bytes).map(|_| self.rng.random()).collect()
    }

    fn place(&mut self, input: &[u8]) -> usize {
        self.rng.random_range(0..=input.len())
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (a, b) = (self.place(input), self.place(input));
        let (from, to) = (a.min(b), a.max(b));
        match self.rng.random_range(0..9) {
            0 => self.over(input, from, |rng, byte| {
                byte ^ (1 << rng.random_range(0..8))
            }),
            1 => self.over(input, from, |rng, _| rng.random()),
            2 => self.over(input, from, |rng, _| {
                EDGES[rng.random_range(0..EDGES.len())]
            }),
            3 => self.over(input, from, |rng, byte| {
                byte.wrapping_add(rng.random_range(0..3)).wrapping_sub(1)
            }),
            4 => input.truncate(from),
            5 => drop(input.drain(from..to.min(from + 64))),
            6 => {
                let noise = self.noise(8);
                input.splice(from..from, noise);
            }
            7 => {
                let again = input[from..to.min(from + 512)].to_vec();
                input.splice(from..from, again);
            }
            _ => {
                let other = self.pick();
                let (start, end) = (self.place(other), self.place(other));
                let piece = other[start.min(end)..start.max(end)].to_vec();
                input.splice(from..to.min(from + piece.len()), piece);
            }
        }
    }

    /// Changes the byte at a place, if there is one.
    fn over(&mut self, input: &mut [u8], at: usize, change: impl FnOnce(&mut StdRng, u8) -> u8) {
        if let Some(byte) = input.get_mut(at) {
            *byte = change(&mut self.rng, *byte);
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_inputs() {
    let corpus = [b"some bytes".to_vec(), vec![7; 300]];
    let draw = |seed| {
        let mut mutator = Mutator::new(seed, &corpus);
        (0..200).map(|_| mutator.next_input()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

//! Elements to registers: MurmurHash3, the variant of 128 bits for 64-bit machines, with seed zero.

use super::sketch::Shape;

/// What an element is to a sketch: a register, and what it would hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) register: u64,
    pub(super) value: u64,
}

impl Offer {
    /// What the bytes of an element offer to a sketch of this shape.
    pub(super) fn of(element: &[u8], shape: Shape) -> Offer {
        let (low, high) = murmur3(element);
        let (index_bits, minhash_bits) =
            (u32::from(shape.index_bits), u32::from(shape.minhash_bits));
        let minhash = low >> index_bits & ((1 << minhash_bits) - 1);
        let rank = u64::from(high.trailing_zeros() + 1).min(RANK_MAX);
        Offer {
            register: low & ((1 << index_bits) - 1),
            value: rank << minhash_bits | minhash,
        }
    }
}

/// What the six bits of a register hold. No hash of 64 bits comes near in practice.
const RANK_MAX: u64 = 63;

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn scramble_low(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn scramble_high(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// The two words of the hash.
pub(super) fn murmur3(bytes: &[u8]) -> (u64, u64) {
    let (mut low, mut high) = (0u64, 0u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (first, second) = words(block);
        low ^= scramble_low(first);
        low = low.rotate_left(27).wrapping_add(high);
        low = low.wrapping_mul(5).wrapping_add(0x52dc_e729);
        high ^= scramble_high(second);
        high = high.rotate_left(31).wrapping_add(low);
        high = high.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut padded = [0; 16]; // missing bytes count as zeros, and zeros change nothing
    padded[..tail.len()].copy_from_slice(tail);
    let (first, second) = words(&padded);
    low ^= scramble_low(first);
    high ^= scramble_high(second);

    low ^= bytes.len() as u64;
    high ^= bytes.len() as u64;
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    low = finish(low);
    high = finish(high);
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    (low, high)
}

fn words(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    (both as u64, (both >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], low: u64, high: u64, rank: u64, registers: [u64; 3], minhash: u64) {
        assert_eq!(murmur3(bytes), (low, high));
        for (index_bits, register) in [4, 8, 12].into_iter().zip(registers) {
            let shape = Shape {
                index_bits,
                minhash_bits: 0,
            };
            let value = rank;
            assert_eq!(Offer::of(bytes, shape), Offer { register, value });
        }
        let shape = Shape {
            index_bits: 8,
            minhash_bits: 16,
        };
        assert_eq!(Offer::of(bytes, shape).value, rank << 16 | minhash);
    }

    #[test]
    fn elements_hash_as_the_reference_says() {
        check(
            &[0xa2, 3, 0x61],
            0x8d15_ae18_0c40_a275,
            0x0e22_c7dd_0fe0_da88,
            4,
            [5, 117, 629],
            0x40a2,
        );
        check(
            &[5],
            0x3a7d_969f_bc36_8cf8,
            0xd070_b9cd_738a_1b64,
            3,
            [8, 248, 3320],
            0x368c,
        );
        check(
            &[0xcd, 3, 0xe8],
            0xbd27_2665_952d_39f9,
            0x0960_1cde_cec3_bcf6,
            2,
            [9, 249, 2553],
            0x2d39,
        );
        check(
            &[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
            0x9309_47b0_0dc1_962f,
            0x1d00_a0f3_d08e_2090,
            5,
            [15, 47, 1583],
            0xc196,
        );
    }

    #[test]
    fn long_elements_hash_as_the_published_function_does() {
        // "The quick brown fox jumps over the lazy dog", the published vector for seed 0.
        let text = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(
            murmur3(text),
            (0xe34b_bc7b_bc07_1b6c, 0x7a43_3ca9_c49a_9347)
        );
        assert_eq!(murmur3(b""), (0, 0));
    }
}

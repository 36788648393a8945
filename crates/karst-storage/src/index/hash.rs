//! The keyed hash that spreads digests over buckets and orders a walk.
//!
//! A digest is already a hash, but clients send digests they computed themselves, and one who could
//! tell which bucket a digest goes to could crowd thousands into one chain. So the hash is keyed.
//! Nodes of a cluster share the key, and with it the order of a walk.

use karst_data::key::Digest;

// The fractions of the golden ratio and of pi: they keep an all-zero key from being a weak one.
const WHITEN: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x243f_6a88_85a3_08d3];

/// The secret of the index's hash; drawn at random once for a cluster.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// 64 bits, all of which depend on all of the digest and on the key.
    #[inline]
    pub(super) fn hash(&self, digest: &Digest) -> u64 {
        let [a, b] = [self.0[0] ^ WHITEN[0], self.0[1] ^ WHITEN[1]];
        let (words, tail) = digest.0.as_chunks::<8>();
        let [first, second] = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
        let third = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
        let folded = fold(first ^ a, second ^ b) ^ u64::from(third);
        fold(folded ^ b.rotate_left(32), a | 1)
    }
}

/// Multiplies to 128 bits and folds the halves, so that every bit stirs every other.
#[inline]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The one bit of eight that an entry of this hash adds to tags. Taken from the top; buckets are
/// chosen by the low bits.
#[inline]
pub(super) fn tag_bit(hash: u64) -> u8 {
    1 << (hash >> 61)
}

/// Where a hash stands in the order of a walk. Reversed, so that the entries of one bucket, which
/// agree in their low hash bits, stand next to each other however many buckets there are.
#[inline]
pub(super) fn order(hash: u64) -> u64 {
    hash.reverse_bits()
}

/// A digest of partition 0, one of 2^52, whose hash under `key` is the same for every `seed`.
#[cfg(test)]
pub(super) fn colliding_digest(key: &HashKey, seed: u64) -> Digest {
    let mut bytes = [0; Digest::BYTES];
    bytes[..8].copy_from_slice(&(seed << 12).to_le_bytes());
    bytes[8..16].copy_from_slice(&(key.0[1] ^ WHITEN[1]).to_le_bytes()); // a product with zero
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([0, 0]);

    /// Digests as unlike random ones as can be: counters in one of their three words.
    fn counters(at: usize) -> impl Iterator<Item = Digest> {
        (0..1u32 << 14).map(move |count| {
            let mut bytes = [0; Digest::BYTES];
            bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
            Digest(bytes)
        })
    }

    #[test]
    fn even_counting_digests_spread_evenly_over_buckets_and_tags() {
        for at in [0, 8, 16] {
            let (mut buckets, mut tags) = (vec![0u32; 256], [0u32; 8]);
            for digest in counters(at) {
                let hash = KEY.hash(&digest);
                buckets[hash as usize % 256] += 1;
                tags[tag_bit(hash).ilog2() as usize] += 1;
            }
            // 64 and 2048 are expected; six standard deviations are 48 and 254.
            assert!(
                buckets.iter().all(|&count| count.abs_diff(64) < 48),
                "{at}: {buckets:?}"
            );
            assert!(
                tags.iter().all(|&count| count.abs_diff(2048) < 254),
                "{at}: {tags:?}"
            );
        }
    }

    #[test]
    fn digests_that_collide_under_one_key_do_not_under_another() {
        let other = HashKey([1, 1]);
        let digests: Vec<_> = (0..100).map(|seed| colliding_digest(&KEY, seed)).collect();
        let hashes = |key: &HashKey| {
            let mut hashes: Vec<_> = digests.iter().map(|digest| key.hash(digest)).collect();
            hashes.sort_unstable();
            hashes.dedup();
            hashes.len()
        };
        assert_eq!(hashes(&KEY), 1);
        assert_eq!(hashes(&other), 100);
    }

    #[test]
    fn the_order_of_walks_is_fixed_for_good() {
        // A changed hash would make a rolling upgrade repeat and miss records of running scans.
        let hash = HashKey([1, 2]).hash(&Digest(std::array::from_fn(|i| i as u8)));
        assert_eq!(hash, 12_824_327_967_471_065_287); // as computed by other code, in Python
    }
}

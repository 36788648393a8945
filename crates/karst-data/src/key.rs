//! Keys, digests and partitions.
//!
//! A record is found by its digest: RIPEMD-160 over the set name, one byte of key type and the key's
//! bytes, with nothing between them. The namespace does not take part. The partition is the low
//! twelve bits of the digest read as a little-endian number. Both rules are those of the Aerospike
//! client protocol, so every client that speaks it computes the same ones.

use std::fmt;

use ripemd::{Digest as _, Ripemd160};

/// Partitions of every namespace.
pub const PARTITIONS: usize = 4096;

/// Longest namespace name in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 31;

/// Longest set name in bytes.
pub const SET_BYTES_MAX: usize = 63;

/// The 20 bytes that name a record inside a namespace.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    zerocopy::Unaligned,
)]
#[repr(transparent)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    /// Size of a digest in bytes.
    pub const BYTES: usize = 20;

    /// The digest of a key in a set. An empty set name stands for "no set".
    pub fn of(set: &[u8], key: KeyBytes<'_>) -> Digest {
        let mut hash = Ripemd160::new();
        hash.update(set);
        match key {
            KeyBytes::Integer(value) => {
                hash.update([1]);
                hash.update(value.to_be_bytes());
            }
            KeyBytes::Double(value) => {
                hash.update([2]);
                hash.update(value.to_be_bytes());
            }
            KeyBytes::String(value) => {
                hash.update([3]);
                hash.update(value);
            }
            KeyBytes::Blob(value) => {
                hash.update([4]);
                hash.update(value);
            }
        }
        Digest(hash.finalize().into())
    }

    /// Reads a digest from a slice of exactly 20 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }

    /// The partition that owns this digest.
    pub fn partition(&self) -> PartitionId {
        PartitionId(u16::from(self.0[0]) | u16::from(self.0[1] & 0x0f) << 8)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A partition number, below [`PARTITIONS`] unless it was made by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// Every partition in order.
    pub fn all() -> impl DoubleEndedIterator<Item = PartitionId> + ExactSizeIterator {
        (0..PARTITIONS as u16).map(PartitionId)
    }

    /// As an index into a table of partitions.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key's value as the digest sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyBytes<'a> {
    /// Any integer type of the application, always hashed as eight bytes.
    Integer(i64),
    /// A double; some clients refuse these as keys.
    Double(f64),
    /// UTF-8 text.
    String(&'a [u8]),
    /// Raw bytes.
    Blob(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(set: &str, key: KeyBytes<'_>, digest: &str, partition: u16) {
        let found = Digest::of(set.as_bytes(), key);
        assert_eq!(found.to_string(), digest);
        assert_eq!(found.partition(), PartitionId(partition));
    }

    #[test]
    fn digests_and_partitions_equal_those_of_official_clients() {
        check(
            "demo",
            KeyBytes::String(b"key1"),
            "ec91192d4b7f8ce35d5d78d34bca65cbaaaac960",
            492,
        );
        check(
            "demo",
            KeyBytes::Integer(1),
            "b7f4b83889e2da67de683e1df6919a1eacc446c8",
            1207,
        );
        check(
            "demo",
            KeyBytes::Integer(-1),
            "e9d49a24c3debdc5a6d551d3e7087999a263bb97",
            1257,
        );
        check(
            "",
            KeyBytes::String(b"a"),
            "79e55340ff2911fc794c49ec2a8175bd9d7ca04c",
            1401,
        );
        check(
            "demo",
            KeyBytes::Blob(&[1, 2, 3]),
            "ff31c926fbef445648ce63ca72a698a5473425c1",
            511,
        );
        check(
            "demo",
            KeyBytes::Double(1.5),
            "10c03b48ac9b3ad8020721c4ef63d5e84485edce",
            16,
        );
    }
}

//! What a partition holds, as one number: to compare an index with what it was, or with another's.

use std::ops::ControlFlow;

use karst_data::key::{Digest, PartitionId};
use karst_data::time::Now;
use karst_storage::index::{NewEntry, WalkCursor};

use crate::namespace::Namespace;

/// Entries visited under one lock.
const SLICE_ENTRIES_MAX: usize = 256;

/// The fractions of pi, as far as they are needed: any odd numbers without a pattern would do.
const MIX: [u64; 4] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7345,
    0xa409_3822_299f_31d1,
    0x082e_fa98_ec4e_6c89,
];

/// What is in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Records that readers can see.
    pub records: u64,
    /// Tombstones, those included that expired records became.
    pub tombstones: u64,
    /// The sum of a hash over each record that readers can see.
    pub fingerprint: u64,
}

impl Namespace {
    /// The fingerprint of a partition. Records that change while it is walked may count as before or as
    /// after the change.
    pub fn fingerprint(&self, id: PartitionId, now: Now) -> Fingerprint {
        let mut found = Fingerprint::default();
        let mut after = None;
        loop {
            let mut visited = 0;
            let partition = self.partition(id);
            after = partition.directory.walk(after, &mut |entry| {
                visited += 1;
                found.tombstones += u64::from(entry.is_tombstone());
                if self.is_alive(entry, now) {
                    found.records += 1;
                    let set_hash = self.sets.with(entry.set_id(), |set| hash_bytes(&set.name));
                    let hash = hash_entry(&entry.to_new(), set_hash);
                    found.fingerprint = found.fingerprint.wrapping_add(hash);
                }
                match visited >= SLICE_ENTRIES_MAX {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            if after.is_none() {
                return found;
            }
        }
    }

    /// At most `limit` entries of a partition behind a digest of the walk's order, and whether these are
    /// the last.
    pub fn entries_after(
        &self,
        id: PartitionId,
        after: Option<Digest>,
        limit: usize,
    ) -> (Vec<NewEntry>, bool) {
        let mut entries = Vec::new();
        let mut cursor = after.map(WalkCursor::after);
        while entries.len() < limit {
            cursor = self.entry_slice(id, cursor, &mut entries).next;
            if cursor.is_none() {
                break;
            }
        }
        let done = cursor.is_none() && entries.len() <= limit;
        entries.truncate(limit);
        (entries, done)
    }
}

fn hash_entry(entry: &NewEntry, set_hash: u64) -> u64 {
    let (words, tail) = entry.digest.0.as_chunks::<8>();
    let tail = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let facts = [
        u64::from_le_bytes(words[0]),
        u64::from_le_bytes(words[1]),
        u64::from(tail) << 32 | u64::from(entry.void_time_s),
        entry.version.sequence << 16 | u64::from(entry.generation),
        u64::from(entry.version.regime),
        entry.update_time_ms,
        set_hash,
    ];
    facts.into_iter().fold(MIX[0], mix)
}

/// A hash of which state of which record an entry is.
pub(crate) fn hash_of_state(entry: &NewEntry) -> u64 {
    let (words, tail) = entry.digest.0.as_chunks::<8>();
    let tail = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let facts = [
        u64::from_le_bytes(words[0]),
        u64::from_le_bytes(words[1]),
        u64::from(tail) << 32 | u64::from(entry.version.regime),
        entry.version.sequence << 16 | u64::from(entry.generation),
        entry.update_time_ms,
    ];
    facts.into_iter().fold(MIX[0], mix)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let one = |hash, byte: &u8| mix(hash, u64::from(*byte));
    bytes.iter().fold(MIX[1], one)
}

/// Stirs a number into a hash: a product of 128 bits folded to 64, so that every bit reaches every other.
fn mix(hash: u64, number: u64) -> u64 {
    let product = u128::from(hash ^ MIX[2]) * u128::from(number ^ MIX[3]);
    (product >> 64) as u64 ^ (product as u64) ^ hash.rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use karst_data::key::KeyBytes;
    use karst_storage::index::Flags;
    use karst_storage::place::{DeviceId, Place, Rblocks, Version};

    #[test]
    fn every_fact_of_a_record_but_its_place_changes_its_hash() {
        let entry = NewEntry {
            digest: Digest::of(b"demo", KeyBytes::Integer(1)),
            place: Place {
                device: DeviceId(0),
                start: Rblocks(4),
                length: Rblocks(4),
            },
            version: Version {
                regime: 1,
                sequence: 9,
            },
            update_time_ms: 5,
            void_time_s: 6,
            generation: 7,
            set_id: 1,
            flags: Flags::NONE,
        };
        let hash = |entry: &NewEntry| hash_entry(entry, hash_bytes(b"demo"));
        let whole = hash(&entry);
        let mut digest = entry.digest;
        digest.0[19] ^= 1;
        let later = Version {
            sequence: 10,
            ..entry.version
        };
        let reigned = Version {
            regime: 2,
            ..entry.version
        };
        let void_time_s = 7;
        for other in [
            NewEntry { digest, ..entry },
            NewEntry {
                version: later,
                ..entry
            },
            NewEntry {
                version: reigned,
                ..entry
            },
            NewEntry {
                update_time_ms: 6,
                ..entry
            },
            NewEntry {
                void_time_s,
                ..entry
            },
            NewEntry {
                generation: 8,
                ..entry
            },
        ] {
            assert_ne!(hash(&other), whole, "{other:?}");
        }
        assert_ne!(hash_entry(&entry, hash_bytes(b"dem0")), whole);
        let place = Place {
            start: Rblocks(8),
            ..entry.place
        };
        assert_eq!(hash(&NewEntry { place, ..entry }), whole);
    }
}

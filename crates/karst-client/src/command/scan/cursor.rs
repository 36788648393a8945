//! Where a scan or query has got to, to go on from there, now or in a later process.

use std::collections::BTreeMap;

use karst_data::key::{Digest, PARTITIONS, PartitionId};

use crate::error::{Error, Result};

/// First byte of a cursor's bytes: the version of its form.
const CURSOR_VERSION: u8 = 1;

/// Byte behind a partition's number: what says where to resume it.
const FROM_START: u8 = 0;
const AFTER_DIGEST: u8 = 1;
const AFTER_VALUE: u8 = 2;

/// A record that was returned: a partition goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) digest: Digest,
    /// The index value it was found under, in a query by a secondary index.
    pub(super) value: Option<u64>,
}

/// Partitions and where to resume each; `None` is its start.
pub(super) type Positions = BTreeMap<u16, Option<Place>>;

/// What is still to be scanned or queried: for each partition where to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanCursor {
    /// Partitions not yet finished.
    pub(super) partitions: Positions,
}

impl ScanCursor {
    /// Everything.
    pub fn all() -> ScanCursor {
        ScanCursor::of(PartitionId::all())
    }

    /// These partitions, from their start. Numbers that no partition has are left out.
    pub fn of(partitions: impl IntoIterator<Item = PartitionId>) -> ScanCursor {
        let valid = partitions.into_iter().filter(|id| id.index() < PARTITIONS);
        ScanCursor {
            partitions: valid.map(|id| (id.0, None)).collect(),
        }
    }

    /// The partition of a record, behind that record. For scans; queries by a secondary index return records
    /// in another order.
    pub fn after(digest: Digest) -> ScanCursor {
        let place = Place {
            digest,
            value: None,
        };
        ScanCursor {
            partitions: Positions::from([(digest.partition().0, Some(place))]),
        }
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.partitions.is_empty()
    }

    /// How many partitions are not finished.
    pub fn partitions_left(&self) -> usize {
        self.partitions.len()
    }

    /// The cursor as bytes, for a later process to go on from.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![CURSOR_VERSION];
        for (partition, after) in &self.partitions {
            bytes.extend_from_slice(&partition.to_be_bytes());
            match after {
                None => bytes.push(FROM_START),
                Some(Place { digest, value }) => {
                    bytes.push(value.map_or(AFTER_DIGEST, |_| AFTER_VALUE));
                    bytes.extend_from_slice(&digest.0);
                    bytes.extend(value.iter().flat_map(|value| value.to_be_bytes()));
                }
            }
        }
        bytes
    }

    /// Reads a cursor from its bytes.
    ///
    /// # Errors
    /// [`Error::BadCursor`] if they are not those of a cursor.
    pub fn from_bytes(bytes: &[u8]) -> Result<ScanCursor> {
        let mut partitions = BTreeMap::new();
        let (version, mut rest) = bytes.split_first().ok_or(Error::BadCursor)?;
        if *version != CURSOR_VERSION {
            return Err(Error::BadCursor);
        }
        while !rest.is_empty() {
            let (partition, after);
            (partition, after, rest) = read_position(rest).ok_or(Error::BadCursor)?;
            if partitions.insert(partition, after).is_some() {
                return Err(Error::BadCursor);
            }
        }
        Ok(ScanCursor { partitions })
    }

    /// Moves behind a record, unless its partition is not being scanned. False then.
    pub(super) fn advance(&mut self, place: Place) -> bool {
        advance(&mut self.partitions, place)
    }
}

/// Moves behind a record, unless its partition is none of these. False then.
pub(super) fn advance(positions: &mut Positions, place: Place) -> bool {
    let position = positions.get_mut(&place.digest.partition().0);
    position.map(|after| *after = Some(place)).is_some()
}

type Position<'a> = (u16, Option<Place>, &'a [u8]);

fn read_position(bytes: &[u8]) -> Option<Position<'_>> {
    let ([high, low, resumes], rest) = bytes.split_first_chunk::<3>()?;
    let partition = u16::from_be_bytes([*high, *low]);
    if usize::from(partition) >= PARTITIONS {
        return None;
    }
    if *resumes == FROM_START {
        return Some((partition, None, rest));
    }
    let (digest, rest) = rest.split_first_chunk::<{ Digest::BYTES }>()?;
    let digest = Digest(*digest);
    let (value, rest) = match *resumes {
        AFTER_DIGEST => (None, rest),
        AFTER_VALUE => {
            let (value, rest) = rest.split_first_chunk::<8>()?;
            (Some(u64::from_be_bytes(*value)), rest)
        }
        _ => return None,
    };
    let place = Place { digest, value };
    (digest.partition().0 == partition).then_some((partition, Some(place), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest_in(partition: u16) -> Digest {
        let mut bytes = [7; 20];
        bytes[..2].copy_from_slice(&partition.to_le_bytes());
        Digest(bytes)
    }

    fn place_in(partition: u16, value: Option<u64>) -> Place {
        let digest = digest_in(partition);
        Place { digest, value }
    }

    #[test]
    fn a_cursor_survives_its_bytes() {
        let mut cursor = ScanCursor::of([0, 1, 492, 4095].map(PartitionId));
        assert!(cursor.advance(place_in(492, None)));
        assert!(cursor.advance(place_in(4095, Some(u64::MAX))));
        assert_eq!(ScanCursor::from_bytes(&cursor.to_bytes()).unwrap(), cursor);
        let done = ScanCursor::of([]);
        assert!(ScanCursor::from_bytes(&done.to_bytes()).unwrap().is_done());
    }

    #[test]
    fn a_cursor_stays_out_of_partitions_it_does_not_scan() {
        let mut cursor = ScanCursor::of([PartitionId(1), PartitionId(4096)]);
        assert_eq!(cursor.partitions_left(), 1);
        assert!(!cursor.advance(place_in(2, None)));
        assert_eq!(cursor.partitions_left(), 1);
    }

    #[test]
    fn a_cursor_behind_a_record_has_its_partition_alone() {
        let cursor = ScanCursor::after(digest_in(7));
        assert_eq!(cursor.partitions_left(), 1);
        assert_eq!(cursor.partitions[&7], Some(place_in(7, None)));
    }

    #[test]
    fn bytes_that_are_no_cursor_are_refused() {
        let with_half_a_value = [&[1, 0, 5, 2][..], &digest_in(5).0, &[0; 7]].concat();
        let with_digest_of_another = [&[1, 0, 5, 1][..], &digest_in(6).0].concat();
        for bytes in [
            &[][..],
            &[2],
            &[1, 0],
            &[1, 0x10, 0, 0],
            &[1, 0, 1, 3],
            &[1, 0, 1, 0, 0, 1, 0],
            &with_digest_of_another,
            &with_half_a_value,
        ] {
            assert!(ScanCursor::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_cursor_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(cursor) = ScanCursor::from_bytes(&bytes) {
                prop_assert!(cursor.partitions_left() <= PARTITIONS);
            }
        }
    }
}

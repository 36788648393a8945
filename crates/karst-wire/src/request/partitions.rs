//! Which partitions a foreground scan or query covers, and where it resumes in each.
//!
//! A request lists partitions to read from their start, by number, and partitions to go on with
//! behind a record, by that record's digest; queries by a secondary index add the index value the
//! record was found under. A partition may be named once in all. Everything is checked when the
//! lists are read, so walking them cannot fail.

use karst_data::key::{Digest, PARTITIONS, PartitionId};

use crate::field;
use crate::malformed::Malformed;
use crate::request::Fields;

/// Bytes of a partition number, little-endian.
const PARTITION_BYTES: usize = 2;

/// Bytes of an index value, little-endian.
const BVAL_BYTES: usize = 8;

/// The partitions of a foreground scan or query, each named once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFilter<'a> {
    numbers: &'a [[u8; PARTITION_BYTES]],
    digests: &'a [[u8; Digest::BYTES]],
    bvals: &'a [[u8; BVAL_BYTES]],
}

/// A partition that was read in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The last record the client has; its partition goes on behind it.
    pub digest: Digest,
    /// The index value that record was found under, in a secondary-index query.
    pub bval: Option<u64>,
}

impl<'a> PartitionFilter<'a> {
    /// Reads and checks the three lists.
    pub(crate) fn read(fields: &Fields<'a>) -> Result<PartitionFilter<'a>, Malformed> {
        let filter = PartitionFilter {
            numbers: list(field::PARTITION_IDS, fields.partition_ids)?,
            digests: list(field::DIGEST_ARRAY, fields.digest_array)?,
            bvals: list(field::BVAL_ARRAY, fields.bval_array)?,
        };
        filter.check_pairs()?;
        if filter.count() == 0 {
            return Err(Malformed::PartitionsMissing);
        }
        filter.check_named_once()?;
        Ok(filter)
    }

    /// How many partitions are named, between 1 and 4096.
    pub fn count(&self) -> usize {
        self.numbers.len() + self.digests.len()
    }

    /// The partitions to read from their start, in the order of the request.
    pub fn from_start(&self) -> impl ExactSizeIterator<Item = PartitionId> + use<'a> {
        let numbers = self.numbers.iter();
        numbers.map(|bytes| PartitionId(u16::from_le_bytes(*bytes)))
    }

    /// The places to go on behind, in the order of the request.
    pub fn resumed(&self) -> impl ExactSizeIterator<Item = Resume> + use<'a> {
        let bvals = self.bvals;
        let digests = self.digests.iter().enumerate();
        digests.map(move |(at, digest)| Resume {
            digest: Digest(*digest),
            bval: bvals.get(at).map(|bytes| u64::from_le_bytes(*bytes)),
        })
    }

    /// Index values come with every digest or with none.
    fn check_pairs(&self) -> Result<(), Malformed> {
        let (digests, values) = (self.digests.len(), self.bvals.len());
        if values != 0 && values != digests {
            return Err(Malformed::ResumeValues { digests, values });
        }
        Ok(())
    }

    /// Every partition exists and is named once, whether by its number or by a digest in it.
    fn check_named_once(&self) -> Result<(), Malformed> {
        let mut seen = [0u64; PARTITIONS / 64];
        let resumed = self.resumed().map(|resume| resume.digest.partition());
        for partition in self.from_start().chain(resumed) {
            let (word, bit) = (partition.index() / 64, 1 << (partition.index() % 64));
            let partition = partition.0;
            let word = seen
                .get_mut(word)
                .ok_or(Malformed::PartitionUnknown { partition })?;
            if *word & bit != 0 {
                return Err(Malformed::PartitionTwice { partition });
            }
            *word |= bit;
        }
        Ok(())
    }
}

/// Reads a field as a list of entries of `N` bytes. An absent field is an empty list; one that is
/// there must hold between one entry and one for each partition.
fn list<const N: usize>(id: u8, data: Option<&[u8]>) -> Result<&[[u8; N]], Malformed> {
    let Some(data) = data else { return Ok(&[]) };
    let (entries, over) = data.as_chunks::<N>();
    if !over.is_empty() {
        let (bytes, expected) = (data.len(), N);
        return Err(Malformed::FieldSize {
            id,
            bytes,
            expected,
        });
    }
    match entries.len() {
        1..=PARTITIONS => Ok(entries),
        count => Err(Malformed::PartitionCount { count }),
    }
}

//! The fields of scans and queries: which partitions, and what is looked for.

use karst_data::key::{Digest, PartitionId};

use super::{Body, CommandError};
use crate::field;
use crate::op::BIN_NAME_BYTES_MAX;

impl Body<'_> {
    /// Partitions that a scan reads from their start.
    pub fn partitions(&mut self, ids: &[PartitionId]) {
        self.field_with(field::PARTITION_IDS, |out| {
            ids.iter()
                .for_each(|id| out.extend_from_slice(&id.0.to_le_bytes()));
        });
    }

    /// Records a scan resumes after, each in a partition of its own.
    pub fn resume_after(&mut self, digests: &[Digest]) {
        self.field_with(field::DIGEST_ARRAY, |out| {
            digests
                .iter()
                .for_each(|digest| out.extend_from_slice(&digest.0));
        });
    }

    /// The index values under which a query found the records of [`Body::resume_after`], in their order.
    pub fn resume_values(&mut self, values: &[u64]) {
        self.field_with(field::BVAL_ARRAY, |out| {
            values
                .iter()
                .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        });
    }

    /// What a query by a secondary index looks for: values of a particle type from `first` to `last`, both
    /// included. The bin's name is empty where the index is named in another way.
    pub fn index_range(&mut self, bin: &str, particle: u8, first: &[u8], last: &[u8]) {
        if bin.len() > BIN_NAME_BYTES_MAX {
            let name = bin.to_owned();
            return self.refuse(CommandError::BinName { name });
        }
        let sizes = [first, last].map(|value| u32::try_from(value.len()));
        let [Ok(first_bytes), Ok(last_bytes)] = sizes else {
            let bytes = first.len().max(last.len());
            return self.refuse(CommandError::TooBig { bytes });
        };
        self.field_with(field::INDEX_RANGE, |out| {
            out.extend_from_slice(&[1, bin.len() as u8]); // one range; at most 15
            out.extend_from_slice(bin.as_bytes());
            out.push(particle);
            out.extend_from_slice(&first_bytes.to_be_bytes());
            out.extend_from_slice(first);
            out.extend_from_slice(&last_bytes.to_be_bytes());
            out.extend_from_slice(last);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::message;
    use crate::frame::{HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader};
    use crate::particle;
    use crate::request::{IndexRange, Target};

    /// The bytes of the one field that `build` writes, its size and id left out.
    fn field_of(build: impl FnOnce(&mut Body<'_>)) -> Result<Vec<u8>, CommandError> {
        let mut out = vec![];
        message(&mut out, MessageHeader::default(), build)?;
        Ok(out.split_off(HEADER_BYTES + MESSAGE_HEADER_BYTES + 5))
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        let (first, last) = ((-3i64).to_be_bytes(), 9i64.to_be_bytes());
        let range = field_of(|body| body.index_range("age", particle::INTEGER, &first, &last));
        let range = range.unwrap();
        let read = IndexRange::read(&range).unwrap();
        assert_eq!(read.bin, b"age");
        assert_eq!(read.target, Target::Integers { first: -3, last: 9 });
        let text = field_of(|body| body.index_range("", particle::STRING, b"x", b"x")).unwrap();
        assert_eq!(IndexRange::read(&text).unwrap().target, Target::Text(b"x"));
    }

    #[test]
    fn a_bin_name_that_no_bin_has_is_refused() {
        let refused = field_of(|body| body.index_range("a name of sixteen", 1, &[0; 8], &[0; 8]));
        assert!(matches!(refused, Err(CommandError::BinName { .. })));
    }

    #[test]
    fn values_to_resume_after_are_little_endian() {
        let values = field_of(|body| body.resume_values(&[1, 2])).unwrap();
        assert_eq!(values, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}

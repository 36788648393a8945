//! Records and bins as an application sees them.

use std::time::{Duration, SystemTime};

use karst_wire::response::{Answer, OpResult};

use crate::error::{Error, Result};
use crate::value::Value;

/// Seconds from the start of Unix time to 2010-01-01, from which servers count.
const SERVER_EPOCH_UNIX_SECONDS: u64 = 1_262_304_000;

/// One named value of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Bin {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Value.
    pub value: Value,
}

impl Bin {
    /// The bin `name` with this value.
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Bin {
        Bin {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// A record as it was read, or what its operations returned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Bins in the order of the answer. After `operate` there is one per result, and a name stands
    /// as often as operations on it returned something.
    pub bins: Vec<Bin>,
    /// Counts the writes since the record was created; for [`crate::Generation::Equal`].
    pub generation: u16,
    /// When the record expires, in seconds since 2010-01-01; 0 for never.
    pub void_time_s: u32,
}

impl Record {
    /// The value of the first bin with this name.
    pub fn bin(&self, name: &str) -> Option<&Value> {
        self.bins
            .iter()
            .find(|bin| bin.name == name)
            .map(|bin| &bin.value)
    }

    /// When the record expires, by the server's clock; `None` for never.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let seconds = SERVER_EPOCH_UNIX_SECONDS + u64::from(self.void_time_s);
        (self.void_time_s != 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Reads a record out of an answer. `in_doubt` says whether the request also wrote.
    pub(crate) fn from_answer(answer: &Answer<'_>, in_doubt: bool) -> Result<Record> {
        let mut bins = Vec::with_capacity(usize::from(answer.header.op_count));
        for op in answer.ops() {
            bins.push(read_bin(op, in_doubt)?);
        }
        Ok(Record {
            bins,
            generation: answer.header.generation as u16, // servers keep 16 bits
            void_time_s: answer.header.record_ttl,
        })
    }
}

fn read_bin(op: OpResult<'_>, in_doubt: bool) -> Result<Bin> {
    let name = String::from_utf8_lossy(op.name).into_owned();
    match Value::decode(op.particle, op.value) {
        Ok(value) => Ok(Bin { name, value }),
        Err(source) => Err(Error::BadValue {
            bin: name,
            source,
            in_doubt,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn void_time_counts_from_2010() {
        let mut record = Record::default();
        assert_eq!(record.expires_at(), None);
        record.void_time_s = 1;
        let unix = record
            .expires_at()
            .unwrap()
            .duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(unix.unwrap().as_secs(), 1_262_304_001);
    }
}

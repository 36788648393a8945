//! Batches: many single-record requests in one message.
//!
//! ```text
//! field data:  count of rows u32 | batch flags u8 | rows
//! row:         batch index u32 | digest 20 | row flags u8 | unless REPEAT: attributes
//! attributes:  info1 | [info2 info3] | [info4] | [generation u16] | [ttl u32]
//!              | count of fields u16 | count of operations u16 | fields | operations
//! ```
//!
//! Each row comes out as a [`Message`] like that of a single request, with a header made up from
//! the row's attributes, so whoever carries out requests need not know about batches. Rows are read
//! one at a time as they are asked for and nothing is allocated, however many a batch announces.
//!
//! Bytes whose boundaries are in doubt end the batch: the rows before them stand, the rest is
//! unknown. A row that is only unacceptable in itself fails alone.

#[cfg(test)]
mod tests;

use karst_data::key::Digest;

use crate::field;
use crate::flags::{BatchFlags, Info1, Info2, Info3, Info4, RowFlags};
use crate::frame::MessageHeader;
use crate::malformed::Malformed;
use crate::request::{Fields, Message, Ops};

/// Bytes before the rows.
const BATCH_HEADER_BYTES: usize = 5;

/// Bytes of the smallest row: batch index, digest and flags.
const ROW_BYTES_MIN: usize = 4 + Digest::BYTES + 1;

/// Every row flag there is.
const ROW_FLAGS_KNOWN: u8 = 0x1f;

/// What a row may not ask for by itself: only a whole message is a batch or compressed, and only
/// another cluster ships writes.
const INFO1_OF_PARENTS: Info1 = Info1::BATCH.with(Info1::COMPRESS_RESPONSE).with(Info1::XDR);

/// The rows field of a batch, its header checked, its rows not yet.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    flags: BatchFlags,
    row_count: u32,
    rows: &'a [u8],
    parent: Parent<'a>,
}

/// What rows take over from the message that carries them.
#[derive(Clone, Copy, Debug)]
struct Parent<'a> {
    read_mode: Info3,
    transaction_ttl: u32,
    filter: Option<&'a [u8]>,
}

/// One row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow<'a> {
    /// The client's number for the row; goes into the answer unchanged.
    pub index: u32,
    /// The record's digest, also to be had from the request.
    pub digest: Digest,
    /// What to do, as if it had come by itself. `Err`: this row alone is answered with that code;
    /// the rows after it are not affected.
    pub request: Result<Message<'a>, Malformed>,
}

impl<'a> Batch<'a> {
    /// Reads the batch that `message` carries.
    ///
    /// A count of rows that cannot fit into the bytes there are is refused here, before any row
    /// has been carried out.
    ///
    /// # Errors
    /// [`Malformed`] if the rows field is absent, too short, or announces an impossible count.
    pub fn parse(message: &Message<'a>) -> Result<Batch<'a>, Malformed> {
        let data = message.fields.batch.ok_or(Malformed::BatchMissing)?;
        let (header, rows) = data
            .split_first_chunk::<BATCH_HEADER_BYTES>()
            .ok_or(Malformed::BatchHeader { bytes: data.len() })?;
        let [count @ .., flags] = *header;
        let row_count = u32::from_be_bytes(count);
        if row_count == 0 {
            return Err(Malformed::BatchEmpty);
        }
        if row_count as usize > rows.len() / ROW_BYTES_MIN {
            return Err(Malformed::BatchRows {
                rows: row_count,
                bytes: rows.len(),
            });
        }
        Ok(Batch {
            flags: BatchFlags(flags),
            row_count,
            rows,
            parent: Parent {
                read_mode: message.header.info3.only(Info3::SC_READ_BITS),
                transaction_ttl: message.header.transaction_ttl,
                filter: message.fields.filter,
            },
        })
    }

    /// How the batch as a whole is to be run and answered.
    pub fn flags(&self) -> BatchFlags {
        self.flags
    }

    /// How many rows the batch announces; at least one. The field has at least 25 bytes for each,
    /// so the number is safe to allocate by.
    pub fn row_count(&self) -> usize {
        self.row_count as usize
    }

    /// The rows in the order of the request. An `Err` is the last item: the rows before it stand,
    /// the end of the batch is answered with its code.
    pub fn rows(&self) -> Rows<'a> {
        Rows {
            rest: self.rows,
            row: 0,
            row_count: self.row_count,
            parent: self.parent,
            repeatable: None,
        }
    }
}

/// Reads the rows of a batch; see [`Batch::rows`].
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    rest: &'a [u8],
    row: u32, // position of the next row
    row_count: u32,
    parent: Parent<'a>,
    repeatable: Option<Result<Message<'a>, Malformed>>, // what a REPEAT row would do
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<BatchRow<'a>, Malformed>;

    fn next(&mut self) -> Option<Result<BatchRow<'a>, Malformed>> {
        let item = if self.row < self.row_count {
            self.take_row()
        } else if self.rest.is_empty() {
            return None;
        } else {
            let bytes = self.rest.len();
            Err(Malformed::Trailing { bytes })
        };
        match item {
            Ok(_) => self.row += 1,
            Err(_) => self.stop(),
        }
        Some(item)
    }
}

impl<'a> Rows<'a> {
    /// Ends the iteration: nothing behind a bad row can be understood.
    fn stop(&mut self) {
        self.row = self.row_count;
        self.rest = &[];
    }

    fn take_row(&mut self) -> Result<BatchRow<'a>, Malformed> {
        let row = self.row;
        let index = u32::from_be_bytes(*self.take()?);
        let digest: &'a [u8; Digest::BYTES] = self.take()?;
        let [flags] = *self.take()?;
        let mut request = match RowFlags(flags) {
            RowFlags::REPEAT => self.repeatable.ok_or(Malformed::RowRepeat { row })?,
            flags => self.take_request(flags)?,
        };
        if let Ok(message) = &mut request {
            message.fields.digest = Some(digest);
        }
        let digest = Digest(*digest);
        Ok(BatchRow {
            index,
            digest,
            request,
        })
    }

    /// Takes a row's attributes, fields and operations, and keeps them for rows that repeat it.
    fn take_request(
        &mut self,
        flags: RowFlags,
    ) -> Result<Result<Message<'a>, Malformed>, Malformed> {
        let row = self.row;
        if flags.0 & !ROW_FLAGS_KNOWN != 0 || flags.contains(RowFlags::REPEAT) {
            let flags = flags.0;
            return Err(Malformed::RowFlags { row, flags });
        }
        let header = self.take_header(flags)?;
        let first_field = self.rest.get(4).copied(); // its id, behind its size
        let mut fields = Fields::take(&mut self.rest, header.field_count)?;
        if first_field != Some(field::NAMESPACE) {
            return Err(Malformed::RowNamespace { row });
        }
        fields.filter = fields.filter.or(self.parent.filter);
        let (ops, fault) = Ops::take(&mut self.rest, header.op_count)?;
        let message = Message {
            header,
            fields,
            ops,
        };
        let request = fault.map_or(Ok(message), Err);
        self.repeatable = match fields.key {
            None => Some(request),
            Some(_) => None, // a key belongs to one record
        };
        Ok(request)
    }

    /// Takes a row's attributes up to its counts and makes the header of a single request of them.
    fn take_header(&mut self, flags: RowFlags) -> Result<MessageHeader, Malformed> {
        let [info1] = *self.take()?;
        let mut header = MessageHeader {
            info1: Info1(info1).without(INFO1_OF_PARENTS),
            info3: self.parent.read_mode,
            transaction_ttl: self.parent.transaction_ttl,
            ..MessageHeader::default()
        };
        if flags.contains(RowFlags::EXTRA_INFO) {
            let [info2, info3] = *self.take()?;
            (header.info2, header.info3) = (Info2(info2), Info3(info3));
        }
        if flags.contains(RowFlags::INFO4) {
            let [info4] = *self.take()?;
            header.info4 = Info4(info4);
        }
        if flags.contains(RowFlags::GENERATION) {
            header.generation = u32::from(u16::from_be_bytes(*self.take()?));
        }
        if flags.contains(RowFlags::RECORD_TTL) {
            header.record_ttl = u32::from_be_bytes(*self.take()?);
        }
        // Very old clients count no fields and send the namespace all the same.
        header.field_count = u16::from_be_bytes(*self.take()?).max(1);
        header.op_count = u16::from_be_bytes(*self.take()?);
        Ok(header)
    }

    /// Takes `N` bytes off the front of what is left.
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let row = self.row;
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed::RowTruncated { row })?;
        self.rest = rest;
        Ok(bytes)
    }
}

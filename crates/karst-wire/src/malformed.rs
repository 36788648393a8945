//! Why a request cannot be carried out as it stands.
//!
//! Every parser of requests in this crate fails with a [`Malformed`]. The frame around such a
//! request was sound, so the connection is kept and the client is answered with
//! [`Malformed::code`]. Nothing of the request has been applied.

use crate::code::ResultCode;
use crate::op::{BIN_NAME_BYTES_MAX, OPS_MAX};

/// What is wrong with a request. Positions count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is too short even for the header.
    #[error("message of {bytes} bytes, its header alone has 22")]
    Header {
        /// Bytes of the body.
        bytes: usize,
    },
    /// A field reaches past the end of the message.
    #[error("field {index} of {count} reaches past the end of the message")]
    FieldTruncated {
        /// Which field.
        index: u16,
        /// How many the header announces.
        count: u16,
    },
    /// A field has not even an id.
    #[error("field {index} has size 0")]
    FieldEmpty {
        /// Which field.
        index: u16,
    },
    /// Two fields name a digest, and so perhaps two records.
    #[error("more than one digest field")]
    DigestTwice,
    /// A field of fixed size has another one.
    #[error("field of type {id} has {bytes} bytes of data, expected {expected}")]
    FieldSize {
        /// The field's id.
        id: u8,
        /// Bytes of data it has.
        bytes: usize,
        /// Bytes of data it must have, or must have a multiple of.
        expected: usize,
    },
    /// An operation reaches past the end of the message.
    #[error("operation {index} of {count} reaches past the end of the message")]
    OpTruncated {
        /// Which operation.
        index: u16,
        /// How many the header announces.
        count: u16,
    },
    /// An operation is smaller than what it must hold.
    #[error("operation {index} of {op_bytes} bytes is too small for its header and bin name")]
    OpSize {
        /// Which operation.
        index: u16,
        /// The size it declares, in bytes.
        op_bytes: u32,
    },
    /// There are more operations than one request may have.
    #[error("{count} operations in one request, the limit is {OPS_MAX}")]
    OpCount {
        /// How many the header announces.
        count: u16,
    },
    /// A bin name is too long.
    #[error("bin name of operation {index} has {bytes} bytes, the limit is {BIN_NAME_BYTES_MAX}")]
    BinNameLong {
        /// Which operation.
        index: u16,
        /// Bytes of the name.
        bytes: u8,
    },
    /// A bin name holds a NUL byte.
    #[error("bin name of operation {index} holds a NUL byte")]
    BinNameNul {
        /// Which operation.
        index: u16,
    },
    /// Bytes are left after the last operation, or after the last row of a batch.
    #[error("{bytes} bytes left over at the end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The request names no namespace.
    #[error("namespace missing")]
    NamespaceMissing,
    /// The namespace's name is longer than any can be.
    #[error("namespace name of {bytes} bytes")]
    NamespaceLong {
        /// Bytes of the name.
        bytes: usize,
    },
    /// The set's name is too long.
    #[error("set name of {bytes} bytes")]
    SetLong {
        /// Bytes of the name.
        bytes: usize,
    },
    /// The user key cannot be stored: it is empty or an integer of a wrong size.
    #[error("user key of {bytes} bytes cannot be stored")]
    KeyUnstorable {
        /// Bytes of the key, its type byte included.
        bytes: usize,
    },
    /// A record is named, but neither reading nor writing is asked for.
    #[error("request neither reads nor writes")]
    NoAction,
    /// A user-defined function on many records says neither "aggregation" nor "background".
    #[error("a function on many records must be an aggregation or run in the background")]
    UdfOp,
    /// A foreground scan or query names no partitions.
    #[error("query names no partitions")]
    PartitionsMissing,
    /// A list of partitions is empty or longer than there are partitions.
    #[error("list of {count} partitions")]
    PartitionCount {
        /// Entries of the list.
        count: usize,
    },
    /// There is no partition of this number.
    #[error("partition {partition} does not exist")]
    PartitionUnknown {
        /// The number.
        partition: u16,
    },
    /// A partition is named twice, by number or by a digest in it.
    #[error("partition {partition} is named twice")]
    PartitionTwice {
        /// The number.
        partition: u16,
    },
    /// Index values to resume after do not pair up with the digests to resume after.
    #[error("{values} index values for {digests} digests to resume after")]
    ResumeValues {
        /// Digests in the request.
        digests: usize,
        /// Index values in the request.
        values: usize,
    },
    /// What a query looks for in an index cannot be read, or is not to be found in one.
    #[error("bad index range: {0}")]
    IndexRange(&'static str),
    /// The message calls itself a batch but has no rows field.
    #[error("batch without a rows field")]
    BatchMissing,
    /// The rows field is shorter than its own header.
    #[error("batch rows field of {bytes} bytes, its header alone has 5")]
    BatchHeader {
        /// Bytes of the field's data.
        bytes: usize,
    },
    /// The batch has no rows.
    #[error("batch of 0 rows")]
    BatchEmpty,
    /// The rows that are announced cannot fit into the bytes there are.
    #[error("batch of {rows} rows in {bytes} bytes")]
    BatchRows {
        /// Rows the batch announces.
        rows: u32,
        /// Bytes behind the batch's header.
        bytes: usize,
    },
    /// A row reaches past the end of the batch.
    #[error("batch row {row} reaches past the end of the batch")]
    RowTruncated {
        /// Position of the row in the message, not its batch index.
        row: u32,
    },
    /// A row repeats the one before it, but there is none or it has a key of its own.
    #[error("batch row {row} repeats a row that cannot be repeated")]
    RowRepeat {
        /// Position of the row in the message, not its batch index.
        row: u32,
    },
    /// A row's flags hold bits this protocol does not have, so its layout is unknown.
    #[error("batch row {row} has flags {flags:#04x}")]
    RowFlags {
        /// Position of the row in the message, not its batch index.
        row: u32,
        /// The flag byte.
        flags: u8,
    },
    /// The first field of a row is not the namespace.
    #[error("batch row {row} does not begin with its namespace")]
    RowNamespace {
        /// Position of the row in the message, not its batch index.
        row: u32,
    },
}

impl Malformed {
    /// The result code the client is answered with.
    pub const fn code(self) -> ResultCode {
        match self {
            Malformed::BinNameLong { .. } | Malformed::BinNameNul { .. } => ResultCode::BinName,
            Malformed::NamespaceMissing | Malformed::NamespaceLong { .. } => ResultCode::Namespace,
            Malformed::KeyUnstorable { .. } | Malformed::PartitionsMissing => {
                ResultCode::UnsupportedFeature
            }
            Malformed::Header { .. }
            | Malformed::FieldTruncated { .. }
            | Malformed::FieldEmpty { .. }
            | Malformed::DigestTwice
            | Malformed::FieldSize { .. }
            | Malformed::OpTruncated { .. }
            | Malformed::OpSize { .. }
            | Malformed::OpCount { .. }
            | Malformed::Trailing { .. }
            | Malformed::SetLong { .. }
            | Malformed::NoAction
            | Malformed::UdfOp
            | Malformed::PartitionCount { .. }
            | Malformed::PartitionUnknown { .. }
            | Malformed::PartitionTwice { .. }
            | Malformed::ResumeValues { .. }
            | Malformed::IndexRange(_)
            | Malformed::BatchMissing
            | Malformed::BatchHeader { .. }
            | Malformed::BatchEmpty
            | Malformed::BatchRows { .. }
            | Malformed::RowTruncated { .. }
            | Malformed::RowRepeat { .. }
            | Malformed::RowFlags { .. }
            | Malformed::RowNamespace { .. } => ResultCode::Parameter,
        }
    }
}

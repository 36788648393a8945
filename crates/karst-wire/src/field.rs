//! Field ids of a data message.
//!
//! A field is a u32 size, counting the id and the data, then the id, then the data. Integers in
//! fields are big-endian unless the constant says otherwise.

/// Namespace name, at most 31 bytes.
pub const NAMESPACE: u8 = 0;
/// Set name, at most 63 bytes; empty data stands for "no set".
pub const SET: u8 = 1;
/// User key: one byte of particle type, then the value.
pub const KEY: u8 = 2;
/// Version of a record in a transaction: 7 bytes, little-endian.
pub const RECORD_VERSION: u8 = 3;
/// Digest of the record, 20 bytes.
pub const DIGEST: u8 = 4;
/// Transaction id: u64, little-endian.
pub const TRANSACTION_ID: u8 = 5;
/// Deadline of a transaction in seconds of the server's epoch: u32, little-endian.
pub const TRANSACTION_DEADLINE: u8 = 6;
/// Task id of a scan or query: u64.
pub const TASK_ID: u8 = 7;
/// How long one send may block, in milliseconds: u32.
pub const SOCKET_TIMEOUT: u8 = 9;
/// Limit of a scan or query in records per second: u32.
pub const RECORDS_PER_SECOND: u8 = 10;
/// Partition ids to scan from the start: u16 each, little-endian.
pub const PARTITION_IDS: u8 = 11;
/// Digests to resume after, 20 bytes each.
pub const DIGEST_ARRAY: u8 = 12;
/// Most records to return: u64.
pub const SAMPLE_MAX: u8 = 13;
/// Last update time of a replicated write: u64.
pub const LAST_UPDATE_TIME: u8 = 14;
/// Index values that belong to [`DIGEST_ARRAY`]: u64 each, little-endian.
pub const BVAL_ARRAY: u8 = 15;
/// Name of a secondary index.
pub const INDEX_NAME: u8 = 21;
/// Bin, type and bounds of a secondary-index query.
pub const INDEX_RANGE: u8 = 22;
/// Path to the indexed element, msgpack.
pub const INDEX_CONTEXT: u8 = 23;
/// Indexed expression, msgpack.
pub const INDEX_EXPRESSION: u8 = 24;
/// What of a collection is indexed: u8, 0 the bin itself, 1 list, 2 map keys, 3 map values.
pub const INDEX_TYPE: u8 = 26;
/// Module of a user-defined function, without its file ending.
pub const UDF_FILENAME: u8 = 30;
/// Name of a user-defined function.
pub const UDF_FUNCTION: u8 = 31;
/// Arguments of a user-defined function: a msgpack list.
pub const UDF_ARGUMENTS: u8 = 32;
/// How a user-defined function is run: u8, 0 on one record, 1 aggregation, 2 background.
pub const UDF_OP: u8 = 33;
/// Old way to name the bins of a query: u8 count, then each name behind its u8 length.
pub const QUERY_BIN_LIST: u8 = 40;
/// Rows of a batch.
pub const BATCH: u8 = 41;
/// Rows of a batch; read exactly like [`BATCH`].
pub const BATCH_WITH_SET: u8 = 42;
/// Filter expression, msgpack.
pub const FILTER: u8 = 43;
/// Details of an error in an answer, msgpack map.
pub const ERROR_DETAILS: u8 = 45;

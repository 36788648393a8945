//! What the tests of several modules need: bytes from hex, and requests put together by hand, so
//! that they can be wrong in ways the client's encoder refuses.

use crate::frame::{HEADER_BYTES, MessageHeader};

/// The put request of the protocol's worked examples.
pub(crate) const PUT: &str = "02 03 00 00 00 00 00 52 16 00 01 00 00 00 00 00 00 00 00 00 00 00 \
    00 00 03 e8 00 03 00 01 00 00 00 05 00 74 65 73 74 00 00 00 05 01 64 65 6d 6f 00 00 00 15 04 \
    ec 91 19 2d 4b 7f 8c e3 5d 5d 78 d3 4b ca 65 cb aa aa c9 60 00 00 00 0d 02 01 00 01 61 00 00 \
    00 00 00 00 00 01";

/// The answer to it.
pub(crate) const PUT_ACK: &str = "02 03 00 00 00 00 00 16 16 00 00 00 00 00 00 00 00 01 00 00 00 \
    00 00 00 00 00 00 00 00 00";

/// A request for every bin of the same record.
pub(crate) const GET_ALL: &str = "02 03 00 00 00 00 00 41 16 03 00 00 00 00 00 00 00 00 00 00 00 \
    00 00 00 03 e8 00 03 00 00 00 00 00 05 00 74 65 73 74 00 00 00 05 01 64 65 6d 6f 00 00 00 15 \
    04 ec 91 19 2d 4b 7f 8c e3 5d 5d 78 d3 4b ca 65 cb aa aa c9 60";

/// A batch of two reads, the second a repetition of the first.
pub(crate) const BATCH: &str = "02 03 00 00 00 00 00 6f 16 08 00 00 00 00 00 00 00 00 00 00 00 00 \
    00 00 03 e8 00 01 00 00 00 00 00 55 29 00 00 00 02 0d 00 00 00 00 ec 91 19 2d 4b 7f 8c e3 5d \
    5d 78 d3 4b ca 65 cb aa aa c9 60 0a 03 00 00 00 00 00 00 00 02 00 00 00 00 00 05 00 74 65 73 \
    74 00 00 00 05 01 64 65 6d 6f 00 00 00 01 b7 f4 b8 38 89 e2 da 67 de 68 3e 1d f6 91 9a 1e ac \
    c4 46 c8 01";

/// A scan of partitions 0 and 492.
pub(crate) const SCAN: &str = "02 03 00 00 00 00 00 47 16 01 00 04 00 00 00 00 00 00 ff ff ff ff \
    00 00 75 30 00 05 00 00 00 00 00 05 00 74 65 73 74 00 00 00 05 01 64 65 6d 6f 00 00 00 05 09 \
    00 00 75 30 00 00 00 09 07 11 22 33 44 55 66 77 88 00 00 00 05 0b 00 00 ec 01";

/// The digest of key "key1" in set "demo".
pub(crate) const DIGEST: &str = "ec91192d4b7f8ce35d5d78d34bca65cbaaaac960";

/// Bytes from hex digits, whitespace ignored.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The body of a frame given in hex.
pub(crate) fn body(text: &str) -> Vec<u8> {
    hex(text).split_off(HEADER_BYTES)
}

/// A field as it is on the wire.
pub(crate) fn field(id: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = (1 + data.len() as u32).to_be_bytes().to_vec();
    bytes.push(id);
    bytes.extend_from_slice(data);
    bytes
}

/// An operation as it is on the wire.
pub(crate) fn op(code: u8, particle: u8, flags: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let size = 4 + name.len() as u32 + value.len() as u32;
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[code, particle, flags, name.len() as u8]);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value);
    bytes
}

/// A message with these fields and operations; the header's counts are filled in.
pub(crate) fn message(header: MessageHeader, fields: &[Vec<u8>], ops: &[Vec<u8>]) -> Vec<u8> {
    let header = MessageHeader {
        field_count: fields.len() as u16,
        op_count: ops.len() as u16,
        ..header
    };
    let mut bytes = header.to_bytes().to_vec();
    fields
        .iter()
        .chain(ops)
        .for_each(|part| bytes.extend_from_slice(part));
    bytes
}

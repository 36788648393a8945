//! Requests as a client writes them: framed messages, batches and info commands, appended to a
//! caller's buffer.
//!
//! Owns no bytes: everything lands behind what the caller's buffer already holds, so many requests
//! can be queued in one buffer and leave in one write. Values are written straight into place; the
//! counts and sizes in front of them are patched afterwards.
//!
//! Invariants
//!   a call that returns an error leaves the buffer exactly as it found it
//!   a call that returns `Ok` has appended exactly one whole frame
//!   fields come before operations
//!
//! What the protocol cannot carry (a bin name of 16 bytes, a frame over 128 MiB) is refused here, so
//! a server never sees it. The first such error of a request wins; later calls do nothing.

mod query;

use karst_data::key::{Digest, NAMESPACE_BYTES_MAX, SET_BYTES_MAX};

use crate::field;
use crate::flags::{BatchFlags, Info1, Info2, Info3, RowFlags};
use crate::frame::{
    BODY_BYTES_MAX, FrameHeader, FrameKind, HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader,
};
use crate::op::{BIN_NAME_BYTES_MAX, OPS_MAX, OpCode};

/// Why a request cannot be written. Nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A namespace name is empty or too long.
    #[error("namespace name of {bytes} bytes, expected 1 to {NAMESPACE_BYTES_MAX}")]
    NamespaceName {
        /// Length of the name in bytes.
        bytes: usize,
    },
    /// A set name is too long.
    #[error("set name of {bytes} bytes exceeds {SET_BYTES_MAX}")]
    SetName {
        /// Length of the name in bytes.
        bytes: usize,
    },
    /// A bin name is too long or holds a NUL byte.
    #[error("bin name {name:?} is longer than {BIN_NAME_BYTES_MAX} bytes or holds a NUL")]
    BinName {
        /// The name.
        name: String,
    },
    /// More operations than one request may hold.
    #[error("more than {OPS_MAX} operations in one request")]
    TooManyOps,
    /// The frame would be larger than the protocol allows.
    #[error("request of {bytes} bytes exceeds {BODY_BYTES_MAX}")]
    TooBig {
        /// Size of the body in bytes.
        bytes: usize,
    },
    /// An argument that means nothing where it stands.
    #[error("{reason}")]
    Argument {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An info command that is empty or holds a line break.
    #[error("info command {command:?} is empty or holds a line break")]
    InfoCommand {
        /// The command.
        command: String,
    },
}

/// Appends one message frame: `header`, then the fields and operations that `build` writes. The
/// counts in `header` are ignored; they are counted here.
///
/// # Errors
/// [`CommandError`]: a name or a count breaks the protocol's limits. `out` is as it was.
pub fn message(
    out: &mut Vec<u8>,
    mut header: MessageHeader,
    build: impl FnOnce(&mut Body<'_>),
) -> Result<(), CommandError> {
    framed(out, FrameKind::Message, |out| {
        let at = out.len();
        out.extend_from_slice(&[0; MESSAGE_HEADER_BYTES]);
        let mut body = Body::new(out);
        build(&mut body);
        (header.field_count, header.op_count) = body.finish()?;
        out[at..at + MESSAGE_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        Ok(())
    })
}

/// Appends one info frame that asks `commands`, each on a line of its own.
///
/// # Errors
/// [`CommandError::InfoCommand`] if a command is not one line of text. `out` is as it was.
pub fn info(out: &mut Vec<u8>, commands: &[&str]) -> Result<(), CommandError> {
    framed(out, FrameKind::Info, |out| {
        for command in commands {
            if command.is_empty() || command.contains('\n') {
                let command = (*command).to_owned();
                return Err(CommandError::InfoCommand { command });
            }
            out.extend_from_slice(command.as_bytes());
            out.push(b'\n');
        }
        Ok(())
    })
}

/// Writes a frame header in front of what `build` appends, or takes everything back.
fn framed(
    out: &mut Vec<u8>,
    kind: FrameKind,
    build: impl FnOnce(&mut Vec<u8>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let built = build(out).and_then(|()| {
        let bytes = out.len() - start - HEADER_BYTES;
        if bytes > BODY_BYTES_MAX {
            return Err(CommandError::TooBig { bytes });
        }
        Ok(bytes)
    });
    match built {
        Ok(body_bytes) => {
            let header = FrameHeader { kind, body_bytes }.to_bytes();
            out[start..start + HEADER_BYTES].copy_from_slice(&header);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// The fields, then the operations, of one request or batch row.
pub struct Body<'a> {
    out: &'a mut Vec<u8>,
    fields: u16,
    ops: u16,
    error: Option<CommandError>,
}

impl<'a> Body<'a> {
    fn new(out: &'a mut Vec<u8>) -> Body<'a> {
        Body {
            out,
            fields: 0,
            ops: 0,
            error: None,
        }
    }

    fn finish(self) -> Result<(u16, u16), CommandError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok((self.fields, self.ops)),
        }
    }

    /// Refuses the whole request. The first error counts.
    pub fn refuse(&mut self, error: CommandError) {
        self.error.get_or_insert(error);
    }

    /// The namespace field.
    pub fn namespace(&mut self, name: &str) {
        let bytes = name.len();
        if bytes == 0 || bytes > NAMESPACE_BYTES_MAX {
            return self.refuse(CommandError::NamespaceName { bytes });
        }
        self.field(field::NAMESPACE, name.as_bytes());
    }

    /// The set field; an empty name stands for "no set" and is sent as such.
    pub fn set(&mut self, name: &str) {
        let bytes = name.len();
        if bytes > SET_BYTES_MAX {
            return self.refuse(CommandError::SetName { bytes });
        }
        self.field(field::SET, name.as_bytes());
    }

    /// The digest field.
    pub fn digest(&mut self, digest: &Digest) {
        self.field(field::DIGEST, &digest.0);
    }

    /// The key field: the particle type of the user's key, then its bytes.
    pub fn key(&mut self, particle: u8, value: &[u8]) {
        self.field_with(field::KEY, |out| {
            out.push(particle);
            out.extend_from_slice(value);
        });
    }

    /// Any field.
    pub fn field(&mut self, id: u8, data: &[u8]) {
        self.field_with(id, |out| out.extend_from_slice(data));
    }

    /// Any field, its data appended by `write`, which must leave what it finds.
    ///
    /// # Panics
    /// If an operation was written before: fields come first.
    pub fn field_with(&mut self, id: u8, write: impl FnOnce(&mut Vec<u8>)) {
        assert_eq!(self.ops, 0, "fields come before operations");
        if self.error.is_some() {
            return;
        }
        let at = self.out.len();
        self.out.extend_from_slice(&[0, 0, 0, 0, id]);
        write(self.out);
        self.patch_size(at);
        self.fields += 1; // the ids are u8 and each is sent once: far from overflow
    }

    /// One operation with a ready value.
    pub fn op(&mut self, code: OpCode, particle: u8, name: &str, value: &[u8]) {
        self.op_with(code, particle, name, |out| out.extend_from_slice(value));
    }

    /// One operation, its value appended by `write`, which must leave what it finds.
    pub fn op_with(
        &mut self,
        code: OpCode,
        particle: u8,
        name: &str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.error.is_some() {
            return;
        }
        if name.len() > BIN_NAME_BYTES_MAX || name.as_bytes().contains(&0) {
            let name = name.to_owned();
            return self.refuse(CommandError::BinName { name });
        }
        if self.ops == OPS_MAX {
            return self.refuse(CommandError::TooManyOps);
        }
        let at = self.out.len();
        let name_bytes = name.len() as u8; // at most 15
        self.out
            .extend_from_slice(&[0, 0, 0, 0, code.as_u8(), particle, 0, name_bytes]);
        self.out.extend_from_slice(name.as_bytes());
        write(self.out);
        self.patch_size(at);
        self.ops += 1;
    }

    /// Writes the size of what follows the four bytes at `at`. A size that does not fit belongs to a
    /// frame that is too big and is refused as such.
    fn patch_size(&mut self, at: usize) {
        let bytes = self.out.len() - at - 4;
        match u32::try_from(bytes) {
            Ok(size) => self.out[at..at + 4].copy_from_slice(&size.to_be_bytes()),
            Err(_) => self.refuse(CommandError::TooBig { bytes }),
        }
    }
}

/// What a whole batch shares.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchParent<'a> {
    /// How the server runs and answers the batch.
    pub flags: BatchFlags,
    /// Strong-consistency read bits of rows that bring none of their own.
    pub info3: Info3,
    /// Time the server may take, in milliseconds; 0 for its default.
    pub timeout_ms: u32,
    /// Filter expression of every row that has none of its own, msgpack.
    pub filter: Option<&'a [u8]>,
}

/// The header of one batch row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowHeader {
    /// First flag byte.
    pub info1: Info1,
    /// Second flag byte.
    pub info2: Info2,
    /// Third flag byte.
    pub info3: Info3,
    /// Generation the write expects; the protocol has 16 bits for it here.
    pub generation: Option<u16>,
    /// Time to live of a write in seconds, or read-touch percent.
    pub ttl: Option<u32>,
}

/// Appends one batch frame with the rows that `build` writes.
///
/// # Errors
/// [`CommandError`]: a name or a count breaks the protocol's limits. `out` is as it was.
pub fn batch(
    out: &mut Vec<u8>,
    parent: BatchParent<'_>,
    build: impl FnOnce(&mut Rows<'_>),
) -> Result<(), CommandError> {
    let header = MessageHeader {
        info1: Info1::BATCH,
        info3: parent.info3,
        transaction_ttl: parent.timeout_ms,
        ..MessageHeader::default()
    };
    let mut refused = None;
    message(out, header, |body| {
        if let Some(filter) = parent.filter {
            body.field(field::FILTER, filter);
        }
        body.field_with(field::BATCH, |out| {
            refused = write_rows(out, parent.flags, build).err();
        });
        if let Some(error) = refused.take() {
            body.refuse(error);
        }
    })
}

fn write_rows(
    out: &mut Vec<u8>,
    flags: BatchFlags,
    build: impl FnOnce(&mut Rows<'_>),
) -> Result<(), CommandError> {
    let at = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, flags.0]);
    let mut rows = Rows {
        out,
        count: 0,
        error: None,
    };
    build(&mut rows);
    let count = rows.count;
    if let Some(error) = rows.error {
        return Err(error);
    }
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// The rows of a batch.
pub struct Rows<'a> {
    out: &'a mut Vec<u8>,
    count: u32,
    error: Option<CommandError>,
}

impl Rows<'_> {
    /// One row: `build` writes its fields, the namespace first, then its operations. The server
    /// returns `index` unchanged.
    pub fn row(
        &mut self,
        index: u32,
        digest: &Digest,
        header: RowHeader,
        build: impl FnOnce(&mut Body<'_>),
    ) {
        if self.error.is_some() {
            return;
        }
        self.start(index, digest, row_flags(&header));
        let flag_bytes = [header.info1.0, header.info2.0, header.info3.0];
        self.out.extend_from_slice(&flag_bytes);
        if let Some(generation) = header.generation {
            self.out.extend_from_slice(&generation.to_be_bytes());
        }
        if let Some(ttl) = header.ttl {
            self.out.extend_from_slice(&ttl.to_be_bytes());
        }
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let mut body = Body::new(self.out);
        build(&mut body);
        match body.finish() {
            Ok((fields, ops)) => {
                self.out[at..at + 2].copy_from_slice(&fields.to_be_bytes());
                self.out[at + 2..at + 4].copy_from_slice(&ops.to_be_bytes());
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// One row that does to `digest` exactly what the row before does to its own. The row before
    /// must not carry a user key.
    ///
    /// # Panics
    /// If there is no row before.
    pub fn repeat(&mut self, index: u32, digest: &Digest) {
        assert!(self.count > 0 || self.error.is_some(), "nothing to repeat");
        if self.error.is_none() {
            self.start(index, digest, RowFlags::REPEAT);
        }
    }

    fn start(&mut self, index: u32, digest: &Digest, flags: RowFlags) {
        self.out.extend_from_slice(&index.to_be_bytes());
        self.out.extend_from_slice(&digest.0);
        self.out.push(flags.0);
        self.count += 1; // a row has 25 bytes, a frame 128 MiB: far from overflow
    }
}

fn row_flags(header: &RowHeader) -> RowFlags {
    let mut flags = RowFlags::EXTRA_INFO;
    if header.generation.is_some() {
        flags |= RowFlags::GENERATION;
    }
    if header.ttl.is_some() {
        flags |= RowFlags::RECORD_TTL;
    }
    flags
}

#[cfg(test)]
mod tests {
    use karst_data::key::PartitionId;

    use super::*;
    use crate::particle;
    use crate::testing::{BATCH, DIGEST, GET_ALL, PUT, SCAN, hex};

    fn key1() -> Digest {
        Digest::from_slice(&hex(DIGEST)).unwrap()
    }

    fn of_record(body: &mut Body<'_>) {
        body.namespace("test");
        body.set("demo");
        body.digest(&key1());
    }

    #[test]
    fn put_is_byte_for_byte_what_official_clients_send() {
        let mut out = vec![];
        let header = MessageHeader {
            info2: Info2::WRITE,
            transaction_ttl: 1000,
            ..MessageHeader::default()
        };
        message(&mut out, header, |body| {
            of_record(body);
            body.op(OpCode::Write, particle::INTEGER, "a", &1i64.to_be_bytes());
        })
        .unwrap();
        assert_eq!(out, hex(PUT));
    }

    #[test]
    fn get_all_is_byte_for_byte_what_official_clients_send() {
        let mut out = vec![];
        let header = MessageHeader {
            info1: Info1::READ | Info1::GET_ALL,
            transaction_ttl: 1000,
            ..MessageHeader::default()
        };
        message(&mut out, header, of_record).unwrap();
        assert_eq!(out, hex(GET_ALL));
    }

    #[test]
    fn batch_of_two_reads_is_byte_for_byte_what_official_clients_send() {
        let mut out = vec![];
        let parent = BatchParent {
            flags: BatchFlags::ALLOW_INLINE_MEMORY
                | BatchFlags::RESPOND_ALL_KEYS
                | BatchFlags::RESPOND_FAILED_ROW,
            timeout_ms: 1000,
            ..BatchParent::default()
        };
        let second = hex("b7f4b83889e2da67de683e1df6919a1eacc446c8");
        batch(&mut out, parent, |rows| {
            let header = RowHeader {
                info1: Info1::READ | Info1::GET_ALL,
                ttl: Some(0),
                ..RowHeader::default()
            };
            rows.row(0, &key1(), header, |body| {
                body.namespace("test");
                body.set("demo");
            });
            rows.repeat(1, &Digest::from_slice(&second).unwrap());
        })
        .unwrap();
        assert_eq!(out, hex(BATCH));
    }

    #[test]
    fn scan_is_byte_for_byte_what_official_clients_send() {
        let mut out = vec![];
        let header = MessageHeader {
            info1: Info1::READ,
            info3: Info3::PARTITION_DONE,
            record_ttl: u32::MAX,
            transaction_ttl: 30_000,
            ..MessageHeader::default()
        };
        message(&mut out, header, |body| {
            body.namespace("test");
            body.set("demo");
            body.field(field::SOCKET_TIMEOUT, &30_000u32.to_be_bytes());
            body.field(field::TASK_ID, &0x1122_3344_5566_7788u64.to_be_bytes());
            body.partitions(&[PartitionId(0), PartitionId(492)]);
        })
        .unwrap();
        assert_eq!(out, hex(SCAN));
    }

    #[test]
    fn info_is_byte_for_byte_what_official_clients_send() {
        let mut out = vec![];
        info(&mut out, &["node", "build"]).unwrap();
        let expected = "02 01 00 00 00 00 00 0b 6e 6f 64 65 0a 62 75 69 6c 64 0a";
        assert_eq!(out, hex(expected));
    }

    #[test]
    fn a_refused_request_leaves_the_buffer_as_it_was() {
        let refused: [fn(&mut Body<'_>); 5] = [
            |body| body.namespace(""),
            |body| body.namespace(&"n".repeat(NAMESPACE_BYTES_MAX + 1)),
            |body| body.set(&"s".repeat(SET_BYTES_MAX + 1)),
            |body| body.op(OpCode::Read, 0, "sixteen-bytes-xx", &[]),
            |body| body.op(OpCode::Read, 0, "nul\0", &[]),
        ];
        for build in refused {
            let mut out = b"before".to_vec();
            let row = |rows: &mut Rows<'_>| rows.row(0, &key1(), RowHeader::default(), build);
            assert!(message(&mut out, MessageHeader::default(), build).is_err());
            assert!(batch(&mut out, BatchParent::default(), row).is_err());
            assert_eq!(out, b"before");
        }
        let mut out = b"before".to_vec();
        assert!(info(&mut out, &["node", "two\nlines"]).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_request_holds_32768_operations_and_no_more() {
        let with = |count: usize| {
            message(&mut vec![], MessageHeader::default(), |body| {
                (0..count).for_each(|_| body.op(OpCode::Touch, 0, "", &[]));
            })
        };
        assert_eq!(with(32_768), Ok(()));
        assert_eq!(with(32_769), Err(CommandError::TooManyOps));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused() {
        let value = vec![0; BODY_BYTES_MAX];
        let mut out = vec![];
        let result = message(&mut out, MessageHeader::default(), |body| {
            body.op(OpCode::Write, particle::BLOB, "a", &value);
        });
        assert!(matches!(result, Err(CommandError::TooBig { .. })));
        assert!(out.is_empty());
    }
}

//! Frames: the 8-byte header before every message, its limits, the 22-byte header of a data
//! message, and compression.
//!
//! ```text
//! version u8 (2) | type u8 | body size u48        then the body
//! ```
//!
//! Owns no bytes and does no I/O: the caller reads eight bytes, asks here what follows, and reads
//! that much. A header is refused before anything is allocated for its body. A refused header
//! cannot be answered, because nothing after it can be trusted: the connection is closed.
//!
//! All integers here are big-endian.

mod compression;
#[cfg(test)]
mod tests;

use crate::code::ResultCode;
use crate::flags::{Info1, Info2, Info3, Info4};

pub use compression::{deflate, inflate};

/// Size of the header before every body.
pub const HEADER_BYTES: usize = 8;

/// Size of the header that opens the body of a data message.
pub const MESSAGE_HEADER_BYTES: usize = 22;

/// Largest body either side accepts: 128 MiB, the protocol's limit.
pub const BODY_BYTES_MAX: usize = 128 << 20;

/// The protocol version every frame carries.
pub const VERSION: u8 = 2;

/// Version that old clients put before admin messages; accepted there only.
const VERSION_OLD_ADMIN: u8 = 0;

/// Type byte of frames that servers exchange among themselves; refused from clients.
const TYPE_INTERNAL: u8 = 5;

/// What the body of a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Text commands, see [`crate::info`].
    Info = 1,
    /// Login and user administration.
    Admin = 2,
    /// One request; or one or more answers, see [`crate::request`] and [`crate::reply`].
    Message = 3,
    /// A message frame, compressed; see [`inflate`].
    Compressed = 4,
}

/// The header of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the body holds.
    pub kind: FrameKind,
    /// Bytes of the body, without this header.
    pub body_bytes: usize,
}

/// Why a frame cannot be read. After an error of [`FrameHeader::parse`] the connection is closed;
/// after one of [`inflate`] it may live on, because the frame as such was sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A TLS client speaks to a plain-text port.
    #[error("TLS handshake on a plain-text port")]
    TlsHello,
    /// The version byte is not one this protocol has for this type.
    #[error("frame version {version} with type {kind}, expected version 2")]
    Version {
        /// The version byte.
        version: u8,
        /// The type byte.
        kind: u8,
    },
    /// Servers' internal traffic (type 5) on a client port.
    #[error("internal frame (type 5) on a client port")]
    Internal,
    /// The type byte is none of the protocol's.
    #[error("frame type {kind} is unknown")]
    UnknownKind {
        /// The type byte.
        kind: u8,
    },
    /// The body is larger than the reader allows.
    #[error("frame body of {body_bytes} bytes exceeds the limit of {limit_bytes}")]
    TooBig {
        /// The size the header declares, in bytes.
        body_bytes: u64,
        /// The reader's limit, in bytes.
        limit_bytes: usize,
    },
    /// A compressed body is not what it must be: one message frame, whole and of the size it
    /// claims.
    #[error("compressed frame: {0}")]
    Compressed(&'static str),
}

impl FrameError {
    /// The result code for a client whose compressed message could not be unpacked. After an error
    /// of a header there is nobody to answer.
    pub const fn code(&self) -> ResultCode {
        ResultCode::Parameter
    }
}

impl FrameHeader {
    /// Reads a header. A body of exactly `limit_bytes` is still allowed.
    ///
    /// # Errors
    /// Any [`FrameError`] means that the stream cannot be understood from here on.
    #[inline]
    pub fn parse(
        bytes: &[u8; HEADER_BYTES],
        limit_bytes: usize,
    ) -> Result<FrameHeader, FrameError> {
        let [version, kind_byte, size @ ..] = *bytes;
        if is_tls_hello(bytes) {
            return Err(FrameError::TlsHello);
        }
        let kind = match kind_byte {
            1 => FrameKind::Info,
            2 => FrameKind::Admin,
            3 => FrameKind::Message,
            4 => FrameKind::Compressed,
            TYPE_INTERNAL => return Err(FrameError::Internal),
            kind => return Err(FrameError::UnknownKind { kind }),
        };
        let old_admin = kind == FrameKind::Admin && version == VERSION_OLD_ADMIN;
        if version != VERSION && !old_admin {
            return Err(FrameError::Version {
                version,
                kind: kind_byte,
            });
        }
        let body_bytes = size
            .iter()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        match usize::try_from(body_bytes) {
            Ok(body_bytes) if body_bytes <= limit_bytes => Ok(FrameHeader { kind, body_bytes }),
            _ => Err(FrameError::TooBig {
                body_bytes,
                limit_bytes,
            }),
        }
    }

    /// The header's bytes.
    ///
    /// # Panics
    /// If the body is larger than [`BODY_BYTES_MAX`]: no reader would accept it.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        assert!(self.body_bytes <= BODY_BYTES_MAX);
        let word = u64::from(VERSION) << 56 | u64::from(self.kind as u8) << 48;
        (word | self.body_bytes as u64).to_be_bytes()
    }
}

/// Writes a header of the current version over `out`.
///
/// # Panics
/// If the body is larger than [`BODY_BYTES_MAX`]: no reader would accept it.
#[inline]
pub fn write_header(out: &mut [u8; HEADER_BYTES], kind: FrameKind, body_bytes: usize) {
    *out = FrameHeader { kind, body_bytes }.to_bytes();
}

/// Whether these are the first bytes of a TLS handshake: record type 22, major version 3, and
/// behind the record's length a client hello.
fn is_tls_hello(bytes: &[u8; HEADER_BYTES]) -> bool {
    bytes[0] == 22 && bytes[1] == 3 && bytes[5] == 1
}

/// The 22 bytes that open every data message, request and answer alike.
///
/// ```text
///  0 header size (22)    1..5 info1 info2 info3 info4     5 result code
///  6 generation u32     10 record ttl u32                14 transaction ttl u32
/// 18 count of fields u16                                 20 count of operations u16
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageHeader {
    /// First flag byte.
    pub info1: Info1,
    /// Second flag byte.
    pub info2: Info2,
    /// Third flag byte.
    pub info3: Info3,
    /// Fourth flag byte.
    pub info4: Info4,
    /// Result; 0 in a request. Kept as a byte: a peer may send codes this crate does not know.
    pub result_code: u8,
    /// Request: the generation a write expects. Answer: the record's generation, or the partition
    /// id of a partition-done message.
    pub generation: u32,
    /// Request: time to live of a write in seconds, or read-touch percent. Answer: the record's
    /// void time in seconds since 2010-01-01, 0 for never.
    pub record_ttl: u32,
    /// Request: time the server may take, in milliseconds, 0 for its default. Answer: the index of
    /// a batch row.
    pub transaction_ttl: u32,
    /// Fields that follow the header.
    pub field_count: u16,
    /// Operations that follow the fields.
    pub op_count: u16,
}

impl MessageHeader {
    /// Reads a header. Every bit pattern is one; the size byte is not looked at, as no
    /// implementation of the protocol does.
    #[inline]
    pub fn parse(bytes: &[u8; MESSAGE_HEADER_BYTES]) -> MessageHeader {
        let u32_at = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        MessageHeader {
            info1: Info1(bytes[1]),
            info2: Info2(bytes[2]),
            info3: Info3(bytes[3]),
            info4: Info4(bytes[4]),
            result_code: bytes[5],
            generation: u32_at(6),
            record_ttl: u32_at(10),
            transaction_ttl: u32_at(14),
            field_count: u16::from_be_bytes([bytes[18], bytes[19]]),
            op_count: u16::from_be_bytes([bytes[20], bytes[21]]),
        }
    }

    /// The header's bytes.
    #[inline]
    pub fn to_bytes(&self) -> [u8; MESSAGE_HEADER_BYTES] {
        let mut bytes = [0; MESSAGE_HEADER_BYTES];
        bytes[0] = MESSAGE_HEADER_BYTES as u8;
        bytes[1] = self.info1.0;
        bytes[2] = self.info2.0;
        bytes[3] = self.info3.0;
        bytes[4] = self.info4.0;
        bytes[5] = self.result_code;
        bytes[6..10].copy_from_slice(&self.generation.to_be_bytes());
        bytes[10..14].copy_from_slice(&self.record_ttl.to_be_bytes());
        bytes[14..18].copy_from_slice(&self.transaction_ttl.to_be_bytes());
        bytes[18..20].copy_from_slice(&self.field_count.to_be_bytes());
        bytes[20..22].copy_from_slice(&self.op_count.to_be_bytes());
        bytes
    }
}

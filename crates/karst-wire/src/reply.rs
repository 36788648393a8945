//! Replies: answers to data messages, appended to a buffer the caller owns.
//!
//! Three shapes. [`ack`] is the 30 bytes most requests end with. [`RecordReply::framed`] is one
//! record in a frame of its own. A [`ReplyStream`] carries the answers of batches, scans and
//! queries: any number of messages in as few frames as their sizes allow, never one across two.
//!
//! Nothing here fails half-way. A reply that would exceed [`REPLY_BYTES_MAX`] stops growing, takes
//! itself out of the buffer and says [`ReplyTooBig`]; so does one that is dropped before it is
//! finished. What was in the buffer before is never touched.

#[cfg(test)]
mod tests;

use karst_data::key::PartitionId;

use crate::code::ResultCode;
use crate::flags::{Info1, Info3};
use crate::frame::{
    BODY_BYTES_MAX, FrameHeader, FrameKind, HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader,
};
use crate::op::{BIN_NAME_BYTES_MAX, OpCode};

/// Most bytes one message of a reply may have: operations that read the same big bin again and
/// again must not fill memory.
pub const REPLY_BYTES_MAX: usize = 64 << 20;

/// A stream begins a new frame once the current one has this many bytes of body.
pub const STREAM_FRAME_BYTES: usize = 1 << 20;

/// Where in a message its counts of fields and operations are.
const COUNTS_AT: usize = 18;

/// Bytes of an operation between its size and its name.
const OP_FIXED_BYTES: usize = 4;

// A frame takes one more message only while it is below STREAM_FRAME_BYTES.
const _: () = assert!(STREAM_FRAME_BYTES + REPLY_BYTES_MAX <= BODY_BYTES_MAX);

/// The reply would exceed a limit of the protocol or of this server. Nothing of it is in the
/// buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reply exceeds {REPLY_BYTES_MAX} bytes, 65535 operations or a name its 15 bytes")]
pub struct ReplyTooBig;

impl ReplyTooBig {
    /// The result code the client is answered with instead.
    pub const fn code(self) -> ResultCode {
        ResultCode::RecordTooBig
    }
}

/// The header of an answer about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// How the request ended.
    pub code: ResultCode,
    /// The record's generation; 0 if there is no record.
    pub generation: u16,
    /// When the record expires, in seconds since 2010-01-01; 0 for never.
    pub void_time_s: u32,
    /// The client's number of a batch row; 0 elsewhere.
    pub batch_index: u32,
    /// [`Info1::GET_NO_BINS`] in scan and query records sent without their bins, else none.
    pub info1: Info1,
}

impl ReplyHead {
    /// A head that says only how the request ended.
    #[inline]
    pub const fn of(code: ResultCode) -> ReplyHead {
        ReplyHead {
            code,
            generation: 0,
            void_time_s: 0,
            batch_index: 0,
            info1: Info1::NONE,
        }
    }

    /// A head of success with the record's generation and expiry.
    #[inline]
    pub const fn found(generation: u16, void_time_s: u32) -> ReplyHead {
        ReplyHead {
            generation,
            void_time_s,
            ..ReplyHead::of(ResultCode::Ok)
        }
    }

    fn header(&self) -> MessageHeader {
        MessageHeader {
            info1: self.info1,
            result_code: self.code.as_u8(),
            generation: u32::from(self.generation),
            record_ttl: self.void_time_s,
            transaction_ttl: self.batch_index,
            ..MessageHeader::default()
        }
    }
}

/// Appends the answer to a write, or an error: 30 bytes without fields and operations.
/// `void_time_s` counts from 2010-01-01, 0 for never.
#[inline]
pub fn ack(out: &mut Vec<u8>, code: ResultCode, generation: u16, void_time_s: u32) {
    let head = ReplyHead {
        generation,
        void_time_s,
        ..ReplyHead::of(code)
    };
    framed_header(out, &head.header());
}

/// Appends a frame of its own that ends a stream with `code`: 30 bytes.
#[inline]
pub fn last(out: &mut Vec<u8>, code: ResultCode) {
    framed_header(out, &last_header(code));
}

fn last_header(code: ResultCode) -> MessageHeader {
    MessageHeader {
        info3: Info3::LAST,
        result_code: code.as_u8(),
        ..MessageHeader::default()
    }
}

#[inline]
fn framed_header(out: &mut Vec<u8>, header: &MessageHeader) {
    let frame = FrameHeader {
        kind: FrameKind::Message,
        body_bytes: MESSAGE_HEADER_BYTES,
    };
    out.extend_from_slice(&frame.to_bytes());
    out.extend_from_slice(&header.to_bytes());
}

/// Appends an open frame's header and returns where it is.
fn begin_frame(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    at
}

/// Writes the size of the frame that begins at `at` and ends where `out` does.
fn close_frame(out: &mut [u8], at: usize) {
    let frame = FrameHeader {
        kind: FrameKind::Message,
        body_bytes: out.len() - at - HEADER_BYTES,
    };
    out[at..at + HEADER_BYTES].copy_from_slice(&frame.to_bytes());
}

/// One message about one record, being written: first its fields, then its operations, then
/// [`RecordReply::finish`].
#[derive(Debug)]
#[must_use = "a reply that is not finished takes itself out of the buffer"]
pub struct RecordReply<'o> {
    out: &'o mut Vec<u8>,
    frame_at: Option<usize>, // where the frame of its own begins, if it has one
    message_at: usize,
    field_count: u16,
    op_count: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Takes fields and operations.
    Open,
    /// Exceeded a limit; takes nothing more.
    TooBig,
    /// Complete; stays in the buffer.
    Finished,
}

impl<'o> RecordReply<'o> {
    /// Begins a message in a frame of its own.
    #[inline]
    pub fn framed(out: &'o mut Vec<u8>, head: &ReplyHead) -> RecordReply<'o> {
        let frame_at = Some(begin_frame(out));
        RecordReply::begin(out, frame_at, head)
    }

    #[inline]
    fn begin(out: &'o mut Vec<u8>, frame_at: Option<usize>, head: &ReplyHead) -> RecordReply<'o> {
        let message_at = out.len();
        out.extend_from_slice(&head.header().to_bytes());
        RecordReply {
            out,
            frame_at,
            message_at,
            field_count: 0,
            op_count: 0,
            state: State::Open,
        }
    }

    /// Appends a field; `id` is one of [`crate::field`].
    ///
    /// # Panics
    /// If an operation has been appended already: fields come first.
    #[inline]
    pub fn field(&mut self, id: u8, data: &[u8]) {
        assert_eq!(self.op_count, 0, "fields come before operations");
        let Some(count) = self.field_count.checked_add(1) else {
            return self.state = State::TooBig;
        };
        if !self.takes(4 + 1, data.len()) {
            return;
        }
        self.field_count = count;
        let size = 1 + data.len() as u32; // below REPLY_BYTES_MAX
        self.out.extend_from_slice(&size.to_be_bytes());
        self.out.push(id);
        self.out.extend_from_slice(data);
    }

    /// Appends an operation's result; `particle` is one of [`crate::particle`].
    #[inline]
    pub fn op(&mut self, code: OpCode, particle: u8, name: &[u8], value: &[u8]) {
        let Some(count) = self.op_count.checked_add(1) else {
            return self.state = State::TooBig;
        };
        if name.len() > BIN_NAME_BYTES_MAX {
            return self.state = State::TooBig;
        }
        if !self.takes(4 + OP_FIXED_BYTES + name.len(), value.len()) {
            return;
        }
        self.op_count = count;
        let size = (OP_FIXED_BYTES + name.len() + value.len()) as u32; // below REPLY_BYTES_MAX
        let flags = 0;
        let name_bytes = name.len() as u8; // at most 15
        self.out.extend_from_slice(&size.to_be_bytes());
        let fixed = [code.as_u8(), particle, flags, name_bytes];
        self.out.extend_from_slice(&fixed);
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(value);
    }

    /// Completes the message.
    ///
    /// # Errors
    /// [`ReplyTooBig`] if a limit was exceeded; the buffer is as it was before the message.
    #[inline]
    pub fn finish(mut self) -> Result<(), ReplyTooBig> {
        if self.state == State::TooBig {
            return Err(ReplyTooBig); // dropping takes the bytes out
        }
        let counts = self.message_at + COUNTS_AT;
        self.out[counts..counts + 2].copy_from_slice(&self.field_count.to_be_bytes());
        self.out[counts + 2..counts + 4].copy_from_slice(&self.op_count.to_be_bytes());
        if let Some(frame_at) = self.frame_at {
            close_frame(self.out, frame_at);
        }
        self.state = State::Finished;
        Ok(())
    }

    /// Whether that many more bytes may be appended. Remembers it if not.
    #[inline]
    fn takes(&mut self, fixed_bytes: usize, data_bytes: usize) -> bool {
        let used = self.out.len() - self.message_at;
        let fits =
            data_bytes <= REPLY_BYTES_MAX && used + fixed_bytes + data_bytes <= REPLY_BYTES_MAX;
        if !fits {
            self.state = State::TooBig;
        }
        self.state == State::Open
    }
}

impl Drop for RecordReply<'_> {
    fn drop(&mut self) {
        if self.state != State::Finished {
            self.out.truncate(self.frame_at.unwrap_or(self.message_at));
        }
    }
}

/// The answer of a batch, scan or query: messages one behind the other, in frames of about
/// [`STREAM_FRAME_BYTES`].
///
/// It only remembers where its open frame begins. While it is open nobody else may append to the
/// buffer or take bytes off its front; [`ReplyStream::finish`] it before the buffer is sent, and
/// begin another one for what comes next.
#[derive(Debug)]
#[must_use = "an unfinished stream leaves a frame without a size in the buffer"]
pub struct ReplyStream {
    frame_at: usize,
}

impl ReplyStream {
    /// Begins a stream at the end of `out`.
    pub fn begin(out: &mut Vec<u8>) -> ReplyStream {
        ReplyStream {
            frame_at: begin_frame(out),
        }
    }

    /// Bytes of the open frame's body.
    pub fn body_bytes(&self, out: &[u8]) -> usize {
        out.len() - self.frame_at - HEADER_BYTES
    }

    /// Begins a message about one record.
    pub fn record<'o>(&mut self, out: &'o mut Vec<u8>, head: &ReplyHead) -> RecordReply<'o> {
        self.make_room(out);
        RecordReply::begin(out, None, head)
    }

    /// Appends a message without fields and operations: a batch row that was written or failed.
    pub fn ack(&mut self, out: &mut Vec<u8>, head: &ReplyHead) {
        self.append(out, &head.header());
    }

    /// Appends the message that says how a partition of a scan or query ended;
    /// [`ResultCode::Unavailable`] lets the client ask another node.
    pub fn partition_done(&mut self, out: &mut Vec<u8>, partition: PartitionId, code: ResultCode) {
        let header = MessageHeader {
            info3: Info3::PARTITION_DONE,
            result_code: code.as_u8(),
            generation: u32::from(partition.0),
            ..MessageHeader::default()
        };
        self.append(out, &header);
    }

    /// Appends the message that ends the stream to the open frame. [`last`] makes a frame of its
    /// own, as batches want it.
    pub fn last(&mut self, out: &mut Vec<u8>, code: ResultCode) {
        self.append(out, &last_header(code));
    }

    /// Completes the open frame; leaves no empty frame behind.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.body_bytes(out) {
            0 => out.truncate(self.frame_at),
            _ => close_frame(out, self.frame_at),
        }
    }

    fn append(&mut self, out: &mut Vec<u8>, header: &MessageHeader) {
        self.make_room(out);
        out.extend_from_slice(&header.to_bytes());
    }

    /// Begins another frame if the open one is full.
    fn make_room(&mut self, out: &mut Vec<u8>) {
        if self.body_bytes(out) >= STREAM_FRAME_BYTES {
            close_frame(out, self.frame_at);
            self.frame_at = begin_frame(out);
        }
    }
}
